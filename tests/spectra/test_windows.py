import numpy as np
import pytest
from scipy.integrate import trapezoid

from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.windows import POSITIVE_DEFINITE, WINDOWS, lag_window
from tests.systems import LIGHT

SPACING = 0.001


def line(window, wavenumber):
    """Cosine transform of a lag window, written out."""
    lags = np.arange(len(window)) * SPACING
    return 2 * trapezoid(
        window * np.cos(2 * np.pi * LIGHT * np.outer(wavenumber, lags)), dx=SPACING, axis=1
    )


@pytest.mark.parametrize("resolution", [5.0, 40.0])
@pytest.mark.parametrize("name", ["gaussian", "parzen", "bartlett", "hann"])
def test_a_line_is_as_wide_as_the_resolution(name, resolution):
    window = lag_window(name, resolution, SPACING, 10**6)
    centre, flank = line(window, np.array([0.0, resolution / 2]))
    # the last point of the window ends the integral up to one spacing early
    assert flank / centre == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize("name", WINDOWS)
def test_the_first_lag_is_whole_and_none_is_larger(name):
    window = lag_window(name, 20.0, SPACING, 5000)
    assert window[0] == 1.0 and (np.diff(window) <= 0).all() and (window >= 0).all()


@pytest.mark.parametrize("name", POSITIVE_DEFINITE)
def test_the_positive_definite_ones_have_no_negative_lobes(name):
    window = lag_window(name, 20.0, SPACING, 3000)
    estimator = 1 - np.arange(len(window)) / 3000  # that of a series of 3000 frames
    both = np.concatenate([window * estimator, np.zeros(10000)])
    transform = 2 * np.fft.rfft(both, 2 * len(both)).real - both[0]
    assert transform.min() > -1e-10 * transform.max()


def test_the_gaussian_lag_by_lag():
    deviation = np.sqrt(2 * np.log(2)) / (np.pi * LIGHT * 10)
    window = lag_window("gaussian", 10, SPACING, 4000)
    lags = np.arange(4000) * SPACING
    np.testing.assert_allclose(window, np.exp(-(lags**2) / (2 * deviation**2)), rtol=1e-9)


def test_the_gaussian_ends_where_it_is_zero_in_double_precision():
    window = lag_window("gaussian", 100, SPACING, 10**6)
    assert len(window) < 2000 and 1e-14 < window[-1] < 1e-12


def test_no_window_takes_all_lags():
    np.testing.assert_array_equal(lag_window("none", 10, SPACING, 7), np.ones(7))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("kaiser", 10, SPACING, 9999), "'kaiser'.*gaussian"),
        (("gaussian", 0, SPACING, 9999), "must be positive"),
        (
            ("gaussian", 10, SPACING, 3000),
            r"needs an uninterrupted series of 3\.34 ps, the longest is 3 ps; ask for 11",
        ),
        (("hann", 10, SPACING, 3000), "run longer"),
    ],
)
def test_what_cannot_be_is_refused(arguments, said):
    with pytest.raises(SpectrumError, match=said):
        lag_window(*arguments)
