"""Committees: several members trained on the same labels, and how far their spread is from their
error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mda_aptnn import io
from mda_aptnn.errors import LabelError, TrainingError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.architectures import network_for
from mda_aptnn.model.file import ModelFile
from mda_aptnn.model.predict import Model, load_model
from mda_aptnn.tensors import AnyTarget, card_key
from mda_aptnn.training import checkpoint
from mda_aptnn.training.band_errors import band_calibration, band_errors
from mda_aptnn.training.calibration import calibrated
from mda_aptnn.training.card import accuracy, model_card
from mda_aptnn.training.config import TrainingConfig, split
from mda_aptnn.training.evaluate import evaluate
from mda_aptnn.training.fit import fit
from mda_aptnn.training.readouts import bootstrap_readouts
from mda_aptnn.training.samples import (
    check_labels,
    labelled_target,
    repeated_frames,
    with_all_parts,
)

logger = logging.getLogger(__name__)

#: What the card calls the two kinds.
INDEPENDENT, LAST_LAYERS = "independent members", "last layers on one body"


def fit_committee(
    dataset: Dataset,
    n_members: int,
    network: Any = None,
    training: TrainingConfig | None = None,
    path: str | os.PathLike[str] = "committee.h5",
    *,
    held_out: Dataset | None = None,
    shared_body: bool = False,
    target: AnyTarget | None = None,
    verbose: bool = False,
) -> Model:
    """Train a committee and write its model file, its spread calibrated on the held-out frames.

    Independent members have the same held-out frames; each has first weights and an order of frames
    of its own (its seed is that of the plan plus its number), and validation frames of its own, so
    that all frames but the held-out ones train most of the members. With a shared body, one network
    is trained, and then only its last, linear layer is fitted again for each member, to frames
    drawn with replacement: hardly dearer than a single model in training and prediction.

    A run that was killed leaves its finished members, and the checkpoint of the unfinished one, in
    the folder MODEL.members beside `path`; the same call goes on from there.

    Parameters
    ----------
    dataset : Dataset
        As for `fit`.
    n_members : int
        Two or more.
    network, training, target, verbose
        As for `fit`.
    path : path
        Of the model file, checked before training.
    held_out : Dataset, optional
        Frames to calibrate the spread by, instead of a part of `dataset`.
    shared_body : bool
        Last layers on one body instead of independent members.

    Returns
    -------
    Model

    Raises
    ------
    LabelError
        If the labels cannot be trained on.
    OSError
        If the file cannot be written.
    TrainingError
        If there are less than two members, or one diverges.
    """
    target = target or labelled_target(dataset)
    dataset = with_all_parts(dataset, target)
    network, training = network_for(network, target), training or TrainingConfig()
    if n_members < 2:
        raise TrainingError(f"a committee has two or more members, not {n_members}")
    path = io.check_writable(path)
    learned, chosen, aside = split(len(dataset), training)
    # in the order of the seed, so that validation frames of the first members are spread over the
    # data
    frames = np.random.default_rng(training.seed).permutation(sorted([*learned, *chosen])).tolist()
    parts = {
        "training": dataset.subset(sorted(frames)),
        "held_out": dataset.subset(aside) if held_out is None else with_all_parts(held_out, target),
    }
    parts = {name: part for name, part in parts.items() if len(part)}
    _check(parts, target)
    folder = path.with_name(f"{path.stem}.members")
    files = []
    for number in range(1 if shared_body else n_members):
        part = [frames[(number * len(chosen) + k) % len(frames)] for k in range(len(chosen))]
        config = dataclasses.replace(training, seed=training.seed + number, held_out=0.0)
        files.append(
            _fit_member(
                folder,
                number,
                dataset.subset(sorted(set(frames) - set(part))),
                dataset.subset(part),
                (network, config, target),
                verbose,
            )
        )
    singles = [ModelFile.load(file) for file in files]
    if shared_body:
        body_frames = dataset.subset(sorted(set(frames) - set(frames[: len(chosen)])))
        contents = bootstrap_readouts(singles[0], body_frames, n_members, training.seed)
    else:
        contents = dataclasses.replace(
            singles[0], members=[single.members[0] for single in singles]
        )
    card = _card(parts, singles, LAST_LAYERS if shared_body else INDEPENDENT, target)
    contents = dataclasses.replace(contents, training=dataclasses.asdict(training), card=card)
    if "held_out" in parts:
        for head in target.parts:
            evaluation = evaluate(Model(contents), parts["held_out"], head)
            card[card_key("spread", target, head)] = calibrated(evaluation, {}, "held-out frames")
            card["accuracy"][card_key("held_out", target, head)] = accuracy(evaluation)
        errors = band_errors(Model(contents), parts["held_out"])
        if errors:
            card["spread"]["bands"] = band_calibration(errors, "held-out frames")
    else:
        logger.warning(
            "no frames were held out, so the committee's spread is not calibrated: "
            "mda-aptnn evaluate --calibrate does it with frames that it has not seen"
        )
    contents.save(path)
    for file in files:
        io.remove(file, "model")
    with contextlib.suppress(OSError):  # something else in it is not ours
        folder.rmdir()
    model: Model = load_model(path)
    return model


def _check(parts: dict[str, Dataset], target: AnyTarget) -> None:
    """Refuse, before hours of training, what would be refused at its end."""
    check_labels(
        parts["training"],
        {name: part for name, part in parts.items() if name != "training"},
        target,
    )
    for name, index, before, first in repeated_frames(parts):
        raise LabelError(
            f"{name} frame {index} is {before} frame {first} once more, and each member is "
            f"validated by others: "
            "leave one out"
        )


def _fit_member(
    folder: Path,
    number: int,
    training: Dataset,
    validation: Dataset,
    settings: tuple[Any, TrainingConfig, AnyTarget],
    verbose: bool,
) -> Path:
    """Train a member, unless it is there; its file is named by all that it depends on."""
    network, config, target = settings
    who = checkpoint.identity(
        {"network": dataclasses.asdict(network), "training": dataclasses.asdict(config)},
        {"training": training, "validation": validation},
        target,
    )
    folder.mkdir(exist_ok=True)
    path = folder / f"member-{number}-{hashlib.sha256(who.encode()).hexdigest()[:12]}.h5"
    if not path.exists():
        logger.info("member %d", number)
        # a diverged run writes a file too, and that is no finished member
        unfinished = path.with_name(f"unfinished-{path.name}")
        try:
            fit(
                training,
                network,
                config,
                unfinished,
                validation=validation,
                target=target,
                verbose=verbose,
            )
        except TrainingError as error:
            raise TrainingError(f"member {number}: {error}") from error
        io.move(unfinished, path)
    return path


def _card(
    parts: dict[str, Dataset], singles: Sequence[ModelFile], kind: str, target: AnyTarget
) -> dict[str, Any]:
    members = [
        {
            "seed": single.training["seed"],
            "n_frames": single.card["data"]["n_frames"],
            "validation_frames": single.card["data"]["fingerprints"]["validation"],
            "validation_rmse": single.card["accuracy"]["validation"]["rmse"],
            "grid_ripples_removed": single.card["grid_ripples_removed"],
            **single.card["run"],
        }
        for single in singles
    ]
    run = {name: sum(member[name] for member in members) for name in ("steps", "seconds")}
    return {
        **model_card(parts, target),
        "committee": {"kind": kind, "trained": members},
        "run": run,
        "accuracy": {},
    }
