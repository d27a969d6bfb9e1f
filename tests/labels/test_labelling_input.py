"""CP2K inputs: edited by section, kept byte for byte elsewhere, refused where a label could be
wrong in silence.
"""

import dataclasses

import numpy as np
import pytest

from mda_aptnn.errors import CampaignError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.campaign import Snapshot, plan
from mda_aptnn.labels.cp2k.input import CP2KInput
from mda_aptnn.labels.cp2k.template import Template
from mda_aptnn.labels.routes import AnalyticRoute, DisplacementRoute, FieldRoute

TEMPLATE = """\
! my working input, µ-solvated
@SET CUT 300
&GLOBAL
  PROJECT_NAME old   ! an alias
  RUN_TYPE MD
&END GLOBAL
&EXT_RESTART
  RESTART_FILE_NAME old-1.restart
&END EXT_RESTART
&motion
  &MD
    STEPS 10
  &END
&END MOTION
&FORCE_EVAL
  METHOD QS
  &DFT
    BASIS_SET_FILE_NAME my_basis
    POTENTIAL_FILE_NAME GTH_POTENTIALS
    WFN_RESTART_FILE_NAME somewhere.wfn
    &MGRID
      CUTOFF ${CUT}
    &END MGRID
    &SCF
      SCF_GUESS RESTART
      EPS_SCF 1.0E-7
    &END SCF
    &XC
\t&XC_FUNCTIONAL PBE
      &END XC_FUNCTIONAL
    &END XC
  &END DFT
  &SUBSYS
    &CELL
      ABC 10 10 10
      &CELL_REF
        ABC 11 11 11
      &END CELL_REF
    &END CELL
    &COORD
      @INCLUDE coordinates.inc
    &END COORD
    &TOPOLOGY
      COORD_FILE_NAME old.xyz
      COORD_FILE_FORMAT XYZ
      &CENTER_COORDINATES
      &END CENTER_COORDINATES
    &END TOPOLOGY
    &KIND O
      @INCLUDE oxygen.inc
    &END KIND
    &KIND H1
      ELEMENT H
      BASIS_SET \\
        DZVP-GTH
      POTENTIAL GTH-PBE-q1
    &END KIND
  &END SUBSYS
&END FORCE_EVAL
"""
WATER = np.array([[0, 0, 0], [0.763, 0.1, 0.59], [-0.77, 0, 0.601]])
TRICLINIC = np.array([[7.0, 0.1, 0.2], [1.5, 6.5, 0.3], [-0.7, 1.1, 6.1]])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "my_basis").write_text("a basis set\n")
    (tmp_path / "oxygen.inc").write_text("BASIS_SET DZVP-GTH\nPOTENTIAL GTH-PBE-q6\n")
    return tmp_path


def write(folder, text=TEMPLATE):
    path = folder / "user.inp"
    path.write_bytes(text.encode("latin-1"))
    return path


@pytest.fixture
def frame():
    return Frame([8, 1, 1], WATER, TRICLINIC, [True] * 3)


def planned(folder, frame, route, text=TEMPLATE):
    snapshot = Snapshot(frame, {"source": "x.xyz", "index": 0, "time": 1.0}, (1,))
    return plan(folder / "campaign", [snapshot], Template.read(write(folder, text)), route)


def inputs(task):
    return {run.name: CP2KInput.read(task.directory / f"{run.name}.inp") for run in task.runs}


