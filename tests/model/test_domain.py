"""The model's domain: what it was not made for is refused or marked, other runs of the same liquid
are not.
"""

import dataclasses
import json

import MDAnalysis
import numpy as np
import pytest
from scipy.stats import special_ortho_group
from typer.testing import CliRunner

import tests
from mda_aptnn import FixedCharges, UniverseFrames
from mda_aptnn.checks import Checks, Verdict
from mda_aptnn.cli import app
from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.errors import CheckError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame, read_labels
from mda_aptnn.model.domain import (
    CUTOFF,
    MOST_ATOMS,
    N_RADIAL,
    compare_environments,
    domain_checks,
    environment_statistics,
    environments,
    expected_residual,
    sum_rule_check,
)
from mda_aptnn.model.inputs import radial_basis
from mda_aptnn.model.predict import load_model
from mda_aptnn.training.card import domain
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.evaluate import evaluate
from mda_aptnn.training.fit import fit
from tests import tiny

FRAMES = tests.DATA / "domain-frames.npz"


def runs() -> dict[str, list[Frame]]:
    """Real frames by benchmarks/domain.py (GROMACS; CP2K with the potential of the training's
    trajectory).
    """
    with np.load(FRAMES) as arrays:
        names = [key.removesuffix("/cell") for key in arrays if key.endswith("/cell")]
        return {
            name: [
                Frame(
                    arrays[f"{name}/numbers"], positions / 1000, arrays[f"{name}/cell"], [True] * 3
                )
                for positions in arrays[f"{name}/positions"]
            ]
            for name in names
        }


RUNS = runs()


@pytest.fixture(scope="module")
def model():
    return load_model("water-rpbe-d3")


def verdicts(model, frames, temperature=None) -> dict[str, Verdict]:
    return {
        check.name.split()[0]: check.verdict for check in domain_checks(model, frames, temperature)
    }


FINE, LOOK, REFUSED, UNKNOWN = Verdict.FINE, Verdict.LOOK, Verdict.REFUSED, Verdict.UNKNOWN
#: Run, its temperature in K, and the verdict on elements, density, temperature, environments, sum
#: rule.
TABLE = [
    ("cp2k liquid 300 K", 300, FINE, FINE, FINE, FINE, FINE),
    ("cp2k liquid 360 K", 360, FINE, FINE, FINE, FINE, FINE),
    ("cp2k hot", 600, FINE, FINE, LOOK, None, None),
    ("cp2k compressed", 330, FINE, LOOK, FINE, REFUSED, None),
    ("cp2k ice", 250, FINE, LOOK, LOOK, LOOK, FINE),
    ("gromacs liquid", 300, FINE, FINE, FINE, LOOK, FINE),
    ("gromacs liquid 360 K", 360, FINE, FINE, FINE, LOOK, None),
    ("gromacs hot", 600, FINE, FINE, LOOK, LOOK, None),
    ("gromacs compressed", 300, FINE, LOOK, FINE, REFUSED, None),
    ("gromacs gap", 300, FINE, LOOK, FINE, LOOK, FINE),
    ("gromacs 0.3 of the density", 300, FINE, LOOK, FINE, REFUSED, LOOK),
    ("gromacs steam", 500, FINE, LOOK, LOOK, REFUSED, LOOK),
    ("gromacs ice", 200, FINE, LOOK, LOOK, LOOK, FINE),
]


@pytest.mark.parametrize(
    ("name", "temperature", "elements", "density", "heat", "around", "rule"), TABLE
)
def test_a_run_is_refused_or_marked_where_it_is_not_the_liquid(
    model, name, temperature, elements, density, heat, around, rule
):
    found = verdicts(model, RUNS[name], temperature)
    expected = {
        "elements": elements,
        "density": density,
        "temperature": heat,
        "environments": around,
        "acoustic": rule,
    }
    assert {key: found[key] for key, value in expected.items() if value} == {
        key: value for key, value in expected.items() if value
    }
    # one frame alone says the same of what is refused, and no liquid is refused by it
    single = domain_checks(model, RUNS[name][:1], temperature)
    assert (Checks(tuple(single)).worst is REFUSED) == (around is REFUSED)


