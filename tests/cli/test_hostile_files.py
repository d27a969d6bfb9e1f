"""Files that are cut, damaged, or not what they claim: an error of ours, or what was in them."""

import json
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from mda_aptnn import io
from mda_aptnn.data import WATER64_TOPOLOGY
from mda_aptnn.errors import FileFormatError
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.labels.dataset import write_xyz
from mda_aptnn.model.fixed_charges import FixedCharges
from tests import hostile, tiny, trajectory_files
from tests.labelling_data import unpack

SEED, COUNT = 20261122, 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One file of each kind."""
    folder = tmp_path_factory.mktemp("hostile")
    tiny.model_file().save(folder / "model.h5")
    clusters = tiny.clusters(3)
    clusters.save(folder / "labels.h5")
    write_xyz(clusters, folder / "labels.xyz")
    sample = trajectory_files.water(24)
    trajectory_files.write(sample, folder / "water.trr")
    universe = hostile.MDAnalysis.Universe(WATER64_TOPOLOGY, str(folder / "water.trr"))
    charges = FixedCharges(trajectory_files.CHARGES)
    flux = DipoleFlux(universe, charges, groups={"O": "element O"}).run()
    flux.save(folder / "flux.h5")
    flux.spectrum(resolution="3000 cm^-1", segments=4).save(folder / "spectrum.h5")
    DipoleFlux(universe, charges, per="atom", motions="rigid").run().save(folder / "atoms.h5")
    for name, archive in (
        ("field", "water-field"),
        ("analytic", "water-analytic"),
        ("polarizability", "water-displacement-raman"),
    ):
        [task] = (unpack(archive, folder) / "tasks").iterdir()
        task.rename(folder / name)
        shutil.rmtree(folder / archive)
    return folder


@pytest.fixture(scope="module")
def outcome(folder):
    command = [sys.executable, "-m", "tests.hostile", str(folder), str(SEED), str(COUNT)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_nothing_crashes_hangs_or_takes_all_memory(outcome):
    assert outcome.returncode == 0, outcome.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile.READERS)
def test_every_damage_is_refused_or_does_no_harm(outcome, name):
    failures = [
        line
        for line in outcome.stdout.splitlines()
        if line.startswith("[") and json.loads(line)[0] == name
    ]
    assert not failures, "\n".join(failures[:20])
    refused, right = map(
        int, re.search(rf"# {name}: (\d+) refused, (\d+) right", outcome.stdout).groups()
    )
    assert refused > COUNT / 4 and refused + right >= COUNT


def test_the_judge_sees_a_wrong_number(tmp_path):
    """Without the seal, HDF5 gives a flipped bit of the data as it is: the fuzz must call that
    wrong.
    """
    path = tmp_path / "flux.h5"
    DipoleFlux(
        hostile.MDAnalysis.Universe(
            WATER64_TOPOLOGY, trajectory_files.write(trajectory_files.water(4), tmp_path / "w.trr")
        ),
        FixedCharges(trajectory_files.CHARGES),
    ).run().save(path)
    read = hostile.READERS["flux.h5"]
    expected = dict(hostile.content(read(path)))
    assert hostile._verdict(read, path, expected, mutant=False) == "right"
    with h5py.File(path, "a") as file:
        file["flux"][0, 0, 0] *= 1 + 1e-12
    assert hostile._verdict(read, path, expected, mutant=False) == "wrong content"
    path.write_bytes(b"no file of ours")
    assert hostile._verdict(read, path, expected, mutant=False) == "refused"


def test_a_small_file_that_claims_a_terabyte_is_refused_before_memory_is_asked_for(tmp_path):
    path = tmp_path / "flux.h5"
    with io.create(path, "flux") as file:
        file.create_dataset("x", (1 << 37,), np.float64, chunks=(1 << 20,)).attrs["units"] = "ps"
    with (
        io.open_checked(path, "flux") as file,
        pytest.raises(FileFormatError, match="claims 1099511627776 bytes"),
    ):
        io.read_array(file, "x", "ps")
