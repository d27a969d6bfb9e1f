"""``mda-aptnn distil``: a slow or foreign teacher and a trajectory to a fast model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    import dataclasses

    from mda_aptnn.cli import labels as label_files
    from mda_aptnn.labels.snapshots import Source, choose_frames
    from mda_aptnn.training.config import read_plan
    from mda_aptnn.training.distil import STUDENT
    from mda_aptnn.training.distil import distil as make_student

    check_outputs({"model": output})
    network, training = read_plan(config) if config else (None, STUDENT)
    given: dict[str, Any] = {"held_out": held_out_frames, "seed": seed} | (
        {} if steps is None else {"steps": steps}
    )
    training = dataclasses.replace(training, **given)
    universes = opt.open_universes(topology, trajectory, file_format, topology_format, cell)
    source = Source(
        universes,
        [path.name for path in trajectory or [topology]],
        elements=opt.pairs(element, "element"),
        cell=cell,
        pbc=pbc,
    )
    total = len(source)
    chosen = choose_frames(total, min(frames, total), "uniform")
    true = label_files.read(labels, None) if labels else None
    model = make_student(
        teacher,
        [frame for _, frame in source.frames(chosen)],
        output,
        labels=true,
        network=network,
        training=training,
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
