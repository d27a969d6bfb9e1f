import bz2
import gzip
import multiprocessing
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.coordinates.XYZ import XYZReader
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.errors import FileFormatError
from mda_aptnn.trajectory import xyz_frames
from mda_aptnn.trajectory.cp2k import CP2KReader
from mda_aptnn.trajectory.cp2k_moments import read_moments
from mda_aptnn.trajectory.universe_frames import UniverseFrames
from mda_aptnn.trajectory.xyz_frames import XYZFrames, check_packed
from tests import trajectory_files as files

#: CODATA: bohr in Å over the atomic unit of time in ps.
ATOMIC_VELOCITY = 0.529177210903 / 2.4188843265857e-5


def read(path, **options):
    return MDAnalysis.Universe(str(path), format="CP2K", **options)


def write_pair(folder, steps, velocity_steps=None, symbols="OHH", velocity_symbols=None):
    """Positions of which the first is 0.01 times the step, velocities of which the first is the
    step in a.u./1e4.
    """
    velocity_steps = steps if velocity_steps is None else velocity_steps
    base = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    positions = [base + 0.01 * step for step in steps]
    velocities = [base / 1e3 + step / 1e4 for step in velocity_steps]
    files.write_xyz(
        velocity_symbols or symbols,
        velocities,
        velocity_steps,
        np.multiply(velocity_steps, 0.5),
        folder / "w-vel-1.xyz",
    )
    return files.write_xyz(
        symbols, positions, steps, np.multiply(steps, 0.5), folder / "w-pos-1.xyz"
    )


class TestReading:
    def test_units_times_elements(self, tmp_path):
        sample = files.triclinic_water()
        universe = read(files.write_cp2k(sample, tmp_path))
        assert universe.trajectory.n_frames == 5
        assert list(universe.atoms.elements) == sample.symbols
        assert_allclose(universe.atoms.masses[:2], [15.999, 1.008])
        for k, ts in enumerate(universe.trajectory):
            assert ts.time == pytest.approx(0.002 * k) and ts.data["step"] == 4 * k
            assert_allclose(ts.positions, sample.positions[k], atol=1e-6)
            assert_allclose(ts.velocities, sample.velocities[k], atol=1e-5)
            assert_allclose(ts.data["cell"], sample.cells[k], atol=1e-9)
            assert_allclose(ts.triclinic_dimensions, sample.cells[k], atol=1e-5)
        assert universe.trajectory.dt == pytest.approx(0.002)
        assert universe.trajectory.units["velocity"] == "Angstrom/ps"

    def test_factor_of_velocities(self, tmp_path):
        universe = read(write_pair(tmp_path, [0, 1, 2]))
        universe.trajectory[2]
        assert_allclose(universe.atoms.velocities[0], 2e-4 * ATOMIC_VELOCITY, rtol=1e-6)

    def test_cell_turned_against_the_axes(self, tmp_path):
        # CP2K's A, B, C may point anywhere; lengths and angles would turn the cell but not the
        # positions
        cell = np.array([[6.2, 0.3, 0.1], [0.2, 6.2, 0.2], [0.1, 0.4, 6.4]])
        path = write_pair(tmp_path, [0, 1])
        files.write_cells([cell, 1.01 * cell], [0, 1], [0, 0.5], tmp_path / "w-1.cell")
        universe = read(path)
        frames = UniverseFrames(universe, check_temperature=False)
        for k in range(2):
            universe.trajectory[k]
            assert_allclose(frames.frame().cell, (1 + 0.01 * k) * cell, atol=1e-9)

    @pytest.mark.parametrize(
        "cell", ["12 13 14", "12 13 14 90 90 90", [12, 13, 14], np.diag([12.0, 13, 14])]
    )
    def test_given_cell(self, cell, tmp_path):
        universe = read(write_pair(tmp_path, [0, 1]), cell=cell)
        assert_allclose(universe.dimensions, [12, 13, 14, 90, 90, 90])
        assert_allclose(universe.trajectory[1].data["cell"], np.diag([12, 13, 14]))

    def test_names_that_are_not_cp2ks(self, tmp_path):
        path = write_pair(tmp_path, [0, 1, 2])
        cells = files.write_cells(
            [np.diag([9.0, 9, 9])] * 3, [0, 1, 2], [0, 0.5, 1], tmp_path / "cells.txt"
        )
        path = path.rename(tmp_path / "x.xyz")
        velocities = (tmp_path / "w-vel-1.xyz").rename(tmp_path / "v.xyz")
        assert not read(path).trajectory.ts.has_velocities
        universe = read(path, velocities=velocities, cell=str(cells))
        assert universe.trajectory.ts.has_velocities
        assert_allclose(universe.dimensions[:3], 9)

    def test_other_units_in_the_file(self, tmp_path):
        path = write_pair(tmp_path, [0, 1])
        universe = read(path, length_unit="bohr", velocity_unit="angstrom/fs")
        assert_allclose(universe.atoms.positions[1, 0], 0.96 * 0.529177210903, rtol=1e-6)
        assert_allclose(universe.atoms.velocities[1, 0], 0.96e-3 * 1000, rtol=1e-6)

    def test_unit_said_to_the_frames_is_that_of_the_file(self, tmp_path):
        frames = UniverseFrames(
            read(files.write_cp2k(files.water(2), tmp_path)), velocity_unit=files.CP2K_UNIT
        )
        assert_allclose(frames.velocities(), files.water(2).velocities[0], atol=1e-5)

    def test_recognized_by_name_and_content(self, tmp_path):
        path = write_pair(tmp_path, [0, 1])
        assert isinstance(MDAnalysis.Universe(str(path)).trajectory, CP2KReader)
        other = tmp_path / "other-pos-1.xyz"
        other.write_text("1\ncomment\nH 0 0 0\n")
        assert isinstance(MDAnalysis.Universe(str(other)).trajectory, XYZReader)

    @pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".bz2", bz2.open)])
    def test_compressed(self, suffix, opener, tmp_path):
        write_pair(tmp_path, [0, 1, 2])
        plain = read(tmp_path / "w-pos-1.xyz")
        expected = [(ts.positions.copy(), ts.velocities.copy()) for ts in plain.trajectory]
        for name in ("w-pos-1.xyz", "w-vel-1.xyz"):
            with opener(tmp_path / (name + suffix), "wb") as file:
                file.write((tmp_path / name).read_bytes())
            (tmp_path / name).unlink()
        universe = read(tmp_path / f"w-pos-1.xyz{suffix}")
        for ts, (positions, velocities) in zip(universe.trajectory, expected, strict=True):
            assert_allclose(ts.positions, positions, rtol=0)
            assert_allclose(ts.velocities, velocities, rtol=0)

    def test_several_runs_in_a_chain(self, tmp_path):
        paths = []
        for run in ("a", "b"):
            (tmp_path / run).mkdir()
            paths.append(str(write_pair(tmp_path / run, [0, 1, 2])))
        universe = MDAnalysis.Universe(paths[0], paths)
        assert universe.trajectory.n_frames == 6
        frames = UniverseFrames(universe, check_temperature=False)
        assert list(frames.timeline().starts) == [0, 3]
        assert_allclose(frames.times(), [0, 0.0005, 0.001] * 2, atol=1e-12)


