"""What networks take: geometry of frames as densities and tables that do not depend on weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mda_aptnn.frame import Frame
from mda_aptnn.graph import CLOSEST, neighbours
from mda_aptnn.model.irreps import o3
from mda_aptnn.model.protocol import check_elements

T = TypeVar("T")
#: Cutoff in Å, number of radial functions and largest degree of Y_lm.
Shell = tuple[float, int, int]


class Inputs(NamedTuple):
    """What a network in the density form needs of one frame, or of several. Atoms are sorted by
    element.

    Attributes
    ----------
    species : Tensor of int64, shape [n_atoms]
        Index into the network's elements, ascending.
    places : Tensor of int64, shape [n_atoms]
        Where each atom of the frame is in this order.
    density : Tensor, shape [(lmax+1)², n_atoms, n_species · n_radial]
        Density of each element about each atom, for the first layer.
    neighbour : tuple of Tensor of int64, shape [n_atoms, n_slots]
        For each further layer, atoms (in this order) within the cutoff; free slots hold any atom.
    basis : tuple of Tensor, shape [n_atoms, n_radial · (lmax+1)², n_slots]
        For each further layer, B_k(r) Y_lm of each neighbour; zero in free slots.
    """

    species: torch.Tensor
    places: torch.Tensor
    density: torch.Tensor
    neighbour: tuple[torch.Tensor, ...]
    basis: tuple[torch.Tensor, ...]

    @classmethod
    def together(cls, items: Sequence[Inputs]) -> Inputs:
        """Return several frames as if they were one, of parts that do not see each other."""
        order, place = by_element(joined(items, "species"))
        starts = np.cumsum([0, *(len(item.species) for item in items)]).tolist()
        neighbour, basis = [], []
        for layer in range(len(items[0].neighbour)):
            slots = max(item.neighbour[layer].shape[1] for item in items)
            tables = [
                _widen(item.neighbour[layer] + start, slots)
                for item, start in zip(items, starts, strict=False)
            ]
            neighbour.append(place[torch.cat(tables)[order]])
            basis.append(torch.cat([_widen(item.basis[layer], slots) for item in items])[order])
        return cls(
            joined(items, "species")[order],
            place[joined(items, "places", "species")],
            torch.cat([item.density for item in items], dim=1)[:, order],
            tuple(neighbour),
            tuple(basis),
        )


def _widen(values: torch.Tensor, slots: int) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, slots - values.shape[-1]))


def joined(items: Sequence[Any], name: str, indexed: str | None = None) -> torch.Tensor:
    """Return a field of several frames as one; indices into another field go on counting."""
    parts = [getattr(item, name) for item in items]
    if indexed is not None:
        starts = np.cumsum([0, *(len(getattr(item, indexed)) for item in items)]).tolist()
        parts = [part + start for part, start in zip(parts, starts, strict=False)]
    return torch.cat(parts)


def joined_inputs(items: Sequence[T]) -> T:
    """Return what a network takes of several frames as if they were one."""
    return items[0] if len(items) == 1 else type(items[0]).together(items)  # type: ignore[attr-defined]


def frames_apart(values: NDArray[Any], frames: Sequence[Frame]) -> list[NDArray[Any]]:
    """Return what was predicted of several frames as one, [n_members, n_atoms, ...], for each."""
    return np.split(values, np.cumsum([len(frame) for frame in frames])[:-1], axis=1)


def by_element(species: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the atoms in the order of their elements, and the place of each atom in it."""
    order = torch.argsort(species, stable=True)
    return order, torch.argsort(order)


def species_of(
    frame: Frame, numbers: Sequence[int], device: torch.device | None = None
) -> torch.Tensor:
    """Return the index of each atom's element in `numbers`, [n_atoms], on a device.

    Raises
    ------
    ModelError
        If the frame has an element that is not there.
    """
    check_elements(frame, numbers)
    index = np.zeros(max(numbers) + 1, np.int64)
    index[list(numbers)] = np.arange(len(numbers))
    return torch.from_numpy(index[frame.numbers]).to(device)


