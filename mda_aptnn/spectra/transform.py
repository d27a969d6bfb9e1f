"""From correlation functions to spectral densities: window, frequency grid and cosine transform in
one place.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.spectra import windows

#: Points of the frequency grid per resolution element.
_POINTS_PER_RESOLUTION = 8


@dataclasses.dataclass(frozen=True)
class CosineTransform:
    """∫ dt cos(ωt) w(t) C(t) over both signs of t, on an equidistant grid up to the Nyquist
    frequency.

    Attributes
    ----------
    window : ndarray, shape [n_lags]
        w at the lags 0, Δt, ...; exactly even, as only one side of it exists.
    spacing : float
        Δt in ps.
    size : int
        Length of the discrete transform, even.
    """

    window: NDArray[np.float64]
    spacing: float
    size: int

    @classmethod
    def plan(cls, window: str, resolution: float, spacing: float, n_frames: int) -> CosineTransform:
        """Choose lags and grid.

        Parameters
        ----------
        window, resolution, spacing, n_frames
            As in `mda_aptnn.spectra.windows.lag_window`.

        Raises
        ------
        SpectrumError
            If the window is unknown or the series is too short for the resolution.
        """
        weights = windows.lag_window(window, resolution, spacing, n_frames)
        # fits all lags of both signs and several points in a resolution element
        fine = _POINTS_PER_RESOLUTION / (units.SPEED_OF_LIGHT * resolution * spacing)
        size = scipy.fft.next_fast_len(max(2 * len(weights), int(np.ceil(fine))), real=True)
        while size % 2:
            # an even length has the Nyquist frequency on the grid, and the sum rule holds exactly
            size = scipy.fft.next_fast_len(size + 1, real=True)
        return cls(weights, spacing, int(size))

    @property
    def n_lags(self) -> int:
        """Number of lags that the window leaves."""
        return len(self.window)

    @property
    def wavenumber(self) -> NDArray[np.float64]:
        """The grid in cm⁻¹, from 0 to the Nyquist frequency."""
        grid: NDArray[np.float64] = np.arange(self.size // 2 + 1) / (
            self.size * self.spacing * units.SPEED_OF_LIGHT
        )
        return grid

    def __call__(self, correlation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Transform even functions [n_lags, ...] to [n_frequencies, ...], in their unit times ps."""
        values = correlation * self.window.reshape(-1, *[1] * (correlation.ndim - 1))
        values[0] *= 0.5
        result: NDArray[np.float64] = (
            2 * self.spacing * scipy.fft.rfft(values, self.size, axis=0).real
        )
        return result
