"""The command line: one file a command, errors in one line, exit code not 0 after any of them."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import typer
from MDAnalysis.exceptions import NoDataError, SelectionError

from mda_aptnn._version import __version__
from mda_aptnn.cli.check import check
from mda_aptnn.cli.compare import compare
from mda_aptnn.cli.convergence import convergence
from mda_aptnn.cli.demo import demo
from mda_aptnn.cli.dielectric import dielectric
from mda_aptnn.cli.dipoles import dipoles
from mda_aptnn.cli.distil import distil
from mda_aptnn.cli.evaluate import evaluate
from mda_aptnn.cli.flux import flux
from mda_aptnn.cli.info import info
from mda_aptnn.cli.label import label_app
from mda_aptnn.cli.learn import learn
from mda_aptnn.cli.live import live
from mda_aptnn.cli.outputs import reading_only
from mda_aptnn.cli.predict import predict
from mda_aptnn.cli.raman import raman, sfg
from mda_aptnn.cli.report import report
from mda_aptnn.cli.select import select
from mda_aptnn.cli.space import distances, profile
from mda_aptnn.cli.spectrogram import spectrogram
from mda_aptnn.cli.spectrum import spectrum
from mda_aptnn.cli.train import train
from mda_aptnn.cli.vdos import vdos
from mda_aptnn.errors import AptnnError

app = typer.Typer(
    help="Infrared spectra from any molecular-dynamics trajectory, by machine-learned atomic polar tensors.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: What a user can cause; anything else is a bug and shows its traceback.
_EXPECTED = (
    AptnnError,
    OSError,
    ValueError,
    KeyError,
    NoDataError,
    SelectionError,
    ImportError,
    MemoryError,
    # of a packed file that is cut, or damaged
    EOFError,
    zlib.error,
)


#: Commands that keep what is finished (`run`: of a campaign).
_RESUMED = frozenset(
    {"flux", "spectrum", "raman", "sfg", "demo", "train", "distil", "learn", "run"}
)


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


def _reporting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an expected error into one line and exit code 1; MDA_APTNN_DEBUG=1 shows where it came
    from.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        received: list[int] = []
        try:
            with _as_interrupt(received), reading_only(options):
                command(*arguments, **options)
            if received:  # `live` has written its files
                raise typer.Exit(128 + received[0])
        except _EXPECTED as error:
            if os.environ.get("MDA_APTNN_DEBUG"):
                raise
            message = (
                str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
            )
            typer.echo(f"error: {' '.join(message.split()) or type(error).__name__}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            kept = "what is finished is kept; the same command goes on from there"
            typer.echo(
                f"interrupted: {kept if command.__name__ in _RESUMED else 'the same command begins anew'}",
                err=True,
            )
            raise typer.Exit(128 + (received or [signal.SIGINT])[0]) from None

    return run


for _command in (
    demo,
    check,
    spectrum,
    raman,
    sfg,
    flux,
    distances,
    profile,
    spectrogram,
    convergence,
    dielectric,
    vdos,
    dipoles,
    compare,
    report,
    live,
    predict,
    train,
    distil,
    evaluate,
    select,
    learn,
    info,
):
    app.command()(_command)
app.add_typer(label_app, name="label")
for _registered in (*app.registered_commands, *label_app.registered_commands):
    if _registered.callback is not None:
        _registered.callback = _reporting(_registered.callback)


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
    app()
