"""Tables and lines of plain text, for results that describe themselves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

#: Longer texts of fields are cut in a line of `short`.
_LONG = 60


def table(rows: Mapping[Any, Mapping[str, Any]]) -> list[str]:
    """Return numbers in columns, a line for each row; names of columns are the keys of the rows."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    cells: list[list[Any]] = [["", *(key.replace("_", " ") for key in columns)]]
    for name, row in rows.items():
        values = [row.get(key) for key in columns]
        shown = [f"{v:.4f}" if isinstance(v, float) else "" if v is None else v for v in values]
        cells.append([name, *shown])
    widths = [max(len(str(cell)) for cell in column) for column in zip(*cells, strict=True)]
    return [
        "  ".join(f"{cell!s:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]


def with_error(found: Any, sign: str = " ± ") -> str:
    """Return a number and its error (`Measured`), which has two digits, or five digits without."""
    if not (math.isfinite(found.error) and found.error > 0):
        return f"{found.value:.5g}"
    digits = 1 - math.floor(math.log10(found.error))
    value, error = (
        f"{round(number, digits):.{max(digits, 0)}f}" for number in (found.value, found.error)
    )
    return f"{value}{sign}{error}"


def short(found: Any) -> str:
    """Return a dataclass in one line, in which arrays and long lists are counted: a ``__repr__``
    for those that hold many numbers.
    """
    fields = ((field.name, getattr(found, field.name)) for field in dataclasses.fields(found))
    shown = ", ".join(f"{name}={_counted(value)}" for name, value in fields)
    return f"{type(found).__name__}({shown})"


def _counted(value: Any) -> str:
    if shape := getattr(value, "shape", ()):
        return f"<{'×'.join(map(str, shape))} {getattr(value, 'units', 'numbers')}>"
    if isinstance(value, list | tuple):
        return f"<{len(value)}>"
    said = f"<{', '.join(map(str, value))}>" if isinstance(value, dict) else repr(value)
    return said if len(said) <= _LONG else f"{said[:_LONG]}...>"
