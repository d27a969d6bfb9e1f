import stat
from pathlib import Path

import h5py
import numpy as np
import pytest

from mda_aptnn import io
from mda_aptnn.errors import FileFormatError, UnitError


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.h5"
    with io.create(path, "flux") as file:
        io.write_array(file, "x", np.arange(12.0).reshape(4, 3), "nm")
        io.write_array(file, "n", np.arange(3))
    return path


def test_arrays_come_back_in_the_unit_asked_for(path):
    with io.open_checked(path, "flux") as file:
        np.testing.assert_allclose(
            io.read_array(file, "x", "angstrom", (None, 3)), 10 * np.arange(12).reshape(4, 3)
        )
        np.testing.assert_array_equal(io.read_array(file, "n"), [0, 1, 2])
        assert file.attrs["creator"].startswith("mda-aptnn ")
        assert file.attrs["command"] and file.attrs["created"]


@pytest.mark.parametrize(
    ("name", "unit", "shape", "error", "said"),
    [
        ("y", None, None, FileFormatError, "no data set /y"),
        ("x", "angstrom", (None, 4), FileFormatError, "shape"),
        ("x", "angstrom", (None,), FileFormatError, "shape"),
        ("n", "angstrom", None, FileFormatError, "no units"),
        ("x", "ps", None, UnitError, "nm"),
    ],
)
def test_what_is_not_as_expected_is_refused(path, name, unit, shape, error, said):
    with io.open_checked(path, "flux") as file, pytest.raises(error, match=said):
        io.read_array(file, name, unit, shape)


def test_other_kinds_formats_and_files_are_refused(path, tmp_path):
    with (
        pytest.raises(FileFormatError, match="not a spectrum file"),
        io.open_checked(path, "spectrum"),
    ):
        pass
    with (
        pytest.raises(FileNotFoundError, match="there is no file"),
        io.open_checked(tmp_path / "no.h5", "flux"),
    ):
        pass
    with h5py.File(path, "a") as file:
        file.attrs["format"] = io.FORMAT + 1
    with pytest.raises(FileFormatError, match=r"newer.*update"), io.open_checked(path, "flux"):
        pass
    with h5py.File(path, "w") as file:
        file.attrs["kind"] = [1.0, 2.0]
    with pytest.raises(FileFormatError, match="not a flux file"), io.open_checked(path, "flux"):
        pass


def test_every_flipped_bit_is_noticed(path):
    content = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, 8 * len(content), 400):
        damaged = bytearray(content)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        with (
            pytest.raises(FileFormatError, match=r"some\.h5 is damaged"),
            io.open_checked(path, "flux"),
        ):
            pass


def test_every_cut_is_noticed(path):
    content = path.read_bytes()
    with h5py.File(path) as file:
        whole = file.id.get_filesize() - io._SEAL_LENGTH
    for length in [*range(0, whole, 97), whole - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError, match="not a complete"), io.open_checked(path, "flux"):
            pass
    path.write_bytes(content[:whole])  # without the seal, the data are whole
    with io.open_checked(path, "flux") as file:
        assert io.read_array(file, "x", "nm")[3, 2] == 11


def test_a_file_that_another_program_changed_on_purpose_is_read(path):
    with h5py.File(path, "a") as file:
        file.attrs["comment"] = "mine"
    with io.open_checked(path, "flux") as file:
        assert file.attrs["comment"] == "mine"


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(path):
    before = path.read_bytes()
    with pytest.raises(TypeError), io.create(path, "flux") as file:
        file.create_dataset("half", data=object())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["some.h5"]


def test_a_written_file_has_ordinary_permissions(path, tmp_path):
    (tmp_path / "plain").write_text("x")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_paths_that_cannot_be_written_are_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        io.check_writable(tmp_path)
    for path in (tmp_path / "no" / "x.h5", tmp_path / "file" / "x.h5"):
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            io.check_writable(path)
    io.check_writable(tmp_path / "x.h5")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write")
def test_a_folder_that_cannot_be_written_is_refused_at_once():
    with pytest.raises(PermissionError, match=r"cannot write /proc/x\.h5"):
        io.check_writable("/proc/x.h5")


def test_hash_of_a_file(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert io.file_hash(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def _external_link(file, other):
    file["x"] = h5py.ExternalLink(other, "secret")


def _link_within_a_group(file, other):
    file.create_group("deep/er")["x"] = h5py.ExternalLink(other, "secret")


def _soft_link(file, other):
    file["y"] = [1.0]
    file["x"] = h5py.SoftLink("/y")


def _storage_elsewhere(file, other):
    file.create_dataset("x", (4,), "u1", external=[(other, 0, 4)])


def _virtual(file, other):
    layout = h5py.VirtualLayout((1,), "f8")
    layout[:] = h5py.VirtualSource(other, "secret", (1,))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize(
    "make",
    [_external_link, _link_within_a_group, _soft_link, _storage_elsewhere, _virtual],
    ids=lambda f: f.__name__,
)
def test_what_is_in_another_file_is_not_read(tmp_path, make):
    """A file from elsewhere must not read the reader's own files."""
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = [42.0]
    with h5py.File(tmp_path / "some.h5", "w") as file:
        file.attrs["kind"], file.attrs["format"] = "flux", 1
        make(file, str(other))
    opened = io.open_checked(tmp_path / "some.h5", "flux")
    with pytest.raises(FileFormatError, match="in another file") as caught, opened:
        pass
    assert "\n" not in str(caught.value) and "x" in str(caught.value).split(":")[1]


def test_a_file_that_grows_a_thousandfold_in_memory_is_not_unpacked(tmp_path):
    """One of 0.5 MB took 0.5 GB and more; what others have repacked with gzip is read."""
    with io.create(tmp_path / "bomb.h5", "flux") as file:
        file.create_dataset(
            "x", (60_000_000,), "f8", compression="gzip", fillvalue=0, chunks=(2_000_000,)
        )
        for start in range(0, 60_000_000, 2_000_000):
            file["x"][start : start + 2_000_000] = 1.0
    assert (tmp_path / "bomb.h5").stat().st_size < 1e6
    with (
        io.open_checked(tmp_path / "bomb.h5", "flux") as file,
        pytest.raises(FileFormatError, match="claims 4800"),
    ):
        io.read_array(file, "x")
    with io.create(tmp_path / "packed.h5", "flux") as file:
        file.create_dataset(
            "x", data=np.ones((100_000, 2)), compression="gzip", chunks=(100_000, 2)
        )
    with io.open_checked(tmp_path / "packed.h5", "flux") as file:
        assert io.read_array(file, "x").sum() == 200_000


def test_tables_of_json(tmp_path):
    path = tmp_path / "table.json"
    io.save_json(path, {"a": np.arange(3), "b": None})
    assert io.load_json(path) == {"a": [0, 1, 2], "b": None}
    (tmp_path / "link.json").symlink_to(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="it is a link"):
        io.save_json(tmp_path / "link.json", {})
    assert path.read_bytes() == before
    for text, said in (("[1]", "is damaged: not a table"), ("{", "cannot read")):
        path.write_text(text)
        with pytest.raises(FileFormatError, match=said):
            io.load_json(path)
