"""Real LAMMPS runs of a flexible water in real and metal units, and through the command line."""

import json
import os
import shutil
import subprocess
import sys

import MDAnalysis
import numpy as np
import pytest
from numpy.testing import assert_allclose

from mda_aptnn import units
from mda_aptnn.data import WATER64_TOPOLOGY
from mda_aptnn.errors import TrajectoryError
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.trajectory.kinetics import constrained_bonds, kinetic_temperature
from mda_aptnn.trajectory.universe_frames import UniverseFrames

pytestmark = [
    pytest.mark.lammps,
    pytest.mark.skipif(shutil.which("lmp") is None, reason="LAMMPS is not installed"),
    pytest.mark.filterwarnings("ignore"),
]

N_STEPS, EVERY, STEP = 240, 4, 0.0005
LENGTH = 12.421
CHARGES = {"O": -0.82, "H": 0.41}
#: SPC/Fw, Y. Wu, H. L. Tepper, G. A. Voth, J. Chem. Phys. 124, 024503 (2006); kcal/mol, Å, rad.
BOND, ANGLE, LENNARD_JONES = (1059.162 / 2, 1.012), (75.90 / 2, 113.24), (0.1554253, 3.165492)
#: Units of energy in one kcal/mol, and of time in ps and velocity in Å/ps, as LAMMPS' manual has
#: them.
STYLES = {
    "real": (1.0, 0.001, 1000.0),
    "metal": (units.factor("kcal", "eV") / 6.02214076e23, 1.0, 1.0),
}
VELOCITY_UNITS = {"real": "angstrom/fs", "metal": "angstrom/ps"}


