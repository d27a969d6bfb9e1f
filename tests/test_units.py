import subprocess
import sys

import numpy as np
import pint
import pytest

from mda_aptnn import units
from mda_aptnn.errors import UnitError
from tests.systems import BOLTZMANN, LIGHT, prefactor


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (300, "K", 300.0),
        ("300 K", "K", 300.0),
        ("300", "K", 300.0),
        ("26.85 degC", "K", 300.0),
        ("10 cm^-1", "1/cm", 10.0),
        ("10 1/cm", "1/cm", 10.0),
        ("40 cm-1", "1/cm", 40.0),
        ("40cm-1", "1/cm", 40.0),
        ("40 cm⁻¹", "1/cm", 40.0),
        ("27C", "K", 300.15),
        ("27 °C", "K", 300.15),
        ("-3 C", "K", 270.15),
        ("3 A", "angstrom", 3.0),
        ("3 Å", "angstrom", 3.0),
        ("1000 A3", "angstrom^3", 1000.0),
        ("2 A^2", "angstrom^2", 2.0),
        ("2 A/fs", "angstrom/ps", 2000.0),
        ("2 A fs-1", "angstrom/ps", 2000.0),
        ("50 L mol-1 cm-1", "L/mol/cm", 50.0),
        ("10 µm", "cm", 1e-3),
        ("1 THz", "1/cm", 33.3564095),
        ("1 meV", "1/cm", 8.06554394),
        ("0 THz", "1/cm", 0.0),
        ("0 meV", "1/cm", 0.0),
        ("0 cm^-1", "1/cm", 0.0),
        ("0.5fs", "ps", 5e-4),
        ("1 bohr", "angstrom", 0.529177211),
        ("1 bohr/atomic_unit_of_time", "angstrom/ps", 21876.9126),
        ("-0.8 e", "e", -0.8),
        ("1e-3 nm^3", "angstrom^3", 1.0),
        (pint.Quantity(0.3, "nm"), "angstrom", 3.0),
        (pint.UnitRegistry().Quantity(0.3, "nm"), "angstrom", 3.0),
    ],
)
def test_numbers_strings_and_quantities_come_in(value, unit, expected):
    assert units.magnitude(value, unit) == pytest.approx(expected, rel=1e-8)


def test_arrays_come_in():
    np.testing.assert_allclose(
        units.magnitude(units.quantity([1.0, 2.0], "nm"), "angstrom"), [10, 20]
    )
    np.testing.assert_allclose(
        units.magnitude(units.quantity([0.0, 1.0], "THz"), "1/cm"), [0, 33.3564095]
    )


@pytest.mark.parametrize(
    "value",
    [
        "300 furlong",
        "3 ps",
        "warm",
        "",
        "300 K K",
        "1.2.3 K",
        np.nan,
        "inf K",
        [1, np.inf],
        None,
        object(),
    ],
)
def test_what_is_no_temperature_is_refused_by_name(value):
    with pytest.raises(UnitError, match=r"^temperature: ") as caught:
        units.magnitude(value, "K", "temperature")
    assert "\n" not in str(caught.value)


def test_results_leave_in_the_registry_of_the_application():
    length = units.quantity(1.0, "angstrom") + pint.get_application_registry().Quantity(1.0, "nm")
    assert length.to("angstrom").magnitude == pytest.approx(11.0)


def test_constants_against_si():
    assert pytest.approx(BOLTZMANN, rel=1e-7) == units.BOLTZMANN
    assert pytest.approx(LIGHT, rel=1e-12) == units.SPEED_OF_LIGHT


@pytest.mark.parametrize("temperature", [77.0, 300.0])
def test_prefactor_of_the_absorption_against_si(temperature):
    assert units.absorption_prefactor(temperature) == pytest.approx(
        prefactor(temperature), rel=1e-8
    )


@pytest.mark.parametrize(
    ("value", "unit"),
    [("1 nm", "1/cm"), ("3 um", "1/cm"), ("5 cm^-1", "angstrom"), ("2 THz", "angstrom")],
)
def test_wavelengths_are_no_wavenumbers(value, unit):
    """A resolution of 1 nm would be 1e7 cm⁻¹, and a distance of 5 cm⁻¹ 2 mm."""
    with pytest.raises(UnitError, match=r"resolution: cannot convert .*; write it in that unit"):
        units.magnitude(value, unit, "resolution")


def test_factor_refuses_another_dimension():
    assert units.factor("nm", "angstrom") == pytest.approx(10)
    with pytest.raises(UnitError, match="ps"):
        units.factor("nm", "ps")
    with pytest.raises(UnitError, match="different zeros"):
        units.factor("degC", "K")
    for text in ("((", "1/0", "e**", "\x00", "angstrom^1e9", "import os"):
        with pytest.raises(UnitError):
            units.factor(text, "angstrom")


#: Whole numbers of more digits than there are atoms, in every spelling of a power.
ENDLESS = (
    "angstrom**9**9**9",
    "angstrom^9^9^9",
    "((((9**9)**9)**9)**9)*angstrom",
    "9⁹⁹⁹*angstrom",
    "2**(9**(9**9))*angstrom",
    "9**9.**9*angstrom",
    "angstrom**99999999999",
    "*".join(["angstrom"] * 2_000),
)


def test_units_whose_powers_would_take_for_ever_are_refused_in_one_line():
    """In a process of its own, since on 0.1.0 nothing ends it: Python looks at no signal within a
    power.
    """
    code = (
        "from mda_aptnn import units, errors\n"
        f"for text in {ENDLESS!r}:\n"
        "    for read, value in ((units.factor, text), (units.magnitude, f'10 {text}')):\n"
        "        try:\n"
        "            print('taken', read(value, 'angstrom'))\n"
        "        except errors.UnitError as error:\n"
        "            print('refused', len(str(error)))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    lines = [line.split() for line in found.stdout.splitlines()]
    assert [word for word, _ in lines] == ["refused"] * 2 * len(ENDLESS)
    assert max(int(length) for _, length in lines) < 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cubic nm", 1000.0),
        ("nm^3", 1000.0),
        ("nm³", 1000.0),
        ("(nm^2)^(3/2)", 1000.0),
        ("nm**5 / nm ** 2", 1000.0),
    ],
)
def test_ordinary_powers_are_read(text, expected):
    assert units.factor(text, "angstrom^3") == pytest.approx(expected)
    assert units.magnitude(f"1 {text}", "angstrom^3") == pytest.approx(expected)
