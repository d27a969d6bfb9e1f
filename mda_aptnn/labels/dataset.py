"""Labelled frames: configurations with their atomic tensors, in HDF5; import and export of extended
XYZ.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io
from mda_aptnn.elements import atomic_numbers, symbols_of
from mda_aptnn.errors import FileFormatError, FrameError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.label_writer import write_frames
from mda_aptnn.tensors import APT, TARGETS

#: Columns of labels in extended XYZ.
_APT_COLUMN, _PGT_COLUMN = ("apt", "R", 9), ("pgt", "R", 27)


@dataclasses.dataclass(frozen=True)
class LabelledFrame:
    """A frame and what was computed for it.

    Attributes
    ----------
    frame : Frame
    tensors : dict of str to ndarray
        Key ``"apt"``: ``P[i, a, b] = ∂M_a/∂r_ib`` [n_atoms, 3, 3] in e; key ``"pgt"``: ``G[i, a, b,
        c] = ∂α_ab/∂r_ic`` [n_atoms, 3, 3, 3] in Å²; or one of them. NaN for an atom without a
        label.
    info : dict
        What is known of it: source, time, energy, sum-rule residual.
    """

    frame: Frame
    tensors: dict[str, NDArray[np.float64]]
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in self.tensors.items():
            shape = (len(self.frame), *TARGETS[name].shape)
            if np.shape(values) != shape:
                raise LabelError(f"labels {name!r} have shape {np.shape(values)}, expected {shape}")
            if np.isinf(values).any():
                raise LabelError(f"labels {name!r} are infinite")

    @property
    def apt(self) -> NDArray[np.float64]:
        """Polar tensors [n_atoms, 3, 3] in e."""
        return self.tensors[APT.name]


@dataclasses.dataclass(frozen=True)
class Dataset(io.Stored):
    """Labelled frames with their level of theory.

    Attributes
    ----------
    frames : list of LabelledFrame
    level_of_theory : str
        Functional, basis, program; what makes labels comparable.
    sources : dict of str to str
        File names and their SHA-256.
    """

    kind: ClassVar[str] = "labels"

    frames: list[LabelledFrame]
    level_of_theory: str = ""
    sources: dict[str, str] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[LabelledFrame]:
        return iter(self.frames)

    def __getitem__(self, index: int) -> LabelledFrame:
        return self.frames[index]

    def subset(self, indices: Sequence[int]) -> Dataset:
        """Return the frames of these indices, with the same provenance.

        Parameters
        ----------
        indices : sequence of int
            Counted from 0.

        Returns
        -------
        Dataset
        """
        return dataclasses.replace(self, frames=[self.frames[index] for index in indices])

    @property
    def symbols(self) -> list[str]:
        """The elements that occur, by atomic number."""
        return symbols_of(sorted({int(z) for item in self.frames for z in item.frame.numbers}))

    def _write(self, file: h5py.File) -> None:
        """Atoms of all frames one after the other, `offsets` where each frame begins."""
        names = sorted({name for item in self.frames for name in item.tensors})
        write_frames(file, self.frames, names, self.level_of_theory, self.sources)

    @classmethod
    def _read(cls, file: h5py.File) -> Dataset:
        offsets = io.read_array(file, "offsets", shape=(None,), kinds="iu").astype(np.int64)
        n_frames, n_atoms = len(offsets) - 1, int(offsets[-1]) if len(offsets) else 0
        if n_frames < 0 or offsets[0] != 0 or (np.diff(offsets) < 1).any():
            raise FileFormatError(f"{file.filename}: offsets do not increase from 0")
        numbers = io.read_array(file, "numbers", shape=(n_atoms,), kinds="iu")
        positions = io.read_array(file, "positions", "angstrom", (n_atoms, 3))
        cell = io.read_array(file, "cell", "angstrom", (n_frames, 3, 3))
        pbc = io.read_array(file, "pbc", shape=(n_frames, 3), kinds="b")
        charge = io.read_array(file, "charge", "e", (n_frames,))
        tensors = {
            name: io.read_array(file, name, target.unit, (n_atoms, *target.shape))
            for name, target in TARGETS.items()
            if name in file
        }
        info = [
            json.loads(text) for text in io.read_array(file, "info", shape=(n_frames,), kinds="O")
        ]
        items = []
        for k in range(n_frames):
            part = slice(int(offsets[k]), int(offsets[k + 1]))
            frame = Frame(numbers[part], positions[part], cell[k], pbc[k], float(charge[k]))
            items.append(
                LabelledFrame(frame, {name: v[part] for name, v in tensors.items()}, info[k])
            )
        sources = io.read_json(file, "sources", dict)
        return cls(items, str(file.attrs["level_of_theory"]), sources)


def read_labels(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    cell: NDArray[np.float64] | None = None,
) -> Dataset:
    """Read labelled frames from HDF5 or extended XYZ files, by content, into one data set.

    Parameters
    ----------
    paths : path or sequence of paths
        HDF5 as written by this package; extended XYZ with ``apt:R:9``; or the published dialect,
        whose comment is ``fmt='p:a'`` (nine numbers behind each position, transposed: see
        `read_xyz`).
    cell : ndarray, shape [3, 3], optional
        Rows are cell vectors in Å, for frames whose file has no cell; they become periodic. All
        zero: such frames are isolated molecules. Needed where a file neither has a ``Lattice`` nor
        says ``pbc="F F F"``.

    Returns
    -------
    Dataset
        The frames of all files, in their order.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    FileFormatError
        If a file is neither, is cut, or holds no labels.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    frames: list[LabelledFrame] = []
    levels: list[str] = []
    sources: dict[str, str] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        with open(path, "rb") as file:
            is_hdf5 = file.read(4) == b"\x89HDF"
        part = Dataset.load(path) if is_hdf5 else read_xyz(path, cell)
        frames += part.frames
        levels += [part.level_of_theory] if part.level_of_theory else []
        sources[path.name] = io.file_hash(path)
    if not frames:
        raise LabelError("no labelled frames in " + ", ".join(str(path) for path in paths))
    return Dataset(frames, "; ".join(dict.fromkeys(levels)), sources)


