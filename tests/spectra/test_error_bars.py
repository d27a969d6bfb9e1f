"""Error bars of spectra against the scatter of synthetic trajectories of a known spectrum."""

import numpy as np
import pytest
from scipy.signal import lfilter

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.estimator import Estimator, Rates, choose_segments, cut
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.result import Segments, confidence_band, student_factor
from mda_aptnn.spectra.vdos import vibrational_density
from tests.known_bands import GROUPS, KnownBands, held
from tests.known_bands import RESOLUTION as RESOLUTION_OF_BANDS
from tests.systems import LIGHT, absorption_spectrum, km_per_mol, raman_spectrum

SPACING = 1e-3
N_FRAMES = 2000
#: x(t) = noise − Σ a_k x(t − k): a band at 1/8 of the sampling frequency, 70 times above the
#: minimum.
FEEDBACK = [1.0, -2 * 0.75 * np.cos(np.pi / 4), 0.75**2]
#: Sixteen segments are twice as long as this resolution needs.
RESOLUTION = 32 / (LIGHT * SPACING * N_FRAMES) * 1.0001
#: 1 cm⁻¹ · cm⁻¹ in 1000 Å³, per mole.
KM_PER_MOL_PER_CM = km_per_mol(1.0, 1000.0)


def trajectories(rng, n_groups, n_frames=N_FRAMES):
    return lfilter([1], FEEDBACK, rng.normal(size=(n_frames + 200, n_groups, 3)), axis=0)[200:]


def truth(n_frames=N_FRAMES, resolution=RESOLUTION):
    """The spectrum seen through the lag window and the estimator, in cm⁻¹ for 300 K and 1000 Å³."""
    frequencies = np.exp(-2j * np.pi * np.arange(1 << 14) / (1 << 14))
    power = 3 / np.abs(np.polyval(FEEDBACK[::-1], frequencies)) ** 2
    transform = Estimator(resolution).plan(SPACING, [n_frames])
    seen = np.fft.ifft(power).real[: transform.n_lags] * (
        1 - np.arange(transform.n_lags) / n_frames
    )
    return transform(seen) * units.absorption_prefactor(300.0) / 1000


def spectrum(flux, **options):
    groups = [f"g{k}" for k in range(flux.shape[1])]
    return absorption_spectrum(
        [flux], groups, SPACING, 300.0, 1000.0, **{"resolution": RESOLUTION, **options}
    )


@pytest.mark.slow
def test_bands_hold_the_truth_as_often_as_they_say():
    """1,000 trajectories, 250 frequencies; groups are independent, so that their cross terms
    vanish.
    """
    rng = np.random.default_rng(0)
    expected = truth()
    n_groups, n_runs = 10, 100
    assert len(expected) > 200
    held = {(n, what): np.zeros(2) for n in (4, 8, 16) for what in ("auto", "cross", "integral")}
    low, high = 600.0, 6000.0
    for _ in range(n_runs):
        flux = trajectories(rng, n_groups)
        for n_segments in (4, 8, 16):
            found = spectrum(flux, segments=n_segments)
            grid = found.wavenumber.magnitude
            integral = expected[(grid >= low) & (grid <= high)].sum() * grid[1] * KM_PER_MOL_PER_CM
            for name in found.groups:
                value, error = (
                    found.curve(name).value,
                    found.curve(name).error,
                )
                area = found.band(low, high, term=(name, name))
                for k, sigmas in enumerate((1, 2)):
                    lower, upper = confidence_band(
                        value, error, n_segments - 1, sigmas, positive=True
                    )
                    held[n_segments, "auto"][k] += ((lower < expected) & (expected < upper))[
                        8:-8
                    ].mean()
                    lower, upper = area.limits(sigmas)
                    held[n_segments, "integral"][k] += lower < integral < upper
            for k, sigmas in enumerate((1, 2)):
                lower, upper = found.curve("g0", "g1").limits(sigmas)
                held[n_segments, "cross"][k] += n_groups * ((lower < 0) & (upper > 0))[8:-8].mean()
    for key, counts in held.items():
        one, two = counts / (n_runs * n_groups)
        # 1,000 integrals, and one cross term in each of 100 runs, are counted with errors of their
        # own
        scatter = {"auto": 0.0, "cross": 0.015, "integral": 0.03}[key[1]]
        assert one == pytest.approx(0.683, abs=0.02 + scatter), key
        assert two == pytest.approx(0.954, abs=0.015 + scatter), key


