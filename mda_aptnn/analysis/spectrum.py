"""From the flux correlation function to an absolute infrared spectrum, with every auto and cross term."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mda_aptnn import hdf5, units
from mda_aptnn.analysis import windows
from mda_aptnn.analysis.correlation import component_correlation, cross_correlation
from mda_aptnn.errors import SpectrumError

#: Points of the frequency grid per resolution element.
_POINTS_PER_RESOLUTION = 8
#: Central differences of positions are corrected up to this part of the Nyquist frequency, then cut.
FINITE_DIFFERENCE_LIMIT = 0.7


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """An absolute infrared spectrum, the sum of its auto and cross terms.

    Attributes
    ----------
    wavenumber : pint.Quantity, shape [n_frequencies]
        ν̃ = ω/2πc, in cm⁻¹, from 0 upward, equidistant.
    groups : list of str
        Names of the groups.
    cross_section_terms : pint.Quantity, shape [n_frequencies, n_groups, n_groups]
        V · n(ω)α(ω) of each pair of groups, symmetric, in Å². The sum over both group indices is the total.
    cross_section_components : pint.Quantity, shape [n_frequencies, 3, 3]
        V · n(ω)α(ω) by Cartesian components of the flux, symmetric, in Å². The trace is the total.
    lags : pint.Quantity, shape [n_lags]
        Times of the correlation function, in ps.
    correlation : pint.Quantity, shape [n_lags, n_groups, n_groups]
        ⟨Ṁ_g(0)·Ṁ_h(t)⟩ before the window, in e² Å²/ps².
    temperature : pint.Quantity
        T in β = 1/k_B T.
    volume : pint.Quantity or None
        Mean volume of the cell; None in the gas phase, where only cross sections and molar quantities exist.
    resolution : pint.Quantity
        Full width at half maximum of the line that a single frequency becomes.
    window : str
        Name of the lag window.
    notes : list of str
        What was assumed on the way.
    info : dict
        What it was made of and how: model, level of theory, sum rule, charge, trajectory, estimator.
    """

    wavenumber: Any
    groups: list[str]
    cross_section_terms: Any
    cross_section_components: Any
    lags: Any
    correlation: Any
    temperature: Any
    volume: Any
    resolution: Any
    window: str
    notes: list[str] = dataclasses.field(default_factory=list)
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def terms(self) -> Any:
        """n(ω)α(ω) of each pair of groups [n_frequencies, n_groups, n_groups] in cm⁻¹; sums to `absorption`."""
        return self._per_volume(self.cross_section_terms)

    @property
    def absorption(self) -> Any:
        """n(ω)α(ω) of the sample [n_frequencies], in cm⁻¹.

        Raises
        ------
        SpectrumError
            If there is no volume.
        """
        return self._per_volume(self.cross_section)

    @property
    def components(self) -> Any:
        """n(ω)α(ω) by Cartesian components [n_frequencies, 3, 3] in cm⁻¹; the trace is `absorption`."""
        return self._per_volume(self.cross_section_components)

    @property
    def cross_section(self) -> Any:
        """V · n(ω)α(ω) of the sample [n_frequencies], in Å²."""
        return self.cross_section_terms.sum(axis=(1, 2))

    @property
    def molar_absorption(self) -> Any:
        """n(ω)α(ω)·V·N_A per mole of samples [n_frequencies], in km/mol per cm⁻¹ (base e)."""
        return units.quantity(self._molar(self.cross_section), units.MOLAR_ABSORPTION)

    def term(self, first: str, second: str | None = None) -> Any:
        """Return the auto term of a group, or the whole cross term of two (both orders), in cm⁻¹.

        Parameters
        ----------
        first, second : str
            Names of groups. With one name, or the same twice: the auto term.

        Raises
        ------
        SpectrumError
            If there is no such group, or no volume.
        """
        return self._per_volume(self._pair(first, second or first))

    def intensity(self, low: Any = 0.0, high: Any = None, *, n_molecules: int = 1) -> Any:
        """Return the integrated molar intensity of a band, in km/mol.

        Parameters
        ----------
        low, high : float, str or pint.Quantity
            Limits of the band in cm⁻¹; the whole spectrum by default.
        n_molecules : int
            Molecules in the sample that share the band.

        Notes
        -----
        A harmonic mode with ∂μ/∂Q = 1 D/Å/√u has 42.2561 km/mol, at any temperature.
        """
        wavenumber = self.wavenumber.magnitude
        low = units.magnitude(low, units.WAVENUMBER, "low")
        high = np.inf if high is None else units.magnitude(high, units.WAVENUMBER, "high")
        weights = np.full(len(wavenumber), wavenumber[1] - wavenumber[0])
        # the trapezoidal rule is exact on the whole grid of a discrete transform
        weights[[0, -1]] /= 2
        inside = (wavenumber >= low) & (wavenumber <= high)
        values = self._molar(self.cross_section)
        return units.quantity(float((values * weights)[inside].sum()) / n_molecules, "km/mol")

    def maxima(self, *, prominence: float = 0.02) -> list[tuple[float, float]]:
        """Return (wavenumber in cm⁻¹, height) of the band maxima.

        Parameters
        ----------
        prominence : float
            The least height of a band above its surroundings, as a part of the highest maximum.

        Returns
        -------
        list of (float, float)
            Height as n·α in cm⁻¹, or as molar absorption in km/mol per cm⁻¹ without a volume.
        """
        from scipy.signal import find_peaks

        values = self.default_values()[0]
        peaks, _ = find_peaks(values, prominence=prominence * max(float(values.max()), 1e-300))
        return [(float(self.wavenumber.magnitude[k]), float(values[k])) for k in peaks]

    def default_values(self, pair: tuple[str, str] | None = None) -> tuple[NDArray[np.float64], str]:
        """Return the total or the term of a pair as plain numbers, and their unit: n·α, or molar without a volume."""
        section = self.cross_section if pair is None else self._pair(*pair)
        if self.volume is None:
            return self._molar(section), units.MOLAR_ABSORPTION
        return self._per_volume(section).magnitude, units.ABSORPTION

    def pairs(self) -> list[tuple[str, str]]:
        """Return every auto and cross term once, autos first."""
        autos = [(name, name) for name in self.groups]
        return autos + [(a, b) for k, a in enumerate(self.groups) for b in self.groups[k + 1 :]]

    def plot(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Draw the total and its terms; see `mda_aptnn.analysis.plotting.plot_spectrum`."""
        from mda_aptnn.analysis.plotting import plot_spectrum

        return plot_spectrum(self, path, **options)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write wavenumber, total, every auto and cross term and the diagonal Cartesian components as columns."""
        columns = {"wavenumber [1/cm]": self.wavenumber.magnitude}
        total, unit = self.default_values()
        columns[f"total [{unit}]"] = total
        for a, b in self.pairs() if len(self.groups) > 1 else []:
            columns[f"{a} [{unit}]" if a == b else f"{a} x {b} [{unit}]"] = self.default_values((a, b))[0]
        for axis, name in enumerate("xyz"):
            section = self.cross_section_components[:, axis, axis]
            columns[f"{name}{name} [{unit}]"] = (
                self._molar(section) if self.volume is None else self._per_volume(section).magnitude
            )
        with hdf5.replacing(path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(np.char.mod("%.8g", values) for values in columns.values()), strict=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to HDF5, with units and provenance."""
        with hdf5.create(path, "spectrum") as file:
            for name, unit in _UNITS.items():
                value = getattr(self, name)
                if value is not None:
                    hdf5.write_array(file, name, value.to(unit).magnitude, unit)
            if self.volume is not None:
                hdf5.write_array(file, "absorption", self.absorption.magnitude, units.ABSORPTION)
            file.attrs["groups"] = json.dumps(self.groups)
            file.attrs["window"] = self.window
            file.attrs["notes"] = json.dumps(self.notes)
            file.attrs["info"] = json.dumps(self.info)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Spectrum:
        """Read a file written by :meth:`save`.

        Raises
        ------
        FileFormatError
            If the file is damaged, foreign, or its arrays disagree.
        """
        with hdf5.open_checked(path, "spectrum") as file:
            groups = json.loads(file.attrs["groups"])
            n_groups = len(groups)
            n = len(hdf5.read_array(file, "wavenumber", shape=(None,)))
            n_lags = len(hdf5.read_array(file, "lags", shape=(None,)))
            shapes = {
                "wavenumber": (n,),
                "cross_section_terms": (n, n_groups, n_groups),
                "cross_section_components": (n, 3, 3),
                "lags": (n_lags,),
                "correlation": (n_lags, n_groups, n_groups),
                "temperature": (),
                "volume": (),
                "resolution": (),
            }
            values = {
                name: units.quantity(hdf5.read_array(file, name, unit, shapes[name]), unit)
                if name in file or name != "volume"
                else None
                for name, unit in _UNITS.items()
            }
            notes, info = (json.loads(file.attrs[name]) for name in ("notes", "info"))
            return cls(groups=groups, window=str(file.attrs["window"]), notes=notes, info=info, **values)

    def _pair(self, first: str, second: str) -> Any:
        for name in (first, second):
            if name not in self.groups:
                raise SpectrumError(f"there is no group {name!r}; the groups are {', '.join(self.groups)}")
        g, h = self.groups.index(first), self.groups.index(second)
        section = self.cross_section_terms[:, g, h]
        return section if g == h else 2 * section

    def _per_volume(self, section: Any) -> Any:
        if self.volume is None:
            raise SpectrumError(
                "n·α needs a volume and the sample has none; use cross_section, molar_absorption or "
                "intensity(), or give volume= to spectrum()"
            )
        return (section / self.volume).to(units.ABSORPTION)

    def _molar(self, section: Any) -> NDArray[np.float64]:
        return np.asarray(section.to("angstrom^3/cm").magnitude) * units.MOLAR_FACTOR


