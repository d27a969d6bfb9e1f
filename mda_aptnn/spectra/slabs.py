"""In which slab of the sample a molecule is, frame by frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError

#: How far, relative to its length, a cell vector may leave the plane of the slabs.
_FLAT = 1e-4


class Slabs:
    """Slabs normal to a Cartesian axis.

    Parameters
    ----------
    axis : int
    n_slabs : int
        Of equal thickness, where the axis is periodic.
    edges : array_like or pint.Quantity, optional
        Limits in Å, where it is not.
    relative_to : {"cell", "centre"}
        Origin of positions: 0, or the mean position of all molecules (of equal weight, on the
        circle where the axis is periodic).

    Raises
    ------
    SpectrumError
        If they make no slabs.
    """

    def __init__(self, axis: int, n_slabs: int, edges: Any, relative_to: str) -> None:
        if relative_to not in ("cell", "centre"):
            raise SpectrumError(f"relative_to={relative_to!r}: choose 'cell' or 'centre'")
        self._axis, self._centred = axis, relative_to == "centre"
        self._edges: NDArray[np.float64] | None = None
        if edges is not None:
            self._edges = np.atleast_1d(
                np.asarray(units.magnitude(edges, units.LENGTH, "edges"), dtype=float)
            )
            if len(self._edges) < 2 or (np.diff(self._edges) <= 0).any():
                raise SpectrumError(
                    f"edges {edges!r}: give two or more ascending limits of slabs in Å"
                )
            n_slabs = len(self._edges) - 1
        if n_slabs < 1:
            raise SpectrumError(f"{n_slabs} slabs: there must be at least one")
        self.n_slabs = n_slabs

    def find(
        self, centres: NDArray[np.float64], cells: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the slab of each molecule [n_molecules, n_frames] and the height of the cell in Å
        [n_frames].

        Parameters
        ----------
        centres : ndarray, shape [n_molecules, 3, n_frames]
            In Å.
        cells : ndarray, shape [n_frames, 3, 3]
            Rows in Å, zero in directions that do not repeat.

        Raises
        ------
        SpectrumError
            If the cell vectors do not fit the axis, or edges were given for a periodic axis or none
            for an open one.
        """
        position = centres[:, self._axis]
        if not cells[:, self._axis].any():
            return self._find_open(position)
        if self._edges is not None:
            raise SpectrumError(
                "the axis is periodic: give the number of slabs, which fill the cell, and no edges"
            )
        others = [k for k in range(3) if k != self._axis]
        lean = np.abs(cells[:, others, self._axis]).max()
        height = cells[:, self._axis, self._axis]
        if lean > _FLAT * height.min():
            raise SpectrumError(
                f"cell vectors leave the plane normal to {'xyz'[self._axis]}; choose an axis that "
                f"two of them are "
                "normal to"
            )
        fraction = position / height
        if self._centred:
            turn = np.angle(np.exp(2j * np.pi * fraction).sum(axis=0)) / (2 * np.pi)
            fraction = fraction - turn + 0.5
        fraction -= np.floor(fraction)
        # a tiny negative number becomes exactly 1
        return np.minimum((fraction * self.n_slabs).astype(np.int64), self.n_slabs - 1), height

    def _find_open(
        self, position: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        if self._edges is None:
            raise SpectrumError(
                "the axis is not periodic: give edges, the limits of the slabs in Å"
            )
        if self._centred:
            position = position - position.mean(axis=0)
        where = np.searchsorted(self._edges[1:-1], position, side="right")
        return where, np.full(position.shape[1], self._edges[-1] - self._edges[0])

    def limits(self, height: float) -> NDArray[np.float64]:
        """Return the limits of the slabs in Å [n_slabs + 1], for a mean height of the cell in Å."""
        if self._edges is not None:
            return self._edges
        fractions = np.linspace(0.0, 1.0, self.n_slabs + 1) - (0.5 if self._centred else 0.0)
        return fractions * height
