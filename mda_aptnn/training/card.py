"""The model card: what a model was made from and for, and how well it does on frames it has not
seen.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mda_aptnn import units
from mda_aptnn.elements import SYMBOLS, symbols_of
from mda_aptnn.errors import LabelError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.domain import DENSITY, density_of, environment_statistics
from mda_aptnn.tensors import AnyTarget, card_key
from mda_aptnn.training.evaluate import Evaluation, evaluate, isotropic_means
from mda_aptnn.training.samples import complete_atoms

#: What a card says of an evaluation.
ACCURACY = (
    "target",
    "n_frames",
    "n_atoms",
    "unit",
    "rmse",
    "mae",
    "r2",
    "spectrum_error",
    "rmse_per_species",
    "rmse_per_irrep",
    "rmse_per_species_and_irrep",
    "baseline_rmse",
    "sum_rule",
)


def model_card(parts: Mapping[str, Dataset], target: AnyTarget) -> dict[str, Any]:
    """Return the card of a model, all but its accuracy.

    Parameters
    ----------
    parts : mapping of str to Dataset
        "training", "validation" and, if any, "held_out".
    target : Target or JointTarget

    Returns
    -------
    dict
        JSON-able: level_of_theory, command, data (sources and their SHA-256; number and
        fingerprints of the frames of each part; mean of the invariants per element), domain (of the
        training frames).
    """
    training = parts["training"]
    sources = {
        name: digest for dataset in parts.values() for name, digest in dataset.sources.items()
    }
    return {
        "level_of_theory": training.level_of_theory or "not stated in the label files",
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "data": {
            "sources": sources,
            "n_frames": {name: len(dataset) for name, dataset in parts.items()},
            "fingerprints": {
                name: [item.frame.fingerprint() for item in dataset]
                for name, dataset in parts.items()
            },
            "isotropic_mean": isotropic_means(training, target.parts[0]),
        },
        "domain": domain(training, target),
    }


def accuracy(evaluation: Evaluation) -> dict[str, Any]:
    """Return of an evaluation what belongs into a card."""
    return {key: value for key, value in evaluation.summary().items() if key in ACCURACY}


def accuracies(model: Any, name: str, dataset: Dataset) -> dict[str, Any]:
    """Return the errors of a model's heads on a data set, by the names that they have in a card.

    Frames that the model was trained on are not refused.
    """
    return {
        card_key(name, model.target, part): accuracy(
            evaluate(model, dataset, part, allow_training_frames=True)
        )
        for part in model.target.parts
    }


def domain(dataset: Dataset, target: AnyTarget) -> dict[str, Any]:
    """Return what configurations a data set covers.

    Returns
    -------
    dict
        elements; n_frames; n_labelled_atoms per element; atoms_per_frame, density in g/cm³ (None
        unless periodic in three directions) and temperature in K (None unless the label files say),
        each as [smallest, largest]; environments of the atoms that have a label
        (`mda_aptnn.model.domain.environment_statistics`).
    """
    frames = [item.frame for item in dataset]
    numbers = np.concatenate([frame.numbers for frame in frames])
    densities = [density for density in map(density_of, frames) if density is not None]
    temperatures = [
        float(item.info["temperature"]) for item in dataset if "temperature" in item.info
    ]
    labelled = [
        np.any(
            [
                complete_atoms(item.tensors[part.name])
                for part in target.parts
                if part.name in item.tensors
            ],
            axis=0,
        )
        for item in dataset
    ]
    return {
        "elements": symbols_of(np.unique(numbers)),
        "n_frames": len(frames),
        "n_atoms": {SYMBOLS[z]: int((numbers == z).sum()) for z in np.unique(numbers)},
        "atoms_per_frame": [min(map(len, frames)), max(map(len, frames))],
        "density": _range(densities, 4),
        "density_unit": DENSITY,
        "temperature": _range(temperatures, 2),
        "temperature_unit": units.TEMPERATURE,
        "environments": environment_statistics(zip(frames, labelled, strict=True)),
    }


def record_domain(model: Any, dataset: Dataset) -> dict[str, Any]:
    """Write into a model's card what its training frames cover, and the residual of the sum rule;
    return the domain.

    For models of before 0.2, whose cards have neither the statistics of environments nor that
    residual.

    Parameters
    ----------
    model : Model
        Its card is changed, its file is not.
    dataset : Dataset
        All frames that it was trained on, found among these by their fingerprints; all of them if
        the card has none. The residual is that of held-out frames, where they are among these, or
        of those that chose the weights.

    Raises
    ------
    LabelError
        If training frames are missing.
    """
    card = model.contents.card
    own = card.get("data", {}).get("fingerprints", {})
    prints = [item.frame.fingerprint() for item in dataset]
    wanted = set(own.get("training", prints))
    missing = len(wanted - set(prints))
    if missing:
        raise LabelError(
            f"{missing} of the {len(wanted)} frames that the model was trained on are not among "
            f"these "
            "labels: give all label files that it was trained on"
        )
    card["domain"] = domain(
        dataset.subset([k for k, name in enumerate(prints) if name in wanted]), model.target
    )
    for part in ("validation", "held_out"):
        frames = dataset.subset([k for k, name in enumerate(prints) if name in own.get(part, ())])
        for head in model.target.parts if len(frames) else ():
            key = card_key(part, model.target, head)
            known = card.setdefault("accuracy", {})
            known[key] = accuracy(
                evaluate(model, frames, head, allow_training_frames=True)
            ) | known.get(key, {})
    return dict(card["domain"])


def _range(values: list[float], digits: int) -> list[float] | None:
    return [round(min(values), digits), round(max(values), digits)] if values else None
