"""Starting positions: conformers on a lattice, then moved until no two molecules overlap.

The molecules stay as RDKit made them (springs between all atoms of a molecule), attract and repel
each other by crude charges (Gasteiger's), and are shaken some times; the arrangement of lowest
energy is kept.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from boxes import COMPOUNDS, Box, molecule
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

RDLogger.DisableLog("rdApp.*")
#: kcal/mol/Å²: of the springs, and of the repulsion.
SPRING, REPULSION = 300.0, 200.0
COULOMB = 332.06
#: Shakes of each box, how far molecules move (Å), by how much they turn (radian).
SHAKES, SHIFT, TURN = 12, 0.6, 0.8
#: Atoms of two molecules repel each other below the sum of their radii times this; H and N, O, F
#: below 1.75 Å.
CLOSE, HYDROGEN_BOND = 0.85, 1.75
#: No atoms of different molecules may be closer than this (Å) when packing ends.
CLOSEST = 1.3
RADII = {
    "H": 1.1,
    "C": 1.7,
    "N": 1.55,
    "O": 1.52,
    "F": 1.47,
    "Na": 1.2,
    "Mg": 0.9,
    "P": 1.8,
    "S": 1.8,
    "Cl": 1.75,
}


class PackingError(RuntimeError):
    """No arrangement without overlaps was found."""


def conformer(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions [n, 3] in Å, centred, and charges [n] in e of one molecule."""
    found = molecule(name)
    if found.GetNumAtoms() == 1:
        return np.zeros((1, 3)), np.array([float(COMPOUNDS[name].charge)])
    if AllChem.EmbedMolecule(found, randomSeed=seed) and AllChem.EmbedMolecule(
        found, randomSeed=seed, useRandomCoords=True
    ):
        raise PackingError(f"no conformer of {name}")
    if AllChem.MMFFHasAllMoleculeParams(found):
        AllChem.MMFFOptimizeMolecule(found, maxIters=500)
    elif AllChem.UFFHasAllMoleculeParams(found):
        AllChem.UFFOptimizeMolecule(found, maxIters=500)
    positions = found.GetConformer().GetPositions()
    return positions - positions.mean(axis=0), _charges(found, COMPOUNDS[name].charge)


def _charges(found: Chem.Mol, total: int) -> np.ndarray:
    AllChem.ComputeGasteigerCharges(found)
    charges = np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in found.GetAtoms()])
    if not np.isfinite(charges).all():
        charges = np.zeros(len(charges))
    return charges + (total - charges.sum()) / len(charges)


