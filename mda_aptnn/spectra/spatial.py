"""Spectra resolved in space: by the distance between two molecules at the earlier time, and along
an axis.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.molecular_flux import MolecularFlux, filled_cells, repeats
from mda_aptnn.spectra.absorption import section_factor
from mda_aptnn.spectra.densities import velocity_correction
from mda_aptnn.spectra.regions import Shells, Slabs
from mda_aptnn.spectra.spatial_spectra import AxisProfile, DistanceSpectrum
from mda_aptnn.spectra.statistics import FEWEST, SEGMENT_LENGTH, Segments
from mda_aptnn.spectra.transform import CosineTransform

#: Numbers of a block of molecules that are in memory at a time, at 8 bytes each.
_BLOCK_NUMBERS = 16_000_000
#: A block has at least half, and at most four times, as many time origins as there are lags.
_FEWEST, _MOST = 0.5, 4.0
#: Error bars are made of no more segments than this.
_MOST_SEGMENTS = 8


def distance_spectrum(
    molecules: MolecularFlux,
    series: FluxSeries,
    *,
    edges: Any = None,
    bin_width: Any = "0.5 angstrom",
    temperature: Any = None,
    resolution: Any = "10 cm^-1",
    window: str = "gaussian",
    volume: Any = None,
    n_threads: int = 1,
) -> DistanceSpectrum:
    """Resolve the spectrum of molecules by their distance at the earlier time.

    Parameters
    ----------
    molecules : MolecularFlux
        Fluxes and centres, from a file or from arrays.
    series : FluxSeries
        Spacing, temperature and volume of the same frames.
    edges : array_like or pint.Quantity, optional
        Limits of the shells in Å, ascending. A last shell to infinity is added, a first one from 0
        as well. By default shells of `bin_width` up to half of the smallest height of the cell (10
        Å without one).
    bin_width : float, str or pint.Quantity
        In Å.
    temperature, resolution, window, volume
        As in `FluxSeries.spectrum`.
    n_threads : int
        Threads that share the molecules.

    Returns
    -------
    DistanceSpectrum

    Raises
    ------
    SpectrumError
        If the temperature is not known, the series too short for the resolution, or the edges do
        not ascend.

    Notes
    -----
    Instead of a transform for each pair, one for each molecule and shell: the pairs are summed over
    m before the transform, as the shell depends on the earlier time only. The distance is that of
    the nearest periodic images. Beyond half of the cell a shell is not complete; all pairs are in
    one of them all the same.
    """
    limits = _shell_edges(molecules, edges, bin_width)
    shells = Shells(limits, n_threads)
    common = _resolve(shells, molecules, series, temperature, resolution, window, volume)
    return DistanceSpectrum(
        **common,
        edges=units.quantity(limits, units.LENGTH),
        neighbours=shells.counts / (molecules.n_frames * molecules.n_molecules),
    )


def axis_profile(
    molecules: MolecularFlux,
    series: FluxSeries,
    axis: str = "z",
    *,
    n_slabs: int = 20,
    edges: Any = None,
    relative_to: str = "cell",
    temperature: Any = None,
    resolution: Any = "10 cm^-1",
    window: str = "gaussian",
    volume: Any = None,
) -> AxisProfile:
    """Resolve the spectrum along an axis, by where molecules are at their own time.

    Parameters
    ----------
    molecules : MolecularFlux
        Fluxes and centres; single atoms may be molecules of their own.
    series : FluxSeries
        Spacing, temperature and volume of the same frames.
    axis : {"x", "y", "z"}
        Normal of the slabs. A cell must have two of its vectors in their plane.
    n_slabs : int
        Slabs of equal thickness that fill a periodic cell.
    edges : array_like or pint.Quantity, optional
        Limits of the slabs in Å where the axis is not periodic; molecules outside are in the first
        or last slab.
    relative_to : {"cell", "centre"}
        Positions from 0 along the cell vector, or from the mean position of all molecules (of equal
        weight), which follows a sample that drifts; then 0 is in the middle of the slabs.
    temperature, resolution, window, volume
        As in `FluxSeries.spectrum`.

    Returns
    -------
    AxisProfile

    Raises
    ------
    SpectrumError
        If the axis does not fit the cell, or as in `distance_spectrum`.
    """
    slabs = Slabs(axis, n_slabs, edges, relative_to)
    common = _resolve(slabs, molecules, series, temperature, resolution, window, volume)
    return AxisProfile(
        **common,
        edges=units.quantity(slabs.limits, units.LENGTH),
        axis=axis,
        density=slabs.counts / molecules.n_frames,
    )


def _resolve(
    regions: Shells | Slabs,
    molecules: MolecularFlux,
    series: FluxSeries,
    temperature: Any,
    resolution: Any,
    window: str,
    volume: Any,
) -> dict[str, Any]:
    """What every resolved spectrum has, from blocks of frames that fit into memory."""
    if molecules.n_frames != len(series) or molecules.starts != series.starts:
        raise SpectrumError(
            f"molecules have {molecules.n_frames} frames in series from {molecules.starts}, "
            f"the flux {len(series)} in series from {series.starts}; take both from one run"
        )
    width = units.magnitude(resolution, units.WAVENUMBER, "resolution")
    kelvin, cubic, notes = series.conditions(temperature, volume)
    lengths = np.diff([*series.starts, len(series)])
    transform = CosineTransform.plan(window, width, series.spacing, int(lengths.max()))
    needed = SEGMENT_LENGTH / (units.SPEED_OF_LIGHT * width)
    fitting = int(len(series) * series.spacing / needed)
    n_segments = min(fitting, _MOST_SEGMENTS) if fitting >= FEWEST else 1
    ends = [round(len(series) * k / n_segments) for k in range(n_segments + 1)]
    n_lags = transform.n_lags
    fits = _BLOCK_NUMBERS // (6 * molecules.n_molecules) - n_lags
    longest = int(np.clip(fits, max(1, _FEWEST * n_lags), max(1, _MOST * n_lags)))
    longest = min(longest, -(-len(series) // n_segments))
    size = scipy.fft.next_fast_len(longest + n_lags - 1, real=True)
    sums: list[Any] = [0.0] * n_segments
    for start, stop, end in _blocks([*series.starts, len(series)], ends, longest, n_lags):
        products = regions.products(molecules.read(start, end), stop - start, size)
        sums[bisect.bisect(ends, start) - 1] += products
    wavenumber, correction = velocity_correction(transform.wavenumber, series.finite_difference)
    scale = section_factor(kelvin) * correction

    def section(products: NDArray[np.complex128], n_frames: int) -> NDArray[np.float64]:
        sums = np.moveaxis(scipy.fft.irfft(products, size)[..., :n_lags], -1, 0)
        density = transform(sums / n_frames)[: len(scale)]
        return density * scale.reshape(-1, *[1] * (density.ndim - 1))

    segments = None
    if n_segments > 1:
        frames = np.diff(ends)
        terms = [section(products, n) for products, n in zip(sums, frames, strict=True)]
        segments = Segments(np.array(terms, dtype=np.float32), frames * series.spacing)
    return {
        "wavenumber": units.quantity(wavenumber, units.WAVENUMBER),
        "cross_sections": units.quantity(section(sum(sums), len(series)), "angstrom^2"),
        "temperature": units.quantity(kelvin, units.TEMPERATURE),
        "volume": None if cubic is None else units.quantity(cubic, units.VOLUME),
        "resolution": units.quantity(width if window != "none" else 0.0, units.WAVENUMBER),
        "window": window,
        "segments": segments,
        "notes": notes,
        "info": {name: value for name, value in series.info.items() if name != "notes"}
        | {"estimator": "1/N"},
    }


def _blocks(
    marks: list[int], ends: list[int], longest: int, n_lags: int
) -> Iterator[tuple[int, int, int]]:
    """Blocks of time origins: the first, that behind the last, and that behind their partners.

    They cross neither the end of a series (`marks`) nor that of a segment (`ends`); partners in
    time cross no series.
    """
    for low, high in itertools.pairwise(sorted({*marks, *ends})):
        last = marks[bisect.bisect(marks, low)]
        for start in range(low, high, longest):
            stop = min(start + longest, high)
            yield start, stop, min(stop + n_lags - 1, last)


def _shell_edges(molecules: MolecularFlux, edges: Any, bin_width: Any) -> NDArray[np.float64]:
    """Limits of the shells from 0 to infinity, in Å."""
    if edges is None:
        width = units.magnitude(bin_width, units.LENGTH, "bin_width")
        if not width > 0:
            raise SpectrumError(f"bin_width {bin_width!r} must be positive")
        cells = molecules.read(0, 1).cells
        there = repeats(cells)
        heights = 1 / np.linalg.norm(np.linalg.inv(filled_cells(cells)), axis=1)
        reach = 0.5 * float(heights[there].min()) if there.any() else 10.0
        inner = width * np.arange(1, int(reach / width + 1e-9) + 1)
    else:
        inner = np.atleast_1d(
            np.asarray(units.magnitude(edges, units.LENGTH, "edges"), dtype=float)
        )
        inner = inner[inner != 0]
        if len(inner) == 0 or inner[0] < 0 or (np.diff(inner) <= 0).any():
            raise SpectrumError(f"edges {edges!r} must be positive and ascending, in Å")
    return np.concatenate([[0.0], inner, [np.inf]])
