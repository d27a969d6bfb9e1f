"""Where torch computes: on the CPU or a GPU, and whether memory ran out there."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from mda_aptnn.errors import ModelError

#: What a setting `device` may be.
DEVICES = ("cpu", "cuda", "auto")

#: What torch says of memory in a RuntimeError: on Linux, on Windows, and by libraries of CUDA.
_FULL = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


def torch_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is a GPU where torch sees one, and else the CPU.

    Raises
    ------
    ModelError
        If there is no such name, or no GPU, or this process was forked from one that used it.
    """
    if name not in DEVICES:
        raise ModelError(f"there is no device {name!r}: choose one of {', '.join(DEVICES)}")
    forked = getattr(torch.cuda, "_is_in_bad_fork", bool)()
    if name == "cuda" and forked:
        raise ModelError(
            "device 'cuda': a forked worker cannot use the GPU of the process before it; run in "
            "one process (n_workers=1)"
        )
    sees_gpu = torch.cuda.is_available() and not forked
    if name == "cuda" and not sees_gpu:
        raise ModelError(
            "device 'cuda': torch sees no GPU here; choose 'cpu', or 'auto' for a GPU where there "
            "is one"
        )
    return torch.device("cuda" if sees_gpu and name != "cpu" else "cpu")


def moved(inputs: Any, device: torch.device) -> Any:
    """Return what a network takes of a frame with its tensors on a device.

    Tuples, lists, dictionaries and dataclasses are gone through; what has a method ``to(device)``
    is moved by it, and anything else stays as it is. On the CPU nothing is to be done: inputs are
    made there.
    """
    if device.type == "cpu":
        return inputs
    if hasattr(inputs, "to"):
        return inputs.to(device)
    if isinstance(inputs, dict):
        return {name: moved(part, device) for name, part in inputs.items()}
    if isinstance(inputs, list | tuple):
        parts = [moved(part, device) for part in inputs]
        return type(inputs)(*parts) if hasattr(inputs, "_fields") else type(inputs)(parts)
    if dataclasses.is_dataclass(inputs):
        fields = {
            x.name: moved(getattr(inputs, x.name), device) for x in dataclasses.fields(inputs)
        }
        return dataclasses.replace(inputs, **fields)  # type: ignore[type-var]
    return inputs


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: numpy's, torch's on the CPU, or on a GPU."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _FULL)
