"""Where torch computes, and what happens where memory runs out; on a GPU where there is one."""

import dataclasses
import weakref

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from typer.testing import CliRunner

import mda_aptnn
from mda_aptnn.cli import app
from mda_aptnn.errors import FrameError, ModelError, TrainingError
from mda_aptnn.frame import Frame
from mda_aptnn.graph import neighbours
from mda_aptnn.model.architectures import architecture_of
from mda_aptnn.model.devices import is_out_of_memory, moved, torch_device
from mda_aptnn.model.dipole import DipoleConfig
from mda_aptnn.model.engines import components
from mda_aptnn.model.inputs import found_there
from mda_aptnn.model.predict import BUNDLED, load_model
from mda_aptnn.model.simple import SimpleNetworkConfig
from mda_aptnn.tensors import APT
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.fit import fit
from mda_aptnn.training.loop import Run
from mda_aptnn.training.samples import make_samples
from tests.tiny import NETWORK, water

from .test_network import replicated

ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
DIPOLE = DipoleConfig(NETWORK.layers)
BOTH = pytest.mark.parametrize("network", [NETWORK, DIPOLE], ids=["density", "dipole"])
#: Batches of three frames of the four that are learnt from.
SHORT = TrainingConfig(steps=6, validation=1, validate_every=2, warmup_steps=2, batch_frames=3)


def full(*args, **kwargs):
    raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")


def made_run(network, device="cpu"):
    """Of a network with the same first weights."""
    torch.manual_seed(0)
    module, labels = architecture_of(network).network(network, (1, 8), APT), water(3)
    learned = make_samples(module, labels, APT)
    return Run(module, learned, learned, APT, dataclasses.replace(SHORT, device=device))


def gradient(run):
    """Of the first step's loss, which comes with it; of all weights."""
    loss, squares, count = run._differentiate(run._batch())
    parts = [x.grad.cpu().numpy().ravel() for x in run.network.parameters() if x.grad is not None]
    return np.concatenate([[loss, squares / count], *parts])


def test_names_of_devices():
    assert torch_device("cpu").type == "cpu"
    with pytest.raises(ModelError, match="no device 'gpu': choose one of cpu, cuda, auto"):
        torch_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(tmp_path):
    assert torch_device("auto").type == "cpu"
    plan = tmp_path / "plan.toml"
    plan.write_text('[training]\ndevice = "cuda"')
    for use in (
        lambda: load_model("water-rpbe-d3", engine="cuda"),
        lambda: load_model({"all": "water-rpbe-d3"}, device="cuda"),
        lambda: TrainingConfig(device="cuda"),
        lambda: mda_aptnn.train(water(3), tmp_path / "m.h5", plan=plan, trajectory=[]),
    ):
        with pytest.raises(ModelError, match="torch sees no GPU here; choose 'cpu', or 'auto'"):
            use()


def test_the_device_of_a_prediction(caplog):
    with caplog.at_level("INFO", logger="mda_aptnn"):
        model = load_model("water-rpbe-d3", device="auto")
    on_gpu = torch.cuda.is_available()
    assert model.engine == ("cuda" if on_gpu else "cpu")
    assert on_gpu or "torch sees no GPU here" in caplog.text
    with pytest.raises(ModelError, match="there is no device 'gpu'"):
        load_model("water-rpbe-d3", device="gpu")
    words = ["predict", str(BUNDLED / "water64.pdb"), str(BUNDLED / "water64.h5md")]
    refused = CliRunner().invoke(app, [*words, "--device", "gpu", "-o", "never.h5"])
    assert refused.exit_code == 1
    assert "error: there is no device 'gpu': choose one of cpu, cuda, auto" in refused.output


