"""What is promised of networks, engines and predictors is found broken where it is, and an
architecture of another package goes all the way.
"""

import importlib.metadata

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import mda_aptnn
from mda_aptnn.checks import Verdict
from mda_aptnn.errors import CheckError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.graph import neighbours
from mda_aptnn.model.architectures import ARCHITECTURES, architecture_of
from mda_aptnn.model.committee import Committee
from mda_aptnn.model.density import DensityNetwork, NetworkConfig
from mda_aptnn.model.engines import ENGINES, TorchEngine
from mda_aptnn.model.file import ModelFile
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.model.kernels.engine import CpuEngine
from mda_aptnn.model.predict import Model, load_model
from mda_aptnn.model.trial import check_model
from mda_aptnn.plugins import Plugins
from mda_aptnn.tensors import APT
from mda_aptnn.training.config import TrainingConfig, read_plan
from mda_aptnn.training.fit import fit
from tests.model import own_network
from tests.model.own_network import BondCharges, LoopEngine, PairConfig, PairNetwork
from tests.tiny import NETWORK, clusters, model_file, water

PROPERTIES = [
    "interface",
    "shape and dtype",
    "same again",
    "rotation",
    "reflection",
    "translation",
    "permutation",
    "periodic images",
    "continuity at the cutoff",
    "batches",
    "derivative of the dipole",
    "acoustic sum rule, Σ P − Q·1",
    "order of indices",
]


@pytest.fixture
def registered(monkeypatch):
    """As if the other package were imported; forgotten after the test."""
    for plugins in (ARCHITECTURES, ENGINES):
        monkeypatch.setattr(plugins, "_found", dict(plugins._found))
    ARCHITECTURES.register("pairs", own_network.ARCHITECTURE)
    ENGINES.register("loops", LoopEngine)


def refused(checks):
    return [check.name for check in checks if check.verdict is Verdict.REFUSED]


def network(kind=DensityNetwork, config=NETWORK):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = kind(config, (1, 8), APT)
    # outputs of the size of tensors: what is compared is relative to them
    return made.double().requires_grad_(False)


def good_models():
    contents = model_file()
    return {
        "model": Model(contents, dtype="float64"),
        "float32": Model(contents),
        "kernels": CpuEngine(contents, "float64", 1),
        "torch": TorchEngine(contents, "float64", 1),
        "density": network(),
        "pairs": network(PairNetwork, PairConfig()),
        "committee": Committee([Model(model_file(k), dtype="float64") for k in range(2)]),
        "charges": FixedCharges({"O": -0.8, "H": 0.4}),
    }


@pytest.mark.parametrize("name", good_models())
def test_what_keeps_its_promises_passes(name):
    model = good_models()[name]
    checks = mda_aptnn.check_model(model, tolerance=1e-3 if name == "float32" else 1e-6)
    assert [check.name for check in checks] == PROPERTIES
    assert refused(checks) == []
    assert all(c.verdict is Verdict.FINE for c in checks[:8])
    checks.raise_refused()


def test_a_predictor_of_someone_else_on_a_given_frame():
    frame = water(1)[0].frame
    checks = check_model(BondCharges(), frame)
    assert refused(checks) == [] and checks[8].verdict is Verdict.UNKNOWN
    assert "no predict_many" in str(checks[9])
    open_frame = Frame(frame.numbers[:6], frame.positions[:6])
    assert check_model(BondCharges(), open_frame)[7].verdict is Verdict.UNKNOWN


class Broken(BondCharges):
    """One property broken by each method."""

    def __init__(self, how):
        self.how, self.calls = how, 0
        self.numbers = [1, 8]
        if how == "continuity at the cutoff":
            self.cutoff = 3.0

    def predict(self, frame):
        tensors = super().predict(frame)
        self.calls += 1
        more = np.zeros_like(tensors)
        if self.how == "rotation":
            more[:, 0, 1] = 0.1
        elif self.how == "reflection":  # a pseudoscalar of each atom, as if it were a scalar
            found = neighbours(frame, 4.0)
            # chiral: the triple product of moments of the neighbours' vectors
            moments = np.zeros((3, len(frame), 3))
            for k in range(3):
                weight = found.vectors * (found.vectors**2).sum(axis=1)[:, None] ** (k - 2)
                np.add.at(moments[k], found.centre, weight)
            more = np.linalg.det(moments.transpose(1, 0, 2))[:, None, None] * np.eye(3)
        elif self.how == "translation":
            more = 0.01 * np.linalg.norm(frame.positions, axis=1)[:, None, None] * np.eye(3)
        elif self.how == "permutation":
            more = 0.01 * np.arange(len(frame))[:, None, None] * np.eye(3)
        elif self.how == "periodic images":
            distances = np.linalg.norm(frame.positions[:, None] - frame.positions, axis=2)
            more = 0.01 * distances.sum(axis=1)[:, None, None] * np.eye(3)
        elif self.how == "continuity at the cutoff":
            counts = np.bincount(neighbours(frame, 3.0).centre, minlength=len(frame))
            more = 0.01 * counts[:, None, None] * np.eye(3)
        elif self.how == "same again":
            more[:] = 0.01 * self.calls
        return tensors + more

    def __getattr__(self, name):
        if name == "predict_many" and self.how == "batches":
            return lambda frames: [self.predict(frame) for frame in frames[::-1]]
        raise AttributeError(name)


