"""Outputs of a campaign to labelled frames: nothing is taken over that was not checked."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.io import file_hash
from mda_aptnn.labels.campaign import MANIFEST, Campaign, Task, describe
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.labels.protocol import Output, check_geometry
from mda_aptnn.labels.routes import check_sum_rules

#: Largest component of Σ_i P_i − Q·1, in e for each atom. Good labels of liquid water have 2e-4 to
#: 4e-4.
MAX_RESIDUAL = 2e-3
#: Largest component of Σ_i G_i, in Å² for each atom.
MAX_PGT_RESIDUAL = 2e-2


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A snapshot without usable labels.

    Attributes
    ----------
    frame : str
        Which one.
    reason : str
    """

    frame: str
    reason: str


def collect(
    campaign: Campaign,
    max_residual: float = MAX_RESIDUAL,
    max_pgt_residual: float = MAX_PGT_RESIDUAL,
) -> tuple[Dataset, list[LeftOut]]:
    """Read, check and assemble the labels of all snapshots.

    Parameters
    ----------
    campaign : Campaign
    max_residual : float
        Threshold of the acoustic sum rule, largest component of the residual divided by the number
        of atoms, in e.
    max_pgt_residual : float
        The same for ``Σ_i G_i``, which translation invariance makes zero, in Å².

    Returns
    -------
    dataset : Dataset
        Snapshots whose every run ended, converged and belongs to its own geometry and input.
    left_out : list of LeftOut
        The others, with the reason.
    """
    frames: list[LabelledFrame] = []
    left_out, levels = [], dict[str, None]()
    thresholds = {"apt": max_residual, "pgt": max_pgt_residual}
    for info, tasks in campaign.frames():
        try:
            labelled = _collect_frame(tasks)
            labelled.info.update(check_sum_rules(labelled, thresholds))
        except (CampaignError, LabelError) as error:
            left_out.append(LeftOut(describe(info), str(error)))
            continue
        frames.append(labelled)
        levels[_level(tasks[0], labelled)] = None
    if len(levels) > 1:
        warnings.warn(
            f"labels of several versions of {campaign.code.title}: {', '.join(sorted(levels))}",
            stacklevel=2,
        )
    manifest = file_hash(campaign.folder / MANIFEST)
    sources = {MANIFEST: manifest, "template": str(campaign.manifest["template"])}
    return Dataset(frames, "; ".join(levels), sources), left_out


def _level(task: Task, labelled: LabelledFrame) -> str:
    """Program, method and settings of the route in one line."""
    info = labelled.info
    settings = [f"{name} {info[name]:g}" for name in task.route.parameters if name in info]
    parts = [info["program"], task.level_of_theory, ", ".join(settings)]
    return f"{', '.join(filter(None, parts))} {task.route.unit}".rstrip()


def _collect_frame(tasks: list[Task]) -> LabelledFrame:
    """One frame from tasks that each labelled some of its atoms, or all."""
    first, parts, programs = tasks[0], [], set[str]()
    for task in tasks:
        labels, program = read_task(task)
        parts.append(labels)
        programs.add(program)
    tensors = dict(parts[0].tensors)
    for name, part in ((name, part.tensors[name]) for part in parts[1:] for name in tensors):
        tensors[name] = np.where(np.isnan(tensors[name]), part, tensors[name])
    parameters = {k: v for k, v in first.route.parameters.items() if v is not None}
    info = {**first.info, **parts[0].info, "route": first.route.name, **parameters}
    info["program"] = " and ".join(sorted(programs))
    info["tasks"] = [task.name for task in tasks]
    info["inputs"] = {f"{task.name}/{k}": v for task in tasks for k, v in task.inputs.items()}
    return LabelledFrame(first.frame, tensors, info)


def read_task(task: Task) -> tuple[LabelledFrame, str]:
    """Read and check all runs of a task.

    Returns
    -------
    labels : LabelledFrame
        As placed; NaN for atoms that this task did not label.
    version : str
        Of the program.

    Raises
    ------
    LabelError
        If a run is missing, cut, not converged, or belongs to another task, input or geometry.
    """
    if failure := task.failure:
        raise LabelError(f"task {task.name} failed: {failure['message']}")
    outputs: dict[str, Output] = {}
    for run in task.runs:
        try:
            if not (task.directory / run.output).is_file():
                raise LabelError("not run yet")
            task.check_inputs(set(task.inputs) & {run.input})
            outputs[run.name] = task.output(run)
            check_geometry(outputs[run.name], run.geometry(task.placed))
        except (CampaignError, LabelError, OSError) as error:
            raise LabelError(f"task {task.name}, {run.name}: {error}") from error
    try:
        labels = task.route.labels(task.placed, task.runs, outputs)
    except LabelError as error:
        raise LabelError(f"task {task.name}: {error}") from error
    return labels, " and ".join(sorted({output.version for output in outputs.values()}))
