import csv
import itertools

import h5py
import numpy as np
import pytest
from scipy.constants import atomic_mass, e
from scipy.linalg import expm

from mda_aptnn.errors import FileFormatError, SpectrumError
from mda_aptnn.spectra.estimator import Estimator
from mda_aptnn.spectra.result import student_factor
from mda_aptnn.spectra.sfg import (
    PARTS,
    SLAB_GROUPS,
    SumFrequencySpectrum,
    slab_sums,
    slab_weights,
    susceptibility,
)
from tests.systems import BOLTZMANN, LIGHT, sum_frequency_spectrum

# the point of most of these trajectories is that they are short and known
pytestmark = pytest.mark.filterwarnings("ignore:.* are short for a resolution:UserWarning")

SPACING = 0.5e-3
TEMPERATURE = 300.0
AREA = 120.0
N_FRAMES = 4096
WAVENUMBER = 205 / (N_FRAMES * SPACING * LIGHT)  # 3339 cm⁻¹
#: ∂α/∂Q in Å²/√u and ∂μ/∂Q in e/√u of a bond that points up, tilted.
BOND = np.array([0.3, -0.2, 0.933])
BOND /= np.linalg.norm(BOND)
ALPHA = 0.4 * np.eye(3) + 0.9 * np.outer(BOND, BOND)
DIPOLE = 0.25 * BOND


def rates(phases):
    """Q̇ of classical oscillators [n_frames, ...] with ⟨Q̇²⟩ = k_BT."""
    angle = 2 * np.pi * LIGHT * WAVENUMBER * SPACING * np.arange(N_FRAMES)
    return np.sqrt(2 * BOLTZMANN * TEMPERATURE) * np.cos(np.add.outer(angle, phases))


def spectrum(polarizability, flux, groups=("all",), area=AREA, **options):
    options = {"resolution": 40, "segments": None, "unbiased": True, **options}
    return sum_frequency_spectrum(
        polarizability, flux, groups, SPACING, TEMPERATURE, area, **options
    )


@pytest.fixture(scope="module")
def oscillator():
    rate = rates(0.3)[:, None]
    return spectrum([rate[..., None, None] * ALPHA], [rate[..., None] * DIPOLE])


def test_an_oscillator_has_the_response_of_an_oscillator(oscillator):
    """χ = 4π α' μ' / (ω₀² − ω²) per area away from the line, and π/2 α'μ'/ω of it in the line; from
    SI constants.
    """
    nu = oscillator.wavenumber.magnitude
    si = 4 * np.pi * e / atomic_mass / AREA  # Å² of α' over Å² of the surface, e/u of both; C/kg
    for name in ("xxz", "yyz", "xzx", "yzy", "zzz"):
        a, b, c = ("xyz".index(axis) for axis in name)
        strength = si * ALPHA[a, b] * DIPOLE[c]
        found = oscillator.component(name)
        values = found.to("m^2/V").magnitude
        omega, center = (2 * np.pi * LIGHT * 1e12 * x for x in (nu, WAVENUMBER))
        far = (np.abs(nu - WAVENUMBER) > 600) & (nu < 8000)
        expected = strength / (center**2 - omega[far] ** 2)
        np.testing.assert_allclose(
            values.real[far], expected, rtol=0.02, atol=0.005 * np.abs(expected).max()
        )
        line = (values.imag * omega).sum() * (omega[1] - omega[0])
        assert line == pytest.approx(np.pi / 2 * strength, rel=0.01, abs=0)


def velocity_correlation(times, wavenumber, width):
    """⟨Q̇(0)Q̇(t)⟩/k_BT of an oscillator ω₀ with friction γ, both as wavenumbers: Q̈ = −ω₀² Q − γ
    Q̇ + noise.
    """
    center, gamma = 2 * np.pi * LIGHT * wavenumber, 2 * np.pi * LIGHT * width
    omega = np.sqrt(center**2 - gamma**2 / 4)
    t = np.abs(times)
    return np.exp(-gamma * t / 2) * (np.cos(omega * t) - gamma / (2 * omega) * np.sin(omega * t))


