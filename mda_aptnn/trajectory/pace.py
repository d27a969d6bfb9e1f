"""Whether atoms move from frame to frame as far as their velocities take them."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.sparse import coo_array

from mda_aptnn.checks import Check, Question
from mda_aptnn.frame import Array, Indices
from mda_aptnn.trajectory.fastest_motion import nyquist
from mda_aptnn.trajectory.kinetics import Look
from mda_aptnn.trajectory.molecules import Molecules

#: A time between frames that is off by this factor is looked at, and refused. Velocities half a
#: step behind leave 1.03 in flexible water at 1 fs, and rounded velocities of a LAMMPS dump (three
#: digits) 1.01.
NOTICED, WRONG = 1.1, 1.25
#: Standard errors that both need.
SURE = 4.0
#: Squared displacements over the square of those along velocities: up to 1.33 where velocities are
#: remembered.
TWICE = 2.0
#: ⟨v(0)·v(Δt)⟩/⟨v²⟩ below which displacements and velocities no longer tell the time between
#: frames.
REMEMBERED = 0.5
#: Part of the kinetic energy below which heavy atoms with their hydrogens are at rest: a lone
#: molecule whose centre of mass was stopped has 1e-8 and less.
RESTING = 1e-4

TIME = Question(
    "time between frames",
    "Atoms should move as far from frame to frame as their velocities take them.",
    "--allow-aliasing",
)
FOLDING = Question(
    "motion of hydrogen",
    "Hydrogen moves faster than frames can tell, and its bands are drawn at wrong wavenumbers. "
    "Write frames more often.",
    "--allow-aliasing",
)


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


def heavy_units(molecules: Molecules) -> Indices:
    """Return the number of the unit of each atom: a hydrogen counts to the heavy atom that it is
    bonded to.
    """
    hydrogen = molecules.numbers == 1
    owner = np.arange(len(hydrogen))
    for i, j in (molecules.bonds.T, molecules.bonds.T[::-1]):
        belongs = hydrogen[i] & ~hydrogen[j]
        owner[i[belongs]] = j[belongs]
    return np.unique(owner, return_inverse=True)[1]


def unit_means(values: Array, unit: Indices, masses: Array) -> Array:
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


def check_pace(look: Look) -> list[Check]:
    """Hold displacements from frame to frame against velocities: of heavy atoms with their
    hydrogens, and of these.

    Parameters
    ----------
    look : Look

    Returns
    -------
    list of Check
    """
    femto = f"{1000 * look.spacing:g} fs"
    known = [
        m
        for m in look.moments
        if m.moved is not None and m.velocities is not None and m.velocities.any()
    ]
    if not known:
        return [TIME.answer(f"{femto}, not held against velocities", None)]
    moved, velocities, following = (
        np.array([getattr(moment, name) for moment in known])
        for name in ("moved", "velocities", "next_velocities")
    )
    masses, unit = look.masses, heavy_units(look.molecules)
    totals = np.asarray(np.bincount(unit, masses), dtype=np.float64)
    united = [unit_means(values, unit, masses) for values in (moved, velocities, following)]
    whole = float((totals[:, None] * united[1] ** 2).sum())
    if whole < RESTING * float((masses[:, None] * velocities**2).sum()):
        # what is left is rounding of positions and velocities
        return [TIME.answer(f"{femto}; molecules rest as a whole", None)]
    slow = measure_pace(united[0], united[1], united[2], totals, look.spacing)
    checks = [_time(slow, look.spacing)]
    light = np.flatnonzero((look.molecules.numbers == 1) & (np.bincount(unit)[unit] > 1))
    if len(light):
        for values, means in zip((moved, velocities, following), united, strict=True):
            values -= means[:, unit]
        inner = moved[:, light], velocities[:, light], following[:, light]
        folded = _folding(measure_pace(*inner, masses[light], look.spacing), slow, look.spacing)
        checks += [folded] if folded is not None else []
    return checks


def _time(pace: Pace, spacing: float) -> Check:
    femto = 1000 * spacing
    if not np.isfinite(pace.ratio):
        meaning = "Velocities of zero tell no time."
        return TIME.answer(f"{femto:g} fs; nothing moves", None, meaning=meaning)
    against = (
        "Positions and velocities are not of one motion: frames are in another order, velocities "
        "have another sign or are of another run, or positions have another unit."
    )
    if pace.spread == 0:
        found = f"{femto:g} fs; positions stay where they are, and velocities are not zero"
        return TIME.answer(found, False, grave=True, meaning=against)
    found = (
        f"{femto:g} fs; velocities correlate from frame to frame by {pace.memory:.2f}, "
        f"displacements follow them by {pace.ratio:.2f}"
    )
    if pace.memory < REMEMBERED:
        # of atoms without memory nothing is said for sure: beads of a ring polymer are fast
        meaning = (
            "Frames this far apart do not follow the motion: what is faster than the Nyquist "
            f"wavenumber is folded back below {nyquist(spacing):.0f} cm⁻¹: write frames more "
            "often. Or velocities are not those of these positions."
        )
        return TIME.answer(found, False, meaning=against if pace.spread > TWICE else meaning)
    wide, square = SURE * pace.error, pace.ratio**2
    if pace.ratio < -wide or pace.spread > (TWICE + wide) * square:
        return TIME.answer(found, False, grave=True, meaning=against)
    if pace.ratio < wide or pace.spread > TWICE * square:
        meaning = "Too few atoms and frames tell the time between frames."
        return TIME.answer(found, None, meaning=meaning)
    low, high = pace.factor
    middle = float(np.sqrt(low * high))
    found = f"{femto:g} fs; by displacements over velocities {femto / middle:.3g} fs"
    # how far the time is off for sure, too long or too short
    off = max(low, 1 / high) - wide / pace.ratio
    meaning = (
        f"The time between *recorded* frames is about {femto / middle:.2g} fs by what atoms move, "
        f"but said to be {femto:g} fs, too {'long' if low > 1 else 'short'}: all wavenumbers would "
        f"be {1 / middle:.3g} times theirs. Or the unit of the velocities is wrong. Give the right "
        "one (time_step=, --time-step; velocity_unit=, --velocity-unit)."
    )
    fine = off <= NOTICED
    return TIME.answer(found, fine, grave=off > WRONG, meaning="" if fine else meaning)


def _folding(fast: Pace, slow: Pace, spacing: float) -> Check | None:
    """The motion of hydrogen on its heavy atom by itself: below what any motion of its memory
    gives, it is folded.
    """
    middle = float(np.sqrt(np.prod(slow.factor)))
    # what the heavy atoms say of time and unit is taken out, if they say something
    if not (np.isfinite([fast.ratio, middle]).all() and slow.memory > REMEMBERED):
        return None
    lowest = (1 + fast.memory) / 2 / middle
    if lowest / NOTICED - fast.ratio < max(SURE * fast.error, 0.05):
        return None
    found = (
        f"displacements over velocities {fast.ratio:.2f}, at least {lowest:.2f} below the Nyquist "
        f"wavenumber, {nyquist(spacing):.0f} cm⁻¹"
    )
    return FOLDING.answer(found, False, grave=True)
