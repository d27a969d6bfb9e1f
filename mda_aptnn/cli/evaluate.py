"""``mda-aptnn evaluate``: a model against labels that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mda_aptnn.cli import labels as label_files
from mda_aptnn.cli import options as opt


def evaluate(
    model: Annotated[
        str, typer.Argument(help="Name of a bundled model, or a model file.", show_default=False)
    ],
    labels: label_files.Labels,
    cell: label_files.Cell = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Also draw predictions against labels (png, pdf, svg).", show_default=False
        ),
    ] = None,
    plot_spread: Annotated[
        Path | None,
        typer.Option(
            "--plot-spread",
            help="Also draw the error against a committee's spread.",
            show_default=False,
        ),
    ] = None,
    allow_training_frames: Annotated[
        bool,
        typer.Option(
            "--allow-training-frames", help="Do not refuse frames that the model was trained on."
        ),
    ] = False,
    record: Annotated[
        str | None,
        typer.Option(
            help="Also write the errors into the model's card, under this name.", show_default=False
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Also calibrate a committee's spread by these labels, in its model file.",
        ),
    ] = False,
    record_domain: Annotated[
        bool,
        typer.Option(
            "--record-domain",
            help="Also write into the model's card what its training frames cover, all of which must be among the "
            "labels: for model files of before 0.2. With --allow-training-frames.",
        ),
    ] = False,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out", help="Take only the frames that the model's card says were held out."
        ),
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Compare a model with labels: per component, element and irrep, and the errors that a spectrum
    sees.

    Of a model with two heads, each is compared with its labels; pictures of the second have its
    name added to theirs.
    """
    from mda_aptnn import io
    from mda_aptnn.training import plotting
    from mda_aptnn.training.card import assess

    pictures = {"plot": plot, "spread plot": plot_spread}
    for path in filter(None, pictures.values()):
        io.check_writable(path)
    found = assess(
        model,
        label_files.read(labels, cell),
        held_out=held_out,
        allow_training_frames=allow_training_frames,
        record=record,
        calibrate=calibrate,
        domain=record_domain,
    )
    draw = {"plot": plotting.plot_parity, "spread plot": plotting.plot_spread}
    reports, texts = [], []
    for number, (name, evaluation) in enumerate(found.items()):
        files = {
            kind: str(_named(path, name if number else ""))
            for kind, path in pictures.items()
            if path
        }
        for kind, written in files.items():
            draw[kind](evaluation, written)
        reports.append(evaluation.summary() | {"files": files})
        lines = [f"{kind}: {written}" for kind, written in files.items()]
        texts.append("\n".join([evaluation.describe(), *lines]))
    # the first head's figures stand where those of a single one do
    report = reports[0] | {other["target"]: other for other in reports[1:]}
    opt.emit(report, as_json, "\n\n".join(texts))


def _named(path: Path, addition: str) -> Path:
    """Where the picture of a head goes."""
    return path.with_stem(f"{path.stem}-{addition}") if addition else path
