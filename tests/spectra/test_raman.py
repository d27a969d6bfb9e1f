import csv
import itertools

import numpy as np
import pytest
from scipy.constants import N_A, c, h, k
from scipy.linalg import hadamard
from scipy.signal import lfilter
from scipy.spatial.transform import Rotation

from mda_aptnn.errors import SpectrumError, UnitError
from mda_aptnn.spectra.estimator import Estimator
from mda_aptnn.spectra.raman import COMPONENTS, RamanSpectrum
from mda_aptnn.spectra.result import band_weights
from tests.systems import BOLTZMANN, LIGHT, raman_spectrum

# the point of most of these trajectories is that they are short and known
pytestmark = pytest.mark.filterwarnings("ignore:.* are short for a resolution:UserWarning")

SPACING = 0.5e-3
TEMPERATURE = 300.0
#: A tetrahedral molecule: carbon in the middle of a cube, hydrogens at four of its corners; Å and
#: u.
CORNERS = 0.629 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
METHANE = np.vstack([np.zeros(3), CORNERS])
MASSES = np.array([12.011, 1.008, 1.008, 1.008, 1.008])


def normal_modes(bond=3e5, other=6e4):
    """Wavenumbers [9] and ∂r/∂Q [9, 5, 3] in 1/√u of springs along bonds and between hydrogens, in
    u/ps².
    """
    hessian = np.zeros((5, 3, 5, 3))
    for i, j in itertools.combinations(range(5), 2):
        along = METHANE[j] - METHANE[i]
        block = (bond if i == 0 else other) * np.outer(along, along) / (along @ along)
        for (a, b), sign in {(i, i): 1, (j, j): 1, (i, j): -1, (j, i): -1}.items():
            hessian[a, :, b] += sign * block
    root = np.sqrt(np.repeat(MASSES, 3))
    squares, modes = np.linalg.eigh(hessian.reshape(15, 15) / np.outer(root, root))
    return np.sqrt(squares[6:]) / (2 * np.pi * LIGHT), (modes[:, 6:] / root[:, None]).T.reshape(
        9, 5, 3
    )


def polarizability(positions):
    """Bond polarizabilities that grow with the bonds: α∥ = 1 + 2 δ, α⊥ = 0.5 + 0.3 δ, in Å³."""
    total = np.zeros((3, 3))
    for end in positions[1:]:
        bond = end - positions[0]
        length = np.linalg.norm(bond)
        stretch = length - np.sqrt(3) * 0.629
        axis = np.outer(bond, bond) / length**2
        total += (0.5 + 0.3 * stretch) * np.eye(3) + (0.5 + 1.7 * stretch) * axis
    return total


def gradients(positions, step=1e-5):
    """G[i, a, b, c] = ∂α_ab/∂r_ic in Å²."""
    result = np.zeros((len(positions), 3, 3, 3))
    for i, axis in itertools.product(range(len(positions)), range(3)):
        shift = np.zeros_like(positions)
        shift[i, axis] = step
        result[i, :, :, axis] = (
            polarizability(positions + shift) - polarizability(positions - shift)
        ) / (2 * step)
    return result


@pytest.fixture(scope="module")
def molecule():
    """Wavenumbers and static ∂α/∂Q [9, 3, 3] of the modes; α̇ of C and of H, every mode with k_BT,
    in replicas.
    """
    wavenumbers, modes = normal_modes()
    tensors = gradients(METHANE)
    # signs that make all modes uncorrelated, the degenerate ones as well
    signs = hadamard(16)[:, 1:10]
    times = SPACING * np.arange(4096)
    waves = np.cos(2 * np.pi * LIGHT * np.outer(wavenumbers, times) + np.arange(9)[:, None])
    rates = np.sqrt(2 * BOLTZMANN * TEMPERATURE) * signs[:, :, None] * waves
    series = []
    for replica in rates:
        velocities = np.einsum("kt,kic->tic", replica, modes)
        carbon, hydrogens = (
            np.einsum("iabc,tic->tab", tensors[part], velocities[:, part])
            for part in (slice(1), slice(1, 5))
        )
        series.append(np.stack([carbon, hydrogens], axis=1))
    return wavenumbers, np.einsum("iabc,kic->kab", tensors, modes), series


