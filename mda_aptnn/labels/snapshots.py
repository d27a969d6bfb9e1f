"""Which frames of a trajectory are labelled."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import CampaignError, TrajectoryError
from mda_aptnn.labels.campaign import Snapshot
from mda_aptnn.trajectory.universe_frames import UniverseFrames

SELECTIONS = ("random", "uniform", "indices")


def choose_frames(
    n_frames: int,
    count: int | None,
    how: str,
    *,
    indices: Sequence[int] | None = None,
    seed: int = 0,
) -> list[int]:
    """Return the numbers of the frames to label, in rising order.

    Parameters
    ----------
    n_frames : int
        Frames of the whole trajectory.
    count : int, optional
        How many to choose; with "indices" their number is taken.
    how : {"random", "uniform", "indices"}
        Without replacement from the whole trajectory; evenly over it, in the middle of `count`
        equal parts; or these.
    indices : sequence of int, optional
        Counted from 0; negative ones from the end.
    seed : int
        Of the random choice.

    Raises
    ------
    CampaignError
        If there are not as many frames, or an index is repeated or not there.
    """
    if how == "indices":
        if not indices:
            raise CampaignError("the selection 'indices' needs the indices (--indices '0 10 20')")
        chosen = [index + n_frames if index < 0 else index for index in indices]
        wrong = [index for index in chosen if not 0 <= index < n_frames]
        if wrong:
            raise CampaignError(
                f"there is no frame {wrong[0]}: the trajectory has {n_frames}, counted from 0"
            )
        if len(set(chosen)) < len(chosen):
            raise CampaignError("a frame index comes twice")
        return sorted(chosen)
    if how not in SELECTIONS:
        raise CampaignError(f"no selection {how!r}: choose one of {', '.join(SELECTIONS)}")
    if indices:
        raise CampaignError(f"indices go with the selection 'indices', not with {how!r}")
    if count is None:
        raise CampaignError("say how many frames to choose (--frames)")
    if not 1 <= count <= n_frames:
        raise CampaignError(f"cannot choose {count} of {n_frames} frames")
    if how == "uniform":
        return [int((k + 0.5) * n_frames / count) for k in range(count)]
    return sorted(
        int(k) for k in np.random.default_rng(seed).choice(n_frames, count, replace=False)
    )


def take_snapshots(
    frames: UniverseFrames,
    chosen: Sequence[int],
    source: str,
    *,
    atoms: str | None = None,
    apart: float = 0.0,
) -> Iterator[Snapshot]:
    """Yield the chosen frames of a trajectory.

    Parameters
    ----------
    frames : UniverseFrames
    chosen : sequence of int
        In rising order.
    source : str
        Name of the trajectory, for the record.
    atoms : str, optional
        MDAnalysis selection of the atoms that the displacement route labels; all by default. It is
        evaluated in each frame.
    apart : float
        In ps; a warning is given where two chosen frames are closer in time.

    Raises
    ------
    CampaignError
        If the selection finds no atom.
    """
    try:
        times: NDArray[np.float64] | None = frames.times()
    except TrajectoryError as error:
        times = None
        warnings.warn(f"how far snapshots are apart in time is not known: {error}", stacklevel=2)
    if times is not None:
        close = [(a, b) for a, b in itertools.pairwise(chosen) if times[b] - times[a] < apart]
        if close:
            first, second = close[0]
            warnings.warn(
                f"{len(close)} pair(s) of snapshots less than {apart:g} ps apart, such as frames "
                f"{first} and "
                f"{second} ({times[second] - times[first]:g} ps): they teach nearly the same",
                stacklevel=2,
            )
    place = {int(index): k for k, index in enumerate(frames.indices)}
    for number in chosen:
        frames.universe.trajectory[number]
        selected = range(len(frames.indices)) if atoms is None else _selected(frames, atoms, place)
        info = {
            "source": source,
            "index": int(number),
            "time": None if times is None else float(times[number]),
        }
        yield Snapshot(frames.frame(), info, tuple(selected))


def _selected(frames: UniverseFrames, atoms: str, place: dict[int, int]) -> list[int]:
    found = [
        place[int(index)] for index in frames.universe.select_atoms(atoms).ix if int(index) in place
    ]
    if not found:
        raise CampaignError(
            f"the selection {atoms!r} finds no atom in frame {frames.universe.trajectory.ts.frame}"
        )
    return found
