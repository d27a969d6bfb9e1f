"""Correlation functions of time series by FFT, over all time origins, never across a join."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy.fft
from numpy.typing import NDArray


def cross_correlation(
    segments: Iterable[NDArray[np.float64]], n_lags: int, *, unbiased: bool = False
) -> NDArray[np.float64]:
    """Return ``C[n, g, h] = ⟨f_g(t) · f_h(t + n Δt)⟩``, averaged over origins t and segments.

    Parameters
    ----------
    segments : iterable of ndarray, shape [n_frames, n_groups, 3]
        Uninterrupted series of equal spacing, such as replicas; products never cross from one to
        another.
    n_lags : int
        Lags 0 to n_lags − 1.
    unbiased : bool
        Divide the sum at lag n by the number of its terms, N − n, instead of N. The default, 1/N,
        makes the series n ↦ C(n) positive definite, so that no auto spectrum is ever negative.

    Returns
    -------
    ndarray, shape [n_lags, n_groups, n_groups]
        In the square of the unit of the series.

    Notes
    -----
    Wiener-Khinchin, zero-padded by at least n_lags, so that nothing wraps around.
    """
    total: NDArray[np.float64] | None = None
    weight = np.zeros(n_lags)
    for series in segments:
        n_frames, n_groups = series.shape[:2]
        if total is None:
            total = np.zeros((n_lags, n_groups, n_groups))
        weight += np.maximum(n_frames - np.arange(n_lags), 0) if unbiased else n_frames
        kept = min(n_lags, n_frames)
        size = scipy.fft.next_fast_len(n_frames + kept, real=True)
        # [groups, 3, frequencies]: the transforms of one pair lie in one piece
        transforms = scipy.fft.rfft(np.ascontiguousarray(np.moveaxis(series, 0, -1)), size)
        for g in range(n_groups):
            densities = np.einsum("af,haf->hf", transforms[g].conj(), transforms[g:])
            products = scipy.fft.irfft(densities, size).T
            total[:kept, g, g:] += products[:kept]
            # C_hg(n) = C_gh(−n), which stands at the end of the circle
            total[0, g + 1 :, g] += products[0, 1:]
            total[1:kept, g + 1 :, g] += products[: size - kept : -1, 1:]
    if total is None:
        raise ValueError("no series to correlate")
    return total / np.maximum(weight, 1)[:, None, None]


def component_correlation(
    segments: Iterable[NDArray[np.float64]], n_lags: int, *, unbiased: bool = False
) -> NDArray[np.float64]:
    """Return ``C[n, a, b] = ⟨f_a(t) f_b(t + n Δt)⟩`` of the Cartesian components of the sum over
    groups.

    Parameters and conventions as in `cross_correlation`; the trace over a = b is the sum over its
    groups.
    """
    components = (series.sum(axis=1)[:, :, None] for series in segments)
    return cross_correlation(components, n_lags, unbiased=unbiased)
