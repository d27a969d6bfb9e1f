"""The user's working CP2K input: what of it is kept, what must change, and what is refused before
anything runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io
from mda_aptnn.elements import atomic_numbers
from mda_aptnn.errors import AptnnError, CampaignError
from mda_aptnn.frame import Cell, Frame, cell_matrix
from mda_aptnn.labels.cp2k.input import CP2KInput, Section
from mda_aptnn.labels.protocol import TASK, Recipe, Run
from mda_aptnn.labels.routes import Route

EVAL, DFT, SUBSYS = "FORCE_EVAL", "FORCE_EVAL/DFT", "FORCE_EVAL/SUBSYS"
SCF, KIND, LINRES = f"{DFT}/SCF", f"{SUBSYS}/KIND", f"{EVAL}/PROPERTIES/LINRES"
#: Sections that are read or edited line by line: the preprocessor must not hide anything directly
#: inside.
INSPECTED = (
    *("", "GLOBAL", EVAL, f"{EVAL}/PRINT", f"{EVAL}/PROPERTIES", LINRES),
    *(DFT, *(f"{DFT}/{name}" for name in ("MGRID", "POISSON", "PRINT", "QS", "SCF", "SCF/PRINT"))),
    *(SUBSYS, f"{SUBSYS}/PRINT", f"{SUBSYS}/TOPOLOGY"),
)
#: Keywords that name the file, or the size, of coordinates that are replaced.
COORDINATES = (
    *("COORD_FILE_NAME", "COORDINATE_FILE_NAME", "COORD_FILE_FORMAT", "COORDINATE"),
    *("NUMBER_OF_ATOMS", "MULTIPLE_UNIT_CELL"),
)
#: A looser EPS_SCF than this shows in forces divided by a small field.
LOOSEST_EPS_SCF = 1e-6
_OFF = ("F", "FALSE", ".FALSE.", "OFF", "NO", "NONE", "0")
_FIELD = "the input has an electric field of its own; remove it"
#: What labels cannot have: section, keyword (the parameter of the section if empty), the values
#: that do no harm, and why not the others.
REFUSED: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    (EVAL, "METHOD", ("QUICKSTEP", "QS"), "METHOD {} has no dipole; labels need METHOD QUICKSTEP"),
    (EVAL, "STRESS_TENSOR", _OFF, "a stress tensor aborts with an electric field; remove it"),
    (f"{EVAL}/RESCALE_FORCES", "", (), "such forces are not derivatives of an energy; remove it"),
    (f"{DFT}/EFIELD", "", (), _FIELD),
    (f"{DFT}/PERIODIC_EFIELD", "", (), _FIELD),
    (f"{DFT}/KPOINTS", "SCHEME", ("NONE", "GAMMA"), "dipoles need the Γ point only; remove it"),
    (f"{SCF}/SMEAR", "", _OFF, "a field needs integer occupations; remove &SMEAR"),
)


@dataclasses.dataclass(frozen=True)
class Template(Recipe):
    """A CP2K input that was found fit for labels: the recipe of a campaign.

    Attributes
    ----------
    input : CP2KInput
        As the user wrote it.
    periodic : bool
        Periodic in three directions, or not at all.
    """

    input: CP2KInput = dataclasses.field(kw_only=True)
    periodic: bool = dataclasses.field(kw_only=True)

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
        if not re.fullmatch(r"[-+]?\d+(\.0*)?", charge):
            raise CampaignError(f"{text.name}: CHARGE {charge!r} is not a number")
        level, periodic = _level_of_theory(text), _periodic(text)
        files = _find_files(text, path.parent)
        return cls("cp2k", text.text, level, float(charge), files, input=text, periodic=periodic)

    @property
    def _tight_binding(self) -> bool:
        return self.input.value(f"{DFT}/QS", "METHOD", "GPW") == "XTB"

    def check(self, route: Route) -> None:
        """Warn of fields with tight binding."""
        if self._tight_binding and any(any(run.field) for run in route.runs([])):
            warnings.warn(
                "CP2K 2023.1 returns −P for GFN1-xTB in fields, and collecting will refuse it; use "
                "--route displacement",
                stacklevel=2,
            )

    def placed(self, frame: Frame) -> Frame:
        """Return the frame as CP2K sees it: charge of the input; a molecule in the middle of the
        input's box.

        Raises
        ------
        CampaignError
            If frame and input disagree about what is periodic, or the molecule does not fit.
        """
        name = self.input.name
        if self.periodic:
            if not frame.pbc.all():
                raise CampaignError(
                    f"{name} is periodic but the frame is not (pbc {frame.pbc.tolist()}): give the "
                    "cell (--cell), or set PERIODIC NONE in &CELL and &POISSON for an isolated "
                    "molecule"
                )
            return super().placed(frame)
        if frame.pbc.any():
            raise CampaignError(
                f"{name} says PERIODIC NONE but the frame is periodic: give --pbc none, or make "
                "the input periodic"
            )
        box = self._box()
        middle = (frame.positions.min(axis=0) + frame.positions.max(axis=0)) / 2
        # rounded to what is written, so that displaced and undisplaced runs differ by the
        # displacement alone
        positions = frame.positions + np.round(box.sum(axis=0) / 2 - middle, 6)
        inside = Cell(box).fractions(positions)
        if inside.min() < 0 or inside.max() > 1:
            raise CampaignError(
                f"the molecule does not fit into the &CELL of {name}: make it larger"
            )
        return Frame(frame.numbers, positions, box, np.zeros(3, bool), self.charge or 0.0)

    def _box(self) -> NDArray[np.float64]:
        """The template's own cell in Å, for molecules in vacuum."""
        found: dict[str, list[float]] = {}
        for name in ("ABC", "A", "B", "C", "ALPHA_BETA_GAMMA"):
            item = self.input.keyword(f"{SUBSYS}/CELL", name)
            text = "" if item is None else self.input.expand(item)
            words = re.sub(r"^\s*\[angstrom\]", "", text, flags=re.I).split()[:3]
            try:
                found[name] = [float(x) for x in words]
            except ValueError:
                self.input.refuse(item, f"cannot read {name} {text!r}; write it in Å")
        values = found["A"] + found["B"] + found["C"]
        if found["ABC"]:
            values = found["ABC"] + (found["ALPHA_BETA_GAMMA"] or [90.0] * 3)
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
        given = {  # the elements that kinds say themselves
            self.input.expand(kind): _of_kind(self.input, kind, "ELEMENT")
            for kind in self.input.all(KIND)
        }
        said = {kind.upper(): element for kind, element in given.items()}
        own, section = list[str](), self.input.section(f"{SUBSYS}/COORD")
        if section is not None and not section.directives:
            rows = [line.split() for line in self.input.lines(section)]
            own = [self.input.expand(section, row[0]) for row in rows if len(row) >= 4]
        if [self._element(name, said) for name in own] == frame.numbers.tolist():
            return own
        elements = {kind: self._element(kind, said) for kind in given if kind.upper() != "DEFAULT"}
        names = {}
        for symbol, number in dict(zip(frame.symbols, frame.numbers.tolist(), strict=True)).items():
            found = [kind for kind, element in elements.items() if element == number]
            if len(found) > 1:
                raise CampaignError(
                    f"{self.input.name} has {len(found)} kinds of {symbol} ({', '.join(found)}), "
                    "and its &COORD does not list the atoms of the trajectory in their order to "
                    "tell which is which"
                )
            if not found and not self._tight_binding:
                raise CampaignError(
                    f"{self.input.name} has no &KIND {symbol}, which the trajectory contains"
                )
            names[symbol] = found[0] if found else symbol
        return [names[symbol] for symbol in frame.symbols]

    def _element(self, name: str, said: dict[str, str]) -> int:
        """The element of a kind: what it says itself, or the letters that its name begins with."""
        letters, own = "".join(re.findall(r"^[A-Za-z]{1,2}", name)), said.get(name.upper())
        for symbol in [own] if own else [letters, letters[:1]]:
            with contextlib.suppress(AptnnError):
                return int(atomic_numbers([symbol])[0])
        raise CampaignError(
            f"{self.input.name}: the kind {name} is not named after an element and has no ELEMENT"
        )

    def inputs(self, frame: Frame, runs: Sequence[Run], route: Route) -> dict[str, str]:
        """Return the input of each run of a placed frame.

        Raises
        ------
        CampaignError
            If the frame cannot be labelled by this route.
        """
        kinds, texts = self.kinds(frame), {}
        for run in runs:
            text = self._for_frame(run.geometry(frame), kinds)
            _start_from(text, run)
            _ask_for(text, run, frame, route)
            texts[run.name] = text.text
        return texts

    def _for_frame(self, frame: Frame, kinds: list[str]) -> CP2KInput:
        """The input with the cell and coordinates of a frame, and what has to be printed."""

        def row(name: str, vector: NDArray[np.float64]) -> str:
            return " ".join([name, *(f"{x:.10f}" for x in vector)])

        text = self.input.copy()
        text.remove_section("EXT_RESTART")
        for name in ("VELOCITY", "TOPOLOGY/CENTER_COORDINATES"):
            text.remove_section(f"{SUBSYS}/{name}")
        text.remove_keywords(f"{SUBSYS}/TOPOLOGY", *COORDINATES)
        if self.periodic:
            text.replace_section(f"{SUBSYS}/CELL", [*map(row, "ABC", frame.cell), "PERIODIC XYZ"])
        text.replace_section(f"{SUBSYS}/COORD", [*map(row, kinds, frame.positions)])
        text.replace_section(f"{SUBSYS}/PRINT/ATOMIC_COORDINATES", [], "ON")
        text.replace_section(f"{SUBSYS}/PRINT/CELL", ["UNIT angstrom"], "ON")
        # a fixed reference, so that the dipole of an ion does not move with the centre of its own
        # charges or masses
        place = row("REFERENCE_POINT [angstrom]", frame.positions.mean(axis=0))
        periodic = f"PERIODIC {'T' if self.periodic else 'F'}"
        moments = [periodic, "REFERENCE USER_DEFINED", place]
        text.replace_section(f"{DFT}/PRINT/MOMENTS", moments, "ON")
        if text.value("GLOBAL", "PRINT_LEVEL", "MEDIUM") == "SILENT":
            text.set_keyword("GLOBAL", "PRINT_LEVEL", "LOW", "IOLEVEL")
        return text