def spectrum(series, groups=("C", "H"), **options):
    return raman_spectrum(
        series, groups, SPACING, TEMPERATURE, **{"resolution": 20, "segments": None, **options}
    )


def static(alpha):
    """ᾱ'² and γ'² of one ∂α/∂Q, by the textbook's expressions."""
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = alpha
    mean = (xx + yy + zz) / 3
    anisotropy = ((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) / 2 + 3 * (
        xy**2 + xz**2 + yz**2
    )
    return mean**2, anisotropy


def test_bands_of_a_tetrahedral_molecule_have_their_static_activity_and_depolarization(molecule):
    wavenumbers, alphas, series = molecule
    # 1/(N − n): no leak from strong bands into weak ones, though the replicas are short
    found = spectrum(series, unbiased=True)
    bands = [
        list(band)
        for _, band in itertools.groupby(range(9), key=lambda n: round(wavenumbers[n], 3))
    ]
    assert sorted(map(len, bands)) == [1, 2, 3, 3]  # A1, E, T2, T2
    edges = [
        0.0,
        *((wavenumbers[b[0]] + wavenumbers[a[-1]]) / 2 for a, b in itertools.pairwise(bands)),
        6000.0,
    ]
    assert min(np.diff([wavenumbers[band[0]] for band in bands])) > 150
    activities = []
    for band, limits in zip(bands, itertools.pairwise(edges), strict=True):
        mean, anisotropy = np.sum([static(alphas[n]) for n in band], axis=0)
        activity = found.band(*limits, "activity")
        assert activity.quantity.to("angstrom^4/u").magnitude == pytest.approx(
            45 * mean + 7 * anisotropy, rel=1e-2
        )
        assert found.band(*limits, "isotropic").value == pytest.approx(
            mean, rel=1e-2, abs=1e-3 * activity.value
        )
        assert found.band(*limits, "anisotropy").value == pytest.approx(
            anisotropy, rel=1e-2, abs=1e-3
        )
        ratio = 3 * anisotropy / (45 * mean + 4 * anisotropy)
        assert found.depolarization(*limits).value == pytest.approx(ratio, abs=5e-3)
        assert ratio == pytest.approx(0 if len(band) == 1 else 0.75, abs=1e-6)
        activities.append(activity.value)
    assert min(activities) > 0.05
    # at the bands themselves as well
    at = [np.abs(found.wavenumber.magnitude - wavenumbers[band[0]]).argmin() for band in bands]
    expected = [0 if len(band) == 1 else 0.75 for band in bands]
    np.testing.assert_allclose(found.depolarization().value[at], expected, atol=5e-3)


def test_rotated_trajectories_scatter_the_same(molecule):
    turn = Rotation.from_euler("zyx", [0.4, 1.1, -2.0]).as_matrix()
    series = molecule[2][:3]
    a, b = spectrum(series), spectrum([turn @ part @ turn.T for part in series])
    for kind in ("isotropic", "anisotropy", "vv", "vh"):
        for pair in ((), ("C",), ("C", "H")):
            first, second = (found.curve(kind, *pair).value for found in (a, b))
            np.testing.assert_allclose(first, second, atol=1e-10 * a.activity.magnitude.max())
    # the components of the sample turn with it
    assert (
        np.abs(a.components.magnitude - b.components.magnitude).max()
        > 0.1 * a.components.magnitude.max()
    )


def test_vv_and_vh_are_averages_over_orientations():
    """One mode of no symmetry at all; the icosahedral rotations average polynomials of degree 4
    exactly.
    """
    rng = np.random.default_rng(4)
    alpha = rng.normal(size=(3, 3))
    alpha += alpha.T
    found, _ = single_mode(alpha)
    turned = (
        Rotation.create_group("I").as_matrix()
        @ alpha
        @ Rotation.create_group("I").as_matrix().swapaxes(1, 2)
    )
    assert found.band(0, None, "vv").value == pytest.approx((turned[:, 2, 2] ** 2).mean(), rel=1e-9)
    assert found.band(0, None, "vh").value == pytest.approx((turned[:, 0, 2] ** 2).mean(), rel=1e-9)
    # and as it lies
    width = found.wavenumber.magnitude[1]
    for (a, first), (b, second) in itertools.product(enumerate(COMPONENTS), repeat=2):
        expected = np.prod(
            [alpha["xyz".index(name[0]), "xyz".index(name[1])] for name in (first, second)]
        )
        assert found.components.magnitude[:, a, b].sum() * width == pytest.approx(
            expected, rel=1e-9
        )
    assert found.component("zx", "yy").magnitude.sum() * width == pytest.approx(
        alpha[0, 2] * alpha[1, 1], rel=1e-9
    )


def test_terms_sum_to_the_total_and_autos_are_not_negative():
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(n, 3, 3, 3)) for n in (3000, 3500)]
    groups = ["a", "b", "c"]
    found, whole = (
        spectrum(series, groups),
        spectrum([part.sum(axis=1, keepdims=True) for part in series], ["all"]),
    )
    for kind in ("isotropic", "anisotropy", "vv", "vh", "activity"):
        scale = whole.curve(kind).value.max()
        pairs = [(name, name) for name in groups] + list(itertools.combinations(groups, 2))
        total = sum(found.curve(kind, *pair).value for pair in pairs)
        np.testing.assert_allclose(total, whole.curve(kind).value, atol=1e-10 * scale)
        np.testing.assert_allclose(found.curve(kind).value, total, atol=1e-10 * scale)
        assert min(found.curve(kind, name).value.min() for name in groups) >= 0
        assert (found.curve(kind, "a", "c").value == found.curve(kind, "c", "a").value).all()
    # an antisymmetric part is not a polarizability
    swapped = spectrum([part.swapaxes(2, 3) for part in series], groups)
    np.testing.assert_allclose(swapped.vv.magnitude, found.vv.magnitude, rtol=1e-10)


