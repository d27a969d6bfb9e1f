"""When frames were recorded: whether that is known, which of them make one series, and whether they
are even.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.cells import active_reader, format_names
from mda_aptnn.errors import TrajectoryError


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Evenly spaced frames, in one series or in several that do not continue each other.

    Attributes
    ----------
    times : ndarray, shape [n_frames]
        In ps.
    starts : ndarray of int, shape [n_series]
        Where in `times` each series begins.
    spacing : float
        Between neighbouring frames of a series, in ps; NaN for a single frame.
    """

    times: NDArray[np.float64]
    starts: NDArray[np.int64]
    spacing: float


@dataclasses.dataclass(frozen=True)
class Clock:
    """What is known of the time of every frame of a trajectory.

    Attributes
    ----------
    marks : ndarray, shape [n_frames], or None
        Recorded times in ps, or step numbers, in which gaps and joins show.
    joins : ndarray of int, shape [n_files − 1]
        First frames of the second and later files.
    time_step : float or None
        Spacing in ps that the user has said; then `marks` are step numbers, if there are any.
    n_frames : int
    """

    marks: NDArray[np.float64] | None
    joins: NDArray[np.int64]
    time_step: float | None
    n_frames: int

    def timeline(self, frames: NDArray[np.int64]) -> Timeline:
        """Return the times of these frames (in increasing order, with one stride) after a check.

        Raises
        ------
        TrajectoryError
            If they are not evenly spaced within a file: frames missing, repeated or out of order.
        """
        crosses = np.array(
            [((self.joins > a) & (self.joins <= b)).any() for a, b in itertools.pairwise(frames)],
            bool,
        )
        stride = int(frames[1] - frames[0]) if len(frames) > 1 else 1
        if self.marks is None:
            assert self.time_step is not None
            starts = np.flatnonzero(np.concatenate([[True], crosses]))
            return Timeline(
                self.time_step * frames.astype(np.float64), starts, self.time_step * stride
            )
        marks = self.marks[frames]
        gaps = np.diff(marks)
        within = gaps[~crosses] if (~crosses).any() else gaps
        usual = float(np.median(within)) if len(within) else np.nan
        breaks = crosses & (np.abs(gaps - usual) > max(1e-3 * abs(usual), _rounding(marks)))
        starts = np.flatnonzero(np.concatenate([[True], breaks]))
        what = "time" if self.time_step is None else "step number"
        found = [
            check_uniform(part, int(frames[start]), stride, what)
            for start, part in zip(starts, np.split(marks, starts[1:]), strict=True)
            if len(part) > 1
        ]
        if found and max(found) - min(found) > max(2e-3 * min(found), _rounding(marks)):
            raise TrajectoryError(
                f"the files differ in the spacing of their frames ({min(found):g} to "
                f"{max(found):g})"
            )
        if self.time_step is not None:
            return Timeline(
                self.time_step * frames.astype(np.float64), starts, self.time_step * stride
            )
        return Timeline(marks, starts, float(np.mean(found)) if found else np.nan)


def read_clock(trajectory: Any, time_step: float | None = None) -> Clock:
    """Collect what is known of the times of all frames. Moves the trajectory, so give a copy.

    Raises
    ------
    TrajectoryError
        If no `time_step` (in ps) is given and the format records no times, and MDAnalysis was not
        told either (``dt=``): LAMMPS dumps have step numbers, XYZ and arrays in memory nothing.
    """
    n_frames = int(trajectory.n_frames)
    file_starts = np.asarray(getattr(trajectory, "_start_frames", [0]), dtype=np.int64)
    joins = file_starts[(file_starts > 0) & (file_starts < n_frames)]
    formats = format_names(active_reader(trajectory))
    if time_step is None:
        if not knows_times(trajectory.ts, formats):
            raise TrajectoryError(
                f"the trajectory ({', '.join(sorted(formats))}) does not say when its frames were "
                f"recorded; give "
                "time_step=, the spacing of the recorded frames (--time-step '1 fs')"
            )
        readers = getattr(trajectory, "readers", [trajectory])
        stored = [_stored_times(reader) for reader in readers]
        if any(times is None for times in stored) or sum(map(len, stored)) != n_frames:
            stored = [np.array([float(ts.time) for ts in trajectory])]
        return Clock(np.concatenate(stored), joins, None, n_frames)
    steps = None
    if "LAMMPSDUMP" in formats:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Reader has no dt information")
            steps = np.array([float(ts.data["step"]) for ts in trajectory])
    return Clock(steps, joins, time_step, n_frames)


def _stored_times(reader: Any) -> Any:
    """All times of a file at once in ps; None where its frames have to be read one by one."""
    if "H5MD" not in format_names(reader):
        # the CP2K reader has them in its index
        return getattr(reader, "times", None)
    try:
        times = next(
            reader._particle_group[f"{name}/time"][()]
            for name, there in reader._has.items()
            if there
        )
    except (AttributeError, KeyError, StopIteration):
        return None
    return (
        reader.convert_time_from_native(np.array(times, dtype=float))
        if reader.convert_units
        else times
    )


def knows_times(ts: Any, formats: set[str]) -> bool:
    """Whether the time of a timestep is recorded, or MDAnalysis was told it.

    Parameters
    ----------
    ts : MDAnalysis timestep
    formats : set of str
        Names of the format of its reader.
    """
    if "MEMORY" in formats:
        # an array in memory has a dt of 1 ps unless told otherwise, so 1 says nothing
        return ts.data.get("dt") not in (None, 1)
    if "LAMMPSDUMP" in formats:
        # the time that the reader gives is the step number times dt, 1 ps unless told otherwise
        return "dt" in ts.data
    return "time" in ts.data or "dt" in ts.data


def _rounding(times: NDArray[np.float64]) -> float:
    """How far recorded times may be off: float32, and six decimals of a ps."""
    return float(np.finfo(np.float32).eps * np.abs(times).max()) + 1e-6


def check_uniform(
    times: NDArray[np.float64], first: int = 0, stride: int = 1, what: str = "time"
) -> float:
    """Return the spacing of evenly spaced times.

    Parameters
    ----------
    times : ndarray, shape [n_frames]
        Two or more, in ps. Rounding to float32 and to six decimals is forgiven.
    first, stride : int
        Number of the first frame, and the step to the next, for the message.
    what : str
        What the numbers are, for the message.

    Raises
    ------
    TrajectoryError
        If frames are missing, repeated or in another order; or the times are too coarse to tell.
    """
    spacing = float(times[-1] - times[0]) / (len(times) - 1)
    rounding = _rounding(times)
    gaps = np.diff(times)
    off = np.abs(times - times[0] - spacing * np.arange(len(times)))
    if spacing > 0 and rounding < spacing / 3 and off.max() <= 1e-3 * spacing + rounding:
        return spacing
    usual = float(np.median(gaps))
    if 0 < usual <= 3 * rounding:
        raise TrajectoryError(
            f"the recorded {what}s ({times[0]:g} to {times[-1]:g}) are too coarse to tell whether "
            f"frames {usual:g} "
            "apart are evenly spaced; give time_step= (--time-step)"
        )
    worst = int(np.abs(gaps - usual).argmax())
    raise TrajectoryError(
        f"the frames are not evenly spaced in time: from frame {first + worst * stride} to frame "
        f"{first + (worst + 1) * stride} the {what} goes from {times[worst]:g} to "
        f"{times[worst + 1]:g}, elsewhere by "
        f"{usual:g}; choose an even part (start, stop, step), or give time_step= if the {what}s "
        f"are wrong"
    )
