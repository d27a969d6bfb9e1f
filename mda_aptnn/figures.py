"""Pictures: a result says what is in its picture, and `plot` draws it, alone or with others.

Figures are drawn without a display when they go to a file, and written under a temporary name.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.checks import Verdict
from mda_aptnn.errors import SpectrumError

if TYPE_CHECKING:
    from mda_aptnn.spectra.result import Measured

Array = NDArray[np.float64]
Window = tuple[float, float] | None

WAVENUMBER_LABEL = r"wavenumber / cm$^{-1}$"
CONFIDENCE = "68 % confidence"
#: Between the names of two groups.
TIMES = " × "
#: So many terms are drawn if nobody asks, and so many areas on each other at all.
_FEW, _MOST_AREAS = 15, 20
#: A legend of more lines stands beside the axes.
_INSIDE = 8
#: The axis ends where the curves have come so near to their last value, as a part of their span.
_LEVEL = 0.01
#: So much of the highest value is seen on a logarithmic axis.
_DECADES = 1e-4
#: Colours of lines and of maps: their lightness changes evenly, so that they can be told apart in
#: grey and by the colour-blind. What lies beyond this part is too pale for lines.
_LINES, _PALE, _MAP = "plasma", 0.8, "magma_r"
#: Lines of one result, where several are drawn.
_DASHES = ("-", "--", ":", "-.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Map:
    """Values as colours, with a bar that says what they are.

    Attributes
    ----------
    edges : ndarray, shape [n_bins + 1]
        Along the vertical axis.
    values : ndarray, shape [n_x, n_bins]
    label : str
        Of the colours.
    limits : (float, float), optional
        Of the colours; by default from the lowest of `values`, or zero, to the highest.
    """

    edges: Array
    values: Array
    label: str
    limits: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One frame of a picture.

    Attributes
    ----------
    label : str
        Of the vertical axis: quantity and unit.
    title : str
        Beside that of the picture.
    curves : mapping of str to Measured
        By the name in the legend: lines [n_x] with bands of 68 % confidence.
    terms : mapping of str to ndarray, shape [n_x]
        Parts of the first curve: thin lines, those with " × " in their names dashed.
    prefix : str
        Of the terms' names in the legend.
    map : Map, optional
        Drawn instead.
    limits : (float, float), optional
        Of the vertical axis.
    guide : float, optional
        Where a dotted line is drawn across.
    height : float
        Relative to that of other panels.
    """

    label: str
    title: str = ""
    curves: Mapping[str, Measured] = dataclasses.field(default_factory=dict)
    terms: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    prefix: str = ""
    map: Map | None = None
    limits: tuple[float, float] | None = None
    guide: float | None = None
    height: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """What the picture of a result shows.

    Attributes
    ----------
    x : ndarray, shape [n_x]
        Rising.
    panels : sequence of Panel
        From top to bottom.
    x_label, x_unit : str
        Of the horizontal axis.
    end : float or None
        Where that ends at the latest, if nobody says a range; None: it shows everything.
    title : str
    model_label : str
        What the error of the model is called, where it is known.
    notes : sequence of str
        Of the result: what is to be looked at is written below.
    log : {"", "x", "y", "xy"}
        Which axes are logarithmic.
    marker : str
        Of the points, as matplotlib calls it.
    """

    x: Array
    panels: Sequence[Panel]
    x_label: str = WAVENUMBER_LABEL
    x_unit: str = units.WAVENUMBER
    end: float | None = 4500.0
    title: str = ""
    model_label: str = ""
    notes: Sequence[str] = ()
    log: str = ""
    marker: str = ""

    def within(self, low: float, high: float = np.inf, *, beyond: int = 0) -> Picture:
        """Return the part of it from `low` to `high`, and so many points `beyond` on either side.

        Parameters
        ----------
        low, high : float
            Of `x`.
        beyond : int

        Returns
        -------
        Picture
        """
        first, last = np.searchsorted(self.x, low), np.searchsorted(self.x, high, "right")
        kept = slice(max(int(first) - beyond, 0), int(last) + beyond)
        parts = ("value", "error", "model_error")
        panels = [
            dataclasses.replace(
                panel,
                curves={
                    name: dataclasses.replace(curve, **{p: getattr(curve, p)[kept] for p in parts})
                    for name, curve in panel.curves.items()
                },
                terms={name: values[kept] for name, values in panel.terms.items()},
                map=panel.map and dataclasses.replace(panel.map, values=panel.map.values[kept]),
            )
            for panel in self.panels
        ]
        return dataclasses.replace(self, x=self.x[kept], panels=panels)


