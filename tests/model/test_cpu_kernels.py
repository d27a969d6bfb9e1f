"""The compiled kernels are the same function as the network in torch, and keep what must be kept to
the last bit.
"""

import dataclasses
import importlib.util
import multiprocessing
import os
import pickle
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from mda_aptnn import compiled
from mda_aptnn.compiled import kept, kept_exactly
from mda_aptnn.errors import FrameError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.density import DensityNetwork, LayerConfig, NetworkConfig
from mda_aptnn.model.engines import TorchEngine, components, slices
from mda_aptnn.model.file import READOUT, Member, ModelFile, state_arrays
from mda_aptnn.model.kernels.engine import CpuEngine
from mda_aptnn.model.predict import Model, load_model
from mda_aptnn.tensors import APT, PGT
from tests import tiny
from tests.model.test_graph import BOXES, frame_in

#: Relative to the largest output. float32: several hundred roundings go into each. float64:
#: positions are rounded to 1e-12 Å, and outputs change by several times their own size in an Å.
TOLERANCE = {"float32": 2e-5, "float64": 3e-11}

SMALL = NetworkConfig(
    (
        LayerConfig(features="6x0e+6x1o+6x2e", n_radial=5, cutoff=4.0, order=3),
        LayerConfig(
            "5x0e+5x1o+5x1e+5x2e", messages="4x0e+3x1o+2x2e", n_radial=4, n_mixed=3, cutoff=3.0
        ),
    )
)
CONFIGS = {
    "default": (NetworkConfig(), APT),
    "small": (SMALL, APT),
    "one layer, no products": (
        NetworkConfig((LayerConfig("9x0e+3x1o+5x2e", lmax=1, order=1),)),
        None,
    ),
    "three layers, both parities, cubes, lmax 3": (
        NetworkConfig(
            (
                LayerConfig("4x0e+4x1o+4x1e+4x2e+4x2o+4x3o", n_radial=4, lmax=3, cutoff=3.5),
                LayerConfig(
                    "17x0e+17x1o+17x2e+17x2o+17x3o",
                    messages="5x0e+2x1o+2x1e+2x2o+1x3o",
                    n_radial=9,
                    n_mixed=6,
                    lmax=3,
                    cutoff=3.0,
                    order=4,
                ),
                LayerConfig(
                    "4x0e+7x1o+4x1e+2x2e+3x2o+4x3o",
                    messages="2x0e+2x1o",
                    n_mixed=1,
                    lmax=1,
                    order=1,
                ),
            )
        ),
        PGT,
    ),
}


def contents(name="small", numbers=(8, 1, 6), seed=0):
    """An untrained model with random weights, biases, scales and shifts."""
    config, target = CONFIGS[name]
    if target is None:  # its features allow no 1e
        target = dataclasses.replace(APT, name="vector", formula="i")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DensityNetwork(config, numbers, target)
        for key, parameter in network.named_parameters():
            if key.endswith("bias"):
                torch.nn.init.normal_(parameter)
        for block_name, block in target.blocks:
            network.scale[:, block] = 0.2 + torch.rand(len(numbers), 1)
            if block_name.startswith("0e"):
                network.shift[:, block] = torch.randn(len(numbers), 1)
    return ModelFile(
        dataclasses.asdict(config), list(numbers), target, [Member(state_arrays(network))]
    )


def with_elements(frame, seed=1):
    numbers = np.random.default_rng(seed).choice([1, 6, 8], len(frame))
    return Frame(numbers, frame.positions, frame.cell, frame.pbc)


def liquid():
    return tiny.water(1)[0].frame


def model(name="small", **options):
    return Model(contents(name), engine="cpu", **{"dtype": "float64"} | options)


def assert_same(values, expected, dtype="float64"):
    assert_allclose(values, expected, rtol=0, atol=TOLERANCE[dtype] * np.abs(expected).max())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_is_the_network_in_torch(name, dtype):
    own, frame = contents(name), with_elements(liquid())
    expected = TorchEngine(own, "float64", 1).components([frame])[0]
    assert np.std(expected, axis=1).min() > 1e-3
    assert_same(CpuEngine(own, dtype, 1).components([frame])[0], expected, dtype)


@pytest.mark.parametrize("box", BOXES)
def test_every_kind_of_cell(box):
    cell, pbc, _ = BOXES[box]
    frame = with_elements(frame_in(np.array(cell), pbc, n_atoms=6))
    own = contents()
    expected = TorchEngine(own, "float64", 1).components([frame])[0]
    assert_same(CpuEngine(own, "float64", 1).components([frame])[0], expected)


def test_atoms_alone_elements_missing_and_frames_one_after_the_other():
    frames = [
        Frame([8], [[0.0, 0, 0]]),
        Frame([1, 1], [[0.0, 0, 0], [50.0, 0, 0]]),
        Frame([1, 1], [[0.0, 0, 0], [0.8, 0, 0]]),
        liquid(),
        Frame([8], [[0.0, 0, 0]], 3.2 * np.eye(3), [True] * 3),
    ]
    own = contents()
    engine, torch_engine = CpuEngine(own, "float64", 1), TorchEngine(own, "float64", 1)
    for frame, values in zip(frames, engine.components(frames), strict=True):
        assert_same(values, torch_engine.components([frame])[0])
    assert engine.components([]) == []


