"""Kinetic temperatures of elements and of motions of molecules, which are equal in equilibrium."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.checks import Check, Question
from mda_aptnn.elements import SYMBOLS
from mda_aptnn.trajectory.kinetics import Look, Moment
from mda_aptnn.trajectory.molecules import Molecules
from mda_aptnn.trajectory.motions.rigid_motions import RigidMotions
from mda_aptnn.trajectory.pace import heavy_units, unit_means

Array = NDArray[np.float64]

#: A kinetic temperature is off beyond so many standard errors, and by this part.
SIGMAS, SMALL = 3.0, 0.03
#: ps within which the energy of translation, rotation and elements in a liquid is new; of
#: vibrations, which exchange it slowly. In a gas it never is within a run.
RELAXATION, SLOW_RELAXATION = 0.2, 1.0
#: Atoms per Å³ above which atoms of different molecules exchange energy all the time; water has
#: 0.1, steam 0.0001.
DENSE = 0.02
#: Degrees of freedom below which a part has no temperature of its own.
FEW = 30

TEMPERATURES = Question(
    "kinetic temperatures",
    "In equilibrium every element and every motion has the same; bands of a part that is too hot "
    "are too high. Equilibrate longer, with a thermostat on every degree of freedom.",
)


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


def check_displacements(look: Look) -> tuple[tuple[float, float], Check]:
    """Kinetic temperature of heavy atoms with their hydrogens, which finite differences hardly
    lower.

    It goes with one over the square of the time between frames: a wrong one shows beside the given
    temperature.
    """
    meaning = "By displacements over two steps, in which faster motions average out."
    moved = [moment.moved for moment in look.moments if moment.moved is not None]
    unit = heavy_units(look.molecules)
    masses = np.bincount(unit, look.masses)
    freedom = 3.0 * len(masses) - 3
    if not moved or freedom < FEW:
        answer = TEMPERATURES.answer("not known from positions", None, meaning=meaning)
        return (np.nan, np.nan), answer
    velocities = unit_means(np.array(moved), unit, look.masses) / (2 * look.spacing)
    velocities -= np.einsum("u,fua->fa", masses / masses.sum(), velocities)[:, None]
    values = np.einsum("u,fua->f", masses, velocities**2) / (freedom * units.BOLTZMANN)
    mean = float(values.mean())
    error = mean * float(np.sqrt(2 / freedom / _independent(look, len(values), RELAXATION)))
    found = f"heavy atoms with their hydrogens {mean:.0f} ± {error:.0f} K"
    return (mean, error), TEMPERATURES.answer(found, None, meaning=meaning)


def check_temperatures(look: Look, held: bool) -> tuple[tuple[float, float], Check]:
    """Kinetic temperature of everything, of elements and of motions of molecules."""
    known = [m for m in look.moments if m.velocities is not None and m.velocities.any()]
    if not known:
        return (np.nan, np.nan), TEMPERATURES.answer("not known from positions", None)
    volume = known[0].frame.volume
    dense = volume is not None and len(look.masses) / volume > DENSE
    found, large = {}, []
    for part, (values, freedom) in kinetic_parts(
        known, look.molecules, look.masses, held=held
    ).items():
        relaxation = SLOW_RELAXATION if part == "vibration" else RELAXATION
        independent = _independent(look, len(values), relaxation) if dense else 1.0
        scatter = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        mean = float(values.mean())
        error = max(mean * float(np.sqrt(2 / freedom)), scatter) / float(np.sqrt(independent))
        found[part] = mean, error
        large += [part] if freedom >= FEW else []
    whole, error = found.pop("all", (np.nan, np.nan))
    large = [part for part in large if part in found]
    if not large:
        answer = TEMPERATURES.answer(f"all {whole:.0f} K; too few atoms for parts", None)
        return (whole, error), answer
    off = [
        part
        for part in large
        if abs(found[part][0] - whole) > max(SIGMAS * found[part][1], SMALL * whole)
    ]
    # what is off comes first
    large.sort(key=lambda part: part not in off)
    text = "; ".join("{} {:.0f} ± {:.0f} K".format(part, *found[part]) for part in large)
    return (whole, error), TEMPERATURES.answer(f"all {whole:.0f} ± {error:.0f} K; {text}", not off)


def _independent(look: Look, n_frames: int, relaxation: float) -> float:
    """How many of the frames are independent of each other."""
    return float(np.clip(look.span / relaxation, 1, n_frames))
