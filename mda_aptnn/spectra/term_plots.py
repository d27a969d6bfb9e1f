"""The auto and cross terms of a spectrum as a matrix of colours for each band."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.figures import drawing, plain
from mda_aptnn.spectra.result import band_weights

if TYPE_CHECKING:
    from mda_aptnn.spectra.infrared import Spectrum

#: Infrared bands of most samples, in cm⁻¹.
BANDS = ((0.0, 400.0), (400.0, 1000.0), (1000.0, 2000.0), (2000.0, 4500.0))
#: Groups of a matrix that have room for their numbers.
_FEW = 8


def plot_matrix(
    spectrum: Spectrum,
    path: str | os.PathLike[str] | None = None,
    *,
    ax: Any = None,
    figure: Any = None,
    bands: Sequence[tuple[Any, Any]] = BANDS,
    cmap: Any = "magma_r",
) -> Any:
    """Draw the matrix of auto and cross terms, integrated over bands, as colours.

    Parameters
    ----------
    spectrum : Spectrum
    path : path, optional
        Written there (format by the ending) instead of being left open for display.
    ax : array of matplotlib.axes.Axes, optional
        Drawn into, one for each band.
    figure : matplotlib.figure.Figure, optional
        Drawn into instead; a new one otherwise.
    bands : sequence of (low, high)
        Limits in cm⁻¹, as floats, strings or quantities. Those beyond the spectrum are left out.
    cmap : str or matplotlib.colors.Colormap
        One whose lightness changes evenly shows the sign in grey as well.

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
    if spectrum.summed:
        raise SpectrumError(
            f"{len(spectrum.groups)} groups are too many for this picture: put some together "
            "(groups= of spectrum())"
        )
    found = []
    for low, high in bands:
        weights = spectrum.scale * band_weights(spectrum.wavenumber.magnitude, low, high)
        if weights.any():
            limits = [units.magnitude(edge, units.WAVENUMBER, "band") for edge in (low, high)]
            found.append((limits, spectrum.matrix(weights @ spectrum.values)))
    if not found:
        raise SpectrumError(f"none of the bands {list(bands)} is within the spectrum")
    name, count = spectrum.per() if spectrum.volume is None else ("", 1)
    unit = f"km/mol per {plain(name)}" if name else r"cm$^{-2}$"
    shares = [100 * values / values.sum() for _, values in found]
    low, high = min(0.0, *map(np.min, shares)), max(map(np.max, shares))
    names = [plain(name) for name in spectrum.groups]
    places = range(0, len(names), max(1, len(names) // 16))
    shown = [names[place] for place in places]
    size = 1.6 + 2.4 * len(found), 3.4
    panels = {"ncols": len(found), "sharey": True, "squeeze": False}
    with drawing(path, ax, figure, size, **panels) as axes:
        places_of = np.ravel(axes)
        for place, ((first, last), values), share in zip(places_of, found, shares, strict=True):
            image = place.imshow(share, cmap=cmap, vmin=low, vmax=high)
            place.set_xticks(places, shown, rotation=90 if len(names) > 3 else 0)
            place.set_yticks(places, shown)
            for (row, column), value in np.ndenumerate(share if len(names) <= _FEW else ()):
                red, green, blue, _ = image.to_rgba(value)
                # as the eye weighs them, Rec. 601
                light = 0.299 * red + 0.587 * green + 0.114 * blue
                style = {"ha": "center", "va": "center", "fontsize": "x-small"}
                colour = "black" if light > 0.5 else "white"
                place.text(column, row, f"{value:.1f}", color=colour, **style)
            title = f"{first:g} to {last:g} cm$^{{-1}}$\n{values.sum() / count:.4g} {unit}"
            place.set_title(title, fontsize="small")
        bar = places_of[0].figure.colorbar(
            image, ax=list(places_of), shrink=0.7, label="% of the band"
        )
        if low < 0:
            bar.ax.axhline(0.0, color="0.5", linewidth=1.0)
    return places_of
