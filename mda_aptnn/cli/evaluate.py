"""``mda-aptnn evaluate``: a model against labels that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mda_aptnn.cli import labels as label_files
from mda_aptnn.cli import options as opt


def evaluate(
    model: Annotated[str, typer.Argument(help="Name of a bundled model, or a model file.", show_default=False)],
    labels: label_files.Labels,
    cell: label_files.Cell = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw predictions against labels (png, pdf, svg).", show_default=False)
    ] = None,
    allow_training_frames: Annotated[
        bool, typer.Option("--allow-training-frames", help="Do not refuse frames that the model was trained on.")
    ] = False,
    record: Annotated[
        str | None,
        typer.Option(help="Also write the errors into the model's card, under this name.", show_default=False),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Compare a model with labels: per component, element and irrep, and the error that a spectrum sees."""
    from mda_aptnn import hdf5
    from mda_aptnn.models.predict import load_model
    from mda_aptnn.training.card import accuracy
    from mda_aptnn.training.evaluate import evaluate as compare

    predictor = load_model(model)
    for path in filter(None, (plot, predictor.path if record else None)):
        hdf5.check_writable(path)
    dataset = label_files.read(labels, cell)
    evaluation = compare(predictor, dataset, allow_training_frames=allow_training_frames)
    report = evaluation.summary()
    if plot:
        from mda_aptnn.training.plotting import plot_parity

        plot_parity(evaluation, plot)
        report["files"] = {"plot": str(plot)}
    if record:
        predictor.contents.card["accuracy"][record] = accuracy(evaluation) | {"sources": dataset.sources}
        predictor.contents.save(predictor.path)
    opt.emit(report, as_json, _table(report))


def _table(report: dict[str, Any]) -> str:
    unit = report["unit"]
    lines = [f"{report['n_frames']} frames, {report['n_atoms']} labelled atoms; errors per component in {unit}", ""]
    lines.append(f"{'':14}{'RMSE':>9}{'MAE':>9}{'R²':>9}")
    rows: list[tuple[str, Any, Any, Any]] = [("all", report["rmse"], report["mae"], report["r2"])]
    for symbol in report["rmse_per_species"]:
        rows.append((symbol, *(report[f"{name}_per_species"][symbol] for name in ("rmse", "mae", "r2"))))
    rows += [(f"irrep {name}", value, None, None) for name, value in report["rmse_per_irrep"].items()]
    for name, *values in rows:
        lines.append(f"{name:14}" + "".join(f"{value:9.4f}" for value in values if value is not None))
    lines.append("")
    offsets = {
        symbol: values[0][0] for symbol, values in report["offset_per_species"].items() if report["target"] == "apt"
    }
    if offsets:
        said = ", ".join(f"{symbol} {value:+.4f}" for symbol, value in offsets.items())
        lines.append(f"isotropic offset: {said}; RMSE without it: {report['rmse_without_offset']:.4f}")
    lines += [f"without a network: {value:.4f} ({name})" for name, value in report["baseline_rmse"].items()]
    lines.append(f"relative error of the flux for thermal velocities: {report['spectrum_error']:.4f}")
    lines += [f"{name}: {path}" for name, path in report.get("files", {}).items()]
    return "\n".join(lines)
