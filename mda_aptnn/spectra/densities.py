"""Spectral densities of series: every auto and cross term, what finite differences lose, and
segments for the errors.

The series may have any number of components: three of a dipole flux, one of an isotropic
polarizability, nine of an anisotropic one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra import windows
from mda_aptnn.spectra.correlation import cross_correlation
from mda_aptnn.spectra.statistics import Segments, relative_variance
from mda_aptnn.spectra.transform import CosineTransform
from mda_aptnn.trajectory.universe_frames import FINITE_DIFFERENCE_LIMIT

Array = NDArray[np.float64]

#: Terms of all pairs of groups take up to this much, and correlations, segments and work as much
#: again each.
_PAIR_BYTES = 200_000_000
#: A spectrum whose relative standard error must be larger than this comes with a warning.
_LARGE_ERROR = 0.2


def spectral_terms(
    correlation: Array,
    transform: CosineTransform,
    scale: Array,
    *,
    window: str,
    unbiased: bool = False,
) -> Array:
    """Return the densities of every pair, ``scale · ∫ dt cos(ωt) w(t) [C_gh(t) + C_hg(t)] / 2``.

    Parameters
    ----------
    correlation : ndarray, shape [n_lags, n_groups, n_groups]
    transform : CosineTransform
    scale : ndarray, shape [n_frequencies]
        Prefactor; may end before the grid does.
    window, unbiased
        Of the estimate: where it cannot be negative, what is below zero is rounding and becomes
        zero.

    Returns
    -------
    ndarray, shape [n_frequencies, n_groups, n_groups]
    """
    terms = np.empty((len(scale), *correlation.shape[1:]))
    for group in range(correlation.shape[1]):
        # row by row: the transform of all at once takes six times the memory of the result
        symmetric = 0.5 * (correlation[:, group] + correlation[:, :, group])
        terms[:, group] = scale[:, None] * transform(symmetric)[: len(scale)]
    if window in windows.POSITIVE_DEFINITE and not unbiased:
        diagonal = np.einsum("fgg->fg", terms)
        np.maximum(diagonal, 0.0, out=diagonal)
    return terms


def velocity_correction(wavenumber: Array, finite_difference: float) -> tuple[Array, Array]:
    """Return the part of the grid that velocities reach, and what their densities there are
    multiplied with.

    Parameters
    ----------
    wavenumber : ndarray, shape [n_frequencies]
        In cm⁻¹.
    finite_difference : float
        Spacing Δt in ps of the positions that velocities were made from: [ωΔt/sin ωΔt]² up to 0.7
        of their Nyquist frequency. 0 for recorded velocities: the whole grid, and ones.
    """
    if not finite_difference:
        return wavenumber, np.ones(len(wavenumber))
    phase = 2 * np.pi * units.SPEED_OF_LIGHT * wavenumber * finite_difference
    kept = phase <= FINITE_DIFFERENCE_LIMIT * np.pi
    return wavenumber[kept], np.sinc(phase[kept] / np.pi) ** -2


def pair_spectra(
    series: Sequence[Array], transform: CosineTransform, scale: Array, unbiased: bool
) -> NDArray[np.float32]:
    """Return every auto and whole cross term once, [n_frequencies, n_pairs] in the order of
    `Spectrum.pairs`.
    """
    return pairs_of_correlation(
        cross_correlation(series, transform.n_lags, unbiased=unbiased), transform, scale
    )


def pairs_of_correlation(
    correlation: Array, transform: CosineTransform, scale: Array
) -> NDArray[np.float32]:
    """Return what `pair_spectra` does, of a correlation function [n_lags, n_groups, n_groups]."""
    n_groups = correlation.shape[1]
    autos, (first, second) = np.arange(n_groups), np.triu_indices(n_groups, 1)
    crosses = correlation[:, first, second] + correlation[:, second, first]
    pairs = np.concatenate([correlation[:, autos, autos], crosses], axis=1)
    return (scale[:, None] * transform(pairs)[: len(scale)]).astype(np.float32)


def too_many_pairs(n_groups: int, n_frequencies: int) -> bool:
    """Whether the terms of all pairs of so many groups take more memory than they should."""
    return 8 * n_groups**2 * n_frequencies > _PAIR_BYTES


def check_pairs(n_groups: int, n_frequencies: int) -> None:
    """Refuse groups whose terms would take more memory than they should.

    Raises
    ------
    SpectrumError
    """
    if too_many_pairs(n_groups, n_frequencies):
        raise SpectrumError(
            f"the terms of {n_groups} groups with each other would take "
            f"{8e-9 * n_groups**2 * n_frequencies:.2g} GB: "
            "put groups together (groups=, --group NAME=ONE+OTHER), or ask for a coarser resolution"
        )


def summed_correlation(series: Sequence[Array], n_lags: int, *, unbiased: bool = False) -> Array:
    """Return correlations of each group with itself, and half of those with all the others.

    Parameters
    ----------
    series, n_lags, unbiased
        As in `mda_aptnn.spectra.correlation.cross_correlation`.

    Returns
    -------
    ndarray, shape [n_lags, n_groups, 2]
        ⟨f_g(0)·f_g(t)⟩ and Σ_{h≠g} ⟨f_g(0)·f_h(t) + f_h(0)·f_g(t)⟩/2. The sum over all is that of
        all pairs. In memory that grows with the number of groups and not with its square.
    """
    totals = [part.sum(axis=1) for part in series]
    result = np.empty((n_lags, series[0].shape[1], 2))
    for group in range(result.shape[1]):
        both = [
            np.stack([part[:, group], total], axis=1)
            for part, total in zip(series, totals, strict=True)
        ]
        found = cross_correlation(both, n_lags, unbiased=unbiased)
        result[:, group, 0] = found[:, 0, 0]
        result[:, group, 1] = 0.5 * (found[:, 0, 1] + found[:, 1, 0]) - found[:, 0, 0]
    return result


def summed_spectra(
    correlation: Array, transform: CosineTransform, scale: Array
) -> NDArray[np.float32]:
    """Return terms of `summed_correlation`: each with itself, then with the others, [n_frequencies,
    2 n_groups].
    """
    terms = transform(correlation.transpose(0, 2, 1).reshape(len(correlation), -1))
    return (scale[:, None] * terms[: len(scale)]).astype(np.float32)


def segment_spectra(
    series: Sequence[Array],
    segments: list[list[Array]],
    transform: CosineTransform,
    scale: Array,
    unbiased: bool,
    *,
    summed: bool = False,
) -> Segments | None:
    """Return every auto and cross term of each segment, or those of `summed_spectra`; None if there
    are none.

    Parameters
    ----------
    series : sequence of ndarray, shape [n_frames, n_groups, n_components]
    segments : list of list of ndarray
        What `mda_aptnn.spectra.statistics.choose_segments` made of them.
    transform : CosineTransform
    scale : ndarray, shape [n_frequencies]
    unbiased : bool
    summed : bool
    """
    if not segments:
        return None

    def of_segment(segment: list[Array]) -> NDArray[np.float32]:
        if summed:
            return summed_spectra(
                summed_correlation(segment, transform.n_lags, unbiased=unbiased), transform, scale
            )
        return pair_spectra(segment, transform, scale, unbiased)

    terms = np.stack([of_segment(segment) for segment in segments])
    lengths, inflation = segment_weights(series, segments, transform, unbiased)
    return Segments(terms, lengths, inflation)


def segment_weights(
    series: Sequence[NDArray[Any]],
    segments: list[list[NDArray[Any]]],
    transform: CosineTransform,
    unbiased: bool,
) -> tuple[Array, float]:
    """Return lengths (ps) and inflation of `Segments`."""
    lengths = [[len(piece) for piece in segment] for segment in segments]
    frames = np.array([sum(pieces) for pieces in lengths], dtype=float)
    own = np.array([relative_variance(pieces, transform.window, unbiased) for pieces in lengths])
    whole = relative_variance([len(part) for part in series], transform.window, unbiased)
    return frames * transform.spacing, whole / float(((frames / frames.sum()) ** 2 * own).sum())


def _rounded_up(value: float) -> str:
    """Two digits that are not less: what is advised must be enough."""
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return f"{np.ceil(value / unit) * unit:.3g}"


def warn_if_short(
    lengths: Sequence[int],
    transform: CosineTransform,
    resolution: float,
    unbiased: bool,
    *,
    components: int = 3,
    stacklevel: int = 4,
) -> None:
    """Warn if even the best case, independent Gaussian components, leaves a large error."""
    error = float(np.sqrt(relative_variance(lengths, transform.window, unbiased) / components))
    if error > _LARGE_ERROR:
        length = sum(lengths) * transform.spacing
        factor = (error / _LARGE_ERROR) ** 2
        warnings.warn(
            f"{length:.3g} ps are short for a resolution of {resolution:g} cm⁻¹: the standard "
            f"error at each point is "
            f"{error:.0%} of the spectrum or more; ask for {_rounded_up(factor * resolution)} "
            f"cm⁻¹, or run "
            f"{_rounded_up(factor * length)} ps",
            stacklevel=stacklevel,
        )
