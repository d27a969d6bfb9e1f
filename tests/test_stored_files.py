"""Files that version 0.1.0 wrote still open, and say what they said.

Flux of two groups, of atoms, spectrum and density of states are of 400 frames of nine atoms that
rattle at random; the model is an untrained one, the labels three bundled molecules. The numbers
beside them are those that 0.1.0 gave.
"""

import json

import numpy as np
import pytest

from mda_aptnn import Dataset, FluxSeries, load_model
from mda_aptnn.flux.atom_flux import load_groups
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.vdos import VibrationalDensity
from tests import DATA
from tests.systems import gas

OLD = DATA / "v0.1.0"
NUMBERS = json.loads((OLD / "numbers-of-flux-and-models.json").read_text())
FRAMES = [0, 7, -1]
POINTS = [1, 4, 8]


def test_flux_and_its_spectrum():
    series = FluxSeries.load(OLD / "flux.h5")
    np.testing.assert_array_equal(series.flux[FRAMES], NUMBERS["flux"])
    again = series.spectrum("300 K", 1000, segments=4)
    expected = NUMBERS["spectrum"]
    np.testing.assert_allclose(again.absorption.magnitude[POINTS], expected["total"], rtol=1e-6)


def test_flux_of_atoms_serves_the_same_groups():
    universe = gas(n_frames=400, cell=(9.0, 10.0, 11.0, 90, 90, 90))
    series = load_groups(OLD / "atoms.h5", universe, {"O": "element O"})
    np.testing.assert_allclose(series.flux[FRAMES], NUMBERS["flux"], rtol=1e-4, atol=1e-4)


def test_spectrum_with_its_errors():
    found, expected = Spectrum.load(OLD / "spectrum-of-flux.h5"), NUMBERS["spectrum"]
    assert list(found.groups) == expected["names"]
    np.testing.assert_allclose(found.absorption.magnitude[POINTS], expected["total"])
    np.testing.assert_allclose(found.standard_error().magnitude[POINTS], expected["error"])
    band = found.band(1000, 20000).value
    # 0.1.0 left out what lies between a limit and the grid point inside of it
    assert float(getattr(band, "magnitude", band)) == pytest.approx(expected["band"], rel=0.01)


def test_density_of_states():
    found = VibrationalDensity.load(OLD / "density.h5").total
    np.testing.assert_allclose(getattr(found, "magnitude", found)[POINTS], NUMBERS["density"])


def test_labels_and_a_model():
    labels = Dataset.load(OLD / "labels.h5")
    assert [item.apt[0].tolist() for item in labels] == NUMBERS["labels"]
    model = load_model(OLD / "model.h5")
    found = model.predict(labels[0].frame)
    np.testing.assert_allclose(found, NUMBERS["model"], rtol=1e-5, atol=1e-6)
