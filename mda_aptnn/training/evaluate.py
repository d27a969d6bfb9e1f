"""How far a model is from labels that it has not seen, and what is right without a network."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from mda_aptnn.elements import SYMBOLS, masses_of, symbols_of
from mda_aptnn.errors import LabelError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.predict import load_model
from mda_aptnn.model.protocol import tensors_of
from mda_aptnn.tensors import APT, Target, flux_error, sum_rule_residual, turned
from mda_aptnn.text import short, table
from mda_aptnn.training import samples
from mda_aptnn.training.samples import Array, Labels, complete_atoms, complete_labels
from mda_aptnn.trajectory.molecules import molecules_of

MEASURES = ("rmse", "mae", "r2")
#: Bins of atoms with rising spread, in tables and pictures.
N_BINS = 8
#: Molecules are flat whose third singular value is below this part of the first.
_FLAT = 1e-9
#: What becomes of the tensors of a label along a trajectory, by its name.
RATES = {"apt": "flux", "pgt": "polarizability's rate of change"}


def measure(name: str, errors: Array, labels: Array, axis: int | None = None) -> Any:
    """Return one of `MEASURES`, over everything or over the atoms (axis 0).

    "rmse" is the root mean square, "mae" the mean absolute error, and "r2" is
    1 − Σ(error²)/Σ(label − mean of that component over all atoms)², NaN if the labels do not vary.
    """
    if name == "rmse":
        return np.sqrt(np.mean(errors**2, axis=axis))
    if name == "mae":
        return np.abs(errors).mean(axis=axis)
    spread = np.sum((labels - labels.mean(axis=0)) ** 2, axis=axis)
    # what varies by rounding alone does not vary
    varies = spread > 1e-24 * np.sum(labels**2, axis=axis)
    return 1 - np.sum(errors**2, axis=axis) / np.where(varies, spread, np.nan)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Labels and predictions of the atoms that have a complete label, and the errors between them.

    All errors are per Cartesian component, in the target's unit.

    Attributes
    ----------
    target : Target
    n_frames : int
        With labels.
    numbers : ndarray of int, shape [n_atoms]
    labels, predictions : ndarray, shape [n_atoms, 3, 3]
    baselines : dict of str to ndarray, shape [n_atoms, 3, 3]
        What needs no network, by what it is: the isotropic mean of each element (of the training
        frames where the model card says it, else of these), and the mean of these frames' other
        molecules turned to each of them.
    spreads : ndarray, shape [n_atoms, 3, 3], or None
        What a committee says of its error; None for a single model.
    factors : dict of str to float
        What the spreads of each element were multiplied by; empty if they are not calibrated.
    sum_rule : float or None
        Root mean square over frames and components of the predicted (Σ P − Q·1)/√N, in e, N being
        the number of atoms of a frame, those without labels included; None for other tensors than
        polar ones.
    bands : dict
        Errors of band intensities, where they were asked for
        (`mda_aptnn.training.calibration.stated_bands`).
    """

    target: Target
    n_frames: int
    numbers: NDArray[np.int64]
    labels: Array
    predictions: Array
    baselines: dict[str, Array]
    spreads: Array | None = None
    factors: dict[str, float] = dataclasses.field(default_factory=dict)
    sum_rule: float | None = None
    bands: dict[str, Any] = dataclasses.field(default_factory=dict)

    __repr__ = short

    @property
    def errors(self) -> Array:
        """Prediction less label, [n_atoms, 3, 3]."""
        return self.predictions - self.labels

    @property
    def rmse(self) -> float:
        """Root mean square error."""
        return rms(self.errors)

    def measure(self, name: str, axis: int | None = None) -> Any:
        """Return "rmse", "mae" or "r2" of all components, or of each ([3, 3], with axis 0)."""
        return measure(name, self.errors, self.labels, axis)

    def by_species(self) -> dict[str, Evaluation]:
        """Return the evaluation of each element's atoms."""
        return {SYMBOLS[z]: self._of(self.numbers == z) for z in np.unique(self.numbers)}

    def per_irrep(self, name: str) -> dict[str, float]:
        """Return "rmse", "mae" or "r2" per component of each irrep ("0e", "1e", "2e")."""
        errors, labels = self.target.to_irreps(self.errors), self.target.to_irreps(self.labels)
        return {
            irrep: float(measure(name, errors[:, block], labels[:, block]))
            for irrep, block in self.target.blocks
        }

    def offsets(self) -> dict[str, Array]:
        """Return the invariant part of the mean error of each element, [3, 3].

        It is what two levels of theory differ by.
        """
        return {
            symbol: invariant_part(part.errors.mean(axis=0), self.target)
            for symbol, part in self.by_species().items()
        }

    def scatter(self) -> float:
        """Return the root mean square error that is left without the offset of each element."""
        offsets = self.offsets()
        return rms(self.errors - np.array([offsets[name] for name in symbols_of(self.numbers)]))

    def spectrum_error(self) -> float:
        """Return sqrt(Σ‖δP_i‖²/m_i / Σ‖P_i‖²/m_i), the relative error of Ṁ to be expected.

        Thermal velocities of variance k_B T/m_i, independent of each other, make ⟨|Σ δP_i v_i|²⟩ =
        k_B T Σ ‖δP_i‖²/m_i.
        """
        return flux_error(self.errors, self.labels, masses_of(self.numbers))

    def baseline_rmse(self) -> dict[str, float]:
        """Return the root mean square error of each baseline that says something of every atom."""
        errors = {name: values - self.labels for name, values in self.baselines.items()}
        return {name: rms(values) for name, values in errors.items() if np.isfinite(values).all()}

    def spread_of_atoms(self) -> Array:
        """Return the spread of each atom, the root mean square over its components, [n_atoms].

        Raises
        ------
        LabelError
            If the model was no committee.
        """
        if self.spreads is None:
            raise LabelError(
                "the model is no committee: a single model has no spread that could be compared or "
                "calibrated"
            )
        return rms_of_atoms(self.spreads)

    def spread_summary(self) -> dict[str, Any]:
        """Return what the spread says of the error, per element, JSON-able.

        Returns
        -------
        dict of str to dict
            rms_error, rms_spread (per component, in the target's unit) and their ratio, 1 if the
            spread is calibrated; rank_correlation of the two over atoms (Spearman); within_one and
            within_two: shares of components whose error is within one and two spreads (0.683 and
            0.954 for normal errors of known width); bins of as many atoms each by rising spread,
            with the rms spread and the rms error of its atoms.

        Raises
        ------
        LabelError
            If the model was no committee.
        """
        summary = {}
        for symbol, part in self.by_species().items():
            spread, error = part.spread_of_atoms(), rms_of_atoms(part.errors)
            sizes = np.abs(part.errors)
            order = np.argsort(spread, kind="stable")
            bins = np.array_split(order, min(N_BINS, len(order)))
            varies = np.ptp(spread) > 0 and np.ptp(error) > 0
            summary[symbol] = {
                "rms_error": rms(error),
                "rms_spread": rms(spread),
                "ratio": rms(error) / rms(spread) if spread.any() else None,
                "rank_correlation": float(spearmanr(error, spread)[0]) if varies else None,
                "within_one": float(np.mean(sizes <= part.spreads)),
                "within_two": float(np.mean(sizes <= 2 * np.asarray(part.spreads))),
                "bins": [
                    {"rms_spread": rms(spread[k]), "rms_error": rms(error[k]), "n_atoms": len(k)}
                    for k in bins
                ],
            }
        return summary

    def summary(self) -> dict[str, Any]:
        """Return all errors as a JSON-able dictionary."""
        species = self.by_species()
        report = {
            "target": self.target.name,
            "unit": self.target.unit,
            "n_frames": self.n_frames,
            "n_atoms": len(self.numbers),
            "spectrum_error": self.spectrum_error(),
            "rmse_per_species_and_irrep": {k: x.per_irrep("rmse") for k, x in species.items()},
            "offset_per_species": self.offsets(),
            "rmse_without_offset": self.scatter(),
            "baseline_rmse": self.baseline_rmse(),
            "sum_rule": self.sum_rule,
        }
        for name in MEASURES:
            report |= {
                name: self.measure(name),
                f"{name}_per_species": {k: part.measure(name) for k, part in species.items()},
                f"{name}_per_irrep": self.per_irrep(name),
                f"{name}_per_component": self.measure(name, axis=0),
            }
        if self.spreads is not None:
            report |= {"spread": self.spread_summary(), "spread_factors": self.factors}
        if self.target == APT:
            report["bands"] = self.bands
        plain: dict[str, Any] = _plain(report)
        return plain

    def describe(self) -> str:
        """Return all errors as tables and lines of text."""
        irreps = {name: self.per_irrep(name) for name in MEASURES}
        rows = {"all": self._measures(), **{k: x._measures() for k, x in self.by_species().items()}}
        for irrep, _ in self.target.blocks:
            rows[f"irrep {irrep}"] = {name: irreps[name][irrep] for name in MEASURES}
        of_components = {name: self.measure(name, axis=0) for name in MEASURES}
        for a, b in np.ndindex(3, 3) if self.target == APT else ():
            of_one = {name: float(values[a, b]) for name, values in of_components.items()}
            rows[f"component {'xyz'[a]}{'xyz'[b]}"] = of_one
        lines = [
            f"{self.target.name}: {self.n_frames} frames, {len(self.numbers)} labelled atoms; "
            f"errors per component in {self.target.unit}",
            "",
            *table(rows),
            "",
        ]
        if self.target == APT:
            offsets = [f"{k} {values[0, 0]:+.4f}" for k, values in self.offsets().items()]
            without = f"RMSE without it: {self.scatter():.4f}"
            lines.append(f"isotropic offset: {', '.join(offsets)}; {without}")
        for name, value in self.baseline_rmse().items():
            lines.append(f"without a network: {value:.4f} ({name})")
        rate, error = RATES[self.target.name], self.spectrum_error()
        lines.append(f"relative error of the {rate} for thermal velocities: {error:.4f}")
        return "\n".join([*lines, *_band_lines(self.bands), *self._spread_lines()])

    def _spread_lines(self) -> list[str]:
        """A committee's spread in text; nothing of a single model."""
        if self.spreads is None:
            return []
        rows, bins = self.spread_summary(), []
        for symbol, row in rows.items():
            pairs = [f"{x['rms_spread']:.4f}/{x['rms_error']:.4f}" for x in row.pop("bins")]
            bins.append(f"{symbol}, spread/error of atoms by rising spread: {'  '.join(pairs)}")
        times = ", ".join(f"{symbol} {x:.2f}" for symbol, x in self.factors.items())
        calibrated = f"calibrated: the members' deviation times {times}"
        return ["", *table(rows), *bins, calibrated if times else "the spread is not calibrated"]

    def _measures(self) -> dict[str, float]:
        return {name: float(self.measure(name)) for name in MEASURES}

    def _of(self, chosen: NDArray[np.bool_]) -> Evaluation:
        arrays = ("numbers", "labels", "predictions")
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[chosen] for name in arrays},
            baselines={name: values[chosen] for name, values in self.baselines.items()},
            spreads=None if self.spreads is None else self.spreads[chosen],
        )


