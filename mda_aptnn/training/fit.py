"""Labelled frames to a model file, in one call."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import Any

import numpy as np
import torch

from mda_aptnn import folders, io
from mda_aptnn.errors import TrainingError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.architectures import architecture_of, network_for
from mda_aptnn.model.file import Member, ModelFile, state_arrays
from mda_aptnn.model.predict import Model, load_model
from mda_aptnn.tensors import AnyTarget
from mda_aptnn.training import samples
from mda_aptnn.training.card import accuracies, model_card
from mda_aptnn.training.config import TrainingConfig, split
from mda_aptnn.training.loop import CHECKPOINT, Run, checkpoint_path, identity
from mda_aptnn.training.ripples import without_ripples


def fit(
    dataset: Dataset,
    network: Any = None,
    training: TrainingConfig | None = None,
    path: str | os.PathLike[str] = "model.h5",
    *,
    validation: Dataset | None = None,
    held_out: Dataset | None = None,
    target: AnyTarget | None = None,
    verbose: bool = False,
) -> Model:
    """Train a network and write its model file.

    A run that was killed leaves MODEL.checkpoint.h5 beside `path`; the same call goes on from there
    to the same weights (on the same machine and number of threads), and removes it at the end.

    Parameters
    ----------
    dataset : Dataset
        Split by frames into training, validation and held-out ones. Labels of NaN are left out.
        Ripples of the real-space grid that made the labels (see `ripples`) are taken out of those
        that are trained on, unless ``training.keep_ripples``; the card's `grid_ripples_removed` has
        them.
    network : NetworkConfig, DipoleConfig, SimpleNetworkConfig or ModelFile, optional
        Shape of the network, and by its class the architecture; by default that which suits the
        target. Of a trained model, its shape and its weights, which training starts from: an
        element that is new begins as the mean of the others, a new target with a new last layer.
    training : TrainingConfig, optional
        Settings of the loop.
    path : path
        Of the model file, checked before training.
    validation : Dataset, optional
        Frames to choose the best weights by, instead of a part of `dataset`.
    held_out : Dataset, optional
        Frames for the card alone, instead of a part of `dataset`.
    target : Target or JointTarget, optional
        What is trained; by default what there are labels of: where frames have polar tensors and
        polarizability gradients, a network with a head for each. A frame may have labels of one
        alone.
    verbose : bool
        Show a progress bar with validation error and time left.

    Returns
    -------
    Model
        With the weights of the lowest validation error, as in the file.

    Raises
    ------
    LabelError
        If the labels cannot be trained on: one frame, all NaN, elements in validation that training
        has not, the same frame in training and validation.
    OSError
        If the file cannot be written.
    TrainingError
        If training diverges (the best weights until then are in the file), or a checkpoint of
        another run is found.
    BusyError
        If another process trains the same file.
    """
    target = target or samples.labelled_target(dataset)
    start, network = started(network)
    training = training or TrainingConfig()
    network = network_for(network, target) if start is None else network
    if held_out is not None:
        training = dataclasses.replace(training, held_out=0.0)
    path = io.check_writable(path)
    parts = {
        name: samples.with_all_parts(part, target)
        for name, part in _split(dataset, training, validation, held_out).items()
    }
    numbers = samples.check_labels(parts, target)
    labels, ripples = without_ripples(parts["training"], target, keep=training.keep_ripples)
    module = _initial_network(network, parts["training"], numbers, target, training.seed)
    if start is not None:
        if not hasattr(module, "take_over"):
            raise TrainingError(
                f"architecture {start.architecture!r} cannot start from a trained model: it has no "
                "method take_over"
            )
        module.take_over(start.build())
    learned = samples.make_samples(module, labels, target, training.element_weights)
    chosen = samples.make_samples(module, parts["validation"], target)
    run = Run(module, learned, chosen, target, training)
    settings: dict[str, Any] = {
        "network": dataclasses.asdict(network),
        "training": dataclasses.asdict(training),
    }
    # frames that are held out in a file of their own decide nothing about the weights
    own = {name: part for name, part in parts.items() if held_out is None or name != "held_out"}
    state = checkpoint_path(path)
    with folders.reserved(state.with_suffix(".lock"), f"the training of {path}"):
        divergence = run.run(state, identity(settings | origin(start), own, target), verbose)
        if run.best:
            card = model_card(parts, target) | {
                "grid_ripples_removed": [ripple.summary() for ripple in ripples],
                "run": {
                    "steps": run.step,
                    "best_step": run.best_step,
                    "seconds": round(run.seconds, 1),
                },
                "accuracy": {},
                **origin(start),
            }
            curve = {name: np.asarray(values) for name, values in run.learning.items()}
            member = Member(run.best, state_arrays(run.average), curve)
            named: dict[str, Any] = {"card": card, "architecture": architecture_of(network).name}
            contents = ModelFile(
                **settings, **named, numbers=numbers, target=target, members=[member]
            )
            for name in [*parts][1:]:
                card["accuracy"] |= accuracies(Model(contents), name, parts[name])
            contents.save(path)
        io.remove(state, CHECKPOINT)
    if divergence is not None:
        kept = "there were no good weights before it, nothing is written"
        if run.best:
            kept = (
                f"{path} has the best weights before it: step {run.best_step}, validation "
                f"{run.best_error:.4f}"
            )
        raise TrainingError(
            f"training diverged in step {run.step}: {divergence}; {kept}; lower the learning_rate"
        )
    found: Model = load_model(path)
    return found


def started(network: Any) -> tuple[ModelFile | None, Any]:
    """The model that a training starts from, if its network is one; and the network's settings."""
    return (network, network.config) if isinstance(network, ModelFile) else (None, network)


def origin(start: ModelFile | None) -> dict[str, dict[str, Any]]:
    """What a card, and the identity of a run, say of the model that it starts from."""
    if start is None:
        return {}
    digest = hashlib.sha256()
    for name, values in sorted((start.shared | start.members[0].weights).items()):
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    level = start.card.get("level_of_theory", "")
    return {"started_from": {"weights": digest.hexdigest()[:16], "level_of_theory": level}}


def _split(
    dataset: Dataset, config: TrainingConfig, validation: Dataset | None, held_out: Dataset | None
) -> dict[str, Dataset]:
    """Training, validation and (if any) held-out frames.

    Raises
    ------
    LabelError
        If nothing is left to train on.
    """
    training, chosen, aside = split(len(dataset), config, given=validation is not None)
    parts = {
        "training": dataset.subset(training),
        "validation": dataset.subset(chosen) if validation is None else validation,
        "held_out": dataset.subset(aside) if held_out is None else held_out,
    }
    return {name: part for name, part in parts.items() if len(part) or name != "held_out"}


def _initial_network(
    config: Any, training: Dataset, numbers: list[int], target: AnyTarget, seed: int
) -> Any:
    """The network with first weights of the seed, and outputs of the size of the labels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architecture_of(config).network(config, numbers, target)
    counts = [[int((item.frame.numbers == z).sum()) for z in numbers] for item in training]
    charge = np.array([item.frame.charge for item in training])
    network.start_from(*samples.output_scales(training, target, numbers), np.array(counts), charge)
    return network
