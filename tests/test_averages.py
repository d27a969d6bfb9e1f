import numpy as np
import pytest

from mda_aptnn.averages import mean_with_error, ratio_with_error


def correlated(rng, n, memory):
    """A stationary Gaussian series of unit variance."""
    from scipy.signal import lfilter

    noise = rng.normal(size=n + 20 * memory) * np.sqrt(1 - np.exp(-2 / memory))
    return lfilter([1], [1, -np.exp(-1 / memory)], noise)[20 * memory :]


@pytest.mark.parametrize("memory", [1, 10, 40])
def test_the_error_bar_is_the_scatter_of_repeated_runs(memory):
    """⟨x²⟩/⟨y⟩ with a common fluctuation, true ratio 1/2, from 300 runs of 2000 frames."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        x, y = correlated(rng, 2000, memory), correlated(rng, 2000, memory)
        common = 1 + 0.1 * y
        found.append(ratio_with_error(x**2 * common, 2 * common))
    ratios, errors = np.array(found).T
    # Student's factor and the search make the error larger by some 10 to 20 %, where the memory is
    # short
    assert 0.9 < np.sqrt((errors**2).mean()) / ratios.std() < 1.35
    inside = np.abs(ratios - 0.5) / errors
    assert 0.61 < (inside < 1).mean() < 0.83
    assert (inside < 2).mean() > 0.90


def test_blocks_are_as_long_as_a_slow_part_needs():
    """White noise hides a fifth of the variance whose memory is a 25th of the series: 20 blocks are
    too short.
    """
    rng = np.random.default_rng(2)
    found = [
        mean_with_error(correlated(rng, 5000, 5) + 0.5 * correlated(rng, 5000, 200))
        for _ in range(200)
    ]
    means, errors = np.array(found).T
    assert np.sqrt((errors**2).mean()) > 0.85 * means.std()
    # twenty blocks: 0.43 and 0.78
    assert (np.abs(means) < errors).mean() > 0.55 and (np.abs(means) < 2 * errors).mean() > 0.86


def test_the_mean_is_that_of_all_frames():
    values = np.random.default_rng(3).normal(5, 1, 1003)
    mean, error = mean_with_error(values)
    assert mean == pytest.approx(values.mean(), rel=1e-12)
    assert 0.6 < error * np.sqrt(1003) < 1.6
    assert mean_with_error(np.full(50, 2.0)) == (2.0, 0.0)


def test_common_fluctuations_cancel():
    b = np.random.default_rng(1).uniform(1, 2, 500)
    ratio, error = ratio_with_error(3 * b, b)
    assert ratio == pytest.approx(3) and error < 1e-12


def test_short_series_have_no_error_bar():
    assert np.isnan(ratio_with_error(np.ones(3), np.ones(3))[1])
    assert np.isfinite(ratio_with_error(np.arange(4.0), np.ones(4))[1])
