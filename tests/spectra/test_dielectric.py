import dataclasses

import numpy as np
import pytest
from scipy.constants import N_A, c, e, epsilon_0, k
from scipy.signal import lfilter

from mda_aptnn import units
from mda_aptnn.errors import FileFormatError, SpectrumError
from mda_aptnn.spectra.dielectric import DielectricSpectrum, dielectric_spectrum
from mda_aptnn.spectra.quantities import causal_transform, permittivity
from mda_aptnn.spectra.result import Measured
from tests.systems import BOLTZMANN, LIGHT, absorption_spectrum

GRID = np.arange(0, 12000.5, 1.0)


def lorentz(wavenumber, *, centre=1600.0, strength=0.3, width=80.0, infinity=1.8):
    """ε of damped oscillators, at fields e^{−iωt}."""
    return infinity + strength * centre**2 / (centre**2 - wavenumber**2 - 1j * width * wavenumber)


def absorption_of(epsilon, wavenumber):
    """n·α = ωε″/c."""
    return 2 * np.pi * wavenumber * epsilon.imag


def known(n_alpha, grid=GRID, volume=1000.0, **changes):
    """A spectrum object with a given n·α."""
    flux = np.random.default_rng(0).normal(size=(500, 1, 3))
    one = absorption_spectrum([flux], ["a"], 1e-3, 300.0, volume, resolution=1000, segments=None)
    section = units.quantity(n_alpha[:, None] * volume * 1e-8, "angstrom^2")
    return dataclasses.replace(
        one,
        wavenumber=units.quantity(grid, "1/cm"),
        cross_sections=section,
        cross_section_components=np.eye(3) / 3 * section[:, :, None],
        **changes,
    )


def test_n_and_alpha_of_lorentz_oscillators():
    """Three of them, one strong enough that n < 1; the tails above the grid are what is missed."""
    epsilon = lorentz(GRID) + lorentz(GRID, centre=3400, strength=0.05, width=300, infinity=0.0)
    epsilon += lorentz(GRID, centre=200, strength=2.0, width=60, infinity=0.0)
    found = dielectric_spectrum(known(absorption_of(epsilon, GRID)), 1.8)
    grid = found.wavenumber.magnitude
    n = np.sqrt(epsilon[1:])
    below = grid < 4500
    np.testing.assert_allclose(found.permittivity.magnitude[below], epsilon[1:][below], rtol=2e-4)
    np.testing.assert_allclose(found.refractive_index.magnitude[below], n.real[below], rtol=2e-4)
    np.testing.assert_allclose(
        found.absorption_coefficient.magnitude[below],
        4 * np.pi * grid[below] * n.imag[below],
        rtol=5e-4,
    )
    np.testing.assert_allclose(
        (found.refractive_index * found.absorption_coefficient).magnitude,
        absorption_of(epsilon, GRID)[1:],
        rtol=1e-9,
    )
    assert found.refractive_index.magnitude.min() < 1 < found.refractive_index.magnitude[0]


