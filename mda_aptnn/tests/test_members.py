"""The committee's band on a spectrum."""

import numpy as np
import pytest

from mda_aptnn.analysis.absorption import absorption_spectrum
from mda_aptnn.analysis.spectrum import Spectrum
from mda_aptnn.errors import SpectrumError

SPACING, TEMPERATURE, VOLUME = 0.5e-3, 300.0, 1000.0


def spectrum(scales, n_frames=4000, noise=0.0, **options):
    """Two groups; each member has the same flux times a number of its own, plus noise of its own."""
    rng = np.random.default_rng(0)
    flux = rng.normal(size=(n_frames, 2, 3))
    members = np.stack([scale * flux + noise * rng.normal(size=flux.shape) for scale in scales], axis=1)
    options = {"resolution": 100.0, "members": [members], **options}
    return absorption_spectrum([flux], ["a", "b"], SPACING, TEMPERATURE, VOLUME, **options)


def test_members_that_differ_by_a_factor():
    """Spectra go with the square of the flux: (1 + ε)² − 1, for the total and each term, at every frequency."""
    scales = 1 + np.array([-0.03, -0.01, 0.01, 0.03])
    found = spectrum(scales)
    relative = np.sqrt(((scales**2 - 1) ** 2).sum() / 3)
    assert np.allclose(found.model_error().magnitude, relative * found.absorption.magnitude, rtol=1e-4)
    for pair in (("a", "a"), ("a", "b")):
        expected = relative * np.abs(found.term(*pair).magnitude)
        largest = found.absorption.magnitude.max()
        assert np.allclose(found.model_error(*pair).magnitude, expected, rtol=1e-3, atol=1e-6 * largest)
    # to first order the standard deviation over the members, of 2 ε
    assert relative == pytest.approx(2 * np.std(scales, ddof=1), rel=0.01)


def test_noise_of_the_members_is_an_error_though_they_agree_about_it():
    """Members with white noise of variance s² of their own have all (1 + s²) of the spectrum of white noise."""
    found = spectrum(np.ones(6), noise=0.5, n_frames=20000)
    whole = found.absorption.magnitude
    weights = np.ones(len(whole))
    error = found.section_model_error(weights=weights) / found.cross_section.magnitude.sum()
    # Σ_m (0.25)² / (M − 1)
    assert error == pytest.approx(0.25 * np.sqrt(6 / 5), rel=0.05)
    assert (found.model_error().magnitude > 0.1 * whole).mean() > 0.99


def test_the_band_is_kept_corrected_written_and_drawn(tmp_path):
    found = spectrum([0.98, 1.02])
    found.save(tmp_path / "ir.h5")
    again = Spectrum.load(tmp_path / "ir.h5")
    assert np.array_equal(again.members.terms, found.members.terms)
    assert np.allclose(again.model_error().magnitude, found.model_error().magnitude, rtol=1e-6)
    standard = found.corrected("standard")
    ratio = standard.absorption.magnitude[1:] / found.absorption.magnitude[1:]
    assert np.ptp(ratio) > 0.1
    assert np.allclose(standard.model_error().magnitude[1:], ratio * found.model_error().magnitude[1:], rtol=1e-3)
    found.to_csv(tmp_path / "ir.csv")
    assert "error of the model [1/cm]" in (tmp_path / "ir.csv").read_text().splitlines()[0]
    ax = found.plot(tmp_path / "ir.png")
    assert "error of the model" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_single_model_has_no_band():
    found = spectrum([0.98, 1.02], members=None)
    with pytest.raises(SpectrumError, match="predicted by a single model"):
        found.model_error()
