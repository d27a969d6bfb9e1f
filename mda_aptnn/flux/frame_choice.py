"""Which frames of a trajectory are analysed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import TrajectoryError

if TYPE_CHECKING:
    from mda_aptnn.trajectory.times import Timeline
    from mda_aptnn.trajectory.universe_frames import UniverseFrames


def chosen_timeline(
    frames: UniverseFrames, start: int | None, stop: int | None, step: int | None, chosen: Any
) -> tuple[NDArray[np.int64], Timeline]:
    """Return the numbers of the chosen frames and their times.

    Parameters
    ----------
    frames : UniverseFrames
    start, stop, step, chosen
        As `chosen_frames` takes them.

    Raises
    ------
    TrajectoryError
        As `chosen_frames` and `UniverseFrames.timeline`; or if no two of the frames follow each
        other.
    """
    wanted = chosen_frames(
        frames.universe.trajectory, frames.usable_frames, start, stop, step, chosen
    )
    timeline = frames.timeline(wanted)
    if not np.isfinite(timeline.spacing):
        raise TrajectoryError(
            "no two of the chosen frames follow each other in time; give time_step="
        )
    return wanted, timeline


def chosen_frames(
    trajectory: Any,
    usable: range,
    start: int | None,
    stop: int | None,
    step: int | None,
    frames: Any,
) -> NDArray[np.int64]:
    """Return the numbers of the chosen frames, equally spaced and at least two.

    Parameters
    ----------
    trajectory : MDAnalysis reader
    usable : range
        The frames that have velocities; others are left out.
    start, stop, step : int, optional
        As in a slice.
    frames : sequence of int or of bool, optional
        Numbers of frames, or a choice for each frame.

    Raises
    ------
    TrajectoryError
        If frames do not exist, are not equally spaced, or are fewer than two.
    ValueError
        If `frames` comes with `start`, `stop` or `step`.
    """
    if frames is None:
        chosen = np.arange(*trajectory.check_slice_indices(start, stop, step))
    elif any(part is not None for part in (start, stop, step)):
        raise ValueError("start/stop/step cannot be combined with frames")
    else:
        chosen = np.asarray(frames)
        if chosen.dtype == bool and len(chosen) == len(trajectory):
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
            raise TrajectoryError("frames: give the numbers of frames, or a boolean for each frame")
    beyond = chosen[(chosen < 0) | (chosen >= len(trajectory))]
    if len(beyond):
        raise TrajectoryError(
            f"there is no frame {beyond[0]}: the trajectory has {len(trajectory)} frames, counted "
            f"from 0"
        )
    chosen = chosen[(chosen >= usable.start) & (chosen < usable.stop)]
    if len(chosen) < 2:
        without = (
            "" if len(usable) == len(trajectory) else f", {len(usable)} of them with velocities"
        )
        raise TrajectoryError(
            f"{len(chosen)} usable frames in the chosen range; a flux needs two or more, and the "
            f"trajectory has "
            f"{len(trajectory)}{without}"
        )
    strides = np.unique(np.diff(chosen))
    if len(strides) > 1 or strides[0] < 1:
        raise TrajectoryError(
            "the chosen frames are not equally spaced; choose them with start, stop and step"
        )
    return chosen.astype(np.int64)
