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
from mda_aptnn.flux.flux_series import FluxSeries
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

#: Heavy atoms of alanine dipeptide, planar; pdb2gmx adds the hydrogens.
DIPEPTIDE = """\
ATOM      1  CH3 ACE A   1       2.000   2.090   0.000
ATOM      2  C   ACE A   1       3.427   2.641   0.000
ATOM      3  O   ACE A   1       4.391   1.877   0.000
ATOM      4  N   ALA A   2       3.555   3.970   0.000
ATOM      5  CA  ALA A   2       4.853   4.614   0.000
ATOM      6  CB  ALA A   2       5.661   4.221  -1.232
ATOM      7  C   ALA A   2       4.713   6.129   0.000
ATOM      8  O   ALA A   2       3.601   6.653   0.000
ATOM      9  N   NME A   3       5.846   6.835   0.000
ATOM     10  CH3 NME A   3       5.846   8.284   0.000
END
"""
FLEXIBLE_RUN = """
integrator = {integrator}
dt = 0.0005
nsteps = {n_steps}
define = -DFLEXIBLE
nstxout = 8
nstvout = 8
nstlist = 10
cutoff-scheme = Verlet
coulombtype = PME
rcoulomb = 0.8
rvdw = 0.8
tc-grps = system
tau-t = 0.1
ref-t = 300
gen-vel = yes
gen-temp = 300
gen-seed = 1
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


def mda_aptnn(*words):
    command = [sys.executable, "-m", "mda_aptnn.cli", *map(str, words)]
    how = {"capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **how)


@pytest.mark.slow
def test_a_solute_in_water_by_two_models(tmp_path):
    """Alanine dipeptide by the charges of its force field, in flexible water by the network."""
    (tmp_path / "dipeptide.pdb").write_text(DIPEPTIDE)
    for words in (
        "pdb2gmx -f dipeptide.pdb -ignh -ff amber99sb-ildn -water spc -o solute.gro -p topol.top",
        "editconf -f solute.gro -box 1.75 1.75 1.75 -c -o box.gro",
        "solvate -cp box.gro -cs spc216.gro -p topol.top -o start.gro",
    ):
        gmx(tmp_path, *words.split())
    for name, start, integrator, n_steps in (
        ("em", "start", "steep", 200),
        ("md", "em", "sd", 800),
    ):
        text = FLEXIBLE_RUN.format(integrator=integrator, n_steps=n_steps)
        (tmp_path / f"{name}.mdp").write_text(text)
        files = f"-f {name}.mdp -c {start}.gro -p topol.top -o {name}.tpr -maxwarn 3"
        gmx(tmp_path, "grompp", *files.split())
        gmx(tmp_path, "mdrun", "-deffnm", name, "-nt", "1")
    files = [tmp_path / "md.tpr", tmp_path / "md.trr", "--frames", "30:"]
    mixture = ["--model", "resname SOL=water-rpbe-d3", "--model", "protein=charges:topology"]
    outputs = ["-o", tmp_path / "ir.h5", "--plot", tmp_path / "ir.png", "--flux", tmp_path / "f.h5"]
    groups = ["--group", "peptide=protein", "--group", "water=resname SOL"]
    command = ["spectrum", *files, *mixture, *groups, *outputs, "--resolution", "300 cm^-1"]
    refused = mda_aptnn(*command)
    assert refused.returncode == 1
    assert re.search(
        r"atoms blind to neighbours: \d+ % of the atoms of water-rpbe-d3 have C, N within its "
        r"cutoff of 6 Å, which it does not know.*--allow-outside-domain",
        refused.stderr,
    )
    done = mda_aptnn(*command, "--allow-outside-domain", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    universe = MDAnalysis.Universe(*map(str, files[:2]))
    protein, water = map(universe.select_atoms, ("protein", "resname SOL"))
    assert len(protein) == 22 and len(protein) + len(water) == len(universe.atoms)
    assert [part["groups"] for part in report["mixture"]] == [
        {"water": len(water)},
        {"peptide": 22},
    ]
    doubts = {c["name"]: c["found"] for c in report["checks"] if c["verdict"] == "look at this"}
    assert f"water-rpbe-d3 for {len(water)} atoms (resname SOL)" in doubts["seam between models"]
    assert (
        "fixed charges for 22 atoms (protein), net charge 0.00 e" in doubts["seam between models"]
    )
    assert "atoms blind to neighbours" in doubts
    assert (tmp_path / "ir.png").stat().st_size > 10_000
    spectrum = Spectrum.load(tmp_path / "ir.h5")
    assert spectrum.info["mixture"] == report["mixture"]
    assert any(note.startswith("look at this: seam between") for note in spectrum.notes)
    # of the peptide, the charge current by what GROMACS has written
    flux = FluxSeries.load(tmp_path / "f.h5")
    current = [protein.charges @ protein.velocities for _ in universe.trajectory[30:]]
    assert_allclose(flux.flux[:, flux.groups.index("peptide")], current, atol=1e-3)
    # the network has most of the absorption
    water_part = spectrum.curve("water", "water").value
    assert water_part.max() > 0.5 * spectrum.curve().value.max()
