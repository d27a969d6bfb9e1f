"""One HTML file that tells a run: spectrum, decomposition, checks, provenance; no network is needed
to read it.
"""

from __future__ import annotations

import base64
import contextlib
import html
import os
import string
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from mda_aptnn import io, units
from mda_aptnn.checks import Checks, Verdict
from mda_aptnn.errors import SpectrumError
from mda_aptnn.figures import new_figure
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.checks import check_spectrum
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.spatial import DistanceSpectrum
from mda_aptnn.spectra.spectrogram import spectrogram
from mda_aptnn.spectra.term_plots import BANDS, plot_matrix
from mda_aptnn.text import with_error

#: Groups whose terms can be told apart in a stacked picture, and in a matrix.
_STACKED, _MATRIX = 5, 200
#: Spectrograms are at least so coarse, in cm⁻¹, and have at most so many windows.
_COARSE, _WINDOWS = 50.0, 400
#: Section and size of each picture.
_PICTURES: dict[str, tuple[str, tuple[float, float]]] = {
    "spectrum": ("Spectrum", (9.0, 4.6)),
    "short": ("Spectrum", (9.0, 4.6)),
    "stacked": ("Decomposition", (9.0, 4.8)),
    "matrix": ("Decomposition", (11.0, 3.4)),
    "distances": ("By distance", (9.0, 8.0)),
    "moving": ("In time", (9.0, 6.0)),
    "temperatures": ("In time", (9.0, 2.6)),
}
_CAPTIONS = {
    "spectrum": "Infrared spectrum, the grey band holds the truth with 68 %.",
    "short": "Infrared spectrum, no error bars: too short.",
    "stacked": "Auto and cross terms (hatched); the total is the part above zero less that below.",
    "matrix": "Terms of each band; a whole cross term is in two places, half in each.",
    "distances": "Pairs of molecules by distance at the earlier time; shells sum to the total.",
    "moving": "The same through a window that moves: single windows scatter by 58 %.",
    "temperatures": "Kinetic temperature of all atoms.",
}
#: How verdicts look; all others are failures.
_STYLES = {Verdict.FINE: "passed", Verdict.UNKNOWN: "open"}


def write_report(
    series: FluxSeries,
    path: str | os.PathLike[str],
    *,
    title: str = "Infrared spectrum",
    source: str | os.PathLike[str] | None = None,
    distances: DistanceSpectrum | None = None,
    shown: Mapping[str, Any] | None = None,
    **how: Any,
) -> Checks:
    """Write the report of a flux.

    Parameters
    ----------
    series : FluxSeries
    path : path
        HTML file.
    title : str
    source : path, optional
        File of the flux, named with its hash.
    distances : DistanceSpectrum, optional
        Drawn as well.
    shown : mapping, optional
        What pictures of the spectrum show, and what intensities are per: arguments of
        `Spectrum.to`.
    **how
        Options of `FluxSeries.spectrum`: temperature, resolution, window, volume.

    Returns
    -------
    Checks
        The checks that stand in the report.

    Raises
    ------
    SpectrumError
        As `FluxSeries.spectrum`.
    """
    io.check_writable(path)
    spectrum = series.spectrum(**how)
    checks = check_spectrum(series, spectrum)
    spectrum = spectrum if shown is None else spectrum.to(**shown)
    sections = dict.fromkeys(("Spectrum", "Bands", "Decomposition", "By distance", "In time"), "")
    for name, draw in _pictures(series, spectrum, distances, how).items():
        section, size = _PICTURES[name]
        sections[section] += _picture(draw, size, _CAPTIONS[name])
    sections |= {
        "Bands": _bands(spectrum),
        "Checks": _checks(checks),
        "Notes": "".join(f"<p>{html.escape(note)}</p>" for note in spectrum.notes),
        "Provenance": _provenance(series, spectrum, source),
    }
    lead = (
        f"{len(series)} frames, {series.spacing * 1000:g} fs apart, in {len(series.starts)} "
        f"series; {series.info.get('n_atoms', '?')} atoms; {spectrum.temperature.magnitude:.1f} K"
    )
    body = "".join(f"<h2>{name}</h2>\n{part}\n" for name, part in sections.items() if part)
    page = resources.files("mda_aptnn").joinpath("data/report.html").read_text(encoding="utf-8")
    texts = {"title": html.escape(title), "lead": html.escape(lead), "body": body}
    with io.replacing(path) as temporary:
        temporary.write_text(string.Template(page).substitute(texts), encoding="utf-8")
    return checks


