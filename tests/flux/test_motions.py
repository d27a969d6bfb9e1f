"""Molecules, and velocities taken apart into motions, against bodies whose motion is known."""

import MDAnalysis as mda
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.elements import atomic_numbers
from mda_aptnn.errors import GroupError
from mda_aptnn.frame import Frame, cell_matrix
from mda_aptnn.trajectory.molecules import bonded_paths, find_molecules
from mda_aptnn.trajectory.motions.internal_coordinates import InternalCoordinates, find_coordinates
from mda_aptnn.trajectory.motions.normal_modes import NormalModeMotions, NormalModes
from mda_aptnn.trajectory.motions.rigid_motions import RigidMotions
from mda_aptnn.trajectory.universe_frames import UniverseFrames
from tests.systems import MASSES

WATER = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
CO2 = np.array([[0, 0, 0], [1.16, 0, 0], [-1.16, 0, 0.0]])
PEROXIDE = np.array([[0.0, 0, 0], [1.45, 0, 0], [-0.1, 0.95, 0], [1.55, -0.4, 0.87]])
TRICLINIC = cell_matrix("11 12 13 75 80 65")


def bare(symbols, bonds=()):
    """A topology with elements and bonds, without coordinates."""
    universe = mda.Universe.empty(len(symbols), trajectory=True)
    universe.add_TopologyAttr("elements", list(symbols))
    universe.add_TopologyAttr("names", list(symbols))
    if len(bonds):
        universe.add_TopologyAttr("bonds", [tuple(pair) for pair in bonds])
    return universe


def rigid(frame, bonds=()):
    found = find_molecules(bare(frame.symbols, bonds), np.arange(len(frame)), frame)
    return RigidMotions(found, masses(frame))


def masses(frame):
    return np.array([MASSES[symbol] for symbol in frame.symbols])


def placed(shapes, symbols, cell=None, seed=0):
    """Molecules turned at random about centres that are far apart, in one frame; wrapped into the
    cell, if any.
    """
    rng = np.random.default_rng(seed)
    turned = [Rotation.random(random_state=rng).apply(shape) for shape in shapes]
    grid = np.stack(np.meshgrid(*[[0.0, 5.0]] * 3), axis=-1).reshape(-1, 3)
    positions = np.concatenate([grid[k] + shape for k, shape in enumerate(turned)])
    if cell is None:
        return Frame(atomic_numbers(symbols), positions)
    wrapped = positions - np.floor(positions @ np.linalg.inv(cell)) @ cell
    return Frame(atomic_numbers(symbols), wrapped, cell, np.ones(3, bool)), positions


def kinetic(frame, parts):
    return 0.5 * (masses(frame)[:, None] * parts**2).sum(axis=(-2, -1))


@pytest.fixture(scope="module")
def water64():
    """A frame of real water, molecules cut by the boundary."""
    frames = UniverseFrames(mda.Universe(str(WATER64_TOPOLOGY), str(WATER64_TRAJECTORY)))
    return frames, frames.frame(), frames.velocities()


def test_a_rigid_rotor_only_rotates_and_moves():
    frame = placed([WATER] * 3, "OHH" * 3)
    omega, speed = np.random.default_rng(1).normal(size=(2, 3, 3)) * 5
    motions = rigid(frame)
    arms = motions.arms(frame)
    velocities = np.repeat(speed, 3, axis=0) + np.cross(np.repeat(omega, 3, axis=0), arms)
    translation, rotation, vibration = motions.parts(frame, velocities)
    np.testing.assert_allclose(translation, np.repeat(speed, 3, axis=0), atol=1e-12)
    np.testing.assert_allclose(rotation, velocities - translation, atol=1e-12)
    np.testing.assert_allclose(vibration, 0, atol=1e-12)
    np.testing.assert_allclose(motions.angular_velocities(arms, rotation), omega, atol=1e-12)


