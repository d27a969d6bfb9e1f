"""Regions of space, and what is in them: shells around each molecule, slabs along an axis.

Both offer the same to `mda_aptnn.spectra.spatial`: `products` of a block of frames, which are
transforms of sums over time origins, and `counts` of the molecules found so far.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.compiled import exactly, kept_exactly
from mda_aptnn.errors import SpectrumError
from mda_aptnn.flux.molecular_flux import MoleculeBlock
from mda_aptnn.frame import Cell

Array = NDArray[np.float64]

#: How far, relative to its length, a cell vector may leave the plane of the slabs.
_FLAT = 1e-4


class Shells:
    """Each molecule itself, and spherical shells around it.

    Parameters
    ----------
    limits : ndarray, shape [n_shells + 1]
        In Å, ascending from 0 to infinity.
    n_threads : int
        Threads that share the molecules.

    Attributes
    ----------
    counts : ndarray of int, shape [n_shells]
        How often another molecule was in a shell.
    """

    def __init__(self, limits: Array, n_threads: int) -> None:
        self._squares, self._n_threads = limits**2, n_threads
        self.counts = np.zeros(len(limits) - 1, dtype=np.int64)

    def products(self, block: MoleculeBlock, n_origins: int, size: int) -> NDArray[np.complex128]:
        """Return transforms of sums over the first frames of a block, the time origins.

        Of Σ_n f_n(0) · f_n(t) and, for each shell, Σ_n Σ_m f_m(0) · f_n(t) with the molecules m
        that are in the shell around n at time 0.

        Parameters
        ----------
        block : MoleculeBlock
        n_origins : int
            The frames that follow are partners in time only.
        size : int
            Of the transforms over time.

        Returns
        -------
        ndarray of complex, shape [1 + n_shells, size // 2 + 1]
        """
        box = Cell(block.cells).reduced
        cells = box.filled * box.pbc[..., None]
        geometry = (
            block.centres,
            np.ascontiguousarray(cells.transpose(1, 2, 0)),
            np.ascontiguousarray((box.inverse * box.pbc[:, None, :]).transpose(1, 2, 0)),
            # beyond half of the smallest height, rounding need not give the nearest image
            box.half_height**2,
            not block.cells[:, ~np.eye(3, dtype=bool)].any(),
        )

        def share(molecules: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
            counts = np.zeros_like(self.counts)
            sums = np.zeros((1 + len(counts), size // 2 + 1), dtype=complex)
            origins, squares = np.empty((len(sums), 3, n_origins)), np.empty(n_origins)
            for n in molecules:
                origins[0] = block.flux[n, :, :n_origins]
                _add_around(n, block.flux, *geometry, self._squares, squares, origins[1:], counts)
                later = scipy.fft.rfft(block.flux[n], size)
                for channel, values in enumerate(origins):
                    earlier = scipy.fft.rfft(values, size)
                    np.conjugate(earlier, out=earlier)
                    sums[channel] += np.einsum("af,af->f", earlier, later)
            return sums, counts

        shares = np.array_split(np.arange(len(block.flux)), self._n_threads)
        with ThreadPoolExecutor(self._n_threads) as threads:
            sums, counts = zip(*threads.map(share, shares), strict=True)
        self.counts += sum(counts)
        return np.asarray(sum(sums))


class Slabs:
    """Slabs normal to a Cartesian axis.

    Parameters
    ----------
    axis : {"x", "y", "z"}
    n_slabs : int
        Of equal thickness, where the axis is periodic.
    edges : array_like or pint.Quantity, optional
        Limits in Å, where it is not.
    relative_to : {"cell", "centre"}
        Origin of positions: 0, or the mean position of all molecules (of equal weight, on the
        circle where the axis is periodic).

    Attributes
    ----------
    counts : ndarray of int, shape [n_slabs]
        How often a molecule was in a slab.

    Raises
    ------
    SpectrumError
        If they make no slabs.
    """

    def __init__(self, axis: str, n_slabs: int, edges: Any, relative_to: str) -> None:
        if axis not in ("x", "y", "z"):
            raise SpectrumError(f"axis {axis!r}: choose 'x', 'y' or 'z'")
        if relative_to not in ("cell", "centre"):
            raise SpectrumError(f"relative_to={relative_to!r}: choose 'cell' or 'centre'")
        self._axis, self._centred = "xyz".index(axis), relative_to == "centre"
        self._edges: Array | None = None
        if edges is not None:
            self._edges = np.atleast_1d(units.magnitude(edges, units.LENGTH, "edges"))
            if len(self._edges) < 2 or (np.diff(self._edges) <= 0).any():
                raise SpectrumError(
                    f"edges {edges!r}: give two or more ascending limits of slabs in Å"
                )
            n_slabs = len(self._edges) - 1
        if n_slabs < 1:
            raise SpectrumError(f"{n_slabs} slabs: there must be at least one")
        self.counts = np.zeros(n_slabs, dtype=np.int64)
        self._heights: list[Array] = []

    @property
    def limits(self) -> Array:
        """Limits in Å [n_slabs + 1], for the mean height of the cells so far."""
        if self._edges is not None:
            return self._edges
        fractions = np.linspace(0.0, 1.0, len(self.counts) + 1) - (0.5 if self._centred else 0.0)
        return np.asarray(fractions * np.concatenate(self._heights).mean())

    def products(self, block: MoleculeBlock, n_origins: int, size: int) -> NDArray[np.complex128]:
        """Return transforms of sums over the first frames of a block, as `Shells.products` does.

        Of ½ g_b(0) M(t) + ½ M(0) g_b(t) of each slab b and Cartesian component, with its sum g_b of
        the fluxes and M = Σ_b g_b.

        Returns
        -------
        ndarray of complex, shape [n_slabs, 3, size // 2 + 1]
        """
        where = self._find(block.centres[:, self._axis], block.cells, n_origins)
        self.counts += np.bincount(where[:, :n_origins].ravel(), minlength=len(self.counts))
        parts = np.stack(
            [np.einsum("mat,mt->at", block.flux, where == b) for b in range(len(self.counts))]
        )
        earlier = scipy.fft.rfft(parts[..., :n_origins], size).conj()
        later = scipy.fft.rfft(parts, size)
        return np.asarray(0.5 * (earlier * later.sum(axis=0) + earlier.sum(axis=0) * later))

    def _find(self, position: Array, cells: Array, n_origins: int) -> NDArray[np.int64]:
        """The slab of each molecule [n_molecules, n_frames]."""
        n_slabs, height = len(self.counts), cells[:, self._axis, self._axis]
        if not cells[:, self._axis].any():
            if self._edges is None:
                raise SpectrumError(
                    "the axis is not periodic: give edges, the limits of the slabs in Å"
                )
            if self._centred:
                position = position - position.mean(axis=0)
            return np.searchsorted(self._edges[1:-1], position, side="right")
        if self._edges is not None:
            raise SpectrumError(
                "the axis is periodic: give the number of slabs, which fill the cell, and no edges"
            )
        others = [k for k in range(3) if k != self._axis]
        if np.abs(cells[:, others, self._axis]).max() > _FLAT * height.min():
            raise SpectrumError(
                f"cell vectors leave the plane normal to {'xyz'[self._axis]}; choose an axis that "
                "two of them are normal to"
            )
        self._heights.append(height[:n_origins])
        fraction = position / height
        if self._centred:
            turn = np.angle(np.exp(2j * np.pi * fraction).sum(axis=0)) / (2 * np.pi)
            fraction = fraction - turn + 0.5
        fraction -= np.floor(fraction)
        # a tiny negative number becomes exactly 1
        return np.minimum((fraction * n_slabs).astype(np.int64), n_slabs - 1)


@kept_exactly
def _add_around(  # type: ignore[no-untyped-def]
    molecule, flux, centres, cells, inverse, safe, upright, edges, squares, sums, counts
):
    """Overwrite `sums` with those of the fluxes of all others, by their distance."""
    sums[:] = 0.0
    for other in range(len(flux)):
        if other == molecule:
            continue
        if upright:
            _upright_squares(centres[other], centres[molecule], cells, inverse, squares)
        else:
            _squares(centres[other], centres[molecule], cells, inverse, safe, squares)
        _add(flux[other], squares, edges, sums, counts)


@exactly
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


@exactly
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


@exactly
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
