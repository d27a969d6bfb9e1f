"""Band integrals, their shares and peaks, each with its standard error."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.statistics import Measured

if TYPE_CHECKING:
    from mda_aptnn.spectra.spectrum import Spectrum

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


def band_weights(wavenumber: Array, low: Any = 0.0, high: Any = None) -> Array:
    """Return weights [n_frequencies] in cm⁻¹ whose sum with a spectrum is its integral over a band.

    Parameters
    ----------
    wavenumber : ndarray, shape [n_frequencies]
        Equidistant, in cm⁻¹.
    low, high : float, str or pint.Quantity
        Limits of the band in cm⁻¹, anywhere between grid points; the whole spectrum by default.

    Raises
    ------
    SpectrumError
        If the limits are in the wrong order.

    Notes
    -----
    The integral of straight lines between the grid points: right to second order, and the integrals
    of neighbouring bands sum to that of both. On the whole grid of a discrete transform it is the
    trapezoidal rule, which is exact.
    """
    low = units.magnitude(low, units.WAVENUMBER, "low")
    high = np.inf if high is None else units.magnitude(high, units.WAVENUMBER, "high")
    if not low < high:
        raise SpectrumError(
            f"a band from {low:g} to {high:g} cm⁻¹: the first limit must be the lower one"
        )
    spacing = wavenumber[1] - wavenumber[0]
    weights = np.zeros(len(wavenumber))
    # where the limits lie in each interval between grid points, 0 to 1
    below, above = (np.clip((limit - wavenumber[:-1]) / spacing, 0.0, 1.0) for limit in (low, high))
    # ∫ (1 − x) dx and ∫ x dx between them belong to its left and to its right end
    right = 0.5 * spacing * (above**2 - below**2)
    weights[:-1] += spacing * (above - below) - right
    weights[1:] += right
    return weights


def band_integral(
    spectrum: Spectrum,
    low: Any = 0.0,
    high: Any = None,
    *,
    term: tuple[str, str] | None = None,
    n_molecules: int = 1,
) -> Measured:
    """Return the integrated molar intensity of a band in km/mol, with its standard error.

    Parameters
    ----------
    spectrum : Spectrum
    low, high : float, str or pint.Quantity
        Limits in cm⁻¹; the whole spectrum by default.
    term : (str, str), optional
        Names of two groups: of their auto or whole cross term instead of the total.
    n_molecules : int
        Molecules in the sample that share the band.

    Returns
    -------
    Measured
    """
    section = (
        spectrum.cross_section if term is None else spectrum.cross_section_of(*term)
    ).magnitude
    weights = band_weights(spectrum.wavenumber.magnitude, low, high) * _PER_SECTION / n_molecules
    error, degrees = float("nan"), 0
    if spectrum.segments is not None:
        error = float(spectrum.section_error(term, weights))
        degrees = spectrum.segments.degrees_of_freedom
    positive = term is None or (term[0] == term[1] and term[0] not in spectrum.signed)
    return Measured(float(section @ weights), error, "km/mol", degrees, positive)


def band_share(spectrum: Spectrum, low: Any, high: Any, term: tuple[str, str]) -> Measured:
    """Return the part that a term has in the integral of a band, with its standard error.

    Parameters
    ----------
    spectrum : Spectrum
    low, high : float, str or pint.Quantity
        Limits in cm⁻¹.
    term : (str, str)
        Names of two groups.

    Returns
    -------
    Measured

    Notes
    -----
    The error is that of the ratio, by the jackknife: fluctuations that term and total have in
    common cancel.
    """
    weights = band_weights(spectrum.wavenumber.magnitude, low, high)
    value = float(
        spectrum.cross_section_of(*term).magnitude
        @ weights
        / (spectrum.cross_section.magnitude @ weights)
    )
    if spectrum.segments is None:
        return Measured(value, float("nan"), "", 0)
    segments = spectrum.segments
    both = np.stack(
        [segments.of_pair(k) @ weights for k in (spectrum.pair_index(*term), None)], axis=1
    )
    error = segments.jackknife(lambda mean: mean[0] / mean[1], both)
    return Measured(value, float(error), "", segments.degrees_of_freedom)


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
        tops, properties = find_peaks(
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
    """The lowest grid points on both sides of each maximum, between it and the next one or the end."""
    if not len(tops):
        return []
    minima = [a + int(curve[a:b].argmin()) for a, b in itertools.pairwise(tops)]
    return list(itertools.pairwise([0, *minima, len(curve) - 1]))


def peaks(spectrum: Spectrum, *, prominence: float = 0.02) -> list[Peak]:
    """Return the band maxima of the total that stand out of the noise, with standard errors.

    Parameters
    ----------
    spectrum : Spectrum
    prominence : float
        The least height of a band above its surroundings, as a part of the highest maximum. Smaller
        than what noise makes, it has no effect.

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
    8), and position and height are those of its maximum. Errors: from the same fit when one segment
    after the other is left out. Their coverage for bands from once to twenty times as wide as the
    resolution is in the documentation (theory, error bars).
    """
    grid = spectrum.wavenumber.magnitude
    values, unit = spectrum.default_values()
    spacing = float(grid[1] - grid[0])
    resolution = (
        spectrum.resolution
        if spectrum.effective_resolution is None
        else spectrum.effective_resolution
    )
    points = max(1.0, float(resolution.magnitude) / spacing)
    tops = maxima_of(values, prominence, _relative_noise(spectrum, points), points)
    total = None if spectrum.segments is None else spectrum.segments.of_pair(None)
    found = []
    for top, (low, high) in zip(tops, _between_minima(values, tops), strict=True):
        first, last = _top_of_band(values, int(top), low, high, points)

        def summit(curve: Array, first: int = first, last: int = last) -> Array:
            return _summit(curve[first : last + 1])

        position, height = summit(values)
        of_position, of_height, degrees = float("nan"), float("nan"), 0
        if spectrum.segments is not None and total is not None:
            of_position, of_height = map(float, spectrum.segments.jackknife(summit, total))
            degrees = spectrum.segments.degrees_of_freedom
        place, top_value = float(grid[0] + spacing * (first + position)), float(np.exp(height))
        found.append(
            Peak(
                Measured(place, spacing * of_position, units.WAVENUMBER, degrees),
                Measured(top_value, top_value * of_height, unit, degrees, positive=True),
            )
        )
    return found


def _relative_noise(spectrum: Spectrum, points: float) -> Array | float:
    """Relative standard error, averaged over neighbours; without segments the least possible one."""
    if spectrum.segments is None:
        return spectrum.least_relative_error if np.isfinite(spectrum.least_relative_error) else 0.0
    total = spectrum.segments.of_pair(None)
    mean = np.abs(spectrum.segments.mean(total))
    ratio = np.divide(
        spectrum.segments.standard_error(total), mean, out=np.zeros_like(mean), where=mean > 0
    )
    return np.sqrt(_smooth(np.minimum(ratio, 1.0) ** 2, _POOLED * points))


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


#: V·n·α in Å² to molar absorption in km/mol·cm.
_PER_SECTION = units.factor("angstrom^2", "angstrom^3/cm") * units.MOLAR_FACTOR
