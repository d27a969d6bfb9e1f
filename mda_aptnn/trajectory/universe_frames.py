"""A Universe as frames: atoms, cells, velocities in Å/ps and times, taken only where it is known
what they are.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from MDAnalysis.units import get_conversion_factor
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.cells import (
    active_reader,
    format_names,
    is_oriented,
    periodic_directions,
    timestep_cell,
)
from mda_aptnn.elements import find_atoms
from mda_aptnn.errors import TrajectoryError
from mda_aptnn.frame import DENSEST, Cell, Frame, cell_matrix
from mda_aptnn.trajectory.kinetics import (
    is_plausible,
    kinetic_temperature,
    likely_unit,
    velocity_factor,
)
from mda_aptnn.trajectory.times import Clock, Timeline, knows_times, read_clock

#: Readers that declare a velocity unit which the file does not hold: LAMMPS files are in the user's
#: unit style.
UNDECLARED = frozenset({"DATA", "LAMMPSDUMP"})
#: Transformations of MDAnalysis that turn positions, and neither velocities nor cell.
ROTATING = frozenset({"fit_rot_trans", "rotateby"})
#: How many frames the kinetic temperature and constraints are judged by.
SAMPLES = 5
#: The volume of a sample changes by less than this factor: 5 standard deviations of 8 water
#: molecules at constant pressure, which have 9 %.
SAME_VOLUME = 1.5
#: m v² of an atom in units of k_B T that Maxwell's distribution never gives: exp(−100) for each
#: component.
FASTEST_ATOM = 200.0
#: Kinetic temperature of a frame over the usual one, where fluctuations are small: that of
#: annealing runs is below.
HOTTEST = 3.0
#: Å that an atom may move from frame to frame besides what its velocity explains.
SLACK = 0.5


@dataclasses.dataclass(frozen=True)
class Moment:
    """A frame with what surrounds it in time.

    Attributes
    ----------
    number : int
        Of the frame in the trajectory.
    frame : Frame
    velocities : ndarray, shape [n_atoms, 3], or None
        In Å/ps.
    moved : ndarray, shape [n_atoms, 3], or None
        From the frame before to the one after, in Å, in the nearest image.
    next_velocities : ndarray, shape [n_atoms, 3], or None
        In the frame after, in Å/ps.
    """

    number: int
    frame: Frame
    velocities: NDArray[np.float64] | None
    moved: NDArray[np.float64] | None = None
    next_velocities: NDArray[np.float64] | None = None


@dataclasses.dataclass(frozen=True)
class _Usual:
    """What a frame of the trajectory is held against, from a few of them."""

    temperature: float
    #: Largest m v² of an atom, in units of k_B T.
    fastest: float


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
        trajectory = self.universe.trajectory
        repairs = [
            note
            for reader in getattr(trajectory, "readers", [trajectory])
            for note in getattr(reader, "repairs", [])
        ]
        self.notes = [*found.notes, *repairs]
        self.charge = float(units.magnitude(charge, units.CHARGE, "charge"))
        self._source = velocities
        self._factor = 1.0
        self._fixed_cell = None if cell is None else cell_matrix(cell)
        self._pbc: Any = None if pbc is None else periodic_directions(pbc)
        self._found_pbc = pbc is None
        self._time_step = (
            None if time_step is None else units.magnitude(time_step, units.TIME, "time_step")
        )
        if self._time_step is not None and not self._time_step > 0:
            raise TrajectoryError(
                f"time_step {time_step!r}: the spacing of the recorded frames must be positive"
            )
        self._clock: Clock | None = None
        self._spacing = np.nan
        self._beside: Any = None
        self._visited: dict[
            int, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]
        ] = {}
        self._volume: float | None = None
        self._usual: _Usual | None = None
        self._last: tuple[int, NDArray[np.float64]] | None = None
        self._check_trajectory()
        if velocities == "trajectory":
            self._recorded_velocities(self.universe.trajectory)
            self._factor = self._find_factor(velocity_unit)
        if velocities is not None and check_temperature:
            self._check_temperature()

    @property
    def settings(self) -> dict[str, Any]:
        """What was chosen for reading, in values that JSON can hold: equal settings read equal
        frames.
        """
        return {
            "velocities": self._source,
            "velocity_factor": self._factor,
            "time_step": self._time_step,
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
        positions = self._positions(trajectory)
        cell, pbc = self._cell(trajectory)
        return Frame(self.numbers, positions, cell, pbc, self.charge)

    def velocities(self) -> NDArray[np.float64]:
        """Return the velocities at the current timestep, [n_atoms, 3] in Å/ps.

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
        if self._source == "finite-difference":
            return self._finite_difference(self.universe.trajectory)
        return self._recorded_velocities(self.universe.trajectory) * self._factor

    def read(self) -> tuple[Frame, NDArray[np.float64]]:
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
            self._refuse_jump(number, frame, velocities, self._usual)
        return frame, velocities

    def _refuse_jump(
        self, number: int, frame: Frame, velocities: NDArray[np.float64], usual: _Usual
    ) -> None:
        energies = self.masses * (velocities**2).sum(axis=1) / (units.BOLTZMANN * usual.temperature)
        fluctuation = np.sqrt(2 / max(3 * len(frame) - 3, 3))
        hot = energies.mean() / 3 > HOTTEST * (1 + 10 * fluctuation)
        if hot or energies.max() > max(FASTEST_ATOM, 10 * usual.fastest):
            atom = int(energies.argmax())
            speed = float(np.sqrt((velocities[atom] ** 2).sum()))
            temperature = float(energies.mean() / 3 * usual.temperature)
            raise TrajectoryError(
                f"frame {number}: atom {self.indices[atom]} (counted from 0) has {speed:.4g} Å/ps, "
                f"and all atoms "
                f"{temperature:.4g} K, elsewhere {usual.temperature:.4g} K; leave this frame out "
                f"(--start, --stop), "
                "or check_temperature=False (--no-check-temperature) if it is meant"
            )
        fractions = frame.box.fractions(frame.positions)
        last, self._last = self._last, (number, fractions)
        if self._clock is None or last is None or number <= last[0]:
            return
        between = self._clock.timeline(np.array([last[0], number]))
        if len(between.starts) > 1:
            return
        steps = frame.box.nearest_to(frame.positions, last[1]) - last[1] @ frame.box.filled
        moved = np.linalg.norm(steps, axis=1)
        thermal = np.sqrt(FASTEST_ATOM * units.BOLTZMANN * usual.temperature / self.masses)
        too_far = moved - thermal * between.spacing - SLACK
        if too_far.max() > 0:
            atom = int(too_far.argmax())
            raise TrajectoryError(
                f"frame {number}: atom {self.indices[atom]} (counted from 0) has moved by "
                f"{moved[atom]:.3g} Å since "
                f"frame {last[0]}, {1000 * between.spacing:.4g} fs earlier: are frames missing or "
                f"in "
                "another order, or another run's? Give an even part (--start, --stop), or "
                "check_temperature=False "
                "(--no-check-temperature) if it is meant"
            )

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
        trajectory = _independent(self.universe.trajectory)
        recorded = self._source == "trajectory"
        for number in map(int, numbers):
            before = None
            if stride is not None and self._source is not None:
                trajectory[number - stride]
                before = self._positions(trajectory), *self._cell(trajectory)
            trajectory[number]
            middle = self._positions(trajectory), *self._cell(trajectory)
            velocities = self._recorded_velocities(trajectory) * self._factor if recorded else None
            found = Moment(number, Frame(self.numbers, *middle, self.charge), velocities)
            if before is not None and stride is not None:
                trajectory[number + stride]
                after = self._positions(trajectory), *self._cell(trajectory)
                found = dataclasses.replace(
                    found,
                    moved=_nearest_image(after, middle) - _nearest_image(before, middle),
                    next_velocities=self._recorded_velocities(trajectory) * self._factor
                    if recorded
                    else None,
                )
            yield found

    @property
    def recorded(self) -> bool:
        """Whether velocities are those of the trajectory, and no finite differences."""
        return self._source == "trajectory"

    @property
    def declared_spacing(self) -> float | None:
        """Time between recorded frames in ps by the file itself, from its first two frames; None if
        it has none.
        """
        trajectory = _independent(self.universe.trajectory)
        if len(trajectory) < 2 or not knows_times(
            trajectory.ts, format_names(active_reader(trajectory))
        ):
            return None
        first = float(trajectory[0].time)
        return float(trajectory[1].time) - first

    @property
    def given_spacing(self) -> float | None:
        """Time between recorded frames in ps that was given instead of the recorded times."""
        return self._time_step

    def cells_given_and_recorded(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return the cell that was given and that of the current frame; None if there are not both.

        Returns
        -------
        tuple of two ndarray of shape [3, 3], or None
            In Å.
        """
        if self._fixed_cell is None or self.universe.trajectory.ts.dimensions is None:
            return None
        recorded = timestep_cell(self.universe.trajectory)
        return (self._fixed_cell, recorded) if recorded.any(axis=1).all() else None

    def watch_volume(self) -> None:
        """From now on, refuse frames whose volume is another than that of the current frame."""
        self._volume = self.frame().volume

    def samples(self) -> Iterator[tuple[Frame, NDArray[np.float64]]]:
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
        for trajectory, velocities in self._sampled():
            yield (
                Frame(
                    self.numbers, self._positions(trajectory), *self._cell(trajectory), self.charge
                ),
                velocities,
            )

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
            self._clock = read_clock(_independent(self.universe.trajectory), self._time_step)
        chosen = (
            np.arange(self._clock.n_frames)
            if frames is None
            else np.asarray(frames, dtype=np.int64)
        )
        return self._clock.timeline(chosen)

    def times(self, frames: Any = None) -> NDArray[np.float64]:
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

    def series_starts(self, frames: Any = None) -> NDArray[np.int64]:
        """Return where among these frames a series begins that does not continue the one before.

        Parameters
        ----------
        frames : array_like of int, optional
            Counted from 0; all by default.

        Returns
        -------
        ndarray of int, shape [n_series]
        """
        return self.timeline(frames).starts

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
                f"nor the cell; "
                "leave it out, a spectrum does not need it"
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
                    "continue each other "
                    f"(new series at frames {whole.starts[1:].tolist()}); analyse them one by one "
                    f"and merge"
                )
            self._spacing = whole.spacing
            self.notes.append(
                f"velocities are central differences of positions {whole.spacing:g} ps apart"
            )
        frame = self.frame()
        both = self.cells_given_and_recorded()
        if both is not None and not np.allclose(*both, rtol=1e-5, atol=1e-4):
            lengths = (
                " x ".join(f"{edge:.5g}" for edge in np.linalg.norm(cell, axis=1)) for cell in both
            )
            self.notes.append(
                "cell of {} Å given, {} Å recorded: the given one is used".format(*lengths)
            )
        if self._fixed_cell is None and not is_oriented(trajectory):
            self.notes.append(
                "the trajectory gives lengths and angles of the cell: a along x, b in xy assumed"
            )
        # a cell that vanishes in a later frame makes no gas of a liquid
        self._pbc = frame.pbc
        if self._source is not None:
            self._volume = frame.volume
        if not frame.pbc.all():
            open_axes = "".join(
                axis for axis, flag in zip("xyz", frame.pbc, strict=True) if not flag
            )
            self.notes.append(f"not periodic along {open_axes}")

    def _positions(self, trajectory: Any) -> NDArray[np.float64]:
        ts = trajectory.ts
        if not ts.has_positions:
            raise TrajectoryError(
                f"frame {ts.frame} has no positions; write positions and velocities equally often "
                "(GROMACS: nstxout = nstvout)"
            )
        return self._finite(ts.positions, "position", ts.frame)

    def _cell(self, trajectory: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        cell = timestep_cell(trajectory) if self._fixed_cell is None else self._fixed_cell
        there: NDArray[np.bool_] = np.asarray(cell.any(axis=1))
        pbc = there if self._pbc is None else self._pbc
        number = trajectory.ts.frame
        if self._found_pbc and self._pbc is not None and (there & ~pbc).any():
            raise TrajectoryError(
                f"frame {number} has a cell vector along a direction where the first frame has "
                f"none; "
                "say which directions are periodic (pbc=, --pbc)"
            )
        if (pbc & ~there).any():
            raise TrajectoryError(
                f"frame {number} has no cell vector along a periodic direction (the cell is "
                f"{cell.tolist()}); "
                "give the cell (cell=, --cell), or pbc='none' for molecules in vacuum"
            )
        volume = Cell(cell, pbc).volume
        if volume < DENSEST * len(self.numbers):
            raise TrajectoryError(
                f"frame {number}: the cell has a volume of {volume:.3g} Å³ for {len(self.numbers)} "
                f"atoms; "
                "give the right one in Å (cell=, --cell)"
            )
        if self._volume is not None and not 1 / SAME_VOLUME < volume / self._volume < SAME_VOLUME:
            raise TrajectoryError(
                f"frame {number}: the cell has a volume of {volume:.4g} Å³, the first frame "
                f"{self._volume:.4g} Å³; "
                "leave this frame out (--start, --stop), or give the cell (cell=, --cell)"
            )
        return cell, pbc

    def _recorded_velocities(self, trajectory: Any) -> NDArray[np.float64]:
        """As MDAnalysis gives them, before the unit is applied."""
        ts = trajectory.ts
        if not ts.has_velocities:
            raise TrajectoryError(
                f"frame {ts.frame} has no velocities; write them with the trajectory (GROMACS "
                f"nstvout, LAMMPS vx vy "
                "vz, CP2K &VELOCITIES), or choose velocities='finite-difference' (--velocities "
                "finite-difference) "
                "if frames are at most 2 fs apart"
            )
        return self._finite(ts.velocities, "velocity", ts.frame)

    def _finite(self, values: Any, what: str, number: int) -> NDArray[np.float64]:
        chosen: NDArray[np.float64] = np.asarray(values, dtype=float)[self.indices]
        if not np.isfinite(chosen).all():
            atom = int(self.indices[~np.isfinite(chosen).all(axis=1)][0])
            raise TrajectoryError(
                f"frame {number}: the {what} of atom {atom} (counted from 0) is not finite"
            )
        return chosen

    def _finite_difference(self, trajectory: Any) -> NDArray[np.float64]:
        """(r(t+Δt) − r(t−Δt))/2Δt, each brought to the image nearest to r(t)."""
        number = int(trajectory.ts.frame)
        if number not in self.usable_frames:
            usable = self.usable_frames
            raise TrajectoryError(
                f"frame {number} has no neighbour on one side; finite differences can use frames "
                f"{usable.start} to "
                f"{usable.stop - 1}"
            )
        middle = (self._positions(trajectory), *self._cell(trajectory))
        before, after = (self._beside_frame(number + shift) for shift in (-1, 1))
        self._visited = {number: middle, number + 1: after}
        moved: NDArray[np.float64] = _nearest_image(after, middle) - _nearest_image(before, middle)
        return moved / (2 * self._spacing)

    def _beside_frame(
        self, number: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        if number in self._visited:
            return self._visited[number]
        if self._beside is None:
            self._beside = _independent(self.universe.trajectory)
        self._beside[number]
        return (self._positions(self._beside), *self._cell(self._beside))

    def _find_factor(self, velocity_unit: Any) -> float:
        """What the velocities that MDAnalysis gives are multiplied with."""
        trajectory = self.universe.trajectory
        readers = getattr(trajectory, "readers", [trajectory])
        conversions = {_conversion(reader) for reader in readers}
        formats = {name for reader in readers for name in format_names(reader)}
        if isinstance(velocity_unit, str) and velocity_unit.strip().lower() == "auto":
            if None not in conversions and not formats & UNDECLARED:
                return 1.0
            raise TrajectoryError(
                f"the trajectory ({', '.join(sorted(formats))}) does not say in which unit its "
                f"velocities are"
                f"{self._hint(self._typical().temperature)}; say it (velocity_unit=, "
                f"--velocity-unit)"
            )
        if len(conversions) > 1:
            raise TrajectoryError(
                "the files declare different units of velocity; analyse them one by one and merge"
            )
        # what has been multiplied with is taken back: the unit said is that of the numbers in the
        # file
        factor = velocity_factor(velocity_unit) / (conversions.pop() or 1.0)
        if abs(factor - 1) > 1e-6:
            self.notes.append(f"velocities taken to be in {velocity_unit}")
        return factor

    def _hint(self, temperature: float) -> str:
        """Which unit the numbers in the file are likely in, if they give `temperature` as they are
        taken now.
        """
        conversion = _conversion(active_reader(self.universe.trajectory)) or 1.0
        unit = likely_unit(temperature / (self._factor * conversion) ** 2)
        return f"; by their kinetic temperature they are likely in {unit!r}" if unit else ""

    def _sampled(self) -> Iterator[tuple[Any, NDArray[np.float64]]]:
        """A reader at one of a few frames after the other, and the velocities there with the factor
        known so far.
        """
        trajectory = _independent(self.universe.trajectory)
        usable = self.usable_frames
        for number in np.unique(
            np.linspace(usable.start, usable.stop - 1, SAMPLES).round().astype(int)
        ):
            trajectory[int(number)]
            if self._source == "finite-difference":
                yield trajectory, self._finite_difference(trajectory)
            else:
                yield trajectory, self._recorded_velocities(trajectory) * self._factor

    def _typical(self) -> _Usual:
        """Kinetic temperature and fastest atom: medians over a few frames, with the factor known so
        far.
        """
        temperatures, fastest = [], []
        for _, velocities in self._sampled():
            temperatures.append(kinetic_temperature(velocities, self.masses))
            fastest.append((self.masses * (velocities**2).sum(axis=1)).max() / units.BOLTZMANN)
        temperature = float(np.median(temperatures))
        return _Usual(
            temperature, float(np.median(fastest)) / temperature if temperature else np.inf
        )

    def _check_temperature(self) -> None:
        usual = self._typical()
        temperature = usual.temperature
        if is_plausible(temperature):
            self._usual = usual
            return
        found = f"the kinetic temperature is {temperature:.4g} K"
        switch = "check_temperature=False (--no-check-temperature) if it is meant"
        if temperature == 0:
            raise TrajectoryError(f"all velocities are zero: the trajectory holds none; {switch}")
        if self._source == "finite-difference":
            raise TrajectoryError(
                f"{found} with finite differences over {self._spacing:g} ps: are time_step and "
                f"cell right, "
                f"frames close enough? {switch}"
            )
        raise TrajectoryError(
            f"{found}, so the unit of the velocities is wrong{self._hint(temperature)}; say it "
            f"(velocity_unit=, "
            f"--velocity-unit), or {switch}"
        )


def source_files(universe: Any) -> list[Any]:
    """Return the names of the topology's and the trajectory's files, as far as they are files."""
    trajectory = universe.trajectory
    # of a chain of files it is an array
    names = [universe.filename, *getattr(trajectory, "filenames", [trajectory.filename])]
    return [name for name in names if name is not None]


def _independent(trajectory: Any) -> Any:
    """A reader of its own, so that the loop over the trajectory is not disturbed."""
    with warnings.catch_warnings():
        # a LAMMPS dump says so each time it is opened, and it is dealt with where times are needed
        warnings.filterwarnings("ignore", message="Reader has no dt information")
        return trajectory.copy()


def _conversion(reader: Any) -> float | None:
    """What a reader has multiplied the velocities in its file with to have Å/ps; None if it knows
    no unit.
    """
    own = getattr(reader, "velocity_factor", None)
    if own is not None:
        return float(own)
    unit = reader.units.get("velocity") if getattr(reader, "convert_units", False) else None
    return None if unit is None else float(get_conversion_factor("speed", unit, "Angstrom/ps"))


def _nearest_image(
    beside: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]],
    middle: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Positions of one frame in the images nearest to those of another, whose cell may differ,
    [n_atoms, 3].
    """
    positions, cell, pbc = beside
    others, other_cell, _ = middle
    return Cell(cell, pbc).nearest_to(positions, Cell(other_cell, pbc).fractions(others))
