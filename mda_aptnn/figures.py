"""Figures of matplotlib: drawn without a display when they go to a file, written under a temporary
name.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import Any

from mda_aptnn import io
from mda_aptnn.checks import Verdict


def new_figure(path: str | os.PathLike[str] | None, size: tuple[float, float] = (7.0, 4.2)) -> Any:
    """Return a figure without a display if it goes to a file, one that can be shown otherwise."""
    if path is not None:
        from matplotlib.figure import Figure

        return Figure(figsize=size, layout="constrained")
    import matplotlib.pyplot as plt

    return plt.figure(figsize=size, layout="constrained")


def plain(name: str) -> str:
    """Return a name that matplotlib draws letter by letter: no formula between dollars, none
    missing in legends.
    """
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure under a temporary name, then rename it."""
    with io.replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def draw_doubts(ax: Any, notes: Sequence[str]) -> None:
    """Write what is to be looked at below the axis of wavenumbers, in small letters.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    notes : sequence of str
        Of the result; those that begin with "look at this" are checks that are not fine.
    """
    start = f"{Verdict.LOOK}: "
    doubts = [note.removeprefix(start).split(". ")[0] for note in notes if note.startswith(start)]
    if doubts:
        text = "\n".join(textwrap.wrap(start + "; ".join(doubts), 110))
        place = {
            "xycoords": "axes fraction",
            "textcoords": "offset points",
            "annotation_clip": False,
        }
        ax.annotate(text, (0, 0), (0, -36), va="top", fontsize=6.5, color="tab:red", **place)
