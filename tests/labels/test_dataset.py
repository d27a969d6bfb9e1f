import h5py
import numpy as np
import pytest

import tests
from mda_aptnn import io
from mda_aptnn.errors import AptnnError, FileFormatError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame, read_labels, write_xyz
from tests.systems import random_tensors

SHARED = tests.SHARED / "data"

PUBLISHED = """2
 fmt='p:a'
O 0.0 0.0 0.0 1 2 3 4 5 6 7 8 9
H 1.0 0.0 0.0 -1 -2 -3 -4 -5 -6 -7 -8 -9
"""


@pytest.fixture
def labels() -> Dataset:
    """Periodic, slab and isolated frames of different sizes; tensors far from symmetric; one atom
    unlabelled.
    """
    rng = np.random.default_rng(0)
    cell = np.array([[9.0, 0, 0], [1.0, 8.0, 0], [0.5, 0.25, 7.0]])
    slab = np.diag([5.0, 6.0, 0.0])
    frames = [
        Frame([8, 1, 1], 3 * rng.normal(size=(3, 3)), cell, [True] * 3),
        Frame([6, 8], 3 * rng.normal(size=(2, 3)), slab, [True, True, False], 0.0),
        Frame([8, 1], 3 * rng.normal(size=(2, 3)), charge=-1.0),
    ]
    tensors = [random_tensors(len(frame), seed) for seed, frame in enumerate(frames)]
    tensors[1][1] = np.nan
    infos = [{"time": 1.5, "source": "run 'a'"}, {}, {"energy": -17.25}]
    items = [
        LabelledFrame(f, {"apt": t}, i) for f, t, i in zip(frames, tensors, infos, strict=True)
    ]
    return Dataset(items, "RPBE-D3/TZV2P", {"x.out": "ab12"})


def assert_same(a: Dataset, b: Dataset, tolerance: float) -> None:
    assert len(a) == len(b) and a.level_of_theory == b.level_of_theory
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one.frame.numbers, other.frame.numbers)
        np.testing.assert_array_equal(one.frame.pbc, other.frame.pbc)
        for name in ("positions", "cell", "charge"):
            np.testing.assert_allclose(
                getattr(one.frame, name), getattr(other.frame, name), rtol=0, atol=tolerance
            )
        np.testing.assert_allclose(one.apt, other.apt, rtol=0, atol=tolerance)
        assert one.info == other.info


def test_hdf5_gives_back_every_bit(labels, tmp_path):
    labels.save(tmp_path / "l.h5")
    back = Dataset.load(tmp_path / "l.h5")
    assert_same(labels, back, 0.0)
    assert back.sources == labels.sources
    assert back.symbols == ["H", "C", "O"]
    with h5py.File(tmp_path / "l.h5") as file:
        assert file["apt"].attrs["units"] == "e" and file["positions"].attrs["units"] == "angstrom"


def test_extended_xyz_gives_back_ten_digits_and_the_orientation(labels, tmp_path):
    write_xyz(labels, tmp_path / "l.xyz")
    assert_same(labels, read_labels(tmp_path / "l.xyz"), 1e-9)
    first_atom = (tmp_path / "l.xyz").read_text().splitlines()[2].split()
    # row by row: the second of the nine numbers is P[x, y]
    assert float(first_atom[5]) == pytest.approx(labels[0].apt[0, 0, 1])


def test_ase_reads_the_same_cell_and_tensors(labels, tmp_path):
    ase = pytest.importorskip("ase.io")
    write_xyz(labels, tmp_path / "l.xyz")
    atoms = ase.read(tmp_path / "l.xyz", index=0)
    np.testing.assert_allclose(atoms.cell.array, labels[0].frame.cell)
    np.testing.assert_allclose(atoms.arrays["apt"].reshape(-1, 3, 3), labels[0].apt, atol=1e-9)


def test_a_text_of_several_lines_does_not_break_the_comment(labels, tmp_path):
    write_xyz(Dataset(labels.frames, "RPBE\nTZV2P  'GTH'"), tmp_path / "l.xyz")
    assert read_labels(tmp_path / "l.xyz").level_of_theory == "RPBE TZV2P 'GTH'"


