"""The blocks of code of a Markdown page, and how each is run."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from mda_aptnn.cli import app

_FENCED = re.compile(
    r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```[ \t]*$", re.M | re.S
)
#: An indented block whose first words are a command or an import is code as well; others are
#: formulas and files.
_INDENTED = re.compile(
    r"\n\n(?P<code>(?: {4}(?:mda-aptnn|python|pytest|pip|import|from) [^\n]*\n)(?: {4}[^\n]*\n)*)"
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code, without its indentation.

    Attributes
    ----------
    page : str
        Path from the root of the repository.
    line : int
        Of the page, where the block begins, from 1.
    language : str
        As behind the fence; empty for an indented block.
    code : str
    """

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(root: Path, page: str) -> list[Block]:
    """Return the blocks of a page in their order; directives such as ``{toctree}`` are Sphinx's to
    check.
    """
    text = (root / page).read_text()
    found = []
    for match in _FENCED.finditer(text):
        if not match["language"].startswith("{"):
            code = "".join(
                line.removeprefix(match["indent"]) for line in match["code"].splitlines(True)
            )
            found.append(
                Block(page, text.count("\n", 0, match.start()) + 1, match["language"].strip(), code)
            )
    # the same number of lines stays
    rest = _FENCED.sub(lambda match: "\n" * match[0].count("\n"), text)
    for match in _INDENTED.finditer(rest):
        code = "".join(line[4:] for line in match["code"].splitlines(True))
        found.append(Block(page, rest.count("\n", 0, match.start()) + 3, "", code))
    return sorted(found, key=lambda block: block.line)


def run(block: Block, names: dict[str, Any], shortened: Callable[[str], str]) -> None:
    """Run a block in the current folder.

    Parameters
    ----------
    block : Block
        Shell, Python, or a plan of training in TOML whose first line is a comment with the name of
        the file.
    names : dict
        What Python blocks of the page see and change.
    shortened : function
        What is run in the place of a command.

    Raises
    ------
    AssertionError
        If a command fails, or the block is of no language that can be run.
    """
    if block.language == "python":
        exec(compile(block.code, str(block), "exec"), names)
    elif block.language == "toml":
        tomllib.loads(block.code)
        Path(block.code.splitlines()[0].removeprefix("#").strip()).write_text(block.code)
    else:
        assert block.language == "bash", (
            f"{block} is neither bash, python nor toml, and not on the list"
        )
        for command in commands(block.code):
            _run_command(shortened(command))


def commands(code: str) -> list[str]:
    """Return the commands of a shell block, each in one line."""
    lines = code.replace("\\\n", " ").splitlines()
    return [
        part.strip()
        for line in lines
        for part in line.split("&&")
        if part.strip() and part.strip()[0] != "#"
    ]


def _run_command(command: str) -> None:
    """Run a command of this package in this process, which has imported everything already; others
    by the shell.
    """
    command = re.sub(
        r"\$\(cat ([\w./-]+)\)", lambda match: Path(match[1]).read_text().strip(), command
    )
    refused = command.startswith("! ")
    program, *words = shlex.split(command.removeprefix("! "), comments=True)
    if program == "mda-aptnn":
        result = CliRunner().invoke(app, words)
        said = f"{command}\n{result.output}{result.stderr}"
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise AssertionError(said) from result.exception
        assert (result.exit_code != 0) == refused, said
    else:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
