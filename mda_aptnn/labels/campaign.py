"""A campaign: a folder with a manifest and one self-contained directory for each task.

    campaign/manifest.json         what was planned: code, route, template, frames, tasks
    campaign/tasks/<hash>/         task.json, <run>.inp, files of the template; later <run>.out,
    complete.json

A task is named by the hash of everything that its result depends on, so planning the same again
changes nothing, and a finished task stays finished.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mda_aptnn import folders, io
from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.protocol import DEFAULT, TASK, LabellingCode, Output, Recipe, Run, find_code
from mda_aptnn.labels.routes import Route, make_route
from mda_aptnn.labels.snapshots import Snapshot, Source

FORMAT = 1
MANIFEST = "manifest.json"
#: Displaced atoms of one frame in one task: enough to share the unperturbed run, few enough to
#: share out the work.
ATOMS_PER_TASK = 8
#: What tasks and runs are called; anything else is not of `plan`.
_TASK_NAME, _RUN_NAME = re.compile(r"[0-9a-f]{16}"), re.compile(r"\w+", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Task:
    """One directory of runs that share an unperturbed run.

    Attributes
    ----------
    directory : Path
    name : str
        Hash of the content.
    code : LabellingCode
        What computes it.
    route : Route
    runs : tuple of Run
    frame : Frame
        As in the trajectory.
    placed : Frame
        As in the inputs: a molecule in vacuum sits in the middle of its box.
    info : dict
        Of the snapshot.
    inputs : dict of str to str
        SHA-256 of each input file.
    level_of_theory : str
    """

    directory: Path
    name: str
    code: LabellingCode
    route: Route
    runs: tuple[Run, ...]
    frame: Frame
    placed: Frame
    info: dict[str, Any]
    inputs: dict[str, str]
    level_of_theory: str

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Task:
        """Read a task's directory.

        Raises
        ------
        CampaignError
            If it is not one, or damaged, or its code is not installed.
        """
        directory = Path(directory)
        path = directory / "task.json"
        for link in filter(Path.is_symlink, (directory.parent, directory, path)):
            raise CampaignError(
                f"{link} is a link, and nothing outside of a campaign is touched: copy what it "
                "leads to"
            )
        record = io.load_json(path, CampaignError)
        try:
            task = cls(
                directory,
                code=find_code(record.get("code", DEFAULT)),
                route=make_route(record["route"], record["parameters"]),
                runs=tuple(Run(**run) for run in record["runs"]),
                frame=Frame(**record["frame"]),
                placed=Frame(**record["placed"]),
                **{key: record[key] for key in ("name", "info", "inputs", "level_of_theory")},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CampaignError(f"{path} is damaged: {error}") from error
        # names become paths
        plain = all(_RUN_NAME.fullmatch(str(run.name)) for run in task.runs) and all(
            name != ".." and Path(name).name == name and "\0" not in name for name in task.inputs
        )
        if not _TASK_NAME.fullmatch(str(task.name)) or not task.runs or not plain:
            raise CampaignError(f"{path} has a name that is none of a task, a run or a file in it")
        return task

    def project(self, run: Run) -> str:
        """Return what a run's output has to repeat."""
        return f"{run.name}-{self.name}"

    def inputs_of(self, run: Run) -> list[str]:
        """Return the names of the files that a run needs: its own input and what all share."""
        others = {other.name for other in self.runs} - {run.name}
        return [name for name in self.inputs if Path(name).stem not in others]

    def output(self, run: Run, folder: Path | None = None) -> Output:
        """Read the output of a run, in the task's folder or another one.

        Raises
        ------
        LabelError
            If it is cut off, not converged, damaged, or that of another run.
        """
        path = (folder or self.directory) / run.output
        output = self.code.read(path.read_text(errors="replace"))
        if output.project != self.project(run):
            raise LabelError(f"the output is that of {output.project}, not of {self.project(run)}")
        return output

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raise CampaignError if one of these files is not the one that was planned."""
        for name in names:
            path = self.directory / name
            if _sha256(path.read_bytes()) != self.inputs[name]:
                raise CampaignError(
                    f"the input was changed after it was planned: {path}; plan a campaign anew"
                )

    @property
    def complete(self) -> bool:
        """Whether all runs ended and converged."""
        return (self.directory / "complete.json").is_file()

    @property
    def failure(self) -> dict[str, Any] | None:
        """Which run failed, why, and its last lines; None if none did."""
        path = self.directory / "failed.json"
        return io.load_json(path, CampaignError) if path.is_file() else None


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
        path = self.folder / MANIFEST
        if not path.is_file():
            raise CampaignError(
                f"{folder} is no campaign: there is no {MANIFEST}; make one with `mda-aptnn label "
                "plan`"
            )
        self.manifest = io.load_json(path, CampaignError)
        version, frames = self.manifest.get("format"), self.manifest.get("frames")
        if version != FORMAT or not isinstance(frames, list):
            raise CampaignError(f"{path} has format {version!r}, this version reads {FORMAT}")
        for item in frames:
            names = item.get("tasks") if isinstance(item, dict) else None
            if not isinstance(names, list) or not all(
                _TASK_NAME.fullmatch(str(name)) for name in names
            ):
                raise CampaignError(f"{path} is damaged: {str(names)[:60]} are no names of tasks")

    @property
    def code(self) -> LabellingCode:
        """What computes the runs."""
        return find_code(self.manifest.get("code", DEFAULT))

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
    folder: str | os.PathLike[str], snapshots: Iterable[Snapshot], recipe: Recipe, route: Route
) -> Campaign:
    """Write the tasks of these snapshots, and a manifest; more snapshots can be added to a campaign
    later.

    Parameters
    ----------
    folder : path
        New, or a campaign of the same recipe and route.
    snapshots : iterable of Snapshot
    recipe : Recipe
        What computes them and how: ``find_code(name).recipe(template)``.
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
        header = {"format": FORMAT, **_recipe_record(recipe, route)}
        frames = _planned_frames(folder, header)
        recipe.check(route)
        (folder / "tasks").mkdir(exist_ok=True)
        known = {name for item in frames for name in item["tasks"]}
        for snapshot in snapshots:
            # which atoms each of its tasks displaces
            starts = range(0, len(snapshot.atoms) if route.by_atom else 1, ATOMS_PER_TASK)
            shares = [snapshot.atoms[start : start + ATOMS_PER_TASK] for start in starts]
            names = [_write_task(folder, snapshot, atoms, recipe, route) for atoms in shares]
            if known.issuperset(names):
                warnings.warn(f"{describe(snapshot.info)} is planned already", stacklevel=2)
                continue
            known.update(names)
            record = {"fingerprint": snapshot.frame.fingerprint(), "tasks": names}
            frames.append({"info": snapshot.info, **record})
        if not frames:
            raise CampaignError("there are no snapshots to plan")
        io.save_json(folder / MANIFEST, {**header, **io.provenance(), "frames": frames})
        return Campaign(folder)


