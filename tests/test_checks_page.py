"""Every test that docs/checks.md names is there."""

import re

from tests import ROOT

NAMED = re.compile(r"(test_\w+\.py)((?:::\w+)*)")


def test_tests_that_the_page_names_are_there():
    found = NAMED.findall((ROOT / "docs" / "checks.md").read_text())
    assert len(found) > 100
    tests = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}
    for file, names in found:
        assert file in tests, file
        path = tests[file]
        for name in names.split("::")[1:]:
            assert re.search(rf"(?:def|class) {name}\w*\b", path.read_text()), f"{file}::{name}"
