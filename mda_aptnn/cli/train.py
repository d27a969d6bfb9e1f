"""``mda-aptnn train``: labelled frames to a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mda_aptnn.cli import labels as label_files
from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import emit_with_files


def train(
    labels: label_files.Labels,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")] = Path(
        "model.h5"
    ),
    cell: label_files.Cell = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML plan with the tables [training] and [network].", show_default=False
        ),
    ] = None,
    validation_frames: Annotated[
        float | None,
        typer.Option(
            help="Frames to choose the best weights by: a number, or a fraction below 1.",
            show_default=False,
        ),
    ] = None,
    held_out_frames: Annotated[
        float | None,
        typer.Option(
            help="Frames kept aside for the model card alone: number or fraction.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of the split, the first weights and the order.", show_default=False),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimisation steps.", show_default=False)
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help='What to train: "apt" (polar tensors), "pgt" (polarizability gradients), repeatable; by default all '
            "that there are labels of, with one network.",
            show_default=False,
        ),
    ] = None,
    members: Annotated[
        int,
        typer.Option(
            help="Members of a committee, whose spread tells the error; 1: a single model."
        ),
    ] = 1,
    shared_body: Annotated[
        bool,
        typer.Option(
            "--shared-body",
            help="The members are last layers on one body: cheap, and a coarser spread.",
        ),
    ] = False,
    keep_ripples: Annotated[
        bool,
        typer.Option(
            "--keep-ripples",
            help="Train on the labels with the ripples of the real-space grid that made them; by default significant "
            "ones are taken out, and the summary says which.",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Also draw the learning curve (png, pdf, svg).", show_default=False),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Train a network on labelled frames.

    Options given here go before the plan. A run that was killed goes on where it stood: repeat the
    command.
    """
    from mda_aptnn import io
    from mda_aptnn.training.committee import train as train_model
    from mda_aptnn.training.evaluate import RATES

    for path in filter(None, (output, plot)):
        io.check_writable(path)
    model = train_model(
        label_files.read(labels, cell),
        output,
        plan=config,
        members=members,
        shared_body=shared_body,
        target=target or None,
        validation=validation_frames,
        held_out=held_out_frames,
        seed=seed,
        steps=steps,
        keep_ripples=keep_ripples or None,
        verbose=True,
    )
    if plot:
        from mda_aptnn.training.plotting import plot_learning

        plot_learning(
            [member.learning for member in model.contents.members if member.learning],
            model.target.unit,
            plot,
        )
    accuracy = model.info["accuracy"]
    ripples = _ripples(model.info)
    report = {
        "n_frames": model.info["data"]["n_frames"], **model.info["run"], "grid_ripples_removed": ripples,
        "accuracy": accuracy,
    }  # fmt: skip
    lines = _committee_lines(model.info) if members > 1 else []
    lines += [
        f"taken out of the labels that were trained on (keep it: --keep-ripples): {text}"
        for text in ripples
    ]
    lines += [
        f"{name.replace('_', ' ')}: RMSE {errors['rmse']:.4f} {errors['unit']} "
        f"({', '.join(f'{symbol} {value:.4f}' for symbol, value in errors['rmse_per_species'].items())}; "
        f"without a network {min(errors['baseline_rmse'].values()):.3f}), relative error of the "
        f"{RATES[errors['target']]} {errors['spectrum_error']:.4f}"
        for name, errors in accuracy.items()
    ]
    emit_with_files({"model": output, "plot": plot}, report, lines, as_json)


def _ripples(info: dict[str, Any]) -> list[str]:
    """What the real-space grid added to labels of the training frames; of a committee, of each
    member's.
    """
    trained = info.get("committee", {}).get("trained")
    cards = (
        {"": info}
        if trained is None
        else {f"member {number}: ": card for number, card in enumerate(trained)}
    )
    return [
        f"{name}a ripple of {ripple['amplitude']:.2g} ± {ripple['standard_error']:.1g} e in the "
        f"tensors of "
        f"{ripple['element']}, with {ripple['points']} grid points along an edge"
        for name, card in cards.items()
        for ripple in card["grid_ripples_removed"]
    ]


def _committee_lines(info: dict[str, Any]) -> list[str]:
    trained = info["committee"]["trained"]
    errors = ", ".join(f"{member['validation_rmse']:.4f}" for member in trained)
    lines = [
        f"{info['members']} members ({info['committee']['kind']}); validation, each on its own "
        f"frames: {errors}"
    ]
    factors = info.get("spread", {}).get("factors", {})
    if factors:
        lines.append(
            "spread times "
            + ", ".join(f"{symbol} {value:.2f}" for symbol, value in factors.items())
        )
    return lines
