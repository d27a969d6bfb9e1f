import re
import warnings

import MDAnalysis
import numpy as np
import pytest

from mda_aptnn.errors import CheckError
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.spectra.velocity_spectrum import VelocitySpectrum
from mda_aptnn.trajectory.fastest_motion import fastest_motion, nyquist
from mda_aptnn.trajectory.molecules import find_molecules
from mda_aptnn.trajectory.pace import measure_pace
from mda_aptnn.trajectory.universe_frames import UniverseFrames
from tests import systems, trajectory_files


def oscillators(frequencies, amplitudes, step, seed=0):
    """Displacements, velocities and following velocities [1, n, 1] of many phases of each frequency
    in rad/ps.
    """
    phases = np.linspace(0, 2 * np.pi, 48, endpoint=False) + np.random.default_rng(seed).uniform()
    place = frequencies[:, None, None] * step * np.array([-1, 0, 1]) + phases[:, None]
    speed = (frequencies * amplitudes)[:, None, None]
    positions, velocities = amplitudes[:, None, None] * np.sin(place), speed * np.cos(place)
    moved = (positions[..., 2] - positions[..., 0]).reshape(1, -1, 1)
    return moved, velocities[..., 1].reshape(1, -1, 1), velocities[..., 2].reshape(1, -1, 1)


def test_the_pace_of_an_oscillator_is_that_of_central_differences():
    frequency, step = 320.0, 0.003
    moved, velocities, following = oscillators(np.array([frequency]), np.array([0.1]), step)
    found = measure_pace(moved, velocities, following, np.ones(moved.shape[1]), step)
    angle = frequency * step
    assert found.ratio == pytest.approx(np.sin(angle) / angle, rel=1e-10)
    assert found.memory == pytest.approx(np.cos(angle), rel=1e-10)
    assert found.spread == pytest.approx((np.sin(angle) / angle) ** 2, rel=1e-10)
    # a single frequency lies on the curve
    assert found.factor[1] == pytest.approx(1.0, rel=1e-10)


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.0])
def test_the_time_between_frames_lies_within_its_bounds_for_any_spectrum_below_nyquist(
    factor,
):
    rng = np.random.default_rng(4)
    for _ in range(200):
        n = rng.integers(1, 6)
        angles, weights = rng.uniform(0.01, np.pi, n), rng.exponential(size=n)
        step = 0.002
        moved, velocities, following = oscillators(
            angles / step, np.sqrt(weights) * step / angles, step
        )
        found = measure_pace(moved, velocities, following, np.ones(moved.shape[1]), factor * step)
        low, high = found.factor
        assert low <= factor * (1 + 1e-9) and factor <= high * (1 + 1e-9)


def test_the_error_of_a_pace_covers_what_it_says():
    """60 atoms with energies of Maxwell's distribution and two frequencies: the distance from the
    chord.
    """
    rng = np.random.default_rng(1)
    step, off = 0.002, []
    for _ in range(400):
        frequency = rng.choice([100.0, 600.0], size=(1, 60, 1))
        speed, phase = rng.rayleigh(size=(1, 60, 1)), rng.uniform(0, 2 * np.pi, (1, 60, 1))
        moved = (
            speed
            / frequency
            * (np.sin(frequency * step + phase) - np.sin(-frequency * step + phase))
        )
        found = measure_pace(
            moved,
            speed * np.cos(phase),
            speed * np.cos(frequency * step + phase),
            np.ones(60),
            step,
        )
        angles = np.array([0.2, 1.2])
        expected = np.mean(np.sin(angles) / angles) - np.mean(1 + np.cos(angles)) / 2
        off.append((found.ratio - (1 + found.memory) / 2 - expected) / found.error)
    assert 0.62 < np.mean(np.abs(off) < 1) < 0.74
    assert np.mean(np.abs(off) < 2) > 0.92


def test_heavy_atoms_count_by_their_mass():
    velocities = np.ones((1, 2, 3))
    moved = 2 * np.array([[[1.0] * 3, [0.0] * 3]])
    assert measure_pace(
        moved, velocities, velocities, np.array([3.0, 1.0]), 1.0
    ).ratio == pytest.approx(0.75)
    assert np.isnan(
        measure_pace(moved, 0 * velocities, velocities, np.array([3.0, 1.0]), 1.0).ratio
    )


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """Real water in a LAMMPS dump of metal units, and the time between its frames in ps."""
    sample = trajectory_files.water(12)
    path = tmp_path_factory.mktemp("dump") / "water.lammpsdump"
    trajectory_files.write_lammps(sample, path, "metal")
    return str(path), float(sample.times[1] - sample.times[0])


