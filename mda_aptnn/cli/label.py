"""``mda-aptnn label``: plan, run, script, collect and check a labelling campaign with CP2K."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mda_aptnn.cli import labels as label_files
from mda_aptnn.cli import options as opt

Folder = Annotated[Path, typer.Argument(help="Folder of the campaign.", show_default=False)]


def plan(
    topology: opt.Topology,
    trajectory: opt.Trajectory = None,
    template: Annotated[
        Path, typer.Option("--template", help="Your working CP2K input.", show_default=False)
    ] = Path("template.inp"),
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the campaign.")] = Path(
        "campaign"
    ),
    route: Annotated[
        str,
        typer.Option(
            help='"field" (6 runs a snapshot), "displacement" (6 an atom), "analytic" (CP2K\'s own); "field-raman" '
            '(12) and "displacement-raman" (6 an atom) label polarizability gradients as well.'
        ),
    ] = "field",
    frames: Annotated[
        int | None, typer.Option(help="How many snapshots.", show_default=False)
    ] = None,
    select: Annotated[str, typer.Option(help='"random", "uniform" or "indices".')] = "random",
    indices: Annotated[
        str | None, typer.Option(help='Frames counted from 0: "0 10 20".', show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random choice.")] = 0,
    apart: Annotated[
        str, typer.Option(help="Warn when two snapshots are closer in time.")
    ] = "0.1 ps",
    field: Annotated[
        str | None,
        typer.Option(
            help='Field strength in atomic units, or "0.05 V/angstrom"; 1e-3 by default, 5e-3 for field-raman.',
            show_default=False,
        ),
    ] = None,
    second_field: Annotated[
        str | None,
        typer.Option(
            help="Another strength, to check linearity (as many more runs).", show_default=False
        ),
    ] = None,
    displacement: Annotated[str, typer.Option(help="Displacement of each atom, in Å.")] = "0.01",
    atoms: Annotated[
        str | None,
        typer.Option(
            help="Atoms to displace, as an MDAnalysis selection; all by default.",
            show_default=False,
        ),
    ] = None,
    time_step: opt.TimeStep = None,
    element: opt.Element = None,
    cell: opt.Cell = None,
    pbc: opt.Pbc = None,
    file_format: opt.Format = None,
    topology_format: opt.TopologyFormat = None,
    as_json: opt.Json = False,
) -> None:
    """Choose snapshots and write a directory of CP2K inputs for each."""
    import warnings

    from mda_aptnn import units
    from mda_aptnn.labels.campaign import plan as write
    from mda_aptnn.labels.cp2k.template import Template
    from mda_aptnn.labels.routes import make_route
    from mda_aptnn.labels.snapshots import Source, choose_frames

    parameters: dict[str, Any] = {}
    if route.startswith("field"):
        strengths = {"field": field, "second_field": second_field}
        parameters = {
            name: units.magnitude(value, "hartree/e/bohr", name.replace("_", " "))
            for name, value in strengths.items()
            if value is not None
        }
    elif route.startswith("displacement"):
        parameters = {"displacement": units.magnitude(displacement, "angstrom", "displacement")}
    if atoms is not None and not route.startswith("displacement"):
        raise opt.OptionError(
            "--atoms goes with --route displacement: the other routes label all atoms at once"
        )
    way = make_route(route, parameters)
    checked = Template.read(template)
    universes = opt.open_universes(topology, trajectory, file_format, topology_format)
    names = [path.name for path in trajectory or [topology]]
    reading = {"elements": opt.pairs(element, "element"), "cell": cell, "pbc": pbc}
    source = Source(universes, names, time_step=time_step, **reading)
    for note in source.notes:
        warnings.warn(note, stacklevel=1)
    numbers = [int(word) for word in indices.replace(",", " ").split()] if indices else None
    chosen = choose_frames(len(source), frames, select, indices=numbers, seed=seed)
    snapshots = source.snapshots(chosen, atoms=atoms, apart=units.magnitude(apart, "ps", "apart"))
    campaign = write(output, snapshots, checked, way)
    tasks = list(campaign.tasks())
    report = {
        "campaign": str(output),
        "snapshots": len(campaign.manifest["frames"]),
        "tasks": len(tasks),
        "runs": sum(len(task.runs) for task in tasks),
        "level_of_theory": checked.level_of_theory,
        "frames": chosen,
    }
    text = (
        f"{report['snapshots']} snapshots, {report['tasks']} tasks, {report['runs']} runs of CP2K "
        f"in {output} "
        f"({checked.level_of_theory})\nnext: mda-aptnn label run {output} --command cp2k.psmp"
    )
    opt.emit(report, as_json, text)


def run(
    folder: Folder,
    command: Annotated[
        str, typer.Option("--command", "-c", help='What starts CP2K: "mpirun -np 2 cp2k.psmp".')
    ] = "cp2k.psmp",
    workers: opt.Workers = 1,
    retry: Annotated[
        bool, typer.Option("--retry", help="Run again the tasks that failed.")
    ] = False,
    task: Annotated[
        int | None,
        typer.Option(help="Only this task, counted from 0 (for job arrays).", show_default=False),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            help="Address of a Dask scheduler, or its scheduler file.", show_default=False
        ),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Run what is missing; interrupted anywhere, the same command goes on. Exit code 1 if a task
    failed.
    """
    from mda_aptnn.labels.campaign import Campaign
    from mda_aptnn.labels.execution import run_campaign

    campaign = Campaign(folder)
    outcomes = run_campaign(
        campaign, command, workers=workers, retry=retry, task=task, dask=dask, verbose=not as_json
    )
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        typer.echo(f"task {outcome.task} failed: {outcome.message}", err=True)
        for line in outcome.last_lines.splitlines():
            typer.echo(f"    {line}", err=True)
    states = {
        state: sum(outcome.state == state for outcome in outcomes)
        for state in ("complete", "failed", "busy")
    }
    text = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    if failed:
        text += "\nrun the failed ones again with --retry"
    opt.emit({**states, "failures": {item.task: item.message for item in failed}}, as_json, text)
    if failed:
        raise typer.Exit(1)


