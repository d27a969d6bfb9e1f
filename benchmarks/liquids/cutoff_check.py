"""Which plane-wave cutoff an element needs: ions of one atom, and small hydrides, in a cell of 8 Å.

    python benchmarks/liquids/cutoff_check.py STATE 360 480 600 900 --only Na Mg

Forces of an isolated species add up to nothing and its polar tensors to its charge. What is left
over at a position off the grid is the ripple of the grid; of one atom, the error of its tensor.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import campaign
import numpy as np
from ase import Atoms
from ase.build import molecule

from mda_aptnn.labels.cp2k.output import parse_forces
from mda_aptnn.labels.dataset import Dataset

CH3F = [(0, 0, 0), (0, 0, 1.39), (1.03, 0, -0.35)]
CH3F += [(-0.51, 0.89, -0.35), (-0.51, -0.89, -0.35)]
#: For each element: what is alone in the cell, and its charge in e.
SPECIES: dict[str, dict[str, tuple[Atoms, int]]] = {
    "S": {"H2S": (molecule("SH2"), 0)},
    "Cl": {"Cl-": (Atoms("Cl"), -1)},
    "F": {"F-": (Atoms("F"), -1), "CH3F": (Atoms("CFH3", CH3F), 0)},
    "P": {"PH3": (molecule("PH3"), 0)},
    "Na": {"Na+": (Atoms("Na"), 1)},
    "Mg": {"Mg2+": (Atoms("Mg"), 2)},
    "O": {"H2O": (molecule("H2O"), 0)},
    "N": {"NH3": (molecule("NH3"), 0)},
    "C": {"CH4": (molecule("CH4"), 0)},
}
#: A cutoff passes where no component of Σ P − Q·1 is larger, in e. 32 waters at 360 Ry have 0.014
#: to 0.035.
PASSED = 0.01
EDGE = 8.0
#: Off the grid and off every plane of symmetry, in Å.
PLACE = (3.137, 4.271, 2.953)


def ripple(atoms: Atoms, charge: int, cutoff: int, folder: Path) -> tuple[float, float]:
    """Return the largest component of the sum of forces (hartree/bohr), and of Σ P − Q·1 (e)."""
    positions = atoms.positions - atoms.get_center_of_mass() + PLACE
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "labels.h5").is_file():
        campaign.write_atoms(folder / "species.xyz", atoms.get_chemical_symbols(), positions, {})
        campaign.write_template(cutoff, folder / "template.inp", charge)
        given = ["--template", folder / "template.inp", "--cell", f"{EDGE} {EDGE} {EDGE} 90 90 90"]
        campaign.aptnn(
            "plan", folder / "species.xyz", *given, "--frames", 1, "-o", folder / "campaign"
        )
        campaign.aptnn("run", folder / "campaign", "--retry")
        collected = [folder / "campaign", "-o", folder / "labels.h5", "--max-residual", 1]
        campaign.aptnn("collect", *collected)
    apt = Dataset.load(folder / "labels.h5").frames[0].apt
    zero = next((folder / "campaign" / "tasks").glob("*/zero.out"))
    forces = parse_forces(zero.read_text(errors="replace"))
    return np.abs(forces.sum(axis=0)).max(), np.abs(apt.sum(axis=0) - charge * np.eye(3)).max()


def needed(element: str, cutoffs: list[int], state: Path) -> int | None:
    """Return the first cutoff at which all species of an element pass, None if none does."""
    for cutoff in cutoffs:
        worst = 0.0
        for name, (atoms, charge) in SPECIES[element].items():
            force, residual = ripple(atoms, charge, cutoff, state / f"{name}-{cutoff}")
            print(f"{name:5} {cutoff:5} Ry: ΣF {force:.5f}, ΣP - Q {residual:.4f} e", flush=True)
            worst = max(worst, residual)
        if worst < PASSED:
            return cutoff
    return None


def main() -> None:
    """Print what was found, and write the cutoff of each element that has none yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("state", type=Path)
    parser.add_argument("cutoffs", type=int, nargs="+")
    parser.add_argument("--only", nargs="*", default=list(SPECIES))
    given = parser.parse_args()
    for element in given.only:
        cutoff = needed(element, given.cutoffs, given.state)
        if cutoff is None:
            print(f"{element}: no cutoff passes; its boxes wait", flush=True)
        elif element not in campaign.cutoffs():
            with open(campaign.HERE / "cutoffs.csv", "a") as file:
                file.write(f"{element},{cutoff}\n")


if __name__ == "__main__":
    main()
