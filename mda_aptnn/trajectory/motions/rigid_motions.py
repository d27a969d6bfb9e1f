"""Translation and rotation of molecules as rigid bodies, and vibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import GroupError
from mda_aptnn.frame import Frame
from mda_aptnn.trajectory.molecules import Molecules

TRANSLATION, ROTATION, VIBRATION = "translation", "rotation", "vibration"
#: What named internal coordinates or modes leave of the vibration.
REMAINDER = "other vibration"
#: Moments of inertia below this part of the largest are zero, and rotation about their axes is
#: none.
_SINGULAR = 1e-9


class RigidMotions:
    """Translation of each molecule's centre of mass, rotation as a rigid body, and vibration, which
    is the rest.

    With s_i = r_i − R the position in the molecule, made whole across the boundary,

        translation  V = Σ m_i v_i / Σ m_i
        rotation     ω × s_i,  ω = I⁻¹ L,  L = Σ m_i s_i × (v_i − V),  I = Σ m_i (s_i² 1 − s_i s_iᵀ)
        vibration    v_i − V − ω × s_i

    The three are orthogonal under the masses: kinetic energies add up. A linear molecule (two
    atoms, or all bond angles wider than 150° in the first frame) does not rotate about its axis of
    least inertia: it has 2 degrees of freedom of rotation, and its bending is vibration. An atom on
    its own, such as an ion, only translates.

    Parameters
    ----------
    molecules : Molecules
    masses : ndarray, shape [n_atoms]
        In u.

    Raises
    ------
    GroupError
        If a molecule is bonded to its own periodic image, and so has no rotation.
    """

    names: Sequence[str] = (TRANSLATION, ROTATION, VIBRATION)

    def __init__(self, molecules: Molecules, masses: NDArray[np.float64]) -> None:
        if molecules.endless.any():
            first = int(np.flatnonzero(molecules.endless)[0])
            atom = int(np.flatnonzero(molecules.membership == first)[0])
            raise GroupError(
                f"the molecule of atom {atom} (counted from 0) is bonded to its own periodic image "
                "and cannot rotate; take motions only of finite molecules"
            )
        self.molecules, self.masses = molecules, masses
        self._totals = molecules.sum(masses)
        self._turning = np.flatnonzero(molecules.sizes > 1)

    def parts(self, frame: Frame, velocities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return translation, rotation and vibration of each atom, [3, n_atoms, 3] in Å/ps."""
        where = self.molecules.membership
        translation = self.centres(velocities)[where]
        internal = velocities - translation
        arms = self.arms(frame)
        rotation = np.cross(self.angular_velocities(arms, internal)[where], arms)
        return np.stack([translation, rotation, internal - rotation])

    def centres(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of vectors of atoms weighted by mass, [n_molecules, 3]."""
        means: NDArray[np.float64] = (
            self.molecules.sum(self.masses[:, None] * values) / self._totals[:, None]
        )
        return means

    def arms(self, frame: Frame) -> NDArray[np.float64]:
        """Return the position of each atom from the centre of mass of its whole molecule, [n_atoms,
        3] in Å.
        """
        positions = self.molecules.whole(frame)
        return positions - self.centres(positions)[self.molecules.membership]

    def angular_velocities(
        self, arms: NDArray[np.float64], velocities: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return I⁻¹ L of each molecule, [n_molecules, 3] in rad/ps."""
        sums, turning = self.molecules.sum, self._turning
        angular = sums(self.masses[:, None] * np.cross(arms, velocities))[turning]
        second = sums(self.masses[:, None, None] * arms[:, :, None] * arms[:, None, :])[turning]
        result = np.zeros((len(self.molecules), 3))
        result[turning] = turn(second, angular, self.molecules.linear[turning])
        return result


def turn(
    second: NDArray[np.float64], angular: NDArray[np.float64], linear: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return ω with I ω = L for each molecule, none about the axis of least inertia of linear ones.

    Parameters
    ----------
    second : ndarray, shape [n_molecules, 3, 3]
        Σ m s sᵀ, symmetric, in u Å²; its trace less itself is I.
    angular : ndarray, shape [n_molecules, 3]
        In u Å²/ps.
    linear : ndarray of bool, shape [n_molecules]

    Returns
    -------
    ndarray, shape [n_molecules, 3]
        In rad/ps.
    """
    inertia = np.trace(second, axis1=1, axis2=2)[:, None, None] * np.eye(3) - second
    moments, axes = np.linalg.eigh(inertia)
    moments[linear, 0] = 0.0
    free = moments > _SINGULAR * moments[:, 2:]
    along = np.einsum("mab,ma->mb", axes, angular) * free / np.where(free, moments, 1.0)
    omega: NDArray[np.float64] = np.einsum("mab,mb->ma", axes, along)
    return omega
