"""Bonds, of the topology or by distances, and the molecules that they make: made whole across the
periodic boundary, and watched for bonds that break.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections import Counter
from typing import Any

import MDAnalysis as mda
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mda_aptnn.elements import radii_of, symbols_of
from mda_aptnn.frame import Array, Frame, Indices
from mda_aptnn.graph import neighbours

#: Atoms closer than this part of the sum of their van der Waals radii are bonded, as in MDAnalysis'
#: guess_bonds.
BONDED = 0.55
#: A bond this many times longer than in the first frame is broken, unless it is still at bonding
#: distance.
STRETCHED = 1.3
#: A molecule whose bond angles are all wider than this, in degrees, in the first frame is linear.
STRAIGHT = 150.0


@dataclasses.dataclass(frozen=True)
class Molecules:
    """Which atoms are bonded; make it with `find_molecules`.

    Attributes
    ----------
    membership : ndarray of int, shape [n_atoms]
        Number of the molecule of each atom, in the order of their first atoms.
    bonds : ndarray of int, shape [n_bonds, 2]
    limits : ndarray, shape [n_bonds]
        Length in Å beyond which a bond is broken.
    numbers : ndarray of int, shape [n_atoms]
        Atomic numbers.
    linear : ndarray of bool, shape [n_molecules]
        Two atoms, or all bond angles wider than 150° in the first frame.
    endless : ndarray of bool, shape [n_molecules]
        Bonded to their own periodic image, such as a crystal.
    notes : list of str
        Where the bonds are from, if not from the topology.
    """

    membership: Indices
    bonds: Indices
    limits: Array
    numbers: Indices
    linear: NDArray[np.bool_]
    endless: NDArray[np.bool_]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.linear)

    @functools.cached_property
    def sizes(self) -> Indices:
        """Number of atoms of each molecule."""
        return np.bincount(self.membership)

    @functools.cached_property
    def order(self) -> Indices:
        """All atoms, molecule by molecule."""
        return np.argsort(self.membership, kind="stable")

    @functools.cached_property
    def _first(self) -> Indices:
        return np.cumsum(self.sizes) - self.sizes

    @functools.cached_property
    def tree(self) -> list[tuple[Indices, Indices]]:
        """Pairs (parent, child) along bonds, from each first atom outward: arrays for each distance
        from it.
        """
        return _tree(self.bonds, self.membership)

    def sum(self, values: Array) -> Array:
        """Add up values of atoms [n_atoms, ...] in each molecule, [n_molecules, ...]."""
        sums: Array = np.add.reduceat(values[self.order], self._first, axis=0)
        return sums

    def whole(self, frame: Frame) -> Array:
        """Return positions [n_atoms, 3] in Å where every molecule is in one piece, its first atom
        where it was.
        """
        if not frame.pbc.any() or len(self.bonds) == 0:
            return frame.positions
        positions = frame.positions.copy()
        for parent, child in self.tree:
            arms = frame.box.nearest(frame.positions[child] - frame.positions[parent])
            positions[child] = positions[parent] + arms
        return positions

    def broken_bond(self, frame: Frame) -> int:
        """Return the number of the first bond that is longer than its limit, −1 if none is."""
        vectors = _vectors(self.bonds, frame)
        broken = np.flatnonzero(np.einsum("ia,ia->i", vectors, vectors) > self.limits**2)
        return int(broken[0]) if len(broken) else -1

    def formulas(self) -> list[str]:
        """Return the formula of each molecule in Hill's order, such as "H2O" or "CH4O"."""
        parts = np.split(self.numbers[self.order], self._first[1:])
        known = {key: _hill(symbols_of(key)) for key in {tuple(part.tolist()) for part in parts}}
        return [known[tuple(part.tolist())] for part in parts]


