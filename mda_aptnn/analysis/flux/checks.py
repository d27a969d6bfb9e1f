"""What a flux and its spectrum say about their own soundness, each with a number, a judgement and its reason."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.analysis.flux.flux_series import FluxSeries
from mda_aptnn.analysis.spectra.spectrum import Spectrum

#: Residual of the acoustic sum rule in e per atom, if the errors of atoms are independent.
RESIDUAL = 0.05
#: Part of the highest maximum that may be left at the highest frequency.
LEFT_OVER = 0.02
#: Standard errors that a check may be off.
SIGMAS = 3.0
#: Differences below this part of the value are no matter.
SMALL = 0.03
#: Parts of the trajectory by which a drift is judged.
_BLOCKS = 10


@dataclasses.dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    name : str
    found : str
        The number, with its unit and error.
    passed : bool or None
        None where it cannot be judged.
    meaning : str
        What is expected, and what it means if it is not so.
    """

    name: str
    found: str
    passed: bool | None
    meaning: str


def check_run(series: FluxSeries, spectrum: Spectrum) -> list[Check]:
    """Return the checks of a flux and of the spectrum made of it.

    Parameters
    ----------
    series : FluxSeries
    spectrum : Spectrum
        Of the same flux, all groups, with the harmonic quantum correction.
    """
    return [
        _temperature(series),
        _equipartition(series),
        _integral(series, spectrum),
        _residual(series),
        _highest_frequency(spectrum),
        _statistics(spectrum),
    ]


def _temperature(series: FluxSeries) -> Check:
    name = "Temperature is constant"
    meaning = "The mean over the second half of the run should be that of the first: a drift means no equilibrium."
    values = series.temperatures
    if not np.isfinite(values).all() or len(values) < 2 * _BLOCKS:
        return Check(name, "not known", None, meaning)
    blocks = np.array([part.mean() for part in np.array_split(values, _BLOCKS)])
    half = _BLOCKS // 2
    change = blocks[half:].mean() - blocks[:half].mean()
    error = np.sqrt((blocks[half:].var(ddof=1) + blocks[:half].var(ddof=1)) / half)
    found = f"{values.mean():.1f} K, second half {change:+.1f} ± {error:.1f} K"
    return Check(name, found, bool(abs(change) < max(SIGMAS * error, SMALL * values.mean())), meaning)


def _equipartition(series: FluxSeries) -> Check:
    name = "Equipartition: ⟨Ṁ²⟩ over k_B T Σ ⟨‖P‖²⟩/m"
    meaning = (
        "1 without constraints, whatever the spectrum is. Else velocities have another unit, the order of atoms or "
        "the orientation of tensors is wrong, or the sample is not in equilibrium."
    )
    ratio, error = series.equipartition_ratio()
    if not np.isfinite([ratio, error]).all():
        return Check(name, "not known", None, meaning)
    passed = bool(abs(ratio - 1) < max(SIGMAS * error, SMALL))
    return Check(name, f"{ratio:.3f} ± {error:.3f}", passed, meaning)


def _integral(series: FluxSeries, spectrum: Spectrum) -> Check:
    """∫ V n α dν̃ = β/(12 ε₀ c²) ⟨Ṁ²⟩, as ω = 2πcν̃."""
    name = "Integral of the spectrum over that of ⟨Ṁ²⟩"
    meaning = "1 to rounding: the transform has lost nothing (with finite differences, what is cut is missing)."
    wavenumber = spectrum.wavenumber.magnitude
    weights = np.full(len(wavenumber), wavenumber[1] - wavenumber[0])
    weights[[0, -1]] /= 2
    integral = float(weights @ spectrum.cross_section.to("angstrom^3/cm").magnitude)
    prefactor = units.absorption_prefactor(float(spectrum.temperature.magnitude))
    expected = prefactor * float((series.total**2).sum(axis=1).mean()) / (2 * units.SPEED_OF_LIGHT)
    ratio = integral / expected if expected else np.nan
    passed = None if series.finite_difference or not np.isfinite(ratio) else bool(abs(ratio - 1) < 1e-6)
    return Check(name, f"{ratio:.9f}", passed, meaning)


def _residual(series: FluxSeries) -> Check:
    name = "Acoustic sum rule: Σ P − Q·1"
    meaning = (
        "Each component is zero for exact tensors. Without a drift of the centre of mass it changes nothing in the "
        "total. Per atom: if the errors of atoms are independent."
    )
    rms = float(np.sqrt((series.residuals**2).mean()))
    per_atom = rms / np.sqrt(max(1, int(series.info.get("n_atoms", 1))))
    found = f"{rms:.3g} e rms, largest {np.abs(series.residuals).max():.3g} e; {per_atom:.2g} e per atom"
    return Check(name, found, bool(per_atom < RESIDUAL), meaning)


def _highest_frequency(spectrum: Spectrum) -> Check:
    name = "Frames are close enough in time"
    values, _ = spectrum.default_values()
    left = _edge(values)
    found = f"{100 * left:.2g} % of the maximum is left at {spectrum.wavenumber.magnitude[-1]:.0f} cm⁻¹"
    meaning = (
        "Next to nothing at the highest frequency, 1/(2cΔt). Else faster motions are folded back into the spectrum: "
        "write frames more often."
    )
    return Check(name, found, bool(left < LEFT_OVER), meaning)


def _edge(values: NDArray[np.float64]) -> float:
    """Mean of the last hundredth of a spectrum over its maximum."""
    return float(np.abs(values[-max(1, len(values) // 100) :]).mean() / max(np.abs(values).max(), 1e-300))


def _statistics(spectrum: Spectrum) -> Check:
    name = "Standard error at the highest maximum"
    meaning = "It goes with one over the square root of time and of resolution: run longer, or ask for a coarser one."
    if spectrum.segments is None:
        return Check(name, "too short for error bars at this resolution", False, meaning)
    values = spectrum.default_values()[0]
    top = int(values.argmax())
    relative = float(spectrum.default_error()[top] / values[top])
    found = f"{100 * relative:.0f} % at {spectrum.wavenumber.magnitude[top]:.0f} cm⁻¹"
    return Check(name, found, bool(relative < 0.25), meaning)
