"""Compiled search for all pairs within cutoffs, in canonical order: cells of atoms, any
periodicity.

Atoms are sorted into bins that are cut parallel to the cell's faces. Each centre looks through the
bins within the cutoff, also several times round a cell that is smaller. Centres come in ascending
order, and each puts itself into the lists of those it finds: so every list is sorted without being
sorted.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.compiled import exactly, kept_exactly, stand_apart

#: Bins along the cutoff. More and smaller ones fit the sphere better, fewer ones cost less to go
#: through.
_BINS = 2


class Bins(NamedTuple):
    """Atoms in bins.

    Attributes
    ----------
    counts : ndarray of int, shape [3]
        Bins along each cell vector.
    reach : ndarray of int, shape [3]
        How many bins away atoms within the cutoff can be.
    turns : ndarray of int, shape [3]
        How many times round the cell that is.
    place : ndarray of int, shape [n_atoms, 3]
        Bin of each atom.
    first : ndarray of int, shape [n_bins + 1]
        First entry of each bin in `atoms`.
    atoms : ndarray of int, shape [n_atoms]
        Bin after bin.
    positions : ndarray, shape [3, n_atoms]
        In the same order.
    most : int
        No atom has more than so many others in all bins within reach.
    """

    counts: NDArray[np.int64]
    reach: NDArray[np.int64]
    turns: NDArray[np.int64]
    place: NDArray[np.int64]
    first: NDArray[np.int64]
    atoms: NDArray[np.int64]
    positions: NDArray[np.float64]
    most: int


class Found(NamedTuple):
    """Pairs within each of several cutoffs, of all frames of a batch as if they were one.

    Attributes
    ----------
    first : ndarray of int, shape [n_cutoffs, n_atoms + 1]
        First pair of each atom as the centre; the pairs of a cutoff follow those of the one before.
    neighbour, image : ndarray of int32, shape [n_pairs]
        Neighbour, and row of `shifts`; pairs of a centre are sorted by both.
    shifts : ndarray of int, shape [n_images, 3]
        Cell translations, those of each frame one after the other.
    frames : ndarray of int, shape [n_images]
        Which frame a translation belongs to.
    """

    first: NDArray[np.int64]
    neighbour: NDArray[np.int32]
    image: NDArray[np.int32]
    shifts: NDArray[np.int64]
    frames: NDArray[np.int64]


@exactly
def _bins(positions, inverse, pbc, cutoff):  # type: ignore[no-untyped-def]
    stand_apart()
    n_atoms = len(positions)
    fractions = np.empty((3, n_atoms))
    for axis in range(3):
        for atom in range(n_atoms):
            fractions[axis, atom] = (
                positions[atom, 0] * inverse[0, axis]
                + positions[atom, 1] * inverse[1, axis]
                + positions[atom, 2] * inverse[2, axis]
            )
    count, reach, turns = np.empty(3, np.int64), np.empty(3, np.int64), np.zeros(3, np.int64)
    place = np.empty((n_atoms, 3), np.int64)
    # many more bins than atoms would only cost
    most = 2 + int(2 * n_atoms ** (1 / 3))
    for axis in range(3):
        low, high = 0.0, 1.0
        if not pbc[axis]:
            low, high = np.inf, -np.inf
            for atom in range(n_atoms):
                low, high = min(low, fractions[axis, atom]), max(high, fractions[axis, atom])
        # between the planes at both ends, in Å
        height = (high - low) / math.sqrt(
            inverse[0, axis] ** 2 + inverse[1, axis] ** 2 + inverse[2, axis] ** 2
        )
        count[axis] = max(1, int(min(most, _BINS * height / cutoff)))
        if pbc[axis] or count[axis] > 1:
            reach[axis] = math.ceil(cutoff * count[axis] / height + 1e-9)
        else:
            reach[axis] = 0
        if pbc[axis]:
            turns[axis] = -(-reach[axis] // count[axis])
        scale = count[axis] / (high - low) if high > low else 0.0
        for atom in range(n_atoms):
            place[atom, axis] = max(
                0, min(count[axis] - 1, int((fractions[axis, atom] - low) * scale))
            )
    first = np.zeros(count[0] * count[1] * count[2] + 1, np.int64)
    flat = np.empty(n_atoms, np.int64)
    for atom in range(n_atoms):
        flat[atom] = (place[atom, 0] * count[1] + place[atom, 1]) * count[2] + place[atom, 2]
        first[flat[atom] + 1] += 1
    for number in range(1, len(first)):
        first[number] += first[number - 1]
    filled, atoms, arranged = first.copy(), np.empty(n_atoms, np.int64), np.empty((3, n_atoms))
    for atom in range(n_atoms):
        entry = filled[flat[atom]]
        atoms[entry] = atom
        for axis in range(3):
            arranged[axis, entry] = positions[atom, axis]
        filled[flat[atom]] += 1
    most = 0
    for number in range(len(first) - 1):
        most = max(most, first[number + 1] - first[number])
    for axis in range(3):
        most *= 2 * reach[axis] + 1
    return Bins(count, reach, turns, place, first, atoms, arranged, most)


@exactly
def _near(centre, position, bins, cell, pbc, limit, atoms, codes, squares):  # type: ignore[no-untyped-def]
    """Find what is within √limit of a centre, and itself; return how many.

    Of each: the atom, the code of the shift by which it sees the centre, the squared distance,
    which is the same to the last bit as from there to here.
    """
    stand_apart()
    count, reach, turns, place = bins.counts, bins.reach, bins.turns, bins.place
    x, y, z = position[0], position[1], position[2]
    xs, ys, zs = bins.positions[0], bins.positions[1], bins.positions[2]
    found = 0
    for i in range(place[centre, 0] - reach[0], place[centre, 0] + reach[0] + 1):
        turn_a = i // count[0]
        if turn_a != 0 and not pbc[0]:
            continue
        for j in range(place[centre, 1] - reach[1], place[centre, 1] + reach[1] + 1):
            turn_b = j // count[1]
            if turn_b != 0 and not pbc[1]:
                continue
            row = ((i - turn_a * count[0]) * count[1] + j - turn_b * count[1]) * count[2]
            k, last = place[centre, 2] - reach[2], place[centre, 2] + reach[2]
            if not pbc[2]:
                k, last = max(k, 0), min(last, count[2] - 1)
            while k <= last:
                # bins that follow each other within one turn round the cell are one run of atoms
                turn_c = k // count[2]
                begin = k - turn_c * count[2]
                end = min(count[2], begin + last - k + 1)
                k += end - begin
                x0 = x - (turn_a * cell[0, 0] + turn_b * cell[1, 0] + turn_c * cell[2, 0])
                y0 = y - (turn_a * cell[0, 1] + turn_b * cell[1, 1] + turn_c * cell[2, 1])
                z0 = z - (turn_a * cell[0, 2] + turn_b * cell[1, 2] + turn_c * cell[2, 2])
                code = (turns[0] - turn_a) * (2 * turns[1] + 1) + turns[1] - turn_b
                code = code * (2 * turns[2] + 1) + turns[2] - turn_c
                for entry in range(bins.first[row + begin], bins.first[row + end]):
                    dx, dy, dz = xs[entry] - x0, ys[entry] - y0, zs[entry] - z0
                    square = dx * dx + dy * dy + dz * dz
                    # kept or written over, without a branch that no processor could foresee
                    atoms[found], codes[found], squares[found] = bins.atoms[entry], code, square
                    found += square < limit
    return found


@exactly
def _enter(atom, code, start, end, neighbour, image):  # type: ignore[no-untyped-def]
    """Put a pair behind those that are in a list; images of one neighbour in their order."""
    place = end
    while place > start and neighbour[place - 1] == atom and image[place - 1] > code:
        neighbour[place], image[place] = neighbour[place - 1], image[place - 1]
        place -= 1
    neighbour[place], image[place] = atom, code


@exactly
def _shifts(frame, image0, turns, shifts, frames):  # type: ignore[no-untyped-def]
    """All shifts of a frame, in the order of their codes."""
    stand_apart()
    number = image0
    for x in range(-turns[0], turns[0] + 1):
        for y in range(-turns[1], turns[1] + 1):
            for z in range(-turns[2], turns[2] + 1):
                shifts[number, 0], shifts[number, 1], shifts[number, 2] = x, y, z
                frames[number] = frame
                number += 1


@kept_exactly
def search(positions, atoms, cells, inverses, pbc, cutoffs):  # type: ignore[no-untyped-def]
    """Find all pairs of each frame of a batch.

    Parameters
    ----------
    positions : ndarray, shape [n_atoms, 3]
        Of all frames, one after the other, in Å; along periodic directions within the cell. On a
        grid on which their sums with cell vectors are exact.
    atoms : ndarray of int, shape [n_frames + 1]
        First atom of each frame.
    cells, inverses : ndarray, shape [n_frames, 3, 3]
        Rows are the cell vectors in Å, unit vectors where there is none; and the inverse matrices.
    pbc : ndarray of bool, shape [n_frames, 3]
    cutoffs : ndarray
        In Å, the largest first.

    Returns
    -------
    Found
    """
    n_frames, n_shells = len(cells), len(cutoffs)
    limits = cutoffs * cutoffs
    ends = np.zeros((n_shells, len(positions)), np.int64)
    first = np.zeros((n_shells, len(positions) + 1), np.int64)
    neighbour, image = np.zeros(0, np.int32), np.zeros(0, np.int32)
    images = np.zeros(n_frames + 1, np.int64)
    shifts, frames = np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    for turn in range(2):
        for frame in range(n_frames):
            atom0, n_atoms = atoms[frame], atoms[frame + 1] - atoms[frame]
            own = positions[atom0 : atom0 + n_atoms]
            bins = _bins(own, inverses[frame], pbc[frame], cutoffs[0])
            here = (bins.turns[0] * (2 * bins.turns[1] + 1) + bins.turns[1]) * (
                2 * bins.turns[2] + 1
            ) + bins.turns[2]
            near = np.empty(bins.most, np.int64), np.empty(bins.most, np.int64), np.empty(bins.most)
            if turn == 0:
                images[frame + 1] = images[frame] + 2 * here + 1
            else:
                _shifts(frame, images[frame], bins.turns, shifts, frames)
            for centre in range(n_atoms):
                found = _near(centre, own[centre], bins, cells[frame], pbc[frame], limits[0], *near)
                for number in range(found):
                    other, code, square = near[0][number], near[1][number], near[2][number]
                    if other == centre and code == here:
                        continue
                    for shell in range(n_shells):
                        if square < limits[shell]:
                            end = ends[shell, atom0 + other]
                            ends[shell, atom0 + other] += 1
                            if turn == 1:
                                start = first[shell, atom0 + other]
                                _enter(
                                    atom0 + centre,
                                    images[frame] + code,
                                    start,
                                    end,
                                    neighbour,
                                    image,
                                )
        if turn == 0:
            n_pairs = 0
            for shell in range(n_shells):
                for atom in range(len(positions)):
                    first[shell, atom] = n_pairs
                    n_pairs += ends[shell, atom]
                    ends[shell, atom] = first[shell, atom]
                first[shell, len(positions)] = n_pairs
            neighbour, image = np.empty(n_pairs, np.int32), np.empty(n_pairs, np.int32)
            shifts, frames = (
                np.empty((images[n_frames], 3), np.int64),
                np.empty(images[n_frames], np.int64),
            )
    return Found(first, neighbour, image, shifts, frames)