class Drawn(abc.ABC):
    """A result that draws itself, also in a notebook."""

    @abc.abstractmethod
    def _picture(self) -> Picture:
        """What is drawn."""

    def plot(
        self: Drawn | Mapping[str, Drawn],
        path: str | os.PathLike[str] | BytesIO | None = None,
        *,
        ax: Any = None,
        figure: Any = None,
        range: Any = None,
        log: str | None = None,
        offset: float = 0.0,
        terms: bool | Sequence[str] | None = None,
        stacked: bool = False,
        cmap: Any = None,
        style: Any = None,
        **line: Any,
    ) -> Any:
        """Draw the result.

        As a function, ``mda_aptnn.figures.plot({"300 K": one, "350 K": other}, ...)`` draws several
        results of one kind together, by their names in the legend.

        Parameters
        ----------
        path : path, optional
            Written there (format by the ending) instead of being left open for display.
        ax : matplotlib.axes.Axes, optional
            Drawn into, or an array of them [n_panels, n_ranges]. Of a result with several panels
            one alone takes the largest.
        figure : matplotlib.figure.Figure, optional
            Drawn into instead; a new one otherwise.
        range : (low, high), or a sequence of these, optional
            Of the horizontal axis, as floats in cm⁻¹, strings or quantities. Of several each has a
            frame, and a vertical axis, of its own: a strong band in one does not flatten weak ones
            in another. By default from 0 to where the curves end, at most 4500 cm⁻¹.
        log : {"x", "y", "xy"}, optional
            Logarithmic axes. What is not positive is not seen on them.
        offset : float
            Each result stands higher than the one before, by this part of the highest value.
        terms : bool, or sequence of str
            Whether terms are drawn, or which: "O", or "O × H" (or "O x H"). By default if there are
            two to fifteen, of a single result.
        stacked : bool
            Terms as areas: positive ones on each other, negative ones below zero. What is above
            zero less what is below is the total.
        cmap : str or matplotlib.colors.Colormap, optional
            Of lines and maps; by default such as can be told apart in grey.
        style : str, path, dict or list of them, optional
            Style sheets of matplotlib, such as "ggplot".
        **line
            Properties of the lines, such as ``color="tab:red", linewidth=2``, as matplotlib calls
            them.

        Returns
        -------
        matplotlib.axes.Axes
            An array of them where there are several panels or ranges.

        Raises
        ------
        SpectrumError
            If a range lies outside, there is no such term, or the results do not have the same
            axes. Nothing is written then.
        """
        results = self if isinstance(self, Mapping) else {"": self}
        pictures = _together({name: result._picture() for name, result in results.items()})
        if terms is None and len(pictures) > 1:
            terms = False
        pictures = {name: _with_terms(one, terms, stacked) for name, one in pictures.items()}
        [first, *more] = pictures.values()
        log = first.log if log is None else log
        if not set(log) <= {"x", "y"}:
            raise SpectrumError(f"log={log!r}: give x, y or xy")
        if offset and "y" in log:
            raise SpectrumError("an offset and a logarithmic vertical axis do not go together")
        if stacked and more:
            raise SpectrumError("areas on each other are of one result: draw each by itself")
        windows = _windows(pictures, range)
        shown = [
            {
                name: one if window is None else one.within(*window, beyond=1)
                for name, one in pictures.items()
            }
            for window in windows
        ]
        rows = dict(enumerate(first.panels))
        if ax is not None and np.size(ax) == len(windows) == 1:
            rows = dict([max(rows.items(), key=lambda row: row[1].height)])
        shape = len(rows), len(windows)
        if ax is not None and np.size(ax) != np.prod(shape):
            raise SpectrumError(
                f"ax= has {np.size(ax)} axes, the picture {shape[0]} panels in {shape[1]} ranges"
            )
        heights = [panel.height for panel in rows.values()]
        size = (7.0 if len(windows) == 1 else 9.0, 1.2 + 3.0 * sum(heights))
        grid = {"height_ratios": heights, "width_ratios": _widths(windows), "sharex": "col"}
        with drawing(path, ax, figure, size, style, nrows=shape[0], ncols=shape[1], **grid) as axes:
            frames = np.reshape(np.asarray(axes, dtype=object), shape)
            titles = {one.title for one in pictures.values()}
            title, said = titles.pop() if len(titles) == 1 else "", set[str]()
            for (row, panel), frame in zip(rows.items(), frames, strict=True):
                for place, window, parts in zip(frame, windows, shown, strict=True):
                    handles = _draw_panel(place, parts, row, log, offset, stacked, cmap, line)
                    if window is not None:
                        low = min(one.x[one.x > 0][0] for one in parts.values())
                        place.set_xlim(max(window[0], low) if "x" in log else window[0], window[1])
                frame[0].set_ylabel(panel.label + (", shifted" if offset else ""))
                title = ", ".join(filter(None, [title, panel.title]))
                centre = "center" if len(frame) == 1 else "left"
                frame[0].set_title(title, fontsize="medium", loc=centre)
                title = ""
                labels = {handle.get_label() for handle in handles}
                # what is said above is not said again
                if len(labels) > 1 and not labels <= said:
                    outside = "y" in log or len(windows) > 1
                    _add_legend(frame, handles, outside=outside, reverse=bool(offset))
                said |= labels
            for place in frames[-1]:
                place.set_xlabel(first.x_label)
            notes = dict.fromkeys(note for one in pictures.values() for note in one.notes)
            draw_doubts(frames[-1, 0], list(notes))
        return frames[0, 0] if frames.size == 1 else np.squeeze(frames)

    def _repr_png_(self) -> bytes:
        """What notebooks show: its picture."""
        self.plot(drawn := BytesIO())
        return drawn.getvalue()


