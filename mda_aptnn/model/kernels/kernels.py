"""The function of a density network as compiled kernels: blocks of atoms carry out the program of
each layer.

A layer is one pass over all blocks. A block finds its neighbours within the cutoff, tabulates
radial functions and spherical harmonics of all its pairs, sums over neighbours atom by atom, and
carries out the learned steps for all its atoms together. Nothing is allocated, and everything of a
block stays in the cache of its core. Geometry is float64; what it is used for is in the dtype of
the program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.compiled import compiled, kept, stand_apart
from mda_aptnn.model.kernels.program import (
    ADD,
    BLOCK,
    FILL,
    GATE,
    MIX,
    MULTIPLY,
    SIGMOID,
    SILU,
    LayerProgram,
)
from mda_aptnn.model.kernels.tiles import CHUNK, RADIAL, ROWS, VECTOR_BYTES, WIDEST, tile


class Geometry(NamedTuple):
    """A frame, or several, whose atoms are sorted by element; and pairs that include all within a
    layer's cutoff.

    Attributes
    ----------
    positions : ndarray, shape [n_atoms, 3]
        In Å.
    first : ndarray, shape [n_atoms + 1]
        First pair of each atom.
    neighbour, image : ndarray, shape [n_pairs]
        Neighbour, and which of `translations` brings it there; those of an atom are sorted by
        element.
    translations : ndarray, shape [n_images, 3]
        In Å.
    species : ndarray, shape [n_atoms]
        Index of each atom's element.
    atoms : ndarray, shape [n_blocks, BLOCK]
        Atoms of a block, of one element; -1 where there is none.
    elements : ndarray, shape [n_blocks]
        Index of a block's element.
    places : ndarray, shape [n_atoms]
        Place of each atom in `atoms`, flat.
    rows : ndarray, shape [n_atoms]
        Row of each atom in the outputs.
    """

    positions: NDArray[np.float64]
    first: NDArray[np.int64]
    neighbour: NDArray[np.int32]
    image: NDArray[np.int32]
    translations: NDArray[np.float64]
    species: NDArray[np.int64]
    atoms: NDArray[np.int64]
    elements: NDArray[np.int64]
    places: NDArray[np.int64]
    rows: NDArray[np.int64]


class Scratch(NamedTuple):
    """What one thread works with: `work` is the workspace of a block, the rest belongs to its
    pairs.

    Attributes
    ----------
    work : ndarray
    lengths : ndarray, shape [n_pairs]
        In Å.
    units : ndarray, shape [3, n_pairs]
        Unit vectors from centre to neighbour.
    places : ndarray of int, shape [n_pairs]
        Place of the neighbour among the atoms of all blocks.
    starts : ndarray of int, shape [n_pairs]
        Where the neighbour's message is, or the table of its radial functions.
    terms : ndarray of float64, shape [6, n_pairs]
        Intermediate results.
    bessel : ndarray, shape [n_radial, n_pairs]
    harmonics : ndarray, shape [(lmax+1)², n_pairs]
    mixed, basis : ndarray, shape [rows, n_pairs]
        Mixed radial functions; their products with the harmonics.
    table : ndarray, shape [n_pairs, padded n_radial]
        Radial functions of a pair side by side, for the first layer.
    firsts : ndarray of int, shape [BLOCK · n_species + 1]
        First pair of each atom of the block with each element.
    density : ndarray
        Of one atom.
    counting, bessel_rows : ndarray of int32
        0, 1, 2, ...; starts of the rows of `bessel`.
    """

    work: NDArray[Any]
    lengths: NDArray[np.float64]
    units: NDArray[np.float64]
    places: NDArray[np.int64]
    starts: NDArray[np.int64]
    terms: NDArray[np.float64]
    bessel: NDArray[Any]
    harmonics: NDArray[Any]
    mixed: NDArray[Any]
    basis: NDArray[Any]
    table: NDArray[Any]
    firsts: NDArray[np.int64]
    density: NDArray[Any]
    counting: NDArray[np.int32]
    bessel_rows: NDArray[np.int64]


#: Loops over pairs run to multiples of this, so that every pair is computed by the same
#: instructions, wherever it stands: the last bit of an atom's result depends on nothing but its
#: neighbours.
PAIRS = 32


class Exchange(NamedTuple):
    """What passes from layer to layer.

    Attributes
    ----------
    received, sent : ndarray, shape [n_members, n_places · width]
        Messages of all atoms, into this layer and into the next.
    before, features : ndarray, shape [n_members, n_blocks, length]
        Features of all blocks.
    outputs : ndarray, shape [n_members, n_atoms, n_outputs]
        Of the last layer.
    """

    received: NDArray[Any]
    sent: NDArray[Any]
    before: NDArray[Any]
    features: NDArray[Any]
    outputs: NDArray[np.float64]


_radial = tile(ROWS, lanes=RADIAL)
_sum_long, _sum_chunk = tile(1, lanes=4 * CHUNK), tile(1, lanes=CHUNK)


def _product(chunks: bool) -> Callable[..., None]:
    """Return a kernel that multiplies matrices by tiles, into rows or into `chunks`."""
    tiles = tile(ROWS, tuple({WIDEST, 2, 1}), chunks=chunks)

    @compiled
    def product(a, a_index, a_at, b, b_index, b_at, count, c, c_at, shape, add):  # type: ignore[no-untyped-def]
        """C (+)= A B of shape (rows, columns), multiples of those of a tile; see `tile`.

        In chunks C is [columns / CHUNK, rows, CHUNK].
        """
        stand_apart()
        lanes = VECTOR_BYTES // a.itemsize
        rows, columns = shape
        down, across = (CHUNK, rows) if chunks else (c_at[1], 1)
        column = 0
        while column < columns:
            left = (columns - column) // lanes
            size = WIDEST if left >= WIDEST else min(left, 2)
            for row in range(0, rows, ROWS):
                a_row = a_at[0] + row * a_at[1], a_at[1], a_at[2]
                start = c_at[0] + row * down + column * across
                tiles(
                    size, a, a_index, a_row, b, b_index, (b_at[0] + column, b_at[1]), count, c,
                    (start, c_at[1]), add,
                )  # fmt: skip
            column += size * lanes

    kernel: Callable[..., None] = product
    return kernel


product, chunked_product = _product(chunks=False), _product(chunks=True)


@compiled
def copy(source, target):  # type: ignore[no-untyped-def]
    """Copy numbers, without the checks that a slice would be assigned with."""
    for number in range(len(target)):
        target[number] = source[number]


#: Taylor coefficients of cos y, of (sin y)/y (both in y²) and of e^y, from the highest.
_COSINE = tuple((-1) ** n / math.factorial(2 * n) for n in range(11, -1, -1))
_SINE = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(11, -1, -1))
_EXPONENTIAL = tuple(1 / math.factorial(n) for n in range(11, -1, -1))


@compiled
def _horner(x, a):  # type: ignore[no-untyped-def]
    """A polynomial of twelve coefficients; written out, because loops inside keep a loop from
    running in vectors.
    """
    high = ((((a[0] * x + a[1]) * x + a[2]) * x + a[3]) * x + a[4]) * x + a[5]
    return (((((high * x + a[6]) * x + a[7]) * x + a[8]) * x + a[9]) * x + a[10]) * x + a[11]


@compiled
def padded(count, multiple):  # type: ignore[no-untyped-def]
    """Return the next multiple."""
    return -(-count // multiple) * multiple


@compiled
def _end_of(geometry, element, low, high):  # type: ignore[no-untyped-def]
    """Where, among the pairs of an atom, those with an element end, by bisection."""
    while low < high:
        middle = (low + high) // 2
        if geometry.species[geometry.neighbour[middle]] <= element:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def find_pairs(program, geometry, scratch, block):  # type: ignore[no-untyped-def]
    """Pairs within the cutoff of all atoms of a block, in order; return the smallest distance
    squared.
    """
    stand_apart()
    positions, translations = geometry.positions, geometry.translations
    lengths, units, places, firsts = scratch.lengths, scratch.units, scratch.places, scratch.firsts
    limit, closest, n_species = program.cutoff * program.cutoff, np.inf, program.n_species
    count = 0
    for row in range(BLOCK):
        atom = geometry.atoms[block, row]
        if atom < 0:
            firsts[row * n_species : (row + 1) * n_species] = count
            continue
        x, y, z = positions[atom, 0], positions[atom, 1], positions[atom, 2]
        start, stop = geometry.first[atom], geometry.first[atom + 1]
        for element in range(n_species):
            firsts[row * n_species + element] = count
            end = stop if element == n_species - 1 else _end_of(geometry, element, start, stop)
            for pair in range(start, end):
                other, image = geometry.neighbour[pair], geometry.image[pair]
                dx = positions[other, 0] - x + translations[image, 0]
                dy = positions[other, 1] - y + translations[image, 1]
                dz = positions[other, 2] - z + translations[image, 2]
                square = dx * dx + dy * dy + dz * dz
                units[0, count], units[1, count], units[2, count] = dx, dy, dz
                lengths[count] = square
                places[count] = geometry.places[other]
                count += square < limit
                closest = min(closest, square)
            start = end
    firsts[BLOCK * n_species] = count
    for pair in range(padded(count, PAIRS)):
        lengths[pair] = math.sqrt(lengths[pair])
        inverse = 1 / lengths[pair]
        units[0, pair] *= inverse
        units[1, pair] *= inverse
        units[2, pair] *= inverse
    return closest


@compiled
def radial_functions(scratch, count, cutoff, n_radial):  # type: ignore[no-untyped-def]
    """B_k(r) = √(2/r_c) sin(kπr/r_c)/r · u(r/r_c); sin(kθ) by recurrence from sin θ and cos θ."""
    stand_apart()
    lengths, terms, bessel = scratch.lengths, scratch.terms, scratch.bessel
    norm = math.sqrt(2 / cutoff)
    for pair in range(count):
        x = lengths[pair] / cutoff
        x2 = x * x
        x6 = x2 * x2 * x2
        envelope = norm * (1 - x6 * (28 - x * (48 - 21 * x))) / lengths[pair]
        # with y = πx − π/2 within ±π/2 the Taylor series, which need no library call, are exact to
        # rounding
        y = math.pi * (x - 0.5)
        y2 = y * y
        cosine = _horner(y2, _COSINE)
        sine = _horner(y2, _SINE)
        terms[0, pair] = -2 * y * sine
        terms[1, pair] = 0.0
        terms[2, pair] = envelope * cosine
    for k in range(n_radial):
        for pair in range(count):
            current = terms[2, pair]
            bessel[k, pair] = current
            terms[2, pair] = terms[0, pair] * current - terms[1, pair]
            terms[1, pair] = current


@compiled
def spherical_harmonics(scratch, count, lmax, norms):  # type: ignore[no-untyped-def]
    """Real spherical harmonics in e3nn's order and sign (y is the polar axis), by recurrence in l
    for each m.
    """
    stand_apart()
    units, terms, harmonics = scratch.units, scratch.terms, scratch.harmonics
    peak = 1.0
    for pair in range(count):
        terms[0, pair], terms[1, pair] = 1.0, 0.0
    for m in range(lmax + 1):
        if m > 0:
            peak *= 2 * m - 1
            for pair in range(count):
                real = units[2, pair] * terms[0, pair] - units[0, pair] * terms[1, pair]
                terms[1, pair] = units[2, pair] * terms[1, pair] + units[0, pair] * terms[0, pair]
                terms[0, pair] = real
        for pair in range(count):
            terms[2, pair], terms[3, pair] = 0.0, peak
        for degree in range(m, lmax + 1):
            middle = degree * degree + degree
            up, down = norms[middle + m], norms[middle - m]
            high, low = (2 * degree + 1) / (degree + 1 - m), (degree + m) / (degree + 1 - m)
            for pair in range(count):
                legendre = terms[3, pair]
                harmonics[middle + m, pair] = up * legendre * terms[0, pair]
                terms[3, pair] = high * units[1, pair] * legendre - low * terms[2, pair]
                terms[2, pair] = legendre
            if m > 0:
                for pair in range(count):
                    harmonics[middle - m, pair] = down * terms[2, pair] * terms[1, pair]


@compiled
def element_density(program, scratch):  # type: ignore[no-untyped-def]
    """Density of each element about each atom of the block, for the first layer."""
    stand_apart()
    n_species, width, n_radial = program.n_species, program.width, program.n_radial
    step = scratch.table.shape[1]
    firsts, starts, table = scratch.firsts, scratch.starts, scratch.table.reshape(-1)
    for pair in range(firsts[BLOCK * n_species]):
        starts[pair] = pair * step
    for k in range(n_radial):
        values = scratch.bessel[k]
        for pair in range(firsts[BLOCK * n_species]):
            table[pair * step + k] = values[pair]
    harmonics, n_pairs = scratch.harmonics.reshape(-1), scratch.harmonics.shape[1]
    for number in range(BLOCK * n_species):
        first, count = firsts[number], firsts[number + 1] - firsts[number]
        row, element = number // n_species, number % n_species
        for column in range(0, step, RADIAL):
            result = program.density + row * width + element * step + column
            for m in range(0, padded((program.lmax + 1) ** 2, ROWS), ROWS):
                _radial(
                    1, harmonics, scratch.counting, (first + m * n_pairs, n_pairs, 0), table,
                    starts, (column, first), count, scratch.work,
                    (result + m * BLOCK * width, BLOCK * width), False,
                )  # fmt: skip


@compiled
def message_density(program, scratch, radial, received):  # type: ignore[no-untyped-def]
    """Sum of messages times mixed radial functions times harmonics for each atom of the block,
    coupled.
    """
    stand_apart()
    lanes = VECTOR_BYTES // scratch.work.itemsize
    firsts, n_species = scratch.firsts, program.n_species
    count, n_mixed, width = firsts[BLOCK * n_species], program.n_mixed, program.width
    step = scratch.bessel.shape[1]
    columns = padded(count, lanes)
    n_degrees = program.lmax + 1
    product(
        radial, scratch.counting, (0, program.n_radial, 0), scratch.bessel.reshape(-1),
        scratch.bessel_rows, (0, 0), program.n_radial, scratch.mixed.reshape(-1), (0, step),
        (padded(n_degrees * n_mixed, ROWS), columns), False,
    )  # fmt: skip
    basis, mixed, harmonics = scratch.basis, scratch.mixed, scratch.harmonics
    for degree in range(n_degrees):
        for m in range(degree * degree, (degree + 1) ** 2):
            for q in range(n_mixed):
                for pair in range(count):
                    basis[m * n_mixed + q, pair] = (
                        harmonics[m, pair] * mixed[degree * n_mixed + q, pair]
                    )
    for pair in range(count):
        scratch.starts[pair] = scratch.places[pair] * width
    rows = padded(n_degrees**2 * n_mixed, ROWS)
    flat = basis.reshape(-1)
    for row in range(BLOCK):
        first, last = firsts[row * n_species], firsts[(row + 1) * n_species]
        chunked_product(
            flat, scratch.counting, (first, step, 0), received, scratch.starts, (0, first),
            last - first, scratch.density, (0, rows * CHUNK), (rows, width), False,
        )  # fmt: skip
        couple(program, scratch, row)


@compiled
def couple(program, scratch, row):  # type: ignore[no-untyped-def]
    """Clebsch-Gordan coupling of one atom's density, into its row of the block."""
    stand_apart()
    length = program.n_mixed * CHUNK
    for number in range(len(program.sums)):
        first, count = program.sums[number, 0], program.sums[number, 1]
        result = program.sums[number, 2] + row * program.sums[number, 3]
        values, terms = program.term_values, program.term_places
        column = 0
        while column < length:
            if length - column >= 4 * CHUNK:
                _sum_long(
                    1, values, scratch.counting, (first, 0, 0), scratch.density, terms,
                    (column, first), count, scratch.work, (result + column, 0), False,
                )  # fmt: skip
                column += 4 * CHUNK
            else:
                _sum_chunk(
                    1, values, scratch.counting, (first, 0, 0), scratch.density, terms,
                    (column, first), count, scratch.work, (result + column, 0), False,
                )  # fmt: skip
                column += CHUNK


