"""One HTML file that tells a run: spectrum, decomposition, checks, provenance; no network is needed
to read it.
"""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
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
from mda_aptnn.spectra.spatial_spectra import DistanceSpectrum
from mda_aptnn.spectra.spectrogram import spectrogram
from mda_aptnn.spectra.term_plots import BANDS, plot_matrix, plot_stacked

#: Groups whose terms can be told apart in a stacked picture, and in a matrix.
_STACKED, _MATRIX = 5, 200
#: Spectrograms are at least so coarse, in cm⁻¹, and have at most so many windows.
_COARSE, _WINDOWS = 50.0, 400
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: 0.2rem; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
p.lead { color: #566; margin-top: 0; }
img { max-width: 100%; height: auto; display: block; margin: 0.6rem auto; }
table { border-collapse: collapse; width: 100%; margin: 0.6rem 0; font-size: 0.92rem; }
td, th { padding: 0.35rem 0.6rem; border-bottom: 1px solid #dde2e8; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.meaning { color: #566; } td.value { overflow-wrap: anywhere; }
.passed { color: #14692b; white-space: nowrap; } .failed { color: #a3190f; font-weight: 600; white-space: nowrap; }
.open { color: #566; white-space: nowrap; }
figcaption { color: #566; font-size: 0.9rem; text-align: center; } figure { margin: 1rem 0; }
"""


def write_report(
    series: FluxSeries,
    path: str | os.PathLike[str],
    *,
    title: str = "Infrared spectrum",
    source: str | os.PathLike[str] | None = None,
    distances: DistanceSpectrum | None = None,
    temperature: Any = None,
    resolution: Any = "10 cm^-1",
    window: str = "gaussian",
    volume: Any = None,
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
    temperature, resolution, window, volume
        As in `FluxSeries.spectrum`.

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
    settings = {"temperature": temperature, "volume": volume}
    spectrum = series.spectrum(resolution=resolution, window=window, **settings)
    checks = check_spectrum(series, spectrum)
    sections = [
        ("Spectrum", _spectrum_part(spectrum)),
        ("Bands", _bands_table(spectrum)),
        ("Decomposition", _decomposition_part(spectrum)),
        ("By distance", "" if distances is None else _distances_part(distances)),
        ("In time", _time_part(series, spectrum, settings)),
        ("Checks", _checks_table(checks)),
        ("Notes", "".join(f"<p>{html.escape(note)}</p>" for note in spectrum.notes)),
        ("Provenance", _provenance_table(series, spectrum, source)),
    ]
    lead = (
        f"{len(series)} frames, {series.spacing * 1000:g} fs apart, in {len(series.starts)} "
        f"series; "
        f"{series.info.get('n_atoms', '?')} atoms; {spectrum.temperature.magnitude:.1f} K"
    )
    body = "".join(f"<h2>{html.escape(name)}</h2>\n{part}\n" for name, part in sections if part)
    with io.replacing(path) as temporary:
        temporary.write_text(
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f'<h1>{html.escape(title)}</h1>\n<p class="lead">{html.escape(lead)}</p>\n{body}</body>\n</html>\n',
            encoding="utf-8",
        )
    return checks


def _spectrum_part(spectrum: Spectrum) -> str:
    figure = new_figure("report", (9.0, 4.6))
    spectrum.plot(ax=figure.subplots(), terms=False)
    error = (
        "the grey band holds the truth with 68 %"
        if spectrum.segments is not None
        else "no error bars: too short"
    )
    return _picture(figure, f"Infrared spectrum, {error}.")


def _bands_table(spectrum: Spectrum) -> str:
    rows = [["Band / cm⁻¹", "Intensity per sample / km mol⁻¹", "Share"]]
    whole = spectrum.band().value
    last = spectrum.wavenumber.magnitude[-1]
    for low, high in BANDS:
        if low >= last:
            continue
        found = spectrum.band(low, high)
        intensity = _with_error(found.value, found.error)
        rows.append([f"{low:g} to {min(high, last):.0f}", intensity, f"{found.value / whole:.1%}"])
    positions = (peak.position for peak in spectrum.peaks())
    maxima = ", ".join(_with_error(position.value, position.error) for position in positions)
    return _table(rows, numbers=(1, 2)) + f"<p>Maxima at {html.escape(maxima)} cm⁻¹.</p>"


def _with_error(value: float, error: float) -> str:
    """A number and its error, which has two digits."""
    if not (np.isfinite(error) and error > 0):
        return f"{value:.5g}"
    digits = 1 - int(np.floor(np.log10(error)))
    shown = max(digits, 0)
    return f"{round(value, digits):.{shown}f} ± {round(error, digits):.{shown}f}"


def _decomposition_part(spectrum: Spectrum) -> str:
    n_groups = len(spectrum.groups)
    parts = []
    if 2 <= n_groups <= _STACKED:
        figure = new_figure("report", (9.0, 4.8))
        plot_stacked(spectrum, ax=figure.subplots())
        caption = "Auto terms and cross terms (hatched); the total is what is above zero less what is below."
        parts.append(_picture(figure, caption))
    if 2 <= n_groups <= _MATRIX and not spectrum.summed:
        figure = new_figure("report", (11.0, 3.4))
        plot_matrix(spectrum, figure=figure)
        parts.append(
            _picture(
                figure, "Terms of each band; a whole cross term is in two places, half in each."
            )
        )
    return "".join(parts)


def _distances_part(distances: DistanceSpectrum) -> str:
    figure = new_figure("report", (9.0, 8.0))
    distances.plot(figure=figure)
    caption = "Pairs of molecules by their distance at the earlier time; the sum of all shells is the total."
    return _picture(figure, caption)


def _time_part(series: FluxSeries, spectrum: Spectrum, settings: dict[str, Any]) -> str:
    parts = []
    width = max(_COARSE, float(spectrum.resolution.magnitude))
    try:
        step = max(len(series) * series.spacing / _WINDOWS, series.spacing)
        found = spectrogram(series, resolution=width, step=step, **settings)
    except SpectrumError:
        found = None  # shorter than even this resolution needs
    if found is not None:
        figure = new_figure("report", (9.0, 6.0))
        found.plot(figure=figure)
        parts.append(
            _picture(
                figure, "The same through a window that moves: single windows scatter by 58 %."
            )
        )
    if np.isfinite(series.temperatures).all():
        figure = new_figure("report", (9.0, 2.6))
        ax = figure.subplots()
        for start, stop in zip(series.starts, [*series.starts[1:], len(series)], strict=True):
            ax.plot(series.times[start:stop], series.temperatures[start:stop], linewidth=0.6)
        ax.axhline(float(series.temperatures.mean()), color="black", linewidth=0.8)
        ax.set_xlabel("time / ps")
        ax.set_ylabel("kinetic temperature / K")
        parts.append(_picture(figure, "Kinetic temperature of all atoms."))
    return "".join(parts)


def _checks_table(checks: Checks) -> str:
    styles = {
        Verdict.FINE: "passed",
        Verdict.UNKNOWN: "open",
        Verdict.LOOK: "failed",
        Verdict.REFUSED: "failed",
    }
    rows = []
    for check in checks:
        style, word = styles[check.verdict], check.verdict.value
        cells = (f"<td>{html.escape(check.name)}</td>", f"<td>{html.escape(check.found)}</td>")
        judged = (
            f'<td class="{style}">{word}</td><td class="meaning">{html.escape(check.meaning)}</td>'
        )
        rows.append("<tr>" + "".join(cells) + judged + "</tr>")
    head = "<tr><th>Check</th><th>Found</th><th></th><th>What it means</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _provenance_table(
    series: FluxSeries, spectrum: Spectrum, source: str | os.PathLike[str] | None
) -> str:
    rows: list[list[str]] = []
    if source is not None:
        rows.append(["flux", f"{Path(source).name} (sha256 {io.file_hash(source)})"])
    for name, value in series.info.items():
        if name != "notes" and value not in ("", [], None):
            rows.append(
                [
                    name.replace("_", " "),
                    ", ".join(map(str, value)) if isinstance(value, list) else str(value),
                ]
            )
    window = f"{spectrum.window}, {spectrum.resolution.magnitude:g} cm⁻¹"
    volume = (
        "none"
        if spectrum.volume is None
        else f"{spectrum.volume.to(units.VOLUME).magnitude:.6g} Å³"
    )
    rows += [["groups", ", ".join(series.groups[:20]) + (" …" if len(series.groups) > 20 else "")]]
    rows += [
        ["window", window],
        ["volume", volume],
        ["quantum correction", spectrum.quantum_correction],
    ]
    rows += [[name, value] for name, value in io.provenance().items()]
    cells = "".join(
        f'<tr><td>{html.escape(name)}</td><td class="value">{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table>{cells}</table>"


def _table(rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """The first row is the head; columns in `numbers` stand to the right."""
    lines = []
    for k, row in enumerate(rows):
        tag = "td" if k else "th"
        styles = [' class="number"' if column in numbers else "" for column in range(len(row))]
        cells = (
            f"<{tag}{style}>{html.escape(text)}</{tag}>"
            for style, text in zip(styles, row, strict=True)
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _picture(figure: Any, caption: str) -> str:
    data = BytesIO()
    figure.savefig(data, format="png", dpi=130)
    encoded = base64.b64encode(data.getvalue()).decode()
    text = html.escape(caption)
    image = f'<img src="data:image/png;base64,{encoded}" alt="{text}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"