def single_mode(alpha, periods=300, n_frames=4000):
    """The spectrum of one mode that fits the series, in one point of the grid; its wavenumber in
    cm⁻¹.
    """
    rate = np.sqrt(2 * BOLTZMANN * TEMPERATURE) * np.cos(
        2 * np.pi * np.arange(n_frames) * periods / n_frames
    )
    found = spectrum([rate[:, None, None, None] * alpha], ["all"], window="none")
    return found, periods / (n_frames * SPACING * LIGHT)


def test_factors_of_the_laser_and_of_bose():
    """Per mode: (2π)⁴ ν̃ₛ⁴ h/(8π²cν̃) (n̄ + 1) α'², from SI constants."""
    found, wavenumber = single_mode(1.7 * np.eye(3))
    top = int(found.vv.magnitude.argmax())
    assert found.wavenumber.magnitude[top] == pytest.approx(wavenumber, rel=1e-9)
    shift = wavenumber * 100  # 1/m
    laser = 1 / 532e-9
    unit = 1e-30**2 / 1e-10**2 / (1e-3 / N_A)  # Å⁴/u in m⁴/kg
    expected = (2 * np.pi * (laser - shift)) ** 4 * h / (8 * np.pi**2 * c * shift) * unit

    def factor(*arguments, **options):
        scattered = found.scattered(*arguments, **options)
        assert (
            scattered.wavenumber.magnitude[top - 1] == found.wavenumber.magnitude[top]
        )  # without ν̃ = 0
        return scattered.vv[top - 1] / found.vv[top].magnitude

    for bose, occupation in (
        ("stokes", 1 / (1 - np.exp(-h * c * shift / (k * TEMPERATURE)))),
        ("classical", k * TEMPERATURE / (h * c * shift)),
        ("none", 1.0),
    ):
        found_factor = factor("532 nm", bose=bose).to("m^2*cm/sr").magnitude
        assert found_factor == pytest.approx(expected * occupation, rel=1e-6, abs=0)
    counted, power = (factor("532 nm", detection=name) for name in ("photons", "power"))
    assert (counted / power).to("").magnitude == pytest.approx(laser / (laser - shift), rel=1e-9)
    bare = factor(bose="none").to("angstrom^6*cm").magnitude
    assert bare == pytest.approx(16.857629 / wavenumber, rel=1e-6)
    low = found.scattered("1000 cm^-1")
    assert low.wavenumber.magnitude[0] > 0 and low.wavenumber.magnitude[-1] < 1000
    with pytest.raises(SpectrumError, match="factors already"):
        low.scattered()
    np.testing.assert_allclose(
        factor("563.5 THz").magnitude, factor(563.5e12 / (100 * c)).magnitude, rtol=1e-9
    )
    with pytest.raises(UnitError, match="laser: 0 nm must be positive"):
        found.scattered("0 nm")
    with pytest.raises(SpectrumError, match="choose of power, photons"):
        found.scattered(1e4, detection="eye")


