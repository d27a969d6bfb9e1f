"""Commands for whole runs: a demonstration, a report, a live spectrum, a learning loop; and what a
file holds.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import Outputs, emit
from mda_aptnn.cli.spectra import topology_and_flux


def demo(
    folder: Annotated[
        Path, Option("--output", "-o", help="Folder for the files, made if needed.")
    ] = Path("mda-aptnn-demo"),
    workers: Annotated[int | None, Option(help="Processes; one for each core by default.")] = None,
    as_json: opt.Json = False,
) -> None:
    """Infrared spectrum of liquid water: a bundled trajectory (64 molecules, 10 ps) and the bundled
    model.

    The trajectory follows a neural-network potential (C. Schran et al., J. Chem. Phys. 153, 104105
    (2020)) at 319 K.
    """
    from mda_aptnn.cli.fluxes import Reading
    from mda_aptnn.cli.spectra import spectrum
    from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY

    folder.mkdir(parents=True, exist_ok=True)
    output = folder / "water.h5"
    if not _of_a_demo(output):
        raise opt.OptionError(
            f"{output} is there and was not made by demo: give another folder (-o)"
        )
    spectrum(
        Reading(
            topology=Path(WATER64_TOPOLOGY),
            trajectory=[Path(WATER64_TRAJECTORY)],
            group=["O=element O", "H=element H"],
            workers=workers or os.cpu_count() or 1,
        ),
        opt.Estimate(resolution="40 cm^-1"),
        opt.Saving(csv=folder / "water.csv", plot=folder / "water.png", as_json=as_json),
        output=output,
        flux_output=folder / "water-flux.h5",
    )


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
    lines: opt.Lines,
    files: Annotated[
        list[Path],
        Argument(help="Flux file; the topology before it, for a flux of atoms, adds distances."),
    ],
    output: Annotated[Path, Option("--output", "-o", help="HTML file.")] = Path("report.html"),
    title: Annotated[str | None, Option(help="Name of the flux file if not given.")] = None,
    temperature: opt.Temperature = None,
    volume: opt.Volume = None,
    as_json: opt.Json = False,
) -> None:
    """Report of a run in one HTML file that needs no network: spectrum, decomposition, checks,
    provenance.
    """
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.report import write_report

    outputs = Outputs(as_json, report=output)
    settings = {**lines.keywords(), "temperature": temperature, "volume": volume}
    flux, distances = files[0], None
    if len(files) > 1:
        from mda_aptnn.flux.molecular_flux import open_molecules
        from mda_aptnn.spectra.spatial import distance_spectrum

        topology, flux = topology_and_flux(files)
        [universe] = opt.open_universes(topology, [])
        with open_molecules(flux, universe) as (series, molecules):
            distances = distance_spectrum(molecules, series, **settings)
    checks = write_report(
        FluxSeries.load(flux),
        output,
        title=title or flux.stem,
        source=flux,
        distances=distances,
        **settings,
    )
    outputs.tell({}, (), checks)


def live(
    charges: opt.Charges,
    topology: opt.Topology,
    address: Annotated[str, Argument(help='Where the simulation listens: "imd://localhost:8889".')],
    lines: opt.Lines,
    output: opt.Output = Path("spectrum.h5"),
    plot: opt.Plot = None,
    every: Annotated[int, Option(min=1, help="Frames between two writings of the files.")] = 10_000,
    stop: Annotated[int | None, Option(help="Frames to stop after; else at the end.")] = None,
    model: opt.Model = "water-rpbe-d3",
    group: opt.Group = None,
    element: opt.Element = None,
    temperature: opt.Temperature = None,
    as_json: opt.Json = False,
) -> None:
    """Spectrum of a running simulation: files are written again and again until it ends or you
    press Ctrl-C.
    """
    import MDAnalysis

    from mda_aptnn.errors import SpectrumError
    from mda_aptnn.live import FluxStream

    outputs = Outputs(as_json, spectrum=output, plot=plot)
    universe = MDAnalysis.Universe(str(topology), address)
    try:
        stream = FluxStream(
            universe,
            model,
            opt.pairs(group, "group"),
            elements=opt.pairs(element, "element"),
            **lines.keywords(),
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
    folder: Annotated[Path, Argument(help="Folder of the loop, new or begun.")],
    reading: opt.Moving,
    charges: opt.Charges,
    template: opt.Template = Path("template.inp"),
    route: opt.Route = "field",
    command: opt.Command = "cp2k.psmp",
    initial: Annotated[int, Option(help="Frames of the first round.")] = 4,
    test: Annotated[int, Option(help="Frames for calibration and test, never trained on.")] = 2,
    count: Annotated[int, Option("--count", "-n", help="Frames that each further round adds.")] = 4,
    candidates: Annotated[
        int, Option(help="Frames, evenly over the trajectory, that each round chooses from.")
    ] = 500,
    members: Annotated[int, Option(help="Members of the committee.")] = 4,
    config: opt.Plan = None,
    seed: Annotated[int, Option(help="Of the first frames and the test frames.")] = 0,
    resolution: opt.Resolution = "10 cm^-1",
    temperature: opt.Temperature = None,
    tolerance: Annotated[
        float,
        Option(help="Stop when the spectrum changes by less than this part of its error bar."),
    ] = 0.5,
    rounds: Annotated[int, Option(help="Rounds in all, at most.")] = 10,
    one: Annotated[bool, Option("--one", help="Only the next round.")] = False,
    workers: opt.Workers = 1,
    retry: Annotated[bool, Option("--retry", help="Label again what failed.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Learn a trajectory's polar tensors with as few labels as its spectrum needs.

    Every round labels the frames that the committee disagrees about, trains a new one, and makes
    the spectrum. Killed at any moment, the same command goes on.
    """
    from mda_aptnn import units
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
    lines = [
        f"{'round':>5}{'frames':>8}{'test RMSE/e':>13}{'change':>9}{'model error':>13}   (of the "
        "error bar)"
    ]
    for row in reports:
        change = "" if row["change"] is None else f"{row['change']:.2f}"
        lines.append(
            f"{row['round']:5d}{row['training_frames']:8d}{row['rmse']:13.4f}{change:>9}"
            f"{row['model_error']:13.2f}"
        )
    lines.append(
        f"done: the spectrum has changed by less than {tolerance:g} of its error bar"
        if reports[-1]["stop"]
        else "not done: the same command goes on (--rounds for more rounds)"
    )
    outputs.tell({"rounds": reports}, lines)


def info(
    name: Annotated[str, Argument(help="Name of a bundled model, or any file of mda-aptnn.")],
    as_json: opt.Json = False,
) -> None:
    """Show the card of a model (level of theory, data, accuracy, domain), or what a file holds."""
    from mda_aptnn import io

    of_file = io.kind_of(name) not in (None, "model")
    found = _describe_file(Path(name)) if of_file else _describe_model(name)
    emit(found, as_json, "\n".join(_lines(found)))


def _describe_model(name: str) -> dict[str, Any]:
    from mda_aptnn.model.predict import load_model

    return {"model": name, **load_model(name).info}


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
