"""PySCF as a labelling code: molecules and ions in vacuum, Hartree-Fock or any functional.

In a uniform field the energy is ``U(E) = U − M·E``: every electron has ``+E·r``, every nucleus
``−Z E·R`` more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import symbols_of
from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.protocol import BOHR, InProcess, Output, Run


@dataclasses.dataclass(frozen=True)
class Method:
    """Settings of PySCF, in its own words; `InProcess` has the charge.

    Attributes
    ----------
    xc : str
        "HF" or a functional, such as "PBE", "B3LYP" or "wB97X-V".
    basis : str
        Its effective core potentials come with it, for the elements that have one.
    spin : int
        Number of unpaired electrons: spin-restricted for 0, unrestricted otherwise.
    density_fit : bool
        Whether the Coulomb and exchange integrals are fitted.
    grid_level : int
        Fineness of the grid that a functional is integrated on, 0 to 9.
    conv_tol : float
        Change of the energy at which the SCF ends, in hartree.
    max_cycle : int
        The SCF has failed after as many cycles.
    """

    xc: str
    basis: str
    spin: int = 0
    density_fit: bool = False
    grid_level: int = 3
    conv_tol: float = 1e-10
    max_cycle: int = 100


class PySCF(InProcess):
    """Forces in fields and dipoles of molecules and ions in vacuum."""

    name: ClassVar[str] = "pyscf"
    title: ClassVar[str] = "PySCF"
    package: ClassVar[str | None] = "pyscf"
    kind: ClassVar[type | None] = Method
    isolated: ClassVar[bool] = True

    def level_of_theory(self, settings: Method) -> str:
        """Return functional, basis and what is not the default in one line."""
        parts = [f"{settings.xc}/{settings.basis}"]
        parts += [f"{settings.spin} unpaired electrons"] if settings.spin else []
        parts += ["density fitting"] if settings.density_fit else []
        parts += [] if _is_hartree_fock(settings) else [f"grid level {settings.grid_level}"]
        return ", ".join(parts)

    def check(self, frame: Frame, runs: Sequence[Run], settings: Method) -> None:
        """Refuse elements without basis, electrons that do not go with the spin, and the like."""
        try:
            _mean_field(frame, settings)
        except Exception as error:  # of a library: KeyError, RuntimeError and its own
            said = " ".join(str(error.args[0] if error.args else error).split())
            raise CampaignError(f"PySCF cannot compute the frame: {said}") from error

    def calculate(
        self,
        frame: Frame,
        field: NDArray[np.float64],
        wanted: frozenset[str],
        settings: Method,
    ) -> Output:
        """Compute energy, dipole and, if wanted, forces; LabelError if it does not converge."""
        import pyscf
        from pyscf.data.elements import charge

        mean_field = _mean_field(frame, settings)
        molecule = mean_field.mol
        places, charges = molecule.atom_coords(), molecule.atom_charges()
        moments = molecule.intor("int1e_r")
        core = mean_field.get_hcore() + np.einsum("a,aij->ij", field, moments)
        mean_field.get_hcore = lambda *_: core
        mean_field.kernel()
        if not mean_field.converged:
            raise LabelError(
                f"the SCF did not converge to {settings.conv_tol:g} hartree in "
                f"{settings.max_cycle} cycles"
            )
        density = mean_field.make_rdm1()
        # spins together
        density = density.reshape(-1, *density.shape[-2:]).sum(axis=0)
        dipole = charges @ places - np.einsum("aij,ji->a", moments, density)
        forces = None
        if "forces" in wanted:
            forces = charges[:, None] * field - mean_field.nuc_grad_method().kernel()
            # basis functions move within the field: 2 Σ_ij D_ij E·<i|r|∇j>, j of the atom
            slopes = molecule.intor("int1e_irp").reshape(3, 3, *density.shape)
            pull = 2 * np.einsum("a,abij,ij->jb", field, slopes, density)
            for force, (_, _, first, last) in zip(forces, molecule.aoslice_by_atom(), strict=True):
                force += pull[first:last].sum(axis=0)
        return Output(
            project="",
            version=f"PySCF {pyscf.__version__}",
            energy=float(mean_field.e_tot - field @ (charges @ places)),
            numbers=np.array([charge(atom[0]) for atom in molecule._atom]),
            positions=places * BOHR,
            cell=frame.cell,
            forces=forces,
            dipole=dipole * BOHR,
        )


def _is_hartree_fock(settings: Method) -> bool:
    return settings.xc.upper() == "HF"


def _mean_field(frame: Frame, settings: Method) -> Any:
    """The molecule with its method, not computed yet."""
    from pyscf import dft, gto, scf

    symbols = symbols_of(frame.numbers)
    # by element: "def2-svp" is one of all electrons for carbon, and not for iodine
    functions = {symbol: gto.basis.load(settings.basis, symbol) for symbol in set(symbols)}
    potentials = {symbol: gto.basis.load_ecp(settings.basis, symbol) for symbol in functions}
    molecule = gto.M(
        atom=list(zip(symbols, frame.positions / BOHR, strict=True)),
        unit="Bohr",
        basis=functions,
        ecp={symbol: potential for symbol, potential in potentials.items() if potential},
        charge=frame.charge,
        spin=settings.spin,
        verbose=0,
    )
    if _is_hartree_fock(settings):
        mean_field = (scf.UHF if settings.spin else scf.RHF)(molecule)
    else:
        dft.libxc.parse_xc(settings.xc)
        mean_field = (dft.UKS if settings.spin else dft.RKS)(molecule, xc=settings.xc)
        mean_field.grids.level = settings.grid_level
    if settings.density_fit:
        mean_field = mean_field.density_fit()
    return mean_field.set(conv_tol=settings.conv_tol, max_cycle=settings.max_cycle, chkfile=None)
