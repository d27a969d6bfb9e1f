"""Workers of Dask, on this machine or on others: how they are reached, and what is said of those
that are lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pickle
import platform
import queue
import re
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mda_aptnn.errors import WorkerError

logger = logging.getLogger(__name__)

#: How long a scheduler may take to answer, and a cluster may be without workers, in s.
_ANSWER, _PATIENCE = 5.0, 600.0
#: How often the workers are counted while nothing finishes, in s.
_POLL = 2.0
#: Packages of which another version may give other numbers, beside those that Dask compares itself.
_PACKAGES = ("mda-aptnn", "MDAnalysis", "torch", "numba", "scipy")

#: Models and readers are used by one thread of a worker at a time.
_alone = threading.Lock()

#: Size in bytes and time of the last change in ns of files, by their names.
States = Mapping[str, tuple[int, int]]


@contextlib.contextmanager
def connected(scheduler: str, n_workers: int = 1) -> Iterator[Any]:
    """Give a client of a scheduler, which ends with the context.

    Parameters
    ----------
    scheduler : str
        Its address, "tcp://HOST:8786", or its scheduler file; "local" starts processes of this
        machine.
    n_workers : int
        How many processes.

    Yields
    ------
    distributed.Client

    Raises
    ------
    WorkerError
        If Dask is not installed, the scheduler does not answer, or workers have another version of
        this package. Other versions of other packages are a warning.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise WorkerError("--dask needs Dask: pip install 'mda-aptnn[dask]'") from error
    with contextlib.ExitStack() as stack:
        # what it logs of losses is said below, in one line
        for name in ("client", "core", "comm", "utils", "scheduler", "nanny", "worker"):
            log = logging.getLogger(f"distributed.{name}")
            stack.callback(log.setLevel, log.level)
            log.setLevel(logging.CRITICAL)
        # a topology is large, and sent once
        quiet = {"distributed.admin.large-graph-warning-threshold": "1TB"}
        stack.enter_context(dask.config.set(quiet))
        if scheduler == "local":
            processes = distributed.LocalCluster(
                n_workers=n_workers, threads_per_worker=1, dashboard_address=None
            )
            address = stack.enter_context(processes).scheduler_address
        else:
            address = _address(scheduler)
        try:
            with ThreadPoolExecutor(1) as alone:  # a notebook has a loop of its own
                kind = alone.submit(asyncio.run, _who_answers(address)).result()
            if kind != "Scheduler":
                raise WorkerError(f"at {address} a Dask {kind.lower()} answers, and no scheduler")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
                client = distributed.Client(address, timeout=_ANSWER, set_as_default=False)
            stack.enter_context(client)
        except WorkerError:
            raise
        except Exception as error:  # what answers there may be anything
            raise WorkerError(
                f"no Dask scheduler answers at {address} within {_ANSWER:.0f} s: start one (dask "
                "scheduler), or see whether its address is right"
            ) from error
        try:
            ask: Any = client._get_versions  # the public one has no limit of time
            _compare(client.sync(ask, packages=_PACKAGES, callback_timeout=_ANSWER))
        except TimeoutError:
            logger.warning("a Dask worker does not answer: versions are not compared")
        yield client


async def _who_answers(address: str) -> str:
    """What is at an address of Dask; a client by itself may wait for minutes."""
    from distributed import Security, rpc

    keys = Security().get_connection_args("client")
    async with (
        asyncio.timeout(_ANSWER),
        rpc(address, timeout=_ANSWER, connection_args=keys) as there,
    ):
        return str((await there.identity())["type"])


