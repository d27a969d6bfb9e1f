"""Ripples in labels that come from the real-space grid of the program that made them, found and
taken out.

A density-functional program with a real-space grid is invariant only against translations by whole
grid vectors. As an atom moves through the grid along x, the dipole along x ripples, and so does its
derivative, ``P_xx`` ("egg-box" error). A network that is invariant against translation cannot
predict that, but it can learn it by heart, one atom at a time. A ripple gives itself away by its
phase, which is the same for all atoms of an element:

    P_aa(label) = P_aa + c cos(2πn x_a/L_a) + s sin(2πn x_a/L_a)

with a whole number n of grid points along the edge L_a of the cell.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np

from mda_aptnn.elements import SYMBOLS
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.inputs import densities
from mda_aptnn.tensors import APT, AnyTarget
from mda_aptnn.training.samples import Array

logger = logging.getLogger(__name__)

#: Numbers of grid points along an edge that are tried: coarser grids are none, finer ones have no
#: ripples.
POINTS = np.arange(20, 400)
#: Least amplitude, in standard errors. The largest of as many numbers of points, if all is noise,
#: is at 3.4.
SIGNIFICANT = 6.0
#: Cutoff (Å), radial functions and degree of the densities that explain most of the labels before a
#: ripple is looked for in the rest.
DENSITY = (6.0, 8, 2)


@dataclasses.dataclass(frozen=True)
class Ripple:
    """What the grid adds to the diagonal of an element's tensors.

    Attributes
    ----------
    number : int
        Atomic number.
    points : int
        Grid points along an edge of the cell.
    cosine, sine : float
        Amplitudes, in e.
    standard_error : float
        Of the amplitudes, in e.
    """

    number: int
    points: int
    cosine: float
    sine: float
    standard_error: float

    def summary(self) -> dict[str, Any]:
        """Return what a model card says of it, with element and amplitude in e."""
        amplitude = float(np.hypot(self.cosine, self.sine))
        named = {"element": SYMBOLS[self.number], "amplitude": amplitude}
        return named | dataclasses.asdict(self)

    def at(self, fractions: Array) -> Array:
        """Return the ripple at positions along edges, in units of the edge; same shape, in e."""
        phase = 2 * np.pi * self.points * fractions
        ripple: Array = self.cosine * np.cos(phase) + self.sine * np.sin(phase)
        return ripple


def without_ripples(
    dataset: Dataset, target: AnyTarget = APT, *, keep: bool = False
) -> tuple[Dataset, list[Ripple]]:
    """Return the labels without their ripples, and these; with `keep` the labels as they are."""
    ripples = [] if keep or APT not in target.parts else find_ripples(dataset)
    if not ripples:
        return dataset, []
    what = "labels ripple with the grid that made them, and are trained on without that: %s"
    for ripple in ripples:
        logger.info(what, ripple)
    frames = []
    for item in dataset:
        apt = item.apt.copy()
        for ripple in ripples:
            atoms = item.frame.numbers == ripple.number
            values = ripple.at(item.frame.positions[atoms] / item.frame.cell[0, 0])
            apt[atoms] -= values[:, :, None] * np.eye(3)
        frames.append(dataclasses.replace(item, tensors={**item.tensors, APT.name: apt}))
    return dataclasses.replace(dataset, frames=frames), ripples


def find_ripples(dataset: Dataset) -> list[Ripple]:
    """Return the largest ripple of each element's polar tensors, where it is significant.

    Only looked for in cubic cells, whose edges all have the same number of grid points. Incomplete
    labels are left out.
    """
    frames = [item.frame for item in dataset]
    for frame in frames:
        cube = frame.cell[0, 0] * np.eye(3)
        if not (frame.pbc.all() and np.allclose(frame.cell, cube, atol=1e-6)):
            return []
    numbers = np.concatenate([frame.numbers for frame in frames])
    fractions = np.concatenate([frame.positions / frame.cell[0, 0] for frame in frames])
    labels = APT.to_irreps(np.concatenate([item.apt for item in dataset]))
    elements = np.unique(numbers)
    around = np.concatenate([densities(frame, elements, *DENSITY) for frame in frames], axis=1)
    ripples = []
    for number in elements:
        atoms = (numbers == number) & np.isfinite(labels).all(axis=1)
        rest = APT.to_cartesian(_unexplained(labels[atoms], around[:, atoms]))
        x, diagonal = fractions[atoms].ravel(), np.einsum("iaa->ia", rest).ravel()
        if len(x) < 2 * len(POINTS):
            continue
        waves = [np.exp(2j * np.pi * points * x) @ diagonal * 2 / len(x) for points in POINTS]
        best = int(np.argmax(np.abs(waves)))
        wave, error = waves[best], float(np.sqrt(2 / len(x)) * diagonal.std())
        if np.abs(wave) > SIGNIFICANT * error:
            cosine, sine = float(wave.real), float(wave.imag)
            ripples.append(Ripple(int(number), int(POINTS[best]), cosine, sine, error))
    return ripples


def _unexplained(labels: Array, around: Array) -> Array:
    """What is left of 0e and 2e after the best linear function of the densities of that degree."""
    rest, blocks = np.zeros_like(labels), dict(APT.blocks)
    for degree in (0, 2):
        rows = around[degree**2 : (degree + 1) ** 2].reshape(-1, around.shape[2])
        if degree == 0:
            rows = np.column_stack([rows, np.ones(len(rows))])
        block = blocks[f"{degree}e"]
        values = labels[:, block].T.ravel()
        fitted = rows @ np.linalg.lstsq(rows, values, rcond=None)[0]
        rest[:, block] = (values - fitted).reshape(2 * degree + 1, -1).T
    return rest