def pair_tensors(
    frame: Frame, cutoff: float, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return centres, neighbours [n_pairs] and vectors [n_pairs, 3] in Å, as `graph.neighbours`
    finds them, on a device.

    Raises
    ------
    FrameError
        If two atoms are on top of each other.
    """
    if device.type != "cpu":
        return found_there(frame, cutoff, device)
    found = neighbours(frame, cutoff)
    centre, neighbour, vectors = map(
        torch.from_numpy, (found.centre, found.neighbour, found.vectors)
    )
    return centre, neighbour, vectors


def found_there(
    frame: Frame, cutoff: float, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`pair_tensors` by a search on the device itself, whose pairs of one centre come in no
    particular order.
    """
    from vesin import NeighborList

    positions, cell = (
        torch.as_tensor(x, device=device) for x in (frame.positions, frame.box.filled)
    )
    periodic = torch.as_tensor(np.asarray(frame.pbc), device=device)
    finder = NeighborList(cutoff=cutoff, full_list=True, sorted=True)
    centre, neighbour, vectors = finder.compute(positions, cell, periodic, "ijD")
    if len(vectors) and vectors.norm(dim=1).min() < CLOSEST:
        neighbours(frame, cutoff)  # raises, and says which atoms
    return centre.to(torch.int64), neighbour.to(torch.int64), vectors


def frame_inputs(
    frame: Frame, species: torch.Tensor, n_species: int, layers: Sequence[Shell], dtype: torch.dtype
) -> Inputs:
    """Return the inputs of a frame: geometry in float64, cast at the end.

    Parameters
    ----------
    frame : Frame
    species : Tensor of int64, shape [n_atoms]
        Index of each atom's element, on the device where the inputs are wanted.
    n_species : int
    layers : sequence of (cutoff in Å, n_radial, lmax)
    dtype : torch.dtype

    Raises
    ------
    FrameError
        If two atoms are on top of each other.
    """
    furthest = max(cutoff for cutoff, _, _ in layers)
    centre, neighbour, vectors = pair_tensors(frame, furthest, species.device)
    order, place = by_element(species)
    inputs = pair_inputs(
        species[order], place[centre], place[neighbour], vectors, n_species, layers
    )
    return inputs._replace(
        places=place,
        density=inputs.density.to(dtype).contiguous(),
        basis=tuple(table.to(dtype).contiguous() for table in inputs.basis),
    )


def pair_inputs(
    species: torch.Tensor,
    centre: torch.Tensor,
    neighbour: torch.Tensor,
    vectors: torch.Tensor,
    n_species: int,
    layers: Sequence[Shell],
) -> Inputs:
    """Return the inputs of pairs, as a function that can be differentiated by their vectors.

    Parameters
    ----------
    species : Tensor of int64, shape [n_atoms]
        Ascending.
    centre, neighbour : Tensor of int64, shape [n_pairs]
        Pairs of one centre stand one after the other.
    vectors : Tensor, shape [n_pairs, 3]
        From centre to neighbour, in Å.
    n_species : int
    layers : sequence of (cutoff in Å, n_radial, lmax)
    """
    n_atoms, lengths = len(species), vectors.norm(dim=1)
    degrees = list(range(max(lmax for _, _, lmax in layers) + 1))
    angular: torch.Tensor = o3.spherical_harmonics(degrees, vectors, True, "component")
    density, tables, basis = vectors, [], []
    for number, (cutoff, n_radial, lmax) in enumerate(layers):
        rows = torch.nonzero(lengths.detach() < cutoff).flatten()
        own, other, n_angular = centre[rows], neighbour[rows], (lmax + 1) ** 2
        radial = radial_basis(lengths[rows], cutoff, n_radial)
        pairs = radial[:, :, None] * angular[rows, None, :n_angular]
        if number == 0:
            empty = vectors.new_zeros(n_atoms * n_species, n_radial, n_angular)
            density = empty.index_add(0, own * n_species + species[other], pairs)
            density = density.view(n_atoms, n_species * n_radial, n_angular).permute(2, 0, 1)
            continue
        # the number of each pair among those of its centre
        begins = torch.ones_like(own, dtype=torch.bool)
        begins[1:] = own[1:] != own[:-1]
        counting = torch.arange(len(own), device=own.device)
        slot = counting - torch.cummax(counting * begins, 0).values if len(own) else counting
        n_slots = int(slot.max()) + 1 if len(own) else 0
        table = own.new_zeros(n_atoms, n_slots)
        table[own, slot] = other
        tables.append(table)
        values = vectors.new_zeros(n_atoms, n_slots, n_radial * n_angular)
        basis.append(values.index_put((own, slot), pairs.flatten(1)).transpose(1, 2))
    return Inputs(
        species, torch.arange(n_atoms, device=species.device), density, tuple(tables), tuple(basis)
    )


def densities(
    frame: Frame, elements: ArrayLike, cutoff: float, n_radial: int, lmax: int
) -> NDArray[np.float64]:
    """Return the density Σ_j B_k(r_ij) Y_lm of each element about each atom.

    Parameters
    ----------
    frame : Frame
    elements : array_like of int
        Atomic numbers of the neighbours, rising; others are not counted.
    cutoff : float
        In Å.
    n_radial, lmax : int

    Returns
    -------
    ndarray, shape [(lmax+1)², n_atoms, n_elements · n_radial]
        In Å^(-3/2).

    Raises
    ------
    FrameError
        If two atoms are on top of each other.
    """
    known = np.asarray(elements)
    place = np.searchsorted(known, frame.numbers)
    others = ~np.isin(frame.numbers, known)
    species = torch.from_numpy(np.where(others, len(known), place))
    shell = cutoff, n_radial, lmax
    inputs = frame_inputs(frame, species, len(known) + 1, [shell], torch.float64)
    values: NDArray[np.float64] = inputs.density[:, inputs.places].numpy()
    return values[:, :, : len(known) * n_radial]


def radial_basis(r: Any, cutoff: float, n_radial: int) -> Any:
    """Return B_k(r) = √(2/r_c) sin(kπr/r_c)/r · u(r/r_c), [n, n_radial] in Å^(-3/2), for r below
    the cutoff in Å.

    Of a Tensor it is a Tensor that can be differentiated by r, of an ndarray an ndarray.

    The Bessel functions are orthonormal under ∫r²dr, so that in a gas of one atom per 4π Å³ the
    densities have variances of about one. The envelope u(x) = 1 − 28x⁶ + 48x⁷ − 21x⁸ goes to zero
    with its first two derivatives (J. Gasteiger et al., ICLR 2020, arXiv:2003.03123, p = 6).
    """
    if isinstance(r, np.ndarray):
        return radial_basis(torch.from_numpy(r), cutoff, n_radial).numpy()
    x = r / cutoff
    envelope = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    orders = torch.arange(1, n_radial + 1, dtype=r.dtype, device=r.device)
    waves = torch.sin(math.pi * x[:, None] * orders)
    return math.sqrt(2 / cutoff) * waves * (envelope / r)[:, None]