def test_a_breathing_molecule_only_vibrates():
    """All atoms move away from the centre of mass: no momentum, no angular momentum."""
    frame = placed([WATER, PEROXIDE], "OHHOOHH")
    motions = rigid(frame)
    velocities = 3.0 * motions.arms(frame)
    parts = motions.parts(frame, velocities)
    np.testing.assert_allclose(parts[:2], 0, atol=1e-12)
    np.testing.assert_allclose(parts[2], velocities, atol=1e-12)


def test_parts_sum_to_velocities_and_energies_add_up(water64):
    frames, frame, velocities = water64
    molecules = find_molecules(frames.universe, frames.indices, frame)
    assert len(molecules) == 64 and set(molecules.formulas()) == {"H2O"}
    assert "guessed" not in "".join(molecules.notes) or len(molecules.bonds) == 128
    parts = RigidMotions(molecules, frames.masses).parts(frame, velocities)
    np.testing.assert_allclose(parts.sum(axis=0), velocities, atol=1e-12 * np.abs(velocities).max())
    energies = 0.5 * (frames.masses[:, None] * parts**2).sum(axis=(1, 2))
    assert energies.sum() == pytest.approx(
        0.5 * (frames.masses[:, None] * velocities**2).sum(), rel=1e-12
    )
    # 3 degrees of freedom each: none is far from a third of the energy
    assert (np.abs(energies / energies.sum() - 1 / 3) < 0.12).all()


def test_a_linear_molecule_has_two_rotations_and_bends():
    rng = np.random.default_rng(2)
    bent = CO2 + np.array([[0, 0.05, 0], [0, 0, 0], [0, 0, 0]])
    frame = placed([bent, CO2], "COOCOO")
    motions = rigid(frame, [(0, 1), (0, 2), (3, 4), (3, 5)])
    assert motions.molecules.linear.all()
    velocities = rng.normal(size=(6, 3))
    _, rotation, vibration = motions.parts(frame, velocities)
    axis = frame.positions[[1, 4]] - frame.positions[[2, 5]]
    axis /= np.linalg.norm(axis, axis=1)[:, None]
    omega = motions.angular_velocities(motions.arms(frame), velocities)
    np.testing.assert_allclose(np.einsum("ma,ma->m", omega, axis), 0, atol=1e-10)
    # of 9 degrees of freedom 3 translate and 2 rotate: the other 4 are vibration, the two bends
    # among them
    projected = [motions.parts(frame, e.reshape(6, 3))[1:].reshape(2, -1) for e in np.eye(18)]
    ranks = [np.linalg.matrix_rank(np.array(projected)[:, k], tol=1e-8) for k in (0, 1)]
    assert ranks == [4, 8]
    # turning the oxygens of the bent one about its axis is angular momentum along it, and still no
    # rotation
    about = np.zeros((6, 3))
    about[:3] = np.cross(axis[0], motions.arms(frame)[:3])
    np.testing.assert_allclose(motions.parts(frame, about)[1], 0, atol=1e-12)
    np.testing.assert_allclose(
        rotation + vibration + motions.parts(frame, velocities)[0], velocities, atol=1e-12
    )


def test_two_atoms_rotate_and_stretch_and_an_ion_translates():
    frame = placed([[[0, 0, 0], [0.75, 0, 0]], [[0, 0, 0.0]]], "HHC")
    velocities = np.random.default_rng(3).normal(size=(3, 3))
    motions = rigid(frame)
    translation, rotation, vibration = motions.parts(frame, velocities)
    bond = frame.positions[1] - frame.positions[0]
    bond /= np.linalg.norm(bond)
    relative = velocities[1] - velocities[0]
    np.testing.assert_allclose(vibration[1] - vibration[0], (relative @ bond) * bond, atol=1e-12)
    np.testing.assert_allclose(
        rotation[1] - rotation[0], relative - (relative @ bond) * bond, atol=1e-12
    )
    np.testing.assert_array_equal(translation[2], velocities[2])
    np.testing.assert_array_equal(rotation[2], 0)
    np.testing.assert_array_equal(vibration[2], 0)