def test_everything_that_is_not_edited_stays_byte_for_byte(folder, frame):
    [task] = planned(folder, frame, FieldRoute()).tasks()
    edited = (task.directory / "px.inp").read_bytes().decode("latin-1").splitlines(keepends=True)
    removed = [line for line in TEMPLATE.splitlines(keepends=True) if line not in edited]
    for section in (
        "&MD\n",
        "STEPS 10",
        "CUTOFF ${CUT}",
        "\t&XC_FUNCTIONAL PBE",
        "µ-solvated",
        "DZVP-GTH\n",
    ):
        assert any(section in line for line in edited), section
    assert {line.strip() for line in removed} == {
        "PROJECT_NAME old   ! an alias",
        "RUN_TYPE MD",
        "&EXT_RESTART",
        "RESTART_FILE_NAME old-1.restart",
        "&END EXT_RESTART",
        "WFN_RESTART_FILE_NAME somewhere.wfn",
        "ABC 10 10 10",
        "&CELL_REF",
        "ABC 11 11 11",
        "&END CELL_REF",
        "@INCLUDE coordinates.inc",
        "COORD_FILE_NAME old.xyz",
        "COORD_FILE_FORMAT XYZ",
        "&CENTER_COORDINATES",
        "&END CENTER_COORDINATES",
    }
    # what is left of the template is in its order
    kept = [line for line in TEMPLATE.splitlines(keepends=True) if line in edited]
    places = [edited.index(line) for line in dict.fromkeys(kept)]
    assert places == sorted(places)


def test_windows_line_ends_are_kept(folder, frame):
    [task] = planned(folder, frame, FieldRoute(), TEMPLATE.replace("\n", "\r\n")).tasks()
    data = (task.directory / "px.inp").read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n")


def test_cell_and_coordinates_are_those_of_the_frame(folder, frame):
    [task] = planned(folder, frame, FieldRoute()).tasks()
    text = inputs(task)["zero"]
    vectors = [text.value("FORCE_EVAL/SUBSYS/CELL", name, "").split() for name in "ABC"]
    np.testing.assert_array_equal(np.array(vectors, dtype=float), TRICLINIC)
    rows = [line.split() for line in text.lines(text.section("FORCE_EVAL/SUBSYS/COORD"))]
    assert [row[0] for row in rows] == ["O", "H1", "H1"]
    np.testing.assert_allclose(np.array([row[1:] for row in rows], dtype=float), WATER, atol=1e-10)


def test_each_frame_has_its_own_cell(folder, frame):
    other = dataclasses.replace(frame, cell=TRICLINIC * 1.01)
    template = Template.read(write(folder))
    snapshots = [Snapshot(item, {"index": k}, ()) for k, item in enumerate((frame, other))]
    tasks = list(plan(folder / "npt", snapshots, template, FieldRoute()).tasks())
    lengths = [inputs(task)["zero"].value("FORCE_EVAL/SUBSYS/CELL", "A", "") for task in tasks]
    assert lengths == [
        "7.0000000000 0.1000000000 0.2000000000",
        "7.0700000000 0.1010000000 0.2020000000",
    ]


def test_fields_start_from_the_wavefunction_without_field(folder, frame):
    [task] = planned(folder, frame, FieldRoute(2e-3, 4e-3)).tasks()
    texts = inputs(task)
    assert len(texts) == 13
    dft = "FORCE_EVAL/DFT"
    assert texts["zero"].section(f"{dft}/PERIODIC_EFIELD") is None
    assert texts["zero"].keyword(dft, "WFN_RESTART_FILE_NAME") is None
    assert texts["zero"].value(f"{dft}/SCF", "SCF_GUESS", "") == "ATOMIC"
    assert texts["zero"].section(f"{dft}/SCF/PRINT/RESTART").value == "ON"
    for name, strength, direction in (
        ("px", 2e-3, [1, 0, 0]),
        ("my", 2e-3, [0, -1, 0]),
        ("mz_2", 4e-3, [0, 0, -1]),
    ):
        field = f"{dft}/PERIODIC_EFIELD"
        assert float(texts[name].value(field, "INTENSITY", "")) == strength
        np.testing.assert_array_equal(
            np.array(texts[name].value(field, "POLARISATION", "").split(), float), direction
        )
        assert (
            texts[name].value(dft, "WFN_RESTART_FILE_NAME", "")
            == f"ZERO-{task.name.upper()}-RESTART.WFN"
        )
        assert texts[name].value(f"{dft}/SCF", "SCF_GUESS", "") == "RESTART"
        assert texts[name].value("GLOBAL", "PROJECT", "") == f"{name}-{task.name}".upper()
        assert texts[name].keyword("GLOBAL", "PROJECT_NAME") is None


