"""Three routes from CP2K runs to polar tensors, with one interface and one orientation.

Every route says which runs one snapshot needs, what it asks of the input of each, and turns the outputs into
``P[i, a, b] = ∂M_a/∂r_ib``:

- `FieldRoute`: forces in finite fields, ``P[i, a, b] = ∂F_ib/∂E_a``; six runs whatever the size.
- `DisplacementRoute`: dipoles of displaced atoms, ``∂M_a/∂r_ib`` itself; six runs an atom.
- `AnalyticRoute`: what CP2K computes by response theory (or by its own finite fields).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frames import Frame
from mda_aptnn.labelling.cp2k_input import CP2KInput
from mda_aptnn.labelling.cp2k_output import BOHR, RunOutput
from mda_aptnn.labelling.template import DFT

#: No polar tensor of an insulator has such a component, in e.
IMPLAUSIBLE = 30.0
_AXES = ("x", "y", "z")


@dataclasses.dataclass(frozen=True)
class Run:
    """One CP2K run of a snapshot.

    Attributes
    ----------
    name : str
        Unique within the task; the first run of every task is "zero", unperturbed, and the others start from its
        wavefunction.
    field : tuple of 3 float
        Electric field in atomic units; any vector, so that the 13 runs of polarizability gradients fit as well.
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
        ``"apt"`` [n_atoms, 3, 3] in e; NaN for atoms that were not displaced.
    info : dict
        Energy (hartree), dipole (e·Å), polarizability (Å³), linearity (e): as far as the route knows them.
    """

    tensors: dict[str, NDArray[np.float64]]
    info: dict[str, Any]


class FieldRoute:
    """Central differences of forces in electric fields along x, y and z.

    ``P[i, a, b] = (F_ib(+E_a) − F_ib(−E_a)) / 2E`` from ``F = −∂U/∂r`` and ``M = −∂U/∂E``
    (P. Umari and A. Pasquarello, Phys. Rev. Lett. 89, 157602 (2002) for periodic cells).

    Parameters
    ----------
    field : float
        Strength in atomic units (1 a.u. = 51.4 V/Å).
    second_field : float, optional
        Another strength, six more runs: by how much its tensors differ is recorded as the linearity.
    """

    name: ClassVar[str] = "field"

    def __init__(self, field: float = 1e-3, second_field: float | None = None) -> None:
        for strength in (field, second_field):
            if strength is not None and not 1e-6 < strength < 0.1:
                raise CampaignError(f"a field of {strength} a.u. is not sensible; 1e-4 to 1e-2 a.u. are")
        if second_field == field:
            raise CampaignError("the second field strength is the first one again")
        self.parameters = {"field": field, "second_field": second_field}
        self.strengths = [field] if second_field is None else [field, second_field]

    def runs(self, atoms: Sequence[int]) -> list[Run]:
        """Return the zero-field run and, for each strength, one for each direction and sign."""
        return [ZERO, *(run for number in range(len(self.strengths)) for run in self._fields(number))]

    def _fields(self, number: int) -> list[Run]:
        suffix = "" if number == 0 else f"_{number + 1}"
        signs = {"p": self.strengths[number], "m": -self.strengths[number]}
        return [
            Run(f"{sign}{_AXES[axis]}{suffix}", field=tuple(strength * np.eye(3)[axis]))
            for axis in range(3)
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
            text.replace_section(f"{DFT}/{name}", [f"INTENSITY {strength:.10g}", f"POLARISATION {direction}"])

    def labels(self, frame: Frame, runs: Sequence[Run], outputs: Mapping[str, RunOutput]) -> Labels:
        """Return tensors after a check that the dipole follows the field.

        Raises
        ------
        LabelError
            If the printed polarizability has a negative diagonal (a sign error that no sum rule shows), or forces
            or dipoles are missing.
        """
        by_strength = [self._tensors(number, frame, outputs) for number in range(len(self.strengths))]
        apt, polarizability = by_strength[0]
        zero = outputs["zero"]
        info = {"polarizability": (polarizability * BOHR**3).tolist(), **_basics(zero)}
        if len(by_strength) > 1:
            info["linearity"] = float(np.abs(by_strength[1][0] - apt).max())
        return Labels({"apt": apt}, info)

    def _tensors(
        self, number: int, frame: Frame, outputs: Mapping[str, RunOutput]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        strength = self.strengths[number]
        apt, polarizability = np.zeros((len(frame), 3, 3)), np.zeros((3, 3))
        for axis in range(3):
            suffix = "" if number == 0 else f"_{number + 1}"
            plus, minus = (outputs[f"{sign}{_AXES[axis]}{suffix}"] for sign in "pm")
            apt[:, axis] = (_forces(plus, frame) - _forces(minus, frame)) / (2 * strength)
            polarizability[:, axis] = dipole_difference(plus, minus, frame.cell) / BOHR / (2 * strength)
        diagonal = np.diag(polarizability).round(2).tolist()
        if min(diagonal) <= 0:
            raise LabelError(
                f"the dipole does not follow the field (polarizability {diagonal} a.u.): "
                f"{outputs['zero'].version} has a wrong sign in fields with this method (GFN1-xTB of 2023.1 has); "
                "use --route displacement"
            )
        return apt, polarizability


class DisplacementRoute:
    """Central differences of the dipole of displaced atoms, ``P[i, a, b] = (M_a(+d_ib) − M_a(−d_ib)) / 2d``.

    Berry-phase dipoles are defined modulo the polarization quantum: the difference is taken on the branch where it
    is smallest (P. Schienbein, J. Chem. Theory Comput. 19, 705 (2023)).

    Parameters
    ----------
    displacement : float
        In Å.
    """

    name: ClassVar[str] = "displacement"

    def __init__(self, displacement: float = 0.01) -> None:
        if not 1e-4 < displacement < 0.2:
            raise CampaignError(f"a displacement of {displacement} Å is not sensible; 0.001 to 0.05 Å are")
        self.parameters = {"displacement": displacement}

    def runs(self, atoms: Sequence[int]) -> list[Run]:
        """Return the undisplaced run and six for each atom."""
        step = self.parameters["displacement"]
        moved = [
            Run(f"{sign}{axis}_{atom}", atom=atom, displacement=tuple(size * np.eye(3)[k]))
            for atom in map(int, atoms)
            for k, axis in enumerate(_AXES)
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
            for k, axis in enumerate(_AXES):
                plus, minus = (outputs[f"{sign}{axis}_{atom}"] for sign in "pm")
                apt[atom, :, k] = dipole_difference(plus, minus, frame.cell) / (2 * step)
        if np.nanmax(np.abs(apt)) > IMPLAUSIBLE:
            atom = int(np.nanargmax(np.abs(apt).max(axis=(1, 2))))
            raise LabelError(
                f"the dipole jumps when atom {atom} (counted from 0) is displaced: {np.abs(apt[atom]).max():.0f} e; "
                "the SCF found another state, or fractional charges cross the cell boundary (xTB)"
            )
        return Labels({"apt": apt}, _basics(outputs["zero"]))


class AnalyticRoute:
    """The tensors that CP2K computes itself: ``&LINRES &DCDR`` (molecules), or ``APT_FD`` of 2025.2 and newer.

    ``&DCDR`` needs ``&MGRID NGRIDS 1`` (otherwise it is wrong without an error), which is set.
    ``APT_FD`` is taken where the template's own ``&DCDR`` has ``APT_FD T``.
    """

    name: ClassVar[str] = "analytic"
    _DCDR: ClassVar[str] = "FORCE_EVAL/PROPERTIES/LINRES/DCDR"

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
            If the frame is periodic and CP2K's finite fields are not asked for: the response route is for molecules.
        """
        by_field = text.value(self._DCDR, "APT_FD", "F") in ("T", "TRUE", ".TRUE.", "ON", "YES")
        if frame.pbc.all() and not by_field:
            raise CampaignError(
                "the analytic route (&DCDR) is for isolated molecules; use --route field in periodic cells, or write "
                "&PROPERTIES &LINRES &DCDR APT_FD T into the input (CP2K 2025.2 and newer)"
            )
        text.set_keyword("GLOBAL", "RUN_TYPE", "ENERGY_FORCE")
        if not by_field:
            text.set_keyword(f"{DFT}/MGRID", "NGRIDS", "1")
        if text.section("FORCE_EVAL/PROPERTIES/LINRES") is None:
            text.replace_section(
                "FORCE_EVAL/PROPERTIES/LINRES", ["PRECONDITIONER FULL_ALL", "EPS 1e-8", "MAX_ITER 200"]
            )
        text.replace_section(f"{self._DCDR}/PRINT/APT", ["FILENAME __STD_OUT__"], "ON")

    def labels(self, frame: Frame, runs: Sequence[Run], outputs: Mapping[str, RunOutput]) -> Labels:
        """Return the tensors as they were printed, in the orientation of this package."""
        output = outputs["zero"]
        if output.apt is None or output.apt.shape != (len(frame), 3, 3):
            raise LabelError("no polar tensors of all atoms in the output")
        return Labels({"apt": output.apt}, _basics(output))


Route = FieldRoute | DisplacementRoute | AnalyticRoute
ROUTES: dict[str, type[FieldRoute] | type[DisplacementRoute] | type[AnalyticRoute]] = {
    kind.name: kind for kind in (FieldRoute, DisplacementRoute, AnalyticRoute)
}


def make_route(name: str, parameters: Mapping[str, Any]) -> Route:
    """Return a route by its name, as it stands in a manifest.

    Raises
    ------
    CampaignError
        If there is no such route, or it has no such parameter.
    """
    if name not in ROUTES:
        raise CampaignError(f"no route {name!r}: choose {', '.join(ROUTES)}")
    try:
        return ROUTES[name](**parameters)
    except TypeError as error:
        raise CampaignError(f"the route {name} has no parameter {', '.join(parameters)}") from error


def dipole_difference(plus: RunOutput, minus: RunOutput, cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return M(plus) − M(minus) in e·Å; of Berry phases the smallest, modulo e times the rows of `cell` (Å).

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
        difference = difference - np.round(difference @ np.linalg.inv(cell)) @ cell
    return difference


def _forces(output: RunOutput, frame: Frame) -> NDArray[np.float64]:
    if output.forces is None or output.forces.shape != (len(frame), 3):
        raise LabelError("no forces of all atoms in the output")
    return output.forces


def _basics(zero: RunOutput) -> dict[str, Any]:
    info: dict[str, Any] = {"energy": zero.energy}
    if zero.dipole is not None:
        info["dipole"] = zero.dipole.tolist()
    return info
