"""The optimisation loop: steps, moving average, validation, when to stop, and its state on disk."""

from __future__ import annotations

import copy
import ctypes
import hashlib
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from mda_aptnn import io
from mda_aptnn.errors import FileFormatError, ModelError, TrainingError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.devices import is_out_of_memory, torch_device
from mda_aptnn.model.file import Arrays, load_state, read_arrays, state_arrays, write_arrays
from mda_aptnn.tensors import AnyTarget, flat_basis, flat_tensors
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.samples import Array, Sample, join
from mda_aptnn.training.soap import Soap

#: A validation error so many times the labels' own root mean square is no longer a bad fit but a
#: divergence.
DIVERGED = 10.0

#: Columns of the learning curve; the training error is of the weights before each step, not of
#: their average.
LEARNING = ("step", "seconds", "learning_rate", "training_rmse", "validation_rmse")

#: Wall time in s between checkpoints: what a killed run loses at most, and one validation interval.
CHECKPOINT_EVERY = 20.0
#: Kind of the file of a run's state, and the numbers in it.
CHECKPOINT = "checkpoint"
_NUMBERS = {"step": int, "seconds": float, "best_step": int, "best_error": float}

# settings of memory, from glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


class DivergenceError(ArithmeticError):
    """The loss, its gradient or the validation error is not finite or has grown without bound."""


