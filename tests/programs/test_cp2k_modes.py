"""Normal modes of a real vibrational analysis: each has its part of the motion at its own
frequency.
"""

import os
import subprocess
import sys

import MDAnalysis as mda
import numpy as np
import pytest

from mda_aptnn import NormalModes, VelocitySpectrum
from mda_aptnn.spectra.vdos import VibrationalDensity
from tests.cp2k_water import DYNAMICS, FORCES, VIBRATIONS
from tests.installed import CP2K

pytestmark = [pytest.mark.cp2k, pytest.mark.skipif(CP2K is None, reason="no cp2k")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Modes and a trajectory of 0.6 ps at 20 K, where vibrations are harmonic."""
    path = tmp_path_factory.mktemp("modes")
    for name, text in (("vib", VIBRATIONS), ("md", DYNAMICS.format(steps=1200, temperature=20))):
        (path / f"{name}.inp").write_text(text + FORCES)
        with open(path / f"{name}.out", "w") as out:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(
                [CP2K, "-i", f"{name}.inp"],
                cwd=path,
                stdout=out,
                stderr=out,
                check=True,
                env=environment,
            )
    return path


def verlet(wavenumber, step=0.5e-15):
    """The wavenumber of a harmonic oscillator as velocity Verlet moves it: 2 sin(ω'Δt/2) = ωΔt,
    here 20 cm⁻¹ more.
    """
    scale = np.pi * 100 * 299792458 * step
    return np.arcsin(wavenumber * scale) / scale


def test_each_mode_moves_at_its_wavenumber(folder):
    [molden] = folder.glob("*.mol")
    modes = NormalModes.from_molden(molden)
    assert list(modes.symbols) == ["O", "H", "H"] and len(modes.names) == 3
    np.testing.assert_allclose(
        np.linalg.norm(modes.positions[1:] - modes.positions[0], axis=1), 0.9572, atol=1e-4
    )
    universe = mda.Universe(str(folder / "md-pos-1.xyz"), topology_format="CP2K", format="CP2K")
    found = VelocitySpectrum(universe, motions=modes, pbc="none").run()
    density = found.density(resolution="80 cm^-1", segments=None)
    grid = density.wavenumber.magnitude
    vibration = sum(density.term(name).magnitude.sum() for name in modes.names)
    for name in modes.names:
        harmonic = verlet(float(name.split()[0]))
        own = density.term(name).magnitude
        assert grid[own.argmax()] == pytest.approx(harmonic, abs=15)
        # what is elsewhere are tails of a short series, and the bend's overtone, which is seen in
        # the symmetric stretch because these velocities give that next to nothing of its own (2e-3
        # of the vibration)
        outside = abs(grid - harmonic) > 200
        assert own[outside].sum() < 0.05 * own.sum() + 1e-3 * vibration
    assert density.term("other vibration").magnitude.sum() < 1e-6 * density.total.magnitude.sum()


def test_command(folder, tmp_path):
    [molden] = folder.glob("*.mol")
    words = [
        "vdos",
        "md-pos-1.xyz",
        "--topology-format",
        "CP2K",
        "--format",
        "CP2K",
        "--pbc",
        "none",
    ]
    words += [
        "--normal-modes",
        molden.name,
        "--resolution",
        "80 cm^-1",
        "-o",
        str(tmp_path / "v.h5"),
    ]
    subprocess.run([sys.executable, "-m", "mda_aptnn.cli", *words], cwd=folder, check=True)
    names = VibrationalDensity.load(tmp_path / "v.h5").names
    assert names[:2] == ["translation", "rotation"] and set(
        NormalModes.from_molden(molden).names
    ) <= set(names)
