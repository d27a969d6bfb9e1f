"""The campaign: pack, equilibrate and label one box after the other.

    python benchmarks/liquids/campaign.py STATE         # goes on where it was stopped
    python benchmarks/liquids/campaign.py STATE --retry # tries boxes that failed once more
    python benchmarks/liquids/campaign.py STATE --list  # what is done and what was left out

STATE is a folder for what is in work. Each finished box becomes a file of `labels/`. The order is
that of boxes.csv, which is read again after every box, as cutoffs.csv is. It needs mda-aptnn,
rdkit, ase, tblite, and CP2K as `cp2k.psmp`; it uses one core.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
from boxes import Box, read_boxes, symbols
from equilibrate import EquilibrationError, equilibrate
from pack import PackingError, pack

from mda_aptnn.errors import AptnnError
from mda_aptnn.labels.cp2k.output import parse_forces
from mda_aptnn.labels.dataset import Dataset

HERE = Path(__file__).parent
LABELS = HERE / "labels"
LEFT_OUT = LABELS / "left-out.csv"
#: Largest component of Σ P for each atom, in e. Water labels have 2e-4 to 4e-4.
RESIDUAL = 1e-3
#: One box in this many is labelled with a second field (a.u.) too, which tells the linearity.
LINEAR_EVERY, SECOND_FIELD = 12, 2e-3
STAGES = "packed", "equilibrated", "labelled"


def cpu_seconds() -> float:
    """CPU time of this process and of the programs that it ran."""
    return sum(
        getattr(resource.getrusage(who), part)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        for part in ("ru_utime", "ru_stime")
    )


def elements_of(box: Box) -> set[str]:
    """Return the elements of a box."""
    return set(itertools.chain(*map(symbols, box.counts)))


def cutoffs() -> dict[str, int]:
    """Return the cutoff of each element that may be labelled, in Ry."""
    with open(HERE / "cutoffs.csv", newline="") as file:
        return {row["element"]: int(row["cutoff"]) for row in csv.DictReader(file)}


def write_template(cutoff: int, path: Path, charge: int = 0) -> None:
    """Write the CP2K input for a cutoff in Ry and a total charge in e."""
    text = (HERE / "labels.inp").read_text().replace("CUTOFF 360\n", f"CUTOFF {cutoff}\n", 1)
    path.write_text(text.replace("  &DFT\n", f"  &DFT\n    CHARGE {charge}\n", 1))


def aptnn(*words: object) -> None:
    """Run a command of mda-aptnn; a failure is an error with its last line."""
    command = [str(Path(sys.executable).with_name("mda-aptnn")), "label", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise RuntimeError(last[-1] if last else f"{words[0]} failed")


def write_atoms(path: Path, names: list[str], positions: np.ndarray, info: dict) -> None:
    """Write positions with their story, complete or not at all."""
    text = "\n".join(
        [str(len(names)), json.dumps(info)]
        + [f"{s} {x:.8f} {y:.8f} {z:.8f}" for s, (x, y, z) in zip(names, positions, strict=True)]
    )
    path.with_suffix(".part").write_text(text + "\n")
    os.replace(path.with_suffix(".part"), path)


def read_atoms(path: Path) -> tuple[list[str], np.ndarray, dict]:
    """Read what `write_atoms` wrote."""
    _, info, *rows = path.read_text().splitlines()
    words = [row.split() for row in rows]
    return [w[0] for w in words], np.array([w[1:] for w in words], float), json.loads(info)


def prepare(box: Box, folder: Path) -> tuple[list[str], np.ndarray, dict]:
    """Pack and equilibrate a box, or read it where that is done."""
    path = folder / "equilibrated.xyz"
    if not path.is_file():
        start = cpu_seconds()
        names, positions, _ = pack(box)
        positions, info = equilibrate(box, names, positions)
        info["cpu_dynamics"] = round(cpu_seconds() - start, 1)
        write_atoms(path, names, positions, info)
    return read_atoms(path)


def label(box: Box, folder: Path, linear: bool) -> Path:
    """Plan, run and collect the labels of a prepared box; return the HDF5 file."""
    campaign, start = folder / "campaign", cpu_seconds()
    if not (campaign / "manifest.json").is_file():
        known = cutoffs()
        write_template(max(known[element] for element in elements_of(box)), folder / "template.inp")
        cell = " ".join([f"{box.edge}"] * 3 + ["90"] * 3)
        files = ["--template", folder / "template.inp", "-o", campaign]
        second = ["--second-field", SECOND_FIELD] if linear else []
        aptnn("plan", folder / "equilibrated.xyz", "--cell", cell, "--frames", 1, *files, *second)
    aptnn("run", campaign, "--retry")
    aptnn("collect", campaign, "-o", folder / "labels.h5", "--max-residual", RESIDUAL)
    spent = folder / "label.json"
    cutoff = re.search(r"^ *CUTOFF (\d+)", (folder / "template.inp").read_text(), re.M)[1]
    spent.write_text(
        json.dumps({"cutoff": int(cutoff), "cpu_labels": round(cpu_seconds() - start, 1)})
    )
    return folder / "labels.h5"


def publish(box: Box, folder: Path) -> None:
    """Write the finished box into `labels/`: positions, tensors, forces, and their story."""
    data = Dataset.load(folder / "labels.h5")
    frame, apt, info = data.frames[0].frame, data.frames[0].apt, data.frames[0].info
    zero = next((folder / "campaign" / "tasks").glob("*/zero.out"))
    atoms = ase.Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=True)
    atoms.new_array("apt", apt.reshape(-1, 9))
    atoms.new_array("forces", parse_forces(zero.read_text(errors="replace")))
    kept = {
        key: info[key]
        for key in ("energy", "sum_rule_residual", "linearity", "field")
        if key in info
    }
    story = read_atoms(folder / "equilibrated.xyz")[2] | json.loads(
        (folder / "label.json").read_text()
    )
    molecules = "; ".join(f"{count} {name}" for name, count in box.counts.items())
    who = {
        "box": box.name,
        "family": box.family,
        "molecules": molecules,
        "held_out": int(box.held_out),
    }
    theory = f"RPBE-D3, GTH-PBE pseudopotentials, TZV2P-GTH; {data.level_of_theory}"
    atoms.info.update(
        who | kept | {k: v for k, v in story.items() if v != ""} | {"level_of_theory": theory}
    )
    LABELS.mkdir(exist_ok=True)
    part = LABELS / f".{box.key}.part"
    ase.io.write(part, atoms, format="extxyz", write_results=False)
    os.replace(part, LABELS / f"{box.key}.xyz")


def run_box(box: Box, folder: Path, linear: bool) -> str | None:
    """Take a box to its labels; return what went wrong, or None."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failed.json").unlink(missing_ok=True)
    try:
        prepare(box, folder)
        label(box, folder, linear)
        publish(box, folder)
    except (
        PackingError,
        EquilibrationError,
        AptnnError,
        RuntimeError,
        ValueError,
        OSError,
    ) as error:
        (folder / "failed.json").write_text(json.dumps({"error": str(error)}))
        return str(error)
    return None


