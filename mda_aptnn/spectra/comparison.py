"""Two spectra held against each other: intensity, shift and shape of a band, with their errors."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.result import Measured, band_weights

Array = NDArray[np.float64]

#: Rounds of the search for the shift, each from the one before; it ends when a step is below 1e-5
#: of the resolution.
_ROUNDS = 30


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a second spectrum is beside a first one, in one band.

    Attributes
    ----------
    intensity : Measured
        Integral of the second over that of the first.
    shift : Measured
        How far the second lies above the first, in cm⁻¹: the shift of the first, scaled, that comes
        nearest to the second in least squares.
    shape : Measured
        Cosine of the angle between the shifted first one and the second, 1 for equal shapes.
    noise : float
        What 1 − shape is expected to be from the statistical errors alone; NaN without error bars.
    low, high : float
        Limits of the band in cm⁻¹.
    """

    intensity: Measured
    shift: Measured
    shape: Measured
    noise: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"<Comparison: {self}>"

    def __str__(self) -> str:
        found = (
            f"{self.low:g} to {self.high:g} cm⁻¹: intensity × {self.intensity}, shift "
            f"{self.shift}, 1 − shape {1 - self.shape.value:.2g}"
        )
        if np.isnan(self.noise):
            return (
                f"{found}; errors unknown, as one of the spectra has no error bars (its trajectory "
                "is too short)"
            )
        return f"{found} (noise {self.noise:.2g})"


def compare(
    first: Spectrum, second: Spectrum, low: Any, high: Any, *, same_trajectory: bool = False
) -> Comparison:
    """Compare the totals of two spectra in a band, as they are shown (`Spectrum.to`).

    Parameters
    ----------
    first, second : Spectrum
        Of equal resolution and window.
    low, high : float, str or pint.Quantity
        Limits of the band in cm⁻¹.
    same_trajectory : bool
        Both are of the same frames, in equal segments: what they have in common is in neither
        error, as one segment of both is left out at a time.

    Returns
    -------
    Comparison

    Raises
    ------
    SpectrumError
        If resolutions, windows or what is shown differ, transmittance is shown, the band is empty,
        or segments do not go together.
    """
    _check(first, second, same_trajectory)
    low, high = (
        units.magnitude(value, units.WAVENUMBER, name)
        for value, name in ((low, "low"), (high, "high"))
    )
    grid = first.wavenumber.magnitude
    weights = band_weights(grid, low, high)
    inside = (grid >= low) & (grid <= high)
    if inside.sum() < 5 or high > second.wavenumber.magnitude[-1]:
        raise SpectrumError(f"{low:g} to {high:g} cm⁻¹ is not a band of both spectra")
    resolution = float(first.resolution.magnitude) or grid[1]

    def estimate(pair: Array) -> Array:
        one, other = pair
        intensity = other @ weights / (one @ weights)
        return np.array([intensity, *shift_and_cosine(grid, inside, one, other, resolution)])

    one = _shown(grid, first, first.values)
    other = _shown(grid, second, second.values)
    values = estimate(np.array([one, other]))
    error, degrees, noise = np.full(3, np.nan), 0, float("nan")
    parts = first.segments, second.segments
    if parts[0] is not None and parts[1] is not None:
        degrees = min(parts[0].degrees_of_freedom, parts[1].degrees_of_freedom)
        of_one = np.array([_shown(grid, first, part) for part in parts[0].terms])
        of_other = np.array([_shown(grid, second, part) for part in parts[1].terms])
        scaled = of_other / values[0]
        # scale and shift, which are fitted, take their part of the noise
        fitted, _ = np.linalg.qr(np.stack([one[inside], np.gradient(one)[inside]], axis=1))

        def left(curve: Array) -> Array:
            return np.asarray(curve[inside] - fitted @ (curve[inside] @ fitted))

        if same_trajectory:
            error = parts[0].jackknife(estimate, np.stack([of_one, of_other], axis=1))
            difference = [parts[0].jackknife(left, scaled - of_one)]
        else:
            means = parts[0].mean(of_one), parts[1].mean(of_other)
            error = np.hypot(
                parts[0].jackknife(lambda mean: estimate(np.array([mean, means[1]])), of_one),
                parts[1].jackknife(lambda mean: estimate(np.array([means[0], mean])), of_other),
            )
            difference = [parts[0].jackknife(left, of_one), parts[1].jackknife(left, scaled)]
        noise = float(0.5 * np.square(difference).sum() / (one[inside] ** 2).sum())

    def measured(number: int, unit: str = "", positive: bool = False) -> Measured:
        value, scatter = float(values[number]), float(error[number])
        return Measured(value, scatter, unit, degrees, positive)

    ratio, shift, shape = measured(0, positive=True), measured(1, units.WAVENUMBER), measured(2)
    return Comparison(ratio, shift, shape, noise, low, high)


