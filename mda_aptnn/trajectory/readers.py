"""What MDAnalysis' readers of a format know, and what they only seem to know.

Times, cells and units of velocity are taken only where the format records them. What MDAnalysis
fills in where a file says nothing (a spacing of 1 ps, cells turned upright) is not.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from MDAnalysis.lib.mdamath import triclinic_box, triclinic_vectors
from MDAnalysis.units import get_conversion_factor

from mda_aptnn.errors import TrajectoryError
from mda_aptnn.frame import Array
from mda_aptnn.trajectory.h5md import read_in_blocks, stored_edges

#: Formats whose cells have a along x and b in the xy plane, as MDAnalysis makes them from lengths
#: and angles.
LOWER_TRIANGULAR = frozenset(
    {"TRR", "XTC", "GRO", "TNG", "TPR", "TRZ", "LAMMPSDUMP", "DATA", "NCDF", "NC"}
)
#: Readers that declare a velocity unit which the file does not hold: LAMMPS files are in the user's
#: unit style.
UNDECLARED = frozenset({"DATA", "LAMMPSDUMP"})


def readers_of(trajectory: Any) -> list[Any]:
    """Return the readers of all files of a trajectory, several where files are chained."""
    return list(getattr(trajectory, "readers", [trajectory]))


def format_names(reader: Any) -> set[str]:
    """Return the names of the format of a reader, or of a chain's current file, in capitals."""
    names = getattr(getattr(reader, "active_reader", reader), "format", "")
    return {str(name).upper() for name in ([names] if isinstance(names, str) else names)}


def source_files(universe: Any) -> list[Any]:
    """Return the names of the topology's and the trajectory's files, as far as they are files."""
    trajectory = universe.trajectory
    # of a chain of files it is an array
    names = [universe.filename, *getattr(trajectory, "filenames", [trajectory.filename])]
    return [name for name in names if name is not None]


def independent(trajectory: Any) -> Any:
    """Return a reader of its own, so that a loop over the trajectory is not disturbed."""
    with warnings.catch_warnings():
        # a LAMMPS dump says so each time it is opened, and it is dealt with where times are needed
        warnings.filterwarnings("ignore", message="Reader has no dt information")
        own = trajectory.copy()
    read_in_blocks(readers_of(own))
    return own


def velocity_conversion(reader: Any) -> float | None:
    """Return what a reader has multiplied velocities with to have Å/ps; None if not known."""
    own = getattr(reader, "velocity_factor", None)
    if own is not None:
        return float(own)
    unit = reader.units.get("velocity") if getattr(reader, "convert_units", False) else None
    return None if unit is None else float(get_conversion_factor("speed", unit, "Angstrom/ps"))


def knows_times(trajectory: Any) -> bool:
    """Return whether the time of the current timestep is recorded, or MDAnalysis was told it."""
    data, formats = trajectory.ts.data, format_names(trajectory)
    if "MEMORY" in formats:
        # an array in memory has a dt of 1 ps unless told otherwise, so 1 says nothing
        return data.get("dt") not in (None, 1)
    # the time that the reader of LAMMPS dumps gives is the step number times dt, 1 ps unless told
    # otherwise
    return "dt" in data or ("time" in data and "LAMMPSDUMP" not in formats)


def recorded_times(trajectory: Any) -> Array:
    """Return the times of all frames in ps. Moves the trajectory where they are not in an index."""
    parts = [_indexed_times(reader) for reader in readers_of(trajectory)]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or sum(map(len, known)) != trajectory.n_frames:
        return np.array([float(ts.time) for ts in trajectory])
    return np.concatenate(known)


def _indexed_times(reader: Any) -> Any:
    """All times of a file at once in ps; None where its frames have to be read one by one."""
    if "H5MD" not in format_names(reader):
        # the CP2K reader has them in its index
        return getattr(reader, "times", None)
    there = [name for name, is_there in getattr(reader, "_has", {}).items() if is_there]
    try:
        times = np.array(reader._particle_group[f"{there[0]}/time"][()], dtype=float)
    except (AttributeError, KeyError, IndexError):
        return None
    return reader.convert_time_from_native(times) if reader.convert_units else times


def timestep_cell(trajectory: Any) -> Array:
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
    vectors = _stored_vectors(trajectory)
    # unless somebody has set other dimensions since
    if vectors is not None and np.allclose(triclinic_box(*vectors), dimensions, rtol=1e-4):
        return vectors
    lengths, angles = dimensions[:3], dimensions[3:]
    there = lengths > 0
    whole = triclinic_vectors([*np.where(there, lengths, 1.0), *angles], dtype=np.float64)
    if not np.isfinite(dimensions).all() or (lengths < 0).any() or not whole.any():
        raise TrajectoryError(
            f"frame {ts.frame}: the cell {dimensions.tolist()} (lengths in Å, angles in degrees) "
            "has no volume; give the right one (cell=, --cell), or pbc='none' and cell= for a "
            "molecule in vacuum"
        )
    return np.where(there[:, None], whole, 0.0)


def is_oriented(trajectory: Any) -> bool:
    """Return whether the cell's orientation is known: by vectors, format or right angles."""
    dimensions = trajectory.ts.dimensions
    return bool(
        dimensions is None
        or np.allclose(dimensions[3:], 90, atol=1e-4)
        or _stored_vectors(trajectory) is not None
        or format_names(trajectory) & LOWER_TRIANGULAR
    )


def _stored_vectors(trajectory: Any) -> Array | None:
    reader = getattr(trajectory, "active_reader", trajectory)
    if "cell" in reader.ts.data:
        return np.asarray(reader.ts.data["cell"], dtype=float)
    if "H5MD" not in format_names(reader):
        return None
    try:
        edges = np.asarray(stored_edges(reader), dtype=float)
    except (AttributeError, KeyError):
        return None
    unit = reader.units.get("length") if reader.convert_units else None
    factor = get_conversion_factor("length", unit, "Angstrom") if unit else 1.0
    return edges * factor if edges.shape == (3, 3) else None
