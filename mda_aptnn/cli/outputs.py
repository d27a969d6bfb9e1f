"""Files that commands write: names are checked before the long run, and said at the end."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mda_aptnn.checks import Checks, Verdict
from mda_aptnn.cli import options as opt

#: Options that name what a command writes. Every other path is read, and nothing is written in its
#: place: an option that is forgotten here shows itself by an error.
_WRITTEN = frozenset({"output", "csv", "plot", "plot_spread", "flux_output"})
#: Options that are names or paths.
_NAMES = frozenset({"model"})


_locks = contextlib.ExitStack()


def hold(folder: Path) -> None:
    """Let no other run fill a folder, which is made if needed, until this command ends.

    Raises
    ------
    BusyError
        If another one does.
    """
    from mda_aptnn import folders

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
    from mda_aptnn import io

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
                raise opt.OptionError(
                    f"{path} is written, and named as something else too; give another name"
                )
        yield


def check_outputs(files: Mapping[str, Path | None]) -> None:
    """Refuse names that cannot be written, or one name for two things, before the long run."""
    from mda_aptnn import io

    given = [path for path in files.values() if path is not None]
    if len({path.resolve() for path in given}) < len(given):
        raise opt.OptionError("two outputs have the same name: " + ", ".join(map(str, given)))
    for path in given:
        io.check_writable(path)
    plot = files.get("plot")
    if plot is not None:
        from matplotlib.backend_bases import FigureCanvasBase

        known = FigureCanvasBase.get_supported_filetypes()
        if plot.suffix[1:].lower() not in known:
            raise opt.OptionError(
                f"--plot {plot}: the ending must be one of {', '.join(sorted(known))}"
            )


def save(result: Any, output: Path, csv: Path | None = None, plot: Path | None = None) -> None:
    """Write a result to HDF5, and its columns and its picture where they are asked for."""
    result.save(output)
    if csv is not None:
        result.to_csv(csv)
    if plot is not None:
        result.plot(plot)


def emit_with_files(
    files: Mapping[str, Path | None],
    report: Mapping[str, Any],
    lines: Sequence[str],
    as_json: bool,
    checks: Checks | None = None,
) -> None:
    """Print a report, its checks, and which of `files` are written: one JSON object, or a line for
    each.
    """
    written = {name: str(path) for name, path in files.items() if path is not None}
    found = {} if checks is None else {"checks": checks.to_json(), "verdict": checks.worst.value}
    # notes that are checks as well are said once
    said = [] if checks is None else [f"note: {check}" for check in checks]
    kept = ["\n".join(line for line in text.split("\n") if line not in said) for text in lines]
    of_checks = [] if checks is None else check_lines(checks)
    text = "\n".join(
        [*filter(None, kept), *of_checks, *(f"{name}: {path}" for name, path in written.items())]
    )
    opt.emit({"files": written, **report, **found}, as_json, text)


def check_lines(checks: Checks, every: bool = False) -> list[str]:
    """Return the checks for people: how many there are of each verdict, and those that are not
    fine, or every one.
    """
    counts = Counter(check.verdict for check in checks)
    words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    return [f"checks: {words}", *map(str, checks if every else checks.doubtful)]
