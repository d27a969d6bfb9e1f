"""Frames that are too large for the memory of an engine, predicted in slices of centres."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.frame import Frame

if TYPE_CHECKING:
    from mda_aptnn.model.engines import Engine


def components(engine: Engine, frames: Sequence[Frame], reach: float) -> list[NDArray[np.float64]]:
    """Return what ``engine.components`` does, of frames of any size.

    Parameters
    ----------
    engine : Engine
    frames : sequence of Frame
    reach : float
        Distance in Å from which atoms have an influence on each other, through all layers.
    """
    if all(len(frame) <= engine.most_atoms for frame in frames):
        return engine.components(frames)
    results = []
    for frame in frames:
        parts = []
        for rows, seen in slices(frame, reach, engine.most_atoms):
            # images stay what they are, so that even the last digits do
            part = Frame(
                frame.numbers[seen], frame.positions[seen], frame.cell, frame.pbc, frame.charge
            )
            parts.append((rows, engine.components([part])[0][:, np.searchsorted(seen, rows)]))
        outputs = np.empty((len(parts[0][1]), len(frame), parts[0][1].shape[2]))
        for rows, values in parts:
            outputs[:, rows] = values
        results.append(outputs)
    return results


def slices(
    frame: Frame, reach: float, most_atoms: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Cut a frame into boxes that see few atoms.

    Boxes are cut in two, across their longest edge, while they see too many atoms and that edge is
    longer than the reach: thinner ones would consist of little but what they see.

    Parameters
    ----------
    frame : Frame
    reach : float
        In Å.
    most_atoms : int
        That a box may see.

    Yields
    ------
    rows, seen : ndarray of int
        The atoms in a box, and all those within reach of it, in ascending order. Every atom is in
        one box.
    """
    box, heights = frame.box, frame.box.heights
    fractions = box.wrapped(box.fractions(frame.positions))
    # rounding, and an open end, must not leave an atom out
    margin = (1e-6 + reach) / heights
    boxes = [
        (np.minimum(fractions.min(axis=0), 0.0), np.maximum(fractions.max(axis=0), 1.0) + 1e-9)
    ]
    while boxes:
        low, high = boxes.pop()
        rows = np.flatnonzero(((fractions >= low) & (fractions < high)).all(axis=1))
        if not len(rows):
            continue
        beyond = box.wrapped(fractions - (low - margin))
        seen = np.flatnonzero(((beyond >= 0) & (beyond <= high - low + 2 * margin)).all(axis=1))
        extents = np.ptp(fractions[rows], axis=0)
        axis = int(np.argmax(extents * heights))
        if len(seen) <= most_atoms or extents[axis] * heights[axis] <= reach:
            yield rows, seen
            continue
        middle = fractions[rows, axis].min() + extents[axis] / 2
        for start, stop in ((low[axis], middle), (middle, high[axis])):
            part = low.copy(), high.copy()
            part[0][axis], part[1][axis] = start, stop
            boxes.append(part)
