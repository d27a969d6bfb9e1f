"""Groups of atoms that share a flux: from selections, or for every element, residue or molecule."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from MDAnalysis.core.groups import UpdatingAtomGroup
from numpy.typing import NDArray

from mda_aptnn.elements import symbols_of
from mda_aptnn.errors import GroupError
from mda_aptnn.trajectory.molecules import Molecules
from mda_aptnn.trajectory.selection import select

#: Name of the group of all atoms that no selection took.
REST = "rest"
#: What every atom can be put under without a selection.
KINDS = ("element", "resname", "residue", "molecule")


@dataclasses.dataclass(frozen=True)
class Groups:
    """Groups of atoms, the same in all frames or selected again in each.

    Attributes
    ----------
    names : list of str
    fixed : ndarray of int, shape [n_atoms]
        Number of the group of each atom, −1 for atoms whose flux is not wanted; in the first frame,
        if groups are selected again.
    species : list of str
        Of each group, where groups are molecules or residues; empty otherwise.
    selections : sequence of MDAnalysis.AtomGroup
        Where some are updated, one for each name but the last; what they leave out is the last one,
        "rest". In frames where a group has no atoms, its flux is zero.
    indices : ndarray of int, shape [n_atoms]
        Universe indices of the atoms.
    """

    names: list[str]
    fixed: NDArray[np.int64]
    species: list[str] = dataclasses.field(default_factory=list)
    selections: Sequence[Any] = ()
    indices: NDArray[np.int64] | None = None

    @property
    def updating(self) -> bool:
        """Whether groups are selected again in each frame."""
        return len(self.selections) > 0

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """The atoms whose flux is wanted, [n_atoms]."""
        wanted: NDArray[np.bool_] = self.fixed >= 0
        return wanted

    def membership(self) -> NDArray[np.int64]:
        """Return the number of the group of each atom in the current frame, [n_atoms].

        Raises
        ------
        GroupError
            If two groups share an atom in this frame.
        """
        if not self.updating or self.indices is None:
            return self.fixed
        when = f" in frame {self.selections[0].universe.trajectory.ts.frame}"
        members = [np.isin(self.indices, selection.indices) for selection in self.selections]
        return _disjoint(members, self.wanted, self.names, self.indices, when)

    def terms(self, motions: Sequence[str] | None) -> tuple[list[str], dict[str, list[str]]]:
        """Return names and labels of the terms that a flux has: of every motion of every group.

        Parameters
        ----------
        motions : sequence of str, or None
            Motions run faster; they give their names to the terms of a single group. None: each
            group is a term.

        Returns
        -------
        names : list of str
        labels : dict of str to list of str
            What each term is: its "group" and, where they are, its "motion" and "species".
        """
        n = 1 if motions is None else len(motions)
        labels = {"group": [name for name in self.names for _ in range(n)]}
        if self.species:
            labels["species"] = [name for name in self.species for _ in range(n)]
        if motions is None:
            return self.names, labels
        labels["motion"] = list(motions) * len(self.names)
        if len(self.names) == 1:
            return list(motions), labels
        return [f"{group} {motion}" for group in self.names for motion in motions], labels


def choose_groups(
    atoms: Any,
    groups: Mapping[str, Any] | None,
    indices: NDArray[np.int64],
    numbers: NDArray[np.int64],
    molecules: Any = None,
    *,
    per: str = "group",
    updating: bool = False,
    also: Sequence[str] = (),
) -> Groups:
    """Return the groups that selections make, or one for every element, residue name, residue or
    molecule.

    Parameters
    ----------
    atoms : MDAnalysis.AtomGroup
        Whose flux is wanted; selections look only here.
    groups : mapping of str to str or AtomGroup, or None
        Selections by name; what they leave out becomes the group "rest". None: one group "all". An
        AtomGroup that is updated (``select_atoms(..., updating=True)``) is selected again in each
        frame.
    indices, numbers : ndarray of int, shape [n_atoms]
        Universe indices and atomic numbers of the atoms that are predicted.
    molecules : callable, optional
        Returns the `Molecules` of all of them, if they are needed.
    per : str
        "group", one of `KINDS` in place of `groups`, or one of `also`, which the caller takes for
        "group". Elements and residue names come in alphabetical order; molecules and residues in
        that of the topology, named by formula or residue name and counted from 1, such as "H2O 17".
    updating : bool
        Select by strings again in each frame, too.
    also : sequence of str

    Raises
    ------
    ValueError
        If `per` is none of these.
    GroupError
        If both are asked for; `groups` is no mapping of names to selections, a selection matches
        nothing or is of another Universe, or two share an atom; or the topology has no residue
        names. A group that is updated may be empty in the first frame.
    """
    if per not in ("group", *KINDS, *also):
        raise ValueError(f"per={per!r}: choose one of {', '.join(('group', *KINDS, *also))}")
    wanted: NDArray[np.bool_] = np.isin(indices, atoms.indices)
    if not wanted.any():
        raise GroupError("the atom group has no atoms with a mass")
    if per in KINDS:
        if groups:
            raise GroupError(f"groups= and per={per!r} are two ways to say it; leave one out")
        return _every(per, atoms.universe.atoms[indices], wanted, numbers, molecules)
    if groups is not None and not isinstance(groups, Mapping):
        raise GroupError(
            f'groups {groups!r}: give names and selections, such as {{"O": "element O"}}'
        )
    if not groups:
        return Groups(["all"], np.where(wanted, 0, -1))
    chosen, members = [], []
    for name, value in groups.items():
        what = f"group {name!r}"
        if isinstance(value, str):
            value = select(atoms, value, what, updating=updating)
        _check_group(value, what)
        if value.universe is not atoms.universe:
            raise GroupError(f"{what} is of another Universe; select it in the one of the flux")
        chosen.append(value)
        members.append(np.isin(indices, value.indices) & wanted)
        if not members[-1].any() and not isinstance(value, UpdatingAtomGroup):
            raise GroupError(f"{what} ({groups[name]}) matches no atom; check the selection")
    names = list(groups)
    fixed = _disjoint(members, wanted, names, indices)
    changing = any(isinstance(selected, UpdatingAtomGroup) for selected in chosen)
    if changing or (fixed == len(names)).any():
        if REST in names:
            raise GroupError(
                f"the name {REST!r} is kept for the atoms that no group takes; take another one"
            )
        names.append(REST)
    return Groups(names, fixed, selections=chosen if changing else (), indices=indices)


def _every(
    kind: str, atoms: Any, wanted: NDArray[np.bool_], numbers: NDArray[np.int64], molecules: Any
) -> Groups:
    """One group for every element, residue name, residue or molecule of the atoms."""
    units: Sequence[str] = ()
    if kind == "element":
        label = np.array(symbols_of(numbers))
    elif kind == "molecule":
        found: Molecules = molecules()
        label, units = found.membership, found.formulas()
    elif not hasattr(atoms, "resnames"):
        raise GroupError(
            f"the topology has no residue names; group by element or molecule instead of {kind}"
        )
    elif kind == "resname":
        label = atoms.resnames.astype(str)
    else:
        _, first, label = np.unique(atoms.resindices, return_index=True, return_inverse=True)
        units = atoms.resnames[first]
    kept, place = np.unique(label[wanted], return_inverse=True)
    fixed = np.full(len(wanted), -1, dtype=np.int64)
    fixed[wanted] = place
    if kind in ("element", "resname"):
        return Groups(kept.tolist(), fixed)
    species = [str(units[number]) for number in kept]
    counts = collections.defaultdict[str, Iterator[int]](lambda: itertools.count(1))
    return Groups([f"{name} {next(counts[name])}" for name in species], fixed, species)


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
            "select with updating=False, and give what is updated as one of groups="
        )


def _check_group(atoms: Any, what: str) -> None:
    if not hasattr(atoms, "indices") or not hasattr(atoms, "select_atoms"):
        raise GroupError(f"{what} is {atoms!r}; give an AtomGroup")


def _disjoint(
    members: Sequence[NDArray[np.bool_]],
    wanted: NDArray[np.bool_],
    names: Sequence[str],
    indices: NDArray[np.int64],
    when: str = "",
) -> NDArray[np.int64]:
    """Number of the group of each atom: one beyond the last for those in none, −1 if not wanted."""
    membership = np.where(wanted, len(members), -1)
    for number, member in enumerate(members):
        shared = member & (membership >= 0) & (membership < number)
        if shared.any():
            other = names[membership[shared][0]]
            raise GroupError(
                f"groups {other!r} and {names[number]!r} share {int(shared.sum())} atoms{when} "
                f"(atom {indices[shared][0]} for one, counted from 0); make them exclude each "
                "other, so that their fluxes sum to the total"
            )
        membership[member & wanted] = number
    return membership
