"""Labelled frames as the training loop needs them: network inputs, labels with weights, output
scales.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mda_aptnn.elements import SYMBOLS, atomic_numbers, symbols_of
from mda_aptnn.errors import LabelError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.tensors import APT, TARGETS, AnyTarget, Target, flat_tensors, joint


@dataclasses.dataclass(frozen=True)
class Sample:
    """A frame, ready to train on.

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


def make_samples(
    network: Any,
    dataset: Dataset,
    target: AnyTarget,
    element_weights: Mapping[str, float] | None = None,
) -> list[Sample]:
    """Return a sample for each frame; what does not depend on the weights is computed here, once."""
    by_number = {
        int(atomic_numbers([symbol])[0]): weight
        for symbol, weight in (element_weights or {}).items()
    }
    dtype = next(network.parameters()).dtype
    samples = []
    for item in dataset:
        labels = flat_tensors(target, item.tensors)
        weights = np.array([by_number.get(int(z), 1.0) for z in item.frame.numbers])[
            :, None
        ] * np.isfinite(labels)
        samples.append(
            Sample(
                network.inputs(item.frame),
                torch.as_tensor(np.nan_to_num(labels), dtype=dtype),
                torch.as_tensor(weights, dtype=dtype),
            )
        )
    return samples


def join(samples: Sequence[Sample]) -> Sample:
    """Return several samples as one."""
    if len(samples) == 1:
        return samples[0]
    return Sample(
        type(samples[0].inputs).together([sample.inputs for sample in samples]),
        torch.cat([sample.labels for sample in samples]),
        torch.cat([sample.weights for sample in samples]),
    )


def labelled_target(dataset: Dataset) -> AnyTarget:
    """Return what the frames have labels of: polar tensors, polarizability gradients, or both."""
    found = [
        target
        for target in TARGETS.values()
        if any(
            np.isfinite(item.tensors[target.name]).any()
            for item in dataset
            if target.name in item.tensors
        )
    ]
    return joint(found or [APT])


def with_all_parts(dataset: Dataset, target: AnyTarget) -> Dataset:
    """Return frames that have every part of a joint target: NaN where one has no such labels."""
    if len(target.parts) == 1:
        return dataset
    frames = []
    for item in dataset:
        missing = [part for part in target.parts if part.name not in item.tensors]
        empty = {part.name: np.full((len(item.frame), *part.shape), np.nan) for part in missing}
        frames.append(dataclasses.replace(item, tensors={**item.tensors, **empty}))
    return dataclasses.replace(dataset, frames=frames)


def check_labels(training: Dataset, others: Mapping[str, Dataset], target: AnyTarget) -> list[int]:
    """Return the atomic numbers of the training frames, after a check that all can be trained on.

    Parameters
    ----------
    training : Dataset
    others : mapping of str to Dataset
        Validation and held-out frames, by what they are called.
    target : Target or JointTarget

    Raises
    ------
    LabelError
        If frames lack the target, an element has no complete label in the training frames or occurs
        only in the others, or these have no label at all.
    """
    numbers = sorted({int(z) for item in training for z in item.frame.numbers})
    for part in target.parts:
        _check_part({"training": training, **others}, part, numbers)
    for name, dataset in others.items():
        unseen = sorted({int(z) for item in dataset for z in item.frame.numbers} - set(numbers))
        if unseen:
            raise LabelError(
                f"{', '.join(symbols_of(unseen))} occurs in {name} frames but not in training"
            )
    return numbers


def _check_part(parts: Mapping[str, Dataset], target: Target, numbers: Sequence[int]) -> None:
    """Refuse data sets without labels of one target."""
    for name, dataset in parts.items():
        for index, item in enumerate(dataset):
            if target.name not in item.tensors:
                raise LabelError(f"{name} frame {index} has no labels {target.name!r}")
        if not any(complete_atoms(item.tensors[target.name]).any() for item in dataset):
            raise LabelError(
                f"no atom of the {name} frames has a complete label: every {target.name!r} has a "
                f"NaN; keep other or "
                "more frames aside (seed, validation), or train the other target alone"
                if name != "training"
                else f"no atom of the {name} frames has a complete label: every {target.name!r} has a NaN"
            )
    for number in numbers:
        if not len(complete_labels(parts["training"], target, number)):
            raise LabelError(
                f"no {SYMBOLS[number]} atom of the training frames has a complete label "
                f"{target.name!r}: "
                "label some, or leave the element out"
            )


def complete_labels(dataset: Dataset, target: Target, number: int) -> NDArray[np.float64]:
    """Return the tensors of all atoms of an element that have every component, [n, 3, 3]."""
    values = np.concatenate(
        [item.tensors[target.name][item.frame.numbers == number] for item in dataset]
    )
    complete: NDArray[np.float64] = values[complete_atoms(values)]
    return complete


def complete_atoms(tensors: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which atoms have every component, [n_atoms]."""
    return np.asarray(np.isfinite(tensors.reshape(len(tensors), -1)).all(axis=1))


def held_out_frames(card: Mapping[str, Any], dataset: Dataset) -> Dataset:
    """Return the frames that a model's card says were held out, by content.

    Raises
    ------
    LabelError
        If none of them is there.
    """
    prints = set(card.get("data", {}).get("fingerprints", {}).get("held_out", ()))
    found = [index for index, item in enumerate(dataset) if item.frame.fingerprint() in prints]
    if not found:
        raise LabelError(
            f"none of {len(dataset)} frames is one of the {len(prints)} that the model's card says "
            f"were held out"
        )
    return dataset.subset(found)


def repeated_frames(parts: Mapping[str, Dataset]) -> Iterator[tuple[str, int, str, int]]:
    """Yield frames that were there before, by content: part and index, and those of the first one."""
    found: dict[str, tuple[str, int]] = {}
    for name, dataset in parts.items():
        for index, item in enumerate(dataset):
            before = found.setdefault(item.frame.fingerprint(), (name, index))
            if before != (name, index):
                yield name, index, *before


def output_scales(
    dataset: Dataset, target: AnyTarget, numbers: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the network's outputs are multiplied by and shifted by, per element and irrep of
    each part.

    The scale is one number for all components of an irrep, and only the invariant part is shifted:
    anything else would break rotation or reflection.

    Returns
    -------
    scale, shift : ndarray, shape [n_species, n_components]
        In the target's unit: root mean square over the labelled atoms (about the shift), and mean
        of the invariants.
    """
    parts = [_part_scales(dataset, part, numbers) for part in target.parts]
    scales, shifts = zip(*parts, strict=True)
    return np.concatenate(scales, axis=1), np.concatenate(shifts, axis=1)


def _part_scales(
    dataset: Dataset, target: Target, numbers: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scale, shift = np.ones((2, len(numbers), target.n_components))
    shift[:] = 0.0
    for row, number in enumerate(numbers):
        components = target.to_irreps(complete_labels(dataset, target, number))
        floor = 1e-3 * np.sqrt(np.mean(components**2))
        for name, block in target.blocks:
            if name.split(".")[0] == "0e":
                shift[row, block] = components[:, block].mean(axis=0)
            spread = np.sqrt(np.mean((components[:, block] - shift[row, block]) ** 2))
            # a part that never varied in the labels must still be able to
            scale[row, block] = max(spread, floor, np.finfo(float).tiny)
    return scale, shift
