"""Random kill -9 of real runs: what a repeated command gives, what is left over, what else has
changed.

    python benchmarks/kill.py [--scale 1.0] [--seed 0] [--output kill.md]

Every trial runs a command of the package in a process of its own, which is forked from this one so
that nothing is imported again, kills it (or one of its workers) at a random time, and repeats the
command. Its results must be those of an undisturbed run bit for bit, the folder must hold the same
files, and the files of the user's beside them must be what they were. The output's name is that of
an older result: at any time, it holds this or the new one, whole.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import MDAnalysis
import numpy as np
import torch

import mda_aptnn.training.loop
from mda_aptnn.cli import app
from mda_aptnn.flux import blocks

# The systems of the tests are those of the trials; they are no part of the installed package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import cp2k_stand_in
from tests.labelling_data import DATA
from tests.systems import gas
from tests.tiny import clusters, model_file

FRAMES = 200
#: Blocks and checkpoints are written this often, in s, instead of every 20 s: runs here take a
#: second.
OFTEN = 0.02

TRAINING = """
[training]
steps = 60
validate_every = 3
[[network.layers]]
features = "2x0e+2x1o+2x1e+2x2e"
cutoff = 3.0
n_radial = 2
"""

SPECTRUM = ["--resolution", "600 cm^-1", "-T", "300 K"]
READ = ["../../input/gas.pdb", "../../input/gas.trr", "-m", "../../input/model.h5"]
STAND_IN = shlex.join([sys.executable, "-S", "-E", cp2k_stand_in.__file__])
#: Name of a row: the command, what of it is compared, how many trials, whether a worker is killed.
COMMANDS: dict[str, tuple[list[str], int, bool]] = {
    "flux": (["flux", *READ, "-o", "x.h5", "-g", "O=element O"], 35, False),
    "flux --workers 2": (["flux", *READ, "-o", "x.h5", "--workers", "2"], 30, False),
    "flux --workers 2, one worker killed": (
        ["flux", *READ, "-o", "x.h5", "--workers", "2"],
        30,
        True,
    ),
    "flux --per atom": (["flux", *READ, "-o", "x.h5", "--per", "atom"], 20, False),
    "predict": (["predict", *READ, "-o", "x.h5"], 20, False),
    "spectrum": (
        [
            "spectrum",
            *READ,
            "-o",
            "x.h5",
            "--csv",
            "x.csv",
            "--plot",
            "x.png",
            "--flux",
            "x-flux.h5",
            *SPECTRUM,
        ],
        25,
        False,
    ),
    "train": (
        ["train", "../../input/labels.h5", "-o", "x.h5", "--config", "../../input/plan.toml"],
        20,
        False,
    ),
    "label run": (["label", "run", "campaign", "--command", STAND_IN, "--workers", "2"], 20, False),
}


def main() -> None:
    """Kill, repeat, compare, and print a table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--scale", type=float, default=1.0, help="times so many trials")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--only", nargs="+", metavar="WORD", help="rows whose name begins with one of these"
    )
    options.add_argument("--output", type=Path, help="file for the table")
    given = options.parse_args()
    # A process with threads of OpenMP cannot be forked: its child would wait for them for ever.
    torch.set_num_threads(1)
    begun = time.process_time() + sum(os.times()[2:4])
    rng = np.random.default_rng(given.seed)
    rows, faults = [], []
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        top = Path(folder)
        prepare(top)
        for name, (words, count, of_worker) in COMMANDS.items():
            if given.only and not name.startswith(tuple(given.only)):
                continue
            count = max(1, round(count * given.scale))
            row, wrong = trials(top, name, words, count, of_worker, rng)
            rows.append(row)
            faults += wrong
            print(row, flush=True)
    seconds = time.process_time() + sum(os.times()[2:4]) - begun
    text = table(rows, seconds)
    print(text)
    for fault in faults:
        print(fault)
    if given.output:
        given.output.write_text(text)
    if faults:
        raise SystemExit(1)


