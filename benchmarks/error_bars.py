"""How often the error bars of bands hold the truth: positions, heights, integrals and shares of a
known density.

    python benchmarks/error_bars.py --runs 300

Prints the table of docs/accuracy.md, in six minutes of a core. The process and what is counted:
`tests/known_bands.py`.
"""

import argparse
import sys
import warnings
from pathlib import Path

# The process is one of the tests; they are no part of the installed package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.known_bands import QUANTITIES, KnownBands, held


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument(
        "--lengths", default="40,20,10", help="of the series, in 1/(c · resolution)"
    )
    parser.add_argument(
        "--ratios", default="20,10,3,1", help="width of the bands over the resolution"
    )
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=".* are short for a resolution")
    print(
        f"| length | segments | width / resolution | {' | '.join(QUANTITIES)} | not found | too "
        f"many |"
    )
    print("|" + "---|" * (5 + len(QUANTITIES)))
    for length in map(float, arguments.lengths.split(",")):
        for ratio in map(float, arguments.ratios.split(",")):
            segments = min(16, int(length / 2))
            parts, extra, missed = held(KnownBands(ratio, length), arguments.runs)
            cells = " | ".join(f"{100 * one:.0f}, {100 * two:.0f}" for one, two in parts.values())
            print(
                f"| {length:g} | {segments} | {ratio:g} | {cells} | {missed:.1%} | {extra:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
