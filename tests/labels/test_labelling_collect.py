"""Campaigns on disk: what is planned, what is taken over, what is left out; on stored runs of real
CP2K.
"""

import dataclasses
import json
import shutil

import MDAnalysis
import numpy as np
import pytest

from mda_aptnn.errors import CampaignError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.campaign import Campaign, plan
from mda_aptnn.labels.collect import collect
from mda_aptnn.labels.cp2k.template import Template
from mda_aptnn.labels.dataset import Dataset, LabelledFrame, read_labels
from mda_aptnn.labels.execution import run_campaign, run_task, slurm_script
from mda_aptnn.labels.quality import check_labels, plot_quality
from mda_aptnn.labels.routes import DisplacementRoute, FieldRoute
from mda_aptnn.labels.snapshots import Snapshot, Source, choose_frames
from tests.labelling_data import DATA, unpack


@pytest.fixture
def water(tmp_path):
    return Campaign(unpack("water-field", tmp_path))


def only_task(campaign):
    [task] = campaign.tasks()
    return task


def test_stored_routes_agree(tmp_path):
    labels = {}
    for name in ("water-field", "water-displacement", "water-analytic"):
        dataset, left_out = collect(Campaign(unpack(name, tmp_path)), 5e-3)
        assert not left_out
        labels[name.split("-")[1]] = dataset[0].apt
    np.testing.assert_allclose(labels["analytic"], labels["field"], atol=3e-3)
    np.testing.assert_allclose(labels["displacement"][0], labels["field"][0], atol=3e-3)
    assert np.isnan(labels["displacement"][1:]).all()
    # and one that is turned would not agree
    assert np.abs(labels["field"] - labels["field"].transpose(0, 2, 1)).max() > 0.03


def test_stored_gradients_of_forces_and_of_polarizabilities_agree(tmp_path):
    """Second field derivatives of the forces against displaced polarizabilities: within 1 % of the
    largest.
    """
    names = "water-field-raman", "water-displacement-raman"
    (field, left_out), (displaced, _) = (
        collect(Campaign(unpack(name, tmp_path))) for name in names
    )
    assert not left_out
    [first], [second] = field, displaced
    largest = np.abs(first.tensors["pgt"]).max()
    assert largest == pytest.approx(1.849, abs=1e-3)  # Å²
    np.testing.assert_allclose(
        first.tensors["pgt"][1], second.tensors["pgt"][1], rtol=0, atol=0.01 * largest
    )
    assert np.isnan(second.tensors["pgt"][[0, 2]]).all()
    # an order of indices other than ∂α_ab/∂r_ic would not agree
    turned = first.tensors["pgt"][1].transpose(2, 1, 0)
    assert np.abs(turned - second.tensors["pgt"][1]).max() > 0.3
    # the six fields of the polar tensors are among the twelve
    [water], _ = collect(Campaign(unpack("water-field", tmp_path)))
    np.testing.assert_allclose(first.apt, water.apt, atol=2e-4)
    assert first.info["pgt_sum_rule_residual"] == pytest.approx(2.9e-3, abs=1e-4)
    dataset, [item] = collect(Campaign(tmp_path / names[0]), max_pgt_residual=5e-4)
    assert len(dataset) == 0
    assert "Σ G is 0.0029 Å²" in item.reason and "--max-pgt-residual" in item.reason
    field.save(tmp_path / "labels.h5")
    assert (read_labels(tmp_path / "labels.h5")[0].tensors["pgt"] == first.tensors["pgt"]).all()


def test_a_dipole_that_wraps_between_the_displacements(tmp_path):
    """A chain of Li and F at half the cell: its Berry phase sits at the edge of its branch."""
    campaign = Campaign(unpack("lif-displacement", tmp_path))
    task = only_task(campaign)
    texts = [(task.directory / f"{name}.out").read_text() for name in ("pz_0", "mz_0")]
    heights = [
        float(text.split("Dipole moment [Debye]")[1].split("Z=")[1].split()[0]) for text in texts
    ]
    assert heights[0] * heights[1] < 0
    assert min(map(abs, heights)) > 9
    dataset, _ = collect(campaign)
    # by finite fields in the same cell, which is so small that those are off by some hundredths of
    # e
    np.testing.assert_allclose(dataset[0].apt[0], np.diag([0.842, 0.842, 1.146]), atol=0.02)


