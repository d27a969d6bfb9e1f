"""The loop of labelling, training and spectrum with a stand-in for CP2K; tests/test_learn.py has
the real one.
"""

import dataclasses
import shlex
import sys
from pathlib import Path

import MDAnalysis as mda
import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.errors import CampaignError, LabelError, SpectrumError
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.io import load_json
from mda_aptnn.labels import protocol
from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.learning import Learning, LearningPlan, compare
from mda_aptnn.model.predict import load_model
from mda_aptnn.plugins import Plugins
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.training.config import TrainingConfig
from tests import cp2k_stand_in
from tests.labelling_data import DATA
from tests.labels import own_code
from tests.systems import gas
from tests.tiny import NETWORK

COMMAND = shlex.join([sys.executable, "-S", "-E", cp2k_stand_in.__file__])
READING = {"velocity_unit": "angstrom/ps", "charge": 0.0, "pbc": "none"}
#: 0.06 ps are five segments for this resolution.
PLAN = LearningPlan(
    template=DATA / "water.inp",
    route="analytic",
    initial=2,
    test=1,
    count=2,
    candidates=30,
    members=2,
    resolution=6000.0,
    temperature=300.0,
    network=NETWORK,
    training=TrainingConfig(steps=4, validate_every=2, validation=1, warmup_steps=1),
)


@pytest.fixture(autouse=True)
def _nothing_is_compiled(monkeypatch):
    monkeypatch.setattr("mda_aptnn.model.predict.fastest_engine", lambda contents: "torch")


