"""What commands take: options that several share, and how a function becomes a command.

A command is a function: what stands before ``*`` in its signature are arguments, the rest options,
and its numpydoc section "Parameters" is their help. A parameter whose type is a set (a frozen
dataclass here) brings all fields of the set as options, and the command receives one object. One
that is `Outputs` brings the files that `writes` declares, and ``--json``. A type may name the
function that reads its text, as `Group` does. Help that several commands share stands in `Shared`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import enum
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

from typer import Argument, Option

import mda_aptnn
from mda_aptnn import io, units
from mda_aptnn.cli.outputs import OptionError, Outputs
from mda_aptnn.errors import TrajectoryError

if TYPE_CHECKING:
    from mda_aptnn.labels.snapshots import Source


def pairs(items: list[str] | None, name: str) -> dict[str, str] | None:
    """Return NAME=VALUE items as a dictionary, None if there are none.

    Raises
    ------
    OptionError
        If an item has no name or no value, or a name comes twice.
    """
    found: dict[str, str] = {}
    for item in items or []:
        key, separator, value = (part.strip() for part in item.partition("="))
        if not separator or not key or (name != "--element" and not value):
            raise OptionError(f'{name} {item!r}: write NAME=VALUE, such as {name} "O=element O"')
        if key in found:
            raise OptionError(f"{name}: the name {key!r} comes twice")
        found[key] = value
    return found or None


def models(items: list[str], name: str) -> str | dict[str, str]:
    """Return the model of all atoms, or that of each selection: SELECTION=MODEL.

    An item is parted at its last "=", or before that at the first behind which there is a file:
    selections and paths may have such signs of their own.

    Raises
    ------
    OptionError
        If one of several has no selection or no model, or a selection comes twice.
    """
    found: dict[str, str] = {}
    for item in items:
        ends = [-1, *(k for k, sign in enumerate(item) if sign == "=")]
        end = next((k for k in ends if _is_file(item[k + 1 :].strip())), ends[-1])
        selection, model = item[: max(end, 0)].strip(), item[end + 1 :].strip()
        if end < 0 and len(items) == 1:
            return model
        if not selection or not model:
            raise OptionError(
                f"{name} {item!r}: of several models each has its atoms; write SELECTION=MODEL, "
                f'such as {name} "resname SOL=water-rpbe-d3"'
            )
        if selection in found:
            raise OptionError(f"{name}: the selection {selection!r} comes twice")
        found[selection] = model
    return found


def _is_file(model: str) -> bool:
    """Whether a model is a file, or made of one: charges:FILE."""
    word, _, rest = model.partition(":")
    return Path(rest if rest and word.isidentifier() else model).is_file()


def _coordinates(items: list[str] | None, name: str) -> dict[str, tuple[str, ...]] | None:
    """NAME=SELECTION;SELECTION items as selections by names."""
    return {
        key: tuple(part.strip() for part in text.split(";"))
        for key, text in (pairs(items, name) or {}).items()
    } or None


def positive(unit: str) -> Callable[[str, str], float]:
    """Return what reads a quantity of this dimension that must be positive: before a long run, not
    after it.
    """

    def read(text: str, name: str) -> float:
        value: float = units.magnitude(text, unit, name)
        if value <= 0:
            raise OptionError(f"{name} {text!r} must be positive")
        return value

    return read


def _resolution(text: str, name: str) -> Any:
    return text if text == AUTO else positive(units.WAVENUMBER)(text, name)


def numbers(text: str, name: str) -> list[float]:
    """Return the numbers of an option, in Å, between commas or spaces.

    Raises
    ------
    OptionError
        If there is another word.
    """
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise OptionError(f'{name} {text!r}: give numbers in Å, like "2.5,3.5,6"') from None


def _segments(text: str, name: str) -> int | str | None:
    if text.isdecimal() and int(text) > 1:
        return int(text)
    if text not in ("auto", "replicas", "none"):
        raise OptionError(
            f"{name} {text!r}: give a number from 2 upward, 'auto', 'replicas' or 'none'"
        )
    return None if text == "none" else text


def _part(text: str, name: str) -> tuple[int, int]:
    """Return which part of how many: "3/20"."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise OptionError(f"{name} {text!r}: write NUMBER/COUNT, counted from 1, such as 3/20")
    return int(match[1]), int(match[2])


