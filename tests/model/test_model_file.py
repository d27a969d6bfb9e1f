import json
import resource
from pathlib import Path

import h5py
import numpy as np
import pytest

from mda_aptnn import io
from mda_aptnn.errors import FileFormatError, ModelError
from mda_aptnn.model import file as module
from mda_aptnn.model.file import ModelFile
from mda_aptnn.model.predict import Model, model_path
from tests.tiny import model_file, water


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.h5"
    model_file().save(path)
    return path


def test_round_trip_is_bit_exact(path):
    before, after = model_file(), ModelFile.load(path)
    assert after.numbers == before.numbers and after.target == before.target
    assert after.config == before.config and after.training == before.training
    assert after.card["level_of_theory"] == before.card["level_of_theory"]
    assert after.card["creator"].startswith("mda-aptnn")
    for part in ("weights", "last", "learning"):
        written, read = getattr(before.members[0], part), getattr(after.members[0], part)
        assert written.keys() == read.keys()
        for name in written:
            assert (
                read[name].dtype == written[name].dtype and read[name].shape == written[name].shape
            )
            assert read[name].tobytes() == written[name].tobytes()
    frame = water(1)[0].frame
    assert np.array_equal(Model(before).predict(frame), Model(after).predict(frame))


def test_nothing_in_the_file_is_a_python_object(path):
    kinds = []
    with h5py.File(path) as file:
        file.visititems(
            lambda _, item: (
                kinds.append(item.dtype.kind) if isinstance(item, h5py.Dataset) else None
            )
        )
    assert kinds and set(kinds) <= {"i", "f"}


def test_two_members_keep_their_own_weights(tmp_path):
    one, other = model_file(seed=1), model_file(seed=2)
    committee = ModelFile(one.network, one.numbers, one.target, one.members + other.members)
    committee.save(tmp_path / "two.h5")
    loaded = ModelFile.load(tmp_path / "two.h5")
    for index, single in enumerate((one, other)):
        weights = single.build().state_dict()
        assert all(
            bool((value == weights[name]).all())
            for name, value in loaded.build(index).state_dict().items()
        )


def _first_weight(file):
    group = file["members/0/weights"]
    name = next(key for key in group if group[key].ndim == 3)
    return group, name


def _replace(change):
    def damage(file):
        group, name = _first_weight(file)
        values = group[name][()]
        del group[name]
        group[name] = change(values)

    return damage


DAMAGE = {
    "wrong shape": (_replace(lambda values: values[..., :-1]), "shape"),
    "whole numbers": (_replace(lambda values: values.astype(int)), "int64"),
    "text": (_replace(lambda values: np.full(values.shape, b"x")), "S1"),
    "not finite": (_replace(lambda values: values * np.nan), "not finite"),
    "missing array": (
        lambda file: file.__delitem__("/".join(["members/0/weights", _first_weight(file)[1]])),
        "missing",
    ),
    "unknown array": (
        lambda file: file["members/0/weights"].create_dataset("more", data=[1.0]),
        "unknown",
    ),
    "no members": (lambda file: file.__delitem__("members/0"), "no weights"),
    "no member group": (lambda file: file.__delitem__("members"), "members"),
    "no settings": (lambda file: file.attrs.__delitem__("network"), "network"),
    "settings that are not JSON": (lambda file: file.attrs.__setitem__("network", "{"), "damaged"),
    "unknown setting": (lambda file: file.attrs.__setitem__("network", '{"wings": 2}'), "wings"),
    "no layers": (lambda file: file.attrs.__setitem__("network", '{"layers": []}'), "layer"),
    "unknown architecture": (
        lambda file: file.attrs.__setitem__("architecture", "oracle"),
        "oracle",
    ),
    "another kind": (lambda file: file.attrs.__setitem__("kind", "spectrum"), "spectrum"),
    "newer format": (lambda file: file.attrs.__setitem__("format", io.FORMAT + 1), "newer"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_in_one_line(path, name):
    damage, said = DAMAGE[name]
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(FileFormatError) as caught:
        ModelFile.load(path)
    assert (
        said in str(caught.value)
        and str(path) in str(caught.value)
        and "\n" not in str(caught.value)
    )


def _setting(name, value, layer=1):
    def change(file):
        network = json.loads(file.attrs["network"])
        network["layers"][layer][name] = value
        file.attrs["network"] = json.dumps(network)

    return change


def _many_numbers(file):
    del file["numbers"]
    file.create_dataset("numbers", (40_000_000,), np.int8, compression="gzip", fillvalue=8)[
        ::1_000_000
    ] = 1


def _simple(**settings):
    def change(file):
        file.attrs["architecture"], file.attrs["network"] = "simple-network", json.dumps(settings)

    return change


HUGE = {
    "numbers of 40 million elements": _many_numbers,
    "an element twice": lambda file: file["numbers"].__setitem__(0, 8),
    "an element that there is not": lambda file: file["numbers"].__setitem__(0, 119),
    "n_radial": _setting("n_radial", 10**9),
    "n_radial of the first layer": _setting("n_radial", 10**9, 0),
    "n_mixed": _setting("n_mixed", 10**9),
    "lmax": _setting("lmax", 40),
    "order": _setting("order", 10**9),
    "cutoff": _setting("cutoff", 1e9),
    "channels": _setting("features", "1000000000x0e", 0),
    "degree": _setting("features", "4x0e+4x1o+4x40e", 0),
    "layers": lambda file: file.attrs.__setitem__(
        "network", json.dumps({"layers": json.loads(file.attrs["network"])["layers"] * 10_000})
    ),
    "indices": lambda file: file.attrs.__setitem__(
        "target", json.dumps({"name": "apt", "formula": "ijklmnopq", "unit": "e"})
    ),
    "simple-network, layers": _simple(layers=10**9),
    "simple-network, channels": _simple(channels=10**6),
    "simple-network, lmax": _simple(lmax=40),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_small_file_of_a_network_larger_than_the_memory_is_refused(path, name):
    """The process may take 300 MB more than it has; in 0.1.0 these took all there was, or did not
    end.
    """
    with h5py.File(path, "a") as file:
        HUGE[name](file)
    ModelFile.load(model_path("water-rpbe-d3"))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000, before[1]))
    try:
        with pytest.raises(FileFormatError) as caught:
            ModelFile.load(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(path, fraction):
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(FileFormatError, match=r"model\.h5"):
        ModelFile.load(path)


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "x.h5").write_text("not a model")
    with pytest.raises(FileFormatError):
        ModelFile.load(tmp_path / "x.h5")
    water(1).save(tmp_path / "labels.h5")
    with pytest.raises(FileFormatError, match="not a model file"):
        ModelFile.load(tmp_path / "labels.h5")
    with pytest.raises(FileNotFoundError):
        ModelFile.load(tmp_path / "nothing.h5")


def test_an_older_format_is_upgraded(path, monkeypatch):
    with h5py.File(path, "a") as file:
        file.attrs["format"] = io.FORMAT - 1
    monkeypatch.setitem(
        module.UPGRADES, io.FORMAT - 1, lambda contents: contents | {"training": {"upgraded": True}}
    )
    assert ModelFile.load(path).training == {"upgraded": True}


def test_a_failed_write_leaves_the_old_file(path):
    before = path.read_bytes()
    contents = model_file()
    contents.card["bad"] = object()
    with pytest.raises(TypeError):
        contents.save(path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_settings_and_weights_must_belong_together():
    contents = model_file(numbers=(1, 8))
    contents.numbers.append(9)
    with pytest.raises(ModelError, match="shape"):
        contents.build()
