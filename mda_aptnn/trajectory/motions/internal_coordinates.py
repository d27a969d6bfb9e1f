"""Vibration taken apart into bond stretching, angle bending and torsion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mda_aptnn.errors import GroupError
from mda_aptnn.frame import Frame
from mda_aptnn.trajectory.molecules import bonded_paths
from mda_aptnn.trajectory.motions.rigid_motions import (
    REMAINDER,
    ROTATION,
    TRANSLATION,
    RigidMotions,
)
from mda_aptnn.trajectory.selection import select

#: Eigenvalues of G below this part of the largest belong to redundant coordinates.
_REDUNDANT = 1e-10
#: Angles closer than this to 0° or 180°, in degrees, cannot be bent nor turned about.
_STRAIGHT = 1.0
#: Atoms of a bond, an angle and a torsion, as shapes.
_LENGTHS = ((2,), (3,), (4,))


class InternalCoordinates:
    """Translation, rotation, the motion along named internal coordinates, and what vibration is
    left.

    Bonds, angles and torsions are not orthogonal, so that a convention is needed. With B = ∂q/∂r,
    the diagonal matrix of masses M and Wilson's G = B M⁻¹ Bᵀ, coordinate k gets the velocity

        v_k = M⁻¹ Bᵀ G⁻¹ e_k q̇_k ,   q̇ = B v

    that changes q_k as fast as it changes, none of the other named coordinates, and has the least
    kinetic energy. The sum over k is the projection of v under the masses; the remainder changes
    none of the coordinates. It matters which others are named, and v_k and v_l are coupled by G.
    Redundant coordinates (all six angles at a carbon atom) share by the pseudo-inverse of G. Each
    v_k leaves momentum and angular momentum alone, so translation and rotation are those of
    `RigidMotions`.

    E. B. Wilson, J. C. Decius, P. C. Cross, Molecular Vibrations (1955), chapter 4.

    Parameters
    ----------
    rigid : RigidMotions
    coordinates : mapping of str to ndarray of int, shape [n_coordinates, 2, 3 or 4]
        Atoms of each bond, angle or torsion, as places in the frame; see `find_coordinates`.

    Raises
    ------
    GroupError
        If a coordinate stands under two names, or joins two molecules.
    """

    def __init__(self, rigid: RigidMotions, coordinates: Mapping[str, NDArray[np.int64]]) -> None:
        self._rigid = rigid
        self._coordinates = {
            name: np.asarray(atoms, dtype=np.int64) for name, atoms in coordinates.items()
        }
        self.names: Sequence[str] = (TRANSLATION, ROTATION, *coordinates, REMAINDER)
        self._check()
        self._batches = _batches(list(self._coordinates.values()), len(rigid.masses))

    def parts(self, frame: Frame, velocities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the velocity of each atom in each motion, [n_motions, n_atoms, 3] in Å/ps."""
        translation, rotation, vibration = self._rigid.parts(frame, velocities)
        gradients = np.concatenate(
            [_gradients(_vectors(atoms, frame), name) for name, atoms in self._coordinates.items()]
        )
        along = np.zeros((len(self._coordinates), *velocities.shape))
        for batch in self._batches:
            n_sets, n_atoms = batch.atoms.shape
            # [n_sets, n_coordinates, 3 n_atoms]: B and B M⁻¹
            b = batch.matrix(gradients).reshape(n_sets, -1, 3 * n_atoms)
            lighter = b / np.repeat(self._rigid.masses[batch.atoms], 3, axis=1)[:, None]
            rates = b @ vibration[batch.atoms].reshape(n_sets, -1, 1)
            named = rates * (batch.kinds[:, :, None] == np.arange(len(along)))
            g = lighter @ b.transpose(0, 2, 1)
            forces = np.linalg.pinv(g, rcond=_REDUNDANT, hermitian=True) @ named
            moved = forces.transpose(0, 2, 1) @ lighter
            along[:, batch.atoms] += moved.reshape(n_sets, -1, n_atoms, 3).transpose(1, 0, 2, 3)
        rest = vibration - along.sum(axis=0)
        return np.stack([translation, rotation, *along, rest])

    def _check(self) -> None:
        seen: dict[tuple[int, ...], str] = {}
        for name, atoms in self._coordinates.items():
            if name in (TRANSLATION, ROTATION, REMAINDER):
                raise GroupError(
                    f"the name {name!r} is kept for a motion that is always there; take another one"
                )
            molecule = self._rigid.molecules.membership[atoms]
            if (molecule != molecule[:, :1]).any():
                raise GroupError(
                    f"coordinate {name!r} joins atoms of different molecules; take atoms of one"
                )
            for row in map(tuple, atoms.tolist()):
                key = min(row, row[::-1])
                if key in seen:
                    raise GroupError(
                        f"atoms {', '.join(map(str, row))} (counted from 0) stand in coordinates "
                        f"{seen[key]!r} and {name!r}; each may be named once"
                    )
                seen[key] = name


