"""Polar tensors and polarizability gradients by one network: symmetries, both engines, training,
commands.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from mda_aptnn.errors import LabelError, ModelError
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, read_labels, write_xyz
from mda_aptnn.model.density import DensityNetwork, LayerConfig, NetworkConfig, default_network
from mda_aptnn.model.engines import TorchEngine
from mda_aptnn.model.file import Member, ModelFile, state_arrays
from mda_aptnn.model.predict import Model, load_model
from mda_aptnn.tensors import APT, PGT, card_key, component_slices, flat_basis, flat_tensors, joint
from mda_aptnn.training.committee import fit_committee
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.evaluate import evaluate
from mda_aptnn.training.fit import fit
from mda_aptnn.training.loop import Run, error_units
from mda_aptnn.training.samples import labelled_target, make_samples, with_all_parts
from tests.bonds import BOTH, NETWORK, molecules, only
from tests.cli.test_cli import error, report
from tests.model.test_network import turned, water
from tests.systems import gas

CONFIGS = {"default": default_network(BOTH), "small": NETWORK}


def contents(config=NETWORK, target=BOTH, seed=0):
    """An untrained network with random scales and shifts, as a file has it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DensityNetwork(config, (1, 8), target)
        for part, columns in component_slices(target).items():
            for name, block in part.blocks:
                own = slice(columns.start + block.start, columns.start + block.stop)
                network.scale[:, own] = 0.2 + torch.rand(2, 1)
                network.shift[:, own] = torch.randn(2, 1) if name == "0e" else 0.0
    return ModelFile(dataclasses.asdict(config), [1, 8], target, [Member(state_arrays(network))])


def assert_turned(model, frame, rotation):
    moved = Frame(frame.numbers, frame.positions @ rotation.T, frame.cell @ rotation.T, frame.pbc)
    here, there = model.predict_tensors(frame), model.predict_tensors(moved)
    for name, values in here.items():
        assert np.abs(values).max() > 0.1
        assert np.abs(there[name] - values).max() > 0.1
        assert_allclose(there[name], turned(values, rotation), atol=1e-10)


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("sign", [1, -1], ids=["rotation", "reflection"])
def test_both_tensors_turn_with_the_frame(config, engine, sign):
    model = Model(contents(CONFIGS[config]), engine=engine, dtype="float64")
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    assert_turned(model, water(), sign * np.linalg.det(rotation) * rotation)


@pytest.mark.parametrize("target", [BOTH, PGT], ids=["both", "pgt"])
def test_the_kernels_are_the_network_in_torch(target):
    own, frame = contents(default_network(target), target), water()
    expected = TorchEngine(own, "float64", 1).components([frame])[0]
    assert expected.shape == (1, 24, target.n_components)
    assert (expected[0, ::3].std(axis=0) > 1e-3).all() and (
        expected[0, 1::3].std(axis=0) > 1e-3
    ).all()
    for dtype, tolerance in (("float64", 1e-8), ("float32", 2e-5 * np.abs(expected).max())):
        found = Model(own, engine="cpu", dtype=dtype)._engine.components([frame])[0]
        assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_the_default_network_of_polar_tensors_stays_what_it_is():
    assert default_network(APT) == NetworkConfig()
    last = default_network(BOTH).layers[-1]
    assert last.features.endswith("+24x2o+24x3o") and last.factors == "0e+1o+1e+2e"
    # what is no factor does not change the products of the others
    network = DensityNetwork(default_network(BOTH), (1, 8), BOTH)
    plain = DensityNetwork(NetworkConfig(), (1, 8), APT)
    for irrep, count in plain.layers[-1].products[0].outputs.items():
        assert network.layers[-1].products[0].outputs[irrep] == count
    with pytest.raises(ModelError, match="last layer's features lack 2o, 3o, which apt\\+pgt has"):
        DensityNetwork(NetworkConfig(), (1, 8), BOTH)
    with pytest.raises(ModelError, match="must be among its features"):
        LayerConfig("4x0e+4x1o", factors="2e")


def test_a_joint_target_is_its_parts_side_by_side():
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=(4, 3, 3, 3))
    tensors = {
        "apt": rng.normal(size=(4, 3, 3)),
        "pgt": gradients + gradients.transpose(0, 2, 1, 3),
    }
    flat = flat_tensors(BOTH, tensors)
    components = np.concatenate(
        [APT.to_irreps(tensors["apt"]), PGT.to_irreps(tensors["pgt"])], axis=1
    )
    assert_allclose(components @ flat_basis(BOTH), flat, atol=1e-12)
    assert joint([PGT, APT]) == BOTH and joint([PGT]) == PGT and BOTH.name == "apt+pgt"
    assert [card_key("x", BOTH, part) for part in BOTH.parts] == ["x", "x pgt"]
    with pytest.raises(ValueError, match="at least one target"):
        joint([])