@compiled
def sigmoid(values):  # type: ignore[no-untyped-def]
    """1 / (1 + e^-x) in place: the series of e^(x/16), to the power of 16, runs in vectors unlike a
    library's.

    It is good to 1e-12; beyond ±40 the sigmoid is a step to 4e-18.
    """
    stand_apart()
    for number in range(len(values)):
        x = -np.float64(values[number])
        within = 40.0 if x > 40.0 else (-40.0 if x < -40.0 else x)
        power = _horner(within / 16, _EXPONENTIAL)
        power *= power
        power *= power
        power *= power
        power *= power
        values[number] = 1 / (1 + power)


@compiled
def multiply_features(program, work, first, last, length):  # type: ignore[no-untyped-def]
    """Clebsch-Gordan couplings of features of the same atom, a component of all atoms and channels
    at a time.
    """
    stand_apart()
    for number in range(first, last):
        row, value = program.products[number], program.product_values[number]
        a, b = work[row[0] : row[0] + length], work[row[1] : row[1] + length]
        c = work[row[2] : row[2] + length]
        if row[3]:
            for place in range(length):
                c[place] = value * a[place] * b[place]
        else:
            for place in range(length):
                c[place] += value * a[place] * b[place]


@compiled
def carry_out(program, scratch, weights, element):  # type: ignore[no-untyped-def]
    """Carry out the steps of a program on a block of one element; see `cpu_program.Builder` for the
    steps.
    """
    stand_apart()
    work, indices = scratch.work, program.indices
    for number in range(len(program.steps)):
        step = program.steps[number]
        if step[0] == MIX:
            product(
                work, indices, (step[1], step[2], step[3]), weights, indices,
                (step[5] + element * step[6], step[3] + step[4]), step[4], work,
                (step[7], step[8]), (step[9], step[8]), step[10] != 0,
            )  # fmt: skip
        elif step[0] == FILL:
            source = step[4] + element * step[5]
            for row in range(step[3]):
                for column in range(step[2]):
                    work[step[1] + row * step[2] + column] = weights[source + column]
        elif step[0] == MULTIPLY:
            multiply_features(program, work, step[1], step[2], step[3])
        elif step[0] == ADD:
            source, result = work[step[1] : step[1] + step[3]], work[step[2] : step[2] + step[3]]
            if step[4]:
                for place in range(len(result)):
                    result[place] += source[place]
            else:
                copy(source, result)
        elif step[0] == SIGMOID:
            sigmoid(work[step[1] : step[1] + step[2]])
        elif step[0] == GATE:
            gates = work[step[1] : step[1] + step[2]]
            for m in range(step[4]):
                values = work[step[3] + m * step[2] :]
                for place in range(len(gates)):
                    values[place] *= gates[place]
        elif step[0] == SILU:
            values, gates = work[step[1] : step[1] + step[2]], scratch.density[: step[2]]
            copy(values, gates)
            sigmoid(gates)
            for place in range(len(gates)):
                values[place] *= gates[place]