#: As `mda_aptnn.spectra.estimator.AUTO`, which takes longer to import.
AUTO = "auto"
Window = StrEnum("Window", ["gaussian", "parzen", "bartlett", "hann", "none"])
SumRule = StrEnum("SumRule", ["none", "mass", "uniform"])
Per = StrEnum("Per", ["group", "element", "resname", "residue", "molecule", "atom"])
Motions = StrEnum("Motions", ["rigid", "stored"])
Quantity = StrEnum(
    "Quantity",
    {
        "n_alpha": "n-alpha",
        "alpha": "alpha",
        "epsilon": "epsilon",
        "molar_absorption": "molar-absorption",
        "absorbance": "absorbance",
        "transmittance": "transmittance",
        "k": "k",
        "dielectric_loss": "dielectric-loss",
        "conductivity": "conductivity",
    },
)
Velocities = StrEnum("Velocities", {"trajectory": "trajectory", "finite": "finite-difference"})

Names = dict[str, str] | None
Group = Annotated[Names, pairs]
Models = Annotated[Any, models]
Temperature = Annotated[Any, positive(units.TEMPERATURE)]
Volume = Annotated[Any, positive(units.VOLUME)]
Resolution = Annotated[Any, _resolution]
Width = Annotated[Any, positive(units.WAVENUMBER)]
PathLength = Annotated[Any, positive("cm")]
Numbers = Annotated[list[float] | None, numbers]
Coordinates = Annotated[dict[str, tuple[str, ...]] | None, _coordinates]
Segments = Annotated[int | str | None, _segments]
Part = Annotated[tuple[int, int] | None, _part]
Count = Annotated[int, Option(min=1)]
Several = Annotated[int, Option(min=2)]
Output = Path
Plan: TypeAlias = Path | None
Plot: TypeAlias = Path | None
Json = bool


class Shared:
    """Options that several commands have, by name: their help, where a command says no other.

    Attributes
    ----------
    topology : path
        Topology or structure that MDAnalysis reads.
    flux : path
        Flux file.
    folder : path
        Folder of the campaign.
    labels : paths
        Labelled frames: HDF5 of mda-aptnn, or extended XYZ with apt:R:9, pgt:R:27 or both.
    model : list of str
        Model file or bundled model; or charges:topology, charges:FILE, labels:FILE, xtb:GFN2,
        mace:FILE, python:MODULE.NAME, or a name of another package. SELECTION=MODEL, repeatable:
        each for its own atoms, "resname SOL=water-rpbe-d3".
    group : list of str
        NAME=SELECTION, repeatable: "O=element O".
    element : list of str
        TYPE=SYMBOL, repeatable, where the topology has no elements.
    cell : str
        "a b c alpha beta gamma" in Å and degrees.
    time_step : str
        Time between recorded frames, such as "2 fs".
    temperature : str
        Such as "300 K"; from the velocities if not given.
    volume : str
        Where there is no cell: "1000 angstrom^3".
    resolution : str
        Full width at half maximum of a line; by itself 10 cm⁻¹, or what a short run has error bars
        for.
    workers : int
        Processes, or threads, that share the work.
    allow_outside_domain : bool
        Go on with a model that was not made for such atoms.
    output : path
        File to write.
    plot : path
        Also draw a picture (png, pdf, svg).
    plot_spread : path
        Also draw the error against a committee's spread.
    csv : path
        Also write columns of numbers.
    latex : path
        Also write the table for LaTeX.
    flux_output : path
        Where the flux is kept, to make other spectra of it: OUTPUT-flux.h5 by itself.
    as_json : bool
        Print one JSON object instead of text.
    template : path
        Your working CP2K input, or the settings (TOML) of another code.
    code : str
        What labels: "cp2k", "pyscf", "ase", or a code of another package by its name.
    route : str
        "field" (6 runs a snapshot), "displacement" (6 an atom), "analytic" (CP2K's own);
        "field-raman" (12) and "displacement-raman" (6 an atom) label polarizability gradients as
        well.
    command : str
        What starts CP2K: "mpirun -np 2 cp2k.psmp".
    config : path
        TOML plan: tables [training] and [network].
    seed : int
        Of the split, the first weights and the order.
    steps : int
        Optimisation steps.
    """


