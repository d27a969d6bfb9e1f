"""Frames that are done: a folder of block files that an interrupted run can go on from."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import folders, io
from mda_aptnn.errors import FileFormatError, TrajectoryError, WorkerError

logger = logging.getLogger(__name__)

#: A block of finished frames is written when it is this old, in s, or this large.
_BLOCK_SECONDS = 20.0
_BLOCK_BYTES = 32_000_000

#: What a folder of finished frames is known by: its plan, which says so.
_PLAN, _KIND = "plan.json", "finished frames of mda-aptnn"
_BLOCK = re.compile(r"block-\d{9,}-[0-9a-f]{16}\.h5")
#: A run over several trajectories has a folder for each in one.
_PART = re.compile(r"part-\d+")


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder for finished frames that holds something else, before anything is written
    into it.

    Raises
    ------
    FileFormatError
        If it is not empty, and neither it nor one of its parts has a plan of this package.
    NotADirectoryError
        If it is a file.
    """
    folder = Path(folder)
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{folder} is a file, and finished frames need a folder: give another --checkpoint"
        )
    places = [folder, *_parts(folder)]
    if any(map(_is_ours, places)):
        return
    for place in places:
        io.sweep(place)
        for item in place.iterdir():
            if item.name != folders.LOCK and not _PART.fullmatch(item.name):
                raise FileFormatError(
                    f"{folder} is not empty and holds no finished frames of this version of "
                    f"mda-aptnn (there is {item.name}): move it away, or give another folder by "
                    "--checkpoint"
                )


def remove(folder: str | os.PathLike[str]) -> None:
    """Delete the finished frames in a folder; the folder too, if nothing else is in it.

    Only plans that say that they are of this package, and the blocks beside them; no link is
    followed into another folder. For whom has the folder's lock.
    """
    folder = Path(folder)
    for part in (*_parts(folder), folder):
        io.sweep(part)
        if _is_ours(part):
            for path in _blocks(part):
                io.remove(path, "block")
            if not list(part.glob("block-*.h5")):
                (part / _PLAN).unlink()
        if {item.name for item in part.glob("*")} == {folders.LOCK}:
            (part / folders.LOCK).unlink()
        with contextlib.suppress(OSError):  # something else is in it, or it is no folder
            part.rmdir()


def _parts(folder: Path) -> list[Path]:
    """Folders of the single trajectories; no links."""
    found = sorted(item for item in folder.glob("part-*") if _PART.fullmatch(item.name))
    return [item for item in found if item.is_dir() and not item.is_symlink()]


def _blocks(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("block-*.h5") if _BLOCK.fullmatch(path.name))


