"""A spectrum that is made while frames arrive is that of the stored flux."""

import signal
import tracemalloc
import warnings

import MDAnalysis
import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.errors import GroupError, SpectrumError, TrajectoryError
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.live import FluxStream
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.spectra.estimator import (
    Estimator,
    component_correlation,
    cross_correlation,
)
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.lag_sums import LagSums
from mda_aptnn.spectra.result import Segments, pair_columns
from tests.imd_server import IMDServer
from tests.systems import LIGHT, KnownTensors, gas, random_tensors
from tests.tiny import model_file

GROUPS = {"O": "element O", "first H": "element H and index 0:2"}
CELL = (9.0, 10.0, 11.0, 90, 90, 90)
#: A resolution that leaves fewer lags than there are frames.
SETTINGS = {"resolution": 5000, "window": "parzen"}


@pytest.fixture(autouse=True)
def _signals():
    """The client takes SIGINT and SIGTERM and keeps them: a process forked later could not be
    ended.
    """
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def model():
    return KnownTensors(random_tensors(9), slope=0.5)


def stored(u, model, velocity_unit="angstrom/ps", **options):
    return DipoleFlux(u, model, GROUPS, velocity_unit=velocity_unit).run(**options).series


def same(found, series, spacing=1e-9):
    """`spacing`: how well the file keeps the times."""
    expected = series.spectrum(300, **SETTINGS, segments=None)
    assert found.groups == expected.groups
    np.testing.assert_allclose(
        found.wavenumber.magnitude, expected.wavenumber.magnitude, rtol=spacing
    )
    for name, tolerance in (("terms", spacing), ("components", spacing), ("correlation", 1e-12)):
        values = getattr(expected, name).magnitude
        atol = tolerance * abs(values).max()
        np.testing.assert_allclose(getattr(found, name).magnitude, values, rtol=0, atol=atol)
    assert found.volume.magnitude == pytest.approx(expected.volume.magnitude)


def test_sums_of_lags_are_correlations():
    """Two series, many times the number of lags, by the FFT route."""
    rng = np.random.default_rng(0)
    segments = [rng.normal(size=(57, 2, 3)), rng.normal(size=(6, 2, 3))]
    sums = LagSums(10, 2, block=1)
    for segment in segments:
        sums.begin_series()
        for flux in segment:
            sums.add(flux)
    groups, components = sums.correlations(8)
    np.testing.assert_allclose(groups, cross_correlation(segments, 8), atol=1e-13)
    np.testing.assert_allclose(components, component_correlation(segments, 8), atol=1e-13)
    assert (sums.n_frames, sums.lengths) == (63, [57, 6])
    # twice 16 blocks were full: 4 frames each, by the frame that comes later
    blocks, frames = sums.block_correlations(8)
    assert frames.tolist() == [4] * 15 + [3]
    everything, series = np.concatenate(segments), np.repeat([0, 1], [57, 6])
    for k, block in enumerate(blocks):
        expected = np.zeros((8, 2, 2))
        for later in range(4 * k, min(4 * k + 4, 63)):
            for lag in range(min(8, later + 1)):
                if series[later - lag] == series[later]:
                    expected[lag] += everything[later - lag] @ everything[later].T
        np.testing.assert_allclose(block, expected / frames[k], atol=1e-13)
    np.testing.assert_allclose(np.tensordot(frames / 63, blocks, 1), groups, atol=1e-13)


def test_a_last_block_that_is_short_goes_with_the_one_before():
    sums = LagSums(3, 1, block=10)
    for _ in range(34):
        sums.add(np.ones((1, 3)))
    blocks, frames = sums.block_correlations(1)
    assert frames.tolist() == [10, 10, 14]
    np.testing.assert_allclose(blocks[:, 0, 0, 0], 3)


