"""What a network takes: geometry of frames as densities and tables that do not depend on weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray

from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.graph import neighbours
from mda_aptnn.model.domain import unknown_elements


class Inputs(NamedTuple):
    """What a network needs of one frame, or of several; nothing depends on weights. Atoms are
    sorted by element.

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
        offsets = np.cumsum([0, *(len(item.species) for item in items[:-1])]).tolist()
        places = torch.cat(
            [item.places + offset for item, offset in zip(items, offsets, strict=True)]
        )
        neighbour, basis = [], []
        for layer in range(len(items[0].neighbour)):
            slots = max(item.neighbour[layer].shape[1] for item in items)
            shifted = [
                item.neighbour[layer] + offset for item, offset in zip(items, offsets, strict=True)
            ]
            neighbour.append(torch.cat([_widen(values, slots) for values in shifted]))
            basis.append(torch.cat([_widen(item.basis[layer], slots) for item in items]))
        species = torch.cat([item.species for item in items])
        density = torch.cat([item.density for item in items], dim=1)
        return _sorted(cls(species, places, density, tuple(neighbour), tuple(basis)))


def species_of(frame: Frame, numbers: Sequence[int]) -> NDArray[np.int64]:
    """Return the index of each atom's element in `numbers`, [n_atoms].

    Raises
    ------
    ModelError
        If the frame has an element that is not there.
    """
    table = {number: index for index, number in enumerate(numbers)}
    unknown = [int(number) for number in np.unique(frame.numbers) if int(number) not in table]
    if unknown:
        raise ModelError(unknown_elements(unknown, numbers))
    return np.array([table[int(number)] for number in frame.numbers], dtype=np.int64)


def _widen(values: torch.Tensor, slots: int) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, slots - values.shape[-1]))


def _sorted(inputs: Inputs) -> Inputs:
    """Bring atoms into the order of their elements."""
    order = torch.argsort(inputs.species, stable=True)
    place = torch.argsort(order)
    return Inputs(
        inputs.species[order],
        place[inputs.places],
        inputs.density[:, order],
        tuple(place[values[order]] for values in inputs.neighbour),
        tuple(values[order] for values in inputs.basis),
    )


def frame_inputs(
    frame: Frame,
    species: NDArray[np.int64],
    n_species: int,
    layers: Sequence[tuple[float, int, int]],
    dtype: torch.dtype,
) -> Inputs:
    """Return the inputs of a frame: geometry in float64, cast at the end.

    Parameters
    ----------
    frame : Frame
    species : ndarray of int, shape [n_atoms]
        Index of each atom's element.
    n_species : int
    layers : sequence of (cutoff in Å, n_radial, lmax)
    dtype : torch.dtype

    Raises
    ------
    FrameError
        If two atoms are on top of each other.
    """
    found = neighbours(frame, max(cutoff for cutoff, _, _ in layers))
    lengths = np.linalg.norm(found.vectors, axis=1)
    degrees = list(range(max(lmax for _, _, lmax in layers) + 1))
    angular = o3.spherical_harmonics(
        degrees, torch.from_numpy(found.vectors), True, "component"
    ).numpy()
    density, neighbour, basis = torch.zeros(0), [], []
    for number, (cutoff, n_radial, lmax) in enumerate(layers):
        near = lengths < cutoff
        centre, other = found.centre[near], found.neighbour[near]
        pairs = (
            radial_basis(lengths[near], cutoff, n_radial)[:, :, None]
            * angular[near, None, : (lmax + 1) ** 2]
        )
        if number == 0:
            density = _element_density(pairs, centre, species[other], (len(frame), n_species))
        else:
            slots, table = _padded(pairs, centre, other, len(frame))
            neighbour.append(slots)
            basis.append(table.to(dtype))
    index = torch.from_numpy(species)
    return _sorted(
        Inputs(index, torch.arange(len(frame)), density.to(dtype), tuple(neighbour), tuple(basis))
    )


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
    waves = torch.sin(math.pi * x[:, None] * torch.arange(1, n_radial + 1, dtype=r.dtype))
    return math.sqrt(2 / cutoff) * waves * (envelope / r)[:, None]


def _element_density(
    pairs: NDArray[np.float64],
    centre: NDArray[np.int64],
    species: NDArray[np.int64],
    shape: tuple[int, int],
) -> torch.Tensor:
    """Sum B_k Y_lm [n_pairs, n_radial, n_angular] to [n_angular, n_atoms, n_species · n_radial]."""
    n_atoms, n_species = shape
    _, n_radial, n_angular = pairs.shape
    density = torch.zeros(n_atoms * n_species, n_radial, n_angular, dtype=torch.float64)
    density.index_add_(0, torch.from_numpy(centre * n_species + species), torch.from_numpy(pairs))
    return density.view(n_atoms, n_species * n_radial, n_angular).permute(2, 0, 1).contiguous()


def _padded(
    pairs: NDArray[np.float64],
    centre: NDArray[np.int64],
    neighbour: NDArray[np.int64],
    n_atoms: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return neighbours [n_atoms, n_slots] and B_k Y_lm [n_atoms, n_radial · n_angular, n_slots] of
    each atom.
    """
    counts = np.bincount(centre, minlength=n_atoms)
    slot = np.arange(len(centre)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.zeros((n_atoms, counts.max()), np.int64)
    places[centre, slot] = neighbour
    table = np.zeros((n_atoms, pairs.shape[1] * pairs.shape[2], counts.max()))
    table[centre, :, slot] = pairs.reshape(len(pairs), table.shape[1])
    return torch.from_numpy(places), torch.from_numpy(table)