def test_turned_reflected_permuted_and_shifted():
    own, frame = model(), with_elements(liquid())
    rng = np.random.default_rng(2)
    expected = own.predict(frame)
    turn = -np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = Frame(frame.numbers, frame.positions @ turn.T, frame.cell @ turn.T, frame.pbc)
    assert_same(own.predict(turned), turn @ expected @ turn.T)
    order = rng.permutation(len(frame))
    shifted = frame.positions + rng.integers(-2, 3, size=(len(frame), 3)) @ frame.cell + 0.37
    assert_same(
        own.predict(Frame(frame.numbers[order], shifted[order], frame.cell, frame.pbc)),
        expected[order],
    )


def test_a_supercell_repeats_the_cell():
    own, frame = model(), with_elements(frame_in(np.diag([4.0, 4.5, 5.0]), (True, True, True)))
    repeats = np.array([[x, y, 0] for x in range(2) for y in range(3)])
    positions = (frame.positions + (repeats @ frame.cell)[:, None]).reshape(-1, 3)
    cell = np.diag([2.0, 3.0, 1.0]) @ frame.cell
    big = Frame(np.tile(frame.numbers, 6), positions, cell, frame.pbc)
    assert_same(own.predict(big), np.tile(own.predict(frame), (6, 1, 1)))


@pytest.mark.parametrize("cutoff", [4.0, 3.0])
def test_an_atom_enters_the_sphere_without_a_step(cutoff):
    own = model()

    def at(distance):
        frame = Frame([8, 1, 1], [[0, 0, 0], [0.9, 0.2, 0], [0.6 * distance, 0, 0.8 * distance]])
        return own.predict(frame)[0]

    # second difference: what bends is of the order of (2e-5 Å)², what steps is not
    assert_allclose(at(cutoff + 1e-5) - 2 * at(cutoff - 1e-5) + at(cutoff - 3e-5), 0, atol=1e-8)
    assert np.abs(at(cutoff - 0.8) - at(cutoff + 1e-4)).max() > 1e-4


def test_threads_do_not_change_a_bit():
    frame = with_elements(liquid())
    assert_array_equal(model(n_threads=3).predict(frame), model().predict(frame))


def several():
    """Frames of any size and periodicity."""
    boxes = [frame_in(np.array(cell), pbc, n_atoms=6) for cell, pbc, _ in BOXES.values()]
    return [
        with_elements(frame, seed)
        for seed, frame in enumerate([liquid(), *boxes, *boxes[3:5], liquid()])
    ]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_batch_does_not_change_a_bit(dtype):
    own, frames = contents(), several()
    for frame, together in zip(frames, CpuEngine(own, dtype, 1).components(frames), strict=True):
        assert_array_equal(together, CpuEngine(own, dtype, 1).components([frame])[0])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_slices_do_not_change_a_bit(pbc, dtype):
    small, reach = with_elements(liquid()), SMALL.reach
    cell = np.diag([3.0, 2.0, 1.0]) @ (
        small.cell + np.array([[0, 0, 0], [1.3, 0, 0], [-0.7, 0.9, 0]])
    )
    images = np.array([[x, y, 0] for x in range(3) for y in range(2)])
    positions = (small.positions + (images @ small.cell)[:, None]).reshape(-1, 3) + 100.0
    frame = Frame(np.tile(small.numbers, 6), positions, cell, pbc)
    engine = CpuEngine(contents(), dtype, 1)
    whole = engine.components([frame])[0]
    engine.most_atoms = 400
    parts = list(slices(frame, reach, engine.most_atoms))
    assert len(parts) > 2 and max(len(seen) for _, seen in parts) < len(frame)
    assert_array_equal(np.sort(np.concatenate([rows for rows, _ in parts])), np.arange(len(frame)))
    assert_array_equal(components(engine, [frame], reach)[0], whole)


@pytest.mark.parametrize("shared", [False, True])
def test_members_of_a_committee_are_those_models_alone(shared):
    files, frame = [contents(seed=seed) for seed in range(3)], with_elements(liquid())
    members = [file.members[0] for file in files]
    committee = dataclasses.replace(files[0], members=members)
    if shared:
        body = {
            name: values
            for name, values in members[0].weights.items()
            if not name.startswith(READOUT)
        }
        members = [
            Member({k: v for k, v in member.weights.items() if k.startswith(READOUT)})
            for member in members
        ]
        committee = dataclasses.replace(files[0], members=members, shared=body)
    found = CpuEngine(committee, "float32", 2).components([frame])[0]
    for member in range(3):
        assert_array_equal(
            found[member : member + 1],
            CpuEngine(committee.single(member), "float32", 1).components([frame])[0],
        )
    assert np.abs(found[0] - found[1]).max() > 1e-3


