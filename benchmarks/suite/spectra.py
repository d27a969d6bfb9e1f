"""Time of a spectrum: from a trajectory on disk by the command line, and of correlation alone."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from suite.boxes import TOPOLOGY, in_a_process, write_trajectory

_CORRELATION = """
import json, sys, time
import numpy as np
from mda_aptnn.spectra.estimator import cross_correlation
from suite.boxes import peak_megabytes
n_frames, n_groups = int(sys.argv[1]), int(sys.argv[2])
flux = np.random.default_rng(1).normal(size=(n_frames, n_groups, 3))
before, start = peak_megabytes(), time.perf_counter()
cross_correlation([flux], 5000)
seconds = time.perf_counter() - start
peak = peak_megabytes()
print(json.dumps({"wall_s": round(seconds, 2), "peak_memory_MB": peak, "memory_before_MB": before}))
"""


def measure(model: str, n_frames: int) -> dict[str, Any]:
    """Return figures of a spectrum of `n_frames` frames of 192 atoms, and of 320,000 frames of 10
    groups.
    """
    return {
        "command": _command(model, n_frames),
        "correlation": in_a_process(_CORRELATION, 320_000, 10),
    }


def _command(model: str, n_frames: int) -> dict[str, Any]:
    """Wall and CPU time of `mda-aptnn spectrum`, and the share of its parts as it says itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "water.trr"
        write_trajectory(path, n_frames)
        arguments = [
            str(TOPOLOGY),
            str(path),
            "--model",
            model,
            "--output",
            f"{folder}/spectrum.h5",
            "--json",
        ]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        result = subprocess.run(
            [sys.executable, "-m", "mda_aptnn.cli", "spectrum", *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        json.loads(result.stdout)
        parts = {
            name: int(share) / 100 for name, share in re.findall(r"(\w+) (\d+) ?%", result.stderr)
        }
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {
            "frames": n_frames,
            "file_MB": round(path.stat().st_size / 1e6),
            "wall_s": round(wall, 1),
            "cpu_s": round(cpu, 1),
            "peak_memory_MB": round(after.ru_maxrss / 1024),
            **{f"share_{name}": share for name, share in parts.items()},
        }
