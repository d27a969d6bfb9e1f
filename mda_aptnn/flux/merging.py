"""Runs put together: which continue each other, which are replicas, and which cannot be one flux."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from mda_aptnn.checks import Checks
from mda_aptnn.errors import CheckError, GroupError, TrajectoryError
from mda_aptnn.flux.flux_series import RECORDS, FluxSeries

logger = logging.getLogger(__name__)

#: Two parts continue each other if the step between them is the spacing within this part of it.
_JOIN = 0.05
#: Spacings of two parts are the same within this: what rounding of recorded times leaves, an error
#: of 4 cm⁻¹ in 4000.
_SAME_SPACING = 1e-3


def merge_runs(parts: Sequence[FluxSeries]) -> FluxSeries:
    """Put runs together; see `FluxSeries.merge`.

    Parameters
    ----------
    parts : sequence of FluxSeries

    Returns
    -------
    FluxSeries

    Raises
    ------
    TrajectoryError, GroupError
        If they do not fit.
    """
    if not parts:
        raise TrajectoryError("there is no flux to merge")
    first = parts[0]
    starts: list[int] = []
    notes: list[str] = []
    n_frames = 0
    for number, part in enumerate(parts):
        if part.groups != first.groups:
            raise GroupError(
                f"part {number + 1} has the groups {part.groups}, the first one {first.groups}"
            )
        for what in ("n_atoms", "charge", "sum_rule", "model"):
            mine, theirs = first.info.get(what), part.info.get(what)
            if mine != theirs:
                raise TrajectoryError(
                    f"part {number + 1} has {what} {theirs}, the first one {mine}"
                )
        if abs(part.spacing - first.spacing) > _SAME_SPACING * first.spacing:
            raise TrajectoryError(
                f"part {number + 1} has frames {part.spacing:g} ps apart, the first one "
                f"{first.spacing:g} ps; "
                "read each with a step that makes them equal"
            )
        if part.finite_difference != first.finite_difference:
            raise TrajectoryError(
                "velocities were recorded in some parts and made by finite differences in others"
            )
        for earlier_number, other in enumerate(parts[:number]):
            shared = shared_frames(part, other)
            if shared > 1:
                raise CheckError(
                    f"part {number + 1} has the same flux as part {earlier_number + 1} in {shared} "
                    f"frames: the same "
                    "frames twice are no more statistics, and error bars of them are too small; "
                    "give each frame once"
                )
        own = [n_frames + start for start in part.starts]
        if number:
            gap = float(part.times[0] - parts[number - 1].times[-1])
            joins = abs(gap - first.spacing) < _JOIN * first.spacing
            own = own[1:] if joins else own
            kind = "continues the one before" if joins else "is a replica of its own"
            notes.append(f"part {number + 1} (from {part.times[0]:.4g} ps) {kind}")
            logger.info(notes[-1])
        starts += own
        n_frames += len(part)
    checks = Checks.from_json(item for part in parts for item in part.info.get("checks", []))
    merged: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("flux", "times", *RECORDS)
    }
    for name in ("members", "polarizability"):
        known = [getattr(part, name) for part in parts if getattr(part, name) is not None]
        merged[name] = np.concatenate(known) if len(known) == len(parts) else None
    earlier = [note for part in parts for note in part.info.get("notes", [])]
    info = first.info | {
        "trajectory": [name for part in parts for name in part.info.get("trajectory", [])],
        "checks": Checks(tuple(dict.fromkeys(checks))).to_json(),
        "kinetic_temperature": _mean_temperature(parts),
        "notes": list(dict.fromkeys(earlier + notes)),
    }
    return dataclasses.replace(first, starts=starts, info=info, **merged)


def shared_frames(part: FluxSeries, other: FluxSeries) -> int:
    """Return how many frames have the same flux in both parts, bit for bit.

    No two frames have the same flux but that of nothing that moves. Replicas may start from one
    frame, and a run that goes on repeats the last one before it.
    """
    known, there = ({row.tobytes() for row in one.flux if row.any()} for one in (part, other))
    return len(known & there)


def _mean_temperature(parts: Sequence[FluxSeries]) -> list[float | None]:
    """Kinetic temperature and its standard error in K of what was seen before the runs."""
    known = [part.info.get("kinetic_temperature") or [None, None] for part in parts]
    if any(value is None for pair in known for value in pair):
        return [None, None]
    values = np.array(known, dtype=float)
    return [float(values[:, 0].mean()), float(np.sqrt((values[:, 1] ** 2).sum()) / len(values))]