def plan_labels(
    folder: str | os.PathLike[str],
    source: Source,
    numbers: Sequence[int],
    recipe: Recipe,
    route: Route,
) -> Campaign:
    """Plan the labels of frames into a new or begun campaign; what is planned already stays."""
    folder = Path(folder)
    if (folder / MANIFEST).is_file():
        planned = {info.get("number") for info, _ in Campaign(folder).frames()}
        numbers = [number for number in numbers if number not in planned]
        if not numbers:
            return Campaign(folder)
    return plan(folder, source.snapshots(numbers), recipe, route)


def describe(info: dict[str, Any]) -> str:
    """Return how messages call a snapshot."""
    time = f", {info['time']:g} ps" if info.get("time") is not None else ""
    return f"frame {info.get('index', '?')} of {info.get('source', '?')}{time}"


def _recipe_record(recipe: Recipe, route: Route) -> dict[str, Any]:
    """What all tasks of a campaign have in common."""
    record = {
        "route": route.name,
        "parameters": route.parameters,
        "template": _sha256(recipe.text.encode("latin-1")),
        "level_of_theory": recipe.level_of_theory,
    }
    # as 0.1.0 wrote it, so that its tasks keep their names
    return record if recipe.code == DEFAULT else {"code": recipe.code, **record}


def _planned_frames(folder: Path, header: dict[str, Any]) -> list[dict[str, Any]]:
    """Frames that a folder has already; CampaignError if it is not of the same campaign."""
    if (folder / MANIFEST).is_file():
        old = Campaign(folder).manifest
        for key in io.differing(old, {"code": None} | header):
            raise CampaignError(f"{folder} is a campaign with another {key}; choose another folder")
        return list(old["frames"])
    if any(item.name not in ("tasks", folders.LOCK) for item in folder.iterdir()):
        raise CampaignError(f"{folder} is not empty and no campaign; choose another folder")
    return []


def _write_task(
    folder: Path, snapshot: Snapshot, atoms: Sequence[int], recipe: Recipe, route: Route
) -> str:
    """Write the directory of a task under its name, if it is not there yet, and return the name."""
    placed, runs = recipe.placed(snapshot.frame), route.runs(atoms)
    frame = dataclasses.replace(snapshot.frame, charge=placed.charge)
    texts = recipe.inputs(placed, runs, route)
    files = {name: path.read_bytes() for name, path in recipe.files.items()}
    record = {
        **_recipe_record(recipe, route),
        "runs": [dataclasses.asdict(run) for run in runs],
        "frame": frame.content(),
        "placed": placed.content(),
    }
    content = [record, texts, {name: _sha256(data) for name, data in files.items()}]
    name = _sha256(io.json_text(content, sort_keys=True).encode())[:16]
    target = folder / "tasks" / name
    if (target / "task.json").is_file():
        return name
    for run, text in texts.items():
        files[f"{run}.inp"] = text.replace(TASK, name).encode("latin-1")
    inputs = {file: _sha256(data) for file, data in files.items()}
    part = folder / "tasks" / f".{name}.part"
    folders.clear(part)
    part.mkdir()
    for file, data in files.items():
        (part / file).write_bytes(data)
    task = {"name": name, **record, "info": snapshot.info, "inputs": inputs}
    io.save_json(part / "task.json", task)
    for path in part.iterdir():
        io.to_disk(path)
    io.move(part, target)
    return name


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
