"""What is checked of a trajectory before anything is predicted: every command and analysis calls
`check_run`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.checks import Check, Checks, Question, Verdict
from mda_aptnn.model.domain import domain_checks
from mda_aptnn.trajectory.fastest_motion import fastest_motion, nyquist
from mda_aptnn.trajectory.kinetics import Moment, constrained_bonds, kinetic_parts
from mda_aptnn.trajectory.molecules import Molecules, find_molecules
from mda_aptnn.trajectory.pace import Pace, heavy_units, measured_paces, unit_means
from mda_aptnn.trajectory.times import Timeline
from mda_aptnn.trajectory.universe_frames import (
    FINITE_DIFFERENCE_LIMIT,
    SAMPLES,
    UniverseFrames,
)

Array = NDArray[np.float64]

#: Frames that are looked at: enough for some so many atoms in all, within these limits.
ATOMS_IN_ALL, FEWEST, MOST = 8000, 5, 40
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
#: Nyquist wavenumbers less than this part above the fastest motion are close.
CLOSE = 1.08
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
#: Volumes of a cell that is given and of the recorded one are the same within this part.
SAME_CELL = 0.01
#: Å from the origin beyond which single precision is a matter: 0.001 Å at 10^4 Å.
FAR = 1e4

RECORDED_TIMES = Question(
    "recorded times", "The given one is used. All wavenumbers go with one over it."
)
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
SPACING = Question(
    "spacing of frames",
    "The Nyquist wavenumber 1/(2cΔt) is above the fastest motion.",
    "--allow-aliasing",
)
CELL = Question(
    "cell",
    "The given cell is used in all frames. Leave it out (cell=, --cell), or give it in Å.",
    "--override-cell",
)
COORDINATES = Question(
    "coordinates",
    "MDAnalysis keeps positions in single precision: at 10^5 Å tensors are wrong by 0.6 %. Wrap "
    f"positions into the cell where they are beyond {FAR:g} Å.",
)
TEMPERATURES = Question(
    "kinetic temperatures",
    "In equilibrium every element and every motion has the same; bands of a part that is too hot "
    "are too high. Equilibrate longer, with a thermostat on every degree of freedom.",
)
REPLICAS = Question(
    "replicas",
    "The same frames twice are no more statistics, and error bars of them are too small.",
)


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found of a trajectory before the run.

    Attributes
    ----------
    checks : Checks
    kinetic : tuple of float
        Kinetic temperature in K and its standard error, of translation and rotation where bonds are
        constrained; NaN where it is not known.
    constrained : bool
        Whether bonds are held.
    """

    checks: Checks
    kinetic: tuple[float, float]
    constrained: bool

    @property
    def info(self) -> dict[str, Any]:
        """What is stored with a result, in values that JSON can hold."""
        return {
            "checks": self.checks.to_json(),
            "kinetic_temperature": [None if value != value else value for value in self.kinetic],
            "constrained_bonds": self.constrained,
        }


@dataclasses.dataclass(frozen=True)
class _Look:
    """A few of the wanted frames, for every check to look at."""

    frames: UniverseFrames
    moments: list[Moment]
    molecules: Molecules
    #: Between the frames that are wanted, and between the first and the last one here, in ps.
    spacing: float
    span: float

    @property
    def masses(self) -> Array:
        return self.frames.masses

    def independent(self, n_frames: int, relaxation: float) -> float:
        """How many of the frames are independent of each other."""
        return float(np.clip(self.span / relaxation, 1, n_frames))


