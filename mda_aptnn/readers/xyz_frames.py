"""Where the complete frames of one of CP2K's XYZ files are, and their numbers."""

from __future__ import annotations

import bz2
import gzip
import mmap
import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import FileFormatError

#: The comment line of a frame, `` i = 20, time = 10.000, E = ...``; energies may be anything.
COMMENT = re.compile(rb"\n[ \t]*i = *(\d+)(?:, *time = *([-+.\dEe]+))?[^\n]*\n")

_OPEN: weakref.WeakValueDictionary[tuple[str, int, int], XYZFrames] = weakref.WeakValueDictionary()


class XYZFrames:
    """An XYZ file as CP2K writes it, indexed once.

    A frame that is cut, at the end or where a killed job was continued, is left out. Where step numbers go back,
    as after a restart from an earlier step, the frames from there on that were written before are replaced.

    Parameters
    ----------
    path : path
        May be compressed (``.gz``, ``.bz2``); it is then unpacked once into a temporary file.

    Attributes
    ----------
    n_atoms : int
    steps : ndarray of int, shape [n_frames]
    times : ndarray, shape [n_frames]
        In fs, NaN where the file has none.
    repairs : list of str
        What was left out.

    Raises
    ------
    FileFormatError
        If it is no such file, holds no complete frame, or starts again from its first step.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._map = _mapped(self.path)
        found = [
            (int(match[1]), float(match[2]) if match[2] else np.nan, self._count_before(match.start()), match.end())
            for match in COMMENT.finditer(self._map)
        ]
        if not found or found[0][2][0] is None:
            raise FileFormatError(f"{path} is not an XYZ file of CP2K: no comment line like 'i = 0, time = 0.000'")
        self.n_atoms = int(found[0][2][0] or 0)
        self.repairs: list[str] = []
        ends = [start for _, _, (_, start), _ in found[1:]] + [len(self._map)]
        kept: list[tuple[int, float, int, int]] = []
        cut: list[int] = []
        replaced = 0
        for (step, time, (n_atoms, _), body), end in zip(found, ends, strict=True):
            if n_atoms != self.n_atoms:
                raise FileFormatError(f"{path}: step {step} has {n_atoms} atoms, the first frame {self.n_atoms}")
            if self._map[body:end].count(b"\n") < n_atoms:
                cut.append(step)
                continue
            if kept and step <= kept[0][0]:
                raise FileFormatError(
                    f"{path}: the step numbers start again at i = {step}: two runs in one file "
                    "(RESTART_COUNTERS F?); split it into two"
                )
            while kept and kept[-1][0] >= step:
                kept.pop()
                replaced += 1
            kept.append((step, time, body, end))
        if not kept:
            raise FileFormatError(f"{path} holds no complete frame")
        if cut:
            self.repairs.append(f"{self.path.name}: left out the incomplete frame of step {', '.join(map(str, cut))}")
        if replaced:
            self.repairs.append(
                f"{self.path.name}: {replaced} frames were written again after a restart; the later ones count"
            )
        self.steps = np.array([row[0] for row in kept], dtype=np.int64)
        self.times = np.array([row[1] for row in kept])
        self._bodies = [(row[2], row[3]) for row in kept]

    def _count_before(self, comment: int) -> tuple[int | None, int]:
        """The number of atoms in the line above a comment, and where that line begins.

        After a cut, the number stands behind what is left of the frame before.
        """
        start = self._map.rfind(b"\n", 0, comment) + 1
        last = self._map[start:comment].split()[-1:]
        return (int(last[0]) if last and last[0].isdigit() else None), start

    def read(self, frame: int) -> tuple[list[bytes], NDArray[np.float64]]:
        """Return names and numbers [n_atoms, 3] of a frame, as they are in the file.

        Raises
        ------
        FileFormatError
            If a line is not a name and three numbers.
        """
        first, last = self._bodies[frame]
        tokens = self._map[first:last].split()
        try:
            if len(tokens) != 4 * self.n_atoms:
                raise ValueError(f"{len(tokens)} columns in all instead of {4 * self.n_atoms}")
            table = np.array(tokens).reshape(self.n_atoms, 4)
            return tokens[::4], table[:, 1:].astype(float)
        except ValueError as error:
            raise FileFormatError(f"{self.path}, step {self.steps[frame]}: {error}") from error

    def __len__(self) -> int:
        return len(self.steps)


def open_frames(path: str | os.PathLike[str]) -> XYZFrames:
    """Return the index of a file, shared while somebody has it open and the file is the same."""
    status = os.stat(path)
    key = (os.path.realpath(path), status.st_mtime_ns, status.st_size)
    frames = _OPEN.get(key)
    if frames is None:
        frames = _OPEN[key] = XYZFrames(path)
    return frames


def _mapped(path: Path) -> mmap.mmap:
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix)
    if opener is None:
        with open(path, "rb") as file:
            return _map(file, path)
    with tempfile.TemporaryFile() as unpacked:
        try:
            with opener(path, "rb") as source:
                shutil.copyfileobj(source, unpacked, 1 << 20)
        except (EOFError, OSError) as error:
            raise FileFormatError(f"{path} cannot be unpacked: {error}") from error
        unpacked.flush()
        return _map(unpacked, path)


def _map(file: IO[bytes], path: Path) -> mmap.mmap:
    if os.fstat(file.fileno()).st_size == 0:
        raise FileFormatError(f"{path} is empty")
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
