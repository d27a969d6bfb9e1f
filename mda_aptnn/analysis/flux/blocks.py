"""Frames that are done: a folder of block files that an interrupted or parallel run can go on from."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import folders, hdf5
from mda_aptnn.errors import FileFormatError, TrajectoryError

#: A block of finished frames is written when it is this old, in s, or this large.
_BLOCK_SECONDS = 20.0
_BLOCK_BYTES = 32_000_000

#: What a folder of finished frames is known by: its plan, which says so.
_PLAN, _KIND = "plan.json", "finished frames of mda-aptnn"
_BLOCK = re.compile(r"block-\d{9,}\.h5")
#: A run over several trajectories has a folder for each in one.
_PART = re.compile(r"part-\d+")


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder for finished frames that holds something else, before anything is written into it.

    Raises
    ------
    FileFormatError
        If it is not empty, and neither it nor one of its parts has a plan of this package.
    NotADirectoryError
        If it is a file.
    """
    folder = Path(folder)
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, and finished frames need a folder: give another --checkpoint")
    if any(_is_ours(part) for part in (folder, *_parts(folder))):
        return
    for part in (folder, *_parts(folder)):
        hdf5.sweep(part)
    inside = [item for item in folder.iterdir() if not _PART.fullmatch(item.name)]
    inside += [item for part in _parts(folder) for item in part.iterdir()]
    inside = [item for item in inside if item.name != folders.LOCK]
    if inside:
        raise FileFormatError(
            f"{folder} is not empty and holds no finished frames of this version of mda-aptnn (there is "
            f"{inside[0].name}): move it away, or give another folder by --checkpoint"
        )


def remove(folder: str | os.PathLike[str]) -> None:
    """Delete the finished frames in a folder; the folder too, if nothing else is in it.

    Only plans that say that they are of this package, and the blocks beside them; no link is followed into another
    folder. For whom has the folder's lock.
    """
    folder = Path(folder)
    for part in (*_parts(folder), folder):
        hdf5.sweep(part)
        if _is_ours(part):
            for path in part.glob("block-*.h5"):
                if _BLOCK.fullmatch(path.name):
                    hdf5.remove(path, "block")
            if not list(part.glob("block-*.h5")):
                (part / _PLAN).unlink()
        if {item.name for item in part.glob("*")} == {folders.LOCK}:
            (part / folders.LOCK).unlink()
        with contextlib.suppress(OSError):  # something else is in it, or it is no folder
            part.rmdir()


def _parts(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(item for item in found if _PART.fullmatch(item.name) and item.is_dir() and not item.is_symlink())


def _is_ours(folder: Path) -> bool:
    """Whether a folder has a plan that says that this package wrote it."""
    with contextlib.suppress(OSError, ValueError):
        plan = json.loads((folder / _PLAN).read_text())
        return isinstance(plan, dict) and plan.get("kind") == _KIND
    return False


class BlockStore:
    """Rows of arrays, one row per frame of the trajectory, in files that are written once and whole.

    Several processes may write into one folder, each block under the name of its first frame.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    plan : dict
        What the rows depend on (model, atoms, options). A folder of another plan is refused.

    Raises
    ------
    TrajectoryError
        If the folder belongs to another plan; names what differs.
    FileFormatError
        If its plan cannot be read, or the folder holds something else.
    """

    def __init__(self, folder: str | os.PathLike[str], plan: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self._pending: list[tuple[int, dict[str, Any]]] = []
        self._since = 0.0
        plan = {"kind": _KIND, **json.loads(json.dumps(plan))}
        file = self.folder / _PLAN
        if not file.exists():
            check_folder(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
        hdf5.check_writable(file)
        hdf5.sweep(self.folder)
        if file.exists():
            try:
                found = dict(json.loads(file.read_text()))
            except (TypeError, ValueError) as error:
                raise FileFormatError(f"{file} is damaged; remove the folder or give another one") from error
            differ = [key for key in plan if found.get(key) != plan[key]]
            if differ:
                raise TrajectoryError(
                    f"checkpoint {self.folder} belongs to another run (differs in {', '.join(differ)}); "
                    "remove the folder or give another one"
                )
        else:
            with hdf5.replacing(file, _KIND) as temporary:
                temporary.write_text(json.dumps(plan, indent=1))
        hdf5.protect([file], _KIND)

    def add(self, frame: int, row: dict[str, Any]) -> None:
        """Keep the arrays of one frame; they are written when enough has come together."""
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
        with hdf5.create(self.folder / f"block-{frames[0]:09d}.h5", "block") as file:
            hdf5.write_array(file, "frames", frames)
            for name in self._pending[0][1]:
                hdf5.write_array(file, name, np.array([row[name] for _, row in self._pending]))
        self._pending = []

    def done(self) -> NDArray[np.int64]:
        """Return the frames that are there, sorted."""
        found = [frames for _, frames in self._files()]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)

    def rows(self, frames: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
        """Give, block by block, the places in `frames` that a block fills and its rows for them."""
        missing = np.ones(len(frames), dtype=bool)
        order = np.argsort(frames, kind="stable")
        for path, stored in self._files():
            at = np.searchsorted(frames[order], stored).clip(0, len(frames) - 1)
            places = order[at]
            wanted = (frames[places] == stored) & missing[places]
            if not wanted.any():
                continue
            missing[places[wanted]] = False
            with hdf5.open_checked(path, "block") as file:
                rows = {name: hdf5.read_array(file, name)[wanted] for name in file if name != "frames"}
            yield places[wanted], rows
        if missing.any():
            raise FileFormatError(f"{self.folder} lacks frame {frames[missing][0]}; run again with this checkpoint")

    def _files(self) -> Iterator[tuple[Path, NDArray[np.int64]]]:
        for path in sorted(path for path in self.folder.glob("block-*.h5") if _BLOCK.fullmatch(path.name)):
            with hdf5.open_checked(path, "block") as file:
                yield path, hdf5.read_array(file, "frames", shape=(None,))
