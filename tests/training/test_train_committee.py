"""Training of committees, and the calibration of their spread."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.errors import LabelError, TrainingError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.file import ModelFile
from mda_aptnn.model.predict import Model
from mda_aptnn.tensors import APT
from mda_aptnn.training import committee
from mda_aptnn.training.calibration import calibrated
from mda_aptnn.training.committee import bootstrap_readouts, fit_committee
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.evaluate import Evaluation, evaluate
from mda_aptnn.training.loop import Run
from tests.tiny import NETWORK, clusters, model_file, with_labels

SHORT = TrainingConfig(steps=6, validate_every=3, validation=1, held_out=2, warmup_steps=1)


def train(path, n_members=3, config=SHORT, **options):
    return fit_committee(clusters(6), n_members, NETWORK, config, path, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("committee")
    model = train(folder / "committee.h5")
    assert [file.name for file in folder.iterdir()] == ["committee.h5"]
    return model


def test_members_differ_in_weights_and_validation_but_not_in_held_out_frames(trained):
    members, data = trained.info["committee"]["trained"], trained.info["data"]
    assert trained.n_members == 3 and [member["seed"] for member in members] == [0, 1, 2]
    assert trained.info["data"]["n_frames"] == {"training": 4, "held_out": 2}
    validation = [frame for member in members for frame in member["validation_frames"]]
    assert len(set(validation)) == 3 and set(validation) <= set(data["fingerprints"]["training"])
    assert not set(data["fingerprints"]["held_out"]) & set(data["fingerprints"]["training"])
    assert all(member["n_frames"] == {"training": 3, "validation": 1} for member in members)
    weights = [member.weights["readout.weights.0"] for member in trained.contents.members]
    assert not np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[1], weights[2])


def test_the_spread_is_the_error_on_the_held_out_frames(trained):
    held_out = trained.info["data"]["fingerprints"]["held_out"]
    frames = [item for item in clusters(6) if item.frame.fingerprint() in held_out]
    evaluation = evaluate(trained, Dataset(frames))
    for row in evaluation.spread_summary().values():
        assert row["ratio"] == pytest.approx(1.0, rel=1e-6)
    assert trained.info["accuracy"]["held_out"]["rmse"] == pytest.approx(evaluation.rmse, rel=1e-4)
    assert trained.info["spread"]["n_frames"] == 2 and set(trained.spread_factors) == {"H", "O"}


def test_a_killed_committee_goes_on_at_its_member_and_step(tmp_path, monkeypatch, trained):
    save, saved, begun = Run.save, [], []
    fit = committee.fit

    def save_and_die(run, path, who):
        save(run, path, who)
        saved.append(path.name)
        if len(saved) in (1, 4):
            raise KeyboardInterrupt

    def counted(*arguments, **options):
        begun.append(arguments[2].seed)
        return fit(*arguments, **options)

    monkeypatch.setattr("mda_aptnn.training.loop.CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(Run, "save", save_and_die)
    monkeypatch.setattr(committee, "fit", counted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed.h5")
        assert not (tmp_path / "killed.h5").exists()
    killed = train(tmp_path / "killed.h5")
    # dies at the first validation of member 0 and at the last of member 1; nothing is done twice
    assert begun == [0, 0, 1, 1, 2] and len(saved) == 6
    assert [file.name for file in tmp_path.iterdir()] == ["killed.h5"]
    for one, other in zip(killed.contents.members, trained.contents.members, strict=True):
        for part in ("weights", "last"):
            for name, values in getattr(one, part).items():
                assert values.tobytes() == getattr(other, part)[name].tobytes(), name
    assert killed.spread_factors == trained.spread_factors


def test_members_of_other_settings_are_not_taken(tmp_path, monkeypatch):
    fit = committee.fit

    def die(*arguments, **options):
        if arguments[2].seed == 1:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(committee, "fit", die)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "committee.h5", 2)
    monkeypatch.setattr(committee, "fit", fit)
    model = train(tmp_path / "committee.h5", 2, dataclasses.replace(SHORT, steps=3))
    assert [member["steps"] for member in model.info["committee"]["trained"]] == [3, 3]


def test_a_member_that_diverges_is_named_and_not_taken_for_finished(tmp_path):
    config = dataclasses.replace(
        SHORT, steps=400, validate_every=1, warmup_steps=300, learning_rate=100.0
    )
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"^member 0: training diverged in step"):
            train(tmp_path / "committee.h5", 2, config)
    assert not (tmp_path / "committee.h5").exists()


def test_without_held_out_frames_the_spread_is_not_calibrated_and_the_log_says_so(tmp_path, caplog):
    model = train(tmp_path / "committee.h5", 2, dataclasses.replace(SHORT, held_out=0, steps=3))
    assert model.spread_factors == {} and "spread is not calibrated" in caplog.text
    raw = model.predict_members(clusters(1)[0].frame, calibrated=False)
    assert np.array_equal(model.predict_members(clusters(1)[0].frame), raw)


def test_one_member_is_no_committee(tmp_path):
    with pytest.raises(TrainingError, match="two or more members, not 1"):
        train(tmp_path / "committee.h5", 1)


# --- last layers on one body ---


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda items: [*items[:4], items[0]], "is training frame 0 once more"),
        (lambda items: items[:5], "held_out frames has a complete label"),
        (lambda items: items[:4], "O occurs in held_out frames but not in training"),
    ],
    ids=["a frame twice", "held-out labels of NaN", "an element that is held out"],
)
def test_what_its_end_would_refuse_is_refused_before_training(tmp_path, change, said):
    items = change(list(clusters(6)))
    held_out = list(clusters(6))[5:]
    if "complete" in said:
        held_out = [with_labels(held_out[0], np.full_like(held_out[0].apt, np.nan))]
    if "occurs" in said:
        hydrogen = [item.frame.numbers == 1 for item in items]
        items = [
            dataclasses.replace(
                item,
                frame=dataclasses.replace(
                    item.frame,
                    numbers=item.frame.numbers[chosen],
                    positions=item.frame.positions[chosen],
                ),
                tensors={"apt": item.apt[chosen]},
            )
            for item, chosen in zip(items, hydrogen, strict=True)
        ]
    config = dataclasses.replace(SHORT, held_out=0)
    with pytest.raises(LabelError, match=said):
        fit_committee(
            Dataset(items), 2, NETWORK, config, tmp_path / "c.h5", held_out=Dataset(held_out)
        )
    assert not list(tmp_path.iterdir())


def test_last_layers_share_the_body_of_a_trained_model_which_is_their_mean(tmp_path):
    model = train(tmp_path / "committee.h5", 4, shared_body=True)
    contents = model.contents
    assert contents.shares_body and len(contents.members) == 4
    assert len(model.info["committee"]["trained"]) == 1
    body = ModelFile.load(tmp_path / "committee.h5").single(0)
    single = committee.fit(
        Dataset([item for item in clusters(6) if item.frame.fingerprint() in _learned(model)]),
        NETWORK,
        dataclasses.replace(SHORT, held_out=0),
        tmp_path / "single.h5",
        validation=Dataset(
            [item for item in clusters(6) if item.frame.fingerprint() in _validation(model)]
        ),
    )
    frame = clusters(1)[0].frame
    assert np.array_equal(
        body.members[0].weights["scale"], single.contents.members[0].weights["scale"]
    )
    assert np.allclose(model.predict(frame), single.predict(frame), atol=1e-5)
    assert model.predict_with_spread(frame)[1].min() > 0
    for row in evaluate(model, _held_out(model)).spread_summary().values():
        assert row["ratio"] == pytest.approx(1.0, rel=1e-5)


def _validation(model):
    return model.info["committee"]["trained"][0]["validation_frames"]


def _learned(model):
    return set(model.info["data"]["fingerprints"]["training"]) - set(_validation(model))


def _held_out(model):
    held_out = model.info["data"]["fingerprints"]["held_out"]
    return Dataset([item for item in clusters(6) if item.frame.fingerprint() in held_out])


def test_a_last_layer_that_fits_exactly_leaves_no_spread():
    """Labels that a network with the same body made: whatever frames are drawn, the regression
    finds its layer.
    """
    contents = model_file(3)
    model = Model(contents, engine="torch", dtype="float64")
    exact = Dataset([with_labels(item, model.predict(item.frame)) for item in clusters(4)])
    other = dataclasses.replace(
        contents,
        members=[
            dataclasses.replace(
                contents.members[0],
                weights={
                    name: values * 1.3 if name.startswith("readout") else values
                    for name, values in contents.members[0].weights.items()
                },
            )
        ],
    )
    for start, spread in ((contents, 1e-6), (other, 0.05)):
        members = bootstrap_readouts(start, exact, 5, seed=0)
        found = Model(members, engine="torch", dtype="float64").predict_with_spread(exact[0].frame)[
            1
        ]
        scale = np.abs(exact[0].apt).max()
        assert found.max() < spread * scale
    rng = np.random.default_rng(1)
    noisy = [with_labels(item, item.apt + rng.normal(size=item.apt.shape)) for item in exact]
    members = bootstrap_readouts(contents, Dataset(noisy), 5, seed=0)
    assert Model(members, engine="torch").predict_with_spread(exact[0].frame)[1].mean() > 0.02


def test_a_last_layer_without_features_stays_what_it_is():
    """An element that was not drawn, or an isolated atom, of two heads."""
    trained = np.random.default_rng(0).normal(size=(4, 2))
    rows = {(0, 0): (np.zeros((6, 4)), np.ones((6, 2)))}
    np.testing.assert_array_equal(committee._regression([rows], (0, 0), trained), trained)


# --- calibration ---


def known(n_atoms=4000, factor=2.5, shown=1.0, seed=0):
    """Normal errors whose width is known, of atoms that differ in it, and a spread that is too
    small by `factor`.
    """
    rng = np.random.default_rng(seed)
    width = 0.02 * np.exp(rng.normal(scale=0.7, size=(n_atoms, 1, 1))) * np.ones((1, 3, 3))
    labels = rng.normal(size=(n_atoms, 3, 3))
    numbers = np.where(np.arange(n_atoms) % 3 == 0, 8, 1)
    errors = width * rng.normal(size=width.shape)
    return Evaluation(
        APT, 3, numbers, labels, labels + errors, {"none": labels}, width / factor * shown
    )


def test_the_factor_of_normal_errors_is_found():
    card = calibrated(known(), {}, "made up")
    # 12,000 and 24,000 components with weights of width⁴ / ⟨width²⟩²: 5 % is five standard errors
    assert card["factors"] == pytest.approx({"H": 2.5, "O": 2.5}, rel=0.05)
    again = calibrated(known(shown=2.0), {"H": 2.0, "O": 2.0}, "made up")
    assert again["factors"] == pytest.approx(card["factors"], rel=1e-12)
    assert card["n_atoms"] == {"H": 2666, "O": 1334}


def test_what_a_calibrated_spread_says_of_normal_errors():
    summary = known(factor=1.0).spread_summary()
    for row in summary.values():
        assert row["ratio"] == pytest.approx(1.0, abs=0.05)
        assert row["within_one"] == pytest.approx(0.683, abs=0.02)
        assert row["within_two"] == pytest.approx(0.954, abs=0.01)
        assert row["rank_correlation"] > 0.8
        spreads = [item["rms_spread"] for item in row["bins"]]
        assert spreads == sorted(spreads) and sum(item["n_atoms"] for item in row["bins"]) in (
            2666,
            1334,
        )
        for item in row["bins"]:
            assert item["rms_error"] == pytest.approx(item["rms_spread"], rel=0.15)
    shuffled = known(factor=1.0)
    shuffled = dataclasses.replace(
        shuffled, spreads=np.random.default_rng(1).permutation(shuffled.spreads)
    )
    assert all(abs(row["rank_correlation"]) < 0.1 for row in shuffled.spread_summary().values())


def test_an_element_without_labels_keeps_its_factor():
    only_hydrogen = known().by_species()["H"]
    factors = calibrated(only_hydrogen, {"H": 2.0, "O": 7.0}, "made up")["factors"]
    assert factors["O"] == 7.0 and factors["H"] == pytest.approx(5.0, rel=0.05)


def test_no_spread_no_calibration():
    with pytest.raises(LabelError, match="no committee"):
        calibrated(dataclasses.replace(known(30), spreads=None), {}, "made up")
    with pytest.raises(LabelError, match="do not differ for H"):
        calibrated(dataclasses.replace(known(30), spreads=np.zeros((30, 3, 3))), {}, "made up")


# --- commands ---

PLAN = """
[training]
steps = 4
validate_every = 2
validation = 1
[[network.layers]]
features = "2x0e+2x1o+2x1e+2x2e"
cutoff = 3.0
n_radial = 2
"""


@pytest.mark.slow
def test_commands_train_and_calibrate_a_committee(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = clusters(6)
    dataset.subset([0, 1, 2, 3]).save("labels.h5")
    dataset.subset([4, 5]).save("test.h5")
    (tmp_path / "plan.toml").write_text(PLAN)

    def command(*words, code=0):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == code, result.output
        return result.output

    text = command(
        "train",
        "labels.h5",
        "-o",
        "c.h5",
        "--config",
        "plan.toml",
        "--members",
        2,
        "--plot",
        "curve.png",
    )
    assert "2 members (independent members)" in text
    before = json.loads(command("evaluate", "c.h5", "test.h5", "--json"))
    assert before["spread_factors"] == {} and before["spread"]["O"]["ratio"] != pytest.approx(
        1, rel=1e-3
    )
    bands = [name for name, row in before["bands"].items() if isinstance(row, dict)]
    text = command("evaluate", "c.h5", "test.h5", "--calibrate", "--plot-spread", "spread.png")
    assert "rank correlation" in text and "calibrated: the members' deviation times H" in text
    after = json.loads(command("evaluate", "c.h5", "test.h5", "--json"))
    for symbol in "HO":
        assert after["spread"][symbol]["ratio"] == pytest.approx(1.0, rel=1e-6)
        expected = before["spread"][symbol]["ratio"]
        assert after["spread_factors"][symbol] == pytest.approx(expected, rel=1e-9)
    assert "linear" in before["bands"][bands[0]] and before["bands"]["factor"] is None
    assert (
        after["bands"]["factor"]
        == json.loads(command("info", "c.h5", "--json"))["spread"]["bands"]["factor"]
    )
    assert after["bands"]["error_over_stated"] < before["bands"]["error_over_stated"]
    assert "(with its factor of" in text and "errors are" in text
    assert "none of 2 frames is one of the 0" in command(
        "evaluate", "c.h5", "test.h5", "--held-out", code=1
    )
    assert {"c.h5", "curve.png", "spread.png"} < {file.name for file in tmp_path.iterdir()}
    assert "two or more" in command("train", "labels.h5", "--members", 1, "--shared-body", code=1)
    command("train", "labels.h5", "-o", "single.h5", "--config", "plan.toml")
    assert "no committee" in command("evaluate", "single.h5", "test.h5", "--calibrate", code=1)


@pytest.mark.slow
def test_held_out_frames_that_are_given(tmp_path):
    config = dataclasses.replace(SHORT, held_out=0, steps=3)
    frames = clusters(6)
    model = fit_committee(
        frames.subset(range(4)),
        2,
        NETWORK,
        config,
        tmp_path / "c.h5",
        held_out=frames.subset([4, 5]),
    )
    data = model.info["data"]
    assert data["fingerprints"]["held_out"] == [
        item.frame.fingerprint() for item in frames.subset([4, 5])
    ]
    assert data["n_frames"] == {"training": 4, "held_out": 2} and set(model.spread_factors) == {
        "H",
        "O",
    }