def _address(scheduler: str) -> str:
    """The address of a scheduler, by itself or from its file."""
    if re.search(r":\d+/?$", scheduler):
        return scheduler
    try:
        return str(json.loads(Path(scheduler).read_text())["address"])
    except FileNotFoundError as error:
        raise WorkerError(
            f"--dask {scheduler}: there is no such scheduler file; give the file, an address such "
            "as tcp://HOST:8786, or local"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkerError(f"--dask {scheduler} is no scheduler file of Dask") from error


def _compare(versions: dict[str, Any]) -> None:
    """Refuse workers with another version of this package, and warn of other differences."""
    mine = versions["client"]["packages"]
    own = {"mda-aptnn": versions["scheduler"]["packages"].get("mda-aptnn")}
    others: dict[str, set[str]] = {}
    for packages in (own, *(found["packages"] for found in versions["workers"].values())):
        for name, there in packages.items():
            if there != mine.get(name):
                others.setdefault(name, set()).add(str(there))
    differ = [
        f"{name} {mine.get(name)} here, {' and '.join(sorted(there))} there"
        for name, there in sorted(others.items())
    ]
    if "mda-aptnn" in others:
        raise WorkerError(f"versions differ ({'; '.join(differ)}): install the same mda-aptnn")
    if differ:
        logger.warning("versions differ (%s): the last digits may too", "; ".join(differ))


def finished(client: Any, futures: Iterable[Any]) -> Iterator[Any]:
    """Give futures in the order in which they finish, and say what they wait for.

    Parameters
    ----------
    client : distributed.Client
    futures : iterable of distributed.Future

    Yields
    ------
    distributed.Future
        One that has a result or an exception.

    Raises
    ------
    WorkerError
        If the scheduler is lost, or there are no workers for ten minutes.
    """
    address, done, left = client.scheduler.address, queue.SimpleQueue[Any](), set(futures)
    for future in left:
        future.add_done_callback(done.put)
    alone_since = None
    while left:
        future = None
        with contextlib.suppress(queue.Empty):
            future = done.get(timeout=_POLL)
        if any(each.cancelled() for each in ([future] if future else left)):
            raise WorkerError(
                f"the Dask scheduler at {address} was lost: start one and repeat the command"
            )
        if future is not None:
            left.discard(future)
            yield future
            continue
        with contextlib.suppress(Exception):  # of a connection that is being lost
            if client.sync(client.scheduler.ncores, callback_timeout=_ANSWER):
                alone_since = None
                continue
        if alone_since is None:
            alone_since = time.monotonic()
            logger.warning(
                "the Dask scheduler at %s has no workers: waiting for one, up to %.0f minutes "
                "(dask worker %s)",
                *(address, _PATIENCE / 60, address),
            )
        elif time.monotonic() - alone_since > _PATIENCE:
            raise WorkerError(
                f"the Dask scheduler at {address} has no workers: start some (dask worker "
                f"{address}) and repeat the command"
            )


def result(future: Any) -> Any:
    """Return what a finished future has, unpacked if it is of `compute`.

    Raises
    ------
    WorkerError
        If every worker that took it was killed, or the scheduler is lost; else what it raised.
    """
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, KilledWorker):
        raise WorkerError(
            "a part of the work ended every worker that took it, as systems do when memory runs "
            "out: give workers more memory, and repeat the command"
        ) from error
    if error is not None:
        raise error
    return pickle.loads(future.result())


def states(files: Iterable[Any]) -> States:
    """Return what `compute` knows files by, of whatever is the name of one."""
    found = {name: os.stat(name) for name in map(str, files) if os.path.isfile(name)}
    return {name: (state.st_size, state.st_mtime_ns) for name, state in found.items()}


def compute(folder: str, needed: States, work: bytes, part: Any) -> bytes:
    """Do a part of the work in a worker: `work` is a pickled function of it.

    Parameters
    ----------
    folder : str
        Where names of files begin.
    needed : mapping
        Files that must be there, of `states`.
    work : bytes
    part : object

    Returns
    -------
    bytes
        The pickled result.

    Raises
    ------
    WorkerError
        If a file is not there, or is another one.
    """
    with _alone, contextlib.ExitStack() as stack:
        if os.path.isdir(folder):
            stack.enter_context(contextlib.chdir(folder))
        here = states(needed)
        for name, state in needed.items():
            if here.get(name) != state:
                what = "another file" if name in here else "no file"
                raise WorkerError(
                    f"the worker on {platform.node()} sees {what} {os.path.join(folder, name)}: "
                    "workers need the same files at the same place, on a file system that they "
                    "share"
                )
        return pickle.dumps(pickle.loads(work)(part))
