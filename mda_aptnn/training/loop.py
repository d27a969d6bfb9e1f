"""The optimisation loop: steps, moving average, validation, and when to stop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from mda_aptnn.errors import TrainingError
from mda_aptnn.model.file import Arrays, state_arrays
from mda_aptnn.tensors import AnyTarget, flat_basis
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.memory import keep_freed_memory
from mda_aptnn.training.samples import Sample, join

#: A validation error so many times the labels' own root mean square is no longer a bad fit but a
#: divergence.
DIVERGED = 10.0

#: Columns of the learning curve; the training error is of the weights before each step, not of
#: their average.
LEARNING = ("step", "seconds", "learning_rate", "training_rmse", "validation_rmse")


class DivergenceError(ArithmeticError):
    """The loss, its gradient or the validation error is not finite or has grown without bound."""


class Run:
    """A training run, between two steps.

    Everything that decides about the rest of the run is in these attributes, and all of it is in a
    checkpoint. The order of frames is a function of seed and epoch, so that there is no state of a
    random generator to keep.

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
        self.network, self.training, self.validation, self.config = (
            network,
            training,
            validation,
            config,
        )
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            amsgrad=config.amsgrad,
        )
        self.step, self.seconds = 0, 0.0
        self.best: Arrays = {}
        self.best_error, self.best_step = math.inf, 0
        self.learning: dict[str, list[float]] = {name: [] for name in LEARNING}
        dtype = training[0].labels.dtype
        self._basis = torch.as_tensor(flat_basis(target), dtype=dtype)
        # of a single target it is 1, whatever the shape of a network's errors
        units = error_units(training, target) if len(target.parts) > 1 else np.ones(())
        self._per_unit = 1 / torch.as_tensor(units, dtype=dtype)
        n_labels = sum(float((sample.weights > 0).sum()) for sample in training)
        squares = sum(float(((sample.labels * self._per_unit) ** 2).sum()) for sample in training)
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
        patience = self.config.patience
        return self.step >= self.config.steps or bool(
            patience and self.step - self.best_step >= patience
        )

    def run(self, verbose: bool, at_validation: Callable[[], None]) -> None:
        """Do the remaining steps.

        Parameters
        ----------
        verbose : bool
            Show a progress bar with the validation error and the time left.
        at_validation : callable
            Called after every validation; the state can be saved then.

        Raises
        ------
        DivergenceError
            If the run diverges; `best` stays what it was.
        """
        keep_freed_memory()
        with tqdm(
            total=self.config.steps,
            initial=self.step,
            unit="step",
            mininterval=0.5,
            disable=not verbose,
        ) as bar:
            begun, squares, count = time.monotonic() - self.seconds, 0.0, 0.0
            while not self.finished:
                rate = self.config.learning_rate_at(self.step, self.learning["validation_rmse"])
                batch = self._batch()
                squared, n_errors = self._optimise(batch, rate)
                squares, count = squares + squared, count + n_errors
                self.step += 1
                bar.update()
                if self.step % self.config.validate_every == 0 or self.step == self.config.steps:
                    error = self._validate()
                    self.seconds = time.monotonic() - begun
                    row = (
                        self.step,
                        self.seconds,
                        rate,
                        math.sqrt(squares / max(count, 1.0)),
                        error,
                    )
                    for name, value in zip(LEARNING, row, strict=True):
                        self.learning[name].append(value)
                    squares = count = 0.0
                    bar.set_postfix_str(f"validation {error:.4f}, best {self.best_error:.4f}")
                    at_validation()

    def _batch(self) -> Sample:
        size = min(self.config.batch_frames, len(self.training))
        per_epoch = len(self.training) // size
        epoch, place = divmod(self.step, per_epoch)
        order: NDArray[np.int64] = np.random.default_rng([self.config.seed, epoch]).permutation(
            len(self.training)
        )
        return join([self.training[int(k)] for k in order[place * size : (place + 1) * size]])

    def _errors(self, network: Any, sample: Sample) -> torch.Tensor:
        errors: torch.Tensor = (
            network(sample.inputs) @ self._basis - sample.labels
        ) * self._per_unit
        return errors

    def _training_errors(self, batch: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        """Errors of the batch in which the weights can be differentiated, and their weights.

        Some networks learn along a few random directions of a step (`protocol.Network`).
        """
        rng = np.random.default_rng([self.config.seed, 1, self.step])
        axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        u = torch.as_tensor(axes[: self.config.directions], dtype=batch.labels.dtype)
        errors, weights = self.network.residuals(batch.inputs, batch.labels, batch.weights, u)
        return errors * self._per_unit, weights

    def _optimise(self, batch: Sample, rate: float) -> tuple[float, int]:
        """One step; returns the sum of squared errors before it and their number."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        errors, weights = self._training_errors(batch)
        size = min(self.config.batch_frames, len(self.training))
        loss = (weights * errors**2).sum() / (size * self._loss_unit)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        if not (torch.isfinite(norm) and torch.isfinite(loss)):
            raise DivergenceError(
                f"the loss is {float(loss.detach()):.3g} and its gradient "
                f"{float(norm.detach()):.3g}"
            )
        self.optimizer.step()
        # short memory at first, so that the average is not held back by where the weights began
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(
                self.average.parameters(), self.network.parameters(), strict=True
            ):
                mean.lerp_(value, 1 - decay)
        return float((errors.detach() ** 2 * (weights > 0)).sum()), int((weights > 0).sum())

    def _validate(self) -> float:
        """Root mean square error of the averaged weights on the validation frames; keeps the best
        weights.
        """
        squares = count = 0.0
        with torch.no_grad():
            for sample in self.validation:
                errors = self._errors(self.average, sample)
                squares += float((errors**2 * (sample.weights > 0)).sum())
                count += float((sample.weights > 0).sum())
        error = math.sqrt(squares / count)
        if not error < DIVERGED * self._rms:
            raise DivergenceError(f"the validation error is {error:.3g}")
        if error < self.best_error:
            self.best_error, self.best_step, self.best = (
                error,
                self.step,
                state_arrays(self.average),
            )
        return error


def error_units(samples: Sequence[Sample], target: AnyTarget) -> NDArray[np.float64]:
    """Return what errors of the Cartesian components are divided by, [n_cartesian]: 1 for a single
    target.

    Heads of different units count alike in the loss: each by the mean square of its tensors' error
    over that of its labels, whatever the numbers of components. With all labels there, the root
    mean square over the components of all heads is then that of the heads' relative errors.
    """
    sizes = [int(np.prod(part.shape)) for part in target.parts]
    if len(sizes) == 1:
        return np.ones(sizes[0])
    units, start = [], 0
    for size in sizes:
        columns = slice(start, start + size)
        start += size
        count = sum(float((sample.weights[:, columns] > 0).sum()) for sample in samples)
        squares = sum(float((sample.labels[:, columns].double() ** 2).sum()) for sample in samples)
        units.append(np.full(size, math.sqrt(squares / count * size * len(sizes) / sum(sizes))))
    return np.concatenate(units)
