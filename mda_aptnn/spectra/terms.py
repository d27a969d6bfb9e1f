"""Auto and cross terms by the names of their groups: which there are, and where each stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mda_aptnn.errors import SpectrumError

#: In the place of a second group: all but the first, where these are too many to be kept apart.
OTHERS = "all others"


def group_index(groups: Sequence[str], name: str) -> int:
    """Return the number of a group.

    Raises
    ------
    SpectrumError
        If there is no such group; lists those that there are.
    """
    if name not in groups:
        more = f" and {len(groups) - 20} others" if len(groups) > 20 else ""
        raise SpectrumError(
            f"there is no group {name!r}; the groups are {', '.join(groups[:20])}{more}"
        )
    return groups.index(name)


def all_pairs(groups: Sequence[str]) -> list[tuple[str, str]]:
    """Return every auto and cross term once, autos first: the order of terms in segments and
    members.
    """
    autos = [(name, name) for name in groups]
    return autos + [(a, b) for k, a in enumerate(groups) for b in groups[k + 1 :]]


def pair_number(first: int, second: int, n_groups: int) -> int:
    """Return where in `all_pairs` the term of two groups stands, by their numbers in either order."""
    a, b = sorted((first, second))
    return a if a == b else n_groups + a * (2 * n_groups - a - 1) // 2 + b - a - 1


def pair_index(groups: Sequence[str], first: str, second: str) -> int:
    """Return the same by the names of the groups.

    Raises
    ------
    SpectrumError
        If there is no such group.
    """
    return pair_number(group_index(groups, first), group_index(groups, second), len(groups))


def term_of(values: Any, groups: Sequence[str], first: str, second: str) -> Any:
    """Return an auto term, or a whole cross term (both orders), [...] of values [..., n_groups,
    n_groups].

    Raises
    ------
    SpectrumError
        If there is no such group.
    """
    a, b = group_index(groups, first), group_index(groups, second)
    return values[..., a, b] if a == b else 2 * values[..., a, b]
