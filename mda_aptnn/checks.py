"""What was found about a run, each with a verdict: fine, look at this, refused, or not known."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mda_aptnn.errors import CheckError


class Verdict(enum.StrEnum):
    """How a check ended, from harmless to grave."""

    FINE = "fine"
    UNKNOWN = "not known"
    LOOK = "look at this"
    REFUSED = "refused"


@dataclasses.dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    name : str
        What was looked at, in the field's words: "spacing of frames".
    found : str
        The number, with its unit and error.
    verdict : Verdict
    meaning : str
        What is expected, what it means if it is not so, and what to type.
    allow : str
        The option that lets a refused run go on ("--allow-aliasing"); empty where nothing does.
    """

    name: str
    found: str
    verdict: Verdict
    meaning: str
    allow: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}: {self.name}: {self.found}. {self.meaning}"

    @property
    def brief(self) -> str:
        """Name and what was found, for a line in a picture or a list."""
        return f"{self.name}: {self.found}"


@dataclasses.dataclass(frozen=True)
class Question:
    """A check that is made of many runs: all but what is found.

    Attributes
    ----------
    name, meaning, allow : str
        As in `Check`.
    """

    name: str
    meaning: str
    allow: str = ""

    def answer(
        self, found: str, passed: object, *, grave: bool = False, meaning: str = ""
    ) -> Check:
        """Return the check of one run.

        Parameters
        ----------
        found : str
        passed : bool or None
            None: not known.
        grave : bool
            Whether a run that did not pass is refused, and not only to be looked at.
        meaning : str
            In place of the usual one.
        """
        failed = Verdict.REFUSED if grave else Verdict.LOOK
        verdict = Verdict.UNKNOWN if passed is None else Verdict.FINE if passed else failed
        allow = self.allow if verdict is Verdict.REFUSED else ""
        return Check(self.name, found, verdict, meaning or self.meaning, allow)


class Checks(tuple[Check, ...]):
    """The checks of one run, in the order in which they were made."""

    __slots__ = ()

    @property
    def doubtful(self) -> Checks:
        """Those that are not fine: to be looked at, or refused."""
        return Checks(check for check in self if check.verdict in (Verdict.LOOK, Verdict.REFUSED))

    @property
    def worst(self) -> Verdict:
        """The gravest verdict; fine where there is no check."""
        order = list(Verdict)
        return max((check.verdict for check in self), key=order.index, default=Verdict.FINE)

    def allowing(self, options: Collection[str]) -> Checks:
        """Return the same checks, where what one of these options allows is to be looked at and not
        refused.

        Parameters
        ----------
        options : collection of str
            Such as "--allow-aliasing".
        """
        return Checks(
            dataclasses.replace(check, verdict=Verdict.LOOK)
            if check.verdict is Verdict.REFUSED and check.allow in options
            else check
            for check in self
        )

    def to_json(self) -> list[dict[str, str]]:
        """Return values that JSON can hold: one dictionary for each check."""
        return [{**dataclasses.asdict(check), "verdict": check.verdict.value} for check in self]

    @classmethod
    def from_json(cls, items: Iterable[Mapping[str, Any]]) -> Checks:
        """Return the checks that `to_json` wrote.

        Parameters
        ----------
        items : iterable of mapping
        """
        names = [field.name for field in dataclasses.fields(Check)]
        found: list[dict[str, Any]] = [
            {name: str(item[name]) for name in names if name in item} for item in items
        ]
        return cls(Check(**each | {"verdict": Verdict(each["verdict"])}) for each in found)

    def raise_refused(self) -> None:
        """Raise what cannot be right.

        Raises
        ------
        CheckError
            With the first refused check in one line: what was found, what it means, what to type.
        """
        for check in self:
            if check.verdict is Verdict.REFUSED:
                python = check.allow.lstrip("-").replace("-", "_")
                way_on = f" ({check.allow}, in Python {python}=True, if it is meant)"
                raise CheckError(f"{check.brief}. {check.meaning}{way_on if check.allow else ''}")

    def __repr__(self) -> str:
        return "\n".join(map(str, self))
