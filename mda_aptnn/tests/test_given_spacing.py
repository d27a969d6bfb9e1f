import re
import warnings

import MDAnalysis
import numpy as np
import pytest

from mda_aptnn.analysis.flux.dipole_flux import DipoleFlux
from mda_aptnn.analysis.spectra.velocity_spectrum import VelocitySpectrum
from mda_aptnn.errors import TrajectoryError
from mda_aptnn.given_spacing import check_given_spacing, pace
from mda_aptnn.models.fixed_charges import FixedCharges
from mda_aptnn.tests import systems, trajectory_files
from mda_aptnn.trajectory import UniverseFrames


def test_the_pace_of_an_oscillator_is_that_of_central_differences():
    frequency, step = 320.0, 0.003
    times = np.linspace(0, 40 * np.pi / frequency, 20001)[:-1, None, None]
    after, before = (np.sin(frequency * (times + shift)) for shift in (step, -step))
    velocities = frequency * np.cos(frequency * times)
    found, correlation = pace((after - before) / (2 * step), velocities, np.ones(1))
    # whole periods: sums of cos² are exact
    assert found == pytest.approx(np.sin(frequency * step) / (frequency * step), rel=1e-10)
    assert correlation == pytest.approx(1.0, rel=1e-10)


def test_heavy_atoms_count_by_their_mass():
    velocities = np.ones((1, 2, 3))
    displacements = np.array([[[1.0] * 3, [0.0] * 3]])
    assert pace(displacements, velocities, np.array([3.0, 1.0]))[0] == pytest.approx(0.75)
    assert np.isnan(pace(displacements, 0 * velocities, np.array([3.0, 1.0]))[0])


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
        warnings.filterwarnings("error", message="from frame to frame")
        check_given_spacing(UniverseFrames(universe, velocity_unit="angstrom/ps", time_step=spacing))
    assert universe.trajectory.frame == 3


@pytest.mark.parametrize("analysis", ["flux", "vdos"])
def test_the_step_of_the_simulation_is_not_that_of_the_frames(dump, analysis):
    path, spacing = dump
    options = {"velocity_unit": "angstrom/ps", "time_step": spacing / 4}
    if analysis == "flux":
        made = DipoleFlux(opened(path), FixedCharges({"O": -0.8, "H": 0.4}), **options)
    else:
        made = VelocitySpectrum(opened(path), **options)
    with pytest.raises(TrajectoryError, match="times as far as their velocities") as error:
        made.run()
    # what it suggests is the time between frames, less what vibrations lose in it
    suggested = float(re.search(r"([\d.]+) fs the time between", str(error.value))[1])
    assert 0.6 < suggested / (1000 * spacing) < 1.02


def test_too_long_a_spacing_is_a_warning():
    """An oxygen that swings, recorded every 0.5 fs, and said to be so every 2 fs."""
    times = 0.0005 * np.arange(200)[:, None, None]
    swing = np.array([0.1, 0.02, 0.0])
    recorded = systems.universe(swing * np.sin(300 * times), 300 * swing * np.cos(300 * times), ["O"])
    options = {"velocity_unit": "angstrom/ps", "check_temperature": False}
    with pytest.warns(UserWarning, match=r"move only 0\.25 times as far .* given 2 fs"):
        check_given_spacing(UniverseFrames(recorded, time_step="2 fs", **options))
