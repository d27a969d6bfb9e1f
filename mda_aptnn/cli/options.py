"""Options that commands share: each is declared once, alone or in a set that a command takes whole.

A set is a frozen dataclass whose fields are options of the command line. A command that has a
parameter of that type gets all of its options (`with_sets`), and receives them as one object.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from typer import Argument, Option

from mda_aptnn.errors import AptnnError, TrajectoryError

if TYPE_CHECKING:
    from mda_aptnn.labels.snapshots import Source

Text = str | None
Texts = list[str] | None
File = Path | None

Window = StrEnum("Window", ["gaussian", "parzen", "bartlett", "hann", "none"])
Correction = StrEnum("Correction", ["harmonic", "standard", "schofield", "none"])
SumRule = StrEnum("SumRule", ["none", "mass", "uniform"])
Per = StrEnum("Per", ["group", "element", "resname", "residue", "molecule", "atom"])
Motions = StrEnum("Motions", ["rigid", "stored"])
Beads = StrEnum("Beads", ["beads", "centroid"])
Velocities = StrEnum("Velocities", {"trajectory": "trajectory", "finite": "finite-difference"})

Topology = Annotated[Path, Argument(help="Topology or structure that MDAnalysis reads.")]
Flux = Annotated[Path, Argument(help="Flux file.")]
Model = Annotated[str, Option("--model", "-m", help="Name of a bundled model, or a model file.")]
Group = Annotated[Texts, Option("--group", "-g", help='NAME=SELECTION, repeatable: "O=element O".')]
Element = Annotated[
    Texts,
    Option("--element", help="TYPE=SYMBOL, repeatable, where the topology has no elements."),
]
Cell = Annotated[Text, Option(help='"a b c alpha beta gamma" in Å and degrees.')]
TimeStep = Annotated[Text, Option(help='Time between recorded frames, such as "2 fs".')]
Temperature = Annotated[
    Text,
    Option("--temperature", "-T", help='Such as "300 K"; from the velocities if not given.'),
]
Resolution = Annotated[str, Option(help="Full width at half maximum of a line.")]
Volume = Annotated[Text, Option(help='Where there is no cell: "1000 angstrom^3".')]
Workers = Annotated[int, Option(min=1, help="Processes, or threads, that share the work.")]
Output = Annotated[Path, Option("--output", "-o", help="HDF5 file to write.")]
Plot = Annotated[File, Option(help="Also draw a picture (png, pdf, svg).")]
Json = Annotated[bool, Option("--json", help="Print one JSON object instead of text.")]
Template = Annotated[Path, Option("--template", help="Your working CP2K input.")]
Route = Annotated[
    str,
    Option(
        help='"field" (6 runs a snapshot), "displacement" (6 an atom), "analytic" (CP2K\'s own); '
        '"field-raman" (12) and "displacement-raman" (6 an atom) label polarizability gradients '
        "as well."
    ),
]
Command = Annotated[
    str, Option("--command", "-c", help='What starts CP2K: "mpirun -np 2 cp2k.psmp".')
]
Plan = Annotated[File, Option("--config", help="TOML plan: tables [training] and [network].")]


class OptionError(AptnnError, ValueError):
    """An option that cannot be understood."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saving:
    """What is written of a result beside its HDF5 file, and how it is told."""

    csv: Annotated[File, Option(help="Also write columns of numbers.")] = None
    plot: Plot = None
    as_json: Json = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lines:
    """How wide and of which form the lines of a spectrum are."""

    resolution: Resolution = "10 cm^-1"
    window: Annotated[Window, Option(help="Form of the lag window.")] = Window.gaussian

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of what makes the spectrum.

        Raises
        ------
        OptionError
            If one cannot be; the spectrum would refuse it too, but after the long run.
        """
        from mda_aptnn import units

        return {
            "resolution": positive(self.resolution, units.WAVENUMBER, "--resolution"),
            "window": str(self.window),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate(Lines):
    """How a spectral density and its error bars are estimated."""

    unbiased: Annotated[
        bool,
        Option("--unbiased", help="Unbiased correlation; intensities may be negative."),
    ] = False
    segments: Annotated[
        str,
        Option(help='Parts of the run for error bars: a number, "auto", "replicas" or "none".'),
    ] = "auto"

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of what makes the spectrum; raises as `Lines.keywords`."""
        text = self.segments
        parts: Any = {"none": None}.get(text, text)
        if text.isdecimal() and int(text) > 1:
            parts = int(text)
        elif text not in ("auto", "replicas", "none"):
            raise OptionError(
                f"--segments {text!r}: give a number from 2 upward, 'auto', 'replicas' or 'none'"
            )
        return {**super().keywords(), "unbiased": self.unbiased, "segments": parts}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectory:
    """A trajectory, and how MDAnalysis and this package read it."""

    topology: Topology
    trajectory: Annotated[
        list[Path] | None,
        Argument(help="Trajectories. Times that continue make one series, others are replicas."),
    ] = None
    frames: Annotated[
        Text, Option(help='Frames START:STOP:STEP, counted from 0: "1000:", "::10".')
    ] = None
    start: Annotated[int | None, Option(hidden=True)] = None
    stop: Annotated[int | None, Option(hidden=True)] = None
    step: Annotated[int | None, Option(hidden=True)] = None
    element: Element = None
    cell: Cell = None
    pbc: Annotated[Text, Option(help='Periodic directions: "xyz", "xy", "none".')] = None
    file_format: Annotated[
        Text, Option("--format", help="MDAnalysis' name of the trajectory format.")
    ] = None
    topology_format: Annotated[Text, Option(help="MDAnalysis' name of the topology format.")] = None

    @property
    def names(self) -> list[str]:
        """Names of the trajectories, for the record of what is made of them."""
        return [path.name for path in self.trajectory or [self.topology]]

    def chosen(self) -> tuple[int | None, int | None, int | None]:
        """Start, stop and step of the frames, by ``--frames`` or the options of 0.1.0.

        Raises
        ------
        OptionError
            If they cannot be understood.
        """
        old = (self.start, self.stop, self.step)
        if self.frames is None:
            return old
        if old != (None, None, None):
            raise OptionError("--frames and --start, --stop, --step are two ways to say it")
        parts = [part.strip() for part in self.frames.split(":")]
        if not 2 <= len(parts) <= 3 or not all(_is_number(part) for part in parts if part):
            raise OptionError(f"--frames {self.frames!r}: write START:STOP:STEP, such as 100::10")
        start, stop, step = (int(part) if part else None for part in [*parts, ""][:3])
        return start, stop, step

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of what reads the trajectory."""
        return {"elements": pairs(self.element, "element"), "cell": self.cell, "pbc": self.pbc}

    def universes(self) -> list[Any]:
        """Return one Universe for each trajectory: no series runs across a join of files unseen.

        Raises
        ------
        FileNotFoundError
            If a file is not there.
        TrajectoryError
            If MDAnalysis cannot read it.
        OptionError
            If ``--frames`` cannot be understood: before anything is read.
        """
        self.chosen()
        kinds = {"format": self.file_format, "topology_format": self.topology_format}
        if self.cell and (self.file_format or "").upper() == "CP2K":
            # MDAnalysis' selections need the cell too, where the files have none
            kinds["cell"] = self.cell
        trajectories = self.trajectory or []
        return open_universes(self.topology, trajectories, **{k: v for k, v in kinds.items() if v})

    def joined_universe(self) -> Any:
        """Return one Universe of all trajectories, one after the other; raises as `universes`."""
        universe, *more = self.universes()
        if more:
            paths = list(self.trajectory or [])
            kind = self.file_format or known_format(paths[0])
            universe.load_new(list(map(str, paths)), **({"format": kind} if kind else {}))
        return universe

    def source(self, **more: Any) -> Source:
        """Return the frames of all trajectories, counted through."""
        from mda_aptnn.labels.snapshots import Source

        return Source(self.universes(), self.names, **Trajectory.keywords(self), **more)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choosing(Trajectory):
    """A trajectory of which some frames are chosen."""

    count: Annotated[
        int | None, Option("--count", "-n", help="How many of the frames to choose.")
    ] = None

    def how_many(self) -> int | None:
        """How many frames to choose: ``--count``, or ``--frames N`` as in 0.1.0."""
        old = self.frames if self.frames and self.frames.isdecimal() else None
        return int(old) if self.count is None and old else self.count

    def chosen(self) -> tuple[int | None, int | None, int | None]:
        """Start, stop and step of the frames to choose from; raises as `Trajectory.chosen`."""
        is_count = self.frames is not None and self.frames.isdecimal()
        return (None, None, None) if is_count else super().chosen()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moving(Trajectory):
    """A trajectory whose velocities are needed."""

    velocity_unit: Annotated[
        str,
        Option(help='Unit of the recorded velocities: "auto", "angstrom/fs", "bohr/ps", ...'),
    ] = "auto"
    velocities: Annotated[
        Velocities, Option(help="Recorded ones, or differences of positions.")
    ] = Velocities.trajectory
    time_step: TimeStep = None
    check_temperature: Annotated[
        bool, Option(help="Refuse velocities of an absurd temperature.")
    ] = True
    allow_aliasing: Annotated[
        bool,
        Option(
            "--allow-aliasing",
            help="Go on where frames are too far apart for the motion, or their time does not fit "
            "the velocities.",
        ),
    ] = False
    override_cell: Annotated[
        bool,
        Option(
            "--override-cell", help="Go on where --cell has another volume than the recorded cell."
        ),
    ] = False

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of what reads the trajectory and its velocities."""
        return super().keywords() | _values(self, Moving)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Terms:
    """What the flux, or the density of states, is taken apart into."""

    group: Group = None
    per: Annotated[
        Per, Option(help='A group for every one of these; "atom" (flux) keeps all on disk.')
    ] = Per.group
    motions: Annotated[
        Motions | None,
        Option(
            help='"rigid": translation, rotation and vibration of molecules; "stored": those of a '
            "flux of atoms."
        ),
    ] = None
    coordinate: Annotated[
        Texts,
        Option(
            "--coordinate",
            help="NAME=SELECTION;SELECTION[;...], repeatable: bonds, angles, torsions: "
            '"OH=element O;element H".',
        ),
    ] = None
    normal_modes: Annotated[
        File,
        Option(help="Molden file with the structure and vibrations of a molecule, in its order."),
    ] = None
    select: Annotated[str, Option(help="Atoms that count; a model always sees all.")] = "all"

    def parts(self) -> dict[str, Any]:
        """Keyword arguments ``per`` and ``motions`` of an analysis.

        Raises
        ------
        OptionError
            If motions are given in two ways.
        """
        given = {
            "--motions": self.motions,
            "--coordinate": self.coordinate,
            "--normal-modes": self.normal_modes,
        }
        names = [name for name, value in given.items() if value]
        if len(names) > 1:
            raise OptionError(f"{' and '.join(names)} are two ways to say it; leave one out")
        motions: Any = self.motions
        if self.normal_modes is not None:
            from mda_aptnn.trajectory.motions.normal_modes import NormalModes

            motions = NormalModes.from_molden(self.normal_modes)
        if coordinates := pairs(self.coordinate, "coordinate"):
            motions = {
                name: tuple(part.strip() for part in text.split(";"))
                for name, text in coordinates.items()
            }
        return {"per": self.per, "motions": motions}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Charges:
    """Sums that the tensors must obey, and the freedom that velocities have."""

    charge: Annotated[float, Option(help="Total charge of the sample in e.")] = 0.0
    sum_rule: Annotated[SumRule, Option(help="How Σ P = Q·1 is enforced.")] = SumRule.none
    degrees_of_freedom: Annotated[
        int | None, Option(help="For the kinetic temperature of constrained molecules.")
    ] = None

    def sums(self) -> dict[str, Any]:
        """Keyword arguments of what predicts a flux."""
        return _values(self, Charges)


