"""What holds for all tests: those that run other programs are slow, signals are not ignored."""

import signal
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"


def pytest_collection_modifyitems(items):
    for item in items:
        if PROGRAMS in item.path.parents:
            item.add_marker(pytest.mark.slow)


def pytest_configure():
    # a run in the background, or under nohup, ignores them, and so would its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
