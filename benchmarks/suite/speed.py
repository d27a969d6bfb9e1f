"""CPU time per atom and peak memory: the kernels, the network in torch, e3nn's SimpleNetwork."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from e3nn.nn.models.v2106.gate_points_networks import SimpleNetwork

from mda_aptnn.frame import Frame
from mda_aptnn.graph import NeighbourList
from mda_aptnn.model.file import READOUT, Member, ModelFile
from mda_aptnn.model.predict import Model, model_path
from suite.boxes import CELLS, cpu_seconds, frames_of, in_a_process, molecule

#: Windows of frames, of which the median is taken; fewer of large frames. Pairs are looked for anew
#: about every ten frames, so that each window has its share of that.
WINDOWS, WINDOW = 5, 10
#: Members of the committees.
MEMBERS = 4

_MEMORY = """
import json, sys
from suite.boxes import frames_of, peak_megabytes
from mda_aptnn.model.predict import load_model
model = load_model(sys.argv[1], engine="cpu")
model.predict(frames_of(192, 1)[0])
before = peak_megabytes()
frames = frames_of(int(sys.argv[2]), 1)
for _ in range(2):
    model.predict(frames[0])
print(json.dumps({"before": before, "peak": peak_megabytes()}))
"""


class PaperNetwork(SimpleNetwork):
    """SimpleNetwork with the reference paper's hyper-parameters, which gets our neighbours."""

    def __init__(self, dtype: torch.dtype) -> None:
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        super().__init__(
            "2x0e", "1x0e+1x1e+1x2e", 6.0, 90.0, 1, mul=20, layers=2, lmax=2, pool_nodes=False
        )
        torch.set_default_dtype(before)
        self.dtype, self.neighbours = dtype, NeighbourList([6.0])

    def preprocess(self, data: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return what e3nn's own preprocessing would."""
        return torch.zeros(1), data["x"], data["source"], data["target"], data["vectors"]

    def predict(self, frame: Frame) -> torch.Tensor:
        """Return the irreducible components of a frame."""
        found = self.neighbours.pairs(frame, np.arange(len(frame)))
        centre = np.repeat(np.arange(len(frame)), np.diff(found.first[0]))
        vectors = (
            found.positions[found.neighbour]
            - found.positions[centre]
            + found.translations[found.image]
        )
        near = (vectors**2).sum(axis=1) < self.max_radius**2
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        with torch.no_grad():
            kinds = torch.from_numpy((frame.numbers[:, None] == np.array([1, 8])).astype(float))
            data = {
                "x": kinds.to(self.dtype),
                "vectors": torch.from_numpy(vectors[near]).to(self.dtype),
            }
            data["source"] = torch.from_numpy(found.neighbour[near].astype(np.int64))
            data["target"] = torch.from_numpy(centre[near])
            components: torch.Tensor = self(data)
        torch.set_default_dtype(before)
        return components


def committees(contents: ModelFile) -> dict[str, ModelFile]:
    """Return committees of the size of a model: their weights are as good as any for timing."""
    rng = np.random.default_rng(1)
    weights = contents.single(0).members[0].weights
    body = {name: values for name, values in weights.items() if not name.startswith(READOUT)}

    def members(names: Sequence[str]) -> list[Member]:
        return [
            Member(
                {
                    name: (weights[name] * rng.normal(1, 0.01, weights[name].shape)).astype(
                        np.float32
                    )
                    for name in names
                }
            )
            for _ in range(MEMBERS)
        ]

    readouts = [name for name in weights if name not in body]
    return {
        "committee_shared_body": dataclasses.replace(
            contents, members=members(readouts), shared=body
        ),
        "committee_independent": dataclasses.replace(
            contents, members=members(list(weights)), shared={}
        ),
    }


def measure(model: str, atoms: Sequence[int], n_deviation: int) -> dict[str, Any]:
    """Return rows of figures, for each number of atoms, and the deviation from the float64 network.

    Figures are µs of CPU time per atom and frame, neighbours included with every new search for
    them. All engines take windows of frames in turn, so that what else the machine does hits them
    alike; medians over the windows.
    """
    torch.set_num_threads(1)
    contents = ModelFile.load(model_path(model))
    single = contents.single(0)
    kernels = {
        f"kernels_{dtype}": Model(single, engine="cpu", dtype=dtype)
        for dtype in ("float32", "float64")
    }
    kernels |= {name: Model(file, engine="cpu") for name, file in committees(contents).items()}
    networks = {
        f"torch_{dtype}": Model(single, engine="torch", dtype=dtype)
        for dtype in ("float32", "float64")
    }
    paper = {f"e3nn_{name}": PaperNetwork(getattr(torch, name)) for name in ("float32", "float64")}
    rows = {}
    for n_atoms in atoms:
        engines: dict[str, Any] = dict(kernels)
        if n_atoms <= 3072:
            engines |= networks
        if n_atoms <= 384:
            engines |= paper
        if n_atoms > 24576:
            engines = {"kernels_float32": kernels["kernels_float32"]}
        frames = frames_of(n_atoms, WINDOW * max(1, min(WINDOWS, 100_000 // n_atoms)))
        row = _row({name: engine.predict for name, engine in engines.items()}, frames)
        if n_atoms <= 384:
            for name in ("float32", "float64"):
                row[f"ratio_{name}"] = round(row[f"e3nn_{name}"] / row["kernels_float32"], 1)
        memory = in_a_process(_MEMORY, model, n_atoms)
        row |= {
            "peak_memory_MB": memory["peak"],
            "memory_before_MB": memory["before"],
            "frames": len(frames),
        }
        rows[str(n_atoms)] = row
        print(n_atoms, row, flush=True)
    return {
        "us_per_atom": rows,
        "molecule": _molecules(kernels["kernels_float32"], networks["torch_float32"]),
        "deviation": _deviation(kernels, networks["torch_float64"], n_deviation),
    }


def _row(engines: dict[str, Callable[[Frame], Any]], frames: list[Frame]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in engines}
    for predict in engines.values():
        predict(frames[0])
    for start in range(0, len(frames), WINDOW):
        own = frames[start : start + WINDOW]
        for name, predict in engines.items():
            # slow ones need no more than a frame of each window
            chosen = own[:1] if name.startswith(("torch", "e3nn")) else own
            seconds = cpu_seconds(lambda: [predict(frame) for frame in chosen])  # noqa: B023
            times[name].append(seconds / sum(map(len, chosen)))
    return {name: round(1e6 * statistics.median(values), 2) for name, values in times.items()}


def _molecules(*models: Any) -> dict[str, float]:
    """CPU time in µs per frame of one water molecule in vacuum, frame by frame and in batches."""
    frames = [molecule(frame) for frame in frames_of(192, 500)]
    found = {}
    for model in models:
        model.predict_many(frames[:2])
        chosen = frames if model.engine == "cpu" else frames[:100]
        each = cpu_seconds(lambda: [model.predict(frame) for frame in chosen])  # noqa: B023
        together = cpu_seconds(lambda: model.predict_many(chosen))  # noqa: B023
        found[f"{model.engine}_each"] = round(1e6 * each / len(chosen), 1)
        found[f"{model.engine}_together"] = round(1e6 * together / len(chosen), 1)
    return found


def _deviation(kernels: dict[str, Any], reference: Any, n_frames: int) -> dict[str, float]:
    """Largest deviation of the kernels' tensors from those of the float64 network, in e, over
    `n_frames` frames.
    """
    largest = {name: 0.0 for name in ("kernels_float32", "kernels_float64")}
    for frame in frames_of(192, n_frames, step=5000 // n_frames or 1):
        expected = reference.predict(frame)
        for name in largest:
            largest[name] = max(
                largest[name], float(np.abs(kernels[name].predict(frame) - expected).max())
            )
    return {**largest, "frames": n_frames}


ATOMS = list(CELLS)
