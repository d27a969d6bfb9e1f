"""The reference network of the field, straight from e3nn: convolutions with a radial network for
every pair.

It is `e3nn`'s SimpleNetwork (v2106), with the hyper-parameters that P. Schienbein, J. Chem. Theory
Comput. 19, 705 (2023) used for atomic polar tensors as defaults. It is here to be compared with, in
accuracy and in speed.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from mda_aptnn.frame import Frame
from mda_aptnn.model.architectures import (
    LARGEST_CUTOFF,
    Architecture,
    TensorNetwork,
    check_ranges,
)
from mda_aptnn.model.inputs import joined, pair_tensors, species_of
from mda_aptnn.model.irreps import LARGEST_DEGREE, o3
from mda_aptnn.tensors import AnyTarget, default_dtype, wigner_3j


@dataclasses.dataclass(frozen=True)
class SimpleNetworkConfig:
    """Shape of a `SimpleNetwork`.

    Attributes
    ----------
    cutoff : float
        Å. The number of neighbours grows with its cube.
    channels : int
        Of every irrep, of both parities, between the layers.
    layers : int
        Hidden layers; one more convolution reads the result.
    lmax : int
        Largest degree of the hidden irreps and of the spherical harmonics.
    neighbours : float
        Atoms within the cutoff, on the average: sums over neighbours are divided by its square
        root. The default is that of liquid water at 6 Å.
    """

    cutoff: float = 6.0
    channels: int = 20
    layers: int = 2
    lmax: int = 2
    neighbours: float = 90.0

    def __post_init__(self) -> None:
        check_ranges(
            "the network",
            self,
            cutoff=(0.0, LARGEST_CUTOFF),
            channels=(1, math.inf),
            layers=(1, 10),
            lmax=(0, LARGEST_DEGREE),
            neighbours=(0.0, math.inf),
        )

    @property
    def reach(self) -> float:
        """Distance in Å from which an atom has an influence on another, by all convolutions."""
        return (self.layers + 1) * self.cutoff


class PairInputs(NamedTuple):
    """What a `SimpleNetwork` needs of one frame, or of several; nothing depends on weights.

    Attributes
    ----------
    species : Tensor of int64, shape [n_atoms]
        Index into the network's elements.
    centre, neighbour : Tensor of int64, shape [n_pairs]
    angular : Tensor, shape [n_pairs, (lmax+1)²]
        Spherical harmonics of the direction from the centre to the neighbour.
    radial : Tensor, shape [n_pairs, 10]
        Smooth bumps along the distance, what the radial network is given.
    """

    species: torch.Tensor
    centre: torch.Tensor
    neighbour: torch.Tensor
    angular: torch.Tensor
    radial: torch.Tensor

    @classmethod
    def together(cls, items: Sequence[PairInputs]) -> PairInputs:
        """Return several frames as if they were one, of parts that do not see each other."""
        pairs = {"centre": "species", "neighbour": "species"}
        return cls(*(joined(items, name, pairs.get(name)) for name in cls._fields))


class SimpleNetwork(TensorNetwork):
    """Atomic tensors of a frame by e3nn's SimpleNetwork v2106.

    irreps_in: elements (one scalar each) and positions; irreps_out: those of the target.

    Parameters
    ----------
    config : SimpleNetworkConfig
    numbers : sequence of int
        Atomic numbers of the elements that it knows.
    target : Target or JointTarget
        What it predicts.

    Attributes
    ----------
    scale, shift : Tensor, shape [n_species, n_components]
        See `TensorNetwork`.

    Notes
    -----
    e3nn rounds its constants to torch's default dtype. Here they are made in float64 and rounded
    from there at each cast, so that ``.double()`` is exactly equivariant whatever the weights were
    trained in.
    """

    #: Atoms of a frame that it is given at a time: some GB.
    most_atoms = 1_000

    def __init__(
        self, config: SimpleNetworkConfig, numbers: Sequence[int], target: AnyTarget
    ) -> None:
        from e3nn.nn.models.v2106.gate_points_networks import SimpleNetwork as E3nnNetwork

        super().__init__(config, numbers, target)
        irreps = [(count, (degree, parity)) for count, degree, parity in target.irreps]
        with default_dtype(torch.float64):
            self.e3nn = E3nnNetwork(
                irreps_in=f"{len(self.numbers)}x0e",
                irreps_out=o3.Irreps(irreps),
                max_radius=config.cutoff,
                num_neighbors=config.neighbours,
                num_nodes=1,
                mul=config.channels,
                layers=config.layers,
                lmax=config.lmax,
                pool_nodes=False,
            )
        self._constants = {name: values.clone() for name, values in self.e3nn.named_buffers()}
        for name in self._constants:
            # with the signs that all versions of e3nn have here
            if degrees := re.search(r"_w3j_(\d+)_(\d+)_(\d+)$", name):
                symbols = wigner_3j(*map(int, degrees.groups()))
                self._constants[name] = torch.tensor(symbols)
        self.float()

    def _apply(
        self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True
    ) -> SimpleNetwork:
        super()._apply(fn, recurse)
        for name, values in self.e3nn.named_buffers():
            values.copy_(self._constants[name])
        return self

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return weights, scale and shift; e3nn's constants are no part of a model."""
        state = super().state_dict(*args, **options)
        kept = {name for name, _ in self.named_parameters()} | {"scale", "shift"}
        return {name: values for name, values in state.items() if name in kept}

    def inputs(self, frame: Frame) -> PairInputs:
        """Return what the network needs of a frame: geometry in float64, then cast to the network's
        dtype.

        Raises
        ------
        ModelError
            If the frame has an element that the network does not know.
        FrameError
            If two atoms are on top of each other.
        """
        from e3nn.math import soft_one_hot_linspace

        device = self.scale.device
        # from centre to neighbour, as in e3nn: sender minus receiver
        centre, neighbour, vectors = pair_tensors(frame, self.config.cutoff, device)
        degrees = list(range(self.config.lmax + 1))
        with default_dtype(torch.float64):
            angular = o3.spherical_harmonics(degrees, vectors, True, normalization="component")
            n_basis = self.e3nn.number_of_basis
            settings = {"basis": "smooth_finite", "cutoff": True}
            lengths = vectors.norm(dim=1)
            radial = soft_one_hot_linspace(lengths, 0.0, self.config.cutoff, n_basis, **settings)
            radial = radial * n_basis**0.5
        return PairInputs(
            species_of(frame, self.numbers, device),
            centre,
            neighbour,
            angular.to(self.scale.dtype),
            radial.to(self.scale.dtype),
        )

    def forward(self, inputs: PairInputs) -> torch.Tensor:
        """Return [n_atoms, n_components] in the target's order of components and in its unit."""
        kinds = torch.nn.functional.one_hot(inputs.species, len(self.numbers)).to(self.scale.dtype)
        pairs = inputs.neighbour, inputs.centre, inputs.angular, inputs.radial
        found = self.e3nn.mp(kinds, torch.ones_like(kinds[:, :1]), *pairs)
        outputs: torch.Tensor = found * self.scale[inputs.species] + self.shift[inputs.species]
        return outputs


ARCHITECTURE = Architecture("simple-network", SimpleNetworkConfig, SimpleNetwork)
