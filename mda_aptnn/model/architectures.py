"""The architectures that models may have: a registry, and what all networks have in common.

A new architecture is one file: settings (`protocol.Settings`), a network (`protocol.Network`), and
an `Architecture` that ties them to a name. It is found by its entry point (`plugins.Plugins`), or
registered with ``ARCHITECTURES.register(name, architecture)``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mda_aptnn.errors import ModelError
from mda_aptnn.plugins import Plugins
from mda_aptnn.tensors import AnyTarget, flat_basis


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A kind of network.

    Attributes
    ----------
    name : str
        As model files and training plans have it.
    config : type
        Class of its settings, a dataclass with defaults; see `protocol.Settings`.
    network : callable
        ``network(config, numbers, target)`` makes a `protocol.Network`.
    engines : tuple of str
        Engines that can evaluate it, the fastest first.
    default_for : callable, optional
        Settings for a target, where the defaults do not suit all.
    """

    name: str
    config: type
    network: Callable[[Any, Sequence[int], AnyTarget], Any]
    engines: tuple[str, ...] = ("torch",)
    default_for: Callable[[AnyTarget], Any] | None = None


#: What a model file's or a plan's `architecture` may be.
ARCHITECTURES: Plugins[Architecture] = Plugins(
    "mda_aptnn.architectures",
    {
        "density": "mda_aptnn.model.density:ARCHITECTURE",
        "dipole": "mda_aptnn.model.dipole:ARCHITECTURE",
        "simple-network": "mda_aptnn.model.simple:ARCHITECTURE",
    },
    "architecture",
    ModelError,
)

#: Å. An atom has 11,000 neighbours within it in water.
LARGEST_CUTOFF = 30.0

#: The architecture of plans and files that name none.
DEFAULT = "density"


def architecture_of(config: Any) -> Architecture:
    """Return the architecture that settings belong to.

    Raises
    ------
    ModelError
        If they are of no known network.
    """
    for name in ARCHITECTURES:
        if type(config) is ARCHITECTURES[name].config:
            return ARCHITECTURES[name]
    raise ModelError(
        f"{config!r} are not the settings of a network: known are {', '.join(ARCHITECTURES)}"
    )


def network_for(config: Any, target: AnyTarget) -> Any:
    """Return the settings that were given; those that suit the target where none were, or the
    defaults.
    """
    found = ARCHITECTURES[DEFAULT] if config is None else architecture_of(config)
    default = found.config()
    if config not in (None, default):
        return config
    return found.default_for(target) if found.default_for else default


def check_ranges(what: str, settings: Any, **ranges: tuple[float, float]) -> None:
    """Refuse settings that are out of their ranges, whose lower end is left out if it is a float.

    Raises
    ------
    ModelError
        Names the first one, its range and its value.
    """
    for name, (low, high) in ranges.items():
        value, above = getattr(settings, name), isinstance(low, float)
        if not low <= value <= high or (above and value == low):
            limit = f"{'>' if above else '>='} {low:g}" + f" and <= {high:g}" * math.isfinite(high)
            raise ModelError(f"{what} needs {name} {limit}, not {value!r}")


class TensorNetwork(torch.nn.Module):
    """What networks have in common whose outputs are the tensors themselves.

    Parameters
    ----------
    config : Settings
    numbers : sequence of int
        Atomic numbers of the elements that it knows.
    target : Target or JointTarget
        What it predicts.

    Attributes
    ----------
    scale, shift : Tensor, shape [n_species, n_components]
        The output is scale · network + shift, in the target's unit. To keep equivariance the scale
        must be the same for all components of an irrep, and the shift zero but for 0e.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    #: Some GB.
    most_atoms = 20_000

    def __init__(self, config: Any, numbers: Sequence[int], target: AnyTarget) -> None:
        super().__init__()
        self.config, self.target = config, target
        self.numbers = tuple(int(number) for number in numbers)
        self.readout: Any = None
        shape = len(self.numbers), target.n_components
        self.register_buffer("scale", torch.ones(shape, dtype=torch.float32))
        self.register_buffer("shift", torch.zeros(shape, dtype=torch.float32))

    def start_from(
        self,
        scale: NDArray[np.float64],
        shift: NDArray[np.float64],
        counts: NDArray[np.int64],
        charge: NDArray[np.float64],
    ) -> None:
        """Take over scale and shift; see `protocol.Network`."""
        self.scale.copy_(torch.as_tensor(scale))
        self.shift.copy_(torch.as_tensor(shift))

    def take_over(self, other: Any) -> None:
        """Begin with the weights of another network; see `protocol.Network`."""
        if self.numbers != other.numbers or self.target != other.target:
            name = architecture_of(self.config).name
            raise ModelError(
                f"a network of the architecture {name!r} can only start from one of the same "
                "elements and targets"
            )
        self.load_state_dict(other.state_dict())

    def residuals(
        self,
        inputs: Any,
        labels: torch.Tensor,
        weights: torch.Tensor,
        directions: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the errors of all Cartesian components; see `protocol.Network`."""
        basis = torch.as_tensor(flat_basis(self.target)).to(labels)
        return self(inputs) @ basis - labels, weights

    def dipole(self, inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Refuse: tensors alone have no dipole."""
        raise ModelError(
            f"a model of the architecture {architecture_of(self.config).name!r} has tensors and no "
            'dipole; train one with architecture = "dipole"'
        )
