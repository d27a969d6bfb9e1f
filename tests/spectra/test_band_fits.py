"""Fitted bands: profiles against integrals, spectra of known bands, coverage of errors, tables."""

import csv
import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.band_fits import PROFILES, fit_bands
from tests.known_bands import RESOLUTION, KnownBands
from tests.spectra.test_quantities import VOLUME, water

GAUSS, LORENTZ = 50.0, 30.0


def lorentzian(x, position, width, area):
    return area * width / (2 * np.pi) / ((x - position) ** 2 + width**2 / 4)


def gaussian(x, position, width, area):
    deviation = width / np.sqrt(8 * np.log(2))
    return (
        area
        / (deviation * np.sqrt(2 * np.pi))
        * np.exp(-((x - position) ** 2) / (2 * deviation**2))
    )


def oscillator(x, position, width):
    """n·α of a damped oscillator, of unit area: maximum at its frequency, width that of damping."""
    return 2 * width / np.pi * x**2 / ((position**2 - x**2) ** 2 + (width * x) ** 2)


def exact(curve, noise=0.0):
    """A spectrum whose n·α is a function of the wavenumber, in two groups and six segments with
    noise that does not depend on the frequency.
    """
    source = water()
    grid = source.wavenumber.magnitude
    rng = np.random.default_rng(5)
    parts = curve(grid) / source.scale
    values = np.stack([1.5 * parts, 0.5 * parts, -parts], axis=1)
    segments = source.segments
    factors = 1 + noise * rng.normal(size=(len(segments.lengths), 1, 1))
    factors /= segments.mean(factors)
    terms = (values * factors).astype(np.float32)
    return dataclasses.replace(
        source,
        cross_sections=units.quantity(values, "angstrom^2"),
        segments=dataclasses.replace(segments, terms=terms),
    )


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("gaussian", lambda x: gaussian(x, 1600, GAUSS, 1)),
        ("lorentzian", lambda x: lorentzian(x, 1600, LORENTZ, 1)),
        (
            "voigt",
            lambda x: quad(
                lambda t: gaussian(t, 1600, GAUSS, 1) * lorentzian(x, t, LORENTZ, 1), 1400, 1800
            )[0],
        ),
        (
            "brendel",
            lambda x: quad(
                lambda t: gaussian(t, 1600, GAUSS, 1) * oscillator(x, t, LORENTZ),
                1400,
                1800,
                points=[x],
            )[0],
        ),
    ],
)
def test_profiles_are_those_of_their_definition(name, model):
    x = np.array([1500.0, 1590.0, 1600.0, 1655.0])
    found = PROFILES[name][0](x, 1600.0, GAUSS, LORENTZ)
    np.testing.assert_allclose(found, [model(one) for one in x], rtol=1e-7)


@pytest.mark.parametrize(
    ("name", "curve"), [("gaussian", gaussian), ("lorentzian", lorentzian), ("voigt", lorentzian)]
)
def test_known_bands_are_recovered(name, curve):
    """Two bands on a straight line; a Voigt profile with hardly a Gaussian part."""
    truth = [(1600.0, 80.0, 4e5), (1850.0, 120.0, 2e5)]

    def n_alpha(x):
        return 300 + 0.1 * x + sum(curve(x, *one) for one in truth)

    found = fit_bands(exact(n_alpha), [(1200, 2300)], name, at=[1640, 1830])
    top = {"gaussian": np.sqrt(4 * np.log(2) / np.pi), "lorentzian": 2 / np.pi, "voigt": 2 / np.pi}
    for one, (position, width, area) in zip(found.bands, truth, strict=True):
        assert one.position.value == pytest.approx(position, abs=0.2)
        assert one.width.value == pytest.approx(width, rel=0.01)
        assert one.area.value == pytest.approx(area, rel=0.015)
        assert one.height.value == pytest.approx(top[name] * area / width, rel=0.01)
        assert str(units.ureg.Unit(one.area.unit)) == "1 / centimeter ** 2"
    np.testing.assert_allclose(found.lines[1200, 2300], [420, 530], rtol=0.05)


def test_brendel_finds_oscillators_of_many_frequencies():
    def n_alpha(x):
        return 3e5 * PROFILES["brendel"][0](x, 700.0, 150.0, 60.0)

    found = fit_bands(exact(n_alpha), [(100, 1600)], "brendel", at=[650], baseline=False).bands[0]
    grid = np.linspace(1, 2000, 20001)
    curve = n_alpha(grid)
    above = grid[curve > curve.max() / 2]
    assert found.position.value == pytest.approx(grid[curve.argmax()], abs=0.2)
    assert found.width.value == pytest.approx(above[-1] - above[0], abs=0.3)
    assert found.area.value == pytest.approx(3e5, rel=1e-3)