def prepare(top: Path) -> None:
    """Write inputs, and load once what every run needs."""
    blocks._BLOCK_SECONDS = OFTEN
    mda_aptnn.training.loop.CHECKPOINT_EVERY = OFTEN
    given = top / "input"
    given.mkdir()
    for name, u in (("gas", gas(FRAMES)), ("one", gas(40, n_molecules=1, cell=None))):
        u.atoms.write(str(given / f"{name}.pdb"))
        with MDAnalysis.Writer(str(given / f"{name}.trr"), len(u.atoms)) as writer:
            for _ in u.trajectory:
                writer.write(u.atoms)
        # MDAnalysis notes the places of the frames beside the file when it reads it first
        MDAnalysis.Universe(str(given / f"{name}.pdb"), str(given / f"{name}.trr"))
    model_file().save(given / "model.h5")
    clusters(3).save(given / "labels.h5")
    (given / "plan.toml").write_text(TRAINING)
    (given / "template.inp").write_bytes((DATA / "water.inp").read_bytes())
    logging.disable(logging.INFO)
    words = [
        "label",
        "plan",
        "one.pdb",
        "one.trr",
        "--template",
        "template.inp",
        "--route",
        "analytic",
    ]
    code = started(given, [*words, "--pbc", "none", "--frames", "10", "-o", "campaign"]).wait()
    assert code == 0, (given / "said").read_text()
    (given / "said").unlink()
    # modules and kernels are loaded here, and not in every trial
    here = Path.cwd()
    for words, _, _ in COMMANDS.values():
        os.chdir(new_folder(top, "first", words))
        app(words, standalone_mode=False)
        os.chdir(here)
        shutil.rmtree(top / "trials")


