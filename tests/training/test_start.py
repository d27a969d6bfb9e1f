"""Training that starts from a trained model, of other elements and targets too."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from typer.testing import CliRunner

import mda_aptnn
from mda_aptnn.cli import app
from mda_aptnn.errors import ModelError, TrainingError
from mda_aptnn.frame import Frame
from mda_aptnn.model.density import DensityNetwork
from mda_aptnn.model.dipole import DipoleConfig, DipoleNetwork
from mda_aptnn.model.predict import load_model
from mda_aptnn.model.simple import SimpleNetwork, SimpleNetworkConfig
from mda_aptnn.tensors import APT, PGT
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.fit import fit
from tests.tiny import NETWORK, clusters, model_file

#: Steps that change nothing.
STILL = TrainingConfig(steps=1, learning_rate=1e-12, weight_decay=0.0, validation=1)


def made(kind, config, numbers, target=APT, seed=1):
    torch.manual_seed(seed)
    return kind(config, numbers, target).double()


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (DensityNetwork, NETWORK),
        (DensityNetwork, dataclasses.replace(NETWORK, n_kinds=3)),
        (DipoleNetwork, DipoleConfig(NETWORK.layers)),
        (DipoleNetwork, DipoleConfig(NETWORK.layers, n_kinds=3)),
    ],
)
def test_what_was_known_is_not_changed_by_new_elements(kind, config):
    frame = clusters(1)[0].frame
    old = made(kind, config, (1, 8))
    new = made(kind, config, (1, 6, 8, 17), seed=2)
    new.take_over(old)
    with torch.no_grad():
        assert_allclose(new(new.inputs(frame)), old(old.inputs(frame)), atol=1e-6)
        # a new element begins as the mean of those that were known, and feels its neighbours
        mixed = Frame(np.where(np.arange(len(frame)) == 4, 6, frame.numbers), frame.positions)
        found = new(new.inputs(mixed))
        assert torch.isfinite(found).all()
        assert float((found - old(old.inputs(frame))).abs().max()) > 1e-3
        if kind is DensityNetwork:
            weights = new.layers[1].send.of_elements()[0].detach()
            assert_allclose(weights[1], weights[[0, 2]].mean(dim=0), atol=1e-12)
    # and the way back: fewer elements
    less = made(kind, config, (1, 8), seed=3)
    less.take_over(new)
    with torch.no_grad():
        assert_allclose(less(less.inputs(frame)), old(old.inputs(frame)), atol=1e-6)


def test_another_target_gets_a_last_layer_of_its_own():
    old = made(DensityNetwork, NETWORK, (1, 8))
    features = NETWORK.layers[-1].features + "+4x2o+4x3o"
    network = dataclasses.replace(
        NETWORK,
        layers=(NETWORK.layers[0], dataclasses.replace(NETWORK.layers[1], features=features)),
    )
    old = made(DensityNetwork, network, (1, 8))
    new = made(DensityNetwork, network, (1, 8), PGT, seed=2)
    first = new.readout.weights[0].clone()
    new.take_over(old)
    inputs = new.inputs(clusters(1)[0].frame)
    for irrep, values in new.body(inputs).items():
        assert_allclose(values.detach(), old.body(inputs)[irrep].detach(), atol=1e-12)
    assert_array_equal(new.readout.weights[0].detach(), first.detach())


def test_training_starts_where_the_model_is(tmp_path):
    start = fit(clusters(4), NETWORK, TrainingConfig(steps=20, validation=1), tmp_path / "a.h5")
    still = fit(clusters(4), start.contents, STILL, tmp_path / "b.h5")
    frame = clusters(4)[0].frame
    assert_allclose(still.predict(frame), start.predict(frame), atol=1e-5)
    from_nothing = fit(clusters(4), NETWORK, STILL, tmp_path / "c.h5")
    assert np.abs(from_nothing.predict(frame) - start.predict(frame)).max() > 1e-2
    assert len(still.info["started_from"]["weights"]) == 16 and "started_from" not in start.info


def test_from_the_command_line(tmp_path):
    clusters(4).save(tmp_path / "labels.h5")
    start = tmp_path / "start.h5"
    model_file().save(start)
    plan = tmp_path / "plan.toml"
    plan.write_text("[training]\nlearning_rate = 1e-12\nwarmup_steps = 0\nweight_decay = 0.0")
    words = ["train", tmp_path / "labels.h5", "--from", start, "--steps", 1, "--config", plan]
    words += ["--validation-frames", 1, "--members", 2, "-o", tmp_path / "model.h5"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    frame = clusters(1)[0].frame
    members = load_model(tmp_path / "model.h5").predict_members(frame, calibrated=False)
    assert_allclose(members, [load_model(start).predict(frame)] * 2, atol=1e-5)


def test_what_training_cannot_start_from(tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text("[network]\n")
    model_file().save(tmp_path / "a.h5")
    train, start = mda_aptnn.train, tmp_path / "a.h5"
    labels = clusters(3)
    with pytest.raises(TrainingError, match=r"plan\.toml has a table \[network\], and so has"):
        train(labels, tmp_path / "b.h5", network=start, plan=plan)
    with pytest.raises(TrainingError, match="a model to start from goes with no trajectory"):
        train(labels, tmp_path / "b.h5", network=start, trajectory=[labels[0].frame])
    with pytest.raises(ModelError, match="no model 'nope'"):
        train(labels, tmp_path / "b.h5", network="nope")
    simple = made(SimpleNetwork, SimpleNetworkConfig(), (1, 8))
    with pytest.raises(ModelError, match="'simple-network' can only start from one of the same"):
        made(SimpleNetwork, SimpleNetworkConfig(), (8, 17)).take_over(simple)
    assert not (tmp_path / "b.h5").exists()
