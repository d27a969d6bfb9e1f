"""Real GROMACS runs: flexible water read against GROMACS' own numbers, and through the command
line.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import MDAnalysis
import numpy as np
import pytest
from numpy.testing import assert_allclose

from mda_aptnn.checks import Verdict
from mda_aptnn.data import WATER64_TOPOLOGY
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.velocity_spectrum import VelocitySpectrum
from mda_aptnn.trajectory.kinetics import constrained_bonds, kinetic_temperature
from mda_aptnn.trajectory.universe_frames import UniverseFrames

pytestmark = [
    pytest.mark.gromacs,
    pytest.mark.skipif(shutil.which("gmx") is None, reason="GROMACS is not installed"),
    pytest.mark.filterwarnings("ignore"),
]

N_STEPS = 240
TOPOLOGY = """{define}
#include "oplsaa.ff/forcefield.itp"
#include "oplsaa.ff/{model}.itp"
[ system ]
water
[ molecules ]
SOL 64
"""
# every step, so that averages of half steps can be compared; single precision is GROMACS' own
SETTINGS = """
integrator = md
dt = {dt}
nsteps = {n_steps}
nstxout = 1
nstvout = 1
nstenergy = 1
nstcalcenergy = 1
nstlist = 10
cutoff-scheme = Verlet
verlet-buffer-tolerance = -1
rlist = 0.6
coulombtype = PME
rcoulomb = 0.6
rvdw = 0.6
gen-vel = yes
gen-temp = 300
gen-seed = 1
continuation = no
"""


def gmx(folder, *arguments, **options):
    done = subprocess.run(
        ["gmx", *arguments], cwd=folder, capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def run(folder, model, define="", dt=0.0005, n_steps=N_STEPS):
    """64 molecules in the cell of the bundled trajectory; TPR, TRR and the temperature of each
    step.
    """
    water = MDAnalysis.Universe(WATER64_TOPOLOGY)
    names, positions = ["OW", "HW1", "HW2"] * 64, water.atoms.positions
    if model == "tip4p":
        names = ["OW", "HW1", "HW2", "MW"] * 64
        molecules = positions.reshape(64, 3, 3)
        sites = 0.75 * molecules[:, :1] + 0.125 * (molecules[:, 1:2] + molecules[:, 2:])
        positions = np.concatenate([molecules, sites], axis=1).reshape(-1, 3)
    size = len(names) // 64
    with open(folder / "start.gro", "w") as file:
        file.write(f"water\n{len(names)}\n")
        for i, (name, (x, y, z)) in enumerate(zip(names, positions / 10, strict=True)):
            file.write(f"{i // size + 1:5d}{'SOL':<5}{name:>5}{i + 1:5d}{x:8.3f}{y:8.3f}{z:8.3f}\n")
        file.write("1.24210 1.24210 1.24210\n")
    (folder / "topol.top").write_text(TOPOLOGY.format(define=define, model=model))
    (folder / "md.mdp").write_text(SETTINGS.format(dt=dt, n_steps=n_steps))
    gmx(
        folder,
        "grompp",
        "-f",
        "md.mdp",
        "-c",
        "start.gro",
        "-p",
        "topol.top",
        "-o",
        "topol.tpr",
        "-maxwarn",
        "3",
    )
    gmx(folder, "mdrun", "-deffnm", "topol", "-nt", "1")
    gmx(folder, "energy", "-f", "topol.edr", "-o", "energy.xvg", input="Temperature\n")
    lines = [
        line.split()
        for line in (folder / "energy.xvg").read_text().splitlines()
        if line[0] not in "#@"
    ]
    return str(folder / "topol.tpr"), str(folder / "topol.trr"), np.array(lines, dtype=float)[:, 1]


@pytest.fixture(scope="module")
def flexible(tmp_path_factory):
    return run(tmp_path_factory.mktemp("flexible"), "spc", "#define FLEXIBLE")


def test_velocities_times_and_elements(flexible):
    tpr, trr, expected = flexible
    universe = MDAnalysis.Universe(tpr, trr)
    frames = UniverseFrames(universe)
    assert frames.frame().symbols == ["O", "H", "H"] * 64
    assert_allclose(frames.masses[:2], [15.9994, 1.008], rtol=1e-5)
    assert frames.frame().volume == pytest.approx(12.421**3, rel=1e-5)
    assert universe.trajectory.n_frames == N_STEPS + 1
    assert frames.spacing == pytest.approx(0.0005, rel=1e-5)
    # leap-frog: x(t) goes with v(t − Δt/2), and GROMACS' temperature is the mean of both half steps
    halves = np.array(
        [kinetic_temperature(frames.velocities(), frames.masses) for _ in universe.trajectory]
    )
    assert_allclose((halves[1:-1] + halves[2:]) / 2, expected[1:-1], rtol=2e-5)
    universe.trajectory[0]
    assert constrained_bonds(frames.samples(), frames.masses) == 0


def test_the_guard_finds_the_time_between_frames_of_leap_frog(flexible):
    """Velocities are half a step behind: within 2 % nevertheless."""
    topology, trajectory, _ = flexible
    found = VelocitySpectrum(MDAnalysis.Universe(topology, trajectory)).check()
    time = next(check for check in found if check.name == "time between frames")
    assert time.verdict is Verdict.FINE
    assert float(re.search(r"velocities ([\d.]+) fs", time.found)[1]) == pytest.approx(
        0.5, rel=0.02
    )
    assert found.worst is not Verdict.REFUSED


def test_finite_differences_are_the_mean_of_half_steps(flexible):
    # an identity of leap-frog: x(t + Δt) − x(t − Δt) = (v(t + Δt/2) + v(t − Δt/2)) Δt
    tpr, trr, _ = flexible
    universe = MDAnalysis.Universe(tpr, trr)
    recorded = UniverseFrames(universe)
    differences = UniverseFrames(universe, velocities="finite-difference")
    velocities = np.array([recorded.velocities() for _ in universe.trajectory])
    for k in range(1, N_STEPS, 7):
        universe.trajectory[k]
        # positions in float32 nm: 1e-6 Å, over 1 fs
        assert_allclose(
            differences.velocities(), (velocities[k] + velocities[k + 1]) / 2, atol=4e-3
        )


def test_rigid_water_with_a_massless_site(tmp_path):
    # velocities and positions half a step apart leave a little along a bond that turns
    tpr, trr, _ = run(tmp_path, "tip4p", dt=0.002, n_steps=20)
    universe = MDAnalysis.Universe(tpr, trr)
    assert len(universe.atoms) == 256
    frames = UniverseFrames(universe)
    assert frames.frame().symbols == ["O", "H", "H"] * 64
    assert any("64 MW" in note for note in frames.notes)
    for _ in universe.trajectory[5::5]:
        assert (
            constrained_bonds([(frames.frame(), frames.velocities())], frames.masses) > 0.9 * 3 * 64
        )


def test_command_line(flexible, tmp_path):
    tpr, trr, expected = flexible
    output = tmp_path / "water.h5"
    command = [
        sys.executable,
        "-m",
        "mda_aptnn.cli",
        "spectrum",
        tpr,
        trr,
        "--model",
        "water-rpbe-d3",
    ]
    command += [
        "--temperature",
        "300 K",
        "--group",
        "O=element O",
        "--resolution",
        "600 cm^-1",
        "--step",
        "4",
    ]
    command += ["--output", str(output), "--json"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert output.is_file() and report["files"]["spectrum"] == str(output)
    assert report["n_frames"] == 61 and report["spacing_ps"] == pytest.approx(0.002, rel=1e-5)
    assert report["groups"][0] == "O" and len(report["groups"]) == 2
    assert report["temperature"] == pytest.approx(expected[::4].mean(), rel=0.02)
    # the stretch of flexible SPC is at 3700 cm^-1; 0.12 ps tell only roughly where
    found = Spectrum.load(output)
    wavenumber = found.wavenumber.magnitude
    beyond_the_bend = wavenumber > 2500
    assert 3000 < wavenumber[beyond_the_bend][found.curve().value[beyond_the_bend].argmax()] < 4300
