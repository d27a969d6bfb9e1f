"""A program with CP2K's command line and output, for what asks for many labels: CP2K needs a minute
for each.

Its polar tensors are charges and a part along the bonds. Outputs have what the reader looks at, in
the format of CP2K 2023.1 (see data/cp2k/README.md for real ones).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHARGES = {"O": -0.6, "H": 0.3}
NUMBERS = {"O": 8, "H": 1}


def polar_tensors(symbols, positions):
    """P[i][a][b], whose sum over the atoms of a molecule vanishes."""
    tensors = [
        [[CHARGES[symbol] * (a == b) for b in range(3)] for a in range(3)] for symbol in symbols
    ]
    for i, one in enumerate(symbols):
        for j, other in enumerate(symbols):
            if (one, other) != ("O", "H"):
                continue
            arm = [x - y for x, y in zip(positions[j], positions[i], strict=True)]
            square = sum(x * x for x in arm)
            for a in range(3):
                for b in range(3):
                    # not symmetric, so that a transpose would be seen
                    part = 0.2 * (arm[a] * arm[b] / square + 0.3 * arm[a] * (b == 0))
                    tensors[i][a][b] -= part
                    tensors[j][a][b] += part
    return tensors


def output(text):
    """What is printed for an input."""
    project = re.search(r"PROJECT\s+(\S+)", text)[1]
    edges = re.search(r"ABC\s+(\S+)\s+(\S+)\s+(\S+)", text).groups()
    rows = [
        line.split()
        for line in re.search(r"&COORD\n(.*?)&END COORD", text, re.S)[1].splitlines()
        if line.strip()
    ]
    symbols, positions = [row[0] for row in rows], [[float(x) for x in row[1:4]] for row in rows]
    # row = coordinate, as &DCDR prints it
    tensors = [
        [list(row) for row in zip(*tensor, strict=True)]
        for tensor in polar_tensors(symbols, positions)
    ]
    lines = [
        " CP2K| version string:                                       CP2K version 2023.1",
        f" GLOBAL| Project name {project}",
    ]
    for k, (name, edge) in enumerate(zip("abc", map(float, edges), strict=True)):
        vector = "".join(f"{edge * (k == axis):10.3f}" for axis in range(3))
        lines.append(f" CELL| Vector {name} [angstrom]: {vector}   |{name}| = {edge:12.6f}")
    lines += [" MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM", ""]
    lines += ["   Atom Kind Element         X             Y             Z       Z(eff)     Mass"]
    for number, (symbol, place) in enumerate(zip(symbols, positions, strict=True), start=1):
        numbers = "".join(f"{x:14.6f}" for x in place)
        lines.append(
            f" {number:6d} {1:4d} {symbol} {NUMBERS[symbol]:5d}{numbers}   1.0000   1.0000"
        )
    lines += ["", "", "", "  *** SCF run converged in    31 steps ***"]
    lines += ["APT | Write the final apt matrix per atom (Position perturbation)"]
    for number, tensor in enumerate(tensors, start=1):
        trace = sum(float(f"{tensor[k][k]:.6f}") for k in range(3)) / 3
        lines.append(f"APT | Atom  {number} - GAPT {trace:14.6f}")
        lines += ["APT |" + "".join(f"{x:15.6f}" for x in row) for row in tensor]
    lines += ["APT | Write the total apt matrix"]
    lines += [
        "APT |" + "".join(f"{sum(t[a][b] for t in tensors):15.6f}" for b in range(3))
        for a in range(3)
    ]
    lines += ["APT | End Write the final apt matrix"]
    lines += [" ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:              -17.173079641255679"]
    lines += [
        "  **** **** ******  **  PROGRAM ENDED AT",
        " **** **  *******  **  PROGRAM STOPPED IN x",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(output(Path(sys.argv[sys.argv.index("-i") + 1]).read_text()), end="")
