"""Several last layers on one trained body: linear fits to frames drawn with replacement."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mda_aptnn.errors import TrainingError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.file import READOUT, Arrays, Member, ModelFile
from mda_aptnn.model.irreps import name_of
from mda_aptnn.tensors import AnyTarget, component_slices
from mda_aptnn.training.ripples import without_ripples

#: What holds a fitted last layer to the trained one, in units of the mean square of a feature times
#: the number of rows: enough for features that are linearly dependent, too little to be felt
#: elsewhere.
RIDGE = 1e-4

#: For an element (number of its row) and an irrep: features [n_rows, n_channels], labels [n_rows,
#: n_copies].
_Rows = dict[tuple[int, int], tuple[NDArray[np.float64], NDArray[np.float64]]]


def bootstrap_readouts(
    contents: ModelFile, dataset: Dataset, n_members: int, seed: int
) -> ModelFile:
    """Return a committee of last layers on the body of a trained model, with the trained model as
    its mean.

    Each last layer is the ridge regression, towards the trained one, of the labels on the features
    after the body, for as many frames as there are, drawn with replacement. Frames are drawn and
    not atoms, since errors of atoms of one frame are not independent.

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
    network = contents.build(dtype=torch.float64)
    if network.readout is None:
        raise TrainingError(
            f"architecture {contents.architecture!r} has no last layer that could be fitted apart"
        )
    labels, _ = without_ripples(
        dataset, contents.target, keep=contents.training.get("keep_ripples", False)
    )
    rows = [_rows(network, item.frame, item.tensors, contents.target) for item in labels]
    trained = {
        (species, k): weights[species].numpy().astype(np.float64)
        for k, weights in enumerate(network.readout.weights)
        for species in range(len(weights))
    }
    rng = np.random.default_rng([seed, len(rows)])
    found = []
    for _ in range(n_members):
        drawn = [rows[int(k)] for k in rng.choice(len(rows), len(rows))]
        found.append({key: _regression(drawn, key, weights) for key, weights in trained.items()})
    for key, weights in trained.items():
        shift = weights - np.mean([layers[key] for layers in found], axis=0)
        for layers in found:
            layers[key] = layers[key] + shift
    state = contents.shared | contents.members[0].weights
    shared = {name: values for name, values in state.items() if not name.startswith(READOUT)}
    # the one learning curve is that of the body
    curves = [contents.members[0].learning, *({} for _ in found[1:])]
    members = [
        Member(_arrays(state, layers), learning=curve)
        for layers, curve in zip(found, curves, strict=True)
    ]
    return dataclasses.replace(contents, shared=shared, members=members)


def _rows(
    network: Any, frame: Any, tensors: Mapping[str, NDArray[np.float64]], target: AnyTarget
) -> _Rows:
    """Features and scaled labels of the atoms with complete labels."""
    inputs = network.inputs(frame)
    features = network.body(inputs)
    atom_of = np.argsort(inputs.places.numpy())
    components = np.concatenate(
        [part.to_irreps(tensors[part.name]) for part in target.parts], axis=1
    )[atom_of]
    species = inputs.species.numpy()
    scale, shift = network.scale.numpy()[species], network.shift.numpy()[species]
    scaled = (components - shift) / scale
    rows: _Rows = {}
    for k, (degree, parity) in enumerate(network.readout.irreps):
        blocks = _blocks(target, name_of((degree, parity)))
        # an atom that lacks a component of one target lacks all of this target's irreps, not those
        # of the other
        complete = np.isfinite(np.concatenate([scaled[:, block] for block in blocks], axis=1)).all(
            axis=1
        )
        values = features[degree, parity].numpy()  # [2l+1, n_atoms, n_channels]
        copies = np.stack(
            [scaled[:, block].T for block in blocks], axis=-1
        )  # [2l+1, n_atoms, n_copies]
        for number in range(len(network.numbers)):
            chosen = complete & (species == number)
            x = values[:, chosen].reshape(-1, values.shape[2]) / math.sqrt(values.shape[2])
            rows[number, k] = (x, copies[:, chosen].reshape(-1, len(blocks)))
    return rows


def _blocks(target: AnyTarget, irrep: str) -> list[slice]:
    """Where the components of all copies of an irrep stand."""
    found = []
    for part, columns in component_slices(target).items():
        for name, block in part.blocks:
            if name.split(".")[0] == irrep:
                found.append(slice(columns.start + block.start, columns.start + block.stop))
    return found


def _regression(
    frames: list[_Rows], key: tuple[int, int], trained: NDArray[np.float64]
) -> NDArray[np.float64]:
    x, y = (np.concatenate([rows[key][part] for rows in frames]) for part in (0, 1))
    square = x.T @ x
    size = len(square)
    if not square.any():  # an element that was not drawn, or a molecule that has no such feature
        return trained.copy()
    ridge = RIDGE * float(np.trace(square)) / size
    change: NDArray[np.float64] = np.linalg.solve(
        square + ridge * np.eye(size), x.T @ (y - x @ trained)
    )
    return trained + change


def _arrays(state: Arrays, layers: dict[tuple[int, int], NDArray[np.float64]]) -> Arrays:
    """Last layers as the network's state has them."""
    arrays = {name: values.copy() for name, values in state.items() if name.startswith(READOUT)}
    for (species, k), weights in layers.items():
        arrays[f"{READOUT}weights.{k}"][species] = weights
    return arrays
