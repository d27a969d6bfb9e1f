"""The demo as a user runs it: the bands of liquid water, and equipartition."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from mda_aptnn.spectra.infrared import Spectrum

pytestmark = pytest.mark.slow


def test_the_demo_shows_liquid_water(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mda_aptnn.cli",
        "demo",
        "-o",
        str(tmp_path / "demo"),
        "--json",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    files = {
        name: tmp_path / "demo" / file
        for name, file in [
            ("spectrum", "water.h5"),
            ("csv", "water.csv"),
            ("plot", "water.png"),
            ("flux", "water-flux.h5"),
        ]
    }
    assert report["files"] == {name: str(path) for name, path in files.items()}
    assert all(path.stat().st_size > 1000 for path in files.values())
    assert report["n_frames"] == 5001 and report["n_series"] == 1
    assert abs(report["equipartition_ratio"] - 1) < 4 * report["equipartition_error"]
    # 10 ps are some twenty times the memory of the slowest motions; 0.1.0 stated 0.024 by blocks
    # that were too short
    assert 0.03 < report["equipartition_error"] < 0.08
    spectrum = Spectrum.load(files["spectrum"])
    wavenumber, absorption = spectrum.wavenumber.magnitude, spectrum.absorption.magnitude

    def band(low, high):
        """Where a band of the total has its maximum, and how high it is."""
        inside = (wavenumber >= low) & (wavenumber <= high)
        place = absorption[inside].argmax()
        assert 0 < place < inside.sum() - 1, f"no maximum between {low} and {high} cm^-1"
        return wavenumber[inside][place], absorption[inside][place]

    # O-H stretch, bend and libration, and nothing between them that is as high
    stretch, bend, libration = band(3000, 3900), band(1500, 1800), band(350, 900)
    valleys = [
        absorption[(wavenumber > low) & (wavenumber < high)].min()
        for low, high in ((900, 1500), (1900, 3000))
    ]
    assert stretch[1] > libration[1] > 3 * max(valleys)
    assert bend[1] > 2 * max(valleys)
