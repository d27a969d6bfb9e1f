"""Which frames a committee should learn next: those that it disagrees about most and that differ
from each other.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm.auto import tqdm

from mda_aptnn.elements import masses_of
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.inputs import densities
from mda_aptnn.tensors import flux_error

#: Cutoff (Å), radial functions and degree of the densities that frames are compared by.
DENSITY = (6.0, 8, 2)
#: Frames are chosen among those with the largest disagreement: so many times as are wanted, or this
#: part of all if that is more, since neighbours in a densely recorded trajectory are nearly the
#: same frame.
POOL, PART = 4, 0.1


@dataclasses.dataclass(frozen=True)
class Selection:
    """Frames to be labelled next.

    Attributes
    ----------
    indices : list of int
        Numbers of the chosen frames, rising.
    candidates : ndarray of int, shape [n_candidates]
        Numbers of the frames that were looked at and not known to the model.
    disagreement : ndarray, shape [n_candidates]
        Of each; see `disagreement`.
    """

    indices: list[int]
    candidates: NDArray[np.int64]
    disagreement: NDArray[np.float64]

    def of_chosen(self) -> NDArray[np.float64]:
        """Return the disagreement about the chosen frames, in the order of `indices`."""
        return self.disagreement[np.searchsorted(self.candidates, self.indices)]


def select(
    model: Any,
    frames: Iterable[tuple[int, Frame]],
    count: int,
    *,
    total: int | None = None,
    verbose: bool = False,
) -> Selection:
    """Choose the frames that a committee should learn next.

    Parameters
    ----------
    model
        With ``predict_with_spread(frame)``: a committee.
    frames : iterable of (int, Frame)
        Candidates with their numbers, rising. Those that the model's card knows are passed over.
    count : int
        How many to choose.
    total : int, optional
        How many candidates there are, for the progress bar.
    verbose : bool
        Show progress.

    Raises
    ------
    ModelError
        If the model is no committee, or there are fewer candidates than `count`.
    """
    if getattr(model, "n_members", 1) < 2:
        raise ModelError(
            "a single model has no disagreement to select by: train a committee (train --members 4)"
        )
    data = getattr(model, "info", {}).get("data", {})
    known = {name for part in data.get("fingerprints", {}).values() for name in part}
    numbers, scores, descriptors = [], [], []
    for number, frame in tqdm(frames, total=total, unit="frame", disable=not verbose):
        if frame.fingerprint() in known:
            continue
        numbers.append(number)
        scores.append(disagreement(model, frame))
        descriptors.append(descriptor(frame))
    if count < 1 or len(numbers) < count:
        raise ModelError(
            f"cannot select {count} of {len(numbers)} frames that the model has not seen"
        )
    chosen = farthest_among_best(np.array(scores), np.array(descriptors), count)
    return Selection(sorted(numbers[k] for k in chosen), np.array(numbers), np.array(scores))


def disagreement(model: Any, frame: Frame) -> float:
    """Return √(Σ_i ‖spread_i‖²/m_i / Σ_i ‖P_i‖²/m_i): the relative error of Ṁ that the spread makes
    likely.

    As for the error that a spectrum sees: velocities of variance k_B T/m_i.
    """
    mean, spread = model.predict_with_spread(frame)
    return flux_error(spread, mean, masses_of(frame.numbers))


def descriptor(frame: Frame) -> NDArray[np.float64]:
    """Return numbers that tell frames of the same atoms apart, the same for turned, shifted and
    renumbered ones.

    For each element, mean and standard deviation over its atoms of the invariants of what surrounds
    them: the densities Σ_j B_k(r_ij) of each element, and the length √(Σ_m (Σ_j B_k(r_ij) Y_lm)²)
    for l = 1 and 2. They do not depend on the model, so that a distance means the same from round
    to round.
    """
    elements = np.unique(frame.numbers)
    density = densities(frame, elements, *DENSITY)
    squares = np.add.reduceat(density**2, np.arange(1, DENSITY[2] + 1) ** 2, axis=0)
    invariants = np.concatenate([density[0], *np.sqrt(squares)], axis=1)
    own = [invariants[frame.numbers == number] for number in elements]
    return np.concatenate(
        [moment for values in own for moment in (values.mean(axis=0), values.std(axis=0))]
    )


def farthest_among_best(scores: ArrayLike, descriptors: ArrayLike, count: int) -> list[int]:
    """Return rows: the one with the highest score, then always the farthest from all chosen ones.

    Only among the `POOL` · `count` rows with the highest scores, or the part `PART` of all.
    Descriptors are scaled to unit variance over all rows first. Rows that are the same as a chosen
    one are not chosen; a warning says so if there are too few others.

    Parameters
    ----------
    scores : array_like, shape [n_rows]
    descriptors : array_like, shape [n_rows, n_descriptors]
    count : int
    """
    scores, descriptors = np.asarray(scores, dtype=float), np.asarray(descriptors, dtype=float)
    width = descriptors.std(axis=0)
    varies = width > 1e-9 * np.abs(descriptors).max(initial=0.0)
    scaled = descriptors[:, varies] / width[varies]
    best = np.argsort(-scores, kind="stable")[: max(POOL * count, int(PART * len(scores)))]
    points = scaled[best]
    chosen = [0]
    distances = ((points - points[0]) ** 2).sum(axis=1)
    while len(chosen) < count and distances.max() > 0:
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    if len(chosen) < count:
        warnings.warn(
            f"only {len(chosen)} of the {count} frames wanted differ from each other", stacklevel=2
        )
    return [int(k) for k in best[chosen]]
