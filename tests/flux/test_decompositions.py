"""The flux taken apart by groups and motions: in the pass, and from the flux of atoms on disk."""

import dataclasses

import h5py
import MDAnalysis as mda
import numpy as np
import pytest

from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.errors import FileFormatError, GroupError, TrajectoryError
from mda_aptnn.flux.atom_flux import load_groups
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.molecular_flux import open_molecules
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.spectra.velocity_spectrum import stored_density
from mda_aptnn.trajectory.motions.normal_modes import NormalModes
from tests.systems import KnownTensors, gas, random_tensors, universe

READING = {"velocity_unit": "angstrom/ps"}
CHARGES = {"O": -0.8, "H": 0.4}


@pytest.fixture(scope="module")
def rattling():
    return gas()


@pytest.fixture(scope="module")
def model():
    return KnownTensors(random_tensors(9), slope=0.5)


@pytest.fixture(scope="module")
def whole(rattling, model):
    return DipoleFlux(rattling, model, **READING).run().series


@pytest.fixture(scope="module")
def atom_file(rattling, model, tmp_path_factory):
    """The flux of every atom in every motion."""
    path = tmp_path_factory.mktemp("atoms") / "atoms.h5"
    DipoleFlux(rattling, model, per="atom", motions="rigid", **READING).run().save(path)
    return path


@pytest.fixture(scope="module")
def real():
    """Ten frames of real water with the charge current as flux."""
    u = mda.Universe(str(WATER64_TOPOLOGY), str(WATER64_TRAJECTORY))
    return u, FixedCharges(CHARGES)


def complete(series, total, tolerance=1e-12):
    """Terms sum to the total within this part of its maximum."""
    assert np.abs(series.total - total).max() <= tolerance * np.abs(total).max()


@pytest.mark.parametrize(
    ("per", "names", "species"),
    [
        ("element", ["H", "O"], None),
        ("molecule", ["H2O 1", "H2O 2", "H2O 3"], ["H2O"] * 3),
        ("residue", ["WAT 1", "ION 1", "WAT 2"], ["WAT", "ION", "WAT"]),
        ("resname", ["ION", "WAT"], None),
    ],
)
def test_a_group_for_every_kind(model, whole, per, names, species, atom_file):
    u = gas()
    u.add_TopologyAttr("resnames", ["WAT"])
    for first, name in ((3, "ION"), (6, "WAT")):
        residue = u.add_Residue(
            segment=u.segments[0], resid=first, resname=name, resnum=first, icode=""
        )
        u.atoms[first : first + 3].residues = residue
    found = DipoleFlux(u, model, per=per, **READING).run().series
    assert found.groups == names and found.labels.get("species") == species
    complete(found, whole.total)
    words = {"element": u.atoms.elements, "resname": u.atoms.resnames}.get(per)
    selected = (
        {name: u.atoms[words == name] for name in names}
        if words is not None
        else {name: u.atoms[3 * k : 3 * k + 3] for k, name in enumerate(names)}
    )
    expected = DipoleFlux(u, model, selected, **READING).run().series
    np.testing.assert_allclose(found.flux, expected.flux, atol=1e-12)
    again = load_groups(atom_file, u, per=per)
    assert again.groups == names and again.labels == found.labels
    np.testing.assert_allclose(again.flux, found.flux, atol=1e-5)


def test_molecules_without_bonds_are_guessed_and_a_note_says_so(rattling, model):
    found = DipoleFlux(rattling, model, per="molecule", **READING).run()
    assert any("bonds were guessed" in note for note in found.series.info["notes"])
    assert "broken" not in " ".join(found.series.info["notes"])


def test_options_that_exclude_each_other(rattling, model, atom_file):
    with pytest.raises(ValueError, match="two ways to say it"):
        DipoleFlux(rattling, model, {"O": "element O"}, per="molecule", **READING)
    with pytest.raises(ValueError, match="two ways to say it"):
        load_groups(atom_file, rattling, {"O": "element O"}, per="element")
    with pytest.raises(GroupError, match="no residue names"):
        DipoleFlux(rattling, model, per="resname", **READING)
    for wrong in (3, "vibrations"):
        with pytest.raises(GroupError, match='give "rigid"'):
            DipoleFlux(rattling, model, motions=wrong, **READING)


