import dataclasses

import numpy as np
import pytest

from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.convergence import convergence
from tests.flux.test_flux_series import series
from tests.spectra.test_error_bars import trajectories


def synthetic(n_frames=12000, starts=(0,)):
    flux = trajectories(np.random.default_rng(0), 2, n_frames)
    return series(n_frames, groups=("a", "b"), flux=flux, starts=list(starts))


@pytest.mark.parametrize("starts", [(0,), (0, 5000, 9000)])
def test_the_last_length_is_the_whole_and_errors_fall(starts, tmp_path):
    flux = synthetic(starts=starts)
    found = convergence(flux, "1000 cm^-1", 6000, resolution=100, temperature=300)
    assert found.lengths[-1] == pytest.approx(12) and (np.diff(found.lengths) > 0).all()
    whole = flux.spectrum(300, 100, segments=8)
    last = whole.band(1000, 6000)
    assert found.integrals[-1].value == pytest.approx(last.value, rel=1e-9)
    assert found.integrals[-1].error == pytest.approx(last.error, rel=1e-3)
    errors = [integral.error for integral in found.integrals]
    assert errors[-1] < 0.8 * errors[0]
    upper, _ = found.plot(tmp_path / "c.png")
    np.testing.assert_allclose(upper.get_lines()[0].get_xdata(), found.lengths)
    assert "1000 to 6000" in upper.get_ylabel() and upper.get_ylabel().endswith("per sample")


def test_the_first_part_is_that_of_a_shorter_run():
    flux = synthetic()
    found = convergence(flux, 1000, 6000, resolution=100, temperature=300, volume=1000)
    n = round(found.lengths[2] / flux.spacing)
    part = {
        name: getattr(flux, name)[:n]
        for name in ("flux", "times", "volumes", "temperatures", "residuals", "equipartition")
    }
    short = dataclasses.replace(flux, **part).spectrum(300, 100, volume=1000, segments=8)
    assert found.integrals[2].value == pytest.approx(short.band(1000, 6000).value)


def test_a_trajectory_that_cannot_be_cut_is_refused():
    with pytest.raises(
        SpectrumError, match=r"12 ps are too short .* 4 segments .* 12 cm⁻¹ need 11.7 ps"
    ):
        convergence(synthetic(), 1000, 6000, temperature=300, segments=4, resolution=12)
