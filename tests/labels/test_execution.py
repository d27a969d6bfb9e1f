"""What ends a campaign ends the programs that it started."""

import os
import signal
import subprocess
import sys
import time

import pytest

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
    ("trap", "end"),
    [("", "wait"), ("trap '' TERM", "wait; wait; sleep 100"), ("", "exec sleep 100")],
    ids=["plain", "deaf", "leaves-a-child"],
)
@pytest.mark.parametrize("how", ["command", "script"])
def test_sigterm_ends_the_program_and_what_it_started(tmp_path, how, trap, end):
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
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 128 + signal.SIGTERM
        assert not any(map(alive, numbers))
    finally:
        process.kill()
        for number in filter(alive, numbers):
            os.kill(number, signal.SIGKILL)
    [task] = (campaign / "tasks").iterdir()
    assert not list(task.glob("running-*")) and not (task / "failed.json").exists()
