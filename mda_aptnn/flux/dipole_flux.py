"""The dipole flux Ṁ = Σ_i P_i v_i of groups of atoms, for every frame of a trajectory."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from MDAnalysis import Universe
from MDAnalysis.analysis.base import AnalysisBase
from MDAnalysis.analysis.results import Results, ResultsGroup

from mda_aptnn import folders
from mda_aptnn.checks import Checks
from mda_aptnn.elements import name_elements
from mda_aptnn.errors import WorkerError
from mda_aptnn.flux import backends
from mda_aptnn.flux.atom_flux import write_atom_flux
from mda_aptnn.flux.blocks import BlockStore
from mda_aptnn.flux.flux_series import RECORDS, FluxSeries
from mda_aptnn.flux.frame_choice import chosen_timeline
from mda_aptnn.flux.frame_flux import FrameFlux
from mda_aptnn.flux.groups import KINDS, check_atoms, choose_groups
from mda_aptnn.flux.guard import Findings, check_run, refuse_or_warn
from mda_aptnn.flux.motions.motions import make_motions
from mda_aptnn.flux.origin import checkpoint_plan, description, file_states, frame_fingerprint
from mda_aptnn.flux.pipeline import (
    PARTS,
    Pipeline,
    batch_size,
    gives_gradients,
    predictions,
    shares,
    text_of,
)
from mda_aptnn.frame import Frame
from mda_aptnn.model.predict import Model, load_model
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.tensors import SUM_RULES, SumRuleNameError
from mda_aptnn.trajectory.kinetics import check_degrees_of_freedom, constrained_bonds
from mda_aptnn.trajectory.molecules import MoleculesOnDemand, broken_note
from mda_aptnn.trajectory.universe_frames import UniverseFrames

#: Up to so many groups, correlation functions are a result of every run.
_FEW = 16

logger = logging.getLogger(__name__)


class DipoleFlux(AnalysisBase):
    """Predict polar tensors along a trajectory and sum Ṁ = Σ_i P_i v_i over groups of atoms.

    Parameters
    ----------
    atomgroup : MDAnalysis.AtomGroup or MDAnalysis.Universe
        Whose flux is wanted. The model always sees all atoms of the Universe.
    model : str, path or object
        Name of a bundled model, a model file, or any object with ``predict(frame) -> [n_atoms, 3,
        3]`` in e. With ``predict_tensors(frame)``, which returns "apt" and polarizability gradients
        "pgt" [n_atoms, 3, 3, 3] in Å², α̇ = Σ_i G_i v_i is kept in the same pass, for Raman and
        sum-frequency spectra.
    groups : mapping of str to str or AtomGroup, optional
        Selections within `atomgroup`, which must not overlap, made in the first frame. What they
        leave out is the group "rest". An AtomGroup that is updated, such as a shell, is selected
        again in each frame, where it may be empty.
    per : {"group", "element", "resname", "residue", "molecule", "atom"}
        A group for every element, residue name, residue or molecule, in place of `groups`. "atom"
        keeps every atom's flux and position on disk, so that other groups need no new prediction.
    updating : bool
        Make the selections of `groups` again in each frame.
    motions : "rigid", mapping, NormalModes or object, optional
        Take the flux of each group apart into motions of molecules: translation, rotation and
        vibration; or internal coordinates, ``{"OH": ("element O", "element H")}``; or normal modes;
        see `mda_aptnn.flux.motions.motions.make_motions`.
    velocities : {"trajectory", "finite-difference"}
        Recorded velocities, or central differences of positions, which must be said explicitly.
    velocity_unit : str
        "auto" takes what the reader declares; else any unit of velocity, such as "angstrom/fs".
    time_step : float, str or pint.Quantity, optional
        Between recorded frames (in ps), where the recorded times are wrong or missing.
    elements : mapping of str to str, optional
        Element of each atom type or name, where the topology has none.
    cell, pbc : optional
        Cell (lengths in Å and angles in degrees) and periodic directions, where the trajectory
        lacks them.
    charge : float, str or pint.Quantity
        Total charge in e, for the sum rule.
    sum_rule : {"none", "mass", "uniform"}
        How Σ_i P_i = Q·1 is enforced; see `mda_aptnn.tensors.apply_sum_rule`. The residual is
        always kept.
    degrees_of_freedom : int, optional
        For the kinetic temperature; 3N − 3 without constraints by default. There is none of finite
        differences, which lower the velocities of fast atoms.
    checkpoint : path, optional
        Folder where finished frames are kept. Running again with the same folder goes on from
        there. Frames are known by their content: a trajectory that has become longer goes on, and
        what was run again is predicted again.
    n_threads : int
        Threads of the prediction in each process.
    check_temperature : bool
        Refuse velocities whose kinetic temperature cannot be meant, and frames or atoms that are
        far hotter.
    allow_aliasing : bool
        Go on where frames are too far apart for the motion, or the time between them does not fit
        the velocities.
    override_cell : bool
        Go on where the given cell has another volume than the recorded one.
    allow_outside_domain : bool
        Go on where the surroundings of atoms are not those that the model was trained on.
    verbose : bool
        Show progress.

    Attributes
    ----------
    results.flux : ndarray, shape [n_frames, n_groups, 3]
        In e·Å/ps.
    results.groups : list of str
    results.times : ndarray, shape [n_frames]
        In ps.
    results.volumes, results.temperatures : ndarray, shape [n_frames]
        In Å³ and K.
    results.residuals : ndarray, shape [n_frames, 3, 3]
        Σ_i P_i − Q·1 before the sum rule is applied, in e.
    results.equipartition : ndarray, shape [n_frames]
        Σ_i ‖P_i‖²/m_i, in e²/u.
    results.correlation : ndarray, shape [n_lags, n_groups, n_groups]
        ⟨Ṁ_g(0)·Ṁ_h(t)⟩ up to 5 ps, in e² Å²/ps², for up to 16 groups.
    results.seconds, results.shares : dict of str to float
        How long it took to "read" and convert frames, to find "neighbours", to evaluate the
        "network", and the "rest"; of all workers. Reading goes on while frames are predicted.
    series : FluxSeries
        All of it as one object that can be saved, merged and turned into spectra.

    Raises
    ------
    TrajectoryError, GroupError, ModelError, FrameError
        If velocities, units, elements, cells, groups or the model do not fit: before the first
        frame is predicted.

    Notes
    -----
    P. Schienbein, J. Chem. Theory Comput. 19, 705 (2023), Eq. 3.
    """

    _analysis_algorithm_is_parallelizable = True

    @classmethod
    def get_supported_backends(cls) -> tuple[str, ...]:
        """Return the names of the backends that `run` takes.

        Returns
        -------
        tuple of str
        """
        return ("serial", "multiprocessing", "dask")

    def __init__(
        self,
        atomgroup: Any,
        model: Any,
        groups: Mapping[str, Any] | None = None,
        *,
        per: str = "group",
        updating: bool = False,
        motions: Any = None,
        velocities: str = "trajectory",
        velocity_unit: str = "auto",
        time_step: Any = None,
        elements: Mapping[str, str] | None = None,
        cell: Any = None,
        pbc: Any = None,
        charge: Any = 0.0,
        sum_rule: str = "none",
        degrees_of_freedom: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        n_threads: int = 1,
        check_temperature: bool = True,
        allow_aliasing: bool = False,
        override_cell: bool = False,
        allow_outside_domain: bool = False,
        verbose: bool = False,
    ) -> None:
        atoms = atomgroup.atoms if isinstance(atomgroup, Universe) else atomgroup
        check_atoms(atoms, "atomgroup")
        super().__init__(atoms.universe.trajectory, verbose)
        if per not in ("group", *KINDS, "atom"):
            raise ValueError(f"per={per!r}: choose one of group, {', '.join(KINDS)}, atom")
        if sum_rule not in SUM_RULES:
            raise SumRuleNameError(f"sum rule {sum_rule!r}: choose one of {', '.join(SUM_RULES)}")
        self._per, self._n_threads = per, n_threads
        self._allowed = {
            "allow_aliasing": allow_aliasing,
            "override_cell": override_cell,
            "allow_outside_domain": allow_outside_domain,
        }
        self._source, self._model = model, load_model(model, n_threads=n_threads)
        self._frames = UniverseFrames(
            atoms.universe,
            velocities=velocities,
            velocity_unit=velocity_unit,
            time_step=time_step,
            elements=elements,
            cell=cell,
            pbc=pbc,
            charge=charge,
            check_temperature=check_temperature,
        )
        self._finite_difference = self._frames.spacing if velocities == "finite-difference" else 0.0
        self._frames.notes += name_elements(
            atoms.universe, self._frames.indices, self._frames.numbers
        )
        first = self._check_first_frame()
        indices, numbers, masses = self._frames.indices, self._frames.numbers, self._frames.masses
        molecules = MoleculesOnDemand(atoms.universe, indices, first, self._frames.notes)
        self._sums = FrameFlux(
            choose_groups(per, atoms, groups, indices, numbers, molecules, updating=updating),
            None if motions is None else make_motions(motions, atoms, indices, masses, molecules),
            molecules.found,
            masses,
            self._frames.charge,
            sum_rule,
            self._degrees_of_freedom(degrees_of_freedom),
            keep_atoms=per == "atom",
        )
        self._with_gradients = gives_gradients(self._model)
        n_members = getattr(self._model, "n_members", 1)
        if self._with_gradients and not isinstance(self._model, Model):
            n_members = 1
        self._n_members = n_members if n_members > 1 and len(self._sums.names) <= _FEW else 0
        if n_members > 1 and not self._n_members:
            self._frames.notes.append(
                f"no error of the model: members of a committee are kept of up to {_FEW} groups"
            )
        self._scratch: Any = None
        if checkpoint is None and per == "atom":
            self._scratch = tempfile.TemporaryDirectory(prefix="mda-aptnn-")
            checkpoint = self._scratch.name
        self.n_frames, self._ahead = 0, False
        self._pipeline: Pipeline | None = None
        self._folder = None if checkpoint is None else os.fspath(checkpoint)
        self._store: BlockStore | None = None
        if self._folder is not None:
            plan = checkpoint_plan(model, self._model, self._sums, self._frames, first, groups)
            self._store = BlockStore(self._folder, plan, file_states(self._trajectory))

    def run(
        self,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        frames: Any = None,
        verbose: bool | None = None,
        n_workers: int | None = None,
        n_parts: int | None = None,
        backend: Any = None,
        **options: Any,
    ) -> DipoleFlux:
        """Predict and sum over the chosen frames; parameters as in MDAnalysis' `AnalysisBase.run`.

        With ``backend="multiprocessing"`` or ``"dask"``, every worker uses one thread, and a
        progress bar (`verbose`) advances as parts finish.

        Parameters
        ----------
        start, stop, step : int, optional
            Frames, as a slice.
        frames : array_like, optional
            Numbers of frames, or a mask, instead.
        verbose : bool, optional
            Show a progress bar.
        n_workers, n_parts : int, optional
            Processes, and parts that the frames are shared out in; with a parallel backend.
        backend : {"serial", "multiprocessing", "dask"}, optional
        **options
            Further ones of MDAnalysis.

        Returns
        -------
        DipoleFlux
            Itself, with `results` and `series`.

        Raises
        ------
        TrajectoryError
            If the frames are not equally spaced.
        CheckError
            If a check refuses the run; see `check`.
        ValueError
            If workers are asked of the serial backend.
        BusyError
            If another process fills the checkpoint.
        WorkerError
            If a worker is killed; what is computed is in the checkpoint, if there is one.
        """
        verbose = self._verbose if verbose is None else verbose
        executor = backends.configure(backend, n_workers, bool(verbose))
        serial = isinstance(executor, str)
        if serial and n_parts not in (None, 1):
            raise ValueError('n_parts needs backend="multiprocessing" or "dask"')
        self._findings = self._look(start, stop, step, frames)
        self._doubts = refuse_or_warn(self._findings.checks)
        todo = self._wanted
        if self._store is not None:
            there, changed = self._store.reusable(self._wanted, self._fingerprint)
            todo = np.setdiff1d(todo, there)
            if len(there):
                logger.info(
                    "%d of %d frames are in %s", len(there), len(self._wanted), self._folder
                )
            if len(changed):
                logger.warning(
                    "%d frames in %s are not those of the trajectory as it is now, the first is "
                    "%d: predicted again",
                    len(changed),
                    self._folder,
                    changed[0],
                )
        # a worker has one core, and nothing to gain
        self._ahead = serial
        if not serial:
            n_parts = n_parts or min(len(todo), backends.PARTS_PER_WORKER * executor.n_workers)  # type: ignore[union-attr]
            options["unsupported_backend"] = True
        with self._alone():
            super().run(
                frames=todo,
                n_workers=1 if serial else None,
                n_parts=max(1, n_parts or 1),
                backend=executor,
                verbose=bool(verbose) and serial,
                **options,
            )
        return self

    def check(
        self,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        frames: Any = None,
    ) -> Checks:
        """Return what is found of these frames before anything is predicted; `run` refuses what
        cannot be right.

        Parameters
        ----------
        start, stop, step, frames
            As in `run`.

        Returns
        -------
        Checks

        Raises
        ------
        TrajectoryError
            As `run`.
        """
        return self._look(start, stop, step, frames).checks

    def _look(self, start: int | None, stop: int | None, step: int | None, frames: Any) -> Findings:
        self._wanted, self._timeline = chosen_timeline(self._frames, start, stop, step, frames)
        return check_run(
            self._frames, self._wanted, self._timeline, model=self._model, **self._allowed
        )

    @property
    def knows_temperature(self) -> bool:
        """Whether the flux will have a kinetic temperature: not with constrained bonds or finite
        differences.
        """
        return bool(np.isfinite(self._sums.degrees_of_freedom))

    @property
    def universe_frames(self) -> UniverseFrames:
        """The frames that are read."""
        return self._frames

    def _fingerprint(self, number: int) -> np.uint64:
        """That of a frame of the trajectory, which is left there."""
        self._trajectory[number]
        return frame_fingerprint(self._frames.frame(), self._frames.velocities())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from the checkpoint meanwhile, and say what is in it if a worker
        dies.
        """
        if self._folder is None:
            yield
            return
        try:
            with folders.reserved(
                Path(self._folder) / folders.LOCK, f"the checkpoint {self._folder}"
            ):
                yield
        except WorkerError as error:
            raise WorkerError(
                f"{error}; what is computed is kept in {self._folder}, and used then"
            ) from error

    @property
    def series(self) -> FluxSeries:
        """The flux as an object of its own: save it, merge it, make spectra of it."""
        if not hasattr(self, "_series"):
            raise AttributeError("there is no flux yet; call run() first")
        return self._series

    def spectrum(self, *arguments: Any, **options: Any) -> Spectrum:
        """Return the absolute spectrum; parameters as in `FluxSeries.spectrum`.

        Parameters
        ----------
        *arguments, **options
            Those of `FluxSeries.spectrum`.

        Returns
        -------
        Spectrum
        """
        return self.series.spectrum(*arguments, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the flux to HDF5; with ``per="atom"`` every atom's flux and positions as well.

        Parameters
        ----------
        path : path
        """
        if self._per == "atom":
            assert self._store is not None
            member = self._sums.groups.wanted
            atoms = self._frames.indices[member], self._frames.numbers[member]
            motions = [] if self._sums.motions is None else list(self._sums.motions.names)
            write_atom_flux(
                path, self.series, self._store, self._wanted, *atoms, motions,
                n_particles=len(self._frames.universe.atoms),
            )  # fmt: skip
        else:
            self.series.save(path)

    #: What `save` has written, as a `FluxSeries`.
    load = FluxSeries.load

    def _check_first_frame(self) -> Frame:
        """Ask the model whether it knows these atoms."""
        self._frames.universe.trajectory[self._frames.usable_frames[0]]
        frame = self._frames.frame()
        if hasattr(self._model, "check"):
            self._model.check(frame)
        return frame

    def _degrees_of_freedom(self, given: int | None) -> float:
        check_degrees_of_freedom(given)
        if self._finite_difference:
            self._frames.notes.append(
                "no kinetic temperature: finite differences lower the velocities of fast atoms"
            )
            return float("nan")
        if given is not None:
            return float(given)
        if constrained_bonds(self._frames.samples(), self._frames.masses):
            self._frames.notes.append(
                "constrained bonds found: no kinetic temperature without degrees_of_freedom"
            )
            return float("nan")
        return max(3.0, 3.0 * len(self._frames.numbers) - 3.0)

    def _prepare(self) -> None:
        if self._model is None:
            self._model = backends.model_of_worker(self._source, self._n_threads)
        self.results = self._empty(self.n_frames)
        batch = batch_size(
            self._model, len(self._frames.numbers), self._n_members or self._with_gradients
        )
        self._pipeline = Pipeline(self._predict, batch, self._ahead, self._model)

    def _empty(self, n_frames: int) -> Results:
        arrays = {name: np.zeros((n_frames, *shape)) for name, (_, shape) in RECORDS.items()}
        if self._sums.molecules is not None:
            arrays["broken_bond"] = np.zeros(n_frames, dtype=np.int64)
        if self._n_members:
            arrays["members"] = np.zeros((n_frames, self._n_members, len(self._sums.names), 3))
        if self._with_gradients:
            arrays["polarizability"] = np.zeros((n_frames, len(self._sums.names), 6))
        return Results(flux=np.zeros((n_frames, len(self._sums.names), 3)), **arrays)

    def _single_frame(self) -> None:
        assert self._pipeline is not None
        read = *self._frames.read(), self._sums.groups.membership()
        self._pipeline.put((self._frame_index, self._ts.frame, *read))

    def _predict(self, items: list[tuple[Any, ...]]) -> None:
        """Predict and sum over frames that were read."""
        frames = [item[2] for item in items]
        found = predictions(
            self._model, frames, members=bool(self._n_members), gradients=self._with_gradients
        )
        for (tensors, *more), (index, number, *read) in zip(found, items, strict=True):
            row = self._sums.row(tensors, *read, *more)
            for name in self.results:
                self.results[name][index] = row[name]
            if self._store is not None:
                self._store.add(number, row | {"fingerprint": frame_fingerprint(*read[:2])})

    def _compute(self, indexed_frames: Any, verbose: Any = None, **options: Any) -> DipoleFlux:
        try:
            super()._compute(indexed_frames, verbose, **options)
            assert self._pipeline is not None
            self._pipeline.finish()
            self.results.seconds = self._pipeline.seconds()
        except Exception:
            # of a frame that cannot be read; those before it are computed
            if self._pipeline is not None:
                self._pipeline.finish()
            raise
        finally:
            # also after an interruption: what is computed is kept
            if self._pipeline is not None:
                self._pipeline.close()
            self._pipeline = None
            if self._store is not None:
                self._store.flush()
        return self

    def _get_aggregator(self) -> ResultsGroup:
        rows = dict.fromkeys(
            ("flux", "members", "polarizability", "seconds"), ResultsGroup.ndarray_vstack
        )
        rows["broken_bond"] = ResultsGroup.ndarray_hstack
        for name, (_, shape) in RECORDS.items():
            rows[name] = ResultsGroup.ndarray_vstack if shape else ResultsGroup.ndarray_hstack
        return ResultsGroup(lookup=rows)

    def _conclude(self) -> None:
        results = self.results
        seconds = results.pop("seconds").sum(axis=0)
        if self._store is not None:
            results = self.results = self._empty(len(self._wanted))
            for places, rows in self._store.rows(self._wanted):
                for name in results:
                    results[name][places] = rows[name]
        times = self._timeline.times
        self.frames, self.times, self.n_frames = self._wanted, times, len(times)
        notes = [*self._frames.notes, *self._doubts]
        if self._sums.molecules is not None:
            notes += broken_note(
                self._sums.molecules, results.broken_bond, self._wanted, times, self._frames.indices
            )
        self._series = FluxSeries(
            groups=list(self._sums.names),
            times=times,
            spacing=self._timeline.spacing,
            starts=self._timeline.starts.tolist(),
            finite_difference=self._finite_difference,
            info={
                **description(self._source, self._model, self._sums, self._trajectory),
                **self._findings.info,
                "notes": notes,
            },
            labels=self._sums.labels,
            members=results.members if self._n_members else None,
            polarizability=results.polarizability if self._with_gradients else None,
            **{name: results[name] for name in ("flux", *RECORDS)},
        )
        results.groups, results.times = list(self._sums.names), times
        results.seconds = dict(zip(PARTS, seconds.tolist(), strict=True))
        results.shares = shares(seconds)
        logger.info("time: %s", text_of(results.shares))
        if len(self._sums.names) <= _FEW:
            results.correlation = self._series.correlation()

    def __getstate__(self) -> dict[str, Any]:
        # a model that came from a file is loaded again where it is used
        state = self.__dict__.copy()
        if isinstance(self._source, str | os.PathLike):
            state["_model"] = None
        state["_scratch"] = None
        return state
