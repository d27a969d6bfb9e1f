"""Spectrograms: a beat of two modes in closed form, Parseval, the mean over time."""

import dataclasses

import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.errors import GroupError, SpectrumError, UnitError
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.spectrogram import Spectrogram, spectrogram
from tests.systems import LIGHT, prefactor

SPACING = 1e-3
VOLUME = 800.0


def made(flux, starts=(0,), groups=("all",)):
    """Flux [n_frames, n_groups, 3] with the records that go with it."""
    n = len(flux)
    return FluxSeries(
        flux=np.asarray(flux, dtype=float),
        groups=list(groups),
        times=2.0 + np.arange(n) * SPACING,
        spacing=SPACING,
        starts=list(starts),
        volumes=np.full(n, VOLUME),
        temperatures=np.full(n, 300.0),
        residuals=np.zeros((n, 3, 3)),
        equipartition=np.ones(n),
    )


def modes(n_frames, amplitudes, wavenumbers):
    times = np.arange(n_frames) * SPACING
    waves = [
        a * np.cos(2 * np.pi * LIGHT * w * times)
        for a, w in zip(amplitudes, wavenumbers, strict=True)
    ]
    flux = np.zeros((n_frames, 1, 3))
    flux[:, 0, 1] = np.sum(waves, axis=0)
    return flux


def test_a_beat_of_two_modes():
    """Closer than the resolution: S(t, ν) = pref/(√π s V) |½ Σ a ŵ(ω − ω_a) exp(iω_a t)|² in closed
    form.
    """
    amplitudes, wavenumbers, resolution = (1.0, 0.6), (1500.0, 1540.0), 100.0
    found = spectrogram(
        made(modes(6000, amplitudes, wavenumbers)), resolution=resolution, step="0.05 ps"
    )
    s = np.sqrt(np.log(2)) / (np.pi * LIGHT * resolution)
    times = found.times.magnitude - 2.0
    inside = (times > 6 * s) & (times < 6.0 - 6 * s)
    near = abs(found.wavenumber.magnitude - 1520) < 300
    line = np.zeros((near.sum(), inside.sum()), dtype=complex)
    for a, w in zip(amplitudes, wavenumbers, strict=True):
        offset = 2 * np.pi * LIGHT * (found.wavenumber.magnitude[near] - w)
        shape = s * np.sqrt(2 * np.pi) * np.exp(-0.5 * (offset * s) ** 2)
        line += 0.5 * a * shape[:, None] * np.exp(2j * np.pi * LIGHT * w * times[inside])
    expected = prefactor(300) / VOLUME * np.abs(line) ** 2 / (np.sqrt(np.pi) * s)
    values = found.curve("windows").value[near][:, inside]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5 * expected.max())
    # the middle between the modes goes up and down with their difference, 1/(c · 40 cm⁻¹) = 0.834
    # ps
    middle = values[np.argmin(abs(found.wavenumber.magnitude[near] - 1520))]
    assert middle.min() / middle.max() == pytest.approx(((1 - 0.6) / (1 + 0.6)) ** 2, rel=0.05)
    period = np.fft.rfftfreq(16 * len(middle), 0.05)[
        np.argmax(abs(np.fft.rfft(middle - middle.mean(), 16 * len(middle))))
    ]
    assert period == pytest.approx(LIGHT * 40, rel=0.05)


def test_two_modes_that_are_resolved_do_not_beat():
    found = spectrogram(made(modes(12000, (1.0, 0.6), (1500.0, 1700.0))), resolution=20)
    times = found.times.magnitude - 2.0
    inside = (times > 3) & (times < 9)
    for wavenumber, amplitude in ((1500, 1.0), (1700, 0.6)):
        line = found.curve("windows").value[
            np.argmin(abs(found.wavenumber.magnitude - wavenumber)), inside
        ]
        np.testing.assert_allclose(line, line.mean(), rtol=1e-3)
        s = np.sqrt(np.log(2)) / (np.pi * LIGHT * 20)
        height = prefactor(300) / VOLUME * (0.5 * amplitude) ** 2 * s * 2 * np.sqrt(np.pi)
        # within the grid of frequencies, eight points in a line's width
        assert line.mean() == pytest.approx(height, rel=0.02)


def test_an_event_is_seen_when_it_happens():
    flux = modes(8000, (1.0,), (1000.0,))
    flux[3000:] = modes(8000, (1.0,), (2000.0,))[3000:]
    found = spectrogram(made(flux), resolution=60)
    before, after = (np.argmin(abs(found.wavenumber.magnitude - w)) for w in (1000, 2000))
    values = found.curve("windows").value
    crossing = found.times.magnitude[np.argmax(values[after] > values[before])]
    assert crossing == pytest.approx(5.0, abs=found.time_resolution.magnitude)
    assert found.time_resolution.magnitude == pytest.approx(14.72 / 60, rel=1e-3)