def write_left_out(boxes: list[Box], state: Path) -> None:
    """Write the list of boxes without labels and why."""
    rows = []
    for box in boxes:
        path = state / box.key / "failed.json"
        if path.is_file():
            rows.append([box.name, json.loads(path.read_text())["error"]])
    LABELS.mkdir(exist_ok=True)
    with open(LEFT_OUT, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["box", "reason"], *rows])


def next_box(state: Path, tried: set[str]) -> tuple[int, Box] | None:
    """Return the first box of the order that has no labels and did not fail, and its number.

    Boxes with an element that has no cutoff yet wait.
    """
    elements = set(cutoffs())
    for number, box in enumerate(read_boxes()):
        if not elements_of(box) <= elements:
            continue
        failed = (state / box.key / "failed.json").is_file() and box.key not in tried
        if not (LABELS / f"{box.key}.xyz").is_file() and not failed and box.key not in tried:
            return number, box
    return None


def main() -> None:
    """Go through the boxes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("state", type=Path)
    parser.add_argument("--retry", action="store_true")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    given.state.mkdir(parents=True, exist_ok=True)
    if given.list:
        done = sorted(path.stem for path in LABELS.glob("*.xyz"))
        print(f"{len(done)} boxes are labelled: {', '.join(done)}")
        print(LEFT_OUT.read_text() if LEFT_OUT.is_file() else "none left out")
        return
    lock = open(given.state / "lock", "w")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(f"another campaign works in {given.state}")
    if given.retry:
        for path in given.state.glob("*/failed.json"):
            path.unlink()
    tried: set[str] = set()
    while (found := next_box(given.state, tried)) is not None:
        number, box = found
        tried.add(box.key)
        start, spent = time.monotonic(), cpu_seconds()
        error = run_box(box, given.state / box.key, number % LINEAR_EVERY == 0)
        write_left_out(read_boxes(), given.state)
        used = f"{cpu_seconds() - spent:.0f} CPU-s, {time.monotonic() - start:.0f} s"
        print(time.strftime("%H:%M:%S"), box.name, error or "labelled", used, sep="; ", flush=True)


if __name__ == "__main__":
    main()
