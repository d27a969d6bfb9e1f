"""Until the registry of architectures is merged: what it will offer, on what there is."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from mda_aptnn.model.model_file import ARCHITECTURES
from mda_aptnn.model.model_file import architecture_of as name_of
from mda_aptnn.model.network import network_for
from mda_aptnn.tensors import flat_basis

__all__ = ["architecture_of", "network_for", "residuals", "start_from"]


@dataclasses.dataclass
class Architecture:
    """A name and a class."""

    name: str
    network: Any


def architecture_of(config: Any) -> Architecture:
    """The architecture of settings."""
    name = name_of(config)
    return Architecture(name, ARCHITECTURES[name][1])


def start_from(network: Any, scale: Any, shift: Any, counts: Any, charge: Any) -> None:
    """As `Network.start_from`."""
    if hasattr(network, "start_from"):
        network.start_from(scale, shift, counts, charge)
    else:
        network.scale.copy_(torch.as_tensor(scale))
        network.shift.copy_(torch.as_tensor(shift))


def residuals(network: Any, inputs: Any, labels: Any, weights: Any, directions: Any) -> Any:
    """As `Network.residuals`."""
    if not hasattr(network, "along"):
        basis = torch.as_tensor(flat_basis(network.target), dtype=labels.dtype)
        return network(inputs) @ basis - labels, weights
    rows = network.along(inputs, directions, differentiable=True)
    errors = rows - torch.einsum("ka,iab->kib", directions, labels.view(-1, 3, 3))
    known = weights.view(-1, 3, 3).amin(dim=1) * 3 / len(directions)
    return errors, known.expand_as(errors)
