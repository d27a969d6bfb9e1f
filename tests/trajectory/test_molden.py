"""Normal modes in Molden's format: a file of CP2K 2023.1 (data/cp2k/README.md), and what is wrong
with others.
"""

import numpy as np
import pytest

from mda_aptnn.errors import FileFormatError, GroupError
from mda_aptnn.trajectory.molden import read_modes
from mda_aptnn.trajectory.motions.normal_modes import NormalModes
from tests.labelling_data import DATA
from tests.systems import MASSES

WATER = DATA / "water-modes.mol"


def test_modes_of_cp2k():
    found = read_modes(WATER)
    assert found.symbols == ["O", "H", "H"] and found.modes.shape == (3, 3, 3)
    arms = found.positions[1:] - found.positions[0]
    np.testing.assert_allclose(np.linalg.norm(arms, axis=1), 0.9572, atol=1e-4)
    mass = np.array([MASSES[symbol] for symbol in found.symbols])
    centred = found.positions - mass @ found.positions / mass.sum()
    # vibrations: no momentum, no angular momentum, within the printed digits
    np.testing.assert_allclose(np.einsum("i,kia->ka", mass, found.modes), 0, atol=2e-3)
    np.testing.assert_allclose(
        np.einsum("i,kia->ka", mass, np.cross(centred, found.modes)), 0, atol=2e-3
    )
    # bend: bonds keep their lengths; stretches: along the bonds, alike or opposite
    along = np.einsum("ja,kja->kj", arms / 0.9572, found.modes[:, 1:] - found.modes[:, :1])
    assert np.argsort(found.wavenumbers).tolist() == [0, 1, 2]
    assert abs(along[0]).max() < 0.1 * abs(along[1:]).min()
    assert along[1, 0] * along[1, 1] > 0 > along[2, 0] * along[2, 1]


def test_modes_are_named_and_those_at_rest_left_out(tmp_path):
    text = WATER.read_text()
    found = read_modes(WATER)
    first = f"{found.wavenumbers[0]:.6f}"
    assert text.count(first) == 1
    (tmp_path / "m.mol").write_text(text.replace(first, "-120.40"))
    modes = NormalModes.from_molden(tmp_path / "m.mol")
    assert modes.names == ["120i cm^-1", *(f"{value:.0f} cm^-1" for value in found.wavenumbers[1:])]
    (tmp_path / "m.mol").write_text(text.replace(first, "0.01"))
    assert len(NormalModes.from_molden(tmp_path / "m.mol").modes) == 2
    for value in found.wavenumbers:
        text = text.replace(f"{value:.6f}", "0.0")
    (tmp_path / "m.mol").write_text(text)
    with pytest.raises(GroupError, match="no mode above 1 cm"):
        NormalModes.from_molden(tmp_path / "m.mol")


def test_damaged_files_are_refused(tmp_path):
    text, path = WATER.read_text(), tmp_path / "m.mol"
    lines = text.splitlines(keepends=True)
    cut = [("".join(lines[:k]), "cut off|no section") for k in range(len(lines) - 1)]
    for changed, said in [
        *cut,
        (text.replace("[FREQ]", "[INT]"), r"no section \[FREQ\]"),
        (text.replace("vibration", "mode", 1), "cut off"),
        ("", "no section"),
    ]:
        path.write_text(changed)
        with pytest.raises(FileFormatError, match=said):
            read_modes(path)
    path.write_bytes(b"\x89HDF\r\n\xff\xfe")
    with pytest.raises(FileFormatError, match="no text"):
        read_modes(path)
