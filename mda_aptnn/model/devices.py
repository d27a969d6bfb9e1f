"""Where torch computes: on the CPU or a GPU, and whether memory ran out there."""

from __future__ import annotations

from typing import Any

import torch

from mda_aptnn.errors import ModelError

#: What a setting `device` may be.
DEVICES = ("cpu", "cuda", "auto")


def torch_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is a GPU where torch sees one, and else the CPU.

    Raises
    ------
    ModelError
        If there is no such name, or no GPU.
    """
    if name not in DEVICES:
        raise ModelError(f"there is no device {name!r}: choose one of {', '.join(DEVICES)}")
    sees_gpu = torch.cuda.is_available()
    if name == "cuda" and not sees_gpu:
        raise ModelError(
            "device 'cuda': torch sees no GPU here; choose 'cpu', or 'auto' for a GPU where there "
            "is one"
        )
    return torch.device("cuda" if sees_gpu and name != "cpu" else "cpu")


def moved(inputs: Any, device: torch.device) -> Any:
    """Return what a network takes of a frame, a tuple of tensors or of tuples, on a device."""
    if isinstance(inputs, torch.Tensor):
        return inputs.to(device)
    parts = [moved(part, device) for part in inputs]
    return type(inputs)(*parts) if hasattr(inputs, "_fields") else tuple(parts)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: numpy's, torch's on the CPU, or on a GPU."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
