"""An analysis of a Universe whose frames are chosen and checked before they are all read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from MDAnalysis import Universe
from MDAnalysis.analysis.base import AnalysisBase
from numpy.typing import NDArray

from mda_aptnn.checks import Checks
from mda_aptnn.elements import name_elements
from mda_aptnn.errors import TrajectoryError
from mda_aptnn.flux.groups import Groups, check_atoms, choose_groups
from mda_aptnn.flux.guard import Findings, check_run
from mda_aptnn.trajectory.molecules import MoleculesOnDemand
from mda_aptnn.trajectory.motions.motions import Motions, make_motions
from mda_aptnn.trajectory.times import Timeline
from mda_aptnn.trajectory.universe_frames import UniverseFrames

#: Options by which `check_run` only marks what it would refuse.
ALLOWANCES = ("allow_aliasing", "override_cell", "allow_outside_domain")
#: Keywords of every such analysis beside its own: how the trajectory is read, and what goes on.
_READING = [
    *(p for p in inspect.signature(UniverseFrames).parameters.values() if p.kind is p.KEYWORD_ONLY),
    *(
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation="bool")
        for name in ALLOWANCES
    ),
]


class CheckedAnalysis(AnalysisBase):
    """What the flux and the density of states of a trajectory have in common.

    Parameters
    ----------
    atomgroup : MDAnalysis.AtomGroup or MDAnalysis.Universe
    verbose : bool
        Show progress.
    **options
        Those of `ALLOWANCES`, and of `UniverseFrames`.

    Raises
    ------
    TrajectoryError, GroupError
        If velocities, units, elements or cells do not fit, or it is no AtomGroup.
    """

    #: Predicts the frames, and so is checked with them; none by default.
    _model: Any = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            # help() shows the keywords that **reading stands for
            own = inspect.signature(cls.__init__).parameters.values()
            named = [parameter for parameter in own if parameter.kind is not parameter.VAR_KEYWORD]
            shown = inspect.Signature([*named, *_READING], return_annotation=None)
            setattr(cls.__init__, "__signature__", shown)  # noqa: B010

    def __init__(self, atomgroup: Any, verbose: bool = False, **options: Any) -> None:
        for name in options.keys() - {parameter.name for parameter in _READING}:
            raise TypeError(f"{type(self).__name__}() has no keyword {name!r}")
        self._allowed = {name: options.pop(name, False) for name in ALLOWANCES}
        self._atoms = atomgroup.atoms if isinstance(atomgroup, Universe) else atomgroup
        check_atoms(self._atoms, "atomgroup")
        universe = self._atoms.universe
        super().__init__(universe.trajectory, verbose)
        self._frames = UniverseFrames(universe, **options)
        #: Time in ps between the positions that velocities are made of; 0 for recorded ones.
        self._finite_difference = 0.0 if self._frames.recorded else self._frames.spacing
        indices, numbers = self._frames.indices, self._frames.numbers
        self._frames.notes += name_elements(universe, indices, numbers)
        self._trajectory[self._frames.usable_frames[0]]
        self._first = self._frames.frame()
        self._molecules = MoleculesOnDemand(universe, indices, self._first, self._frames.notes)

    def __repr__(self) -> str:
        found = f"{len(self.times)} frames" if hasattr(self, "times") else "not run yet"
        return f"<{type(self).__name__}: {len(self._atoms)} atoms, {found}>"

    @property
    def timeline(self) -> Timeline:
        """Times of the frames that were looked at last."""
        return self._timeline

    def _take_apart(
        self, groups: Mapping[str, Any] | None, motions: Any, **how: Any
    ) -> tuple[Groups, Motions | None]:
        """The groups of the atoms, of `choose_groups`, and their motions, of `make_motions`."""
        atoms, frames, molecules = self._atoms, self._frames, self._molecules
        chosen = choose_groups(atoms, groups, frames.indices, frames.numbers, molecules, **how)
        if motions is None:
            return chosen, None
        return chosen, make_motions(motions, atoms, frames.indices, frames.masses, molecules)

    @property
    def universe_frames(self) -> UniverseFrames:
        """The frames that are read."""
        return self._frames

    def check(
        self,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        frames: Any = None,
    ) -> Checks:
        """Return what is found of these frames before all are read; `run` refuses what cannot be
        right.

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
        return self.look(start, stop, step, frames).checks

    def look(self, *chosen: Any) -> Findings:
        """Return all that is found of these frames before all are read.

        Parameters
        ----------
        *chosen
            start, stop, step and frames, as in `run`.

        Returns
        -------
        Findings
        """
        self._wanted, self._timeline = chosen_timeline(self._frames, *chosen)
        self._findings = check_run(
            self._frames, self._wanted, self._timeline, model=self._model, **self._allowed
        )
        return self._findings


def chosen_timeline(
    frames: UniverseFrames,
    start: int | None = None,
    stop: int | None = None,
    step: int | None = None,
    chosen: Any = None,
) -> tuple[NDArray[np.int64], Timeline]:
    """Return the numbers of the chosen frames, equally spaced and at least two, and their times.

    Parameters
    ----------
    frames : UniverseFrames
        Those without velocities are left out.
    start, stop, step : int, optional
        As in a slice.
    chosen : sequence of int or of bool, optional
        Numbers of frames, or a choice for each frame.

    Raises
    ------
    TrajectoryError
        If frames do not exist, are not equally spaced, are fewer than two, or no two of them follow
        each other in time; or as `UniverseFrames.timeline`.
    ValueError
        If `chosen` comes with `start`, `stop` or `step`.
    """
    trajectory, usable = frames.universe.trajectory, frames.usable_frames
    if chosen is None:
        numbers = np.arange(*trajectory.check_slice_indices(start, stop, step))
    elif any(part is not None for part in (start, stop, step)):
        raise ValueError("start/stop/step cannot be combined with frames")
    else:
        numbers = np.asarray(chosen)
        if numbers.dtype == bool and len(numbers) == len(trajectory):
            numbers = np.flatnonzero(numbers)
        if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
            raise TrajectoryError("frames: give the numbers of frames, or a boolean for each frame")
    beyond = numbers[(numbers < 0) | (numbers >= len(trajectory))]
    if len(beyond):
        raise TrajectoryError(
            f"there is no frame {beyond[0]}: the trajectory has {len(trajectory)} frames, counted "
            "from 0"
        )
    numbers = numbers[(numbers >= usable.start) & (numbers < usable.stop)].astype(np.int64)
    if len(numbers) < 2:
        raise TrajectoryError(
            f"{len(numbers)} usable frames in the chosen range; a flux needs two or more, and the "
            f"trajectory has {len(trajectory)}, {len(usable)} of them with velocities"
        )
    strides = np.unique(np.diff(numbers))
    if len(strides) > 1 or strides[0] < 1:
        raise TrajectoryError(
            "the chosen frames are not equally spaced; choose them with start, stop and step"
        )
    timeline = frames.timeline(numbers)
    if not np.isfinite(timeline.spacing):
        raise TrajectoryError(
            "no two of the chosen frames follow each other in time; give time_step="
        )
    return numbers, timeline
