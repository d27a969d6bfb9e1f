"""How every file is written and read: HDF5, units, provenance, a temporary name and then a rename.

A file holds a `kind` (labels, model, flux, spectrum) and a `format` number at its root, and who
made it: package version, command, date. Data sets carry a `units` attribute that pint parses.
Nothing is pickled.

Behind the end of the HDF5 data stands the SHA-256 of what is before it. HDF5 itself would give
wrong numbers, hang or crash on some flipped bits; other programs do not see the seal, and it
vanishes when they change the file.
"""

from __future__ import annotations

import abc
import contextlib
import datetime
import errno
import fcntl
import hashlib
import json
import os
import re
import shlex
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import h5py
import numpy as np
from MDAnalysis.exceptions import NoDataError

from mda_aptnn._version import __version__
from mda_aptnn.errors import AptnnError, FileFormatError
from mda_aptnn.units import factor

#: Lengths along the axes of a data set: None for any length, and for any shape.
Shape = tuple[int | None, ...] | None

#: Files of a newer format than this are refused; older ones are upgraded by their module.
FORMAT = 1

#: What stands behind the data, before 64 hexadecimal digits and a newline.
_SEAL = b"\nmda-aptnn sha256 "
_SEAL_LENGTH = len(_SEAL) + 65

#: Deflate makes no more of a byte than this: a data set that claims more than the file holds is not
#: read.
_LARGEST_EXPANSION = 1100
#: Numbers of a simulation shrink by less than this. This package does not compress, but others may
#: repack a file: a data set of more than so many bytes that claims more is not read.
_LARGEST_LARGE_EXPANSION, _LARGE = 20, 64_000_000


#: What reading a damaged file ends in.
_DAMAGE = (
    *(AttributeError, IndexError, KeyError, OSError, OverflowError, RuntimeError, TypeError),
    *(UnicodeDecodeError, json.JSONDecodeError),
)


def provenance() -> dict[str, str]:
    """Return who writes: version, command and date (UTC)."""
    return {
        "creator": f"mda-aptnn {__version__}",
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


#: Stands in the name of a file until it is whole: .NAME.mda-aptnn-xxxxxxxx.ENDING beside NAME.
_MARK = ".mda-aptnn-"
_LEFT = re.compile(rf"\.(.+){re.escape(_MARK)}[a-z0-9_]{{8}}(?:\.[^.]*)?")

#: Real names of files that were read, and the kind of file that may take their place: None for
#: none.
_inputs: dict[str, str | None] = {}


def file_of(name: Any) -> str | None:
    """Return the file that a name is, or that stands behind its first colon: "charges:FILE"."""
    text = os.fspath(name) if isinstance(name, str | os.PathLike) else ""
    return next((part for part in (text, text.partition(":")[2]) if os.path.isfile(part)), None)


def protect(paths: Iterable[Any], kind: str | None = None) -> None:
    """Let no file be written in the place of these, which are read.

    Parameters
    ----------
    paths : iterable of path
        What is no path, such as a stream, is passed over.
    kind : str, optional
        A file of this kind of :mod:`mda_aptnn.io` may be: read, changed and written back.
    """
    for path in paths:
        if isinstance(path, str | os.PathLike):
            _inputs[os.path.realpath(path)] = kind


@contextlib.contextmanager
def protecting(paths: Iterable[Any]) -> Iterator[None]:
    """Protect files as long as a command runs."""
    before = dict(_inputs)
    protect(paths)
    try:
        yield
    finally:
        _inputs.clear()
        _inputs.update(before)


def refuse_input(path: str | os.PathLike[str], kind: str | None = None) -> None:
    """Refuse to write in the place of a file that is read, whatever name or link leads there.

    Parameters
    ----------
    path : path
    kind : str, optional
        Of the file of this package that is to be written, "" for any other file; not known yet if
        not given.

    Raises
    ------
    FileExistsError
        With what to do.
    """
    real = os.path.realpath(path)
    if not os.path.exists(real):
        return
    for name, replaced_by in _inputs.items():
        if replaced_by is not None and (name != real or kind in (None, replaced_by)):
            continue
        if os.path.exists(name) and os.path.samefile(name, real):
            raise FileExistsError(
                f"cannot write {path}: it is read as an input; give the output another name"
            )


def check_writable(path: str | os.PathLike[str], kind: str | None = None) -> Path:
    """Return `path` if a file can be written there, before any long work is begun.

    A link is followed: what it points to is written, and the link stays.

    Parameters
    ----------
    path : path
    kind : str, optional
        As for `refuse_input`.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written, `path` is a folder, a device or another
        thing that is no file, it may not be written, or it is an input.
    """
    target = Path(os.path.realpath(path))
    if obstacle := _obstacle(target):
        raise obstacle[0](f"cannot write {path}: {obstacle[1]}")
    refuse_input(path, kind)
    try:
        sweep(target.parent, target.name)
        with _temporary(target, target.suffix):
            pass
    except OSError as error:
        raise PermissionError(f"cannot write {path}: {error.strerror}") from error
    return Path(path)


def _obstacle(target: Path) -> tuple[type[OSError], str] | None:
    """Why no file can have this name."""
    try:
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if target.parent.is_dir():
            return None
        return FileNotFoundError, f"there is no folder {target.parent}; make it first"
    except OSError as error:
        return PermissionError, str(error.strerror)
    if stat.S_ISDIR(mode):
        return IsADirectoryError, "it is a folder; give a file name"
    if not stat.S_ISREG(mode):
        return FileExistsError, "it is a device, pipe or socket; give the name of a file"
    if not os.access(target, os.W_OK):
        return PermissionError, "it is protected against writing; give another name"
    return None


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], kind: str = "") -> Iterator[Path]:
    """Give a temporary name in the folder of `path`, renamed to it at the end, removed after an
    error.

    The only way in which this package writes files; `check_writable` decides, with the same
    parameters.
    """
    suffix, target = check_writable(path, kind).suffix, Path(os.path.realpath(path))
    with _temporary(target, suffix) as temporary:
        yield temporary
        temporary.chmod(_mode_for(target))
        # once more: what has come there meanwhile is not replaced either
        check_writable(path, kind)
        move(temporary, target)


