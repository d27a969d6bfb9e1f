"""Whether a time between frames that was given by hand is right: atoms must move as their velocities say."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import symbols_of
from mda_aptnn.errors import TrajectoryError
from mda_aptnn.trajectory import SAMPLES, UniverseFrames

#: In rad/ps, 4500 cm⁻¹: nothing vibrates faster.
FASTEST = 850.0
#: How far from what is possible the pace may be, for noise and for velocities half a step behind.
MARGIN = 1.25
#: Below this correlation of displacements and velocities, nothing is said.
CORRELATED = 0.5


def pace(
    displacements: NDArray[np.float64], velocities: NDArray[np.float64], masses: NDArray[np.float64]
) -> tuple[float, float]:
    """Return how far atoms move, in units of how far their velocities take them, and the correlation of both.

    A motion of angular frequency ω has the pace sin(ωΔt)/(ωΔt), from central differences over 2Δt.

    Parameters
    ----------
    displacements : ndarray, shape [n_frames, n_atoms, 3]
        Central differences, in Å/ps.
    velocities : ndarray, shape [n_frames, n_atoms, 3]
        In Å/ps.
    masses : ndarray, shape [n_atoms]
        In u.
    """
    weights = masses[:, None]
    product = float((weights * displacements * velocities).sum())
    squares = float((weights * velocities**2).sum()), float((weights * displacements**2).sum())
    if not min(squares) > 0:
        return np.nan, 0.0
    return product / squares[0], product / float(np.sqrt(squares[0] * squares[1]))


def check_given_spacing(frames: UniverseFrames) -> None:
    """Hold a given `time_step` against the recorded positions and velocities of a few frames.

    The trajectory stays where it is. Recorded times, and velocities made from positions, are not looked at.

    Parameters
    ----------
    frames : UniverseFrames

    Raises
    ------
    TrajectoryError
        If atoms move much further from frame to frame than their velocities allow. That they move less is a
        warning: it may be beads of a ring polymer, or frames that are far apart.
    """
    settings = frames.settings
    step, trajectory = settings["time_step"], frames.universe.trajectory
    if step is None or settings["velocities"] != "trajectory" or trajectory.n_frames < 3:
        return
    symbols = np.full(len(frames.universe.atoms), "", dtype=object)
    symbols[frames.indices] = symbols_of(frames.numbers)
    differences = UniverseFrames(
        frames.universe,
        velocities="finite-difference", time_step=step, elements=symbols.tolist(),
        cell=settings["cell"], pbc=settings["pbc"], check_temperature=False,
    )  # fmt: skip
    before = trajectory.frame
    moved, said = [], []
    for number in np.unique(np.linspace(1, trajectory.n_frames - 2, SAMPLES).round().astype(int)):
        trajectory[int(number)]
        moved.append(differences.velocities())
        said.append(frames.velocities())
    trajectory[before]
    found, correlation = pace(np.array(moved), np.array(said), frames.masses)
    if correlation < CORRELATED:
        return
    if found > MARGIN:
        raise TrajectoryError(
            f"from frame to frame atoms move {found:.3g} times as far as their velocities take them in the given "
            f"{1000 * step:g} fs; is that the step of the simulation, and about {1000 * step * found:.2g} fs the "
            "time between *recorded* frames? give that (time_step=, --time-step)"
        )
    if found * MARGIN < np.sinc(min(FASTEST * step / np.pi, 1.0)):
        warnings.warn(
            f"from frame to frame atoms move only {found:.2g} times as far as their velocities take them in the "
            f"given {1000 * step:g} fs: is that the time between recorded frames (time_step=, --time-step)?",
            stacklevel=3,
        )
