"""Measured spectra: files of every form, what is wrong with them, and a comparison whose answer is
known.
"""

import builtins
import dataclasses
import re

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from mda_aptnn.errors import AptnnError, FileFormatError, SpectrumError
from mda_aptnn.spectra.experiment import Experiment, compare_with_experiment, read_experiment
from tests.spectra.test_comparison import band

#: A band on a floor: wavenumbers, and ε in L/(mol cm).
X = np.linspace(1400.0, 1900.0, 101)
Y = 2 + 20 / (1 + ((X - 1645) / 40) ** 2)


def text(x=X, y=Y, header="wavenumber [cm-1],epsilon [L/mol/cm]", between=","):
    rows = "\n".join(f"{a:.6g}{between}{b:.9g}" for a, b in zip(x, y, strict=True))
    return f"{header}\n{rows}\n" if header else f"{rows}\n"


def jcamp(values=Y, y_units="ABSORBANCE", factor=1e-6, per_line=7, more=""):
    lines = [
        "##TITLE=made up",
        "##JCAMP-DX=4.24",
        "##DATA TYPE=INFRARED SPECTRUM",
        "##XUNITS=1/CM",
        f"##YUNITS={y_units}",
        f"##FIRSTX={X[0]}",
        f"##LASTX={X[-1]}",
        f"##NPOINTS={len(X)}",
        "##XFACTOR=1.0",
        f"##YFACTOR={factor}",
        *more.splitlines(),
        "##XYDATA=(X++(Y..Y))",
    ]
    integers = np.round(values / factor).astype(int)
    for start in range(0, len(X), per_line):
        row = " ".join(map(str, integers[start : start + per_line]))
        lines.append(f"{X[start]:g} {row}")
    return "\n".join([*lines, "##END=", ""])


def squeezed(values, factor=1e-3):
    """The same in the compressed form of differences: DIF and DUP of JCAMP-DX 4.24."""
    plus, minus, dup = "%JKLMNOPQR", "%jklmnopqr", " STUVWXYZs"
    first = "@ABCDEFGHI"
    integers = np.round(values / factor).astype(int)

    def digits(number, letters):
        return letters[int(str(number)[0])] + str(number)[1:]

    body = jcamp(values, factor=factor).split("##XYDATA")[0]
    rows, start = [], 0
    while start < len(integers) - 1:
        stop = min(start + 10, len(integers) - 1)
        row = f"{X[start]:g}" + digits(integers[start], first)
        steps = np.diff(integers[start : stop + 1])
        k = 0
        while k < len(steps):
            same = 1
            while k + same < len(steps) and steps[k + same] == steps[k] and same < 9:
                same += 1
            row += digits(abs(steps[k]), plus if steps[k] >= 0 else minus)
            row += dup[same] if same > 1 else ""
            k += same
        rows.append(row)
        start = stop
    # the last line holds the value that the one before is checked with
    rows.append(f"{X[-1]:g}" + digits(integers[-1], first))
    return body + "##XYDATA=(X++(Y..Y))\n" + "\n".join(rows) + "\n##END=\n"


def read(tmp_path, content, name="measured.csv", **how):
    (tmp_path / name).write_text(content)
    return read_experiment(tmp_path / name, **how)


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (text(), {}),
        (text(between="\t", header="# wavenumber / cm-1\tmolar absorptivity"), {}),
        (text(between=" ", header=""), {"quantity": "epsilon", "x_unit": "cm-1"}),
        (text(header="# a comment\n\n1/cm;epsilon, base 10", between=";").replace(".", ","), {}),
        (text(X[::-1], Y[::-1]), {}),
        (text(1e4 / X, Y, "wavelength (µm),epsilon (M-1 cm-1)"), {}),
        (text(1e7 / X, Y, "nm,epsilon"), {}),
        (text(X, Y * np.log(10), "cm^-1,epsilon base e"), {}),
        (text(X, Y * np.log(10), "cm^-1,epsilon"), {"base": "e"}),
        (text(X / 33.35640951981521, Y, "frequency [THz],epsilon"), {}),
    ],
)
def test_text_in_every_form(tmp_path, content, how):
    found = read(tmp_path, content, **how)
    np.testing.assert_allclose(found.wavenumber, X, rtol=2e-5)
    np.testing.assert_allclose(found.values, Y, rtol=1e-5)
    assert found.quantity == "epsilon" and found.path_length is None


