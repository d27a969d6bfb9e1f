"""The fastest motion that elements, bonds and constraints let expect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mda_aptnn import units
from mda_aptnn.checks import Check, Question
from mda_aptnn.elements import SYMBOLS
from mda_aptnn.frame import Array, Indices
from mda_aptnn.trajectory.kinetics import Look, Moment
from mda_aptnn.trajectory.molecules import Molecules, bonded_paths

#: Wavenumbers in cm⁻¹ of stretching vibrations of hydrogen (mass 1.008) on other atoms, the highest
#: of common molecules: textbook values (water, ammonia, methane, hydrogen halides, silane,
#: phosphine, hydrogen sulfide), and the masses in u of the other atom that they hold for.
HYDROGEN_STRETCHES = {
    1: (4400.0, 1.008),
    5: (2600.0, 10.81),
    6: (3150.0, 12.011),
    7: (3500.0, 14.007),
    8: (3750.0, 15.999),
    9: (4000.0, 18.998),
    14: (2250.0, 28.085),
    15: (2400.0, 30.974),
    16: (2650.0, 30.0),
    17: (2990.0, 30.0),
}
#: The same of metals and the rest.
OTHER_STRETCH = (2000.0, 30.0)
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

SPACING = Question(
    "spacing of frames",
    "The Nyquist wavenumber 1/(2cΔt) is above the fastest motion.",
    "--allow-aliasing",
)


def nyquist(spacing: float) -> float:
    """Return 1/(2cΔt) in cm⁻¹ of frames `spacing` ps apart."""
    return 1 / (2 * units.SPEED_OF_LIGHT * spacing)


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
    numbers, bonds = molecules.numbers, molecules.bonds
    found = [(LATTICE, "motion of heavy atoms")]
    if not len(bonds):
        return found[0]
    light = numbers == 1
    bonded_light = np.intersect1d(bonds, np.flatnonzero(light))
    if len(bonded_light):
        slower = float(np.sqrt(1.008 / masses[bonded_light].min()))
        found.append((LIBRATION * slower, "librations of molecules with hydrogen"))
        a, _, b = bonded_paths(bonds, len(numbers), 3).T
        once = (a < b) & (light[a] | light[b])
        if (lengths(moments, a[once], b[once]).std(axis=0, ddof=1) >= HELD).any():
            found.append((BENDING * slower, "bending of bonds to hydrogen"))
    i, j = bonds.T
    distances = lengths(moments, i, j)
    mean_lengths = distances.mean(axis=0)
    first, second = np.minimum(numbers[i], numbers[j]), np.maximum(numbers[i], numbers[j])
    # hydrogen atoms of neighbouring molecules may be nearest to each other, further apart than in
    # H2
    free = (distances.std(axis=0, ddof=1) >= HELD) & ((second > 1) | (mean_lengths < H2_LENGTH))
    reduced = masses[i] * masses[j] / (masses[i] + masses[j])
    for x, y in np.unique(np.stack([first[free], second[free]], axis=1), axis=0).tolist():
        own = free & (first == x) & (second == y)
        wavenumber = _stretch(x, y, float(reduced[own].min()), float(mean_lengths[own].min()))
        found.append((wavenumber, f"free {SYMBOLS[y]}-{SYMBOLS[x]} bonds"))
    return max(found)


def _stretch(light: int, heavy: int, reduced: float, length: float) -> float:
    """Wavenumber in cm⁻¹ of a stretching vibration of two elements, with a reduced mass in u and a
    length in Å.
    """
    if light == 1:
        wavenumber, partner = HYDROGEN_STRETCHES.get(heavy, OTHER_STRETCH)
        return float(wavenumber * np.sqrt(1.008 * partner / (1.008 + partner) / reduced))
    if not {light, heavy} <= {6, 7, 8}:
        return HEAVY
    # C≡C has 1.20 Å and C=C 1.34; C≡N 1.16, C=O of carbon dioxide 1.16, N≡N 1.10, all others more
    # than 1.19
    return TRIPLE if length < (1.27 if light == heavy == 6 else 1.185) else CARBONYL


def lengths(moments: Sequence[Moment], i: Indices, j: Indices) -> Array:
    """Return distances of atoms i and j in the nearest image, [n_frames, n_pairs] in Å."""
    frames = [moment.frame for moment in moments]
    vectors = [frame.box.nearest(frame.positions[j] - frame.positions[i]) for frame in frames]
    return np.asarray(np.linalg.norm(vectors, axis=2))


def check_nyquist(look: Look, reach: float) -> Check:
    """Hold the Nyquist wavenumber of frames against the fastest motion that elements and bonds let
    expect.

    Parameters
    ----------
    look : Look
    reach : float
        Part of the Nyquist wavenumber at which spectra end: less than 1 for finite differences.

    Returns
    -------
    Check
    """
    limit = nyquist(look.spacing)
    found = f"{1000 * look.spacing:g} fs, good up to {limit:.0f} cm⁻¹"
    if len(look.moments) < 3:
        meaning = "Three frames or more tell which bonds are free."
        return SPACING.answer(found, None, meaning=meaning)
    wavenumber, motion = fastest_motion(look.moments, look.molecules, look.masses)
    found += f"; {motion} reach some {wavenumber:.0f} cm⁻¹"
    if limit > CLOSE * wavenumber:
        meaning = (
            f"Spectra of finite differences end at {reach:g} of the Nyquist wavenumber, "
            f"{reach * limit:.0f} cm⁻¹."
        )
        fine = wavenumber <= reach * limit
        return SPACING.answer(found, fine, meaning="" if fine else meaning)
    needed = 1000 / (2 * units.SPEED_OF_LIGHT * CLOSE * wavenumber)
    meaning = (
        "What is faster than the Nyquist wavenumber is folded back to a wrong place. Write frames "
        f"at most {needed:.2g} fs apart, or use a smaller step."
    )
    return SPACING.answer(found, False, grave=limit <= wavenumber, meaning=meaning)
