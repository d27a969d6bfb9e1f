import csv
import enum
import itertools

import h5py
import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.signal import lfilter

from mda_aptnn.errors import FileFormatError, SpectrumError, UnitError
from mda_aptnn.spectra.estimator import FINITE_DIFFERENCE_LIMIT
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.result import band_weights
from tests.systems import (
    BOLTZMANN,
    DEBYE,
    KM_PER_MOL,
    LIGHT,
    absorption_spectrum,
    km_per_mol,
    prefactor,
)

SPACING = 0.5e-3
TEMPERATURE = 300.0
VOLUME = 250.0


def oscillator(n_frames=30000, periods=1500, spacing=SPACING, temperature=TEMPERATURE):
    """Ṁ [n_frames, 1, 3] of ∂μ/∂Q = 1 D/Å/√u with ⟨Q̇²⟩ = k_B T, and its wavenumber."""
    angle = 2 * np.pi * periods * np.arange(n_frames) / n_frames
    along = DEBYE * np.sqrt(2 * BOLTZMANN * temperature) * np.cos(angle + 0.4)
    direction = np.array([2.0, -1.0, 2.0]) / 3
    return along[:, None, None] * direction, periods / (n_frames * spacing * LIGHT)


def coloured(n_frames=4000, n_groups=3, seed=0):
    """Groups that share noise and run after each other."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_frames + 50, 3))
    own = lfilter([1], [1, -1.6, 0.8], rng.normal(size=(n_frames + 50, n_groups, 3)), axis=0)
    return np.stack(
        [
            own[50 - 5 * g : -5 * g or None][:n_frames, g] - 2 * noise[50 : 50 + n_frames]
            for g in range(n_groups)
        ],
        1,
    )


def spectrum(segments, n_groups=1, **options):
    options = {"spacing": SPACING, "temperature": TEMPERATURE, "volume": VOLUME, **options}
    return absorption_spectrum(segments, [f"g{k}" for k in range(n_groups)], **options)


@pytest.mark.parametrize("temperature", [TEMPERATURE, 40.0])
@pytest.mark.parametrize("periods", [60, 1500])
@pytest.mark.parametrize("window", ["none", "gaussian", "bartlett"])
def test_an_oscillator_has_its_frequency_and_intensity(window, periods, temperature):
    """At any temperature and frequency: the harmonic correction is in the prefactor, only once."""
    flux, wavenumber = oscillator(periods=periods, temperature=temperature)
    found = spectrum([flux], window=window, temperature=temperature)
    assert found.band().value == pytest.approx(KM_PER_MOL, rel=1e-6)
    integral = np.trapezoid(found.absorption.magnitude, found.wavenumber.magnitude)
    assert km_per_mol(integral, VOLUME) == pytest.approx(KM_PER_MOL, rel=1e-6)
    if window == "none":
        top = found.wavenumber.magnitude[found.absorption.magnitude.argmax()]
        assert top == pytest.approx(wavenumber, rel=1e-6)
    [top] = found.peaks(prominence=0.2)
    assert top.position.value == pytest.approx(wavenumber, abs=0.05)
    assert found.band(
        wavenumber - 200, f"{wavenumber + 200} cm^-1", n_molecules=2
    ).value == pytest.approx(KM_PER_MOL / 2, rel=0.02)


def test_the_whole_formula_by_direct_sums():
    """Prefactor from SI, loops over origins, a Gaussian and a cosine written out."""
    flux = coloured(400, 2)
    resolution = 300.0
    found = spectrum([flux[:150], flux[150:]], 2, resolution=resolution)
    deviation = np.sqrt(2 * np.log(2)) / (np.pi * LIGHT * resolution)
    chosen = [0, 3, 11, 40, len(found.wavenumber) - 1]
    nu = found.wavenumber.magnitude[chosen]
    for g, h in ((0, 0), (0, 1), (1, 1)):
        total = np.zeros(len(chosen))
        for part in (flux[:150], flux[150:]):
            products = (
                np.sum(
                    [np.correlate(part[:, h, a], part[:, g, a], "full") for a in range(3)], axis=0
                )
                / 400
            )
            lags = (np.arange(len(products)) - len(part) + 1) * SPACING
            weights = np.exp(-(lags**2) / (2 * deviation**2))
            total += SPACING * np.cos(2 * np.pi * LIGHT * np.outer(nu, lags)) @ (weights * products)
        expected = prefactor(TEMPERATURE) / VOLUME * total
        scale = np.abs(found.absorption.magnitude).max()
        np.testing.assert_allclose(found.terms.magnitude[chosen, g, h], expected, atol=1e-8 * scale)
        np.testing.assert_allclose(found.terms.magnitude[chosen, h, g], expected, atol=1e-8 * scale)


@pytest.mark.parametrize("window", ["gaussian", "parzen", "bartlett", "none"])
def test_autos_are_not_negative_and_the_sum_rule_holds(window):
    """∫ nα dν̃ = πβ⟨Ṁ²⟩/(6ε₀cV) / 2πc: nothing that matters was cut off at zero."""
    flux = coloured()
    found = spectrum([flux], 3, window=window, resolution=30)
    autos = np.einsum("fgg->fg", found.terms.magnitude)
    assert (autos >= 0).all() and autos.max() > 0
    assert found.terms.magnitude.min() < 0
    assert (np.einsum("fgg->fg", found.components.magnitude) >= 0).all()
    integral = np.trapezoid(found.absorption.magnitude, found.wavenumber.magnitude)
    expected = (
        np.pi
        * prefactor(TEMPERATURE)
        / VOLUME
        * (flux.sum(1) ** 2).sum(1).mean()
        / (2 * np.pi * LIGHT)
    )
    assert integral == pytest.approx(expected, rel=1e-9)


def test_unbiased_and_hann_may_be_negative_and_are_left_alone():
    flux, _ = oscillator(20000, 1000)
    for options in ({"unbiased": True, "window": "none"}, {"window": "hann", "resolution": 50}):
        values = spectrum([flux], **options).absorption.magnitude
        assert values.min() < -1e-3 * values.max()


def test_terms_and_components_sum_to_the_total():
    flux = coloured()
    found, whole = (
        spectrum([f], f.shape[1], resolution=40) for f in (flux, flux.sum(axis=1, keepdims=True))
    )
    scale = whole.absorption.magnitude.max()
    np.testing.assert_allclose(
        found.absorption.magnitude, whole.absorption.magnitude, atol=1e-10 * scale
    )
    np.testing.assert_allclose(
        found.terms.sum(axis=(1, 2)).magnitude, whole.absorption.magnitude, atol=1e-10 * scale
    )
    np.testing.assert_allclose(
        np.trace(found.components.magnitude, axis1=1, axis2=2),
        whole.absorption.magnitude,
        atol=1e-10 * scale,
    )
    pairs = sum(found.term(a, b) for a, b in found.pairs())
    np.testing.assert_allclose(pairs.magnitude, whole.absorption.magnitude, atol=1e-10 * scale)
    np.testing.assert_allclose(
        found.components.magnitude, found.components.magnitude.transpose(0, 2, 1)
    )


def test_the_total_does_not_depend_on_the_axes():
    flux = coloured()
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    a, b = (spectrum([f], 3, resolution=40) for f in (flux, flux @ turn.T))
    scale = a.absorption.magnitude.max()
    np.testing.assert_allclose(a.terms.magnitude, b.terms.magnitude, atol=1e-10 * scale)
    np.testing.assert_allclose(
        turn @ a.components.magnitude @ turn.T, b.components.magnitude, atol=1e-10 * scale
    )


@pytest.mark.parametrize("window", ["gaussian", "parzen", "bartlett", "hann"])
def test_a_single_frequency_is_as_wide_as_the_resolution(window):
    flux, wavenumber = oscillator(20000, 1000)
    found = spectrum([flux], window=window, resolution=30, unbiased=True)
    values = found.absorption.magnitude
    roots = CubicSpline(found.wavenumber.magnitude, values - values.max() / 2).roots(
        extrapolate=False
    )
    near = roots[np.abs(roots - wavenumber) < 60]
    assert near.max() - near.min() == pytest.approx(30, rel=0.01)
    assert near.mean() == pytest.approx(wavenumber, abs=0.1)
    assert found.resolution.to("1/cm").magnitude == 30


def test_the_mean_of_the_flux_is_kept_as_conduction():
    """A constant current: the whole lag window at zero frequency, nothing two resolutions away."""
    flux = np.zeros((20000, 1, 3))
    flux[:, 0, 2] = 3.0
    found = spectrum([flux], resolution=20, unbiased=True)
    deviation = np.sqrt(2 * np.log(2)) / (np.pi * LIGHT * 20)
    expected = prefactor(TEMPERATURE) / VOLUME * 9 * deviation * np.sqrt(2 * np.pi)
    assert found.absorption.magnitude[0] == pytest.approx(expected, rel=1e-6)
    assert found.absorption.magnitude[found.wavenumber.magnitude > 60].max() < 1e-6 * expected


def test_replicas_of_equal_length_are_averaged():
    parts = [coloured(3000, 2, seed) for seed in range(3)]
    together = spectrum(parts, 2, resolution=40)
    mean = np.mean([spectrum([part], 2, resolution=40).terms.magnitude for part in parts], axis=0)
    np.testing.assert_allclose(together.terms.magnitude, mean, atol=1e-9 * mean.max())


@pytest.mark.parametrize("phase", [0.2, 0.5, 0.65])
def test_finite_differences_are_corrected_once(phase):
    """Central differences lose (sin ωΔt/ωΔt)²; 0.41 at half of the Nyquist frequency, 0.19 at 0.65
    of it.
    """
    n_frames = 20000
    flux, wavenumber = oscillator(n_frames, int(phase * n_frames / 2), spacing=4e-3)
    seen = flux * np.sinc(phase)
    found = spectrum([seen], spacing=4e-3, finite_difference=4e-3)
    assert found.band(wavenumber - 100, wavenumber + 100).value == pytest.approx(
        KM_PER_MOL, rel=5e-3
    )
    end = FINITE_DIFFERENCE_LIMIT / (2 * LIGHT * 4e-3)
    grid = found.wavenumber.magnitude
    assert end - (grid[1] - grid[0]) < grid[-1] <= end
    assert FINITE_DIFFERENCE_LIMIT == 0.7
    assert len(found.terms) == len(found.components) == len(grid)


def test_without_a_volume_there_are_molar_quantities_only(tmp_path):
    flux, _ = oscillator()
    found = spectrum([flux], volume=None)
    assert found.volume is None
    assert found.band().value == pytest.approx(KM_PER_MOL, rel=1e-6)
    for name in ("absorption", "terms", "components"):
        with pytest.raises(SpectrumError, match="volume"):
            getattr(found, name)
    assert found.unit == "km/mol*cm"
    found.to_csv(tmp_path / "s.csv")
    assert "total [km/mol*cm]" in (tmp_path / "s.csv").read_text().splitlines()[0]
    found.plot(tmp_path / "s.png")
    found.save(tmp_path / "s.h5")
    assert Spectrum.load(tmp_path / "s.h5").volume is None


def test_results_leave_with_units():
    found = spectrum([coloured()], 3, resolution=40)
    assert found.absorption.check("1/[length]") and found.lags.check("[time]")
    assert found.molar_absorption.to("m^2/mol").magnitude == pytest.approx(
        found.absorption.to("1/m").magnitude * VOLUME * 1e-30 * 6.02214076e23, rel=1e-9
    )
    np.testing.assert_allclose(np.diff(found.lags.to("fs").magnitude), 0.5)
    assert found.wavenumber.magnitude[-1] == pytest.approx(1 / (2 * SPACING * LIGHT))


def test_names_that_are_no_groups_are_refused():
    found = spectrum([coloured()], 3, resolution=40)
    np.testing.assert_allclose(found.term("g0", "g1").magnitude, 2 * found.terms.magnitude[:, 0, 1])
    np.testing.assert_allclose(found.term("g2").magnitude, found.terms.magnitude[:, 2, 2])
    with pytest.raises(SpectrumError, match=r"'water'; the groups are g0, g1, g2"):
        found.term("g0", "water")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"resolution": 40, "temperature": 0.0}, SpectrumError, "temperature must be positive"),
        ({"resolution": 40, "volume": -1.0}, SpectrumError, "volume must be positive"),
        ({"resolution": 10.0}, SpectrumError, "ask for 16.8 cm⁻¹ or more, or run longer"),
        ({"resolution": 40, "window": "box"}, SpectrumError, "'box': choose one of gaussian"),
    ],
)
def test_what_cannot_be_is_refused(options, error, said):
    with pytest.raises(error, match=said):
        spectrum([coloured()], 3, **options)


def test_limits_of_a_band_need_the_right_unit():
    with pytest.raises(UnitError, match="low"):
        spectrum([coloured()], 3, resolution=40).band("3 kg")


def test_a_saved_spectrum_is_the_same(tmp_path):
    found = spectrum([coloured()], 3, resolution=40, notes=["a note"])
    found.save(tmp_path / "s.h5")
    back = Spectrum.load(tmp_path / "s.h5")
    for name in (
        "wavenumber",
        "absorption",
        "terms",
        "components",
        "lags",
        "correlation",
        "temperature",
        "volume",
    ):
        np.testing.assert_array_equal(getattr(found, name).magnitude, getattr(back, name).magnitude)
        assert getattr(found, name).units == getattr(back, name).units
    assert (back.groups, back.window, back.notes) == (found.groups, "gaussian", ["a note"])
    with h5py.File(tmp_path / "s.h5") as file:
        np.testing.assert_allclose(file["absorption"][()], found.absorption.magnitude)
        assert file["absorption"].attrs["units"] == "1/cm"


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "s.h5"
    spectrum([coloured(800)], 3, resolution=100).save(path)
    content = path.read_bytes()
    for length in np.linspace(0, len(content) - 100, 25).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError):
            Spectrum.load(path)
    for name in ("lags", "cross_sections", "correlation"):
        path.write_bytes(content)
        with h5py.File(path, "a") as file:
            del file[name]
        with pytest.raises(FileFormatError, match=name):
            Spectrum.load(path)
    path.write_bytes(content)
    with h5py.File(path, "a") as file:
        file.attrs["groups"] = '["one"]'
    with pytest.raises(FileFormatError, match="shape"):
        Spectrum.load(path)


def test_csv_has_every_term(tmp_path):
    found = spectrum([coloured()], 3, resolution=40)
    found.to_csv(tmp_path / "s.csv")
    with open(tmp_path / "s.csv", newline="") as file:
        head, *rows = csv.reader(file)
    unit = "[1/cm]"
    names = [
        "wavenumber",
        "total",
        "g0",
        "g1",
        "g2",
        "g0 x g1",
        "g0 x g2",
        "g1 x g2",
        "xx",
        "yy",
        "zz",
    ]
    assert head == [f"{name} {unit}" for name in names]
    table = np.array(rows, dtype=float)
    np.testing.assert_allclose(table[:, 0], found.wavenumber.magnitude, rtol=1e-7)
    np.testing.assert_allclose(table[:, 1], found.absorption.magnitude, rtol=1e-7)
    scale = table[:, 1].max()
    np.testing.assert_allclose(table[:, 2:8].sum(axis=1), table[:, 1], atol=1e-6 * scale)
    np.testing.assert_allclose(table[:, 8:].sum(axis=1), table[:, 1], atol=1e-6 * scale)


def test_plots_are_drawn(tmp_path):
    found = spectrum([coloured()], 3, resolution=40)
    ax = found.plot(tmp_path / "s.png", range=(0, found.wavenumber[-1]))
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    np.testing.assert_allclose(lines["total"], found.absorption.magnitude, rtol=1e-13)
    term = found.term("g0", "g2").magnitude
    np.testing.assert_allclose(lines["g0 × g2"], term, rtol=1e-13)
    with pytest.raises(FileNotFoundError, match="no folder"):
        found.plot(tmp_path / "no" / "s.png")


def test_neighbouring_bands_sum_to_the_whole_wherever_their_limits_lie():
    """Limits between grid points; a band narrower than the grid's spacing has its part as well."""
    flux = coloured(3000, 2)
    found = spectrum([flux], n_groups=2, resolution=60)
    grid = found.wavenumber.magnitude
    limits = sorted([0.0, 311.3, 312.0, 1000.1, 1003.9, 2 * grid[1] + 1e-6, 2987.7, grid[-1]])
    parts = [found.band(low, high).value for low, high in itertools.pairwise(limits)]
    assert sum(parts) == pytest.approx(found.band().value, rel=1e-12)
    assert min(parts) > 0
    # half of a bin has half of its integral, to second order in the spacing
    narrow = found.band(1000.0, 1000.0 + 0.5 * grid[1]).value
    whole = found.band(1000.0 - 0.25 * grid[1], 1000.0 + 0.75 * grid[1]).value
    assert narrow == pytest.approx(whole / 2, rel=0.01)
    with pytest.raises(
        SpectrumError, match="a band from 900 to 200 cm⁻¹: the first limit must be the lower one"
    ):
        found.band(900, 200)


