"""The real CP2K: three routes that agree, a campaign that survives being killed, cells that arrive
as they are.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mda_aptnn.frame import Frame
from mda_aptnn.labels.campaign import Campaign, plan
from mda_aptnn.labels.collect import collect
from mda_aptnn.labels.cp2k.template import Template
from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.labels.execution import run_campaign
from mda_aptnn.labels.routes import (
    AnalyticRoute,
    DisplacementRamanRoute,
    DisplacementRoute,
    FieldRamanRoute,
    FieldRoute,
)
from mda_aptnn.labels.snapshots import Snapshot
from tests.installed import CP2K

pytestmark = [pytest.mark.cp2k, pytest.mark.skipif(CP2K is None, reason="no cp2k")]

WATER = np.array([[0, 0, 0], [0.763, 0.1, 0.59], [-0.77, 0, 0.601]])
#: A hydrogen bond along z, and then along the diagonal of its box; no symmetry.
DIMER = Rotation.align_vectors([[1, 1, 1]], [[0, 0, 1]])[0].apply(
    [
        *([0, 0, 0], [0.1, 0.05, 0.97], [0.92, -0.05, -0.27]),
        *([0.15, -0.1, 2.8], [-0.35, 0.72, 3.2], [0.9, -0.5, 3.3]),
    ]
)
PBE = """\
&GLOBAL
  PRINT_LEVEL LOW
&END GLOBAL
&FORCE_EVAL
  METHOD QUICKSTEP
  &DFT
    BASIS_SET_FILE_NAME GTH_BASIS_SETS
    POTENTIAL_FILE_NAME GTH_POTENTIALS
    &QS
      EPS_DEFAULT 1.0E-12
    &END QS
    &MGRID
      CUTOFF 220
      REL_CUTOFF 40
    &END MGRID
    &POISSON
      PERIODIC {periodic}
      PSOLVER {solver}
    &END POISSON
    &SCF
      EPS_SCF 1E-7
      MAX_SCF 100
      &OT
        MINIMIZER DIIS
        PRECONDITIONER FULL_ALL
        ENERGY_GAP 0.08
      &END OT
    &END SCF
    &XC
      &XC_FUNCTIONAL PBE
      &END XC_FUNCTIONAL
      &XC_GRID
        XC_SMOOTH_RHO NN10
        XC_DERIV SPLINE2_SMOOTH
      &END XC_GRID
    &END XC
  &END DFT
  &SUBSYS
    &CELL
      ABC {box} {box} {box}
      PERIODIC {periodic}
    &END CELL
    &KIND O
      BASIS_SET DZVP-GTH
      POTENTIAL GTH-PBE-q6
    &END KIND
    &KIND H
      BASIS_SET DZVP-GTH
      POTENTIAL GTH-PBE-q1
    &END KIND
    &KIND Li
      BASIS_SET DZVP-GTH
      POTENTIAL GTH-PBE-q3
    &END KIND
    &KIND F
      BASIS_SET DZVP-GTH
      POTENTIAL GTH-PBE-q7
    &END KIND
  &END SUBSYS
&END FORCE_EVAL
"""
XTB = """\
&GLOBAL
  PRINT_LEVEL LOW
&END GLOBAL
&FORCE_EVAL
  METHOD QUICKSTEP
  &DFT
    &QS
      METHOD XTB
      &XTB
        DO_EWALD T
        CHECK_ATOMIC_CHARGES F
      &END XTB
    &END QS
    &SCF
      SCF_GUESS MOPAC
      EPS_SCF 1.E-9
      MAX_SCF 200
      &MIXING
        METHOD BROYDEN_MIXING
        ALPHA 0.3
      &END MIXING
    &END SCF
  &END DFT
  &SUBSYS
    &CELL
      ABC 10 10 10
    &END CELL
  &END SUBSYS