def test_the_file_of_labels_says_what_it_holds(water, tmp_path):
    dataset, left_out = collect(water)
    assert left_out == []
    dataset.save(tmp_path / "labels.h5")
    [item] = loaded = read_labels(tmp_path / "labels.h5")
    np.testing.assert_array_equal(item.apt, dataset[0].apt)
    assert "CP2K version 2023.1" in loaded.level_of_theory
    assert "PBE DZVP-GTH" in loaded.level_of_theory
    assert "field 0.003 a.u." in loaded.level_of_theory
    info = item.info
    assert info["route"] == "field" and info["field"] == 0.003
    assert info["program"] == "CP2K version 2023.1"
    assert info["sum_rule_residual"] == pytest.approx(np.abs(item.apt.sum(axis=0)).max())
    assert info["sum_rule_threshold"] == 2e-3
    assert len(info["inputs"]) == 7
    # the positions are those of the trajectory, not those in the middle of the box
    np.testing.assert_allclose(item.frame.positions[0], [0, 0, 0], atol=1e-12)


def test_labels_beyond_the_threshold_of_the_sum_rule_are_left_out(water):
    dataset, [item] = collect(water, 1e-5)
    assert len(dataset) == 0
    assert "sum rule" in item.reason and "above the 1e-05 e accepted" in item.reason


def damage_nothing(task):
    return ""


def missing(task):
    (task.directory / "py.out").unlink()
    return "py: not run yet"


def cut(task):
    path = task.directory / "mx.out"
    path.write_bytes(path.read_bytes()[:-400])
    return "mx: the run did not end"


def swapped(task):
    a, b = task.directory / "px.out", task.directory / "py.out"
    a.rename(task.directory / "t"), b.rename(a), (task.directory / "t").rename(b)
    return f"px: the output is that of py-{task.name}, not of px-{task.name}"


def other_geometry(task):
    path = task.directory / "pz.out"
    path.write_text(path.read_text().replace("1    1 O     8      3.", "1    1 O     8      2."))
    return "pz: the output belongs to another geometry: atom 0"


def other_input(task):
    path = task.directory / "px.inp"
    path.write_text(path.read_text().replace("CUTOFF 220", "CUTOFF 200"))
    return "px: the input was changed"


def not_converged(task):
    path = task.directory / "zero.out"
    path.write_text(path.read_text().replace("*** SCF run converged", "*** SCF run NOT converged"))
    return "zero: the SCF did not converge"


def no_forces(task):
    path = task.directory / "px.out"
    text = path.read_text()
    start, end = text.index(" ATOMIC FORCES"), text.index(" SUM OF ATOMIC FORCES")
    path.write_text(text[:start] + text[text.index("\n", end) :])
    return "no forces of all atoms"


def failed(task):
    (task.directory / "failed.json").write_text(
        json.dumps({"run": "px", "message": "px: no disk", "last_lines": ""})
    )
    return "failed: px: no disk"


@pytest.mark.parametrize(
    "damage", [missing, cut, swapped, other_geometry, other_input, not_converged, no_forces, failed]
)
def test_what_cannot_be_trusted_is_named_and_left_out(water, damage):
    message = damage(only_task(water))
    dataset, [item] = collect(water)
    assert len(dataset) == 0
    assert message in item.reason
    assert item.frame == "frame 0 of water.xyz, 0 ps"


def test_outputs_swapped_between_tasks_are_found(tmp_path):
    """The same runs for two snapshots that differ by a hair."""
    campaign = Campaign(unpack("water-field", tmp_path))
    first = only_task(campaign)
    frame = dataclasses.replace(
        first.frame, positions=first.frame.positions + np.diag([0, 1e-4, 0])
    )
    template = Template.read(DATA / "water.inp")
    plan(
        campaign.folder,
        [Snapshot(frame, {"source": "water.xyz", "index": 1, "time": 0.5}, ())],
        template,
        first.route,
    )
    again = Campaign(campaign.folder)
    second = list(again.tasks())[1]
    for run in second.runs:
        shutil.copy(first.directory / f"{run.name}.out", second.directory)
    dataset, [item] = collect(again)
    assert len(dataset) == 1
    assert f"the output is that of zero-{first.name}" in item.reason


def test_the_same_plan_again_changes_nothing_and_another_one_is_refused(water):
    task = only_task(water)
    template = Template.read(DATA / "water.inp")
    snapshot = Snapshot(task.frame, task.info, ())
    with pytest.warns(UserWarning, match="planned already"):
        again = plan(water.folder, [snapshot], template, task.route)
    assert again.task_names == [task.name]
    assert only_task(again).complete
    with pytest.raises(CampaignError, match="another parameters"):
        plan(water.folder, [snapshot], template, FieldRoute(1e-3))
    with pytest.raises(CampaignError, match="not empty and no campaign"):
        plan(task.directory, [snapshot], template, task.route)


