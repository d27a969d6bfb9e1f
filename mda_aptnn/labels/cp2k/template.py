"""The user's working CP2K input: what of it is kept, what must change, and what is refused before
anything runs.
"""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io
from mda_aptnn.elements import atomic_numbers
from mda_aptnn.errors import AptnnError, CampaignError
from mda_aptnn.frame import Cell, Frame, cell_matrix
from mda_aptnn.labels.cp2k.input import CP2KInput, Keyword

DFT = "FORCE_EVAL/DFT"
SUBSYS = "FORCE_EVAL/SUBSYS"
#: Sections that are read or edited line by line: the preprocessor must not hide anything directly
#: inside.
INSPECTED = (
    "",
    "GLOBAL",
    "FORCE_EVAL",
    "FORCE_EVAL/PRINT",
    "FORCE_EVAL/PROPERTIES",
    "FORCE_EVAL/PROPERTIES/LINRES",
    DFT,
    f"{DFT}/MGRID",
    f"{DFT}/POISSON",
    f"{DFT}/PRINT",
    f"{DFT}/QS",
    f"{DFT}/SCF",
    f"{DFT}/SCF/PRINT",
    SUBSYS,
    f"{SUBSYS}/PRINT",
    f"{SUBSYS}/TOPOLOGY",
)
#: A looser EPS_SCF than this shows in forces divided by a small field.
LOOSEST_EPS_SCF = 1e-6
_OFF = ("F", "FALSE", ".FALSE.", "OFF", "NO", "NONE", "0")


