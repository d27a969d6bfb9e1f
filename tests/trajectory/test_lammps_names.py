"""LAMMPS dumps as users name and write them, on the command line."""

from pathlib import Path

import pytest

from mda_aptnn.cli import options as opt
from mda_aptnn.errors import TrajectoryError
from tests import trajectory_files


@pytest.fixture
def dump(tmp_path):
    path = tmp_path / "dump.lammpstrj"
    trajectory_files.write_lammps(trajectory_files.water(3), path, "real")
    return path


def opened(path):
    return opt.open_universes(Path(trajectory_files.topology()), [path])[0]


def test_the_usual_ending_needs_no_name_of_a_format(dump):
    universe = opened(dump)
    assert universe.trajectory.n_frames == 3 and universe.trajectory.format == "LAMMPSDUMP"


def test_without_a_data_file(dump):
    [universe] = opt.open_universes(dump, [dump])
    assert len(universe.atoms) == 192 and set(universe.atoms.types) == {"1", "2"}


def test_units_and_times_in_a_dump_are_named(dump):
    dump.write_text("ITEM: UNITS\nreal\nITEM: TIME\n0\n" + dump.read_text())
    with pytest.raises(TrajectoryError, match="takes no dumps with units or times"):
        opened(dump)


def test_another_ending_is_told_the_name_of_the_format(dump):
    with pytest.raises(TrajectoryError, match="--format LAMMPSDUMP"):
        opened(dump.rename(dump.with_suffix(".xyz")))
