"""Bonds: those of the topology, or guessed from distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import radii_of
from mda_aptnn.frame import Frame
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