@dataclasses.dataclass(frozen=True)
class Template:
    """A CP2K input that was found fit for labels.

    Attributes
    ----------
    input : CP2KInput
        As the user wrote it.
    periodic : bool
        Periodic in three directions, or not at all.
    charge : float
        Total charge in e.
    files : dict of str to Path
        Files beside the input that it needs, under the name that it uses.
    """

    input: CP2KInput
    periodic: bool
    charge: float
    files: dict[str, Path]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Template:
        """Read and check a CP2K input.

        Raises
        ------
        CampaignError
            If it cannot be edited safely, or asks for what labels cannot have; names the line.
        """
        path = Path(path)
        if not path.is_file():
            raise CampaignError(f"there is no CP2K input {path}")
        io.protect([path])
        text = CP2KInput.read(path)
        _check_structure(text)
        _check_method(text)
        charge = text.value(DFT, "CHARGE", "0")
        try:
            return cls(text, _is_periodic(text), float(charge), _find_files(text, path.parent))
        except ValueError as error:
            if isinstance(error, AptnnError):
                raise
            raise CampaignError(f"{text.name}: CHARGE {charge!r} is not a number") from error

    @property
    def level_of_theory(self) -> str:
        """Method, functional, dispersion, basis and cutoff in one line, as the input says."""
        method = self.input.value(f"{DFT}/QS", "METHOD", "GPW")
        if method == "XTB":
            return f"GFN{self.input.value(f'{DFT}/QS/XTB', 'GFN_TYPE', '1')}-xTB"
        functional = self.input.section(f"{DFT}/XC/XC_FUNCTIONAL")
        parts = [method]
        if functional is not None:
            parts.append(
                functional.parameter.upper()
                or "+".join(child.name for child in functional.sections)
            )
        pair = f"{DFT}/XC/VDW_POTENTIAL/PAIR_POTENTIAL"
        if self.input.section(pair) is not None:
            parts.append(self.input.value(pair, "TYPE", "?"))
        bases = {
            self._kind_value(kind.keywords, "BASIS_SET")
            for kind in self.input.all(f"{SUBSYS}/KIND")
        }
        parts += sorted(filter(None, bases))
        parts.append(f"{self.input.value(f'{DFT}/MGRID', 'CUTOFF', '280')} Ry")
        return " ".join(parts)

    def _kind_value(self, keywords: list[Keyword], name: str) -> str:
        return next(
            (self.input.expand(item.value, item.start) for item in keywords if item.name == name),
            "",
        )

    def placed(self, frame: Frame) -> Frame:
        """Return the frame as CP2K sees it: charge of the input; a molecule in the middle of the
        input's box.

        Raises
        ------
        CampaignError
            If frame and input disagree about what is periodic, or the molecule does not fit.
        """
        if self.periodic:
            if not frame.pbc.all():
                raise CampaignError(
                    f"{self.input.name} is periodic but the frame is not (pbc "
                    f"{frame.pbc.tolist()}): give the cell "
                    "(--cell), or set PERIODIC NONE in &CELL and &POISSON for an isolated molecule"
                )
            return dataclasses.replace(frame, charge=self.charge)
        if frame.pbc.any():
            raise CampaignError(
                f"{self.input.name} says PERIODIC NONE but the frame is periodic: give --pbc none, "
                f"or make the input "
                "periodic"
            )
        box = self._box()
        middle = (frame.positions.min(axis=0) + frame.positions.max(axis=0)) / 2
        # rounded to what is written, so that displaced and undisplaced runs differ by the
        # displacement alone
        shift = np.round(box.sum(axis=0) / 2 - middle, 6)
        positions = frame.positions + shift
        inside = Cell(box).fractions(positions)
        if inside.min() < 0 or inside.max() > 1:
            raise CampaignError(
                f"the molecule does not fit into the &CELL of {self.input.name}: make it larger"
            )
        return Frame(frame.numbers, positions, box, np.zeros(3, bool), self.charge)

    def _box(self) -> NDArray[np.float64]:
        """The template's own cell in Å, for molecules in vacuum."""
        path = f"{SUBSYS}/CELL"

        def numbers(name: str) -> list[float]:
            item = self.input.keyword(path, name)
            if item is None:
                return []
            text = re.sub(
                r"^\[angstrom\]", "", self.input.expand(item.value, item.start).strip(), flags=re.I
            )
            try:
                return [float(x) for x in text.split()[:3]]
            except ValueError as error:
                raise self.input.error(
                    item.start, f"cannot read {name} {item.value!r}; write it in Å"
                ) from error

        lengths = numbers("ABC")
        angles = numbers("ALPHA_BETA_GAMMA") or [90.0] * 3
        values = [*lengths, *angles] if lengths else [x for name in "ABC" for x in numbers(name)]
        if len(values) not in (6, 9):
            raise CampaignError(f"{self.input.name}: give &SUBSYS &CELL with ABC or A, B, C in Å")
        return cell_matrix(values)

    def kinds(self, frame: Frame) -> list[str]:
        """Return the name of the ``&KIND`` of each atom.

        Raises
        ------
        CampaignError
            If an element has no kind, or several and the input's own coordinates do not tell which
            atom is which.
        """
        own = self._own_kinds()
        if len(own) == len(frame) and np.array_equal(
            [self._element(name) for name in own], frame.numbers
        ):
            return own
        by_element: dict[int, list[str]] = {}
        for kind in self.input.all(f"{SUBSYS}/KIND"):
            name = self.input.expand(kind.parameter, kind.start)
            if name.upper() != "DEFAULT":
                by_element.setdefault(self._element(name), []).append(name)
        xtb = self.input.value(f"{DFT}/QS", "METHOD", "GPW") == "XTB"
        names = []
        for number, symbol in zip(frame.numbers, frame.symbols, strict=True):
            found = by_element.get(int(number), [])
            if len(found) > 1:
                raise CampaignError(
                    f"{self.input.name} has {len(found)} kinds of {symbol} ({', '.join(found)}), "
                    f"and its &COORD does "
                    "not list the atoms of the trajectory in their order to tell which is which"
                )
            if not found and not xtb:
                raise CampaignError(
                    f"{self.input.name} has no &KIND {symbol}, which the trajectory contains"
                )
            names.append(found[0] if found else symbol)
        return names

    def _own_kinds(self) -> list[str]:
        section = self.input.section(f"{SUBSYS}/COORD")
        if section is None or section.directives:
            return []
        return [
            self.input.expand(line.split()[0], section.start)
            for line in self.input.lines(section)
            if len(line.split()) >= 4
        ]

    def _element(self, name: str) -> int:
        for kind in self.input.all(f"{SUBSYS}/KIND"):
            element = self._kind_value(kind.keywords, "ELEMENT")
            if element and self.input.expand(kind.parameter, kind.start).upper() == name.upper():
                return int(atomic_numbers([element])[0])
        letters = re.match(r"[A-Za-z]{1,2}", name)
        for length in (2, 1):
            try:
                return int(atomic_numbers([letters[0][:length] if letters else name])[0])
            except AptnnError:
                continue
        raise CampaignError(
            f"{self.input.name}: the kind {name} is not named after an element and has no ELEMENT"
        )

    def snapshot(self, frame: Frame, kinds: list[str]) -> CP2KInput:
        """Return the input for one (placed) frame: its cell, its coordinates, and what has to be
        printed.
        """
        text = self.input.copy()
        text.remove_section("EXT_RESTART")
        for name in ("VELOCITY", "TOPOLOGY/CENTER_COORDINATES"):
            text.remove_section(f"{SUBSYS}/{name}")
        if text.section(f"{SUBSYS}/TOPOLOGY") is not None:
            coordinate_keys = [
                "COORD_FILE_NAME",
                "COORDINATE_FILE_NAME",
                "COORD_FILE_FORMAT",
                "COORDINATE",
            ]
            text.remove_keywords(
                f"{SUBSYS}/TOPOLOGY", [*coordinate_keys, "NUMBER_OF_ATOMS", "MULTIPLE_UNIT_CELL"]
            )
        if self.periodic:
            vectors = [
                f"{name} {' '.join(f'{x:.10f}' for x in vector)}"
                for name, vector in zip("ABC", frame.cell, strict=True)
            ]
            text.replace_section(f"{SUBSYS}/CELL", [*vectors, "PERIODIC XYZ"])
        coordinates = [
            f"{kind} {' '.join(f'{x:.10f}' for x in position)}"
            for kind, position in zip(kinds, frame.positions, strict=True)
        ]
        text.replace_section(f"{SUBSYS}/COORD", coordinates)
        text.replace_section(f"{SUBSYS}/PRINT/ATOMIC_COORDINATES", [], "ON")
        text.replace_section(f"{SUBSYS}/PRINT/CELL", ["UNIT angstrom"], "ON")
        reference = " ".join(f"{x:.10f}" for x in frame.positions.mean(axis=0))
        text.replace_section(
            f"{DFT}/PRINT/MOMENTS",
            [
                f"PERIODIC {'T' if self.periodic else 'F'}",
                # fixed, so that the dipole of an ion does not move with the centre of its own
                # charges or masses
                "REFERENCE USER_DEFINED",
                f"REFERENCE_POINT [angstrom] {reference}",
            ],
            "ON",
        )
        if text.value("GLOBAL", "PRINT_LEVEL", "MEDIUM") == "SILENT":
            text.set_keyword("GLOBAL", ["PRINT_LEVEL", "IOLEVEL"], "LOW")
        return text