class Run:
    """A training run, between two steps.

    Everything that decides about the rest of the run is in these attributes, and all of it is in a
    checkpoint. The order of frames is a function of seed and epoch, so that there is no state of a
    random generator to keep. How many frames went at a time where memory ran out is not: a resumed
    run may sum in another order.

    Attributes
    ----------
    step : int
        Steps done.
    seconds : float
        Wall time spent in them.
    network, average : torch.nn.Module
        What is optimised, and the moving average of it, which is what is validated.
    best : dict of str to ndarray
        State of `average` at its lowest validation error; empty before the first validation.
    best_error, best_step
        That error (root mean square per component, target's unit; of a joint target the root mean
        square of the parts' relative errors), and when it was.
    learning : dict of str to list
        The learning curve.
    """

    def __init__(
        self,
        network: Any,
        training: Sequence[Sample],
        validation: Sequence[Sample],
        target: AnyTarget,
        config: TrainingConfig,
    ) -> None:
        self._device = torch_device(config.device)
        self.network, self.config = network.to(self._device), config
        self.training, self.validation = training, validation
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.optimizer = _optimizer(network, config)
        self.step, self.seconds = 0, 0.0
        self.best: Arrays = {}
        self.best_error, self.best_step = math.inf, 0
        self.learning: dict[str, list[float]] = {name: [] for name in LEARNING}
        # of a step, as long as memory allows
        self._frames_at_once = config.batch_frames
        like = training[0].labels
        per_unit = 1 / torch.as_tensor(error_units(training, target)).to(like)
        self._per_unit = per_unit.to(self._device)
        self._basis = torch.as_tensor(flat_basis(target)).to(self._per_unit)
        n_labels = sum(float((sample.weights > 0).sum()) for sample in training)
        squares = sum(float(((sample.labels * per_unit) ** 2).sum()) for sample in training)
        self._rms = math.sqrt(squares / n_labels)
        weight = sum(float(sample.weights.sum()) for sample in training) / len(training)
        if not weight:
            raise TrainingError(
                "every labelled atom has the weight 0: give one of the elements another"
            )
        # one constant for the whole run: the loss is 1 for a network that predicts zero everywhere
        self._loss_unit = self._rms**2 * weight

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the validation error has not fallen for too long."""
        waited, patience = self.step - self.best_step, self.config.patience
        return self.step >= self.config.steps or 0 < patience <= waited

    def run(self, state: Path, who: str, verbose: bool = False) -> DivergenceError | None:
        """Do the remaining steps, from a checkpoint if there is one.

        Parameters
        ----------
        state : Path
            Of the checkpoint.
        who : str
            The run's `identity`.
        verbose : bool
            Show a progress bar with the validation error and the time left.

        Returns
        -------
        DivergenceError or None
            What ended the run too early; `best` stays what it was.
        """
        if state.exists():
            self.restore(state, who)
        keep_freed_memory()
        config, saved = self.config, time.monotonic()
        begun, squares, count = saved - self.seconds, 0.0, 0.0
        with tqdm(
            total=config.steps, initial=self.step, unit="step", mininterval=0.5, disable=not verbose
        ) as bar:
            while not self.finished:
                rate = config.learning_rate_at(self.step, self.learning["validation_rmse"])
                try:
                    squared, n_errors = self._optimise(self._batch(), rate)
                    squares, count = squares + squared, count + n_errors
                    self.step += 1
                    bar.update()
                    if self.step % config.validate_every and self.step != config.steps:
                        continue
                    error = self._validate()
                except DivergenceError as divergence:
                    return divergence
                except (MemoryError, RuntimeError) as failure:
                    if not is_out_of_memory(failure):
                        raise
                    n_atoms = max(len(x.labels) for x in (*self.training, *self.validation))
                    raise TrainingError(
                        f"there is no memory to train on frames of {n_atoms} atoms, one at a time: "
                        "label smaller boxes, or choose a network of fewer channels"
                    ) from failure
                self.seconds = time.monotonic() - begun
                row = (self.step, self.seconds, rate, math.sqrt(squares / max(count, 1)), error)
                for name, value in zip(LEARNING, row, strict=True):
                    self.learning[name].append(value)
                squares = count = 0.0
                bar.set_postfix_str(f"validation {error:.4f}, best {self.best_error:.4f}")
                if time.monotonic() - saved >= CHECKPOINT_EVERY:
                    self.save(state, who)
                    saved = time.monotonic()
        return None

    def _batch(self) -> list[Sample]:
        size = min(self.config.batch_frames, len(self.training))
        epoch, place = divmod(self.step, len(self.training) // size)
        order = np.random.default_rng([self.config.seed, epoch]).permutation(len(self.training))
        return [self.training[int(k)] for k in order[place * size : (place + 1) * size]]

    def _errors(self, network: Any, sample: Sample) -> torch.Tensor:
        """Of all Cartesian components, [n_atoms, n_cartesian]."""
        errors: torch.Tensor = network(sample.inputs) @ self._basis - sample.labels
        return errors * self._per_unit

    def _training_errors(self, batch: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        """Errors of the batch in which the weights can be differentiated, and their weights.

        Along random directions, for a network that asks for some only.
        """
        rng = np.random.default_rng([self.config.seed, 1, self.step])
        axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        directions = torch.as_tensor(axes[: self.config.directions]).to(batch.labels)
        errors, weights = self.network.residuals(
            batch.inputs, batch.labels, batch.weights, directions
        )
        return errors * self._per_unit, weights

    def _differentiate(self, batch: Sequence[Sample]) -> tuple[float, float, int]:
        """Set the gradient of the loss of some frames, as many at a time as memory allows; returns
        the loss, the sum of squared errors and their number.
        """
        while True:
            self.optimizer.zero_grad()
            total, squares, count, size = 0.0, 0.0, 0, len(batch)
            try:
                for start in range(0, size, self._frames_at_once):
                    part = batch[start : start + self._frames_at_once]
                    loss, squared, n_errors = self._add_gradient(part, size)
                    total += loss
                    squares, count = squares + squared, count + n_errors
                return total, squares, count
            except (MemoryError, RuntimeError) as error:
                if self._frames_at_once == 1 or not is_out_of_memory(error):
                    raise
            self._frames_at_once = (min(self._frames_at_once, size) + 1) // 2

    def _add_gradient(self, part: Sequence[Sample], size: int) -> tuple[float, float, int]:
        """Add the gradient of a part of `size` frames. In a function of its own, so that nothing of
        it stays in memory where that ran out.
        """
        errors, weights = self._training_errors(join(part).on(self._device))
        loss = (weights * errors**2).sum() / (size * self._loss_unit)
        loss.backward()
        return float(loss.detach()), *_squares(errors.detach(), weights)

    def _optimise(self, batch: Sequence[Sample], rate: float) -> tuple[float, int]:
        """One step; returns the sum of squared errors before it and their number."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, squares, count = self._differentiate(batch)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        if not (torch.isfinite(norm) and math.isfinite(loss)):
            raise DivergenceError(
                f"the loss is {loss:.3g} and its gradient {float(norm.detach()):.3g}"
            )
        self.optimizer.step()
        # short memory at first, so that the average is not held back by where the weights began
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
        with torch.no_grad():
            for mean, value in pairs:
                mean.lerp_(value, 1 - decay)
        return squares, count

    def _validate(self) -> float:
        """Return the root mean square error of the averaged weights; keeps the best ones."""
        with torch.no_grad():
            there = (sample.on(self._device) for sample in self.validation)
            found = [
                _squares(self._errors(self.average, sample), sample.weights) for sample in there
            ]
        squares, count = (sum(column) for column in zip(*found, strict=True))
        error = math.sqrt(squares / count)
        if not error < DIVERGED * self._rms:
            raise DivergenceError(f"the validation error is {error:.3g}")
        if error < self.best_error:
            self.best_error, self.best_step = error, self.step
            self.best = state_arrays(self.average)
        return error

    def save(self, path: Path, who: str) -> None:
        """Write the state; the file before it is replaced when the new one is complete."""
        arrays: dict[str, Arrays] = {
            "network": state_arrays(self.network),
            "average": state_arrays(self.average),
            "best": self.best,
            "learning": {name: np.asarray(values) for name, values in self.learning.items()},
        }
        for index, state in self.optimizer.state_dict()["state"].items():
            arrays[f"optimizer/{index}"] = {name: x.cpu().numpy() for name, x in state.items()}
        with io.create(path, CHECKPOINT) as file:
            file.attrs["identity"] = who
            for name in _NUMBERS:
                file.attrs[name] = getattr(self, name)
            for name, values in arrays.items():
                write_arrays(file, name, values)

    def restore(self, path: Path, who: str) -> None:
        """Take over the state in a file.

        Raises
        ------
        TrainingError
            If the file is of a run with other settings or data, or damaged; says what differs and
            what to do.
        """
        try:
            with io.open_checked(path, CHECKPOINT) as file:
                _same(json.loads(file.attrs["identity"]), json.loads(who), path)
                for name, kind in _NUMBERS.items():
                    setattr(self, name, kind(file.attrs[name]))
                load_state(self.network, read_arrays(file, "network"))
                load_state(self.average, read_arrays(file, "average"))
                self.best = read_arrays(file, "best")
                curve = read_arrays(file, "learning")
                self.learning = {name: values.tolist() for name, values in curve.items()}
                optimizer = self.optimizer.state_dict()
                for index in file["optimizer"]:
                    state = read_arrays(file, f"optimizer/{index}").items()
                    optimizer["state"][int(index)] = {k: torch.as_tensor(x) for k, x in state}
                self.optimizer.load_state_dict(optimizer)
        except (FileFormatError, ModelError) as error:
            raise TrainingError(
                f"cannot resume from {path}: {error}; delete it to train from the beginning"
            ) from error


