"""Labelled frames as training and evaluation need them: chosen, checked, scaled, and as tensors."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mda_aptnn.elements import SYMBOLS, atomic_numbers, symbols_of
from mda_aptnn.errors import LabelError
from mda_aptnn.labels.dataset import Dataset, read_labels
from mda_aptnn.model.devices import moved
from mda_aptnn.model.inputs import joined_inputs
from mda_aptnn.tensors import APT, TARGETS, AnyTarget, Target, component_slices, flat_tensors, joint

Array = NDArray[np.float64]
#: Labelled frames, or where they are read from.
Labels = Dataset | str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def as_dataset(labels: Labels) -> Dataset:
    """Return labelled frames, read where they are paths."""
    return labels if isinstance(labels, Dataset) else read_labels(labels)


def fingerprints(dataset: Dataset) -> list[str]:
    """Return what tells each frame of a data set from others, by content."""
    return [item.frame.fingerprint() for item in dataset]


def known_frames(card: Mapping[str, Any], dataset: Dataset) -> dict[str, list[int]]:
    """Return which frames, by content, belong to each part of the data that a model's card has."""
    prints, known = fingerprints(dataset), card.get("data", {}).get("fingerprints", {})
    return {
        name: [index for index, own in enumerate(prints) if own in wanted]
        for name, wanted in ((name, set(found)) for name, found in known.items())
    }


def held_out_frames(card: Mapping[str, Any], dataset: Dataset) -> Dataset:
    """Return the frames that a model's card says were held out, by content.

    Raises
    ------
    LabelError
        If none of them is there.
    """
    found = known_frames(card, dataset).get("held_out", [])
    if not found:
        n_wanted = len(card.get("data", {}).get("fingerprints", {}).get("held_out", ()))
        raise LabelError(
            f"none of {len(dataset)} frames is one of the {n_wanted} that the model's card says "
            "were held out"
        )
    return dataset.subset(found)


def complete_atoms(tensors: Array) -> NDArray[np.bool_]:
    """Return which atoms have every component, [n_atoms]."""
    return np.asarray(np.isfinite(tensors.reshape(len(tensors), -1)).all(axis=1))


def complete_labels(dataset: Dataset, target: Target) -> dict[int, Array]:
    """Return, by atomic number, the tensors that have every component, [n, 3, 3]; n may be 0."""
    return {z: own for z, (_, own) in dataset.by_element(target).items()}


def labelled_target(dataset: Dataset) -> AnyTarget:
    """Return what the frames have labels of: polar tensors, polarizability gradients, or both."""
    found = [
        target
        for name, target in TARGETS.items()
        if any(np.isfinite(item.tensors.get(name, np.nan)).any() for item in dataset)
    ]
    return joint(found or [APT])


def with_all_parts(dataset: Dataset, target: AnyTarget) -> Dataset:
    """Return frames that have every part of a joint target: NaN where one has no such labels."""
    if len(target.parts) == 1:
        return dataset
    frames = []
    for item in dataset:
        empty = {x.name: np.full((len(item.frame), *x.shape), np.nan) for x in target.parts}
        frames.append(dataclasses.replace(item, tensors=empty | item.tensors))
    return dataclasses.replace(dataset, frames=frames)


