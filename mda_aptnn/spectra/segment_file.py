"""Segments of a spectrum on disk, from which its error bars are made again."""

from __future__ import annotations

import h5py
import numpy as np

from mda_aptnn import io, units
from mda_aptnn.spectra.statistics import Segments


def write_segments(group: h5py.Group, segments: Segments, unit: str) -> None:
    """Write segments, whose terms are in `unit`, into an empty group."""
    io.write_array(group, "terms", segments.terms, unit)
    io.write_array(group, "lengths", segments.lengths, units.TIME)
    group.attrs["inflation"] = segments.inflation


def read_segments(group: h5py.Group, unit: str, shape: tuple[int, ...]) -> Segments:
    """Read what `write_segments` wrote, with terms [n_segments, *shape] in `unit`.

    Raises
    ------
    FileFormatError
        If its arrays are missing, damaged or of other shapes.
    """
    lengths = io.read_array(group, "lengths", units.TIME, (None,))
    terms = io.read_array(group, "terms", unit, (len(lengths), *shape))
    return Segments(np.asarray(terms, dtype=np.float32), lengths, float(group.attrs["inflation"]))
