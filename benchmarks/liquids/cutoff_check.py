"""Which plane-wave cutoff the elements beyond H, C, N, O need: two small boxes at several cutoffs.

    python benchmarks/liquids/cutoff_check.py STATE 360 480 600

Prints, beside CPU time and sum rule, how far the tensors of each element are from those at the
last cutoff.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import campaign
import numpy as np
from boxes import Box

from mda_aptnn.dataset import Dataset

BOXES = (
    Box(
        "check ions",
        "check",
        {"sodium": 1, "magnesium": 1, "chloride": 2, "fluoride": 1, "water": 4},
        8.0,
    ),
    Box(
        "check molecules",
        "check",
        {"methylphosphonic acid": 1, "methanethiol": 1, "difluoromethane": 1},
        8.0,
    ),
)


def labels(box: Box, state: Path, cutoff: int) -> Dataset:
    """Return the labels of a box at a cutoff."""
    folder = state / f"{box.key}-{cutoff}"
    folder.mkdir(parents=True, exist_ok=True)
    first = state / box.key
    first.mkdir(exist_ok=True)
    campaign.prepare(box, first)
    (folder / "equilibrated.xyz").write_bytes((first / "equilibrated.xyz").read_bytes())
    campaign.CUTOFF, campaign.CUTOFFS = cutoff, {}
    if not (folder / "labels.h5").is_file():
        campaign.label(box, folder, linear=False)
    return Dataset.load(folder / "labels.h5")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("state", type=Path)
    parser.add_argument("cutoffs", type=int, nargs="+")
    given = parser.parse_args()
    campaign.RESIDUAL = 1.0
    for box in BOXES:
        found = [labels(box, given.state, cutoff) for cutoff in given.cutoffs]
        best = found[-1].frames[0].apt
        symbols = np.array(found[-1].frames[0].frame.symbols)
        for cutoff, data in zip(given.cutoffs, found, strict=True):
            item = data.frames[0]
            rms = [
                f"{s} {np.sqrt(((item.apt - best)[symbols == s] ** 2).mean()):.4f}"
                for s in dict.fromkeys(symbols)
            ]
            residual = item.info["sum_rule_residual"] / len(symbols)
            print(
                f"{box.name}, {cutoff} Ry: residual {residual:.5f} e an atom; {', '.join(rms)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
