"""The flux of groups along a trajectory: what is stored, merged and turned into spectra."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.averages import ratio_with_error
from mda_aptnn.checks import Checks
from mda_aptnn.errors import CheckError, FileFormatError, GroupError, SpectrumError, TrajectoryError
from mda_aptnn.flux.facade import LateMethod
from mda_aptnn.tensors import full_tensors
from mda_aptnn.trajectory.times import Timeline

logger = logging.getLogger(__name__)

#: The arrays of a flux: their unit, and the shape, in which "frames", "groups" and "members" stand
#: for their numbers. What is done to all of them (files, sums, merging, parts of a run) follows
#: from this.
ARRAYS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "flux": (units.FLUX, ("frames", "groups", 3)),
    "times": (units.TIME, ("frames",)),
    "volumes": (units.VOLUME, ("frames",)),
    "temperatures": (units.TEMPERATURE, ("frames",)),
    "residuals": (units.CHARGE, ("frames", 3, 3)),
    "equipartition": ("e^2/u", ("frames",)),
    "members": (units.FLUX, ("frames", "members", "groups", 3)),
    "polarizability": (units.POLARIZABILITY_FLUX, ("frames", "groups", 6)),
}
#: Of these, what a model may not give.
OPTIONAL = ("members", "polarizability")
#: Of these, the records of a frame beside its flux.
RECORDS = ("volumes", "temperatures", "residuals", "equipartition")

#: Up to so many groups are named where a flux is shown.
_NAMED = 8
#: More are not listed one by one.
_LISTED = 20
#: Two parts continue each other if the step between them is the spacing within this part of it.
_JOIN = 0.05
#: Spacings of two parts are the same within this: what rounding of recorded times leaves, an error
#: of 4 cm⁻¹ in 4000.
_SAME_SPACING = 1e-3


@dataclasses.dataclass(frozen=True)
class FluxSeries(io.Stored):
    """Ṁ(t) of groups of atoms, in one or more uninterrupted series.

    Attributes
    ----------
    flux : ndarray, shape [n_frames, n_groups, 3]
        In e·Å/ps.
    groups : list of str
        Their sum is the total.
    times : ndarray, shape [n_frames]
        In ps.
    spacing : float
        Between frames of a series, in ps.
    starts : list of int
        First frame of each series; correlation never crosses into the next.
    volumes : ndarray, shape [n_frames]
        In Å³; NaN without a cell.
    temperatures : ndarray, shape [n_frames]
        Kinetic temperature of all atoms, in K; NaN where constraints or finite differences make it
        unknown.
    residuals : ndarray, shape [n_frames, 3, 3]
        Σ_i P_i − Q·1 of the prediction, in e, before any sum rule was applied.
    equipartition : ndarray, shape [n_frames]
        Σ_i ‖P_i‖²/m_i of the atoms that count, in e²/u: its mean times k_B T is ⟨Ṁ²⟩ in
        equilibrium.
    finite_difference : float
        Spacing of the positions that velocities were made from, in ps; 0 for recorded velocities.
    info : dict
        Model, sum rule, sources and notes.
    labels : dict of str to list of str
        What each term of `groups` is: its "group", and where there are, its "motion", the "species"
        of its molecule.
    members : ndarray, shape [n_frames, n_members, n_groups, 3], or None
        The flux by each member of a committee, in e·Å/ps: their mean is `flux`, their scatter,
        calibrated for each element, its error. None for a single model, and where there are too
        many groups to keep it.
    polarizability : ndarray, shape [n_frames, n_groups, 6], or None
        α̇ = Σ_i G_i v_i, α/4πε₀, of each group in Å³/ps: xx, yy, zz, xy, xz, yz. None of a model of
        dipoles only.
    """

    kind: ClassVar[str] = "flux"

    flux: NDArray[np.float64]
    groups: list[str]
    times: NDArray[np.float64]
    spacing: float
    starts: list[int]
    volumes: NDArray[np.float64]
    temperatures: NDArray[np.float64]
    residuals: NDArray[np.float64]
    equipartition: NDArray[np.float64]
    finite_difference: float = 0.0
    info: dict[str, Any] = dataclasses.field(default_factory=dict)
    labels: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    members: NDArray[np.float64] | None = None
    polarizability: NDArray[np.float64] | None = None

    #: What is made of a flux stands in `mda_aptnn.spectra`.
    spectrum = LateMethod("mda_aptnn.spectra.of_flux:spectrum")
    raman = LateMethod("mda_aptnn.spectra.of_flux:raman")
    sum_frequency = LateMethod("mda_aptnn.spectra.of_flux:sum_frequency")
    correlation = LateMethod("mda_aptnn.spectra.of_flux:correlation")
    conditions = LateMethod("mda_aptnn.spectra.of_flux:conditions")
    check = LateMethod("mda_aptnn.flux.checks:check_series")

    def __len__(self) -> int:
        return len(self.flux)

    def __repr__(self) -> str:
        many = len(self.groups) > _NAMED
        named = f"{len(self.groups)} groups" if many else ", ".join(self.groups)
        return f"<FluxSeries: {self._extent}; {named}>"

    @property
    def _extent(self) -> str:
        n, step = len(self), 1000 * self.spacing
        return f"{n} frames, {step:g} fs apart, in {len(self.starts)} series"

    @property
    def total(self) -> NDArray[np.float64]:
        """Ṁ of all groups together [n_frames, 3], in e·Å/ps."""
        total: NDArray[np.float64] = self.flux.sum(axis=1)
        return total

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the arrays that are there, by name.

        Returns
        -------
        dict of str to ndarray
            In the units of `ARRAYS`.
        """
        found = {name: getattr(self, name) for name in ARRAYS}
        return {name: values for name, values in found.items() if values is not None}

    def segments(self) -> list[NDArray[np.float64]]:
        """Return the uninterrupted series, each [n_frames, n_groups, 3].

        Returns
        -------
        list of ndarray, shape [n_frames, n_groups, 3]
            In e·Å/ps.
        """
        return np.split(self.flux, self.starts[1:])

    def polarizability_segments(self) -> list[NDArray[np.float64]]:
        """Return α̇ of the uninterrupted series, each [n_frames, n_groups, 3, 3] in Å³/ps.

        Returns
        -------
        list of ndarray, shape [n_frames, n_groups, 3, 3]
            In Å³/ps.

        Raises
        ------
        SpectrumError
            If the model predicted no polarizability gradients.
        """
        if self.polarizability is None:
            raise SpectrumError(
                "the flux has no polarizability: it was predicted by a model without "
                "polarizability gradients"
            )
        return np.split(full_tensors(self.polarizability), self.starts[1:])

    def regroup(self, groups: Mapping[str, Sequence[str]] | Sequence[str]) -> FluxSeries:
        """Return the flux of sums of groups, without a new prediction.

        Parameters
        ----------
        groups : mapping of str to sequence of str, or sequence of str
            New name to the names it is made of, or names to keep. What is left out becomes "rest".

        Returns
        -------
        FluxSeries

        Raises
        ------
        GroupError
            If a group is unknown or used twice.
        """
        if not isinstance(groups, Mapping):
            groups = {name: [name] for name in ([groups] if isinstance(groups, str) else groups)}
        left = {name: k for k, name in enumerate(self.groups)}
        known, sums = set(left), {name: list[int]() for name in groups}
        for name, parts in groups.items():
            for part in [parts] if isinstance(parts, str) else parts:
                if part not in known:
                    raise GroupError(
                        f"there is no group {part!r}; the groups are {', '.join(self.groups)}"
                    )
                if part not in left:
                    raise GroupError(f"a group stands in two sums: {groups}")
                sums[name].append(left.pop(part))
        if left:
            sums["rest" if "rest" not in sums else "remaining"] = list(left.values())
        return self._summed(sums, {})

    def sum_over(self, label: str) -> FluxSeries:
        """Return the flux of all terms that are alike in a label: "motion", "group" or "species".

        Parameters
        ----------
        label : {"motion", "group", "species"}

        Returns
        -------
        FluxSeries
            One term for each word of that label.

        Raises
        ------
        GroupError
            If the terms have no such label.
        """
        if label not in self.labels:
            raise GroupError(
                f"the flux has no {label!r}; it has {', '.join(self.labels) or 'groups only'}"
            )
        sums: dict[str, list[int]] = {}
        for k, word in enumerate(self.labels[label]):
            sums.setdefault(word, []).append(k)
        return self._summed(sums, {label: list(sums)})

    def _summed(self, sums: Mapping[str, list[int]], labels: dict[str, list[str]]) -> FluxSeries:
        """The flux of sums of terms, by name the numbers of the terms."""
        summed: dict[str, Any] = {}
        for name, values in self.arrays().items():
            shape = ARRAYS[name][1]
            if "groups" in shape:
                axis = shape.index("groups")
                terms = [values.take(k, axis).sum(axis) for k in sums.values()]
                summed[name] = np.stack(terms, axis)
        info = dict(self.info)
        if "mixture" in info:
            rows = info["mixture"]
            info["mixture"] = [row | {"groups": self._counts(row["groups"], sums)} for row in rows]
        return dataclasses.replace(self, groups=list(sums), labels=labels, info=info, **summed)

    def _counts(self, counts: Mapping[str, int], sums: Mapping[str, list[int]]) -> dict[str, int]:
        """How many atoms each of the sums has, of a model that has so many of each group."""
        found = {name: sum(counts.get(self.groups[k], 0) for k in of) for name, of in sums.items()}
        return {name: n for name, n in found.items() if n}

    def equipartition_ratio(self) -> tuple[float, float]:
        """Return ⟨Ṁ²⟩ / (k_B T Σ_i ⟨‖P_i‖²⟩/m_i) and its standard error.

        1 in equilibrium without constraints, whatever the spectrum is: a check of velocities, units
        and tensors. T is the kinetic temperature of the same frames; NaN where it is not known.

        Returns
        -------
        ratio, standard_error : float
            See `mda_aptnn.averages.ratio_with_error`.
        """
        squares = (self.total**2).sum(axis=1)
        return ratio_with_error(squares, units.BOLTZMANN * self.temperatures * self.equipartition)

    def summary(self) -> dict[str, Any]:
        """Return what the flux says by itself, as numbers that JSON can hold.

        Returns
        -------
        dict
        """
        ratio, error = self.equipartition_ratio()
        found = {
            "temperature": float(self.temperatures.mean()),
            "volume": float(self.volumes.mean()),
            "equipartition_ratio": ratio,
            "equipartition_error": error,
        }
        return {
            "n_frames": len(self),
            "n_series": len(self.starts),
            "spacing_ps": self.spacing,
            "groups": self.groups,
            **{name: value if value == value else None for name, value in found.items()},
            "sum_rule_residual_max": float(abs(self.residuals).max()),
            **{name: self.info[name] for name in ["mixture"] if name in self.info},
            "notes": self.info.get("notes", []),
        }

    def describe(self, notes: Sequence[str] = ()) -> str:
        """Return `summary` for people, line by line.

        Parameters
        ----------
        notes : sequence of str
            Of what was made of the flux: those that it does not have itself are added.

        Returns
        -------
        str
        """
        values, names = self.summary(), self.groups
        listed = f"groups: {', '.join(names)}"
        if len(names) > _LISTED:
            listed = f"{len(names)} groups: {names[0]}, {names[1]}, ... {names[-1]}"
        lines = [f"{self._extent}; {listed}"]
        for part in values.get("mixture", ()):
            shares = ", ".join(f"{name} ({n})" for name, n in part["groups"].items())
            lines.append(
                f"flux of {part['n_atoms']} atoms of {part['selection']!r} from {part['model']}: "
                f"{shares or 'not counted'}"
            )
        if values["temperature"] is not None:
            lines.append(f"kinetic temperature: {values['temperature']:.1f} K")
        if values["equipartition_ratio"] is not None:
            ratio, error = values["equipartition_ratio"], values["equipartition_error"] or 0.0
            lines.append(f"<M'^2> over equipartition: {ratio:.3f} +- {error:.3f}")
        residual = values["sum_rule_residual_max"]
        lines.append(f"largest component of the sum rule's residual: {residual:.3f} e")
        return "\n".join(lines + [f"note: {n}" for n in dict.fromkeys([*values["notes"], *notes])])

    def _write(self, file: h5py.File) -> None:
        for name, values in self.arrays().items():
            io.write_array(file, name, values, ARRAYS[name][0])
        io.write_array(file, "starts", np.array(self.starts))
        io.write_array(file, "spacing", self.spacing, units.TIME)
        io.write_array(file, "finite_difference", self.finite_difference, units.TIME)
        # an attribute holds no more than 64 kB: too little for thousands of molecules
        io.write_array(file, "groups", json.dumps(self.groups))
        io.write_array(file, "labels", json.dumps(self.labels))
        file.attrs["info"] = json.dumps(self.info)

    @classmethod
    def _read(cls, file: h5py.File) -> FluxSeries:
        groups = io.read_json(file, "groups", list)
        sizes = {"frames": None, "groups": len(groups), "members": None}
        arrays: dict[str, Any] = {}
        for name, (unit, shape) in ARRAYS.items():
            if name in file or name not in OPTIONAL:
                expected = tuple(sizes.get(size, size) for size in shape)
                arrays[name] = io.read_array(file, name, unit, expected)
                sizes["frames"] = len(arrays["flux"])
        n, starts = len(arrays["flux"]), io.read_array(file, "starts", shape=(None,), kinds="iu")
        starts = [int(k) for k in starts]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= n:
            raise FileFormatError(
                f"{file.filename}: the starts of its series do not fit {n} frames"
            )
        spacing = float(io.read_array(file, "spacing", units.TIME, ()))
        if not (np.isfinite(arrays["flux"]).all() and 0 < spacing < np.inf):
            raise FileFormatError(f"{file.filename}: its flux or its spacing is no finite number")
        info = io.read_json(file, "info", dict)
        # what is made of a flux does not take the place of what the flux was made of
        io.protect(info.get("trajectory", []))
        return cls(
            groups=groups,
            spacing=spacing,
            starts=starts,
            finite_difference=float(io.read_array(file, "finite_difference", units.TIME, ())),
            info=info,
            labels=io.read_json(file, "labels", dict) if "labels" in file else {},
            **arrays,
        )

    @classmethod
    def merge(cls, parts: Iterable[FluxSeries], names: Sequence[str] | None = None) -> FluxSeries:
        """Put runs together: continuing times make one series, anything else is a replica of its
        own.

        Which of the two each part became stands in ``info["notes"]`` and in the log. Parts of one
        run, of ``DipoleFlux.run(part=...)``, become what that run would have been in one go.

        Parameters
        ----------
        parts : iterable of FluxSeries
            In the order of their times; in any order if they are parts of one run.
        names : sequence of str, optional
            What errors and notes call them: "part 1", "part 2", ... by default.

        Returns
        -------
        FluxSeries

        Raises
        ------
        TrajectoryError
            If there is nothing to merge, or spacings, atoms, charge or the treatment of the sum
            rule differ; or parts of one run overlap, lack frames or are of another run.
        GroupError
            If the groups differ.
        CheckError
            If two parts share frames.
        """
        parts = list(parts)
        if not parts:
            raise TrajectoryError("there is no flux to merge")
        names = names or [f"part {number}" for number in range(1, len(parts) + 1)]
        if len(parts) > 1 and any("part" in part.info for part in parts):
            return _whole(parts, names)
        first, starts, notes, n_frames = parts[0], list(parts[0].starts), [], len(parts[0])
        for number, (earlier, part) in enumerate(itertools.pairwise(parts), start=2):
            name = names[number - 1]
            if part.groups != first.groups:
                raise GroupError(
                    f"{name} has the groups {part.groups}, the first one {first.groups}"
                )
            refuse_other_run(first, part, name)
            if abs(part.spacing - first.spacing) > _SAME_SPACING * first.spacing:
                raise TrajectoryError(
                    f"{name} has frames {part.spacing:g} ps apart, the first one "
                    f"{first.spacing:g} ps; read each with a step that makes them equal"
                )
            if part.finite_difference != first.finite_difference:
                raise TrajectoryError(
                    "velocities were recorded in some parts and made by finite differences in "
                    "others"
                )
            for place, other in enumerate(parts[: number - 1], start=1):
                if (shared := shared_frames(part, other)) > 1:
                    raise CheckError(
                        f"{name} has the same flux as {names[place - 1]} in {shared} frames: the "
                        "same frames twice are no more statistics, and error bars of them are too "
                        "small; give each frame once"
                    )
            joins = _joins(earlier.times, part.times, first.spacing)
            kind = "continues the one before" if joins else "is a replica of its own"
            notes.append(f"{name} (from {part.times[0]:.4g} ps) {kind}")
            logger.info(notes[-1])
            starts += [n_frames + start for start in part.starts[1 if joins else 0 :]]
            n_frames += len(part)
        known = [part.info.get("kinetic_temperature") or [None, None] for part in parts]
        values, errors = np.array(known, dtype=float).T
        # mean, and its standard error, of what was seen before the runs
        kelvin = [float(values.mean()), float(np.linalg.norm(errors)) / len(parts)]
        info = {
            "checks": Checks(dict.fromkeys(Checks.from_json(joined(parts, "checks")))).to_json(),
            "kinetic_temperature": kelvin if np.isfinite(kelvin).all() else [None, None],
            "notes": list(dict.fromkeys([*joined(parts, "notes"), *notes])),
        }
        return combined(parts, np.concatenate, info, starts=starts)


