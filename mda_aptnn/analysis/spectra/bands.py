"""Band integrals, their shares and peaks, each with its standard error."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.analysis.spectra.statistics import Measured, Segments

if TYPE_CHECKING:
    from mda_aptnn.analysis.spectra.spectrum import Spectrum

Array = NDArray[np.float64]


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
        Limits of the band in cm⁻¹; the whole spectrum by default.
    """
    low = units.magnitude(low, units.WAVENUMBER, "low")
    high = np.inf if high is None else units.magnitude(high, units.WAVENUMBER, "high")
    weights = np.full(len(wavenumber), wavenumber[1] - wavenumber[0])
    # the trapezoidal rule is exact on the whole grid of a discrete transform
    weights[[0, -1]] /= 2
    return np.asarray(weights * ((wavenumber >= low) & (wavenumber <= high)))


def band_integral(
    spectrum: Spectrum, low: Any = 0.0, high: Any = None, *, term: tuple[str, str] | None = None, n_molecules: int = 1
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
    section = (spectrum.cross_section if term is None else spectrum.cross_section_of(*term)).magnitude
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
    The error is that of the ratio, by the jackknife: fluctuations that term and total have in common cancel.
    """
    weights = band_weights(spectrum.wavenumber.magnitude, low, high)
    value = float(spectrum.cross_section_of(*term).magnitude @ weights / (spectrum.cross_section.magnitude @ weights))
    if spectrum.segments is None:
        return Measured(value, float("nan"), "", 0)
    segments = spectrum.segments
    both = np.stack([segments.of_pair(k) @ weights for k in (spectrum.pair_index(*term), None)], axis=1)
    error = segments.jackknife(lambda mean: mean[0] / mean[1], both)
    return Measured(value, float(error), "", segments.degrees_of_freedom)


def maxima_of(values: Array, prominence: float) -> NDArray[np.int64]:
    """Return the grid points of band maxima that stand out by this part of the highest value."""
    from scipy.signal import find_peaks

    tops: NDArray[np.int64] = find_peaks(values, prominence=prominence * max(float(values.max()), 1e-300))[0]
    return tops


def peaks(spectrum: Spectrum, *, prominence: float = 0.02) -> list[Peak]:
    """Return the band maxima of the total, interpolated between grid points, with standard errors.

    Parameters
    ----------
    spectrum : Spectrum
    prominence : float
        The least height of a band above its surroundings, as a part of the highest maximum.

    Returns
    -------
    list of Peak
        By rising wavenumber.

    Notes
    -----
    The error of a position is that of the nearest maximum when one segment after the other is left out.
    """
    grid = spectrum.wavenumber.magnitude
    values, unit = spectrum.default_values()
    tops = maxima_of(values, prominence)
    errors = np.full((len(tops), 2), np.nan)
    degrees = 0
    if spectrum.segments is not None and len(tops):
        errors = _peak_errors(spectrum, spectrum.segments, tops)
        degrees = spectrum.segments.degrees_of_freedom
    found = []
    for top, (of_position, of_height) in zip(tops, errors, strict=True):
        position = grid[0] + (grid[1] - grid[0]) * _vertex(values, top)
        found.append(
            Peak(
                Measured(float(position), float(of_position), units.WAVENUMBER, degrees),
                Measured(float(values[top]), float(of_height), unit, degrees, positive=True),
            )
        )
    return found


def _peak_errors(spectrum: Spectrum, segments: Segments, tops: NDArray[np.int64]) -> Array:
    """Standard errors of positions in cm⁻¹ and of heights in the default unit, [n_peaks, 2]."""
    spacing = float(spectrum.wavenumber.magnitude[1])
    reach = max(1, round(float(spectrum.resolution.magnitude) / spacing))

    def positions(mean: Array) -> Array:
        return np.array([spacing * _vertex(mean, _climb(mean, top, reach)) for top in tops])

    total = segments.of_pair(None)
    return np.stack([segments.jackknife(positions, total), spectrum.default_error()[tops]], axis=1)


def _climb(values: Array, start: int, reach: int) -> int:
    """The highest point within `reach` of a point, but not the ends of the grid."""
    low = max(1, start - reach)
    return low + int(values[low : min(len(values) - 1, start + reach + 1)].argmax())


def _vertex(values: Array, top: int) -> float:
    """Where the parabola through a point and its neighbours has its maximum, in grid points."""
    left, middle, right = values[top - 1 : top + 2]
    curvature = left - 2 * middle + right
    return top + (float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)) if curvature < 0 else 0.0)


#: V·n·α in Å² to molar absorption in km/mol·cm.
_PER_SECTION = units.factor("angstrom^2", "angstrom^3/cm") * units.MOLAR_FACTOR