def _check_structure(text: CP2KInput) -> None:
    evaluations = text.all("FORCE_EVAL")
    if not evaluations:
        raise CampaignError(f"{text.name}: no &FORCE_EVAL")
    several = text.section("MULTIPLE_FORCE_EVALS")
    if several is not None or len(evaluations) > 1:
        line = several.start if several is not None else evaluations[1].start
        raise text.error(
            line, "several force evaluations; labels need one &FORCE_EVAL with METHOD QUICKSTEP"
        )
    for path in INSPECTED:
        for section in text.all(path):
            for name, _, line in section.directives:
                if name not in ("@SET", "@PRINT"):
                    where = f"&{section.name}" if section.name else "the top level"
                    raise text.error(
                        line, f"{name} in {where} may hide what has to change; write it out here"
                    )
            for child in section.sections:
                if "$" in child.name:
                    raise text.error(
                        child.start, f"&{child.name}: write out the name of the section"
                    )
    for path in (DFT, SUBSYS):
        if text.section(path) is None:
            raise CampaignError(f"{text.name}: no &{path.split('/')[-1]} in &FORCE_EVAL")


def _check_method(text: CP2KInput) -> None:
    method = text.value("FORCE_EVAL", "METHOD", "QUICKSTEP")
    if method not in ("QUICKSTEP", "QS"):
        item = text.keyword("FORCE_EVAL", "METHOD")
        raise text.error(
            item.start if item else 0,
            f"METHOD {method} has no dipole; labels need METHOD QUICKSTEP",
        )
    stress = text.keyword("FORCE_EVAL", "STRESS_TENSOR")
    if stress is not None and stress.value.upper() not in _OFF:
        raise text.error(
            stress.start, "a stress tensor aborts with an electric field; remove STRESS_TENSOR"
        )
    for path, reason in (
        (f"{DFT}/EFIELD", "the input has an electric field of its own; remove it"),
        (f"{DFT}/PERIODIC_EFIELD", "the input has an electric field of its own; remove it"),
        (
            "FORCE_EVAL/RESCALE_FORCES",
            "rescaled forces are not derivatives of an energy; remove it",
        ),
    ):
        section = text.section(path)
        if section is not None:
            raise text.error(section.start, reason)
    points = text.section(f"{DFT}/KPOINTS")
    if points is not None and text.value(f"{DFT}/KPOINTS", "SCHEME", "NONE") not in (
        "NONE",
        "GAMMA",
    ):
        raise text.error(points.start, "dipoles and fields need the Γ point only; remove &KPOINTS")
    smear = text.section(f"{DFT}/SCF/SMEAR")
    if smear is not None and smear.parameter.upper() not in _OFF:
        raise text.error(
            smear.start,
            "a field (and a Berry-phase dipole) needs integer occupations; remove &SMEAR",
        )
    value = text.value(f"{DFT}/SCF", "EPS_SCF", "1E-5").replace("D", "E")
    if float(value) > LOOSEST_EPS_SCF:
        warnings.warn(
            f"{text.name}: EPS_SCF {value} is loose for differences of small numbers; "
            f"{LOOSEST_EPS_SCF:g} or less "
            "gives labels to about 1e-3 e",
            stacklevel=4,
        )


