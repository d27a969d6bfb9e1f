"""Frames of an H5MD file in blocks.

For each frame, MDAnalysis' reader opens some twenty groups and data sets anew, which takes longer
than to read what is in them.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from MDAnalysis.coordinates.H5MD import H5MDReader
from MDAnalysis.lib.mdamath import triclinic_box

#: Frames that are read together where frame follows frame, and bytes of them.
MOST_FRAMES = 64
MOST_BYTES = 4_000_000
#: Groups of the file, and what a Timestep calls them.
FIELDS = {"position": "positions", "velocity": "velocities", "force": "forces"}


class BlockReader(H5MDReader):
    """MDAnalysis' reader, with data sets that stay open and frames that are read in blocks.

    What a frame holds is the same to the last bit. Files with observables, and those whose data
    sets do not fit each other, are left to MDAnalysis.
    """

    # No `format`: MDAnalysis' own reader stays the one that is registered. `open_trajectory` and
    # unpickling begin with these values.
    _sets: dict[str, Any] | None = None
    _block: Any = None
    _numbers = range(0)
    _stride = 0

    def open_trajectory(self) -> None:
        """Open the file, and forget what was read of it."""
        super().open_trajectory()
        self._forget(self.__dict__)

    def close(self) -> None:
        """Close the file; what was read of it is forgotten."""
        super().close()
        self._forget(self.__dict__)

    def __getstate__(self) -> dict[str, Any]:
        return self._forget(super().__getstate__())

    @staticmethod
    def _forget(state: dict[str, Any]) -> dict[str, Any]:
        for name in ("_sets", "_block", "_numbers", "_stride"):
            state.pop(name, None)
        return state

    @property
    def n_frames(self) -> int:
        """Number of frames of the trajectory."""
        return self._open()["n_frames"] if self._open() else int(super().n_frames)

    def _open(self) -> dict[str, Any]:
        """The data sets that a frame is read of, empty where it is left to MDAnalysis."""
        if self._sets is None:
            try:
                self._sets = self._plain()
            except (AttributeError, KeyError, StopIteration):
                self._sets = {}
        return self._sets

    def _plain(self) -> dict[str, Any]:
        group = self._particle_group
        there = [name for name, is_there in self._has.items() if is_there]
        values = {name: group[name]["value"] for name in there}
        sets = {name: group[there[0]][name] for name in ("time", "step")}
        if "edges" in group["box"]:
            sets["edges"] = group["box/edges/value"]
        n_frames = len(values[there[0]])
        shapes = {values[name].shape for name in there}
        fits = shapes == {(n_frames, self.n_atoms, 3)} and "observables" not in self._file
        if not fits or any(len(data) != n_frames for data in sets.values()):
            return {}
        return {"values": values, "sets": sets, "n_frames": n_frames}

    def _read_frame(self, frame: int) -> Any:
        if frame not in self._numbers and not self._read_block(frame):
            self._numbers = range(0)
            return super()._read_frame(frame)
        place, block, ts = self._numbers.index(frame), self._block, self.ts
        self._frame = ts.frame = frame
        ts.time, ts.data["step"] = block["time"][place], block["step"][place]
        if "edges" in block:
            edges = block["edges"][place]
            cuboid = edges.shape == (3,)
            ts.dimensions = [*edges, 90, 90, 90] if cuboid else triclinic_box(*edges)
        else:
            ts.dimensions = None
        if self.convert_units:
            ts.time = self.convert_time_from_native(ts.time)
            if ts.dimensions is not None:
                self.convert_pos_from_native(ts.dimensions[:3])
        for name in self._open()["values"]:
            getattr(ts, FIELDS[name])[:] = block[name][place]
        return ts

    def _read_block(self, frame: int) -> bool:
        """Read this frame, and more of them where frames have been read with one stride."""
        sets = self._open()
        if not sets or not 0 <= frame < sets["n_frames"]:
            return False
        stride = frame - self._frame
        length = 1
        if stride == self._stride > 0:
            most = min(MOST_FRAMES, MOST_BYTES // (12 * self.n_atoms * len(sets["values"])))
            length = max(1, min(2 * len(self._numbers), most))
        stop = min(frame + max(stride, 1) * length, sets["n_frames"])
        self._stride, numbers = stride, range(frame, stop, max(stride, 1))
        chosen = np.s_[numbers.start : numbers.stop : numbers.step]
        convert = {
            "position": self.convert_pos_from_native,
            "velocity": self.convert_velocities_from_native,
            "force": self.convert_forces_from_native,
        }
        try:
            block = {name: data[chosen] for name, data in sets["sets"].items()}
            for name, data in sets["values"].items():
                # HDF5 converts numbers to float32, as it does for a single frame
                block[name] = np.empty((len(numbers), self.n_atoms, 3), dtype=np.float32)
                data.read_direct(block[name], source_sel=chosen)
                if self.convert_units:
                    convert[name](block[name])
        except (OSError, ValueError, TypeError, KeyError):
            # a later frame may be damaged, or MDAnalysis says what is wrong
            return False
        self._block, self._numbers = block, numbers
        return True


def read_in_blocks(readers: list[Any]) -> None:
    """Let MDAnalysis' readers of H5MD files read in blocks from now on."""
    for reader in readers:
        # a file that is open already may be written to
        if type(reader) is H5MDReader and not isinstance(reader.filename, h5py.File):
            reader.__class__ = BlockReader


def stored_edges(reader: Any) -> Any:
    """Return the edges of the cell as the file has them: of a cuboid [3], or vectors [3, 3]."""
    numbers = getattr(reader, "_numbers", ())
    if reader._frame in numbers:
        return reader._block["edges"][numbers.index(reader._frame)]
    return reader._particle_group["box/edges/value"][reader._frame]
