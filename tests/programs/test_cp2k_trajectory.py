"""Real CP2K runs: one at constant pressure in a cell that points anywhere, and that of the bundled
trajectory.
"""

import itertools
import os
import shutil
import subprocess

import MDAnalysis
import numpy as np
import pytest
from numpy.testing import assert_allclose

import tests
from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.trajectory.cp2k import CP2KReader
from mda_aptnn.trajectory.kinetics import kinetic_temperature
from mda_aptnn.trajectory.universe_frames import UniverseFrames

CP2K = shutil.which("cp2k.psmp") or shutil.which("cp2k")
pytestmark = [
    pytest.mark.cp2k,
    pytest.mark.skipif(CP2K is None, reason="CP2K is not installed"),
]

CELL = np.array([[6.2, 0.3, 0.1], [0.2, 6.2, 0.2], [0.1, 0.4, 6.4]])
#: The committee neural-network potential of bulk water that comes with CP2K: a step in
#: milliseconds.
INPUT = """
&GLOBAL
  PROJECT npt
  RUN_TYPE MD
  PRINT_LEVEL LOW
&END GLOBAL
&MOTION
  &MD
    ENSEMBLE NPT_F
    STEPS 12
    TIMESTEP 0.5
    TEMPERATURE 300
    &BAROSTAT
      TIMECON 100
    &END BAROSTAT
    &THERMOSTAT
      TYPE CSVR
      &CSVR
        TIMECON 20
      &END CSVR
    &END THERMOSTAT
  &END MD
  &PRINT
    &TRAJECTORY
      &EACH
        MD 2
      &END EACH
    &END TRAJECTORY
    &VELOCITIES
      &EACH
        MD 2
      &END EACH
    &END VELOCITIES
    &CELL
      &EACH
        MD 1
      &END EACH
    &END CELL
  &END PRINT
&END MOTION
&FORCE_EVAL
  METHOD NNP
  STRESS_TENSOR ANALYTICAL
  &NNP
    NNP_INPUT_FILE_NAME NNP/bulkH2O-jcp2020-cnnp/nnp-1/input.nn
    SCALE_FILE_NAME NNP/bulkH2O-jcp2020-cnnp/nnp-1/scaling.data
    &MODEL
      WEIGHTS NNP/bulkH2O-jcp2020-cnnp/nnp-1/weights
    &END MODEL
  &END NNP
  &SUBSYS
    &CELL
      A {A}
      B {B}
      C {C}
    &END CELL
    &COORD
{atoms}
    &END COORD
  &END SUBSYS
&END FORCE_EVAL
"""


def run(name, folder):
    done = subprocess.run(
        [CP2K, "-i", f"{name}.inp", "-o", f"{name}.out"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_bundled_trajectory_is_cp2ks(tmp_path):
    """The first 20 fs, from the same positions and velocities: 1e-3 Å and 1e-2 Å/ps are the steps
    of what is stored, so that errors are half of that at most."""
    folder = tests.ROOT / "benchmarks/water64"
    for name in ("nve.inp", "nve.coord", "nve.velocity"):
        shutil.copy(folder / name, tmp_path)
    text = (tmp_path / "nve.inp").read_text()
    (tmp_path / "nve.inp").write_text(text.replace("STEPS 20000", "STEPS 40"))
    run("nve", tmp_path)
    expected = MDAnalysis.Universe(str(tmp_path / "nve-pos-1.xyz"), cell="12.421 12.421 12.421")
    bundled = MDAnalysis.Universe(WATER64_TOPOLOGY, WATER64_TRAJECTORY)
    assert expected.trajectory.n_frames == 11
    assert list(bundled.atoms.elements) == list(expected.atoms.elements)
    for one, other in zip(expected.trajectory, bundled.trajectory[:11], strict=True):
        assert other.time == pytest.approx(one.time, abs=1e-9)
        # molecules are moved by whole cells
        shift = np.round((other.positions - one.positions) / 12.421) * 12.421
        assert_allclose(other.positions - shift, one.positions, atol=5.1e-4)
        assert_allclose(other.velocities, one.velocities, atol=5.1e-3)


def test_cells_velocities_and_times(tmp_path):
    molecule = [
        ("O", (0, 0, 0)),
        ("H", (-0.17946, 0.89915, 0.27487)),
        ("H", (0.22930, 0.07349, -0.92642)),
    ]
    atoms = [
        f"{symbol} {' '.join(f'{x:.6f}' for x in np.array(place) @ CELL / 2 + position)}"
        for place in itertools.product(range(2), repeat=3)
        for symbol, position in molecule
    ]
    vectors = {name: " ".join(map(str, row)) for name, row in zip("ABC", CELL, strict=True)}
    (tmp_path / "npt.inp").write_text(INPUT.format(atoms="\n".join(atoms), **vectors))
    run("npt", tmp_path)
    energies = np.loadtxt(tmp_path / "npt-1.ener")[::2]
    cells = np.loadtxt(tmp_path / "npt-1.cell")[::2]

    universe = MDAnalysis.Universe(str(tmp_path / "npt-pos-1.xyz"))
    assert isinstance(universe.trajectory, CP2KReader) and universe.trajectory.n_frames == 7
    frames = UniverseFrames(universe)
    for ts, energy, cell in zip(universe.trajectory, energies, cells, strict=True):
        frame = frames.frame()
        assert ts.time * 1000 == pytest.approx(energy[1])
        assert_allclose(frame.cell, cell[2:11].reshape(3, 3), atol=1e-9)
        assert frame.volume == pytest.approx(cell[11], rel=1e-9)
        # CP2K's masses are 15.9994 and 1.00794, those of MDAnalysis 15.999 and 1.008
        assert kinetic_temperature(frames.velocities(), frames.masses) == pytest.approx(
            energy[3], rel=1e-4
        )
    assert np.ptp(cells[:, 11]) > 1
    assert_allclose(frames.times(), 0.001 * np.arange(7), atol=1e-12)
