"""Stored polar tensors as a model: those of `mda-aptnn predict`, or labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from mda_aptnn import io
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Array, Frame
from mda_aptnn.labels.dataset import LabelledFrame, read_labels
from mda_aptnn.tensors import APT, TARGETS, AnyTarget, joint
from mda_aptnn.trajectory.universe_frames import as_frame

#: Å by which an atom may be off in the frame that is looked for: three decimals.
SAME = 1e-3


class StoredTensors:
    """Tensors of a file, for the frames that are in it: "labels:FILE".

    A frame is known by its elements, its cell, and where each atom is, in any periodic image.

    Parameters
    ----------
    path : path
        HDF5 of this package, or extended XYZ.

    Raises
    ------
    ModelError
        If there is no such file, or it has no polar tensors.
    FileFormatError
        If it is damaged or foreign.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not Path(path).is_file():
            raise ModelError(f"labels:{path}: there is no such file")
        io.protect([path])
        data = read_labels(path)
        self._path, self._items, self._next = Path(path), data.frames, 0
        names = set.intersection(*(set(item.tensors) for item in data))
        if APT.name not in names:
            raise ModelError(f"{path} has no polar tensors of every frame")
        #: What there is of every frame.
        self.target: AnyTarget = joint([TARGETS[name] for name in TARGETS if name in names])
        self.info = {"architecture": "stored tensors", "level_of_theory": data.level_of_theory}

    def predict(self, atoms: Any) -> Array:
        """Return the stored polar tensors [n_atoms, 3, 3] in e of a Frame, AtomGroup or Universe.

        Raises
        ------
        ModelError
            If the frame is not in the file, or an atom has no tensor there.
        """
        return self.predict_tensors(atoms)[APT.name]

    def predict_tensors(self, atoms: Any) -> dict[str, Array]:
        """Return all that is stored of a frame, by name."""
        frame, rows = as_frame(atoms)
        item = self._find(frame)
        found = {part.name: item.tensors[part.name] for part in self.target.parts}
        return found if rows is None else {name: values[rows] for name, values in found.items()}

    def _find(self, frame: Frame) -> LabelledFrame:
        """The stored frame: the one after the last that was found, most often."""
        count = len(self._items)
        for number in (k % count for k in range(self._next, self._next + count)):
            item = self._items[number]
            if not _same(item.frame, frame):
                continue
            if any(np.isnan(item.tensors[part.name]).any() for part in self.target.parts):
                raise ModelError(f"frame {number} of {self._path} has atoms without a tensor")
            self._next = number + 1
            return item
        which = "the frame" if frame.number is None else f"frame {frame.number} (counted from 0)"
        raise ModelError(
            f"{which} is not among the {count} of {self._path}: predict or label it first"
        )


def _same(stored: Frame, frame: Frame) -> bool:
    """Whether two frames are one configuration."""
    return (
        np.array_equal(stored.numbers, frame.numbers)
        and np.array_equal(stored.pbc, frame.pbc)
        and np.abs((stored.cell - frame.cell)[frame.pbc]).max(initial=0.0) < SAME
        and np.abs(frame.box.nearest(stored.positions - frame.positions)).max() < SAME
    )
