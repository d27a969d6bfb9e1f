"""Groups, molecules and motions on the command line, from a trajectory and from a flux of atoms in
its place.
"""

from __future__ import annotations

import MDAnalysis as mda
import numpy as np
import pytest

from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.infrared import Spectrum
from tests.cli.test_cli import error, report, run
from tests.labelling_data import DATA

N_FRAMES = 16


@pytest.fixture(scope="module")
def water(tmp_path_factory):
    folder = tmp_path_factory.mktemp("water")
    universe = mda.Universe(str(WATER64_TOPOLOGY), str(WATER64_TRAJECTORY))
    with mda.Writer(str(folder / "water.trr"), len(universe.atoms)) as writer:
        for _ in universe.trajectory[:N_FRAMES]:
            writer.write(universe.atoms)
    return WATER64_TOPOLOGY, folder / "water.trr"


@pytest.fixture(scope="module")
def atoms(water, tmp_path_factory):
    path = tmp_path_factory.mktemp("atoms") / "atoms.h5"
    run("flux", *water, "--per", "atom", "--motions", "rigid", "-o", path)
    return path


def test_molecules_and_motions_of_a_trajectory(water, atoms, tmp_path):
    found = report(
        "flux", *water, "--per", "molecule", "--motions", "rigid", "-o", tmp_path / "m.h5"
    )
    assert len(found["groups"]) == 192 and found["groups"][1] == "H2O 1 rotation"
    total = FluxSeries.load(atoms).total
    series = FluxSeries.load(tmp_path / "m.h5")
    np.testing.assert_allclose(series.total, total, atol=1e-10 * np.abs(total).max())
    text = run("flux", *water, "--per", "element", "-o", tmp_path / "e.h5").stdout
    assert "groups: H, O" in text
    coordinates = [
        "--coordinate",
        "OH=element O; element H",
        "--coordinate",
        "HOH=element H;element O;element H",
    ]
    found = report("flux", *water, *coordinates, "-o", tmp_path / "c.h5")
    assert found["groups"] == ["translation", "rotation", "OH", "HOH", "other vibration"]
    modes = ["--normal-modes", DATA / "water-modes.mol"]
    found = report("flux", *water, *modes, "-o", tmp_path / "n.h5")
    assert found["groups"] == [
        "translation",
        "rotation",
        "1711 cm^-1",
        "3780 cm^-1",
        "3835 cm^-1",
        "other vibration",
    ]
    series = FluxSeries.load(tmp_path / "n.h5")
    np.testing.assert_allclose(series.total, total, atol=1e-10 * np.abs(total).max())
    # all vibrations of a molecule are modes
    assert np.abs(series.flux[:, -1]).max() < 1e-9 * np.abs(series.flux).max()


def test_a_flux_of_atoms_stands_for_the_trajectory(water, atoms, tmp_path, monkeypatch):
    """Nothing is predicted; self and distinct parts sum to the total; picture and table have no
    empty terms.
    """
    monkeypatch.setattr("mda_aptnn.flux.dipole_flux.DipoleFlux.run", None)
    options = [
        "--resolution",
        "1200 cm^-1",
        "--csv",
        tmp_path / "s.csv",
        "--plot",
        tmp_path / "s.png",
    ]
    found = report(
        "spectrum", water[0], atoms, "--per", "molecule", *options, "-o", tmp_path / "s.h5"
    )
    assert len(found["groups"]) == 64
    spectrum = Spectrum.load(tmp_path / "s.h5")
    assert spectrum.groups == ["self", "distinct"]
    whole = report("spectrum", atoms, "--resolution", "1200 cm^-1", "-o", tmp_path / "w.h5")
    assert whole["groups"] == ["translation", "rotation", "vibration"]
    expected = Spectrum.load(tmp_path / "w.h5").absorption.magnitude
    np.testing.assert_allclose(spectrum.absorption.magnitude, expected, atol=1e-5 * expected.max())
    assert (tmp_path / "s.png").stat().st_size > 10_000
    header = (tmp_path / "s.csv").read_text().splitlines()[0]
    assert "self [1/cm],distinct [1/cm]" in header and "self x distinct" not in header
    groups = ["-g", "near=element H and around 2.5 index 0", "--updating", "--motions", "stored"]
    run("flux", water[0], atoms, *groups, "-o", tmp_path / "g.h5")
    assert FluxSeries.load(tmp_path / "g.h5").groups[:2] == ["near translation", "near rotation"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--motions", "vibrations"], ["rigid"]),
        (["--motions", "rigid", "--coordinate", "a=element O;element H"], ["two ways"]),
        (
            ["--motions", "rigid", "--normal-modes", "modes.mol"],
            ["--motions and --normal-modes are two ways"],
        ),
        (["--normal-modes", "modes.mol"], ["modes.mol"]),
        (["--select", "elemnt O"], ["--select (elemnt O) is no selection", "elemnt"]),
        (["--coordinate", "element O"], ["NAME=VALUE"]),
        (["--coordinate", "a=element O"], ["'a'", "1 selections"]),
        (["--coordinate", "a=element O;element O"], ["'a'", "no bonded atoms"]),
        (["--per", "element", "-g", "O=element O"], ["two ways"]),
        (["--per", "chain"], ["molecule"]),
        (["--per", "atom"], ["command flux"]),
    ],
)
def test_mistakes_are_told_in_one_line(water, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    message = error("spectrum", *water, *options)
    for word in words:
        assert word in message
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_mistakes_with_a_flux_of_atoms(water, atoms, tmp_path):
    output = ["-o", tmp_path / "x.h5"]
    assert "--stop cannot change it" in error("spectrum", water[0], atoms, "--stop", 5, *output)
    assert "say --motions stored" in error(
        "spectrum", water[0], atoms, "--motions", "rigid", *output
    )
    assert "cannot be read together" in error("spectrum", *water, atoms, *output)