def evaluate(
    model: Any,
    labels: Labels,
    target: Target | None = None,
    *,
    held_out: bool = False,
    allow_training_frames: bool = False,
) -> Evaluation:
    """Predict labelled frames and compare.

    Parameters
    ----------
    model
        Name, path, or object with ``predict(frame)``. Its `target` and `info` are used where it
        has them.
    labels : Dataset, path or paths
        Atoms without a complete label are left out.
    target : Target, optional
        Which of the model's tensors, where it has several heads; that of ``predict(frame)`` by
        default.
    held_out : bool
        Take only the frames that the model's card says were held out.
    allow_training_frames : bool
        Do not refuse frames that the model was trained or chosen by.

    Returns
    -------
    Evaluation

    Raises
    ------
    LabelError
        If a frame is one of the model's training frames (recognised by content), no atom has a
        label, or no frame was held out.
    ModelError
        If a frame has elements that the model does not know.
    """
    model, dataset = load_model(model), samples.as_dataset(labels)
    card: dict[str, Any] = getattr(model, "info", {})
    if held_out:
        dataset = samples.held_out_frames(card, dataset)
    if not allow_training_frames:
        _refuse_seen(card, dataset)
    own: Target = getattr(model, "target", APT).parts[0]
    target = target or own
    for index, item in enumerate(dataset):
        if target.name not in item.tensors:
            raise LabelError(f"frame {index} has no labels {target.name!r}")
    dataset = dataset.subset(
        [k for k, x in enumerate(dataset) if complete_atoms(x.tensors[target.name]).any()]
    )
    if not len(dataset):
        raise LabelError(f"no atom has a label: every {target.name!r} is NaN")
    means, source = card.get("data", {}).get("isotropic_mean"), "training frames"
    if means is None or target != own:
        means, source = isotropic_means(dataset, target), "these frames"
    numbers = np.concatenate([item.frame.numbers for item in dataset])
    values = np.concatenate([item.tensors[target.name] for item in dataset])
    unknown = np.full(target.shape, np.nan)
    isotropic = np.array([means.get(symbol, unknown) for symbol in symbols_of(numbers)])
    baselines = {
        f"isotropic mean of {source}": isotropic,
        "rigid molecules of these frames": np.concatenate(rigid_tensors(dataset, target)),
    }
    factors, spreads = {}, None
    if getattr(model, "n_members", 1) > 1:
        which = {} if target == own else {"target": target}  # others' know nothing of targets
        both = [model.predict_with_spread(item.frame, **which) for item in dataset]
        predicted, of_frames = ([pair[k] for pair in both] for k in (0, 1))
        factors = model.factors_of(target) if hasattr(model, "factors_of") else model.spread_factors
        spreads = np.concatenate(of_frames)
    else:
        predicted = [tensors_of(model, item.frame, target) for item in dataset]
    sum_rule = None
    if target == APT:
        frames = [item.frame for item in dataset]
        residuals = [
            sum_rule_residual(apt, frame.charge) / np.sqrt(len(frame))
            for apt, frame in zip(predicted, frames, strict=True)
        ]
        sum_rule = rms(np.array(residuals))
    predictions = np.concatenate(predicted)
    every = Evaluation(
        target, len(dataset), numbers, values, predictions, baselines, spreads, factors, sum_rule
    )
    return every._of(complete_atoms(values))


