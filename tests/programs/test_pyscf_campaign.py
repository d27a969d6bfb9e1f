"""PySCF from the command line: planned, killed, resumed by the same command, collected, checked."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np

from mda_aptnn.labels.dataset import read_labels
from tests import ROOT

SHAPE = np.array([[0, 0, 0], [0.763, 0.1, 0.59], [-0.77, 0, 0.601]])
RUNS = 3 * 7


def command(*words):
    return [sys.executable, "-m", "mda_aptnn.cli", "label", *map(str, words)]


def call(*words):
    done = subprocess.run(command(*words), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_killed_and_resumed_by_the_same_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    moved = SHAPE + 0.05 * np.random.default_rng(0).normal(size=(3, 3, 3))
    lines = [
        line
        for places in moved
        for line in (
            "3",
            "water",
            *(f"{k} {x} {y} {z}" for k, (x, y, z) in zip("OHH", places, strict=True)),
        )
    ]
    (tmp_path / "water.xyz").write_text("\n".join([*lines, ""]))
    (tmp_path / "pyscf.toml").write_text('xc = "HF"\nbasis = "6-31g"\ndensity_fit = true\n')
    for name in ("killed", "unbroken"):
        words = ["--code", "pyscf", "--template", "pyscf.toml", "--pbc", "none", "--count", 3]
        assert f"{RUNS} runs" in call("plan", "water.xyz", *words, "-o", name)

    def outputs():
        return {path: path.stat().st_mtime_ns for path in tmp_path.glob("killed/tasks/*/*.out")}

    process = subprocess.Popen(command("run", "killed"), stderr=subprocess.PIPE)
    until = time.monotonic() + 300
    while len(outputs()) < 9 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    said = process.communicate()[1]
    before = outputs()
    assert 9 <= len(before) < RUNS, said
    assert "3 complete" in call("run", "killed")
    assert {path: stamp for path, stamp in outputs().items() if path in before} == before
    assert len(outputs()) == RUNS and not list(tmp_path.glob("killed/tasks/*/running-*"))
    # two threads of one process do not disturb each other either
    assert "3 complete" in call("run", "unbroken", "--workers", 2)
    for name in ("killed", "unbroken"):
        assert "3 frames in" in call("collect", name, "-o", f"{name}.h5")
    killed, unbroken = (read_labels(f"{name}.h5") for name in ("killed", "unbroken"))
    for one, other in zip(killed, unbroken, strict=True):
        np.testing.assert_allclose(one.apt, other.apt, rtol=0, atol=1e-9)
    assert "HF/6-31g, density fitting, field 0.001 a.u." in unbroken.level_of_theory
    report = json.loads(call("check", "killed.h5", "--json"))
    assert max(report["sum_rule_per_atom"]) < 1e-6
