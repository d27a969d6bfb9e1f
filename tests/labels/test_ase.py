"""ASE calculators as they are: tblite's, EMT, and tblite's in a field."""

import sys

import numpy as np
import pytest

from mda_aptnn.errors import CampaignError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.routes import DisplacementRoute, FieldRoute
from tests.labels.in_process import ACETATE, WATER, labelled, planned, refused

KEYWORDS = '[keywords]\nmethod = "GFN2-xTB"\naccuracy = 0.01\nverbosity = 0\n'
TBLITE = f'calculator = "tblite.ase.TBLite"\n{KEYWORDS}'


def own(name, field="efield"):
    return f'calculator = "tests.labels.ase_calculators.{name}"\nfield = "{field}"\n{KEYWORDS}'


@pytest.mark.parametrize("frame", [WATER, ACETATE], ids=["water", "acetate"])
def test_fields_and_displacements_agree(tmp_path, frame):
    charge = f"charge = {frame.charge:g}\n"
    displaced = labelled(tmp_path, "ase", TBLITE + charge, frame, DisplacementRoute(0.005))
    field = labelled(tmp_path, "ase", own("InField") + charge, frame, FieldRoute())
    np.testing.assert_allclose(field.apt, displaced.apt, rtol=0, atol=1e-3)
    assert np.abs(field.apt - field.apt.transpose(0, 2, 1)).max() > 0.03
    total = displaced.apt.sum(axis=0)
    np.testing.assert_allclose(total, frame.charge * np.eye(3), rtol=0, atol=1e-4)
    assert displaced.info["program"].startswith("tblite ")


def test_a_cell_is_refused(tmp_path):
    """TBLite's dipole of a cell is that of wrapped atoms: off by 3 e for water across a face."""
    frame = Frame(WATER.numbers, WATER.positions, 25 * np.eye(3), [True] * 3)
    with pytest.raises(CampaignError, match=r"ASE labels molecules and ions .* --pbc none"):
        planned(tmp_path, "ase", TBLITE, frame, DisplacementRoute())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('calculator = "ase.calculators.emt.EMT"', "EMT gives no dipole, only energy, free_energy"),
        (TBLITE, "say how tblite.ase.TBLite takes a field: add field = "),
        ('calculator = "nowhere.Calculator"', "nowhere.Calculator cannot be made: No module name"),
        ('calculator = "TBLite"', "TBLite cannot be made"),
        ("[keywords]", "the setting 'calculator' is missing"),
        ('calculator = "a.b"\nkeywords = 3', "keywords = 3 must be of type dict"),
    ],
)
def test_calculators_that_cannot_label_are_refused_in_one_line(tmp_path, settings, said):
    with pytest.raises(CampaignError) as caught:
        planned(tmp_path, "ase", settings, WATER, FieldRoute())
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_without_ase_its_install_line_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(CampaignError, match=r'ASE is not .*: pip install "mda-aptnn\[ase\]"'):
        planned(tmp_path, "ase", TBLITE, WATER, DisplacementRoute())


@pytest.mark.parametrize(
    ("settings", "frame", "said"),
    [
        # the sum rule is as good for −P
        (own("Against"), WATER, "the dipole does not follow the field"),
        (own("InField", "field"), WATER, "the dipole does not follow the field"),
        (own("Unconverged"), WATER, "zero: the SCF did not converge"),
        (f"{own('InField')}max_iterations = 2", WATER, "zero: "),
        (own("InField"), ACETATE, "the sum rule is off"),
    ],
    ids=["sign", "keyword", "said", "raised", "charge"],
)
def test_what_cannot_be_right_is_left_out(tmp_path, settings, frame, said):
    assert said in refused(tmp_path, "ase", settings, frame, FieldRoute())
