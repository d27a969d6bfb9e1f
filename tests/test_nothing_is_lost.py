"""Files and folders of the user's: what a command must not delete, replace or mix."""

from __future__ import annotations

import inspect
import itertools
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import MDAnalysis as mda
import pytest
import typer
from typer.testing import CliRunner

from mda_aptnn import folders, io
from mda_aptnn.cli import app
from mda_aptnn.errors import BusyError, WorkerError
from mda_aptnn.flux import blocks
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.labels.campaign import Campaign, plan
from mda_aptnn.labels.dataset import write_xyz
from mda_aptnn.labels.execution import run_task
from mda_aptnn.model.predict import Model
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.fit import fit
from tests.labelling_data import unpack
from tests.systems import KnownTensors, gas, random_tensors
from tests.tiny import NETWORK, clusters, model_file

N_FRAMES = 12
READING = {"velocity_unit": "angstrom/ps"}


def run(*arguments, fails=False):
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=False
    )
    assert (result.exit_code != 0) == fails, result.output
    return result


def error(*arguments):
    lines = [
        line
        for line in run(*arguments, fails=True).stderr.splitlines()
        if line.startswith("error:")
    ]
    assert len(lines) == 1
    return lines[0]


def contents(folder):
    """Everything below a folder but MDAnalysis' own caches: what files hold, where links point."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if (path.is_symlink() or path.is_file()) and "_offsets." not in path.name
    }


def write_trajectory(folder, n_frames=N_FRAMES, other=range(0), what=("positions", "velocities")):
    """Nine atoms that rattle, as PDB and TRR; `what` of the frames in `other` is of another run."""
    u, again = gas(40), gas(40, seed=7)
    u.atoms.write(str(folder / "gas.pdb"))
    with mda.Writer(str(folder / "gas.trr"), 9) as writer:
        for now, then in zip(u.trajectory[:n_frames], again.trajectory[:n_frames], strict=True):
            for name in what if now.frame in other else ():
                setattr(now, name, getattr(then, name))
            writer.write(u.atoms)
    return folder / "gas.pdb", folder / "gas.trr"


@pytest.fixture
def system(tmp_path):
    """A folder of its own with a trajectory and a model that knows it; the model is untrained."""
    model_file().save(tmp_path / "model.h5")
    topology, trajectory = write_trajectory(tmp_path)
    return [topology, trajectory, "--model", tmp_path / "model.h5"]


def folder_of_the_user(folder):
    (folder / "part-1" / "deep").mkdir(parents=True)
    (folder / "thesis.tex").write_text("years")
    (folder / "part-1" / "block-000000000-0123456789abcdef.h5").write_text("mine")
    (folder / "part-1" / "deep" / "data.csv").write_text("1,2")
    return contents(folder)


class TestFolders:
    """S1: folders are not deleted."""

    @pytest.mark.parametrize("group", ["Na=element Na", "O=element O"])
    def test_a_checkpoint_that_is_a_folder_of_the_users_is_refused(self, system, tmp_path, group):
        before = folder_of_the_user(tmp_path / "mine")
        said = error(
            "flux", *system, "-g", group, "--checkpoint", tmp_path / "mine", "-o", tmp_path / "x.h5"
        )
        assert "not empty" in said and "thesis.tex" in said and "--checkpoint" in said
        assert contents(tmp_path / "mine") == before

    def test_the_working_folder_as_a_checkpoint_is_refused(self, system, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = contents(tmp_path)
        assert "not empty" in error("flux", *system, "--checkpoint", ".", "-o", "x.h5")
        assert contents(tmp_path) == before

    def test_a_folder_that_is_called_as_ours_is_refused_before_the_run(
        self, system, tmp_path, monkeypatch
    ):
        before = folder_of_the_user(tmp_path / "x.unfinished")
        monkeypatch.setattr("mda_aptnn.flux.dipole_flux.DipoleFlux.run", None)
        assert "x.unfinished is not empty" in error("flux", *system, "-o", tmp_path / "x.h5")
        assert contents(tmp_path / "x.unfinished") == before

    def test_what_comes_into_our_folder_stays(self, system, tmp_path):
        run("flux", *system, "--checkpoint", tmp_path / "c", "-o", tmp_path / "y.h5")
        (tmp_path / "c").rename(tmp_path / "x.unfinished")
        part = tmp_path / "x.unfinished" / "part-1"
        (part / "notes.txt").write_text("mine")
        (part / "block-000000099-0123456789abcdef.h5").write_bytes(
            (tmp_path / "model.h5").read_bytes()
        )
        (tmp_path / "x.unfinished" / "part-2").symlink_to(tmp_path / "x.unfinished" / "part-1")
        blocks.remove(tmp_path / "x.unfinished")
        left = sorted(path.name for path in part.iterdir())
        assert left == ["block-000000099-0123456789abcdef.h5", "notes.txt", "plan.json"]
        assert (tmp_path / "x.unfinished" / "part-2").is_symlink()

    def test_an_empty_checkpoint_folder_survives_a_failure(self, system, tmp_path):
        (tmp_path / "c").mkdir()
        error(
            "flux",
            *system,
            "-g",
            "Na=element Na",
            "--checkpoint",
            tmp_path / "c",
            "-o",
            tmp_path / "x.h5",
        )
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
        io.remove(tmp_path / "m.checkpoint.h5", "checkpoint")
        assert (tmp_path / "m.checkpoint.h5").read_text() == "mine"


#: What names a file that is written.
#: Options that are names or files.
NAMES = {"model", "from_model", "teacher"}
OUTPUTS = {"--output", "--csv", "--latex", "--plot", "--plot-spread", "--flux"}


def all_commands():
    """Every command of the command line, with what a user types."""
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        for more, below in getattr(command, "commands", {"": command}).items():
            yield [name, more] if more else [name], below


def reads_and_writes():
    """Every pair of a file that a command reads and one that it writes."""
    for words, command in all_commands():
        hints = inspect.signature(command.callback, eval_str=True).parameters
        paths = [
            p
            for p in command.params
            if p.name in hints and "pathlib.Path" in str(hints[p.name].annotation)
        ]
        written = [p for p in paths if OUTPUTS & set(p.opts)]
        read = [p for p in command.params if (p in paths or p.name in NAMES) and p not in written]
        for one, other in itertools.product(read, written):
            yield pytest.param(
                words, command, one, other, id=f"{' '.join(words)} {one.name} {other.name}"
            )


class TestCampaigns:
    """S8: nothing outside of a campaign is touched, whatever stands in its files."""

    @pytest.fixture
    def campaign(self, tmp_path):
        (tmp_path / "victim").mkdir()
        for name in ("task.json", "zero.inp", "complete.json", "failed.json"):
            (tmp_path / "victim" / name).write_text('{"mine": 1}')
        (tmp_path / "victim" / "running-abcdefgh").mkdir()
        (tmp_path / "victim" / "running-abcdefgh" / "a").write_text("mine")
        return unpack("water-field", tmp_path)

    def tried(self, folder):
        """Everything that works on a campaign."""
        victim = folder.parent / "victim"
        before = contents(victim)
        said = []
        for words in (
            ["run", folder, "--command", "true", "--retry"],
            ["collect", folder, "-o", folder.parent / "x"],
        ):
            result = CliRunner().invoke(app, ["label", *map(str, words)], catch_exceptions=False)
            said.append(result.stderr)
            assert result.exit_code == 1, result.output
            assert contents(victim) == before
        assert (victim / "running-abcdefgh").is_dir()
        return " ".join(said)

    @pytest.mark.parametrize(
        "name", ["../../victim", "..", "0123456789abcdeg", "/tmp", "0123456789abcdef/x", 7, None]
    )
    def test_names_of_tasks_are_hashes(self, campaign, name):
        manifest = json.loads((campaign / "manifest.json").read_text())
        manifest["frames"][0]["tasks"] = [name]
        (campaign / "manifest.json").write_text(json.dumps(manifest))
        assert "no names of tasks" in self.tried(campaign)

    @pytest.mark.parametrize(
        "change",
        [
            lambda task: task["runs"][0].update(name="../../../victim/zero"),
            lambda task: task["inputs"].update({"../../../victim/zero.inp": "0" * 64}),
            lambda task: task["inputs"].update({"..": "0" * 64}),
            lambda task: task.update(name="../../victim"),
            lambda task: task.update(runs=[]),
        ],
    )
    def test_names_in_tasks_are_names(self, campaign, change):
        [path] = campaign.glob("tasks/*/task.json")
        task = json.loads(path.read_text())
        change(task)
        path.write_text(json.dumps(task))
        assert "has a name that is none" in self.tried(campaign)

    def test_links_do_not_lead_out(self, campaign):
        [task] = campaign.glob("tasks/*")
        victim = campaign.parent / "victim"
        (task / "running-abcdefgh").symlink_to(victim)
        for name in ("zero.out", "complete.json"):
            (task / name).unlink(missing_ok=True)
        for name in ("failed.json", ".lock"):
            (task / name).symlink_to(victim / "failed.json")
        self.tried(campaign)
        (task / ".lock").unlink()
        self.tried(campaign)

    @pytest.mark.parametrize("which", ["tasks", "task"])
    def test_folders_are_no_links(self, campaign, which):
        [task] = campaign.glob("tasks/*")
        moved = campaign / "tasks" if which == "tasks" else task
        moved.rename(campaign.parent / "victim" / "moved")
        moved.symlink_to(campaign.parent / "victim" / "moved")
        assert "is a link" in self.tried(campaign)


class TestOutputs:
    """S2: nothing is written over what is read, through links or into what is no file."""

    @pytest.mark.parametrize(("words", "command", "one", "other"), reads_and_writes())
    def test_no_command_writes_over_what_it_reads(self, tmp_path, words, command, one, other):
        (tmp_path / "read").write_text("mine")
        (tmp_path / "more").write_text("other")
        target = tmp_path / "leads"
        target.hardlink_to(tmp_path / "read")
        given = []
        for parameter in command.params:
            value = tmp_path / ("read" if parameter is one else "more")
            if parameter.param_type_name == "argument" and (parameter.required or parameter is one):
                given.append(value)
            elif parameter is one or parameter is other or parameter.required:
                needed = "1-2" if parameter.name == "band" else "1"
                given += [
                    parameter.opts[0],
                    target if parameter is other else value if parameter is one else needed,
                ]
        before = contents(tmp_path)
        said = error(*words, *given)
        assert (
            said
            == f"error: cannot write {target}: it is read as an input; give the output another name"
        )
        assert contents(tmp_path) == before

    @pytest.mark.parametrize(
        ("words", "output"),
        [
            (["predict", "gas.pdb", "gas.trr", "-m", "model.h5"], "gas.trr"),
            (["flux", "gas.pdb", "gas.trr", "-m", "model.h5"], "gas.pdb"),
            (["flux", "gas.pdb", "gas.trr", "-m", "model.h5"], "model.h5"),
            (["flux", "gas.pdb", "gas.trr", "-m", "model.h5"], "link"),
        ],
    )
    def test_as_it_was_seen(self, system, tmp_path, monkeypatch, words, output):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "link").symlink_to("gas.trr")
        before = contents(tmp_path)
        assert "it is read as an input" in error(*words, "-o", output)
        assert contents(tmp_path) == before

    def test_a_link_is_followed_and_stays(self, tmp_path):
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "old").write_text("old")
        (tmp_path / "deep" / "old").chmod(0o640)
        (tmp_path / "link").symlink_to("deep/old")
        (tmp_path / "new").symlink_to("deep/fresh")
        for name in ("link", "new"):
            with io.replacing(tmp_path / name) as temporary:
                temporary.write_text("written")
            assert (tmp_path / name).is_symlink()
        assert (
            (tmp_path / "deep" / "old").read_text()
            == (tmp_path / "deep" / "fresh").read_text()
            == "written"
        )
        assert (tmp_path / "deep" / "old").stat().st_mode & 0o777 == 0o640
        assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["fresh", "old"]

    def test_devices_pipes_sockets_and_folders_are_refused(self, tmp_path, monkeypatch):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "folder").mkdir()
        (tmp_path / "loop").symlink_to("loop")
        (tmp_path / "null").symlink_to("/dev/null")
        with socket.socket(socket.AF_UNIX) as listening:
            monkeypatch.chdir(tmp_path)  # names of sockets are short
            listening.bind("socket")
            for name in ("pipe", "folder", "loop", "null", "socket", "/dev/null"):
                with pytest.raises(OSError, match="cannot write"):
                    io.check_writable(tmp_path / name)
        assert Path("/dev/null").is_char_device()

    def test_a_file_that_may_not_be_written_is_refused(self, tmp_path, monkeypatch):
        (tmp_path / "x").write_text("mine")
        monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
        with pytest.raises(PermissionError, match="protected against writing"):
            io.check_writable(tmp_path / "x")

    def test_objects_of_python_know_what_they_read(self, system, tmp_path):
        topology, trajectory = system[:2]
        u = mda.Universe(str(topology), str(trajectory))
        series = DipoleFlux(u, KnownTensors(random_tensors(9))).run().series
        for path in (topology, trajectory):
            with pytest.raises(FileExistsError, match="read as an input"):
                series.save(path)
        series.save(tmp_path / "flux.h5")
        spectrum = FluxSeries.load(tmp_path / "flux.h5").spectrum(resolution="6000 cm^-1")
        for write in (spectrum.save, spectrum.to_csv, lambda path: write_xyz(clusters(1), path)):
            with pytest.raises(FileExistsError, match="read as an input"):
                write(tmp_path / "flux.h5")
        # read, changed, and written back
        FluxSeries.load(tmp_path / "flux.h5").save(tmp_path / "flux.h5")
        spectrum.save(tmp_path / "spectrum.h5")
        Spectrum.load(tmp_path / "spectrum.h5")


class TestWriting:
    """S6 and S9: a file is on the disk before it has its name, and nothing is left of one that a
    kill cut off.
    """

    def test_file_and_folder_are_on_the_disk(self, tmp_path, monkeypatch):
        done = []

        def name_of(handle):
            return os.readlink(f"/proc/self/fd/{handle}")

        monkeypatch.setattr(os, "fsync", lambda handle: done.append(name_of(handle)))
        replace = os.replace
        monkeypatch.setattr(os, "replace", lambda a, b: (done.append("named"), replace(a, b)))
        with io.create(tmp_path / "x.h5", "flux") as file:
            file["x"] = 1.0
        assert len(done) == 3 and done[1:] == ["named", str(tmp_path)]
        assert done[0].startswith(str(tmp_path / ".x.h5.")) and done[0].endswith(".h5")

    @pytest.mark.parametrize("name", ["x.h5", "s.png", "a.b.csv", "plain", ".hidden"])
    def test_what_a_killed_process_was_writing_is_swept_by_the_next(self, tmp_path, name):
        def killed():
            with io.replacing(tmp_path / name) as temporary:
                temporary.write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)

        mine = [
            ".x.h5.abcdefgh.h5",
            f".{name}.mda-aptnn-notes",
            ".other.h5.mda-aptnn-abcdefgh.h5",
            f"{name}.part",
        ]
        for other in mine:
            (tmp_path / other).write_text("mine")
        (tmp_path / f".{name}.mda-aptnn-12345678").symlink_to("nowhere")
        process = multiprocessing.get_context("fork").Process(target=killed)
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert len(list(tmp_path.iterdir())) == len(mine) + 2, "a test of something"
        io.check_writable(tmp_path / name)
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == sorted([*mine, f".{name}.mda-aptnn-12345678"])

    def test_what_a_living_process_writes_is_not_swept(self, tmp_path):
        with io.replacing(tmp_path / "x.h5") as one:
            one.write_text("one")
            with io.replacing(tmp_path / "x.h5") as other:
                other.write_text("other")
            assert one.read_text() == "one"
            assert (tmp_path / "x.h5").read_text() == "other"
        assert (tmp_path / "x.h5").read_text() == "one"
        assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]


def holding(file, ready):
    """A process that has a lock until it is killed; forks a child that outlives it."""
    with folders.locked(file) as free:
        assert free
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        ready.set()
        time.sleep(60)


@pytest.fixture
def other_process():
    """Starts a process that holds a lock, and kills it at the end."""
    context = multiprocessing.get_context("fork")
    processes = []

    def start(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        ready = context.Event()
        processes.append(context.Process(target=holding, args=(file, ready)))
        processes[-1].start()
        assert ready.wait(30)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.join()


class TestLocks:
    """S5: one run at a time fills a folder, and a dead one does not block it."""

    @pytest.mark.parametrize("checkpoint", [True, False])
    def test_the_second_run_is_refused_and_goes_on_when_the_first_is_killed(
        self, system, tmp_path, other_process, checkpoint
    ):
        folder = tmp_path / ("c" if checkpoint else "x.unfinished")
        command = [
            "flux",
            *system,
            "-o",
            tmp_path / "x.h5",
            *(["--checkpoint", folder] if checkpoint else []),
        ]
        first = other_process(folder / folders.LOCK)
        said = error(*command)
        assert "another process is at work" in said and folder.name in said
        assert [path.name for path in folder.iterdir()] == [folders.LOCK]
        first.kill()
        first.join()
        run(*command)
        assert FluxSeries.load(tmp_path / "x.h5").groups == ["all"]
        assert folder.exists() == checkpoint and not (folder / folders.LOCK).exists()

    def test_campaigns_loops_and_trainings_have_one_each(self, tmp_path, other_process):
        (tmp_path / "a").mkdir()
        other_process(tmp_path / "a" / folders.LOCK)
        with pytest.raises(BusyError, match="the campaign"):
            plan(tmp_path / "a", [], None, None)
        (tmp_path / "m.checkpoint.lock").touch()  # of a dead one
        config = TrainingConfig(steps=1, validate_every=1)
        fit(clusters(2), NETWORK, config, tmp_path / "m.h5")
        other_process(tmp_path / "m.checkpoint.lock")
        with pytest.raises(BusyError, match=r"the training of .*m\.h5"):
            fit(clusters(2), NETWORK, config, tmp_path / "m.h5")

    def test_a_lock_is_freed_after_an_error_and_leaves_nothing(self, tmp_path):
        for _ in range(2):
            with pytest.raises(ValueError, match="x"), folders.reserved(tmp_path / "l", "it"):
                raise ValueError("x")
        with folders.locked(tmp_path / "l") as one, folders.locked(tmp_path / "l") as other:
            assert one and not other
        assert not list(tmp_path.iterdir())

    def test_a_link_in_the_place_of_a_lock_is_not_followed(self, tmp_path):
        (tmp_path / "mine").write_text("mine")
        (tmp_path / "l").symlink_to("mine")
        with pytest.raises(OSError), folders.locked(tmp_path / "l"):
            pass
        assert (tmp_path / "mine").read_text() == "mine"


class Counting(KnownTensors):
    """Which frames were predicted, the one of the constructor's look aside."""

    def __init__(self):
        super().__init__(random_tensors(9), slope=0.5)
        self.count = -1

    def predict(self, frame):
        self.count += 1
        return super().predict(frame)


