"""How large the package is, and how much of it one spectrum passes through.

    python benchmarks/size.py [--files] [--no-spectrum]

Lines of code are those that hold a token of the program: no docstrings, comments or empty lines.
A warm spectrum is `mda-aptnn spectrum` of 250 frames of the bundled trajectory, the second in one
process; functions of this package are counted once each, as are the files they stand in.
"""

from __future__ import annotations

import argparse
import ast
import collections
import io
import sys
import tempfile
import tokenize
from pathlib import Path

import mda_aptnn

PACKAGE = Path(mda_aptnn.__file__).parent
EMPTY = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def lines_of_code(path: Path) -> int:
    """Return the lines of a file that are neither empty nor of comments or docstrings alone."""
    text = path.read_text()
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for part in body if isinstance(body, list) else ():
            value = part.value if isinstance(part, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                documented.update(range(part.lineno, (part.end_lineno or part.lineno) + 1))
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in EMPTY:
            found.update(range(token.start[0], token.end[0] + 1))
    return len(found - documented)


def passed_through(command: list[str], folder: str) -> tuple[int, int]:
    """Return how many functions of the package a command calls, and in how many files."""
    from typer.testing import CliRunner

    from mda_aptnn.cli import app

    seen = set()

    def note(frame: object, event: str, argument: object) -> None:
        code = frame.f_code  # type: ignore[attr-defined]
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            seen.add((code.co_filename, code.co_qualname))

    for attempt in ("cold", "warm"):  # the second time all is imported and compiled
        seen.clear()
        sys.setprofile(note)
        try:
            result = CliRunner().invoke(app, [*command, "-o", f"{folder}/{attempt}.h5"])
        finally:
            sys.setprofile(None)
        if result.exit_code:
            raise SystemExit(result.output)
    named = {(file, name) for file, name in seen if not name.endswith(">")}
    return len(named), len({file for file, _ in named})


def main() -> None:
    """Print the lines of every folder, and what a spectrum passes through."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", action="store_true", help="every file, too")
    parser.add_argument("--no-spectrum", action="store_true", help="count lines only")
    arguments = parser.parse_args()
    total: collections.Counter[str] = collections.Counter()
    n_files = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE)
        number = lines_of_code(path)
        n_files += 1
        total[own.parts[0] if len(own.parts) > 1 else "."] += number
        if arguments.files:
            print(f"{number:6d}  {own}")
    for folder, number in sorted(total.items()):
        print(f"{number:6d}  {folder}")
    print(f"{sum(total.values()):6d}  lines of code in {n_files} files")
    if not arguments.no_spectrum:
        from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY

        with tempfile.TemporaryDirectory() as folder:
            command = ["spectrum", str(WATER64_TOPOLOGY), str(WATER64_TRAJECTORY)]
            command += ["--model", "water-rpbe-d3", "--temperature", "319 K", "--stop", "250"]
            command += ["--resolution", "200 cm^-1"]
            functions, files = passed_through(command, folder)
        print(f"one warm spectrum: {functions} functions in {files} files")


if __name__ == "__main__":
    main()
