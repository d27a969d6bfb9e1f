"""Commands for whole runs: a demonstration, a report, a live spectrum, a learning loop; and what a
file holds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import typer

import mda_aptnn
from mda_aptnn import io
from mda_aptnn.cli import options as opt
from mda_aptnn.cli import spectra
from mda_aptnn.cli.outputs import OptionError, Outputs, made_by
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
        is_ours = made_by(path, "demo") if path.suffix == ".h5" else made_before
        if path.exists() and not is_ours:
            raise OptionError(f"{path} is there and was not made by demo: give another folder (-o)")
    how = spectra.OfFlux(
        topology=Path(WATER64_TOPOLOGY),
        trajectory=[Path(WATER64_TRAJECTORY)],
        group={"O": "element O", "H": "element H"},
        workers=workers or os.cpu_count() or 1,
        resolution="40 cm^-1",
    )
    out = Outputs(as_json, spectrum=result, flux=flux, csv=table, plot=picture)
    spectra.spectrum(how, shown=opt.Shown(), out=out)


def report(
    files: list[Path],
    *,
    sample: opt.Sample,
    lines: opt.Lines,
    shown: opt.Shown,
    title: str | None = None,
    out: Outputs = opt.writes(report="report.html"),
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
    shown.check()
    settings = {**sample.values(), **lines.values()}
    flux, distances = files[0], None
    if len(files) > 1:
        from mda_aptnn.spectra.spatial import distance_spectrum

        with spectra.opened_molecules(files) as (series, molecules):
            distances = distance_spectrum(molecules, series, **settings)
        flux = next(path for path in files if io.kind_of(path) == "flux")
    checks = mda_aptnn.write_report(
        mda_aptnn.FluxSeries.load(flux),
        out.files["report"],
        title=title or flux.stem,
        source=flux,
        distances=distances,
        shown=None if shown == opt.Shown() else shown.values(),
        **settings,
    )
    out.tell({}, (), checks)


def live(
    topology: Path,
    address: str,
    *,
    lines: opt.Lines,
    charges: opt.Charges,
    every: opt.Count = 10_000,
    stop: int | None = None,
    model: opt.Models = "water-rpbe-d3",
    group: opt.Group = None,
    element: opt.Group = None,
    temperature: opt.Temperature = None,
    out: Outputs = opt.writes(spectrum="spectrum.h5", plot=None),
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
    resolution : str
        Full width at half maximum of a line; 10 cm⁻¹ by itself.
    """
    import MDAnalysis

    from mda_aptnn.errors import SpectrumError

    if importlib.util.find_spec("imdclient") is None:
        raise ImportError('a stream is read with imdclient: pip install "mda-aptnn[live]"')
    if not topology.exists():
        raise FileNotFoundError(f"there is no file {topology}")
    if not address.startswith("imd://"):
        raise OptionError(f"{address!r}: write where the simulation listens, imd://localhost:8889")
    universe = MDAnalysis.Universe(str(topology), address)
    try:
        settings = lines.values() | charges.values()
        stream = mda_aptnn.FluxStream(universe, model, group, elements=element, **settings)
        try:
            for n in stream:
                if n % every == 0:
                    try:
                        out.save(stream.spectrum(temperature))
                    except SpectrumError as error:  # too few frames so far
                        typer.echo(f"{n} frames: {error}", err=True)
                if n == stop:
                    break
        except KeyboardInterrupt:
            typer.echo("stopped; what has come so far is written", err=True)
        out.save(stream.spectrum(temperature))
    finally:
        universe.trajectory.close()
    text = [f"{stream.n_frames} frames", *(f"note: {note}" for note in stream.notes)]
    out.tell({"n_frames": stream.n_frames, "notes": stream.notes}, text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loop(opt.Options):
    """What decides about the results of a loop of learning, as `mda_aptnn.learning.LearningPlan`.

    Attributes
    ----------
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
    resolution : str
        Full width at half maximum of a line of the spectra.
    tolerance : float
        Stop when the spectrum changes by less than this part of its error bar.
    """

    template: Path = Path("template.inp")
    route: str = "field"
    code: str = "cp2k"
    initial: int = 4
    test: int = 2
    count: int = 4
    candidates: int = 500
    members: int = 4
    seed: int = 0
    resolution: opt.Width = "10 cm^-1"
    temperature: opt.Temperature = None
    tolerance: float = 0.5


def learn(
    folder: Path,
    reading: opt.Moving,
    *,
    charges: opt.Charges,
    loop: Loop,
    command: str | None = None,
    config: opt.Plan = None,
    rounds: int = 10,
    one: bool = False,
    workers: opt.Count = 1,
    retry: bool = False,
    out: Outputs = opt.writes(),
) -> None:
    """Learn a trajectory's polar tensors with as few labels as its spectrum needs.

    Every round labels the frames that the committee disagrees about, trains a new one, and makes
    the spectrum. Killed at any moment, the same command goes on.

    Parameters
    ----------
    folder : path
        Folder of the loop, new or begun.
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
    plan = LearningPlan(**loop.values(), network=network, training=training)
    options = reading.keywords() | charges.values()
    learning = Learning(folder, reading.universes(), reading.names, plan, options, reading.chosen())
    how: dict[str, Any] = {"one": one, "workers": workers, "retry": retry}
    reports = learning.run(command, rounds, **how, verbose=not out.as_json)
    last = folder / f"round-{reports[-1]['round']}"
    names = ("labels", "committee", "flux", "spectrum")
    written = Outputs(out.as_json)
    written.names, written.files = names, {name: last / f"{name}.h5" for name in names}
    shown = ("training_frames", "rmse", "change", "model_error")
    lines = table({row["round"]: {name: row[name] for name in shown} for row in reports})
    lines.append("RMSE of the test frames in e; change and model's error in error bars")
    lines.append(
        f"done: the spectrum has changed by less than {loop.tolerance:g} of its error bar"
        if reports[-1]["stop"]
        else "not done: the same command goes on (--rounds for more rounds)"
    )
    written.tell({"rounds": reports}, lines)


def info(name: str, *, out: Outputs = opt.writes()) -> None:
    """Show the card of a model (level of theory, data, accuracy, domain), or what a file holds.

    Parameters
    ----------
    name : str
        Any file of mda-aptnn, or a model by name.
    """
    if io.kind_of(name) in (None, "model"):
        found = {"model": name, **getattr(mda_aptnn.load_model(name), "info", {})}
    else:
        found = _describe_file(Path(name))
    out.tell(found, _lines(found))


def _describe_file(path: Path) -> dict[str, Any]:
    import h5py

    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        for key, value in file.attrs.items():
            text = value.item() if hasattr(value, "item") else value
            found[key] = text
            if isinstance(text, str) and text[:1] in ("[", "{"):
                with contextlib.suppress(json.JSONDecodeError):
                    found[key] = json.loads(text)

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
