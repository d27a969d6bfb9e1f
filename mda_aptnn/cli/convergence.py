"""``mda-aptnn convergence``: is the trajectory long enough for a band?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.compare import band_limits
from mda_aptnn.cli.outputs import check_outputs


def convergence(
    flux: Annotated[Path, typer.Argument(help="Flux file.", show_default=False)],
    band: Annotated[
        str,
        typer.Option(
            "--band", "-b", help='LOW-HIGH in cm⁻¹, such as "2800-4000".', show_default=False
        ),
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Draw a picture (png, pdf, svg).", show_default=False)
    ] = None,
    temperature: Annotated[
        str | None, typer.Option("--temperature", "-T", help='Such as "300 K".', show_default=False)
    ] = None,
    resolution: opt.Resolution = "10 cm^-1",
    segments: Annotated[
        int, typer.Option(min=2, help="Parts of the trajectory for error bars.")
    ] = 8,
    lengths: Annotated[int, typer.Option(min=2, help="How many lengths of the trajectory.")] = 8,
    as_json: opt.Json = False,
) -> None:
    """Intensity of a band and its standard error against the length of the trajectory."""
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.spectra.convergence import convergence as converge

    check_outputs({"plot": plot})
    options: dict[str, Any] = {"temperature": temperature, "resolution": resolution}
    found = converge(
        FluxSeries.load(flux), *band_limits(band), n_lengths=lengths, segments=segments, **options
    )
    if plot is not None:
        found.plot(plot)
    rows = [
        {"length_ps": float(length), "intensity": one.value, "error": one.error}
        for length, one in zip(found.lengths, found.integrals, strict=True)
    ]
    text = [
        f"{row['length_ps']:10.4g} ps   {one}"
        for row, one in zip(rows, found.integrals, strict=True)
    ]
    opt.emit({"lengths": rows, "unit": "km/mol"}, as_json, "\n".join(text))
