"""What velocities say: kinetic temperatures, the unit they are likely in, constrained bonds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from mda_aptnn import units
from mda_aptnn.errors import TrajectoryError
from mda_aptnn.frame import Array, Frame, Indices
from mda_aptnn.trajectory.molecules import Molecules, bonded_paths, near_pairs

#: Units in which programs write velocities: GROMACS nm/ps, LAMMPS Å/ps (metal) and Å/fs (real),
#: CP2K and other electronic-structure codes atomic units, Amber and CHARMM Å per 48.88821 fs.
CANDIDATES = (
    "angstrom/ps",
    "nm/ps",
    "angstrom/fs",
    "bohr/atomic_unit_of_time",
    "20.45483 angstrom/ps",
    "m/s",
)

#: Kinetic temperatures in K outside of this range are taken for a wrong unit.
PLAUSIBLE = (5.0, 5000.0)

#: m v² of an atom in units of k_B T that Maxwell's distribution never gives: exp(−100) for each
#: component.
FASTEST_ATOM = 200.0
#: Kinetic temperature of a frame over the usual one, where fluctuations are small: that of
#: annealing runs is below.
HOTTEST = 3.0
#: Å that an atom may move from frame to frame besides what its velocity explains.
SLACK = 0.5
#: A relative velocity along a bond below this part of sqrt(kT/μ) counts as none. Velocities half a
#: step behind the positions (leap-frog) leave about 0.03 of it along a rigid bond of water at 2 fs.
RIGID = 0.1


@dataclasses.dataclass(frozen=True)
class Moment:
    """A frame with what surrounds it in time.

    Attributes
    ----------
    number : int
        Of the frame in the trajectory.
    frame : Frame
    velocities : ndarray, shape [n_atoms, 3], or None
        In Å/ps.
    moved : ndarray, shape [n_atoms, 3], or None
        From the frame before to the one after, in Å, in the nearest image.
    next_velocities : ndarray, shape [n_atoms, 3], or None
        In the frame after, in Å/ps.
    """

    number: int
    frame: Frame
    velocities: Array | None
    moved: Array | None = None
    next_velocities: Array | None = None


@dataclasses.dataclass(frozen=True)
class Look:
    """A few frames of a trajectory, for checks to look at.

    Attributes
    ----------
    moments : list of Moment
    molecules : Molecules
    masses : ndarray, shape [n_atoms]
        In u.
    spacing, span : float
        Between the frames that are analysed, and from the first to the last one here, in ps.
    """

    moments: list[Moment]
    molecules: Molecules
    masses: Array
    spacing: float
    span: float


def kinetic_temperature(
    velocities: Array, masses: Array, degrees_of_freedom: float | None = None
) -> float:
    """Return ``Σ m v² / (f k_B)`` in K.

    Parameters
    ----------
    velocities : ndarray, shape [n_atoms, 3]
        In Å/ps; a drift of the centre of mass is not taken out.
    masses : ndarray, shape [n_atoms]
        In u.
    degrees_of_freedom : float, optional
        f; 3N − 3 if not given (3 for one atom). Constraints have to be subtracted by the caller.
    """
    n_atoms = len(masses)
    f = degrees_of_freedom if degrees_of_freedom is not None else max(3 * n_atoms - 3, 3)
    return float((masses[:, None] * velocities**2).sum() / (f * units.BOLTZMANN))


def check_degrees_of_freedom(given: int | None) -> None:
    """Refuse what is no positive integer.

    Raises
    ------
    ValueError
    """
    if given is not None and not (isinstance(given, int | np.integer) and given > 0):
        raise ValueError(f"degrees_of_freedom must be a positive integer, not {given!r}")


def is_plausible(temperature: float) -> bool:
    """Whether a sample of atoms could have this temperature in K."""
    return PLAUSIBLE[0] <= temperature <= PLAUSIBLE[1]


def likely_unit(temperature: float) -> str | None:
    """Return the unit that explains `temperature`, found in K with the numbers taken as Å/ps; None
    if none does.

    Of the units that give a plausible temperature, the one nearest to 300 K on a logarithmic scale.
    """
    if temperature <= 0:
        return None
    found = {unit: temperature * units.velocity_factor(unit) ** 2 for unit in CANDIDATES}
    found = {unit: value for unit, value in found.items() if is_plausible(value)}
    return min(found, key=lambda unit: abs(np.log(found[unit] / 300)), default=None)


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

    def __init__(self, velocities: Iterable[Array], masses: Array, indices: Indices) -> None:
        self._masses, self._indices = masses, indices
        samples = list(velocities)
        self.temperature = float(np.median([kinetic_temperature(v, masses) for v in samples]))
        fastest = [(masses * (v**2).sum(axis=1)).max() / units.BOLTZMANN for v in samples]
        #: Largest m v² of an atom, in units of k_B T.
        self._fastest = float(np.median(fastest)) / self.temperature if self.temperature else np.inf

    def refuse_heat(self, number: int, velocities: Array) -> None:
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
                "K; leave this frame out (--frames), or check_temperature=False "
                "(--no-check-temperature) if it is meant"
            )

    def refuse_jump(
        self,
        number: int,
        frame: Frame,
        last: int,
        fractions: Array,
        time_between: Callable[[int, int], float],
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
        time_between : callable
            Of the numbers of two frames, in ps.

        Raises
        ------
        TrajectoryError
        """
        box = frame.box
        steps = box.nearest_to(frame.positions, fractions) - fractions @ box.filled
        moved = np.linalg.norm(steps, axis=1)
        if moved.max() <= SLACK:
            return
        time = time_between(last, number)
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


