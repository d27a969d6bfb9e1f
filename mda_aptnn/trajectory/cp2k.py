"""CP2K's separate files of positions, velocities and cells as one trajectory of MDAnalysis."""

from __future__ import annotations

import os
import re
import warnings
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from MDAnalysis.coordinates.base import ReaderBase
from MDAnalysis.lib.mdamath import triclinic_box
from MDAnalysis.lib.util import anyopen, store_init_arguments
from MDAnalysis.topology.XYZParser import XYZParser

from mda_aptnn import units
from mda_aptnn.errors import FileFormatError
from mda_aptnn.frame import Array, cell_matrix
from mda_aptnn.trajectory.xyz_frames import (
    COMMENT,
    foreign,
    largest_content,
    open_frames,
    open_unpacked,
)

#: Bytes of the line of an atom, "H 0 0 0".
SHORTEST_LINE = 8
#: ``NAME-pos-1.xyz``, compressed or not.
NAME = re.compile(r"(?P<project>.+)-pos-(?P<run>\d+)\.xyz(?:\.gz|\.bz2)?")


class CP2KParser(XYZParser):
    """Names and elements from a position file: what ``mda.Universe(..., format="CP2K")`` takes its
    atoms from.
    """

    format = "CP2K"

    def parse(self, **kwargs: Any) -> Any:
        """Read the first frame, after a look at whether there can be one.

        MDAnalysis' parser reads it line by line, and would fill the memory with what a damaged file
        claims.
        """
        path = self.filename
        try:
            head = _head(path)
        except (EOFError, OSError, zlib.error) as error:
            raise FileFormatError(f"{path} cannot be read: {error}") from error
        count = head.split(b"\n")[0].strip()
        if not count.isdigit() or COMMENT.search(head) is None:
            raise FileFormatError(foreign(path))
        if int(count) * SHORTEST_LINE > largest_content(Path(path)):
            raise FileFormatError(
                f"{path} claims {int(count)} atoms, which it is too small to hold"
            )
        return super().parse(**kwargs)


def _head(path: str | os.PathLike[str]) -> bytes:
    """The first two lines, if they are no longer than such lines are."""
    with anyopen(os.fspath(path), "rb") as file:
        return bytes(file.readline(1000) + file.readline(1000))


