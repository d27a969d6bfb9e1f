"""MDAnalysis' parallel backends with a progress bar that advances as parts finish."""

from __future__ import annotations

import collections
import contextlib
import functools
import logging
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from MDAnalysis.analysis.backends import BackendBase, BackendMultiprocessing
from MDAnalysis.lib.log import ProgressBar
from tqdm.auto import tqdm

from mda_aptnn import cluster, io
from mda_aptnn.errors import WorkerError

logger = logging.getLogger(__name__)

#: Parts per worker: enough for a bar that moves, few enough that starting them costs nothing.
_PARTS_PER_WORKER = 8
#: Of one on another machine, a part has up to so many atoms of all its frames, some 20 s: what is
#: lost with a worker, and 50 MB of a flux of atoms to send.
_PART_ATOMS = 1_000_000

#: How long a worker may take to write what it has computed, in s.
_PATIENCE = 60.0
#: That end a worker.
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_KILLED = (
    "a worker process was killed, as systems do when memory runs out: run again, with fewer "
    "workers if so"
)


def loaded(source: Any, n_threads: int = 1, device: str = "cpu") -> Any:
    """Return the model of a name or file; parts that a worker takes one after the other share it.

    Loading it takes as long as predicting dozens of frames.
    """
    file = io.file_of(source)
    which = None if file is None else (os.path.realpath(file), os.stat(file).st_mtime_ns)
    return _loaded(source, which, n_threads, device)


@functools.lru_cache(maxsize=1)
def _loaded(source: Any, which: tuple[str, int] | None, n_threads: int, device: str) -> Any:
    # heavy: not before a scheduler has answered
    from mda_aptnn.model.predict import load_model

    return load_model(source, n_threads=n_threads, device=device)


class _WithBar(BackendBase):
    """A backend with a progress bar."""

    #: Files that the work reads, which workers of other machines must see.
    files: Sequence[Any] = ()

    def __init__(self, n_workers: int, verbose: bool) -> None:
        super().__init__(n_workers)
        self.n_workers: int = n_workers
        self._verbose = verbose

    def bar(self, n_parts: int) -> Any:
        """Return a progress bar of this many parts."""
        return tqdm(total=n_parts, unit="part", disable=not self._verbose)

    def n_parts(self, n_frames: int, n_atoms: int) -> int:
        """Return how many parts so many frames of so many atoms are shared out in."""
        return max(1, min(n_frames, _PARTS_PER_WORKER * self.n_workers))


class ProgressMultiprocessing(_WithBar, BackendMultiprocessing):
    """Processes of Python's multiprocessing, each with a pipe of its own.

    The pools of Python have queues and locks in common: a process that is killed while it has one
    leaves the others, and the run, waiting for ever. Here nobody but a worker has the end of its
    pipe, which closes when it dies.

    All that a worker computes with goes through its pipe, anew for every part. What a fork leaves
    it shares its open files with all others: one moves another's place in a trajectory, and both
    read what is not there.
    """

    def apply(self, func: Callable[[Any], Any], computations: list[Any]) -> list[Any]:
        """Apply `func` to each part; results in the order of the parts.

        Raises
        ------
        WorkerError
            If a worker is killed. The others write what they have computed.
        """
        # packed once, with its topology, and unpacked for every part
        work = pickle.dumps(func)
        waiting = collections.deque(enumerate(computations))
        results: list[Any] = [None] * len(computations)
        workers: dict[Any, Any] = {}
        busy: dict[Any, int] = {}
        failure: Exception | None = None

        def hand_over(pipe: Any) -> None:
            if waiting:
                busy[pipe], part = waiting.popleft()
                pipe.send((work, part))
            else:
                pipe.send(None)

        with self.bar(len(computations)) as bar:
            try:
                for _ in range(min(self.n_workers, len(computations))):
                    pipe, workers[pipe] = _start()
                    hand_over(pipe)
                while busy:
                    ready: list[Any] = multiprocessing.connection.wait(list(busy))
                    for pipe in ready:
                        failure, results[busy.pop(pipe)] = pickle.loads(pipe.recv_bytes())
                        if failure is not None:
                            raise failure
                        bar.update()
                        hand_over(pipe)
            except (EOFError, ConnectionError) as error:
                # a part may raise these as well as a dead worker's pipe
                if error is failure:
                    raise
                raise WorkerError(_KILLED) from error
            finally:
                # asked to end early, they write what they have
                for process in workers.values() if busy or failure is not None else ():
                    process.terminate()
                for pipe, process in workers.items():
                    process.join(_PATIENCE)
                    if process.is_alive():
                        process.kill()
                        process.join()
                    pipe.close()
        return results


