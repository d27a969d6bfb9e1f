"""``mda-aptnn spectrum``: from a trajectory, or from a stored flux, to an absolute infrared
spectrum.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.flux import forget, open_universes, run_flux, summary, text_summary
from mda_aptnn.cli.outputs import check_outputs, emit_with_files, save
from mda_aptnn.cli.stored import is_stored, refuse_unused, stored_series
from mda_aptnn.errors import AptnnError, SpectrumError

if TYPE_CHECKING:
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.spectra.infrared import Spectrum


@opt.with_reading_options
def spectrum(
    topology: opt.TopologyOrFlux,
    trajectory: opt.Trajectory = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HDF5 file of the spectrum.")
    ] = Path("spectrum.h5"),
    csv: opt.Csv = None,
    plot: opt.Plot = None,
    flux_output: opt.FluxOutput = None,
    temperature: opt.Temperature = None,
    resolution: opt.Resolution = "10 cm^-1",
    window: opt.Window = "gaussian",
    volume: opt.Volume = None,
    unbiased: opt.Unbiased = False,
    segments: opt.Segments = "auto",
    quantum_correction: Annotated[
        str, typer.Option(help="harmonic, standard, schofield or none (the classical line shape).")
    ] = "harmonic",
    as_json: opt.Json = False,
    *,
    reading: opt.Reading,
) -> None:
    """Absolute infrared spectrum of a trajectory, decomposed by groups of atoms and motions of
    molecules.

    Where a flux of atoms is stored (`flux --per atom`), its file may stand in the place of the
    trajectory. With --per molecule (or residue) the spectrum has a self and a distinct part.
    """
    files = {"spectrum": output, "csv": csv, "plot": plot, "flux": flux_output}
    check_outputs(files)
    settings: dict[str, Any] = {
        "temperature": temperature,
        "resolution": resolution,
        "window": window,
        "unbiased": unbiased,
        "volume": volume,
        "segments": number_of_segments(segments),
        "quantum_correction": quantum_correction,
    }
    check_settings(settings)
    series, settings["groups"], kept = obtain_flux(
        topology, trajectory, reading, output, temperature
    )
    if flux_output is not None:
        series.save(flux_output)
    with keeping(series, kept or flux_output, reading, output, "spectrum"):
        found = series.spectrum(**settings)
        save(found, output, csv, plot)
    emit_with_files(files, *described(found, series), as_json, series.check(temperature))


def obtain_flux(
    topology: Path,
    trajectory: list[Path] | None,
    reading: opt.Reading,
    output: Path,
    temperature: str | None,
) -> tuple[FluxSeries, dict[str, list[str]] | None, Path | None]:
    """Return the flux that the arguments name or ask for, the sums of its groups that are wanted,
    and its file.

    That file is None after a prediction, which is not begun where a spectrum would lack the
    temperature.
    """
    from mda_aptnn import io

    if not trajectory and io.kind_of(topology) == "flux":
        from mda_aptnn.flux.flux_series import FluxSeries

        refuse_unused(topology, reading, {"group"})
        groups = opt.pairs(reading.group, "group")
        sums = {name: parts.split("+") for name, parts in groups.items()} if groups else None
        return FluxSeries.load(topology), sums, topology
    if trajectory and is_stored(trajectory):
        return stored_series(topology, trajectory, reading), None, trajectory[0]
    if reading.per == "atom":
        raise opt.OptionError("--per atom is for the command flux; its file then serves here")
    universes = open_universes(topology, trajectory, reading)
    return (
        run_flux(universes, reading, output, temperature_needed=temperature is None)[0],
        None,
        None,
    )


@contextlib.contextmanager
def keeping(
    series: FluxSeries, kept: Path | None, reading: opt.Reading, output: Path, command: str
) -> Iterator[None]:
    """Keep a flux that is in no file, if what is made of it fails: options that do not fit the data
    cost no time.
    """
    try:
        yield
    except AptnnError as error:
        if kept is not None:
            raise
        kept = _unused_name(output)
        series.save(kept)
        forget(reading, output)
        raise SpectrumError(
            f"{error}; the flux is kept, for: mda-aptnn {command} {kept}"
        ) from error
    forget(reading, output)


def _unused_name(output: Path) -> Path:
    """A name beside `output` for a flux that nobody asked to keep."""
    names = (
        output.with_name(f"{output.stem}-flux{number or ''}.h5") for number in itertools.count()
    )
    return next(name for name in names if not name.exists())


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse values that the spectrum would refuse, before the long run."""
    from mda_aptnn import units
    from mda_aptnn.spectra.quantum import CORRECTIONS
    from mda_aptnn.spectra.windows import WINDOWS

    dimensions = {
        "temperature": units.TEMPERATURE,
        "resolution": units.WAVENUMBER,
        "volume": units.VOLUME,
    }
    for name, unit in dimensions.items():
        if (
            settings.get(name) is not None
            and units.magnitude(settings[name], unit, f"--{name}") <= 0
        ):
            raise opt.OptionError(f"--{name} {settings[name]!r} must be positive")
    if settings["window"] not in WINDOWS:
        raise opt.OptionError(
            f"--window {settings['window']!r}: choose one of {', '.join(WINDOWS)}"
        )
    name = settings.get("quantum_correction", "harmonic")
    if name not in CORRECTIONS:
        raise opt.OptionError(
            f"--quantum-correction {name!r}: choose one of {', '.join(CORRECTIONS)}"
        )


def number_of_segments(text: str) -> int | str | None:
    """Read the option ``--segments``."""
    if text in ("auto", "replicas"):
        return text
    if text == "none":
        return None
    if text.isdecimal() and int(text) > 1:
        return int(text)
    raise opt.OptionError(
        f"--segments {text!r}: give a number from 2 upward, 'auto', 'replicas' or 'none'"
    )


def described(result: Spectrum, series: FluxSeries) -> tuple[dict[str, Any], list[str]]:
    """Return what a spectrum and its flux say, as numbers and as lines for people."""
    found = result.summary()
    report = found | summary(series) | {"notes": found["notes"]}
    lines = [text_summary(series, result.notes), result.describe()]
    if result.segments is None:
        lines.append(_no_error_bars(series, report["resolution"]))
    return report, lines


def _no_error_bars(series: FluxSeries, resolution: float) -> str:
    """Why there are none, and what to type."""
    from mda_aptnn.spectra.estimator import FEWEST, SEGMENT_LENGTH
    from mda_aptnn.units import SPEED_OF_LIGHT

    length = len(series) * series.spacing
    least = FEWEST * SEGMENT_LENGTH / (SPEED_OF_LIGHT * length)
    if resolution <= 0 or resolution > 1.02 * least:
        return "no error bars: none wanted"
    return (
        f"no error bars: {length:.3g} ps are fewer than {FEWEST} segments at this resolution; ask "
        f"for --resolution "
        f'"{1.03 * least:.0f} cm^-1" or more, or run {1.03 * length * least / resolution:.2g} ps'
    )
