"""Forces in electric fields: first derivatives are polar tensors, second ones are polarizability
gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.citations import cite
from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.cp2k.input import CP2KInput
from mda_aptnn.labels.cp2k.output import BOHR, RunOutput
from mda_aptnn.labels.cp2k.template import DFT
from mda_aptnn.labels.runs import AXES, ZERO, Labels, Run, basics, dipole_difference, forces_of

cite(__name__)

Array = NDArray[np.float64]


class FieldRoute:
    """Central differences of forces in electric fields along x, y and z.

    ``P[i, a, b] = (F_ib(+E_a) − F_ib(−E_a)) / 2E`` from ``F = −∂U/∂r`` and ``M = −∂U/∂E``
    (P. Umari and A. Pasquarello, Phys. Rev. Lett. 89, 157602 (2002) for periodic cells).

    Parameters
    ----------
    field : float
        Strength in atomic units (1 a.u. = 51.4 V/Å).
    second_field : float, optional
        Another strength, as many more runs: by how much its tensors differ is recorded as the
        linearity.
    """

    name: ClassVar[str] = "field"
    unit: ClassVar[str] = "a.u."
    #: Where the fields point, by the name that stands in the name of a run.
    directions: ClassVar[dict[str, Array]] = dict(zip(AXES, np.eye(3), strict=True))

    def __init__(self, field: float = 1e-3, second_field: float | None = None) -> None:
        for strength in (field, second_field):
            if strength is not None and not 1e-6 < strength < 0.1:
                raise CampaignError(
                    f"a field of {strength} a.u. is not sensible; 1e-4 to 1e-2 a.u. are"
                )
        if second_field == field:
            raise CampaignError("the second field strength is the first one again")
        self.parameters = {"field": field, "second_field": second_field}
        self.strengths = [field] if second_field is None else [field, second_field]

    def runs(self, atoms: Sequence[int]) -> list[Run]:
        """Return the zero-field run and, for each strength, one for each direction and sign."""
        return [
            ZERO,
            *(run for number in range(len(self.strengths)) for run in self._fields(number)),
        ]

    def _fields(self, number: int) -> list[Run]:
        signs = {"p": self.strengths[number], "m": -self.strengths[number]}
        return [
            Run(_run_name(sign, name, number), field=tuple(strength * direction))
            for name, direction in self.directions.items()
            for sign, strength in signs.items()
        ]

    def edit(self, text: CP2KInput, run: Run, frame: Frame) -> None:
        """Ask for forces, and for the field of `run`."""
        text.set_keyword("GLOBAL", "RUN_TYPE", "ENERGY_FORCE")
        text.replace_section("FORCE_EVAL/PRINT/FORCES", ["NDIGITS 12"], "ON")
        strength = float(np.linalg.norm(run.field))
        if strength > 0:
            direction = " ".join(f"{x:.10g}" for x in np.array(run.field) / strength)
            name = "PERIODIC_EFIELD" if frame.pbc.all() else "EFIELD"
            text.replace_section(
                f"{DFT}/{name}", [f"INTENSITY {strength:.10g}", f"POLARISATION {direction}"]
            )

    def labels(self, frame: Frame, runs: Sequence[Run], outputs: Mapping[str, RunOutput]) -> Labels:
        """Return tensors after a check that the dipole follows the field.

        Raises
        ------
        LabelError
            If the printed polarizability has a negative diagonal (a sign error that no sum rule
            shows), or forces or dipoles are missing.
        """
        by_strength = [
            self._tensors(number, frame, outputs) for number in range(len(self.strengths))
        ]
        apt, polarizability = by_strength[0]
        zero = outputs["zero"]
        info: dict[str, Any] = {
            "polarizability": (polarizability * BOHR**3).tolist(),
            **basics(zero),
        }
        if len(by_strength) > 1:
            info["linearity"] = float(np.abs(by_strength[1][0] - apt).max())
        return Labels({"apt": apt}, info)

    def _tensors(
        self, number: int, frame: Frame, outputs: Mapping[str, RunOutput]
    ) -> tuple[Array, Array]:
        strength = self.strengths[number]
        apt, polarizability = np.zeros((len(frame), 3, 3)), np.zeros((3, 3))
        for axis, name in enumerate(AXES):
            plus, minus = (outputs[_run_name(sign, name, number)] for sign in "pm")
            apt[:, axis] = (forces_of(plus, frame) - forces_of(minus, frame)) / (2 * strength)
            polarizability[:, axis] = (
                dipole_difference(plus, minus, frame.cell) / BOHR / (2 * strength)
            )
        diagonal = np.diag(polarizability).round(2).tolist()
        if min(diagonal) <= 0:
            raise LabelError(
                f"the dipole does not follow the field (polarizability {diagonal} a.u.): "
                f"{outputs['zero'].version} has a wrong sign in fields with this method (GFN1-xTB "
                f"of 2023.1 has); "
                "use --route displacement"
            )
        return apt, polarizability


class FieldRamanRoute(FieldRoute):
    """Polar tensors, and polarizability gradients from second differences of the same forces.

    ``U = U₀ − M·E − ½ E·α·E`` gives, along a unit vector n, ``n·G_ic·n = (F_ic(+En) + F_ic(−En) −
    2F_ic(0)) / E²`` with ``G[i, a, b, c] = ∂α_ab/∂r_ic``. Fields along the axes give ``G_aa``,
    those along (1,1,0)/√2, (1,0,1)/√2 and (0,1,1)/√2 give ``G_ab + (G_aa + G_bb)/2``.

    Parameters
    ----------
    field : float
        Strength in atomic units. Errors of the SCF are divided by its square, hyperpolarizabilities
        grow with it.
    second_field : float, optional
        Another strength, twelve more runs: by how much its tensors differ is recorded.
    """

    name: ClassVar[str] = "field-raman"
    directions: ClassVar[dict[str, Array]] = FieldRoute.directions | {
        AXES[a] + AXES[b]: (np.eye(3)[a] + np.eye(3)[b]) / np.sqrt(2)
        for a, b in ((0, 1), (0, 2), (1, 2))
    }

    def __init__(self, field: float = 5e-3, second_field: float | None = None) -> None:
        super().__init__(field, second_field)

    def labels(self, frame: Frame, runs: Sequence[Run], outputs: Mapping[str, RunOutput]) -> Labels:
        """Return polar tensors as `FieldRoute` does, and polarizability gradients.

        Raises
        ------
        LabelError
            As in `FieldRoute.labels`.
        """
        polar = super().labels(frame, runs, outputs)
        gradients = [
            self._gradients(number, frame, outputs) for number in range(len(self.strengths))
        ]
        info = dict(polar.info)
        if len(gradients) > 1:
            info["pgt_linearity"] = float(np.abs(gradients[1] - gradients[0]).max())
        return Labels({**polar.tensors, "pgt": gradients[0]}, info)

    def _gradients(self, number: int, frame: Frame, outputs: Mapping[str, RunOutput]) -> Array:
        """Polarizability gradients [n_atoms, 3, 3, 3] in Å² from the fields of one strength."""
        zero = forces_of(outputs["zero"], frame)
        along = {}
        for name in self.directions:
            plus, minus = (
                forces_of(outputs[_run_name(sign, name, number)], frame) for sign in "pm"
            )
            along[name] = (plus + minus - 2 * zero) / self.strengths[number] ** 2
        gradients = np.zeros((len(frame), 3, 3, 3))
        for a, first in enumerate(AXES):
            gradients[:, a, a] = along[first]
            for b, second in enumerate(AXES[:a]):
                mixed = along[second + first] - (along[first] + along[second]) / 2
                gradients[:, a, b] = gradients[:, b, a] = mixed
        return gradients * BOHR**2


def _run_name(sign: str, direction: str, number: int) -> str:
    return f"{sign}{direction}" + (f"_{number + 1}" if number else "")
