"""What every result is: declared fields, of which files, tables and pictures follow, and one way to
the errors of whatever is derived from it.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mda_aptnn import io, units
from mda_aptnn.errors import FileFormatError, SpectrumError
from mda_aptnn.figures import Drawn, Panel, Picture
from mda_aptnn.spectra.windows import WIDER
from mda_aptnn.text import short

Array = NDArray[np.float64]

#: How formulas of spreadsheets begin.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclasses.dataclass(frozen=True)
class Measured:
    """A number, or an array of them, with its statistical error and that of the model.

    Attributes
    ----------
    value, error : float or ndarray
        In `unit`. The error is NaN where segments were too few.
    unit : str
    degrees_of_freedom : int
        Of the error: one less than the number of segments.
    positive : bool
        Whether it cannot be negative: its limits are then symmetric on a logarithmic scale.
    model_error : float or ndarray
        What the spread of a committee makes likely; NaN of a single model.
    """

    value: Any
    error: Any
    unit: str = ""
    degrees_of_freedom: int = 0
    positive: bool = False
    model_error: Any = float("nan")

    def __post_init__(self) -> None:
        """Make plain numbers of numpy's."""
        for name in ("value", "error", "model_error"):
            number = getattr(self, name)
            if isinstance(number, np.generic):
                object.__setattr__(self, name, number.item())

    @property
    def quantity(self) -> Any:
        """The value as a pint quantity."""
        return units.quantity(self.value, self.unit)

    def limits(self, sigmas: float = 1.0) -> tuple[Any, Any]:
        """Return the limits that hold the truth as often as ± `sigmas` of a normal distribution
        would: 1 for 68.3 %, 2 for 95.4 %.

        See `confidence_band`.
        """
        return confidence_band(
            self.value, self.error, self.degrees_of_freedom, sigmas, positive=self.positive
        )

    def __format__(self, form: str) -> str:
        """Return the value, and its error where it is known, in this format: ``f"{found:.0f}"``;
        without one four digits, two of the error, and the unit.
        """
        error = "" if np.isnan(self.error) else f" ± {self.error:{form or '.2g'}}"
        unit = "" if form else f" {self.unit}"
        return f"{self.value:{form or '.4g'}}{error}{unit}".rstrip()

    def __str__(self) -> str:
        return format(self, "") if np.ndim(self.value) == 0 else short(self)

    def __repr__(self) -> str:
        return f"<{self}>" if np.ndim(self.value) == 0 else short(self)


def student_factor(sigmas: float, degrees_of_freedom: float) -> float:
    """Return how many estimated standard errors hold the truth as often as `sigmas` known ones
    would.
    """
    return float(stats.t.ppf(stats.norm.cdf(sigmas), degrees_of_freedom))


def confidence_band(
    values: Any,
    errors: Any,
    degrees_of_freedom: float,
    sigmas: float = 1.0,
    *,
    positive: bool = False,
) -> tuple[Any, Any]:
    """Return the lower and upper limits that hold the truth with the probability of ± `sigmas`.

    Parameters
    ----------
    values, errors : float or ndarray, shape [...]
        Estimates and their standard errors.
    degrees_of_freedom : float
        Of the errors, for Student's factor.
    sigmas : float
        1 for 68.3 %, 2 for 95.4 %.
    positive : bool
        For what cannot be negative, such as auto spectra: the band is x·exp(±t s/x) instead of x ±
        t s. The estimate is distributed like a χ², whose skewness makes the symmetric band miss the
        truth too often; of a χ² sample the ratio s/x, unlike s, does not depend on x. Estimates
        that are not positive all the same, such as those of an unbiased correlation, keep x ± t s.
    """
    values = np.asarray(values)
    half = student_factor(sigmas, degrees_of_freedom) * np.asarray(errors)
    if not positive:
        return (values - half)[()], (values + half)[()]
    inside = values > 0
    with np.errstate(over="ignore"):
        ratio = np.exp(np.divide(half, values, out=np.zeros(values.shape), where=inside))
        low = np.where(inside, values / ratio, values - half)
        return low[()], np.where(inside, values * ratio, values + half)[()]


