"""What holds for all tests: those that run other programs are slow."""

from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"


def pytest_collection_modifyitems(items):
    for item in items:
        if PROGRAMS in item.path.parents:
            item.add_marker(pytest.mark.slow)
