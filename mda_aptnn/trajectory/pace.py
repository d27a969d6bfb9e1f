"""Whether atoms move from frame to frame as far as their velocities take them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from mda_aptnn.trajectory.kinetics import Moment
from mda_aptnn.trajectory.molecules import Molecules

Array = NDArray[np.float64]

#: Part of the kinetic energy below which heavy atoms with their hydrogens are at rest: a lone
#: molecule whose centre of mass was stopped has 1e-8 and less.
RESTING = 1e-4


@dataclasses.dataclass(frozen=True)
class Pace:
    """How far atoms move against how far their velocities take them.

    Attributes
    ----------
    ratio : float
        ⟨v(t)·[r(t+Δt) − r(t−Δt)]⟩ / 2Δt⟨v²⟩ with the time between frames as it is said to be.
    memory : float
        ⟨v(t)·v(t+Δt)⟩/⟨v²⟩.
    spread : float
        ⟨|r(t+Δt) − r(t−Δt)|²⟩ / (2Δt)²⟨v²⟩; 1 or less for displacements that are integrals of the
        velocities.
    error : float
        Standard error of `ratio` and half of `memory` together.
    """

    ratio: float
    memory: float
    spread: float
    error: float

    @property
    def factor(self) -> tuple[float, float]:
        """Least and largest factor by which the time between frames may be too long (above 1) or
        short.

        Notes
        -----
        A stationary motion with the spectrum S(ω) of its velocity, ∫S = 1, has the memory C = ∫ S
        cos(ωΔt) and the ratio ∫ S sin(ωΔt)/(ωΔt). The point (cos x, sin x/x), 0 ≤ x ≤ π, runs on a
        concave curve, so that the ratio lies between its chord (1 + C)/2 and itself, sin(arccos
        C)/arccos C: whatever the motion, if nothing in it is faster than the Nyquist frequency,
        π/Δt.
        """
        angle = np.arccos(np.clip(self.memory, -1.0, 1.0))
        chord, arc = (1 + self.memory) / 2, float(np.sinc(angle / np.pi))
        return (chord / self.ratio, arc / self.ratio) if self.ratio > 0 else (np.inf, np.inf)


def measure_pace(
    moved: Array, velocities: Array, following: Array, masses: Array, spacing: float
) -> Pace:
    """Return the pace of atoms, or of groups of atoms.

    Parameters
    ----------
    moved : ndarray, shape [n_frames, n_atoms, 3]
        From the frame before to the one after, in Å.
    velocities, following : ndarray, shape [n_frames, n_atoms, 3]
        In the frame and in the one after, in Å/ps.
    masses : ndarray, shape [n_atoms]
        In u.
    spacing : float
        Time between frames, in ps.
    """
    weights = masses[:, None]
    displaced = moved / (2 * spacing)
    norm = float((weights * velocities**2).sum())
    if not norm > 0:
        return Pace(np.nan, np.nan, np.nan, np.nan)
    ratio = float((weights * displaced * velocities).sum()) / norm
    memory = float((weights * following * velocities).sum()) / norm
    left = (displaced - ratio * velocities) - 0.5 * (following - memory * velocities)
    error = float(np.sqrt(((weights * left * velocities) ** 2).sum())) / norm
    return Pace(ratio, memory, float((weights * displaced**2).sum()) / norm, error)


def heavy_units(molecules: Molecules) -> NDArray[np.int64]:
    """Return the number of the unit of each atom: a hydrogen counts to the heavy atom that it is
    bonded to.
    """
    hydrogen = molecules.numbers == 1
    owner = np.arange(len(hydrogen))
    for i, j in (molecules.bonds.T, molecules.bonds.T[::-1]):
        belongs = hydrogen[i] & ~hydrogen[j]
        owner[i[belongs]] = j[belongs]
    return np.unique(owner, return_inverse=True)[1]


def unit_means(values: Array, unit: NDArray[np.int64], masses: Array) -> Array:
    """Return means over the atoms of each unit, weighted by mass.

    Parameters
    ----------
    values : ndarray, shape [n_frames, n_atoms, 3]
    unit : ndarray of int, shape [n_atoms]
    masses : ndarray, shape [n_atoms]
        In u.

    Returns
    -------
    ndarray, shape [n_frames, n_units, 3]
    """
    weights = coo_array((masses / np.bincount(unit, masses)[unit], (unit, np.arange(len(unit)))))
    return np.array([weights @ frame for frame in values])


def measured_paces(
    moments: Sequence[Moment], molecules: Molecules, masses: Array, spacing: float
) -> tuple[Pace, Pace | None] | None:
    """Return the pace of heavy atoms with their hydrogens, and of hydrogens against these.

    Parameters
    ----------
    moments : sequence of Moment
        With velocities and what surrounds them.
    molecules : Molecules
    masses : ndarray, shape [n_atoms]
        In u.
    spacing : float
        Time between these frames, in ps.

    Returns
    -------
    slow : Pace
    fast : Pace or None
        Where hydrogens are bonded to heavy atoms.

    None in place of both where molecules rest as a whole: what is left of their motion is rounding.
    """
    unit = heavy_units(molecules)
    totals = np.asarray(np.bincount(unit, masses), dtype=np.float64)
    moved, velocities, following = (
        np.array([getattr(moment, name) for moment in moments])
        for name in ("moved", "velocities", "next_velocities")
    )
    united = [unit_means(values, unit, masses) for values in (moved, velocities, following)]
    whole = float((totals[:, None] * united[1] ** 2).sum())
    if whole < RESTING * float((masses[:, None] * velocities**2).sum()):
        return None
    slow = measure_pace(united[0], united[1], united[2], totals, spacing)
    light = np.flatnonzero((molecules.numbers == 1) & (np.bincount(unit)[unit] > 1))
    if not len(light):
        return slow, None
    for values, means in zip((moved, velocities, following), united, strict=True):
        values -= means[:, unit]
    inner = moved[:, light], velocities[:, light], following[:, light]
    return slow, measure_pace(*inner, masses[light], spacing)
