"""Prediction and training on the CPU and on a GPU: µs an atom, atoms a second, memory.

    python benchmarks/devices.py [--model MODEL] [--sizes 384 3072 24576 98304] [--json FILE]

MODEL (default: the bundled one) predicts boxes of water by each engine that there is, in float32
and on one thread, neighbours included: as many frames in a call as have 6,144 atoms, at least one.
Where torch sees a GPU, networks of the default architecture and of the dipole architecture are
trained for some steps on both devices, with 1, 4 and 16 frames a step. Medians; memory is the most
that torch held on the GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from suite.boxes import CELLS, frames_of

from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.model.architectures import architecture_of
from mda_aptnn.model.density import NetworkConfig
from mda_aptnn.model.dipole import DipoleConfig
from mda_aptnn.model.predict import BUNDLED, load_model
from mda_aptnn.tensors import APT
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.loop import Run
from mda_aptnn.training.samples import make_samples

#: Calls that are timed, after one that is not.
REPEATS = 5


def predicted(model: Any, engine: str, n_atoms: int) -> dict[str, Any]:
    """Time of an atom in one call of an engine."""
    count = max(1, 16 * 384 // n_atoms)
    # so far apart that the kernels find the neighbours anew
    frames = frames_of(n_atoms, count + REPEATS, step=50)
    times, on_gpu = [], engine == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for first in range(1 + REPEATS):
        begun = time.perf_counter()
        model.predict_many(frames[first : first + count])
        times.append((time.perf_counter() - begun) / count / n_atoms)
    spent = statistics.median(times[1:])
    row = {"engine": engine, "atoms": n_atoms, "µs an atom": spent * 1e6, "atoms/s": 1 / spent}
    return row | {"GPU memory, MB": torch.cuda.max_memory_allocated() / 1e6 if on_gpu else 0.0}


def trained(network: Any, device: str, batch: int, steps: int = 15) -> dict[str, Any]:
    """Time of a step, after five to warm up."""
    labels = read_labels(BUNDLED / "water32-rpbe-d3-more.h5").subset(range(16))
    architecture = architecture_of(network)
    torch.manual_seed(0)
    module = architecture.network(network, (1, 8), APT)
    samples = make_samples(module, labels, APT)
    config = TrainingConfig(batch_frames=batch, device=device)
    run, times = Run(module, samples, samples[:1], APT, config), []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(steps):
        begun = time.perf_counter()
        run._optimise(run._batch(), 0.01)
        times.append(time.perf_counter() - begun)
        run.step += 1
    memory = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else 0.0
    spent = statistics.median(times[5:])
    return {
        "network": architecture.name,
        "device": device,
        "frames a step": batch,
        "ms a step": spent * 1e3,
        "ms a frame": spent * 1e3 / batch,
        "GPU memory, MB": memory,
    }


def show(rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    """Add a row to a table, and print it at once."""
    if not rows:
        print("", "| " + " | ".join(row) + " |", "|" + "---|" * len(row), sep="\n")
    rows.append(row)
    cells = [f"{x:,.4g}" if isinstance(x, float) else f"{x}" for x in row.values()]
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Time what there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="water-rpbe-d3")
    parser.add_argument("--sizes", type=int, nargs="+", choices=CELLS, default=[384, 3072, 24576])
    parser.add_argument("--engines", nargs="+", default=["cpu", "torch", "cuda"])
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sees_gpu = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if sees_gpu else "no GPU: CUDA was not run"
    print(f"torch {torch.__version__}, {where}")
    rows: list[dict[str, Any]] = []
    for engine in [name for name in given.engines if name != "cuda" or sees_gpu]:
        try:
            model = load_model(given.model, engine=engine)
        except ValueError as error:  # no kernels for this architecture
            print(error)
            continue
        for n_atoms in given.sizes:
            show(rows, predicted(model, engine, n_atoms))
    steps: list[dict[str, Any]] = []
    if not given.no_training:
        for network in (NetworkConfig(), DipoleConfig()):
            for device in ("cpu", "cuda")[: 1 + sees_gpu]:
                for batch in (1, 4, 16):
                    show(steps, trained(network, device, batch))
    if given.json:
        given.json.write_text(json.dumps({"where": where, "predicted": rows, "trained": steps}))


if __name__ == "__main__":
    main()
