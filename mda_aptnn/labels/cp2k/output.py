"""What CP2K printed: forces, dipole, polar tensors, polarizability, geometry; and whether the run
may be trusted.

Everything is read from the standard output of one run, which ends with the line that says so: an
output that was cut anywhere is not complete. What CP2K prints twice (sums of forces and of polar
tensors, the length of a dipole, values in two units) is compared, so that a damaged digit is
noticed. Formats: CP2K 2023.1 (run here), and the force block and finite-field tensors (``APT_FD``)
of 2025, as their sources print them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import LabelError
from mda_aptnn.labels.protocol import BOHR, Output
from mda_aptnn.units import factor

#: Debye in e·Å.
DEBYE = factor("debye", "e*angstrom")

Array = NDArray[np.float64]

_NUMBER = r"[-+]?\d+\.\d+(?:[EeDd][-+]?\d+)?"
_THREE = rf"\s+({_NUMBER})" * 3
_ROW = rf"\s*({_NUMBER})" + rf"\s+({_NUMBER})" * 2 + r"\s*\n"
#: Of the forces up to 2024 and since 2025: title, block with its sums, line of an atom.
_FORCES = (
    (
        " ATOMIC FORCES in [a.u.]",
        re.compile(
            r"^ ATOMIC FORCES in \[a\.u\.\](.*?)^ SUM OF ATOMIC FORCES([^\n]*)\n", re.M | re.S
        ),
        re.compile(rf"^\s+(\d+)\s+\d+\s+[A-Za-z]\w*{_THREE}\s*$", re.M),
    ),
    (
        " FORCES| Atomic forces",
        re.compile(
            r"^ FORCES\| Atomic forces \[hartree/bohr\](.*?)^ FORCES\| Sum([^\n]*)\n", re.M | re.S
        ),
        re.compile(rf"^ FORCES\|\s+(\d+){_THREE}\s+{_NUMBER}\s*$", re.M),
    ),
)
_COORDINATES = re.compile(r"ATOMIC COORDINATES IN ANGSTROM\s*\n(.*?)\n\s*\n\s*\n", re.S | re.I)
_COORDINATE = re.compile(rf"^\s+(\d+)\s+\d+\s+\S+\s+(\d+){_THREE}\s", re.M)
_CELL = re.compile(
    rf"^ CELL\| Vector [abc] \[angstrom\]:?{_THREE}\s+\|[abc]\| =\s+({_NUMBER})", re.M
)
_MOMENTS = re.compile(
    r"^ ELECTRIC/MAGNETIC MOMENTS(.*?Total=.*?Dipole moment \[Debye\]\s*\n[^\n]*)\n", re.M | re.S
)
_DIPOLE = re.compile(r"\s*".join(rf"{name}=\s*({_NUMBER})" for name in ("X", "Y", "Z", "Total")))
_TB_DIPOLE = re.compile(
    r"^ TB_DIPOLE\| Dipole type\s+(\S.*?)\s*$.*?"
    rf"^ TB_DIPOLE\| Moment \[a\.u\.\]{_THREE}\s*$\n^ TB_DIPOLE\| Moment \[Debye\]{_THREE}\s*$",
    re.M | re.S,
)
_SCF = re.compile(
    r"SCF run converged|SCF run NOT converged|Leaving inner SCF loop|outer SCF loop converged|"
    r"outer SCF loop FAILED to converge"
)
_APT_DCDR = re.compile(
    r"^\s*APT \| Write the final apt matrix per atom(.*?)APT \| Write the total apt matrix[^\n]*\n"
    r"((?:[^\n]*\n){3})",
    re.M | re.S,
)
_APT_DCDR_ATOM = re.compile(
    rf"APT \| Atom\s+(\d+) - GAPT\s+({_NUMBER})\s*\n" + rf"\s*APT \|{_ROW}" * 3
)
_APT_FD_ATOM = re.compile(rf"^ *(\d+) +[A-Z][a-z]? +{_NUMBER} *\n{_ROW * 3}", re.M)
#: In atomic units and again in Å³; the order of CP2K is xx yy zz, xy xz yz, yx zx zy.
_POLAR = [
    re.compile(
        rf"^ POLAR\| Polarizability tensor \[{unit}\]\s*\n"
        + "".join(rf"^ POLAR\| {names}{_ROW}" for names in ("xx,yy,zz", "xy,xz,yz", "yx,zx,zy")),
        re.M,
    )
    for unit in (r"a\.u\.", r"ang\^3")
]


def parse_output(text: str) -> Output:
    """Read the standard output of a CP2K run.

    Raises
    ------
    LabelError
        If the run did not end, did not converge, or a block is incomplete; says which.
    """
    ended = re.search(r"PROGRAM (?:STOPPED|RUNNING) IN[^\n]*\n", text)
    if "PROGRAM ENDED AT" not in text or not ended:
        raise LabelError("the run did not end: its output is cut off" + _abort_message(text))
    states = _SCF.findall(text)
    if not states or states[-1] not in ("SCF run converged", "outer SCF loop converged"):
        raise LabelError("the SCF did not converge")
    if re.search(r"linear solver did\s?n.?t converge", text, re.I):
        raise LabelError("the linear-response solver did not converge")
    energy = rf"ENERGY\| Total FORCE_EVAL \( \S+ \) energy \[(?:a\.u\.|hartree)\]:?\s+({_NUMBER})"
    version = _one(r"CP2K\| version string:\s+(\S.*?)\s*$", text, "version")
    coordinates = _COORDINATES.findall(text)
    atoms = np.zeros((0, 4))
    if coordinates:
        atoms = _numbered(_COORDINATE.findall(coordinates[-1] + "\n"), "coordinates")
    vectors = _CELL.findall(text)
    cell = np.array(vectors[:3], dtype=float) if len(vectors) >= 3 else np.full((3, 4), np.nan)
    dipole, berry = _dipole(text)
    return Output(
        project=_one(r"GLOBAL\| Project name\s+(\S+)\s*$", text, "project name"),
        version=version,
        energy=float(_one(energy, text, "energy")),
        numbers=atoms[:, 0].astype(np.int64),
        positions=atoms[:, 1:],
        cell=cell[:, :3],
        cell_lengths=cell[:, 3],
        forces=parse_forces(text),
        dipole=dipole,
        berry=berry,
        apt=parse_apt(text),
        polarizability=parse_polarizability(text),
    )


def parse_forces(text: str) -> Array | None:
    """Read forces [n_atoms, 3] in hartree/bohr from an output or a force file, in both formats of
    CP2K.

    Raises
    ------
    LabelError
        If the block is not complete, its atoms are not 1, 2, 3, ..., or their sum is not the
        printed one.
    """
    for title, block, line in _FORCES:
        blocks = block.findall(text)
        if blocks:
            rows = line.findall(blocks[-1][0])
            forces = _numbered(rows, "forces")
            columns = zip(*(row[1:] for row in rows), strict=True)
            rounding = [sum(map(_last_digit, column)) for column in columns]
            _check_sums("forces", forces, re.findall(_NUMBER, blocks[-1][1])[:3], rounding)
            return forces
        if title in text:
            raise LabelError("the block of forces is cut off")
    return None


def parse_apt(text: str) -> Array | None:
    """Read the polar tensors that CP2K computed itself, as ``P[i, a, b] = ∂M_a/∂r_ib`` [n_atoms, 3,
    3] in e.

    ``&DCDR`` prints the transpose (row = displaced coordinate), which is turned here; ``APT_FD``
    (2025.2 and newer) prints field rows and force columns, which is the order of this package.
    """
    blocks = _APT_DCDR.findall(text)
    if blocks:
        table = _numbered(_APT_DCDR_ATOM.findall(blocks[-1][0]), "polar tensors")
        tensors = table[:, 1:].reshape(-1, 3, 3)
        if np.abs(np.trace(tensors, axis1=1, axis2=2) / 3 - table[:, 0]).max() > 1.01e-6:
            raise LabelError(
                "a polar tensor has another trace than was printed: the output is damaged"
            )
        total = re.findall(_NUMBER, blocks[-1][1])
        _check_sums("polar tensors", table[:, 1:], total, [1e-6 * len(table)] * 9)
        return tensors.transpose(0, 2, 1)
    if "Computing Atomic polarization tensors using finite differences" in text:
        return _numbered(_APT_FD_ATOM.findall(text), "polar tensors").reshape(-1, 3, 3)
    return None


def parse_polarizability(text: str) -> Array | None:
    """Read the polarizability [3, 3] of ``&LINRES &POLAR`` in Å³.

    Raises
    ------
    LabelError
        If the block is cut off, or is another one in Å³.
    """
    if "POLAR| Polarizability tensor [a.u.]" not in text:
        return None
    found, again = (block.findall(text) for block in _POLAR)
    if not found:
        raise LabelError("the block of the polarizability is cut off")
    values = np.array(found[-1], dtype=float) * BOHR**3
    if not again or not np.allclose(values, np.array(again[-1], float), rtol=1e-6, atol=1e-9):
        raise LabelError("the polarizability is not the same in both units: the output is damaged")
    return values[[0, 3, 4, 6, 1, 5, 7, 8, 2]].reshape(3, 3)


def last_lines(text: str, errors: str = "", count: int = 15) -> str:
    """Return the lines that say why a run failed: an abort message, the last SCF steps, or else the
    end of the output and of the standard error.
    """
    if "[ABORT]" not in text:
        text += f"\n{errors}"
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    words = {"[ABORT]": 2, "SCF run NOT converged": 6, "Leaving inner SCF loop": 6}
    for word, before in words.items():
        places = [k for k, line in enumerate(lines) if word in line]
        if places:
            return "\n".join(lines[max(0, places[-1] - before) :][:count])
    return "\n".join(lines[-count:])


def _abort_message(text: str) -> str:
    """The words in CP2K's box, right of the fallen man and left of the source line."""
    match = re.search(r"\[ABORT\][^\n]*\n(.*?)\n \* / \\ ", text, re.S)
    if match is None:
        return ""
    words = " ".join(line[9:].rstrip(" *") for line in match[1].splitlines())
    return f" (CP2K aborted: {' '.join(words.split())})"