def test_error_bars_are_those_of_the_segments():
    rng = np.random.default_rng(1)
    series = [rng.normal(size=(2000, 2, 3, 3)) for _ in range(8)]
    found = spectrum(series, ["a", "b"], segments="replicas", resolution=60)
    singles = [spectrum([part], ["a", "b"], resolution=60) for part in series]
    for arguments in (("vv",), ("vh", "a"), ("isotropic", "a", "b")):
        own = [single.curve(*arguments).value for single in singles]
        expected = np.std(own, axis=0, ddof=1) / np.sqrt(8)
        np.testing.assert_allclose(found.standard_error(*arguments).magnitude, expected, rtol=1e-4)
    assert (
        found.scattered("532 nm").standard_error("vv").units == found.scattered("532 nm").vv.units
    )
    # the jackknife of what is linear is the standard error of the mean
    areas = [single.band(500, 1500, "vv").value for single in singles]
    assert found.band(500, 1500, "vv").error == pytest.approx(
        np.std(areas, ddof=1) / np.sqrt(8), rel=1e-4
    )
    assert found.band(0, None, "vv").degrees_of_freedom == 7
    ratios = [single.depolarization(500, 1500).value for single in singles]
    assert found.depolarization(500, 1500).error == pytest.approx(
        np.std(ratios, ddof=1) / np.sqrt(8), rel=0.1
    )
    at_points = np.std(
        [single.depolarization().value for single in singles], axis=0, ddof=1
    ) / np.sqrt(8)
    assert np.median(found.depolarization().error / at_points) == pytest.approx(1, abs=0.15)
    assert all(row["depolarization_error"] > 0 and row["vv_error"] > 0 for row in found.maxima())
    with pytest.raises(SpectrumError, match="no error bars"):
        singles[0].standard_error("vv")
    assert np.isnan(singles[0].band(0, None, "vv").error) and np.isnan(
        singles[0].depolarization(0, 5000).error
    )
    assert singles[0].maxima()[0]["depolarization_error"] is None


def test_stated_errors_cover():
    """Ornstein-Uhlenbeck processes for ᾱ̇ and the five components of β̇: integrals and ratios of
    bands are known.
    """
    spacing, n_frames, n_runs, resolution = 2e-3, 8192, 300, 60.0
    basis = np.array(
        [
            np.diag([1.0, -1.0, 0.0]) / np.sqrt(2),
            np.diag([1.0, 1.0, -2.0]) / np.sqrt(6),
            *(
                np.eye(3)[[a, b]].T @ np.eye(3)[[b, a]] / np.sqrt(2)
                for a, b in itertools.combinations(range(3), 2)
            ),
        ]
    )  # tr of the products is 1 or 0
    taus, sizes = (0.010, 0.004), (1.0, 0.8)
    transform = Estimator(resolution).plan(spacing, [n_frames])
    scale = 2 * LIGHT / (BOLTZMANN * TEMPERATURE)
    mean, anisotropy = (
        scale * transform(factor * size**2 * np.exp(-spacing * np.arange(transform.n_lags) / tau))
        for factor, size, tau in zip((1.0, 1.5 * 5), sizes, taus, strict=True)
    )
    vh, vv = anisotropy / 15, mean + 4 / 45 * anisotropy
    bands = (100, 400), (1000, 3000)
    rng = np.random.default_rng(4)
    within = np.zeros((2, len(bands), 3))
    for _ in range(n_runs):
        processes = []
        for number, size, tau in zip((1, 5), sizes, taus, strict=True):
            keep = np.exp(-spacing / tau)
            kicks = rng.normal(size=(n_frames, number)) * size * np.sqrt(1 - keep**2)
            kicks[0] /= np.sqrt(1 - keep**2)
            processes.append(lfilter([1.0], [1.0, -keep], kicks, axis=0))
        rate = processes[0][:, :, None] * np.eye(3) + np.einsum("fk,kab->fab", processes[1], basis)
        found = raman_spectrum(
            [rate[:, None]], ["all"], spacing, TEMPERATURE, resolution=resolution, unbiased=True
        )
        for place, limits in enumerate(bands):
            weights = band_weights(transform.wavenumber, *limits)
            results = (
                found.band(*limits, "vv"),
                found.band(*limits, "vh"),
                found.depolarization(*limits),
            )
            true = vv @ weights, vh @ weights, (vh @ weights) / (vv @ weights)
            for column, (measured, known) in enumerate(zip(results, true, strict=True)):
                for sigmas in (1, 2):
                    low, high = measured.limits(sigmas)
                    within[sigmas - 1, place, column] += low < known < high
    assert within[0] / n_runs == pytest.approx(0.683, abs=0.06)
    assert within[1] / n_runs == pytest.approx(0.954, abs=0.03)


