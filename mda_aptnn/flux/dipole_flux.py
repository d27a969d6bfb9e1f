"""The dipole flux Ṁ = Σ_i P_i v_i of groups of atoms, for every frame of a trajectory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from MDAnalysis.analysis.results import Results, ResultsGroup
from numpy.typing import NDArray

from mda_aptnn.flux import backends
from mda_aptnn.flux.atom_flux import write_atom_flux
from mda_aptnn.flux.blocks import BlockStore
from mda_aptnn.flux.checked_analysis import CheckedAnalysis
from mda_aptnn.flux.facade import LateMethod
from mda_aptnn.flux.flux_series import ARRAYS, FluxSeries, part_note
from mda_aptnn.flux.frame_flux import FrameFlux, known_freedom
from mda_aptnn.flux.guard import refuse_or_warn
from mda_aptnn.flux.origin import (
    checkpoint_plan,
    description,
    files_of,
    frame_fingerprint,
    trajectory_files,
)
from mda_aptnn.flux.pipeline import PARTS, Pipeline, batch_size, predictions
from mda_aptnn.model.predict import Model, load_model
from mda_aptnn.model.protocol import of_universe
from mda_aptnn.tensors import APT, PGT
from mda_aptnn.trajectory.molecules import broken_note
from mda_aptnn.trajectory.times import Timeline

#: Up to so many groups, correlation functions are a result of every run.
_FEW = 16

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Part:
    """What `AnalysisBase.run` takes of some frames, and rows for a store that is elsewhere."""

    frames: NDArray[np.int64]
    times: NDArray[np.float64]
    results: Results
    rows: list[tuple[int, dict[str, Any]]] | None


class DipoleFlux(CheckedAnalysis):
    """Predict polar tensors along a trajectory and sum Ṁ = Σ_i P_i v_i over groups of atoms.

    Parameters
    ----------
    atomgroup : MDAnalysis.AtomGroup or MDAnalysis.Universe
        Whose flux is wanted. The model always sees all atoms of the Universe.
    model : str, path, mapping or object
        A model file, a name that `load_model` knows, or any object with ``predict(frame) ->
        [n_atoms, 3, 3]`` in e; or a mixture of these, a mapping of selections to them. With
        ``predict_tensors(frame)``, which returns "apt" and polarizability gradients "pgt" [n_atoms,
        3, 3, 3] in Å², α̇ = Σ_i G_i v_i is kept in the same pass, for Raman and sum-frequency
        spectra.
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
        see `mda_aptnn.trajectory.motions.motions.make_motions`.
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
    device : {"cpu", "cuda", "auto"}
        Where networks are evaluated, see `load_model`.
    verbose : bool
        Show progress.
    velocities, velocity_unit, time_step, elements, cell, pbc, charge, check_temperature : optional
        How the trajectory is read, as in `mda_aptnn.UniverseFrames`.
    allow_aliasing, override_cell, allow_outside_domain : bool
        What goes on though it would be refused: where frames are too far apart for the motion, or
        the time between them does not fit the velocities; where the given cell has another volume
        than the recorded one; where the surroundings of atoms are not those that the model was
        trained on.

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

    #: What is made of a flux stands in `mda_aptnn.spectra`, for `FluxSeries`.
    spectrum = LateMethod("mda_aptnn.spectra.of_flux:spectrum", of="series")
    raman = LateMethod("mda_aptnn.spectra.of_flux:raman", of="series")
    sum_frequency = LateMethod("mda_aptnn.spectra.of_flux:sum_frequency", of="series")

    #: What `save` has written, as a `FluxSeries`.
    load = FluxSeries.load

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
        sum_rule: str = "none",
        degrees_of_freedom: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        n_threads: int = 1,
        device: str = "cpu",
        verbose: bool = False,
        **reading: Any,
    ) -> None:
        self._source, self._model = model, load_model(model, n_threads=n_threads, device=device)
        self._per, self._n_threads, self._device = per, n_threads, device
        super().__init__(atomgroup, verbose, **reading)
        self._model = of_universe(self._model, self._frames)
        if hasattr(self._model, "check"):
            self._model.check(self._first)
        how: dict[str, Any] = {"per": per, "updating": updating, "also": ("atom",)}
        chosen, taken_apart = self._take_apart(groups, motions, **how)
        frames = self._frames
        samples = None if self._finite_difference else frames.samples()
        self._sums = FrameFlux(
            chosen,
            taken_apart,
            self._molecules.found,
            frames.masses,
            frames.charge,
            sum_rule,
            known_freedom(degrees_of_freedom, samples, frames.masses, frames.notes),
            keep_atoms=per == "atom",
        )
        # a model without a target gives both if it gives tensors by name
        parts = getattr(getattr(self._model, "target", None), "parts", (APT, PGT))
        named = callable(getattr(self._model, "predict_tensors", None))
        self._with_gradients = named and {APT, PGT} <= set(parts)
        self._n_members = int(getattr(self._model, "n_members", 1))
        others = self._with_gradients and not isinstance(self._model, Model)
        if self._n_members < 2 or others:
            self._n_members = 0
        elif len(self._sums.names) > _FEW:
            self._n_members = 0
            frames.notes.append(
                f"no error of the model: members of a committee are kept of up to {_FEW} groups"
            )
        self.n_frames, self._ahead = 0, False
        self._pipeline: Pipeline | None = None
        self._scratch: Any = None
        if checkpoint is None and per == "atom":
            self._scratch = tempfile.TemporaryDirectory(prefix="mda-aptnn-")
            checkpoint = self._scratch.name
        self._part: dict[str, Any] | None = None
        self._plan: Callable[[], dict[str, Any]] | None = functools.partial(
            checkpoint_plan, model, self._model, self._sums, frames, self._first, groups
        )
        self._store: BlockStore | None = None
        #: Rows for the store in a worker that may not see its folder; else None.
        self._rows: list[tuple[int, dict[str, Any]]] | None = None
        if checkpoint is not None:
            plan = self._plan()
            self._store = BlockStore(checkpoint, plan, plan["trajectory"])

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
        part: tuple[int, int] | None = None,
        **options: Any,
    ) -> DipoleFlux:
        """Predict and sum over the chosen frames; parameters as in MDAnalysis' `AnalysisBase.run`.

        With ``backend="multiprocessing"`` or ``"dask"``, every worker uses one thread, and a
        progress bar (`verbose`) advances as parts finish. For workers on other machines, give
        ``backend=mda_aptnn.flux.backends.Dask(scheduler="tcp://HOST:8786")``.

        Parameters
        ----------
        start, stop, step : int, optional
            Frames, as a slice.
        frames : array_like, optional
            Numbers of frames, or a mask, instead.
        verbose : bool, optional
            Show a progress bar.
        n_workers, n_parts : int, optional
            Processes, one by default, and parts that the frames are shared out in; with a parallel
            backend.
        backend : {"serial", "multiprocessing", "dask"} or Dask, optional
            "dask" starts processes of this machine.
        part : tuple of two int, optional
            (3, 20): only the third of twenty parts of the chosen frames that follow each other.
            `FluxSeries.merge` makes the flux of all of them, as one run would have.
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
            If workers are asked of the serial backend, or `part` is none.
        BusyError
            If another process fills the checkpoint.
        WorkerError
            If a worker is killed, or no Dask scheduler answers; what is computed is in the
            checkpoint, if there is one.
        """
        verbose = bool(self._verbose if verbose is None else verbose)
        executor = backends.configure(backend, n_workers, verbose)
        # a worker has one core, and nothing to gain by reading ahead
        self._ahead = serial = isinstance(executor, str)
        if serial and n_parts not in (None, 1):
            raise ValueError('n_parts needs backend="multiprocessing" or "dask"')
        self._doubts = refuse_or_warn(self.check(start, stop, step, frames))
        self._earliest, self._rows = int(self._wanted[0]), None
        self._part = None if part is None else self._take_part(*part)
        todo = self._wanted
        with contextlib.ExitStack() as alone:
            if self._store is not None:
                alone.enter_context(self._store.alone())
                todo = self._store.missing(self._wanted, self._fingerprint)
            if isinstance(executor, backends.Dask):
                alone.enter_context(executor.connected())
                executor.files = [*trajectory_files(self._trajectory), *files_of(self._source)]
                executor.keep = self._keep_rows
                self._rows = None if self._store is None else []
            if not isinstance(executor, str):
                n_atoms = len(self._frames.numbers)
                n_parts = n_parts or executor.n_parts(len(todo), n_atoms)
                options["unsupported_backend"] = True
            super().run(
                frames=todo,
                n_workers=1 if serial else None,
                n_parts=max(1, n_parts or 1),
                backend=executor,
                verbose=verbose and serial,
                **options,
            )
        return self

    def _take_part(self, number: int, count: int) -> dict[str, Any]:
        """Leave a part of the chosen frames, with the spacing of all; return which part it is."""
        wanted, whole, of_all = self._wanted, self._timeline, len(self._wanted)
        if not 1 <= number <= count or of_all < 2 * count:
            raise ValueError(
                f"part {number}/{count}: {of_all} frames make up to {of_all // 2} parts of two or "
                "more, counted from 1"
            )
        places = np.array_split(np.arange(of_all), count)[number - 1]
        first, end = int(places[0]), int(places[-1]) + 1
        within = whole.starts[(whole.starts > first) & (whole.starts < end)] - first
        self._wanted = wanted[first:end]
        self._timeline = Timeline(
            whole.times[first:end], np.concatenate([[0], within]), whole.spacing
        )
        assert self._plan is not None
        plan = self._plan()
        for name in ("trajectory", "first frame", "groups"):
            del plan[name]
        # files may be copies on other machines; what is in them tells
        ends = [int(self._fingerprint(int(frame))) for frame in wanted[[0, -1]]]
        run = plan | {"n_frames": of_all, "first frame": ends[0], "last frame": ends[1]}
        return {
            "number": number,
            "count": count,
            "frames": [first, end],
            "continues": first not in whole.starts,
            "run": run,
        }

    def _keep_rows(self, part: _Part) -> None:
        """Store what a worker sent, and keep it no longer in memory."""
        if self._store is not None and part.rows:
            for number, row in part.rows:
                self._store.add(number, row)
            part.rows.clear()
            self._store.flush()

    @property
    def knows_temperature(self) -> bool:
        """Whether the flux will have a kinetic temperature: not with constrained bonds or finite
        differences.
        """
        return bool(np.isfinite(self._sums.degrees_of_freedom))

    @property
    def series(self) -> FluxSeries:
        """The flux as an object of its own: save it, merge it, make spectra of it."""
        if not hasattr(self, "_series"):
            raise AttributeError("there is no flux yet; call run() first")
        return self._series

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the flux to HDF5; with ``per="atom"`` every atom's flux and positions as well.

        Parameters
        ----------
        path : path
        """
        if self._per != "atom" or self._store is None:
            self.series.save(path)
        else:
            rows = self._store.rows(self._wanted)
            which = getattr(self._model, "which", None)
            write_atom_flux(path, self.series, rows, self._frames, self._sums, which)

    def _fingerprint(self, number: int) -> np.uint64:
        """That of a frame of the trajectory, which is left there."""
        self._trajectory[number]
        return frame_fingerprint(self._frames.frame(), self._frames.velocities())

    def _compute(self, indexed_frames: Any, verbose: Any = None, **options: Any) -> _Part:
        if self._model is None:
            self._model = backends.loaded(self._source, self._n_threads, self._device)
        more = self._n_members or self._with_gradients
        batch = batch_size(self._model, len(self._frames.numbers), more)
        self._read_before(indexed_frames[:1, 1])
        try:
            with Pipeline(self._predict, batch, self._ahead, self._model) as pipeline:
                self._pipeline = pipeline
                super()._compute(indexed_frames, verbose, **options)
            self.results.seconds = pipeline.seconds()
        finally:
            # also after an interruption: what is computed is kept
            self._pipeline = None
            if self._store is not None:
                self._store.flush()
        return _Part(self.frames, self.times, self.results, self._rows)

    def _read_before(self, numbers: NDArray[np.int64]) -> None:
        """Read the chosen frame before this one, which is held against it: parts have no seams."""
        for number in numbers - (self._wanted[1] - self._wanted[0]):
            if number >= self._earliest:
                self._trajectory[int(number)]
                self._frames.read()

    def _prepare(self) -> None:
        self.results = self._empty(self.n_frames)

    def _empty(self, n_frames: int) -> Results:
        sizes = {"frames": n_frames, "groups": len(self._sums.names), "members": self._n_members}
        there = {"times": 0, "members": self._n_members, "polarizability": self._with_gradients}
        arrays = {
            name: np.zeros([sizes.get(size, size) for size in shape])
            for name, (_, shape) in ARRAYS.items()
            if there.get(name, True)
        }
        if self._sums.molecules is not None:
            arrays["broken_bond"] = np.zeros(n_frames, dtype=np.int64)
        return Results(**arrays)

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
            row = row | {"fingerprint": frame_fingerprint(*read[:2])}
            if self._rows is not None:
                self._rows.append((number, row))
            elif self._store is not None:
                self._store.add(number, row)

    def _get_aggregator(self) -> ResultsGroup:
        names = (*ARRAYS, "broken_bond", "seconds")
        return ResultsGroup(lookup=dict.fromkeys(names, np.concatenate))

    def _conclude(self) -> None:
        seconds = self.results.pop("seconds").sum(axis=0)
        if self._store is not None:
            self.results = self._empty(len(self._wanted))
            for places, rows in self._store.rows(self._wanted):
                for name, values in self.results.items():
                    values[places] = rows[name]
        times, sums, frames = self._timeline.times, self._sums, self._frames
        arrays, notes = dict(self.results), [*frames.notes, *self._doubts]
        if sums.molecules is not None:
            broken = arrays.pop("broken_bond")
            notes += broken_note(sums.molecules, broken, self._wanted, times, frames.indices)
        more = {}
        if self._part is not None:
            more["part"] = self._part
            notes.append(part_note(self._part))
        names, labels = sums.groups.terms(sums.motion_names)
        origin = description(self._source, self._model, sums, self._trajectory)
        self._series = FluxSeries(
            groups=list(names),
            times=times,
            spacing=self._timeline.spacing,
            starts=self._timeline.starts.tolist(),
            finite_difference=self._finite_difference,
            info={**origin, **self._findings.info, "notes": notes, **more},
            labels=labels,
            **arrays,
        )
        self.frames, self.times, self.n_frames = self._wanted, times, len(times)
        results = self.results
        results.groups, results.times = list(names), times
        results.seconds = dict(zip(PARTS, seconds.tolist(), strict=True))
        total = seconds.sum() or 1.0
        results.shares = {name: value / total for name, value in results.seconds.items()}
        shares = ", ".join(f"{name} {value:.0%}" for name, value in results.shares.items())
        logger.info("time: %s", shares)
        if len(names) <= _FEW:
            results.correlation = self._series.correlation()

    def __getstate__(self) -> dict[str, Any]:
        # a model that is a file is loaded again where it is used
        state = self.__dict__.copy()
        if isinstance(self._source, str | os.PathLike) and hasattr(self._model, "path"):
            state["_model"] = None
        state["_scratch"] = state["_plan"] = None
        return state