@dataclasses.dataclass(frozen=True)
class Segments:
    """The same terms from disjoint parts of the trajectory: what error bars are made of.

    Attributes
    ----------
    terms : ndarray of float32, shape [n_segments, n_frequencies, ...]
        In the unit and order of the values of the whole.
    lengths : ndarray, shape [n_segments]
        In ps: the variance of a segment goes as 1/length.
    inflation : float
        Variance of the spectrum of the whole trajectory over that of the mean of its segments,
        which see fewer products at long lags.
    """

    terms: NDArray[Any]
    lengths: Array
    inflation: float = 1.0

    __repr__ = short

    @property
    def degrees_of_freedom(self) -> int:
        """One less than the number of segments."""
        return len(self.lengths) - 1

    def mean(self, values: NDArray[Any]) -> Array:
        """Return the mean of `values` [n_segments, ...], weighted by the segments' lengths."""
        return np.tensordot(self.lengths / self.lengths.sum(), np.asarray(values), 1)

    def jackknife(self, function: Callable[[Array], Any], values: NDArray[Any]) -> Array:
        """Return the standard error of a function of the mean, by leaving out one segment after the
        other.

        Parameters
        ----------
        function : callable
            Of the mean [...] of `values`; returns one number or an array of them.
        values : ndarray, shape [n_segments, ...]
            It, for each segment.

        Notes
        -----
        With Var x_k = σ²/L_k, Σ_k L_k (x_k − x̄)²/(K − 1) is an unbiased estimate of σ², and Var x̄
        = σ²/ΣL. In the place of x_k stand the pseudo-values of the jackknife for parts of unequal
        length, which are x_k where the function is linear: F. M. T. A. Busing, E. Meijer, R. van
        der Leeden, Stat. Comput. 9, 3 (1999).
        """
        values = np.asarray(values)
        mean = self.mean(values)
        whole = np.asarray(function(mean))
        parts = self.lengths.sum() / self.lengths
        pseudo = np.array(
            [
                h * whole - (h - 1) * np.asarray(function((h * mean - value) / (h - 1)))
                for h, value in zip(parts, values, strict=True)
            ]
        )
        variance = self.mean((pseudo - self.mean(pseudo)) ** 2) / self.degrees_of_freedom
        return np.asarray(np.sqrt(variance * self.inflation))


@dataclasses.dataclass(frozen=True)
class Members:
    """The same terms by each member of a committee.

    Attributes
    ----------
    terms : ndarray of float32, shape [n_members, n_frequencies, ...]
        In the unit and order of the values of the whole.
    calibrated : bool
        Whether the scatter is calibrated on intensities of bands. If not, it is on single tensors
        at most, and says little of a band, where errors of many atoms cancel or add up.
    """

    terms: NDArray[Any]
    calibrated: bool = False

    __repr__ = short

    @property
    def label(self) -> str:
        """What their scatter may be called."""
        if self.calibrated:
            return "error of the model"
        return "spread of the committee (not calibrated on bands)"


_NO_ERROR_BARS = (
    "the spectrum has no error bars: the trajectory is short for this resolution, or they were not "
    "wanted (segments=None)"
)
_NO_MEMBERS = (
    "the flux has no members of a committee, so that the model's error is not known: they are kept "
    "of a committee's (mda-aptnn train --members 4) groups up to 16, not of atoms, self and "
    "distinct parts, or a live stream"
)


def array(
    unit: str | None,
    *shape: int | str,
    default: Any = dataclasses.MISSING,
    kinds: str = "fiu",
) -> Any:
    """Declare a field that is a data set of the file.

    Parameters
    ----------
    unit : str or None
        The field is a pint.Quantity of this unit, or an array without. "unit" stands for the
        attribute `unit` of the result.
    *shape : int or str
        Lengths; those of one name are the same in all fields.
    default : optional
        What it is where the file has none.
    kinds : str
        Of numbers that a file may hold, as numpy's `dtype.kind`; "c" for complex ones.
    """
    declared = {"unit": unit, "shape": shape, "kinds": kinds}
    return dataclasses.field(default=default, metadata=declared)


