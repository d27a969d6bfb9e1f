"""The vibrational density of states: how many degrees of freedom move at each frequency, by groups and motions."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mda_aptnn import hdf5, units
from mda_aptnn.analysis.spectra import windows
from mda_aptnn.analysis.spectra.bands import band_weights
from mda_aptnn.analysis.spectra.densities import segment_weights, velocity_correction, warn_if_short
from mda_aptnn.analysis.spectra.statistics import Measured, Segments, choose_segments, confidence_band
from mda_aptnn.analysis.spectra.transform import CosineTransform
from mda_aptnn.errors import SpectrumError

Array = NDArray[np.float64]

#: Numbers that are transformed at a time.
_CHUNK = 4_000_000
#: What the motions of an atom have in common: their cross-correlation, which vanishes at equal times.
COUPLING = "coupling of motions"


@dataclasses.dataclass(frozen=True)
class VibrationalDensity:
    """Density of states of atoms, the sum of its terms.

    Attributes
    ----------
    wavenumber : pint.Quantity, shape [n_frequencies]
        In cm⁻¹, from 0, equidistant.
    names : list of str
        Of the terms: groups, or motions of groups, and then the coupling of motions.
    terms : pint.Quantity, shape [n_frequencies, n_terms]
        Degrees of freedom per cm⁻¹; the integral over all frequencies and terms is `degrees_of_freedom`.
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

        Raises
        ------
        SpectrumError
            If there is no such term.
        """
        return self.terms[:, self._index(name)]

    def standard_error(self, name: str | None = None) -> Any:
        """Return the statistical standard error of a term, or of the total, [n_frequencies] in cm.

        Raises
        ------
        SpectrumError
            If there are no error bars, or there is no such term.
        """
        return units.quantity(self._error(name), _DENSITY)

    def integral(self, low: Any = 0.0, high: Any = None, name: str | None = None) -> Measured:
        """Return the degrees of freedom of a term, or of all, in a band, with the standard error.

        Parameters
        ----------
        low, high : float, str or pint.Quantity
            Limits in cm⁻¹; everything by default.
        name : str, optional
            Of the term.
        """
        weights = band_weights(self.wavenumber.magnitude, low, high)
        values = self.total if name is None else self.term(name)
        error, degrees = float("nan"), 0
        if self.segments is not None:
            error, degrees = float(self._error(name, weights)), self.segments.degrees_of_freedom
        return Measured(float(values.magnitude @ weights), error, "", degrees, positive=name != COUPLING)

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Any = None, limit: float = 4500.0) -> Any:
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
        from mda_aptnn.analysis.spectra.plotting import new_figure, save_figure

        if ax is None:
            ax = new_figure(path).subplots()
        grid, total = self.wavenumber.magnitude, self.total.magnitude
        ax.plot(grid, total, color="black", linewidth=1.4, label="total")
        if self.segments is not None:
            error = self.standard_error().magnitude
            low, high = confidence_band(total, error, self.segments.degrees_of_freedom, positive=True)
            ax.fill_between(grid, low, high, color="black", alpha=0.2, linewidth=0, label="68 %")
        for column, name in enumerate(self.names if len(self.names) > 1 else []):
            ax.plot(grid, self.terms.magnitude[:, column], linewidth=1.0, label=name)
        ax.set_xlim(0, min(limit, grid[-1]))
        ax.set_xlabel(r"wavenumber / cm$^{-1}$")
        ax.set_ylabel("degrees of freedom per cm$^{-1}$")
        ax.legend(frameon=False, fontsize="small")
        if path is not None:
            save_figure(ax.figure, path)
        return ax

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write wavenumber, total, its standard error and every term as columns."""
        columns = {"wavenumber [1/cm]": self.wavenumber.magnitude, "total [cm]": self.total.magnitude}
        if self.segments is not None:
            columns["standard error [cm]"] = self.standard_error().magnitude
        columns |= {f"{name} [cm]": self.term(name).magnitude for name in self.names}
        with hdf5.replacing(path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(np.char.mod("%.8g", values) for values in columns.values()), strict=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to HDF5, with units and provenance."""
        with hdf5.create(path, "vdos") as file:
            hdf5.write_array(file, "wavenumber", self.wavenumber.magnitude, units.WAVENUMBER)
            hdf5.write_array(file, "terms", self.terms.magnitude, _DENSITY)
            hdf5.write_array(file, "resolution", self.resolution.magnitude, units.WAVENUMBER)
            hdf5.write_array(file, "degrees_of_freedom", self.degrees_of_freedom, "")
            if self.temperature is not None:
                hdf5.write_array(file, "temperature", self.temperature.magnitude, units.TEMPERATURE)
            if self.segments is not None:
                hdf5.write_array(file, "segment_terms", self.segments.terms, _DENSITY)
                hdf5.write_array(file, "segment_lengths", self.segments.lengths, units.TIME)
                file.attrs["inflation"] = self.segments.inflation
            file.attrs["names"] = json.dumps(self.names)
            file.attrs["mass_weighted"] = self.mass_weighted
            file.attrs["window"] = self.window
            file.attrs["info"] = json.dumps(self.info)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> VibrationalDensity:
        """Read a file written by :meth:`save`.

        Raises
        ------
        FileFormatError
            If the file is damaged, foreign, or its arrays disagree.
        """
        with hdf5.open_checked(path, "vdos") as file:
            names = json.loads(file.attrs["names"])
            wavenumber = hdf5.read_array(file, "wavenumber", units.WAVENUMBER, (None,))
            shape = len(wavenumber), len(names)
            segments = None
            if "segment_terms" in file:
                lengths = hdf5.read_array(file, "segment_lengths", units.TIME, (None,))
                parts = hdf5.read_array(file, "segment_terms", _DENSITY, (len(lengths), *shape))
                segments = Segments(parts, lengths, float(file.attrs["inflation"]))
            temperature = None
            if "temperature" in file:
                kelvin = float(hdf5.read_array(file, "temperature", units.TEMPERATURE, ()))
                temperature = units.quantity(kelvin, units.TEMPERATURE)
            resolution = float(hdf5.read_array(file, "resolution", units.WAVENUMBER, ()))
            return cls(
                wavenumber=units.quantity(wavenumber, units.WAVENUMBER),
                names=names,
                terms=units.quantity(hdf5.read_array(file, "terms", _DENSITY, shape), _DENSITY),
                degrees_of_freedom=float(hdf5.read_array(file, "degrees_of_freedom", "", ())),
                mass_weighted=bool(file.attrs["mass_weighted"]),
                temperature=temperature,
                resolution=units.quantity(resolution, units.WAVENUMBER),
                window=str(file.attrs["window"]),
                segments=segments,
                info=json.loads(file.attrs["info"]),
            )

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise SpectrumError(f"there is no term {name!r}; the terms are {', '.join(self.names)}")
        return self.names.index(name)

    def _error(self, name: str | None, weights: Array | None = None) -> Array:
        """Standard error at each frequency or of a sum; relative to the segments', as in `Spectrum.section_error`."""
        if self.segments is None:
            raise SpectrumError("the density has no error bars: the trajectory is short or they were not wanted")
        index = None if name is None else self._index(name)
        values = self.segments.of_pair(index)
        whole = (self.total if name is None else self.term(name)).magnitude
        if weights is not None:
            values, whole = values @ weights, whole @ weights
        error = self.segments.standard_error(values)
        if name == COUPLING:
            return error
        mean = self.segments.mean(values)
        return error * np.divide(whole, mean, out=np.ones_like(mean), where=mean > 0)


_DENSITY = "cm"


def vibrational_density(
    velocities: Any,
    masses: Array,
    membership: NDArray[np.int64],
    names: Sequence[str],
    *,
    starts: Sequence[int],
    spacing: float,
    motions: Sequence[str] = ("",),
    mass_weighted: bool = True,
    temperature: float | None = None,
    resolution: float = 10.0,
    window: str = "gaussian",
    segments: int | str | None = "auto",
    finite_difference: float = 0.0,
    info: dict[str, Any] | None = None,
) -> VibrationalDensity:
    """Return the density of states of atoms whose velocities are given.

    Parameters
    ----------
    velocities : array_like, shape [n_frames, n_motions, n_atoms, 3]
        In Å/ps; an array, a memory map or a data set, read some atoms at a time.
    masses : ndarray, shape [n_atoms]
        In u.
    membership : ndarray of int, shape [n_atoms]
        Number of the group of each atom, −1 for those that do not count.
    names : sequence of str
        Of the groups.
    starts : sequence of int
        First frame of each uninterrupted series.
    spacing : float
        Between frames, in ps.
    motions : sequence of str
        Names of the motions; one, of any name, if velocities are whole.
    mass_weighted : bool
        Count atoms by m v² or by v².
    temperature : float, optional
        In K: the integral is then Σ m⟨v²⟩/k_B T. Otherwise the integral is 3N of the atoms that count.
    resolution : float
        Full width at half maximum of a line, in cm⁻¹.
    window : str
        See `mda_aptnn.analysis.spectra.windows.lag_window`.
    segments : int, "auto", "replicas" or None
        See `mda_aptnn.analysis.spectra.statistics.choose_segments`.
    finite_difference : float
        If not 0, the spacing in ps of the positions that velocities are central differences of; corrected for.
    info : dict, optional
        Kept with the result.

    Raises
    ------
    SpectrumError
        If the series are too short for the resolution, nothing moves, or a temperature is given without weights.

    Notes
    -----
    D(ν̃) = 2c/(k_B T) Σ_i m_i ∫ dt cos(2πcν̃t) ⟨v_i(0)·v_i(t)⟩ over both signs of t, ∫ D dν̃ = Σ_i m_i⟨v_i²⟩/k_B T: the
    power spectrum of the velocities, P. H. Berens et al., J. Chem. Phys. 79, 2375 (1983).
    """
    if temperature is not None and not mass_weighted:
        raise SpectrumError("a temperature normalises m v²; leave it out without mass weights")
    n_frames = velocities.shape[0]
    marks = [np.arange(a, b) for a, b in zip(starts, [*starts[1:], n_frames], strict=True)]
    transform = CosineTransform.plan(window, resolution, spacing, max(map(len, marks)))
    pieces = choose_segments(marks, segments, resolution, spacing)
    labels = [" ".join(filter(None, (group, motion))) for group in names for motion in motions]
    if len(names) == 1 and len(motions) > 1:
        labels = list(motions)
    weights = np.asarray(masses, dtype=float) if mass_weighted else np.ones(len(masses))
    n_columns = len(names) * len(motions) + 1
    whole, parts = _correlations(velocities, weights, membership, marks, pieces, (transform.n_lags, n_columns))
    if len(motions) > 1:
        labels.append(COUPLING)
    else:
        whole, parts = whole[:, :-1], parts[:, :, :-1]
    energy = float(whole[0].sum())
    if not energy > 0:
        raise SpectrumError("no atom moves: there is no density of states")
    degrees = 3.0 * int((membership >= 0).sum())
    if temperature is not None:
        degrees = energy / (units.BOLTZMANN * temperature)
    grid, correction = velocity_correction(transform.wavenumber, finite_difference)
    scale = (2 * units.SPEED_OF_LIGHT * degrees / energy * correction)[:, None]
    terms = scale * transform(whole)[: len(grid)]
    if window in windows.POSITIVE_DEFINITE:
        n_autos = len(labels) - (len(motions) > 1)
        # what is below zero here is rounding of the transform
        np.maximum(terms[:, :n_autos], 0.0, out=terms[:, :n_autos])
    found = None
    if pieces:
        lengths, inflation = segment_weights(marks, pieces, transform, False)
        values = np.stack([scale * transform(part)[: len(grid)] for part in parts]).astype(np.float32)
        found = Segments(values, lengths, inflation)
    if window != "none":
        n_components = 3 * int((membership >= 0).sum())
        warn_if_short(list(map(len, marks)), transform, resolution, False, components=n_components)
    return VibrationalDensity(
        wavenumber=units.quantity(grid, units.WAVENUMBER),
        names=labels,
        terms=units.quantity(terms, _DENSITY),
        degrees_of_freedom=degrees,
        mass_weighted=mass_weighted,
        temperature=None if temperature is None else units.quantity(temperature, units.TEMPERATURE),
        resolution=units.quantity(resolution if window != "none" else 0.0, units.WAVENUMBER),
        window=window,
        segments=found,
        info=dict(info or {}),
    )


def _correlations(
    velocities: Any,
    weights: Array,
    membership: NDArray[np.int64],
    series: list[NDArray[np.int64]],
    segments: list[list[NDArray[np.int64]]],
    shape: tuple[int, int],
) -> tuple[Array, Array]:
    """Σ_i w_i ⟨v_i(0)·v_i(t)⟩ of each motion of each group, and of the coupling of motions, by FFT.

    Returns
    -------
    whole : ndarray, shape [n_lags, n_groups · n_motions + 1]
    parts : ndarray, shape [n_segments, n_lags, n_groups · n_motions + 1]
    """
    n_frames, n_motions = velocities.shape[:2]
    whole, parts = np.zeros(shape), np.zeros((len(segments), *shape))
    for atoms in _chunks(len(weights), max(1, _CHUNK // (3 * n_frames * n_motions))):
        own = membership[atoms]
        if not (own >= 0).any():
            continue
        # time last: each transform lies in one piece
        values = np.moveaxis(np.asarray(velocities[:, :, atoms], dtype=np.float64), 0, -1)[:, own >= 0]
        values = values * np.sqrt(weights[atoms][own >= 0])[:, None, None]
        own = own[own >= 0]
        for pieces, target in [(series, whole), *zip(segments, parts, strict=True)]:
            for piece in pieces:
                _add_products(values[..., piece[0] : piece[-1] + 1], own, target)
    whole /= sum(map(len, series))
    for pieces, part in zip(segments, parts, strict=True):
        part /= sum(map(len, pieces))
    return whole, parts


def _chunks(n_atoms: int, size: int) -> Iterator[slice]:
    for start in range(0, n_atoms, size):
        yield slice(start, min(start + size, n_atoms))


def _add_products(values: Array, membership: NDArray[np.int64], target: Array) -> None:
    """Add Σ_t v(t)·v(t + nΔt) of values [n_motions, n_atoms, 3, n_frames] to [n_lags, n_groups · n_motions + 1]."""
    n_motions, _, _, n_frames = values.shape
    kept = min(len(target), n_frames)
    size = scipy.fft.next_fast_len(n_frames + kept, real=True)
    transforms = scipy.fft.rfft(values, size)
    powers = (transforms.real**2 + transforms.imag**2).sum(axis=2)
    for group in np.unique(membership):
        products = scipy.fft.irfft(powers[:, membership == group].sum(axis=1), size)[:, :kept]
        target[:kept, group * n_motions : (group + 1) * n_motions] += products.T
    if n_motions > 1:
        together = transforms.sum(axis=0)
        power = (together.real**2 + together.imag**2).sum(axis=1) - powers.sum(axis=0)
        target[:kept, -1] += scipy.fft.irfft(power.sum(axis=0), size)[:kept]
