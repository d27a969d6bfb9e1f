"""The optimiser: Adam where there is nothing to turn, the same path in turned axes, and its use."""

import numpy as np
import torch
from numpy.testing import assert_allclose

from mda_aptnn.training import soap
from mda_aptnn.training.soap import Soap


def descent(optimizer, weights, loss, n_steps):
    """The weights after every step."""
    path = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss(weights).backward()
        optimizer.step()
        path.append(weights.detach().numpy().copy())
    return np.array(path)


def test_weights_with_one_axis_go_as_in_adamw():
    target = torch.tensor([1.0, -2.0, 3.0])

    def loss(weights):
        return ((weights - target) ** 4).sum()

    paths = []
    for kind, more in ((Soap, {}), (torch.optim.AdamW, {"betas": soap.BETAS})):
        weights = torch.zeros(3, requires_grad=True)
        optimizer = kind([weights], lr=0.05, weight_decay=0.1, **more)
        paths.append(descent(optimizer, weights, loss, 30))
    assert_allclose(*paths, rtol=1e-5)


def test_turned_axes_give_the_turned_path():
    """Adam's path depends on the axes, this one does not."""
    rng = np.random.default_rng(0)
    target, scale = (torch.tensor(rng.normal(size=(2, 4, 4))) for _ in range(2))
    left, right = (torch.tensor(np.linalg.qr(rng.normal(size=(2, n, n)))[0]) for n in (4, 4))

    def loss(weights):
        return (scale**2 * (weights - target) ** 2).sum()

    start = torch.tensor(rng.normal(size=(2, 4, 4)))
    differences = []
    for kind in (Soap, torch.optim.AdamW):
        plain = start.clone().requires_grad_(True)
        path = descent(kind([plain], lr=0.02, weight_decay=0.01), plain, loss, 35)
        turned = (left @ start @ right).requires_grad_(True)
        optimizer = kind([turned], lr=0.02, weight_decay=0.01)
        other = descent(optimizer, turned, lambda weights: loss(left.mT @ weights @ right.mT), 35)
        differences.append(np.abs(left.numpy() @ path @ right.numpy() - other).max())
    assert differences[0] < 1e-6 and differences[1] > 1e-2


def test_correlated_directions_are_learned_in_fewer_steps_than_by_adam():
    """Least squares with features that are nearly the same: the case that the axes are for."""
    rng = np.random.default_rng(1)
    mixed = rng.normal(size=(200, 8)) @ (np.ones((8, 8)) + 0.1 * rng.normal(size=(8, 8)))
    features, wanted = torch.tensor(mixed), torch.tensor(mixed @ rng.normal(size=(8, 6)))
    errors = []
    for kind in (Soap, torch.optim.AdamW):
        weights = torch.zeros((1, 8, 6), dtype=torch.float64, requires_grad=True)

        def loss(weights):
            return ((features @ weights[0] - wanted) ** 2).mean()

        descent(kind([weights], lr=0.03, weight_decay=0.0), weights, loss, 300)
        errors.append(float(loss(weights.detach())))
    assert errors[0] < 0.7 * errors[1]


def test_a_state_that_was_stored_goes_on_to_the_same_bits(tmp_path):
    """Also the order in memory comes back: a product of matrices depends on it in the last bit."""
    rng = np.random.default_rng(2)
    target = torch.tensor(rng.normal(size=(1, 9, 12)))
    scale = torch.tensor(rng.uniform(0.5, 2, size=(1, 9, 12)))

    def loss(weights):
        return (scale * (weights - target) ** 2).sum()

    whole = torch.zeros((1, 9, 12), dtype=torch.float64, requires_grad=True)
    expected = descent(Soap([whole], lr=0.05), whole, loss, 40)[-1]
    weights = torch.zeros((1, 9, 12), dtype=torch.float64, requires_grad=True)
    first = Soap([weights], lr=0.05)
    descent(first, weights, loss, 17)
    again = Soap([weights], lr=0.05)
    state = again.state_dict()
    for number, values in first.state_dict()["state"].items():
        np.savez(tmp_path / "state.npz", **{name: x.numpy() for name, x in values.items()})
        stored = np.load(tmp_path / "state.npz")
        state["state"][number] = {
            name: torch.as_tensor(np.ascontiguousarray(stored[name])) for name in stored
        }
    again.load_state_dict(state)
    np.testing.assert_array_equal(descent(again, weights, loss, 23)[-1], expected)