def test_a_shell_has_its_atoms_of_each_frame(rattling, model, whole, atom_file):
    """Hydrogen atoms near the first oxygen of others; the groups partition the atoms in every
    frame.
    """
    shell = "element H and not index 1:2 and around 4.3 index 0"
    groups = {
        "first": rattling.select_atoms("index 0:2"),
        "shell": rattling.select_atoms(shell, updating=True),
    }
    found = DipoleFlux(rattling, model, groups, **READING).run().series
    assert found.groups == ["first", "shell", "rest"]
    atoms = (
        DipoleFlux(rattling, model, {str(k): f"index {k}" for k in range(9)}, **READING)
        .run()
        .series.flux
    )
    sizes = set()
    for t, _ in enumerate(rattling.trajectory):
        inside = rattling.select_atoms(shell).indices
        sizes.add(len(inside))
        rest = np.setdiff1d(np.arange(3, 9), inside)
        expected = [atoms[t, part].sum(axis=0) for part in ([0, 1, 2], inside, rest)]
        np.testing.assert_allclose(found.flux[t], expected, atol=1e-12)
    assert len(sizes) > 1
    complete(found, whole.total)
    # by strings, in parallel, and from the flux of atoms: the same
    strings = {"first": "index 0:2", "shell": shell}
    parallel = DipoleFlux(rattling, model, strings, updating=True, **READING).run(
        backend="multiprocessing", n_workers=2
    )
    np.testing.assert_array_equal(parallel.results.flux, found.flux)
    again = load_groups(atom_file, rattling, strings, updating=True)
    np.testing.assert_allclose(again.flux, found.flux, atol=1e-5)
    with pytest.raises(GroupError, match="as a string, and updating=True"):
        load_groups(atom_file, rattling, groups)


def test_a_shell_that_is_empty_has_no_flux_then(model):
    """One molecule is near in the second half only."""
    u = gas()
    u.trajectory.get_array()[:20, 3:6] += 3.0
    groups = {"near": u.select_atoms("index 3:8 and around 3.3 index 0:2", updating=True)}
    found = DipoleFlux(u, model, groups, check_temperature=False, **READING).run().series
    empty = [len(u.select_atoms("index 3:8 and around 3.3 index 0:2")) == 0 for _ in u.trajectory]
    assert 0 < sum(empty) < 40
    np.testing.assert_array_equal(found.flux[:, 0].any(axis=1), np.logical_not(empty))


def test_shells_that_share_atoms_are_refused_in_the_frame_where_they_do(model):
    u = gas()
    u.trajectory.get_array()[13, 4] = u.trajectory.get_array()[13, 2] + [1.0, 0, 0]
    groups = {
        "A": u.select_atoms("index 2:8 and around 1.2 index 2", updating=True),
        "B": u.select_atoms("index 4:5"),
    }
    with pytest.raises(GroupError, match="'A' and 'B' share 1 atoms in frame 13"):
        DipoleFlux(u, model, groups, check_temperature=False, **READING).run()


def test_updated_groups_from_a_file_need_all_atoms(rattling, model, tmp_path):
    DipoleFlux(rattling.select_atoms("element O"), model, per="atom", **READING).run().save(
        tmp_path / "o.h5"
    )
    with pytest.raises(GroupError, match="no positions of 6 atoms"):
        load_groups(
            tmp_path / "o.h5", rattling, {"O": "element O and around 3 index 0"}, updating=True
        )


def test_motions_of_groups_sum_to_the_groups(rattling, model, whole, atom_file):
    groups = {"O": "element O", "H": "element H"}
    plain = DipoleFlux(rattling, model, groups, **READING).run().series
    found = DipoleFlux(rattling, model, groups, motions="rigid", **READING).run()
    series = found.series
    assert series.groups[:4] == ["O translation", "O rotation", "O vibration", "H translation"]
    assert series.labels == {
        "group": ["O"] * 3 + ["H"] * 3,
        "motion": ["translation", "rotation", "vibration"] * 2,
    }
    np.testing.assert_allclose(series.sum_over("group").flux, plain.flux, atol=1e-11)
    alone = DipoleFlux(rattling, model, motions="rigid", **READING).run().series
    assert (
        alone.groups == series.sum_over("motion").groups == ["translation", "rotation", "vibration"]
    )
    np.testing.assert_allclose(series.sum_over("motion").flux, alone.flux, atol=1e-11)
    complete(alone, whole.total)
    from_file = load_groups(atom_file, rattling, groups, motions=True)
    assert from_file.groups == series.groups and from_file.labels == series.labels
    np.testing.assert_allclose(from_file.flux, series.flux, atol=1e-5)
    with pytest.raises(GroupError, match="no 'species'; it has group, motion"):
        series.sum_over("species")


