import itertools

import numpy as np
import pytest

from mda_aptnn.elements import atomic_numbers
from mda_aptnn.errors import FrameError
from mda_aptnn.frame import Cell, Frame, cell_matrix

CUBE = 5.0 * np.eye(3)
PERIODIC = np.ones(3, bool)


def test_a_frame_keeps_copies():
    positions = np.zeros((2, 3))
    positions[1, 0] = 1.0
    frame = Frame([8, 1], positions, CUBE, PERIODIC)
    positions[1] = 99
    assert frame.positions[1, 0] == 1.0 and len(frame) == 2 and frame.symbols == ["O", "H"]
    assert frame.volume == pytest.approx(125)
    assert Frame([8], [[0, 0, 0]]).volume is None
    assert Frame([8], [[0, 0, 0]], CUBE, [True, True, False]).volume is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], np.zeros((0, 3))), "no atoms"),
        (([1, 1], np.zeros((3, 3))), "do not go with"),
        (([1], np.zeros((1, 2))), "do not go with"),
        (([1, 1], [[0, 0, 0], [0, np.nan, 0]]), "atom 1 .*not finite"),
        (([1], [[0, np.inf, 0]]), "atom 0 .*not finite"),
        (([1], np.zeros((1, 3)), np.zeros((3, 3)), PERIODIC), "no volume"),
        (([1], np.zeros((1, 3)), [[5, 0, 0], [5, 0, 0], [0, 0, 5]], PERIODIC), "no volume"),
        (([1], np.zeros((1, 3)), np.zeros((3, 3)), [True, False, False]), "no volume"),
        (([1], np.zeros((1, 3)), CUBE * np.nan, PERIODIC), "cell is not finite"),
        (([1], np.zeros((1, 3)), np.eye(2), PERIODIC), "3x3"),
        # a division by zero in compiled code ended the process at 1e19, tensors were NaN at 1e30
        (([1], np.zeros((1, 3)), 1e19 * np.eye(3), PERIODIC), r"1e\+19 Å large"),
        (([1], np.zeros((1, 3)), 1e30 * np.eye(3), PERIODIC), r"1e\+30 Å large"),
        (([1], np.zeros((1, 3)), np.diag([10, 10, 1e19]), [False, False, True]), "Å large"),
        (([1, 1], [[0, 0, 0], [0, 0, -1e19]]), "Å large"),
        # the search for pairs went through all images within the cutoff, and did not end
        ((np.ones(3), np.eye(3), 0.3 * np.eye(3), PERIODIC), "0.027 Å³ is too small for 3 atoms"),
        (
            ([1], np.zeros((1, 3)), np.diag([1e3, 1e3, 1e-3 + 1e-9]), PERIODIC),
            "images of it lie within 10 Å",
        ),
        (
            ([1], np.zeros((1, 3)), [[1e3, 0, 0], [1e3, 0.01, 0], [0, 0, 1e3]], PERIODIC),
            "images of it lie within",
        ),
        (
            ([1], np.zeros((1, 3)), 0.01 * np.eye(3), [True, True, False]),
            "images of it lie within 10 Å",
        ),
    ],
)
def test_what_cannot_be_a_sample_is_refused(arguments, said):
    with pytest.raises(FrameError, match=said) as caught:
        Frame(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "n_atoms"),
    [
        (1.42 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), 1),
        (0.74 * np.eye(3) + np.diag([0, 9, 9]), 1),
        (np.diag([20.0, 2.5, 2.5]), 8),
        (9e5 * np.eye(3), 4),
        ([[50, 0, 0], [20, 10, 0], [-20, 5, 8]], 400),
    ],
    ids=["primitive", "chain", "needle", "gas", "oblique"],
)
def test_unusual_cells_are_taken(cell, n_atoms):
    positions = np.arange(3 * n_atoms).reshape(n_atoms, 3)
    for pbc in (PERIODIC, np.array([True, False, False]), np.array([True, True, False])):
        assert len(Frame(np.ones(n_atoms), positions, cell, pbc)) == n_atoms


def test_fingerprint_is_of_the_configuration():
    positions = np.random.default_rng(0).normal(size=(3, 3))
    frame = Frame([8, 1, 1], positions, CUBE, PERIODIC)
    assert frame.fingerprint() == Frame([8, 1, 1], positions.copy(), CUBE, PERIODIC).fingerprint()
    others = [
        Frame([8, 1, 1], positions[[0, 2, 1]], CUBE, PERIODIC),
        Frame([8, 1, 1], positions + 0.01, CUBE, PERIODIC),
        Frame([8, 1, 6], positions, CUBE, PERIODIC),
        Frame([8, 1, 1], positions, CUBE * 1.01, PERIODIC),
        Frame([8, 1, 1], positions, CUBE, [True, True, False]),
    ]
    assert len({frame.fingerprint(), *(other.fingerprint() for other in others)}) == 6


def test_symbols_in_any_spelling():
    np.testing.assert_array_equal(atomic_numbers(["O", "h", "CL", " Na", "D"]), [8, 1, 17, 11, 1])
    with pytest.raises(FrameError, match="'OW'"):
        atomic_numbers(["OW"])


@pytest.mark.parametrize(
    "cell",
    [
        "5 5 5",
        "5, 5, 5, 90, 90, 90",
        "0.5 0.5 0.5 90 90 90",
        [5, 5, 5],
        CUBE,
        CUBE.ravel(),
        "5 0 0 0 5 0 0 0 5",
    ],
)
def test_cells_in_every_form(cell):
    matrix = cell_matrix(cell)
    np.testing.assert_allclose(
        matrix, CUBE * (0.1 if isinstance(cell, str) and "0.5" in cell else 1), atol=1e-6
    )


