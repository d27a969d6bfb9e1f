import itertools

import numpy as np
import pytest

from mda_aptnn.errors import FrameError
from mda_aptnn.frame import Frame, cell_matrix
from mda_aptnn.graph import NeighbourList, Pairs, frame_atoms, neighbours, search_pairs

TRICLINIC = np.array([[5.0, 0.0, 0.0], [2.1, 4.6, 0.0], [-1.7, 1.9, 4.4]])
TURNED = TRICLINIC @ np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
BOXES = {
    "cube larger than twice the cutoff": (8.0 * np.eye(3), (True, True, True), 3.5),
    "cube": (4.0 * np.eye(3), (True, True, True), 3.5),
    "smaller than the cutoff": (np.diag([2.5, 3.0, 6.0]), (True, True, True), 3.5),
    "triclinic": (TRICLINIC, (True, True, True), 4.2),
    "triclinic, turned and left-handed": (TURNED[[1, 0, 2]], (True, True, True), 4.2),
    "slab": (np.diag([4.0, 5.0, 8.0]), (True, True, False), 3.5),
    "slab without a third vector": (np.diag([4.0, 5.0, 0.0]), (True, True, False), 3.5),
    "skew slab, open along the first": (TRICLINIC, (False, True, True), 3.5),
    "wire": (np.diag([0.0, 0.0, 3.0]), (False, False, True), 3.5),
    "gas": (np.zeros((3, 3)), (False, False, False), 3.5),
    "gas in a cell that does not count": (3.0 * np.eye(3), (False, False, False), 3.5),
}


def frame_in(cell, pbc, n_atoms=6, seed=0) -> Frame:
    rng = np.random.default_rng(seed)
    vectors = np.where(np.any(cell, axis=1)[:, None], cell, 4.0 * np.eye(3))
    while True:
        frame = Frame(np.ones(n_atoms, int), rng.random((n_atoms, 3)) @ vectors, cell, pbc)
        if min((d for *_, d in by_force(frame, 1.0, 2)), default=1.0) > 0.5:
            return frame


def by_force(frame: Frame, cutoff: float, reach: int = 5):
    """Every pair with every image: (centre, neighbour, shift, distance)."""
    steps = [range(-reach, reach + 1) if flag else [0] for flag in frame.pbc]
    shifts = np.array(list(itertools.product(*steps)))
    for i, j in itertools.product(range(len(frame)), repeat=2):
        distances = np.linalg.norm(
            frame.positions[j] + shifts @ frame.cell - frame.positions[i], axis=1
        )
        for k in np.flatnonzero((distances < cutoff) & ((i != j) | shifts.any(axis=1))):
            yield i, j, tuple(shifts[k].tolist()), distances[k]


@pytest.mark.parametrize("name", BOXES)
def test_all_images_are_found_in_canonical_order(name):
    cell, pbc, cutoff = BOXES[name]
    frame = frame_in(np.array(cell), pbc)
    found = neighbours(frame, cutoff)
    expected = sorted(by_force(frame, cutoff))
    rows = list(
        zip(
            found.centre.tolist(),
            found.neighbour.tolist(),
            map(tuple, found.shift.tolist()),
            strict=True,
        )
    )
    assert len(expected) > 10
    assert rows == [row[:3] for row in expected]
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), [row[3] for row in expected])
    np.testing.assert_allclose(
        found.vectors,
        frame.positions[found.neighbour] - frame.positions[found.centre] + found.shift @ frame.cell,
        atol=1e-12,
    )


def test_wrapping_atoms_changes_neither_vectors_nor_their_order():
    frame = frame_in(TRICLINIC, (True, True, True))
    hops = np.random.default_rng(1).integers(-4, 5, (len(frame), 3))
    away = Frame(frame.numbers, frame.positions + hops @ TRICLINIC, TRICLINIC, frame.pbc)
    here, there = neighbours(frame, 4.2), neighbours(away, 4.2)
    np.testing.assert_array_equal(here.centre, there.centre)
    np.testing.assert_array_equal(here.neighbour, there.neighbour)
    np.testing.assert_allclose(here.vectors, there.vectors, atol=1e-10)


def test_translation_changes_no_vector():
    frame = frame_in(TRICLINIC, (True, True, True))
    moved = Frame(
        frame.numbers, frame.positions + np.array([13.1, -7.7, 0.3]), TRICLINIC, frame.pbc
    )
    np.testing.assert_allclose(
        neighbours(frame, 4.2).vectors, neighbours(moved, 4.2).vectors, atol=1e-10
    )


def test_skewed_cell_of_an_orthorhombic_lattice():
    """Other vectors of the same lattice see the same surroundings: a third of the edges must not be
    lost.
    """
    cell = np.diag([5.0, 6.0, 7.0])
    frame = frame_in(cell, (True, True, True))
    skew = Frame(
        frame.numbers,
        frame.positions,
        np.array([[1, 0, 0], [1, 1, 0], [-1, 1, 1]]) @ cell,
        frame.pbc,
    )
    for atom in range(len(frame)):
        vectors = [
            found.vectors[found.centre == atom]
            for found in (neighbours(frame, 4.9), neighbours(skew, 4.9))
        ]
        ordered = [v[np.lexsort(v.round(6).T)] for v in vectors]
        np.testing.assert_allclose(ordered[0], ordered[1], atol=1e-10)


