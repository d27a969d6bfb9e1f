"""Pictures of spectra, and what the pictures of all results have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import SpectrumError
from mda_aptnn.figures import draw_doubts, new_figure, plain, save_figure
from mda_aptnn.spectra.windows import WIDER

if TYPE_CHECKING:
    from mda_aptnn.spectra.spectrum import Spectrum

#: What the vertical axis says, by unit.
LABELS = {
    "1/cm": r"$n(\omega)\,\alpha(\omega)$ / cm$^{-1}$",
    "km/mol*cm": r"molar absorption / km mol$^{-1}$ cm",
}


def plot_spectrum(
    spectrum: Spectrum,
    path: str | os.PathLike[str] | None = None,
    *,
    ax: Any = None,
    terms: bool | None = None,
    limit: float = 4500.0,
) -> Any:
    """Draw a spectrum and its terms.

    Parameters
    ----------
    spectrum : Spectrum
    path : path, optional
        Written there (format by the ending) instead of being left open for display.
    ax : matplotlib.axes.Axes, optional
        Drawn into; a new figure otherwise.
    terms : bool, optional
        Auto terms solid, cross terms dashed; by default if there are two to five groups.
    limit : float
        Right end of the axis in cm⁻¹, if the spectrum reaches so far.

    Returns
    -------
    matplotlib.axes.Axes
    """
    if ax is None:
        ax = new_figure(path).subplots()
    wavenumber = spectrum.wavenumber.magnitude
    values, unit = spectrum.default_values()
    ax.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    ax.plot(wavenumber, values, color="black", linewidth=1.4, label="total", zorder=3)
    if spectrum.segments is not None:
        ax.fill_between(
            wavenumber,
            *spectrum.default_band(),
            color="black",
            alpha=0.2,
            linewidth=0,
            label="68 %",
        )
    if spectrum.members is not None:
        error = spectrum.default_model_error()
        label = spectrum.members.label
        ax.fill_between(
            wavenumber,
            values - error,
            values + error,
            color="tab:red",
            alpha=0.4,
            linewidth=0,
            label=label,
        )
    if terms is None:
        terms = 2 <= len(spectrum.groups) <= 5
    for a, b in spectrum.pairs() if terms else []:
        label, style = (plain(a), "-") if a == b else (plain(f"{a} × {b}"), "--")
        values = spectrum.default_values((a, b))[0]
        # self and distinct parts have no cross terms
        if values.any() or not spectrum.signed:
            ax.plot(wavenumber, values, style, linewidth=1.0, label=label)
    ax.set_xlim(0, min(limit, wavenumber[-1]))
    ax.set_xlabel(r"wavenumber / cm$^{-1}$")
    ax.set_ylabel(LABELS[unit])
    ax.set_title(title_of(spectrum), fontsize="medium")
    if terms or spectrum.members is not None:
        ax.legend(frameon=False, fontsize="small")
    draw_doubts(ax, spectrum.notes)
    if path is not None:
        save_figure(ax.figure, path)
    return ax


def plot_together(
    spectra: Mapping[str, Spectrum],
    path: str | os.PathLike[str] | None = None,
    *,
    ax: Any = None,
    scale: float = 1.0,
    limit: float = 4500.0,
) -> Any:
    """Draw the totals of several spectra with their 68 % bands.

    Parameters
    ----------
    spectra : mapping of str to Spectrum
        By the name in the legend; all with a volume, or none.
    path : path, optional
        Written there (format by the ending) instead of being left open for display.
    ax : matplotlib.axes.Axes, optional
        Drawn into; a new figure otherwise.
    scale : float
        Heights are multiplied with it, such as one over the number of molecules.
    limit : float
        Right end of the axis in cm⁻¹, if a spectrum reaches so far.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    SpectrumError
        If some have a volume and others not.
    """
    if len({spectrum.volume is None for spectrum in spectra.values()}) > 1:
        raise SpectrumError(
            "some spectra have a volume and others not; give volume= to those that have none"
        )
    if ax is None:
        ax = new_figure(path).subplots()
    for name, spectrum in spectra.items():
        wavenumber = spectrum.wavenumber.magnitude
        values, unit = spectrum.default_values()
        [line] = ax.plot(wavenumber, scale * values, linewidth=1.3, label=plain(name))
        if spectrum.segments is not None:
            low, high = spectrum.default_band()
            ax.fill_between(
                wavenumber,
                scale * low,
                scale * high,
                color=line.get_color(),
                alpha=0.2,
                linewidth=0,
            )
    ax.set_xlim(
        0, min(limit, max(spectrum.wavenumber.magnitude[-1] for spectrum in spectra.values()))
    )
    ax.set_xlabel(r"wavenumber / cm$^{-1}$")
    ax.set_ylabel(LABELS[unit])
    ax.legend(frameon=False)
    if path is not None:
        save_figure(ax.figure, path)
    return ax


def draw_map(
    figure: Any,
    ax: Any,
    x: NDArray[np.float64],
    edges: NDArray[np.float64],
    values: NDArray[np.float64],
    label: str,
    *,
    signed: bool,
    reach: float | None = None,
) -> None:
    """Draw values [n_x, n_bins] as colours, with a bar that says what they are.

    Parameters
    ----------
    figure, ax : matplotlib figure and axes
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
    figure.colorbar(mesh, ax=ax, label=label, pad=0.02)


def title_of(spectrum: Any) -> str:
    """Return temperature and resolution of a spectrum, as a title says them."""
    title = f"{spectrum.temperature.magnitude:.0f} K"
    if spectrum.resolution.magnitude > 0:
        title += f", resolution {spectrum.resolution.magnitude:g} cm$^{{-1}}$"
        effective = getattr(spectrum, "effective_resolution", None)
        if (
            effective is not None
            and abs(effective.magnitude / spectrum.resolution.magnitude - 1) > WIDER
        ):
            title += f" (lines {effective.magnitude:.3g} cm$^{{-1}}$ wide)"
    return title
