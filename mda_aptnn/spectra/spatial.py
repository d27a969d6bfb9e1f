"""Spectra resolved in space: by the distance between two molecules at the earlier time, and along
an axis.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.figures import Map, Panel
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.molecular_flux import MolecularFlux
from mda_aptnn.frame import Cell
from mda_aptnn.spectra.estimator import AUTO, FEWEST, SEGMENT_LENGTH, Estimator
from mda_aptnn.spectra.infrared import Absorption, section_factor
from mda_aptnn.spectra.quantities import SECTION
from mda_aptnn.spectra.regions import Shells, Slabs
from mda_aptnn.spectra.result import Measured, array, attribute
from mda_aptnn.spectra.windows import needed_time

Array = NDArray[np.float64]

#: Numbers of a block of molecules that are in memory at a time, at 8 bytes each.
_BLOCK_NUMBERS = 16_000_000
#: A block has at least half, and at most four times, as many time origins as there are lags.
_FEWEST, _MOST = 0.5, 4.0
#: Error bars are made of no more segments than this.
_MOST_SEGMENTS = 8
#: So many distances are drawn as lines.
_SHELLS = 5

#: What a spectrum by distance may be asked for, of the self term and the shells.
_PARTS: dict[str, Callable[[Array], Array]] = {
    "self": lambda parts: parts[..., 0],
    "shells": lambda parts: parts[..., 1:],
    "cumulative": lambda parts: parts.cumsum(axis=-1),
    "distinct": lambda parts: parts[..., 1:].sum(axis=-1),
    "total": lambda parts: parts.sum(axis=-1),
}


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class DistanceSpectrum(Absorption):
    """The spectrum of molecules, by the distance of the two whose fluxes are correlated, at the
    earlier time.

    Attributes
    ----------
    cross_sections : pint.Quantity, shape [n_frequencies, 1 + n_shells]
        V · n(ω)α(ω) in Å²: the self term, then each shell. Their sum is the total.
    edges : pint.Quantity, shape [n_shells + 1]
        Limits of the shells in Å; the last may be infinite.
    neighbours : ndarray, shape [n_shells]
        Mean number of molecules in each shell around one.

    Notes
    -----
    ``C_b(t) = Σ_n ⟨Σ_m [r_mn(0) in b] f_m(0) · f_n(t)⟩`` with the fluxes f of molecules m ≠ n, t ≥
    0.
    """

    kind: ClassVar[str] = "distance-spectrum"

    cross_sections: Any = array(SECTION, "frequencies", "parts")
    edges: Any = array(units.LENGTH, "parts")
    neighbours: Any = array(None, "shells")

    def curve(self, *term: str) -> Measured:
        """Return a part of the spectrum with its standard error.

        Parameters
        ----------
        *term : {"total", "self", "distinct", "shells", "cumulative"}
            "total" by default. "shells": [n_frequencies, n_shells], all pairs in each;
            "cumulative": [n_frequencies, 1 + n_shells], the self term and all pairs up to the end
            of each shell.

        Returns
        -------
        Measured
            n·α in cm⁻¹, or molar absorption where there is no volume.
        """
        return super().curve(*term)

    def _reduction(self, *term: str) -> Callable[[Array], Array]:
        [name] = term or ["total"]
        if name not in _PARTS:
            raise SpectrumError(f"part {name!r} of the spectrum: choose one of {', '.join(_PARTS)}")
        return _PARTS[name]

    def summary(self) -> dict[str, Any]:
        """Return what the spectrum says, as plain numbers.

        Returns
        -------
        dict of str to value
        """
        return {
            "edges_angstrom": self.edges.magnitude[:-1].tolist(),
            "neighbours": self.neighbours.round(4).tolist(),
            **super().summary(),
        }

    def describe(self) -> str:
        """Return the same for people.

        Returns
        -------
        str
        """
        ends = [*(f"to {edge:g} Å" for edge in self.edges.magnitude[1:-1]), "Å and beyond"]
        rows = zip(self.edges.magnitude, ends, self.neighbours, strict=False)
        return "\n".join(f"{low:g} {end}: {n:.3f} molecules around one" for low, end, n in rows)

    def _panels(self) -> list[Panel]:
        """What shells contribute as a map, and below it the self term, the total and what lies
        between.

        The map is per Å of distance, so that it does not depend on the width of the shells; the
        last shell, which has no end, is left to the lower part.
        """
        edges = self.edges.magnitude
        finite = edges[np.isfinite(edges)]
        # closer than any two molecules come there is nothing
        first = min(int(np.argmax(self.neighbours > 0)), len(finite) - 2)
        shells = self.scale * self.values[:, 1 : len(finite)] / np.diff(finite)
        image = Map(edges=finite[first:], values=shells[:, first:], label=f"{self.label} per Å")
        cumulative = self.scale * _PARTS["cumulative"](self.values)
        between = np.arange(first + 1, cumulative.shape[1] - 1)
        # some of many shells can be told apart
        chosen = between[:: max(1, -(-len(between) // _SHELLS))]
        terms = {"self": cumulative[:, 0]}
        terms |= {f"up to {edges[k]:g} Å": cumulative[:, k] for k in chosen}
        return [
            Panel(label="distance at the earlier time / Å", map=image),
            Panel(label=self.label, curves={"total": self.curve()}, terms=terms, height=0.9),
        ]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class AxisProfile(Absorption):
    """The spectrum along an axis of the cell, as at an interface.

    Attributes
    ----------
    cross_sections : pint.Quantity, shape [n_frequencies, n_slabs, 3]
        V · n(ω)α(ω) in Å² of the molecules in a slab with all molecules, by Cartesian component.
        Their sum is the total.
    edges : pint.Quantity, shape [n_slabs + 1]
        Limits of the slabs in Å.
    axis : {"x", "y", "z"}
    density : ndarray, shape [n_slabs]
        Mean number of molecules in each slab.

    Notes
    -----
    ``C_b(t) = ½⟨g_b(0)·M'(t)⟩ + ½⟨M'(0)·g_b(t)⟩`` with ``g_b = Σ_m [z_m in b] f_m`` and the total
    flux M' = Σ_b g_b.
    """

    kind: ClassVar[str] = "axis-profile"

    axis: str = attribute(str)
    cross_sections: Any = array(SECTION, "frequencies", "slabs", 3)
    density: Any = array(None, "slabs")
    edges: Any = array(units.LENGTH, "edges")

    def curve(self, *term: str) -> Measured:
        """Return the contribution of each slab with its standard error; the sum over slabs is that
        to the total.

        Parameters
        ----------
        *term : {"all", "in-plane", "out-of-plane", "x", "y", "z"}
            Component of the flux, "all" by default. "in-plane" is the sum of two, two thirds of
            "all" in an isotropic sample.

        Returns
        -------
        Measured
            [n_frequencies, n_slabs], n·α in cm⁻¹, or molar absorption where there is no volume.
        """
        return super().curve(*term)

    def _reduction(self, *term: str) -> Callable[[Array], Array]:
        [name] = term or ["all"]
        normal = "xyz".index(self.axis)
        components = {
            "all": [0, 1, 2],
            "in-plane": [k for k in range(3) if k != normal],
            "out-of-plane": [normal],
            **{axis: [k] for k, axis in enumerate("xyz")},
        }
        if name not in components:
            raise SpectrumError(f"component {name!r}: choose one of {', '.join(components)}")
        return lambda values: values[..., components[name]].sum(axis=-1)

    def local(self, which: str = "all") -> Any:
        """Return n·α as if the whole sample were like the slab, `curve` by the slab's part of it.

        [n_frequencies, n_slabs]; its mean over slabs, weighted with their thickness, is the total.

        Parameters
        ----------
        which : str
            As in `curve`.

        Returns
        -------
        pint.Quantity, shape [n_frequencies, n_slabs]
        """
        thickness = np.diff(self.edges.magnitude)
        return self.curve(which).quantity * (thickness.sum() / thickness)

    def summary(self) -> dict[str, Any]:
        """Return what the spectrum says, as plain numbers.

        Returns
        -------
        dict of str to value
        """
        own = {"edges_angstrom": self.edges.magnitude.tolist(), "molecules": self.density.tolist()}
        return {**own, **super().summary()}

    def _panels(self) -> list[Panel]:
        """The local n·α along the axis as maps, in the plane and out of it.

        The in-plane part is halved: in an isotropic sample both maps are the same.
        """
        maps = {
            "in-plane, per direction": self.local("in-plane").magnitude / 2,
            "out-of-plane": self.local("out-of-plane").magnitude,
        }
        parts = np.array(list(maps.values()))
        limits = min(0.0, float(parts.min())), float(parts.max())
        return [
            Panel(
                label=f"{self.axis} / Å",
                title=name,
                map=Map(
                    edges=self.edges.magnitude,
                    values=values,
                    label=self.label,
                    limits=limits,
                ),
                height=0.8,
            )
            for name, values in maps.items()
        ]


def distance_spectrum(
    molecules: MolecularFlux,
    series: FluxSeries,
    *,
    edges: Any = None,
    bin_width: Any = "0.5 angstrom",
    n_threads: int = 1,
    **conditions: Any,
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
    n_threads : int
        Threads that share the molecules.
    **conditions
        temperature, resolution, window, volume, as in `FluxSeries.spectrum`.

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
    common = _resolve(shells, molecules, series, **conditions)
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
    **conditions: Any,
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
    **conditions
        temperature, resolution, window, volume, as in `FluxSeries.spectrum`.

    Returns
    -------
    AxisProfile

    Raises
    ------
    SpectrumError
        If the axis does not fit the cell, or as in `distance_spectrum`.
    """
    slabs = Slabs(axis, n_slabs, edges, relative_to)
    common = _resolve(slabs, molecules, series, **conditions)
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
    temperature: Any = None,
    resolution: Any = AUTO,
    volume: Any = None,
    window: str = "gaussian",
) -> dict[str, Any]:
    """What every resolved spectrum has, from blocks of frames that fit into memory."""
    if molecules.n_frames != len(series) or molecules.starts != series.starts:
        raise SpectrumError(
            f"molecules have {molecules.n_frames} frames in series from {molecules.starts}, "
            f"the flux {len(series)} in series from {series.starts}; take both from one run"
        )
    kelvin, cubic, notes = series.conditions(temperature, volume)
    marks = [*series.starts, len(series)]
    lengths = np.diff(marks).tolist()
    estimator = Estimator(resolution, window).suited(series.spacing, lengths)
    plan = estimator.plan(series.spacing, lengths, series.finite_difference)
    if resolution == AUTO:
        notes.append(plan.note(estimator.resolution, components=3))
    needed = SEGMENT_LENGTH * needed_time(estimator.resolution)
    fitting = int(len(series) * series.spacing / needed)
    n_segments = min(fitting, _MOST_SEGMENTS) if fitting >= FEWEST else 1
    ends = [round(len(series) * k / n_segments) for k in range(n_segments + 1)]
    fits = _BLOCK_NUMBERS // (6 * molecules.n_molecules) - plan.n_lags
    longest = int(np.clip(fits, max(1, _FEWEST * plan.n_lags), max(1, _MOST * plan.n_lags)))
    longest = min(longest, -(-len(series) // n_segments))
    size = scipy.fft.next_fast_len(longest + plan.n_lags - 1, real=True)
    sums: list[Any] = [0.0] * n_segments
    for start, stop, end in _blocks(marks, ends, longest, plan.n_lags):
        products = regions.products(molecules.read(start, end), stop - start, size)
        sums[bisect.bisect(ends, start) - 1] += products
    found = np.moveaxis(scipy.fft.irfft(np.array(sums), size)[..., : plan.n_lags], -1, 1)
    frames = np.diff(ends).reshape(-1, *[1] * (found.ndim - 1))
    density = estimator.density_of_correlation(
        plan,
        found.sum(axis=0) / len(series),
        found / frames if n_segments > 1 else None,
        frames.ravel(),
        factor=section_factor(kelvin),
    )
    return {
        **density.common(notes, series.info, temperature=kelvin, volume=cubic),
        "cross_sections": units.quantity(density.terms, SECTION),
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
