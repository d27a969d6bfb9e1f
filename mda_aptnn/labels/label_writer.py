"""Labelled frames written as they come, so that no more than a few are in memory."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from mda_aptnn import io
from mda_aptnn.errors import LabelError
from mda_aptnn.tensors import TARGETS

if TYPE_CHECKING:
    from mda_aptnn.labels.dataset import LabelledFrame

#: Atoms that are gathered before they are written.
_ATOMS = 20_000
#: Units of the arrays of frames and atoms; others are numbers, flags and text.
_UNITS = {"positions": "angstrom", "cell": "angstrom", "charge": "e"}


def write_labels(
    items: Iterable[LabelledFrame], path: str | os.PathLike[str], level_of_theory: str = ""
) -> int:
    """Write labelled frames to HDF5, or to extended XYZ if the name ends in .xyz, and return how
    many there were.

    Parameters
    ----------
    items : iterable of LabelledFrame
        Taken one after the other; all with the tensors that the first one has.
    path : path
    level_of_theory : str

    Returns
    -------
    int

    Raises
    ------
    LabelError
        If there are no frames, or one has other tensors than the first.
    """
    from mda_aptnn.labels.dataset import xyz_text

    rest = iter(items)
    first = next(rest, None)
    if first is None:
        raise LabelError("there are no frames to write")
    everything = itertools.chain([first], rest)
    if Path(path).suffix == ".xyz":
        n_frames = 0
        with io.replacing(path) as temporary, open(temporary, "w") as text:
            for item in everything:
                text.write(xyz_text(item, level_of_theory))
                n_frames += 1
        return n_frames
    with io.create(path, "labels") as file:
        return write_frames(file, everything, sorted(first.tensors), level_of_theory)


def write_frames(
    file: h5py.File,
    items: Iterable[LabelledFrame],
    names: Sequence[str],
    level_of_theory: str = "",
    sources: dict[str, str] | None = None,
) -> int:
    """Write frames into an open file: atoms of all one after the other, `offsets` where each
    begins.

    Parameters
    ----------
    file : h5py.File
        Empty.
    items : iterable of LabelledFrame
    names : sequence of str
        Of the tensors; NaN where a frame lacks one.
    level_of_theory : str
    sources : dict of str to str, optional
        File names and their SHA-256.

    Returns
    -------
    int
        How many frames there were.

    Raises
    ------
    LabelError
        If there are no frames, or one has other tensors.
    """
    file.attrs["level_of_theory"] = level_of_theory
    file.attrs["sources"] = json.dumps(sources or {})
    offsets, waiting, n_waiting = [0], [], 0
    for item in items:
        if not set(item.tensors) <= set(names):
            raise LabelError(
                f"frame {len(offsets) - 1} has tensors {sorted(item.tensors)}, expected "
                f"{list(names)}"
            )
        offsets.append(offsets[-1] + len(item.frame))
        waiting.append(_rows(item, names))
        n_waiting += len(item.frame)
        if n_waiting >= _ATOMS:
            _append(file, waiting)
            waiting, n_waiting = [], 0
    if waiting:
        _append(file, waiting)
    if len(offsets) == 1:
        raise LabelError("there are no frames to write")
    io.write_array(file, "offsets", np.array(offsets))
    return len(offsets) - 1


def _rows(item: LabelledFrame, names: Sequence[str]) -> dict[str, Any]:
    frame = item.frame
    tensors = {
        name: item.tensors.get(name, np.full((len(frame), *TARGETS[name].shape), np.nan))
        for name in names
    }
    return {
        "numbers": frame.numbers,
        "positions": frame.positions,
        "cell": frame.cell[None],
        "pbc": np.asarray(frame.pbc)[None],
        "charge": np.array([frame.charge], dtype=float),
        **tensors,
        "info": np.array([json.dumps(item.info)], dtype=object),
    }


def _append(file: h5py.File, rows: Sequence[dict[str, Any]]) -> None:
    for name in rows[0]:
        values = np.concatenate([row[name] for row in rows])
        if name in file:
            dataset = file[name]
            dataset.resize(len(dataset) + len(values), axis=0)
            dataset[-len(values) :] = values
            continue
        unit = TARGETS[name].unit if name in TARGETS else _UNITS.get(name)
        kind = {"dtype": h5py.string_dtype()} if name == "info" else {}
        io.write_array(file, name, values, unit, maxshape=(None, *values.shape[1:]), **kind)