def _one(pattern: str, text: str, what: str) -> str:
    match = re.search(pattern, text, re.M)
    if match is None:
        raise LabelError(f"no {what} in the output")
    return match[1]


def _numbered(rows: Sequence[Sequence[str]], what: str) -> Array:
    """The numbers of lines that begin with the running number of an atom."""
    if not rows or [int(row[0]) for row in rows] != list(range(1, len(rows) + 1)):
        raise LabelError(f"the block of {what} does not hold atoms 1, 2, 3, ...")
    return np.array([[float(x) for x in row[1:]] for row in rows])


def _last_digit(number: str) -> float:
    """What one unit of the last printed digit is worth."""
    digits, _, exponent = number.upper().replace("D", "E").partition("E")
    return float(10.0 ** (int(exponent or 0) - len(digits.partition(".")[2])))


def _check_sums(what: str, values: Array, total: Sequence[str], rounding: Sequence[float]) -> None:
    """Compare sums over atoms with the printed ones, within the last digits."""
    sums = values.sum(axis=0)
    if len(total) != len(sums) or any(
        abs(found - float(text)) > error + _last_digit(text)
        for found, text, error in zip(sums, total, rounding, strict=True)
    ):
        raise LabelError(f"the {what} do not sum to what was printed: the output is damaged")


def _dipole(text: str) -> tuple[Array | None, bool]:
    tight_binding = _TB_DIPOLE.findall(text)
    if tight_binding:
        kind, *numbers = tight_binding[-1]
        moment, again = np.array(numbers, dtype=float).reshape(2, 3) * [[BOHR], [DEBYE]]
        if not np.allclose(moment, again, rtol=1e-6, atol=2e-8):
            raise LabelError("the dipole is not the same in both units: the output is damaged")
        return moment, "Berry" in kind
    blocks = _MOMENTS.findall(text)
    if not blocks:
        return None, False
    values = _DIPOLE.search(blocks[-1])
    if values is None:
        raise LabelError("the block of moments is cut off")
    *moment, length = (float(x) for x in values.groups())
    if abs(np.linalg.norm(moment) - length) > sum(map(_last_digit, values.groups())):
        raise LabelError("the dipole is not as long as was printed: the output is damaged")
    return np.array(moment) * DEBYE, "Berry phase" in blocks[-1]
