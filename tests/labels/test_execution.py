"""What ends a campaign ends the programs that it started."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mda_aptnn.labels.campaign import Campaign
from mda_aptnn.labels.collect import collect
from mda_aptnn.labels.execution import run_campaign
from tests.labelling_data import unpack

SCRIPT = """
import sys
from mda_aptnn.labels.campaign import Campaign
from mda_aptnn.labels.execution import run_campaign
run_campaign(Campaign(sys.argv[1]), sys.argv[2])
"""
#: Starts a program of its own, as mpirun does; the second ones do not listen when asked to end.
PROGRAM = """#!/bin/sh
{trap}
sleep 100 &
echo $$ $! > {pids}.new
mv {pids}.new {pids}
{end}
"""


def unfinished(tmp_path):
    campaign = unpack("water-field", tmp_path)
    [task] = (campaign / "tasks").iterdir()
    for path in (task / "complete.json", *task.glob("*.out")):
        path.unlink()
    return campaign


def alive(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("how", "number", "trap", "end"),
    [
        pytest.param("command", signal.SIGTERM, "trap '' TERM", "wait; wait; sleep 100", id="deaf"),
        pytest.param("script", signal.SIGTERM, "", "exec sleep 100", id="leaves-a-child"),
        pytest.param("script", signal.SIGHUP, "", "wait", id="hang-up"),
    ],
)
def test_what_ends_a_campaign_ends_its_programs(tmp_path, how, number, trap, end):
    campaign, pids = unfinished(tmp_path), tmp_path / "pids"
    program = tmp_path / "program.sh"
    program.write_text(PROGRAM.format(trap=trap, pids=pids, end=end))
    program.chmod(0o755)
    words = {
        "command": ["-m", "mda_aptnn.cli", "label", "run", campaign, "--command", program],
        "script": ["-c", SCRIPT, campaign, program],
    }[how]
    process = subprocess.Popen([sys.executable, *map(str, words)], stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not pids.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    numbers = [int(word) for word in pids.read_text().split()]
    try:
        assert all(map(alive, numbers))
        process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode == 128 + number
        assert not any(map(alive, numbers))
    finally:
        process.kill()
        for left in filter(alive, numbers):
            os.kill(left, signal.SIGKILL)
    [task] = (campaign / "tasks").iterdir()
    assert not list(task.glob("running-*")) and not (task / "failed.json").exists()


def test_a_half_run_campaign_of_an_older_version_goes_on(tmp_path):
    """Stored by 0.1.0: what is there is not run again, the rest is, and all is collected."""
    campaign, stored = unfinished(tmp_path), tmp_path / "stored"
    whole = unpack("water-field", stored)
    [task] = (campaign / "tasks").iterdir()
    assert '"code"' not in (task / "task.json").read_text()
    wavefunction = f"zero-{task.name}-RESTART.wfn"
    for name in ("zero.out", "px.out"):
        shutil.copy(whole / "tasks" / task.name / name, task)
    (task / wavefunction).write_text("wavefunction")
    (task / "running-ab12cd34").mkdir()
    (task / "running-ab12cd34" / "mx.out").write_text("half")
    program = tmp_path / "program.sh"
    program.write_text(
        f"#!/bin/sh\ntest -f {wavefunction} || exit 1\n"
        f"echo $2 >> {tmp_path}/ran\ncat {whole}/tasks/{task.name}/${{2%.inp}}.out\n"
    )
    program.chmod(0o755)
    [outcome] = run_campaign(Campaign(campaign), str(program))
    assert outcome.state == "complete", outcome
    ran = (tmp_path / "ran").read_text().split()
    assert ran == ["mx.inp", "py.inp", "my.inp", "pz.inp", "mz.inp"]
    assert not list(task.glob("running-*")) and not (task / wavefunction).exists()
    (found, left_out), (expected, _) = (collect(Campaign(path)) for path in (campaign, whole))
    assert not left_out
    np.testing.assert_array_equal(found[0].apt, expected[0].apt)


def test_a_first_run_that_leaves_nothing_to_start_from_failed(tmp_path):
    campaign = unfinished(tmp_path)
    [task] = (campaign / "tasks").iterdir()
    whole = unpack("water-field", tmp_path / "stored")
    [outcome] = run_campaign(Campaign(campaign), f"cat {whole}/tasks/{task.name}/zero.out")
    assert outcome.state == "failed"
    # cat says of "-i" that it knows no such option
    assert "exit code 1" in outcome.message and "invalid option" in outcome.last_lines
    program = tmp_path / "program.sh"
    program.write_text(f"#!/bin/sh\ncat {whole}/tasks/{task.name}/zero.out\n")
    program.chmod(0o755)
    [outcome] = run_campaign(Campaign(campaign), str(program), retry=True)
    assert f"there is no zero-{task.name}-RESTART.wfn" in outcome.message
    assert (task / "failed.out").is_file() and not (task / "zero.out").exists()
