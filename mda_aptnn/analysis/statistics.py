"""Error bars of averages over a correlated time series."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ratio_with_error(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], n_blocks: int = 20
) -> tuple[float, float]:
    """Return the ratio of two time averages and its standard error, from consecutive blocks.

    Parameters
    ----------
    numerator, denominator : ndarray, shape [n_frames]
        Of the same frames.
    n_blocks : int
        Into which the series is cut; blocks must be longer than the correlation time. Fewer if it is short.

    Returns
    -------
    ratio, standard_error : float
        The error is NaN for a series of fewer than 4 frames.

    Notes
    -----
    Linearised (delta method): the deviation of a block is (a − r b)/⟨b⟩, so that common fluctuations cancel.
    """
    ratio = float(numerator.mean() / denominator.mean())
    n_blocks = min(n_blocks, len(numerator) // 2)
    if n_blocks < 2:
        return ratio, float("nan")
    deviation = (numerator - ratio * denominator) / denominator.mean()
    blocks = np.array([part.mean() for part in np.array_split(deviation, n_blocks)])
    return ratio, float(blocks.std(ddof=1) / np.sqrt(n_blocks))
