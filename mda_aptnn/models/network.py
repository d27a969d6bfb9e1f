"""The density form: the default network, in plain torch.

Every layer sums over neighbours first and applies what is learned afterwards:

    D_i[k, l₂m₂, l₁m₁, c] = Σ_j B_k(r_ij) Y_l₂m₂(r̂_ij) h_j[l₁m₁, c]
    m_i[l₃m₃, path, c]    = Σ_k W[k, path, c] Σ_{m₁m₂} C(l₁m₁ l₂m₂ | l₃m₃) D_i[k, l₂m₂, l₁m₁, c]

`B_k Y_lm` does not depend on weights and is computed once for a frame; D_i is one matrix product per atom. In
the first layer h_j is the element of the neighbour, so that the whole density is computed once for a frame.
Products of an atom's features with themselves add body order at the cost of an atom, not of a pair.

Irreps are written as in e3nn: ``16x1o`` are 16 polar vectors. Features are kept as a dictionary from irrep
(l, parity) to a tensor [n_atoms, 2l+1, channels].
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray

from mda_aptnn.errors import ModelError
from mda_aptnn.frames import Frame
from mda_aptnn.graph import neighbours
from mda_aptnn.tensors import Target

Irrep = tuple[int, int]
Features = dict[Irrep, torch.Tensor]


def irreps_of(text: str) -> dict[Irrep, int]:
    """Return the channels of each irrep of a string such as ``"16x0e+8x1o"``.

    Raises
    ------
    ModelError
        If the string is not e3nn's notation.
    """
    try:
        found = o3.Irreps(text)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{text!r} are not irreps; write them like '16x0e+8x1o'") from error
    channels: dict[Irrep, int] = {}
    for count, irrep in found:
        channels[irrep.l, irrep.p] = channels.get((irrep.l, irrep.p), 0) + count
    return channels


@dataclasses.dataclass(frozen=True)
class LayerConfig:
    """One sum over neighbours and what follows it.

    Attributes
    ----------
    features : str
        Irreps of an atom after this layer.
    messages : str
        Irreps that neighbours send into this layer, by a linear map from the features of the layer before. They
        set the cost of the sum over neighbours. Empty in the first layer, where neighbours send their element.
    cutoff : float
        Å. The number of neighbours grows with its cube.
    n_radial : int
        Number of radial functions B_k: spherical Bessel functions that go smoothly to zero at the cutoff.
    lmax : int
        Largest degree of the spherical harmonics Y_lm of the density.
    order : int
        Largest power of the features in the products of an atom with itself: 1 none, 2 squares, 3 cubes.
    """

    features: str
    messages: str = ""
    cutoff: float = 5.0
    n_radial: int = 8
    lmax: int = 2
    order: int = 2

    def __post_init__(self) -> None:
        if not self.cutoff > 0 or self.n_radial < 1 or self.lmax < 0 or self.order < 1:
            raise ModelError(f"a layer needs cutoff > 0, n_radial >= 1, lmax >= 0 and order >= 1, not {self}")
        if (0, 1) not in irreps_of(self.features):
            raise ModelError(f"features {self.features!r} of a layer need scalars (0e), which gate the others")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Shape of a `DensityNetwork`.

    Attributes
    ----------
    layers : tuple of LayerConfig
        Dictionaries of their fields will do, so that a configuration can come from JSON or TOML.
    """

    layers: tuple[LayerConfig, ...] = (
        LayerConfig(features="16x0e+16x1o+16x2e", n_radial=8),
        LayerConfig(features="16x0e+16x1o+16x1e+16x2e", messages="16x0e+16x1o+16x2e", n_radial=6),
    )

    def __post_init__(self) -> None:
        try:
            layers = tuple(x if isinstance(x, LayerConfig) else LayerConfig(**x) for x in self.layers)
        except TypeError as error:
            raise ModelError(f"the network's layers cannot be read: {error}") from error
        object.__setattr__(self, "layers", layers)
        if not layers:
            raise ModelError("a network needs at least one layer")
        if layers[0].messages or not all(layer.messages for layer in layers[1:]):
            raise ModelError("every layer but the first needs messages, and the first takes none")

    @property
    def cutoff(self) -> float:
        """Largest cutoff of the layers in Å."""
        return max(layer.cutoff for layer in self.layers)