def test_errors_are_those_of_the_replicates_and_terms_follow():
    """Segments that differ by a factor: the relative errors of height and area are its, and those
    of position and width nothing.
    """
    source = exact(lambda x: lorentzian(x, 1600, 80, 4e5), noise=0.1)
    found = fit_bands(source, [(1300, 1900)], "lorentzian", terms=True)
    assert [one.term for one in found.bands] == ["total", "a", "b", "a x b"]
    own = source.band(1300, 1900)
    for one, part in zip(found.bands, (1, 1.5, 0.5, -1), strict=True):
        assert one.area.value == pytest.approx(part * 4e5, rel=1e-3)
        assert one.area.error / abs(one.area.value) == pytest.approx(
            own.error / own.value, rel=1e-2
        )
        assert one.position.error < 0.05 and one.width.error < 0.1
    by_hand = own.value / 64
    assert found.integrals[1300, 1900].value == pytest.approx(by_hand) and found.molecule == "H2O"
    per_mole = fit_bands(source.to("molar-absorption"), [(1300, 1900)], "lorentzian").bands[0]
    # cm⁻² times cm³/mol is 1e-5 km/mol
    assert per_mole.area.value == pytest.approx(
        4e5 * VOLUME * 1e-24 * 6.02214076e23 / 64 * 1e-5, rel=1e-3
    )
    assert str(units.ureg.Unit(per_mole.area.unit)) == "kilometer / mole"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("profile", "ratio"), [("lorentzian", 3), ("lorentzian", 10), ("voigt", 3)]
)
def test_errors_hold_the_truth_as_often_as_they_say(profile, ratio):
    """Truth is the same fit to the mean of the estimate."""
    known = KnownBands(ratio, 40)
    centre, reach = known.centres[2], 2 * known.width
    limits = [(centre - reach, centre + reach)]
    rng = np.random.default_rng(7)
    first = known.spectrum(rng)
    expected = np.zeros_like(first.values)
    expected[:, 0] = known.expected()[1].sum(axis=(1, 2)) / first.scale
    mean = dataclasses.replace(first, cross_sections=units.quantity(expected, "angstrom^2"))
    truth = fit_bands(mean, limits, profile, at=[centre]).bands[0]
    assert truth.width.value == pytest.approx(known.width, abs=RESOLUTION)
    inside = []
    for _ in range(150):
        found = fit_bands(known.spectrum(rng), limits, profile, at=[centre]).bands[0]
        for name in ("position", "width", "height", "area"):
            one, exact_one = getattr(found, name), getattr(truth, name).value
            bands = [one.limits(sigmas) for sigmas in (1, 2)]
            inside.append([low < exact_one < high for low, high in bands])
    one, two = np.mean(inside, axis=0)
    assert 0.6 < one < 0.78 and 0.91 < two < 0.99


def test_tables(tmp_path):
    source = exact(lambda x: lorentzian(x, 1600, 80, 4e5), noise=0.05)
    source = dataclasses.replace(source, groups=["a_1", "100 %"])
    found = fit_bands(source.to("epsilon", refractive_index=1.3), [(1300, 1900)], terms=True)
    said = str(found)
    assert "epsilon, base 10, per H2O" in said and "km/mol per H2O" in said and "±" in said
    latex = found.to_latex(tmp_path / "bands.tex")
    assert (tmp_path / "bands.tex").read_text() == latex
    assert latex.count(r"\\") == 5 and latex.count("&") == 20 and r"a\_1 x 100 \%" in latex
    assert "L mol$^{-1}$ cm$^{-1}$" in latex and r"\pm" in latex
    found.to_csv(tmp_path / "bands.csv")
    rows = list(csv.DictReader((tmp_path / "bands.csv").open()))
    assert [row["term"] for row in rows] == ["total", "a_1", "100 %", "a_1 x 100 %"]
    place = "position [1/cm]"
    assert float(rows[0][place]) == pytest.approx(1600, abs=0.5)
    assert float(rows[0][f"standard error of {place}"]) < 1
    found.plot(tmp_path / "bands.png")
    assert (tmp_path / "bands.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("ranges", "how", "said"),
    [
        ([(1300, 99000)], {}, "is not a range of the spectrum, which goes to"),
        ([(1600, 1620)], {}, "is not a range of the spectrum"),
        ([(2500, 4000)], {}, "no band from 2500 to 4000 cm⁻¹ stands out of the noise"),
        ([(2500, 4000)], {"at": [3000]}, "cannot be fitted, as its"),
        ([(1590, 1800)], {"at": [1700], "profile": "gaussian"}, "cannot be fitted"),
        ([(1300, 1900)], {"at": [1600, 1950]}, "a band at 1950 cm⁻¹ .* in none of the ranges"),
        ([(1500, 1900), (1400, 1700)], {"at": [1600]}, "1400 to 1700 and 1500 to 1900 .* overlap"),
        ([(1300, 1900)], {"profile": "box"}, "no profile 'box'; choose one of gaussian"),
        ([(1300, 1900)], {"molecules": "CO"}, "no molecule 'CO'"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(ranges, how, said):
    source = exact(lambda x: lorentzian(x, 1600, 80, 4e5) - 30 * (x > 2400), noise=0.05)
    with pytest.raises(SpectrumError, match=said) as caught:
        fit_bands(source, ranges, **how)
    assert "\n" not in str(caught.value)


def test_a_transmittance_has_no_bands():
    shown = water().to("transmittance", path_length="1 um", refractive_index=1.3)
    with pytest.raises(SpectrumError, match="show absorbance"):
        fit_bands(shown, [(1000, 2000)], at=[1500])
