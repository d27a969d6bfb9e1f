"""CPU time of a training step."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import torch

from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.model.density import DensityNetwork, NetworkConfig
from mda_aptnn.model.simple import SimpleNetwork, SimpleNetworkConfig
from mda_aptnn.tensors import APT
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.loop import Run
from mda_aptnn.training.samples import make_samples
from suite.boxes import cpu_seconds, frames_of


def measure(steps: int) -> dict[str, Any]:
    """Return seconds of a step with one frame of 384 atoms of water, medians over steps taken in
    turn.
    """
    torch.set_num_threads(1)
    frame = frames_of(384, 1)[0]
    labels = np.random.default_rng(1).normal(size=(len(frame), 3, 3))
    labelled = Dataset([LabelledFrame(frame, {"apt": labels})])
    runs = {}
    for name, make in (
        ("default", lambda: DensityNetwork(NetworkConfig(), (1, 8), APT)),
        ("simple-network", lambda: SimpleNetwork(SimpleNetworkConfig(), (1, 8), APT)),
    ):
        for dtype in (torch.float32, torch.float64):
            network = make().to(dtype)
            sample = make_samples(network, labelled, APT)
            runs[f"{name}_{str(dtype).removeprefix('torch.')}"] = Run(
                network, sample, sample, APT, TrainingConfig(batch_frames=1)
            )
    times: dict[str, list[float]] = {name: [] for name in runs}
    for step in range(steps + 1):
        for name, run in runs.items():
            seconds = cpu_seconds(lambda: run._optimise(run._batch(), 1e-3))  # noqa: B023
            if step:  # the first allocates
                times[name].append(seconds)
    return {name: round(statistics.median(values), 4) for name, values in times.items()} | {
        "steps": steps
    }
