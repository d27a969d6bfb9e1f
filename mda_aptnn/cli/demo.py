"""``mda-aptnn demo``: the main job on the bundled trajectory with the bundled model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.flux import forget, run_flux
from mda_aptnn.cli.outputs import check_outputs, emit_with_files, save
from mda_aptnn.cli.spectrum import described


def demo(
    folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the files, made if needed.")
    ] = Path("mda-aptnn-demo"),
    workers: Annotated[
        int | None,
        typer.Option(help="Processes; one for each core by default.", show_default=False),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Infrared spectrum of liquid water: a bundled trajectory (64 molecules, 10 ps) and the bundled
    model.

    The trajectory follows a neural-network potential (C. Schran et al., J. Chem. Phys. 153, 104105
    (2020)) at 319 K.
    """
    import MDAnalysis

    from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY

    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "spectrum": folder / "water.h5",
        "csv": folder / "water.csv",
        "plot": folder / "water.png",
        "flux": folder / "water-flux.h5",
    }
    check_outputs(files)
    if not _of_a_demo(files["spectrum"]):
        raise opt.OptionError(
            f"{files['spectrum']} is there and was not made by demo: give another folder (-o)"
        )
    universe = MDAnalysis.Universe(str(WATER64_TOPOLOGY), str(WATER64_TRAJECTORY))
    reading = opt.Reading(
        group=["O=element O", "H=element H"], workers=workers or os.cpu_count() or 1
    )
    series, _ = run_flux([universe], reading, files["spectrum"])
    series.save(files["flux"])
    forget(reading, files["spectrum"])
    found = series.spectrum(resolution="40 cm^-1")
    save(found, files["spectrum"], files["csv"], files["plot"])
    emit_with_files(files, *described(found, series), as_json, series.check())


def _of_a_demo(path: Path) -> bool:
    """Whether a file is not there, or was written by this command."""
    import h5py

    if not path.exists():
        return True
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return "demo" in str(file.attrs.get("command", "")).split()
