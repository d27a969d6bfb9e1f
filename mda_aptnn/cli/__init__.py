"""The command line, ``mda-aptnn``: each command is a function."""

from mda_aptnn.cli.main import app, main

__all__ = ["app", "main"]