def test_the_error_of_the_whole_is_not_that_of_the_segments():
    """Segments that are only as long as the resolution needs see fewer products at long lags."""
    rng = np.random.default_rng(1)
    values, errors = [], []
    for _ in range(15):
        found = spectrum(
            rng.normal(size=(N_FRAMES, 12, 3)), segments=32, resolution=1.03 * RESOLUTION
        )
        assert found.segments.inflation > 1.2
        values += [found.curve(name).value for name in found.groups]
        errors += [found.curve(name).error for name in found.groups]
    scatter = np.std(values, axis=0, ddof=1)[20:-20].mean()
    assert np.sqrt(np.mean(np.square(errors), axis=0))[20:-20].mean() == pytest.approx(
        scatter, rel=0.05
    )


def test_replicas_and_segments_agree_on_the_error():
    rng = np.random.default_rng(2)
    parts = [trajectories(rng, 1) for _ in range(8)]
    errors = []
    for segments in ("replicas", 8):
        found = absorption_spectrum(
            parts, ["a"], SPACING, 300.0, 1.0, resolution=RESOLUTION, segments=segments
        )
        assert found.segments.degrees_of_freedom == 7 and found.segments.inflation == pytest.approx(
            1
        )
        errors.append(found.curve().error)
    np.testing.assert_allclose(errors[0], errors[1])


def test_segments_do_not_share_frames_and_do_not_cross_joins():
    series = [
        np.arange(first, first + n)[:, None]
        for first, n in ((0, 100), (1000, 103), (2000, 9), (3000, 7))
    ]
    found = cut(series, 8)
    frames = np.concatenate([piece[:, 0] for segment in found for piece in segment])
    assert sorted(frames) == sorted(np.concatenate(series)[:, 0])
    assert all((np.diff(piece[:, 0]) == 1).all() for segment in found for piece in segment)
    assert len(found) == 8 and [len(segment) for segment in found] == [1] * 7 + [3]
    assert [len(segment) for segment in cut([np.zeros((10, 1))] * 40, 8)] == [4] * 10


@pytest.mark.parametrize(
    ("segments", "resolution", "said"),
    [
        (1, 100, "gives 0; error bars need two or more"),
        ("replicas", 100, "gives 1"),
        (
            16,
            100,
            r"the shortest of 16 has 0\.125 ps, a resolution of 100 cm⁻¹ needs 0\.334 ps; .* 268 "
            r"cm⁻¹",
        ),
        ("many", 100, "a number, 'auto', 'replicas' or None"),
        (True, 100, "a number"),
    ],
)
def test_segments_that_cannot_be_are_refused(segments, resolution, said):
    with pytest.raises(SpectrumError, match=said):
        choose_segments([np.zeros((N_FRAMES, 1, 3))], segments, resolution, SPACING)


def test_segments_are_chosen_where_they_fit():
    def chosen(resolution):
        return len(choose_segments([np.zeros((N_FRAMES, 1, 3))], "auto", resolution, SPACING))

    assert [chosen(r) for r in (60, 140, 267, 600)] == [0, 4, 8, 16]
    assert choose_segments([np.zeros((N_FRAMES, 1, 3))], None, 600, SPACING) == []
    without = spectrum(trajectories(np.random.default_rng(0), 1), segments=None)
    assert without.segments is None
    with pytest.raises(SpectrumError, match="no error bars"):
        without.standard_error()
    assert np.isnan(without.band().error) and np.isnan(without.peaks()[0].position.error)


def test_short_replicas_are_put_together():
    """Each only as long as 1.5 times what the resolution needs, and one too short by itself."""
    length = round(1.5 * N_FRAMES / 32)
    series = [np.zeros((length, 1, 3))] * 20 + [np.zeros((10, 1, 3))]
    found = choose_segments(series, "auto", RESOLUTION, SPACING)
    assert (
        8 <= len(found) <= 16
        and sum(len(piece) for segment in found for piece in segment) == 20 * length + 10
    )
    assert choose_segments([np.zeros((20, 1, 3))] * 200, "auto", RESOLUTION, SPACING) == []


def test_many_groups_have_fewer_segments(monkeypatch):
    flux = trajectories(np.random.default_rng(9), 3)
    n_segments = []
    for size in (10**9, 9 * 4 * 6 * 251, 10):
        monkeypatch.setattr("mda_aptnn.spectra.estimator._SEGMENT_BYTES", size)
        found = spectrum(flux).segments
        n_segments.append(0 if found is None else len(found.lengths))
        asked = spectrum(flux, segments=8).segments
        assert len(asked.lengths) == 8
    assert n_segments == [16, 9, 0]


def test_a_short_trajectory_comes_with_a_warning():
    flux = trajectories(np.random.default_rng(0), 1)
    with pytest.warns(
        UserWarning, match="2 ps are short for a resolution of 20 cm⁻¹: .* 39% .*; ask for 77 cm⁻¹"
    ):
        spectrum(flux, resolution=20)


