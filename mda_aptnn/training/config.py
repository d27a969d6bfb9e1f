"""The plan of a training run: every setting, documented where it is defined, and its TOML file.

A plan has two tables, and every key is optional::

    [training]                          # fields of `TrainingConfig`
    steps = 4000

    [network]                           # fields of the settings of the network
    architecture = "density"            # a key of `mda_aptnn.model.architectures.ARCHITECTURES`

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
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from mda_aptnn import units
from mda_aptnn.elements import atomic_numbers
from mda_aptnn.errors import FileFormatError, LabelError, TrainingError
from mda_aptnn.model.architectures import ARCHITECTURES, DEFAULT
from mda_aptnn.model.devices import DEVICES, torch_device

T = TypeVar("T")


def _setting(default: T, allowed: str | tuple[Any, ...]) -> T:
    """A setting with its default, and the interval "[0, inf)" or the choices that it lies in."""
    return dataclasses.field(default=default, metadata={"allowed": allowed})


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run.

    Raises
    ------
    TrainingError
        If a value is out of its range.
    ModelError
        If the device is not there.
    """

    seed: int = _setting(0, "[0, inf)")
    """Of the split, the first weights and the order of the frames: the same seed gives the same
    model.
    """
    validation: float = _setting(0.1, "(0, inf)")
    """Frames kept aside to choose the best weights by: their number, or (below 1) their fraction,
    at least one.
    """
    held_out: float = _setting(0.0, "[0, inf)")
    """Frames kept aside for the model card: their number or fraction, at least one if not 0."""
    steps: int = _setting(4000, "[1, inf)")
    """Optimisation steps in all. The schedule is drawn over them, so that it is no limit to cut
    short by.
    """
    batch_frames: int = _setting(1, "[1, inf)")
    """Frames in one step."""
    directions: int = _setting(1, "[1, 3]")
    """Random directions u in one step, along which a dipole network learns u·P: 1 to 3."""
    learning_rate: float = _setting(1e-2, "(0, inf)")
    """Of the optimiser, at its peak."""
    weight_decay: float = _setting(0.1, "[0, inf)")
    """Share of the weights that is taken away per step and unit of learning rate (decoupled, as in
    AdamW). It keeps a few frames from being learned by heart."""
    schedule: str = _setting("cosine", ("cosine", "plateau"))
    """"cosine" falls to zero over the steps; "plateau" is multiplied by `plateau_factor` whenever
    the validation error has not fallen for `plateau_patience` validations."""
    plateau_factor: float = _setting(0.1, "(0, 1)")
    """For the schedule "plateau"."""
    plateau_patience: int = _setting(10, "[1, inf)")
    """For the schedule "plateau", in validations."""
    warmup_steps: int = _setting(50, "[0, inf)")
    """Steps over which the learning rate rises linearly from zero."""
    clip_norm: float = _setting(10.0, "(0, inf]")
    """Largest norm of the gradient, of the loss in units of the labels' mean square; longer ones
    are shortened.
    """
    optimizer: str = _setting("soap", ("soap", "adam", "amsgrad"))
    """"soap" is Adam in the axes in which a gradient's components are uncorrelated (see
    `mda_aptnn.training.soap`): fewer steps to the same error. "amsgrad" is Adam by the largest
    squared gradients so far: those are of the first steps, and beside them weight decay wins."""
    average_decay: float = _setting(0.995, "[0, 1)")
    """Decay per step of the moving average of the weights, which is what is validated and saved."""
    validate_every: int = _setting(50, "[1, inf)")
    """Steps between validations."""
    patience: int = _setting(0, "[0, inf)")
    """Stop when the validation error has not fallen for so many steps; 0: never."""
    element_weights: dict[str, float] = dataclasses.field(
        default_factory=dict, metadata={"allowed": "[0, inf)"}
    )
    """Weight of an element's squared errors in the loss, 1 where not given, such as ``{"H" =
    4.0}``.
    """

    device: str = _setting("cpu", DEVICES)
    """Where to train: "cpu", "cuda" (a GPU), or "auto", a GPU where torch sees one. A GPU adds up
    in no fixed order, so that two runs differ in their last digits."""

    keep_ripples: bool = False
    """Train on the labels as they are, with the ripples of the real-space grid that made them; by
    default those that are significant are taken out of the training frames, and the card says which
    (`mda_aptnn.training.ripples`)."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, allowed = getattr(self, field.name), field.metadata.get("allowed")
            values = value.values() if isinstance(value, dict) else [value]
            if allowed and not all(_is_allowed(item, allowed) for item in values):
                raise TrainingError(
                    f"training setting {field.name} = {value!r} is out of its range, {allowed}"
                )
        atomic_numbers(list(self.element_weights))
        torch_device(self.device)

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


def _is_allowed(value: Any, allowed: str | tuple[Any, ...]) -> bool:
    """Whether a value is one of the choices, or a number in the interval."""
    if isinstance(allowed, tuple):
        return value in allowed
    if not isinstance(value, int | float | np.number):
        return False
    low, high = map(float, allowed[1:-1].split(","))
    ends = {low: allowed[0] == "[", high: allowed[-1] == "]"}
    number = float(value)
    return low < number < high or ends.get(number, False)


def planned(
    plan: str | os.PathLike[str] | None,
    network: Any,
    training: TrainingConfig,
    settings: Mapping[str, Any],
) -> tuple[Any, TrainingConfig]:
    """Return the settings of network and training: those of a TOML file, if there is one.

    Parameters
    ----------
    plan : path, optional
    network, training
        What they are where the plan says nothing; no network: None.
    settings : mapping
        Fields of `TrainingConfig` that go before the plan; None is not given.
    """
    if plan is not None:
        own, training = read_plan(plan, training)
        network = network if own is None else own
    given = {name: value for name, value in settings.items() if value is not None}
    return network, dataclasses.replace(training, **given)


def read_plan(
    path: str | os.PathLike[str], training: TrainingConfig | None = None
) -> tuple[Any, TrainingConfig]:
    """Read a TOML plan; what it does not give has its default.

    Parameters
    ----------
    path : path
    training : TrainingConfig, optional
        The defaults of the training; those of `TrainingConfig` if not given.

    Returns
    -------
    network
        Settings of the class that the key `architecture` names; None without the table [network].
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
    table, where = plan.get("training", {}), f"{path} [training]"
    # the name in 0.1.0
    old = table.pop("amsgrad", False) if isinstance(table, dict) else False
    if _like(old, False, f"{where} amsgrad"):
        table.setdefault("optimizer", "amsgrad")
    training = training or TrainingConfig()
    shaped = shape(**network) if "network" in plan else None
    return shaped, dataclasses.replace(training, **_settings(table, training, where))


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