@pytest.mark.parametrize("spacing", [1e-3, 2e-3, 4e-3])
@pytest.mark.parametrize("wavenumber", [500.0, 1650.0, 3400.0])
def test_a_damped_oscillator_at_any_spacing(wavenumber, spacing):
    """χ = 4π α'μ'/(ω₀² − ω² − iγω), from SI constants, on and off resonance, to 1 %.

    A plain sum of sines is off by up to 65 % at 4 fs.
    """
    width, resolution = 40.0, 2.0
    transform = Estimator(resolution).plan(spacing, [40000])
    correlation = (
        BOLTZMANN
        * TEMPERATURE
        * velocity_correlation(spacing * np.arange(transform.n_lags), wavenumber, width)
    )
    found = susceptibility(transform(correlation), transform.wavenumber, TEMPERATURE)
    found = found * 1e-40  # Å⁴/V in m⁴/V
    nu = transform.wavenumber[1:]
    omega, center, gamma = (2 * np.pi * LIGHT * 1e12 * x for x in (nu, wavenumber, width))
    # α'μ' = 1 Å² e/u
    expected = 4 * np.pi * 1e-20 * e / atomic_mass / (center**2 - omega**2 - 1j * gamma * omega)
    seen, near = (nu > 100) & (nu < 3800), np.abs(nu - wavenumber) < 200
    np.testing.assert_allclose(found.real[seen & ~near], expected.real[seen & ~near], rtol=0.01)
    for label, part in PARTS.items():
        scale = np.abs(expected) ** (2 if label == "|chi|^2" else 1)
        # the tail of Im χ above the Nyquist frequency folds into where there is no band
        where = seen if label == "Re chi" else near
        assert np.abs((part(found) - part(expected)) / scale)[where].max() < 0.01


@pytest.mark.parametrize("spacing", [1e-3, 2e-3, 4e-3])
def test_series_at_any_spacing(spacing):
    """The same of α̇ and Ṁ themselves: an undamped oscillator, through the correlation of its
    series.
    """
    n_frames = 16384
    wavenumber = round(1650 * n_frames * spacing * LIGHT) / (n_frames * spacing * LIGHT)
    rate = (
        np.sqrt(2 * BOLTZMANN * TEMPERATURE)
        * np.cos(2 * np.pi * LIGHT * wavenumber * spacing * np.arange(n_frames))[:, None]
    )
    found = sum_frequency_spectrum(
        [rate[..., None, None] * ALPHA],
        [rate[..., None] * DIPOLE],
        ["all"],
        spacing,
        TEMPERATURE,
        AREA,
        resolution=10,
        segments=None,
        unbiased=True,
        components=["xxz"],
    )
    nu = found.wavenumber.magnitude
    omega, center = (2 * np.pi * LIGHT * 1e12 * x for x in (nu, wavenumber))
    expected = 4 * np.pi * e / atomic_mass / AREA * ALPHA[0, 0] * DIPOLE[2] / (center**2 - omega**2)
    far = (np.abs(nu - wavenumber) > 300) & (nu > 30) & (nu < 3800)
    chi = found.component("xxz").to("m^2/V").magnitude
    np.testing.assert_allclose(chi.real[far], expected[far], rtol=0.01)
    np.testing.assert_allclose(np.abs(chi[far]) ** 2, expected[far] ** 2, rtol=0.02)


