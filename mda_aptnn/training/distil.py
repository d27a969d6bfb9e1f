"""From labels to a model, in one call: directly, or by way of a teacher.

Labels of electronic structure are dear, those of a teacher cost milliseconds an atom. A dipole
network learns more from a few labels than the default network does, and is slow. So it teaches: its
student sees hundreds of frames of the very trajectory that it will be used for, and the true labels
beside them. Any other predictor may be the teacher as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import MDAnalysis as mda
import numpy as np
from tqdm.auto import tqdm

from mda_aptnn import folders, io
from mda_aptnn.checks import Verdict
from mda_aptnn.elements import symbols_of
from mda_aptnn.errors import LabelError, TrainingError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.labels.snapshots import Source, choose_frames
from mda_aptnn.model.density import LayerConfig, NetworkConfig
from mda_aptnn.model.dipole import DipoleConfig
from mda_aptnn.model.domain import domain_checks
from mda_aptnn.model.predict import Model, load_model, model_identity
from mda_aptnn.tensors import APT, Target, as_target, joint
from mda_aptnn.training import samples
from mda_aptnn.training.calibration import calibrate
from mda_aptnn.training.committee import (
    TAUGHT_LAYERS,
    check_readout,
    fit_committee,
    fit_to_the_end,
    taught_readouts,
)
from mda_aptnn.training.config import TrainingConfig, planned, read_plan, split
from mda_aptnn.training.fit import fit
from mda_aptnn.training.loop import CHECKPOINT_EVERY, identity
from mda_aptnn.training.ripples import Ripple, without_ripples
from mda_aptnn.training.samples import Labels, fingerprints

logger = logging.getLogger(__name__)

#: Settings of a student, found with `benchmarks/students.py`: there are labels enough to need less
#: decay and more steps than the default has, and fewer channels for the same error.
STUDENT = TrainingConfig(steps=8000, learning_rate=0.02, weight_decay=0.01, validation=0.05)
STUDENT_NETWORK = NetworkConfig(
    (
        LayerConfig(features="16x0e+16x1o+16x2e", cutoff=6.0, order=3),
        LayerConfig(
            features="16x0e+16x1o+16x1e+16x2e",
            messages="16x0e+8x1o+4x2e",
            cutoff=4.5,
            n_radial=6,
        ),
    )
)
#: Settings of a dipole network that learns from labels alone.
TEACHER = TrainingConfig(steps=3000, learning_rate=0.02, weight_decay=0.025)
#: Frames of a trajectory that a teacher labels.
N_FRAMES = 200


def train(
    labels: Labels,
    path: str | os.PathLike[str] = "model.h5",
    *,
    plan: str | os.PathLike[str] | None = None,
    network: Any = None,
    members: int = 1,
    shared_body: bool = False,
    target: str | Target | Iterable[str | Target] | None = None,
    validation: float | Labels | None = None,
    held_out: float | Labels | None = None,
    trajectory: Any = None,
    n_frames: int = N_FRAMES,
    verbose: bool = False,
    **settings: Any,
) -> Model:
    """Train a model, or a committee, on labelled frames, and write its file.

    As ``mda-aptnn train``: a run that was killed goes on where it stood when the call is repeated.
    With a trajectory, a dipole network learns from the labels first (a committee of them, if there
    are members) and labels frames of the trajectory; the model learns from both, by `distil`. The
    teacher stays, in a file MODEL-teacher-XXXXXXXX.h5 beside the model's.

    Parameters
    ----------
    labels : Dataset, path or paths
        As for `read_labels`.
    path : path
        Of the model file.
    plan : path, optional
        TOML file with the tables [training] and [network].
    network : optional
        Settings of the network, where no plan has them; or a trained model (name, path, `Model`)
        that training starts from, see `fit`.
    members : int
        Members of a committee, whose spread tells the error; 1: a single model.
    shared_body : bool
        The members are last layers on one body: cheap, and a coarser spread.
    target : str, Target or several, optional
        "apt", "pgt" or both; by default all that there are labels of.
    validation, held_out : float or labels, optional
        Number or fraction of the frames to choose the best weights by, and of those kept aside for
        the model card; or other frames for that. Members of a committee choose their own validation
        frames.
    trajectory : Universe, or sequence of Universe or of Frame, optional
        What the model is for: the same elements, density and temperature as the labels.
    n_frames : int
        Frames of the trajectory that the teacher labels.
    verbose : bool
        Show a progress bar.
    **settings
        Fields of `TrainingConfig`, such as steps and seed, which go before the plan.

    Returns
    -------
    Model
        With the weights of the lowest validation error, as in the file.

    Raises
    ------
    FileFormatError
        If the plan or the labels cannot be read.
    LabelError, OSError, TrainingError, BusyError
        As of `fit`, `fit_committee` and `distil`.

    Examples
    --------
    >>> model = mda_aptnn.train("labels.h5", "model.h5", members=4, held_out=0.1)
    """
    if members < 1 or (shared_body and members < 2):
        raise TrainingError(f"--members {members}: a committee has two or more, a single model 1")
    counts, given = {}, {}
    for name, value in (("validation", validation), ("held_out", held_out)):
        if isinstance(value, int | float | np.number):
            counts[name] = value
        elif value is not None:
            given[name] = samples.as_dataset(value)
    wanted = [target] if isinstance(target, str | Target) else target
    options: dict[str, Any] = {"verbose": verbose, **given}
    options["target"] = None if wanted is None else joint(map(as_target, wanted))
    dataset = samples.as_dataset(labels)
    network = _start(network, plan, trajectory)
    if members > 1 and "validation" in given:
        raise TrainingError(
            "the members of a committee have validation frames of their own: give their number"
        )
    if trajectory is None:
        network, config = planned(plan, network, TrainingConfig(), settings | counts)
        if members == 1:
            return fit(dataset, network, config, path, **options)
        options["shared_body"] = shared_body
        return fit_committee(dataset, members, network, config, path, **options)
    if shared_body:
        raise TrainingError(
            "--shared-body goes with no trajectory: a committee that is taught has one body anyway"
        )
    if given:
        raise TrainingError(
            f"{' and '.join(given)} frames of their own go with no trajectory: give a number, and "
            "`evaluate` the model on them"
        )
    learned = options["target"] or samples.labelled_target(dataset)
    if learned != APT:
        raise TrainingError(
            f"a teacher knows polar tensors (apt) alone: train {learned.name} without a trajectory"
        )
    # refused here, before the teacher's hour
    path = io.check_writable(path)
    settings |= {name: value for name, value in counts.items() if name == "held_out"}
    _, student = planned(plan, network, STUDENT, settings)
    frames = _chosen_frames(trajectory, n_frames)
    _check_elements(frames, dataset)
    # what is held out from the student, the teacher has not seen either
    as_student = ("seed", "held_out", "keep_ripples", "device")
    same = {name: getattr(student, name) for name in as_student}
    teacher = _teacher(dataset, members, path, settings | counts | same, verbose)
    return distil(
        teacher,
        frames,
        path,
        labels=dataset,
        plan=plan,
        network=network,
        verbose=verbose,
        **settings,
    )


def _start(network: Any, plan: Any, trajectory: Any) -> Any:
    """Settings of a network as they are; the file of a model that training is to start from."""
    if network is None or dataclasses.is_dataclass(network):
        return network
    if trajectory is not None:
        raise TrainingError(
            "a model to start from goes with no trajectory, whose teacher learns from nothing: "
            "train from it first, and `distil` that"
        )
    if plan is not None and read_plan(plan)[0] is not None:
        raise TrainingError(
            f"{plan} has a table [network], and so has the model to start from: leave one out"
        )
    model = load_model(network)
    if not isinstance(model, Model):
        raise TrainingError(f"{model!r} has no weights to start from: give a model file")
    io.protect([model.path])
    return model.contents


def _teacher(
    labels: Dataset, members: int, path: Path, settings: dict[str, Any], verbose: bool
) -> Path:
    """Train the teacher of a model, unless it is there; its name tells all that it depends on."""
    _, config = planned(None, None, TEACHER, settings)
    network = DipoleConfig()
    own = {"network": dataclasses.asdict(network), "training": dataclasses.asdict(config)}
    who = identity(own, {"labels": labels}, APT) + f" {members} members"
    digest = hashlib.sha256(who.encode()).hexdigest()[:8]
    teacher = path.with_name(f"{path.stem}-teacher-{digest}.h5")
    if not teacher.exists():
        logger.info("the teacher, %s", teacher)
        if members == 1:
            fit_to_the_end(labels, network, config, teacher, target=APT, verbose=verbose)
        else:
            fit_committee(labels, members, network, config, teacher, target=APT, verbose=verbose)
    return teacher


def cache_path(model: Path) -> Path:
    """Return where a teacher's labels are kept meanwhile: MODEL.teacher.h5 beside the student."""
    return model.with_name(f"{model.stem}.teacher.h5")


