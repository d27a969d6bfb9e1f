"""What a program must offer to label frames, and what campaign, routes and programs exchange.

A route (`mda_aptnn.labels.routes`) says which runs a frame needs and what is wanted of each; a
`Recipe` writes what a run starts from; a `LabellingCode` computes the run and reads its `Output`.
A code is found by its name: one of this package, or one that another package declares under the
entry point group ``mda_aptnn.labelling_codes``.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io
from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.plugins import Plugins
from mda_aptnn.units import factor

if TYPE_CHECKING:
    from mda_aptnn.labels.routes import Route


#: Bohr in Å.
BOHR = factor("bohr", "angstrom")


@dataclasses.dataclass(frozen=True)
class Run:
    """One calculation for a snapshot.

    Attributes
    ----------
    name : str
        Unique within the task; the first run of every task is "zero", unperturbed, and the others
        may start from what it leaves.
    field : tuple of 3 float
        Electric field in atomic units (1 a.u. = 51.4 V/Å); any vector.
    atom : int
        Which atom is displaced (counted from 0), -1 for none.
    displacement : tuple of 3 float
        In Å.
    """

    name: str
    field: tuple[float, ...] = (0.0, 0.0, 0.0)
    atom: int = -1
    displacement: tuple[float, ...] = (0.0, 0.0, 0.0)

    @property
    def input(self) -> str:
        """Name of its input in the folder of its task."""
        return f"{self.name}.inp"

    @property
    def output(self) -> str:
        """Name of its output in the folder of its task."""
        return f"{self.name}.out"

    def geometry(self, frame: Frame) -> Frame:
        """Return the frame that this run sees."""
        if self.atom < 0:
            return frame
        positions = frame.positions.copy()
        positions[self.atom] += self.displacement
        return dataclasses.replace(frame, positions=positions)


@dataclasses.dataclass(frozen=True)
class Output:
    """What one complete, converged run gave.

    Attributes
    ----------
    project : str
        Which run of which task it was, as the output itself says (`Job.project`).
    version : str
        Program and version, as it says itself.
    energy : float
        In hartree.
    numbers : ndarray of int, shape [n_atoms]
        Atomic numbers that the program computed with; empty if it did not say.
    positions : ndarray, shape [n_atoms, 3]
        In Å, those that the program computed with.
    cell : ndarray, shape [3, 3]
        Rows in Å, those that the program computed with; NaN if it did not say.
    cell_lengths : ndarray, shape [3], or None
        In Å, where they are printed to more digits than `cell`.
    forces : ndarray, shape [n_atoms, 3], or None
        In hartree/bohr.
    dipole : ndarray, shape [3], or None
        In e·Å.
    berry : bool
        Whether the dipole is a Berry phase, defined modulo e times the cell vectors, or that of a
        molecule.
    apt : ndarray, shape [n_atoms, 3, 3], or None
        ``P[i, a, b] = ∂M_a/∂r_ib`` in e, where the program computed it.
    polarizability : ndarray, shape [3, 3], or None
        α in Å³, where the program computed it; symmetric up to its convergence.
    """

    project: str
    version: str
    energy: float
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    cell_lengths: NDArray[np.float64] | None = None
    forces: NDArray[np.float64] | None = None
    dipole: NDArray[np.float64] | None = None
    berry: bool = False
    apt: NDArray[np.float64] | None = None
    polarizability: NDArray[np.float64] | None = None

    def get(self, name: str, n_atoms: int) -> NDArray[np.float64]:
        """Return forces, dipole, apt or polarizability, after a check that it is there and whole.

        Raises
        ------
        LabelError
            If it is not.
        """
        shapes = {"forces": (n_atoms, 3), "dipole": (3,), "apt": (n_atoms, 3, 3)}
        values = getattr(self, name)
        if np.shape(values) != shapes.get(name, (3, 3)):
            what = "polar tensors" if name == "apt" else name
            whole = " of all atoms" if name in ("forces", "apt") else ""
            raise LabelError(f"no {what}{whole} in the output")
        return np.asarray(values, dtype=float)


def check_geometry(output: Output, frame: Frame, tolerance: float = 2e-6) -> None:
    """Compare the atoms, coordinates and cell that a program computed with those of its frame.

    Parameters
    ----------
    output : Output
    frame : Frame
        What this run should have seen.
    tolerance : float
        In Å; programs print six decimals. Cell vectors whose lengths are printed as well may have
        three.

    Raises
    ------
    LabelError
        If they differ, or the program did not say them.
    """
    if not len(output.numbers):
        raise LabelError("no coordinates in the output")
    if not np.array_equal(output.numbers, frame.numbers):
        raise LabelError("the output has other atoms than the snapshot: it belongs to another task")
    shift = np.abs(output.positions - frame.positions).max(axis=1)
    if not shift.max() <= tolerance:
        atom = int(shift.argmax())
        raise LabelError(
            f"the output belongs to another geometry: atom {atom} (counted from 0) is "
            f"{shift[atom]:.6f} Å away"
        )
    if not np.isfinite(output.cell).all():
        raise LabelError("no cell in the output")
    change, lengths = np.abs(output.cell - frame.cell).max(), output.cell_lengths
    if lengths is not None:
        longer = np.abs(lengths - np.linalg.norm(frame.cell, axis=1)).max()
        change = max(longer, change - 6e-4)
    if not change <= tolerance:
        raise LabelError(
            f"the output has the cell {output.cell.tolist()}, the snapshot {frame.cell.tolist()} Å"
        )


@dataclasses.dataclass(frozen=True)
class Job:
    """One run as a code computes it, in a folder of its own.

    Attributes
    ----------
    folder : Path
        Holds the inputs of the run, files of the recipe, and what the first run left.
    run : Run
    frame : Frame
        What the run sees, displaced if it is.
    wanted : frozenset of str
        Of "forces", "dipole", "apt" and "polarizability"; a dipole is welcome in any case.
    project : str
        Stands for run and task; the output must repeat it.
    command : tuple of str
        What the user starts the program with.
    call : callable
        ``call(words)`` runs a program in the folder, its standard output in `output`, and returns
        its exit code. It is ended when the campaign is.
    """

    folder: Path
    run: Run
    frame: Frame
    wanted: frozenset[str]
    project: str
    command: tuple[str, ...]
    call: Callable[[Sequence[str]], int]

    @property
    def output(self) -> Path:
        """Where the output must be at the end."""
        return self.folder / self.run.output


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a code computes the snapshots of a campaign: method, basis, thresholds.

    A code that needs more than this makes a subclass.

    Attributes
    ----------
    code : str
        Name of the code.
    text : str
        What the user wrote, as Latin-1, so that every byte is kept.
    level_of_theory : str
        In one line; what makes labels comparable.
    charge : float, optional
        Total charge of a snapshot, in e; None if each frame says its own.
    files : dict of str to Path
        What every run needs beside its own input, by the name that it has there.
    """

    code: str
    text: str
    level_of_theory: str
    charge: float | None = 0.0
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)

    def check(self, route: Route) -> None:
        """Refuse a route that needs what the code does not offer (CampaignError)."""
        code = find_code(self.code)
        lacking = {name for run in route.runs([0]) for name in route.wanted(run)} - code.offers
        if lacking:
            raise CampaignError(
                f"--route {route.name} needs {', '.join(sorted(lacking))}, and {code.title} gives "
                f"{', '.join(sorted(code.offers))}: choose another route"
            )

    def placed(self, frame: Frame) -> Frame:
        """Return the frame as the program sees it; CampaignError if it cannot be computed."""
        return frame if self.charge is None else dataclasses.replace(frame, charge=self.charge)

    def inputs(self, frame: Frame, runs: Sequence[Run], route: Route) -> dict[str, str]:
        """Return the input of each run of a placed frame, by the run's name, to be ``<run>.inp``.

        `TASK` stands for the name of the task.
        """
        return {run.name: self.text for run in runs}


