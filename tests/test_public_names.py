"""Every public name says what it takes and gives, and stands in the reference."""

import dataclasses
import inspect
import re

import pytest

import mda_aptnn
import tests
from mda_aptnn.flux.facade import LateMethod

API = tests.ROOT / "docs" / "api.md"
NAMES = [name for name in mda_aptnn.__all__ if name != "__version__"]


def callables():
    """Public functions, and public methods that this package defines, by their full names."""
    for name in NAMES:
        thing = getattr(mda_aptnn, name)
        if inspect.isfunction(thing):
            yield name, thing
        for member, value in vars(thing).items() if inspect.isclass(thing) else ():
            function = getattr(value, "__func__", value)
            if isinstance(value, LateMethod):
                function = getattr(thing, member)
            if not member.startswith("_") and inspect.isfunction(function):
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


@pytest.mark.parametrize("name", NAMES)
def test_classes_document_their_fields(name):
    thing = getattr(mda_aptnn, name)
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
        listed = re.findall(r"^   (\w+)$", API.read_text(), re.M)
        assert sorted(listed) == sorted(NAMES)