def find_molecules(universe: Any, indices: Indices, frame: Frame) -> Molecules:
    """Find the molecules of a Universe by the bonds of its topology, or by distances in `frame`.

    Distances decide where the topology has no bonds, or leaves hydrogen atoms without one; a note
    says so.

    Parameters
    ----------
    universe : MDAnalysis.Universe
    indices : ndarray of int, shape [n_atoms]
        Universe indices of the atoms of the frame.
    frame : Frame
        The first one.
    """
    notes = []
    bonds = topology_bonds(universe, indices)
    alone = (frame.numbers == 1) & (np.bincount(bonds.ravel(), minlength=len(frame)) == 0)
    if len(bonds) == 0 or alone.any():
        why = f"leaves {int(alone.sum())} hydrogen atoms without a bond"
        why = why if len(bonds) else "has no bonds"
        bonds = guessed_bonds(frame)
        notes.append(f"the topology {why}: bonds were guessed from distances in the first frame")
    graph = coo_array((np.ones(len(bonds)), bonds.T), shape=(len(frame), len(frame)))
    labels = connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    membership = np.argsort(np.argsort(first))[inverse].astype(np.int64)
    vectors = _vectors(bonds, frame)
    stretched = STRETCHED * np.linalg.norm(vectors, axis=1)
    limits = np.maximum(_longest_bonds(frame, *bonds.T), stretched)
    no = np.zeros(len(first), dtype=bool)
    found = Molecules(membership, bonds, limits, frame.numbers, no, no, notes)
    whole = found.whole(frame)
    # a bond that does not close in one piece leads to an image of its own molecule
    closing = whole[bonds[:, 1]] - whole[bonds[:, 0]] - vectors
    endless = no.copy()
    endless[membership[bonds[np.linalg.norm(closing, axis=1) > 1e-3, 0]]] = True
    return dataclasses.replace(found, linear=_linear(found, whole), endless=endless)


def molecules_of(frame: Frame) -> Molecules:
    """Return the molecules of one frame: as `find_molecules`; by distances if it is of no Universe,
    as frames of label files.
    """
    if frame.atoms is None:
        return find_molecules(mda.Universe.empty(len(frame)), np.arange(len(frame)), frame)
    return find_molecules(frame.atoms.universe, frame.atoms.ix, frame)


def near_pairs(frame: Frame) -> tuple[Indices, Indices, Array]:
    """Return directed pairs of atoms at bonding distance, sorted by the first, and their vectors in
    Å.
    """
    found = neighbours(frame, cutoff=float(2 * BONDED * radii_of(frame.numbers).max()))
    longest = _longest_bonds(frame, found.centre, found.neighbour)
    near = np.linalg.norm(found.vectors, axis=1) < longest
    return found.centre[near], found.neighbour[near], found.vectors[near]


def guessed_bonds(frame: Frame) -> Indices:
    """Return bonds by distance, [n_bonds, 2]; a hydrogen is bonded only to its nearest atom."""
    centre, neighbour, vectors = near_pairs(frame)
    lengths = np.linalg.norm(vectors, axis=1)
    nearest = np.full(len(frame), np.inf)
    np.minimum.at(nearest, centre, lengths)
    nearest[frame.numbers != 1] = np.inf
    kept = (lengths <= nearest[centre]) & (lengths <= nearest[neighbour]) & (centre < neighbour)
    return np.unique(np.stack([centre[kept], neighbour[kept]], axis=1), axis=0)


def topology_bonds(universe: Any, indices: Indices) -> Indices:
    """Return the bonds of a topology between the atoms `indices`, as places in `indices`, [n_bonds,
    2].
    """
    if not hasattr(universe, "bonds") or len(universe.bonds) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    place = np.full(len(universe.atoms), -1, dtype=np.int64)
    place[indices] = np.arange(len(indices))
    bonds = place[np.asarray(universe.bonds.indices, dtype=np.int64)]
    return np.unique(np.sort(bonds[(bonds >= 0).all(axis=1)], axis=1), axis=0)


class MoleculesOnDemand:
    """The molecules of a Universe, found when they are first asked for.

    Parameters
    ----------
    universe, indices, frame
        As in `find_molecules`.
    notes : list of str
        Where notes on the bonds are added.
    """

    def __init__(self, universe: Any, indices: Indices, frame: Frame, notes: list[str]) -> None:
        self._source, self._notes = (universe, indices, frame), notes
        #: None before they are asked for.
        self.found: Molecules | None = None

    def __call__(self) -> Molecules:
        """Return the molecules."""
        if self.found is None:
            self.found = find_molecules(*self._source)
            self._notes.extend(self.found.notes)
        return self.found


