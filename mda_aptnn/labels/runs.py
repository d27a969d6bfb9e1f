"""One CP2K run of a snapshot, what all runs of a snapshot give, and what every route reads from
their outputs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import LabelError
from mda_aptnn.frame import Cell, Frame
from mda_aptnn.labels.cp2k.output import RunOutput

AXES = ("x", "y", "z")
#: CP2K's response theory, and what is asked of it where the template does not say.
LINRES = "FORCE_EVAL/PROPERTIES/LINRES"
LINRES_SETTINGS = ["PRECONDITIONER FULL_ALL", "EPS 1e-8", "MAX_ITER 200"]


@dataclasses.dataclass(frozen=True)
class Run:
    """One CP2K run of a snapshot.

    Attributes
    ----------
    name : str
        Unique within the task; the first run of every task is "zero", unperturbed, and the others
        start from its wavefunction.
    field : tuple of 3 float
        Electric field in atomic units; any vector.
    atom : int
        Which atom is displaced (counted from 0), -1 for none.
    displacement : tuple of 3 float
        In Å.
    """

    name: str
    field: tuple[float, float, float] = (0.0, 0.0, 0.0)
    atom: int = -1
    displacement: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def geometry(self, frame: Frame) -> Frame:
        """Return the frame that this run sees."""
        if self.atom < 0:
            return frame
        positions = frame.positions.copy()
        positions[self.atom] += self.displacement
        return dataclasses.replace(frame, positions=positions)


ZERO = Run("zero")


@dataclasses.dataclass(frozen=True)
class Labels:
    """What the runs of one task give.

    Attributes
    ----------
    tensors : dict of str to ndarray
        ``"apt"`` [n_atoms, 3, 3] in e, and of the Raman routes ``"pgt"`` [n_atoms, 3, 3, 3] in Å²;
        NaN for atoms that were not displaced.
    info : dict
        Energy (hartree), dipole (e·Å), polarizability (Å³), linearity (e, and Å² for polarizability
        gradients): as far as the route knows them.
    """

    tensors: dict[str, NDArray[np.float64]]
    info: dict[str, Any]


def dipole_difference(
    plus: RunOutput, minus: RunOutput, cell: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return M(plus) − M(minus) in e·Å; of Berry phases the smallest, modulo e times the rows of
    `cell` (Å).

    Raises
    ------
    LabelError
        If a run printed no dipole, or the two are of different kinds.
    """
    if plus.dipole is None or minus.dipole is None:
        raise LabelError("no dipole in the output")
    if plus.berry != minus.berry:
        raise LabelError("a Berry-phase dipole and another one cannot be subtracted")
    difference: NDArray[np.float64] = plus.dipole - minus.dipole
    if plus.berry:
        [difference] = Cell(cell).nearest(difference[None])
    return difference


def forces_of(output: RunOutput, frame: Frame) -> NDArray[np.float64]:
    """Return forces [n_atoms, 3] in hartree/bohr, LabelError if they are not of all atoms."""
    if output.forces is None or output.forces.shape != (len(frame), 3):
        raise LabelError("no forces of all atoms in the output")
    return output.forces


def basics(zero: RunOutput) -> dict[str, Any]:
    """Return energy (hartree) and dipole (e·Å) of the unperturbed run, as the info of a frame."""
    info: dict[str, Any] = {"energy": zero.energy}
    if zero.dipole is not None:
        info["dipole"] = zero.dipole.tolist()
    return info
