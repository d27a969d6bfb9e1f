"""Pictures of a training run and of a model's errors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mda_aptnn.figures import new_figure, save_figure
from mda_aptnn.training.calibration import rms, rms_of_atoms, spread_summary, spreads_of
from mda_aptnn.training.evaluate import Evaluation


def plot_parity(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Draw predicted against label components of each element, diagonal and off-diagonal ones
    apart.

    Parameters
    ----------
    evaluation : Evaluation
    path : path
        Format by the ending.
    """
    parts = evaluation.by_species()
    figure = new_figure(path, (4.2 * len(parts), 4.2))
    axes = figure.subplots(1, len(parts), squeeze=False)[0]
    unit = evaluation.target.unit
    diagonal = np.zeros(evaluation.target.shape, bool)
    diagonal[tuple(np.arange(3) for _ in evaluation.target.shape)] = True
    for ax, (symbol, part) in zip(axes, parts.items(), strict=True):
        for name, chosen, colour in (
            ("off-diagonal", ~diagonal, "tab:orange"),
            ("diagonal", diagonal, "tab:blue"),
        ):
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
        ax.set_title(
            f"{symbol}: RMSE {part.rmse:.4f} {unit} (without a network {best:.3f})",
            fontsize="medium",
        )
        ax.set_xlabel(f"label / {unit}")
        ax.set_ylabel(f"prediction / {unit}")
        ax.set_aspect("equal")
        ax.legend(markerscale=5)
    save_figure(figure, path)


def plot_spread(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Draw the error of a committee against its spread, both as root mean square over the
    components of an atom.

    Parameters
    ----------
    evaluation : Evaluation
        Of a committee.
    path : path
        Format by the ending.

    Raises
    ------
    LabelError
        If the model is no committee.
    """
    summary = spread_summary(evaluation)
    figure = new_figure(path, (4.2 * len(summary), 4.8))
    axes = figure.subplots(1, len(summary), squeeze=False)[0]
    unit = evaluation.target.unit
    for ax, (symbol, part) in zip(axes, evaluation.by_species().items(), strict=True):
        errors, spreads = rms_of_atoms(part.errors), rms_of_atoms(spreads_of(part))
        ax.plot(
            spreads,
            errors,
            ".",
            markersize=3,
            alpha=0.4,
            color="tab:blue",
            label="atoms",
            rasterized=True,
        )
        bins = summary[symbol]["bins"]
        x, y = ([row[name] for row in bins] for name in ("rms_spread", "rms_error"))
        ax.plot(x, y, "o-", color="black", markersize=5, label="rms of as many atoms each")
        high = 1.05 * max(*errors, *spreads)
        ax.plot([0, high], [0, high], "k--", linewidth=0.8, label="error = spread")
        found = summary[symbol]["rank_correlation"]
        rank = "" if found is None else f"\nrank correlation {found:.2f}"
        ax.set_title(
            f"{symbol}: error {part.rmse:.4f} {unit}, spread {rms(spreads):.4f} {unit}{rank}",
            fontsize="medium",
        )
        how = "calibrated" if evaluation.calibrated else "not calibrated"
        ax.set_xlabel(f"spread of the committee, {how} / {unit}")
        ax.set_ylabel(f"error / {unit}")
        ax.set(xlim=(0, high), ylim=(0, high), aspect="equal")
        ax.locator_params(nbins=5)
    axes[0].legend(fontsize="small")
    save_figure(figure, path)


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
    figure = new_figure(path, (5.5, 3.8))
    ax = figure.subplots()
    for number, curve in enumerate(learning):
        names = (
            ["training, current weights", "validation, averaged weights"]
            if number == 0
            else [None, None]
        )
        # the training error is of the moving weights, validation of their average: it may well be
        # lower
        ax.semilogy(curve["step"], curve["training_rmse"], color="tab:blue", label=names[0])
        ax.semilogy(curve["step"], curve["validation_rmse"], color="tab:orange", label=names[1])
    ax.set_xlabel("step")
    ax.set_ylabel(f"RMSE per component / {unit}")
    ax.grid(which="both", alpha=0.3)
    ax.legend()
    save_figure(figure, path)