def test_velocities_made_of_positions(molecule):
    """Central differences of α 2 fs apart lose a third of a band at 3000 cm⁻¹, and get it back."""
    wavenumbers, alphas, _ = molecule
    n, spacing = 4096, 2e-3
    angle = 2 * np.pi * LIGHT * wavenumbers[-1] * spacing
    position = (
        np.sqrt(2 * BOLTZMANN * TEMPERATURE)
        / (angle / spacing)
        * np.sin(angle * np.arange(-1, n + 1))
    )
    rate = ((position[2:] - position[:-2]) / (2 * spacing))[:, None, None, None] * alphas[-1]
    found = raman_spectrum(
        [rate], ["all"], spacing, TEMPERATURE, segments=None, finite_difference=spacing
    )
    mean, anisotropy = static(alphas[-1])
    assert found.band(0, None, "activity").value == pytest.approx(
        45 * mean + 7 * anisotropy, rel=1e-2
    )
    assert found.wavenumber.magnitude[-1] == pytest.approx(0.7 / (2 * LIGHT * spacing), rel=1e-3)


def test_files(tmp_path, molecule):
    found = spectrum(molecule[2], segments=8, resolution=20, notes=["short"])
    scattered = found.scattered("532 nm")
    for one in (found, scattered):
        one.save(tmp_path / "raman.h5")
        again = RamanSpectrum.load(tmp_path / "raman.h5")
        for name in (
            "wavenumber",
            "terms",
            "components",
            "temperature",
        ):
            np.testing.assert_array_equal(
                getattr(again, name).magnitude, getattr(one, name).magnitude
            )
            assert getattr(again, name).units == getattr(one, name).units
        assert (again.groups, again.factors, again.notes) == (one.groups, one.factors, one.notes)
        errors = (item.standard_error("vh", "C", "H").magnitude for item in (again, one))
        np.testing.assert_allclose(*errors)
    found.to_csv(tmp_path / "raman.csv")
    with open(tmp_path / "raman.csv") as file:
        rows = list(csv.DictReader(file))
    column = next(name for name in rows[0] if name.startswith("vv ["))
    np.testing.assert_allclose(
        [float(row[column]) for row in rows], found.vv.magnitude, rtol=1e-6, atol=1e-12
    )


def test_questions_that_have_no_answer(molecule):
    found = spectrum(molecule[2][:1])
    with pytest.raises(SpectrumError, match="there is no 'hv': choose of isotropic"):
        found.curve("hv")
    with pytest.raises(SpectrumError, match="there is no group 'O'"):
        found.curve("vv", "O")
    with pytest.raises(SpectrumError, match="component 'xw'"):
        found.component("xw")
    with pytest.raises(SpectrumError, match="temperature must be positive"):
        raman_spectrum(molecule[2], ["C", "H"], SPACING, 0.0)
