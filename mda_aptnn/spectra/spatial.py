"""Spectra resolved in space: by the distance between two molecules at the earlier time, and along
an axis.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.molecular_flux import MolecularFlux, MoleculeBlock
from mda_aptnn.frame import Cell
from mda_aptnn.spectra.densities import velocity_correction
from mda_aptnn.spectra.infrared import section_factor
from mda_aptnn.spectra.origin_blocks import OriginBlock, OriginCorrelation, origin_blocks
from mda_aptnn.spectra.shells import Shells
from mda_aptnn.spectra.slabs import Slabs
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
    plan = _Plan.make(molecules, series, temperature, resolution, window, volume)
    sums = OriginCorrelation(len(limits), plan.n_lags, plan.n_segments, plan.longest)
    counts = np.zeros(len(limits) - 1)
    shares = np.array_split(np.arange(molecules.n_molecules), n_threads)
    with ThreadPoolExecutor(n_threads) as threads:
        for block in plan.blocks(molecules):
            frames = molecules.read(block.start, block.end)
            work = functools.partial(_add_molecules, sums, block, frames, Shells(frames, limits))
            counts += sum(threads.map(work, shares))
    cross_sections, segments = plan.spectra(sums.sums())
    return DistanceSpectrum(
        **plan.common(cross_sections, segments),
        edges=units.quantity(limits, units.LENGTH),
        neighbours=counts / (molecules.n_frames * molecules.n_molecules),
    )


def _add_molecules(
    sums: OriginCorrelation,
    block: OriginBlock,
    frames: MoleculeBlock,
    shells: Shells,
    some: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Add what is around some of the molecules, and count it."""
    origins = np.empty((shells.n_shells + 1, 3, block.stop - block.start))
    counts = np.zeros(shells.n_shells, dtype=np.int64)
    for n in some:
        origins[0] = frames.flux[n, :, : origins.shape[2]]
        counts += shells.around(n, origins[1:])
        sums.add(block.segment, sums.products(origins, frames.flux[n]))
    return counts


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
    if axis not in ("x", "y", "z"):
        raise SpectrumError(f"axis {axis!r}: choose 'x', 'y' or 'z'")
    slabs = Slabs("xyz".index(axis), n_slabs, edges, relative_to)
    plan = _Plan.make(molecules, series, temperature, resolution, window, volume)
    # component a of slab b is channel (b, a), forward and backward in time
    sums = OriginCorrelation(6 * slabs.n_slabs, plan.n_lags, plan.n_segments, plan.longest)
    counts = np.zeros(slabs.n_slabs)
    heights = []
    for block in plan.blocks(molecules):
        n_origins = block.stop - block.start
        frames = molecules.read(block.start, block.end)
        where, height = slabs.find(frames.centres, frames.cells)
        counts += np.bincount(where[:, :n_origins].ravel(), minlength=slabs.n_slabs)
        heights.append(height[:n_origins])
        parts = np.stack(
            [np.einsum("mat,mt->at", frames.flux, where == b) for b in range(slabs.n_slabs)]
        )
        total = parts.sum(axis=0)
        for a in range(3):
            one = slice(a, a + 1)
            forward = sums.products(parts[:, one, :n_origins], total[one])
            backward = [sums.products(total[None, one, :n_origins], part[one])[0] for part in parts]
            half = 3 * slabs.n_slabs
            sums.add(block.segment, forward, slice(a, half, 3))
            sums.add(block.segment, np.array(backward), slice(half + a, 2 * half, 3))
    both = sums.sums().reshape(plan.n_segments, plan.n_lags, 2, slabs.n_slabs, 3)
    cross_sections, segments = plan.spectra(both.mean(axis=2))
    limits = slabs.limits(float(np.concatenate(heights).mean()))
    return AxisProfile(
        **plan.common(cross_sections, segments),
        edges=units.quantity(limits, units.LENGTH),
        axis=axis,
        density=counts / molecules.n_frames,
    )


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is the same for every resolved spectrum: lags, segments, block length, prefactor."""

    transform: CosineTransform
    series: FluxSeries
    n_segments: int
    longest: int
    resolution: float
    window: str
    temperature: float
    volume: float | None
    notes: list[str]

    @property
    def n_lags(self) -> int:
        return self.transform.n_lags

    @property
    def wavenumber(self) -> NDArray[np.float64]:
        return velocity_correction(self.transform.wavenumber, self.series.finite_difference)[0]

    def blocks(self, molecules: MolecularFlux) -> Iterator[OriginBlock]:
        """Blocks of time origins that fit into memory."""
        return origin_blocks(
            molecules.starts, molecules.n_frames, self.n_lags, self.n_segments, self.longest
        )

    @classmethod
    def make(
        cls,
        molecules: MolecularFlux,
        series: FluxSeries,
        temperature: Any,
        resolution: Any,
        window: str,
        volume: Any,
    ) -> _Plan:
        if molecules.n_frames != len(series) or molecules.starts != series.starts:
            raise SpectrumError(
                f"molecules have {molecules.n_frames} frames in series from {molecules.starts}, "
                f"the flux "
                f"{len(series)} in series from {series.starts}; take both from one run"
            )
        width = units.magnitude(resolution, units.WAVENUMBER, "resolution")
        kelvin, cubic, notes = series.conditions(temperature, volume)
        lengths = np.diff([*series.starts, len(series)])
        transform = CosineTransform.plan(window, width, series.spacing, int(lengths.max()))
        needed = 1 / (units.SPEED_OF_LIGHT * width)
        fitting = int(len(series) * series.spacing / (SEGMENT_LENGTH * needed))
        n_segments = min(fitting, _MOST_SEGMENTS) if fitting >= FEWEST else 1
        n_lags = transform.n_lags
        fits = _BLOCK_NUMBERS // (6 * molecules.n_molecules) - n_lags
        longest = int(np.clip(fits, max(1, _FEWEST * n_lags), max(1, _MOST * n_lags)))
        longest = min(longest, -(-len(series) // n_segments))
        return cls(transform, series, n_segments, longest, width, window, kelvin, cubic, notes)

    def spectra(self, sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], Segments | None]:
        """From sums over origins [n_segments, n_lags, ...] to cross sections in Å²: of all, and of
        each segment.
        """
        limits = [round(len(self.series) * k / self.n_segments) for k in range(self.n_segments + 1)]
        frames = np.diff(limits)
        scale = section_factor(self.temperature)
        wavenumber, correction = velocity_correction(
            self.transform.wavenumber, self.series.finite_difference
        )

        def section(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
            values = self.transform(correlation)[: len(wavenumber)]
            return scale * values * correction.reshape(-1, *[1] * (values.ndim - 1))

        whole = section(sums.sum(axis=0) / len(self.series))
        if self.n_segments == 1:
            return whole, None
        parts = [section(part / n) for part, n in zip(sums, frames, strict=True)]
        lengths = np.asarray(frames * self.series.spacing, dtype=float)
        return whole, Segments(np.array(parts, dtype=np.float32), lengths)

    def common(
        self, cross_sections: NDArray[np.float64], segments: Segments | None
    ) -> dict[str, Any]:
        """The attributes that every resolved spectrum has."""
        info = {name: value for name, value in self.series.info.items() if name != "notes"}
        return {
            "wavenumber": units.quantity(self.wavenumber, units.WAVENUMBER),
            "cross_sections": units.quantity(cross_sections, "angstrom^2"),
            "temperature": units.quantity(self.temperature, units.TEMPERATURE),
            "volume": None if self.volume is None else units.quantity(self.volume, units.VOLUME),
            "resolution": units.quantity(
                self.resolution if self.window != "none" else 0.0, units.WAVENUMBER
            ),
            "window": self.window,
            "segments": segments,
            "notes": self.notes,
            "info": {**info, "estimator": "1/N"},
        }


def _shell_edges(molecules: MolecularFlux, edges: Any, bin_width: Any) -> NDArray[np.float64]:
    """Limits of the shells from 0 to infinity, in Å."""
    if edges is None:
        width = units.magnitude(bin_width, units.LENGTH, "bin_width")
        if not width > 0:
            raise SpectrumError(f"bin_width {bin_width!r} must be positive")
        reach = float(Cell(molecules.read(0, 1).cells[0]).half_height)
        reach = reach if np.isfinite(reach) else 10.0
        inner = width * np.arange(1, int(reach / width + 1e-9) + 1)
    else:
        inner = np.atleast_1d(
            np.asarray(units.magnitude(edges, units.LENGTH, "edges"), dtype=float)
        )
        inner = inner[inner != 0]
        if len(inner) == 0 or inner[0] < 0 or (np.diff(inner) <= 0).any():
            raise SpectrumError(f"edges {edges!r} must be positive and ascending, in Å")
    return np.concatenate([[0.0], inner, [np.inf]])
