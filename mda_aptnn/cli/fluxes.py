"""``mda-aptnn check`` and ``flux``: a trajectory, or files of its flux, to the flux of groups."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import mda_aptnn
from mda_aptnn import io
from mda_aptnn.checks import Check, Checks, Verdict
from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import OptionError, Outputs, hold, made_by
from mda_aptnn.errors import AptnnError, SpectrumError

if TYPE_CHECKING:
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.spectra.estimator import Estimator

Beads = StrEnum("Beads", ["beads", "centroid"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading(opt.Machines, opt.Charges, opt.Terms, opt.Moving):
    """How a flux is made of a trajectory and a model, or found in files.

    Attributes
    ----------
    topology : path
        Topology that MDAnalysis reads, or flux files alone, which are merged.
    updating : bool
        Select the groups again in each frame, as for a shell.
    path_integral : str
        The trajectories are beads of a ring polymer: "beads" averages their fluxes, "centroid"
        predicts once, at their mean.
    checkpoint : path
        Folder for finished frames; the same command again goes on from there.
    """

    model: opt.Models = "water-rpbe-d3"
    updating: bool = False
    path_integral: Beads | None = None
    allow_outside_domain: bool = False
    checkpoint: Path | None = None

    @property
    def is_stored(self) -> bool:
        """Whether flux files stand where trajectories would.

        Raises
        ------
        OptionError
            If some are and others are not.
        """
        kinds = [io.kind_of(path) == "flux" for path in self.trajectory or []]
        if any(kinds) and not all(kinds):
            raise OptionError(
                "flux files and trajectories cannot be read together; make the flux of the others "
                "first"
            )
        return any(kinds)

    @property
    def is_flux(self) -> bool:
        """Whether flux files are all that was named."""
        return io.kind_of(self.topology) == "flux" and (not self.trajectory or self.is_stored)

    def stored(self) -> FluxSeries:
        """Return the flux of new groups from files with every atom's flux, without predicting
        again.

        Raises
        ------
        OptionError
            If an option has been given that only a prediction can follow.
        """
        from mda_aptnn.flux.atom_flux import load_groups

        assert self.trajectory is not None
        self._refuse_unused(
            self.trajectory[0],
            {"trajectory", "group", "per", "updating", "motions", "topology_format"},
        )
        if self.motions not in (None, "stored"):
            raise OptionError(
                f"--motions {self.motions}: a flux of atoms has its own motions; say --motions "
                "stored"
            )
        [universe] = opt.open_universes(self.topology, [], topology_format=self.topology_format)
        how: dict[str, Any] = {"per": self.per, "updating": self.updating}
        how["motions"] = self.motions == "stored"
        return mda_aptnn.FluxSeries.merge(
            load_groups(path, universe, self.group, **how) for path in self.trajectory
        )

    def _refuse_unused(self, path: Path, used: set[str]) -> None:
        """Refuse options that a flux file cannot follow, by their names."""
        unused = [
            opt.option_name(field.name)
            for field in dataclasses.fields(Reading)
            if field.name not in {"topology", *used} and getattr(self, field.name) != field.default
        ]
        if unused:
            names = ", ".join(unused)
            raise OptionError(f"{path} is a flux already: {names} cannot change it; leave it out")

    def universes(self) -> list[Any]:
        """Return one Universe for each trajectory; one of all beads for the centroid of a ring
        polymer.
        """
        found = super().universes()
        if self.path_integral and len(found) < 2:
            raise OptionError("--path-integral: give the trajectories of all beads, two or more")
        if self.path_integral != "centroid":
            return found
        from mda_aptnn.flux.path_integrals import centroid_universe

        return [centroid_universe(found)]

    def predicted(
        self,
        output: Path,
        part: tuple[int, int] | None = None,
        **needed: Any,
    ) -> tuple[FluxSeries, list[Any]]:
        """Return the merged flux of all trajectories, or the mean over beads, and the analyses that
        made its parts.

        Without ``--checkpoint``, finished frames are kept beside `output` until all are done, so
        that the same command goes on after an interruption or an error in a late frame. What the
        spectrum needs (`temperature_needed`, lengths that an `estimator` can take) is asked for
        before.
        """
        # a scheduler that does not answer is known before anything is read
        with self.executor() as executor:
            return self._predicted(output, part, executor, **needed)

    def _predicted(
        self,
        output: Path,
        part: tuple[int, int] | None,
        executor: Any,
        *,
        temperature_needed: bool = False,
        estimator: Estimator | None = None,
    ) -> tuple[FluxSeries, list[Any]]:
        from mda_aptnn.flux import blocks
        from mda_aptnn.flux.checked_analysis import chosen_timeline
        from mda_aptnn.flux.flux_series import lengths_together
        from mda_aptnn.flux.guard import check_replicas
        from mda_aptnn.flux.path_integrals import average_beads
        from mda_aptnn.trajectory.selection import select

        universes = self.universes()
        if self.per == "atom" and len(universes) > 1:
            raise OptionError("--per atom takes one trajectory at a time; run the command for each")
        if part is not None and len(universes) > 1:
            raise OptionError("--part takes one trajectory at a time; run the command for each")
        frames, folder = self.chosen(), self._finished_frames(output)
        blocks.check_folder(folder)
        is_ours = self.checkpoint is None or not folder.exists()
        options = self.keywords() | self.values(opt.Charges) | self.parts()
        options |= {
            name: getattr(self, name) for name in ("updating", "allow_outside_domain", "device")
        }
        beads = self.path_integral == "beads"
        if beads:
            # each has as many times the temperature as there are beads, which average_beads looks
            # at
            options["check_temperature"] = False
        # in a log file, each time a bar is drawn is a line more
        seldom = {} if sys.stderr.isatty() else {"mininterval": 30.0}
        how: dict[str, Any] = {"progressbar_kwargs": seldom}
        if executor is not None:
            how = {"backend": executor}
        hold(folder)
        try:
            analyses = []
            for number, universe in enumerate(universes):
                own = folder / f"part-{number + 1}"
                atoms = select(universe, self.select, "--select")
                analyses.append(
                    mda_aptnn.DipoleFlux(atoms, self.model, self.group, checkpoint=own, **options)
                )
            if temperature_needed and not all(each.knows_temperature for each in analyses):
                raise OptionError(
                    "the kinetic temperature is not known, as bonds are constrained or velocities "
                    'finite differences; give that of the simulation (-T "300 K"), or '
                    "--degrees-of-freedom of constrained molecules"
                )
            check_replicas([analysis.universe_frames for analysis in analyses]).raise_refused()
            if estimator is not None:
                times = [chosen_timeline(each.universe_frames, *frames)[1] for each in analyses]
                # beads are of one time
                lengths = lengths_together(times[:1] if beads else times)
                estimator.check(times[0].spacing, lengths)
            for analysis in analyses:
                analysis.run(*frames, verbose=True, part=part, **how)
            parts = [analysis.series for analysis in analyses]
            return average_beads(parts) if beads else mda_aptnn.FluxSeries.merge(parts), analyses
        finally:
            if is_ours and not list(folder.glob("part-*/block-*.h5")):
                blocks.remove(folder)

    def _finished_frames(self, output: Path) -> Path:
        """Where finished frames are kept: ``--checkpoint``, or a folder beside `output`."""
        return self.checkpoint or output.with_name(f"{output.stem}.unfinished")

    def forget(self, output: Path) -> None:
        """Remove the finished frames beside `output`, now that the flux is written."""
        from mda_aptnn.flux import blocks

        if self.checkpoint is None:
            blocks.remove(self._finished_frames(output))

    @contextlib.contextmanager
    def obtained(
        self, out: Outputs, temperature: float | None, estimator: Estimator
    ) -> Iterator[tuple[FluxSeries, dict[str, list[str]] | None]]:
        """Give the flux that the arguments name or ask for, and the sums of its groups that are
        wanted.

        A prediction is not begun where a spectrum would lack the temperature, or frames for its
        resolution. Its flux is kept before a spectrum is made of it, beside that if no name was
        given: another spectrum costs no time.
        """
        command, output = next(iter(out.files.items()))
        sums: dict[str, list[str]] | None = None
        if self.is_flux:
            self._refuse_unused(self.topology, {"group", "trajectory"})
            sums = {name: parts.split("+") for name, parts in (self.group or {}).items()} or None
            series = _merged([self.topology, *(self.trajectory or [])])
        elif self.trajectory and self.is_stored:
            series = self.stored()
        elif self.per == "atom":
            raise OptionError("--per atom is for the command flux; its file then serves here")
        else:
            kept = out.files.setdefault("flux", _beside(output, command))
            io.check_writable(kept)
            series, _ = self.predicted(
                output, temperature_needed=temperature is None, estimator=estimator
            )
            series.save(kept)
            self.forget(output)
            try:
                yield series, sums
            except AptnnError as error:
                message = f"{error}; the flux is kept, for: mda-aptnn {command} {kept}"
                raise SpectrumError(message) from error
            return
        if "flux" in out.files:
            series.save(out.files["flux"])
        yield series, sums


def _beside(output: Path, command: str) -> Path:
    """Where the flux of a spectrum is kept: never in the place of one that was made otherwise."""
    names = (output.with_name(f"{output.stem}-flux{k or ''}.h5") for k in itertools.count())
    return next(path for path in names if not path.exists() or made_by(path, command))


def _merged(paths: list[Path]) -> FluxSeries:
    """The flux of files, which errors call by their names."""
    return mda_aptnn.FluxSeries.merge(
        map(mda_aptnn.FluxSeries.load, paths), names=[str(path) for path in paths]
    )


def merge(flux: list[Path], *, out: Outputs = opt.writes(flux="flux.h5")) -> None:
    """Make one flux of several: of the parts of a run (`flux --part`), or of runs that continue
    each other or are replicas.

    Parameters
    ----------
    flux : paths
        Flux files, two or more.
    """
    if len(flux) < 2:
        raise OptionError(f"{flux[0]} is one flux file; give two or more to merge")
    for path in flux:
        with io.open_checked(path, "flux") as file:
            if "atoms" in file:
                raise OptionError(
                    f"{path} has every atom's flux, which are not merged into one file; give the "
                    "files together in the place of the trajectory, with the topology before them"
                )
    series = _merged(flux)
    out.save(series)
    out.tell(series.summary(), series.describe(), series.check())


def flux(
    reading: Reading,
    *,
    part: opt.Part = None,
    out: Outputs = opt.writes(flux="flux.h5"),
) -> None:
    """Predict polar tensors along a trajectory and store the dipole flux of groups of atoms.

    With --per atom every atom's flux is kept: such a file can stand in the place of the trajectory
    in this command and in `spectrum`, for other groups without a new prediction.

    Parameters
    ----------
    part : str
        NUMBER/COUNT: only this part of the chosen frames; flux.h5 becomes flux-03of20.h5 with 3/20,
        and `merge` makes one flux of all.
    """
    if part is not None:
        number, count = part
        path = out.files["flux"]
        name = f"{path.stem}-{number:0{len(str(count))}}of{count}{path.suffix}"
        out.files["flux"] = path.with_name(name)
        io.refuse_input(out.files["flux"])
        io.check_writable(out.files["flux"])
    if reading.is_flux:
        raise OptionError(f"{reading.topology} is a flux already; mda-aptnn merge joins several")
    if reading.is_stored:
        if part is not None:
            raise OptionError(f"{reading.names[0]} is a flux already: --part cannot change it")
        series = reading.stored()
        out.save(series)
    else:
        output = out.files["flux"]
        series, analyses = reading.predicted(output, part)
        out.save(analyses[0] if reading.per == "atom" else series)
        reading.forget(output)
    out.tell(series.summary(), series.describe(), series.check())


def check(
    reading: opt.Moving,
    *,
    model: opt.Models = None,
    allow_outside_domain: bool = False,
    out: Outputs = opt.writes(),
) -> None:
    """Try a run without predicting it: frames, length, Nyquist wavenumber, temperatures, cell, and
    with --model its domain, by a few frames, as every command does before it predicts. Exit code 1
    if refused.

    Parameters
    ----------
    model : list of str
        Also hold the frames against what this model knows. SELECTION=MODEL, repeatable.
    """
    from mda_aptnn.flux.checked_analysis import chosen_timeline
    from mda_aptnn.flux.flux_series import lengths_together
    from mda_aptnn.flux.guard import check_replicas, check_run
    from mda_aptnn.model.protocol import of_universe
    from mda_aptnn.spectra.estimator import Estimator

    known = None if model is None else mda_aptnn.load_model(model)
    options = reading.keywords()
    allowed = {name: options.pop(name) for name in ("allow_aliasing", "override_cell")}
    allowed["allow_outside_domain"] = allow_outside_domain
    readers: list[mda_aptnn.UniverseFrames] = []
    found: list[Check] = []
    about: list[str] = []
    for universe in reading.universes():
        frames = mda_aptnn.UniverseFrames(universe, **options)
        wanted, timeline = chosen_timeline(frames, *reading.chosen(), None)
        own = of_universe(known, frames)
        if hasattr(own, "check"):
            own.check(frames.frame())
        found += check_run(frames, wanted, timeline, model=own, **allowed).checks
        readers.append(frames)
        lengths = lengths_together([timeline])
        width = Estimator().suited(timeline.spacing, lengths).resolution
        about.append(
            f"{len(wanted)} frames of {len(frames.numbers)} atoms, {1000 * timeline.spacing:g} fs "
            f"apart, {len(wanted) * timeline.spacing:.4g} ps in {len(lengths)} series; a spectrum "
            f"has a resolution of {width:g} cm⁻¹ by itself"
        )
        about += [f"note: {note}" for note in frames.notes]
    checks = Checks((*found, *check_replicas(readers)))
    out.tell({"about": about}, about, checks, every=True)
    if checks.worst is Verdict.REFUSED:
        raise typer.Exit(1)
