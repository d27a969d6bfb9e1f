"""Folders that this package fills and empties: by one process at a time, and nothing else in them
is deleted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from mda_aptnn import io
from mda_aptnn.errors import BusyError

#: Name of the lock in a folder.
LOCK = ".lock"

#: Locks of this process. One that was forked off it has none of them, so that it cannot outlive
#: them.
_held: set[int] = set()


def _let_go() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[bool]:
    """Give whether this process has a lock for itself; the system frees it when the process dies.

    Parameters
    ----------
    file : Path
        Stands for the lock; it is made, and removed at the end.
    """
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        free = io.lock(handle) is not False
        if not free or _is_named(handle, file):
            break
        # its process ended between the two steps and has removed it
        os.close(handle)
    _held.add(handle)
    try:
        yield free
    finally:
        if handle in _held:
            # a lock of ours is empty: whatever else has its name stays
            if free and _is_named(handle, file) and os.fstat(handle).st_size == 0:
                file.unlink()
            _held.discard(handle)
            os.close(handle)


@contextlib.contextmanager
def reserved(file: Path, what: str) -> Iterator[None]:
    """Hold a lock, or say that another process has it.

    Parameters
    ----------
    file : Path
        As for `locked`.
    what : str
        What it is the lock of, for the error.

    Raises
    ------
    BusyError
        If another process has it.
    """
    with locked(file) as free:
        if not free:
            raise BusyError(
                f"another process is at work on {what}: wait until it ends, or name another one"
            )
        yield


def _is_named(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(file))
    except FileNotFoundError:
        return False


def clear(folder: Path) -> None:
    """Remove a folder of one level that this package made to work in.

    A link to a folder is left alone, and so are folders inside and what they hold.

    Parameters
    ----------
    folder : Path
        Its name must be one that only this package gives.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    with contextlib.suppress(OSError):
        for item in folder.iterdir():
            if item.is_symlink() or not item.is_dir():
                item.unlink()
        folder.rmdir()
