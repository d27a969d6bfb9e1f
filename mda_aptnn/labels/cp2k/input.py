"""A CP2K input as sections and lines: edited by section, everything else kept byte for byte.

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

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclasses.dataclass(eq=False)
class Line:
    """A keyword with its value, a directive (``@SET``), a comment or an empty line.

    Attributes
    ----------
    text : str
        As it is written, with its end of line; a continued line is one.
    start : int
        Where it begins in the file, counted from 0.
    name : str
        In upper case; empty for a comment.
    value : str
        What follows the name, without a comment; of a section its parameter.
    """

    text: str
    start: int
    name: str = ""
    value: str = ""


@dataclasses.dataclass(eq=False)
class Section(Line):
    """A section: its ``&NAME``, what is inside, and its ``&END`` as it is written."""

    items: list[Line] = dataclasses.field(default_factory=list)
    end: str = ""

    @property
    def sections(self) -> list[Section]:
        """The sections directly inside."""
        return [item for item in self.items if isinstance(item, Section)]

    @property
    def keywords(self) -> list[Line]:
        """Keywords and directives directly inside."""
        return [item for item in self.items if item.name and not isinstance(item, Section)]

    @property
    def directives(self) -> list[Line]:
        """Preprocessor directives directly inside."""
        return [item for item in self.keywords if item.name.startswith("@")]

    def walk(self) -> Iterator[Section]:
        """Yield the section and all below it."""
        yield self
        for section in self.sections:
            yield from section.walk()

    def written(self) -> str:
        """Return the section as it is written."""
        inside = (x.written() if isinstance(x, Section) else x.text for x in self.items)
        return "".join([self.text, *inside, self.end])


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
        self.root = self._parse(text if text.endswith(("\n", "\r")) else text + self._newline)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> CP2KInput:
        """Read a file; bytes that are not ASCII are kept as they are."""
        return cls(Path(path).read_bytes().decode("latin-1"), Path(path).name)

    @property
    def text(self) -> str:
        """The input as it stands."""
        return self.root.written()

    def copy(self) -> CP2KInput:
        """Return another one to edit."""
        return CP2KInput(self.text, self.name)

    def refuse(self, item: Line | None, message: str) -> None:
        """Raise an error that names the line of an item, if there is one."""
        if item is not None:
            raise CampaignError(f"{self.name}, line {item.start + 1}: {message}")

    def _parse(self, text: str) -> Section:
        root = Section("", -1)
        stack, lines, end = [root], text.splitlines(keepends=True), 0
        while end < len(lines):
            start, line = end, _without_comment(lines[end])
            end += 1
            while line.endswith("\\") and end < len(lines):
                line = line[:-1].rstrip() + " " + _without_comment(lines[end])
                end += 1
            word, _, rest = line.partition(" ")
            item = Line("".join(lines[start:end]), start, word.upper(), rest.strip())
            here = stack[-1]
            if item.name == "&END":
                if len(stack) == 1:
                    self.refuse(item, f"{line!r} closes nothing")
                if item.value and item.value.split()[0].upper() != here.name:
                    open_line = here.start + 1
                    self.refuse(item, f"{line!r} where &{here.name} of line {open_line} is open")
                stack.pop().end = item.text
                continue
            if word.startswith("&"):
                item = Section(item.text, start, item.name[1:], item.value)
                stack.append(item)
            here.items.append(item)
        if len(stack) > 1:
            self.refuse(stack[-1], f"&{stack[-1].name} is never closed")
        return root

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
        for extra in found[1:]:
            first = found[0].start + 1
            self.refuse(extra, f"a second &{extra.name}, the first is in line {first}")
        return found[0] if found else None

    def lines(self, section: Section) -> list[str]:
        """Return what is written inside a section, without comments and blank lines."""
        return list(filter(None, (_without_comment(item.text) for item in section.items)))

    def keyword(self, path: str, name: str) -> Line | None:
        """Return the last of the keywords of this name in a section, or None."""
        section = self.section(path)
        found = [item for item in section.keywords if item.name == name] if section else []
        return found[-1] if found else None

    def value(self, path: str, name: str, default: str) -> str:
        """Return the value of a keyword, upper case, with ``@SET`` variables put in; `default` if
        it is not set.
        """
        item = self.keyword(path, name)
        return default if item is None else self.expand(item).upper()

    def expand(self, item: Line, text: str | None = None) -> str:
        """Return the value of an item, or a text in it, with its ``@SET`` variables put in.

        Raises
        ------
        CampaignError
            If a variable is not set in this file.
        """
        text = item.value if text is None else text
        if "$" not in text:
            return text
        lines = (line for section in self.root.walk() for line in section.directives)
        words = (line.value.split(maxsplit=1) for line in lines if line.name == "@SET")
        variables = {pair[0].upper(): pair[1] for pair in words if len(pair) == 2}
        for match in _VARIABLE.finditer(text):
            if (match[1] or match[2]).upper() not in variables:
                where = "is not set in this file; write its value here"
                self.refuse(item, f"the variable {match[0]} {where}")
        return _VARIABLE.sub(lambda match: variables[(match[1] or match[2]).upper()], text)

    # editing

    def replace_section(self, path: str, body: Sequence[str], parameter: str = "") -> None:
        """Put `body` in place of a section; the section and those above are made where they are
        missing.
        """
        old, (parent, _, name) = self.section(path), path.rpartition("/")
        lines = [f"&{name} {parameter}".rstrip(), *("  " + item for item in body), f"&END {name}"]
        new = self._parse(self._indented(lines, path.count("/"))).items
        items = self._made(parent).items
        where = slice(0, 0) if old is None else slice(items.index(old), items.index(old) + 1)
        items[where] = new

    def set_keyword(self, path: str, name: str, value: str, *aliases: str) -> None:
        """Give a keyword its value, once in its section."""
        self.remove_keywords(path, name, *aliases)
        text = self._indented([f"{name} {value}"], path.count("/") + 1)
        self._made(path).items[:0] = self._parse(text).items

    def remove_keywords(self, path: str, *names: str) -> None:
        """Delete keywords of these names from a section."""
        section = self.section(path)
        for item in section.keywords if section else []:
            if section and item.name in names:
                section.items.remove(item)

    def remove_section(self, path: str) -> None:
        """Delete all sections of this path."""
        for parent in self.all(path.rpartition("/")[0]):
            kept = {id(item) for item in self.all(path)}
            parent.items = [item for item in parent.items if id(item) not in kept]

    def _made(self, path: str) -> Section:
        """The section of a path, made if it is missing."""
        if self.section(path) is None:
            self.replace_section(path, [])
        return self.all(path)[0]

    def _indented(self, lines: Sequence[str], depth: int) -> str:
        return "".join(f"{'  ' * depth}{line}{self._newline}" for line in lines)


def _without_comment(line: str) -> str:
    return re.split(r"[!#]", line, maxsplit=1)[0].strip().replace("\t", " ")
