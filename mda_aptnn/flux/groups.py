"""Groups of atoms that share a flux: from selections, or for every element, residue or molecule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from MDAnalysis.core.groups import UpdatingAtomGroup
from MDAnalysis.exceptions import SelectionError
from numpy.typing import NDArray

from mda_aptnn.elements import symbols_of
from mda_aptnn.errors import GroupError
from mda_aptnn.trajectory.molecules import Molecules

#: Name of the group of all atoms that no selection took.
REST = "rest"
#: What every atom can be put under without a selection.
KINDS = ("element", "resname", "residue", "molecule")


@dataclasses.dataclass(frozen=True)
class Groups:
    """Groups that have the same atoms in all frames.

    Attributes
    ----------
    names : list of str
    fixed : ndarray of int, shape [n_atoms]
        Number of the group of each atom, −1 for atoms whose flux is not wanted.
    species : list of str
        Of each group, where groups are molecules or residues; empty otherwise.
    """

    names: list[str]
    fixed: NDArray[np.int64]
    species: list[str] = dataclasses.field(default_factory=list)

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """The atoms whose flux is wanted, [n_atoms]."""
        wanted: NDArray[np.bool_] = self.fixed >= 0
        return wanted

    def membership(self) -> NDArray[np.int64]:
        """Return the number of the group of each atom in the current frame, [n_atoms]."""
        return self.fixed


@dataclasses.dataclass(frozen=True)
class UpdatingGroups(Groups):
    """Groups that are selected again in each frame; what they leave out is the last one, "rest".

    In frames where a group has no atoms, its flux is zero.

    Attributes
    ----------
    selections : list of MDAnalysis.AtomGroup
        One for each name but the last; some are updated.
    indices : ndarray of int, shape [n_atoms]
        Universe indices of the atoms.
    """

    selections: Sequence[Any] = ()
    indices: NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros(0, dtype=np.int64)
    )

    def membership(self) -> NDArray[np.int64]:
        """Return the number of the group of each atom in the current frame, [n_atoms].

        Raises
        ------
        GroupError
            If two groups share an atom in this frame.
        """
        membership = np.where(self.wanted, -2, -1)
        for number, selection in enumerate(self.selections):
            when = f" in frame {selection.universe.trajectory.ts.frame}"
            _put(
                membership,
                np.isin(self.indices, selection.indices),
                number,
                self.names,
                self.indices,
                when,
            )
        membership[membership == -2] = len(self.selections)
        return membership


def choose_groups(
    per: str,
    atoms: Any,
    groups: Mapping[str, Any] | None,
    indices: NDArray[np.int64],
    numbers: NDArray[np.int64],
    molecules: Any,
    *,
    updating: bool = False,
) -> Groups:
    """Return the groups of `every` if `per` is one of `KINDS`, otherwise those of `assign_groups`.

    Raises
    ------
    GroupError
        If both are asked for, or as `assign_groups` says.
    """
    if groups and per in KINDS:
        raise GroupError(f"groups= and per={per!r} are two ways to say it; leave one out")
    if per in KINDS:
        return every(per, atoms, indices, numbers, molecules)
    return assign_groups(atoms, groups, indices, updating=updating)


def assign_groups(
    atoms: Any,
    groups: Mapping[str, Any] | None,
    indices: NDArray[np.int64],
    *,
    updating: bool = False,
) -> Groups:
    """Return the groups that selections make.

    Parameters
    ----------
    atoms : MDAnalysis.AtomGroup
        Whose flux is wanted; selections look only here.
    groups : mapping of str to str or AtomGroup, or None
        Selections by name; what they leave out becomes the group "rest". None: one group "all". An
        AtomGroup that is updated (``select_atoms(..., updating=True)``) is selected again in each
        frame.
    indices : ndarray of int, shape [n_atoms]
        Universe indices of the atoms that are predicted.
    updating : bool
        Select by strings again in each frame, too.

    Raises
    ------
    GroupError
        If `groups` is no mapping of names to selections, a selection matches nothing or is of
        another Universe, or two share an atom. A group that is updated may be empty in the first
        frame.
    """
    wanted = np.isin(indices, atoms.indices)
    if not wanted.any():
        raise GroupError("the atom group has no atoms with a mass")
    if groups is not None and not isinstance(groups, Mapping):
        raise GroupError(
            f'groups {groups!r}: give names and selections, such as {{"O": "element O"}}'
        )
    membership = np.where(wanted, -2, -1)
    if not groups:
        return Groups(["all"], np.where(wanted, 0, -1))
    names = list(groups)
    chosen = [_select(atoms, name, selection, updating) for name, selection in groups.items()]
    for number, (name, selected) in enumerate(zip(names, chosen, strict=True)):
        member = np.isin(indices, selected.indices) & wanted
        if not member.any() and not isinstance(selected, UpdatingAtomGroup):
            raise GroupError(
                f"group {name!r} ({groups[name]}) matches no atom; check the selection"
            )
        _put(membership, member, number, names, indices)
    rest = membership == -2
    changing = any(isinstance(selected, UpdatingAtomGroup) for selected in chosen)
    if rest.any() or changing:
        if REST in names:
            raise GroupError(
                f"the name {REST!r} is kept for the atoms that no group takes; take another one"
            )
        membership[rest] = len(names)
        names.append(REST)
    if changing:
        return UpdatingGroups(names, membership, selections=chosen, indices=indices)
    return Groups(names, membership)


def every(
    kind: str, atoms: Any, indices: NDArray[np.int64], numbers: NDArray[np.int64], molecules: Any
) -> Groups:
    """Return one group for every element, residue name, residue or molecule.

    Parameters
    ----------
    kind : {"element", "resname", "residue", "molecule"}
        Elements and residue names come in alphabetical order; molecules and residues in that of the
        topology, named by formula or residue name and counted from 1, such as "H2O 17".
    atoms : MDAnalysis.AtomGroup
        Whose flux is wanted.
    indices, numbers : ndarray of int, shape [n_atoms]
        Universe indices and atomic numbers of the atoms that are predicted.
    molecules : callable
        Returns the `Molecules` of all of them, if they are needed.

    Raises
    ------
    GroupError
        If the topology has no residue names, or the kind is unknown.
    """
    wanted = np.isin(indices, atoms.indices)
    if not wanted.any():
        raise GroupError("the atom group has no atoms with a mass")
    everything = atoms.universe.atoms[indices]
    if kind not in KINDS:
        raise GroupError(f"groups for every {kind!r}: choose one of {', '.join(KINDS)}")
    if kind in ("resname", "residue") and not hasattr(everything, "resnames"):
        raise GroupError(
            f"the topology has no residue names; group by element or molecule instead of {kind}"
        )
    if kind in ("element", "resname"):
        words = symbols_of(numbers) if kind == "element" else everything.resnames
        names, place = np.unique(np.asarray(words, dtype=str)[wanted], return_inverse=True)
        membership = np.full(len(indices), -1, dtype=np.int64)
        membership[wanted] = place
        return Groups([str(name) for name in names], membership)
    if kind == "residue":
        _, label = np.unique(everything.resindices, return_inverse=True)
        first = np.unique(label, return_index=True)[1]
        species = [str(name) for name in everything.resnames[first]]
    else:
        found: Molecules = molecules()
        label, species = found.membership, found.formulas()
    return _units(label, species, wanted)


def _units(label: NDArray[np.int64], species: list[str], wanted: NDArray[np.bool_]) -> Groups:
    """Groups of molecules that have a wanted atom, counted within each species."""
    kept, place = np.unique(label[wanted], return_inverse=True)
    membership = np.full(len(label), -1, dtype=np.int64)
    membership[wanted] = place
    counts: dict[str, int] = {}
    names = []
    for number in kept:
        counts[species[number]] = counts.get(species[number], 0) + 1
        names.append(f"{species[number]} {counts[species[number]]}")
    return Groups(names, membership, [species[number] for number in kept])


def select(atoms: Any, text: str, what: str, *, updating: bool = False) -> Any:
    """Return the AtomGroup that a selection makes.

    Parameters
    ----------
    atoms : MDAnalysis.AtomGroup or MDAnalysis.Universe
        Where it looks.
    text : str
    what : str
        What the selection is for, such as "group 'O'".
    updating : bool
        Select again in each frame.

    Raises
    ------
    GroupError
        If it is no selection, or the topology lacks what it asks for.
    """
    try:
        return atoms.select_atoms(text, updating=updating)
    except AttributeError as error:
        # what MDAnalysis raises for "element O" where the topology has no elements
        raise GroupError(
            f"{what} ({text}): the topology does not have what the selection asks for ({error}); "
            "select by what it has, such as 'type 1' or 'name O'"
        ) from error
    except SelectionError as error:
        raise GroupError(f"{what} ({text}) is no selection of MDAnalysis: {error}") from error


def check_atoms(atoms: Any, what: str) -> None:
    """Refuse what is no AtomGroup, or one whose atoms change from frame to frame.

    Raises
    ------
    GroupError
        With `what` the atoms are meant for.
    """
    _check_group(atoms, what)
    if isinstance(atoms, UpdatingAtomGroup):
        raise GroupError(
            f"{what} is updated in each frame, and the total flux needs the same atoms in all; "
            f"select with "
            "updating=False, and give what is updated as one of groups="
        )


def _check_group(atoms: Any, what: str) -> None:
    if not hasattr(atoms, "indices") or not hasattr(atoms, "select_atoms"):
        raise GroupError(f"{what} is {atoms!r}; give an AtomGroup")


def _select(atoms: Any, name: str, selection: Any, updating: bool) -> Any:
    what = f"group {name!r}"
    chosen = (
        select(atoms, selection, what, updating=updating)
        if isinstance(selection, str)
        else selection
    )
    _check_group(chosen, what)
    if chosen.universe is not atoms.universe:
        raise GroupError(f"group {name!r} is of another Universe; select it in the one of the flux")
    return chosen


def _put(
    membership: NDArray[np.int64],
    member: NDArray[np.bool_],
    number: int,
    names: list[str],
    indices: NDArray[np.int64],
    when: str = "",
) -> None:
    """Put atoms into a group; −2 stands for atoms that are still free, −1 for those that are not
    wanted.
    """
    shared = member & (membership >= 0)
    if shared.any():
        other = names[membership[shared][0]]
        raise GroupError(
            f"groups {other!r} and {names[number]!r} share {int(shared.sum())} atoms{when} "
            f"(atom {indices[shared][0]} for one, counted from 0); make them exclude each other, "
            f"so that their "
            "fluxes sum to the total"
        )
    membership[member & (membership == -2)] = number