def test_labels_are_kept_in_files_and_lost_by_sums(rattling, model, tmp_path):
    found = DipoleFlux(rattling, model, per="molecule", motions="rigid", **READING).run()
    found.save(tmp_path / "f.h5")
    again = FluxSeries.load(tmp_path / "f.h5")
    assert again.labels == found.series.labels and len(again.labels["species"]) == 9
    assert again.regroup({"first": ["H2O 1 rotation"]}).labels == {}
    assert (
        FluxSeries.merge([again, dataclasses.replace(again, flux=2 * again.flux)]).labels
        == again.labels
    )
    with pytest.raises(FileFormatError, match="groups only"):
        load_groups(tmp_path / "f.h5", rattling, motions=True)


def test_motions_need_a_file_that_has_them(rattling, model, tmp_path):
    DipoleFlux(rattling, model, per="atom", **READING).run().save(tmp_path / "a.h5")
    with pytest.raises(FileFormatError, match="no motions of atoms"):
        load_groups(tmp_path / "a.h5", rattling, motions=True)


def test_motions_of_real_water_sum_to_the_total(real):
    u, charges = real
    plain = DipoleFlux(u, charges).run(stop=10).series
    for motions in (
        "rigid",
        {"OH": ("element O", "element H"), "HOH": ("element H", "element O", "element H")},
    ):
        complete(DipoleFlux(u, charges, motions=motions).run(stop=10).series, plain.total, 1e-10)
    molecules = DipoleFlux(u, charges, per="molecule", motions="rigid").run(stop=10).series
    assert len(molecules.groups) == 192
    complete(molecules, plain.total, 1e-10)
    # equal charges move with the centre of mass of a neutral molecule, which then has no dipole
    # flux
    neutral = molecules.sum_over("motion").regroup(["translation"]).flux[:, 0]
    assert np.abs(neutral).max() < 1e-10 * np.abs(plain.total).max()


def test_an_object_of_the_user_takes_velocities_apart(rattling, model, whole):
    class Axes:
        names = ("along z", "in the plane")

        def parts(self, frame, velocities):
            return np.stack([velocities * [0, 0, 1], velocities * [1, 1, 0]])

    class Wrong(Axes):
        def parts(self, frame, velocities):
            return super().parts(frame, velocities) * [[[1]], [[0.999]]]

    found = DipoleFlux(rattling, model, motions=Axes(), **READING).run().series
    assert found.groups == ["along z", "in the plane"]
    complete(found, whole.total)
    with pytest.raises(GroupError, match=r"leave .* of the velocities"):
        DipoleFlux(rattling, model, motions=Wrong(), **READING).run()


def test_modes_are_an_option_of_the_flux(rattling, model, whole):
    water = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    u, v = water[1] / 0.96, water[2] / np.linalg.norm(water[2])
    breathing = np.stack([-(u + v) * 1.008 / 15.999, u, v])
    found = DipoleFlux(
        rattling, model, motions=NormalModes("OHH", water, [breathing], ["breathing"]), **READING
    )
    series = found.run(stop=8).series
    assert series.groups == ["translation", "rotation", "breathing", "other vibration"]
    complete(series, whole.total[:8])


def test_a_proton_that_leaves_is_told_and_atoms_still_sum(model, tmp_path):
    """Atom 4 leaves its oxygen in frame 7 and stays away from frame 12 on."""
    u = gas()
    for frame in (7, *range(12, 40)):
        array = u.trajectory.get_array()
        array[frame, 4] = array[frame, 3] + [0.0, -1.7, 0.2]
    with pytest.warns(UserWarning, match=r"in frame 7 \(0.0035 ps\) the bond O-H of atoms 3 and 4"):
        found = DipoleFlux(u, model, per="molecule", check_temperature=False, **READING).run()
    assert any("29 of 40 frames" in note for note in found.series.info["notes"])
    by_atoms = DipoleFlux(u, model, per="atom", check_temperature=False, **READING).run()
    complete(found.series, by_atoms.series.total)
    by_atoms.save(tmp_path / "a.h5")
    with pytest.warns(UserWarning, match="in frame 7"):
        again = load_groups(tmp_path / "a.h5", u, per="molecule")
    np.testing.assert_allclose(again.flux, found.series.flux, atol=1e-5)
    with pytest.warns(UserWarning, match="in frame 7"):
        parallel = DipoleFlux(u, model, per="molecule", check_temperature=False, **READING).run(
            backend="multiprocessing", n_workers=2
        )
    assert parallel.series.info["notes"] == found.series.info["notes"]


def test_a_checkpoint_of_other_motions_is_refused(rattling, model, tmp_path):
    DipoleFlux(rattling, model, motions="rigid", checkpoint=tmp_path / "c", **READING).run(stop=5)
    DipoleFlux(rattling, model, motions="rigid", checkpoint=tmp_path / "c", **READING).run()
    for other in (None, {"OH": ("element O", "element H")}):
        with pytest.raises(Exception, match=r"another run \(differs in groups"):
            DipoleFlux(rattling, model, motions=other, checkpoint=tmp_path / "c", **READING)


