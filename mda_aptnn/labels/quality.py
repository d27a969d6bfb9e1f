"""How good labels are, as far as they tell themselves: sum rule, symmetry, duplicates, outliers,
linearity.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import SYMBOLS
from mda_aptnn.figures import new_figure, save_figure
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.tensors import PGT, sum_rule_residual

#: A tensor whose invariants are further from those of its element than this many interquartile
#: ranges is an outlier.
OUTLIER = 4.0


@dataclasses.dataclass(frozen=True)
class GradientQuality:
    """What labels of polarizability gradients tell about themselves.

    Attributes
    ----------
    residuals : ndarray, shape [n_frames]
        Largest component of ``Σ_i G_i`` divided by the number of atoms, in Å²; NaN for partly
        labelled frames.
    species : dict of str to dict
        Per element: number of labelled atoms; root mean square over atoms of the norm of ``∂ᾱ/∂r``,
        ᾱ = tr α / 3, and of the norm of the rest, in Å².
    linearity : dict of int to float
        For frames labelled with two field strengths: largest difference of their tensors, in Å².
    """

    residuals: NDArray[np.float64]
    species: dict[str, dict[str, float]]
    linearity: dict[int, float]

    def summary(self) -> dict[str, Any]:
        """Return the numbers as they are written in JSON."""
        return {
            "sum_rule_per_atom": _numbers(self.residuals),
            "species": self.species,
            "linearity": self.linearity,
        }


@dataclasses.dataclass(frozen=True)
class Quality:
    """What the labels tell about themselves.

    Attributes
    ----------
    residuals : ndarray, shape [n_frames]
        Largest component of ``Σ_i P_i − Q·1`` divided by the number of atoms, in e; NaN for partly
        labelled frames.
    species : dict of str to dict
        Per element: number of labelled atoms; mean and standard deviation of the trace over 3 (e);
        root mean square of the symmetric traceless and of the antisymmetric part (e, per component
        of the tensor).
    traces : dict of str to ndarray
        Trace over 3 of every labelled atom, in e.
    antisymmetric : dict of str to ndarray
        Norm of the antisymmetric part of every labelled atom, in e.
    duplicates : list of tuple of int
        Pairs of frames with the same atoms within 1e-3 Å.
    outliers : list of dict
        Frame, atom, element, trace over 3 and norm of atoms far from the others of their element.
    linearity : dict of int to float
        For frames labelled with two field strengths: largest difference of their tensors, in e.
    gradients : GradientQuality or None
        Of the polarizability gradients, if there are any.
    """

    residuals: NDArray[np.float64]
    species: dict[str, dict[str, float]]
    traces: dict[str, NDArray[np.float64]]
    antisymmetric: dict[str, NDArray[np.float64]]
    duplicates: list[tuple[int, int]]
    outliers: list[dict[str, Any]]
    linearity: dict[int, float]
    gradients: GradientQuality | None = None

    def summary(self) -> dict[str, Any]:
        """Return the numbers as they are written in JSON."""
        return {
            "sum_rule_per_atom": _numbers(self.residuals),
            "species": self.species,
            "duplicates": self.duplicates,
            "outliers": self.outliers,
            "linearity": self.linearity,
            **(
                {}
                if self.gradients is None
                else {"polarizability_gradients": self.gradients.summary()}
            ),
        }


def check_labels(dataset: Dataset) -> Quality:
    """Measure the labels of a data set."""
    numbers = np.concatenate([item.frame.numbers for item in dataset])
    tensors = np.concatenate([item.apt for item in dataset])
    where = np.array(
        [(k, atom) for k, item in enumerate(dataset) for atom in range(len(item.frame))]
    )
    labelled = ~np.isnan(tensors).any(axis=(1, 2))
    residuals = np.array(
        [
            np.abs(sum_rule_residual(item.apt, item.frame.charge)).max() / len(item.frame)
            for item in dataset
        ]
    )
    species, traces, antisymmetric, outliers = {}, {}, {}, []
    for number in np.unique(numbers[labelled]):
        symbol, chosen = SYMBOLS[number], labelled & (numbers == number)
        own = tensors[chosen]
        trace = np.trace(own, axis1=1, axis2=2) / 3
        odd = (own - own.transpose(0, 2, 1)) / 2
        even = own - odd - trace[:, None, None] * np.eye(3)
        species[symbol] = {
            "atoms": int(chosen.sum()),
            "trace_mean": float(trace.mean()),
            "trace_deviation": float(trace.std()),
            "symmetric_rms": float(np.sqrt((even**2).mean())),
            "antisymmetric_rms": float(np.sqrt((odd**2).mean())),
        }
        traces[symbol], antisymmetric[symbol] = trace, np.linalg.norm(odd, axis=(1, 2))
        norm = np.linalg.norm(own, axis=(1, 2))
        for k in np.flatnonzero(_far(trace) | _far(norm)):
            frame, atom = where[chosen][k]
            found = {"frame": int(frame), "atom": int(atom), "element": symbol}
            outliers.append({**found, "trace": float(trace[k]), "norm": float(norm[k])})
    return Quality(
        residuals=residuals,
        species=species,
        traces=traces,
        antisymmetric=antisymmetric,
        duplicates=_duplicates(dataset),
        outliers=outliers,
        linearity=_recorded(dataset, "linearity"),
        gradients=_check_gradients(dataset),
    )


def _check_gradients(dataset: Dataset) -> GradientQuality | None:
    if not any(PGT.name in item.tensors for item in dataset):
        return None
    unknown = {len(item.frame): np.full((len(item.frame), *PGT.shape), np.nan) for item in dataset}
    parts = [item.tensors.get(PGT.name, unknown[len(item.frame)]) for item in dataset]
    numbers = np.concatenate([item.frame.numbers for item in dataset])
    tensors = np.concatenate(parts)
    labelled = ~np.isnan(tensors).any(axis=(1, 2, 3))
    species = {}
    for number in np.unique(numbers[labelled]):
        own = tensors[labelled & (numbers == number)]
        mean = np.einsum("iaac->ic", own) / 3
        rest = own - mean[:, None, None, :] * np.eye(3)[:, :, None]
        species[SYMBOLS[number]] = {
            "atoms": len(own),
            "isotropic_rms": float(np.sqrt((mean**2).sum(axis=1).mean())),
            "anisotropic_rms": float(np.sqrt((rest**2).sum(axis=(1, 2, 3)).mean())),
        }
    residuals = np.array([np.abs(part.sum(axis=0)).max() / len(part) for part in parts])
    return GradientQuality(residuals, species, _recorded(dataset, "pgt_linearity"))


def _recorded(dataset: Dataset, key: str) -> dict[int, float]:
    return {k: item.info[key] for k, item in enumerate(dataset) if key in item.info}


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _far(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, middle, high = np.percentile(values, [25, 50, 75])
    # a floor, so that the few atoms of a molecule are not each other's outliers for a thousandth of
    # e
    far: NDArray[np.bool_] = np.abs(values - middle) > OUTLIER * max(high - low, 0.02)
    return far


def _duplicates(dataset: Dataset) -> list[tuple[int, int]]:
    pairs, seen = [], dict[str, int]()
    for k, item in enumerate(dataset):
        first = seen.setdefault(item.frame.fingerprint(), k)
        if first != k:
            pairs.append((first, k))
    return pairs


def plot_quality(quality: Quality, path: str | os.PathLike[str]) -> None:
    """Draw the sum rule per frame and the distributions per element; linearity where it is known."""
    figure = new_figure(path, (11, 3.4))
    left, middle, right = figure.subplots(1, 3)
    left.bar(
        np.arange(len(quality.residuals)), 1e3 * quality.residuals, color="0.55", label="sum rule"
    )
    if quality.linearity:
        changes = 1e3 * np.array(list(quality.linearity.values()))
        left.plot(
            list(quality.linearity),
            changes,
            "o",
            color="C3",
            label="largest change with field strength",
        )
    left.set_xlabel("frame")
    left.set_ylabel("|Σ P − Q·1| per atom / 10⁻³ e")
    left.legend(frameon=False, fontsize="small")
    for axis, data, label in (
        (middle, quality.traces, "trace / 3 [e]"),
        (right, quality.antisymmetric, "norm of the antisymmetric part [e]"),
    ):
        edges = np.histogram_bin_edges(np.concatenate(list(data.values())), bins=40)
        for symbol, values in data.items():
            weights = np.full(len(values), 1 / len(values))
            axis.hist(values, edges, weights=weights, alpha=0.6, label=f"{symbol} ({len(values)})")
        axis.set_xlabel(label)
        axis.set_ylabel("share of the element's atoms")
        axis.legend(frameon=False, fontsize="small")
    save_figure(figure, path)
