"""Labelled frames as the training loop needs them: network inputs, labels with weights, output scales."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from MDAnalysis.guesser.tables import SYMB2Z, Z2SYMB
from numpy.typing import NDArray

from mda_aptnn.dataset import Dataset
from mda_aptnn.errors import LabelError
from mda_aptnn.tensors import Target


@dataclasses.dataclass(frozen=True)
class Sample:
    """A frame, ready to train on.

    Attributes
    ----------
    inputs
        What the network's `inputs` made of the frame.
    labels : torch.Tensor, shape [n_atoms, n_cartesian]
        Cartesian components, 0 where there is no label.
    weights : torch.Tensor, shape [n_atoms, n_cartesian]
        Of the squared errors: 0 where there is no label.
    """

    inputs: Any
    labels: torch.Tensor
    weights: torch.Tensor


def make_samples(
    network: Any, dataset: Dataset, target: Target, element_weights: Mapping[str, float] | None = None
) -> list[Sample]:
    """Return a sample for each frame; what does not depend on the weights is computed here, once."""
    by_number = {SYMB2Z[symbol]: weight for symbol, weight in (element_weights or {}).items()}
    dtype = next(network.parameters()).dtype
    samples = []
    for item in dataset:
        labels = item.tensors[target.name].reshape(len(item.frame), -1)
        weights = np.array([by_number.get(int(z), 1.0) for z in item.frame.numbers])[:, None] * np.isfinite(labels)
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


def check_labels(training: Dataset, others: Mapping[str, Dataset], target: Target) -> list[int]:
    """Return the atomic numbers of the training frames, after a check that all can be trained on.

    Parameters
    ----------
    training : Dataset
    others : mapping of str to Dataset
        Validation and held-out frames, by what they are called.
    target : Target

    Raises
    ------
    LabelError
        If frames lack the target, an element has no complete label in the training frames or occurs only in the
        others, or these have no label at all.
    """
    for name, dataset in {"training": training, **others}.items():
        for index, item in enumerate(dataset):
            if target.name not in item.tensors:
                raise LabelError(f"{name} frame {index} has no labels {target.name!r}")
        if not any(np.isfinite(item.tensors[target.name]).any() for item in dataset):
            raise LabelError(f"no atom of the {name} frames has a label: every {target.name!r} is NaN")
    numbers = sorted({int(z) for item in training for z in item.frame.numbers})
    for number in numbers:
        if not len(complete_labels(training, target, number)):
            raise LabelError(
                f"no {Z2SYMB[number]} atom of the training frames has a complete label: "
                "label some, or leave the element out"
            )
    for name, dataset in others.items():
        unseen = sorted({int(z) for item in dataset for z in item.frame.numbers} - set(numbers))
        if unseen:
            raise LabelError(f"{', '.join(Z2SYMB[z] for z in unseen)} occurs in {name} frames but not in training")
    return numbers


def complete_labels(dataset: Dataset, target: Target, number: int) -> NDArray[np.float64]:
    """Return the tensors of all atoms of an element that have every component, [n, 3, 3]."""
    values = np.concatenate([item.tensors[target.name][item.frame.numbers == number] for item in dataset])
    complete: NDArray[np.float64] = values[np.isfinite(values).reshape(len(values), -1).all(axis=1)]
    return complete


def output_scales(
    dataset: Dataset, target: Target, numbers: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the network's outputs are multiplied by and shifted by, per element and irrep.

    The scale is one number for all components of an irrep, and only the invariant part is shifted: anything else
    would break rotation or reflection.

    Returns
    -------
    scale, shift : ndarray, shape [n_species, n_components]
        In the target's unit: root mean square over the labelled atoms (about the shift), and mean of the invariants.
    """
    scale, shift = np.ones((2, len(numbers), len(target.basis)))
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