def isotropic_means(dataset: Dataset, target: Target) -> dict[str, Any]:
    """Return the invariant part of the mean tensor of each element: the best without a network.

    Returns
    -------
    dict of str to nested list, [3, 3]
    """
    return {
        SYMBOLS[number]: invariant_part(labels.mean(axis=0), target).tolist()
        for number, labels in complete_labels(dataset, target).items()
        if len(labels)
    }


def invariant_part(tensor: Array, target: Target) -> Array:
    """Return what no rotation changes of a tensor: of a polar one, its trace/3 times 1, [3, 3]."""
    invariant = np.zeros(len(target.basis))
    for name, block in target.blocks:
        invariant[block] = name.split(".")[0] == "0e"
    result: Array = target.to_cartesian(target.to_irreps(tensor[None]) * invariant)[0]
    return result


def rigid_tensors(dataset: Dataset, target: Target) -> list[Array]:
    """Return, for each frame, the mean tensors of the data set's other molecules, turned in place.

    It is what a model must beat that knows nothing of an atom but its place in a molecule.
    Molecules of the same atoms, in the order of the file, are laid onto the first of them
    (orthogonal Procrustes), their labels averaged there for each atom, and the means turned back.
    The molecule itself is left out of its mean: a molecule that is the only one of its kind would
    be told its own labels.

    Returns
    -------
    list of ndarray, shape [n_atoms, 3, 3]
        NaN for an atom whose like has no complete label in any other molecule.
    """
    first: dict[bytes, Array] = {}
    kinds: dict[bytes, list[tuple[int, Any, Array]]] = collections.defaultdict(list)
    for number, item in enumerate(dataset):
        found = molecules_of(item.frame)
        whole = found.whole(item.frame)
        for atoms in np.split(found.order, np.cumsum(found.sizes)[:-1]):
            kind = item.frame.numbers[atoms].tobytes()
            shape = whole[atoms] - whole[atoms].mean(axis=0)
            u, sizes, vt = np.linalg.svd(first.setdefault(kind, shape).T @ shape)
            if sizes[2] < _FLAT * sizes[0] and np.linalg.det(u @ vt) < 0:
                # flat molecules fit as well when they are reflected; rounding must not decide
                vt[2] = -vt[2]
            kinds[kind].append((number, atoms, (u @ vt).T))  # shape[i] ≈ turn @ first[i]
    tensors = [item.tensors[target.name] for item in dataset]
    results = [np.empty_like(values) for values in tensors]
    for places in kinds.values():
        labels = np.array([turned(tensors[k][atoms], turn.T) for k, atoms, turn in places])
        for (k, atoms, turn), mean in zip(places, _means_of_others(labels), strict=True):
            results[k][atoms] = turned(mean, turn)
    return results


