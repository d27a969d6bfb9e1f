"""Picture of a spectrogram."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from mda_aptnn.figures import new_figure, plain, save_figure
from mda_aptnn.spectra.plots import LABELS, draw_map

if TYPE_CHECKING:
    from mda_aptnn.spectra.spectrogram import Spectrogram


def plot_spectrogram(
    found: Spectrogram,
    path: str | os.PathLike[str] | None = None,
    *,
    limit: float = 4500.0,
    figure: Any = None,
) -> Any:
    """Draw time against wavenumber, and the mean over time above it.

    Parameters
    ----------
    found : Spectrogram
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
    Series that do not continue each other stand in the order of their windows, not of their times.
    """
    figure = figure or new_figure(path, (7.0, 6.0))
    top, main = figure.subplots(2, 1, sharex=True, height_ratios=[1.0, 3.0])
    inside = found.wavenumber.magnitude <= limit
    x, times = found.wavenumber.magnitude[inside], found.times.magnitude
    top.plot(x, found.total.magnitude[inside], color="black", linewidth=1.2)
    top.set_ylabel("mean")
    rising = bool((np.diff(times) > 0).all())
    middles = (times[1:] + times[:-1]) / 2 if rising else np.arange(1, len(times)) - 0.5
    if rising and len(times) > 1:
        ends = [times[0] - (middles[0] - times[0]), times[-1] + (times[-1] - middles[-1])]
    else:
        ends = [-0.5, len(times) - 0.5]
    edges = np.array([ends[0], *middles, ends[1]])
    draw_map(figure, main, x, edges, found.parts[inside], LABELS[found.unit], signed=False)
    main.set_ylabel("time / ps" if rising else "window")
    main.set_xlabel(r"wavenumber / cm$^{-1}$")
    resolutions = f"{found.resolution.magnitude:g} cm$^{{-1}}$ and {found.time_resolution.magnitude:.3g} ps wide"
    top.set_title(f"{plain(found.group)}: {resolutions}", fontsize="medium")
    if path is not None:
        save_figure(figure, path)
    return figure
