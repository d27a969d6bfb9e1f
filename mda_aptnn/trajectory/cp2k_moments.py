"""Dipoles that CP2K prints along a trajectory (&DFT/&PRINT/&MOMENTS with a FILENAME)."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from mda_aptnn import units
from mda_aptnn.errors import FileFormatError
from mda_aptnn.frame import Array

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?"
_THREE = rf"\s*({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})\s*"
_DIPOLE = re.compile(
    rf"Dipole moment \[Debye\]\s+X=\s*({_NUMBER})\s*Y=\s*({_NUMBER})\s*Z=\s*({_NUMBER})"
)
_TIGHT_BINDING = re.compile(rf"Moment \[a\.u\.\]{_THREE}")
_CELL = re.compile(
    rf"\[X\]\s*=?\s*\[{_THREE}\].*\n\s*\[Y\]\s*=?\s*\[{_THREE}\].*\n\s*\[Z\]\s*=?\s*\[{_THREE}\]"
)


def read_moments(path: str | os.PathLike[str]) -> tuple[Array, Array | None]:
    """Return the dipoles of all steps in the file, and the cells that they are defined modulo.

    Parameters
    ----------
    path : path
        Blocks of &MOMENTS, one after the other: of density-functional theory, in debye, or of tight
        binding.

    Returns
    -------
    dipoles : ndarray, shape [n_frames, 3]
        In e·Å, as printed.
    cells : ndarray, shape [n_frames, 3, 3], or None
        Rows are cell vectors in Å, where a Berry phase was printed with its cell.

    Raises
    ------
    FileFormatError
        If there is no dipole, or blocks are of different kinds or cut off.
    """
    text = Path(path).read_text(errors="replace")
    found = _DIPOLE.findall(text)
    bound = _TIGHT_BINDING.findall(text)
    if bool(found) == bool(bound):
        what = "two kinds of dipoles" if found else "no dipoles of CP2K's &MOMENTS"
        raise FileFormatError(f"{path} has {what}")
    if bound:
        return _numbers(bound) * units.factor("bohr*e", units.DIPOLE), None
    debye = units.factor("debye", units.DIPOLE)
    if len(found) != text.count("Dipole moment [Debye]"):
        raise FileFormatError(f"{path} is cut off after {len(found)} dipoles")
    matrices = _CELL.findall(text)
    if not matrices:
        return _numbers(found) * debye, None
    if len(matrices) != len(found):
        raise FileFormatError(
            f"{path} has {len(found)} dipoles and {len(matrices)} cells: it is cut off or mixed"
        )
    # printed as [X Y Z] = matrix · [i j k]: its columns are the cell vectors
    cells = _numbers(matrices).reshape(-1, 3, 3).transpose(0, 2, 1)
    return _numbers(found) * debye, cells * debye


def _numbers(rows: list[tuple[str, ...]]) -> Array:
    return np.array([[float(word.upper().replace("D", "E")) for word in row] for row in rows])