def run(folder, style):
    """64 molecules in the cell of the bundled trajectory; the folder, and LAMMPS' temperature at
    each dumped step.
    """
    energy, time, velocity = STYLES[style]
    water = MDAnalysis.Universe(WATER64_TOPOLOGY)
    # cold, because molecules of another potential relax to this one
    initial = np.random.default_rng(3).normal(size=(192, 3))
    masses = np.array([15.9994, 1.008, 1.008] * 64)
    initial *= np.sqrt(units.BOLTZMANN * 150 / masses)[:, None]
    initial -= (masses[:, None] * initial).sum(axis=0) / masses.sum()
    lines = [
        "water",
        "",
        "192 atoms",
        "128 bonds",
        "64 angles",
        "2 atom types",
        "1 bond types",
        "1 angle types",
        "",
    ]
    lines += [f"0 {LENGTH} {axis}lo {axis}hi" for axis in "xyz"]
    lines += ["", "Masses", "", "1 15.9994", "2 1.008", "", "Atoms # full", ""]
    for i, (symbol, position) in enumerate(
        zip(water.atoms.elements, water.atoms.positions, strict=True)
    ):
        kind = 1 if symbol == "O" else 2
        lines.append(
            f"{i + 1} {i // 3 + 1} {kind} {CHARGES[symbol]} "
            f"{' '.join(f'{x:.6f}' for x in position)}"
        )
    lines += ["", "Velocities", ""]
    lines += [
        f"{i + 1} {' '.join(f'{x:.12g}' for x in v / velocity)}" for i, v in enumerate(initial)
    ]
    lines += ["", "Bonds", ""]
    lines += [f"{2 * k + h} 1 {3 * k + 1} {3 * k + 1 + h}" for k in range(64) for h in (1, 2)]
    lines += ["", "Angles", ""] + [
        f"{k + 1} 1 {3 * k + 2} {3 * k + 1} {3 * k + 3}" for k in range(64)
    ]
    (folder / "water.data").write_text("\n".join(lines) + "\n")
    (folder / "in.water").write_text(f"""
units {style}
atom_style full
bond_style harmonic
angle_style harmonic
pair_style lj/cut/coul/long 6.0
kspace_style pppm 1e-4
read_data water.data
bond_coeff 1 {BOND[0] * energy} {BOND[1]}
angle_coeff 1 {ANGLE[0] * energy} {ANGLE[1]}
pair_coeff * * 0 1
pair_coeff 1 1 {LENNARD_JONES[0] * energy} {LENNARD_JONES[1]}
special_bonds lj/coul 0 0 0
timestep {STEP / time}
fix 1 all nve
thermo {EVERY}
thermo_style custom step temp etotal
thermo_modify format float %.10g
dump 1 all custom {EVERY} water.lammpsdump id type x y z vx vy vz
dump_modify 1 format float %.9g
run {N_STEPS}
""")
    done = subprocess.run(
        ["lmp", "-in", "in.water"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    rows = [line.split() for line in done.stdout.split("Step Temp TotEng")[1].splitlines()[1:]]
    table = np.array([row for row in rows[: N_STEPS // EVERY + 1]], dtype=float)
    return folder, table[:, 1]


@pytest.fixture(scope="module", params=list(STYLES))
def lammps(request, tmp_path_factory):
    return request.param, *run(tmp_path_factory.mktemp(request.param), request.param)


def open_dump(folder):
    return MDAnalysis.Universe(
        str(folder / "water.data"), str(folder / "water.lammpsdump"), format="LAMMPSDUMP"
    )


def test_velocities_times_and_elements(lammps):
    style, folder, expected = lammps
    unit = VELOCITY_UNITS[style]
    universe = open_dump(folder)
    with pytest.raises(TrajectoryError, match=f"does not say in which unit.*likely in '{unit}'"):
        UniverseFrames(universe)
    frames = UniverseFrames(universe, velocity_unit=unit, time_step="2 fs")
    assert frames.frame().symbols == ["O", "H", "H"] * 64
    assert any("from masses" in note for note in frames.notes)
    assert universe.trajectory.n_frames == N_STEPS // EVERY + 1
    assert frames.spacing == pytest.approx(EVERY * STEP)
    assert frames.frame().volume == pytest.approx(LENGTH**3, rel=1e-6)
    found = [kinetic_temperature(frames.velocities(), frames.masses) for _ in universe.trajectory]
    # LAMMPS' constants have eight digits in real units, four to five in metal
    assert_allclose(found, expected, rtol=2e-5)
    assert 150 < np.mean(found) < 500
    assert constrained_bonds(frames.samples(), frames.masses) == 0


def test_both_unit_styles_are_the_same_run(tmp_path):
    flux = {}
    charges = np.array([-0.82, 0.41, 0.41] * 64)
    for style, unit in VELOCITY_UNITS.items():
        (tmp_path / style).mkdir()
        folder, _ = run(tmp_path / style, style)
        universe = open_dump(folder)
        frames = UniverseFrames(universe, velocity_unit=unit, time_step="2 fs")
        flux[style] = np.array([charges @ frames.velocities() for _ in universe.trajectory[:20]])
    # the constants of the two styles differ in the sixth digit, which a liquid amplifies
    assert_allclose(flux["real"], flux["metal"], atol=1e-3 * np.abs(flux["real"]).max())


def test_finite_differences(lammps):
    style, folder, _ = lammps
    universe = open_dump(folder)
    recorded = UniverseFrames(universe, velocity_unit=VELOCITY_UNITS[style])
    differences = UniverseFrames(universe, velocities="finite-difference", time_step="2 fs")
    universe.trajectory[30]
    oxygen = recorded.numbers == 8
    error = (differences.velocities() - recorded.velocities())[oxygen]
    # oxygens are slow: librations at most, for which 1 - sin(x)/x is 0.02 at 2 fs; LAMMPS wraps
    # atoms
    assert np.sqrt((error**2).mean()) < 0.15 * np.sqrt((recorded.velocities()[oxygen] ** 2).mean())


@pytest.mark.parametrize("lammps", ["real"], indirect=True)
def test_command_line(lammps, tmp_path):
    style, folder, expected = lammps
    output = tmp_path / "water.h5"
    command = [sys.executable, "-m", "mda_aptnn.cli", "spectrum", str(folder / "water.data")]
    command += [
        str(folder / "water.lammpsdump"),
        "--format",
        "LAMMPSDUMP",
        "--model",
        "water-rpbe-d3",
    ]
    command += [
        "--temperature",
        "300 K",
        "--group",
        "O=type 1",
        "--resolution",
        "600 cm^-1",
        "--time-step",
        "2 fs",
    ]
    command += ["--output", str(output), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    refused = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    unit = VELOCITY_UNITS[style]
    assert refused.returncode != 0 and not output.exists()
    assert f"likely in '{unit}'" in refused.stderr and "--velocity-unit" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = subprocess.run(
        [*command, "--velocity-unit", unit],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert output.is_file()
    assert report["n_frames"] == N_STEPS // EVERY + 1 and report["spacing_ps"] == pytest.approx(
        0.002
    )
    assert report["temperature"] == pytest.approx(expected.mean(), rel=1e-3)
    # the stretch of SPC/Fw is at 3700 cm^-1; 0.12 ps tell only roughly where
    found = Spectrum.load(output)
    wavenumber = found.wavenumber.magnitude
    beyond_the_bend = wavenumber > 2500
    assert 3000 < wavenumber[beyond_the_bend][found.curve().value[beyond_the_bend].argmax()] < 4300