def part_note(part: Mapping[str, Any]) -> str:
    """Return the note of a flux that is a part of a run."""
    first, end = part["frames"]
    return (
        f"part {part['number']} of {part['count']} of a run: {end - first} of its "
        f"{part['run']['n_frames']} frames"
    )


def _whole(parts: Sequence[FluxSeries], names: Sequence[str]) -> FluxSeries:
    """The flux of a run of all its parts, to the last bit; raises as `FluxSeries.merge`."""
    for part, name in zip(parts, names, strict=True):
        if "part" not in part.info:
            raise TrajectoryError(
                f"{name} is no part of a run, as the others are: merge the parts first"
            )
    order = sorted(zip(parts, names, strict=True), key=lambda each: each[0].info["part"]["frames"])
    parts, names = zip(*order, strict=True)
    said = [part.info["part"] for part in parts]
    run, n_frames, starts = said[0]["run"], 0, list[int]()
    for k, (part, name) in enumerate(order):
        if differ := io.differing(said[k]["run"], run):
            raise TrajectoryError(
                f"{name} is a part of another run than {names[0]}: they differ in "
                f"{', '.join(differ)}"
            )
        if part.groups != parts[0].groups:
            raise GroupError(f"{name} has other groups than {names[0]}")
        first, end = said[k]["frames"]
        if first < n_frames:
            raise CheckError(
                f"{names[k - 1]} and {name} overlap: part {said[k - 1]['number']} of "
                f"{said[k - 1]['count']} and part {said[k]['number']} of {said[k]['count']} have "
                "frames in common; give each frame once"
            )
        if first > n_frames:
            raise _lacking(said, n_frames, first)
        starts += [n_frames + start for start in part.starts[said[k]["continues"] :]]
        n_frames = end
    if n_frames < run["n_frames"]:
        raise _lacking(said, n_frames, run["n_frames"])
    own = {part_note(each) for each in said}
    notes = [note for note in dict.fromkeys(joined(parts, "notes")) if note not in own]
    info = {name: value for name, value in parts[0].info.items() if name != "part"}
    whole = combined(parts, np.concatenate, {}, starts=starts)
    return dataclasses.replace(whole, info=info | {"notes": notes})


