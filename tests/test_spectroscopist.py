"""What a spectroscopist asks, answered by the commands of docs/answers.md as they stand there."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from scipy.constants import N_A
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.spectra.infrared import Spectrum
from tests import ROOT, examples

pytestmark = pytest.mark.slow

PAGE = "docs/answers.md"
BLOCKS = examples.blocks(ROOT, PAGE)
COMMANDS = [
    command
    for block in BLOCKS
    if block.language == "bash"
    for command in examples.commands(block.code)
]


def documented(*words):
    """The command of the page that has these words."""
    [command] = [one for one in COMMANDS if all(word in one for word in words)]
    return command


def answer(command, *more):
    """What a command says in JSON."""
    result = CliRunner().invoke(app, [*shlex.split(command)[1:], *more, "--json"])
    assert result.exit_code == 0, f"{command}\n{result.output}{result.stderr}"
    return json.loads(result.stdout)


def refused(command, *more):
    """The one line that a command is refused with."""
    result = CliRunner().invoke(app, [*shlex.split(command)[1:], *more])
    assert result.exit_code == 1, result.output
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the demonstration was made, as the page begins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("spectroscopist"))
        answer(documented("mda-aptnn demo"))
        yield patch


@pytest.fixture(scope="module")
def water(folder):
    return Spectrum.load("mda-aptnn-demo/water.h5")


def column(path, head):
    """A column of a table whose name begins so, beside the first one."""
    rows = list(csv.reader(Path(path).read_text().splitlines()))
    place = next(k for k, name in enumerate(rows[0]) if name.startswith(head))
    return np.array([[float(row[0]), float(row[place])] for row in rows[1:]]).T, rows[0][place]


def test_epsilon_at_3400(folder, water):
    said = answer(documented("--quantity epsilon", "--csv"))
    assert said["quantity"] == "epsilon, base 10, per H2O" and said["unit"] == "L/mol/cm"
    (grid, values), head = column("epsilon.csv", "total epsilon")
    assert head == "total epsilon, base 10, per H2O [L/mol/cm]"
    at_3400 = np.interp(3400, grid, values)
    # 29 ± 7 in the page; by hand from n·α, n(ν) of the dielectric function and the density
    litres = float(water.volume.to("liter").magnitude)
    molar = 64 / N_A / litres
    assert molar == pytest.approx(55.4, abs=0.2)
    alpha = water.to("alpha", epsilon_infinity=1.78).curve().value
    assert at_3400 == pytest.approx(np.interp(3400, grid, alpha) / np.log(10) / molar, rel=1e-4)
    assert at_3400 == pytest.approx(29, abs=3)
    assert np.interp(3400, *column("epsilon.csv", "standard error")[0]) == pytest.approx(7, abs=2)
    assert "29 ± 7 at 3400 cm⁻¹" in (ROOT / PAGE).read_text()


def test_area_of_the_bend_per_molecule(folder, water):
    said = answer(documented("mda-aptnn bands"))
    total, *terms = said["bands"]
    assert said["units"]["area"] == "km/mol" and said["per"] == "H2O"
    assert total["area"] == pytest.approx(100, abs=3) and 4 < total["area_error"] < 15
    assert total["position"] == pytest.approx(1696, abs=3)
    assert total["width"] == pytest.approx(89, abs=3)
    # the integral by hand: cm⁻² times cm³/mol is 1e-5 km/mol
    grid, n_alpha = water.wavenumber.magnitude, water.curve().value
    fine = np.linspace(1500, 1900, 40001)
    by_hand = np.trapezoid(np.interp(fine, grid, n_alpha), fine)
    by_hand *= float(water.volume.to("cm^3").magnitude) * N_A / 64 * 1e-5
    [integral] = said["integrals"]
    assert integral["integral"] == pytest.approx(by_hand, rel=1e-4) == pytest.approx(102, abs=2)
    assert sum(term["area"] for term in terms) == pytest.approx(total["area"], rel=0.05)


def test_a_band_table_in_latex(folder):
    answer(documented("mda-aptnn bands"))
    latex = Path("bend.tex").read_text()
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert [row.split(" & ")[0] for row in rows] == ["term", "total", "O", "H", "O x H"]
    [position] = re.findall(r"^total & \$([\d.]+) \\pm [\d.]+\$", latex, re.M)
    assert float(position) == pytest.approx(1696, abs=3)
    rows = list(csv.DictReader(Path("bend.csv").read_text().splitlines()))
    assert float(rows[0]["area [km/mol]"]) == pytest.approx(100, abs=3)


def test_absorbance_at_10_um(folder, water):
    answer(documented("--quantity absorbance"))
    (grid, values), _ = column("absorbance.csv", "total absorbance, base 10, 10 µm path")
    bend = (grid > 1500) & (grid < 1900)
    assert values[bend].max() == pytest.approx(1.56, abs=0.05)
    litres = float(water.volume.to("liter").magnitude)
    epsilon = water.to("epsilon", epsilon_infinity=1.78).curve().value
    np.testing.assert_allclose(values, epsilon * 64 / N_A / litres * 1e-3, rtol=1e-5, atol=1e-9)


def test_scaling_factor_against_published_points(folder):
    found = answer(documented("water-hale-querry-1973"))
    assert found["frequency_factor"] == pytest.approx(0.957, abs=0.003)
    assert 0.001 < found["frequency_factor_error"] < 0.006
    bend, stretch = found["bands"]
    assert bend["intensity"] == pytest.approx(0.94, abs=0.06)
    assert stretch["intensity"] == pytest.approx(1.22, abs=0.08)
    assert Path("measured.png").read_bytes().startswith(b"\x89PNG")


def write_measured(water):
    """What a spectrometer might have written of the demonstration, at 0.96 of its wavenumbers."""
    grid = water.wavenumber.magnitude
    kept = (grid > 1000) & (grid < 4300)
    alpha = water.to("alpha", epsilon_infinity=1.78).curve().value[kept]
    # falling, decadic, without a header
    decadic = zip(grid[kept][::-1], alpha[::-1] / np.log(10), strict=True)
    rows = [f"{place:.5f},{0.9 * value:.6g}\n" for place, value in decadic]
    Path("measured.csv").write_text("".join(rows))
    percent = 100 * 10 ** (-alpha * 0.3e-4 / np.log(10))
    x = 0.96 * grid[kept]
    head = {
        "TITLE": "water",
        "JCAMP-DX": "4.24",
        "DATA TYPE": "INFRARED SPECTRUM",
        "XUNITS": "1/CM",
        "YUNITS": "PERCENT TRANSMITTANCE",
        "FIRSTX": x[0],
        "LASTX": x[-1],
        "NPOINTS": len(x),
        "XFACTOR": 1,
        "YFACTOR": 1e-6,
        "XYDATA": "(X++(Y..Y))",
    }
    lines = [f"##{name}={value}" for name, value in head.items()]
    for k in range(0, len(x), 8):
        numbers = np.round(percent[k : k + 8] * 1e6).astype(int)
        lines.append(" ".join([f"{x[k]:.4f}", *map(str, numbers)]))
    Path("measured.jdx").write_text("\n".join([*lines, "##END=", ""]))


def test_overlay_with_a_measured_file(folder, water):
    write_measured(water)
    [bend] = answer(documented("measured.csv"))["bands"]
    assert bend["intensity"] == pytest.approx(0.9, abs=0.002) and abs(bend["shift"]) < 0.05
    overlay = documented("measured.jdx")
    found = answer(overlay)
    assert found["bands"][0]["shift"] == pytest.approx(-0.04 * 1696, abs=8)
    assert any("percent transmittance is made absorbance" in note for note in found["notes"])
    fitted = answer(overlay, "--fit-frequency")
    assert fitted["frequency_factor"] == pytest.approx(0.96, abs=3e-4)
    assert fitted["bands"][1]["intensity"] == pytest.approx(1, abs=0.01)
    # absorbance over α: a path of 0.3 µm
    assert fitted["scale"] == pytest.approx(0.3e-4 / np.log(10), rel=2e-3)


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        (["measured.csv"], ["--quantity", "k"], None),
        (["measured.jdx"], ["--band", "200-900"], "is measured from 96"),
        (["mda-aptnn bands"], ["--band", "2300-2700"], "stands out of the noise"),
        (["mda-aptnn bands"], ["--band", "9000-9500"], "is not a range of the spectrum"),
        (["mda-aptnn bands"], ["--molecules", "CO2"], "there is no molecule 'CO2'"),
    ],
)
def test_no_picture_is_written_of_what_is_refused(folder, water, words, more, said, tmp_path):
    write_measured(water)
    picture = tmp_path / "picture.png"
    if said is None:
        answer(documented(*words), *more, "--plot", str(picture))
        assert picture.exists()
    else:
        assert said in refused(documented(*words), *more, "--plot", str(picture))
        assert not picture.exists()


def test_the_page_in_python(folder):
    names, said = {}, io.StringIO()
    with redirect_stdout(said):
        for block in BLOCKS:
            if block.language == "python":
                examples.run(block, names, str)
    first, *rest = said.getvalue().splitlines()
    assert float(first.split()[0]) == pytest.approx(29, abs=3)
    assert "wavenumbers × 0.95" in rest[1] and rest[-1].endswith("km/mol")
    assert float(rest[-1].split()[0]) == pytest.approx(102, abs=2)


def test_the_report_per_molecule(folder):
    report = re.search(r"`(mda-aptnn report [^`]+)`", (ROOT / PAGE).read_text())[1]
    answer(report, "--resolution", "40 cm-1")
    page = Path("report.html").read_text()
    assert "Intensity per H2O / km mol⁻¹" in page and "epsilon, base 10, per H2O" in page
