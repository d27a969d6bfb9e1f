"""Lag windows: what a finite resolution does to a correlation function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.integrate
import scipy.optimize
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError

Array = NDArray[np.float64]
Window = Callable[[Array], Array]


def _parzen(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(x < 0.5, 1 - 6 * x**2 * (1 - x), 2 * (1 - x) ** 3)


#: Windows that end at x = 1. The first two are positive definite: they keep auto spectra
#: non-negative.
_FINITE: dict[str, Window] = {
    "parzen": _parzen,
    "bartlett": lambda x: 1 - x,
    "hann": lambda x: np.cos(np.pi * x / 2) ** 2,
}
#: "none" is the bare periodogram, over all lags.
WINDOWS = ("gaussian", *_FINITE, "none")
#: Lines that are wider than was asked for by more than this part are mentioned.
WIDER = 0.03
#: With the 1/N estimator these never give a negative auto spectrum.
POSITIVE_DEFINITE = ("gaussian", "parzen", "bartlett", "none")
#: A Gaussian window is followed down to this value.
_SMALLEST = 1e-13


def needed_time(resolution: float) -> float:
    """Return how long a series must last for a resolution in cm⁻¹, 1/(c · resolution), in ps; or
    the other way round.
    """
    return 1 / (units.SPEED_OF_LIGHT * resolution)


def lag_window(name: str, resolution: float, spacing: float, n_frames: int) -> NDArray[np.float64]:
    """Return the window at the lags 0, 1, ... (times `spacing`), as far as it is not zero.

    Parameters
    ----------
    name : {"gaussian", "parzen", "bartlett", "hann", "none"}
        Gaussian lines are the default; "none" ignores the resolution and takes all lags.
    resolution : float
        Full width at half maximum of the line that a single frequency becomes, in cm⁻¹.
    spacing : float
        Of the time series, in ps.
    n_frames : int
        Of the longest uninterrupted series: the most lags that exist.

    Returns
    -------
    ndarray, shape [n_lags]

    Raises
    ------
    SpectrumError
        If the window is unknown or the series is shorter than the resolution needs, 1/(c ·
        resolution).
    """
    if name not in WINDOWS:
        raise SpectrumError(f"window {name!r}: choose one of {', '.join(WINDOWS)}")
    if name == "none":
        return np.ones(n_frames)
    if resolution <= 0:
        raise SpectrumError(f"the resolution must be positive, not {resolution} cm⁻¹")
    needed, length = needed_time(resolution), n_frames * spacing
    if length < needed:
        enough = 1.005 * needed_time(length)  # also when rounded to three digits
        raise SpectrumError(
            f"a resolution of {resolution:g} cm⁻¹ needs an uninterrupted series of {needed:.3g} "
            f"ps, the longest is {length:.3g} ps; ask for {enough:.3g} cm⁻¹ or more, or run longer"
        )
    if name == "gaussian":
        deviation = np.sqrt(2 * np.log(2)) / np.pi * needed
        end = deviation * np.sqrt(-2 * np.log(_SMALLEST))
        lags = np.arange(min(n_frames, int(end / spacing) + 1)) * spacing
        return np.asarray(np.exp(-0.5 * (lags / deviation) ** 2))
    end = _width(_FINITE[name]) * needed
    lags = np.arange(min(n_frames, int(end / spacing) + 1)) * spacing
    return _FINITE[name](np.asarray(lags / end, dtype=np.float64))


def weights_of_lags(
    lengths: Sequence[int], n_lags: int, unbiased: bool = False
) -> tuple[Array, Array]:
    """Return how many products a correlation function has at each lag, and what their sum is
    divided by.

    Parameters
    ----------
    lengths : sequence of int
        Frames of the uninterrupted series.
    n_lags : int
    unbiased : bool
        The estimator, see `mda_aptnn.spectra.estimator.Estimator`.

    Returns
    -------
    products, divisor : ndarray, shape [n_lags]
    """
    lags = np.arange(n_lags)
    products = np.sum([np.maximum(length - lags, 0.0) for length in lengths], axis=0)
    return products, np.maximum(products, 1.0) if unbiased else np.full(n_lags, float(sum(lengths)))


def effective_resolution(
    window: Array, spacing: float, lengths: Sequence[int], unbiased: bool = False
) -> float:
    """Return the full width at half maximum, in cm⁻¹, of the line that a single frequency becomes.

    Parameters
    ----------
    window : ndarray, shape [n_lags]
        At the lags 0, `spacing`, ...
    spacing : float
        In ps.
    lengths, unbiased
        As in `weights_of_lags`.

    Notes
    -----
    The weight 1/N of the estimator multiplies the window by a triangle, the part of the products
    that exist: the transform of both is wider than that of the window, the more so the shorter the
    series are. Of a few lags it may not fall to half of its maximum anywhere: the line is then as
    wide as the spectrum repeats itself, 1/(cΔt).
    """
    products, divisor = weights_of_lags(lengths, len(window), unbiased)
    weights = window * products / divisor
    weights[0] *= 0.5
    phases = 2 * np.pi * units.SPEED_OF_LIGHT * spacing * np.arange(len(weights))

    def above_half(wavenumber: float) -> float:
        return float(weights @ np.cos(phases * wavenumber) - 0.5 * weights.sum())

    # four steps in the narrowest line there is, that of a bare periodogram
    step = 0.25 / (units.SPEED_OF_LIGHT * spacing * len(weights))
    upper, nyquist = step, 0.5 / (units.SPEED_OF_LIGHT * spacing)
    while above_half(upper) > 0:
        if upper >= nyquist:
            return 2 * nyquist
        upper += step
    return 2 * float(scipy.optimize.brentq(above_half, upper - step, upper))


def _width(window: Window) -> float:
    """Full width at half maximum of the cosine transform of a window that ends at 1, in cycles."""

    def line(frequency: float) -> float:
        value, _ = scipy.integrate.quad(
            lambda x: float(window(np.asarray(x))), 0, 1, weight="cos", wvar=2 * np.pi * frequency
        )
        return float(value)

    half = line(0.0) / 2
    return 2 * float(scipy.optimize.brentq(lambda frequency: line(frequency) - half, 0.0, 1.0))