def test_stated_errors_cover():
    """Langevin oscillators, exactly sampled: the window's mean of χ lies within one error in 68 %,
    two in 95 %.
    """
    spacing, wavenumber, width, resolution, n_frames, n_runs = 4e-3, 1600.0, 200.0, 60.0, 8192, 300
    center, gamma = 2 * np.pi * LIGHT * wavenumber, 2 * np.pi * LIGHT * width
    step = expm(np.array([[0.0, 1.0], [-(center**2), -gamma]]) * spacing)
    equal = BOLTZMANN * TEMPERATURE * np.diag([1 / center**2, 1.0])
    kick = np.linalg.cholesky(equal - step @ equal @ step.T)
    rng = np.random.default_rng(3)
    state = np.linalg.cholesky(equal) @ rng.normal(size=(2, n_runs))
    rates = np.empty((n_frames, n_runs))
    for number in range(n_frames):
        rates[number] = state[1]
        state = step @ state + kick @ rng.normal(size=(2, n_runs))
    # both also move with what the other does not see
    noise = np.sqrt(BOLTZMANN * TEMPERATURE) * rng.normal(size=(2, n_frames, n_runs))
    transform = Estimator(resolution).plan(spacing, [n_frames])
    correlation = (
        BOLTZMANN
        * TEMPERATURE
        * velocity_correlation(spacing * np.arange(transform.n_lags), wavenumber, width)
    )
    truth = susceptibility(transform(correlation), transform.wavenumber, TEMPERATURE)
    # on resonance and on both sides
    points = [
        np.abs(transform.wavenumber[1:] - place).argmin() for place in (1400.0, 1600.0, 1750.0)
    ]
    deviations = {label: [] for label in PARTS}
    for run in range(n_runs):
        alpha = (rates[:, run] + noise[0, :, run])[:, None, None, None] * np.eye(3)
        flux = (rates[:, run] + noise[1, :, run])[:, None, None] * np.array([0.0, 0.0, 1.0])
        found = sum_frequency_spectrum(
            [alpha],
            [flux],
            ["all"],
            spacing,
            TEMPERATURE,
            None,
            resolution=resolution,
            unbiased=True,
            segments=16,
            components=["xxz"],
        )
        for label, part in PARTS.items():
            error = found.measured(lambda s, part=part: part(s.component("xxz"))[points]).error
            off = part(found.component("xxz").magnitude)[points] - part(truth)[points]
            deviations[label].append(off / error)
    for values in deviations.values():
        within = [np.mean(np.abs(values) < student_factor(sigmas, 15)) for sigmas in (1, 2)]
        assert within[0] == pytest.approx(0.683, abs=0.06) and within[1] == pytest.approx(
            0.954, abs=0.03
        )


def test_signs():
    """A bond that points up and stretches: positive Im χ in ssp; one that points down: negative."""
    rate = rates(0.0)[:, None]
    for up in (1, -1):
        found = spectrum([rate[..., None, None] * ALPHA], [up * rate[..., None] * DIPOLE])
        top = np.abs(found.wavenumber.magnitude - WAVENUMBER).argmin()
        value = found.polarized("ssp")[top].magnitude
        assert np.sign(value.imag) == up and abs(value.imag) > 5 * abs(value.real)
        below, above = (
            np.abs(found.wavenumber.magnitude - WAVENUMBER - shift).argmin()
            for shift in (-200, 200)
        )
        assert np.sign(found.component("xxz").magnitude.real[[below, above]]).tolist() == [up, -up]


def slab(phases_up, phases_down):
    """α̇, Ṁ and heights of bonds that point out of both sides, and of as many in the middle that
    point anywhere.
    """
    n = len(phases_up)
    rng = np.random.default_rng(5)
    upper = [(ALPHA, DIPOLE, 10 + 0.3 * number) for number in range(n)]
    mirror = np.diag([1.0, 1.0, -1.0])
    lower = [(mirror @ alpha @ mirror, mirror @ dipole, -height) for alpha, dipole, height in upper]
    molecules = upper + lower
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    middle = [
        (turn @ ALPHA @ turn.T, turn @ DIPOLE, 1.0),
        (turn @ ALPHA @ turn.T, -turn @ DIPOLE, -1.0),
    ]
    q = rates(np.concatenate([phases_up, phases_down, rng.uniform(0, 6, 2)]))
    alphas, dipoles, heights = (
        np.array(values) for values in zip(*molecules, *middle, strict=True)
    )
    weights = slab_weights(np.broadcast_to(heights, q.shape), 4.0, "0.9 nm")
    return (
        slab_sums(q[..., None, None] * alphas, weights),
        slab_sums(q[..., None] * dipoles, weights),
    )