def test_a_finished_campaign_runs_nothing(water):
    stamps = {path: path.stat().st_mtime_ns for path in water.folder.rglob("*.out")}
    # a command that would fail if it were called
    [outcome] = run_campaign(water, "false")
    assert outcome.state == "complete"
    assert {path: path.stat().st_mtime_ns for path in water.folder.rglob("*.out")} == stamps


def test_commands_that_cannot_work_are_refused_before_anything_runs(water):
    with pytest.raises(CampaignError, match=r"there is no command .cp2k\.nowhere."):
        run_campaign(water, "cp2k.nowhere -x")
    with pytest.raises(CampaignError, match="the command is empty"):
        run_campaign(water, " ")
    with pytest.raises(CampaignError, match="there is no task 1: the campaign has 1"):
        run_campaign(water, "true", task=1)
    with pytest.raises(CampaignError, match="is no campaign"):
        Campaign(water.folder / "tasks")


def test_a_task_with_a_changed_input_is_not_run(water):
    task = only_task(water)
    (task.directory / "complete.json").unlink()
    message = other_input(task)
    outcome = run_task(task.directory, ["true"])
    assert outcome.state == "failed"
    assert message.split(": ")[1].replace("the input ", "") in outcome.message


def test_a_damaged_task_does_not_stop_the_others(water):
    (only_task(water).directory / "task.json").write_text("{")
    with pytest.raises(CampaignError, match=r"cannot read .*task\.json"):
        list(water.tasks())


def test_job_array(water):
    script = slurm_script(water, "srun cp2k.psmp")
    assert "#SBATCH --array=0-0\n" in script
    assert "--command 'srun cp2k.psmp' --task \"$SLURM_ARRAY_TASK_ID\"" in script


def test_many_displaced_atoms_are_several_tasks_of_one_frame(tmp_path):
    positions = np.random.default_rng(0).uniform(0, 12, (20, 3))
    frame = Frame([8] * 20, positions)
    text = (DATA / "water.inp").read_text().replace("ABC 6.4 6.4 6.4", "ABC 15 15 15")
    (tmp_path / "large.inp").write_text(text)
    snapshot = Snapshot(frame, {"index": 0}, tuple(range(20)))
    campaign = plan(
        tmp_path / "c", [snapshot], Template.read(tmp_path / "large.inp"), DisplacementRoute()
    )
    [(_, tasks)] = campaign.frames()
    displaced = [sorted({run.atom for run in task.runs} - {-1}) for task in tasks]
    assert [atom for part in displaced for atom in part] == list(range(20))
    assert [len(task.runs) for task in tasks] == [49, 49, 25]


def test_choice_of_frames():
    chosen = choose_frames(1000, 20, "random", seed=1)
    assert chosen == sorted(set(chosen)) == choose_frames(1000, 20, "random", seed=1)
    assert chosen != choose_frames(1000, 20, "random", seed=2)
    assert max(chosen) > 800  # over the whole trajectory
    assert choose_frames(10, 10, "random") == list(range(10))
    assert choose_frames(100, 4, "uniform") == [12, 37, 62, 87]
    assert choose_frames(10, None, "indices", indices=[-1, 3]) == [3, 9]
    for arguments, message in (
        ((10, 11, "random"), "cannot choose 11 of 10"),
        ((10, None, "uniform"), "say how many"),
        ((10, 3, "first"), "no selection 'first'"),
    ):
        with pytest.raises(CampaignError, match=message):
            choose_frames(*arguments)
    with pytest.raises(CampaignError, match="no frame 10"):
        choose_frames(10, None, "indices", indices=[10])
    with pytest.raises(CampaignError, match="comes twice"):
        choose_frames(10, None, "indices", indices=[9, -1])


@pytest.fixture
def source():
    universe = MDAnalysis.Universe.empty(3, trajectory=True)
    universe.add_TopologyAttr("elements", ["O", "H", "H"])
    universe.add_TopologyAttr("masses", [16.0, 1.0, 1.0])
    positions = (
        np.array([[0, 0, 0], [0.763, 0.1, 0.59], [-0.77, 0, 0.601]]) + np.arange(5)[:, None, None]
    )
    boxes = np.array([[10 + k, 10, 10, 90, 80, 70] for k in range(5)], dtype=np.float32)
    universe.load_new(positions.astype(np.float32), dimensions=boxes, dt=0.05)
    return Source([universe], ["md.xtc"])


