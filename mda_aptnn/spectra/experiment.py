"""Measured spectra: read from two columns of text, CSV or JCAMP-DX, with unit and base known, and
held against a spectrum of a trajectory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io as streams
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.optimize import minimize_scalar

from mda_aptnn import units
from mda_aptnn.errors import FileFormatError, SpectrumError, UnitError
from mda_aptnn.figures import CONFIDENCE, WAVENUMBER_LABEL, draw_curve, drawing, plain
from mda_aptnn.spectra.comparison import Comparison, shift_and_cosine
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.quantities import QUANTITIES
from mda_aptnn.spectra.result import Measured, band_weights

Array = NDArray[np.float64]

DATA = Path(__file__).parent.parent / "data"
#: What a file holds if only its form means something.
ARBITRARY = "arbitrary"
#: Words of a header, in small letters, and what they mean; the first that is found counts. What
#: means nothing is refused.
_QUANTITIES = (
    (r"absorbance|optical density", "absorbance"),
    (r"\b(log|ln)\W?\d*\W*(transm|%?\s*t\b)", ""),
    (r"transmitt|transmission|%t\b|%\s*t\b", "transmittance"),
    (
        r"epsilon|molar.{0,3}absor|molar.{0,3}extinction|molar attenuation|\bl\W*mol\W*cm"
        r"|\bm\W*[1¹]\W*cm",
        "epsilon",
    ),
    (r"km\W*mol", "molar-absorption"),
    (r"\bn\W?alpha|n·α", "n-alpha"),
    (r"alpha|α|absorption coefficient", "alpha"),
    (r"dielectric.loss|imaginary permittivity", "dielectric-loss"),
    (r"conductivity", "conductivity"),
    (r"^k\b|extinction|absorption index", "k"),
    (r"arbitrary", ARBITRARY),
)
_BASES = (
    (r"base[ -]?10|decadic|log10|linear decadic", "10"),
    (r"base[ -]?e\b|napierian|neperian", "e"),
)
_X_UNITS = (
    (r"cm\W{0,2}-\W?1|1\W?/\W?cm|cm⁻¹|wavenumbers?\W*$", "1/cm"),
    (r"\bm\W{0,2}-\W?1|1\W?/\W?m\b|\bm⁻¹", "1/m"),
    (r"micro|(µm|μm|\bum)\b(?!\W?[-⁻])", "um"),
    (r"nano|\bnm\b(?!\W?[-⁻])", "nm"),
    (r"\bthz\b|terahertz", "THz"),
    (r"\bmev\b", "meV"),
)
#: A unit in brackets, or behind a slash; and a base, which may stand beside it.
_UNIT = re.compile(r"(?:^\w*|\s)/\s*(?P<behind>.+)$|[(\[](?P<inside>.+)[)\]]")
_BESIDE = re.compile(
    rf"[)\]]?[\s,;]*[(\[]?(?:linear )?(?:{'|'.join(words for words, _ in _BASES)})"
    r"[)\]]?[\s,;]*[(\[]?",
    re.I,
)
#: Quantities whose definition has a base; of the others with one, both are in use.
_DECADIC = ("absorbance", "epsilon")
_FEWEST = 5
#: Part of a band that may have no points.
_GAP = 0.25
#: Frequency scaling factors that are looked at.
_FACTORS = (0.85, 1.15)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A measured spectrum.

    Attributes
    ----------
    name : str
    wavenumber : ndarray, shape [n_points]
        In cm⁻¹, rising.
    values : ndarray, shape [n_points]
        In the unit and to the base of `mda_aptnn.spectra.quantities.QUANTITIES`. Transmittance has
        become absorbance.
    quantity : str
        A name of that table, or "arbitrary".
    path_length : float or None
        Of absorbance, in cm, if the file says it.
    notes : list of str
        What was found and done.
    """

    name: str
    wavenumber: Array
    values: Array
    quantity: str
    path_length: float | None = None
    notes: list[str] = dataclasses.field(default_factory=list)

    def at(self, wavenumber: Array) -> Array:
        """Return values between the points, and that of the nearest beyond them.

        Parameters
        ----------
        wavenumber : ndarray, shape [n]
            In cm⁻¹.

        Returns
        -------
        ndarray, shape [n]
        """
        inside = np.clip(wavenumber, self.wavenumber[0], self.wavenumber[-1])
        return np.asarray(PchipInterpolator(self.wavenumber, self.values)(inside), dtype=float)

    def check_band(self, low: float, high: float) -> None:
        """Refuse a band that is not measured, or has a gap of more than a quarter.

        Raises
        ------
        SpectrumError
        """
        first, last = float(self.wavenumber[0]), float(self.wavenumber[-1])
        if low < first or high > last:
            raise SpectrumError(
                f"{self.name} is measured from {first:.5g} to {last:.5g} cm⁻¹, and the band is "
                f"{low:g} to {high:g} cm⁻¹"
            )
        inside = self.wavenumber[(self.wavenumber > low) & (self.wavenumber < high)]
        points = np.concatenate([[low], inside, [high]])
        widest = int(np.diff(points).argmax())
        if np.diff(points)[widest] > _GAP * (high - low):
            raise SpectrumError(
                f"{self.name} has no point between {points[widest]:.5g} and "
                f"{points[widest + 1]:.5g} cm⁻¹, more than a quarter of the band from {low:g} to "
                f"{high:g} cm⁻¹"
            )


