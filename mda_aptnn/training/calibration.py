"""A committee's spread against its error: the factor between them, and how well the one tells the
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from mda_aptnn.citations import cite
from mda_aptnn.errors import LabelError
from mda_aptnn.training.evaluate import Evaluation

cite(__name__)

#: Bins of atoms with rising spread, in tables and pictures.
N_BINS = 8


def calibrated(evaluation: Evaluation, before: Mapping[str, float], how: str) -> dict[str, Any]:
    """Return what the card says of a spread that has been calibrated on these labels.

    The factor of an element is √(Σ error² / Σ spread²) over all components of its atoms: the ratio
    of the variances, and not the mean of their ratios, which a few members with little scatter by
    chance would dominate.

    Parameters
    ----------
    evaluation : Evaluation
        Of a committee, on frames that it has not seen.
    before : mapping of str to float
        The factors that the spreads were already multiplied by.
    how : str
        What the frames are, for the card.

    Returns
    -------
    dict
        factors per element, those from before where there are no labels; how, n_frames and n_atoms
        they come from.

    Raises
    ------
    LabelError
        If there is no spread, or none of an element's.
    """
    parts = evaluation.by_species()
    factors = dict(before)
    for symbol, part in parts.items():
        spread = rms(spreads_of(part))
        if not spread:
            raise LabelError(
                f"the members do not differ for {symbol}: there is no spread to calibrate"
            )
        factors[symbol] = before.get(symbol, 1.0) * part.rmse / spread
    return {
        "factors": factors,
        "how": f"root of sum of squared errors over sum of variances, per element, on {how}",
        "n_frames": evaluation.n_frames,
        "n_atoms": {symbol: len(part.numbers) for symbol, part in parts.items()},
    }


def spread_summary(evaluation: Evaluation) -> dict[str, Any]:
    """Return what the spread says of the error, per element, JSON-able.

    Returns
    -------
    dict of str to dict
        rms_error, rms_spread (per component, in the target's unit) and their ratio, 1 if the spread
        is calibrated; rank_correlation of the two over atoms (Spearman); within_one and within_two:
        shares of components whose error is within one and two spreads (0.683 and 0.954 for normal
        errors of known width); bins of atoms by rising spread, each with the rms spread and the rms
        error of its atoms.
    """
    summary = {}
    for symbol, part in evaluation.by_species().items():
        errors, spreads = part.errors, spreads_of(part)
        by_atom = [rms_of_atoms(values) for values in (errors, spreads)]
        varies = all(np.ptp(values) > 0 for values in by_atom)
        summary[symbol] = {
            "rms_error": rms(errors),
            "rms_spread": rms(spreads),
            "ratio": rms(errors) / rms(spreads) if spreads.any() else None,
            "rank_correlation": float(spearmanr(*by_atom)[0]) if varies else None,
            "within_one": float(np.mean(np.abs(errors) <= spreads)),
            "within_two": float(np.mean(np.abs(errors) <= 2 * spreads)),
            "bins": binned(*by_atom),
        }
    return summary


def binned(errors: NDArray[np.float64], spreads: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return rms error and rms spread of groups of as many atoms with rising spread."""
    order = np.argsort(spreads, kind="stable")
    groups = np.array_split(order, min(N_BINS, len(order)))
    return [
        {"rms_spread": rms(spreads[group]), "rms_error": rms(errors[group]), "n_atoms": len(group)}
        for group in groups
    ]


def spreads_of(evaluation: Evaluation) -> NDArray[np.float64]:
    """Return the spreads of an evaluation, [n_atoms, 3, 3].

    Raises
    ------
    LabelError
        If the model was no committee.
    """
    if evaluation.spreads is None:
        raise LabelError(
            "the model is no committee: a single model has no spread that could be compared or "
            "calibrated"
        )
    return evaluation.spreads


def rms_of_atoms(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root mean square over the components of each atom, [n_atoms]."""
    result: NDArray[np.float64] = np.sqrt(np.mean(values.reshape(len(values), -1) ** 2, axis=1))
    return result


def rms(values: NDArray[np.float64]) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(values**2)))
