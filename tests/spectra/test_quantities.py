"""What a spectrum is shown as, against hand calculation from SI constants."""

import dataclasses

import numpy as np
import pytest
from scipy.constants import N_A, c, epsilon_0

from mda_aptnn.errors import FileFormatError, SpectrumError
from mda_aptnn.figures import plot
from mda_aptnn.spectra.dielectric import dielectric_spectrum
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.quantities import QUANTITIES
from tests.systems import absorption_spectrum

#: 64 molecules of water at 0.999 g/cm³.
VOLUME = 64 * 18.015 / N_A / 0.999 * 1e24


def water(volume=VOLUME, **molecules):
    rng = np.random.default_rng(1)
    flux = np.cumsum(rng.normal(size=(4000, 2, 3)), axis=0) % 1.0
    found = absorption_spectrum(
        [flux - flux.mean(axis=0)], ["a", "b"], 1e-3, 300.0, volume, resolution=100.0, segments=6
    )
    return dataclasses.replace(found, info={"molecules": molecules or {"H2O": 64}})


@pytest.fixture(scope="module")
def spectrum():
    return water()


def test_molar_coefficient_absorbance_and_transmittance_by_hand(spectrum):
    n_alpha, n = spectrum.curve().value, 1.33
    litre = VOLUME * 1e-27
    concentration = 64 / N_A / litre
    assert concentration == pytest.approx(0.999 * 1000 / 18.015) == pytest.approx(55.45, abs=0.01)
    epsilon = spectrum.to("epsilon", refractive_index=n).curve().value
    np.testing.assert_allclose(epsilon, n_alpha / n / np.log(10) / concentration, rtol=1e-9)
    how = {"path_length": "0.2 µm", "refractive_index": n}
    absorbance = spectrum.to("absorbance", **how).curve().value
    np.testing.assert_allclose(absorbance, epsilon * concentration * 0.2e-4, rtol=1e-9)
    seen = spectrum.to("transmittance", **how)
    np.testing.assert_allclose(seen.curve().value, 10**-absorbance, rtol=1e-9)
    np.testing.assert_allclose(
        seen.curve().value, np.exp(-n_alpha / n * 0.2e-4), rtol=1e-9, err_msg="Lambert's law"
    )


def test_loss_conductivity_and_extinction_from_si(spectrum):
    n_alpha, grid = spectrum.curve().value, spectrum.wavenumber.magnitude
    per_metre, omega = 100 * n_alpha, 2 * np.pi * c * 100 * grid
    conductivity = spectrum.to("conductivity").curve().value
    np.testing.assert_allclose(conductivity, epsilon_0 * c * per_metre, rtol=1e-9)
    loss = spectrum.to("dielectric-loss").curve().value
    np.testing.assert_allclose(loss[1:], (per_metre * c)[1:] / omega[1:], rtol=1e-9)
    np.testing.assert_allclose(loss[1:], conductivity[1:] / (epsilon_0 * omega[1:]), rtol=1e-9)
    k = spectrum.to("k", refractive_index=1.2).curve().value
    np.testing.assert_allclose(k[1:], (per_metre * c / 1.2)[1:] / (2 * omega[1:]), rtol=1e-9)
    assert np.isfinite(loss).all() and np.isfinite(k).all()


def test_alpha_is_that_of_the_dielectric_function(spectrum):
    exact = dielectric_spectrum(spectrum, 1.8)
    shown = spectrum.to("alpha", epsilon_infinity=1.8).curve()
    np.testing.assert_allclose(shown.value[1:], exact.curve("alpha").value, rtol=1e-9)
    np.testing.assert_allclose(
        spectrum.to("k", epsilon_infinity=1.8).curve().value[1:],
        exact.extinction.magnitude,
        rtol=1e-9,
    )


def test_what_is_made_of_it_does_not_depend_on_what_is_shown(spectrum):
    shown = spectrum.to("epsilon", refractive_index=1.3)
    one, other = (dielectric_spectrum(source, 1.8) for source in (spectrum, shown))
    assert one.static_conductivity.value == pytest.approx(other.static_conductivity.value)
    np.testing.assert_allclose(one.epsilon.magnitude, other.epsilon.magnitude)
    assert spectrum.band(100, 900).value == shown.band(100, 900).value
    assert spectrum.share(100, 900, "a").value == shown.share(100, 900, "a").value


def test_a_band_per_molecule_is_the_integral_by_hand(spectrum):
    shown = spectrum.to("molar-absorption", molecules="H2O")
    grid = spectrum.wavenumber.magnitude
    # cm⁻² times cm³/mol is 1e-5 km/mol
    per_mole = spectrum.curve().value * VOLUME * 1e-24 * N_A / 64 * 1e-5
    np.testing.assert_allclose(shown.curve().value, per_mole, rtol=1e-9)
    whole = np.trapezoid(per_mole, grid)
    assert spectrum.band(n_molecules="H2O").value == pytest.approx(whole, rel=1e-6)
    assert spectrum.band(n_molecules=64).value == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("name", QUANTITIES)
