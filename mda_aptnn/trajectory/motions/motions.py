"""Velocities taken apart into motions: what a user may ask for, and what it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import GroupError
from mda_aptnn.frame import Frame
from mda_aptnn.trajectory.molecules import Molecules
from mda_aptnn.trajectory.motions.internal_coordinates import InternalCoordinates, find_coordinates
from mda_aptnn.trajectory.motions.normal_modes import NormalModeMotions, NormalModes
from mda_aptnn.trajectory.motions.rigid_motions import RigidMotions

#: What parts of motions may leave of the largest velocity.
_COMPLETE = 1e-9


class Motions(Protocol):
    """Anything that takes velocities apart."""

    names: Sequence[str]

    def parts(self, frame: Frame, velocities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the velocity of each atom in each motion, [n_motions, n_atoms, 3]; they sum to
        `velocities`.
        """
        ...


def take_apart(
    motions: Motions, frame: Frame, velocities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the velocity of each atom in each motion, [n_motions, n_atoms, 3], checked to be
    complete.

    Raises
    ------
    GroupError
        If the parts have another shape, or do not sum to the velocities.
    """
    parts = np.asarray(motions.parts(frame, velocities), dtype=float)
    if parts.shape != (len(motions.names), *velocities.shape):
        raise GroupError(
            f"the motions gave parts of shape {parts.shape}, not "
            f"{(len(motions.names), *velocities.shape)}"
        )
    left = np.abs(parts.sum(axis=0) - velocities).max()
    if not left <= _COMPLETE * np.abs(velocities).max():
        raise GroupError(
            f"the parts of the motions leave {left:.3g} Å/ps of the velocities; add what is missing"
        )
    return parts


def make_motions(
    motions: Any,
    atoms: Any,
    indices: NDArray[np.int64],
    masses: NDArray[np.float64],
    molecules: Callable[[], Molecules],
) -> Motions:
    """Return the object that takes velocities apart.

    Parameters
    ----------
    motions : "rigid", mapping, NormalModes or object
        Translation, rotation and vibration; or internal coordinates by name, as `find_coordinates`
        takes them; or the normal modes of a structure; or an object with ``names`` and
        ``parts(frame, velocities)``.
    atoms : MDAnalysis.AtomGroup
        Where selections look.
    indices : ndarray of int, shape [n_atoms]
        Universe indices of the atoms of the frames.
    masses : ndarray, shape [n_atoms]
        In u.
    molecules : callable
        Returns the molecules of these atoms, if they are needed.

    Raises
    ------
    GroupError
        If it is none of these, or does not fit the atoms.
    """
    if hasattr(motions, "names") and hasattr(motions, "parts"):
        made: Motions = motions
        return made
    if isinstance(motions, str) and motions == "rigid":
        return RigidMotions(molecules(), masses)
    if isinstance(motions, Mapping):
        coordinates = find_coordinates(motions, atoms, indices, molecules().bonds)
        return InternalCoordinates(RigidMotions(molecules(), masses), coordinates)
    if isinstance(motions, NormalModes):
        return NormalModeMotions(RigidMotions(molecules(), masses), motions)
    raise GroupError(
        f'motions {motions!r}: give "rigid", internal coordinates such as {{"OH": ("element O", '
        '"element H")}, NormalModes, or an object with names and parts(frame, velocities)'
    )
