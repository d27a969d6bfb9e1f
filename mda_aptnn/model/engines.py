"""What evaluates the function of a model file: the network itself in torch, or compiled kernels."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.file import ModelFile

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Engine(Protocol):
    """What evaluates the network's function.

    Attributes
    ----------
    most_atoms : int
        Frames of more atoms are to be predicted in slices, for want of memory.

    seconds : dict of str to float
        Wall time spent so far on "neighbours" and on the "network".
    """

    most_atoms: int
    seconds: dict[str, float]

    def components(self, frames: Sequence[Frame]) -> list[NDArray[np.float64]]:
        """Return the irreducible components of each frame, [n_members, n_atoms, n_components], in
        the target's unit.

        Members are those of a committee; a single model has one.
        """
        ...


class TorchEngine:
    """The networks themselves, as they were trained, on the CPU; a body that they share is
    evaluated once.

    Parameters
    ----------
    contents : ModelFile
    dtype : {"float32", "float64"}
        Of weights and features; geometry is float64 always.
    n_threads : int
        Threads of torch while predicting.
    """

    def __init__(self, contents: ModelFile, dtype: str, n_threads: int) -> None:
        self.networks = [
            contents.build(member, DTYPES[dtype]) for member in range(len(contents.members))
        ]
        self.shares_body = contents.shares_body
        self.most_atoms = self.networks[0].most_atoms
        self.n_threads = n_threads
        self.seconds = {"neighbours": 0.0, "network": 0.0}

    def components(self, frames: Sequence[Frame]) -> list[NDArray[np.float64]]:
        """Return the irreducible components of each frame, [n_members, n_atoms, n_components]."""
        first = self.networks[0]
        start = time.perf_counter()
        # a dipole network differentiates, which inference mode forbids
        with torch.no_grad(), _threads(self.n_threads):
            inputs = [first.inputs(frame) for frame in frames]
            together = inputs[0] if len(inputs) == 1 else type(inputs[0]).together(inputs)
            middle = time.perf_counter()
            if self.shares_body:
                features = first.body(together)
                outputs = [network.read(features, together) for network in self.networks]
            else:
                outputs = [network(together) for network in self.networks]
            values = torch.stack(outputs).numpy().astype(np.float64)
        self.seconds["neighbours"] += middle - start
        self.seconds["network"] += time.perf_counter() - middle
        return np.split(values, np.cumsum([len(frame) for frame in frames])[:-1], axis=1)


def _cpu_engine(contents: ModelFile, dtype: str, n_threads: int) -> Engine:
    # importing numba takes a second, which whoever only trains does not need
    from mda_aptnn.model.kernels.engine import CpuEngine

    if contents.architecture != "density":
        raise ModelError(
            f"engine 'cpu' has no kernels for architecture {contents.architecture!r}: use 'torch'"
        )
    return CpuEngine(contents, dtype, n_threads)


#: What `load_model(engine=...)` may name.
ENGINES: dict[str, Callable[[ModelFile, str, int], Engine]] = {
    "torch": TorchEngine,
    "cpu": _cpu_engine,
}


def fastest_engine(contents: ModelFile) -> str:
    """Return the name of the fastest engine that can evaluate a model here."""
    if contents.architecture != "density" or importlib.util.find_spec("numba") is None:
        return "torch"
    # NUMBA_DISABLE_JIT leaves nothing compiled
    return "torch" if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0" else "cpu"


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Torch's number of threads belongs to the process, so it is given back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
