"""From the runs of a snapshot to its labels: which runs it needs, and how tensors follow from them.

Every route turns outputs into polar tensors ``P[i, a, b] = ∂M_a/∂r_ib`` (e) and, where its name
ends in "-raman", polarizability gradients ``G[i, a, b, c] = ∂α_ab/∂r_ic`` (Å²) as well. All but the
analytic one are central differences, ``(X(+h) − X(−h)) / 2h``:

- `FieldRoute`: forces in finite fields, ``P[i, a, b] = ∂F_ib/∂E_a``; six runs whatever the size.
- `FieldRamanRoute`: those six and six more, ``G[i, a, b, c] = ∂²F_ic/∂E_a∂E_b``.
- `DisplacementRoute`: dipoles of displaced atoms, ``∂M_a/∂r_ib`` itself; six runs an atom.
- `DisplacementRamanRoute`: polarizabilities of the same displaced atoms.
- `AnalyticRoute`: what the program computes itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import LabelledFrame
from mda_aptnn.labels.protocol import BOHR, Output, Run
from mda_aptnn.tensors import TARGETS

Array = NDArray[np.float64]
Outputs = Mapping[str, Output]
#: Tensors by name, and what else is known.
Found = tuple[dict[str, Array], dict[str, Any]]

AXES = ("x", "y", "z")
ZERO = Run("zero")
#: No polar tensor of an insulator has such a component, in e.
IMPLAUSIBLE = 30.0
#: A rotation may miss the dipole of an isolated molecule by so much and more, in e·Å, before its
#: tensors are compared with their transposes.
TURNED = 0.01


#: Routes by their names.
ROUTES: dict[str, type[Route]] = {}


@dataclasses.dataclass(frozen=True)
class Route:
    """Base of the routes, each of which is known by its name; its fields are its parameters."""

    name: ClassVar[str]
    #: What every run has to give: "forces", "dipole", "apt", "polarizability".
    wants: ClassVar[frozenset[str]]
    #: Of the parameters.
    unit: ClassVar[str] = ""
    #: Whether atoms are labelled one by one, so that there may be some without a label.
    by_atom: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        ROUTES[cls.name] = cls

    @property
    def parameters(self) -> dict[str, float | None]:
        """As they stand in a manifest; None for one that is not used."""
        return dataclasses.asdict(self)

    def runs(self, atoms: Sequence[int]) -> list[Run]:
        """Return the runs for a snapshot; `atoms` are those to label if the route is `by_atom`."""
        return [ZERO]

    def wanted(self, run: Run) -> frozenset[str]:
        """Return what this run has to give."""
        return self.wants

    def tensors(self, frame: Frame, runs: Sequence[Run], outputs: Outputs) -> Found:
        """Return tensors by name, NaN for atoms that were not displaced, and what else is known."""
        raise NotImplementedError

    def labels(self, frame: Frame, runs: Sequence[Run], outputs: Outputs) -> LabelledFrame:
        """Return the labels of a placed frame from the outputs of its runs.

        Raises
        ------
        LabelError
            If something is missing, or cannot be right.
        """
        tensors, info = self.tensors(frame, runs, outputs)
        zero = outputs[ZERO.name]
        info["energy"] = zero.energy
        if zero.dipole is not None:
            info["dipole"] = zero.dipole.tolist()
            if not zero.berry:
                check_orientation(frame, tensors["apt"], zero.dipole)
        return LabelledFrame(frame, tensors, info)


@dataclasses.dataclass(frozen=True)
class FieldRoute(Route):
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
    #: The dipole must follow the field.
    wants: ClassVar[frozenset[str]] = frozenset({"forces", "dipole"})
    unit: ClassVar[str] = "a.u."
    #: Where the fields point, by the name that stands in the name of a run.
    directions: ClassVar[dict[str, Array]] = dict(zip(AXES, np.eye(3), strict=True))

    field: float = 1e-3
    second_field: float | None = None

    def __post_init__(self) -> None:
        for strength in (self.field, self.second_field):
            if strength is not None and not 1e-6 < strength < 0.1:
                raise CampaignError(
                    f"a field of {strength} a.u. is not sensible; 1e-4 to 1e-2 a.u. are"
                )
        if self.second_field == self.field:
            raise CampaignError("the second field strength is the first one again")

    @property
    def _strengths(self) -> dict[str, float]:
        """Strengths, by what stands at the end of the names of their runs."""
        strengths = {"": self.field, "_2": self.second_field}
        return {end: strength for end, strength in strengths.items() if strength is not None}

    def runs(self, atoms: Sequence[int]) -> list[Run]:
        """Return the zero-field run and, for each strength, one for each direction and sign."""
        return [ZERO] + [
            Run(f"{sign}{name}{end}", field=tuple(size * direction))
            for end, strength in self._strengths.items()
            for name, direction in self.directions.items()
            for sign, size in (("p", strength), ("m", -strength))
        ]

    def tensors(self, frame: Frame, runs: Sequence[Run], outputs: Outputs) -> Found:
        """Return tensors after a check that the dipole follows the field.

        Raises
        ------
        LabelError
            If the polarizability has a negative diagonal (a sign error that no sum rule shows), or
            forces or dipoles are missing.
        """
        first, *second = (self._of(end, frame, outputs) for end in self._strengths)
        info: dict[str, Any] = {"polarizability": first.pop("polarizability").tolist()}
        for name, key in (("apt", "linearity"), ("pgt", "pgt_linearity")):
            if second and name in first:
                info[key] = float(np.abs(second[0][name] - first[name]).max())
        return first, info

    def _of(self, end: str, frame: Frame, outputs: Outputs) -> dict[str, Array]:
        """Polar tensors [n_atoms, 3, 3] in e and polarizability [3, 3] in Å³ of one strength."""
        pairs = [(outputs[f"p{name}{end}"], outputs[f"m{name}{end}"]) for name in AXES]
        forces, dipoles = (
            np.array([difference(name, *pair, frame) for pair in pairs]) / 2 / self._strengths[end]
            for name in ("forces", "dipole")
        )
        polarizability = dipoles.T * BOHR**2
        diagonal = np.diag(polarizability)
        if diagonal.min() <= 0:
            raise LabelError(
                "the dipole does not follow the field (polarizability "
                f"{(diagonal / BOHR**3).round(2).tolist()} a.u.): {outputs[ZERO.name].version} has "
                "a wrong sign in fields with this method (as GFN1-xTB of CP2K 2023.1); use --route "
                "displacement"
            )
        return {"apt": forces.transpose(1, 0, 2), "polarizability": polarizability}


@dataclasses.dataclass(frozen=True)
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
    field: float = 5e-3

    def _of(self, end: str, frame: Frame, outputs: Outputs) -> dict[str, Array]:
        """Polarizability gradients [n_atoms, 3, 3, 3] in Å² as well."""
        polar = super()._of(end, frame, outputs)
        n_atoms, along = len(frame), {}
        for name in self.directions:
            names = f"p{name}{end}", ZERO.name, f"m{name}{end}"
            plus, zero, minus = (outputs[run].get("forces", n_atoms) for run in names)
            along[name] = (plus + minus - 2 * zero) / self._strengths[end] ** 2
        gradients = np.zeros((n_atoms, 3, 3, 3))
        for a, first in enumerate(AXES):
            gradients[:, a, a] = along[first]
            for b, second in enumerate(AXES[:a]):
                mixed = along[second + first] - (along[first] + along[second]) / 2
                gradients[:, a, b] = gradients[:, b, a] = mixed
        return {**polar, "pgt": gradients * BOHR**2}


@dataclasses.dataclass(frozen=True)
class DisplacementRoute(Route):
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
    by_atom: ClassVar[bool] = True
    #: What is differentiated, by the tensors that follow.
    quantities: ClassVar[dict[str, str]] = {"apt": "dipole"}

    displacement: float = 0.01

    def __post_init__(self) -> None:
        if not 1e-4 < self.displacement < 0.2:
            raise CampaignError(
                f"a displacement of {self.displacement} Å is not sensible; 0.001 to 0.05 Å are"
            )

    def runs(self, atoms: Sequence[int]) -> list[Run]:
        """Return the undisplaced run and six for each atom."""
        return [ZERO] + [
            Run(f"{sign}{axis}_{atom}", atom=atom, displacement=tuple(size * np.eye(3)[k]))
            for atom in map(int, atoms)
            for k, axis in enumerate(AXES)
            for sign, size in (("p", self.displacement), ("m", -self.displacement))
        ]

    def wanted(self, run: Run) -> frozenset[str]:
        """Return what is differentiated; the undisplaced run needs no more than a dipole."""
        return frozenset({"dipole"} if run.atom < 0 else self.quantities.values())

    def tensors(self, frame: Frame, runs: Sequence[Run], outputs: Outputs) -> Found:
        """Return tensors of the displaced atoms, NaN for the others.

        Raises
        ------
        LabelError
            If a run did not give what was wanted, or a dipole jumps.
        """
        found = {}
        for name, quantity in self.quantities.items():
            values = found[name] = np.full((len(frame), *TARGETS[name].shape), np.nan)
            for atom in {run.atom for run in runs} - {-1}:
                for k, axis in enumerate(AXES):
                    plus, minus = (outputs[f"{sign}{axis}_{atom}"] for sign in "pm")
                    values[atom, ..., k] = difference(quantity, plus, minus, frame)
            values /= 2 * self.displacement
        largest = np.nan_to_num(np.abs(found["apt"])).max(axis=(1, 2))
        if largest.max() > IMPLAUSIBLE:
            raise LabelError(
                f"the dipole jumps when atom {largest.argmax()} (counted from 0) is displaced: "
                f"{largest.max():.0f} e; the SCF found another state, or fractional charges cross "
                "the cell boundary (xTB)"
            )
        return found, {}


class DisplacementRamanRoute(DisplacementRoute):
    """Polar tensors, and central differences of the polarizability of displaced atoms.

    ``G[i, a, b, c] = (α_ab(+d_ic) − α_ab(−d_ic)) / 2d`` of the polarizability that the program
    computes by response theory: independent of forces in fields.

    Parameters
    ----------
    displacement : float
        In Å.
    """

    name: ClassVar[str] = "displacement-raman"
    quantities: ClassVar[dict[str, str]] = {"apt": "dipole", "pgt": "polarizability"}


class AnalyticRoute(Route):
    """The tensors that the program computes itself."""

    name: ClassVar[str] = "analytic"
    wants: ClassVar[frozenset[str]] = frozenset({"apt"})

    def tensors(self, frame: Frame, runs: Sequence[Run], outputs: Outputs) -> Found:
        """Return the tensors as they were read, in the orientation of this package."""
        return {"apt": outputs[ZERO.name].get("apt", len(frame))}, {}


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


def difference(quantity: str, plus: Output, minus: Output, frame: Frame) -> Array:
    """Return X(plus) − X(minus) of forces, dipole or polarizability; of Berry phases the smallest.

    Raises
    ------
    LabelError
        If a run did not give it, or the two dipoles are of different kinds.
    """
    found: Array = plus.get(quantity, len(frame)) - minus.get(quantity, len(frame))
    if quantity == "polarizability":
        # symmetric up to the convergence of the response
        found = (found + found.T) / 2
    if quantity == "dipole" and plus.berry != minus.berry:
        raise LabelError("a Berry-phase dipole and another one cannot be subtracted")
    if quantity == "dipole" and plus.berry:
        # modulo e times the cell vectors
        [found] = frame.box.nearest(found[None])
    return found


def check_orientation(frame: Frame, apt: Array, dipole: Array) -> None:
    """Turn an isolated molecule or ion: its dipole must turn with it.

    ``Σ_i P_i (ω × r_i) = ω × M`` for every ω; the sum rule of translations is as good for
    transposed tensors, this one is not. The dipole of an ion depends on an origin, which programs
    choose: what is left is that ``ω·Σ_i P_i (ω × r_i) = 0``, and the sum rule tells the sign.
    Nothing is checked in a cell, or if some atoms have no label.

    Raises
    ------
    LabelError
        If the transposed tensors obey the rule and these do not, or those of the other sign.
    """
    if frame.pbc.any() or np.isnan(apt).any():
        return
    arms, turns = frame.positions - frame.positions.mean(axis=0), np.eye(3)

    def missed(tensors: Array) -> float:
        turned = np.einsum("iab,iwb->wa", tensors, np.cross(turns, arms[:, None]))
        if frame.charge:
            return float(np.abs(turned + turned.T).max() / 2)
        return float(np.abs(turned - np.cross(turns, dipole)).max())

    for wrong, what in ((apt.transpose(0, 2, 1), "are transposed"), (-apt, "have a wrong sign")):
        if missed(apt) > max(TURNED, 3 * missed(wrong)):
            raise LabelError(
                f"the polar tensors {what}: when the molecule turns, its dipole of "
                f"{np.linalg.norm(dipole):.3f} e·Å must turn with it, and they miss that by "
                f"{missed(apt):.3f} e·Å, {missed(wrong):.3f} e·Å if that is mended"
            )


def check_sum_rules(labels: LabelledFrame, thresholds: Mapping[str, float]) -> dict[str, float]:
    """Compare ``Σ_i P_i − Q·1`` and ``Σ_i G_i``, which translations make zero, with a threshold.

    Parameters
    ----------
    labels : LabelledFrame
        Tensors that lack an atom are passed over.
    thresholds : mapping
        Largest accepted component for each atom, by tensor: "apt" in e, "pgt" in Å².

    Returns
    -------
    dict
        Largest components and thresholds, for the record.

    Raises
    ------
    LabelError
        If a component is larger.
    """
    info: dict[str, float] = {}
    for name, what, unit, key, option in (
        ("apt", "Σ P − Q·1", "e", "sum_rule", "--max-residual"),
        ("pgt", "Σ G", "Å²", "pgt_sum_rule", "--max-pgt-residual"),
    ):
        residual, n_atoms = labels.sum_rule_residual(TARGETS[name]), len(labels.frame)
        if np.isnan(residual):
            continue
        if residual / n_atoms > thresholds[name]:
            raise LabelError(
                f"the sum rule is off: {what} is {residual:.4f} {unit} over {n_atoms} atoms, "
                f"{residual / n_atoms:.5f} {unit} an atom, above the {thresholds[name]:g} {unit} "
                f"accepted: tighten the SCF and the grid (EPS_SCF and CUTOFF of CP2K), enlarge the "
                f"cell, compare the charge, or raise {option}"
            )
        info |= {f"{key}_residual": residual, f"{key}_threshold": thresholds[name]}
    return info
