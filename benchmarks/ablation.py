"""What each choice of the default network costs and brings, as a table.

    python benchmarks/ablation.py --data DIR [--steps N] [--rows NAME ...]

Each row changes one thing of the default and is trained on nine published frames (one more for
validation), with the default recipe but fewer steps; errors are on 19 frames never seen. DIR as in
`published_apt.py`. The time is that of the compiled kernels in float32 on one thread, neighbours
included, along the bundled trajectory of 192 atoms.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import MDAnalysis
import torch
from published_apt import read, train_and_test

from mda_aptnn.model.density import DensityNetwork, Layer, LayerConfig, NetworkConfig
from mda_aptnn.model.file import Member, ModelFile, state_arrays
from mda_aptnn.model.irreps import Coupling, Mixing, irreps_of
from mda_aptnn.model.predict import BUNDLED, Model
from mda_aptnn.tensors import APT
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.trajectory.universe_frames import UniverseFrames

#: Atoms in Å³ of the published cell.
DENSITY = 384 / 15.6627**3

#: Name of a row: changes of the first layer, of the second, and of the training.
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}, {}),
    "default, other seed": ({}, {}, {"seed": 1}),
    "first cutoff 5 Å": ({"cutoff": 5.0}, {}, {}),
    "second cutoff 3.5 Å": ({}, {"cutoff": 3.5}, {}),
    "second cutoff 5.5 Å": ({}, {"cutoff": 5.5}, {}),
    "16 channels": ({"features": "16x0e+16x1o+16x2e"}, {"features": "16x0e+16x1o+16x1e+16x2e"}, {}),
    "32 channels": ({"features": "32x0e+32x1o+32x2e"}, {"features": "32x0e+32x1o+32x1e+32x2e"}, {}),
    "messages 16x0e+8x1o+4x2e": ({}, {"messages": "16x0e+8x1o+4x2e"}, {}),
    "messages 16x0e+16x1o+16x2e": ({}, {"messages": "16x0e+16x1o+16x2e"}, {}),
    "2 mixed radial functions": ({}, {"n_mixed": 2}, {}),
    "6 mixed radial functions": ({}, {"n_mixed": 6}, {}),
    "first order 2": ({"order": 2}, {}, {}),
    "no products": ({"order": 1}, {"order": 1}, {}),
    "second order 3": ({}, {"order": 3}, {}),
    "first l up to 3": ({"features": "24x0e+24x1o+24x2e+24x3o", "lmax": 3}, {}, {}),
    "both parities": (
        {"features": "24x0e+24x1o+24x1e+24x2e+24x2o"},
        {"features": "24x0e+24x1o+24x1e+24x2e+24x2o", "messages": "16x0e+12x1o+6x1e+8x2e+4x2o"},
        {},
    ),
    "no weight decay": ({}, {}, {"weight_decay": 0.0}),
    "one layer": ({}, {}, {}),
    "three layers": ({}, {}, {}),
}

FIRST, SECOND = NetworkConfig().layers
#: Rows whose number of layers is another.
DEPTHS: dict[str, tuple[LayerConfig, ...]] = {
    "one layer": (dataclasses.replace(FIRST, features=SECOND.features),),
    "three layers": (FIRST, SECOND, SECOND),
}


def multiply_adds(network: DensityNetwork) -> tuple[float, float]:
    """Return multiply-adds per atom of liquid water: of sums over neighbours, and of all else.

    Clebsch-Gordan sums are counted by their non-zero coefficients, a product of two features as one
    more.
    """

    def of_mixing(mixing: Mixing) -> int:
        return sum(
            (2 * irrep[0] + 1) * w[0].numel()
            for irrep, w in zip(mixing.irreps, mixing.weights, strict=True)
        )

    def terms(coupling: Any) -> int:
        assert isinstance(coupling, Coupling)
        return int(torch.count_nonzero(coupling.matrix.abs() > 1e-6))

    pairs, atoms = 0.0, 0.0
    for config, layer in zip(network.config.layers, network.layers, strict=True):
        assert isinstance(layer, Layer)
        n_pairs, n_angular = DENSITY * 4 / 3 * math.pi * config.cutoff**3, (config.lmax + 1) ** 2
        width = irreps_of(config.features)[0, 1]
        if layer.first:
            pairs += n_pairs * config.n_radial * n_angular
        else:
            convolution = layer.convolution
            sent = sum(
                (2 * irrep[0] + 1) * channels for irrep, channels in convolution.messages.items()
            )
            mixed = (
                config.lmax + 1
            ) * config.n_mixed * config.n_radial + config.n_mixed * n_angular
            pairs += n_pairs * (mixed + config.n_mixed * n_angular * sent)
            for irrep, _, coupling in convolution.terms:
                atoms += terms(coupling) * config.n_mixed * convolution.messages[irrep]
        for module in layer.modules():
            atoms += of_mixing(module) if isinstance(module, Mixing) else 0
        for products in layer.products:
            atoms += sum(2 * terms(coupling) * width for coupling in products.couplings)
    return pairs, atoms + of_mixing(network.readout)


def microseconds(names: Sequence[str]) -> dict[str, float]:
    """Return CPU time per atom of a prediction, medians over 30 frames of water that the networks
    take in turn.

    The networks are as they begin: what their weights are makes no difference.
    """
    universe = MDAnalysis.Universe(BUNDLED / "water64.pdb", BUNDLED / "water64.h5md")
    source, models = UniverseFrames(universe, velocities=None), {}
    for name in names:
        config = configuration(name)
        member = Member(state_arrays(DensityNetwork(config, [1, 8], APT)))
        models[name] = Model(
            ModelFile(dataclasses.asdict(config), [1, 8], APT, [member]), engine="cpu"
        )
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in universe.trajectory[:31]:
        frame = source.frame()
        for name, model in models.items():
            start = time.process_time()
            model.predict(frame)
            times[name].append((time.process_time() - start) / len(frame))
    return {name: 1e6 * statistics.median(values[1:]) for name, values in times.items()}


def configuration(name: str) -> NetworkConfig:
    """Return the default network with the changes of a row."""
    layers: tuple[LayerConfig, ...] = NetworkConfig().layers
    if name in DEPTHS:
        return NetworkConfig(DEPTHS[name])
    changes = ROWS[name][: len(layers)]
    return NetworkConfig(
        tuple(
            dataclasses.replace(layer, **change)
            for layer, change in zip(layers, changes, strict=True)
        )
    )


def main() -> None:
    """Train every row and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS), metavar="NAME")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    data = read(arguments.data, "ten")
    command = f"python benchmarks/ablation.py --data DIR --steps {arguments.steps}"
    print("# Ablation of the default network\n")
    print(
        f"Made by `{command}` on {datetime.date.today()}: nine published frames, one for\n"
        f"validation, 19 to test on. {arguments.steps} steps of the default recipe, whose own "
        f"number is\n"
        f"{TrainingConfig.steps}; the other seed, which draws another validation frame as well, "
        f"shows the scatter.\n"
        "Multiply-adds are per atom of liquid water.\n"
    )
    print(
        "| network | test RMSE / e | H | O | µs per atom | 10³ multiply-adds, neighbours | atom | "
        "parameters |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    durations = microseconds(arguments.rows)
    for name in arguments.rows:
        config = configuration(name)
        network = DensityNetwork(config, [1, 8], APT)
        pairs, atoms = multiply_adds(network)
        training = TrainingConfig(**{"steps": arguments.steps, "seed": 0} | ROWS[name][2])
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model.h5"
            result: Any = train_and_test(data, config, training, model)
        test, species = result["test"], result["test"]["rmse_per_species"]
        n_parameters = sum(parameter.numel() for parameter in network.parameters())
        print(
            f"| {name} | {test['rmse']:.4f} | {species['H']:.4f} | {species['O']:.4f} | "
            f"{durations[name]:.0f} | "
            f"{pairs / 1e3:.0f} | {atoms / 1e3:.0f} | {n_parameters} |",
            flush=True,
        )
        print(f"{name} done", file=sys.stderr)


if __name__ == "__main__":
    main()
