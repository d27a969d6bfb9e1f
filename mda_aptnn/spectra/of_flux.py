"""What the methods of a flux make of it: `FluxSeries.spectrum`, `raman`, `sum_frequency`, ..."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.checks import Verdict
from mda_aptnn.errors import SpectrumError
from mda_aptnn.flux.checks import given_temperature
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.estimator import AUTO, Estimator, Rates, cross_correlation, takes_estimator
from mda_aptnn.spectra.infrared import Spectrum, infrared
from mda_aptnn.spectra.raman import RamanSpectrum, raman_spectrum
from mda_aptnn.spectra.self_distinct import self_and_distinct
from mda_aptnn.spectra.sfg import (
    COMPONENTS,
    SLAB_GROUPS,
    SumFrequencySpectrum,
    slab_sums,
    sum_frequency_spectrum,
)

logger = logging.getLogger(__name__)

#: More groups have too many terms of χ⁽²⁾: five components of all ordered pairs.
_MOST_PAIRED = 16

Groups = Mapping[str, Sequence[str]] | Sequence[str]


def correlation(
    series: FluxSeries, max_lag: Any = "5 ps", *, unbiased: bool = False
) -> NDArray[np.float64]:
    """Return ⟨Ṁ_g(0)·Ṁ_h(t)⟩ [n_lags, n_groups, n_groups] in e² Å²/ps².

    Parameters
    ----------
    series : FluxSeries
    max_lag : float, str or pint.Quantity
        Longest t, in ps; at most the longest series.
    unbiased : bool
        See `mda_aptnn.spectra.estimator.cross_correlation`.

    Returns
    -------
    ndarray, shape [n_lags, n_groups, n_groups]
        In e² Å²/ps².
    """
    parts = series.segments()
    n_lags = int(units.magnitude(max_lag, units.TIME, "max_lag") / series.spacing + 1e-6) + 1
    return cross_correlation(parts, min(n_lags, max(map(len, parts))), unbiased=unbiased)


@takes_estimator
def spectrum(
    series: FluxSeries,
    temperature: Any = None,
    resolution: Any = AUTO,
    *,
    groups: Groups | None = None,
    volume: Any = None,
    quantum_correction: str = "harmonic",
    distinct: bool | None = None,
    **how: Any,
) -> Spectrum:
    """Return the absolute infrared spectrum with every auto and cross term.

    Parameters
    ----------
    series : FluxSeries
    temperature : float, str or pint.Quantity, optional
        In K. By default the mean kinetic temperature of the trajectory, and a note says so.
    resolution : float, str or pint.Quantity
        Full width at half maximum of a line, in cm⁻¹. "auto": 10 cm⁻¹, or the finest that a short
        run has error bars for; a note says which, and the error that it gives.
    groups : mapping or sequence, optional
        See `FluxSeries.regroup`.
    volume : float, str or pint.Quantity, optional
        In Å³; by default the mean volume of the cells. None in the gas phase.
    quantum_correction : {"harmonic", "standard", "schofield", "none"}
        See `mda_aptnn.spectra.quantum.quantum_factor`.
    distinct : bool, optional
        Put the terms of molecules together: those of each with itself and those of different ones.
        By default of a flux of molecules; see `mda_aptnn.spectra.self_distinct.self_and_distinct`.
    window, unbiased, segments
        Of `mda_aptnn.spectra.estimator.Estimator`.

    Returns
    -------
    Spectrum

    Raises
    ------
    SpectrumError
        If the temperature is not known (constraints, rigid molecules, finite differences) or the
        series is too short, or `distinct` is asked of groups that are not molecules.
    """
    estimator = Estimator(resolution, **how)
    if distinct is None:
        distinct = groups is None and "species" in series.labels
    series = series if groups is None else series.regroup(groups)
    kelvin, volume, notes = series.conditions(temperature, volume)
    if distinct:
        found = self_and_distinct(series, estimator, kelvin, volume, notes=notes)
    else:
        band_spread = series.info.get("band_spread", {})
        if series.members is not None:
            notes.append(validity_of_spread(band_spread))
        rates = Rates(
            series.flux,
            series.starts,
            series.spacing,
            series.groups,
            series.finite_difference,
            series.members,
            band_spread.get("factor"),
        )
        origin = {"notes": notes, "info": series.info}
        found = infrared(rates, estimator, kelvin, volume, **origin)
    return found.corrected(quantum_correction)


@takes_estimator
def raman(
    series: FluxSeries,
    temperature: Any = None,
    resolution: Any = AUTO,
    *,
    groups: Groups | None = None,
    **how: Any,
) -> RamanSpectrum:
    """Return the Raman spectrum with every auto and cross term; parameters as in `spectrum`.

    Parameters
    ----------
    series, temperature, resolution, groups, window, unbiased, segments
        As in `spectrum`.

    Returns
    -------
    RamanSpectrum

    Raises
    ------
    SpectrumError
        If the model predicted no polarizability gradients, the temperature is not known, or the
        series is too short.
    """
    series = series if groups is None else series.regroup(groups)
    kelvin, _, notes = series.conditions(temperature)
    rates, estimator = _polarizability(series), Estimator(resolution, **how)
    return raman_spectrum(rates, estimator, kelvin, notes=notes, info=series.info)


@takes_estimator
def sum_frequency(
    series: FluxSeries,
    temperature: Any = None,
    resolution: Any = AUTO,
    *,
    groups: Groups | None = None,
    area: Any = None,
    sides: NDArray[np.float64] | None = None,
    components: Sequence[str] = COMPONENTS,
    **how: Any,
) -> SumFrequencySpectrum:
    """Return the second-order susceptibility χ⁽²⁾ of a surface, whose normal is z.

    Parameters
    ----------
    series, temperature, resolution, groups, window, unbiased, segments
        As in `spectrum`.
    area : float, str or pint.Quantity, optional
        Of the surface, in Å²; without, A·χ in Å⁴/V.
    sides : ndarray, shape [n_frames, n_groups, 3], optional
        How much of each group (molecule) belongs to the upper side of a slab, to its bulk and to
        its lower side, see `mda_aptnn.spectra.sfg.slab_weights`. These three are then the groups.
    components : sequence of str
        Of χ_abc, such as "xxz": ab of the polarizability, c of the dipole.

    Returns
    -------
    SumFrequencySpectrum

    Raises
    ------
    SpectrumError
        If the model predicted no polarizability gradients, the temperature is not known, the series
        is too short, or there are more groups than terms can be kept of.
    """
    series = series if groups is None else series.regroup(groups)
    kelvin, _, notes = series.conditions(temperature)
    rates = _polarizability(series)
    flux = dataclasses.replace(rates, values=series.flux)
    if sides is not None:
        needed = (*series.flux.shape[:2], len(SLAB_GROUPS))
        if np.shape(sides) != needed:
            raise SpectrumError(
                f"sides has the shape {np.shape(sides)}; {needed[0]} frames of {needed[1]} "
                f"groups need {needed}, from slab_weights(heights, inner, outer)"
            )
        flux, rates = (
            dataclasses.replace(part, values=slab_sums(part.values, sides), names=SLAB_GROUPS)
            for part in (flux, rates)
        )
    n_groups = len(flux.names)
    if n_groups > _MOST_PAIRED:
        raise SpectrumError(
            f"{n_groups} groups have {n_groups}² terms in each component; at most "
            f"{_MOST_PAIRED} groups are taken: give sides= for molecules of a slab, or sums of "
            "groups="
        )
    return sum_frequency_spectrum(
        rates,
        flux,
        Estimator(resolution, **how),
        kelvin,
        None if area is None else units.magnitude(area, "angstrom^2", "area"),
        components=components,
        notes=notes,
        info=series.info,
    )


def _polarizability(series: FluxSeries) -> Rates:
    """α̇ of all groups [n_frames, n_groups, 3, 3]."""
    parts = series.polarizability_segments()
    return Rates.joined(
        parts, series.spacing, series.groups, finite_difference=series.finite_difference
    )


def conditions(
    series: FluxSeries, temperature: Any = None, volume: Any = None
) -> tuple[float, float | None, list[str]]:
    """Return temperature (K), volume (Å³ or None) and notes that go with a spectrum of this flux.

    Parameters
    ----------
    series : FluxSeries
    temperature, volume
        As in `spectrum`.

    Returns
    -------
    temperature : float
        In K.
    volume : float or None
        In Å³; None in the gas phase.
    notes : list of str

    Raises
    ------
    SpectrumError
        If the temperature is not known (constraints, rigid molecules, finite differences).
    """
    checks = series.check(temperature)
    # what a few frames said before the run is said by all of them now
    earlier = tuple(f"{Verdict.LOOK}: {check.name}: " for check in checks)
    notes = [
        note for note in map(str, series.info.get("notes", [])) if not note.startswith(earlier)
    ]
    notes += map(str, checks.doubtful)
    kinetic, mean_volume = float(series.temperatures.mean()), float(series.volumes.mean())
    kelvin, volume, more = chosen_conditions(
        temperature, volume, kinetic, mean_volume, "trajectory"
    )
    check = given_temperature(series, kelvin)
    if temperature is not None and check.verdict is Verdict.LOOK:
        warnings.warn(check.brief, stacklevel=3)
    return kelvin, volume, notes + more


def chosen_conditions(
    temperature: Any, volume: Any, kinetic: float, mean_volume: float, of: str
) -> tuple[float, float | None, list[str]]:
    """Return temperature (K) and volume (Å³ or None) as given, or else those of the run.

    Parameters
    ----------
    temperature, volume
        As in `spectrum`.
    kinetic, mean_volume : float
        Mean kinetic temperature in K and volume in Å³; NaN where they are not known.
    of : str
        What has these velocities: "trajectory".

    Returns
    -------
    temperature : float
    volume : float or None
    notes : list of str

    Raises
    ------
    SpectrumError
        If the temperature is neither given nor known.
    """
    notes = []
    if temperature is not None:
        kinetic = units.magnitude(temperature, units.TEMPERATURE, "temperature")
    elif np.isfinite(kinetic):
        notes.append(f"temperature {kinetic:.1f} K taken from the velocities of the {of}")
        logger.info(notes[0])
    else:
        raise SpectrumError(
            f"the kinetic temperature is not known, as the {of} has constraints or rigid "
            'molecules, or velocities are finite differences; give temperature="300 K" (for '
            "constraints also: degrees_of_freedom to DipoleFlux)"
        )
    if volume is not None:
        return kinetic, units.magnitude(volume, units.VOLUME, "volume"), notes
    return kinetic, mean_volume if np.isfinite(mean_volume) else None, notes


def validity_of_spread(band_spread: Mapping[str, Any]) -> str:
    """Say for which truth the error of the model holds.

    Parameters
    ----------
    band_spread : mapping
        See `mda_aptnn.model.predict.Model.band_spread`.
    """
    if "factor" not in band_spread:
        return (
            "the committee's spread is not calibrated on intensities of bands, where errors of "
            "many atoms cancel or add up: mda-aptnn evaluate MODEL LABELS --calibrate does it, "
            "with labels that the members have not seen"
        )
    text = "the error of the model is calibrated on frames of the same source as those of training"
    for name, ratio in band_spread.get("elsewhere", {}).items():
        text += f"; errors of band intensities on {name} were {ratio:.2g} times those stated"
    return text
