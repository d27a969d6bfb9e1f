"""Where named models, mixtures, workers, files and frames meet."""

import dataclasses
import os
import pickle

import MDAnalysis
import numpy as np
import pytest
from numpy.testing import assert_allclose
from typer.testing import CliRunner

import mda_aptnn
from mda_aptnn import DipoleFlux, FixedCharges, UniverseFrames, load_model
from mda_aptnn.cli import app
from mda_aptnn.cli.models import _tensors
from mda_aptnn.errors import ModelError
from mda_aptnn.flux import backends
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.model.density import default_network
from mda_aptnn.model.mixture import Mixture
from mda_aptnn.model.predict import model_identity
from mda_aptnn.tensors import APT, PGT, joint
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.fit import fit
from tests.systems import gas
from tests.tiny import clusters, model_file

UNIT = {"velocity_unit": "angstrom/ps", "allow_aliasing": True, "allow_outside_domain": True}
pytestmark = pytest.mark.filterwarnings("ignore:time between frames", "ignore:seam between models")

#: Found by "python:tests.model.test_seams.BOTH".
BOTH = Mixture({"element O": FixedCharges({"O": -0.8}), "element H": FixedCharges({"H": 0.4})})


@pytest.fixture
def rattling():
    return gas(n_molecules=3, n_frames=12)


def test_a_worker_that_lives_on_sees_that_a_file_has_changed(tmp_path, monkeypatch, rattling):
    frame = UniverseFrames(rattling, velocities=None).frame()
    for folder, charge in (("a", -0.8), ("b", -0.6)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "q.txt").write_text(f"O {charge}\nH 0.4\n")
    for folder, charge in (("a", -0.8), ("b", -0.6)):
        monkeypatch.chdir(tmp_path / folder)
        assert_allclose(backends.loaded("charges:q.txt").predict(frame)[0], charge * np.eye(3))
    (tmp_path / "b" / "q.txt").write_text("O -0.7\nH 0.4\n")
    os.utime("q.txt", ns=(1, 1))
    assert_allclose(backends.loaded("charges:q.txt").predict(frame)[0], -0.7 * np.eye(3))
    # the same content elsewhere is the same model: parts made on two machines belong together
    (tmp_path / "a" / "q.txt").write_text("O -0.7\nH 0.4\n")
    names = {
        model_identity(name, load_model(name))
        for name in ("charges:q.txt", f"charges:{tmp_path / 'a' / 'q.txt'}")
    }
    assert len(names) == 1 and "sha256" in names.pop()


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["train", "labels.h5", "--from", "model.h5", "-o", "model.h5"], "model.h5"),
        (["distil", "model.h5", "a.pdb", "a.trr", "-o", "model.h5"], "model.h5"),
        (["predict", "a.pdb", "-m", "charges:q.txt", "-o", "q.txt"], "q.txt"),
        (["flux", "a.pdb", "-m", "element O=mace:m.pt", "-o", "m.pt"], "m.pt"),
    ],
)
def test_a_model_is_not_written_over_whatever_names_it(tmp_path, monkeypatch, words, kept):
    monkeypatch.chdir(tmp_path)
    for name in ("labels.h5", "model.h5", "a.pdb", "a.trr", "q.txt", "m.pt"):
        (tmp_path / name).write_text("mine")
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 1 and f"cannot write {kept}: it is read as an input" in said.output
    assert (tmp_path / kept).read_text() == "mine"


def test_in_python_neither(tmp_path):
    model_file().save(tmp_path / "m.h5")
    before = (tmp_path / "m.h5").read_bytes()
    with pytest.raises(FileExistsError, match="it is read as an input"):
        mda_aptnn.train(clusters(3), tmp_path / "m.h5", network=tmp_path / "m.h5", steps=1)
    frames = [item.frame for item in clusters(3)]
    with pytest.raises(FileExistsError, match="it is read as an input"):
        mda_aptnn.distil(tmp_path / "m.h5", frames, tmp_path / "m.h5", steps=1)
    assert (tmp_path / "m.h5").read_bytes() == before


def test_stored_tensors_of_the_chosen_frames_are_enough(rattling, tmp_path):
    charges = FixedCharges({"O": -0.8, "H": 0.4})
    frames = [m.frame for m in UniverseFrames(rattling, velocities=None).moments(range(5, 10))]
    # each frame knows which one it is, also one that was not asked for by itself
    assert [frame.number for frame in frames] == [5, 6, 7, 8, 9]
    samples = [f.number for f, _ in UniverseFrames(rattling, **dict([*UNIT.items()][:1])).samples()]
    assert samples[0] == 0 and samples[-1] == 11
    Dataset([LabelledFrame(f, {"apt": charges.predict(f)}) for f in frames]).save(tmp_path / "l.h5")
    name = f"labels:{tmp_path / 'l.h5'}"
    found = DipoleFlux(rattling, name, checkpoint=tmp_path / "c", **UNIT).run(5, 10)
    expected = DipoleFlux(rattling, charges, **UNIT).run(5, 10)
    assert_allclose(found.series.flux, expected.series.flux, atol=1e-6)
    with pytest.raises(ModelError, match=r"frame 4 .*is not among the 5 of"):
        DipoleFlux(rattling, name, **UNIT).run(4, 10)