def test_the_published_dialect_is_turned_back(tmp_path):
    (tmp_path / "p.xyz").write_text(PUBLISHED)
    with pytest.raises(FileFormatError, match="no cell"):
        read_labels(tmp_path / "p.xyz")
    item = read_labels(tmp_path / "p.xyz", 10 * np.eye(3))[0]
    assert item.frame.pbc.all() and item.frame.volume == pytest.approx(1000)
    # number 3a+b of the nine is ∂M_b/∂r_a: the second is ∂M_y/∂x
    np.testing.assert_array_equal(item.apt[0], [[1, 4, 7], [2, 5, 8], [3, 6, 9]])
    isolated = read_labels(tmp_path / "p.xyz", np.zeros((3, 3)))[0]
    assert not isolated.frame.pbc.any()


@pytest.mark.skipif(not (SHARED / "published-apt").is_dir(), reason="no shared data")
def test_published_labels_agree_with_our_own_in_their_asymmetry():
    """The antisymmetric part about the molecule's own axes has one sign in both sets, so one is not
    transposed.
    """
    published = read_labels(
        SHARED / "published-apt" / "published-10.xyz", 15.6627 * np.eye(3)
    ).subset([0])
    own = read_labels(SHARED / "water32-rpbe-d3" / "labels.xyz")
    assert len(own) == 19 and len(own[0].apt) == 96 and len(published[0].apt) == 384
    signs = [_asymmetry_of_hydrogen(data) for data in (published, own.subset(range(4)))]
    assert signs[0] * signs[1] > 0
    assert signs[0] == pytest.approx(signs[1], rel=0.3)


def _asymmetry_of_hydrogen(data: Dataset) -> float:
    """Mean of P[u, w] − P[w, u]: u along the bond O-H, w at right angles in the plane, to the side
    of the other H.
    """
    found = []
    for item in data:
        positions, box, numbers = item.frame.positions, np.diag(item.frame.cell), item.frame.numbers
        for oxygen in np.flatnonzero(numbers == 8):
            arms = positions[numbers == 1] - positions[oxygen]
            arms -= np.round(arms / box) * box
            near = np.argsort(np.linalg.norm(arms, axis=1))[:2]
            for this, other in (near, near[::-1]):
                u = arms[this] / np.linalg.norm(arms[this])
                w = arms[other] - (arms[other] @ u) * u
                w /= np.linalg.norm(w)
                tensor = item.apt[np.flatnonzero(numbers == 1)[this]]
                found.append(u @ tensor @ w - w @ tensor @ u)
    return float(np.mean(found))


def test_files_of_both_kinds_make_one_data_set(labels, tmp_path):
    labels.save(tmp_path / "l.h5")
    write_xyz(labels, tmp_path / "l.xyz")
    both = read_labels([tmp_path / "l.h5", tmp_path / "l.xyz"])
    assert len(both) == 6 and both.level_of_theory == labels.level_of_theory
    assert both.sources == {name: io.file_hash(tmp_path / name) for name in ("l.h5", "l.xyz")}


def test_truncated_hdf5_is_refused(labels, tmp_path):
    labels.save(tmp_path / "l.h5")
    content = (tmp_path / "l.h5").read_bytes()
    for length in np.linspace(0, len(content) - 100, 60).astype(int):
        (tmp_path / "l.h5").write_bytes(content[:length])
        with pytest.raises((FileFormatError, LabelError), match=r"l\.h5"):
            read_labels(tmp_path / "l.h5")


def test_truncated_xyz_is_refused_or_ends_with_a_frame(labels, tmp_path):
    write_xyz(labels, tmp_path / "l.xyz")
    content = (tmp_path / "l.xyz").read_bytes()
    ends = {}
    for n in (1, 2):
        write_xyz(labels.subset(range(n)), tmp_path / "part.xyz")
        ends[(tmp_path / "part.xyz").stat().st_size] = n
    for length in sorted(
        {*range(0, len(content), 7), *ends, *range(len(content) - 30, len(content))}
    ):
        (tmp_path / "l.xyz").write_bytes(content[:length])
        if length in ends:
            assert len(read_labels(tmp_path / "l.xyz")) == ends[length]
        else:
            with pytest.raises((FileFormatError, LabelError), match=r"l\.xyz"):
                read_labels(tmp_path / "l.xyz")


