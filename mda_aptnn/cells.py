"""The cell of a timestep as three vectors in the orientation of its positions, and which directions
repeat.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from MDAnalysis.lib.mdamath import triclinic_box, triclinic_vectors
from MDAnalysis.units import get_conversion_factor
from numpy.typing import NDArray

from mda_aptnn.errors import TrajectoryError

#: Formats whose cells have a along x and b in the xy plane, as MDAnalysis makes them from lengths
#: and angles.
LOWER_TRIANGULAR = frozenset(
    {"TRR", "XTC", "GRO", "TNG", "TPR", "TRZ", "LAMMPSDUMP", "DATA", "NCDF", "NC"}
)


def active_reader(trajectory: Any) -> Any:
    """The reader of the current file, where several files are chained."""
    return getattr(trajectory, "active_reader", trajectory)


def format_names(reader: Any) -> set[str]:
    """The names under which MDAnalysis knows the format of a reader, in capitals."""
    names = getattr(reader, "format", "")
    return {str(name).upper() for name in ([names] if isinstance(names, str) else names)}


def timestep_cell(trajectory: Any) -> NDArray[np.float64]:
    """Return the cell vectors of the current timestep, with zero rows where there are none.

    Lengths and angles, all that a Timestep has, lose the orientation. The vectors themselves are
    taken where they are to be had: from ``ts.data["cell"]`` (this package's CP2K reader) and from
    the file in H5MD.

    Returns
    -------
    ndarray, shape [3, 3]
        In Å.

    Raises
    ------
    TrajectoryError
        If lengths or angles belong to no cell.
    """
    ts = trajectory.ts
    if ts.dimensions is None:
        return np.zeros((3, 3))
    dimensions = np.asarray(ts.dimensions, dtype=float)
    vectors = _stored_vectors(active_reader(trajectory))
    # unless somebody has set other dimensions since
    if vectors is not None and np.allclose(triclinic_box(*vectors), dimensions, rtol=1e-4):
        return vectors
    lengths, angles = dimensions[:3], dimensions[3:]
    there = lengths > 0
    whole = triclinic_vectors([*np.where(there, lengths, 1.0), *angles], dtype=np.float64)
    if not np.isfinite(dimensions).all() or (lengths < 0).any() or not whole.any():
        raise TrajectoryError(
            f"frame {ts.frame}: the cell {dimensions.tolist()} (lengths in Å, angles in degrees) "
            f"has no volume; "
            "give the right one (cell=, --cell), or pbc='none' and cell= for a molecule in vacuum"
        )
    return np.where(there[:, None], whole, 0.0)


def is_oriented(trajectory: Any) -> bool:
    """Whether the orientation of the current cell is known: by vectors, by the format, or by right
    angles.
    """
    ts = trajectory.ts
    if ts.dimensions is None or np.allclose(ts.dimensions[3:], 90, atol=1e-4):
        return True
    reader = active_reader(trajectory)
    return _stored_vectors(reader) is not None or bool(format_names(reader) & LOWER_TRIANGULAR)


def _stored_vectors(reader: Any) -> NDArray[np.float64] | None:
    if "cell" in reader.ts.data:
        return np.asarray(reader.ts.data["cell"], dtype=float)
    if "H5MD" not in format_names(reader):
        return None
    try:
        edges = np.asarray(reader._particle_group["box/edges/value"][reader._frame], dtype=float)
    except (AttributeError, KeyError):
        return None
    if edges.shape != (3, 3):
        return None
    unit = reader.units.get("length") if reader.convert_units else None
    vectors: NDArray[np.float64] = edges * (
        get_conversion_factor("length", unit, "Angstrom") if unit else 1.0
    )
    return vectors


def periodic_directions(pbc: Any) -> NDArray[np.bool_]:
    """Return which cell vectors repeat.

    Parameters
    ----------
    pbc : bool, str or sequence of three bool
        ``True``, ``"xyz"``, ``"xy"``, ``"none"``, ``(True, True, False)``.

    Raises
    ------
    TrajectoryError
        If it is none of these.
    """
    if isinstance(pbc, str):
        axes = "" if pbc.strip().lower() == "none" else pbc.strip().lower()
        if pbc.strip() and set(axes) <= set("xyz"):
            return np.array([axis in axes for axis in "xyz"])
    else:
        values = np.asarray(pbc)
        if values.dtype == bool and values.shape in ((), (3,)):
            return np.broadcast_to(values, (3,)).copy()
    raise TrajectoryError(
        f"pbc {pbc!r}: give the periodic directions, like 'xyz', 'xy' or 'none', or three booleans"
    )
