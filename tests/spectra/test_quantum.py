import numpy as np
import pytest
from scipy.constants import c, h, k

from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.quantum import CORRECTIONS, quantum_factor
from tests.systems import absorption_spectrum

WAVENUMBER = np.array([0.0, 1.0, 200.0, 1600.0, 4000.0])


def spectrum(**options):
    flux = np.random.default_rng(0).normal(size=(4000, 2, 3))
    return absorption_spectrum([flux], ["a", "b"], 5e-4, 300.0, 1000.0, resolution=150, **options)


@pytest.mark.parametrize("temperature", [77.0, 300.0])
def test_the_factors_by_the_ratio_of_line_shapes(temperature):
    """n·α ∝ ω (1 − e⁻ˣ) Q(x) C_cl(ω), where Q turns the classical line shape into a quantum one."""
    x = h * c * 100 * WAVENUMBER[1:] / (k * temperature)
    q = {
        "harmonic": x / (1 - np.exp(-x)),
        "standard": 2 / (1 + np.exp(-x)),
        "schofield": np.exp(x / 2),
        "none": np.ones_like(x),
    }
    assert set(q) == set(CORRECTIONS)
    for name, values in q.items():
        expected = values / q["harmonic"]
        found = quantum_factor(name, WAVENUMBER, temperature)
        np.testing.assert_allclose(
            found[1:], expected, rtol=1e-6
        )  # 1 − e⁻ˣ loses digits where x is small
        assert found[0] == 1


def test_detailed_balance():
    """Q(−x) = e⁻ˣ Q(x) for all but "none": I(−ω) = e⁻ˣ I(ω), as n·α/ω is odd in ω."""
    x = np.array([0.3, 2.0, 9.0])
    q = {
        "harmonic": lambda x: x / (1 - np.exp(-x)),
        "standard": lambda x: 2 / (1 + np.exp(-x)),
        "schofield": lambda x: np.exp(x / 2),
    }
    for function in q.values():
        np.testing.assert_allclose(function(-x), np.exp(-x) * function(x))


def test_a_correction_replaces_the_one_before():
    harmonic = spectrum()
    once = spectrum(quantum_correction="standard")
    twice = once.corrected("standard")
    factor = quantum_factor("standard", harmonic.wavenumber.magnitude, 300.0)
    for name in ("absorption", "terms", "components", "standard_error"):
        plain, one, two = (getattr(s, name) for s in (harmonic, once, twice))
        plain, one, two = (value() if callable(value) else value for value in (plain, one, two))
        shape = (-1,) + (1,) * (plain.ndim - 1)
        np.testing.assert_allclose(
            one.magnitude, plain.magnitude * factor.reshape(shape), rtol=1e-5
        )
        np.testing.assert_allclose(two.magnitude, one.magnitude, rtol=1e-5)
    back = once.corrected("schofield").corrected("none").corrected("harmonic")
    np.testing.assert_allclose(back.absorption.magnitude, harmonic.absorption.magnitude, rtol=1e-12)
    assert (once.quantum_correction, back.quantum_correction) == ("standard", "harmonic")


def test_a_name_that_is_none():
    with pytest.raises(
        SpectrumError, match=r"'egelstaff': choose one of harmonic, standard, schofield, none"
    ):
        spectrum(quantum_correction="egelstaff")
