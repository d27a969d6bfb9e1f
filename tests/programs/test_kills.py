"""A few kills of every kind by the benchmark that does two hundred (docs/testing.md)."""

import subprocess
import sys

import pytest

import tests

KILL = tests.ROOT / "benchmarks" / "kill.py"


@pytest.mark.slow
def test_runs_that_are_killed_end_as_those_that_are_not(tmp_path):
    words = [
        sys.executable,
        "-W",
        "ignore",
        str(KILL),
        "--scale",
        "0.03",
        "--seed",
        "1",
        "--output",
        str(tmp_path / "t"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    # one trial of each row, and their sum
    rows = (tmp_path / "t").read_text().splitlines()[4:]
    assert len(rows) == 9 and rows[-1].split("|")[-2].strip() == "0"
    assert int(rows[-1].split("|")[3]) >= 4, "most are killed while they run"
