"""MDAnalysis' parallel backends with a progress bar that advances as parts finish."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable
from typing import Any

from MDAnalysis.analysis.backends import BackendBase, BackendDask, BackendMultiprocessing
from tqdm.auto import tqdm

from mda_aptnn.models.predict import load_model, model_path

#: Parts per worker: enough for a bar that moves, few enough that starting them costs nothing.
PARTS_PER_WORKER = 8


def model_of_worker(source: str | os.PathLike[str], n_threads: int) -> Any:
    """Return the model of a name or file; parts that a worker takes one after the other share it.

    Loading it takes as long as predicting dozens of frames.
    """
    path = model_path(source)
    return _loaded(path, path.stat().st_mtime_ns, n_threads)


@functools.lru_cache(maxsize=1)
def _loaded(path: Any, changed: int, n_threads: int) -> Any:
    return load_model(path, n_threads=n_threads)


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