def _is_ours(folder: Path) -> bool:
    """Whether a folder has a plan that says that this package wrote it."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return bool(dict(json.loads((folder / _PLAN).read_text())).get("kind") == _KIND)
    return False


class BlockStore:
    """Rows of arrays, one row per frame of the trajectory, in files that are written once and
    whole.

    Several processes may write into one folder, each block under the name of its first frame. Every
    row has the fingerprint of its frame: a trajectory may have been run again under its name, in
    whole or from some frame on, or have become longer. Rows are used again for the frames that are
    still the same.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    plan : dict
        What the rows depend on (model, atoms, options). A folder of another plan is refused.
    files : sequence of str
        The trajectory's files. Of blocks that were written when these had the same sizes and times,
        only the first and the last frame are compared with the trajectory, of others all; of arrays
        in memory always all.

    Raises
    ------
    TrajectoryError
        If the folder belongs to another plan; names what differs.
    FileFormatError
        If its plan cannot be read, or the folder holds something else.
    """

    def __init__(
        self, folder: str | os.PathLike[str], plan: dict[str, Any], files: Sequence[str]
    ) -> None:
        self.folder = Path(folder)
        states = [os.stat(name) for name in files if os.path.exists(name)]
        own = [[state.st_size, state.st_mtime_ns] for state in states]
        self._trajectory = json.dumps(own) if own else ""
        # which rows of a block are of other frames than the trajectory has now
        self._stale: dict[str, NDArray[np.bool_]] = {}
        self._pending: list[tuple[int, dict[str, Any]]] = []
        self._since = 0.0
        plan = {"kind": _KIND, **plan}
        file = self.folder / _PLAN
        if not file.exists():
            check_folder(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
        io.check_writable(file)
        io.sweep(self.folder)
        if not file.exists():
            with io.replacing(file, _KIND) as temporary:
                temporary.write_text(json.dumps(plan, indent=1))
        io.protect([file], _KIND)
        try:
            differ = io.differing(dict(json.loads(file.read_text())), plan)
        except (TypeError, ValueError) as error:
            raise FileFormatError(
                f"{file} is damaged; remove the folder or give another one"
            ) from error
        if differ:
            raise TrajectoryError(
                f"checkpoint {self.folder} belongs to another run (differs in "
                f"{', '.join(differ)}); remove the folder or give another one"
            )

    def add(self, frame: int, row: dict[str, Any]) -> None:
        """Keep the arrays of one frame, with its "fingerprint"; they are written when enough has
        come together.
        """
        if not self._pending:
            self._since = time.monotonic()
        self._pending.append((frame, row))
        size = len(self._pending) * sum(np.asarray(value).nbytes for value in row.values())
        if time.monotonic() - self._since > _BLOCK_SECONDS or size > _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the frames that were added since the last block."""
        if not self._pending:
            return
        frames = np.array([frame for frame, _ in self._pending], dtype=np.int64)
        name = f"block-{frames[0]:09d}-{int(self._pending[0][1]['fingerprint']):016x}.h5"
        with io.create(self.folder / name, "block") as file:
            file.attrs["trajectory"] = self._trajectory
            io.write_array(file, "frames", frames)
            for name in self._pending[0][1]:
                io.write_array(file, name, np.array([row[name] for _, row in self._pending]))
        self._pending = []

    def missing(
        self, wanted: NDArray[np.int64], fingerprint: Callable[[int], np.uint64]
    ) -> NDArray[np.int64]:
        """Return the wanted frames that are not there as the trajectory has them now.

        Parameters
        ----------
        wanted : ndarray of int, shape [n_frames]
        fingerprint : callable
            Of a frame of the trajectory, by its number.
        """
        now = functools.cache(fingerprint)
        there: set[int] = set()
        others: set[int] = set()
        for file, frames, prints in self._files():
            at = np.flatnonzero(np.isin(frames, wanted))
            ends = {*at[:1], *at[-1:]}
            same = {k: bool(now(int(frames[k])) == prints[k]) for k in ends}
            unchanged = bool(self._trajectory) and file.attrs["trajectory"] == self._trajectory
            # of files that are as they were, the ends are enough
            if not unchanged or not all(same.values()):
                same = {k: bool(now(int(frames[k])) == prints[k]) for k in at}
            stale = self._stale[file.filename] = np.zeros(len(frames), dtype=bool)
            stale[at] = [not same.get(k, True) for k in at]
            there.update(frames[at[~stale[at]]].tolist())
            others.update(frames[stale].tolist())
        if there:
            logger.info("%d of %d frames are in %s", len(there), len(wanted), self.folder)
        if others - there:
            logger.warning(
                "%d frames in %s are not those of the trajectory as it is now, the first is %d: "
                "predicted again",
                len(others - there),
                self.folder,
                min(others - there),
            )
        return np.setdiff1d(wanted, sorted(there))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from the folder, and say what is in it if a worker dies.

        Raises
        ------
        BusyError
            If another process fills it.
        """
        try:
            with folders.reserved(self.folder / folders.LOCK, f"the checkpoint {self.folder}"):
                yield
        except WorkerError as error:
            raise WorkerError(
                f"{error}; what is computed is kept in {self.folder}, and used then"
            ) from error

    def rows(
        self, frames: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
        """Give, block by block, the places in `frames` that a block fills and its rows for them."""
        missing = np.ones(len(frames), dtype=bool)
        for file, stored, _ in self._files():
            _, places, at = np.intersect1d(frames, stored, return_indices=True)
            stale = self._stale.get(file.filename, np.zeros(len(stored), dtype=bool))
            wanted = missing[places] & ~stale[at]
            places, at = places[wanted], at[wanted]
            missing[places] = False
            if len(at):
                yield (
                    places,
                    {name: io.read_array(file, name)[at] for name in file if name != "frames"},
                )
        if missing.any():
            raise FileFormatError(
                f"{self.folder} lacks frame {frames[missing][0]}; run again with this checkpoint"
            )

    def _files(self) -> Iterator[tuple[Any, NDArray[np.int64], NDArray[np.uint64]]]:
        """Give each block, open, with its frames and their fingerprints."""
        for path in _blocks(self.folder):
            with io.open_checked(path, "block") as file:
                frames = io.read_array(file, "frames", shape=(None,), kinds="i")
                yield (
                    file,
                    frames,
                    io.read_array(file, "fingerprint", shape=(len(frames),), kinds="u"),
                )
