"""Displaced atoms: derivatives of the dipole are polar tensors, of the polarizability
polarizability gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.cp2k.input import CP2KInput
from mda_aptnn.labels.cp2k.output import RunOutput
from mda_aptnn.labels.runs import (
    AXES,
    LINRES,
    LINRES_SETTINGS,
    ZERO,
    Labels,
    Run,
    basics,
    dipole_difference,
)

#: No polar tensor of an insulator has such a component, in e.
IMPLAUSIBLE = 30.0


class DisplacementRoute:
    """Central differences of the dipole of displaced atoms, ``P[i, a, b] = (M_a(+d_ib) −
    M_a(−d_ib)) / 2d``.

    Berry-phase dipoles are defined modulo the polarization quantum: the difference is taken on the
    branch where it is smallest (P. Schienbein, J. Chem. Theory Comput. 19, 705 (2023)).

    Parameters
    ----------
    displacement : float
        In Å.
    """

    name: ClassVar[str] = "displacement"
    unit: ClassVar[str] = "Å"

    def __init__(self, displacement: float = 0.01) -> None:
        if not 1e-4 < displacement < 0.2:
            raise CampaignError(
                f"a displacement of {displacement} Å is not sensible; 0.001 to 0.05 Å are"
            )
        self.parameters = {"displacement": displacement}

    def runs(self, atoms: Sequence[int]) -> list[Run]:
        """Return the undisplaced run and six for each atom."""
        step = self.parameters["displacement"]
        moved = [
            Run(f"{sign}{axis}_{atom}", atom=atom, displacement=tuple(size * np.eye(3)[k]))
            for atom in map(int, atoms)
            for k, axis in enumerate(AXES)
            for sign, size in (("p", step), ("m", -step))
        ]
        return [ZERO, *moved]

    def edit(self, text: CP2KInput, run: Run, frame: Frame) -> None:
        """Ask for the dipole only."""
        text.set_keyword("GLOBAL", "RUN_TYPE", "ENERGY")

    def labels(self, frame: Frame, runs: Sequence[Run], outputs: Mapping[str, RunOutput]) -> Labels:
        """Return tensors of the displaced atoms, NaN for the others."""
        step = self.parameters["displacement"]
        apt = np.full((len(frame), 3, 3), np.nan)
        for atom in {run.atom for run in runs} - {-1}:
            for k, axis in enumerate(AXES):
                plus, minus = (outputs[f"{sign}{axis}_{atom}"] for sign in "pm")
                apt[atom, :, k] = dipole_difference(plus, minus, frame.cell) / (2 * step)
        if np.nanmax(np.abs(apt)) > IMPLAUSIBLE:
            atom = int(np.nanargmax(np.abs(apt).max(axis=(1, 2))))
            raise LabelError(
                f"the dipole jumps when atom {atom} (counted from 0) is displaced: "
                f"{np.abs(apt[atom]).max():.0f} e; "
                "the SCF found another state, or fractional charges cross the cell boundary (xTB)"
            )
        return Labels({"apt": apt}, basics(outputs["zero"]))


class DisplacementRamanRoute(DisplacementRoute):
    """Polar tensors, and central differences of the polarizability of displaced atoms.

    ``G[i, a, b, c] = (α_ab(+d_ic) − α_ab(−d_ic)) / 2d`` of the polarizability that CP2K computes by
    response theory (``&LINRES &POLAR``), for isolated molecules: independent of forces in fields.

    Parameters
    ----------
    displacement : float
        In Å.
    """

    name: ClassVar[str] = "displacement-raman"

    def edit(self, text: CP2KInput, run: Run, frame: Frame) -> None:
        """Ask for the dipole, and for the polarizability of displaced atoms.

        Raises
        ------
        CampaignError
            If the frame is periodic.
        """
        if frame.pbc.any():
            raise CampaignError(
                f"--route {self.name} is for isolated molecules (PERIODIC NONE); use --route "
                f"field-raman in periodic "
                "cells"
            )
        super().edit(text, run, frame)
        if run.atom < 0:
            return
        if text.section(LINRES) is None:
            text.replace_section(LINRES, LINRES_SETTINGS)
        text.replace_section(f"{LINRES}/POLAR", ["DO_RAMAN T", "PERIODIC_DIPOLE_OPERATOR F"])
        text.replace_section(f"{LINRES}/POLAR/PRINT/POLAR_MATRIX", ["FILENAME __STD_OUT__"], "ON")

    def labels(self, frame: Frame, runs: Sequence[Run], outputs: Mapping[str, RunOutput]) -> Labels:
        """Return tensors of the displaced atoms, NaN for the others.

        Raises
        ------
        LabelError
            As in `DisplacementRoute.labels`, or if a run printed no polarizability.
        """
        polar = super().labels(frame, runs, outputs)
        step = self.parameters["displacement"]
        gradients = np.full((len(frame), 3, 3, 3), np.nan)
        for atom in {run.atom for run in runs} - {-1}:
            for k, axis in enumerate(AXES):
                plus, minus = (_polarizability(outputs[f"{sign}{axis}_{atom}"]) for sign in "pm")
                gradients[atom, :, :, k] = (plus - minus) / (2 * step)
        return Labels({**polar.tensors, "pgt": gradients}, polar.info)


def _polarizability(output: RunOutput) -> NDArray[np.float64]:
    if output.polarizability is None:
        raise LabelError("no polarizability in the output")
    # symmetric up to the convergence of the response
    symmetric: NDArray[np.float64] = (output.polarizability + output.polarizability.T) / 2
    return symmetric
