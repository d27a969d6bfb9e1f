"""Normal modes in Molden's format, which most programs of quantum chemistry write."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import numpy as np

from mda_aptnn import units
from mda_aptnn.errors import FileFormatError
from mda_aptnn.frame import Array


@dataclasses.dataclass(frozen=True)
class MoldenModes:
    """A structure and its modes as a file has them.

    Attributes
    ----------
    symbols : list of str
    positions : ndarray, shape [n_atoms, 3]
        In Å.
    wavenumbers : ndarray, shape [n_modes]
        In cm⁻¹, negative for imaginary ones.
    modes : ndarray, shape [n_modes, n_atoms, 3]
        Cartesian displacements, of any length.
    """

    symbols: list[str]
    positions: Array
    wavenumbers: Array
    modes: Array


def read_modes(path: str | os.PathLike[str]) -> MoldenModes:
    """Read the sections [FREQ], [FR-COORD] and [FR-NORM-COORD] of a Molden file.

    Raises
    ------
    FileFormatError
        If one of them is missing or cut off, or they disagree.

    Notes
    -----
    Coordinates are in bohr there: https://www.theochem.ru.nl/molden/molden_format.html.
    """
    try:
        text = Path(path).read_text()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is no text file") from error
    parts = re.split(r"^\s*\[([^\]]+)\].*$", text, flags=re.MULTILINE)
    sections = {
        name.strip().upper(): body for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }
    for name in ("FREQ", "FR-COORD", "FR-NORM-COORD"):
        if name not in sections:
            raise FileFormatError(
                f"{path} has no section [{name}]: it is no Molden file of a vibrational analysis"
            )
    try:
        atoms = [line.split() for line in sections["FR-COORD"].splitlines() if line.strip()]
        positions = np.array([row[1:4] for row in atoms], dtype=float).reshape(-1, 3)
        wavenumbers = np.array(sections["FREQ"].split(), dtype=float)
        blocks = re.split(
            r"^\s*vibration\s+\d+\s*$",
            sections["FR-NORM-COORD"],
            flags=re.MULTILINE | re.IGNORECASE,
        )
        modes = np.array([block.split() for block in blocks[1:]], dtype=float).reshape(
            len(blocks) - 1, -1, 3
        )
    except ValueError as error:
        raise FileFormatError(f"{path}: its modes are cut off or damaged ({error})") from error
    if modes.shape != (len(wavenumbers), len(atoms), 3) or modes.size == 0:
        raise FileFormatError(
            f"{path} has {len(wavenumbers)} frequencies, {len(atoms)} atoms and {len(modes)} modes "
            f"of {modes.shape[1]} atoms: it is cut off"
        )
    symbols = [row[0].strip("0123456789").capitalize() for row in atoms]
    return MoldenModes(symbols, positions * units.factor("bohr", "angstrom"), wavenumbers, modes)
