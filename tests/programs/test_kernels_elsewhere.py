"""Kernels on other processors than this one, and over a thousand frames."""

import os
import subprocess
import sys

import MDAnalysis
import numpy as np
import pytest

from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.model.predict import load_model
from mda_aptnn.trajectory.universe_frames import UniverseFrames

pytestmark = pytest.mark.slow

_CODE = """
import warnings
import numpy as np
from mda_aptnn.model.predict import Model
from tests.tiny import model_file, water
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    model = Model(model_file(), engine="cpu")
    found = [model.predict(item.frame) for item in water(3)]
    Model(model_file(1), engine="cpu")
print([str(one.message) for one in said if "AVX2" in str(one.message)])
slow = Model(model_file(), engine="torch", dtype="float64")
expected = [slow.predict(item.frame) for item in water(3)]
print(np.abs(np.array(found) - expected).max() / np.abs(expected).max())
"""


def test_a_processor_without_vectors_works_and_it_is_said_once(tmp_path):
    """x86-64 with nothing but what all of them have."""
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": "+sse2",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    result = subprocess.run(
        [sys.executable, "-c", _CODE], env=environment, capture_output=True, text=True, check=True
    )
    said, deviation = result.stdout.splitlines()
    assert said.count("without AVX2") == 1
    assert float(deviation) < 2e-5


def test_a_thousand_frames_are_those_of_the_network_in_float64():
    universe = MDAnalysis.Universe(WATER64_TOPOLOGY, WATER64_TRAJECTORY)
    source = UniverseFrames(universe, velocities=None)
    reference = load_model("water-rpbe-d3", engine="torch", dtype="float64")
    for dtype, bound in (("float32", 1e-4), ("float64", 1e-8)):
        kernels = load_model("water-rpbe-d3", engine="cpu", dtype=dtype)
        largest = 0.0
        for _ in universe.trajectory[: 5 * 1000 : 5]:
            frame = source.frame()
            largest = max(
                largest, float(np.abs(kernels.predict(frame) - reference.predict(frame)).max())
            )
        assert 0 < largest < bound