def script(
    folder: Folder,
    command: Annotated[
        str,
        typer.Option("--command", "-c", help='What starts CP2K within the job: "srun cp2k.psmp".'),
    ] = "srun cp2k.psmp",
    slurm: Annotated[
        bool, typer.Option("--slurm", help="A SLURM job array (the only kind there is).")
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write to a file instead of the screen.", show_default=False
        ),
    ] = None,
) -> None:
    """Write a job script: one element of a job array for each task."""
    from mda_aptnn import io
    from mda_aptnn.labels.campaign import Campaign
    from mda_aptnn.labels.execution import slurm_script

    text = slurm_script(Campaign(folder), command)
    if output is None:
        typer.echo(text, nl=False)
        return
    with io.replacing(output) as temporary:
        temporary.write_text(text)


def collect(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="HDF5 file of the labels.")] = Path(
        "labels.h5"
    ),
    max_residual: Annotated[
        float, typer.Option(help="Largest accepted component of Σ P − Q·1 for each atom, in e.")
    ] = 2e-3,
    max_pgt_residual: Annotated[
        float,
        typer.Option(
            help="Largest accepted component of Σ G (polarizability gradients) for each atom, in Å²."
        ),
    ] = 2e-2,
    as_json: opt.Json = False,
) -> None:
    """Check every run and write the labels; snapshots that fail a check are left out and listed."""
    from mda_aptnn import io
    from mda_aptnn.errors import LabelError
    from mda_aptnn.labels.campaign import Campaign
    from mda_aptnn.labels.collect import collect as gather

    io.check_writable(output)
    dataset, left_out = gather(Campaign(folder), max_residual, max_pgt_residual)
    for item in left_out:
        typer.echo(f"left out: {item.frame}: {item.reason}", err=True)
    if not len(dataset):
        raise LabelError(f"no snapshot of {folder} has usable labels; nothing was written")
    dataset.save(output)
    report = {
        "labels": str(output),
        "frames": len(dataset),
        "left_out": {item.frame: item.reason for item in left_out},
        "max_residual": max_residual,
        "level_of_theory": dataset.level_of_theory,
    }
    text = (
        f"{len(dataset)} frames in {output}, {len(left_out)} left out ({dataset.level_of_theory}); "
        f"sum rule within "
        f"{max_residual:g} e an atom"
    )
    opt.emit(report, as_json, text)