def test_triclinic_cell_has_its_lengths_and_angles():
    a, b, c = cell_matrix("10 11 12 80 95 105")
    assert [np.linalg.norm(v) for v in (a, b, c)] == pytest.approx([10, 11, 12])
    cosines = [b @ c / 132, a @ c / 120, a @ b / 110]
    assert np.degrees(np.arccos(cosines)) == pytest.approx([80, 95, 105])


@pytest.mark.parametrize(
    "cell", ["5 5", "five", "0 5 5", [5, 5, 5, 0, 0, 0], [[1, 0, 0]] * 3, "5 5 nan"]
)
def test_what_is_no_cell_is_refused(cell):
    with pytest.raises(FrameError, match="cell"):
        cell_matrix(cell)


@pytest.fixture
def cells():
    """Oblique cells that repeat in three, two, one and no directions."""
    rows = np.array([[9.0, 0.5, -1.0], [3.0, 8.0, 0.4], [-2.0, 1.0, 7.0]])
    return np.array([rows, rows * [[1], [1], [0]], rows * [[0], [1], [0]], np.zeros((3, 3))])


def test_cells_of_many_frames_are_those_of_each(cells):
    vectors = np.random.default_rng(3).normal(size=(4, 50, 3)) * 12
    together = Cell(cells)
    np.testing.assert_array_equal(together.pbc.sum(axis=1), [3, 2, 1, 0])
    for k, vectors_of_one in enumerate(cells):
        one = Cell(vectors_of_one)
        for name in ("filled", "inverse", "heights", "half_height", "volume"):
            np.testing.assert_allclose(getattr(together, name)[k], getattr(one, name), atol=1e-12)
        np.testing.assert_allclose(together.nearest(vectors)[k], one.nearest(vectors[k]))
        np.testing.assert_allclose(one.fractions(vectors[k]) @ one.filled, vectors[k], atol=1e-10)


def test_open_directions_have_unit_normals(cells):
    for vectors in cells:
        cell = Cell(vectors)
        normals = cell.filled[~cell.pbc]
        np.testing.assert_allclose(normals @ normals.T, np.eye(len(normals)), atol=1e-12)
        np.testing.assert_allclose(normals @ cell.filled[cell.pbc].T, 0, atol=1e-12)
        np.testing.assert_allclose(cell.heights[~cell.pbc], 1)
    assert Cell(cells[0]).volume == pytest.approx(abs(np.linalg.det(cells[0])))
    assert np.isnan(Cell(cells[1]).volume) and Cell(cells[3]).half_height == np.inf


def test_wrapping_and_following_add_whole_cell_vectors(cells):
    rng = np.random.default_rng(4)
    for vectors in cells:
        cell = Cell(vectors)
        positions = rng.normal(size=(30, 3)) * 3
        turns = rng.integers(-3, 4, size=(30, 3)) * cell.pbc
        moved = positions + turns @ cell.filled
        np.testing.assert_allclose(cell.nearest_to(moved, cell.fractions(positions)), positions)
        wrapped = cell.wrapped(cell.fractions(moved))
        np.testing.assert_allclose(wrapped, cell.wrapped(cell.fractions(positions)), atol=1e-9)
        assert (wrapped[:, cell.pbc] >= 0).all() and (wrapped[:, cell.pbc] < 1).all()
    assert str(Cell(np.diag([10.0, 11.0, 12.5]))) == "10 x 11 x 12.5 Å"


@pytest.mark.parametrize("skew", [0, 1, 2, 5, -11])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (True, False, True)])
def test_nearest_image_of_an_oblique_cell(skew, pbc):
    compact = np.array([[5.0, 0, 0], [1.9, 6.0, 0], [-2.1, 2.6, 7.0]])
    # the same lattice in other vectors, so that steps of the compact ones are all images
    mixing = np.array([[1, 0, 0], [skew, 1, 0], [2 * skew, -skew, 1]])
    mixing[:, ~np.array(pbc)] = mixing[~np.array(pbc)] = 0
    cell = Cell(mixing @ compact, np.array(pbc))
    atoms = np.random.default_rng(3).normal(size=(60, 3)) * 8
    turns = np.array(list(itertools.product(range(-9, 10), repeat=3))) * pbc
    shortest = [np.linalg.norm(atom + turns @ compact, axis=1).min() for atom in atoms]
    found = cell.nearest(atoms)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), shortest, atol=1e-9)
    moved = np.linalg.solve(cell.filled.T, (found - atoms).T)
    np.testing.assert_allclose(moved, np.rint(moved), atol=1e-8)
    together = Cell(
        np.stack([cell.vectors, compact * np.array(pbc)[:, None]]), np.array([pbc, pbc])
    )
    lengths = np.linalg.norm(together.nearest(np.stack([atoms, atoms])), axis=-1)
    np.testing.assert_allclose(lengths, [shortest, shortest], atol=1e-9)


def test_lattices_with_halves_are_reduced_in_any_orientation():
    """Where a vector projects on another by a half to rounding, reduction must end."""
    rng = np.random.default_rng(0)
    hexagonal = np.array([[3.0, 0, 0], [-1.5, 1.5 * np.sqrt(3), 0], [0, 0, 4.7]])
    cubic = 2.0 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    for _ in range(300):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        for vectors in (hexagonal, cubic):
            reduced = Cell(vectors @ turn).reduced
            volumes = [abs(np.linalg.det(cell)) for cell in (vectors, reduced.vectors)]
            assert volumes[0] == pytest.approx(volumes[1], rel=1e-12)
