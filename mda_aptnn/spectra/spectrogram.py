"""The spectrum as it changes with time: a window moves along the trajectory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import scipy.fft

from mda_aptnn import units
from mda_aptnn.errors import GroupError, SpectrumError
from mda_aptnn.figures import Map, Panel, plain
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.estimator import Density, Estimator
from mda_aptnn.spectra.infrared import Absorption, section_factor
from mda_aptnn.spectra.quantities import SECTION
from mda_aptnn.spectra.result import Array, Measured, array, attribute

#: The taper is followed down to this value.
_SMALLEST = 1e-7


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Spectrogram(Absorption):
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

    kind: ClassVar[str] = "spectrogram"

    cross_sections: Any = array(SECTION, "frequencies", "times")
    times: Any = array(units.TIME, "times")
    weights: Any = array(None, "times")
    group: str = attribute(str, "total")

    def curve(self, *term: str) -> Measured:
        """Return the mean over all windows, the spectrum of the whole apart from what is near the
        ends.

        Parameters
        ----------
        *term : {"windows"}
            All of them instead of their mean.

        Returns
        -------
        Measured
            [n_frequencies], or [n_frequencies, n_times]; n·α in cm⁻¹, or molar absorption where
            there is no volume.
        """
        return super().curve(*term)

    def _reduction(self, *term: str) -> Callable[[Array], Array]:
        shares = np.eye(len(self.weights)) if term else self.weights / self.weights.sum()
        return lambda values: values @ shares

    @property
    def time_resolution(self) -> Any:
        """Full width at half maximum of the squared window, 2 ln 2/(π c · resolution), in ps."""
        width = 2 * np.log(2) / (np.pi * units.SPEED_OF_LIGHT * self.resolution.magnitude)
        return units.quantity(width, units.TIME)

    def summary(self) -> dict[str, Any]:
        """Return what the spectrum says, as plain numbers.

        Returns
        -------
        dict of str to value
        """
        width = float(self.time_resolution.magnitude)
        own = {"n_windows": len(self.weights), "time_resolution_ps": width}
        return {**own, **super().summary()}

    def describe(self) -> str:
        """Return the same for people.

        Returns
        -------
        str
        """
        return f"{len(self.weights)} windows, {self.time_resolution.magnitude:.3g} ps wide"

    def _panels(self) -> list[Panel]:
        """Time against wavenumber, and the mean over time above it.

        Series that do not continue each other stand in the order of their windows, not of their
        times.
        """
        times = self.times.magnitude
        edges, label = np.arange(-0.5, len(times)), "window"
        if len(times) > 1 and (np.diff(times) > 0).all():
            middles, label = (times[1:] + times[:-1]) / 2, "time / ps"
            edges = np.array([2 * times[0] - middles[0], *middles, 2 * times[-1] - middles[-1]])
        moving = Map(edges=edges, values=self.scale * self.values, label=self.label)
        mean = {"mean": self.curve()}
        return [Panel(label="mean", curves=mean, height=0.4), Panel(label=label, map=moving)]

    def _title(self) -> str:
        widths = (
            f"{self.resolution.magnitude:g} cm$^{{-1}}$ and "
            f"{self.time_resolution.magnitude:.3g} ps wide"
        )
        return f"{plain(self.group)}: {widths}"


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
    estimator = Estimator(units.magnitude(resolution, units.WAVENUMBER, "resolution"))
    kelvin, cubic, notes = series.conditions(temperature, volume)
    if group not in (None, *series.groups):
        raise GroupError(f"there is no group {group!r}; the groups are {', '.join(series.groups)}")
    flux = series.total if group is None else series.flux[:, series.groups.index(group)]
    lengths = np.diff([*series.starts, len(series)]).tolist()
    plan = estimator.plan(series.spacing, lengths, series.finite_difference)
    deviation = np.sqrt(np.log(2)) / (np.pi * units.SPEED_OF_LIGHT * estimator.resolution)
    apart = deviation / 2 if step is None else units.magnitude(step, units.TIME, "step")
    if not apart > 0:
        raise SpectrumError(f"step {step!r} must be positive")
    last = np.inf if highest is None else units.magnitude(highest, units.WAVENUMBER, "highest")
    kept = plan.wavenumber <= last
    powers, times, weights = [], [], []
    reach = deviation * np.sqrt(-2 * np.log(_SMALLEST))
    for start, length in zip(series.starts, lengths, strict=True):
        # windows cross no join
        own = np.arange(length) * series.spacing
        for centre in np.arange(0.0, own[-1] + 1e-9, apart):
            first, end = np.searchsorted(own, [centre - reach, centre + reach])
            taper = np.exp(-0.5 * ((own[first:end] - centre) / deviation) ** 2)
            seen = flux[start + first : start + end] * taper[:, None]
            amplitudes = scipy.fft.rfft(seen, plan.size, axis=0)[: kept.sum()]
            weights.append(float((taper**2).sum()))
            powers.append((np.abs(amplitudes) ** 2).sum(axis=1) / weights[-1])
            times.append(float(series.times[start]) + centre)
    scale = section_factor(kelvin) * series.spacing * plan.correction[kept]
    sections = scale[:, None] * np.stack(powers, axis=1)
    density = Density(estimator, plan, sections, np.empty(0))
    common = density.common(notes, series.info, temperature=kelvin, volume=cubic)
    return Spectrogram(
        **common | {"wavenumber": common["wavenumber"][kept]},
        cross_sections=units.quantity(sections, SECTION),
        times=units.quantity(times, units.TIME),
        weights=np.array(weights),
        group=group or "total",
    )
