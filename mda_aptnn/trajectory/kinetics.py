"""What velocities say: kinetic temperatures, the unit they are likely in, constrained bonds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.elements import SYMBOLS
from mda_aptnn.errors import TrajectoryError
from mda_aptnn.frame import Frame
from mda_aptnn.trajectory.molecules import Molecules, bonded_paths, near_pairs
from mda_aptnn.trajectory.motions.rigid_motions import RigidMotions

Array = NDArray[np.float64]

#: Units in which programs write velocities: GROMACS nm/ps, LAMMPS Å/ps (metal) and Å/fs (real),
#: CP2K and other electronic-structure codes atomic units, Amber and CHARMM Å per 48.88821 fs.
CANDIDATES = (
    "angstrom/ps",
    "nm/ps",
    "angstrom/fs",
    "bohr/atomic_unit_of_time",
    "20.45483 angstrom/ps",
    "m/s",
)

#: Kinetic temperatures in K outside of this range are taken for a wrong unit.
PLAUSIBLE = (5.0, 5000.0)

#: A relative velocity along a bond below this part of sqrt(kT/μ) counts as none. Velocities half a
#: step behind the positions (leap-frog) leave about 0.03 of it along a rigid bond of water at 2 fs.
RIGID = 0.1


@dataclasses.dataclass(frozen=True)
class Moment:
    """A frame with what surrounds it in time.

    Attributes
    ----------
    number : int
        Of the frame in the trajectory.
    frame : Frame
    velocities : ndarray, shape [n_atoms, 3], or None
        In Å/ps.
    moved : ndarray, shape [n_atoms, 3], or None
        From the frame before to the one after, in Å, in the nearest image.
    next_velocities : ndarray, shape [n_atoms, 3], or None
        In the frame after, in Å/ps.
    """

    number: int
    frame: Frame
    velocities: NDArray[np.float64] | None
    moved: NDArray[np.float64] | None = None
    next_velocities: NDArray[np.float64] | None = None


def kinetic_temperature(
    velocities: NDArray[np.float64],
    masses: NDArray[np.float64],
    degrees_of_freedom: float | None = None,
) -> float:
    """Return ``Σ m v² / (f k_B)`` in K.

    Parameters
    ----------
    velocities : ndarray, shape [n_atoms, 3]
        In Å/ps; a drift of the centre of mass is not taken out.
    masses : ndarray, shape [n_atoms]
        In u.
    degrees_of_freedom : float, optional
        f; 3N − 3 if not given (3 for one atom). Constraints have to be subtracted by the caller.
    """
    n_atoms = len(masses)
    f = degrees_of_freedom if degrees_of_freedom is not None else max(3 * n_atoms - 3, 3)
    return float((masses[:, None] * velocities**2).sum() / (f * units.BOLTZMANN))


def check_degrees_of_freedom(given: int | None) -> None:
    """Refuse what is no positive integer.

    Raises
    ------
    ValueError
    """
    if given is not None and not (isinstance(given, int | np.integer) and given > 0):
        raise ValueError(f"degrees_of_freedom must be a positive integer, not {given!r}")


def is_plausible(temperature: float) -> bool:
    """Whether a sample of atoms could have this temperature in K."""
    return PLAUSIBLE[0] <= temperature <= PLAUSIBLE[1]


def likely_unit(temperature: float) -> str | None:
    """Return the unit that explains `temperature`, found in K with the numbers taken as Å/ps; None
    if none does.

    Of the units that give a plausible temperature, the one nearest to 300 K on a logarithmic scale.
    """
    if temperature <= 0:
        return None
    found = {unit: temperature * units.velocity_factor(unit) ** 2 for unit in CANDIDATES}
    found = {unit: value for unit, value in found.items() if is_plausible(value)}
    return min(found, key=lambda unit: abs(np.log(found[unit] / 300)), default=None)


def constrained_bonds(
    samples: Iterable[tuple[Frame, NDArray[np.float64]]], masses: NDArray[np.float64]
) -> float:
    """Return the number of distances between bonded atoms that a constraint seems to hold, as a
    mean over frames.

    Along a free bond the relative velocity is distributed with the variance kT/μ, so it is nearly
    zero for few of them; along a constrained one it is zero always. Pairs with a common bonded
    neighbour are looked at as well: a rigid water molecule counts three. The count is zero unless
    it is more than chance explains in all frames together: of a lone molecule one frame says too
    little.

    Parameters
    ----------
    samples : iterable of (Frame, ndarray of shape [n_atoms, 3])
        Frames with their velocities in Å/ps.
    masses : ndarray, shape [n_atoms]
        In u.

    Raises
    ------
    TrajectoryError
        If velocities or masses do not go with a frame.
    """
    rigid = n_pairs = n_frames = 0
    for frame, velocities in samples:
        if np.shape(velocities) != (len(frame), 3) or np.shape(masses) != (len(frame),):
            raise TrajectoryError(
                f"velocities {np.shape(velocities)} and masses {np.shape(masses)} do not go with "
                f"{len(frame)} atoms"
            )
        i, j, vectors = _bonded_pairs(frame)
        along = np.einsum("px,px->p", velocities[j] - velocities[i], vectors) / np.linalg.norm(
            vectors, axis=1
        )
        reduced = masses[i] * masses[j] / (masses[i] + masses[j])
        thermal = np.sqrt(units.BOLTZMANN * kinetic_temperature(velocities, masses) / reduced)
        rigid += int((np.abs(along) < RIGID * thermal).sum())
        n_pairs, n_frames = n_pairs + len(i), n_frames + 1
    # probability that a normal deviate is below RIGID in magnitude
    chance = RIGID * np.sqrt(2 / np.pi) * n_pairs
    return rigid / n_frames if rigid > chance + 4 * np.sqrt(chance) + 0.5 else 0.0


def kinetic_parts(
    moments: Sequence[Moment], molecules: Molecules, masses: Array, *, held: bool
) -> dict[str, tuple[Array, float]]:
    """Return Σ m v²/(f k_B) of all atoms, each element, and translation, rotation and vibration of
    molecules, which are equal in equilibrium.

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
    energies = (masses[:, None] * velocities**2).sum(axis=2)
    whole = 3.0 * len(masses) - 3 if len(masses) > 1 else 3.0
    # name: Σ m v² [n_moments] and degrees of freedom
    parts: dict[str, tuple[Array, float]] = {}
    if not held:
        parts["all"] = energies.sum(axis=1), whole
        elements = np.unique(molecules.numbers).tolist()
        for number in elements if len(elements) > 1 else []:
            own = molecules.numbers == number
            freedom = 3.0 * own.sum() - 3 * masses[own].sum() / masses.sum()
            parts[SYMBOLS[number]] = energies[:, own].sum(axis=1), float(freedom)
    several = molecules.sizes > 1
    # ions and molecules bonded to their own image only translate, or have no motions as a whole
    if len(molecules) > 1 and several.any() and not molecules.endless.any():
        rigid = RigidMotions(molecules, masses)
        motions = [
            rigid.parts(moment.frame, own) for moment, own in zip(moments, velocities, strict=True)
        ]
        moving = np.einsum("i,tmia->mt", masses, np.square(motions))
        freedoms = [3.0 * len(molecules) - 3, 3.0 * several.sum() - molecules.linear[several].sum()]
        parts["translation"], parts["rotation"] = zip(moving[:2], map(float, freedoms), strict=True)
        if held:
            parts["all"] = moving[:2].sum(axis=0), float(sum(freedoms))
        else:
            parts["vibration"] = moving[2], float(whole - sum(freedoms))
    return {name: (sums / (f * units.BOLTZMANN), f) for name, (sums, f) in parts.items() if f > 0}


def _bonded_pairs(frame: Frame) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs at bonding distance and 1-3 pairs, each once, with their vectors."""
    centre, neighbour, _ = near_pairs(frame)
    bonds = np.stack([centre, neighbour], axis=1)[centre < neighbour]
    ends = bonded_paths(bonds, len(frame), 3)[:, [0, 2]]
    i, j = np.concatenate([bonds, ends[ends[:, 0] < ends[:, 1]]]).T
    return i, j, frame.box.nearest(frame.positions[j] - frame.positions[i])