@pytest.mark.parametrize(
    ("head", "factor", "quantity"),
    [
        ("absorption coefficient (m^-1) base e", 0.01, "alpha"),
        ("absorption coefficient / m-1", 0.01 * np.log(10), "alpha"),
        ("molar absorption coefficient (m2 mol-1)", 10, "epsilon"),
        ("molar absorptivity (cm2/mol)", 1e-3, "epsilon"),
        ("epsilon [L/(mol cm)]", 1, "epsilon"),
        ("extinction coefficient (M-1 cm-1)", 1, "epsilon"),
        ("epsilon (mM-1 cm-1)", 1000, "epsilon"),
        ("l/mol/cm", 1, "epsilon"),
        ("conductivity (S/cm)", 100, "conductivity"),
        ("Napierian alpha (cm-1)", 1, "alpha"),
        ("absorption alpha (base e) (cm-1)", 1, "alpha"),
        ("n alpha / 1/cm (base e)", 1, "n-alpha"),
        ("alpha (decadic, m-1)", 0.01 * np.log(10), "alpha"),
        ("absorbance (from transmittance)", 1, "absorbance"),
        ("absorbance (a.u.)", 1, "absorbance"),
    ],
)
def test_the_unit_of_the_second_column_is_read(tmp_path, head, factor, quantity):
    how = {} if re.search("base e|napier|decadic", head, re.I) else {"base": "10"}
    how = how if quantity in ("alpha", "n-alpha") else {}
    found = read(tmp_path, text(header=f"cm-1,{head}".replace("(decadic, ", "(decadic ")), **how)
    assert found.quantity == quantity
    np.testing.assert_allclose(found.values, factor * Y, rtol=1e-5)
    assert any(" is made " in note for note in found.notes) or factor == 1


@pytest.mark.parametrize(
    ("quantity", "head"),
    [
        ("epsilon", "epsilon (furlong)"),
        ("k", "k (M-1 cm-1)"),
        (None, "extinction coefficient (cm-1)"),
        ("alpha", "signal base e (S/m)"),
        (None, "n-alpha base e / per cm"),
    ],
)
def test_a_unit_that_is_none_of_the_quantity_is_refused(tmp_path, quantity, head):
    with pytest.raises(FileFormatError, match="and that is no unit of"):
        read(tmp_path, text(header=f"cm-1,{head}"), quantity=quantity)


def test_logarithms_of_transmittance_are_not_taken_again(tmp_path):
    for head in ("-log10 transmittance", "log(T)", "-ln T"):
        with pytest.raises(FileFormatError, match="does not say what its second column is"):
            read(tmp_path, text(header=f"cm-1,{head}"))


def test_the_unit_of_the_first_column_is_read(tmp_path):
    found = read(tmp_path, text(100 * X, header="wavenumber (m-1),epsilon"))
    np.testing.assert_allclose(found.wavenumber, X, rtol=1e-5)
    with pytest.raises(FileFormatError, match="unit of its first column"):
        read(tmp_path, text(header="wavenumber (um-1),epsilon"))


def test_words_behind_a_number_sign_are_a_header(tmp_path):
    """As numpy.savetxt writes them; numbers behind one are no data."""
    found = read(tmp_path, text(header="#1390 7\n# wavenumber absorbance", between=" "))
    assert found.quantity == "absorbance" and len(found.values) == len(X)
    found = read(tmp_path, text(header="# wavenumber (cm-1) conductivity (S/cm)", between=" "))
    np.testing.assert_allclose(found.values, 100 * Y, rtol=1e-5)


def test_a_transmittance_has_no_base(tmp_path):
    """It was divided by ln 10."""
    with pytest.raises(FileFormatError, match="which has no base"):
        read(tmp_path, text(X, 10 ** (-Y / 20), "cm-1,transmittance"), base="e")
    found = read(tmp_path, text(X, 10 ** (-Y / 20), "cm-1,transmittance of alpha base e"))
    np.testing.assert_allclose(found.values, Y / 20, rtol=1e-5)