def test_errors_of_blocks_are_the_scatter_of_repeated_runs():
    """White noise in 10 groups, 15 runs: auto terms at all frequencies, and cross terms."""
    rng = np.random.default_rng(4)
    n_frames, resolution = 2000, 1 / (LIGHT * 60 * 1e-3)
    plan = Estimator(resolution).plan(1e-3, [n_frames])
    values, errors = [], []
    for _ in range(15):
        sums = LagSums(plan.n_lags, 10, block=120)
        for flux in rng.normal(size=(n_frames, 10, 3)):
            sums.add(flux)
        blocks, frames = sums.block_correlations(plan.n_lags)
        # 16 · 120 frames were full: 8 of 240, and the rest
        assert frames.tolist() == [240] * 7 + [320]
        terms = np.stack([plan(pair_columns(block)) for block in blocks])
        segments = Segments(terms, frames * 1e-3)
        values.append(segments.mean(terms))
        errors.append(segments.jackknife(lambda mean: mean, terms))
    inside = slice(10, -10)
    scatter = np.std(values, axis=0, ddof=1)[inside]
    found = np.sqrt(np.mean(np.square(errors), axis=0))[inside]
    for columns in (slice(0, 10), slice(10, None)):
        assert found[:, columns].mean() == pytest.approx(scatter[:, columns].mean(), rel=0.06)


def test_error_bars_as_soon_as_there_are_four_blocks():
    """Twice as long as the resolution needs, each; the same spectrum, and errors like those of the
    stored flux.
    """
    u, charges = gas(800), FixedCharges({"O": -0.8, "H": 0.4})
    stream = FluxStream(u, charges, GROUPS, resolution=1500)
    # 0.0445 ps are 89 frames; half of them are a block
    found = {n: stream.spectrum(300) for n in stream if n in (300, 320, 800)}
    assert found[300].segments is None
    assert [len(found[n].segments.lengths) for n in (320, 800)] == [4, 9]
    spectrum = found[800]
    series = DipoleFlux(u, charges, GROUPS, velocity_unit="angstrom/ps").run().series
    expected = series.spectrum(300, resolution=1500, segments=9)
    inside = slice(10, -10)
    for pair in (None, ("O", "O"), ("O", "first H")):
        ratio = (
            spectrum.curve(*(pair or ())).error[inside].mean()
            / expected.curve(*(pair or ())).error[inside].mean()
        )
        assert ratio == pytest.approx(1, abs=0.25)
    total = spectrum.cross_section.magnitude
    mean = spectrum.segments.mean(spectrum.segments.terms.sum(axis=2, dtype=np.float64))
    np.testing.assert_allclose(mean, total, rtol=0, atol=1e-6 * total.max())


def test_memory_does_not_grow():
    sums, flux = LagSums(50, 2, block=10), np.ones((2, 3))
    for _ in range(200):
        sums.add(flux)
    tracemalloc.start()
    for _ in range(2000):
        sums.add(flux)
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < 5000


def test_at_any_moment_it_is_that_of_the_stored_flux(model):
    stream = FluxStream(gas(), model, GROUPS, **SETTINGS)
    moments = {n: stream.spectrum(300) for n in stream if n in (25, 40)}
    assert set(moments) == {25, 40}
    for n, found in moments.items():
        same(found, stored(gas(), model, stop=n))
    series = stored(gas(), model)
    assert stream.temperature == pytest.approx(series.temperatures.mean())
    assert "temperature" in stream.spectrum().notes[-1]


def with_times(u, frames, times, path):
    """Some frames as a TRR file, with other times."""
    with MDAnalysis.Writer(str(path), len(u.atoms)) as writer:
        for frame, time in zip(frames, times, strict=True):
            u.trajectory[frame]
            u.trajectory.ts.time = time
            writer.write(u.atoms)
    other = u.copy()
    other.load_new(str(path))
    return other


def test_frames_that_are_missing_begin_a_new_series(model, tmp_path):
    kept = np.r_[0:18, 22:40]
    u = with_times(gas(40), kept, 5e-4 * kept, tmp_path / "gap.trr")
    stream = FluxStream(u, model, GROUPS, **SETTINGS).run()
    assert any("new series" in note for note in stream.notes)
    parts = [stored(u, model, "auto", stop=18), stored(u, model, "auto", start=18)]
    same(stream.spectrum(300), FluxSeries.merge(parts), spacing=1e-5)


