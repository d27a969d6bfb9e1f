"""Time of prediction in µs of CPU time per atom: the kernels, the network in torch, and e3nn's SimpleNetwork.

    python benchmarks/speed.py --json speed.json

All in one process with one thread, frame windows of all engines taken in turn, so that what else the machine does
hits them alike; medians over the windows. Frames are successive ones of the bundled trajectory of water, repeated to
larger cells; every figure includes neighbours (and, for the kernels, each new search for them).

SimpleNetwork v2106 has the hyper-parameters of the published atomic-polar-tensor networks (two layers of 20 channels
of every irrep to l = 2, 6 Å), runs as published (eager, float64) and in float32, and gets our neighbours.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import MDAnalysis
import numpy as np
import torch
from e3nn.nn.models.v2106.gate_points_networks import SimpleNetwork

from mda_aptnn.frames import Frame
from mda_aptnn.graph import neighbours
from mda_aptnn.models.predict import BUNDLED, load_model
from mda_aptnn.trajectory import UniverseFrames

#: Repeats of the 192 atoms of the trajectory.
CELLS = {192: (1, 1, 1), 384: (2, 1, 1), 3072: (4, 2, 2), 24576: (8, 4, 4), 98304: (8, 8, 8)}


class PaperNetwork(SimpleNetwork):
    """SimpleNetwork that is given its edges."""

    def __init__(self, dtype: torch.dtype) -> None:
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        super().__init__("2x0e", "1x0e+1x1e+1x2e", 6.0, 90.0, 1, mul=20, layers=2, lmax=2, pool_nodes=False)
        torch.set_default_dtype(before)
        self.dtype = dtype

    def preprocess(self, data: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return what e3nn's own preprocessing would."""
        return torch.zeros(1), data["x"], data["source"], data["target"], data["vectors"]

    def predict(self, frame: Frame) -> torch.Tensor:
        """Return the irreducible components of a frame."""
        found = neighbours(frame, self.max_radius)
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        with torch.no_grad():
            kinds = torch.from_numpy((frame.numbers[:, None] == np.array([1, 8])).astype(float))
            data = {"x": kinds.to(self.dtype), "vectors": torch.from_numpy(found.vectors).to(self.dtype)}
            data |= {"source": torch.from_numpy(found.neighbour), "target": torch.from_numpy(found.centre)}
            components = self(data)
        torch.set_default_dtype(before)
        return components


def frames_of(n_atoms: int, count: int) -> list[Frame]:
    """Return successive frames of the bundled trajectory, repeated to `n_atoms`."""
    universe = MDAnalysis.Universe(BUNDLED / "water64.pdb", BUNDLED / "water64.h5md")
    source = UniverseFrames(universe, velocities=None)
    repeats = np.array(CELLS[n_atoms])
    images = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 3)
    result = []
    for _ in universe.trajectory[:count]:
        frame = source.frame()
        positions = (frame.positions + (images @ frame.cell)[:, None]).reshape(-1, 3)
        result.append(Frame(np.tile(frame.numbers, len(images)), positions, repeats[:, None] * frame.cell, frame.pbc))
    return result


def seconds(predict: Callable[[Frame], object], frames: list[Frame]) -> float:
    """Return CPU seconds per atom."""
    start = time.process_time()
    for frame in frames:
        predict(frame)
    return (time.process_time() - start) / sum(map(len, frames))


def measure(engines: dict[str, Callable[[Frame], object]], frames: list[Frame], windows: int) -> dict[str, float]:
    """Return the median over windows of successive frames, in µs per atom, for each engine."""
    size = max(1, len(frames) // windows)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for predict in engines.values():
        predict(frames[0])
    for window in range(windows):
        own = frames[window * size : (window + 1) * size]
        for name, predict in engines.items():
            # slow ones need no more than a frame of each window
            times[name].append(seconds(predict, own if name.startswith("cpu") else own[:1]))
    return {name: round(1e6 * statistics.median(values), 2) for name, values in times.items()}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--model", default="water-rpbe-d3", help="name or path of a model for water")
    parser.add_argument("--atoms", type=int, nargs="+", default=[192, 384, 3072, 24576], choices=list(CELLS))
    parser.add_argument("--frames", type=int, default=50, help="successive frames, fewer for large systems")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cpu = {f"cpu_{dtype}": load_model(options.model, engine="cpu", dtype=dtype) for dtype in ("float32", "float64")}
    torch_engines = {
        f"torch_{dtype}": load_model(options.model, engine="torch", dtype=dtype) for dtype in ("float32", "float64")
    }
    paper = {f"e3nn_{name}": PaperNetwork(getattr(torch, name)) for name in ("float32", "float64")}
    report: dict[str, object] = {"machine": platform.processor() or platform.machine(), "unit": "us CPU per atom"}
    for n_atoms in options.atoms:
        frames = frames_of(n_atoms, max(2, min(options.frames, 400_000 // n_atoms)))
        chosen = dict(cpu)
        if n_atoms <= 3072:
            chosen |= torch_engines
        if n_atoms <= 384:
            chosen |= paper
        engines = {name: engine.predict for name, engine in chosen.items()}
        row: dict[str, float] = measure(engines, frames, windows=min(5, len(frames)))
        if n_atoms <= 384:
            row |= {
                f"ratio_{name}": round(row[f"e3nn_{name}"] / row["cpu_float32"], 1) for name in ("float32", "float64")
            }
            reference = torch_engines["torch_float64"].predict(frames[-1])
            for name, engine in cpu.items():
                row[f"deviation_{name}"] = float(np.abs(engine.predict(frames[-1]) - reference).max())
        row["searches"] = cpu["cpu_float32"]._engine.neighbours.n_searches
        row["frames"] = len(frames)
        row["peak_memory_MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        report[str(n_atoms)] = row
        print(n_atoms, json.dumps(row), flush=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
