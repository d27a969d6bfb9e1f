import numpy as np
import pytest

from mda_aptnn.spectra.estimator import component_correlation, cross_correlation


def series(n_frames, n_groups=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n_frames, n_groups, 3)) + 0.3


def by_loops(segments, n_lags, unbiased=False):
    """Sums over origins, written out."""
    n_groups = segments[0].shape[1]
    result = np.zeros((n_lags, n_groups, n_groups))
    for lag in range(n_lags):
        terms = 0
        for part in segments:
            for t in range(len(part) - lag):
                result[lag] += part[t] @ part[t + lag].T
                terms += 1
        result[lag] /= max(terms, 1) if unbiased else sum(len(part) for part in segments)
    return result


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("n_lags", [1, 7, 40])
@pytest.mark.parametrize("lengths", [[40], [40, 12, 3], [41, 1, 40]])
def test_against_direct_sums(lengths, n_lags, unbiased):
    """Other lengths, all lags, also those longer than a segment: no wrap-around, nothing across a
    join.
    """
    segments = [series(n, seed=n) for n in lengths]
    found = cross_correlation(segments, n_lags, unbiased=unbiased)
    np.testing.assert_allclose(found, by_loops(segments, n_lags, unbiased), atol=1e-12)


def test_the_second_group_is_the_later_one():
    """A pulse in group 0 followed three frames later by one in group 1."""
    pulses = np.zeros((20, 2, 3))
    pulses[5, 0, 0] = pulses[8, 1, 0] = 1.0
    found = cross_correlation([pulses], 10) * 20
    expected = np.zeros((10, 2, 2))
    expected[0, 0, 0] = expected[0, 1, 1] = expected[3, 0, 1] = 1
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_against_numpy_for_one_component():
    f = series(60, 1)[:, :, :1]
    direct = np.correlate(f[:, 0, 0], f[:, 0, 0], "full")[59:]
    np.testing.assert_allclose(cross_correlation([f], 60)[:, 0, 0] * 60, direct, atol=1e-12)


def test_replicas_are_averaged_by_their_length():
    a, b = series(50, seed=1), series(30, seed=2)
    both = cross_correlation([a, b], 10)
    np.testing.assert_allclose(
        both, (50 * cross_correlation([a], 10) + 30 * cross_correlation([b], 10)) / 80
    )
    joined = cross_correlation([np.concatenate([a, b])], 10)
    assert np.abs(joined - both)[1:].max() > 1e-3


def test_groups_sum_to_the_total():
    f = series(50, 3)
    total = cross_correlation([f.sum(axis=1, keepdims=True)], 20)
    np.testing.assert_allclose(
        cross_correlation([f], 20).sum(axis=(1, 2)), total[:, 0, 0], atol=1e-12
    )


def test_components_are_those_of_the_total():
    f = series(30, 2)
    found = component_correlation([f], 12)
    np.testing.assert_allclose(found, by_loops([f.sum(1)[:, :, None]], 12), atol=1e-12)
    np.testing.assert_allclose(
        np.trace(found, axis1=1, axis2=2), cross_correlation([f], 12).sum(axis=(1, 2)), atol=1e-12
    )


def test_one_over_n_is_positive_definite_and_the_unbiased_one_is_not():
    f = series(64, 1, seed=4)
    for unbiased in (False, True):
        c = cross_correlation([f], 64, unbiased=unbiased)[:, 0, 0]
        toeplitz = c[np.abs(np.subtract.outer(np.arange(64), np.arange(64)))]
        assert (np.linalg.eigvalsh(toeplitz).min() < -1e-6) == unbiased


def test_nothing_to_correlate():
    with pytest.raises(ValueError, match="no series"):
        cross_correlation([], 3)
