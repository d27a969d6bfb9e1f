"""``mda-aptnn distances`` and ``mda-aptnn profile``: spectra resolved in space, from the flux of
every atom.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import check_outputs, emit_with_files, save

if TYPE_CHECKING:
    from mda_aptnn.spectra.infrared import Absorption

Flux = Annotated[
    Path, typer.Argument(help="Flux file with every atom's flux (--per atom).", show_default=False)
]
Topology = Annotated[
    Path, typer.Argument(help="Topology of the same run, for its molecules.", show_default=False)
]


def distances(
    flux: Flux,
    topology: Topology,
    output: Annotated[Path, typer.Option("--output", "-o", help="HDF5 file.")] = Path(
        "distances.h5"
    ),
    plot: opt.Plot = None,
    bin_width: Annotated[str, typer.Option(help="Width of the shells.")] = "0.5 angstrom",
    edges: Annotated[
        str | None,
        typer.Option(help='Limits of the shells in Å instead: "2.5,3.5,6".', show_default=False),
    ] = None,
    temperature: opt.Temperature = None,
    resolution: opt.Resolution = "10 cm^-1",
    window: opt.Window = "gaussian",
    volume: opt.Volume = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that share the molecules.")] = 1,
    as_json: opt.Json = False,
) -> None:
    """Spectrum of molecules by their distance at the earlier time: self term and shells, which sum
    to the total.
    """
    from mda_aptnn.spectra.spatial import distance_spectrum

    def make(molecules: Any, series: Any, **settings: Any) -> Absorption:
        limits = None if edges is None else _numbers(edges)
        return distance_spectrum(
            molecules, series, edges=limits, bin_width=bin_width, n_threads=threads, **settings
        )

    settings = {
        "temperature": temperature,
        "resolution": resolution,
        "window": window,
        "volume": volume,
    }
    found = _resolve(flux, topology, output, plot, make, settings)
    text = [found.describe(), *_notes(found)]
    emit_with_files({"output": output, "plot": plot}, found.summary(), text, as_json)


def profile(
    flux: Flux,
    topology: Topology,
    output: Annotated[Path, typer.Option("--output", "-o", help="HDF5 file.")] = Path("profile.h5"),
    plot: opt.Plot = None,
    axis: Annotated[str, typer.Option(help="x, y or z, normal to the slabs.")] = "z",
    slabs: Annotated[
        int, typer.Option(min=1, help="Number of slabs that fill a periodic cell.")
    ] = 20,
    edges: Annotated[
        str | None,
        typer.Option(
            help='Limits of the slabs in Å, without a cell: "-5,0,5".', show_default=False
        ),
    ] = None,
    relative_to: Annotated[str, typer.Option(help='"cell", or "centre" of the sample.')] = "cell",
    temperature: opt.Temperature = None,
    resolution: opt.Resolution = "10 cm^-1",
    window: opt.Window = "gaussian",
    volume: opt.Volume = None,
    as_json: opt.Json = False,
) -> None:
    """Spectrum along an axis, in the plane and out of it, as at an interface."""
    from mda_aptnn.spectra.spatial import axis_profile

    def make(molecules: Any, series: Any, **settings: Any) -> Absorption:
        limits = None if edges is None else _numbers(edges)
        return axis_profile(
            molecules,
            series,
            axis,
            n_slabs=slabs,
            edges=limits,
            relative_to=relative_to,
            **settings,
        )

    settings = {
        "temperature": temperature,
        "resolution": resolution,
        "window": window,
        "volume": volume,
    }
    found = _resolve(flux, topology, output, plot, make, settings)
    emit_with_files({"output": output, "plot": plot}, found.summary(), _notes(found), as_json)


def _resolve(
    flux: Path, topology: Path, output: Path, plot: Path | None, make: Any, settings: dict[str, Any]
) -> Absorption:
    """Check names, open the flux with its molecules, and write what `make` makes of them."""
    import MDAnalysis

    from mda_aptnn.flux.molecular_flux import open_molecules

    check_outputs({"output": output, "plot": plot})
    for path in (flux, topology):
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
    with open_molecules(flux, MDAnalysis.Universe(str(topology))) as (series, molecules):
        found: Absorption = make(molecules, series, **settings)
    save(found, output, plot=plot)
    return found


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise opt.OptionError(f'--edges {text!r}: give numbers in Å, like "2.5,3.5,6"') from None


def _notes(found: Absorption) -> list[str]:
    return [f"note: {note}" for note in found.notes]
