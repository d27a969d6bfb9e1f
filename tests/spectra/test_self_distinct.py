"""Self and distinct parts of the spectrum of molecules against all pairs of them, and against a
gas.
"""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from mda_aptnn.errors import SpectrumError
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.infrared import Spectrum

SPACING = 0.002


def molecules(flux, species=None, motions=None, starts=(0,)):
    """A series of molecules [n_frames, n_molecules, 3], or with motions [n_frames, n_molecules ·
    n_motions, 3].
    """
    n_frames, n_terms = flux.shape[:2]
    n_motions = 1 if motions is None else len(motions)
    species = species or ["H2O"] * (n_terms // n_motions)
    names = [f"{name} {k}" for k, name in enumerate(species)]
    labels = {
        "group": [name for name in names for _ in range(n_motions)],
        "species": [name for name in species for _ in range(n_motions)],
    }
    groups = names
    if motions:
        labels["motion"] = list(motions) * len(names)
        groups = [f"{name} {motion}" for name in names for motion in motions]
    return FluxSeries(
        flux=flux,
        groups=groups,
        times=SPACING * np.arange(n_frames),
        spacing=SPACING,
        starts=list(starts),
        volumes=np.full(n_frames, 1900.0),
        temperatures=np.full(n_frames, 300.0),
        residuals=np.zeros((n_frames, 3, 3)),
        equipartition=np.ones(n_frames),
        labels=labels,
    )


def correlated(n_frames, n_terms, seed=0):
    """Coloured noise, in part shared by neighbours."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_frames + 20, n_terms, 3))
    noise = sum(np.cos(0.4 * k) * np.exp(-k / 7) * noise[k : k + n_frames] for k in range(20))
    return noise + 0.6 * np.roll(noise, 1, axis=1)


@pytest.mark.parametrize("motions", [None, ("rotation", "vibration")])
@pytest.mark.parametrize("starts", [(0,), (0, 1100)])
def test_they_are_the_sums_over_all_pairs(motions, starts, monkeypatch):
    """Two species; sums of terms of the spectrum that has every pair; also in batches of one
    molecule.
    """
    species = ["H2O", "CO2", "H2O", "H2O", "CO2"]
    n = len(motions or [""])
    series = molecules(correlated(2600, 5 * n), species, motions, starts)
    options = {"resolution": 60, "segments": 4}
    pairs = series.spectrum(distinct=False, **options)
    found = series.spectrum(**options)
    monkeypatch.setattr("mda_aptnn.spectra.self_distinct._BATCH_BYTES", 1)
    batched = series.spectrum(**options)
    np.testing.assert_allclose(
        batched.terms.magnitude, found.terms.magnitude, atol=1e-12 * found.terms.magnitude.max()
    )
    np.testing.assert_allclose(batched.segments.terms, found.segments.terms, rtol=1e-4, atol=1e-5)
    total = pairs.absorption.magnitude
    np.testing.assert_allclose(found.absorption.magnitude, total, atol=1e-12 * total.max())
    np.testing.assert_allclose(
        found.segments.terms.sum(axis=2, dtype=np.float64),
        pairs.segments.terms.sum(axis=2, dtype=np.float64),
        rtol=1e-3,
        atol=1e-3,
    )
    labels = [series.labels[name] for name in ("species", "group")] + [
        series.labels.get("motion", [""] * 5)
    ]
    left = {name: getattr(found, name).magnitude.copy() for name in ("terms", "correlation")}
    for a in range(5 * n):
        for b in range(5 * n):
            part = "self" if labels[1][a] == labels[1][b] else "distinct"
            names = [" ".join(filter(None, (labels[0][k], part, labels[2][k]))) for k in (a, b)]
            row, column = (found.groups.index(name) for name in names)
            for quantity, values in left.items():
                values[:, row, column] -= getattr(pairs, quantity).magnitude[:, a, b]
    for quantity, values in left.items():
        scale = np.abs(getattr(pairs, quantity).magnitude).max()
        assert np.abs(values).max() < 1e-11 * scale


def test_a_gas_of_molecules_has_no_distinct_part():
    """Independent molecules: distinct is zero within its error bar, self is the total within that
    of the total.
    """
    rng = np.random.default_rng(3)
    series = molecules(rng.normal(size=(16000, 12, 3)))
    found = series.spectrum(resolution=50, segments=16)
    assert found.groups == ["self", "distinct"] and found.signed == ["distinct"]
    wanted = (found.wavenumber.magnitude > 50) & (found.wavenumber.magnitude < 8000)
    distinct, error = (
        found.term("distinct").magnitude[wanted],
        found.standard_error("distinct").magnitude[wanted],
    )
    pulls = distinct / error
    # Student's t of 15 degrees of freedom has a variance of 15/13
    assert np.mean(pulls**2) == pytest.approx(15 / 13, rel=0.25)
    assert abs(distinct.mean()) < 4 * error.mean() / np.sqrt(len(distinct) / 8)
    assert error.mean() < 0.4 * found.term("self").magnitude[wanted].mean()
    # white noise of unit variance: n·α is the same at all frequencies, its integral the sum rule
    own = found.term("self").magnitude[wanted]
    assert own.std() / own.mean() < 0.1


def test_the_same_molecule_twice_is_all_correlated():
    flux = correlated(3000, 1)
    found = molecules(np.concatenate([flux, flux], axis=1)).spectrum(resolution=60)
    own = found.term("self").magnitude
    np.testing.assert_allclose(found.term("distinct").magnitude, own, atol=1e-12 * own.max())
    opposite = molecules(np.concatenate([flux, -flux], axis=1)).spectrum(resolution=60)
    np.testing.assert_allclose(opposite.term("distinct").magnitude, -own, atol=1e-12 * own.max())


def test_many_species_have_fewer_segments(monkeypatch):
    """As many for the self parts as for the total, also where memory and not length decides."""
    series = molecules(correlated(6000, 6), ["A", "B", "C"] * 2)
    found = series.spectrum(resolution=60)
    assert len(found.segments.lengths) > 8
    monkeypatch.setattr(
        "mda_aptnn.spectra.estimator._SEGMENT_BYTES", 5 * 2 * len(found.wavenumber) * 3 * 4
    )
    assert len(series.spectrum(resolution=60).segments.lengths) == 5


def test_it_is_kept_in_files(tmp_path):
    found = molecules(correlated(2600, 3)).spectrum(
        resolution=60, segments=4, quantum_correction="schofield"
    )
    found.save(tmp_path / "s.h5")
    again = Spectrum.load(tmp_path / "s.h5")
    assert again.signed == ["distinct"] and again.quantum_correction == "schofield"
    np.testing.assert_array_equal(
        again.standard_error("distinct").magnitude, found.standard_error("distinct").magnitude
    )
    pair = ("distinct", "distinct")
    low, high = again.curve(*(pair or ())).limits()
    # symmetric: on the linear scale of what may be negative
    np.testing.assert_allclose(low + high, 2 * again.curve(*(pair or ())).value, rtol=1e-9)
    area = again.band(100, 2000, term=pair)
    assert sum(area.limits()) == pytest.approx(2 * area.value) and area.limits()[0] < area.value


def test_groups_that_are_no_molecules_are_refused():
    series = dataclasses.replace(molecules(correlated(2600, 3)), labels={})
    with pytest.raises(SpectrumError, match='per="molecule"'):
        series.spectrum(resolution=60, distinct=True)
    assert series.spectrum(resolution=60).groups == series.groups


def test_memory_goes_with_the_number_of_molecules():
    """1000 molecules: a million pairs would take gigabytes."""
    series = molecules(np.random.default_rng(0).normal(size=(1000, 1000, 3)))
    tracemalloc.start()
    found = series.spectrum(resolution=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.groups == ["self", "distinct"]
    assert peak < 8e8