#: Stands in an input for the name of its task, which is the hash of the inputs.
TASK = "@TASK@"


class LabellingCode(Protocol):
    """A program, or a library, that computes the runs of a campaign.

    Any object with these attributes and methods will do; who derives from this class has the last
    two methods already.

    Attributes
    ----------
    name : str
        By which campaigns know it.
    title : str
        How messages call it.
    command : str or None
        What usually starts it; None if it computes in the process of the worker.
    offers : frozenset of str
        What it can give, see `Job.wanted`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    command: ClassVar[str | None]
    offers: ClassVar[frozenset[str]]

    def recipe(self, path: str | os.PathLike[str]) -> Recipe:
        """Read and check the file by which the user says how to compute."""

    def compute(self, job: Job) -> int:
        """Compute a run, leave its output, and return an exit code; LabelError if it cannot."""

    def read(self, text: str) -> Output:
        """Read an output; LabelError if it is cut off, not converged or damaged."""

    def last_lines(self, text: str, errors: str) -> str:
        """Return the lines of an output, or of the standard error, that say why a run failed."""
        return "\n".join(f"{text}\n{errors}".strip().splitlines()[-15:])

    def leaves(self, project: str) -> str | None:
        """Return the name of the file that the first run (`project`) leaves to the others."""
        return None


@dataclasses.dataclass(frozen=True)
class Settings(Recipe):
    """The recipe of a code that computes in the worker's process.

    Attributes
    ----------
    settings : object
        As the code understands them.
    """

    settings: Any = dataclasses.field(kw_only=True)

    def placed(self, frame: Frame) -> Frame:
        """Return the frame with its charge; CampaignError if frame and code contradict."""
        code = cast("InProcess", find_code(self.code))
        if code.isolated and frame.pbc.any():
            raise CampaignError(
                f"{code.title} labels molecules and ions in vacuum, and the frame is periodic: add "
                "--pbc none, with the molecule whole"
            )
        if self.charge is not None and frame.charge not in (0.0, self.charge):
            raise CampaignError(
                f"the frame has a charge of {frame.charge:g} e, the settings say {self.charge:g} e"
            )
        return super().placed(frame)

    def inputs(self, frame: Frame, runs: Sequence[Run], route: Route) -> dict[str, str]:
        """Return the settings for each run, if the code can compute it; CampaignError if not."""
        cast("InProcess", find_code(self.code)).check(frame, runs, self.settings)
        return super().inputs(frame, runs, route)


class InProcess(LabellingCode):
    """Base of codes that compute in the worker's process: give `calculate` and a name.

    Their recipe is a TOML file, which `calculate` gets as a dictionary; ``charge`` in it is the
    total charge, that of the frame if it is not there.

    Attributes
    ----------
    package : str or None
        What must be importable; an extra of mda-aptnn has the same name.
    kind : type or None
        Dataclass whose fields are the settings, which `calculate` gets then.
    isolated : bool
        Whether periodic frames are refused.
    """

    command: ClassVar[str | None] = None
    package: ClassVar[str | None] = None
    kind: ClassVar[type | None] = None
    isolated: ClassVar[bool] = False
    offers: ClassVar[frozenset[str]] = frozenset({"forces", "dipole"})

    def calculate(
        self, frame: Frame, field: NDArray[np.float64], wanted: frozenset[str], settings: Any
    ) -> Output:
        """Compute a frame in a field (atomic units); LabelError if it does not converge.

        `project` of the output is filled in.
        """
        raise NotImplementedError

    def check_installed(self) -> None:
        """Raise CampaignError, with what to type, if the package is not there."""
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            raise CampaignError(
                f'{self.title} is not installed: pip install "mda-aptnn[{self.package}]"'
            )

    def settings(self, table: dict[str, Any]) -> Any:
        """Return the settings as `calculate` gets them; ValueError for a wrong name or value."""
        if self.kind is None:
            return table
        missing = dataclasses.MISSING
        known: dict[str, Any] = {
            field.name: field.default if field.default_factory is missing else {}
            for field in dataclasses.fields(self.kind)
        }
        given = {name: value for name, value in table.items() if name != "charge"}
        for name, value in given.items():
            if name not in known:
                there = ", ".join([*known, "charge"])
                raise ValueError(f"there is no setting {name!r}; there are {there}")
            # text, if it must be given
            of = str if known[name] is missing else type(known[name])
            if not isinstance(value, (int, float) if of is float else of):
                raise ValueError(f"{name} = {value!r} must be of type {of.__name__}")
        for name in (name for name in known if known[name] is missing and name not in given):
            raise ValueError(f"the setting {name!r} is missing")
        return self.kind(**given)

    def check(self, frame: Frame, runs: Sequence[Run], settings: Any) -> None:
        """Refuse, when it is planned, a frame that cannot be computed (CampaignError)."""

    def level_of_theory(self, settings: Any) -> str:
        """Return the method in one line: the settings, unless a code knows better."""
        return " ".join([self.title, *(f"{key}={value}" for key, value in settings.items())])

    def recipe(self, path: str | os.PathLike[str]) -> Settings:
        """Read the settings.

        Raises
        ------
        CampaignError
            If there is no such file, it is not TOML, or the package is not installed.
        """
        self.check_installed()
        path = Path(path)
        if not path.is_file():
            raise CampaignError(f"there is no file {path} with the settings of {self.title}")
        io.protect([path])
        data = path.read_bytes()
        try:
            table = tomllib.loads(data.decode())
            charge = float(table["charge"]) if "charge" in table else None
            settings = self.settings(table)
            level = self.level_of_theory(settings)
        except (TypeError, ValueError) as error:
            raise CampaignError(f"{path}: {error}") from error
        return Settings(self.name, data.decode("latin-1"), level, charge, settings=settings)

    def compute(self, job: Job) -> int:
        """Compute a run and write all of its output as JSON."""
        table = tomllib.loads((job.folder / job.run.input).read_bytes().decode())
        try:
            settings = self.settings(table)
            output = self.calculate(job.frame, np.array(job.run.field), job.wanted, settings)
        except Exception as error:  # whatever somebody else's library raises, others go on
            raise LabelError(str(error) or type(error).__name__) from error
        record = dataclasses.asdict(dataclasses.replace(output, project=job.project))
        job.output.write_text(io.json_text(record))
        return 0

    def read(self, text: str) -> Output:
        """Read what `compute` wrote."""
        try:
            record = json.loads(text)
            arrays = {k: np.array(v, dtype=float) for k, v in record.items() if isinstance(v, list)}
            return Output(**{**record, **arrays})
        except (AttributeError, TypeError, ValueError) as error:
            raise LabelError(f"the output is cut off or damaged: {error}") from error


#: This package's codes.
OWN = {
    "cp2k": "mda_aptnn.labels.cp2k:CP2K",
    "tblite": "mda_aptnn.labels.tblite:TBLite",
    "pyscf": "mda_aptnn.labels.pyscf:PySCF",
    "ase": "mda_aptnn.labels.ase:ASE",
}
#: Codes by name, each a class without arguments.
CODES: Plugins[Callable[[], LabellingCode]] = Plugins(
    "mda_aptnn.labelling_codes", OWN, "labelling code", CampaignError
)
_PARTS = "title", "command", "offers", "recipe", "compute", "read", "last_lines", "leaves"
#: The code of campaigns that name none: there was one only in 0.1.0.
DEFAULT = next(iter(OWN))


def find_code(name: str) -> LabellingCode:
    """Return a code by its name.

    Raises
    ------
    CampaignError
        If there is none of that name, it cannot be imported, or lacks a part of `LabellingCode`.
    """
    code = CODES[name]()
    lacking = [part for part in _PARTS if not hasattr(code, part)]
    if lacking:
        raise CampaignError(f"the labelling code {name!r} has no {', '.join(lacking)}")
    return code
