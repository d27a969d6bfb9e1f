"""A frame with its labels, and how it is written as extended XYZ."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import atomic_numbers
from mda_aptnn.errors import FrameError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.tensors import APT, TARGETS, Target
from mda_aptnn.text import short

#: Columns of extended XYZ: name, kind and how many numbers an atom has.
_PLACE = (("species", "S", 1), ("pos", "R", 3))
_LABELS = tuple((name, "R", 3 ** len(target.shape)) for name, target in TARGETS.items())


@dataclasses.dataclass(frozen=True)
class LabelledFrame:
    """A frame and what was computed for it.

    Attributes
    ----------
    frame : Frame
    tensors : dict of str to ndarray
        Key ``"apt"``: ``P[i, a, b] = ∂M_a/∂r_ib`` [n_atoms, 3, 3] in e; key ``"pgt"``: ``G[i, a, b,
        c] = ∂α_ab/∂r_ic`` [n_atoms, 3, 3, 3] in Å²; or one of them. NaN for an atom without a
        label.
    info : dict
        What is known of it: source, time, energy, sum-rule residual.
    """

    frame: Frame
    tensors: dict[str, NDArray[np.float64]]
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

    __repr__ = short

    def __post_init__(self) -> None:
        for name, values in self.tensors.items():
            shape = (len(self.frame), *TARGETS[name].shape)
            if np.shape(values) != shape:
                raise LabelError(f"labels {name!r} have shape {np.shape(values)}, expected {shape}")
            if np.isinf(values).any():
                raise LabelError(f"labels {name!r} are infinite")

    @property
    def apt(self) -> NDArray[np.float64]:
        """Polar tensors [n_atoms, 3, 3] in e."""
        return self.tensors[APT.name]

    def of(self, target: Target) -> NDArray[np.float64]:
        """Return the tensors of a target, NaN where the frame has none.

        Parameters
        ----------
        target : Target

        Returns
        -------
        ndarray, shape [n_atoms, 3, 3, ...]
        """
        return self.tensors.get(target.name, np.full((len(self.frame), *target.shape), np.nan))

    def sum_rule_residual(self, target: Target) -> float:
        """Return the largest component of ``Σ_i P_i − Q·1`` or ``Σ_i G_i``, which translations make
        zero.

        Parameters
        ----------
        target : Target

        Returns
        -------
        float
            In the unit of the target; NaN if an atom has no label.
        """
        expected = self.frame.charge * np.eye(3) if target == APT else 0.0
        return float(np.abs(self.of(target).sum(axis=0) - expected).max())


def parse_xyz(text: str, cell: NDArray[np.float64] | None) -> Iterator[LabelledFrame]:
    """Yield the frames of extended XYZ; see `mda_aptnn.labels.dataset.read_xyz`.

    Raises
    ------
    ValueError
        If a line is not what it should be; names the line.
    """
    if text and not text.endswith("\n"):
        # the last number may have lost digits
        raise ValueError(" is cut off: its last line does not end; if it is whole, add a newline")
    lines = text.split("\n")[:-1]
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        try:
            n_atoms = int(lines[start])
        except ValueError:
            raise ValueError(
                f", line {start + 1}: expected a number of atoms, found {lines[start]!r}"
            ) from None
        end = start + 2 + n_atoms
        if n_atoms < 1 or end > len(lines):
            raise ValueError(f": the frame that begins in line {start + 1} is cut off")
        try:
            yield _parse_frame(lines[start + 1], lines[start + 2 : end], cell)
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(f", frame in line {start + 1}: {error}") from error
        start = end


def _parse_frame(comment: str, rows: list[str], cell: NDArray[np.float64] | None) -> LabelledFrame:
    published = re.search(r"fmt\s*=\s*'p:a'", comment)
    if published:
        info: dict[str, Any] = {}
        columns = [*_PLACE, _LABELS[0]]
    else:
        info = _parse_comment(comment)
        spec = str(info.pop("Properties", "species:S:1:pos:R:3"))
        found = re.findall(r"(\w+):([SRIL]):(\d+)", spec)
        columns = [(name, kind, int(count)) for name, kind, count in found]
        # polarizability gradients may come alone
        for column in (*_PLACE, *(() if _LABELS[1] in columns else _LABELS[:1])):
            if column not in columns:
                raise ValueError(f"no column {':'.join(map(str, column))} in Properties={spec}")
    ends = np.cumsum([count for _, _, count in columns]).tolist()
    table = [row.split() for row in rows]
    for number, row in enumerate(table):
        if len(row) != ends[-1]:
            raise ValueError(f"atom {number} has {len(row)} columns, expected {ends[-1]}")
    values = {
        column: [row[end - column[2] : end] for row in table]
        for column, end in zip(columns, ends, strict=True)
    }
    tensors = {
        column[0]: np.array(values[column], dtype=float).reshape(-1, *TARGETS[column[0]].shape)
        for column in _LABELS
        if column in columns
    }
    if published:
        tensors[APT.name] = tensors[APT.name].transpose(0, 2, 1)
    numbers = atomic_numbers([row[0] for row in values[_PLACE[0]]])
    box, pbc = _parse_cell(info, cell)
    charge = float(info.pop("charge", 0.0))
    frame = Frame(numbers, np.array(values[_PLACE[1]], dtype=float), box, pbc, charge)
    return LabelledFrame(frame, tensors, info)


def _parse_comment(comment: str) -> dict[str, Any]:
    """Key-value pairs of an extended XYZ comment; numbers become floats."""
    info: dict[str, Any] = {}
    for item in shlex.split(comment):
        key, _, text = item.partition("=")
        try:
            info[key] = float(text)
        except ValueError:
            info[key] = text
    return info


def _parse_cell(info: dict[str, Any], cell: NDArray[np.float64] | None) -> tuple[Any, Any]:
    flags = str(info.pop("pbc", "unknown")).upper().split()
    if "Lattice" in info:
        box = np.array(str(info.pop("Lattice")).split(), dtype=float).reshape(3, 3)
        return box, [flag.startswith("T") for flag in flags] if flags != ["UNKNOWN"] else [True] * 3
    if cell is not None:
        return np.asarray(cell, dtype=float), np.full(3, bool(np.any(cell)))
    if not all(flag.startswith("F") for flag in flags):
        # a liquid without its cell would pass for a cluster, and train
        raise FrameError(
            'no cell: give one (--cell "a b c alpha beta gamma"), or --cell none for isolated '
            "molecules"
        )
    return np.zeros((3, 3)), np.zeros(3, dtype=bool)


def xyz_text(item: LabelledFrame, level_of_theory: str = "") -> str:
    """Return a frame as extended XYZ, with its end of line.

    Parameters
    ----------
    item : LabelledFrame
    level_of_theory : str

    Returns
    -------
    str
    """
    frame = item.frame
    columns = [*_PLACE, *(column for column in _LABELS if column[0] in item.tensors)]
    properties = ":".join(f"{name}:{kind}:{count}" for name, kind, count in columns)
    fields = [f"Properties={properties}"]
    if frame.pbc.any():
        fields.insert(0, f'Lattice="{" ".join(f"{x:.10g}" for x in frame.cell.ravel())}"')
    fields.append(f'pbc="{" ".join("FT"[int(flag)] for flag in frame.pbc)}"')
    if frame.charge:
        fields.append(f"charge={frame.charge:.10g}")
    level = {"level_of_theory": level_of_theory} if level_of_theory else {}
    # a comment is one line
    fields += [
        f"{key}={shlex.quote(' '.join(str(value).split()))}"
        for key, value in {**level, **item.info}.items()
    ]
    tensors = [item.tensors[name].reshape(len(frame), -1) for name, _, _ in columns[2:]]
    table = np.concatenate([frame.positions, *tensors], axis=1)
    rows = [
        f"{symbol} {' '.join(f'{x:.10f}' for x in row)}"
        for symbol, row in zip(frame.symbols, table, strict=True)
    ]
    return "\n".join([f"{len(frame)}", " ".join(fields), *rows]) + "\n"
