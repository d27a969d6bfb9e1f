"""Labelling, training and analysis in a loop, until the spectrum no longer changes.

A folder holds all of its state, so that a loop that was killed goes on where it stood::

    settings.json      what the loop was begun with
    campaign/          the labelling campaign of all rounds
    round-0/           one folder for each round, its files in the order in which they are made:
        selected.json      frames to label: drawn by the seed, then where the committee disagrees
        labels.h5          all labels so far
        committee.h5       trained on all but the test frames, which are the same in all rounds
        flux.h5            along the whole trajectory
        spectrum.h5
        report.json        how far the spectrum has changed, in units of its error bar

A file appears when it is complete, and what is there is not made again.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mda_aptnn import folders, io
from mda_aptnn.errors import CampaignError, LabelError, SpectrumError
from mda_aptnn.flux import blocks
from mda_aptnn.flux.checked_analysis import CheckedAnalysis
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.labels import campaign, collect, dataset, execution, protocol, routes, snapshots
from mda_aptnn.model.predict import load_model
from mda_aptnn.model.selection import select
from mda_aptnn.spectra.estimator import choose_segments
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.training.committee import fit_committee
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.trajectory.readers import source_files

logger = logging.getLogger(__name__)

#: Options of reading that frames to be labelled need as well, and those that only a flux needs.
_STATIC = ("elements", "cell", "pbc", "charge", "time_step")
_OF_SUMS = ("sum_rule", "degrees_of_freedom")


@dataclasses.dataclass(frozen=True)
class LearningPlan:
    """What decides about the results of a loop.

    Attributes
    ----------
    template : Path
        Input for the labels.
    route : str
        From its outputs to labels, see `mda_aptnn.labels.routes`.
    initial : int
        Frames that the first committee is trained on.
    test : int
        Frames that no committee is trained on: they calibrate the spread and tell the error.
    count : int
        Frames that each further round adds.
    candidates : int
        Frames, evenly over the trajectory, that are looked at for them.
    members : int
        Of the committee.
    seed : int
        Of the first frames and the test frames.
    resolution : float
        Of the spectrum, in cm⁻¹.
    temperature : float or None
        Of the spectrum, in K; by default that of the trajectory.
    tolerance : float
        The loop ends when the spectrum has changed by less than this part of its error bar.
    network : dict or None
        Settings of the network, for the record; the network's class takes them.
    training : TrainingConfig
        Of each member.
    code : str
        Program that makes the labels, see `mda_aptnn.labels.protocol.find_code`.
    """

    template: Path
    route: str = "field"
    initial: int = 4
    test: int = 2
    count: int = 4
    candidates: int = 500
    members: int = 4
    seed: int = 0
    resolution: float = 10.0
    temperature: float | None = None
    tolerance: float = 0.5
    network: Any = None
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    code: str = "cp2k"

    def __post_init__(self) -> None:
        least = {"initial": 2, "test": 1, "count": 1, "candidates": self.count, "members": 2}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise CampaignError(
                    f"learning needs {name} of at least {value}, not {getattr(self, name)}"
                )
        if self.training.held_out:
            raise CampaignError(
                "learning keeps its own test frames: leave held_out out of the training's plan"
            )


class Learning:
    """A loop of rounds in a folder.

    Parameters
    ----------
    folder : path
        New, or of the same loop.
    universes, names : sequence
        As for `Source`.
    plan : LearningPlan
    reading : mapping
        Options of `DipoleFlux` by which the trajectory is read.
    frames : tuple
        start, stop and step of the trajectory's frames, which the spectrum is made of.

    Raises
    ------
    CampaignError
        If the folder belongs to another loop; names what differs.
    SpectrumError
        If the trajectory is too short for error bars at the resolution, which the loop could not be
        ended by.
    TrajectoryError
        If the trajectory has no velocities that a flux could be made with.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        universes: Sequence[Any],
        names: Sequence[str],
        plan: LearningPlan,
        reading: Mapping[str, Any] | None = None,
        frames: tuple[int | None, int | None, int | None] = (None, None, None),
    ) -> None:
        self.folder, self.plan, self.slice = Path(folder), plan, frames
        self.reading, self.universes = dict(reading or {}), list(universes)
        static = {name: self.reading[name] for name in _STATIC if name in self.reading}
        self.source = snapshots.Source(universes, names, **static)
        self.recipe = protocol.find_code(plan.code).recipe(plan.template)
        self.route = routes.make_route(plan.route, {})
        self._check_trajectory()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._claim()

    def run(
        self,
        command: str | None,
        rounds: int,
        *,
        one: bool = False,
        workers: int = 1,
        retry: bool = False,
        verbose: bool = False,
    ) -> list[dict[str, Any]]:
        """Do rounds until the spectrum changes no more, and return the reports of all rounds so
        far.

        Parameters
        ----------
        command : str or None
            What starts the program that makes the labels; usually the code's own.
        rounds : int
            At most so many in all, those that are finished included.
        one : bool
            Only the next round that is not finished.
        workers : int
            Labelling tasks, and processes of the flux, at a time.
        retry : bool
            Run labelling tasks again that failed.
        verbose : bool
            Show progress.

        Raises
        ------
        CampaignError
            If no round is asked for, or labels are being made by another process at the moment.
        LabelError
            If a round has no usable label.
        BusyError
            If another process runs this loop.
        """
        if rounds < 1:
            raise CampaignError(f"{rounds} rounds teach nothing: ask for one or more")
        self._labelling: dict[str, Any] = {"command": command, "workers": workers, "retry": retry}
        self._verbose = verbose
        reports: list[dict[str, Any]] = []
        with folders.reserved(self.folder / folders.LOCK, f"the loop in {self.folder}"):
            for number in range(rounds):
                finished = self._path(number, "report.json").is_file()
                reports.append(self._recorded(number, "report.json", self._round))
                if reports[-1]["stop"] or (one and not finished):
                    break
        return reports

    def _check_trajectory(self) -> None:
        """Refuse what cannot be right before hours of labelling."""
        series: list[Any] = []
        reading = {name: value for name, value in self.reading.items() if name not in _OF_SUMS}
        for universe in self.universes:
            analysis = CheckedAnalysis(universe, **reading)
            findings = analysis.look(*self.slice)
            findings.checks.raise_refused()
            freedom = self.reading.get("degrees_of_freedom")
            if self.plan.temperature is None and freedom is None and findings.constrained:
                raise SpectrumError(
                    "the kinetic temperature is not known, as bonds are constrained; give that of "
                    'the simulation (temperature="300 K", -T "300 K"), or degrees_of_freedom'
                )
            timeline = analysis.timeline
            series += np.split(timeline.times, timeline.starts[1:])
        if not choose_segments(series, "auto", self.plan.resolution, timeline.spacing):
            length = sum(map(len, series)) * timeline.spacing
            raise SpectrumError(
                f"{length:.3g} ps are too short for error bars at a resolution of "
                f"{self.plan.resolution:g} cm⁻¹, and the loop ends by them: ask for a coarser one"
            )

    def _claim(self) -> None:
        """Write the settings, or compare with those that are there."""
        network = self.plan.network
        settings = {
            **dataclasses.asdict(self.plan),
            "template": [self.plan.template.name, io.file_hash(self.plan.template)],
            "network": None if network is None else dataclasses.asdict(network),
            "files": [Path(name).name for u in self.universes for name in source_files(u)],
            "n_frames": len(self.source),
            "frames": list(self.slice),
            "reading": {name: str(value) for name, value in self.reading.items()},
        }
        # where it is trained makes it no other loop
        settings["training"].pop("device")
        if self.plan.code == protocol.DEFAULT:
            # folders of version 0.1.0 do not say it
            del settings["code"]
        path = self.folder / "settings.json"
        if path.exists():
            if differ := io.differing(io.load_json(path, CampaignError), settings):
                raise CampaignError(
                    f"{self.folder} belongs to a loop with other {', '.join(differ)}: repeat its "
                    "command, or choose another folder"
                )
            return
        # hidden files are what a killed call was writing
        if any(not item.name.startswith(".") for item in self.folder.iterdir()):
            raise CampaignError(
                f"{self.folder} is not empty and no folder of `mda-aptnn learn`; choose another"
            )
        io.save_json(path, settings)

    def _path(self, number: int, name: str) -> Path:
        return self.folder / f"round-{number}" / name

    def _recorded(self, number: int, name: str, make: Callable[[int], Any]) -> dict[str, Any]:
        """A table of a round, made if it is not there."""
        path = self._path(number, name)
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            io.save_json(path, make(number))
        return io.load_json(path, CampaignError)

    def _round(self, number: int) -> dict[str, Any]:
        """Do what is missing of a round, and return its report."""
        logger.info("round %d", number)
        training, test = self._labels(number)
        committee = self._path(number, "committee.h5")
        if not committee.is_file():
            fit_committee(
                training,
                self.plan.members,
                self.plan.network,
                self.plan.training,
                committee,
                held_out=test,
                verbose=self._verbose,
            )
        before = Spectrum.load(self._path(number - 1, "spectrum.h5")) if number else None
        found = compare(before, self._spectrum(number))
        accuracy = load_model(committee).info["accuracy"]["held_out"]
        return {
            "round": number,
            "training_frames": len(training),
            "test_frames": len(test),
            "rmse": accuracy["rmse"],
            "spectrum_error": accuracy["spectrum_error"],
            **found,
            "stop": found["change"] is not None and found["change"] < self.plan.tolerance,
        }

    def _selected(self, number: int) -> dict[str, Any]:
        """Frames that a round labels: drawn in the first, then those that the committee chooses."""
        return self._recorded(
            number, "selected.json", self._chosen if number else lambda _: self._drawn()
        )

    def _drawn(self) -> dict[str, Any]:
        """Frames of the first round, and the test frames of all."""
        everything, plan = self.source.numbers(*self.slice), self.plan
        count = plan.initial + plan.test
        places = snapshots.choose_frames(len(everything), count, "random", seed=plan.seed)
        drawn = [everything[k] for k in places]
        rng = np.random.default_rng([plan.seed, 1])
        test = set(rng.choice(drawn, plan.test, replace=False).tolist())
        return {"frames": [k for k in drawn if k not in test], "test": sorted(test)}

    def _chosen(self, number: int) -> dict[str, Any]:
        """Frames about which the last committee disagrees."""
        everything = self.source.numbers(*self.slice)
        before = [self._selected(k) for k in range(number)]
        gone = {k for record in before for k in (*record["frames"], *record.get("test", []))}
        step = max(1, len(everything) // self.plan.candidates)
        # another phase in each round, so that more frames come to be looked at
        candidates = [k for k in everything[number % step :: step] if k not in gone]
        found = select(
            load_model(self._path(number - 1, "committee.h5")),
            self.source.frames(candidates),
            self.plan.count,
            total=len(candidates),
            verbose=self._verbose,
        )
        return {
            "frames": found.indices,
            "disagreement": found.of_chosen().tolist(),
            "mean_disagreement": float(found.disagreement.mean()),
        }

    def _labels(self, number: int) -> tuple[dataset.Dataset, dataset.Dataset]:
        """All labels so far: those to train on, and those of the test frames."""
        path, selected = self._path(number, "labels.h5"), self._selected(number)
        if not path.is_file():
            self._label(selected, number).save(path)
        found, test = dataset.read_labels([path]), self._selected(0)["test"]
        parts: tuple[list[int], list[int]] = [], []
        for k, item in enumerate(found):
            parts[item.info["number"] in test].append(k)
        return found.subset(parts[0]), found.subset(parts[1])

    def _label(self, selected: dict[str, Any], number: int) -> dataset.Dataset:
        wanted, folder = [*selected["frames"], *selected.get("test", [])], self.folder / "campaign"
        planned = campaign.plan_labels(folder, self.source, wanted, self.recipe, self.route)
        outcomes = execution.run_campaign(planned, verbose=self._verbose, **self._labelling)
        if any(outcome.state in ("busy", "stopped") for outcome in outcomes):
            raise CampaignError(
                f"some labels in {folder} are being made by another process: call again when it is "
                "done"
            )
        found, left_out = collect.collect(planned)
        for lost in left_out:
            warnings.warn(f"left out: {lost.frame}: {lost.reason}", stacklevel=2)
        there = {item.info["number"] for item in found}
        for name, kind in (("frames", "new"), ("test", "test")):
            if name in selected and not there & set(selected[name]):
                raise LabelError(
                    f"no {kind} frame of round {number} has usable labels: see the warnings, and "
                    f"mda-aptnn label run {folder} --retry"
                )
        return found

    def _spectrum(self, number: int) -> Spectrum:
        flux, spectrum, unfinished, committee = (
            self._path(number, name)
            for name in ("flux.h5", "spectrum.h5", "flux.unfinished", "committee.h5")
        )
        if not flux.is_file():
            # frames outside of what the committee has learned are those that the next round labels
            reading = {**self.reading, "allow_outside_domain": True}
            workers = self._labelling["workers"]
            backend = {"backend": "multiprocessing", "n_workers": workers} if workers > 1 else {}
            parts = []
            for k, universe in enumerate(self.universes):
                checkpoint = unfinished / f"part-{k}"
                analysis = DipoleFlux(universe, committee, checkpoint=checkpoint, **reading)
                parts.append(analysis.run(*self.slice, verbose=self._verbose, **backend).series)
            FluxSeries.merge(parts).save(flux)
        blocks.remove(unfinished)
        if not spectrum.is_file():
            made = FluxSeries.load(flux).spectrum(self.plan.temperature, self.plan.resolution)
            made.save(spectrum)
        return Spectrum.load(spectrum)


def compare(before: Spectrum | None, after: Spectrum) -> dict[str, float | None]:
    """Return how far a spectrum has changed, and its model's error, both in units of its
    statistical error bar.

    Root mean squares over all frequencies: what is far from all bands counts for nothing.

    Returns
    -------
    dict
        change: √(Σ_ω (S − S_before)² / Σ_ω σ²), None without a spectrum before; model_error: the
        same of the committee's band.

    Raises
    ------
    SpectrumError
        If the spectra have no common frequencies or no error bars.
    """
    error, model = (
        np.linalg.norm(errors.magnitude) / after.scale
        for errors in (after.standard_error(), after.model_error())
    )
    change = None
    if before is not None:
        old, new = before.wavenumber.magnitude, after.wavenumber.magnitude
        if len(old) != len(new) or not np.allclose(old, new):
            raise SpectrumError(
                "the spectra to compare have other frequencies: give them the same resolution"
            )
        difference = (after.cross_section - before.cross_section).magnitude
        change = float(np.linalg.norm(difference) / error)
    return {"change": change, "model_error": float(model / error)}