def test_a_slab_that_moves_like_its_mirror_image_gives_nothing_and_its_halves_opposite_signs():
    phases = np.array([0.0, 1.9, 4.4])
    found = spectrum(*([part] for part in slab(phases, phases)), SLAB_GROUPS)
    # the two in the middle move as they like
    for name in ("xxz", "zzz", "yzy"):
        surface = found.component(name, "upper").magnitude
        scale = np.abs(surface).max()
        np.testing.assert_allclose(
            found.component(name, "lower").magnitude, -surface, atol=1e-9 * scale
        )
        both = sum(
            found.component(name, a, b).magnitude
            for a, b in itertools.product(("upper", "lower"), repeat=2)
        )
        assert np.abs(both).max() < 1e-9 * scale
        total = sum(
            found.component(name, a, b).magnitude
            for a, b in itertools.product(SLAB_GROUPS, repeat=2)
        )
        np.testing.assert_allclose(found.component(name).magnitude, total, atol=1e-12 * scale)


def test_a_symmetric_slab_in_equilibrium_gives_zero_within_its_error():
    rng = np.random.default_rng(0)
    series = [slab(*rng.uniform(0, 2 * np.pi, (2, 4))) for _ in range(16)]
    alphas, dipoles = ([pair[k] for pair in series] for k in (0, 1))
    components = "xxz", "yyz", "zzz"
    found = spectrum(alphas, dipoles, SLAB_GROUPS, segments="replicas", components=components)
    top = np.abs(found.wavenumber.magnitude - WAVENUMBER).argmin()
    single = spectrum(
        [rates(0.0)[:, None, None, None] * ALPHA], [rates(0.0)[:, None, None] * DIPOLE]
    )
    for name in ("xxz", "zzz"):
        expected = (
            4 * single.component(name)[top].magnitude.imag
        )  # four bonds, on average independent of each other
        total = found.component(name)[top].magnitude.imag
        error = found.measured(lambda s, name=name: s.component(name).imag).error[top]
        assert abs(total) < 3 * error < 1.5 * expected
        for side, sign in (("upper", 1), ("lower", -1)):
            value = found.component(name, side)[top].magnitude.imag
            own = found.measured(
                lambda s, name=name, side=side: s.component(name, side).imag
            ).error[top]
            assert abs(value - sign * expected) < 3.5 * own
            assert sign * value > 0.4 * expected
        assert found.interface(name)[top].magnitude.imag == pytest.approx(expected, abs=3 * error)
    assert found.polarized("ssp", interface=True)[top].magnitude.imag > 0
    with pytest.raises(SpectrumError, match="no error bars"):
        single.standard_error("Im chi", "xxz")
    with pytest.raises(SpectrumError, match="complex"):
        found.measured(lambda s: s.component("xxz"))


def test_the_switch_is_smooth_antisymmetric_and_leaves_nothing_out():
    z = np.linspace(-20, 20, 4001)
    weights = slab_weights(z, 5, 9)
    np.testing.assert_allclose(weights.sum(axis=-1), 1)
    switch = weights[:, 0] - weights[:, 2]
    np.testing.assert_allclose(switch, -switch[::-1], atol=1e-15)
    assert (switch[z > 9.0] == 1).all() and (switch[np.abs(z) < 5.0] == 0).all()
    assert np.abs(np.diff(switch, 2)).max() < 1e-4  # no kinks: second differences of a 1/100 Å grid
    with pytest.raises(SpectrumError, match="needs 0 ≤ inner < outer"):
        slab_weights(z, 9, 5)