def _optimizer(network: Any, config: TrainingConfig) -> torch.optim.Optimizer:
    parameters, rate, decay = network.parameters(), config.learning_rate, config.weight_decay
    if config.optimizer == "soap":
        return Soap(parameters, lr=rate, weight_decay=decay)
    amsgrad = config.optimizer == "amsgrad"
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, amsgrad=amsgrad)


def _squares(errors: torch.Tensor, weights: torch.Tensor) -> tuple[float, int]:
    """Sum of the squares of what is labelled, and how many these are."""
    labelled = weights > 0
    return float((errors**2 * labelled).sum()), int(labelled.sum())


def error_units(samples: Sequence[Sample], target: AnyTarget) -> Array:
    """Return what errors of Cartesian components are divided by, [n_cartesian]; 1 of one target.

    Heads of different units count alike in the loss: each by the mean square of its tensors' error
    over that of its labels, whatever the numbers of components. With all labels there, the root
    mean square over the components of all heads is then that of the heads' relative errors.
    """
    sizes = [int(np.prod(part.shape)) for part in target.parts]
    if len(sizes) == 1:
        return np.ones(1)
    labels = torch.cat([sample.labels.double() for sample in samples])
    known = torch.cat([sample.weights > 0 for sample in samples])
    units = []
    for columns in np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]):
        mean = float((labels[:, columns] ** 2).sum()) / int(known[:, columns].sum())
        share = len(sizes) * len(columns) / sum(sizes)
        units.append(np.full(len(columns), math.sqrt(mean * share)))
    return np.concatenate(units)


def checkpoint_path(model: Path) -> Path:
    """Return where the state of a model in the making is kept: MODEL.checkpoint.h5 beside it."""
    return model.with_name(f"{model.stem}.checkpoint.h5")


def identity(
    settings: Mapping[str, Mapping[str, Any]], data: Mapping[str, Dataset], target: AnyTarget
) -> str:
    """Return, as JSON, all that decides about the weights: settings and the content of the data."""
    digests = {}
    for name, dataset in data.items():
        digest = hashlib.sha256()
        for item in dataset:
            digest.update(item.frame.fingerprint().encode())
            digest.update(np.ascontiguousarray(flat_tensors(target, item.tensors), "<f8").tobytes())
        digests[f"{name} frames"] = digest.hexdigest()
    flat = {f"{table}.{key}": settings[table][key] for table in settings for key in settings[table]}
    # where it is trained changes no more than the last digits
    flat.pop("training.device", None)
    return json.dumps(flat | digests, sort_keys=True)


def _same(found: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    differing = sorted(io.differing(found, dict.fromkeys(found) | wanted))
    if differing:
        raise TrainingError(
            f"{path} is of an unfinished run with other {', '.join(differing)}: repeat that run's "
            "command to finish it, delete the file to begin anew, or choose another output"
        )


def keep_freed_memory() -> bool:
    """Tell the C library to keep large blocks that were freed, for the rest of the process.

    By default glibc maps each large block anew, and Linux fills it with zeros page by page: half of
    a training step's time where tensors have tens of megabytes (`simple-network`, 384 atoms). The
    process keeps the most that it ever needed, which a training run needs again in its next step.
    See mallopt(3).

    Returns
    -------
    bool
        Whether there was something to tell: another C library than glibc is left as it is.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))
    return mallopt is not None and all(bool(mallopt(*setting)) for setting in settings)
