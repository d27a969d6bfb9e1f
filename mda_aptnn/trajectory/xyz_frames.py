"""Where the complete frames of one of CP2K's XYZ files are, and their numbers."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import os
import re
import tempfile
import weakref
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import FileFormatError

#: The comment line of a frame, `` i = 20, time = 10.000, E = ...``; energies may be anything.
COMMENT = re.compile(rb"\n[ \t]*i = *(\d+)(?:, *time = *([-+.\dEe]+))?[^\n]*\n")

#: Bytes that are looked through at a time.
_BLOCK = 1 << 24
#: Numbers of a simulation are packed to a third; what unpacks to more than so many times its size,
#: and is larger than so many bytes, is no such file.
_LARGEST_EXPANSION, _LARGE = 100, 100_000_000
#: Bytes that are unpacked to see whether a file is packed more than that.
_GLANCE = 1 << 25

#: By the endings of packed files.
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open}

_OPEN: weakref.WeakValueDictionary[tuple[str, int, int], XYZFrames] = weakref.WeakValueDictionary()


class XYZFrames:
    """An XYZ file as CP2K writes it, indexed once.

    A frame that is cut, at the end or where a killed job was continued, is left out. Where step
    numbers go back, as after a restart from an earlier step, the frames from there on that were
    written before are replaced.

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
        # read and not mapped: where a mapped file is cut, the process ends
        self._file = open_unpacked(self.path)
        weakref.finalize(self, self._file.close)
        found, end_of_file = _comments(self._file, path)
        if not found or found[0].n_atoms is None:
            raise FileFormatError(foreign(path))
        self.n_atoms: int = found[0].n_atoms
        kept: list[tuple[int, float, int, int]] = []
        cut: list[str] = []
        replaced = 0
        ends = [*(frame.begin for frame in found[1:]), end_of_file]
        for frame, end in zip(found, ends, strict=True):
            if frame.n_atoms != self.n_atoms:
                raise FileFormatError(
                    f"{path}: step {frame.step} has {frame.n_atoms} atoms, the first frame "
                    f"{self.n_atoms}"
                )
            if end.lines - frame.body.lines < self.n_atoms:
                cut.append(str(frame.step))
                continue
            if kept and frame.step <= kept[0][0]:
                raise FileFormatError(
                    f"{path}: the step numbers start again at i = {frame.step}: two runs in one "
                    "file (RESTART_COUNTERS F?); split it into two"
                )
            while kept and kept[-1][0] >= frame.step:
                kept.pop()
                replaced += 1
            kept.append((frame.step, frame.time, frame.body.byte, end.byte))
        if not kept:
            raise FileFormatError(f"{path} holds no complete frame")
        steps, times, first, last = zip(*kept, strict=True)
        self.steps, self.times = np.array(steps, dtype=np.int64), np.array(times)
        self._bodies = list(zip(first, last, strict=True))
        name = self.path.name
        self.repairs: list[str] = []
        if cut:
            self.repairs.append(f"{name}: left out the incomplete frame of step {', '.join(cut)}")
        if replaced:
            self.repairs.append(
                f"{name}: {replaced} frames were written again after a restart; the later ones "
                "count"
            )

    def read(self, frame: int) -> tuple[list[bytes], NDArray[np.float64]]:
        """Return names and numbers [n_atoms, 3] of a frame, as they are in the file.

        Raises
        ------
        FileFormatError
            If a line is not a name and three numbers, or the file has been cut since it was opened.
        """
        first, last = self._bodies[frame]
        # at a place of its own, so that forked processes do not move each other's
        text = os.pread(self._file.fileno(), last - first, first)
        if len(text) < last - first:
            raise FileFormatError(
                f"{self.path}, step {self.steps[frame]}: the file has been cut while it was read"
            )
        tokens = text.split()
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


def largest_content(path: Path) -> int:
    """Return how many bytes the content of a file may have: more than any numbers are packed to, if
    it is packed.
    """
    size = os.stat(path).st_size
    return max(_LARGE, _LARGEST_EXPANSION * size) if path.suffix in _OPENERS else size