def read_xyz(path: str | os.PathLike[str], cell: NDArray[np.float64] | None = None) -> Dataset:
    """Read extended XYZ with ``apt:R:9`` (row-major ``P[a, b]``, e), or the published dialect.

    ``pgt:R:27`` (row-major ``G[a, b, c] = ∂α_ab/∂r_c``, Å²) may stand beside it, or in its place.
    The dialect of the program AtomicPolarTensor (P. Schienbein) has the comment ``fmt='p:a'`` and
    nine numbers behind each position: number 3a+b is ∂M_b/∂r_a, the transpose of the convention
    here, so it is turned back. ``level_of_theory="..."`` in a comment is that of the labels; other
    keys are kept as the frame's info.

    Raises
    ------
    FileFormatError
        If a line is not what it should be; names the line.
    """
    path = Path(path)
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is neither HDF5 nor text") from error
    if text and not text.endswith("\n"):
        # the last number may have lost digits
        raise FileFormatError(
            f"{path} is cut off: its last line does not end; if it is whole, add a newline"
        )
    lines = text.split("\n")[:-1]
    frames, start = [], 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        try:
            n_atoms = int(lines[start])
        except ValueError:
            raise FileFormatError(
                f"{path}, line {start + 1}: expected a number of atoms, found {lines[start]!r}"
            ) from None
        end = start + 2 + n_atoms
        if n_atoms < 1 or end > len(lines):
            raise FileFormatError(f"{path}: the frame that begins in line {start + 1} is cut off")
        try:
            frames.append(_parse_frame(lines[start + 1], lines[start + 2 : end], cell))
        except (ValueError, KeyError, IndexError) as error:
            raise FileFormatError(f"{path}, frame in line {start + 1}: {error}") from error
        start = end
    levels = dict.fromkeys(str(item.info.pop("level_of_theory", "")) for item in frames)
    return Dataset(frames, "; ".join(filter(None, levels)), {path.name: io.file_hash(path)})


