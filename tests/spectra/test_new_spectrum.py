"""A spectrum that is not part of the package: a prefactor, a name and what is particular to it."""

import dataclasses
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest

from mda_aptnn import units
from mda_aptnn.errors import FileFormatError, SpectrumError, UnitError
from mda_aptnn.figures import Panel
from mda_aptnn.spectra.estimator import Estimator, Rates
from mda_aptnn.spectra.result import Result, array, attribute, band_weights

SPACING = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class PowerSpectrum(Result):
    """Power spectrum of some time series, whose integral is their mean square."""

    kind: ClassVar[str] = "power"
    main: ClassVar[str] = "power"

    power: Any = array("e^2*angstrom^2/ps^2*cm", "frequencies", "pairs")
    names: list[str] = attribute(list)

    def curve(self, *term):
        return self.measure(lambda power: power, "cm", of=lambda v: v.sum(axis=1), positive=True)

    def columns(self):
        found = self.curve()
        return {"wavenumber [1/cm]": self.wavenumber.m, "power": found.value, "s": found.error}

    def _panels(self):
        return [Panel(label="power / cm", curves={"power": self.curve()})]


def power_spectrum(rates, estimator):
    density = estimator.density(rates, factor=2 * units.SPEED_OF_LIGHT)
    power = units.quantity(density.terms, "e^2*angstrom^2/ps^2*cm")
    return PowerSpectrum(**density.common(), power=power, names=list(rates.names))


@pytest.fixture
def made():
    rng = np.random.default_rng(0)
    flux = rng.normal(size=(4000, 2, 3))
    members = flux[:, None] * np.array([0.98, 1.02])[:, None, None]
    rates = Rates(flux, [0, 1500], SPACING, ["a", "b"], members=members)
    return flux, power_spectrum(rates, Estimator(300.0))


def test_it_has_values_and_errors_of_both_kinds(made):
    flux, found = made
    weights = band_weights(found.wavenumber.m)
    integral = found.measure(lambda power: weights @ power.sum(axis=1), positive=True)
    expected = (flux.sum(axis=1) ** 2).sum(axis=1).mean()
    assert integral.value == pytest.approx(expected, rel=1e-9)
    # white noise of two groups: the variance of a mean square over 3 · 4000 numbers is 2/12000
    assert integral.error / integral.value == pytest.approx(np.sqrt(2 / 12000), rel=0.6)
    deviations = np.array([0.98, 1.02]) ** 2 - 1
    assert integral.model_error == pytest.approx(expected * np.linalg.norm(deviations), rel=1e-5)
    centroid = found.measure(lambda p: found.wavenumber.m @ p / p.sum(), of=lambda v: v.sum(axis=1))
    assert abs(centroid.value - found.wavenumber.m.mean()) < 4 * centroid.error


def test_it_is_saved_shown_and_written_as_a_table(made, tmp_path):
    found = made[1]
    found.save(tmp_path / "p.h5")
    back = PowerSpectrum.load(tmp_path / "p.h5")
    assert back.names == ["a", "b"] and back.power.units == found.power.units
    for name in ("value", "error", "model_error"):
        np.testing.assert_array_equal(getattr(back.curve(), name), getattr(found.curve(), name))
    found.to_csv(tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().startswith("wavenumber [1/cm],power,s\n")
    assert found._repr_png_().startswith(b"\x89PNG")
    assert "error bars from" in repr(found)
    doubled = found.times(np.full(len(found.wavenumber), 2.0))
    np.testing.assert_allclose(doubled.curve().error, 2 * found.curve().error, rtol=1e-6)


def test_a_file_that_is_not_whole_is_refused(made, tmp_path):
    made[1].save(tmp_path / "p.h5")
    content = (tmp_path / "p.h5").read_bytes()
    for name in ("power", "wavenumber", "segments/lengths"):
        (tmp_path / "p.h5").write_bytes(content)
        with h5py.File(tmp_path / "p.h5", "a") as file:
            del file[name]
        with pytest.raises(FileFormatError, match=name.split("/")[-1]):
            PowerSpectrum.load(tmp_path / "p.h5")
    (tmp_path / "p.h5").write_bytes(content)
    with h5py.File(tmp_path / "p.h5", "a") as file:
        file["power"].attrs["units"] = "1/cm"
    with pytest.raises(UnitError, match="cannot convert '1/cm'"):
        PowerSpectrum.load(tmp_path / "p.h5")


def test_errors_that_are_not_known_are_said_to_be_so(made):
    alone = dataclasses.replace(made[1], segments=None, members=None)
    assert np.isnan(alone.curve().error).all()
    with pytest.raises(SpectrumError, match="no error bars"):
        alone.standard_error()
    with pytest.raises(SpectrumError, match="no members of a committee"):
        alone.model_error()
