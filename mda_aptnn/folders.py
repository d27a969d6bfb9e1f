"""Folders that this package fills and empties: nothing in them is deleted but what it wrote itself."""

from __future__ import annotations

import contextlib
from pathlib import Path


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