#: Draws several results, by their names in the legend.
plot = Drawn.plot


def _together(pictures: Mapping[str, Picture]) -> dict[str, Picture]:
    """Pictures that have the same axes; of several only what is no map.

    Raises
    ------
    SpectrumError
        If they have not.
    """
    if len(pictures) == 1:
        return dict(pictures)
    found = {
        name: dataclasses.replace(one, panels=[part for part in one.panels if part.map is None])
        for name, one in pictures.items()
    }
    labels = {
        name: [one.x_label, *(panel.label for panel in one.panels)] for name, one in found.items()
    }
    [first, *others] = labels
    for name in others:
        if labels[name] != labels[first]:
            shown = [", ".join(labels[one][1:]) or "a map" for one in (first, name)]
            raise SpectrumError(
                f"{first!r} and {name!r} have no axes in common: {shown[0]}, and {shown[1]}; draw "
                "them apart, or make both of one quantity (volume= where there is none)"
            )
    if not found[first].panels:
        raise SpectrumError("maps cannot be drawn on each other: draw each by itself")
    return found


def _with_terms(picture: Picture, wanted: bool | Sequence[str] | None, stacked: bool) -> Picture:
    """The picture with those of its terms that are to be drawn.

    Raises
    ------
    SpectrumError
        If there is no such term, or there are too many areas.
    """
    known = {name for panel in picture.panels for name in panel.terms}
    if wanted is None:
        wanted = stacked or 2 <= len(known) <= _FEW
    if isinstance(wanted, bool):
        chosen = list(dict.fromkeys(n for p in picture.panels for n in p.terms)) if wanted else []
    else:
        chosen = [_name_of(name, known) for name in wanted]
    if stacked and len(chosen) > _MOST_AREAS:
        raise SpectrumError(
            f"{len(chosen)} areas are too many for this picture: choose some (terms=), or put "
            "groups together (groups= of spectrum())"
        )
    panels = [
        dataclasses.replace(
            panel, terms={name: panel.terms[name] for name in chosen if name in panel.terms}
        )
        for panel in picture.panels
    ]
    return dataclasses.replace(picture, panels=panels)


