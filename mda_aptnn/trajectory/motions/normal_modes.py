"""Vibration taken apart into normal modes of a structure, in the Eckart frame of each molecule."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io
from mda_aptnn.elements import atomic_numbers
from mda_aptnn.errors import GroupError
from mda_aptnn.frame import Frame
from mda_aptnn.trajectory.molden import read_modes
from mda_aptnn.trajectory.motions.rigid_motions import (
    REMAINDER,
    ROTATION,
    TRANSLATION,
    RigidMotions,
    turn,
)

#: Modes below this wavenumber, in cm⁻¹, are what a file has of translation and rotation.
_STILL = 1.0
#: How far modes may be from orthogonal to each other, and to moving and turning the whole molecule.
_TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class NormalModes:
    """A structure and its modes, to be given as ``motions=`` to `DipoleFlux`.

    Attributes
    ----------
    symbols : sequence of str
        Elements, in the order of the atoms in the molecules of the trajectory.
    positions : array_like, shape [n_atoms, 3]
        Equilibrium structure in Å, in any orientation.
    modes : array_like, shape [n_modes, n_atoms, 3]
        Cartesian displacements of the vibrations, in the same orientation, of any length. Not all
        are needed.
    names : sequence of str, optional
        One for each mode; modes of the same name are added, as the degenerate bends of a linear
        molecule should be, about whose axis a frame has no direction. "mode 1", "mode 2", ... by
        default.
    """

    symbols: Sequence[str]
    positions: Any
    modes: Any
    names: Sequence[str] | None = None

    @classmethod
    def from_molden(cls, path: str | os.PathLike[str]) -> NormalModes:
        """Read the structure and the modes of a vibrational analysis, as CP2K and many others write
        them.

        Parameters
        ----------
        path : path
            Molden file with [FREQ], [FR-COORD] and [FR-NORM-COORD]. Modes below 1 cm⁻¹ are left
            out. Each is named by its wavenumber, such as "1595 cm^-1".

        Returns
        -------
        NormalModes

        Raises
        ------
        FileFormatError
            If it is no such file, or cut off.
        GroupError
            If no mode is left.
        """
        io.protect([path])
        found = read_modes(path)
        kept = np.abs(found.wavenumbers) >= _STILL
        if not kept.any():
            raise GroupError(f"{path} has no mode above {_STILL:g} cm⁻¹")
        names = [
            f"{abs(value):.0f}{'i' if value < 0 else ''} cm^-1" for value in found.wavenumbers[kept]
        ]
        return cls(found.symbols, found.positions, found.modes[kept], names)


class NormalModeMotions:
    """Translation, rotation of the Eckart frame, each mode, and what vibration is left.

    Let c_i be the structure, s_i the position of atom i from the centre of mass, and U the rotation
    for which the Eckart condition Σ m_i (U c_i) × s_i = 0 holds (the best superposition weighted by
    mass). Then

        rotation   ω × s_i ,  Σ m_i (U c_i) × (v_i − V − ω × s_i) = 0
        mode k     m_i^(−1/2) U e_ki Q̇_k ,  Q̇_k = Σ m_i^(1/2) (U e_ki)·(v_i − V − ω × s_i)

    with orthonormal mass-weighted e_k. With all 3n − 6 modes (3n − 5 of a linear molecule) nothing
    is left. This ω is that of the frame and not I⁻¹ L: the two differ by what Coriolis forces
    couple. Molecules of other elements, order or masses get their rotation from `RigidMotions`, and
    all their vibration is left.

    C. Eckart, Phys. Rev. 47, 552 (1935); K. N. Kudin, A. Y. Dymarsky, J. Chem. Phys. 122, 224105
    (2005).

    Parameters
    ----------
    rigid : RigidMotions
    structure : NormalModes

    Raises
    ------
    GroupError
        If shapes disagree, modes are not orthogonal or turn the molecule, or no molecule has these
        atoms.
    """

    def __init__(self, rigid: RigidMotions, structure: NormalModes) -> None:
        self._rigid = rigid
        numbers = atomic_numbers(structure.symbols)
        positions, modes = np.array(structure.positions, float), np.array(structure.modes, float)
        n = len(numbers)
        if positions.shape != (n, 3) or modes.shape != (len(modes), n, 3) or len(modes) == 0:
            raise GroupError(
                f"normal modes: {n} elements, positions {positions.shape} and modes {modes.shape} "
                "do not agree; give [n_atoms, 3] and [n_modes, n_atoms, 3]"
            )
        names = structure.names
        names = [f"mode {k + 1}" for k in range(len(modes))] if names is None else list(names)
        if len(names) != len(modes) or set(names) & {TRANSLATION, ROTATION, REMAINDER}:
            raise GroupError(
                f"normal modes: give {len(modes)} names, none of them that of another motion"
            )
        distinct = list(dict.fromkeys(names))
        self.names: Sequence[str] = (TRANSLATION, ROTATION, *distinct, REMAINDER)
        self._kinds = np.array([distinct.index(name) for name in names])
        self._atoms = self._matching(numbers)
        self._masses = rigid.masses[self._atoms[0]]
        self._linear = rigid.molecules.linear[rigid.molecules.membership[self._atoms[:, 0]]]
        self._structure = positions - self._masses @ positions / self._masses.sum()
        root = np.sqrt(self._masses)[:, None]
        self._modes = _orthonormal(modes * root, self._structure, self._masses)

    def parts(self, frame: Frame, velocities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the velocity of each atom in each motion, [n_motions, n_atoms, 3] in Å/ps."""
        translation, rotation, vibration = self._rigid.parts(frame, velocities)
        at, mass = self._atoms, self._masses
        arms = self._rigid.arms(frame)[at]
        internal = (velocities - translation)[at]
        turned = eckart_rotations(self._structure, arms, mass)
        reference = np.einsum("kab,ib->kia", turned, self._structure)
        angular = np.einsum("i,kia->ka", mass, np.cross(reference, internal))
        second = np.einsum("i,kia,kib->kab", mass, arms, reference)
        second = 0.5 * (second + second.transpose(0, 2, 1))
        rotation[at] = np.cross(turn(second, angular, self._linear)[:, None], arms)
        vibration[at] = internal - rotation[at]
        modes = np.einsum("kab,qib->kqia", turned, self._modes)
        root = np.sqrt(mass)[:, None]
        rates = np.einsum("kqia,kia->kq", modes, root * vibration[at])
        named = rates[:, :, None] * (self._kinds[:, None] == np.arange(self._kinds.max() + 1))
        along = np.zeros((named.shape[2], *velocities.shape))
        along[:, at] = np.einsum("kqn,kqia->nkia", named, modes) / root
        return np.stack([translation, rotation, *along, vibration - along.sum(axis=0)])

    def _matching(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Atoms of the molecules with these elements in this order, and the masses of the first,
        [n_molecules, n].
        """
        molecules, masses = self._rigid.molecules, self._rigid.masses
        each = np.split(molecules.order, np.cumsum(molecules.sizes)[:-1])
        alike = [atoms for atoms in each if np.array_equal(molecules.numbers[atoms], numbers)]
        if not alike:
            raise GroupError(
                "no molecule has the elements of the normal modes in their order; order the "
                "structure as the topology"
            )
        return np.array([a for a in alike if np.allclose(masses[a], masses[alike[0]])])


def eckart_rotations(
    structure: NDArray[np.float64], arms: NDArray[np.float64], masses: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the proper rotations U that minimise Σ m_i |s_i − U c_i|², [n_molecules, 3, 3].

    Parameters
    ----------
    structure : ndarray, shape [n_atoms, 3]
        c in Å, from the centre of mass.
    arms : ndarray, shape [n_molecules, n_atoms, 3]
        s in Å, from the centre of mass.
    masses : ndarray, shape [n_atoms]
        In u.
    """
    left, _, right = np.linalg.svd(np.einsum("i,kia,ib->kab", masses, arms, structure))
    sign = np.sign(np.linalg.det(left @ right))
    left[:, :, 2] *= sign[:, None]
    rotations: NDArray[np.float64] = left @ right
    return rotations


def _orthonormal(
    modes: NDArray[np.float64], structure: NDArray[np.float64], masses: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mass-weighted modes made orthonormal, and orthogonal to translation and rotation, where they
    nearly are.
    """
    flat = modes.reshape(len(modes), -1)
    lengths = np.linalg.norm(flat, axis=1)
    if not (lengths > 0).all():
        raise GroupError(f"normal mode {int(lengths.argmin())} (counted from 0) is zero")
    flat = flat / lengths[:, None]
    root = np.sqrt(masses)[:, None]
    whole = [np.tile(axis, (len(masses), 1)) * root for axis in np.eye(3)]
    whole += [np.cross(axis, structure) * root for axis in np.eye(3)]
    left, values, _ = np.linalg.svd(np.array(whole).reshape(6, -1).T, full_matrices=False)
    left = left[:, values > 1e-6 * values[0]]
    overlap = flat @ left
    if np.abs(overlap).max() > _TOLERANCE:
        raise GroupError(
            f"normal mode {int(np.abs(overlap).max(axis=1).argmax())} (counted from 0) moves or "
            "turns the whole molecule; give vibrations only, as Cartesian displacements (not "
            "mass-weighted), in the orientation of the structure"
        )
    flat = flat - overlap @ left.T
    gram = flat @ flat.T
    if np.abs(gram - np.eye(len(gram))).max() > _TOLERANCE:
        raise GroupError(
            "the normal modes are not orthogonal under the masses; give Cartesian displacements"
        )
    values, axes = np.linalg.eigh(gram)
    orthonormal: NDArray[np.float64] = (axes / np.sqrt(values)) @ axes.T @ flat
    return orthonormal.reshape(modes.shape)
