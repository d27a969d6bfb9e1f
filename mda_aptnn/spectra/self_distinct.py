"""Self and distinct parts of the spectrum of molecules, without the cross terms of every pair of
them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.absorption import most_segments, section_factor
from mda_aptnn.spectra.correlation import cross_correlation
from mda_aptnn.spectra.densities import (
    check_pairs,
    pair_spectra,
    spectral_terms,
    velocity_correction,
)
from mda_aptnn.spectra.spectrum import Spectrum
from mda_aptnn.spectra.statistics import choose_segments
from mda_aptnn.spectra.terms import pair_number
from mda_aptnn.spectra.transform import CosineTransform

if TYPE_CHECKING:
    from mda_aptnn.flux.flux_series import FluxSeries

Array = NDArray[np.float64]

SELF, DISTINCT = "self", "distinct"
#: Bytes of transforms that are in memory at a time: molecules are taken in batches of so many.
_BATCH_BYTES = 250_000_000


def self_and_distinct(
    series: FluxSeries, *, resolution: float, window: str, unbiased: bool, **options: Any
) -> Spectrum:
    """Return the spectrum of molecules as a self and a distinct part.

    Ṁ = Σ_m Ṁ_m over the molecules of a species, and each Ṁ_m = Σ_p Ṁ_mp over motions, if the flux
    has them. Then

        self      Σ_m ⟨Ṁ_mp(0)·Ṁ_mq(t)⟩
        distinct  Σ_m Σ_{n≠m} ⟨Ṁ_mp(0)·Ṁ_nq(t)⟩ = ⟨Ṁ_p(0)·Ṁ_q(t)⟩ − self

    and what two species share is distinct. The spectrum has the groups "self" and "distinct", with
    the species before and the motion behind them where there are several; self and distinct groups
    have no cross terms.

    Parameters
    ----------
    series : FluxSeries
        With the label "species".
    resolution, window, unbiased, **options
        As in `FluxSeries.spectrum`, in plain numbers.

    Raises
    ------
    SpectrumError
        If the groups are not molecules.
    """
    if "species" not in series.labels:
        raise SpectrumError(
            'self and distinct parts need a flux of molecules; make it with per="molecule"'
        )
    species, molecule = (np.array(series.labels[name]) for name in ("species", "group"))
    motion = np.array(series.labels.get("motion", [""] * len(species)))
    kinds = list(dict.fromkeys(zip(species.tolist(), motion.tolist(), strict=True)))
    summed = series.regroup(
        {
            "\n".join(kind): [series.groups[k] for k in _places(species, motion, kind)]
            for kind in kinds
        }
    )
    summed = dataclasses.replace(summed, members=None)
    whole = summed.spectrum(resolution=resolution, window=window, unbiased=unbiased, **options)
    pieces = series.segments()
    transform = CosineTransform.plan(
        window, resolution, series.spacing, max(len(part) for part in pieces)
    )
    check_pairs(len(kinds), transform.size // 2 + 1)
    _, correction = velocity_correction(transform.wavenumber, series.finite_difference)
    scale = section_factor(float(whole.temperature.magnitude)) * correction
    n = len(kinds)
    most = most_segments(n, len(scale))
    correlation = np.zeros((transform.n_lags, n, n))
    parts = np.zeros_like(whole.segments.terms) if whole.segments is not None else None
    for at, batch in _batches(pieces, species, molecule, kinds, motion, transform.size):
        correlation[np.ix_(range(transform.n_lags), at, at)] += cross_correlation(
            batch, transform.n_lags, unbiased=unbiased
        )
        if parts is not None:
            chosen = _as_many(
                len(parts), batch, options.get("segments", "auto"), resolution, series.spacing, most
            )
            where = _pair_places(at, n)
            for row, segment in zip(parts, chosen, strict=True):
                row[:, where] += pair_spectra(segment, transform, scale, unbiased)
    own = spectral_terms(correlation, transform, scale, window=window, unbiased=unbiased)
    return _assemble(whole, kinds, own, correlation, parts)


def _as_many(
    n_segments: int, batch: list[Array], segments: Any, resolution: float, spacing: float, most: int
) -> list[list[Array]]:
    """The same segments as of the whole, which may have been halved in number."""
    while True:
        chosen = choose_segments(batch, segments, resolution, spacing, most)
        if len(chosen) <= n_segments:
            return chosen
        most = len(chosen) // 2


def _places(
    species: NDArray[Any], motion: NDArray[Any], kind: tuple[str, str]
) -> NDArray[np.int64]:
    return np.flatnonzero((species == kind[0]) & (motion == kind[1]))


def _batches(
    pieces: list[Array],
    species: NDArray[Any],
    molecule: NDArray[Any],
    kinds: list[tuple[str, str]],
    motion: NDArray[Any],
    size: int,
) -> Iterator[tuple[list[int], list[Array]]]:
    """Molecules of a species side by side: numbers of their kinds, pieces [n_frames, n_kinds, 3 ·
    n_molecules].
    """
    longest = max(size, 2 * max(len(part) for part in pieces))
    for name in dict.fromkeys(species.tolist()):
        at = [k for k, kind in enumerate(kinds) if kind[0] == name]
        # [n_kinds, n_molecules]: the same molecules in the same order for each motion
        terms = np.array([_places(species, motion, kinds[k]) for k in at])
        if not all(np.array_equal(molecule[row], molecule[terms[0]]) for row in terms):
            raise SpectrumError(f"the molecules {name} do not all have the same motions")
        step = max(1, _BATCH_BYTES // (3 * 8 * longest * len(at)))
        for first in range(0, terms.shape[1], step):
            chosen = terms[:, first : first + step]
            yield at, [part[:, chosen].reshape(len(part), len(at), -1) for part in pieces]


def _pair_places(at: list[int], n: int) -> list[int]:
    """Where pairs of the groups `at`, of n, stand in the order of `Spectrum.pairs`."""
    return [*at, *(pair_number(a, b, n) for a, b in itertools.combinations(at, 2))]


def _assemble(
    whole: Spectrum,
    kinds: list[tuple[str, str]],
    own: Array,
    correlation: Array,
    parts: NDArray[np.float32] | None,
) -> Spectrum:
    """Self and distinct groups of each kind, as blocks of the terms."""
    n = len(kinds)
    several = len({species for species, _ in kinds}) > 1
    names = [
        " ".join(filter(None, (species if several else "", part, motion)))
        for part in (SELF, DISTINCT)
        for species, motion in kinds
    ]

    def blocks(total: Array, self_part: Array) -> Array:
        result = np.zeros((len(total), 2 * n, 2 * n))
        result[:, :n, :n], result[:, n:, n:] = self_part, total - self_part
        return result

    segments = whole.segments
    if segments is not None and parts is not None:
        terms = np.zeros((*parts.shape[:2], n * (2 * n + 1)), dtype=np.float32)
        terms[:, :, _pair_places(list(range(n)), 2 * n)] = parts
        terms[:, :, _pair_places(list(range(n, 2 * n)), 2 * n)] = segments.terms - parts
        segments = dataclasses.replace(segments, terms=terms)
    total, lagged = whole.cross_section_terms.magnitude, whole.correlation.magnitude
    return dataclasses.replace(
        whole,
        groups=names,
        cross_section_terms=units.quantity(blocks(total, own), "angstrom^2"),
        correlation=units.quantity(blocks(lagged, correlation), units.FLUX_CORRELATION),
        segments=segments,
        signed=names[n:],
    )