def test_a_task_has_the_files_it_needs(folder, frame):
    [task] = planned(folder, frame, FieldRoute()).tasks()
    assert (task.directory / "my_basis").read_text() == "a basis set\n"
    assert (task.directory / "oxygen.inc").is_file()


def test_a_molecule_sits_in_the_middle_of_the_box_of_the_input(folder):
    text = TEMPLATE.replace("ABC 10 10 10", "ABC [angstrom] 10 10 12\n      PERIODIC NONE").replace(
        "    &SCF\n", "    &POISSON\n      PERIODIC NONE\n    &END POISSON\n    &SCF\n"
    )
    frame = Frame([8, 1, 1], WATER - 30)
    [task] = planned(folder, frame, DisplacementRoute(0.02), text).tasks()
    middle = (task.placed.positions.min(axis=0) + task.placed.positions.max(axis=0)) / 2
    np.testing.assert_allclose(middle, [5, 5, 6], atol=1e-6)
    np.testing.assert_array_equal(task.frame.positions, frame.positions)
    assert not task.placed.pbc.any()
    texts = inputs(task)
    assert "ABC [angstrom] 10 10 12" in texts["zero"].text
    assert texts["zero"].value("FORCE_EVAL/DFT/PRINT/MOMENTS", "PERIODIC", "") == "F"
    heights = [
        float(texts[name].lines(texts[name].section("FORCE_EVAL/SUBSYS/COORD"))[1].split()[3])
        for name in ("mz_1", "zero", "pz_1")
    ]
    np.testing.assert_allclose(np.diff(heights), 0.02, atol=1e-9)
    with pytest.raises(CampaignError, match="does not fit"):
        Template.read(write(folder, text)).placed(dataclasses.replace(frame, positions=WATER * 10))
    with pytest.raises(CampaignError, match="PERIODIC NONE but the frame is periodic"):
        Template.read(write(folder, text)).placed(Frame([8, 1, 1], WATER, TRICLINIC, [True] * 3))


def test_the_isolated_field_is_another_section(folder):
    text = TEMPLATE.replace("ABC 10 10 10", "ABC 10 10 12\n      PERIODIC NONE").replace(
        "    &SCF\n", "    &POISSON\n      PERIODIC NONE\n    &END POISSON\n    &SCF\n"
    )
    [task] = planned(folder, Frame([8, 1, 1], WATER), FieldRoute(), text).tasks()
    assert inputs(task)["px"].section("FORCE_EVAL/DFT/EFIELD") is not None
    assert inputs(task)["px"].section("FORCE_EVAL/DFT/PERIODIC_EFIELD") is None


def test_the_analytic_route_has_one_grid_and_is_for_molecules(folder, frame):
    with pytest.raises(CampaignError, match="isolated molecules"):
        planned(folder, frame, AnalyticRoute())
    text = TEMPLATE.replace("ABC 10 10 10", "ABC 10 10 12\n      PERIODIC NONE").replace(
        "    &SCF\n", "    &POISSON\n      PERIODIC NONE\n    &END POISSON\n    &SCF\n"
    )
    [task] = planned(folder, Frame([8, 1, 1], WATER), AnalyticRoute(), text).tasks()
    assert inputs(task)["zero"].value("FORCE_EVAL/DFT/MGRID", "NGRIDS", "") == "1"


def line_of(text, words):
    return next(k for k, line in enumerate(text.splitlines(), 1) if words in line)