@pytest.mark.parametrize("name", ["gromacs salt", "gromacs methanol"])
def test_unknown_elements_are_refused_with_a_way_on(model, name):
    checks = Checks(tuple(domain_checks(model, RUNS[name])))
    assert len(checks) == 3 and checks[0].verdict is REFUSED and not checks[0].allow
    unknown = "Na, Cl" if "salt" in name else "C"
    with pytest.raises(
        CheckError, match=f"does not know {unknown}; it was made for H, O"
    ) as raised:
        checks.raise_refused()
    with pytest.raises(
        ModelError, match=f"does not know {unknown}; it was made for H, O"
    ) as predicted:
        model.predict(RUNS[name][0])
    for error in (raised, predicted):
        assert "mda-aptnn label plan" in str(error.value) and "charges:FILE" in str(error.value)
        assert "\n" not in str(error.value)


def test_fixed_charges_ask_for_a_charge():
    with pytest.raises(ModelError, match="does not know Na, Cl: give a charge"):
        FixedCharges({"O": -0.8, "H": 0.4}).predict(RUNS["gromacs salt"][0])


def test_molecules_in_vacuum_are_refused(model):
    """Error 0.08 e where the card says 0.012 and the spread of the committee 0.010 (tutorials)."""
    item = tiny.water(1)[0]
    frame = tiny.molecule(item, 0).frame
    found = domain_checks(model, [frame])
    assert verdicts(model, [frame]) == {
        "elements": FINE,
        "density": LOOK,
        "temperature": UNKNOWN,
        "environments": REFUSED,
        "acoustic": FINE,
    }
    assert found[3].allow == "--allow-outside-domain"
    assert "100.0 % of H atoms" in found[3].found and "100.0 % of O atoms" in found[3].found
    peroxide = Frame(
        [8, 8, 1, 1], [[0, 0.73, 0], [0, -0.73, 0], [0.8, 0.9, 0.5], [-0.8, -0.9, 0.5]]
    )
    assert verdicts(model, [peroxide])["environments"] is REFUSED


