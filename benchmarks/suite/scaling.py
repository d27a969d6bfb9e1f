"""CPU and wall time over frames, threads and workers."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import MDAnalysis

from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.model.predict import load_model
from suite.boxes import TOPOLOGY, cpu_seconds, frames_of, total_cpu, write_trajectory


def measure(model: str, n_frames: int) -> dict[str, Any]:
    """Return CPU time per frame over numbers of frames, wall time over threads, CPU time of one and
    two workers.
    """
    return {
        "frames": _frames(model),
        "threads": _threads(model),
        "workers": _workers(model, n_frames),
    }


def _frames(model: str) -> dict[str, float]:
    """Ms of CPU time per frame of 192 atoms, after so many frames."""
    predictor, frames = load_model(model, engine="cpu"), frames_of(192, 1000)
    predictor.predict(frames[0])
    found = {}
    for count in (10, 100, 1000):
        seconds = cpu_seconds(lambda: [predictor.predict(frame) for frame in frames[:count]])  # noqa: B023
        found[str(count)] = round(1e3 * seconds / count, 3)
    return found


def _threads(model: str) -> dict[str, dict[str, float]]:
    """Seconds for four frames of 24,576 atoms."""
    frames, found = frames_of(24576, 4), {}
    for n_threads in (1, 2):
        predictor = load_model(model, engine="cpu", n_threads=n_threads)
        predictor.predict(frames[0])
        start = time.perf_counter()
        cpu = cpu_seconds(lambda: [predictor.predict(frame) for frame in frames])  # noqa: B023
        found[str(n_threads)] = {
            "wall_s": round(time.perf_counter() - start, 3),
            "cpu_s": round(cpu, 3),
        }
    return found


def _workers(model: str, n_frames: int) -> dict[str, Any]:
    """Seconds for a flux of `n_frames` frames of 192 atoms from disk, in this process and by two
    workers.
    """
    found: dict[str, Any] = {"frames": n_frames}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "water.trr"
        write_trajectory(path, n_frames)
        for n_workers in (1, 2):
            universe = MDAnalysis.Universe(TOPOLOGY, path)
            universe.add_TopologyAttr("elements", MDAnalysis.Universe(TOPOLOGY).atoms.elements)
            options = (
                {} if n_workers == 1 else {"backend": "multiprocessing", "n_workers": n_workers}
            )
            start, cpu = time.perf_counter(), total_cpu()
            DipoleFlux(universe, model).run(**options)
            seconds = {
                "wall_s": round(time.perf_counter() - start, 2),
                "cpu_s": round(total_cpu() - cpu, 2),
            }
            found[str(n_workers)] = seconds
    found["cpu_ratio"] = round(found["2"]["cpu_s"] / found["1"]["cpu_s"], 3)
    return found