def test_a_reversed_axis_is_said(tmp_path):
    assert "axis reversed" in " ".join(read(tmp_path, text(X[::-1], Y[::-1])).notes)
    assert not read(tmp_path, text(header="cm-1,epsilon base 10")).notes


@pytest.mark.parametrize("form", [jcamp, squeezed])
def test_jcamp_plain_and_compressed(tmp_path, form):
    values = np.round(Y, 3)
    values[40:60] = values[40]
    found = read(tmp_path, form(values), "measured.jdx")
    np.testing.assert_allclose(found.wavenumber, X, rtol=1e-9)
    np.testing.assert_allclose(found.values, values, atol=1e-6)
    assert found.quantity == "absorbance"


def test_percent_transmittance_with_its_path_from_the_header(tmp_path):
    absorbance = Y / 20
    percent = 100 * 10**-absorbance
    header = "##PATH LENGTH=10 UM"
    found = read(tmp_path, jcamp(percent, "TRANSMITTANCE", more=header), "measured.dx")
    np.testing.assert_allclose(found.values, absorbance, rtol=1e-4)
    assert found.quantity == "absorbance" and found.path_length == pytest.approx(1e-3)
    assert any("percent transmittance" in note for note in found.notes)
    fraction = read(tmp_path, text(X, percent / 100, "cm-1,transmittance"))
    np.testing.assert_allclose(fraction.values, absorbance, rtol=1e-4)
    odd = read(tmp_path, jcamp(percent, "TRANSMITTANCE", more="##PATH LENGTH=thin"), "measured.dx")
    assert odd.path_length is None and any("not understood" in note for note in odd.notes)
    bare = read(tmp_path, jcamp(percent, "TRANSMITTANCE", more="##PATHLENGTH=0.1"), "measured.dx")
    assert bare.path_length is None and any("not understood" in note for note in bare.notes)


def test_gaps_negative_values_and_missing_ones_are_said(tmp_path):
    y = Y - 3
    kept = (X < 1500) | (X > 1560)
    content = text(X[kept], y[kept]) + "1901,\n1902,?\n1903,nan\n1910,1\n"
    found = read(tmp_path, content)
    said = " ".join(found.notes)
    assert "3 rows without a value are left out" in said
    assert f"{(found.values < 0).sum()} of {len(found.values)} values are negative" in said
    assert "no point between 1495 and 1565 cm⁻¹" in said
    dark = read(tmp_path, text(X, np.where(X > 1800, 0.0, 0.5), "cm-1,transmittance"))
    assert dark.wavenumber[-1] == 1800 and "let nothing through" in " ".join(dark.notes)
    more = read(tmp_path, text().replace("\n1400,", "\n1400,").replace("\n1405,", "\n1405,3,7,"))
    assert "only the first two of 4 columns" in " ".join(more.notes)


