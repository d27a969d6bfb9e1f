"""Polar tensors as derivatives of a learned dipole: what follows from that, for random weights."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mda_aptnn.errors import FrameError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.model import dipole as dipole_module
from mda_aptnn.model.dipole import DipoleConfig, DipoleInputs, DipoleNetwork
from mda_aptnn.model.predict import load_model
from mda_aptnn.tensors import APT, PGT
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.fit import fit

from .test_network import SMALL, water

CONFIG = DipoleConfig(SMALL.layers)
WITH_CHARGES = dataclasses.replace(CONFIG, environment_charges=True)
BOTH = pytest.mark.parametrize("config", [CONFIG, WITH_CHARGES], ids=["element", "environment"])
#: Outputs are of order one; some hundred float64 roundings go into each.
EXACT = 1e-10


def made(config=CONFIG, numbers=(1, 8), seed=0):
    """An untrained network in float64 with random weights and charges that do not sum to zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DipoleNetwork(config, numbers, APT)
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
        network.charges[:] = torch.randn(len(numbers))
    return network.double().requires_grad_(False)


def predicted(network, frame):
    return APT.to_cartesian(network(network.inputs(frame)).numpy())


def dipole(network, frame):
    """Σ q r + Σ μ for the frame's own positions, in e·Å."""
    total, charges = network.dipole(network.inputs(frame))
    return total.numpy() + charges.numpy() @ frame.positions


@BOTH
@pytest.mark.parametrize("charge", [0.0, -2.0])
def test_the_tensors_sum_to_the_charge(config, charge):
    frame = dataclasses.replace(water(), charge=charge)
    assert_allclose(predicted(made(config), frame).sum(axis=0), charge * np.eye(3), atol=EXACT)


def test_the_tensors_are_the_numerical_derivative_of_the_dipole():
    frame, network = water(n_molecules=4), made()
    step, found = 1e-4, predicted(network, water(n_molecules=4))
    assert (
        np.abs(found - found.swapaxes(1, 2)).max() > 0.01
    )  # far from symmetric: the order of indices matters
    for atom, b in [(0, 0), (4, 1), (11, 2)]:
        moved = []
        for sign in (1, -1):
            positions = frame.positions.copy()
            positions[atom, b] += sign * step
            moved.append(dipole(network, dataclasses.replace(frame, positions=positions)))
        assert_allclose(found[atom, :, b], (moved[0] - moved[1]) / (2 * step), atol=1e-6)


@BOTH
def test_rotation_and_reflection(config):
    frame, network = water(cell=[[6.2, 0.0, 0.0], [1.0, 6.5, 0.0], [0.4, -0.9, 6.1]]), made(config)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turn *= -np.sign(np.linalg.det(turn))
    turned = dataclasses.replace(
        frame, positions=frame.positions @ turn.T, cell=frame.cell @ turn.T
    )
    expected = np.einsum("ax,ixy,by->iab", turn, predicted(network, frame), turn)
    assert_allclose(predicted(network, turned), expected, atol=EXACT)


@BOTH
def test_order_of_atoms_and_images_do_not_matter(config):
    frame, network = water(), made(config)
    order = np.random.default_rng(1).permutation(len(frame))
    wrapped = (
        frame.positions + np.random.default_rng(2).integers(-2, 3, (len(frame), 3)) @ frame.cell
    )
    other = Frame(frame.numbers[order], wrapped[order], frame.cell, frame.pbc)
    assert_allclose(predicted(network, other), predicted(network, frame)[order], atol=EXACT)


@BOTH
def test_frames_together_are_the_frames_apart(config):
    network = made(config)
    frames = [
        water(8),
        dataclasses.replace(water(3, seed=2), charge=1.0),
        water(1, pbc=(False,) * 3),
    ]
    together = network(DipoleInputs.together([network.inputs(frame) for frame in frames])).numpy()
    apart = np.concatenate([network(network.inputs(frame)).numpy() for frame in frames])
    assert_allclose(together, apart, atol=EXACT)


