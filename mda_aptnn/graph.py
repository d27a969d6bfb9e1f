"""Periodic neighbours of a frame: all images within a cutoff, in canonical order."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import FrameError
from mda_aptnn.frames import Frame

#: Atoms closer than this, in Å, are a mistake in the input and not chemistry.
CLOSEST = 0.3


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
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], j, i))
    found = Neighbours(i[order].astype(np.int64), j[order].astype(np.int64), shift[order], vectors[order])
    check_distances(found)
    return found


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