def broken_note(
    molecules: Molecules, broken: Indices, frames: Indices, times: Array, indices: Indices
) -> list[str]:
    """Say in which frame a molecule first broke, also as a warning; nothing if none did.

    Parameters
    ----------
    molecules : Molecules
    broken : ndarray of int, shape [n_frames]
        `Molecules.broken_bond` of each frame.
    frames : ndarray of int, shape [n_frames]
        Their numbers.
    times : ndarray, shape [n_frames]
        In ps.
    indices : ndarray of int, shape [n_atoms]
        Universe indices of the atoms.
    """
    at = np.flatnonzero(broken >= 0)
    if len(at) == 0:
        return []
    first = at[0]
    pair = molecules.bonds[broken[first]]
    symbols = "-".join(symbols_of(molecules.numbers[pair]))
    note = (
        f"bonds change: in frame {frames[first]} ({times[first]:.6g} ps) the bond {symbols} of "
        f"atoms {indices[pair[0]]} and {indices[pair[1]]} (counted from 0) is broken; there are "
        f"such bonds in {len(at)} of {len(broken)} frames. Molecules stay those of the first "
        "frame; groups of atoms do not depend on them"
    )
    warnings.warn(note, stacklevel=2)
    return [note]


def bonded_paths(bonds: Indices, n_atoms: int, length: int) -> Indices:
    """Return all chains of `length` atoms along bonds, each once and from both ends, [n_paths,
    length].
    """
    both = np.concatenate([bonds, bonds[:, ::-1]])
    both = both[np.lexsort(both.T[::-1])]
    starts = np.searchsorted(both[:, 0], np.arange(n_atoms + 1))
    paths = both
    for _ in range(length - 2):
        last = paths[:, -1]
        counts = starts[last + 1] - starts[last]
        row = np.repeat(np.arange(len(paths)), counts)
        offset = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        following = both[starts[last][row] + offset, 1]
        fresh = (paths[row] != following[:, None]).all(axis=1)
        paths = np.column_stack([paths[row], following])[fresh]
    return paths


def _vectors(bonds: Indices, frame: Frame) -> Array:
    """From the first atom of each bond to the second, [n_bonds, 3] in Å."""
    return frame.box.nearest(frame.positions[bonds[:, 1]] - frame.positions[bonds[:, 0]])


def _longest_bonds(frame: Frame, i: Indices, j: Indices) -> Array:
    """The longest distance of atoms i and j that counts as a bond, [n_pairs] in Å."""
    radii = radii_of(frame.numbers)
    return np.asarray(BONDED * (radii[i] + radii[j]))


def _tree(bonds: Indices, membership: Indices) -> list[tuple[Indices, Indices]]:
    """Pairs (parent, child) of a tree over each molecule, by their distance from its first atom."""
    reached = np.zeros(len(membership), dtype=bool)
    reached[np.unique(membership, return_index=True)[1]] = True
    both = np.concatenate([bonds, bonds[:, ::-1]])
    levels: list[tuple[Indices, Indices]] = []
    while True:
        ahead = both[reached[both[:, 0]] & ~reached[both[:, 1]]]
        if len(ahead) == 0:
            return levels
        child, at = np.unique(ahead[:, 1], return_index=True)
        levels.append((ahead[at, 0], child))
        reached[child] = True
        both = both[~reached[both[:, 1]]]


def _linear(found: Molecules, whole: Array) -> NDArray[np.bool_]:
    """Which molecules have two or more atoms and no bent bond angle."""
    i, j, k = bonded_paths(found.bonds, len(found.membership), 3).T
    one, other = whole[i] - whole[j], whole[k] - whole[j]
    cosine = (
        np.einsum("pa,pa->p", one, other)
        / np.linalg.norm(one, axis=1)
        / np.linalg.norm(other, axis=1)
    )
    linear = found.sizes > 1
    linear[found.membership[j[cosine > np.cos(np.radians(STRAIGHT))]]] = False
    return linear


def _hill(symbols: list[str]) -> str:
    """Formula with carbon first, then hydrogen, then the others by name; all by name without
    carbon.
    """
    counts = Counter(symbols)
    first = ["C", "H"] if "C" in counts else []
    names = [name for name in first if name in counts] + sorted(set(counts) - set(first))
    return "".join(name + (str(counts[name]) if counts[name] > 1 else "") for name in names)
