"""One configuration: atomic numbers, positions, cell, which directions are periodic, charge."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
from MDAnalysis.lib.mdamath import triclinic_vectors
from numpy.typing import ArrayLike, NDArray

from mda_aptnn import units
from mda_aptnn.elements import SYMBOLS, symbols_of
from mda_aptnn.errors import FrameError

#: Å, 0.1 mm: no simulation of atoms is larger, and float32 coordinates there are good to no more
#: than 0.06 Å.
LARGEST = 1e6
#: Å³ per atom: no matter is denser (hydrogen at 5 Mbar has 1.2 Å³, diamond 5.7 Å³).
DENSEST = 1.0
#: More images within 10 Å than those of one atom in a cube of that volume, 9,261, are those of a
#: cell that is flat.
MOST_IMAGES = 10_000


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

    Raises
    ------
    FrameError
        If shapes disagree, a number is not finite or larger than 1e6 Å, or the periodic cell
        vectors are flat or too short for the atoms.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros((3, 3)))
    pbc: NDArray[np.bool_] = dataclasses.field(default_factory=lambda: np.zeros(3, bool))
    charge: float = 0.0

    def __post_init__(self) -> None:
        for name, kind in (
            ("numbers", np.int64),
            ("positions", np.float64),
            ("cell", np.float64),
            ("pbc", np.bool_),
        ):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=kind))
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
                f"elements"
            )
        if not np.isfinite(self.positions).all():
            atom = int(np.flatnonzero(~np.isfinite(self.positions).all(axis=1))[0])
            raise FrameError(
                f"the position of atom {atom} (counted from 0) is not finite: "
                f"{self.positions[atom]}"
            )
        if not np.isfinite(self.cell).all():
            raise FrameError(f"the cell is not finite: {self.cell.tolist()}")
        if self.periodic_measure() < 1e-6:
            raise FrameError(
                f"the cell has no volume: {self.cell.tolist()} with pbc {self.pbc.tolist()}; give "
                f"the cell"
            )
        largest = max(np.abs(self.positions).max(), np.abs(self.cell).max())
        if largest > LARGEST:
            raise FrameError(
                f"the frame is {largest:.3g} Å large, and no simulation of atoms is larger than "
                f"{LARGEST:g} Å; are "
                "positions and cell in Å?"
            )
        volume = self.volume
        if volume is not None and volume < DENSEST * n:
            raise FrameError(
                f"the cell of {volume:.3g} Å³ is too small for {n} atom{'s' * (n != 1)}; is it in "
                f"Å? Give the "
                "right one"
            )
        if self.pbc.any() and (images := self._images(10.0)) > MOST_IMAGES:
            raise FrameError(
                f"the cell is so short or so oblique that {images:.3g} images of it lie within 10 "
                f"Å: "
                f"{self.cell.tolist()}; is it in Å? Give the right one"
            )

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def symbols(self) -> list[str]:
        """Element symbol of each atom."""
        return symbols_of(self.numbers)

    @property
    def volume(self) -> float | None:
        """Volume in Å³ if all three directions are periodic, else None."""
        return float(abs(np.linalg.det(self.cell))) if self.pbc.all() else None

    def periodic_measure(self) -> float:
        """Relative length, area or volume spanned by the periodic vectors: 1 if orthogonal, 0 if
        flat or zero.

        Returns
        -------
        float
        """
        vectors = self.cell[self.pbc]
        lengths = np.linalg.norm(vectors, axis=1)
        if (lengths < 1e-3).any():
            return 0.0
        return float(
            np.sqrt(
                max(
                    0.0,
                    np.linalg.det((vectors / lengths[:, None]) @ (vectors / lengths[:, None]).T),
                )
            )
        )

    def _images(self, distance: float) -> float:
        """How many translations may bring an atom within a distance in Å of another."""
        heights = 1 / np.linalg.norm(
            np.linalg.inv(filled_cell(self.cell, self.pbc))[:, self.pbc], axis=0
        )
        return float(np.prod(2 * np.ceil(distance / heights) + 1))

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


def cell_matrix(cell: Any) -> NDArray[np.float64]:
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


def filled_cell(cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return a cell [3, 3] whose open directions are unit normals of the others, so that it can be
    inverted.

    Parameters
    ----------
    cell : ndarray, shape [3, 3]
        Rows are vectors, in Å.
    pbc : ndarray of bool, shape [3]
        Directions that repeat.
    """
    if pbc.all():
        return cell.copy()
    if not pbc.any():
        return np.eye(3)
    filled = cell.copy()
    # the null space of the periodic vectors: any orthonormal complement will do
    _, _, basis = np.linalg.svd(cell[pbc])
    filled[~pbc] = basis[pbc.sum() :]
    return filled