#: Names of options that are not those of the parameters.
_NAMES = {
    "as_json": "--json",
    "file_format": "--format",
    "flux_output": "--flux",
    "from_model": "--from",
    "mass_weighted": "--mass-weighted/--not-mass-weighted",
}
_SHORT = {
    "band": "-b",
    "command": "-c",
    "count": "-n",
    "group": "-g",
    "model": "-m",
    "output": "-o",
    "temperature": "-T",
}
#: Files that a command may write beside the first, by their names in its JSON: the parameters.
_FILES = {
    "csv": "csv",
    "latex": "latex",
    "plot": "plot",
    "spread plot": "plot_spread",
    "flux": "flux_output",
}


def writes(**files: str | None) -> Any:
    """Declare what a command writes: the default of a parameter whose type is `Outputs`.

    Parameters
    ----------
    **files : str or None
        By their names in the JSON: what ``--output`` is by default; None for a file that has an
        option of its own.
    """
    return tuple(files.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """A set of options."""

    def values(self, kind: type[Options] | None = None) -> dict[str, Any]:
        """Options by name: of this set, or of one that it is made of."""
        fields = dataclasses.fields(kind or self)
        return {field.name: getattr(self, field.name) for field in fields}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Options):
    """What a spectrum needs to know of the sample, where its flux does not."""

    temperature: Temperature = None
    volume: Volume = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lines(Options):
    """How wide and of which form the lines of a spectrum are.

    Attributes
    ----------
    window : str
        Form of the lag window.
    """

    resolution: Resolution = AUTO
    window: Window = Window.gaussian


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorBars(Lines):
    """How a spectrum and its error bars are estimated.

    Attributes
    ----------
    segments : str
        Parts of the run for error bars: a number, "auto", "replicas" or "none".
    """

    segments: Segments = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate(ErrorBars):
    """The same for the correlation of a flux.

    Attributes
    ----------
    unbiased : bool
        Unbiased correlation; intensities may be negative.
    """

    unbiased: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown(Options):
    """What an infrared spectrum is shown as, in numbers, tables and pictures.

    Attributes
    ----------
    quantity : str
        What is shown; n-alpha by default, molar-absorption without a volume.
    molecules : str
        Of what a molar quantity is per mole, and a band per molecule: a formula, "H2O", or their
        number in the sample; not needed where there is one kind.
    path_length : str
        Of absorbance and transmittance, "10 um".
    epsilon_infinity : float
        n² of visible light: n(ν) by Kramers and Kronig, for alpha, epsilon, absorbance, ...; else
        these are shown times n.
    refractive_index : float
        n in the place of n(ν).
    """

    quantity: Quantity | None = None
    molecules: str | None = None
    path_length: PathLength = None
    epsilon_infinity: float | None = None
    refractive_index: float | None = None

    def check(self) -> None:
        """Refuse what cannot go together before a long run.

        Raises
        ------
        OptionError
            If there is no quantity that a setting could be of.
        SpectrumError
            As `Spectrum.to`.
        """
        from mda_aptnn.spectra import quantities

        given = self.values()
        del given["quantity"], given["molecules"]
        if self.quantity is not None:
            quantities.Shown(quantity=self.quantity, **given)
        for name, value in given.items():
            if self.quantity is None and value is not None:
                raise OptionError(f"{option_name(name)} needs --quantity, such as absorbance")

    def of(self, spectrum: Any) -> Any:
        """Return a spectrum shown as it is asked for."""
        self.check()
        return spectrum if self == Shown() else spectrum.to(**self.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectory(Options):
    """A trajectory, and how MDAnalysis and this package read it.

    Attributes
    ----------
    trajectory : paths
        Trajectories. Times that continue make one series, others are replicas.
    frames : str
        Frames START:STOP:STEP, counted from 0: "1000:", "::10".
    pbc : str
        Periodic directions: "xyz", "xy", "none".
    file_format, topology_format : str
        MDAnalysis' name of the format.
    """

    topology: Path = dataclasses.field(kw_only=False)
    trajectory: list[Path] | None = dataclasses.field(default=None, kw_only=False)
    frames: str | None = None
    start: Annotated[int | None, Option(hidden=True)] = None
    stop: Annotated[int | None, Option(hidden=True)] = None
    step: Annotated[int | None, Option(hidden=True)] = None
    element: Group = None
    cell: str | None = None
    pbc: str | None = None
    file_format: str | None = None
    topology_format: str | None = None

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
        text = self.frames.replace(" ", "")
        if not re.fullmatch(r"(-?\d+)?(:(-?\d+)?){1,2}", text):
            raise OptionError(f"--frames {self.frames!r}: write START:STOP:STEP, such as 100::10")
        start, stop, step = (int(part) if part else None for part in [*text.split(":"), ""][:3])
        return start, stop, step

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of what reads the trajectory."""
        return {"elements": self.element, "cell": self.cell, "pbc": self.pbc}

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
        is_cp2k = (self.file_format or "").upper() == "CP2K"
        return open_universes(
            self.topology,
            self.trajectory or [],
            self.file_format,
            self.topology_format,
            # MDAnalysis' selections need the cell too, where the files have none
            **({"cell": self.cell} if self.cell and is_cp2k else {}),
        )

    def joined_universe(self) -> Any:
        """Return one Universe of all trajectories, one after the other; raises as `universes`."""
        universe, *more = self.universes()
        if more:
            paths = list(self.trajectory or [])
            kind = self.file_format or _known_format(paths[0])
            universe.load_new(list(map(str, paths)), format=kind)
        return universe

    def source(self, **more: Any) -> Source:
        """Return the frames of all trajectories, counted through."""
        from mda_aptnn.labels.snapshots import Source

        return Source(self.universes(), self.names, **Trajectory.keywords(self), **more)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choosing(Trajectory):
    """A trajectory of which some frames are chosen.

    Attributes
    ----------
    count : int
        How many of the frames to choose.
    """

    count: int | None = None

    @property
    def _old_count(self) -> int | None:
        """``--frames N``, as 0.1.0 had it."""
        return int(self.frames) if self.frames and self.frames.isdecimal() else None

    def how_many(self) -> int | None:
        """How many frames to choose: ``--count``, or ``--frames N`` as in 0.1.0.

        Raises
        ------
        OptionError
            If both are given.
        """
        if None not in (self.count, self._old_count):
            raise OptionError(
                f"--count {self.count} and --frames {self.frames} are two ways to say how many; "
                "leave one out"
            )
        return self._old_count if self.count is None else self.count

    def chosen(self) -> tuple[int | None, int | None, int | None]:
        """Start, stop and step of the frames to choose from; raises as `Trajectory.chosen`."""
        return super().chosen() if self._old_count is None else (None, None, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moving(Trajectory):
    """A trajectory whose velocities are needed.

    Attributes
    ----------
    velocity_unit : str
        Unit of the recorded velocities: "auto", "angstrom/fs", "bohr/atomic_unit_of_time", ...
    velocities : str
        Recorded ones, or differences of positions.
    check_temperature : bool
        Refuse velocities of an absurd temperature.
    allow_aliasing : bool
        Go on where frames are too far apart for the motion, or their time does not fit the
        velocities.
    override_cell : bool
        Go on where --cell has another volume than the recorded cell.
    """

    velocity_unit: str = "auto"
    velocities: Velocities = Velocities.trajectory
    time_step: str | None = None
    check_temperature: bool = True
    allow_aliasing: bool = False
    override_cell: bool = False

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of what reads the trajectory and its velocities."""
        own = Moving.__annotations__
        return super().keywords() | {name: getattr(self, name) for name in own}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Terms(Options):
    """What the flux, or the density of states, is taken apart into.

    Attributes
    ----------
    per : str
        A group for every one of these; "atom" (flux) keeps all on disk.
    motions : str
        "rigid": translation, rotation and vibration of molecules; "stored": those of a flux of
        atoms.
    coordinate : list of str
        NAME=SELECTION;SELECTION[;...], repeatable: bonds, angles, torsions: "OH=element O;element
        H".
    normal_modes : path
        Molden file with the structure and vibrations of a molecule, in its order of atoms.
    select : str
        Atoms that count; a model always sees all.
    """

    group: Group = None
    per: Per = Per.group
    motions: Motions | None = None
    coordinate: Coordinates = None
    normal_modes: Path | None = None
    select: str = "all"

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
        motions: Any = self.motions or self.coordinate
        if self.normal_modes is not None:
            motions = mda_aptnn.NormalModes.from_molden(self.normal_modes)
        return {"per": self.per, "motions": motions}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machines(Options):
    """Who computes.

    Attributes
    ----------
    workers : int
        Processes that share the work.
    dask : str
        Workers of a Dask scheduler: its address tcp://HOST:8786, its scheduler file, or "local"
        for one with --workers processes.
    device : str
        Where networks are evaluated: "cpu", "cuda" (a GPU), or "auto", a GPU where there is one.
    """

    workers: Count = 1
    dask: str | None = None
    device: str = "cpu"

    @contextlib.contextmanager
    def executor(self) -> Iterator[Any]:
        """Give the backend that the work is shared out by, or None where this process does it all.

        Raises
        ------
        WorkerError
            If there is no such scheduler, or it does not answer.
        OptionError
            If the workers of a scheduler are counted.
        """
        if self.dask is None and self.workers == 1:
            yield None
            return
        if self.dask not in (None, "local") and self.workers > 1:
            raise OptionError(
                f"--workers {self.workers}: the scheduler at {self.dask} has workers of its own; "
                "leave it out"
            )
        from mda_aptnn.flux import backends

        if self.dask is None:
            yield backends.ProgressMultiprocessing(self.workers, verbose=True)
            return
        with backends.Dask(self.workers, verbose=True, scheduler=self.dask).connected() as found:
            yield found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Charges(Options):
    """Sums that the tensors must obey, and the freedom that velocities have.

    Attributes
    ----------
    charge : float
        Total charge of the sample in e.
    sum_rule : str
        How Σ P = Q·1 is enforced.
    degrees_of_freedom : int
        For the kinetic temperature of constrained molecules.
    """

    charge: float = 0.0
    sum_rule: SumRule = SumRule.none
    degrees_of_freedom: int | None = None


def as_command(function: Callable[..., None]) -> Callable[..., None]:
    """Return what typer makes a command of: arguments, options and help of a function's signature
    and docstring, and of the sets among its parameters.
    """
    hints = get_type_hints(function, include_extras=True)
    (about, said), (_, shared) = _described(function), _described(Shared)
    parameters: list[inspect.Parameter] = []
    readers: dict[str, Any] = {}
    files: dict[str, dict[str, str]] = {}
    sets: dict[str, Any] = {k: kind for k, kind in hints.items() if dataclasses.is_dataclass(kind)}

    def add(name: str, hint: Any, default: Any, is_argument: bool = False) -> None:
        hint, *given = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
        for read in filter(callable, given):
            readers[name] = read
            # typer gives the text as that takes it
            hint = next(iter(get_type_hints(read).values()))
            if get_origin(hint) is list and isinstance(default, str):
                default = [default]
        options = [item for item in given if not callable(item)]
        option = copy.copy(options[0]) if options else Argument() if is_argument else Option()
        option.help = said.get(name) or option.help or shared.get(name)
        # a flag that is on by default has a name to turn it off, which typer makes
        if not is_argument and (default is not True or name in _NAMES):
            option.param_decls = [option_name(name), *_SHORT.get(name, "").split()]
        kind = inspect.Parameter.KEYWORD_ONLY
        hint = Annotated[hint, option]
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=hint))

    for name, each in inspect.signature(function).parameters.items():
        if hints[name] is Outputs:
            files[name] = {file: "output" if path else _FILES[file] for file, path in each.default}
            for (_, path), option in zip(each.default, files[name].values(), strict=True):
                add(option, Path if path else Path | None, path and Path(path))
            add("as_json", Json, False)
        elif name not in sets:
            add(name, hints[name], each.default, each.kind is not each.KEYWORD_ONLY)
    for kind in sets.values():
        fields = get_type_hints(kind, include_extras=True)
        for base in kind.__mro__[-2::-1]:
            said |= _described(base)[1]
        for field in dataclasses.fields(kind):
            is_required = field.default is dataclasses.MISSING
            default = inspect.Parameter.empty if is_required else field.default
            add(field.name, fields[field.name], default, not field.kw_only)

    @functools.wraps(function)
    def run(**options: Any) -> None:
        values: dict[str, Any] = {
            k: str(v) if isinstance(v, enum.Enum) else v for k, v in options.items()
        }
        for name, read in readers.items():
            if values[name] is not None:
                values[name] = read(values[name], option_name(name))
        for name, kind in sets.items():
            own = {field.name: values.pop(field.name) for field in dataclasses.fields(kind)}
            values[name] = kind(**own)
        for name, names in files.items():
            paths: dict[str, Any] = {file: values.pop(option) for file, option in names.items()}
            values[name] = Outputs(values.pop("as_json"), **paths)
        function(**values)

    run.__doc__ = about
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _described(thing: Any) -> tuple[str, dict[str, str]]:
    """A numpydoc docstring: the text before its sections, and what it says of each parameter."""
    about, *sections = re.split(
        r"\n+(?:Parameters|Attributes)\n-+\n", inspect.cleandoc(thing.__doc__ or "")
    )
    said: dict[str, str] = {}
    for names, text in re.findall(r"^(\w.*?) : .*\n((?: +.*\n?)+)", "".join(sections), re.M):
        said |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return about, said


