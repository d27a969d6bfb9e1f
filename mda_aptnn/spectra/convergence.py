"""How a band's intensity settles as the trajectory grows: is it long enough?"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.figures import Drawn, Panel, Picture
from mda_aptnn.flux.flux_series import RECORDS, FluxSeries
from mda_aptnn.spectra.result import Measured
from mda_aptnn.spectra.windows import needed_time


@dataclasses.dataclass(frozen=True)
class Convergence(Drawn):
    """The integral of a band from the first part of a trajectory, against the length of the part.

    Attributes
    ----------
    lengths : ndarray, shape [n_lengths]
        In ps, growing; the last one is the whole trajectory.
    integrals : list of Measured
        In km/mol per sample, with standard errors from segments.
    low, high : float
        Limits of the band in cm⁻¹.
    """

    lengths: NDArray[np.float64]
    integrals: list[Measured]
    low: float
    high: float

    def _picture(self) -> Picture:
        """The integral, and below it the relative standard error beside 1/√length."""
        parts = [(found.value, found.error, found.model_error) for found in self.integrals]
        values, errors, spread = np.array(parts).T
        degrees = self.integrals[-1].degrees_of_freedom
        band = f"{self.low:g} to {self.high:g} cm$^{{-1}}$ / km mol$^{{-1}}$ per sample"
        relative = 100 * errors / np.abs(values)
        guide = relative[-1] * np.sqrt(self.lengths[-1] / self.lengths)
        lines = {"standard error": relative, "∝ 1/√length": guide}
        curve = Measured(values, errors, "km/mol", degrees, True, spread)
        return Picture(
            x=self.lengths,
            x_label="length of the trajectory / ps",
            x_unit=units.TIME,
            end=None,
            log="x",
            marker="o",
            panels=[
                Panel(label=band, curves={"intensity": curve}, height=0.7),
                Panel(label="standard error / %", terms=lines, height=0.7),
            ],
        )


def convergence(
    series: FluxSeries,
    low: Any,
    high: Any,
    *,
    n_lengths: int = 8,
    segments: int = 8,
    **options: Any,
) -> Convergence:
    """Return the integral of a band from ever longer parts of a trajectory.

    Parameters
    ----------
    series : FluxSeries
        Replicas are taken one after the other.
    low, high : float, str or pint.Quantity
        Limits of the band in cm⁻¹.
    n_lengths : int
        How many lengths, evenly on a logarithmic scale.
    segments : int
        For the error bars of each.
    **options
        Of `FluxSeries.spectrum`. The temperature is that of the whole trajectory in all parts.

    Returns
    -------
    Convergence

    Raises
    ------
    SpectrumError
        If the trajectory is too short for the resolution in so many segments.
    """
    whole = series.regroup({"all": series.groups})
    options = {"resolution": "10 cm^-1"} | options | {"segments": segments}
    resolution = units.magnitude(options["resolution"], units.WAVENUMBER, "resolution")
    spectrum = whole.spectrum(**options)
    options["temperature"] = spectrum.temperature
    if spectrum.volume is not None:
        options["volume"] = spectrum.volume
    shortest = 1.05 * segments * needed_time(resolution) / series.spacing
    if shortest > 0.7 * len(whole):
        raise SpectrumError(
            f"{len(whole) * series.spacing:.3g} ps are too short to see how they converge: "
            f"{segments} segments at a resolution of {resolution:g} cm⁻¹ need "
            f"{shortest * series.spacing:.3g} ps; ask for a coarser one, or fewer segments"
        )
    sizes = np.unique(np.geomspace(shortest, len(whole), n_lengths).round().astype(int))
    limits = [
        units.magnitude(value, units.WAVENUMBER, name)
        for value, name in ((low, "low"), (high, "high"))
    ]
    with warnings.catch_warnings():
        # that the first parts are short is the point
        warnings.filterwarnings("ignore", message=".* are short for a resolution")
        integrals = [_beginning(whole, size).spectrum(**options).band(*limits) for size in sizes]
    return Convergence(sizes * series.spacing, integrals, *limits)


def _beginning(series: FluxSeries, n_frames: int) -> FluxSeries:
    """The first frames of all."""
    parts = {name: getattr(series, name)[:n_frames] for name in ("flux", "times", *RECORDS)}
    starts = [k for k in series.starts if k < n_frames]
    return dataclasses.replace(series, starts=starts, members=None, polarizability=None, **parts)
