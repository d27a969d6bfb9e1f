"""Memory that is kept between the steps of a training."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

#: Page faults of 32 MB that are filled, freed, and filled again, before and after; fresh pages are
#: 8,192 of 4 kB.
SCRIPT = """
import resource
import numpy as np
from mda_aptnn.training.loop import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(32 << 20, 1, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
as_it_is = faults()
assert keep_freed_memory()
faults()
print(as_it_is, faults())
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc gives large blocks back at once"
)
def test_freed_blocks_are_used_again():
    printed = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    ).stdout
    as_it_is, kept = map(int, printed.split())
    # pages may be huge ones, of 2 MB, but not fewer than 16
    assert as_it_is >= 16
    assert kept <= 2
