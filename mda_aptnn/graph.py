"""Periodic neighbours of a frame: all images within a cutoff, in canonical order, kept along a
trajectory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mda_aptnn.errors import FrameError
from mda_aptnn.frame import Array, Cell, Frame, Indices

#: Atoms closer than this, in Å, are a mistake in the input and not chemistry.
CLOSEST = 0.3

#: Å beyond the cutoff in which `NeighbourList` looks for pairs: enough for ten steps of 2 fs of
#: liquid water, since a search costs more than an atom's prediction, and a pair too many next to
#: nothing.
SKIN = 1.5

#: Positions are rounded to 2⁻⁴⁰ Å, 9e-13: then sums of positions and cell vectors up to 2¹³ Å are
#: exact.
_GRID = 2.0**40


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Directed pairs within the cutoff, sorted by centre, then neighbour, then image.

    Attributes
    ----------
    centre, neighbour : ndarray of int, shape [n_pairs]
        Every pair appears in both directions; an atom may neighbour its own image.
    shift : ndarray of int, shape [n_pairs, 3]
        Cell translations of the neighbour.
    vectors : ndarray, shape [n_pairs, 3]
        From centre to neighbour, in Å.
    """

    centre: Indices
    neighbour: Indices
    shift: NDArray[np.int32]
    vectors: Array

    def __len__(self) -> int:
        return len(self.centre)


def neighbours(frame: Frame, cutoff: float) -> Neighbours:
    """Return all neighbours within `cutoff`, also for cells smaller than twice the cutoff.

    Parameters
    ----------
    frame : Frame
        Any mixture of periodic and open directions.
    cutoff : float
        In Å.

    Raises
    ------
    FrameError
        If two atoms are closer than 0.3 Å.
    """
    # importing vesin imports torch, which takes seconds: only who predicts pays for it
    from vesin import NeighborList

    finder = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    i, j, shift, vectors = finder.compute(
        points=frame.positions, box=frame.box.filled, periodic=frame.pbc, quantities="ijSD"
    )
    order = np.argsort(_keys(len(frame), i, j, shift))
    found = Neighbours(
        i[order].astype(np.int64), j[order].astype(np.int64), shift[order], vectors[order]
    )
    check_distances(found)
    return found


class Pairs(NamedTuple):
    """Pairs of a frame that include all within some cutoffs, sorted by centre, then neighbour, then
    image.

    The vector of a pair is ``positions[neighbour] - positions[centre] + translations[image]``.

    Attributes
    ----------
    positions : ndarray, shape [n_atoms, 3]
        In Å, each atom in the image that `translations` go with.
    first : ndarray of int, shape [n_cutoffs, n_atoms + 1]
        First pair of each atom as the centre, for each cutoff.
    neighbour : ndarray of int, shape [n_pairs]
    image : ndarray of int, shape [n_pairs]
        Index of the translation of the neighbour.
    translations : ndarray, shape [n_images, 3]
        In Å.
    """

    positions: Array
    first: Indices
    neighbour: NDArray[np.int32]
    image: NDArray[np.int32]
    translations: Array


class NeighbourList:
    """Pairs of the frames of a trajectory, looked for again only when they may have changed.

    Pairs are kept out to cutoff + skin. While no atom has moved by more than half the skin, no pair
    comes within the cutoff that is not among them. A cell that changes is taken apart into a
    strain, by which all distances shrink at most to the smallest stretch, and what atoms move
    besides. An atom that crosses a boundary, or is wrapped in one frame and not in the next, is
    followed.

    The vectors are the same to the last bit, in the same order, whether pairs were looked for or
    kept: positions and cells are rounded so that their sums are exact. Needs numba.

    Parameters
    ----------
    cutoffs : sequence of float
        In Å, the largest first.
    skin : float
        In Å.

    Attributes
    ----------
    n_searches : int
        How often pairs were looked for.
    """

    def __init__(self, cutoffs: Sequence[float], skin: float = SKIN) -> None:
        self.cutoffs, self.skin = tuple(cutoffs), skin
        self.n_searches = 0
        self._cell = Cell(np.zeros((3, 3)))
        self._fractions = np.zeros((0, 3))
        self._shifts = np.zeros((0, 3), np.int64)
        self._found: Pairs | None = None

    def pairs(self, frame: Frame, order: Indices) -> Pairs:
        """Return the pairs of a frame, of this trajectory or another, whose atoms are taken in some
        order.

        The arrays belong to the list and are not to be changed.
        """
        positions, cell = frame_atoms(frame, order)
        if (cell.vectors == self._cell.vectors).all() and (cell.pbc == self._cell.pbc).all():
            # its inverse is known
            cell = self._cell
        if self._found is not None and len(self._fractions) == len(frame):
            followed = cell.nearest_to(positions, self._fractions)
            ways = followed - self._fractions @ cell.filled
            if self._keeps(math.sqrt(np.einsum("ia,ia->i", ways, ways).max()), cell):
                shifts = self._shifts @ cell.filled
                return self._found._replace(positions=followed, translations=shifts)
        cutoffs = np.add(self.cutoffs, self.skin)
        self._found, self._shifts = search_pairs([(positions, cell)], cutoffs)
        self._cell, self._fractions = cell, cell.fractions(self._found.positions)
        self.n_searches += 1
        return self._found

    def _keeps(self, way: float, cell: Cell) -> bool:
        """Whether no pair beyond cutoff + skin can have come within the cutoff, after atoms moved
        so far.
        """
        if (cell.pbc != self._cell.pbc).any():
            return False
        if cell is self._cell:
            return 2 * way + 1e-6 < self.skin
        stretch = np.linalg.svd(self._cell.inverse @ cell.filled, compute_uv=False).min()
        # of all cutoffs the largest suffers most from a strain, or all the same if there is none
        return all(2 * way + 1e-6 < stretch * (c + self.skin) - c for c in self.cutoffs)