def check_run(
    frames: UniverseFrames,
    wanted: NDArray[np.int64],
    timeline: Timeline,
    *,
    model: Any = None,
    allow_aliasing: bool = False,
    override_cell: bool = False,
    allow_outside_domain: bool = False,
) -> Findings:
    """Check a trajectory, and the model for it, by a few of the frames that are wanted.

    Parameters
    ----------
    frames : UniverseFrames
        Its trajectory stays where it is.
    wanted : ndarray of int, shape [n_frames]
        Frames that will be analysed.
    timeline : Timeline
        Of these frames.
    model : object, optional
        That will predict their tensors.
    allow_aliasing, override_cell, allow_outside_domain : bool
        Look at, and do not refuse, frames too far apart, or a time between them that does not fit;
        a given cell of another volume than the recorded one; atoms whose surroundings the model has
        never met.

    Returns
    -------
    Findings
    """
    look = _look(frames, wanted, timeline)
    held = _constrained(look)
    if frames.recorded:
        paces = _paces(look)
        kinetic, temperatures = _temperatures(look, held)
    else:
        paces = []
        kinetic, temperatures = _temperature_of_displacements(look)
    found = [
        _declared_time(frames, confirmed=bool(paces) and paces[0].verdict is Verdict.FINE),
        *paces,
        _nyquist(look),
        temperatures,
        _cell(frames),
        _coordinates(look),
        _replicas([(1, frames, numbers) for numbers in np.split(wanted, timeline.starts[1:])]),
    ]
    if model is not None:
        found += domain_checks(model, [moment.frame for moment in look.moments], kinetic[0])
    allowed = {
        "--allow-aliasing": allow_aliasing,
        "--override-cell": override_cell,
        "--allow-outside-domain": allow_outside_domain,
    }
    checks = Checks(check for check in found if check is not None)
    options = [option for option, yes in allowed.items() if yes]
    return Findings(checks.allowing(options), kinetic, held)


def refuse_or_warn(checks: Checks) -> list[str]:
    """Raise what is refused; warn once of what is to be looked at, and return it as notes.

    Parameters
    ----------
    checks : Checks

    Returns
    -------
    list of str

    Raises
    ------
    CheckError
        With the first check that is refused.
    """
    checks.raise_refused()
    if checks.doubtful:
        warnings.warn("; ".join(check.brief for check in checks.doubtful), stacklevel=3)
    return [str(check) for check in checks.doubtful]


def check_replicas(analyses: Sequence[UniverseFrames]) -> Checks:
    """Refuse trajectories that begin with the same frame: replicas, or beads, that are one and the
    same.

    Parameters
    ----------
    analyses : sequence of UniverseFrames

    Returns
    -------
    Checks
    """
    check = _replicas(
        [
            (place, frames, np.array(frames.usable_frames))
            for place, frames in enumerate(analyses, 1)
        ]
    )
    return Checks([check] if check is not None else [])