def option_name(name: str) -> str:
    """How the option of a parameter is spelt."""
    return _NAMES.get(name, f"--{name.replace('_', '-')}")


def open_universes(
    topology: Path,
    trajectories: list[Path],
    file_format: str | None = None,
    topology_format: str | None = None,
    **more: Any,
) -> list[Any]:
    """Return a Universe for each trajectory, or of the topology alone; raises as
    `Trajectory.universes`.
    """
    import MDAnalysis

    from mda_aptnn.trajectory.xyz_frames import check_packed

    for path in [topology, *trajectories]:
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        check_packed(path)
    if topology_format is None:
        _check_order(topology, trajectories, file_format)
    universes = []
    for names in [[topology, path] for path in trajectories] or [[topology]]:
        kinds = {
            "format": file_format or _known_format(names[-1]),
            "topology_format": topology_format or _known_format(topology),
        }
        try:
            universes.append(MDAnalysis.Universe(*map(str, names), **kinds, **more))
        except Exception as error:
            # parsers of many authors meet a file of unknown content: what they raise can be
            # anything
            said = " ".join(str(error).split()).split(". ")[0][:200] or type(error).__name__
            raise TrajectoryError(
                f"MDAnalysis cannot read {' with '.join(map(str, names))}: {said}; {_advice(names)}"
            ) from error
    return universes


