"""Pictures of a training run and of a model's errors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from mda_aptnn.figures import colours, drawing
from mda_aptnn.training.evaluate import Evaluation, rms, rms_of_atoms


def plot_parity(
    evaluations: Evaluation | Sequence[Evaluation], path: str | os.PathLike[str]
) -> None:
    """Draw predicted against label components of each element, diagonal and off-diagonal apart.

    Parameters
    ----------
    evaluations : Evaluation or sequence of Evaluation
        Each has a row.
    path : path
        Format by the ending.
    """
    with _panels(evaluations, path, 4.2) as panels:
        for ax, symbol, part in panels:
            unit, shape = part.target.unit, part.target.shape
            diagonal = np.zeros(shape, bool)
            diagonal[tuple(np.arange(3) for _ in shape)] = True
            kinds = {"off-diagonal": ~diagonal, "diagonal": diagonal}
            for (name, chosen), colour in zip(kinds.items(), colours(2)[::-1], strict=True):
                x, y = (values[:, chosen].ravel() for values in (part.labels, part.predictions))
                ax.plot(x, y, ".", ms=2, alpha=0.5, color=colour, label=name, rasterized=True)
            ends = [f([part.labels, part.predictions]) for f in (np.min, np.max)]
            ax.plot(ends, ends, "k-", linewidth=0.6)
            best = min(part.baseline_rmse().values())
            error = f"{symbol}: RMSE {part.rmse:.4f} {unit} (without a network {best:.3f})"
            ax.set_title(error, fontsize="medium")
            ax.set(xlabel=f"label / {unit}", ylabel=f"prediction / {unit}", aspect="equal")
            ax.legend(markerscale=5)


def plot_spread(
    evaluations: Evaluation | Sequence[Evaluation], path: str | os.PathLike[str]
) -> None:
    """Draw the error of each atom against a committee's spread, root mean squares of components.

    Parameters
    ----------
    evaluations : Evaluation or sequence of Evaluation
        Of a committee; each has a row.
    path : path
        Format by the ending.

    Raises
    ------
    LabelError
        If the model is no committee.
    """
    style = {"ms": 3, "alpha": 0.4, "color": colours(3)[1], "rasterized": True}
    with _panels(evaluations, path, 4.8) as panels:
        for ax, symbol, part in panels:
            unit, row = part.target.unit, part.spread_summary()[symbol]
            how = "calibrated" if part.factors else "not calibrated"
            errors, spreads = rms_of_atoms(part.errors), part.spread_of_atoms()
            ax.plot(spreads, errors, ".", label="atoms", **style)
            x, y = ([item[name] for item in row["bins"]] for name in ("rms_spread", "rms_error"))
            ax.plot(x, y, "ko-", ms=5, label="rms of as many atoms each")
            high = 1.05 * max(*errors, *spreads)
            ax.plot([0, high], [0, high], "k--", linewidth=0.8, label="error = spread")
            found = row["rank_correlation"]
            rank = "" if found is None else f"\nrank correlation {found:.2f}"
            sizes = f"error {part.rmse:.4f} {unit}, spread {rms(spreads):.4f} {unit}"
            ax.set_title(f"{symbol}: {sizes}{rank}", fontsize="medium")
            ax.set(xlabel=f"spread of the committee, {how} / {unit}", ylabel=f"error / {unit}")
            ax.set(xlim=(0, high), ylim=(0, high), aspect="equal")
            ax.locator_params(nbins=5)
            ax.legend(fontsize="small")


@contextmanager
def _panels(
    evaluations: Evaluation | Sequence[Evaluation], path: str | os.PathLike[str], height: float
) -> Iterator[Iterator[tuple[Any, str, Evaluation]]]:
    """Axes, symbol and evaluation of each element; the figure is written at the end."""
    evaluations = [evaluations] if isinstance(evaluations, Evaluation) else evaluations
    rows = [evaluation.by_species() for evaluation in evaluations]
    n_columns = max(map(len, rows))
    size = 4.2 * n_columns, height * len(rows)
    grid = {"nrows": len(rows), "ncols": n_columns, "squeeze": False}
    with drawing(path, size=size, **grid) as axes:
        yield (
            (ax, *part)
            for row, parts in zip(axes, rows, strict=True)
            for ax, part in zip(row, parts.items(), strict=False)
        )


def plot_learning(
    learning: Sequence[Mapping[str, Any]], unit: str, path: str | os.PathLike[str]
) -> None:
    """Draw the errors in training and validation against the step.

    Parameters
    ----------
    learning : sequence of mapping of str to ndarray
        Of each member, as a model file keeps it.
    unit : str
        Of the errors.
    path : path
        Format by the ending.
    """
    # the training error is of the moving weights, validation of their average: it may well be lower
    lines = {
        "training_rmse": "training, current weights",
        "validation_rmse": "validation, averaged weights",
    }
    with drawing(path, size=(5.5, 3.8)) as ax:
        for (name, label), colour in zip(lines.items(), colours(2), strict=True):
            for number, curve in enumerate(learning):
                said = {"color": colour, "label": None if number else label}
                ax.semilogy(curve["step"], curve[name], **said)
        ax.set(xlabel="step", ylabel=f"RMSE per component / {unit}")
        ax.grid(which="both", alpha=0.3)
        ax.legend(frameon=False)
