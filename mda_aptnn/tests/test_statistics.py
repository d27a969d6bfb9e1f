import numpy as np
import pytest

from mda_aptnn.analysis.spectra.statistics import ratio_with_error


def correlated(rng, n, memory):
    """A stationary Gaussian series of unit variance."""
    from scipy.signal import lfilter

    noise = rng.normal(size=n + 20 * memory) * np.sqrt(1 - np.exp(-2 / memory))
    return lfilter([1], [1, -np.exp(-1 / memory)], noise)[20 * memory :]


@pytest.mark.parametrize("memory", [1, 10])
def test_the_error_bar_is_the_scatter_of_repeated_runs(memory):
    """⟨x²⟩/⟨y⟩ with a common fluctuation, true ratio 1/2, from 400 runs of 2000 frames."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        x, y = correlated(rng, 2000, memory), correlated(rng, 2000, memory)
        common = 1 + 0.1 * y
        found.append(ratio_with_error(x**2 * common, 2 * common))
    ratios, errors = np.array(found).T
    scores = (ratios - 0.5) / errors
    # 19 degrees of freedom: the deviation of Student's t is 1.057; of 400 it is known to 3.5 %
    assert 0.9 < scores.std() < 1.25
    assert errors.mean() == pytest.approx(ratios.std(), rel=0.15)


def test_common_fluctuations_cancel():
    b = np.random.default_rng(1).uniform(1, 2, 500)
    ratio, error = ratio_with_error(3 * b, b)
    assert ratio == pytest.approx(3) and error < 1e-12


def test_short_series_have_no_error_bar():
    assert np.isnan(ratio_with_error(np.ones(3), np.ones(3))[1])
    assert np.isfinite(ratio_with_error(np.arange(4.0), np.ones(4))[1])