class Inputs(NamedTuple):
    """What a network needs of one frame, or of several one after the other; nothing depends on weights.

    Attributes
    ----------
    species : Tensor of int64, shape [n_atoms]
        Index into the network's elements.
    density : Tensor, shape [n_atoms, (lmax+1)², n_species · n_radial]
        Density of each element about each atom, for the first layer.
    neighbour : tuple of Tensor of int64, shape [n_atoms, n_slots]
        For each further layer, atoms within the cutoff; free slots hold 0.
    basis : tuple of Tensor, shape [n_atoms, n_radial · (lmax+1)², n_slots]
        For each further layer, B_k(r) Y_lm of each neighbour; zero in free slots.
    """

    species: torch.Tensor
    density: torch.Tensor
    neighbour: tuple[torch.Tensor, ...]
    basis: tuple[torch.Tensor, ...]


def collate(inputs: Sequence[Inputs]) -> Inputs:
    """Return frames one after the other, as if they were one frame of parts that do not see each other."""
    offsets = np.cumsum([0, *(len(item.species) for item in inputs[:-1])])
    neighbour, basis = [], []
    for layer in range(len(inputs[0].neighbour)):
        slots = max(item.neighbour[layer].shape[1] for item in inputs)
        neighbour.append(
            torch.cat(
                [
                    _widen(item.neighbour[layer] + int(offset), slots)
                    for item, offset in zip(inputs, offsets, strict=True)
                ]
            )
        )
        basis.append(torch.cat([_widen(item.basis[layer], slots) for item in inputs]))
    species = torch.cat([item.species for item in inputs])
    return Inputs(species, torch.cat([item.density for item in inputs]), tuple(neighbour), tuple(basis))


def _widen(values: torch.Tensor, slots: int) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, slots - values.shape[-1]))


def radial_basis(r: NDArray[np.float64], cutoff: float, n_radial: int) -> NDArray[np.float64]:
    """Return B_k(r) = √(2/r_c) sin(kπr/r_c)/r · u(r/r_c), [n, n_radial] in Å^(-3/2), for r below the cutoff in Å.

    The Bessel functions are orthonormal under ∫r²dr, so that in a gas of one atom per 4π Å³ the densities have
    variances of about one. The envelope u(x) = 1 − 28x⁶ + 48x⁷ − 21x⁸ goes to zero with its first two derivatives
    (J. Gasteiger et al., ICLR 2020, arXiv:2003.03123, p = 6).
    """
    x = r / cutoff
    envelope = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    waves = np.sin(np.pi * x[:, None] * np.arange(1, n_radial + 1))
    return math.sqrt(2 / cutoff) * waves * (envelope / r)[:, None]


def _element_density(
    pairs: NDArray[np.float64], centre: NDArray[np.int64], species: NDArray[np.int64], shape: tuple[int, int]
) -> torch.Tensor:
    """Sum B_k Y_lm [n_pairs, n_radial, n_angular] to [n_atoms, n_angular, n_species · n_radial]."""
    n_atoms, n_species = shape
    _, n_radial, n_angular = pairs.shape
    density = torch.zeros(n_atoms * n_species, n_radial, n_angular, dtype=torch.float64)
    density.index_add_(0, torch.from_numpy(centre * n_species + species), torch.from_numpy(pairs))
    return density.view(n_atoms, n_species * n_radial, n_angular).transpose(1, 2).contiguous()