class TestAccess:
    def test_random_access_and_iteration(self, tmp_path):
        universe = read(write_pair(tmp_path, range(0, 20, 2)))
        for k in (7, 0, 9, 3, -1):
            ts = universe.trajectory[k]
            assert ts.data["step"] == 2 * (k % 10) and ts.frame == k % 10
            assert_allclose(ts.positions[0], 0.02 * (k % 10), atol=1e-6)
        assert [ts.frame for ts in universe.trajectory] == list(range(10))
        assert [ts.data["step"] for ts in universe.trajectory[2:9:3]] == [4, 10, 16]
        with pytest.raises(IndexError):
            universe.trajectory[10]

    def test_copy_is_independent(self, tmp_path):
        trajectory = read(write_pair(tmp_path, [0, 1, 2])).trajectory
        trajectory[1]
        copy = trajectory.copy()
        assert copy.ts.frame == 1
        copy[2]
        assert trajectory.ts.frame == 1 and trajectory.ts.positions[0, 0] == pytest.approx(0.01)

    def test_pickle(self, tmp_path):
        universe = read(write_pair(tmp_path, [0, 1, 2]), cell="9 9 9")
        universe.trajectory[1]
        copy = pickle.loads(pickle.dumps(universe))
        assert copy.trajectory.ts.frame == 1
        assert_allclose(copy.trajectory[2].velocities[0], 2e-4 * ATOMIC_VELOCITY, rtol=1e-6)
        assert_allclose(copy.dimensions[:3], 9)

    def test_another_process(self, tmp_path):
        universe = read(write_pair(tmp_path, [0, 1, 2]))
        with multiprocessing.get_context("fork").Pool(1) as pool:
            (found,) = pool.map(_last_velocity, [universe])
        assert_allclose(found, 2e-4 * ATOMIC_VELOCITY, rtol=1e-6)


