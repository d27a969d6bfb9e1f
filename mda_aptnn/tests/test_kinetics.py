"""Constraints that velocities show: rigid bodies, held bonds, free molecules."""

import numpy as np
import pytest

from mda_aptnn.analysis.flux.dipole_flux import DipoleFlux
from mda_aptnn.errors import TrajectoryError
from mda_aptnn.kinetics import constrained_bonds
from mda_aptnn.models.fixed_charges import FixedCharges
from mda_aptnn.tests.systems import BOLTZMANN, MASSES, universe
from mda_aptnn.trajectory import UniverseFrames

WATER = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
CHARGES = FixedCharges({"O": -0.8, "H": 0.4})
BONDS = [(0, 1), (0, 2)]


def molecules(n_molecules, held, n_frames=30, seed=0):
    """Water molecules with Maxwell's velocities, from which those along the held distances are taken."""
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
    return universe(np.tile(positions, (n_frames, 1, 1)), velocities.reshape(n_frames, -1, 3), symbols)


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
        frames = UniverseFrames(molecules(1, [], seed=seed, n_frames=5), velocity_unit="angstrom/ps")
        assert constrained_bonds(frames.samples(), frames.masses) == 0


def test_a_first_frame_at_rest_does_not_hide_constraints():
    u = molecules(20, BONDS)
    u.trajectory.velocity_array[0] = 0.0
    series = DipoleFlux(u, CHARGES, velocity_unit="angstrom/ps").run().series
    assert np.isnan(series.temperatures).all()
    assert any("constrained bonds found" in note for note in series.info["notes"])
    known = DipoleFlux(u, CHARGES, velocity_unit="angstrom/ps", degrees_of_freedom=6 * 20 + 20 - 3).run().series
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
