"""The wheel: what is in it, how large it is, and that it works where there is no repository."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests import ROOT

pytestmark = pytest.mark.slow

#: Run in another folder: bundled files are found.
PROGRAM = """
import sys
from pathlib import Path
import mda_aptnn
from mda_aptnn.data import WATER64_TRAJECTORY
assert Path(mda_aptnn.__file__).is_relative_to(sys.argv[1]), mda_aptnn.__file__
assert Path(WATER64_TRAJECTORY).is_file()
assert mda_aptnn.load_model("water-rpbe-d3").symbols == ["H", "O"]
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "-w",
        str(folder),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode and "setuptools" in done.stderr:
        pytest.skip("no index to get setuptools from")
    assert done.returncode == 0, done.stderr[-2000:]
    [path] = folder.glob("*.whl")
    return path


def test_it_is_small_and_whole(wheel):
    assert wheel.stat().st_size < 20e6
    names = zipfile.ZipFile(wheel).namelist()
    assert "mda_aptnn/py.typed" in names and "mda_aptnn/data/water-rpbe-d3.h5" in names
    assert not [name for name in names if not name.startswith(("mda_aptnn/", "mda_aptnn-"))]
    assert not [name for name in names if "published" in name or name.endswith((".pyc", ".so"))]


def test_it_works_without_the_repository(wheel, tmp_path):
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    options = {
        "cwd": tmp_path,
        "env": {**os.environ, "PYTHONPATH": str(site)},
        "capture_output": True,
        "text": True,
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(site)], timeout=300, **options)
    assert done.returncode == 0, done.stderr[-2000:]
    # the tests as they are, without the package beside them
    shutil.copytree(ROOT / "tests", tmp_path / "tests")
    options["env"]["PYTHONPATH"] = os.pathsep.join([str(site), str(tmp_path)])
    some = ["tests/test_units.py", "tests/test_io.py", "tests/test_registry.py"]
    words = ["-q", "-n", "0", "--import-mode=importlib", "-p", "no:cacheprovider", *some]
    done = subprocess.run([sys.executable, "-m", "pytest", *words], timeout=300, **options)
    assert done.returncode == 0 and " passed" in done.stdout, (
        done.stdout[-2000:] + done.stderr[-2000:]
    )