class Process:
    """A command in a child of this process."""

    def __init__(self, number: int) -> None:
        self.number, self.code = number, None

    def poll(self) -> int | None:
        """Return the exit code, minus the signal's number if one ended it; None while it runs."""
        if self.code is None:
            number, status = os.waitpid(self.number, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if number else None
        return self.code

    def wait(self, seconds: float = 300.0) -> int | None:
        """Wait for the end, None if it does not come."""
        end = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        return self.code


def started(folder: Path, words: Sequence[str]) -> Process:
    """Start a command in a folder; what it says goes to the file `said` there."""
    number = os.fork()
    if number:
        return Process(number)
    code = 1
    try:
        os.chdir(folder)
        said = os.open("said", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.argv = ["mda-aptnn", *words]
        app(list(words))
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def new_folder(top: Path, name: str, words: Sequence[str]) -> Path:
    """Make a folder to run in, with the user's files beside, named nearly as those of a run."""
    folder = top / "trials" / name
    folder.mkdir(parents=True)
    if "campaign" in words:
        shutil.copytree(top / "input" / "campaign", folder / "campaign")
    for mine in (
        "thesis.tex",
        ".x.h5.abcdefgh.h5",
        ".x.h5.mda-aptnn-notes.h5",
        "x.h5.bak",
        "block-000000000.h5",
    ):
        (folder / mine).write_text(f"mine: {mine}")
    (folder / "y.unfinished" / "part-1").mkdir(parents=True)
    (folder / "y.unfinished" / "part-1" / "notes").write_text("mine")
    shutil.copy(top / "input" / "labels.h5", folder / "x.h5")
    return folder


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, where links point."""
    return {
        str(path.relative_to(folder)): (
            str(path.readlink())
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def result(path: Path) -> Any:
    """What a file of results holds, less dates and durations, to the last bit."""
    if path.suffix == ".h5" and h5py.is_hdf5(path):
        found: dict[str, Any] = {}

        def visit(name: str, item: Any) -> None:
            for key, value in item.attrs.items():
                found[f"{name}@{key}"] = without_times(value)
            if isinstance(item, h5py.Dataset) and not name.endswith("seconds"):
                values = item[()]
                if isinstance(values, np.ndarray):
                    found[name] = values.tolist() if values.dtype.kind == "O" else values.tobytes()
                else:
                    found[name] = without_times(values)

        with h5py.File(path, "r") as file:
            file.visititems(visit)
            visit("", file)
        found.pop("@created")
        return found
    if path.name in ("complete.json", "said"):
        return None
    return path.read_bytes()


def without_times(value: Any) -> Any:
    """An attribute or a text of JSON, less what says how long something took."""
    text = value.decode() if isinstance(value, bytes) else value
    with contextlib.suppress(TypeError, ValueError):
        table = json.loads(text)
        for part in (table, *(table.values() if isinstance(table, dict) else ())):
            if isinstance(part, dict):
                part.pop("seconds", None)
        return json.dumps(table, sort_keys=True)
    return value.tobytes() if isinstance(value, np.ndarray) else value


def results(folder: Path) -> dict[str, Any]:
    """`result` of every file below a folder; folders as well."""
    return {
        str(path.relative_to(folder)): result(path) if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def trials(
    top: Path, name: str, words: list[str], count: int, of_worker: bool, rng: np.random.Generator
) -> tuple[dict[str, Any], list[str]]:
    """Return a row of the table, and what went wrong."""
    folder = new_folder(top, "whole", words)
    mine = hashes(folder)
    mine = {
        key: value
        for key, value in mine.items()
        if key != "x.h5" and not key.startswith("campaign")
    }
    old = result(folder / "x.h5")
    begun = time.monotonic()
    code = started(folder, words).wait()
    length = time.monotonic() - begun
    assert code == 0, (folder / "said").read_text()
    expected, given = results(folder), hashes(top / "input")
    shutil.rmtree(top / "trials")
    row = {
        "command": name,
        "trials": 0,
        "killed": 0,
        "something done": 0,
        "left over": 0,
        "seconds": length,
    }
    faults: list[str] = []
    for number in range(count):
        folder = new_folder(top, str(number), words)
        was_killed = kill(folder, words, of_worker, rng.uniform(0, length), faults)
        row["trials"] += 1
        row["killed"] += was_killed
        state = [path.name for path in folder.rglob("*")]
        row["something done"] += was_killed and any(
            re.fullmatch(r"block-\d+-\w+\.h5|.+\.checkpoint\.h5|.+\.out", entry) for entry in state
        )
        row["left over"] += any(".mda-aptnn-" in entry and "notes" not in entry for entry in state)
        problems = (
            []
            if result(folder / "x.h5") in (old, expected["x.h5"])
            else ["the output is neither old nor new"]
        )
        problems += changed(mine, folder)
        if name == "train" and not was_killed:
            # it is done, and would train anew
            (folder / "x.h5").unlink()
        code = started(folder, words).wait()
        if code != 0:
            problems.append(f"repeated: exit code {code}: {(folder / 'said').read_text()[-300:]}")
        found = results(folder)
        problems += [
            f"differs: {key}" for key in expected if key in found and found[key] != expected[key]
        ]
        problems += [f"left or missing: {key}" for key in expected.keys() ^ found.keys()]
        problems += changed(mine, folder)
        if hashes(top / "input") != given:
            problems.append("an input has changed")
        faults += [f"{name}, trial {number}: {problem}" for problem in problems]
        if not problems:
            shutil.rmtree(top / "trials")
        else:
            folder.rename(folder.with_name(f"{number}-kept"))
    row["faults"] = len(faults)
    return row, faults


def changed(mine: dict[str, str], folder: Path) -> list[str]:
    """Files of the user's that are not what they were."""
    now = hashes(folder)
    return [f"the user's {key} has changed" for key, value in mine.items() if now.get(key) != value]


def kill(folder: Path, words: list[str], of_worker: bool, after: float, faults: list[str]) -> bool:
    """Run and kill; return whether it was still running."""
    process = started(folder, words)
    end = time.monotonic() + after
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.001)
    if not of_worker:
        if process.poll() is not None:
            return False
        os.kill(process.number, signal.SIGKILL)
        process.wait()
        return True
    workers: list[int] = []
    while process.poll() is None and not workers:
        with contextlib.suppress(OSError):
            workers = [int(word) for word in children(process.number)]
        time.sleep(0.001)
    if process.poll() is not None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(workers[-1], signal.SIGKILL)
    code = process.wait(60)
    said = (folder / "said").read_text()
    if code is None:
        faults.append(f"a worker was killed, and the run does not end: {said[-2000:]}")
        os.kill(process.number, signal.SIGKILL)
        process.wait()
    elif code != 0 and "error: a worker process was killed" not in said:
        faults.append(f"a worker was killed, and the run says: {said[-300:]}")
    return code != 0


def children(number: int) -> list[str]:
    """Processes that a process has started."""
    return Path(f"/proc/{number}/task/{number}/children").read_text().split()


def table(rows: list[dict[str, Any]], seconds: float) -> str:
    """The table in Markdown."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    lines = [
        f"`python benchmarks/kill.py`, {datetime.date.today()}, commit {commit}, {seconds:.0f} s "
        f"of CPU time:",
        "",
        "| command | trials | killed while it ran | frames, runs or a checkpoint were kept "
        "| a half-written file was left | faults after repeating |",
        "|---|---|---|---|---|---|",
    ]
    keys = ("command", "trials", "killed", "something done", "left over", "faults")
    lines += ["| " + " | ".join(str(row[key]) for key in keys) + " |" for row in rows]
    sums = [str(sum(row[key] for row in rows)) for key in keys[1:]]
    lines.append("| all | " + " | ".join(sums) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