def _start() -> tuple[Any, Any]:
    """A new worker: this end of its pipe, and the process."""
    pipe, end = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_work, args=(end,), daemon=True)
    # what the parent does on a signal is not for the worker, which soon has its own
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    end.close()
    return pipe, process


class Dask(_WithBar):
    """Workers of a Dask cluster. Parts come back to this process as they finish; one whose worker
    is lost is done by another.

    Parameters
    ----------
    n_workers : int
        Processes of a local cluster. Of another one, this becomes the number that it has.
    verbose : bool
        Show a progress bar.
    scheduler : str
        As for `mda_aptnn.cluster.connected`.
    """

    def __init__(self, n_workers: int = 1, verbose: bool = False, scheduler: str = "local") -> None:
        super().__init__(n_workers, verbose)
        self._scheduler = scheduler
        self._client: Any = None
        #: What is done with the result of each part as soon as it is there.
        self.keep: Callable[[Any], None] = lambda result: None

    @contextlib.contextmanager
    def connected(self) -> Iterator[Dask]:
        """Keep the connection for several calls of `apply`; raises as `cluster.connected`.

        Yields
        ------
        Dask
            Itself.
        """
        if self._client is not None:
            yield self
            return
        with cluster.connected(self._scheduler, self.n_workers) as client:
            threads = client.nthreads()
            self._client, self.n_workers = client, max(1, len(threads))
            if max(threads.values(), default=1) > 1:
                logger.warning(
                    "a Dask worker does one part at a time, whatever threads it has: start workers "
                    "with --nthreads 1, and as many as there are cores by --nworkers"
                )
            try:
                yield self
            finally:
                self._client = None

    def n_parts(self, n_frames: int, n_atoms: int) -> int:
        """Return how many parts so many frames of so many atoms are shared out in."""
        small = -(-n_frames * n_atoms // _PART_ATOMS)
        return max(super().n_parts(n_frames, n_atoms), min(n_frames, small))

    def apply(self, func: Callable[[Any], Any], computations: list[Any]) -> list[Any]:
        """Apply `func` to each part; results in the order of the parts.

        Raises
        ------
        WorkerError
            If the scheduler is lost, there are no workers for ten minutes, or a file is not there
            for them; else what `func` raises.
        """
        results: list[Any] = [None] * len(computations)
        with self.connected(), self.bar(len(computations)) as bar:
            submit = functools.partial(self._client.submit, pure=False)
            # sent once, and kept by the scheduler in case its worker is lost
            work = submit(bytes, pickle.dumps(func))
            where = os.getcwd(), cluster.states(self.files)
            places = {
                submit(cluster.compute, *where, work, part): k
                for k, part in enumerate(computations)
            }
            for future in cluster.finished(self._client, places):
                place = places.pop(future)
                results[place] = cluster.result(future)
                self.keep(results[place])
                bar.update()
        return results


class _Worker:
    """What a process knows of its own end: asked to, it writes what it has computed, and it
    outlives no parent.
    """

    begun = computing = stopping = False


def _begin_worker() -> None:
    if not _Worker.begun:
        _Worker.begun = True
        # the lock of progress bars is one for all forked processes: who is killed while holding it,
        # holds up the others for ever
        for bar in ProgressBar.__mro__:
            if hasattr(bar, "set_lock"):
                bar.set_lock(threading.RLock())
        for number in _SIGNALS:
            signal.signal(number, _stop_worker)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
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


def _work(pipe: Any) -> None:
    """Do parts until there are no more."""
    _begin_worker()
    with contextlib.suppress(EOFError, ConnectionError):  # the parent is gone
        while task := pipe.recv():
            work, part = task
            try:
                answer = _packed(None, _part(pickle.loads(work), part))
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = _packed(error, None)
            pipe.send_bytes(answer)


def _packed(error: Exception | None, result: Any) -> bytes:
    """The answer of a worker: its error or its result, or that they cannot be sent."""
    try:
        answer = pickle.dumps((error, result))
        if error is not None:
            pickle.loads(answer)  # some can be packed only
        return answer
    except Exception as reason:
        what = "what it computed" if error is None else f"its error {error!r}"
        return pickle.dumps((WorkerError(f"a worker cannot send {what}: {reason}"), None))


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
    if isinstance(backend, BackendBase):
        return backend
    if backend in (None, "serial"):
        if n_workers not in (None, 1):
            raise ValueError(
                f"n_workers={n_workers} with the serial backend; add "
                'backend="multiprocessing" (or "dask")'
            )
        return "serial"
    kinds = {"multiprocessing": ProgressMultiprocessing, "dask": Dask}
    if backend not in kinds:
        raise ValueError(f"backend {backend!r}: choose serial, multiprocessing or dask")
    return kinds[backend](n_workers or 1, verbose)
