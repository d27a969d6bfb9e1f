"""The report of a run: one file, all inside, checks that can fail."""

import base64
import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn.checks import Checks, Verdict
from mda_aptnn.cli import app
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.report import write_report
from mda_aptnn.spectra.checks import check_spectrum
from tests.systems import KnownTensors, gas, random_tensors

SETTINGS = {"resolution": 800}


@pytest.fixture(scope="module")
def series():
    """Velocities without memory, in equilibrium: the spectrum is white up to its end."""
    # 27 degrees of freedom: the centre of mass moves too
    options = {"velocity_unit": "angstrom/ps", "degrees_of_freedom": 27}
    run = DipoleFlux(
        gas(600), KnownTensors(random_tensors(9)), {"O & H's": "element O"}, **options
    ).run()
    return run.series


class Reader(HTMLParser):
    """What a browser would load, and whether tags close."""

    def __init__(self):
        super().__init__()
        self.links, self.open, self.images, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.links += [values[name] for name in ("src", "href") if name in values]
        if tag == "img":
            self.images.append(values)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert not reader.open
    return reader


def test_everything_is_inside(series, tmp_path):
    write_report(series, tmp_path / "r.html", title="<water> & more", **SETTINGS)
    reader = read(tmp_path / "r.html")
    text = " ".join(reader.text)
    assert len(reader.images) == 5
    for image, link in zip(reader.images, reader.links, strict=True):
        assert link.startswith("data:image/png;base64,")
        assert base64.b64decode(link.split(",")[1])[:4] == b"\x89PNG"
        assert image["alt"]
    assert "<water> & more" in text and "O & H's" in text
    for words in (
        "equipartition",
        "acoustic sum rule",
        "KnownTensors",
        "gaussian, 800 cm⁻¹",
        "990 Å³",
    ):
        assert words in text
    assert not re.search(r"https?://", (tmp_path / "r.html").read_text())


def test_a_transmittance_has_no_terms_and_a_flat_spectrum_no_maxima(series, tmp_path):
    shown = {"quantity": "transmittance", "path_length": 1e-3, "refractive_index": 1.3}
    write_report(series, tmp_path / "r.html", shown=shown, **SETTINGS)
    reader = read(tmp_path / "r.html")
    text = " ".join(reader.text)
    assert "cross terms (hatched)" not in text and "Terms of each band" in text
    assert "Maxima at  cm⁻¹" not in text and "No maximum stands out." in text


def test_checks_find_what_is_wrong(series):
    def verdicts(other):
        checks = check_spectrum(other, other.spectrum(300, **SETTINGS))
        return {re.split(r"[ :]", check.name)[0]: check.verdict for check in checks}

    good = verdicts(series)
    # white noise is not gone at the highest frequency, and random tensors do not sum to the charge
    assert good["temperature"] == good["equipartition"] == good["integral"] == Verdict.FINE
    assert good["frames"] == good["acoustic"] == Verdict.LOOK
    # velocities in another unit
    assert (
        verdicts(dataclasses.replace(series, flux=1.1 * series.flux))["equipartition"]
        is Verdict.LOOK
    )
    warmer = series.temperatures * np.linspace(1, 2, len(series))
    assert verdicts(dataclasses.replace(series, temperatures=warmer))["temperature"] is Verdict.LOOK
    unknown = verdicts(dataclasses.replace(series, temperatures=np.full(len(series), np.nan)))
    assert unknown["temperature"] is unknown["equipartition"] is Verdict.UNKNOWN
    small = dataclasses.replace(series, residuals=1e-3 * series.residuals)
    assert verdicts(small)["acoustic"] is Verdict.UNKNOWN
    expected = {"sum_rule": 1e-3, "n_atoms": 100, "without_network": 0.1}
    for factor, verdict in ((1.0, Verdict.FINE), (5.0, Verdict.LOOK)):
        rms = np.sqrt(np.mean(series.residuals**2) / series.info["n_atoms"])
        of_size = series.residuals * factor * expected["sum_rule"] / rms
        known = dataclasses.replace(
            series, residuals=of_size, info={**series.info, "expected_residual": expected}
        )
        assert verdicts(known)["acoustic"] is verdict
    # smooth motion leaves nothing at the end of the axis
    slow = np.cumsum(np.cumsum(series.flux, axis=0), axis=0)
    assert (
        verdicts(dataclasses.replace(series, flux=slow - slow.mean(axis=0)))["frames"]
        is Verdict.FINE
    )


def test_gas_phase_without_temperature(series, tmp_path):
    alone = dataclasses.replace(
        series.regroup({"all": series.groups}),
        volumes=np.full(len(series), np.nan),
        temperatures=np.full(len(series), np.nan),
    )
    checks = write_report(alone, tmp_path / "r.html", temperature="300 K", **SETTINGS)
    reader = read(tmp_path / "r.html")
    assert len(reader.images) == 2
    assert "not known" in " ".join(reader.text)
    unknown = {check.name for check in checks if check.verdict is Verdict.UNKNOWN}
    assert {"temperature is constant", "the model's domain"} < unknown and len(unknown) == 4, (
        unknown
    )


@pytest.mark.slow
def test_command(series, tmp_path):
    series.save(tmp_path / "flux.h5")
    arguments = [
        "report",
        str(tmp_path / "flux.h5"),
        "-o",
        str(tmp_path / "r.html"),
        "--resolution",
        "800",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "checks: " in result.output
    text = " ".join(read(tmp_path / "r.html").text)
    assert "flux.h5 (sha256" in text
    result = CliRunner().invoke(app, ["report", str(tmp_path / "none.h5")])
    assert result.exit_code == 1 and "there is no file" in result.output


def test_a_check_of_all_frames_stands_for_that_of_a_few(series):
    """The residual of a few frames, to be looked at before the run, is not said again beside that
    of all frames.
    """
    [of_all] = [check for check in series.check() if "sum rule" in check.name]
    few = dataclasses.replace(of_all, found="0.1 e rms of a few frames", verdict=Verdict.LOOK)
    info = {"checks": Checks((few,)).to_json(), "notes": [str(few), "of the trajectory"]}
    notes = dataclasses.replace(series, info=series.info | info).spectrum(**SETTINGS).notes
    assert "of the trajectory" in notes and str(few) not in notes
    assert (str(of_all) in notes) == (of_all.verdict is Verdict.LOOK)
