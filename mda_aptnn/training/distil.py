"""A student learns from a teacher: a fast network from the tensors that a slow or foreign predictor
gives.

Labels of electronic structure are dear, those of a teacher cost milliseconds an atom. The student
sees hundreds of frames of the very trajectory that it will be used for, and the true labels beside
them.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mda_aptnn import folders, io
from mda_aptnn.errors import LabelError, TrainingError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.model.predict import Model, load_model, model_identity
from mda_aptnn.tensors import APT
from mda_aptnn.training.card import accuracies
from mda_aptnn.training.config import TrainingConfig, split
from mda_aptnn.training.fit import CHECKPOINT_EVERY, fit
from mda_aptnn.training.ripples import Ripple, without_ripples

#: Settings of the first student that was tried, with ten frames and 200 of its teacher's; not
#: searched. There are labels enough to need less decay than the default has.
STUDENT = TrainingConfig(steps=8000, weight_decay=0.01, validation=0.05)


def cache_path(model: Path) -> Path:
    """Return where a teacher's labels stand while its student is made: MODEL.teacher.h5 beside it."""
    return model.with_name(f"{model.stem}.teacher.h5")


def distil(
    teacher: Any,
    frames: Sequence[Frame],
    path: str | os.PathLike[str] = "model.h5",
    *,
    labels: Dataset | None = None,
    network: Any = None,
    training: TrainingConfig | None = None,
    verbose: bool = False,
) -> Model:
    """Train a network on what another predicts, and write its model file.

    The teacher's labels are kept in MODEL.teacher.h5 beside `path`, and those of a killed run are
    taken up again. The file is removed when the model is written.

    Parameters
    ----------
    teacher
        Name, path, or any object with ``predict(frame) -> [n_atoms, 3, 3]`` in e.
    frames : sequence of Frame
        Configurations that the teacher labels, of the systems that the student is for.
    path : path
        Of the model file.
    labels : Dataset, optional
        True labels. Those that `training` holds out (by the same rule and seed as in `fit`, so that
        a teacher's held-out frames are its student's) are kept for the card; the others are trained
        on beside the teacher's.
    network : NetworkConfig, optional
        Shape of the student; the default network if not given.
    training : TrainingConfig, optional
        Its `validation` is the part of the teacher's frames by which the best weights are chosen.
    verbose : bool
        Show progress bars.

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
    training = training or STUDENT
    path = io.check_writable(path)
    source = load_model(teacher)
    cache = cache_path(path)
    with folders.reserved(cache.with_suffix(".lock"), f"the student {path}"):
        return _distilled(source, list(frames), path, cache, labels, network, training, verbose)


def _distilled(
    source: Any,
    frames: list[Frame],
    path: Path,
    cache: Path,
    labels: Dataset | None,
    network: Any,
    training: TrainingConfig,
    verbose: bool,
) -> Model:
    taught = _taught(source, frames, cache, verbose)
    _, chosen, _ = split(len(taught), dataclasses.replace(training, held_out=0.0))
    rest = sorted(set(range(len(taught))) - set(chosen))
    own, held_out = taught.subset(rest), None
    ripples: list[Ripple] = []
    if labels is not None:
        true, held_out, ripples = _true_parts(labels, training, taught)
        own = Dataset(
            [*true.frames, *own.frames], labels.level_of_theory, labels.sources | own.sources
        )
    model = fit(
        own,
        network,
        dataclasses.replace(training, held_out=0.0),
        path,
        validation=taught.subset(chosen),
        target=APT,
        verbose=verbose,
    )
    card = model.contents.card
    card["teacher"] = {
        "name": model_identity(source, source),
        "n_frames": len(taught),
        "level_of_theory": (getattr(source, "info", None) or {}).get("level_of_theory", ""),
    }
    # those of the true labels, and what is left of them among the teacher's
    card["grid_ripples_removed"] = [ripple.summary() for ripple in ripples] + card[
        "grid_ripples_removed"
    ]
    if labels is None:
        card["level_of_theory"] = card["teacher"]["level_of_theory"]
    if held_out is not None and len(held_out):
        card["accuracy"] |= accuracies(model, "held_out", held_out)
        data = card["data"]
        data["n_frames"]["held_out"] = len(held_out)
        data["fingerprints"]["held_out"] = [item.frame.fingerprint() for item in held_out]
    model.contents.save(path)
    if _has_file(source):
        io.remove(cache, Dataset.kind)
    return load_model(path)  # type: ignore[no-any-return]


def _true_parts(
    labels: Dataset, training: TrainingConfig, taught: Dataset
) -> tuple[Dataset, Dataset, list[Ripple]]:
    """True labels to train on, without ripples, those held out, and the ripples."""
    elements, found = set(labels.symbols), set(taught.symbols)
    if found - elements:
        raise LabelError(
            f"the trajectory has {', '.join(sorted(found - elements))}, which the labels have not: "
            "label frames with it, or leave --labels out"
        )
    learnt, chosen, held_out = split(len(labels), training)
    true, ripples = without_ripples(
        labels.subset(sorted([*learnt, *chosen])), APT, keep=training.keep_ripples
    )
    known = {item.frame.fingerprint() for item in taught}
    kept = labels.subset(held_out)
    for index, item in zip(held_out, kept, strict=True):
        if item.frame.fingerprint() in known:
            raise LabelError(
                f"labelled frame {index} is held out and a frame of the trajectory too"
            )
    return true, kept, ripples


def _has_file(model: Any) -> bool:
    """Whether the teacher's labels are kept: an object that came from no file cannot be told from
    another one.
    """
    return getattr(model, "path", None) is not None


def _taught(teacher: Any, frames: list[Frame], cache: Path, verbose: bool) -> Dataset:
    """The teacher's tensors of all frames; those that are in the cache are not computed again."""
    if len(frames) < 2:
        raise LabelError(
            f"{len(frames)} frames are too few to teach with: give two or more, better 200"
        )
    sources = {"teacher": model_identity(teacher, teacher)}
    known: dict[str, LabelledFrame] = {}
    if _has_file(teacher) and cache.exists():
        found = Dataset.load(cache)
        if found.sources != sources:
            raise TrainingError(
                f"{cache} holds labels of another teacher "
                f"({found.sources.get('teacher', 'not said')}); "
                "remove it, or write the model to another file"
            )
        known = {item.frame.fingerprint(): item for item in found}
    items: list[LabelledFrame] = []
    saved = time.monotonic()

    def save() -> None:
        if _has_file(teacher) and items:
            there = {item.frame.fingerprint() for item in items}
            later = [item for fingerprint, item in known.items() if fingerprint not in there]
            Dataset([*items, *later], sources=sources).save(cache)

    try:
        for frame in tqdm(frames, desc="teacher", unit="frame", disable=not verbose):
            item = known.get(frame.fingerprint())
            if item is None:
                tensors = np.asarray(teacher.predict(frame), dtype=float)
                if not np.isfinite(tensors).all():
                    raise LabelError(
                        "the teacher's tensors are not finite: it cannot teach these frames"
                    )
                item = LabelledFrame(frame, {APT.name: tensors}, {"source": sources["teacher"]})
            items.append(item)
            if time.monotonic() - saved > CHECKPOINT_EVERY:
                save()
                saved = time.monotonic()
    finally:
        # also after an interruption: what is labelled is kept
        save()
    return Dataset(items, sources=sources)