def _name_of(name: str, known: Iterable[str]) -> str:
    """The term of this name, whose groups may stand in either order, with an x between them."""
    parts = re.split(r"\s+[x×]\s+", name.strip())
    for spelling in (name, TIMES.join(parts), TIMES.join(parts[::-1])):
        if spelling in known:
            return spelling
    raise SpectrumError(
        f"there is no term {name!r} to draw; there are {', '.join(sorted(known)) or 'none'}"
    )


def _windows(results: Mapping[str, Picture], wanted: Any) -> list[Window]:
    """The ranges of the horizontal axis; [None] for all that there is.

    Raises
    ------
    SpectrumError
        If one is empty, or outside of what there is, or a result is outside of all.
    """
    pictures = list(results.values())
    x_unit, ends = pictures[0].x_unit, [float(one.x[-1]) for one in pictures]
    if wanted is None:
        limits = [one.end for one in pictures if one.end is not None]
        if not limits:
            return [None]
        return [(0.0, min(max(_last_seen(one) for one in pictures), *limits, max(ends)))]
    pairs = wanted if isinstance(wanted[0], tuple | list) else [wanted]
    found: list[Window] = []
    seen: set[str] = set()
    for low, high in pairs:
        low, high = (units.magnitude(edge, x_unit, "range") for edge in (low, high))
        if not low < high:
            raise SpectrumError(f"a range from {low:g} to {high:g}: the lower limit comes first")
        inside = {
            name for name, one in results.items() if np.sum((one.x >= low) & (one.x <= high)) > 1
        }
        if not inside:
            raise SpectrumError(
                f"the range {low:g} to {high:g} is outside of what is there: from "
                f"{min(one.x[0] for one in pictures):.6g} to {max(ends):.6g} {x_unit} in steps of "
                f"{pictures[0].x[1] - pictures[0].x[0]:.3g}"
            )
        found.append((low, high))
        seen |= inside
    for name in results:
        if name not in seen:
            raise SpectrumError(f"{name!r} has nothing within the range")
    return found


def _last_seen(picture: Picture) -> float:
    """Where the curves have come to their last value, rounded up."""
    below = picture.x <= (picture.end or np.inf)
    last = 0.0
    for panel in picture.panels:
        shown = [curve.value[below] for curve in panel.curves.values()]
        shown += [] if panel.map is None else [np.abs(panel.map.values[below]).max(axis=1)]
        for values in shown:
            away = np.abs(values - values[-1])
            seen = away > _LEVEL * np.nanmax(away, initial=0.0)
            last = max([last, *picture.x[below][seen][-1:]])
    return 500.0 * float(np.ceil(last / 500.0)) or float("inf")


def _widths(windows: Sequence[Window]) -> list[float]:
    """Of frames beside each other: as their ranges, but none is too narrow for its numbers."""
    spans = [1.0 if window is None else window[1] - window[0] for window in windows]
    return [max(span, 0.25 * sum(spans)) for span in spans]


