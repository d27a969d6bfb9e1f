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
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mda_aptnn.errors import FrameError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.architectures import Architecture
from mda_aptnn.model.density import DensityNetwork, NetworkConfig
from mda_aptnn.model.inputs import by_element, joined, pair_inputs, pair_tensors, species_of
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
    """

    species: torch.Tensor
    places: torch.Tensor
    frame: torch.Tensor
    charge: torch.Tensor
    centre: torch.Tensor
    neighbour: torch.Tensor
    vectors: torch.Tensor

    @classmethod
    def together(cls, items: Sequence[DipoleInputs]) -> DipoleInputs:
        """Return several frames as if they were one, of parts that do not see each other."""
        species = joined(items, "species")
        order, place = by_element(species)
        return cls(
            species[order],
            place[joined(items, "places", "species")],
            joined(items, "frame", "charge")[order],
            joined(items, "charge"),
            place[joined(items, "centre", "species")],
            place[joined(items, "neighbour", "species")],
            joined(items, "vectors"),
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
    readout = None

    def __init__(self, config: DipoleConfig, numbers: Sequence[int], target: AnyTarget) -> None:
        if target != APT:
            raise ModelError(f"a dipole network predicts {APT.name} alone, not {target.name}")
        super().__init__()
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

    def take_over(self, other: DipoleNetwork) -> None:
        """Begin with the weights of another network; see `protocol.Network`."""
        self.body.take_over(other.body)
        for row, number in enumerate(self.numbers):
            if number in other.numbers:
                self.charges[row] = other.charges[other.numbers.index(number)]

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
        dtype, device = self.charges.dtype, self.charges.device
        species = species_of(frame, self.numbers, device)
        centre, neighbour, vectors = pair_tensors(frame, self.config.cutoff, device)
        whole = DipoleInputs(
            species,
            torch.arange(len(frame), device=device),
            torch.zeros_like(species),
            torch.tensor([frame.charge], dtype=dtype, device=device),
            centre,
            neighbour,
            vectors.to(dtype),
        )
        return DipoleInputs.together([whole])

    def forward(self, inputs: DipoleInputs) -> torch.Tensor:
        """Return the irreducible components of all tensors in e, [n_atoms, 9]."""
        directions = torch.eye(3).to(inputs.vectors)
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

    def residuals(
        self,
        inputs: DipoleInputs,
        labels: torch.Tensor,
        weights: torch.Tensor,
        directions: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the errors of u·P along the directions, which take a backward pass each.

        Of random rotations of the axes: ⟨(u·δP)²⟩ is then a third of Σ_a δP_ab². See
        `protocol.Network`.

        Returns
        -------
        errors, weights : Tensor, shape [n_directions, n_atoms, 3]
        """
        rows = self.along(inputs, directions, differentiable=True)
        errors = rows - torch.einsum("ka,iab->kib", directions, labels.view(-1, 3, 3))
        # a row along u is known only where all three components are; each stands for three
        known = weights.view(-1, 3, 3).amin(dim=1) * 3 / len(directions)
        return errors, known.expand_as(errors)

    def parts(
        self, inputs: DipoleInputs, vectors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the vectors μ [n_atoms, 3] in e·Å and the charges q [n_atoms] in e, sorted by
        element.
        """
        layers = self.config.layers
        pairs = inputs.species, inputs.centre, inputs.neighbour, vectors
        found = self.body(pair_inputs(*pairs, len(self.numbers), [layer.shell for layer in layers]))
        charges = self.charges[inputs.species]
        if self.config.environment_charges:
            charges = charges + found[:, 0]
        n_frames = len(inputs.charge)
        sums = torch.zeros_like(inputs.charge).index_add(0, inputs.frame, charges)
        excess = (sums - inputs.charge) / torch.bincount(inputs.frame, minlength=n_frames)
        return found[:, -3:], charges - excess[inputs.frame]

    def dipole(self, inputs: DipoleInputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Return Σ μ [3] in e·Å of one frame, and the charge of each atom [n_atoms] in e, in its
        order.
        """
        with torch.no_grad():
            dipoles, charges = self.parts(inputs, inputs.vectors)
        return dipoles.sum(dim=0), charges[inputs.places]


ARCHITECTURE = Architecture("dipole", DipoleConfig, DipoleNetwork)