def test_a_checkpoint_of_other_coordinates_or_shells_of_the_same_name_is_refused(
    rattling, model, tmp_path
):
    def begin(folder, **options):
        return DipoleFlux(rattling, model, checkpoint=tmp_path / folder, **options, **READING)

    begin("c", motions={"OH": ("element O", "element H")}).run(stop=5)
    begin("c", motions={"OH": ("element O", "element H")})
    with pytest.raises(TrajectoryError, match=r"another run \(differs in motions\)"):
        begin("c", motions={"OH": [[0, 1]]})
    # in the first frame no hydrogen of another molecule is so near: the same atoms in both
    shells = [
        {"shell": f"element H and not index 1:2 and around {radius} index 0"}
        for radius in (1.0, 1.1)
    ]
    begin("s", groups=shells[0], updating=True).run(stop=5)
    begin("s", groups=shells[0], updating=True)
    with pytest.raises(TrajectoryError, match=r"another run \(differs in selections\)"):
        begin("s", groups=shells[1], updating=True)


def test_a_selection_that_is_none_is_named(rattling, model):
    for groups, said in (
        (
            {"O": "element O", "H": "elemnt H"},
            "group 'H' .elemnt H. is no selection of MDAnalysis: .*'elemnt'",
        ),
        ({"O": "element O and"}, "group 'O' .element O and. is no selection"),
        ({"O": "resname WAT"}, "group 'O' .resname WAT.: the topology does not have"),
    ):
        with pytest.raises(GroupError, match=said):
            DipoleFlux(rattling, model, groups, **READING)


def test_a_breathing_molecule_has_a_vibrational_flux_only():
    """Rigid water that turns has rotation only, and one that swells has vibration only."""
    shape = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    mass = np.array([15.999, 1.008, 1.008])
    centred = shape - mass @ shape / mass.sum()
    times = 0.001 * np.arange(6)
    swelling = (np.tile(centred + 4, (6, 1, 1)), 20 * np.cos(9 * times)[:, None, None] * centred)
    omega = np.array([3.0, -20.0, 10.0])
    turning = (np.tile(centred + 4, (6, 1, 1)), np.tile(np.cross(omega, centred), (6, 1, 1)))
    for (positions, velocities), kept in ((swelling, 2), (turning, 1)):
        u = universe(positions, velocities, "OHH", cell=[9, 9, 9, 90, 90, 90], time_step=0.001)
        # positions stay where they are, so that the motion is known exactly
        options = {**READING, "allow_aliasing": True}
        found = DipoleFlux(u, FixedCharges(CHARGES), motions="rigid", **options).run().series.flux
        largest = np.abs(found).max()
        assert largest > 1
        # positions and velocities are in float32
        np.testing.assert_allclose(np.delete(found, kept, axis=1), 0, atol=2e-6 * largest)


def test_a_topology_of_another_system_is_refused(rattling, model, tmp_path):
    """More of the same molecules: elements agree as far as the flux has atoms."""
    larger = gas(n_molecules=5)
    DipoleFlux(rattling, model, per="atom", **READING).run().save(tmp_path / "a.h5")
    for name in ("as it is", "of version 0.1.0"):
        for read in (
            lambda universe: load_groups(tmp_path / "a.h5", universe),
            lambda universe: open_molecules(tmp_path / "a.h5", universe).__enter__(),
            lambda universe: stored_density(tmp_path / "a.h5", universe, resolution=1000),
        ):
            with pytest.raises(GroupError, match=r"another topology: .* of 9 particles, .* has 15"):
                read(larger)
        assert len(load_groups(tmp_path / "a.h5", rattling)) == 40, name
        with h5py.File(tmp_path / "a.h5", "a") as file:
            file["atoms"].attrs.pop("n_particles", None)


def test_sites_that_are_no_atoms_belong_to_the_topology(tmp_path):
    """OHHM: the last particle is no atom."""
    rng, shape = np.random.default_rng(0), np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.1, 0, 0]])
    positions, velocities = shape + 0.01 * rng.normal(size=(30, 4, 3)), rng.normal(size=(30, 4, 3))
    with_sites = universe(positions, velocities, "OHHM", cell=(9, 9, 9, 90, 90, 90))
    charges = FixedCharges({"O": -0.8, "H": 0.4})
    DipoleFlux(with_sites, charges, per="atom", check_temperature=False, **READING).run().save(
        tmp_path / "a.h5"
    )
    whole = load_groups(tmp_path / "a.h5", with_sites).flux
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["atoms"].attrs["n_particles"]
    np.testing.assert_array_equal(load_groups(tmp_path / "a.h5", with_sites).flux, whole)
