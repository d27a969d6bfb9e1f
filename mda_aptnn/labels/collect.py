"""Outputs of a campaign to labelled frames: nothing is taken over that was not checked."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from typing import Any

import numpy as np

from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.io import file_hash
from mda_aptnn.labels.campaign import MANIFEST, Campaign, Task, describe
from mda_aptnn.labels.cp2k.output import RunOutput, check_geometry, parse_output
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.labels.runs import Labels
from mda_aptnn.tensors import sum_rule_residual

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
    frames, left_out = [], []
    levels: list[str] = []
    for info, tasks in campaign.frames():
        try:
            labelled, level = _collect_frame(tasks, max_residual, max_pgt_residual)
        except (CampaignError, LabelError) as error:
            left_out.append(LeftOut(describe(info), str(error)))
            continue
        frames.append(labelled)
        levels.append(level)
    if len(set(levels)) > 1:
        warnings.warn(
            f"labels of several versions of CP2K: {', '.join(sorted(set(levels)))}", stacklevel=2
        )
    sources = {
        MANIFEST: file_hash(campaign.folder / MANIFEST),
        "template": str(campaign.manifest["template"]),
    }
    return Dataset(frames, "; ".join(dict.fromkeys(levels)), sources), left_out


def _collect_frame(
    tasks: list[Task], max_residual: float, max_pgt_residual: float
) -> tuple[LabelledFrame, str]:
    first = tasks[0]
    parts, versions = [], set()
    for task in tasks:
        labels, version = read_task(task)
        parts.append(labels)
        versions.add(version)
    tensors = {name: _merge([part.tensors[name] for part in parts]) for name in parts[0].tensors}
    frame = first.frame
    info: dict[str, Any] = {**first.info, **parts[0].info}
    info["route"] = first.route.name
    info.update({key: value for key, value in first.route.parameters.items() if value is not None})
    info["program"] = " and ".join(sorted(versions))
    info["tasks"] = [task.name for task in tasks]
    info["inputs"] = {
        f"{task.name}/{name}": digest for task in tasks for name, digest in task.inputs.items()
    }
    apt = tensors["apt"]
    if not np.isnan(apt).any():
        info["sum_rule_residual"] = float(np.abs(sum_rule_residual(apt, frame.charge)).max())
        _check_sum_rule(
            "Σ P − Q·1", info["sum_rule_residual"], "e", frame, max_residual, "--max-residual"
        )
        info["sum_rule_threshold"] = max_residual
    gradients = tensors.get("pgt")
    if gradients is not None and not np.isnan(gradients).any():
        info["pgt_sum_rule_residual"] = float(np.abs(gradients.sum(axis=0)).max())
        _check_sum_rule(
            "Σ G",
            info["pgt_sum_rule_residual"],
            "Å²",
            frame,
            max_pgt_residual,
            "--max-pgt-residual",
        )
        info["pgt_sum_rule_threshold"] = max_pgt_residual
    settings = ", ".join(
        f"{key} {value:g}" for key, value in first.route.parameters.items() if value is not None
    )
    level = f"{info['program']}, {first.level_of_theory}, {settings} {first.route.unit}".rstrip(
        ", "
    )
    return LabelledFrame(frame, tensors, info), level


def _merge(parts: list[np.ndarray]) -> np.ndarray:
    """Tensors of one frame from tasks that each labelled some of its atoms."""
    merged = parts[0].copy()
    for part in parts[1:]:
        merged = np.where(np.isnan(merged), part, merged)
    return merged


def _check_sum_rule(
    what: str, residual: float, unit: str, frame: Frame, max_residual: float, option: str
) -> None:
    per_atom = residual / len(frame)
    if per_atom > max_residual:
        raise LabelError(
            f"the sum rule is off: {what} is {residual:.4f} {unit} over {len(frame)} atoms, "
            f"{per_atom:.5f} {unit} an "
            f"atom, above the {max_residual:g} {unit} accepted: tighten EPS_SCF and CUTOFF, "
            f"enlarge the cell, or "
            f"raise {option}"
        )


def read_task(task: Task) -> tuple[Labels, str]:
    """Read and check all runs of a task.

    Returns
    -------
    labels : Labels
    version : str
        Of CP2K.

    Raises
    ------
    LabelError
        If a run is missing, cut, not converged, or belongs to another task, input or geometry.
    """
    failure = task.failure
    if failure is not None:
        raise LabelError(f"task {task.name} failed: {failure['message']}")
    outputs: dict[str, RunOutput] = {}
    for run in task.runs:
        path = task.directory / f"{run.name}.out"
        where = f"task {task.name}, {run.name}"
        if not path.is_file():
            raise LabelError(f"{where}: not run yet")
        try:
            _check_input(task, f"{run.name}.inp")
            output = parse_output(path.read_text(errors="replace"))
            if output.project != task.project(run):
                raise LabelError(
                    f"the output is that of {output.project}, not of {task.project(run)}"
                )
            check_geometry(output, run.geometry(task.placed))
        except (LabelError, OSError) as error:
            raise LabelError(f"{where}: {error}") from error
        outputs[run.name] = output
    try:
        labels = task.route.labels(task.placed, task.runs, outputs)
    except LabelError as error:
        raise LabelError(f"task {task.name}: {error}") from error
    return labels, " and ".join(sorted({output.version for output in outputs.values()}))


def _check_input(task: Task, name: str) -> None:
    if hashlib.sha256((task.directory / name).read_bytes()).hexdigest() != task.inputs[name]:
        raise LabelError("the input was changed after it was planned")
