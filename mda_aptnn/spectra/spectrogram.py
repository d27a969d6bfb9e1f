"""The spectrum as it changes with time: a window moves along the trajectory."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, ClassVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import GroupError, SpectrumError
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.densities import velocity_correction
from mda_aptnn.spectra.infrared import section_factor
from mda_aptnn.spectra.resolved import ResolvedSpectrum
from mda_aptnn.spectra.transform import CosineTransform

#: The taper is followed down to this value.
_SMALLEST = 1e-7


@dataclasses.dataclass(frozen=True)
class Spectrogram(ResolvedSpectrum):
    """The spectrum seen through a window at each of many times.

    Attributes
    ----------
    cross_sections : pint.Quantity, shape [n_frequencies, n_times]
        V · n(ω)α(ω) in Å².
    times : pint.Quantity, shape [n_times]
        Centres of the windows, in ps.
    weights : ndarray, shape [n_times]
        Σ w² of each window over the frames that exist: less where it reaches over an end.
    group : str
        Whose auto term it is; "total" for all.

    Notes
    -----
    The estimate of one window is that of one short trajectory: its three components scatter as χ²
    with six degrees of freedom, 58 % of the value, at each point. What stands out has to be more
    than that, or to last.
    """

    times: Any = None
    weights: Any = None
    group: str = "total"

    kind: ClassVar[str] = "spectrogram"
    own_arrays: ClassVar[dict[str, str]] = {"times": units.TIME, "weights": ""}
    own_texts: ClassVar[tuple[str, ...]] = ("group",)

    def values(self) -> Any:
        """Return n·α in cm⁻¹, or molar absorption where there is no volume [n_frequencies,
        n_times].

        Returns
        -------
        pint.Quantity, shape [n_frequencies, n_times]
        """
        return units.quantity(self.parts, self.unit)

    @property
    def total(self) -> Any:
        """Mean over all windows [n_frequencies]: the spectrum of the whole, apart from what is near
        the ends.
        """
        return units.quantity(self.parts @ (self.weights / self.weights.sum()), self.unit)

    @property
    def time_resolution(self) -> Any:
        """Full width at half maximum of the squared window, 2 ln 2/(π c · resolution), in ps."""
        width = 2 * np.log(2) / (np.pi * units.SPEED_OF_LIGHT * self.resolution.magnitude)
        return units.quantity(width, units.TIME)

    def plot(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Draw the map; see `mda_aptnn.spectra.spectrogram_plot.plot_spectrogram`.

        Parameters
        ----------
        path : path, optional
            Written there (format by the ending) instead of being left open for display.
        **options
            Of `plot_spectrogram`.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from mda_aptnn.spectra.spectrogram_plot import plot_spectrogram

        return plot_spectrogram(self, path, **options)


def spectrogram(
    series: FluxSeries,
    *,
    resolution: Any = "50 cm^-1",
    step: Any = None,
    group: str | None = None,
    highest: Any = "4500 cm^-1",
    temperature: Any = None,
    volume: Any = None,
) -> Spectrogram:
    """Follow the spectrum of a flux through time.

    Parameters
    ----------
    series : FluxSeries
    resolution : float, str or pint.Quantity
        Full width at half maximum of a line, in cm⁻¹. It fixes that in time: 14.7 ps cm⁻¹ over it,
        no pair can be smaller.
    step : float, str or pint.Quantity, optional
        From window to window, in ps; by default half of the standard deviation of the window.
    group : str, optional
        Name of the group whose auto term is wanted; all together by default.
    highest : float, str or pint.Quantity, or None
        Wavenumbers in cm⁻¹ above it are left out.
    temperature, volume
        As in `FluxSeries.spectrum`.

    Returns
    -------
    Spectrogram

    Raises
    ------
    SpectrumError
        If the temperature is not known, or the series is too short for the resolution.
    GroupError
        If there is no such group.

    Notes
    -----
    ``S(t, ω) = β/(6 ε₀ c) |Σ_u w(u − t) Ṁ(u) e^{−iωu} Δt|² / Σ_u w²(u − t) Δt`` with w(u) =
    exp(−u²/2s²), s = √(ln 2)/(π c · resolution). The integral over ω is the mean of Ṁ² under w²,
    exactly. The mean over t is the spectrum with the Gaussian lag window of the same resolution, as
    ∫ w(u) w(u + τ) du ∝ exp(−τ²/4s²).
    """
    width = units.magnitude(resolution, units.WAVENUMBER, "resolution")
    kelvin, cubic, notes = series.conditions(temperature, volume)
    longest = int(np.diff([*series.starts, len(series)]).max())
    size = CosineTransform.plan("gaussian", width, series.spacing, longest).size
    deviation = np.sqrt(np.log(2)) / (np.pi * units.SPEED_OF_LIGHT * width)
    apart = deviation / 2 if step is None else units.magnitude(step, units.TIME, "step")
    if not apart > 0:
        raise SpectrumError(f"step {step!r} must be positive")
    grid = np.arange(size // 2 + 1) / (size * series.spacing * units.SPEED_OF_LIGHT)
    wavenumber, correction = velocity_correction(grid, series.finite_difference)
    if highest is not None:
        kept = int((wavenumber <= units.magnitude(highest, units.WAVENUMBER, "highest")).sum())
        wavenumber, correction = wavenumber[:kept], correction[:kept]
    powers, times, weights = _windows(
        _flux_of(series, group), series, deviation, apart, size, len(wavenumber)
    )
    sections = section_factor(kelvin) * series.spacing * powers * correction[:, None]
    return Spectrogram(
        wavenumber=units.quantity(wavenumber, units.WAVENUMBER),
        cross_sections=units.quantity(sections, "angstrom^2"),
        temperature=units.quantity(kelvin, units.TEMPERATURE),
        volume=None if cubic is None else units.quantity(cubic, units.VOLUME),
        resolution=units.quantity(width, units.WAVENUMBER),
        window="gaussian",
        notes=notes,
        info={name: value for name, value in series.info.items() if name != "notes"},
        times=units.quantity(times, units.TIME),
        weights=weights,
        group=group or "total",
    )


def _flux_of(series: FluxSeries, group: str | None) -> NDArray[np.float64]:
    if group is None:
        return series.total
    if group not in series.groups:
        raise GroupError(f"there is no group {group!r}; the groups are {', '.join(series.groups)}")
    return series.flux[:, series.groups.index(group)]


def _windows(
    flux: NDArray[np.float64],
    series: FluxSeries,
    deviation: float,
    apart: float,
    size: int,
    n_frequencies: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Power over Σ w² [n_frequencies, n_times], times in ps and Σ w² of windows that cross no join."""
    reach = deviation * np.sqrt(-2 * np.log(_SMALLEST))
    powers, times, weights = [], [], []
    for start, stop in zip(series.starts, [*series.starts[1:], len(series)], strict=True):
        own = np.arange(stop - start) * series.spacing
        for centre in np.arange(0.0, own[-1] + 1e-9, apart):
            first, last = np.searchsorted(own, [centre - reach, centre + reach])
            taper = np.exp(-0.5 * ((own[first:last] - centre) / deviation) ** 2)
            seen = flux[start + first : start + last] * taper[:, None]
            amplitudes = scipy.fft.rfft(seen, size, axis=0)[:n_frequencies]
            weights.append(float((taper**2).sum()))
            powers.append((np.abs(amplitudes) ** 2).sum(axis=1) / weights[-1])
            times.append(float(series.times[start]) + centre)
    return np.stack(powers, axis=1), np.array(times), np.array(weights)
