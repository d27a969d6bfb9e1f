"""Damage files in many ways and read each in a process whose memory and time are limited.

    python -m tests.hostile FOLDER SEED COUNT

FOLDER holds one file of each kind (`READERS`). A line of JSON for each damage that was neither
refused by an error of this package nor read as what had been in the file; a line that begins with
"#" for each kind, with the numbers of refused and of right ones.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import MDAnalysis
import numpy as np

from mda_aptnn.data import WATER64_TOPOLOGY
from mda_aptnn.errors import AptnnError
from mda_aptnn.flux.atom_flux import load_groups
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.labels.campaign import Task
from mda_aptnn.labels.collect import read_task
from mda_aptnn.labels.dataset import Dataset, read_xyz
from mda_aptnn.model.file import ModelFile
from mda_aptnn.spectra.infrared import Spectrum

#: Bytes that reading a file may take beside what the process has before.
MEMORY = 1 << 30
#: Seconds for one file.
SECONDS = 20
#: By how much labels may be off without being noticed, in e: the last digits of the sums that CP2K
#: prints beside forces and polar tensors; and a small component of a dipole, of which the length is
#: printed to seven digits.
PRINTED = {"field/px.out": 1e-8, "analytic/zero.out": 2e-5, "polarizability/px_1.out": 2e-2}


_water = functools.cache(lambda: MDAnalysis.Universe(WATER64_TOPOLOGY))


def _atoms(path: Path) -> Any:
    return load_groups(path, _water(), per="element")


def _frames(path: Path) -> Any:
    return list(read_xyz(path))


def _task(path: Path) -> Any:
    return read_task(Task.load(path.parent))[0].tensors


#: Name of a file in the folder: how it is read.
READERS: dict[str, Callable[[Path], Any]] = {
    "model.h5": ModelFile.load,
    "flux.h5": FluxSeries.load,
    "atoms.h5": _atoms,
    "spectrum.h5": Spectrum.load,
    "labels.h5": Dataset.load,
    "labels.xyz": _frames,
    "field/px.out": _task,
    "analytic/zero.out": _task,
    "polarizability/px_1.out": _task,
}


def content(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Give every number, array and text of what was read, by a name."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        value = value.items()
    elif isinstance(value, list | tuple):
        value = enumerate(value)
    else:
        yield name, getattr(value, "magnitude", value)
        return
    for key, item in value:
        yield from content(item, f"{name}/{key}")


def same(found: dict[str, Any], expected: dict[str, Any], tolerance: float = 0.0) -> bool:
    """Whether both have the same arrays and texts."""
    return found.keys() == expected.keys() and all(
        _alike(found[key], expected[key], tolerance) for key in expected
    )


def _alike(found: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, np.ndarray | float) and isinstance(found, np.ndarray | float):
        return np.shape(found) == np.shape(expected) and np.allclose(
            found, expected, rtol=0, atol=tolerance, equal_nan=True
        )
    return type(found) is type(expected) and found == expected


def damages(rng: np.random.Generator, whole: bytes, count: int) -> Iterator[tuple[str, bytes]]:
    """Give damaged copies of a file: cut, bits flipped, stretches overwritten, repeated or left
    out.
    """
    size = len(whole)
    for at in [0, 1, 8, 100, size // 2, size - 1, *rng.integers(0, size, count // 4).tolist()]:
        yield f"cut at {at}", whole[:at]
    for k in range(count // 2):
        # half of them where headers are
        at = int(rng.integers(0, 8 * (min(size, 4096) if k % 2 else size)))
        yield f"bit {at}", _with(whole, at // 8, bytes([whole[at // 8] ^ (1 << at % 8)]))
    for _ in range(count // 4):
        at, length = int(rng.integers(0, size)), int(rng.integers(1, 400))
        kind = rng.choice(["zeros", "ones", "noise", "twice", "left out"])
        if kind == "twice":
            yield f"twice {at}+{length}", whole[: at + length] + whole[at:]
        elif kind == "left out":
            yield f"left out {at}+{length}", whole[:at] + whole[at + length :]
        else:
            patch = {"zeros": bytes(length), "ones": b"\xff" * length, "noise": rng.bytes(length)}[
                str(kind)
            ]
            yield f"{kind} {at}+{length}", _with(whole, at, patch)[:size]


def _with(whole: bytes, at: int, patch: bytes) -> bytes:
    return whole[:at] + patch + whole[at + len(patch) :]


def mutants(path: Path) -> Iterator[str]:
    """Write, in the place of `path`, HDF5 files with data sets and attributes that are not what
    they should be.
    """
    whole = path.read_bytes()
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        # curves of a training run may be of any length
        names = [name for name in names if "/learning/" not in name]
        attributes = [key for key in file.attrs if key not in ("creator", "command", "created")]
    for name in names:
        for what, change in CHANGES.items():
            path.write_bytes(whole)
            with h5py.File(path, "a") as file:
                values, kept = file[name][()], dict(file[name].attrs)
                if what == "unit":
                    if "units" not in kept:
                        continue
                    file[name].attrs["units"] = "angstrom^7"
                else:
                    del file[name]
                    if change is None or not change(file, name, values):
                        continue
                    if name in file:
                        file[name].attrs.update(kept)
            yield f"{name}: {what}"
    for key in attributes:
        for value in (None, 7.5, b"\xff\xfe", [1.0, 2.0], "[", "{}", "[]", "null"):
            path.write_bytes(whole)
            with h5py.File(path, "a") as file:
                del file.attrs[key]
                if value is not None:
                    file.attrs[key] = value
            yield f"attribute {key}: {value!r}"
    path.write_bytes(whole)


def _number(
    change: Callable[[np.ndarray], np.ndarray], kinds: str = "fiu"
) -> Callable[[h5py.File, str, Any], bool]:
    """A change of arrays of numbers; what is no such array stays away."""

    def apply(file: h5py.File, name: str, values: Any) -> bool:
        if not isinstance(values, np.ndarray) or values.dtype.kind not in kinds or not values.size:
            return False
        file[name] = change(values)
        return True

    return apply


def _not_finite(file: h5py.File, name: str, values: Any) -> bool:
    """Numbers that are never unknown: elsewhere NaN means that something is not known."""
    if "weights" not in name and name.split("/")[-1] not in (
        "flux",
        "positions",
        "atom_flux",
        "cross_sections",
    ):
        return False
    file[name] = np.full_like(values, np.nan)
    return True


def _absurd(file: h5py.File, name: str, values: Any) -> bool:
    shape = (1 << 40, *np.shape(values)[1:])
    kind = getattr(values, "dtype", np.dtype("f8"))
    file.create_dataset(
        name, shape, h5py.string_dtype() if kind.hasobject else kind, chunks=(1, *shape[1:])
    )
    return True


def _as_group(file: h5py.File, name: str, values: Any) -> bool:
    file.create_group(name)
    return True


def _empty(file: h5py.File, name: str, values: Any) -> bool:
    file[name] = h5py.Empty("f8")
    return True


Change = Callable[[h5py.File, str, Any], bool]
#: What is done to a data set: a function that writes another one, and returns whether it did.
CHANGES: dict[str, Change | None] = {
    "missing": lambda file, name, values: True,
    "unit": None,
    "a group": _as_group,
    "empty": _empty,
    "absurd size": _absurd,
    "texts": _number(lambda values: values.astype("S")),
    "complex": _number(lambda values: values + 1j),
    "truth values": _number(lambda values: values > 0),
    "halves": _number(lambda values: values + 0.5, "iu"),
    "negative": _number(lambda values: -1 - values.astype(np.int64), "iu"),
    "not finite": _not_finite,
    "one dimension more": _number(lambda values: values[None]),
    "one row less": _number(lambda values: values[:-1]),
    "twice": _number(lambda values: np.concatenate([values, values])),
}


def what_the_text_says(text: str) -> dict[str, Any]:
    """Read extended XYZ by other means: each number where it stands."""
    number = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?|nan")
    lines, found = text.split("\n"), {}
    for k in range(len(lines)):
        match = re.fullmatch(r"\s*([+-]?[\d_]+)\s*", lines[k])
        if match and k + 1 < len(lines) and "Properties" in lines[k + 1]:
            rows = [line.split() for line in lines[k + 2 : k + 2 + int(match[1])]]
            if not all(number.fullmatch(word) for row in rows for word in row[1:13]):
                return {"neither": np.zeros(0)}
            table = np.array([row[1:13] for row in rows], dtype=float)
            frame = len(found) // 2
            found[f"/{frame}/frame/positions"] = table[:, :3]
            found[f"/{frame}/tensors/apt"] = table[:, 3:].reshape(-1, 3, 3)
    return found


def _verdict(
    read: Callable[[Path], Any], path: Path, expected: dict[str, Any], mutant: bool
) -> str:
    """ "refused", "right", or what is wrong."""
    signal.alarm(SECONDS)
    try:
        found = dict(content(read(path)))
    except AptnnError as error:
        return (
            "refused" if "\n" not in str(error).strip() else f"an error of several lines: {error}"
        )
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    if path.suffix == ".xyz":
        told = what_the_text_says(path.read_text())
        found = {
            key: value
            for key, value in found.items()
            if isinstance(value, np.ndarray) and key in told
        }
        return "right" if same(found, told) else "other numbers than the text"
    if mutant:
        # texts and what is optional may be others; numbers may not
        keys = {
            key for key in found.keys() & expected.keys() if isinstance(expected[key], np.ndarray)
        }
        found, expected = ({key: part[key] for key in keys} for part in (found, expected))
    tolerance = PRINTED.get(f"{path.parent.name}/{path.name}", 0.0)
    return "right" if same(found, expected, tolerance) else "wrong content"


def _judge_all(name: str, path: Path, seed: tuple[int, int], count: int) -> None:
    """Damage and read one file, and print what is wrong and how often nothing was."""
    read, whole = READERS[name], path.read_bytes()
    expected = dict(content(read(path)))
    counts = {"refused": 0, "right": 0}

    def damaged() -> Iterator[tuple[str, bool]]:
        for what, bits in damages(np.random.default_rng(seed), whole, count):
            path.write_bytes(bits)
            yield what, False
        path.write_bytes(whole)
        if path.suffix == ".h5":
            yield from ((what, True) for what in mutants(path))

    for what, mutant in damaged():
        # before it is read, so that the last line names what killed the process
        print(f"# {name}: {what}", file=sys.stderr, flush=True)
        said = _verdict(read, path, expected, mutant)
        if said in counts:
            counts[said] += 1
        else:
            print(json.dumps([name, what, said]))
    print(
        f"# {name}: {counts['refused']} refused, {counts['right']} right, "
        f"{time.process_time():.1f} s",
        flush=True,
    )


def main(folder: Path, seed: int, count: int) -> None:
    """Damage and read every file of the folder that is of a kind known here."""
    warnings.simplefilter("ignore")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for number, name in enumerate(READERS):
        _judge_all(name, folder / name, (seed, number), count)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
