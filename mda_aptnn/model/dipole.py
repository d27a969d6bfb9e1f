"""Polar tensors as the derivative of a learned dipole: exact in what follows from that, and slow.

The dipole of the sample is a sum over atoms of charges and of vectors that the environment makes,

    M = Σ_i q_i r_i + Σ_i μ_i,        P[i, a, b] = ∂M_a/∂r_ib = q_i δ_ab + ∂(Σ_j μ_j,a)/∂r_ib .

Each μ_j is an output of a network in the density form, so that P is equivariant. Translation moves
no pair of atoms against another: Σ_i P_i = Σ_i q_i = Q holds for any weights. The tensors of
neighbours are tied to each other, which is why a few labelled frames teach this form more than they
teach the tensors themselves. All tensors of a frame are three backward passes through the network
(one for each a); the kernels have none of this.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray

from mda_aptnn.errors import FrameError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.graph import neighbours
from mda_aptnn.model.density import DensityNetwork, NetworkConfig
from mda_aptnn.model.inputs import Inputs, radial_basis, species_of
from mda_aptnn.tensors import APT, AnyTarget

#: What the vectors μ start as, in Å times the root mean square of the labels about their means: a
#: bond bent by an angle moves charge over about half its length.
_LENGTH = 0.5
#: Atoms of a frame: about a MB each.
_MOST_ATOMS = 20_000


@dataclasses.dataclass(frozen=True)
class DipoleConfig(NetworkConfig):
    """Shape of a `DipoleNetwork`: the layers of a network in the density form, and what its charges
    are.

    Attributes
    ----------
    environment_charges : bool
        Charges q_i are scalars of the environment, shifted alike so that they sum to Q, instead of
        one number for each element. Ions need it where one element has parts in ions and in neutral
        molecules. The tensors are then no exact derivative: ∂q/∂r is left out, since it depends on
        the origin.
    """

    environment_charges: bool = False

    @property
    def reach(self) -> float:
        """Distance in Å from which an atom has an influence on a tensor: by way of the vector of a
        third.
        """
        return 2 * super().reach


@dataclasses.dataclass(frozen=True)
class _Outputs:
    """What the network in the density form is told to make for each atom."""

    irreps: tuple[tuple[int, int, int], ...]
    n_components: int
    name: str = "dipoles and charges"


class DipoleInputs(NamedTuple):
    """What a `DipoleNetwork` needs of one frame, or of several. Atoms are sorted by element.

    Attributes
    ----------
    species : Tensor of int64, shape [n_atoms]
        Index into the network's elements, ascending.
    places : Tensor of int64, shape [n_atoms]
        Where each atom of the frame is in this order.
    frame : Tensor of int64, shape [n_atoms]
        Which frame an atom belongs to.
    charge : Tensor, shape [n_frames]
        Total charge of each frame in e.
    centre, neighbour : Tensor of int64, shape [n_pairs]
    vectors : Tensor, shape [n_pairs, 3]
        From centre to neighbour, in Å: what the dipole is differentiated by.
    near : tuple of Tensor of int64, shape [n_near]
        For each further layer, the pairs within its cutoff.
    slot : tuple of Tensor of int64, shape [n_near]
        For each further layer, the number of each such pair among those of its centre.
    """

    species: torch.Tensor
    places: torch.Tensor
    frame: torch.Tensor
    charge: torch.Tensor
    centre: torch.Tensor
    neighbour: torch.Tensor
    vectors: torch.Tensor
    near: tuple[torch.Tensor, ...]
    slot: tuple[torch.Tensor, ...]

    @classmethod
    def together(cls, items: Sequence[DipoleInputs]) -> DipoleInputs:
        """Return several frames as if they were one, of parts that do not see each other."""
        atoms = np.cumsum([0, *(len(item.species) for item in items)]).tolist()
        pairs = np.cumsum([0, *(len(item.centre) for item in items)]).tolist()
        frames = np.cumsum([0, *(len(item.charge) for item in items)]).tolist()

        def shifted(name: str, offsets: list[int]) -> torch.Tensor:
            return torch.cat(
                [getattr(item, name) + offset for item, offset in zip(items, offsets, strict=False)]
            )

        species = torch.cat([item.species for item in items])
        order = torch.argsort(species, stable=True)
        place = torch.argsort(order)
        layers = range(len(items[0].near))
        return cls(
            species[order],
            place[shifted("places", atoms)],
            shifted("frame", frames)[order],
            torch.cat([item.charge for item in items]),
            place[shifted("centre", atoms)],
            place[shifted("neighbour", atoms)],
            torch.cat([item.vectors for item in items]),
            tuple(
                torch.cat(
                    [item.near[k] + offset for item, offset in zip(items, pairs, strict=False)]
                )
                for k in layers
            ),
            tuple(torch.cat([item.slot[k] for item in items]) for k in layers),
        )


class DipoleNetwork(torch.nn.Module):
    """Polar tensors of a frame as derivatives of its learned dipole.

    irreps_in: elements and positions; irreps_out: those of the polar tensor, from one 1o (and one
    0e) of each atom.

    Parameters
    ----------
    config : DipoleConfig
    numbers : sequence of int
        Atomic numbers of the elements that it knows.
    target : Target
        `APT`.

    Attributes
    ----------
    charges : Tensor, shape [n_species]
        Charge of each element in e, not learned: whatever they are, the vectors μ make up for it.

    Raises
    ------
    ModelError
        If the target is another, or the last layer has no vectors.
    """

    charges: torch.Tensor

    #: No slices: charges sum to Q over a whole frame alone. `inputs` refuses frames that are too
    #: large.
    most_atoms = sys.maxsize

    def __init__(self, config: DipoleConfig, numbers: Sequence[int], target: AnyTarget) -> None:
        super().__init__()
        if target != APT:
            raise ModelError(f"a dipole network predicts {APT.name} alone, not {target.name}")
        self.config, self.target = config, target
        self.numbers = tuple(int(number) for number in numbers)
        scalar = ((1, 0, 1),) if config.environment_charges else ()
        outputs = _Outputs((*scalar, (1, 1, -1)), 3 + len(scalar))
        self.body = DensityNetwork(config, numbers, outputs)  # type: ignore[arg-type]
        self.register_buffer("charges", torch.zeros(len(self.numbers), dtype=torch.float32))
        # no buffer: a cast to float32 and back would round it
        self._basis = torch.tensor(APT.basis.reshape(9, 9))

    def start_from(
        self,
        scale: NDArray[np.float64],
        shift: NDArray[np.float64],
        counts: NDArray[np.int64],
        charge: NDArray[np.float64],
    ) -> None:
        """Set charges and the size of the vectors by what the labels are.

        Parameters
        ----------
        scale, shift : ndarray, shape [n_species, 9]
            Root mean square of the labels' components about their means, and these, in e.
        counts : ndarray of int, shape [n_frames, n_species]
            Atoms of each element in the labelled frames.
        charge : ndarray, shape [n_frames]
            Their total charges in e.

        Notes
        -----
        The charges are a third of the labels' mean traces, moved as little as makes every frame sum
        to its charge.
        """
        mean = shift[:, 0] / math.sqrt(3)
        charges = mean + np.linalg.pinv(counts) @ (charge - counts @ mean)
        self.charges.copy_(torch.as_tensor(charges))
        self.body.scale[:] = _LENGTH * float(np.sqrt(np.mean(scale**2)))

    def inputs(self, frame: Frame) -> DipoleInputs:
        """Return what the network needs of a frame: vectors in float64, then cast to the network's
        dtype.

        Raises
        ------
        ModelError
            If the frame has an element that the network does not know.
        FrameError
            If two atoms are on top of each other, or there are more than 20,000, for want of
            memory.
        """
        if len(frame) > _MOST_ATOMS:
            raise FrameError(
                f"{len(frame)} atoms are too many for a dipole network ({_MOST_ATOMS} at most): "
                "distil it into a network of the default architecture"
            )
        dtype = self.charges.dtype
        species = torch.from_numpy(species_of(frame, self.numbers))
        found = neighbours(frame, self.config.cutoff)
        lengths = np.linalg.norm(found.vectors, axis=1)
        near, slot = [], []
        for layer in self.config.layers[1:]:
            pairs = np.flatnonzero(lengths < layer.cutoff)
            counts = np.bincount(found.centre[pairs], minlength=len(frame))
            first = np.repeat(np.cumsum(counts) - counts, counts)
            near.append(torch.from_numpy(pairs))
            slot.append(torch.from_numpy(np.arange(len(pairs)) - first))
        whole = DipoleInputs(
            species,
            torch.arange(len(frame)),
            torch.zeros(len(frame), dtype=torch.int64),
            torch.tensor([frame.charge], dtype=dtype),
            torch.from_numpy(found.centre),
            torch.from_numpy(found.neighbour),
            torch.from_numpy(found.vectors).to(dtype),
            tuple(near),
            tuple(slot),
        )
        return DipoleInputs.together([whole])

    def forward(self, inputs: DipoleInputs) -> torch.Tensor:
        """Return the irreducible components of all tensors in e, [n_atoms, 9]."""
        directions = torch.eye(3, dtype=inputs.vectors.dtype)
        tensors = self.along(inputs, directions).permute(1, 0, 2).flatten(1)
        components: torch.Tensor = tensors @ self._basis.to(tensors).T
        return components

    def along(
        self, inputs: DipoleInputs, directions: torch.Tensor, *, differentiable: bool = False
    ) -> torch.Tensor:
        """Return u·P, the derivative of u·M, for each direction u.

        Parameters
        ----------
        inputs : DipoleInputs
        directions : Tensor, shape [n_directions, 3]
        differentiable : bool
            Keep what is needed to differentiate the result by the weights.

        Returns
        -------
        Tensor, shape [n_directions, n_atoms, 3]
            In e, atoms in the order of the frame.
        """
        with torch.enable_grad():
            vectors = inputs.vectors.detach().requires_grad_(True)
            dipoles, charges = self.parts(inputs, vectors)
            total = dipoles.sum(dim=0)
            rows = []
            for u in directions:
                (g,) = torch.autograd.grad(
                    total @ u, vectors, create_graph=differentiable, retain_graph=True
                )
                row = torch.zeros_like(dipoles).index_add(0, inputs.neighbour, g)
                rows.append(row.index_add(0, inputs.centre, -g) + charges[:, None] * u)
            found = torch.stack(rows)[:, inputs.places]
        return found if differentiable else found.detach()

    def parts(
        self, inputs: DipoleInputs, vectors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the vectors μ [n_atoms, 3] in e·Å and the charges q [n_atoms] in e, sorted by
        element.
        """
        found = self.body(self._density_inputs(inputs, vectors))
        charges = self.charges[inputs.species]
        if self.config.environment_charges:
            charges = charges + found[:, 0]
        n_frames = len(inputs.charge)
        sums = torch.zeros(n_frames, dtype=charges.dtype).index_add(0, inputs.frame, charges)
        excess = (sums - inputs.charge) / torch.bincount(inputs.frame, minlength=n_frames)
        return found[:, -3:], charges - excess[inputs.frame]

    def dipole(self, inputs: DipoleInputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Return Σ μ [3] in e·Å of one frame, and the charge of each atom [n_atoms] in e, in its
        order.
        """
        with torch.no_grad():
            dipoles, charges = self.parts(inputs, inputs.vectors)
        return dipoles.sum(dim=0), charges[inputs.places]

    def _density_inputs(self, inputs: DipoleInputs, vectors: torch.Tensor) -> Inputs:
        """What the network in the density form takes, as a differentiable function of the vectors."""
        n_atoms, n_species = len(inputs.species), len(self.numbers)
        lengths = vectors.norm(dim=1)
        degrees = list(range(max(layer.lmax for layer in self.config.layers) + 1))
        angular: torch.Tensor = o3.spherical_harmonics(degrees, vectors, True, "component")

        def pairs(layer: Any, rows: torch.Tensor | slice) -> torch.Tensor:
            radial: torch.Tensor = radial_basis(lengths[rows], layer.cutoff, layer.n_radial)
            return radial[:, :, None] * angular[rows, None, : (layer.lmax + 1) ** 2]

        first, *further = self.config.layers
        rows = torch.nonzero(lengths.detach() < first.cutoff).flatten()
        where = inputs.centre[rows] * n_species + inputs.species[inputs.neighbour[rows]]
        n_angular = (first.lmax + 1) ** 2
        density = vectors.new_zeros(n_atoms * n_species, first.n_radial, n_angular)
        density = density.index_add(0, where, pairs(first, rows))
        tables, basis = [], []
        for layer, near, slot in zip(further, inputs.near, inputs.slot, strict=True):
            centre, n_slots = inputs.centre[near], int(slot.max()) + 1 if len(slot) else 0
            table = torch.zeros(n_atoms, n_slots, dtype=torch.int64)
            table[centre, slot] = inputs.neighbour[near]
            values = pairs(layer, near).flatten(1)
            empty = vectors.new_zeros(n_atoms, n_slots, values.shape[1])
            tables.append(table)
            basis.append(empty.index_put((centre, slot), values).transpose(1, 2))
        return Inputs(
            inputs.species,
            torch.arange(n_atoms),
            density.view(n_atoms, n_species * first.n_radial, n_angular).permute(2, 0, 1),
            tuple(tables),
            tuple(basis),
        )