&END FORCE_EVAL
"""


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def labelled(folder, frame, text, route, atoms=(), max_residual=2e-3):
    """Plan, run and collect one frame."""
    folder.mkdir(exist_ok=True)
    (folder / "user.inp").write_text(text)
    snapshot = Snapshot(frame, {"source": "test", "index": 0, "time": 0.0}, tuple(atoms))
    campaign = plan(folder / route.name, [snapshot], Template.read(folder / "user.inp"), route)
    [outcome] = run_campaign(campaign, CP2K)
    assert outcome.state == "complete", outcome
    dataset, left_out = collect(campaign, max_residual)
    assert left_out == []
    return dataset[0]


def label(*arguments, **options):
    """The polar tensors of one frame."""
    return labelled(*arguments, **options).apt


def asymmetry(apt):
    return np.abs(apt - apt.transpose(0, 2, 1)).max()


@pytest.mark.parametrize(
    ("numbers", "positions", "box", "atoms"),
    [([8, 1, 1], WATER, 6.4, [0, 1]), ([8, 1, 1] * 2, DIMER, 7.4, [1])],
)
def test_three_routes_agree_for_isolated_molecules(tmp_path, numbers, positions, box, atoms):
    text = PBE.format(periodic="NONE", solver="WAVELET", box=box)
    frame = Frame(numbers, positions)
    field = label(tmp_path, frame, text, FieldRoute(3e-3))
    analytic = label(tmp_path, frame, text, AnalyticRoute())
    displaced = label(tmp_path, frame, text, DisplacementRoute(), atoms)
    np.testing.assert_allclose(analytic, field, rtol=0, atol=3e-3)
    np.testing.assert_allclose(displaced[atoms], field[atoms], rtol=0, atol=3e-3)
    assert np.isnan(np.delete(displaced, atoms, axis=0)).all()
    # the tolerance tells a tensor from its transpose
    assert asymmetry(field) > 3 * 3e-3
    assert asymmetry(field[atoms]) > 3 * 3e-3


@pytest.mark.slow
def test_second_field_derivatives_are_gradients_of_the_polarizability(tmp_path):
    """13 runs in fields against finite differences of the polarizability of the response, 1 % of
    the largest.
    """
    text = PBE.format(periodic="NONE", solver="WAVELET", box=6.4)
    frame = Frame([8, 1, 1], WATER)
    by_field = labelled(tmp_path, frame, text, FieldRamanRoute())
    displaced = labelled(tmp_path, frame, text, DisplacementRamanRoute(), [0, 1])
    gradients, expected = by_field.tensors["pgt"], displaced.tensors["pgt"]
    largest = np.abs(gradients).max()
    np.testing.assert_allclose(gradients[:2], expected[:2], rtol=0, atol=0.01 * largest)
    np.testing.assert_allclose(by_field.apt[:2], displaced.apt[:2], rtol=0, atol=3e-3)
    # the tolerance tells the order of indices
    assert (
        np.abs(gradients - gradients.transpose(0, 3, 2, 1))[:2].max(axis=(1, 2, 3)).min()
        > 0.1 * largest
    )
    assert by_field.info["pgt_sum_rule_residual"] < 0.01 * largest


def test_field_and_berry_phase_agree_in_a_periodic_cell(tmp_path):
    text = PBE.format(periodic="XYZ", solver="PERIODIC", box=9)
    frame = Frame(
        [8, 1, 1], WATER, np.array([[5.2, 0, 0], [0.6, 5.0, 0], [-0.4, 0.7, 5.4]]), [True] * 3
    )
    field = label(tmp_path, frame, text, FieldRoute(3e-3))
    displaced = label(tmp_path, frame, text, DisplacementRoute(), [0, 1])
    np.testing.assert_allclose(displaced[0], field[0], rtol=0, atol=5e-3)
    np.testing.assert_allclose(displaced[1], field[1], rtol=0, atol=1e-3)
    assert asymmetry(field[1:]) > 0.03


def test_a_berry_phase_that_wraps_between_plus_and_minus(tmp_path):
    """Li and F at half the cell: by symmetry the dipole of the undisplaced chain is at the edge of
    its branch.
    """
    text = PBE.format(periodic="XYZ", solver="PERIODIC", box=9).replace(
        "MINIMIZER DIIS", "MINIMIZER CG"
    )
    frame = Frame([3, 9], [[0.1, 0.2, 0.0], [0.1, 0.2, 2.0]], np.diag([4.5, 4.5, 4.0]), [True] * 3)
    displaced = label(tmp_path, frame, text, DisplacementRoute(), [0])
    [task] = Campaign(tmp_path / "displacement").tasks()
    printed = [
        float(
            (task.directory / f"{sign}z_0.out")
            .read_text()
            .split("Dipole moment [Debye]")[1]
            .split("Z=")[1]
            .split()[0]
        )
        for sign in "pm"
    ]
    assert printed[0] * printed[1] < 0
    assert min(map(abs, printed)) > 9.0  # half of e times 4 Å is 9.606 D
    field = label(tmp_path, frame, text, FieldRoute(2e-3), max_residual=0.02)
    # finite fields are off by 0.02 e where basis functions meet their own images (before CP2K
    # 2026.2)
    np.testing.assert_allclose(displaced[0], field[0], rtol=0, atol=0.03)


def water_box(n_molecules, seed):
    """Molecules on a jittered lattice in random orientations, [3 * n_molecules, 3], and a triclinic
    cell.
    """
    rng = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[[0.0, 0.5]] * 3), axis=-1).reshape(-1, 3)[:n_molecules]
    cell = np.array([[6.3, 0, 0], [0.4, 6.2, 0], [-0.3, 0.5, 6.4]]) * (1 + 0.02 * seed)
    centres = sites @ cell + rng.normal(scale=0.1, size=sites.shape)
    turned = [rotation.apply(WATER) for rotation in Rotation.random(n_molecules, random_state=seed)]
    return (centres[:, None] + turned).reshape(-1, 3), cell


def write_trajectory(folder, n_molecules):
    """Three snapshots, each with its own triclinic cell, as a topology and a trajectory; and a
    template.
    """
    n = n_molecules
    universe = MDAnalysis.Universe.empty(
        3 * n, n_residues=n, atom_resindex=np.repeat(range(n), 3), trajectory=True
    )
    universe.add_TopologyAttr("names", ["O", "H", "H"] * n)
    universe.add_TopologyAttr("elements", ["O", "H", "H"] * n)
    with MDAnalysis.Writer(str(folder / "md.xtc"), 3 * n) as writer:
        for number, (positions, cell) in enumerate(water_box(n, seed) for seed in range(3)):
            universe.atoms.positions = positions
            universe.dimensions = MDAnalysis.lib.mdamath.triclinic_box(*cell)
            universe.trajectory.ts.time = float(number)
            writer.write(universe.atoms)
    universe.atoms.write(str(folder / "md.pdb"))
    (folder / "user.inp").write_text(XTB)
    return folder


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory):
    return write_trajectory(tmp_path_factory.mktemp("waters"), 8)


@pytest.fixture(scope="module")
def molecule(tmp_path_factory):
    return write_trajectory(tmp_path_factory.mktemp("molecule"), 1)


def command(*words):
    return [sys.executable, "-m", "mda_aptnn.cli", "label", *map(str, words)]


def run(*words, check=True):
    done = subprocess.run(command(*words), capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def plan_waters(trajectory, folder):
    run(
        "plan",
        trajectory / "md.pdb",
        trajectory / "md.xtc",
        "--template",
        trajectory / "user.inp",
        "--route",
        "displacement",
        "--atoms",
        "index 1",
        "--frames",
        3,
        "--select",
        "uniform",
        "-o",
        folder,
    )


@pytest.fixture(scope="module")
def undisturbed(trajectory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "campaign"
    plan_waters(trajectory, folder)
    run("run", folder, "--command", CP2K)
    return folder


def wait_for(condition, process, seconds=1200):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_campaign_killed_twice_gives_the_labels_of_an_undisturbed_one(
    trajectory, undisturbed, tmp_path
):
    folder = tmp_path / "campaign"
    plan_waters(trajectory, folder)
    finished = {}

    def outputs():
        return sorted(folder.glob("tasks/*/*.out"))

    for count in (3, 10):
        process = subprocess.Popen(
            command("run", folder, "--command", CP2K),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            wait_for(
                lambda n=count: len(outputs()) >= n and any(folder.glob("tasks/*/running-*/group")),
                process,
            )
        finally:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        for path, stamp in finished.items():
            assert path.stat().st_mtime_ns == stamp
        finished = {path: path.stat().st_mtime_ns for path in outputs()}
        assert len(finished) < 21
    [orphan] = [
        Path(f"/proc/{path.read_text()}") for path in folder.glob("tasks/*/running-*/group")
    ]
    done = run("run", folder, "--command", CP2K)
    assert "3 complete" in done.stdout
    assert not orphan.exists()
    assert not list(folder.glob("tasks/*/running-*"))
    for path, stamp in finished.items():
        assert path.stat().st_mtime_ns == stamp
    for where in (folder, undisturbed):
        run("collect", where, "-o", where.parent / "labels.h5")
    first, second = (read_labels(where.parent / "labels.h5") for where in (folder, undisturbed))
    assert len(first) == 3
    for a, b in zip(first, second, strict=True):
        assert (~np.isnan(a.apt).any(axis=(1, 2))).nonzero()[0].tolist() == [1]
        np.testing.assert_allclose(a.apt, b.apt, rtol=0, atol=1e-6)


def test_triclinic_cells_reach_cp2k_each_with_its_own_frame(trajectory, undisturbed):
    """CP2K prints the cell and coordinates that it used; collecting compares them, here they are
    compared again.
    """
    universe = MDAnalysis.Universe(str(trajectory / "md.pdb"), str(trajectory / "md.xtc"))
    tasks = list(Campaign(undisturbed).tasks())
    assert len(tasks) == 3
    for ts, task in zip(universe.trajectory, tasks, strict=True):
        text = (task.directory / "zero.out").read_text()
        rows = [line.split() for line in text.splitlines() if line.startswith(" CELL| Vector")]
        cell = np.array([row[4:7] for row in rows], dtype=float)
        np.testing.assert_allclose(cell, ts.triclinic_dimensions, atol=6e-4)
        assert abs(np.linalg.det(cell) / ts.volume - 1) < 1e-3
        assert abs(cell[2, 1]) > 0.4
    volumes = [np.linalg.det(task.frame.cell) for task in tasks]
    assert volumes[2] / volumes[0] == pytest.approx(1.04**3, rel=1e-3)


def test_tight_binding_in_a_field_is_refused_for_its_sign(tmp_path):
    """GFN1-xTB of CP2K 2023.1 returns −P with a perfect sum rule; displacements are right."""
    (tmp_path / "user.inp").write_text(XTB)
    frame = Frame([8, 1, 1], WATER, 8 * np.eye(3), [True] * 3)
    snapshot = Snapshot(frame, {"source": "test", "index": 0, "time": 0.0}, (0, 1, 2))
    results = {}
    for route in (FieldRoute(), DisplacementRoute()):
        campaign = plan(
            tmp_path / route.name, [snapshot], Template.read(tmp_path / "user.inp"), route
        )
        run_campaign(campaign, CP2K)
        results[route.name] = collect(campaign)
    dataset, [item] = results["field"]
    assert len(dataset) == 0
    assert "does not follow the field" in item.reason and "--route displacement" in item.reason
    dataset, left_out = results["displacement"]
    assert not left_out
    assert np.trace(dataset[0].apt[0]) < -1
    assert dataset[0].info["sum_rule_residual"] < 1e-3


def test_failing_tasks_are_reported_and_do_not_stop_the_others(molecule, tmp_path):
    folder = tmp_path / "campaign"
    plan_waters(molecule, folder)
    tasks = list(Campaign(folder).tasks())
    # one that CP2K aborts with its own words, one whose output finds no room on the disk
    script = tmp_path / "cp2k.sh"
    script.write_text(
        "#!/bin/sh\n"
        f"case $PWD in *{tasks[0].name}*) sed 's/METHOD XTB/METHOD NONSENSE/' $2 > bad.inp; "
        f"exec {CP2K} -i bad.inp;; "
        f'*{tasks[1].name}*) ulimit -f 4; exec {CP2K} "$@";; *) exec {CP2K} "$@";; esac\n'
    )
    script.chmod(0o755)
    done = run("run", folder, "--command", script, "--workers", 2, check=False)
    assert done.returncode == 1
    assert "1 complete, 2 failed" in done.stdout
    assert f"task {tasks[0].name} failed: zero: the run did not end" in done.stderr
    assert "NONSENSE" in done.stderr
    assert f"task {tasks[1].name} failed: zero: the run did not end" in done.stderr
    collected = run("collect", folder, "-o", tmp_path / "labels.h5")
    assert "1 frames in" in collected.stdout and "2 left out" in collected.stdout
    assert f"task {tasks[0].name} failed" in collected.stderr
    # a plain call leaves them alone, --retry runs them
    assert run("run", folder, "--command", CP2K, check=False).returncode == 1
    assert "3 complete" in run("run", folder, "--command", CP2K, "--retry").stdout


def test_the_same_tasks_on_a_dask_cluster(molecule, tmp_path):
    distributed = pytest.importorskip("distributed")
    plan_waters(molecule, tmp_path / "cluster")
    plan_waters(molecule, tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        done = run(
            "run", tmp_path / "cluster", "--command", CP2K, "--dask", cluster.scheduler_address
        )
    assert "3 complete" in done.stdout
    for task in range(3):  # as the elements of a job array do
        assert (
            "1 complete" in run("run", tmp_path / "here", "--command", CP2K, "--task", task).stdout
        )
    (a, _), (b, _) = (collect(Campaign(tmp_path / name)) for name in ("cluster", "here"))
    assert len(a) == 3
    for first, second in zip(a, b, strict=True):
        np.testing.assert_allclose(first.apt, second.apt, rtol=0, atol=1e-6)


def slurm_is_here():
    """Whether there is a SLURM that answers; one node is enough."""
    return (
        shutil.which("sbatch") is not None
        and subprocess.run(["sinfo"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not slurm_is_here(), reason="no SLURM here")
def test_a_job_array_does_what_run_does(molecule, tmp_path, monkeypatch):
    # what is submitted finds this environment's mda-aptnn
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    # Debian's Open MPI is not built with SLURM's PMI, which srun would need; a test may run as root
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    for name in ("here", "array"):
        plan_waters(molecule, tmp_path / name)
    run("run", tmp_path / "here", "--command", CP2K)
    run(
        "script",
        tmp_path / "array",
        "--slurm",
        "--command",
        f"mpirun -np 1 {CP2K}",
        "-o",
        tmp_path / "job.sh",
    )
    subprocess.run(["sbatch", "--wait", "job.sh"], cwd=tmp_path, check=True, capture_output=True)
    assert len(list(tmp_path.glob("labels-*.log"))) == 3
    sets = [collect(Campaign(tmp_path / name), 2e-3)[0] for name in ("here", "array")]
    for expected, found in zip(*sets, strict=True):
        np.testing.assert_allclose(found.apt[1], expected.apt[1], rtol=0, atol=1e-6)
