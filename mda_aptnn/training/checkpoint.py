"""The state of a training run in HDF5, so that a killed run goes on to the same weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mda_aptnn import io
from mda_aptnn.errors import FileFormatError, ModelError, TrainingError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.file import load_state, read_arrays, state_arrays, write_arrays
from mda_aptnn.tensors import AnyTarget, flat_tensors

if TYPE_CHECKING:
    from mda_aptnn.training.loop import Run


def checkpoint_path(model: Path) -> Path:
    """Return where the checkpoint of a model in the making stands: MODEL.checkpoint.h5 beside it."""
    return model.with_name(f"{model.stem}.checkpoint.h5")


def identity(
    settings: Mapping[str, Mapping[str, Any]], data: Mapping[str, Dataset], target: AnyTarget
) -> str:
    """Return, as JSON, all that decides about the weights: settings and the content of the data."""
    digests = {}
    for name, dataset in data.items():
        digest = hashlib.sha256()
        for item in dataset:
            digest.update(item.frame.fingerprint().encode())
            digest.update(np.ascontiguousarray(flat_tensors(target, item.tensors), "<f8").tobytes())
        digests[f"{name} frames"] = digest.hexdigest()
    flat = {
        f"{table}.{key}": value
        for table, values in settings.items()
        for key, value in values.items()
    }
    return json.dumps(flat | digests, sort_keys=True)


def save(path: Path, run: Run, who: str) -> None:
    """Write the state of `run`; the file before it is replaced when the new one is complete."""
    with io.create(path, "checkpoint") as file:
        file.attrs["identity"] = who
        for name in ("step", "seconds", "best_step", "best_error"):
            file.attrs[name] = getattr(run, name)
        write_arrays(file, "network", state_arrays(run.network))
        write_arrays(file, "average", state_arrays(run.average))
        write_arrays(file, "best", run.best)
        write_arrays(
            file, "learning", {key: np.asarray(values) for key, values in run.learning.items()}
        )
        for index, state in run.optimizer.state_dict()["state"].items():
            write_arrays(
                file, f"optimizer/{index}", {key: value.numpy() for key, value in state.items()}
            )


def restore(path: Path, run: Run, who: str) -> None:
    """Set `run` to the state in the file.

    Raises
    ------
    TrainingError
        If the file is of a run with other settings or data, or damaged; says what differs and what
        to do.
    """
    try:
        with io.open_checked(path, "checkpoint") as file:
            _same(json.loads(file.attrs["identity"]), json.loads(who), path)
            run.step, run.best_step = int(file.attrs["step"]), int(file.attrs["best_step"])
            run.seconds, run.best_error = (
                float(file.attrs["seconds"]),
                float(file.attrs["best_error"]),
            )
            load_state(run.network, read_arrays(file, "network"))
            load_state(run.average, read_arrays(file, "average"))
            run.best = read_arrays(file, "best")
            run.learning = {
                key: values.tolist() for key, values in read_arrays(file, "learning").items()
            }
            optimizer = run.optimizer.state_dict()
            optimizer["state"] = {
                int(index): {
                    key: torch.as_tensor(values)
                    for key, values in read_arrays(file, f"optimizer/{index}").items()
                }
                for index in file["optimizer"]
            }
            run.optimizer.load_state_dict(optimizer)
    except (FileFormatError, ModelError) as error:
        raise TrainingError(
            f"cannot resume from {path}: {error}; delete it to train from the beginning"
        ) from error


def _same(found: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    differing = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
    if differing:
        raise TrainingError(
            f"{path} is of an unfinished run with other {', '.join(differing)}: repeat that run's "
            f"command to finish "
            "it, delete the file to begin anew, or choose another output"
        )


def remove(path: Path) -> None:
    """Delete the checkpoint of a finished run."""
    io.remove(path, "checkpoint")
