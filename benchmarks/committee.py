"""How far a committee's spread tells its error: independent members against last layers on one
body.

    python benchmarks/committee.py --folder FOLDER [--members 4] [--steps 600] [--held-out 9]
    [--labels FILE ...]

Trains both kinds on the bundled labels but for the held-out frames, with fewer steps than the
default. Every run keeps its state in FOLDER: a command that was stopped goes on. On
the held-out frames it then prints, and draws FOLDER/spread-KIND.png. The factor between spread and
error is found on half of the held-out frames and tested on the other half, both ways, so that
"error/spread" is not 1 by construction:

- RMSE of the mean, and of a member by itself;
- factor, error/spread after it, rank correlation of the two over atoms, share of components within
  one spread;
- flux: error over spread of Σ P v for thermal velocities (independent for each atom);
- band intensities: the factor of bands, and error over stated error, the root mean square over
  bands;
- Σ P: error over spread of the sum of all tensors; 1 if errors of different atoms are as much alike
  as members say.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mda_aptnn.data import __file__ as data_file
from mda_aptnn.elements import masses_of
from mda_aptnn.labels.dataset import Dataset, read_labels
from mda_aptnn.model.committee import stretched
from mda_aptnn.model.predict import load_model
from mda_aptnn.training.calibration import (
    band_calibration,
    band_errors,
    calibrated,
    error_over_stated,
)
from mda_aptnn.training.committee import fit_committee
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.evaluate import evaluate
from mda_aptnn.training.plotting import plot_spread
from mda_aptnn.training.samples import held_out_frames

DATA = Path(data_file).parent
LABELS = [DATA / "water32-rpbe-d3.xyz", DATA / "water32-rpbe-d3-more.h5"]
KINDS = {"independent": False, "last layers": True}


def collective(model: Any, dataset: Dataset, factors: dict[str, float]) -> tuple[float, float]:
    """Return error over spread of Σ P v for thermal velocities and of Σ P."""
    rng, squares = np.random.default_rng(0), np.zeros((2, 2))
    for item in dataset:
        numbers = item.frame.numbers
        members = stretched(model.predict_members(item.frame, calibrated=False), numbers, factors)
        mean = members.mean(axis=0)
        both = (mean - item.apt, (members - mean) / np.sqrt(len(members) - 1))
        speed = 1 / np.sqrt(masses_of(numbers))
        velocities = rng.normal(size=(200, len(numbers), 3)) * speed[:, None]
        for k, values in enumerate(both):
            squares[0, k] += (np.einsum("...iab,nib->...na", values, velocities) ** 2).sum()
            squares[1, k] += (values.sum(axis=-3) ** 2).sum()
    flux, total = np.sqrt(squares[:, 0] / squares[:, 1])
    return float(flux), float(total)


def main() -> None:
    """Train, print the table, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("committees"))
    parser.add_argument("--labels", type=Path, nargs="+", default=LABELS)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--held-out", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(exist_ok=True)
    dataset = read_labels(arguments.labels)
    settings = {"steps": arguments.steps, "held_out": arguments.held_out}
    plan = TrainingConfig(validation=2, **settings)
    print(
        f"{datetime.date.today()}, {arguments.members} members, {arguments.steps} steps, "
        f"{len(dataset)} frames"
    )
    for kind, shared in KINDS.items():
        path = arguments.folder / f"{kind.replace(' ', '-')}.h5"
        if not path.exists():
            fit_committee(
                dataset, arguments.members, None, plan, path, shared_body=shared, verbose=True
            )
        model = load_model(path, engine="torch")
        test = held_out_frames(model.info, dataset)
        model.contents.card.pop("spread")
        single = [evaluate(load_single(model, k), test).rmse for k in range(model.n_members)]
        print(
            f"\n{kind}: RMSE {evaluate(model, test).rmse:.4f} e, a member {np.mean(single):.4f} e"
        )
        rows: dict[str, list[list[float]]] = {}
        bands: list[list[float]] = []
        both, halves = [], (range(0, len(test), 2), range(1, len(test), 2))
        for one, other in (halves, halves[::-1]):
            model.contents.card.pop("spread", None)
            model.contents.card["spread"] = calibrated(
                evaluate(model, test.subset(one)), {}, "half of them"
            )
            factors = model.spread_factors
            for symbol, row in evaluate(model, test.subset(other)).spread_summary().items():
                found = [factors[symbol], row["ratio"], row["rank_correlation"], row["within_one"]]
                rows.setdefault(symbol, []).append(found)
            both.append(collective(model, test.subset(other), factors))
            factor = band_calibration(band_errors(model, test.subset(one)), "half of them")[
                "factor"
            ]
            bands.append(
                [factor, error_over_stated(band_errors(model, test.subset(other)), factor)]
            )
        for symbol, found in rows.items():
            factor, ratio, rank, within = np.mean(found, axis=0)
            print(
                f"  {symbol}: factor {factor:.2f}, error/spread {ratio:.2f}, rank {rank:.2f}, "
                f"within one {within:.2f}"
            )
        flux, total = np.mean(both, axis=0)
        print(f"  error/spread of the flux {flux:.2f}, of the sum of all tensors {total:.2f}")
        factor, ratio = np.mean(bands, axis=0)
        print(f"  band intensities: factor {factor:.2f}, error over stated error {ratio:.2f}")
        plot_spread(evaluate(load_model(path), test), arguments.folder / f"spread-{path.stem}.png")


def load_single(model: Any, member: int) -> Any:
    """Return one member as a model."""
    return type(model)(model.contents.single(member), engine="torch")


if __name__ == "__main__":
    main()