@compiled
def hand_over(program, scratch, geometry, exchange, member, block):  # type: ignore[no-untyped-def]
    """Keep what the next layer needs of a block, or the outputs."""
    stand_apart()
    work = scratch.work
    if program.message == 0:
        element = geometry.elements[block]
        for row in range(BLOCK):
            atom = geometry.atoms[block, row]
            if atom >= 0:
                scale, shift = program.scale[member, element], program.shift[member, element]
                outputs = exchange.outputs[member, geometry.rows[atom]]
                for number in range(len(outputs)):
                    place, step = program.components[number, 0], program.components[number, 1]
                    outputs[number] = scale[number] * work[place + row * step] + shift[number]
        return
    place, length = program.features[0], program.features[1]
    copy(work[place : place + length], exchange.features[member, block])
    for number in range(len(program.sent)):
        sent = program.sent[number]
        channels = sent[2]
        for m in range(sent[4]):
            for slot in range(BLOCK):
                source = sent[0] + (m * BLOCK + slot) * sent[1]
                result = (block * BLOCK + slot) * program.message + sent[3] + m * channels
                target = exchange.sent[member, result : result + channels]
                copy(work[source : source + channels], target)


@kept
def run_layer(program, geometry, scratch, exchange, first_block, last_block):  # type: ignore[no-untyped-def]
    """Carry out a layer for some blocks; return the smallest distance squared that was met.

    What does not depend on weights is shared by the members of a committee. Takes the
    `LayerProgram`, `Geometry`, `Scratch` and `Exchange` as plain tuples, which numba recognises six
    times faster than named ones.
    """
    program, geometry = LayerProgram(*program), Geometry(*geometry)
    scratch, exchange = Scratch(*scratch), Exchange(*exchange)
    closest = np.inf
    for block in range(first_block, last_block):
        closest = min(closest, find_pairs(program, geometry, scratch, block))
        count = padded(scratch.firsts[BLOCK * program.n_species], PAIRS)
        radial_functions(scratch, count, program.cutoff, program.n_radial)
        spherical_harmonics(scratch, count, program.lmax, program.harmonics)
        if program.n_mixed == 0:
            element_density(program, scratch)
        for member in range(len(program.weights)):
            if program.n_mixed > 0:
                place, length = program.before[0], program.before[1]
                copy(exchange.before[member, block], scratch.work[place : place + length])
                message_density(program, scratch, program.radial[member], exchange.received[member])
            carry_out(program, scratch, program.weights[member], geometry.elements[block])
            hand_over(program, scratch, geometry, exchange, member, block)
    return closest
