"""A student from a teacher's tensors: what it learns, what is kept, what is taken up again."""

import dataclasses
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mda_aptnn.errors import LabelError, ModelError, TrainingError
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.committee import Committee
from mda_aptnn.model.dipole import DipoleConfig
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.model.predict import BUNDLED, load_model
from mda_aptnn.tensors import APT
from mda_aptnn.training import committee
from mda_aptnn.training import distil as distilling
from mda_aptnn.training.calibration import calibrate
from mda_aptnn.training.committee import fit_committee
from mda_aptnn.training.config import TrainingConfig, read_plan, split
from mda_aptnn.training.distil import cache_path, distil, train
from mda_aptnn.training.fit import fit
from mda_aptnn.training.samples import held_out_frames
from tests.tiny import NETWORK, clusters, model_file

from .test_evaluate import run

PLAN_FILE = """
[training]
steps = 4
validate_every = 2
[[network.layers]]
features = "2x0e+2x1o+2x1e+2x2e"
cutoff = 3.0
n_radial = 2
"""
PLAN = TrainingConfig(steps=30, validate_every=10, validation=1, held_out=1, seed=3)


def frames(n_frames):
    return [item.frame for item in clusters(n_frames)]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.h5"
    return fit(clusters(4), NETWORK, PLAN, path)


class Counting:
    """A model file's predictions, counted; stops at a given one as a kill would."""

    def __init__(self, path, stop_at=None):
        self.model, self.path, self.n, self.stop_at = (
            load_model(path),
            load_model(path).path,
            0,
            stop_at,
        )

    def predict(self, frame):
        if self.n == self.stop_at:
            raise KeyboardInterrupt
        self.n += 1
        return self.model.predict(frame)


def test_a_student_learns_fixed_charges(tmp_path):
    """Tensors that are the same for all atoms of an element are the shift of the output: learned at
    once.
    """
    student = distil(
        FixedCharges({"H": 0.4, "O": -0.8}),
        frames(4),
        tmp_path / "m.h5",
        network=NETWORK,
        training=PLAN,
    )
    found = student.predict(clusters(5)[4].frame)
    assert np.abs(found[0] + 0.8 * np.eye(3)).max() < 0.02
    assert np.abs(found[1] - 0.4 * np.eye(3)).max() < 0.02
    assert (
        student.info["teacher"]["name"] == "FixedCharges"
        and student.info["teacher"]["n_frames"] == 4
    )


def test_the_card_has_errors_against_teacher_and_truth_on_the_teachers_held_out_frames(
    tmp_path, teacher
):
    labels = clusters(4)
    path = tmp_path / "m.h5"
    student = distil(
        teacher.path, frames(7)[4:], path, labels=labels, network=NETWORK, training=PLAN
    )
    card = load_model(path).info
    assert (
        card["data"]["fingerprints"]["held_out"] == teacher.info["data"]["fingerprints"]["held_out"]
    )
    assert card["teacher"]["name"].startswith("teacher (sha256 ")
    _, _, held_out = split(len(labels), PLAN)
    item = labels[held_out[0]]
    rmse = np.sqrt(np.mean((student.predict(item.frame) - item.apt) ** 2))
    assert card["accuracy"]["held_out"]["rmse"] == pytest.approx(rmse, rel=1e-3)
    # three frames of truth, less the one held out, and the teacher's but for one of validation
    assert card["data"]["n_frames"] == {"training": 5, "validation": 1, "held_out": 1}


