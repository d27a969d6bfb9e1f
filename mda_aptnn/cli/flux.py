"""``mda-aptnn flux``: predict along a trajectory and store Ṁ(t)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import emit_with_files, hold
from mda_aptnn.cli.stored import is_stored, stored_series

if TYPE_CHECKING:
    from mda_aptnn.flux.flux_series import FluxSeries

#: More groups than this are not listed one by one.
_MANY = 20


@opt.with_reading_options
def flux(
    topology: opt.Topology,
    trajectory: opt.Trajectory = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="HDF5 file of the flux.")] = Path(
        "flux.h5"
    ),
    as_json: opt.Json = False,
    *,
    reading: opt.Reading,
) -> None:
    """Predict polar tensors along a trajectory and store the dipole flux of groups of atoms.

    With --per atom every atom's flux is kept: such a file can stand in the place of the trajectory
    in this command and in `spectrum`, for other groups without a new prediction.
    """
    from mda_aptnn import io

    io.check_writable(output)
    if trajectory and is_stored(trajectory):
        stored = stored_series(topology, trajectory, reading)
        stored.save(output)
        emit_with_files(
            {"flux": output}, summary(stored), [text_summary(stored)], as_json, stored.check()
        )
        return
    universes = open_universes(topology, trajectory, reading)
    if reading.per == "atom" and len(universes) > 1:
        raise opt.OptionError("--per atom takes one trajectory at a time; run the command for each")
    series, analyses = run_flux(universes, reading, output)
    if reading.per == "atom":
        analyses[0].save(output)
    else:
        series.save(output)
    forget(reading, output)
    emit_with_files(
        {"flux": output}, summary(series), [text_summary(series)], as_json, series.check()
    )


def open_universes(
    topology: Path, trajectory: list[Path] | None, reading: opt.Reading
) -> list[Any]:
    """Return one Universe for each trajectory; one of all beads for the centroid of a ring polymer."""
    found = opt.open_universes(
        topology, trajectory, reading.file_format, reading.topology_format, reading.cell
    )
    if reading.path_integral is None:
        return found
    if reading.path_integral not in ("beads", "centroid"):
        raise opt.OptionError(
            f"--path-integral {reading.path_integral!r}: choose beads or centroid"
        )
    if len(found) < 2:
        raise opt.OptionError("--path-integral: give the trajectories of all beads, two or more")
    if reading.path_integral == "beads":
        return found
    from mda_aptnn.flux.path_integrals import centroid_universe

    return [centroid_universe(found)]


def run_flux(
    universes: list[Any], reading: opt.Reading, output: Path, *, temperature_needed: bool = False
) -> tuple[FluxSeries, list[Any]]:
    """Return the merged flux of all trajectories, or the mean over beads, and the analyses that
    made its parts.

    Without ``--checkpoint``, finished frames are kept beside `output` until all are done, so that
    the same command goes on after an interruption or an error in a late frame.
    """
    from mda_aptnn.flux import blocks
    from mda_aptnn.flux.dipole_flux import DipoleFlux
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.flux.guard import check_replicas
    from mda_aptnn.flux.path_integrals import average_beads
    from mda_aptnn.trajectory.selection import select

    folder = _finished_frames(reading, output)
    blocks.check_folder(folder)
    is_ours = reading.checkpoint is None or not folder.exists()
    groups = opt.pairs(reading.group, "group")
    options = reading.flux_options()
    beads = reading.path_integral == "beads"
    if beads:
        # each has as many times the temperature as there are beads, which average_beads looks at
        options["check_temperature"] = False
    how: dict[str, Any] = {"progressbar_kwargs": opt.progress()}
    if reading.workers > 1:
        how = {"backend": "multiprocessing", "n_workers": reading.workers}
    hold(folder)
    try:
        analyses = []
        for number, universe in enumerate(universes):
            part = folder / f"part-{number + 1}"
            atoms = select(universe, reading.select, "--select")
            analyses.append(DipoleFlux(atoms, reading.model, groups, checkpoint=part, **options))
        if temperature_needed and not all(analysis.knows_temperature for analysis in analyses):
            raise opt.OptionError(
                "the kinetic temperature is not known, as bonds are constrained or velocities "
                "finite differences; "
                'give that of the simulation (-T "300 K"), or --degrees-of-freedom of constrained molecules'
            )
        check_replicas([analysis.universe_frames for analysis in analyses]).raise_refused()
        for analysis in analyses:
            analysis.run(reading.start, reading.stop, reading.step, verbose=True, **how)
        parts = [analysis.series for analysis in analyses]
        return average_beads(parts) if beads else FluxSeries.merge(parts), analyses
    finally:
        if is_ours and not list(folder.glob("part-*/block-*.h5")):
            blocks.remove(folder)


def _finished_frames(reading: opt.Reading, output: Path) -> Path:
    """Where finished frames are kept: the folder of ``--checkpoint``, or one beside `output`."""
    return reading.checkpoint or output.with_name(f"{output.stem}.unfinished")


def forget(reading: opt.Reading, output: Path) -> None:
    """Remove the finished frames that `run_flux` kept beside `output`, now that the flux is
    written.
    """
    from mda_aptnn.flux import blocks

    if reading.checkpoint is None:
        blocks.remove(_finished_frames(reading, output))


def summary(series: FluxSeries) -> dict[str, Any]:
    """What a flux says by itself, as plain numbers."""
    ratio, error = series.equipartition_ratio()
    temperature, volume = float(series.temperatures.mean()), float(series.volumes.mean())
    finite = {
        "temperature": temperature,
        "volume": volume,
        "equipartition_ratio": ratio,
        "equipartition_error": error,
    }
    return {
        "n_frames": len(series),
        "n_series": len(series.starts),
        "spacing_ps": series.spacing,
        "groups": series.groups,
        **{name: value if value == value else None for name, value in finite.items()},
        "sum_rule_residual_max": float(abs(series.residuals).max()),
        "notes": series.info.get("notes", []),
    }


def _listed(groups: list[str]) -> str:
    """Names of groups, the first and last of many."""
    if len(groups) > _MANY:
        return f"{len(groups)} groups: {groups[0]}, {groups[1]}, ... {groups[-1]}"
    return f"groups: {', '.join(groups)}"


def text_summary(series: FluxSeries, notes: Sequence[str] = ()) -> str:
    """The same for people, with the notes of what was made of the flux."""
    values = summary(series)
    lines = [
        f"{values['n_frames']} frames, {series.spacing * 1000:g} fs apart, in {values['n_series']} "
        f"series; "
        f"{_listed(series.groups)}"
    ]
    if values["temperature"] is not None:
        lines.append(f"kinetic temperature: {values['temperature']:.1f} K")
    if values["equipartition_ratio"] is not None:
        ratio, error = values["equipartition_ratio"], values["equipartition_error"] or 0.0
        lines.append(f"<M'^2> over equipartition: {ratio:.3f} +- {error:.3f}")
    lines.append(
        f"largest component of the sum rule's residual: {values['sum_rule_residual_max']:.3f} e"
    )
    more = [note for note in notes if note not in values["notes"]]
    return "\n".join(lines + [f"note: {note}" for note in [*values["notes"], *more]])
