"""The vibrational density of states: how many degrees of freedom move at each frequency, by groups
and motions.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.citations import cite
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.columns import write_columns
from mda_aptnn.spectra.display import Pictured
from mda_aptnn.spectra.result import band_weights
from mda_aptnn.spectra.statistics import Measured, Segments, confidence_band

cite(__name__)

Array = NDArray[np.float64]

#: Unit of densities: degrees of freedom per cm⁻¹.
DENSITY = "cm"
#: What the motions of an atom have in common: their cross-correlation, which vanishes at equal
#: times.
COUPLING = "coupling of motions"


@dataclasses.dataclass(frozen=True)
class VibrationalDensity(io.Stored, Pictured):
    """Density of states of atoms, the sum of its terms.

    Attributes
    ----------
    wavenumber : pint.Quantity, shape [n_frequencies]
        In cm⁻¹, from 0, equidistant.
    names : list of str
        Of the terms: groups, or motions of groups, and then the coupling of motions.
    terms : pint.Quantity, shape [n_frequencies, n_terms]
        Degrees of freedom per cm⁻¹; the integral over all frequencies and terms is
        `degrees_of_freedom`.
    degrees_of_freedom : float
        3N, or Σ m⟨v²⟩/k_B T of the temperature that was given.
    mass_weighted : bool
        Whether atoms count by m v², so that the density is that of kinetic energy, or by v².
    temperature : pint.Quantity or None
        T that was given.
    resolution : pint.Quantity
        Full width at half maximum of a line.
    window : str
        Name of the lag window.
    segments : Segments or None
        The same from disjoint parts of the trajectory, in the order of `names`.
    info : dict
        What it was made of.
    """

    kind: ClassVar[str] = "vdos"

    wavenumber: Any
    names: list[str]
    terms: Any
    degrees_of_freedom: float
    mass_weighted: bool
    temperature: Any
    resolution: Any
    window: str
    segments: Segments | None = None
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def total(self) -> Any:
        """Density of states of all terms together [n_frequencies], in cm."""
        return self.terms.sum(axis=1)

    def term(self, name: str) -> Any:
        """Return the density of a term [n_frequencies], in cm.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]
            In cm.

        Raises
        ------
        SpectrumError
            If there is no such term.
        """
        return self.terms[:, self._index(name)]

    def standard_error(self, name: str | None = None) -> Any:
        """Return the statistical standard error of a term, or of the total, [n_frequencies] in cm.

        Parameters
        ----------
        name : str, optional
            One of `names`; the total by default.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]
            In cm.

        Raises
        ------
        SpectrumError
            If there are no error bars, or there is no such term.
        """
        return units.quantity(self._error(name), DENSITY)

    def integral(self, low: Any = 0.0, high: Any = None, name: str | None = None) -> Measured:
        """Return the degrees of freedom of a term, or of all, in a band, with the standard error.

        Parameters
        ----------
        low, high : float, str or pint.Quantity
            Limits in cm⁻¹; everything by default.
        name : str, optional
            Of the term.

        Returns
        -------
        Measured
        """
        weights = band_weights(self.wavenumber.magnitude, low, high)
        values = self.total if name is None else self.term(name)
        error, degrees = float("nan"), 0
        if self.segments is not None:
            error, degrees = float(self._error(name, weights)), self.segments.degrees_of_freedom
        return Measured(
            float(values.magnitude @ weights), error, "", degrees, positive=name != COUPLING
        )

    def plot(
        self, path: str | os.PathLike[str] | None = None, *, ax: Any = None, limit: float = 4500.0
    ) -> Any:
        """Draw the total with its 68 % band, and the terms.

        Parameters
        ----------
        path : path, optional
            Written there (format by the ending) instead of being left open for display.
        ax : matplotlib.axes.Axes, optional
            Drawn into; a new figure otherwise.
        limit : float
            Right end of the axis in cm⁻¹, if the density reaches so far.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from mda_aptnn.figures import draw_doubts, new_figure, plain, save_figure

        if ax is None:
            ax = new_figure(path).subplots()
        grid, total = self.wavenumber.magnitude, self.total.magnitude
        ax.plot(grid, total, color="black", linewidth=1.4, label="total")
        if self.segments is not None:
            error = self.standard_error().magnitude
            low, high = confidence_band(
                total, error, self.segments.degrees_of_freedom, positive=True
            )
            ax.fill_between(grid, low, high, color="black", alpha=0.2, linewidth=0, label="68 %")
        for column, name in enumerate(self.names if len(self.names) > 1 else []):
            ax.plot(grid, self.terms.magnitude[:, column], linewidth=1.0, label=plain(name))
        ax.set_xlim(0, min(limit, grid[-1]))
        ax.set_xlabel(r"wavenumber / cm$^{-1}$")
        ax.set_ylabel("degrees of freedom per cm$^{-1}$")
        ax.legend(frameon=False, fontsize="small")
        draw_doubts(ax, self.info.get("notes", []))
        if path is not None:
            save_figure(ax.figure, path)
        return ax

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write wavenumber, total, its standard error and every term as columns.

        Parameters
        ----------
        path : path
        """
        columns = {
            "wavenumber [1/cm]": self.wavenumber.magnitude,
            "total [cm]": self.total.magnitude,
        }
        if self.segments is not None:
            columns["standard error [cm]"] = self.standard_error().magnitude
        columns |= {f"{name} [cm]": self.term(name).magnitude for name in self.names}
        write_columns(path, columns)

    def _write(self, file: h5py.File) -> None:
        io.write_quantity(file, "wavenumber", self.wavenumber, units.WAVENUMBER)
        io.write_quantity(file, "terms", self.terms, DENSITY)
        io.write_quantity(file, "resolution", self.resolution, units.WAVENUMBER)
        io.write_array(file, "degrees_of_freedom", self.degrees_of_freedom, "")
        if self.temperature is not None:
            io.write_quantity(file, "temperature", self.temperature, units.TEMPERATURE)
        if self.segments is not None:
            io.write_array(file, "segment_terms", self.segments.terms, DENSITY)
            io.write_array(file, "segment_lengths", self.segments.lengths, units.TIME)
            file.attrs["inflation"] = self.segments.inflation
        file.attrs["names"] = json.dumps(self.names)
        file.attrs["mass_weighted"] = self.mass_weighted
        file.attrs["window"] = self.window
        file.attrs["info"] = json.dumps(self.info)

    @classmethod
    def _read(cls, file: h5py.File) -> VibrationalDensity:
        names = json.loads(file.attrs["names"])
        wavenumber = io.read_quantity(file, "wavenumber", units.WAVENUMBER, (None,))
        shape = len(wavenumber), len(names)
        segments = None
        if "segment_terms" in file:
            lengths = io.read_array(file, "segment_lengths", units.TIME, (None,))
            parts = io.read_array(file, "segment_terms", DENSITY, (len(lengths), *shape))
            segments = Segments(parts, lengths, float(file.attrs["inflation"]))
        temperature = None
        if "temperature" in file:
            temperature = io.read_quantity(file, "temperature", units.TEMPERATURE, ())
        return cls(
            wavenumber=wavenumber,
            names=names,
            terms=io.read_quantity(file, "terms", DENSITY, shape),
            degrees_of_freedom=float(io.read_array(file, "degrees_of_freedom", "", ())),
            mass_weighted=bool(file.attrs["mass_weighted"]),
            temperature=temperature,
            resolution=io.read_quantity(file, "resolution", units.WAVENUMBER, ()),
            window=str(file.attrs["window"]),
            segments=segments,
            info=json.loads(file.attrs["info"]),
        )

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise SpectrumError(f"there is no term {name!r}; the terms are {', '.join(self.names)}")
        return self.names.index(name)

    def _error(self, name: str | None, weights: Array | None = None) -> Array:
        """Standard error at each frequency or of a sum; relative to the segments', as in
        `Spectrum.section_error`.
        """
        if self.segments is None:
            raise SpectrumError(
                "the density has no error bars: the trajectory is short or they were not wanted"
            )
        index = None if name is None else self._index(name)
        values = self.segments.of_pair(index)
        whole = (self.total if name is None else self.term(name)).magnitude
        if weights is not None:
            values, whole = values @ weights, whole @ weights
        error = self.segments.standard_error(values)
        if name == COUPLING:
            return error
        mean = self.segments.mean(values)
        return np.asarray(error * np.divide(whole, mean, out=np.ones_like(mean), where=mean > 0))