def test_terms_errors_and_tables_follow(spectrum, name, tmp_path):
    needs = QUANTITIES[name]
    how = {"path_length": 1e-5} if needs.needs_path else {}
    how |= {"epsilon_infinity": 1.8} if needs.of_alpha else {}
    shown, plain = spectrum.to(name, **how), spectrum.curve()
    total = shown.curve()
    assert total.unit == needs.unit and (not needs.base or f"base {needs.base}" in shown.label)
    relative = total.error / total.value
    if name == "transmittance":
        # δT = T ln 10 δA
        absorbance = spectrum.to("absorbance", **how).curve()
        np.testing.assert_allclose(relative, np.log(10) * absorbance.error, rtol=0.2)
        assert shown.named_terms() == {}
    else:
        np.testing.assert_allclose(relative, plain.error / plain.value, rtol=0.15)
        terms = shown.named_terms()
        np.testing.assert_allclose(sum(terms.values()), total.value, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(shown.curve("a", "b").value, terms["a x b"], rtol=1e-9)
    assert list(shown.columns())[1].startswith(f"total {name}")
    shown.save(tmp_path / "s.h5")
    again = Spectrum.load(tmp_path / "s.h5")
    assert again.label == shown.label and str(again.shown) == str(shown.shown)
    np.testing.assert_allclose(again.curve().value, total.value, rtol=1e-6)
    np.testing.assert_allclose(again.to("n-alpha").curve().value, plain.value, rtol=1e-6)
    again.plot(tmp_path / "s.png")
    assert again.summary()["unit"] == needs.unit and again.describe()


def test_limits_of_a_transmittance_are_those_of_its_absorbance(spectrum):
    """The upper limit in a saturated band was 1e12."""
    how = {"path_length": "50 m", "refractive_index": 1.33}
    seen, absorbance = (spectrum.to(name, **how) for name in ("transmittance", "absorbance"))
    found, made_of = seen.curve(), absorbance.curve()
    assert made_of.value.max() > 10
    low, high = found.limits()
    half = np.diff(made_of.limits(), axis=0)[0] / 2
    assert np.isfinite(high).all() and (low <= found.value).all()
    dark = made_of.value > 5
    assert (high[dark] < 10 ** -(made_of.value - 1.5 * half)[dark]).all()
    np.testing.assert_allclose(
        found.error, np.log(10) * found.value * made_of.error, rtol=1e-9, atol=1e-300
    )


def test_maxima_of_a_transmittance_are_said_to_be_of_absorbance(spectrum):
    how = {"path_length": "1 um", "refractive_index": 1.33}
    seen, absorbance = (spectrum.to(name, **how) for name in ("transmittance", "absorbance"))
    assert seen.summary() == absorbance.summary()
    assert seen.summary()["quantity"].startswith("absorbance, base 10")


def test_without_n_it_is_said_to_be_times_n(spectrum):
    for name in ("alpha", "epsilon", "k"):
        shown = spectrum.to(name)
        assert r"n\," in shown.label and f"n*{name}" in list(shown.columns())[1]
        assert "times the refractive index" in str(shown.shown)
    np.testing.assert_allclose(spectrum.to("alpha").curve().value, spectrum.curve().value)


def test_a_sample_without_a_volume_has_molar_quantities():
    gas = water(volume=None)
    epsilon = gas.to("epsilon").curve().value
    expected = water().to("epsilon", refractive_index=1.0).curve().value
    np.testing.assert_allclose(epsilon, expected, rtol=1e-9)
    for name, how in (("alpha", {}), ("absorbance", {"path_length": "1 cm"})):
        with pytest.raises(SpectrumError, match="needs a volume and the sample has none"):
            gas.to(name, **how)
    with pytest.raises(SpectrumError, match="epsilon needs a volume"):
        gas.to("epsilon", epsilon_infinity=1.8)


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        ("beta", {}, "no quantity 'beta'; choose one of n-alpha, alpha"),
        ("absorbance", {}, "absorbance needs a path length"),
        ("epsilon", {"path_length": "1 cm"}, "a path length is for absorbance"),
        ("absorbance", {"path_length": "-1 cm"}, "must be positive"),
        ("transmittance", {"path_length": "1 cm"}, "transmittance needs the refractive index"),
        ("alpha", {"epsilon_infinity": 2, "refractive_index": 1.3}, "two ways to say n"),
        ("alpha", {"epsilon_infinity": 0.5}, "1 or more"),
        ("alpha", {"refractive_index": 0.0}, "must be positive"),
        ("conductivity", {"refractive_index": 1.3}, "does not depend on the refractive index"),
        ("epsilon", {"molecules": "CO2"}, r"no molecule 'CO2'; the sample has H2O \(64\)"),
        ("epsilon", {"molecules": 0}, "must be positive"),
        ("absorbance", {"path_length": "1 s"}, "cannot convert"),
    ],
)
def test_what_does_not_go_together_is_refused(spectrum, name, how, said):
    with pytest.raises(ValueError, match=said):
        spectrum.to(name, **how)


def test_molecules_are_known_or_said():
    mixture = water(H2O=60, CH4O=4)
    assert mixture.molecules("CH4O") == ("CH4O", 4)
    assert "per CH4O" in mixture.to("epsilon", molecules="CH4O").label
    assert mixture.to("epsilon", molecules="CH4O").per() == ("CH4O", 4)
    assert mixture.per() == ("sample", 1) and water().per() == ("H2O", 64)
    with pytest.raises(SpectrumError, match=r"say per mole of which .*H2O \(60\), CH4O \(4\)"):
        mixture.to("epsilon")
    unknown = dataclasses.replace(mixture, info={})
    with pytest.raises(SpectrumError, match="give their number"):
        unknown.to("epsilon")
    np.testing.assert_allclose(
        unknown.to("epsilon", molecules="60").curve().value,
        mixture.to("epsilon", molecules="H2O").curve().value,
    )


def test_different_quantities_are_not_drawn_together(spectrum):
    with pytest.raises(SpectrumError, match="no axes in common"):
        plot({"a": spectrum, "b": spectrum.to("conductivity")})


def test_a_damaged_file_is_refused(spectrum, tmp_path):
    wrong = dataclasses.replace(spectrum, shown_as={"quantity": "absorbance"})
    wrong.save(tmp_path / "s.h5")
    with pytest.raises(FileFormatError, match="shown_as is damaged"):
        Spectrum.load(tmp_path / "s.h5")
