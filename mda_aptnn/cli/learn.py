"""``mda-aptnn learn``: label, train, predict, compare spectra, until the spectrum no longer
changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import emit_with_files


def learn(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the loop, new or begun.", show_default=False)
    ],
    topology: opt.Topology,
    trajectory: opt.Trajectory = None,
    template: Annotated[Path, typer.Option("--template", help="Your working CP2K input.")] = Path(
        "template.inp"
    ),
    route: Annotated[str, typer.Option(help="As for label plan.")] = "field",
    command: Annotated[
        str, typer.Option("--command", "-c", help='What starts CP2K: "mpirun -np 2 cp2k.psmp".')
    ] = "cp2k.psmp",
    initial: Annotated[int, typer.Option(help="Frames of the first round.")] = 4,
    test: Annotated[
        int, typer.Option(help="Frames for calibration and test, never trained on.")
    ] = 2,
    count: Annotated[
        int, typer.Option("--count", "-n", help="Frames that each further round adds.")
    ] = 4,
    candidates: Annotated[
        int, typer.Option(help="Frames, evenly over the trajectory, that each round chooses from.")
    ] = 500,
    members: Annotated[int, typer.Option(help="Members of the committee.")] = 4,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML plan of the training of each member.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the first frames and the test frames.")] = 0,
    resolution: Annotated[str, typer.Option(help="Of the spectrum.")] = "10 cm^-1",
    temperature: Annotated[
        str | None,
        typer.Option(
            "--temperature", "-T", help="From the velocities if not given.", show_default=False
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Stop when the spectrum changes by less than this part of its error bar."
        ),
    ] = 0.5,
    rounds: Annotated[int, typer.Option(help="Rounds in all, at most.")] = 10,
    one: Annotated[bool, typer.Option("--one", help="Only the next round.")] = False,
    workers: opt.Workers = 1,
    retry: Annotated[bool, typer.Option("--retry", help="Label again what failed.")] = False,
    start: opt.Start = None,
    stop: opt.Stop = None,
    step: opt.Step = None,
    velocity_unit: opt.VelocityUnit = "auto",
    velocities: opt.Velocities = "trajectory",
    time_step: opt.TimeStep = None,
    element: opt.Element = None,
    cell: opt.Cell = None,
    pbc: opt.Pbc = None,
    charge: opt.Charge = 0.0,
    sum_rule: opt.SumRule = "none",
    degrees_of_freedom: opt.Degrees = None,
    allow_aliasing: opt.AllowAliasing = False,
    override_cell: opt.OverrideCell = False,
    file_format: opt.Format = None,
    topology_format: opt.TopologyFormat = None,
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
    reading: dict[str, Any] = {
        "velocity_unit": velocity_unit,
        "velocities": velocities,
        "time_step": time_step,
        "elements": opt.pairs(element, "element"),
        "cell": cell,
        "pbc": pbc,
        "charge": charge,
        "sum_rule": sum_rule,
        "degrees_of_freedom": degrees_of_freedom,
        "allow_aliasing": allow_aliasing,
        "override_cell": override_cell,
    }
    universes = opt.open_universes(topology, trajectory, file_format, topology_format, cell)
    names = [path.name for path in trajectory or [topology]]
    loop = Learning(folder, universes, names, plan, reading, (start, stop, step))
    reports = loop.run(command, rounds, one=one, workers=workers, retry=retry, verbose=not as_json)
    last = folder / f"round-{reports[-1]['round']}"
    files = {name: last / f"{name}.h5" for name in ("labels", "committee", "flux", "spectrum")}
    emit_with_files(files, {"rounds": reports}, _table(reports, tolerance), as_json)


def _table(reports: list[dict[str, Any]], tolerance: float) -> list[str]:
    lines = [
        f"{'round':>5}{'frames':>8}{'test RMSE/e':>13}{'change':>9}{'model error':>13}   (of the "
        f"error bar)"
    ]
    for row in reports:
        change = "" if row["change"] is None else f"{row['change']:.2f}"
        lines.append(
            f"{row['round']:5d}{row['training_frames']:8d}{row['rmse']:13.4f}{change:>9}{row['model_error']:13.2f}"
        )
    if reports[-1]["stop"]:
        lines.append(f"done: the spectrum has changed by less than {tolerance:g} of its error bar")
    else:
        lines.append("not done: the same command goes on (--rounds for more rounds)")
    return lines
