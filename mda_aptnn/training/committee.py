"""Committees: independent members, or several last layers on one body, with a calibrated spread."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mda_aptnn import io
from mda_aptnn.errors import TrainingError
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.model.architectures import architecture_of, network_for
from mda_aptnn.model.file import READOUT, Member, ModelFile
from mda_aptnn.model.irreps import name_of
from mda_aptnn.model.predict import Model, load_model
from mda_aptnn.tensors import AnyTarget, component_slices
from mda_aptnn.training import samples
from mda_aptnn.training.calibration import calibrate
from mda_aptnn.training.card import accuracies, model_card
from mda_aptnn.training.config import TrainingConfig, split
from mda_aptnn.training.fit import fit, origin, started
from mda_aptnn.training.loop import identity
from mda_aptnn.training.ripples import without_ripples
from mda_aptnn.training.samples import Array

logger = logging.getLogger(__name__)

#: What the card calls the three kinds.
INDEPENDENT, LAST_LAYERS = "independent members", "last layers on one body"
TAUGHT_LAYERS = "last layers on one body, each taught by one member of the teacher"
#: What holds a fitted last layer to the trained one, in units of the mean square of a feature times
#: the number of rows: enough for features that are linearly dependent, too little to be felt
#: elsewhere.
RIDGE = 1e-4

#: For each element (number of its row) and irrep: features [n_rows, n_channels] and labels [n_rows,
#: n_copies].
_Rows = dict[tuple[int, int], tuple[Array, Array]]


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
    target = target or samples.labelled_target(dataset)
    dataset = samples.with_all_parts(dataset, target)
    start, network = started(network)
    training = training or TrainingConfig()
    network = network_for(network, target) if start is None else network
    if n_members < 2:
        raise TrainingError(f"a committee has two or more members, not {n_members}")
    if shared_body:
        check_readout(network, target)
    path = io.check_writable(path)
    learned, chosen, aside = split(len(dataset), training)
    # in the order of the seed, so that validation frames of the first members are spread over the
    # data
    frames = np.random.default_rng(training.seed).permutation(sorted([*learned, *chosen])).tolist()
    parts = {
        "training": dataset.subset(sorted(frames)),
        "held_out": dataset.subset(aside)
        if held_out is None
        else samples.with_all_parts(held_out, target),
    }
    parts = {name: part for name, part in parts.items() if len(part)}
    # refused here, before hours of training, and not at its end
    samples.check_labels(parts, target, members=True)
    folder = path.with_name(f"{path.stem}.members")
    files, trained_on = [], []
    for number in range(1 if shared_body else n_members):
        own = [frames[(number * len(chosen) + k) % len(frames)] for k in range(len(chosen))]
        options = {"validation": dataset.subset(own), "target": target, "verbose": verbose}
        trained_on.append(dataset.subset(sorted(set(frames) - set(own))))
        config = dataclasses.replace(training, seed=training.seed + number, held_out=0.0)
        begin = network if start is None else start.single(number % len(start.members))
        files.append(_fit_member(folder, number, trained_on[-1], begin, config, options))
    singles = [ModelFile.load(file) for file in files]
    if shared_body:
        contents = bootstrap_readouts(singles[0], trained_on[0], n_members, training.seed)
    else:
        members = [single.members[0] for single in singles]
        contents = dataclasses.replace(singles[0], members=members)
    kind = LAST_LAYERS if shared_body else INDEPENDENT
    card = model_card(parts, target) | _members_card(singles, kind) | origin(start)
    card["accuracy"] = {}
    contents = dataclasses.replace(contents, training=dataclasses.asdict(training), card=card)
    if "held_out" in parts:
        model = Model(contents)
        calibrate(model, parts["held_out"], target.parts, "held-out frames")
        card["accuracy"] = accuracies(model, "held_out", parts["held_out"])
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
    found: Model = load_model(path)
    return found


def _fit_member(
    folder: Path, number: int, data: Dataset, network: Any, config: TrainingConfig, options: Any
) -> Path:
    """Train a member, unless it is there; its file is named by all that it depends on."""
    start, shape = started(network)
    settings = {"network": dataclasses.asdict(shape), "training": dataclasses.asdict(config)}
    settings |= origin(start)
    parts = {"training": data, "validation": options["validation"]}
    who = identity(settings, parts, options["target"])
    folder.mkdir(exist_ok=True)
    path = folder / f"member-{number}-{hashlib.sha256(who.encode()).hexdigest()[:12]}.h5"
    if path.exists():
        return path
    logger.info("member %d", number)
    try:
        fit_to_the_end(data, network, config, path, **options)
    except TrainingError as error:
        raise TrainingError(f"member {number}: {error}") from error
    return path


def fit_to_the_end(
    data: Dataset, network: Any, config: TrainingConfig, path: Path, **how: Any
) -> None:
    """As `fit`, but there is no file of a run that diverged: what is there is finished."""
    unfinished = path.with_name(f"unfinished-{path.name}")
    fit(data, network, config, unfinished, **how)
    io.move(unfinished, path)


def _members_card(singles: Sequence[ModelFile], kind: str) -> dict[str, Any]:
    """What the card says of the training of each member, and of all of it."""
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
    return {"committee": {"kind": kind, "trained": members}, "run": run}


def bootstrap_readouts(
    contents: ModelFile, dataset: Dataset, n_members: int, seed: int
) -> ModelFile:
    """Return a committee of last layers on the body of a trained model, which is their mean.

    Each last layer is fitted to as many frames as there are, drawn with replacement. Frames are
    drawn and not atoms, since errors of atoms of one frame are not independent.

    Parameters
    ----------
    contents : ModelFile
        A trained single model.
    dataset : Dataset
        The frames that it was trained on.
    n_members, seed : int

    Raises
    ------
    TrainingError
        If the network has no linear last layer.
    """
    keep = contents.training.get("keep_ripples", False)
    labels, _ = without_ripples(dataset, contents.target, keep=keep)
    rows = _rows(contents, [labels])[0]
    rng = np.random.default_rng([seed, len(rows)])
    draws = [rng.choice(len(rows), len(rows)) for _ in range(n_members)]
    return _with_readouts(contents, [[rows[i] for i in drawn] for drawn in draws])


def taught_readouts(contents: ModelFile, taught: Sequence[Dataset]) -> ModelFile:
    """Return a committee of last layers on the body of a student, one for each of its teachers.

    Parameters
    ----------
    contents : ModelFile
        A single model that was trained on the mean of the teachers' tensors, and is their mean.
    taught : sequence of Dataset
        The same frames, with the tensors of one teacher each.

    Raises
    ------
    TrainingError
        If the network has no linear last layer.
    """
    return _with_readouts(contents, _rows(contents, taught))


def _with_readouts(contents: ModelFile, labels: list[list[_Rows]]) -> ModelFile:
    """The last layer of each member: the ridge regression, towards the trained one, of its labels.

    The differences to the mean are what is kept, so that the mean stays the trained model.
    """
    state, layers = contents.shared | contents.members[0].weights, {}
    n_irreps = sum(name.startswith(f"{READOUT}weights.") for name in state)
    for k in range(n_irreps):
        name = f"{READOUT}weights.{k}"
        trained = state[name].astype(np.float64)  # [n_species, n_channels, n_copies]
        found = np.array(
            [[_regression(rows, (s, k), w) for s, w in enumerate(trained)] for rows in labels]
        )
        layers[name] = (found + (trained - found.mean(axis=0))).astype(state[name].dtype)
    members = []
    for number in range(len(labels)):
        weights = {name: values[number] for name, values in layers.items()}
        # the one learning curve is that of the body
        members.append(Member(weights, {}, {} if number else contents.members[0].learning))
    shared = {name: values for name, values in state.items() if name not in layers}
    return dataclasses.replace(contents, shared=shared, members=members)


def check_readout(config: Any, target: AnyTarget) -> None:
    """Refuse a network whose last layer cannot be fitted apart, before it is trained.

    Raises
    ------
    TrainingError
        Names the architecture.
    """
    architecture = architecture_of(config)
    if architecture.network(config, [1], target).readout is None:
        raise TrainingError(
            f"architecture {architecture.name!r} has no last layer that could be fitted apart: "
            "train independent members, or take the default architecture"
        )


def _rows(contents: ModelFile, labels: Sequence[Dataset]) -> list[list[_Rows]]:
    """Features after the body and scaled labels, for each dataset and frame; all have the same."""
    check_readout(contents.config, contents.target)
    network = contents.build(dtype=torch.float64)
    of_frames = [
        _rows_of_frame(network, items, contents.target) for items in zip(*labels, strict=True)
    ]
    return [list(rows) for rows in zip(*of_frames, strict=True)]


def _rows_of_frame(network: Any, items: Sequence[LabelledFrame], target: AnyTarget) -> list[_Rows]:
    """Of the atoms of one frame with complete labels; the items have the same frame."""
    inputs = network.inputs(items[0].frame)
    with torch.no_grad():
        features = network.body(inputs)
    atom_of, species = np.argsort(inputs.places.numpy()), inputs.species.numpy()
    scale, shift = network.scale.numpy()[species], network.shift.numpy()[species]
    found = []
    for item in items:
        components = [part.to_irreps(item.tensors[part.name])[atom_of] for part in target.parts]
        scaled = (np.concatenate(components, axis=1) - shift) / scale
        rows: _Rows = {}
        for k, irrep in enumerate(network.readout.irreps):
            copies = np.stack(
                [
                    scaled[:, columns][:, block].T
                    for part, columns in component_slices(target).items()
                    for name, block in part.blocks
                    if name.split(".")[0] == name_of(irrep)
                ],
                axis=-1,
            )  # [2l+1, n_atoms, n_copies]
            values = features[irrep].numpy()  # [2l+1, n_atoms, n_channels]
            # an atom that lacks a component of one target lacks all of this target's irreps, not
            # those of the other
            complete = np.isfinite(copies).all(axis=(0, 2))
            for number in range(len(network.numbers)):
                chosen = complete & (species == number)
                x = values[:, chosen].reshape(-1, values.shape[2]) / math.sqrt(values.shape[2])
                rows[number, k] = (x, copies[:, chosen].reshape(-1, copies.shape[2]))
        found.append(rows)
    return found


def _regression(frames: list[_Rows], key: tuple[int, int], trained: Array) -> Array:
    x, y = (np.concatenate([rows[key][part] for rows in frames]) for part in (0, 1))
    square = x.T @ x
    size = len(square)
    if not square.any():  # an element that was not drawn, or a molecule that has no such feature
        return trained.copy()
    ridge = RIDGE * float(np.trace(square)) / size
    change: Array = np.linalg.solve(square + ridge * np.eye(size), x.T @ (y - x @ trained))
    return trained + change
