"""Training as a process of its own, killed without warning."""

import signal
import subprocess
import sys
import time

import pytest

from mda_aptnn.model.file import ModelFile
from mda_aptnn.training.loop import checkpoint_path
from tests.tiny import clusters

#: The command line, with a checkpoint at every validation instead of every 20 s.
COMMAND = (
    "import mda_aptnn.training.loop as loop; loop.CHECKPOINT_EVERY = 0.0; "
    "from mda_aptnn.cli import main; main()"
)

PLAN = """
[training]
steps = 60
validate_every = 3
[[network.layers]]
features = "2x0e+2x1o+2x1e+2x2e"
cutoff = 3.0
n_radial = 2
"""


@pytest.mark.slow
def test_training_killed_twice_ends_with_the_weights_of_one_that_was_not(tmp_path):
    clusters(4).save(tmp_path / "labels.h5")
    (tmp_path / "plan.toml").write_text(PLAN)

    def start(output):
        arguments = ["train", "labels.h5", "-o", output, "--config", "plan.toml"]
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )

    whole = start("whole.h5")
    assert whole.wait(300) == 0, whole.stderr.read()
    state = checkpoint_path(tmp_path / "killed.h5")
    for _ in range(2):
        before = state.stat().st_mtime_ns if state.exists() else 0
        killed = start("killed.h5")
        while not (state.exists() and state.stat().st_mtime_ns > before):
            assert killed.poll() is None, killed.stderr.read()
            time.sleep(0.005)
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
        assert not (tmp_path / "killed.h5").exists()
    resumed = start("killed.h5")
    assert resumed.wait(300) == 0, resumed.stderr.read()

    one, other = (ModelFile.load(tmp_path / name).members[0] for name in ("whole.h5", "killed.h5"))
    assert len(one.learning["step"]) == 20
    for part in ("weights", "last", "learning"):
        for name in getattr(one, part).keys() - {"seconds"}:
            assert getattr(one, part)[name].tobytes() == getattr(other, part)[name].tobytes(), name
