"""Models by name: all of them keep one contract, and what is no model is refused in a line."""

import dataclasses
import importlib.metadata
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from typer.testing import CliRunner

import mda_aptnn
from mda_aptnn import DipoleFlux, UniverseFrames, check_model, load_model
from mda_aptnn.checks import Verdict
from mda_aptnn.cli import app
from mda_aptnn.errors import FileFormatError, ModelError, UnitError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.model import predict
from mda_aptnn.model.dipole import DipoleConfig, DipoleNetwork
from mda_aptnn.model.file import Member, ModelFile, state_arrays
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.tensors import APT
from tests import systems
from tests.molecules import ACETATE, METHYLACETAMIDE, ice, isolated
from tests.tiny import clusters, water, with_labels

PLAN = """
[training]
steps = 4
validate_every = 2
[[network.layers]]
features = "2x0e+2x1o+2x1e+2x2e"
cutoff = 3.0
n_radial = 2
"""
TYPES = ["OW", "HW", "HW"] * 2
CHARGES = [-0.8, 0.5, 0.3] * 2


def of_universe(**attributes):
    """The two molecules of `ice` as a Universe with what a topology may have."""
    frame = ice()
    made = systems.universe(frame.positions[None], None, frame.symbols)
    for name, values in attributes.items():
        made.add_TopologyAttr(name, values)
    return UniverseFrames(made, velocities=None, cell=frame.cell, pbc=True).frame()


def dipole_network():
    """A model in memory whose tensors are derivatives of its dipole."""
    config = DipoleConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = DipoleNetwork(config, (1, 8), APT)
    member = Member(state_arrays(network), {}, {})
    return ModelFile(dataclasses.asdict(config), [1, 8], APT, [member], architecture="dipole")


class Recorder:
    """Keeps the frames that a model is asked for."""

    def __init__(self, model):
        self.model, self.items = model, []

    def predict(self, frame):
        found = self.model.predict(frame)
        self.items.append(LabelledFrame(frame, {"apt": found}))
        return found


def made_by_python():
    return predict.Model(dipole_network(), dtype="float64")


def by_name(kind, folder, monkeypatch):
    """The name of a model, a frame that it knows, and known tensors of it."""
    frame, reference = ice(), None
    if kind == "file":
        name = folder / "model.h5"
        dipole_network().save(name)
    elif kind == "bundled":
        name, (item,) = "water-rpbe-d3", clusters(1)
        frame, reference = item.frame, item.apt
    elif kind == "charges:topology":
        name, frame = kind, of_universe(charges=CHARGES)
    elif kind == "charges:FILE":
        (folder / "charges.toml").write_text('O = -0.8\n"HW" = "0.4 e"  # a type\n')
        name, frame = f"charges:{folder / 'charges.toml'}", of_universe(types=TYPES)
    elif kind == "labels:FILE":
        recorder = Recorder(made_by_python())
        reference = recorder.model.predict(frame)
        check_model(recorder, frame)
        name = f"labels:{folder / 'labels.h5'}"
        Dataset(recorder.items).save(folder / "labels.h5")
    elif kind == "python:module.name":
        name = "python:tests.model.test_predictors.made_by_python"
    elif kind == "entry point":
        group, value = "mda_aptnn.models", "tests.model.test_predictors:made_by_python"
        point = importlib.metadata.EntryPoint("theirs", value, group)
        monkeypatch.setattr("mda_aptnn.plugins.entry_points", lambda group: [point])
        monkeypatch.setattr(predict.MODELS, "_complete", False)
        monkeypatch.setattr(predict.MODELS, "_found", dict(predict.MODELS._found))
        name = "theirs"
    else:
        name, _, what = kind.partition(" ")
        samples = {"acetate": isolated(*ACETATE), "amide": isolated(*METHYLACETAMIDE)}
        frame = samples.get(what, frame)
    return name, frame, reference


