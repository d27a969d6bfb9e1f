"""What is checked of a trajectory before anything is predicted: every command and analysis calls
`check_run`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mda_aptnn.checks import Check, Checks, Question, Verdict
from mda_aptnn.frame import Indices
from mda_aptnn.model.domain import domain_checks
from mda_aptnn.trajectory.fastest_motion import check_nyquist
from mda_aptnn.trajectory.kinetics import Look, constrained_bonds
from mda_aptnn.trajectory.molecules import find_molecules
from mda_aptnn.trajectory.pace import check_pace
from mda_aptnn.trajectory.temperatures import check_displacements, check_temperatures
from mda_aptnn.trajectory.times import Timeline
from mda_aptnn.trajectory.universe_frames import FINITE_DIFFERENCE_LIMIT, SAMPLES, UniverseFrames

#: Frames that are looked at: enough for some so many atoms in all, within these limits.
ATOMS_IN_ALL, FEWEST, MOST = 8000, 5, 40
#: Volumes of a cell that is given and of the recorded one are the same within this part.
SAME_CELL = 0.01
#: Å from the origin beyond which single precision is a matter: 0.001 Å at 10^4 Å.
FAR = 1e4

RECORDED_TIMES = Question(
    "recorded times", "The given one is used. All wavenumbers go with one over it."
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
    molecules : dict of str to int
        How many molecules of each formula the sample has.
    """

    checks: Checks
    kinetic: tuple[float, float]
    constrained: bool
    molecules: dict[str, int]

    @property
    def info(self) -> dict[str, Any]:
        """What is stored with a result, in values that JSON can hold."""
        return {
            "checks": self.checks.to_json(),
            "kinetic_temperature": [None if value != value else value for value in self.kinetic],
            "constrained_bonds": self.constrained,
            "molecules": self.molecules,
        }


def check_run(
    frames: UniverseFrames,
    wanted: Indices,
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
    paces = check_pace(look) if frames.recorded else []
    kinetic, temperatures = (
        check_temperatures(look, held) if frames.recorded else check_displacements(look)
    )
    reach = 1.0 if frames.recorded else FINITE_DIFFERENCE_LIMIT
    largest = max(float(np.abs(moment.frame.positions).max()) for moment in look.moments)
    cell = None
    if both := frames.cells_given_and_recorded():
        given, recorded = ((f"{cell} ({cell.volume:.5g} Å³)", cell.volume) for cell in both)
        same = abs(given[1] / recorded[1] - 1) < SAME_CELL
        text = f"given {given[0]}, recorded {recorded[0]}"
        cell = CELL.answer(text, same, grave=True)
    found = [
        _declared_time(frames, confirmed=bool(paces) and paces[0].verdict is Verdict.FINE),
        *paces,
        check_nyquist(look, reach),
        temperatures,
        cell,
        COORDINATES.answer(f"up to {largest:.3g} Å", largest < FAR),
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
    molecules = dict(Counter(look.molecules.formulas()))
    return Findings(checks.allowing(options), kinetic, held, molecules)


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
    series = [(k, frames, np.array(frames.usable_frames)) for k, frames in enumerate(analyses, 1)]
    check = _replicas(series)
    return Checks([check] if check is not None else [])


def _look(frames: UniverseFrames, wanted: Indices, timeline: Timeline) -> Look:
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
    return Look(moments, molecules, frames.masses, timeline.spacing, span)


def _constrained(look: Look) -> bool:
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


def _replicas(series: Sequence[tuple[int, UniverseFrames, Indices]]) -> Check | None:
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
