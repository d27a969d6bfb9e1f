import dataclasses

import numpy as np
import pytest

from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.errors import FileFormatError, GroupError, SpectrumError
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.spectra import velocity_spectrum
from mda_aptnn.spectra.estimator import Rates
from mda_aptnn.spectra.vdos import COUPLING, VibrationalDensity, vibrational_density
from mda_aptnn.spectra.velocity_spectrum import VelocitySpectrum, stored_density
from tests.systems import BOLTZMANN, LIGHT, gas, universe
from tests.trajectory.test_kinetics import BONDS, molecules

SPACING = 1e-3
MASSES = np.array([16.0, 1.0, 1.0, 12.0, 4.0])
GROUPS = np.array([0, 1, 1, -1, 0])


def moving(n_frames=3000, n_motions=1, seed=0):
    """Atoms that swing at their own frequencies, with noise."""
    rng = np.random.default_rng(seed)
    times = SPACING * np.arange(n_frames)[:, None, None, None]
    frequency = rng.uniform(10, 100, (n_motions, len(MASSES), 3))
    swing = np.cos(2 * np.pi * frequency * times + rng.uniform(0, 6, frequency.shape))
    return swing + 0.3 * rng.normal(size=(n_frames, n_motions, len(MASSES), 3))


def density(velocities, **options):
    motions = options.pop("motions", ("",))
    rates = Rates(velocities, options.pop("starts", [0]), SPACING, motions)
    return vibrational_density(rates, MASSES, GROUPS, ["O", "H"], **{"resolution": 60.0} | options)


@pytest.mark.parametrize("mass_weighted", [True, False])
@pytest.mark.parametrize("chunk", [10, 10**7])
def test_against_direct_sums(mass_weighted, chunk, monkeypatch):
    """Lags, atoms and replicas by loops, Gaussian and cosine written out."""
    monkeypatch.setattr("mda_aptnn.spectra.vdos._CHUNK", chunk)
    velocities = moving(260)
    found = density(
        velocities, resolution=900.0, starts=[0, 100], mass_weighted=mass_weighted, segments=None
    )
    deviation = np.sqrt(2 * np.log(2)) / (np.pi * LIGHT * 900)
    chosen = [0, 5, 17, len(found.wavenumber) - 1]
    nu = found.wavenumber.magnitude[chosen]
    weights = MASSES if mass_weighted else np.ones(5)
    sums, energy = np.zeros((4, 2)), 0.0
    for part in (velocities[:100, 0], velocities[100:, 0]):
        for atom in np.flatnonzero(GROUPS >= 0):
            energy += weights[atom] * (part[:, atom] ** 2).sum() / 260
            for a in range(3):
                products = np.correlate(part[:, atom, a], part[:, atom, a], "full") / 260
                lags = (np.arange(len(products)) - len(part) + 1) * SPACING
                window = np.exp(-(lags**2) / (2 * deviation**2))
                line = (
                    SPACING * np.cos(2 * np.pi * LIGHT * np.outer(nu, lags)) @ (window * products)
                )
                sums[:, GROUPS[atom]] += weights[atom] * line
    expected = 2 * LIGHT * sums * 12 / energy
    np.testing.assert_allclose(
        found.terms.magnitude[chosen], expected, atol=1e-8 * found.terms.magnitude.max()
    )


def test_the_integral_counts_degrees_of_freedom():
    velocities = moving()
    found = density(velocities)
    assert found.names == ["O", "H"] and found.degrees_of_freedom == 12  # four of five atoms count
    assert found.band().value == pytest.approx(12, rel=1e-9)
    assert sum(found.band(0, None, name).value for name in found.names) == pytest.approx(
        12, rel=1e-9
    )
    absolute = density(velocities, temperature=400.0)
    energy = (MASSES[:, None] * velocities[:, 0] ** 2)[:, GROUPS >= 0].sum() / len(velocities)
    assert absolute.band().value == pytest.approx(energy / (BOLTZMANN * 400), rel=1e-6)
    assert absolute.degrees_of_freedom == pytest.approx(absolute.band().value, rel=1e-9)
    plain = density(velocities, mass_weighted=False)
    share = (velocities[:, 0, [1, 2]] ** 2).sum() / (velocities[:, 0, GROUPS >= 0] ** 2).sum()
    assert plain.band(0, None, "H").value == pytest.approx(12 * share, rel=1e-9)


