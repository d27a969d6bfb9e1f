"""Every public name says what it takes and gives, and stands in the reference."""

import dataclasses
import inspect
import pkgutil
import re

import pytest

import mda_aptnn
import tests
from mda_aptnn.errors import FileFormatError
from mda_aptnn.flux.facade import LateMethod
from mda_aptnn.model.predict import BUNDLED
from tests.spectra.test_convergence import synthetic as tiny_series
from tests.tiny import clusters

API = tests.ROOT / "docs" / "api.md"
NAMES = [name for name in mda_aptnn.__all__ if name != "__version__"]
#: What version 0.1.0 had at the top.
OF_0_1_0 = [
    "AxisProfile",
    "Dataset",
    "DielectricSpectrum",
    "DipoleFlux",
    "DipoleSeries",
    "DistanceSpectrum",
    "FixedCharges",
    "FluxSeries",
    "FluxStream",
    "Frame",
    "LabelledFrame",
    "MoleculesInMemory",
    "NormalModes",
    "RamanSpectrum",
    "Spectrogram",
    "Spectrum",
    "SumFrequencySpectrum",
    "UniverseFrames",
    "VelocitySpectrum",
    "VibrationalDensity",
    "average_beads",
    "axis_profile",
    "band_integral",
    "band_share",
    "centroid_universe",
    "compare",
    "convergence",
    "dielectric_spectrum",
    "distance_spectrum",
    "load_groups",
    "load_model",
    "open_molecules",
    "peaks",
    "read_labels",
    "spectrogram",
    "stored_density",
    "write_report",
    "write_xyz",
]


def moved(name):
    """A name of 0.1.0 where it is said to be now."""
    return pkgutil.resolve_name(f"mda_aptnn.{mda_aptnn._MOVED[name]}")


#: All that users are told of.
PUBLIC = {name: getattr(mda_aptnn, name) for name in NAMES} | {
    mda_aptnn._MOVED[name]: moved(name) for name in sorted(mda_aptnn._MOVED)
}


def callables():
    """Public functions, and public methods that this package defines, by their full names; one
    that overrides another is documented there.
    """
    classes = {}
    for name, thing in PUBLIC.items():
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            ours = [part for part in thing.__mro__ if part.__module__.startswith("mda_aptnn")]
            classes |= {part: part.__name__ for part in ours} | {thing: name}
    for thing, name in classes.items():
        for member, value in vars(thing).items():
            function = getattr(value, "__func__", value)
            if isinstance(value, LateMethod):
                function = getattr(thing, member)
            overrides = any(member in vars(part) for part in thing.__mro__[1:])
            if not member.startswith("_") and inspect.isfunction(function) and not overrides:
                yield f"{name}.{member}", function


def has_section(function, name):
    return re.search(rf"^\s*{name}\n\s*-+$", inspect.getdoc(function) or "", re.M) is not None


@pytest.mark.parametrize(
    ("name", "function"), [pytest.param(*pair, id=pair[0]) for pair in callables()]
)
def test_functions_document_what_they_take_and_give(name, function):
    signature = inspect.signature(function)
    takes = [parameter for parameter in signature.parameters if parameter not in ("self", "cls")]
    assert inspect.getdoc(function), name
    assert not takes or has_section(function, "Parameters"), f"{name} takes {takes}"
    gives = signature.return_annotation not in (None, "None")
    assert not gives or has_section(function, "Returns") or has_section(function, "Yields"), name


def test_what_is_documented_is_what_is_taken():
    """No parameter is forgotten, and none described that is not there."""
    for name, function in callables():
        taken = [
            parameter
            for parameter in inspect.signature(function).parameters
            if parameter not in ("self", "cls")
        ]
        lines = re.search(
            r"Parameters\n-+\n(.*?)(?=\n\n\w[\w ]*\n-+\n|\Z)", inspect.getdoc(function), re.S
        )
        described = [
            word.strip("* ")
            for line in (lines[1].splitlines() if lines else [])
            if line and not line.startswith(" ")
            for word in line.split(" : ")[0].split(",")
        ]
        assert sorted(described) == sorted(taken), name


@pytest.mark.parametrize("name", PUBLIC)
def test_classes_document_their_fields(name):
    thing = PUBLIC[name]
    if not inspect.isclass(thing):
        return
    own = [part for part in thing.__mro__ if part.__module__.startswith("mda_aptnn")]
    documented = "\n".join(inspect.getdoc(part) or "" for part in own)
    if dataclasses.is_dataclass(thing):
        fields = [
            field.name for field in dataclasses.fields(thing) if not field.name.startswith("_")
        ]
    else:
        fields = [
            parameter for parameter in inspect.signature(thing).parameters if parameter != "self"
        ]
    for field in fields:
        assert re.search(rf"(^|, |\*){field}( :|,|$| \()", documented, re.M), (
            f"{name} does not document {field}"
        )


def test_the_reference_lists_all():
    if API.exists():
        listed = re.findall(r"^   ([\w.]+)$", API.read_text(), re.M)
        assert sorted(listed) == sorted(PUBLIC)


def test_every_name_of_0_1_0_is_there_or_said():
    assert set(OF_0_1_0) <= {*NAMES, *mda_aptnn._MOVED}
    assert not set(NAMES) & set(mda_aptnn._MOVED)
    for name in mda_aptnn._MOVED:
        home = re.escape(mda_aptnn._MOVED[name])
        with pytest.raises(AttributeError, match=f"is now mda_aptnn.{home}$"):
            getattr(mda_aptnn, name)
        with pytest.raises(ImportError, match=f"is now mda_aptnn.{home}$"):
            exec(f"from mda_aptnn import {name}")


def test_few_names_are_shown():
    assert sorted(mda_aptnn.__all__) == dir(mda_aptnn) and len(NAMES) <= 18
    for name in NAMES:
        assert getattr(mda_aptnn, name).__module__.startswith("mda_aptnn")


def test_load_reads_what_a_file_says_that_it_is(tmp_path):
    series = tiny_series(400)
    series.save(tmp_path / "flux.h5")
    series.spectrum(temperature=300, resolution=3000, segments=None).save(tmp_path / "s.h5")
    clusters(2).save(tmp_path / "labels.h5")
    for name, kind in (("flux", "FluxSeries"), ("s", "Spectrum"), ("labels", "Dataset")):
        assert type(mda_aptnn.load(tmp_path / f"{name}.h5")).__name__ == kind
    assert mda_aptnn.load(BUNDLED / "water-rpbe-d3.h5").symbols == ["H", "O"]
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileFormatError, match="no file of mda-aptnn that can be loaded"):
        mda_aptnn.load(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.h5"):
        mda_aptnn.load(tmp_path / "none.h5")


def test_every_kind_of_file_has_its_reader():
    for kind, home in mda_aptnn._READERS.items():
        reader = pkgutil.resolve_name(f"mda_aptnn.{home}")
        assert getattr(reader, "kind", kind) == kind
