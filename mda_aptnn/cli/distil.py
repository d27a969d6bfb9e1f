"""``mda-aptnn distil``: a slow or foreign teacher and a trajectory to a fast model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import check_outputs, emit_with_files


def distil(
    teacher: Annotated[
        str,
        typer.Argument(help="Model that labels the frames: a name or a file.", show_default=False),
    ],
    topology: opt.Topology,
    trajectory: opt.Trajectory = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")] = Path(
        "model.h5"
    ),
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            help="True labels, kept in the training beside the teacher's; repeatable.",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        int, typer.Option(help="Frames that the teacher labels, evenly over the trajectories.")
    ] = 200,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML plan of the student, as for train.", show_default=False),
    ] = None,
    held_out_frames: Annotated[
        float,
        typer.Option(help="True labels kept aside for the model card alone: number or fraction."),
    ] = 0.0,
    steps: Annotated[
        int | None, typer.Option(help="Optimisation steps.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split, the first weights and the order.")] = 0,
    element: opt.Element = None,
    cell: opt.Cell = None,
    pbc: opt.Pbc = None,
    file_format: opt.Format = None,
    topology_format: opt.TopologyFormat = None,
    as_json: opt.Json = False,
) -> None:
    """Train a fast network on frames of your own trajectory that a teacher labels.

    A run that was killed goes on where it stood: repeat the command.
    """
    from mda_aptnn.cli import labels as label_files
    from mda_aptnn.training.distil import distil as make_student

    check_outputs({"model": output})
    model = make_student(
        teacher,
        opt.open_universes(topology, trajectory, file_format, topology_format, cell),
        output,
        labels=label_files.read(labels, None) if labels else None,
        n_frames=frames,
        plan=config,
        elements=opt.pairs(element, "element"),
        cell=cell,
        pbc=pbc,
        held_out=held_out_frames,
        seed=seed,
        steps=steps,
        verbose=True,
    )
    accuracy = model.info["accuracy"]
    report = {"teacher": model.info["teacher"], **model.info["run"], "accuracy": accuracy}
    lines = [
        f"{model.info['teacher']['n_frames']} frames labelled by {model.info['teacher']['name']}"
    ]
    against = {"validation": "the teacher", "held_out": "true labels"}
    lines += [
        f"{name.replace('_', ' ')}: RMSE {errors['rmse']:.4f} e from {against[name]}, relative "
        f"error of the flux "
        f"{errors['spectrum_error']:.4f}"
        for name, errors in accuracy.items()
    ]
    emit_with_files({"model": output}, report, lines, as_json)
