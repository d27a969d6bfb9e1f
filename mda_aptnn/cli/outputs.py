"""Files that commands read and write: held before the run, written after it, named at the end."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from mda_aptnn import folders, io
from mda_aptnn.checks import Checks, Verdict
from mda_aptnn.errors import AptnnError

#: Options that name what a command writes. Every other path is read, and nothing is written in its
#: place: an option that is forgotten here shows itself by an error.
_WRITTEN = frozenset({"output", "csv", "plot", "plot_spread", "flux_output"})
#: Options that are names or paths.
_NAMES = frozenset({"model"})


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
            if isinstance(item, Path) or (name in _NAMES and isinstance(item, str)):
                (written if name in _WRITTEN else read).append(item)
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
        self.as_json = as_json
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
                raise OptionError(f"--plot {plot}: the ending must be one of {endings}")

    def save(self, result: Any) -> None:
        """Write a result: the first file is its HDF5 file."""
        result.save(next(iter(self.files.values())))
        if "csv" in self.files:
            result.to_csv(self.files["csv"])
        if "plot" in self.files:
            result.plot(self.files["plot"])

    def finish(
        self, result: Any, checks: Checks | None = None, first: str = "", **more: Any
    ) -> None:
        """Save a result, and print what it says of itself and its notes, after a `first` line;
        `more` is for JSON.
        """
        self.save(result)
        report, notes = result.summary(), [f"note: {note}" for note in result.notes]
        lines = [first, *result.describe().splitlines(), *notes]
        self.tell({**more, **report}, list(dict.fromkeys(filter(None, lines))), checks)

    def tell(
        self,
        report: Mapping[str, Any],
        text: str | Sequence[str] = (),
        checks: Checks | None = None,
    ) -> None:
        """Print what was found, its checks, and the files that are written.

        Parameters
        ----------
        report : mapping
            For ``--json``.
        text : str or sequence of str
            The same for people.
        checks : Checks, optional
        """
        files = {name: str(path) for name, path in self.files.items()}
        found = (
            {} if checks is None else {"checks": checks.to_json(), "verdict": checks.worst.value}
        )
        # notes that are checks as well are said once
        said = [] if checks is None else [f"note: {check}" for check in checks]
        lines = text.splitlines() if isinstance(text, str) else "\n".join(text).splitlines()
        lines = [line for line in lines if line and line not in said]
        lines += [] if checks is None else check_lines(checks)
        lines += [f"{name}: {path}" for name, path in files.items()]
        emit({"files": files, **report, **found}, self.as_json, "\n".join(lines))


def emit(report: Mapping[str, Any], as_json: bool, text: str) -> None:
    """Print one JSON object, or the text for people."""
    typer.echo(json.dumps(report, indent=2) if as_json else text)


def check_lines(checks: Checks, every: bool = False) -> list[str]:
    """Return the checks for people: how many there are of each verdict, and those that are not
    fine, or every one.
    """
    counts = Counter(check.verdict for check in checks)
    words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    return [f"checks: {words}", *map(str, checks if every else checks.doubtful)]
