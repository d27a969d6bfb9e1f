"""Pictures of Raman spectra: what is scattered with and across the laser's polarization, and the
ratio of the two.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from mda_aptnn.figures import draw_doubts, new_figure, plain, save_figure
from mda_aptnn.spectra.bands import maxima_of
from mda_aptnn.spectra.plots import title_of

if TYPE_CHECKING:
    from mda_aptnn.spectra.raman import RamanSpectrum

#: Depolarization is drawn where VV is more than this part of its maximum: a ratio of nothing to
#: nothing says nothing.
VISIBLE = 0.005
#: Most groups whose own terms are drawn.
_FEW = 5


def plot_raman(
    spectrum: RamanSpectrum, path: str | os.PathLike[str] | None = None, *, limit: float = 4500.0
) -> Any:
    """Draw VV and VH with their 68 % bands, own terms of two to five groups, and the depolarization
    below.

    Parameters
    ----------
    spectrum : RamanSpectrum
    path : path, optional
        Written there (format by the ending) instead of being left open for display.
    limit : float
        Right end of the axis in cm⁻¹, if the spectrum reaches so far.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(path, (7.0, 5.2))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    wavenumber = spectrum.wavenumber.magnitude
    above.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    for kind, color in (("vv", "black"), ("vh", "tab:red")):
        values = spectrum.values(kind).magnitude
        above.plot(wavenumber, values, color=color, linewidth=1.3, label=kind.upper(), zorder=3)
        if spectrum.segments is not None:
            error = spectrum.standard_error(kind).magnitude
            above.fill_between(
                wavenumber, values - error, values + error, color=color, alpha=0.2, linewidth=0
            )
    for name in spectrum.groups if 2 <= len(spectrum.groups) <= _FEW else []:
        above.plot(
            wavenumber,
            spectrum.values("vv", name).magnitude,
            linewidth=1.0,
            label=plain(f"VV, {name}"),
        )
    visible = spectrum.vv.magnitude > VISIBLE * spectrum.vv.magnitude.max()
    ratio, error = (
        np.where(visible, part, np.nan)
        for part in (spectrum.depolarization, spectrum.depolarization_error())
    )
    below.plot(wavenumber, ratio, color="black", linewidth=1.0)
    below.fill_between(
        wavenumber, ratio - error, ratio + error, color="black", alpha=0.2, linewidth=0
    )
    below.set(ylim=(0, 0.8), xlim=(0, min(limit, wavenumber[-1])))
    below.axhline(0.75, color="0.6", linewidth=0.8, linestyle=":")
    below.set_xlabel(r"Raman shift / cm$^{-1}$")
    below.set_ylabel("VH / VV")
    above.set_ylabel(f"VV, VH / {_unit(spectrum)}")
    above.legend(frameon=False, fontsize="small")
    factors = (f"{name}: {value}" for name, value in spectrum.factors.items())
    above.set_title(", ".join([title_of(spectrum), *factors]), fontsize=9)
    draw_doubts(below, spectrum.notes)
    if path is not None:
        save_figure(figure, path)
    return figure


def maxima(spectrum: RamanSpectrum, *, prominence: float = 0.02) -> list[dict[str, float | None]]:
    """Return the grid points where VV + 2 VH has its band maxima.

    Parameters
    ----------
    spectrum : RamanSpectrum
    prominence : float
        The least height of a band above its surroundings, as a part of the highest maximum.

    Returns
    -------
    list of dict
        shift in cm⁻¹, vv, depolarization, and the standard errors vv_error and
        depolarization_error, None without error bars.
    """
    columns = {
        "shift": spectrum.wavenumber.magnitude,
        "vv": spectrum.vv.magnitude,
        "vv_error": None if spectrum.segments is None else spectrum.standard_error("vv").magnitude,
        "depolarization": spectrum.depolarization,
        "depolarization_error": None
        if spectrum.segments is None
        else spectrum.depolarization_error(),
    }
    total = spectrum.vv.magnitude + 2 * spectrum.vh.magnitude
    return [
        {name: None if values is None else float(values[k]) for name, values in columns.items()}
        for k in maxima_of(total, prominence)
    ]


def _unit(spectrum: RamanSpectrum) -> str:
    if "laser" in spectrum.factors:
        return r"Å$^2$ sr$^{-1}$ cm"
    return r"Å$^6$ cm" if spectrum.factors else r"Å$^4$ u$^{-1}$ cm"
