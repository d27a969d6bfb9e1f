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
from mda_aptnn.figures import colours, drawing
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.tensors import APT, PGT, Target

Array = NDArray[np.float64]

#: A tensor whose invariants are further from those of its element than this many interquartile
#: ranges is an outlier.
OUTLIER = 4.0


@dataclasses.dataclass(frozen=True)
class Quality:
    """What the labels of one kind of tensor tell about themselves.

    Attributes
    ----------
    residuals : ndarray, shape [n_frames]
        Largest component of ``Σ_i P_i − Q·1`` (in e) or ``Σ_i G_i`` (in Å²) divided by the number
        of atoms; NaN for partly labelled frames.
    species : dict of str to dict
        Per element: number of labelled atoms; of polar tensors mean and standard deviation of the
        trace over 3 (e), root mean square of the symmetric traceless and of the antisymmetric part
        (e, per component of the tensor); of polarizability gradients the root mean square over
        atoms of the norm of ``∂ᾱ/∂r``, ᾱ = tr α / 3, and of the norm of the rest (Å²).
    linearity : dict of int to float
        For frames labelled with two field strengths: largest difference of their tensors.
    traces : dict of str to ndarray
        Trace over 3 of the polar tensor of every labelled atom, in e.
    antisymmetric : dict of str to ndarray
        Norm of the antisymmetric part of the polar tensor of every labelled atom, in e.
    duplicates : list of tuple of int, or None
        Pairs of frames with the same atoms within 1e-3 Å.
    outliers : list of dict, or None
        Frame, atom, element, trace over 3 and norm of atoms far from the others of their element.
    gradients : Quality or None
        Of the polarizability gradients, if there are any.
    """

    residuals: Array
    species: dict[str, dict[str, float]]
    linearity: dict[int, float]
    traces: dict[str, Array] = dataclasses.field(default_factory=dict)
    antisymmetric: dict[str, Array] = dataclasses.field(default_factory=dict)
    duplicates: list[tuple[int, int]] | None = None
    outliers: list[dict[str, Any]] | None = None
    gradients: Quality | None = None

    def summary(self) -> dict[str, Any]:
        """Return the numbers as they are written in JSON."""
        residuals = [None if np.isnan(value) else float(value) for value in self.residuals]
        rest = {"species": self.species, "linearity": self.linearity}
        found: dict[str, Any] = {"sum_rule_per_atom": residuals, **rest}
        if self.duplicates is not None:
            found |= {"duplicates": self.duplicates, "outliers": self.outliers}
        if self.gradients is not None:
            found["polarizability_gradients"] = self.gradients.summary()
        return found


def check_labels(dataset: Dataset) -> Quality:
    """Measure the labels of a data set."""
    species, traces, antisymmetric, outliers = {}, {}, {}, list[dict[str, Any]]()
    for number, (places, own) in dataset.by_element(APT).items():
        if not len(own):
            continue
        symbol, trace = SYMBOLS[number], np.trace(own, axis1=1, axis2=2) / 3
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
    first, duplicates = dict[str, int](), []
    for number, item in enumerate(dataset):
        if (same := first.setdefault(item.frame.fingerprint(), number)) != number:
            duplicates.append((same, number))
    gradients = None
    if any(PGT.name in item.tensors for item in dataset):
        gradients = Quality(
            _residuals(dataset, PGT), _gradients(dataset), _recorded(dataset, "pgt_linearity")
        )
    return Quality(
        _residuals(dataset, APT),
        species,
        _recorded(dataset, "linearity"),
        traces,
        antisymmetric,
        duplicates,
        outliers,
        gradients,
    )


def _gradients(dataset: Dataset) -> dict[str, dict[str, float]]:
    """What is found of the polarizability gradients of each element."""
    species = {}
    for number, (_, own) in dataset.by_element(PGT).items():
        if not len(own):
            continue
        mean = np.einsum("iaac->ic", own) / 3
        rest = own - mean[:, None, None, :] * np.eye(3)[:, :, None]
        species[SYMBOLS[number]] = {
            "atoms": len(own),
            "isotropic_rms": float(np.sqrt((mean**2).sum(axis=1).mean())),
            "anisotropic_rms": float(np.sqrt((rest**2).sum(axis=(1, 2, 3)).mean())),
        }
    return species


def _residuals(dataset: Dataset, target: Target) -> Array:
    return np.array([item.sum_rule_residual(target) / len(item.frame) for item in dataset])


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
    with drawing(path, size=(11, 3.4), ncols=3) as axes:
        left, *others = axes
        frames = np.arange(len(quality.residuals))
        left.bar(frames, 1e3 * quality.residuals, color="0.55", label="sum rule")
        if quality.linearity:
            changes = 1e3 * np.array(list(quality.linearity.values()))
            label = "largest change with field strength"
            left.plot(list(quality.linearity), changes, "o", color="tab:red", label=label)
        left.set(xlabel="frame", ylabel="|Σ P − Q·1| per atom / 10⁻³ e")
        shown = {
            "trace / 3 [e]": quality.traces,
            "norm of the antisymmetric part [e]": quality.antisymmetric,
        }
        for axis, (label, data) in zip(others, shown.items(), strict=True):
            edges = np.histogram_bin_edges(np.concatenate(list(data.values())), bins=40)
            for (symbol, values), colour in zip(data.items(), colours(len(data)), strict=True):
                style = {"color": colour, "alpha": 0.6, "label": f"{symbol} ({len(values)})"}
                axis.hist(values, edges, weights=np.full(len(values), 1 / len(values)), **style)
            axis.set(xlabel=label, ylabel="share of the element's atoms")
        for axis in axes:
            axis.legend(frameon=False, fontsize="small")
