"""Constraints that velocities show: rigid bodies, held bonds, free molecules."""

import re

import numpy as np
import pytest

from mda_aptnn.errors import TrajectoryError
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.guard import check_run
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.trajectory.kinetics import constrained_bonds
from mda_aptnn.trajectory.molecules import find_molecules
from mda_aptnn.trajectory.temperatures import kinetic_parts
from mda_aptnn.trajectory.universe_frames import UniverseFrames
from tests.systems import BOLTZMANN, MASSES, universe

WATER = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
CHARGES = FixedCharges({"O": -0.8, "H": 0.4})
BONDS = [(0, 1), (0, 2)]


def molecules(n_molecules, held, n_frames=30, seed=0, cell=None):
    """Water molecules with Maxwell's velocities, from which those along the held distances are
    taken.
    """
    rng = np.random.default_rng(seed)
    symbols = "OHH" * n_molecules
    mass = np.repeat([MASSES[symbol] for symbol in symbols], 3)
    positions = (6.0 * np.arange(n_molecules)[:, None, None] * [1, 0, 0] + WATER).reshape(-1, 3)
    rows = np.zeros((len(held) * n_molecules, len(symbols), 3))
    for k, (i, j) in enumerate((i + 3 * n, j + 3 * n) for n in range(n_molecules) for i, j in held):
        rows[k, j] = positions[j] - positions[i]
        rows[k, i] = -rows[k, j]
    b = rows.reshape(len(rows), len(mass))
    velocities = rng.normal(size=(n_frames, len(mass))) * np.sqrt(BOLTZMANN * 300 / mass)
    if held:
        # M⁻¹ Bᵀ (B M⁻¹ Bᵀ)⁻¹ B v
        velocities -= velocities @ b.T @ np.linalg.solve(b / mass @ b.T, b / mass)
    velocities = velocities.reshape(n_frames, -1, 3)
    return universe(np.tile(positions, (n_frames, 1, 1)), velocities, symbols, cell=cell)


@pytest.mark.parametrize(
    ("n_molecules", "held", "expected"),
    [
        (20, [], 0),
        (20, BONDS, 2 * 20),
        (20, [*BONDS, (1, 2)], 3 * 20),
        # one frame alone could not tell these from chance
        (1, BONDS, 2),
        (1, [*BONDS, (1, 2)], 3),
        (1, [], 0),
    ],
)
def test_held_distances_are_counted(n_molecules, held, expected):
    frames = UniverseFrames(molecules(n_molecules, held), velocity_unit="angstrom/ps")
    # some free ones are small by chance: 8 % of the free pairs
    found = constrained_bonds(frames.samples(), frames.masses)
    assert expected <= found <= expected + 0.25 * (3 * n_molecules - expected)


def test_free_molecules_are_never_taken_for_held_ones():
    for seed in range(200):
        frames = UniverseFrames(
            molecules(1, [], seed=seed, n_frames=5), velocity_unit="angstrom/ps"
        )
        assert constrained_bonds(frames.samples(), frames.masses) == 0


def test_a_first_frame_at_rest_does_not_hide_constraints():
    u = molecules(20, BONDS)
    u.trajectory.velocity_array[0] = 0.0
    # positions stay where they are
    options = {"velocity_unit": "angstrom/ps", "allow_aliasing": True}
    series = DipoleFlux(u, CHARGES, **options).run().series
    assert np.isnan(series.temperatures).all()
    assert any("constrained bonds found" in note for note in series.info["notes"])
    known = DipoleFlux(u, CHARGES, degrees_of_freedom=6 * 20 + 20 - 3, **options).run().series
    assert known.temperatures[1:].mean() == pytest.approx(300, rel=0.1)


def test_samples_leave_the_trajectory_where_it_is():
    u = molecules(2, [], n_frames=30)
    frames = UniverseFrames(u, velocity_unit="angstrom/fs", check_temperature=False)
    u.trajectory[17]
    samples = list(frames.samples())
    assert u.trajectory.frame == 17 and len(samples) == 5
    np.testing.assert_allclose(samples[-1][1], 1000.0 * u.trajectory.velocity_array[29], rtol=1e-6)
    with pytest.raises(TrajectoryError, match="do not go with 6 atoms"):
        constrained_bonds([(samples[0][0], samples[0][1][:3])], frames.masses)


def test_parts_share_the_kinetic_energy_and_its_degrees_of_freedom():
    """Twenty free molecules: 57 translations, 60 rotations, 60 vibrations; energies add up to that
    of all.
    """
    frames = UniverseFrames(molecules(20, []), velocity_unit="angstrom/ps")
    bonds = find_molecules(frames.universe, frames.indices, frames.frame())
    parts = kinetic_parts(list(frames.moments(range(5))), bonds, frames.masses, held=False)
    expected = {"all": 177, "translation": 57, "rotation": 60, "vibration": 60}
    assert {name: parts[name][1] for name in expected} == expected
    energy = {name: f * values for name, (values, f) in parts.items()}
    for names in (("translation", "rotation", "vibration"), ("H", "O")):
        np.testing.assert_allclose(sum(energy[name] for name in names), energy["all"], rtol=1e-10)
    assert parts["H"][1] + parts["O"][1] == pytest.approx(177)
    held = kinetic_parts(list(frames.moments(range(5))), bonds, frames.masses, held=True)
    assert set(held) == {"all", "translation", "rotation"} and held["all"][1] == 117


def test_errors_of_kinetic_temperatures_cover_the_truth():
    """In equilibrium, with new velocities in each frame: 68 % within one error or more, 95 % within
    two, no alarm.
    """
    off, alarms = [], 0
    for seed in range(60):
        u = molecules(20, [], n_frames=10, seed=seed, cell=[120, 4, 4, 90, 90, 90])
        # a liquid's density, and frames so far apart that all are new
        frames = UniverseFrames(u, velocity_unit="angstrom/ps", time_step="5 ps")
        wanted = np.arange(10)
        found = check_run(frames, wanted, frames.timeline(wanted)).checks
        check = next(check for check in found if check.name == "kinetic temperatures")
        alarms += check.verdict.value == "look at this"
        for value, error in re.findall(
            r"(?:H|O|translation|rotation|vibration) (\d+) ± (\d+) K", check.found
        ):
            off.append(abs(int(value) - 300) / int(error))
    off = np.array(off)
    assert len(off) == 60 * 5
    assert 0.64 < (off < 1).mean() < 0.85
    assert (off < 2).mean() > 0.93
    assert alarms <= 3
