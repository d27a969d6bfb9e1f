"""The committee's band on a spectrum."""

import dataclasses

import numpy as np
import pytest

from mda_aptnn.errors import SpectrumError
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.model.committee import Committee
from mda_aptnn.spectra import estimator
from mda_aptnn.spectra.infrared import Spectrum
from tests.systems import KnownTensors, absorption_spectrum, gas, random_tensors

SPACING, TEMPERATURE, VOLUME = 0.5e-3, 300.0, 1000.0
READING = {"velocity_unit": "angstrom/ps"}


# what only an old file or a committee of somebody's models has
UNCALIBRATED = "spread of the committee (not calibrated on bands)"


def spectrum(scales, n_frames=4000, noise=0.0, **options):
    """Two groups; each member has the same flux times its own number, plus noise of its own."""
    rng = np.random.default_rng(0)
    flux = rng.normal(size=(n_frames, 2, 3))
    members = np.stack(
        [scale * flux + noise * rng.normal(size=flux.shape) for scale in scales], axis=1
    )
    options = {"resolution": 100.0, "members": [members], **options}
    return absorption_spectrum([flux], ["a", "b"], SPACING, TEMPERATURE, VOLUME, **options)


def test_members_that_differ_by_a_factor():
    """Spectra go with the square of the flux: (1 + ε)² − 1, for the total and each term, at every
    frequency.
    """
    scales = 1 + np.array([-0.03, -0.01, 0.01, 0.03])
    found = spectrum(scales)
    relative = np.sqrt(((scales**2 - 1) ** 2).sum() / 3)
    assert np.allclose(
        found.model_error().magnitude, relative * found.absorption.magnitude, rtol=1e-4
    )
    for pair in (("a", "a"), ("a", "b")):
        expected = relative * np.abs(found.term(*pair).magnitude)
        largest = found.absorption.magnitude.max()
        assert np.allclose(
            found.model_error(*pair).magnitude, expected, rtol=1e-3, atol=1e-6 * largest
        )
    # to first order the standard deviation over the members, of 2 ε
    assert relative == pytest.approx(2 * np.std(scales, ddof=1), rel=0.01)


def test_members_where_pairs_would_take_too_much_memory(monkeypatch):
    """Each name with all others together: the total's error is that of the pairs apart."""
    scales = 1 + np.array([-0.03, -0.01, 0.01, 0.03])
    apart = spectrum(scales)
    monkeypatch.setattr(estimator, "_PAIR_BYTES", 0)
    together = spectrum(scales)
    assert np.allclose(together.model_error().magnitude, apart.model_error().magnitude, rtol=1e-3)


def test_noise_of_the_members_is_an_error_though_they_agree_about_it():
    """Members with white noise of variance s² of their own have all (1 + s²) of the spectrum of
    white noise.
    """
    found = spectrum(np.ones(6), noise=0.5, n_frames=20000)
    whole = found.absorption.magnitude
    integral = found.measure(np.sum)
    error = integral.model_error / integral.value
    # Σ_m (0.25)² / (M − 1)
    assert error == pytest.approx(0.25 * np.sqrt(6 / 5), rel=0.05)
    assert (found.model_error().magnitude > 0.1 * whole).mean() > 0.99


def test_the_factor_of_bands_is_for_what_is_linear_in_the_deviations():
    """(1 + ε)² − 1 is 2ε, times the factor, and ε², as it is; on average the ε cancel."""
    epsilon = 0.1 * np.array([-3.0, -1.0, 1.0, 3.0])
    for factor in (1.0, 0.2, 0.0):
        found = spectrum(1 + epsilon, band_factor=factor)
        relative = np.sqrt(((2 * factor * epsilon + epsilon**2) ** 2).sum() / 3)
        assert found.members.calibrated
        assert np.allclose(
            found.model_error().magnitude, relative * found.absorption.magnitude, rtol=1e-3
        )
    plain = spectrum(1 + epsilon)
    assert not plain.members.calibrated and np.allclose(
        plain.model_error().magnitude,
        spectrum(1 + epsilon, band_factor=1.0).model_error().magnitude,
        rtol=1e-4,
    )
    # noise of the members' own has nothing that could cancel
    noisy = spectrum(np.ones(6), noise=0.5, n_frames=20000, band_factor=0.05)
    integral = noisy.measure(np.sum)
    error = integral.model_error / integral.value
    assert error == pytest.approx(0.25 * np.sqrt(6 / 5), rel=0.05)


def test_the_band_is_kept_corrected_written_and_drawn(tmp_path):
    found = spectrum([0.98, 1.02])
    found.save(tmp_path / "ir.h5")
    again = Spectrum.load(tmp_path / "ir.h5")
    assert np.array_equal(again.members.terms, found.members.terms)
    assert np.allclose(again.model_error().magnitude, found.model_error().magnitude, rtol=1e-6)
    standard = found.corrected("standard")
    ratio = standard.absorption.magnitude[1:] / found.absorption.magnitude[1:]
    assert np.ptp(ratio) > 0.1
    assert np.allclose(
        standard.model_error().magnitude[1:], ratio * found.model_error().magnitude[1:], rtol=1e-3
    )
    found.to_csv(tmp_path / "ir.csv")
    assert f"{UNCALIBRATED} [1/cm]" in (tmp_path / "ir.csv").read_text().splitlines()[0]
    ax = found.plot(tmp_path / "ir.png")
    assert UNCALIBRATED in [text.get_text() for text in ax.get_legend().get_texts()]
    calibrated = spectrum([0.98, 1.02], band_factor=0.3).corrected("standard")
    calibrated.save(tmp_path / "calibrated.h5")
    again = Spectrum.load(tmp_path / "calibrated.h5")
    assert again.members.calibrated
    assert "error of the model" in [
        text.get_text() for text in again.plot().get_legend().get_texts()
    ]


