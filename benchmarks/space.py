"""Time and memory of a spectrum resolved by distance: 100,000 frames of 64 molecules, from a flux
file on disk.

    python benchmarks/space.py [--frames 100000] [--threads 2] [--folder FOLDER]

The file is synthetic (molecules that wander, noise as their flux): what is timed does not look at
the numbers.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import h5py
import MDAnalysis
import numpy as np

from mda_aptnn import io
from mda_aptnn.data import WATER64_TOPOLOGY
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.molecular_flux import open_molecules
from mda_aptnn.spectra.spatial import distance_spectrum

CELL = 12.421
SPACING = 1e-3
ROWS = 1000


def write_file(path: Path, n_frames: int) -> None:
    """Write a flux file with 192 atoms, in parts."""
    rng = np.random.default_rng(1)
    geometry = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    centres = rng.uniform(0, CELL, (64, 3))
    total = np.zeros((n_frames, 1, 3))
    with io.create(path, "flux") as file:
        atoms = file.create_group("atoms")
        io.write_array(atoms, "indices", np.arange(192))
        io.write_array(atoms, "numbers", np.tile([8, 1, 1], 64))
        io.write_array(
            atoms, "cells", np.broadcast_to(CELL * np.eye(3), (n_frames, 3, 3)), "angstrom"
        )
        for name, unit in (("atom_flux", "e*angstrom/ps"), ("positions", "angstrom")):
            dataset = atoms.create_dataset(
                name, (n_frames, 192, 3), np.float32, chunks=(400, 192, 3)
            )
            dataset.attrs["units"] = unit
        for start in range(0, n_frames, ROWS):
            n = min(ROWS, n_frames - start)
            total[start : start + n] = add_rows(atoms, start, n, rng, centres, geometry)
        series(total)._write(file)


def add_rows(atoms: h5py.Group, start: int, n: int, rng, centres, geometry) -> np.ndarray:
    """Write the next frames and return their total flux."""
    walk = centres + np.cumsum(rng.normal(0, 0.01, (n, 64, 3)), axis=0)
    centres[:] = walk[-1]
    flux = rng.normal(0, 1, (n, 192, 3)).astype(np.float32)
    atoms["atom_flux"][start : start + n] = flux
    atoms["positions"][start : start + n] = (walk[:, :, None] + geometry).reshape(n, 192, 3)
    return flux.sum(axis=1, keepdims=True, dtype=float)


def series(total: np.ndarray) -> FluxSeries:
    """The total flux with the records that a file has."""
    n = len(total)
    return FluxSeries(
        flux=total,
        groups=["all"],
        times=SPACING * np.arange(n),
        spacing=SPACING,
        starts=[0],
        volumes=np.full(n, CELL**3),
        temperatures=np.full(n, 300.0),
        residuals=np.zeros((n, 3, 3)),
        equipartition=np.ones(n),
    )


def peak_memory() -> float:
    """Most resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    """Write the flux, resolve it by distance, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    universe = MDAnalysis.Universe(WATER64_TOPOLOGY)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "atoms.h5"
        write_file(path, options.frames)
        before, clock, cpu = peak_memory(), time.perf_counter(), time.process_time()
        with open_molecules(path, universe) as (flux, molecules):
            found = distance_spectrum(molecules, flux, n_threads=options.threads)
        seconds, cpu = time.perf_counter() - clock, time.process_time() - cpu
        total = flux.spectrum(segments=None).absorption.magnitude
        difference = float(abs(found.absorption.magnitude - total).max() / total.max())
    report = {
        "frames": options.frames,
        "molecules": molecules.n_molecules,
        "shells": len(found.neighbours),
        "threads": options.threads,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_memory_before_MB": round(before),
        "peak_memory_MB": round(peak_memory()),
        "largest_difference_from_total": difference,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
