"""What is predicted: atomic tensors, their symmetry, and the way to and from irreducible
components.

The index order of the atomic polar tensor is fixed here, for the whole package:
``P[i, a, b] = ∂M_a / ∂r_ib``: row = component of the dipole, column = component of the position.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from mda_aptnn.errors import AptnnError
from mda_aptnn.frame import Array


@dataclasses.dataclass(frozen=True)
class Target:
    """An atomic tensor made of polar vectors.

    Attributes
    ----------
    name : str
        Key in data sets and files.
    formula : str
        Index symmetry, as e3nn writes it: ``"ij"`` has none, ``"ijk=jik"`` is symmetric in the
        first two.
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
    def parts(self) -> tuple[Target, ...]:
        """Itself alone; see `JointTarget`."""
        return (self,)

    @property
    def irreps(self) -> tuple[tuple[int, int, int], ...]:
        """(multiplicity, l, parity) in the order of the irreducible components."""
        return _reduction(self.formula)[0]

    @property
    def n_components(self) -> int:
        """Number of irreducible components of one atom's tensor, 9 for ``"ij"``."""
        return len(self.basis)

    @property
    def basis(self) -> Array:
        """Orthonormal change of basis, [n_components, 3, 3, ...]."""
        return _reduction(self.formula)[1]

    @property
    def blocks(self) -> list[tuple[str, slice]]:
        """Name ("0e", "1e", ...; with a running number where one repeats) and components of each
        irrep.
        """
        names = []
        for count, degree, parity in self.irreps:
            name = f"{degree}{'e' if parity == 1 else 'o'}"
            copies = [f"{name}.{copy + 1}" for copy in range(count)] if count > 1 else [name]
            names += [(copy, 2 * degree + 1) for copy in copies]
        ends = np.cumsum([size for _, size in names]).tolist()
        return [(name, slice(end - n, end)) for (name, n), end in zip(names, ends, strict=True)]

    def to_irreps(self, tensors: Array) -> Array:
        """[n_atoms, 3, 3, ...] to [n_atoms, n_components]; the norm is kept."""
        basis = self.basis
        return np.asarray(tensors).reshape(len(tensors), -1) @ basis.reshape(len(basis), -1).T

    def to_cartesian(self, components: Array) -> Array:
        """[..., n_atoms, n_components] to [..., n_atoms, 3, 3, ...]."""
        components, basis = np.asarray(components), self.basis
        flat = components @ basis.reshape(len(basis), -1)
        return np.asarray(flat.reshape(*components.shape[:-1], *self.shape))


#: Atomic polar tensor, ``P[i, a, b] = ∂M_a / ∂r_ib``.
APT = Target("apt", "ij", "e")
#: Polarizability gradient, ``G[i, a, b, c] = ∂α_ab / ∂r_ic``, α in 4πε0·Å³.
PGT = Target("pgt", "ijk=jik", "angstrom^2")

TARGETS = {target.name: target for target in (APT, PGT)}


@dataclasses.dataclass(frozen=True)
class JointTarget:
    """Several tensors of the same atoms, predicted by one network: a head for each on a common
    body.

    Attributes
    ----------
    parts : tuple of Target
        Their irreducible components stand one after the other.
    """

    parts: tuple[Target, ...]

    #: Of errors over all parts: each is divided by the norm of its labels.
    unit = "relative"

    @property
    def name(self) -> str:
        """Names of the parts, "apt+pgt"."""
        return "+".join(part.name for part in self.parts)

    @property
    def irreps(self) -> tuple[tuple[int, int, int], ...]:
        """(multiplicity, l, parity) in the order of the irreducible components."""
        return tuple(irrep for part in self.parts for irrep in part.irreps)

    @property
    def n_components(self) -> int:
        """Number of irreducible components of all parts."""
        return sum(part.n_components for part in self.parts)


AnyTarget = Target | JointTarget


def joint(targets: Iterable[Target]) -> AnyTarget:
    """Return one target of one or several, in the order of `TARGETS`.

    Raises
    ------
    ValueError
        If there is none.
    """
    parts = sorted(dict.fromkeys(targets), key=lambda part: list(TARGETS).index(part.name))
    if not parts:
        raise ValueError(f"give at least one target: declared are {', '.join(TARGETS)}")
    return parts[0] if len(parts) == 1 else JointTarget(tuple(parts))


