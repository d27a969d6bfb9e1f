"""So many groups that the terms of all pairs would not fit into memory."""

import subprocess
import sys

import numpy as np
import pytest

from mda_aptnn.errors import SpectrumError
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra import estimator
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.lag_sums import LagSums
from mda_aptnn.spectra.term_plots import plot_matrix
from tests.systems import absorption_spectrum, raman_spectrum

GROUPS = ["a", "b", "c", "d"]


@pytest.fixture
def flux():
    """Four groups that have something in common, in two series."""
    rng = np.random.default_rng(3)
    series = rng.normal(size=(4000, 4, 3)) + 0.7 * rng.normal(size=(4000, 1, 3))
    return [series[:2500], series[2500:]]


def spectrum(flux, unbiased=False):
    options = {"resolution": 300.0, "segments": 6, "unbiased": unbiased}
    return absorption_spectrum(flux, GROUPS, 1e-3, 300.0, 1000.0, **options)


@pytest.mark.parametrize("unbiased", [False, True])
def test_terms_with_all_others_are_sums_of_pairs(flux, unbiased, monkeypatch):
    pairs = spectrum(flux, unbiased)
    monkeypatch.setattr(estimator, "_PAIR_BYTES", 0)
    found = spectrum(flux, unbiased)
    assert found.summed and not pairs.summed
    assert any("all the others stand together" in note for note in found.notes)
    scale = pairs.absorption.magnitude.max()
    np.testing.assert_allclose(
        found.absorption.magnitude, pairs.absorption.magnitude, atol=1e-9 * scale
    )
    np.testing.assert_allclose(
        found.correlation.magnitude.sum(axis=(1, 2)),
        pairs.correlation.magnitude.sum(axis=(1, 2)),
        atol=1e-9,
    )
    np.testing.assert_allclose(
        found.segments.terms.sum(axis=2, dtype=np.float64),
        pairs.segments.terms.sum(axis=2, dtype=np.float64),
        rtol=1e-4,
        atol=1e-9 * scale,
    )
    for name in GROUPS:
        others = [other for other in GROUPS if other != name]
        halves = 0.5 * sum(pairs.term(name, other).magnitude for other in others)
        np.testing.assert_allclose(
            found.term(name).magnitude, pairs.term(name).magnitude, atol=1e-9 * scale
        )
        np.testing.assert_allclose(
            found.term(name, "all others").magnitude, halves, atol=1e-9 * scale
        )
        np.testing.assert_allclose(
            found.standard_error(name).magnitude,
            pairs.standard_error(name).magnitude,
            rtol=1e-3,
            atol=1e-6 * scale,
        )
        share = found.share(1000, 9000, (name, name))
        expected = pairs.share(1000, 9000, (name, name))
        assert (share.value, share.error) == pytest.approx(
            (expected.value, expected.error), rel=1e-4
        )
        assert found.band(1000, 9000, term=(name, "all others")).error > 0
    assert len(found.pairs()) == 8 and found.pairs()[4] == ("a", "all others")
    assert sum(found.term(*pair).magnitude for pair in found.pairs()) == pytest.approx(
        found.absorption.magnitude
    )


def test_files_and_what_cannot_be_asked(flux, monkeypatch, tmp_path):
    monkeypatch.setattr(estimator, "_PAIR_BYTES", 0)
    found = spectrum(flux)
    found.save(tmp_path / "s.h5")
    again = Spectrum.load(tmp_path / "s.h5")
    assert again.summed
    np.testing.assert_array_equal(again.terms.magnitude, found.terms.magnitude)
    np.testing.assert_array_equal(again.segments.terms, found.segments.terms)
    found.to_csv(tmp_path / "s.csv")
    header = (tmp_path / "s.csv").read_text().splitlines()[0]
    assert "c [1/cm]" in header and "c x all others [1/cm]" in header
    found.plot(tmp_path / "s.png")
    found.corrected("schofield")
    for ask in (lambda: found.term("a", "b"), lambda: found.standard_error("a", "b")):
        with pytest.raises(
            SpectrumError, match="of 4 groups there are no terms of two: give 'all others'"
        ):
            ask()
    with pytest.raises(SpectrumError, match="no group 'x'"):
        found.term("x")
    with pytest.raises(SpectrumError, match="too many for this picture"):
        plot_matrix(found, tmp_path / "m.png")
    with pytest.raises(SpectrumError, match=r"would take .* GB: put groups together"):
        raman_spectrum([np.zeros((500, 4, 3, 3))], GROUPS, 1e-3, 300.0, resolution=300.0)


def test_pictures_and_streams_refuse_what_they_cannot_hold(flux, tmp_path):
    many = absorption_spectrum(
        [np.ones((300, 30, 3))], list(map(str, range(30))), 1e-3, 300.0, 1e3, resolution=900
    )
    with pytest.raises(SpectrumError, match="465 areas are too many for this picture"):
        many.plot(tmp_path / "s.png", stacked=True)
    with pytest.raises(SpectrumError, match="of 500 groups at 3000 lags would take 96 GB"):
        LagSums(3000, 500, 100)


#: 2 GB are 1.9e6 kB, of which imports take 0.3.
CODE = """
import re, sys
from mda_aptnn.cli import app
try:
    options = "-T 300 -o s.h5 --csv s.csv --plot s.png".split()
    app(["spectrum", "flux.h5", "--resolution", sys.argv[1], *options])
finally:
    print("peak", re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("resolution", ["10 1/cm", "200 1/cm"])
def test_the_spectrum_of_five_hundred_groups_takes_less_than_two_gigabytes(resolution, tmp_path):
    """Version 0.1.0 took more than 4 GB at 40 cm⁻¹; 12 ps in frames of 2 fs."""
    rng = np.random.default_rng(0)
    n_frames = 6000
    flux = rng.normal(size=(n_frames, 500, 3))
    zeros = np.zeros(n_frames)
    series = FluxSeries(
        flux=flux,
        groups=[f"g{k}" for k in range(500)],
        times=0.002 * np.arange(n_frames),
        spacing=0.002,
        starts=[0],
        residuals=np.zeros((n_frames, 3, 3)),
        volumes=zeros + 2000.0,
        temperatures=zeros + 300.0,
        equipartition=zeros + 1.0,
    )
    series.save(tmp_path / "flux.h5")
    found = subprocess.run(
        [sys.executable, "-c", CODE, resolution], capture_output=True, text=True, cwd=tmp_path
    )
    assert found.returncode == 0, found.stderr[-2000:]
    assert int(found.stdout.split("peak")[1]) < 1.9e6
    loaded = Spectrum.load(tmp_path / "s.h5")
    assert loaded.summed and len(loaded.groups) == 500
    # ⟨Ṁ²⟩ of the total, from the spectrum's own correlation
    total = (flux.sum(axis=1) ** 2).sum(axis=1).mean()
    assert loaded.correlation.magnitude[0].sum() == pytest.approx(total, rel=1e-9)