def _of_kind(text: CP2KInput, kind: Section, name: str) -> str:
    """The first value of a keyword in a ``&KIND``, empty if there is none."""
    found = [item for item in kind.keywords if item.name == name]
    return text.expand(found[0]) if found else ""


def _level_of_theory(text: CP2KInput) -> str:
    """Method, functional, dispersion, basis and cutoff in one line, as the input says."""
    method = text.value(f"{DFT}/QS", "METHOD", "GPW")
    if method == "XTB":
        return f"GFN{text.value(f'{DFT}/QS/XTB', 'GFN_TYPE', '1')}-xTB"
    parts, functional = [method], text.section(f"{DFT}/XC/XC_FUNCTIONAL")
    if functional is not None:
        names = "+".join(child.name for child in functional.sections)
        parts.append(functional.value.upper() or names)
    pair = f"{DFT}/XC/VDW_POTENTIAL/PAIR_POTENTIAL"
    if text.section(pair) is not None:
        parts.append(text.value(pair, "TYPE", "?"))
    parts += sorted({_of_kind(text, kind, "BASIS_SET") for kind in text.all(KIND)} - {""})
    return " ".join([*parts, text.value(f"{DFT}/MGRID", "CUTOFF", "280"), "Ry"])


def _start_from(text: CP2KInput, run: Run) -> None:
    """Name the run; all but the first start from the wavefunction of the first."""
    restart = "WFN_RESTART_FILE_NAME", "RESTART_FILE_NAME"
    text.set_keyword("GLOBAL", "PROJECT", f"{run.name}-{TASK}", "PROJECT_NAME")
    first = run.name == "zero"
    if first:
        # a wavefunction of another geometry is not looked for
        text.remove_keywords(DFT, *restart)
        if text.value(SCF, "SCF_GUESS", "ATOMIC") in ("RESTART", "HISTORY_RESTART"):
            text.set_keyword(SCF, "SCF_GUESS", "ATOMIC")
    else:
        text.set_keyword(DFT, restart[0], f"zero-{TASK}-RESTART.wfn", restart[1])
        text.set_keyword(SCF, "SCF_GUESS", "RESTART")
    text.replace_section(f"{SCF}/PRINT/RESTART", ["BACKUP_COPIES 0"], "ON" if first else "OFF")


