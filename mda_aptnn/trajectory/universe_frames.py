"""A Universe as frames: atoms, cells, velocities in Å/ps and times, taken only where it is known
what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.elements import find_atoms
from mda_aptnn.errors import FrameError, TrajectoryError
from mda_aptnn.frame import (
    DENSEST,
    Array,
    Cell,
    Frame,
    Indices,
    cell_matrix,
    periodic_directions,
)
from mda_aptnn.trajectory.h5md import read_in_blocks
from mda_aptnn.trajectory.kinetics import Moment, Usual, is_plausible, likely_unit
from mda_aptnn.trajectory.readers import (
    UNDECLARED,
    format_names,
    independent,
    is_oriented,
    knows_times,
    readers_of,
    source_files,
    timestep_cell,
    velocity_conversion,
)
from mda_aptnn.trajectory.times import Clock, Timeline

#: Transformations of MDAnalysis that turn positions, and neither velocities nor cell.
ROTATING = frozenset({"fit_rot_trans", "rotateby"})
#: How many frames the kinetic temperature and constraints are judged by.
SAMPLES = 5
#: The volume of a sample changes by less than this factor: 5 standard deviations of 8 water
#: molecules at constant pressure, which have 9 %.
SAME_VOLUME = 1.5

#: Spectra of central differences of positions are corrected up to this part of the Nyquist
#: frequency, then cut.
FINITE_DIFFERENCE_LIMIT = 0.7

#: Positions [n_atoms, 3] in Å, and the cell that they are in.
Place = tuple[Array, Cell]


class UniverseFrames:
    """The configurations and velocities of a Universe, at its current timestep.

    The frame holds all atoms of the Universe, also if an AtomGroup was given, less the sites that
    are no atoms.

    Parameters
    ----------
    atoms : MDAnalysis.Universe or AtomGroup
    velocities : {"trajectory", "finite-difference", None}
        As recorded; or central differences of the neighbouring recorded frames, where the amplitude
        at angular frequency ω is lower by sin(ωΔt)/(ωΔt); or not wanted.
    velocity_unit : str or pint.Quantity
        Unit of the numbers in the file. ``"auto"`` takes what the reader declares, and is an error
        where the format does not say (LAMMPS, arrays in memory).
    time_step : float, str or pint.Quantity, optional
        Spacing of the recorded frames, in ps if a bare number, instead of the recorded times.
    elements : mapping or sequence, optional
        Symbols by atom name or type, or for each atom; see `mda_aptnn.elements.find_atoms`.
    cell : str or array_like, optional
        Cell of all frames, as `mda_aptnn.frame.cell_matrix` takes it, instead of the recorded one.
    pbc : bool, str or sequence of three bool, optional
        Periodic directions: ``True``, ``"xy"``, ``"none"``, ``(True, True, False)``. By default
        those in which there is a cell vector.
    charge : float, str or pint.Quantity
        Total charge in e.
    check_temperature : bool
        Refuse velocities whose kinetic temperature is far from plausible (5 to 5000 K).

    Attributes
    ----------
    universe : MDAnalysis.Universe
    indices : ndarray of int, shape [n_atoms]
        The atoms of the frames, as indices of the Universe.
    numbers : ndarray of int, shape [n_atoms]
        Atomic numbers.
    masses : ndarray, shape [n_atoms]
        In u.
    charge : float
        In e.
    notes : list of str
        What was assumed, dropped, converted.

    Raises
    ------
    TrajectoryError
        If velocities, their unit, elements or the cell are missing or cannot be right.
    """

    def __init__(
        self,
        atoms: Any,
        *,
        velocities: str | None = "trajectory",
        velocity_unit: Any = "auto",
        time_step: Any = None,
        elements: Mapping[str, str | None] | Sequence[str] | None = None,
        cell: Any = None,
        pbc: Any = None,
        charge: Any = 0.0,
        check_temperature: bool = True,
    ) -> None:
        if velocities not in ("trajectory", "finite-difference", None):
            raise TrajectoryError(
                f"velocities={velocities!r}: choose 'trajectory', 'finite-difference' or None"
            )
        self.universe = atoms.universe
        io.protect(source_files(self.universe))
        found = find_atoms(self.universe, elements)
        self.indices, self.numbers, self.masses = found.indices, found.numbers, found.masses
        self._atoms = self.universe.atoms[found.indices]
        trajectory = self.universe.trajectory
        read_in_blocks(readers_of(trajectory))
        self.notes = list(found.notes)
        for reader in readers_of(trajectory):
            self.notes += getattr(reader, "repairs", [])
        self.charge = float(units.magnitude(charge, units.CHARGE, "charge"))
        self._source = velocities
        self._factor = 1.0
        self._fixed_cell = None if cell is None else cell_matrix(cell)
        self._pbc: Any = None if pbc is None else periodic_directions(pbc)
        self._found_pbc = pbc is None
        #: Time between recorded frames in ps that was given instead of the recorded times.
        self.given_spacing: float | None = None
        if time_step is not None:
            self.given_spacing = units.magnitude(time_step, units.TIME, "time_step")
            if not self.given_spacing > 0:
                raise TrajectoryError(
                    f"time_step {time_step!r}: the spacing of the recorded frames must be positive"
                )
        self._clock: Clock | None = None
        self._spacing = np.nan
        self._beside: Any = None
        self._visited: dict[int, Place] = {}
        self._volume: float | None = None
        #: A checked frame; those in the same cell differ in positions only.
        self._known: Frame | None = None
        self._usual: Usual | None = None
        self._last: tuple[int, Array] | None = None
        self._check_trajectory()
        if velocities == "trajectory":
            self._velocities(trajectory)
            self._factor = self._find_factor(velocity_unit)
        if velocities is not None and check_temperature:
            self._usual = self._typical()
            self._check_temperature(self._usual.temperature)

    @property
    def settings(self) -> dict[str, Any]:
        """What was chosen for reading, in values that JSON can hold: equal settings read equal
        frames.
        """
        return {
            "velocities": self._source,
            "velocity_factor": self._factor,
            "time_step": self.given_spacing,
            "numbers": self.numbers.tolist(),
            "indices": self.indices.tolist(),
            "cell": None if self._fixed_cell is None else self._fixed_cell.tolist(),
            "pbc": self._pbc.tolist(),
            "charge": self.charge,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_beside": None, "_visited": {}, "_last": None}

    @property
    def usable_frames(self) -> range:
        """The frames that have velocities: finite differences lose the first and the last."""
        n_frames = int(self.universe.trajectory.n_frames)
        return range(1, n_frames - 1) if self._source == "finite-difference" else range(n_frames)

    def frame(self) -> Frame:
        """Return the configuration at the current timestep.

        Returns
        -------
        Frame

        Raises
        ------
        TrajectoryError
            If positions are missing or not finite, or there is no cell in a direction that `pbc`
            asks for.
        """
        trajectory = self.universe.trajectory
        return self._frame(self._place(trajectory), int(trajectory.ts.frame))

    def velocities(self) -> Array:
        """Return the velocities at the current timestep.

        Returns
        -------
        ndarray, shape [n_atoms, 3]
            In Å/ps.

        Raises
        ------
        TrajectoryError
            If the frame has none, or one is not finite, or a finite difference lacks a neighbouring
            frame.
        """
        if self._source is None:
            raise TrajectoryError("velocities were not asked for (velocities=None)")
        return self._velocities(self.universe.trajectory)

    def read(self) -> tuple[Frame, Array]:
        """Return configuration and velocities at the current timestep, held against those read
        before.

        Returns
        -------
        frame : Frame
        velocities : ndarray, shape [n_atoms, 3]
            In Å/ps.

        Raises
        ------
        TrajectoryError
            As `frame` and `velocities`; or if an atom is faster, or has moved further since the
            frame before, than the temperature of the trajectory explains. Not with
            ``check_temperature=False``.
        """
        frame, velocities = self.frame(), self.velocities()
        if self._usual is not None:
            number = int(self.universe.trajectory.ts.frame)
            self._usual.refuse_heat(number, velocities)
            last, self._last = self._last, (number, frame.box.fractions(frame.positions))
            if last is not None and number > last[0]:
                self._usual.refuse_jump(number, frame, *last, self._time_between)
        return frame, velocities

    def _time_between(self, first: int, last: int) -> float:
        """Time in ps between two frames, infinite where they are of two series."""
        if self._clock is None:
            return np.inf
        between = self._clock.timeline(np.array([first, last]))
        return between.spacing if len(between.starts) == 1 else np.inf

    def moments(self, numbers: Iterable[int], stride: int | None = None) -> Iterator[Moment]:
        """Give frames with velocities and, where `stride` is given, what surrounds them; the
        trajectory stays put.

        Parameters
        ----------
        numbers : iterable of int
            Frames, in increasing order.
        stride : int, optional
            The frames `stride` before and after are read too.

        Yields
        ------
        Moment
        """
        trajectory = independent(self.universe.trajectory)

        def place(number: int) -> Place:
            trajectory[number]
            return self._place(trajectory)

        def velocities() -> Array | None:
            return self._velocities(trajectory) if self.recorded else None

        for number in map(int, numbers):
            if stride is None or self._source is None:
                middle = place(number)
                yield Moment(number, self._frame(middle, number), velocities())
                continue
            before, middle = place(number - stride), place(number)
            now, after = velocities(), place(number + stride)
            moved = _moved(before, middle, after)
            yield Moment(number, self._frame(middle, number), now, moved, velocities())

    @property
    def recorded(self) -> bool:
        """Whether velocities are those of the trajectory, and no finite differences."""
        return self._source == "trajectory"

    @property
    def declared_spacing(self) -> float | None:
        """Time between recorded frames in ps by the file itself, from its first two frames; None if
        it has none.
        """
        trajectory = independent(self.universe.trajectory)
        if len(trajectory) < 2 or not knows_times(trajectory):
            return None
        first = float(trajectory[0].time)
        return float(trajectory[1].time) - first

    def cells_given_and_recorded(self) -> tuple[Cell, Cell] | None:
        """Return the cell that was given and that of the current frame; None if there are not both.

        Returns
        -------
        tuple of two Cell, or None
        """
        if self._fixed_cell is None or self.universe.trajectory.ts.dimensions is None:
            return None
        recorded = Cell(timestep_cell(self.universe.trajectory))
        return (Cell(self._fixed_cell), recorded) if recorded.pbc.all() else None

    def watch_volume(self) -> None:
        """From now on, refuse frames whose volume is another than that of the current frame."""
        self._known = self.frame()
        self._volume = self._known.volume

    def samples(self) -> Iterator[tuple[Frame, Array]]:
        """Give configurations and velocities of a few frames, evenly over the trajectory, which
        stays where it is.

        Yields
        ------
        frame : Frame
        velocities : ndarray, shape [n_atoms, 3]
            In Å/ps.

        Raises
        ------
        TrajectoryError
            As `frame` and `velocities`.
        """
        for trajectory in self._sampled():
            frame = self._frame(self._place(trajectory), int(trajectory.ts.frame))
            yield frame, self._velocities(trajectory)

    def __repr__(self) -> str:
        n_frames = self.universe.trajectory.n_frames
        return f"<UniverseFrames: {n_frames} frames of {len(self.numbers)} atoms>"

    def timeline(self, frames: Any = None) -> Timeline:
        """Return times, series and spacing of these frames (all, if not given), checked to be even.

        Files whose times continue each other make one series; others begin a new one.

        Parameters
        ----------
        frames : array_like of int, optional
            Counted from 0.

        Returns
        -------
        Timeline

        Raises
        ------
        TrajectoryError
            If times are not known or not even within a file: frames missing, repeated, or out of
            order.
        """
        if self._clock is None:
            self._clock = Clock(independent(self.universe.trajectory), self.given_spacing)
        every = np.arange(self._clock.n_frames)
        return self._clock.timeline(every if frames is None else np.asarray(frames, dtype=np.int64))

    def times(self, frames: Any = None) -> Array:
        """Return the times of these frames in ps, as `timeline` has checked them.

        Parameters
        ----------
        frames : array_like of int, optional
            Counted from 0; all by default.

        Returns
        -------
        ndarray, shape [n_frames]
            In ps.
        """
        return self.timeline(frames).times

    @property
    def spacing(self) -> float:
        """Time between neighbouring recorded frames in ps, checked for the whole trajectory."""
        return self.timeline().spacing

    def _check_trajectory(self) -> None:
        trajectory = self.universe.trajectory
        turning = ROTATING & {type(step).__name__ for step in trajectory.transformations}
        if turning:
            raise TrajectoryError(
                f"the transformation {', '.join(turning)} turns positions, but neither velocities "
                "nor the cell; leave it out, a spectrum does not need it"
            )
        if self._source == "finite-difference":
            if trajectory.n_frames < 3:
                raise TrajectoryError(
                    f"finite differences need at least 3 frames, there are {trajectory.n_frames}"
                )
            whole = self.timeline()
            if len(whole.starts) > 1:
                raise TrajectoryError(
                    "finite differences need one continuous trajectory, and these files do not "
                    f"continue each other (new series at frames {whole.starts[1:].tolist()}); "
                    "analyse them one by one and merge"
                )
            self._spacing = whole.spacing
            self.notes.append(
                f"velocities are central differences of positions {whole.spacing:g} ps apart"
            )
        frame = self.frame()
        both = self.cells_given_and_recorded()
        if both and not np.allclose(both[0].vectors, both[1].vectors, rtol=1e-5, atol=1e-4):
            given, recorded = (str(cell) for cell in both)
            self.notes.append(f"cell of {given} given, {recorded} recorded: the given one is used")
        if self._fixed_cell is None and not is_oriented(trajectory):
            self.notes.append(
                "the trajectory gives lengths and angles of the cell: a along x, b in xy assumed"
            )
        # a cell that vanishes in a later frame makes no gas of a liquid
        self._pbc = frame.pbc
        self._known = frame
        if self._source is not None:
            self._volume = frame.volume
        if not frame.pbc.all():
            axes = "".join(axis for axis, flag in zip("xyz", frame.pbc, strict=True) if not flag)
            self.notes.append(f"not periodic along {axes}")

    def _frame(self, place: Place, number: int) -> Frame:
        positions, cell = place
        if self._known is not None and cell is self._known.box:
            frame = self._known.moved_to(positions)
            object.__setattr__(frame, "number", number)
            return frame
        like = self.numbers, positions, cell.vectors, cell.pbc, self.charge
        return Frame(*like, atoms=self._atoms, number=number)

    def _place(self, trajectory: Any) -> Place:
        ts = trajectory.ts
        if not ts.has_positions:
            raise TrajectoryError(
                f"frame {ts.frame} has no positions; write positions and velocities equally often "
                "(GROMACS: nstxout = nstvout)"
            )
        return self._finite(ts.positions, "position", ts.frame), self._cell(trajectory)

    def _cell(self, trajectory: Any) -> Cell:
        vectors = timestep_cell(trajectory) if self._fixed_cell is None else self._fixed_cell
        known = self._known
        if known is not None and np.array_equal(vectors, known.cell):
            return known.box
        there: NDArray[np.bool_] = np.asarray(vectors.any(axis=1))
        cell = Cell(vectors, there if self._pbc is None else self._pbc)
        number = trajectory.ts.frame
        if self._found_pbc and self._pbc is not None and (there & ~cell.pbc).any():
            raise TrajectoryError(
                f"frame {number} has a cell vector along a direction where the first frame has "
                "none; say which directions are periodic (pbc=, --pbc)"
            )
        if (cell.pbc & ~there).any():
            raise TrajectoryError(
                f"frame {number} has no cell vector along a periodic direction (the cell is "
                f"{vectors.tolist()}); give the cell (cell=, --cell), or pbc='none' for molecules "
                "in vacuum"
            )
        volume = cell.volume
        if volume < DENSEST * len(self.numbers):
            raise TrajectoryError(
                f"frame {number}: the cell has a volume of {volume:.3g} Å³ for {len(self.numbers)} "
                "atoms; give the right one in Å (cell=, --cell)"
            )
        if self._volume is not None and not 1 / SAME_VOLUME < volume / self._volume < SAME_VOLUME:
            raise TrajectoryError(
                f"frame {number}: the cell has a volume of {volume:.4g} Å³, the first frame "
                f"{self._volume:.4g} Å³; leave this frame out (--frames), or give the cell "
                "(cell=, --cell)"
            )
        return cell

    def _finite(self, values: Any, what: str, number: int) -> Array:
        chosen: Array = np.asarray(values, dtype=float)[self.indices]
        if not np.isfinite(chosen).all():
            atom = int(self.indices[~np.isfinite(chosen).all(axis=1)][0])
            raise TrajectoryError(
                f"frame {number}: the {what} of atom {atom} (counted from 0) is not finite"
            )
        return chosen

    def _velocities(self, trajectory: Any) -> Array:
        """In Å/ps, with the factor of their unit as far as it is known."""
        if self._source == "finite-difference":
            return self._finite_difference(trajectory)
        ts = trajectory.ts
        if not ts.has_velocities:
            raise TrajectoryError(
                f"frame {ts.frame} has no velocities; write them with the trajectory (GROMACS "
                "nstvout, LAMMPS vx vy vz, CP2K &VELOCITIES), or choose "
                "velocities='finite-difference' (--velocities finite-difference) if frames are at "
                "most 2 fs apart"
            )
        return self._finite(ts.velocities, "velocity", ts.frame) * self._factor

    def _finite_difference(self, trajectory: Any) -> Array:
        """(r(t+Δt) − r(t−Δt))/2Δt, each brought to the image nearest to r(t)."""
        number, usable = int(trajectory.ts.frame), self.usable_frames
        if number not in usable:
            raise TrajectoryError(
                f"frame {number} has no neighbour on one side; finite differences can use frames "
                f"{usable.start} to {usable.stop - 1}"
            )
        middle = self._place(trajectory)
        before, after = (self._neighbour(number + shift) for shift in (-1, 1))
        self._visited = {number: middle, number + 1: after}
        return _moved(before, middle, after) / (2 * self._spacing)

    def _neighbour(self, number: int) -> Place:
        if number in self._visited:
            return self._visited[number]
        if self._beside is None:
            self._beside = independent(self.universe.trajectory)
        self._beside[number]
        return self._place(self._beside)

    def _find_factor(self, velocity_unit: Any) -> float:
        """What the velocities that MDAnalysis gives are multiplied with."""
        readers = readers_of(self.universe.trajectory)
        conversions = {velocity_conversion(reader) for reader in readers}
        formats = {name for reader in readers for name in format_names(reader)}
        if isinstance(velocity_unit, str) and velocity_unit.strip().lower() == "auto":
            if None not in conversions and not formats & UNDECLARED:
                return 1.0
            raise TrajectoryError(
                f"the trajectory ({', '.join(sorted(formats))}) does not say in which unit its "
                f"velocities are{self._hint(self._typical().temperature)}; say it (velocity_unit=, "
                "--velocity-unit)"
            )
        if len(conversions) > 1:
            raise TrajectoryError(
                "the files declare different units of velocity; analyse them one by one and merge"
            )
        # what has been multiplied with is taken back: the unit said is that of the numbers in the
        # file
        factor = units.velocity_factor(velocity_unit) / (conversions.pop() or 1.0)
        if abs(factor - 1) > 1e-6:
            self.notes.append(f"velocities taken to be in {velocity_unit}")
        return factor

    def _hint(self, temperature: float) -> str:
        """Which unit the numbers in the file are likely in, if they give `temperature` as they are
        taken now.
        """
        trajectory = self.universe.trajectory
        reader = getattr(trajectory, "active_reader", trajectory)
        unit = likely_unit(temperature / (self._factor * (velocity_conversion(reader) or 1.0)) ** 2)
        return f"; by their kinetic temperature they are likely in {unit!r}" if unit else ""

    def _sampled(self) -> Iterator[Any]:
        """A reader of its own at one of a few frames after the other."""
        trajectory, usable = independent(self.universe.trajectory), self.usable_frames
        for number in np.unique(np.linspace(usable.start, usable.stop - 1, SAMPLES).round()):
            trajectory[int(number)]
            yield trajectory

    def _typical(self) -> Usual:
        """Kinetic temperature and fastest atom of a few frames, with the factor known so far."""
        velocities = (self._velocities(trajectory) for trajectory in self._sampled())
        return Usual(velocities, self.masses, self.indices)

    def _check_temperature(self, temperature: float) -> None:
        if is_plausible(temperature):
            return
        found = f"the kinetic temperature is {temperature:.4g} K"
        switch = "check_temperature=False (--no-check-temperature) if it is meant"
        if temperature == 0:
            raise TrajectoryError(f"all velocities are zero: the trajectory holds none; {switch}")
        if self._source == "finite-difference":
            raise TrajectoryError(
                f"{found} with finite differences over {self._spacing:g} ps: are time_step and "
                f"cell right, frames close enough? {switch}"
            )
        raise TrajectoryError(
            f"{found}, so the unit of the velocities is wrong{self._hint(temperature)}; say it "
            f"(velocity_unit=, --velocity-unit), or {switch}"
        )


def _moved(before: Place, middle: Place, after: Place) -> Array:
    """Displacements [n_atoms, 3] in Å over two steps, in the images next to the middle one.

    The cells may differ.
    """
    positions, cell = middle
    fractions = cell.fractions(positions)
    first, last = (box.nearest_to(places, fractions) for places, box in (before, after))
    return last - first


def as_frame(atoms: Any) -> tuple[Frame, Indices | None]:
    """Return the frame of `atoms`, and the rows in it of a group's atoms (None: all, in order).

    Raises
    ------
    FrameError
        If `atoms` is no configuration, or a group holds massless sites, which no network sees.
    """
    if isinstance(atoms, Frame):
        return atoms, None
    if not hasattr(atoms, "universe"):
        raise FrameError(f"{atoms!r} is neither a Frame nor an AtomGroup or Universe")
    frames = UniverseFrames(atoms.universe, velocities=None)
    row_of = np.full(len(atoms.universe.atoms), -1)
    row_of[frames.indices] = np.arange(len(frames.indices))
    if not hasattr(atoms, "indices"):  # a Universe: all that the network sees
        return frames.frame(), None
    rows = row_of[atoms.indices]
    if (rows < 0).any():
        sites = atoms.indices[rows < 0][:5].tolist()
        raise FrameError(
            f"atoms {sites} (counted from 0) are massless sites without a tensor; select 'not mass "
            "0'"
        )
    return frames.frame(), rows
