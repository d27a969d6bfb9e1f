"""Periodic neighbours of a frame: all images within a cutoff, in canonical order, kept along a trajectory."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import FrameError
from mda_aptnn.frames import Frame

#: Atoms closer than this, in Å, are a mistake in the input and not chemistry.
CLOSEST = 0.3

#: Å beyond the cutoff in which `NeighbourList` looks for pairs: enough for ten steps of 2 fs of liquid water, since
#: a search costs more than an atom's prediction, and a pair too many next to nothing.
SKIN = 1.5

#: Positions are rounded to 2⁻⁴⁰ Å, 9e-13: then sums of positions and cell vectors up to 2¹³ Å are exact.
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

    centre: NDArray[np.int64]
    neighbour: NDArray[np.int64]
    shift: NDArray[np.int32]
    vectors: NDArray[np.float64]

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

    box = full_cell(frame)
    finder = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    i, j, shift, vectors = finder.compute(
        points=np.ascontiguousarray(frame.positions), box=box, periodic=frame.pbc, quantities="ijSD"
    )
    order = np.argsort(_Keys(len(frame), shift).of(i, j, shift))
    found = Neighbours(i[order].astype(np.int64), j[order].astype(np.int64), shift[order], vectors[order])
    check_distances(found)
    return found


class Pairs(NamedTuple):
    """Pairs of a frame that include all within the cutoff, sorted by centre, then neighbour, then image.

    The vector of a pair is ``positions[neighbour] - positions[centre] + translations[image]``.

    Attributes
    ----------
    positions : ndarray, shape [n_atoms, 3]
        In Å, each atom in the image that `translations` go with.
    first : ndarray of int, shape [n_atoms + 1]
        First pair of each atom as the centre.
    neighbour : ndarray of int, shape [n_pairs]
    image : ndarray of int, shape [n_pairs]
        Index of the translation of the neighbour.
    translations : ndarray, shape [n_images, 3]
        In Å.
    """

    positions: NDArray[np.float64]
    first: NDArray[np.int64]
    neighbour: NDArray[np.int32]
    image: NDArray[np.int32]
    translations: NDArray[np.float64]


class NeighbourList:
    """Pairs of the frames of a trajectory, looked for again only when they may have changed.

    Pairs are kept out to cutoff + skin. While no atom has moved by more than half the skin, no pair comes within
    the cutoff that is not among them. A cell that changes is taken apart into a strain, by which all distances
    shrink at most to the smallest stretch, and what atoms move besides. An atom that crosses a boundary, or is
    wrapped in one frame and not in the next, is followed.

    The vectors are the same to the last bit, in the same order, whether pairs were looked for or kept: positions
    and cells are rounded so that their sums are exact.

    Parameters
    ----------
    cutoff, skin : float
        In Å.

    Attributes
    ----------
    n_searches : int
        How often pairs were looked for.
    """

    def __init__(self, cutoff: float, skin: float = SKIN) -> None:
        self.cutoff, self.skin = cutoff, skin
        self.n_searches = 0
        self._pbc = np.zeros(3, bool)
        self._cell = np.eye(3)
        self._fractions = np.zeros((0, 3))
        self._shifts = np.zeros((0, 3), np.int64)
        self._pairs: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]] | None = None

    def pairs(self, frame: Frame) -> Pairs:
        """Return the pairs of a frame, of this trajectory or another.

        The arrays belong to the list and are not to be changed.
        """
        positions, cell = (np.round(values * _GRID) / _GRID for values in (frame.positions, full_cell(frame)))
        if self._pairs is not None and len(self._fractions) == len(frame) and (self._pbc == frame.pbc).all():
            moved = positions @ np.linalg.inv(cell) - self._fractions
            crossed = np.where(frame.pbc, np.round(moved), 0.0)
            if self._keeps(moved - crossed, cell):
                return Pairs(positions - crossed @ cell, *self._pairs, self._shifts @ cell)
        positions -= np.where(frame.pbc, np.floor(positions @ np.linalg.inv(cell)), 0.0) @ cell
        self._search(positions, cell, frame.pbc)
        assert self._pairs is not None
        return Pairs(positions, *self._pairs, self._shifts @ cell)

    def _keeps(self, moved: NDArray[np.float64], cell: NDArray[np.float64]) -> bool:
        """Whether no pair beyond cutoff + skin can have come within the cutoff."""
        way = moved @ cell
        farthest = np.sqrt(np.einsum("ia,ia->i", way, way).max())
        stretch = 1.0
        if (cell != self._cell).any():
            stretch = np.linalg.svd(np.linalg.inv(self._cell) @ cell, compute_uv=False).min()
        return bool(2 * farthest + 1e-6 < stretch * (self.cutoff + self.skin) - self.cutoff)

    def _search(self, positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> None:
        # importing vesin imports torch, which takes seconds: only who predicts pays for it
        from vesin import NeighborList as Finder

        finder = Finder(cutoff=self.cutoff + self.skin, full_list=True, n_threads=1)
        i, j, shift = finder.compute(points=positions, box=cell, periodic=pbc, quantities="ijS")
        keys = _Keys(len(positions), shift)
        centre, neighbour, code = keys.parts(np.sort(keys.of(i, j, shift)))
        self._shifts, image = keys.shifts(code)
        first = np.concatenate([[0], np.cumsum(np.bincount(centre, minlength=len(positions)))])
        self._pairs = first, neighbour.astype(np.int32), image.astype(np.int32)
        self._pbc, self._cell, self._fractions = pbc, cell, positions @ np.linalg.inv(cell)
        self.n_searches += 1


class _Keys:
    """One whole number for each pair, which sorts by centre, neighbour and shift, and can be taken apart again.

    Numbers sort many times faster than rows of five.
    """

    def __init__(self, n_atoms: int, shift: NDArray[np.int32]) -> None:
        columns = (
            [np.ascontiguousarray(shift[:, axis]) for axis in range(3)] if len(shift) else [np.zeros(1, int)] * 3
        )
        self.low = [int(column.min()) for column in columns]
        self.sizes = [int(column.max()) - low + 1 for column, low in zip(columns, self.low, strict=True)]
        self.n_codes = self.sizes[0] * self.sizes[1] * self.sizes[2]
        self.code_bits, self.atom_bits = self.n_codes.bit_length(), n_atoms.bit_length()

    def of(self, i: NDArray[np.uint64], j: NDArray[np.uint64], shift: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the keys of pairs."""
        (x, y, z), (_, ny, nz) = (shift[:, axis].astype(np.int64) - self.low[axis] for axis in range(3)), self.sizes
        atoms = (i.astype(np.int64) << self.atom_bits) | j.astype(np.int64)
        return (atoms << self.code_bits) | ((x * ny + y) * nz + z)

    def parts(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Return centre, neighbour and a code of the shift."""
        atoms = keys >> self.code_bits
        return (
            atoms >> self.atom_bits,
            atoms & ((1 << self.atom_bits) - 1),
            keys & ((1 << self.code_bits) - 1),
        )

    def shifts(self, codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the shifts that occur, and the index among them of each code."""
        occurs = np.bincount(codes, minlength=self.n_codes) > 0
        used = np.stack(np.unravel_index(np.flatnonzero(occurs), self.sizes), axis=1) + self.low
        return used, (np.cumsum(occurs) - 1)[codes]


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


def full_cell(frame: Frame) -> NDArray[np.float64]:
    """Return the cell with open directions that have no vector filled by unit normals, [3, 3] in Å."""
    box = frame.cell.copy()
    for axis in np.flatnonzero(~frame.pbc):
        box[axis] = 0.0
    if not frame.pbc.any():
        return np.eye(3)
    missing = np.flatnonzero(~frame.pbc)
    if len(missing):
        # the null space of the periodic vectors: any orthonormal complement will do
        _, _, basis = np.linalg.svd(box[frame.pbc])
        box[missing] = basis[frame.pbc.sum() :]
    return box
