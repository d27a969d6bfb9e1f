"""How a function becomes a command, and spellings: one each, and those of version 0.1.0."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.cli import options as opt
from mda_aptnn.cli import spectra as spectra_commands
from mda_aptnn.cli.outputs import OptionError
from mda_aptnn.flux.groups import KINDS
from mda_aptnn.spectra.quantities import QUANTITIES
from mda_aptnn.spectra.quantum import CORRECTIONS
from mda_aptnn.spectra.raman import BOSE_FACTORS, DETECTIONS
from mda_aptnn.spectra.windows import WINDOWS
from mda_aptnn.tensors import SUM_RULES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Melting:
    """A set of options.

    Attributes
    ----------
    ice : path
        Where the ice is.
    hot : bool
        Warm it first.
    """

    ice: Path = dataclasses.field(kw_only=False)
    hot: bool = False
    temperature: opt.Temperature = None


def melt(name: str, how: Melting, *, window: opt.Window = opt.Window.hann, count: opt.Count = 3):
    """Melt some ice.

    Parameters
    ----------
    name : str
        Of the ice, which
        may be long.
    count : int
        How often.
    """
    typer.echo(f"{name} {how} {window!r} {count}")


@pytest.fixture
def run():
    own = typer.Typer(rich_markup_mode=None)
    own.command()(opt.as_command(melt))
    return lambda *words: CliRunner().invoke(own, [*map(str, words)])


def test_a_command_is_a_function_with_a_docstring(run):
    shown = " ".join(run("--help").output.split())
    for words in (
        "Melt some ice. Arguments",
        "Of the ice, which may be long.",
        "Where the ice is.",
        "--hot Warm it first.",
        "-T, --temperature",
        "--window <gaussian|parzen|bartlett|hann|none> ",
        "-n, --count",
        "How often. [default: 3; x>=1]",
    ):
        assert words in shown
    assert "Parameters" not in shown and "--no-hot" not in shown
    found = run("cube", "a.ice", "--hot", "-T", "3 K", "--window", "none", "-n", 7)
    assert found.output == (
        "cube Melting(ice=PosixPath('a.ice'), hot=True, temperature=3.0) 'none' 7\n"
    )
    assert run("cube").exit_code == 2 and run("cube", "a", "-n", 0).exit_code == 2


def test_choices_are_those_of_the_package():
    assert list(opt.Window) == list(WINDOWS)
    assert list(opt.SumRule) == list(SUM_RULES)
    assert set(opt.Per) == {"group", *KINDS, "atom"}
    assert list(opt.Quantity) == list(QUANTITIES)
    assert list(spectra_commands.Correction) == list(CORRECTIONS)
    assert list(spectra_commands.Detection) == list(DETECTIONS)
    assert list(spectra_commands.Bose) == list(BOSE_FACTORS)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, (None, None, None)),
        ({"frames": "100:"}, (100, None, None)),
        ({"frames": "::10"}, (None, None, 10)),
        ({"frames": " -50 : -1 : 2"}, (-50, -1, 2)),
        ({"start": 5, "stop": 9, "step": 2}, (5, 9, 2)),
    ],
)
def test_frames_in_one_option_or_as_0_1_0_had_them(options, chosen):
    assert opt.Trajectory(Path("a"), **options).chosen() == chosen


@pytest.mark.parametrize("frames", ["5", "a:b", "1:2:3:4", "1-5", "1.5:"])
def test_frames_that_are_no_range(frames):
    with pytest.raises(OptionError, match="write START:STOP:STEP"):
        opt.Trajectory(Path("a"), frames=frames).chosen()
    with pytest.raises(OptionError, match="two ways"):
        opt.Trajectory(Path("a"), frames=frames, step=2).chosen()


def test_how_many_frames_to_choose():
    assert opt.Choosing(Path("a"), count=3, frames="5:").how_many() == 3
    old = opt.Choosing(Path("a"), frames="20")
    assert old.how_many() == 20 and old.chosen() == (None, None, None)
    assert opt.Choosing(Path("a"), frames="20:").how_many() is None
    with pytest.raises(OptionError, match="--count 5 and --frames 100 are two ways"):
        opt.Choosing(Path("a"), count=5, frames="100").how_many()


def test_every_command_has_help_for_every_option():
    group = typer.main.get_command(app)
    below = group.commands["label"].commands
    for command in [*group.commands.values(), *below.values()]:
        if command.name == "label":
            continue
        assert command.help
        for parameter in command.params:
            known = parameter.hidden if parameter.param_type_name == "option" else False
            assert known or parameter.help, (command.name, parameter.name)


def test_one_name_is_one_thing():
    """An option that several commands have is spelt alike."""
    group = typer.main.get_command(app)
    spelt = {}
    for command in [*group.commands.values(), *group.commands["label"].commands.values()]:
        for parameter in command.params:
            if parameter.param_type_name == "option":
                names = tuple(sorted(parameter.opts))
                assert spelt.setdefault(parameter.name, names) == names, command.name


def test_help_imports_little_beyond_mdanalysis():
    """0.5 s of CPU time are allowed; what takes longer to start is not started."""
    code = (
        "import sys, MDAnalysis; before = set(sys.modules); sys.argv = ['mda-aptnn', '--help']\n"
        "from mda_aptnn.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('new', sorted({name.split('.')[0] for name in set(sys.modules) - before}))\n"
        "print('own', sum(name.startswith('mda_aptnn') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    shown, new, own = done.stdout.rsplit("\n", 3)[:3]
    assert "spectrum" in shown, done.stderr
    packages = set(ast.literal_eval(new.removeprefix("new ")))
    assert "mda_aptnn" in packages
    heavy = ("torch", "numba", "e3nn", "pint", "scipy", "matplotlib", "dask", "sympy", "vesin")
    assert not packages & set(heavy)
    assert int(own.removeprefix("own ")) < 30


@pytest.mark.slow
def test_help_and_wrong_options_import_nothing_heavy(tmp_path):
    code = (
        "import sys; from typer.testing import CliRunner; from mda_aptnn.cli import app; "
        "CliRunner().invoke(app, ['spectrum', '--help']); "
        f"found = CliRunner().invoke(app, ['spectrum', 'a', 'b', '-o', '{tmp_path}/x.h5']); "
        "assert 'no file a' in found.stderr; "
        "print([name for name in ('torch', 'numba', 'e3nn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