def _last_velocity(universe):
    return universe.trajectory[2].velocities[0]


def peak():
    """The largest resident memory so far, in kB."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


@pytest.mark.filterwarnings("ignore:not in all files", "ignore:w-vel-1.xyz")
class TestDamage:
    @pytest.mark.parametrize("size", [100, 163, 200, 1000])
    def test_the_index_does_not_depend_on_how_much_is_read_at_a_time(
        self, size, tmp_path, monkeypatch
    ):
        """Cut and continued, and restarted, so that every case of the index is there."""
        path = write_pair(tmp_path, range(12))
        frames = re.findall(rb".*\n i =.*\n(?:.*\n){3}", path.read_bytes())
        assert len(frames) == 12
        # killed within step 5 and continued; once more from step 9; killed within step 11
        path.write_bytes(b"".join([*frames[:5], frames[5][:70], *frames[5:], *frames[9:]])[:-30])
        whole = XYZFrames(path)
        monkeypatch.setattr(xyz_frames, "_BLOCK", size)
        parts = XYZFrames(path)
        assert parts.repairs == whole.repairs and len(whole.repairs) == 2
        assert parts.steps.tolist() == whole.steps.tolist() == list(range(11))
        assert [parts.read(k)[1].tolist() for k in range(11)] == [
            whole.read(k)[1].tolist() for k in range(11)
        ]

    @pytest.mark.parametrize("which", ["w-pos-1.xyz", "w-vel-1.xyz"])
    @pytest.mark.parametrize("lost", [1, 30, 100])
    def test_cut_last_frame_is_dropped_and_reported(self, which, lost, tmp_path):
        path = write_pair(tmp_path, [0, 1, 2])
        data = (tmp_path / which).read_bytes()
        (tmp_path / which).write_bytes(data[:-lost])
        with pytest.warns(UserWarning, match=f"{which}: left out the incomplete frame of step 2"):
            universe = read(path)
        assert universe.trajectory.n_frames == 2
        assert any(
            "incomplete" in note for note in UniverseFrames(universe, check_temperature=False).notes
        )

    @pytest.mark.parametrize("end", [b"", b"\n"])
    def test_cut_inside_where_a_job_was_continued(self, end, tmp_path):
        # killed while it wrote step 2, continued from step 1
        path = write_pair(tmp_path, [0, 1, 2, 3])
        for name in ("w-pos-1.xyz", "w-vel-1.xyz"):
            data = (tmp_path / name).read_bytes()
            frame = len(data) // 4
            (tmp_path / name).write_bytes(data[: 2 * frame + frame // 2] + end + data[2 * frame :])
        with pytest.warns(UserWarning, match="incomplete frame of step 2"):
            universe = read(path)
        assert [ts.data["step"] for ts in universe.trajectory] == [0, 1, 2, 3]
        assert_allclose(universe.trajectory[2].positions[0], 0.02, atol=1e-6)

    def test_restart_that_repeats_frames(self, tmp_path):
        # the frames after the restart count, and what was written beyond it before is of another
        # branch
        path = write_pair(tmp_path, [0, 1, 2, 3, 4])
        for name, shift in (("w-pos-1.xyz", 0.5), ("w-vel-1.xyz", 0.005)):
            base = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
            later = files.write_xyz(
                "OHH", [base + shift] * 2, [2, 3], [1.0, 1.5], tmp_path / "later.xyz"
            )
            with open(tmp_path / name, "ab") as file:
                file.write(later.read_bytes())
        with pytest.warns(
            UserWarning, match="w-pos-1.xyz: 3 frames were written again after a restart"
        ):
            universe = read(path)
        assert [ts.data["step"] for ts in universe.trajectory] == [0, 1, 2, 3]
        assert_allclose(universe.trajectory[1].positions[0], 0.01, atol=1e-6)
        assert_allclose(universe.trajectory[2].positions[0], 0.5, atol=1e-6)
        assert_allclose(universe.trajectory[3].velocities[0], 0.005 * ATOMIC_VELOCITY, rtol=1e-6)

    def test_two_runs_in_one_file(self, tmp_path):
        path = write_pair(tmp_path, [0, 1, 2])
        path.write_bytes(path.read_bytes() * 2)
        with pytest.raises(FileFormatError, match="start again at i = 0"):
            read(path)

    def test_frames_missing_in_one_file(self, tmp_path):
        path = write_pair(tmp_path, range(0, 9), range(0, 12, 2))
        with pytest.warns(
            UserWarning,
            match=r"not in all files.*4 frames of w-pos-1.xyz, 1 frames of .*w-vel-1.xyz",
        ):
            universe = read(path)
        assert [ts.data["step"] for ts in universe.trajectory] == [0, 2, 4, 6, 8]
        for ts in universe.trajectory:
            assert_allclose(ts.positions[0], 0.01 * ts.data["step"], atol=1e-6)
            assert_allclose(ts.velocities[0], 1e-4 * ts.data["step"] * ATOMIC_VELOCITY, rtol=1e-6)
        assert UniverseFrames(universe, check_temperature=False).spacing == pytest.approx(0.001)

    def test_cells_missing(self, tmp_path):
        path = write_pair(tmp_path, [0, 1, 2, 3])
        cell = np.diag([9.0, 9, 9])
        files.write_cells([cell, 1.1 * cell], [0, 2], [0, 1], tmp_path / "w-1.cell")
        with pytest.warns(UserWarning, match="left out: 2 frames"):
            universe = read(path)
        assert_allclose([ts.dimensions[0] for ts in universe.trajectory], [9, 9.9], rtol=1e-6)

    def test_one_fixed_cell_counts_for_all(self, tmp_path):
        path = write_pair(tmp_path, [0, 1, 2, 3])
        files.write_cells([np.diag([9.0, 9, 9])], [0], [0], tmp_path / "w-1.cell")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert [ts.dimensions[0] for ts in CP2KReader(path)] == [9.0] * 4

    def test_no_common_step(self, tmp_path):
        with pytest.raises(
            FileFormatError, match="no step is in the position, velocity and cell files alike"
        ):
            read(write_pair(tmp_path, [0, 2], [1, 3]))

    def test_other_order_of_atoms(self, tmp_path):
        path = write_pair(tmp_path, [0, 1], velocity_symbols="HOH")
        with pytest.raises(FileFormatError, match=r"another order of atoms.*atom 0 .* is H and O"):
            read(path)

    def test_other_number_of_atoms(self, tmp_path):
        path = write_pair(tmp_path, [0, 1])
        files.write_xyz("OH", np.zeros((2, 2, 3)), [0, 1], [0, 0.5], tmp_path / "w-vel-1.xyz")
        with pytest.raises(FileFormatError, match="has 2 atoms"):
            read(path)

    def test_velocities_of_another_run(self, tmp_path):
        path = write_pair(tmp_path, [0, 1, 2])
        files.write_xyz("OHH", np.zeros((3, 3, 3)), [0, 1, 2], [0, 1, 2], tmp_path / "w-vel-1.xyz")
        with pytest.raises(
            FileFormatError, match=r"step 1 has the time 0.5 fs .* 1.0 fs .* different runs"
        ):
            read(path)

    def test_numbers_that_overflowed(self, tmp_path):
        path = write_pair(tmp_path, [0, 1, 2])
        text = path.read_text().splitlines()
        text[12] = "  O  " + "*" * 20 + text[12][25:]
        path.write_text("\n".join(text) + "\n")
        universe = read(path)
        with pytest.raises(FileFormatError, match="step 2"):
            universe.trajectory[2]

    @pytest.mark.parametrize(
        "content", ["", "nothing\n", "3\nO 0 0 0\n", "2\n i = 0, time = 0.0\nH 0 0 0\n"]
    )
    def test_foreign_files(self, content, tmp_path):
        path = tmp_path / "w-pos-1.xyz"
        path.write_text(content)
        with pytest.raises(
            FileFormatError, match=r"is empty|not an XYZ file of CP2K|no complete frame"
        ):
            CP2KReader(path)

    def test_broken_archive(self, tmp_path):
        path = write_pair(tmp_path, range(200))
        packed = tmp_path / "w-pos-1.xyz.gz"
        packed.write_bytes(gzip.compress(path.read_bytes())[:1000])
        with pytest.raises(FileFormatError, match="cannot be unpacked"):
            CP2KReader(packed)

    def test_file_that_is_cut_while_it_is_read(self, tmp_path):
        """A mapped file ends the process then, with a bus error: in a process of its own."""
        path = write_pair(tmp_path, range(3000))
        code = (
            "import os, sys\n"
            "from mda_aptnn.trajectory.cp2k import CP2KReader\n"
            "reader = CP2KReader(sys.argv[1])\n"
            "os.truncate(sys.argv[1], 500)\n"
            "reader[0]\n"
            "try:\n"
            "    reader[2999]\n"
            "except ValueError as error:\n"
            "    print(error)\n"
        )
        found = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True
        )
        assert found.returncode == 0, found.stderr[-300:]
        assert found.stdout == f"{path}, step 2999: the file has been cut while it was read\n"

    def test_an_archive_of_zeros_is_not_unpacked_to_its_end(self, tmp_path):
        packed = tmp_path / "w-pos-1.xyz.gz"
        with gzip.open(packed, "wb", compresslevel=6) as file:
            for _ in range(40):
                file.write(b"0 " * 5_000_000)
        assert packed.stat().st_size < 1e6
        # MDAnalysis tells what its parsers say
        with pytest.raises(ValueError, match="not an XYZ file of CP2K"):
            read(packed)
        with pytest.raises(FileFormatError, match="unpacks to more than 100 times its size"):
            CP2KReader(packed)

    @pytest.mark.parametrize(("pack", "end"), [(gzip.compress, "gz"), (bz2.compress, "bz2")])
    def test_a_command_refuses_such_an_archive_before_any_reader_unpacks_it(
        self, pack, end, tmp_path
    ):
        """MDAnalysis' readers of text took 0.8 GB for a line of 0.3 GB, packed to 0.3 MB."""
        packed = tmp_path / f"any.xyz.{end}"
        packed.write_bytes(100 * pack(b"0 " * 500_000))
        before = peak()
        result = CliRunner().invoke(
            app, ["spectrum", str(packed), str(packed), "-o", str(tmp_path / "s.h5")]
        )
        assert result.exit_code == 1 and result.stderr.count("\n") == 1
        assert "unpacks to more than 100 times its size" in result.stderr
        # the archive holds 100 MB, of which 32 are looked at
        assert peak() - before < 80_000

    def test_ordinary_archives_are_left_alone(self, tmp_path, monkeypatch):
        monkeypatch.setattr(xyz_frames, "_GLANCE", 1 << 18)
        text = " ".join(map(str, np.random.default_rng(0).normal(size=30_000))).encode()
        for pack, end in ((gzip.compress, "gz"), (bz2.compress, "bz2"), (bytes, "xyz")):
            (tmp_path / f"a.{end}").write_bytes(pack(text))
            check_packed(tmp_path / f"a.{end}")
        (tmp_path / "a.gz").write_bytes((tmp_path / "a.gz").read_bytes()[:5000])
        check_packed(tmp_path / "a.gz")

    @pytest.mark.parametrize("name", ["w-pos-1.xyz", "w-pos-1.xyz.gz"])
    def test_more_atoms_than_a_file_of_its_size_can_hold(self, name, tmp_path):
        opener = gzip.open if name.endswith("gz") else open
        with opener(tmp_path / name, "wb") as file:
            file.write(b"100000000\n i = 0, time = 0.0\n" + 1000 * b"H 0 0 0\n")
        with pytest.raises(ValueError, match="claims 100000000 atoms"):
            read(tmp_path / name)

    def test_archive_with_damaged_bits(self, tmp_path):
        path = write_pair(tmp_path, range(200))
        data = bytearray(gzip.compress(path.read_bytes()))
        data[200:260] = bytes(60)
        (tmp_path / "w-pos-1.xyz.gz").write_bytes(data)
        with pytest.raises(FileFormatError, match="cannot be unpacked"):
            CP2KReader(tmp_path / "w-pos-1.xyz.gz")

    def test_one_line_without_end(self, tmp_path, monkeypatch):
        monkeypatch.setattr(xyz_frames, "_BLOCK", 1000)
        path = tmp_path / "w-pos-1.xyz"
        path.write_bytes(bytes(10_000))
        with pytest.raises(FileFormatError, match="a line of more than 1000 bytes"):
            CP2KReader(path)

    def test_binary_files_in_the_place_of_text(self, tmp_path):
        path = write_pair(tmp_path, [0, 1])
        (tmp_path / "w-1.cell").write_bytes(np.random.default_rng(0).bytes(3000))
        with pytest.raises(FileFormatError, match="is not a cell file of CP2K") as caught:
            read(path)
        assert len(str(caught.value)) < 300
        with pytest.raises(FileFormatError, match="has no dipoles"):
            read_moments(tmp_path / "w-1.cell")

    def test_foreign_cell_file(self, tmp_path):
        path = write_pair(tmp_path, [0, 1])
        (tmp_path / "w-1.cell").write_text("# cell\n1 2 3\n4 5 6\n")
        with pytest.raises(FileFormatError, match="is not a cell file of CP2K: '1 2 3'"):
            read(path)
