import itertools

import numpy as np
import pytest

from mda_aptnn.errors import FrameError
from mda_aptnn.frames import Frame, cell_matrix
from mda_aptnn.graph import neighbours

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
        distances = np.linalg.norm(frame.positions[j] + shifts @ frame.cell - frame.positions[i], axis=1)
        for k in np.flatnonzero((distances < cutoff) & ((i != j) | shifts.any(axis=1))):
            yield i, j, tuple(shifts[k].tolist()), distances[k]


@pytest.mark.parametrize("name", BOXES)
def test_all_images_are_found_in_canonical_order(name):
    cell, pbc, cutoff = BOXES[name]
    frame = frame_in(np.array(cell), pbc)
    found = neighbours(frame, cutoff)
    expected = sorted(by_force(frame, cutoff))
    rows = list(zip(found.centre.tolist(), found.neighbour.tolist(), map(tuple, found.shift.tolist()), strict=True))
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
    moved = Frame(frame.numbers, frame.positions + np.array([13.1, -7.7, 0.3]), TRICLINIC, frame.pbc)
    np.testing.assert_allclose(neighbours(frame, 4.2).vectors, neighbours(moved, 4.2).vectors, atol=1e-10)


def test_skewed_cell_of_an_orthorhombic_lattice():
    """Other vectors of the same lattice see the same surroundings: a third of the edges must not be lost."""
    cell = np.diag([5.0, 6.0, 7.0])
    frame = frame_in(cell, (True, True, True))
    skew = Frame(frame.numbers, frame.positions, np.array([[1, 0, 0], [1, 1, 0], [-1, 1, 1]]) @ cell, frame.pbc)
    for atom in range(len(frame)):
        vectors = [found.vectors[found.centre == atom] for found in (neighbours(frame, 4.9), neighbours(skew, 4.9))]
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
            np.sort(np.linalg.norm(found.vectors[found.centre == atom], axis=1)).round(9) for found in (one, many)
        )
        np.testing.assert_allclose(a, b)


def test_atoms_on_top_of_each_other_are_refused_also_across_the_boundary():
    cell = cell_matrix("6 6 6")
    for second in ([0.1, 0, 0], [6.0, 0, 0], [5.9, 6.1, 0]):
        with pytest.raises(FrameError, match=r"atoms 0 and 1 .*Å apart"):
            neighbours(Frame([1, 1], [[0, 0, 0], second], cell, [True] * 3), 3.0)
    with pytest.raises(FrameError, match="apart"):
        neighbours(Frame([1], [[0, 0, 0]], 0.2 * np.eye(3), [True] * 3), 1.0)


def test_an_atom_alone_has_no_neighbours():
    assert len(neighbours(Frame([1], [[0, 0, 0]]), 5.0)) == 0