def _check_order(topology: Path, trajectories: list[Path], file_format: str | None) -> None:
    """Refuse files that stand in the wrong place, by their kinds: what MDAnalysis says of them is
    about something else.
    """
    from MDAnalysis import _PARSERS, _READERS

    for path in [topology, *trajectories]:
        if (kind := io.kind_of(path)) is not None:
            flux = path.with_name(f"{path.stem}-flux.h5")
            hint = f"; the flux that it was made of is {flux}" if flux.exists() else ""
            raise TrajectoryError(
                f"{path} is no trajectory: it holds the {kind} that mda-aptnn wrote{hint}. A flux "
                "is given alone, or behind the topology if it is of atoms (flux --per atom)"
            )
    kinds = [_known_format(path) or _ending(path) for path in [topology, *trajectories[:1]]]
    if trajectories and file_format:
        kinds[1] = file_format.upper()
    first, last = kinds[0], kinds[-1]
    only_frames = first in _READERS and first not in _PARSERS
    only_atoms = last in _PARSERS and last not in _READERS and first in _READERS
    if trajectories and (
        only_atoms or (only_frames and last in _PARSERS) or kinds == ["LAMMPSDUMP", "DATA"]
    ):
        raise TrajectoryError(
            f"{topology} holds the frames and {trajectories[0]} the atoms: name "
            f"{trajectories[0]} first"
        )
    if only_frames:
        raise TrajectoryError(
            f"{topology} holds frames and no names of atoms: name a topology before it; a "
            "structure (.pdb, .gro) will do"
        )


def _ending(path: Path) -> str:
    """MDAnalysis' name of the format that an ending stands for."""
    return Path(path.name.removesuffix(".gz").removesuffix(".bz2")).suffix[1:].upper()


def _known_format(path: Path) -> str | None:
    """MDAnalysis' name of a format whose usual ending it does not know."""
    return "LAMMPSDUMP" if _ending(path) == "LAMMPSTRJ" else None


def _advice(names: list[Path]) -> str:
    """What to do about files that MDAnalysis cannot read."""
    for path in names:
        if path.suffix in (".gz", ".bz2"):
            program = "gunzip" if path.suffix == ".gz" else "bunzip2"
            return f"it reads this kind unpacked only: {program} -k {path}"
    path = names[-1]
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
