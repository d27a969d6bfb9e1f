"""Polar tensors that CP2K computes itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.cp2k.input import CP2KInput
from mda_aptnn.labels.cp2k.output import RunOutput
from mda_aptnn.labels.cp2k.template import DFT
from mda_aptnn.labels.runs import LINRES, LINRES_SETTINGS, ZERO, Labels, Run, basics


class AnalyticRoute:
    """The tensors that CP2K computes itself: ``&LINRES &DCDR`` (molecules), or ``APT_FD`` of 2025.2
    and newer.

    ``&DCDR`` needs ``&MGRID NGRIDS 1`` (otherwise it is wrong without an error), which is set.
    ``APT_FD`` is taken where the template's own ``&DCDR`` has ``APT_FD T``.
    """

    name: ClassVar[str] = "analytic"
    unit: ClassVar[str] = ""
    _DCDR: ClassVar[str] = f"{LINRES}/DCDR"

    def __init__(self) -> None:
        self.parameters: dict[str, float | None] = {}

    def runs(self, atoms: Sequence[int]) -> list[Run]:
        """Return the one run."""
        return [ZERO]

    def edit(self, text: CP2KInput, run: Run, frame: Frame) -> None:
        """Ask for the response to displacements.

        Raises
        ------
        CampaignError
            If the frame is periodic and CP2K's finite fields are not asked for: the response route
            is for molecules.
        """
        by_field = text.value(self._DCDR, "APT_FD", "F") in ("T", "TRUE", ".TRUE.", "ON", "YES")
        if frame.pbc.all() and not by_field:
            raise CampaignError(
                "the analytic route (&DCDR) is for isolated molecules; use --route field in "
                "periodic cells, or write "
                "&PROPERTIES &LINRES &DCDR APT_FD T into the input (CP2K 2025.2 and newer)"
            )
        text.set_keyword("GLOBAL", "RUN_TYPE", "ENERGY_FORCE")
        if not by_field:
            text.set_keyword(f"{DFT}/MGRID", "NGRIDS", "1")
        if text.section(LINRES) is None:
            text.replace_section(LINRES, LINRES_SETTINGS)
        text.replace_section(f"{self._DCDR}/PRINT/APT", ["FILENAME __STD_OUT__"], "ON")

    def labels(self, frame: Frame, runs: Sequence[Run], outputs: Mapping[str, RunOutput]) -> Labels:
        """Return the tensors as they were printed, in the orientation of this package."""
        output = outputs["zero"]
        if output.apt is None or output.apt.shape != (len(frame), 3, 3):
            raise LabelError("no polar tensors of all atoms in the output")
        return Labels({"apt": output.apt}, basics(output))