def test_parseval():
    """The integral over all frequencies is the mean of Ṁ² under the squared window, at every time
    and at the ends.
    """
    flux = np.random.default_rng(3).normal(size=(1500, 1, 3))
    found = spectrogram(made(flux), resolution=150, highest=None, step="0.1 ps")
    s = np.sqrt(np.log(2)) / (np.pi * LIGHT * 150)
    times = np.arange(1500) * SPACING
    spread = found.wavenumber.magnitude[1]
    weights = np.full(len(found.wavenumber), spread)
    weights[[0, -1]] /= 2
    for k, centre in enumerate(found.times.magnitude - 2.0):
        window = np.exp(-(((times - centre) / s) ** 2))
        mean = (window * (flux[:, 0] ** 2).sum(axis=1)).sum() / window.sum()
        expected = prefactor(300) / VOLUME * mean / (2 * LIGHT)
        assert weights @ found.curve("windows").value[:, k] == pytest.approx(expected, rel=1e-9)


def test_the_mean_over_time_is_the_spectrum_of_the_whole():
    """With nothing near the ends, the same Gaussian line shape to what the taper is cut at."""
    flux = np.random.default_rng(4).normal(size=(5000, 2, 3))
    flux[:800] = flux[-800:] = 0.0
    series = made(flux, groups=("a", "b"))
    for group in (None, "b"):
        found = spectrogram(series, resolution=100, highest=None, group=group)
        whole = series.spectrum(resolution=100, segments=None)
        expected = (whole.absorption if group is None else whole.term("b")).magnitude
        np.testing.assert_array_equal(found.wavenumber.magnitude, whole.wavenumber.magnitude)
        # Σ_k w(u − t_k) w(u' − t_k) = √π s/step · exp(−(u − u')²/4s²)
        step = found.times.magnitude[1] - found.times.magnitude[0]
        s = np.sqrt(np.log(2)) / (np.pi * LIGHT * 100)
        mean = (
            found.curve("windows").value @ found.weights * step / (np.sqrt(np.pi) * s * len(flux))
        )
        np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-6 * expected.max())
        # the ends, where windows reach out of the series, make the difference
        np.testing.assert_allclose(found.curve().value, mean, rtol=0.05)


def test_a_window_never_crosses_a_join():
    one, other = modes(3000, (1.0,), (1000.0,)), modes(2500, (1.0,), (2000.0,))
    found = spectrogram(made(np.concatenate([one, other]), starts=(0, 3000)), resolution=60)
    alone = spectrogram(made(one), resolution=60)
    n = len(alone.weights)
    np.testing.assert_allclose(
        found.curve("windows").value[:, :n],
        alone.curve("windows").value,
        rtol=1e-12,
        atol=1e-12 * alone.curve("windows").value.max(),
    )
    assert found.curve().value[np.argmin(abs(found.wavenumber.magnitude - 2000))] > 0


def test_file_picture_and_command(tmp_path):
    series = made(modes(4000, (1.0, 0.5), (1500.0, 1600.0)))
    series.save(tmp_path / "flux.h5")
    output, picture = tmp_path / "s.h5", tmp_path / "s.png"
    arguments = [
        "spectrogram",
        str(tmp_path / "flux.h5"),
        "-o",
        str(output),
        "--plot",
        str(picture),
    ]
    result = CliRunner().invoke(app, [*arguments, "--resolution", "80 cm^-1"])
    assert result.exit_code == 0, result.output
    again, direct = Spectrogram.load(output), spectrogram(series, resolution=80)
    np.testing.assert_array_equal(again.curve("windows").value, direct.curve("windows").value)
    np.testing.assert_array_equal(again.times.magnitude, direct.times.magnitude)
    np.testing.assert_array_equal(again.curve().value, direct.curve().value)
    assert again.group == "total" and picture.stat().st_size > 10_000


def test_what_cannot_be_is_refused():
    series = made(modes(500, (1.0,), (1000.0,)))
    with pytest.raises(SpectrumError, match="needs an uninterrupted series"):
        spectrogram(series, resolution=10)
    with pytest.raises(UnitError, match="'auto' is not a quantity"):
        spectrogram(series, resolution="auto")
    with pytest.raises(SpectrumError, match="must be positive"):
        spectrogram(series, resolution=100, step=0)
    with pytest.raises(GroupError, match="no group 'O'"):
        spectrogram(series, resolution=100, group="O")
    with pytest.raises(SpectrumError, match="temperature"):
        spectrogram(
            dataclasses.replace(series, temperatures=series.temperatures * np.nan), resolution=100
        )
