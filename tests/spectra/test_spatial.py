"""Spectra resolved in space: against loops over pairs, sums to the total, known answers."""

import dataclasses
import itertools

import MDAnalysis
import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn import units
from mda_aptnn.cli import app
from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.errors import FileFormatError, GroupError, SpectrumError, TrajectoryError
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.molecular_flux import MoleculesInMemory, open_molecules
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.spectra import spatial
from mda_aptnn.spectra.estimator import Estimator
from mda_aptnn.spectra.spatial import (
    AxisProfile,
    DistanceSpectrum,
    axis_profile,
    distance_spectrum,
)
from tests.systems import LIGHT, gas, prefactor

SPACING = 2e-3


def made(flux, starts=(0,), volume=1000.0):
    """The molecules' total as a FluxSeries."""
    n = len(flux)
    return FluxSeries(
        flux=np.asarray(flux, dtype=float).sum(axis=1, keepdims=True),
        groups=["all"],
        times=np.arange(n) * SPACING,
        spacing=SPACING,
        starts=list(starts),
        volumes=np.full(n, volume),
        temperatures=np.full(n, 300.0),
        residuals=np.zeros((n, 3, 3)),
        equipartition=np.ones(n),
    )


def noise(n_frames, n_molecules, seed=0, time=0.01):
    """Independent Ornstein-Uhlenbeck processes."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-SPACING / time)
    kicks = rng.normal(size=(n_frames, n_molecules, 3)) * np.sqrt(1 - keep**2)
    kicks[0] /= np.sqrt(1 - keep**2)
    for t in range(1, n_frames):
        kicks[t] += keep * kicks[t - 1]
    return kicks


def wander(n_frames, n_molecules, size, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, size, (n_molecules, 3)) + np.cumsum(
        0.05 * rng.normal(size=(n_frames, n_molecules, 3)), 0
    )


def nearest(vector, cell):
    """The shortest of many images."""
    turns = np.array(list(itertools.product(range(-3, 4), repeat=3)))
    return np.linalg.norm(vector + turns @ cell, axis=1).min()


@pytest.mark.parametrize("pattern", ["triclinic", "oblique", "right angles", "slab", "open"])
def test_shells_are_those_of_loops_over_pairs(pattern, monkeypatch):
    """By the definition, with cells that change, two series, several blocks and segments."""
    n_frames, n_molecules, starts = 70, 4, [0, 30]
    cell = np.array([[7.0, 0, 0], [3.0, 6.0, 0], [-2.0, 2.5, 5.0]])
    if pattern == "right angles":
        cell = np.diag([7.0, 6.0, 5.0])
    cell[{"slab": [2], "open": [0, 1, 2]}.get(pattern, [])] = 0.0
    cells = cell * (1 + 0.002 * np.arange(n_frames))[:, None, None]
    # the same lattice in vectors that are far from its shortest
    oblique = np.array([[1, 0, 0], [4, 1, 0], [-3, 5, 1]])
    given = oblique @ cells if pattern == "oblique" else cells
    flux, centres = noise(n_frames, n_molecules), wander(n_frames, n_molecules, 9.0)
    edges = [1.0, 2.5, 4.0]
    monkeypatch.setattr(spatial, "_BLOCK_NUMBERS", 6 * n_molecules * 20)
    monkeypatch.setattr(spatial, "_MOST", 0.7)
    for name, value in (("FEWEST", 2), ("_MOST_SEGMENTS", 3), ("SEGMENT_LENGTH", 1.5)):
        monkeypatch.setattr(spatial, name, value)
    width = 1 / (LIGHT * 15 * SPACING)
    options = {"resolution": width, "window": "parzen", "temperature": 300.0}
    found = distance_spectrum(
        MoleculesInMemory(flux, centres, given, starts),
        made(flux, starts),
        edges=edges,
        n_threads=2,
        **options,
    )
    transform = Estimator(width, "parzen").plan(SPACING, [30, 40])
    assert 15 < transform.n_lags < 40
    correlation = np.zeros((transform.n_lags, 5))
    counts = np.zeros(4)
    for t in range(n_frames):
        end = 30 if t < 30 else n_frames
        for n, m in itertools.product(range(n_molecules), repeat=2):
            place = 0
            if m != n:
                place = 1 + np.searchsorted(
                    edges, nearest(centres[t, m] - centres[t, n], cells[t]), side="right"
                )
                counts[place - 1] += 1
            for lag in range(min(transform.n_lags, end - t)):
                correlation[lag, place] += flux[t, m] @ flux[t + lag, n]
    expected = prefactor(300) / 1000 * transform(correlation / n_frames)
    np.testing.assert_allclose(
        found.scale * found.values, expected, atol=1e-9 * abs(expected).max()
    )
    np.testing.assert_allclose(found.neighbours, counts / (n_frames * n_molecules))
    # segments of equal length: their mean is the whole
    assert len(found.segments.lengths) == 3
    weights = found.segments.lengths / found.segments.lengths.sum()
    np.testing.assert_allclose(
        found.scale * np.tensordot(weights, found.segments.terms, 1),
        expected,
        atol=1e-6 * abs(expected).max(),
    )


def test_two_molecules_that_share_a_flux():
    """At 3 Å all the time with the same flux: their shell is as much as the self term, the others
    have nothing.
    """
    flux = np.repeat(noise(4000, 1), 2, axis=1)
    centres = np.zeros((4000, 2, 3))
    centres[:, 1, 2] = 3.0
    found = distance_spectrum(
        MoleculesInMemory(flux, centres, np.eye(3) * 10), made(flux), resolution=30
    )
    values = found.curve("shells").value
    own = found.curve("self").value
    inside = int(np.searchsorted(found.edges.magnitude, 3.0, side="right")) - 1
    np.testing.assert_allclose(values[:, inside], own, rtol=1e-9, atol=1e-12 * own.max())
    others = np.delete(values, inside, axis=1)
    assert abs(others).max() < 1e-13 * own.max()
    np.testing.assert_allclose(
        found.curve("cumulative").value[:, -1], 2 * own, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_array_equal(found.neighbours, np.arange(len(found.neighbours)) == inside)


def test_an_ideal_gas_has_no_distinct_part():
    """Independent molecules: each shell is zero within its error bar, at as many frequencies as
    chance allows.
    """
    flux, centres = noise(6000, 12), wander(6000, 12, 10.0)
    found = distance_spectrum(
        MoleculesInMemory(flux, centres, np.eye(3) * 10), made(flux), resolution=30
    )
    at = slice(0, 400, 8)  # frequencies a resolution element apart
    freedom = found.segments.degrees_of_freedom
    for which in ("shells", "distinct"):
        values, errors = found.curve(which).value[at], found.curve(which).error[at]
        if which == "shells":
            values, errors = values[:, found.neighbours > 0.02], errors[:, found.neighbours > 0.02]
        scores = (values / errors) ** 2 * (freedom - 2) / freedom
        assert scores.mean() == pytest.approx(1.0, abs=0.5)
    assert (
        abs(found.curve("distinct").value[:400].mean())
        < 0.1 * found.curve("self").value[:400].mean()
    )


def test_volumes_of_shells_of_an_ideal_gas():
    centres = np.random.default_rng(2).uniform(0, 10, (500, 40, 3))
    flux = noise(500, 40)
    found = distance_spectrum(
        MoleculesInMemory(flux, centres, np.eye(3) * 10),
        made(flux),
        edges=units.ureg.Quantity([0.2, 0.4, 0.5], "nm"),
        resolution=60,
    )
    expected = 39 * 4 / 3 * np.pi * np.diff(np.array([0, 2, 4, 5]) ** 3) / 1000
    np.testing.assert_allclose(found.neighbours[:3], expected, rtol=0.05)
    assert found.neighbours.sum() == pytest.approx(39)


@pytest.fixture(scope="module")
def water(tmp_path_factory):
    """Real water of the bundled trajectory, with the flux of fixed charges."""
    universe = MDAnalysis.Universe(WATER64_TOPOLOGY, WATER64_TRAJECTORY)
    analysis = DipoleFlux(universe, FixedCharges({"O": -0.8, "H": 0.4}), per="atom").run(stop=450)
    path = tmp_path_factory.mktemp("water") / "atoms.h5"
    analysis.save(path)
    return path, universe


@pytest.mark.slow
def test_water_sums_to_its_total(water):
    path, universe = water
    with open_molecules(path, universe) as (series, molecules):
        flux = molecules.read(0, 450).flux.transpose(2, 0, 1)
        total = dataclasses.replace(series, flux=flux.sum(axis=1, keepdims=True)).spectrum(
            resolution=40
        )
        found = distance_spectrum(molecules, series, resolution=40)
        profile = axis_profile(molecules, series, "y", n_slabs=5, resolution=40)
        single = distance_spectrum(molecules, series, resolution=40, n_threads=3)
    expected = total.absorption.magnitude
    for one in (found, profile):
        np.testing.assert_allclose(
            one.absorption.magnitude, expected, rtol=0, atol=1e-10 * expected.max()
        )
    components = np.einsum("faa->fa", total.components.magnitude)
    np.testing.assert_allclose(
        profile.scale * profile.values.sum(axis=1), components, rtol=0, atol=1e-10 * expected.max()
    )
    np.testing.assert_allclose(
        single.scale * single.values,
        found.scale * found.values,
        rtol=0,
        atol=1e-12 * expected.max(),
    )
    # float32 of the file against the float64 of the run
    np.testing.assert_allclose(flux.sum(axis=1), series.total, atol=1e-4 * abs(series.total).max())
    # four neighbours within the first minimum of liquid water, and all others somewhere
    inner = found.edges.magnitude[1:] <= 3.5
    assert 3.5 < found.neighbours[inner].sum() < 5.5
    assert found.neighbours.sum() == pytest.approx(63)
    assert profile.density.sum() == pytest.approx(64)


def test_centres_of_molecules_across_the_boundary(water):
    path, universe = water
    with open_molecules(path, universe) as (_, molecules):
        block = molecules.read(100, 103)
    for t in range(3):
        universe.trajectory[100 + t]
        oxygens = universe.select_atoms("name O").positions.astype(float)
        for n, oxygen in enumerate(oxygens):
            arms = universe.atoms.positions[3 * n + 1 : 3 * n + 3] - oxygen
            arms -= 12.421 * np.round(arms / 12.421)
            expected = oxygen + 1.008 * arms.sum(axis=0) / 18.015
            np.testing.assert_allclose(block.centres[n, :, t], expected, atol=1e-4)


def test_a_molecule_that_breaks_is_told(tmp_path):
    universe = gas(30)
    positions = universe.trajectory.get_array()
    positions[12:, 4] += 1.5
    analysis = DipoleFlux(
        universe,
        FixedCharges({"O": -0.8, "H": 0.4}),
        per="atom",
        velocity_unit="angstrom/ps",
        check_temperature=False,
    ).run()
    analysis.save(tmp_path / "atoms.h5")
    with (
        pytest.warns(UserWarning, match="in frame 12 .* the bond O-H of atoms 3 and 4"),
        open_molecules(tmp_path / "atoms.h5", universe) as (series, molecules),
    ):
        distance_spectrum(molecules, series, temperature=300, window="none")
    with (
        pytest.raises(GroupError, match="another element"),
        open_molecules(tmp_path / "atoms.h5", turned(universe)),
    ):
        pass
    series.save(tmp_path / "groups.h5")
    with (
        pytest.raises(FileFormatError, match="per="),
        open_molecules(tmp_path / "groups.h5", universe),
    ):
        pass


def turned(universe):
    other = universe.copy()
    other.atoms.elements = other.atoms.elements[::-1]
    return other


@pytest.mark.parametrize("centred", [False, True])
def test_a_profile_is_that_of_groups_which_change(centred, monkeypatch):
    """Slabs as groups of a flux: Σ_h of their terms; in-plane and out-of-plane are components."""
    n_frames, n_slabs, height = 400, 3, 9.0
    monkeypatch.setattr(spatial, "_BLOCK_NUMBERS", 6 * 5 * 100)
    flux, centres = noise(n_frames, 5), wander(n_frames, 5, 9.0)
    if centred:
        centres[:, :, 0] = 0.2 * centres[:, :, 0] + np.linspace(0, 20, n_frames)[:, None]
    cell = np.array([[height, 0, 0], [0, 8.0, 0], [0, 2.0, 7.0]])
    found = axis_profile(
        MoleculesInMemory(flux, centres, cell),
        made(flux, volume=504.0),
        "x",
        n_slabs=n_slabs,
        relative_to="centre" if centred else "cell",
        resolution=60,
    )
    place = centres[:, :, 0]
    if centred:
        place = place - place.mean(axis=1, keepdims=True) + height / 2
    slab = np.floor(place / (height / n_slabs)).astype(int) % n_slabs
    groups = np.stack(
        [np.where((slab == b)[..., None], flux, 0).sum(axis=1) for b in range(n_slabs)], axis=1
    )
    series = dataclasses.replace(made(flux, volume=504.0), flux=groups, groups=list("abc"))
    expected = series.spectrum(resolution=60)
    scale = expected.absorption.magnitude.max()
    tolerance = {"rtol": 0, "atol": (0.02 if centred else 1e-10) * scale}
    np.testing.assert_allclose(
        found.curve().value, expected.terms.magnitude.sum(axis=2), **tolerance
    )
    normal = expected.components.magnitude[:, 0, 0]
    np.testing.assert_allclose(
        found.curve("out-of-plane").value.sum(axis=1), normal, rtol=0, atol=1e-10 * scale
    )
    both = found.curve("in-plane").quantity + found.curve("out-of-plane").quantity
    np.testing.assert_allclose(both.magnitude, found.curve().value, rtol=0, atol=1e-12 * scale)
    # a third of the sample that had all of the spectrum would be three times as strong as the mean
    np.testing.assert_allclose(found.local().magnitude, n_slabs * found.curve().value)
    start = -height / 2 if centred else 0.0
    np.testing.assert_allclose(found.edges.magnitude, start + np.linspace(0, height, n_slabs + 1))
    np.testing.assert_allclose(
        found.density, np.bincount(slab.ravel(), minlength=n_slabs) / n_frames, atol=0.02
    )


def test_a_profile_without_a_cell():
    flux, centres = noise(300, 2), np.zeros((300, 2, 3))
    centres[:, 1, 2] = 5.0
    molecules = MoleculesInMemory(flux, centres, np.zeros((3, 3)))
    series = made(flux, volume=np.nan)
    found = axis_profile(molecules, series, edges=[-1, 2, 8], resolution=80)
    alone = dataclasses.replace(series, flux=flux, groups=["a", "b"]).spectrum(resolution=80)
    expected = alone.scale * (alone.values[:, :2] + 0.5 * alone.values[:, 2:])
    np.testing.assert_allclose(found.curve().value, expected, rtol=0, atol=1e-10 * expected.max())
    assert str(found.curve().quantity.units) == str(alone.molar_absorption.units)
    with pytest.raises(SpectrumError, match="give edges"):
        axis_profile(molecules, series, resolution=80)


def test_finite_differences_are_undone_as_in_any_spectrum():
    flux, centres = noise(300, 3), wander(300, 3, 8.0)
    series = dataclasses.replace(made(flux), finite_difference=SPACING)
    found = distance_spectrum(
        MoleculesInMemory(flux, centres, np.eye(3) * 10), series, resolution=80
    )
    expected = series.spectrum(resolution=80)
    np.testing.assert_array_equal(found.wavenumber.magnitude, expected.wavenumber.magnitude)
    scale = expected.absorption.magnitude.max()
    np.testing.assert_allclose(
        found.absorption.magnitude, expected.absorption.magnitude, rtol=0, atol=1e-10 * scale
    )


def test_files(tmp_path):
    flux, centres = noise(2500, 3), wander(2500, 3, 8.0)
    molecules = MoleculesInMemory(flux, centres, np.eye(3) * 8)
    series = made(flux, volume=512.0)
    for made_, kind in (
        (distance_spectrum(molecules, series, resolution=60), DistanceSpectrum),
        (axis_profile(molecules, series, resolution=60, n_slabs=4), AxisProfile),
    ):
        made_.save(tmp_path / f"{kind.kind}.h5")
        again = kind.load(tmp_path / f"{kind.kind}.h5")
        for name in (
            "wavenumber",
            "cross_sections",
            "temperature",
            "volume",
            "resolution",
            "edges",
        ):
            np.testing.assert_array_equal(
                getattr(again, name).magnitude, getattr(made_, name).magnitude
            )
            assert getattr(again, name).units == getattr(made_, name).units
        np.testing.assert_array_equal(again.curve().error, made_.curve().error)
        assert (again.window, again.notes, again.info) == (made_.window, made_.notes, made_.info)
    assert again.axis == "z"
    with pytest.raises(FileFormatError, match="not a distance-spectrum"):
        DistanceSpectrum.load(tmp_path / f"{AxisProfile.kind}.h5")
    with pytest.raises(FileExistsError, match="it is read as an input"):
        made_.save(tmp_path / f"{DistanceSpectrum.kind}.h5")


def test_what_cannot_be_is_refused():
    flux, centres = noise(300, 3), wander(300, 3, 8.0)
    molecules, series = MoleculesInMemory(flux, centres, np.eye(3) * 8), made(flux)
    for options, said in [
        ({"edges": [3, 2]}, "ascending"),
        ({"bin_width": 0}, "positive"),
        ({"resolution": 5}, "needs an uninterrupted series"),
    ]:
        with pytest.raises(SpectrumError, match=said):
            distance_spectrum(molecules, series, **{"resolution": 80, **options})
    with pytest.raises(SpectrumError, match="take both from one run"):
        distance_spectrum(molecules, made(flux[:200]), resolution=80)
    short = distance_spectrum(molecules, series, resolution=80)
    with pytest.raises(SpectrumError, match="no error bars: the trajectory is short"):
        short.standard_error()
    with pytest.raises(SpectrumError, match="choose one of self"):
        short.curve("third")
    with pytest.raises(SpectrumError, match="two of them"):
        axis_profile(
            MoleculesInMemory(flux, centres, np.array([[8, 0, 0], [0, 8, 0], [1, 0, 8.0]])),
            series,
            "x",
            resolution=80,
        )
    with pytest.raises(SpectrumError, match="no edges"):
        axis_profile(molecules, series, edges=[0, 4], resolution=80)
    with pytest.raises(SpectrumError, match="axis 'w'"):
        axis_profile(molecules, series, "w")
    with pytest.raises(TrajectoryError, match="not finite"):
        MoleculesInMemory(flux * np.nan, centres, np.eye(3))
    with pytest.raises(TrajectoryError, match="must both be"):
        MoleculesInMemory(flux, centres[:, :2], np.eye(3))


@pytest.mark.slow
def test_commands(water, tmp_path):
    """From files to files; the numbers are those of the functions."""
    path, _ = water
    for command, name, options in (
        ("distances", "distances", ["--edges", "3,6"]),
        ("profile", "profile", ["--axis", "x", "--slabs", "2"]),
    ):
        arguments = [
            command,
            str(path),
            WATER64_TOPOLOGY,
            "-o",
            str(tmp_path / f"{name}.h5"),
            "--resolution",
            "60",
        ]
        result = CliRunner().invoke(
            app, [*arguments, *options, "--plot", str(tmp_path / f"{name}.png"), "--json"]
        )
        assert result.exit_code == 0, result.output
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    shells = DistanceSpectrum.load(tmp_path / "distances.h5")
    np.testing.assert_array_equal(shells.edges.magnitude, [0, 3, 6, np.inf])
    slabs = AxisProfile.load(tmp_path / "profile.h5")
    np.testing.assert_allclose(
        slabs.absorption.magnitude,
        shells.absorption.magnitude,
        atol=1e-9 * shells.absorption.magnitude.max(),
    )
    result = CliRunner().invoke(app, ["distances", str(path), WATER64_TOPOLOGY, "--edges", "a"])
    assert result.exit_code == 1
    assert "give numbers in Å" in result.output
