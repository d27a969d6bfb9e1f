import dataclasses
import math

import numpy as np
import pytest
import torch

from mda_aptnn.errors import FileFormatError, FrameError, LabelError, TrainingError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.model.density import DensityNetwork
from mda_aptnn.model.file import ModelFile
from mda_aptnn.model.predict import Model
from mda_aptnn.tensors import APT
from mda_aptnn.training.config import TrainingConfig, read_plan, split
from mda_aptnn.training.fit import fit
from mda_aptnn.training.loop import Run, checkpoint_path
from mda_aptnn.training.samples import make_samples, output_scales
from tests.tiny import NETWORK, clusters, molecule, water, with_labels

SHORT = TrainingConfig(steps=8, validation=1, validate_every=2, warmup_steps=2)


def network(numbers=(1, 8)):
    torch.manual_seed(0)
    return DensityNetwork(NETWORK, numbers, APT)


# --- it learns ---


@pytest.mark.slow
def test_the_error_falls_below_the_isotropic_mean_and_symmetry_stays_exact(tmp_path):
    config = TrainingConfig(
        steps=40, validation=1, held_out=1, validate_every=10, warmup_steps=5, learning_rate=0.02
    )
    model = fit(water(4), NETWORK, config, tmp_path / "model.h5")
    errors = model.info["accuracy"]["held_out"]
    assert errors["n_atoms"] == 96
    assert errors["rmse"] < 0.8 * errors["baseline_rmse"]["isotropic mean of training frames"]
    learning = model.contents.members[0].learning
    assert learning["step"].tolist() == [10, 20, 30, 40]
    assert learning["validation_rmse"][-1] < learning["validation_rmse"][0]
    assert np.isclose(
        learning["validation_rmse"].min(), model.info["accuracy"]["validation"]["rmse"], rtol=1e-4
    )

    frame = water(1)[0].frame
    turn = -np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turned = Frame(frame.numbers, frame.positions @ turn.T, frame.cell @ turn.T, frame.pbc)
    exact = Model(model.contents, dtype="float64")
    assert np.abs(exact.predict(turned) - turn @ exact.predict(frame) @ turn.T).max() < 1e-10


def test_the_card_says_what_the_model_is_for(tmp_path):
    model = fit(water(4), NETWORK, dataclasses.replace(SHORT, held_out=1), tmp_path / "model.h5")
    card = model.info
    assert "RPBE-D3" in card["level_of_theory"]
    assert card["data"]["n_frames"] == {"training": 2, "validation": 1, "held_out": 1}
    prints = [name for part in card["data"]["fingerprints"].values() for name in part]
    assert sorted(prints) == sorted(item.frame.fingerprint() for item in water(4))
    assert list(card["data"]["sources"]) == ["water32-rpbe-d3.xyz"]
    domain = card["domain"]
    assert domain["elements"] == ["H", "O"] and domain["n_atoms"] == {"H": 128, "O": 64}
    assert domain["atoms_per_frame"] == [96, 96] and domain["temperature"] == [330, 330]
    # 32 H2O of 18.015 u in (9.8584 Å)³, by hand: 32 · 18.015 · 1.66054 / 958.13 g/cm³
    assert domain["density"] == pytest.approx([0.9991, 0.9991], abs=2e-4)
    assert card["training"]["steps"] == 8 and card["run"]["steps"] == 8
    assert card["command"] and set(card["accuracy"]) == {"validation", "held_out"}


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path):
    weights = [
        fit(clusters(3), NETWORK, dataclasses.replace(SHORT, seed=seed), tmp_path / "m.h5")
        .contents.members[0]
        .last
        for seed in (0, 0, 1)
    ]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(np.array_equal(weights[0][name], weights[2][name]) for name in weights[0])


# --- the loss, the scales, the schedule ---


def test_scales_are_one_number_for_each_irrep_and_only_invariants_are_shifted():
    dataset = water(3)
    scale, shift = output_scales(dataset, APT, [1, 8])
    for row, symbol in enumerate("HO"):
        labels = np.concatenate(
            [item.apt[np.array(item.frame.symbols) == symbol] for item in dataset]
        )
        trace = np.trace(labels, axis1=1, axis2=2) / 3
        spherical = trace[:, None, None] * np.eye(3)
        turning = (labels - labels.transpose(0, 2, 1)) / 2
        rest = (labels + labels.transpose(0, 2, 1)) / 2 - spherical
        # components of an orthonormal basis: the squared norm of a part is shared by its 1, 3, 5
        # components
        expected = [np.std(trace) * math.sqrt(3)]
        expected += [
            math.sqrt(np.mean(np.sum(part**2, axis=(1, 2))) / n)
            for part, n in ((turning, 3), (rest, 5))
        ]
        assert np.allclose(scale[row], np.repeat(expected, [1, 3, 5]), rtol=1e-12)
        mean = APT.to_cartesian(shift[row][None])[0]
        assert np.allclose(mean, trace.mean() * np.eye(3), atol=1e-12)


