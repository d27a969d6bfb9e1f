"""A campaign: a folder with a manifest and one self-contained directory for each task.

    campaign/manifest.json         what was planned: route, template, frames, tasks
    campaign/tasks/<hash>/         task.json, <run>.inp, files of the template; later <run>.out,
    complete.json

A task is named by the hash of everything that its result depends on, so planning the same again
changes nothing, and a finished task stays finished.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mda_aptnn import folders, io
from mda_aptnn.errors import CampaignError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.cp2k.displacement_routes import DisplacementRoute
from mda_aptnn.labels.cp2k.field_routes import FieldRoute
from mda_aptnn.labels.cp2k.routes import Route, make_route
from mda_aptnn.labels.cp2k.template import DFT, Template
from mda_aptnn.labels.runs import Run

FORMAT = 1
MANIFEST = "manifest.json"
#: Displaced atoms of one frame in one task: enough to share the unperturbed run, few enough to
#: share out the work.
ATOMS_PER_TASK = 8
#: Stands in an input for the name of its task, which is the hash of the inputs.
_TASK = "@TASK@"
#: What tasks and runs are called; anything else is not of `plan`.
_TASK_NAME, _RUN_NAME = re.compile(r"[0-9a-f]{16}"), re.compile(r"\w+", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A frame to be labelled, and where it comes from.

    Attributes
    ----------
    frame : Frame
    info : dict
        "source" (file), "index" (frame of the trajectory), "time" (ps).
    atoms : tuple of int
        Which atoms get a label by displacement (counted from 0); the other routes label all.
    """

    frame: Frame
    info: dict[str, Any]
    atoms: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Task:
    """One directory of runs that share an unperturbed run.

    Attributes
    ----------
    directory : Path
    name : str
        Hash of the content.
    frame : Frame
        As in the trajectory.
    placed : Frame
        As in the inputs: a molecule in vacuum sits in the middle of its box.
    runs : tuple of Run
    route : Route
    info : dict
        Of the snapshot.
    inputs : dict of str to str
        SHA-256 of each input file.
    level_of_theory : str
    template : str
        SHA-256 of the template.
    """

    directory: Path
    name: str
    frame: Frame
    placed: Frame
    runs: tuple[Run, ...]
    route: Route
    info: dict[str, Any]
    inputs: dict[str, str]
    level_of_theory: str
    template: str

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Task:
        """Read a task's directory.

        Raises
        ------
        CampaignError
            If it is not one, or damaged.
        """
        directory = Path(directory)
        _refuse_links(directory.parent, directory, directory / "task.json")
        record = read_json(directory / "task.json")
        try:
            task = cls(
                directory=directory,
                name=record["name"],
                frame=_frame_from(record["frame"]),
                placed=_frame_from(record["placed"]),
                runs=tuple(
                    Run(run["name"], tuple(run["field"]), run["atom"], tuple(run["displacement"]))
                    for run in record["runs"]
                ),
                route=make_route(record["route"], record["parameters"]),
                info=record["info"],
                inputs=record["inputs"],
                level_of_theory=record["level_of_theory"],
                template=record["template"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CampaignError(f"{directory / 'task.json'} is damaged: {error}") from error
        # names become paths
        plain = [bool(_RUN_NAME.fullmatch(str(run.name))) for run in task.runs]
        plain += [
            name != ".." and Path(name).name == name and "\0" not in name for name in task.inputs
        ]
        if not _TASK_NAME.fullmatch(str(task.name)) or not task.runs or not all(plain):
            raise CampaignError(
                f"{directory / 'task.json'} has a name that is none of a task, a run or a file in "
                f"it"
            )
        return task

    def project(self, run: Run) -> str:
        """Return CP2K's project name of a run, which its output repeats."""
        return f"{run.name}-{self.name}"

    @property
    def complete(self) -> bool:
        """Whether all runs ended and converged."""
        return (self.directory / "complete.json").is_file()

    @property
    def failure(self) -> dict[str, Any] | None:
        """Which run failed, why, and its last lines; None if none did."""
        path = self.directory / "failed.json"
        return read_json(path) if path.is_file() else None


class Campaign:
    """A planned campaign on disk.

    Parameters
    ----------
    folder : path

    Raises
    ------
    CampaignError
        If there is none, or its manifest is damaged or newer.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not (self.folder / MANIFEST).is_file():
            raise CampaignError(
                f"{folder} is no campaign: there is no {MANIFEST}; make one with `mda-aptnn label "
                f"plan`"
            )
        self.manifest = read_json(self.folder / MANIFEST)
        version = self.manifest.get("format")
        if version != FORMAT or not isinstance(self.manifest.get("frames"), list):
            raise CampaignError(
                f"{self.folder / MANIFEST} has format {version!r}, this version reads {FORMAT}"
            )
        for item in self.manifest["frames"]:
            names = item.get("tasks") if isinstance(item, dict) else None
            if not isinstance(names, list) or not all(
                _TASK_NAME.fullmatch(str(name)) for name in names
            ):
                raise CampaignError(
                    f"{self.folder / MANIFEST} is damaged: {str(names)[:60]} are no names of tasks"
                )

    @property
    def task_names(self) -> list[str]:
        """Names of all tasks, in the order of planning."""
        return [name for item in self.manifest["frames"] for name in item["tasks"]]

    def task(self, name: str) -> Task:
        """Return a task by its name."""
        return Task.load(self.folder / "tasks" / name)

    def tasks(self) -> Iterator[Task]:
        """Return all tasks in the order of planning."""
        return map(self.task, self.task_names)

    def frames(self) -> Iterator[tuple[dict[str, Any], list[Task]]]:
        """Return, for each snapshot, where it comes from and its tasks."""
        for item in self.manifest["frames"]:
            yield item["info"], [self.task(name) for name in item["tasks"]]


def plan(
    folder: str | os.PathLike[str],
    snapshots: Iterable[Snapshot],
    template: Template,
    route: Route,
) -> Campaign:
    """Write the tasks of these snapshots, and a manifest; more snapshots can be added to a campaign
    later.

    Parameters
    ----------
    folder : path
        New, or a campaign of the same template and route.
    snapshots : iterable of Snapshot
    template : Template
    route : Route

    Returns
    -------
    Campaign

    Raises
    ------
    CampaignError
        If a snapshot does not go with the template, or the folder holds something else.
    BusyError
        If another process plans into it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with folders.reserved(folder / folders.LOCK, f"the campaign {folder}"):
        return _plan(folder, snapshots, template, route)


def _plan(
    folder: Path, snapshots: Iterable[Snapshot], template: Template, route: Route
) -> Campaign:
    header = {
        "format": FORMAT,
        "route": route.name,
        "parameters": route.parameters,
        "template": _sha256(template.input.text.encode("latin-1")),
        "level_of_theory": template.level_of_theory,
    }
    frames: list[dict[str, Any]] = []
    if (folder / MANIFEST).is_file():
        old = Campaign(folder).manifest
        for key, value in header.items():
            if old.get(key) != value:
                raise CampaignError(
                    f"{folder} is a campaign with another {key}; choose another folder"
                )
        frames = old["frames"]
    elif folder.exists() and any(
        item.name not in ("tasks", folders.LOCK) for item in folder.iterdir()
    ):
        raise CampaignError(f"{folder} is not empty and no campaign; choose another folder")
    if (
        isinstance(route, FieldRoute)
        and template.input.value(f"{DFT}/QS", "METHOD", "GPW") == "XTB"
    ):
        warnings.warn(
            "CP2K 2023.1 returns −P for GFN1-xTB in fields, and collecting will refuse it; use "
            "--route displacement",
            stacklevel=2,
        )
    (folder / "tasks").mkdir(exist_ok=True)
    known = {name for item in frames for name in item["tasks"]}
    for snapshot in snapshots:
        names = [
            _write_task(folder, snapshot, atoms, template, route)
            for atoms in _shares(snapshot, route)
        ]
        if known.issuperset(names):
            warnings.warn(f"{describe(snapshot.info)} is planned already", stacklevel=2)
            continue
        known.update(names)
        frames.append(
            {"info": snapshot.info, "fingerprint": snapshot.frame.fingerprint(), "tasks": names}
        )
    if not frames:
        raise CampaignError("there are no snapshots to plan")
    write_json(folder / MANIFEST, {**header, **io.provenance(), "frames": frames})
    return Campaign(folder)


def describe(info: dict[str, Any]) -> str:
    """Return how messages call a snapshot."""
    time = f", {info['time']:g} ps" if info.get("time") is not None else ""
    return f"frame {info.get('index', '?')} of {info.get('source', '?')}{time}"


def _shares(snapshot: Snapshot, route: Route) -> list[tuple[int, ...]]:
    """Which atoms each task of a snapshot displaces."""
    if not isinstance(route, DisplacementRoute):
        return [()]
    atoms = snapshot.atoms
    return [atoms[start : start + ATOMS_PER_TASK] for start in range(0, len(atoms), ATOMS_PER_TASK)]


def _write_task(
    folder: Path, snapshot: Snapshot, atoms: Sequence[int], template: Template, route: Route
) -> str:
    placed = template.placed(snapshot.frame)
    kinds = template.kinds(placed)
    runs = route.runs(atoms)
    texts = {run.name: _run_input(run, placed, kinds, template, route) for run in runs}
    files = {name: path.read_bytes() for name, path in template.files.items()}
    record = {
        "route": route.name,
        "parameters": route.parameters,
        "runs": [dataclasses.asdict(run) for run in runs],
        "frame": _frame_record(dataclasses.replace(snapshot.frame, charge=template.charge)),
        "placed": _frame_record(placed),
        "level_of_theory": template.level_of_theory,
        "template": _sha256(template.input.text.encode("latin-1")),
    }
    content = [record, texts, {name: _sha256(data) for name, data in files.items()}]
    name = _sha256(json.dumps(content, sort_keys=True).encode())[:16]
    target = folder / "tasks" / name
    if (target / "task.json").is_file():
        return name
    part = folder / "tasks" / f".{name}.part"
    folders.clear(part)
    part.mkdir()
    inputs = {}
    for run_name, text in texts.items():
        data = text.replace(_TASK, name).encode("latin-1")
        (part / f"{run_name}.inp").write_bytes(data)
        inputs[f"{run_name}.inp"] = _sha256(data)
    for file_name, data in files.items():
        (part / file_name).write_bytes(data)
        inputs[file_name] = _sha256(data)
    write_json(
        part / "task.json", {"name": name, **record, "info": snapshot.info, "inputs": inputs}
    )
    for path in part.iterdir():
        io.to_disk(path)
    io.move(part, target)
    return name


def _run_input(run: Run, placed: Frame, kinds: list[str], template: Template, route: Route) -> str:
    """The input of one run; all but the first start from the wavefunction of the first."""
    text = template.snapshot(run.geometry(placed), kinds)
    text.set_keyword("GLOBAL", ["PROJECT", "PROJECT_NAME"], f"{run.name}-{_TASK}")
    restart = ["WFN_RESTART_FILE_NAME", "RESTART_FILE_NAME"]
    if run.name == "zero":
        # a wavefunction of another geometry is not looked for
        text.remove_keywords(DFT, restart)
        if text.value(f"{DFT}/SCF", "SCF_GUESS", "ATOMIC") in ("RESTART", "HISTORY_RESTART"):
            text.set_keyword(f"{DFT}/SCF", "SCF_GUESS", "ATOMIC")
    else:
        text.set_keyword(DFT, restart, f"zero-{_TASK}-RESTART.wfn")
        text.set_keyword(f"{DFT}/SCF", "SCF_GUESS", "RESTART")
    text.replace_section(
        f"{DFT}/SCF/PRINT/RESTART", ["BACKUP_COPIES 0"], "ON" if run.name == "zero" else "OFF"
    )
    route.edit(text, run, placed)
    return text.text


def _frame_record(frame: Frame) -> dict[str, Any]:
    return {
        "numbers": frame.numbers.tolist(),
        "positions": frame.positions.tolist(),
        "cell": frame.cell.tolist(),
        "pbc": frame.pbc.tolist(),
        "charge": frame.charge,
    }


def _frame_from(record: dict[str, Any]) -> Frame:
    numbers, positions, cell, pbc = (
        np.array(record[key]) for key in ("numbers", "positions", "cell", "pbc")
    )
    return Frame(numbers, positions, cell, pbc, float(record["charge"]))


def _refuse_links(*paths: Path) -> None:
    """Refuse links among the folders and files of a campaign, which would lead out of it."""
    for path in paths:
        if path.is_symlink():
            raise CampaignError(
                f"{path} is a link, and nothing outside of a campaign is touched: copy what it "
                f"leads to"
            )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Read a table; CampaignError if it cannot be."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CampaignError(f"cannot read {path}: {error}") from error
    if not isinstance(record, dict):
        raise CampaignError(f"{path} is damaged: not a table")
    return record


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a table, under its name only when it is complete; never through a link."""
    _refuse_links(path)
    with io.replacing(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
