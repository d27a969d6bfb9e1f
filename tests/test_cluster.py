"""Many machines: workers of Dask, and parts of a run by the elements of a job array."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mda_aptnn import cluster
from mda_aptnn.errors import WorkerError
from mda_aptnn.flux.backends import Dask
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.labels.dataset import read_labels
from tests.systems import KnownTensors, gas, random_tensors
from tests.test_nothing_is_lost import READING, await_file, error, run, write_trajectory
from tests.tiny import model_file

distributed = pytest.importorskip("distributed")


@pytest.fixture
def system(tmp_path, monkeypatch):
    """The working folder, with a trajectory and a model that knows it, named as a user would."""
    monkeypatch.chdir(tmp_path)
    model_file().save("model.h5")
    write_trajectory(tmp_path, 40)
    return ["gas.pdb", "gas.trr", "--model", "model.h5", "-g", "O=element O"]


def same(found, expected):
    """Every array and everything that is said, to the last bit."""
    assert found.arrays().keys() == expected.arrays().keys()
    for name, values in expected.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], values, err_msg=name)
    for name in ("groups", "starts", "spacing", "finite_difference", "info", "labels"):
        assert getattr(found, name) == getattr(expected, name), name


@pytest.fixture
def workers():
    """The address of a scheduler whose two workers are threads of this process."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        dashboard_address=None,
    ) as found:
        yield found.scheduler_address


class TestDask:
    def test_results_are_those_of_one_process(self, workers, system):
        """Of commands, and from Python with a predictor of one's own and every atom's flux."""
        for command in ("flux", "predict"):
            words = system[:4] if command == "predict" else system
            one, many = (Path(f"{command}-{name}.h5") for name in ("one", "many"))
            run(command, *words, "-o", one)
            run(command, *words, "-o", many, "--dask", workers)
            if command == "flux":
                same(FluxSeries.load(many), FluxSeries.load(one))
                continue
            for found, expected in zip(read_labels(many), read_labels(one), strict=True):
                np.testing.assert_array_equal(found.apt, expected.apt)
                assert found.info == expected.info
        assert not list(Path.cwd().glob("*.unfinished"))
        model = KnownTensors(random_tensors(9))
        how = {"per": "atom", **READING}
        one, many = (DipoleFlux(gas(40), model, **how) for _ in range(2))
        one.run().save("atoms-one.h5")
        many.run(backend=Dask(scheduler=workers)).save("atoms-many.h5")
        same(many.series, one.series)

    def test_a_file_that_workers_do_not_see_is_named(self, tmp_path):
        (tmp_path / "a.trr").write_text("content")
        state = cluster.states([tmp_path / "a.trr", tmp_path, "no file", KnownTensors])
        assert list(state) == [str(tmp_path / "a.trr")]
        work = pickle.dumps(len)
        assert pickle.loads(cluster.compute("/nowhere", state, work, "abc")) == 3
        (tmp_path / "a.trr").write_text("content of another run")
        with pytest.raises(WorkerError, match=r"sees another file .*a\.trr: workers need the same"):
            cluster.compute("/nowhere", state, work, "abc")
        (tmp_path / "a.trr").unlink()
        with pytest.raises(WorkerError, match=r"sees no file .*a\.trr"):
            cluster.compute("/nowhere", state, work, "abc")

    def test_a_file_that_only_the_client_sees(self, workers, system, monkeypatch):
        """It is asked for here first, and by the workers then."""
        states, here = cluster.states, [{"/client/only.trr": (1, 2)}]
        monkeypatch.setattr(
            cluster, "states", lambda files: states(files) | (here.pop() if here else {})
        )
        said = error("flux", *system, "--dask", workers)
        assert "sees no file /client/only.trr" in said and "share" in said

    def test_a_scheduler_that_does_not_answer_is_told_within_ten_seconds(self, system):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
            begun = time.monotonic()
            said = error("flux", *system, "--dask", address)
            assert time.monotonic() - begun < 10
        assert f"no Dask scheduler answers at {address}" in said

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--dask", "scheduler.json"], "there is no such scheduler file"),
            (["--dask", "gas.pdb"], "gas.pdb is no scheduler file of Dask"),
            (["--dask", "tcp://h:1", "--workers", 2], "has workers of its own"),
        ],
    )
    def test_what_is_no_scheduler(self, system, words, said):
        for command in ("flux", "spectrum"):
            assert said in error(command, *system, *words)
        assert said in error("predict", *system[:4], *words)

    def test_a_worker_is_no_scheduler(self, workers, system):
        with distributed.Client(workers) as client:
            address = next(iter(client.nthreads()))
        assert f"at {address} a Dask worker answers" in error("flux", *system, "--dask", address)

    def test_waiting_for_workers_is_said_and_ends(self, system, monkeypatch, caplog):
        monkeypatch.setattr(cluster, "_POLL", 0.1)
        monkeypatch.setattr(cluster, "_PATIENCE", 0.3)
        with distributed.LocalCluster(
            n_workers=0, processes=False, protocol="tcp://", dashboard_address=None
        ) as empty:
            address = empty.scheduler_address
            said = error("flux", *system, "-o", "x.h5", "--dask", address)
        assert f"the Dask scheduler at {address} has no workers" in said
        assert f"dask worker {address}" in said and "kept in x.unfinished" in said
        assert "waiting for one, up to" in caplog.text

    def test_other_versions_are_said(self, workers, caplog):
        with cluster.connected(workers) as client:
            versions = client.get_versions(packages=cluster._PACKAGES)
        cluster._compare(versions)
        assert not caplog.records
        there = next(iter(versions["workers"].values()))["packages"]
        there["torch"] = "1.0"
        cluster._compare(versions)
        [record] = caplog.records
        here = versions["client"]["packages"]
        assert f"torch {here['torch']} here, 1.0 there" in record.getMessage()
        there["mda-aptnn"] = "0.0.1"
        with pytest.raises(WorkerError, match=r"mda-aptnn .* here, 0\.0\.1 there.*install"):
            cluster._compare(versions)


