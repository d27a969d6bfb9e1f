"""MDAnalysis' parallel backends with a progress bar that advances as parts finish."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from MDAnalysis.analysis.backends import BackendBase, BackendDask, BackendMultiprocessing
from tqdm.auto import tqdm

#: Parts per worker: enough for a bar that moves, few enough that starting them costs nothing.
PARTS_PER_WORKER = 8


class ProgressMultiprocessing(BackendMultiprocessing):
    """Processes of Python's multiprocessing."""

    def __init__(self, n_workers: int, verbose: bool) -> None:
        self.verbose = verbose
        super().__init__(n_workers)

    def apply(self, func: Callable[[Any], Any], computations: list[Any]) -> list[Any]:
        """Apply `func` to each part; results in the order of the parts."""
        with (
            multiprocessing.Pool(self.n_workers) as pool,
            tqdm(total=len(computations), unit="part", disable=not self.verbose) as bar,
        ):
            results = []
            for result in pool.imap(func, computations):
                results.append(result)
                bar.update()
            return results


class ProgressDask(BackendDask):
    """Processes of dask's local scheduler."""

    def __init__(self, n_workers: int, verbose: bool) -> None:
        self.verbose = verbose
        super().__init__(n_workers)

    def apply(self, func: Callable[[Any], Any], computations: list[Any]) -> list[Any]:
        """Apply `func` to each part; results in the order of the parts."""
        from dask.callbacks import Callback

        with (
            tqdm(total=len(computations), unit="part", disable=not self.verbose) as bar,
            Callback(posttask=lambda *_: bar.update()),
        ):
            return list(super().apply(func, computations))


def configure(backend: Any, n_workers: int | None, verbose: bool) -> BackendBase | str:
    """Return the backend to give to `AnalysisBase.run`.

    Raises
    ------
    ValueError
        If workers are asked of the serial backend: MDAnalysis 2.11 then returns wrong frames.
    """
    if backend is None or backend == "serial":
        if n_workers not in (None, 1):
            raise ValueError(
                f'n_workers={n_workers} with the serial backend; add backend="multiprocessing" (or "dask")'
            )
        return "serial"
    workers = multiprocessing.cpu_count() if n_workers is None else n_workers
    if backend == "multiprocessing":
        return ProgressMultiprocessing(workers, verbose)
    if backend == "dask":
        return ProgressDask(workers, verbose)
    if isinstance(backend, BackendBase):
        return backend
    raise ValueError(f"backend {backend!r}: choose serial, multiprocessing or dask")
