"""The density form: the default network, in plain torch.

Every layer sums over neighbours first and applies what is learned afterwards:

    D_i[q, l₂m₂, l₁m₁, c] = Σ_j R_ql₂(r_ij) Y_l₂m₂(r̂_ij) h_j[l₁m₁, c],     R_ql(r) = Σ_k V_l[q, k]
    B_k(r) m_i[l₃m₃, c']         = Σ W[path, q, c, c'] Σ_{m₁m₂} C(l₁m₁ l₂m₂ | l₃m₃) D_i[q, l₂m₂,
    l₁m₁, c]

`B_k Y_lm` does not depend on weights and is computed once for a frame; D_i is one matrix product
per atom. In the first layer h_j is the element of the neighbour, so that the whole density is
computed once for a frame. Products of an atom's features with themselves add body order at the cost
of an atom, not of a pair.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch

from mda_aptnn.elements import SYMBOLS
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.architectures import (
    LARGEST_CUTOFF,
    Architecture,
    TensorNetwork,
    check_ranges,
)
from mda_aptnn.model.inputs import Inputs, Shell, frame_inputs, species_of
from mda_aptnn.model.irreps import (
    LARGEST_DEGREE,
    Coupling,
    Features,
    Irrep,
    Kinds,
    Mixing,
    Products,
    add,
    coupled,
    irreps_of,
    name_of,
)
from mda_aptnn.tensors import AnyTarget


@dataclasses.dataclass(frozen=True)
class LayerConfig:
    """One sum over neighbours and what follows it.

    Attributes
    ----------
    features : str
        Irreps of an atom after this layer.
    messages : str
        Irreps that neighbours send into this layer, by a linear map from the features of the layer
        before. They set the cost of the sum over neighbours. Empty in the first layer, where
        neighbours send their element.
    cutoff : float
        Å. The number of neighbours grows with its cube.
    n_radial : int
        Number of radial functions B_k: spherical Bessel functions that go smoothly to zero at the
        cutoff.
    n_mixed : int
        Number of learned mixtures of the B_k for each degree, which the sum over neighbours is
        taken of. The first layer, where that sum is cheap, takes the B_k themselves.
    lmax : int
        Largest degree of the spherical harmonics Y_lm of the density.
    order : int
        Largest power of the features in the products of an atom with itself: 1 none, 2 squares, 3
        cubes.
    factors : str
        Irreps (without numbers of channels) whose features are multiplied; all if empty. Others
        arise in products and in the sum over neighbours, but are no factors: what large l are
        needed for is then cheap.
    """

    features: str
    messages: str = ""
    cutoff: float = 5.0
    n_radial: int = 8
    n_mixed: int = 4
    lmax: int = 2
    order: int = 2
    factors: str = ""

    @property
    def shell(self) -> Shell:
        """What its geometry depends on."""
        return self.cutoff, self.n_radial, self.lmax

    def __post_init__(self) -> None:
        check_ranges(
            "a layer",
            self,
            cutoff=(0.0, LARGEST_CUTOFF),
            n_radial=(1, math.inf),
            n_mixed=(1, math.inf),
            lmax=(0, LARGEST_DEGREE),
            order=(1, 6),
        )
        if (0, 1) not in irreps_of(self.features):
            raise ModelError(
                f"features {self.features!r} of a layer need scalars (0e), which gate the others"
            )
        if irreps_of(self.factors).keys() - irreps_of(self.features).keys():
            raise ModelError(
                f"factors {self.factors!r} of a layer must be among its features {self.features!r}"
            )


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Shape of a `DensityNetwork`.

    Attributes
    ----------
    layers : tuple of LayerConfig
        Dictionaries of their fields will do, so that a configuration can come from JSON or TOML.
    n_kinds : int
        Elements are combinations of so many kinds of atoms, which share what they learn: for more
        elements than have labels enough of their own. 0: each has weights of its own. The last
        layer always has.
    """

    layers: tuple[LayerConfig, ...] = (
        LayerConfig(features="24x0e+24x1o+24x2e", cutoff=6.0, order=3),
        LayerConfig(
            features="24x0e+24x1o+24x1e+24x2e",
            messages="16x0e+12x1o+8x2e",
            cutoff=4.5,
            n_radial=6,
            n_mixed=4,
        ),
    )
    n_kinds: int = 0

    def __post_init__(self) -> None:
        check_ranges("a network", self, n_kinds=(0, len(SYMBOLS)))
        try:
            layers = tuple(
                x if isinstance(x, LayerConfig) else LayerConfig(**x) for x in self.layers
            )
        except TypeError as error:
            raise ModelError(f"the network's layers cannot be read: {error}") from error
        object.__setattr__(self, "layers", layers)
        if not 1 <= len(layers) <= 10:
            raise ModelError(f"a network needs at least one layer and up to 10, not {len(layers)}")
        if layers[0].messages or not all(layer.messages for layer in layers[1:]):
            raise ModelError("every layer but the first needs messages, and the first takes none")

    @property
    def cutoff(self) -> float:
        """Largest cutoff of the layers in Å."""
        return max(layer.cutoff for layer in self.layers)

    @property
    def reach(self) -> float:
        """Distance in Å from which an atom has an influence on another, through all layers."""
        return sum(layer.cutoff for layer in self.layers)


