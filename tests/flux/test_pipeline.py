import threading
from types import SimpleNamespace

import numpy as np
import pytest

from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.pipeline import Pipeline
from mda_aptnn.model.predict import Model
from tests.systems import gas
from tests.tiny import model_file


@pytest.mark.parametrize("ahead", [False, True])
def test_items_come_in_batches_and_in_order(ahead):
    done = []
    pipeline = Pipeline(done.append, 3, ahead)
    for item in range(11):
        pipeline.put(item)
    pipeline.finish()
    pipeline.close()
    assert done == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_follows_an_error_is_not_done(ahead, error):
    done = []

    def work(items):
        if items == [2]:
            raise error("two")
        done.extend(items)

    pipeline = Pipeline(work, 1, ahead)

    def put_all():
        for item in range(8):
            pipeline.put(item)
        pipeline.finish()

    with pytest.raises(error, match="two"):
        put_all()
    pipeline.finish()
    pipeline.close()
    assert done == [0, 1]


def test_reading_goes_on_meanwhile():
    """Work on the first item ends only after the second is read: one after the other, it never
    would.
    """
    second_is_read, done = threading.Event(), []

    def work(items):
        done.append((items, second_is_read.wait(60)))

    pipeline = Pipeline(work, 1, ahead=True)
    pipeline.put(0)
    second_is_read.set()
    pipeline.put(1)
    pipeline.finish()
    pipeline.close()
    assert done == [([0], True), ([1], True)]


def test_each_part_is_timed(monkeypatch):
    """With a clock that goes on by a second for each item that is read, and by two for work."""
    now = [0.0]

    def pass_time(seconds):
        now[0] += seconds

    monkeypatch.setattr(
        "mda_aptnn.flux.pipeline.time", SimpleNamespace(perf_counter=lambda: now[0])
    )
    model = SimpleNamespace(seconds={"network": 1.0})
    pipeline = Pipeline(lambda items: pass_time(2.0), 1, ahead=False, model=model)
    for item in range(4):
        pass_time(1.0)
        pipeline.put(item)
    pipeline.finish()
    pipeline.close()
    assert (pipeline.read_seconds, pipeline.work_seconds) == (4.0, 8.0)
    model.seconds = {"network": 1.125, "neighbours": 0.0625}
    assert pipeline.seconds().tolist() == [[4.0, 0.0625, 0.125, 7.8125]]


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_a_flux_is_that_of_frames_one_by_one(engine, caplog):
    caplog.set_level("INFO")
    universe, model = gas(n_frames=80), Model(model_file(), engine=engine)
    analysis = DipoleFlux(universe, model, velocity_unit="angstrom/ps").run()
    expected = []
    for ts in universe.trajectory:
        expected.append(
            np.einsum("iab,ib->a", model.predict(universe.atoms), ts.velocities.astype(float))
        )
    # torch sums a batch in another order
    tolerance = 1e-12 if engine == "cpu" else 1e-5
    np.testing.assert_allclose(
        analysis.series.total, expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )
    parts = analysis.results.shares
    assert list(parts) == ["read", "neighbours", "network", "rest"]
    said = ", ".join(f"{name} {100 * value:.0f}%" for name, value in parts.items())
    assert f"time: {said}" in caplog.text
    assert sum(parts.values()) == pytest.approx(1.0) and min(parts.values()) > 0
    assert analysis.results.seconds["network"] <= model.seconds["network"]
    if engine == "cpu":
        workers = DipoleFlux(universe, model, velocity_unit="angstrom/ps").run(
            backend="multiprocessing", n_workers=2
        )
        np.testing.assert_array_equal(workers.results.flux, analysis.results.flux)
        assert workers.results.seconds["network"] > 0
