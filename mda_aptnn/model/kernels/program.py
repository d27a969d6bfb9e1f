"""A density network as a list of steps on the workspace of a block of atoms, which the CPU kernels
carry out.

A block holds `BLOCK` atoms of one element. Features of an irrep stand in the workspace as [2l+1,
BLOCK, width], the channels padded with zeros to whole vectors, so that mixing channels is one
matrix product with the weights of the element, and a Clebsch-Gordan coupling is a sum of products
of long rows. What is constant for a model is computed here, once, in float64.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.model.density import Convolution, DensityNetwork, Layer
from mda_aptnn.model.irreps import Coupling, Irrep, Mixing, Products
from mda_aptnn.model.kernels.tiles import CHUNK, RADIAL, ROWS, VECTOR_BYTES

#: Atoms of a block; a multiple of the rows of a tile.
BLOCK = 2 * ROWS

#: What a step does.
FILL, MIX, MULTIPLY, ADD, SIGMOID, GATE, SILU = range(7)

Whole = NDArray[np.int64]


class LayerProgram(NamedTuple):
    """One layer. Places are positions in the workspace of a block.

    Attributes
    ----------
    cutoff : float
    lmax, n_radial : int
    n_species : int
    n_mixed : int
        Radial functions after mixing; 0 in the first layer, whose density is that of each element.
    width : int
        First layer: elements times padded radial functions, padded. Others: width of a message,
        padded.
    density : int
        Place of the first layer's density [(lmax+1)², BLOCK, width].
    harmonics : ndarray, shape [(lmax+1)²]
        Norms of the spherical harmonics.
    radial : ndarray, shape [n_members, rows · n_radial]
        Mixing of radial functions, rows (degree, mixed function).
    sums : ndarray, shape [n_sums, 4]
        Couplings of the density: first term, number of terms, place of the result in the first
        atom's row, step from atom to atom.
    term_places, term_values : ndarray
        Their terms: places in an atom's density, Clebsch-Gordan coefficients.
    steps : ndarray, shape [n_steps, 12]
        What follows, see `Builder`.
    indices : ndarray of int32
        Places of the inputs of a sum, from its start.
    weights : ndarray, shape [n_members, n_weights]
        All matrices, element after element.
    products : ndarray, shape [n_products, 4]
        Couplings of features: places of both factors and of the result, whether it is the first of
        its result.
    product_values : ndarray
        Their Clebsch-Gordan coefficients.
    before, features : ndarray, shape [2]
        Place and length of the features of the layer before and of this layer.
    sent : ndarray, shape [n_irreps, 5]
        Of what is sent to neighbours: place, width, channels, place in the message, 2l+1.
    message : int
        Width of a message that is sent, padded; 0 after the last layer.
    components : ndarray, shape [n_outputs, 2]
        After the last layer: place of each component of the target, step from atom to atom. Where
        members differ in their readout alone, the components of one after those of the other.
    scale, shift : ndarray, shape [n_members, n_species, n_outputs]
    workspace : int
        Numbers in the workspace.
    """

    cutoff: float
    lmax: int
    n_radial: int
    n_species: int
    n_mixed: int
    width: int
    density: int
    harmonics: NDArray[np.float64]
    radial: NDArray[Any]
    sums: Whole
    term_places: Whole
    term_values: NDArray[Any]
    steps: Whole
    indices: NDArray[np.int32]
    weights: NDArray[Any]
    products: Whole
    product_values: NDArray[Any]
    before: Whole
    features: Whole
    sent: Whole
    message: int
    components: Whole
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    workspace: int


@dataclasses.dataclass(frozen=True)
class Segment:
    """Features of one irrep in the workspace: [2l+1, BLOCK, width] from `place`, of which
    `channels` are used.
    """

    place: int
    degree: int
    channels: int
    width: int

    @property
    def rows(self) -> int:
        """Rows of all components."""
        return (2 * self.degree + 1) * BLOCK

    @property
    def length(self) -> int:
        """Numbers in the workspace."""
        return self.rows * self.width

    def component(self, order: int) -> int:
        """Return the place of one component."""
        return self.place + order * BLOCK * self.width


Segments = dict[Irrep, Segment]
#: Segments, and which of their channels (or of what follows them) are meant.
Sources = dict[Irrep, tuple[Segment, list[int]]]


def padded(count: int, multiple: int) -> int:
    """Return the next multiple."""
    return -(-count // multiple) * multiple


def programs(
    networks: Sequence[DensityNetwork], dtype: type[np.floating[Any]], *, shared_body: bool = False
) -> list[LayerProgram]:
    """Return the layers of a network, or of all members of a committee, as programs in `dtype`.

    Parameters
    ----------
    networks : sequence of DensityNetwork
        In float64; of one shape.
    dtype : numpy dtype
        Of features and weights.
    shared_body : bool
        Whether the networks differ in nothing but their readout: then there is one program with all
        readouts.
    """
    bodies = networks[:1] if shared_body else networks
    found = []
    for number in range(len(networks[0].layers)):
        members = [
            Builder(body, number, dtype).program(networks if shared_body else [body])
            for body in bodies
        ]
        weights: dict[str, Any] = {
            name: np.stack([getattr(member, name) for member in members])
            for name in ("radial", "weights", "scale", "shift")
        }
        found.append(members[0]._replace(**weights))
    return found


class Builder:
    """Writes the program of one layer.

    A step is a row of whole numbers: what it does, then

    - FILL: place, width, rows, weights, step of weights from element to element
    - MIX: place, step, first index (then those into the weights), terms, weights, step of weights,
      result, width, rows, add
    - MULTIPLY: first product, last product, length
    - ADD: place, result, length, add
    - SIGMOID: place, length
    - GATE: place of gates, length, place, components
    - SILU: place, length

    Parameters
    ----------
    network : DensityNetwork
        With weights in float64.
    number : int
        Which layer.
    dtype : numpy dtype
        Of features and weights.
    """

    def __init__(self, network: DensityNetwork, number: int, dtype: type[np.floating[Any]]) -> None:
        self.network, self.number, self.dtype = network, number, dtype
        self.layer = cast(Layer, network.layers[number])
        self.config = network.config.layers[number]
        self.n_species = len(network.numbers)
        self.lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
        self.size = self.n_weights = 0
        self.steps: list[tuple[int, ...]] = []
        self.indices: list[int] = []
        self.weights: list[NDArray[np.float64]] = []
        self.products: list[tuple[int, int, int, int]] = []
        self.product_values: list[float] = []
        self.sums: list[tuple[int, int, int, int]] = []
        self.terms: list[tuple[int, float]] = []
        self.written: set[int] = set()

    def program(self, readers: Sequence[DensityNetwork]) -> LayerProgram:
        """Return the program; after the last layer, the readouts of all `readers` follow.

        What belongs to a member has no axis of members yet.
        """
        layer, config = self.layer, self.config
        features = self.feature_segments()
        before: Segments = {}
        density, n_mixed, radial = 0, 0, np.zeros(0)
        if layer.first:
            sources = self.element_density()
            density, width = sources[0, 1][0].place, sources[0, 1][0].width
        else:
            before = Builder(self.network, self.number - 1, self.dtype).feature_segments(self.size)
            self.size += sum(segment.length for segment in before.values())
            width = self.message_width(layer.convolution)
            sources = self.couplings(layer.convolution)
            n_mixed, radial = layer.convolution.n_mixed, radial_mixing(layer.convolution)
        self.learned(sources, before, features)
        sent, components, message = [], [], 0
        if self.number < len(self.network.layers) - 1:
            following = cast(Layer, self.network.layers[self.number + 1])
            sent, message = (
                self.send(following, features),
                self.message_width(following.convolution),
            )
        else:
            for reader in readers:
                components += self.read(reader, features)
        scale, shift = (
            np.concatenate([getattr(reader, name).double().numpy() for reader in readers], axis=1)
            for name in ("scale", "shift")
        )
        term_places, term_values = zip(*self.terms, strict=True) if self.terms else ((), ())
        return LayerProgram(
            cutoff=config.cutoff,
            lmax=config.lmax,
            n_radial=config.n_radial,
            n_species=self.n_species,
            n_mixed=n_mixed,
            width=width,
            density=density,
            harmonics=harmonic_norms(config.lmax),
            radial=radial.astype(self.dtype),
            sums=_table(self.sums, 4),
            term_places=np.array(term_places, dtype=np.int64),
            term_values=np.array(term_values, dtype=self.dtype),
            steps=_table([step + (0,) * (12 - len(step)) for step in self.steps], 12),
            indices=np.array(self.indices, dtype=np.int32),
            weights=np.concatenate(self.weights).astype(self.dtype),
            products=_table(self.products, 4),
            product_values=np.array(self.product_values, dtype=self.dtype),
            before=extent(before),
            features=extent(features),
            sent=_table(sent, 5),
            message=message,
            components=_table(components, 2),
            scale=scale,
            shift=shift,
            # the last tile of a product may write beyond its result
            workspace=self.size + ROWS * BLOCK * self.lanes,
        )

    # places

    def reserve(self, length: int) -> int:
        """Return the place of `length` new numbers."""
        place, self.size = self.size, self.size + padded(length, self.lanes)
        return place

    def segment(self, irrep: Irrep, channels: int) -> Segment:
        """Return a new segment."""
        width = padded(channels, self.lanes)
        return Segment(self.reserve((2 * irrep[0] + 1) * BLOCK * width), irrep[0], channels, width)

    def segments(self, channels: Mapping[Irrep, int]) -> Segments:
        """Return a new segment for each irrep."""
        return {irrep: self.segment(irrep, count) for irrep, count in channels.items()}

    def feature_segments(self, start: int = 0) -> Segments:
        """Return the segments of the layer's features, one after the other from `start`."""
        self.size = start
        return self.segments(self.layer.features)

    def message_width(self, convolution: Convolution) -> int:
        """Return the width of a message: each irrep padded to chunks, all to vectors."""
        return padded(message_starts(convolution)[-1], self.lanes)

    # steps

    def matrix(self, values: NDArray[np.float64], width: int) -> tuple[int, int]:
        """Keep matrices [n_species, n, m], m padded to `width`; return their place and the step of
        elements.
        """
        wide = np.zeros((*values.shape[:2], width))
        wide[:, :, : values.shape[2]] = values
        self.weights.append(wide.ravel())
        place, self.n_weights = self.n_weights, self.n_weights + wide.size
        return place, wide[0].size

    def adds(self, result: Segment) -> int:
        """Whether a step adds to its result; the first to write does not."""
        add = int(result.place in self.written)
        self.written.add(result.place)
        return add

    def mix(
        self, source: Segment, index: Sequence[int], values: NDArray[np.float64], result: Segment
    ) -> None:
        """Result += source[index] times `values` [n_species, n, m]."""
        first, terms = len(self.indices), len(index)
        self.indices += [*index, *(result.width * term for term in range(terms))]
        place, step = self.matrix(values, result.width)
        rest = result.place, result.width, source.rows, self.adds(result)
        self.steps.append((MIX, source.place, source.width, first, terms, place, step, *rest))

    def mixing(self, mixing: Mixing, sources: Sources, results: Segments) -> None:
        """Carry out a `Mixing`."""
        for irrep, values in mixing_weights(mixing).items():
            self.mix(*sources[irrep], values, results[irrep])

    def learned(self, found: Sources, before: Segments, features: Segments) -> None:
        """Everything between the sum over neighbours and the features."""
        layer, scalars = self.layer, features[0, 1]
        bias = self.matrix(layer.bias.numpy().astype(np.float64), scalars.width)
        self.steps.append((FILL, scalars.place, scalars.width, scalars.rows, *bias))
        self.written.add(scalars.place)
        self.mixing(layer.collect, found, features)
        if not layer.first:
            self.mixing(layer.remain, channels_of(before), features)
        linear = {
            irrep: segment for irrep, segment in features.items() if segment.place in self.written
        }
        left = linear
        if layer.left is not None:
            left = self.segments(layer.left.outputs)
            self.mixing(layer.left, channels_of(linear), left)
        lower: list[Segments] = []
        pairs = zip(layer.products, layer.mixings, strict=True)
        for order, (products, mixing) in enumerate(pairs, start=2):
            squares, mixing = (
                self.multiply(cast(Products, products), left, linear),
                cast(Mixing, mixing),
            )
            if order < self.config.order:
                left = self.segments(mixing.outputs)
                self.mixing(mixing, squares, left)
                lower.append(left)
                continue
            # only now does nothing read the linear features any more, to which the others are added
            # in place
            for irrep, segment in itertools.chain(*(power.items() for power in lower)):
                result = features[irrep]
                add = self.adds(result)
                self.steps.append((ADD, segment.place, result.place, result.length, add))
            self.mixing(mixing, squares, features)
        self.gate(features)

    def multiply(self, products: Products, left: Segments, right: Segments) -> Sources:
        """Channel-wise products; those of an irrep stand one after the other."""
        width, channels = right[0, 1].width, right[0, 1].channels
        sources: Sources = {}
        for irrep, length in products.outputs.items():
            segment, count = self.segment(irrep, channels), length // channels
            self.reserve((count - 1) * segment.length)
            paths = itertools.product(range(count), range(channels))
            index = [path * segment.length + channel for path, channel in paths]
            sources[irrep] = segment, index
        start, used = len(self.products), dict.fromkeys(sources, 0)
        for first, second, coupling in products.terms:
            for irrep, values in coefficients(coupling, first[0], second[0]):
                segment = sources[irrep][0]
                base = used[irrep] * segment.length
                used[irrep] += 1
                for m3 in range(2 * irrep[0] + 1):
                    result = base + segment.component(m3)
                    for number, (m1, m2) in enumerate(np.argwhere(values[m3])):
                        factors = left[first].component(m1), right[second].component(m2)
                        self.products.append((*factors, result, int(number == 0)))
                        self.product_values.append(values[m3, m1, m2])
        self.steps.append((MULTIPLY, start, len(self.products), BLOCK * width))
        return sources

    def gate(self, features: Segments) -> None:
        """Gates, then what they gate, then the scalars."""
        scalars = features[0, 1]
        others = [segment for irrep, segment in features.items() if irrep != (0, 1)]
        if others:
            values = mixing_weights(self.layer.gates)[0, 1]
            ends = np.cumsum([segment.channels for segment in others])[:-1]
            gates = [self.segment((0, 1), segment.channels) for segment in others]
            for gate, part in zip(gates, np.split(values, ends, axis=2), strict=True):
                self.mix(scalars, range(scalars.channels), part, gate)
            self.steps.append((SIGMOID, gates[0].place, sum(gate.length for gate in gates)))
            for gate, segment in zip(gates, others, strict=True):
                n_components = 2 * segment.degree + 1
                self.steps.append((GATE, gate.place, gate.length, segment.place, n_components))
        self.steps.append((SILU, scalars.place, scalars.length))

    # sums over neighbours

    def element_density(self) -> Sources:
        """The first layer's density, which the kernels put there."""
        lmax, n_radial = self.config.lmax, self.config.n_radial
        step = padded(n_radial, RADIAL)
        width = padded(self.n_species * step, self.lanes)
        place = self.reserve(padded((lmax + 1) ** 2, ROWS) * BLOCK * width)
        index = [element * step + k for element in range(self.n_species) for k in range(n_radial)]
        return {
            (degree, (-1) ** degree): (
                Segment(place + degree**2 * BLOCK * width, degree, len(index), width),
                index,
            )
            for degree in range(lmax + 1)
        }

    def couplings(self, convolution: Convolution) -> Sources:
        """Couplings of an atom's density of messages, whose places are those that `chunks` of a
        tile leave.
        """
        n_mixed, messages = convolution.n_mixed, convolution.messages
        n_rows = padded(n_mixed * len(convolution.degrees) ** 2, ROWS)
        starts = dict(zip(messages, message_starts(convolution), strict=False))
        paths = [
            (irrep, degree, out, values)
            for irrep, degree, coupling in convolution.terms
            for out, values in coefficients(coupling, degree, irrep[0])
        ]
        lengths: collections.Counter[Irrep] = collections.Counter()
        for irrep, _, out, _ in paths:
            lengths[out] += n_mixed * padded(messages[irrep], CHUNK)
        found: Sources = {}
        for out, length in lengths.items():
            place = self.reserve((2 * out[0] + 1) * BLOCK * length)
            found[out] = Segment(place, out[0], length, length), []
        used = dict.fromkeys(lengths, 0)
        for irrep, degree, out, values in paths:
            segment, index = found[out]
            width = padded(messages[irrep], CHUNK)
            for mixed, channel in itertools.product(range(n_mixed), range(messages[irrep])):
                chunk, place = divmod(channel, CHUNK)
                index.append(used[out] + (chunk * n_mixed + mixed) * CHUNK + place)
            for m3, chunk in itertools.product(range(2 * out[0] + 1), range(width // CHUNK)):
                terms = np.argwhere(values[m3])
                result = segment.component(m3) + used[out] + chunk * n_mixed * CHUNK
                self.sums.append((len(self.terms), len(terms), result, segment.width))
                for m1, m2 in terms:
                    column = (starts[irrep] + m2 * width) // CHUNK + chunk
                    row = (degree**2 + m1) * n_mixed
                    self.terms.append(((column * n_rows + row) * CHUNK, values[m3, m1, m2]))
            used[out] += n_mixed * width
        return found

    # results

    def send(self, following: Layer, features: Segments) -> list[tuple[int, ...]]:
        """What is sent to neighbours for the next layer."""
        results = self.segments(following.send.outputs)
        self.mixing(following.send, channels_of(features), results)
        messages = following.convolution.messages
        return [
            (segment.place, segment.width, padded(channels, CHUNK), start, 2 * segment.degree + 1)
            for (irrep, channels), start in zip(
                messages.items(), message_starts(following.convolution), strict=False
            )
            for segment in [results[irrep]]
        ]

    def read(self, reader: DensityNetwork, features: Segments) -> list[tuple[int, int]]:
        """What is read out, in the order of the target's components."""
        results = self.segments(reader.readout.outputs)
        self.mixing(reader.readout, channels_of(features), results)
        used: collections.Counter[Irrep] = collections.Counter()
        components = []
        for count, degree, parity in reader.target.irreps:
            segment = results[degree, parity]
            for _ in range(count):
                copy = used[degree, parity]
                used[degree, parity] += 1
                places = [segment.component(m) + copy for m in range(2 * degree + 1)]
                components += [(place, segment.width) for place in places]
        return components


def message_starts(convolution: Convolution) -> list[int]:
    """Where each irrep of a message starts, padded to chunks; and where the last one ends."""
    sizes = [
        (2 * irrep[0] + 1) * padded(channels, CHUNK)
        for irrep, channels in convolution.messages.items()
    ]
    return [0, *itertools.accumulate(sizes)]


def channels_of(segments: Segments) -> Sources:
    """All channels of features, as sources of a mixing."""
    return {irrep: (segment, list(range(segment.channels))) for irrep, segment in segments.items()}


def extent(segments: Segments) -> Whole:
    """Place and length of segments that stand one after the other."""
    places = [segment.place for segment in segments.values()]
    return np.array([min(places, default=0), sum(s.length for s in segments.values())])


def _table(rows: Sequence[tuple[int, ...]], width: int) -> Whole:
    return np.array(rows, dtype=np.int64).reshape(-1, width)


def mixing_weights(mixing: Mixing) -> dict[Irrep, NDArray[np.float64]]:
    """Return the matrices of a mixing, [n_species, n, m] for each irrep, norms included."""
    return {
        irrep: weights.numpy().astype(np.float64) / math.sqrt(weights.shape[1])
        for irrep, weights in zip(mixing.irreps, mixing.of_elements(), strict=True)
    }


def radial_mixing(convolution: Convolution) -> NDArray[np.float64]:
    """Return the mixing of radial functions, rows (degree, mixed function) padded to tiles."""
    rows = np.concatenate([weights.double().numpy() for weights in convolution.radial])
    rows = rows / math.sqrt(convolution.n_radial)
    return np.pad(rows, ((0, -len(rows) % ROWS), (0, 0))).ravel()


def coefficients(
    coupling: Coupling, first: int, second: int
) -> list[tuple[Irrep, NDArray[np.float64]]]:
    """Return the Clebsch-Gordan coefficients [2l₃+1, 2l₁+1, 2l₂+1] of each output; what is zero is
    exactly zero.
    """
    matrix = coupling.matrix.reshape(2 * first + 1, 2 * second + 1, -1).permute(2, 0, 1)
    matrix = matrix.where(matrix.abs() > 1e-12, 0.0)
    return [(irrep, values.numpy()) for irrep, values in coupling.split(matrix)]


def harmonic_norms(lmax: int) -> NDArray[np.float64]:
    """Norms of the real spherical harmonics whose squares sum to 2l+1 for each degree l."""
    norms = []
    for degree in range(lmax + 1):
        for m in map(abs, range(-degree, degree + 1)):
            ratio = math.factorial(degree - m) / math.factorial(degree + m)
            norms.append(math.sqrt((2 * degree + 1) * ratio * (2 if m else 1)))
    return np.array(norms)
