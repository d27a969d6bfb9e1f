"""The real PySCF: forces in fields against displaced dipoles, and what is refused."""

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.campaign import Campaign
from mda_aptnn.labels.collect import collect
from mda_aptnn.labels.execution import run_campaign
from mda_aptnn.labels.routes import (
    DisplacementRamanRoute,
    DisplacementRoute,
    FieldRoute,
    check_orientation,
)
from tests.labels.in_process import (
    ACETATE,
    N_METHYLACETAMIDE,
    WATER,
    labelled,
    planned,
    refused,
)

HF = 'xc = "HF"\nbasis = "sto-3g"\ndensity_fit = true\n'
OPEN = 'xc = "PBE"\nbasis = "6-31g"\ndensity_fit = true\nspin = 1\n'
IODIDE = Frame([53, 1], np.array([[0, 0, 0], [0.9, 1.0, 0.9]]))
HYDROXYL = Frame([8, 1], np.array([[0, 0, 0], [0.5, 0.6, 0.6]]))


@pytest.mark.parametrize(
    ("frame", "settings"),
    [
        pytest.param(WATER, HF, id="water"),
        pytest.param(WATER, 'xc = "PBE"\nbasis = "6-31g"\n', id="PBE", marks=pytest.mark.slow),
        pytest.param(ACETATE, HF, id="acetate", marks=pytest.mark.slow),
        pytest.param(N_METHYLACETAMIDE, HF, id="NMA", marks=pytest.mark.slow),
        # 28 electrons of iodine are a potential
        pytest.param(IODIDE, 'xc = "HF"\nbasis = "def2-svp"\n', id="HI", marks=pytest.mark.slow),
        pytest.param(HYDROXYL, OPEN, id="OH", marks=pytest.mark.slow),
    ],
)
def test_fields_give_the_tensors_of_displaced_dipoles(tmp_path, frame, settings):
    field = labelled(tmp_path, "pyscf", settings, frame, FieldRoute())
    displaced = labelled(tmp_path, "pyscf", settings, frame, DisplacementRoute(0.005))
    np.testing.assert_allclose(field.apt, displaced.apt, rtol=0, atol=2e-4)
    total = field.apt.sum(axis=0)
    np.testing.assert_allclose(total, frame.charge * np.eye(3), rtol=0, atol=1e-4)
    assert field.info["program"].startswith("PySCF ")
    np.testing.assert_allclose(field.info["dipole"], displaced.info["dipole"], atol=1e-6)


@pytest.mark.parametrize("frame", [WATER, ACETATE], ids=["water", "acetate"])
def test_its_tensors_are_refused_if_transposed_or_of_the_other_sign(tmp_path, frame):
    labels = labelled(tmp_path, "pyscf", HF, frame, FieldRoute())
    apt, dipole = labels.apt, np.array(labels.info["dipole"])
    assert np.abs(apt - apt.transpose(0, 2, 1)).max() > 0.05
    check_orientation(labels.frame, apt, dipole)
    with pytest.raises(LabelError, match="are transposed"):
        check_orientation(labels.frame, apt.transpose(0, 2, 1), dipole)
    if not frame.charge:  # that of an ion breaks the sum rule
        with pytest.raises(LabelError, match="have a wrong sign"):
            check_orientation(labels.frame, -apt, dipole)


@pytest.mark.parametrize(
    ("change", "frame", "route", "said"),
    [
        ("bassis = 3", WATER, FieldRoute(), "no setting 'bassis'; there are xc, basis, spin, dens"),
        ("spin = 0.5", WATER, FieldRoute(), "spin = 0.5 must be of type int"),
        ("charge = 'no'", WATER, FieldRoute(), "could not convert string to float"),
        ("charge = 1", ACETATE, FieldRoute(), "the frame has a charge of -1 e, the settings say 1"),
        ("charge = 1", WATER, FieldRoute(), "Electron number 9 and spin 0 are not consistent"),
        ("", WATER, DisplacementRamanRoute(), "needs polarizability, and PySCF gives dipole, forc"),
        (
            "",
            Frame(WATER.numbers, WATER.positions, 12 * np.eye(3), [True] * 3),
            FieldRoute(),
            "PySCF labels molecules and ions in vacuum, and the frame is periodic: add --pbc none",
        ),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_planned(tmp_path, change, frame, route, said):
    with pytest.raises(CampaignError) as caught:
        planned(tmp_path, "pyscf", f"{HF}{change}", frame, route)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('xc = "HF"', "the setting 'basis' is missing"),
        ('xc = "HF"\nbasis = "none-such"', "none-such"),
        ('xc = "PBEE"\nbasis = "sto-3g"', "PBEE"),
    ],
)
def test_methods_that_there_are_not(tmp_path, settings, said):
    with pytest.raises(CampaignError) as caught:
        planned(tmp_path, "pyscf", settings, WATER, FieldRoute())
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_an_scf_that_does_not_converge_is_refused_by_name(tmp_path):
    reason = refused(tmp_path, "pyscf", f"{HF}max_cycle = 2", WATER, FieldRoute())
    assert "zero: the SCF did not converge to 1e-10 hartree in 2 cycles" in reason


def test_an_output_of_another_geometry_is_refused(tmp_path):
    campaign = planned(tmp_path, "pyscf", HF, WATER, FieldRoute())
    run_campaign(campaign)
    [task] = campaign.tasks()
    path = task.directory / "px.out"
    record = json.loads(path.read_text())
    record["positions"][1][0] += 1e-4
    path.write_text(json.dumps(record))
    _, [item] = collect(campaign)
    assert "px: the output belongs to another geometry: atom 1" in item.reason


def test_without_the_package_its_install_line_is_said(tmp_path, monkeypatch):
    campaign = planned(tmp_path, "pyscf", HF, WATER, FieldRoute())
    monkeypatch.setitem(sys.modules, "pyscf", None)
    words = ["label", "plan", "no.xyz", "--code", "pyscf", "--template", "no.toml"]
    for command in (words, ["label", "run", str(campaign.folder)]):
        result = CliRunner().invoke(app, command)
        line = 'error: PySCF is not installed: pip install "mda-aptnn[pyscf]"'
        assert result.exit_code == 1 and result.stderr.strip() == line
    # nothing was recorded as failed
    assert next(Campaign(campaign.folder).tasks()).failure is None
