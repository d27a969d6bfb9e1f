"""Fixed charges as a model: the simplest polar tensors, P_i = q_i·1, a baseline for any other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from MDAnalysis.exceptions import NoDataError
from numpy.typing import ArrayLike

from mda_aptnn import io, units
from mda_aptnn.elements import LIGHTEST, NUMBERS, symbols_of
from mda_aptnn.errors import FileFormatError, ModelError
from mda_aptnn.frame import Array, Frame
from mda_aptnn.tensors import APT
from mda_aptnn.trajectory.universe_frames import as_frame

#: A line of a file of charges: `O = -0.8`, `"OW" = "-0.8 e"`, or `OW -0.8`.
_LINE = re.compile(r"""["']?([^\s"'=]+)["']?(?:\s*=\s*|\s+)["']?([^"']+?)["']?""")
#: Charges in e that rounding leaves of a neutral site or sample.
_ROUNDING = 1e-3


class FixedCharges:
    """Polar tensors of point charges that move with their atoms: ``P[i, a, b] = q_i δ_ab``.

    The flux is then the charge current, Σ q_i v_i.

    Parameters
    ----------
    charges : mapping of str to float, array_like of shape [n_atoms], or "topology"
        Charge in e (or a quantity) of each atom type of the topology or each element, ``{"O": -0.8,
        "H": 0.4}``, where a type goes before an element; or of each atom that the network would
        see, in their order; or those of the Universe that a frame is from.

    Raises
    ------
    ModelError
        If charges are a word other than "topology".
    UnitError
        If a charge is not a finite number.
    """

    target = APT
    cutoff = 0.0

    def __init__(self, charges: Mapping[str, Any] | ArrayLike | str) -> None:
        self.by_name: dict[str, float] = {}
        self.by_atom: Array | None = None
        if isinstance(charges, Mapping):
            for name, charge in charges.items():
                self.by_name[name] = units.magnitude(charge, units.CHARGE, f"charge of {name}")
        elif not isinstance(charges, str):
            self.by_atom = np.atleast_1d(units.magnitude(charges, units.CHARGE, "charges"))
        elif charges != "topology":
            raise ModelError(f"charges {charges!r}: write charges:topology, or charges:FILE")
        of_elements = self.by_name.keys() & NUMBERS.keys()
        self._by_number = {NUMBERS[name]: self.by_name[name] for name in of_elements}
        self.numbers = sorted(self._by_number)

    def check(self, frame: Frame) -> None:
        """Refuse a frame that the charges do not fit.

        Parameters
        ----------
        frame : Frame

        Raises
        ------
        ModelError
            If an atom has no charge, the number of atoms is another one, or the topology has no
            charges.
        """
        self._charges(frame)

    def predict(self, atoms: Any) -> Array:
        """Return q_i·1 for every atom of a Frame, AtomGroup or Universe, [n_atoms, 3, 3] in e.

        Parameters
        ----------
        atoms : Frame, MDAnalysis.AtomGroup or MDAnalysis.Universe

        Returns
        -------
        ndarray, shape [n_atoms, 3, 3]
            In e.
        """
        frame, rows = as_frame(atoms)
        tensors: Array = self._charges(frame)[:, None, None] * np.eye(3)
        return tensors if rows is None else tensors[rows]

    def _charges(self, frame: Frame) -> Array:
        """The charge of each atom [n_atoms] in e."""
        if self.by_atom is not None:
            if len(self.by_atom) != len(frame):
                raise ModelError(f"there are {len(self.by_atom)} charges for {len(frame)} atoms")
            return self.by_atom
        if not self.by_name:
            return _of_topology(frame)
        numbers = frame.numbers.tolist()
        charges = [self._by_number.get(number) for number in numbers]
        for place, kind in enumerate(getattr(frame.atoms, "types", ())):
            charges[place] = self.by_name.get(str(kind), charges[place])
        unknown = {number for number, q in zip(numbers, charges, strict=True) if q is None}
        if unknown:
            raise ModelError(
                f"the model does not know {', '.join(symbols_of(sorted(unknown)))}: give a charge "
                "of each element, or of each atom type of the topology"
            )
        return np.array(charges, dtype=np.float64)

    @property
    def info(self) -> dict[str, Any]:
        """What it is, as a model card."""
        kind = "atom" if self.by_atom is not None else "topology"
        return {
            "architecture": "fixed charges",
            "level_of_theory": "none: fixed charges",
            "charges": dict(self.by_name) or kind,
        }


def _of_topology(frame: Frame) -> Array:
    """The charges of the topology [n_atoms] in e."""
    way = "take a topology that has them (TPR, PSF, PRMTOP, LAMMPS data), or charges:FILE"
    if frame.atoms is None:
        raise ModelError(
            "charges:topology needs a trajectory with its topology, and these frames are from a "
            "file of labels: take charges:FILE"
        )
    try:
        charges: Array = np.asarray(frame.atoms.charges, dtype=np.float64)
    except NoDataError as error:
        raise ModelError(f"the topology has no charges: {way}") from error
    # those of a part may all be zero
    if not frame.atoms.universe.atoms.charges.any() or not np.isfinite(charges).all():
        raise ModelError(f"the charges of the topology are all zero, or not finite: {way}")
    sites = frame.atoms.residues.atoms - frame.atoms
    sites = sites[sites.masses < LIGHTEST]
    if len(sites) and np.abs(sites.charges).max() > _ROUNDING:
        raise ModelError(
            f"{len(sites)} sites without a mass have charges in the topology, which move with "
            "several atoms at once: give effective charges of the atoms (charges:FILE)"
        )
    return charges


def named_charges(name: str = "topology") -> FixedCharges:
    """Return the charges of the topology, or of a file with a line for each element or atom type.

    Parameters
    ----------
    name : str
        "topology", or the path of a text or TOML file: lines such as ``O = -0.8`` or ``OW -0.8``,
        in e, and comments behind ``#``.

    Raises
    ------
    ModelError
        If there is no such file.
    FileFormatError
        If a line is something else, or a name comes twice.
    """
    path = Path(name)
    if name == "topology":
        return FixedCharges(name)
    if not path.is_file():
        raise ModelError(
            f"charges:{name}: there is no such file; write charges:topology, or charges:FILE with "
            "lines such as O = -0.8"
        )
    io.protect([path])
    charges: dict[str, float] = {}
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is no text of charges") from error
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        found = _LINE.fullmatch(text)
        if text and (found is None or found[1] in charges):
            why = "is no charge, such as O = -0.8" if found is None else f"names {found[1]} again"
            raise FileFormatError(f"{path}, line {number}: {line.strip()!r} {why}")
        if found:
            value = units.magnitude(found[2], units.CHARGE, f"{path}, line {number}")
            charges[found[1]] = value
    if not charges:
        raise FileFormatError(f"{path} has no charges: write lines such as O = -0.8")
    return FixedCharges(charges)
