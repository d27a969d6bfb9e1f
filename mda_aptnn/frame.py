"""One configuration: atomic numbers, positions, charge; and the cell that it repeats in.

What a periodic cell means is written here and nowhere else: volume, heights, fractional
coordinates, wrapping, the nearest image.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import itertools
from typing import Any

import numpy as np
from MDAnalysis.lib.mdamath import triclinic_vectors
from numpy.typing import ArrayLike, NDArray

from mda_aptnn import units
from mda_aptnn.elements import SYMBOLS, symbols_of
from mda_aptnn.errors import FrameError, TrajectoryError
from mda_aptnn.text import short

#: Numbers, and places or atomic numbers: arrays of any shape, which docstrings tell.
Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Å, 0.1 mm: no simulation of atoms is larger, and float32 coordinates there are good to no more
#: than 0.06 Å.
LARGEST = 1e6
#: Å³ per atom: no matter is denser (hydrogen at 5 Mbar has 1.2 Å³, diamond 5.7 Å³).
DENSEST = 1.0
#: More images within 10 Å than those of one atom in a cube of that volume, 9,261, are those of a
#: cell that is flat.
MOST_IMAGES = 10_000


#: Steps from a cell to those that touch it.
_AROUND = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
#: The same within a plane, no step first.
_BESIDE = np.array(list(itertools.product((0, 1, -1), repeat=2)))


@dataclasses.dataclass(frozen=True)
class Cell:
    """Three vectors and which of them repeat: one cell, or one for each of many frames.

    Attributes
    ----------
    vectors : ndarray, shape [..., 3, 3]
        Rows are the cell vectors in Å.
    pbc : ndarray of bool, shape [..., 3]
        Which vectors repeat; those that are not zero, if not given.
    """

    vectors: Array
    pbc: NDArray[np.bool_] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        object.__setattr__(self, "vectors", np.asarray(self.vectors, dtype=np.float64))
        if self.pbc is None:
            object.__setattr__(self, "pbc", np.asarray(self.vectors.any(axis=-1)))

    def __str__(self) -> str:
        """Lengths of the vectors of one cell, "15.66 x 15.66 x 15.66 Å"."""
        return " x ".join(f"{edge:.5g}" for edge in np.linalg.norm(self.vectors, axis=1)) + " Å"

    @functools.cached_property
    def filled(self) -> Array:
        """The vectors [..., 3, 3] in Å, unit normals of the others where they do not repeat."""
        if self.pbc.all():
            return self.vectors
        if not self.pbc.any():
            return np.array(np.broadcast_to(np.eye(3), self.vectors.shape))
        # rows for singular values of zero span what is normal to the vectors that repeat
        basis = np.linalg.svd(self.vectors * self.pbc[..., None])[2]
        row = self.pbc.sum(axis=-1, keepdims=True) + np.cumsum(~self.pbc, axis=-1) - 1
        normals = np.take_along_axis(basis, np.maximum(row, 0)[..., None], axis=-2)
        return np.where(self.pbc[..., None], self.vectors, normals)

    @functools.cached_property
    def inverse(self) -> Array:
        """Inverse matrices of `filled`, [..., 3, 3] in 1/Å."""
        if not self.pbc.any():
            return self.filled
        return np.asarray(np.linalg.inv(self.filled), dtype=np.float64)

    @functools.cached_property
    def reduced(self) -> Cell:
        """The same lattice with its shortest vectors (Minkowski's reduction).

        Rounding of its fractions leaves the nearest image among the 27 around, however oblique the
        cell is.
        """
        rows = self.filled.copy()
        moved = True
        while moved:
            before = rows.copy()
            for k in range(3):
                others = np.delete(rows, k, axis=-2)
                for j in range(2):
                    other, row = others[..., j, :], rows[..., k, :]
                    turns = (row * other).sum(axis=-1) / (other**2).sum(axis=-1)
                    # rounding must not turn a half for ever
                    turns = np.where(np.abs(turns) > 0.5 + 1e-9, np.rint(turns), 0.0)
                    rows[..., k, :] = row - turns[..., None] * other
                trials = rows[..., k, None, :] + _BESIDE @ others
                squares = (trials**2).sum(axis=-1)
                squares[..., 1:] *= 1 + 1e-9
                best = squares.argmin(axis=-1)[..., None, None]
                rows[..., k, :] = np.take_along_axis(trials, best, axis=-2)[..., 0, :]
            moved = not np.array_equal(rows, before, equal_nan=True)
        return Cell(rows, self.pbc)

    @property
    def volume(self) -> Any:
        """Volume in Å³ [...], NaN unless all three directions repeat."""
        volume = np.abs(np.linalg.det(self.vectors))
        return np.where(self.pbc.all(axis=-1), volume, np.nan)[()]

    @property
    def heights(self) -> Array:
        """Distances [..., 3] in Å between opposite faces; 1 where a vector does not repeat."""
        return np.asarray(1 / np.linalg.norm(self.inverse, axis=-2))

    @property
    def half_height(self) -> Array:
        """Half of the smallest height [...] in Å, infinite where nothing repeats.

        Rounding of fractions finds the nearest image of all that is nearer than this.
        """
        return np.asarray(np.where(self.pbc, self.heights, np.inf).min(axis=-1) / 2)

    def fractions(self, positions: NDArray[np.floating[Any]]) -> Array:
        """Return positions [..., n, 3] in parts of `filled`: in Å along open directions."""
        return np.asarray(positions @ self.inverse)

    def wrapped(self, fractions: Array) -> Array:
        """Return fractions [..., n, 3] from 0 to 1 along the directions that repeat."""
        return np.asarray(fractions - np.where(self.pbc[..., None, :], np.floor(fractions), 0.0))

    def nearest_to(self, positions: Array, fractions: Array) -> Array:
        """Return positions [..., n, 3] in Å in the images next to `fractions`, of another time.

        In parts of the cell, so that its changes at constant pressure move nothing.
        """
        turns = np.rint(self.fractions(positions) - fractions) * self.pbc[..., None, :]
        return np.asarray(positions - turns @ self.filled)

    def nearest(self, vectors: Array) -> Array:
        """Return vectors between atoms [..., n, 3] in Å in their shortest periodic image.

        Where rounding of fractions need not find it, the images around are compared.
        """
        if not self.pbc.any():
            return vectors
        short = self.nearest_to(vectors, np.zeros(3))
        unsure = np.einsum("...a,...a->...", short, short) >= self.half_height[..., None] ** 2
        if unsure.any():
            short[unsure] = self.reduced.nearest_to(short, np.zeros(3))[unsure]
            steps = (_AROUND * self.pbc[..., None, :]) @ self.reduced.filled
            around = np.broadcast_to(steps[..., None, :, :], (*short.shape[:-1], *_AROUND.shape))
            images = short[unsure][:, None] + around[unsure]
            best = np.einsum("ija,ija->ij", images, images).argmin(axis=1)
            short[unsure] = images[np.arange(len(images)), best]
        return short


@dataclasses.dataclass(frozen=True)
class Frame:
    """A configuration of atoms, checked when it is made.

    Attributes
    ----------
    numbers : ndarray of int, shape [n_atoms]
        Atomic numbers.
    positions : ndarray, shape [n_atoms, 3]
        In Å; need not be wrapped into the cell.
    cell : ndarray, shape [3, 3]
        Rows are the cell vectors in Å; zero rows where a direction is not periodic and has none.
    pbc : ndarray of bool, shape [3]
        Which cell vectors repeat.
    charge : float
        Total charge in e.
    atoms : MDAnalysis.AtomGroup, optional
        The atoms of a Universe that these are, in this order, for what does not change along its
        trajectory: charges, types, bonds. Its positions are those of whatever was read last.
    number : int, optional
        Of the frame in its trajectory, counted from 0, for messages.

    Raises
    ------
    FrameError
        If shapes disagree, a number is not finite or larger than 1e6 Å, or the periodic cell
        vectors are flat or too short for the atoms.
    """

    numbers: Indices
    positions: Array
    cell: Array = dataclasses.field(default_factory=lambda: np.zeros((3, 3)))
    pbc: NDArray[np.bool_] = dataclasses.field(default_factory=lambda: np.zeros(3, bool))
    charge: float = 0.0
    atoms: Any = dataclasses.field(default=None, compare=False, repr=False)
    number: int | None = dataclasses.field(default=None, compare=False)

    __repr__ = short

    def __post_init__(self) -> None:
        for name, kind in (
            ("numbers", np.int64),
            ("positions", np.float64),
            ("cell", np.float64),
            ("pbc", np.bool_),
        ):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=kind, order="C"))
        n = len(self.numbers)
        if n == 0:
            raise FrameError("the frame has no atoms")
        if self.numbers.shape != (n,) or self.positions.shape != (n, 3):
            raise FrameError(
                f"{self.numbers.shape} atomic numbers do not go with positions "
                f"{self.positions.shape}"
            )
        if self.cell.shape != (3, 3) or self.pbc.shape != (3,):
            raise FrameError(
                f"the cell must be 3x3 and pbc of length 3, not {self.cell.shape} and "
                f"{self.pbc.shape}"
            )
        if self.numbers.min() < 1 or self.numbers.max() >= len(SYMBOLS):
            raise FrameError(
                f"atomic numbers from {self.numbers.min()} to {self.numbers.max()} are not all "
                "elements"
            )
        if not np.isfinite(self.cell).all():
            raise FrameError(f"the cell is not finite: {self.cell.tolist()}")
        if self.periodic_measure() < 1e-6:
            raise FrameError(
                f"the cell has no volume: {self.cell.tolist()} with pbc {self.pbc.tolist()}; give "
                "the cell"
            )
        self._check_positions()
        volume = self.volume
        if volume is not None and volume < DENSEST * n:
            raise FrameError(
                f"the cell of {volume:.3g} Å³ is too small for {n} atom{'s' * (n != 1)}; is it in "
                "Å? Give the right one"
            )
        # translations that may bring an atom within 10 Å of another
        steps = np.ceil(10.0 / self.box.heights[self.pbc]) if self.pbc.any() else np.zeros(1)
        if (images := float(np.prod(2 * steps + 1))) > MOST_IMAGES:
            raise FrameError(
                f"the cell is so short or so oblique that {images:.3g} images of it lie within 10 "
                f"Å: {self.cell.tolist()}; is it in Å? Give the right one"
            )

    def __len__(self) -> int:
        return len(self.numbers)

    def moved_to(self, positions: Array) -> Frame:
        """Return the same atoms in the same cell at other positions.

        Parameters
        ----------
        positions : ndarray, shape [n_atoms, 3]
            In Å.

        Returns
        -------
        Frame

        Raises
        ------
        FrameError
            If they are not finite, or of another number of atoms.
        """
        other = copy.copy(self)
        object.__setattr__(other, "positions", np.array(positions, dtype=np.float64, order="C"))
        if other.positions.shape != self.positions.shape:
            raise FrameError(f"positions {other.positions.shape} of {len(self)} atoms")
        other._check_positions()
        return other

    def _check_positions(self) -> None:
        """Also the cell's size."""
        if not np.isfinite(self.positions).all():
            atom = int(np.flatnonzero(~np.isfinite(self.positions).all(axis=1))[0])
            raise FrameError(
                f"the position of atom {atom} (counted from 0) is not finite: "
                f"{self.positions[atom]}"
            )
        largest = max(np.abs(self.positions).max(), np.abs(self.cell).max())
        if largest > LARGEST:
            raise FrameError(
                f"the frame is {largest:.3g} Å large, and no simulation of atoms is larger than "
                f"{LARGEST:g} Å; are positions and cell in Å?"
            )

    @property
    def symbols(self) -> list[str]:
        """Element symbol of each atom."""
        return symbols_of(self.numbers)

    @functools.cached_property
    def box(self) -> Cell:
        """The cell with what repeats of it."""
        return Cell(self.cell, self.pbc)

    @property
    def volume(self) -> float | None:
        """Volume in Å³ if all three directions are periodic, else None."""
        return float(self.box.volume) if self.pbc.all() else None

    def periodic_measure(self) -> float:
        """Relative length, area or volume spanned by the periodic vectors: 1 if orthogonal, 0 if
        flat or zero.

        Returns
        -------
        float
        """
        lengths = np.linalg.norm(self.cell[self.pbc], axis=1)
        if (lengths < 1e-3).any():
            return 0.0
        directions = self.cell[self.pbc] / lengths[:, None]
        return float(np.sqrt(max(0.0, np.linalg.det(directions @ directions.T))))

    def content(self) -> dict[str, Any]:
        """Return the fields that make the configuration, without where it is from.

        Returns
        -------
        dict
            numbers, positions, cell, pbc and charge.
        """
        names = "numbers", "positions", "cell", "pbc", "charge"
        return {name: getattr(self, name) for name in names}

    def fingerprint(self) -> str:
        """Return a hash of the content, the same for the same configuration to 1e-3 Å in the same
        order of atoms.

        Returns
        -------
        str
            16 hexadecimal digits.
        """
        digest = hashlib.sha256(self.numbers.astype("<i8").tobytes())
        for values in (self.positions, self.cell):
            digest.update(np.round(values * 1000).astype("<i8").tobytes())
        digest.update(self.pbc.tobytes())
        return digest.hexdigest()[:16]


def cell_matrix(cell: Any) -> Array:
    """Return a cell as three row vectors in Å.

    Parameters
    ----------
    cell : str, pint.Quantity or array_like
        Three lengths, or three lengths and three angles in degrees (``"15.66 15.66 15.66 90 90
        90"``, as MDAnalysis' `dimensions`), or nine numbers, or three row vectors. Lengths in Å.

    Raises
    ------
    FrameError
        If it is none of these, or flat.
    """
    if isinstance(cell, str):
        cell = cell.replace(",", " ").split()
    try:
        values: ArrayLike = units.magnitude(
            np.asarray(cell, dtype=float) if isinstance(cell, list) else cell, "angstrom", "cell"
        )
    except ValueError as error:
        raise FrameError(
            f"cell {cell!r}: give three lengths in Å and three angles in degrees"
        ) from error
    numbers = np.asarray(values, dtype=float)
    if numbers.shape == (3,):
        matrix = np.diag(numbers)
    elif numbers.shape == (6,):
        matrix = np.asarray(triclinic_vectors(numbers, dtype=np.float64), dtype=float)
    elif numbers.size == 9:
        matrix = numbers.reshape(3, 3)
    else:
        raise FrameError(f"cell {cell!r}: give three lengths in Å and three angles in degrees")
    if abs(np.linalg.det(matrix)) < 1e-6:
        raise FrameError(f"cell {cell!r} has no volume")
    return matrix


def periodic_directions(pbc: Any) -> NDArray[np.bool_]:
    """Return which cell vectors repeat.

    Parameters
    ----------
    pbc : bool, str or sequence of three bool
        ``True``, ``"xyz"``, ``"xy"``, ``"none"``, ``(True, True, False)``.

    Raises
    ------
    TrajectoryError
        If it is none of these.
    """
    if isinstance(pbc, str):
        axes = "" if pbc.strip().lower() == "none" else pbc.strip().lower()
        if pbc.strip() and set(axes) <= set("xyz"):
            return np.array([axis in axes for axis in "xyz"])
    else:
        values = np.asarray(pbc)
        if values.dtype == bool and values.shape in ((), (3,)):
            return np.broadcast_to(values, (3,)).copy()
    raise TrajectoryError(
        f"pbc {pbc!r}: give the periodic directions, like 'xyz', 'xy' or 'none', or three booleans"
    )