def default_network(target: AnyTarget) -> NetworkConfig:
    """Return the default network for a target.

    The last layer is given the irreps that the target has and polar tensors have not, with as many
    channels as the others. They are no factors of products, so that they cost little.
    """
    config = NetworkConfig()
    last = config.layers[-1]
    known = irreps_of(last.features)
    missing = sorted({(degree, parity) for _, degree, parity in target.irreps} - known.keys())
    if not missing:
        return config
    more = "+".join(f"{known[0, 1]}x{name_of(irrep)}" for irrep in missing)
    last = dataclasses.replace(
        last,
        features=f"{last.features}+{more}",
        factors="+".join(name_of(irrep) for irrep in known),
    )
    return NetworkConfig((*config.layers[:-1], last))


class Convolution(torch.nn.Module):
    """Sum over neighbours of R_q(r) Y_lm ⊗ messages, coupled; R_q are mixtures of the B_k, others
    for each l.

    irreps_in: `messages`; irreps_out: `outputs`, for every path to one of `keep` the messages'
    channels times `n_mixed`.
    """

    def __init__(
        self, config: LayerConfig, messages: Mapping[Irrep, int], keep: Sequence[Irrep]
    ) -> None:
        super().__init__()
        self.messages, self.n_radial, self.n_mixed = dict(messages), config.n_radial, config.n_mixed
        self.degrees = range(config.lmax + 1)
        terms = [
            (irrep, degree, Coupling((degree, (-1) ** degree), irrep, keep))
            for irrep in messages
            for degree in self.degrees
        ]
        #: Irrep of the message, degree of Y and their coupling.
        self.terms = [term for term in terms if term[2].outputs]
        self.couplings = torch.nn.ModuleList(coupling for _, _, coupling in self.terms)
        self.radial = torch.nn.ParameterList(
            torch.randn(config.n_mixed, config.n_radial, dtype=torch.float32) for _ in self.degrees
        )
        self.outputs: dict[Irrep, int] = collections.Counter()
        for irrep, _, coupling in self.terms:
            for out in coupling.outputs:
                self.outputs[out] += messages[irrep] * config.n_mixed

    def forward(self, messages: Features, neighbour: torch.Tensor, basis: torch.Tensor) -> Features:
        """Return sums [2l+1, n_atoms, paths · n_mixed · channels] for each irrep."""
        n_atoms, n_slots = neighbour.shape
        sent = torch.cat(
            [messages[irrep].transpose(0, 1).flatten(1) for irrep in self.messages], dim=1
        )
        density = self._mixed(basis) @ sent.index_select(0, neighbour.flatten()).view(
            n_atoms, n_slots, sent.shape[1]
        )
        sizes = [(2 * irrep[0] + 1) * channels for irrep, channels in self.messages.items()]
        rows = [self.n_mixed * (2 * degree + 1) for degree in self.degrees]
        blocks = {}
        for irrep, part in zip(self.messages, density.split(sizes, dim=2), strict=True):
            for degree, block in zip(self.degrees, part.split(rows, dim=1), strict=True):
                block = block.unflatten(1, (self.n_mixed, -1)).unflatten(3, (2 * irrep[0] + 1, -1))
                # atom, q, m of Y, m of the message, channel -> both m, atom, q and channel
                blocks[irrep, degree] = block.permute(2, 3, 0, 1, 4).flatten(3).flatten(0, 1)
        return coupled((coupling, blocks[irrep, degree]) for irrep, degree, coupling in self.terms)

    def _mixed(self, basis: torch.Tensor) -> torch.Tensor:
        """Return R_q(r) Y_lm [n_atoms, Σ_l n_mixed · (2l+1), n_slots]."""
        n_atoms, _, n_slots = basis.shape
        widths = [2 * degree + 1 for degree in self.degrees]
        tables = basis.view(n_atoms, self.n_radial, sum(widths), n_slots).split(widths, dim=2)
        scale = math.sqrt(self.n_radial)
        mixed = [
            (weights / scale @ table.flatten(2)).view(n_atoms, self.n_mixed * width, n_slots)
            for weights, table, width in zip(self.radial, tables, widths, strict=True)
        ]
        return torch.cat(mixed, dim=1)