_UNITS = {
    "wavenumber": units.WAVENUMBER,
    "cross_section_terms": "angstrom^2",
    "cross_section_components": "angstrom^2",
    "lags": units.TIME,
    "correlation": units.FLUX_CORRELATION,
    "temperature": units.TEMPERATURE,
    "volume": units.VOLUME,
    "resolution": units.WAVENUMBER,
}


def absorption_spectrum(
    segments: Sequence[NDArray[np.float64]],
    groups: Sequence[str],
    spacing: float,
    temperature: float,
    volume: float | None,
    *,
    resolution: float = 10.0,
    window: str = "gaussian",
    unbiased: bool = False,
    finite_difference: float = 0.0,
    notes: Sequence[str] = (),
    info: Mapping[str, Any] | None = None,
) -> Spectrum:
    """Return the spectrum of a flux, Eq. 2 of the paper.

    Parameters
    ----------
    segments : sequence of ndarray, shape [n_frames, n_groups, 3]
        Ṁ of each group in e·Å/ps, one array per uninterrupted series.
    groups : sequence of str
        Names of the groups.
    spacing : float
        In ps.
    temperature : float
        In K.
    volume : float or None
        In Å³.
    resolution : float
        Full width at half maximum of a line, in cm⁻¹.
    window : str
        See `mda_aptnn.analysis.windows.lag_window`.
    unbiased : bool
        See `mda_aptnn.analysis.correlation.cross_correlation`; auto terms can then be negative.
    finite_difference : float
        If not 0, velocities are central differences of positions this many ps apart: the spectrum is
        multiplied by [ωΔt/sin ωΔt]² and ends at 0.7 of their Nyquist frequency.
    notes : sequence of str
        Kept with the result.
    info : mapping, optional
        Kept with the result; the estimator is added.

    Raises
    ------
    SpectrumError
        If the series are too short for the resolution, or the temperature or volume is not positive.

    Notes
    -----
    n(ω)α(ω) = β/(6 ε₀ c V) ∫ dt e^{-iωt} ⟨Ṁ(0)·Ṁ(t)⟩: P. Schienbein, J. Chem. Theory Comput. 19, 705 (2023).
    The harmonic quantum correction is in the prefactor already. The mean of Ṁ is never removed: it is conduction.
    """
    if temperature <= 0:
        raise SpectrumError(f"the temperature must be positive, not {temperature} K")
    if volume is not None and volume <= 0:
        raise SpectrumError(f"the volume must be positive, not {volume} Å³")
    weights = windows.lag_window(window, resolution, spacing, max(len(series) for series in segments))
    n_lags = len(weights)
    correlation = cross_correlation(segments, n_lags, unbiased=unbiased)
    parts = component_correlation(segments, n_lags, unbiased=unbiased)
    size = _grid(n_lags, spacing, resolution)
    prefactor = units.absorption_prefactor(temperature)
    terms, components = (
        prefactor * _cosine_transform(values, weights, spacing, size) for values in (correlation, parts)
    )
    if window in windows.POSITIVE_DEFINITE and not unbiased:
        # what is below zero here is rounding of the transform
        for values in (terms, components):
            diagonal = np.einsum("fgg->fg", values)
            np.maximum(diagonal, 0.0, out=diagonal)
    wavenumber = np.arange(size // 2 + 1) / (size * spacing * units.SPEED_OF_LIGHT)
    if finite_difference:
        phase = 2 * np.pi * units.SPEED_OF_LIGHT * wavenumber * finite_difference
        kept = phase <= FINITE_DIFFERENCE_LIMIT * np.pi
        wavenumber, correction = wavenumber[kept], np.sinc(phase[kept] / np.pi) ** -2
        terms, components = terms[kept] * correction[:, None, None], components[kept] * correction[:, None, None]
    section = units.factor("angstrom^3/cm", "angstrom^2")
    return Spectrum(
        wavenumber=units.quantity(wavenumber, units.WAVENUMBER),
        groups=list(groups),
        cross_section_terms=units.quantity(terms * section, "angstrom^2"),
        cross_section_components=units.quantity(components * section, "angstrom^2"),
        lags=units.quantity(np.arange(n_lags) * spacing, units.TIME),
        correlation=units.quantity(correlation, units.FLUX_CORRELATION),
        temperature=units.quantity(temperature, units.TEMPERATURE),
        volume=None if volume is None else units.quantity(volume, units.VOLUME),
        resolution=units.quantity(resolution if window != "none" else 0.0, units.WAVENUMBER),
        window=window,
        notes=list(notes),
        info={**(info or {}), "estimator": "1/(N - n)" if unbiased else "1/N"},
    )


def _grid(n_lags: int, spacing: float, resolution: float) -> int:
    """Length of the transform: fits all lags of both signs and several points in a resolution element."""
    fine = _POINTS_PER_RESOLUTION / (units.SPEED_OF_LIGHT * resolution * spacing)
    size = scipy.fft.next_fast_len(max(2 * n_lags, int(np.ceil(fine))), real=True)
    while size % 2:
        # an even length has the Nyquist frequency on the grid, and the sum rule holds exactly
        size = scipy.fft.next_fast_len(size + 1, real=True)
    return int(size)


def _cosine_transform(
    correlation: NDArray[np.float64], window: NDArray[np.float64], spacing: float, size: int
) -> NDArray[np.float64]:
    """∫ dt cos(ωt) w(t) C(t) over both signs of t, of the part that is symmetric in the two groups."""
    values = 0.5 * (correlation + correlation.transpose(0, 2, 1)) * window[:, None, None]
    values[0] *= 0.5
    result: NDArray[np.float64] = 2 * spacing * scipy.fft.rfft(values, size, axis=0).real
    return result
