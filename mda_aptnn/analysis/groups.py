"""Groups of atoms that share a flux: from selections to one group number for every atom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import GroupError

#: Name of the group of all atoms that no selection took.
REST = "rest"


def assign_groups(
    atoms: Any, groups: Mapping[str, Any] | None, indices: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the groups and the group of each atom.

    Parameters
    ----------
    atoms : MDAnalysis.AtomGroup
        Whose flux is wanted; selections look only here.
    groups : mapping of str to str or AtomGroup, or None
        Selections by name; what they leave out becomes the group "rest". None: one group "all".
    indices : ndarray of int, shape [n_atoms]
        Universe indices of the atoms that are predicted.

    Returns
    -------
    names : list of str
    membership : ndarray of int, shape [n_atoms]
        Number of the group, −1 for atoms outside `atoms`.

    Raises
    ------
    GroupError
        If a selection matches nothing, or two share an atom.
    """
    wanted = np.isin(indices, atoms.indices)
    if not wanted.any():
        raise GroupError("the atom group has no atoms with a mass")
    membership = np.full(len(indices), -1, dtype=np.int64)
    if groups is None:
        membership[wanted] = 0
        return ["all"], membership
    names: list[str] = []
    for name, selection in groups.items():
        chosen = atoms.select_atoms(selection) if isinstance(selection, str) else selection
        member = np.isin(indices, chosen.indices) & wanted
        if not member.any():
            raise GroupError(f"group {name!r} ({selection}) matches no atom; check the selection")
        shared = member & (membership >= 0)
        if shared.any():
            other = names[membership[shared][0]]
            raise GroupError(
                f"groups {other!r} and {name!r} share {int(shared.sum())} atoms (atom {indices[shared][0]} for one, "
                "counted from 0); make them exclude each other, so that their fluxes sum to the total"
            )
        membership[member] = len(names)
        names.append(name)
    rest = wanted & (membership < 0)
    if rest.any():
        if REST in names:
            raise GroupError(f"the name {REST!r} is kept for the {int(rest.sum())} atoms that no group takes")
        membership[rest] = len(names)
        names.append(REST)
    return names, membership