def _check(first: Spectrum, second: Spectrum, same_trajectory: bool) -> None:
    widths = [float(spectrum.resolution.magnitude) for spectrum in (first, second)]
    if abs(widths[0] - widths[1]) > 1e-3 * max(widths) or first.window != second.window:
        raise SpectrumError(
            f"the spectra have resolutions of {widths[0]:g} and {widths[1]:g} cm⁻¹ (windows "
            f"{first.window}, {second.window}); make both with the same"
        )
    if first.label != second.label:
        shown = " and ".join(spectrum.shown.heading for spectrum in (first, second))
        raise SpectrumError(
            f"the spectra are shown as {shown}: show both as one quantity (to(), --quantity "
            "epsilon), or give a volume to the one that has none"
        )
    if not first.shown.is_additive:
        raise SpectrumError("transmittance has no intensities to compare; show absorbance")
    if not same_trajectory:
        return
    if first.segments is None or second.segments is None:
        raise SpectrumError(
            "same_trajectory needs error bars of both; give segments= to spectrum()"
        )
    one, other = first.segments.lengths, second.segments.lengths
    if len(one) != len(other) or np.abs(one / other - 1).max() > 0.05:
        raise SpectrumError(
            f"the spectra have {len(one)} and {len(other)} segments, or of other lengths: they are "
            "not of the same frames; make both with the same segments="
        )


def _shown(grid: Array, spectrum: Spectrum, terms: NDArray[Any]) -> Array:
    """The total of terms [n_frequencies, n_pairs] as it is shown, on another grid; beyond their
    own, its end.
    """
    own, total = spectrum.wavenumber.magnitude, terms.sum(axis=1, dtype=np.float64)
    values = spectrum.as_shown(total, total)
    if len(own) == len(grid) and np.allclose(own, grid):
        return values
    interpolated: Array = CubicSpline(own, values)(np.minimum(grid, own[-1]))
    return interpolated


def shift_and_cosine(
    grid: Array, inside: NDArray[np.bool_], one: Array, other: Array, resolution: float
) -> tuple[float, float]:
    """Shift in cm⁻¹ that makes two curves most alike, and the cosine of their angle then."""
    curve = CubicSpline(grid, one)
    slope = curve.derivative()
    target, where = other[inside], grid[inside]
    shift = _coarse_shift(grid, inside, one, other)
    for _ in range(_ROUNDS):
        model = curve(where - shift)
        gradient = slope(where - shift)
        # other ≈ s·one(ν − δ) − s·ε·one′(ν − δ): the least squares for s and s·ε
        (scale, moved), *_ = np.linalg.lstsq(np.stack([model, -gradient], axis=1), target)
        step = float(np.clip(moved / scale, -resolution, resolution)) if scale > 0 else 0.0
        shift += step
        if abs(step) < 1e-5 * resolution:
            break
    model = curve(where - shift)
    cosine = model @ target / np.sqrt((model @ model) * (target @ target))
    return shift, float(cosine)


def _coarse_shift(grid: Array, inside: NDArray[np.bool_], one: Array, other: Array) -> float:
    """The best shift by whole grid points, up to half of the band."""
    index = np.flatnonzero(inside)
    target = other[index]
    reach = len(index) // 2
    shifts = np.arange(-min(reach, len(grid) - 1 - index[-1]), min(reach, index[0]) + 1)
    windows = np.lib.stride_tricks.sliding_window_view(one, len(index))[index[0] - shifts]
    cosines = windows @ target / np.maximum(np.linalg.norm(windows, axis=1), 1e-300)
    return float(shifts[cosines.argmax()] * (grid[1] - grid[0]))
