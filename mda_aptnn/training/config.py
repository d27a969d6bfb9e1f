"""The plan of a training run: every setting, documented where it is defined, and its TOML file.

A plan has two tables, and every key is optional::

    [training]                          # fields of `TrainingConfig`
    steps = 4000

    [network]                           # fields of `mda_aptnn.model.density.NetworkConfig`, or,
    after architecture = "density"            # "simple-network", of
    `models.simple_network.SimpleNetworkConfig`;
                                        # "dipole", of `models.dipole.DipoleConfig`
    [[network.layers]]                  # one such table for each layer, fields of `LayerConfig`
    features = "16x0e+16x1o+16x2e"
    cutoff = "5 angstrom"               # lengths: a number in Å, or a string with a unit
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import tomllib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mda_aptnn import units
from mda_aptnn.elements import atomic_numbers
from mda_aptnn.errors import FileFormatError, LabelError, TrainingError
from mda_aptnn.model.architectures import ARCHITECTURES, DEFAULT


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run.

    Raises
    ------
    TrainingError
        If a value is out of its range.
    """

    seed: int = 0
    """Of the split, the first weights and the order of the frames: the same seed gives the same
    model.
    """
    validation: float = 0.1
    """Frames kept aside to choose the best weights by: their number, or (below 1) their fraction,
    at least one.
    """
    held_out: float = 0.0
    """Frames kept aside for the model card alone: their number or fraction, at least one if not 0."""
    steps: int = 6000
    """Optimisation steps in all. The schedule is drawn over them, so that it is no limit to cut
    short by.
    """
    batch_frames: int = 1
    """Frames in one step."""
    directions: int = 1
    """Random directions u in one step, along which a dipole network learns u·P: 1 to 3."""
    learning_rate: float = 1.5e-2
    """Of Adam, at its peak."""
    weight_decay: float = 0.025
    """Share of the weights that is taken away per step and unit of learning rate (decoupled, as in
    AdamW). It keeps a few frames from being learned by heart."""
    schedule: str = "cosine"
    """"cosine" falls to zero over the steps; "plateau" is multiplied by `plateau_factor` whenever
    the validation error has not fallen for `plateau_patience` validations."""
    plateau_factor: float = 0.1
    """For the schedule "plateau"."""
    plateau_patience: int = 10
    """For the schedule "plateau", in validations."""
    warmup_steps: int = 50
    """Steps over which the learning rate rises linearly from zero."""
    clip_norm: float = 10.0
    """Largest norm of the gradient, of the loss in units of the labels' mean square; longer ones
    are shortened.
    """
    amsgrad: bool = False
    """Adam by the largest squared gradients so far. Off: those are of the first steps, and beside
    them weight decay wins."""
    average_decay: float = 0.995
    """Decay per step of the moving average of the weights, which is what is validated and saved."""
    validate_every: int = 50
    """Steps between validations."""
    patience: int = 0
    """Stop when the validation error has not fallen for so many steps; 0: never."""
    element_weights: dict[str, float] = dataclasses.field(default_factory=dict)
    """Weight of an element's squared errors in the loss, 1 where not given, such as ``{"H" =
    4.0}``.
    """

    keep_ripples: bool = False
    """Train on the labels as they are, with the ripples of the real-space grid that made them; by
    default those that are significant are taken out of the training frames, and the card says which
    (`mda_aptnn.training.ripples`)."""

    def __post_init__(self) -> None:
        weights = self.element_weights.values()
        allowed = {
            "seed": self.seed >= 0,
            "validation": self.validation > 0,
            "held_out": self.held_out >= 0,
            "steps": self.steps >= 1,
            "batch_frames": self.batch_frames >= 1,
            "directions": 1 <= self.directions <= 3,
            "learning_rate": 0 < self.learning_rate < math.inf,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "schedule": self.schedule in ("cosine", "plateau"),
            "plateau_factor": 0 < self.plateau_factor < 1,
            "plateau_patience": self.plateau_patience >= 1,
            "warmup_steps": self.warmup_steps >= 0,
            "clip_norm": self.clip_norm > 0,
            "average_decay": 0 <= self.average_decay < 1,
            "validate_every": self.validate_every >= 1,
            "patience": self.patience >= 0,
            "element_weights": all(
                isinstance(weight, int | float) and 0 <= weight < math.inf for weight in weights
            ),
        }
        for name, good in allowed.items():
            if not good:
                raise TrainingError(
                    f"training setting {name} = {getattr(self, name)!r} is out of its range"
                )
        for symbol in self.element_weights:
            atomic_numbers([symbol])

    def learning_rate_at(self, step: int, validation: Sequence[float]) -> float:
        """Return the learning rate of a step (counted from 0), given the validation errors before
        it.
        """
        rate = self.learning_rate * min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.schedule == "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        best, waited = math.inf, 0
        for error in validation:
            waited = 0 if error < best else waited + 1
            best = min(best, error)
            if waited > self.plateau_patience:
                rate, waited = rate * self.plateau_factor, 0
        return rate