def test_a_file_gives_back_both_heads(tmp_path):
    own = contents()
    own.save(tmp_path / "model.h5")
    model = load_model(tmp_path / "model.h5", dtype="float64")
    assert model.target == BOTH and [part["name"] for part in model.info["target"]] == [
        "apt",
        "pgt",
    ]
    frame = water()
    tensors = model.predict_tensors(frame)
    assert {name: values.shape for name, values in tensors.items()} == {
        "apt": (24, 3, 3),
        "pgt": (24, 3, 3, 3),
    }
    assert_array_equal(model.predict(frame), tensors["apt"])
    assert_array_equal(model.predict_many([frame, frame])[1], tensors["apt"])
    assert_array_equal(model.predict_members(frame, target=PGT)[0], tensors["pgt"])
    with pytest.raises(ModelError, match="predicts apt, not pgt"):
        Model(contents(target=APT)).predict_members(frame, target=PGT)


def test_extended_xyz_with_either_label_or_both(tmp_path):
    both = molecules(2)
    dataset = Dataset([both[0], only(both, "pgt")[1], only(both, "apt")[0]], "bonds")
    write_xyz(dataset, tmp_path / "labels.xyz")
    again = read_labels(tmp_path / "labels.xyz")
    assert [sorted(item.tensors) for item in again] == [["apt", "pgt"], ["pgt"], ["apt"]]
    for one, other in zip(again, dataset, strict=True):
        for name, values in one.tensors.items():
            assert_allclose(values, other.tensors[name], atol=1e-9)


