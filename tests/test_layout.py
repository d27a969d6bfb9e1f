"""Who may import whom: the order of the folders, and no circles of files."""

import ast
import graphlib

import pytest

from tests import ROOT

PACKAGE = ROOT / "mda_aptnn"
#: From the ground up; what stands in one row does not import each other. Files at the root that
#: are not named here are the ground.
ORDER = [
    {"trajectory", "model", "labels"},
    {"training", "flux"},
    {"spectra"},
    {"learning", "live", "report"},
    {"cli"},
]
#: Of these, imports from the left to the right within a row are meant.
WITHIN = {("model", "trajectory"), ("labels", "trajectory"), ("learning", "live")}
#: Where the public names are looked up.
TOP = {"__init__"}


def modules():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(path, known):
    """Modules of this package that a file imports, at any place, but not for types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mda_aptnn":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("mda_aptnn.")]
        for name in names:
            inside = name.removeprefix("mda_aptnn.")
            while inside and inside not in known:
                inside = inside.rpartition(".")[0]
            if inside:
                yield inside


@pytest.fixture(scope="module")
def graph():
    known = modules()
    return {
        name: set(imports(path, known)) - {name} for name, path in known.items() if name not in TOP
    }


def rank(module):
    folder = module.split(".")[0]
    return next((k for k, row in enumerate(ORDER) if folder in row), -1)


def test_there_is_no_circle_of_files(graph):
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_folder_imports_one_to_its_right(graph):
    wrong = []
    for module, found in graph.items():
        for other in found:
            here, there = module.split(".")[0], other.split(".")[0]
            if here == there:
                continue
            beside = rank(module) == rank(other) >= 0 and (here, there) not in WITHIN
            if rank(other) > rank(module) or beside:
                wrong.append(f"{module} imports {other}")
    assert not wrong, "\n".join(wrong)