def test_the_jackknife_is_the_standard_error_where_the_function_is_linear():
    rng = np.random.default_rng(3)
    lengths = np.array([1.0, 2.0, 2.0, 3.0, 1.5])
    segments = Segments(np.zeros((5, 1, 1), np.float32), lengths, 1.3)
    values = rng.normal(size=(5, 4)) / np.sqrt(lengths)[:, None]
    weights = lengths / lengths.sum()
    direct = np.sqrt(1.3 * weights @ (values - weights @ values) ** 2 / 4)
    found = segments.jackknife(lambda mean: 2 * mean + 1, values)
    np.testing.assert_allclose(found, 2 * direct, rtol=1e-10)


def test_unequal_segments_give_the_scatter_of_their_weighted_mean():
    rng = np.random.default_rng(4)
    lengths = np.array([1.0, 4.0, 2.0, 0.5])
    segments = Segments(np.zeros((4, 1, 1), np.float32), lengths)
    values = rng.normal(size=(4, 20000)) / np.sqrt(lengths)[:, None]
    squares = segments.jackknife(lambda mean: mean, values) ** 2
    # variance of the mean 1/ΣL; 20,000 estimates with 3 degrees of freedom know it to 0.6 %
    assert squares.mean() == pytest.approx(1 / lengths.sum(), rel=0.02)
    held = np.abs(segments.mean(values)) < student_factor(1, 3) * np.sqrt(squares)
    assert held.mean() == pytest.approx(0.6827, abs=0.012)


def test_students_factor_and_the_limit_of_many():
    assert student_factor(1, 3) == pytest.approx(1.1969, abs=1e-4)
    assert student_factor(2, 7) == pytest.approx(2.4288, abs=1e-3)
    assert student_factor(2, 1e9) == pytest.approx(2, abs=1e-6)
    low, high = confidence_band(
        np.array([2.0, 0.0, -3.0]), np.array([1.0, 0.0, 1.0]), 1e9, positive=True
    )
    np.testing.assert_allclose([low[0], high[0]], [2 * np.exp(-0.5), 2 * np.exp(0.5)])
    assert low[1] == high[1] == 0
    # what cannot be negative, and is: a band of no width would be a lie
    np.testing.assert_allclose([low[2], high[2]], [-4, -2])


@pytest.mark.slow
def test_the_error_of_a_peak_is_its_scatter():
    rng = np.random.default_rng(5)
    found = [spectrum(trajectories(rng, 1), segments=8).peaks(prominence=0.5) for _ in range(200)]
    [first] = {len(p) for p in found}
    assert first == 1
    positions = np.array([p[0].position.value for p in found])
    errors = np.array([p[0].position.error for p in found])
    expected = truth()
    grid = spectrum(trajectories(rng, 1)).wavenumber.magnitude
    top = grid[expected.argmax()]
    assert positions.mean() == pytest.approx(top, abs=4 * positions.std() / np.sqrt(200) + grid[1])
    # 200 runs know the scatter to 5 %
    assert np.sqrt((errors**2).mean()) == pytest.approx(positions.std(), rel=0.2)
    heights = np.array([p[0].height.value for p in found])
    assert np.mean([p[0].height.error for p in found]) == pytest.approx(heights.std(), rel=0.2)


def test_shares_sum_to_one_and_common_fluctuations_cancel():
    flux = trajectories(np.random.default_rng(6), 2)
    found = spectrum(flux, segments=8)
    shares = [found.share(500, 5000, pair) for pair in found.pairs()]
    assert sum(share.value for share in shares) == pytest.approx(1, rel=1e-9)
    assert all(share.error > 0 for share in shares)
    halves = spectrum(np.concatenate([0.25 * flux[:, :1], 0.75 * flux[:, :1]], axis=1), segments=8)
    share = halves.share(500, 5000, ("g0", "g0"))
    assert share.value == pytest.approx(1 / 16) and share.error < 1e-6
    assert halves.band(500, 5000).error > 0.01 * halves.band(500, 5000).value


def test_terms_have_errors_in_either_order_and_units():
    found = spectrum(trajectories(np.random.default_rng(7), 3), segments=8)
    np.testing.assert_array_equal(
        found.standard_error("g0", "g2").magnitude, found.curve("g2", "g0").error
    )
    assert (
        found.standard_error().check("1/[length]")
        and (found.standard_error("g1").magnitude > 0).all()
    )
    total = found.segments.terms.sum(axis=2, dtype=np.float64)
    np.testing.assert_allclose(
        found.segments.mean(total).sum(), found.cross_section.magnitude.sum(), rtol=0.01
    )  # the integral of all is that of the variance
    for pair in (None, ("g0", "g0")):
        low, high = found.curve(*(pair or ())).limits()
        values = found.curve(*(pair or ())).value
        assert (low > 0).all() and (low < values).all() and (values < high).all()


