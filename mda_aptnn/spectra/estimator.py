"""From time series to spectral densities: the only place for lags, Fourier transforms and segments.

Every spectrum of this package is a prefactor times a density that an `Estimator` makes of `Rates`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra import windows
from mda_aptnn.spectra.result import Members, Segments, pair_columns, pair_numbers
from mda_aptnn.trajectory.universe_frames import FINITE_DIFFERENCE_LIMIT

Array = NDArray[np.float64]
Pieces = Sequence[Sequence[NDArray[np.int64]]]
#: Values [n_frames, n_own, n_components], and the numbers [n_own, n_own] of their correlations.
Batch = tuple[NDArray[Any], NDArray[np.int64]]
F = TypeVar("F", bound=Callable[..., Any])
Batches = Callable[[], Iterable[Batch]]

_CONDITIONS = {"temperature": units.TEMPERATURE, "volume": units.VOLUME}
#: Points of the frequency grid per resolution element.
_POINTS_PER_RESOLUTION = 8
#: Terms of all pairs of groups take up to this much, and correlations, segments and work as much
#: again each.
_PAIR_BYTES = 200_000_000
#: Segments that were not asked for by number take no more memory than this: with many groups
#: fewer, or none.
_SEGMENT_BYTES = 500_000_000
#: Numbers that are Fourier transformed at a time.
_CHUNK = 2_000_000
#: A spectrum whose relative standard error must be larger than this comes with a warning.
_LARGE_ERROR = 0.2
#: Error bars are made of themselves if at least this many segments fit, and of no more than the
#: second number.
FEWEST, MOST = 4, 16
#: Length of such a segment, in units of 1/(c · resolution).
SEGMENT_LENGTH = 2.0
#: A resolution that follows from the length of the run: the first of these, in cm⁻¹, that leaves
#: error bars, or the last.
AUTO = "auto"
RESOLUTIONS = (10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0, 200.0)
#: Segments are called dependent if neighbours are as much alike in no more than this part of random
#: orders of them.
_CHANCE = 0.005
#: Such orders that are tried.
_ORDERS = 1999
#: Where the spectrum is less than this part of its maximum, it does not count: short segments leak
#: there.
_COUNTS = 0.01


@dataclasses.dataclass(frozen=True)
class Rates:
    """Time series of terms: Ṁ of groups, α̇, mass-weighted velocities.

    Attributes
    ----------
    values : ndarray, shape [n_frames, n_terms, n_components]
        Series after series.
    starts : sequence of int
        First frame of each uninterrupted series: products never cross from one to another.
    spacing : float
        Between frames, in ps.
    names : sequence of str
        Of the terms.
    finite_difference : float
        If not 0, rates are central differences of what is this many ps apart. Their densities are
        multiplied by [ωΔt/sin ωΔt]² and end at 0.7 of their Nyquist frequency.
    members : ndarray, shape [n_frames, n_members, n_terms, n_components], optional
        The same by each member of a committee.
    band_factor : float, optional
        What the committee's spread of band intensities is multiplied with, if it has been
        calibrated.
    """

    values: Any
    starts: Sequence[int]
    spacing: float
    names: Sequence[str]
    finite_difference: float = 0.0
    members: NDArray[np.float64] | None = None
    band_factor: float | None = None

    @classmethod
    def joined(
        cls, parts: Sequence[Array], spacing: float, names: Sequence[str], **options: Any
    ) -> Rates:
        """Put uninterrupted series [n_frames, n_terms, n_components] one after the other."""
        starts = np.cumsum([0, *map(len, parts)])[:-1].tolist()
        return cls(np.concatenate(parts), starts, spacing, names, **options)

    @property
    def series(self) -> list[NDArray[np.int64]]:
        """Numbers of the frames of each uninterrupted series."""
        return np.split(np.arange(self.values.shape[0]), self.starts[1:])

    @property
    def parts(self) -> list[Array]:
        """Values of each uninterrupted series."""
        return [self.values[piece[0] : piece[-1] + 1] for piece in self.series]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Lags and frequencies for series of given lengths, and the transform from one to the other.

    Attributes
    ----------
    window : ndarray, shape [n_lags]
        Weights of the lags 0, Δt, ...; exactly even, as only one side of it exists.
    spacing : float
        Δt in ps.
    size : int
        Length of the discrete transform, even.
    lengths : sequence of int
        Frames of the uninterrupted series.
    unbiased : bool
        As in `Estimator`.
    finite_difference : float
        As in `Rates`.
    """

    window: Array
    spacing: float
    size: int
    lengths: Sequence[int]
    unbiased: bool = False
    finite_difference: float = 0.0

    @property
    def n_lags(self) -> int:
        """Number of lags that the window leaves."""
        return len(self.window)

    @functools.cached_property
    def wavenumber(self) -> Array:
        """The grid in cm⁻¹, from 0 to the Nyquist frequency or to what finite differences reach."""
        grid = np.arange(self.size // 2 + 1) / (self.size * self.spacing * units.SPEED_OF_LIGHT)
        return grid[self._phase(grid) <= FINITE_DIFFERENCE_LIMIT]

    @functools.cached_property
    def correction(self) -> Array:
        """What densities are multiplied with for what finite differences lose [n_frequencies]."""
        return np.asarray(np.sinc(self._phase(self.wavenumber)) ** -2)

    def _phase(self, wavenumber: Array) -> Array:
        return np.asarray(2 * units.SPEED_OF_LIGHT * wavenumber * self.finite_difference)

    def __call__(self, correlation: Array) -> Array:
        """Return ∫ dt cos(ωt) w(t) C(t) over both signs of t.

        Parameters
        ----------
        correlation : ndarray, shape [n_lags, ...]
            Even functions, of which one side is given.

        Returns
        -------
        ndarray, shape [n_frequencies, ...]
            In their unit times ps, corrected for what finite differences lose.
        """
        weights = 2 * self.spacing * self.window
        weights[0] *= 0.5
        correction = self.correction
        functions = correlation.reshape(len(correlation), -1)
        values = np.empty((len(correction), functions.shape[1]))
        # the transform of very many at once takes six times the memory of the result
        step = max(1, _CHUNK // self.size)
        for first in range(0, functions.shape[1], step):
            some = slice(first, first + step)
            transforms = scipy.fft.rfft(functions[:, some] * weights[:, None], self.size, axis=0)
            values[:, some] = correction[:, None] * transforms[: len(correction)].real
        return values.reshape(-1, *correlation.shape[1:])

    @property
    def effective_resolution(self) -> float:
        """Width of the line that a single frequency becomes in these series, in cm⁻¹."""
        return windows.effective_resolution(self.window, self.spacing, self.lengths, self.unbiased)

    def relative_variance(self, lengths: Sequence[int] | None = None) -> float:
        """Return the variance of a spectrum over its square, for one component of a Gaussian
        process.

        Parameters
        ----------
        lengths : sequence of int, optional
            Frames of the uninterrupted series; all by default.

        Notes
        -----
        Var Ŝ/S² = Σ_n w_n² m_n / d_n² over both signs of the lag n, with m_n products divided by
        d_n (the number of frames, or m_n), where S changes little within the resolution and away
        from ω = 0: M. B. Priestley, Spectral Analysis and Time Series (1981), chapter 6. Two over
        it are the equivalent degrees of freedom.
        """
        lengths = lengths or self.lengths
        products, divisor = windows.weights_of_lags(lengths, self.n_lags, self.unbiased)
        values = self.window**2 * products / divisor**2
        return float(2 * values.sum() - values[0])

    def segments(self, terms: NDArray[Any], lengths: Sequence[Sequence[int]]) -> Segments:
        """Return densities of segments with what their error bars need.

        Parameters
        ----------
        terms : ndarray, shape [n_segments, n_frequencies, ...]
        lengths : sequence of sequence of int
            Frames of the pieces of each segment.
        """
        frames = np.array([sum(pieces) for pieces in lengths], dtype=float)
        own = np.array([self.relative_variance(pieces) for pieces in lengths])
        mean = float(((frames / frames.sum()) ** 2 * own).sum())
        return Segments(terms, frames * self.spacing, self.relative_variance() / mean)

    def note(self, resolution: float, components: int) -> str:
        """Say which resolution was chosen, and how large an error it gives in the best case."""
        error = np.sqrt(self.relative_variance() / max(1, components))
        length = sum(self.lengths) * self.spacing
        return (
            f"resolution {resolution:g} cm⁻¹, chosen for {length:.3g} ps: the standard "
            f"error is {error:.2g} of the spectrum at each point or more; resolution= "
            "(--resolution) asks for another"
        )

    def warn_if_short(self, resolution: float, components: int) -> None:
        """Warn if even the best case, independent Gaussian components, leaves a large error."""
        error = float(np.sqrt(self.relative_variance() / components))
        if error > _LARGE_ERROR:
            length = sum(self.lengths) * self.spacing
            factor = (error / _LARGE_ERROR) ** 2
            warnings.warn(
                f"{length:.3g} ps are short for a resolution of {resolution:g} cm⁻¹: the standard "
                f"error at each point is {error:.0%} of the spectrum or more; ask for "
                f"{_rounded_up(factor * resolution)} cm⁻¹, or run {_rounded_up(factor * length)} "
                "ps",
                stacklevel=5,
            )


def _rounded_up(value: float) -> str:
    """Two digits that are not less: what is advised must be enough."""
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return f"{np.ceil(value / unit) * unit:.3g}"


@dataclasses.dataclass(frozen=True)
class Density:
    """Densities of terms, and the replicates that errors are made of.

    Attributes
    ----------
    estimator : Estimator
    plan : Plan
    terms : ndarray, shape [n_frequencies, n_terms]
        Auto terms, then whole cross terms (both orders) in the order of `pairs`; of very many names
        each with itself, then half of what it has in common with all the others.
    correlation : ndarray, shape [n_lags, n_names, n_names]
        Before the window; [n_lags, n_terms] of very many names, or of batches that say so.
    segments : Segments or None
    members : Members or None
    pieces : sequence of sequence of ndarray
        Numbers of the frames of each segment, in uninterrupted pieces.
    notes : list of str
        What was found on the way.
    components : int
        How many independent components were averaged over, at most.
    """

    estimator: Estimator
    plan: Plan
    terms: NDArray[Any]
    correlation: Array
    segments: Segments | None = None
    members: Members | None = None
    pieces: Pieces = ()
    notes: list[str] = dataclasses.field(default_factory=list)
    components: int = 3

    def map(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Density:
        """Return a linear function of the terms [n_frequencies, ...], on every replicate; of these
        in single precision.
        """
        parts: dict[str, Any] = {"segments": self.segments, "members": self.members}
        for name, replicates in parts.items():
            if replicates is not None:
                terms = np.array([function(part) for part in replicates.terms])
                kind = np.complex64 if np.iscomplexobj(terms) else np.float32
                parts[name] = dataclasses.replace(replicates, terms=terms.astype(kind))
        return dataclasses.replace(self, terms=function(self.terms), **parts)

    def common(
        self,
        notes: Sequence[str] = (),
        info: Mapping[str, Any] | None = None,
        **conditions: float | None,
    ) -> dict[str, Any]:
        """Return the fields that every result has (`mda_aptnn.spectra.result.Result`).

        Parameters
        ----------
        notes, info
            Of what the density was made of; notes within info are left out.
        **conditions
            temperature in K and volume in Å³, or None, for those that have one.
        """
        plan, estimator = self.plan, self.estimator
        width = 0.0 if estimator.window == "none" else estimator.resolution
        origin = {name: value for name, value in (info or {}).items() if name != "notes"}
        return {
            "wavenumber": units.quantity(plan.wavenumber, units.WAVENUMBER),
            "resolution": units.quantity(width, units.WAVENUMBER),
            "effective_resolution": units.quantity(plan.effective_resolution, units.WAVENUMBER),
            "least_relative_error": float(np.sqrt(plan.relative_variance() / self.components)),
            "window": estimator.window,
            "segments": self.segments,
            "members": self.members,
            "notes": [*notes, *self.notes],
            "info": origin | {"estimator": "1/(N - n)" if plan.unbiased else "1/N"},
            **{
                name: None if value is None else units.quantity(value, _CONDITIONS[name])
                for name, value in conditions.items()
            },
        }


@dataclasses.dataclass(frozen=True)
class Estimator:
    """How a spectral density is estimated.

    Attributes
    ----------
    resolution : float, str or pint.Quantity
        Full width at half maximum of the line that a single frequency becomes; kept as a number in
        cm⁻¹. "auto": 10 cm⁻¹, or the finest that a short run has error bars for, see `suited`.
    window : {"gaussian", "parzen", "bartlett", "hann", "none"}
        Lag window, see `mda_aptnn.spectra.windows.lag_window`. All but "hann" keep auto terms
        non-negative.
    unbiased : bool
        Divide the sum at lag n by the number of its terms, N − n, instead of N. The default, 1/N,
        makes the series n ↦ C(n) positive definite, so that no auto spectrum is ever negative.
    segments : int, "auto", "replicas" or None
        Disjoint parts of the trajectory for the error bars: how many; 4 to 16, as many as are twice
        as long as the resolution needs, none if fewer; each series of its own; none.
    """

    resolution: Any = AUTO
    window: str = "gaussian"
    unbiased: bool = False
    segments: int | str | None = "auto"

    def __post_init__(self) -> None:
        """Take the resolution in any unit."""
        if isinstance(self.resolution, str) and self.resolution == AUTO:
            return
        width = units.magnitude(self.resolution, units.WAVENUMBER, "resolution")
        object.__setattr__(self, "resolution", width)

    def suited(self, spacing: float, lengths: Sequence[int]) -> Estimator:
        """Return the estimator with a resolution for a run of this length, where it has none.

        It is the finest of `RESOLUTIONS` that leaves the error bars that are asked for, of "auto"
        segments where none are.

        Parameters
        ----------
        spacing : float
            In ps.
        lengths : sequence of int
            Frames of the uninterrupted series.
        """
        if self.resolution != AUTO:
            return self
        segments, width = self.segments or "auto", RESOLUTIONS[-1]
        for width in RESOLUTIONS:
            with contextlib.suppress(SpectrumError):
                if max(lengths) * spacing >= windows.needed_time(width) and choose_segments(
                    _numbers(lengths), segments, width, spacing
                ):
                    break
        return dataclasses.replace(self, resolution=width)

    def check(self, spacing: float, lengths: Sequence[int]) -> None:
        """Refuse what series of these lengths cannot give: as `density`, before there are any.

        Parameters
        ----------
        spacing, lengths
            As in `suited`.

        Raises
        ------
        SpectrumError
            If the series are too short for the resolution, or segments cannot be.
        """
        suited = self.suited(spacing, lengths)
        suited._pieces(_numbers(lengths), suited.plan(spacing, lengths), MOST)

    def plan(self, spacing: float, lengths: Sequence[int], finite_difference: float = 0.0) -> Plan:
        """Choose lags and grid.

        Parameters
        ----------
        spacing : float
            In ps.
        lengths : sequence of int
            Frames of the uninterrupted series.
        finite_difference : float
            As in `Rates`.

        Raises
        ------
        SpectrumError
            If the window is unknown or the series are too short for the resolution.
        """
        weights = windows.lag_window(self.window, self.resolution, spacing, max(lengths))
        # fits all lags of both signs and several points in a resolution element
        fine = _POINTS_PER_RESOLUTION * windows.needed_time(self.resolution) / spacing
        size = scipy.fft.next_fast_len(max(2 * len(weights), int(np.ceil(fine))), real=True)
        while size % 2:
            # an even length has the Nyquist frequency on the grid, and the sum rule holds exactly
            size = scipy.fft.next_fast_len(size + 1, real=True)
        return Plan(weights, spacing, int(size), lengths, self.unbiased, finite_difference)

    @property
    def positive(self) -> bool:
        """Whether auto terms cannot be negative."""
        return self.window in windows.POSITIVE_DEFINITE and not self.unbiased

    def density(
        self,
        rates: Rates,
        batches: Batches | None = None,
        shape: tuple[int, ...] = (),
        *,
        pieces: Pieces | None = None,
        factor: float = 1.0,
        components: int = 3,
    ) -> Density:
        """Return densities of the whole, of every segment and of every member.

        They are sums over batches, of which one is in memory at a time. By default there is one:
        all names of the rates, and the terms are their auto terms and whole cross terms.

        Parameters
        ----------
        rates : Rates
            With batches of one's own only frames, spacing and what finite differences need are
            taken of it.
        batches : callable, optional
            Gives an iterable of values [n_frames, n_own, n_components], and of the numbers [n_own,
            n_own] of the correlations that ⟨f_g(0)·f_h(t)⟩ is added to, −1 for none; those on the
            diagonal are auto terms. It is called again where segments have to be longer.
        shape : tuple of int
            Of the correlations that batches number: (n_terms,), or (n, n) for both orders of n
            names.
        pieces : sequence of sequence of ndarray, optional
            Numbers of the frames of each segment, as those of another density of the same frames.
        factor : float
            What densities are multiplied with.
        components : int
            How many independent components are averaged over, at most: for the warning that a
            trajectory is short. 0: there is none.

        Returns
        -------
        Density

        Raises
        ------
        SpectrumError
            If the series are too short for the resolution, segments cannot be, or names are too
            many for the memory.
        """
        series, notes, asked = rates.series, list[str](), self.resolution
        n_frames = list(map(len, series))
        self = self.suited(rates.spacing, n_frames)
        plan = self.plan(rates.spacing, n_frames, rates.finite_difference)
        if asked == AUTO and self.window != "none":
            notes.append(plan.note(self.resolution, components))
        if components and self.window != "none":
            plan.warn_if_short(self.resolution, components)
        n = len(rates.names)
        apart = 8 * n**2 * (plan.size // 2 + 1) <= _PAIR_BYTES
        if not (apart or batches is None):
            raise SpectrumError(
                f"the terms of {n} groups with each other would take "
                f"{8e-9 * n**2 * (plan.size // 2 + 1):.2g} GB: put groups together (groups=, "
                "--group NAME=ONE+OTHER), or ask for a coarser resolution"
            )
        places = np.arange(n * n).reshape(n, n)
        if batches is None and apart:
            batches, shape = (lambda: [(rates.values, places)]), (n, n)
        elif batches is None:
            batches, shape = functools.partial(_each_with_others, rates.values), (2 * n,)
            notes.append(
                f"the cross terms of each of the {n} groups with all the others stand together: "
                "those of all pairs would take too much memory; ask for fewer groups, or a "
                "coarser resolution, to have them apart"
            )
        # the term that each correlation belongs to
        term_of = np.arange(shape[0]) if len(shape) == 1 else pair_numbers(shape[0]).ravel()
        n_terms = int(term_of.max()) + 1

        def add(total: Array, numbers: NDArray[np.int64], values: Any, part: Any) -> None:
            own = (values[piece[0] : piece[-1] + 1] for piece in part)
            found = cross_correlation(own, plan.n_lags, unbiased=self.unbiased)
            found, numbers = found.reshape(len(found), -1), numbers.ravel()
            if np.array_equal(numbers, np.arange(total.shape[1])):
                total += found
                return
            left = np.flatnonzero(numbers >= 0)
            while len(left):  # each number once: that of a pair is there for both orders
                _, first = np.unique(numbers[left], return_index=True)
                total[:, numbers[left[first]]] += found[:, left[first]]
                left = np.delete(left, first)

        def terms_of(
            batches: Iterable[Batch], parts: Pieces, whole: Array | None = None
        ) -> NDArray[np.float32]:
            """Terms of the parts, and correlations of the whole."""
            terms = np.zeros((len(parts), len(plan.wavenumber), n_terms), np.float32)
            for values, places in batches:
                if whole is not None:
                    add(whole, places, values, series)
                    autos.update(places.diagonal())
                own = np.unique(term_of[places[places >= 0]])
                columns = np.where(places < 0, -1, np.searchsorted(own, term_of[places]))
                for total, part in zip(terms, parts, strict=True):
                    found = np.zeros((plan.n_lags, len(own)))
                    add(found, columns, values, part)
                    total[:, own] += (factor * plan(found)).astype(np.float32)
            return terms

        fixed, autos = pieces is not None or self.segments == "replicas", set[int]()
        most = min(MOST, _SEGMENT_BYTES // (4 * len(plan.wavenumber) * n_terms))
        pieces = pieces if pieces is not None else self._pieces(series, plan, most)
        correlation = np.zeros((plan.n_lags, int(np.prod(shape))))
        terms = terms_of(batches(), pieces, correlation)
        while True:
            lengths = [[len(piece) for piece in part] for part in pieces]
            segments = plan.segments(terms, lengths) if pieces else None
            if segments is None or fixed:
                break
            alike, dependent = correlation_of_neighbours(segments)
            if not dependent:
                break
            most = len(pieces) // 2
            longer = self.segments == "auto" and most >= FEWEST
            remedy = (
                f"{most} longer ones are taken"
                if longer
                else "the error bars are too small, take fewer segments"
            )
            notes.append(
                f"segments of {segments.lengths.mean():.3g} ps are not independent: neighbours "
                f"deviate alike (correlation {alike:.2f}); {remedy}"
            )
            if not longer:
                break
            pieces = self._pieces(series, plan, most)
            terms = terms_of(batches(), pieces)
        members = None
        if rates.members is not None:
            members = _members(
                rates.members,
                lambda values: terms_of(
                    [(values, places)] if apart else _each_with_others(values), [series]
                )[0],
                rates.band_factor,
            )
        correlation = correlation.reshape(-1, *shape)
        columns = pair_columns(correlation) if len(shape) > 1 else correlation
        whole = self.density_of_correlation(
            plan, columns, factor=factor, autos=term_of[list(autos - {-1})]
        )
        return dataclasses.replace(
            whole,
            correlation=correlation,
            segments=segments,
            members=members,
            pieces=pieces,
            notes=notes,
            components=components,
        )

    def _pieces(self, series: list[NDArray[np.int64]], plan: Plan, most: int) -> Pieces:
        return choose_segments(series, self.segments, self.resolution, plan.spacing, most)

    def density_of_correlation(
        self,
        plan: Plan,
        correlation: Array,
        segments: NDArray[np.float64] | None = None,
        frames: Any = (),
        *,
        factor: float = 1.0,
        autos: Any = slice(0),
    ) -> Density:
        """Return densities of correlation functions that were summed elsewhere.

        Parameters
        ----------
        plan : Plan
        correlation : ndarray, shape [n_lags, ...]
        segments : ndarray, shape [n_segments, n_lags, ...], optional
            Of disjoint parts whose mean, weighted by their frames, is `correlation`.
        frames : array_like, shape [n_segments]
            Frames of each part.
        factor : float
            What densities are multiplied with.
        autos : slice or array_like of int
            Which terms cannot be negative: what is below zero there is rounding.
        """
        terms = factor * plan(correlation)
        if self.positive:
            terms[:, autos] = np.maximum(terms[:, autos], 0.0)
        parts = None
        if segments is not None and len(segments):
            values = np.stack([(factor * plan(part)).astype(np.float32) for part in segments])
            parts = Segments(values, np.asarray(frames, dtype=float) * plan.spacing)
        return Density(self, plan, terms, correlation, parts)


def takes_estimator(function: F) -> F:
    """Show in help() the settings of an `Estimator` that ``**how`` of a function stands for."""
    signature = inspect.signature(function)
    own = [part for part in signature.parameters.values() if part.kind is not part.VAR_KEYWORD]
    more = [
        inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type
        )
        for each in dataclasses.fields(Estimator)
        if each.name not in signature.parameters
    ]
    shown = signature.replace(parameters=[*own, *more])
    setattr(function, "__signature__", shown)  # noqa: B010
    return function


def _members(
    members: NDArray[np.float64],
    terms_of: Callable[[Array], NDArray[np.float32]],
    factor: float | None,
) -> Members:
    """The densities of the members of a committee, about that of their mean.

    That of the flux M + δ has a part that is linear in δ, in which errors of atoms and frames
    cancel unless they have something in common, and one that is quadratic, in which they do not.
    The factor of bands is for the first; that of single tensors, which is in `members` already, for
    the second. With S± of M ± δ they are (S₊ − S₋)/2 and (S₊ + S₋)/2 − S.
    """
    terms = []
    mean = members.mean(axis=1)
    for number in range(members.shape[1]):
        value = terms_of(members[:, number])
        if factor is not None:
            mirrored = terms_of(2 * mean - members[:, number])
            value = 0.5 * (value + mirrored) + np.float32(0.5 * factor) * (value - mirrored)
        terms.append(value)
    return Members(np.stack(terms), factor is not None)


def _numbers(lengths: Sequence[int]) -> list[NDArray[np.int64]]:
    """Numbers of the frames of series of these lengths."""
    return np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])


def cross_correlation(
    series: Iterable[NDArray[np.float64]], n_lags: int, *, unbiased: bool = False
) -> Array:
    """Return ``C[n, g, h] = ⟨f_g(t) · f_h(t + n Δt)⟩``, averaged over origins t and series.

    Parameters
    ----------
    series : iterable of ndarray, shape [n_frames, n_groups, n_components]
        Uninterrupted series of equal spacing, such as replicas; products never cross from one to
        another.
    n_lags : int
        Lags 0 to n_lags − 1.
    unbiased : bool
        As in `Estimator`.

    Returns
    -------
    ndarray, shape [n_lags, n_groups, n_groups]
        In the square of the unit of the series.

    Notes
    -----
    Wiener-Khinchin, zero-padded by at least n_lags, so that nothing wraps around.
    """
    total: Array | None = None
    weight = np.zeros(n_lags)
    for part in series:
        n_frames, n_groups = part.shape[:2]
        if total is None:
            total = np.zeros((n_lags, n_groups, n_groups))
        weight += np.maximum(n_frames - np.arange(n_lags), 0) if unbiased else n_frames
        kept = min(n_lags, n_frames)
        size = scipy.fft.next_fast_len(n_frames + kept, real=True)
        # [groups, components, frequencies]: the transforms of one pair lie in one piece
        transforms = scipy.fft.rfft(np.ascontiguousarray(np.moveaxis(part, 0, -1)), size)
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
    series: Iterable[NDArray[np.float64]], n_lags: int, *, unbiased: bool = False
) -> Array:
    """Return ``C[n, a, b] = ⟨f_a(t) f_b(t + n Δt)⟩`` of the components of the sum over groups.

    Parameters and conventions as in `cross_correlation`; the trace over a = b is the sum over its
    groups.
    """
    sums = (part.sum(axis=1)[:, :, None] for part in series)
    return cross_correlation(sums, n_lags, unbiased=unbiased)


def _each_with_others(values: Array) -> Iterator[Batch]:
    """Each name and half of all the others together: terms [2 n_names], in memory that grows with
    the number of names and not with its square.
    """
    n = values.shape[1]
    total = values.sum(axis=1)
    for own in range(n):
        # both orders are added, so that half of each stands for the name
        others = 0.5 * (total - values[:, own])
        places = np.array([[own, n + own], [n + own, -1]])
        yield np.stack([values[:, own], others], axis=1), places


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
        Such as the numbers of the frames.
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
    needed = windows.needed_time(resolution)
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
        enough = 1.005 * windows.needed_time(shortest)
        raise SpectrumError(
            f"segments={segments!r}: the shortest of {len(found)} has {shortest:.3g} ps, a "
            f"resolution of {resolution:g} cm⁻¹ needs {needed:.3g} ps; ask for fewer segments, or "
            f"for {enough:.3g} cm⁻¹ or more"
        )
    return found


def _shortest(segments: list[list[NDArray[Any]]]) -> int:
    """Frames of the longest piece of the segment where it is shortest."""
    return min(max(len(piece) for piece in segment) for segment in segments)


def correlation_of_neighbours(segments: Segments) -> tuple[float, bool]:
    """Return the correlation of one segment's deviations from the mean with those of the next, and
    if it is real.

    Segments that are shorter than what the sample remembers deviate like their neighbours, and
    error bars from them are too small by about √[(1 + ρ)/(1 − ρ)].

    Parameters
    ----------
    segments : Segments

    Returns
    -------
    correlation : float
        ρ of the relative deviations of the total.
    dependent : bool
        Whether chance would give it: if they are independent, all orders of the segments are
        equally likely, and those with a larger correlation are counted. Of fewer than six segments
        there are too few orders to say.
    """
    lengths = segments.lengths
    values = segments.terms.sum(axis=2, dtype=np.float64)
    mean = segments.mean(values)
    inside = np.abs(mean) > _COUNTS * np.abs(mean).max()
    deviations = (values[:, inside] / mean[inside] - 1) * np.sqrt(lengths / lengths.mean())[:, None]
    products = deviations @ deviations.T
    rng = np.random.default_rng(0)
    orders = np.array(
        [np.arange(len(products)), *(rng.permutation(len(products)) for _ in range(_ORDERS))]
    )
    neighbours = products[orders[:, :-1], orders[:, 1:]].mean(axis=1)
    chance = (neighbours >= neighbours[0] * (1 - 1e-9)).mean()
    return float(neighbours[0] / np.trace(products) * len(products)), bool(chance <= _CHANCE)
