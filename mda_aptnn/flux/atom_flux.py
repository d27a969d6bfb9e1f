"""Every atom's flux P_i v_i on disk: later selections are sums, not predictions."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from MDAnalysis.coordinates.memory import MemoryReader
from MDAnalysis.core.groups import UpdatingAtomGroup
from MDAnalysis.lib.mdamath import triclinic_box
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.elements import LIGHTEST, NUMBERS
from mda_aptnn.errors import FileFormatError, GroupError
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.frame_flux import FrameFlux, sum_groups
from mda_aptnn.flux.groups import Groups, choose_groups
from mda_aptnn.flux.origin import shares_of_models
from mda_aptnn.frame import Cell, Frame
from mda_aptnn.trajectory.molecules import Molecules, MoleculesOnDemand, broken_note
from mda_aptnn.trajectory.universe_frames import UniverseFrames

#: What is kept of each atom [n_frames, n_atoms, ...], and in each motion [n_frames, n_motions,
#: n_atoms, ...]: unit, and shape of one atom. α̇ has xx, yy, zz, xy, xz, yz.
RECORDS: dict[str, tuple[str, int]] = {
    "atom_flux": (units.FLUX, 3),
    "atom_polarizability": (units.POLARIZABILITY_FLUX, 6),
    "motion_flux": (units.FLUX, 3),
    "motion_polarizability": (units.POLARIZABILITY_FLUX, 6),
    "positions": (units.LENGTH, 3),
    "velocities": (units.VELOCITY, 3),
    # the cell of every frame, rows; zero rows in directions that do not repeat
    "cells": (units.LENGTH, 3),
}
#: Numbers in a chunk of the file.
_CHUNK = 250_000
#: Bytes that are summed at a time.
_BLOCK_BYTES = 32_000_000


def write_atom_flux(
    path: str | os.PathLike[str],
    series: FluxSeries,
    rows: Iterable[tuple[NDArray[np.int64], Mapping[str, NDArray[Any]]]],
    frames: UniverseFrames,
    sums: FrameFlux,
    which: NDArray[np.int64] | None = None,
) -> None:
    """Write a flux file that also has every atom's flux, position and velocity, copied block by
    block.

    Parameters
    ----------
    path : path
    series : FluxSeries
        The flux of groups of the same frames.
    rows : iterable of (ndarray of int, mapping)
        Places in `series`, and their rows of those of `RECORDS` that there are; see
        `BlockStore.rows`.
    frames : UniverseFrames
        Of which it was made: the numbers of all particles and the elements of these atoms are what
        another topology is recognised by.
    sums : FrameFlux
        Of the rows.
    which : ndarray of int, shape [n_atoms], optional
        Number of the model of each atom, of a mixture.
    """
    with io.create(path, "flux") as file:
        series._write(file)
        group = file.create_group("atoms")
        for name in ("indices", "numbers"):
            io.write_array(group, name, getattr(frames, name)[sums.groups.wanted])
        if which is not None:
            io.write_array(group, "models", which[sums.groups.wanted])
        group.attrs["n_particles"] = len(frames.universe.atoms)
        if sums.motion_names is not None:
            group.attrs["motions"] = json.dumps(sums.motion_names)
        for places, block in rows:
            order = np.argsort(places)
            for name, (unit, _) in RECORDS.items():
                if name not in block:
                    continue
                values = block[name][order]
                if name not in group:
                    row = values.shape[1:]
                    n = int(np.clip(_CHUNK // np.prod(row), 1, len(series)))
                    shapes: dict[str, Any] = {"shape": (len(series), *row), "chunks": (n, *row)}
                    group.create_dataset(name, dtype=values.dtype, **shapes).attrs["units"] = unit
                group[name][places[order]] = values


@dataclasses.dataclass(frozen=True)
class StoredAtoms:
    """The atoms of an open flux file, which are those of a topology; made by `open_atoms`.

    Attributes
    ----------
    data : h5py.Group
        With the data sets of `RECORDS`.
    indices, numbers : ndarray of int, shape [n_atoms]
        Universe indices and atomic numbers.
    """

    data: h5py.Group
    indices: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.data["atom_flux"])

    def first_frame(self) -> Frame:
        """Return the first configuration.

        Returns
        -------
        Frame
        """
        cell = self.data["cells"][0] if "cells" in self.data else np.zeros((3, 3))
        return Frame(self.numbers, self.data["positions"][0], cell, Cell(cell).pbc)

    def blocks(self, bytes_per_frame: int) -> Iterator[slice]:
        """Give all frames in pieces that fit into memory.

        Parameters
        ----------
        bytes_per_frame : int

        Yields
        ------
        slice
        """
        step = max(1, _BLOCK_BYTES // bytes_per_frame)
        for start in range(0, len(self), step):
            yield slice(start, min(start + step, len(self)))


@contextlib.contextmanager
def open_atoms(
    path: str | os.PathLike[str], universe: Any
) -> Iterator[tuple[FluxSeries, StoredAtoms]]:
    """Open a flux file with every atom's flux.

    Parameters
    ----------
    path : path
        Written by `DipoleFlux.save` with ``per="atom"``.
    universe : MDAnalysis.Universe
        Of the same topology.

    Yields
    ------
    series : FluxSeries
        The flux of the groups of the file.
    atoms : StoredAtoms

    Raises
    ------
    FileFormatError
        If the file has no flux of atoms.
    GroupError
        If the topology is another one.
    """
    with io.open_checked(path, "flux") as file:
        series = FluxSeries._read(file)
        if "atoms" not in file:
            raise FileFormatError(
                f'{path} has the flux of groups only; make it with per="atom" (--per atom)'
            )
        atoms = _stored(path, file["atoms"], universe.universe.atoms)
        if len(atoms) != len(series):
            raise FileFormatError(
                f"{path}: its atoms have {len(atoms)} frames, its groups {len(series)}"
            )
        yield series, atoms


def load_groups(
    path: str | os.PathLike[str],
    universe: Any,
    groups: Mapping[str, Any] | None = None,
    *,
    per: str = "group",
    updating: bool = False,
    motions: bool = False,
) -> FluxSeries:
    """Return the flux of new groups from a file with every atom's flux, without predicting again.

    Parameters
    ----------
    path : path
        Written by `DipoleFlux.save` with ``per="atom"``.
    universe : MDAnalysis.Universe or MDAnalysis.AtomGroup
        Of the same topology, for the selections. Its trajectory is not needed.
    groups : mapping of str to str or AtomGroup, or None
        As in `DipoleFlux`; None: one group "all".
    per : {"group", "element", "resname", "residue", "molecule"}
        A group for every one of these, in place of `groups`.
    updating : bool
        Make the selections of `groups` again in each frame, with the positions of the file, which
        must be of all atoms.
    motions : bool
        Take every group apart into the motions that the file was made with.

    Returns
    -------
    FluxSeries

    Raises
    ------
    FileFormatError
        If the file has no flux of atoms, or no motions.
    GroupError
        If the topology has fewer atoms or other elements, or the groups are empty or share atoms.
    """
    for name, group in (groups or {}).items():
        if isinstance(group, UpdatingAtomGroup):
            raise GroupError(f"group {name!r}: give its selection as a string, and updating=True")
    with open_atoms(path, universe) as (series, atoms):
        if motions and "motion_flux" not in atoms.data:
            raise FileFormatError(
                f'{path} has no motions of atoms; make it with per="atom" and motions='
            )
        names = json.loads(atoms.data.attrs["motions"]) if motions else None
        everything, indices = universe.universe.atoms, atoms.indices
        if updating:
            everything = _in_memory(path, atoms, everything)
        notes: list[str] = []
        molecules = MoleculesOnDemand(everything.universe, indices, atoms.first_frame(), notes)
        how: dict[str, Any] = {"per": per, "updating": updating}
        chosen = choose_groups(
            everything[indices], groups, indices, atoms.numbers, molecules, **how
        )
        terms, labels = chosen.terms(names)
        kind = "motion" if motions else "atom"
        sums = {
            name: _sum_blocks(atoms, f"{kind}_{name}", chosen, names, everything.universe)
            for name in ("flux", "polarizability")
            if f"{kind}_{name}" in atoms.data
        }
        if molecules.found is not None:
            broken = _broken_bonds(atoms, molecules.found)
            numbers = np.arange(len(series))
            notes += broken_note(molecules.found, broken, numbers, series.times, indices)
        which = None
        if "models" in atoms.data:
            which = io.read_array(atoms.data, "models", shape=(len(indices),), kinds="iu")
    info = series.info | {"notes": list(dict.fromkeys([*series.info.get("notes", []), *notes]))}
    if which is not None:
        info["mixture"] = shares_of_models(info.get("mixture", []), which, chosen)
    arrays: dict[str, Any] = {"members": None, "polarizability": None} | sums
    return dataclasses.replace(series, groups=terms, labels=labels, info=info, **arrays)


def _stored(path: str | os.PathLike[str], atoms: h5py.Group, everything: Any) -> StoredAtoms:
    """The atoms of a file, if its arrays agree and the topology has the same atoms."""
    indices = io.read_array(atoms, "indices", shape=(None,), kinds="iu").astype(np.int64)
    numbers = io.read_array(atoms, "numbers", shape=(len(indices),), kinds="iu")
    n_frames = io.find_array(atoms, "atom_flux").shape[0]
    n_motions = len(io.read_json(atoms, "motions", list)) if "motions" in atoms.attrs else 0
    for name, (unit, n) in RECORDS.items():
        if name in atoms:
            rows = [3] if name == "cells" else [len(indices)]
            rows = [n_motions, *rows] if name.startswith("motion") else rows
            io.find_array(atoms, name, unit, (n_frames, *rows, n), "f")
    if len(indices) and indices.min() < 0:
        raise FileFormatError(f"{path}: negative numbers of atoms")
    if len(indices) and indices.max() >= len(everything):
        raise GroupError(
            f"{path} holds atoms up to number {indices.max()}, the topology has {len(everything)}"
        )
    said, there = atoms.attrs.get("n_particles"), len(everything)
    if said is None and hasattr(everything, "masses"):
        # a file of version 0.1.0 says how many were atoms, and not how many sites without mass
        # there were beside them
        said = io.read_json(atoms.file, "info", dict).get("n_atoms")
        there = max(int((everything.masses >= LIGHTEST).sum()), said or 0)
    if said is not None and there != said:
        raise GroupError(
            f"{path} is of another topology: the flux was made of {said} particles, this topology "
            f"has {there}; give the one that it was made with"
        )
    if hasattr(everything, "elements"):
        symbols = everything[indices].elements
        own = np.array([NUMBERS.get(str(symbol).capitalize(), -1) for symbol in symbols])
        if (own != numbers).any():
            raise GroupError(
                f"{path} is of another topology: atom {indices[own != numbers][0]} (from 0) is "
                "another element there"
            )
    return StoredAtoms(atoms, indices, numbers)


def _in_memory(path: str | os.PathLike[str], atoms: StoredAtoms, everything: Any) -> Any:
    """The atoms of a copy of the Universe whose only frame is set from the file, one after the
    other.
    """
    left = np.setdiff1d(np.arange(len(everything)), atoms.indices)
    if len(left) and (everything[left].masses > 0).any():
        raise GroupError(
            f"{path} has no positions of {len(left)} atoms that selections in each frame may "
            "depend on; make it of all atoms of the Universe"
        )
    copy = everything.universe.copy()
    copy.trajectory = MemoryReader(
        np.zeros((1, len(everything), 3), np.float32), dimensions=np.zeros((1, 6))
    )
    _show(copy, atoms, 0)
    return copy.atoms


def _show(universe: Any, atoms: StoredAtoms, number: int) -> None:
    """Set the only frame of a Universe in memory."""
    ts, cell = universe.trajectory.ts, atoms.data["cells"][number]
    ts.positions[atoms.indices] = atoms.data["positions"][number]
    ts.dimensions = triclinic_box(*cell) if cell.any(axis=1).all() else None
    # updated groups look at the number of the frame to see whether they are stale
    ts.frame = number


def _sum_blocks(
    atoms: StoredAtoms, name: str, groups: Groups, motions: list[str] | None, universe: Any
) -> NDArray[np.float64]:
    """Sums over the atoms of terms [n_frames, n_terms, n_components], read in blocks."""
    dataset = atoms.data[name]
    n_atoms, n_components = dataset.shape[-2:]
    parts, n_motions = [], 1 if motions is None else len(motions)
    for block in atoms.blocks(8 * int(np.prod(dataset.shape[1:]))):
        membership = [groups.fixed]
        if groups.updating:
            membership = []
            for number in range(block.start, block.stop):
                _show(universe, atoms, number)
                membership.append(groups.membership())
        part = dataset[block].reshape(-1, n_motions, n_atoms, n_components)
        parts.append(sum_groups(part, np.array(membership), len(groups.names)))
    flux = np.concatenate(parts)
    if not np.isfinite(flux).all():
        raise FileFormatError(f"{dataset.file.filename}: the flux of its atoms is not finite")
    return flux


def _broken_bonds(atoms: StoredAtoms, molecules: Molecules) -> NDArray[np.int64]:
    """`Molecules.broken_bond` of every frame."""
    i, j = molecules.bonds.T
    # the first bond ranks highest
    rank = np.zeros(len(atoms), dtype=np.int64)
    for block in atoms.blocks(24 * len(atoms.indices)):
        where, cells = atoms.data["positions"][block], atoms.data["cells"][block]
        vectors = Cell(cells).nearest((where[:, j] - where[:, i]).astype(np.float64))
        long = np.einsum("tba,tba->tb", vectors, vectors) > molecules.limits**2
        rank[block] = (long * np.arange(len(i), 0, -1)).max(axis=1, initial=0)
    return np.where(rank > 0, len(i) - rank, -1)