def distil(
    teacher: Any,
    frames: Any,
    path: str | os.PathLike[str] = "model.h5",
    *,
    labels: Labels | None = None,
    n_frames: int = N_FRAMES,
    plan: str | os.PathLike[str] | None = None,
    network: Any = None,
    training: TrainingConfig | None = None,
    elements: dict[str, str] | None = None,
    cell: Any = None,
    pbc: Any = None,
    verbose: bool = False,
    **settings: Any,
) -> Model:
    """Train a network on what another predicts, and write its model file.

    The teacher's labels are kept in MODEL.teacher.h5 beside `path`, and those of a killed run are
    taken up again. The file is removed when the model is written. The student of a committee is a
    committee of last layers on one body, each taught by one member, and hardly slower than one
    network; its spread is calibrated on held-out true labels.

    Parameters
    ----------
    teacher
        Name, path, or any object with ``predict(frame) -> [n_atoms, 3, 3]`` in e.
    frames : Universe, or sequence of Universe or of Frame
        Configurations that the teacher labels, of the systems that the student is for.
    path : path
        Of the model file.
    labels : Dataset, path or paths, optional
        True labels. Those that `training` holds out (by the same rule and seed as in `fit`, so that
        a teacher's held-out frames are its student's) are kept for the card; the others are trained
        on beside the teacher's.
    n_frames : int
        Frames that are taken of trajectories, evenly over all of them.
    plan : path, optional
        TOML file, as for `train`.
    network : optional
        Settings of the student's network, where no plan has them; fewer channels than the default
        network has (`STUDENT_NETWORK`) if not given.
    training : TrainingConfig, optional
        Its `validation` is the part of the teacher's frames by which the best weights are chosen.
    elements, cell, pbc
        How trajectories are read, as for `DipoleFlux`.
    verbose : bool
        Show progress bars.
    **settings
        Fields of `TrainingConfig` that go before plan and `training`.

    Returns
    -------
    Model
        Its card says who the teacher was; its error on validation frames is that against the
        teacher, the one on held-out frames against true labels.

    Raises
    ------
    LabelError
        If there are fewer than two frames, the teacher's tensors are not finite, or true labels and
        frames share no element.
    ModelError
        If the teacher is no predictor, or does not know an element of the frames.
    TrainingError
        As of `fit`, and if the labels of another teacher are found.
    """
    network, training = planned(plan, network or STUDENT_NETWORK, training or STUDENT, settings)
    source = load_model(teacher, device=training.device)
    io.protect([getattr(source, "path", None)])
    path = io.check_writable(path)
    who = model_identity(teacher, source)
    # an object without a name cannot be told from another
    kept = isinstance(teacher, str) or getattr(source, "path", None) is not None
    cache = cache_path(path)
    chosen = _chosen_frames(frames, n_frames, elements=elements, cell=cell, pbc=pbc)
    true = None if labels is None else samples.as_dataset(labels)
    if true is not None:
        _check_elements(chosen, true)
    for check in domain_checks(source, chosen):
        if check.verdict in (Verdict.LOOK, Verdict.REFUSED):
            logger.warning("the teacher and the trajectory: %s", check)
    if getattr(source, "n_members", 1) > 1:
        check_readout(network, APT)
    aside = dataclasses.replace(training, held_out=0.0)
    with folders.reserved(cache.with_suffix(".lock"), f"the student {path}"):
        by_member = _taught(source, chosen, who, cache if kept else None, verbose)
        taught = _mean(by_member)
        learned, validation, _ = split(len(taught), aside)
        own, held_out, ripples = taught.subset(learned), None, list[Ripple]()
        if true is not None:
            own, held_out, ripples = _with_true(own, true, training)
        parts = {"validation": taught.subset(validation), "held_out": held_out or None}
        model = fit(own, network, aside, path, **parts, target=APT, verbose=verbose)
        if len(by_member) > 1:
            model = _committee(model, [member.subset(learned) for member in by_member])
        card = model.contents.card
        of_teacher = getattr(source, "info", None) or {}
        level = of_teacher.get("level_of_theory", "")
        card["teacher"] = {
            "name": who,
            "n_frames": len(taught),
            "members": len(by_member),
            "level_of_theory": level,
        }
        if true is None:
            card["level_of_theory"] = level
        if "rough" in of_teacher:
            card["rough"] = of_teacher["rough"]
        # those of the true labels, and what is left of them among the teacher's
        removed = [ripple.summary() for ripple in ripples]
        card["grid_ripples_removed"] = removed + card["grid_ripples_removed"]
        if len(by_member) > 1 and held_out:
            calibrate(model, held_out, (APT,), "held-out frames")
        model.contents.save(path)
        if kept:
            io.remove(cache, Dataset.kind)
    found: Model = load_model(path)
    return found