@pytest.mark.parametrize(
    "cell", [np.diag([11.0, 12, 13]), TRICLINIC], ids=["orthorhombic", "triclinic"]
)
def test_molecules_over_the_boundary_are_as_whole_ones(cell):
    symbols = "OHHOOHH" * 3
    wrapped, positions = placed([WATER, PEROXIDE] * 3, symbols, cell, seed=5)
    assert (np.abs(wrapped.positions - positions) > 1).any()
    whole = Frame(wrapped.numbers, positions)
    velocities = np.random.default_rng(4).normal(size=(len(symbols), 3))
    one, other = rigid(wrapped), rigid(whole)
    np.testing.assert_array_equal(one.molecules.membership, other.molecules.membership)
    np.testing.assert_allclose(one.arms(wrapped), other.arms(whole), atol=1e-12)
    np.testing.assert_allclose(
        one.parts(wrapped, velocities), other.parts(whole, velocities), atol=1e-12
    )


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, True, False)])
def test_the_nearest_image_is_the_nearest(pbc):
    """Also in a flat cell where rounding fractions is not enough."""
    cell = cell_matrix("5 6 7 50 60 45")
    frame = Frame([1], np.zeros((1, 3)), cell, pbc)
    vectors = np.random.default_rng(6).normal(size=(200, 3)) * 6
    steps = np.stack(np.meshgrid(*[np.arange(-8, 9) if p else [0] for p in pbc]), axis=-1).reshape(
        -1, 3
    )
    best = np.linalg.norm(vectors[:, None] + steps @ cell, axis=2).min(axis=1)
    found = frame.box.nearest(vectors)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), best, atol=1e-10)


def test_bonds_come_from_the_topology_or_from_distances_with_a_note():
    frame = placed([WATER, WATER], "OHHOHH")
    given = find_molecules(bare("OHHOHH", [(0, 1), (0, 2), (3, 4), (3, 5)]), np.arange(6), frame)
    guessed = find_molecules(bare("OHHOHH"), np.arange(6), frame)
    assert given.notes == [] and "no bonds" in guessed.notes[0]
    np.testing.assert_array_equal(given.bonds, guessed.bonds)
    partial = find_molecules(bare("OHHOHH", [(0, 1), (0, 2)]), np.arange(6), frame)
    assert "2 hydrogen atoms" in partial.notes[0]
    np.testing.assert_array_equal(partial.membership, [0, 0, 0, 1, 1, 1])


def test_a_shared_hydrogen_belongs_to_its_nearest_atom():
    frame = Frame([8, 1, 8], [[0, 0, 0], [1.1, 0, 0], [2.4, 0, 0]])
    assert find_molecules(bare("OHO"), np.arange(3), frame).bonds.tolist() == [[0, 1]]


def test_a_bond_that_breaks_is_found():
    frame = placed([WATER, WATER], "OHHOHH")
    molecules = find_molecules(bare("OHHOHH"), np.arange(6), frame)
    assert molecules.broken_bond(frame) == -1
    moved = frame.positions.copy()
    moved[4] += 0.6 * (moved[4] - moved[3])
    assert molecules.bonds[molecules.broken_bond(Frame(frame.numbers, moved))].tolist() == [3, 4]


def test_a_crystal_has_no_rotation():
    positions = np.array([[1.4 * k, 0, 0] for k in range(4)])
    frame = Frame([6] * 4, positions, np.diag([5.6, 8, 8]), np.ones(3, bool))
    with pytest.raises(GroupError, match="own periodic image"):
        rigid(frame)


def test_chains_along_bonds():
    bonds = np.array([[0, 1], [0, 2], [1, 3]])
    assert sorted(map(tuple, bonded_paths(bonds, 4, 3))) == [
        (0, 1, 3),
        (1, 0, 2),
        (2, 0, 1),
        (3, 1, 0),
    ]
    assert sorted(map(tuple, bonded_paths(bonds, 4, 4))) == [(2, 0, 1, 3), (3, 1, 0, 2)]


