"""``mda-aptnn compare``: two spectra held against each other, band by band."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from mda_aptnn.cli import options as opt


def compare(
    first: Annotated[Path, typer.Argument(help="HDF5 file of a spectrum.", show_default=False)],
    second: Annotated[
        Path, typer.Argument(help="HDF5 file of another spectrum.", show_default=False)
    ],
    band: Annotated[
        list[str],
        typer.Option(
            "--band", "-b", help='LOW-HIGH in cm⁻¹, repeatable: "2800-4000".', show_default=False
        ),
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Draw both (png, pdf, svg).", show_default=False)
    ] = None,
    same_trajectory: Annotated[
        bool,
        typer.Option(
            "--same-trajectory", help="Both are of the same frames: what is common is in no error."
        ),
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Intensity, shift and shape of the second spectrum beside the first, with errors."""
    from mda_aptnn.spectra.comparison import compare as compare_spectra
    from mda_aptnn.spectra.infrared import Spectrum
    from mda_aptnn.spectra.plots import plot_together

    one, other = Spectrum.load(first), Spectrum.load(second)
    found = []
    for text in band:
        low, high = band_limits(text)
        found.append(compare_spectra(one, other, low, high, same_trajectory=same_trajectory))
    if plot is not None:
        plot_together({first.stem: one, second.stem: other}, plot)
    report: list[dict[str, Any]] = []
    for comparison in found:
        numbers: dict[str, float] = {}
        for name in ("intensity", "shift", "shape"):
            measured = getattr(comparison, name)
            numbers |= {name: measured.value, f"{name}_error": measured.error}
        numbers |= {"low": comparison.low, "high": comparison.high, "noise": comparison.noise}
        report.append({name: value if value == value else None for name, value in numbers.items()})
    opt.emit({"bands": report}, as_json, "\n".join(map(str, found)))


def band_limits(text: str) -> tuple[float, float]:
    """Read LOW-HIGH in cm⁻¹."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*", text)
    if match is None or float(match[1]) >= float(match[2]):
        raise opt.OptionError(
            f"--band {text!r}: write the lower and the upper limit in cm⁻¹, such as 2800-4000"
        )
    return float(match[1]), float(match[2])
