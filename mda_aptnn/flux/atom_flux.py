"""Every atom's flux P_i v_i on disk: later selections are sums, not predictions."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
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
from mda_aptnn.flux.blocks import BlockStore
from mda_aptnn.flux.flux_file import write_flux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.frame_flux import sum_groups, term_labels, term_names
from mda_aptnn.flux.groups import KINDS, Groups, UpdatingGroups, choose_groups
from mda_aptnn.frame import Cell, Frame
from mda_aptnn.trajectory.molecules import Molecules, MoleculesOnDemand, broken_note

#: What a frame keeps of each atom: unit of the data set in the file.
ATOM_RECORDS = {"atom_flux": units.FLUX, "positions": units.LENGTH, "velocities": units.VELOCITY}
#: The flux of each atom in each motion.
MOTION_FLUX = "motion_flux"
#: α̇ of each atom, and in each motion, where the model gave polarizability gradients: xx, yy, zz,
#: xy, xz, yz.
ATOM_POLARIZABILITY, MOTION_POLARIZABILITY = "atom_polarizability", "motion_polarizability"
#: The cell of every frame, rows in Å; zero rows in directions that do not repeat.
CELLS = "cells"
#: Bytes that are summed at a time.
_CHUNK_BYTES = 32_000_000


def write_atom_flux(
    path: str | os.PathLike[str],
    series: FluxSeries,
    store: BlockStore,
    frames: NDArray[np.int64],
    indices: NDArray[np.int64],
    numbers: NDArray[np.int64],
    motions: Sequence[str] = (),
    *,
    n_particles: int,
) -> None:
    """Write a flux file that also has every atom's flux, position and velocity, copied block by
    block.

    Parameters
    ----------
    path : path
    series : FluxSeries
        The flux of groups of the same frames.
    store : BlockStore
        With rows "atom_flux", "positions" and "velocities" [n_atoms, 3] in e·Å/ps, Å and Å/ps, and
        "cells" [3, 3] in Å; with motions also "motion_flux" [n_motions, n_atoms, 3]. Of a flux with
        α̇, the same of this: "atom_polarizability" and "motion_polarizability" with six components
        in Å³/ps.
    frames : ndarray of int, shape [n_frames]
        Frames of the trajectory, in the order of `series`.
    indices : ndarray of int, shape [n_atoms]
        Universe indices of the atoms.
    numbers : ndarray of int, shape [n_atoms]
        Their atomic numbers, by which another topology is recognised.
    motions : sequence of str
        Names of the motions.
    n_particles : int
        Particles of the Universe, with those that are no atoms: by which another topology is
        recognised, too.
    """
    with io.create(path, "flux") as file:
        write_flux(series, file)
        group = file.create_group("atoms")
        io.write_array(group, "indices", indices)
        io.write_array(group, "numbers", numbers)
        group.attrs["n_particles"] = n_particles
        shapes: dict[str, tuple[tuple[int, ...], str]] = {
            name: ((len(indices), 3), unit) for name, unit in ATOM_RECORDS.items()
        }
        if series.polarizability is not None:
            shapes[ATOM_POLARIZABILITY] = (len(indices), 6), units.POLARIZABILITY_FLUX
        if motions:
            group.attrs["motions"] = json.dumps(list(motions))
            for name, of_atoms in (
                (MOTION_FLUX, "atom_flux"),
                (MOTION_POLARIZABILITY, ATOM_POLARIZABILITY),
            ):
                if of_atoms in shapes:
                    shape, unit = shapes[of_atoms]
                    shapes[name] = (len(motions), *shape), unit
        for name, (shape, unit) in shapes.items():
            rows = max(1, min(len(frames), 1_000_000 // (4 * int(np.prod(shape)))))
            dataset = group.create_dataset(
                name, (len(frames), *shape), np.float32, chunks=(rows, *shape)
            )
            dataset.attrs["units"] = unit
        group.create_dataset(CELLS, (len(frames), 3, 3), np.float64).attrs["units"] = units.LENGTH
        for places, rows_of in store.rows(frames):
            order = np.argsort(places)
            for name in (*shapes, CELLS):
                group[name][places[order]] = rows_of[name][order]


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
    if per not in ("group", *KINDS):
        raise ValueError(f"per={per!r}: choose one of group, {', '.join(KINDS)}")
    series = FluxSeries.load(path)
    with io.open_checked(path, "flux") as file:
        if "atoms" not in file:
            raise FileFormatError(f'{path} has the flux of groups only; make it with per="atom"')
        atoms = file["atoms"]
        everything = universe.universe.atoms
        indices, numbers = identify_atoms(path, atoms, everything)
        if motions and MOTION_FLUX not in atoms:
            raise FileFormatError(
                f'{path} has no motions of atoms; make it with per="atom" and motions='
            )
        names = json.loads(atoms.attrs["motions"]) if motions else None
        changing = [
            name for name, group in (groups or {}).items() if isinstance(group, UpdatingAtomGroup)
        ]
        if changing:
            raise GroupError(
                f"group {changing[0]!r}: give its selection as a string, and updating=True"
            )
        if updating:
            everything = _in_memory(path, atoms, everything, indices)
        notes: list[str] = []
        molecules = MoleculesOnDemand(
            everything.universe, indices, _first_frame(atoms, numbers), notes
        )
        found = choose_groups(
            per, everything[indices], groups, indices, numbers, molecules, updating=updating
        )
        data, rates = (
            ("atom_flux", ATOM_POLARIZABILITY)
            if names is None
            else (MOTION_FLUX, MOTION_POLARIZABILITY)
        )
        rest = found, names, len(series), everything.universe
        flux = _sum_blocks(atoms, data, *rest)
        polarizability = _sum_blocks(atoms, rates, *rest) if rates in atoms else None
        if molecules.found is not None:
            broken = _broken_bonds(atoms, molecules.found)
            notes += broken_note(
                molecules.found, broken, np.arange(len(series)), series.times, indices
            )
    terms = found.names if names is None else term_names(found.names, names)
    info = series.info | {"notes": list(dict.fromkeys([*series.info.get("notes", []), *notes]))}
    return dataclasses.replace(
        series,
        flux=flux,
        groups=terms,
        info=info,
        labels=term_labels(found, names),
        members=None,
        polarizability=polarizability,
    )


def identify_atoms(
    path: str | os.PathLike[str], atoms: h5py.Group, everything: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices and atomic numbers of the atoms of a file, if the topology has the same."""
    indices = io.read_array(atoms, "indices", shape=(None,), kinds="iu").astype(np.int64)
    numbers = io.read_array(atoms, "numbers", shape=(len(indices),), kinds="iu")
    n_frames = io.find_array(atoms, "atom_flux").shape[0]
    for name, unit in ATOM_RECORDS.items():
        if name in atoms:
            io.find_array(atoms, name, unit, (n_frames, len(indices), 3), "f")
    if CELLS in atoms:
        io.find_array(atoms, CELLS, units.LENGTH, (n_frames, 3, 3), "f")
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
            f"has {there}; give "
            "the one that it was made with"
        )
    if hasattr(everything, "elements"):
        other = (
            np.array([NUMBERS.get(str(e).capitalize(), -1) for e in everything[indices].elements])
            != numbers
        )
        if other.any():
            raise GroupError(
                f"{path} is of another topology: atom {indices[other][0]} (from 0) is another "
                f"element there"
            )
    return indices, numbers


def _first_frame(atoms: h5py.Group, numbers: NDArray[np.int64]) -> Frame:
    cell = atoms[CELLS][0] if CELLS in atoms else np.zeros((3, 3))
    return Frame(numbers, atoms["positions"][0], cell, periodic(cell))


def periodic(cell: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return in which directions a stored cell repeats, [3]."""
    there: NDArray[np.bool_] = np.linalg.norm(cell, axis=1) > 0
    return there


def _in_memory(
    path: str | os.PathLike[str], atoms: h5py.Group, everything: Any, indices: NDArray[np.int64]
) -> Any:
    """The atoms of a copy of the Universe whose only frame is set from the file, one after the
    other.
    """
    left = np.setdiff1d(np.arange(len(everything)), indices)
    if len(left) and (everything[left].masses > 0).any():
        raise GroupError(
            f"{path} has no positions of {len(left)} atoms that selections in each frame may "
            f"depend on; make it of "
            "all atoms of the Universe"
        )
    copy = everything.universe.copy()
    copy.trajectory = MemoryReader(
        np.zeros((1, len(everything), 3), np.float32), dimensions=np.zeros((1, 6))
    )
    _show(copy, atoms["positions"][0], atoms[CELLS][0], indices)
    return copy.atoms


def _show(
    universe: Any,
    positions: NDArray[np.float32],
    cell: NDArray[np.float64],
    indices: NDArray[np.int64],
) -> None:
    ts = universe.trajectory.ts
    ts.positions[indices] = positions
    ts.dimensions = triclinic_box(*cell) if cell.any(axis=1).all() else None


def _sum_blocks(
    atoms: h5py.Group,
    name: str,
    groups: Groups,
    motions: list[str] | None,
    n_frames: int,
    universe: Any,
) -> NDArray[np.float64]:
    """Sums over the atoms of terms [n_frames, n_terms, n_components], read in blocks."""
    dataset, positions = io.find_array(atoms, name, kinds="f"), atoms["positions"]
    n_motions = 1 if motions is None else len(motions)
    n_components = 6 if name in (ATOM_POLARIZABILITY, MOTION_POLARIZABILITY) else 3
    shape = (n_frames, *([] if motions is None else [n_motions]), len(groups.fixed), n_components)
    if dataset.shape != shape:
        raise FileFormatError(
            f"{dataset.file.filename}: {dataset.name} has shape {dataset.shape}, expected {shape}"
        )
    flux = np.zeros((n_frames, n_motions * len(groups.names), n_components))
    step = max(1, _CHUNK_BYTES // (8 * int(np.prod(shape[1:]))))
    for start in range(0, n_frames, step):
        part = dataset[start : start + step].reshape(-1, n_motions, len(groups.fixed), n_components)
        membership = groups.fixed
        if isinstance(groups, UpdatingGroups):
            where, cells = positions[start : start + step], atoms[CELLS][start : start + step]
            membership = np.array(
                [
                    _membership(groups, universe, *now, start + k)
                    for k, now in enumerate(zip(where, cells, strict=True))
                ]
            )
        flux[start : start + step] = sum_groups(part, membership, len(groups.names))
    if not np.isfinite(flux).all():
        raise FileFormatError(f"{dataset.file.filename}: the flux of its atoms is not finite")
    return flux


def _membership(
    groups: UpdatingGroups,
    universe: Any,
    positions: NDArray[np.float32],
    cell: NDArray[np.float64],
    number: int,
) -> NDArray[np.int64]:
    _show(universe, positions, cell, groups.indices)
    # updated groups look at the number of the frame to see whether they are stale
    universe.trajectory.ts.frame = number
    return groups.membership()


def _broken_bonds(atoms: h5py.Group, molecules: Molecules) -> NDArray[np.int64]:
    """`Molecules.broken_bond` of every frame."""
    positions, cells = atoms["positions"], atoms[CELLS]
    i, j = molecules.bonds.T
    broken = np.full(len(positions), -1, dtype=np.int64)
    step = max(1, _CHUNK_BYTES // (24 * positions.shape[1]))
    for start in range(0, len(positions), step):
        where, cell = positions[start : start + step], cells[start : start + step]
        vectors = Cell(cell).nearest((where[:, j] - where[:, i]).astype(np.float64))
        long = np.einsum("tba,tba->tb", vectors, vectors) > molecules.limits**2
        frames, bonds = np.nonzero(long)
        frames, first = np.unique(frames, return_index=True)
        broken[start + frames] = bonds[first]
    return broken
