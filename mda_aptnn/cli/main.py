"""The command line: its commands, signals, errors in one line, and exit codes that are not 0 after
any of them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import signal
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import typer
from MDAnalysis.exceptions import SelectionError
from typer.core import TyperGroup

from mda_aptnn._version import __version__
from mda_aptnn.cli import fluxes, labels, models, other, spectra
from mda_aptnn.cli.options import as_command
from mda_aptnn.cli.outputs import reading_only
from mda_aptnn.errors import AptnnError

#: What a user can cause; anything else is a bug and shows its traceback.
_EXPECTED = (AptnnError, OSError, ValueError, KeyError, ImportError, MemoryError, SelectionError)
#: The same of a packed file that is cut, or damaged.
_UNPACKING = (EOFError, zlib.error)

#: Commands in the order of the help.
COMMANDS = (
    other.demo,
    fluxes.check,
    spectra.spectrum,
    spectra.raman,
    spectra.sfg,
    fluxes.flux,
    fluxes.merge,
    spectra.distances,
    spectra.profile,
    spectra.spectrogram,
    spectra.convergence,
    spectra.dielectric,
    spectra.vdos,
    spectra.dipoles,
    spectra.bands,
    spectra.compare,
    spectra.plot,
    other.report,
    other.live,
    models.predict,
    models.train,
    models.distil,
    models.evaluate,
    models.select,
    other.learn,
    other.info,
)
LABEL_COMMANDS = (labels.plan, labels.run, labels.script, labels.collect, labels.check)

#: Commands that keep what is finished (`run`: of a campaign).
_RESUMED = frozenset(
    {"flux", "spectrum", "raman", "sfg", "demo", "train", "distil", "learn", "run"}
)
#: Spellings of version 0.1.0, and today's.
_OLD_SPELLINGS = {"--threads": "--workers"}


@contextlib.contextmanager
def _as_interrupt(received: list[int]) -> Iterator[None]:
    """Meet the end of a job's time and a closed terminal as Ctrl-C, so that what is computed is
    written.
    """

    def interrupt(number: int, _: Any) -> None:
        # a second one does not disturb the writing
        if not received:
            received.append(number)
            raise KeyboardInterrupt

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # nohup has it ignored
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_error(message: str) -> None:
    typer.echo(f"error: {' '.join(message.split())}", err=True)


def _reporting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an expected error into one line and exit code 1; MDA_APTNN_DEBUG=1 shows where it came
    from.
    """

    @functools.wraps(command)
    def run(**options: Any) -> None:
        received: list[int] = []
        try:
            with _as_interrupt(received), reading_only(options):
                command(**options)
            if received:  # `live` has written its files
                raise typer.Exit(128 + received[0])
        except (*_EXPECTED, *_UNPACKING) as error:
            if os.environ.get("MDA_APTNN_DEBUG"):
                raise
            said = error.args[0] if isinstance(error, KeyError) and error.args else error
            _say_error(str(said) or type(error).__name__)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            what_next = (
                "what is finished is kept; the same command goes on from there"
                if command.__name__ in _RESUMED
                else "the same command begins anew"
            )
            typer.echo(f"interrupted: {what_next}", err=True)
            raise typer.Exit(128 + (received or [signal.SIGINT])[0]) from None

    return run


class _Commands(TyperGroup):
    """Takes spellings of 0.1.0, and says in one line what can be chosen."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_OLD_SPELLINGS.get(word, word) for word in args])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            message = error.format_message()
            said = re.search(r"'(--[\w-]+)'.*?('[^']*') is not one of (.*?)\.?$", message)
            if said is None:
                raise
            choices = said[3].replace("'", "")
            _say_error(f"{said[1]} {said[2]}: choose one of {choices}")
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Commands,
    help="Infrared spectra from any molecular-dynamics trajectory, by machine-learned atomic "
    "polar tensors.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
label_app = typer.Typer(
    help="Labels by CP2K, PySCF, ASE or another code: plan a campaign, run it, collect what can be "
    "trusted, check it.",
    no_args_is_help=True,
)
for _app, _commands in ((app, COMMANDS), (label_app, LABEL_COMMANDS)):
    for _command in _commands:
        _app.command()(_reporting(as_command(_command)))
app.add_typer(label_app, name="label")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mda-aptnn {__version__}")
        raise typer.Exit


@app.callback()
def _setup(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    warnings.simplefilter("ignore", DeprecationWarning)
    # MDAnalysis says so of files whose frames carry their own times
    warnings.filterwarnings("ignore", message="Reader has no dt information")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("mda_aptnn").setLevel(logging.INFO)


def main() -> None:
    """Run the command line."""
    if not os.environ.get("MDA_APTNN_DEBUG"):
        # readers of other authors that could not open their file fail again when they are deleted
        sys.unraisablehook = lambda _: None
    app()
