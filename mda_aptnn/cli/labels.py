"""Labelled frames as arguments of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mda_aptnn.labels.dataset import Dataset

Labels = Annotated[
    list[Path],
    typer.Argument(
        help="Labelled frames: HDF5 of mda-aptnn, or extended XYZ with apt:R:9, pgt:R:27 or both.",
        show_default=False,
    ),
]
Cell = Annotated[
    str | None,
    typer.Option(
        help='Cell of frames whose file has none: "a b c alpha beta gamma" in Å and degrees, or "none" for isolated '
        "molecules.",
        show_default=False,
    ),
]


def read(labels: list[Path], cell: str | None) -> Dataset:
    """Return the labelled frames of all files.

    Raises
    ------
    FileFormatError
        If a file is damaged, or has frames without a cell and none was given.
    FrameError
        If the cell cannot be understood.
    """
    import numpy as np

    from mda_aptnn.frame import cell_matrix
    from mda_aptnn.labels.dataset import read_labels

    if cell is None:
        return read_labels(labels)
    return read_labels(
        labels, np.zeros((3, 3)) if cell.strip().lower() == "none" else cell_matrix(cell)
    )