def coordinate(positions):
    """Length, angle or dihedral of 2, 3 or 4 points, by textbook formulas."""
    steps = np.diff(positions, axis=0)
    if len(steps) == 1:
        return np.linalg.norm(steps[0])
    if len(steps) == 2:
        a, b = -steps[0], steps[1]
        return np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    n1, n2 = np.cross(steps[0], steps[1]), np.cross(steps[1], steps[2])
    return np.arctan2(np.linalg.norm(steps[1]) * (steps[0] @ n2), n1 @ n2)


PEROXIDE_COORDINATES = {
    "OO": [[0, 1]],
    "OH": [[0, 2], [1, 3]],
    "OOH": [[2, 0, 1], [0, 1, 3]],
    "torsion": [[2, 0, 1, 3]],
}


def test_each_part_changes_its_own_coordinate_and_no_other():
    """Rates of all coordinates by finite differences of textbook formulas."""
    frame = placed([PEROXIDE], "OOHH")
    motions = InternalCoordinates(
        rigid(frame), {k: np.array(v) for k, v in PEROXIDE_COORDINATES.items()}
    )
    velocities = np.random.default_rng(7).normal(size=(4, 3))
    parts = dict(zip(motions.names, motions.parts(frame, velocities), strict=True))

    def rates(moving):
        h = 1e-5
        after, before = frame.positions + h * moving, frame.positions - h * moving
        atoms = [row for rows in PEROXIDE_COORDINATES.values() for row in rows]
        return np.array([coordinate(after[row]) - coordinate(before[row]) for row in atoms]) / (
            2 * h
        )

    names = [name for name, rows in PEROXIDE_COORDINATES.items() for _ in rows]
    expected = rates(velocities)
    for name in PEROXIDE_COORDINATES:
        wanted = np.where([n == name for n in names], expected, 0)
        np.testing.assert_allclose(rates(parts[name]), wanted, atol=1e-7)
    # 6 coordinates of 6 vibrations: nothing is left
    np.testing.assert_allclose(parts["other vibration"], 0, atol=1e-10)
    np.testing.assert_allclose(sum(parts.values()), velocities, atol=1e-12)


def test_selections_find_the_coordinates_of_real_water(water64):
    frames, frame, velocities = water64
    motions = RigidMotions(find_molecules(frames.universe, frames.indices, frame), frames.masses)
    chosen = {
        "stretch": ("element O", "element H"),
        "bend": ("element H", "element O", "element H"),
    }
    found = find_coordinates(chosen, frames.universe.atoms, frames.indices, motions.molecules.bonds)
    assert found["stretch"].shape == (128, 2) and found["bend"].shape == (64, 3)
    internal = InternalCoordinates(motions, found)
    parts = internal.parts(frame, velocities)
    assert list(internal.names) == ["translation", "rotation", "stretch", "bend", "other vibration"]
    np.testing.assert_allclose(parts.sum(axis=0), velocities, atol=1e-11 * np.abs(velocities).max())
    np.testing.assert_allclose(parts[:2], motions.parts(frame, velocities)[:2], atol=1e-12)
    np.testing.assert_allclose(parts[4], 0, atol=1e-8 * np.abs(velocities).max())
    # stretching alone leaves what bends, under the masses at right angles to it
    alone = InternalCoordinates(motions, {"stretch": found["stretch"]}).parts(frame, velocities)
    assert np.abs(alone[3]).max() > 1
    assert abs((frames.masses[:, None] * alone[2] * alone[3]).sum()) < 1e-8 * (alone[2] ** 2).sum()


def test_redundant_coordinates_share():
    frame = placed([WATER], "OHH")
    base = {"a": [[0, 1]], "b": [[0, 2]], "bend": [[1, 0, 2]]}
    velocities = np.random.default_rng(8).normal(size=(3, 3))
    one = InternalCoordinates(rigid(frame), {k: np.array(v) for k, v in base.items()}).parts(
        frame, velocities
    )
    redundant = {k: np.array(v) for k, v in (base | {"HH": [[1, 2]]}).items()}
    other = InternalCoordinates(rigid(frame), redundant).parts(frame, velocities)
    np.testing.assert_allclose(other[2:6].sum(axis=0), one[2:5].sum(axis=0), atol=1e-10)
    assert np.abs(other[5]).max() > 1e-3


