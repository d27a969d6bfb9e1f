"""Synthetic fluxes whose spectral density is known, and how often what is read off their spectra
holds the truth.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import find_peaks, lfilter

from mda_aptnn import units
from mda_aptnn.spectra.estimator import Estimator
from mda_aptnn.spectra.result import band_weights
from tests.systems import LIGHT, absorption_spectrum, km_per_mol

RESOLUTION = 10.0
GROUPS = ("a", "b", "c")
#: Amplitude of each of three oscillators in each group: cross terms of either sign.
MIXING = np.array([[1.0, 0.4, 0.0], [0.0, 0.6, 0.3], [-0.2, 0.0, 0.9]])
#: Variance of the white noise in each component of each group; that of an oscillator is 1.
FLOOR = 0.03
QUANTITIES = ("position", "height", "integral", "share")
TEMPERATURE, VOLUME = 300.0, 1000.0


@dataclass(frozen=True)
class KnownBands:
    """Three damped, rotating Ornstein-Uhlenbeck processes, shared by three groups, on a floor of
    white noise.

    C(t) = exp(−πcWt) cos 2πcν̃₀t, a Lorentzian of full width W at half maximum about ν̃₀, is the
    correlation function of Re z with z(t + Δt) = exp[(2πicν̃₀ − πcW)Δt] z(t) + noise: exact for any
    Δt.

    Parameters
    ----------
    ratio : float
        Width of the bands over the resolution.
    length : float
        Of the series, in 1/(c · resolution).
    """

    ratio: float
    length: float

    @property
    def width(self):
        return self.ratio * RESOLUTION

    @property
    def centres(self):
        # overlapping, if they are resolved at all
        return np.array([4.0, 6.5, 10.0]) * max(self.width, 3 * RESOLUTION)

    @property
    def spacing(self):
        return 1 / (2 * LIGHT * 1.6 * self.centres[-1])

    @property
    def n_frames(self):
        return round(self.length / (LIGHT * RESOLUTION * self.spacing))

    def flux(self, rng):
        """Ṁ [n_frames, 3 groups, 3]."""
        rates = (2j * np.pi * LIGHT * self.centres - np.pi * LIGHT * self.width) * self.spacing
        oscillators = np.empty((self.n_frames, 3, 3))
        for k, step in enumerate(np.exp(rates)):
            noise, start = (rng.normal(size=(n, 3, 2)) @ [1, 1j] for n in (self.n_frames, 1))
            noise *= np.sqrt(1 - np.abs(step) ** 2)
            oscillators[:, k] = lfilter([1], [1, -step], noise, axis=0, zi=step * start)[0].real
        floor = np.sqrt(FLOOR) * rng.normal(size=oscillators.shape)
        return np.einsum("go,toc->tgc", MIXING, oscillators) + floor

    def spectrum(self, rng, segments="auto"):
        return absorption_spectrum(
            [self.flux(rng)],
            GROUPS,
            self.spacing,
            TEMPERATURE,
            VOLUME,
            resolution=RESOLUTION,
            segments=segments,
        )

    def expected(self):
        """Grid, and the mean of the estimate of every term [n_frequencies, 3, 3]: the density
        through the window.
        """
        transform = Estimator(RESOLUTION).plan(self.spacing, [self.n_frames])
        times = np.arange(transform.n_lags) * self.spacing
        decay = np.exp(-np.pi * LIGHT * self.width * times)
        oscillators = decay[:, None] * np.cos(2 * np.pi * LIGHT * np.outer(times, self.centres))
        correlation = 3 * np.einsum("go,ho,to->tgh", MIXING, MIXING, oscillators)
        correlation[0] += 3 * FLOOR * np.eye(3)
        # products of one order that exist, over the number of frames
        correlation *= (1 - np.arange(transform.n_lags) / self.n_frames)[:, None, None]
        return transform.wavenumber, transform(correlation) * units.absorption_prefactor(
            TEMPERATURE
        ) / VOLUME

    def tops(self):
        """Positions and heights of the maxima of the expected total."""
        grid, terms = self.expected()
        fine = np.linspace(grid[0], grid[-1], 200 * len(grid))
        curve = CubicSpline(grid, terms.sum(axis=(1, 2)))(fine)
        found = find_peaks(curve)[0]
        return fine[found], curve[found]


def held(process, n_runs, seed=0, segments="auto"):
    """How often the limits of one and two sigma hold the truth.

    Returns
    -------
    parts : dict of str to ndarray, shape [2]
        For each of `QUANTITIES`.
    extra, missed : float
        Bands per run that are not there, and the part of those that were not found.
    """
    rng = np.random.default_rng([seed, int(10 * process.ratio), int(process.length)])
    positions, heights = process.tops()
    assert len(positions) == 3
    grid, terms = process.expected()
    total = terms.sum(axis=(1, 2))
    reach = 1.2 * max(process.width, 1.5 * RESOLUTION)
    inside = {name: [] for name in QUANTITIES}
    extra = missed = 0
    for _ in range(n_runs):
        found = process.spectrum(rng, segments)
        tops = found.peaks()
        nearest = [int(np.abs(positions - top.position.value).argmin()) for top in tops]
        extra += len(nearest) - len(set(nearest))
        missed += 3 - len(set(nearest))
        for k in set(nearest):
            top = min(
                (tops[j] for j, n in enumerate(nearest) if n == k),
                key=lambda t: abs(t.position.value - positions[k]),
            )
            inside["position"].append(_holds(top.position, positions[k]))
            inside["height"].append(_holds(top.height, heights[k]))
        for centre in process.centres:
            limits = centre - reach, centre + reach
            weights = band_weights(grid, *limits)
            area = km_per_mol(total @ weights, VOLUME)
            inside["integral"].append(_holds(found.band(*limits), area))
            for a, b in itertools.combinations_with_replacement(range(3), 2):
                share = (2 - (a == b)) * terms[:, a, b] @ weights / (total @ weights)
                if abs(share) > 0.05:
                    inside["share"].append(
                        _holds(found.share(*limits, (GROUPS[a], GROUPS[b])), share)
                    )
    return (
        {name: np.mean(rows, axis=0) for name, rows in inside.items()},
        extra / n_runs,
        missed / (3 * n_runs),
    )


def _holds(measured, truth):
    limits = [measured.limits(sigmas) for sigmas in (1, 2)]
    return [low < truth < high for low, high in limits]
