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
import math
from collections.abc import Iterable, Mapping, Sequence
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
    readers = networks if shared_body else [None]
    found = []
    for number in range(len(networks[0].layers)):
        members = [
            Builder(body, number, dtype).program([reader or body for reader in readers])
            for body in bodies
        ]
        weights: dict[str, Any] = {
            name: np.concatenate([getattr(member, name) for member in members])
            for name in ("radial", "weights", "scale", "shift")
        }
        found.append(members[0]._replace(**weights))
    return found


class Builder:
    """Writes the program of one layer.

    A step is a row of whole numbers: what it does, then

    ========
    ========================================================================================== FILL
    place, width, rows, weights, step of weights from element to element MIX       place, step,
    first index (then those into the weights), terms, weights, step of weights, result,
              width, rows, add
    MULTIPLY  first product, last product, length ADD       place, result, length, add SIGMOID
    place, length GATE      place of gates, length, place, components SILU      place, length
    ========
    ==========================================================================================

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
        self.size = 0
        self.steps: list[tuple[int, ...]] = []
        self.indices: list[int] = []
        self.weights: list[NDArray[np.float64]] = []
        self.n_weights = 0
        self.products: list[tuple[int, int, int, int]] = []
        self.product_values: list[float] = []
        self.sums: list[tuple[int, int, int, int]] = []
        self.terms: list[tuple[int, float]] = []
        self.written: set[int] = set()

    def program(self, readers: Sequence[DensityNetwork]) -> LayerProgram:
        """Return the program; after the last layer, the readouts of all `readers` follow."""
        layer, config = self.layer, self.config
        last = self.number == len(self.network.layers) - 1
        following = None if last else cast(Layer, self.network.layers[self.number + 1])
        harmonics = (config.lmax + 1) ** 2
        before: Segments = {}
        density = 0
        features = self.feature_segments()
        if layer.first:
            step = padded(config.n_radial, RADIAL)
            width = padded(self.n_species * step, self.lanes)
            density = self.reserve(padded(harmonics, ROWS) * BLOCK * width)
            index = [
                element * step + k
                for element in range(self.n_species)
                for k in range(config.n_radial)
            ]
            sources = {
                (degree, (-1) ** degree): (
                    Segment(density + degree**2 * BLOCK * width, degree, len(index), width),
                    index,
                )
                for degree in range(config.lmax + 1)
            }
            radial = np.zeros(0)
        else:
            before = Builder(self.network, self.number - 1, self.dtype).feature_segments(
                start=self.size
            )
            self.size += sum(segment.length for segment in before.values())
            width = self.message_width(layer.convolution.messages)
            sources = self.couplings(layer.convolution)
            radial = radial_mixing(layer.convolution)
        self.learned(sources, before, features)
        sent, components = [], []
        if following is not None:
            sent = self.send(following, features)
        else:
            for reader in readers:
                components += self.read(reader, features)
        return LayerProgram(
            cutoff=config.cutoff,
            lmax=config.lmax,
            n_radial=config.n_radial,
            n_species=self.n_species,
            n_mixed=0 if layer.first else layer.convolution.n_mixed,
            width=width,
            density=density,
            harmonics=harmonic_norms(config.lmax),
            radial=radial.astype(self.dtype)[None],
            sums=np.array(self.sums, dtype=np.int64).reshape(-1, 4),
            term_places=np.array([place for place, _ in self.terms], dtype=np.int64),
            term_values=np.array([value for _, value in self.terms], dtype=self.dtype),
            steps=np.array([step + (0,) * (12 - len(step)) for step in self.steps], dtype=np.int64),
            indices=np.array(self.indices, dtype=np.int32),
            weights=np.concatenate(self.weights).astype(self.dtype)[None],
            products=np.array(self.products, dtype=np.int64).reshape(-1, 4),
            product_values=np.array(self.product_values, dtype=self.dtype),
            before=extent(before),
            features=extent(features),
            sent=np.array(sent, dtype=np.int64).reshape(-1, 5),
            message=self.message_width(following.convolution.messages)
            if following is not None
            else 0,
            components=np.array(components, dtype=np.int64).reshape(-1, 2),
            scale=np.concatenate(
                [reader.scale.numpy().astype(np.float64) for reader in readers], axis=1
            )[None],
            shift=np.concatenate(
                [reader.shift.numpy().astype(np.float64) for reader in readers], axis=1
            )[None],
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

    def feature_segments(self, start: int = 0) -> Segments:
        """Return the segments of the layer's features, one after the other from `start`."""
        self.size = start
        return {
            irrep: self.segment(irrep, channels) for irrep, channels in self.layer.features.items()
        }

    def message_width(self, messages: Mapping[Irrep, int]) -> int:
        """Return the width of a message: each irrep padded to chunks, all to vectors."""
        return padded(
            sum(
                (2 * irrep[0] + 1) * padded(channels, CHUNK) for irrep, channels in messages.items()
            ),
            self.lanes,
        )

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

    def mix(
        self, source: Segment, index: Sequence[int], values: NDArray[np.float64], result: Segment
    ) -> None:
        """Result += source[index] times `values` [n_species, n, m]; the first to write does not
        add.
        """
        place, step = self.matrix(values, result.width)
        first = len(self.indices)
        self.indices += index
        self.indices += [result.width * term for term in range(len(index))]
        add = int(result.place in self.written)
        self.written.add(result.place)
        rest = result.place, result.width, source.rows, add
        self.steps.append((MIX, source.place, source.width, first, len(index), place, step, *rest))

    def mixing(
        self, mixing: Mixing, sources: Mapping[Irrep, tuple[Segment, list[int]]], results: Segments
    ) -> None:
        """Carry out a `Mixing`."""
        for irrep, values in mixing_weights(mixing).items():
            self.mix(*sources[irrep], values, results[irrep])

    def learned(
        self, found: Mapping[Irrep, tuple[Segment, list[int]]], before: Segments, features: Segments
    ) -> None:
        """Everything between the sum over neighbours and the features."""
        layer, scalars = self.layer, features[0, 1]
        bias = layer.bias.numpy().astype(np.float64)
        self.steps.append(
            (FILL, scalars.place, scalars.width, scalars.rows, *self.matrix(bias, scalars.width))
        )
        self.written.add(scalars.place)
        self.mixing(layer.collect, found, features)
        if not layer.first:
            self.mixing(layer.remain, channels_of(before), features)
        linear = {
            irrep: features[irrep] for irrep in features if features[irrep].place in self.written
        }
        left = linear
        if layer.left is not None:
            left = {
                irrep: self.segment(irrep, channels)
                for irrep, channels in layer.left.outputs.items()
            }
            self.mixing(layer.left, channels_of(linear), left)
        lower: list[Segments] = []
        for order, (products, mixing) in enumerate(
            zip(layer.products, layer.mixings, strict=True), start=2
        ):
            squares = self.multiply(cast(Products, products), left, linear)
            if order < self.config.order:
                left = {
                    irrep: self.segment(irrep, count)
                    for irrep, count in cast(Mixing, mixing).outputs.items()
                }
                self.mixing(cast(Mixing, mixing), squares, left)
                lower.append(left)
                continue
            # only now does nothing read the linear features any more, to which the others are added
            # in place
            for power in lower:
                for irrep, segment in power.items():
                    self.add(segment, features[irrep])
            self.mixing(cast(Mixing, mixing), squares, features)
        self.gate(features)

    def add(self, source: Segment, result: Segment) -> None:
        """Result += source; the first to write does not add."""
        add = int(result.place in self.written)
        self.written.add(result.place)
        self.steps.append((ADD, source.place, result.place, result.length, add))

    def multiply(
        self, products: Products, left: Segments, right: Segments
    ) -> dict[Irrep, tuple[Segment, list[int]]]:
        """Channel-wise products; those of an irrep stand one after the other."""
        found = collections.Counter(
            irrep
            for coupling in cast(Iterable[Coupling], products.couplings)
            for irrep in coupling.outputs
        )
        sources, used = {}, dict.fromkeys(found, 0)
        channels = right[0, 1].channels
        for irrep, count in found.items():
            segment = self.segment(irrep, channels)
            self.reserve((count - 1) * segment.length)
            index = [
                path * segment.length + channel
                for path in range(count)
                for channel in range(channels)
            ]
            sources[irrep] = segment, index
        start = len(self.products)
        for (first, second), coupling in zip(
            products.pairs, cast(Iterable[Coupling], products.couplings), strict=True
        ):
            for irrep, values in coefficients(coupling, first[0], second[0]):
                segment = sources[irrep][0]
                base = segment.place + used[irrep] * segment.length
                used[irrep] += 1
                for m3 in range(2 * irrep[0] + 1):
                    for number, (m1, m2) in enumerate(np.argwhere(values[m3])):
                        result = base + m3 * BLOCK * segment.width
                        self.products.append(
                            (
                                left[first].component(m1),
                                right[second].component(m2),
                                result,
                                int(number == 0),
                            )
                        )
                        self.product_values.append(values[m3, m1, m2])
        self.steps.append((MULTIPLY, start, len(self.products), BLOCK * right[0, 1].width))
        return sources

    def gate(self, features: Segments) -> None:
        """Gates, then what they gate, then the scalars."""
        scalars = features[0, 1]
        others = [segment for irrep, segment in features.items() if irrep != (0, 1)]
        if others:
            values = mixing_weights(self.layer.gates)[0, 1]
            parts = np.split(
                values, np.cumsum([segment.channels for segment in others])[:-1], axis=2
            )
            gates = [self.segment((0, 1), segment.channels) for segment in others]
            for gate, part in zip(gates, parts, strict=True):
                self.mix(scalars, range(scalars.channels), part, gate)
            self.steps.append((SIGMOID, gates[0].place, sum(gate.length for gate in gates)))
            for gate, segment in zip(gates, others, strict=True):
                self.steps.append(
                    (GATE, gate.place, gate.length, segment.place, 2 * segment.degree + 1)
                )
        self.steps.append((SILU, scalars.place, scalars.length))

    def couplings(self, convolution: Convolution) -> dict[Irrep, tuple[Segment, list[int]]]:
        """Couplings of an atom's density of messages, whose place are those that `chunks` of a tile
        leave.
        """
        n_mixed, n_rows = (
            convolution.n_mixed,
            padded(convolution.n_mixed * len(convolution.degrees) ** 2, ROWS),
        )
        start, starts = 0, {}
        for irrep, channels in convolution.messages.items():
            starts[irrep] = start
            start += (2 * irrep[0] + 1) * padded(channels, CHUNK)
        paths = [
            (irrep, degree, out, values)
            for (irrep, degree), coupling in zip(
                convolution.pairs, cast(Iterable[Coupling], convolution.couplings), strict=True
            )
            for out, values in coefficients(coupling, degree, irrep[0])
        ]
        lengths: collections.Counter[Irrep] = collections.Counter()
        for irrep, _, out, _ in paths:
            lengths[out] += n_mixed * padded(convolution.messages[irrep], CHUNK)
        found = {}
        for out, length in lengths.items():
            place = self.reserve((2 * out[0] + 1) * BLOCK * length)
            found[out] = Segment(place, out[0], length, length), cast(list[int], [])
        used = dict.fromkeys(lengths, 0)
        for irrep, degree, out, values in paths:
            segment, index = found[out]
            channels = convolution.messages[irrep]
            width = padded(channels, CHUNK)
            index += [
                used[out] + (channel // CHUNK * n_mixed + mixed) * CHUNK + channel % CHUNK
                for mixed in range(n_mixed)
                for channel in range(channels)
            ]
            for m3 in range(2 * out[0] + 1):
                terms = np.argwhere(values[m3])
                for chunk in range(width // CHUNK):
                    result = segment.component(m3) + used[out] + chunk * n_mixed * CHUNK
                    self.sums.append((len(self.terms), len(terms), result, segment.width))
                    for m1, m2 in terms:
                        column = (starts[irrep] + m2 * width) // CHUNK + chunk
                        row = (degree**2 + m1) * n_mixed
                        self.terms.append(((column * n_rows + row) * CHUNK, values[m3, m1, m2]))
            used[out] += n_mixed * width
        return found

    def send(self, following: Layer, features: Segments) -> list[tuple[int, int, int, int, int]]:
        """What is sent to neighbours for the next layer."""
        results = {
            irrep: self.segment(irrep, count) for irrep, count in following.send.outputs.items()
        }
        self.mixing(following.send, channels_of(features), results)
        sent, start = [], 0
        for irrep, channels in following.convolution.messages.items():
            segment, width = results[irrep], padded(channels, CHUNK)
            sent.append((segment.place, segment.width, width, start, 2 * irrep[0] + 1))
            start += (2 * irrep[0] + 1) * width
        return sent

    def read(self, reader: DensityNetwork, features: Segments) -> list[tuple[int, int]]:
        """What is read out, in the order of the target's components."""
        readout, target = reader.readout, reader.target
        results = {irrep: self.segment(irrep, count) for irrep, count in readout.outputs.items()}
        self.mixing(readout, channels_of(features), results)
        used = dict.fromkeys(results, 0)
        components = []
        for count, degree, parity in target.irreps:
            segment = results[degree, parity]
            for copy in range(used[degree, parity], used[degree, parity] + count):
                components += [
                    (segment.component(m) + copy, segment.width) for m in range(2 * degree + 1)
                ]
            used[degree, parity] += count
        return components


def channels_of(segments: Segments) -> dict[Irrep, tuple[Segment, list[int]]]:
    """All channels of features, as sources of a mixing."""
    return {irrep: (segment, list(range(segment.channels))) for irrep, segment in segments.items()}


def extent(segments: Segments) -> Whole:
    """Place and length of segments that stand one after the other."""
    if not segments:
        return np.zeros(2, np.int64)
    return np.array(
        [min(s.place for s in segments.values()), sum(s.length for s in segments.values())]
    )


def mixing_weights(mixing: Mixing) -> dict[Irrep, NDArray[np.float64]]:
    """Return the matrices of a mixing, [n_species, n, m] for each irrep, norms included."""
    return {
        irrep: weights.numpy().astype(np.float64) / math.sqrt(weights.shape[1])
        for irrep, weights in zip(mixing.irreps, mixing.weights, strict=True)
    }


def radial_mixing(convolution: Convolution) -> NDArray[np.float64]:
    """Return the mixing of radial functions, rows (degree, mixed function) padded to tiles, flat."""
    rows = np.concatenate(
        [weights.numpy() / math.sqrt(convolution.n_radial) for weights in convolution.radial]
    )
    return np.pad(rows.astype(np.float64), ((0, -len(rows) % ROWS), (0, 0))).ravel()


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
        for order in range(-degree, degree + 1):
            m = abs(order)
            ratio = math.factorial(degree - m) / math.factorial(degree + m)
            norms.append(math.sqrt((2 * degree + 1) * ratio * (2 if m else 1)))
    return np.array(norms)
