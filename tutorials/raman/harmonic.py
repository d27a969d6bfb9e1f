"""Classical harmonic trajectories from the modes that CP2K found: every mode with k_BT, turned at
random.

    python harmonic.py modes.molden 300 8

writes water.pdb and replica-1.trr, replica-2.trr, ... (0.5 fs a frame, positions and velocities).
"""

import sys

import MDAnalysis as mda
import numpy as np
from scipy.spatial.transform import Rotation

from mda_aptnn.elements import atomic_numbers, masses_of
from mda_aptnn.trajectory.molden import read_modes
from mda_aptnn.units import BOLTZMANN, SPEED_OF_LIGHT

SPACING, N_FRAMES = 0.5e-3, 8000  # ps


def write_replica(name, universe, modes, temperature, rng):
    """Write one replica: random phases, one orientation."""
    masses = universe.atoms.masses
    vibrations = modes.wavenumbers > 200
    omega = 2 * np.pi * SPEED_OF_LIGHT * modes.wavenumbers[vibrations]
    # ∂r/∂Q of mass-weighted coordinates: Σ m |∂r/∂Q|² = 1
    shapes = modes.modes[vibrations]
    shapes = shapes / np.sqrt(np.einsum("i,kic->k", masses, shapes**2))[:, None, None]
    angles = omega * SPACING * np.arange(N_FRAMES)[:, None] + rng.uniform(0, 2 * np.pi, len(omega))
    amplitude = np.sqrt(2 * BOLTZMANN * temperature)
    turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    positions = modes.positions - masses @ modes.positions / masses.sum()
    moved = positions + np.einsum("tk,kic->tic", amplitude / omega * np.sin(angles), shapes)
    rates = np.einsum("tk,kic->tic", amplitude * np.cos(angles), shapes)
    with mda.Writer(name, n_atoms=len(masses)) as writer:
        for frame in range(N_FRAMES):
            ts = universe.trajectory.ts
            ts.frame, ts.time = frame, frame * SPACING
            universe.atoms.positions, universe.atoms.velocities = (
                moved[frame] @ turn.T,
                rates[frame] @ turn.T,
            )
            writer.write(universe.atoms)


def main():
    """Write all replicas."""
    modes, temperature, count = read_modes(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    universe = mda.Universe.empty(len(modes.symbols), trajectory=True, velocities=True)
    for name in ("elements", "names", "types"):
        universe.add_TopologyAttr(name, modes.symbols)
    universe.add_TopologyAttr("masses", masses_of(atomic_numbers(modes.symbols)))
    universe.atoms.positions = modes.positions
    universe.atoms.write("water.pdb")
    rng = np.random.default_rng(0)
    for number in range(count):
        write_replica(f"replica-{number + 1}.trr", universe, modes, temperature, rng)


if __name__ == "__main__":
    main()