@pytest.mark.parametrize(
    ("content", "how", "said"),
    [
        (text(header=""), {}, "does not say what its second column is: give --quantity"),
        (text(header=""), {"quantity": "epsilon"}, "unit of its first column: give --x-unit"),
        (text(header="cm-1,alpha"), {}, "base e or to base 10: give --base"),
        (text(header="cm-1,furlongs"), {"quantity": "beauty"}, "no quantity 'beauty'"),
        (text() + "1500,3\n", {}, "the point at 1500 cm⁻¹ comes twice"),
        (text() + "the end,of it\n", {}, r"line 103: 'the end,of it' are not two numbers"),
        (text(X[:3], Y[:3]), {}, "has 3 rows of two numbers"),
        ("", {}, "has 0 rows"),
        (text(X - 1500), {}, "wavenumbers are negative, down to -100"),
        (text(X - 1500, Y, "wavelength [um],epsilon"), {}, "wavelengths must be positive"),
        (text(X, -Y, "cm-1,transmittance"), {}, "is no transmittance"),
        (text(), {"x_unit": "kg"}, "unit of the spectrum"),
        (jcamp().replace("##NPOINTS=101", "##NPOINTS=100"), {}, "do not fit its header"),
        (jcamp().replace("##FIRSTX=1400.0\n", ""), {}, "jcamp cannot read it"),
        (jcamp(y_units="FURLONGS"), {}, "does not say what its second column is"),
        (jcamp().replace(" 20", " ?"), {}, "jcamp cannot read it"),
        ("##TITLE=nothing\n##END=\n", {}, "do not fit its header: 0 wavenumbers"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, content, how, said):
    with pytest.raises(ValueError, match=said) as caught:
        read(tmp_path, content, **how)
    assert "\n" not in str(caught.value) and isinstance(caught.value, AptnnError)


def test_jcamp_needs_its_package(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **more):
        if name == "jcamp":
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'mda-aptnn\[jcamp\]'"):
        read(tmp_path, jcamp(), "a.jdx")


def test_the_bundled_points_are_those_of_a_handbook():
    """α = 4πk/λ against the same authors' values in M. J. Weber, Handbook of Optical Materials
    (2003), to their three digits.
    """
    water = read_experiment("water-hale-querry-1973")
    handbook = {19: 2740, 20: 2470, 22: 2130, 24: 1890, 27: 1600, 30: 1370, 34: 1220, 42: 1220}
    for wavelength, alpha in handbook.items():
        place = int(np.abs(water.wavenumber - 1e4 / wavelength).argmin())
        found = 4 * np.pi * water.values[place] * water.wavenumber[place]
        assert found == pytest.approx(alpha, rel=0.005)
    # O-H stretch at 2.95 µm, bend at 6.1 µm
    assert water.wavenumber[water.values.argmax() :][0] and water.quantity == "k"
    stretch = water.wavenumber > 3000
    assert water.wavenumber[stretch][water.values[stretch].argmax()] == pytest.approx(3390, abs=1)


@pytest.fixture(scope="module")
def spectrum():
    """One band near 3180 cm⁻¹."""
    return dataclasses.replace(band(), info={"molecules": {"H2O": 3}})


def measured(spectrum, factor=1.0, height=1.0, quantity="n-alpha", **how):
    """The spectrum itself, stretched and scaled, on other points."""
    shown = spectrum.to(quantity, **how) if quantity != "arbitrary" else spectrum
    grid = spectrum.wavenumber.magnitude
    x = np.linspace(1000, 6000, 700)
    y = height * CubicSpline(grid, shown.curve().value)(x / factor)
    return Experiment("made up", x, y, quantity)


@pytest.mark.parametrize(("factor", "height"), [(1.0, 1.0), (0.953, 1.7), (1.04, 0.3)])
def test_a_known_factor_and_height_are_found(spectrum, factor, height):
    bands = [(2400, 3100), (2900, 4200)]
    other = measured(spectrum, factor, height)
    found = compare_with_experiment(spectrum, other, bands, fit_frequency=True)
    assert found.frequency_factor.value == pytest.approx(factor, abs=2e-5)
    assert 0 < found.frequency_factor.error < 0.02 and found.scale is None
    for one in found.bands:
        assert one.intensity.value == pytest.approx(height, rel=1e-3)
        assert one.shift.value == pytest.approx(0, abs=0.2)
        assert 1 - one.shape.value < 1e-5 < one.noise
    scaled = compare_with_experiment(spectrum, other, bands, fit_frequency=True, scaled=True)
    assert scaled.scale.value == pytest.approx(height, rel=1e-3)
    assert scaled.bands[0].intensity.value == pytest.approx(1, rel=1e-3)
    assert f"heights × {scaled.scale}" in str(scaled) and "fitted" in str(scaled)


@pytest.mark.parametrize(
    ("quantity", "how"),
    [
        ("epsilon", {"molecules": "H2O", "epsilon_infinity": 1.8}),
        ("absorbance", {"path_length": "1 um", "refractive_index": 1.3}),
        ("k", {"refractive_index": 1.3}),
        ("conductivity", {}),
    ],
)
def test_what_was_measured_is_what_is_compared(spectrum, quantity, how):
    other = measured(spectrum, height=0.9, quantity=quantity, **how)
    found = compare_with_experiment(spectrum, other, [(2400, 4200)], **how)
    assert found.bands[0].intensity.value == pytest.approx(0.9, rel=1e-3)
    assert found.spectrum.shown.quantity == quantity
    # the errors are those of the band itself
    relative = found.bands[0].intensity.error / found.bands[0].intensity.value
    own = spectrum.band(2400, 4200)
    assert relative == pytest.approx(own.error / own.value, rel=0.3)


@pytest.mark.slow
def test_errors_of_a_comparison_are_the_scatter_of_runs():
    truth = Experiment("mean", *(np.array(part) for part in _mean_of_runs(30)), quantity="n-alpha")
    found = [
        compare_with_experiment(band(k, 4000, resolution=250.0), truth, [(1500, 5500)]).bands[0]
        for k in range(100, 130)
    ]
    for name in ("intensity", "shift"):
        values = np.array([getattr(one, name).value for one in found])
        errors = np.array([getattr(one, name).error for one in found])
        assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.4)


def _mean_of_runs(n):
    runs = [band(k, 4000, resolution=250.0) for k in range(n)]
    return runs[0].wavenumber.magnitude, np.mean([run.curve().value for run in runs], axis=0)


def test_the_picture_has_both(spectrum, tmp_path):
    found = compare_with_experiment(
        spectrum, measured(spectrum, 0.95), [(2400, 4200)], fit_frequency=True, scaled=True
    )
    ax = found.plot(tmp_path / "both.png")
    labels = [line.get_label() for line in ax.get_lines()]
    assert labels == ["trajectory", "made up"] and "× 0.95" in ax.get_title()
    top = [line.get_xdata()[line.get_ydata().argmax()] for line in ax.get_lines()]
    assert top[0] == pytest.approx(top[1], abs=10)


def test_a_scaled_absorbance_is_not_called_alpha(spectrum, tmp_path):
    other = dataclasses.replace(measured(spectrum), quantity="absorbance")
    found = compare_with_experiment(spectrum, other, [(2400, 4200)], scaled=True)
    assert "absorbance" in found.plot(tmp_path / "both.png").get_ylabel()
    assert str(found).startswith("made up, absorbance beside n*alpha")


def test_a_transmittance_is_not_compared_with_an_arbitrary_unit(spectrum):
    shown = spectrum.to("transmittance", path_length="1 um", refractive_index=1.0)
    with pytest.raises(SpectrumError, match="shown as transmittance"):
        compare_with_experiment(
            shown, measured(spectrum, quantity="arbitrary"), [(2400, 4200)], scaled=True
        )


@pytest.mark.parametrize(
    ("change", "bands", "how", "said"),
    [
        ({}, [(500, 2000)], {}, "measured from 1000 to 6000 cm⁻¹, and the band is 500 to 2000"),
        ({}, [(3000, 3045)], {}, "is not a band of the spectrum"),
        ({"gap": (3000, 3600)}, [(2500, 4000)], {}, "no point between .* more than a quarter"),
        ({"quantity": "arbitrary"}, [(2500, 4000)], {}, "arbitrary units: compare it scaled"),
        ({"quantity": "absorbance"}, [(2500, 4000)], {}, "path length is not known"),
        (
            {"quantity": "arbitrary"},
            [(2500, 4000)],
            {"scaled": True, "molecules": "XX", "epsilon_infinity": -7.0},
            "which have no molecules, epsilon_infinity: leave",
        ),
        ({}, [(2500, 4000)], {"path_length": "junk"}, "a path length is of an absorbance"),
        ({"quantity": "alpha"}, [(2500, 4000)], {}, "n times it: give epsilon_infinity"),
        ({"quantity": "epsilon"}, [(2500, 4000)], {"molecules": "CO"}, "no molecule 'CO'"),
        ({"factor": 1.3}, [(2000, 5900)], {"fit_frequency": True}, "no frequency factor from"),
    ],
)
def test_what_cannot_be_compared_is_refused(spectrum, change, bands, how, said):
    change = dict(change)
    gap, quantity = change.pop("gap", None), change.pop("quantity", "n-alpha")
    other = dataclasses.replace(measured(spectrum, **change), quantity=quantity)
    if gap:
        kept = (other.wavenumber < gap[0]) | (other.wavenumber > gap[1])
        other = dataclasses.replace(
            other, wavenumber=other.wavenumber[kept], values=other.values[kept]
        )
    with pytest.raises(SpectrumError, match=said):
        compare_with_experiment(spectrum, other, bands, **how)
