"""Sums of the fluxes of all molecules in spherical shells around one of them, frame by frame,
compiled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.compiled import kept_exactly
from mda_aptnn.flux.molecular_flux import MoleculeBlock
from mda_aptnn.frame import Cell


class Shells:
    """Sums over shells for a block of frames.

    Parameters
    ----------
    block : MoleculeBlock
    edges : ndarray, shape [n_shells + 1]
        Limits of the shells in Å, ascending from 0 to infinity.
    """

    def __init__(self, block: MoleculeBlock, edges: NDArray[np.float64]) -> None:
        box = Cell(block.cells)
        self._safe = box.half_height**2
        self._cells = np.ascontiguousarray(block.cells.transpose(1, 2, 0))
        self._inverse = np.ascontiguousarray((box.inverse * box.pbc[:, None, :]).transpose(1, 2, 0))
        self._upright = not block.cells[:, ~np.eye(3, dtype=bool)].any()
        self._block, self._squared_edges = block, edges**2
        self.n_shells = len(edges) - 1

    def around(self, molecule: int, sums: NDArray[np.float64]) -> NDArray[np.int64]:
        """Add up the fluxes of the others by their distance from `molecule`.

        Parameters
        ----------
        molecule : int
        sums : ndarray, shape [n_shells, 3, n_origins]
            Overwritten with Σ_m f_m of the molecules m in each shell, in e·Å/ps, for the first
            frames of the block.

        Returns
        -------
        ndarray of int, shape [n_shells]
            How often another molecule was in a shell, over these frames.
        """
        counts = np.zeros(self.n_shells, dtype=np.int64)
        sums[:] = 0.0
        squares = np.empty(sums.shape[2])
        centres = self._block.centres
        for other, flux in enumerate(self._block.flux):
            if other == molecule:
                continue
            if self._upright:
                _upright_squares(
                    centres[other], centres[molecule], self._cells, self._inverse, squares
                )
            else:
                _squares(
                    centres[other],
                    centres[molecule],
                    self._cells,
                    self._inverse,
                    self._safe,
                    squares,
                )
            _add(flux, squares, self._squared_edges, sums, counts)
        return counts


@kept_exactly
def _upright_squares(one, other, cells, inverse, squares):  # type: ignore[no-untyped-def]
    """Squares of distances to the nearest image in cells with right angles along x, y and z."""
    for t in range(len(squares)):
        dx = one[0, t] - other[0, t]
        dy = one[1, t] - other[1, t]
        dz = one[2, t] - other[2, t]
        dx -= cells[0, 0, t] * np.floor(dx * inverse[0, 0, t] + 0.5)
        dy -= cells[1, 1, t] * np.floor(dy * inverse[1, 1, t] + 0.5)
        dz -= cells[2, 2, t] * np.floor(dz * inverse[2, 2, t] + 0.5)
        squares[t] = dx * dx + dy * dy + dz * dz


@kept_exactly
def _squares(one, other, cells, inverse, safe, squares):  # type: ignore[no-untyped-def]
    """Squares of distances to the nearest image in any cells."""
    for t in range(len(squares)):
        dx = one[0, t] - other[0, t]
        dy = one[1, t] - other[1, t]
        dz = one[2, t] - other[2, t]
        for k in range(3):
            # the fractions of the other directions stay as they are
            turns = np.floor(
                dx * inverse[0, k, t] + dy * inverse[1, k, t] + dz * inverse[2, k, t] + 0.5
            )
            dx -= turns * cells[k, 0, t]
            dy -= turns * cells[k, 1, t]
            dz -= turns * cells[k, 2, t]
        best = dx * dx + dy * dy + dz * dz
        if best > safe[t]:
            for a in range(-1, 2):
                for b in range(-1, 2):
                    for c in range(-1, 2):
                        x = dx + a * cells[0, 0, t] + b * cells[1, 0, t] + c * cells[2, 0, t]
                        y = dy + a * cells[0, 1, t] + b * cells[1, 1, t] + c * cells[2, 1, t]
                        z = dz + a * cells[0, 2, t] + b * cells[1, 2, t] + c * cells[2, 2, t]
                        best = min(best, x * x + y * y + z * z)
        squares[t] = best


@kept_exactly
def _add(flux, squares, edges, sums, counts):  # type: ignore[no-untyped-def]
    n_shells, _, n_frames = sums.shape
    shell = 0
    for t in range(n_frames):
        square = squares[t]
        # molecules move little from frame to frame, so that the search begins where the last one
        # ended
        while shell > 0 and square < edges[shell]:
            shell -= 1
        while shell < n_shells - 1 and square >= edges[shell + 1]:
            shell += 1
        counts[shell] += 1
        sums[shell, 0, t] += flux[0, t]
        sums[shell, 1, t] += flux[1, t]
        sums[shell, 2, t] += flux[2, t]
