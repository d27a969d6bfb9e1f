"""The absolute infrared spectrum with every auto and cross term, and what is read off it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.errors import FileFormatError, SpectrumError
from mda_aptnn.figures import TIMES, Panel
from mda_aptnn.spectra import result
from mda_aptnn.spectra.bands import Peak, find_peaks
from mda_aptnn.spectra.estimator import Estimator, Rates, component_correlation
from mda_aptnn.spectra.quantities import MOLAR, SECTION, Shown
from mda_aptnn.spectra.quantum import quantum_factor
from mda_aptnn.spectra.windows import WIDER

Array = NDArray[np.float64]

#: In the place of a second group: all but the first, where these are too many to be kept apart.
OTHERS = "all others"


def section_factor(temperature: float) -> float:
    """Return what ∫ dt cos(ωt) ⟨Ṁ(0)·Ṁ(t)⟩ in e² Å²/ps is multiplied with to be V·n·α in Å²."""
    return units.absorption_prefactor(temperature) * units.factor("angstrom^3/cm", SECTION)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Absorption(result.Result):
    """An absolute infrared spectrum in parts: what that of groups, distances and times share.

    Attributes
    ----------
    volume : pint.Quantity or None
        Mean volume of the cell; None in the gas phase, where only cross sections and molar
        quantities exist.
    cross_sections : pint.Quantity, shape [n_frequencies, ...]
        V · n(ω)α(ω) of each part in Å², declared by each kind; the sum is the total.
    """

    volume: Any = result.array(units.VOLUME, default=None)
    temperature: Any = result.array(units.TEMPERATURE)
    cross_sections: Any = result.array(SECTION, "frequencies")

    main: ClassVar[str] = "cross_sections"

    @property
    def unit(self) -> str:
        """Unit of plain numbers: n·α in cm⁻¹, or molar absorption where there is no volume."""
        return units.MOLAR_ABSORPTION if self.volume is None else units.ABSORPTION

    @property
    def label(self) -> str:
        """Of the vertical axis of a picture: quantity, unit and base."""
        return Shown(quantity="molar-absorption" if self.volume is None else "n-alpha").label

    @property
    def scale(self) -> float:
        """What a cross section in Å² is multiplied with to be n·α in cm⁻¹, or molar absorption
        where there is no volume.
        """
        if self.volume is None:
            return MOLAR
        return units.factor(SECTION, "angstrom^3/cm") / float(self.volume.to(units.VOLUME).m)

    def curve(self, *term: str) -> result.Measured:
        """Return the total or a term with its errors.

        Parameters
        ----------
        *term : str
            The total by default.

        Returns
        -------
        Measured
            [n_frequencies, ...], in `unit`: n·α, or molar absorption where there is no volume.
        """
        return self._measure(term, self.unit, lambda curve: self.scale * curve)

    def band(  # type: ignore[override]
        self,
        low: Any = 0.0,
        high: Any = None,
        term: str | Sequence[str] = (),
        *,
        n_molecules: int | str = 1,
    ) -> result.Measured:
        """Return the integrated molar intensity of a band in km/mol, with its errors.

        Parameters
        ----------
        low, high : float, str or pint.Quantity
            Limits of the band in cm⁻¹; the whole spectrum by default.
        term : str or sequence of str
            Names of the term, as in `curve`; the total by default.
        n_molecules : int or str
            Molecules in the sample that share the band: their number, or their formula.

        Returns
        -------
        Measured

        Notes
        -----
        A harmonic mode with ∂μ/∂Q = 1 D/Å/√u has 42.2561 km/mol, at any temperature.
        """
        count = self.molecules(n_molecules)[1]
        weights = result.band_weights(self.wavenumber.magnitude, low, high) * MOLAR / count
        return self._measure(_names_of(term), "km/mol", lambda curve: weights @ curve)

    def molecules(self, wanted: int | str | None = None) -> tuple[str, int]:
        """Return the formula and the number of the molecules that a molar quantity is of.

        Parameters
        ----------
        wanted : int or str, optional
            A formula, or the number itself; by default the only kind that there is.

        Returns
        -------
        name : str
            "molecule" where only the number is given.
        count : int

        Raises
        ------
        SpectrumError
            If there is no such kind, or there are several, or they are not known.
        """
        known = self.info.get("molecules") or {}
        if isinstance(wanted, int) or (wanted is not None and wanted.isdecimal()):
            if int(wanted) < 1:
                raise SpectrumError(f"the number of molecules must be positive, not {wanted}")
            return "molecule", int(wanted)
        listed = ", ".join(f"{name} ({count})" for name, count in known.items())
        if not known:
            raise SpectrumError(
                "the spectrum does not say which molecules the sample has: give their number "
                "(molecules=64, --molecules 64)"
            )
        if wanted is None and len(known) > 1:
            raise SpectrumError(
                f"say per mole of which molecules (molecules=, --molecules): {listed}"
            )
        if wanted is not None and wanted not in known:
            raise SpectrumError(f"there is no molecule {wanted!r}; the sample has {listed}")
        name = wanted or next(iter(known))
        return name, int(known[name])

    def per_volume(self, section: Any) -> Any:
        """Return n·α in cm⁻¹ of a V·n·α in Å².

        Parameters
        ----------
        section : ndarray or pint.Quantity
            In Å².

        Returns
        -------
        pint.Quantity

        Raises
        ------
        SpectrumError
            If there is no volume.
        """
        if self.volume is None:
            raise SpectrumError(
                "n·α needs a volume and the sample has none; use cross_section, molar_absorption "
                "or band(), or give volume= to spectrum()"
            )
        return (section / self.volume).to(units.ABSORPTION)

    @property
    def cross_section(self) -> Any:
        """V · n(ω)α(ω) of the sample [n_frequencies], in Å²."""
        return self.cross_sections.reshape((len(self.cross_sections), -1)).sum(axis=1)

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
    def molar_absorption(self) -> Any:
        """n(ω)α(ω)·V·N_A per mole of samples [n_frequencies], in km/mol per cm⁻¹ (base e)."""
        return units.quantity(MOLAR * self.cross_section.m, units.MOLAR_ABSORPTION)


def _old_pairs(file: h5py.File) -> Any:
    """The terms of a file of version 0.1.0: a symmetric matrix, or two columns of many groups."""
    n = len(io.read_json(file, "groups", list))
    n_frequencies = len(io.find_array(file, "wavenumber", shape=(None,)))
    stored = io.find_array(file, "cross_section_terms")
    summed = n > 2 and stored.shape[2:] == (2,)
    shape = (n_frequencies, n, 2 if summed else n)
    terms = io.read_array(file, "cross_section_terms", SECTION, shape)
    if summed:
        return terms.transpose(0, 2, 1).reshape(len(terms), -1)
    return result.pair_columns(terms)


def _names_of(term: str | Sequence[str]) -> tuple[str, ...]:
    """The groups of a term; a string is one name, and no sequence of letters."""
    return (term,) if isinstance(term, str) else tuple(term)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Spectrum(Absorption):
    """An absolute infrared spectrum, the sum of its auto and cross terms.

    Attributes
    ----------
    groups : list of str
        Names of the groups.
    cross_sections : pint.Quantity, shape [n_frequencies, n_pairs]
        V · n(ω)α(ω) of each group, then of each pair of them (both orders), in the order of
        `pairs`, in Å². The sum is the total. Of very many groups (see `summed`) of each group with
        itself, then half of what it has in common with all the others.
    cross_section_components : pint.Quantity, shape [n_frequencies, 3, 3]
        V · n(ω)α(ω) by Cartesian components of the flux, symmetric, in Å². The trace is the total.
    lags : pint.Quantity, shape [n_lags]
        Times of the correlation function, in ps.
    correlation : pint.Quantity, shape [n_lags, n_groups, n_groups]
        ⟨Ṁ_g(0)·Ṁ_h(t)⟩ before the window, in e² Å²/ps²; of very many groups [n_lags, n_groups, 2].
    quantum_correction : str
        Factor that the harmonic spectrum has been multiplied with, see `corrected`.
    signed : list of str
        Groups that have no flux of their own, whose auto term may be negative: the distinct part of
        molecules.
    shown_as : dict
        What `curve`, tables and pictures show, see `to`; empty for n·α, or molar absorption without
        a volume.
    """

    kind: ClassVar[str] = "spectrum"
    upgrades: ClassVar = {"cross_sections": ("cross_section_terms", _old_pairs)}

    groups: list[str] = result.attribute(list)
    cross_sections: Any = result.array(SECTION, "frequencies", "pairs")
    cross_section_components: Any = result.array(SECTION, "frequencies", 3, 3)
    lags: Any = result.array(units.TIME, "lags")
    correlation: Any = result.array(units.FLUX_CORRELATION, "lags", "groups", "others")
    quantum_correction: str = result.attribute(str, "harmonic")
    signed: list[str] = result.attribute(list, [])
    shown_as: dict[str, Any] = result.attribute(dict, {})

    @property
    def shown(self) -> Shown:
        """What `curve`, tables and pictures show; see `to`."""
        default = "n-alpha" if self.volume is not None else "molar-absorption"
        return Shown(**({"quantity": default} | self.shown_as))

    @property
    def unit(self) -> str:
        """Unit of plain numbers: of what is shown."""
        return self.shown.kind.unit

    @property
    def label(self) -> str:
        """Of the vertical axis of a picture."""
        return self.shown.label

    def to(
        self,
        quantity: str | None = None,
        *,
        molecules: int | str | None = None,
        path_length: Any = None,
        epsilon_infinity: float | None = None,
        refractive_index: float | None = None,
    ) -> Spectrum:
        """Return the same spectrum shown as another quantity: its curves, band maxima, tables,
        pictures.

        Parameters
        ----------
        quantity : str, optional
            One of `mda_aptnn.spectra.quantities.QUANTITIES`: "n-alpha", "alpha", "epsilon",
            "molar-absorption", "absorbance", "transmittance", "k", "dielectric-loss",
            "conductivity". By default what is shown already, with its path and n.
        molecules : int or str, optional
            Of what a molar quantity is per mole: a formula ("H2O"), or the number of molecules in
            the sample. Not needed where all molecules are of one kind.
        path_length : float, str or pint.Quantity, optional
            Of absorbance and transmittance, in cm.
        epsilon_infinity : float, optional
            ε∞, n² of visible light: what is of α is then divided by n(ν), by Kramers and Kronig.
        refractive_index : float, optional
            n in the place of n(ν). With neither, the quantity is shown times n and says so; without
            a volume n is 1.

        Returns
        -------
        Spectrum

        Raises
        ------
        SpectrumError
            If there is no such quantity, or what it needs is not known or does not go together.
        """
        if path_length is not None:
            path_length = units.magnitude(path_length, "cm", "path length")
        how: dict[str, Any] = {"quantity": quantity, "path_length": path_length}
        how |= {"epsilon_infinity": epsilon_infinity, "refractive_index": refractive_index}
        if quantity is None:
            how = {k: getattr(self.shown, k) if v is None else v for k, v in how.items()}
        shown = Shown(**how, count=1)
        if self.volume is None and shown.is_times_n:
            shown = dataclasses.replace(shown, refractive_index=1.0)
        shown.check(None if self.volume is None else float(self.volume.m))
        if shown.kind.per_molecule or molecules is not None:
            name, count = self.molecules(molecules)
            shown = dataclasses.replace(shown, molecule=name, count=count)
        return dataclasses.replace(self, shown_as=dataclasses.asdict(shown))

    def per(self) -> tuple[str, int]:
        """Return what intensities of bands are told per: the molecules of what is shown, the only
        kind there is, or the sample; and how many of them there are.

        Returns
        -------
        name : str
        count : int
        """
        if self.shown.molecule:
            return self.shown.molecule, self.shown.count
        try:
            return self.molecules()
        except SpectrumError:
            return "sample", 1

    def as_shown(self, sections: Array, total: Array) -> Array:
        """Return what is shown of V·n·α of the sample, or of parts of it.

        Parameters
        ----------
        sections : ndarray, shape [n_frequencies, ...]
            In Å².
        total : ndarray, shape [n_frequencies]
            Of the sample, which n(ν) follows from.

        Returns
        -------
        ndarray, shape [n_frequencies, ...]
            In `unit`.
        """
        volume = None if self.volume is None else float(self.volume.m)
        factor = self.shown.factor(self.wavenumber.magnitude, total, volume)
        return self.shown.values(sections.T, factor).T

    @property
    def _additive(self) -> Spectrum:
        """The same, a transmittance shown as the absorbance that it is made of."""
        if self.shown.is_additive:
            return self
        return dataclasses.replace(self, shown_as=self.shown_as | {"quantity": "absorbance"})

    def curve(self, *term: str) -> result.Measured:
        """Return the total or a term with its errors, as it is shown.

        Parameters
        ----------
        *term : str
            The total by default.

        Returns
        -------
        Measured
            [n_frequencies], in `unit`.
        """
        if not self.shown.is_additive:
            # of 10^−A itself the jackknife leaves its range, where little light comes through
            found = self._additive.curve(*term)
            value = np.asarray(10**-found.value)
            errors = {
                name: np.log(10) * value * getattr(found, name) for name in ("error", "model_error")
            }
            return dataclasses.replace(found, value=value, **errors, positive=True)
        return self._measure(
            term, self.unit, lambda curve: curve, lambda rows: self.as_shown(rows[0], rows[-1])
        )

    @property
    def summed(self) -> bool:
        """Whether there were so many groups that cross terms of each with all the others stand
        together.
        """
        return bool(self.correlation.shape[2] != len(self.groups))

    @property
    def terms(self) -> Any:
        """n(ω)α(ω) of each pair of groups [n_frequencies, n_groups, n_groups] in cm⁻¹, symmetric,
        half of a cross term in each place; of very many groups [n_frequencies, n_groups, 2].

        The sum is `absorption`.
        """
        return self.per_volume(units.quantity(self.matrix(self.values), SECTION))

    def matrix(self, values: Array) -> Array:
        """Return values [..., n_pairs], in the order of `pairs`, as symmetric matrices [...,
        n_groups, n_groups]; of very many groups as two columns [..., n_groups, 2].

        Parameters
        ----------
        values : ndarray, shape [..., n_pairs]

        Returns
        -------
        ndarray, shape [..., n_groups, n_groups]
        """
        n = len(self.groups)
        if self.summed:
            return np.moveaxis(values.reshape(*values.shape[:-1], 2, n), -2, -1)
        first, second = np.triu_indices(n, 1)
        found = np.zeros((*values.shape[:-1], n, n))
        found[..., range(n), range(n)] = values[..., :n]
        found[..., first, second] = found[..., second, first] = 0.5 * values[..., n:]
        return found

    @property
    def components(self) -> Any:
        """n(ω)α(ω) by Cartesian components [n_frequencies, 3, 3] in cm⁻¹; the trace is
        `absorption`.
        """
        return self.per_volume(self.cross_section_components)

    def pairs(self) -> list[tuple[str, str]]:
        """Return every auto and cross term once, autos first.

        Returns
        -------
        list of (str, str)
            Of very many groups (`summed`): of each with itself, and with "all others".
        """
        if self.summed:
            return [(name, name) for name in self.groups] + [(name, OTHERS) for name in self.groups]
        return result.all_pairs(self.groups)

    def pair_index(self, first: str, second: str | None = None) -> int:
        """Return where in `pairs` the term of one or two groups stands, in either order.

        Parameters
        ----------
        first, second : str
            Of groups; one alone is its auto term.

        Returns
        -------
        int

        Raises
        ------
        SpectrumError
            If there is no such group, or there are so many that two have no term of their own.
        """
        second = second or first
        if not self.summed:
            return result.pair_index(self.groups, first, second)
        place = result.group_index(self.groups, first)
        if second not in (first, OTHERS):
            raise SpectrumError(
                f"of {len(self.groups)} groups there are no terms of two: give {OTHERS!r} in the "
                f"place of {second!r}, or make a spectrum of fewer groups (groups=)"
            )
        return place + len(self.groups) * int(second != first)

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

        Raises
        ------
        SpectrumError
            If there is no such group, or no volume.
        """
        return self.per_volume(self.cross_sections[:, self.pair_index(first, second)])

    def share(self, low: Any, high: Any, term: str | Sequence[str]) -> result.Measured:
        """Return the part that a term has in the integral of a band; fluctuations that it has in
        common with the total cancel in its error.

        Parameters
        ----------
        low, high, term
            As in `band`: one group (its auto term), or two.

        Returns
        -------
        Measured
        """
        weights = result.band_weights(self.wavenumber.magnitude, low, high)
        column = self.pair_index(*_names_of(term))
        return self.measure(
            lambda both: both[0] / both[1],
            of=lambda values: np.array([weights @ values[:, column], weights @ values.sum(axis=1)]),
        )

    def peaks(self, *, prominence: float = 0.02) -> list[Peak]:
        """Return the band maxima of the total that stand out of the noise.

        Parameters
        ----------
        prominence : float
            The least height of a band above its surroundings, as a part of the highest maximum.
            Smaller than what noise makes, it has no effect.

        Returns
        -------
        list of Peak
            By rising wavenumber, with heights as the spectrum is shown (absorbance, if that is
            transmittance); see `mda_aptnn.spectra.bands.find_peaks`.
        """
        shown = self._additive
        return find_peaks(
            shown,
            lambda values: values.sum(axis=1),
            shown.unit,
            prominence,
            lambda total: shown.as_shown(total, total),
        )

    def _measure(
        self,
        term: tuple[str, ...],
        unit: str,
        reduce: Callable[[Array], Any],
        function: Callable[[Array], Any] = lambda rows: rows[0],
    ) -> result.Measured:
        """Something linear in the total or a term, and a `function` of it and, as its last row, of
        the total.

        The relative error of the segments is that of the whole. A cross term is scaled like the
        geometric mean of its two auto terms, and what has no such term (`signed`) like the total.
        """
        names = (*term, *term)[:2]
        columns = [self.pair_index(*term)] if term else []
        if term and not {*term} & {*self.signed, OTHERS}:
            columns += [self.pair_index(name) for name in names]

        def rows(values: Array) -> Array:
            curves = [*values[:, columns].T, values.sum(axis=1)]
            return np.array([reduce(curve) for curve in curves])

        like = (1, 2) if len(columns) > 1 else (-1, -1)
        return self.measure(
            function,
            unit,
            of=rows,
            like=lambda found: np.sqrt(np.abs(found[like[0]] * found[like[1]])),
            positive=not term or (len({*term}) == 1 and term[0] not in self.signed),
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
        if name == self.quantum_correction:
            return self
        arguments = self.wavenumber.magnitude, float(self.temperature.magnitude)
        factor = quantum_factor(name, *arguments)
        factor /= quantum_factor(self.quantum_correction, *arguments)
        return self.times(factor, quantum_correction=name)

    def columns(self) -> Mapping[str, Array]:
        """Return wavenumber, total, its errors, every term and the diagonal components."""
        total = self.curve()
        unit = f" [{self.unit}]" if self.unit else ""
        what = f" {self.shown.heading}" if self.shown_as else ""
        columns = {"wavenumber [1/cm]": self.wavenumber.magnitude}
        columns[f"total{what}{unit}"] = total.value
        if self.segments is not None:
            columns[f"standard error{unit}"] = total.error
        if self.members is not None:
            columns[f"{self.members.label}{unit}"] = total.model_error
        if not self.shown.is_additive:
            return columns
        named = self.named_terms() if len(self.groups) > 1 else {}
        columns |= {f"{name}{unit}": values for name, values in named.items()}
        by_axis = np.einsum("faa->fa", self.cross_section_components.magnitude)
        for name, values in zip("xyz", self.as_shown(by_axis, by_axis.sum(axis=1)).T, strict=True):
            columns[f"{name}{name}{unit}"] = values
        return columns

    def named_terms(self, times: str = " x ") -> dict[str, Array]:
        """Return terms in `unit` by their names, none where they do not sum to the total
        (transmittance); self and distinct parts have no cross terms.

        Parameters
        ----------
        times : str
            Between the names of two groups.

        Returns
        -------
        dict of str to ndarray, shape [n_frequencies]
        """
        if not self.shown.is_additive:
            return {}
        terms = self.as_shown(self.values, self.values.sum(axis=1))
        return {
            a if a == b else f"{a}{times}{b}": values
            for (a, b), values in zip(self.pairs(), terms.T, strict=True)
            if values.any() or not self.signed
        }

    def _panels(self) -> list[Panel]:
        """The total and its terms."""
        curves = {"total": self.curve()}
        return [Panel(label=self.label, curves=curves, terms=self.named_terms(TIMES))]

    def summary(self) -> dict[str, Any]:
        """Return what the spectrum says, as plain numbers, in the quantity of `peaks`."""

        def known(value: float) -> float | None:
            return value if np.isfinite(value) else None

        effective = self.effective_resolution
        return {
            "maxima": [
                {
                    "wavenumber": peak.position.value,
                    "wavenumber_error": known(peak.position.error),
                    "height": peak.height.value,
                    "height_error": known(peak.height.error),
                }
                for peak in self.peaks()
            ],
            "quantity": self._additive.shown.heading,
            "unit": self._additive.unit,
            "resolution": float(self.resolution.magnitude),
            "effective_resolution": None if effective is None else float(effective.magnitude),
            **super().summary(),
        }

    def describe(self) -> str:
        """Return the same for people."""
        shown = ", ".join(f"{peak.position:.1f}" for peak in self.peaks())
        lines = [f"band maxima [cm^-1]: {shown or 'none stands out of the noise'}"]
        asked, effective = float(self.resolution.magnitude), self.effective_resolution
        if effective is not None and abs(effective.magnitude - asked) > WIDER * asked:
            lines.append(
                f"resolution: lines are {effective.magnitude:.3g} cm^-1 wide in a trajectory this "
                f"short, not {asked:g}"
            )
        if self.segments is not None:
            lines.append(f"error bars from {len(self.segments.lengths)} segments")
        if self.shown_as:
            lines.append(str(self.shown))
        return "\n".join(lines)

    @classmethod
    def _read(cls, file: h5py.File) -> Self:
        found = super()._read(file)
        try:
            found.shown.check(None if found.volume is None else float(found.volume.m))
        except (TypeError, SpectrumError) as error:
            raise FileFormatError(f"{file.filename}: shown_as is damaged: {error}") from error
        if found.cross_sections.shape[1] != len(found.pairs()):
            raise FileFormatError(
                f"{file.filename}: cross_sections has shape {found.cross_sections.shape}, expected "
                f"{len(found.pairs())} terms of {len(found.groups)} groups"
            )
        return found

    def _write(self, file: h5py.File) -> None:
        super()._write(file)
        if self.volume is not None:
            absorption = self.absorption.to(units.ABSORPTION).magnitude
            io.write_array(file, "absorption", absorption, units.ABSORPTION)


def infrared(
    rates: Rates,
    estimator: Estimator,
    temperature: float,
    volume: float | None,
    **origin: Any,
) -> Spectrum:
    """Return the spectrum of a flux, Eq. 2 of the paper.

    Parameters
    ----------
    rates : Rates
        Ṁ of each group in e·Å/ps [n_frames, n_groups, 3].
    estimator : Estimator
    temperature : float
        In K.
    volume : float or None
        In Å³.
    **origin
        notes and info, kept with the result; the estimator is added.

    Raises
    ------
    SpectrumError
        If the series are too short for the resolution, or the temperature or volume is not
        positive.

    Notes
    -----
    n(ω)α(ω) = β/(6 ε₀ c V) ∫ dt e^{-iωt} ⟨Ṁ(0)·Ṁ(t)⟩: P. Schienbein, J. Chem. Theory Comput. 19,
    705 (2023). The harmonic quantum correction is in the prefactor already. The mean of Ṁ is never
    removed: it is conduction.

    Of so many groups that the terms of all pairs would take more than 200 MB (90 groups at 3,000
    frequencies, 500 at 100) each group has two: its own, and its cross terms with all the others
    together. A note says so.
    """
    check_conditions(temperature, volume)
    density = estimator.density(rates, factor=section_factor(temperature))
    if density.correlation.ndim == 2:
        # each with itself, and with all the others
        columns = density.correlation.reshape(-1, 2, len(rates.names)).swapaxes(1, 2)
        density = dataclasses.replace(density, correlation=columns)
    plan = density.plan
    by_axis = component_correlation(rates.parts, plan.n_lags, unbiased=estimator.unbiased)
    return spectrum_of_density(density, by_axis, rates.names, temperature, volume, **origin)


def check_conditions(temperature: float, volume: float | None) -> None:
    """Refuse a temperature or volume that is not positive.

    Raises
    ------
    SpectrumError
    """
    if temperature <= 0:
        raise SpectrumError(f"the temperature must be positive, not {temperature} K")
    if volume is not None and volume <= 0:
        raise SpectrumError(f"the volume must be positive, not {volume} Å³")


def spectrum_of_density(
    density: Any,
    components: Array,
    groups: Sequence[str],
    temperature: float,
    volume: float | None,
    **origin: Any,
) -> Spectrum:
    """Return the spectrum of a density in Å².

    Parameters
    ----------
    density : mda_aptnn.spectra.estimator.Density
        Times `section_factor`.
    components : ndarray, shape [n_lags, 3, 3]
        See `mda_aptnn.spectra.estimator.component_correlation`, in e² Å²/ps².
    groups, temperature, volume, **origin
        As in `infrared`.
    """
    plan = density.plan
    by_axis = section_factor(temperature) * plan(0.5 * (components + components.transpose(0, 2, 1)))
    if density.estimator.positive:
        diagonal = np.einsum("faa->fa", by_axis)
        np.maximum(diagonal, 0.0, out=diagonal)
    return Spectrum(
        **density.common(temperature=temperature, volume=volume, **origin),
        groups=list(groups),
        cross_sections=units.quantity(density.terms, SECTION),
        cross_section_components=units.quantity(by_axis, SECTION),
        lags=units.quantity(np.arange(plan.n_lags) * plan.spacing, units.TIME),
        correlation=units.quantity(density.correlation, units.FLUX_CORRELATION),
    )
