"""How numba compiles what must be fast, and where it keeps the result."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import types
from numba.core import event
from numba.extending import intrinsic

logger = logging.getLogger(__name__)

#: Roundings may differ from the order that is written, but a NaN stays one.
_FAST = {"contract", "reassoc", "nsz", "arcp"}

#: Modules with compiled functions, for all of which they are kept together.
_SOURCES = ("compiled.py", "pair_search.py", "model/kernels/*.py")


def _cache_folder() -> str:
    """Where compiled kernels are kept: by the sources of all of them, as numba looks at that of
    each alone.

    Not beside the sources, which is numba's habit: pip would leave them there when it removes the
    package, and an empty package of the same name with them. Empty if there is no home.
    """
    root = Path(__file__).parent
    sources = b"".join(
        path.read_bytes() for pattern in _SOURCES for path in sorted(root.glob(pattern))
    )
    name = f"kernels-{hashlib.sha256(sources).hexdigest()[:12]}"
    try:
        return str(
            Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mda-aptnn" / name
        )
    except RuntimeError:
        return ""


_CACHE_FOLDER = _cache_folder()


#: Without the GIL. Division by zero gives infinity as in numpy: the check for it that Python makes
#: would keep every loop with a division from running in vectors.
_SETTINGS = {"nogil": True, "error_model": "numpy"}


class _WhatIsCompiled(event.Listener):
    """Says once that kernels are being compiled; where they were kept, nothing is said."""

    said = False

    def on_start(self, event: Any) -> None:
        """Of the compilation of any function in the process."""
        module = str(event.data["dispatcher"].py_func.__module__)
        if not self.said and module.startswith("mda_aptnn."):
            self.said = True
            logger.info("compiling for this processor, once: some twenty seconds")

    def on_end(self, event: Any) -> None:
        """Nothing is to be said."""


_what_is_compiled = _WhatIsCompiled()
event.register("numba:compile", _what_is_compiled)


#: Whether it was said that compiled kernels cannot be kept.
_said = False


def _kept(function: Callable[..., Any], **settings: Any) -> Any:
    global _said
    before = numba.config.CACHE_DIR
    # read by numba at once, and set for these functions alone; NUMBA_CACHE_DIR goes first
    numba.config.CACHE_DIR = before or _CACHE_FOLDER
    try:
        return numba.njit(cache=True, **settings)(function)
    except RuntimeError as error:
        if not _said:
            warnings.warn(
                "compiled kernels cannot be kept, and are compiled again in each process "
                f"({error}); set NUMBA_CACHE_DIR to a folder that can be written",
                stacklevel=3,
            )
        _said = True
        return numba.njit(**settings)(function)
    finally:
        numba.config.CACHE_DIR = before


def kept(function: Callable[..., Any]) -> Any:
    """Compile on first use; kept on disk where there is a place for it."""
    return _kept(function, fastmath=_FAST, **_SETTINGS)


def kept_exactly(function: Callable[..., Any]) -> Any:
    """As `kept`, with every rounding as it is written."""
    return _kept(function, **_SETTINGS)


#: For what only other kernels call, into which it is linked: without what Python would need to call
#: it.
compiled = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, fastmath=_FAST, **_SETTINGS)
exactly = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_SETTINGS)


def processor_features() -> set[str]:
    """Return what the processor that numba compiles for can do, in LLVM's words."""
    if numba.config.CPU_FEATURES is not None:
        return {name[1:] for name in numba.config.CPU_FEATURES.split(",") if name.startswith("+")}
    if numba.config.CPU_NAME is not None:
        return set()
    return {name for name, there in llvm.get_host_cpu_features().items() if there}


@intrinsic
def stand_apart(context):  # type: ignore[no-untyped-def]
    """Keep LLVM from inlining the calling function, and from compiling it again with each of its
    callers.
    """

    def codegen(context, builder, signature, args) -> Any:  # type: ignore[no-untyped-def]
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen
