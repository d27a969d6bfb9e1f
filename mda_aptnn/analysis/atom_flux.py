"""Every atom's flux P_i v_i on disk: later selections are sums, not predictions."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from MDAnalysis.guesser.tables import SYMB2Z
from numpy.typing import NDArray

from mda_aptnn import hdf5, units
from mda_aptnn.analysis.blocks import BlockStore
from mda_aptnn.analysis.flux_series import FluxSeries
from mda_aptnn.analysis.groups import assign_groups
from mda_aptnn.errors import FileFormatError, GroupError

#: What a frame keeps of each atom: unit of the data set in the file.
ATOM_RECORDS = {"atom_flux": units.FLUX, "positions": units.LENGTH}
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
) -> None:
    """Write a flux file that also has every atom's flux and position, copied block by block.

    Parameters
    ----------
    path : path
    series : FluxSeries
        The flux of groups of the same frames.
    store : BlockStore
        With rows "atom_flux" and "positions" [n_atoms, 3] in e·Å/ps and Å, and "cells" [3, 3] in Å.
    frames : ndarray of int, shape [n_frames]
        Frames of the trajectory, in the order of `series`.
    indices : ndarray of int, shape [n_atoms]
        Universe indices of the atoms.
    numbers : ndarray of int, shape [n_atoms]
        Their atomic numbers, by which another topology is recognised.
    """
    with hdf5.create(path, "flux") as file:
        series.write_into(file)
        group = file.create_group("atoms")
        hdf5.write_array(group, "indices", indices)
        hdf5.write_array(group, "numbers", numbers)
        shape = (len(frames), len(indices), 3)
        rows_per_chunk = max(1, min(len(frames), 1_000_000 // (12 * len(indices))))
        for name, unit in ATOM_RECORDS.items():
            dataset = group.create_dataset(name, shape, np.float32, chunks=(rows_per_chunk, *shape[1:]))
            dataset.attrs["units"] = unit
        group.create_dataset(CELLS, (len(frames), 3, 3), np.float64).attrs["units"] = units.LENGTH
        for places, rows in store.rows(frames):
            order = np.argsort(places)
            for name in (*ATOM_RECORDS, CELLS):
                group[name][places[order]] = rows[name][order]


def load_groups(path: str | os.PathLike[str], universe: Any, groups: Mapping[str, Any] | None) -> FluxSeries:
    """Return the flux of new groups from a file with every atom's flux, without predicting again.

    Parameters
    ----------
    path : path
        Written by `DipoleFlux.save` with ``per="atom"``.
    universe : MDAnalysis.Universe or MDAnalysis.AtomGroup
        Of the same topology, for the selections.
    groups : mapping of str to str or AtomGroup, or None
        As in `DipoleFlux`; None: one group "all".

    Raises
    ------
    FileFormatError
        If the file has no flux of atoms.
    GroupError
        If the topology has fewer atoms or other elements, or the groups are empty or share atoms.
    """
    series = FluxSeries.load(path)
    with hdf5.open_checked(path, "flux") as file:
        if "atoms" not in file:
            raise FileFormatError(f'{path} has the flux of groups only; make it with per="atom"')
        indices = hdf5.read_array(file["atoms"], "indices", shape=(None,))
        everything = universe.universe.atoms
        if len(indices) and indices.max() >= len(everything):
            raise GroupError(f"{path} holds atoms up to number {indices.max()}, the topology has {len(everything)}")
        if hasattr(everything, "elements"):
            numbers = hdf5.read_array(file["atoms"], "numbers", shape=(len(indices),))
            other = np.array([SYMB2Z.get(str(e).capitalize(), -1) for e in everything[indices].elements]) != numbers
            if other.any():
                raise GroupError(
                    f"{path} is of another topology: atom {indices[other][0]} (from 0) is another element there"
                )
        names, membership = assign_groups(everything[indices], groups, indices)
        flux = _sum_groups(file["atoms"]["atom_flux"], membership, len(names), (len(series), len(indices), 3))
    return dataclasses.replace(series, flux=flux, groups=names)


def _sum_groups(
    dataset: h5py.Dataset, membership: NDArray[np.int64], n_groups: int, shape: tuple[int, int, int]
) -> NDArray[np.float64]:
    if dataset.shape != shape:
        raise FileFormatError(f"{dataset.file.filename}: atom_flux has shape {dataset.shape}, expected {shape}")
    weights = np.zeros((len(membership), n_groups))
    weights[np.arange(len(membership)), membership] = 1.0
    flux = np.zeros((shape[0], n_groups, 3))
    step = max(1, _CHUNK_BYTES // (24 * shape[1]))
    for start in range(0, shape[0], step):
        part = dataset[start : start + step].astype(np.float64)
        flux[start : start + step] = np.einsum("tia,ig->tga", part, weights, optimize=True)
    return flux
