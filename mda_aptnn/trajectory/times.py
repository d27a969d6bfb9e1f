"""When frames were recorded: which of them make one series, and whether they are even."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from mda_aptnn.errors import TrajectoryError
from mda_aptnn.frame import Array, Indices
from mda_aptnn.trajectory.readers import format_names, knows_times, recorded_times


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

    times: Array
    starts: Indices
    spacing: float


class Clock:
    """What is known of the time of every frame of a trajectory. Moves it, so give a copy.

    Parameters
    ----------
    trajectory : MDAnalysis reader
    time_step : float, optional
        Spacing in ps that the user has said; then only step numbers are looked at, if there are
        any.

    Raises
    ------
    TrajectoryError
        If no `time_step` is given and the format records no times, and MDAnalysis was not told
        either (``dt=``): LAMMPS dumps have step numbers, XYZ and arrays in memory nothing.
    """

    def __init__(self, trajectory: Any, time_step: float | None = None) -> None:
        self.n_frames = int(trajectory.n_frames)
        self._time_step = time_step
        starts = np.asarray(getattr(trajectory, "_start_frames", [0]), dtype=np.int64)
        #: First frames of the second and later files.
        self._joins = starts[(starts > 0) & (starts < self.n_frames)]
        #: Recorded times in ps, or step numbers, in which gaps and joins show.
        self._marks: Array | None = None
        formats = format_names(trajectory)
        if time_step is None:
            if not knows_times(trajectory):
                raise TrajectoryError(
                    f"the trajectory ({', '.join(sorted(formats))}) does not say when its frames "
                    "were recorded; give time_step=, the spacing of the recorded frames "
                    "(--time-step '1 fs')"
                )
            self._marks = recorded_times(trajectory)
        elif "LAMMPSDUMP" in formats:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Reader has no dt information")
                self._marks = np.array([float(ts.data["step"]) for ts in trajectory])

    def timeline(self, frames: Indices) -> Timeline:
        """Return the times of these frames (in increasing order, with one stride) after a check.

        Raises
        ------
        TrajectoryError
            If they are not evenly spaced within a file: frames missing, repeated or out of order.
        """
        crosses = np.diff(np.searchsorted(self._joins, frames, side="right")) > 0
        stride = int(frames[1] - frames[0]) if len(frames) > 1 else 1
        breaks, spacings = crosses, []
        marks = np.zeros(0) if self._marks is None else self._marks[frames]
        if self._marks is not None:
            gaps = np.diff(marks)
            within = gaps[~crosses] if (~crosses).any() else gaps
            usual = float(np.median(within)) if len(within) else np.nan
            breaks = crosses & (np.abs(gaps - usual) > max(1e-3 * abs(usual), _rounding(marks)))
        starts = np.flatnonzero(np.concatenate([[True], breaks]))
        if self._marks is not None:
            what = "time" if self._time_step is None else "step number"
            spacings = [
                _spacing(part, int(frames[start]), stride, what)
                for start, part in zip(starts, np.split(marks, starts[1:]), strict=True)
                if len(part) > 1
            ]
            shortest, longest = min(spacings, default=0.0), max(spacings, default=0.0)
            if longest - shortest > max(2e-3 * shortest, _rounding(marks)):
                raise TrajectoryError(
                    f"the files differ in the spacing of their frames ({shortest:g} to {longest:g})"
                )
        if self._time_step is not None:
            times = self._time_step * frames.astype(np.float64)
            return Timeline(times, starts, self._time_step * stride)
        return Timeline(marks, starts, float(np.mean(spacings)) if spacings else np.nan)


def _rounding(times: Array) -> float:
    """How far recorded times may be off: float32, and six decimals of a ps."""
    return float(np.finfo(np.float32).eps * np.abs(times).max()) + 1e-6


def _spacing(times: Array, first: int, stride: int, what: str) -> float:
    """The spacing of two or more times in ps, TrajectoryError if they are not even.

    Rounding to float32 and to six decimals is forgiven. `first` and `stride`, numbers of frames,
    and `what` the numbers are, are for the message.
    """
    spacing = float(times[-1] - times[0]) / (len(times) - 1)
    rounding, gaps = _rounding(times), np.diff(times)
    off = np.abs(times - times[0] - spacing * np.arange(len(times)))
    if spacing > 0 and rounding < spacing / 3 and off.max() <= 1e-3 * spacing + rounding:
        return spacing
    usual = float(np.median(gaps))
    if 0 < usual <= 3 * rounding:
        raise TrajectoryError(
            f"the recorded {what}s ({times[0]:g} to {times[-1]:g}) are too coarse to tell whether "
            f"frames {usual:g} apart are evenly spaced; give time_step= (--time-step)"
        )
    worst = int(np.abs(gaps - usual).argmax())
    raise TrajectoryError(
        f"the frames are not evenly spaced in time: from frame {first + worst * stride} to frame "
        f"{first + (worst + 1) * stride} the {what} goes from {times[worst]:g} to "
        f"{times[worst + 1]:g}, elsewhere by {usual:g}; choose an even part (start, stop, step), "
        f"or give time_step= if the {what}s are wrong"
    )
