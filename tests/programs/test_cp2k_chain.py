"""The paper's Figure 2 in miniature, from nothing: CP2K's dynamics and dipoles, labels, training,
spectrum.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mda_aptnn
import tests
from tests.installed import CP2K

TUTORIAL = tests.ROOT / "tutorials" / "two-waters"
pytestmark = [
    pytest.mark.cp2k,
    pytest.mark.slow,
    pytest.mark.skipif(CP2K is None, reason="no cp2k"),
]


def test_polar_tensors_give_the_spectrum_of_the_dipoles(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("compare", TUTORIAL / "compare.py")
    compare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compare)
    shutil.copy(TUTORIAL / "label.inp", tmp_path)
    Path("md.inp").write_text((TUTORIAL / "md.inp").read_text().replace("STEPS 6000", "STEPS 3200"))
    with open("md.out", "w") as out:
        subprocess.run([CP2K, "-i", "md.inp"], stdout=out, stderr=out, check=True)

    def command(*words):
        subprocess.run([sys.executable, "-m", "mda_aptnn.cli", *words], check=True)

    reading = ["--format", "CP2K", "--topology-format", "CP2K", "--pbc", "none"]
    plan = [
        "md-pos-1.xyz",
        *reading,
        "--template",
        "label.inp",
        "--route",
        "displacement",
        "--apart",
        "0 ps",
    ]
    command("label", "plan", *plan, "--frames", "6", "--select", "uniform", "-o", "campaign")
    command("label", "run", "campaign", "--command", CP2K)
    command("label", "collect", "campaign", "-o", "labels.h5")
    command(
        "train",
        "labels.h5",
        "-o",
        "model.h5",
        "--steps",
        "600",
        "--validation-frames",
        "1",
        "--held-out-frames",
        "1",
    )
    predicted, dipoles = compare.both_series(tmp_path, "model.h5", 300)
    assert len(predicted) == 2900 == len(dipoles) - 2
    assert compare.relative_error(predicted, dipoles) < 0.1
    explicit, raw, corrected = compare.both_spectra(predicted, dipoles).values()
    grid, first = explicit.wavenumber.magnitude, explicit.curve().value
    second = np.interp(grid, corrected.wavenumber.magnitude, corrected.curve().value)
    chosen = (grid > 100) & (grid < 4500)
    bands = chosen & (first > 0.05 * first[chosen].max())
    assert bands.sum() > 50
    assert (np.abs(second - first) < explicit.curve().error)[bands].mean() > 0.9
    for low, high in ((1200, 1900), (3000, 4300)):
        found = [
            mda_aptnn.compare(explicit, other, low, high, same_trajectory=True)
            for other in (raw, corrected)
        ]
        # Verlet's own part: [sin(ωΔt)/(ωΔt)]² of the band, 0.992 of the bend and 0.96 of the
        # stretch
        assert found[0].intensity.value < found[1].intensity.value
        # a flux that is wrong by a tenth, as above, may have its square wrong by a fifth, and a
        # band in another place by a tenth of the resolution
        assert found[1].intensity.value == pytest.approx(1, abs=0.2)
        assert found[1].shift.value == pytest.approx(0, abs=12)
