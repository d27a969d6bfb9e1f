"""Methods of a flux whose code stands in spectra, which flux does not import."""

import ast
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mda_aptnn.flux
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.facade import LateMethod
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.spectra import of_flux
from mda_aptnn.trajectory.universe_frames import UniverseFrames
from tests.systems import gas

FOLDER = Path(mda_aptnn.flux.__file__).parent


def doubled(series, times=2):
    """Return the flux, larger."""
    return times * series.flux


class OfAnotherPackage(FluxSeries):
    doubled = LateMethod(f"{__name__}:doubled")


def test_flux_imports_nothing_of_what_is_above_it():
    """Not inside functions either."""
    above = ("spectra", "learning", "live", "report", "cli", "training")
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [part.name for part in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith(tuple(f"mda_aptnn.{part}" for part in above)), path
    code = (
        "import sys, mda_aptnn.flux.dipole_flux; print([m for m in sys.modules if 'aptnn.sp' in m])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("owner", [FluxSeries, DipoleFlux])
@pytest.mark.parametrize("name", ["spectrum", "raman", "sum_frequency"])
def test_methods_are_the_functions_of_spectra(owner, name):
    method = getattr(owner, name)
    assert inspect.unwrap(method) is getattr(of_flux, name)
    assert "temperature" in inspect.signature(method).parameters
    assert "temperature : float" in pydoc.render_doc(method) or name != "spectrum"


def test_methods_are_bound_to_the_flux():
    analysis = DipoleFlux(gas(), FixedCharges({"O": -0.8, "H": 0.4}), velocity_unit="angstrom/ps")
    with pytest.raises(AttributeError, match=r"call run\(\) first"):
        analysis.raman()
    series = analysis.run().series
    np.testing.assert_array_equal(series.correlation("1 fs"), of_flux.correlation(series, "1 fs"))
    assert analysis.spectrum.__self__ is series
    through_class = DipoleFlux.spectrum(analysis, resolution="2000 cm^-1")
    np.testing.assert_array_equal(
        through_class.cross_section, analysis.spectrum(resolution="2000 cm^-1").cross_section
    )
    other = OfAnotherPackage(**vars(series))
    np.testing.assert_array_equal(other.doubled(times=3), 3 * series.flux)
    assert "Return the flux, larger." in pydoc.render_doc(OfAnotherPackage.doubled)


def test_help_shows_every_keyword_and_a_wrong_one_names_the_analysis():
    shown = inspect.signature(DipoleFlux).parameters
    reading = inspect.signature(UniverseFrames).parameters
    for name in ("velocity_unit", "time_step", "elements", "cell", "pbc", "charge"):
        assert shown[name].default == reading[name].default
    assert shown["allow_aliasing"].default is False and "reading" not in shown
    assert "velocity_unit" in pydoc.render_doc(DipoleFlux.__init__)
    with pytest.raises(TypeError, match=r"DipoleFlux\(\) .*'velocity_units'"):
        DipoleFlux(gas(), FixedCharges({"O": -0.8, "H": 0.4}), velocity_units="angstrom/ps")
