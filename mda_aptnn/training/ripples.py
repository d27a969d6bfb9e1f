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
from numpy.typing import NDArray

from mda_aptnn.elements import SYMBOLS
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.model.inputs import densities
from mda_aptnn.tensors import APT, AnyTarget

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
        """Return what a model card says of it: element, points and the amplitude with its standard
        error in e.
        """
        return {
            "element": SYMBOLS[self.number],
            **dataclasses.asdict(self),
            "amplitude": float(np.hypot(self.cosine, self.sine)),
        }

    def at(self, fractions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the ripple at positions along edges, in units of the edge; same shape, in e."""
        phase = 2 * np.pi * self.points * fractions
        ripple: NDArray[np.float64] = self.cosine * np.cos(phase) + self.sine * np.sin(phase)
        return ripple


def without_ripples(
    dataset: Dataset, target: AnyTarget = APT, *, keep: bool = False
) -> tuple[Dataset, list[Ripple]]:
    """Return the labels without their ripples, and these; with `keep` the labels as they are.

    Only looked for in polar tensors of cubic cells, whose edges all have the same number of grid
    points.
    """
    ripples = find_ripples(dataset) if not keep and APT in target.parts and _cubic(dataset) else []
    if not ripples:
        return dataset, []
    for ripple in ripples:
        logger.info(
            "labels ripple with the grid that made them, and are trained on without that: %s",
            ripple,
        )
    return dataclasses.replace(
        dataset, frames=[_subtract(item, ripples) for item in dataset]
    ), ripples


def find_ripples(dataset: Dataset) -> list[Ripple]:
    """Return the largest ripple of each element, where it is significant.

    Parameters
    ----------
    dataset : Dataset
        Of cubic cells. Incomplete labels are left out.
    """
    numbers = np.concatenate([item.frame.numbers for item in dataset])
    labels = np.concatenate([item.apt for item in dataset]).reshape(-1, 9)
    fractions = np.concatenate([item.frame.positions / item.frame.cell[0, 0] for item in dataset])
    components, surroundings = APT.to_irreps(labels.reshape(-1, 3, 3)), _densities(dataset)
    ripples = []
    for number in np.unique(numbers):
        atoms = (numbers == number) & np.isfinite(labels).all(axis=1)
        rest = APT.to_cartesian(_unexplained(components[atoms], surroundings[:, atoms]))
        diagonal = np.einsum("iaa->ia", rest).ravel()
        if len(diagonal) < 2 * len(POINTS):
            continue
        x = fractions[atoms].ravel()
        waves = (
            np.array([np.exp(2j * np.pi * points * x) @ diagonal for points in POINTS]) * 2 / len(x)
        )
        best = int(np.argmax(np.abs(waves)))
        error = float(np.sqrt(2 / len(x)) * diagonal.std())
        if np.abs(waves[best]) > SIGNIFICANT * error:
            ripples.append(
                Ripple(
                    int(number),
                    int(POINTS[best]),
                    float(waves[best].real),
                    float(waves[best].imag),
                    error,
                )
            )
    return ripples


def _cubic(dataset: Dataset) -> bool:
    return all(
        item.frame.pbc.all()
        and np.allclose(item.frame.cell, item.frame.cell[0, 0] * np.eye(3), atol=1e-6)
        for item in dataset
    )


def _subtract(item: LabelledFrame, ripples: list[Ripple]) -> LabelledFrame:
    apt = item.apt.copy()
    for ripple in ripples:
        atoms = np.flatnonzero(item.frame.numbers == ripple.number)
        values = ripple.at(item.frame.positions[atoms] / item.frame.cell[0, 0])
        for axis in range(3):
            apt[atoms, axis, axis] -= values[:, axis]
    return dataclasses.replace(item, tensors={**item.tensors, APT.name: apt})


def _densities(dataset: Dataset) -> NDArray[np.float64]:
    """Density of each element about each atom, [9, n_atoms, n_species · n_radial]."""
    elements = np.unique(np.concatenate([item.frame.numbers for item in dataset]))
    return np.concatenate([densities(item.frame, elements, *DENSITY) for item in dataset], axis=1)


def _unexplained(
    components: NDArray[np.float64], densities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What is left of 0e and 2e after the best linear function of the densities of the same degree."""
    rest = np.zeros_like(components)
    for name, block in APT.blocks:
        degree = int(name[0])
        if name not in ("0e", "2e"):
            continue
        rows = densities[degree**2 : (degree + 1) ** 2].reshape(-1, densities.shape[2])
        if degree == 0:
            rows = np.column_stack([rows, np.ones(len(rows))])
        values = components[:, block].T.ravel()
        fitted = rows @ np.linalg.lstsq(rows, values, rcond=None)[0]
        rest[:, block] = (values - fitted).reshape(2 * degree + 1, -1).T
    return rest
