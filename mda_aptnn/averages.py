"""Averages of correlated series and their standard errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

#: A series is cut into no fewer blocks.
_FEWEST = 8
#: Blocks are long enough where longer ones give no variance above this quantile of chance. Lower
#: ones lengthen the blocks of white noise for nothing (0.6: errors too large by 22 %), higher ones
#: miss slow parts (0.84: covers 55 % where a seventh of the variance has a memory of a 25th of the
#: series; this one 60 %), each with 150 synthetic series.
_QUANTILE = 0.75


def mean_with_error(values: Array) -> tuple[float, float]:
    """Return the mean of a correlated series and its standard error, from blocks of a length that
    is searched.

    Parameters
    ----------
    values : ndarray, shape [n_frames]
        Equidistant in time.

    Returns
    -------
    mean, standard_error : float
        mean ± standard_error holds the truth with 68 %: Student's factor for the number of blocks
        is in the error. NaN for a series of fewer than 4 frames.

    Notes
    -----
    The variance of the mean of a series is that of the means of n blocks over n, if blocks are
    longer than the memory of the series; shorter ones give too little. So the variance is looked at
    against the length of blocks, which is halved from an eighth of the series on: H. Flyvbjerg, H.
    G. Petersen, J. Chem. Phys. 91, 461 (1989). The shortest blocks are taken on whose variance no
    longer ones improve by more than chance explains (the upper quartile of F). Blocks of length L
    that are some times longer than the memory still lack a part that goes as 1/L, which 2 V(L) −
    V(L/2) does not; the larger of both is taken.

    The mean of a series that is not some twenty times longer than its memory has no reliable error
    by any method.
    """
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean()) if len(values) else float("nan")
    if len(values) < 4:
        return mean, float("nan")
    counts = [min(_FEWEST, len(values))]
    while 2 * counts[-1] <= len(values):
        counts.append(2 * counts[-1])
    variances = [_variance_of_mean(values - mean, count) for count in counts]
    # with single frames as blocks it ends at the first one at the latest, which no longer blocks
    # are there to exceed
    chosen = next(
        k
        for k in range(len(counts) - 1, -1, -1)
        if all(
            variances[j] <= variances[k] * stats.f.ppf(_QUANTILE, counts[j] - 1, counts[k] - 1)
            for j in range(k)
        )
    )
    variance = variances[chosen]
    if chosen + 1 < len(counts):
        variance = max(variance, 2 * variance - variances[chosen + 1])
    factor = stats.t.ppf(stats.norm.cdf(1.0), counts[chosen] - 1)
    return mean, float(factor * np.sqrt(variance))


def ratio_with_error(numerator: Array, denominator: Array) -> tuple[float, float]:
    """Return the ratio of two time averages and its standard error.

    Parameters
    ----------
    numerator, denominator : ndarray, shape [n_frames]
        Of the same frames.

    Returns
    -------
    ratio, standard_error : float
        As of `mean_with_error`.

    Notes
    -----
    Linearised (delta method): the deviation of a frame is (a − r b)/⟨b⟩, so that common
    fluctuations cancel.
    """
    ratio = float(numerator.mean() / denominator.mean())
    return ratio, mean_with_error((numerator - ratio * denominator) / denominator.mean())[1]


def _variance_of_mean(deviations: Array, n_blocks: int) -> float:
    """Variance of the mean, from the scatter of the means of blocks of nearly equal length."""
    starts = np.linspace(0, len(deviations), n_blocks + 1).round().astype(int)
    means = np.add.reduceat(deviations, starts[:-1]) / np.diff(starts)
    return float(means.var(ddof=1) / n_blocks)
