"""A student learns from a teacher: a fast network from the tensors of a slow or foreign predictor.

Labels of electronic structure are dear, those of a teacher cost milliseconds an atom. The student
sees hundreds of frames of the very trajectory that it will be used for, and the true labels beside
them.
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import MDAnalysis as mda
import numpy as np
from tqdm.auto import tqdm

from mda_aptnn import folders, io
from mda_aptnn.errors import LabelError, TrainingError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.labels.snapshots import Source, choose_frames
from mda_aptnn.model.predict import Model, load_model, model_identity
from mda_aptnn.tensors import APT
from mda_aptnn.training.config import TrainingConfig, planned, split
from mda_aptnn.training.fit import fit
from mda_aptnn.training.loop import CHECKPOINT_EVERY
from mda_aptnn.training.ripples import Ripple, without_ripples
from mda_aptnn.training.samples import Labels, as_dataset, fingerprints

#: Settings of the first student that was tried, with ten frames and 200 of its teacher's; not
#: searched. There are labels enough to need less decay than the default has.
STUDENT = TrainingConfig(steps=8000, weight_decay=0.01, validation=0.05)


def cache_path(model: Path) -> Path:
    """Return where a teacher's labels are kept meanwhile: MODEL.teacher.h5 beside the student."""
    return model.with_name(f"{model.stem}.teacher.h5")


def distil(
    teacher: Any,
    frames: Any,
    path: str | os.PathLike[str] = "model.h5",
    *,
    labels: Labels | None = None,
    n_frames: int = 200,
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
    taken up again. The file is removed when the model is written.

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
        Settings of the student's network; the default ones if not given.
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
    network, training = planned(plan, network, training or STUDENT, settings)
    path = io.check_writable(path)
    source, cache = load_model(teacher), cache_path(path)
    chosen = _chosen_frames(frames, n_frames, elements=elements, cell=cell, pbc=pbc)
    true = None if labels is None else as_dataset(labels)
    aside = dataclasses.replace(training, held_out=0.0)
    with folders.reserved(cache.with_suffix(".lock"), f"the student {path}"):
        taught = _taught(source, chosen, cache, verbose)
        learned, validation, _ = split(len(taught), aside)
        own, held_out, ripples = taught.subset(learned), None, list[Ripple]()
        if true is not None:
            own, held_out, ripples = _with_true(own, true, training)
        parts = {"validation": taught.subset(validation), "held_out": held_out or None}
        model = fit(own, network, aside, path, **parts, target=APT, verbose=verbose)
        card = model.contents.card
        level = (getattr(source, "info", None) or {}).get("level_of_theory", "")
        card["teacher"] = {
            "name": model_identity(source, source),
            "n_frames": len(taught),
            "level_of_theory": level,
        }
        if true is None:
            card["level_of_theory"] = level
        # those of the true labels, and what is left of them among the teacher's
        removed = [ripple.summary() for ripple in ripples]
        card["grid_ripples_removed"] = removed + card["grid_ripples_removed"]
        model.contents.save(path)
        if _has_file(source):
            io.remove(cache, Dataset.kind)
    return model


def _chosen_frames(source: Any, n_frames: int, **reading: Any) -> list[Frame]:
    """Frames as they are given, or `n_frames` of trajectories."""
    items = [source] if isinstance(source, mda.Universe) else list(source)
    if all(isinstance(item, Frame) for item in items):
        return items
    found = Source(items, ["" for _ in items], **reading)
    chosen = choose_frames(len(found), min(n_frames, len(found)), "uniform")
    return [frame for _, frame in found.frames(chosen)]


def _with_true(
    own: Dataset, labels: Dataset, training: TrainingConfig
) -> tuple[Dataset, Dataset, list[Ripple]]:
    """The teacher's labels with the true ones, the true ones held out, and the ripples removed."""
    unknown = sorted(set(own.symbols) - set(labels.symbols))
    if unknown:
        raise LabelError(
            f"the trajectory has {', '.join(unknown)}, which the labels have not: label frames "
            "with it, or leave --labels out"
        )
    learned, chosen, kept = split(len(labels), training)
    true = labels.subset(sorted(learned + chosen))
    true, ripples = without_ripples(true, APT, keep=training.keep_ripples)
    sources = labels.sources | own.sources
    together = Dataset([*true, *own], labels.level_of_theory, sources)
    return together, labels.subset(kept), ripples


def _has_file(model: Any) -> bool:
    """Whether the teacher's labels are kept: an object from no file cannot be told from another."""
    return getattr(model, "path", None) is not None


def _taught(teacher: Any, frames: list[Frame], cache: Path, verbose: bool) -> Dataset:
    """The teacher's tensors of all frames; those that are in the cache are not computed again."""
    if len(frames) < 2:
        raise LabelError(
            f"{len(frames)} frames are too few to teach with: give two or more, better 200"
        )
    sources = {"teacher": model_identity(teacher, teacher)}
    labelled: dict[str, LabelledFrame] = {}
    kept = _has_file(teacher)
    if kept and cache.exists():
        found = Dataset.load(cache)
        if found.sources != sources:
            raise TrainingError(
                f"{cache} holds labels of another teacher "
                f"({found.sources.get('teacher', 'not said')}); remove it, or write the model to "
                "another file"
            )
        labelled = dict(zip(fingerprints(found), found, strict=True))
    saved = time.monotonic()
    try:
        for frame in tqdm(frames, desc="teacher", unit="frame", disable=not verbose):
            if frame.fingerprint() in labelled:
                continue
            tensors = np.asarray(teacher.predict(frame), dtype=float)
            if not np.isfinite(tensors).all():
                raise LabelError(
                    "the teacher's tensors are not finite: it cannot teach these frames"
                )
            info = {"source": sources["teacher"]}
            labelled[frame.fingerprint()] = LabelledFrame(frame, {APT.name: tensors}, info)
            if kept and time.monotonic() - saved > CHECKPOINT_EVERY:
                Dataset([*labelled.values()], sources=sources).save(cache)
                saved = time.monotonic()
    finally:
        # also after an interruption: what is labelled is kept
        if kept and labelled:
            Dataset([*labelled.values()], sources=sources).save(cache)
    return Dataset([labelled[frame.fingerprint()] for frame in frames], sources=sources)
