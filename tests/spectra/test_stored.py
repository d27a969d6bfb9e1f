"""Files of version 0.1.0 still open, and say what they said.

They hold 500 frames of two groups and three molecules that move at random, with known numbers
beside them. What version 0.1.0 kept of χ⁽²⁾ is refused, as it was wrong.
"""

import json
import shutil

import h5py
import numpy as np
import pytest

from mda_aptnn.errors import AptnnError, FileFormatError
from mda_aptnn.spectra.dielectric import DielectricSpectrum
from mda_aptnn.spectra.dipoles import DipoleSeries
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.raman import RamanSpectrum
from mda_aptnn.spectra.sfg import SumFrequencySpectrum
from mda_aptnn.spectra.spatial import AxisProfile, DistanceSpectrum
from mda_aptnn.spectra.spectrogram import Spectrogram
from mda_aptnn.spectra.vdos import COUPLING, VibrationalDensity
from tests import DATA

OLD = DATA / "v0.1.0"
NUMBERS = json.loads((OLD / "numbers.json").read_text())
#: Grid points whose numbers are kept.
AT = [3, 10, 30]
CURVES = ("epsilon real", "epsilon imaginary", "n", "alpha")


def raman(name="raman"):
    found = RamanSpectrum.load(OLD / f"{name}.h5")
    band = found.depolarization(100, 900)
    return [
        found.vv,
        found.vh,
        found.standard_error("vv"),
        found.curve("vh", "a", "b").value,
        (band.value, band.error),
        found.depolarization().value,
    ]


def spectrum():
    found = Spectrum.load(OLD / "spectrum.h5")
    assert (found.notes, found.quantum_correction) == (["a note"], "standard")
    band = found.band(500, 5000)
    return [
        found.absorption,
        found.term("a", "b"),
        found.standard_error(),
        found.standard_error("a", "b"),
        found.model_error("b"),
        (band.value, band.error),
        found.components[:, 0, 1],
        found.correlation[:, 0, 1],
    ]


def vdos():
    found = VibrationalDensity.load(OLD / "vdos.h5")
    assert (found.notes, found.info) == (["a note"], {"trajectory": ["a.trr"]})
    band = found.band(500, 5000, "O slow")
    return [
        found.total,
        found.term(COUPLING),
        found.standard_error(),
        found.standard_error(COUPLING),
        (band.value, band.error),
        found.degrees_of_freedom,
    ]


def sfg():
    found = SumFrequencySpectrum.load(DATA / "before-spine" / "sfg.h5")
    return [
        found.component("xxz").real,
        found.component("zzz", "a", "b").imag,
        found.standard_error("Im chi", "xxz"),
    ]


def dielectric():
    found = DielectricSpectrum.load(OLD / "dielectric.h5")
    static = found.static_conductivity
    return [
        found.refractive_index,
        found.absorption_coefficient,
        np.stack([found.curve(name).error for name in CURVES], axis=1),
        (static.value, static.error),
    ]


def dipoles():
    return [DipoleSeries.load(OLD / "dipoles.h5").dipoles]


def distances():
    found = DistanceSpectrum.load(OLD / "distance-spectrum.h5")
    parts = [found.curve("self").value, found.curve("cumulative").value, found.curve().error]
    return [*parts, found.neighbours]


def profile():
    found = AxisProfile.load(OLD / "axis-profile.h5")
    parts = [found.curve("in-plane").value, found.curve("x").error]
    return [*parts, found.density, found.edges]


def spectrogram():
    found = Spectrogram.load(OLD / "spectrogram.h5")
    return [found.curve().value, found.curve("windows").value, found.times, found.weights]


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("spectrum", spectrum),
        ("vdos", vdos),
        ("raman", raman),
        ("sfg", sfg),
        ("dielectric", dielectric),
        ("dipoles", dipoles),
        ("distance-spectrum", distances),
        ("axis-profile", profile),
        ("spectrogram", spectrogram),
    ],
)
def test_files_of_0_1_0_say_what_they_said(kind, read):
    for found, known in zip(read(), NUMBERS[kind], strict=True):
        values = np.asarray(getattr(found, "magnitude", found), dtype=float)
        known = np.array(known)
        if values.size != known.size:
            values = values[AT]
        np.testing.assert_allclose(values.ravel(), known, rtol=1e-5)


def test_a_raman_spectrum_with_its_factors():
    plain, scattered = (RamanSpectrum.load(OLD / f"raman{end}.h5") for end in ("", "-scattered"))
    assert scattered.factors["bose"] == "stokes"
    again = plain.scattered("532 nm")
    assert again.vv.units == scattered.vv.units
    np.testing.assert_allclose(again.vv.magnitude, scattered.vv.magnitude, rtol=1e-9)
    np.testing.assert_allclose(
        *(one.standard_error("vh").magnitude for one in (again, scattered)), rtol=1e-5
    )


def test_a_wrong_susceptibility_is_refused():
    with pytest.raises(FileFormatError, match=r"version 0\.1\.0, whose Re chi .* make it again"):
        SumFrequencySpectrum.load(OLD / "sfg.h5")


@pytest.mark.parametrize("again", [False, True], ids=["old", "written again"])
@pytest.mark.parametrize(
    "kind",
    [
        AxisProfile,
        DielectricSpectrum,
        DipoleSeries,
        DistanceSpectrum,
        RamanSpectrum,
        SumFrequencySpectrum,
        Spectrogram,
    ],
)
def test_damaged_files_are_refused_or_read_without_what_may_be_missing(kind, again, tmp_path):
    """Every data set in turn is missing, longer, a text, or in another unit; every attribute in
    turn is missing, or half a text.
    """
    folder = DATA / "before-spine" if kind is SumFrequencySpectrum else OLD
    source = folder / f"{kind.kind}.h5"
    if again:
        kind.load(source).save(tmp_path / "new.h5")
        source = tmp_path / "new.h5"
    with h5py.File(source) as file:
        names = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        attributes = [name for name in file.attrs if name not in ("creator", "command", "created")]
    refused = set()

    def tried(name, change):
        path = tmp_path / "damaged.h5"
        shutil.copy(source, path)
        with h5py.File(path, "a") as file:
            change(file)
        try:
            kind.load(path)
        except AptnnError:
            refused.add(name)

    def replaced(name, make):
        def change(file):
            values, unit = file[name][()], file[name].attrs.get("units")
            del file[name]
            values, unit = make(values, unit)
            dataset = file.create_dataset(name, data=values)
            if unit is not None:
                dataset.attrs["units"] = unit

        return change

    for name in names:
        tried(name, lambda file, name=name: file.__delitem__(name))
        for make in (
            lambda values, unit: (np.stack([values, values]), unit),
            lambda values, unit: ("text", unit),
            lambda values, unit: (values, unit and "K*A"),
        ):
            tried(name, replaced(name, make))
    for name in attributes:
        tried(name, lambda file, name=name: file.attrs.__delitem__(name))
        tried(name, lambda file, name=name: file.attrs.__setitem__(name, '[["'))
    # nothing else is kept of an old file
    assert refused >= {*names} - {"conductivity"} and "kind" in refused
