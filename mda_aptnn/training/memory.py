"""Memory that the process keeps instead of giving it back and asking for it again."""

from __future__ import annotations

import ctypes
import sys

# what to set, from glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell the C library to keep large blocks that were freed, for the rest of the process.

    By default glibc maps each large block anew, and Linux fills it with zeros page by page: half of
    a training step's time where tensors have tens of megabytes (`simple-network`, 384 atoms). The
    process keeps the most that it ever needed, which a training run needs again in its next step.
    See mallopt(3).

    Returns
    -------
    bool
        Whether there was something to tell: another C library than glibc is left as it is.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return (
        mallopt is not None and bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, -1))
    )