@contextlib.contextmanager
def _temporary(target: Path, suffix: str) -> Iterator[Path]:
    """Give a new file beside `target`, locked as long as this process writes it; removed if it is
    still there.
    """
    while True:
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}{_MARK}", suffix=suffix
        )
        with contextlib.suppress(OSError):  # no locks on this disk
            fcntl.flock(handle, fcntl.LOCK_EX)
        # before it was locked, another process may have taken it for one of a dead one
        if os.fstat(handle).st_nlink:
            break
        os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        os.close(handle)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes were writing in a folder.

    Only regular files with a name that this module gives, which no process has locked.

    Parameters
    ----------
    folder : Path
    name : str, optional
        Of the file that was to be written; of all if not given.
    """
    for path in folder.glob(f".*{_MARK}*"):
        found = _LEFT.fullmatch(path.name)
        if not found or (name is not None and found[1] != name):
            continue
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if stat.S_ISREG(os.fstat(handle).st_mode) and lock(handle):
                    path.unlink()
            finally:
                os.close(handle)


def lock(handle: int) -> bool | None:
    """Lock an open file for this process; False if another one has, None if there are no locks on
    this disk.

    The system frees it when the process ends, however it does.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def move(source: Path, target: Path) -> None:
    """Give a file that is whole its name, or a folder; after a power cut, the name does not stand
    for an empty file.

    `target` is replaced without a look: `replacing` has one.
    """
    to_disk(source)
    os.replace(source, target)
    to_disk(target.parent)


def to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # some file systems cannot do it for folders, and say so; a disk that fails is another thing
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _mode_for(target: Path) -> int:
    """Permissions of the file that is replaced, or those of any new file."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


@contextlib.contextmanager
def create(path: str | os.PathLike[str], kind: str) -> Iterator[h5py.File]:
    """Open a new file of `kind`, which appears under its name only when it is complete."""
    with replacing(path, kind) as temporary:
        # the lock is ours already
        with h5py.File(temporary, "w", locking=False) as file:
            file.attrs["kind"] = kind
            file.attrs["format"] = FORMAT
            file.attrs.update(provenance())
            yield file
        digest = file_hash(temporary)
        with open(temporary, "ab") as sealed:
            sealed.write(_SEAL + digest.encode() + b"\n")


def _check_seal(path: Path) -> None:
    """Compare the content with the seal behind it, if there is one."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END) - _SEAL_LENGTH
        if size < 0:
            return
        file.seek(size)
        seal = file.read()
        if not seal.startswith(_SEAL):
            return
        file.seek(0)
        digest, left = hashlib.sha256(), size
        while part := file.read(min(left, 1 << 20)):
            digest.update(part)
            left -= len(part)
    if seal != _SEAL + digest.hexdigest().encode() + b"\n":
        raise FileFormatError(
            f"{path} is damaged: its content has changed since it was written; make or copy it "
            "again"
        )


