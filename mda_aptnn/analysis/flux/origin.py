"""What a flux was made of: names that are stored with it, and by which a checkpoint knows its own run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mda_aptnn.frames import Frame
from mda_aptnn.hdf5 import file_hash


def model_identity(source: Any, model: Any) -> str:
    """Name and content hash of a model file, the class of any other object.

    Parameters
    ----------
    source : str, path or object
        What the user gave.
    model : object
        What it became.
    """
    path = getattr(model, "path", None)
    if path is not None:
        return f"{Path(path).stem} (sha256 {file_hash(path)[:16]})"
    return type(source).__name__


def model_signature(source: Any, model: Any, frame: Frame) -> str:
    """`model_identity`, for an object with what it predicts for `frame`, in few digits.

    On other hardware the last ones differ.
    """
    identity = model_identity(source, model)
    if getattr(model, "path", None) is None:
        tensors = np.asarray(model.predict(frame), dtype=float).ravel()
        identity += f" (predicts {np.cos(np.arange(len(tensors))) @ tensors:.4g})"
    return identity


def trajectory_files(trajectory: Any) -> list[str]:
    """Names of the trajectory's files, none for arrays in memory."""
    return [str(name) for name in getattr(trajectory, "filenames", [trajectory.filename]) if name is not None]