def loop(folder, n_frames=120, **changes):
    universe = gas(n_frames, n_molecules=1, cell=None)
    return Learning(folder, [universe], ["gas"], dataclasses.replace(PLAN, **changes), READING)


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("round-*/*") if path.is_file()}


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Two rounds, in two calls."""
    folder = tmp_path_factory.mktemp("learned") / "loop"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mda_aptnn.model.predict.fastest_engine", lambda contents: "torch")
        first = loop(folder, tolerance=1e9).run(COMMAND, 10, one=True)
        before = stamps(folder)
        reports = loop(folder, tolerance=1e9).run(COMMAND, 10)
    assert len(first) == 1 and reports[0] == first[0]
    assert {path: stamp for path, stamp in stamps(folder).items() if path in before} == before
    return folder, reports


def test_rounds_add_labels_and_the_rule_ends_them(learned):
    folder, reports = learned
    # any change is below so wide a tolerance: the rule ends the loop as soon as there is a change
    assert [report["stop"] for report in reports] == [False, True]
    assert [report["training_frames"] for report in reports] == [2, 4]
    assert reports[0]["change"] is None and reports[1]["change"] > 0
    selected = [load_json(folder / f"round-{k}" / "selected.json") for k in (0, 1)]
    assert len({*selected[0]["frames"], *selected[0]["test"], *selected[1]["frames"]}) == 5
    dataset = read_labels(folder / "round-1" / "labels.h5")
    assert len(dataset) == 5
    universe = gas(120, n_molecules=1, cell=None)
    for item in dataset:
        universe.trajectory[item.info["number"]]
        arms = item.frame.positions - item.frame.positions[0]
        np.testing.assert_allclose(
            arms, universe.atoms.positions - universe.atoms.positions[0], atol=1e-5
        )
        expected = cp2k_stand_in.polar_tensors(item.frame.symbols, item.frame.positions.tolist())
        np.testing.assert_allclose(item.apt, expected, atol=1e-6)


def test_test_frames_are_never_trained_on(learned):
    folder, _ = learned
    test = load_json(folder / "round-0" / "selected.json")["test"]
    dataset = read_labels(folder / "round-1" / "labels.h5")
    kept = [item.frame.fingerprint() for item in dataset if item.info["number"] in test]
    for k in (0, 1):
        prints = load_model(folder / f"round-{k}" / "committee.h5").info["data"]["fingerprints"]
        assert prints["held_out"] == kept
        assert not set(kept) & {*prints["training"], *prints.get("validation", [])}


def test_the_rule_is_the_change_over_the_error_bar(learned):
    folder, reports = learned
    before, after = (Spectrum.load(folder / f"round-{k}" / "spectrum.h5") for k in (0, 1))
    change = (after.cross_section - before.cross_section).magnitude
    error = after.curve().error / after.scale
    assert reports[1]["change"] == pytest.approx(
        np.sqrt((change**2).sum() / (error**2).sum()), rel=1e-9
    )
    found = compare(after, after)
    assert found["change"] == 0 and found["model_error"] == pytest.approx(reports[1]["model_error"])
    # a spectrum that is higher by one error bar everywhere
    shifted = dataclasses.replace(
        before,
        cross_sections=after.cross_sections
        + before.cross_sections.units * error[:, None] / before.cross_sections[0].size,
    )
    assert compare(shifted, after)["change"] == pytest.approx(1)
    narrow = FluxSeries.load(folder / "round-1" / "flux.h5").spectrum(300, 3000, segments=4)
    with pytest.raises(SpectrumError, match="other frequencies"):
        compare(narrow, after)


def test_a_loop_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    """In the middle of the labels, and between the committee and its flux."""
    folder = tmp_path / "loop"
    counted = []

    def interrupted(*arguments, **options):
        if len(counted) == 2:
            raise KeyboardInterrupt
        counted.append(original(*arguments, **options))
        return counted[-1]

    original = __import__("mda_aptnn.labels.execution", fromlist=["run_task"]).run_task
    with monkeypatch.context() as patch:
        patch.setattr("mda_aptnn.labels.execution.run_task", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop(folder).run(COMMAND, 1)
    outputs = {path: path.stat().st_mtime_ns for path in folder.glob("campaign/tasks/*/zero.out")}
    assert len(outputs) == 2 and not (folder / "round-0" / "labels.h5").exists()
    with monkeypatch.context() as patch:
        patch.setattr("mda_aptnn.learning.DipoleFlux", None)
        with pytest.raises(TypeError):
            loop(folder).run(COMMAND, 1)
    done = stamps(folder)
    assert {path.name for path in done} == {"selected.json", "labels.h5", "committee.h5"}
    [report] = loop(folder).run(COMMAND, 1)
    assert report["training_frames"] == 2 and not report["stop"]
    assert all(stamp == done[path] for path, stamp in stamps(folder).items() if path in done)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in outputs.items())


def test_what_cannot_go_on_is_refused(learned, tmp_path):
    folder, _ = learned
    with pytest.raises(
        CampaignError, match=r"a loop with other count, tolerance: repeat its command"
    ):
        loop(folder, count=3)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CampaignError, match="is not empty and no folder of"):
        loop(tmp_path)
    with pytest.raises(
        SpectrumError, match=r"0\.01 ps are too short for error bars at a resolution of 6000"
    ):
        loop(tmp_path / "short", n_frames=20)
    assert not (tmp_path / "short").exists()
    with pytest.raises(CampaignError, match="teach nothing"):
        loop(tmp_path / "none").run(COMMAND, 0)
    with pytest.raises(CampaignError, match="members of at least 2, not 1"):
        dataclasses.replace(PLAN, members=1)
    with pytest.raises(CampaignError, match="keeps its own test frames"):
        dataclasses.replace(PLAN, training=TrainingConfig(held_out=1))


def test_labels_that_all_fail_are_told(tmp_path):
    assert Path("/bin/false").exists()
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(LabelError, match="no new frame of round 0 has usable labels"),
    ):
        loop(tmp_path / "loop").run("/bin/false", 1)


def test_any_labelling_code_can_be_learned_with(tmp_path, monkeypatch):
    """By the command line, with a code that is in no program and in another package."""
    codes = Plugins(protocol.CODES.group, protocol.OWN, protocol.CODES.kind, CampaignError)
    codes.register("springs", own_code.Springs)
    monkeypatch.setattr(protocol, "CODES", codes)
    monkeypatch.chdir(tmp_path)
    universe = gas(120, n_molecules=1, cell=None)
    universe.atoms.write("gas.pdb")
    with mda.Writer("gas.trr", 3) as writer:
        for _ in universe.trajectory:
            writer.write(universe.atoms)
    Path("springs.toml").write_text("strength = 0.2\n")
    Path("plan.toml").write_text(
        "[training]\nsteps = 4\nvalidate_every = 2\nvalidation = 1\nwarmup_steps = 1\n"
        '[[network.layers]]\nfeatures = "2x0e+2x1o+2x1e+2x2e"\ncutoff = 3.0\nn_radial = 3\n'
    )
    words = (
        "learn loop gas.pdb gas.trr --code springs --template springs.toml --route analytic "
        "--initial 2 --test 1 --count 1 --members 2 --candidates 30 --config plan.toml --pbc none "
        "--resolution 6000 -T 300 --rounds 1 --charge 0"
    )
    result = CliRunner().invoke(app, words.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    dataset = read_labels("loop/round-0/labels.h5")
    assert len(dataset) == 3 and dataset.level_of_theory.startswith("Springs 1.0")
    for item in dataset:
        expected = own_code.polar_tensors(item.frame.positions, 0.2)
        np.testing.assert_allclose(item.apt, expected, atol=1e-9)