def test_held_out_frames_and_the_bundled_trajectory_are_fine(model):

    held = model.info["data"]["fingerprints"]["held_out"]
    frames = [
        item.frame
        for item in read_labels([tiny.LABELS, tiny.MORE_LABELS])
        if item.frame.fingerprint() in held
    ]
    assert Checks(tuple(domain_checks(model, frames, 330.0))).worst is FINE

    universe = MDAnalysis.Universe(WATER64_TOPOLOGY, WATER64_TRAJECTORY)
    source = UniverseFrames(universe, velocities=None)
    frames = [source.frame() for _ in universe.trajectory[:: len(universe.trajectory) // 5]]
    assert Checks(tuple(domain_checks(model, frames, 318.0))).worst is FINE
    # neighbouring frames are one and the same sample, and one frame of few molecules scatters
    for _ in universe.trajectory[100:1000:300]:
        assert Checks(tuple(domain_checks(model, [source.frame()], 318.0))).worst is FINE


@pytest.mark.parametrize("n_frames", [2, 5])
def test_few_labelled_frames_are_enough_to_tell(model, n_frames):
    """Ice, a gap, thin water and steam are what they are for a model that has two frames to learn
    from.
    """
    item = tiny.water(10)
    few = item.subset(range(n_frames))
    card = {"domain": domain(few, model.target)}

    class Learner:
        info, numbers, target = card, model.numbers, model.target
        predict = staticmethod(model.predict)

    assert all(verdicts(Learner(), [one.frame])["environments"] is FINE for one in item.frames[5:])
    for name in ("cp2k liquid 300 K", "cp2k liquid 360 K"):
        assert verdicts(Learner(), RUNS[name])["environments"] is FINE
    for name, verdict in (
        ("cp2k ice", LOOK),
        ("gromacs gap", LOOK),
        ("gromacs 0.3 of the density", REFUSED),
    ):
        assert verdicts(Learner(), RUNS[name])["environments"] is verdict
    assert verdicts(Learner(), RUNS["gromacs steam"])["environments"] is REFUSED


def test_a_model_of_methanol_refuses_water(tmp_path):
    """Trained on the charges of the force field for two steps: what counts is that its card comes
    from its labels.
    """
    charges = FixedCharges({"C": 0.145, "H": 0.1, "O": -0.545})
    frames = RUNS["gromacs methanol"]
    labels = Dataset([LabelledFrame(frame, {"apt": charges.predict(frame)}) for frame in frames])
    model = fit(
        labels, tiny.NETWORK, TrainingConfig(steps=2, validation=1), tmp_path / "methanol.h5"
    )
    of = model.info["domain"]["environments"]["of"]
    assert {symbol: own["n_atoms"] for symbol, own in of.items()} == {"H": 480, "C": 120, "O": 120}
    found = verdicts(model, RUNS["cp2k liquid 300 K"])
    assert (
        found["elements"] is FINE and found["density"] is LOOK and found["environments"] is REFUSED
    )
    # and its own third frame, which chose the weights, is as in training
    assert verdicts(model, frames)["environments"] is FINE


def test_radial_densities_are_the_sum_over_neighbours():
    """An atom with three neighbours at known distances, one of them through the boundary."""
    cell = np.diag([9.0, 30.0, 30.0])
    frame = Frame(
        [8, 1, 1, 8], [[0.5, 0, 0], [1.5, 0, 0], [8.5, 0, 0], [0.5, 4, 0]], cell, [True] * 3
    )
    found = environments(frame, [1, 8])
    # 8.5 is 1 Å from 0.5 through the boundary, and 1.5 is so directly; O sees O at 4 Å
    expected = radial_basis(np.array([1.0, 1.0, 4.0]), CUTOFF, N_RADIAL)
    assert found.shape == (4, 2 * N_RADIAL)
    np.testing.assert_allclose(found[0, :N_RADIAL], expected[0] + expected[1], rtol=1e-12)
    np.testing.assert_allclose(found[0, N_RADIAL:], expected[2], rtol=1e-12)


def test_environments_do_not_change_with_orientation_origin_and_order():
    frame = RUNS["cp2k liquid 300 K"][0]
    turn, order = (
        special_ortho_group.rvs(3, random_state=1),
        np.random.default_rng(2).permutation(len(frame)),
    )
    turned = Frame(
        frame.numbers[order],
        (frame.positions @ turn + [1, 2, 3])[order],
        frame.cell @ turn,
        frame.pbc,
    )
    np.testing.assert_allclose(
        environments(turned, [1, 8]), environments(frame, [1, 8])[order], atol=1e-9
    )


def test_a_thousandth_of_atoms_is_beyond_the_limit():
    """Lattice gas with independent atoms: frames of the same kind have the share that the limit is
    made for.
    """

    def gas(seed: int) -> Frame:
        rng = np.random.default_rng(seed)
        sites = np.stack(np.meshgrid(*[np.arange(5)] * 3), axis=-1).reshape(-1, 3) * 3.2
        return Frame(
            np.full(125, 8),
            sites + 0.25 * rng.normal(size=sites.shape),
            np.eye(3) * 16.0,
            [True] * 3,
        )

    statistics = environment_statistics((gas(k), np.ones(125, bool)) for k in range(30))
    ((_, share, shift, n_atoms, n_each),) = compare_environments(
        statistics, [gas(1000 + k) for k in range(80)]
    )
    assert n_atoms == 10_000 and n_each == 125
    # a normal logarithm is not exact: between a fifth and five times 0.1 %
    assert 2e-4 < share < 5e-3
    assert shift < 0.1


def test_atoms_without_a_label_are_not_training():
    item = tiny.water(2)
    first = np.arange(96)[:, None, None] < 48
    half = [
        dataclasses.replace(one, tensors={"apt": np.where(first, one.apt, np.nan)}) for one in item
    ]
    of = domain(
        dataclasses.replace(item, frames=half), load_model("water-rpbe-d3", engine="torch").target
    )
    assert {symbol: own["n_atoms"] for symbol, own in of["environments"]["of"].items()} == {
        "H": 64,
        "O": 32,
    }


def test_the_residual_is_compared_by_the_root_of_the_number_of_atoms():
    held_out = {"sum_rule": 0.008, "n_atoms": 400, "baseline_rmse": {"mean": 0.14, "rigid": 0.11}}
    card = expected_residual({"accuracy": {"held_out": held_out}})
    rng = np.random.default_rng(0)
    for n_atoms in (96, 10_000):
        own = 0.008 * np.sqrt(n_atoms) * rng.normal(size=(5, 3, 3))
        assert sum_rule_check(own, n_atoms, card).verdict is FINE
    # seven times what the demonstration has, which 0.1.0's report passed
    assert sum_rule_check(7 * 0.008 * np.sqrt(192) * np.ones((5, 3, 3)), 192, card).verdict is LOOK
    # what all atoms have in common grows with their number: known to 0.008/√400 = 0.0004 e from the
    # card
    assert sum_rule_check(0.0004 * 100_000 * np.eye(3)[None], 100_000, card).verdict is FINE
    assert sum_rule_check(0.004 * 100_000 * np.eye(3)[None], 100_000, card).verdict is not FINE
    # a methanol model on 648 atoms of water (finding N8)
    refused = sum_rule_check(23.0 * np.eye(3)[None], 648, card)
    assert refused.verdict is REFUSED and refused.allow == "--allow-outside-domain"
    assert sum_rule_check(23.0 * np.eye(3)[None], 648, None).verdict is REFUSED
    assert sum_rule_check(0.1 * np.eye(3)[None], 648, None).verdict is UNKNOWN


def test_an_evaluation_has_the_residual_of_all_atoms(model):
    """Labels of half of the atoms: the sum is over all of them, and their number too."""
    item = tiny.water(1)[0]
    half = np.where(np.arange(96)[:, None, None] < 48, item.apt, np.nan)
    labels = Dataset([dataclasses.replace(item, tensors={"apt": half})])
    found = evaluate(model, labels, allow_training_frames=True)
    total = model.predict(item.frame).sum(axis=0)
    assert len(found.numbers) == 48
    assert found.sum_rule == pytest.approx(np.sqrt((total**2).mean() / 96), rel=1e-6)
    assert found.summary()["sum_rule"] == found.sum_rule


def test_an_old_file_says_how_its_statistics_are_added(tmp_path):
    """The card of a file of 0.1.0 has no environments and no residual; the command adds both."""
    path = tmp_path / "old.h5"
    labels = read_labels([tiny.LABELS, tiny.MORE_LABELS])
    settings = TrainingConfig(steps=2, validation=2, held_out=4)
    contents = fit(labels, tiny.NETWORK, settings, path).contents
    was = json.loads(json.dumps(contents.card))
    del contents.card["domain"]["environments"]
    for row in contents.card["accuracy"].values():
        del row["sum_rule"]
    contents.save(path)
    checks = domain_checks(load_model(path), RUNS["gromacs steam"])
    unknown = [
        check for check in checks if check.verdict is UNKNOWN and "temperature" not in check.name
    ]
    assert len(unknown) == 2
    typed = f"mda-aptnn evaluate {path} LABELS --allow-training-frames --record-domain"
    assert all(typed in check.meaning for check in unknown)
    files = [str(tiny.LABELS), str(tiny.MORE_LABELS)]
    command = typed.removeprefix("mda-aptnn ").split()
    runner = CliRunner()
    result = runner.invoke(app, [*command[:2], files[0], *command[3:]])
    assert result.exit_code == 1 and "give all label files" in result.stderr
    result = runner.invoke(app, [*command[:2], *files, *command[3:]])
    assert result.exit_code == 0, result.output
    card = load_model(path).info
    assert card["domain"] == was["domain"]
    assert card["accuracy"]["held_out"]["sum_rule"] == pytest.approx(
        was["accuracy"]["held_out"]["sum_rule"], rel=1e-3
    )
    assert verdicts(load_model(path), RUNS["gromacs steam"])["environments"] is REFUSED
    shown = runner.invoke(app, ["info", str(path)]).output
    assert "environments:" in shown and "limit:" in shown


def test_tensors_that_are_known_are_not_predicted_again(model):
    """Of another kind than the model's, so that they can be told apart."""
    frames = RUNS["cp2k liquid 300 K"]
    charges = [FixedCharges({"O": -0.8, "H": 0.41}).predict(frame) for frame in frames]
    found = domain_checks(model, frames, tensors=charges)[-1]
    assert found.verdict is LOOK and "0.37 e rms for 96 atoms" in found.found  # 32 · 0.02/√3 e


def test_models_without_a_card_are_not_judged():
    (check,) = domain_checks(FixedCharges({"O": -0.8, "H": 0.4}), RUNS["gromacs steam"])
    assert check.verdict is UNKNOWN


def test_many_samples_are_thinned_out(model):
    """What a check costs does not grow with the number of samples."""
    predicted = []

    class Counted:
        info, target, numbers = model.info, model.target, model.numbers

        def predict(self, frame):
            predicted.append(len(frame.numbers))
            return model.predict(frame)

    domain_checks(Counted(), RUNS["gromacs liquid"] * 20)
    assert 0 < sum(predicted) <= MOST_ATOMS
