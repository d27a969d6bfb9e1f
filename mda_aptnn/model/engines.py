"""What evaluates the networks of a model file: each network itself in torch, or compiled kernels.

See `mda_aptnn.model.protocol.Engine`. Frames that are too large for an engine's memory are
predicted in slices.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mda_aptnn.errors import FrameError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.architectures import ARCHITECTURES
from mda_aptnn.model.devices import is_out_of_memory, moved, torch_device
from mda_aptnn.model.file import ModelFile
from mda_aptnn.model.inputs import frames_apart, joined_inputs
from mda_aptnn.model.protocol import Engine
from mda_aptnn.plugins import Plugins

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float64": torch.float64}

#: What `load_model(engine=...)` may name.
ENGINES: Plugins[Callable[[ModelFile, str, int], Engine]] = Plugins(
    "mda_aptnn.engines",
    {
        "torch": "mda_aptnn.model.engines:TorchEngine",
        "cuda": "mda_aptnn.model.engines:CudaEngine",
        # importing numba takes a second, which whoever only trains does not need
        "cpu": "mda_aptnn.model.kernels.engine:CpuEngine",
    },
    "engine",
    ModelError,
)


def fastest_engine(contents: ModelFile) -> str:
    """Return the name of the fastest engine that can evaluate a model here."""
    # NUMBA_DISABLE_JIT leaves nothing compiled
    disabled = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
    compiles = importlib.util.find_spec("numba") is not None and not disabled
    names = ARCHITECTURES[contents.architecture].engines
    return next((name for name in names if name != "cpu" or compiles), "torch")


class TorchEngine:
    """The networks themselves, as they were trained; a body that they share is evaluated once.

    Parameters
    ----------
    contents : ModelFile
    dtype : {"float32", "float64"}
        Of weights and features; geometry is float64 always.
    n_threads : int
        Threads of torch while predicting.
    device : {"cpu", "cuda", "auto"}
        Where weights and features are, and where neighbours are found.
    """

    def __init__(
        self, contents: ModelFile, dtype: str, n_threads: int, device: str = "cpu"
    ) -> None:
        self.device = torch_device(device)
        self.networks = [network.to(self.device) for network in contents.networks(DTYPES[dtype])]
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
            together = joined_inputs([first.inputs(frame) for frame in frames])
            together = moved(together, self.device)  # a network elsewhere may make them here
            if self.device.type == "cuda":
                torch.cuda.synchronize()  # so that the times tell what they say
            middle = time.perf_counter()
            if self.shares_body:
                features = first.body(together)
                outputs = [network.read(features, together) for network in self.networks]
            else:
                outputs = [network(together) for network in self.networks]
            values = torch.stack(outputs).cpu().numpy().astype(np.float64)
        self.seconds["neighbours"] += middle - start
        self.seconds["network"] += time.perf_counter() - middle
        return frames_apart(values, frames)


class CudaEngine(TorchEngine):
    """`TorchEngine` on a GPU, which takes many atoms at a time.

    Raises
    ------
    ModelError
        If torch sees no GPU.
    """

    batch_atoms = 16_384

    def __init__(self, contents: ModelFile, dtype: str, n_threads: int) -> None:
        super().__init__(contents, dtype, n_threads, "cuda")


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Torch's number of threads belongs to the process, so it is given back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def components(engine: Engine, frames: Sequence[Frame], reach: float) -> list[NDArray[np.float64]]:
    """Return what ``engine.components`` does, of frames of any size.

    Where memory runs out, each frame goes alone, and then in smaller and smaller parts.

    Parameters
    ----------
    engine : Engine
    frames : sequence of Frame
    reach : float
        Distance in Å from which atoms have an influence on each other, through all layers.

    Raises
    ------
    FrameError
        If there is no memory even for the smallest part.
    """
    most_atoms = engine.most_atoms
    while True:
        try:
            found = _components(engine, frames, reach, most_atoms)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            # without what its traceback holds in memory
            full = error.with_traceback(None)
        else:
            if most_atoms < engine.most_atoms:
                engine.most_atoms = most_atoms
                largest = _largest_part(frames[0], reach, most_atoms)
                logger.info("memory ran out: up to %d atoms at a time from here on", largest)
            return found
        if len(frames) > 1:
            return [components(engine, [frame], reach)[0] for frame in frames]
        failed = _largest_part(frames[0], reach, most_atoms)
        most_atoms = failed // 2
        sliced = engine.most_atoms < sys.maxsize
        # parts cannot be smaller than what a thin box sees
        if not sliced or _largest_part(frames[0], reach, most_atoms) > 0.8 * failed:
            raise FrameError(
                f"there is no memory for {failed} atoms at a time: close other programs, or take a "
                "smaller network (mda-aptnn distil makes one)"
            ) from full


def _largest_part(frame: Frame, reach: float, most_atoms: int) -> int:
    """The most atoms that are predicted at a time."""
    if len(frame) <= most_atoms:
        return len(frame)
    return max(len(seen) for _, seen in slices(frame, reach, most_atoms))


def _components(
    engine: Engine, frames: Sequence[Frame], reach: float, most_atoms: int
) -> list[NDArray[np.float64]]:
    if all(len(frame) <= most_atoms for frame in frames):
        return engine.components(frames)
    results = []
    for frame in frames:
        parts = []
        for rows, seen in slices(frame, reach, most_atoms):
            # images stay what they are, so that even the last digits do
            part = Frame(
                frame.numbers[seen], frame.positions[seen], frame.cell, frame.pbc, frame.charge
            )
            parts.append((rows, engine.components([part])[0][:, np.searchsorted(seen, rows)]))
        outputs = np.empty((len(parts[0][1]), len(frame), parts[0][1].shape[2]))
        for rows, values in parts:
            outputs[:, rows] = values
        results.append(outputs)
    return results


def slices(
    frame: Frame, reach: float, most_atoms: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Cut a frame into boxes that see few atoms.

    Boxes are cut in two, across their longest edge, while they see too many atoms and that edge is
    longer than the reach: thinner ones would consist of little but what they see.

    Parameters
    ----------
    frame : Frame
    reach : float
        In Å.
    most_atoms : int
        That a box may see.

    Yields
    ------
    rows, seen : ndarray of int
        The atoms in a box, and all those within reach of it, in ascending order. Every atom is in
        one box.
    """
    box, heights = frame.box, frame.box.heights
    fractions = box.wrapped(box.fractions(frame.positions))
    # rounding, and an open end, must not leave an atom out
    margin = (1e-6 + reach) / heights
    boxes = [
        (np.minimum(fractions.min(axis=0), 0.0), np.maximum(fractions.max(axis=0), 1.0) + 1e-9)
    ]
    while boxes:
        low, high = boxes.pop()
        rows = np.flatnonzero(((fractions >= low) & (fractions < high)).all(axis=1))
        if not len(rows):
            continue
        beyond = box.wrapped(fractions - (low - margin))
        seen = np.flatnonzero(((beyond >= 0) & (beyond <= high - low + 2 * margin)).all(axis=1))
        extents = np.ptp(fractions[rows], axis=0)
        axis = int(np.argmax(extents * heights))
        if len(seen) <= most_atoms or extents[axis] * heights[axis] <= reach:
            yield rows, seen
            continue
        middle = fractions[rows, axis].min() + extents[axis] / 2
        for start, stop in ((low[axis], middle), (middle, high[axis])):
            part = low.copy(), high.copy()
            part[0][axis], part[1][axis] = start, stop
            boxes.append(part)