#: Every kind of name, and how the order of indices is told.
KINDS = {
    "file": "derivative of the dipole",
    "bundled": "order of indices",
    "charges:topology": None,
    "charges:FILE": None,
    "labels:FILE": "order of indices",
    "python:module.name": "derivative of the dipole",
    "entry point": "derivative of the dipole",
    "xtb:GFN2 acetate": "derivative of the dipole",
    "xtb:GFN1 amide": "derivative of the dipole",
    "xtb:GFN2 ice": None,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_predictor_keeps_the_contract(kind, tmp_path, monkeypatch):
    """Rotation to 1e-5, permutation, periodic image, net charge, derivative to 1e-4 e, order of
    indices.
    """
    if kind.startswith("xtb"):
        pytest.importorskip("tblite")
    name, frame, reference = by_name(kind, tmp_path, monkeypatch)
    model = load_model(name, dtype="float64")
    found = check_model(model, frame, reference=reference, tolerance=1e-5)
    found.raise_refused()
    checks = {check.name: check for check in found}
    must = ["same again", "rotation", "reflection", "translation", "permutation", "batches"]
    must += ["periodic images"] * bool(frame.pbc.any()) + [KINDS[kind]] * bool(KINDS[kind])
    # a network of eight molecules that it was not trained on is as neutral as it is
    must += ["acoustic sum rule, Σ P − Q·1"] * (kind != "bundled")
    assert [str(checks[name]) for name in must if checks[name].verdict is not Verdict.FINE] == []


def test_charges_of_the_topology_are_those_of_its_atoms():
    frame = of_universe(charges=CHARGES)
    found = load_model("charges:topology").predict(frame)
    assert_array_equal(found, np.array(CHARGES)[:, None, None] * np.eye(3))
    group = frame.atoms[[4, 0]]
    made = systems.universe(frame.positions[None], None, frame.symbols, cell=[9, 9, 9, 90, 90, 90])
    made.add_TopologyAttr("charges", CHARGES)
    assert_array_equal(load_model("charges").predict(made.atoms[group.ix]), found[[4, 0]])


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({}, "the topology has no charges: take a topology that has them"),
        ({"charges": [0.0] * 6}, "all zero"),
        ({"charges": [-0.8, np.nan, 0.4] * 2}, "not finite"),
    ],
)
def test_a_topology_without_charges_is_refused(attributes, said):
    with pytest.raises(ModelError, match=said):
        load_model("charges:topology").check(of_universe(**attributes))


def test_charges_that_no_topology_goes_with():
    with pytest.raises(ModelError, match="from a file of labels: take charges:FILE"):
        load_model("charges:topology").predict(water(1)[0].frame)
    symbols = ["O", "H", "H", "M"]
    made = systems.universe(np.eye(4, 3)[None] * 1.5, None, symbols)
    made.add_TopologyAttr("charges", [0.0, 0.52, 0.52, -1.04])
    frame = UniverseFrames(made, velocities=None, pbc="none").frame()
    with pytest.raises(ModelError, match=r"1 sites without a mass have charges"):
        load_model("charges:topology").check(frame)


def test_charges_of_a_file_go_by_type_and_then_by_element(tmp_path):
    path = tmp_path / "charges.txt"
    path.write_text("# of my force field\nOW -0.8\n\nO = -0.5\nH 0.4 e  # both\n")
    model = load_model(f"charges:{path}")
    found = model.predict(of_universe(types=["OW", "HW", "HW", "OA", "HW", "HW"]))
    assert_array_equal(found[:, 0, 0], [-0.8, 0.4, 0.4, -0.5, 0.4, 0.4])
    assert_array_equal(model.predict(ice())[:, 0, 0], [-0.5, 0.4, 0.4] * 2)
    with pytest.raises(ModelError, match="does not know Na: give a charge of each element"):
        model.predict(Frame([8, 11], [[0.0, 0, 0], [0, 0, 2]]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("O -0.8 -0.9\n", "number|quantity|cannot"),
        ("O = -0.8\nO = -0.7\n", "line 2: 'O = -0.7' names O again"),
        ("O\n", "line 1: 'O' is no charge, such as O = -0.8"),
        ("O = 3 K\n", "charges.txt, line 1: cannot convert"),
        ("# nothing\n", "has no charges: write lines such as"),
    ],
)
def test_a_file_of_charges_with_a_mistake_is_refused(tmp_path, text, said):
    path = tmp_path / "charges.txt"
    path.write_text(text)
    with pytest.raises((FileFormatError, UnitError), match=said):
        load_model(f"charges:{path}")


def test_stored_tensors_are_found_in_any_image_and_order_of_frames(tmp_path):
    data = water(3)
    data.save(tmp_path / "labels.h5")
    model = load_model(f"labels:{tmp_path / 'labels.h5'}")
    for k in (2, 0, 1, 1):
        frame = data[k].frame
        images = frame.positions + np.random.default_rng(k).integers(-2, 3, (96, 3)) @ frame.cell
        assert_array_equal(model.predict(frame.moved_to(images)), data[k].apt)
    shaken = data[0].frame.moved_to(data[0].frame.positions + 0.01)
    with pytest.raises(ModelError, match="the frame is not among the 3 of"):
        model.predict(shaken)
    some = data[0].apt.copy()
    some[5] = np.nan
    Dataset([with_labels(data[0], some)]).save(tmp_path / "some.h5")
    with pytest.raises(ModelError, match=r"frame 0 of .*some.h5 has atoms without a tensor"):
        load_model(f"labels:{tmp_path / 'some.h5'}").predict(data[0].frame)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("water-pbe", r"bundled models are: water-rpbe-d3; other names begin with charges:, label"),
        ("gaussian:PBE0", r"no model 'gaussian:PBE0': .* charges:, labels:, xtb:, mace:, python:"),
        ("xtb:GFN3", "xtb:GFN3: choose xtb:GFN1 or xtb:GFN2"),
        ("charges:nowhere", "charges:nowhere: there is no such file; write charges:topology, or"),
        ("labels:nowhere", "labels:nowhere: there is no such file"),
        ("labels", "the model 'labels': missing a required argument: 'path'"),
        ("python:os.nothing", "python:os.nothing: module 'os' has no attribute 'nothing'"),
        ("python:no_module.x", "No module named 'no_module'; write python:MODULE.NAME"),
        ("python:os.getcwd", "'python:os.getcwd' is no model: it has no predict"),
    ],
)
def test_what_is_no_model_is_refused_with_those_that_are(name, said):
    with pytest.raises(ModelError, match=said) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