def remove(path: str | os.PathLike[str], kind: str) -> None:
    """Delete a file, damaged or not, if it is one of this package and of this kind; another one, or
    a link, stays.
    """
    ours = False
    if not os.path.islink(path):
        with (
            contextlib.suppress(OSError, KeyError, RuntimeError),
            h5py.File(path, "r", locking=False) as file,
        ):
            ours = "creator" in file.attrs and file.attrs["kind"] == kind
    if ours:
        os.unlink(path)


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Return the kind of a file of this package, None for any other file or none.

    Raises
    ------
    FileFormatError
        If it is HDF5 but cut or damaged.
    """
    if not Path(path).is_file() or not h5py.is_hdf5(path):
        return None
    with _opened(Path(path)) as file:
        try:
            kind = file.attrs.get("kind")
        except OSError as error:
            raise FileFormatError(f"{path} is not a complete HDF5 file ({error})") from error
    return None if kind is None else str(kind)


def _opened(path: Path) -> h5py.File:
    """An existing file that is whole, as far as its seal tells."""
    _check_seal(path)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise FileFormatError(f"{path} is not a complete HDF5 file ({error})") from error


@contextlib.contextmanager
def open_checked(path: str | os.PathLike[str], kind: str) -> Iterator[h5py.File]:
    """Open an existing file for reading after a check of its kind and format.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is not HDF5, is truncated or damaged, of another kind or of a newer format,
        lacks what is read, or has links or data sets whose contents are in other files.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with _opened(path) as file:
        found = file.attrs.get("kind")
        if not isinstance(found, str) or found != kind:
            raise FileFormatError(f"{path} is not a {kind} file of mda-aptnn (kind: {found!r})")
        version = file.attrs.get("format")
        if not isinstance(version, int | np.integer) or version > FORMAT:
            raise FileFormatError(
                f"{path} has format {version!r}, newer than this version reads ({FORMAT}); update "
                "mda-aptnn"
            )
        if os.path.realpath(path) not in _inputs:
            protect([path], kind)
        _refuse_links(file, path)
        try:
            yield file
        # what the reader says of the contents, and MDAnalysis of a topology
        except (AptnnError, NoDataError):
            raise
        except _DAMAGE as error:
            raise FileFormatError(f"{path} is damaged or incomplete: {error}") from error


def _refuse_links(file: h5py.File, path: Path) -> None:
    """Refuse what would let a file that came from elsewhere read other files of the reader's."""
    names: list[bytes] = []
    try:
        file.id.links.visit(names.append)
        foreign = [name for name in names if not _holds_its_own(file, name)]
    except (*_DAMAGE, ValueError) as error:
        raise FileFormatError(f"{path} is damaged or incomplete: {error}") from error
    if foreign:
        raise FileFormatError(
            f"{path}: {foreign[0].decode(errors='replace')} is a link, or its numbers are in "
            "another file, which mda-aptnn neither writes nor follows: copy all data into one file"
        )