def _ask_for(text: CP2KInput, run: Run, frame: Frame, route: Route) -> None:
    """Ask for what the route wants of a run: forces, response to fields or to displacements."""
    wanted = route.wanted(run)
    # CP2K's own finite fields are asked for by the template
    by_field = text.value(f"{LINRES}/DCDR", "APT_FD", "F") in ("T", "TRUE", ".TRUE.", "ON", "YES")
    if "apt" in wanted and frame.pbc.all() and not by_field:
        raise CampaignError(
            "the analytic route (&DCDR) is for isolated molecules; use --route field in periodic "
            "cells, or write &PROPERTIES &LINRES &DCDR APT_FD T into the input (CP2K 2025.2 and "
            "newer)"
        )
    if "polarizability" in wanted and frame.pbc.any():
        raise CampaignError(
            f"--route {route.name} is for isolated molecules (PERIODIC NONE); use --route "
            "field-raman in periodic cells"
        )
    with_forces = wanted & {"forces", "apt"}
    text.set_keyword("GLOBAL", "RUN_TYPE", "ENERGY_FORCE" if with_forces else "ENERGY")
    if "forces" in wanted:
        text.replace_section(f"{EVAL}/PRINT/FORCES", ["NDIGITS 12"], "ON")
    if strength := float(np.linalg.norm(run.field)):
        direction = " ".join(f"{x:.10g}" for x in np.array(run.field) / strength)
        name = "PERIODIC_EFIELD" if frame.pbc.all() else "EFIELD"
        lines = [f"INTENSITY {strength:.10g}", f"POLARISATION {direction}"]
        text.replace_section(f"{DFT}/{name}", lines)
    if "apt" in wanted and not by_field:
        # wrong, without an error, on several grids
        text.set_keyword(f"{DFT}/MGRID", "NGRIDS", "1")
    if wanted & {"apt", "polarizability"} and text.section(LINRES) is None:
        text.replace_section(LINRES, ["PRECONDITIONER FULL_ALL", "EPS 1e-8", "MAX_ITER 200"])
    if "apt" in wanted:
        text.replace_section(f"{LINRES}/DCDR/PRINT/APT", ["FILENAME __STD_OUT__"], "ON")
    if "polarizability" in wanted:
        text.replace_section(f"{LINRES}/POLAR", ["DO_RAMAN T", "PERIODIC_DIPOLE_OPERATOR F"])
        text.replace_section(f"{LINRES}/POLAR/PRINT/POLAR_MATRIX", ["FILENAME __STD_OUT__"], "ON")


