"""``mda-aptnn check``: what is found of a trajectory, without a prediction."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import check_lines


def check(
    topology: opt.Topology,
    trajectory: opt.Trajectory = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Also hold the frames against what this model knows.",
            show_default=False,
        ),
    ] = None,
    start: opt.Start = None,
    stop: opt.Stop = None,
    step: opt.Step = None,
    velocity_unit: opt.VelocityUnit = "auto",
    velocities: opt.Velocities = "trajectory",
    time_step: opt.TimeStep = None,
    element: opt.Element = None,
    cell: opt.Cell = None,
    pbc: opt.Pbc = None,
    check_temperature: opt.CheckTemperature = True,
    allow_aliasing: opt.AllowAliasing = False,
    override_cell: opt.OverrideCell = False,
    allow_outside_domain: opt.AllowOutsideDomain = False,
    file_format: opt.Format = None,
    topology_format: opt.TopologyFormat = None,
    as_json: opt.Json = False,
) -> None:
    """Check a trajectory by a few of its frames, as every command does before it predicts. Exit
    code 1 if refused.
    """
    from mda_aptnn.checks import Check, Checks, Verdict
    from mda_aptnn.flux.checked_analysis import chosen_timeline
    from mda_aptnn.flux.guard import check_replicas, check_run
    from mda_aptnn.trajectory.universe_frames import UniverseFrames

    known: Any = None
    if model is not None:
        from mda_aptnn.model.predict import load_model

        known = load_model(model)
    readers: list[UniverseFrames] = []
    found: list[Check] = []
    reports: list[str] = []
    for universe in opt.open_universes(topology, trajectory, file_format, topology_format, cell):
        frames = UniverseFrames(
            universe,
            velocities=velocities,
            velocity_unit=velocity_unit,
            time_step=time_step,
            elements=opt.pairs(element, "element"),
            cell=cell,
            pbc=pbc,
            check_temperature=check_temperature,
        )
        wanted, timeline = chosen_timeline(frames, start, stop, step, None)
        allowed = {
            "allow_aliasing": allow_aliasing,
            "override_cell": override_cell,
            "allow_outside_domain": allow_outside_domain,
        }
        found += check_run(frames, wanted, timeline, model=known, **allowed).checks
        readers.append(frames)
        reports.append(
            f"{len(wanted)} frames of {len(frames.numbers)} atoms, {1000 * timeline.spacing:g} fs "
            f"apart, in "
            f"{len(timeline.starts)} series"
        )
        reports += [f"note: {note}" for note in frames.notes]
    checks = Checks((*found, *check_replicas(readers)))
    report = {"checks": checks.to_json(), "verdict": checks.worst.value, "about": reports}
    opt.emit(report, as_json, "\n".join([*reports, *check_lines(checks, every=True)]))
    if checks.worst is Verdict.REFUSED:
        raise typer.Exit(1)
