"""Tests, laid out as the package is; beside them what several of them use."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"
SHARED = Path(os.environ.get("MDA_APTNN_SHARED", ROOT.parent / "shared"))
