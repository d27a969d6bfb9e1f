"""Whether frames are as far apart in time as they are said to be, and close enough for the motion
in them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.checks import Check, Verdict
from mda_aptnn.elements import SYMBOLS
from mda_aptnn.trajectory.molecules import Molecules, bonded_paths
from mda_aptnn.trajectory.universe_frames import Moment

Array = NDArray[np.float64]

#: A time between frames that is off by this factor is looked at, and refused. Velocities half a
#: step behind leave 1.03 in flexible water at 1 fs, and rounded velocities of a LAMMPS dump (three
#: digits) 1.01.
NOTICED, WRONG = 1.1, 1.25
#: Standard errors that both need.
SIGMAS = 4.0
#: Squared displacements over the square of those along velocities: up to 1.33 where velocities are
#: remembered.
TWICE = 2.0
#: ⟨v(0)·v(Δt)⟩/⟨v²⟩ below which displacements and velocities no longer tell the time between
#: frames.
REMEMBERED = 0.5
#: Wavenumbers in cm⁻¹ of stretching vibrations of hydrogen (mass 1.008) on other atoms, the highest
#: of common molecules: textbook values (water, ammonia, methane, hydrogen halides, silane,
#: phosphine, hydrogen sulfide).
HYDROGEN_STRETCHES = {
    1: 4400,
    5: 2600,
    6: 3150,
    7: 3500,
    8: 3750,
    9: 4000,
    14: 2250,
    15: 2400,
    16: 2650,
    17: 2990,
}
#: The same of other atoms: 2000 for metals and the rest.
OTHER_STRETCH = 2000.0
#: In cm⁻¹: stretching of C, N, O among each other (carbonyls), of other heavy atoms, bending of
#: hydrogen, librations of rigid molecules with hydrogen, motion of atoms without any bond that
#: vibrates.
TRIPLE, CARBONYL, HEAVY, BENDING, LIBRATION, LATTICE = 2400.0, 1800.0, 1200.0, 1650.0, 1000.0, 400.0
#: Longer than the bond of H2, in Å.
H2_LENGTH = 0.95
#: A distance whose standard deviation is below this, in Å, is held by a constraint: free O-H bonds
#: at 300 K have 0.03.
HELD = 0.006
#: Nyquist wavenumbers less than this part above the fastest motion are close.
CLOSE = 1.08


#: Part of the kinetic energy below which heavy atoms with their hydrogens are at rest: a lone
#: molecule whose centre of mass was stopped has 1e-8 and less.
RESTING = 1e-4
#: What `Moment` says of the motion.
_MOTION = ("moved", "velocities", "next_velocities")


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
        if not self.ratio > 0:
            return np.inf, np.inf
        return chord / self.ratio, arc / self.ratio


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


def hydrogens_united(molecules: Molecules) -> NDArray[np.int64]:
    """Return the number of the unit of each atom: a hydrogen counts to the heavy atom that it is
    bonded to.
    """
    hydrogen = molecules.numbers == 1
    owner = np.arange(len(hydrogen))
    for i, j in (molecules.bonds.T, molecules.bonds.T[::-1]):
        belongs = hydrogen[i] & ~hydrogen[j]
        owner[i[belongs]] = j[belongs]
    return np.unique(owner, return_inverse=True)[1]


def check_pace(
    moments: Sequence[Moment], molecules: Molecules, masses: Array, spacing: float
) -> list[Check]:
    """Hold displacements from frame to frame against velocities: of heavy atoms with their
    hydrogens, and of these.

    Parameters
    ----------
    moments : sequence of Moment
        With what surrounds them.
    molecules : Molecules
    masses : ndarray, shape [n_atoms]
        In u.
    spacing : float
        Time between these frames, in ps.

    Returns
    -------
    list of Check
    """
    name = "time between frames"
    meaning = "Atoms should move as far from frame to frame as their velocities take them."
    known = [
        m
        for m in moments
        if m.moved is not None and m.velocities is not None and m.velocities.any()
    ]
    if not known:
        return [
            Check(
                name,
                f"{1000 * spacing:g} fs, not held against velocities",
                Verdict.UNKNOWN,
                meaning,
            )
        ]
    arrays: list[Array] = [np.array([getattr(m, what) for m in known]) for what in _MOTION]
    unit = hydrogens_united(molecules)
    totals = np.asarray(np.bincount(unit, masses), dtype=float)
    united = [_means(values, unit, masses, totals) for values in arrays]
    slow = measure_pace(united[0], united[1], united[2], totals, spacing)
    energies = [
        float((m[:, None] * v**2).sum()) for m, v in ((totals, united[1]), (masses, arrays[1]))
    ]
    if energies[0] < RESTING * energies[1]:
        # what is left is rounding of positions and velocities
        return [
            Check(
                name, f"{1000 * spacing:g} fs; molecules rest as a whole", Verdict.UNKNOWN, meaning
            )
        ]
    checks = [_judge_time(name, slow, spacing)]
    light = np.flatnonzero(np.bincount(unit)[unit] > 1)
    light = light[molecules.numbers[light] == 1]
    if len(light):
        inner = [
            (values - means[:, unit])[:, light]
            for values, means in zip(arrays, united, strict=True)
        ]
        fast = measure_pace(inner[0], inner[1], inner[2], masses[light], spacing)
        found = _judge_folding(fast, slow, spacing)
        checks += [found] if found is not None else []
    return checks


def _means(values: Array, unit: NDArray[np.int64], masses: Array, totals: Array) -> Array:
    """Mean over the atoms of each unit, weighted by mass, [n_frames, n_units, 3]."""
    weighted = masses[:, None] * values
    sums = [[np.bincount(unit, frame[:, axis]) for axis in range(3)] for frame in weighted]
    return np.moveaxis(np.array(sums), 1, 2) / totals[:, None]


def _judge_time(name: str, pace: Pace, spacing: float) -> Check:
    femto = 1000 * spacing
    if not np.isfinite(pace.ratio):
        return Check(
            name,
            f"{femto:g} fs; nothing moves",
            Verdict.UNKNOWN,
            "Velocities of zero tell no time.",
        )
    against = (
        "Positions and velocities are not of one motion: frames are in another order, velocities "
        "have another sign "
        "or are of another run, or positions have another unit."
    )
    correlated = f"velocities correlate from frame to frame by {pace.memory:.2f}, displacements follow them by"
    found = f"{femto:g} fs; {correlated} {pace.ratio:.2f}"
    if pace.spread == 0:
        found = f"{femto:g} fs; positions stay where they are, and velocities are not zero"
        return Check(name, found, Verdict.REFUSED, against, "--allow-aliasing")
    if pace.memory < REMEMBERED:
        # of atoms without memory nothing is said for sure: beads of a ring polymer are fast
        meaning = (
            against
            if pace.spread > TWICE
            else (
                "Frames this far apart do not follow the motion: what is faster than the Nyquist "
                "wavenumber is "
                f"folded back below {nyquist(spacing):.0f} cm⁻¹: write frames more often. Or "
                f"velocities are not "
                "those of these positions."
            )
        )
        return Check(name, found, Verdict.LOOK, meaning)
    if pace.ratio < SIGMAS * pace.error or pace.spread > TWICE * pace.ratio**2:
        sure = (
            pace.ratio < -SIGMAS * pace.error
            or pace.spread > (TWICE + SIGMAS * pace.error) * pace.ratio**2
        )
        if sure:
            return Check(name, found, Verdict.REFUSED, against, "--allow-aliasing")
        return Check(
            name, found, Verdict.UNKNOWN, "Too few atoms and frames tell the time between frames."
        )
    low, high = pace.factor
    wide = SIGMAS * pace.error / pace.ratio
    middle = float(np.sqrt(low * high))
    found = f"{femto:g} fs; by displacements over velocities {femto / middle:.3g} fs"
    for limit, verdict in ((WRONG, Verdict.REFUSED), (NOTICED, Verdict.LOOK)):
        if low > limit + wide or high < 1 / (limit + wide):
            meaning = (
                f"The time between *recorded* frames is about {femto / middle:.2g} fs by what "
                f"atoms move, but said "
                f"to be {femto:g} fs, too {'long' if low > 1 else 'short'}: all wavenumbers would "
                f"be "
                f"{1 / middle:.3g} times theirs. Or the unit of the velocities is wrong. Give the "
                f"right one "
                "(time_step=, --time-step; velocity_unit=, --velocity-unit)."
            )
            allow = "--allow-aliasing" if verdict is Verdict.REFUSED else ""
            return Check(name, found, verdict, meaning, allow)
    return Check(
        name,
        found,
        Verdict.FINE,
        "Atoms move as far from frame to frame as their velocities take them.",
    )


def _judge_folding(fast: Pace, slow: Pace, spacing: float) -> Check | None:
    """The motion of hydrogen on its heavy atom by itself: below what any motion of its memory
    gives, it is folded.
    """
    middle = float(np.sqrt(np.prod(slow.factor)))
    # what the heavy atoms say of time and unit is taken out, if they say something
    if not (np.isfinite([fast.ratio, middle]).all() and slow.memory > REMEMBERED):
        return None
    lowest = (1 + fast.memory) / 2 / middle
    missing = lowest / NOTICED - fast.ratio
    if missing < max(SIGMAS * fast.error, 0.05):
        return None
    return Check(
        "motion of hydrogen",
        f"displacements over velocities {fast.ratio:.2f}, at least {lowest:.2f} below the Nyquist "
        f"wavenumber, "
        f"{nyquist(spacing):.0f} cm⁻¹",
        Verdict.REFUSED,
        "Hydrogen moves faster than frames can tell, and its bands are drawn at wrong wavenumbers. "
        "Write frames "
        "more often.",
        allow="--allow-aliasing",
    )


def nyquist(spacing: float) -> float:
    """Return 1/(2cΔt) in cm⁻¹ of frames `spacing` ps apart."""
    return 1 / (2 * units.SPEED_OF_LIGHT * spacing)


def held(lengths: Array) -> NDArray[np.bool_]:
    """Return which distances a constraint holds: those that do not change.

    Parameters
    ----------
    lengths : ndarray, shape [n_frames, n_pairs]
        In Å.
    """
    return np.asarray(lengths.std(axis=0, ddof=1) < HELD)


def any_held(moments: Sequence[Moment], molecules: Molecules) -> bool:
    """Return whether constraints hold bonds, or distances across one atom; more than one in a
    hundred of them.

    Parameters
    ----------
    moments : sequence of Moment
        Far apart; of fewer than three nothing is said.
    molecules : Molecules
    """
    if len(moments) < 3 or not len(molecules.bonds):
        return False
    a, _, b = bonded_paths(molecules.bonds, len(molecules.numbers), 3).T
    i, j = np.concatenate([molecules.bonds, np.stack([a, b], axis=1)[a < b]]).T
    return bool(held(_lengths(moments, i, j)).mean() > 0.01)


def fastest_motion(
    moments: Sequence[Moment], molecules: Molecules, masses: Array
) -> tuple[float, str]:
    """Return the wavenumber in cm⁻¹ that the fastest motion likely has, by elements and bonds, and
    its name.

    Bonds whose length does not change are held by constraints.

    Parameters
    ----------
    moments : sequence of Moment
        Three or more, far apart.
    molecules : Molecules
    masses : ndarray, shape [n_atoms]
        In u: heavier hydrogen is slower.
    """
    numbers = molecules.numbers
    found = [(LATTICE, "motion of heavy atoms")]
    i, j = molecules.bonds.T
    light = numbers == 1
    if (light[i] | light[j]).any():
        lightest = masses[
            light & (np.bincount(molecules.bonds.ravel(), minlength=len(masses)) > 0)
        ].min()
        slower = float(np.sqrt(1.008 / lightest))
        found.append((LIBRATION * slower, "librations of molecules with hydrogen"))
        a, _, b = bonded_paths(molecules.bonds, len(numbers), 3).T
        once = (a < b) & (light[a] | light[b])
        if once.any() and not held(_lengths(moments, a[once], b[once])).all():
            found.append((BENDING * slower, "bending of bonds to hydrogen"))
    if len(i):
        lengths = _lengths(moments, i, j)
        free, mean_lengths = ~held(lengths), lengths.mean(axis=0)
        first, second = np.minimum(numbers[i], numbers[j]), np.maximum(numbers[i], numbers[j])
        # hydrogen atoms of neighbouring molecules may be nearest to each other, further apart than
        # in H2
        free &= (second > 1) | (mean_lengths < H2_LENGTH)
        for x, y in np.unique(np.stack([first[free], second[free]], axis=1), axis=0):
            own = free & (first == x) & (second == y)
            reduced = float((masses[i] * masses[j] / (masses[i] + masses[j]))[own].min())
            shortest = float(mean_lengths[own].min())
            name = f"free {SYMBOLS[int(y)]}-{SYMBOLS[int(x)]} bonds"
            found.append((_stretch(int(x), int(y), reduced, shortest), name))
    return max(found)


def _stretch(light: int, heavy: int, reduced: float, length: float) -> float:
    """Wavenumber in cm⁻¹ of a stretching vibration of two elements, with a reduced mass in u and a
    length in Å.
    """
    if light == 1:
        partner = MASSES_OF_PARTNERS.get(heavy, 30.0)
        usual = 1.008 * partner / (1.008 + partner)
        return float(HYDROGEN_STRETCHES.get(heavy, OTHER_STRETCH) * np.sqrt(usual / reduced))
    if not {light, heavy} <= {6, 7, 8}:
        return HEAVY
    # C≡C has 1.20 Å and C=C 1.34; C≡N 1.16, C=O of carbon dioxide 1.16, N≡N 1.10, all others more
    # than 1.19
    return TRIPLE if length < (1.27 if light == heavy == 6 else 1.185) else CARBONYL


#: Masses in u that `HYDROGEN_STRETCHES` hold for.
MASSES_OF_PARTNERS = {
    1: 1.008,
    5: 10.81,
    6: 12.011,
    7: 14.007,
    8: 15.999,
    9: 18.998,
    14: 28.085,
    15: 30.974,
}


def _lengths(moments: Sequence[Moment], i: NDArray[np.int64], j: NDArray[np.int64]) -> Array:
    """Distances [n_frames, n_pairs] in Å, in the nearest image."""
    rows = []
    for moment in moments:
        frame = moment.frame
        vectors = frame.box.nearest(frame.positions[j] - frame.positions[i])
        rows.append(np.linalg.norm(vectors, axis=1))
    return np.array(rows)


def check_nyquist(
    moments: Sequence[Moment],
    molecules: Molecules,
    masses: Array,
    spacing: float,
    reach: float = 1.0,
) -> Check:
    """Hold the Nyquist wavenumber of frames against the fastest motion that elements and bonds let
    expect.

    Parameters
    ----------
    moments, molecules, masses
        As in `fastest_motion`.
    spacing : float
        Time between the frames that are analysed, in ps.
    reach : float
        Part of the Nyquist wavenumber at which spectra end: less than 1 for finite differences.

    Returns
    -------
    Check
    """
    name = "spacing of frames"
    limit = nyquist(spacing)
    found = f"{1000 * spacing:g} fs, good up to {limit:.0f} cm⁻¹"
    if len(moments) < 3:
        return Check(
            name, found, Verdict.UNKNOWN, "Three frames or more tell which bonds are free."
        )
    wavenumber, motion = fastest_motion(moments, molecules, masses)
    found += f"; {motion} reach some {wavenumber:.0f} cm⁻¹"
    if limit > CLOSE * wavenumber > CLOSE * reach * limit:
        meaning = f"Spectra of finite differences end at {reach:g} of the Nyquist wavenumber, {reach * limit:.0f} cm⁻¹."
        return Check(name, found, Verdict.LOOK, meaning)
    if limit > CLOSE * wavenumber:
        return Check(
            name,
            found,
            Verdict.FINE,
            "The Nyquist wavenumber 1/(2cΔt) is above the fastest motion.",
        )
    needed = 1000 / (2 * units.SPEED_OF_LIGHT * CLOSE * wavenumber)
    meaning = (
        f"What is faster than the Nyquist wavenumber is folded back to a wrong place. Write frames "
        f"at most "
        f"{needed:.2g} fs apart, or use a smaller step."
    )
    if limit > wavenumber:
        return Check(name, found, Verdict.LOOK, meaning)
    return Check(name, found, Verdict.REFUSED, meaning, allow="--allow-aliasing")
