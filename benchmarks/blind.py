"""How wrong a model of water is beside solutes whose C and N it does not know.

    python benchmarks/blind.py

RPBE-D3 labels of boxes of 53 to 55 atoms, where all water has C or N within the cutoff of 6 Å.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mda_aptnn
from mda_aptnn.elements import symbols_of
from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.training.evaluate import molecules_of

SOLUTES = ("acetamide", "alanine", "glycine", "2-pyrrolidone")
LABELS = Path(__file__).parent / "liquids" / "labels"


def main() -> None:
    """Print RMSE of the tensors of water, and the net charge of all water by labels and model."""
    model = mda_aptnn.load_model("water-rpbe-d3")
    errors: dict[str, list[np.ndarray]] = {"H and O of the solute seen": [], "solute left out": []}
    for solute in SOLUTES:
        for item in read_labels(LABELS / f"{solute}-water.xyz"):
            frame, molecules = item.frame, molecules_of(item.frame)
            water = np.array(molecules.formulas())[molecules.membership] == "H2O"
            known, true = np.isin(frame.numbers, model.numbers), item.tensors["apt"][water]
            charges = [np.trace(true.sum(axis=0)) / 3]
            for name, seen in zip(errors, (known, water), strict=True):
                part = mda_aptnn.Frame(
                    frame.numbers[seen], frame.positions[seen], frame.cell, frame.pbc
                )
                found = model.predict(part)[water[seen]]
                errors[name].append(found - true)
                charges.append(np.trace(found.sum(axis=0)) / 3)
            said = ", ".join(f"{charge:+.2f} e" for charge in charges)
            unknown = ", ".join(symbols_of(np.unique(frame.numbers[~known])))
            print(f"{solute} ({unknown} unknown), {water.sum()} atoms of water: net charge {said}")
    for name, parts in errors.items():
        every = np.concatenate(parts)
        print(f"{name}: RMSE {np.sqrt(np.mean(every**2)):.3f} e of {len(every)} tensors")


if __name__ == "__main__":
    main()
