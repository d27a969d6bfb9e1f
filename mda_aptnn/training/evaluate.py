"""How far a model is from labels that it has not seen."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import SYMBOLS, masses_of, symbols_of
from mda_aptnn.errors import LabelError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.tensors import APT, Target, sum_rule_residual
from mda_aptnn.training.rigid import rigid_tensors
from mda_aptnn.training.samples import complete_atoms, complete_labels


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
    calibrated : bool
        Whether the spreads were stretched by factors from labels that were held out.
    sum_rule : float or None
        Root mean square over frames and components of the predicted (Σ P − Q·1)/√N, in e, N being
        the number of atoms of a frame, those without labels included; None for other tensors than
        polar ones.
    """

    target: Target
    n_frames: int
    numbers: NDArray[np.int64]
    labels: NDArray[np.float64]
    predictions: NDArray[np.float64]
    baselines: dict[str, NDArray[np.float64]]
    spreads: NDArray[np.float64] | None = None
    calibrated: bool = False
    sum_rule: float | None = None

    @property
    def errors(self) -> NDArray[np.float64]:
        """Prediction less label, [n_atoms, 3, 3]."""
        return self.predictions - self.labels

    @property
    def rmse(self) -> float:
        """Root mean square error."""
        return _rms(self.errors)

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return float(np.abs(self.errors).mean())

    @property
    def r2(self) -> float | None:
        """1 − Σ(error²)/Σ(label − mean of that component over all atoms)²; None if the labels do
        not vary.
        """
        return _or_none(_r2(self.errors, self.labels, None))

    @property
    def component_rmse(self) -> NDArray[np.float64]:
        """Root mean square error of each component, [3, 3]."""
        result: NDArray[np.float64] = np.sqrt(np.mean(self.errors**2, axis=0))
        return result

    @property
    def component_r2(self) -> NDArray[np.float64]:
        """R² of each component over all atoms, [3, 3]; NaN where the labels do not vary."""
        return _r2(self.errors, self.labels, 0)

    @property
    def component_mae(self) -> NDArray[np.float64]:
        """Mean absolute error of each component, [3, 3]."""
        result: NDArray[np.float64] = np.abs(self.errors).mean(axis=0)
        return result

    def per_species(self, measure: str) -> dict[str, float | None]:
        """Return "rmse", "mae" or "r2" of each element's atoms."""
        return {symbol: getattr(part, measure) for symbol, part in self.by_species().items()}

    def by_species(self) -> dict[str, Evaluation]:
        """Return the evaluation of each element's atoms."""
        return {SYMBOLS[z]: self._of(self.numbers == z) for z in np.unique(self.numbers)}

    def rmse_per_irrep(self) -> dict[str, float]:
        """Return the root mean square error per component of each irrep ("0e", "1e", "2e")."""
        return {name: _rms(errors) for name, errors, _ in self._irreps()}

    def mae_per_irrep(self) -> dict[str, float]:
        """Return the mean absolute error per component of each irrep."""
        return {name: float(np.abs(errors).mean()) for name, errors, _ in self._irreps()}

    def r2_per_irrep(self) -> dict[str, float | None]:
        """Return R² of each irrep; None where the labels do not vary."""
        return {
            name: _or_none(_r2(errors, labels, None)) for name, errors, labels in self._irreps()
        }

    def _irreps(self) -> list[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
        """Name, errors and labels of each irrep, [n_atoms, 2l+1]."""
        errors, labels = self.target.to_irreps(self.errors), self.target.to_irreps(self.labels)
        return [(name, errors[:, block], labels[:, block]) for name, block in self.target.blocks]

    def offsets(self) -> dict[str, NDArray[np.float64]]:
        """Return the invariant part of the mean error of each element, [3, 3]: what levels of
        theory differ by.
        """
        return {
            symbol: invariant_part(part.errors.mean(axis=0), self.target)
            for symbol, part in self.by_species().items()
        }

    def scatter(self) -> float:
        """Return the root mean square error that is left without the offset of each element."""
        offsets = self.offsets()
        return _rms(
            self.errors - np.array([offsets[symbol] for symbol in symbols_of(self.numbers)])
        )

    def spectrum_error(self) -> float:
        """Return sqrt(Σ‖δP_i‖²/m_i / Σ‖P_i‖²/m_i), the expected relative error of Ṁ for thermal
        velocities.

        Velocities of variance k_B T/m_i, independent of each other, make ⟨|Σ δP_i v_i|²⟩ = k_B T Σ
        ‖δP_i‖²/m_i.
        """
        weights = 1 / masses_of(self.numbers)
        axes = tuple(range(1, self.labels.ndim))
        return float(
            np.sqrt(
                weights
                @ np.sum(self.errors**2, axis=axes)
                / (weights @ np.sum(self.labels**2, axis=axes))
            )
        )

    def baseline_rmse(self) -> dict[str, float]:
        """Return the root mean square error of each baseline that says something of every atom."""
        return {
            name: _rms(values - self.labels)
            for name, values in self.baselines.items()
            if np.isfinite(values).all()
        }

    def summary(self) -> dict[str, Any]:
        """Return all errors as a JSON-able dictionary."""
        return {
            "target": self.target.name,
            "unit": self.target.unit,
            "n_frames": self.n_frames,
            "n_atoms": len(self.numbers),
            "rmse": self.rmse,
            "mae": self.mae,
            "r2": self.r2,
            "spectrum_error": self.spectrum_error(),
            "rmse_per_species": self.per_species("rmse"),
            "mae_per_species": self.per_species("mae"),
            "r2_per_species": self.per_species("r2"),
            "rmse_per_irrep": self.rmse_per_irrep(),
            "mae_per_irrep": self.mae_per_irrep(),
            "r2_per_irrep": self.r2_per_irrep(),
            "rmse_per_species_and_irrep": {
                symbol: part.rmse_per_irrep() for symbol, part in self.by_species().items()
            },
            "offset_per_species": {
                symbol: values.tolist() for symbol, values in self.offsets().items()
            },
            "rmse_without_offset": self.scatter(),
            "rmse_per_component": self.component_rmse.tolist(),
            "mae_per_component": self.component_mae.tolist(),
            "r2_per_component": _without_nan(self.component_r2),
            "baseline_rmse": self.baseline_rmse(),
            "sum_rule": self.sum_rule,
        }

    def _of(self, chosen: NDArray[np.bool_]) -> Evaluation:
        return dataclasses.replace(
            self,
            numbers=self.numbers[chosen],
            labels=self.labels[chosen],
            predictions=self.predictions[chosen],
            baselines={name: values[chosen] for name, values in self.baselines.items()},
            spreads=None if self.spreads is None else self.spreads[chosen],
        )


def evaluate(
    model: Any,
    dataset: Dataset,
    target: Target | None = None,
    *,
    allow_training_frames: bool = False,
) -> Evaluation:
    """Predict labelled frames and compare.

    Parameters
    ----------
    model
        With ``predict(frame)``, as from `load_model`. Its `target` and `info` are used where it has
        them.
    dataset : Dataset
        Atoms without a complete label are left out.
    target : Target, optional
        Which of the model's tensors, where it has several heads; that of ``predict(frame)`` by
        default.
    allow_training_frames : bool
        Do not refuse frames that the model was trained or chosen by.

    Raises
    ------
    LabelError
        If a frame is one of the model's training frames (recognised by content), or no atom has a
        label.
    ModelError
        If a frame has elements that the model does not know.
    """
    own: Target = getattr(model, "target", APT).parts[0]
    target = target or own
    card: dict[str, Any] = getattr(model, "info", {})
    data = card.get("data", {})
    if not allow_training_frames:
        _refuse_seen(dataset, data.get("fingerprints", {}))
    for index, item in enumerate(dataset):
        if target.name not in item.tensors:
            raise LabelError(f"frame {index} has no labels {target.name!r}")
    means, source = data.get("isotropic_mean") if target == own else None, "training frames"
    if means is None:
        means, source = isotropic_means(dataset, target), "these frames"
    is_committee = getattr(model, "n_members", 1) > 1
    columns: list[list[NDArray[Any]]] = [[], [], [], [], [], []]
    squares: list[float] = []
    for item, rigid in zip(dataset, rigid_tensors(dataset, target), strict=True):
        values = item.tensors[target.name]
        complete = complete_atoms(values)
        if not complete.any():
            continue
        if is_committee:
            # models of others know nothing of targets
            which = {} if target == own else {"target": target}
            predicted, spread = model.predict_with_spread(item.frame, **which)
        else:
            tensors = (
                model.predict(item.frame)
                if target == own
                else model.predict_tensors(item.frame)[target.name]
            )
            predicted = spread = tensors
        if target == APT:
            squares.append(
                float(np.mean(sum_rule_residual(predicted, item.frame.charge) ** 2))
                / len(item.frame)
            )
        numbers = item.frame.numbers[complete]
        isotropic = np.array([means[symbol] for symbol in symbols_of(numbers)])
        row = (
            numbers,
            values[complete],
            predicted[complete],
            isotropic,
            rigid[complete],
            spread[complete],
        )
        for column, part in zip(columns, row, strict=True):
            column.append(part)
    if not columns[0]:
        raise LabelError(f"no atom has a label: every {target.name!r} is NaN")
    n_frames = len(columns[0])
    numbers, labels, predictions, isotropic, rigid, spreads = map(np.concatenate, columns)
    baselines = {f"isotropic mean of {source}": isotropic, "rigid molecules of these frames": rigid}
    factors = getattr(model, "factors_of", lambda target: getattr(model, "spread_factors", {}))(
        target
    )
    return Evaluation(
        target, n_frames, numbers, labels, predictions, baselines,
        spreads if is_committee else None, is_committee and bool(factors),
        float(np.sqrt(np.mean(squares))) if squares else None,
    )  # fmt: skip


def isotropic_means(dataset: Dataset, target: Target) -> dict[str, Any]:
    """Return the invariant part of the mean tensor of each element: the best that needs no network.

    Returns
    -------
    dict of str to nested list, [3, 3]
    """
    means = {}
    for number in sorted({int(z) for item in dataset for z in item.frame.numbers}):
        labels = complete_labels(dataset, target, number)
        if len(labels):
            means[SYMBOLS[number]] = invariant_part(labels.mean(axis=0), target).tolist()
    return means


def invariant_part(tensor: NDArray[np.float64], target: Target) -> NDArray[np.float64]:
    """Return what no rotation changes of a tensor: of a polar tensor, its trace/3 on the diagonal,
    [3, 3].
    """
    invariant = np.zeros(len(target.basis))
    for name, block in target.blocks:
        invariant[block] = name.split(".")[0] == "0e"
    result: NDArray[np.float64] = target.to_cartesian(target.to_irreps(tensor[None]) * invariant)[0]
    return result


def _refuse_seen(dataset: Dataset, fingerprints: dict[str, list[str]]) -> None:
    for name in ("training", "validation"):
        known = set(fingerprints.get(name, ()))
        seen = [index for index, item in enumerate(dataset) if item.frame.fingerprint() in known]
        if seen:
            raise LabelError(
                f"{len(seen)} of {len(dataset)} frames (the first is number {seen[0]}, counted "
                f"from 0) are {name} "
                "frames of this model: its error on them says nothing; leave them out, or allow "
                "training frames"
            )


def _r2(
    errors: NDArray[np.float64], labels: NDArray[np.float64], axis: int | None
) -> NDArray[np.float64]:
    spread = np.sum((labels - labels.mean(axis=0)) ** 2, axis=axis)
    # what varies by rounding alone does not vary
    varies = spread > 1e-24 * np.sum(labels**2, axis=axis)
    result: NDArray[np.float64] = 1 - np.sum(errors**2, axis=axis) / np.where(
        varies, spread, np.nan
    )
    return result


def _or_none(value: NDArray[np.float64]) -> float | None:
    return None if np.isnan(value) else float(value)


def _without_nan(values: NDArray[np.float64]) -> list[Any]:
    """Nested lists, None for NaN, which JSON has not."""
    result = values.astype(object)
    result[np.isnan(values)] = None
    nested: list[Any] = result.tolist()
    return nested


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
