"""Labelling, training and analysis in a loop, until the spectrum no longer changes.

A folder holds all of its state, so that a loop that was killed goes on where it stood::

    settings.json      what the loop was begun with
    campaign/          the labelling campaign of all rounds
    round-0/           one folder for each round, its files in the order in which they are made:
        selected.json      frames to label: at first drawn by the seed, then where the last
        committee disagrees labels.h5          all labels so far committee.h5       trained on all
        of them but the test frames, which are the same in all rounds flux.h5            along the
        whole trajectory spectrum.h5 report.json        how far the spectrum has changed, in units
        of its error bar

A file appears when it is complete, and what is there is not made again.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mda_aptnn import folders, io
from mda_aptnn.errors import CampaignError, LabelError, SpectrumError
from mda_aptnn.flux import blocks
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.guard import check_run
from mda_aptnn.flux.origin import trajectory_files
from mda_aptnn.labels.campaign import read_json, write_json
from mda_aptnn.labels.collect import collect
from mda_aptnn.labels.cp2k.routes import make_route
from mda_aptnn.labels.cp2k.template import Template
from mda_aptnn.labels.dataset import Dataset, read_labels
from mda_aptnn.labels.execution import run_campaign
from mda_aptnn.labels.snapshots import choose_frames
from mda_aptnn.labels.source import Source, plan_labels
from mda_aptnn.model.predict import load_model
from mda_aptnn.model.selection import select
from mda_aptnn.spectra.estimator import choose_segments
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.training.committee import fit_committee
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.trajectory.universe_frames import UniverseFrames

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class LearningPlan:
    """What decides about the results of a loop.

    Attributes
    ----------
    template : Path
        CP2K input for the labels.
    route : str
        From its outputs to labels, see `mda_aptnn.labels.cp2k.routes`.
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
        self.folder, self.plan, self.reading, self.slice = (
            Path(folder),
            plan,
            dict(reading or {}),
            frames,
        )
        self.universes = list(universes)
        static = ("elements", "cell", "pbc", "charge", "time_step")
        self.source = Source(
            universes, names, **{k: v for k, v in self.reading.items() if k in static}
        )
        self.template, self.route = Template.read(plan.template), make_route(plan.route, {})
        self._check_trajectory()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._claim()

    def run(
        self,
        command: str,
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
        command : str
            What starts CP2K.
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
        with folders.reserved(self.folder / folders.LOCK, f"the loop in {self.folder}"):
            return self._rounds(command, rounds, one, workers, retry, verbose)

    def _rounds(
        self, command: str, rounds: int, one: bool, workers: int, retry: bool, verbose: bool
    ) -> list[dict[str, Any]]:
        reports: list[dict[str, Any]] = []
        for number in range(rounds):
            finished = (self._round(number) / "report.json").is_file()
            if not finished:
                logger.info("round %d", number)
            reports.append(self._report(number, command, workers, retry, verbose))
            if reports[-1]["stop"] or (one and not finished):
                break
        return reports

    def _check_trajectory(self) -> None:
        lengths, spacing = [], np.nan
        wanted = (
            "velocities",
            "velocity_unit",
            "check_temperature",
            "elements",
            "cell",
            "pbc",
            "charge",
            "time_step",
        )
        for universe in self.universes:
            frames = UniverseFrames(
                universe, **{k: v for k, v in self.reading.items() if k in wanted}
            )
            usable = frames.usable_frames
            chosen = np.arange(universe.trajectory.n_frames)[slice(*self.slice)]
            chosen = chosen[(chosen >= usable.start) & (chosen < usable.stop)]
            timeline = frames.timeline(chosen)
            # what cannot be right is refused before hours of labelling
            allowed = {
                name: bool(self.reading.get(name)) for name in ("allow_aliasing", "override_cell")
            }
            findings = check_run(frames, chosen, timeline, **allowed)
            findings.checks.raise_refused()
            freedom = self.reading.get("degrees_of_freedom")
            if self.plan.temperature is None and freedom is None and findings.constrained:
                raise SpectrumError(
                    "the kinetic temperature is not known, as bonds are constrained; give that of "
                    "the simulation "
                    '(temperature="300 K", -T "300 K"), or degrees_of_freedom'
                )
            spacing = timeline.spacing
            lengths += np.diff([*timeline.starts, len(timeline.times)]).tolist()
        series = [np.zeros((length, 1, 3)) for length in lengths]
        if not choose_segments(series, "auto", self.plan.resolution, spacing):
            raise SpectrumError(
                f"{sum(lengths) * spacing:.3g} ps are too short for error bars at a resolution of "
                f"{self.plan.resolution:g} cm⁻¹, and the loop ends by them: ask for a coarser one"
            )

    def _claim(self) -> None:
        """Write the settings, or compare with those that are there."""
        files = [str(name) for universe in self.universes for name in _files(universe)]
        settings = {
            **dataclasses.asdict(self.plan),
            "template": [self.plan.template.name, io.file_hash(self.plan.template)],
            "network": None if self.plan.network is None else dataclasses.asdict(self.plan.network),
            "files": files,
            "n_frames": len(self.source),
            "frames": list(self.slice),
            "reading": {key: str(value) for key, value in self.reading.items()},
        }
        settings = json.loads(json.dumps(settings))
        path = self.folder / "settings.json"
        if not path.exists():
            # hidden files are what a killed call was writing
            if any(not item.name.startswith(".") for item in self.folder.iterdir()):
                raise CampaignError(
                    f"{self.folder} is not empty and no folder of `mda-aptnn learn`; choose another"
                )
            write_json(path, settings)
            return
        found = read_json(path)
        differ = [key for key in settings if found.get(key) != settings[key]]
        if differ:
            raise CampaignError(
                f"{self.folder} belongs to a loop with other {', '.join(differ)}: repeat its "
                f"command, or choose "
                "another folder"
            )

    def _round(self, number: int) -> Path:
        return self.folder / f"round-{number}"

    def _selected(self, number: int, verbose: bool) -> dict[str, Any]:
        """Frames that a round labels."""
        path = self._round(number) / "selected.json"
        if path.is_file():
            return read_json(path)
        path.parent.mkdir(exist_ok=True)
        everything = self.source.numbers(*self.slice)
        if number == 0:
            n = self.plan.initial + self.plan.test
            drawn = [
                everything[k]
                for k in choose_frames(len(everything), n, "random", seed=self.plan.seed)
            ]
            test = set(
                np.random.default_rng([self.plan.seed, 1])
                .choice(drawn, self.plan.test, replace=False)
                .tolist()
            )
            record: dict[str, Any] = {
                "frames": [k for k in drawn if k not in test],
                "test": sorted(test),
            }
        else:
            step = max(1, len(everything) // self.plan.candidates)
            # another phase in each round, so that more frames come to be looked at
            before = [self._selected(k, verbose) for k in range(number)]
            gone = {k for record in before for k in (*record["frames"], *record.get("test", []))}
            candidates = [k for k in everything[number % step :: step] if k not in gone]
            model = load_model(self._round(number - 1) / "committee.h5")
            found = select(
                model,
                self.source.frames(candidates),
                self.plan.count,
                total=len(candidates),
                verbose=verbose,
            )
            record = {
                "frames": found.indices,
                "disagreement": found.of_chosen().tolist(),
                "mean_disagreement": float(found.disagreement.mean()),
            }
        write_json(path, record)
        return record

    def _labels(
        self, number: int, command: str, workers: int, retry: bool, verbose: bool
    ) -> tuple[Dataset, Dataset]:
        """All labels so far: those to train on, and those of the test frames."""
        selected = self._selected(number, verbose)
        path = self._round(number) / "labels.h5"
        if not path.is_file():
            wanted = [*selected["frames"], *selected.get("test", [])]
            campaign = plan_labels(
                self.folder / "campaign", self.source, wanted, self.template, self.route
            )
            outcomes = run_campaign(
                campaign, command, workers=workers, retry=retry, verbose=verbose
            )
            if any(outcome.state in ("busy", "stopped") for outcome in outcomes):
                raise CampaignError(
                    f"some labels in {campaign.folder} are being made by another process: call "
                    f"again when it is done"
                )
            dataset, left_out = collect(campaign)
            for lost in left_out:
                warnings.warn(f"left out: {lost.frame}: {lost.reason}", stacklevel=2)
            found = {item.info["number"] for item in dataset}
            for name in ("frames", "test"):
                if name in selected and not found & set(selected[name]):
                    raise LabelError(
                        f"no {'test' if name == 'test' else 'new'} frame of round {number} has "
                        f"usable labels: see "
                        f"the warnings, and mda-aptnn label run {campaign.folder} --retry"
                    )
            dataset.save(path)
        dataset = read_labels([path])
        test = set(read_json(self._round(0) / "selected.json")["test"])
        parts: tuple[list[int], list[int]] = [], []
        for k, item in enumerate(dataset):
            parts[item.info["number"] in test].append(k)
        return dataset.subset(parts[0]), dataset.subset(parts[1])

    def _spectrum(self, number: int, workers: int, verbose: bool) -> Spectrum:
        folder = self._round(number)
        if not (folder / "flux.h5").is_file():
            parallel: dict[str, Any] = (
                {"backend": "multiprocessing", "n_workers": workers} if workers > 1 else {}
            )
            parts = []
            for k, universe in enumerate(self.universes):
                done = folder / "flux.unfinished" / f"part-{k}"
                flux = DipoleFlux(
                    universe,
                    folder / "committee.h5",
                    checkpoint=done,
                    # frames outside of what the committee has learned are those that the next round
                    # labels
                    **{**self.reading, "allow_outside_domain": True},
                )
                parts.append(flux.run(*self.slice, verbose=verbose, **parallel).series)
            FluxSeries.merge(parts).save(folder / "flux.h5")
        blocks.remove(folder / "flux.unfinished")
        if not (folder / "spectrum.h5").is_file():
            temperature, resolution = self.plan.temperature, self.plan.resolution
            FluxSeries.load(folder / "flux.h5").spectrum(temperature, resolution).save(
                folder / "spectrum.h5"
            )
        return Spectrum.load(folder / "spectrum.h5")

    def _report(
        self, number: int, command: str, workers: int, retry: bool, verbose: bool
    ) -> dict[str, Any]:
        """Do what is missing of a round."""
        folder = self._round(number)
        path = folder / "report.json"
        if path.is_file():
            return read_json(path)
        training, test = self._labels(number, command, workers, retry, verbose)
        if not (folder / "committee.h5").is_file():
            fit_committee(
                training,
                self.plan.members,
                self.plan.network,
                self.plan.training,
                folder / "committee.h5",
                held_out=test,
                verbose=verbose,
            )
        spectrum = self._spectrum(number, workers, verbose)
        card = load_model(folder / "committee.h5").info
        before = None if number == 0 else Spectrum.load(self._round(number - 1) / "spectrum.h5")
        found = compare(before, spectrum)
        report = {
            "round": number,
            "training_frames": len(training),
            "test_frames": len(test),
            "rmse": card["accuracy"]["held_out"]["rmse"],
            "spectrum_error": card["accuracy"]["held_out"]["spectrum_error"],
            **found,
            "stop": found["change"] is not None and found["change"] < self.plan.tolerance,
        }
        write_json(path, report)
        return report


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
        old, new = (spectrum.wavenumber.magnitude for spectrum in (before, after))
        if len(old) != len(new) or not np.allclose(old, new):
            raise SpectrumError(
                "the spectra to compare have other frequencies: give them the same resolution"
            )
        difference = (after.cross_section - before.cross_section).magnitude
        change = float(np.linalg.norm(difference) / error)
    return {"change": change, "model_error": float(model / error)}


def _files(universe: Any) -> list[str]:
    names = [universe.filename, *trajectory_files(universe.trajectory)]
    return [Path(name).name for name in names if name is not None]
