"""The tutorial on committees: its kept labels, made again by CP2K. `test_examples.py` runs what it
does with them.
"""

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

import tests
from mda_aptnn.cli import app
from mda_aptnn.labels.dataset import read_labels
from tests.installed import CP2K

TUTORIAL = tests.ROOT / "tutorials" / "learning"


@pytest.mark.slow
@pytest.mark.cp2k
@pytest.mark.skipif(CP2K is None, reason="no cp2k")
def test_an_oxygen_of_a_selected_frame_is_labelled_again(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    for name in ("peroxide.xyz", "md.trr", "label.inp"):
        shutil.copy(TUTORIAL / name, tmp_path)
    kept = read_labels(TUTORIAL / "selected.h5")[0]
    number = str(kept.info["index"])
    plan = [
        "plan",
        "peroxide.xyz",
        "md.trr",
        "--pbc",
        "none",
        "--template",
        "label.inp",
        "--route",
        "displacement",
    ]
    for words in (
        [*plan, "--select", "indices", "--indices", number, "--atoms", "index 0"],
        ["run", "campaign", "--command", CP2K],
        ["collect", "campaign", "-o", "one.h5"],
    ):
        found = CliRunner().invoke(app, ["label", *words])
        assert found.exit_code == 0, found.output
    [again] = read_labels("one.h5")
    # dipoles are printed to 1e-8 a.u. and converged to some 1e-6 (EPS_SCF 1e-7), over 0.02 Å
    np.testing.assert_allclose(again.apt[0], kept.apt[0], atol=1e-4)
    assert np.isnan(again.apt[1:]).all()
