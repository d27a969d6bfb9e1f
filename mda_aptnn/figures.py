"""Figures of matplotlib: drawn without a display when they go to a file, written under a temporary name."""

from __future__ import annotations

import os
from typing import Any

from mda_aptnn import hdf5


def new_figure(path: str | os.PathLike[str] | None, size: tuple[float, float] = (7.0, 4.2)) -> Any:
    """Return a figure without a display if it goes to a file, one that can be shown otherwise."""
    if path is not None:
        from matplotlib.figure import Figure

        return Figure(figsize=size, layout="constrained")
    import matplotlib.pyplot as plt

    return plt.figure(figsize=size, layout="constrained")


def plain(name: str) -> str:
    """Return a name that matplotlib draws letter by letter: no formula between dollars, none missing in legends."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure under a temporary name, then rename it."""
    with hdf5.replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