def _committee(model: Model, taught: list[Dataset]) -> Model:
    """The student with a last layer for each member of its teacher."""
    contents = taught_readouts(model.contents, taught)
    contents.card["committee"] = {"kind": TAUGHT_LAYERS}
    return Model(contents)


def _mean(by_member: list[Dataset]) -> Dataset:
    """The mean of the members' tensors, frame by frame."""
    items = [
        dataclasses.replace(same[0], tensors={APT.name: np.mean([x.apt for x in same], axis=0)})
        for same in zip(*by_member, strict=True)
    ]
    return dataclasses.replace(by_member[0], frames=items)


def _chosen_frames(source: Any, n_frames: int, **reading: Any) -> list[Frame]:
    """Frames as they are given, or `n_frames` of trajectories."""
    items = [source] if isinstance(source, mda.Universe) else list(source)
    if all(isinstance(item, Frame) for item in items):
        return items
    found = Source(items, ["" for _ in items], **reading)
    chosen = choose_frames(len(found), min(n_frames, len(found)), "uniform")
    return [frame for _, frame in found.frames(chosen)]


def _check_elements(frames: list[Frame], labels: Dataset) -> None:
    found = symbols_of(sorted({int(z) for frame in frames for z in frame.numbers}))
    unknown = [symbol for symbol in found if symbol not in labels.symbols]
    if unknown:
        raise LabelError(
            f"the trajectory has {', '.join(unknown)}, which the labels have not: label frames "
            "with it, or leave --labels out"
        )


