"""What is in a picture: its axes, ranges, lines, colours and words, not its pixels."""

import dataclasses
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import same_color, to_rgb
from matplotlib.figure import Figure
from typer.testing import CliRunner

import mda_aptnn
from mda_aptnn import figures, units
from mda_aptnn.cli import app
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.term_plots import plot_matrix
from tests.spectra.test_convergence import synthetic
from tests.systems import absorption_spectrum

#: Centre, width and height of three bands in cm⁻¹: one is far higher than the others.
BANDS = ((600, 150, 0.1), (1700, 60, 0.1), (3500, 150, 1.0))


def made(groups=("O", "H"), seed=0, members=None, **options):
    """A spectrum with three bands, whose last group has nearly all of it."""
    rng, n, spacing = np.random.default_rng(seed), 6000, 1e-3
    grid = np.fft.rfftfreq(n, spacing) / units.SPEED_OF_LIGHT
    weight = sum(h * np.exp(-(((grid - c) / w) ** 2)) for c, w, h in BANDS) ** 0.5
    flux = np.fft.irfft(
        weight[:, None, None] * np.fft.rfft(rng.normal(size=(n, len(groups), 3)), axis=0), n, axis=0
    )
    flux[:, :-1] *= 0.2
    return absorption_spectrum(
        [flux], list(groups), spacing, 300.0, 1000.0, resolution=60.0, segments=8, **options
    )


@pytest.fixture(scope="module")
def spectrum():
    return made()