def _predicted_here(own, frame, sender):
    sender.send(own.predict(frame))


def test_a_forked_process_predicts():
    own, frame = model(n_threads=2), liquid()
    expected = own.predict(frame)  # by threads, which the child does not inherit
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_predicted_here, args=(own, frame, sender)
    )
    process.start()
    assert receiver.poll(30)
    assert_array_equal(receiver.recv(), expected)
    process.join()
    assert_array_equal(pickle.loads(pickle.dumps(own)).predict(frame), expected)


@pytest.mark.parametrize("strain", [0.0, 0.004])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_kept_neighbours_do_not_change_a_bit(strain, pbc):
    frame, rng = liquid(), np.random.default_rng(5)
    cell = frame.cell + np.array([[0, 0, 0], [1.3, 0, 0], [-0.7, 0.9, 0]])
    along = model(dtype="float32")
    fractions, drift = (
        frame.positions @ np.linalg.inv(frame.cell),
        rng.normal(size=(len(frame), 3)) * 0.006,
    )
    for step in range(30):
        # all drift through the boundaries, wrapped or not as it comes, while the cell breathes and
        # shears
        deformed = cell @ (
            np.eye(3) + strain * np.sin(step) * np.array([[1, 0.5, 0], [0, -1, 0], [0.3, 0, 1]])
        )
        images = rng.integers(-1, 2, size=(len(frame), 3)) * np.array(pbc)
        now = Frame(
            frame.numbers, (fractions + drift * step / 10 + images) @ deformed, deformed, pbc
        )
        afresh = Model(along.contents, engine="cpu", dtype="float32").predict(now)
        assert_array_equal(along.predict(now), afresh)
    assert 1 <= along._engine.neighbours.n_searches < 15


def test_atoms_on_top_of_each_other_are_refused():
    with pytest.raises(FrameError, match=r"atoms 0 and 2 .*0\.200 Å apart"):
        model().predict(Frame([8, 1, 1], [[0, 0, 0], [1, 0, 0], [0, 0, 0.2]]))


def test_it_is_chosen_by_itself_or_by_name(tmp_path, monkeypatch):
    contents().save(tmp_path / "model.h5")
    assert load_model(tmp_path / "model.h5").engine == "cpu"
    assert load_model(tmp_path / "model.h5", engine="torch").engine == "torch"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert load_model(tmp_path / "model.h5").engine == "torch"
    with pytest.raises(ModelError, match="no kernels for architecture 'simple-network'"):
        Model(dataclasses.replace(contents(), architecture="simple-network"), engine="cpu")


@pytest.mark.slow
def test_kernels_are_kept_in_the_users_cache_and_not_beside_the_sources(tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    code = (
        "import numba\nfrom mda_aptnn.model.kernels import kernels as k\nassert not "
        "numba.config.CACHE_DIR\n"
        "for f in vars(k).values():\n"
        "    path = getattr(getattr(f, '_cache', None), 'cache_path', None)\n"
        "    if path: print(path)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    paths = result.stdout.split()
    assert paths and all(
        path.startswith(str(tmp_path / "mda-aptnn" / "kernels-")) for path in paths
    )


@pytest.mark.slow
def test_told_not_to_compile_the_network_in_torch_predicts():
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    code = (
        "from tests.model.test_cpu_kernels import Model, contents, liquid\n"
        "from mda_aptnn.errors import ModelError\n"
        "assert Model(contents()).engine == 'torch'\n"
        "assert abs(Model(contents()).predict(liquid())).max() > 0\n"
        "try:\n    Model(contents(), engine='cpu')\n"
        "except ModelError as error:\n    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "NUMBA_DISABLE_JIT forbids" in result.stdout


def test_without_a_place_to_keep_kernels_they_work_and_it_is_said_once(monkeypatch):
    monkeypatch.setattr("mda_aptnn.compiled._said", False)
    space = {}
    exec("def twice(x):\n    return 2 * x\n", space)  # what has no file has no place for its cache
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR") as said:
        twice, again = kept(space["twice"]), kept_exactly(space["twice"])
    assert twice(4) == again(4) == 8 and len(said) == 1


def test_compiling_is_announced_once_and_only_where_it_happens(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "functions.py").write_text("def twice(x):\n    return 2 * x\n")
    found = []
    for module in ("mda_aptnn.functions", "mda_aptnn.functions", "somebody.else"):
        # as in processes of their own, with one cache
        spec = importlib.util.spec_from_file_location(module, tmp_path / "functions.py")
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module, loaded)
        spec.loader.exec_module(loaded)
        monkeypatch.setattr(compiled._what_is_compiled, "said", False)
        caplog.clear()
        with caplog.at_level("INFO", "mda_aptnn"):
            twice = kept(loaded.twice)
            assert twice(2) == 4 and twice(2.5) == 5.0
        found.append(len(caplog.records))
    assert found == [1, 0, 0]
