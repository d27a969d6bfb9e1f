"""Mixtures: each atom by its own model, the seam said, and what a model is blind to refused."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from typer.testing import CliRunner

from mda_aptnn import DipoleFlux, FixedCharges, FluxSeries, UniverseFrames, load_model
from mda_aptnn.checks import Verdict
from mda_aptnn.cli import app
from mda_aptnn.cli.options import models
from mda_aptnn.cli.outputs import OptionError
from mda_aptnn.data import WATER64_TOPOLOGY
from mda_aptnn.errors import CheckError, GroupError, ModelError
from mda_aptnn.flux.atom_flux import load_groups
from mda_aptnn.frame import Frame
from mda_aptnn.model.committee import Committee
from mda_aptnn.model.domain import compare_environments, domain_checks
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.tensors import APT, PGT, joint
from tests import tiny, trajectory_files
from tests.systems import BOLTZMANN, MASSES, KnownTensors, gas, random_tensors, universe

HALVES = "index 0:8", "not index 0:8"
CHARGES = {"O": -0.8, "H": 0.4}
UNIT = {"velocity_unit": "angstrom/ps"}

# frames at random are far apart, which is said each time
pytestmark = pytest.mark.filterwarnings("ignore:time between frames", "ignore:seam between models")


@pytest.fixture(scope="module")
def rattling():
    return gas(n_molecules=6, n_frames=16)


@pytest.fixture(scope="module")
def network():
    return load_model(tiny.model_file())


def flux_of(universe, model, groups=None, *, run=None, **options):
    """A flux that is not checked for the time between its random frames."""
    options |= {**UNIT, "allow_aliasing": True, "allow_outside_domain": True}
    return DipoleFlux(universe, model, groups, **options).run(**run or {})


def solution(n_frames=3, seed=2):
    """Water about C with H and O, in a box that is periodic."""
    rng = np.random.default_rng(seed)
    water = gas(n_molecules=6, n_frames=1, seed=seed).trajectory.ts.positions
    symbols = ["O", "H", "H"] * 6 + ["C", "O", "H", "H"]
    carbon = np.array([[0.0, 0, 0], [1.2, 0, 0], [-0.55, 0.95, 0], [-0.55, -0.95, 0]])
    # in the corner, so that images count
    rest = np.concatenate([water, carbon + np.array([0.3, 9.5, 10.7])])
    masses = np.array([MASSES[symbol] for symbol in symbols])[:, None]
    velocities = rng.normal(size=(n_frames, len(rest), 3)) * np.sqrt(BOLTZMANN * 300 / masses)
    positions = rest + 0.02 * rng.normal(size=velocities.shape)
    return universe(positions, velocities, symbols, cell=(9.0, 10.0, 11.0, 90, 90, 90))


WATER, SOLUTE = "index 0:17", "index 18:21"


def test_two_sets_of_charges_are_one(rattling):
    one, two = FixedCharges(CHARGES), {name: FixedCharges(CHARGES) for name in HALVES}
    expected = flux_of(rattling, one).series.flux
    assert abs(expected).max() > 1
    assert_array_equal(flux_of(rattling, two).series.flux, expected)
    by_element = {"element O": FixedCharges({"O": -0.8}), "element H": FixedCharges({"H": 0.4})}
    assert_array_equal(flux_of(rattling, by_element).series.flux, expected)
    # charges of atoms are those of the selection alone
    by_atom = {HALVES[1]: FixedCharges(CHARGES), HALVES[0]: FixedCharges([-0.8, 0.4, 0.4] * 3)}
    assert_array_equal(flux_of(rattling, by_atom).series.flux, expected)


@pytest.mark.parametrize("name", ["tiny", "water-rpbe-d3"])
def test_one_network_over_a_partition_is_the_network_to_the_last_bit(rattling, network, name):
    model = network if name == "tiny" else name
    selections = "element O", "element H and index 0:8", "element H and index 9:17"
    partition = dict.fromkeys(selections, model)
    one, parts = (flux_of(rattling, each, run={"stop": 4}) for each in (model, partition))
    assert_array_equal(parts.series.flux, one.series.flux)
    assert_array_equal(parts.series.residuals, one.series.residuals)
    for flux in (one, parts):
        assert (flux.series.members is not None) == (name != "tiny")
    if name != "tiny":
        assert_array_equal(parts.series.members, one.series.members)
        assert parts.series.info["band_spread"] == one.series.info["band_spread"] != {}
    # there is no seam: the checks are those of the network
    assert one.series.info["checks"] == parts.series.info["checks"]
    rattling.trajectory[0]
    assert_array_equal(load_model(partition).predict(rattling), load_model(model).predict(rattling))
    group = rattling.atoms[[5, 2]]
    assert_array_equal(load_model(partition).predict(group), load_model(model).predict(group))


def test_each_atom_has_the_tensor_of_its_own_model(network):
    u = solution()
    mixture = load_model({SOLUTE: FixedCharges([0.4, -0.6, 0.1, 0.1]), WATER: network})
    found = mixture.predict(u)
    frame = UniverseFrames(u, velocities=None).frame()
    # the network sees H and O of the solute, and not its C
    seen = frame.numbers != 6
    part = Frame(frame.numbers[seen], frame.positions[seen], frame.cell, frame.pbc)
    assert_array_equal(found[:18], network.predict(part)[:18])
    assert_allclose(found[18:], np.array([0.4, -0.6, 0.1, 0.1])[:, None, None] * np.eye(3))
    alone = Frame(frame.numbers[:18], frame.positions[:18], frame.cell, frame.pbc)
    assert abs(found[:18] - network.predict(alone)).max() > 1e-4
    with pytest.raises(ModelError, match="give an AtomGroup or a Universe in place of a Frame"):
        mixture.predict(frame)


def test_a_solute_of_known_elements_is_seen_whole(network):
    """As hydrogen peroxide in water: nothing is hidden, and nothing refused."""
    u = gas(n_molecules=6, n_frames=3)
    frames = UniverseFrames(u, **UNIT)
    mixture = load_model({"index 0:3": FixedCharges(CHARGES), "index 4:17": network})
    mixture = mixture.of_universe(frames)
    assert_array_equal(mixture.predict(frames.frame())[4:], network.predict(frames.frame())[4:])
    seam, blind, *_ = domain_checks(mixture, [frames.frame()])
    assert blind.verdict is Verdict.FINE and blind.found == "none"
    assert seam.verdict is Verdict.LOOK
    net = np.trace(network.predict(frames.frame())[4:].sum(axis=0)) / 3
    assert seam.found == (
        "fixed charges for 4 atoms (index 0:3), net charge -0.80 e; density for 14 atoms "
        f"(index 4:17), net charge {net:.2f} e"
    )


def test_what_a_network_is_blind_to_is_counted_and_refused_unless_allowed(network):
    u = solution(n_frames=8)
    model = {WATER: network, SOLUTE: FixedCharges([0.4, -0.6, 0.1, 0.1])}
    flux = DipoleFlux(u, model, **UNIT, allow_aliasing=True)
    shares = []
    for ts in u.trajectory[1:7:2]:
        # by images one by one
        images = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)])
        carbon = ts.positions[18] + images * ts.dimensions[:3]
        near = np.linalg.norm(ts.positions[:18, None] - carbon, axis=2).min(axis=1) < 3.0
        shares.append(near.mean())
    assert 0 < np.mean(shares) < 1
    blind = next(check for check in flux.check() if check.name == "atoms blind to neighbours")
    assert blind.verdict is Verdict.REFUSED and blind.allow == "--allow-outside-domain"
    share = float(blind.found.split(" %")[0]) / 100
    assert "have C within its cutoff of 3 Å" in blind.found
    assert min(shares) <= share <= max(shares)
    with pytest.raises(CheckError, match=r"atoms blind to neighbours: .* have C within"):
        flux.run()
    allowed = flux_of(u, model).series
    assert any("atoms blind to neighbours" in note for note in allowed.info["notes"])
    # who sees no neighbours is blind to none
    harmless = {WATER: FixedCharges(CHARGES), SOLUTE: model[SOLUTE]}
    assert next(
        check.verdict is Verdict.FINE
        for check in DipoleFlux(u, harmless, **UNIT).check()
        if check.name == "atoms blind to neighbours"
    )


def test_who_does_not_say_how_far_it_sees_is_not_known(rattling, network):
    class Silent(KnownTensors):
        numbers = (8,)

    model = {"element H": network, "element O": Silent(random_tensors(6))}
    checks = DipoleFlux(rattling, model, **UNIT, allow_aliasing=True).check()
    blind = next(check for check in checks if check.name == "atoms blind to neighbours")
    assert blind.verdict is Verdict.UNKNOWN and blind.found == "not known"


def test_groups_sum_to_the_whole_and_say_whose_they_are(rattling, network, tmp_path):
    model = {"index 0:7": network, "index 8:17": FixedCharges(CHARGES)}
    groups = {"a": "index 0:4", "b": "index 5:11"}
    whole = flux_of(rattling, model).series
    by = {
        "groups": flux_of(rattling, model, groups).series,
        "element": flux_of(rattling, model, per="element").series,
        "molecule": flux_of(rattling, model, per="molecule").series,
    }
    for series in by.values():
        assert_allclose(series.total, whole.total, atol=1e-9)
    by["groups"].save(tmp_path / "flux.h5")
    stored = FluxSeries.load(tmp_path / "flux.h5")
    shares = stored.info["mixture"]
    assert [(part["selection"], part["n_atoms"], part["groups"]) for part in shares] == [
        ("index 0:7", 8, {"a": 5, "b": 3}),
        ("index 8:17", 10, {"b": 4, "rest": 6}),
    ]
    assert stored.summary()["mixture"] == shares
    assert (
        "flux of 10 atoms of 'index 8:17' from FixedCharges: b (4), rest (6)" in stored.describe()
    )
    assert stored.info["model"] == "index 0:7: Model; index 8:17: FixedCharges"
    spectrum = by["groups"].spectrum(300, "5000 cm^-1")
    spectrum.save(tmp_path / "spectrum.h5")
    again = Spectrum.load(tmp_path / "spectrum.h5")
    assert again.info["mixture"] == shares
    assert any(note.startswith("look at this: seam between models: ") for note in again.notes)
    two = by["molecule"].spectrum(300, "5000 cm^-1")
    assert [name for name in two.groups if "distinct" in name]
    assert_allclose(two.curve().value, spectrum.curve().value, rtol=1e-6, atol=1e-6)
    figure = spectrum.plot(tmp_path / "spectrum.png").figure
    drawn = " ".join(text.get_text() for ax in figure.axes for text in ax.texts)
    assert "seam between models: density for 8 atoms" in " ".join(drawn.split())


def test_many_groups_are_named_together():
    u = gas(n_molecules=25, n_frames=3, cell=(70.0, 70, 70, 90, 90, 90))
    model = {"element O": FixedCharges({"O": -0.8}), "element H": FixedCharges({"H": 0.4})}
    shares = flux_of(u, model, per="molecule").series.info["mixture"]
    assert [part["groups"] for part in shares] == [
        {"25 groups from H2O 1 to H2O 25": 25},
        {"25 groups from H2O 1 to H2O 25": 50},
    ]


def test_the_flux_of_atoms_knows_whose_new_groups_are(rattling, network, tmp_path):
    model = {"index 0:7": network, "index 8:17": FixedCharges(CHARGES)}
    part = rattling.select_atoms("index 3:17")
    flux = flux_of(part, model, per="atom")
    flux.save(tmp_path / "atoms.h5")
    series = load_groups(tmp_path / "atoms.h5", rattling, per="element")
    assert [(x["n_atoms"], x["groups"]) for x in series.info["mixture"]] == [
        (5, {"H": 3, "O": 2}),
        (10, {"H": 7, "O": 3}),
    ]
    expected = flux_of(part, model, per="element").series
    assert_allclose(series.flux, expected.flux, atol=1e-4)
    assert series.info["mixture"] == expected.info["mixture"]


def test_members_of_a_committee_beside_a_single_model(rattling):
    committee = Committee([load_model(tiny.model_file(seed)) for seed in (0, 1, 2)])
    model = {"index 0:8": committee, "index 9:17": FixedCharges(CHARGES)}
    groups = {"a": "index 0:8", "b": "index 9:17"}
    found = flux_of(rattling, model, groups).series
    alone = flux_of(rattling, committee, groups).series
    charges = flux_of(rattling, FixedCharges(CHARGES), groups).series
    assert_array_equal(found.members[:, :, 0], alone.members[:, :, 0])
    assert abs(found.members[:, 0] - found.members[:, 1])[:, 0].max() > 1e-3
    for member in range(3):
        assert_allclose(found.members[:, member, 1], charges.flux[:, 1], atol=1e-12)
    assert_allclose(found.members.mean(axis=1), found.flux, atol=1e-12)
    two = Committee([load_model(tiny.model_file(seed)) for seed in (0, 1)])
    with pytest.raises(ModelError, match="committees of 2 and 3 members do not go together"):
        load_model({"index 0:8": committee, "index 9:17": two})


def test_workers_predict_the_same_bits(rattling, network, tmp_path):
    path = tmp_path / "model.h5"
    tiny.model_file().save(path)
    model = {"index 0:8": str(path), "index 9:17": FixedCharges(CHARGES)}
    how = {"backend": "multiprocessing", "n_workers": 2, "n_parts": 3}
    serial, parallel = (flux_of(rattling, model, run=run).series for run in ({}, how))
    assert_array_equal(parallel.flux, serial.flux)
    # a selection by places is that of the first frame in each part
    by_place = {"prop x <= 4": str(path), "prop x > 4": FixedCharges(CHARGES)}
    serial, parallel = (flux_of(rattling, by_place, run=run).series for run in ({}, how))
    assert_array_equal(parallel.flux, serial.flux)


class TwoHeads(KnownTensors):
    """Known tensors, and known gradients of the polarizability."""

    def __init__(self, n_atoms, seed):
        super().__init__(random_tensors(n_atoms, seed))
        self.gradients = np.random.default_rng(seed).normal(size=(n_atoms, 3, 3, 3))
        self.gradients += self.gradients.swapaxes(1, 2)
        self.target = joint([APT, PGT])

    def predict_tensors(self, frame):
        return {"apt": self.predict(frame), "pgt": self.gradients}


def test_polarizability_gradients_of_all_or_of_none(rattling):
    one, other = TwoHeads(18, 1), TwoHeads(18, 2)
    groups = {"a": "index 0:8", "b": "index 9:17"}
    both = flux_of(rattling, dict(zip(HALVES, (one, other), strict=True)), groups).series
    for k, model in enumerate((one, other)):
        alone = flux_of(rattling, model, groups).series
        assert_array_equal(both.polarizability[:, k], alone.polarizability[:, k])
    some = flux_of(rattling, {HALVES[0]: one, HALVES[1]: FixedCharges(CHARGES)}, groups).series
    assert some.polarizability is None
    assert_array_equal(some.flux[:, 0], both.flux[:, 0])


def test_the_surroundings_of_own_atoms_are_judged_alone():
    """The other atoms are seen, and are not what the model was to predict."""
    frame = tiny.water(1)[0].frame
    u = universe(frame.positions[None], None, frame.symbols, cell=[9.85, 9.85, 9.85, 90, 90, 90])
    frames = UniverseFrames(u, velocities=None)
    model = load_model("water-rpbe-d3")
    mixture = load_model({"index 0:29": model, "index 30:95": FixedCharges(CHARGES)})
    checks = domain_checks(mixture.of_universe(frames), [frames.frame()], 330.0)
    names = [check.name for check in checks]
    assert names[2:] == [
        "temperature against training (index 0:29)",
        "environments of atoms (index 0:29)",
        "the model's domain (index 30:95)",
    ]
    statistics = model.info["domain"]["environments"]
    rows = np.arange(30)
    h, o = compare_environments(statistics, [frames.frame()], rows)
    assert (h[3], o[3]) == (20, 10)
    assert f"their mean {h[2]:.1f} standard deviations away" in checks[3].found


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        (
            {"index 0:9": "charges", "index 8:17": "charges"},
            GroupError,
            r"'index 0:9' and 'index 8:17' share 2 atoms \(counted from 0: 8 \(H\), 9 \(O\)\)",
        ),
        (
            {"index 0:9": "charges"},
            GroupError,
            r"no model is given for 8 atoms \(counted from 0: 10 \(H\), .*, \.\.\.\): add a",
        ),
        ({"element C": "charges", "all": "charges"}, GroupError, "'element C', .* matches no atom"),
        (
            {"elemnt O": "charges"},
            GroupError,
            "the selection of a model .elemnt O. is no selection",
        ),
        ({"element H": "carbon", "element O": "charges"}, ModelError, "'element H': .* know H"),
        ({}, ModelError, "a mixture of models is a mapping of selections to models"),
        ({3: "charges"}, ModelError, "a mixture of models is a mapping of selections to models"),
        ({"all": "watr"}, ModelError, "no model 'watr'"),
    ],
)
def test_selections_that_cannot_be_are_refused(rattling, model, error, said):
    known = {
        "charges": FixedCharges(CHARGES),
        "carbon": load_model(tiny.model_file(numbers=(6, 8))),
    }
    with pytest.raises(error, match=said):
        DipoleFlux(rattling, {k: known.get(v, v) for k, v in model.items()}, **UNIT)


def test_frames_of_other_atoms_are_refused(rattling):
    mixture = load_model(dict.fromkeys(HALVES, FixedCharges(CHARGES)))
    mixture = mixture.of_universe(UniverseFrames(rattling, **UNIT))
    with pytest.raises(ModelError, match="the frame has 3 atoms, the mixture 18"):
        mixture.predict(Frame([8, 1, 1], np.eye(3)))


@pytest.mark.parametrize(
    ("items", "found"),
    [
        (["water-rpbe-d3"], "water-rpbe-d3"),
        (["resname SOL = water-rpbe-d3"], {"resname SOL": "water-rpbe-d3"}),
        (["b=y", "a=x"], {"b": "y", "a": "x"}),
        # selections with such signs of their own
        (["prop x >= 5=water-rpbe-d3"], {"prop x >= 5": "water-rpbe-d3"}),
        (["prop mass == 16=charges:topology"], {"prop mass == 16": "charges:topology"}),
        # and files
        (["runs/lr=1/m.h5"], "runs/lr=1/m.h5"),
        (["protein=runs/lr=1/m.h5"], {"protein": "runs/lr=1/m.h5"}),
        (["prop x <= 5=runs/lr=1/m.h5"], {"prop x <= 5": "runs/lr=1/m.h5"}),
        (["protein=charges:runs/lr=1/m.h5"], {"protein": "charges:runs/lr=1/m.h5"}),
    ],
)
def test_selection_and_model_of_an_option(items, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "lr=1").mkdir(parents=True)
    (tmp_path / "runs" / "lr=1" / "m.h5").touch()
    assert models(items, "--model") == found
    assert not isinstance(found, dict) or list(models(items, "--model")) == list(found)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (["water-rpbe-d3", "protein=x"], "'water-rpbe-d3': of several models each has its atoms"),
        (["=x"], "write SELECTION=MODEL"),
        (["protein="], "write SELECTION=MODEL"),
        (["a=x", "a=y"], "the selection 'a' comes twice"),
    ],
)
def test_options_that_cannot_be_are_refused(items, said):
    with pytest.raises(OptionError, match=said):
        models(items, "--model")


def command(*words):
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.mark.filterwarnings("ignore")
def test_commands(tmp_path):
    trajectory, path = tmp_path / "water.trr", tmp_path / "model.h5"
    trajectory_files.write(trajectory_files.water(12), trajectory)
    tiny.model_file().save(path)
    files = WATER64_TOPOLOGY, trajectory
    mixture = "--model", f"index 0:95={path}", "--model", "not index 0:95=water-rpbe-d3"
    output = tmp_path / "flux.h5"
    done = command("flux", *files, *mixture, "--per", "element", "-o", output, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert [part["groups"] for part in report["mixture"]] == [{"H": 64, "O": 32}] * 2
    assert any(check["name"] == "seam between models" for check in report["checks"])
    done = command("spectrum", output, "--resolution", "5000 cm^-1", "-o", tmp_path / "ir.h5")
    assert done.exit_code == 0, done.stderr
    assert "flux of 96 atoms of 'index 0:95' from model (sha256" in done.stdout
    assert "look at this: seam between models: model for 96 atoms" in done.stdout
    done = command("check", *files, *mixture)
    assert done.exit_code == 0 and "seam between models" in done.stdout
    labels = tmp_path / "apt.h5"
    done = command("predict", *files, *mixture, "--frames", ":1", "-o", labels)
    assert done.exit_code == 0 and "seam between models" in done.stdout, done.stderr
    # a model's file is not written over, whatever stands before it
    done = command("flux", *files, *mixture, "-o", path)
    assert done.exit_code == 1 and "it is read as an input" in done.stderr
    done = command("raman", *files, *mixture)
    assert done.exit_code == 1 and "predicts no polarizability gradients" in done.stderr
