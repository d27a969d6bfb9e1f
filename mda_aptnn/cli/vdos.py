"""``mda-aptnn vdos``: the vibrational density of states of a trajectory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mda_aptnn.checks import Checks
from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import check_outputs, emit_with_files, save
from mda_aptnn.cli.spectrum import number_of_segments


def vdos(
    topology: opt.Topology,
    trajectory: opt.Trajectory = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HDF5 file of the density.")
    ] = Path("vdos.h5"),
    csv: opt.Csv = None,
    plot: opt.Plot = None,
    group: opt.Group = None,
    per: opt.Per = "group",
    motions: opt.MotionsOption = None,
    coordinate: opt.Coordinate = None,
    normal_modes: opt.NormalModesFile = None,
    select: Annotated[str, typer.Option(help="Atoms that count.")] = "all",
    temperature: Annotated[
        str | None,
        typer.Option(
            "--temperature",
            "-T",
            help="Counts the degrees of freedom that move; else 3N.",
            show_default=False,
        ),
    ] = None,
    resolution: opt.Resolution = "10 cm^-1",
    window: opt.Window = "gaussian",
    segments: opt.Segments = "auto",
    mass_weighted: Annotated[
        bool,
        typer.Option("--mass-weighted/--not-mass-weighted", help="Count atoms by m v², or by v²."),
    ] = True,
    start: opt.Start = None,
    stop: opt.Stop = None,
    step: opt.Step = None,
    velocity_unit: opt.VelocityUnit = "auto",
    velocities: opt.Velocities = "trajectory",
    time_step: opt.TimeStep = None,
    element: opt.Element = None,
    cell: opt.Cell = None,
    pbc: opt.Pbc = None,
    check_temperature: opt.CheckTemperature = True,
    allow_aliasing: opt.AllowAliasing = False,
    override_cell: opt.OverrideCell = False,
    file_format: opt.Format = None,
    topology_format: opt.TopologyFormat = None,
    as_json: opt.Json = False,
) -> None:
    """Vibrational density of states by groups of atoms and motions of molecules; no model is
    needed.
    """
    from mda_aptnn.spectra.velocity_spectrum import VelocitySpectrum
    from mda_aptnn.trajectory.selection import select as selected

    files = {"vdos": output, "csv": csv, "plot": plot}
    check_outputs(files)
    parts = number_of_segments(segments)
    universes = opt.open_universes(topology, trajectory, file_format, topology_format, cell)
    universe = universes[0]
    if len(universes) > 1:
        paths = list(trajectory or [])
        kind = file_format or opt.known_format(paths[0])
        universe.load_new([str(path) for path in paths], **({"format": kind} if kind else {}))
    found = VelocitySpectrum(
        selected(universe, select, "--select"),
        opt.pairs(group, "group"),
        per=per,
        motions=opt.chosen_motions(motions, coordinate, normal_modes),
        velocities=velocities,
        velocity_unit=velocity_unit,
        time_step=time_step,
        elements=opt.pairs(element, "element"),
        cell=cell,
        pbc=pbc,
        check_temperature=check_temperature,
        allow_aliasing=allow_aliasing,
        override_cell=override_cell,
        verbose=True,
    ).run(start, stop, step)
    density = found.density(
        temperature, resolution, window, mass_weighted=mass_weighted, segments=parts
    )
    save(density, output, csv, plot)
    counts = {name: density.integral(name=name) for name in density.names}
    report = {
        "n_frames": found.n_frames,
        "degrees_of_freedom": density.degrees_of_freedom,
        "terms": {name: count.value for name, count in counts.items()},
        "segments": None if density.segments is None else len(density.segments.lengths),
        "notes": density.info["notes"],
    }
    lines = [f"{found.n_frames} frames, {density.degrees_of_freedom:.1f} degrees of freedom"]
    lines += [f"{name}: {count.value:.1f}" for name, count in counts.items()]
    lines += [f"note: {note}" for note in density.info["notes"]]
    emit_with_files(files, report, lines, as_json, Checks.from_json(density.info["checks"]))
