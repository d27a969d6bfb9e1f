"""From the flux to the absolute infrared spectrum: correlation, window, transform, prefactor,
segments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra import windows
from mda_aptnn.spectra.correlation import component_correlation, cross_correlation
from mda_aptnn.spectra.densities import (
    pair_spectra,
    segment_spectra,
    spectral_terms,
    summed_correlation,
    too_many_pairs,
    velocity_correction,
    warn_if_short,
)
from mda_aptnn.spectra.members import MemberSpectra
from mda_aptnn.spectra.spectrum import Spectrum
from mda_aptnn.spectra.statistics import FEWEST, MOST, Segments, choose_segments, relative_variance
from mda_aptnn.spectra.transform import CosineTransform
from mda_aptnn.spectra.windows import effective_resolution

Array = NDArray[np.float64]

#: Segments that were not asked for by number take no more memory than this: with many groups fewer,
#: or none.
_SEGMENT_BYTES = 500_000_000


def absorption_spectrum(
    series: Sequence[NDArray[np.float64]],
    groups: Sequence[str],
    spacing: float,
    temperature: float,
    volume: float | None,
    *,
    resolution: float = 10.0,
    window: str = "gaussian",
    unbiased: bool = False,
    segments: int | str | None = "auto",
    members: Sequence[NDArray[np.float64]] | None = None,
    band_factor: float | None = None,
    quantum_correction: str = "harmonic",
    finite_difference: float = 0.0,
    notes: Sequence[str] = (),
    info: Mapping[str, Any] | None = None,
) -> Spectrum:
    """Return the spectrum of a flux, Eq. 2 of the paper.

    Parameters
    ----------
    series : sequence of ndarray, shape [n_frames, n_groups, 3]
        Ṁ of each group in e·Å/ps, one array per uninterrupted series.
    groups : sequence of str
        Names of the groups.
    spacing : float
        In ps.
    temperature : float
        In K.
    volume : float or None
        In Å³.
    resolution : float
        Full width at half maximum of a line, in cm⁻¹.
    window : str
        See `mda_aptnn.spectra.windows.lag_window`.
    unbiased : bool
        See `mda_aptnn.spectra.correlation.cross_correlation`; auto terms can then be negative.
    segments : int, "auto", "replicas" or None
        Disjoint parts for the error bars, see `mda_aptnn.spectra.statistics.choose_segments`.
    members : sequence of ndarray, shape [n_frames, n_members, n_groups, 3], optional
        Ṁ of each group by each member of a committee, as `series`.
    band_factor : float, optional
        What the committee's spread of band intensities is multiplied with, if it has been
        calibrated.
    quantum_correction : str
        See `Spectrum.corrected`.
    finite_difference : float
        If not 0, velocities are central differences of positions this many ps apart: the spectrum
        is multiplied by [ωΔt/sin ωΔt]² and ends at 0.7 of their Nyquist frequency.
    notes : sequence of str
        Kept with the result.
    info : mapping, optional
        Kept with the result; the estimator is added.

    Raises
    ------
    SpectrumError
        If the series are too short for the resolution, or the temperature or volume is not
        positive.

    Notes
    -----
    n(ω)α(ω) = β/(6 ε₀ c V) ∫ dt e^{-iωt} ⟨Ṁ(0)·Ṁ(t)⟩: P. Schienbein, J. Chem. Theory Comput. 19,
    705 (2023). The harmonic quantum correction is in the prefactor already. The mean of Ṁ is never
    removed: it is conduction.

    Of so many groups that the terms of all pairs would take more than 200 MB (90 groups at 3,000
    frequencies, 500 at 100) each group has two: its own, and its cross terms with all the others
    together. A note says so.
    """
    transform = CosineTransform.plan(window, resolution, spacing, max(len(part) for part in series))
    summed = too_many_pairs(len(groups), transform.size // 2 + 1)
    if summed:
        notes = [
            *notes,
            f"the cross terms of each of the {len(groups)} groups with all the others stand "
            f"together: those of all "
            "pairs would take too much memory; ask for fewer groups, or a coarser resolution, to "
            "have them apart",
        ]
    correlate = summed_correlation if summed else cross_correlation
    found = spectrum_of_correlation(
        correlate(series, transform.n_lags, unbiased=unbiased),
        component_correlation(series, transform.n_lags, unbiased=unbiased),
        transform,
        groups,
        temperature,
        volume,
        lengths=[len(part) for part in series],
        resolution=resolution,
        window=window,
        unbiased=unbiased,
        finite_difference=finite_difference,
        notes=notes,
        info=info,
    )
    if window != "none":
        warn_if_short([len(part) for part in series], transform, resolution, unbiased)
    _, correction = velocity_correction(transform.wavenumber, finite_difference)
    scale = section_factor(temperature) * correction
    parts, remarks = _independent_segments(
        series, segments, resolution, transform, scale, unbiased, summed
    )

    def pairs(flux: Sequence[Array]) -> NDArray[np.float32]:
        return pair_spectra(flux, transform, scale, unbiased)

    found = dataclasses.replace(
        found,
        segments=parts,
        notes=found.notes + remarks,
        members=None if members is None else MemberSpectra.of_fluxes(members, pairs, band_factor),
    )
    return found if quantum_correction == "harmonic" else found.corrected(quantum_correction)


def _independent_segments(
    series: Sequence[Array],
    segments: int | str | None,
    resolution: float,
    transform: CosineTransform,
    scale: Array,
    unbiased: bool,
    summed: bool,
) -> tuple[Segments | None, list[str]]:
    """The segments that were asked for; of those chosen by themselves half as many while neighbours
    are alike.
    """
    notes: list[str] = []
    n_groups = series[0].shape[1]
    most = _most(2 * n_groups, len(scale)) if summed else most_segments(n_groups, len(scale))
    while True:
        chosen = choose_segments(series, segments, resolution, transform.spacing, most)
        found = segment_spectra(series, chosen, transform, scale, unbiased, summed=summed)
        if found is None or segments == "replicas":
            return found, notes
        correlation, dependent = found.correlation_of_neighbours()
        if not dependent:
            return found, notes
        most = len(chosen) // 2
        longer = segments == "auto" and most >= FEWEST
        notes.append(
            f"segments of {found.lengths.mean():.3g} ps are not independent: neighbours deviate "
            f"alike (correlation "
            f"{correlation:.2f}); "
            + (
                f"{most} longer ones are taken"
                if longer
                else "the error bars are too small, take fewer segments"
            )
        )
        if not longer:
            return found, notes


def most_segments(n_groups: int, n_frequencies: int) -> int:
    """Return how many segments may be chosen by themselves, for the terms of so many groups."""
    return _most(n_groups * (n_groups + 1) // 2, n_frequencies)


def _most(n_terms: int, n_frequencies: int) -> int:
    return min(MOST, _SEGMENT_BYTES // (4 * n_frequencies * n_terms))


def section_factor(temperature: float) -> float:
    """Return what ∫ dt cos(ωt) ⟨Ṁ(0)·Ṁ(t)⟩ in e² Å²/ps is multiplied with to be V·n·α in Å²."""
    return units.absorption_prefactor(temperature) * units.factor("angstrom^3/cm", "angstrom^2")


def spectrum_of_correlation(
    correlation: Array,
    components: Array,
    transform: CosineTransform,
    groups: Sequence[str],
    temperature: float,
    volume: float | None,
    *,
    lengths: Sequence[int],
    resolution: float,
    window: str,
    unbiased: bool = False,
    finite_difference: float = 0.0,
    notes: Sequence[str] = (),
    info: Mapping[str, Any] | None = None,
) -> Spectrum:
    """Return the spectrum of a correlation function, without error bars.

    Parameters
    ----------
    correlation : ndarray, shape [n_lags, n_groups, n_groups] or [n_lags, n_groups, 2]
        See `mda_aptnn.spectra.correlation.cross_correlation`, in e² Å²/ps²; or
        `summed_correlation`.
    components : ndarray, shape [n_lags, 3, 3]
        See `mda_aptnn.spectra.correlation.component_correlation`, in e² Å²/ps².
    transform : CosineTransform
    lengths : sequence of int
        Frames of the uninterrupted series that the correlation function was averaged over.
    groups, temperature, volume, resolution, window, unbiased, finite_difference, notes, info
        As in `absorption_spectrum`.

    Raises
    ------
    SpectrumError
        If the temperature or volume is not positive.
    """
    if temperature <= 0:
        raise SpectrumError(f"the temperature must be positive, not {temperature} K")
    if volume is not None and volume <= 0:
        raise SpectrumError(f"the volume must be positive, not {volume} Å³")
    wavenumber, correction = velocity_correction(transform.wavenumber, finite_difference)
    scale = section_factor(temperature) * correction
    parts = spectral_terms(components, transform, scale, window=window, unbiased=unbiased)
    if correlation.shape[1] == correlation.shape[2]:
        terms = spectral_terms(correlation, transform, scale, window=window, unbiased=unbiased)
    else:
        terms = scale[:, None, None] * transform(correlation)[: len(scale)]
        if window in windows.POSITIVE_DEFINITE and not unbiased:
            np.maximum(terms[:, :, 0], 0.0, out=terms[:, :, 0])
    return Spectrum(
        wavenumber=units.quantity(wavenumber, units.WAVENUMBER),
        groups=list(groups),
        cross_section_terms=units.quantity(terms, "angstrom^2"),
        cross_section_components=units.quantity(parts, "angstrom^2"),
        lags=units.quantity(np.arange(transform.n_lags) * transform.spacing, units.TIME),
        correlation=units.quantity(correlation, units.FLUX_CORRELATION),
        temperature=units.quantity(temperature, units.TEMPERATURE),
        volume=None if volume is None else units.quantity(volume, units.VOLUME),
        resolution=units.quantity(resolution if window != "none" else 0.0, units.WAVENUMBER),
        window=window,
        effective_resolution=units.quantity(
            effective_resolution(transform.window, transform.spacing, lengths, unbiased),
            units.WAVENUMBER,
        ),
        least_relative_error=float(
            np.sqrt(relative_variance(lengths, transform.window, unbiased) / 3)
        ),
        notes=list(notes),
        info={**(info or {}), "estimator": "1/(N - n)" if unbiased else "1/N"},
    )