def _lacking(said: Sequence[Mapping[str, Any]], first: int, end: int) -> TrajectoryError:
    """The error of a run of which these frames are in no part."""
    counts = {part["count"] for part in said}
    what_next = ""
    if len(counts) == 1:
        [count] = counts
        missing = set(range(1, count + 1)) - {part["number"] for part in said}
        what_next = f": give {' and '.join(f'--part {k}/{count}' for k in sorted(missing))} too"
    return TrajectoryError(
        f"frames {first} to {end - 1} of the {said[0]['run']['n_frames']} of the run, counted from "
        f"0, are in none of the parts{what_next}"
    )


def lengths_together(timelines: Sequence[Timeline]) -> list[int]:
    """Return how many frames the uninterrupted series will have that `FluxSeries.merge` makes of
    runs at these times.
    """
    lengths: list[int] = []
    for number, line in enumerate(timelines):
        own = np.diff([*line.starts, len(line.times)]).tolist()
        if number and _joins(timelines[number - 1].times, line.times, line.spacing):
            lengths[-1] += own.pop(0)
        lengths += own
    return lengths


def _joins(before: NDArray[np.float64], times: NDArray[np.float64], spacing: float) -> bool:
    """Whether these times go on from those before."""
    return bool(abs(times[0] - before[-1] - spacing) < _JOIN * spacing)