def _pad(
    pairs: NDArray[np.float64], centre: NDArray[np.int64], neighbour: NDArray[np.int64], n_atoms: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return neighbours [n_atoms, n_slots] and B_k Y_lm [n_atoms, n_radial · n_angular, n_slots] of each atom."""
    counts = np.bincount(centre, minlength=n_atoms)
    slot = np.arange(len(centre)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.zeros((n_atoms, counts.max()), np.int64)
    places[centre, slot] = neighbour
    table = np.zeros((n_atoms, pairs.shape[1] * pairs.shape[2], counts.max()))
    table[centre, :, slot] = pairs.reshape(len(pairs), table.shape[1])
    return torch.from_numpy(places), torch.from_numpy(table)


class ExactModule(torch.nn.Module):
    """A module whose constants follow its dtype and device, but are rounded from float64 each time."""

    def __init__(self) -> None:
        super().__init__()
        self._exact: dict[str, torch.Tensor] = {}

    def hold(self, name: str, values: torch.Tensor) -> None:
        """Keep a float64 constant, which is then `self.name` in the module's dtype."""
        self._exact[name] = values
        self.register_buffer(name, values.to(torch.float32), persistent=False)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> ExactModule:
        super()._apply(fn, recurse)
        for name, values in self._exact.items():
            buffer = getattr(self, name)
            setattr(self, name, values.to(device=buffer.device, dtype=buffer.dtype))
        return self


class Coupling(ExactModule):
    """Clebsch-Gordan coupling of two irreps to all irreps that are kept.

    irreps_in: l₁ ⊗ l₂; irreps_out: the kept l₃, each normalised to unit variance for independent inputs.

    Attributes
    ----------
    outputs : list of Irrep
        In the order of the columns of `matrix`, [(2l₁+1)(2l₂+1), Σ(2l₃+1)].
    """

    matrix: torch.Tensor

    def __init__(self, first: Irrep, second: Irrep, keep: Iterable[Irrep]) -> None:
        super().__init__()
        (l1, p1), (l2, p2) = first, second
        self.outputs = [(l3, p3) for l3, p3 in keep if abs(l1 - l2) <= l3 <= l1 + l2 and p3 == p1 * p2]
        blocks = [
            math.sqrt(2 * l3 + 1) * o3.wigner_3j(l1, l2, l3, dtype=torch.float64).reshape(-1, 2 * l3 + 1)
            for l3, _ in self.outputs
        ]
        if blocks:
            self.hold("matrix", torch.cat(blocks, dim=1))

    def split(self, values: torch.Tensor) -> list[tuple[Irrep, torch.Tensor]]:
        """Return the outputs' parts of `values` [n_atoms, Σ(2l₃+1), channels]."""
        widths = [2 * degree + 1 for degree, _ in self.outputs]
        return list(zip(self.outputs, values.split(widths, dim=1), strict=True))


class Elements:
    """The atoms of each element of a frame, for weights that depend on the element.

    Parameters
    ----------
    species : Tensor of int64, shape [n_atoms]
    n_species : int
    """

    def __init__(self, species: torch.Tensor, n_species: int) -> None:
        self.species = species
        order = torch.argsort(species, stable=True)
        self.atoms = order.split(torch.bincount(species, minlength=n_species).tolist())
        self.places = torch.argsort(order)

    def multiply(self, values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return values [n_atoms, 2l+1, n] times the weights of each atom's element [n_species, n, m]."""
        return torch.cat([values[atoms] @ w for atoms, w in zip(self.atoms, weights, strict=True)])[self.places]


class Mixing(torch.nn.Module):
    """Linear map of channels, separate for each irrep and each element of the atom.

    irreps_in: `inputs`; irreps_out: those of `outputs` that also are in `inputs`.
    """

    def __init__(self, inputs: Mapping[Irrep, int], outputs: Mapping[Irrep, int], n_species: int) -> None:
        super().__init__()
        self.irreps = [irrep for irrep in outputs if inputs.get(irrep)]
        self.outputs = {irrep: outputs[irrep] for irrep in self.irreps}
        self.weights = torch.nn.ParameterList(
            torch.randn(n_species, inputs[irrep], outputs[irrep], dtype=torch.float32) / math.sqrt(inputs[irrep])
            for irrep in self.irreps
        )

    def forward(self, features: Features, elements: Elements) -> Features:
        """Return the mixed features."""
        return {
            irrep: elements.multiply(features[irrep], weight)
            for irrep, weight in zip(self.irreps, self.weights, strict=True)
        }


class Products(torch.nn.Module):
    """Channel-wise products of two features of the same atom.

    irreps_in: `left` and `right` with `channels` each; irreps_out: `outputs`, every product that has one of `keep`.
    """

    def __init__(self, left: Iterable[Irrep], right: Iterable[Irrep], keep: Iterable[Irrep], channels: int) -> None:
        super().__init__()
        pairs = [(first, second, Coupling(first, second, keep)) for first in left for second in right]
        pairs = [pair for pair in pairs if pair[2].outputs]
        self.pairs = [(first, second) for first, second, _ in pairs]
        self.couplings = torch.nn.ModuleList(coupling for _, _, coupling in pairs)
        found = collections.Counter(irrep for _, _, coupling in pairs for irrep in coupling.outputs)
        self.outputs = {irrep: count * channels for irrep, count in found.items()}

    def forward(self, left: Features, right: Features) -> Features:
        """Return the products, [n_atoms, 2l+1, products · channels] for each irrep."""
        parts: dict[Irrep, list[torch.Tensor]] = {irrep: [] for irrep in self.outputs}
        for (first, second), coupling in zip(self.pairs, cast(Iterable[Coupling], self.couplings), strict=True):
            outer = (left[first][:, :, None] * right[second][:, None]).flatten(1, 2)
            for irrep, values in coupling.split(coupling.matrix.T @ outer):
                parts[irrep].append(values)
        return {irrep: torch.cat(values, dim=2) for irrep, values in parts.items()}


class Convolution(torch.nn.Module):
    """Sum over neighbours of B_k(r) Y_lm ⊗ messages, coupled, with one weight per radial function, path, channel.

    irreps_in: `messages`; irreps_out: `outputs`, every path to one of `keep`.
    """

    def __init__(self, config: LayerConfig, messages: Mapping[Irrep, int], keep: Sequence[Irrep]) -> None:
        super().__init__()
        self.messages, self.n_radial, self.lmax = dict(messages), config.n_radial, config.lmax
        pairs = [
            (irrep, degree, Coupling((degree, (-1) ** degree), irrep, keep))
            for irrep in messages
            for degree in range(config.lmax + 1)
        ]
        pairs = [pair for pair in pairs if pair[2].outputs]
        self.pairs = [(irrep, degree) for irrep, degree, _ in pairs]
        self.couplings = torch.nn.ModuleList(coupling for _, _, coupling in pairs)
        self.weights = torch.nn.ParameterList(
            torch.randn(config.n_radial, len(coupling.outputs), messages[irrep], dtype=torch.float32)
            / math.sqrt(config.n_radial)
            for irrep, _, coupling in pairs
        )
        self.outputs: dict[Irrep, int] = {}
        for irrep, _, coupling in pairs:
            for out in coupling.outputs:
                self.outputs[out] = self.outputs.get(out, 0) + messages[irrep]

    def forward(self, messages: Features, neighbour: torch.Tensor, basis: torch.Tensor) -> Features:
        """Return messages [n_atoms, 2l+1, paths · channels] for each irrep."""
        n_atoms = len(neighbour)
        sent = torch.cat([messages[irrep].flatten(1) for irrep in self.messages], dim=1)
        density = (basis @ sent[neighbour]).view(n_atoms, self.n_radial, (self.lmax + 1) ** 2, -1)
        sizes = [(2 * irrep[0] + 1) * channels for irrep, channels in self.messages.items()]
        by_irrep = dict(zip(self.messages, density.split(sizes, dim=3), strict=True))
        parts: dict[Irrep, list[torch.Tensor]] = {irrep: [] for irrep in self.outputs}
        for (irrep, degree), coupling, weight in zip(
            self.pairs, cast(Iterable[Coupling], self.couplings), self.weights, strict=True
        ):
            block = by_irrep[irrep][:, :, degree**2 : (degree + 1) ** 2]
            block = block.reshape(n_atoms, self.n_radial, -1, self.messages[irrep])
            coupled = coupling.matrix.T @ block
            repeats = torch.tensor([2 * degree + 1 for degree, _ in coupling.outputs], device=weight.device)
            values = (coupled * weight.repeat_interleave(repeats, dim=1)).sum(dim=1)
            for out, part in coupling.split(values):
                parts[out].append(part)
        return {irrep: torch.cat(values, dim=2) for irrep, values in parts.items()}


class Layer(torch.nn.Module):
    """What is learned of one layer: of its sum over neighbours, its products, its gate.

    irreps_in: `before`, the features of the layer before (none for the first layer, which takes the density of
    each element); irreps_out: `features`, those of the configuration that can arise.
    """

    def __init__(self, config: LayerConfig, before: Mapping[Irrep, int], n_species: int) -> None:
        super().__init__()
        wanted = irreps_of(config.features)
        width = wanted[0, 1]
        if config.order > 1 and set(wanted.values()) != {width}:
            raise ModelError(f"products need the same number of channels of every irrep, not {config.features!r}")
        self.first = not before
        if self.first:
            found = {(degree, (-1) ** degree): n_species * config.n_radial for degree in range(config.lmax + 1)}
        else:
            self.send = Mixing(before, irreps_of(config.messages), n_species)
            self.convolution = Convolution(config, self.send.outputs, list(wanted))
            self.remain = Mixing(before, wanted, n_species)
            found = self.convolution.outputs
        self.collect = Mixing(found, wanted, n_species)
        linear = self.collect.outputs if self.first else self.collect.outputs | self.remain.outputs
        self.bias = torch.nn.Parameter(torch.zeros(n_species, 1, width, dtype=torch.float32))
        # the left factor of a square is another mixture than the right one: 1o x 1o -> 1e needs two vectors
        self.left = Mixing(linear, linear, n_species) if config.order > 1 else None
        self.products, self.mixings = torch.nn.ModuleList(), torch.nn.ModuleList()
        left, self.features = linear, dict(linear)
        for _ in range(config.order - 1):
            products = Products(left, linear, wanted, width)
            mixing = Mixing(products.outputs, wanted, n_species)
            self.products.append(products)
            self.mixings.append(mixing)
            left = mixing.outputs
            self.features |= left
        self.gates = Mixing({(0, 1): width}, {(0, 1): sum(self.features.values()) - width}, n_species)

    def forward(self, features: Features, inputs: Inputs, layer: int, elements: Elements) -> Features:
        """Return the features after this layer, which is number `layer` of the network."""
        if self.first:
            degrees = range(math.isqrt(inputs.density.shape[1]))
            density = {(l, (-1) ** l): inputs.density[:, l**2 : (l + 1) ** 2] for l in degrees}  # noqa: E741
            linear = self.collect(density, elements)
        else:
            sent = self.send(features, elements)
            found = self.convolution(sent, inputs.neighbour[layer - 1], inputs.basis[layer - 1])
            linear = _add(self.collect(found, elements), self.remain(features, elements))
        linear[0, 1] = linear[0, 1] + self.bias[elements.species]
        total = linear
        left = linear if self.left is None else self.left(linear, elements)
        for products, mixing in zip(self.products, self.mixings, strict=True):
            left = mixing(products(left, linear), elements)
            total = _add(total, left)
        return self._gate(total, elements)

    def _gate(self, features: Features, elements: Elements) -> Features:
        """Scalars through SiLU; every other channel times the sigmoid of a mixture of the scalars."""
        scalars = features[0, 1]
        others = {irrep: count for irrep, count in self.features.items() if irrep != (0, 1)}
        gates = torch.sigmoid(self.gates({(0, 1): scalars}, elements)[0, 1]) if others else scalars[:, :, :0]
        gated = {(0, 1): torch.nn.functional.silu(scalars)}
        for irrep, gate in zip(others, gates.split(list(others.values()), dim=2), strict=True):
            gated[irrep] = features[irrep] * gate
        return gated


def _add(one: Features, other: Features) -> Features:
    """Sum of features, where an irrep may be missing from either."""
    total = dict(one)
    for irrep, values in other.items():
        total[irrep] = total[irrep] + values if irrep in total else values
    return total


class DensityNetwork(torch.nn.Module):
    """Atomic tensors of a frame, by layers in the density form.

    irreps_in: elements and positions; irreps_out: those of the target.

    Parameters
    ----------
    config : NetworkConfig
    numbers : sequence of int
        Atomic numbers of the elements that it knows.
    target : Target
        What it predicts.

    Attributes
    ----------
    scale, shift : Tensor, shape [n_species, n_components]
        The output is scale · network + shift, in the target's unit. To keep equivariance the scale must be the
        same for all components of an irrep, and the shift zero but for 0e.

    Raises
    ------
    ModelError
        If an irrep of the target cannot arise in the last layer.

    Notes
    -----
    Made with float32 weights; ``.double()`` is exactly equivariant as well, since constants are kept in float64.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, config: NetworkConfig, numbers: Sequence[int], target: Target) -> None:
        super().__init__()
        self.config, self.target = config, target
        self.numbers = tuple(int(number) for number in numbers)
        n_species = len(self.numbers)
        features: dict[Irrep, int] = {}
        layers = []
        for layer in config.layers:
            layers.append(Layer(layer, features, n_species))
            features = layers[-1].features
        self.layers = torch.nn.ModuleList(layers)
        self.outputs: dict[Irrep, int] = {}
        for count, degree, parity in target.irreps:
            self.outputs[degree, parity] = self.outputs.get((degree, parity), 0) + count
        missing = [
            f"{degree}{'e' if parity == 1 else 'o'}" for degree, parity in self.outputs.keys() - features.keys()
        ]
        if missing:
            raise ModelError(f"the last layer's features lack {', '.join(missing)}, which {target.name} has")
        self.readout = Mixing(features, self.outputs, n_species)
        n_components = len(target.basis)
        self.register_buffer("scale", torch.ones(n_species, n_components, dtype=torch.float32))
        self.register_buffer("shift", torch.zeros(n_species, n_components, dtype=torch.float32))

    def inputs(self, frame: Frame) -> Inputs:
        """Return what the network needs of a frame: geometry in float64, then cast to the network's dtype.

        Raises
        ------
        ModelError
            If the frame has an element that the network does not know.
        FrameError
            If two atoms are on top of each other.
        """
        species, dtype = self._species(frame), self.scale.dtype
        found = neighbours(frame, self.config.cutoff)
        lengths = np.linalg.norm(found.vectors, axis=1)
        degrees = list(range(max(layer.lmax for layer in self.config.layers) + 1))
        angular = o3.spherical_harmonics(degrees, torch.from_numpy(found.vectors), True, "component").numpy()
        pairs, slots = [], []
        for layer in self.config.layers:
            near = lengths < layer.cutoff
            radial = radial_basis(lengths[near], layer.cutoff, layer.n_radial)
            pairs.append(radial[:, :, None] * angular[near, None, : (layer.lmax + 1) ** 2])
            slots.append((found.centre[near], found.neighbour[near]))
        centre, neighbour = slots[0]
        density = _element_density(pairs[0], centre, species[neighbour], (len(frame), len(self.numbers)))
        padded = [_pad(table, *where, len(frame)) for table, where in zip(pairs[1:], slots[1:], strict=True)]
        return Inputs(
            torch.from_numpy(species),
            density.to(dtype),
            tuple(neighbour for neighbour, _ in padded),
            tuple(basis.to(dtype) for _, basis in padded),
        )

    def _species(self, frame: Frame) -> NDArray[np.int64]:
        table = {number: index for index, number in enumerate(self.numbers)}
        unknown = [int(number) for number in np.unique(frame.numbers) if int(number) not in table]
        if unknown:
            symbols = [frame.symbols[int(np.flatnonzero(frame.numbers == number)[0])] for number in unknown]
            raise ModelError(
                f"the network does not know {', '.join(symbols)}; it was made for atomic numbers {list(self.numbers)}"
            )
        return np.array([table[int(number)] for number in frame.numbers], dtype=np.int64)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """Return [n_atoms, n_components] in the order of `target.basis` and the target's unit."""
        elements = Elements(inputs.species, len(self.numbers))
        features: Features = {}
        for number, layer in enumerate(self.layers):
            features = layer(features, inputs, number, elements)
        read = self.readout(features, elements)
        used: dict[Irrep, int] = dict.fromkeys(read, 0)
        parts = []
        for count, degree, parity in self.target.irreps:
            start = used[degree, parity]
            used[degree, parity] = start + count
            # copies of an irrep one after the other, each with its 2l+1 components
            parts.append(read[degree, parity][:, :, start : start + count].transpose(1, 2).flatten(1))
        return torch.cat(parts, dim=1) * self.scale[inputs.species] + self.shift[inputs.species]