def _holds_its_own(file: h5py.File, name: bytes) -> bool:
    """Whether a member is in the file itself, with all its numbers."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return False
    item = file[name]
    return not isinstance(item, h5py.Dataset) or not (item.is_virtual or item.external)


class Stored(abc.ABC):
    """A result that is kept in a file of its own."""

    #: Kind of the file.
    kind: ClassVar[str]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to HDF5, with units and provenance.

        Parameters
        ----------
        path : path
        """
        with create(path, self.kind) as file:
            self._write(file)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file written by :meth:`save`.

        Parameters
        ----------
        path : path
            As written by `save`.

        Returns
        -------
        An object of this class

        Raises
        ------
        FileFormatError
            If the file is damaged, foreign, or its arrays disagree.
        """
        with open_checked(path, cls.kind) as file:
            return cls._read(file)

    @abc.abstractmethod
    def _write(self, file: h5py.File) -> None:
        """Write the contents into a new file."""

    @classmethod
    @abc.abstractmethod
    def _read(cls, file: h5py.File) -> Self:
        """Read the contents of an open file of this kind."""


def write_array(
    group: h5py.Group, name: str, values: Any, unit: str | None = None, **options: Any
) -> h5py.Dataset:
    """Write `values` with their `unit` attribute."""
    dataset = group.create_dataset(name, data=values, **options)
    if unit is not None:
        dataset.attrs["units"] = unit
    return dataset


def find_array(
    group: h5py.Group, name: str, unit: str | None = None, shape: Shape = None, kinds: str = "fiu"
) -> h5py.Dataset:
    """Return a data set that may be read, whole or in parts, after a check of what it claims to be.

    Parameters
    ----------
    group : h5py.Group
    name : str
    unit : str, optional
        That its unit can be converted into.
    shape : tuple of int or None, optional
        None: any length.
    kinds : str
        What its elements may be, as `numpy.dtype.kind`: numbers by default, "b" truth values, "O"
        strings.

    Raises
    ------
    FileFormatError
        If the data set is missing, has another shape or kind, no unit, or claims more data than
        there are.
    UnitError
        If its unit is of another dimension.
    """
    path, dataset = group.file.filename, group.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise FileFormatError(f"{path}: no data set {group.name.rstrip('/')}/{name}")
    if shape is not None and (
        dataset.ndim != len(shape)
        or any(n not in (None, m) for n, m in zip(shape, dataset.shape, strict=True))
    ):
        raise FileFormatError(f"{path}: {name} has shape {dataset.shape}, expected {shape}")
    if dataset.dtype.kind not in kinds:
        raise FileFormatError(f"{path}: {name} holds {dataset.dtype} where it should not")
    largest = _LARGEST_EXPANSION if dataset.nbytes < _LARGE else _LARGEST_LARGE_EXPANSION
    if dataset.size and dataset.nbytes > largest * dataset.id.get_storage_size():
        raise FileFormatError(
            f"{path}: {name} claims {dataset.nbytes} bytes, which the file does not hold"
        )
    if unit is not None:
        if "units" not in dataset.attrs:
            raise FileFormatError(f"{path}: {name} has no units")
        factor(str(dataset.attrs["units"]), unit)
    return dataset


def read_array(
    group: h5py.Group, name: str, unit: str | None = None, shape: Shape = None, kinds: str = "fiu"
) -> Any:
    """Read an array, converted to `unit`; parameters and errors as in `find_array`.

    Raises
    ------
    FileFormatError
        Also if the data cannot be read.
    """
    dataset = find_array(group, name, unit, shape, kinds)
    try:
        values = dataset[()]
    except (OSError, MemoryError, ValueError) as error:
        raise FileFormatError(f"{group.file.filename}: cannot read {name}: {error}") from error
    scale = 1.0 if unit is None else factor(str(dataset.attrs["units"]), unit)
    return values if scale == 1.0 else values * scale


def read_json(group: h5py.Group, name: str, kind: type | tuple[type, ...]) -> Any:
    """Read a JSON text, from a data set or an attribute.

    Parameters
    ----------
    group : h5py.Group
    name : str
    kind : type or tuple of types
        What it must be: list or dict.

    Raises
    ------
    FileFormatError
        If it is missing, no JSON, or of another kind.
    """
    there = name in group
    text = find_array(group, name, shape=(), kinds="O").asstr()[()] if there else group.attrs[name]
    value = json.loads(text)
    if not isinstance(value, kind):
        raise FileFormatError(
            f"{group.file.filename}: {name} is not what it should be: {str(text)[:40]!r}"
        )
    return value


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the names of what is otherwise than wanted: what is left on disk is of another run.

    Parameters
    ----------
    found : mapping
        As read from JSON. What it has beside the names of `wanted` is no matter.
    wanted : mapping
        Compared as JSON would keep it.
    """
    kept = json.loads(json.dumps(wanted))
    return [name for name in kept if found.get(name) != kept[name]]


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_json(
    path: str | os.PathLike[str], error: type[AptnnError] = FileFormatError
) -> dict[str, Any]:
    """Read a file that holds one JSON table.

    Raises
    ------
    AptnnError
        Of the type `error`, if it cannot be read or is no table.
    """
    try:
        record = json.loads(Path(path).read_text())
    except (OSError, ValueError) as reason:
        raise error(f"cannot read {path}: {reason}") from reason
    if not isinstance(record, dict):
        raise error(f"{path} is damaged: not a table")
    return record


def json_text(record: Any, **options: Any) -> str:
    """Return JSON, arrays as lists."""
    return json.dumps(record, default=np.ndarray.tolist, **options)


def save_json(path: str | os.PathLike[str], record: dict[str, Any]) -> None:
    """Write a table, under its name only when it is complete; never through a link.

    Raises
    ------
    FileExistsError
        If the name is a link, which would lead out of the folder that is filled.
    """
    if os.path.islink(path):
        raise FileExistsError(f"cannot write {path}: it is a link; copy what it leads to")
    with replacing(path) as temporary:
        temporary.write_text(json_text(record, indent=1) + "\n")