def test_labels_of_a_killed_run_are_taken_up(tmp_path, teacher):
    path, seen = tmp_path / "m.h5", frames(6)
    killed = Counting(teacher.path, stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        distil(killed, seen, path, network=NETWORK, training=PLAN)
    assert len(Dataset.load(cache_path(path))) == 4 and not path.exists()
    again = Counting(teacher.path)
    resumed = distil(again, seen, path, network=NETWORK, training=PLAN)
    assert again.n == 2 and not cache_path(path).exists()
    whole = distil(teacher.path, seen, tmp_path / "whole.h5", network=NETWORK, training=PLAN)
    for name, values in whole.contents.members[0].weights.items():
        assert_array_equal(resumed.contents.members[0].weights[name], values)
    assert {file.name for file in tmp_path.iterdir()} == {"m.h5", "whole.h5"}


def test_a_file_of_the_users_with_the_name_of_the_cache_stays(tmp_path):
    """Where the teacher is an object nothing is kept, and nothing removed."""
    path = tmp_path / "m.h5"
    cache_path(path).write_text("mine")
    distil(FixedCharges({"H": 0.4, "O": -0.8}), frames(3), path, network=NETWORK, training=PLAN)
    assert cache_path(path).read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"m.h5", "m.teacher.h5"}


def test_labels_of_another_teacher_are_refused_and_kept(tmp_path, teacher):
    path = tmp_path / "m.h5"
    with pytest.raises(KeyboardInterrupt):
        distil(Counting(teacher.path, stop_at=3), frames(4), path, network=NETWORK, training=PLAN)
    other = tmp_path / "other.h5"
    model_file(seed=5).save(other)
    with pytest.raises(
        TrainingError, match=r"m\.teacher\.h5 holds labels of another teacher \(teacher "
    ):
        distil(other, frames(4), path, network=NETWORK, training=PLAN)
    assert len(Dataset.load(cache_path(path))) == 3


class Broken:
    def predict(self, frame):
        return np.full((len(frame), 3, 3), np.nan)


@pytest.mark.parametrize(
    ("teacher", "n_frames", "error", "said"),
    [
        (Broken(), 3, LabelError, "tensors are not finite"),
        (FixedCharges({"H": 0.4, "O": -0.8}), 1, LabelError, "1 frames are too few"),
        (FixedCharges({"H": 0.4}), 3, ModelError, "O"),
        (3.5, 3, ModelError, "is no model"),
    ],
)
def test_what_cannot_teach_is_refused(tmp_path, teacher, n_frames, error, said):
    with pytest.raises(error, match=said):
        distil(teacher, frames(n_frames), tmp_path / "m.h5", network=NETWORK, training=PLAN)
    assert not list(tmp_path.iterdir())


def test_labels_without_an_element_of_the_trajectory_are_refused(tmp_path):
    labels = clusters(3)
    hydrogen = [
        dataclasses.replace(item, frame=dataclasses.replace(item.frame, numbers=np.ones(24)))
        for item in labels
    ]
    with pytest.raises(LabelError, match="the trajectory has O, which the labels have not"):
        distil(
            FixedCharges({"H": 0.4, "O": -0.8}),
            frames(3),
            tmp_path / "m.h5",
            labels=dataclasses.replace(labels, frames=hydrogen),
            network=NETWORK,
            training=PLAN,
        )


def test_the_student_of_a_committee_has_the_spread_of_its_members(tmp_path):
    """Each last layer is nearer to the member that taught it than to the other's, and their mean is
    what one network learnt from the mean.
    """
    kinds = [FixedCharges({"H": 0.3, "O": -0.6}), FixedCharges({"H": 0.5, "O": -1.0})]
    labels = clusters(3)
    student = distil(
        Committee(kinds), frames(7)[3:], tmp_path / "m.h5", network=NETWORK, training=PLAN
    )
    assert student.n_members == 2 and student.info["teacher"]["members"] == 2
    assert student.contents.shares_body
    members = student.predict_members(labels[0].frame)
    for charges, member in zip(kinds, members, strict=True):
        assert np.abs(member - charges.predict(labels[0].frame)).max() < 0.03
    assert_allclose(members.mean(axis=0), student.predict(labels[0].frame), atol=1e-6)


