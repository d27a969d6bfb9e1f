"""Whether the velocities of a trajectory, and the steps of its atoms, can be those of a sample."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import TrajectoryError
from mda_aptnn.frame import Frame
from mda_aptnn.trajectory.kinetics import kinetic_temperature

#: m v² of an atom in units of k_B T that Maxwell's distribution never gives: exp(−100) for each
#: component.
FASTEST_ATOM = 200.0
#: Kinetic temperature of a frame over the usual one, where fluctuations are small: that of
#: annealing runs is below.
HOTTEST = 3.0
#: Å that an atom may move from frame to frame besides what its velocity explains.
SLACK = 0.5


class Usual:
    """What each frame of a trajectory is held against: medians over a few of them.

    Parameters
    ----------
    velocities : iterable of ndarray of shape [n_atoms, 3]
        In Å/ps.
    masses : ndarray, shape [n_atoms]
        In u.
    indices : ndarray of int, shape [n_atoms]
        Universe indices of the atoms, for messages.

    Attributes
    ----------
    temperature : float
        Kinetic temperature in K.
    """

    def __init__(
        self,
        velocities: Iterable[NDArray[np.float64]],
        masses: NDArray[np.float64],
        indices: NDArray[np.int64],
    ) -> None:
        self._masses, self._indices = masses, indices
        samples = list(velocities)
        self.temperature = float(np.median([kinetic_temperature(v, masses) for v in samples]))
        fastest = [(masses * (v**2).sum(axis=1)).max() / units.BOLTZMANN for v in samples]
        #: Largest m v² of an atom, in units of k_B T.
        self._fastest = float(np.median(fastest)) / self.temperature if self.temperature else np.inf

    def refuse_heat(self, number: int, velocities: NDArray[np.float64]) -> None:
        """Refuse a frame, or an atom in it, that is far hotter than the trajectory.

        Raises
        ------
        TrajectoryError
        """
        energies = self._masses * (velocities**2).sum(axis=1) / (units.BOLTZMANN * self.temperature)
        fluctuation = np.sqrt(2 / max(3 * len(energies) - 3, 3))
        hot = energies.mean() / 3 > HOTTEST * (1 + 10 * fluctuation)
        if hot or energies.max() > max(FASTEST_ATOM, 10 * self._fastest):
            atom = int(energies.argmax())
            raise TrajectoryError(
                f"frame {number}: atom {self._indices[atom]} (counted from 0) has "
                f"{np.linalg.norm(velocities[atom]):.4g} Å/ps, and all atoms "
                f"{energies.mean() / 3 * self.temperature:.4g} K, elsewhere {self.temperature:.4g} "
                "K; leave this frame out (--start, --stop), or check_temperature=False "
                "(--no-check-temperature) if it is meant"
            )

    def refuse_jump(
        self, number: int, frame: Frame, last: int, fractions: NDArray[np.float64], time: float
    ) -> None:
        """Refuse an atom that has moved further than the temperature explains.

        Parameters
        ----------
        number, frame
            Of the frame.
        last : int
            Number of an earlier frame.
        fractions : ndarray, shape [n_atoms, 3]
            Where atoms were then, in parts of the cell.
        time : float
            Between the two, in ps.

        Raises
        ------
        TrajectoryError
        """
        box = frame.box
        steps = box.nearest_to(frame.positions, fractions) - fractions @ box.filled
        moved = np.linalg.norm(steps, axis=1)
        thermal = np.sqrt(FASTEST_ATOM * units.BOLTZMANN * self.temperature / self._masses)
        too_far = moved - thermal * time - SLACK
        if too_far.max() > 0:
            atom = int(too_far.argmax())
            raise TrajectoryError(
                f"frame {number}: atom {self._indices[atom]} (counted from 0) has moved by "
                f"{moved[atom]:.3g} Å since frame {last}, {1000 * time:.4g} fs earlier: are frames "
                "missing or in another order, or another run's? Give an even part (--start, "
                "--stop), or check_temperature=False (--no-check-temperature) if it is meant"
            )
