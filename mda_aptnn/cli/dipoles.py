"""``mda-aptnn dipoles``: the spectrum of explicit dipoles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import check_outputs, emit_with_files, save
from mda_aptnn.cli.spectrum import number_of_segments
from mda_aptnn.errors import FileFormatError

if TYPE_CHECKING:
    from mda_aptnn.spectra.dipoles import DipoleSeries


def dipoles(
    moments: Annotated[
        Path,
        typer.Argument(
            help="File of CP2K's &MOMENTS, .npy of [n_frames, 3] in e·Å, or HDF5.",
            show_default=False,
        ),
    ],
    temperature: Annotated[
        str, typer.Option("--temperature", "-T", help='Such as "300 K".', show_default=False)
    ],
    time_step: Annotated[
        str | None,
        typer.Option(help='Between dipoles, such as "0.5 fs"; not for HDF5.', show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HDF5 file of the spectrum.")
    ] = Path("dipole-spectrum.h5"),
    csv: opt.Csv = None,
    plot: opt.Plot = None,
    cell: opt.Cell = None,
    start: Annotated[int, typer.Option(help="First frame, counted from 0.")] = 0,
    resolution: opt.Resolution = "10 cm^-1",
    window: opt.Window = "gaussian",
    segments: Annotated[
        str,
        typer.Option(help='Parts of the trajectory for error bars: a number, "auto" or "none".'),
    ] = "auto",
    volume: opt.Volume = None,
    as_json: opt.Json = False,
) -> None:
    """Absolute infrared spectrum of the total dipole along a trajectory: the reference for polar
    tensors.
    """

    files = {"spectrum": output, "csv": csv, "plot": plot}
    check_outputs(files)
    series = _read(moments, time_step, cell)[start:]
    found = series.spectrum(
        temperature, resolution, window, segments=number_of_segments(segments), volume=volume
    )
    save(found, output, csv, plot)
    maxima = found.peaks()
    report = {
        "n_frames": len(series),
        "maxima": [
            {"wavenumber": peak.position.value, "height": peak.height.value} for peak in maxima
        ],
        "unit": found.unit,
    }
    lines = [f"{len(series)} dipoles, {series.spacing * 1000:g} fs apart"]
    lines.append(
        f"band maxima [cm^-1]: {', '.join(f'{peak.position.value:.0f}' for peak in maxima)}"
    )
    emit_with_files(files, report, lines, as_json)


def _read(path: Path, time_step: str | None, cell: str | None) -> DipoleSeries:
    import numpy as np

    from mda_aptnn import io
    from mda_aptnn.spectra.dipoles import DipoleSeries

    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if io.kind_of(path) == "dipoles":
        if time_step is not None or cell is not None:
            raise opt.OptionError(
                f"{path} has its time step and cells: leave --time-step and --cell out"
            )
        return DipoleSeries.load(path)
    if time_step is None:
        raise opt.OptionError('give --time-step, the time between dipoles, such as "0.5 fs"')
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except ValueError as error:
            raise FileFormatError(f"{path} is not an array of numpy: {error}") from error
        return DipoleSeries.from_array(values, time_step, cells=cell)
    return DipoleSeries.from_cp2k(path, time_step, cell=cell)