def test_an_irrep_that_never_varied_gets_no_zero_scale():
    frame = Frame([8], [[0, 0, 0]])
    scale, _ = output_scales(
        Dataset([LabelledFrame(frame, {"apt": -0.8 * np.eye(3)[None]})]), APT, [8]
    )
    assert (scale > 0).all() and (scale < 0.01).all()


def test_the_step_is_that_of_the_weighted_error_of_what_is_labelled():
    """The gradient against one that is written out by itself, with missing labels and weights."""
    rng = np.random.default_rng(5)
    items = [molecule(water(1)[0], 0, 6), molecule(water(1)[0], 9, 3)]
    items = [
        with_labels(item, np.where(rng.random(item.apt.shape) < 0.3, np.nan, item.apt))
        for item in items
    ]
    config = TrainingConfig(batch_frames=2, element_weights={"H": 4.0}, clip_norm=1e9)
    module = network()
    run = Run(
        module, make_samples(module, Dataset(items), APT, config.element_weights), [], APT, config
    )
    run._optimise(run._batch(), 0.0)
    learned = [parameter for parameter in module.parameters() if parameter.grad is not None]
    got = [parameter.grad.clone() for parameter in learned]

    loss, labels = torch.zeros(()), []
    for item in items:
        values = module(module.inputs(item.frame))
        for atom, symbol in enumerate(item.frame.symbols):
            for a in range(3):
                for b in range(3):
                    label = item.apt[atom, a, b]
                    if np.isfinite(label):
                        predicted = sum(
                            values[atom, c] * float(APT.basis[c, a, b]) for c in range(9)
                        )
                        loss = loss + {"H": 4.0, "O": 1.0}[symbol] * (predicted - label) ** 2
                        labels.append((label, {"H": 4.0, "O": 1.0}[symbol]))
    loss = loss / sum(weight for _, weight in labels) / np.mean([label**2 for label, _ in labels])
    module.zero_grad()
    loss.backward()
    assert len(got) > 10
    for ours, parameter in zip(got, learned, strict=True):
        assert torch.allclose(ours, parameter.grad, rtol=1e-3, atol=1e-5 * float(loss.detach()))


def test_every_frame_comes_once_an_epoch():
    module = network()
    items = [molecule(water(1)[0], 3 * k) for k in range(6)]
    run = Run(
        module, make_samples(module, Dataset(items), APT), [], APT, TrainingConfig(batch_frames=2)
    )
    orders = []
    for _ in range(4):  # epochs
        seen = []
        for _ in range(3):
            seen += [float(sample.labels[0, 0]) for sample in run._batch()]
            run.step += 1
        assert sorted(seen) == sorted(
            torch.tensor(item.apt[0, 0, 0], dtype=torch.float32).item() for item in items
        )
        orders.append(tuple(seen))
    assert len(set(orders)) > 1


def test_learning_rates():
    cosine = TrainingConfig(steps=1000, warmup_steps=9, learning_rate=2.0)
    assert cosine.learning_rate_at(0, []) == pytest.approx(0.2, rel=1e-6)
    assert cosine.learning_rate_at(500, []) == pytest.approx(1.0, rel=1e-12)
    assert cosine.learning_rate_at(999, []) < 1e-5
    plateau = TrainingConfig(
        schedule="plateau", warmup_steps=0, learning_rate=1.0, plateau_patience=2
    )
    falling, flat = [3.0, 2.0, 1.0], [1.0, 1.0]
    assert plateau.learning_rate_at(5, falling + flat) == 1.0
    assert plateau.learning_rate_at(6, [*falling, *flat, 1.0]) == pytest.approx(0.1)
    assert plateau.learning_rate_at(9, [*falling, *flat, 1.0, 0.5, 0.6, 0.6, 0.6]) == pytest.approx(
        0.01
    )


