"""Thermal motion of a packed box: GFN1-xTB of tblite, periodic, Langevin dynamics.

Which positions are visited at a temperature does not depend on the masses. All atoms get the same
one, so that steps of 2 fs are short enough for every bond: a nitrile, the fastest, takes 14 fs.
With the masses of nature 0.5 fs would be needed.
"""

from __future__ import annotations

import ase
import numpy as np
from ase import units
from ase.data import covalent_radii
from ase.md.langevinbaoab import LangevinBAOAB
from boxes import Box, molecule
from tblite.ase import TBLite

STEPS, STEP, FRICTION_TIME = 120, 2.0, 30.0
MASS = 12.0
#: Of tblite, in units of its default: forces are within 1e-3 eV/Å.
ACCURACY = 20
COLDEST, HOTTEST = 300.0, 400.0
#: The mean temperature of the last third may be off by this share. At one moment the temperature of
#: 50 atoms scatters by 12 %.
OFF = 0.35
#: A bond is shorter than this times the sum of the covalent radii.
BOND = 1.25


class EquilibrationError(RuntimeError):
    """The box is not one to be labelled."""


def temperature_of(box: Box) -> float:
    """Return the temperature of a box in K, drawn by its name."""
    return round(float(np.random.default_rng(box.seed).uniform(COLDEST, HOTTEST)), 1)


def equilibrate(box: Box, symbols: list[str], positions: np.ndarray) -> tuple[np.ndarray, dict]:
    """Return positions [n, 3] in Å after the dynamics, and what is to be said about them.

    Raises
    ------
    EquilibrationError
        If a number is not finite or the temperature is not the one asked for.
    """
    atoms = ase.Atoms(symbols, positions, cell=[box.edge] * 3, pbc=True)
    atoms.set_masses(np.full(len(atoms), MASS))
    atoms.calc = TBLite(method="GFN1-xTB", accuracy=ACCURACY, verbosity=0)
    wanted, rng = temperature_of(box), np.random.default_rng(box.seed)
    atoms.set_momenta(np.sqrt(MASS * units.kB * wanted) * rng.normal(size=(len(atoms), 3)))
    motion = LangevinBAOAB(
        atoms, STEP * units.fs, temperature_K=wanted, T_tau=FRICTION_TIME * units.fs, rng=rng
    )
    temperatures = []
    motion.attach(lambda: temperatures.append(atoms.get_temperature()), interval=1)
    motion.run(STEPS)
    reached = float(np.mean(temperatures[-STEPS // 3 :]))
    if not np.isfinite(atoms.positions).all() or abs(reached / wanted - 1) > OFF:
        raise EquilibrationError(f"{box.name}: {reached:.0f} K where {wanted:.0f} K was asked for")
    broken, formed = changed_bonds(box, symbols, atoms.positions)
    info = {"temperature": wanted, "temperature_reached": round(reached, 1)}
    return atoms.positions, info | {"bonds_broken": broken, "bonds_formed": formed}


def bonds_of(box: Box) -> set[tuple[int, int]]:
    """Return the bonds that the molecules were made with, as pairs of atoms counted from 0."""
    found, begin = set(), 0
    for name, count in box.counts.items():
        mine = molecule(name)
        for _ in range(count):
            for bond in mine.GetBonds():
                pair = sorted((bond.GetBeginAtomIdx() + begin, bond.GetEndAtomIdx() + begin))
                found.add((pair[0], pair[1]))
            begin += mine.GetNumAtoms()
    return found


def changed_bonds(box: Box, symbols: list[str], positions: np.ndarray) -> tuple[str, str]:
    """Return the bonds that are gone and that are new ("O12-H13"); ions of metals have none."""
    first, second = np.triu_indices(len(symbols), 1)
    apart = positions[first] - positions[second]
    apart -= box.edge * np.round(apart / box.edge)
    radii = covalent_radii[ase.Atoms(symbols).numbers]
    near = np.linalg.norm(apart, axis=1) < BOND * (radii[first] + radii[second])
    now = {
        (int(i), int(j))
        for i, j in zip(first[near], second[near], strict=True)
        if not {symbols[i], symbols[j]} & {"Na", "Mg"}
    }
    made = bonds_of(box)

    def names(pairs: set[tuple[int, int]]) -> str:
        return " ".join(f"{symbols[i]}{i}-{symbols[j]}{j}" for i, j in sorted(pairs))

    return names(made - now), names(now - made)
