"""The loop of labelling, training and spectrum, with the real CP2K: killed, continued, and ended by
its rule.
"""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from mda_aptnn.spectra.infrared import Spectrum

import tests
from mda_aptnn import load_model
from mda_aptnn.labels.dataset import read_labels
from tests.cp2k_water import DYNAMICS, FORCES
from tests.installed import CP2K

TUTORIAL = tests.ROOT / "tutorials" / "two-waters"
pytestmark = [
    pytest.mark.cp2k,
    pytest.mark.slow,
    pytest.mark.skipif(CP2K is None, reason="no cp2k"),
]

#: The tutorial's input for labels (GFN1-xTB), for one molecule in a smaller box.
SMALLER = {"ABC 12 12 12": "ABC 8 8 8"}

PLAN = """
[training]
steps = 60
validate_every = 20
validation = 1
[[network.layers]]
features = "4x0e+4x1o+4x1e+4x2e"
cutoff = 4.0
n_radial = 4
"""

LEARN = [
    *[
        "learn",
        "loop",
        "md-pos-1.xyz",
        "--format",
        "CP2K",
        "--topology-format",
        "CP2K",
        "--pbc",
        "none",
    ],
    *[
        "--template",
        "label.inp",
        "--route",
        "displacement",
        "--command",
        str(CP2K),
        "--config",
        "plan.toml",
    ],
    *["--initial", "2", "--test", "1", "--count", "1", "--members", "2", "--candidates", "40"],
    *["--resolution", "600 cm^-1", "-T", "300 K", "--tolerance", "1000"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trajectory of one molecule in vacuum, and inputs."""
    path = tmp_path_factory.mktemp("learn")
    (path / "md.inp").write_text(DYNAMICS.format(steps=1200, temperature=300) + FORCES)
    text = (TUTORIAL / "label.inp").read_text()
    for old, new in SMALLER.items():
        assert old in text
        text = text.replace(old, new)
    (path / "label.inp").write_text(text)
    (path / "plan.toml").write_text(PLAN)
    with open(path / "md.out", "w") as out:
        subprocess.run(
            [CP2K, "-i", "md.inp"], cwd=path, stdout=out, stderr=out, check=True, env=environment()
        )
    return path


def environment():
    # compiling kernels takes longer than these three atoms take without
    return {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_DISABLE_JIT": "1"}


def learn(folder, *options):
    words = [sys.executable, "-m", "mda_aptnn.cli", *LEARN, *options]
    return subprocess.Popen(
        words,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outputs(folder):
    """Time of writing of every output of CP2K that is in its place."""
    return {
        path: path.stat().st_mtime_ns for path in (folder / "loop").glob("campaign/tasks/*/*.out")
    }


def wait_for(condition, process):
    while not condition():
        if process.poll() is not None:
            raise AssertionError(process.stderr.read())
        time.sleep(0.05)


def test_learning_killed_and_continued(folder):
    loop = folder / "loop"
    # killed while CP2K labels, and while the first committee trains
    first = learn(folder)
    wait_for(lambda: len(outputs(folder)) >= 5, first)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    done = outputs(folder)
    second = learn(folder)
    wait_for(lambda: (loop / "round-0" / "committee.members").is_dir(), second)
    second.kill()
    second.wait()
    assert all(outputs(folder)[path] == stamp for path, stamp in done.items())
    labels = (loop / "round-0" / "labels.h5").stat().st_mtime_ns
    selected = json.loads((loop / "round-0" / "selected.json").read_text())

    one = learn(folder, "--one", "--json")
    report = json.loads(one.communicate()[0])
    assert [row["round"] for row in report["rounds"]] == [0] and report["rounds"][0][
        "change"
    ] is None
    assert (loop / "round-0" / "labels.h5").stat().st_mtime_ns == labels
    assert len(outputs(folder)) == 3 * 19  # the runs of 3 atoms, and one without displacement
    stamps = {path: path.stat().st_mtime_ns for path in loop.rglob("round-0/*.h5")} | outputs(
        folder
    )

    rest = learn(folder, "--json")
    report = json.loads(rest.communicate()[0])
    assert rest.returncode == 0
    # any change is below so wide a tolerance: the rule ends the loop as soon as there is one
    assert [row["round"] for row in report["rounds"]] == [0, 1]
    assert [row["training_frames"] for row in report["rounds"]] == [2, 3]
    assert [row["stop"] for row in report["rounds"]] == [False, True]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())

    chosen = json.loads((loop / "round-1" / "selected.json").read_text())["frames"]
    assert len(chosen) == 1 and not set(chosen) & {*selected["frames"], *selected["test"]}
    dataset = read_labels([loop / "round-1" / "labels.h5"])
    test = [item.frame.fingerprint() for item in dataset if item.info["number"] in selected["test"]]
    for number in (0, 1):
        data = load_model(loop / f"round-{number}" / "committee.h5").info["data"]
        assert data["fingerprints"]["held_out"] == test
    residuals = [np.abs(item.apt.sum(axis=0)).max() for item in dataset]
    assert len(residuals) == 4 and max(residuals) < 1e-3

    before, after = (Spectrum.load(loop / f"round-{number}" / "spectrum.h5") for number in (0, 1))
    difference = (after.cross_section - before.cross_section).magnitude
    expected = np.sqrt((difference**2).sum() / ((after.curve().error / after.scale) ** 2).sum())
    assert report["rounds"][1]["change"] == pytest.approx(expected, rel=1e-9)
    again = learn(folder)
    assert (
        "done: the spectrum has changed by less than 1000 of its error bar"
        in again.communicate()[0]
    )

    other = learn(folder, "--count", "2")
    assert "belongs to a loop with other count" in other.communicate()[1] and other.returncode == 1


def test_a_trajectory_too_short_for_error_bars_is_refused_before_labelling(folder):
    process = learn(folder, "--resolution", "100 cm^-1")
    _, text = process.communicate()
    assert process.returncode == 1 and "too short for error bars at a resolution of 100" in text