def opened(dump):
    return MDAnalysis.Universe(trajectory_files.topology(), dump, format="LAMMPSDUMP")


def test_a_spacing_that_fits_is_not_spoken_of(dump):
    path, spacing = dump
    universe = opened(path)
    universe.trajectory[3]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="time between frames")
        analysis = VelocitySpectrum(universe, velocity_unit="angstrom/ps", time_step=spacing)
        universe.trajectory[3]
        found = analysis.check()
    assert universe.trajectory.frame == 3
    assert "fine: time between frames: 2 fs; by displacements over velocities 2" in str(found)


@pytest.mark.parametrize("analysis", ["flux", "vdos"])
@pytest.mark.parametrize(("factor", "said"), [(0.25, "too short"), (2.0, "too long")])
def test_the_step_of_the_simulation_is_not_that_of_the_frames(dump, analysis, factor, said):
    path, spacing = dump
    options = {"velocity_unit": "angstrom/ps", "time_step": factor * spacing}
    if analysis == "flux":
        made = DipoleFlux(opened(path), FixedCharges({"O": -0.8, "H": 0.4}), **options)
    else:
        made = VelocitySpectrum(opened(path), **options)
    with pytest.raises(CheckError, match=said) as error:
        made.run()
    suggested = float(re.search(r"is about ([\d.]+) fs", str(error.value))[1])
    assert suggested / (1000 * spacing) == pytest.approx(1.0, abs=0.05)


def test_too_long_a_spacing_of_one_atom():
    """An oxygen that swings, recorded every 0.5 fs, and said to be so every 2 fs."""
    times = 0.0005 * np.arange(200)[:, None, None]
    swing = np.array([0.1, 0.02, 0.0])
    recorded = systems.universe(
        swing * np.sin(300 * times), 300 * swing * np.cos(300 * times), ["O"]
    )
    options = {"velocity_unit": "angstrom/ps", "check_temperature": False}
    with pytest.raises(
        CheckError, match=r"is about 0\.5 fs by what atoms move, but said to be 2 fs"
    ):
        VelocitySpectrum(recorded, time_step="2 fs", **options).run()


def swinging(symbols, masses, lengths, swing, n_frames=20):
    """A chain of bonded atoms along x whose bond lengths swing, and its fastest motion."""
    rng = np.random.default_rng(0)
    places = np.concatenate(
        [
            np.zeros((n_frames, 1)),
            np.cumsum(lengths + swing * rng.normal(size=(n_frames, len(lengths))), axis=1),
        ],
        axis=1,
    )
    positions = np.zeros((n_frames, len(symbols), 3))
    positions[..., 0] = places
    u = systems.universe(positions, np.ones_like(positions), symbols)
    frames = UniverseFrames(u, velocity_unit="angstrom/ps", check_temperature=False)
    molecules = find_molecules(u, frames.indices, frames.frame())
    return fastest_motion(list(frames.moments(range(n_frames))), molecules, np.array(masses))


@pytest.mark.parametrize(
    ("symbols", "masses", "lengths", "swing", "expected"),
    [
        ("OH", [16, 1.008], [0.96], 0.03, 3750),
        (
            "OH",
            [16, 2.014],
            [0.96],
            0.03,
            3750 * np.sqrt(16 / 17.008 * 18.014 / 16 * 1.008 / 2.014),
        ),
        ("OH", [16, 1.008], [0.96], 0.0, 1000),
        ("CH", [12.011, 1.008], [1.09], 0.03, 3150),
        ("CO", [12.011, 16], [1.2], 0.03, 1800),
        ("CN", [12.011, 14.007], [1.157], 0.03, 2400),
        ("NN", [14.007, 14.007], [1.1], 0.03, 2400),
        ("CC", [12.011, 12.011], [1.34], 0.03, 1800),
        ("CO", [12.011, 16], [1.2], 0.0, 400),
        ("HH", [1.008, 1.008], [0.74], 0.03, 4400),
    ],
)
def test_the_fastest_motion_by_elements_masses_and_constraints(
    symbols, masses, lengths, swing, expected
):
    assert swinging(symbols, masses, np.array(lengths), swing)[0] == pytest.approx(
        expected, rel=0.002
    )


def test_the_nyquist_wavenumber():
    # 1/(2 c 1 fs), with c from SI
    assert nyquist(0.001) == pytest.approx(0.5 / (systems.LIGHT * 0.001), rel=1e-9)