def test_a_simulation_that_runs(model):
    """Through a socket, by MDAnalysis' own reader of IMDv3."""
    pytest.importorskip("imdclient")
    u = gas(40)
    positions, velocities = u.trajectory.get_array(), [ts.velocities.copy() for ts in u.trajectory]
    topology = MDAnalysis.Merge(u.atoms)
    with IMDServer(positions, velocities, np.diag(CELL[:3]), 5e-4 * np.arange(40)) as server:
        topology.load_new(server.address)
        try:
            stream = FluxStream(topology, model, GROUPS, **SETTINGS)
            early = [stream.spectrum(300) for n in stream if n == 30]
        finally:
            topology.trajectory.close()
    assert stream.n_frames == 40
    same(early[0], stored(gas(40), model, stop=30))
    same(stream.spectrum(300), stored(gas(40), model))


def test_a_simulation_without_velocities(model):
    pytest.importorskip("imdclient")
    u = gas(3)
    topology = MDAnalysis.Merge(u.atoms)
    positions = u.trajectory.get_array()
    with IMDServer(
        positions, positions, np.diag(CELL[:3]), 5e-4 * np.arange(3), with_velocities=False
    ) as server:
        topology.load_new(server.address)
        try:
            with pytest.raises(TrajectoryError, match="stream has no velocities"):
                FluxStream(topology, model, **SETTINGS)
        finally:
            topology.trajectory.close()


def test_what_cannot_be_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="degrees_of_freedom must be a positive integer, not 0"):
        FluxStream(gas(), model, degrees_of_freedom=0)
    with pytest.raises(SpectrumError, match="window that ends"):
        FluxStream(gas(), model, window="none")
    with pytest.raises(TrajectoryError, match="likely in 'angstrom/fs'"):
        FluxStream(gas(temperature=300e-6), model)
    with pytest.raises(GroupError, match="matches no atom"):
        FluxStream(gas(), model, {"C": "element C"})
    stream = FluxStream(gas(), model, **SETTINGS)
    with pytest.raises(SpectrumError, match="0 frames so far"):
        stream.spectrum(300)
    stream.run(3)
    with pytest.raises(SpectrumError, match="needs an uninterrupted series"):
        stream.spectrum(300)
    still = with_times(gas(), range(3), np.zeros(3), tmp_path / "still.trr")
    with pytest.raises(TrajectoryError, match="must send the time"):
        FluxStream(still, model, **SETTINGS).run()


@pytest.mark.slow
def test_command(tmp_path):
    """From a socket to files, with a model file."""
    pytest.importorskip("imdclient")
    model_file().save(tmp_path / "model.h5")
    u = gas(40)
    positions, velocities = u.trajectory.get_array(), [ts.velocities.copy() for ts in u.trajectory]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a PDB file wants and these atoms do not have
        u.atoms.write(str(tmp_path / "gas.pdb"))
    with IMDServer(positions, velocities, np.diag(CELL[:3]), 5e-4 * np.arange(40)) as server:
        arguments = [
            "live",
            str(tmp_path / "gas.pdb"),
            server.address,
            "--model",
            str(tmp_path / "model.h5"),
        ]
        options = [
            "-o",
            str(tmp_path / "now.h5"),
            "--every",
            "15",
            "--resolution",
            "5000",
            "--window",
            "parzen",
        ]
        result = CliRunner().invoke(app, [*arguments, *options, "-T", "300 K"])
    assert result.exit_code == 0, result.output
    assert "40 frames" in result.output
    direct = (
        DipoleFlux(u, tmp_path / "model.h5", velocity_unit="angstrom/ps")
        .run()
        .spectrum(300, **SETTINGS)
    )
    found = Spectrum.load(tmp_path / "now.h5").absorption.magnitude
    expected = direct.absorption.magnitude
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())
