"""Bands of an infrared spectrum fitted by profiles: position, width, height, area with errors."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.figures import CONFIDENCE, WAVENUMBER_LABEL, draw_curve, drawing
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.quantities import PER_CM
from mda_aptnn.spectra.result import Measured, error_columns, write_columns
from mda_aptnn.text import table, with_error

Array = NDArray[np.float64]

#: Full width at half maximum of a Gaussian over its deviation.
_FWHM = 2 * np.sqrt(2 * np.log(2))
#: Smallest width of a part of a profile, in resolutions, and grid points of a band.
_NARROWEST, _FEWEST = 0.02, 8
#: Where a profile is looked at for its maximum and half heights, in widths.
_REACH = np.linspace(-2.0, 2.0, 4001)
#: What a height times cm⁻¹ is, where that has a simpler name.
_AREAS = {PER_CM: r"cm$^{-2}$", r"km mol$^{-1}$ cm": r"km mol$^{-1}$"}
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _voigt(x: Array, position: float, gauss: float, lorentz: float) -> Array:
    return np.asarray(scipy.special.voigt_profile(x - position, gauss / _FWHM, lorentz / 2))


def _brendel(x: Array, position: float, gauss: float, lorentz: float) -> Array:
    """n·α of damped oscillators whose frequencies have a Gaussian distribution."""
    root, width = np.sqrt(x * (x + 1j * lorentz)), np.sqrt(2) * gauss / _FWHM
    both = sum(scipy.special.wofz((root + sign * position) / width) for sign in (-1, 1))
    ratio = np.divide(x, root, out=np.zeros_like(root), where=x > 0)
    return np.asarray((ratio * both).real / (np.sqrt(np.pi) * width))


#: Profiles of unit area, of position and of the full widths at half maximum of their Gaussian and
#: Lorentzian part; and which of the two widths they have.
PROFILES: dict[str, tuple[Callable[[Array, float, float, float], Array], tuple[bool, bool]]] = {
    "gaussian": (lambda x, at, gauss, lorentz: _voigt(x, at, gauss, 0.0), (True, False)),
    "lorentzian": (lambda x, at, gauss, lorentz: _voigt(x, at, 0.0, lorentz), (False, True)),
    "voigt": (_voigt, (True, True)),
    "brendel": (_brendel, (True, True)),
}


@dataclasses.dataclass(frozen=True)
class Band:
    """A fitted band.

    Attributes
    ----------
    term : str
        "total", or a term's name.
    position : Measured
        Of its maximum, in cm⁻¹.
    width : Measured
        Full width at half maximum in cm⁻¹, the resolution of the spectrum in it.
    height, area : Measured
        Above the baseline, as the spectrum is shown; the area is of the whole profile.
    parameters : ndarray, shape [3]
        Position and both widths of the profile.
    """

    term: str
    position: Measured
    width: Measured
    height: Measured
    area: Measured
    parameters: Array


#: Columns of a table of bands.
_NUMBERS = ("position", "width", "height", "area")


@dataclasses.dataclass(frozen=True)
class BandTable:
    """Fitted bands of a spectrum, and the integrals of the ranges that they are in.

    Attributes
    ----------
    spectrum : Spectrum
    profile : str
        One of `PROFILES`.
    bands : list of Band
    integrals : dict of (float, float) to Measured
        Of the total over each range, baseline included, in km/mol.
    molecule : str
        What the integrals are per mole of.
    lines : dict of (float, float) to ndarray, shape [2]
        Baseline of the total at both ends of each range.
    notes : list of str
    """

    spectrum: Spectrum
    profile: str
    bands: list[Band]
    integrals: dict[tuple[float, float], Measured]
    molecule: str
    lines: dict[tuple[float, float], Array]
    notes: list[str]

    @property
    def heads(self) -> dict[str, str]:
        """Units of the columns, by their names."""
        shown = {name: getattr(self.bands[0], name).unit for name in _NUMBERS}
        return {name: f"{units.ureg.Unit(unit):~P}" for name, unit in shown.items()}

    def __str__(self) -> str:
        rows = {
            f"{number} {band.term}": {
                f"{name} / {unit}" if unit else name: with_error(getattr(band, name))
                for name, unit in self.heads.items()
            }
            for number, band in enumerate(self.bands, 1)
        }
        lines = [f"{self.profile} bands of {self.spectrum.shown.heading}", *table(rows)]
        for (low, high), found in self.integrals.items():
            lines.append(
                f"integral of the total, {low:g} to {high:g} cm⁻¹: {with_error(found)} km/mol per "
                f"{self.molecule}"
            )
        return "\n".join([*lines, *self.notes])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a row for each band, with errors in columns of their own.

        Parameters
        ----------
        path : path
        """
        columns: dict[str, Any] = {"term": np.array([band.term for band in self.bands])}
        for name, unit in self.heads.items():
            found = [getattr(band, name) for band in self.bands]
            value, error, model = (
                np.array([getattr(one, part) for one in found], dtype=float)
                for part in ("value", "error", "model_error")
            )
            head = f"{name} [{unit}]" if unit else name
            columns |= error_columns(head, Measured(value, error))
            if not np.isnan(model).all():
                columns[f"error of the model, {head}"] = model
        write_columns(path, columns)

    def to_latex(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the table for LaTeX, which needs no package, and write it if there is a path.

        Parameters
        ----------
        path : path, optional

        Returns
        -------
        str
        """
        height = self.spectrum.shown.kind.label
        area = _AREAS.get(height, f"{height} {PER_CM}".lstrip())
        shown = dict(zip(_NUMBERS, (PER_CM, PER_CM, height, area), strict=True))
        heads = [f"{name} / {unit}" if unit else name for name, unit in shown.items()]
        rows = [" & ".join(["term", *heads])]
        for band in self.bands:
            numbers = [with_error(getattr(band, name), r" \pm ") for name in _NUMBERS]
            rows.append(" & ".join([_latex(band.term), *(f"${number}$" for number in numbers)]))
        rows = [f"{row} \\\\" for row in rows]
        about = _latex(f"{self.profile} bands of {self.spectrum.shown.heading}")
        text = "\n".join(
            [
                f"% {about}",
                r"\begin{tabular}{lrrrr}",
                r"\hline",
                rows[0],
                r"\hline",
                *rows[1:],
                r"\hline",
                r"\end{tabular}",
                "",
            ]
        )
        if path is not None:
            with io.replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return text

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Any = None) -> Any:
        """Draw the total with its 68 % band, the bands of the total, and their sum.

        Parameters
        ----------
        path : path, optional
            Written there instead of being left open for display.
        ax : matplotlib.axes.Axes, optional
            Drawn into; a new figure otherwise.

        Returns
        -------
        matplotlib.axes.Axes
        """
        low, high = min(a for a, _ in self.lines), max(b for _, b in self.lines)
        grid, curve = self.spectrum.wavenumber.magnitude, self.spectrum.curve()
        seen = (grid >= low) & (grid <= high)
        parts = {name: getattr(curve, name)[seen] for name in ("value", "error", "model_error")}
        with drawing(path, ax) as ax:
            shown = dataclasses.replace(curve, **parts)
            draw_curve(ax, grid[seen], shown, color="black", label="total", band_label=CONFIDENCE)
            for number, ((a, b), line) in enumerate(self.lines.items()):
                x = np.linspace(a, b, 1000)
                base = np.interp(x, [a, b], line)
                whole = base.copy()
                for band in self.bands:
                    if band.term == "total" and a <= band.position.value <= b:
                        profile = PROFILES[self.profile][0](x, *band.parameters)
                        whole += band.area.value * profile
                        ax.fill_between(x, base, base + band.area.value * profile, alpha=0.3)
                label = None if number else f"fit, {self.profile}"
                ax.plot(x, whole, "--", color="tab:red", linewidth=1.2, label=label)
                ax.plot(x, base, ":", color="0.5", linewidth=1.0)
            ax.legend(frameon=False, fontsize="small")
            ax.set_title(self.spectrum._title(), fontsize="medium")
            ax.set(xlim=(low, high), xlabel=WAVENUMBER_LABEL, ylabel=self.spectrum.label)
        return ax


def fit_bands(
    spectrum: Spectrum,
    ranges: Sequence[tuple[float, float]],
    profile: str = "voigt",
    *,
    at: Sequence[float] | None = None,
    terms: bool = False,
    baseline: bool = True,
    molecules: int | str | None = None,
) -> BandTable:
    """Fit bands of the total, and of its terms, in ranges of wavenumber.

    Parameters
    ----------
    spectrum : Spectrum
        Its curves are fitted as they are shown (`Spectrum.to`).
    ranges : sequence of (low, high)
        In cm⁻¹.
    profile : {"gaussian", "lorentzian", "voigt", "brendel"}
        Brendel's is n·α of damped oscillators with a Gaussian distribution of frequencies.
    at : sequence of float, optional
        Where bands are, in cm⁻¹; by default the maxima that stand out of the noise.
    terms : bool
        Fit every auto and cross term as well, from the places of the total's bands.
    baseline : bool
        Add a straight line in each range, for what other bands leave there.
    molecules : int or str, optional
        Of what the integrals are per mole, as in `Spectrum.to`; by default as `Spectrum.per` says.

    Returns
    -------
    BandTable

    Raises
    ------
    SpectrumError
        If a range is not in the spectrum or has no band, ranges overlap, a given band is in none,
        or a band of the total cannot be fitted.

    Notes
    -----
    Least squares over the range without weights; areas and baseline are solved for linearly.
    Errors are from fits to each replicate: one segment left out after the other, and each member of
    a committee. With Lorentzian, Voigt and Brendel much of an area lies far from the band, where
    only the profile says so: the integral over the range needs none. Brendel: R. Brendel, D.
    Bormann, J. Appl. Phys. 71, 1 (1992).
    """
    if profile not in PROFILES:
        raise SpectrumError(f"no profile {profile!r}; choose one of {', '.join(PROFILES)}")
    if not spectrum.shown.is_additive:
        raise SpectrumError("bands of a transmittance cannot be fitted; show absorbance")
    grid, found, notes = spectrum.wavenumber.magnitude, [], []
    known = [peak.position.value for peak in spectrum.peaks()] if at is None else list(at)
    for (low, high), (after, end) in itertools.pairwise(sorted(ranges)):
        if after < high:
            raise SpectrumError(
                f"{low:g} to {high:g} and {after:g} to {end:g} cm⁻¹ overlap, and a band in both "
                "would count twice; fit them apart, or as one range"
            )
    for place in at or ():
        if not any(low < place < high for low, high in ranges):
            raise SpectrumError(f"a band at {place:g} cm⁻¹ (at=, --at) is in none of the ranges")
    lines = {}
    names = spectrum.pairs() if terms and len(spectrum.groups) > 1 else []
    for low, high in ranges:
        inside = (grid >= low) & (grid <= high)
        if inside.sum() < _FEWEST or high > grid[-1] or low < 0:
            raise SpectrumError(
                f"{low:g} to {high:g} cm⁻¹ is not a range of the spectrum, which goes to "
                f"{grid[-1]:.0f} cm⁻¹ with points {grid[1]:.3g} cm⁻¹ apart"
            )
        places = [place for place in known if low < place < high]
        if not places:
            raise SpectrumError(
                f"no band from {low:g} to {high:g} cm⁻¹ stands out of the noise; say where one is "
                "(at=, --at)"
            )
        fit = _Fit(grid[inside], profile, low, high, float(spectrum.resolution.magnitude), baseline)
        start = fit.start(places)
        for names_of_term in [(), *names]:
            term = " x ".join(dict.fromkeys(names_of_term)) or "total"
            try:
                bands, parameters, line = _bands_of(spectrum, names_of_term, term, fit, start)
            except SpectrumError as error:
                if not names_of_term:
                    raise
                notes.append(str(error))
                continue
            found += bands
            if not names_of_term:
                start, lines[low, high] = parameters, line
    name, count = spectrum.per() if molecules is None else spectrum.molecules(molecules)
    integrals = {(low, high): spectrum.band(low, high, n_molecules=count) for low, high in ranges}
    return BandTable(spectrum, profile, found, integrals, name, lines, notes)


def _bands_of(
    spectrum: Spectrum, names: tuple[str, ...], term: str, fit: _Fit, start: Array
) -> tuple[list[Band], Array, Array]:
    """Bands of a term in one range, the parameters of their profiles, and the baseline's ends."""
    column = spectrum.pair_index(*names) if names else None
    inside = np.isin(spectrum.wavenumber.magnitude, fit.x)

    def rows(values: Array) -> Array:
        total = values.sum(axis=1)
        return np.array([total if column is None else values[:, column], total])

    def shown(both: Array) -> Array:
        return spectrum.as_shown(both[0], both[1])[inside]

    parameters = fit.solve(shown(rows(spectrum.values)), start)
    fit.check(shown(rows(spectrum.values)), parameters, term, positive=column is None)

    def numbers(both: Array) -> Array:
        curve = shown(both)
        return fit.numbers(curve, fit.solve(curve, parameters))

    found = spectrum.measure(
        numbers,
        of=rows,
        like=lambda both: np.where([False, False, True, True], numbers(both), 1.0),
    )
    unit = units.ureg.Unit(spectrum.unit)
    area = str(unit * units.ureg.Unit(units.WAVENUMBER))
    own = (units.WAVENUMBER, units.WAVENUMBER, spectrum.unit, area)
    bands = []
    rows_of = zip(found.value, found.error, found.model_error, strict=True)
    for place, row in zip(np.exp(parameters).reshape(-1, 3), rows_of, strict=True):
        four = {
            name: Measured(value, error, unit, found.degrees_of_freedom, model_error=model)
            for name, unit, value, error, model in zip(_NUMBERS, own, *row, strict=True)
        }
        bands.append(Band(term, **four, parameters=place))
    return bands, parameters, fit.line(shown(rows(spectrum.values)), parameters)


@dataclasses.dataclass(frozen=True)
class _Fit:
    """A range of wavenumbers and the profile of its bands.

    Parameters of a band are the logarithms of its position and of both widths.
    """

    x: Array
    profile: str
    low: float
    high: float
    resolution: float
    baseline: bool

    @property
    def narrowest(self) -> float:
        """The smallest width of a part of a profile."""
        return _NARROWEST * max(self.resolution, float(self.x[1] - self.x[0]))

    def start(self, places: Sequence[float]) -> Array:
        """Parameters of bands at these places, as wide as they can be told apart."""
        ends = np.array([self.low, *sorted(places), self.high])
        width = min(0.5 * float(np.diff(ends).min()), 0.25 * (self.high - self.low))
        width = max(width, 2 * float(self.x[1] - self.x[0]), self.resolution)
        return np.log([[place, width / 2, width / 2] for place in sorted(places)]).ravel()

    def _matrix(self, parameters: Array) -> Array:
        """Profiles and baseline [n_points, n_bands + 2]."""
        function = PROFILES[self.profile][0]
        columns = [function(self.x, *one) for one in np.exp(parameters).reshape(-1, 3)]
        if self.baseline:
            part = (self.x - self.low) / (self.high - self.low)
            columns += [1 - part, part]
        return np.stack(columns, axis=1)

    def _linear(self, curve: Array, parameters: Array) -> tuple[Array, Array]:
        """Areas and baseline by least squares, and what is left."""
        matrix = self._matrix(parameters)
        scale = np.abs(matrix).max(axis=0)
        found, *_ = np.linalg.lstsq(matrix / scale, curve, rcond=None)
        return found / scale, (matrix / scale) @ found - curve

    def solve(self, curve: Array, start: Array) -> Array:
        """Parameters that come nearest to a curve [n_points]."""
        size = np.abs(curve).max() or 1.0
        n = len(start) // 3
        free = np.tile([True, *PROFILES[self.profile][1]], n)
        width = self.high - self.low
        lowest = np.tile(np.log([max(self.low, self.narrowest), *[self.narrowest] * 2]), n)
        highest = np.tile(np.log([self.high, 4 * width, 4 * width]), n)
        inside = np.clip(start, lowest + 1e-9, highest - 1e-9)

        def left(values: Array) -> Array:
            parameters = inside.copy()
            parameters[free] = values
            return self._linear(curve / size, parameters)[1]

        found = scipy.optimize.least_squares(
            left,
            inside[free],
            bounds=(lowest[free], highest[free]),
            x_scale=np.tile([width / self.high, 1.0, 1.0], n)[free],
            xtol=1e-10,
            ftol=1e-12,
        )
        solved = inside.copy()
        solved[free] = found.x
        return solved

    def numbers(self, curve: Array, parameters: Array) -> Array:
        """Position, width, height and area of each band [n_bands, 4]."""
        areas, _ = self._linear(curve, parameters)
        function, (gauss, lorentz) = PROFILES[self.profile]
        rows = []
        for area, one in zip(areas, np.exp(parameters).reshape(-1, 3), strict=False):
            reach = one[1] * gauss + one[2] * lorentz
            x = one[0] + reach * _REACH
            values = function(np.maximum(x, 0.0), *one)
            top = int(values.argmax())
            above = np.flatnonzero(values >= 0.5 * values[top])
            left, right = (
                np.interp(0.5 * values[top], values[ends], x[ends])
                for ends in ([above[0] - 1, above[0]], [above[-1] + 1, above[-1]])
            )
            before, highest, after = values[top - 1 : top + 2]
            shift = 0.5 * (before - after) / (before - 2 * highest + after) * (x[1] - x[0])
            rows.append([x[top] + shift, right - left, area * highest, area])
        return np.array(rows)

    def line(self, curve: Array, parameters: Array) -> Array:
        """The baseline at both ends of the range."""
        return self._linear(curve, parameters)[0][-2:] if self.baseline else np.zeros(2)

    def check(self, curve: Array, parameters: Array, term: str, *, positive: bool) -> None:
        """Refuse bands that left the range, are wider than it, or negative where none can be.

        Raises
        ------
        SpectrumError
        """
        edge = 1e-3 * (self.high - self.low)
        for position, width, height, _ in self.numbers(curve, parameters):
            if not self.low + edge < position < self.high - edge:
                what = "its position runs out of the range"
            elif not width < self.high - self.low:
                what = "it becomes wider than the range"
            elif positive and not height > 0:
                what = "its height becomes negative"
            else:
                continue
            raise SpectrumError(
                f"{term}, {self.low:g} to {self.high:g} cm⁻¹: a {self.profile} band cannot be "
                f"fitted, as {what}; give another range or profile, or say where bands are "
                "(at=, --at)"
            )


def _latex(text: str) -> str:
    """Text as LaTeX sets it, letter by letter."""
    return re.sub(r"[\\~^&%$#_{}]", lambda match: _LATEX.get(match[0], f"\\{match[0]}"), text)