def test_a_harmonic_oscillator_is_one_state_at_its_frequency():
    n_frames, periods = 20000, 1000
    angle = 2 * np.pi * periods * np.arange(n_frames) / n_frames
    velocities = np.zeros((n_frames, 1, 5, 3))
    velocities[:, 0, 1, 2] = np.sqrt(2 * BOLTZMANN * 300 / MASSES[1]) * np.cos(angle)
    found = density(velocities, temperature=300.0, resolution=20)
    wavenumber = periods / (n_frames * SPACING * LIGHT)
    assert found.band(wavenumber - 60, wavenumber + 60, "H").value == pytest.approx(1, rel=5e-3)
    assert found.band(0, None, "O").value == pytest.approx(0, abs=1e-9)
    top = found.wavenumber.magnitude[found.total.magnitude.argmax()]
    assert top == pytest.approx(wavenumber, abs=found.wavenumber.magnitude[1])


def test_motions_and_their_coupling_sum_to_the_whole():
    parts = moving(n_motions=2)
    parts[:, 1] += 0.5 * np.roll(parts[:, 0], 3, axis=0)  # one runs after the other
    apart, whole = (
        density(parts, motions=("slow", "fast"), segments=4),
        density(parts.sum(axis=1, keepdims=True), segments=4),
    )
    assert apart.names == ["O slow", "O fast", "H slow", "H fast", COUPLING]
    scale = whole.total.magnitude.max()
    np.testing.assert_allclose(apart.total.magnitude, whole.total.magnitude, atol=1e-10 * scale)
    assert np.abs(apart.term(COUPLING).magnitude).max() > 0.01 * scale
    np.testing.assert_allclose(
        apart.segments.terms.sum(axis=2), whole.segments.terms.sum(axis=2), atol=1e-5 * scale
    )


def test_errors_are_the_scatter_of_repeated_runs():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        noise = rng.normal(size=(1001, 1, 5, 3))
        found.append(
            density(noise[1:] + 0.6 * noise[:-1], resolution=600.0, segments=8, temperature=300.0)
        )
    for name in (None, "O"):
        values = [(d.total if name is None else d.term(name)).magnitude for d in found]
        errors = [d.standard_error(*[name] if name else []).magnitude for d in found]
        ratio = np.sqrt(np.mean(np.square(errors), axis=0)) / np.std(values, axis=0, ddof=1)
        assert ratio[3:-3].mean() == pytest.approx(1, abs=0.1)
    band = [d.band(2000, 9000, "H") for d in found]
    scatter = np.std([b.value for b in band], ddof=1)
    assert np.sqrt(np.mean([b.error**2 for b in band])) == pytest.approx(scatter, rel=0.3)


@pytest.fixture(scope="module")
def water():
    import MDAnalysis as mda

    return mda.Universe(str(WATER64_TOPOLOGY), str(WATER64_TRAJECTORY))


def test_water_has_three_translations_rotations_and_vibrations_a_molecule(water):
    """Equipartition among motions of molecules, from a real trajectory; velocities are those of the
    reader.
    """
    found = VelocitySpectrum(water, motions="rigid", allow_aliasing=True).run(step=25)
    assert found.results.velocities.shape[1:] == (3, 192, 3)
    result = found.density(resolution=80)
    assert result.degrees_of_freedom == 576
    for name, expected in (("translation", 192), ("rotation", 192), ("vibration", 192)):
        counted = result.band(0, None, name)
        assert counted.value == pytest.approx(expected, rel=0.05)
    assert result.band(0, None, COUPLING).value == pytest.approx(0, abs=1e-6)
    with pytest.raises(GroupError, match="two ways to say it"):
        VelocitySpectrum(water, {"O": "element O"}, per="element")
    by_element = (
        VelocitySpectrum(water, per="element", allow_aliasing=True)
        .run(step=25)
        .density(resolution=80)
    )
    assert by_element.names == ["H", "O"]
    np.testing.assert_allclose(
        by_element.total.magnitude, result.total.magnitude, atol=1e-5 * result.total.magnitude.max()
    )
    assert by_element.band(0, None, "H").value == pytest.approx(384, rel=0.05)


def test_velocities_on_disk_give_the_same(water, monkeypatch):
    settings = {"groups": {"O": "element O"}}
    kept = VelocitySpectrum(water, **settings).run(stop=100)
    monkeypatch.setattr(velocity_spectrum, "_IN_MEMORY", 10)
    mapped = VelocitySpectrum(water, **settings).run(stop=100)
    assert isinstance(mapped.results.velocities, np.memmap)
    one, two = (found.density(resolution=900).terms.magnitude for found in (kept, mapped))
    np.testing.assert_array_equal(one, two)