class Layer(torch.nn.Module):
    """What is learned of one layer: of its sum over neighbours, its products, its gate.

    irreps_in: `before`, the features of the layer before (none for the first layer, which takes the
    density of each element); irreps_out: `features`, those of the configuration that can arise.
    """

    def __init__(
        self,
        config: LayerConfig,
        before: Mapping[Irrep, int],
        n_species: int,
        kinds: Kinds | None = None,
    ) -> None:
        super().__init__()
        own = n_species, kinds
        wanted = irreps_of(config.features)
        width = wanted[0, 1]
        if config.order > 1 and set(wanted.values()) != {width}:
            raise ModelError(
                f"products need the same number of channels of every irrep, not {config.features!r}"
            )
        self.first = not before
        if self.first:
            degrees = range(config.lmax + 1)
            found = {(degree, (-1) ** degree): n_species * config.n_radial for degree in degrees}
        else:
            self.send = Mixing(before, irreps_of(config.messages), *own)
            self.convolution = Convolution(config, self.send.outputs, list(wanted))
            self.remain = Mixing(before, wanted, *own)
            found = self.convolution.outputs
        self.collect = Mixing(found, wanted, *own, of_neighbours=self.first)
        linear = self.collect.outputs if self.first else self.collect.outputs | self.remain.outputs
        factors = irreps_of(config.factors) or wanted
        self.factors = {irrep: count for irrep, count in linear.items() if irrep in factors}
        self.bias = torch.nn.Parameter(torch.zeros(n_species, 1, width, dtype=torch.float32))
        # the left factor of a square is another mixture than the right one: 1o x 1o -> 1e needs two
        # vectors
        self.left = Mixing(linear, self.factors, *own) if config.order > 1 else None
        self.products, self.mixings = torch.nn.ModuleList(), torch.nn.ModuleList()
        left, self.features = self.factors, dict(linear)
        for _ in range(config.order - 1):
            lefts = [irrep for irrep in left if irrep in factors]
            products = Products(lefts, self.factors, wanted, width)
            mixing = Mixing(products.outputs, wanted, *own)
            self.products.append(products)
            self.mixings.append(mixing)
            left = mixing.outputs
            self.features |= left
        n_gates = sum(self.features.values()) - width
        self.gates = Mixing({(0, 1): width}, {(0, 1): n_gates}, *own)

    def forward(
        self, features: Features, inputs: Inputs, layer: int, counts: list[int]
    ) -> Features:
        """Return the features after this layer, which is number `layer` of the network."""
        if self.first:
            density = {
                (degree, (-1) ** degree): inputs.density[degree**2 : (degree + 1) ** 2]
                for degree in range(math.isqrt(len(inputs.density)))
            }
            linear = self.collect(density, counts)
        else:
            sent = self.send(features, counts)
            found = self.convolution(sent, inputs.neighbour[layer - 1], inputs.basis[layer - 1])
            linear = add(self.collect(found, counts), self.remain(features, counts))
        linear[0, 1] = linear[0, 1] + self.bias[inputs.species, 0]
        total = linear
        left = linear if self.left is None else self.left(linear, counts)
        for products, mixing in zip(self.products, self.mixings, strict=True):
            left = mixing(products(left, linear), counts)
            total = add(total, left)
        return self._gate(total, counts)

    def _gate(self, features: Features, counts: list[int]) -> Features:
        """Scalars through SiLU; other channels times the sigmoid of a mixture of the scalars."""
        scalars = features[0, 1]
        gated = {(0, 1): torch.nn.functional.silu(scalars)}
        others = {irrep: count for irrep, count in self.features.items() if irrep != (0, 1)}
        if not others:
            return gated
        gates = torch.sigmoid(self.gates({(0, 1): scalars}, counts)[0, 1])
        for irrep, gate in zip(others, gates.split(list(others.values()), dim=2), strict=True):
            gated[irrep] = features[irrep] * gate
        return gated


def _of_elements(values: torch.Tensor, rows: Sequence[int | None], axis: int) -> torch.Tensor:
    """Rows of an axis, one for each element; the mean of all where there is none."""
    mean = values.mean(dim=axis, keepdim=True)
    parts = [mean if row is None else values.narrow(axis, row, 1) for row in rows]
    return torch.cat(parts, dim=axis)


