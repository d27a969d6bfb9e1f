"""Students of several shapes and trainings: their error against the µs that an atom costs.

    python benchmarks/students.py FOLDER [--only NAME ...] [--table]

A dipole network learns from the labels that come with the package (split as the bundled model's),
and labels 400 frames of the bundled trajectory; every student learns from 380 of these (or fewer)
and from the true labels that the teacher learnt from. Errors are those from the teacher, on 20 of
its frames that no student saw, and from true labels, on the two validation frames. Frames that are
held out are not looked at: what is chosen here is measured on them once, elsewhere.

FOLDER keeps all files and `results.jsonl`; what is in it is not computed again, so that the command
can be interrupted and repeated. `--table` prints what there is, with the students' times measured
in turn, on one thread in float32, 384 atoms, neighbours included.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import MDAnalysis as mda
import numpy as np
import torch
from suite.boxes import frames_of

from mda_aptnn.labels.dataset import Dataset, LabelledFrame, read_labels
from mda_aptnn.labels.snapshots import Source, choose_frames
from mda_aptnn.model.density import LayerConfig, NetworkConfig
from mda_aptnn.model.dipole import DipoleConfig
from mda_aptnn.model.predict import BUNDLED, load_model
from mda_aptnn.training import distil
from mda_aptnn.training.config import TrainingConfig, split
from mda_aptnn.training.fit import fit

#: How the labels are split: as for the bundled model.
LABELS = ("water32-rpbe-d3.xyz", "water32-rpbe-d3-more.h5")
BASE = TrainingConfig(validation=2, held_out=4)
TEACHER = dataclasses.replace(distil.TEACHER, validation=2, held_out=4)
STUDENT = distil.STUDENT
N_TAUGHT, EVERY = 400, 20


def shape(
    channels: int,
    messages: str = "16x0e+12x1o+8x2e",
    cutoffs: tuple[float, float] = (6.0, 4.5),
    n_radial: tuple[int, int] = (8, 6),
    n_mixed: int = 4,
) -> NetworkConfig:
    """The default network with other numbers of channels, functions and neighbours."""
    first, second = (
        "+".join(f"{channels}x{irrep}" for irrep in irreps)
        for irreps in (("0e", "1o", "2e"), ("0e", "1o", "1e", "2e"))
    )
    return NetworkConfig(
        (
            LayerConfig(features=first, cutoff=cutoffs[0], order=3, n_radial=n_radial[0]),
            LayerConfig(
                features=second,
                messages=messages,
                cutoff=cutoffs[1],
                n_radial=n_radial[1],
                n_mixed=n_mixed,
            ),
        )
    )


#: Name: shape, and what differs from STUDENT; "frames" is how many of the teacher's it sees.
STUDENTS: dict[str, tuple[NetworkConfig, dict[str, Any]]] = {
    "16 channels": (distil.STUDENT_NETWORK, {}),
    "24 channels": (NetworkConfig(), {}),
    "8 channels": (shape(8, "8x0e+8x1o+4x2e"), {}),
    "16 channels, rate 0.01": (distil.STUDENT_NETWORK, {"learning_rate": 0.01}),
    "24 channels, rate 0.01": (NetworkConfig(), {"learning_rate": 0.01}),
    "8 channels, rate 0.01": (shape(8, "8x0e+8x1o+4x2e"), {"learning_rate": 0.01}),
    "16 channels, 5 and 4 Å": (shape(16, "16x0e+8x1o+4x2e", cutoffs=(5.0, 4.0)), {}),
    "16 channels, 6 and 4 Å, 3 mixtures": (
        shape(16, "16x0e+8x1o+4x2e", cutoffs=(6.0, 4.0), n_mixed=3),
        {},
    ),
    "16 channels, 6 and 5 functions": (shape(16, "16x0e+8x1o+4x2e", n_radial=(6, 5)), {}),
    "16 channels, 200 frames": (distil.STUDENT_NETWORK, {"frames": 200}),
    "16 channels, 16,000 steps": (distil.STUDENT_NETWORK, {"steps": 16_000}),
    "16 channels, decay 0.03": (distil.STUDENT_NETWORK, {"weight_decay": 0.03}),
    "16 channels, decay 0.003": (distil.STUDENT_NETWORK, {"weight_decay": 0.003}),
}


def rms_error(model: Any, labels: Dataset) -> float:
    """Root mean square error per component in e."""
    errors = [model.predict(item.frame) - item.tensors["apt"] for item in labels]
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


class Campaign:
    """What is in the folder, and what is still to be computed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True, parents=True)
        self.folder, self.log = folder, folder / "results.jsonl"
        labels = read_labels([BUNDLED / name for name in LABELS])
        self.labels = labels
        learnt, chosen, _ = split(len(labels), BASE)
        self.true, self.chosen = labels.subset(learnt), labels.subset(chosen)

    def results(self) -> dict[str, dict[str, Any]]:
        """What is known, by name."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return {entry["name"]: entry for entry in map(json.loads, lines)}

    def file(self, name: str) -> Path:
        """The model of a name."""
        return self.folder / f"{name.replace(', ', '-').replace(' ', '_')}.h5"

    def say(self, name: str, **what: Any) -> None:
        """Keep a result."""
        entry = {"name": name} | what
        with open(self.log, "a") as file:
            file.write(json.dumps(entry) + "\n")
        print(entry, flush=True)

    def taught(self) -> Dataset:
        """400 frames of the bundled trajectory with the teacher's tensors."""
        teacher, path = self.file("teacher"), self.folder / "taught.h5"
        if not teacher.exists():
            cpu = time.process_time()
            model = fit(self.labels, DipoleConfig(), TEACHER, teacher, verbose=True)
            error = model.info["accuracy"]["validation"]["rmse"]
            self.say("teacher", cpu=time.process_time() - cpu, validation=error)
        if not path.exists():
            cpu, model = time.process_time(), load_model(teacher)
            universe = mda.Universe(str(BUNDLED / "water64.pdb"), str(BUNDLED / "water64.h5md"))
            source = Source([universe], ["water64.h5md"])
            chosen = choose_frames(len(source), N_TAUGHT, "uniform")
            items = [
                LabelledFrame(frame, {"apt": np.asarray(model.predict(frame), float)}, {})
                for _, frame in source.frames(chosen)
            ]
            Dataset(items, sources={"teacher": str(teacher)}).save(path)
            self.say("teacher's labels", cpu=time.process_time() - cpu, frames=N_TAUGHT)
        return Dataset.load(path)

    def learn(self, name: str, taught: Dataset) -> None:
        """Train one student."""
        network, differing = STUDENTS[name]
        aside = range(EVERY // 2 - 3, len(taught), EVERY)
        pool = sorted({*range(len(taught))} - {*aside})
        settings = dict(differing)
        count = settings.pop("frames", len(pool))
        own = taught.subset(
            [pool[k] for k in np.linspace(0, len(pool) - 1, count).round().astype(int)]
        )
        together = Dataset([*self.true, *own], self.labels.level_of_theory, self.labels.sources)
        training = dataclasses.replace(STUDENT, **settings)
        cpu, unseen = time.process_time(), taught.subset(aside)
        model = fit(together, network, training, self.file(name), validation=unseen, verbose=True)
        self.say(
            name,
            cpu=round(time.process_time() - cpu),
            from_teacher=rms_error(model, unseen),
            validation=rms_error(model, self.chosen),
            frames=count,
            steps=training.steps,
        )

    def table(self) -> None:
        """Print all results with times."""
        known, (frame,) = self.results(), frames_of(384, 1)
        models = {name: load_model(self.file(name)) for name in STUDENTS if name in known}
        times: dict[str, list[float]] = {name: [] for name in models}
        for model in models.values():
            model.predict(frame)
        for _ in range(15):
            for name, model in models.items():
                begun = time.process_time()
                for _ in range(4):
                    model.predict(frame)
                times[name].append((time.process_time() - begun) / 4 / len(frame) * 1e6)
        print("| student | from its teacher, e | validation frames, e | µs an atom | CPU-s |")
        print("|---|---|---|---|---|")
        for name in models:
            found, spent = known[name], np.median(times[name])
            print(
                f"| {name} | {found['from_teacher']:.4f} | {found['validation']:.4f} | "
                f"{spent:.1f} | {found['cpu']} |"
            )


def main() -> None:
    """Train what is missing, or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(STUDENTS))
    parser.add_argument("--table", action="store_true", help="print the table, train nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    campaign = Campaign(given.folder)
    if given.table:
        campaign.table()
        return
    taught = campaign.taught()
    for name in given.only or STUDENTS:
        if name not in campaign.results():
            campaign.learn(name, taught)


if __name__ == "__main__":
    main()