# training


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Both heads, of frames with both labels, polar tensors alone, and gradients alone."""
    whole = molecules(24)
    frames = [
        *whole.subset(range(8)),
        *only(whole.subset(range(8, 16)), "apt"),
        *only(whole.subset(range(16, 24)), "pgt"),
    ]
    path = tmp_path_factory.mktemp("trained") / "model.h5"
    config = TrainingConfig(steps=400, learning_rate=2e-2, weight_decay=0.0, batch_frames=4)
    return fit(Dataset(frames), NETWORK, config, path, validation=molecules(4, seed=1))


@pytest.mark.slow
def test_both_heads_learn_from_frames_that_have_one_label_or_the_other(trained):
    assert trained.target == BOTH
    unseen = molecules(20, seed=2)
    for part in BOTH.parts:
        found = evaluate(trained, unseen, part)
        assert found.target == part and found.n_frames == 20
        assert found.rmse < 0.6 * min(found.baseline_rmse().values())
        assert found.spectrum_error() < 0.1
        errors = found.per_irrep("rmse")
        assert list(errors) == [name for name, _ in part.blocks]
        sizes = [block.stop - block.start for _, block in part.blocks]
        total = np.sqrt(np.dot(sizes, np.square(list(errors.values()))) / np.prod(part.shape))
        assert total == pytest.approx(found.rmse, rel=1e-9)
    accuracy = trained.info["accuracy"]
    assert set(accuracy) == {"validation", "validation pgt"}
    assert (accuracy["validation"]["unit"], accuracy["validation pgt"]["unit"]) == (
        "e",
        "angstrom^2",
    )


def test_a_frame_without_a_label_is_as_if_there_were_no_such_atoms():
    """The loss of a frame with one label does not know what the other would have been."""
    module = DensityNetwork(NETWORK, (1, 8), BOTH).double()
    item, other = molecules(2)
    config = TrainingConfig(weight_decay=0.0)

    def gradient_of(dataset):
        samples = make_samples(module, with_all_parts(dataset, BOTH), BOTH)
        run = Run(module, samples, [], BOTH, config)
        units = torch.as_tensor(error_units(samples, BOTH))
        errors = (
            module(samples[0].inputs) @ torch.as_tensor(flat_basis(BOTH)) - samples[0].labels
        ) / units
        loss = (samples[0].weights * errors**2).sum()
        assert_allclose(
            run._errors(module, samples[0]).detach().numpy(), errors.detach().numpy(), atol=1e-12
        )
        module.zero_grad()
        loss.backward()
        return [value.grad.clone() for value in module.readout.weights]

    both = Dataset([item, other])
    first, second = (
        gradient_of(Dataset([only(both, "apt")[0], other])),
        gradient_of(Dataset([only(both, "pgt")[0], other])),
    )
    assert module.readout.irreps == [(0, 1), (1, 1), (2, 1), (1, -1), (2, -1), (3, -1)]
    assert all(not values.any() for values in first[3:]) and all(
        values.any() for values in first[:3]
    )
    assert all(not values.any() for values in second[:3]) and all(
        values.any() for values in second[3:]
    )


def test_heads_count_alike_whatever_their_units():
    dataset = molecules(6)
    module = DensityNetwork(NETWORK, (1, 8), BOTH)
    samples = make_samples(module, dataset, BOTH)
    labels = torch.cat([sample.labels for sample in samples]).numpy() / error_units(samples, BOTH)
    assert (labels[:, :9] ** 2).sum() == pytest.approx((labels[:, 9:] ** 2).sum(), rel=1e-5)
    assert (labels**2).mean() == pytest.approx(1, rel=1e-5)
    assert (
        error_units(make_samples(DensityNetwork(NETWORK, (1, 8), APT), dataset, APT), APT) == 1
    ).all()


def test_what_is_trained_is_what_there_are_labels_of(tmp_path):
    dataset = molecules(4)
    assert labelled_target(dataset) == BOTH
    assert (
        labelled_target(only(dataset, "apt")) == APT
        and labelled_target(only(dataset, "pgt")) == PGT
    )
    config = TrainingConfig(steps=2)
    assert fit(dataset, NETWORK, config, tmp_path / "a.h5", target=APT).target == APT
    # a plan that says nothing of the network
    plain = fit(dataset, NetworkConfig(), TrainingConfig(steps=1), tmp_path / "d.h5")
    assert plain.contents.config == default_network(BOTH)
    alone = fit(only(dataset, "pgt"), NETWORK, config, tmp_path / "g.h5")
    assert alone.target == PGT and alone.predict(dataset[0].frame).shape == (3, 3, 3, 3)
    without = Dataset([*dataset.subset(range(3)), *only(dataset.subset([3]), "apt")])
    with pytest.raises(
        LabelError,
        match="no atom of the validation frames has a complete label: every 'pgt' has a NaN; keep",
    ):
        fit(
            without.subset(range(3)),
            NETWORK,
            config,
            tmp_path / "b.h5",
            validation=without.subset([3]),
        )


@pytest.mark.slow
@pytest.mark.parametrize("shared_body", [False, True])
def test_a_committee_of_two_heads(tmp_path, shared_body):
    dataset = molecules(14)
    partial = Dataset([*dataset.subset(range(10)), *only(dataset.subset(range(10, 14)), "apt")])
    config = TrainingConfig(steps=20, held_out=4)
    model = fit_committee(
        partial, 3, NETWORK, config, tmp_path / "committee.h5", shared_body=shared_body
    )
    assert model.n_members == 3 and model.target == BOTH
    frame = molecules(1, seed=5)[0].frame
    members = {part: model.predict_members(frame, target=part) for part in BOTH.parts}
    tensors = model.predict_tensors(frame)
    for part, values in members.items():
        assert_allclose(values.mean(axis=0), tensors[part.name], atol=1e-12)
        mean, spread = model.predict_with_spread(frame, target=part)
        assert mean.shape == spread.shape == (3, *part.shape) and spread.min() > 0
        factors = model.factors_of(part)
        assert (
            set(factors) == {"H", "O"}
            and model.info[card_key("spread", BOTH, part)]["factors"] == factors
        )
        plain = model.predict_members(frame, target=part, calibrated=False)
        assert_allclose((values - mean)[:, 0], factors["O"] * (plain - mean)[:, 0], atol=1e-10)
    # the flux keeps that of every member, and the mean of the rates of α
    universe = gas(n_frames=3, n_molecules=1, cell=None)
    series = DipoleFlux(universe, model, velocity_unit="angstrom/ps").run().series
    assert series.members.shape == (3, 3, 1, 3)
    assert_allclose(series.members.mean(axis=1), series.flux, atol=1e-9)
    ts = universe.trajectory[2]
    rate = np.einsum("iabc,ic->ab", model.predict_tensors(universe)["pgt"], ts.velocities)
    assert_allclose(series.polarizability_segments()[0][2, 0], rate, atol=1e-5 * np.abs(rate).max())
    found = evaluate(model, molecules(5, seed=6), PGT)
    assert found.spreads.shape == (15, 3, 3, 3)
    assert set(model.info["accuracy"]) == {"held_out", "held_out pgt"}


# what is done with it


@pytest.mark.slow
def test_a_flux_has_the_rates_of_dipole_and_polarizability(trained):
    universe = gas(n_frames=5, n_molecules=1, cell=None)
    groups = {"O": "element O", "H": "element H"}
    series = DipoleFlux(universe, trained, groups, velocity_unit="angstrom/ps").run().series
    [rates] = series.polarizability_segments()
    for ts, flux, rate in zip(universe.trajectory, series.flux, rates, strict=True):
        tensors = trained.predict_tensors(universe)
        atoms = np.einsum("iabc,ic->iab", tensors["pgt"], ts.velocities)
        assert_allclose(rate, [atoms[0], atoms[1:].sum(axis=0)], atol=1e-5 * np.abs(rates).max())
        expected = np.einsum("iab,ib->ia", tensors["apt"], ts.velocities)
        assert_allclose(
            flux, [expected[0], expected[1:].sum(axis=0)], atol=1e-5 * np.abs(series.flux).max()
        )
    plain = (
        DipoleFlux(universe, Model(contents(target=APT)), velocity_unit="angstrom/ps").run().series
    )
    assert plain.polarizability is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* are short for a resolution:UserWarning")
def test_the_commands(tmp_path):
    dataset = molecules(8)
    dataset.save(tmp_path / "labels.h5")
    molecules(3, seed=9).save(tmp_path / "unseen.h5")
    (tmp_path / "plan.toml").write_text(_plan())
    model = tmp_path / "model.h5"
    plan = "--config", tmp_path / "plan.toml", "--steps", 5
    found = report(
        "train", tmp_path / "labels.h5", "-o", model, *plan, "--plot", tmp_path / "l.png"
    )
    assert set(found["accuracy"]) == {"validation", "validation pgt"}
    single = report(
        "train", tmp_path / "labels.h5", "-o", tmp_path / "apt.h5", *plan, "--target", "apt"
    )
    assert set(single["accuracy"]) == {"validation"}
    assert "no target 'dipole'" in error(
        "train", tmp_path / "labels.h5", "-o", model, "--target", "dipole"
    )
    found = report(
        "evaluate",
        model,
        tmp_path / "unseen.h5",
        "--plot",
        tmp_path / "p.png",
        "--record",
        "unseen",
    )
    assert found["target"] == "apt" and set(found["pgt"]["rmse_per_irrep"]) == {
        "1o.1",
        "1o.2",
        "2o",
        "3o",
    }
    # a row for each head in the picture that was asked for, and no other file
    assert found["files"] == {"plot": str(tmp_path / "p.png")}
    assert {path.name for path in tmp_path.glob("*.png")} == {"l.png", "p.png"}
    assert all((tmp_path / name).read_bytes()[:4] == b"\x89PNG" for name in ("l.png", "p.png"))
    assert {"unseen", "unseen pgt"} <= set(load_model(model).info["accuracy"])
    trajectory = [tmp_path / "gas.pdb", tmp_path / "gas.trr"]
    universe = gas(n_frames=400, n_molecules=1)
    for path in trajectory:
        universe.atoms.write(path, frames="all" if path.suffix == ".trr" else None)
    predicted = report(
        "predict", *trajectory, "--model", model, "--stop", 2, "-o", tmp_path / "predicted.h5"
    )
    assert predicted["n_frames"] == 2
    assert read_labels(tmp_path / "predicted.h5")[1].tensors["pgt"].shape == (3, 3, 3, 3)
    flux = tmp_path / "flux.h5"
    options = [
        "--model",
        model,
        "--group",
        "O=element O",
        "--resolution",
        "200",
        "-T",
        "300 K",
        "--flux",
        flux,
    ]
    files = ["-o", tmp_path / "r.h5", "--csv", tmp_path / "r.csv", "--plot", tmp_path / "r.png"]
    found = report("raman", *trajectory, *options, *files)
    assert (
        found["unit"] == "angstrom ** 4 * centimeter / unified_atomic_mass_unit"
        and found["factors"] == {}
    )
    again = report(
        "raman",
        flux,
        "--laser",
        "532 nm",
        "-T",
        "300 K",
        "--resolution",
        "200",
        "-o",
        tmp_path / "s.h5",
    )
    assert again["factors"]["bose"] == "stokes"
    infrared = report(
        "spectrum", flux, "-T", "300 K", "--resolution", "200", "-o", tmp_path / "ir.h5"
    )
    assert infrared["n_frames"] == 400
    assert "no polarizability gradients" in error(
        "raman", *trajectory, "--model", tmp_path / "apt.h5", *files
    )
    assert "--bose 'x': choose one of" in error(
        "raman", flux, "--bose", "x", "-o", tmp_path / "x.h5"
    )


def _plan():
    lines = ["[network]", 'architecture = "density"']
    for layer in dataclasses.asdict(NETWORK)["layers"]:
        lines += [
            "[[network.layers]]",
            *(f"{key} = {json.dumps(value)}" for key, value in layer.items()),
        ]
    return "\n".join(lines)
