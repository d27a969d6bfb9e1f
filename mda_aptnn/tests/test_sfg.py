import itertools

import numpy as np
import pytest
from scipy.constants import atomic_mass, e

from mda_aptnn.analysis.raman.sfg import SumFrequencySpectrum
from mda_aptnn.analysis.raman.sum_frequency import SLAB_GROUPS, slab_sums, slab_weights, sum_frequency_spectrum
from mda_aptnn.errors import SpectrumError
from mda_aptnn.tests.systems import BOLTZMANN, LIGHT

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
    return sum_frequency_spectrum(polarizability, flux, groups, SPACING, TEMPERATURE, area, **options)


@pytest.fixture(scope="module")
def oscillator():
    rate = rates(0.3)[:, None]
    return spectrum([rate[..., None, None] * ALPHA], [rate[..., None] * DIPOLE])


def test_an_oscillator_has_the_response_of_an_oscillator(oscillator):
    """χ = 4π α' μ' / (ω₀² − ω²) per area away from the line, and π/2 α'μ'/ω of it in the line; from SI constants."""
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
        np.testing.assert_allclose(values.real[far], expected, rtol=0.02, atol=0.005 * np.abs(expected).max())
        line = (values.imag * omega).sum() * (omega[1] - omega[0])
        assert line == pytest.approx(np.pi / 2 * strength, rel=0.01, abs=0)


def test_signs():
    """A bond that points up and stretches: positive Im χ in ssp; one that points down: negative."""
    rate = rates(0.0)[:, None]
    for up in (1, -1):
        found = spectrum([rate[..., None, None] * ALPHA], [up * rate[..., None] * DIPOLE])
        top = np.abs(found.wavenumber.magnitude - WAVENUMBER).argmin()
        value = found.polarized("ssp")[top].magnitude
        assert np.sign(value.imag) == up and abs(value.imag) > 5 * abs(value.real)
        below, above = (np.abs(found.wavenumber.magnitude - WAVENUMBER - shift).argmin() for shift in (-200, 200))
        assert np.sign(found.component("xxz").magnitude.real[[below, above]]).tolist() == [up, -up]


def slab(phases_up, phases_down):
    """α̇, Ṁ and heights of bonds that point out of both sides, and of as many in the middle that point anywhere."""
    n = len(phases_up)
    rng = np.random.default_rng(5)
    upper = [(ALPHA, DIPOLE, 10 + 0.3 * number) for number in range(n)]
    mirror = np.diag([1.0, 1.0, -1.0])
    lower = [(mirror @ alpha @ mirror, mirror @ dipole, -height) for alpha, dipole, height in upper]
    molecules = upper + lower
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    middle = [(turn @ ALPHA @ turn.T, turn @ DIPOLE, 1.0), (turn @ ALPHA @ turn.T, -turn @ DIPOLE, -1.0)]
    q = rates(np.concatenate([phases_up, phases_down, rng.uniform(0, 6, 2)]))
    alphas, dipoles, heights = (np.array(values) for values in zip(*molecules, *middle, strict=True))
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
        np.testing.assert_allclose(found.component(name, "lower").magnitude, -surface, atol=1e-9 * scale)
        both = sum(found.component(name, a, b).magnitude for a, b in itertools.product(("upper", "lower"), repeat=2))
        assert np.abs(both).max() < 1e-9 * scale
        total = sum(found.component(name, a, b).magnitude for a, b in itertools.product(SLAB_GROUPS, repeat=2))
        np.testing.assert_allclose(found.component(name).magnitude, total, atol=1e-12 * scale)


def test_a_symmetric_slab_in_equilibrium_gives_zero_within_its_error():
    rng = np.random.default_rng(0)
    series = [slab(*rng.uniform(0, 2 * np.pi, (2, 4))) for _ in range(16)]
    alphas, dipoles = ([pair[k] for pair in series] for k in (0, 1))
    components = "xxz", "yyz", "zzz"
    found = spectrum(alphas, dipoles, SLAB_GROUPS, segments="replicas", components=components)
    top = np.abs(found.wavenumber.magnitude - WAVENUMBER).argmin()
    single = spectrum([rates(0.0)[:, None, None, None] * ALPHA], [rates(0.0)[:, None, None] * DIPOLE])
    for name in ("xxz", "zzz"):
        expected = 4 * single.component(name)[top].magnitude.imag  # four bonds, on average independent of each other
        total = found.component(name)[top].magnitude.imag
        error = found.standard_error(name)[top].magnitude
        assert abs(total) < 3 * error < 1.5 * expected
        for side, sign in (("upper", 1), ("lower", -1)):
            value = found.component(name, side)[top].magnitude.imag
            assert abs(value - sign * expected) < 3.5 * found.standard_error(name, side)[top].magnitude
            assert sign * value > 0.4 * expected
        assert found.interface(name)[top].magnitude.imag == pytest.approx(expected, abs=3 * error)
    assert found.polarized("ssp", interface=True)[top].magnitude.imag > 0
    with pytest.raises(SpectrumError, match="no error bars"):
        single.standard_error("xxz")


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
    """e_s · χ : e_v e_i of reflected p light (−cos β, 0, sin β) and incoming (cos β, 0, sin β), s along y."""
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
            unit = np.array([along, 0, np.sin(angle)]) if letter == "p" else np.array([0.0, 1.0, 0.0])
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
        one = spectrum(alphas, dipoles, SLAB_GROUPS, area, segments="replicas", components=["xxz", "zzz"])
        one.save(tmp_path / "sfg.h5")
        again = SumFrequencySpectrum.load(tmp_path / "sfg.h5")
        for name in ("wavenumber", "terms", "temperature"):
            assert (getattr(again, name) == getattr(one, name)).all()
        assert (again.groups, again.component_names, again.area) == (one.groups, one.component_names, one.area)
        assert (again.standard_error("zzz") == one.standard_error("zzz")).all()
        with pytest.raises(SpectrumError, match="there is no component 'yyz'; there are xxz, zzz"):
            again.component("yyz")
    assert str(one.component("xxz").units) == "angstrom ** 4 / volt"


def test_series_that_do_not_belong_together():
    with pytest.raises(SpectrumError, match="of the same frames and groups"):
        spectrum([np.zeros((2000, 1, 3, 3))], [np.zeros((2000, 2, 3))])
    with pytest.raises(SpectrumError, match="area must be positive"):
        spectrum([np.zeros((2000, 1, 3, 3))], [np.zeros((2000, 1, 3))], area=0.0)
    with pytest.raises(SpectrumError, match="component 'xz'"):
        spectrum([np.zeros((2000, 1, 3, 3))], [np.zeros((2000, 1, 3))], components=["xz"])
