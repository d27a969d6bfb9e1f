"""Commands for whole runs: a demonstration, a report, a live spectrum, a learning loop; and what a
file holds.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import typer

import mda_aptnn
from mda_aptnn import io, units
from mda_aptnn.cli import options as opt
from mda_aptnn.cli import spectra
from mda_aptnn.cli.outputs import OptionError, Outputs, emit
from mda_aptnn.text import table


def demo(
    *,
    output: opt.Output = Path("mda-aptnn-demo"),
    workers: int | None = None,
    as_json: opt.Json = False,
) -> None:
    """Infrared spectrum of liquid water: a bundled trajectory (64 molecules, 10 ps) and the bundled
    model. The files go into a folder, which is made if needed.

    The trajectory follows a neural-network potential (C. Schran et al., J. Chem. Phys. 153, 104105
    (2020)) at 319 K.

    Parameters
    ----------
    workers : int
        Processes; one for each core by default.
    """
    from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY

    output.mkdir(parents=True, exist_ok=True)
    result, flux = output / "water.h5", output / "water-flux.h5"
    table, picture = output / "water.csv", output / "water.png"
    made_before = result.exists() or flux.exists()
    for path in (result, flux, table, picture):
        ours = _of_a_demo(path) if path.suffix == ".h5" else made_before or not path.exists()
        if not ours:
            raise OptionError(f"{path} is there and was not made by demo: give another folder (-o)")
    how = spectra.OfFlux(
        topology=Path(WATER64_TOPOLOGY),
        trajectory=[Path(WATER64_TRAJECTORY)],
        group=["O=element O", "H=element H"],
        workers=workers or os.cpu_count() or 1,
        resolution="40 cm^-1",
        csv=table,
        plot=picture,
        flux_output=flux,
        as_json=as_json,
    )
    spectra.spectrum(how, output=result)


def _of_a_demo(path: Path) -> bool:
    """Whether a file is not there, or was written by this command."""
    import h5py

    if not path.exists():
        return True
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return "demo" in str(file.attrs.get("command", "")).split()


def report(
    files: list[Path],
    *,
    sample: opt.Sample,
    lines: opt.Lines,
    output: opt.Output = Path("report.html"),
    title: str | None = None,
    as_json: opt.Json = False,
) -> None:
    """Report of a run in one HTML file that needs no network: spectrum, decomposition, checks,
    provenance.

    Parameters
    ----------
    files : paths
        Flux file; a topology before it, for a flux of atoms, adds the spectrum by distance.
    title : str
        Name of the flux file if not given.
    """
    outputs = Outputs(as_json, report=output)
    settings = {**sample.settings(), **lines.settings()}
    flux, distances = files[0], None
    if len(files) > 1:
        from mda_aptnn.flux.molecular_flux import open_molecules
        from mda_aptnn.spectra.spatial import distance_spectrum

        topology, flux = spectra.topology_and_flux(files)
        [universe] = opt.open_universes(topology, [])
        with open_molecules(flux, universe) as (series, molecules):
            distances = distance_spectrum(molecules, series, **settings)
    checks = mda_aptnn.write_report(
        mda_aptnn.FluxSeries.load(flux),
        output,
        title=title or flux.stem,
        source=flux,
        distances=distances,
        **settings,
    )
    outputs.tell({}, (), checks)


def live(
    topology: opt.Topology,
    address: str,
    *,
    lines: opt.Lines,
    charges: opt.Charges,
    output: opt.Output = Path("spectrum.h5"),
    plot: opt.Plot = None,
    every: opt.Count = 10_000,
    stop: int | None = None,
    model: opt.Model = "water-rpbe-d3",
    group: opt.Group = None,
    element: opt.Element = None,
    temperature: opt.Temperature = None,
    as_json: opt.Json = False,
) -> None:
    """Spectrum of a running simulation: files are written again and again until it ends or you
    press Ctrl-C.

    Parameters
    ----------
    address : str
        Where the simulation listens: "imd://localhost:8889".
    every : int
        Frames between two writings of the files.
    stop : int
        Frames to stop after; else at the end.
    """
    import MDAnalysis

    from mda_aptnn.errors import SpectrumError

    outputs = Outputs(as_json, spectrum=output, plot=plot)
    universe = MDAnalysis.Universe(str(topology), address)
    try:
        stream = mda_aptnn.FluxStream(
            universe,
            model,
            opt.pairs(group, "group"),
            elements=opt.pairs(element, "element"),
            **lines.settings(),
            **charges.sums(),
        )
        try:
            for n in stream:
                if n % every == 0:
                    try:
                        outputs.save(stream.spectrum(temperature))
                    except SpectrumError as error:  # too few frames so far
                        typer.echo(f"{n} frames: {error}", err=True)
                if n == stop:
                    break
        except KeyboardInterrupt:
            typer.echo("stopped; what has come so far is written", err=True)
        outputs.save(stream.spectrum(temperature))
    finally:
        universe.trajectory.close()
    text = [f"{stream.n_frames} frames", *(f"note: {note}" for note in stream.notes)]
    outputs.tell({"n_frames": stream.n_frames, "notes": stream.notes}, text)


def learn(
    folder: Path,
    reading: opt.Moving,
    *,
    charges: opt.Charges,
    template: opt.Template = Path("template.inp"),
    route: opt.Route = "field",
    command: opt.Command = "cp2k.psmp",
    initial: int = 4,
    test: int = 2,
    count: int = 4,
    candidates: int = 500,
    members: int = 4,
    config: opt.Plan = None,
    seed: int = 0,
    resolution: opt.Resolution = "10 cm^-1",
    temperature: opt.Temperature = None,
    tolerance: float = 0.5,
    rounds: int = 10,
    one: bool = False,
    workers: opt.Workers = 1,
    retry: bool = False,
    as_json: opt.Json = False,
) -> None:
    """Learn a trajectory's polar tensors with as few labels as its spectrum needs.

    Every round labels the frames that the committee disagrees about, trains a new one, and makes
    the spectrum. Killed at any moment, the same command goes on.

    Parameters
    ----------
    folder : path
        Folder of the loop, new or begun.
    initial : int
        Frames of the first round.
    test : int
        Frames for calibration and test, never trained on.
    count : int
        Frames that each further round adds.
    candidates : int
        Frames, evenly over the trajectory, that each round chooses from.
    members : int
        Members of the committee.
    seed : int
        Of the first frames and the test frames.
    tolerance : float
        Stop when the spectrum changes by less than this part of its error bar.
    rounds : int
        Rounds in all, at most.
    one : bool
        Only the next round.
    retry : bool
        Label again what failed.
    """
    from mda_aptnn.learning import Learning, LearningPlan
    from mda_aptnn.training.config import TrainingConfig, read_plan

    network, training = read_plan(config) if config else (None, TrainingConfig())
    plan = LearningPlan(
        template=template,
        route=route,
        initial=initial,
        test=test,
        count=count,
        candidates=candidates,
        members=members,
        seed=seed,
        resolution=units.magnitude(resolution, units.WAVENUMBER, "--resolution"),
        temperature=None
        if temperature is None
        else units.magnitude(temperature, units.TEMPERATURE, "--temperature"),
        tolerance=tolerance,
        network=network,
        training=training,
    )
    options = reading.keywords() | charges.sums()
    loop = Learning(folder, reading.universes(), reading.names, plan, options, reading.chosen())
    reports = loop.run(command, rounds, one=one, workers=workers, retry=retry, verbose=not as_json)
    last = folder / f"round-{reports[-1]['round']}"
    outputs = Outputs(as_json)
    outputs.files = {
        name: last / f"{name}.h5" for name in ("labels", "committee", "flux", "spectrum")
    }
    shown = ("training_frames", "rmse", "change", "model_error")
    lines = table({row["round"]: {name: row[name] for name in shown} for row in reports})
    lines.append("RMSE of the test frames in e; change and model's error in error bars")
    lines.append(
        f"done: the spectrum has changed by less than {tolerance:g} of its error bar"
        if reports[-1]["stop"]
        else "not done: the same command goes on (--rounds for more rounds)"
    )
    outputs.tell({"rounds": reports}, lines)


def info(name: str, *, as_json: opt.Json = False) -> None:
    """Show the card of a model (level of theory, data, accuracy, domain), or what a file holds.

    Parameters
    ----------
    name : str
        Name of a bundled model, or any file of mda-aptnn.
    """
    of_file = io.kind_of(name) not in (None, "model")
    found = _describe_file(Path(name)) if of_file else _describe_model(name)
    emit(found, as_json, "\n".join(_lines(found)))


def _describe_model(name: str) -> dict[str, Any]:

    return {"model": name, **mda_aptnn.load_model(name).info}


def _describe_file(path: Path) -> dict[str, Any]:
    import h5py

    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        for key, value in file.attrs.items():
            text = value.item() if hasattr(value, "item") else value
            try:
                is_json = isinstance(text, str) and text[:1] in "[{"
                found[key] = json.loads(text) if is_json else text
            except json.JSONDecodeError:
                found[key] = text

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                shape = f"{list(item.shape)} {item.attrs.get('units', '')}".strip()
                found.setdefault("data sets", {})[name] = shape

        file.visititems(visit)
    return found


def _lines(values: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list) and len(value) > 12:
            lines.append(f"{indent}{key}: {len(value)} values")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            lines.append(f"{indent}{key}: {text}")
    return lines