def _draw_panel(
    ax: Any,
    parts: Mapping[str, Picture],
    row: int,
    log: str,
    offset: float,
    stacked: bool,
    cmap: Any,
    line: Mapping[str, Any],
) -> list[Any]:
    """Draw one panel of all results; return the handles of its legend."""
    import matplotlib as mpl
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    [first, *more] = parts.values()
    panel = first.panels[row]
    if panel.map is not None:
        _draw_map(ax, first.x, panel.map, cmap)
    # what stands for all terms is black, or white where a style is dark
    alone = not more and (len(panel.curves) == 1 or bool(panel.terms))
    n_colours = len(parts) if more else len(panel.terms if alone else panel.curves)
    palette = iter(colours(n_colours, cmap))
    tops = [curve.value for one in parts.values() for curve in one.panels[row].curves.values()]
    step = offset * max((float(np.nanmax(top)) for top in tops), default=0.0)
    given = normalize_kwargs(dict(line), Line2D)
    lows: list[Array] = []
    bands: list[Any] = []
    for number, (name, part) in enumerate(parts.items()):
        panel, x, base = part.panels[row], part.x, number * step
        if base:
            ax.axhline(base, color="0.8", linewidth=0.8, zorder=0)
        own = next(palette) if more else None
        for k, (key, curve) in enumerate(panel.curves.items()):
            said = [name, key if len(panel.curves) > 1 or not name else ""]
            style = {
                "color": mpl.rcParams["text.color"] if alone else own or next(palette),
                "linestyle": _DASHES[k % len(_DASHES)] if more or alone else "-",
                "marker": part.marker,
                "label": plain(", ".join(filter(None, said))),
            }
            drawn = draw_curve(ax, x, curve, base=base, **style | given)
            lows.append(curve.value)
            if curve.degrees_of_freedom:
                bands.append(drawn.get_color())
            if part.model_label and not more:
                error = curve.model_error
                fill = {"color": "tab:red", "label": None if k else part.model_label}
                reach = curve.value - error, curve.value + error
                ax.fill_between(x, *reach, alpha=0.4, linewidth=0, **fill)
        if stacked:
            _draw_areas(ax, x, panel.terms, cmap)
            continue
        for k, (key, values) in enumerate(panel.terms.items()):
            cross = "--" if TIMES in key else "-"
            style = {
                "color": own or next(palette),
                "linestyle": _DASHES[1 + k % 3] if more else cross,
                "label": plain((f"{name}, " if more else "") + panel.prefix + key),
            }
            ax.plot(x, values + base, linewidth=1.0, **style)
            lows.append(values)
    handles: list[Any] = ax.get_legend_handles_labels()[0]
    if bands:
        colour = bands[0] if alone else "0.5"
        handles.append(Patch(color=colour, alpha=0.2, linewidth=0, label=CONFIDENCE))
    _set_scales(ax, log, panel, tops)
    if not ("y" in log or offset) and any((values < 0).any() for values in lows):
        ax.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    if panel.guide is not None:
        ax.axhline(panel.guide, color="0.6", linewidth=0.8, linestyle=":")
    return handles


def draw_curve(
    ax: Any, x: Array, curve: Measured, *, base: float = 0.0, band_label: str = "", **line: Any
) -> Any:
    """Draw a line and the band that holds the truth with 68 %.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : ndarray, shape [n_x]
    curve : Measured
    base : float
        Where its zero is.
    band_label : str
        Of the band in a legend, such as `CONFIDENCE`.
    **line
        Properties of the line.

    Returns
    -------
    matplotlib.lines.Line2D
    """
    [drawn] = ax.plot(x, curve.value + base, **{"linewidth": 1.4, "zorder": 3} | line)
    if curve.degrees_of_freedom:
        limits = (limit + base for limit in curve.limits())
        fill = {"color": drawn.get_color(), "label": band_label or None}
        ax.fill_between(x, *limits, alpha=0.2, linewidth=0, **fill)
    return drawn


def _draw_areas(ax: Any, x: Array, terms: Mapping[str, Array], cmap: Any) -> None:
    """Draw terms on each other, cross terms hatched: positive ones above zero, others below."""
    top, bottom = np.zeros(len(x)), np.zeros(len(x))
    for (name, values), colour in zip(terms.items(), colours(len(terms), cmap), strict=True):
        style = {"facecolor": colour, "alpha": 0.7, "linewidth": 0}
        style |= {"hatch": "///" if TIMES in name else None, "label": plain(name)}
        for base, part in ((top, np.maximum(values, 0)), (bottom, np.minimum(values, 0))):
            if part.any() or base is top:
                ax.fill_between(x, base, base + part, **style)
                style["label"] = None
            base += part


