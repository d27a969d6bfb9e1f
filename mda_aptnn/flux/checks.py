"""What a flux says about its own soundness, each with a number, a judgement and its reason."""

from __future__ import annotations

from typing import Any

import numpy as np

from mda_aptnn import units
from mda_aptnn.averages import mean_with_error
from mda_aptnn.checks import Check, Checks, Question
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.model.domain import OPTION, sum_rule_check

#: Standard errors that a check may be off.
SIGMAS = 3.0
#: The same of a temperature that is given: a run at constant energy keeps what it began with.
GIVEN_SIGMAS = 4.0
#: Differences below this part of the value are no matter.
SMALL = 0.03
#: Parts of the trajectory by which a drift is judged.
_BLOCKS = 10

GIVEN = Question(
    "temperature",
    "Intensities go with one over the given temperature. Leave it out, or give that of the "
    "simulation (-T).",
)
CONSTANT = Question(
    "temperature is constant",
    "The mean over the second half of the run should be that of the first: a drift means no "
    "equilibrium.",
)
EQUIPARTITION = Question(
    "equipartition: ⟨Ṁ²⟩ over k_B T Σ ⟨‖P‖²⟩/m",
    "1 without constraints, whatever the spectrum is. Else velocities have another unit, the order "
    "of atoms or the orientation of tensors is wrong, or the sample is not in equilibrium.",
)


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
    n_atoms, expected = series.info.get("n_atoms", 1), series.info.get("expected_residual")
    residual = sum_rule_check(series.residuals, int(n_atoms), expected)
    whole = Checks([*given, _temperature(series), _equipartition(series), residual])
    # what all frames say goes before what a few said; the run is done, so that nothing is refused
    # any more
    known = {check.name for check in whole}
    before = Checks.from_json(series.info.get("checks", []))
    earlier = (check for check in before if check.name not in known)
    return Checks([*earlier, *whole.allowing([OPTION])])


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
    mean, error = kinetic_temperature_of(series)
    if not np.isfinite(mean):
        return GIVEN.answer(f"given {kelvin:.4g} K, kinetic not known", None)
    found = f"given {kelvin:.4g} K, kinetic {mean:.0f} ± {error:.1g} K"
    return GIVEN.answer(found, abs(kelvin - mean) <= max(GIVEN_SIGMAS * error, SMALL * mean))


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
    values = series.temperatures
    if not np.isfinite(values).all() or len(values) < 2 * _BLOCKS:
        return CONSTANT.answer("not known", None)
    blocks = np.array([part.mean() for part in np.array_split(values, _BLOCKS)])
    first, second = np.split(blocks, 2)
    change = second.mean() - first.mean()
    error = np.sqrt((second.var(ddof=1) + first.var(ddof=1)) / len(first))
    found = f"{values.mean():.1f} K, second half {change:+.1f} ± {error:.1f} K"
    return CONSTANT.answer(found, abs(change) < max(SIGMAS * error, SMALL * values.mean()))


def _equipartition(series: FluxSeries) -> Check:
    ratio, error = series.equipartition_ratio()
    if series.info.get("constrained_bonds"):
        return EQUIPARTITION.answer(f"{ratio:.3f}, constrained bonds", None)
    if not np.isfinite([ratio, error]).all():
        return EQUIPARTITION.answer("not known", None)
    passed = abs(ratio - 1) < max(SIGMAS * error, SMALL)
    return EQUIPARTITION.answer(f"{ratio:.3f} ± {error:.3f}", passed)
