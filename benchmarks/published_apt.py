"""Train on the published polar tensors of liquid water with the defaults of `mda-aptnn train`, and
test.

    python benchmarks/published_apt.py --data DIR [--split ten|most|all] [--test FILE] [--steps N]
    [--taught]

DIR holds `published-10.xyz` and `published-more-19.xyz`: frames of the set that P. Schienbein
published with the program AtomicPolarTensor (GPL-3.0) for J. Chem. Theory Comput. 19, 705 (2023):
RPBE-D3, 128 molecules. They cannot be part of this repository, so their checksums are here.
Published with the ten frames: 0.0324 e per component.

    ten    nine frames of published-10 and one for validation, tested on the 19 others
    most   24 frames of the 29 and one for validation, tested on four
    all    all 29, one of them for validation; give --test

With --taught a dipole network learns from the frames first, labels 200 frames of the bundled
trajectory, and the default network learns from both (`mda-aptnn distil`). Errors of teacher and
student are printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import MDAnalysis as mda
import numpy as np
import torch

from mda_aptnn.io import file_hash
from mda_aptnn.labels.dataset import Dataset, read_labels
from mda_aptnn.model.density import NetworkConfig
from mda_aptnn.model.dipole import DipoleConfig
from mda_aptnn.model.predict import BUNDLED
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.distil import TEACHER, distil
from mda_aptnn.training.evaluate import evaluate
from mda_aptnn.training.fit import fit

FILES = {
    "published-10.xyz": "5d740507d113f55d78c5be2d09c7f9c091ae8a66d1a0a59bba33b59cdd516b59",
    "published-more-19.xyz": "d430130d7f662055980680e5a759ab64752effe69faf5a475cc79e7c5a32de9a",
}
#: Test error in e that was published with ten frames.
PUBLISHED = 0.0324
#: The cell, which the files lack, in Å.
CELL = 15.6627 * np.eye(3)
#: Of all 29 frames, counted from 0 in the order of FILES: what the split "most" tests on and
#: validates by.
TEST, VALIDATION = (3, 12, 20, 27), (15,)

Split = tuple[Dataset, Dataset | None, Dataset | None]


def read(folder: Path, split: str) -> Split:
    """Return frames of training, validation (None: drawn by the seed) and test (None: none)."""
    for name, known in FILES.items():
        if file_hash(folder / name) != known:
            raise SystemExit(f"{folder / name} is not the file that the published figures are for")
    ten, more = (read_labels(folder / name, CELL) for name in FILES)
    if split == "ten":
        return ten, None, more
    everything = read_labels([folder / name for name in FILES], CELL)
    if split == "all":
        return everything, None, None
    kept = [k for k in range(len(everything)) if k not in TEST + VALIDATION]
    return everything.subset(kept), everything.subset(VALIDATION), everything.subset(TEST)


def seconds_to(learning: dict[str, np.ndarray], error: float = PUBLISHED) -> float | None:
    """Return the wall time after which the validation error was below the published test error, or
    None.
    """
    below = np.flatnonzero(learning["validation_rmse"] < error)
    return round(float(learning["seconds"][below[0]]), 1) if len(below) else None


def train_and_test(
    data: Split, network: Any, training: TrainingConfig, path: Path, verbose: bool = False
) -> dict[str, object]:
    """Train, and return times and errors on the test frames."""
    cpu, wall = time.process_time(), time.monotonic()
    model = fit(data[0], network, training, path, validation=data[1], verbose=verbose)
    result: dict[str, object] = {
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "wall_seconds": round(time.monotonic() - wall, 1),
        "steps": training.steps,
        "validation_rmse": model.info["accuracy"]["validation"]["rmse"],
        "seconds_to_published_error": seconds_to(model.contents.members[0].learning),
    }
    if data[2] is not None:
        result["test"] = evaluate(model, data[2]).summary()
    return result


def teach_and_test(data: Split, seed: int, folder: Path, path: Path) -> dict[str, object]:
    """Train a teacher, and a student on frames that it labels; return times and errors of both."""
    # the validation frame is the teacher's; the student is chosen by frames that the teacher
    # labelled
    training, teacher = dataclasses.replace(TEACHER, seed=seed), folder / "teacher.h5"
    return {
        "teacher": train_and_test(data, DipoleConfig(), training, teacher, verbose=True),
        "student": taught_and_tested(data, teacher, path, seed),
    }


def demonstration() -> mda.Universe:
    """The bundled trajectory."""
    return mda.Universe(str(BUNDLED / "water64.pdb"), str(BUNDLED / "water64.h5md"))


def taught_and_tested(data: Split, teacher: Path, path: Path, seed: int = 0) -> dict[str, Any]:
    """Train a student on the labels and on frames of the bundled trajectory, and test it."""
    cpu = time.process_time()
    student = distil(teacher, demonstration(), path, labels=data[0], seed=seed, verbose=True)
    result: dict[str, Any] = {
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "error_from_teacher": student.info["accuracy"]["validation"]["rmse"],
    }
    if data[2] is not None:
        result["test"] = evaluate(student, data[2]).summary()
    return result


def main() -> None:
    """Train with the defaults and print what came of it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=("ten", "most", "all"), default="ten")
    parser.add_argument("--test", type=Path, help="labelled frames to test on instead")
    parser.add_argument("--steps", type=int, default=TrainingConfig.steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--taught", action="store_true", help="by a dipole network as the teacher")
    parser.add_argument("--model", type=Path, help="keep the model as this file")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    training, validation, test = read(arguments.data, arguments.split)
    if arguments.test is not None:
        test = read_labels(arguments.test, CELL)
    config = TrainingConfig(steps=arguments.steps, seed=arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.model or Path(folder) / "model.h5"
        if arguments.taught:
            result = teach_and_test(
                (training, validation, test), arguments.seed, Path(folder), path
            )
        else:
            result = train_and_test(
                (training, validation, test), NetworkConfig(), config, path, verbose=True
            )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