def attribute(kind: type, default: Any = dataclasses.MISSING) -> Any:
    """Declare a field that is an attribute of the file: str, float, bool, or a list or dict as
    JSON.
    """
    options: dict[str, Any] = {"default": default}
    if default in ([], {}):
        options = {"default_factory": kind}
    return dataclasses.field(metadata={"kind": kind}, **options)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Result(Drawn, io.Stored):
    """A spectrum, with what is needed for the errors of all that is derived from it.

    A kind of spectrum declares its fields with `array` and `attribute`, and says in `main` which
    of them holds the values; in the same order and unit they are in segments and members.

    Attributes
    ----------
    wavenumber : pint.Quantity, shape [n_frequencies]
        ν̃ = ω/2πc, in cm⁻¹, equidistant.
    temperature : pint.Quantity or None
        T in β = 1/k_B T.
    resolution : pint.Quantity
        Full width at half maximum of the line that the window makes of a single frequency, in cm⁻¹;
        0 without one.
    effective_resolution : pint.Quantity or None
        Full width at half maximum of the line that a single frequency becomes in a series of this
        length, in cm⁻¹; None of files that do not have it.
    least_relative_error : float
        Relative standard error at each point if the components of the rates are independent and
        Gaussian: no smaller one is possible. NaN where it is not known.
    window : str
        Name of the lag window.
    segments : Segments or None
        The same from disjoint parts of the trajectory, for the statistical error; None where there
        are too few.
    members : Members or None
        The same from each member of a committee, for the error of the model; None for a single
        model.
    notes : list of str
        What was assumed on the way.
    info : dict
        What it was made of and how: model, level of theory, trajectory, estimator.
    """

    wavenumber: Any = array(units.WAVENUMBER, "frequencies")
    temperature: Any = array(units.TEMPERATURE, default=None)
    resolution: Any = array(units.WAVENUMBER)
    effective_resolution: Any = array(units.WAVENUMBER, default=None)
    least_relative_error: float = attribute(float, float("nan"))
    window: str = attribute(str)
    segments: Segments | None = None
    members: Members | None = None
    notes: list[str] = attribute(list, [])
    info: dict[str, Any] = attribute(dict, {})

    #: Name of the field that holds the values [n_frequencies, ...].
    main: ClassVar[str]
    #: Fields of older files that have them under other names: the name, and how to read it.
    upgrades: ClassVar[Mapping[str, tuple[str, Callable[[h5py.File], Any]]]] = {}

    def measure(
        self,
        function: Callable[[Array], Any],
        unit: str = "",
        *,
        of: Callable[[Array], Array] | None = None,
        like: Callable[[Array], Any] | None = None,
        positive: bool = False,
    ) -> Measured:
        """Carry out any function of the values on each replicate.

        Parameters
        ----------
        function : callable
            Of the values [n_frequencies, ...] as plain numbers; returns one number or an array.
        unit : str
            Of what it returns.
        of : callable, optional
            A linear function that comes before and makes fewer numbers of the values, such as the
            sum of the terms.
        like : callable, optional
            What the error is relative to: its ratio of the whole to the mean of the segments
            multiplies the error, as short series leak from strong bands into gaps, by a factor that
            cancels in a relative error. The function itself if `positive`.
        positive : bool
            Whether the result cannot be negative.

        Returns
        -------
        Measured
            Statistical error by the jackknife over segments. Error of the model √(Σ_m (f_m −
            f)²/(M − 1)) about f of the mean tensors and not about the mean of f: members whose
            errors do not follow the atoms' true tensors all have too much intensity, and this
            offset is an error too.
        """
        reduce = of or (lambda values: values)
        values = reduce(self.values)
        whole = np.asarray(function(values))
        error = model_error = np.full(whole.shape, np.nan)
        if self.segments is not None:
            parts = np.array([reduce(_double(part)) for part in self.segments.terms])
            error = self.segments.jackknife(function, parts)
            like = like or (function if positive else None)
            if like is not None:
                ratio = np.asarray(like(values), dtype=float)
                mean = np.asarray(like(self.segments.mean(parts)), dtype=float)
                error = error * np.abs(
                    np.divide(ratio, mean, out=np.ones(mean.shape), where=mean != 0)
                )
        if self.members is not None:
            found = [function(reduce(_double(part))) for part in self.members.terms]
            squares = (np.array(found) - whole) ** 2
            model_error = np.sqrt(squares.sum(axis=0) / (len(found) - 1))
        degrees = 0 if self.segments is None else self.segments.degrees_of_freedom
        return Measured(whole[()], error[()], unit, degrees, positive, model_error[()])

    @property
    def values(self) -> Array:
        """The values as plain numbers [n_frequencies, ...], in their own unit."""
        return np.asarray(getattr(self, self.main).magnitude)

    def standard_error(self, *term: str) -> Any:
        """Return the statistical standard error of `curve` as a quantity [n_frequencies].

        It has ``segments.degrees_of_freedom``; ``curve(...).limits()`` applies Student's factor.

        Parameters
        ----------
        *term : str
            Names of the term; the total by default.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]

        Raises
        ------
        SpectrumError
            If there are no error bars, or no such term.
        """
        found = self.curve(*term)
        if self.segments is None:
            raise SpectrumError(_NO_ERROR_BARS)
        return units.quantity(found.error, found.unit)

    def model_error(self, *term: str) -> Any:
        """Return the error of `curve` that the committee's spread makes likely [n_frequencies].

        It has nothing to do with the length of the trajectory. ``members.calibrated`` says whether
        it is calibrated on intensities of bands.

        Parameters
        ----------
        *term : str
            Names of the term; the total by default.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]

        Raises
        ------
        SpectrumError
            If the model was no committee, or there is no such term.
        """
        found = self.curve(*term)
        if self.members is None:
            raise SpectrumError(_NO_MEMBERS)
        return units.quantity(found.model_error, found.unit)

    def curve(self, *term: str) -> Measured:
        """Return what is drawn: the total, or a term by its names, with its errors.

        Parameters
        ----------
        *term : str
            Names of the term; the total by default.

        Returns
        -------
        Measured
            Arrays [n_frequencies].
        """
        return self._measure(term, self.unit, lambda curve: curve)

    def band(self, low: Any = 0.0, high: Any = None, *term: str) -> Measured:
        """Return the integral over a band, with its errors.

        Parameters
        ----------
        low, high : float, str or pint.Quantity
            Limits in cm⁻¹; everything by default.
        *term : str
            As in `curve`.

        Returns
        -------
        Measured
        """
        unit = units.ureg.Unit(self.unit) * units.ureg.Unit(units.WAVENUMBER)
        weights = band_weights(self.wavenumber.magnitude, low, high)
        name = "" if unit.dimensionless else str(unit)
        return self._measure(term, name, lambda curve: weights @ curve)

    def _measure(
        self, term: tuple[str, ...], unit: str, reduce: Callable[[Array], Any]
    ) -> Measured:
        """Something linear in what is drawn of a term."""
        of = self._reduction(*term)
        return self.measure(
            lambda found: found,
            unit,
            of=lambda values: np.asarray(reduce(of(values))),
            positive=self._is_positive(*term),
        )

    def _reduction(self, *term: str) -> Callable[[Array], Array]:
        """What makes of the values what is drawn of a term, a linear function."""
        raise NotImplementedError

    def _is_positive(self, *term: str) -> bool:
        """Whether it cannot be negative."""
        return False

    @property
    def unit(self) -> str:
        """Unit of plain numbers."""
        return self._unit_of_main()

    def summary(self) -> dict[str, Any]:
        """Return what the result says, as plain numbers: here what all have.

        Returns
        -------
        dict of str to value
        """
        kelvin = self.temperature
        return {
            "segments": None if self.segments is None else len(self.segments.lengths),
            "temperature_used": None if kelvin is None else float(kelvin.magnitude),
            "notes": self.notes,
        }

    def describe(self) -> str:
        """Return the same for people.

        Returns
        -------
        str
        """
        return repr(self)

    def times(
        self, factor: Array, *, kept: Any = slice(None), unit: str = "", **changes: Any
    ) -> Self:
        """Return the values, and all that has their unit, times a factor for each frequency.

        Parameters
        ----------
        factor : ndarray, shape [n_kept]
        kept : ndarray of bool, shape [n_frequencies], or slice
            Frequencies that remain; all by default.
        unit : str
            Of the values then; as before by default.
        **changes
            Other fields that change with it.

        Returns
        -------
        Result
            Of the same class.
        """

        def scaled(terms: NDArray[Any], axis: int = 0) -> NDArray[Any]:
            column = factor.reshape(-1, *[1] * (terms.ndim - axis - 1))
            return (terms[(slice(None),) * axis + (kept,)] * column).astype(terms.dtype)

        for name in ("segments", "members"):
            parts = getattr(self, name)
            if parts is not None:
                changes[name] = dataclasses.replace(parts, terms=scaled(parts.terms, 1))
        fields = {f.name: f.metadata for f in dataclasses.fields(self)}
        if unit and "unit" in fields:
            changes["unit"] = unit
        for name, metadata in fields.items():
            value = getattr(self, name)
            if value is None or metadata.get("shape", ())[:1] != ("frequencies",):
                continue
            changes[name] = value[kept]
            if name != "wavenumber" and metadata["unit"] == fields[self.main]["unit"]:
                changes[name] = units.quantity(scaled(value.magnitude), unit or str(value.units))
        return dataclasses.replace(self, **changes)

    def columns(self) -> Mapping[str, Array]:
        """Return the columns of a table by their names, which have the unit in brackets.

        Returns
        -------
        mapping of str to ndarray, shape [n_rows]
        """
        raise NotImplementedError

    def _panels(self) -> list[Panel]:
        """What its picture shows over the wavenumbers."""
        raise NotImplementedError

    def _picture(self) -> Picture:
        return Picture(
            x=self.wavenumber.magnitude,
            panels=self._panels(),
            title=self._title(),
            model_label="" if self.members is None else self.members.label,
            notes=self.notes,
        )

    def _title(self) -> str:
        """Temperature and resolution."""
        kelvin, resolution = self.temperature, float(self.resolution.magnitude)
        parts = [] if kelvin is None else [f"{kelvin.magnitude:.0f} K"]
        if resolution > 0:
            wide, effective = "", self.effective_resolution
            if effective is not None and abs(effective.magnitude / resolution - 1) > WIDER:
                wide = f" (lines {effective.magnitude:.3g} cm$^{{-1}}$ wide)"
            parts.append(f"resolution {resolution:g} cm$^{{-1}}${wide}")
        return ", ".join(parts)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the columns as text, with eight digits.

        Parameters
        ----------
        path : path
        """
        write_columns(path, self.columns())

    def __repr__(self) -> str:
        grid = self.wavenumber.magnitude
        errors = "no error bars"
        if self.segments is not None:
            errors = f"error bars from {len(self.segments.lengths)} segments"
        return (
            f"<{type(self).__name__}: {len(grid)} frequencies to {grid[-1]:.0f} cm⁻¹, resolution "
            f"{self.resolution.magnitude:g} cm⁻¹, {errors}>"
        )

    def _write(self, file: h5py.File) -> None:
        write_fields(self, file)
        unit = self._unit_of_main()
        if self.segments is not None:
            group = file.create_group("segments")
            io.write_array(group, "terms", self.segments.terms, unit)
            io.write_array(group, "lengths", self.segments.lengths, units.TIME)
            group.attrs["inflation"] = self.segments.inflation
        if self.members is not None:
            io.write_array(file, "members", self.members.terms, unit)
            file["members"].attrs["calibrated"] = self.members.calibrated

    @classmethod
    def _read(cls, file: h5py.File) -> Self:
        found = cls(**read_fields(cls, file))
        unit, shape = found._unit_of_main(), found.values.shape
        changes: dict[str, Any] = {}
        if "segments" in file:
            changes["segments"] = cls._read_segments(file["segments"], unit, shape)
            if np.iscomplexobj(changes["segments"].terms) and not np.iscomplexobj(found.values):
                raise FileFormatError(f"{file.filename}: segments are complex")
        if "members" in file:
            terms = io.read_array(file, "members", unit, (None, *shape))
            calibrated = bool(file["members"].attrs.get("calibrated", False))
            changes["members"] = Members(np.asarray(terms, dtype=np.float32), calibrated)
        return dataclasses.replace(found, **changes)

    @classmethod
    def _read_segments(cls, group: h5py.Group, unit: str, shape: tuple[int, ...]) -> Segments:
        """Segments of a file; those of older ones may have another shape."""
        return read_segments(group, unit, shape)

    def _unit_of_main(self) -> str:
        fields = {field.name: field.metadata for field in dataclasses.fields(self)}
        unit = fields[self.main]["unit"]
        return str(self.unit) if unit == "unit" else unit


def read_segments(group: h5py.Group, unit: str, shape: tuple[int, ...]) -> Segments:
    """Read segments with terms [n_segments, *shape] in `unit`.

    Raises
    ------
    FileFormatError
        If arrays are missing, damaged or of other shapes.
    """
    lengths = io.read_array(group, "lengths", units.TIME, (None,))
    terms = io.read_array(group, "terms", unit, (len(lengths), *shape), kinds="fc")
    kind = np.complex64 if np.iscomplexobj(terms) else np.float32
    return Segments(np.asarray(terms, kind), lengths, float(group.attrs["inflation"]))


def _double(values: NDArray[Any]) -> NDArray[Any]:
    """The same in double precision, real or complex."""
    return values.astype(np.result_type(values, np.float64))


def write_fields(result: Any, file: h5py.File) -> None:
    """Write the declared fields of a dataclass: data sets with units, and attributes."""
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if "unit" in field.metadata and value is not None:
            unit = field.metadata["unit"]
            unit = result.unit if unit == "unit" else unit
            io.write_array(file, field.name, value if unit is None else value.to(unit).m, unit)
        elif "kind" in field.metadata:
            # an enumeration's word, or numpy's, is a word
            kind = field.metadata["kind"]
            file.attrs[field.name] = json.dumps(value) if kind in (list, dict) else kind(value)


def read_fields(cls: type, file: h5py.File) -> dict[str, Any]:
    """Read the declared fields of a dataclass.

    Raises
    ------
    FileFormatError
        If one is missing, of another kind, not finite, or lengths of one name disagree.
    """
    fields = dataclasses.fields(cls)
    found: dict[str, Any] = {}
    for field in fields:
        missing = field.name not in file and field.name not in file.attrs
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if "kind" in field.metadata and not (missing and optional):
            found[field.name] = _read_attribute(file, field.name, field.metadata["kind"])
    # lengths that bear the name of a list are its length
    lengths = {name: len(value) for name, value in found.items() if isinstance(value, list)}
    for field in fields:
        if "unit" not in field.metadata:
            continue
        old, upgrade = getattr(cls, "upgrades", {}).get(field.name, ("", None))
        unit, names = field.metadata["unit"], field.metadata["shape"]
        unit = found.get("unit") if unit == "unit" else unit
        shape = tuple(lengths.get(n) if isinstance(n, str) else n for n in names)
        if old in file and field.name not in file:
            values = upgrade(file)
        elif field.name in file or field.default is dataclasses.MISSING:
            kinds = field.metadata["kinds"]
            values = io.read_array(file, field.name, unit, shape, kinds=kinds)
        else:
            continue
        # the last limit of bins may be infinite
        if np.isnan(values).any() or ("frequencies" in names and np.isinf(values).any()):
            raise FileFormatError(f"{file.filename}: {field.name} is not finite")
        own = {n: m for n, m in zip(names, np.shape(values), strict=True) if isinstance(n, str)}
        if any(lengths.get(n, m) != m for n, m in own.items()):
            raise FileFormatError(f"{file.filename}: {field.name} has shape {np.shape(values)}")
        lengths |= own
        found[field.name] = values if unit is None else units.quantity(values, unit)
    return found


def _read_attribute(file: h5py.File, name: str, kind: type) -> Any:
    if kind in (list, dict):
        return io.read_json(file, name, kind)
    value = file.attrs[name]
    allowed = {str: str, bool: bool | np.bool_, float: float | np.floating}[kind]
    if not isinstance(value, allowed):
        noun = "number" if kind is float else kind.__name__
        raise FileFormatError(f"{file.filename}: {name} is no {noun}")
    return kind(value)


def error_columns(name: str, found: Measured) -> dict[str, Array]:
    """Return columns of a table: values and, where they are known, their standard errors."""
    columns = {name: found.value}
    if not np.isnan(found.error).all():
        columns[f"standard error of {name}"] = found.error
    return columns


def write_columns(path: str | os.PathLike[str], columns: Mapping[str, Array]) -> None:
    """Write a table as CSV: a line of names, then the numbers in eight digits, or words.

    A name or word that begins with one of ``= + - @`` or a tab is a formula to a spreadsheet: it
    gets ``'`` before it, which spreadsheets do not show.

    Parameters
    ----------
    path : path
    columns : mapping of str to ndarray, shape [n_rows]
        By the name, with its unit, that heads the column.
    """

    def words(texts: Iterable[str]) -> list[str]:
        return [f"'{text}" if text.startswith(_FORMULA) else text for text in texts]

    cells = (
        words(values) if values.dtype.kind == "U" else np.char.mod("%.8g", values)
        for values in columns.values()
    )
    with io.replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(words(columns))
        writer.writerows(zip(*cells, strict=True))


def band_weights(wavenumber: Array, low: Any = 0.0, high: Any = None) -> Array:
    """Return weights [n_frequencies] in cm⁻¹ whose sum with a spectrum is its integral over a band.

    Parameters
    ----------
    wavenumber : ndarray, shape [n_frequencies]
        Equidistant, in cm⁻¹.
    low, high : float, str or pint.Quantity
        Limits of the band in cm⁻¹, anywhere between grid points; the whole spectrum by default.

    Raises
    ------
    SpectrumError
        If the limits are in the wrong order.

    Notes
    -----
    The integral of straight lines between the grid points: right to second order, and the integrals
    of neighbouring bands sum to that of both. On the whole grid of a discrete transform it is the
    trapezoidal rule, which is exact.
    """
    low = units.magnitude(low, units.WAVENUMBER, "low")
    high = np.inf if high is None else units.magnitude(high, units.WAVENUMBER, "high")
    if not low < high:
        raise SpectrumError(
            f"a band from {low:g} to {high:g} cm⁻¹: the first limit must be the lower one"
        )
    spacing = wavenumber[1] - wavenumber[0]
    weights = np.zeros(len(wavenumber))
    # where the limits lie in each interval between grid points, 0 to 1
    below, above = (np.clip((limit - wavenumber[:-1]) / spacing, 0.0, 1.0) for limit in (low, high))
    # ∫ (1 − x) dx and ∫ x dx between them belong to its left and to its right end
    right = 0.5 * spacing * (above**2 - below**2)
    weights[:-1] += spacing * (above - below) - right
    weights[1:] += right
    return weights


def group_index(groups: Sequence[str], name: str) -> int:
    """Return the number of a group.

    Raises
    ------
    SpectrumError
        If there is no such group; lists those that there are.
    """
    if name not in groups:
        more = f" and {len(groups) - 20} others" if len(groups) > 20 else ""
        raise SpectrumError(
            f"there is no group {name!r}; the groups are {', '.join(groups[:20])}{more}"
        )
    return groups.index(name)


def pairs(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of both names of each auto and cross term: autos first, then each pair
    once.
    """
    first, second = np.triu_indices(n, 1)
    return np.concatenate([np.arange(n), first]), np.concatenate([np.arange(n), second])


def pair_numbers(n: int) -> NDArray[np.int64]:
    """Return where the term of each two of n names stands in the order of `pairs` [n, n]."""
    first, second = pairs(n)
    places = np.empty((n, n), dtype=np.int64)
    places[first, second] = places[second, first] = np.arange(len(first))
    return places


def pair_columns(correlation: Array) -> Array:
    """Return auto terms and whole cross terms (both orders) [n_lags, n_pairs] of [n_lags, n, n]."""
    first, second = pairs(correlation.shape[1])
    found = correlation[:, first, second]
    found[:, correlation.shape[1] :] += correlation[:, second, first][:, correlation.shape[1] :]
    return found


def all_pairs(groups: Sequence[str]) -> list[tuple[str, str]]:
    """Return the names of every auto and cross term once, in the order of `pairs`."""
    return [(groups[a], groups[b]) for a, b in zip(*pairs(len(groups)), strict=True)]


def pair_index(groups: Sequence[str], first: str, second: str) -> int:
    """Return where in `all_pairs` the term of two groups stands, in either order.

    Raises
    ------
    SpectrumError
        If there is no such group.
    """
    place = group_index(groups, first), group_index(groups, second)
    return int(pair_numbers(len(groups))[place])
