"""What a result shows where it is the last line of a notebook's cell: its own picture."""

from __future__ import annotations

import abc
import os
import tempfile
from pathlib import Path
from typing import Any


class Pictured(abc.ABC):
    """A result with a picture, which notebooks show of it (IPython's ``_repr_png_``)."""

    @abc.abstractmethod
    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw it; into a file, where there is a path."""

    def _repr_png_(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder) / "picture.png"
            self.plot(picture)
            return picture.read_bytes()