def _means_of_others(labels: Array) -> Array:
    """Mean over all others for each molecule, of complete tensors [n_molecules, n_atoms, 3, 3]."""
    axes = tuple(range(2, labels.ndim))
    complete = np.isfinite(labels).all(axis=axes, keepdims=True)
    kept = np.where(complete, labels, 0.0)
    count = complete.sum(axis=0) - complete
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Array = np.where(count > 0, (kept.sum(axis=0) - kept) / count, np.nan)
    return mean


def _refuse_seen(card: Mapping[str, Any], dataset: Dataset) -> None:
    known = samples.known_frames(card, dataset)
    for name in ("training", "validation"):
        seen = known.get(name)
        if seen:
            raise LabelError(
                f"{len(seen)} of {len(dataset)} frames (the first is number {seen[0]}, counted "
                f"from 0) are {name} frames of this model: its error on them says nothing; leave "
                "them out, or allow training frames"
            )


def rms(values: Array) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def rms_of_atoms(values: Array) -> Array:
    """Return the root mean square over the components of each atom, [n_atoms]."""
    result: Array = np.sqrt(np.mean(values.reshape(len(values), -1) ** 2, axis=1))
    return result


def _band_lines(bands: Mapping[str, Any]) -> list[str]:
    """Errors of band intensities in text; nothing if there are none."""
    titles = ("intensity", "error", "standard_error", "stated", "flux_error", "flux_spread")
    rows = {
        name: {title: row.get(title) for title in titles}
        for name, row in bands.items()
        if isinstance(row, dict)
    }
    if not rows:
        return []
    lines = ["", *table(rows)]
    lines.append(
        "intensities of bands by motion in km/mol per molecule, for thermal velocities; error: "
        "model over labels, less 1"
    )
    if bands.get("error_over_stated") is not None:
        how = ", which is not calibrated on them"
        if bands["factor"] is not None:
            how = f" (with its factor of {bands['factor']:.2f})"
        times = f"{bands['error_over_stated']:.2f}"
        lines.append(f"errors are {times} times what the committee states of bands{how}")
    return lines


def _plain(value: Any) -> Any:
    """What JSON can hold: lists of numbers, and None for NaN."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
