"""``mda-aptnn report``: one HTML file that tells a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import check_outputs, emit_with_files


def report(
    flux: Annotated[Path, typer.Argument(help="Flux file.", show_default=False)],
    topology: Annotated[
        Path | None,
        typer.Argument(
            help="Topology, for a flux of atoms: adds the spectrum by distance.", show_default=False
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file.")] = Path(
        "report.html"
    ),
    title: Annotated[
        str | None, typer.Option(help="Name of the flux file if not given.", show_default=False)
    ] = None,
    temperature: opt.Temperature = None,
    resolution: opt.Resolution = "10 cm^-1",
    window: opt.Window = "gaussian",
    volume: opt.Volume = None,
    as_json: opt.Json = False,
) -> None:
    """Report of a run in one HTML file that needs no network: spectrum, decomposition, checks,
    provenance.
    """
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.report import write_report

    check_outputs({"report": output})
    settings: dict[str, Any] = {
        "temperature": temperature,
        "resolution": resolution,
        "window": window,
        "volume": volume,
    }
    distances = None
    if topology is not None:
        import MDAnalysis

        from mda_aptnn.flux.molecular_flux import open_molecules
        from mda_aptnn.spectra.spatial import distance_spectrum

        if not topology.exists():
            raise FileNotFoundError(f"there is no file {topology}")
        with open_molecules(flux, MDAnalysis.Universe(str(topology))) as (series, molecules):
            distances = distance_spectrum(molecules, series, **settings)
    checks = write_report(
        FluxSeries.load(flux),
        output,
        title=title or flux.stem,
        source=flux,
        distances=distances,
        **settings,
    )
    emit_with_files({"report": output}, {}, [], as_json, checks)