class CP2KReader(ReaderBase):
    """Positions, velocities and cells that CP2K writes into files of their own.

    ``mda.Universe("water-pos-1.xyz", format="CP2K")`` finds ``water-vel-1.xyz`` and
    ``water-1.cell`` beside it (each also as ``.gz`` or ``.bz2``). The frames are those whose step
    is in all files. Positions and velocities are converted to Å and Å/ps, times, from the comment
    lines, to ps; ``ts.data["cell"]`` holds the cell vectors [3, 3] in Å in the orientation of the
    positions, ``ts.data["step"]`` the step.

    Parameters
    ----------
    filename : path
        The position file.
    velocities : path, optional
        The velocity file, if its name is another.
    cell : path, str or array_like, optional
        A ``.cell`` file of another name; or the cell itself, if it is fixed, as
        `mda_aptnn.frame.cell_matrix` takes it: ``"12.42 12.42 12.42"``.
    length_unit : str
        Of the position file (``&TRAJECTORY`` ``UNIT``).
    velocity_unit : str
        Of the velocity file (``&VELOCITIES`` ``UNIT``).

    Attributes
    ----------
    repairs : list of str
        What was left out: incomplete frames, frames written again, steps missing in one of the
        files. Each is also warned of.

    Raises
    ------
    FileFormatError
        If the files do not go together: no common steps, another number or order of atoms, other
        times.
    """

    format = "CP2K"
    # as the frames leave: MDAnalysis knows no atomic units of velocity, so this reader converts by
    # itself
    units: ClassVar = {"time": "ps", "length": "Angstrom", "velocity": "Angstrom/ps"}

    @store_init_arguments
    def __init__(
        self,
        filename: str | os.PathLike[str],
        velocities: str | os.PathLike[str] | None = None,
        cell: Any = None,
        length_unit: str = "angstrom",
        velocity_unit: str = "bohr/atomic_unit_of_time",
        **kwargs: Any,
    ) -> None:
        super().__init__(filename, **kwargs)
        self._length_factor = units.factor(length_unit, units.LENGTH)
        #: Å/ps per number in the velocity file.
        self.velocity_factor = units.velocity_factor(velocity_unit)
        self._velocity_path = (
            self._sibling("{project}-vel-{run}.xyz") if velocities is None else Path(velocities)
        )
        cell_path = self._sibling("{project}-{run}.cell") if cell is None else _existing(cell)
        self._fixed_cell = cell_matrix(cell) if cell is not None and cell_path is None else None
        self._open()
        self._match(None if cell_path is None else read_cells(cell_path))
        for repair in self.repairs:
            warnings.warn(repair, stacklevel=2)
        self.ts = self._Timestep(
            self.n_atoms, reader=self, velocities=self._velocities is not None, **self._ts_kwargs
        )
        self._read_frame(0)

    def _sibling(self, name: str) -> Path | None:
        """The file of that name beside the position file, if it is there."""
        path = Path(self.filename)
        match = NAME.fullmatch(path.name)
        return match and _existing(path.with_name(name.format(**match.groupdict())))

    def _open(self) -> None:
        self._positions: Any = open_frames(self.filename)
        self._velocities = None if self._velocity_path is None else open_frames(self._velocity_path)

    def _match(self, cells: dict[int, Array] | None) -> None:
        """Find the steps that all files have, and where each file has them."""
        positions, velocities = self._positions, self._velocities
        self.n_atoms = positions.n_atoms
        self.repairs: list[str] = list(positions.repairs)
        steps = positions.steps
        if velocities is not None:
            self.repairs += velocities.repairs
            if velocities.n_atoms != self.n_atoms:
                raise FileFormatError(
                    f"{self._velocity_path} has {velocities.n_atoms} atoms, {self.filename} "
                    f"{self.n_atoms}"
                )
            steps = np.intersect1d(steps, velocities.steps)
        if cells is not None:
            first, *others = cells.values()
            if all(np.array_equal(first, other) for other in others):
                self._fixed_cell, cells = first, None
            else:
                steps = np.intersect1d(steps, np.fromiter(cells, dtype=np.int64))
        if len(steps) == 0:
            raise FileFormatError(
                f"{self.filename}: no step is in the position, velocity and cell files alike"
            )
        self.steps = steps
        self._cells = None if cells is None else np.array([cells[int(step)] for step in steps])
        self._places = np.searchsorted(positions.steps, steps)
        self.times = positions.times[self._places] / 1000
        lost = {Path(self.filename).name: len(positions) - len(steps)}
        if velocities is not None:
            self._velocity_places = np.searchsorted(velocities.steps, steps)
            lost[str(self._velocity_path)] = len(velocities) - len(steps)
            times = positions.times[self._places], velocities.times[self._velocity_places]
            same = np.isclose(*times, rtol=0, atol=0.0011, equal_nan=True)
            if not same.all():
                wrong = int(same.argmin())
                raise FileFormatError(
                    f"step {steps[wrong]} has the time {times[0][wrong]} fs in {self.filename} and "
                    f"{times[1][wrong]} fs in {self._velocity_path}: they are of different runs"
                )
        missing = [f"{count} frames of {name}" for name, count in lost.items() if count]
        if missing:
            self.repairs.append("not in all files, and left out: " + ", ".join(missing))

    @property
    def n_frames(self) -> int:
        """Number of frames whose step is in all files."""
        return len(self.steps)

    def _read_frame(self, frame: int) -> Any:
        ts = self.ts
        names, positions = self._positions.read(int(self._places[frame]))
        ts.positions = positions * self._length_factor
        if self._velocities is not None:
            others, velocities = self._velocities.read(int(self._velocity_places[frame]))
            if others != names:
                atom = next(k for k, (a, b) in enumerate(zip(names, others, strict=True)) if a != b)
                raise FileFormatError(
                    f"{self._velocity_path} has another order of atoms than {self.filename}: atom "
                    f"{atom} (counted from 0) of step {self.steps[frame]} is "
                    f"{others[atom].decode()} and {names[atom].decode()}"
                )
            ts.velocities = velocities * self.velocity_factor
        cell = self._fixed_cell if self._cells is None else self._cells[frame]
        if cell is not None:
            ts.dimensions = triclinic_box(*cell)
            ts.data["cell"] = cell
        ts.data["step"] = int(self.steps[frame])
        if np.isfinite(self.times[frame]):
            ts.time = float(self.times[frame])
        ts.frame = frame
        return ts

    def _read_next_timestep(self, ts: Any = None) -> Any:
        if self.ts.frame + 1 >= self.n_frames:
            raise EOFError
        return self._read_frame(self.ts.frame + 1)

    def _reopen(self) -> None:
        self.ts.frame = -1

    def _get_dt(self) -> float:
        if self.n_frames < 2 or not np.isfinite(self.times[:2]).all():
            # how a reader says to its Timestep that it does not know
            raise AttributeError("no times")
        return float(self.times[1] - self.times[0])

    def close(self) -> None:
        """Let go of the files."""
        self._positions = self._velocities = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_positions": None, "_velocities": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    @staticmethod
    def parse_n_atoms(filename: str | os.PathLike[str], **kwargs: Any) -> int:
        """Return the number of atoms in the position file."""
        return open_frames(filename).n_atoms

    @staticmethod
    def _format_hint(thing: Any) -> bool:
        """Whether the name and the first lines are those of a position file of CP2K."""
        if not isinstance(thing, str | os.PathLike) or not NAME.fullmatch(Path(thing).name):
            return False
        try:
            return COMMENT.search(_head(thing)) is not None
        except OSError:
            return False


def _existing(path: Any) -> Path | None:
    """`path`, or its compressed form, if it is the name of a file that is there."""
    if not isinstance(path, str | os.PathLike):
        return None
    return next(
        (p for end in ("", ".gz", ".bz2") if (p := Path(f"{os.fspath(path)}{end}")).is_file()), None
    )


def read_cells(path: str | os.PathLike[str]) -> dict[int, Array]:
    """Read a ``.cell`` file: step, time, nine components row by row in Å, volume.

    Returns
    -------
    dict of int to ndarray, shape [3, 3]
        Cell vectors by step; where a step is repeated, the later.

    Raises
    ------
    FileFormatError
        If a line other than the last has other columns.
    """
    cells: dict[int, Array] = {}
    with open_unpacked(Path(path)) as file:
        text = file.read().decode(errors="replace")
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    for number, line in enumerate(lines):
        try:
            fields = line.split()
            if len(fields) != 12:
                raise ValueError("expected 12 columns")
            cells[int(fields[0])] = np.array(fields[2:11], dtype=float).reshape(3, 3)
        except ValueError as error:
            if number == len(lines) - 1 and cells:
                break
            raise FileFormatError(
                f"{path} is not a cell file of CP2K: {line.strip()[:60]!r}: {error}"
            ) from error
    if not cells:
        raise FileFormatError(f"{path} holds no cell")
    return cells
