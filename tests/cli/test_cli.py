"""The command line as a user meets it: files, JSON, one-line errors, exit codes."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys

import h5py
import MDAnalysis as mda
import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.errors import SpectrumError
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.infrared import Spectrum
from tests import trajectory_files

N_FRAMES = 24


def run(*arguments, fails=False):
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=False
    )
    assert (result.exit_code != 0) == fails, result.output
    return result


def report(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


def error(*arguments):
    """The one line that a user gets."""
    result = run(*arguments, fails=True)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.output
    assert "Traceback" not in result.output
    return lines[0]


@pytest.fixture(scope="module")
def water(tmp_path_factory):
    """Topology and TRR of the first frames of the bundled trajectory."""
    folder = tmp_path_factory.mktemp("water")
    universe = mda.Universe(str(WATER64_TOPOLOGY), str(WATER64_TRAJECTORY))
    universe.atoms.write(str(folder / "water.pdb"))
    with mda.Writer(str(folder / "water.trr"), len(universe.atoms)) as writer:
        for _ in universe.trajectory[:N_FRAMES]:
            writer.write(universe.atoms)
    return folder / "water.pdb", folder / "water.trr"


@pytest.fixture(scope="module")
def flux_file(water, tmp_path_factory):
    path = tmp_path_factory.mktemp("flux") / "flux.h5"
    run("flux", *water, "-g", "O=element O", "-g", "H=element H", "-o", path)
    return path


def test_spectrum_writes_what_it_says(water, tmp_path):
    names = {
        name: tmp_path / f"x.{ending}"
        for name, ending in [("csv", "csv"), ("plot", "png"), ("flux", "flux.h5")]
    }
    options = [part for name, path in names.items() for part in (f"--{name}", path)]
    found = report(
        "spectrum",
        *water,
        "-g",
        "O=element O",
        "-T",
        "300 K",
        "--resolution",
        "800 cm^-1",
        "-o",
        tmp_path / "x.h5",
        *options,
    )
    assert found["files"] == {
        "spectrum": str(tmp_path / "x.h5"),
        **{name: str(path) for name, path in names.items()},
    }
    assert found["temperature_used"] == 300
    assert found["n_frames"] == N_FRAMES
    assert found["groups"] == ["O", "rest"]
    assert names["plot"].read_bytes()[:4] == b"\x89PNG"
    table = np.genfromtxt(names["csv"], delimiter=",", names=True)
    spectrum = Spectrum.load(tmp_path / "x.h5")
    np.testing.assert_allclose(table["total_1cm"], spectrum.absorption.magnitude, rtol=1e-6)
    assert spectrum.segments is None and found["segments"] is None
    assert [item["wavenumber"] for item in found["maxima"]] == [
        peak.position.value for peak in spectrum.peaks()
    ]
    assert all(item["wavenumber_error"] is None for item in found["maxima"])
    assert (
        found["effective_resolution"]
        == spectrum.effective_resolution.magnitude
        > found["resolution"]
    )
    assert FluxSeries.load(names["flux"]).groups == ["O", "rest"]


def test_spectrum_of_a_stored_flux_predicts_nothing(flux_file, tmp_path, monkeypatch):
    monkeypatch.setattr("mda_aptnn.flux.dipole_flux.DipoleFlux.run", None)
    found = report(
        "spectrum",
        flux_file,
        "--resolution",
        "900 cm^-1",
        "-g",
        "water=O+H",
        "-o",
        tmp_path / "x.h5",
    )
    assert found["groups"] == ["O", "H"]
    assert Spectrum.load(tmp_path / "x.h5").groups == ["water"]
    assert any("temperature" in note and "velocities" in note for note in found["notes"])


def test_error_bars_and_quantum_correction_of_a_stored_flux(flux_file, tmp_path):
    found = report(
        "spectrum",
        flux_file,
        "--resolution",
        "9000 cm^-1",
        "--segments",
        3,
        "--quantum-correction",
        "standard",
        "-T",
        300,
        "-o",
        tmp_path / "x.h5",
    )
    spectrum = Spectrum.load(tmp_path / "x.h5")
    assert found["segments"] == len(spectrum.segments.lengths) == 3
    assert spectrum.quantum_correction == "standard"
    assert all(item["height_error"] > 0 for item in found["maxima"])


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--segments", "1", "a number from 2 upward"),
        ("--segments", "eight", "'auto', 'replicas' or 'none'"),
        ("--quantum-correction", "full", "choose one of harmonic, standard"),
    ],
)
def test_statistics_that_cannot_be_are_refused(flux_file, tmp_path, option, value, said):
    assert said in error("spectrum", flux_file, option, value, "-o", tmp_path / "x.h5")


def test_workers_and_checkpoint_give_the_same_flux(water, flux_file, tmp_path):
    groups = ["-g", "O=element O", "-g", "H=element H"]
    run(
        "flux",
        *water,
        *groups,
        "--workers",
        2,
        "--checkpoint",
        tmp_path / "done",
        "-o",
        tmp_path / "a.h5",
    )
    run("flux", *water, *groups, "--checkpoint", tmp_path / "done", "-o", tmp_path / "b.h5")
    expected = FluxSeries.load(flux_file).flux
    for name in ("a.h5", "b.h5"):
        found = FluxSeries.load(tmp_path / name).flux
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.sqrt((expected**2).mean()))


def test_an_interrupted_run_goes_on_without_being_asked_to(water, flux_file, tmp_path, monkeypatch):
    from mda_aptnn.flux.pipeline import batch_size
    from mda_aptnn.model.predict import Model, load_model

    command = ["flux", *water, "-g", "O=element O", "-g", "H=element H", "-o", tmp_path / "x.h5"]
    # every frame that is predicted passes here, alone or in a batch; those that the guard predicts
    # are left out
    monkeypatch.setattr("mda_aptnn.flux.guard.domain_checks", lambda *arguments: [])
    check, seen = Model.check, []

    def interrupted(self, frame):
        seen.append(frame)
        if len(seen) == 10:
            raise KeyboardInterrupt
        check(self, frame)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "check", interrupted)
        assert run(*command, fails=True).exit_code == 130
    assert (tmp_path / "x.unfinished").is_dir()
    counted = len(seen)
    with monkeypatch.context() as patch:
        patch.setattr(
            Model, "check", lambda self, frame: (seen.append(frame), check(self, frame))[1]
        )
        run(*command)
    # more than the frames that were missing: the check of the first frame, and those of the batch
    # that was cut
    together = batch_size(load_model("water-rpbe-d3"), 192, False)
    assert len(seen) - counted <= N_FRAMES - 9 + 1 + together - 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]
    assert (FluxSeries.load(tmp_path / "x.h5").flux == FluxSeries.load(flux_file).flux).all()


def test_replicas_are_not_joined(water, tmp_path):
    topology, trajectory = water
    universe = mda.Universe(str(WATER64_TOPOLOGY), str(WATER64_TRAJECTORY))
    with mda.Writer(str(tmp_path / "later.trr"), len(universe.atoms)) as writer:
        for _ in universe.trajectory[1000 : 1000 + N_FRAMES]:
            writer.write(universe.atoms)
    found = report("flux", topology, trajectory, tmp_path / "later.trr", "-o", tmp_path / "two.h5")
    assert found["n_series"] == 2
    assert FluxSeries.load(tmp_path / "two.h5").starts == [0, N_FRAMES]


def test_predict_gives_tensors_of_every_atom(water, tmp_path):
    from mda_aptnn.labels.dataset import read_labels

    found = report("predict", *water, "--stop", 2, "-o", tmp_path / "apt.xyz")
    assert found["n_frames"] == 2
    labels = read_labels(tmp_path / "apt.xyz")
    assert labels[1].apt.shape == (192, 3, 3)
    # oxygen is negative, hydrogen positive, and they cancel
    charges = np.trace(labels[0].apt, axis1=1, axis2=2) / 3
    assert (charges[labels[0].frame.numbers == 8] < -0.5).all()
    assert (charges[labels[0].frame.numbers == 1] > 0.2).all()


def test_info_shows_the_card_of_the_bundled_model_and_the_contents_of_files(flux_file):
    card = report("info", "water-rpbe-d3")
    assert card["level_of_theory"].startswith("RPBE-D3")
    assert card["elements"] == ["H", "O"]
    assert report("info", flux_file)["kind"] == "flux"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-g", "X=element C"], ["'X'", "matches no atom"]),
        (["-g", "a=element O", "-g", "b=index 0:5"], ["share", "exclude"]),
        (["-g", "element O"], ["NAME=VALUE"]),
        (["--model", "nonsense"], ["nonsense", "water-rpbe-d3"]),
        (["--resolution", "3 kg"], ["resolution", "kg"]),
        (["-T", "-3 K"], ["temperature", "positive"]),
        (["--window", "box"], ["window", "gaussian"]),
        (["-o", "/nowhere/x.h5"], ["/nowhere"]),
        (["--plot", "x.xyz"], ["picture x.xyz", "png"]),
        (["--velocity-unit", "angstrom/fs"], ["temperature", "nm/ps"]),
        (["--velocity-unit", "kg"], ["velocity_unit", "kg"]),
        (["--stop", "1"], ["frames"]),
        (["--sum-rule", "charge"], ["none, mass, uniform"]),
        (["--select", "element C"], ["no atoms"]),
        (["--cell", "0 0 0"], ["cell"]),
    ],
)
def test_mistakes_are_told_in_one_line(water, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    message = error("spectrum", *water, *options)
    for word in words:
        assert word in message
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--resolution", "1 cm^-1"], "needs an uninterrupted series of 33.4 ps"),
        ([], "a resolution of 200 cm⁻¹ needs an uninterrupted series"),
        (["--resolution", "800 cm^-1", "--segments", "8"], "the shortest of 8 has"),
    ],
)
def test_what_a_run_is_too_short_for_is_said_before_it(
    water, tmp_path, monkeypatch, options, words
):
    monkeypatch.setattr("mda_aptnn.flux.dipole_flux.DipoleFlux.run", None)
    assert words in error("spectrum", *water, *options, "-o", tmp_path / "x.h5")
    assert words in error("vdos", *water, *options, "-o", tmp_path / "v.h5")
    assert not list(tmp_path.iterdir())


def test_the_flux_is_kept_beside_its_spectrum(water, flux_file, tmp_path, monkeypatch):
    output = tmp_path / "x.h5"
    command = ("spectrum", *water, "--resolution", "800 cm^-1", "-o", output)
    # somebody's own flux has the name that it would have
    shutil.copy(flux_file, tmp_path / "x-flux.h5")
    kept = report(*command, "-g", "O=element O")["files"]["flux"]
    assert kept == str(tmp_path / "x-flux1.h5")
    assert FluxSeries.load(kept).groups == ["O", "rest"]
    assert FluxSeries.load(tmp_path / "x-flux.h5").groups == ["O", "H"]
    # a spectrum that cannot be made, of a flux that is made: the same command's flux is replaced
    monkeypatch.setattr("sys.argv", ["mda-aptnn", "spectrum"])
    FluxSeries.load(kept).save(kept)
    monkeypatch.setattr(FluxSeries, "spectrum", refused)
    assert error(*command).endswith(f"refused; the flux is kept, for: mda-aptnn spectrum {kept}")
    assert FluxSeries.load(kept).groups == ["all"]
    names = ["x-flux.h5", "x-flux1.h5", "x.h5"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def refused(*_, **__):
    raise SpectrumError("refused")


def test_files_in_the_wrong_place_are_recognised(water, flux_file, tmp_path):
    topology, trajectory = water
    dump, data = tmp_path / "run.lammpstrj", tmp_path / "run.data"
    for path in (dump, data):
        path.write_text("")
    for files, words in {
        (trajectory, topology): f"{trajectory} holds the frames and {topology} the atoms: name",
        (dump, data): f"{dump} holds the frames and {data} the atoms",
        (trajectory,): f"{trajectory} holds frames and no names of atoms: name a topology before",
        (flux_file, topology): f"{flux_file} is no trajectory: it holds the flux that mda-aptnn",
    }.items():
        assert words in error("check", *files), files


def test_packed_trajectories(water, tmp_path):
    """MDAnalysis unpacks text, and says nothing that helps of the rest."""
    topology, trajectory = water
    packed = tmp_path / "water.trr.gz"
    packed.write_bytes(gzip.compress(trajectory.read_bytes()))
    words = [sys.executable, "-m", "mda_aptnn.cli", "check", topology, packed]
    done = subprocess.run(words, capture_output=True, text=True)
    # MDAnalysis' reader fails once more when it is deleted, of which nothing is shown
    [line] = done.stderr.splitlines()
    assert line.startswith("error:") and done.returncode == 1
    assert line.endswith(f"it reads this kind unpacked only: gunzip -k {packed}")
    trajectory_files.write_lammps(trajectory_files.water(6), tmp_path / "run.lammpstrj", "metal")
    packed = tmp_path / "run.lammpstrj.gz"
    packed.write_bytes(gzip.compress((tmp_path / "run.lammpstrj").read_bytes()))
    options = ("--time-step", "2 fs", "--velocity-unit", "angstrom/ps")
    assert "6 frames of 192 atoms" in run("check", topology, packed, *options).output


def test_a_stream_that_cannot_be_read(water, monkeypatch):
    topology, _ = water
    assert "imd://localhost:8889" in error("live", topology, "localhost:8889")
    assert "no file x.pdb" in error("live", "x.pdb", "imd://localhost:8889")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = error("live", topology, "imd://localhost:8889")
    assert line.endswith('pip install "mda-aptnn[live]"')


def test_a_stored_flux_is_not_read_again(flux_file, tmp_path):
    message = error("spectrum", flux_file, "--stop", 5, "--format", "TRR", "-o", tmp_path / "x.h5")
    assert "--stop, --format cannot change it" in message


def test_all_trajectories_are_checked_before_the_first_is_predicted(water, tmp_path, monkeypatch):
    topology, trajectory = water
    monkeypatch.setattr("mda_aptnn.flux.dipole_flux.DipoleFlux.run", None)
    message = error("flux", topology, trajectory, topology, "-o", tmp_path / "x.h5")
    assert "no velocities" in message


def test_a_file_that_is_not_there(tmp_path):
    assert "no file" in error(
        "spectrum", tmp_path / "a.pdb", tmp_path / "b.trr", "-o", tmp_path / "x.h5"
    )


def test_no_velocities(water, tmp_path):
    topology, _ = water
    message = error("spectrum", topology, "-o", tmp_path / "x.h5")
    assert "velocities" in message and "finite-difference" in message


def test_a_truncated_flux_file(flux_file, tmp_path):
    cut = tmp_path / "cut.h5"
    cut.write_bytes(flux_file.read_bytes()[:3000])
    assert str(cut) in error("spectrum", cut, "-o", tmp_path / "x.h5")


def test_a_foreign_model_file(water, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    assert "not a model file" in error(
        "spectrum", *water, "--model", tmp_path / "other.h5", "-o", tmp_path / "x.h5"
    )


@pytest.mark.slow
def test_the_process_itself_fails_with_a_code(tmp_path):
    command = [sys.executable, "-m", "mda_aptnn.cli", "spectrum", str(tmp_path / "none.pdb")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: there is no file")
    assert result.stdout == ""


def test_finished_frames_of_another_run_stay_where_a_stored_flux_is_read(
    water, flux_file, tmp_path
):
    run("flux", *water, "-o", tmp_path / "o.h5", "--checkpoint", tmp_path / "x.unfinished")
    kept = sorted((tmp_path / "x.unfinished").rglob("*.h5"))
    assert kept
    words = ["--resolution", "9000 cm^-1", "-T", 300, "-o", tmp_path / "x.h5"]
    run("spectrum", flux_file, *words)
    assert sorted((tmp_path / "x.unfinished").rglob("*.h5")) == kept