def _pictures(
    series: FluxSeries, spectrum: Spectrum, distances: DistanceSpectrum | None, how: dict[str, Any]
) -> dict[str, Callable[[Any], Any]]:
    """What draws each of `_PICTURES` that there is of this flux into a figure."""
    n_groups, known = len(spectrum.groups), spectrum.segments is not None
    draw: dict[str, Callable[[Any], Any]] = {
        "spectrum" if known else "short": lambda figure: spectrum.plot(figure=figure, terms=False)
    }
    if 2 <= n_groups <= _STACKED and spectrum.shown.is_additive:
        draw["stacked"] = lambda figure: spectrum.plot(figure=figure, stacked=True)
    if 2 <= n_groups <= _MATRIX and not spectrum.summed:
        draw["matrix"] = lambda figure: plot_matrix(spectrum, figure=figure)
    if distances is not None:
        draw["distances"] = lambda figure: distances.plot(figure=figure)
    width = max(_COARSE, float(spectrum.resolution.magnitude))
    step = max(len(series) * series.spacing / _WINDOWS, series.spacing)
    conditions = {name: how[name] for name in ("temperature", "volume") if name in how}
    # the trajectory may be shorter than even this resolution needs
    with contextlib.suppress(SpectrumError):
        moving = spectrogram(series, resolution=width, step=step, **conditions)
        draw["moving"] = lambda figure: moving.plot(figure=figure)
    if np.isfinite(series.temperatures).all():
        draw["temperatures"] = lambda figure: _draw_temperatures(series, figure.subplots())
    return draw


def _bands(spectrum: Spectrum) -> str:
    name, count = spectrum.per()
    whole, last = spectrum.band(n_molecules=count).value, spectrum.wavenumber.magnitude[-1]
    rows = []
    for low, high in BANDS:
        if low < last:
            found = spectrum.band(low, high, n_molecules=count)
            limits = f"{low:g} to {min(high, last):.0f}"
            rows.append([limits, with_error(found), f"{found.value / whole:.1%}"])
    head = ["Band / cm⁻¹", f"Intensity per {name} / km mol⁻¹", "Share"]
    styles = ["", "number", "number"]
    maxima = ", ".join(with_error(peak.position) for peak in spectrum.peaks())
    text = f"<p>Maxima at {maxima} cm⁻¹.</p>" if maxima else "<p>No maximum stands out.</p>"
    if spectrum.shown_as:
        text += f"<p>Shown is {html.escape(str(spectrum.shown))}.</p>"
    return _table(rows, styles, head) + text


def _draw_temperatures(series: FluxSeries, ax: Any) -> None:
    times, values = (
        np.split(part, series.starts[1:]) for part in (series.times, series.temperatures)
    )
    for of_series in zip(times, values, strict=True):
        ax.plot(*of_series, linewidth=0.6)
    ax.axhline(float(series.temperatures.mean()), color="black", linewidth=0.8)
    ax.set(xlabel="time / ps", ylabel="kinetic temperature / K")


def _checks(checks: Checks) -> str:
    rows: list[list[str | tuple[str, str]]] = [
        [check.name, check.found, (verdict.value, _STYLES.get(verdict, "failed")), check.meaning]
        for check in checks
        for verdict in [check.verdict]
    ]
    return _table(rows, ["", "", "", "meaning"], ["Check", "Found", "", "What it means"])


def _provenance(
    series: FluxSeries, spectrum: Spectrum, source: str | os.PathLike[str] | None
) -> str:
    rows = {}
    if source is not None:
        rows["flux"] = f"{Path(source).name} (sha256 {io.file_hash(source)})"
    for name, value in series.info.items():
        if name != "notes" and value not in ("", [], None):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows[name.replace("_", " ")] = text
    volume = spectrum.volume
    rows |= {
        "groups": ", ".join(series.groups[:20]) + (" …" if len(series.groups) > 20 else ""),
        "window": f"{spectrum.window}, {spectrum.resolution.magnitude:g} cm⁻¹",
        "volume": "none" if volume is None else f"{volume.m_as(units.VOLUME):.6g} Å³",
        "quantum correction": spectrum.quantum_correction,
        **io.provenance(),
    }
    return _table(list(rows.items()), ["", "value"])


def _table(
    rows: Sequence[Sequence[str | tuple[str, str]]], styles: Sequence[str], head: Sequence[str] = ()
) -> str:
    """A table whose columns have these styles; a cell that is (text, style) has its own."""

    def line(cells: Sequence[str | tuple[str, str]], tag: str) -> str:
        parts = (
            (cell, style) if isinstance(cell, str) else cell
            for cell, style in zip(cells, styles, strict=True)
        )
        texts = (f'<{tag} class="{style}">{html.escape(text)}</{tag}>' for text, style in parts)
        return f"<tr>{''.join(texts)}</tr>"

    top = [line(head, "th")] if head else []
    return f"<table>{''.join([*top, *(line(row, 'td') for row in rows)])}</table>"


def _picture(draw: Callable[[Any], Any], size: tuple[float, float], caption: str) -> str:
    """What `draw` draws into a figure, inside the page."""
    figure, data, text = new_figure("report", size), BytesIO(), html.escape(caption)
    draw(figure)
    figure.savefig(data, format="png", dpi=130)
    encoded = base64.b64encode(data.getvalue()).decode()
    image = f'<img src="data:image/png;base64,{encoded}" alt="{text}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"
