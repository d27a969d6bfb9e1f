"""The spectrum of explicit dipoles, Eq. 1 of the paper: the reference that polar tensors are held
against.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.errors import TrajectoryError
from mda_aptnn.frame import Cell, cell_matrix
from mda_aptnn.spectra.estimator import AUTO, Estimator, Rates, takes_estimator
from mda_aptnn.spectra.infrared import Spectrum, infrared
from mda_aptnn.text import short
from mda_aptnn.trajectory.cp2k_moments import read_moments

Array = NDArray[np.float64]

#: Steps of the dipole beyond this part of a quantum may have been brought to a wrong branch.
_AMBIGUOUS = 0.25


@dataclasses.dataclass(frozen=True)
class DipoleSeries(io.Stored):
    """The total dipole along a trajectory, on one branch.

    Attributes
    ----------
    dipoles : ndarray, shape [n_frames, 3]
        In e·Å, unwrapped within each series.
    spacing : float
        Between frames, in ps.
    starts : list of int
        First frame of each uninterrupted series.
    cells : ndarray, shape [n_frames, 3, 3], or None
        Rows are cell vectors in Å, zero in directions that do not repeat; None in vacuum.
    """

    kind: ClassVar[str] = "dipoles"

    dipoles: Array
    spacing: float
    starts: list[int]
    cells: Array | None = None

    __repr__ = short

    def __len__(self) -> int:
        return len(self.dipoles)

    @classmethod
    def from_array(
        cls, dipoles: Any, time_step: Any, *, cells: Any = None, starts: Sequence[int] = (0,)
    ) -> DipoleSeries:
        """Bring dipoles to one branch.

        Parameters
        ----------
        dipoles : array_like or pint.Quantity, shape [n_frames, 3]
            In e·Å; a quantity in debye is converted.
        time_step : float, str or pint.Quantity
            Between frames, in ps.
        cells : optional
            Of periodic samples, whose dipole is defined modulo e times a cell vector: one cell, as
            `mda_aptnn.frame.cell_matrix` takes it, or [n_frames, 3, 3] in Å.
        starts : sequence of int
            First frame of each uninterrupted series.

        Returns
        -------
        DipoleSeries

        Raises
        ------
        TrajectoryError
            If shapes or starts do not fit, or the time step is not positive.
        """
        values = np.asarray(units.magnitude(dipoles, units.DIPOLE, "dipoles"), dtype=float)
        spacing = units.magnitude(time_step, units.TIME, "time_step")
        if values.ndim != 2 or values.shape[1] != 3 or len(values) < 2:
            raise TrajectoryError(
                f"dipoles have the shape {values.shape}, not [n_frames, 3] with two frames or more"
            )
        if not spacing > 0:
            raise TrajectoryError(f"time_step {time_step!r} must be positive")
        marks = [int(k) for k in starts]
        if not marks or marks[0] != 0 or marks != sorted(set(marks)) or marks[-1] >= len(values):
            raise TrajectoryError(f"starts {marks} do not fit {len(values)} frames")
        if cells is None:
            return cls(values, spacing, marks)
        every = np.asarray(cells, dtype=float) if np.ndim(cells) == 3 else cell_matrix(cells)
        shape = len(values), 3, 3
        if every.ndim == 3 and every.shape != shape:
            raise TrajectoryError(f"cells have the shape {every.shape}, not {shape}")
        every = np.broadcast_to(every, shape)
        parts = zip(np.split(values, marks[1:]), np.split(every, marks[1:]), strict=True)
        return cls(np.concatenate([unwrap(*part) for part in parts]), spacing, marks, every)

    @classmethod
    def from_cp2k(
        cls, path: str | os.PathLike[str], time_step: Any, *, cell: Any = None
    ) -> DipoleSeries:
        """Read the file that CP2K's &MOMENTS wrote along one trajectory.

        Parameters
        ----------
        path : path
        time_step : float, str or pint.Quantity
            Between its blocks, in ps: CP2K does not write it there.
        cell : optional
            Where the file has none: tight binding.

        Returns
        -------
        DipoleSeries

        Raises
        ------
        FileFormatError
            If there is no dipole, or the file is cut off.
        """
        dipoles, cells = read_moments(path)
        return cls.from_array(dipoles, time_step, cells=cells if cell is None else cell)

    def __getitem__(self, frames: slice) -> DipoleSeries:
        """Return some of the frames, one after the other."""
        first, stop, step = frames.indices(len(self))
        if step != 1:
            raise TrajectoryError("take consecutive frames: dipoles[start:stop]")
        starts = [0, *(k - first for k in self.starts if first < k < stop)]
        cells = None if self.cells is None else self.cells[first:stop]
        return dataclasses.replace(
            self, dipoles=self.dipoles[first:stop], starts=starts, cells=cells
        )

    def flux(self) -> list[Array]:
        """Return Ṁ half-way between frames, (M(t + Δt) − M(t))/Δt in e·Å/ps, [n − 1, 3] of each
        series.

        Returns
        -------
        list of ndarray, shape [n_frames - 1, 3]
            One for each series, in e·Å/ps.
        """
        parts = np.split(self.dipoles, self.starts[1:])
        return [np.diff(part, axis=0) / self.spacing for part in parts if len(part) > 1]

    @takes_estimator
    def spectrum(
        self,
        temperature: Any,
        resolution: Any = AUTO,
        *,
        volume: Any = None,
        quantum_correction: str = "harmonic",
        **how: Any,
    ) -> Spectrum:
        """Return the absolute infrared spectrum of the dipoles.

        Parameters
        ----------
        temperature : float, str or pint.Quantity
            In K.
        resolution, quantum_correction, window, unbiased, segments
            As in `FluxSeries.spectrum`.
        volume : float, str or pint.Quantity, optional
            In Å³; by default the mean volume of cells that repeat in three directions.

        Returns
        -------
        Spectrum

        Raises
        ------
        SpectrumError
            If the series is too short for the resolution.

        Notes
        -----
        nα = πβω²/(3ε₀cV) · (1/2π) ∫ dt e^{−iωt} ⟨M(0)·M(t)⟩, with ω² applied in time: the
        differences of M have the spectrum of Ṁ times [sin(ωΔt/2)/(ωΔt/2)]², which is divided out.
        """
        if volume is None and self.cells is not None:
            size = float(Cell(self.cells).volume.mean())
            volume = size if np.isfinite(size) else None
        rates = Rates.joined(
            [part[:, None] for part in self.flux()],
            self.spacing,
            ["dipoles"],
            # differences of neighbours are central differences over half a step to either side
            finite_difference=self.spacing / 2,
        )
        return infrared(
            rates,
            Estimator(resolution, **how),
            units.magnitude(temperature, units.TEMPERATURE, "temperature"),
            None if volume is None else units.magnitude(volume, units.VOLUME, "volume"),
            info={"model": "explicit dipoles"},
        ).corrected(quantum_correction)

    def _write(self, file: h5py.File) -> None:
        io.write_array(file, "dipoles", self.dipoles, units.DIPOLE)
        io.write_array(file, "spacing", self.spacing, units.TIME)
        io.write_array(file, "starts", np.array(self.starts))
        if self.cells is not None:
            io.write_array(file, "cells", self.cells, units.LENGTH)

    @classmethod
    def _read(cls, file: h5py.File) -> DipoleSeries:
        dipoles = io.read_array(file, "dipoles", units.DIPOLE, (None, 3))
        shape = len(dipoles), 3, 3
        return cls.from_array(
            dipoles,
            float(io.read_array(file, "spacing", units.TIME, ())),
            cells=io.read_array(file, "cells", units.LENGTH, shape) if "cells" in file else None,
            starts=io.read_array(file, "starts", shape=(None,)).tolist(),
        )


def unwrap(dipoles: Array, cells: Array) -> Array:
    """Return dipoles on the branch of the first one, each as near to the one before as multiples of
    e·a allow.

    Parameters
    ----------
    dipoles : ndarray, shape [n_frames, 3]
        In e·Å.
    cells : ndarray, shape [n_frames, 3, 3]
        Rows are cell vectors in Å; zero rows do not repeat.

    Notes
    -----
    The polarization quantum: R. D. King-Smith, D. Vanderbilt, Phys. Rev. B 47, 1651 (1993). Steps
    are compared in units of the cell vectors of their own frame, so that a cell that breathes adds
    nothing.
    """
    box = Cell(cells)
    if not box.pbc.any():
        return dipoles
    steps = np.diff(box.fractions(dipoles[:, None])[:, 0], axis=0) * box.pbc[0]
    jumps = np.round(steps)
    largest = float(np.abs(steps - jumps).max(initial=0.0))
    if largest > _AMBIGUOUS:
        warnings.warn(
            f"the dipole moves by up to {largest:.2f} of e times a cell vector from frame to "
            "frame, so that its branch is not sure; write dipoles more often",
            stacklevel=3,
        )
    multiples = np.concatenate([np.zeros((1, 3)), np.cumsum(jumps, axis=0)])
    return np.asarray(dipoles - (multiples[:, None] @ box.filled)[:, 0])
