"""Intensities of bands by motion, model over labels, and how often a committee's stated errors
hold.

    python benchmarks/band_intensities.py [--model NAME] [--data DIR]

For thermal velocities, which do not depend on positions, so that labelled frames alone give the
intensity of each band (`mda_aptnn.training.calibration`). On the frames that the bundled model's
card says were held out and, where DIR holds the published frames of another source (see
`published_apt.py`, which reads them), on these: they are never used to choose or to calibrate.
Prints Markdown tables: errors of intensities with the scatter over molecules, what the committee
states of them without and with its factor of bands, and the shares of single components within one
and two spreads (0.683 and 0.954 if they were normal). The factor of bands is also found on half of
the held-out frames and tested on the other half.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

import torch
from published_apt import read

from mda_aptnn.data import __file__ as data_file
from mda_aptnn.labels.dataset import Dataset, read_labels
from mda_aptnn.model.predict import load_model
from mda_aptnn.training.calibration import (
    band_calibration,
    band_errors,
    error_over_stated,
    predicted_error,
)
from mda_aptnn.training.evaluate import evaluate
from mda_aptnn.training.samples import held_out_frames

LABELS = [
    Path(data_file).parent / name for name in ("water32-rpbe-d3.xyz", "water32-rpbe-d3-more.h5")
]


def report(model: Any, dataset: Dataset, name: str, factor: float) -> list[str]:
    """Print the table of bands of a data set, and return its rows of the table of coverage."""
    errors = band_errors(model, dataset)
    print(f"\n{name} ({len(dataset)} frames)\n")
    print(
        "| band | labels, km/mol | model over labels less 1, % | stated without the factor, % | "
        "with it, % |"
    )
    print("|---|---|---|---|---|")
    for motion, row in errors.items():
        print(
            f"| {motion} | {row['intensity']:.1f} | {100 * row['error']:+.2f} ± "
            f"{100 * row['standard_error']:.2f} "
            f"| {100 * predicted_error(row, 1.0):.2f} | {100 * predicted_error(row, factor):.2f} |"
        )
    print("\n| motion | relative error of the flux | its spread | ratio |\n|---|---|---|---|")
    for motion, row in errors.items():
        ratio = row["flux_error"] / row["flux_spread"]
        print(f"| {motion} | {row['flux_error']:.4f} | {row['flux_spread']:.4f} | {ratio:.2f} |")
    before, after = (error_over_stated(errors, value) for value in (1.0, factor))
    components = evaluate(model, dataset).spread_summary()
    within = [
        " / ".join(f"{components[symbol][key]:.2f}" for symbol in "HO")
        for key in ("within_one", "within_two")
    ]
    return [name, *within, f"{before:.2f}", f"{after:.2f}"]


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="water-rpbe-d3")
    parser.add_argument("--data", type=Path, help="folder of the published frames")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.model)
    held_out = held_out_frames(model.info, read_labels(LABELS))
    calibration = band_calibration(band_errors(model, held_out), "held-out frames")
    factor = calibration["factor"]
    print(
        f"{datetime.date.today()}, {arguments.model}; factor of bands {factor:.3f}, "
        f"{calibration['how']}"
    )
    rows = [report(model, held_out, "held-out frames", factor)]
    if arguments.data is not None:
        published = read(arguments.data, "all")[0]
        rows.append(report(model, published, "published frames of 128 molecules", factor))
    print(
        "\n| frames | components within one spread (H / O) | two | band error over stated, no "
        "factor | with it |"
    )
    print("|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    halves = [held_out.subset(range(start, len(held_out), 2)) for start in (0, 1)]
    for one, other in (halves, halves[::-1]):
        own = band_calibration(band_errors(model, one), "half of them")["factor"]
        found = error_over_stated(band_errors(model, other), own)
        print(
            f"\nfactor of {len(one)} held-out frames {own:.3f}; on the others error over stated "
            f"{found:.2f}"
        )


if __name__ == "__main__":
    main()
