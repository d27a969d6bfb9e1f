"""Test error against the number of training frames: the default network, a dipole network, the
default network with that as its teacher, and the reference network.

    python benchmarks/learning_curve.py --data DIR --folder FOLDER [--frames 4 9 18 27] [--networks
    density ...]

DIR as in `published_apt.py`. The first frames of one permutation (drawn by a seed) train, one more,
the same for all, chooses the weights, and the error is that on all others: from 24 frames beside 4
down to one beside 27. Every run keeps its state in FOLDER, so that a command that was stopped goes
on, and a finished point is not computed again; the same command then prints the table, fits the
exponent and draws FOLDER/learning-curve.png.

Data economy, direct and with a teacher, is ``--frames 3 5 10 24 --networks density dipole taught``
with the default recipes; the frames that the teacher labels are of the bundled trajectory.
"taught-by-two" is what more time gives: two teachers, each with validation frames of its own, 400
frames of the trajectory, and a student of 24 channels that learns for 16,000 steps.
"density-3000" has fewer steps, the reference network the recipe of its paper:
Adam(amsgrad) at 0.01, times 0.1 after ten validations without progress, 1,000 steps a point. Its
sums are done in another order than e3nn's (`pair_sums.py`), so that a step takes 1.3 CPU seconds
and not 2.9.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from pair_sums import sums_first
from published_apt import CELL, FILES, demonstration, read, taught_and_tested, train_and_test

from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.model.density import NetworkConfig
from mda_aptnn.model.dipole import DipoleConfig
from mda_aptnn.model.simple import SimpleNetworkConfig
from mda_aptnn.training.committee import fit_committee
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.distil import STUDENT, STUDENT_NETWORK, TEACHER, distil
from mda_aptnn.training.evaluate import evaluate

#: Settings of the network and of its training, by architecture.
RECIPES: dict[str, tuple[Any, TrainingConfig]] = {
    "density": (NetworkConfig(), TrainingConfig()),
    "dipole": (DipoleConfig(), TEACHER),
    "taught": (STUDENT_NETWORK, STUDENT),
    "taught-by-two": (NetworkConfig(), dataclasses.replace(STUDENT, steps=16_000)),
    "density-3000": (NetworkConfig(), TrainingConfig(steps=3000)),
    "simple-network": (
        SimpleNetworkConfig(),
        TrainingConfig(
            steps=1000,
            learning_rate=0.01,
            weight_decay=0.0,
            schedule="plateau",
            optimizer="amsgrad",
            warmup_steps=0,
        ),
    ),
}


def point(data: Path, folder: Path, name: str, n_frames: int) -> dict[str, Any]:
    """Train and test one point, or return what was found before."""
    done = folder / f"{name}-{n_frames}.json"
    if not done.exists():
        read(data, "all")  # checks that these are the frames
        everything = read_labels([data / file for file in FILES], CELL)
        order = np.random.default_rng(0).permutation(len(everything)).tolist()
        parts = order[:n_frames], order[-1:], order[n_frames:-1]
        training, validation, test = (everything.subset(sorted(part)) for part in parts)
        network, recipe = RECIPES[name]
        model = folder / f"{name}-{n_frames}.h5"
        split = (training, validation, test)
        if name == "taught":
            point(data, folder, "dipole", n_frames)
            result = taught_and_tested(split, folder / f"dipole-{n_frames}.h5", model)
        elif name == "taught-by-two":
            cpu, teacher = time.process_time(), folder / f"two-dipoles-{n_frames}.h5"
            known = everything.subset(sorted(parts[0] + parts[1]))
            if not teacher.exists():
                fit_committee(known, 2, DipoleConfig(), TEACHER, teacher, verbose=True)
            how = {"n_frames": 400, "network": network, "training": recipe, "verbose": True}
            student = distil(teacher, demonstration(), model, labels=known, **how)
            result = {"cpu_seconds": round(time.process_time() - cpu, 1)}
            result["error_from_teacher"] = student.info["accuracy"]["validation"]["rmse"]
            result["test"] = evaluate(student, test).summary()
        else:
            with sums_first():
                result = train_and_test(split, network, recipe, model, verbose=True)
        done.write_text(json.dumps({"frames": n_frames, "test_frames": len(test), **result}))
    found: dict[str, Any] = json.loads(done.read_text())
    return found


def exponent(points: list[dict[str, Any]]) -> tuple[float, float]:
    """Return b of error ∝ frames^b and its standard error, by a straight line through the
    logarithms.
    """
    x = np.log([row["frames"] for row in points])
    y = np.log([row["test"]["rmse"] for row in points])
    if len(points) < 3:
        return float(np.polyfit(x, y, 1)[0]), float("nan")
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


def main() -> None:
    """Compute what is missing, print the table and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--frames", type=int, nargs="+", default=[4, 9, 18, 27])
    parser.add_argument(
        "--networks", nargs="+", choices=list(RECIPES), default=["density-3000", "simple-network"]
    )
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)

    figure, axes = plt.subplots(figsize=(5, 4))
    for name in arguments.networks:
        points = [
            point(arguments.data, arguments.folder, name, n_frames) for n_frames in arguments.frames
        ]
        print(
            f"{name}, {RECIPES[name][1].steps} steps\n\n| frames | tested on | test RMSE / e | H | "
            f"O | CPU s |"
        )
        print("|---|---|---|---|---|---|")
        for row in points:
            test = row["test"]
            species = " | ".join(f"{test['rmse_per_species'][symbol]:.4f}" for symbol in ("H", "O"))
            print(
                f"| {row['frames']} | {row['test_frames']} | {test['rmse']:.4f} | {species} | "
                f"{row['cpu_seconds']} |"
            )
        label = f"{name}, {RECIPES[name][1].steps} steps"
        if len(points) > 1:
            slope, error = exponent(points)
            print(f"\nexponent {slope:.2f} ± {error:.2f}\n")
            label += f": {slope:.2f} ± {error:.2f}"
        axes.loglog(
            [row["frames"] for row in points],
            [row["test"]["rmse"] for row in points],
            "o-",
            label=label,
        )
    axes.set_xlabel("training frames of 128 molecules")
    axes.set_ylabel("test RMSE per component / e")
    axes.set_xticks(arguments.frames, [str(n_frames) for n_frames in arguments.frames])
    errors = [
        e
        for e in (0.01, 0.0125, 0.015, 0.02, 0.03, 0.04, 0.05)
        if axes.get_ylim()[0] < e < axes.get_ylim()[1]
    ]
    axes.set_yticks(errors, [str(error) for error in errors])
    axes.minorticks_off()
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(arguments.folder / "learning-curve.png", dpi=150)


if __name__ == "__main__":
    main()
