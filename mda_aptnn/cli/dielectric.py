"""``mda-aptnn dielectric``: dielectric function, refractive index and conductivity from a stored
spectrum.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import check_outputs, emit_with_files, save


def dielectric(
    spectrum: Annotated[
        Path, typer.Argument(help="HDF5 file of `mda-aptnn spectrum`.", show_default=False)
    ],
    epsilon_infinity: Annotated[
        float,
        typer.Option(
            "--epsilon-infinity",
            help="Electronic permittivity, n² of visible light.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="HDF5 file.")] = Path(
        "dielectric.h5"
    ),
    csv: opt.Csv = None,
    plot: opt.Plot = None,
    subtract_conduction: Annotated[
        bool,
        typer.Option(
            "--subtract-conduction",
            help="Leave the pole of direct current out of the permittivity.",
        ),
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Dielectric function, refractive index, absorption coefficient and conductivity of a sample
    with a volume.
    """
    from mda_aptnn.spectra.dielectric import dielectric_spectrum
    from mda_aptnn.spectra.infrared import Spectrum

    files = {"dielectric": output, "csv": csv, "plot": plot}
    check_outputs(files)
    found = dielectric_spectrum(
        Spectrum.load(spectrum), epsilon_infinity, subtract_conduction=subtract_conduction
    )
    save(found, output, csv, plot)
    static = found.static_conductivity
    report = {
        "static_conductivity_limit": static.value,
        "static_conductivity_limit_error": static.error if static.error == static.error else None,
        "unit": "S/m",
        "meaning": found.conduction,
    }
    emit_with_files(files, report, [found.conduction], as_json)
