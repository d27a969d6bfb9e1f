"""Make the bundled trajectory of liquid water, `mda_aptnn/data/water64.h5md` and `water64.pdb`,
from files as CP2K's.

    python benchmarks/make_water64.py FOLDER/water64-pos-1.xyz --cell "12.421 12.421 12.421"

`benchmarks/water64/md.py` makes them.

What is lost: positions are rounded to 1e-3 Å and velocities to 1 m/s = 1e-2 Å/ps. Positions are
kept by HDF5's scale-offset filter at 14 or 15 bits each. Velocities are kept as 16-bit integers in
m/s whose high and low bytes are compressed apart (shuffle): 13 bits each, where scale-offset needs
14, because most velocities are small. A chunk of 28 frames has 16128 values, just one block of
zlib, so that high and low bytes get codes of their own. Molecules are shifted by whole cells so
that the mean of each is in the cell, and are not wrapped.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import h5py
import MDAnalysis
import numpy as np

from mda_aptnn.io import file_hash, provenance, replacing
from mda_aptnn.trajectory.cp2k import CP2KReader

POSITION_CHUNK = 16
VELOCITY_CHUNK = 28
# MDAnalysis opens every data set anew for each frame, so that chunks that hold many frames make it
# slow
TIME_CHUNK = 256


def main() -> None:
    """Read, shift, round, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("positions", type=Path)
    parser.add_argument("--cell", required=True)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("mda_aptnn/data"))
    arguments = parser.parse_args()

    reader = CP2KReader(arguments.positions, cell=arguments.cell)
    universe = MDAnalysis.Universe(str(arguments.positions), format="CP2K", cell=arguments.cell)
    n_atoms = reader.n_atoms
    frames = range(0, reader.n_frames, arguments.stride)
    positions = np.zeros((len(frames), n_atoms, 3))
    velocities = np.zeros((len(frames), n_atoms, 3))
    times = np.zeros(len(frames))
    steps = np.zeros(len(frames), dtype=np.int64)
    for row, frame in enumerate(frames):
        ts = reader[frame]
        positions[row], velocities[row], times[row], steps[row] = (
            ts.positions,
            ts.velocities,
            ts.time,
            ts.data["step"],
        )
    cell = np.asarray(ts.data["cell"])
    lengths = cell.diagonal()
    mean = positions[:, ::3].mean(axis=0)
    positions -= np.repeat(np.floor(mean / lengths) * lengths, 3, axis=0)

    source = {path.name: file_hash(path) for path in (arguments.positions, reader._velocity_path)}
    with replacing(arguments.output / "water64.h5md") as temporary:
        write_h5md(temporary, positions, velocities, times, steps, cell, source)
    write_topology(arguments.output / "water64.pdb", universe, positions[0])


def write_h5md(path, positions, velocities, times, steps, cell, source) -> None:
    """Write what MDAnalysis' H5MDReader reads, with units."""
    n_frames, n_atoms, _ = positions.shape
    with h5py.File(path, "w") as file:
        header = file.create_group("h5md")
        header.attrs["version"] = [1, 1]
        header.create_group("author").attrs["name"] = "The mda-aptnn developers"
        creator = header.create_group("creator")
        creator.attrs["name"], creator.attrs["version"] = provenance()["creator"].split()
        file.attrs["description"] = (
            "64 H2O, cubic cell of 12.421 Å, NVE, 0.5 fs, the first member of the committee "
            "neural-network "
            "potential of bulk water that Debian's cp2k-data ships, thermalised at 320 K; every 2 "
            "fs"
        )
        file.attrs["sources"] = "; ".join(
            f"{name} sha256 {digest}" for name, digest in source.items()
        )
        group = file.create_group("particles/trajectory")
        box = group.create_group("box")
        box.attrs["dimension"], box.attrs["boundary"] = 3, ["periodic"] * 3
        packed = {"compression": "gzip", "shuffle": True}
        for name in ("position", "velocity", "box/edges"):
            part = group.create_group(name)
            if name == "position":
                time = part.create_dataset("time", data=times, chunks=(TIME_CHUNK,), **packed)
                time.attrs["unit"] = "ps"
                part.create_dataset("step", data=steps, chunks=(TIME_CHUNK,), **packed)
            else:
                part["time"], part["step"] = group["position/time"], group["position/step"]
        values = group["position"].create_dataset(
            "value",
            data=np.round(positions, 3).astype(np.float32),
            chunks=(POSITION_CHUNK, n_atoms, 1),
            scaleoffset=3,
        )
        values.attrs["unit"] = "Angstrom"
        values = group["velocity"].create_dataset(
            "value",
            data=np.round(velocities * 100).astype(np.int16),
            chunks=(VELOCITY_CHUNK, n_atoms, 3),
            compression_opts=9,
            **packed,
        )
        values.attrs["unit"] = "m s-1"
        edges = np.broadcast_to(cell.diagonal().astype(np.float32), (n_frames, 3))
        values = group["box/edges"].create_dataset(
            "value", data=edges, chunks=(TIME_CHUNK, 3), **packed
        )
        values.attrs["unit"] = "Angstrom"


def write_topology(path: Path, universe: MDAnalysis.Universe, positions: np.ndarray) -> None:
    """Write a PDB file with elements, one residue for each molecule, and bonds."""
    n_atoms = len(universe.atoms)
    water = MDAnalysis.Universe.empty(
        n_atoms, n_residues=n_atoms // 3, atom_resindex=np.arange(n_atoms) // 3, trajectory=True
    )
    water.add_TopologyAttr("names", ["O", "H1", "H2"] * (n_atoms // 3))
    water.add_TopologyAttr("elements", list(universe.atoms.elements))
    water.add_TopologyAttr("resnames", ["HOH"] * (n_atoms // 3))
    water.add_TopologyAttr("resids", np.arange(n_atoms // 3) + 1)
    oxygens = range(0, n_atoms, 3)
    water.add_TopologyAttr("bonds", [(o, o + k) for o in oxygens for k in (1, 2)])
    water.atoms.positions = positions
    water.dimensions = universe.dimensions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        water.atoms.write(str(path), bonds="all")


if __name__ == "__main__":
    main()
