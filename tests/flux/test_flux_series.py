import dataclasses

import h5py
import numpy as np
import pytest

from mda_aptnn.errors import FileFormatError, GroupError, SpectrumError, TrajectoryError, UnitError
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.infrared import Spectrum
from tests.systems import BOLTZMANN

SPACING = 0.001


def series(n_frames=6000, groups=("a", "b", "c"), first=0.0, seed=0, **changes) -> FluxSeries:
    rng = np.random.default_rng(seed)
    parts = {
        "flux": rng.normal(size=(n_frames, len(groups), 3)),
        "groups": list(groups),
        "times": first + SPACING * np.arange(n_frames),
        "spacing": SPACING,
        "starts": [0],
        "volumes": rng.uniform(900, 1100, n_frames),
        "temperatures": rng.uniform(290, 310, n_frames),
        "residuals": rng.normal(size=(n_frames, 3, 3)),
        "equipartition": rng.uniform(1, 2, n_frames),
        "info": {"model": "none", "notes": ["first note"]},
    }
    return FluxSeries(**{**parts, **changes})


def test_regrouping_sums_and_keeps_the_total():
    found = series()
    sums = found.regroup({"ac": ["a", "c"]})
    assert sums.groups == ["ac", "rest"]
    np.testing.assert_allclose(sums.flux[:, 0], found.flux[:, 0] + found.flux[:, 2])
    np.testing.assert_array_equal(sums.flux[:, 1], found.flux[:, 1])
    np.testing.assert_allclose(sums.total, found.total, atol=1e-12)
    assert found.regroup(["b", "a", "c"]).groups == ["b", "a", "c"]
    assert found.regroup({"x": "a", "rest": "b"}).groups == ["x", "rest", "remaining"]
    assert found.spectrum(groups={"ac": ["a", "c"]}).groups == ["ac", "rest"]
    assert series(groups=("abc", "d")).regroup("abc").groups == ["abc", "rest"]


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"x": ["a", "z"]}, "no group 'z'; the groups are a, b, c"),
        ({"x": ["a"], "y": ["a", "b"]}, "two sums"),
    ],
)
def test_groups_that_cannot_be_summed_are_refused(groups, said):
    with pytest.raises(GroupError, match=said):
        series().regroup(groups)


def test_temperature_and_volume_are_those_of_the_frames():
    found = series()
    measured = found.spectrum()
    assert measured.temperature.magnitude == pytest.approx(found.temperatures.mean())
    assert measured.volume.magnitude == pytest.approx(found.volumes.mean())
    assert (
        any("taken from the velocities" in note for note in measured.notes)
        and "first note" in measured.notes
    )
    given = found.spectrum(temperature="26.85 degC", volume="2 nm^3")
    assert not any("taken from" in note for note in given.notes)
    np.testing.assert_allclose(
        given.absorption.magnitude * 300 * 2000,
        measured.absorption.magnitude * found.temperatures.mean() * found.volumes.mean(),
        rtol=1e-9,
    )


def test_an_unknown_temperature_is_asked_for():
    rigid = series(temperatures=np.full(6000, np.nan))
    with pytest.raises(SpectrumError, match=r"temperature=.*degrees_of_freedom"):
        rigid.spectrum()
    assert rigid.spectrum(temperature=300).temperature.magnitude == 300
    with pytest.raises(UnitError, match="temperature"):
        rigid.spectrum(temperature="3 ps")


@pytest.mark.parametrize(("unbiased", "estimator"), [(False, "1/N"), (True, "1/(N - n)")])
def test_a_spectrum_says_what_it_was_made_of(unbiased, estimator, tmp_path):
    found = series(info={"model": "m", "sum_rule": "mass", "notes": []}).spectrum(
        300, unbiased=unbiased
    )
    found.save(tmp_path / "s.h5")
    for spectrum in (found, Spectrum.load(tmp_path / "s.h5")):
        assert spectrum.info == {"model": "m", "sum_rule": "mass", "estimator": estimator}


def test_without_a_cell_there_is_no_volume():
    assert series(volumes=np.full(6000, np.nan)).spectrum().volume is None


def test_correlation_in_its_range():
    found = series()
    c = found.correlation("100 fs")
    assert c.shape == (101, 3, 3)
    np.testing.assert_allclose(c[0, 0, 1], (found.flux[:, 0] * found.flux[:, 1]).sum(1).mean())
    np.testing.assert_allclose(
        found.correlation(0.002, unbiased=True)[2, 1, 0],
        (found.flux[:-2, 1] * found.flux[2:, 0]).sum(1).mean(),
    )
    assert len(series(50).correlation()) == 50