def _check_structure(text: CP2KInput) -> None:
    """Refuse what cannot be edited safely."""
    for extra in [*text.all("MULTIPLE_FORCE_EVALS"), *text.all(EVAL)[1:]]:
        text.refuse(
            extra, "several force evaluations; labels need one &FORCE_EVAL with METHOD QUICKSTEP"
        )
    for section in (section for path in INSPECTED for section in text.all(path)):
        where = f"&{section.name}" if section.name else "the top level"
        for item in section.directives:
            if item.name not in ("@SET", "@PRINT"):
                what = f"{item.name} in {where}"
                text.refuse(item, f"{what} may hide what has to change; write it out here")
        for child in section.sections:
            if "$" in child.name:
                text.refuse(child, f"&{child.name}: write out the name of the section")
    for path in (EVAL, DFT, SUBSYS):
        if not text.all(path):
            raise CampaignError(f"{text.name}: no &{path.replace('/', '/&')}")


def _check_method(text: CP2KInput) -> None:
    """Refuse what labels cannot have."""
    for path, name, harmless, why in REFUSED:
        section, keyword = text.section(path), text.keyword(path, name)
        item = keyword if name else section
        if item is not None and (value := text.expand(item).upper()) not in harmless:
            text.refuse(keyword if path == EVAL else section, why.format(value))
    value = text.value(SCF, "EPS_SCF", "1E-5").replace("D", "E")
    if float(value) > LOOSEST_EPS_SCF:
        warnings.warn(
            f"{text.name}: EPS_SCF {value} is loose for differences of small numbers; "
            f"{LOOSEST_EPS_SCF:g} or less gives labels to about 1e-3 e",
            stacklevel=4,
        )


def _periodic(text: CP2KInput) -> bool:
    places = f"{SUBSYS}/CELL", f"{DFT}/POISSON"
    cell, poisson = (text.value(path, "PERIODIC", "XYZ") for path in places)
    if cell != poisson or cell not in ("XYZ", "NONE"):
        for path in places:
            text.refuse(
                text.keyword(path, "PERIODIC"),
                f"PERIODIC is {cell} in &CELL and {poisson} in &POISSON; labels need XYZ in both, "
                "or NONE in both",
            )
    return cell == "XYZ"


def _find_files(text: CP2KInput, folder: Path) -> dict[str, Path]:
    """Files that the input names and that lie beside it: basis sets, potentials, included parts."""
    replaced = {id(part) for name in ("CELL", "COORD") for part in text.all(f"{SUBSYS}/{name}")}
    other = ("COORD", "WFN_RESTART", "RESTART")
    files = {}
    for section in text.root.walk():
        for item in [] if id(section) in replaced else section.keywords:
            if item.name != "@INCLUDE" and ("FILE" not in item.name or item.name.startswith(other)):
                continue
            name = (item.value if item.name == "@INCLUDE" else text.expand(item)).strip("'\" ")
            if name and (folder / name).is_file() and not os.path.isabs(name):
                if os.path.dirname(name):
                    where = "put the file beside the input and name it without a folder"
                    text.refuse(item, f"{name}: {where}")
                files[name] = folder / name
    return files
