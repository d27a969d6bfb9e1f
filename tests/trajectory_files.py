"""A short trajectory of real water, and the same frames in every format that holds velocities."""

from __future__ import annotations

import dataclasses

import h5py
import MDAnalysis
import numpy as np

from mda_aptnn import units
from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY

#: LAMMPS' unit styles, and what they are for CP2K.
LAMMPS_UNITS = {"real": "angstrom/fs", "metal": "angstrom/ps"}
CP2K_UNIT = "bohr/atomic_unit_of_time"
#: Charges of a simple model, e, for a flux that needs no network.
CHARGES = {"O": -0.8, "H": 0.4}


@dataclasses.dataclass(frozen=True)
class Sample:
    """Positions, velocities [n_frames, n_atoms, 3] in Å and Å/ps, cells [n_frames, 3, 3] in Å,
    times in ps.
    """

    symbols: list[str]
    positions: np.ndarray
    velocities: np.ndarray
    cells: np.ndarray
    times: np.ndarray

    def __len__(self):
        return len(self.times)

    @property
    def flux(self):
        """Charge current in e·Å/ps, an independent sum."""
        charges = np.array([CHARGES[symbol] for symbol in self.symbols])
        return np.array([(charges[:, None] * v).sum(axis=0) for v in self.velocities])


def water(n_frames: int = 5) -> Sample:
    """The first frames of the bundled trajectory, read without MDAnalysis."""
    with h5py.File(WATER64_TRAJECTORY) as file:
        group = file["particles/trajectory"]
        positions = group["position/value"][:n_frames].astype(float)
        velocities = group["velocity/value"][:n_frames] / 100
        edges = group["box/edges/value"][:n_frames].astype(float)
        times = group["position/time"][:n_frames]
    return Sample(
        ["O", "H", "H"] * 64,
        positions,
        velocities,
        np.array([np.diag(edge) for edge in edges]),
        times,
    )


def triclinic_water(n_frames: int = 5) -> Sample:
    """The same in cells with a along x and b in xy that change with time."""
    sample = water(n_frames)
    cells = np.array([sample.cells[0] + [[0, 0, 0], [2.5, 0, 0], [-1.5, 3.0, 0.5]]] * n_frames)
    cells *= (1 + 0.002 * np.arange(n_frames))[:, None, None]
    return dataclasses.replace(sample, cells=cells)


def topology() -> str:
    """A PDB file with elements for `water`."""
    return WATER64_TOPOLOGY


def write(sample: Sample, path, **options):
    """Write with MDAnalysis' writer for the suffix of `path` (TRR, H5MD, NCDF)."""
    universe = MDAnalysis.Universe.empty(len(sample.symbols), trajectory=True, velocities=True)
    with MDAnalysis.Writer(str(path), n_atoms=len(sample.symbols), **options) as writer:
        for k, cell in enumerate(sample.cells):
            ts = universe.trajectory.ts
            ts.positions, ts.velocities = sample.positions[k], sample.velocities[k]
            ts.triclinic_dimensions = cell
            ts.time, ts.frame = sample.times[k], k
            ts.data["step"] = k
            writer.write(universe.atoms)
    return path


def write_lammps(sample: Sample, path, style: str, step: float = 0.001, origin=(0.0, 0.0, 0.0)):
    """Write a LAMMPS dump (``id type x y z vx vy vz``, type 1 is O), `step` ps between steps."""
    factor = units.factor(units.VELOCITY, LAMMPS_UNITS[style])
    with open(path, "w") as file:
        for k, ((a, b, c), time) in enumerate(zip(sample.cells, sample.times, strict=True)):
            file.write(
                f"ITEM: TIMESTEP\n{round(time / step)}\nITEM: NUMBER OF "
                f"ATOMS\n{len(sample.symbols)}\n"
            )
            xy, xz, yz = b[0], c[0], c[1]
            low = np.add(origin, [min(0, xy, xz, xy + xz), min(0, yz), 0])
            high = np.add(origin, [a[0] + max(0, xy, xz, xy + xz), b[1] + max(0, yz), c[2]])
            file.write("ITEM: BOX BOUNDS xy xz yz pp pp pp\n")
            for axis, tilt in enumerate((xy, xz, yz)):
                file.write(f"{low[axis]:.12g} {high[axis]:.12g} {tilt:.12g}\n")
            file.write("ITEM: ATOMS id type x y z vx vy vz\n")
            # dumps of several processes are not sorted
            for i in np.random.default_rng(k).permutation(len(sample.symbols)):
                numbers = [*(sample.positions[k, i] + origin), *(sample.velocities[k, i] * factor)]
                kind = 1 if sample.symbols[i] == "O" else 2
                file.write(f"{i + 1} {kind} {' '.join(f'{x:.10g}' for x in numbers)}\n")
    return path


def write_xyz(symbols, values, steps, times, path):
    """Write an XYZ file as CP2K does, times in fs."""
    with open(path, "w") as file:
        for step, time, table in zip(steps, times, values, strict=True):
            file.write(
                f"{len(symbols):8d}\n i = {step:8d}, time = {time:12.3f}, E = {-17.2:20.10f}\n"
            )
            for symbol, row in zip(symbols, table, strict=True):
                file.write(f"{symbol:>3} " + "".join(f"{x:20.10f}" for x in row) + "\n")
    return path


def write_cells(cells, steps, times, path):
    """Write a cell file as CP2K does, times in fs."""
    with open(path, "w") as file:
        file.write("#   Step   Time [fs]       Ax [Angstrom]  ...  Volume [Angstrom^3]\n")
        for step, time, cell in zip(steps, times, cells, strict=True):
            numbers = " ".join(f"{x:20.10f}" for x in np.ravel(cell))
            file.write(f"{step:8d} {time:11.3f} {numbers} {np.linalg.det(cell):24.10f}\n")
    return path


def write_cp2k(sample: Sample, folder, project: str = "water"):
    """Write NAME-pos-1.xyz, NAME-vel-1.xyz and NAME-1.cell; return the first."""
    times = sample.times * 1000
    steps = np.round(times / 0.5).astype(int)
    factor = units.factor(units.VELOCITY, CP2K_UNIT)
    write_xyz(
        sample.symbols, sample.velocities * factor, steps, times, folder / f"{project}-vel-1.xyz"
    )
    write_cells(sample.cells, steps, times, folder / f"{project}-1.cell")
    return write_xyz(
        sample.symbols, sample.positions, steps, times, folder / f"{project}-pos-1.xyz"
    )
