"""Where tasks run: here, on a Dask cluster, or in a SLURM job array; interrupted anywhere, resumed
by the next call.

Every run works in a directory of its own inside its task, and its output takes its place only when
the run ended and converged. Whatever an interrupted call left is wiped by the next one; a lock
keeps two calls from the same task.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from mda_aptnn import cluster, folders, io
from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.labels.campaign import Campaign, Task
from mda_aptnn.labels.protocol import InProcess, Job, Run

#: How often a worker looks whether it should stop, in seconds.
_PATIENCE = 0.2
#: How long a program that was asked to end may take, in seconds.
_GRACE = 5.0
#: Where a run works, as `tempfile.mkdtemp` names it.
_WORK = re.compile(r"running-\w{8}")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    task : str
        Its name.
    state : {"complete", "failed", "busy", "stopped"}
        Busy: another process runs it.
    message : str
        Why it failed.
    last_lines : str
        Of the output that failed.
    """

    task: str
    state: str
    message: str = ""
    last_lines: str = ""


def run_campaign(
    campaign: Campaign,
    command: str | None = None,
    *,
    workers: int = 1,
    retry: bool = False,
    task: int | None = None,
    dask: str | None = None,
    verbose: bool = False,
) -> list[Outcome]:
    """Run what is missing.

    Whatever ends this call (Ctrl-C, SIGTERM) ends the programs that it started here.

    Parameters
    ----------
    campaign : Campaign
    command : str, optional
        What starts the program, as in a shell, without input and output: ``"mpirun -np 2
        program"``; usually the code's own. A code that computes in this process needs none.
    workers : int
        Tasks at a time.
    retry : bool
        Run again the tasks that failed.
    task : int, optional
        Only the task of this number, counted from 0 (for job arrays).
    dask : str, optional
        Address of a Dask scheduler, or its scheduler file; the folder must be the same for its
        workers.
    verbose : bool
        Show a progress bar.

    Returns
    -------
    list of Outcome
        Of all tasks asked for, in the order of planning.

    Raises
    ------
    CampaignError
        If the command does not exist, or there is no such task.
    WorkerError
        If no Dask scheduler answers, or it is lost, or has no workers for ten minutes.
    """
    words = _words(campaign, command, here=dask is None)
    if workers < 1:
        raise CampaignError(f"{workers} workers cannot run anything")
    names = campaign.task_names
    if task is not None and not 0 <= task < len(names):
        raise CampaignError(
            f"there is no task {task}: the campaign has {len(names)}, counted from 0"
        )
    names = names if task is None else [names[task]]
    found: dict[str, Outcome] = {}
    for one in map(campaign.task, names):
        failure = one.failure
        if one.complete:
            found[one.name] = Outcome(one.name, "complete")
        elif failure is not None and not retry:
            found[one.name] = Outcome(one.name, "failed", failure["message"], failure["last_lines"])
    folder = campaign.folder.resolve() / "tasks"
    missing = [folder / name for name in names if name not in found]
    if dask is None:
        scheduler = _run_here(missing, words, workers)
    else:
        scheduler = _run_on_dask(missing, words, dask, workers)
    # closed at once, not when somebody lets go of the traceback
    with (
        _ended_in_order(),
        contextlib.closing(scheduler),
        tqdm(total=len(names), initial=len(found), unit="task", disable=not verbose) as bar,
    ):
        for outcome in scheduler:
            found[outcome.task] = outcome
            bar.update()
    return [found[name] for name in names]