class DensityNetwork(TensorNetwork):
    """Atomic tensors of a frame, by layers in the density form.

    irreps_in: elements and positions; irreps_out: those of the target.

    Parameters
    ----------
    config : NetworkConfig
    numbers : sequence of int
        Atomic numbers of the elements that it knows.
    target : Target or JointTarget
        What it predicts.

    Attributes
    ----------
    scale, shift : Tensor, shape [n_species, n_components]
        See `TensorNetwork`.

    Raises
    ------
    ModelError
        If an irrep of the target cannot arise in the last layer.

    Notes
    -----
    Made with float32 weights; ``.double()`` is exactly equivariant as well, since constants are
    kept in float64.
    """

    def __init__(self, config: NetworkConfig, numbers: Sequence[int], target: AnyTarget) -> None:
        super().__init__(config, numbers, target)
        n_species = len(self.numbers)
        self.kinds = Kinds(n_species, config.n_kinds) if config.n_kinds else None
        features: dict[Irrep, int] = {}
        layers = []
        for layer in config.layers:
            layers.append(Layer(layer, features, n_species, self.kinds))
            features = layers[-1].features
        self.layers = torch.nn.ModuleList(layers)
        self.outputs: dict[Irrep, int] = collections.Counter()
        for count, degree, parity in target.irreps:
            self.outputs[degree, parity] += count
        missing = [name_of(irrep) for irrep in sorted(self.outputs.keys() - features.keys())]
        if missing:
            raise ModelError(
                f"the last layer's features lack {', '.join(missing)}, which {target.name} has"
            )
        self.readout = Mixing(features, self.outputs, n_species)

    def take_over(self, other: DensityNetwork) -> None:
        """Begin with the weights of another network; see `protocol.Network`.

        An element that the other does not know begins as the mean of those that it knows. The last
        layer stays new where the targets are others.
        """
        rows = [other.numbers.index(z) if z in other.numbers else None for z in self.numbers]
        known = [k for k, row in enumerate(rows) if row is not None]
        found = other.state_dict()
        own = ("readout.", "scale", "shift") if self.target != other.target else ()
        for name, values in self.state_dict().items():
            if name.startswith(own):
                continue
            old = found[name]
            of_element = name.startswith(("kinds.", "readout.")) or name.endswith("bias")
            if name.startswith("layers.0.collect."):
                # its inputs are densities of each element, whose number they are divided by
                if self.kinds is None:
                    of_neighbours = old.unflatten(1, (len(other.numbers), -1))
                    old = _of_elements(of_neighbours, rows, 1).flatten(1, 2)
                old = old * math.sqrt(len(self.numbers) / len(other.numbers))
            if name in ("scale", "shift"):
                values[known] = old[[rows[k] for k in known]]
            elif of_element or (self.kinds is None and ".weights." in name):
                values.copy_(_of_elements(old, rows, 0))
            else:
                values.copy_(old)

    def inputs(self, frame: Frame) -> Inputs:
        """Return what the network needs of a frame: geometry in float64, then cast to the network's
        dtype.

        Raises
        ------
        ModelError
            If the frame has an element that the network does not know.
        FrameError
            If two atoms are on top of each other.
        """
        shells = [layer.shell for layer in self.config.layers]
        species = species_of(frame, self.numbers, self.scale.device)
        return frame_inputs(frame, species, len(self.numbers), shells, self.scale.dtype)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """Return [n_atoms, n_components] in the target's order of components and in its unit."""
        return self.read(self.body(inputs), inputs)

    def body(self, inputs: Inputs) -> Features:
        """Return the features after the last layer, of atoms in the order of their elements."""
        counts = self._counts(inputs)
        features: Features = {}
        for number, layer in enumerate(self.layers):
            features = layer(features, inputs, number, counts)
        return features

    def _counts(self, inputs: Inputs) -> list[int]:
        counts: list[int] = torch.bincount(inputs.species, minlength=len(self.numbers)).tolist()
        return counts

    def read(self, features: Features, inputs: Inputs) -> torch.Tensor:
        """Return what `forward` does, from the features of `body`."""
        read = self.readout(features, self._counts(inputs))
        used: dict[Irrep, int] = dict.fromkeys(read, 0)
        parts = []
        for count, degree, parity in self.target.irreps:
            start, stop = used[degree, parity], used[degree, parity] + count
            used[degree, parity] = stop
            # copies of an irrep one after the other, each with its 2l+1 components
            parts.append(read[degree, parity][:, :, start:stop].permute(1, 2, 0).flatten(1))
        outputs = torch.cat(parts, dim=1) * self.scale[inputs.species] + self.shift[inputs.species]
        return outputs[inputs.places]


ARCHITECTURE = Architecture(
    "density", NetworkConfig, DensityNetwork, ("cpu", "torch"), default_network
)
