"""Molecular dynamics behind the bundled trajectory of liquid water: thermalise, balance the
motions, run freely.

    python benchmarks/water64/md.py FOLDER python benchmarks/make_water64.py
    FOLDER/water64-pos-1.xyz --cell "12.421 12.421 12.421" --stride 1

Forces are those of CP2K's ``&NNP`` with the first member of the committee potential of bulk water
that Debian's cp2k-data ships, computed by `nnp.c`, some ten times faster. `nve.inp` is the same run
in CP2K.

1. From `start.xyz`, the last frame of the bundled trajectory of version 0.1.0, 1.75 ps with a
massive thermostat at
   320 K: every component of every velocity has its own Langevin force, with a time constant of 50
   fs.
2. With the centre of mass at rest, a trial of 5 ps at constant energy. Its motions differ in
temperature by some
   10 %, because each holds for picoseconds what it had by chance.
3. In a frame from the middle of the trial, the velocities of translation, rotation, stretching and
bending are
   scaled, each by one factor, so that its kinetic energy changes by twice what its mean misses at
   318 K (half of the change goes to the potential energy). This is a choice of initial condition.
4. From there 5 ps at constant energy forwards in time and, with velocities turned, 5 ps backwards,
two processes;
   joined, these are 10 ps of one trajectory. 0.5 fs a step, written every 2 fs in the form of CP2K.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import MDAnalysis
import numpy as np

from mda_aptnn.data import WATER64_TOPOLOGY
from mda_aptnn.frame import Frame
from mda_aptnn.trajectory.molecules import find_molecules
from mda_aptnn.trajectory.motions.internal_coordinates import InternalCoordinates
from mda_aptnn.trajectory.motions.rigid_motions import RigidMotions

HERE = Path(__file__).parent
POTENTIAL = Path("/usr/share/cp2k/NNP/bulkH2O-jcp2020-cnnp/nnp-1")
BOHR, FEMTOSECOND, KELVIN = 0.529177210903, 41.341373336, 3.166811563e-6
#: CP2K's masses, in u, and one u in electron masses.
MASSES, DALTON = {"H": 1.00794, "O": 15.9994}, 1822.888484
#: Å; every symmetry function of the potential ends at 12 bohr.
CELL, CUTOFF = 12.421, 12.0
STEP, TEMPERATURE, TIME_CONSTANT = 0.5, 320.0, 50.0
#: K; what motions are to have in the end.
AIM = 318.0
#: Steps of each half of the free run, and between frames.
HALF, EVERY = 10000, 4
ELEMENTS = {"H": 0, "O": 1}


class Function(ctypes.Structure):
    """A symmetry function, as in nnp.c."""

    _fields_ = [(name, ctypes.c_int) for name in ("kind", "e1", "e2")] + [
        (name, ctypes.c_double) for name in ("eta", "rs", "lambda_", "zeta", "pref")
    ]


class Potential:
    """Energy and forces, in atomic units, of atoms whose elements are `symbols`.

    The order of symmetry functions, by which scaling and weights refer to them, is by kind, η, ζ or
    shift, λ and elements. Scaled functions are (G − mean)/(max − min).
    """

    LIMIT = 64

    def __init__(self, symbols: list[str], build: Path) -> None:
        library, source = build / "nnp.so", HERE / "nnp.c"
        if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
            flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp-simd", "-shared", "-fPIC"]
            subprocess.run(["gcc", *flags, str(source), "-o", str(library), "-lm"], check=True)
        self._energy = ctypes.CDLL(str(library)).energy
        self._energy.restype = ctypes.c_double
        self._types = np.array([ELEMENTS[symbol] for symbol in symbols], dtype=np.intc)
        self._functions = (Function * (2 * self.LIMIT))()
        self._count = np.zeros(2, dtype=np.intc)
        for element, rows in enumerate(self._rows((POTENTIAL / "input.nn").read_text())):
            self._count[element] = len(rows)
            for k, (kind, eta, third, sign, e1, e2) in enumerate(sorted(rows)):
                radial = kind == 2
                self._functions[element * self.LIMIT + k] = Function(
                    kind,
                    e1,
                    e2,
                    eta,
                    third if radial else 0,
                    sign,
                    0 if radial else third,
                    2 ** (1 - third),
                )
        self._mean, self._scale = np.zeros((2, 2, self.LIMIT))
        for element, index, low, high, mean in _table(POTENTIAL / "scaling.data", range(5)):
            place = int(element) - 1, int(index) - 1
            self._mean[place], self._scale[place] = mean, 1 / (high - low)
        self._weights = np.zeros((2, 2 * self.LIMIT**2))
        for element, name in enumerate(("weights.001.data", "weights.008.data")):
            values = np.ravel(_table(POTENTIAL / name, [0]))
            self._weights[element, : len(values)] = values

    @staticmethod
    def _rows(text: str) -> tuple[list[tuple], list[tuple]]:
        """Return kind, η, shift or ζ, λ and elements of H's and of O's functions."""
        found: tuple[list[tuple], list[tuple]] = ([], [])
        for line in text.splitlines():
            words = line.split("#")[0].split()
            if words[:1] != ["symfunction_short"]:
                continue
            element, kind = ELEMENTS[words[1]], int(words[2])
            if float(words[-1]) != CUTOFF:
                raise ValueError(f"a cutoff that is not {CUTOFF} bohr: {line}")
            if kind == 2:
                eta, shift = map(float, words[4:6])
                found[element].append((kind, eta, shift, 0.0, ELEMENTS[words[3]], 0))
            else:
                eta, sign, zeta = map(float, words[5:8])
                found[element].append(
                    (kind, eta, zeta, sign, *sorted(ELEMENTS[word] for word in words[3:5]))
                )
        return found

    def __call__(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the energy, less that of free atoms, in hartree, and forces, [n_atoms, 3] in
        hartree/bohr.
        """
        positions = np.ascontiguousarray(positions)
        forces = np.empty_like(positions)
        cell, cutoff = ctypes.c_double(CELL / BOHR), ctypes.c_double(CUTOFF)
        energy = self._energy(
            len(positions),
            _pointer(positions),
            _pointer(self._types),
            cell,
            cutoff,
            _pointer(self._count),
            self._functions,
            _pointer(self._mean),
            _pointer(self._scale),
            20,
            _pointer(self._weights),
            _pointer(forces),
        )
        return energy, forces


