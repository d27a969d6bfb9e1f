"""Pictures of spectra resolved by distance and along an axis."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from mda_aptnn.figures import new_figure, save_figure
from mda_aptnn.spectra.plots import LABELS, draw_map, title_of

if TYPE_CHECKING:
    from mda_aptnn.spectra.spatial_spectra import AxisProfile, DistanceSpectrum


def plot_distances(
    spectrum: DistanceSpectrum,
    path: str | os.PathLike[str] | None = None,
    *,
    limit: float = 4500.0,
    figure: Any = None,
) -> Any:
    """Draw what shells contribute as a map, and below it the self term, the total and what lies
    between.

    Parameters
    ----------
    spectrum : DistanceSpectrum
    path : path, optional
        Written there (format by the ending) instead of being left open for display.
    limit : float
        Right end of the axis in cm⁻¹, if the spectrum reaches so far.
    figure : matplotlib.figure.Figure, optional
        Drawn into; a new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    The map is per Å of distance, so that it does not depend on the width of the shells; the last
    shell, which has no end, is left to the lower part.
    """
    figure = figure or new_figure(path, (7.0, 7.0))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1.0, 1.0])
    wavenumber, edges = spectrum.wavenumber.magnitude, spectrum.edges.magnitude
    inside = wavenumber <= limit
    finite = np.isfinite(edges)
    shells = spectrum.values("shells").magnitude[:, : finite.sum() - 1] / np.diff(edges[finite])
    label = f"{LABELS[spectrum.unit]} per Å"
    draw_map(figure, top, wavenumber[inside], edges[finite], shells[inside], label, signed=True)
    # closer than any two molecules come there is nothing
    first = int(np.argmax(spectrum.neighbours > 0))
    top.set_ylim(edges[min(first, len(edges) - 3)], edges[finite][-1])
    top.set_ylabel("distance at the earlier time / Å")
    cumulative = spectrum.values("cumulative").magnitude[inside]
    between = range(first + 1, cumulative.shape[1] - 1)
    x = wavenumber[inside]
    bottom.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    bottom.plot(x, cumulative[:, 0], color="black", linewidth=1.4, linestyle="--", label="self")
    for k, colour in zip(between, figure_colours(len(between)), strict=True):
        # some of many shells
        named = (k - first - 1) % max(1, len(between) // 4) == 0
        text = f"up to {edges[k]:g} Å" if named else None
        bottom.plot(x, cumulative[:, k], color=colour, linewidth=0.8, label=text)
    bottom.plot(x, cumulative[:, -1], color="black", linewidth=1.4, label="total")
    if spectrum.segments is not None:
        error = spectrum.errors("total").magnitude[inside]
        total = cumulative[:, -1]
        bottom.fill_between(x, total - error, total + error, color="black", alpha=0.2, linewidth=0)
    bottom.legend(frameon=False, fontsize="small", ncols=2, loc="upper center")
    bottom.set_xlim(0, x[-1])
    bottom.set_xlabel(r"wavenumber / cm$^{-1}$")
    bottom.set_ylabel(LABELS[spectrum.unit])
    top.set_title(title_of(spectrum), fontsize="medium")
    if path is not None:
        save_figure(figure, path)
    return figure


def plot_profile(
    profile: AxisProfile, path: str | os.PathLike[str] | None = None, *, limit: float = 4500.0
) -> Any:
    """Draw the local n·α along the axis as maps, in the plane and out of it.

    Parameters
    ----------
    profile : AxisProfile
    path : path, optional
        Written there (format by the ending) instead of being left open for display.
    limit : float
        Right end of the axis in cm⁻¹, if the spectrum reaches so far.

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    The in-plane part is halved: in an isotropic sample both maps are the same.
    """
    figure = new_figure(path, (7.0, 6.0))
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    wavenumber, edges = profile.wavenumber.magnitude, profile.edges.magnitude
    inside = wavenumber <= limit
    maps = [
        profile.local("in-plane").magnitude[inside] / 2,
        profile.local("out-of-plane").magnitude[inside],
    ]
    reach = max(float(np.abs(values).max()) for values in maps)
    for ax, values, name in zip(
        axes, maps, ("in-plane, per direction", "out-of-plane"), strict=True
    ):
        draw_map(
            figure,
            ax,
            wavenumber[inside],
            edges,
            values,
            LABELS[profile.unit],
            signed=True,
            reach=reach,
        )
        ax.set_title(name, fontsize="medium")
        ax.set_ylabel(f"{profile.axis} / Å")
    axes[1].set_xlabel(r"wavenumber / cm$^{-1}$")
    if path is not None:
        save_figure(figure, path)
    return figure


def figure_colours(n: int) -> list[Any]:
    """Return colours from light to dark, for things in an order."""
    from matplotlib import colormaps

    return [colormaps["viridis_r"](value) for value in np.linspace(0.1, 0.95, max(n, 0))]
