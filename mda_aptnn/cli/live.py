"""``mda-aptnn live``: the spectrum of a simulation while it runs, through IMDv3."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import check_outputs, emit_with_files, save


def live(
    topology: opt.Topology,
    address: Annotated[
        str, typer.Argument(help='Where the simulation listens: "imd://localhost:8889".')
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HDF5 file of the spectrum.")
    ] = Path("spectrum.h5"),
    plot: opt.Plot = None,
    every: Annotated[
        int, typer.Option(min=1, help="Frames between two writings of the files.")
    ] = 10_000,
    stop: Annotated[
        int | None, typer.Option(help="Frames to stop after; else at the end.", show_default=False)
    ] = None,
    model: opt.Model = "water-rpbe-d3",
    group: opt.Group = None,
    element: opt.Element = None,
    charge: opt.Charge = 0.0,
    sum_rule: opt.SumRule = "none",
    degrees_of_freedom: opt.Degrees = None,
    temperature: opt.Temperature = None,
    resolution: opt.Resolution = "10 cm^-1",
    window: Annotated[str, typer.Option(help="gaussian, parzen, bartlett or hann.")] = "gaussian",
    as_json: opt.Json = False,
) -> None:
    """Spectrum of a running simulation: files are written again and again until it ends or you
    press Ctrl-C.
    """
    import MDAnalysis

    from mda_aptnn.errors import SpectrumError
    from mda_aptnn.live import FluxStream

    files = {"spectrum": output, "plot": plot}
    check_outputs(files)
    universe = MDAnalysis.Universe(str(topology), address)

    def write() -> None:
        save(stream.spectrum(temperature), output, plot=plot)

    try:
        stream = FluxStream(
            universe,
            model,
            opt.pairs(group, "group"),
            resolution=resolution,
            window=window,
            elements=opt.pairs(element, "element"),
            charge=charge,
            sum_rule=sum_rule,
            degrees_of_freedom=degrees_of_freedom,
        )
        try:
            for n in stream:
                if n % every == 0:
                    try:
                        write()
                    except SpectrumError as error:  # too few frames so far
                        typer.echo(f"{n} frames: {error}", err=True)
                if n == stop:
                    break
        except KeyboardInterrupt:
            typer.echo("stopped; what has come so far is written", err=True)
        write()
    finally:
        universe.trajectory.close()
    report = {"n_frames": stream.n_frames, "notes": stream.notes}
    lines = [f"{stream.n_frames} frames", *(f"note: {note}" for note in stream.notes)]
    emit_with_files(files, report, lines, as_json)
