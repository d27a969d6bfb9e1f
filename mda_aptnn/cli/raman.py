"""``mda-aptnn raman`` and ``sfg``: from a trajectory, or from a stored flux, to Raman and
sum-frequency spectra.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.flux import summary, text_summary
from mda_aptnn.cli.outputs import check_outputs, emit_with_files, save
from mda_aptnn.cli.spectrum import check_settings, keeping, number_of_segments, obtain_flux


@opt.with_reading_options
def raman(
    topology: opt.TopologyOrFlux,
    trajectory: opt.Trajectory = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HDF5 file of the spectrum.")
    ] = Path("raman.h5"),
    csv: opt.Csv = None,
    plot: opt.Plot = None,
    flux_output: opt.FluxOutput = None,
    temperature: opt.Temperature = None,
    resolution: opt.Resolution = "10 cm^-1",
    window: opt.Window = "gaussian",
    unbiased: opt.Unbiased = False,
    segments: opt.Segments = "auto",
    laser: Annotated[
        str | None,
        typer.Option(
            help='Multiply with the laser\'s frequency factor: its wavelength or wavenumber, "532 nm".',
            show_default=False,
        ),
    ] = None,
    detection: Annotated[
        str, typer.Option(help="What is counted of the scattered light: power or photons.")
    ] = "power",
    bose: Annotated[
        str | None,
        typer.Option(
            help="Multiply with the occupation of the modes: stokes, classical or none; stokes with --laser.",
            show_default=False,
        ),
    ] = None,
    as_json: opt.Json = False,
    *,
    reading: opt.Reading,
) -> None:
    """Raman spectrum of a trajectory (VV, VH, depolarization), decomposed by groups of atoms and
    motions.

    The model must predict polarizability gradients: `train` makes one of labels that have them
    (`label plan --route field-raman`). Without --laser and --bose, heights are activities: their
    integrals do not depend on temperature.
    """
    files = {"raman": output, "csv": csv, "plot": plot, "flux": flux_output}
    check_outputs(files)
    settings: dict[str, Any] = {
        "temperature": temperature,
        "resolution": resolution,
        "window": window,
        "unbiased": unbiased,
        "segments": number_of_segments(segments),
    }
    check_settings(settings)
    factors = None if laser is None and bose is None else _factors(laser, detection, bose)
    _check_model(topology, trajectory, reading)
    series, settings["groups"], kept = obtain_flux(
        topology, trajectory, reading, output, temperature
    )
    if flux_output is not None:
        series.save(flux_output)
    with keeping(series, kept or flux_output, reading, output, "raman"):
        found = series.raman(**settings)
        if factors is not None:
            found = found.scattered(**factors)
        save(found, output, csv, plot)
    report = {**summary(series), **found.summary()}
    lines = [text_summary(series, found.notes), found.describe()]
    emit_with_files(files, report, lines, as_json, series.check(temperature))


@opt.with_reading_options
def sfg(
    topology: opt.TopologyOrFlux,
    trajectory: opt.Trajectory = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HDF5 file of the spectrum.")
    ] = Path("sfg.h5"),
    csv: opt.Csv = None,
    plot: opt.Plot = None,
    flux_output: opt.FluxOutput = None,
    temperature: opt.Temperature = None,
    resolution: opt.Resolution = "10 cm^-1",
    window: opt.Window = "gaussian",
    unbiased: opt.Unbiased = False,
    segments: opt.Segments = "auto",
    area: Annotated[
        str | None,
        typer.Option(
            help='Of the surface, "600 angstrom^2"; without, the susceptibility times it.',
            show_default=False,
        ),
    ] = None,
    component: Annotated[
        list[str] | None,
        typer.Option(
            help="Component of the susceptibility, such as xxz; may be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: opt.Json = False,
    *,
    reading: opt.Reading,
) -> None:
    """Sum-frequency spectrum of a surface whose normal is z: Re, Im and the square of the
    susceptibility.

    The model must predict polarizability gradients. The two surfaces of a slab cancel: name their
    atoms by --group "upper=prop z > 40" --group "lower=prop z < 20", and the spectrum is that of
    one surface.
    """
    from mda_aptnn import units
    from mda_aptnn.spectra.sfg import COMPONENTS, axes_of

    files = {"sfg": output, "csv": csv, "plot": plot, "flux": flux_output}
    check_outputs(files)
    settings: dict[str, Any] = {
        "temperature": temperature,
        "resolution": resolution,
        "window": window,
        "unbiased": unbiased,
        "segments": number_of_segments(segments),
    }
    check_settings(settings)
    components = component or list(COMPONENTS)
    for name in components:
        axes_of(name)
    if area is not None and units.magnitude(area, "angstrom^2", "--area") <= 0:
        raise opt.OptionError(f"--area {area!r} must be positive")
    _check_model(topology, trajectory, reading)
    series, settings["groups"], kept = obtain_flux(
        topology, trajectory, reading, output, temperature
    )
    if flux_output is not None:
        series.save(flux_output)
    with keeping(series, kept or flux_output, reading, output, "sfg"):
        found = series.sum_frequency(**settings, area=area, components=components)
        save(found, output, csv, plot)
    report = {**summary(series), **found.summary()}
    lines = [text_summary(series, found.notes), found.describe()]
    emit_with_files(files, report, lines, as_json, series.check(temperature))


def _factors(laser: str | None, detection: str, bose: str | None) -> dict[str, Any]:
    """Check the factors before the long run; see `RamanSpectrum.scattered`."""
    from mda_aptnn import units
    from mda_aptnn.spectra.raman import BOSE_FACTORS, DETECTIONS

    if laser is not None:
        units.wavenumber_of_light(laser, "--laser")
    bose = bose or "stokes"
    for name, value, known in (("detection", detection, DETECTIONS), ("bose", bose, BOSE_FACTORS)):
        if value not in known:
            raise opt.OptionError(f"--{name} {value!r}: choose one of {', '.join(known)}")
    return {"laser": laser, "detection": detection, "bose": bose}


def _check_model(topology: Path, trajectory: list[Path] | None, reading: opt.Reading) -> None:
    """Refuse a model without polarizability gradients before the long run."""
    from mda_aptnn import io
    from mda_aptnn.model.file import stored_target
    from mda_aptnn.model.predict import model_path
    from mda_aptnn.tensors import APT, PGT

    if "flux" in (io.kind_of(path) for path in (topology, *(trajectory or []))):
        return
    if not {APT, PGT} <= set(stored_target(model_path(reading.model)).parts):
        raise opt.OptionError(
            f"the model {reading.model!r} predicts no polarizability gradients; train one with "
            f"labels that have them "
            "(mda-aptnn label plan --route field-raman) and name it by --model"
        )
