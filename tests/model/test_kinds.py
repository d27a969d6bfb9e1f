"""Elements that share what they learn: combinations of a few kinds of atoms."""

import dataclasses

import numpy as np
import torch
from numpy.testing import assert_allclose

from mda_aptnn.checks import Verdict
from mda_aptnn.frame import Frame
from mda_aptnn.model.density import DensityNetwork
from mda_aptnn.model.file import Member, ModelFile, state_arrays
from mda_aptnn.model.predict import Model
from mda_aptnn.model.trial import check_model
from mda_aptnn.tensors import APT
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.fit import fit
from tests.tiny import NETWORK, clusters

SHARED = dataclasses.replace(NETWORK, n_kinds=2)
NUMBERS = (1, 6, 8, 17)


def made(config, seed=0):
    torch.manual_seed(seed)
    return DensityNetwork(config, NUMBERS, APT)


def frame():
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3) * 1.8
    return Frame(
        rng.choice(NUMBERS, 27), grid + rng.uniform(0, 0.4, (27, 3)), 5.4 * np.eye(3), [True] * 3
    )


def test_it_is_the_network_whose_weights_are_these_combinations():
    shared, whole = made(SHARED), made(NETWORK, seed=1)
    state = shared.state_dict()
    for name, values in whole.state_dict().items():
        if name.endswith(tuple(f"weights.{k}" for k in range(4))) and "readout" not in name:
            *path, _, k = name.split(".")
            mixing = shared.get_submodule(".".join(path))
            values.copy_(mixing.of_elements()[int(k)])
        else:
            values.copy_(state[name])
    inputs = whole.inputs(frame())
    with torch.no_grad():
        assert_allclose(shared(inputs), whole(inputs), atol=1e-5)
    # H, C, O and Cl with two kinds: less to learn
    count = [sum(x.numel() for x in net.parameters()) for net in (shared, whole)]
    assert count[0] < 0.6 * count[1]


def test_kernels_files_and_symmetries(tmp_path):
    network = made(SHARED)
    contents = ModelFile(
        network=dataclasses.asdict(SHARED),
        numbers=list(NUMBERS),
        target=APT,
        members=[Member(state_arrays(network))],
    )
    contents.save(tmp_path / "model.h5")
    loaded = ModelFile.load(tmp_path / "model.h5")
    assert loaded.config == SHARED
    kernels, torches = (Model(loaded, engine=name, dtype="float64") for name in ("cpu", "torch"))
    assert_allclose(kernels.predict(frame()), torches.predict(frame()), atol=1e-9)
    assert all(check.verdict is not Verdict.REFUSED for check in check_model(torches, frame()))


def test_it_learns(tmp_path):
    before = DensityNetwork(SHARED, (1, 8), APT)
    model = fit(clusters(4), SHARED, TrainingConfig(steps=30, validation=1), tmp_path / "m.h5")
    curve = model.contents.members[0].learning["validation_rmse"]
    assert model.contents.config.n_kinds == 2 and curve[-1] < 0.2
    learned = model.contents.members[0].weights["kinds.neighbour"]
    assert learned.shape == tuple(before.kinds.neighbour.shape)