def _words(campaign: Campaign, command: str | None, here: bool) -> list[str]:
    """The command as words, after a look whether the program, or the package, is here."""
    code = campaign.code
    usual, title = code.command, code.title
    if usual is None:
        if here and isinstance(code, InProcess):
            code.check_installed()
        return []
    words = shlex.split(usual if command is None else command)
    if not words:
        raise CampaignError(f"the command is empty; give one like {usual!r}")
    if here and shutil.which(words[0]) is None:
        raise CampaignError(
            f"there is no command {words[0]!r}; give the one that starts {title} here (--command)"
        )
    return words


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process by an exception, where nobody else looks after them.

    Programs work in process groups of their own, so that they would outlive a process that just
    ends.
    """
    main = threading.current_thread() is threading.main_thread()
    mine = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if main and signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in mine:
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def run_task(
    directory: str | os.PathLike[str], command: Sequence[str], stop: threading.Event | None = None
) -> Outcome:
    """Run what is missing of one task; never raises for what happens in its runs.

    Parameters
    ----------
    directory : path
    command : sequence of str
        Program and arguments.
    stop : threading.Event, optional
        When set, the run is killed and nothing is recorded.
    """
    directory = Path(directory)
    try:
        with folders.locked(directory / folders.LOCK) as free:
            if not free:
                return Outcome(directory.name, "busy")
            task = Task.load(directory)
            _wipe(directory)
            if task.complete:
                return Outcome(task.name, "complete")
            task.check_inputs(task.inputs)
            for name in ("failed.json", "failed.out"):
                (directory / name).unlink(missing_ok=True)
            start = time.monotonic()
            for run in task.runs:
                if not all((directory / name).is_file() for name in _gives(task, run)):
                    _execute(task, run, command, stop)
            seconds = round(time.monotonic() - start, 1)
            record = {"command": shlex.join(command), "host": platform.node(), "seconds": seconds}
            io.save_json(directory / "complete.json", record)
            for name in _left(task):
                (directory / name).unlink(missing_ok=True)
            return Outcome(task.name, "complete")
    except _StopError:
        return Outcome(directory.name, "stopped")
    except (_RunError, CampaignError, OSError) as error:
        failed = error if isinstance(error, _RunError) else _RunError("", str(error))
    with contextlib.suppress(OSError):  # no disk: the next call tries the task again
        io.save_json(directory / "failed.json", failed.record)
    return Outcome(directory.name, "failed", failed.record["message"], failed.record["last_lines"])


class _StopError(Exception):
    """The user stopped the campaign."""


class _RunError(Exception):
    """A run failed: which, why, and the last lines of its output."""

    def __init__(self, run: str, why: str, last_lines: str = "") -> None:
        message = f"{run}: {why}" if run else why
        self.record = {"run": run, "message": message, "last_lines": last_lines}


def _left(task: Task) -> list[str]:
    """What the first run leaves for the others, if there are any."""
    name = task.code.leaves(task.project(task.runs[0]))
    return [name] if name is not None and len(task.runs) > 1 else []


def _gives(task: Task, run: Run) -> list[str]:
    """The files of a run that is done: its output, and of the first one what it leaves."""
    return [*(_left(task) if run is task.runs[0] else []), run.output]


def _execute(task: Task, run: Run, command: Sequence[str], stop: threading.Event | None) -> None:
    """Compute one run in a folder of its own, and take over what it gave."""
    if stop is not None and stop.is_set():
        raise _StopError
    work = Path(tempfile.mkdtemp(prefix="running-", dir=task.directory))
    code, needed = 0, [] if run is task.runs[0] else _left(task)
    try:
        for name in [*task.inputs_of(run), *needed]:
            (work / name).symlink_to(f"../{name}")
        job = Job(
            folder=work,
            run=run,
            frame=run.geometry(task.placed),
            wanted=task.route.wanted(run),
            project=task.project(run),
            command=tuple(command),
            call=functools.partial(_call, work=work, name=run.output, stop=stop),
        )
        code = task.code.compute(job)
        task.output(run, work)
        if code:
            raise LabelError("the command failed")
        for name in _gives(task, run):
            if not (work / name).is_file():
                raise LabelError(f"there is no {name}, which the other runs start from")
        for name in _gives(task, run):
            io.move(work / name, task.directory / name)
    except LabelError as error:
        said = [
            path.read_text(errors="replace") if path.is_file() else ""
            for path in (work / run.output, work / "stderr")
        ]
        with contextlib.suppress(FileNotFoundError):
            io.move(work / run.output, task.directory / "failed.out")
        why = f"{error} (exit code {code})" if code else str(error)
        raise _RunError(run.name, why, task.code.last_lines(*said)) from error
    except (CampaignError, OSError) as error:
        raise _RunError(run.name, str(error)) from error
    finally:
        folders.clear(work)


def _call(words: Sequence[str], *, work: Path, name: str, stop: threading.Event | None) -> int:
    """Run a program in `work`, in a process group of its own; return its exit code."""
    # without mpirun, Open MPI starts a daemon beside the program, which outlives a killed one and
    # eats the memory
    environment = {"OMPI_MCA_ess_singleton_isolated": "1", **os.environ}
    with open(work / name, "wb") as out, open(work / "stderr", "wb") as err:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
        process = subprocess.Popen(
            words, cwd=work, env=environment, start_new_session=True, **streams
        )
        try:
            (work / "group").write_text(str(process.pid))
            while True:
                try:
                    return process.wait(None if stop is None else _PATIENCE)
                except subprocess.TimeoutExpired:
                    if stop is not None and stop.is_set():
                        raise _StopError from None
        finally:
            if process.poll() is None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process group: asked first, so that mpirun takes its ranks with it, then killed."""
    until = time.monotonic() + _GRACE
    # as long as its first process is not waited for, the number of the group is not given again
    running = functools.partial(
        os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
    )
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        while running() is None and time.monotonic() < until:
            time.sleep(_PATIENCE / 4)
    process.wait()


def _wipe(directory: Path) -> None:
    """Remove what an interrupted call left, and end its program if that still works there."""
    for work in directory.glob("running-*"):
        if not _WORK.fullmatch(work.name) or work.is_symlink():
            continue
        with contextlib.suppress(OSError, ValueError):
            group = int((work / "group").read_text())
            # only a process that works in this very directory: numbers are used again, and may be
            # of another host
            if Path(f"/proc/{group}/cwd").resolve() == work.resolve():
                os.killpg(group, signal.SIGKILL)
        folders.clear(work)


def _run_here(
    directories: Sequence[Path], command: Sequence[str], workers: int
) -> Generator[Outcome, None, None]:
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = [pool.submit(run_task, directory, command, stop) for directory in directories]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _run_on_dask(
    directories: Sequence[Path], command: Sequence[str], address: str, n_workers: int
) -> Generator[Outcome, None, None]:
    with cluster.connected(address, n_workers) as client:
        submit = functools.partial(client.submit, run_task, pure=False, retries=0)
        names = {submit(str(path), list(command)): path.name for path in directories}
        for future in cluster.finished(client, names):
            problem = future.exception()
            if problem is None:
                yield future.result()
            else:
                yield Outcome(names[future], "failed", f"on the cluster: {problem}")


def slurm_script(campaign: Campaign, command: str) -> str:
    """Return a job script that runs each task as one element of a job array.

    Parameters
    ----------
    campaign : Campaign
    command : str
        What starts the program within the job: ``"srun program"``.
    """
    folder = shlex.quote(str(campaign.folder.resolve()))
    return f"""#!/bin/bash
#SBATCH --job-name=labels
#SBATCH --array=0-{len(campaign.task_names) - 1}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --output=labels-%A_%a.log

# Finished tasks end at once: after a time limit submit this script again; add --retry to repeat
# failed tasks.
export OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}}
mda-aptnn label run {folder} --command {shlex.quote(command)} --task "$SLURM_ARRAY_TASK_ID"
"""
