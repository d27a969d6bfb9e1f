"""Pint at the border: the only module that knows a conversion factor.

Inside the package every array is a plain float array in the units of MDAnalysis: Å, ps, Å/ps, K, e,
u; the flux is in e·Å/ps and frequencies are wavenumbers in cm⁻¹. Numbers enter through
:func:`magnitude` and physical results leave through :func:`quantity`.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from mda_aptnn.errors import UnitError


class _Registry:
    """The application's registry, so that quantities of the user and of this package can be added.

    pint takes 0.4 s to start, which the help of a command need not wait for.
    """

    def __getattr__(self, name: str) -> Any:
        import pint

        return getattr(pint.get_application_registry(), name)


ureg: Any = _Registry()

#: Units as they are written into files and figures, all parsed by pint.
LENGTH = "angstrom"
TIME = "ps"
VELOCITY = "angstrom/ps"
DIPOLE = "e*angstrom"
FLUX = "e*angstrom/ps"
FLUX_CORRELATION = "e^2*angstrom^2/ps^2"
VOLUME = "angstrom^3"
TEMPERATURE = "K"
CHARGE = "e"
WAVENUMBER = "1/cm"
ABSORPTION = "1/cm"
#: Polarizabilities are volumes, α/4πε₀.
POLARIZABILITY_FLUX = "angstrom^3/ps"
#: Squares of ∂α/∂Q per wavenumber, with α/4πε₀ in Å³ and Q in Å·√u: a band's integral is its Raman
#: activity in Å⁴/u.
RAMAN_ACTIVITY = "angstrom^4/u*cm"
#: Molar absorption per wavenumber: its integral over a band, in cm⁻¹, is the band's intensity in
#: km/mol.
MOLAR_ABSORPTION = "km/mol*cm"


#: No unit is longer, no power in one is larger.
_LONGEST_UNIT, _LARGEST_POWER = 100, 1000
#: What may follow **: a number, in parentheses or not.
_EXPONENT = re.compile(
    r"\s*(?:\(\s*[-+]?\s*(\d{1,2}(?:\.\d*)?)(?:/\d{1,2})?\s*\)|[-+]?\s*(\d{1,2}(?:\.\d*)?)(?![\w.]))"
)
#: A power without a sign for it, "cm-1", and Å as it is typed.
_PLAIN_POWER = re.compile(r"(?<![\d.])([^\W\d_])(-?\d)(?![\w.])")
_PLAIN_ANGSTROM = re.compile(r"(?<![^\W\d])A(?![^\W\d])")


def magnitude(value: Any, unit: str, name: str = "value") -> Any:
    """Return `value` as a float (or float array) in `unit`.

    Parameters
    ----------
    value : float, str, pint.Quantity or array_like
        A bare number is taken to be in `unit` already; a string such as ``"300 K"`` is parsed by
        pint. Where a wavenumber is wanted, a frequency or an energy will do (``"1 THz"`` is 33.36
        cm⁻¹); a wavelength will not, as a width in it means nothing.
    unit : str
        The unit of the result.
    name : str
        What the value is, for the error message.

    Raises
    ------
    UnitError
        If the string is not a quantity, or the dimension is another one, or the number is not
        finite.
    """
    import pint

    if isinstance(value, str):
        value = _parse(value, unit, name)
    if isinstance(value, pint.Quantity):
        try:
            source = ureg.Quantity(value.magnitude, str(value.units))
            is_wavenumber = ureg.Quantity(1.0, unit).check("1/[length]")
            spectroscopic = is_wavenumber and not source.check("[length]")
            if spectroscopic:
                # pint goes through a wavelength, which a zero has not
                one = ureg.Quantity(1.0, source.units).to(unit, "spectroscopy")
                value = np.multiply(source.magnitude, one.magnitude)
            else:
                value = source.to(unit).magnitude
        except (pint.DimensionalityError, pint.UndefinedUnitError) as error:
            raise UnitError(
                f"{name}: cannot convert {value:~} to {unit}; write it in that unit, like "
                f"'1 {unit}'"
            ) from error
    try:
        result = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise UnitError(f"{name}: {value!r} is not a number in {unit}") from error
    if not np.isfinite(result).all():
        raise UnitError(f"{name}: {value!r} is not finite")
    return float(result) if result.ndim == 0 else result


def _parse(text: str, unit: str, name: str) -> Any:
    """A number and a unit apart, for offset units (25 degC); a bare number is in `unit`."""
    match = re.fullmatch(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(.*?)\s*", text)
    try:
        if match is None:
            raise ValueError(text)
        text_of_unit = _spelt(match[2])
        if unit == TEMPERATURE and text_of_unit in ("C", "°C"):
            text_of_unit = "degC"
        return ureg.Quantity(float(match[1]), text_of_unit or unit)
    except Exception as error:
        message = (
            f"{name}: {_short(text)} is not a quantity; write a number and a unit, like '1 {unit}'"
        )
        raise UnitError(message) from error


def _spelt(text: str) -> str:
    """Return a unit as pint spells it: "cm-1" is cm^-1, "A3" is angstrom^3, as no unit here has
    amperes.

    Powers are refused before pint computes them with whole numbers of any size:
    ``angstrom**9**9**9``.

    Raises
    ------
    ValueError
        If it is longer than any unit, an exponent is no plain number, or all of them together are
        too large.
    """
    from pint.util import string_preprocessor

    if len(text) > _LONGEST_UNIT:
        raise ValueError("too long for a unit")
    text = _PLAIN_ANGSTROM.sub("angstrom", _PLAIN_POWER.sub(r"\1^\2", text))
    # all spellings of powers, such as ^, ² and "cubic", become **
    _, *parts = string_preprocessor(text).split("**")
    product = 1.0
    for number, part in enumerate(parts, 1):
        match = _EXPONENT.match(part)
        if match is None or (number < len(parts) and not part[match.end() :].strip()):
            raise ValueError("an exponent that is no number of one or two digits")
        product *= max(1.0, float(match[1] or match[2]))
    if product > _LARGEST_POWER:
        raise ValueError("powers that are too large")
    return text


def _short(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_UNIT else f"{text[:40]}...")


def quantity(value: Any, unit: str) -> Any:
    """Return `value`, which is in `unit`, as a `pint.Quantity`."""
    return ureg.Quantity(value, unit)


def wavenumber_of_light(value: Any, name: str) -> float:
    """Return the wavenumber of light in cm⁻¹, from one, a frequency, an energy or its wavelength
    ("532 nm").

    Raises
    ------
    UnitError
        If it is none of them, or not positive.
    """
    try:
        wavenumber = magnitude(value, WAVENUMBER, name)
    except UnitError:
        wavelength = magnitude(value, "cm", name)
        wavenumber = 1 / wavelength if wavelength > 0 else 0.0
    if not wavenumber > 0:
        raise UnitError(f"{name}: {value} must be positive")
    return float(wavenumber)


def velocity_factor(unit: object) -> float:
    """Return how many Å/ps are in one `unit`.

    Parameters
    ----------
    unit : str or pint.Quantity
        ``"angstrom/fs"``, ``"bohr/atomic_unit_of_time"``, or a multiple such as ``"20.455
        angstrom/ps"``.

    Raises
    ------
    UnitError
        If it is not a positive velocity.
    """
    text = unit.strip() if isinstance(unit, str) else unit
    if text == "":
        raise UnitError("velocity_unit is empty; say it like 'angstrom/fs'")
    if isinstance(text, str) and not text[:1].isdigit():
        text = f"1 {text}"
    value = float(magnitude(text, VELOCITY, "velocity_unit"))
    if value <= 0:
        raise UnitError(f"velocity_unit {unit!r} is not positive")
    return value


def factor(source: str, target: str) -> float:
    """Return how many `target` are in one `source`.

    Raises
    ------
    UnitError
        If the dimensions differ, a unit is unknown, or they have different zeros (degC).
    """
    try:
        spelt = _spelt(source)
        one, two = (float(ureg.Quantity(value, spelt).to(target).magnitude) for value in (1.0, 2.0))
    except Exception as error:
        # units come from files as well, and pint's parser fails in many ways
        raise UnitError(f"cannot convert {_short(source)} to {target!r}: {error}") from error
    if not math.isclose(two, 2 * one, rel_tol=1e-9):
        raise UnitError(
            f"cannot convert {source!r} to {target!r} by a factor: they have different zeros"
        )
    return one


#: Constants of this module: a multiple of a unit, and the unit that it is counted in.
_CONSTANTS = {
    # in u Å²/(ps² K): kinetic energies inside are in u Å²/ps²
    "BOLTZMANN": (1.0, "boltzmann_constant", "u*angstrom^2/ps^2/K"),
    # in cm/ps: angular frequency ω [rad/ps] = 2π c ν̃
    "SPEED_OF_LIGHT": (1.0, "speed_of_light", "cm/ps"),
    # hc/k_B in cm K: βħω of a wavenumber ν̃ in cm⁻¹ is this times ν̃/T
    "SECOND_RADIATION_CONSTANT": (
        1.0,
        "planck_constant*speed_of_light/boltzmann_constant",
        "cm*K",
    ),
    # h/(8π²c) in u Å² cm⁻¹: the mean square of a normal coordinate in its ground state is this over
    # ν̃
    "GROUND_STATE_SQUARE": (
        1 / (8 * math.pi**2),
        "planck_constant/speed_of_light",
        "u*angstrom^2/cm",
    ),
    # 4π e ps²/u in Å²/V: second-order susceptibilities of α/4πε₀ in Å³ and dipoles in e·Å
    "SECOND_ORDER_FACTOR": (4 * math.pi, "e*ps^2/u", "angstrom^2/V"),
    # Å³ cm⁻¹ per sample (n·α·V) to km/mol per cm⁻¹, per mole of samples
    "MOLAR_FACTOR": (1.0, "angstrom^3/cm*avogadro_constant", MOLAR_ABSORPTION),
    # e² Å²/ps over 6 ε₀ c k_B in Å³ K/cm
    "ABSORPTION_FACTOR": (
        1 / 6,
        "e^2*angstrom^2/ps/(vacuum_permittivity*speed_of_light*boltzmann_constant)",
        "angstrom^3*K/cm",
    ),
}


def __getattr__(name: str) -> float:
    if name not in _CONSTANTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    multiple, source, target = _CONSTANTS[name]
    value = float(ureg.Quantity(multiple, source).to(target).magnitude)
    globals()[name] = value
    return value


def absorption_prefactor(temperature: float) -> float:
    """Return β/(6 ε₀ c), so that n(ω)α(ω)·V = prefactor · ∫ dt e^{-iωt} ⟨Ṁ(0)·Ṁ(t)⟩.

    Parameters
    ----------
    temperature : float
        In K.

    Returns
    -------
    float
        In Å³ cm⁻¹ per (e² Å²/ps² · ps): times the integral in e² Å²/ps, over V in Å³, gives cm⁻¹.

    Notes
    -----
    Eq. 2 of P. Schienbein, J. Chem. Theory Comput. 19, 705 (2023), where the harmonic quantum
    correction is already applied.
    """
    return __getattr__("ABSORPTION_FACTOR") / temperature
