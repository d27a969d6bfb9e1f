"""Commands on stored fluxes, spectra, dipoles and velocities, as a user meets them."""

import dataclasses

import numpy as np
import pytest

from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.dielectric import DielectricSpectrum
from mda_aptnn.spectra.dipoles import DipoleSeries
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.vdos import VibrationalDensity
from tests.cli.test_cli import error, report
from tests.spectra.test_convergence import synthetic
from tests.spectra.test_dipoles import DATA, walk


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    path = tmp_path_factory.mktemp("flux") / "flux.h5"
    synthetic(8000).save(path)
    return path


@pytest.fixture(scope="module")
def spectra(flux, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spectra")
    for name, correction in (("a", "harmonic"), ("b", "standard")):
        report(
            "spectrum",
            flux,
            "--resolution",
            100,
            "--quantum-correction",
            correction,
            "-o",
            folder / f"{name}.h5",
        )
    return folder / "a.h5", folder / "b.h5"


def test_vdos(tmp_path):
    files = {"vdos": tmp_path / "v.h5", "csv": tmp_path / "v.csv", "plot": tmp_path / "v.png"}
    found = report(
        "vdos",
        WATER64_TOPOLOGY,
        WATER64_TRAJECTORY,
        "--stop",
        60,
        "--motions",
        "rigid",
        "--resolution",
        1200,
        "-o",
        files["vdos"],
        "--csv",
        files["csv"],
        "--plot",
        files["plot"],
    )
    assert found["files"] == {name: str(path) for name, path in files.items()}
    assert found["degrees_of_freedom"] == 576 and found["n_frames"] == 60
    density = VibrationalDensity.load(files["vdos"])
    assert sum(found["terms"].values()) == pytest.approx(576)
    assert list(found["terms"]) == density.names
    assert files["plot"].read_bytes()[:4] == b"\x89PNG"
    assert "choose one of" in error(
        "vdos", WATER64_TOPOLOGY, WATER64_TRAJECTORY, "--per", "atom", "-o", files["vdos"]
    )


def test_dielectric(spectra, tmp_path):
    files = {"dielectric": tmp_path / "d.h5", "csv": tmp_path / "d.csv", "plot": tmp_path / "d.png"}
    options = ["-o", files["dielectric"], "--csv", files["csv"], "--plot", files["plot"]]
    found = report("dielectric", spectra[0], "--epsilon-infinity", 1.8, *options)
    stored = DielectricSpectrum.load(files["dielectric"])
    assert found["static_conductivity_limit"] == stored.static_conductivity.value
    assert found["meaning"] == stored.conduction
    assert stored.epsilon_infinity == 1.8
    assert "1 or more" in error(
        "dielectric", spectra[0], "--epsilon-infinity", 0.3, "-o", tmp_path / "x.h5"
    )
    assert "not a spectrum file" in error(
        "dielectric", files["dielectric"], "--epsilon-infinity", 2
    )


def test_dipoles(tmp_path):
    np.save(tmp_path / "m.npy", walk(3000))
    options = ["-T", "300 K", "--resolution", 100, "-o", tmp_path / "s.h5"]
    found = report(
        "dipoles", tmp_path / "m.npy", "--time-step", "1 fs", "--cell", "9 9 9 90 90 90", *options
    )
    assert found["n_frames"] == 3000 and found["unit"] == "1/cm"
    assert Spectrum.load(tmp_path / "s.h5").volume.magnitude == pytest.approx(729)
    DipoleSeries.from_array(walk(3000), "1 fs", cells="9 9 9 90 90 90").save(tmp_path / "m.h5")
    again = report("dipoles", tmp_path / "m.h5", *options)
    assert again["maxima"] == found["maxima"]
    few = ["--time-step", "0.5 fs", "-T", 300, "--resolution", 40000, "-o", tmp_path / "few.h5"]
    few = report("dipoles", DATA / "moments-triclinic.dat", *few)
    assert few["n_frames"] == 3
    assert "give --time-step" in error("dipoles", tmp_path / "m.npy", *options)
    assert "leave --time-step and --cell out" in error(
        "dipoles", tmp_path / "m.h5", "--time-step", "1 fs", *options
    )
    (tmp_path / "n.npy").write_text("no")
    assert "not an array" in error("dipoles", tmp_path / "n.npy", "--time-step", "1 fs", *options)


def test_compare(spectra, tmp_path):
    found = report(
        "compare",
        *spectra,
        "--band",
        "1000-3000",
        "-b",
        "3000-6000",
        "--same-trajectory",
        "--plot",
        tmp_path / "c.png",
    )
    assert [band["low"] for band in found["bands"]] == [1000, 3000]
    # 2 tanh(x/2)/x falls with the frequency
    assert 1 > found["bands"][0]["intensity"] > found["bands"][1]["intensity"] > 0
    assert all(band["intensity_error"] > 0 for band in found["bands"])
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    for wrong in ("3000", "3000-1000", "a-b"):
        assert "lower and the upper limit" in error("compare", *spectra, "--band", wrong)


def test_compare_with_a_measured_spectrum_has_no_trajectory_in_common(spectra):
    words = ["compare", spectra[0], "water-hale-querry-1973", "--band", "2000-3000"]
    assert "leave --same-trajectory out" in error(*words, "--same-trajectory")


def test_what_is_shown_otherwise_is_refused_with_an_option_that_helps(spectra, flux, tmp_path):
    other = tmp_path / "e.h5"
    report("spectrum", flux, "--resolution", 100, "--quantity", "k", "-o", other)
    words = ["compare", spectra[0], other, "--band", "1000-3000", "--plot", tmp_path / "c.png"]
    assert "show both as one quantity (to(), --quantity" in error(*words)
    assert report(*words, "--quantity", "conductivity")["bands"][0]["intensity"] == 1


def test_molecules_alone_change_what_is_shown(flux, tmp_path):
    series = FluxSeries.load(flux)
    dataclasses.replace(series, volumes=np.full(len(series), np.nan)).save(tmp_path / "gas.h5")
    words = ["spectrum", tmp_path / "gas.h5", "--resolution", 100, "-T", 300]
    one = report(*words, "-o", tmp_path / "one.h5")
    many = report(*words, "--molecules", 64, "-o", tmp_path / "many.h5")
    assert "per sample" in one["quantity"] and "per molecule" in many["quantity"]
    heights = [Spectrum.load(tmp_path / f"{n}.h5").curve().value for n in ("one", "many")]
    np.testing.assert_allclose(heights[0], 64 * heights[1], rtol=1e-6)
    page = tmp_path / "r.html"
    words = ["report", tmp_path / "gas.h5", "--resolution", 100, "-T", 300, "-o", page]
    report(*words)
    assert "Intensity per sample" in page.read_text()
    report(*words, "--molecules", 64)
    assert "Intensity per molecule" in page.read_text()


@pytest.mark.parametrize(
    "words", [["spectrogram"], ["convergence", "--band", "1000-6000"], ["learn"]]
)
def test_a_resolution_that_is_not_chosen_by_itself(flux, words):
    end = [flux, WATER64_TOPOLOGY] if words == ["learn"] else [flux]
    said = error(*words, *end, "--resolution", "auto")
    assert "--resolution: 'auto' is not a quantity" in said


def test_a_resolution_of_zero_is_one_line(flux, tmp_path):
    for zero in ("0 THz", "0 meV"):
        said = error("spectrum", flux, "--resolution", zero, "-o", tmp_path / "x.h5")
        assert "must be positive" in said


def test_an_unknown_picture(spectra, tmp_path):
    assert "picture " in error("plot", spectra[0], "-o", tmp_path / "p.xyz")
    assert "--plot" not in error("plot", spectra[0], "-o", tmp_path / "p.xyz")


def test_convergence(flux, tmp_path):
    found = report(
        "convergence",
        flux,
        "--band",
        "1000-6000",
        "--resolution",
        100,
        "-T",
        300,
        "--lengths",
        4,
        "--plot",
        tmp_path / "c.png",
    )
    assert found["per"] == "sample"
    lengths = [row["length_ps"] for row in found["lengths"]]
    assert len(lengths) == 4 and lengths[-1] == pytest.approx(8)
    assert all(row["error"] > 0 for row in found["lengths"])
    assert "too short to see" in error(
        "convergence", flux, "--band", "1000-6000", "--resolution", 36, "--segments", 8
    )