def read_experiment(
    path: str | os.PathLike[str],
    quantity: str | None = None,
    *,
    base: str | None = None,
    x_unit: str | None = None,
    otherwise: str | None = None,
) -> Experiment:
    """Read a measured spectrum from text in two columns, CSV or JCAMP-DX (by the package jcamp).

    Parameters
    ----------
    path : path
        Or the name of a bundled one, "water-hale-querry-1973".
    quantity : str, optional
        What the file holds, a name of `mda_aptnn.spectra.quantities.QUANTITIES` or "arbitrary"; by
        default what its header says.
    otherwise : str, optional
        The same where neither says it.
    base : {"e", "10"}, optional
        Of the logarithm, where the header does not say it.
    x_unit : str, optional
        Of the first column: "cm-1", "um", "nm", "THz"; by default what the header says.

    Returns
    -------
    Experiment

    Raises
    ------
    FileFormatError
        If the file is not understood, has too few points or one twice, says nothing of quantity,
        base or unit that is not given, or has a unit that the quantity has not.
    ImportError
        If jcamp is needed and not there.
    """
    path = Path(path)
    if not path.exists():
        bundled = DATA / f"{path.name}.csv"
        if not bundled.exists():
            raise FileNotFoundError(f"there is no file {path}")
        path = bundled
    with open(path, "rb") as file:
        is_jcamp = file.read(200).lstrip().startswith(b"##")
    read = _read_jcamp if is_jcamp else _read_text
    x, y, x_said, head, path_length, notes = read(path)
    y_said = head.lower()
    if not quantity:
        quantity = _first(_QUANTITIES, y_said) or otherwise
    if not quantity:
        raise FileFormatError(
            f"{path} does not say what its second column is: give --quantity (one of "
            f"{', '.join(QUANTITIES)}), or compare it --scaled"
        )
    if quantity not in (*QUANTITIES, ARBITRARY):
        raise FileFormatError(
            f"no quantity {quantity!r}; choose one of {', '.join(QUANTITIES)}, {ARBITRARY}"
        )
    unit = x_unit or _first(_X_UNITS, x_said)
    if unit is None:
        raise FileFormatError(
            f"{path} does not say the unit of its first column: give --x-unit, such as cm-1 or um"
        )
    x, y = _sorted(path, _wavenumbers(path, x, unit), y, notes)
    if unit != "1/cm" and x_unit is None:
        notes.append(f"wavelengths or frequencies in {unit} are made wavenumbers")
    y = _in_unit(path, y, quantity, head, notes)
    if quantity == "transmittance":
        if base:
            raise FileFormatError(f"{path} is a transmittance, which has no base: leave --base out")
        x, y, quantity = *_absorbance(path, x, y, "%" in y_said or "percent" in y_said, notes), _A
    else:
        y = _to_base(path, y, quantity, base or _first(_BASES, y_said), notes)
    if (y < 0).any():
        notes.append(f"{(y < 0).sum()} of {len(y)} values are negative, and kept")
    widest = int(np.diff(x).argmax())
    if np.diff(x)[widest] > 5 * np.median(np.diff(x)):
        notes.append(f"no point between {x[widest]:.5g} and {x[widest + 1]:.5g} cm⁻¹")
    return Experiment(path.stem, x, y, quantity, path_length, [f"{path.stem}: {n}" for n in notes])


