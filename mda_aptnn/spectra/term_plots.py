"""Pictures of the auto and cross terms of a spectrum: stacked, and as a matrix of bands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.figures import drawing, plain
from mda_aptnn.spectra.plots import label_axes
from mda_aptnn.spectra.result import band_weights

if TYPE_CHECKING:
    from mda_aptnn.spectra.infrared import Spectrum

#: Infrared bands of most samples, in cm⁻¹.
BANDS = ((0.0, 400.0), (400.0, 1000.0), (1000.0, 2000.0), (2000.0, 4500.0))
#: Groups of a stack: 20 have 210 terms, which nobody can tell apart.
_STACKED = 20
#: Groups of a matrix that have room for their numbers.
_FEW = 8


def plot_stacked(
    spectrum: Spectrum,
    path: str | os.PathLike[str] | None = None,
    *,
    ax: Any = None,
    limit: float = 4500.0,
) -> Any:
    """Draw every auto and cross term as an area: positive ones on each other, negative ones below
    zero.

    Parameters
    ----------
    spectrum : Spectrum
    path : path, optional
        Written there (format by the ending) instead of being left open for display.
    ax : matplotlib.axes.Axes, optional
        Drawn into; a new figure otherwise.
    limit : float
        Right end of the axis in cm⁻¹, if the spectrum reaches so far.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    SpectrumError
        If there are more than 20 groups.

    Notes
    -----
    The total, a line, is the upper border of the stack less what lies below zero.
    """
    _refuse_many(spectrum, _STACKED)
    inside = spectrum.wavenumber.magnitude <= limit
    x = spectrum.wavenumber.magnitude[inside]
    top, bottom = np.zeros(len(x)), np.zeros(len(x))
    terms = spectrum.named_terms(" × ")
    with drawing(path, ax, size=(7.0, 4.5)) as ax:
        for (name, values), colour in zip(terms.items(), _colours(len(terms)), strict=True):
            hatch = "///" if " × " in name else None
            part = values[inside]
            for base, shown in ((top, np.maximum(part, 0)), (bottom, np.minimum(part, 0))):
                area = ax.fill_between(
                    x, base, base + shown, facecolor=colour, alpha=0.75, linewidth=0, hatch=hatch
                )
                base += shown
            area.set_label(plain(name))
        ax.plot(x, spectrum.curve().value[inside], color="black", linewidth=1.2, label="total")
        ax.axhline(0.0, color="black", linewidth=0.6)
        columns = 1 if len(terms) < 8 else 2
        ax.legend(frameon=False, fontsize="small", ncols=columns, loc="upper center")
        label_axes(ax, x, limit, spectrum.label)
    return ax


def plot_matrix(
    spectrum: Spectrum,
    path: str | os.PathLike[str] | None = None,
    *,
    bands: Sequence[tuple[Any, Any]] = BANDS,
    figure: Any = None,
) -> Any:
    """Draw the matrix of auto and cross terms, integrated over bands, as colours.

    Parameters
    ----------
    spectrum : Spectrum
    path : path, optional
        Written there (format by the ending) instead of being left open for display.
    bands : sequence of (low, high)
        Limits in cm⁻¹, as floats, strings or quantities. Those beyond the spectrum are left out.
    figure : matplotlib.figure.Figure, optional
        Drawn into; a new figure otherwise.

    Returns
    -------
    array of matplotlib.axes.Axes
        One for each band.

    Raises
    ------
    SpectrumError
        If no band is within the spectrum, or there are too many groups.

    Notes
    -----
    In % of the intensity of the band: a whole cross term is in two places, half in each.
    """
    _refuse_many(spectrum, len(spectrum.groups) - spectrum.summed)
    found = []
    for low, high in bands:
        weights = spectrum.scale * band_weights(spectrum.wavenumber.magnitude, low, high)
        if weights.any():
            limits = [units.magnitude(edge, units.WAVENUMBER, "band") for edge in (low, high)]
            found.append((limits, spectrum.matrix(weights @ spectrum.values)))
    if not found:
        raise SpectrumError(f"none of the bands {list(bands)} is within the spectrum")
    unit = "km/mol" if spectrum.volume is None else r"cm$^{-2}$"
    shares = [100 * values / values.sum() for _, values in found]
    reach = max(float(np.abs(values).max()) for values in shares)
    names = [plain(name) for name in spectrum.groups]
    places = range(0, len(names), max(1, len(names) // 16))
    shown = [names[place] for place in places]
    size = 1.6 + 2.4 * len(found), 3.4
    panels = {"ncols": len(found), "sharey": True, "squeeze": False}
    with drawing(path, None, figure, size, **panels) as axes:
        for ax, ((low, high), values), share in zip(axes.flat, found, shares, strict=True):
            image = ax.imshow(share, cmap="RdBu_r", vmin=-reach, vmax=reach)
            ax.set_xticks(places, shown, rotation=90 if len(names) > 3 else 0)
            ax.set_yticks(places, shown)
            for (row, column), value in np.ndenumerate(share if len(names) <= _FEW else ()):
                colour = "white" if abs(value) > 0.6 * reach else "black"
                style = {"ha": "center", "va": "center", "fontsize": "x-small"}
                ax.text(column, row, f"{value:.1f}", color=colour, **style)
            title = f"{low:g} to {high:g} cm$^{{-1}}$\n{values.sum():.4g} {unit}"
            ax.set_title(title, fontsize="small")
        ax.figure.colorbar(image, ax=axes, shrink=0.7, label="% of the band")
    return axes[0]


def _refuse_many(spectrum: Spectrum, most: int) -> None:
    if len(spectrum.groups) > most:
        raise SpectrumError(
            f"{len(spectrum.groups)} groups are too many for this picture: put some together "
            "(groups= of spectrum())"
        )


def _colours(n: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["tab20" if n > 10 else "tab10"](k % 20) for k in range(n)]
