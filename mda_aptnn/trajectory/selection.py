"""Selections of MDAnalysis by text, with errors that say what to select by instead."""

from __future__ import annotations

from typing import Any

from MDAnalysis.exceptions import SelectionError

from mda_aptnn.errors import GroupError


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
