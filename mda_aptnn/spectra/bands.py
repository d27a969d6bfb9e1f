"""Band maxima that stand out of the noise, with the errors of their positions and heights."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import scipy.signal
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from mda_aptnn import units
from mda_aptnn.spectra.result import Measured, Result

Array = NDArray[np.float64]

#: Standard errors by which a maximum must stand above its higher saddle: the least at which none of
#: 150 spectra of white noise, of 830 resolutions each and 3 to 40 times as long as one needs, has a
#: band (4.5: 17 have).
_SIGNIFICANT = 5.0
#: Widths, in resolutions, of the Gaussians that a spectrum is smoothed with to find wide bands.
_SCALES = (0, 2, 4, 8, 16, 32)
#: Width, in resolutions, over which the relative error is averaged.
_POOLED = 20.0
#: Full width at half maximum of a Gaussian over its deviation.
_WIDTH_OF_GAUSSIAN = 2 * np.sqrt(2 * np.log(2))
#: Rounds in which the width of a band and its smoothed curve are found from each other.
_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Peak:
    """A band maximum.

    Attributes
    ----------
    position : Measured
        In cm⁻¹.
    height : Measured
        n·α in cm⁻¹, or molar absorption in km/mol·cm without a volume.
    """

    position: Measured
    height: Measured


def maxima_of(
    values: Array, prominence: float, noise: Array | float = 0.0, points: float = 1.0
) -> NDArray[np.int64]:
    """Return the grid points of band maxima that stand out of their surroundings and of the noise.

    Parameters
    ----------
    values : ndarray, shape [n_frequencies]
    prominence : float
        The least height of a band above its surroundings, as a part of the highest value.
    noise : ndarray, shape [n_frequencies], or float
        Relative standard error of `values`. 0: none, every maximum counts.
    points : float
        Grid points per resolution.

    Notes
    -----
    A maximum counts if it stands above the higher of its two saddles by `_SIGNIFICANT` standard
    errors of that difference. Noise hides a wide and weak band, and smoothing brings it out: the
    curve is seen at its own resolution first and then smoothed ever more, by which the relative
    error falls with the fourth root of the sum of the squares of both widths. What is found at one
    scale is kept at the coarser ones: a maximum there is new only if none lies between the minima
    beside it.
    """
    noise = np.broadcast_to(noise, values.shape)
    found: list[int] = []
    for scale in _SCALES:
        if scale * points > len(values) / 8 or (scale and not noise.any()):
            break
        curve = _smooth(values, scale * points)
        tops, properties = scipy.signal.find_peaks(
            curve, prominence=prominence * max(float(curve.max()), 1e-300)
        )
        drop = properties["prominences"]
        error = noise[tops] * (1 + scale**2) ** -0.25 * np.hypot(curve[tops], curve[tops] - drop)
        tops = tops[drop > _SIGNIFICANT * error]
        found += [
            top
            for top, (low, high) in zip(tops, _between_minima(curve, tops), strict=True)
            if not any(low <= known <= high for known in found)
        ]
    return np.array(sorted(found), dtype=np.int64)


def _between_minima(curve: Array, tops: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The lowest grid points beside each maximum, between it and the next one or the end."""
    if not len(tops):
        return []
    minima = [a + int(curve[a:b].argmin()) for a, b in itertools.pairwise(tops)]
    return list(itertools.pairwise([0, *minima, len(curve) - 1]))