@pytest.mark.slow
def test_error_bars_are_saved(tmp_path):
    found = spectrum(
        trajectories(np.random.default_rng(8), 2), segments=8, quantum_correction="standard"
    )
    found.save(tmp_path / "s.h5")
    back = Spectrum.load(tmp_path / "s.h5")
    np.testing.assert_array_equal(back.segments.terms, found.segments.terms)
    np.testing.assert_array_equal(back.curve().error, found.curve().error)
    assert back.quantum_correction == "standard"
    found.to_csv(tmp_path / "s.csv")
    head, first, *_ = (tmp_path / "s.csv").read_text().splitlines()
    assert head.split(",")[2] == "standard error [1/cm]"
    assert float(first.split(",")[2]) == pytest.approx(found.curve().error[0], rel=1e-6)
    ax = found.plot(tmp_path / "s.png")
    assert len(ax.collections) == 1


@pytest.mark.filterwarnings("ignore:.* are short for a resolution")
@pytest.mark.parametrize(("ratio", "n_runs"), [(20, 20), (3, 24), (1, 24)])
def test_bands_lie_where_their_error_bars_say(ratio, n_runs):
    """Three bands of a known density, 10 segments; all of it is in benchmarks/error_bars.py.

    In version 0.1.0 the limits of position held the truth with 32 and 53 % at a ratio of 20, and 37
    bands too many were found in a spectrum.
    """
    parts, extra, missed = held(KnownBands(ratio, 20.0), n_runs)
    assert extra == 0 and missed < 0.03
    for name, (one, two) in parts.items():
        # 60 to 72 values and more: 6 % and 3 % of scatter
        assert 0.52 < one < 0.84, (name, one)
        assert two > 0.86, (name, two)


@pytest.mark.filterwarnings("ignore:.* are short for a resolution")
@pytest.mark.parametrize("segments", ["auto", None])
def test_white_noise_has_no_bands(segments):
    rng = np.random.default_rng(11)
    for n_frames in (1500, 6000, 20000):
        assert (
            spectrum(rng.normal(size=(n_frames, 1, 3)), segments=segments, resolution=40).peaks()
            == []
        )


def test_a_quiet_spectrum_keeps_its_weak_bands():
    """A line of a fiftieth of the height is a band where noise is a hundredth."""
    process = KnownBands(1, 2000.0)
    rng = np.random.default_rng(12)
    flux = process.flux(rng)
    times = np.arange(len(flux)) * process.spacing
    place = 0.5 * process.centres[0]
    flux[:, 0, 0] += 0.3 * np.cos(2 * np.pi * LIGHT * place * times)
    found = absorption_spectrum(
        [flux], ["a", "b", "c"], process.spacing, 300.0, 1000.0, resolution=10
    )
    tops = found.peaks(prominence=1e-3)
    assert len(tops) == 4 and tops[0].position.value == pytest.approx(place, abs=1)


@pytest.mark.filterwarnings("ignore:.* are short for a resolution")
def test_dependent_segments_are_noticed_and_made_longer():
    """Lines whose energy is remembered for longer than a segment, and bands whose energy is not."""
    rng = np.random.default_rng(13)
    slow, fast = KnownBands(0.05, 40.0), KnownBands(3, 40.0)
    noticed = [slow.spectrum(rng) for _ in range(8)]
    numbers = [len(found.segments.lengths) for found in noticed]
    assert sum(n <= 8 for n in numbers) >= 6
    for found, n in zip(noticed, numbers, strict=True):
        assert any("are not independent" in note for note in found.notes) == (n < 16)
    assert sum(bool(fast.spectrum(rng).notes) for _ in range(20)) <= 1
    note = next(
        found.notes for found in (slow.spectrum(rng, segments=16) for _ in range(9)) if found.notes
    )[0]
    assert note.endswith("the error bars are too small, take fewer segments")


@pytest.mark.filterwarnings("ignore:.* are short for a resolution")
def test_dependent_segments_are_noticed_whatever_they_are_of():
    """Raman spectra and densities of states, which are sums over batches."""
    process = KnownBands(0.05, 40.0)
    rng = np.random.default_rng(13)
    numbers = []
    for _ in range(8):
        flux = process.flux(rng)
        rates = Rates(flux[:, None], [0], process.spacing, ("",))
        atoms = rates, np.ones(3), np.arange(3), GROUPS
        options = {"resolution": RESOLUTION_OF_BANDS}
        alpha = flux[:, :, :, None] * np.eye(3)
        for found in (
            vibrational_density(*atoms, 300.0, **options),
            raman_spectrum([alpha], GROUPS, process.spacing, 300.0, **options),
        ):
            numbers.append(len(found.segments.lengths))
            noted = any("are not independent" in note for note in found.notes)
            assert noted == (numbers[-1] < 16)
    assert sum(n <= 8 for n in numbers[::2]) >= 4, numbers
    assert sum(n <= 8 for n in numbers[1::2]) >= 4, numbers