#: Positions [n_atoms, 3] in Å and their cell, rounded.
Atoms = tuple[Array, Cell]


def search_pairs(frames: Sequence[Atoms], cutoffs: ArrayLike) -> tuple[Pairs, Indices]:
    """Find the pairs of frames as if they were one, of parts that do not see each other. Needs
    numba.

    Parameters
    ----------
    frames : sequence of (positions, Cell)
        As `frame_atoms` gives them.
    cutoffs : sequence of float
        In Å, the largest first.

    Returns
    -------
    Pairs
    shifts : ndarray of int, shape [n_images, 3]
        Each translation in cell vectors.
    """
    # who only trains pays neither for importing numba nor for compiling
    from mda_aptnn.pair_search import search

    box = Cell(*map(np.stack, zip(*((cell.vectors, cell.pbc) for _, cell in frames), strict=True)))
    cells, inverses, pbc = box.filled, box.inverse, box.pbc
    parts = [
        positions - np.where(flags, np.floor(positions @ inverse), 0.0) @ cell
        for (positions, _), cell, inverse, flags in zip(frames, cells, inverses, pbc, strict=True)
    ]
    atoms = np.cumsum([0, *map(len, parts)])
    together = np.concatenate(parts)
    found = search(together, atoms, cells, inverses, pbc, np.asarray(cutoffs, dtype=float))
    translations = np.einsum("ia,iab->ib", found.shifts.astype(float), cells[found.frames])
    return Pairs(together, found.first, found.neighbour, found.image, translations), found.shifts


def frame_atoms(frame: Frame, order: Indices) -> Atoms:
    """Return what `search_pairs` takes of a frame, whose atoms are taken in some order."""
    return _rounded(frame.positions[order]), Cell(_rounded(frame.cell), frame.pbc)


def _rounded(values: Array) -> Array:
    return np.asarray(np.rint(values * _GRID) / _GRID)


def _keys(n_atoms: int, i: NDArray[Any], j: NDArray[Any], shift: NDArray[np.int32]) -> Indices:
    """One whole number for each pair, which sorts by centre, neighbour and shift, faster than rows
    of five do.
    """
    if not len(shift):
        return np.zeros(0, np.int64)
    code = np.zeros(len(shift), np.int64)
    for axis in range(3):
        column = shift[:, axis].astype(np.int64)
        code = code * (int(column.max()) - int(column.min()) + 1) + column - column.min()
    atoms = (i.astype(np.int64) << n_atoms.bit_length()) | j.astype(np.int64)
    return (atoms << int(code.max()).bit_length()) | code


def check_distances(found: Neighbours) -> None:
    """Refuse atoms on top of each other.

    Raises
    ------
    FrameError
        If two atoms are closer than 0.3 Å.
    """
    squares = np.einsum("ij,ij->i", found.vectors, found.vectors)
    if len(squares) and squares.min() < CLOSEST**2:
        pair = int(squares.argmin())
        raise FrameError(
            f"atoms {found.centre[pair]} and {found.neighbour[pair]} (counted from 0) are "
            f"{np.sqrt(squares[pair]):.3f} Å apart; is the cell right, are positions in Å?"
        )
