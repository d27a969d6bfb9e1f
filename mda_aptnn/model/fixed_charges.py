"""Fixed charges as a model: the simplest polar tensors, P_i = q_i·1, a baseline for any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mda_aptnn import units
from mda_aptnn.elements import SYMBOLS, atomic_numbers, symbols_of
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.tensors import APT
from mda_aptnn.trajectory.universe_frames import as_frame


class FixedCharges:
    """Polar tensors of point charges that move with their atoms: ``P[i, a, b] = q_i δ_ab``.

    The flux is then the charge current, Σ q_i v_i.

    Parameters
    ----------
    charges : mapping of str to float, or array_like of shape [n_atoms]
        Charge in e (or a quantity) of each element, ``{"O": -0.8, "H": 0.4}``, or of each atom that
        the network would see, in their order.

    Raises
    ------
    FrameError
        If a key is not an element.
    UnitError
        If a charge is not a finite number.
    """

    target = APT
    cutoff = 0.0

    def __init__(self, charges: Mapping[str, Any] | ArrayLike) -> None:
        self.by_element: dict[int, float] = {}
        self.by_atom: NDArray[np.float64] | None = None
        if isinstance(charges, Mapping):
            for symbol, charge in charges.items():
                number = int(atomic_numbers([symbol])[0])
                self.by_element[number] = units.magnitude(
                    charge, units.CHARGE, f"charge of {symbol}"
                )
        else:
            self.by_atom = np.atleast_1d(units.magnitude(charges, units.CHARGE, "charges"))
        self.numbers = list(self.by_element)

    def check(self, frame: Frame) -> None:
        """Refuse a frame that the charges do not fit.

        Parameters
        ----------
        frame : Frame

        Raises
        ------
        ModelError
            If an element has no charge, or the number of atoms is another one.
        """
        unknown = sorted({*frame.numbers.tolist()} - {*self.numbers})
        if self.by_atom is None and unknown:
            names = ", ".join(symbols_of(unknown))
            raise ModelError(
                f"the model does not know {names}: give FixedCharges a charge of each element"
            )
        if self.by_atom is not None and len(self.by_atom) != len(frame):
            raise ModelError(f"there are {len(self.by_atom)} charges for {len(frame)} atoms")

    def predict(self, atoms: Any) -> NDArray[np.float64]:
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
        self.check(frame)
        charges = self.by_atom
        if charges is None:
            charges = np.array([self.by_element[int(number)] for number in frame.numbers])
        tensors: NDArray[np.float64] = charges[:, None, None] * np.eye(3)
        return tensors if rows is None else tensors[rows]

    @property
    def info(self) -> dict[str, Any]:
        """What it is, as a model card."""
        of_elements = {SYMBOLS[z]: charge for z, charge in self.by_element.items()}
        return {
            "architecture": "fixed charges",
            "level_of_theory": "none: fixed charges",
            "charges": "atom" if self.by_atom is not None else of_elements,
        }