def test_a_pair_leaves_at_the_cutoff_without_a_step():
    """The envelope goes to zero with its first two derivatives, a tensor is a first derivative of
    it.
    """
    network, distances = made(), np.array([4.0 - 1e-3, 4.0 - 1e-4, 4.0 + 1e-4])
    inside, nearly, outside = (
        predicted(network, Frame([8, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, r]])) for r in distances
    )
    assert 0 < np.abs(nearly - outside).max() < 0.05 * np.abs(inside - outside).max() < 1e-4


def test_start_from_labels_gives_neutral_frames():
    network = made()
    shift = np.zeros((2, 9))
    shift[:, 0] = np.sqrt(3) * np.array([0.40, -0.83])
    network.float().start_from(
        np.full((2, 9), 0.2), shift, np.array([[16, 8], [64, 32]]), np.zeros(2)
    )
    charges = network.charges.numpy()
    assert_allclose(charges @ [2, 1], 0.0, atol=1e-6)
    assert_allclose(charges, [0.40, -0.83], atol=0.02)


def test_polarizability_gradients_are_refused():
    with pytest.raises(ModelError, match="predicts apt alone"):
        DipoleNetwork(CONFIG, [1, 8], PGT)


def labels(n_frames=3, charge=0.0):
    """Frames labelled by another network of this kind."""
    teacher = made(seed=7)
    teacher.start_from(np.full((2, 9), 0.2), np.zeros((2, 9)), np.array([[2, 1]]), np.zeros(1))
    frames = [dataclasses.replace(water(4, seed=k), charge=charge) for k in range(n_frames)]
    return Dataset([LabelledFrame(frame, {"apt": predicted(teacher, frame)}) for frame in frames])


def test_training_saves_a_model_that_predicts_and_keeps_the_sum_rule(tmp_path):
    data, path = labels(), tmp_path / "model.h5"
    model = fit(
        data, CONFIG, TrainingConfig(steps=120, validate_every=40, learning_rate=0.01), path
    )
    learning = model.contents.members[0].learning["validation_rmse"]
    # far below what the charges alone, the network's start, leave
    charges = model.contents.members[0].weights["charges"][data[0].frame.numbers // 8]
    without = np.array([item.apt - charges[:, None, None] * np.eye(3) for item in data])
    assert learning[-1] < 0.7 * np.sqrt(np.mean(without**2))
    frame = data[0].frame
    again = load_model(path, dtype="float64")
    assert_allclose(again.predict(frame), model.predict(frame), atol=1e-4)
    assert_allclose(again.predict(frame).sum(axis=0), np.zeros((3, 3)), atol=1e-10)
    total, charges = again.dipole(frame)
    assert total.shape == (3,) and abs(charges.sum()) < 1e-6
    with pytest.raises(ModelError, match="has tensors and no dipole"):
        load_model("water-rpbe-d3").dipole(frame)


def test_one_direction_stands_for_all_on_the_average(tmp_path):
    """The mean loss along random directions is that of all components."""
    from mda_aptnn.training.loop import Run
    from mda_aptnn.training.samples import make_samples

    data = labels(2)
    network = made(seed=1).float().requires_grad_(True)
    samples = make_samples(network, data, APT)
    run = Run(network, samples[:1], samples[1:], APT, TrainingConfig(directions=1))
    expected = (samples[0].weights * run._errors(network, samples[0]) ** 2).sum().item()
    found = []
    for step in range(300):
        run.step = step
        errors, weights = run._training_errors(samples[0])
        found.append((weights * errors**2).sum().item())
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - expected) < 4 * error
    run.config = dataclasses.replace(run.config, directions=3)
    errors, weights = run._training_errors(samples[0])
    assert_allclose((weights * errors**2).sum().item(), expected, rtol=1e-4)


def test_a_frame_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(dipole_module, "_MOST_ATOMS", 20)
    with pytest.raises(FrameError, match="24 atoms are too many for a dipole network"):
        predicted(made(), water())