@pytest.mark.parametrize(
    ("selections", "said"),
    [
        ({"x": ("element O", "element C")}, "'x' .*no bonded atoms match"),
        ({"x": ("element O",)}, "has 1 selections; give 2, 3 or 4"),
        ({"x": "element O"}, "two to four selections"),
        ({"x": [[0, 77]]}, "not there"),
        ({"x": [[0, 4]]}, "joins atoms of different molecules"),
        ({"x": ("element O", "element H"), "y": [[1, 0]]}, "stand in coordinates 'x' and 'y'"),
        ({"rotation": ("element O", "element H")}, "'rotation' is kept"),
        (
            {"x": ("element O", "elemnt H")},
            "coordinate 'x' .elemnt H. is no selection of MDAnalysis: .*'elemnt'",
        ),
        (
            {"x": ("element O", "resname WAT")},
            "coordinate 'x' .resname WAT.: the topology does not have",
        ),
    ],
)
def test_coordinates_that_cannot_be_are_refused(selections, said):
    frame = placed([WATER, WATER], "OHHOHH")
    motions = rigid(frame)
    with pytest.raises(GroupError, match=said):
        InternalCoordinates(
            motions,
            find_coordinates(
                selections, bare("OHHOHH").atoms, np.arange(6), motions.molecules.bonds
            ),
        )


def modes_of(shape, mass, seed=0):
    """Displacements [n_modes, n_atoms, 3] of the vibrations of springs between all atoms, from
    their Hessian.
    """
    n = len(shape)
    hessian = np.zeros((3 * n, 3 * n))
    rng = np.random.default_rng(seed)
    for i in range(n):
        for j in range(i):
            u = shape[j] - shape[i]
            u /= np.linalg.norm(u)
            block = rng.uniform(1, 3) * np.outer(u, u)
            for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                hessian[3 * a : 3 * a + 3, 3 * b : 3 * b + 3] += sign * block
    root = np.repeat(np.sqrt(mass), 3)
    values, vectors = np.linalg.eigh(hessian / np.outer(root, root))
    kept = vectors[:, values > 1e-8].T / root
    return kept.reshape(len(kept), n, 3)


def test_all_modes_of_a_molecule_leave_nothing(water64):
    frames, frame, velocities = water64
    motions = RigidMotions(find_molecules(frames.universe, frames.indices, frame), frames.masses)
    modes = modes_of(WATER, frames.masses[:3])
    assert len(modes) == 3
    found = NormalModeMotions(motions, NormalModes("OHH", WATER, modes))
    parts = found.parts(frame, velocities)
    assert list(found.names) == [
        "translation",
        "rotation",
        "mode 1",
        "mode 2",
        "mode 3",
        "other vibration",
    ]
    np.testing.assert_allclose(parts.sum(axis=0), velocities, atol=1e-11 * np.abs(velocities).max())
    np.testing.assert_allclose(parts[-1], 0, atol=1e-10 * np.abs(velocities).max())
    # one that is missing is what is left
    part = NormalModeMotions(motions, NormalModes("OHH", WATER, modes[:2], ["bend", "bend"])).parts(
        frame, velocities
    )
    np.testing.assert_allclose(part[2], parts[2] + parts[3], atol=1e-10)
    np.testing.assert_allclose(part[3], parts[4], atol=1e-10)


