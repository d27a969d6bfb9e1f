"""Self and distinct parts of the spectrum of molecules, without the cross terms of every pair of
them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra import infrared
from mda_aptnn.spectra.estimator import Estimator, Rates, component_correlation
from mda_aptnn.spectra.result import pair_numbers, pairs

if TYPE_CHECKING:
    from mda_aptnn.flux.flux_series import FluxSeries

Array = NDArray[np.float64]

SELF, DISTINCT = "self", "distinct"
#: Bytes of transforms that are in memory at a time: molecules are taken in batches of so many.
_BATCH_BYTES = 250_000_000


def self_and_distinct(
    series: FluxSeries,
    estimator: Estimator,
    temperature: float,
    volume: float | None,
    notes: Sequence[str] = (),
) -> infrared.Spectrum:
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
    estimator, temperature, volume, notes
        As in `mda_aptnn.spectra.infrared.infrared`.

    Raises
    ------
    SpectrumError
        If the groups are not molecules.
    """
    if "species" not in series.labels:
        raise SpectrumError(
            'self and distinct parts need a flux of molecules; make it with per="molecule"'
        )
    infrared.check_conditions(temperature, volume)
    species = series.labels["species"]
    kinds = list(zip(species, series.labels.get("motion", [""] * len(species)), strict=True))
    names = list(dict.fromkeys(kinds))
    kind = np.array([names.index(own) for own in kinds])
    values = np.stack([series.flux[:, kind == k].sum(axis=1) for k in range(len(names))], axis=1)
    kinds_of = list(map(" ".join, names))
    rates = Rates(values, series.starts, series.spacing, kinds_of, series.finite_difference)
    factor = infrared.section_factor(temperature)
    n = len(names)
    first, second = pairs(n)
    whole = estimator.density(rates, factor=factor)
    longest = max(whole.plan.size, 2 * max(whole.plan.lengths))
    own = estimator.density(
        rates,
        lambda: _batches(series, kind, names, longest),
        (n, n),
        pieces=whole.pieces,
        factor=factor,
        components=0,
    )
    numbers = pair_numbers(2 * n)
    of_self, of_distinct = (numbers[place + first, place + second] for place in (0, n))

    def blocks(total: Array, self_part: Array) -> Array:
        """Terms of n names and of their self parts to those of 2n names."""
        found = np.zeros((len(total), numbers.max() + 1), dtype=total.dtype)
        found[:, of_self], found[:, of_distinct] = self_part, total - self_part
        return found

    correlation = np.zeros((len(whole.correlation), 2 * n, 2 * n))
    correlation[:, :n, :n] = own.correlation
    correlation[:, n:, n:] = whole.correlation - own.correlation
    segments = whole.segments
    if segments is not None and own.segments is not None:
        both = zip(segments.terms, own.segments.terms, strict=True)
        segments = dataclasses.replace(segments, terms=np.array([blocks(*part) for part in both]))
    density = dataclasses.replace(
        whole, terms=blocks(whole.terms, own.terms), correlation=correlation, segments=segments
    )
    several = len({species for species, _ in names}) > 1
    labels = [
        " ".join(filter(None, (species if several else "", part, motion)))
        for part in (SELF, DISTINCT)
        for species, motion in names
    ]
    n_lags = whole.plan.n_lags
    by_axis = component_correlation(rates.parts, n_lags, unbiased=estimator.unbiased)
    origin = {"notes": notes, "info": series.info}
    found = infrared.spectrum_of_density(density, by_axis, labels, temperature, volume, **origin)
    return dataclasses.replace(found, signed=labels[n:])


def _batches(
    series: FluxSeries, kind: NDArray[np.int64], names: list[tuple[str, str]], longest: int
) -> Iterator[tuple[Array, NDArray[np.int64]]]:
    """Molecules of a species side by side [n_frames, n_kinds, 3 · n_molecules], and the places of
    their self parts.
    """
    molecule = np.array(series.labels["group"])
    n = len(names)
    for name in dict.fromkeys(species for species, _ in names):
        own = np.array([k for k, (species, _) in enumerate(names) if species == name])
        # [n_kinds, n_molecules]: the same molecules in the same order for each motion
        terms = [np.flatnonzero(kind == k) for k in own]
        if not all(np.array_equal(molecule[row], molecule[terms[0]]) for row in terms):
            raise SpectrumError(f"the molecules {name} do not all have the same motions")
        step = max(1, _BATCH_BYTES // (3 * 8 * longest * len(own)))
        for first in range(0, len(terms[0]), step):
            chosen = np.array(terms)[:, first : first + step]
            values = series.flux[:, chosen].reshape(len(series.flux), len(own), -1)
            yield values, own[:, None] * n + own