def test_it_stops_when_the_validation_error_has_not_fallen(tmp_path):
    # with no learning rate to speak of, the error falls or rises in the last digits only
    config = TrainingConfig(
        steps=500, validation=1, validate_every=1, patience=6, learning_rate=1e-30
    )
    model = fit(clusters(2), NETWORK, config, tmp_path / "model.h5")
    assert model.info["run"] | {"seconds": 0} == {"steps": 7, "best_step": 1, "seconds": 0}


# --- labels that are not there ---


def test_frames_of_different_size_with_partial_labels(tmp_path):
    items = list(clusters(3)) + [molecule(water(4)[3], 3 * k) for k in range(4)]
    for index, item in enumerate(items[:2]):
        apt = item.apt.copy()
        apt[index::2] = np.nan
        items[index] = with_labels(item, apt)
    config = dataclasses.replace(SHORT, batch_frames=3, validation=2)
    model = fit(Dataset(items), NETWORK, config, tmp_path / "model.h5")
    values = np.concatenate([*model.contents.members[0].weights.values()], axis=None)
    assert np.isfinite(values).all()


def _all_nan(items):
    return [with_labels(item, np.full_like(item.apt, np.nan)) for item in items]


def _no_oxygen(item):
    return with_labels(item, np.where((item.frame.numbers == 8)[:, None, None], np.nan, item.apt))


def _chloride(item):
    return LabelledFrame(
        dataclasses.replace(item.frame, numbers=np.where(np.arange(96) == 0, 17, 1)), item.tensors
    )