@pytest.mark.parametrize(("edge", "pbc"), [(9.86, True), (5.2, True), (9.86, False)])
def test_neighbours_that_a_device_finds_are_the_same(edge, pbc):
    # here the device is the CPU; with a GPU, also that
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3) * edge / 3
    frame = Frame([8] * 27, grid + rng.uniform(0, 0.5, (27, 3)), edge * np.eye(3), [pbc] * 3)
    expected = neighbours(frame, 6.0)
    order = np.lexsort((*np.round(expected.vectors.T, 6), expected.neighbour, expected.centre))
    for device in {"cpu", torch_device("auto").type}:
        found = [x.cpu().numpy() for x in found_there(frame, 6.0, torch.device(device))]
        assert (np.diff(found[0]) >= 0).all()  # what pair_inputs relies on
        own = np.lexsort((*np.round(found[2].T, 6), found[1], found[0]))
        for values, name in zip(found, ("centre", "neighbour", "vectors"), strict=True):
            assert_allclose(values[own], getattr(expected, name)[order], atol=1e-9)
    twice = Frame([8, 8], [[0, 0, 0], [0, 0, 0.1]])
    with pytest.raises(FrameError, match="atoms 0 and 1"):
        found_there(twice, 6.0, torch.device("cpu"))


def test_what_out_of_memory_looks_like():
    # a real refusal: 4 EB
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60)
    assert is_out_of_memory(refused.value)
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(torch.cuda.OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))


