"""``mda-aptnn label``: plan, run, script, collect and check a labelling campaign."""

from __future__ import annotations

import warnings
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from typer import Option

from mda_aptnn import io, units
from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import OptionError, Outputs
from mda_aptnn.errors import LabelError
from mda_aptnn.frame import cell_matrix
from mda_aptnn.text import table

if TYPE_CHECKING:
    from mda_aptnn.labels.dataset import Dataset

Selection = StrEnum("Selection", ["random", "uniform", "indices"])

Field = Annotated[Any, opt.positive("hartree/e/bohr")]
Displacement = Annotated[Any, opt.positive("angstrom")]

LabelFiles = list[Path]
LabelCell = Annotated[
    str | None,
    Option(
        help='Cell of frames whose file has none: "a b c alpha beta gamma" in Å and degrees, or '
        '"none" for isolated molecules.'
    ),
]


def read(labels: list[Path], cell: str | None) -> Dataset:
    """Return the labelled frames of all files.

    Raises
    ------
    FileFormatError
        If a file is damaged, or has frames without a cell and none was given.
    FrameError
        If the cell cannot be understood.
    """
    from mda_aptnn.labels import dataset

    if cell is None:
        return dataset.read_labels(labels)
    isolated = cell.strip().lower() == "none"
    return dataset.read_labels(labels, np.zeros((3, 3)) if isolated else cell_matrix(cell))


def plan(
    reading: opt.Choosing,
    *,
    template: Path = Path("template.inp"),
    output: opt.Output = Path("campaign"),
    code: str = "cp2k",
    route: str = "field",
    select: Selection = Selection.random,
    indices: str | None = None,
    seed: int = 0,
    apart: str = "0.1 ps",
    field: Field = None,
    second_field: Field = None,
    displacement: Displacement = "0.01",
    atoms: str | None = None,
    time_step: str | None = None,
    out: Outputs = opt.writes(),
) -> None:
    """Choose snapshots and write a folder of inputs for each.

    Parameters
    ----------
    select : str
        How snapshots are chosen.
    indices : str
        Frames counted from 0: "0 10 20".
    seed : int
        Of the random choice.
    apart : str
        Warn when two snapshots are closer in time.
    field : str
        Field strength in atomic units, or "0.05 V/angstrom"; 1e-3 by default, 5e-3 for field-raman.
    second_field : str
        Another strength, to check linearity (as many more runs).
    displacement : str
        Displacement of each atom, in Å.
    atoms : str
        Atoms to displace, as an MDAnalysis selection; all by default.
    """
    from mda_aptnn.labels import campaign as campaigns
    from mda_aptnn.labels import protocol, routes, snapshots

    plain = routes.make_route(route, {})
    given = {"field": field, "second_field": second_field, "displacement": displacement}
    used = {k: v for k, v in given.items() if k in plain.parameters and v is not None}
    if atoms is not None and not plain.by_atom:
        raise OptionError(
            "--atoms goes with --route displacement: the other routes label all atoms at once"
        )
    way, recipe = routes.make_route(route, used), protocol.find_code(code).recipe(template)
    source = reading.source(time_step=time_step)
    for note in source.notes:
        warnings.warn(note, stacklevel=1)
    wanted = [int(word) for word in indices.replace(",", " ").split()] if indices else None
    among = source.numbers(*reading.chosen())
    count = reading.how_many()
    picked = snapshots.choose_frames(len(among), count, select, indices=wanted, seed=seed)
    chosen = [among[k] for k in picked]
    least = units.magnitude(apart, "ps", "--apart")
    frames = source.snapshots(chosen, atoms=atoms, apart=least)
    campaign = campaigns.plan(output, frames, recipe, way)
    tasks = list(campaign.tasks())
    report = {
        "campaign": str(output),
        "snapshots": len(campaign.manifest["frames"]),
        "tasks": len(tasks),
        "runs": sum(len(task.runs) for task in tasks),
        "level_of_theory": recipe.level_of_theory,
        "frames": chosen,
    }
    counts = ", ".join(f"{report[name]} {name}" for name in ("snapshots", "tasks", "runs"))
    next_step = f"next: mda-aptnn label run {output}"
    out.tell(report, [f"{counts} in {output} ({recipe.level_of_theory})", next_step])