def _table(path: Path, columns) -> np.ndarray:
    rows = [
        line.split()
        for line in path.read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    return np.array([[float(row[k]) for k in columns] for row in rows if len(row) > 2])


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


class Water:
    """The molecules, their masses in atomic units, [n_atoms, 1], and the potential."""

    def __init__(self, build: Path) -> None:
        universe = MDAnalysis.Universe(WATER64_TOPOLOGY)
        self.symbols = [str(symbol) for symbol in universe.atoms.elements]
        self.masses = np.array([MASSES[symbol] for symbol in self.symbols])[:, None] * DALTON
        self.potential = Potential(self.symbols, build)
        molecules = find_molecules(
            universe, universe.atoms.indices, self.frame(universe.atoms.positions / BOHR)
        )
        oxygens = np.arange(0, len(self.symbols), 3)
        self.motions = InternalCoordinates(
            RigidMotions(molecules, self.masses[:, 0]),
            {
                "stretching": np.concatenate(
                    [np.stack([oxygens, oxygens + k], axis=1) for k in (1, 2)]
                ),
                "bending": np.stack([oxygens + 1, oxygens, oxygens + 2], axis=1),
            },
        )

    def frame(self, positions: np.ndarray) -> Frame:
        """Return positions in bohr as a frame in Å."""
        return Frame(
            [{"H": 1, "O": 8}[s] for s in self.symbols],
            positions * BOHR,
            np.eye(3) * CELL,
            [True] * 3,
        )

    def resting(self, velocities: np.ndarray) -> np.ndarray:
        """Return velocities with the centre of mass at rest."""
        return velocities - (self.masses * velocities).sum(axis=0) / self.masses.sum()

    def parts(self, positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the velocities of translation, rotation, stretching and bending, [4, n_atoms, 3],
        and their kinetic temperatures in K.
        """
        parts = self.motions.parts(self.frame(positions), velocities)[:4]
        freedom = len(self.symbols) // 3 * np.array([3, 3, 2, 1]) - [3, 0, 0, 0]
        return parts, (self.masses * parts**2).sum(axis=(1, 2)) / freedom / KELVIN

    def run(
        self,
        positions: np.ndarray,
        velocities: np.ndarray,
        steps: int,
        every: int,
        kick: Callable[[np.ndarray], np.ndarray] = lambda velocities: velocities,
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, float]]:
        """Velocity Verlet with `kick` in the middle of each step; yield step, positions,
        velocities, energy.
        """
        half = 0.5 * STEP * FEMTOSECOND
        energy, forces = self.potential(positions)
        for step in range(steps + 1):
            if step % every == 0:
                yield step, positions, velocities, energy
            velocities = velocities + half * forces / self.masses
            positions = positions + half * velocities
            velocities = kick(velocities)
            positions = positions + half * velocities
            energy, forces = self.potential(positions)
            velocities = velocities + half * forces / self.masses


def thermalised(water: Water, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and velocities after 1.75 ps at `TEMPERATURE`, with the centre of mass at
    rest.
    """
    rng = np.random.default_rng(14)
    spread = np.sqrt(KELVIN * TEMPERATURE / water.masses)
    kept = np.exp(-STEP / TIME_CONSTANT)

    def kick(velocities: np.ndarray) -> np.ndarray:
        return kept * velocities + np.sqrt(1 - kept**2) * spread * rng.normal(size=velocities.shape)

    velocities = spread * rng.normal(size=positions.shape)
    *_, (_, x, v, _) = water.run(positions, velocities, 3500, 3500, kick)
    return x, water.resting(v)


def balanced(
    water: Water, positions: np.ndarray, velocities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame of a trial, velocities scaled so that motions have one mean temperature from
    then on.
    """
    found = []
    for step, x, v, _ in water.run(positions, velocities, HALF, 40):
        found.append(water.parts(x, v)[1])
        if step == HALF // 2:
            middle = x, v
    mean = np.mean(found, axis=0)
    parts, now = water.parts(*middle)
    factors = np.sqrt(1 + 2 * (AIM - mean) / now)
    print(
        f"trial: translation, rotation, stretching, bending: {mean.round(1)} K, scaled by "
        f"{factors.round(4)}"
    )
    return middle[0], (factors[:, None, None] * parts).sum(axis=0)


def half(folder: Path, name: str, positions: np.ndarray, velocities: np.ndarray) -> None:
    """Run `HALF` steps at constant energy into FOLDER/NAME.npy, [n_frames, positions and
    velocities, n_atoms, 3], and potential energies into FOLDER/NAME-energy.npy.
    """
    water = Water(folder)
    n_frames = HALF // EVERY + 1
    frames = np.lib.format.open_memmap(
        folder / f"{name}.npy", "w+", shape=(n_frames, 2, len(positions), 3)
    )
    energies = np.lib.format.open_memmap(folder / f"{name}-energy.npy", "w+", shape=(n_frames,))
    for row, (_, x, v, energy) in enumerate(water.run(positions, velocities, HALF, EVERY)):
        frames[row], energies[row] = (x, v), energy


def write(folder: Path, water: Water) -> None:
    """Join the halves to one trajectory as CP2K writes it: water64-pos-1.xyz, water64-vel-1.xyz,
    water64-1.ener.
    """
    before, after = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("before", "after"))
    energies = [np.load(folder / f"{name}-energy.npy") for name in ("before", "after")]
    # what was run backwards in time has its velocities turned
    frames = np.concatenate([before[:0:-1] * np.array([1, -1])[:, None, None], after])
    potentials = np.concatenate([energies[0][:0:-1], energies[1]])
    # where nve.inp starts
    (x, v), text = frames[0], "{:.12e} {:.12e} {:.12e}\n".format
    rows = [f"{symbol} {text(*row)}" for symbol, row in zip(water.symbols, x * BOHR, strict=True)]
    (folder / "nve.coord").write_text("".join(rows))
    (folder / "nve.velocity").write_text("".join(text(*row) for row in v))
    with (
        open(folder / "water64-pos-1.xyz", "w") as places,
        open(folder / "water64-vel-1.xyz", "w") as speeds,
        open(folder / "water64-1.ener", "w") as table,
    ):
        table.write(
            "# step, time (fs), kinetic, potential, total energy (hartree), temperature (K)\n"
        )
        for row, ((x, v), potential) in enumerate(zip(frames, potentials, strict=True)):
            step = row * EVERY
            kinetic = 0.5 * float((water.masses * v**2).sum())
            temperature = 2 * kinetic / (3 * len(v) - 3) / KELVIN
            for file, values in ((places, x * BOHR), (speeds, v)):
                file.write(
                    f"{len(v)}\n i = {step:8d}, time = {step * STEP:12.3f}, E = "
                    f"{potential:20.10f}\n"
                )
                for symbol, (a, b, c) in zip(water.symbols, values, strict=True):
                    file.write(f"{symbol:>3s}{a:20.10f}{b:20.10f}{c:20.10f}\n")
            numbers = f"{kinetic:.9f} {potential:.9f} {kinetic + potential:.9f} {temperature:.4f}"
            table.write(f"{step} {step * STEP} {numbers}\n")


def main() -> None:
    """Run, and write trajectory, energies and where the free run starts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    water = Water(folder)
    start = (
        np.array(
            [line.split()[1:] for line in (HERE / "start.xyz").read_text().splitlines()[2:]], float
        )
        / BOHR
    )

    positions, velocities = balanced(water, *thermalised(water, start))
    halves = [
        (folder, name, positions, sign * velocities)
        for name, sign in (("before", -1), ("after", 1))
    ]
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(half, *zip(*halves, strict=True)))
    write(folder, water)


if __name__ == "__main__":
    main()