def find_peaks(
    result: Result,
    total: Callable[[Array], Array],
    unit: str,
    prominence: float = 0.02,
    shown: Callable[[Array], Array] = lambda curve: curve,
) -> list[Peak]:
    """Return the band maxima of a curve that stand out of the noise, with their errors.

    Parameters
    ----------
    result : Result
    total : callable
        The curve [n_frequencies], a linear function of the values of the result.
    unit : str
        Of the curve.
    prominence : float
        The least height of a band above its surroundings, as a part of the highest maximum. Smaller
        than what noise makes, it has no effect.
    shown : callable
        What is drawn of the curve, in `unit`, if that is not linear.

    Returns
    -------
    list of Peak
        By rising wavenumber.

    Notes
    -----
    Which maxima are significant: see `maxima_of`. The highest point of a noisy curve lies too high,
    and anywhere on the band's top. So the logarithm of the band is taken for a polynomial of fourth
    degree from half height to half height, fitted as the mean of a gamma distribution (the estimate
    is distributed like χ²: P. McCullagh, J. A. Nelder, Generalized Linear Models (1989), chapter
    8), and position and height are those of its maximum. Their coverage for bands from once to
    twenty times as wide as the resolution is in the documentation (theory, error bars).
    """
    grid = result.wavenumber.magnitude
    spacing = float(grid[1] - grid[0])
    width = result.effective_resolution or result.resolution
    points = max(1.0, float(width.magnitude) / spacing)
    curve = result.measure(shown, unit, of=total, positive=True)
    tops = maxima_of(curve.value, prominence, _relative_noise(result, curve, points), points)
    ranges = [
        _top_of_band(curve.value, int(top), low, high, points)
        for top, (low, high) in zip(tops, _between_minima(curve.value, tops), strict=True)
    ]

    def summits(values: Array) -> Array:
        drawn = shown(values)
        found = [_summit(drawn[first : last + 1]) for first, last in ranges]
        shifts = [(first, 0) for first, _ in ranges]
        return np.asarray(np.reshape(found, (-1, 2)) + np.reshape(shifts, (-1, 2)))

    found = result.measure(summits, of=total)
    degrees = found.degrees_of_freedom
    return [
        Peak(
            Measured(
                float(grid[0] + spacing * place),
                spacing * error[0],
                units.WAVENUMBER,
                degrees,
                model_error=spacing * model_error[0],
            ),
            Measured(
                float(np.exp(height)),
                np.exp(height) * error[1],
                unit,
                degrees,
                positive=True,
                model_error=np.exp(height) * model_error[1],
            ),
        )
        for (place, height), error, model_error in zip(
            found.value, found.error, found.model_error, strict=True
        )
    ]


def _relative_noise(result: Result, curve: Measured, points: float) -> Array | float:
    """Relative standard error averaged over neighbours, the least possible one without segments."""
    if result.segments is None:
        return float(np.nan_to_num(result.least_relative_error))
    value = np.abs(curve.value)
    ratio = np.divide(curve.error, value, out=np.zeros_like(value), where=value > 0)
    return np.asarray(np.sqrt(_smooth(np.minimum(ratio, 1.0) ** 2, _POOLED * points)))


def _smooth(values: Array, width: float) -> Array:
    """Values, even at both ends, convolved with a Gaussian of this full width at half maximum."""
    if width == 0:
        return values
    smoothed: Array = gaussian_filter1d(values, width / _WIDTH_OF_GAUSSIAN, mode="mirror")
    return smoothed


def _top_of_band(values: Array, top: int, low: int, high: int, points: float) -> tuple[int, int]:
    """First and last grid point of a band's upper half, between the minima beside it."""
    curve = values
    for _ in range(_ROUNDS):
        first, last = (_descent(curve, top, end) for end in (low, high))
        # a third of the width smooths the noise and widens the band by 5 %
        curve = _smooth(values, (last - first) / 3)
        middle, reach = (first + last) // 2, max(1, (last - first) // 3)
        start = max(low, middle - reach)
        top = start + int(curve[start : min(high, middle + reach) + 1].argmax())
    first, last = (_descent(curve, top, end) for end in (low, high))
    least = int(np.ceil(0.5 * points)) + 1
    return max(0, min(first, top - least)), min(len(values) - 1, max(last, top + least))


def _descent(curve: Array, top: int, end: int) -> int:
    """Where the curve falls to half height, or three quarters of the way to a minimum that is
    higher than a third.
    """
    step = 1 if end > top else -1
    path = curve[top : end + step : step] if end + step >= 0 else curve[top::-1]
    level = max(0.5 * path[0], path.min() + 0.25 * (path[0] - path.min()))
    below = np.flatnonzero(path <= level)
    return top + step * int(below[0] if len(below) else len(path) - 1)


def _summit(values: Array) -> Array:
    """Position in grid points from the first, and logarithm of the height, of the polynomial
    through a band's top.
    """
    n = len(values)
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, n), min(4, n - 1))
    project = basis @ np.linalg.pinv(basis)
    logarithm = project @ np.log(np.maximum(values, 1e-3 * max(float(values.max()), 1e-300)))
    for _ in range(50):
        step = project @ np.clip(values / np.exp(logarithm) - 1, -1, 1)
        logarithm = logarithm + step
        if np.abs(step).max() < 1e-6:
            break
    top = int(np.clip(logarithm.argmax(), 1, n - 2))
    left, middle, right = logarithm[top - 1 : top + 2]
    curvature = left - 2 * middle + right
    shift = float(np.clip(0.5 * (left - right) / curvature, -1, 1)) if curvature < 0 else 0.0
    return np.array([top + shift, middle - 0.25 * (left - right) * shift])
