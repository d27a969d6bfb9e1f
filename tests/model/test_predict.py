import pickle

import MDAnalysis
import numpy as np
import pytest
import torch

from mda_aptnn.errors import FrameError, ModelError, UnitError
from mda_aptnn.frame import Frame
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.model.predict import BATCH_ATOMS, Model, load_model
from tests.tiny import model_file, molecule, water


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.h5"
    model_file().save(path)
    return path


@pytest.fixture
def universe():
    """The first bundled frame with a massless site behind every molecule."""
    frame = water(1)[0].frame
    positions = frame.positions.reshape(-1, 3, 3)
    positions = np.concatenate([positions, positions.mean(axis=1, keepdims=True)], axis=1).reshape(
        -1, 3
    )
    universe = MDAnalysis.Universe.empty(len(positions), trajectory=True)
    universe.add_TopologyAttr("elements", ["O", "H", "H", ""] * 32)
    universe.add_TopologyAttr("masses", [15.999, 1.008, 1.008, 0.0] * 32)
    universe.atoms.positions = positions
    universe.dimensions = [*np.diag(frame.cell), 90, 90, 90]
    return universe


def test_a_model_by_path_name_or_object(path, tmp_path, monkeypatch):
    model = load_model(path)
    assert load_model(str(path)).path == model.path == path
    assert load_model(model) is model
    charges = FixedCharges({"O": -0.8})
    assert load_model(charges) is charges
    monkeypatch.setattr("mda_aptnn.model.predict.BUNDLED", tmp_path)
    assert load_model("model").path == path
    with pytest.raises(ModelError, match=r"no model 'water'.*bundled models are: model"):
        load_model("water")
    with pytest.raises(ModelError, match="predict"):
        load_model(3.0)


def test_what_a_model_says_of_itself(path):
    model = load_model(path)
    assert model.numbers == [1, 8] and model.symbols == ["H", "O"] and model.cutoff == 3.0
    assert model.info["level_of_theory"] == "none: random weights" and model.info["elements"] == [
        "H",
        "O",
    ]
    model.info["elements"].append("Xe")
    model.info["training"]["seed"] = 5
    assert model.symbols == ["H", "O"] and model.info["training"]["seed"] == 0


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"engine": "abacus"}, {"n_threads": 0}])
def test_settings_that_do_not_exist(path, options):
    with pytest.raises(ModelError, match=next(iter(options))):
        load_model(path, **options)


def test_unknown_elements_are_named(path):
    frame = Frame([8, 17, 11], [[0, 0, 0], [3, 0, 0], [0, 3, 0]])
    for call in (
        load_model(path).predict,
        load_model(path).check,
        lambda f: load_model(path).predict_many([f]),
    ):
        with pytest.raises(ModelError, match="does not know Na, Cl; it was made for H, O"):
            call(frame)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-10)])
def test_a_turned_and_reflected_frame_gives_turned_tensors(path, dtype, tolerance):
    model = load_model(path, dtype=dtype)
    frame = water(1)[0].frame
    turn = -np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turned = Frame(frame.numbers, frame.positions @ turn.T, frame.cell @ turn.T, frame.pbc)
    before, after = model.predict(frame), model.predict(turned)
    assert before.dtype == np.float64 and before.shape == (96, 3, 3)
    scale = np.sqrt(np.mean(before**2))
    assert np.abs(after - turn @ before @ turn.T).max() < tolerance * scale
    assert (
        np.abs(before - before.transpose(0, 2, 1)).max() > 0.01 * scale
    )  # else orientation would go unseen


def test_many_frames_are_as_each_alone(path):
    model = load_model(path)
    items = water(2)
    frames = [
        items[0].frame,
        molecule(items[0], 3).frame,
        items[1].frame,
        molecule(items[1], 9, 6).frame,
    ] * 3
    assert sum(map(len, frames)) > BATCH_ATOMS  # more than one batch
    for frame, together in zip(frames, model.predict_many(frames), strict=True):
        alone = model.predict(frame)
        assert together.shape == alone.shape
        assert np.abs(together - alone).max() < 1e-5 * np.sqrt(np.mean(alone**2))
    assert model.predict_many([]) == []


def test_a_single_atom_and_a_dimer_beyond_the_cutoff(path):
    model = load_model(path)
    alone = model.predict(Frame([8], [[0, 0, 0]]))
    apart = model.predict(Frame([8, 8], [[0, 0, 0], [0, 0, 50.0]]))
    assert np.isfinite(alone).all()
    assert np.allclose(apart, alone[0], atol=1e-6)
    assert np.allclose(alone, np.trace(alone[0]) / 3 * np.eye(3), atol=1e-6)


def test_a_group_gets_the_rows_of_its_atoms_and_the_network_sees_all(path, universe):
    model = load_model(path)
    frame = water(1)[0].frame
    expected = model.predict(
        Frame(frame.numbers, frame.positions.astype("f4"), frame.cell, frame.pbc)
    )
    assert np.allclose(model.predict(universe), expected, atol=1e-6)
    group = universe.atoms[[9, 0, 4]]
    assert np.allclose(model.predict(group), expected[[7, 0, 3]], atol=1e-6)
    with pytest.raises(FrameError, match="massless"):
        model.predict(universe.atoms)
    with pytest.raises(FrameError, match="neither a Frame nor"):
        model.predict(frame.positions)


def test_pickled_models_predict_the_same(path):
    frame = water(1)[0].frame
    for model in (load_model(path, dtype="float64"), Model(model_file(seed=4))):
        assert np.array_equal(
            pickle.loads(pickle.dumps(model)).predict(frame), model.predict(frame)
        )
    assert len(pickle.dumps(load_model(path))) < 1000  # the path, not the weights


def test_the_number_of_threads_is_given_back(path):
    before = torch.get_num_threads()
    load_model(path, n_threads=before + 1).predict(water(1)[0].frame)
    assert torch.get_num_threads() == before


def test_fixed_charges_give_the_charge_current():
    frame = water(1)[0].frame
    velocities = np.random.default_rng(1).normal(size=(96, 3))
    flux = np.einsum(
        "iab,ib->a", FixedCharges({"O": -0.8, "H": "0.4 e"}).predict(frame), velocities
    )
    current = np.zeros(3)
    for symbol, velocity in zip(frame.symbols, velocities, strict=True):
        current += {"O": -0.8, "H": 0.4}[symbol] * velocity
    assert np.allclose(flux, current, rtol=0, atol=1e-12)


def test_fixed_charges_by_atom(universe):
    charges = np.linspace(-1, 1, 96)
    frame = water(1)[0].frame
    assert np.array_equal(FixedCharges(charges).predict(frame), charges[:, None, None] * np.eye(3))
    assert np.array_equal(
        FixedCharges(charges).predict(universe.atoms[[4]])[0], charges[3] * np.eye(3)
    )
    with pytest.raises(ModelError, match="95 charges for 96 atoms"):
        FixedCharges(charges[1:]).predict(frame)


def test_fixed_charges_that_do_not_fit():
    with pytest.raises(ModelError, match="does not know H"):
        FixedCharges({"O": -0.8}).predict(water(1)[0].frame)
    with pytest.raises(ModelError, match="does not know H, O"):
        FixedCharges({"Qq": 1.0}).predict(water(1)[0].frame)  # may be an atom type elsewhere
    with pytest.raises(UnitError, match="charge of O"):
        FixedCharges({"O": "3 K"})
