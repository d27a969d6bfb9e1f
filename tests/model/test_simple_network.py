"""The reference network: e3nn's own function, exact symmetries, trained by the same loop."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mda_aptnn.errors import FileFormatError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.predict import load_model
from mda_aptnn.model.simple import PairInputs, SimpleNetwork, SimpleNetworkConfig
from mda_aptnn.tensors import APT, PGT
from mda_aptnn.training.config import TrainingConfig, read_plan
from mda_aptnn.training.fit import fit
from tests.model.test_network import EXACT, predicted, turned, water
from tests.tiny import clusters

SMALL = SimpleNetworkConfig(cutoff=3.0, channels=4, layers=1, neighbours=10.0)


def made(target=APT, config=SMALL):
    """Weights rounded to float32 and back, constants exact."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SimpleNetwork(config, (1, 8), target)
    for name, block in target.blocks:
        network.scale[:, block] = torch.tensor([[0.3], [0.7]])
        if name.startswith("0e"):
            network.shift[:, block] = torch.tensor([[0.2], [-0.4]])
    return network.double().requires_grad_(False)


@pytest.mark.parametrize("target", [APT, PGT], ids=["apt", "pgt"])
@pytest.mark.parametrize("reflected", [False, True], ids=["rotation", "reflection"])
def test_tensors_turn_with_the_frame(target, reflected):
    network, frame = made(target), water()
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation) * (-1 if reflected else 1)
    moved = Frame(frame.numbers, frame.positions @ rotation.T, frame.cell @ rotation.T, frame.pbc)
    here, there = predicted(network, frame), predicted(network, moved)
    assert np.abs(there - here).max() > 0.01
    assert_allclose(there, turned(here, rotation), atol=EXACT)


def test_it_is_the_function_of_e3nn():
    """Against e3nn's own forward, which finds its own pairs among atoms that do not repeat."""
    # after this package, which lets torch read e3nn 0.4's constants
    from e3nn.nn.models.v2106.gate_points_networks import SimpleNetwork as E3nnNetwork

    network, frame = made(), water(pbc=(False, False, False))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    own = E3nnNetwork(
        "2x0e", "0e + 1e + 2e", 3.0, 10.0, 1, mul=4, layers=1, lmax=2, pool_nodes=False
    )
    own.load_state_dict(network.e3nn.state_dict())
    kinds = torch.from_numpy((frame.numbers[:, None] == np.array([1, 8])).astype(float))
    expected = own({"pos": torch.from_numpy(frame.positions), "x": kinds}).detach().numpy()
    torch.set_default_dtype(before)
    found = network(network.inputs(frame)).numpy()
    hydrogen = frame.numbers == 1
    expected[hydrogen], expected[~hydrogen] = 0.3 * expected[hydrogen], 0.7 * expected[~hydrogen]
    expected[:, 0] += np.where(hydrogen, 0.2, -0.4)
    assert_allclose(found, expected, atol=1e-12)


def test_frames_together_are_as_frames_alone():
    network = made()
    frames = [water(1), water(8, seed=4), Frame(np.array([1]), np.zeros((1, 3)))]
    inputs = [network.inputs(frame) for frame in frames]
    alone = torch.cat([network(item) for item in inputs])
    assert_allclose(network(PairInputs.together(inputs)).numpy(), alone.numpy(), atol=EXACT)


@pytest.mark.slow
def test_training_it_keeps_symmetry_exact(tmp_path):
    """Trained in float32, saved, and built in float64: what the file keeps is weights, not rounded
    constants.
    """
    training = TrainingConfig(
        steps=8, validate_every=4, learning_rate=0.01, schedule="plateau", optimizer="amsgrad"
    )
    model = fit(clusters(4), SMALL, training, tmp_path / "model.h5")
    assert model.info["architecture"] == "simple-network"
    curve = model.contents.members[0].learning["training_rmse"]
    assert curve[-1] < curve[0]
    exact = load_model(tmp_path / "model.h5", dtype="float64")
    assert exact.engine == "torch"
    frame = clusters(1).frames[0].frame
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    moved = Frame(frame.numbers, frame.positions @ rotation.T)
    assert_allclose(exact.predict(moved), turned(exact.predict(frame), rotation), atol=EXACT)
    assert_allclose(model.predict(frame), exact.predict(frame), atol=1e-4)


def test_unknown_elements_and_shapes():
    with pytest.raises(ModelError, match="does not know He"):
        made().inputs(Frame(np.array([2]), np.zeros((1, 3))))
    with pytest.raises(ModelError, match="cutoff"):
        SimpleNetworkConfig(cutoff=0.0)


def test_a_plan_names_the_architecture(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('[network]\narchitecture = "simple-network"\ncutoff = "0.5 nm"\nchannels = 8\n')
    network, _ = read_plan(path)
    assert network == SimpleNetworkConfig(cutoff=5.0, channels=8)
    path.write_text('[network]\narchitecture = "simple"\n')
    with pytest.raises(FileFormatError, match="simple-network"):
        read_plan(path)
