"""The one table of the elements, and the elements of a Universe's atoms.

The table is MDAnalysis', whose spelling differs from one table to the next ("Cl", "CL"); nothing
else in this package looks there. A Universe's elements are as read, from masses, or as the user
says, and never from guessed names.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from MDAnalysis.guesser import tables
from MDAnalysis.guesser.default_guesser import DefaultGuesser
from numpy.typing import ArrayLike, NDArray

from mda_aptnn.errors import FrameError, TrajectoryError

#: Symbol of each element by its atomic number, 1 to 118 (Og); of 0 there is none.
SYMBOLS = ("", *(tables.Z2SYMB[number] for number in range(1, len(tables.Z2SYMB) + 1)))
#: Atomic number of each symbol; D and T are hydrogen.
NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS) if number} | {"D": 1, "T": 1}
#: Mass numbers of the isotopes that live longest, of the elements from Ds on, which MDAnalysis'
#: table does not have.
_HEAVIEST = dict(
    zip(
        ("Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"),
        (281, 282, 285, 286, 289, 290, 293, 294, 294),
        strict=True,
    )
)
#: Symbols that the table of radii misspells.
_RADII = tables.vdwradii | {
    "AS": tables.vdwradii["AA"],
    "RB": tables.vdwradii["RR"],
    "HG": tables.vdwradii["HH"],
}


def _mass(symbol: str) -> float:
    known = (tables.masses.get(spelling) for spelling in (symbol, symbol.upper()))
    return float(next((mass for mass in known if mass is not None), None) or _HEAVIEST[symbol])


#: Standard atomic weights in u by atomic number, NaN at 0; of elements without one the mass of an
#: isotope.
_MASSES = np.array([np.nan, *map(_mass, SYMBOLS[1:])])
#: Standard atomic weights in u by symbol, and those of deuterium and tritium.
STANDARD = dict(zip(SYMBOLS[1:], _MASSES[1:].tolist(), strict=True)) | {"D": 2.014, "T": 3.016}
#: Particles lighter than this, in u, are no atoms: M sites of water, lone pairs, Drude particles.
LIGHTEST = 0.9
#: How far, in u, a mass may be from that of its element.
TOLERANCE = 0.1


def atomic_numbers(symbols: Iterable[str]) -> NDArray[np.int64]:
    """Return the atomic numbers of element symbols, in any capitalisation; D and T are hydrogen.

    Raises
    ------
    FrameError
        If a symbol is not an element.
    """
    symbols = list(symbols)
    found = [NUMBERS.get(symbol.strip().capitalize(), 0) for symbol in symbols]
    if 0 in found:
        raise FrameError(f"{symbols[found.index(0)]!r} is not the symbol of an element")
    return np.array(found, dtype=np.int64)


def symbols_of(numbers: Iterable[int]) -> list[str]:
    """Return the symbols of elements, by their atomic numbers."""
    return [SYMBOLS[number] for number in numbers]


def masses_of(numbers: ArrayLike) -> NDArray[np.float64]:
    """Return standard atomic weights in u, by atomic numbers."""
    return np.asarray(_MASSES[np.asarray(numbers, dtype=np.int64)], dtype=np.float64)


def radii_of(numbers: ArrayLike) -> NDArray[np.float64]:
    """Return van der Waals radii in Å, by atomic numbers: 2 Å where none is known."""
    elements, inverse = np.unique(np.asarray(numbers, dtype=np.int64), return_inverse=True)
    return np.array([_RADII.get(SYMBOLS[number].upper(), 2.0) for number in elements])[inverse]


@dataclasses.dataclass(frozen=True)
class Atoms:
    """The particles of a Universe that are atoms.

    Attributes
    ----------
    indices : ndarray of int, shape [n_atoms]
        Their indices in the Universe.
    numbers : ndarray of int, shape [n_atoms]
        Atomic numbers.
    masses : ndarray, shape [n_atoms]
        In u: those of the topology, of the elements where it has none.
    notes : list of str
        What was assumed or dropped.
    """

    indices: NDArray[np.int64]
    numbers: NDArray[np.int64]
    masses: NDArray[np.float64]
    notes: list[str]


def find_atoms(
    universe: Any, elements: Mapping[str, str | None] | Sequence[str] | None = None
) -> Atoms:
    """Find the element of each atom: first as the user says, then as read, then from masses that
    were read.

    Parameters
    ----------
    universe : MDAnalysis.Universe
    elements : mapping or sequence, optional
        Symbols by atom name or type (``{"1": "O", "2": "H"}``; None or ``""`` for a site that is no
        atom), or one symbol for each atom of the Universe.

    Raises
    ------
    TrajectoryError
        If an element is not known for every atom, or `elements` names what is not there.
    """
    atoms, notes = universe.atoms, []
    guessed = {attribute.attrname for attribute in universe._topology.guessed_attributes}
    masses = _masses_read(atoms, guessed)
    symbols = _symbols_given(atoms, elements)
    if hasattr(atoms, "elements"):
        read = [str(value).strip() or None for value in atoms.elements]
        symbols = [r if s is None else s for s, r in zip(symbols, read, strict=True)]
        if "elements" in guessed:
            notes.append("elements were guessed by MDAnalysis, as asked for")
    used: dict[str, set[float]] = {}
    for index in (k for k, symbol in enumerate(symbols) if symbol is None):
        symbols[index] = symbol = _element_of_mass(masses[index])
        if symbol:
            used.setdefault(symbol, set()).add(round(float(masses[index]), 4))
    if used:
        text = "; ".join(f"{s} for {', '.join(map(str, sorted(m)))} u" for s, m in used.items())
        notes.append(f"elements from masses: {text}")
    unknown = [index for index, symbol in enumerate(symbols) if symbol is None]
    if unknown:
        raise TrajectoryError(_unknown_message(atoms[unknown]))
    kept = np.array([index for index, symbol in enumerate(symbols) if symbol], dtype=np.int64)
    if len(kept) == 0:
        raise TrajectoryError(
            "no atoms are left: every particle is massless or was declared to be no atom"
        )
    if len(kept) < len(atoms):
        gone = Counter(_label(atoms[index]) for index, symbol in enumerate(symbols) if not symbol)
        sites = ", ".join(f"{n} {name}" for name, n in gone.items())
        notes.append(f"dropped sites that are no atoms: {sites}")
    names = [str(symbols[index]) for index in kept]
    try:
        numbers = atomic_numbers(names)
    except FrameError as error:
        raise TrajectoryError(
            f"{error}; give elements={{name or type: symbol}} (--element NAME=SYMBOL)"
        ) from error
    standard = np.array([STANDARD[name.strip().capitalize()] for name in names])
    own = masses[kept]
    known = np.nan_to_num(own) >= LIGHTEST
    if not np.isnan(own).any() and not known.all():
        notes.append(
            f"{int((~known).sum())} atoms have no mass in the topology (virtual sites?): those of "
            "the elements"
        )
    return Atoms(kept, numbers, np.where(known, own, standard), notes)


def _masses_read(atoms: Any, guessed: set[str]) -> NDArray[np.float64]:
    """Masses of the topology, NaN where MDAnalysis guessed them or set them to 1."""
    if not hasattr(atoms, "masses") or "masses" in guessed:
        return np.full(len(atoms), np.nan)
    masses = np.array(atoms.masses, dtype=float)
    # the LAMMPS dump parser sets masses that it does not find to exactly 1, and does not call this
    # a guess
    placeholder = masses == 1.0
    if placeholder.all() or hasattr(atoms, "elements"):
        masses[placeholder] = np.nan
    return masses


def _symbols_given(
    atoms: Any, elements: Mapping[str, str | None] | Sequence[str] | None
) -> list[str | None]:
    """What the user says of each atom: a symbol, "" for a site that is no atom, None."""
    if elements is not None and not isinstance(elements, Mapping):
        if isinstance(elements, str) or len(elements) != len(atoms):
            raise TrajectoryError(
                f"elements: give one symbol for each of the {len(atoms)} atoms, or a mapping from "
                "name or type"
            )
        return [str(symbol) for symbol in elements]
    symbols = np.full(len(atoms), None, dtype=object)
    kinds = [kind for kind in ("names", "types") if hasattr(atoms, kind)]
    labels = [np.asarray(getattr(atoms, kind), dtype=str) for kind in kinds]
    for key, symbol in (elements or {}).items():
        matches = next((found for values in labels if (found := values == str(key)).any()), None)
        if matches is None:
            there = ", ".join(sorted({str(value) for values in labels for value in values})[:20])
            raise TrajectoryError(
                f"elements: no atom has the name or type {key!r}; there are {there}"
            )
        symbols[matches] = symbol or ""
    return list(symbols)


def _element_of_mass(mass: float) -> str | None:
    """The one element within the tolerance, "" of no atom, None if there is not just one."""
    if mass < LIGHTEST:
        return ""
    near = {SYMBOLS[NUMBERS[symbol]] for symbol, m in STANDARD.items() if abs(m - mass) < TOLERANCE}
    near -= set(_HEAVIEST)
    return near.pop() if len(near) == 1 else None


def _label(atom: Any) -> str:
    return str(getattr(atom, "name", "") or f"type {getattr(atom, 'type', '?')}")


def _unknown_message(atoms: Any) -> str:
    named = any(str(name) for name in getattr(atoms, "names", ()))
    kind = "names" if named or not hasattr(atoms, "types") else "types"
    labels = list(dict.fromkeys(str(label) for label in getattr(atoms, kind, ["?"])))[:20]
    guesses = [DefaultGuesser(None).guess_atom_element(label).capitalize() for label in labels]
    suggestion = {
        label: guess if guess in NUMBERS else "?"
        for label, guess in zip(labels, guesses, strict=True)
    }
    typed = " ".join(
        f"--element {shlex.quote(f'{label}={guess}')}" for label, guess in suggestion.items()
    )
    return (
        f"the elements of {len(atoms)} atoms are not known ({kind} {', '.join(labels)}): the "
        "topology has no elements, and no masses, only guessed ones, or none near an element; "
        f"give {typed} with the right symbols (nothing behind = for a site that is no atom), in "
        f"Python elements={suggestion}, or a topology with elements or masses"
    )


def name_elements(
    universe: Any, indices: NDArray[np.int64], numbers: NDArray[np.int64]
) -> list[str]:
    """Let selections such as "element O" work where the topology has no elements.

    Parameters
    ----------
    universe : MDAnalysis.Universe
        Gets the attribute, if it has none.
    indices, numbers : ndarray of int, shape [n_atoms]
        Of the particles that are atoms, and their atomic numbers.

    Returns
    -------
    list of str
        A note on what was done.
    """
    if hasattr(universe.atoms, "elements"):
        return []
    symbols = np.full(len(universe.atoms), "", dtype=object)
    symbols[indices] = symbols_of(numbers)
    universe.add_TopologyAttr("elements", symbols)
    return ["elements were added to the Universe, so that groups can be selected by them"]
