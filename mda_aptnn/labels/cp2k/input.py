"""A CP2K input as lines and sections: edited by section, everything else kept byte for byte.

The structure is read just well enough to know where sections and keywords begin and end. What the
preprocessor could hide (``@INCLUDE``, ``@IF``) is found, so that who edits can refuse.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mda_aptnn.errors import CampaignError

_SET = re.compile(r"^\s*@SET\s+(\w+)\s+(.*?)\s*$", re.I)
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclasses.dataclass
class Keyword:
    """A keyword with its value, in lines `start` to `end` (counted from 0, `end` not included)."""

    name: str
    value: str
    start: int
    end: int


@dataclasses.dataclass
class Section:
    """A section from its ``&NAME`` in line `start` to the line after its ``&END``."""

    name: str
    parameter: str
    start: int
    end: int = -1
    sections: list[Section] = dataclasses.field(default_factory=list)
    keywords: list[Keyword] = dataclasses.field(default_factory=list)
    #: Preprocessor directives directly inside: name, what follows it, line.
    directives: list[tuple[str, str, int]] = dataclasses.field(default_factory=list)

    def walk(self) -> Iterator[Section]:
        """Yield the section and all below it."""
        yield self
        for section in self.sections:
            yield from section.walk()


class CP2KInput:
    """The text of an input, which each edit changes.

    Parameters
    ----------
    text : str
        The input; read files with `read`, which keeps every byte.
    name : str
        How error messages call it.

    Raises
    ------
    CampaignError
        If sections do not close; names the line.
    """

    def __init__(self, text: str, name: str = "template") -> None:
        self.name = name
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._lines = text.splitlines(keepends=True)
        if self._lines and not self._lines[-1].endswith(("\n", "\r")):
            self._lines[-1] += self._newline
        self._parse()

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> CP2KInput:
        """Read a file; bytes that are not ASCII are kept as they are."""
        return cls(Path(path).read_bytes().decode("latin-1"), Path(path).name)

    @property
    def text(self) -> str:
        """The input as it stands."""
        return "".join(self._lines)

    def copy(self) -> CP2KInput:
        """Return another one to edit."""
        return CP2KInput(self.text, self.name)

    def refuse(self, item: Section | Keyword | int | None, message: str) -> None:
        """Raise an error that names the line of an item, or this line, if there is one."""
        if item is not None:
            line = item if isinstance(item, int) else item.start
            raise CampaignError(f"{self.name}, line {line + 1}: {message}")

    def _parse(self) -> None:
        self.variables: dict[str, str] = {}
        self.root = Section("", "", -1, len(self._lines))
        stack = [self.root]
        number = 0
        while number < len(self._lines):
            start, line = number, _without_comment(self._lines[number])
            number += 1
            while line.endswith("\\") and number < len(self._lines):
                line = line[:-1].rstrip() + " " + _without_comment(self._lines[number])
                number += 1
            if not line:
                continue
            here = stack[-1]
            word, _, rest = line.partition(" ")
            if word.startswith("@"):
                here.directives.append((word.upper(), rest.strip(), start))
                match = _SET.match(line)
                if match:
                    self.variables[match[1].upper()] = match[2]
            elif word.upper() == "&END":
                if len(stack) == 1:
                    self.refuse(start, f"{line!r} closes nothing")
                if rest.strip() and rest.split()[0].upper() != here.name:
                    self.refuse(
                        start, f"{line!r} where &{here.name} of line {here.start + 1} is open"
                    )
                stack.pop().end = number
            elif word.startswith("&"):
                section = Section(word[1:].upper(), rest.strip(), start)
                here.sections.append(section)
                stack.append(section)
            else:
                here.keywords.append(Keyword(word.upper(), rest.strip(), start, number))
        if len(stack) > 1:
            self.refuse(stack[-1].start, f"&{stack[-1].name} is never closed")

    # reading

    def all(self, path: str) -> list[Section]:
        """Return the sections of a path such as ``"FORCE_EVAL/DFT/SCF"``; the root for ``""``."""
        found = [self.root]
        for name in filter(None, path.split("/")):
            found = [child for section in found for child in section.sections if child.name == name]
        return found

    def section(self, path: str) -> Section | None:
        """Return the only section of this path, or None.

        Raises
        ------
        CampaignError
            If there are several: which one CP2K takes is not guessed.
        """
        found = self.all(path)
        if len(found) > 1:
            self.refuse(
                found[1].start,
                f"a second &{found[1].name}, the first is in line {found[0].start + 1}",
            )
        return found[0] if found else None

    def lines(self, section: Section) -> list[str]:
        """Return what is written inside a section, without comments and blank lines."""
        inside = (
            _without_comment(line) for line in self._lines[section.start + 1 : section.end - 1]
        )
        return [line for line in inside if line]

    def keyword(self, path: str, *names: str) -> Keyword | None:
        """Return the last of the keywords of these names (aliases) in a section, or None."""
        section = self.section(path)
        found = [item for item in section.keywords if item.name in names] if section else []
        return found[-1] if found else None

    def value(self, path: str, name: str, default: str) -> str:
        """Return the value of a keyword, upper case, with ``@SET`` variables put in; `default` if
        it is not set.
        """
        item = self.keyword(path, name)
        return default if item is None else self.expand(item.value, item.start).upper()

    def expand(self, value: str, line: int) -> str:
        """Return `value` with its ``@SET`` variables put in.

        Raises
        ------
        CampaignError
            If a variable is not set in this file.
        """

        def known(match: re.Match[str]) -> str:
            name = (match[1] or match[2]).upper()
            if name not in self.variables:
                self.refuse(
                    line, f"the variable {match[0]} is not set in this file; write its value here"
                )
            return self.variables[name]

        return _VARIABLE.sub(known, value)

    # editing

    def replace_section(self, path: str, body: Sequence[str], parameter: str = "") -> None:
        """Put `body` in place of a section; the section and those above are made where they are
        missing.
        """
        section = self.section(path)
        parent, _, name = path.rpartition("/")
        start = self._inside(parent) if section is None else section.start
        lines = [f"&{name} {parameter}".rstrip(), *("  " + item for item in body), f"&END {name}"]
        self._splice(start, start if section is None else section.end, lines, path.count("/"))

    def set_keyword(self, path: str, name: str, value: str, *aliases: str) -> None:
        """Give a keyword its value, once in its section."""
        self.remove_keywords(path, name, *aliases)
        line = self._inside(path)
        self._splice(line, line, [f"{name} {value}"], path.count("/") + 1)

    def remove_keywords(self, path: str, *names: str) -> None:
        """Delete keywords of these names from a section."""
        section = self.section(path)
        for item in reversed(section.keywords if section else []):
            if item.name in names:
                del self._lines[item.start : item.end]
        self._parse()

    def remove_section(self, path: str) -> None:
        """Delete all sections of this path."""
        for section in reversed(self.all(path)):
            del self._lines[section.start : section.end]
        self._parse()

    def _inside(self, path: str) -> int:
        """The line behind the head of a section, made if missing."""
        section = self.section(path)
        if section is None:
            self.replace_section(path, [])
            return self._inside(path)
        return section.start + 1

    def _splice(self, start: int, end: int, lines: Sequence[str], depth: int) -> None:
        self._lines[start:end] = [f"{'  ' * depth}{line}{self._newline}" for line in lines]
        self._parse()


def _without_comment(line: str) -> str:
    return re.split(r"[!#]", line, maxsplit=1)[0].strip().replace("\t", " ")
