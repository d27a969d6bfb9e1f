"""Which frames of which trajectories are labelled."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import CampaignError, TrajectoryError
from mda_aptnn.frame import Frame
from mda_aptnn.trajectory.universe_frames import UniverseFrames

SELECTIONS = ("random", "uniform", "indices")


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A frame to be labelled, and where it comes from.

    Attributes
    ----------
    frame : Frame
    info : dict
        "source" (file), "index" (frame of the trajectory), "number" (counted through all
        trajectories), "time" (ps).
    atoms : tuple of int
        Which atoms get a label by displacement (counted from 0); the other routes label all.
    """

    frame: Frame
    info: dict[str, Any]
    atoms: tuple[int, ...]


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
    if how not in SELECTIONS:
        raise CampaignError(f"no selection {how!r}: choose one of {', '.join(SELECTIONS)}")
    if how == "indices":
        if not indices:
            raise CampaignError("the selection 'indices' needs the indices (--indices '0 10 20')")
        chosen = [index + n_frames if index < 0 else index for index in indices]
        for wrong in (index for index in chosen if not 0 <= index < n_frames):
            raise CampaignError(
                f"there is no frame {wrong}: the trajectory has {n_frames}, counted from 0"
            )
        if len(set(chosen)) < len(chosen):
            raise CampaignError("a frame index comes twice")
        return sorted(chosen)
    if indices:
        raise CampaignError(f"indices go with the selection 'indices', not with {how!r}")
    if count is None:
        raise CampaignError("say how many frames to choose (--count)")
    if not 1 <= count <= n_frames:
        raise CampaignError(f"cannot choose {count} of {n_frames} frames")
    if how == "uniform":
        return [int((k + 0.5) * n_frames / count) for k in range(count)]
    return sorted(map(int, np.random.default_rng(seed).choice(n_frames, count, replace=False)))


class Source:
    """The frames of one or more trajectories, counted through all of them.

    Parameters
    ----------
    universes : sequence of MDAnalysis.Universe
        One for each trajectory.
    names : sequence of str
        Of the trajectories, for the record of the labels.
    **reading
        As `UniverseFrames` takes it: elements, cell, pbc, charge, time_step.
    """

    def __init__(self, universes: Sequence[Any], names: Sequence[str], **reading: Any) -> None:
        self.universes, self.names = list(universes), list(names)
        self._readers = [
            UniverseFrames(universe, velocities=None, **reading) for universe in universes
        ]
        lengths = [universe.trajectory.n_frames for universe in universes]
        self._begin = [0, *itertools.accumulate(lengths)]

    def __len__(self) -> int:
        return int(self._begin[-1])

    @property
    def notes(self) -> list[str]:
        """What the user should know about how the trajectories are read."""
        return [note for reader in self._readers for note in reader.notes]

    def numbers(
        self, start: int | None = None, stop: int | None = None, step: int | None = None
    ) -> list[int]:
        """Return the numbers of a slice of every trajectory."""
        parts = itertools.pairwise(self._begin)
        return [k for begin, end in parts for k in range(begin, end)[start:stop:step]]

    def frames(self, numbers: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """Yield frames with their numbers, which rise."""
        for reader, own, begin, _ in self._parts(numbers):
            for k in own:
                reader.universe.trajectory[k]
                yield begin + k, reader.frame()

    def snapshots(
        self, numbers: Sequence[int], *, atoms: str | None = None, apart: float = 0.0
    ) -> Iterator[Snapshot]:
        """Yield frames to be labelled.

        Parameters
        ----------
        numbers : sequence of int
        atoms : str, optional
            MDAnalysis selection of the atoms that the displacement route labels; all by default. It
            is evaluated in each frame.
        apart : float
            In ps; a warning is given where two chosen frames are closer in time.

        Raises
        ------
        CampaignError
            If the selection finds no atom.
        """
        for reader, own, begin, name in self._parts(numbers):
            times = _times(reader, own, apart)
            for k in own:
                reader.universe.trajectory[k]
                time = None if times is None else float(times[k])
                info = {"source": name, "index": k, "number": begin + k, "time": time}
                yield Snapshot(reader.frame(), info, _selected(reader, atoms))

    def _parts(
        self, numbers: Sequence[int]
    ) -> Iterator[tuple[UniverseFrames, list[int], int, str]]:
        """Each reader with its own frames, the number of its first one, and its name."""
        limits = itertools.pairwise(self._begin)
        for reader, (begin, end), name in zip(self._readers, limits, self.names, strict=True):
            yield reader, [int(k) - begin for k in sorted(numbers) if begin <= k < end], begin, name


def _times(
    reader: UniverseFrames, chosen: Sequence[int], apart: float
) -> NDArray[np.float64] | None:
    """Times of all frames in ps, None if they are not known, after a look at the chosen ones."""
    try:
        times: NDArray[np.float64] = reader.times()
    except TrajectoryError as error:
        warnings.warn(f"how far snapshots are apart in time is not known: {error}", stacklevel=3)
        return None
    close = [(a, b) for a, b in itertools.pairwise(chosen) if times[b] - times[a] < apart]
    if close:
        first, second = close[0]
        warnings.warn(
            f"{len(close)} pair(s) of snapshots less than {apart:g} ps apart, such as frames "
            f"{first} and {second} ({times[second] - times[first]:g} ps): they teach nearly the "
            "same",
            stacklevel=3,
        )
    return times


def _selected(reader: UniverseFrames, atoms: str | None) -> tuple[int, ...]:
    """Places, in the frame, of the atoms that a selection finds at this moment."""
    if atoms is None:
        return tuple(range(len(reader.indices)))
    found = np.isin(reader.indices, reader.universe.select_atoms(atoms).ix)
    if not found.any():
        raise CampaignError(
            f"the selection {atoms!r} finds no atom in frame {reader.universe.trajectory.ts.frame}"
        )
    return tuple(np.flatnonzero(found).tolist())