def test_weights_of_a_band_integrate_straight_lines_exactly():
    grid = np.arange(60) * 2.5
    for low, high in (
        (0.3, 0.9),
        (3.0, 71.1),
        (2.5, 5.0),
        (-7.0, 4.0),
        (140.0, 900.0),
        (200.0, 300.0),
    ):
        a, b = np.clip([low, high], 0.0, grid[-1])
        weights = band_weights(grid, low, high)
        assert weights @ (1 + 0.7 * grid) == pytest.approx((b - a) + 0.35 * (b**2 - a**2), abs=1e-9)
        assert (weights >= 0).all()


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize(
    ("window", "times"), [("gaussian", 1.02), ("gaussian", 2.0), ("parzen", 1.5), ("none", 1.0)]
)
def test_the_effective_resolution_is_the_width_of_a_cosine_of_that_length(
    tmp_path, window, times, unbiased
):
    """A single frequency for `times` as long as 20 cm⁻¹ need, in two series of which one is
    shorter.
    """
    needed = 1 / (LIGHT * 20.0 * SPACING)
    lengths = [round(times * needed), round(0.6 * times * needed)]
    cosines = [np.cos(2 * np.pi * 0.21 * np.arange(n))[:, None, None] * np.ones(3) for n in lengths]
    found = spectrum(cosines, window=window, resolution=20, unbiased=unbiased)
    grid, values = found.wavenumber.magnitude, found.absorption.magnitude
    fine = np.linspace(grid[0], grid[-1], 400 * len(grid))
    curve = CubicSpline(grid, values)(fine)
    top = curve.argmax()
    half = curve > 0.5 * curve[top]
    first, last = top - half[:top][::-1].argmin(), top + half[top:].argmin()
    effective = found.effective_resolution.to("1/cm").magnitude
    assert effective == pytest.approx(fine[last] - fine[first], rel=0.02)
    if window == "gaussian":
        assert (effective > 1.1 * 20) == (not unbiased)
    found.save(tmp_path / "s.h5")
    back = Spectrum.load(tmp_path / "s.h5")
    assert back.effective_resolution == found.effective_resolution
    assert back.least_relative_error == found.least_relative_error > 0.1


