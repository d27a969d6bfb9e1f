"""``mda-aptnn label`` as a user types it, up to what needs CP2K (tests/test_cp2k_labels.py)."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.labels.campaign import Campaign
from mda_aptnn.labels.dataset import read_labels
from tests.labelling_data import DATA, unpack


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    text = (DATA / "water.inp").read_text()
    (tmp_path / "user.inp").write_text(
        text.replace("PERIODIC NONE", "PERIODIC XYZ").replace("WAVELET", "PERIODIC")
    )
    return lambda *words: CliRunner().invoke(app, ["label", *map(str, words)])


def test_plan_takes_frames_cells_and_elements_from_the_trajectory(run):
    words = [
        "plan",
        WATER64_TOPOLOGY,
        WATER64_TRAJECTORY,
        "--template",
        "user.inp",
        "--frames",
        3,
        "-o",
        "c",
    ]
    result = run(*words, "--second-field", "0.1 V/angstrom", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["snapshots"], report["tasks"], report["runs"]) == (3, 3, 39)
    assert report["level_of_theory"] == "GPW PBE DZVP-GTH 220 Ry"
    tasks = list(Campaign("c").tasks())
    assert [task.info["index"] for task in tasks] == report["frames"]
    for task in tasks:
        assert len(task.frame) == 192
        np.testing.assert_allclose(task.frame.cell, 12.421 * np.eye(3), atol=1e-4)
    # 1 a.u. of field is 51.422 V/Å
    assert np.linalg.norm(tasks[0].runs[7].field) == pytest.approx(0.1 / 51.4220675, rel=1e-6)
    again = run(*words, "--field", "2e-3")
    assert again.exit_code == 1
    assert "another parameters" in again.stderr
    script = run("script", "c", "--slurm", "--command", "srun cp2k.psmp", "-o", "job.sh")
    assert script.exit_code == 0
    with open("job.sh") as file:
        assert "--array=0-2" in file.read()


def test_plan_of_polarizability_gradients(run):
    words = [
        "plan",
        WATER64_TOPOLOGY,
        WATER64_TRAJECTORY,
        "--template",
        "user.inp",
        "--frames",
        2,
        "--json",
    ]
    result = run(*words, "--route", "field-raman", "-o", "c")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["runs"] == 26
    task = next(Campaign("c").tasks())
    text = (task.directory / "mxz.inp").read_text()
    assert "INTENSITY 0.005" in text and "POLARISATION -0.7071067812 -0 -0.7071067812" in text
    refused = run(*words, "--route", "displacement-raman", "-o", "d")
    assert refused.exit_code == 1 and "isolated molecules" in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", 3, "--template", "missing.inp"], "there is no CP2K input missing.inp"),
        (["--template", "user.inp"], "say how many frames"),
        (["--frames", 3, "--template", "user.inp", "--route", "guess"], "no route 'guess'"),
        (
            ["--frames", 3, "--template", "user.inp", "--atoms", "name O"],
            "--atoms goes with --route displacement",
        ),
        (
            ["--frames", 3, "--template", "user.inp", "--pbc", "none"],
            "is periodic but the frame is not",
        ),
        (["--frames", 3, "--template", "user.inp", "--field", "1 V"], "field: cannot convert"),
        (["--frames", 3, "--template", "user.inp", "--route", "analytic"], "isolated molecules"),
    ],
)
def test_plans_that_cannot_be_are_one_line(run, options, message):
    result = run("plan", WATER64_TOPOLOGY, WATER64_TRAJECTORY, "-o", "c", *options)
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]


def test_collect_and_check(run, tmp_path):
    unpack("water-field", tmp_path)
    result = run("collect", "water-field", "-o", "labels.h5")
    assert result.exit_code == 0
    assert "1 frames in labels.h5, 0 left out" in result.stdout
    assert len(read_labels("labels.h5")) == 1
    checked = run("check", "labels.h5", "--plot", "labels.png", "--json")
    assert checked.exit_code == 0
    report = json.loads(checked.stdout)
    assert report["sum_rule_per_atom"] == [pytest.approx(3.1e-4, abs=1e-5)]
    assert report["species"]["O"]["trace_mean"] == pytest.approx(-0.506, abs=1e-3)
    assert (tmp_path / "labels.png").is_file()
    assert "sum rule: largest component per atom 3.1e-04 e" in run("check", "labels.h5").stdout


def test_nothing_is_written_where_nothing_can_be_trusted(run, tmp_path):
    unpack("water-field", tmp_path)
    result = run("collect", "water-field", "-o", "labels.h5", "--max-residual", "1e-6")
    assert result.exit_code == 1
    assert "left out: frame 0 of water.xyz, 0 ps: the sum rule" in result.stderr
    assert not (tmp_path / "labels.h5").exists()
    assert run("collect", "water-field", "-o", "nowhere/labels.h5").exit_code == 1
    failed = run("run", "water-field", "--command", "no-such-cp2k")
    assert failed.exit_code == 1 and "there is no command 'no-such-cp2k'" in failed.stderr


def test_check_of_polarizability_gradients(run, tmp_path):
    unpack("water-field-raman", tmp_path)
    assert run("collect", "water-field-raman", "-o", "labels.h5").exit_code == 0
    text = run("check", "labels.h5").stdout
    assert "sum rule: largest component per atom 9.7e-04 Å²" in text
    report = json.loads(run("check", "labels.h5", "--json").stdout)["polarizability_gradients"]
    assert report["species"]["O"]["atoms"] == 1 and report["species"]["O"]["isotropic_rms"] > 0.5