def words(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_axis_ends_where_the_spectrum_does_and_can_be_chosen(spectrum):
    """Version 0.1.0 drew from 0 to 4500 whatever there was."""
    assert spectrum.wavenumber.magnitude[-1] > 16000
    assert spectrum.plot(ax=Figure().subplots()).get_xlim() == (0, 4000)
    ax = spectrum.plot(ax=Figure().subplots(), range=("300 cm^-1", "60 THz"))
    assert ax.get_xlim() == pytest.approx((300, 2001.4), rel=1e-4)
    # the vertical axis is that of what is seen
    x, y = ax.get_lines()[0].get_data()
    step = spectrum.wavenumber.magnitude[1]
    assert 300 - step <= x[0] <= 300 and 2001 <= x[-1] <= 2002 + step
    assert ax.get_ylim()[1] < 2 * y.max() < 0.5 * spectrum.absorption.magnitude.max()


def test_ranges_beside_each_other_have_vertical_axes_of_their_own(spectrum):
    low, high = spectrum.plot(figure=Figure(), range=[(0, 2200), (3000, 4000)], terms=False)
    assert low.get_xlim() == (0, 2200) and high.get_xlim() == (3000, 4000)
    assert low.get_ylim()[1] < 0.5 * high.get_ylim()[1]
    # lines are not cut short, nor do they cross the gap
    assert low.get_lines()[0].get_xdata()[-1] < 2210 and high.get_lines()[0].get_xdata()[0] > 2990
    assert low.get_ylabel().startswith("$n(") and high.get_ylabel() == ""
    width = [ax.get_position().width for ax in (low, high)]
    assert width[0] > 1.5 * width[1]
    axes = Figure().subplots(1, 2)
    assert list(spectrum.plot(ax=axes, range=[(0, 2200), (3000, 4000)])) == list(axes)


def test_logarithmic_axes_show_four_decades(spectrum):
    ax = spectrum.plot(ax=Figure().subplots(), log="y", terms=False)
    low, high = ax.get_ylim()
    assert ax.get_yscale() == "log" and 1e-5 < low / high < 1e-3 and ax.get_xscale() == "linear"
    ax = spectrum.plot(ax=Figure().subplots(), log="xy")
    assert ax.get_xscale() == "log" and ax.get_xlim()[0] == spectrum.wavenumber.magnitude[1]
    with pytest.raises(SpectrumError, match="give x, y or xy"):
        spectrum.plot(log="z")


def test_several_stand_on_each_other_by_a_part_of_the_highest(spectrum):
    others = {"300 K": spectrum, "320 K": made(seed=1), "340 K": made(seed=2)}
    ax = figures.plot(others, ax=Figure().subplots(), range=(0, 2200), offset=0.5)
    lines = [line for line in ax.get_lines() if line.get_label() in others]
    inside = spectrum.wavenumber.magnitude <= 2200
    highest = max(one.absorption.magnitude[inside].max() for one in others.values())
    for number, (line, one) in enumerate(zip(lines, others.values(), strict=True)):
        lifted = line.get_ydata()[: inside.sum()] - one.absorption.magnitude[inside]
        np.testing.assert_allclose(lifted, 0.5 * number * highest, rtol=0.02, atol=1e-9)
    # as they stand, the last one at the top; one entry for the bands of all
    assert words(ax) == ["68 % confidence", "340 K", "320 K", "300 K"]
    assert ax.get_ylabel().endswith("(base e), shifted") and len(ax.collections) == 3
    with pytest.raises(SpectrumError, match="offset and a logarithmic vertical axis"):
        figures.plot(others, offset=0.5, log="y")


def test_terms_are_chosen_by_name_in_either_order(spectrum):
    ax = spectrum.plot(ax=Figure().subplots(), terms=["H x O", "O"])
    assert words(ax) == ["total", "O × H", "O", "68 % confidence"]
    cross, own = ax.get_lines()[1:3]
    assert (cross.get_linestyle(), own.get_linestyle()) == ("--", "-")
    many = made("abcdef")
    assert words(many.plot(ax=Figure().subplots())) == ["total", "68 % confidence"]
    assert len(words(many.plot(ax=Figure().subplots(), terms=True))) == 23
    two = figures.plot({"a": spectrum, "b": made(seed=1)}, ax=Figure().subplots(), terms=["O"])
    assert words(two) == ["a", "a, O", "b", "b, O", "68 % confidence"]
    a, own, b, _ = two.get_lines()[:4]
    assert same_color(a.get_color(), own.get_color()) != same_color(a.get_color(), b.get_color())
    with pytest.raises(SpectrumError, match=r"no term 'X' to draw; there are H, O, O × H$"):
        spectrum.plot(terms=["X"])


def test_areas_on_each_other_are_the_total(spectrum):
    ax = spectrum.plot(ax=Figure().subplots(), stacked=True)
    total = ax.get_lines()[0].get_ydata()
    grid = ax.get_lines()[0].get_xdata()
    whole = np.zeros(len(grid))
    areas = ax.collections[1:]
    for area in areas:
        corners = area.get_paths()[0].vertices
        for k, x in enumerate(grid):
            heights = corners[corners[:, 0] == x][:, 1]
            whole[k] += (heights.max() - heights.min()) * (1 if heights.sum() >= 0 else -1)
    np.testing.assert_allclose(whole, total, rtol=1e-9, atol=1e-9 * total.max())
    with pytest.raises(SpectrumError, match="areas on each other are of one result"):
        figures.plot({"a": spectrum, "b": spectrum}, stacked=True)


def lightness(colour):
    """CIE L* of a colour."""
    linear = [c / 12.92 if c < 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    y = np.dot([0.2126, 0.7152, 0.0722], linear)
    return 116 * np.cbrt(y) - 16 if y > 0.008856 else 903.3 * y


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_lines_can_be_told_apart_in_grey_and_on_white(n):
    found = [lightness(colour) for colour in figures.colours(n)]
    gaps = [abs(a - b) for a, b in itertools.combinations(found, 2)]
    assert min(gaps) > 50 / n and max(found) < 80


def test_maps_have_one_lightness_for_each_value():
    from matplotlib import colormaps

    steps = np.diff([lightness(colour) for colour in colormaps["magma_r"](np.linspace(0, 1, 64))])
    assert (steps < 0).all()


def test_keywords_of_matplotlib_are_passed_on(spectrum):
    """``plot(color=...)`` was a TypeError."""
    ax = spectrum.plot(ax=Figure().subplots(), color="tab:red", lw=3, label="mine", terms=False)
    [line] = [line for line in ax.get_lines() if line.get_label() == "mine"]
    assert line.get_color() == "tab:red" and line.get_linewidth() == 3
    assert same_color(ax.collections[0].get_facecolor()[0][:3], "tab:red")
    with pytest.raises(AttributeError, match="colr"):
        spectrum.plot(ax=Figure().subplots(), colr="red")
    ax = spectrum.plot(ax=Figure().subplots(), cmap="tab10", terms=["O", "H"])
    assert [
        same_color(line.get_color(), f"C{k}") for k, line in enumerate(ax.get_lines()[1:3])
    ] == [
        True,
        True,
    ]
    ax = spectrum.plot(style="dark_background", terms=False)
    assert ax.get_lines()[0].get_color() == "white"
    assert plt.rcParams["text.color"] == "black"
    plt.close(ax.figure)


def test_every_result_draws_into_axes_that_are_there(spectrum):
    """One alone takes the largest of several panels."""
    found = synthetic(4000)
    from mda_aptnn.spectra.dielectric import dielectric_spectrum
    from mda_aptnn.spectra.spectrogram import spectrogram

    dielectric = dielectric_spectrum(spectrum, 1.8)
    ax = Figure().subplots()
    assert dielectric.plot(ax=ax, range=(0, 1000)) is ax and ax.get_xlim() == (0, 1000)
    assert ax.get_ylabel() == "relative permittivity"
    axes = Figure().subplots(3, 1)
    assert list(dielectric.plot(ax=axes)) == list(axes)
    # what is said above is not said again
    assert words(axes[0]) == ["ε′", "ε″", "68 % confidence"]
    assert axes[1].get_legend() is axes[2].get_legend() is None
    with pytest.raises(SpectrumError, match="ax= has 2 axes, the picture 3 panels in 1 ranges"):
        dielectric.plot(ax=Figure().subplots(2))
    moving = spectrogram(found, temperature=300, resolution=300)
    ax = Figure().subplots()
    assert moving.plot(ax=ax) is ax and ax.get_ylabel() == "time / ps" and not ax.get_lines()
    axes = plot_matrix(spectrum, ax=Figure().subplots(1, 4))
    assert len(axes) == 4 and "400 to 1000" in axes[1].get_title()
    assert "cm$^{-2}$" in axes[1].get_title()
    gas = dataclasses.replace(spectrum, volume=None, info={"molecules": {"H2O": 64}})
    titles = [
        axes[1].get_title().split("\n")[1].split(maxsplit=1)
        for one in (gas, dataclasses.replace(gas, info={}))
        for axes in [plot_matrix(one, ax=Figure().subplots(1, 4))]
    ]
    assert [unit for _, unit in titles] == ["km/mol per H2O", "km/mol per sample"]
    assert float(titles[1][0]) == pytest.approx(64 * float(titles[0][0]), rel=1e-3)
    band = gas.band(400, 1000, n_molecules="H2O")
    assert float(titles[0][0]) == pytest.approx(band.value, rel=1e-3)
    # of several, what is no map
    ax = figures.plot({"a": moving, "b": moving}, ax=Figure().subplots())
    assert ax.get_ylabel() == "mean" and len(ax.get_lines()) == 2


def test_what_cannot_be_drawn_leaves_no_file(spectrum, tmp_path):
    path = tmp_path / "p.png"
    for options, said in (
        (
            {"range": (20000, 30000)},
            "range 20000 to 30000 is outside of what is there: from 0 to 16",
        ),
        ({"range": (1000, 1001)}, "is outside of what is there: .* in steps of"),
        ({"range": (2000, 1000)}, "the lower limit comes first"),
        ({"terms": ["N"]}, "no term 'N'"),
    ):
        with pytest.raises(SpectrumError, match=said):
            spectrum.plot(path, **options)
    short = spectrum.times(np.ones(135), kept=spectrum.wavenumber.magnitude < 1000)
    with pytest.raises(SpectrumError, match="'short' has nothing within the range"):
        figures.plot({"whole": spectrum, "short": short}, path, range=(2000, 4000))
    gas = dataclasses.replace(spectrum, volume=None)
    with pytest.raises(SpectrumError, match=r"'one' and 'gas' have no axes in common: \$n.*V N_A"):
        figures.plot({"one": spectrum, "gas": gas}, path)
    assert not list(tmp_path.iterdir())


def command(*words):
    return CliRunner().invoke(app, ["plot", *map(str, words)])


@pytest.fixture
def stored(spectrum, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spectrum.save("a.h5")
    made(seed=1).save("b.h5")
    return tmp_path


def test_the_command_draws_what_the_method_does(stored, monkeypatch):
    drawn = {}
    whole = figures.Drawn.plot

    def watched(results, path, **options):
        ax = drawn["ax"] = whole(results, path, **options)
        return ax

    monkeypatch.setattr(figures, "plot", watched)
    how = "--range 0-1200 --label cold --label hot --offset 0.5 --terms"
    how = [*how.split(), "O"]
    done = command("a.h5", "b.h5", *how, "-o", "p.pdf")
    assert done.exit_code == 0 and (stored / "p.pdf").read_bytes().startswith(b"%PDF")
    ax = drawn["ax"]
    assert ax.get_xlim() == (0, 1200)
    assert {"cold", "cold, O", "hot", "hot, O", "68 % confidence"} == set(words(ax))
    broken = "--range 0-2200 --range 3000-4000 --log y --terms none --cmap viridis --style ggplot"
    done = command("a.h5", *broken.split(), "-o", "q.svg", "--json")
    assert done.exit_code == 0, done.output
    assert len(drawn["ax"]) == 2 and drawn["ax"][1].get_yscale() == "log"
    assert command("a.h5", "--stacked", "-o", "r.png").exit_code == 0
    assert words(drawn["ax"]) == ["total", "O", "H", "O × H", "68 % confidence"]
    assert command("a.h5", "--label", "300 K", "-o", "r.png").exit_code == 0
    assert words(drawn["ax"]) == ["300 K", "O", "H", "O × H", "68 % confidence"]
    assert command("a.h5", "b.h5", "-o", "s.png").exit_code == 0
    assert set(words(drawn["ax"])) == {"a", "b", "68 % confidence"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("a.h5 b.h5 --label one", "1 labels for 2 files: give --label once for each"),
        ("a.h5 b.h5 --label one --label one", "--label 'one' comes twice"),
        ("a.h5 --range 20000-30000", "the range 20000 to 30000 is outside of what is there"),
        ("a.h5 --range 1200-0", "write the lower and the upper limit"),
        ("a.h5 --terms N", "no term 'N' to draw; there are H, O, O × H"),
        ("a.h5 flux.h5", "flux.h5 is a flux file: make a spectrum of it first"),
        ("a.h5 v.h5", "'a' and 'v' have no axes in common"),
        ("a.h5 --cmap rainboww", "'rainboww' is not a valid value for cmap"),
        ("a.h5 --style nicer", "nicer"),
        ("a.h5 none.h5", "there is no file none.h5"),
        ("a.h5 --log q", "choose one of x, y, xy"),
        ("a.h5 -o a.h5", "a.h5"),
    ],
)
def test_the_command_refuses_in_one_line_and_writes_nothing(stored, given, said):
    synthetic(400).save("flux.h5")
    dataclasses.replace(mda_aptnn.load("a.h5"), volume=None).save("v.h5")
    before = {path: path.read_bytes() for path in stored.iterdir()}
    done = command(*given.split(), *([] if "-o" in given else ["-o", "p.png"]))
    assert done.exit_code == 1 and said in done.stderr and done.stderr.count("\n") == 1, done.output
    assert {path: path.read_bytes() for path in stored.iterdir()} == before
