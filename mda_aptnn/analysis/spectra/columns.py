"""Columns of numbers for other programs."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import hdf5


def write_columns(path: str | os.PathLike[str], columns: Mapping[str, NDArray[np.float64]]) -> None:
    """Write a table as CSV: a line of names, then the numbers in eight digits.

    Parameters
    ----------
    path : path
    columns : mapping of str to ndarray, shape [n_rows]
        By the name, with its unit, that heads the column.
    """
    with hdf5.replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(np.char.mod("%.8g", values) for values in columns.values()), strict=True))
