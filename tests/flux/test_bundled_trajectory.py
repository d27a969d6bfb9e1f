"""The bundled trajectory is liquid water in equilibrium, as a user's own should be."""

import itertools
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest

from mda_aptnn import units
from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.trajectory.molecules import find_molecules
from mda_aptnn.trajectory.motions.rigid_motions import RigidMotions
from mda_aptnn.trajectory.universe_frames import UniverseFrames

#: Velocities are multiples of it, in Å/ps.
ROUNDING = 0.01
MASSES = np.array([15.999, 1.008, 1.008])
N_MOLECULES = 64


@pytest.fixture(scope="module")
def universe():
    return MDAnalysis.Universe(WATER64_TOPOLOGY, WATER64_TRAJECTORY)


@pytest.fixture(scope="module")
def velocities(universe):
    """Every fifth frame, [n_frames, n_molecules, atom of the molecule, 3] in Å/ps."""
    # the reader writes each frame into the array of the one before
    frames = [ts.velocities.astype(float) for ts in universe.trajectory[::5]]
    return np.reshape(frames, (-1, N_MOLECULES, 3, 3))


def standard_error(series):
    """Of the mean of a series that is correlated: the largest from blocks of any length of which
    there are 8 or more.

    Blocks that are too short have an error that is too small, and it rises with their length to its
    true value.
    """
    errors = []
    length = 1
    while len(series) // length >= 8:
        n_blocks = len(series) // length
        blocks = series[: n_blocks * length].reshape(n_blocks, length).mean(axis=1)
        errors.append(blocks.std(ddof=1) / np.sqrt(n_blocks))
        length = int(np.ceil(1.4 * length))
    return max(errors)


def test_standard_error_of_a_correlated_series():
    """A first-order autoregression, whose mean has the variance (1 + a)/(1 − a)/n: from 200 of
    them, the error is between that and the 60 % above it that choosing the largest of few blocks
    costs."""
    rng = np.random.default_rng(3)
    kept, n, found = 0.9, 1000, []
    for _ in range(200):
        series = np.zeros(n)
        for k, noise in enumerate(rng.normal(size=n - 1) * np.sqrt(1 - kept**2)):
            series[k + 1] = kept * series[k] + noise
        found.append(standard_error(series))
    true = np.sqrt((1 + kept) / (1 - kept) / n)
    assert 1 < np.mean(found) / true < 1.6


def test_elements_and_motions_have_one_temperature(universe, velocities):
    frames = UniverseFrames(universe)
    energies = []
    motions = None
    for ts in universe.trajectory[::5]:
        frame = frames.frame()
        if motions is None:
            motions = RigidMotions(
                find_molecules(universe, frames.indices, frame), np.tile(MASSES, N_MOLECULES)
            )
        parts = motions.parts(frame, ts.velocities.astype(float))
        energies.append((motions.masses[:, None] * parts**2).sum(axis=(1, 2)))
    twice = np.transpose(energies)
    by_atom = (MASSES[:, None] * velocities**2).sum(axis=(1, 3))
    # the centre of mass rests: its three degrees of freedom are missing in translation, and in each
    # atom as its mass
    n, shares = N_MOLECULES, MASSES / MASSES.sum()
    temperatures = {
        "H": by_atom[:, 1:].sum(axis=1) / (6 * n - 6 * shares[1]),
        "O": by_atom[:, 0] / (3 * n - 3 * shares[0]),
        "translation": twice[0] / (3 * n - 3),
        "rotation": twice[1] / (3 * n),
        "vibration": twice[2] / (3 * n),
    }
    for (one, first), (other, second) in itertools.combinations(temperatures.items(), 2):
        difference = (first - second) / units.BOLTZMANN
        assert abs(difference.mean()) < 3 * standard_error(difference), f"{one} and {other}"
    # the errors are small enough for that to say something
    assert max(standard_error(series) for series in temperatures.values()) / units.BOLTZMANN < 8
    everything = twice.sum(axis=0).mean() / (9 * n - 3) / units.BOLTZMANN
    assert everything == pytest.approx(320, abs=5)


def test_the_centre_of_mass_rests(velocities):
    """What is left of the total momentum is the rounding of velocities, without a mean and without
    a drift.
    """
    momenta = (MASSES[:, None] * velocities).sum(axis=(1, 2))
    expected = ROUNDING * np.sqrt(N_MOLECULES * (MASSES**2).sum() / 12)
    assert np.sqrt((momenta**2).mean()) == pytest.approx(expected, rel=0.05)
    error = expected / np.sqrt(len(momenta))
    np.testing.assert_allclose(momenta.mean(axis=0), 0, atol=4 * error)
    first, second = np.array_split(momenta, 2)
    np.testing.assert_allclose(second.mean(axis=0) - first.mean(axis=0), 0, atol=8 * error)


def test_frames_and_size(universe):
    assert universe.trajectory.n_frames == 5001
    assert UniverseFrames(universe).spacing == pytest.approx(0.002)
    assert len(universe.atoms.fragments) == N_MOLECULES
    np.testing.assert_allclose(universe.dimensions, [12.421] * 3 + [90] * 3, rtol=1e-6)
    assert sum(Path(name).stat().st_size for name in (WATER64_TOPOLOGY, WATER64_TRAJECTORY)) < 10e6
    assert units.factor("m/s", units.VELOCITY) == pytest.approx(ROUNDING)
