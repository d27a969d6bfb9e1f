"""How results are drawn. The functions here take arrays; results call them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import SpectrumError
from mda_aptnn.figures import draw_doubts, drawing, plain
from mda_aptnn.spectra.quantities import Shown
from mda_aptnn.spectra.windows import WIDER

if TYPE_CHECKING:
    from mda_aptnn.spectra.infrared import Absorption
    from mda_aptnn.spectra.result import Measured

Array = NDArray[np.float64]

#: What the vertical axis says of a sample with a volume and of one without, by unit.
LABELS = {
    shown.kind.unit: shown.label
    for shown in (Shown(quantity="n-alpha"), Shown(quantity="molar-absorption"))
}
WAVENUMBER_LABEL = r"wavenumber / cm$^{-1}$"


def draw_curves(
    ax: Any,
    wavenumber: Array,
    totals: Mapping[str, Measured],
    terms: Mapping[str, Array] | None = None,
    limit: float = 4500.0,
    *,
    label: str = "",
    title: str = "",
    model_label: str = "",
    notes: Sequence[str] = (),
) -> None:
    """Draw curves with their 68 % bands, and terms as thin lines.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    wavenumber : ndarray, shape [n_frequencies]
        In cm⁻¹.
    totals : mapping of str to Measured
        By the name in the legend. A single one is black.
    terms : mapping of str to ndarray, optional
        Names with " × " are dashed.
    limit : float
        Right end of the axis in cm⁻¹, if the spectrum reaches so far.
    label, title : str
        Of the vertical axis, and above.
    model_label : str
        What the error of the model is called, where it is known.
    notes : sequence of str
        Of the result: what is to be looked at is written below.
    """
    terms = terms or {}
    if any((values < 0).any() for values in terms.values()):
        ax.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    for name, curve in totals.items():
        draw_curve(ax, wavenumber, curve, name, "black" if len(totals) == 1 else None, model_label)
    for name, values in terms.items():
        style = "--" if " × " in name else "-"
        ax.plot(wavenumber, values, style, linewidth=1.0, label=plain(name))
    ax.set_title(title, fontsize="medium")
    if len(totals) > 1 or terms or model_label:
        ax.legend(frameon=False, fontsize="small")
    draw_doubts(ax, notes)
    label_axes(ax, wavenumber, limit, label)


def draw_curve(
    ax: Any,
    wavenumber: Array,
    curve: Measured,
    name: str,
    colour: str | None = None,
    model_label: str = "",
) -> None:
    """Draw a line with its 68 % band, and the error of the model where it has a label.

    Without a colour it takes the next one, and the legend does not name the band.
    """
    [line] = ax.plot(
        wavenumber, curve.value, color=colour, linewidth=1.4, label=plain(name), zorder=3
    )
    fill = {"alpha": 0.2, "linewidth": 0}
    if curve.degrees_of_freedom:
        label = "68 %" if colour else None
        ax.fill_between(wavenumber, *curve.limits(), color=line.get_color(), label=label, **fill)
    if model_label:
        reach = curve.value - curve.model_error, curve.value + curve.model_error
        fill["alpha"] = 0.4
        ax.fill_between(wavenumber, *reach, color="tab:red", label=model_label, **fill)


def plot_together(
    spectra: Mapping[str, Absorption],
    path: str | os.PathLike[str] | None = None,
    *,
    ax: Any = None,
    scale: float = 1.0,
    limit: float = 4500.0,
) -> Any:
    """Draw the totals of several spectra with their 68 % bands.

    Parameters
    ----------
    spectra : mapping of str to Absorption
        By the name in the legend; all with a volume, or none.
    path, ax, limit
        As in `Result.plot`.
    scale : float
        Heights are multiplied with it, such as one over the number of molecules.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    SpectrumError
        If some have a volume and others not, or they are shown as different quantities.
    """
    curves = {name: spectrum.curve() for name, spectrum in spectra.items()}
    labels = {spectrum.label for spectrum in spectra.values()}
    if len({spectrum.volume is None for spectrum in spectra.values()}) > 1:
        raise SpectrumError(
            "some spectra have a volume and others not; give volume= to those that have none"
        )
    if len(labels) > 1:
        raise SpectrumError("the spectra are shown as different quantities; use to() on them")
    grids = {name: spectrum.wavenumber.magnitude for name, spectrum in spectra.items()}
    with drawing(path, ax) as ax:
        for name, curve in curves.items():
            scaled = {"value": scale * curve.value, "error": scale * curve.error}
            draw_curve(ax, grids[name], dataclasses.replace(curve, **scaled), name)
        ax.legend(frameon=False)
        label_axes(ax, max(grids.values(), key=np.max), limit, labels.pop())
    return ax


def draw_with_error(
    ax: Any, wavenumber: Array, curve: Measured, seen: NDArray[np.bool_], **style: Any
) -> None:
    """Draw a curve where it is to be seen, with its standard error."""
    x, value, error = wavenumber[seen], curve.value[seen], curve.error[seen]
    [line] = ax.plot(x, value, **{"linewidth": 1.2} | style)
    ax.fill_between(x, value - error, value + error, color=line.get_color(), alpha=0.2, linewidth=0)


def label_axes(ax: Any, wavenumber: Array, limit: float, label: str) -> None:
    """Label the axes of a spectrum, which end at `limit` if it reaches so far."""
    ax.set(xlim=(0, min(limit, wavenumber[-1])), xlabel=WAVENUMBER_LABEL, ylabel=label)


def draw_map(
    ax: Any,
    x: Array,
    edges: Array,
    values: Array,
    label: str,
    *,
    signed: bool,
    reach: float | None = None,
) -> None:
    """Draw values [n_x, n_bins] as colours, with a bar that says what they are.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : ndarray, shape [n_x]
        Equidistant.
    edges : ndarray, shape [n_bins + 1]
    values : ndarray, shape [n_x, n_bins]
    label : str
        Of the colours.
    signed : bool
        White is 0, with one colour for each sign.
    reach : float, optional
        Value of the strongest colour; the largest of `values` by default.
    """
    step = x[1] - x[0]
    reach = reach or float(np.abs(values).max()) or 1.0
    colours = (
        {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}
        if signed
        else {"cmap": "magma_r", "vmin": 0.0}
    )
    borders = np.append(x - step / 2, x[-1] + step / 2)
    mesh = ax.pcolormesh(borders, edges, values.T, rasterized=True, **colours)
    ax.set_xlim(max(0.0, borders[0]), borders[-1])
    ax.figure.colorbar(mesh, ax=ax, label=label, pad=0.02)


def title_of(spectrum: Any) -> str:
    """Return temperature and resolution of a spectrum, as a title says them."""
    title = f"{spectrum.temperature.magnitude:.0f} K"
    resolution = spectrum.resolution.magnitude
    if resolution > 0:
        title += f", resolution {resolution:g} cm$^{{-1}}$"
        effective = spectrum.effective_resolution
        if effective is not None and abs(effective.magnitude / resolution - 1) > WIDER:
            title += f" (lines {effective.magnitude:.3g} cm$^{{-1}}$ wide)"
    return title
