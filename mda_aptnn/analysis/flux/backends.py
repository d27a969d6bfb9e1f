"""MDAnalysis' parallel backends with a progress bar that advances as parts finish."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from MDAnalysis.analysis.backends import BackendBase, BackendDask, BackendMultiprocessing
from tqdm.auto import tqdm

from mda_aptnn.errors import WorkerError
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
        pool = ProcessPoolExecutor(self.n_workers, initializer=_begin_worker)
        with tqdm(total=len(computations), unit="part", disable=not self.verbose) as bar, _telling_deaths():
            try:
                results = []
                for result in pool.map(functools.partial(_part, func), computations):
                    results.append(result)
                    bar.update()
                return results
            except BaseException:
                # they write what they have computed
                for process in list((pool._processes or {}).values()):
                    process.terminate()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


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
            _telling_deaths(),
        ):
            return list(super().apply(functools.partial(_part, func), computations))


@contextlib.contextmanager
def _telling_deaths() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process was killed, as systems do when memory runs out: run again, with fewer workers if so"
        ) from error


class _Worker:
    """What a process knows of its own end: asked to, it writes what it has computed, and it outlives no parent."""

    begun = computing = stopping = False


def _begin_worker() -> None:
    if not _Worker.begun:
        _Worker.begun = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop_worker)
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _stop_worker(*_: Any) -> None:
    if not _Worker.computing:
        os._exit(1)
    if not _Worker.stopping:
        _Worker.stopping = True
        raise KeyboardInterrupt


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _part(func: Callable[[Any], Any], computation: Any) -> Any:
    """Do a part in a worker; one that was interrupted takes no other part."""
    _begin_worker()
    try:
        try:
            _Worker.computing = True
            return func(computation)
        finally:
            _Worker.computing = False
            if _Worker.stopping:
                os._exit(1)
    except KeyboardInterrupt:
        os._exit(1)


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