def split(
    n_frames: int, config: TrainingConfig, given: bool = False
) -> tuple[list[int], list[int], list[int]]:
    """Return the frames of training, of validation, and those held out, drawn by the seed.

    Parameters
    ----------
    n_frames : int
    config : TrainingConfig
    given : bool
        Whether validation frames come from elsewhere, so that none is drawn.

    Raises
    ------
    LabelError
        If nothing is left to train on.
    """
    n_validation = 0 if given else max(1, _count(config.validation, n_frames))
    n_held_out = max(1, _count(config.held_out, n_frames)) if config.held_out else 0
    n_training = n_frames - n_validation - n_held_out
    if n_training < 1:
        raise LabelError(
            f"{n_frames} labelled frame{'s' * (n_frames != 1)} cannot be split into training, "
            f"{n_validation} for "
            f"validation and {n_held_out} held out: label more frames or keep fewer aside"
        )
    order = np.random.default_rng(config.seed).permutation(n_frames).tolist()
    rest = order[n_training:]
    return sorted(order[:n_training]), sorted(rest[:n_validation]), sorted(rest[n_validation:])


def _count(number: float, n_frames: int) -> int:
    return round(number * n_frames) if number < 1 else int(number)


def read_plan(path: str | os.PathLike[str]) -> tuple[Any, TrainingConfig]:
    """Read a TOML plan; what it does not give has its default.

    Returns
    -------
    network : NetworkConfig or SimpleNetworkConfig
        By the key `architecture`.
    training : TrainingConfig

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is not TOML, or has a table or key that there is not, or a value of another kind.
    """
    try:
        with open(path, "rb") as file:
            plan = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is not TOML: {error}") from error
    _check_keys(path, plan, ["network", "training"], "table")
    table, where = plan.get("network", {}), f"{path} [network]"
    architecture = table.pop("architecture", DEFAULT) if isinstance(table, dict) else DEFAULT
    if architecture not in ARCHITECTURES:
        raise FileFormatError(
            f"{where} architecture = {architecture!r}: choose one of {', '.join(ARCHITECTURES)}"
        )
    shape = ARCHITECTURES[architecture].config
    network = _settings(table, shape(), where)
    training = _settings(plan.get("training", {}), TrainingConfig(), f"{path} [training]")
    return shape(**network), TrainingConfig(**training)


def _settings(table: Any, defaults: Any, where: str) -> dict[str, Any]:
    """The keyword arguments in a TOML table, checked against an instance with the defaults."""
    if not isinstance(table, dict):
        raise FileFormatError(f"{where} must be a table, not {table!r}")
    known = {field.name: getattr(defaults, field.name) for field in dataclasses.fields(defaults)}
    _check_keys(where, table, list(known), "key")
    return {key: _like(value, known[key], f"{where} {key}") for key, value in table.items()}


def _like(value: Any, default: Any, where: str) -> Any:
    """A value of the kind of its default; where that is a length, a string will do."""
    if isinstance(default, float) and isinstance(value, str) and where.endswith("cutoff"):
        return units.magnitude(value, units.LENGTH, where)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        # further layers have the keys of the first
        return tuple(
            _settings(item, default[0], f"{where}[{index}]") for index, item in enumerate(value)
        )
    if type(value) is not type(default):
        raise FileFormatError(f"{where} = {value!r}: expected a value like {default!r}")
    return value


def _check_keys(where: Any, found: dict[str, Any], known: list[str], what: str) -> None:
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1) or known
            raise FileFormatError(
                f"{where}: there is no {what} {key!r}; there is {', '.join(near)}"
            )