def _draw_map(ax: Any, x: Array, image: Map, cmap: Any) -> None:
    from matplotlib import colormaps

    step = x[1] - x[0]
    low, high = image.limits or (min(0.0, image.values.min()), image.values.max())
    borders = np.append(x - step / 2, x[-1] + step / 2)
    style = {"cmap": colormaps.get_cmap(cmap or _MAP), "vmin": low, "vmax": high}
    mesh = ax.pcolormesh(borders, image.edges, image.values.T, rasterized=True, **style)
    bar = ax.figure.colorbar(mesh, ax=ax, label=image.label, pad=0.02)
    if low < 0 < high:
        bar.ax.axhline(0.0, color="0.5", linewidth=1.0)


def _set_scales(ax: Any, log: str, panel: Panel, values: Sequence[Array]) -> None:
    """Make the axes logarithmic that are to be, and set the limits of the vertical one."""
    from matplotlib.ticker import LogFormatter

    if panel.limits is not None:
        ax.set_ylim(panel.limits)
    elif "y" in log and panel.map is None:
        shown = np.concatenate(values)
        shown = shown[shown > 0]
        ax.set_yscale("log", nonpositive="mask")
        if len(shown):
            highest = shown.max()
            ax.set_ylim(max(shown.min(), _DECADES * highest) / 1.5, 1.5 * highest)
    if "x" in log:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(LogFormatter())
        ax.xaxis.set_minor_formatter(LogFormatter())


def _add_legend(
    frame: Sequence[Any], handles: Sequence[Any], *, outside: bool, reverse: bool
) -> None:
    """Say what the lines are: beside the axes if there are many, or little room within them."""
    style: dict[str, Any] = {"frameon": False, "fontsize": "small", "reverse": reverse}
    if len(handles) <= _INSIDE and not outside:
        frame[0].legend(handles=handles, **style)
    else:
        frame[-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), **style)


def colours(n: int, cmap: Any = None) -> list[Any]:
    """Return colours for `n` lines.

    Parameters
    ----------
    n : int
    cmap : str or matplotlib.colors.Colormap, optional
        By default one whose lightness rises evenly. Of a list of colours, such as "tab10", the
        first ones are taken.

    Returns
    -------
    list of (red, green, blue, opacity)
    """
    from matplotlib import colormaps

    known = colormaps.get_cmap(cmap or _LINES)
    if known.N < 64:
        return [known(k % known.N) for k in range(n)]
    return [known(place) for place in np.linspace(0.0, _PALE, n)]


def new_figure(path: Any, size: tuple[float, float]) -> Any:
    """Return a figure without a display if it goes to a file, one that can be shown otherwise."""
    if path is not None:
        from matplotlib.figure import Figure

        return Figure(figsize=size, layout="constrained")
    import matplotlib.pyplot as plt

    return plt.figure(figsize=size, layout="constrained")


@contextlib.contextmanager
def drawing(
    path: str | os.PathLike[str] | BytesIO | None,
    ax: Any = None,
    figure: Any = None,
    size: tuple[float, float] = (7.0, 4.2),
    style: Any = None,
    **panels: Any,
) -> Iterator[Any]:
    """Give the axes to draw into, and write the figure behind it if there is a path: every picture
    passes here.

    Parameters
    ----------
    path : path, BytesIO (a PNG) or None
    ax : matplotlib.axes.Axes or array of them, optional
        What is given, if there is any; else `panels` of `figure`.
    figure : matplotlib.figure.Figure, optional
        A new one of this `size` otherwise, in inches.
    style : str, path, dict or list of them, optional
        Style sheets of matplotlib.
    **panels
        Of ``figure.subplots``.
    """
    from matplotlib import style as styles

    with styles.context(style or {}):
        if ax is None:
            ax = (figure or new_figure(path, size)).subplots(**panels)
        yield ax
        drawn = np.ravel(np.asarray(ax, dtype=object))[0].figure
        if isinstance(path, BytesIO):
            drawn.savefig(path, format="png", dpi=150)
        elif path is not None:
            with io.replacing(path) as temporary:
                drawn.savefig(temporary, dpi=150)


def plain(name: str) -> str:
    """Return a name that matplotlib draws letter by letter: no formula between dollars, none
    missing in legends.
    """
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


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
