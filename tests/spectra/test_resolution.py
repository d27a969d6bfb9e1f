"""The resolution that follows from the length of a run."""

import numpy as np
import pytest

from mda_aptnn.errors import SpectrumError
from mda_aptnn.flux.flux_series import lengths_together
from mda_aptnn.spectra.estimator import AUTO, Estimator, Rates
from mda_aptnn.trajectory.times import Timeline
from tests.systems import LIGHT

SPACING = 2e-3


@pytest.mark.parametrize(
    ("picoseconds", "segments", "expected"),
    [
        # four segments of 2/(c Δν̃) = 66.7 ps cm⁻¹/Δν̃ each: Δν̃ = 267 ps cm⁻¹ over the length
        ([100.0], "auto", 10.0),
        ([26.7], "auto", 10.0),
        ([26.6], "auto", 15.0),
        ([10.0], "auto", 30.0),
        ([10.0], None, 30.0),
        ([2.0], "auto", 150.0),
        # the longest there is, without error bars
        ([0.5], "auto", 200.0),
        # as many as were asked for, each 1/(c Δν̃) long
        ([10.0], 8, 30.0),
        ([10.0], 16, 60.0),
        ([1.0] * 10, "replicas", 40.0),
        # products never cross from one series to another
        ([1.0] * 100, "auto", 40.0),
    ],
)
def test_it_is_the_finest_with_error_bars(picoseconds, segments, expected):
    lengths = [round(length / SPACING) for length in picoseconds]
    estimator = Estimator(segments=segments)
    assert estimator.suited(SPACING, lengths).resolution == expected
    asked = Estimator(23.0, segments=segments)
    assert asked.suited(SPACING, lengths) is asked


def test_it_is_said_with_the_error_that_it_gives():
    values = np.random.default_rng(0).normal(size=(5000, 1, 3))
    density = Estimator(AUTO).density(Rates(values, [0], SPACING, ["all"]))
    assert density.segments is not None and density.estimator.resolution == 30.0
    # a Gaussian lag window w = exp(−t²/2s²), s = √(2 ln 2)/(π c Δν̃): Var/S² = ∫ w² dt / T, three
    # components
    error = np.sqrt(np.sqrt(np.pi) * np.sqrt(2 * np.log(2)) / (np.pi * LIGHT * 30.0) / 10.0 / 3)
    assert density.notes == [
        f"resolution 30 cm⁻¹, chosen for 10 ps: the standard error is {error:.2g} of the spectrum "
        "at each point or more; resolution= (--resolution) asks for another"
    ]
    scatter = (density.terms / density.terms.mean() - 1).std()
    assert scatter == pytest.approx(error, rel=0.15)
    assert Estimator(30).density(Rates(values, [0], SPACING, ["all"])).notes == []


def test_what_cannot_be_is_refused_before_there_are_data():
    Estimator(AUTO).check(SPACING, [5000])
    for estimator, words in (
        (Estimator(1.0), "needs an uninterrupted series of 33.4 ps, the longest is 10 ps"),
        (Estimator(50.0, segments=100), "the shortest of 100 has 0.1 ps"),
        (Estimator(segments="replicas"), "error bars need two or more"),
        (Estimator(window="box"), "choose one of gaussian"),
    ):
        with pytest.raises(SpectrumError, match=words):
            estimator.check(SPACING, [5000])


def test_runs_that_continue_each_other_are_one_series():
    def times(first, n, starts=(0,)):
        return Timeline(first + SPACING * np.arange(n), np.array(starts), SPACING)

    assert lengths_together([times(0, 100)]) == [100]
    assert lengths_together([times(0, 100), times(100 * SPACING, 50, (0, 20))]) == [120, 30]
    assert lengths_together([times(0, 100), times(0, 50)]) == [100, 50]
