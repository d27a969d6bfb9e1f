"""What Raman costs beside infrared: 64 water molecules, one thread, neighbours included.

    OMP_NUM_THREADS=1 python benchmarks/raman_cost.py

Two networks of the default shape with random weights, one for polar tensors, one with a second head
for polarizability gradients, take the same windows of frames of the bundled trajectory in turn, so
that what else the machine does hits both alike: the prediction alone, and the whole pass of
`DipoleFlux` (reading, prediction, sums). CPU time; medians over the windows.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import warnings

import MDAnalysis
import torch
from suite.boxes import TOPOLOGY, TRAJECTORY, cpu_seconds, frames_of

from mda_aptnn import DipoleFlux
from mda_aptnn.model.density import DensityNetwork, default_network
from mda_aptnn.model.file import Member, ModelFile, state_arrays
from mda_aptnn.model.predict import Model
from mda_aptnn.tensors import APT, PGT, AnyTarget, joint

#: What one may cost as a multiple of the other (CHANGELOG, docs/raman.md).
MOST = 1.6


def model_of(target: AnyTarget) -> Model:
    """Return the default network with random weights on the CPU kernels, in float32."""
    torch.manual_seed(0)
    config = default_network(target)
    network = DensityNetwork(config, (1, 8), target)
    contents = ModelFile(
        dataclasses.asdict(config), [1, 8], target, [Member(state_arrays(network))]
    )
    return Model(contents, engine="cpu")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=15)
    parser.add_argument("--frames", type=int, default=100, help="of each window")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*random weights|.*sum rule")
    infrared, both = model_of(APT), model_of(joint([APT, PGT]))
    universe = MDAnalysis.Universe(TOPOLOGY, TRAJECTORY)
    passes = {
        "infrared": DipoleFlux(universe, infrared, per="element"),
        "both": DipoleFlux(universe, both, per="element"),
    }
    # compile, and fill caches
    frames = frames_of(192, arguments.windows * arguments.frames)
    for model in (infrared, both):
        model.predict_tensors(frames[0])
    for flux in passes.values():
        flux.run(stop=3)
    predicted: dict[str, list[float]] = {"infrared": [], "both": []}
    whole: dict[str, list[float]] = {"infrared": [], "both": []}
    for number in range(arguments.windows):
        start, stop = number * arguments.frames, (number + 1) * arguments.frames
        own = frames[start:stop]
        predicted["infrared"].append(
            cpu_seconds(lambda: [infrared.predict(frame) for frame in own])  # noqa: B023
        )
        predicted["both"].append(
            cpu_seconds(lambda: [both.predict_tensors(frame) for frame in own])  # noqa: B023
        )
        for name, flux in passes.items():
            whole[name].append(cpu_seconds(lambda: flux.run(start=start, stop=stop)))  # noqa: B023
    print(f"{arguments.windows} windows of {arguments.frames} frames, 192 atoms; medians\n")
    print("| | infrared, µs/atom | infrared and Raman, µs/atom | ratio |\n|---|---|---|---|")
    for what, times in (("prediction with neighbours", predicted), ("whole pass", whole)):
        each = [
            1e6 * statistics.median(values) / arguments.frames / 192 for values in times.values()
        ]
        ratios = sorted(b / a for a, b in zip(*times.values(), strict=True))
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        ratio = statistics.median(ratios)
        print(f"| {what} | {each[0]:.1f} | {each[1]:.1f} | {ratio:.2f} ({low:.2f} to {high:.2f}) |")
        assert ratio <= MOST, (
            f"{what}: infrared and Raman cost {ratio:.2f} times infrared, more than {MOST}"
        )


if __name__ == "__main__":
    main()