@contextlib.contextmanager
def started(folder):
    """A scheduler and two workers as a user starts them."""
    file = folder / "scheduler.json"
    options = ["--scheduler-file", str(file)]
    kinds = [("scheduler", ["--port", "0", "--no-dashboard"])]
    kinds += 2 * [("worker", ["--nthreads", "1", "--no-nanny", "--no-dashboard"])]
    processes = []
    try:
        for kind, more in kinds:
            words = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options, *more]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            processes.append(
                subprocess.Popen(words, stderr=subprocess.DEVNULL, cwd=folder, env=environment)
            )
            await_file(file, 120)
        with distributed.Client(scheduler_file=str(file), timeout=120) as client:
            client.wait_for_workers(2, timeout=120)
            pids = client.run(os.getpid)
        assert set(pids.values()) == {process.pid for process in processes[1:]}
        yield file, *processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def lose(process, *words):
    """Kill a process when a command has finished some of its 16 parts; how the command ends."""
    words = [sys.executable, "-m", "mda_aptnn.cli", *map(str, words)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as command:
        blocks = []
        while not blocks:
            assert command.poll() is None, command.stderr.read()
            time.sleep(0.01)
            blocks = list(Path.cwd().glob("*.unfinished/part-1/block-*.h5"))
        process.kill()
        assert len(blocks) < 12
        said = command.communicate(timeout=120)[1]
    return command.returncode, said


@pytest.fixture
def long_system(system, tmp_path):
    """A trajectory that takes workers some seconds."""
    u = gas(1000)
    u.atoms.write(str(tmp_path / "gas.trr"), frames="all")
    return system


@pytest.mark.slow
def test_a_killed_worker_changes_no_bit(long_system, tmp_path):
    run("flux", *long_system, "-o", "one.h5")
    with started(tmp_path) as (file, _, _, worker):
        code, said = lose(worker, "flux", *long_system, "-o", "many.h5", "--dask", file)
    assert code == 0, said
    same(FluxSeries.load("many.h5"), FluxSeries.load("one.h5"))


@pytest.mark.slow
def test_a_lost_scheduler_is_one_line_and_the_same_command_goes_on(long_system, tmp_path, caplog):
    with started(tmp_path) as (file, scheduler, *_):
        code, said = lose(scheduler, "flux", *long_system, "-o", "many.h5", "--dask", file)
    assert code == 1
    assert "Traceback" not in said
    [line] = [line for line in said.splitlines() if "error:" in line]
    assert "was lost" in line and "kept in many.unfinished" in line
    caplog.set_level("INFO")
    run("flux", *long_system, "-o", "many.h5")
    assert "of 1000 frames are in many.unfinished" in caplog.text
    run("flux", *long_system, "-o", "one.h5")
    same(FluxSeries.load("many.h5"), FluxSeries.load("one.h5"))


@pytest.mark.slow
def test_a_local_cluster(system):
    run("flux", *system, "-o", "one.h5")
    run("flux", *system, "-o", "many.h5", "--dask", "local", "--workers", 2)
    same(FluxSeries.load("many.h5"), FluxSeries.load("one.h5"))


class TestParts:
    """``flux --part`` and ``merge``."""

    @pytest.mark.parametrize(
        "more",
        [
            [],
            ["--velocities", "finite-difference", "--no-check-temperature"],
            ["--frames", "3:36:2"],
        ],
    )
    def test_parts_merge_to_the_whole(self, system, more):
        run("flux", *system, *more, "-o", "whole.h5")
        for number in (2, 3, 1):
            run("flux", *system, *more, "--part", f"{number}/3", "-o", "x.h5")
        parts = [f"x-{number}of3.h5" for number in (1, 2, 3)]
        assert not Path("x.h5").exists()
        notes = FluxSeries.load(parts[1]).info["notes"]
        assert any(note.startswith("part 2 of 3 of a run") for note in notes)
        run("merge", parts[2], *parts[:2], "-o", "merged.h5")
        whole = FluxSeries.load("whole.h5")
        same(FluxSeries.load("merged.h5"), whole)
        # any command that takes a flux takes the parts of it
        options = ["--resolution", "3000 cm^-1", "-T", "300 K"]
        for name, files in (("a", ["whole.h5"]), ("b", parts)):
            run("spectrum", *files, *options, "-o", f"{name}.h5", "--csv", f"{name}.csv")
        assert Path("a.csv").read_text() == Path("b.csv").read_text()

    def test_a_join_of_two_series_stays_one(self, tmp_path):
        """Arrays of two files in one Universe, whose times do not continue, cut beside the join."""
        first, again = (gas(20, seed=seed) for seed in (0, 7))
        for name, u in (("a.trr", first), ("b.trr", again)):
            u.atoms.write(str(tmp_path / name), frames="all")
        first.load_new([str(tmp_path / name) for name in ("a.trr", "b.trr")])
        model = KnownTensors(random_tensors(9))

        def flux(**options):
            return DipoleFlux(first, model).run(**options).series

        whole = flux()
        assert whole.starts == [0, 20]
        for count in (2, 3):
            same(FluxSeries.merge([flux(part=(k, count)) for k in range(1, count + 1)]), whole)
        # other divisions, if they fit
        same(FluxSeries.merge([flux(part=k) for k in ((1, 2), (3, 4), (4, 4))]), whole)

    def test_a_jump_at_a_seam_is_refused_as_in_one_go(self):
        u = gas(40)
        for ts in u.trajectory[20:]:
            ts.positions[:] = ts.positions + np.array([3.0, 0, 0]) * (np.arange(9) < 3)[:, None]
        with pytest.raises(ValueError) as whole:
            DipoleFlux(u, KnownTensors(random_tensors(9)), **READING).run()
        with pytest.raises(ValueError) as part:
            DipoleFlux(u, KnownTensors(random_tensors(9)), **READING).run(part=(2, 2))
        assert str(whole.value) == str(part.value)

    def test_parts_that_do_not_fit_are_refused_by_name(self, system):
        for number in (1, 2, 3):
            run("flux", *system, "--part", f"{number}/3", "-o", "x.h5")
        run("flux", *system, "--part", "2/4", "-o", "x.h5")
        run("flux", *system, "--part", "2/3", "--sum-rule", "mass", "-o", "rule.h5")
        run("flux", *system[:4], "--part", "2/3", "-o", "groups.h5")
        model = Path("model.h5").rename("first.h5")
        model_file(seed=1).save("model.h5")
        run("flux", *system, "--part", "2/3", "-o", "other.h5")
        model.rename("model.h5")
        write_trajectory(Path.cwd(), 40, other=range(30, 40))
        run("flux", *system, "--part", "2/3", "-o", "again.h5")
        run("flux", *system, "-o", "whole.h5")
        one, two, three = (f"x-{number}of3.h5" for number in (1, 2, 3))

        def said(*files):
            return error("merge", *files, "-o", "merged.h5")

        assert "frames 14 to 26 of the 40 of the run" in said(one, three)
        assert "give --part 2/3 too" in said(one, three)
        assert "give --part 3/3 too" in said(one, two)
        assert "give --part 1/3 too" in said(two, three)
        assert f"{two} and {two} overlap" in said(one, two, two, three)
        assert f"{one} and x-2of4.h5 overlap" in said(one, "x-2of4.h5", three)
        for name, differs in (
            ("rule", "sum_rule"),
            ("other", "model"),
            ("again", "last frame"),
            ("groups", "selections, atoms"),
        ):
            line = said(one, f"{name}-2of3.h5", three)
            assert f"{name}-2of3.h5 is a part of another run than {one}" in line
            assert f"differ in {differs}" in line
        assert "whole.h5 is no part of a run" in said(one, "whole.h5")
        assert "whole.h5 has the same flux as whole.h5" in said("whole.h5", "whole.h5")
        assert "two or more" in said(one)
        assert not Path("merged.h5").exists()

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--part", "4/3"], "write NUMBER/COUNT"),
            (["--part", "3"], "write NUMBER/COUNT"),
            (["--part", "1/21"], "40 frames make up to 20 parts"),
            (["gas.trr", "--part", "1/2"], "one trajectory at a time"),
        ],
    )
    def test_what_is_no_part(self, system, words, said):
        assert said in error("flux", *system, *words)

    def test_parts_with_every_atom(self, system):
        """They stand in the place of the trajectory, and are not merged into one file."""
        atoms = [*system[:4], "--per", "atom"]
        run("flux", *atoms, "-o", "whole.h5")
        for number in (1, 2):
            run("flux", *atoms, "--part", f"{number}/2", "-o", "x.h5")
        parts = ["x-1of2.h5", "x-2of2.h5"]
        for files, name in ((["whole.h5"], "one"), (parts, "many")):
            run("flux", "gas.pdb", *files, "-g", "O=element O", "-o", f"{name}.h5")
        same(FluxSeries.load("many.h5"), FluxSeries.load("one.h5"))
        assert "x-1of2.h5 has every atom's flux" in error("merge", *parts)