DFT = "  &DFT\n"
BAD = {
    "field of its own": (DFT, "  &DFT\n    &EFIELD\n    &END EFIELD\n", "&EFIELD"),
    "@INCLUDE in &DFT": (DFT, "  &DFT\n    @INCLUDE dft.inc\n", "@INCLUDE dft.inc"),
    "@IF in &SCF": ("    &SCF\n", "    &SCF\n      @IF ${X} == 1\n      @ENDIF\n", "@IF"),
    "@INCLUDE in the top level": ("&motion\n", "@INCLUDE more.inp\n&motion\n", "@INCLUDE more"),
    "a stress tensor aborts": (
        "  METHOD QS\n",
        "  METHOD QS\n  STRESS_TENSOR ANALYTICAL\n",
        "STRESS_TENSOR",
    ),
    "Γ point": (
        DFT,
        "  &DFT\n    &KPOINTS\n      SCHEME MONKHORST-PACK 2 2 2\n    &END KPOINTS\n",
        "&KPOINTS",
    ),
    "integer occupations": (
        "    &SCF\n",
        "    &SCF\n      &SMEAR ON\n      &END SMEAR\n",
        "&SMEAR",
    ),
    "METHOD NNP has no dipole": ("  METHOD QS\n", "  METHOD NNP\n", "METHOD NNP"),
    "several force evaluations": (
        "&FORCE_EVAL\n",
        "&MULTIPLE_FORCE_EVALS\n&END\n&FORCE_EVAL\n",
        "&MULTIPLE",
    ),
    "a second &SCF": ("    &SCF\n", "    &SCF\n    &END SCF\n    &SCF\n", "&SCF"),
    "PERIODIC is NONE in &CELL and XYZ": (
        "ABC 10 10 10\n",
        "ABC 10 10 10\n PERIODIC NONE\n",
        "PERIODIC NONE",
    ),
    "the variable \\$\\{STRESS\\} is not set": ("  METHOD QS\n", "  METHOD ${STRESS}\n", "METHOD"),
    "not derivatives of an energy": (
        "  &SUBSYS\n",
        "  &RESCALE_FORCES\n  &END RESCALE_FORCES\n  &SUBSYS\n",
        "&RESCALE_FORCES",
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_edited_safely_is_refused_with_its_line(folder, message):
    old, new, words = BAD[message]
    assert old in TEMPLATE
    text = TEMPLATE.replace(old, new, 1)
    with pytest.raises(CampaignError, match=message) as caught:
        Template.read(write(folder, text))
    expected = line_of(text, words) + (2 if message == "a second &SCF" else 0)
    assert f"user.inp, line {expected}:" in str(caught.value)


def test_an_input_without_force_eval_or_with_open_sections_is_refused(folder):
    start = TEMPLATE.index("&FORCE_EVAL")
    with pytest.raises(CampaignError, match="no &FORCE_EVAL"):
        Template.read(write(folder, TEMPLATE[:start]))
    with pytest.raises(
        CampaignError,
        match=rf"line {line_of(TEMPLATE, '&FORCE_EVAL')}: &FORCE_EVAL is never closed",
    ):
        Template.read(write(folder, TEMPLATE.replace("&END FORCE_EVAL\n", "")))
    with pytest.raises(CampaignError, match="where &XC of line"):
        Template.read(write(folder, TEMPLATE.replace("    &END XC\n", "    &END QC\n")))
    with pytest.raises(CampaignError, match="there is no CP2K input"):
        Template.read(folder / "missing.inp")


def test_kinds_that_nothing_tells_apart_are_refused(folder, frame):
    double = TEMPLATE.replace(
        "    &KIND O\n", "    &KIND H2\n      ELEMENT H\n    &END KIND\n    &KIND O\n"
    )
    with pytest.raises(CampaignError, match="2 kinds of H"):
        planned(folder, frame, FieldRoute(), double)
    told = double.replace(
        "      @INCLUDE coordinates.inc\n", "      O 0 0 0\n      H2 0 0 1\n      H1 0 1 0\n"
    )
    [task] = planned(folder, frame, FieldRoute(), told).tasks()
    text = inputs(task)["zero"]
    names = [line.split()[0] for line in text.lines(text.section("FORCE_EVAL/SUBSYS/COORD"))]
    assert names == ["O", "H2", "H1"]
    with pytest.raises(CampaignError, match="no &KIND C"):
        Template.read(write(folder)).kinds(Frame([6], np.zeros((1, 3)), TRICLINIC, [True] * 3))


def test_a_loose_scf_is_warned_of(folder):
    with pytest.warns(UserWarning, match="EPS_SCF 1.0E-5 is loose"):
        Template.read(write(folder, TEMPLATE.replace("1.0E-7", "1.0E-5")))


def test_level_of_theory_is_read_from_the_input(folder):
    assert Template.read(write(folder)).level_of_theory == "GPW PBE DZVP-GTH 300 Ry"