def test_kramers_kronig():
    """ε′ from ε″ by the principal value, on the odd points about a frequency (Maclaurin's rule)."""
    rng = np.random.default_rng(1)
    flux = lfilter([1], [1, -1.2, 0.72], rng.normal(size=(6000, 1, 3)), axis=0)
    found = absorption_spectrum([flux], ["a"], 1e-3, 300.0, 1000.0, resolution=60)
    n_alpha = found.absorption.magnitude
    grid = found.wavenumber.magnitude
    epsilon = permittivity(grid, n_alpha, 2.0, subtract_conduction=True)
    reduced = np.concatenate([[0.0], 2 * np.pi * grid[1:] * epsilon.imag])  # ωε″, which has no pole
    spacing = grid[1]
    for i in (40, 300, 1000, len(grid) // 3):
        odd = np.arange((i + 1) % 2, len(grid) - 1, 2)
        integral = (
            2 * spacing * (reduced[odd] / (grid[odd] ** 2 - grid[i] ** 2)).sum() / (2 * np.pi)
        )
        expected = 2.0 + 2 / np.pi * integral
        assert epsilon[i - 1].real == pytest.approx(expected, rel=2e-3)


def test_the_one_sided_transform_of_a_decaying_cosine():
    """∫ cos(ω₀t) e^{−γt} e^{iωt} dt over t > 0 is (γ − iω)/((γ − iω)² + ω₀²), though ten points
    make a period.
    """
    spacing, w0, gamma = 0.1, 2 * np.pi, 0.05
    omega = np.linspace(0, np.pi / spacing, 4001)
    exact = (gamma - 1j * omega) / ((gamma - 1j * omega) ** 2 + w0**2)
    found = causal_transform(exact.real)
    np.testing.assert_allclose(found.real, exact.real, atol=1e-12 * np.abs(exact).max())
    low = omega < omega[-1] / 3
    np.testing.assert_allclose(found.imag[low], exact.imag[low], atol=2e-4 * np.abs(exact).max())


def test_static_permittivity_is_that_of_the_dipole_fluctuations():
    """ε(0) = ε∞ + 4πβ⟨M²⟩/3V of bound charges, here one Langevin oscillator in each direction."""
    centre, temperature, volume = 300.0, 300.0, 500.0
    width = 60.0
    strength = 0.7
    found = dielectric_spectrum(
        known(
            absorption_of(
                lorentz(GRID, centre=centre, strength=strength, width=width, infinity=0.0), GRID
            ),
            volume=volume,
        ),
        1.0,
    )
    # ⟨M²⟩ = 3 q² k_B T/(m ω₀²), and the strength of the oscillator is q²/(ε₀ V m ω₀²)
    charge2_over_mass = strength * epsilon_0 * volume * 1e-30 * (2 * np.pi * c * 100 * centre) ** 2
    fluctuation = 3 * charge2_over_mass * k * temperature / (2 * np.pi * c * 100 * centre) ** 2
    expected = 1 + fluctuation / (3 * epsilon_0 * volume * 1e-30 * k * temperature)
    assert found.permittivity.magnitude[0].real == pytest.approx(expected, rel=1e-3)


def drude(rng, n_frames, spacing, friction, temperature, charge, mass):
    """Ṁ of one ion with Langevin velocities in each direction, exact for any spacing, in e·Å/ps."""
    memory = np.exp(-friction * spacing)
    noise = np.sqrt(BOLTZMANN * temperature / mass * (1 - memory**2)) * rng.normal(
        size=(n_frames + 2000, 1, 3)
    )
    return charge * lfilter([1], [1, -memory], noise, axis=0)[2000:]


def test_conductivity_of_drude_ions():
    """σ(0) = n q²/(m γ) of independent ions, within its error bar; and no factor beside it."""
    rng = np.random.default_rng(2)
    spacing, friction, temperature, mass, n_ions, volume = 0.01, 20.0, 350.0, 23.0, 40, 2000.0
    flux = sum(
        drude(rng, 20000, spacing, friction, temperature, charge, mass)
        for charge in [1.0, -1.0] * 20
    )
    spectrum = absorption_spectrum(
        [flux], ["ions"], spacing, temperature, volume, resolution=8, segments=16
    )
    found = dielectric_spectrum(spectrum, 2.0)
    expected = n_ions / (volume * 1e-30) * e**2 / (mass * 1.66053906660e-27 * friction * 1e12)
    low, high = found.static_conductivity.limits(3)
    assert low < expected < high
    assert found.static_conductivity.error < 0.15 * expected
    # Drude: σ(ω) = σ(0)/(1 − iω/γ)
    omega = 2 * np.pi * LIGHT * found.wavenumber.magnitude
    chosen = (omega < 30) & (omega > 1)
    sigma = found.conductivity.magnitude[chosen]
    exact = expected / (1 - 1j * omega[chosen] / friction)
    assert np.abs((sigma - exact).mean()) < 0.05 * expected
    # the pole at zero is that of direct current
    without = dielectric_spectrum(spectrum, 2.0, subtract_conduction=True)
    pole = 1j * found.static_conductivity.value / (epsilon_0 * omega * 1e12)
    np.testing.assert_allclose(
        (found.permittivity - without.permittivity).magnitude, pole, rtol=1e-6
    )


def test_the_molar_coefficient_from_si():
    epsilon = lorentz(GRID)
    source = known(absorption_of(epsilon, GRID), volume=1920.0)
    alpha = dielectric_spectrum(source, 1.8).absorption_coefficient.magnitude  # cm⁻¹
    litres = 1920.0 * 1e-27
    expected = alpha / np.log(10) / (64 / N_A / litres)
    shown = source.to("epsilon", molecules=64, epsilon_infinity=1.8)
    np.testing.assert_allclose(shown.curve().value[1:], expected, rtol=1e-7)


def test_errors_are_those_of_repeated_runs():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(40):
        flux = lfilter([1], [1, -1.2, 0.72], rng.normal(size=(4000, 1, 3)), axis=0)
        spectrum = absorption_spectrum([flux], ["a"], 1e-3, 300.0, 30.0, resolution=200, segments=8)
        found.append(dielectric_spectrum(spectrum, 2.0))
    chosen = slice(60, 400, 20)
    for name, values in {
        "epsilon real": [d.permittivity.magnitude.real for d in found],
        "epsilon imaginary": [d.permittivity.magnitude.imag for d in found],
        "n": [d.refractive_index.magnitude for d in found],
        "alpha": [d.absorption_coefficient.magnitude for d in found],
    }.items():
        scatter = np.std(values, axis=0, ddof=1)[chosen]
        errors = np.sqrt(np.mean([d.curve(name).error ** 2 for d in found], axis=0))[chosen]
        # 40 runs know each to 11 %, 17 frequencies are averaged
        assert (errors / scatter).mean() == pytest.approx(1, abs=0.15)


def test_files_and_pictures(tmp_path):
    flux = np.random.default_rng(4).normal(size=(6000, 2, 3))
    spectrum = absorption_spectrum([flux], ["a", "b"], 1e-3, 300.0, 1000.0, resolution=100)
    found = dielectric_spectrum(spectrum, 1.5)
    found.save(tmp_path / "d.h5")
    back = DielectricSpectrum.load(tmp_path / "d.h5")
    for name in ("wavenumber", "permittivity", "conductivity", "volume", "resolution"):
        np.testing.assert_array_equal(getattr(back, name).magnitude, getattr(found, name).magnitude)
        assert getattr(back, name).units == getattr(found, name).units
    np.testing.assert_array_equal(back.curve("n").error, found.curve("n").error)
    assert back.static_conductivity == found.static_conductivity
    assert (back.epsilon_infinity, back.curve("n").degrees_of_freedom, back.info) == (
        1.5,
        found.static_conductivity.degrees_of_freedom,
        found.info,
    )
    found.to_csv(tmp_path / "d.csv")
    table = np.genfromtxt(tmp_path / "d.csv", delimiter=",", skip_header=1)
    np.testing.assert_allclose(table[:, 3], found.refractive_index.magnitude, rtol=1e-7)
    upper, lower, last = found.plot(tmp_path / "d.png")
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG") and len(upper.get_lines()) == 2
    assert lower.get_lines()[0].get_xdata()[0] >= 100 and "cm$^{-1}$" in last.get_ylabel()
    spectrum.save(tmp_path / "s.h5")
    with pytest.raises(FileFormatError, match="not a dielectric file"):
        DielectricSpectrum.load(tmp_path / "s.h5")


def test_what_cannot_be_is_refused():
    spectrum = known(absorption_of(lorentz(GRID), GRID))
    with pytest.raises(SpectrumError, match=r"epsilon_infinity must be 1 or more, not 0\.5"):
        dielectric_spectrum(spectrum, 0.5)
    with pytest.raises(SpectrumError, match="volume"):
        dielectric_spectrum(dataclasses.replace(spectrum, volume=None), 1.8)


def test_slow_dipoles_of_an_insulator_are_not_called_conduction():
    """Of a Debye process, the reorientation of neutral molecules, σ′ is ε₀Δε/τ down to 1/2πcτ, and
    then less.
    """
    rng, spacing, tau, volume, temperature, size = (
        np.random.default_rng(5),
        0.02,
        1.0,
        2000.0,
        300.0,
        8.0,
    )
    memory = np.exp(-spacing / tau)
    noise = size * np.sqrt(1 - memory**2) * rng.normal(size=(120_001, 1, 3))
    dipole = lfilter([1], [1, -memory], noise, axis=0)
    flux = np.diff(dipole, axis=0) / spacing
    # Δε of ⟨M²⟩ = 3·size², in SI
    step = 3 * (size * e * 1e-10) ** 2 / (3 * epsilon_0 * volume * 1e-30 * k * temperature)
    plateau = epsilon_0 * step / (tau * 1e-12)
    found = {}
    for resolution in (60.0, 0.3):
        spectrum = absorption_spectrum(
            [flux], ["M"], spacing, temperature, volume, resolution=resolution
        )
        found[resolution] = dielectric_spectrum(spectrum, 1.8)
    coarse, fine = (found[width].static_conductivity.value for width in (60.0, 0.3))
    # half of the width at half maximum of the Debye process is 5.3 cm⁻¹: 60 cm⁻¹ sees all of the
    # plateau but the dip
    assert 0.75 * plateau < coarse < 1.05 * plateau
    assert fine < 0.05 * plateau
    said = found[60.0].conduction
    assert (
        "upper limit" in said
        and "reorient in more than 0.088 ps" in said
        and "zero frequency" not in said
    )
    assert "60 cm⁻¹" in said and str(found[60.0].static_conductivity) in said


def test_no_conductivity_is_called_one():
    """Within two standard errors of zero, or without an error bar."""
    found = dielectric_spectrum(
        known(absorption_of(lorentz(GRID), GRID), resolution=units.quantity(5.0, "1/cm")), 1.8
    )
    assert "without an error bar" in found.conduction and "nan" not in found.conduction
    small = dataclasses.replace(
        found, static_conductivity=Measured(1.0, 0.7, "S/m", 15, positive=True)
    )
    assert (
        small.conduction == "real part of the conductivity below 5 cm⁻¹: 1 ± 0.7 S/m, "
        "which is not different from zero"
    )


def test_a_summary_has_notes_and_segments():
    spectrum = dataclasses.replace(known(absorption_of(lorentz(GRID), GRID)), notes=["a guess"])
    found = dielectric_spectrum(spectrum, 1.8).summary()
    assert found["notes"] == ["a guess"] and found["segments"] is None
    assert found["unit"] == "S/m"
