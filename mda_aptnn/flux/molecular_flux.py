"""Flux and centre of every molecule along a trajectory, block by block, so that no more than a
block is in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.compiled import kept_exactly
from mda_aptnn.elements import masses_of
from mda_aptnn.errors import FileFormatError, TrajectoryError
from mda_aptnn.flux.atom_flux import StoredAtoms, open_atoms
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.frame import Cell
from mda_aptnn.trajectory.molecules import Molecules, broken_note, find_molecules

#: Bytes of atoms that are read from a file at a time.
_CHUNK_BYTES = 16_000_000


@dataclasses.dataclass(frozen=True)
class MoleculeBlock:
    """Consecutive frames of all molecules, time last, so that loops and transforms over time run
    through memory.

    Attributes
    ----------
    flux : ndarray, shape [n_molecules, 3, n_frames]
        In e·Å/ps.
    centres : ndarray, shape [n_molecules, 3, n_frames]
        Centres of mass in Å, in any periodic image.
    cells : ndarray, shape [n_frames, 3, 3]
        Rows in Å, zero in directions that do not repeat.
    """

    flux: NDArray[np.float64]
    centres: NDArray[np.float64]
    cells: NDArray[np.float64]


class MoleculesInMemory:
    """Molecules whose flux is in arrays.

    Parameters
    ----------
    flux, centres : ndarray, shape [n_frames, n_molecules, 3]
        In e·Å/ps and Å.
    cells : ndarray, shape [3, 3] or [n_frames, 3, 3]
        Rows in Å, zero in directions that do not repeat.
    starts : list of int
        First frame of each uninterrupted series.

    Raises
    ------
    TrajectoryError
        If shapes disagree or a number is not finite.
    """

    def __init__(
        self,
        flux: NDArray[np.floating[Any]],
        centres: NDArray[np.floating[Any]],
        cells: NDArray[np.float64],
        starts: list[int] | None = None,
    ) -> None:
        if flux.ndim != 3 or flux.shape[2] != 3 or centres.shape != flux.shape:
            raise TrajectoryError(
                f"flux {flux.shape} and centres {centres.shape} of molecules must both be "
                "[n_frames, n_molecules, 3]"
            )
        if not (np.isfinite(flux).all() and np.isfinite(centres).all()):
            raise TrajectoryError("a flux or a centre of a molecule is not finite")
        self.n_frames, self.n_molecules = flux.shape[:2]
        self.starts = starts or [0]
        self._flux, self._centres = flux, centres
        self._cells = np.broadcast_to(np.asarray(cells, dtype=float), (self.n_frames, 3, 3))

    def read(self, start: int, stop: int) -> MoleculeBlock:
        """Return the frames from `start` to before `stop`.

        Parameters
        ----------
        start, stop : int
            Frames.

        Returns
        -------
        MoleculeBlock
        """
        flux, centres = (
            np.ascontiguousarray(np.moveaxis(values[start:stop], 0, -1), dtype=np.float64)
            for values in (self._flux, self._centres)
        )
        return MoleculeBlock(flux, centres, self._cells[start:stop])


class MoleculesOfFile:
    """Molecules whose atoms' flux is in a file; open it with `open_molecules`.

    Parameters
    ----------
    atoms : StoredAtoms
        With atom_flux, positions and cells.
    molecules : mda_aptnn.trajectory.molecules.Molecules
        Of these atoms.
    starts : list of int
        First frame of each uninterrupted series.

    Attributes
    ----------
    broken : ndarray of int, shape [n_frames]
        Number of the first bond that is broken in a frame, −1 for none, and for frames that were
        not read.
    """

    def __init__(self, atoms: StoredAtoms, molecules: Molecules, starts: list[int]) -> None:
        self._data, self._molecules = atoms.data, molecules
        self.n_frames, self.n_molecules, self.starts = len(atoms), len(molecules), starts
        self.broken = np.full(self.n_frames, -1, dtype=np.int64)
        none = np.zeros(0, dtype=np.int64)
        levels = zip(*molecules.tree, strict=True) if molecules.tree else [[none], [none]]
        parents, children = map(np.concatenate, levels)
        place = {frozenset(pair): k for k, pair in enumerate(molecules.bonds.tolist())}
        edges = zip(parents.tolist(), children.tolist(), strict=True)
        bonds = np.array([place[frozenset(edge)] for edge in edges], dtype=np.int64)
        self._tree = parents, children, bonds, molecules.limits[bonds] ** 2
        masses = masses_of(atoms.numbers)
        self._weights = masses / molecules.sum(masses)[molecules.membership]

    def read(self, start: int, stop: int) -> MoleculeBlock:
        """Return the frames from `start` to before `stop`; molecules are made whole about their
        first atom.
        """
        shape = (self.n_molecules, 3, stop - start)
        block = MoleculeBlock(np.zeros(shape), np.zeros(shape), self._data["cells"][start:stop])
        box = Cell(block.cells)
        inverse = box.inverse * box.pbc[:, None, :]
        step = max(1, _CHUNK_BYTES // (24 * len(self._weights)))
        for first in range(start, stop, step):
            last = min(first + step, stop)
            part = slice(first - start, last - start)
            _add_atoms(
                self._data["atom_flux"][first:last],
                self._data["positions"][first:last],
                block.cells[part],
                inverse[part],
                self._tree,
                self._molecules.membership,
                self._weights,
                block.flux[..., part],
                block.centres[..., part],
                self.broken[first:last],
            )
        return block


@kept_exactly
def _add_atoms(  # type: ignore[no-untyped-def]
    atom_flux, positions, cells, inverse, tree, membership, weights, flux, centres, broken
):
    """Sum flux and weighted positions of atoms over molecules, which are made whole along their
    bonds.
    """
    parents, children, bonds, squared_limits = tree
    whole = np.empty(positions.shape[1:])
    arm, turns = np.empty(3), np.empty(3)
    for t in range(len(positions)):
        whole[:] = positions[t]
        broken[t] = -1
        for k in range(len(parents)):
            i, j = parents[k], children[k]
            for a in range(3):
                arm[a] = float(positions[t, j, a]) - float(positions[t, i, a])
            for b in range(3):
                fraction = (
                    arm[0] * inverse[t, 0, b]
                    + arm[1] * inverse[t, 1, b]
                    + arm[2] * inverse[t, 2, b]
                )
                turns[b] = np.floor(fraction + 0.5)
            square = 0.0
            for a in range(3):
                for b in range(3):
                    arm[a] -= turns[b] * cells[t, b, a]
                whole[j, a] = whole[i, a] + arm[a]
                square += arm[a] * arm[a]
            if square > squared_limits[k] and broken[t] < 0:
                broken[t] = bonds[k]
        for j in range(len(whole)):
            for a in range(3):
                flux[membership[j], a, t] += atom_flux[t, j, a]
                centres[membership[j], a, t] += weights[j] * whole[j, a]


#: Where blocks come from: arrays in memory, or a file with every atom's flux.
MolecularFlux = MoleculesInMemory | MoleculesOfFile


@contextlib.contextmanager
def open_molecules(
    path: str | os.PathLike[str], universe: Any
) -> Iterator[tuple[FluxSeries, MoleculesOfFile]]:
    """Open a flux file with every atom's flux, for its molecules: atoms joined by bonds in the
    first frame.

    Parameters
    ----------
    path : path
        Written by `DipoleFlux.save` with ``per="atom"``.
    universe : MDAnalysis.Universe
        Of the same topology, for bonds, which are guessed where it has none. Masses are those of
        the elements.

    Yields
    ------
    series : FluxSeries
        The flux of the groups of the file.
    molecules : MoleculesOfFile

    Raises
    ------
    FileFormatError
        If the file has no flux of atoms, or no cells.
    GroupError
        If the topology is another one.

    Warns
    -----
    UserWarning
        If bonds break: in which frame.
    """
    with open_atoms(path, universe) as (series, atoms):
        if "cells" not in atoms.data:
            raise FileFormatError(
                f'{path} has no flux of atoms with cells; make it with per="atom" (--per atom)'
            )
        molecules = find_molecules(universe, atoms.indices, atoms.first_frame())
        found = MoleculesOfFile(atoms, molecules, list(series.starts))
        info = {**series.info, "notes": [*series.info.get("notes", []), *molecules.notes]}
        yield dataclasses.replace(series, info=info), found
        numbers = np.arange(len(series))
        broken_note(molecules, found.broken, numbers, series.times, atoms.indices)
