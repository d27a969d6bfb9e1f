"""Bonds: those of the topology, or guessed from distances; and the nearest periodic image of short
vectors.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import radii_of
from mda_aptnn.frame import Frame, filled_cell
from mda_aptnn.graph import neighbours

#: Atoms closer than this part of the sum of their van der Waals radii are bonded, as in MDAnalysis'
#: guess_bonds.
BONDED = 0.55


def bond_limits(frame: Frame, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the longest distance of atoms i and j that counts as a bond, [n_pairs] in Å."""
    radii = radii_of(frame.numbers)
    limits: NDArray[np.float64] = BONDED * (radii[i] + radii[j])
    return limits


def near_pairs(frame: Frame) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return directed pairs of atoms at bonding distance, sorted by the first, and their vectors in
    Å.
    """
    found = neighbours(frame, cutoff=float(2 * BONDED * radii_of(frame.numbers).max()))
    near = np.linalg.norm(found.vectors, axis=1) < bond_limits(frame, found.centre, found.neighbour)
    return found.centre[near], found.neighbour[near], found.vectors[near]


def guessed_bonds(frame: Frame) -> NDArray[np.int64]:
    """Return bonds by distance, [n_bonds, 2]; a hydrogen is bonded only to its nearest atom."""
    centre, neighbour, vectors = near_pairs(frame)
    lengths = np.linalg.norm(vectors, axis=1)
    nearest = np.full(len(frame), np.inf)
    np.minimum.at(nearest, centre, lengths)
    hydrogen = frame.numbers == 1
    longer = hydrogen[centre] & (lengths > nearest[centre]) | hydrogen[neighbour] & (
        lengths > nearest[neighbour]
    )
    kept = ~longer & (centre < neighbour)
    return np.unique(np.stack([centre[kept], neighbour[kept]], axis=1), axis=0)


def topology_bonds(universe: Any, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bonds of a topology between the atoms `indices`, as places in `indices`, [n_bonds,
    2].
    """
    if not hasattr(universe, "bonds") or len(universe.bonds) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    place = np.full(len(universe.atoms), -1, dtype=np.int64)
    place[indices] = np.arange(len(indices))
    bonds = place[np.asarray(universe.bonds.indices, dtype=np.int64)]
    return np.unique(np.sort(bonds[(bonds >= 0).all(axis=1)], axis=1), axis=0)


def nearest_images(vectors: NDArray[np.float64], frame: Frame) -> NDArray[np.float64]:
    """Return vectors between atoms in their shortest periodic image, [n_vectors, 3] in Å.

    Rounding of fractions finds it where it is shorter than half of the smallest height of the cell;
    where not, the images around are compared.
    """
    if not frame.pbc.any():
        return vectors
    cell = filled_cell(frame.cell, frame.pbc)
    inverse = np.linalg.inv(cell)
    short: NDArray[np.float64] = vectors - (np.round(vectors @ inverse) * frame.pbc) @ cell
    half_height = 0.5 / np.linalg.norm(inverse[:, frame.pbc], axis=0).max()
    unsure = np.flatnonzero(np.einsum("ia,ia->i", short, short) >= half_height**2)
    if len(unsure):
        steps = np.array(list(itertools.product((-1, 0, 1), repeat=3))) * frame.pbc
        images = short[unsure, None] + steps @ cell
        best = np.einsum("ija,ija->ij", images, images).argmin(axis=1)
        short[unsure] = images[np.arange(len(unsure)), best]
    return short
