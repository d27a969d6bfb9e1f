"""``mda-aptnn spectrogram``: the spectrum as it changes with time, from a stored flux."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import check_outputs, emit_with_files, save


def spectrogram(
    flux: Annotated[Path, typer.Argument(help="Flux file.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="HDF5 file.")] = Path(
        "spectrogram.h5"
    ),
    plot: opt.Plot = None,
    resolution: Annotated[
        str, typer.Option(help="Of lines; 14.7 ps cm^-1 over it is that in time.")
    ] = "50 cm^-1",
    step: Annotated[
        str | None, typer.Option(help='From window to window: "0.1 ps".', show_default=False)
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Auto term of one group instead of the total.", show_default=False),
    ] = None,
    highest: Annotated[str, typer.Option(help="Where the spectrum ends.")] = "4500 cm^-1",
    temperature: opt.Temperature = None,
    volume: opt.Volume = None,
    as_json: opt.Json = False,
) -> None:
    """Spectrum through a window that moves along the trajectory."""
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.spectra.spectrogram import spectrogram as follow

    files = {"output": output, "plot": plot}
    check_outputs(files)
    found = follow(
        FluxSeries.load(flux),
        resolution=resolution,
        step=step,
        group=group,
        highest=highest,
        temperature=temperature,
        volume=volume,
    )
    save(found, output, plot=plot)
    lines = [found.describe(), *(f"note: {note}" for note in found.notes)]
    emit_with_files(files, found.summary(), lines, as_json)
