"""What the registry of MDAKits and duecredit are told."""

import importlib
import os
import re
import subprocess
import sys
import tomllib

import pytest

from mda_aptnn.citations import CITATIONS
from tests import ROOT

#: Keys of the registry's template: those that must be there, and those that may.
REQUIRED = {
    "project_name",
    "authors",
    "maintainers",
    "description",
    "keywords",
    "license",
    "project_home",
    "documentation_home",
    "documentation_type",
}
OPTIONAL = {
    "install",
    "src_install",
    "import_name",
    "python_requires",
    "mdanalysis_requires",
    "run_tests",
    "test_dependencies",
    "project_org",
    "development_status",
    "publications",
    "community_home",
    "changelog",
}


@pytest.mark.skipif(
    not (ROOT / "metadata.yaml").is_file(), reason="installed without the repository"
)
def test_the_registrys_entry_is_that_of_the_package():
    entry = pytest.importorskip("yaml").safe_load((ROOT / "metadata.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert entry.keys() >= REQUIRED and not entry.keys() - REQUIRED - OPTIONAL
    assert all(entry[key] for key in REQUIRED)
    for key in (
        "authors",
        "maintainers",
        "keywords",
        "src_install",
        "run_tests",
        "test_dependencies",
        "publications",
    ):
        assert isinstance(entry[key], list) and all(isinstance(item, str) for item in entry[key])
    assert entry["project_name"] == project["name"] and entry["license"] == project["license"]
    assert entry["python_requires"] == project["requires-python"]
    assert f"MDAnalysis{entry['mdanalysis_requires']}" in project["dependencies"]
    importlib.import_module(entry["import_name"])
    needed = {re.split(r"[><=]", name)[0] for name in project["optional-dependencies"]["test"]}
    assert needed <= set(re.findall(r"[\w\[\]-]+", entry["test_dependencies"][0]))


def test_what_is_cited_is_there():
    for module, (doi, description) in CITATIONS.items():
        importlib.import_module(module)
        assert re.fullmatch(r"10\.\d{4}/\S+", doi) and description


def test_duecredit_reports_what_was_used(tmp_path):
    """In a process of its own: citations of modules that were imported, and of no others."""
    pytest.importorskip("duecredit")
    (tmp_path / "script.py").write_text("import mda_aptnn.spectra.quantum\n")
    done = subprocess.run(
        [sys.executable, "-m", "duecredit", "script.py"],
        cwd=tmp_path,
        env={**os.environ, "DUECREDIT_ENABLE": "yes"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    used = [module for module, (_, description) in CITATIONS.items() if description in done.stdout]
    assert used == ["mda_aptnn", "mda_aptnn.spectra.quantum"]