def component_slices(target: AnyTarget) -> dict[Target, slice]:
    """Return where the irreducible components of each part stand."""
    ends = np.cumsum([part.n_components for part in target.parts]).tolist()
    return {
        part: slice(end - part.n_components, end)
        for part, end in zip(target.parts, ends, strict=True)
    }


def flat_basis(target: AnyTarget) -> Array:
    """Return the change of basis [n_components, n_cartesian] to the Cartesian components of all
    parts, flat.
    """
    return np.asarray(
        block_diag(*(part.basis.reshape(part.n_components, -1) for part in target.parts))
    )


def flat_tensors(target: AnyTarget, tensors: Mapping[str, Array]) -> Array:
    """Return the Cartesian components [n_atoms, n_cartesian] of all parts, by name."""
    blocks = [tensors[part.name] for part in target.parts]
    return np.concatenate([np.reshape(block, (len(block), -1)) for block in blocks], axis=1)


def card_key(name: str, target: AnyTarget, part: Target) -> str:
    """Return the name under which a model card has something of a part: the first one's has no
    addition.
    """
    return name if part == target.parts[0] else f"{name} {part.name}"


@contextlib.contextmanager
def default_dtype(dtype: Any) -> Iterator[None]:
    """Set torch's default dtype, which belongs to the process, and give it back."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@functools.cache
def wigner_3j(first: int, second: int, third: int) -> Array:
    """Return the Wigner 3j symbols of real spherical harmonics, of norm 1.

    Racah's formula (D. A. Varshalovich et al., Quantum Theory of Angular Momentum, eq. 8.2.1(3)).
    Order and phases are those of e3nn from 0.5 on. Earlier versions have the other sign for some
    degrees of an odd sum; weights of a model depend on it, so that it is fixed here.

    Parameters
    ----------
    first, second, third : int
        Degrees l that fulfil the triangle inequality.

    Returns
    -------
    ndarray, shape [2l₁+1, 2l₂+1, 2l₃+1]
    """
    degrees, f = (first, second, third), math.factorial
    coupled = np.zeros([2 * degree + 1 for degree in degrees])
    excess = first + second - third
    for m1, m2 in itertools.product(range(-first, first + 1), range(-second, second + 1)):
        if abs(m1 + m2) > third:
            continue
        start = max(0, second - third - m1, first - third + m2)
        total = sum(
            (-1) ** k
            / (f(k) * f(excess - k) * f(first - m1 - k) * f(second + m2 - k))
            / (f(third - second + m1 + k) * f(third - first - m2 + k))
            for k in range(start, min(excess, first - m1, second + m2) + 1)
        )
        orders = zip(degrees, (m1, m2, m1 + m2), strict=True)
        size = math.prod(f(degree + m) * f(degree - m) for degree, m in orders)
        coupled[first + m1, second + m2, third + m1 + m2] = math.sqrt(size) * total
    one, two, three = map(_real_harmonics, degrees)
    symbols: Array = np.einsum("ijk,ia,jb,kc->abc", coupled, one, two, three.conj()).real
    symbols /= np.linalg.norm(symbols)
    symbols.setflags(write=False)
    return symbols


def _real_harmonics(degree: int) -> Any:
    """Complex spherical harmonics in terms of real ones, [2l+1, 2l+1], and the phase (-i)^l."""
    matrix = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=complex)
    matrix[degree, degree] = 1.0
    for m in range(1, degree + 1):
        cosine, sine = degree + m, degree - m
        matrix[degree - m, [cosine, sine]] = np.array([1, -1j]) / math.sqrt(2)
        matrix[degree + m, [cosine, sine]] = np.array([1, 1j]) * (-1) ** m / math.sqrt(2)
    return matrix * (-1j) ** degree


@functools.cache
def _reduction(formula: str) -> tuple[tuple[tuple[int, int, int], ...], Array]:
    """Irreps of a product of polar vectors and its orthonormal change of basis.

    One vector is coupled after the other. Of a tensor that is symmetric in its first two indices,
    those paths are kept that begin with an even degree.
    """
    indices, *same = formula.split("=")
    rank = len(indices)
    if same not in ([], [indices[1::-1] + indices[2:]]):
        raise ValueError(f"{formula!r}: only the first two indices may be symmetric")
    paths = [(1, np.eye(3))]
    for step in range(1, rank):
        paths = [
            (
                degree,
                math.sqrt(2 * degree + 1)
                * np.einsum("m...,mbn->n...b", basis, wigner_3j(before, 1, degree)),
            )
            for before, basis in paths
            for degree in range(abs(before - 1), before + 2)
            if not (same and step == 1 and degree % 2)
        ]
    paths.sort(key=lambda path: path[0])
    counts = collections.Counter(degree for degree, _ in paths)
    basis = np.concatenate([basis for _, basis in paths])
    basis.setflags(write=False)
    return tuple((count, degree, (-1) ** rank) for degree, count in counts.items()), basis


#: Order of the components of a symmetric tensor of rank 2, such as the polarizability.
COMPONENTS = ("xx", "yy", "zz", "xy", "xz", "yz")
#: Their first and second axes.
ROWS, COLUMNS = np.array([["xyz".index(axis) for axis in name] for name in COMPONENTS]).T


def full_tensors(components: Array) -> Array:
    """Return symmetric tensors [..., 3, 3] from components [..., 6] ordered as `COMPONENTS`."""
    tensors = np.empty((*components.shape[:-1], 3, 3))
    tensors[..., ROWS, COLUMNS] = tensors[..., COLUMNS, ROWS] = components
    return tensors


def turned(tensors: Array, rotation: Array) -> Array:
    """Return tensors [n_atoms, 3, 3, ...] with every index but the first turned by a rotation."""
    for axis in range(1, tensors.ndim):
        tensors = np.moveaxis(np.tensordot(tensors, rotation, (axis, 1)), -1, axis)
    return tensors


def flux_error(errors: Array, tensors: Array, masses: Array) -> float:
    """Return sqrt(Σ‖δP_i‖²/m_i / Σ‖P_i‖²/m_i), the relative error of Ṁ for thermal velocities."""
    wrong, right = (
        np.sum(values.reshape(len(masses), -1) ** 2, axis=1) @ (1 / masses)
        for values in (errors, tensors)
    )
    return float(np.sqrt(wrong / right))


SUM_RULES = ("none", "mass", "uniform")


def sum_rule_residual(apt: Array, charge: float = 0.0) -> Array:
    """Return ``Σ_i P_i − Q·1``, which translation invariance makes zero.

    Parameters
    ----------
    apt : ndarray, shape [..., n_atoms, 3, 3]
        In e.
    charge : float
        Total charge Q in e.

    Returns
    -------
    ndarray, shape [..., 3, 3]
        In e.
    """
    return np.asarray(apt.sum(axis=-3) - charge * np.eye(3))


def apply_sum_rule(apt: Array, rule: str, masses: Array, charge: float = 0.0) -> Array:
    """Subtract the residual of the acoustic sum rule from the tensors.

    Parameters
    ----------
    apt : ndarray, shape [..., n_atoms, 3, 3]
        In e.
    rule : {"none", "mass", "uniform"}
        Weights of the subtraction: none; m_i/Σm, which changes the total flux by −(ΣP − Q·1) v_com
        only; 1/N.
    masses : ndarray, shape [n_atoms]
        In u.
    charge : float
        Total charge Q in e.

    Raises
    ------
    ValueError
        If the rule has another name.
    """
    weights = sum_rule_weights(rule, masses)
    if rule == "none":
        return apt
    residual = sum_rule_residual(apt, charge)[..., None, :, :]
    return np.asarray(apt - weights[:, None, None] * residual)


def sum_rule_weights(rule: str, masses: Array) -> Array:
    """Return what part of a sum rule's residual is subtracted from each atom [n_atoms]; nothing for
    "none".

    Raises
    ------
    ValueError
        If the rule has another name.
    """
    n_atoms = len(masses)
    weights = {"none": np.zeros(n_atoms), "mass": masses / masses.sum()}
    weights["uniform"] = np.full(n_atoms, 1 / n_atoms)
    if rule not in weights:
        raise SumRuleNameError(f"sum rule {rule!r}: choose one of {', '.join(SUM_RULES)}")
    return np.asarray(weights[rule])


class SumRuleNameError(AptnnError, ValueError):
    """A sum rule of an unknown name."""


def as_target(target: str | Target) -> Target:
    """Return a declared target by name, or `target` itself."""
    if isinstance(target, Target):
        return target
    if target not in TARGETS:
        raise KeyError(f"no target {target!r}: declared are {', '.join(TARGETS)}")
    return TARGETS[target]
