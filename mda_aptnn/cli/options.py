"""Options that several commands share, and what they become."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from mda_aptnn.errors import AptnnError, TrajectoryError

Topology = Annotated[
    Path, typer.Argument(help="Topology or structure that MDAnalysis reads.", show_default=False)
]
Trajectory = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Trajectories. Times that continue make one series, others are replicas.",
        show_default=False,
    ),
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="Name of a bundled model, or a model file.")
]
Group = Annotated[
    list[str] | None,
    typer.Option(
        "--group", "-g", help='NAME=SELECTION, repeatable: "O=element O".', show_default=False
    ),
]
Per = Annotated[
    str,
    typer.Option(
        help='A group for every "element", "resname", "residue", "molecule"; "atom" (flux) keeps every atom on disk.'
    ),
]
Updating = Annotated[
    bool, typer.Option("--updating", help="Select the groups again in each frame, as for a shell.")
]
MotionsOption = Annotated[
    str | None,
    typer.Option(
        "--motions",
        help='"rigid": translation, rotation and vibration of molecules; "stored": those of a flux of atoms.',
        show_default=False,
    ),
]
Coordinate = Annotated[
    list[str] | None,
    typer.Option(
        "--coordinate",
        help='NAME=SELECTION;SELECTION[;...], repeatable: bonds, angles, torsions: "OH=element O;element H".',
        show_default=False,
    ),
]
NormalModesFile = Annotated[
    Path | None,
    typer.Option(
        "--normal-modes",
        help="Molden file with the structure and vibrations of a molecule, in its order of atoms.",
        show_default=False,
    ),
]
PathIntegral = Annotated[
    str | None,
    typer.Option(
        "--path-integral",
        help='The trajectories are beads of a ring polymer: "beads" averages their fluxes, "centroid" predicts once, '
        "at their mean.",
        show_default=False,
    ),
]
Start = Annotated[int | None, typer.Option(help="First frame, counted from 0.", show_default=False)]
Stop = Annotated[int | None, typer.Option(help="Frame to stop before.", show_default=False)]
Step = Annotated[int | None, typer.Option(help="Use every n-th frame.", show_default=False)]
VelocityUnit = Annotated[
    str,
    typer.Option(
        help='Unit of the recorded velocities: "auto", "angstrom/fs", "bohr/atomic_unit_of_time", ...'
    ),
]
Velocities = Annotated[str, typer.Option(help='"trajectory", or "finite-difference" of positions.')]
TimeStep = Annotated[
    str | None,
    typer.Option(help='Time between recorded frames, such as "2 fs".', show_default=False),
]
Element = Annotated[
    list[str] | None,
    typer.Option(
        "--element",
        help="TYPE=SYMBOL, repeatable, where the topology has no elements.",
        show_default=False,
    ),
]
Cell = Annotated[
    str | None, typer.Option(help='"a b c alpha beta gamma" in Å and degrees.', show_default=False)
]
Pbc = Annotated[
    str | None, typer.Option(help='Periodic directions: "xyz", "xy", "none".', show_default=False)
]
Charge = Annotated[float, typer.Option(help="Total charge of the sample in e.")]
SumRule = Annotated[str, typer.Option(help='How Σ P = Q·1 is enforced: "none", "mass", "uniform".')]
Degrees = Annotated[
    int | None,
    typer.Option(
        "--degrees-of-freedom",
        help="For the kinetic temperature of constrained molecules.",
        show_default=False,
    ),
]
Select = Annotated[str, typer.Option(help="Atoms whose flux is wanted; the model always sees all.")]
Format = Annotated[
    str | None,
    typer.Option("--format", help="MDAnalysis' name of the trajectory format.", show_default=False),
]
TopologyFormat = Annotated[
    str | None, typer.Option(help="MDAnalysis' name of the topology format.", show_default=False)
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        help="Folder for finished frames; the same command again goes on from there.",
        show_default=False,
    ),
]
Workers = Annotated[int, typer.Option(help="Processes that share the frames.")]
CheckTemperature = Annotated[
    bool,
    typer.Option(
        "--check-temperature/--no-check-temperature",
        help="Refuse velocities of an absurd temperature.",
    ),
]
AllowAliasing = Annotated[
    bool,
    typer.Option(
        "--allow-aliasing",
        help="Go on where frames are too far apart for the motion, or their time does not fit the velocities.",
    ),
]
OverrideCell = Annotated[
    bool,
    typer.Option(
        "--override-cell", help="Go on where --cell has another volume than the recorded cell."
    ),
]
AllowOutsideDomain = Annotated[
    bool,
    typer.Option(
        "--allow-outside-domain", help="Go on with a model that was not made for such atoms."
    ),
]
TopologyOrFlux = Annotated[
    Path,
    typer.Argument(
        help="Topology that MDAnalysis reads, or a flux file alone.", show_default=False
    ),
]
Csv = Annotated[
    Path | None, typer.Option(help="Also write columns of numbers.", show_default=False)
]
Plot = Annotated[
    Path | None, typer.Option(help="Also draw a picture (png, pdf, svg).", show_default=False)
]
FluxOutput = Annotated[
    Path | None,
    typer.Option(
        "--flux", help="Also keep the flux, to make other spectra of it.", show_default=False
    ),
]
Temperature = Annotated[
    str | None,
    typer.Option(
        "--temperature",
        "-T",
        help='Such as "300 K"; from the velocities if not given.',
        show_default=False,
    ),
]
Resolution = Annotated[str, typer.Option(help="Full width at half maximum of a line.")]
Window = Annotated[str, typer.Option(help="gaussian, parzen, bartlett, hann or none.")]
Unbiased = Annotated[
    bool, typer.Option("--unbiased", help="Unbiased correlation; intensities may be negative.")
]
Segments = Annotated[
    str,
    typer.Option(
        help='Parts of the trajectory for error bars: a number, "auto", "replicas" or "none".'
    ),
]
Volume = Annotated[
    str | None, typer.Option(help='Where there is no cell: "1000 angstrom^3".', show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@dataclasses.dataclass(frozen=True)
class Reading:
    """The options by which `flux` and `spectrum` make a flux of a trajectory."""

    model: Model = "water-rpbe-d3"
    group: Group = None
    per: Per = "group"
    updating: Updating = False
    motions: MotionsOption = None
    coordinate: Coordinate = None
    normal_modes: NormalModesFile = None
    path_integral: PathIntegral = None
    select: Select = "all"
    start: Start = None
    stop: Stop = None
    step: Step = None
    velocity_unit: VelocityUnit = "auto"
    velocities: Velocities = "trajectory"
    time_step: TimeStep = None
    element: Element = None
    cell: Cell = None
    pbc: Pbc = None
    charge: Charge = 0.0
    sum_rule: SumRule = "none"
    degrees_of_freedom: Degrees = None
    check_temperature: CheckTemperature = True
    allow_aliasing: AllowAliasing = False
    override_cell: OverrideCell = False
    allow_outside_domain: AllowOutsideDomain = False
    file_format: Format = None
    topology_format: TopologyFormat = None
    checkpoint: Checkpoint = None
    workers: Workers = 1

    def flux_options(self) -> dict[str, Any]:
        """Keyword arguments of `DipoleFlux`, apart from the model, the groups and the checkpoint."""
        elsewhere = {
            "model",
            "group",
            "select",
            "start",
            "stop",
            "step",
            "element",
            "checkpoint",
            "workers",
        }
        elsewhere |= {
            "file_format",
            "topology_format",
            "motions",
            "coordinate",
            "normal_modes",
            "path_integral",
        }
        named = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in elsewhere
        }
        motions = chosen_motions(self.motions, self.coordinate, self.normal_modes)
        return {"elements": pairs(self.element, "element"), "motions": motions, **named}


def chosen_motions(
    motions: str | None, coordinate: list[str] | None, normal_modes: Path | None
) -> Any:
    """What velocities are taken apart into: "rigid", internal coordinates, normal modes, nothing.

    Raises
    ------
    OptionError
        If more than one is given.
    """
    given = {"--motions": motions, "--coordinate": coordinate, "--normal-modes": normal_modes}
    names = [name for name, value in given.items() if value]
    if len(names) > 1:
        raise OptionError(f"{' and '.join(names)} are two ways to say it; leave one out")
    if normal_modes is not None:
        from mda_aptnn.trajectory.motions.normal_modes import NormalModes

        return NormalModes.from_molden(normal_modes)
    coordinates = pairs(coordinate, "coordinate")
    if coordinates is None:
        return motions
    return {
        name: tuple(part.strip() for part in text.split(";")) for name, text in coordinates.items()
    }


def with_reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Reading`; it receives them as its argument `reading`."""
    hints = get_type_hints(Reading, include_extras=True)
    shared = {field.name: field.default for field in dataclasses.fields(Reading)}

    @functools.wraps(command)
    def run(**values: Any) -> None:
        reading = Reading(**{name: values.pop(name) for name in shared})
        command(**values, reading=reading)

    own = [
        p
        for p in inspect.signature(command, eval_str=True).parameters.values()
        if p.name != "reading"
    ]
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name]
        )
        for name, default in shared.items()
    ]
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    return run


