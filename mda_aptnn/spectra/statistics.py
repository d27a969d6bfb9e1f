"""Error bars of spectra, from disjoint segments of the trajectory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.windows import weights_of_lags

Array = NDArray[np.float64]

#: Error bars are made of themselves if at least this many segments fit, and of no more than the
#: second number.
FEWEST, MOST = 4, 16
#: Length of such a segment, in units of 1/(c · resolution).
SEGMENT_LENGTH = 2.0
#: Segments are called dependent if neighbours are as much alike in no more than this part of random
#: orders of them.
_CHANCE = 0.005
#: Such orders that are tried.
_ORDERS = 1999
#: Where the spectrum is less than this part of its maximum, it does not count: short segments leak
#: there.
_COUNTS = 0.01


@dataclasses.dataclass(frozen=True)
class Measured:
    """A number with its standard error.

    Attributes
    ----------
    value, error : float
        In `unit`. The error is NaN where segments were too few.
    unit : str
    degrees_of_freedom : int
        Of the error: one less than the number of segments.
    positive : bool
        Whether the number cannot be negative: its band is then symmetric on a logarithmic scale.
    """

    value: float
    error: float
    unit: str
    degrees_of_freedom: int
    positive: bool = False

    @property
    def quantity(self) -> Any:
        """The value as a pint quantity."""
        return units.quantity(self.value, self.unit)

    def band(self, sigmas: float = 1.0) -> tuple[float, float]:
        """Return the limits that hold the truth as often as ± `sigmas` of a normal distribution
        would.
        """
        low, high = confidence_band(
            np.array(self.value),
            np.array(self.error),
            self.degrees_of_freedom,
            sigmas,
            positive=self.positive,
        )
        return float(low), float(high)

    def __str__(self) -> str:
        error = "" if np.isnan(self.error) else f" ± {self.error:.2g}"
        return f"{self.value:.4g}{error} {self.unit}".rstrip()


@dataclasses.dataclass(frozen=True)
class Segments:
    """The same spectrum from disjoint parts of the trajectory: what error bars are made of.

    Attributes
    ----------
    terms : ndarray of float32, shape [n_segments, n_frequencies, n_pairs]
        V · n(ω)α(ω) in Å² of each pair of groups, both orders together, in the order of
        `Spectrum.pairs`; the sum over pairs is the total.
    lengths : ndarray, shape [n_segments]
        In ps: the variance of a segment goes as 1/length.
    inflation : float
        Variance of the spectrum of the whole trajectory over that of the mean of its segments,
        which see fewer products at long lags.
    """

    terms: NDArray[np.float32]
    lengths: Array
    inflation: float = 1.0

    @property
    def degrees_of_freedom(self) -> int:
        """One less than the number of segments."""
        return len(self.lengths) - 1

    def of_pair(self, index: int | None) -> Array:
        """Return the values of a pair, or of the total (None), [n_segments, n_frequencies] in Å²."""
        if index is None:
            return np.asarray(self.terms.sum(axis=2, dtype=np.float64))
        return self.terms[:, :, index].astype(np.float64)

    def mean(self, values: NDArray[Any]) -> Array:
        """Return the mean over segments of `values` [n_segments, ...]."""
        weights = self.lengths / self.lengths.sum()
        return np.asarray(
            sum(w * value for w, value in zip(weights, values, strict=True)), dtype=float
        )

    def standard_error(self, values: NDArray[Any]) -> Array:
        """Return the standard error of the mean of something that is linear in the spectrum.

        Parameters
        ----------
        values : ndarray, shape [n_segments, ...]
            It, for each segment.

        Returns
        -------
        ndarray, shape [...]

        Notes
        -----
        With Var x_k = σ²/L_k, Σ_k L_k (x_k − x̄)² / (K − 1) is an unbiased estimate of σ², and Var
        x̄ = σ²/ΣL.
        """
        variance = self.mean((values - self.mean(values)) ** 2) / self.degrees_of_freedom
        return np.sqrt(variance * self.inflation)

    def jackknife(self, function: Callable[[Array], Array], values: NDArray[Any]) -> Array:
        """Return the standard error of a function of the mean, by leaving out one segment after the
        other.

        Parameters
        ----------
        function : callable
            Of the mean [...] of `values`; returns one number or an array of them.
        values : ndarray, shape [n_segments, ...]
            It, for each segment.

        Notes
        -----
        For segments of unequal length: F. M. T. A. Busing, E. Meijer, R. van der Leeden, Stat.
        Comput. 9, 3 (1999).
        """
        parts = self.lengths.sum() / self.lengths
        mean = self.mean(values)
        whole = np.asarray(function(mean))
        left_out = np.array(
            [
                function((h * mean - value) / (h - 1))
                for h, value in zip(parts, values, strict=True)
            ],
            dtype=float,
        )
        shape = (-1,) + (1,) * whole.ndim
        pseudo = parts.reshape(shape) * whole - (parts.reshape(shape) - 1) * left_out
        centre = whole * len(parts) - ((1 - 1 / parts.reshape(shape)) * left_out).sum(axis=0)
        variance = ((pseudo - centre) ** 2 / (parts.reshape(shape) - 1)).mean(axis=0)
        error: Array = np.sqrt(variance * self.inflation)
        return error

    def correlation_of_neighbours(self) -> tuple[float, bool]:
        """Return the correlation of one segment's deviations from the mean with those of the next,
        and if it is real.

        Segments that are shorter than what the sample remembers deviate like their neighbours, and
        error bars from them are too small by about √[(1 + ρ)/(1 − ρ)].

        Returns
        -------
        correlation : float
            ρ of the relative deviations of the total.
        dependent : bool
            Whether chance would give it: if they are independent, all orders of the segments are
            equally likely, and those with a larger correlation are counted. Of fewer than six
            segments there are too few orders to say.
        """
        values = self.of_pair(None)
        mean = self.mean(values)
        inside = mean > _COUNTS * mean.max()
        deviations = (values[:, inside] / mean[inside] - 1) * np.sqrt(
            self.lengths / self.lengths.mean()
        )[:, None]
        products = deviations @ deviations.T
        rng = np.random.default_rng(0)
        orders = np.array(
            [np.arange(len(products)), *(rng.permutation(len(products)) for _ in range(_ORDERS))]
        )
        neighbours = products[orders[:, :-1], orders[:, 1:]].mean(axis=1)
        chance = (neighbours >= neighbours[0] * (1 - 1e-9)).mean()
        return float(neighbours[0] / np.trace(products) * len(products)), bool(chance <= _CHANCE)


def student_factor(sigmas: float, degrees_of_freedom: float) -> float:
    """Return how many estimated standard errors hold the truth as often as `sigmas` known ones
    would.
    """
    return float(stats.t.ppf(stats.norm.cdf(sigmas), degrees_of_freedom))


def confidence_band(
    values: Array,
    errors: Array,
    degrees_of_freedom: float,
    sigmas: float = 1.0,
    *,
    positive: bool = False,
) -> tuple[Array, Array]:
    """Return the lower and upper limits that hold the truth with the probability of ± `sigmas`.

    Parameters
    ----------
    values, errors : ndarray, shape [...]
        Estimates and their standard errors.
    degrees_of_freedom : float
        Of the errors, for Student's factor.
    sigmas : float
        1 for 68.3 %, 2 for 95.4 %.
    positive : bool
        For what cannot be negative, such as auto spectra: the band is x·exp(±t s/x) instead of x ±
        t s. The estimate is distributed like a χ², whose skewness makes the symmetric band miss the
        truth too often; of a χ² sample the ratio s/x, unlike s, does not depend on x. Estimates
        that are not positive all the same, such as those of an unbiased correlation, keep x ± t s.
    """
    half = student_factor(sigmas, degrees_of_freedom) * errors
    if not positive:
        return values - half, values + half
    inside = values > 0
    with np.errstate(over="ignore"):
        ratio = np.exp(np.divide(half, values, out=np.zeros(np.shape(values)), where=inside))
        return np.where(inside, values / ratio, values - half), np.where(
            inside, values * ratio, values + half
        )


def cut(series: Sequence[NDArray[Any]], n_segments: int) -> list[list[NDArray[Any]]]:
    """Cut uninterrupted series into disjoint segments of nearly equal length.

    Parameters
    ----------
    series : sequence of ndarray, shape [n_frames, ...]
    n_segments : int

    Returns
    -------
    list of list of ndarray
        Each segment is one piece of a series, or several series that are too short to be one.
    """
    length = sum(len(part) for part in series) / n_segments
    segments: list[list[NDArray[Any]]] = []
    short: list[NDArray[Any]] = []
    for part in series:
        if len(part) >= length * (1 - 1e-9):
            segments += [[piece] for piece in np.array_split(part, round(len(part) / length))]
            continue
        short.append(part)
        if sum(map(len, short)) >= 0.75 * length:
            segments.append(short)
            short = []
    if short and segments:
        segments[-1] = segments[-1] + short
    return segments


def choose_segments(
    series: Sequence[NDArray[Any]],
    segments: int | str | None,
    resolution: float,
    spacing: float,
    most: int = MOST,
) -> list[list[NDArray[Any]]]:
    """Return the segments that error bars are made of; none if they are not wanted or the
    trajectory is too short.

    Parameters
    ----------
    series : sequence of ndarray, shape [n_frames, ...]
    segments : int, "auto", "replicas" or None
        How many; as many as are twice as long as the resolution needs, 4 to 16; each series one;
        none.
    resolution : float
        In cm⁻¹.
    spacing : float
        In ps.
    most : int
        Of "auto".

    Raises
    ------
    SpectrumError
        If there are fewer than two, or one is shorter than the resolution needs.
    """
    if segments is None:
        return []
    needed = 1 / (units.SPEED_OF_LIGHT * resolution)
    if segments == "auto":
        n_segments = min(int(sum(map(len, series)) * spacing / (SEGMENT_LENGTH * needed)), most)
        found = cut(series, n_segments) if n_segments >= FEWEST else []
        return found if len(found) >= FEWEST and _shortest(found) * spacing >= needed else []
    if segments == "replicas":
        found = [[part] for part in series]
    elif isinstance(segments, int | np.integer) and not isinstance(segments, bool):
        found = cut(series, int(segments)) if segments > 1 else []
    else:
        raise SpectrumError(f"segments={segments!r}: give a number, 'auto', 'replicas' or None")
    if len(found) < 2:
        raise SpectrumError(
            f"segments={segments!r} gives {len(found)}; error bars need two or more, better eight"
        )
    shortest = _shortest(found) * spacing
    if shortest < needed:
        enough = 1.005 / (units.SPEED_OF_LIGHT * shortest)
        raise SpectrumError(
            f"segments={segments!r}: the shortest of {len(found)} has {shortest:.3g} ps, a "
            f"resolution of "
            f"{resolution:g} cm⁻¹ needs {needed:.3g} ps; ask for fewer segments, or for "
            f"{enough:.3g} cm⁻¹ or more"
        )
    return found


def _shortest(segments: list[list[NDArray[Any]]]) -> int:
    """Frames of the longest piece of the segment where it is shortest."""
    return min(max(len(piece) for piece in segment) for segment in segments)


def relative_variance(lengths: Sequence[int], window: Array, unbiased: bool = False) -> float:
    """Return the variance of a spectrum over its square, for one component of a Gaussian process.

    Parameters
    ----------
    lengths : sequence of int
        Frames of the uninterrupted series that the correlation function was averaged over.
    window : ndarray, shape [n_lags]
        Lag window.
    unbiased : bool
        The estimator, see `mda_aptnn.spectra.correlation.cross_correlation`.

    Notes
    -----
    Var Ŝ/S² = Σ_n w_n² m_n / d_n² over both signs of the lag n, with m_n products divided by d_n
    (the number of frames, or m_n), where S changes little within the resolution and away from ω =
    0: M. B. Priestley, Spectral Analysis and Time Series (1981), chapter 6. Two over it are the
    equivalent degrees of freedom.
    """
    products, divisor = weights_of_lags(lengths, len(window), unbiased)
    values = window**2 * products / divisor**2
    return float(2 * values.sum() - values[0])
