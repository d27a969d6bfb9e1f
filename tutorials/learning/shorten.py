"""Every fourth frame of CP2K's dynamics with velocities as md.trr; the flux of the printed dipoles
as dipoles.h5.

python shorten.py FIRST LAST
"""

import dataclasses
import re
import sys
from pathlib import Path

import MDAnalysis as mda
import numpy as np

from mda_aptnn import DipoleFlux, FixedCharges
from mda_aptnn.units import factor

#: Frames of the dynamics between those that are kept.
STEP = 4


def printed_dipoles(path: Path) -> np.ndarray:
    """Return the dipole of every step of the dynamics in e·Å, [n_steps, 3]."""
    found = re.findall(r"Moment \[a\.u\.\]\s+(\S+)\s+(\S+)\s+(\S+)", path.read_text())
    return np.array(found, dtype=float) * factor("bohr", "angstrom")


def main() -> None:
    """Read md-pos-1.xyz, md-vel-1.xyz, md-dipole.dat; write peroxide.xyz, md.trr, dipoles.h5."""
    first, last = (int(word) for word in sys.argv[1:])
    whole = mda.Universe("md-pos-1.xyz", format="CP2K", topology_format="CP2K")
    whole.trajectory[first]
    whole.atoms.write("peroxide.xyz")
    kept = np.arange(first, last, STEP)
    positions = whole.trajectory.timeseries(order="fac").astype(float)
    dipoles = printed_dipoles(Path("md-dipole.dat"))
    # Central differences of both: what they take from fast motion is the same. CP2K's own
    # velocities were rescaled by the thermostat in between, by 1.6 % in either direction.
    velocities, flux = (
        (values[kept + 1] - values[kept - 1]) / (2 * whole.trajectory.dt)
        for values in (positions, dipoles)
    )
    with mda.Writer("md.trr", whole.atoms.n_atoms) as writer:
        for number, velocity in zip(kept, velocities, strict=True):
            whole.trajectory[number]
            whole.atoms.velocities = velocity
            writer.write(whole.atoms)
    universe = mda.Universe("peroxide.xyz", "md.trr")
    series = DipoleFlux(universe, FixedCharges({"O": -0.4, "H": 0.4}), pbc="none").run().series
    series = series.regroup({"all": series.groups})
    dataclasses.replace(
        series, flux=flux[:, None, :], info={"flux": "CP2K's printed dipoles"}
    ).save("dipoles.h5")


if __name__ == "__main__":
    main()
