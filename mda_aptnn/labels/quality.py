"""How good labels are, as far as they tell themselves: sum rule, symmetry, duplicates, outliers,
linearity.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import SYMBOLS
from mda_aptnn.figures import new_figure, save_figure
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.tensors import APT, PGT, Target

Array = NDArray[np.float64]

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

    residuals: Array
    species: dict[str, dict[str, float]]
    linearity: dict[int, float]

    def summary(self) -> dict[str, Any]:
        """Return the numbers as they are written in JSON."""
        residuals = [None if np.isnan(value) else float(value) for value in self.residuals]
        rest = {"species": self.species, "linearity": self.linearity}
        return {"sum_rule_per_atom": residuals, **rest}


@dataclasses.dataclass(frozen=True)
class Quality(GradientQuality):
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
    linearity : dict of int to float
        For frames labelled with two field strengths: largest difference of their tensors, in e.
    traces : dict of str to ndarray
        Trace over 3 of every labelled atom, in e.
    antisymmetric : dict of str to ndarray
        Norm of the antisymmetric part of every labelled atom, in e.
    duplicates : list of tuple of int
        Pairs of frames with the same atoms within 1e-3 Å.
    outliers : list of dict
        Frame, atom, element, trace over 3 and norm of atoms far from the others of their element.
    gradients : GradientQuality or None
        Of the polarizability gradients, if there are any.
    """

    traces: dict[str, Array]
    antisymmetric: dict[str, Array]
    duplicates: list[tuple[int, int]]
    outliers: list[dict[str, Any]]
    gradients: GradientQuality | None = None

    def summary(self) -> dict[str, Any]:
        """Return the numbers as they are written in JSON."""
        found = super().summary() | {"duplicates": self.duplicates, "outliers": self.outliers}
        if self.gradients is not None:
            found["polarizability_gradients"] = self.gradients.summary()
        return found


def check_labels(dataset: Dataset) -> Quality:
    """Measure the labels of a data set."""
    species, traces, antisymmetric, outliers = {}, {}, {}, list[dict[str, Any]]()
    for symbol, places, own in _by_element(dataset, APT):
        trace = np.trace(own, axis1=1, axis2=2) / 3
        odd = (own - own.transpose(0, 2, 1)) / 2
        even = own - odd - trace[:, None, None] * np.eye(3)
        species[symbol] = {
            "atoms": len(own),
            "trace_mean": float(trace.mean()),
            "trace_deviation": float(trace.std()),
            "symmetric_rms": float(np.sqrt((even**2).mean())),
            "antisymmetric_rms": float(np.sqrt((odd**2).mean())),
        }
        traces[symbol], antisymmetric[symbol] = trace, np.linalg.norm(odd, axis=(1, 2))
        norm = np.linalg.norm(own, axis=(1, 2))
        for k in np.flatnonzero(_far(trace) | _far(norm)):
            where = dict(zip(("frame", "atom"), places[k].tolist(), strict=True))
            numbers = {"trace": float(trace[k]), "norm": float(norm[k])}
            outliers.append({**where, "element": symbol, **numbers})
    charges = [item.frame.charge * np.eye(3) for item in dataset]
    first, duplicates = dict[str, int](), []
    for number, item in enumerate(dataset):
        if (same := first.setdefault(item.frame.fingerprint(), number)) != number:
            duplicates.append((same, number))
    return Quality(
        _residuals(dataset, APT, charges),
        species,
        _recorded(dataset, "linearity"),
        traces,
        antisymmetric,
        duplicates,
        outliers,
        _check_gradients(dataset) if any(PGT.name in item.tensors for item in dataset) else None,
    )


def _check_gradients(dataset: Dataset) -> GradientQuality:
    species = {}
    for symbol, _, own in _by_element(dataset, PGT):
        mean = np.einsum("iaac->ic", own) / 3
        rest = own - mean[:, None, None, :] * np.eye(3)[:, :, None]
        species[symbol] = {
            "atoms": len(own),
            "isotropic_rms": float(np.sqrt((mean**2).sum(axis=1).mean())),
            "anisotropic_rms": float(np.sqrt((rest**2).sum(axis=(1, 2, 3)).mean())),
        }
    residuals = _residuals(dataset, PGT, np.zeros(len(dataset)))
    return GradientQuality(residuals, species, _recorded(dataset, "pgt_linearity"))


def _tensors(item: LabelledFrame, target: Target) -> Array:
    return item.tensors.get(target.name, np.full((len(item.frame), *target.shape), np.nan))


def _residuals(dataset: Dataset, target: Target, sums: Sequence[Any] | Array) -> Array:
    """Largest component of the sum over atoms, less what it should be, for each atom."""
    totals = (_tensors(item, target).sum(axis=0) for item in dataset)
    return np.array(
        [
            np.abs(total - expected).max() / len(item.frame)
            for item, total, expected in zip(dataset, totals, sums, strict=True)
        ]
    )


def _by_element(dataset: Dataset, target: Target) -> Iterator[tuple[str, NDArray[np.int64], Array]]:
    """Each element, frame and atom of its labelled atoms [n, 2], and their tensors."""
    numbers = np.concatenate([item.frame.numbers for item in dataset])
    tensors = np.concatenate([_tensors(item, target) for item in dataset])
    places = np.array([(k, i) for k, item in enumerate(dataset) for i in range(len(item.frame))])
    labelled = ~np.isnan(tensors).reshape(len(tensors), -1).any(axis=1)
    for number in np.unique(numbers[labelled]):
        chosen = labelled & (numbers == number)
        yield SYMBOLS[number], places[chosen], tensors[chosen]


def _recorded(dataset: Dataset, key: str) -> dict[int, float]:
    return {k: item.info[key] for k, item in enumerate(dataset) if key in item.info}


def _far(values: Array) -> NDArray[np.bool_]:
    low, middle, high = np.percentile(values, [25, 50, 75])
    # a floor, so that the few atoms of a molecule are not each other's outliers for a thousandth of
    # e
    far: NDArray[np.bool_] = np.abs(values - middle) > OUTLIER * max(high - low, 0.02)
    return far


def plot_quality(quality: Quality, path: str | os.PathLike[str]) -> None:
    """Draw the sum rule of each frame, the linearity where it is known, and distributions."""
    figure = new_figure(path, (11, 3.4))
    left, *others = figure.subplots(1, 3)
    frames = np.arange(len(quality.residuals))
    left.bar(frames, 1e3 * quality.residuals, color="0.55", label="sum rule")
    if quality.linearity:
        changes = 1e3 * np.array(list(quality.linearity.values()))
        label = "largest change with field strength"
        left.plot(list(quality.linearity), changes, "o", color="C3", label=label)
    left.set(xlabel="frame", ylabel="|Σ P − Q·1| per atom / 10⁻³ e")
    shown = {
        "trace / 3 [e]": quality.traces,
        "norm of the antisymmetric part [e]": quality.antisymmetric,
    }
    for axis, (label, data) in zip(others, shown.items(), strict=True):
        edges = np.histogram_bin_edges(np.concatenate(list(data.values())), bins=40)
        for symbol, values in data.items():
            weights = np.full(len(values), 1 / len(values))
            axis.hist(values, edges, weights=weights, alpha=0.6, label=f"{symbol} ({len(values)})")
        axis.set(xlabel=label, ylabel="share of the element's atoms")
    for axis in (left, *others):
        axis.legend(frameon=False, fontsize="small")
    save_figure(figure, path)