def find_coordinates(
    selections: Mapping[str, Any], atoms: Any, indices: NDArray[np.int64], bonds: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Find the bonds, angles and torsions that selections mean.

    Parameters
    ----------
    selections : mapping of str to sequence
        Two, three or four selections for a name: every chain of bonded atoms that match them one by
        one, in either direction, is a coordinate. ``{"OH stretching": ("name O", "name H1 H2")}``.
        Or numbers of atoms in the Universe, [n_coordinates, 2, 3 or 4], which need not be bonded.
    atoms : MDAnalysis.AtomGroup
        Where selections look.
    indices : ndarray of int, shape [n_atoms]
        Universe indices of the atoms of the frames.
    bonds : ndarray of int, shape [n_bonds, 2]
        As places in `indices`.

    Raises
    ------
    GroupError
        If a name has no coordinate, or its value is neither, or a selection is wrong.
    """
    place = np.full(max(int(indices.max()) + 1, len(atoms.universe.atoms)), -1, dtype=np.int64)
    place[indices] = np.arange(len(indices))
    found = {}
    for name, value in selections.items():
        texts = not isinstance(value, str) and all(isinstance(part, str) for part in value)
        if not texts:
            found[name] = _numbered(name, value, place)
            continue
        if len(value) not in (2, 3, 4):
            raise GroupError(f"coordinate {name!r} has {len(value)} selections; give 2, 3 or 4")
        paths = bonded_paths(bonds, len(indices), len(value))
        for column, text in enumerate(value):
            matching = np.isin(indices, select(atoms, text, f"coordinate {name!r}").indices)
            paths = paths[matching[paths[:, column]]]
        turned = paths[:, 0] > paths[:, -1]
        paths[turned] = paths[turned, ::-1]
        found[name] = np.unique(paths, axis=0)
        if len(paths) == 0:
            raise GroupError(
                f"coordinate {name!r} ({'; '.join(value)}): no bonded atoms match; check the "
                "selections"
            )
    return found


def _numbered(name: str, value: Any, place: NDArray[np.int64]) -> NDArray[np.int64]:
    numbers = np.asarray(value)
    if isinstance(value, str) or numbers.dtype.kind != "i" or numbers.shape[1:] not in _LENGTHS:
        raise GroupError(
            f'coordinate {name!r}: give two to four selections, such as ("name O", "name H1"), or '
            "numbers of atoms [n_coordinates, 2, 3 or 4]"
        )
    if (
        numbers.size == 0
        or numbers.min() < 0
        or numbers.max() >= len(place)
        or (place[numbers] < 0).any()
    ):
        raise GroupError(f"coordinate {name!r} names atoms that are not there")
    chosen: NDArray[np.int64] = place[numbers]
    return chosen


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Sets of coordinates that share atoms, alike in their numbers of both.

    Attributes
    ----------
    atoms : ndarray of int, shape [n_sets, n_atoms]
    coordinates, kinds : ndarray of int, shape [n_sets, n_coordinates]
        Which of all coordinates, and under which name.
    places : ndarray of int, shape [n_sets, n_coordinates, 4]
        Where in `atoms` the atoms of each coordinate are; n_atoms where it has fewer than four.
    """

    atoms: NDArray[np.int64]
    coordinates: NDArray[np.int64]
    kinds: NDArray[np.int64]
    places: NDArray[np.int64]

    def matrix(self, gradients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return B of each set, [n_sets, n_coordinates, n_atoms, 3], from gradients [n_coordinates,
        4, 3].
        """
        n_sets, n_coordinates, _ = self.places.shape
        b = np.zeros((n_sets, n_coordinates, self.atoms.shape[1] + 1, 3))
        np.put_along_axis(b, self.places[..., None], gradients[self.coordinates], axis=2)
        return b[:, :, :-1]


def _batches(coordinates: Sequence[NDArray[np.int64]], n_atoms: int) -> list[_Batch]:
    """The sets of all coordinates, given by name; alike ones together."""
    # [n_coordinates, 4], n_atoms where there are fewer
    members = np.concatenate(
        [np.pad(c, ((0, 0), (0, 4 - c.shape[1])), constant_values=n_atoms) for c in coordinates]
    )
    kinds = np.repeat(np.arange(len(coordinates)), [len(atoms) for atoms in coordinates])
    row, column = np.nonzero(members < n_atoms)
    size = len(members) + n_atoms
    joins = (np.ones(len(row)), (row, len(members) + members[row, column]))
    labels = connected_components(coo_array(joins, shape=(size, size)), directed=False)[1]
    alike: dict[tuple[int, ...], list[tuple[NDArray[np.int64], ...]]] = {}
    order = np.argsort(labels[: len(members)], kind="stable")
    for some in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        atoms = np.unique(members[some])
        atoms = atoms[atoms < n_atoms]
        places = np.searchsorted(atoms, members[some])
        alike.setdefault(places.shape + atoms.shape, []).append((atoms, some, kinds[some], places))
    return [_Batch(*map(np.array, zip(*sets, strict=True))) for sets in alike.values()]


def _vectors(atoms: NDArray[np.int64], frame: Frame) -> NDArray[np.float64]:
    """From each atom of a coordinate to the next, [n_coordinates, 1 to 3, 3] in Å."""
    steps = frame.positions[atoms[:, 1:]] - frame.positions[atoms[:, :-1]]
    return frame.box.nearest(steps)


def _gradients(steps: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """∂q/∂r of each atom [n_coordinates, 4, 3], zero beyond the last; in Å and rad."""
    n, n_steps, _ = steps.shape
    result = np.zeros((n, 4, 3))
    lengths = np.linalg.norm(steps, axis=2)
    if n_steps > 1:
        area = np.linalg.norm(np.cross(steps[:, :-1], steps[:, 1:]), axis=2)
        if (area < np.sin(np.radians(_STRAIGHT)) * lengths[:, :-1] * lengths[:, 1:]).any():
            raise GroupError(
                f"coordinate {name!r}: three of its atoms are in line, where it has no direction"
            )
    if n_steps == 1:
        result[:, 1] = steps[:, 0] / lengths
        result[:, 0] = -result[:, 1]
    elif n_steps == 2:
        one, other = -steps[:, 0] / lengths[:, :1], steps[:, 1] / lengths[:, 1:]
        cosine = np.einsum("na,na->n", one, other)[:, None]
        sine = np.sqrt(1 - cosine**2)
        result[:, 0] = (cosine * one - other) / (lengths[:, :1] * sine)
        result[:, 2] = (cosine * other - one) / (lengths[:, 1:] * sine)
        result[:, 1] = -result[:, 0] - result[:, 2]
    else:
        _turn_about(steps, lengths[:, 1], result)
    return result


def _turn_about(
    steps: NDArray[np.float64], axis: NDArray[np.float64], result: NDArray[np.float64]
) -> None:
    """Gradients of torsions: A. Blondel, M. Karplus, J. Comput. Chem. 17, 1132 (1996), Eq. 27."""
    f, g, h = -steps[:, 0], -steps[:, 1], steps[:, 2]
    a, b = np.cross(f, g), np.cross(h, g)
    a_over = a / np.einsum("na,na->n", a, a)[:, None]
    b_over = b / np.einsum("na,na->n", b, b)[:, None]
    fg = (np.einsum("na,na->n", f, g) / axis)[:, None]
    hg = (np.einsum("na,na->n", h, g) / axis)[:, None]
    result[:, 0], result[:, 3] = -axis[:, None] * a_over, axis[:, None] * b_over
    shared = fg * a_over - hg * b_over
    result[:, 1], result[:, 2] = -result[:, 0] + shared, -result[:, 3] - shared
