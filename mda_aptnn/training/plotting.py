"""Pictures of a training run and of a model's errors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from mda_aptnn import hdf5
from mda_aptnn.training.evaluate import Evaluation


def plot_parity(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Draw predicted against label components of each element, diagonal and off-diagonal ones apart.

    Parameters
    ----------
    evaluation : Evaluation
    path : path
        Format by the ending.
    """
    from matplotlib.figure import Figure

    parts = evaluation.by_species()
    figure = Figure(figsize=(4.2 * len(parts), 4.2), layout="constrained")
    axes = figure.subplots(1, len(parts), squeeze=False)[0]
    unit = evaluation.target.unit
    diagonal = np.zeros(evaluation.target.shape, bool)
    diagonal[tuple(np.arange(3) for _ in evaluation.target.shape)] = True
    for ax, (symbol, part) in zip(axes, parts.items(), strict=True):
        for name, chosen, colour in (("off-diagonal", ~diagonal, "tab:orange"), ("diagonal", diagonal, "tab:blue")):
            ax.plot(
                part.labels[:, chosen].ravel(),
                part.predictions[:, chosen].ravel(),
                ".",
                markersize=2,
                alpha=0.5,
                color=colour,
                label=name,
                rasterized=True,
            )
        limits = [*part.labels.ravel(), *part.predictions.ravel()]
        low, high = min(limits), max(limits)
        ax.plot([low, high], [low, high], "k-", linewidth=0.6)
        best = min(part.baseline_rmse().values())
        ax.set_title(f"{symbol}: RMSE {part.rmse:.4f} {unit} (without a network {best:.3f})", fontsize="medium")
        ax.set_xlabel(f"label / {unit}")
        ax.set_ylabel(f"prediction / {unit}")
        ax.set_aspect("equal")
        ax.legend(markerscale=5)
    with hdf5.replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def plot_learning(learning: Mapping[str, Any], unit: str, path: str | os.PathLike[str]) -> None:
    """Draw the errors in training and validation against the step.

    Parameters
    ----------
    learning : mapping of str to ndarray
        As a model file keeps it.
    unit : str
        Of the errors.
    path : path
        Format by the ending.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    ax = figure.subplots()
    # the training error is of the moving weights, validation of their average: it may well be lower
    ax.semilogy(learning["step"], learning["training_rmse"], label="training, current weights")
    ax.semilogy(learning["step"], learning["validation_rmse"], label="validation, averaged weights")
    ax.set_xlabel("step")
    ax.set_ylabel(f"RMSE per component / {unit}")
    ax.grid(which="both", alpha=0.3)
    ax.legend()
    with hdf5.replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
