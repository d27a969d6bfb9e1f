import dataclasses

import numpy as np
import pytest
from scipy.signal import lfilter

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.comparison import compare
from mda_aptnn.spectra.result import Measured
from tests.systems import absorption_spectrum

SPACING = 1e-3


def band(seed=0, n_frames=8000, angle=0.6, height=1.0, noise=0.0, resolution=100.0, **options):
    """A band at `angle`/2π of the sampling frequency."""
    rng = np.random.default_rng(seed)
    flux = height * lfilter(
        [1], [1, -2 * 0.97 * np.cos(angle), 0.97**2], rng.normal(size=(n_frames, 1, 3)), axis=0
    )
    flux += noise * np.random.default_rng(seed + 1000).normal(size=flux.shape)
    return absorption_spectrum(
        [flux], ["a"], SPACING, 300.0, 1000.0, resolution=resolution, segments=8, **options
    )


def moved(spectrum, shift, scale):
    """The same curve, exactly shifted by whole grid points."""
    points = round(shift / spectrum.wavenumber.magnitude[1])
    values = scale * np.roll(spectrum.cross_sections.magnitude, points, axis=0)
    terms = (scale * np.roll(spectrum.segments.terms, points, axis=1)).astype(np.float32)
    return dataclasses.replace(
        spectrum,
        cross_sections=units.quantity(values, "angstrom^2"),
        segments=dataclasses.replace(spectrum.segments, terms=terms),
    )


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (75.0, 0.8), (-300.0, 3.0)])
def test_a_known_shift_and_scale_are_found(shift, scale):
    one = band()
    other = moved(one, shift, scale)
    shift = round(shift / one.wavenumber.magnitude[1]) * one.wavenumber.magnitude[1]
    found = compare(one, other, 1500, 5500, same_trajectory=True)
    assert found.shift.value == pytest.approx(shift, abs=1e-3)
    assert found.shape.value == pytest.approx(1, abs=1e-9)
    assert found.intensity.value == pytest.approx(scale, rel=0.03)
    assert found.shift.error < 0.01 and "shift" in str(found)
    if shift == 0:
        assert found.intensity.error < 1e-6 and found.noise < 1e-9


@pytest.mark.slow
def test_errors_are_the_scatter_of_repeated_comparisons():
    """Independent runs of one spectrum: ratio 1, no shift, within errors that are those seen."""
    runs = [band(k, 4000, resolution=250.0) for k in range(120)]
    found = [
        compare(one, other, 1500, 5500) for one, other in zip(runs[::2], runs[1::2], strict=True)
    ]
    for name, expected in (("intensity", 1.0), ("shift", 0.0)):
        values = np.array([getattr(c, name).value for c in found])
        errors = np.array([getattr(c, name).error for c in found])
        assert values.mean() == pytest.approx(expected, abs=4 * values.std() / np.sqrt(60))
        assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.3)
    lost = np.array([1 - c.shape.value for c in found])
    assert lost.mean() == pytest.approx(np.mean([c.noise for c in found]), rel=0.3)


def test_what_is_common_is_in_no_error():
    one, other = band(), band(noise=0.3)
    apart = compare(one, other, 2000, 4500)
    together = compare(one, other, 2000, 4500, same_trajectory=True)
    assert together.intensity.error < 0.3 * apart.intensity.error
    assert together.shift.error < 0.3 * apart.shift.error
    assert together.noise < 0.2 * apart.noise
    assert together.intensity.value == apart.intensity.value


def test_grids_need_not_be_equal():
    one = band()
    stretched = dataclasses.replace(one, wavenumber=one.wavenumber * 1.01)
    found = compare(one, stretched, 2000, 4500, same_trajectory=True)
    assert found.shift.value == pytest.approx(0.01 * 3180, rel=0.05)


def test_a_different_shape_is_seen():
    found = compare(band(), band(angle=0.9), 1500, 6500)
    assert found.shift.value == pytest.approx(
        0.3 / (2 * np.pi) / (SPACING * 0.0299792458), rel=0.05
    )
    two = compare(band(), band(noise=30.0), 1500, 6500)
    assert 1 - two.shape.value > 5 * two.noise


def test_what_is_shown_is_compared():
    """Twice the sample has twice the absorption, and the same ε of a molecule."""
    one = dataclasses.replace(band(), volume=None, info={"molecules": {"H2O": 64}})
    two = dataclasses.replace(moved(one, 0.0, 2.0), info={"molecules": {"H2O": 128}})
    assert compare(one, two, 1500, 5500).intensity.value == pytest.approx(2)
    found = compare(one.to("epsilon"), two.to("epsilon"), 1500, 5500, same_trajectory=True)
    assert found.intensity.value == pytest.approx(1) and found.intensity.error < 1e-6
    cell = dataclasses.replace(band(), info=one.info).to("epsilon", refractive_index=1.0)
    assert compare(one.to("epsilon"), cell, 1500, 5500).intensity.value == pytest.approx(1)
    # n(ν) of each: the ratio of the curves that are drawn
    noisy = dataclasses.replace(band(noise=30.0), info=one.info)
    shown = [spectrum.to("epsilon", epsilon_infinity=1.8) for spectrum in (cell, noisy)]
    grid = cell.wavenumber.magnitude
    inside = (grid > 1500) & (grid < 5500)
    areas = [np.trapezoid(spectrum.curve().value[inside], grid[inside]) for spectrum in shown]
    ratio = compare(*shown, 1500, 5500).intensity.value
    assert ratio == pytest.approx(areas[1] / areas[0], rel=2e-3)


def test_what_cannot_be_compared_is_refused():
    one = band()
    with pytest.raises(SpectrumError, match="resolutions of 100 and 200"):
        compare(one, band(resolution=200.0), 2000, 4500)
    with pytest.raises(SpectrumError, match=r"as n-alpha, base e and molar-absorption, .*--q"):
        compare(one, dataclasses.replace(one, volume=None), 2000, 4500)
    seen = one.to("transmittance", path_length="1 um", refractive_index=1.0)
    with pytest.raises(SpectrumError, match="transmittance has no intensities"):
        compare(seen, seen, 2000, 4500)
    with pytest.raises(SpectrumError, match="not a band of both"):
        compare(one, one, 2000, 2001)
    with pytest.raises(SpectrumError, match="segments"):
        compare(one, dataclasses.replace(one, segments=None), 2000, 4500, same_trajectory=True)
    without = compare(one, dataclasses.replace(one, segments=None), 2000, 4500)
    assert np.isnan(without.shift.error) and without.shift.value == pytest.approx(0, abs=1e-6)


def test_without_error_bars_nothing_is_said_of_them():
    """It was "× 1.858 ± nan (noise nan)"."""
    one = dataclasses.replace(band(), segments=None)
    said = str(compare(one, band(1, height=1.3), 1500, 5500))
    assert (
        "nan" not in said
        and "±" not in said
        and "errors unknown" in said
        and "intensity × 1." in said
    )
    assert (
        "nan" not in str(Measured(1.858, float("nan"), "S/m", 0))
        and str(Measured(2, 0.5, "e", 3)) == "2 ± 0.5 e"
    )
