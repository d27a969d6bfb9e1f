"""From velocities to their density of states: power spectra of atoms, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra import windows
from mda_aptnn.spectra.densities import segment_weights, velocity_correction, warn_if_short
from mda_aptnn.spectra.statistics import Segments, choose_segments
from mda_aptnn.spectra.transform import CosineTransform
from mda_aptnn.spectra.vdos import COUPLING, DENSITY, VibrationalDensity

Array = NDArray[np.float64]

#: Numbers that are transformed at a time.
_CHUNK = 4_000_000


def vibrational_density(
    velocities: Any,
    masses: Array,
    membership: NDArray[np.int64],
    names: Sequence[str],
    *,
    starts: Sequence[int],
    spacing: float,
    motions: Sequence[str] = ("",),
    mass_weighted: bool = True,
    temperature: float | None = None,
    resolution: float = 10.0,
    window: str = "gaussian",
    segments: int | str | None = "auto",
    finite_difference: float = 0.0,
    info: dict[str, Any] | None = None,
) -> VibrationalDensity:
    """Return the density of states of atoms whose velocities are given.

    Parameters
    ----------
    velocities : array_like, shape [n_frames, n_motions, n_atoms, 3]
        In Å/ps; an array, a memory map or a data set, read some atoms at a time.
    masses : ndarray, shape [n_atoms]
        In u.
    membership : ndarray of int, shape [n_atoms]
        Number of the group of each atom, −1 for those that do not count.
    names : sequence of str
        Of the groups.
    starts : sequence of int
        First frame of each uninterrupted series.
    spacing : float
        Between frames, in ps.
    motions : sequence of str
        Names of the motions; one, of any name, if velocities are whole.
    mass_weighted : bool
        Count atoms by m v² or by v².
    temperature : float, optional
        In K: the integral is then Σ m⟨v²⟩/k_B T. Otherwise the integral is 3N of the atoms that
        count.
    resolution : float
        Full width at half maximum of a line, in cm⁻¹.
    window : str
        See `mda_aptnn.spectra.windows.lag_window`.
    segments : int, "auto", "replicas" or None
        See `mda_aptnn.spectra.statistics.choose_segments`.
    finite_difference : float
        If not 0, the spacing in ps of the positions that velocities are central differences of;
        corrected for.
    info : dict, optional
        Kept with the result.

    Raises
    ------
    SpectrumError
        If the series are too short for the resolution, nothing moves, or a temperature is given
        without weights.

    Notes
    -----
    D(ν̃) = 2c/(k_B T) Σ_i m_i ∫ dt cos(2πcν̃t) ⟨v_i(0)·v_i(t)⟩ over both signs of t, ∫ D dν̃ = Σ_i
    m_i⟨v_i²⟩/k_B T: the power spectrum of the velocities, P. H. Berens et al., J. Chem. Phys. 79,
    2375 (1983).
    """
    if temperature is not None and not mass_weighted:
        raise SpectrumError("a temperature normalises m v²; leave it out without mass weights")
    n_frames = velocities.shape[0]
    marks = [np.arange(a, b) for a, b in zip(starts, [*starts[1:], n_frames], strict=True)]
    transform = CosineTransform.plan(window, resolution, spacing, max(map(len, marks)))
    pieces = choose_segments(marks, segments, resolution, spacing)
    labels = [" ".join(filter(None, (group, motion))) for group in names for motion in motions]
    if len(names) == 1 and len(motions) > 1:
        labels = list(motions)
    weights = np.asarray(masses, dtype=float) if mass_weighted else np.ones(len(masses))
    n_columns = len(names) * len(motions) + 1
    whole, parts = _correlations(
        velocities, weights, membership, marks, pieces, (transform.n_lags, n_columns)
    )
    if len(motions) > 1:
        labels.append(COUPLING)
    else:
        whole, parts = whole[:, :-1], parts[:, :, :-1]
    energy = float(whole[0].sum())
    if not energy > 0:
        raise SpectrumError("no atom moves: there is no density of states")
    degrees = 3.0 * int((membership >= 0).sum())
    if temperature is not None:
        degrees = energy / (units.BOLTZMANN * temperature)
    grid, correction = velocity_correction(transform.wavenumber, finite_difference)
    scale = (2 * units.SPEED_OF_LIGHT * degrees / energy * correction)[:, None]
    terms = scale * transform(whole)[: len(grid)]
    if window in windows.POSITIVE_DEFINITE:
        n_autos = len(labels) - (len(motions) > 1)
        # what is below zero here is rounding of the transform
        np.maximum(terms[:, :n_autos], 0.0, out=terms[:, :n_autos])
    found = None
    if pieces:
        lengths, inflation = segment_weights(marks, pieces, transform, False)
        values = np.stack([scale * transform(part)[: len(grid)] for part in parts]).astype(
            np.float32
        )
        found = Segments(values, lengths, inflation)
    if window != "none":
        n_components = 3 * int((membership >= 0).sum())
        warn_if_short(list(map(len, marks)), transform, resolution, False, components=n_components)
    return VibrationalDensity(
        wavenumber=units.quantity(grid, units.WAVENUMBER),
        names=labels,
        terms=units.quantity(terms, DENSITY),
        degrees_of_freedom=degrees,
        mass_weighted=mass_weighted,
        temperature=None if temperature is None else units.quantity(temperature, units.TEMPERATURE),
        resolution=units.quantity(resolution if window != "none" else 0.0, units.WAVENUMBER),
        window=window,
        segments=found,
        info=dict(info or {}),
    )


def _correlations(
    velocities: Any,
    weights: Array,
    membership: NDArray[np.int64],
    series: list[NDArray[np.int64]],
    segments: list[list[NDArray[np.int64]]],
    shape: tuple[int, int],
) -> tuple[Array, Array]:
    """Σ_i w_i ⟨v_i(0)·v_i(t)⟩ of each motion of each group, and of the coupling of motions, by FFT.

    Returns
    -------
    whole : ndarray, shape [n_lags, n_groups · n_motions + 1]
    parts : ndarray, shape [n_segments, n_lags, n_groups · n_motions + 1]
    """
    n_frames, n_motions = velocities.shape[:2]
    whole, parts = np.zeros(shape), np.zeros((len(segments), *shape))
    for atoms in _chunks(len(weights), max(1, _CHUNK // (3 * n_frames * n_motions))):
        own = membership[atoms]
        if not (own >= 0).any():
            continue
        # time last: each transform lies in one piece
        values = np.moveaxis(np.asarray(velocities[:, :, atoms], dtype=np.float64), 0, -1)[
            :, own >= 0
        ]
        values = values * np.sqrt(weights[atoms][own >= 0])[:, None, None]
        own = own[own >= 0]
        for pieces, target in [(series, whole), *zip(segments, parts, strict=True)]:
            for piece in pieces:
                _add_products(values[..., piece[0] : piece[-1] + 1], own, target)
    whole /= sum(map(len, series))
    for pieces, part in zip(segments, parts, strict=True):
        part /= sum(map(len, pieces))
    return whole, parts


def _chunks(n_atoms: int, size: int) -> Iterator[slice]:
    for start in range(0, n_atoms, size):
        yield slice(start, min(start + size, n_atoms))


def _add_products(values: Array, membership: NDArray[np.int64], target: Array) -> None:
    """Add Σ_t v(t)·v(t + nΔt) of values [n_motions, n_atoms, 3, n_frames] to [n_lags, n_groups ·
    n_motions + 1].
    """
    n_motions, _, _, n_frames = values.shape
    kept = min(len(target), n_frames)
    size = scipy.fft.next_fast_len(n_frames + kept, real=True)
    transforms = scipy.fft.rfft(values, size)
    powers = (transforms.real**2 + transforms.imag**2).sum(axis=2)
    for group in np.unique(membership):
        products = scipy.fft.irfft(powers[:, membership == group].sum(axis=1), size)[:, :kept]
        target[:kept, group * n_motions : (group + 1) * n_motions] += products.T
    if n_motions > 1:
        together = transforms.sum(axis=0)
        power = (together.real**2 + together.imag**2).sum(axis=1) - powers.sum(axis=0)
        target[:kept, -1] += scipy.fft.irfft(power.sum(axis=0), size)[:kept]