def _is_periodic(text: CP2KInput) -> bool:
    cell = text.value(f"{SUBSYS}/CELL", "PERIODIC", "XYZ")
    poisson = text.value(f"{DFT}/POISSON", "PERIODIC", "XYZ")
    if cell != poisson or cell not in ("XYZ", "NONE"):
        item = text.keyword(f"{SUBSYS}/CELL", "PERIODIC") or text.keyword(
            f"{DFT}/POISSON", "PERIODIC"
        )
        raise text.error(
            item.start if item else 0,
            f"PERIODIC is {cell} in &CELL and {poisson} in &POISSON; labels need XYZ in both, or "
            f"NONE in both",
        )
    return cell == "XYZ"


def _find_files(text: CP2KInput, folder: Path) -> dict[str, Path]:
    """Files that the input names and that lie beside it: basis sets, potentials, included parts."""
    replaced = {id(part) for name in ("CELL", "COORD") for part in text.all(f"{SUBSYS}/{name}")}
    names: list[tuple[str, int]] = []
    for section in text.root.walk():
        if id(section) in replaced:
            continue
        names += [(rest, line) for name, rest, line in section.directives if name == "@INCLUDE"]
        for item in section.keywords:
            if "FILE" in item.name and not item.name.startswith(
                ("COORD", "WFN_RESTART", "RESTART")
            ):
                names.append((text.expand(item.value, item.start), item.start))
    files = {}
    for name, line in names:
        name = name.strip("'\" ")
        if name and (folder / name).is_file() and not os.path.isabs(name):
            if os.path.dirname(name):
                raise text.error(
                    line, f"{name}: put the file beside the input and name it without a folder"
                )
            files[name] = folder / name
    return files