def test_the_effective_resolution_of_a_line_wider_than_the_spectrum():
    """One lag alone is white: no frequency has half of the maximum."""
    from mda_aptnn.spectra.windows import effective_resolution

    # 1/(c 0.5 fs) in cm^-1, with c from SI
    assert effective_resolution(np.ones(1), 0.0005, [3]) == pytest.approx(
        1 / (LIGHT * 0.0005), rel=1e-9
    )


def test_a_window_of_an_enumeration_is_a_word_in_the_file(tmp_path):
    """The command line hands over members of enumerations, numpy its own words."""
    words = enum.StrEnum("Window", ["parzen"])
    flux = np.random.default_rng(3).normal(size=(400, 1, 3))
    for window in (words.parzen, np.str_("parzen")):
        found = spectrum([flux], window=window, resolution=900)
        found.save(tmp_path / "x.h5")
        assert Spectrum.load(tmp_path / "x.h5").window == "parzen"


def test_a_name_of_two_letters_is_one_group():
    flux = np.random.default_rng(3).normal(size=(400, 3, 3))
    found = absorption_spectrum(
        [flux], ["OH", "O", "H"], SPACING, TEMPERATURE, VOLUME, resolution=900
    )
    assert found.band(0, 9000, "OH").value == found.band(0, 9000, ("OH",)).value
    assert found.share(0, 9000, "OH").value == found.share(0, 9000, ["OH", "OH"]).value
