"""What a committee says of configurations, and how wrong it is where CP2K knows: domain.png and a
table.

A model answers for any frame of known elements. What refuses is the check before a run; its share
of atoms in environments that were not met in training is in the table.
"""

import MDAnalysis as mda
import numpy as np
from matplotlib.figure import Figure

from mda_aptnn import UniverseFrames, load_model
from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.model.domain import compare_environments
from mda_aptnn.tensors import sum_rule_residual


def main() -> None:
    """Read committee.h5, test.xyz, gas.h5 and the two GROMACS runs."""
    model = load_model("committee.h5")
    samples = {"liquid, held out": [(item.frame, item.apt) for item in read_labels("test.xyz")]}
    for name, topology, trajectory in (
        ("GROMACS, liquid", "water.tpr", "water.trr"),
        ("GROMACS, gap", "gap.tpr", "gap.trr"),
    ):
        universe = mda.Universe(topology, trajectory)
        frames = UniverseFrames(universe, velocities=None)
        samples[name] = [(frames.frame(), None) for _ in universe.trajectory[50::50]]
    samples["a molecule, vacuum"] = [(item.frame, item.apt) for item in read_labels("gas.h5")]
    rows = {name: judge(model, frames) for name, frames in samples.items()}
    print(f"{'':18} spread  residual/molecule  not met  error")
    for name, (spread, residual, error) in rows.items():
        met = not_met(model, [frame for frame, _ in samples[name]])
        known = "" if error is None else f"{error:.4f}"
        print(f"{name:18} {spread:.4f}  {residual:17.4f}  {met:5.1f} %  {known}")
    draw(rows)


def judge(model, frames) -> tuple[float, float, float | None]:
    """Return the RMS spread, the largest component of Σ P for each oxygen, and the RMSE where there
    are labels.
    """
    spreads, residuals, errors = [], [], []
    for frame, apt in frames:
        mean, spread = model.predict_with_spread(frame)
        spreads.append((spread**2).mean())
        residuals.append(np.abs(sum_rule_residual(mean, 0.0)).max() / (frame.numbers == 8).sum())
        if apt is not None:
            errors.append(((mean - apt) ** 2).mean())
    return (
        float(np.sqrt(np.mean(spreads))),
        float(np.mean(residuals)),
        float(np.sqrt(np.mean(errors))) if errors else None,
    )


def not_met(model, frames) -> float:
    """Return the share of atoms, in percent, whose environments were not met in training."""
    elements = compare_environments(model.info["domain"]["environments"], frames)
    return 100 * sum(share * n for _, share, _, n, _ in elements) / sum(n for *_, n, _ in elements)


def draw(rows) -> None:
    """Draw spread and error of each sample, and what is left of the sum rule."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(rows))
    left.barh(
        places - 0.2, [row[0] for row in rows.values()], 0.38, label="spread of the committee"
    )
    known = [
        (place, row[2])
        for place, row in zip(places, rows.values(), strict=True)
        if row[2] is not None
    ]
    left.barh(
        [place + 0.2 for place, _ in known],
        [error for _, error in known],
        0.38,
        label="error (CP2K)",
    )
    right.barh(places, [row[1] for row in rows.values()], 0.5, color="C2")
    left.set_yticks(places, rows)
    left.invert_yaxis()
    left.set_xlabel("root mean square / e")
    right.set_xlabel("largest component of Σ P / e per molecule")
    for ax in (left, right):
        ax.locator_params(axis="x", nbins=4)
    left.legend(frameon=False, fontsize="small")
    figure.savefig("domain.png", dpi=120)


if __name__ == "__main__":
    main()
