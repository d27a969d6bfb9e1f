"""Training, distilling and evaluating in one line of Python: what the commands do."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from typer.testing import CliRunner

import mda_aptnn
from mda_aptnn.cli import app
from mda_aptnn.errors import LabelError, ModelError, TrainingError
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.model.predict import BUNDLED
from mda_aptnn.training.card import assess
from tests.tiny import NETWORK, clusters, model_file

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


def same_weights(one, other):
    for mine, its in zip(one.contents.members, other.contents.members, strict=True):
        for name, values in mine.weights.items():
            assert_array_equal(its.weights[name], values)


def test_train_is_the_command(tmp_path):
    clusters(4).save(tmp_path / "labels.h5")
    (tmp_path / "plan.toml").write_text(PLAN)
    words = [
        "train",
        tmp_path / "labels.h5",
        "-o",
        tmp_path / "a.h5",
        "--config",
        tmp_path / "plan.toml",
    ]
    words += ["--steps", "2", "--seed", "3", "--held-out-frames", "1"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    model = mda_aptnn.train(
        tmp_path / "labels.h5",
        tmp_path / "b.h5",
        plan=tmp_path / "plan.toml",
        steps=2,
        seed=3,
        held_out=1,
    )
    other = mda_aptnn.load_model(tmp_path / "a.h5")
    same_weights(model, other)
    for name in ("training", "accuracy", "data", "domain"):
        assert model.info[name] == other.info[name]
    assert model.info["training"]["steps"] == 2 and model.info["training"]["validate_every"] == 2


def test_frames_that_are_held_out_in_a_file_of_their_own(tmp_path):
    frames = clusters(5)
    frames.subset([4]).save(tmp_path / "test.h5")
    settings = {"network": NETWORK, "steps": 2, "validation": 1, "validate_every": 1}
    path = tmp_path / "m.h5"
    model = mda_aptnn.train(
        frames.subset(range(4)), path, held_out=tmp_path / "test.h5", **settings
    )
    assert model.info["data"]["n_frames"] == {"training": 3, "validation": 1, "held_out": 1}
    errors = mda_aptnn.evaluate(path, tmp_path / "test.h5", held_out=True)
    assert model.info["accuracy"]["held_out"]["rmse"] == pytest.approx(errors.rmse, rel=1e-5)
    # they decide nothing about the weights
    same_weights(model, mda_aptnn.train(frames.subset(range(4)), tmp_path / "n.h5", **settings))
    with pytest.raises(LabelError, match="held_out frame 0 is among the training frames too"):
        mda_aptnn.train(frames, path, held_out=tmp_path / "test.h5", validation=frames.subset([]))


def test_a_committee(tmp_path):
    frames, settings = clusters(6), {"network": NETWORK, "steps": 1, "validate_every": 1}
    path = tmp_path / "c.h5"
    model = mda_aptnn.train(
        frames.subset(range(4)),
        path,
        members=2,
        held_out=frames.subset([4, 5]),
        validation=1,
        **settings,
    )
    assert model.n_members == 2 and set(model.spread_factors) == {"H", "O"}
    with pytest.raises(TrainingError, match="validation frames of their own"):
        mda_aptnn.train(frames, path, members=2, validation=frames.subset([0]), **settings)
    for wrong in ({"members": 0}, {"members": 1, "shared_body": True}):
        with pytest.raises(TrainingError, match="a committee has two or more"):
            mda_aptnn.train(frames, path, **wrong)
    with pytest.raises(KeyError, match="no target 'dipole'"):
        mda_aptnn.train(frames, path, target="dipole")


def test_a_student_of_a_trajectory(tmp_path):
    import MDAnalysis as mda

    universe = mda.Universe(BUNDLED / "water64.pdb", BUNDLED / "water64.h5md")
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    teacher = FixedCharges({"H": 0.4, "O": -0.8})
    student = mda_aptnn.distil(teacher, universe, tmp_path / "s.h5", n_frames=3, plan=plan, steps=2)
    assert student.info["teacher"]["n_frames"] == 3 and student.info["run"]["steps"] == 2


def test_an_assessment_of_all_tensors(tmp_path):
    path = tmp_path / "m.h5"
    contents = model_file()
    contents.card["accuracy"] = {}
    contents.save(path)
    found = assess(path, clusters(2), record="another program")
    assert list(found) == ["apt"] and set(found["apt"].bands) >= {"rotation", "stretch"}
    noted = mda_aptnn.load_model(path).info["accuracy"]["another program"]
    assert noted["rmse"] == found["apt"].summary()["rmse"]
    assert noted["bands"]["stretch"]["error"] == found["apt"].bands["stretch"]["error"]
    memory = FixedCharges({"H": 0.4, "O": -0.8})
    assert assess(memory, clusters(2))["apt"].rmse > 0
    with pytest.raises(ModelError, match="a model in memory has no file to write into"):
        assess(memory, clusters(2), record="another program")
    text = found["apt"].describe()
    assert f"{found['apt'].rmse:.4f}" in text and "stretch" in text and np.isfinite(noted["mae"])