class TestFingerprints:
    """S3: a checkpoint is of the frames that the trajectory has, not of those that it had."""

    @pytest.mark.parametrize(
        ("other", "what", "predicted"),
        [
            (range(1, 12), ("positions", "velocities"), 11),  # run again from the same first frame
            (range(1, 12), ("velocities",), 11),
            (range(1, 12), ("positions",), 11),
            (range(7, 12), ("positions", "velocities"), 5),  # run again from a restart
            (range(4, 6), ("positions", "velocities"), 2),  # a piece in the middle was replaced
            (range(0), (), 0),  # copied
        ],
    )
    def test_a_trajectory_that_was_run_again_does_not_mix(self, tmp_path, other, what, predicted):
        def flux():
            model = Counting()
            found = DipoleFlux(
                mda.Universe(*map(str, files)), model, checkpoint=tmp_path / "c"
            ).run()
            return found.series.flux, model.count

        files = write_trajectory(tmp_path)
        flux()
        files = write_trajectory(tmp_path, other=other, what=what)
        found, count = flux()
        expected = DipoleFlux(mda.Universe(*map(str, files)), Counting()).run().series.flux
        assert (found == expected).all()
        assert count == predicted
        assert flux()[1] == 0, "and once more"

    def test_nor_where_size_and_time_are_the_same(self, tmp_path):
        topology, trajectory = write_trajectory(tmp_path)
        DipoleFlux(
            mda.Universe(str(topology), str(trajectory)), Counting(), checkpoint=tmp_path / "c"
        ).run()
        before = trajectory.stat()
        write_trajectory(tmp_path, other=range(3, 12))
        os.utime(trajectory, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert trajectory.stat().st_size == before.st_size
        model = Counting()
        DipoleFlux(
            mda.Universe(str(topology), str(trajectory)), model, checkpoint=tmp_path / "c"
        ).run()
        assert model.count == 9

    def test_a_trajectory_that_became_longer_goes_on(self, tmp_path):
        for n_frames, backend in (
            (8, {}),
            (12, {}),
            (30, {"backend": "multiprocessing", "n_workers": 2}),
        ):
            files = list(map(str, write_trajectory(tmp_path, n_frames)))
            model = Counting()
            found = DipoleFlux(mda.Universe(*files), model, checkpoint=tmp_path / "c").run(
                **backend
            )
            assert (
                found.series.flux == DipoleFlux(mda.Universe(*files), Counting()).run().series.flux
            ).all()
            if not backend:
                assert model.count == {8: 8, 12: 4}[n_frames]

    def test_nor_where_no_checkpoint_was_asked_for(self, system, tmp_path):
        run("flux", *system, "--checkpoint", tmp_path / "x.unfinished", "-o", tmp_path / "y.h5")
        write_trajectory(tmp_path, other=range(1, 12))
        run("flux", *system, "-o", tmp_path / "x.h5")
        run("flux", *system, "--checkpoint", tmp_path / "c", "-o", tmp_path / "z.h5")
        old, found, expected = (FluxSeries.load(tmp_path / f"{name}.h5").flux for name in "yxz")
        assert (found == expected).all() and abs(old - expected).max() > 1e-3
        assert not (tmp_path / "x.unfinished").exists()


class Slow(KnownTensors):
    """Takes its time; kills its process after some frames, or says that it has begun."""

    def __init__(self, begun=None, left=1000):
        super().__init__(random_tensors(9), slope=0.5)
        self.begun, self.left = begun, left

    def predict(self, frame):
        if self.begun is not None:
            time.sleep(0.02)
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.begun is not None and self.left < 995:
            self.begun.touch()
        return super().predict(frame)


Slow.__name__ = "KnownTensors"  # the plan names the class


def rows(folder):
    found = [io.open_checked(path, "block") for path in folder.glob("block-*.h5")]
    frames = []
    for block in found:
        with block as file:
            frames += io.read_array(file, "frames").tolist()
    return sorted(frames)


class TestWorkers:
    """S4: a worker that is killed ends the run, and so does a signal; what is computed is kept."""

    @pytest.fixture
    def expected(self):
        return DipoleFlux(gas(), Slow(), **READING).run().series.flux

    def test_a_killed_worker_ends_the_run_and_what_is_computed_is_kept(self, tmp_path, expected):
        # of each part of 10 frames, nine are done, and the others of the worker that is not killed
        dying = DipoleFlux(gas(), Slow(left=10), checkpoint=tmp_path / "c", **READING)
        with pytest.raises(WorkerError, match=r"was killed.*kept in .*c, and used then"):
            dying.run(backend="multiprocessing", n_workers=2, n_parts=4)
        found = DipoleFlux(gas(), Slow(), checkpoint=tmp_path / "c", **READING).run().series.flux
        assert (found == expected).all()

    def test_the_others_write_what_they_have(self, tmp_path):
        begun = tmp_path / "begun"
        process = multiprocessing.get_context("fork").Process(
            target=lambda: DipoleFlux(gas(), Slow(begun), checkpoint=tmp_path / "c", **READING).run(
                backend="multiprocessing", n_workers=2, n_parts=2
            )
        )
        process.start()
        await_file(begun)
        workers = children(process.pid)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        process.join(30)
        assert process.exitcode == 1
        # of the other one, all that it did
        assert len(rows(tmp_path / "c")) >= 4

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_a_signal_ends_the_run_and_its_workers(self, tmp_path, number, expected):
        begun = tmp_path / "begun"
        process = multiprocessing.get_context("fork").Process(
            target=lambda: DipoleFlux(gas(), Slow(begun), checkpoint=tmp_path / "c", **READING).run(
                backend="multiprocessing", n_workers=2, n_parts=2
            )
        )
        process.start()
        await_file(begun)
        workers = children(process.pid)
        os.kill(process.pid, number)
        process.join(30)
        assert process.exitcode not in (None, 0)
        for _ in range(100):
            if not any(Path(f"/proc/{worker}").exists() for worker in workers):
                break
            time.sleep(0.1)
        assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
        assert len(rows(tmp_path / "c")) >= 8
        found = DipoleFlux(gas(), Slow(), checkpoint=tmp_path / "c", **READING).run().series.flux
        assert (found == expected).all()


class TestSignals:
    """SIGTERM and a closed terminal are met as Ctrl-C; the message says whether the same command
    goes on.
    """

    @staticmethod
    def start(tmp_path, *words, begun=None):
        """A command in a process of its own, that is slow after it has made `begun`."""

        def command():
            os.setsid()
            predict = Model.check

            def slowly(self, frame):
                if begun is not None:
                    with open(begun, "a") as file:
                        file.write("x")
                    time.sleep(0.05)
                predict(self, frame)

            Model.check = slowly
            os.dup2(os.open(tmp_path / "said", os.O_CREAT | os.O_WRONLY), 2)
            sys.stderr = os.fdopen(2, "w")
            app([str(word) for word in words])

        process = multiprocessing.get_context("fork").Process(target=command)
        process.start()
        return process

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    @pytest.mark.parametrize("workers", [1, 2])
    def test_what_is_computed_is_written(self, system, tmp_path, number, workers):
        begun = tmp_path / "begun"
        process = self.start(
            tmp_path, "flux", *system, "-o", tmp_path / "x.h5", "--workers", workers, begun=begun
        )
        while not begun.exists() or begun.stat().st_size < 5:
            time.sleep(0.02)
            assert process.is_alive()
        os.kill(process.pid, number)
        process.join(60)
        assert process.exitcode == 128 + number
        assert (tmp_path / "said").read_text().splitlines()[-1] == (
            "interrupted: what is finished is kept; the same command goes on from there"
        )
        assert rows(tmp_path / "x.unfinished" / "part-1")
        run("flux", *system, "-o", tmp_path / "x.h5")
        run("flux", *system, "-o", tmp_path / "y.h5")
        found, expected = (FluxSeries.load(tmp_path / f"{name}.h5").flux for name in "xy")
        assert (found == expected).all()
        assert not (tmp_path / "x.unfinished").exists()

    def test_a_command_that_begins_anew_says_so(self, system, tmp_path):
        process = self.start(
            tmp_path, "predict", *system, "-o", tmp_path / "x.h5", begun=tmp_path / "begun"
        )
        await_file(tmp_path / "begun")
        os.kill(process.pid, signal.SIGTERM)
        process.join(60)
        assert process.exitcode == 143
        assert (tmp_path / "said").read_text().splitlines()[
            -1
        ] == "interrupted: the same command begins anew"
        assert not list(tmp_path.glob("*x.h5*"))

    @pytest.mark.slow
    def test_a_lost_dask_scheduler_is_told_in_one_line(self, tmp_path):
        pytest.importorskip("distributed")
        folder = unpack("water-field", tmp_path)
        for path in folder.glob("tasks/*/*"):
            if path.name == "complete.json" or path.suffix == ".out":
                path.unlink()
        address = tmp_path / "scheduler.json"
        options = ["--scheduler-file", address, "--no-dashboard"]
        kinds = {"dask_scheduler": ["--port", "0"], "dask_worker": ["--no-nanny"]}
        cluster = []
        try:
            for kind, more in kinds.items():
                words = [sys.executable, "-m", f"distributed.cli.{kind}", *options, *more]
                cluster.append(
                    subprocess.Popen(list(map(str, words)), stderr=subprocess.DEVNULL, cwd=tmp_path)
                )
                await_file(address, 120)
            words = [
                sys.executable,
                "-m",
                "mda_aptnn.cli",
                "label",
                "run",
                folder,
                "--dask",
                address,
            ]
            words += ["--command", "sh -c 'touch ../../../begun; sleep 60'"]
            command = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True)
            await_file(folder / "begun", 120)
            cluster[0].kill()
            said = command.communicate(timeout=60)[1]
        finally:
            for process in cluster:
                process.kill()
                process.wait()
        assert command.returncode == 1
        assert "Traceback" not in said
        assert "error: the Dask scheduler at" in said and "was lost" in said


def await_file(path, seconds=30):
    for _ in range(20 * seconds):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(path)


def children(process):
    return [
        int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]