def check(
    labels: label_files.Labels,
    cell: label_files.Cell = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw it (png, pdf, svg).", show_default=False)
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Report the quality of labels: sum rule, distributions, symmetry, duplicates, outliers,
    linearity.
    """
    from mda_aptnn import io
    from mda_aptnn.labels.quality import check_labels, plot_quality

    if plot:
        io.check_writable(plot)
    quality = check_labels(label_files.read(labels, cell))
    if plot:
        plot_quality(quality, plot)
    opt.emit(quality.summary(), as_json, _quality_text(quality.summary()))


def _quality_text(report: dict[str, Any]) -> str:
    residuals = [value for value in report["sum_rule_per_atom"] if value is not None]
    lines = [f"{len(report['sum_rule_per_atom'])} frames"]
    if residuals:
        worst = max(residuals)
        lines.append(
            f"sum rule: largest component per atom {worst:.1e} e (frame "
            f"{report['sum_rule_per_atom'].index(worst)}), "
            f"median {sorted(residuals)[len(residuals) // 2]:.1e} e"
        )
    lines.append(
        f"{'':4}{'atoms':>7}{'trace/3':>10}{'deviation':>11}{'symmetric':>11}{'antisymmetric':>15} "
        f"  (e)"
    )
    for symbol, row in report["species"].items():
        lines.append(
            f"{symbol:4}{row['atoms']:7d}{row['trace_mean']:10.4f}{row['trace_deviation']:11.4f}"
            f"{row['symmetric_rms']:11.4f}{row['antisymmetric_rms']:15.4f}"
        )
    pairs = [f"{first} and {second}" for first, second in report["duplicates"]]
    lines.append(f"duplicates: {'; '.join(pairs) or 'none'}")
    found = [
        f"{item['element']} {item['atom']} of frame {item['frame']}" for item in report["outliers"]
    ]
    shown = "; ".join(found[:10]) + (f"; and {len(found) - 10} more" if len(found) > 10 else "")
    lines.append(f"outliers: {shown or 'none'}")
    if report["linearity"]:
        lines.append(
            f"linearity: largest change with field strength "
            f"{max(report['linearity'].values()):.1e} e"
        )
    if "polarizability_gradients" in report:
        lines += _gradient_lines(report["polarizability_gradients"])
    return "\n".join(lines)


def _gradient_lines(report: dict[str, Any]) -> list[str]:
    residuals = [value for value in report["sum_rule_per_atom"] if value is not None]
    lines = ["polarizability gradients"]
    if residuals:
        lines.append(f"sum rule: largest component per atom {max(residuals):.1e} Å²")
    lines.append(f"{'':4}{'atoms':>7}{'isotropic':>11}{'anisotropic':>13}   (Å², rms of the norm)")
    for symbol, row in report["species"].items():
        lines.append(
            f"{symbol:4}{row['atoms']:7d}{row['isotropic_rms']:11.4f}{row['anisotropic_rms']:13.4f}"
        )
    if report["linearity"]:
        lines.append(
            f"linearity: largest change with field strength "
            f"{max(report['linearity'].values()):.1e} Å²"
        )
    return lines


label_app = typer.Typer(
    help="Labels from CP2K: plan a campaign, run it, collect what can be trusted, check it.",
    no_args_is_help=True,
)
for _command in (plan, run, script, collect, check):
    label_app.command()(_command)