@BOTH
def test_training_goes_on_with_fewer_frames_at_a_time(monkeypatch, network):
    whole = gradient(made_run(network))
    errors, sizes = Run._training_errors, []

    def small(run, batch):
        found = errors(run, batch)
        sizes.append(len(batch.labels) // 96)
        # the second time in the middle of a step, when gradients of a part are there already
        return full() if len(sizes) in (1, 3) else found

    monkeypatch.setattr(Run, "_training_errors", small)
    run = made_run(network)
    assert_allclose(gradient(run), whole, atol=1e-5 * np.abs(whole).max())
    assert sizes == [3, 2, 1, 1, 1, 1]
    gradient(run)
    assert sizes[6:] == [1, 1, 1]  # it remembers


def test_nothing_of_a_step_that_failed_stays_in_memory(monkeypatch):
    errors, alive = Run._training_errors, []

    def failing(run, batch):
        assert not any(values() is not None for values in alive), "kept beside the second try"
        found, weights = errors(run, batch)
        alive.append(weakref.ref(found))
        if len(alive) == 1:
            found.register_hook(full)  # while the gradient is computed
        return found, weights

    whole = gradient(made_run(NETWORK))
    monkeypatch.setattr(Run, "_training_errors", failing)
    assert_allclose(gradient(made_run(NETWORK)), whole, atol=1e-5 * np.abs(whole).max())
    assert len(alive) == 3


@pytest.mark.parametrize("step", ["_training_errors", "_validate"])
def test_a_frame_that_is_too_large_to_train_on(tmp_path, monkeypatch, step):
    monkeypatch.setattr(Run, step, full)
    with pytest.raises(TrainingError, match="no memory to train on frames of 96 atoms") as refused:
        fit(water(4), NETWORK, SHORT, tmp_path / "model.h5")
    assert "can't allocate" in str(refused.value.__cause__)
    assert not (tmp_path / "model.h5").exists()


def test_a_run_goes_on_on_another_device(tmp_path, monkeypatch):
    validate, path = Run._validate, tmp_path / "model.h5"

    def killed(run):
        found = validate(run)
        if run.step == 4:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as now:
        now.setattr("mda_aptnn.training.loop.CHECKPOINT_EVERY", 0.0)
        now.setattr(Run, "_validate", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(water(4), NETWORK, SHORT, path)
    model = fit(water(4), NETWORK, dataclasses.replace(SHORT, device="auto"), path)
    assert model.info["training"]["device"] == "auto"
    # the seconds go on counting, and no step is done twice
    assert model.contents.members[0].learning["step"].tolist() == [2, 4, 6]


@dataclasses.dataclass(frozen=True)
class Theirs:
    """What the network of another package takes of a frame."""

    positions: torch.Tensor
    tables: dict
    cutoff: float = 6.0


def test_inputs_of_any_form_are_moved():
    theirs = Theirs(torch.zeros(3), {"pairs": [torch.zeros(2), None], "n": 3})
    assert moved(theirs, torch.device("cpu")) is theirs
    # a device without memory, which there is everywhere
    there = moved(theirs, torch.device("meta"))
    assert there.positions.is_meta and there.tables["pairs"][0].is_meta
    assert there.tables["pairs"][1] is None and there.tables["n"] == 3 and there.cutoff == 6.0
    for network in (NETWORK, DIPOLE, SimpleNetworkConfig(channels=2, layers=1, lmax=1)):
        made = architecture_of(network).network(network, (1, 8), APT)
        inputs = made.inputs(water(1)[0].frame)
        assert type(moved(inputs, torch.device("meta"))) is type(inputs)
        assert all(x.is_meta for x in moved(inputs, torch.device("meta")) if torch.is_tensor(x))


class Small:
    """An engine with memory for so many atoms."""

    def __init__(self, engine, room):
        self.engine, self.room, self.most_atoms, self.sizes = engine, room, engine.most_atoms, []

    def components(self, frames):
        self.sizes.append(sum(map(len, frames)))
        return full() if self.sizes[-1] > self.room else self.engine.components(frames)


def test_prediction_goes_on_with_fewer_atoms_at_a_time(tmp_path):
    model = fit(water(2), NETWORK, dataclasses.replace(SHORT, steps=1), tmp_path / "model.h5")
    model = load_model(model.path, engine="torch", dtype="float64")
    frames = [item.frame for item in water(3)]
    large = [replicated(frames[0], (1, 1, 8))]
    for given, room in ((frames, 100), (large, 500)):
        engine = Small(model._engine, room)
        found = components(engine, given, model._reach)
        assert max(engine.sizes) > room
        for one, other in zip(found, model._engine.components(given), strict=True):
            assert_allclose(one, other, atol=1e-10)
        tried = len(engine.sizes)
        components(engine, given, model._reach)
        # what fits is known from then on, and frames that are small enough stay whole
        assert given is frames or max(engine.sizes[tried:]) <= room
    engine = Small(model._engine, 10)
    with pytest.raises(FrameError, match="no memory for") as refused:
        components(engine, large, model._reach)
    # the number is that of the smallest part that was tried
    assert f"no memory for {engine.sizes[-1]} atoms at a time: close" in str(refused.value)
    assert "can't allocate" in str(refused.value.__cause__)
    assert engine.most_atoms == model._engine.most_atoms


@ON_A_GPU
@BOTH
def test_a_gpu_predicts_the_same(tmp_path, network):
    fit(water(2), network, dataclasses.replace(SHORT, steps=1), tmp_path / "model.h5")
    frame = water(1)[0].frame
    for dtype, close in (("float64", 1e-12), ("float32", 1e-5)):
        here, there = (
            load_model(tmp_path / "model.h5", engine=engine, dtype=dtype).predict(frame)
            for engine in ("torch", "cuda")
        )
        assert_allclose(there, here, atol=close)


@ON_A_GPU
@BOTH
def test_a_gpu_has_the_same_gradient(network):
    here, there = (gradient(made_run(network, device)) for device in ("cpu", "cuda"))
    assert_allclose(there, here, atol=1e-4 * np.abs(here).max())


@ON_A_GPU
def test_a_gpu_whose_memory_is_too_small(tmp_path):
    model = fit(water(2), NETWORK, dataclasses.replace(SHORT, steps=1), tmp_path / "model.h5")
    tall = replicated(water(1)[0].frame, (1, 1, 64))
    expected = load_model(model.path, engine="torch").predict(tall)
    small = load_model(model.path, engine="cuda")
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(40e6 / total)
    try:
        found = small.predict(tall)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert small._engine.most_atoms < len(tall)
    assert_allclose(found, expected, atol=1e-4)