def constrained_bonds(samples: Iterable[tuple[Frame, Array]], masses: Array) -> float:
    """Return the number of distances between bonded atoms that a constraint seems to hold, as a
    mean over frames.

    Along a free bond the relative velocity is distributed with the variance kT/μ, so it is nearly
    zero for few of them; along a constrained one it is zero always. Pairs with a common bonded
    neighbour are looked at as well: a rigid water molecule counts three. The count is zero unless
    it is more than chance explains in all frames together: of a lone molecule one frame says too
    little.

    Parameters
    ----------
    samples : iterable of (Frame, ndarray of shape [n_atoms, 3])
        Frames with their velocities in Å/ps.
    masses : ndarray, shape [n_atoms]
        In u.

    Raises
    ------
    TrajectoryError
        If velocities or masses do not go with a frame.
    """
    rigid = n_pairs = n_frames = 0
    for frame, velocities in samples:
        if np.shape(velocities) != (len(frame), 3) or np.shape(masses) != (len(frame),):
            raise TrajectoryError(
                f"velocities {np.shape(velocities)} and masses {np.shape(masses)} do not go with "
                f"{len(frame)} atoms"
            )
        i, j, vectors = _bonded_pairs(frame)
        along = np.einsum("px,px->p", velocities[j] - velocities[i], vectors) / np.linalg.norm(
            vectors, axis=1
        )
        reduced = masses[i] * masses[j] / (masses[i] + masses[j])
        thermal = np.sqrt(units.BOLTZMANN * kinetic_temperature(velocities, masses) / reduced)
        rigid += int((np.abs(along) < RIGID * thermal).sum())
        n_pairs, n_frames = n_pairs + len(i), n_frames + 1
    # probability that a normal deviate is below RIGID in magnitude
    chance = RIGID * np.sqrt(2 / np.pi) * n_pairs
    return rigid / n_frames if rigid > chance + 4 * np.sqrt(chance) + 0.5 else 0.0


def _bonded_pairs(frame: Frame) -> tuple[Indices, Indices, Array]:
    """Pairs at bonding distance and 1-3 pairs, each once, with their vectors."""
    centre, neighbour, _ = near_pairs(frame)
    bonds = np.stack([centre, neighbour], axis=1)[centre < neighbour]
    ends = bonded_paths(bonds, len(frame), 3)[:, [0, 2]]
    i, j = np.concatenate([bonds, ends[ends[:, 0] < ends[:, 1]]]).T
    return i, j, frame.box.nearest(frame.positions[j] - frame.positions[i])
