"""Kinetic temperatures of elements and of motions of molecules, which are equal in equilibrium."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.elements import SYMBOLS
from mda_aptnn.trajectory.molecules import Molecules
from mda_aptnn.trajectory.motions.rigid_motions import RigidMotions
from mda_aptnn.trajectory.universe_frames import Moment

Array = NDArray[np.float64]


def kinetic_parts(
    moments: Sequence[Moment], molecules: Molecules, masses: Array, *, held: bool
) -> dict[str, tuple[Array, float]]:
    """Return Σ m v²/(f k_B) of all atoms, each element, and translation, rotation and vibration of
    molecules.

    The motion of the centre of mass of everything is taken out.

    Parameters
    ----------
    moments : sequence of Moment
        With velocities.
    molecules : Molecules
    masses : ndarray, shape [n_atoms]
        In u.
    held : bool
        Whether constraints hold bonds: then only translation and rotation are known, and "all" is
        the two together.

    Returns
    -------
    dict of str to (ndarray of shape [n_moments], float)
        Temperatures in K and degrees of freedom f.
    """
    velocities = np.array([moment.velocities for moment in moments])
    velocities -= (masses[:, None] * velocities).sum(axis=1, keepdims=True) / masses.sum()
    numbers, total = molecules.numbers, masses.sum()
    energies = (masses[:, None] * velocities**2).sum(axis=2)
    parts: dict[str, tuple[Array, float]] = {}
    if not held:
        parts["all"] = energies.sum(axis=1), 3.0 * len(masses) - 3 if len(masses) > 1 else 3.0
        for number in np.unique(numbers) if len(set(numbers.tolist())) > 1 else []:
            own = numbers == number
            freedom = 3 * own.sum() - 3 * masses[own].sum() / total
            parts[SYMBOLS[int(number)]] = energies[:, own].sum(axis=1), float(freedom)
    # ions and molecules bonded to their own image only translate, or have no motions as a whole
    if len(molecules) > 1 and (molecules.sizes > 1).any() and not molecules.endless.any():
        rigid = RigidMotions(molecules, masses)
        each = np.array(
            [
                [(masses[:, None] * part**2).sum() for part in rigid.parts(moment.frame, own)]
                for moment, own in zip(moments, velocities, strict=True)
            ]
        )
        several = molecules.sizes > 1
        freedoms = [
            3.0 * len(molecules) - 3,
            3.0 * several.sum() - (molecules.linear & several).sum(),
        ]
        freedoms.append(3.0 * len(masses) - 3 - sum(freedoms))
        parts["translation"], parts["rotation"] = ((each[:, k], float(freedoms[k])) for k in (0, 1))
        if held:
            parts["all"] = each[:, :2].sum(axis=1), float(sum(freedoms[:2]))
        else:
            parts["vibration"] = each[:, 2], float(freedoms[2])
    return {name: (sums / (f * units.BOLTZMANN), f) for name, (sums, f) in parts.items() if f > 0}
