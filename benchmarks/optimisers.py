"""SOAP against Adam, for the default network and a dipole network: validation error and CPU time.

    python benchmarks/optimisers.py FOLDER [--only NAME ...]

All learn from the labels that come with the package, split as the bundled model's: 33 frames to
learn from, two to choose the weights by, whose error is the result, four that are not looked at.
FOLDER keeps the models and `results.jsonl`; what is in it is not computed again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from students import BASE, LABELS

from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.model.density import NetworkConfig
from mda_aptnn.model.dipole import DipoleConfig
from mda_aptnn.model.predict import BUNDLED
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.distil import TEACHER
from mda_aptnn.training.fit import fit

ADAM: dict[str, Any] = {"optimizer": "adam", "learning_rate": 0.015, "weight_decay": 0.025}
ADAM_DIPOLE = ADAM | {"learning_rate": 0.01, "weight_decay": 0.05}
#: Of dipole networks by SOAP: learning rate, weight decay, and what else differs.
TEACHERS: list[tuple[float, float, dict[str, Any]]] = [
    (0.02, 0.025, {}),
    (0.02, 0.0125, {}),
    (0.02, 0.05, {}),
    (0.02, 0.1, {}),
    (0.01, 0.05, {}),
    (0.03, 0.05, {}),
    (0.02, 0.05, {"directions": 2, "steps": 2000}),
    (0.02, 0.05, {"batch_frames": 2, "steps": 1500}),
]
#: Name of a row: the network, and what differs from the defaults. Adam's settings are those of
#: 0.1.0, for a dipole network those of the first teacher.
ROWS: dict[str, tuple[Any, dict[str, Any]]] = {
    "default network, SOAP": (NetworkConfig(), {}),
    "default network, SOAP, decay 0.05": (NetworkConfig(), {"weight_decay": 0.05}),
    "default network, SOAP, decay 0.2": (NetworkConfig(), {"weight_decay": 0.2}),
    "default network, Adam": (NetworkConfig(), ADAM | {"steps": 6000}),
    "dipole network, Adam": (DipoleConfig(), ADAM_DIPOLE | {"steps": 5000}),
}
for rate, decay, more in TEACHERS:
    said = "".join(f", {value} {name}" for name, value in more.items())
    settings = {"steps": TEACHER.steps, "learning_rate": rate, "weight_decay": decay} | more
    ROWS[f"dipole network, SOAP, rate {rate}, decay {decay}{said}"] = (DipoleConfig(), settings)


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(ROWS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(exist_ok=True, parents=True)
    log = given.folder / "results.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    found = {row["name"]: row for row in map(json.loads, lines)}
    labels = read_labels([BUNDLED / name for name in LABELS])
    for name in given.only or ROWS:
        if name in found:
            continue
        network, settings = ROWS[name]
        training = TrainingConfig(validation=BASE.validation, held_out=BASE.held_out, **settings)
        cpu, path = time.process_time(), given.folder / f"{name.replace(', ', '-')}.h5"
        model = fit(labels, network, training, path, verbose=True)
        found[name] = {
            "name": name,
            "steps": training.steps,
            "validation": model.info["accuracy"]["validation"]["rmse"],
            "last": float(model.contents.members[0].learning["validation_rmse"][-1]),
            "cpu": round(time.process_time() - cpu),
        }
        with open(log, "a") as file:
            file.write(json.dumps(found[name]) + "\n")
    print(
        "| | steps | best validation error, e | after the last step | CPU-s |",
        "|---|---|---|---|---|",
        sep="\n",
    )
    for row in found.values():
        print(
            f"| {row['name']} | {row['steps']:,} | {row['validation']:.4f} | {row['last']:.4f} | "
            f"{row['cpu']} |"
        )


if __name__ == "__main__":
    main()
