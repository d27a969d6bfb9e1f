"""Groups of atoms that share a flux: from selections to one group number for every atom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from MDAnalysis.core.groups import UpdatingAtomGroup
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
        If `groups` is no mapping of names to selections, a selection matches nothing, changes with time or is of
        another Universe, or two share an atom.
    """
    wanted = np.isin(indices, atoms.indices)
    if not wanted.any():
        raise GroupError("the atom group has no atoms with a mass")
    membership = np.full(len(indices), -1, dtype=np.int64)
    if groups is not None and not isinstance(groups, Mapping):
        raise GroupError(f'groups {groups!r}: give names and selections, such as {{"O": "element O"}}')
    if not groups:
        membership[wanted] = 0
        return ["all"], membership
    names: list[str] = []
    for name, selection in groups.items():
        try:
            chosen = atoms.select_atoms(selection) if isinstance(selection, str) else selection
        except AttributeError as error:
            # what MDAnalysis raises for "element O" where the topology has no elements
            raise GroupError(
                f"group {name!r} ({selection}): the topology does not have what the selection asks for ({error}); "
                "select by what it has, such as 'type 1' or 'name O'"
            ) from error
        check_atoms(chosen, f"group {name!r}")
        if chosen.universe is not atoms.universe:
            raise GroupError(f"group {name!r} is of another Universe; select it in the one of the flux")
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


def check_atoms(atoms: Any, what: str) -> None:
    """Refuse what is no AtomGroup, or one whose atoms change from frame to frame.

    Raises
    ------
    GroupError
        With `what` the atoms are meant for.
    """
    if not hasattr(atoms, "indices") or not hasattr(atoms, "select_atoms"):
        raise GroupError(f"{what} is {atoms!r}; give an AtomGroup")
    if isinstance(atoms, UpdatingAtomGroup):
        raise GroupError(
            f"{what} is updated in each frame, and a flux needs the same atoms in all; select with updating=False"
        )