@pytest.mark.parametrize("how", PROPERTIES[2:10])
def test_what_is_broken_is_named_in_a_line(how):
    checks = check_model(Broken(how))
    assert how in refused(checks)
    if how not in ("rotation", "translation", "same again"):  # these break others as well
        assert refused(checks) == [how]
    with pytest.raises(CheckError) as caught:
        checks.raise_refused()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


class Wrong:
    def __init__(self, tensors):
        self.tensors = tensors

    def predict(self, frame):
        return self.tensors(frame)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (object(), "interface: no predict. A Predictor has predict"),
        (Wrong(lambda frame: np.zeros((len(frame), 9))), "float64 of shape (18, 9)"),
        (Wrong(lambda frame: np.zeros((len(frame), 3, 3), int)), "int64 of shape"),
        (Wrong(lambda frame: np.full((len(frame), 3, 3), np.nan)), "not all finite"),
        (Wrong(lambda frame: frame.nothing), "AttributeError: 'Frame' object has no"),
    ],
)
def test_an_object_that_is_no_predictor(model, said):
    checks = check_model(model)
    assert len(refused(checks)) == 1 and said in str(checks)
    with pytest.raises(CheckError):
        checks.raise_refused()


def test_a_network_without_a_method_of_training_is_told_which():
    class Half(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config, self.numbers, self.target, self.most_atoms = NETWORK, (1, 8), APT, 10

        def inputs(self, frame):
            return frame

        def forward(self, inputs):
            return torch.zeros(len(inputs), 9)

    first = check_model(Half())[0]
    assert first.verdict is Verdict.REFUSED
    assert first.found == "no start_from, residuals, readout"


def test_the_order_of_indices_is_held_to_a_reference():
    model = Model(model_file(), dtype="float64")
    frame = water(1)[0].frame
    exact = model.predict(frame)
    assert check_model(model, frame, reference=exact)[-1].verdict is Verdict.FINE
    transposed = exact.swapaxes(1, 2)
    assert refused(check_model(model, frame, reference=transposed)) == ["order of indices"]
    symmetric = exact + transposed
    assert check_model(model, frame, reference=symmetric)[-1].verdict is Verdict.UNKNOWN


def test_an_architecture_of_another_package_goes_all_the_way(registered, tmp_path):
    """Planned, trained two steps, saved, loaded, predicted by the engine in torch and its own."""
    plan = tmp_path / "plan.toml"
    plan.write_text('[network]\narchitecture = "pairs"\ncutoff = "2.8 angstrom"\n')
    config, _ = read_plan(plan)
    assert config == PairConfig(cutoff=2.8) and architecture_of(config).name == "pairs"
    data, path = clusters(4), tmp_path / "model.h5"
    model = fit(data, config, TrainingConfig(steps=2, validate_every=1), path)
    assert model.info["architecture"] == "pairs" and model.engine == "loops"
    frame = data[0].frame
    again = load_model(path, dtype="float64", engine="torch")
    assert isinstance(ModelFile.load(path).build(), PairNetwork)
    expected = again.predict(frame)
    assert expected.shape == (24, 3, 3) and expected.std() > 0.01
    assert_allclose(model.predict(frame), expected, atol=1e-10)
    assert refused(check_model(again, water(1)[0].frame, tolerance=1e-6)) == []
    with pytest.raises(ModelError, match="no kernels for architecture 'pairs': use 'torch'"):
        load_model(path, engine="cpu")
    with pytest.raises(ModelError, match="has tensors and no dipole"):
        again.dipole(frame)


def test_an_engine_of_another_package_predicts_slices(registered, tmp_path):
    data = clusters(4)
    model = fit(data, PairConfig(), TrainingConfig(steps=1), tmp_path / "model.h5")
    frame = water(1)[0].frame
    whole = load_model(tmp_path / "model.h5", engine="torch", dtype="float64").predict(frame)
    model._engine.most_atoms = 60
    assert_allclose(model.predict(frame), whole, atol=1e-10)


def test_names_of_others_are_found_by_entry_points(monkeypatch):
    point = importlib.metadata.EntryPoint(
        "pairs", "tests.model.own_network:ARCHITECTURE", "mda_aptnn.architectures"
    )
    gone = importlib.metadata.EntryPoint("gone", "tests.model.nothing:X", point.group)
    monkeypatch.setattr("mda_aptnn.plugins.entry_points", lambda group: [point, gone])
    plugins = Plugins(
        point.group, {"own": "mda_aptnn.model.density:ARCHITECTURE"}, "architecture", ModelError
    )
    assert list(plugins) == ["own", "pairs", "gone"]
    assert plugins["pairs"] is own_network.ARCHITECTURE
    assert plugins["own"].config is NetworkConfig
    with pytest.raises(ModelError, match="architecture 'gone' cannot be imported"):
        plugins["gone"]
    with pytest.raises(ModelError, match="unknown architecture 'x': known are own, pairs, gone"):
        plugins["x"]
    with pytest.raises(ModelError, match="another architecture 'own'"):
        plugins.register("own", own_network.ARCHITECTURE)
