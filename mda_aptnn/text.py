"""Tables in plain text, for results that describe themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


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