def check_labels(
    parts: Mapping[str, Dataset], target: AnyTarget, *, members: bool = False
) -> list[int]:
    """Return the atomic numbers of the training frames, after a check that all can be trained on.

    Parameters
    ----------
    parts : mapping of str to Dataset
        The frames of "training", and of validation and held-out ones, by what they are called.
    target : Target or JointTarget
    members : bool
        Members of a committee draw validation frames from those of training: none may be in twice.

    Raises
    ------
    LabelError
        If frames lack the target, an element has no complete label in the training frames or occurs
        only in the others, these have no label at all, or a frame is in two parts.
    """
    seen: dict[str, tuple[str, int]] = {}
    for name, dataset in parts.items():
        for index, own in enumerate(fingerprints(dataset)):
            before, first = seen.setdefault(own, (name, index))
            what = f"{name} frame {index} is"
            if members and (before, first) != (name, index):
                raise LabelError(
                    f"{what} {before} frame {first} once more, and each member is validated by "
                    "others: leave one out"
                )
            if before != name:
                raise LabelError(f"{what} among the {before} frames too: leave out the duplicate")
    elements: dict[str, set[int]] = {}
    for part, (name, dataset) in itertools.product(target.parts, parts.items()):
        for index, item in enumerate(dataset):
            if part.name not in item.tensors:
                raise LabelError(f"{name} frame {index} has no labels {part.name!r}")
        counts = {z: len(labels) for z, labels in complete_labels(dataset, part).items()}
        elements[name] = set(counts)
        if not any(counts.values()):
            what = f"no atom of the {name} frames has a complete label: every {part.name!r}"
            advice = "keep other or more frames aside (seed, validation), or train the other"
            advice = "" if name == "training" else f"; {advice} target alone"
            raise LabelError(f"{what} has a NaN{advice}")
        without = symbols_of(sorted(z for z, count in counts.items() if not count))
        if name == "training" and without:
            raise LabelError(
                f"no {without[0]} atom of the training frames has a complete label "
                f"{part.name!r}: label some, or leave the element out"
            )
    for name, found in elements.items():
        if unseen := symbols_of(sorted(found - elements["training"])):
            raise LabelError(f"{', '.join(unseen)} occurs in {name} frames but not in training")
    return sorted(elements["training"])


def output_scales(
    dataset: Dataset, target: AnyTarget, numbers: Sequence[int]
) -> tuple[Array, Array]:
    """Return what the outputs of a network are multiplied and shifted by.

    The scale is one number for all components of an irrep, and only the invariant part is shifted:
    anything else would break rotation or reflection.

    Returns
    -------
    scale, shift : ndarray, shape [n_species, n_components]
        In the target's unit, per element and irrep of each part: root mean square over the labelled
        atoms (about the shift), and mean of the invariants.
    """
    scale = np.ones((len(numbers), target.n_components))
    shift = np.zeros_like(scale)
    for part, columns in component_slices(target).items():
        labels = complete_labels(dataset, part)
        for row, number in enumerate(numbers):
            components = part.to_irreps(labels[number])
            floor = 1e-3 * np.sqrt(np.mean(components**2))
            for name, block in part.blocks:
                own, values = np.r_[columns][block], components[:, block]
                if name.split(".")[0] == "0e":
                    shift[row, own] = values.mean(axis=0)
                spread = np.sqrt(np.mean((values - shift[row, own]) ** 2))
                # a part that never varied in the labels must still be able to
                scale[row, own] = max(spread, floor, np.finfo(float).tiny)
    return scale, shift


@dataclasses.dataclass(frozen=True)
class Sample:
    """A frame, or several, ready to train on.

    Attributes
    ----------
    inputs
        What the network's `inputs` made of the frame.
    labels : torch.Tensor, shape [n_atoms, n_cartesian]
        Cartesian components of all parts of the target, 0 where there is no label.
    weights : torch.Tensor, shape [n_atoms, n_cartesian]
        Of the squared errors: 0 where there is no label.
    """

    inputs: Any
    labels: torch.Tensor
    weights: torch.Tensor

    def on(self, device: torch.device) -> Sample:
        """Return it with its tensors on a device."""
        return Sample(*(moved(part, device) for part in (self.inputs, self.labels, self.weights)))


def make_samples(
    network: Any,
    dataset: Dataset,
    target: AnyTarget,
    element_weights: Mapping[str, float] | None = None,
) -> list[Sample]:
    """Return a sample for each frame, with all that does not depend on the weights."""
    weight_of = np.ones(len(SYMBOLS))
    for symbol, weight in (element_weights or {}).items():
        weight_of[atomic_numbers([symbol])] = weight
    dtype = next(network.parameters()).dtype
    samples = []
    for item in dataset:
        labels = flat_tensors(target, item.tensors)
        weights = weight_of[item.frame.numbers][:, None] * np.isfinite(labels)
        tensors = (torch.as_tensor(x, dtype=dtype) for x in (np.nan_to_num(labels), weights))
        samples.append(Sample(network.inputs(item.frame), *tensors))
    return samples


def join(samples: Sequence[Sample]) -> Sample:
    """Return several samples as one."""
    return Sample(
        joined_inputs([sample.inputs for sample in samples]),
        torch.cat([sample.labels for sample in samples]),
        torch.cat([sample.weights for sample in samples]),
    )