def test_snapshots_have_the_cell_and_positions_of_their_frame(source):
    with pytest.warns(
        UserWarning, match=r"1 pair.*less than 0.1 ps apart, such as frames 1 and 2 \(0.05 ps\)"
    ):
        taken = list(source.snapshots([1, 2, 4], atoms="element H", apart=0.1))
    assert [item.info["time"] for item in taken] == pytest.approx([0.05, 0.1, 0.2])
    assert [float(np.linalg.norm(item.frame.cell[0])) for item in taken] == pytest.approx(
        [11, 12, 14]
    )
    assert [item.frame.positions[0, 0] for item in taken] == [1, 2, 4]
    assert {item.atoms for item in taken} == {(1, 2)}
    with pytest.raises(CampaignError, match="finds no atom"):
        list(source.snapshots([1], atoms="element C"))


def test_quality_report_finds_what_was_put_in(tmp_path):
    rng = np.random.default_rng(0)
    items = []
    for k in range(6):
        frame = Frame([8, 1, 1] * 8, rng.uniform(0, 10, (24, 3)), 10 * np.eye(3), [True] * 3)
        apt = np.tile(np.eye(3), (24, 1, 1)) * np.tile([-0.8, 0.4, 0.4], 8)[:, None, None]
        apt += 0.05 * rng.normal(size=apt.shape)
        apt -= apt.mean(axis=0)
        items.append(LabelledFrame(frame, {"apt": apt}, {"linearity": 1e-4 * k}))
    items[2].apt[3] += 2 * np.eye(3)
    items.append(LabelledFrame(items[1].frame, items[1].tensors))
    partly = np.full((24, 3, 3), np.nan)
    partly[0] = -0.8 * np.eye(3)
    items.append(
        LabelledFrame(
            dataclasses.replace(items[0].frame, positions=items[0].frame.positions + 1),
            {"apt": partly},
        )
    )
    quality = check_labels(Dataset(items))
    assert quality.duplicates == [(1, 6)]
    assert [(item["frame"], item["atom"]) for item in quality.outliers] == [(2, 3)]
    assert quality.residuals[2] == pytest.approx(2 / 24)
    assert quality.residuals[0] < 1e-12 and np.isnan(quality.residuals[7])
    assert quality.species["O"]["atoms"] == 57 and quality.species["H"]["atoms"] == 112
    assert quality.species["H"]["trace_mean"] == pytest.approx(0.4, abs=0.01)
    # (A − Aᵀ)/2 of independent components of deviation σ: two thirds of them, each of variance σ²/2
    assert quality.species["H"]["antisymmetric_rms"] == pytest.approx(
        0.05 * np.sqrt(1 / 3), rel=0.1
    )
    assert max(quality.linearity.values()) == 5e-4
    assert quality.gradients is None and "polarizability_gradients" not in quality.summary()
    plot_quality(quality, tmp_path / "quality.png")
    assert (tmp_path / "quality.png").stat().st_size > 10_000


def test_quality_of_polarizability_gradients():
    rng = np.random.default_rng(0)
    frame = Frame([8, 1, 1], rng.uniform(0, 3, (3, 3)))
    apt = np.zeros((3, 3, 3))
    # ᾱ grows by 0.3 Å² along x with the first atom and falls with the others; the second also turns
    # α_xy
    gradients = np.zeros((3, 3, 3, 3))
    for atom, slope in enumerate((0.3, -0.15, -0.15)):
        gradients[atom, :, :, 0] = slope * np.eye(3)
    gradients[1, 0, 1, 2] = gradients[1, 1, 0, 2] = 0.12
    items = [
        LabelledFrame(frame, {"apt": apt, "pgt": gradients}, {"pgt_linearity": 2e-3}),
        LabelledFrame(dataclasses.replace(frame, positions=frame.positions + 1), {"apt": apt}),
    ]
    quality = check_labels(Dataset(items)).gradients
    assert quality.residuals[0] == pytest.approx(0.12 / 3) and np.isnan(quality.residuals[1])
    assert quality.species["O"] == {
        "atoms": 1,
        "isotropic_rms": pytest.approx(0.3),
        "anisotropic_rms": 0.0,
    }
    assert quality.species["H"]["isotropic_rms"] == pytest.approx(0.15)
    # one of two atoms, α_xy and α_yx
    assert quality.species["H"]["anisotropic_rms"] == pytest.approx(0.12)
    assert quality.summary()["linearity"] == {0: 2e-3}
