"""Figures of matplotlib: drawn without a display when they go to a file, written under a temporary
name.
"""

from __future__ import annotations

import abc
import contextlib
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, ClassVar

import numpy as np

from mda_aptnn import io
from mda_aptnn.checks import Verdict


def new_figure(path: str | os.PathLike[str] | None, size: tuple[float, float] = (7.0, 4.2)) -> Any:
    """Return a figure without a display if it goes to a file, one that can be shown otherwise."""
    if path is not None:
        from matplotlib.figure import Figure

        return Figure(figsize=size, layout="constrained")
    import matplotlib.pyplot as plt

    return plt.figure(figsize=size, layout="constrained")


@contextlib.contextmanager
def drawing(
    path: str | os.PathLike[str] | None,
    ax: Any = None,
    figure: Any = None,
    size: tuple[float, float] = (7.0, 4.2),
    **panels: Any,
) -> Iterator[Any]:
    """Give the axes to draw into, and write the figure behind it if there is a path.

    Parameters
    ----------
    path : path or None
    ax : matplotlib.axes.Axes or array of them, optional
        What is given, if there is any; else `panels` of `figure`.
    figure : matplotlib.figure.Figure, optional
        A new one of this `size` otherwise, in inches.
    **panels
        Of ``figure.subplots``.
    """
    if ax is None:
        ax = (figure or new_figure(path, size)).subplots(**panels)
    yield ax
    if path is not None:
        save_figure(np.ravel(ax)[0].figure, path)


class Drawn(abc.ABC):
    """A result that draws itself, also in a notebook."""

    #: Width and height of the figure in inches.
    size: ClassVar[tuple[float, float]] = (7.0, 4.2)
    #: Of ``figure.subplots``, where it takes more than one.
    panels: ClassVar[Mapping[str, Any]] = {}

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        ax: Any = None,
        figure: Any = None,
        limit: float = 4500.0,
        **options: Any,
    ) -> Any:
        """Draw the result.

        Parameters
        ----------
        path : path, optional
            Written there (format by the ending) instead of being left open for display.
        ax : matplotlib.axes.Axes, optional
            Drawn into, or an array of them where there are several panels.
        figure : matplotlib.figure.Figure, optional
            Drawn into instead; a new one otherwise.
        limit : float
            Right end of the axis in cm⁻¹, if the spectrum reaches so far.
        **options
            Of an infrared spectrum ``terms=``: whether auto terms (solid) and cross terms (dashed)
            are drawn; by default if there are two to five groups.

        Returns
        -------
        matplotlib.axes.Axes
            An array of them where there are several panels.
        """
        with drawing(path, ax, figure, self.size, **self.panels) as axes:
            self._draw(axes, limit, **options)
        return axes

    @abc.abstractmethod
    def _draw(self, axes: Any, limit: float) -> None:
        """Draw into empty axes."""

    def _repr_png_(self) -> bytes:
        """What notebooks show: its picture."""
        figure, picture = new_figure("notebook", self.size), BytesIO()
        self.plot(figure=figure)
        figure.savefig(picture, format="png", dpi=150)
        return picture.getvalue()


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
        place = {"xycoords": "axes fraction", "textcoords": "offset points"}
        style = {"va": "top", "fontsize": 6.5, "color": "tab:red", "annotation_clip": False}
        ax.annotate(text, (0, 0), (0, -36), **place, **style)
