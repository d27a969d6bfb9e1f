"""Frames of one or more trajectories, counted through all of them, and their labels planned by
these numbers.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mda_aptnn.frame import Frame
from mda_aptnn.labels.campaign import MANIFEST, Campaign, Snapshot, plan
from mda_aptnn.labels.cp2k.routes import Route
from mda_aptnn.labels.cp2k.template import Template
from mda_aptnn.labels.snapshots import take_snapshots
from mda_aptnn.trajectory.universe_frames import UniverseFrames


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
        self._begin = [
            0,
            *itertools.accumulate(universe.trajectory.n_frames for universe in universes),
        ]

    def __len__(self) -> int:
        return int(self._begin[-1])

    def numbers(
        self, start: int | None = None, stop: int | None = None, step: int | None = None
    ) -> list[int]:
        """Return the numbers of a slice of every trajectory."""
        ranges = [
            range(universe.trajectory.n_frames)[start:stop:step] for universe in self.universes
        ]
        return [begin + k for begin, part in zip(self._begin, ranges, strict=False) for k in part]

    def frames(self, numbers: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """Yield frames with their numbers, which rise."""
        for reader, own, begin in self._parts(numbers):
            for k in own:
                reader.universe.trajectory[k]
                yield begin + k, reader.frame()

    def snapshots(self, numbers: Sequence[int]) -> Iterator[Snapshot]:
        """Yield frames to be labelled; their info has their "number" beside source, index and time."""
        for (reader, own, begin), name in zip(self._parts(numbers), self.names, strict=True):
            for snapshot in take_snapshots(reader, own, name):
                yield dataclasses.replace(
                    snapshot, info=snapshot.info | {"number": begin + snapshot.info["index"]}
                )

    def _parts(self, numbers: Sequence[int]) -> Iterator[tuple[UniverseFrames, list[int], int]]:
        for reader, (begin, end) in zip(
            self._readers, itertools.pairwise(self._begin), strict=True
        ):
            yield (
                reader,
                [number - begin for number in sorted(numbers) if begin <= number < end],
                begin,
            )


def plan_labels(
    folder: str | os.PathLike[str],
    source: Source,
    numbers: Sequence[int],
    template: Template,
    route: Route,
) -> Campaign:
    """Plan the labels of frames into a new or begun campaign; what is planned already stays."""
    folder = Path(folder)
    if (folder / MANIFEST).is_file():
        planned = {info.get("number") for info, _ in Campaign(folder).frames()}
        numbers = [number for number in numbers if number not in planned]
        if not numbers:
            return Campaign(folder)
    return plan(folder, source.snapshots(numbers), template, route)