def test_the_pass_that_makes_a_flux_keeps_the_velocities(water, tmp_path):
    flux = DipoleFlux(water, FixedCharges({"O": -0.8, "H": 0.4}), per="atom").run(stop=120)
    flux.save(tmp_path / "f.h5")
    groups = {"O": "element O"}
    stored = stored_density(tmp_path / "f.h5", water, groups, resolution=900.0, temperature=300.0)
    direct = VelocitySpectrum(water, groups).run(stop=120).density(300, 900)
    np.testing.assert_array_equal(stored.terms.magnitude, direct.terms.magnitude)
    assert stored.names == direct.names == ["O", "rest"]
    flux.series.save(tmp_path / "g.h5")
    with pytest.raises(FileFormatError, match="flux of groups only"):
        stored_density(tmp_path / "g.h5", water)


def test_finite_differences_are_corrected():
    """Positions that swing at half of the Nyquist frequency of the central difference."""
    n_frames, spacing, phase = 1500, 2e-3, 0.4
    angle = phase * np.pi * np.arange(n_frames)
    positions = np.zeros((n_frames, 3, 3))
    positions[:, :, 0] = 4 * np.arange(3) + 5
    omega = phase * np.pi / spacing
    positions[:, :, 1] = 3 + np.sqrt(2 * BOLTZMANN * 300 / 1.008) / omega * np.sin(angle)[:, None]
    system = universe(positions, None, ["H"] * 3, cell=(30, 30, 30, 90, 90, 90), time_step=spacing)
    found = VelocitySpectrum(system, velocities="finite-difference").run().density("300 K", 40)
    assert found.band().value == pytest.approx(3, rel=5e-3)


def test_files_and_pictures(tmp_path):
    found = density(moving(), segments=5)
    found = dataclasses.replace(found, info={"trajectory": ["a.trr"]})
    found.save(tmp_path / "v.h5")
    back = VibrationalDensity.load(tmp_path / "v.h5")
    for name in ("wavenumber", "terms", "resolution"):
        np.testing.assert_array_equal(getattr(back, name).magnitude, getattr(found, name).magnitude)
    np.testing.assert_array_equal(
        back.standard_error("H").magnitude, found.standard_error("H").magnitude
    )
    for name in ("names", "degrees_of_freedom", "mass_weighted", "temperature", "window", "info"):
        assert getattr(back, name) == getattr(found, name)
    found.to_csv(tmp_path / "v.csv")
    table = np.genfromtxt(tmp_path / "v.csv", delimiter=",", skip_header=1)
    np.testing.assert_allclose(table[:, 1], found.total.magnitude, rtol=1e-7)
    ax = found.plot(tmp_path / "v.png")
    assert len(ax.get_lines()) == 3 and len(ax.collections) == 1
    (tmp_path / "v.h5").write_bytes((tmp_path / "v.h5").read_bytes()[:3000])
    with pytest.raises(FileFormatError):
        VibrationalDensity.load(tmp_path / "v.h5")


def test_motions_that_leave_something_out_are_refused():
    class Halves:
        names = ("one half",)

        def parts(self, frame, velocities):
            return 0.5 * velocities[None]

    u = gas(40)
    with pytest.raises(GroupError, match=r"leave .* of the velocities"):
        VelocitySpectrum(u, motions=Halves(), velocity_unit="angstrom/ps").run()


def test_constrained_bonds_are_counted_by_kinetic_energy_only():
    """Six degrees of freedom a molecule and one bond less two; by v² their number is not known."""
    system = molecules(20, BONDS, n_frames=60)
    found = VelocitySpectrum(system, velocity_unit="angstrom/ps", allow_aliasing=True).run()
    with pytest.raises(SpectrumError, match=r"bonds are constrained.* count with masses"):
        found.density(resolution=3000, mass_weighted=False)
    density = found.density(resolution=3000)
    # the temperature is that of translation and rotation, of the same frames
    assert density.degrees_of_freedom == pytest.approx(7 * 20 - 3, rel=0.1)
    assert density.summary()["temperature_used"] == pytest.approx(300, rel=0.1)


def test_what_cannot_be_is_refused():
    with pytest.raises(SpectrumError, match="no atom moves"):
        density(np.zeros((2000, 1, 5, 3)))
    with pytest.raises(SpectrumError, match="normalises m v²"):
        density(moving(), mass_weighted=False, temperature=300.0)
    with pytest.raises(SpectrumError, match="no term 'C'; the terms are O, H"):
        density(moving()).term("C")
    with pytest.raises(SpectrumError, match="needs an uninterrupted series"):
        density(moving(100), resolution=10.0)
    system = gas()
    with pytest.raises(GroupError, match="keep their atoms"):
        VelocitySpectrum(
            system,
            {"a": system.select_atoms("element O and prop x < 3", updating=True)},
            velocity_unit="angstrom/ps",
        )
    with pytest.raises(ValueError, match="per='atom'"):
        VelocitySpectrum(system, per="atom", velocity_unit="angstrom/ps")
