"""Files and folders of the user's: what a command must not delete, replace or mix."""

from __future__ import annotations

from pathlib import Path

import MDAnalysis as mda
import pytest
from typer.testing import CliRunner

from mda_aptnn import hdf5
from mda_aptnn.analysis.flux import blocks
from mda_aptnn.cli import app
from mda_aptnn.labelling.campaign import Campaign
from mda_aptnn.labelling.execution import run_task
from mda_aptnn.tests.labelling_data import unpack
from mda_aptnn.tests.systems import gas
from mda_aptnn.tests.tiny import model_file

N_FRAMES = 12


def run(*arguments, fails=False):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert (result.exit_code != 0) == fails, result.output
    return result


def error(*arguments):
    lines = [line for line in run(*arguments, fails=True).stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


def contents(folder):
    """Everything below a folder but MDAnalysis' own caches: what files hold, where links point."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if (path.is_symlink() or path.is_file()) and "_offsets." not in path.name
    }


def write_trajectory(folder, seed=0, n_frames=N_FRAMES, name="gas", from_frame=0, other=None):
    """Nine atoms that rattle, as PDB and TRR; frames from `from_frame` on are of the seed `other`."""
    u, replaced = gas(n_frames, seed), gas(n_frames, other if other is not None else seed)
    u.atoms.write(str(folder / f"{name}.pdb"))
    with mda.Writer(str(folder / f"{name}.trr"), 9) as writer:
        for now, then in zip(u.trajectory, replaced.trajectory, strict=True):
            if now.frame >= from_frame:
                now.positions, now.velocities = then.positions, then.velocities
            writer.write(u.atoms)
    return folder / f"{name}.pdb", folder / f"{name}.trr"


@pytest.fixture
def system(tmp_path):
    """A folder of its own with a trajectory and a model that knows it; the model is untrained."""
    model_file().save(tmp_path / "model.h5")
    topology, trajectory = write_trajectory(tmp_path)
    return [topology, trajectory, "--model", tmp_path / "model.h5"]


def folder_of_the_user(folder):
    (folder / "part-1" / "deep").mkdir(parents=True)
    (folder / "thesis.tex").write_text("years")
    (folder / "part-1" / "block-000000000.h5").write_text("mine")
    (folder / "part-1" / "deep" / "data.csv").write_text("1,2")
    return contents(folder)


class TestFolders:
    """S1: folders are not deleted."""

    @pytest.mark.parametrize("group", ["Na=element Na", "O=element O"])
    def test_a_checkpoint_that_is_a_folder_of_the_users_is_refused(self, system, tmp_path, group):
        before = folder_of_the_user(tmp_path / "mine")
        said = error("flux", *system, "-g", group, "--checkpoint", tmp_path / "mine", "-o", tmp_path / "x.h5")
        assert "not empty" in said and "thesis.tex" in said and "--checkpoint" in said
        assert contents(tmp_path / "mine") == before

    def test_the_working_folder_as_a_checkpoint_is_refused(self, system, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = contents(tmp_path)
        assert "not empty" in error("flux", *system, "--checkpoint", ".", "-o", "x.h5")
        assert contents(tmp_path) == before

    def test_a_folder_that_is_called_as_ours_is_refused_before_the_run(self, system, tmp_path, monkeypatch):
        before = folder_of_the_user(tmp_path / "x.unfinished")
        monkeypatch.setattr("mda_aptnn.analysis.flux.dipole_flux.DipoleFlux.run", None)
        assert "x.unfinished is not empty" in error("flux", *system, "-o", tmp_path / "x.h5")
        assert contents(tmp_path / "x.unfinished") == before

    def test_what_comes_into_our_folder_stays(self, system, tmp_path):
        run("flux", *system, "--checkpoint", tmp_path / "c", "-o", tmp_path / "y.h5")
        (tmp_path / "c").rename(tmp_path / "x.unfinished")
        part = tmp_path / "x.unfinished" / "part-1"
        (part / "notes.txt").write_text("mine")
        (part / "block-000000099.h5").write_bytes((tmp_path / "model.h5").read_bytes())
        (tmp_path / "x.unfinished" / "part-2").symlink_to(tmp_path / "x.unfinished" / "part-1")
        blocks.remove(tmp_path / "x.unfinished")
        left = sorted(path.name for path in part.iterdir())
        assert left == ["block-000000099.h5", "notes.txt", "plan.json"]
        assert (tmp_path / "x.unfinished" / "part-2").is_symlink()

    def test_an_empty_checkpoint_folder_survives_a_failure(self, system, tmp_path):
        (tmp_path / "c").mkdir()
        error("flux", *system, "-g", "Na=element Na", "--checkpoint", tmp_path / "c", "-o", tmp_path / "x.h5")
        assert (tmp_path / "c").is_dir()

    def test_only_work_folders_of_ours_are_cleared_in_a_campaign(self, tmp_path):
        task = next(Campaign(unpack("water-field", tmp_path)).tasks())
        (tmp_path / "victim").mkdir()
        (tmp_path / "victim" / "a").write_text("mine")
        (task.directory / "running-abcdefgh").symlink_to(tmp_path / "victim")
        (task.directory / "running-notes").mkdir()
        (task.directory / "running-notes" / "b").write_text("mine")
        (task.directory / "running-a1b2c3d4" / "deep").mkdir(parents=True)
        (task.directory / "running-a1b2c3d4" / "deep" / "c").write_text("mine")
        (task.directory / "running-ab_2c3d4").mkdir()
        (task.directory / "running-ab_2c3d4" / "zero.out").write_text("ours")
        run_task(task.directory, ["true"])
        assert (tmp_path / "victim" / "a").read_text() == "mine"
        assert (task.directory / "running-notes" / "b").read_text() == "mine"
        assert (task.directory / "running-a1b2c3d4" / "deep" / "c").read_text() == "mine"
        assert not (task.directory / "running-ab_2c3d4").exists()

    def test_a_file_that_has_the_name_of_a_checkpoint_is_not_deleted(self, tmp_path):
        (tmp_path / "m.checkpoint.h5").write_text("mine")
        hdf5.remove(tmp_path / "m.checkpoint.h5", "checkpoint")
        assert (tmp_path / "m.checkpoint.h5").read_text() == "mine"
