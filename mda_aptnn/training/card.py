"""The model card: what a model was made from and for, and how well it does on unseen frames."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mda_aptnn import io, units
from mda_aptnn.elements import symbols_of
from mda_aptnn.errors import LabelError, ModelError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.domain import DENSITY, density_of, environment_statistics
from mda_aptnn.model.predict import BUNDLED, load_model
from mda_aptnn.tensors import APT, AnyTarget, card_key
from mda_aptnn.training import calibration, samples
from mda_aptnn.training.evaluate import MEASURES, Evaluation, evaluate, isotropic_means
from mda_aptnn.training.samples import Labels, complete_atoms, fingerprints

#: What a card says of an evaluation, of its `summary`.
ACCURACY = {"target", "unit", "n_frames", "n_atoms", "spectrum_error", "sum_rule", "baseline_rmse"}
ACCURACY |= {*MEASURES, "rmse_per_species", "rmse_per_irrep", "rmse_per_species_and_irrep"}


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
    return {
        "level_of_theory": training.level_of_theory or "not stated in the label files",
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "data": {
            "sources": {name: own for x in parts.values() for name, own in x.sources.items()},
            "n_frames": {name: len(dataset) for name, dataset in parts.items()},
            "fingerprints": {name: fingerprints(dataset) for name, dataset in parts.items()},
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
    numbers, n_atoms = np.unique(
        np.concatenate([frame.numbers for frame in frames]), return_counts=True
    )
    densities = [density for density in map(density_of, frames) if density is not None]
    known = [item.info["temperature"] for item in dataset if "temperature" in item.info]
    labelled = [
        np.any([complete_atoms(item.tensors[x.name]) for x in target.parts], axis=0)
        for item in samples.with_all_parts(dataset, target)
    ]
    return {
        "elements": symbols_of(numbers),
        "n_frames": len(frames),
        "n_atoms": dict(zip(symbols_of(numbers), n_atoms.tolist(), strict=True)),
        "atoms_per_frame": [min(map(len, frames)), max(map(len, frames))],
        "density": _range(densities, 4),
        "density_unit": DENSITY,
        "temperature": _range([float(value) for value in known], 2),
        "temperature_unit": units.TEMPERATURE,
        "environments": environment_statistics(zip(frames, labelled, strict=True)),
    }


def _range(values: list[float], digits: int) -> list[float] | None:
    return [round(min(values), digits), round(max(values), digits)] if values else None


def record_domain(model: Any, dataset: Dataset) -> None:
    """Write into a model's card what its training frames cover, and the residual of the sum rule.

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
    parts = {
        name: dataset.subset(found) for name, found in samples.known_frames(card, dataset).items()
    }
    training = parts.pop("training", dataset)
    wanted = set(card.get("data", {}).get("fingerprints", {}).get("training", ()))
    missing = len(wanted - set(fingerprints(training)))
    if missing:
        raise LabelError(
            f"{missing} of the {len(wanted)} frames that the model was trained on "
            "are not among these labels: give all label files that it was trained on"
        )
    card["domain"] = domain(training, model.target)
    known = card.setdefault("accuracy", {})
    for name, frames in parts.items():
        for key, found in (accuracies(model, name, frames) if len(frames) else {}).items():
            known[key] = found | known.get(key, {})


def assess(
    model: Any,
    labels: Labels,
    *,
    held_out: bool = False,
    allow_training_frames: bool = False,
    record: str | None = None,
    calibrate: bool = False,
    domain: bool = False,
) -> dict[str, Evaluation]:
    """Compare each of a model's tensors with labels, and note in its file what is asked for.

    Parameters
    ----------
    model
        Name or path.
    labels : Dataset, path or paths
    held_out, allow_training_frames : bool
        As for `evaluate`.
    record : str, optional
        Also write the errors into the model's card, under this name.
    calibrate : bool
        Also calibrate a committee's spread by these labels.
    domain : bool
        Also write into the card what the training frames cover (`record_domain`).

    Returns
    -------
    dict of str to Evaluation
        By the names of those targets that there are labels of, with the errors of bands.

    Raises
    ------
    LabelError, ModelError
        As of `evaluate`, `calibrate` and `record_domain`; and if a bundled model were changed.
    """
    model = load_model(model)
    writes = bool(record or calibrate or domain)
    if writes:
        _check_changeable(model)
    target = getattr(model, "target", APT)
    dataset = samples.with_all_parts(samples.as_dataset(labels), target)
    if held_out:
        dataset = samples.held_out_frames(model.info, dataset)
    labelled = samples.labelled_target(dataset).parts
    parts = [part for part in target.parts if part in labelled] or target.parts[:1]

    allowed = {"allow_training_frames": allow_training_frames}
    if calibrate:
        sources = "held-out frames" if held_out else ", ".join(dataset.sources)
        calibration.calibrate(model, dataset, parts, sources, **allowed)
    found = {part: evaluate(model, dataset, part, **allowed) for part in parts}
    if APT in found:
        found[APT] = dataclasses.replace(found[APT], bands=calibration.stated_bands(model, dataset))
    if record:
        for part, evaluation in found.items():
            noted = accuracy(evaluation) | {"sources": dataset.sources, "bands": evaluation.bands}
            model.contents.card["accuracy"][card_key(record, target, part)] = noted
    if domain:
        record_domain(model, dataset)
    if writes:
        model.contents.save(model.path)
    return {part.name: evaluation for part, evaluation in found.items()}


def _check_changeable(model: Any) -> None:
    """Refuse to write into a bundled model; another is written whole, with a longer card."""
    if getattr(model, "path", None) is None:
        raise ModelError("a model in memory has no file to write into: save it and give its path")
    if model.path.is_relative_to(BUNDLED):
        raise ModelError(
            f"--record, --record-domain and --calibrate write into the model, and "
            f"{model.path.stem!r} belongs to the package: copy {model.path} and give the copy"
        )
    io.protect([model.path], "model")
    io.check_writable(model.path, "model")
