"""A labelling code of somebody else goes through the same campaign: plan, run, kill, collect."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from mda_aptnn.errors import CampaignError
from mda_aptnn.frame import Frame
from mda_aptnn.labels import protocol
from mda_aptnn.labels.campaign import Campaign, plan
from mda_aptnn.labels.collect import collect
from mda_aptnn.labels.execution import run_campaign
from mda_aptnn.labels.routes import (
    AnalyticRoute,
    DisplacementRamanRoute,
    DisplacementRoute,
    FieldRamanRoute,
    FieldRoute,
)
from mda_aptnn.labels.snapshots import Snapshot
from mda_aptnn.plugins import Plugins
from tests import ROOT
from tests.labels import own_code
from tests.labels.own_code import Springs

STRENGTH = 0.2


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    codes = Plugins(protocol.CODES.group, protocol.OWN, protocol.CODES.kind, CampaignError)
    codes.register("springs", Springs)
    monkeypatch.setattr(protocol, "CODES", codes)


def frames(count=2):
    shape = np.array([[0, 0, 0], [0.763, 0.1, 0.59], [-0.77, 0, 0.601]])
    rng = np.random.default_rng(0)
    for _ in range(count):
        place = np.concatenate([shape, shape @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 3])
        yield Frame([8, 1, 1, 8, 1, 1], place + 0.1 * rng.normal(size=(6, 3)))


def planned(folder, route, settings="", name="campaign"):
    folder.mkdir(exist_ok=True)
    (folder / "springs.toml").write_text(f"strength = {STRENGTH}\n{settings}\n")
    recipe = protocol.find_code("springs").recipe(folder / "springs.toml")
    snapshots = [
        Snapshot(frame, {"source": "x.xyz", "index": k, "time": 1.0 * k}, tuple(range(6)))
        for k, frame in enumerate(frames())
    ]
    return plan(folder / name, snapshots, recipe, route)


def labels(folder, route, settings=""):
    campaign = planned(folder, route, settings)
    outcomes = run_campaign(campaign)
    assert {outcome.state for outcome in outcomes} == {"complete"}, outcomes
    return collect(campaign)


@pytest.mark.parametrize(
    "route", [FieldRoute(1e-3, 2e-3), DisplacementRoute(1e-3), AnalyticRoute(), FieldRamanRoute()]
)
def test_every_route_gives_the_known_tensors(tmp_path, route):
    dataset, left_out = labels(tmp_path, route)
    assert not left_out and len(dataset) == 2
    assert dataset.level_of_theory.startswith("Springs 1.0, Springs strength=0.2")
    for item, frame in zip(dataset, frames(), strict=True):
        expected = own_code.polar_tensors(frame.positions, STRENGTH)
        assert np.abs(expected - expected.transpose(0, 2, 1)).max() > 0.1
        np.testing.assert_allclose(item.apt, expected, rtol=0, atol=1e-6)
        assert item.info["sum_rule_residual"] < 1e-6 and item.info["program"] == "Springs 1.0"
    if isinstance(route, FieldRamanRoute):  # the polarizability does not depend on the positions
        assert np.abs(dataset[0].tensors["pgt"]).max() < 1e-6


@pytest.mark.parametrize("route", [FieldRoute(), AnalyticRoute()])
@pytest.mark.parametrize(
    ("fault", "said"), [("transposed", "are transposed"), ("sign", "have a wrong sign")]
)
def test_tensors_that_are_turned_are_refused(tmp_path, route, fault, said):
    """The sum rule of translations holds for them, that of rotations does not."""
    dataset, left_out = labels(tmp_path, route, f'fault = "{fault}"')
    assert len(dataset) == 0 and len(left_out) == 2
    assert f"the polar tensors {said}" in left_out[0].reason


@pytest.mark.parametrize(
    ("fault", "said"),
    [("convergence", "the springs did not come to rest"), ("crash", "ZeroDivisionError")],
)
def test_a_code_that_fails_is_reported_and_repeated_on_request(tmp_path, fault, said):
    campaign = planned(tmp_path, FieldRoute(), f'fault = "{fault}"')
    for retry in (False, False, True):
        outcomes = run_campaign(campaign, retry=retry)
        assert [outcome.message for outcome in outcomes] == [f"zero: {said}"] * 2
    dataset, left_out = collect(campaign)
    assert len(dataset) == 0 and said in left_out[0].reason


def test_what_a_code_does_not_offer_is_refused_when_it_is_planned(tmp_path):
    with pytest.raises(
        CampaignError, match="displacement-raman needs polarizability, and Springs gives apt, dip"
    ):
        planned(tmp_path, DisplacementRamanRoute())
    with pytest.raises(CampaignError, match=r"no file .*nowhere\.toml with the settings of Spr"):
        Springs().recipe(tmp_path / "nowhere.toml")
    (tmp_path / "bad.toml").write_text("strength = ")
    with pytest.raises(CampaignError, match=r"bad\.toml"):
        Springs().recipe(tmp_path / "bad.toml")


def test_a_code_that_breaks_the_protocol_is_told_where(tmp_path):
    class Half:
        title, command, offers = "Half", None, frozenset({"dipole"})

        def read(self, text):
            return None

    protocol.CODES.register("half", Half)
    with pytest.raises(
        CampaignError, match="labelling code 'half' has no recipe, compute, last_lines, leaves"
    ):
        protocol.find_code("half")
    with pytest.raises(CampaignError, match="another labelling code 'springs'"):
        protocol.CODES.register("springs", Half)


def test_outputs_and_settings_are_checked_as_those_of_a_program(tmp_path):
    campaign = planned(tmp_path, FieldRoute())
    run_campaign(campaign)
    first, second = campaign.tasks()
    output = first.directory / "px.out"
    whole = output.read_text()

    def reason():
        _, left_out = collect(campaign)
        return left_out[0].reason

    for text, said in (
        (whole[: len(whole) // 2], "px: the output is cut off or damaged"),
        ((second.directory / "px.out").read_text(), f"not of px-{first.name}"),
        (whole.replace("Springs 1.0", "x").replace("[[-", "[[7", 1), "belongs to another geometry"),
    ):
        output.write_text(text)
        assert said in reason()
    record = json.loads(whole)
    output.write_text(json.dumps({**record, "forces": record["forces"][:-1]}))
    assert "no forces of all atoms" in reason()
    output.write_text(whole)
    (first.directory / "px.inp").write_text("strength = 0.3")
    assert "px: the input was changed" in reason()


def test_a_campaign_of_a_code_that_is_not_there_names_those_that_are(tmp_path, monkeypatch):
    campaign = planned(tmp_path, FieldRoute())
    other = protocol.Recipe("cp2k", f"strength = {STRENGTH}\n\n", "Springs strength=0.2")
    with pytest.raises(CampaignError, match="another code"):
        plan(campaign.folder, [], other, FieldRoute())
    monkeypatch.undo()
    with pytest.raises(CampaignError, match=r"unknown labelling code 'springs': known are .*cp2k"):
        run_campaign(campaign)


def test_killed_and_resumed_by_the_command_line_through_an_entry_point(tmp_path):
    """What was finished before the kill stays; the labels are those of an undisturbed campaign."""
    site = tmp_path / "site" / "springs-1.0.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: springs\nVersion: 1.0\n")
    (site / "entry_points.txt").write_text(
        "[mda_aptnn.labelling_codes]\nsprings = tests.labels.own_code:Springs\n"
    )
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    campaign = planned(tmp_path / "slow", FieldRoute(), "pause = 0.3")
    words = [sys.executable, "-m", "mda_aptnn.cli", "label", "run", str(campaign.folder)]
    environment = {**os.environ, "PYTHONPATH": path}

    def outputs():
        return {p: p.stat().st_mtime_ns for p in campaign.folder.glob("tasks/*/*.out")}

    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while len(outputs()) < 9 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    said = process.communicate()[1]
    before = outputs()
    assert 9 <= len(before) < 14, said
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "2 complete" in done.stdout, done.stderr
    assert {path: stamp for path, stamp in outputs().items() if path in before} == before
    assert not list(campaign.folder.glob("tasks/*/running-*"))
    resumed, _ = collect(Campaign(campaign.folder))
    undisturbed, _ = labels(tmp_path / "fast", FieldRoute())
    for one, other in zip(resumed, undisturbed, strict=True):
        np.testing.assert_array_equal(one.apt, other.apt)