def check_packed(path: Path) -> None:
    """Refuse a packed file that begins with more than numbers are packed to, before a reader of
    others unpacks it.

    Raises
    ------
    FileFormatError
        If its first 32 MB come from less than a hundredth of that.
    """
    opener = _OPENERS.get(path.suffix)
    if opener is None:
        return
    with open(path, "rb") as packed, contextlib.suppress(EOFError, OSError, zlib.error):
        with opener(packed, "rb") as source:
            length = len(source.read(_GLANCE))
        # what is read ahead is 128 kB at most
        if length == _GLANCE and packed.tell() * _LARGEST_EXPANSION < length:
            raise FileFormatError(_bomb(path))


def foreign(path: str | os.PathLike[str]) -> str:
    """Return what is said of a file of another kind."""
    return f"{path} is not an XYZ file of CP2K: no comment line like 'i = 0, time = 0.000'"


def _bomb(path: Path) -> str:
    return (
        f"{path} unpacks to more than {_LARGEST_EXPANSION} times its size, unlike trajectories; if "
        "it is one, unpack it yourself"
    )


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading, or a temporary one with what is packed in it.

    Raises
    ------
    FileFormatError
        If it is empty, cannot be unpacked, or has more in it than numbers can be packed to.
    """
    opener = _OPENERS.get(path.suffix)
    if os.stat(path).st_size == 0:
        raise FileFormatError(f"{path} is empty")
    if opener is None:
        return open(path, "rb")
    with contextlib.ExitStack() as stack:
        unpacked = stack.enter_context(tempfile.TemporaryFile())
        try:
            with opener(path, "rb") as source:
                while block := source.read(_BLOCK):
                    if unpacked.tell() > largest_content(path):
                        raise FileFormatError(_bomb(path))
                    unpacked.write(block)
        except (EOFError, OSError, zlib.error) as error:
            raise FileFormatError(f"{path} cannot be unpacked: {error}") from error
        stack.pop_all()
    unpacked.seek(0)
    return unpacked


class _Place(NamedTuple):
    """A place in a file, and how many lines end before it."""

    byte: int
    lines: int


class _Comment(NamedTuple):
    """The comment of a frame: the number of atoms above it, where that begins, and where the atoms
    do.

    After a cut, the number stands behind what is left of the frame before.
    """

    step: int
    time: float
    n_atoms: int | None
    begin: _Place
    body: _Place


def _comments(file: IO[bytes], path: str | os.PathLike[str]) -> tuple[list[_Comment], _Place]:
    """Find all comments of a file, block by block, and its end."""
    found: list[_Comment] = []
    text, offset, lines, known = b"", 0, 0, -1
    while block := file.read(_BLOCK):
        text += block
        at, ended = 0, lines
        for match in COMMENT.finditer(text):
            if offset + match.start() <= known:
                continue
            known = offset + match.start()
            start = text.rfind(b"\n", 0, match.start()) + 1
            begin = _Place(offset + start, ended + text.count(b"\n", at, start))
            body = _Place(offset + match.end(), begin.lines + text.count(b"\n", start, match.end()))
            at, ended = match.end(), body.lines
            last = text[start : match.start()].split()[-1:]
            n_atoms = int(last[0]) if last and last[0].isdigit() else None
            found.append(
                _Comment(
                    int(match[1]), float(match[2]) if match[2] else np.nan, n_atoms, begin, body
                )
            )
        # a comment that is not complete yet, and the line above it, are looked at again with the
        # next block
        rest = max(0, text.rfind(b"\n", 0, max(0, text.rfind(b"\n"))))
        offset, lines, text = offset + rest, lines + text.count(b"\n", 0, rest), text[rest:]
        if len(text) > 2 * _BLOCK:
            raise FileFormatError(
                f"{path} is not an XYZ file of CP2K: it has a line of more than {_BLOCK} bytes"
            )
    return found, _Place(offset + len(text), lines + text.count(b"\n"))
