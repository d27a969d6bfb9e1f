"""Water of any size for the benchmarks, from the bundled trajectory; and how time and memory are
taken.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import MDAnalysis
import numpy as np

from mda_aptnn.frame import Frame
from mda_aptnn.model.predict import BUNDLED
from mda_aptnn.trajectory.universe_frames import UniverseFrames

TOPOLOGY, TRAJECTORY = BUNDLED / "water64.pdb", BUNDLED / "water64.h5md"

#: Repeats of the 192 atoms of the bundled trajectory along each cell vector.
CELLS = {192: (1, 1, 1), 384: (2, 1, 1), 3072: (4, 2, 2), 24576: (8, 4, 4), 98304: (8, 8, 8)}


def frames_of(n_atoms: int, count: int, step: int = 1) -> list[Frame]:
    """Return successive frames of the bundled trajectory (2 fs apart), repeated to `n_atoms`."""
    universe = MDAnalysis.Universe(TOPOLOGY, TRAJECTORY)
    source = UniverseFrames(universe, velocities=None)
    repeats = np.array(CELLS[n_atoms])
    images = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 3)
    result = []
    for _ in universe.trajectory[: count * step : step]:
        frame = source.frame()
        positions = (frame.positions + (images @ frame.cell)[:, None]).reshape(-1, 3)
        result.append(
            Frame(
                np.tile(frame.numbers, len(images)),
                positions,
                repeats[:, None] * frame.cell,
                frame.pbc,
            )
        )
    return result


def molecule(frame: Frame) -> Frame:
    """Return the first molecule of a frame, alone in vacuum and made whole."""
    numbers, positions = frame.numbers[:3], frame.positions[:3] - frame.positions[0]
    edges = np.diag(frame.cell)
    return Frame(numbers, positions - edges * np.round(positions / edges))


def write_trajectory(path: Path, n_frames: int) -> None:
    """Write the bundled trajectory to and fro, so that it stays continuous, as a TRR file of
    `n_frames` frames.
    """
    universe = MDAnalysis.Universe(TOPOLOGY, TRAJECTORY)
    spacing, last = (
        universe.trajectory[1].time - universe.trajectory[0].time,
        len(universe.trajectory) - 1,
    )
    with MDAnalysis.Writer(str(path), n_atoms=len(universe.atoms)) as writer:
        for number in range(n_frames):
            turn, place = divmod(number, last)
            back = turn % 2 == 1
            ts = universe.trajectory[last - place if back else place]
            if back:
                ts.velocities *= -1
            ts.time, ts.frame = number * spacing, number
            writer.write(universe.atoms)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of this process while it works."""
    start = time.process_time()
    work()
    return time.process_time() - start


def total_cpu() -> float:
    """CPU time so far, of this process and of all that it has started and that ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in usage)


def peak_megabytes() -> float:
    """Largest memory of this process so far; `getrusage` would count what the process was started
    from.
    """
    status = Path("/proc/self/status").read_text()
    return round(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024)


def in_a_process(code: str, *arguments: object) -> dict[str, float]:
    """Run Python that prints a JSON object, with one thread, and return that."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    command: Sequence[str] = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(result.stdout.splitlines()[-1]))