def test_a_network_without_a_last_layer_is_refused_before_the_training(tmp_path, monkeypatch):
    teacher = fit_committee(clusters(4), 2, NETWORK, PLAN, tmp_path / "teacher.h5")
    monkeypatch.setattr(distilling, "fit", None)
    with pytest.raises(TrainingError, match="'dipole' has no last layer that could be fitted"):
        distil(teacher.path, frames(4), tmp_path / "m.h5", network=DipoleConfig(), training=PLAN)
    with pytest.raises(TrainingError, match="'dipole' has no last layer that could be fitted"):
        fit_committee(clusters(4), 2, DipoleConfig(), PLAN, tmp_path / "m.h5", shared_body=True)
    assert {file.name for file in tmp_path.iterdir()} == {"teacher.h5"}


def test_the_spread_of_a_taught_committee_is_calibrated_on_true_labels(tmp_path):
    teacher = fit_committee(clusters(5), 2, NETWORK, PLAN, tmp_path / "teacher.h5")
    student = distil(
        teacher.path,
        frames(9)[5:],
        tmp_path / "m.h5",
        labels=clusters(5),
        network=NETWORK,
        training=PLAN,
    )
    assert student.info["spread"]["factors"].keys() == {"H", "O"}
    student = load_model(tmp_path / "m.h5")
    assert student.n_members == 2
    # the factor of bands is what comes after those of the elements: nothing is left to find
    kept = student.info["spread"]
    calibrate(student, held_out_frames(student.info, clusters(5)), [APT], "held-out frames")
    again = student.info["spread"]
    assert again["factors"] == pytest.approx(kept["factors"], rel=1e-4)
    assert again["bands"]["factor"] == pytest.approx(kept["bands"]["factor"], rel=1e-4)


@pytest.fixture
def quick(monkeypatch):
    """Settings of a teacher for tests."""
    settings = {"steps": 12, "validate_every": 6}
    monkeypatch.setattr(distilling, "TEACHER", dataclasses.replace(distilling.TEACHER, **settings))
    monkeypatch.setattr(distilling, "STUDENT", dataclasses.replace(distilling.STUDENT, **settings))


def test_training_with_a_trajectory_makes_a_teacher_first(tmp_path, quick, monkeypatch):
    labels, seen = clusters(5), frames(9)[5:]
    options = {"trajectory": seen, "network": NETWORK, "validation": 1, "held_out": 1, "seed": 2}

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(distilling, "distil", killed)
        with pytest.raises(KeyboardInterrupt):
            train(labels, tmp_path / "m.h5", **options)
    (teacher,) = tmp_path.glob("m-teacher-*.h5")
    written = teacher.stat().st_mtime_ns
    model = train(labels, tmp_path / "m.h5", **options)
    assert teacher.stat().st_mtime_ns == written, "the teacher is not trained again"
    assert {file.name for file in tmp_path.iterdir()} == {"m.h5", teacher.name}
    assert load_model(teacher).contents.architecture == "dipole"
    assert model.contents.architecture == "density"
    assert model.info["teacher"]["name"].startswith(teacher.stem)
    held_out = [
        found.info["data"]["fingerprints"]["held_out"] for found in (model, load_model(teacher))
    ]
    assert held_out[0] == held_out[1], "what is held out is seen by neither"


def test_the_teacher_has_not_seen_what_the_plan_holds_out(tmp_path, quick):
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN_FILE.replace("[training]", "[training]\nseed = 7\nheld_out = 2"))
    model = train(clusters(6), tmp_path / "m.h5", trajectory=frames(9)[6:], plan=plan)
    (teacher,) = tmp_path.glob("m-teacher-*.h5")
    seen_by = [found.info["data"]["fingerprints"] for found in (model, load_model(teacher))]
    assert len(seen_by[0]["held_out"]) == 2 and seen_by[0]["held_out"] == seen_by[1]["held_out"]
    assert model.contents.training["weight_decay"] == distilling.STUDENT.weight_decay


