import dataclasses

import numpy as np
import pytest

from mda_aptnn.errors import FileFormatError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.committee import Committee
from mda_aptnn.model.file import READOUT, Member, ModelFile
from mda_aptnn.model.predict import Model, load_model
from tests.systems import KnownTensors, random_tensors
from tests.tiny import model_file, molecule, water


def independent(n_members: int = 3, card: dict | None = None) -> ModelFile:
    files = [model_file(seed) for seed in range(n_members)]
    return dataclasses.replace(
        files[0], members=[file.members[0] for file in files], card=card or {}
    )


def last_layers(n_members: int = 3) -> ModelFile:
    """One body, random readouts."""
    first = model_file(0)
    weights = first.members[0].weights
    shared = {name: values for name, values in weights.items() if not name.startswith(READOUT)}
    rng = np.random.default_rng(1)
    own = {name: values for name, values in weights.items() if name.startswith(READOUT)}
    members = [
        Member({k: rng.normal(size=v.shape).astype(v.dtype) for k, v in own.items()})
        for _ in range(n_members)
    ]
    return dataclasses.replace(first, members=members, shared=shared)


FRAME = molecule(water(1)[0], 0, 24).frame


@pytest.mark.parametrize("make", [independent, last_layers])
@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_a_committee_predicts_the_mean_and_each_member(make, engine, tmp_path):
    contents = make()
    contents.save(tmp_path / "committee.h5")
    model = load_model(tmp_path / "committee.h5", engine=engine, dtype="float64")
    singles = [
        Model(contents.single(k), engine="torch", dtype="float64").predict(FRAME) for k in range(3)
    ]
    assert np.abs(singles[0] - singles[1]).max() > 1e-3
    assert np.allclose(model.predict_members(FRAME), singles, rtol=0, atol=1e-11)
    assert np.allclose(model.predict(FRAME), np.mean(singles, axis=0), rtol=0, atol=1e-11)
    assert np.allclose(model.predict_many([FRAME])[0], model.predict(FRAME), rtol=0, atol=1e-11)
    mean, spread = model.predict_with_spread(FRAME)
    assert np.allclose(mean, np.mean(singles, axis=0), rtol=0, atol=1e-11)
    assert np.allclose(spread, np.std(singles, axis=0, ddof=1), rtol=0, atol=1e-11)
    assert model.n_members == 3


def test_a_shared_body_is_written_once_and_read_back(tmp_path):
    contents = last_layers()
    contents.save(tmp_path / "committee.h5")
    loaded = ModelFile.load(tmp_path / "committee.h5")
    assert loaded.shares_body and not independent().shares_body
    assert (
        loaded.shared.keys() | loaded.members[0].weights.keys()
        == model_file().members[0].weights.keys()
    )
    assert not loaded.shared.keys() & loaded.members[0].weights.keys()
    assert all(
        np.array_equal(loaded.shared[name], contents.shared[name]) for name in contents.shared
    )
    damaged = dataclasses.replace(contents, shared={})
    damaged.save(tmp_path / "damaged.h5")
    with pytest.raises(FileFormatError, match="member 0: weights do not fit the network: missing"):
        ModelFile.load(tmp_path / "damaged.h5")


def test_a_shared_body_is_evaluated_once(monkeypatch):
    model = Model(last_layers(), engine="torch")
    seen = []
    for network in model._engine.networks:
        network.layers[0].register_forward_hook(lambda *_: seen.append(1))
    model.predict_members(FRAME)
    assert len(seen) == 1


def test_calibration_stretches_the_scatter_of_each_element_and_keeps_the_mean():
    factors = {"O": 3.0}
    raw, model = Model(independent()), Model(independent(card={"spread": {"factors": factors}}))
    members, stretched = raw.predict_members(FRAME), model.predict_members(FRAME)
    oxygen = FRAME.numbers == 8
    assert np.allclose(stretched.mean(axis=0), members.mean(axis=0), atol=1e-12)
    assert np.allclose(stretched.std(axis=0)[oxygen], 3 * members.std(axis=0)[oxygen], rtol=1e-9)
    assert np.allclose(stretched[:, ~oxygen], members[:, ~oxygen], rtol=0, atol=1e-12)
    assert np.array_equal(model.predict_members(FRAME, calibrated=False), members)
    assert np.allclose(
        model.predict_with_spread(FRAME)[1], stretched.std(axis=0, ddof=1), rtol=1e-12
    )


def test_a_card_may_have_a_factor_of_bands():
    old = Model(
        independent(
            card={"spread": {"factors": {"O": 3.0}}, "accuracy": {"published": {"rmse": 0.1}}}
        )
    )
    assert old.band_spread == {}
    accuracy = {
        "held_out": {"bands": {"error_over_stated": 0.8}},
        "published": {"bands": {"error_over_stated": 7.7}},
        "same": {"bands": {"error_over_stated": None}},
    }
    model = Model(independent(card={"spread": {"bands": {"factor": 0.25}}, "accuracy": accuracy}))
    assert model.band_spread == {"factor": 0.25, "elsewhere": {"published": 7.7}}


@pytest.mark.parametrize("make", [independent, last_layers])
def test_every_member_turns_with_the_frame(make):
    model = Model(make(), engine="torch", dtype="float64")
    turn = -np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turned = Frame(FRAME.numbers, FRAME.positions @ turn.T)
    expected = turn @ model.predict_members(FRAME) @ turn.T
    assert np.abs(model.predict_members(turned) - expected).max() < 1e-10 * max(
        1, np.abs(expected).max()
    )


def test_a_committee_of_any_models():
    tensors = [random_tensors(24, seed) for seed in range(4)]
    committee = Committee([KnownTensors(values) for values in tensors], {"H": 2.0})
    assert np.allclose(committee.predict(FRAME), np.mean(tensors, axis=0))
    mean, spread = committee.predict_with_spread(FRAME)
    scale = np.where(FRAME.numbers == 1, 2.0, 1.0)[:, None, None]
    assert np.allclose(spread, scale * np.std(tensors, axis=0, ddof=1)) and np.allclose(
        mean, np.mean(tensors, axis=0)
    )
    assert load_model(committee) is committee


def test_a_single_model_has_no_spread():
    with pytest.raises(ModelError, match="a single model has no spread"):
        Model(model_file()).predict_with_spread(FRAME)
    with pytest.raises(ModelError, match="two or more members"):
        Committee([KnownTensors(np.zeros((24, 3, 3)))])
