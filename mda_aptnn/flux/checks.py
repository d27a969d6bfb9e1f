"""What a flux and its spectrum say about their own soundness, each with a number, a judgement and
its reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.averages import mean_with_error
from mda_aptnn.checks import Check, Checks, Verdict
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.model.domain import OPTION, sum_rule_check
from mda_aptnn.spectra.infrared import Spectrum

#: Part of the highest maximum that may be left at the highest frequency.
LEFT_OVER = 0.02
#: Standard errors that a check may be off.
SIGMAS = 3.0
#: The same of a temperature that is given: a run at constant energy keeps what it began with.
GIVEN_SIGMAS = 4.0
#: Differences below this part of the value are no matter.
SMALL = 0.03
#: Parts of the trajectory by which a drift is judged.
_BLOCKS = 10


def check_series(series: FluxSeries, temperature: Any = None) -> Checks:
    """Return the checks of a flux: those made before the run, and those of all its frames.

    Parameters
    ----------
    series : FluxSeries
    temperature : float, str or pint.Quantity, optional
        That is given for a spectrum, in K.

    Returns
    -------
    Checks
    """
    given = []
    if temperature is not None:
        kelvin = units.magnitude(temperature, units.TEMPERATURE, "temperature")
        given = [given_temperature(series, kelvin)]
    whole = Checks((*given, _temperature(series), _equipartition(series), _residual(series)))
    # what all frames say goes before what a few said; the run is done, so that nothing is refused
    # any more
    known = {check.name for check in whole}
    earlier = [
        check
        for check in Checks.from_json(series.info.get("checks", []))
        if check.name not in known
    ]
    return Checks((*earlier, *whole.allowing([OPTION])))


def check_spectrum(series: FluxSeries, spectrum: Spectrum) -> Checks:
    """Return the checks of a flux and of the spectrum made of it.

    Parameters
    ----------
    series : FluxSeries
    spectrum : Spectrum
        Of the same flux, all groups, with the harmonic quantum correction.

    Returns
    -------
    Checks
    """
    kelvin = float(spectrum.temperature.magnitude)
    # that of the velocities themselves says nothing about them
    given = None if np.isclose(kelvin, series.temperatures.mean(), rtol=1e-9) else kelvin
    of_flux = check_series(series, given)
    return Checks(
        (*of_flux, _integral(series, spectrum), _highest_frequency(spectrum), _statistics(spectrum))
    )


def given_temperature(series: FluxSeries, kelvin: float) -> Check:
    """Hold a given temperature against the kinetic temperature of the trajectory.

    Parameters
    ----------
    series : FluxSeries
    kelvin : float
        In K.

    Returns
    -------
    Check
    """
    name = "temperature"
    meaning = "Intensities go with one over the given temperature. Leave it out, or give that of the simulation (-T)."
    mean, error = kinetic_temperature_of(series)
    if not np.isfinite(mean):
        found = f"given {kelvin:.4g} K, kinetic not known"
        return Check(name, found, Verdict.UNKNOWN, meaning)
    found = f"given {kelvin:.4g} K, kinetic {mean:.0f} ± {error:.1g} K"
    far = abs(kelvin - mean) > max(GIVEN_SIGMAS * error, SMALL * mean)
    return Check(name, found, Verdict.LOOK if far else Verdict.FINE, meaning)


def kinetic_temperature_of(series: FluxSeries) -> tuple[float, float]:
    """Return the mean kinetic temperature and its standard error in K; NaN where it is not known.

    Of constrained molecules that of translation and rotation, from a few frames before the run.
    """
    values = series.temperatures
    if np.isfinite(values).all():
        mean, error = mean_with_error(values)
        return mean, error if np.isfinite(error) else mean
    known = series.info.get("kinetic_temperature") or [None, None]
    mean, error = (np.nan if value is None else float(value) for value in known)
    return mean, error


def _temperature(series: FluxSeries) -> Check:
    name = "temperature is constant"
    meaning = "The mean over the second half of the run should be that of the first: a drift means no equilibrium."
    values = series.temperatures
    if not np.isfinite(values).all() or len(values) < 2 * _BLOCKS:
        return Check(name, "not known", Verdict.UNKNOWN, meaning)
    blocks = np.array([part.mean() for part in np.array_split(values, _BLOCKS)])
    half = _BLOCKS // 2
    change = blocks[half:].mean() - blocks[:half].mean()
    error = np.sqrt((blocks[half:].var(ddof=1) + blocks[:half].var(ddof=1)) / half)
    found = f"{values.mean():.1f} K, second half {change:+.1f} ± {error:.1f} K"
    return Check(
        name, found, _fine(abs(change) < max(SIGMAS * error, SMALL * values.mean())), meaning
    )


def _equipartition(series: FluxSeries) -> Check:
    name = "equipartition: ⟨Ṁ²⟩ over k_B T Σ ⟨‖P‖²⟩/m"
    meaning = (
        "1 without constraints, whatever the spectrum is. Else velocities have another unit, the "
        "order of atoms or "
        "the orientation of tensors is wrong, or the sample is not in equilibrium."
    )
    ratio, error = series.equipartition_ratio()
    if series.info.get("constrained_bonds"):
        return Check(name, f"{ratio:.3f}, constrained bonds", Verdict.UNKNOWN, meaning)
    if not np.isfinite([ratio, error]).all():
        return Check(name, "not known", Verdict.UNKNOWN, meaning)
    verdict = _fine(abs(ratio - 1) < max(SIGMAS * error, SMALL))
    return Check(name, f"{ratio:.3f} ± {error:.3f}", verdict, meaning)


def _fine(passed: object) -> Verdict:
    return Verdict.FINE if passed else Verdict.LOOK


def _integral(series: FluxSeries, spectrum: Spectrum) -> Check:
    """∫ V n α dν̃ = β/(12 ε₀ c²) ⟨Ṁ²⟩, as ω = 2πcν̃."""
    name = "integral of the spectrum over that of ⟨Ṁ²⟩"
    meaning = "1 to rounding: the transform has lost nothing (with finite differences, what is cut is missing)."
    wavenumber = spectrum.wavenumber.magnitude
    weights = np.full(len(wavenumber), wavenumber[1] - wavenumber[0])
    weights[[0, -1]] /= 2
    integral = float(weights @ spectrum.cross_section.to("angstrom^3/cm").magnitude)
    prefactor = units.absorption_prefactor(float(spectrum.temperature.magnitude))
    expected = prefactor * float((series.total**2).sum(axis=1).mean()) / (2 * units.SPEED_OF_LIGHT)
    ratio = integral / expected if expected else np.nan
    known = not series.finite_difference and np.isfinite(ratio)
    return Check(
        name, f"{ratio:.9f}", _fine(abs(ratio - 1) < 1e-6) if known else Verdict.UNKNOWN, meaning
    )


def _residual(series: FluxSeries) -> Check:
    expected = series.info.get("expected_residual")
    return sum_rule_check(series.residuals, int(series.info.get("n_atoms", 1)), expected)


def _highest_frequency(spectrum: Spectrum) -> Check:
    name = "frames are close enough in time"
    left = _edge(spectrum.curve().value)
    found = (
        f"{100 * left:.2g} % of the maximum is left at {spectrum.wavenumber.magnitude[-1]:.0f} cm⁻¹"
    )
    meaning = (
        "Next to nothing at the highest frequency, 1/(2cΔt). Else faster motions are folded back "
        "into the spectrum: "
        "write frames more often."
    )
    return Check(name, found, _fine(left < LEFT_OVER), meaning)


def _edge(values: NDArray[np.float64]) -> float:
    """Mean of the last hundredth of a spectrum over its maximum."""
    return float(
        np.abs(values[-max(1, len(values) // 100) :]).mean() / max(np.abs(values).max(), 1e-300)
    )


def _statistics(spectrum: Spectrum) -> Check:
    name = "standard error at the highest maximum"
    meaning = "It goes with one over the square root of time and of resolution: run longer, or ask for a coarser one."
    if spectrum.segments is None:
        return Check(name, "too short for error bars at this resolution", Verdict.LOOK, meaning)
    curve = spectrum.curve()
    top = int(curve.value.argmax())
    relative = float(curve.error[top] / curve.value[top])
    found = f"{100 * relative:.0f} % at {spectrum.wavenumber.magnitude[top]:.0f} cm⁻¹"
    return Check(name, found, _fine(relative < 0.25), meaning)
