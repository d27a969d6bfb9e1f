"""GFN1 and GFN2-xTB, the real library: tensors against displaced dipoles, and a campaign."""

import json
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.errors import CampaignError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.labels.protocol import BOHR, find_code
from mda_aptnn.labels.tblite import METHODS, XTB, polar_tensors, single_point
from tests.molecules import ACETATE, METHYLACETAMIDE, WATER, ice, isolated

pytest.importorskip("tblite")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("molecule", [WATER, METHYLACETAMIDE, ACETATE])
def test_polar_tensors_are_slopes_of_the_dipole(molecule, method):
    """∂F_ib/∂E_a in fields against ∂M_a/∂r_ib by displaced atoms: units, sign and orientation."""
    frame, step = isolated(*molecule), 2e-3

    def dipole(atom, arm):
        positions = frame.positions.copy()
        positions[atom] += arm
        return single_point(frame.moved_to(positions), method)["dipole"] * BOHR

    expected = np.zeros((len(frame), 3, 3))
    for atom in range(len(frame)):
        for b, arm in enumerate(step * np.eye(3)):
            expected[atom, :, b] = (dipole(atom, arm) - dipole(atom, -arm)) / (2 * step)
    found = polar_tensors(frame, method)
    assert np.abs(found - expected).max() < 1e-4
    assert np.abs(found - expected.swapaxes(1, 2)).max() > 0.03
    assert_allclose(found.sum(axis=0), frame.charge * np.eye(3), atol=1e-9)


def test_a_molecule_alone_in_a_cell_is_one_in_vacuum():
    """Whatever the cell, and where the boundary cuts it."""
    frame = isolated(*METHYLACETAMIDE)
    cell = np.array([[12.0, 0, 0], [1.0, 11.0, 0], [-2.0, 0.5, 10.0]])
    cut = frame.positions - np.rint(frame.positions @ np.linalg.inv(cell) * 3) @ cell
    periodic = Frame(frame.numbers, cut, cell, [True] * 3)
    assert_allclose(XTB().predict(periodic), XTB().predict(frame), atol=1e-6)


def test_neighbours_are_seen_across_the_boundary():
    """A molecule of ice has the tensors that it has in its cluster, cut out by hand."""
    frame = ice()
    images = [[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
    own, places = frame.positions[:3], []
    for shift in images:
        for k in (0, 3):
            other = frame.positions[k : k + 3] + shift @ frame.cell
            far = np.linalg.norm(own[:, None] - other, axis=2).min()
            if 0.0 < far < 2.8:
                places.append(other)
    assert len(places) > 3
    cluster = Frame([8, 1, 1] * (len(places) + 1), np.concatenate([own, *places]))
    found = XTB("GFN1").predict(frame)[:3]
    assert_allclose(found, polar_tensors(cluster, "GFN1")[:3], atol=1e-6)
    assert np.abs(found - polar_tensors(Frame([8, 1, 1], own), "GFN1")).max() > 0.02


def test_ions_in_a_box_have_their_charges():
    """Of one atom without a topology; of several by a topology alone."""
    water = np.array(WATER[1])
    box = {"cell": 14 * np.eye(3), "pbc": [True] * 3}
    places = np.concatenate([water, [[2.3, 2.0, 2.9], [7.0, 7.0, 7.0]]])
    salt = Frame([8, 1, 1, 11, 17], places, **box)
    found = XTB().predict(salt)
    assert_allclose(found[4], -np.eye(3), atol=1e-6)
    assert_allclose(XTB().predict(Frame([17], [[0.0, 0, 0]], charge=-1.0))[0], found[4], atol=1e-6)
    symbols, positions, _ = ACETATE
    numbers = isolated(symbols, positions, -1).numbers
    ions = Frame([*numbers, 11], [*positions, [8.0, 8.0, 8.0]], **box)
    with pytest.raises(ModelError, match=r"add up to 1 e, and C2H3O2 has an odd number of electr"):
        XTB().check(ions)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = []
    for shift in (0.0, 0.02, -0.03):
        lines += ["3", "water"]
        for symbol, place in zip(WATER[0], np.array(WATER[1]), strict=True):
            lines.append(f"{symbol} {place[0] * (1 + shift)} {place[1]} {place[2] + shift}")
    (tmp_path / "water.xyz").write_text("\n".join(lines) + "\n")
    (tmp_path / "gfn2.toml").write_text('method = "GFN2"\n')

    def command(*words, code=0):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == code, done.output
        return done

    return command


def test_a_campaign_of_the_command_line(run):
    labels = {}
    for route in ("field", "displacement", "analytic"):
        planned = run(
            *("label", "plan", "water.xyz", "--pbc", "none", "--count", 2, "--route", route),
            *("--code", "tblite", "--template", "gfn2.toml", "-o", route, "--json"),
        )
        assert json.loads(planned.stdout)["level_of_theory"] == "GFN2-xTB"
        run("label", "run", route)
        run("label", "collect", route, "-o", f"{route}.h5")
        labels[route] = read_labels(f"{route}.h5")
        assert "tblite 0." in labels[route].level_of_theory and len(labels[route]) == 2
    for field, *others in zip(*labels.values(), strict=True):
        for other in others:
            assert_allclose(other.apt, field.apt, atol=1e-3)
        assert_allclose(field.apt, XTB().predict(field.frame), atol=1e-4)


def test_what_cannot_be_labelled_is_refused(run, tmp_path):
    code = find_code("tblite")
    (tmp_path / "typo.toml").write_text('methode = "GFN2"\n')
    with pytest.raises(CampaignError, match=r"typo.toml: there is no setting 'methode'; there are"):
        code.recipe(tmp_path / "typo.toml")
    (tmp_path / "three.toml").write_text('method = "GFN3"\n')
    with pytest.raises(CampaignError, match="'GFN3': choose one of GFN1, GFN2"):
        code.recipe(tmp_path / "three.toml")
    refused = run(
        *("label", "plan", "water.xyz", "--cell", "9 9 9", "--count", 1, "--code", "tblite"),
        *("--template", "gfn2.toml"),
        code=1,
    )
    assert "tblite labels molecules and ions in vacuum" in refused.output


def test_what_xtb_cannot_predict_is_refused():
    with pytest.raises(ModelError, match=r"11 electrons, with a total charge of -1 e, cannot"):
        XTB().check(isolated(*WATER[:2], -1))
    with pytest.raises(ModelError, match="parameters of H to Rn, and none of U"):
        XTB().check(Frame([92], [[0.0, 0, 0]]))
    with pytest.raises(ModelError, match=r"the whole frame \(3 atoms\): GFN2-xTB: SCF not conv"):
        XTB().predict(isolated(*WATER[:2], -6))
    corners = 1.78 * np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1.0]])
    diamond = np.concatenate([corners, corners + 0.89])
    endless = Frame([6] * 8, diamond, 3.56 * np.eye(3), [True] * 3)
    with pytest.raises(ModelError, match="bonded to its own periodic image"):
        XTB().check(endless)


def test_a_missing_package_is_named_with_what_to_type(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tblite", None)
    (tmp_path / "gfn2.toml").write_text("")
    install = r'tblite is not installed: pip install "mda-aptnn\[tblite\]"'
    with pytest.raises(ModelError, match=install):
        XTB()
    with pytest.raises((CampaignError, ModelError), match=install):
        find_code("tblite").recipe(tmp_path / "gfn2.toml")
