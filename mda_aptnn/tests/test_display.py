"""What a notebook shows of a result: IPython asks it for `_repr_png_`, else for its text."""

import io

import numpy as np
from matplotlib.image import imread

from mda_aptnn.analysis.flux.dipole_flux import DipoleFlux
from mda_aptnn.models.fixed_charges import FixedCharges
from mda_aptnn.tests.systems import gas


def test_a_spectrum_shows_its_picture_and_a_flux_one_line(tmp_path):
    charges, options = FixedCharges({"O": -0.8, "H": 0.4}), {"velocity_unit": "angstrom/ps"}
    series = DipoleFlux(gas(n_frames=60), charges, {"O": "element O"}, **options).run().series
    assert repr(series) == "<FluxSeries: 60 frames, 0.5 fs apart, in 1 series; O, rest>"
    spectrum = series.spectrum(temperature=300, resolution=1500, segments=None)
    spectrum.plot(tmp_path / "written.png")
    shown = imread(io.BytesIO(spectrum._repr_png_()), format="png")
    assert shown.std() > 0.01
    np.testing.assert_array_equal(shown, imread(tmp_path / "written.png"))