def test_a_mixture_by_a_name_is_bound_in_workers_too(rattling):
    name = "python:tests.model.test_seams.BOTH"
    analysis = DipoleFlux(rattling, name, **UNIT)
    again = pickle.loads(pickle.dumps(analysis))
    assert again._model.which is not None
    expected = DipoleFlux(rattling, FixedCharges({"O": -0.8, "H": 0.4}), **UNIT).run().series.flux
    found = DipoleFlux(rattling, name, **UNIT).run(backend="multiprocessing", n_workers=2)
    assert_allclose(found.series.flux, expected, atol=1e-12)


class Members:
    """A committee as the protocol has it."""

    target, cutoff, n_members = APT, 0.0, 2

    def predict(self, frame):
        return self.predict_members(frame).mean(axis=0)

    def predict_members(self, frame):
        charges = np.where(frame.numbers == 8, -0.8, 0.4)
        return np.multiply.outer([0.9, 1.1], charges)[..., None, None] * np.eye(3)


def test_a_committee_of_others_in_a_mixture(rattling):
    mixture = {"element O": Members(), "element H": FixedCharges({"H": 0.4})}
    found = DipoleFlux(rattling, mixture, **UNIT).run().series
    assert found.members is not None and found.members.shape[0] == len(found)
    whole = DipoleFlux(rattling, FixedCharges({"O": -0.8, "H": 0.4}), **UNIT).run().series
    assert_allclose(found.total, whole.total, atol=1e-9)


def test_a_part_of_neutral_atoms_may_have_charges_that_are_all_zero(rattling):
    charges = np.r_[np.zeros(3), np.tile([-0.8, 0.4, 0.4], 2)]
    rattling.add_TopologyAttr("charges", charges)
    parts = {"index 0:2": "charges:topology", "not index 0:2": "charges:topology"}
    models = {name: load_model(own) for name, own in parts.items()}
    found = DipoleFlux(rattling, models, **UNIT).run().series.total
    assert_allclose(found, DipoleFlux(rattling, FixedCharges(charges), **UNIT).run().series.total)
    rattling.add_TopologyAttr("charges", np.zeros(9))
    with pytest.raises(ModelError, match="are all zero"):
        DipoleFlux(rattling, "charges:topology", **UNIT)


def test_check_refuses_what_the_run_would(tmp_path, rattling):
    rattling.atoms.write(tmp_path / "a.pdb")
    with MDAnalysis.Writer(str(tmp_path / "a.trr"), 9) as writer:
        for _ in rattling.trajectory:
            writer.write(rattling.atoms)
    words = ["check", tmp_path / "a.pdb", tmp_path / "a.trr", "-m", "charges:topology"]
    said = CliRunner().invoke(app, [str(word) for word in words])
    assert said.exit_code == 1 and "the topology has no charges" in said.output


def test_what_predict_hands_over_has_no_universe(rattling):
    source = UniverseFrames(rattling, velocities=None)
    [item, _] = _tensors(source, FixedCharges({"O": -0.8, "H": 0.4}), "cpu", 0.0, [0, 1])
    assert item.frame.atoms is None and item.info["frame"] == 0


def test_groups_of_a_mixture_follow_sums(rattling):
    model = {"element O": FixedCharges({"O": -0.8}), "element H": FixedCharges({"H": 0.4})}
    series = DipoleFlux(rattling, model, {"O": "element O", "one": "index 1"}, **UNIT).run().series
    summed = series.regroup({"all": ["O", "one"], "others": ["rest"]})
    assert [row["groups"] for row in summed.info["mixture"]] == [
        {"all": 3},
        {"all": 1, "others": 5},
    ]


def test_a_target_that_the_network_has_not_is_a_line(tmp_path):
    start = fit(clusters(3), None, TrainingConfig(steps=1, validation=1), tmp_path / "m.h5")
    labels = clusters(3)
    shape = (len(labels[0].frame), 3, 3, 3)
    items = [dataclasses.replace(x, tensors={"pgt": np.ones(shape)}) for x in labels]
    pgt = dataclasses.replace(labels, frames=items)
    with pytest.raises(ModelError, match="the last layer's features lack 2o, 3o"):
        fit(pgt, start.contents, TrainingConfig(steps=1, validation=1), tmp_path / "n.h5")
    assert default_network(joint([PGT])) != default_network(APT)
