"""Files that commands read and write: held before the run, written after it, named at the end."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import typer

from mda_aptnn import folders, io
from mda_aptnn.checks import Checks, Verdict
from mda_aptnn.errors import AptnnError

#: Options that name what a command writes. Every other path is read, and nothing is written in its
#: place: an option that is forgotten here shows itself by an error.
_WRITTEN = frozenset({"output", "csv", "latex", "plot", "plot_spread", "flux_output"})
#: Options that are names or paths.
_NAMES = frozenset({"model", "from_model", "teacher", "dask"})


class OptionError(AptnnError, ValueError):
    """An option that cannot be understood."""


_locks = contextlib.ExitStack()


def hold(folder: Path) -> None:
    """Let no other run fill a folder, which is made if needed, until this command ends.

    Raises
    ------
    BusyError
        If another one does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _locks.enter_context(folders.reserved(folder / folders.LOCK, str(folder)))


def made_by(path: Path, command: str) -> bool:
    """Return whether a file was written by this command."""
    if io.kind_of(path) is None:
        return False
    with h5py.File(path) as file:
        return command in str(file.attrs.get("command", "")).split()[:2]


@contextlib.contextmanager
def reading_only(options: Mapping[str, Any]) -> Iterator[None]:
    """Keep the files that a command reads from being written, as long as it runs; every command
    passes here.

    Locks that it takes by `hold` are freed at its end.

    Parameters
    ----------
    options : mapping
        The command's arguments and options by name.

    Raises
    ------
    FileExistsError
        If an output is also an input.
    """
    read: list[Any] = []
    written: list[Any] = []
    for name, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Path):
                (written if name in _WRITTEN else read).append(item)
            elif name in _NAMES and isinstance(item, str):
                # SELECTION=PATH, and WORD:PATH
                ends = [item.split("=", k)[-1] for k in range(item.count("=") + 1)]
                read += [*ends, *(end.partition(":")[2] for end in ends if ":" in end)]
    with io.protecting(read), _locks:
        names = {os.path.realpath(path) for path in read}
        for path in written:
            io.refuse_input(path)
            if os.path.realpath(path) in names:
                raise OptionError(
                    f"{path} is written, and named as something else too; give another name"
                )
        yield


class Outputs:
    """The files that a command writes, by what is in them; names are checked before the long run.

    Parameters
    ----------
    as_json : bool
        Whether the command prints JSON.
    **files : Path or None
        What is to be written; "csv" and "plot" as columns and as a picture.

    Raises
    ------
    OSError
        If a name cannot be written.
    OptionError
        If two have one name, or a picture is of an unknown kind.
    """

    def __init__(self, as_json: bool = False, **files: Path | None) -> None:
        self.as_json, self.names = as_json, tuple(files)
        self.files = {name: path for name, path in files.items() if path is not None}
        if len({path.resolve() for path in self.files.values()}) < len(self.files):
            named = ", ".join(map(str, self.files.values()))
            raise OptionError(f"two outputs have the same name: {named}")
        for path in self.files.values():
            io.check_writable(path)
        if plot := self.files.get("plot"):
            from matplotlib.backend_bases import FigureCanvasBase

            known = FigureCanvasBase.get_supported_filetypes()
            if plot.suffix[1:].lower() not in known:
                endings = ", ".join(sorted(known))
                raise OptionError(f"picture {plot}: the ending must be one of {endings}")

    def save(self, result: Any) -> None:
        """Write a result: columns, a picture, and what is neither as its HDF5 file if it is the
        first.
        """
        ways = {"csv": "to_csv", "latex": "to_latex", "plot": "plot"}
        for number, (name, path) in enumerate(self.files.items()):
            if name in ways or number == 0:
                getattr(result, ways.get(name, "save"))(path)

    def finish(
        self, result: Any, checks: Checks | None = None, first: str = "", **more: Any
    ) -> None:
        """Save a result, and print what it says of itself and its notes, after a `first` line;
        `more` is for JSON.
        """
        self.save(result)
        notes = dict.fromkeys(f"note: {note}" for note in result.notes)
        self.tell({**more, **result.summary()}, [first, result.describe(), *notes], checks)

    def tell(
        self,
        report: Mapping[str, Any],
        text: str | Sequence[str] = (),
        checks: Checks | None = None,
        *,
        every: bool = False,
    ) -> None:
        """Print what was found, its checks, and the files that are written.

        Parameters
        ----------
        report : mapping
            For ``--json``.
        text : str or sequence of str
            The same for people.
        checks : Checks, optional
        every : bool
            Print every check, and not only how many are fine.
        """
        files = {name: str(path) for name, path in self.files.items()}
        lines = "\n".join([text] if isinstance(text, str) else filter(None, text)).splitlines()
        report = {**({"files": files} if self.names else {}), **report}
        if checks is not None:
            # notes that are checks as well are said once
            said = [f"note: {check}" for check in checks]
            counts = Counter(check.verdict for check in checks)
            words = [f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]]
            lines = [line for line in lines if line not in said]
            lines += [f"checks: {', '.join(words)}"]
            lines += map(str, checks if every else checks.doubtful)
            report |= {"checks": checks.to_json(), "verdict": checks.worst.value}
        lines += [f"{name}: {path}" for name, path in files.items()]
        typer.echo(json.dumps(report, indent=2) if self.as_json else "\n".join(lines))
