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
from mda_aptnn.checks import Check, Checks, Verdict
from mda_aptnn.model.domain import domain_checks
from mda_aptnn.spectra.estimator import FINITE_DIFFERENCE_LIMIT
from mda_aptnn.trajectory.given_spacing import any_held, check_nyquist, check_pace, hydrogens_united
from mda_aptnn.trajectory.kinetics import constrained_bonds
from mda_aptnn.trajectory.molecules import Molecules, find_molecules
from mda_aptnn.trajectory.motions.kinetic_parts import kinetic_parts
from mda_aptnn.trajectory.times import Timeline
from mda_aptnn.trajectory.universe_frames import SAMPLES, Moment, UniverseFrames

Array = NDArray[np.float64]

#: Frames that are looked at: enough for some so many atoms in all, within these limits.
ATOMS_IN_ALL, FEWEST, MOST = 8000, 5, 40
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
    moments, span = _moments(frames, wanted, timeline)
    molecules = find_molecules(frames.universe, frames.indices, moments[0].frame)
    held = _constrained(frames, moments, molecules)
    if frames.recorded:
        kinetic, temperatures = _temperatures(frames, moments, molecules, span, held)
    else:
        kinetic, temperatures = _temperature_of_displacements(
            frames, moments, molecules, span, timeline.spacing
        )
    paces = (
        check_pace(moments, molecules, frames.masses, timeline.spacing) if frames.recorded else []
    )
    found = [
        _declared_time(frames, confirmed=bool(paces) and paces[0].verdict is Verdict.FINE),
        *paces,
        check_nyquist(
            moments,
            molecules,
            frames.masses,
            timeline.spacing,
            1.0 if frames.recorded else FINITE_DIFFERENCE_LIMIT,
        ),
        temperatures,
        _cell(frames),
        _coordinates(moments),
        _replicas([(1, frames, numbers) for numbers in np.split(wanted, timeline.starts[1:])]),
    ]
    if model is not None:
        found += domain_checks(model, [moment.frame for moment in moments], kinetic[0])
    allowed = {
        "--allow-aliasing": allow_aliasing,
        "--override-cell": override_cell,
        "--allow-outside-domain": allow_outside_domain,
    }
    checks = Checks(tuple(check for check in found if check is not None))
    return Findings(
        checks.allowing([option for option, yes in allowed.items() if yes]), kinetic, held
    )


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
    notes = [str(check) for check in checks.doubtful]
    if notes:
        warnings.warn("; ".join(check.brief for check in checks.doubtful), stacklevel=3)
    return notes


def check_replicas(analyses: Sequence[Any]) -> Checks:
    """Refuse trajectories that begin with the same frame: replicas, or beads, that are one and the
    same.

    Parameters
    ----------
    analyses : sequence of UniverseFrames

    Returns
    -------
    Checks
    """
    series = [
        (place, frames, np.array(frames.usable_frames, dtype=np.int64))
        for place, frames in enumerate(analyses, 1)
    ]
    check = _replicas(series)
    return Checks((check,) if check is not None else ())


def _moments(
    frames: UniverseFrames, wanted: NDArray[np.int64], timeline: Timeline
) -> tuple[list[Moment], float]:
    """A few of the wanted frames with those around them, and how long they are apart in all, in ps.

    Without those around them where no frame has both neighbours.
    """
    n = int(np.clip(ATOMS_IN_ALL // len(frames.numbers), FEWEST, MOST))
    ends = np.concatenate([timeline.starts, timeline.starts[1:] - 1, [len(wanted) - 1]])
    inner = np.setdiff1d(np.arange(len(wanted)), ends)
    stride = int(wanted[1] - wanted[0]) if len(inner) else None
    places = inner if len(inner) else np.arange(len(wanted))
    chosen = places[np.unique(np.linspace(0, len(places) - 1, n).round().astype(int))]
    return list(frames.moments(wanted[chosen], stride)), float(
        timeline.spacing * (chosen[-1] - chosen[0])
    )


def _constrained(frames: UniverseFrames, moments: Sequence[Moment], molecules: Molecules) -> bool:
    """Whether bonds are held: by velocities, as degrees of freedom are counted, or by lengths if
    there are none.
    """
    known = [
        (moment.frame, moment.velocities) for moment in moments if moment.velocities is not None
    ]
    if not frames.recorded or not known:
        return any_held(moments, molecules)
    return constrained_bonds(known[:: max(1, len(known) // SAMPLES)], frames.masses) > 0


def _declared_time(frames: UniverseFrames, *, confirmed: bool) -> Check | None:
    """A given time against that in the file; `confirmed` if velocities say that the given one is
    right.
    """
    given, declared = frames.given_spacing, frames.declared_spacing
    if given is None or declared is None or not declared > 0:
        return None
    same = confirmed or abs(given - declared) < 0.01 * declared
    return Check(
        "recorded times",
        f"time step of {1000 * given:g} fs given, {1000 * declared:g} fs recorded",
        Verdict.FINE if same else Verdict.LOOK,
        "The given one is used. All wavenumbers go with one over it.",
    )


def _cell(frames: UniverseFrames) -> Check | None:
    both = frames.cells_given_and_recorded()
    if both is None:
        return None
    given, recorded = (cell.volume for cell in both)
    return Check(
        "cell",
        f"given {both[0]} ({given:.5g} Å³), recorded {both[1]} ({recorded:.5g} Å³)",
        Verdict.FINE if abs(given / recorded - 1) < SAME_CELL else Verdict.REFUSED,
        "The given cell is used in all frames. Leave it out (cell=, --cell), or give it in Å.",
        allow="--override-cell",
    )


def _coordinates(moments: Sequence[Moment]) -> Check:
    largest = max(float(np.abs(moment.frame.positions).max()) for moment in moments)
    return Check(
        "coordinates",
        f"up to {largest:.3g} Å",
        Verdict.FINE if largest < FAR else Verdict.LOOK,
        "MDAnalysis keeps positions in single precision: at 10^5 Å tensors are wrong by 0.6 %. "
        "Wrap positions into "
        f"the cell where they are beyond {FAR:g} Å.",
    )


def _replicas(series: Sequence[tuple[int, UniverseFrames, NDArray[np.int64]]]) -> Check | None:
    """Whether two series, each with the number of its trajectory and those of its frames, are one.

    Replicas may start from one frame: they are one if they also share the last frame of the shorter
    one.
    """
    if len(series) < 2:
        return None
    name, meaning = (
        "replicas",
        "The same frames twice are no more statistics, and error bars of them are too small.",
    )
    begins = [_content(frames, numbers[0]) for _, frames, numbers in series]
    for later, (place, frames, numbers) in enumerate(series):
        for earlier, (other_place, other_frames, other) in enumerate(series[:later]):
            last = min(len(numbers), len(other)) - 1
            if begins[later] == begins[earlier] and _content(frames, numbers[last]) == _content(
                other_frames, other[last]
            ):
                found = (
                    f"trajectory {other_place}, frame {other[0]}, and trajectory {place}, frame "
                    f"{numbers[0]}, and "
                    f"those {last} frames later, have the same positions and velocities"
                )
                return Check(name, found, Verdict.REFUSED, f"{meaning} Give each trajectory once.")
    return Check(name, f"{len(series)} series of different frames", Verdict.FINE, meaning)


def _content(frames: UniverseFrames, number: int) -> tuple[str, bytes]:
    """What tells a frame from others: atoms to 0.001 Å, and velocities."""
    [moment] = frames.moments([number])
    return (
        moment.frame.fingerprint(),
        b"" if moment.velocities is None else moment.velocities.tobytes(),
    )


def _temperature_of_displacements(
    frames: UniverseFrames,
    moments: Sequence[Moment],
    molecules: Molecules,
    span: float,
    spacing: float,
) -> tuple[tuple[float, float], Check]:
    """Kinetic temperature of heavy atoms with their hydrogens, which finite differences hardly
    lower.

    It goes with one over the square of the time between frames: a wrong one shows beside the given
    temperature.
    """
    name = "kinetic temperatures"
    meaning = "By displacements over two steps, in which faster motions average out."
    moved = [moment.moved for moment in moments if moment.moved is not None]
    unit = hydrogens_united(molecules)
    masses = np.bincount(unit, frames.masses)
    freedom = 3.0 * len(masses) - 3
    if not moved or freedom < FEW:
        return (np.nan, np.nan), Check(name, "not known from positions", Verdict.UNKNOWN, meaning)
    momenta = np.array(
        [
            [np.bincount(unit, frames.masses * values[:, axis]) for axis in range(3)]
            for values in moved
        ]
    ) / (2 * spacing)
    momenta -= momenta.sum(axis=2, keepdims=True) * (masses / masses.sum())
    values = (momenta**2 / masses).sum(axis=(1, 2)) / (freedom * units.BOLTZMANN)
    independent = float(np.clip(span / RELAXATION, 1, len(values)))
    mean = float(values.mean())
    error = mean * float(np.sqrt(2 / freedom / independent))
    found = f"heavy atoms with their hydrogens {mean:.0f} ± {error:.0f} K"
    return (mean, error), Check(name, found, Verdict.UNKNOWN, meaning)


def _temperatures(
    frames: UniverseFrames, moments: Sequence[Moment], molecules: Molecules, span: float, held: bool
) -> tuple[tuple[float, float], Check]:
    """Kinetic temperature of everything, of elements and of motions of molecules."""
    name = "kinetic temperatures"
    meaning = (
        "In equilibrium every element and every motion has the same; bands of a part that is too "
        "hot are too high. "
        "Equilibrate longer, with a thermostat on every degree of freedom."
    )
    unknown = (np.nan, np.nan)
    known = [
        moment for moment in moments if moment.velocities is not None and moment.velocities.any()
    ]
    if not known:
        return unknown, Check(name, "not known from positions", Verdict.UNKNOWN, meaning)
    volume = known[0].frame.volume
    dense = volume is not None and len(frames.numbers) / volume > DENSE
    parts = kinetic_parts(known, molecules, frames.masses, held=held)
    found = {}
    for part, (values, freedom) in parts.items():
        relaxation = SLOW_RELAXATION if part == "vibration" else RELAXATION
        independent = float(np.clip(span / relaxation, 1, len(values))) if dense else 1.0
        scatter = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        mean = float(values.mean())
        found[part] = (
            mean,
            max(mean * float(np.sqrt(2 / freedom)), scatter) / float(np.sqrt(independent)),
            freedom,
        )
    whole, error, _ = found.pop("all", (*unknown, 0.0))
    large = {part: values for part, values in found.items() if values[2] >= FEW}
    if not large:
        return (whole, error), Check(
            name, f"all {whole:.0f} K; too few atoms for parts", Verdict.UNKNOWN, meaning
        )
    off = [
        part for part, (t, e, _) in large.items() if abs(t - whole) > max(SIGMAS * e, SMALL * whole)
    ]
    # what is off comes first
    order = sorted(large, key=lambda part: part not in off)
    text = "; ".join(f"{part} {large[part][0]:.0f} ± {large[part][1]:.0f} K" for part in order)
    verdict = Verdict.LOOK if off else Verdict.FINE
    return (whole, error), Check(name, f"all {whole:.0f} ± {error:.0f} K; {text}", verdict, meaning)
