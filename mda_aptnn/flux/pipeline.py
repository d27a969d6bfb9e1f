"""Reading ahead: frames are read while others are predicted, and who took how long."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.frame import Frame
from mda_aptnn.model.predict import BATCH_ATOMS

#: What time is spent on: reading and converting frames; neighbours and network of the prediction;
#: sums and storing.
PARTS = ("read", "neighbours", "network", "rest")

#: So many batches may wait; each is up to a batch of frames in memory.
_WAITING = 2


class Pipeline:
    """Hands frames that were read to what is done with them, in order, in batches.

    With `ahead`, that runs in a thread of its own, while the next frames are read. Errors of it are
    raised by the next call of any method. As a context, it does what was put in also when a frame
    cannot be read, but not after an interruption.

    Parameters
    ----------
    work : callable
        Takes a list of items.
    batch : int
        Items that are handed over together.
    ahead : bool
        Read on meanwhile: reading is Python, prediction runs without the interpreter.
    model : object, optional
        Whose attribute `seconds` says how long its "neighbours" and "network" took so far.

    Attributes
    ----------
    read_seconds, work_seconds : float
        Wall time of reading, without waiting for the work; and of the work.
    """

    def __init__(
        self, work: Callable[[list[Any]], None], batch: int, ahead: bool, model: Any = None
    ) -> None:
        self._work, self._batch = work, batch
        self._items: list[Any] = []
        self._waiting: collections.deque[Future[None]] = collections.deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mda-aptnn") if ahead else None
        self._stopped = False
        self.read_seconds = self.work_seconds = 0.0
        self._model, self._before = model, dict(getattr(model, "seconds", {}))
        self._since = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is None or issubclass(error, Exception):
                self.finish()
        finally:
            self.close()

    def put(self, item: Any) -> None:
        """Take over an item that was read; what passed since the last call was reading."""
        self.read_seconds += time.perf_counter() - self._since
        self._items.append(item)
        if len(self._items) >= self._batch:
            self._hand_over()
        self._since = time.perf_counter()

    def finish(self) -> None:
        """Wait until all is done."""
        if self._items:
            self._hand_over()
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Let what is under way come to its end, and drop what waits."""
        self._stopped = True
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def seconds(self) -> NDArray[np.float64]:
        """Return the seconds of each of `PARTS`, [1, 4], so that those of all workers can be
        stacked.
        """
        after = getattr(self._model, "seconds", {})
        of_model = [after.get(name, 0.0) - self._before.get(name, 0.0) for name in PARTS[1:3]]
        rest = max(0.0, self.work_seconds - sum(of_model))
        return np.array([[self.read_seconds, *of_model, rest]])

    def _hand_over(self) -> None:
        items, self._items = self._items, []
        if self._thread is None:
            self._timed(items)
            return
        while len(self._waiting) >= _WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._timed, items))

    def _timed(self, items: list[Any]) -> None:
        if self._stopped:
            return
        start = time.perf_counter()
        try:
            self._work(items)
        except BaseException:
            # what follows a frame that failed is not done
            self._stopped = True
            raise
        finally:
            self.work_seconds += time.perf_counter() - start


def batch_size(model: Any, n_atoms: int, more: Any) -> int:
    """Return how many frames `predictions` gains by together; `more` if it is to tell more than
    tensors.
    """
    if more or not hasattr(model, "predict_many"):
        return 1
    return max(1, getattr(model, "batch_atoms", BATCH_ATOMS) // n_atoms)


def predictions(
    model: Any, frames: Sequence[Frame], *, members: bool, gradients: bool
) -> list[tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]]:
    """Return the tensors of each frame, [n_atoms, 3, 3] in e; those of each member; polarizability
    gradients.

    Parameters
    ----------
    model : object
        With ``predict(frame)``; with ``predict_members`` or ``predict_tensors`` if these are asked
        for.
    frames : sequence of Frame
    members, gradients : bool
        What is wanted besides, None otherwise. Both of a `Model` only.
    """
    if gradients and members:
        by_member = [model.predict_tensors(frame, members=True) for frame in frames]
        return [(one["apt"].mean(axis=0), one["apt"], one["pgt"].mean(axis=0)) for one in by_member]
    if gradients:
        found = [model.predict_tensors(frame) for frame in frames]
        return [(tensors["apt"], None, tensors["pgt"]) for tensors in found]
    if members:
        each = [model.predict_members(frame) for frame in frames]
        return [(values.mean(axis=0), values, None) for values in each]
    tensors = [model.predict(frames[0])] if len(frames) == 1 else model.predict_many(frames)
    return [(values, None, None) for values in tensors]