def combined(
    parts: Sequence[FluxSeries],
    together: Callable[[list[NDArray[np.float64]]], Any],
    info: dict[str, Any],
    **changes: Any,
) -> FluxSeries:
    """Return one flux of several: of the arrays that all have, and with the files of all."""
    arrays = {name: [getattr(part, name) for part in parts] for name in ARRAYS}
    made: dict[str, Any] = {
        name: None if any(one is None for one in each) else together(each)
        for name, each in arrays.items()
    }
    info = parts[0].info | {"trajectory": joined(parts, "trajectory")} | info
    return dataclasses.replace(parts[0], info=info, **(made | changes))


def joined(parts: Iterable[FluxSeries], name: str) -> list[Any]:
    """Return one list of those that the parts have in their `info` under a name."""
    return [item for part in parts for item in part.info.get(name, [])]


def refuse_other_run(
    first: FluxSeries, part: FluxSeries, name: str, **also: tuple[Any, Any]
) -> None:
    """Refuse a flux that was predicted of other atoms or in another way.

    Parameters
    ----------
    first, part : FluxSeries
    name : str
        Of `part`, for the error.
    **also : tuple
        What else must be the same, of the first and of this one.

    Raises
    ------
    TrajectoryError
        With what differs.
    """
    told = ("n_atoms", "charge", "sum_rule", "model")
    same = {what: (first.info.get(what), part.info.get(what)) for what in told}
    for what, (mine, theirs) in (also | same).items():
        if mine != theirs:
            raise TrajectoryError(f"{name} has {what} {theirs}, the first one {mine}")


def shared_frames(part: FluxSeries, other: FluxSeries) -> int:
    """Return how many frames have the same flux in both parts, bit for bit.

    No two frames have the same flux but that of nothing that moves. Replicas may start from one
    frame, and a run that goes on repeats the last one before it.
    """
    known, there = ({row.tobytes() for row in one.flux if row.any()} for one in (part, other))
    return len(known & there)