@pytest.mark.parametrize(
    ("items", "validation", "said"),
    [
        (lambda: list(water(1)), None, "1 labelled frame cannot be split"),
        (lambda: _all_nan(water(3)), None, "every 'apt' has a NaN"),
        (lambda: [_no_oxygen(item) for item in water(3)], None, "no O atom"),
        (lambda: list(water(2)), lambda: [_chloride(water(1)[0])], "Cl occurs in validation"),
        (lambda: list(water(2)), lambda: list(water(1)), "among the training frames too"),
        (
            lambda: list(water(2)),
            lambda: _all_nan(water(3))[2:],
            "no atom of the validation frames",
        ),
        (
            lambda: [dataclasses.replace(item, tensors={}) for item in water(3)],
            None,
            "no labels 'apt'",
        ),
    ],
)
def test_labels_that_cannot_be_trained_on(tmp_path, items, validation, said):
    with pytest.raises(LabelError, match=said):
        fit(
            Dataset(items()),
            NETWORK,
            SHORT,
            tmp_path / "model.h5",
            validation=None if validation is None else Dataset(validation()),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_split_by_seed():
    config = TrainingConfig(seed=3, validation=0.2, held_out=3)
    parts = split(20, config)
    assert [len(part) for part in parts] == [13, 4, 3]
    assert sorted(frame for part in parts for frame in part) == list(range(20))
    assert parts == split(20, config) and parts != split(20, dataclasses.replace(config, seed=4))
    assert [len(part) for part in split(20, config, given=True)] == [17, 0, 3]
    assert len(split(3, TrainingConfig(validation=0.01))[1]) == 1


# --- interruptions ---


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(tmp_path, monkeypatch):
    whole = fit(clusters(4), NETWORK, SHORT, tmp_path / "whole.h5")
    save, saved = Run.save, []

    def save_and_die(*arguments):
        save(*arguments)
        saved.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr("mda_aptnn.training.loop.CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(Run, "save", save_and_die)
    for _ in range(4):  # after each of the four validations
        with pytest.raises(KeyboardInterrupt):
            fit(clusters(4), NETWORK, SHORT, tmp_path / "killed.h5")
        assert not (tmp_path / "killed.h5").exists()
    assert len(saved) == 4
    killed = fit(clusters(4), NETWORK, SHORT, tmp_path / "killed.h5")
    for part in ("weights", "last", "learning"):
        one, other = (getattr(model.contents.members[0], part) for model in (whole, killed))
        assert one.keys() == other.keys()
        for name in one.keys() - {"seconds"}:
            assert one[name].tobytes() == other[name].tobytes(), name
    assert killed.info["run"]["best_step"] == whole.info["run"]["best_step"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["killed.h5", "whole.h5"]


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_not_used(tmp_path, monkeypatch):
    path = tmp_path / "model.h5"
    state = checkpoint_path(path)
    monkeypatch.setattr("mda_aptnn.training.loop.CHECKPOINT_EVERY", 0.0)
    save = Run.save

    def save_and_die(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        fit(clusters(3), NETWORK, SHORT, path)
    monkeypatch.setattr(Run, "save", save)
    with pytest.raises(
        TrainingError,
        match=r"^\S+checkpoint\.h5 is of an unfinished run with other training\.learning_rate: ",
    ):
        fit(clusters(3), NETWORK, dataclasses.replace(SHORT, learning_rate=1e-3), path)
    changed = Dataset([with_labels(item, item.apt + 1e-9) for item in clusters(3)])
    with pytest.raises(
        TrainingError,
        match=r"^\S+ is of an unfinished run with other training frames, validation frames: ",
    ):
        fit(changed, NETWORK, SHORT, path)
    state.write_bytes(state.read_bytes()[:2000])
    with pytest.raises(TrainingError, match=r"cannot resume from .*delete it"):
        fit(clusters(3), NETWORK, SHORT, path)


def test_a_diverging_run_keeps_its_last_good_weights_and_says_so(tmp_path):
    path = tmp_path / "model.h5"
    # the rate climbs to absurd values over the warm-up
    config = TrainingConfig(
        steps=400, validation=1, validate_every=1, warmup_steps=300, learning_rate=100.0
    )
    with pytest.raises(
        TrainingError, match=rf"diverged in step \d+: .*{path.name} has the best weights.*lower"
    ):
        fit(clusters(2), NETWORK, config, path)
    card = ModelFile.load(path).card
    assert 1 <= card["run"]["best_step"] < card["run"]["steps"]
    assert card["accuracy"]["validation"]["rmse"] < 1.0
    assert not checkpoint_path(path).exists()


def test_a_run_that_diverges_at_once_writes_nothing(tmp_path):
    with pytest.raises(TrainingError, match="nothing is written"):
        fit(
            clusters(2),
            NETWORK,
            dataclasses.replace(SHORT, learning_rate=1e30),
            tmp_path / "model.h5",
        )
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_known_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        fit(clusters(3), NETWORK, TrainingConfig(steps=10**9), tmp_path / "nowhere" / "model.h5")


# --- the plan ---


def test_a_plan_in_toml(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(
        """
        [training]
        steps = 7
        learning_rate = 1
        element_weights = {H = 2.0}
        [[network.layers]]
        features = "4x0e+4x1o+4x2e"
        cutoff = "0.45 nm"
        [[network.layers]]
        features = "4x0e+4x1o+4x1e+4x2e"
        messages = "4x0e+4x1o"
        cutoff = 3
        """
    )
    network, training = read_plan(path)
    assert training == TrainingConfig(steps=7, learning_rate=1.0, element_weights={"H": 2.0})
    assert [layer.cutoff for layer in network.layers] == pytest.approx([4.5, 3.0], rel=1e-12)
    assert network.layers[1].messages == "4x0e+4x1o"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("[training]\nstep = 7", FileFormatError, "no key 'step'; there is steps"),
        ("[netwrok]", FileFormatError, "no table 'netwrok'; there is network"),
        ("[training]\nsteps = 'many'", FileFormatError, "steps = 'many'"),
        ("[training]\nsteps = 1.5", FileFormatError, "steps = 1.5"),
        ("[training]\nlearning_rate = true", FileFormatError, "learning_rate = True"),
        ("[[network.layers]]\ncutof = 3", FileFormatError, "no key 'cutof'; there is cutoff"),
        ("[[network.layers]]\ncutoff = '3 K'", ValueError, "cutoff"),
        ("training = 3", FileFormatError, "must be a table"),
        ("[training", FileFormatError, "is not TOML"),
        ("[training]\nsteps = 0", TrainingError, "steps = 0"),
        ("[training]\nschedule = 'wish'", TrainingError, "schedule = 'wish'"),
        ("[training]\nelement_weights = {Qq = 1.0}", FrameError, "Qq"),
        (
            "[training]\nelement_weights = {H = 'four'}",
            TrainingError,
            "element_weights = {'H': 'four'}",
        ),
        (
            "[training]\nlearning_rate = '0.015 angstrom'",
            FileFormatError,
            "learning_rate = '0.015 angstrom'",
        ),
        ("[training]\nseed = -1", TrainingError, "seed = -1"),
        ("[training]\nweight_decay = inf", TrainingError, "weight_decay = inf"),
    ],
)
def test_a_plan_with_mistakes(tmp_path, text, error, said):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(error) as caught:
        read_plan(path)
    assert said in str(caught.value) and "\n" not in str(caught.value)
