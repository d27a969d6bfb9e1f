"""An absolute infrared spectrum with every auto and cross term, its error bars, and what is read
off it.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.bands import band_weights
from mda_aptnn.spectra.display import Pictured
from mda_aptnn.spectra.members import MemberSpectra
from mda_aptnn.spectra.quantum import quantum_factor
from mda_aptnn.spectra.statistics import Segments, confidence_band
from mda_aptnn.spectra.terms import OTHERS, all_pairs, group_index, pair_index, term_of


@dataclasses.dataclass(frozen=True)
class Spectrum(io.Stored, Pictured):
    """An absolute infrared spectrum, the sum of its auto and cross terms.

    Attributes
    ----------
    wavenumber : pint.Quantity, shape [n_frequencies]
        ν̃ = ω/2πc, in cm⁻¹, from 0 upward, equidistant.
    groups : list of str
        Names of the groups.
    cross_section_terms : pint.Quantity, shape [n_frequencies, n_groups, n_groups]
        V · n(ω)α(ω) of each pair of groups, symmetric, in Å². The sum over both group indices is
        the total. Of very many groups (see `summed`) [n_frequencies, n_groups, 2]: of each group
        with itself, and half of what it has in common with all the others; the sum is the total as
        well.
    cross_section_components : pint.Quantity, shape [n_frequencies, 3, 3]
        V · n(ω)α(ω) by Cartesian components of the flux, symmetric, in Å². The trace is the total.
    lags : pint.Quantity, shape [n_lags]
        Times of the correlation function, in ps.
    correlation : pint.Quantity, shape [n_lags, n_groups, n_groups]
        ⟨Ṁ_g(0)·Ṁ_h(t)⟩ before the window, in e² Å²/ps²; of very many groups [n_lags, n_groups, 2].
    temperature : pint.Quantity
        T in β = 1/k_B T.
    volume : pint.Quantity or None
        Mean volume of the cell; None in the gas phase, where only cross sections and molar
        quantities exist.
    resolution : pint.Quantity
        Full width at half maximum of the line that the window makes of a single frequency, in cm⁻¹;
        0 without one.
    window : str
        Name of the lag window.
    effective_resolution : pint.Quantity or None
        Full width at half maximum of the line that a single frequency becomes in a series of this
        length, in cm⁻¹; None of files that do not have it.
    least_relative_error : float
        Relative standard error at each point if the three components of the flux are independent
        and Gaussian: no smaller one is possible. NaN where it is not known.
    segments : Segments or None
        The same from disjoint parts of the trajectory, for the statistical error; None where there
        are too few.
    members : MemberSpectra or None
        The same from each member of a committee, for the error of the model; None for a single
        model.
    quantum_correction : str
        Factor that the harmonic spectrum has been multiplied with, see `corrected`.
    signed : list of str
        Groups that have no flux of their own, whose auto term may be negative: the distinct part of
        molecules.
    notes : list of str
        What was assumed on the way.
    info : dict
        What it was made of and how: model, level of theory, sum rule, charge, trajectory,
        estimator.
    """

    kind: ClassVar[str] = "spectrum"

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
    effective_resolution: Any = None
    least_relative_error: float = float("nan")
    segments: Segments | None = None
    members: MemberSpectra | None = None
    quantum_correction: str = "harmonic"
    signed: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def summed(self) -> bool:
        """Whether there were so many groups that cross terms of each with all the others stand
        together.
        """
        return bool(self.cross_section_terms.shape[1] != self.cross_section_terms.shape[2])

    @property
    def terms(self) -> Any:
        """n(ω)α(ω) of each pair of groups [n_frequencies, n_groups, n_groups] in cm⁻¹; sums to
        `absorption`.
        """
        return self.per_volume(self.cross_section_terms)

    @property
    def absorption(self) -> Any:
        """n(ω)α(ω) of the sample [n_frequencies], in cm⁻¹.

        Raises
        ------
        SpectrumError
            If there is no volume.
        """
        return self.per_volume(self.cross_section)

    @property
    def components(self) -> Any:
        """n(ω)α(ω) by Cartesian components [n_frequencies, 3, 3] in cm⁻¹; the trace is
        `absorption`.
        """
        return self.per_volume(self.cross_section_components)

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
            Names of groups. With one name, or the same twice: the auto term. Of very many groups
            (`summed`) the second may be "all others": half of the cross terms with these.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]
            In cm⁻¹.

        Raises
        ------
        SpectrumError
            If there is no such group, or no volume.
        """
        return self.per_volume(self.cross_section_of(first, second or first))

    def intensity(self, low: Any = 0.0, high: Any = None, *, n_molecules: int = 1) -> Any:
        """Return the integrated molar intensity of a band, in km/mol.

        Parameters
        ----------
        low, high : float, str or pint.Quantity
            Limits of the band in cm⁻¹; the whole spectrum by default.
        n_molecules : int
            Molecules in the sample that share the band.

        Returns
        -------
        pint.Quantity
            In km/mol.

        Notes
        -----
        A harmonic mode with ∂μ/∂Q = 1 D/Å/√u has 42.2561 km/mol, at any temperature.
        """
        weights = band_weights(self.wavenumber.magnitude, low, high)
        return units.quantity(
            float((self._molar(self.cross_section) * weights).sum()) / n_molecules, "km/mol"
        )

    def default_values(
        self, pair: tuple[str, str] | None = None
    ) -> tuple[NDArray[np.float64], str]:
        """Return the total or the term of a pair as plain numbers, and their unit: n·α, or molar
        without a volume.

        Parameters
        ----------
        pair : (str, str), optional
            Names of two groups; the total by default.

        Returns
        -------
        values : ndarray, shape [n_frequencies]
        unit : str
        """
        section = self.cross_section if pair is None else self.cross_section_of(*pair)
        return self.in_default_unit(
            section
        ), units.MOLAR_ABSORPTION if self.volume is None else units.ABSORPTION

    def in_default_unit(self, section: Any) -> NDArray[np.float64]:
        """Return a V·n·α as plain numbers in the unit of `default_values`.

        Parameters
        ----------
        section : pint.Quantity
            In Å².

        Returns
        -------
        ndarray
            Of the same shape.
        """
        values: NDArray[np.float64] = (
            self._molar(section) if self.volume is None else self.per_volume(section).magnitude
        )
        return values

    def default_error(self, pair: tuple[str, str] | None = None) -> NDArray[np.float64]:
        """Return the standard error of `default_values`, as plain numbers in its unit.

        Parameters
        ----------
        pair : (str, str), optional
            Names of two groups; the total by default.

        Returns
        -------
        ndarray, shape [n_frequencies]

        Raises
        ------
        SpectrumError
            If the spectrum has no error bars.
        """
        return self.in_default_unit(units.quantity(self.section_error(pair), "angstrom^2"))

    def standard_error(self, first: str | None = None, second: str | None = None) -> Any:
        """Return the statistical standard error of n·α [n_frequencies], in cm⁻¹.

        Of the total, or of a term as in `term`. It has ``segments.degrees_of_freedom``:
        `default_band` applies Student's factor.

        Parameters
        ----------
        first, second : str, optional
            As in `term`; the total by default.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]
            In cm⁻¹.

        Raises
        ------
        SpectrumError
            If the spectrum has no error bars, or there is no such group, or no volume.
        """
        pair = None if first is None else (first, second or first)
        return self.per_volume(units.quantity(self.section_error(pair), "angstrom^2"))

    def section_error(
        self, pair: tuple[str, str] | None = None, weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the standard error of V·n·α in Å², of the total or of a term.

        Parameters
        ----------
        pair : (str, str), optional
            Names of two groups; the total by default.
        weights : ndarray, shape [n_frequencies], optional
            Of the sum with these instead, such as an integral, one number.

        Returns
        -------
        ndarray, shape [n_frequencies], or one number with weights

        Raises
        ------
        SpectrumError
            If the spectrum has no error bars, or there is no such group.

        Notes
        -----
        The relative error of the segments is that of the whole: short series leak from strong bands
        into gaps, by a factor that cancels in the ratio. A cross term is scaled like the geometric
        mean of its two auto terms, and what has no such term (`signed`) like the total.
        """
        if self.segments is None:
            raise SpectrumError(
                "the spectrum has no error bars: the trajectory is short or they were not wanted; "
                "give segments= to "
                "spectrum()"
            )

        def reduce(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return values if weights is None else np.asarray(values @ weights)

        values = reduce(self.segments.of_pair(None if pair is None else self.pair_index(*pair)))
        if pair is None or set(pair) & {*self.signed, OTHERS}:
            total = self.segments.mean(reduce(self.segments.of_pair(None)))
            ratios = [reduce(self.cross_section.magnitude) / _positive(total)]
        else:
            ratios = [
                reduce(self.cross_section_of(name, name).magnitude)
                / _positive(
                    self.segments.mean(reduce(self.segments.of_pair(self.groups.index(name))))
                )
                for name in pair
            ]
        return self.segments.standard_error(values) * np.sqrt(np.abs(ratios[0] * ratios[-1]))

    def model_error(self, first: str | None = None, second: str | None = None) -> Any:
        """Return the error of n·α [n_frequencies] that the committee's spread makes likely, in
        cm⁻¹.

        Of the total, or of a term as in `term`. It has nothing to do with the length of the
        trajectory; see `mda_aptnn.spectra.members.MemberSpectra.error`. ``members.calibrated`` says
        whether it is calibrated on intensities of bands.

        Parameters
        ----------
        first, second : str, optional
            As in `term`; the total by default.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]
            In cm⁻¹.

        Raises
        ------
        SpectrumError
            If the model was no committee, or there is no such group, or no volume.
        """
        pair = None if first is None else (first, second or first)
        return self.per_volume(units.quantity(self.section_model_error(pair), "angstrom^2"))

    def section_model_error(
        self, pair: tuple[str, str] | None = None, weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the model's error of V·n·α in Å², of the total or of a term, or of its sum with
        weights.

        Parameters
        ----------
        pair, weights
            As in `section_error`.

        Returns
        -------
        ndarray, shape [n_frequencies], or one number with weights

        Raises
        ------
        SpectrumError
            If the model was no committee, or there is no such group.
        """
        if self.members is None:
            raise SpectrumError(
                "the flux has no members of a committee, so that the model's error is not known: "
                "they are kept of a "
                "committee's (mda-aptnn train --members 4) groups up to 16, not of atoms, self and "
                "distinct parts, "
                "or a live stream"
            )
        if pair is None:
            return self.members.error(self.cross_section.magnitude, weights=weights)
        return self.members.error(
            self.cross_section_of(*pair).magnitude, self.pair_index(*pair), weights
        )

    def default_model_error(self, pair: tuple[str, str] | None = None) -> NDArray[np.float64]:
        """Return the model's error of `default_values`, as plain numbers in its unit.

        Parameters
        ----------
        pair : (str, str), optional
            Names of two groups; the total by default.

        Returns
        -------
        ndarray, shape [n_frequencies]
        """
        return self.in_default_unit(units.quantity(self.section_model_error(pair), "angstrom^2"))

    def default_band(
        self, pair: tuple[str, str] | None = None, sigmas: float = 1.0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lower and upper limit of `default_values`, which hold the truth with the
        probability of ± `sigmas`.

        Parameters
        ----------
        pair : (str, str), optional
            Names of two groups; the total by default.
        sigmas : float
            1 for 68.3 %, 2 for 95.4 %, at each frequency.

        Returns
        -------
        low, high : ndarray, shape [n_frequencies]

        Notes
        -----
        Symmetric on a logarithmic scale for what cannot be negative, on a linear one for cross
        terms: see `mda_aptnn.spectra.statistics.confidence_band`.
        """
        error = self.default_error(pair)
        assert self.segments is not None
        return confidence_band(
            self.default_values(pair)[0],
            error,
            self.segments.degrees_of_freedom,
            sigmas,
            positive=pair is None or (pair[0] == pair[1] and pair[0] not in self.signed),
        )

    def corrected(self, name: str) -> Spectrum:
        """Return the spectrum with another quantum correction in the place of the one it has.

        Parameters
        ----------
        name : {"harmonic", "standard", "schofield", "none"}
            See `mda_aptnn.spectra.quantum.quantum_factor`; "harmonic" is Eq. 2 of the paper.

        Returns
        -------
        Spectrum

        Raises
        ------
        SpectrumError
            If the name is unknown.
        """
        arguments = self.wavenumber.magnitude, float(self.temperature.magnitude)
        factor = quantum_factor(name, *arguments) / quantum_factor(
            self.quantum_correction, *arguments
        )
        segments = self.segments
        if segments is not None:
            segments = dataclasses.replace(
                segments, terms=segments.terms * factor[:, None].astype(np.float32)
            )
        members = self.members
        if members is not None:
            members = dataclasses.replace(
                members, terms=members.terms * factor[:, None].astype(np.float32)
            )
        return dataclasses.replace(
            self,
            cross_section_terms=self.cross_section_terms * factor[:, None, None],
            cross_section_components=self.cross_section_components * factor[:, None, None],
            segments=segments,
            members=members,
            quantum_correction=name,
        )

    def pairs(self) -> list[tuple[str, str]]:
        """Return every auto and cross term once, autos first.

        Returns
        -------
        list of (str, str)
            Of very many groups (`summed`): of each with itself, and with "all others".
        """
        if self.summed:
            return [(name, name) for name in self.groups] + [(name, OTHERS) for name in self.groups]
        return all_pairs(self.groups)

    def pair_index(self, first: str, second: str) -> int:
        """Return where in `pairs` the term of two groups stands, in either order.

        Parameters
        ----------
        first, second : str
            Names of groups.

        Returns
        -------
        int

        Raises
        ------
        SpectrumError
            If there is no such group.
        """
        if self.summed:
            column = self._column(first, second)
            return column * len(self.groups) + group_index(self.groups, first)
        return pair_index(self.groups, first, second)

    def _column(self, first: str, second: str) -> int:
        """Where the auto term or the cross terms with all others stand in the terms of very many
        groups.
        """
        if second not in (first, OTHERS):
            raise SpectrumError(
                f"of {len(self.groups)} groups there are no terms of two: give {OTHERS!r} in the "
                f"place of "
                f"{second!r}, or make a spectrum of fewer groups (groups=)"
            )
        return int(second != first)

    def cross_section_of(self, first: str, second: str) -> Any:
        """Return V·n·α of a term, as `term` does, in Å².

        Parameters
        ----------
        first, second : str
            Names of groups.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]
            In Å².

        Raises
        ------
        SpectrumError
            If there is no such group.
        """
        if self.summed:
            return self.cross_section_terms[
                :, group_index(self.groups, first), self._column(first, second)
            ]
        return term_of(self.cross_section_terms, self.groups, first, second)

    def plot(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Draw the total and its terms; see `mda_aptnn.spectra.plotting.plot_spectrum`.

        Parameters
        ----------
        path : path, optional
            Written there (format by the ending) instead of being left open for display.
        **options
            Of `plot_spectrum`.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from mda_aptnn.spectra.plotting import plot_spectrum

        return plot_spectrum(self, path, **options)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write columns of numbers; see `mda_aptnn.spectra.spectrum_file.write_csv`.

        Parameters
        ----------
        path : path
        """
        from mda_aptnn.spectra.spectrum_file import write_csv

        write_csv(self, path)

    def _write(self, file: h5py.File) -> None:
        from mda_aptnn.spectra.spectrum_file import write_spectrum

        write_spectrum(self, file)

    @classmethod
    def _read(cls, file: h5py.File) -> Spectrum:
        from mda_aptnn.spectra.spectrum_file import read_spectrum

        return read_spectrum(file)

    def per_volume(self, section: Any) -> Any:
        """Return n·α in cm⁻¹ of a V·n·α in Å².

        Parameters
        ----------
        section : pint.Quantity
            In Å².

        Returns
        -------
        pint.Quantity
            Of the same shape, in cm⁻¹.

        Raises
        ------
        SpectrumError
            If there is no volume.
        """
        if self.volume is None:
            raise SpectrumError(
                "n·α needs a volume and the sample has none; use cross_section, molar_absorption "
                "or "
                "intensity(), or give volume= to spectrum()"
            )
        return (section / self.volume).to(units.ABSORPTION)

    def _molar(self, section: Any) -> NDArray[np.float64]:
        return np.asarray(section.to("angstrom^3/cm").magnitude) * units.MOLAR_FACTOR


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What can be divided by."""
    return np.where(values != 0, values, 1.0)
