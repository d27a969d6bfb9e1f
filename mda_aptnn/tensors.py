"""What is predicted: atomic tensors, their symmetry, and the way to and from irreducible components.

The index order of the atomic polar tensor is fixed here, for the whole package:
``P[i, a, b] = ∂M_a / ∂r_ib``: row = component of the dipole, column = component of the position.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import AptnnError


@dataclasses.dataclass(frozen=True)
class Target:
    """An atomic tensor made of polar vectors.

    Attributes
    ----------
    name : str
        Key in data sets and files.
    formula : str
        Index symmetry, as e3nn writes it: ``"ij"`` has none, ``"ijk=jik"`` is symmetric in the first two.
    unit : str
        As pint parses it.
    """

    name: str
    formula: str
    unit: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Cartesian shape of one atom's tensor, (3, 3) for ``"ij"``."""
        return (3,) * len(self.formula.split("=")[0])

    @property
    def irreps(self) -> tuple[tuple[int, int, int], ...]:
        """(multiplicity, l, parity) in the order of the irreducible components."""
        return _reduction(self.formula)[0]

    @property
    def basis(self) -> NDArray[np.float64]:
        """Orthonormal change of basis, [n_components, 3, 3, ...]."""
        return _reduction(self.formula)[1]

    @property
    def blocks(self) -> list[tuple[str, slice]]:
        """Name ("0e", "1e", ...; with a running number where one repeats) and components of each irrep."""
        blocks, start = [], 0
        for count, degree, parity in self.irreps:
            for copy in range(count):
                name = f"{degree}{'e' if parity == 1 else 'o'}" + (f".{copy + 1}" if count > 1 else "")
                blocks.append((name, slice(start, start + 2 * degree + 1)))
                start += 2 * degree + 1
        return blocks

    def to_irreps(self, tensors: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n_atoms, 3, 3, ...] to [n_atoms, n_components]; the norm is kept."""
        basis = self.basis
        return np.asarray(tensors).reshape(len(tensors), -1) @ basis.reshape(len(basis), -1).T

    def to_cartesian(self, components: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n_atoms, n_components] to [n_atoms, 3, 3, ...]."""
        basis = self.basis
        return (np.asarray(components) @ basis.reshape(len(basis), -1)).reshape(len(components), *self.shape)


#: Atomic polar tensor, ``P[i, a, b] = ∂M_a / ∂r_ib``.
APT = Target("apt", "ij", "e")
#: Polarizability gradient, ``G[i, a, b, c] = ∂α_ab / ∂r_ic``, α in 4πε0·Å³.
PGT = Target("pgt", "ijk=jik", "angstrom^2")

TARGETS = {target.name: target for target in (APT, PGT)}


@functools.cache
def _reduction(formula: str) -> tuple[tuple[tuple[int, int, int], ...], NDArray[np.float64]]:
    # e3nn takes a second to import, and only who predicts needs it
    import torch
    from e3nn import o3

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        product = o3.ReducedTensorProducts(formula, **dict.fromkeys(formula.split("=")[0], "1o"))
    finally:
        torch.set_default_dtype(default)
    irreps = tuple((count, irrep.l, irrep.p) for count, irrep in product.irreps_out)
    basis = product.change_of_basis.detach().numpy().astype(np.float64)
    basis.setflags(write=False)
    return irreps, basis


SUM_RULES = ("none", "mass", "uniform")


def sum_rule_residual(apt: NDArray[np.float64], charge: float = 0.0) -> NDArray[np.float64]:
    """Return ``Σ_i P_i − Q·1``, which translation invariance makes zero.

    Parameters
    ----------
    apt : ndarray, shape [n_atoms, 3, 3]
        In e.
    charge : float
        Total charge Q in e.

    Returns
    -------
    ndarray, shape [3, 3]
        In e.
    """
    residual: NDArray[np.float64] = apt.sum(axis=0) - charge * np.eye(3)
    return residual


def apply_sum_rule(
    apt: NDArray[np.float64], rule: str, masses: NDArray[np.float64], charge: float = 0.0
) -> NDArray[np.float64]:
    """Subtract the residual of the acoustic sum rule from the tensors.

    Parameters
    ----------
    apt : ndarray, shape [n_atoms, 3, 3]
        In e.
    rule : {"none", "mass", "uniform"}
        Weights of the subtraction: none; m_i/Σm, which changes the total flux by −(ΣP − Q·1) v_com only; 1/N.
    masses : ndarray, shape [n_atoms]
        In u.
    charge : float
        Total charge Q in e.

    Raises
    ------
    ValueError
        If the rule has another name.
    """
    if rule == "none":
        return apt
    weights = sum_rule_weights(rule, masses)
    corrected: NDArray[np.float64] = apt - weights[:, None, None] * sum_rule_residual(apt, charge)
    return corrected


def sum_rule_weights(rule: str, masses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what part of a sum rule's residual is subtracted from each atom [n_atoms]; nothing for "none".

    Raises
    ------
    ValueError
        If the rule has another name.
    """
    if rule == "none":
        return np.zeros(len(masses))
    if rule == "mass":
        return masses / masses.sum()
    if rule == "uniform":
        return np.full(len(masses), 1 / len(masses))
    raise SumRuleNameError(f"sum rule {rule!r}: choose one of {', '.join(SUM_RULES)}")


class SumRuleNameError(AptnnError, ValueError):
    """A sum rule of an unknown name."""


def as_target(target: str | Target) -> Target:
    """Return a declared target by name, or `target` itself."""
    if isinstance(target, Target):
        return target
    known: dict[str, Any] = TARGETS
    if target not in known:
        raise KeyError(f"no target {target!r}: declared are {', '.join(known)}")
    return TARGETS[target]