def test_bytes_flipped_in_an_xyz_never_crash(labels, tmp_path):
    write_xyz(labels, tmp_path / "l.xyz")
    content = (tmp_path / "l.xyz").read_bytes()
    said = []
    for at in np.random.default_rng(0).integers(0, 8 * len(content), 300):
        damaged = bytearray(content)
        damaged[at // 8] ^= 1 << at % 8
        (tmp_path / "l.xyz").write_bytes(damaged)
        try:
            read_labels(tmp_path / "l.xyz")
        except AptnnError as error:
            said.append(str(error))
    assert len(said) > 100
    assert all("l.xyz" in message and "\n" not in message for message in said)


def _break(name, value):
    def change(file):
        unit = file[name].attrs.get("units")
        del file[name]
        if value is not None:
            file[name] = value
            if unit is not None:
                file[name].attrs["units"] = unit

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_break("positions", None), "no data set /positions"),
        (_break("positions", np.zeros((6, 3))), "shape"),
        (_break("offsets", [0, 3, 3, 7]), "offsets"),
        (_break("offsets", [0, 3, 7]), "shape"),
        (_break("offsets", np.zeros(0, int)), "offsets"),
        (_break("apt", np.zeros((7, 9))), "shape"),
        (_break("info", ["{", "{}", "{}"]), "damaged"),
        (lambda file: file["apt"].attrs.__delitem__("units"), "no units"),
        (lambda file: file.attrs.__delitem__("sources"), "damaged"),
    ],
)
def test_arrays_that_disagree_are_refused(labels, tmp_path, change, said):
    labels.save(tmp_path / "l.h5")
    with h5py.File(tmp_path / "l.h5", "a") as file:
        change(file)
    with pytest.raises(FileFormatError, match=said):
        Dataset.load(tmp_path / "l.h5")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no labelled frames"),
        ("hello\n", "line 1: expected a number of atoms, found 'hello'"),
        ("0\n\n", "cut off"),
        (PUBLISHED.replace("2\n", "3\n", 1), "cut off"),
        (PUBLISHED.replace(" 9\n", "\n", 1), "atom 0 has 12 columns, expected 13"),
        (PUBLISHED.replace("1.0", "nan", 1), "not finite"),
        (PUBLISHED.replace("1.0", "one", 1), "one"),
        (PUBLISHED.replace("O ", "Q ", 1), "'Q'"),
        (PUBLISHED.replace(" 9\n", " inf\n", 1), "infinite"),
        (PUBLISHED.replace(" fmt='p:a'", "water"), "no column apt:R:9"),
        (PUBLISHED.replace(" fmt='p:a'", "Properties=pos:R:3:apt:R:9"), "no column species:S:1"),
        (
            PUBLISHED.replace(" fmt='p:a'", "Properties=species:S:1:pos:R:3:apt"),
            "no column apt:R:9",
        ),
        (
            PUBLISHED.replace(
                " fmt='p:a'", 'Lattice="5 0 0 0 5 0" Properties=species:S:1:pos:R:3:apt:R:9'
            ),
            "reshape",
        ),
    ],
)
def test_text_that_is_no_labelled_frame_is_refused(tmp_path, text, said):
    (tmp_path / "x.xyz").write_text(text)
    with pytest.raises((FileFormatError, LabelError), match=said) as caught:
        read_labels(tmp_path / "x.xyz", 10 * np.eye(3))
    assert "x.xyz" in str(caught.value) and "\n" not in str(caught.value)


def test_foreign_files_are_refused(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(128, 256)) * 4)
    with pytest.raises(FileFormatError, match="neither HDF5 nor text"):
        read_labels(tmp_path / "x")
    with h5py.File(tmp_path / "x", "w") as file:
        file["positions"] = [1.0]
    with pytest.raises(FileFormatError, match="not a labels file"):
        read_labels(tmp_path / "x")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_labels([tmp_path / "x", tmp_path / "y"][1:])


def test_labels_must_fit_their_frame():
    frame = Frame([1, 1], [[0, 0, 0], [1, 0, 0]])
    with pytest.raises(LabelError, match=r"\(3, 3, 3\)"):
        LabelledFrame(frame, {"apt": np.zeros((3, 3, 3))})


def test_an_unwritable_path_is_refused(labels, tmp_path):
    for write in (labels.save, lambda path: write_xyz(labels, path)):
        with pytest.raises(FileNotFoundError, match="no folder"):
            write(tmp_path / "no" / "l.h5")
    assert not list(tmp_path.iterdir())