def _with_true(
    own: Dataset, labels: Dataset, training: TrainingConfig
) -> tuple[Dataset, Dataset, list[Ripple]]:
    """The teacher's labels with the true ones, the true ones held out, and the ripples removed."""
    learned, chosen, kept = split(len(labels), training)
    true = labels.subset(sorted(learned + chosen))
    true, ripples = without_ripples(true, APT, keep=training.keep_ripples)
    sources = labels.sources | own.sources
    together = Dataset([*true, *own], labels.level_of_theory, sources)
    return together, labels.subset(kept), ripples


def _taught(
    teacher: Any, frames: list[Frame], who: str, cache: Path | None, verbose: bool
) -> list[Dataset]:
    """The tensors of each member of the teacher; frames that are in the cache are not computed
    again.
    """
    if len(frames) < 2:
        raise LabelError(
            f"{len(frames)} frames are too few to teach with: give two or more, better {N_FRAMES}"
        )
    sources = {"teacher": who}
    n_members = getattr(teacher, "n_members", 1)
    labelled: dict[str, list[LabelledFrame]] = {}
    if cache is not None and cache.exists():
        found = Dataset.load(cache)
        if found.sources != sources:
            raise TrainingError(
                f"{cache} holds labels of another teacher "
                f"({found.sources.get('teacher', 'not said')}); remove it, or write the model to "
                "another file"
            )
        for name, item in zip(fingerprints(found), found, strict=True):
            labelled.setdefault(name, []).append(item)

    def save() -> None:
        items = [item for members in labelled.values() for item in members]
        if cache is not None and items:
            Dataset(items, sources=sources).save(cache)

    saved = time.monotonic()
    try:
        for frame in tqdm(frames, desc="teacher", unit="frame", disable=not verbose):
            if frame.fingerprint() in labelled:
                continue
            tensors = (
                teacher.predict_members(frame, calibrated=False)
                if n_members > 1
                else [teacher.predict(frame)]
            )
            if not np.isfinite(tensors).all():
                raise LabelError(
                    "the teacher's tensors are not finite: it cannot teach these frames"
                )
            info = {"source": who}
            labelled[frame.fingerprint()] = [
                LabelledFrame(frame, {APT.name: np.asarray(member, dtype=float)}, info)
                for member in tensors
            ]
            if time.monotonic() - saved > CHECKPOINT_EVERY:
                save()
                saved = time.monotonic()
    finally:
        # also after an interruption: what is labelled is kept
        save()
    of_frames = [labelled[frame.fingerprint()] for frame in frames]
    return [Dataset(list(items), sources=sources) for items in zip(*of_frames, strict=True)]