def _look(frames: UniverseFrames, wanted: NDArray[np.int64], timeline: Timeline) -> _Look:
    """A few of the wanted frames with those around them; without where none has both neighbours."""
    n = int(np.clip(ATOMS_IN_ALL // len(frames.numbers), FEWEST, MOST))
    ends = np.concatenate([timeline.starts, timeline.starts[1:] - 1, [len(wanted) - 1]])
    inner = np.setdiff1d(np.arange(len(wanted)), ends)
    stride = int(wanted[1] - wanted[0]) if len(inner) else None
    places = inner if len(inner) else np.arange(len(wanted))
    chosen = places[np.unique(np.linspace(0, len(places) - 1, n).round().astype(int))]
    moments = list(frames.moments(wanted[chosen], stride))
    molecules = find_molecules(frames.universe, frames.indices, moments[0].frame)
    span = float(timeline.spacing * (chosen[-1] - chosen[0]))
    return _Look(frames, moments, molecules, timeline.spacing, span)


def _constrained(look: _Look) -> bool:
    """Whether bonds are held: by recorded velocities, or by displacements over two steps."""
    known = [(m.frame, m.velocities) for m in look.moments if m.velocities is not None]
    if not known:
        steps = ((m.frame, m.moved) for m in look.moments)
        known = [(f, moved / (2 * look.spacing)) for f, moved in steps if moved is not None]
    return constrained_bonds(known[:: max(1, len(known) // SAMPLES)], look.masses) > 0


def _declared_time(frames: UniverseFrames, *, confirmed: bool) -> Check | None:
    """A given time against that in the file; `confirmed` if velocities say that the given one is
    right.
    """
    given, declared = frames.given_spacing, frames.declared_spacing
    if given is None or declared is None or not declared > 0:
        return None
    found = f"time step of {1000 * given:g} fs given, {1000 * declared:g} fs recorded"
    return RECORDED_TIMES.answer(found, confirmed or abs(given - declared) < 0.01 * declared)


def _paces(look: _Look) -> list[Check]:
    """Displacements from frame to frame against velocities: of heavy atoms with their hydrogens,
    and of these.
    """
    femto = f"{1000 * look.spacing:g} fs"
    known = [
        m
        for m in look.moments
        if m.moved is not None and m.velocities is not None and m.velocities.any()
    ]
    if not known:
        return [TIME.answer(f"{femto}, not held against velocities", None)]
    paces = measured_paces(known, look.molecules, look.masses, look.spacing)
    if paces is None:
        return [TIME.answer(f"{femto}; molecules rest as a whole", None)]
    slow, fast = paces
    folded = None if fast is None else _folding(fast, slow, look.spacing)
    return [_time(slow, look.spacing), *([] if folded is None else [folded])]


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


def _nyquist(look: _Look) -> Check:
    """The Nyquist wavenumber against the fastest motion that elements and bonds let expect."""
    limit = nyquist(look.spacing)
    found = f"{1000 * look.spacing:g} fs, good up to {limit:.0f} cm⁻¹"
    if len(look.moments) < 3:
        meaning = "Three frames or more tell which bonds are free."
        return SPACING.answer(found, None, meaning=meaning)
    wavenumber, motion = fastest_motion(look.moments, look.molecules, look.masses)
    found += f"; {motion} reach some {wavenumber:.0f} cm⁻¹"
    if limit > CLOSE * wavenumber:
        reach = 1.0 if look.frames.recorded else FINITE_DIFFERENCE_LIMIT
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


def _cell(frames: UniverseFrames) -> Check | None:
    both = frames.cells_given_and_recorded()
    if both is None:
        return None
    given, recorded = both
    found = f"given {given} ({given.volume:.5g} Å³), recorded {recorded} ({recorded.volume:.5g} Å³)"
    same = abs(given.volume / recorded.volume - 1) < SAME_CELL
    return CELL.answer(found, same, grave=True)


def _coordinates(look: _Look) -> Check:
    largest = max(float(np.abs(moment.frame.positions).max()) for moment in look.moments)
    return COORDINATES.answer(f"up to {largest:.3g} Å", largest < FAR)


def _replicas(series: Sequence[tuple[int, UniverseFrames, NDArray[np.int64]]]) -> Check | None:
    """Whether two series, each with the number of its trajectory and those of its frames, are one.

    Replicas may start from one frame: they are one if they also share the last frame of the shorter
    one.
    """
    if len(series) < 2:
        return None
    begins = [_content(frames, numbers[0]) for _, frames, numbers in series]
    for later, (place, frames, numbers) in enumerate(series):
        for earlier, (other_place, other_frames, other) in enumerate(series[:later]):
            last = min(len(numbers), len(other)) - 1
            if begins[later] == begins[earlier] and _content(frames, numbers[last]) == _content(
                other_frames, other[last]
            ):
                found = (
                    f"trajectory {other_place}, frame {other[0]}, and trajectory {place}, frame "
                    f"{numbers[0]}, and those {last} frames later, have the same positions and "
                    "velocities"
                )
                meaning = f"{REPLICAS.meaning} Give each trajectory once."
                return REPLICAS.answer(found, False, grave=True, meaning=meaning)
    return REPLICAS.answer(f"{len(series)} series of different frames", True)


def _content(frames: UniverseFrames, number: int) -> tuple[str, bytes]:
    """What tells a frame from others: atoms to 0.001 Å, and velocities."""
    [moment] = frames.moments([number])
    velocities = moment.velocities
    return moment.frame.fingerprint(), b"" if velocities is None else velocities.tobytes()


def _temperature_of_displacements(look: _Look) -> tuple[tuple[float, float], Check]:
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
    error = mean * float(np.sqrt(2 / freedom / look.independent(len(values), RELAXATION)))
    found = f"heavy atoms with their hydrogens {mean:.0f} ± {error:.0f} K"
    return (mean, error), TEMPERATURES.answer(found, None, meaning=meaning)


def _temperatures(look: _Look, held: bool) -> tuple[tuple[float, float], Check]:
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
        independent = look.independent(len(values), relaxation) if dense else 1.0
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
