"""GFN1-xTB and GFN2-xTB by the library tblite: a labelling code, and "xtb:GFN2" as a model.

Both are parametrized tight binding, of H to Rn, in vacuum: milliseconds an atom, and rough
(`ROUGH`). Methods: S. Grimme, C. Bannwarth and P. Shushkov, J. Chem. Theory Comput. 13, 1989
(2017); C. Bannwarth, S. Ehlert and S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import symbols_of
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Array, Frame, Indices
from mda_aptnn.graph import neighbours
from mda_aptnn.labels.protocol import BOHR, InProcess, Output
from mda_aptnn.tensors import APT
from mda_aptnn.trajectory.molecules import Molecules, molecules_of
from mda_aptnn.trajectory.universe_frames import as_frame

METHODS = {"GFN1": "GFN1-xTB", "GFN2": "GFN2-xTB"}
#: Atomic numbers up to here have parameters.
HEAVIEST = 86
#: Threshold of the SCF in units of tblite's default, and field in atomic units: turning a molecule
#: changes its tensors by less than 1e-5 of their size (N-methylacetamide, acetate).
ACCURACY, FIELD = 1e-4, 2e-4
#: Å between an atom of a molecule and one of a neighbour that is taken into its cluster. A wider
#: shell brings no smaller error.
NEAR = 2.8
#: What a card says. Measured against labels of molecules, and of periodic boxes.
ROUGH = (
    "It is 0.06 e from PBE0 in molecules. In liquids it sees a molecule and its nearest neighbours "
    "alone: 0.10 e from RPBE-D3 in water, where rigid molecules are 0.11 e off. Use it for a first "
    "look, and label frames of your own for more."
)
#: Charges in e of ions of one atom, where the topology does not say.
IONS = dict.fromkeys(("Li", "Na", "K", "Rb", "Cs"), 1) | dict.fromkeys(
    ("Be", "Mg", "Ca", "Sr", "Ba", "Zn"), 2
)
IONS |= dict.fromkeys(("F", "Cl", "Br", "I"), -1)


def single_point(frame: Frame, method: str, field: Array | None = None, start: Any = None) -> Any:
    """Return energy (hartree), gradient (hartree/bohr) and dipole (e·bohr) of an isolated frame.

    Parameters
    ----------
    frame : Frame
        Its cell does not count.
    method : {"GFN1", "GFN2"}
    field : ndarray, shape [3], optional
        In atomic units.
    start : optional
        An earlier result of the same atoms, from which the SCF starts.

    Returns
    -------
    tblite.interface.Result

    Raises
    ------
    ModelError
        If tblite is not installed, an element has no parameters, electrons are not paired, or the
        SCF does not converge.
    """
    interface, library = _tblite()
    _check(frame)
    numbers, places = frame.numbers, frame.positions / BOHR
    try:
        found = interface.Calculator(METHODS[method], numbers, places, charge=frame.charge)
        for name, value in (("verbosity", 0), ("accuracy", ACCURACY)):
            found.set(name, value)
        if field is not None and field.any():
            strength = np.ascontiguousarray(field, dtype=float)
            # tblite 0.8 hands to C what it is given
            found.add("electric-field", library.ffi.cast("double*", strength.ctypes.data))
        return found.singlepoint(start, copy=True)
    except RuntimeError as error:
        raise ModelError(f"{METHODS[method]}: {error}") from error


def polar_tensors(frame: Frame, method: str) -> Array:
    """Return ``P[i, a, b] = ∂F_ib/∂E_a``, [n_atoms, 3, 3] in e, of an isolated frame.

    Central differences of the gradient in six fields; parameters and errors as of `single_point`.
    """
    zero = single_point(frame, method)
    forces = [
        [-single_point(frame, method, field, zero)["gradient"] for field in (axis, -axis)]
        for axis in FIELD * np.eye(3)
    ]
    plus, minus = np.array(forces).transpose(1, 2, 0, 3)
    return np.asarray(plus - minus) / (2 * FIELD)


def _check(frame: Frame, *, alone: bool = True) -> None:
    """Refuse elements without parameters, and, in a frame that is computed `alone`, electrons that
    cannot be paired.
    """
    if (heaviest := int(frame.numbers.max())) > HEAVIEST:
        raise ModelError(f"xTB has parameters of H to Rn, and none of {symbols_of([heaviest])[0]}")
    electrons = float(frame.numbers.sum() - frame.charge)
    if alone and electrons % 2:
        raise ModelError(
            f"{electrons:g} electrons, with a total charge of {frame.charge:g} e, cannot be "
            "paired: give the right charge (--charge)"
        )


def _tblite() -> tuple[Any, Any]:
    """The modules interface and library; ModelError, with what to type, if there are none."""
    try:
        from tblite import interface, library
    except ImportError as error:
        raise ModelError('tblite is not installed: pip install "mda-aptnn[tblite]"') from error
    return interface, library


@dataclasses.dataclass(frozen=True)
class Method:
    """Settings of `TBLite`: "GFN2" or "GFN1"."""

    method: str = "GFN2"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method {self.method!r}: choose one of {', '.join(METHODS)}")


class TBLite(InProcess):
    """Forces in fields, dipoles and polar tensors of molecules and ions in vacuum."""

    name: ClassVar[str] = "tblite"
    title: ClassVar[str] = "tblite"
    package: ClassVar[str | None] = "tblite"
    kind: ClassVar[type | None] = Method
    isolated: ClassVar[bool] = True
    offers: ClassVar[frozenset[str]] = frozenset({"forces", "dipole", "apt"})

    def level_of_theory(self, settings: Method) -> str:
        """Return the method."""
        return METHODS[settings.method]

    def calculate(
        self,
        frame: Frame,
        field: NDArray[np.float64],
        wanted: frozenset[str],
        settings: Method,
    ) -> Output:
        """Compute a frame in a field; ModelError if it cannot be."""
        found = single_point(frame, settings.method, field)
        return Output(
            project="",
            version=f"tblite {'.'.join(map(str, _tblite()[1].get_version()))}",
            energy=float(found["energy"]),
            numbers=frame.numbers,
            positions=frame.positions,
            cell=frame.cell,
            forces=-found["gradient"],
            dipole=found["dipole"] * BOHR,
            apt=polar_tensors(frame, settings.method) if "apt" in wanted else None,
        )


class XTB:
    """Polar tensors of GFN1-xTB or GFN2-xTB: "xtb:GFN2".

    A frame without a cell is computed as it is. In a periodic one each molecule is computed with
    the neighbours that have an atom within `NEAR` of its own, as a cluster in vacuum, and the
    molecule's tensors are kept. Molecules are those of the topology's bonds, or of distances.

    Parameters
    ----------
    method : {"GFN2", "GFN1"}

    Raises
    ------
    ModelError
        If there is no such method, or tblite is not installed.
    """

    target = APT

    def __init__(self, method: str = "GFN2") -> None:
        if method not in METHODS:
            raise ModelError(f"xtb:{method}: choose {' or '.join(f'xtb:{x}' for x in METHODS)}")
        _tblite()
        self.method = method

    @property
    def info(self) -> dict[str, Any]:
        """What it is, as a model card."""
        name = METHODS[self.method]
        return {
            "architecture": name,
            "level_of_theory": f"{name}, rough",
            "rough": f"{name}: {ROUGH}",
        }

    def check(self, frame: Frame) -> None:
        """Refuse, before the run, elements without parameters, and charges that are not known.

        Raises
        ------
        ModelError
        """
        _check(frame, alone=not frame.pbc.any())
        if frame.pbc.any():
            _charges(frame, molecules_of(frame))

    def predict(self, atoms: Any) -> Array:
        """Return the tensors [n_atoms, 3, 3] in e of a Frame, AtomGroup or Universe.

        Raises
        ------
        ModelError
            As of `check`; or if an SCF does not converge: with the frame and the molecule.
        """
        frame, rows = as_frame(atoms)
        tensors = np.empty((len(frame), 3, 3))
        for own, cluster, name in _clusters(frame) if frame.pbc.any() else _whole(frame):
            try:
                tensors[own] = polar_tensors(cluster, self.method)[: len(own)]
            except ModelError as error:
                where = "" if frame.number is None else f"frame {frame.number}, "
                raise ModelError(f"{where}{name} ({len(cluster)} atoms): {error}") from error
        return tensors if rows is None else tensors[rows]

    def dipole(self, atoms: Any) -> tuple[Array, Array]:
        """Return the dipole [3] in e·Å of a sample without a cell, and charges of zero [n_atoms].

        Raises
        ------
        ModelError
            If it is periodic: clusters have no dipole together.
        """
        frame, _ = as_frame(atoms)
        if frame.pbc.any():
            raise ModelError(f"xtb:{self.method} has no dipole of a periodic sample")
        return single_point(frame, self.method)["dipole"] * BOHR, np.zeros(len(frame))


def _whole(frame: Frame) -> Iterator[tuple[Indices, Frame, str]]:
    yield np.arange(len(frame)), frame, "the whole frame"


def _clusters(frame: Frame) -> Iterator[tuple[Indices, Frame, str]]:
    """The atoms of each molecule, and a frame without a cell of these and its neighbours."""
    molecules = molecules_of(frame)
    charges, formulas = _charges(frame, molecules), molecules.formulas()
    whole, near = molecules.whole(frame), neighbours(frame, NEAR)
    arms = whole[near.centre] + near.vectors - whole[near.neighbour]
    shifts = np.rint(frame.box.fractions(arms)).astype(np.int64) * frame.pbc
    images = np.column_stack([molecules.membership[near.neighbour], shifts])
    for number in range(len(molecules)):
        # each image of a molecule once, its own not
        around = np.unique(images[molecules.membership[near.centre] == number], axis=0)
        around = around[(around != [number, 0, 0, 0]).any(axis=1)]
        parts = [(number, np.zeros(3)), *((k, shift @ frame.box.filled) for k, *shift in around)]
        atoms = [np.flatnonzero(molecules.membership == k) for k, _ in parts]
        cluster = Frame(
            frame.numbers[np.concatenate(atoms)],
            np.concatenate([whole[x] + arm for x, (_, arm) in zip(atoms, parts, strict=True)]),
            charge=float(sum(charges[k] for k, _ in parts)),
        )
        yield atoms[0], cluster, f"{formulas[number]} number {number}"


def _charges(frame: Frame, molecules: Molecules) -> Indices:
    """The charge of each molecule [n_molecules] in e, that of the topology or of known ions."""
    if molecules.endless.any():
        raise ModelError(
            "a molecule is bonded to its own periodic image, as in a crystal: no cluster holds it"
        )
    ions = np.array([IONS.get(symbol, 0) for symbol in frame.symbols])
    alone = molecules.sizes[molecules.membership] == 1
    guesses = {"known ions": molecules.sum(np.where(alone, ions, 0).astype(float))}
    if hasattr(frame.atoms, "charges"):
        by_topology = molecules.sum(np.asarray(frame.atoms.charges, dtype=float))
        guesses = {"the topology's charges": by_topology} | guesses
    electrons = molecules.sum(frame.numbers.astype(float))
    said = []
    for name, found in guesses.items():
        charges = np.rint(found).astype(np.int64)
        odd = np.flatnonzero((electrons - charges) % 2)
        if charges.sum() == frame.charge and not len(odd):
            return charges
        said.append(f"by {name} they add up to {charges.sum()} e")
        if len(odd):
            said[-1] += f", and {molecules.formulas()[odd[0]]} has an odd number of electrons"
    raise ModelError(
        f"the charges of the molecules are not known: {'; '.join(said)}; the frame has "
        f"{frame.charge:g} e. Take a topology with charges, and give the total one (--charge)"
    )