def with_sets(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of each of its parameters that is a set."""
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    sets: dict[str, Any] = {
        name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)
    }
    parameters = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in signature.parameters.values()
        if parameter.name not in sets
    ]
    for kind in sets.values():
        fields = get_type_hints(kind, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty
                if field.default is dataclasses.MISSING
                else field.default,
                annotation=fields[field.name],
            )
            for field in dataclasses.fields(kind)
        ]

    @functools.wraps(command)
    def run(**options: Any) -> None:
        values = {
            name: str(value) if isinstance(value, enum.Enum) else value
            for name, value in options.items()
        }
        for name, kind in sets.items():
            own = {field.name: values.pop(field.name) for field in dataclasses.fields(kind)}
            values[name] = kind(**own)
        command(**values)

    parameters.sort(key=lambda parameter: parameter.kind)
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _values(options: Any, kind: type) -> dict[str, Any]:
    """The options that a set declares itself, by name."""
    return {name: getattr(options, name) for name in kind.__annotations__}


def changed(options: Any) -> Iterator[str]:
    """Names of the fields of a set that are not as they are by default."""
    for field in dataclasses.fields(options):
        is_required = field.default is dataclasses.MISSING
        if not is_required and getattr(options, field.name) != field.default:
            yield field.name


def pairs(items: list[str] | None, what: str) -> dict[str, str] | None:
    """Return NAME=VALUE items as a dictionary, None if there are none.

    Raises
    ------
    OptionError
        If an item has no name or no value, or a name comes twice.
    """
    found: dict[str, str] = {}
    for item in items or []:
        name, separator, value = (part.strip() for part in item.partition("="))
        if not separator or not name or (what != "element" and not value):
            raise OptionError(
                f'--{what} {item!r}: write NAME=VALUE, such as --{what} "O=element O"'
            )
        if name in found:
            raise OptionError(f"--{what}: the name {name!r} comes twice")
        found[name] = value
    return found or None


def positive(value: str | None, unit: str, name: str) -> str | None:
    """Return a quantity as it was given, if it has this dimension and is positive, or nothing.

    Raises
    ------
    OptionError
        If it is not positive.
    UnitError
        If it cannot be understood.
    """
    from mda_aptnn import units

    if value is not None and units.magnitude(value, unit, name) <= 0:
        raise OptionError(f"{name} {value!r} must be positive")
    return value


def numbers(text: str | None, name: str) -> list[float] | None:
    """Return the numbers of an option, in Å, between commas or spaces.

    Raises
    ------
    OptionError
        If there is another word.
    """
    try:
        return None if text is None else [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise OptionError(f'{name} {text!r}: give numbers in Å, like "2.5,3.5,6"') from None


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def open_universes(topology: Path, trajectories: list[Path], **kinds: str) -> list[Any]:
    """Return a Universe for each trajectory, or of the topology alone; raises as
    `Trajectory.universes`.
    """
    import MDAnalysis

    from mda_aptnn.trajectory.xyz_frames import check_packed

    for path in [topology, *trajectories]:
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        check_packed(path)
    universes = []
    for names in [[topology, path] for path in trajectories] or [[topology]]:
        usual = {"format": known_format(names[-1]), "topology_format": known_format(topology)}
        options = {name: value for name, value in usual.items() if value} | kinds
        try:
            universes.append(MDAnalysis.Universe(*map(str, names), **options))
        except Exception as error:
            # parsers of many authors meet a file of unknown content: what they raise can be
            # anything
            said = " ".join(str(error).split()).split(". ")[0][:200] or type(error).__name__
            raise TrajectoryError(
                f"MDAnalysis cannot read {' with '.join(map(str, names))}: {said}; "
                f"{_advice(names[-1])}"
            ) from error
    return universes


def known_format(path: Path) -> str | None:
    """MDAnalysis' name of a format whose usual ending it does not know."""
    return "LAMMPSDUMP" if path.suffix == ".lammpstrj" else None


def _advice(path: Path) -> str:
    """What to do about a file that MDAnalysis cannot read."""
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(16)
    if start.startswith((b"ITEM: UNITS", b"ITEM: TIME\n")):
        return (
            "it takes no dumps with units or times; write them without dump_modify units yes, time "
            "yes"
        )
    if start.startswith(b"ITEM: "):
        return "for a LAMMPS dump say --format LAMMPSDUMP, beside a data file"
    return "check the files, or name their kinds with --format and --topology-format"


def progress() -> dict[str, float]:
    """How often a bar is drawn: seldom in a log file, where each time is a line more."""
    return {} if sys.stderr.isatty() else {"mininterval": 30.0}
