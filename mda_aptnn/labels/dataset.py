"""Labelled frames, many of them: HDF5, extended XYZ, and which of the two a file is."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, overload

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io
from mda_aptnn.elements import symbols_of
from mda_aptnn.errors import FileFormatError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.labelled_frame import LabelledFrame, parse_xyz, xyz_text
from mda_aptnn.tensors import TARGETS, Target
from mda_aptnn.text import short

__all__ = ["Dataset", "LabelledFrame", "read_labels", "read_xyz", "write_labels", "write_xyz"]

#: Atoms that are gathered before they are written.
_ATOMS = 20_000
#: Arrays of a frame in HDF5: unit, shape of one element, what its elements are.
_OF_ATOMS: dict[str, tuple[str | None, tuple[int, ...], str]] = {
    "numbers": (None, (), "iu"),
    "positions": ("angstrom", (3,), "fiu"),
}
_OF_FRAMES: dict[str, tuple[str | None, tuple[int, ...], str]] = {
    "cell": ("angstrom", (3, 3), "fiu"),
    "pbc": (None, (3,), "b"),
    "charge": ("e", (), "fiu"),
}
_TENSORS = {name: (target.unit, target.shape, "fiu") for name, target in TARGETS.items()}


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

    @overload
    def __getitem__(self, index: int) -> LabelledFrame: ...

    @overload
    def __getitem__(self, index: slice) -> Dataset: ...

    def __getitem__(self, index: int | slice) -> LabelledFrame | Dataset:
        """Return a frame, or a data set of some of them with the same provenance."""
        found = self.frames[index]
        return dataclasses.replace(self, frames=found) if isinstance(found, list) else found

    __repr__ = short

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

    def by_element(self, target: Target) -> dict[int, tuple[NDArray[Any], NDArray[Any]]]:
        """Return, by atomic number, the atoms whose label is complete; there may be none.

        Parameters
        ----------
        target : Target

        Returns
        -------
        dict of int to tuple
            Frame and atom of each [n, 2], and the tensors [n, 3, 3, ...].
        """
        if not self.frames:
            return {}
        numbers = np.concatenate([item.frame.numbers for item in self])
        tensors = np.concatenate([item.of(target) for item in self])
        places = [(k, i) for k, item in enumerate(self) for i in range(len(item.frame))]
        complete = np.isfinite(tensors).all(axis=tuple(range(1, tensors.ndim)))
        chosen = {int(z): complete & (numbers == z) for z in np.unique(numbers)}
        return {z: (np.array(places)[own], tensors[own]) for z, own in chosen.items()}

    def _write(self, file: h5py.File) -> None:
        names = sorted({name for item in self.frames for name in item.tensors})
        _write_frames(file, self.frames, names, self.level_of_theory, self.sources)

    @classmethod
    def _read(cls, file: h5py.File) -> Dataset:
        offsets = io.read_array(file, "offsets", shape=(None,), kinds="iu").astype(np.int64)
        if not len(offsets) or offsets[0] != 0 or (np.diff(offsets) < 1).any():
            raise FileFormatError(f"{file.filename}: offsets do not increase from 0")
        n_frames, n_atoms = len(offsets) - 1, int(offsets[-1])

        def read(table: dict[str, Any], count: int) -> dict[str, Any]:
            return {
                name: io.read_array(file, name, unit, (count, *shape), kinds)
                for name, (unit, shape, kinds) in table.items()
            }

        of_atoms, of_frames = read(_OF_ATOMS, n_atoms), read(_OF_FRAMES, n_frames)
        tensors = read({name: _TENSORS[name] for name in TARGETS if name in file}, n_atoms)
        texts = io.read_array(file, "info", shape=(n_frames,), kinds="O")
        items = []
        for k, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
            own = {name: values[start:end] for name, values in of_atoms.items()}
            own |= {name: values[k] for name, values in of_frames.items()}
            labels = {name: values[start:end] for name, values in tensors.items()}
            items.append(LabelledFrame(Frame(**own), labels, json.loads(texts[k])))
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
    parts: dict[Path, Dataset] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        with open(path, "rb") as file:
            is_hdf5 = file.read(4) == b"\x89HDF"
        parts[path] = Dataset.load(path) if is_hdf5 else read_xyz(path, cell)
    frames = [item for part in parts.values() for item in part]
    if not frames:
        raise LabelError("no labelled frames in " + ", ".join(str(path) for path in paths))
    levels = dict.fromkeys(filter(None, (part.level_of_theory for part in parts.values())))
    sources = {path.name: io.file_hash(path) for path in parts}
    return Dataset(frames, "; ".join(levels), sources)


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
    try:
        frames = list(parse_xyz(text, cell))
    except ValueError as error:
        raise FileFormatError(f"{path}{error}") from error
    levels = dict.fromkeys(str(item.info.pop("level_of_theory", "")) for item in frames)
    return Dataset(frames, "; ".join(filter(None, levels)), {path.name: io.file_hash(path)})


def write_xyz(dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """Write extended XYZ with ``apt:R:9`` (row-major ``P[a, b]``, e), which `read_xyz` and ASE
    read.

    Parameters
    ----------
    dataset : Dataset
    path : path
    """
    _write_text(dataset, path, dataset.level_of_theory)


def _write_text(items: Iterable[LabelledFrame], path: str | os.PathLike[str], level: str) -> int:
    with io.replacing(path) as temporary, open(temporary, "w") as file:
        return sum(1 for item in items if file.write(xyz_text(item, level)))


def write_labels(
    items: Iterable[LabelledFrame], path: str | os.PathLike[str], level_of_theory: str = ""
) -> int:
    """Write labelled frames as they come, so that no more than a few are in memory.

    Parameters
    ----------
    items : iterable of LabelledFrame
        Taken one after the other; all with the tensors that the first one has.
    path : path
        Extended XYZ if its name ends in .xyz, else HDF5.
    level_of_theory : str

    Returns
    -------
    int
        How many there were.

    Raises
    ------
    LabelError
        If there are no frames, or one has other tensors than the first.
    """
    rest = iter(items)
    first = next(rest, None)
    if first is None:
        raise LabelError("there are no frames to write")
    everything = itertools.chain([first], rest)
    if Path(path).suffix == ".xyz":
        return _write_text(everything, path, level_of_theory)
    with io.create(path, Dataset.kind) as file:
        return _write_frames(file, everything, sorted(first.tensors), level_of_theory, {})


def _write_frames(
    file: h5py.File,
    items: Iterable[LabelledFrame],
    names: Sequence[str],
    level_of_theory: str,
    sources: dict[str, str],
) -> int:
    """Write frames into an empty file, and return how many there were.

    Atoms of all frames stand one after the other, `offsets` say where each frame begins; tensors of
    these names, NaN where a frame lacks one.
    """
    file.attrs["level_of_theory"] = level_of_theory
    file.attrs["sources"] = json.dumps(sources)
    offsets, rows, written = [0], list[dict[str, Any]](), 0
    for item in items:
        if not set(item.tensors) <= set(names):
            raise LabelError(
                f"frame {len(offsets) - 1} has tensors {sorted(item.tensors)}, expected "
                f"{list(names)}"
            )
        offsets.append(offsets[-1] + len(item.frame))
        rows.append(_arrays(item, names))
        if offsets[-1] - written >= _ATOMS:
            _append(file, rows)
            rows, written = [], offsets[-1]
    if rows:
        _append(file, rows)
    if len(offsets) == 1:
        raise LabelError("there are no frames to write")
    io.write_array(file, "offsets", np.array(offsets))
    return len(offsets) - 1


def _append(file: h5py.File, rows: Sequence[dict[str, Any]]) -> None:
    """Write the arrays of some frames behind those that are in the file."""
    for name in rows[0]:
        values = np.concatenate([row[name] for row in rows])
        if name in file:
            dataset = file[name]
            dataset.resize(len(dataset) + len(values), axis=0)
            dataset[-len(values) :] = values
        else:
            unit, *_ = (_OF_ATOMS | _OF_FRAMES | _TENSORS).get(name, (None,))
            kind = h5py.string_dtype() if name == "info" else values.dtype
            shape = (None, *values.shape[1:])
            io.write_array(file, name, values, unit, maxshape=shape, dtype=kind)


def _arrays(item: LabelledFrame, names: Sequence[str]) -> dict[str, Any]:
    """What a frame adds to each array of the file."""
    frame, n_atoms = item.frame, len(item.frame)
    return {
        **{name: getattr(frame, name) for name in _OF_ATOMS},
        **{name: np.array([getattr(frame, name)]) for name in _OF_FRAMES},
        **{name: np.full((n_atoms, *TARGETS[name].shape), np.nan) for name in names},
        **item.tensors,
        "info": np.array([json.dumps(item.info)], dtype=object),
    }