class Packing:
    """All that the energy of a box depends on.

    Parameters
    ----------
    box : Box
    seed : int
    """

    def __init__(self, box: Box, seed: int) -> None:
        self.edge = box.edge
        self.rng = np.random.default_rng(seed)
        names = [name for name, count in box.counts.items() for _ in range(count)]
        parts = [conformer(name, int(self.rng.integers(1, 2**31 - 1))) for name in names]
        self.parts = [positions for positions, _ in parts]
        self.charges = np.concatenate([charges for _, charges in parts])
        self.symbols = [a.GetSymbol() for name in names for a in molecule(name).GetAtoms()]
        self.molecules = np.repeat(np.arange(len(names)), [len(part) for part in self.parts])
        self._pairs()

    def _pairs(self) -> None:
        first, second = np.triu_indices(len(self.symbols), 1)
        same = self.molecules[first] == self.molecules[second]
        self.inside = first[same], second[same]
        where = np.concatenate(self.parts)
        self.lengths = np.linalg.norm(where[self.inside[0]] - where[self.inside[1]], axis=1)
        self.pairs, self.same = (first, second), same
        self.products = COULOMB * self.charges[first] * self.charges[second]
        self.contacts = np.array([self._contact(i, j) for i, j in zip(first, second, strict=True)])

    def _contact(self, i: int, j: int) -> float:
        a, b = self.symbols[i], self.symbols[j]
        pair = {a, b}
        if "H" in pair and pair & {"N", "O", "F", "Cl", "S"}:
            heavy = (pair - {"H"}).pop()
            return HYDROGEN_BOND + (0.45 if heavy in ("Cl", "S") else 0.0)
        if pair & {"Na", "Mg"}:
            # longer than they end up: charges draw the ions closer
            return RADII[a] + RADII[b] if "H" not in pair else 2.6
        return CLOSE * (RADII[a] + RADII[b])

    def lattice(self) -> np.ndarray:
        """Return molecules turned at random on a random choice of lattice points."""
        n = math.ceil(len(self.parts) ** (1 / 3))
        points = np.array(list(itertools.product(range(n), repeat=3))) * self.edge / n
        chosen = self.rng.permutation(len(points))[: len(self.parts)]
        turned = [Rotation.random(rng=self.rng).apply(part) for part in self.parts]
        return np.concatenate([part + points[k] for part, k in zip(turned, chosen, strict=True)])

    def shaken(self, positions: np.ndarray) -> np.ndarray:
        """Return positions with every molecule shifted and turned a little."""
        new = positions.copy()
        for k in range(len(self.parts)):
            mine = self.molecules == k
            centre = positions[mine].mean(axis=0)
            turn = Rotation.from_rotvec(self.rng.normal(0, TURN / np.sqrt(3), 3))
            new[mine] = (
                turn.apply(positions[mine] - centre) + centre + self.rng.normal(0, SHIFT / 2, 3)
            )
        return new

    def energy(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the energy in kcal/mol and its gradient."""
        where = flat.reshape(-1, 3)
        gradient = np.zeros_like(where)
        i, j = self.inside
        total = self._add(gradient, where[i] - where[j], i, j, self._spring)
        apart, other = self._apart(where)
        total += self._add(gradient, apart, *self.pairs, lambda r: self._pair(r, other))
        return total, gradient.ravel()

    def _apart(self, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nearest images of all pairs; which are of two molecules, or of one and its image."""
        apart = where[self.pairs[0]] - where[self.pairs[1]]
        images = np.round(apart / self.edge)
        return apart - self.edge * images, ~self.same | images.any(axis=1)

    @staticmethod
    def _add(gradient, vectors, i, j, law) -> float:
        distances = np.linalg.norm(vectors, axis=1)
        energies, slopes = law(distances)
        push = vectors * (slopes / np.maximum(distances, 1e-9))[:, None]
        np.add.at(gradient, i, push)
        np.add.at(gradient, j, -push)
        return float(energies.sum())

    def _spring(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return SPRING / 2 * (r - self.lengths) ** 2, SPRING * (r - self.lengths)

    def _pair(self, r: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        overlap = np.where(other, np.maximum(self.contacts - r, 0), 0)
        energy, slope = REPULSION / 2 * overlap**2, -REPULSION * overlap
        # Coulomb, brought to zero with its slope at half the edge, flat inside 1.5 Å
        limit, near = self.edge / 2, np.maximum(r, 1.5)
        on = other & (r < limit)
        energy += np.where(
            on, self.products * (1 / near - 1 / limit + (near - limit) / limit**2), 0
        )
        slope += np.where(on & (r > 1.5), self.products * (1 / limit**2 - 1 / near**2), 0)
        return energy, slope

    def closest(self, positions: np.ndarray) -> float:
        """Return the shortest distance between atoms of two molecules, in Å."""
        apart, other = self._apart(positions)
        return float(np.linalg.norm(apart[other], axis=1).min())


def pack(box: Box) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return elements, positions [n, 3] in Å and the molecule of each atom.

    Raises
    ------
    PackingError
        If atoms of two molecules stay closer than `CLOSEST`, or a molecule lost its shape.
    """
    packing = Packing(box, box.seed)
    positions = packing.lattice()
    best = None
    for _ in range(SHAKES):
        start = positions if best is None else packing.shaken(best[1])
        found = minimize(
            packing.energy, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 400}
        )
        if best is None or found.fun < best[0]:
            best = (found.fun, found.x.reshape(-1, 3))
    if packing.closest(best[1]) < CLOSEST:
        raise PackingError(
            f"{box.name}: atoms of two molecules {packing.closest(best[1]):.2f} Å apart"
        )
    i, j = packing.inside
    bent = np.abs(np.linalg.norm(best[1][i] - best[1][j], axis=1) - packing.lengths)
    if bent.size and bent.max() > 0.6:
        raise PackingError(f"{box.name}: a molecule was bent by {bent.max():.2f} Å")
    return packing.symbols, best[1], packing.molecules