def pairs(items: list[str] | None, what: str) -> dict[str, str] | None:
    """Return NAME=VALUE items as a dictionary, None if there are none.

    Raises
    ------
    ValueError
        If an item has no name or no value, or a name comes twice.
    """
    found: dict[str, str] = {}
    for item in items or []:
        name, separator, value = item.partition("=")
        if (
            not separator
            or not name.strip()
            or (what in ("group", "coordinate") and not value.strip())
        ):
            raise OptionError(
                f'--{what} {item!r}: write NAME=VALUE, such as --{what} "O=element O"'
            )
        if name.strip() in found:
            raise OptionError(f"--{what}: the name {name.strip()!r} comes twice")
        found[name.strip()] = value.strip()
    return found or None


class OptionError(AptnnError, ValueError):
    """An option that cannot be understood."""


def open_universes(
    topology: Path,
    trajectories: list[Path] | None,
    file_format: str | None,
    topology_format: str | None,
    cell: str | None = None,
) -> list[Any]:
    """Return one Universe for each trajectory, so that no series runs across a join of files
    unseen.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    TrajectoryError
        If MDAnalysis cannot read it.
    """
    import MDAnalysis

    from mda_aptnn.trajectory.xyz_frames import check_packed

    for path in [topology, *(trajectories or [])]:
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        check_packed(path)
    universes = []
    for names in [[topology, path] for path in trajectories or []] or [[topology]]:
        kinds = {
            "format": file_format or known_format(names[-1]),
            "topology_format": topology_format,
        }
        options: dict[str, Any] = {name: value for name, value in kinds.items() if value}
        if known_format(topology):
            options.setdefault("topology_format", known_format(topology))
        if cell and (file_format or "").upper() == "CP2K":
            # MDAnalysis' selections need the cell too, where the files have none
            options["cell"] = cell
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
        return "it takes no dumps with units or times; write them without dump_modify units yes, time yes"
    if start.startswith(b"ITEM: "):
        return "for a LAMMPS dump say --format LAMMPSDUMP, beside a data file"
    return "check the files, or name their kinds with --format and --topology-format"


def progress() -> dict[str, float]:
    """How often a bar is drawn: seldom in a log file, where each time is a line more."""
    return {} if sys.stderr.isatty() else {"mininterval": 30.0}


def emit(report: dict[str, Any], as_json: bool, text: str) -> None:
    """Print one JSON object, or the text for people."""
    typer.echo(json.dumps(report, indent=2) if as_json else text)