def test_a_single_model_has_no_band():
    found = spectrum([0.98, 1.02], members=None)
    with pytest.raises(SpectrumError, match="no members of a committee"):
        found.model_error()


# --- the flux of members ---


def committee(factors=None):
    tensors = [random_tensors(9, seed) for seed in range(3)]
    return Committee([KnownTensors(values, slope=0.2) for values in tensors], factors)


def test_the_flux_of_members_is_that_of_each_member_alone():
    model = committee()
    found = DipoleFlux(gas(), model, {"O": "element O"}, sum_rule="mass", **READING).run().series
    assert found.members.shape == (40, 3, 2, 3)
    for k, single in enumerate(model.models):
        alone = (
            DipoleFlux(gas(), single, {"O": "element O"}, sum_rule="mass", **READING).run().series
        )
        assert alone.members is None
        assert np.allclose(
            found.members[:, k], alone.flux, rtol=0, atol=1e-10 * np.abs(alone.flux).max()
        )
    assert np.allclose(
        found.members.mean(axis=1), found.flux, rtol=0, atol=1e-10 * np.abs(found.flux).max()
    )


def test_the_scatter_of_an_element_is_stretched_in_the_flux_too():
    plain, stretched = (
        DipoleFlux(gas(), committee(factors), {"O": "element O"}, **READING).run().series
        for factors in (None, {"O": 3.0})
    )
    assert np.allclose(plain.flux, stretched.flux, rtol=0, atol=1e-10 * np.abs(plain.flux).max())
    deviations = [series.members - series.flux[:, None] for series in (plain, stretched)]
    scale = np.array([3.0, 1.0])[:, None]
    assert np.allclose(
        deviations[1], scale * deviations[0], rtol=0, atol=1e-9 * np.abs(plain.flux).max()
    )


def test_members_go_with_the_flux_wherever_it_goes(tmp_path):
    model = committee()
    analysis = DipoleFlux(
        gas(), model, {"O": "element O", "H": "element H"}, checkpoint=tmp_path / "part", **READING
    )
    series = analysis.run().series
    parallel = DipoleFlux(gas(), committee(), {"O": "element O", "H": "element H"}, **READING)
    parallel.run(backend="multiprocessing", n_workers=2)
    assert np.allclose(parallel.series.members, series.members, rtol=0, atol=1e-10)
    series.save(tmp_path / "flux.h5")
    loaded = FluxSeries.load(tmp_path / "flux.h5")
    assert np.array_equal(loaded.members, series.members)
    total = loaded.regroup({"all": ["O", "H"]})
    assert np.allclose(total.members[:, :, 0], series.members.sum(axis=2), rtol=0, atol=1e-10)
    twice = FluxSeries.merge(
        [series, dataclasses.replace(loaded, flux=-loaded.flux, members=-loaded.members)]
    )
    assert len(twice.members) == 80
    spectrum = twice.spectrum(TEMPERATURE, "2000 cm^-1")
    assert spectrum.members.terms.shape == (3, len(spectrum.wavenumber), 3)
    assert (spectrum.model_error().magnitude > 0).all()
    alone = dataclasses.replace(twice, flux=twice.members[:, 1], members=None).spectrum(
        TEMPERATURE, "2000 cm^-1"
    )
    assert any("not calibrated on intensities of bands" in note for note in spectrum.notes)
    model.band_spread = {"factor": 0.3, "elsewhere": {"frames of others": 7.74}}
    known = DipoleFlux(gas(), model, {"O": "element O", "H": "element H"}, **READING).run().series
    known.save(tmp_path / "known.h5")
    known = FluxSeries.load(tmp_path / "known.h5")
    other = dataclasses.replace(known, flux=-known.flux, members=-known.members)
    calibrated = FluxSeries.merge([known, other]).spectrum(TEMPERATURE, "2000 cm^-1")
    assert (
        calibrated.members.calibrated
        and calibrated.model_error().sum() < 0.95 * spectrum.model_error().sum()
    )
    assert any(
        "on frames of others were 7.7 times those stated" in note for note in calibrated.notes
    )
    own = spectrum.members.terms[1].sum(axis=1)
    assert np.allclose(own, alone.cross_section.magnitude, rtol=1e-4, atol=1e-6 * own.max())


def test_many_groups_keep_no_members():
    groups = {f"atom {k}": f"index {k}" for k in range(20)}
    universe = gas(n_molecules=7)
    model = Committee([KnownTensors(random_tensors(21, seed)) for seed in range(2)])
    found = DipoleFlux(universe, model, groups, **READING).run().series
    assert found.members is None
    assert any("no error of the model" in note for note in found.info["notes"])