def test_a_small_cell_sees_what_its_supercell_sees():
    small = frame_in(np.diag([3.0, 3.5, 4.0]), (True, True, True), n_atoms=3)
    shifts = np.array(list(itertools.product(range(3), repeat=3)))
    positions = (small.positions[None] + (shifts @ small.cell)[:, None]).reshape(-1, 3)
    large = Frame(np.tile(small.numbers, 27), positions, 3 * small.cell, small.pbc)
    one, many = neighbours(small, 4.4), neighbours(large, 4.4)
    assert len(many) == 27 * len(one)
    for atom in range(3):
        a, b = (
            np.sort(np.linalg.norm(found.vectors[found.centre == atom], axis=1)).round(9)
            for found in (one, many)
        )
        np.testing.assert_allclose(a, b)


def test_atoms_on_top_of_each_other_are_refused_also_across_the_boundary():
    cell = cell_matrix("6 6 6")
    for second in ([0.1, 0, 0], [6.0, 0, 0], [5.9, 6.1, 0]):
        with pytest.raises(FrameError, match=r"atoms 0 and 1 .*Å apart"):
            neighbours(Frame([1, 1], [[0, 0, 0], second], cell, [True] * 3), 3.0)
    # its own image, in a cell with room for an atom
    with pytest.raises(FrameError, match="apart"):
        neighbours(Frame([1], [[0, 0, 0]], np.diag([0.2, 3, 3]), [True] * 3), 1.0)


def test_an_atom_alone_has_no_neighbours():
    assert len(neighbours(Frame([1], [[0, 0, 0]]), 5.0)) == 0


def of_shell(found: Pairs, shell: int):
    """Centre, neighbour and vector of each pair of a shell."""
    first = found.first[shell]
    pairs = slice(first[0], first[-1])
    centre = np.repeat(np.arange(len(first) - 1), np.diff(first))
    neighbour = found.neighbour[pairs]
    vectors = (
        found.positions[neighbour]
        - found.positions[centre]
        + found.translations[found.image[pairs]]
    )
    return centre, neighbour, vectors


@pytest.mark.parametrize("n_atoms", [1, 6, 40])
def test_the_compiled_search_finds_the_pairs_of_vesin_in_the_same_order(n_atoms):
    """All boxes together, as frames of one batch, and each alone; for two cutoffs at once."""
    frames, cutoffs = [], []
    for number, (cell, pbc, cutoff) in enumerate(BOXES.values()):
        small = frame_in(np.array(cell), pbc, min(n_atoms, 6), seed=number)
        hops = np.random.default_rng(number).integers(
            -2, 3, (len(small), 3)
        )  # a molecule far from the cell
        positions = small.positions + hops @ small.cell + 13.7
        if n_atoms > 6:  # more bins than one
            images = np.array(list(itertools.product(range(2), range(2), range(2))))[:, None]
            span = np.where(np.any(small.cell, axis=1)[:, None], small.cell, 5.0 * np.eye(3))
            positions = (positions + (images * np.array([3, 1, 2])) @ span).reshape(-1, 3)
            small = Frame(
                np.ones(len(positions), int), positions, np.diag([6, 2, 4]) @ small.cell, pbc
            )
        frames.append(Frame(small.numbers, positions, small.cell, pbc))
        cutoffs.append(cutoff)
    rng = np.random.default_rng(5)
    orders = [rng.permutation(len(frame)) for frame in frames]
    both = (max(cutoffs), 0.7 * max(cutoffs))
    together = search_pairs(
        [frame_atoms(*item) for item in zip(frames, orders, strict=True)], both
    )[0]
    n_pairs = 0
    for shell, cutoff in enumerate(both):
        parts = [of_shell(together, shell)]
        start, number = 0, 0
        for frame, order in zip(frames, orders, strict=True):
            expected = neighbours(
                Frame(frame.numbers, frame.positions[order], frame.cell, frame.pbc), cutoff
            )
            alone = of_shell(search_pairs([frame_atoms(frame, order)], both)[0], shell)
            own = (parts[0][0] >= start) & (parts[0][0] < start + len(frame))
            in_batch = parts[0][0][own] - start, parts[0][1][own] - start, parts[0][2][own]
            for centre, neighbour, vectors in (alone, in_batch):
                np.testing.assert_array_equal(centre, expected.centre)
                np.testing.assert_array_equal(neighbour, expected.neighbour)
                np.testing.assert_allclose(vectors, expected.vectors, rtol=0, atol=1e-10)
            start, number, n_pairs = start + len(frame), number + 1, n_pairs + len(expected)
    assert n_pairs > 100 or n_atoms == 1


def test_atoms_far_apart_do_not_fill_memory_with_bins():
    frame = Frame([1] * 3, [[0, 0, 0], [1e6, 0, 0], [1e6, 1, 0]])
    centre, neighbour, _ = of_shell(search_pairs([frame_atoms(frame, np.arange(3))], [4.0])[0], 0)
    assert centre.tolist() == [1, 2] and neighbour.tolist() == [2, 1]


def test_a_neighbour_list_is_kept_while_nothing_can_have_come_near():
    frame = frame_in(TRICLINIC, (True, True, True))
    found, order = NeighbourList([3.0], skin=1.0), np.arange(len(frame))
    for way, searches in (
        (0.0, 1),
        (0.28, 1),
        (0.3, 2),
    ):  # of each coordinate; √3 · 0.3 Å is more than half the skin
        found.pairs(Frame(frame.numbers, frame.positions + way, frame.cell, frame.pbc), order)
        assert found.n_searches == searches
