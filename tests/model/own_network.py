"""An architecture, an engine and a predictor of another package, as its authors would write them.

P_i = q_i·1 + Σ_j s(r_ij) r̂_ij r̂_ijᵀ + a_i b_iᵀ with vectors a_i, b_i = Σ_j w(r_ij) r̂_ij:
equivariant, not symmetric, and without a product of tensors.
"""

import dataclasses
import time
from typing import NamedTuple

import numpy as np
import torch

from mda_aptnn.errors import ModelError
from mda_aptnn.graph import neighbours
from mda_aptnn.model.architectures import Architecture, TensorNetwork
from mda_aptnn.model.inputs import joined, radial_basis, species_of
from mda_aptnn.tensors import flat_basis


@dataclasses.dataclass(frozen=True)
class PairConfig:
    cutoff: float = 3.0
    n_radial: int = 4

    def __post_init__(self):
        if not self.cutoff > 0:
            raise ModelError(f"the pair network needs cutoff > 0, not {self}")

    @property
    def reach(self):
        return self.cutoff


class PairInputs(NamedTuple):
    species: torch.Tensor
    centre: torch.Tensor
    neighbour: torch.Tensor
    directions: torch.Tensor
    radial: torch.Tensor

    @classmethod
    def together(cls, items):
        return cls(
            joined(items, "species"),
            joined(items, "centre", "species"),
            joined(items, "neighbour", "species"),
            joined(items, "directions"),
            joined(items, "radial"),
        )


class PairNetwork(TensorNetwork):
    def __init__(self, config, numbers, target):
        if target.n_components != 9:
            raise ModelError(f"a pair network predicts apt alone, not {target.name}")
        super().__init__(config, numbers, target)
        n = len(self.numbers)
        # s and the two w of each pair of elements
        self.weights = torch.nn.Parameter(torch.randn(n, n, config.n_radial, 3) / 3)
        self.basis = torch.tensor(flat_basis(target))

    def inputs(self, frame):
        found, dtype = neighbours(frame, self.config.cutoff), self.weights.dtype
        vectors = torch.from_numpy(found.vectors)
        lengths = vectors.norm(dim=1)
        return PairInputs(
            species_of(frame, self.numbers),
            torch.from_numpy(found.centre),
            torch.from_numpy(found.neighbour),
            (vectors / lengths[:, None]).to(dtype),
            radial_basis(lengths, self.config.cutoff, self.config.n_radial).to(dtype),
        )

    def forward(self, inputs):
        pairs = self.weights[inputs.species[inputs.centre], inputs.species[inputs.neighbour]]
        s, a, b = torch.einsum("pk,pkn->np", inputs.radial, pairs)
        r, n_atoms = inputs.directions, len(inputs.species)

        def summed(values):
            empty = values.new_zeros(n_atoms, *values.shape[1:])
            return empty.index_add(0, inputs.centre, values)

        tensors = summed(s[:, None, None] * r[:, :, None] * r[:, None])
        tensors = tensors + summed(a[:, None] * r)[:, :, None] * summed(b[:, None] * r)[:, None]
        components = tensors.flatten(1) @ self.basis.to(tensors).T
        return components * self.scale[inputs.species] + self.shift[inputs.species]


ARCHITECTURE = Architecture("pairs", PairConfig, PairNetwork, ("loops", "torch"))


class LoopEngine:
    """The pair network by loops over atoms, from the arrays of the model file alone."""

    most_atoms = 100

    def __init__(self, contents, dtype, n_threads):
        if contents.architecture != ARCHITECTURE.name:
            raise ModelError(f"engine 'loops' knows no {contents.architecture!r}: use 'torch'")
        self.config, self.numbers = contents.config, contents.numbers
        self.target = contents.target
        self.members = [contents.shared | member.weights for member in contents.members]
        self.seconds = {"neighbours": 0.0, "network": 0.0}

    def components(self, frames):
        start = time.perf_counter()
        found = [np.stack([self._of(frame, member) for member in self.members]) for frame in frames]
        self.seconds["network"] += time.perf_counter() - start
        return found

    def _of(self, frame, member):
        found, n_atoms = neighbours(frame, self.config.cutoff), len(frame)
        tensors, one, other = (np.zeros((n_atoms, 3, 3)), *np.zeros((2, n_atoms, 3)))
        place = {number: k for k, number in enumerate(self.numbers)}
        for i, j, vector in zip(found.centre, found.neighbour, found.vectors, strict=True):
            r = float(np.linalg.norm(vector))
            radial = radial_basis(np.array([r]), self.config.cutoff, self.config.n_radial)[0]
            weights = member["weights"][place[frame.numbers[i]], place[frame.numbers[j]]]
            s, a, b = radial @ weights
            tensors[i] += s * np.outer(vector, vector) / r**2
            one[i] += a * vector / r
            other[i] += b * vector / r
        tensors += one[:, :, None] * other[:, None]
        rows = [place[number] for number in frame.numbers]
        return self.target.to_irreps(tensors) * member["scale"][rows] + member["shift"][rows]


class BondCharges:
    """A predictor with what a predictor must have and no more."""

    def predict(self, frame):
        found = neighbours(frame, 1.3)
        charges = np.where(frame.numbers == 8, -0.6, 0.3)[:, None, None] * np.eye(3)
        r = found.vectors / np.linalg.norm(found.vectors, axis=1)[:, None]
        np.add.at(charges, found.centre, 0.1 * r[:, :, None] * r[:, None])
        return charges
