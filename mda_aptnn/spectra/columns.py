"""Columns of numbers for other programs."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io

#: How formulas of spreadsheets begin.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_columns(path: str | os.PathLike[str], columns: Mapping[str, NDArray[np.float64]]) -> None:
    """Write a table as CSV: a line of names, then the numbers in eight digits.

    A name that begins with one of ``= + - @`` or a tab is a formula to a spreadsheet: it gets ``'``
    before it, which spreadsheets do not show.

    Parameters
    ----------
    path : path
    columns : mapping of str to ndarray, shape [n_rows]
        By the name, with its unit, that heads the column.
    """
    with io.replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(f"'{name}" if name.startswith(_FORMULA) else name for name in columns)
        writer.writerows(
            zip(*(np.char.mod("%.8g", values) for values in columns.values()), strict=True)
        )