#: What `gas` has, as CHARMM's programs write it.
PSF = """PSF

       1 !NTITLE
 REMARKS three molecules of water

       9 !NATOM
{atoms}

       6 !NBOND: bonds
       1       2       1       3       4       5       4       6
       7       8       7       9

"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A folder with three molecules of water in a box, their topology, and the command line."""
    monkeypatch.chdir(tmp_path)
    atoms = [
        f"{k + 1:8d} W    {k // 3 + 1:<4d} WAT  {name:4s} {kind:4s} {charge:9.4f} {mass:12.4f} 0"
        for k, (name, kind, charge, mass) in enumerate(
            [("O", "OW", -0.8, 15.999), ("H1", "HW", 0.4, 1.008), ("H2", "HW", 0.4, 1.008)] * 3
        )
    ]
    (tmp_path / "gas.psf").write_text(PSF.format(atoms="\n".join(atoms)))
    universe = systems.gas(n_frames=6, seed=3)
    with MDAnalysis.Writer("gas.trr", 9) as writer:
        for _ in universe.trajectory:
            writer.write(universe.atoms)
    (tmp_path / "charges.toml").write_text("OW = -0.8\nH = 0.4\n")

    def command(*words, code=0):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == code, done.output
        return done

    return command


def test_the_command_line_takes_charges_by_name(run):
    """Those of the topology, of a file and of Python are one flux, also of two workers."""
    universe = MDAnalysis.Universe("gas.psf", "gas.trr")
    expected = DipoleFlux(universe, FixedCharges({"O": -0.8, "H": 0.4})).run().series.flux
    assert np.abs(expected).max() > 1
    for k, (name, *more) in enumerate(
        [("charges:topology",), ("charges:charges.toml",), ("charges:topology", "--workers", "2")]
    ):
        run("flux", "gas.psf", "gas.trr", "--model", name, "-o", f"{k}.h5", *more)
        series = mda_aptnn.load(f"{k}.h5")
        # MDAnalysis has charges in single precision
        assert_allclose(series.flux, expected, rtol=1e-7)
        assert series.info["model"].startswith(name)
    assert "(sha256 " in mda_aptnn.load("1.h5").info["model"]
    said = run("flux", "gas.psf", "gas.trr", "--model", "charges:q.toml", code=1).output
    assert "charges:q.toml: there is no such file" in said
    words = ("gas.psf", "gas.trr", "-m", "charges:charges.toml", "-o", "charges.toml")
    said = run("predict", *words, code=1).output
    assert "charges.toml" in said and Path("charges.toml").read_text().startswith("OW")


def test_the_command_line_takes_stored_tensors(run):
    """`predict` stores them, `flux` finds them frame by frame, and names one that is not there."""
    pytest.importorskip("tblite")
    run("predict", "gas.psf", "gas.trr", "--model", "xtb:GFN2", "--frames", ":4", "-o", "apt.h5")
    run("flux", "gas.psf", "gas.trr", "--stop", "4", "-m", "labels:apt.h5", "-o", "stored.h5")
    run("flux", "gas.psf", "gas.trr", "--stop", "4", "-m", "xtb:GFN2", "-o", "xtb.h5")
    stored, computed = (mda_aptnn.load(f"{name}.h5") for name in ("stored", "xtb"))
    assert_allclose(stored.flux, computed.flux, atol=1e-6)
    assert "GFN2-xTB" in computed.info["level_of_theory"]
    assert any("0.06 e from PBE0" in note for note in computed.info["notes"])
    said = run("flux", "gas.psf", "gas.trr", "-m", "labels:apt.h5", code=1).output
    assert "frame 4 (counted from 0) is not among the 4 of apt.h5" in said
    said = run("raman", "gas.psf", "gas.trr", "-m", "xtb:GFN2", "-T", "300 K", code=1).output
    assert "'xtb:GFN2' predicts no polarizability gradients" in said
    assert "rough: GFN2-xTB" in run("info", "xtb:GFN2").output


def test_xtb_teaches_a_model_that_says_that_it_is_rough(run):
    pytest.importorskip("tblite")
    Path("plan.toml").write_text(PLAN)
    words = ("gas.psf", "gas.trr", "--frames", 4, "--config", "plan.toml", "-o", "rough.h5")
    run("distil", "xtb:GFN2", *words)
    model = load_model("rough.h5")
    assert model.info["teacher"]["name"] == "xtb:GFN2" and model.info["teacher"]["n_frames"] == 4
    assert model.info["level_of_theory"] == "GFN2-xTB, rough"
    assert "label frames of your own" in model.info["rough"]
    checks = run("check", "gas.psf", "gas.trr", "--model", "rough.h5", "--allow-outside-domain")
    assert "the model: rough. GFN2-xTB" in checks.output