def test_a_mode_that_is_excited_is_found_alone():
    """A turning, moving molecule that vibrates in one mode: velocities by finite differences."""
    mass = np.array([MASSES[s] for s in "OOHH"])
    modes = modes_of(PEROXIDE - mass @ PEROXIDE / mass.sum(), mass)
    turn = Rotation.from_rotvec([0.3, -0.4, 1.1])
    centre = PEROXIDE - mass @ PEROXIDE / mass.sum()

    def positions(t, second=0.0):
        shape = (
            centre + 0.1 * np.sin(3 * t + 0.5) * modes[2] + second * np.sin(4 * t + 2) * modes[4]
        )
        return Rotation.from_rotvec(t * np.array([1.0, 2, -0.5])).apply(
            turn.apply(shape)
        ) + t * np.array([4.0, 5, 6])

    h = 1e-5
    frame = Frame(atomic_numbers("OOHH"), positions(0.2))
    velocities = (positions(0.2 + h) - positions(0.2 - h)) / (2 * h)
    found = NormalModeMotions(rigid(frame), NormalModes("OOHH", PEROXIDE, modes)).parts(
        frame, velocities
    )
    speed = 0.3 * np.cos(3 * 0.2 + 0.5) * modes[2]
    expected = Rotation.from_rotvec(0.2 * np.array([1.0, 2, -0.5])).apply(turn.apply(speed))
    np.testing.assert_allclose(found[4], expected, atol=1e-8)
    np.testing.assert_allclose(np.delete(found[2:], 2, axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(found[0], np.tile([4.0, 5, 6], (4, 1)), atol=1e-8)
    # one mode has no angular momentum, two out of phase have, which is rotation of the body but not
    # of the frame
    np.testing.assert_allclose(rigid(frame).parts(frame, velocities)[1], found[1], atol=1e-8)
    frame = Frame(frame.numbers, positions(0.2, 0.1))
    velocities = (positions(0.2 + h, 0.1) - positions(0.2 - h, 0.1)) / (2 * h)
    found = NormalModeMotions(rigid(frame), NormalModes("OOHH", PEROXIDE, modes)).parts(
        frame, velocities
    )
    np.testing.assert_allclose(found[4], expected, atol=1e-8)
    np.testing.assert_allclose(found[[2, 3, 5, 7]], 0, atol=1e-8)
    assert np.abs(rigid(frame).parts(frame, velocities)[1] - found[1]).max() > 1e-3


def test_modes_of_a_linear_molecule():
    mass = np.array([MASSES[s] for s in "COO"])
    axes = np.eye(3)
    bend = np.array(
        [np.outer([1 / mass[0], -0.5 / mass[1], -0.5 / mass[2]], axes[k]) for k in (1, 2)]
    )
    stretch = np.array(
        [np.outer([0, 1, -1], axes[0]), np.outer([-2 * mass[1] / mass[0], 1, 1], axes[0])]
    )
    names = ["bend", "bend", "symmetric", "antisymmetric"]
    frame = placed([CO2 + 0.03 * np.random.default_rng(9).normal(size=(3, 3))], "COO")
    motions = rigid(frame, [(0, 1), (0, 2)])
    structure = NormalModes("COO", CO2, np.concatenate([bend, stretch]), names)
    velocities = np.random.default_rng(10).normal(size=(3, 3))
    parts = NormalModeMotions(motions, structure).parts(frame, velocities)
    np.testing.assert_allclose(parts.sum(axis=0), velocities, atol=1e-12)
    np.testing.assert_allclose(parts[-1], 0, atol=1e-10)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"symbols": "HOH"}, "no molecule has the elements"),
        ({"modes": np.ones((1, 3, 3))}, "moves or turns the whole molecule"),
        ({"modes": np.zeros((1, 3, 3))}, "is zero"),
        ({"modes": np.ones((3, 3))}, "do not agree"),
        ({"names": ["a"]}, "give 3 names"),
        ({"names": ["rotation", "b", "c"]}, "none of them that of another motion"),
    ],
)
def test_modes_that_cannot_be_are_refused(changes, said):
    frame = placed([WATER], "OHH")
    options = {
        "symbols": "OHH",
        "positions": WATER,
        "modes": modes_of(WATER, masses(frame)),
    } | changes
    with pytest.raises(GroupError, match=said):
        NormalModeMotions(rigid(frame), NormalModes(**options))


def test_modes_that_are_not_orthogonal_are_refused():
    frame = placed([WATER], "OHH")
    modes = modes_of(WATER, masses(frame))
    with pytest.raises(GroupError, match="not orthogonal"):
        NormalModeMotions(
            rigid(frame), NormalModes("OHH", WATER, np.array([modes[0], modes[0] + modes[1]]))
        )
