"""Results of spectra resolved in space."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.resolved import ResolvedSpectrum

#: What a distance may be called for.
_WHICH: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "self": lambda parts: parts[..., 0],
    "shells": lambda parts: parts[..., 1:],
    "cumulative": lambda parts: parts.cumsum(axis=-1),
    "distinct": lambda parts: parts[..., 1:].sum(axis=-1),
    "total": lambda parts: parts.sum(axis=-1),
}


@dataclasses.dataclass(frozen=True)
class DistanceSpectrum(ResolvedSpectrum):
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

    edges: Any = None
    neighbours: Any = None

    kind: ClassVar[str] = "distance-spectrum"
    own_arrays: ClassVar[dict[str, str]] = {"edges": units.LENGTH, "neighbours": ""}

    def values(self, which: str = "total") -> Any:
        """Return a part of the spectrum.

        Parameters
        ----------
        which : {"total", "self", "distinct", "shells", "cumulative"}
            "shells": [n_frequencies, n_shells], all pairs in each; "cumulative": [n_frequencies, 1
            + n_shells], the self term and all pairs up to the end of each shell.

        Returns
        -------
        pint.Quantity
            n·α in cm⁻¹, or molar absorption where there is no volume.
        """
        return units.quantity(_which(which)(self.parts), self.unit)

    def errors(self, which: str = "total") -> Any:
        """Return the standard error of `values`, from disjoint segments of the trajectory.

        Parameters
        ----------
        which : str
            As in `values`.

        Returns
        -------
        pint.Quantity
            Of the shape of `values`.

        Raises
        ------
        SpectrumError
            If the trajectory was too short for them.
        """
        parts = _which(which)(self.segment_parts())
        assert self.segments is not None
        return units.quantity(self.segments.standard_error(parts), self.unit)

    def plot(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Draw the map; see `mda_aptnn.spectra.spatial_plots.plot_distances`.

        Parameters
        ----------
        path : path, optional
            Written there (format by the ending) instead of being left open for display.
        **options
            Of `plot_distances`.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from mda_aptnn.spectra.spatial_plots import plot_distances

        return plot_distances(self, path, **options)


@dataclasses.dataclass(frozen=True)
class AxisProfile(ResolvedSpectrum):
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

    edges: Any = None
    axis: str = "z"
    density: Any = None

    kind: ClassVar[str] = "axis-profile"
    own_arrays: ClassVar[dict[str, str]] = {"edges": units.LENGTH, "density": ""}
    own_texts: ClassVar[tuple[str, ...]] = ("axis",)

    def values(self, which: str = "all") -> Any:
        """Return the contribution of each slab [n_frequencies, n_slabs]; the sum over slabs is that
        to the total.

        Parameters
        ----------
        which : {"all", "in-plane", "out-of-plane", "x", "y", "z"}
            Component of the flux. "in-plane" is the sum of two, two thirds of "all" in an isotropic
            sample.

        Returns
        -------
        pint.Quantity, shape [n_frequencies, n_slabs]
            n·α in cm⁻¹, or molar absorption where there is no volume.
        """
        return units.quantity(self._components(which, self.parts), self.unit)

    def local(self, which: str = "all") -> Any:
        """Return n·α as if the whole sample were like the slab, `values` by the slab's part of it.

        [n_frequencies, n_slabs]; its mean over slabs, weighted with their thickness, is the total.

        Parameters
        ----------
        which : str
            As in `values`.

        Returns
        -------
        pint.Quantity, shape [n_frequencies, n_slabs]
        """
        thickness = np.diff(self.edges.magnitude)
        return self.values(which) * (thickness.sum() / thickness)

    def errors(self, which: str = "all") -> Any:
        """Return the standard error of `values`.

        Parameters
        ----------
        which : str
            As in `values`.

        Returns
        -------
        pint.Quantity, shape [n_frequencies, n_slabs]

        Raises
        ------
        SpectrumError
            If the trajectory was too short for it.
        """
        parts = self._components(which, self.segment_parts())
        assert self.segments is not None
        return units.quantity(self.segments.standard_error(parts), self.unit)

    def _components(self, which: str, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        normal = "xyz".index(self.axis)
        chosen = {
            "all": [0, 1, 2],
            "in-plane": [k for k in range(3) if k != normal],
            "out-of-plane": [normal],
            **{name: [k] for k, name in enumerate("xyz")},
        }
        if which not in chosen:
            raise SpectrumError(f"component {which!r}: choose one of {', '.join(chosen)}")
        result: NDArray[np.float64] = parts[..., chosen[which]].sum(axis=-1)
        return result

    def plot(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Draw the map; see `mda_aptnn.spectra.spatial_plots.plot_profile`.

        Parameters
        ----------
        path : path, optional
            Written there (format by the ending) instead of being left open for display.
        **options
            Of `plot_profile`.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from mda_aptnn.spectra.spatial_plots import plot_profile

        return plot_profile(self, path, **options)


def _which(name: str) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    if name not in _WHICH:
        raise SpectrumError(f"part {name!r} of the spectrum: choose one of {', '.join(_WHICH)}")
    return _WHICH[name]
