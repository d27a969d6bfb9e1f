"""What a notebook shows of a result: IPython asks it for `_repr_png_`, else for its text."""

import csv
import inspect
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from mda_aptnn.figures import plain, plot
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.labels.labelled_frame import LabelledFrame
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.spectra.dipoles import DipoleSeries
from mda_aptnn.spectra.term_plots import plot_matrix
from mda_aptnn.spectra.vdos import vibrational_density
from mda_aptnn.spectra.velocity_spectrum import VelocitySpectrum
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


def test_what_holds_many_numbers_is_shown_in_a_line():
    system = gas(n_frames=60)
    analysis = DipoleFlux(system, FixedCharges({"O": -0.8, "H": 0.4}), velocity_unit="angstrom/ps")
    frame = analysis.universe_frames.frame()
    tensors = {"apt": np.zeros((len(frame), 3, 3))}
    labels = Dataset([LabelledFrame(frame, tensors)] * 7, "B3LYP")
    spectrum = absorption_spectrum(
        [np.zeros((900, 2, 3))], "AB", 1e-3, 300.0, 1000.0, resolution=200
    )
    band, curve = spectrum.band(0, 1000), spectrum.curve()
    shown = [
        (frame, "Frame(numbers=<9 numbers>, positions=<9×3 numbers>, "),
        (labels, "Dataset(frames=<7>, level_of_theory='B3LYP', "),
        (labels[0], "LabelledFrame(frame=Frame(numbers=<9 numbers>, "),
        (analysis, "<DipoleFlux: 9 atoms, not run yet>"),
        (analysis.universe_frames, "<UniverseFrames: 60 frames of 9 atoms>"),
        (band, f"<{band}>"),
        (curve, f"Measured(value=<{len(spectrum.wavenumber)} numbers>, "),
        (DipoleSeries.from_array(np.zeros((50, 3)), "1 fs"), "DipoleSeries(dipoles=<50×3 "),
    ]
    for thing, start in shown:
        assert repr(thing).startswith(start)
        assert str(thing) and len(repr(thing)) < 250 and "\n" not in repr(thing)


def test_a_slice_of_a_data_set_is_a_data_set():
    frame = Frame(np.array([1]), np.zeros((1, 3)))
    frames = [LabelledFrame(frame, {"apt": np.full((1, 3, 3), k)}) for k in range(5)]
    part = Dataset(frames, "B3LYP", {"a.xyz": "1"})[1:4:2]
    assert isinstance(part, Dataset) and (part.level_of_theory, len(part)) == ("B3LYP", 2)
    assert [float(item.apt[0, 0, 0]) for item in part] == [1.0, 3.0]


@pytest.mark.parametrize(
    "method",
    [
        FluxSeries.spectrum,
        DipoleFlux.spectrum,
        FluxSeries.raman,
        FluxSeries.sum_frequency,
        DipoleSeries.spectrum,
        VelocitySpectrum.density,
        vibrational_density,
    ],
)
def test_help_names_the_settings_of_a_spectrum(method):
    shown = inspect.signature(method).parameters
    assert {"resolution", "window", "unbiased", "segments"} <= set(shown)
    assert "how" not in shown and shown["window"].default == "gaussian"


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