_A = "absorbance"
_Columns = tuple[Array, Array, str, str, float | None, list[str]]


def _first(words: Sequence[tuple[str, str]], text: str) -> str | None:
    """What a header says, by the first of the patterns that it has."""
    return next((meaning for pattern, meaning in words if re.search(pattern, text)), None)


def _read_text(path: Path) -> _Columns:
    """Columns of text, and the words above them; lines that begin with # are comments."""
    rows: list[tuple[float, float]] = []
    header, notes, missing, more = [""], [], 0, 0
    text = path.read_bytes().decode("utf-8-sig", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        comment, words = line.lstrip().startswith("#"), line.lstrip(" \t#")
        cells = _cells(words)
        if not cells or (rows and comment):
            continue
        values = [] if comment else [_number(cell) for cell in cells[:2]]
        if len(values) == 2 and None not in values:
            rows.append((values[0], values[1]))  # type: ignore[arg-type]
            more = max(more, len(cells) - 2)
        elif rows and values[0] is not None and not "".join(cells[1:2]).strip(" -?"):
            missing += 1
        elif rows:
            raise FileFormatError(f"{path}, line {number}: {line[:60]!r} are not two numbers")
        else:
            # between blanks the first word is of the first column
            header = cells if re.search(r"[;\t,]", words) else words.split(maxsplit=1)
    if len(rows) < _FEWEST:
        raise FileFormatError(f"{path} has {len(rows)} rows of two numbers; a spectrum has more")
    x, y = np.array(rows).T
    known = np.isfinite(x) & np.isfinite(y)
    if missing := missing + int((~known).sum()):
        notes.append(f"{missing} rows without a value are left out")
    if more > 0:
        notes.append(f"only the first two of {more + 2} columns are read")
    # a header without columns is about both
    said = [cell.strip(' #"') for cell in header]
    return x[known], y[known], said[0].lower(), said[:2][-1], None, notes


def _cells(line: str) -> list[str]:
    """The cells of a line between semicolons, tabs, commas or spaces; commas may be decimal."""
    line = line.strip()
    if re.search(r"[;\t]", line):
        return [re.sub(r"(?<=\d),(?=\d)", ".", cell) for cell in re.split(r"[;\t]", line)]
    cells = line.split(",")
    if len(cells) == 1 or (len(cells) > 2 and re.fullmatch(r"[-+\d,.eE]+\s+[-+\d,.eE]+", line)):
        cells = [cell.replace(",", ".") for cell in line.split()]
    return cells


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read_jcamp(path: Path) -> _Columns:
    """A file of JCAMP-DX, by the package jcamp, which prints where others raise."""
    try:
        import jcamp
    except ImportError as error:
        raise ImportError("JCAMP-DX needs jcamp: pip install 'mda-aptnn[jcamp]'") from error
    said = streams.StringIO()
    try:
        with open(path, "rb") as file, contextlib.redirect_stdout(said):
            found = jcamp.read(file)
    except Exception as error:
        # a parser of a format with many dialects meets a file of unknown content
        text = " ".join(str(error).split())[:100] or type(error).__name__
        raise FileFormatError(f"{path}: jcamp cannot read it: {text}") from error
    if found.get("children"):
        raise FileFormatError(f"{path} has {len(found['children'])} spectra; keep one of them")
    x, y = (np.asarray(found.get(name, ()), dtype=float) for name in "xy")
    if said.getvalue() or len(x) != len(y) or len(y) < _FEWEST:
        contradiction = said.getvalue().split("\n")[0] or f"{len(x)} wavenumbers, {len(y)} values"
        raise FileFormatError(f"{path}: its numbers do not fit its header: {contradiction}")
    notes, length = [], None
    given = str(found.get("path length", found.get("pathlength", ""))).strip()
    if given:
        try:
            # a bare number would be taken to be in cm
            unit = given if _number(given) is None else "no unit"
            length = float(units.magnitude(unit.lower(), "cm", "PATH LENGTH"))
            notes.append(f"path length {given}")
        except UnitError:
            notes.append(f"its path length {given!r} is not understood: a number and a unit are")
    known = np.isfinite(y)
    x_said, y_said = (str(found.get(name, "")) for name in ("xunits", "yunits"))
    return x[known], y[known], x_said.lower(), y_said, length, notes


def _in_unit(path: Path, y: Array, quantity: str, head: str, notes: list[str]) -> Array:
    """Values in the unit that the table of quantities has, from that behind the name in a head."""
    [words] = [words for words, meaning in _QUANTITIES if meaning == quantity]
    word = re.search(words, head, re.I)
    # without the name, what a heading begins with may be the unit of the first column
    text = head[word.end() :] if word else head.lstrip("([/")
    found = _UNIT.search(text)
    if quantity == ARBITRARY or found is None:
        return y
    parts = _BESIDE.split(found["behind"] or found["inside"])
    said = next((part.strip() for part in parts if part.strip()), "")
    own = QUANTITIES[quantity].unit
    factors = {}
    for unit in {kind.unit for kind in QUANTITIES.values() if said and kind.unit}:
        with contextlib.suppress(UnitError):
            factors[unit] = units.factor(said, unit)
    # of what has no unit, remarks such as "a.u." may stand there
    if not said or (not own and not factors):
        return y
    if own not in factors:
        unit = f"which is in {own}" if own else "which has no unit"
        raise FileFormatError(
            f"{path}: its second column is in {said!r}, and that is no unit of {quantity}, {unit}: "
            "correct the heading, or --quantity"
        )
    if not math.isclose(factors[own], 1.0):
        notes.append(f"{quantity} in {said} is made {own}")
    return y * factors[own]


def _wavenumbers(path: Path, x: Array, unit: str) -> Array:
    """Wavenumbers in cm⁻¹, of wavelengths, frequencies or energies too."""
    try:
        per_cm = units.factor(unit, "cm")
    except UnitError:
        found = x * float(units.magnitude(f"1 {unit}", units.WAVENUMBER, "unit of the spectrum"))
    else:
        if not (x > 0).all():
            raise FileFormatError(f"{path}: wavelengths must be positive")
        found = 1 / (x * per_cm)
    if not (found >= 0).all():
        raise FileFormatError(f"{path}: wavenumbers are negative, down to {found.min():.5g} cm⁻¹")
    return np.asarray(found)


def _sorted(path: Path, x: Array, y: Array, notes: list[str]) -> tuple[Array, Array]:
    """Both by rising wavenumber."""
    order = np.argsort(x, kind="stable")
    if (np.diff(order) < 0).any():
        reversed_axis = (np.diff(order) < 0).all()
        notes.append("axis reversed" if reversed_axis else "points sorted by wavenumber")
    x, y = x[order], y[order]
    if (same := np.flatnonzero(np.diff(x) == 0)).size:
        raise FileFormatError(f"{path}: the point at {x[same[0]]:.6g} cm⁻¹ comes twice")
    return x, y


def _absorbance(
    path: Path, x: Array, y: Array, percent: bool, notes: list[str]
) -> tuple[Array, Array]:
    """−log₁₀ of a transmittance, that may be in percent."""
    if percent or y.max() > 1.5:
        y = y / 100
        notes.append("percent transmittance is made absorbance")
    else:
        notes.append("transmittance is made absorbance")
    dark = y <= 0
    if dark.any():
        notes.append(f"{dark.sum()} points that let nothing through are left out")
    if (~dark).sum() < _FEWEST or y.max() > 1.5:
        raise FileFormatError(f"{path}: {y.min():.3g} to {y.max():.3g} is no transmittance")
    return x[~dark], -np.log10(y[~dark])


def _to_base(path: Path, y: Array, quantity: str, base: str | None, notes: list[str]) -> Array:
    """Values to the base that the table of quantities has."""
    needed = "" if quantity == ARBITRARY else QUANTITIES[quantity].base
    if not needed:
        return y
    if base is None:
        if quantity not in _DECADIC:
            raise FileFormatError(
                f"{path} does not say whether {quantity} is to base e or to base 10: give --base"
            )
        base = "10"
        notes.append(f"base 10, as {quantity} is defined")
    if base == needed:
        return y
    notes.append(f"{quantity} to base {base} is made base {needed}")
    return y * (math.log(10) if needed == "e" else 1 / math.log(10))


@dataclasses.dataclass(frozen=True)
class ComparisonWithExperiment:
    """A spectrum of a trajectory beside a measured one.

    Attributes
    ----------
    spectrum : Spectrum
        Shown as what was measured.
    experiment : Experiment
    bands : list of Comparison
        In each band the measured spectrum beside that of the trajectory, after both factors below.
    scale : Measured or None
        What the heights of the trajectory's are multiplied with, by least squares over all bands;
        None where they are absolute.
    frequency_factor : Measured or None
        What its wavenumbers are multiplied with; None where they are as computed.
    """

    spectrum: Spectrum
    experiment: Experiment
    bands: list[Comparison]
    scale: Measured | None
    frequency_factor: Measured | None

    @property
    def _same(self) -> bool:
        """Whether the spectrum is shown as what was measured, and not only of the same form."""
        return self.spectrum.shown.quantity == self.experiment.quantity

    @property
    def factors(self) -> list[str]:
        """What was done to heights and wavenumbers."""
        heights = "heights absolute" if self.scale is None else f"heights × {self.scale}"
        factor = self.frequency_factor
        place = "as computed" if factor is None else f"× {factor}, fitted"
        return [heights, f"wavenumbers {place}"]

    def __str__(self) -> str:
        shown = self.spectrum.shown
        what = str(shown) if self._same else f"{self.experiment.quantity} beside {shown.heading}"
        what = ARBITRARY if self.experiment.quantity == ARBITRARY else what
        lines = [f"{self.experiment.name}, {what}", f"spectrum: {', '.join(self.factors)}"]
        return "\n".join([*lines, *map(str, self.bands), *self.experiment.notes])

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Any = None) -> Any:
        """Draw both in the measured range, bands shaded.

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
        scale = 1.0 if self.scale is None else self.scale.value
        factor = 1.0 if self.frequency_factor is None else self.frequency_factor.value
        curve = self.spectrum.curve()
        scaled = {name: scale * getattr(curve, name) for name in ("value", "error", "model_error")}
        grid, x = factor * self.spectrum.wavenumber.magnitude, self.experiment.wavenumber
        # beyond the measured range a higher band would set the scale
        seen = (grid >= x[0]) & (grid <= x[-1])
        scaled = {name: values[seen] for name, values in scaled.items()}
        with drawing(path, ax) as ax:
            shown = dataclasses.replace(curve, **scaled)
            draw_curve(ax, grid[seen], shown, label="trajectory", band_label=CONFIDENCE)
            name = plain(self.experiment.name)
            dots = {"marker": "."} if len(x) < 200 else {}
            ax.plot(x, self.experiment.values, color="black", linewidth=1.0, label=name, **dots)
            for band in self.bands:
                ax.axvspan(band.low, band.high, color="0.5", alpha=0.08, linewidth=0)
            ax.legend(frameon=False, fontsize="small")
            title = ", ".join([self.spectrum._title(), *self.factors])
            ax.set_title(title, fontsize="small")
            name = self.experiment.quantity
            measured = f"{name} unit" if name == ARBITRARY else f"{name}, its scale not known"
            ax.set(xlim=(x[0], x[-1]), xlabel=WAVENUMBER_LABEL)
            ax.set_ylabel(self.spectrum.label if self._same else f"measured, {measured}")
        return ax


def compare_with_experiment(
    spectrum: Spectrum,
    experiment: Experiment,
    bands: Sequence[tuple[float, float]],
    *,
    scaled: bool = False,
    fit_frequency: bool = False,
    **how: Any,
) -> ComparisonWithExperiment:
    """Compare the total of a spectrum with a measured one.

    Parameters
    ----------
    spectrum : Spectrum
    experiment : Experiment
        See `read_experiment`.
    bands : sequence of (low, high)
        In cm⁻¹.
    scaled : bool
        Multiply heights with one factor, by least squares over all bands: for arbitrary units, or
        an absorbance whose path is not known.
    fit_frequency : bool
        Multiply wavenumbers with one factor, which brings the forms of all bands nearest.
    **how
        What the quantity needs, of `Spectrum.to`: molecules, path_length, epsilon_infinity,
        refractive_index.

    Returns
    -------
    ComparisonWithExperiment

    Raises
    ------
    SpectrumError
        If a band is not in both, the quantity cannot be made of the spectrum, heights are not
        absolute and not to be scaled, or no frequency factor from 0.85 to 1.15 fits.

    Notes
    -----
    Statistical errors are those of the spectrum, from leaving out one segment after the other with
    both factors fitted anew; the measured one has none. It is not broadened to the spectrum's
    resolution.
    """
    spectrum = _shown_as_measured(spectrum, experiment, scaled, how)
    grid, inside, weights = spectrum.wavenumber.magnitude, [], []
    for low, high in bands:
        experiment.check_band(low, high)
        within = (grid >= low) & (grid <= high)
        if within.sum() < _FEWEST or high > grid[-1]:
            raise SpectrumError(
                f"{low:g} to {high:g} cm⁻¹ is not a band of the spectrum, which ends at "
                f"{grid[-1]:.0f} cm⁻¹ and has points {grid[1]:.3g} cm⁻¹ apart"
            )
        inside.append(within)
        weights.append(band_weights(grid, low, high))
    measured = experiment.at(grid)
    resolution = float(spectrum.resolution.magnitude) or grid[1]
    start = 1.0
    if fit_frequency:
        whole = spectrum.curve().value
        step = 0.5 * resolution / max(high for _, high in bands)
        trials = np.arange(_FACTORS[0], _FACTORS[1] + step, step)
        misfits = [_misfit(grid, whole, measured, inside, trial) for trial in trials]
        best = int(np.argmin(misfits))
        if best in (0, len(trials) - 1):
            raise SpectrumError(
                "no frequency factor from {} to {} brings the bands together; give other bands, or "
                "leave the factor out".format(*_FACTORS)
            )
        start = float(trials[best])

    def moved(section: Array) -> tuple[float, float, Array]:
        curve, factor = spectrum.as_shown(section, section), 1.0
        if fit_frequency:
            found = minimize_scalar(
                lambda trial: _misfit(grid, curve, measured, inside, trial),
                bounds=(start - 2 * step, start + 2 * step),
                method="bounded",
                options={"xatol": 1e-7},
            )
            factor = float(found.x)
            curve = _stretched(grid, curve, factor)
        chosen = np.any(inside, axis=0)
        one = curve[chosen]
        scale = float(measured[chosen] @ one / (one @ one)) if scaled else 1.0
        return factor, scale, scale * curve

    def estimate(section: Array) -> Array:
        factor, scale, curve = moved(section)
        rows: list[Any] = [[factor, scale, 0.0]]
        for within, weight in zip(inside, weights, strict=True):
            intensity = (measured @ weight) / (curve @ weight)
            found = shift_and_cosine(grid, within, curve, measured, resolution)
            rows.append([intensity, *found])
        return np.array(rows)

    def left(section: Array) -> Array:
        # scale and shift, which are fitted, take their part of the noise
        curve, rows = moved(section)[2], []
        for within, basis in zip(inside, fitted, strict=True):
            rows.append(curve[within] - basis @ (curve[within] @ basis))
        return np.concatenate(rows)

    total: Any = {"of": lambda values: values.sum(axis=1)}
    found = spectrum.measure(estimate, **total)
    curve = moved(spectrum.values.sum(axis=1))[2]
    fitted = [
        np.linalg.qr(np.stack([curve[within], np.gradient(curve)[within]], axis=1))[0]
        for within in inside
    ]
    noise = spectrum.measure(left, **total).error
    ends = np.cumsum([within.sum() for within in inside])[:-1]

    def number(row: int, column: int, unit: str = "", positive: bool = False) -> Measured:
        value, error, model = (
            float(part[row, column]) for part in (found.value, found.error, found.model_error)
        )
        return Measured(value, error, unit, found.degrees_of_freedom, positive, model)

    return ComparisonWithExperiment(
        spectrum,
        experiment,
        [
            Comparison(
                number(row, 0, positive=True),
                number(row, 1, units.WAVENUMBER),
                number(row, 2),
                float(0.5 * np.square(part).sum() / (curve[within] ** 2).sum()),
                *map(float, limits),
            )
            for row, (limits, within, part) in enumerate(
                zip(bands, inside, np.split(noise, ends), strict=True), 1
            )
        ],
        number(0, 1, positive=True) if scaled else None,
        number(0, 0, positive=True) if fit_frequency else None,
    )


def _shown_as_measured(
    spectrum: Spectrum, experiment: Experiment, scaled: bool, how: dict[str, Any]
) -> Spectrum:
    """The spectrum in the quantity of the experiment."""
    name, length = experiment.quantity, how.pop("path_length", None)
    if length is not None and name != _A:
        raise SpectrumError(f"a path length is of an absorbance, and {experiment.name} is {name}")
    if name == ARBITRARY:
        if not scaled:
            raise SpectrumError(
                f"{experiment.name} is in arbitrary units: compare it scaled (scaled=True, "
                "--scaled)"
            )
        if given := [setting for setting, value in how.items() if value is not None]:
            raise SpectrumError(
                f"{experiment.name} is in arbitrary units, which have no {', '.join(given)}: leave "
                "that out"
            )
        if not spectrum.shown.is_additive:
            raise SpectrumError(
                f"the spectrum is shown as transmittance: show absorbance, or n-alpha, beside "
                f"{experiment.name}"
            )
        return spectrum
    length = experiment.path_length if length is None else length
    if QUANTITIES[name].needs_path and length is None:
        if not scaled:
            raise SpectrumError(
                f"{experiment.name} is an absorbance whose path length is not known: give it "
                "(path_length=, --path-length), or compare it scaled (scaled=True, --scaled)"
            )
        # the form is that of α
        name = "alpha"
    shown = spectrum.to(name, path_length=length if name == _A else None, **how)
    if shown.shown.is_times_n and not scaled:
        raise SpectrumError(
            f"{experiment.name} has {experiment.quantity}, and the spectrum gives n times it: give "
            "epsilon_infinity (--epsilon-infinity, n² of visible light) or refractive_index "
            "(--refractive-index), or compare scaled"
        )
    return shown


def _stretched(grid: Array, curve: Array, factor: float) -> Array:
    """A curve whose wavenumbers are multiplied with a factor, on the same grid."""
    return np.asarray(CubicSpline(grid, curve)(np.minimum(grid / factor, grid[-1])))


def _misfit(
    grid: Array, curve: Array, measured: Array, inside: Sequence[NDArray[np.bool_]], factor: float
) -> float:
    """Sum over bands of the squares of the sines of the angle between both."""
    moved, misfit = _stretched(grid, curve, factor), 0.0
    for within in inside:
        one, other = moved[within], measured[within]
        misfit += 1 - float((one @ other) ** 2 / ((one @ one) * (other @ other)))
    return misfit
