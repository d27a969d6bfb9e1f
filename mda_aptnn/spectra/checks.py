"""What a spectrum says about its own soundness, beside what its flux says."""

from __future__ import annotations

import numpy as np
from scipy.integrate import trapezoid

from mda_aptnn import units
from mda_aptnn.checks import Check, Checks, Question
from mda_aptnn.flux.checks import check_series
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.infrared import Spectrum

#: Part of the highest maximum that may be left at the highest frequency.
LEFT_OVER = 0.02
#: Relative standard error of the highest maximum that is worth a look.
COARSE = 0.25

INTEGRAL = Question(
    "integral of the spectrum over that of ⟨Ṁ²⟩",
    "1 to rounding: the transform has lost nothing (with finite differences, what is cut is "
    "missing).",
)
CLOSE_ENOUGH = Question(
    "frames are close enough in time",
    "Next to nothing at the highest frequency, 1/(2cΔt). Else faster motions are folded back into "
    "the spectrum: write frames more often.",
)
STATISTICS = Question(
    "standard error at the highest maximum",
    "It goes with one over the square root of time and of resolution: run longer, or ask for a "
    "coarser one.",
)


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
    of_spectrum = (_integral(series, spectrum), _highest_frequency(spectrum), _statistics(spectrum))
    return Checks([*check_series(series, given), *of_spectrum])


def _integral(series: FluxSeries, spectrum: Spectrum) -> Check:
    """∫ V n α dν̃ = β/(12 ε₀ c²) ⟨Ṁ²⟩, as ω = 2πcν̃."""
    section = spectrum.cross_section.to("angstrom^3/cm").magnitude
    integral = float(trapezoid(section, spectrum.wavenumber.magnitude))
    prefactor = units.absorption_prefactor(float(spectrum.temperature.magnitude))
    expected = prefactor * float((series.total**2).sum(axis=1).mean()) / (2 * units.SPEED_OF_LIGHT)
    ratio = integral / expected if expected else np.nan
    known = not series.finite_difference and np.isfinite(ratio)
    return INTEGRAL.answer(f"{ratio:.9f}", abs(ratio - 1) < 1e-6 if known else None)


def _highest_frequency(spectrum: Spectrum) -> Check:
    """Mean of the last hundredth of the spectrum over its maximum."""
    values = np.abs(spectrum.curve().value)
    left = float(values[-max(1, len(values) // 100) :].mean() / max(values.max(), 1e-300))
    highest = spectrum.wavenumber.magnitude[-1]
    found = f"{100 * left:.2g} % of the maximum is left at {highest:.0f} cm⁻¹"
    return CLOSE_ENOUGH.answer(found, left < LEFT_OVER)


def _statistics(spectrum: Spectrum) -> Check:
    if spectrum.segments is None:
        return STATISTICS.answer("too short for error bars at this resolution", False)
    curve = spectrum.curve()
    top = int(curve.value.argmax())
    relative = float(curve.error[top] / curve.value[top])
    found = f"{100 * relative:.0f} % at {spectrum.wavenumber.magnitude[top]:.0f} cm⁻¹"
    return STATISTICS.answer(found, relative < COARSE)