def test_a_plan_without_a_network_leaves_teacher_and_student_theirs(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(distilling, "STUDENT_NETWORK", NETWORK)
    plan = tmp_path / "plan.toml"
    plan.write_text('[training]\ndevice = "auto"\nsteps = 6')
    assert read_plan(plan)[0] is None
    own = {"trajectory": frames(7)[4:], "plan": plan}
    model = train(clusters(4), tmp_path / "m.h5", **own)
    (teacher,) = tmp_path.glob("m-teacher-*.h5")
    taught = distil(teacher, frames(7)[4:], tmp_path / "d.h5", plan=plan)
    for student in (model, taught):
        assert student.contents.config == NETWORK
        assert student.contents.training["learning_rate"] == distilling.STUDENT.learning_rate
        assert student.contents.training["steps"] == 6
    found = load_model(teacher).contents
    assert found.config == DipoleConfig() and found.training["device"] == "auto"
    # steps of the plan are the student's
    assert found.training["steps"] == distilling.TEACHER.steps


def test_a_teacher_that_diverged_is_no_teacher(tmp_path, quick, monkeypatch):
    fitted = committee.fit

    def diverging(*arguments, **options):
        fitted(*arguments, **options)
        raise TrainingError("training diverged")

    monkeypatch.setattr(committee, "fit", diverging)
    for _ in range(2):
        with pytest.raises(TrainingError, match="training diverged"):
            train(clusters(4), tmp_path / "m.h5", trajectory=frames(6)[4:], network=NETWORK)
    assert not list(tmp_path.glob("m-teacher-*.h5")) and not (tmp_path / "m.h5").exists()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"target": "pgt"}, TrainingError, "a teacher knows polar tensors"),
        (
            {"members": 2, "validation": 1, "held_out": clusters(1)},
            TrainingError,
            "held_out frames",
        ),
        ({"steps": -3}, TrainingError, "steps = -3"),
        ({"members": 2, "shared_body": True}, TrainingError, "--shared-body goes with no traj"),
    ],
)
def test_what_goes_with_no_trajectory_is_refused_before_the_teacher(tmp_path, options, error, said):
    with pytest.raises(error, match=said):
        train(clusters(4), tmp_path / "m.h5", trajectory=frames(3), **options)
    assert not list(tmp_path.iterdir())


def test_a_trajectory_that_the_labels_do_not_know_is_marked(tmp_path, teacher, caplog):
    squeezed = [dataclasses.replace(frame, positions=0.8 * frame.positions) for frame in frames(3)]
    distil(teacher.path, squeezed, tmp_path / "m.h5", network=NETWORK, training=PLAN)
    assert "the teacher and the trajectory: look at this: environments" in caplog.text


def test_train_by_command_with_a_trajectory(tmp_path, quick):
    labels = BUNDLED / "water32-rpbe-d3.xyz"
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN_FILE)
    water = ("--topology", BUNDLED / "water64.pdb", "--trajectory", BUNDLED / "water64.h5md")
    options = ("-o", tmp_path / "m.h5", "--config", plan, "--count", 3, "--steps", 4)
    result = run("train", labels, *water, *options)
    assert result.exit_code == 0, result.output
    assert "3 frames labelled by m-teacher-" in result.output
    result = run("train", labels, "--count", 3)
    assert result.exit_code != 0 and "--topology and --count go with --trajectory" in result.output


def test_by_command(tmp_path, teacher):
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN_FILE)
    water = (BUNDLED / "water64.pdb", BUNDLED / "water64.h5md")
    options = ("-o", tmp_path / "m.h5", "--config", plan, "--frames", 3, "--json")
    result = run("distil", teacher.path, *water, *options)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["teacher"]["n_frames"] == 3 and report["files"] == {
        "model": str(tmp_path / "m.h5")
    }
    assert load_model(tmp_path / "m.h5").info["teacher"] == report["teacher"]
