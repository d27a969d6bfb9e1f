"""``mda-aptnn flux``: predict along a trajectory and store Ṁ(t)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mda_aptnn.cli import options as opt

if TYPE_CHECKING:
    from mda_aptnn.analysis.flux_series import FluxSeries


def flux(
    topology: opt.Topology,
    trajectory: opt.Trajectory = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="HDF5 file of the flux.")] = Path("flux.h5"),
    model: opt.Model = "water-rpbe-d3",
    group: opt.Group = None,
    per: Annotated[str, typer.Option(help='"group", or "atom" to keep every atom\'s flux on disk.')] = "group",
    select: opt.Select = "all",
    start: opt.Start = None,
    stop: opt.Stop = None,
    step: opt.Step = None,
    velocity_unit: opt.VelocityUnit = "auto",
    velocities: opt.Velocities = "trajectory",
    time_step: opt.TimeStep = None,
    element: opt.Element = None,
    cell: opt.Cell = None,
    pbc: opt.Pbc = None,
    charge: opt.Charge = 0.0,
    sum_rule: opt.SumRule = "none",
    degrees_of_freedom: opt.Degrees = None,
    file_format: opt.Format = None,
    topology_format: opt.TopologyFormat = None,
    checkpoint: opt.Checkpoint = None,
    workers: opt.Workers = 1,
    as_json: opt.Json = False,
) -> None:
    """Predict polar tensors along a trajectory and store the dipole flux of groups of atoms."""
    from mda_aptnn import hdf5

    hdf5.check_writable(output)
    universes = opt.open_universes(topology, trajectory, file_format, topology_format)
    if per == "atom" and len(universes) > 1:
        raise opt.OptionError('per="atom" takes one trajectory at a time; run the command for each')
    series, analyses = run_flux(
        universes,
        model,
        select=select,
        groups=opt.pairs(group, "group"),
        frames=(start, stop, step),
        workers=workers,
        checkpoint=checkpoint,
        per=per,
        velocity_unit=velocity_unit,
        velocities=velocities,
        time_step=time_step,
        elements=opt.pairs(element, "element"),
        cell=cell,
        pbc=pbc,
        charge=charge,
        sum_rule=sum_rule,
        degrees_of_freedom=degrees_of_freedom,
    )
    if per == "atom":
        analyses[0].save(output)
    else:
        series.save(output)
    report = {"files": {"flux": str(output)}, **summary(series)}
    opt.emit(report, as_json, f"{text_summary(series)}\nflux: {output}")


def run_flux(
    universes: list[Any],
    model: str,
    *,
    select: str,
    groups: dict[str, str] | None,
    frames: tuple[int | None, int | None, int | None],
    workers: int,
    checkpoint: Path | None,
    **reading: Any,
) -> tuple[FluxSeries, list[Any]]:
    """Return the merged flux of all trajectories and the analyses that made its parts."""
    from mda_aptnn.analysis.flux import DipoleFlux
    from mda_aptnn.analysis.flux_series import FluxSeries

    analyses = []
    for number, universe in enumerate(universes):
        folder = checkpoint
        if checkpoint is not None and len(universes) > 1:
            checkpoint.mkdir(parents=True, exist_ok=True)
            folder = checkpoint / f"part-{number + 1}"
        atoms = universe.select_atoms(select)
        analysis = DipoleFlux(atoms, model, groups, checkpoint=folder, **reading)
        start, stop, step = frames
        parallel: dict[str, Any] = {"backend": "multiprocessing", "n_workers": workers} if workers > 1 else {}
        analysis.run(start, stop, step, verbose=True, **parallel)
        analyses.append(analysis)
    return FluxSeries.merge([analysis.series for analysis in analyses]), analyses


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


def text_summary(series: FluxSeries) -> str:
    """The same for people."""
    values = summary(series)
    lines = [
        f"{values['n_frames']} frames, {series.spacing * 1000:g} fs apart, in {values['n_series']} series; "
        f"groups: {', '.join(series.groups)}"
    ]
    if values["temperature"] is not None:
        lines.append(f"kinetic temperature: {values['temperature']:.1f} K")
    if values["equipartition_ratio"] is not None:
        lines.append(
            f"<M'^2> over equipartition: {values['equipartition_ratio']:.3f} +- {values['equipartition_error'] or 0:.3f}"
        )
    lines.append(f"largest component of the sum rule's residual: {values['sum_rule_residual_max']:.3f} e")
    return "\n".join(lines + [f"note: {note}" for note in values["notes"]])