def _parse_frame(comment: str, rows: list[str], cell: NDArray[np.float64] | None) -> LabelledFrame:
    published = re.search(r"fmt\s*=\s*'p:a'", comment)
    if published:
        info: dict[str, Any] = {}
        columns = [("species", "S", 1), ("pos", "R", 3), _APT_COLUMN]
    else:
        info = _parse_comment(comment)
        spec = str(info.pop("Properties", "species:S:1:pos:R:3"))
        columns = [
            (name, kind, int(count))
            for name, kind, count in re.findall(r"(\w+):([SRIL]):(\d+)", spec)
        ]
        needed = [("species", "S", 1), ("pos", "R", 3)]
        # polarizability gradients may come alone
        for column in needed if _PGT_COLUMN in columns else [*needed, _APT_COLUMN]:
            if column not in columns:
                raise ValueError(f"no column {':'.join(map(str, column))} in Properties={spec}")
    width = sum(count for _, _, count in columns)
    table = [row.split() for row in rows]
    for number, row in enumerate(table):
        if len(row) != width:
            raise ValueError(f"atom {number} has {len(row)} columns, expected {width}")
    values, start = {}, 0
    for name, kind, count in columns:
        part = [row[start : start + count] for row in table]
        values[name] = np.array(part, dtype=float) if kind == "R" else part
        start += count
    tensors = {
        name: np.asarray(values[name], dtype=float).reshape(-1, *TARGETS[name].shape)
        for name, kind, count in (_APT_COLUMN, _PGT_COLUMN)
        if (name, kind, count) in columns
    }
    if published:
        tensors[APT.name] = tensors[APT.name].transpose(0, 2, 1)
    box, pbc = _parse_cell(info, cell)
    charge = float(info.pop("charge", 0.0))
    frame = Frame(
        atomic_numbers([row[0] for row in values["species"]]),
        np.asarray(values["pos"]),
        box,
        pbc,
        charge,
    )
    return LabelledFrame(frame, tensors, info)


def _parse_comment(comment: str) -> dict[str, Any]:
    """Key-value pairs of an extended XYZ comment; numbers become floats."""
    info: dict[str, Any] = {}
    for item in shlex.split(comment):
        key, _, text = item.partition("=")
        try:
            info[key] = float(text)
        except ValueError:
            info[key] = text
    return info


def _parse_cell(
    info: dict[str, Any], cell: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    if "Lattice" in info:
        box = np.array(str(info.pop("Lattice")).split(), dtype=float).reshape(3, 3)
        flags = str(info.pop("pbc", "T T T")).split()
        return box, np.array([flag.upper().startswith("T") for flag in flags])
    if cell is not None:
        info.pop("pbc", None)
        return np.asarray(cell, dtype=float), np.full(3, bool(np.any(cell)))
    if not all(flag.upper().startswith("F") for flag in str(info.pop("pbc", "unknown")).split()):
        # a liquid without its cell would pass for a cluster, and train
        raise FrameError(
            'no cell: give one (--cell "a b c alpha beta gamma"), or --cell none for isolated molecules'
        )
    return np.zeros((3, 3)), np.zeros(3, dtype=bool)


def write_xyz(dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """Write extended XYZ with ``apt:R:9`` (row-major ``P[a, b]``, e), which `read_xyz` and ASE
    read.

    Parameters
    ----------
    dataset : Dataset
    path : path
    """
    with io.replacing(path) as temporary, open(temporary, "w") as file:
        file.writelines(xyz_text(item, dataset.level_of_theory) for item in dataset)


def xyz_text(item: LabelledFrame, level_of_theory: str = "") -> str:
    """Return a frame as extended XYZ, with its end of line.

    Parameters
    ----------
    item : LabelledFrame
    level_of_theory : str

    Returns
    -------
    str
    """
    frame = item.frame
    labels = [column for column in (_APT_COLUMN, _PGT_COLUMN) if column[0] in item.tensors]
    columns = ":".join(f"{name}:{kind}:{count}" for name, kind, count in labels)
    fields = [f"Properties=species:S:1:pos:R:3:{columns}"]
    if frame.pbc.any():
        fields.insert(0, f'Lattice="{" ".join(f"{x:.10g}" for x in frame.cell.ravel())}"')
    fields.append(f'pbc="{" ".join("FT"[int(flag)] for flag in frame.pbc)}"')
    if frame.charge:
        fields.append(f"charge={frame.charge:.10g}")
    info = {"level_of_theory": level_of_theory} if level_of_theory else {}
    # a comment is one line
    fields += [
        f"{key}={shlex.quote(' '.join(str(value).split()))}"
        for key, value in {**info, **item.info}.items()
    ]
    lines = [f"{len(frame)}", " ".join(fields)]
    tensors = np.concatenate(
        [item.tensors[name].reshape(len(frame), -1) for name, _, _ in labels], axis=1
    )
    for symbol, position, tensor in zip(frame.symbols, frame.positions, tensors, strict=True):
        lines.append(f"{symbol} {' '.join(f'{x:.10f}' for x in [*position, *tensor])}")
    return "\n".join(lines) + "\n"