def test_continuing_times_make_one_series_and_others_replicas():
    whole = series(6000)
    cut = [
        dataclasses.replace(
            whole,
            **{
                name: getattr(whole, name)[part]
                for name in (
                    "flux",
                    "times",
                    "volumes",
                    "temperatures",
                    "residuals",
                    "equipartition",
                )
            },
        )
        for part in (slice(0, 2500), slice(2500, 6000))
    ]
    other = series(3000, seed=5)
    merged = FluxSeries.merge(
        [*cut, other, series(10, first=other.times[-1] + 1.5 * SPACING, seed=6)]
    )
    assert merged.starts == [0, 6000, 9000]
    assert [len(part) for part in merged.segments()] == [6000, 3000, 10]
    notes = merged.info["notes"]
    assert [("continues" in note, "replica" in note) for note in notes[1:]] == [
        (1, 0),
        (0, 1),
        (0, 1),
    ]
    np.testing.assert_array_equal(merged.flux[:6000], whole.flux)
    np.testing.assert_array_equal(FluxSeries.merge(cut).correlation(), whole.correlation())
    separate = FluxSeries.merge([whole, other])
    np.testing.assert_allclose(
        separate.correlation(0.01),
        (6000 * whole.correlation(0.01) + 3000 * other.correlation(0.01)) / 9000,
        atol=1e-12,
    )


def test_a_merged_flux_names_all_its_trajectories():
    parts = [
        series(10, first=first, seed=first, info={"trajectory": [name]})
        for first, name in ((0, "a.trr"), (1, "b.trr"))
    ]
    assert FluxSeries.merge(part for part in parts).info["trajectory"] == ["a.trr", "b.trr"]


def test_merging_keeps_the_joins_inside_the_parts():
    merged = FluxSeries.merge(
        [series(100, starts=[0, 40]), series(100, starts=[0, 70], first=0.1, seed=1)]
    )
    assert merged.starts == [0, 40, 170]


@pytest.mark.parametrize(
    ("other", "error", "said"),
    [
        ({"groups": ("a", "b", "d")}, GroupError, "part 2 has the groups"),
        ({"spacing": 2 * SPACING}, TrajectoryError, "part 2 has frames 0.002 ps apart"),
        ({"spacing": 1.003 * SPACING}, TrajectoryError, "read each with a step"),
        ({"finite_difference": 0.001}, TrajectoryError, "finite differences"),
        ({"info": {"model": "none", "n_atoms": 3}}, TrajectoryError, "part 2 has n_atoms 3"),
        (
            {"info": {"model": "none", "sum_rule": "mass"}},
            TrajectoryError,
            "part 2 has sum_rule mass",
        ),
        (
            {"info": {"model": "other"}},
            TrajectoryError,
            "part 2 has model other, the first one none",
        ),
    ],
)
def test_runs_that_do_not_fit_are_not_merged(other, error, said):
    with pytest.raises(error, match=said):
        FluxSeries.merge([series(10), series(10, **other)])
    with pytest.raises(TrajectoryError, match="no flux"):
        FluxSeries.merge([])


def test_the_ratio_to_equipartition():
    """Ṁ drawn with its variance k_B T Σ‖P‖²/m: one, within the error bar; twice as large: four."""
    found = series(20000)
    scale = np.sqrt(BOLTZMANN * found.temperatures * found.equipartition / 3)[:, None, None]
    flux = found.flux[:, :1] * scale
    for factor in (1.0, 2.0):
        ratio, error = dataclasses.replace(
            found, flux=factor * flux, groups=["a"]
        ).equipartition_ratio()
        assert 0 < error < 0.02 * factor**2
        assert abs(ratio - factor**2) < 4 * error


def test_a_saved_flux_is_the_same(tmp_path):
    found = series(200, starts=[0, 80], finite_difference=0.001)
    found.save(tmp_path / "f.h5")
    back = FluxSeries.load(tmp_path / "f.h5")
    for field in dataclasses.fields(FluxSeries):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(back, field.name))
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["flux"].attrs["units"] == "e*angstrom/ps" and file.attrs["command"]


def _replace(name, values):
    def change(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(attributes)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_replace("flux", np.zeros((200, 2, 3))), "flux has shape"),
        (_replace("times", np.zeros(199)), "times has shape"),
        (_replace("starts", [0, 200]), "starts"),
        (_replace("starts", [5]), "starts"),
        (_replace("starts", [0, 50, 50]), "starts"),
        (_replace("starts", np.zeros(0, int)), "starts"),
        (lambda file: file.__delitem__("residuals"), "residuals"),
        (lambda file: file.__delitem__("groups"), "groups"),
        (lambda file: file.attrs.__setitem__("info", "{"), "damaged"),
        (lambda file: file.attrs.__setitem__("kind", "labels"), "not a flux file"),
        (lambda file: file["flux"].attrs.__setitem__("units", "kelvin"), "kelvin"),
    ],
)
def test_damaged_files_are_refused(tmp_path, change, said):
    series(200).save(tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5", "a") as file:
        change(file)
    with pytest.raises((FileFormatError, UnitError), match=said):
        FluxSeries.load(tmp_path / "f.h5")


def test_truncated_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "f.h5"
    series(200).save(path)
    content = path.read_bytes()
    for length in np.linspace(0, len(content) - 100, 25).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError, match=r"f\.h5"):
            FluxSeries.load(path)
    path.write_text("1 2 3\n")
    with pytest.raises(FileFormatError, match="not a complete HDF5 file"):
        FluxSeries.load(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        FluxSeries.load(tmp_path / "none.h5")
