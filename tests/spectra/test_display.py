"""What a notebook shows of a result: IPython asks it for `_repr_png_`, else for its text."""

import csv
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from mda_aptnn.figures import plain, plot
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.spectra.term_plots import plot_matrix
from tests.systems import absorption_spectrum, gas


def test_a_spectrum_shows_its_picture_and_a_flux_one_line(tmp_path):
    charges, options = FixedCharges({"O": -0.8, "H": 0.4}), {"velocity_unit": "angstrom/ps"}
    series = DipoleFlux(gas(n_frames=60), charges, {"O": "element O"}, **options).run().series
    assert repr(series) == "<FluxSeries: 60 frames, 0.5 fs apart, in 1 series; O, rest>"
    spectrum = series.spectrum(temperature=300, resolution=1500, segments=None)
    spectrum.plot(tmp_path / "written.png")
    shown = imread(io.BytesIO(spectrum._repr_png_()), format="png")
    assert shown.std() > 0.01
    np.testing.assert_array_equal(shown, imread(tmp_path / "written.png"))


NAMES = [r"$\frac{$", "$", r"a\$b$c$", "_hidden", "=HYPERLINK(1)", "-CH3", "@x", "plain"]


@pytest.mark.filterwarnings("error")
def test_names_of_groups_are_drawn_letter_by_letter(tmp_path):
    """A formula in a name ended the run after all was predicted; one that begins with _ was missing
    in legends.
    """
    flux = np.random.default_rng(0).normal(size=(400, 4, 3))
    for names in (NAMES[:4], NAMES[4:]):
        spectrum = absorption_spectrum([flux], names, 1e-3, 300.0, 1000.0, resolution=500)
        for stacked in (False, True):
            axes = spectrum.plot(ax=Figure().subplots(), terms=True, stacked=stacked)
            axes.figure.savefig(tmp_path / "b.png")
            shown = [
                text.get_text().replace(r"\$", "$").strip()
                for text in axes.get_legend().get_texts()
            ]
            assert set(names) <= set(shown)
        plot_matrix(spectrum, tmp_path / "m.png")
        plot(dict.fromkeys(names, spectrum), tmp_path / "t.png")
        spectrum.to_csv(tmp_path / "s.csv")
        [header, *_] = csv.reader((tmp_path / "s.csv").read_text().splitlines())
        assert not any(name.startswith(("=", "+", "-", "@")) for name in header)
        for name in names:
            assert sum(head in (f"{name} [1/cm]", f"'{name} [1/cm]") for head in header) == 1


def test_what_is_drawn_of_a_name_is_the_name():
    """As matplotlib itself takes texts apart."""
    text = Figure().text(0, 0, "")
    for name in NAMES:
        assert text._preprocess_math(plain(name)) == (
            name.strip() if name != "_hidden" else " _hidden",
            False,
        )
