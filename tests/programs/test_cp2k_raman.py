"""From the real CP2K's labels of both tensors to infrared and Raman spectra, beside CP2K's own
intensities.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tests
from mda_aptnn.labels.dataset import read_labels
from tests.installed import CP2K

TUTORIAL = tests.ROOT / "tutorials" / "raman"
pytestmark = [
    pytest.mark.cp2k,
    pytest.mark.slow,
    pytest.mark.skipif(CP2K is None, reason="no cp2k"),
]


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, TUTORIAL / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tutorial_in_a_smaller_size(tmp_path, monkeypatch):
    """One of its frames is labelled again; training and spectra are made of the labels that it
    keeps.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    shutil.copy(TUTORIAL / "label.inp", tmp_path)

    def command(*words):
        subprocess.run([sys.executable, *map(str, words)], check=True, env=os.environ)

    command(TUTORIAL / "harmonic.py", TUTORIAL / "modes.molden", 300, 8)
    kept = read_labels(TUTORIAL / "labels.h5")
    source, index = kept[0].info["source"], kept[0].info["index"]
    cli = ["-m", "mda_aptnn.cli"]
    plan = [
        "--pbc",
        "none",
        "--template",
        "label.inp",
        "--route",
        "field-raman",
        "--select",
        "indices",
    ]
    command(*cli, "label", "plan", "water.pdb", source, *plan, "--indices", index, "-o", "campaign")
    command(*cli, "label", "run", "campaign", "--command", CP2K)
    command(*cli, "label", "collect", "campaign", "-o", "one.h5")
    [again] = read_labels("one.h5")
    np.testing.assert_allclose(again.frame.positions, kept[0].frame.positions, atol=1e-4)
    # Å² and e: second differences of forces over 25e-6 a.u., converged to 1e-7
    np.testing.assert_allclose(again.tensors["pgt"], kept[0].tensors["pgt"], atol=0.01)
    np.testing.assert_allclose(again.apt, kept[0].apt, atol=1e-3)
    labels = TUTORIAL / "labels.h5"
    command(*cli, "train", labels, "-o", "model.h5", "--config", TUTORIAL / "plan.toml")
    replicas = [f"replica-{number}.trr" for number in range(1, 5)]
    reading = ["--model", "model.h5", "--pbc", "none", "--stop", 4000]
    command(*cli, "flux", "water.pdb", *replicas, *reading, "-o", "flux.h5")
    compare = loaded("compare")
    modes = compare.static(TUTORIAL / "vibrations.out")
    found = compare.from_bands(*compare.spectra(Path("flux.h5")), modes[:, 0])
    assert len(modes) == 3
    for column in (1, 2):
        np.testing.assert_allclose(
            found[:, column], modes[:, column], rtol=0, atol=0.05 * modes[:, column].max()
        )
    np.testing.assert_allclose(found[:, 3], modes[:, 3], atol=0.03)