def run(
    folder: Path,
    *,
    command: str | None = None,
    workers: opt.Count = 1,
    retry: bool = False,
    task: int | None = None,
    dask: str | None = None,
    out: Outputs = opt.writes(),
) -> None:
    """Run what is missing; interrupted anywhere, the same command goes on. Exit code 1 if a task
    failed.

    Parameters
    ----------
    command : str
        What starts the code: "mpirun -np 2 cp2k.psmp"; its own if none.
    retry : bool
        Run again the tasks that failed.
    task : int
        Only this task, counted from 0 (for job arrays).
    dask : str
        Address of a Dask scheduler, or its scheduler file.
    """
    from mda_aptnn.labels.campaign import Campaign
    from mda_aptnn.labels.execution import run_campaign

    how: dict[str, Any] = {"workers": workers, "retry": retry, "task": task, "dask": dask}
    outcomes = run_campaign(Campaign(folder), command, **how, verbose=not out.as_json)
    failures = {item.task: item.message for item in outcomes if item.state == "failed"}
    for outcome in outcomes:
        if outcome.task in failures:
            typer.echo(f"task {outcome.task} failed: {outcome.message}", err=True)
            for line in outcome.last_lines.splitlines():
                typer.echo(f"    {line}", err=True)
    counts = Counter(outcome.state for outcome in outcomes)
    states = {state: counts[state] for state in ("complete", "failed", "busy")}
    lines = [", ".join(f"{count} {state}" for state, count in states.items() if count)]
    lines += ["run the failed ones again with --retry"] if failures else []
    out.tell({**states, "failures": failures}, lines)
    if failures:
        raise typer.Exit(1)


def script(
    folder: Path,
    *,
    command: str = "srun cp2k.psmp",
    slurm: Annotated[bool, Option("--slurm")] = True,
    output: Path | None = None,
) -> None:
    """Write a job script: one element of a job array for each task.

    Parameters
    ----------
    command : str
        What starts the code within a job.
    slurm : bool
        A SLURM job array (the only kind there is).
    output : path
        Write to a file instead of the screen.
    """
    from mda_aptnn.labels.campaign import Campaign
    from mda_aptnn.labels.execution import slurm_script

    text = slurm_script(Campaign(folder), command)
    if output is None:
        typer.echo(text, nl=False)
        return
    with io.replacing(output) as temporary:
        temporary.write_text(text)


def collect(
    folder: Path,
    *,
    max_residual: float = 2e-3,
    max_pgt_residual: float = 2e-2,
    out: Outputs = opt.writes(labels="labels.h5"),
) -> None:
    """Check every run and write the labels; snapshots that fail a check are left out and listed.

    Parameters
    ----------
    max_residual : float
        Largest accepted component of Σ P − Q·1 for each atom, in e.
    max_pgt_residual : float
        Largest accepted component of Σ G (polarizability gradients) for each atom, in Å².
    """
    from mda_aptnn.labels.campaign import Campaign
    from mda_aptnn.labels.collect import collect as collected

    output = out.files["labels"]
    found, left_out = collected(Campaign(folder), max_residual, max_pgt_residual)
    for item in left_out:
        typer.echo(f"left out: {item.frame}: {item.reason}", err=True)
    if not len(found):
        raise LabelError(f"no snapshot of {folder} has usable labels; nothing was written")
    found.save(output)
    theory = found.level_of_theory
    report = {
        "labels": str(output),
        "frames": len(found),
        "left_out": {item.frame: item.reason for item in left_out},
        "max_residual": max_residual,
        "level_of_theory": theory,
    }
    text = f"{len(found)} frames in {output}, {len(left_out)} left out ({theory}); sum rule "
    out.tell(report, f"{text}within {max_residual:g} e an atom")


def check(
    labels: LabelFiles, *, cell: LabelCell = None, out: Outputs = opt.writes(plot=None)
) -> None:
    """Report the quality of labels: sum rule, distributions, symmetry, duplicates, outliers,
    linearity.
    """
    from mda_aptnn.labels import quality

    measured = quality.check_labels(read(labels, cell))
    if plot := out.files.get("plot"):
        quality.plot_quality(measured, plot)
    report = measured.summary()
    pairs = [f"{first} and {second}" for first, second in report["duplicates"]]
    found = [
        f"{item['element']} {item['atom']} of frame {item['frame']}" for item in report["outliers"]
    ]
    more = [f"and {len(found) - 10} more"] if len(found) > 10 else []
    lines = [
        f"{len(report['sum_rule_per_atom'])} frames",
        *_tensor_lines(report, "e"),
        f"duplicates: {'; '.join(pairs) or 'none'}",
        f"outliers: {'; '.join([*found[:10], *more]) or 'none'}",
    ]
    if "polarizability_gradients" in report:
        lines += ["polarizability gradients (norms)"]
        lines += _tensor_lines(report["polarizability_gradients"], "Å²")
    out.tell(report, lines)


def _tensor_lines(report: dict[str, Any], unit: str) -> list[str]:
    """What is found of the tensors of one kind: their sum rule, elements and linearity."""
    residuals = report["sum_rule_per_atom"]
    known = sorted(value for value in residuals if value is not None)
    lines = []
    if known:
        lines.append(
            f"sum rule: largest component per atom {known[-1]:.1e} {unit} (frame "
            f"{residuals.index(known[-1])}), median {known[len(known) // 2]:.1e} {unit}"
        )
    lines += table(report["species"])
    if report["linearity"]:
        largest = max(report["linearity"].values())
        lines.append(f"linearity: largest change with field strength {largest:.1e} {unit}")
    return lines