def test_polarizations_are_contractions_with_the_fields(oscillator):
    """e_s · χ : e_v e_i of reflected p light (−cos β, 0, sin β) and incoming (cos β, 0, sin β), s
    along y.
    """
    angles = np.deg2rad([43, 38, 57])
    fresnel = np.random.default_rng(1).uniform(0.5, 1.5, (3, 3))
    xxz, xzx, zzz = (
        (oscillator.component(a) + oscillator.component(b)).magnitude / 2
        for a, b in (("xxz", "yyz"), ("xzx", "yzy"), ("zzz", "zzz"))
    )
    chi = np.zeros((3, 3, 3, len(xxz)), complex)
    chi[0, 0, 2] = chi[1, 1, 2] = xxz
    chi[0, 2, 0] = chi[1, 2, 1] = chi[2, 0, 0] = chi[2, 1, 1] = xzx
    chi[2, 2, 2] = zzz
    for name in ("ssp", "sps", "pss", "ppp"):
        fields = []
        for light, (letter, angle) in enumerate(zip(name, angles, strict=True)):
            along = -np.cos(angle) if light == 0 else np.cos(angle)
            unit = (
                np.array([along, 0, np.sin(angle)]) if letter == "p" else np.array([0.0, 1.0, 0.0])
            )
            fields.append(fresnel[light] * unit)
        expected = np.einsum("abcf,a,b,c->f", chi, *fields)
        degrees = tuple(f"{value} deg" for value in np.rad2deg(angles))
        found = oscillator.polarized(name, degrees, fresnel)
        np.testing.assert_allclose(found.magnitude, expected, atol=1e-12 * np.abs(expected).max())
    assert (oscillator.polarized("sps") == oscillator.polarized("pss")).all()
    with pytest.raises(SpectrumError, match="give angles="):
        oscillator.polarized("ppp")
    with pytest.raises(SpectrumError, match="choose of ssp"):
        oscillator.polarized("spp")


def test_files(tmp_path):
    rng = np.random.default_rng(0)
    series = [slab(*rng.uniform(0, 2 * np.pi, (2, 2))) for _ in range(3)]
    alphas, dipoles = ([pair[k] for pair in series] for k in (0, 1))
    for area in (AREA, None):
        one = spectrum(
            alphas, dipoles, SLAB_GROUPS, area, segments="replicas", components=["xxz", "zzz"]
        )
        assert one.segments.terms.dtype == np.complex64
        one.save(tmp_path / "sfg.h5")
        again = SumFrequencySpectrum.load(tmp_path / "sfg.h5")
        for name in ("wavenumber", "terms", "temperature"):
            assert (getattr(again, name) == getattr(one, name)).all()
        assert (again.groups, again.component_names, again.area) == (
            one.groups,
            one.component_names,
            one.area,
        )
        for part in PARTS.values():
            errors = [
                item.measured(lambda s, part=part: part(s.component("zzz"))).error
                for item in (again, one)
            ]
            np.testing.assert_allclose(*errors, rtol=1e-4)
        with pytest.raises(SpectrumError, match="there is no component 'yyz'; there are xxz, zzz"):
            again.component("yyz")
    assert str(one.component("xxz").units) == "angstrom ** 4 / volt"
    one.to_csv(tmp_path / "sfg.csv")
    with open(tmp_path / "sfg.csv") as file:
        rows = list(csv.DictReader(file))
    chi = one.interface("xxz").magnitude
    for label, values in (
        ("Re chi xxz", chi.real),
        ("Im chi xxz", chi.imag),
        ("|chi|^2 xxz", np.abs(chi) ** 2),
    ):
        column, error = (
            next(name for name in rows[0] if name.startswith(start))
            for start in (label, f"standard error of {label}")
        )
        np.testing.assert_allclose(
            [float(row[column]) for row in rows], values, rtol=1e-6, atol=1e-12
        )
        assert all(float(row[error]) >= 0 for row in rows)
    axes = one.plot(tmp_path / "sfg.png")
    said = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert said == ["xxz", "zzz", "68 % confidence"]
    with h5py.File(tmp_path / "sfg.h5", "a") as file:
        del file.attrs["real_part"]
    with pytest.raises(FileFormatError, match=r"written by version 0\.1\.0, whose Re chi"):
        SumFrequencySpectrum.load(tmp_path / "sfg.h5")


def test_series_that_do_not_belong_together():
    with pytest.raises(SpectrumError, match="of the same frames and groups"):
        spectrum([np.zeros((2000, 1, 3, 3))], [np.zeros((2000, 2, 3))])
    with pytest.raises(SpectrumError, match="area must be positive"):
        spectrum([np.zeros((2000, 1, 3, 3))], [np.zeros((2000, 1, 3))], area=0.0)
    with pytest.raises(SpectrumError, match="component 'xz'"):
        spectrum([np.zeros((2000, 1, 3, 3))], [np.zeros((2000, 1, 3))], components=["xz"])
