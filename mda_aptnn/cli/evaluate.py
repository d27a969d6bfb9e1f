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
    plot_spread: Annotated[
        Path | None,
        typer.Option("--plot-spread", help="Also draw the error against a committee's spread.", show_default=False),
    ] = None,
    allow_training_frames: Annotated[
        bool, typer.Option("--allow-training-frames", help="Do not refuse frames that the model was trained on.")
    ] = False,
    record: Annotated[
        str | None,
        typer.Option(help="Also write the errors into the model's card, under this name.", show_default=False),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Also calibrate a committee's spread by these labels, in its model file."),
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Compare a model with labels: per component, element and irrep, and the error that a spectrum sees."""
    from mda_aptnn import hdf5
    from mda_aptnn.models.predict import load_model
    from mda_aptnn.training.calibration import calibrated, spread_summary
    from mda_aptnn.training.card import accuracy
    from mda_aptnn.training.evaluate import evaluate as compare

    predictor = load_model(model)
    for path in filter(None, (plot, plot_spread, predictor.path if record or calibrate else None)):
        hdf5.check_writable(path)
    dataset = label_files.read(labels, cell)
    evaluation = compare(predictor, dataset, allow_training_frames=allow_training_frames)
    card = predictor.contents.card if record or calibrate else {}
    if calibrate:
        card["spread"] = calibrated(evaluation, predictor.spread_factors, ", ".join(dataset.sources))
        evaluation = compare(predictor, dataset, allow_training_frames=allow_training_frames)
    report = evaluation.summary()
    report["files"] = {name: str(path) for name, path in (("plot", plot), ("spread plot", plot_spread)) if path}
    if evaluation.spreads is not None:
        report["spread"] = spread_summary(evaluation)
        report["spread_factors"] = predictor.spread_factors
    if plot:
        from mda_aptnn.training.plotting import plot_parity

        plot_parity(evaluation, plot)
    if plot_spread:
        from mda_aptnn.training.plotting import plot_spread as draw_spread

        draw_spread(evaluation, plot_spread)
    if record:
        card["accuracy"][record] = accuracy(evaluation) | {"sources": dataset.sources}
    if record or calibrate:
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
    lines += _spread_lines(report)
    lines += [f"{name}: {path}" for name, path in report["files"].items()]
    return "\n".join(lines)


def _spread_lines(report: dict[str, Any]) -> list[str]:
    if "spread" not in report:
        return []
    factors = report["spread_factors"]
    lines = ["", f"{'committee':14}{'spread':>9}{'error':>9}{'within 1':>10}{'within 2':>10}{'rank corr.':>12}"]
    for symbol, row in report["spread"].items():
        rank = "" if row["rank_correlation"] is None else f"{row['rank_correlation']:12.2f}"
        lines.append(
            f"{symbol:14}{row['rms_spread']:9.4f}{row['rms_error']:9.4f}"
            f"{row['within_one']:10.3f}{row['within_two']:10.3f}{rank}"
        )
    for symbol, row in report["spread"].items():
        bins = "  ".join(f"{item['rms_spread']:.4f}/{item['rms_error']:.4f}" for item in row["bins"])
        lines.append(f"{symbol}, spread/error of atoms by rising spread: {bins}")
    times = ", ".join(f"{symbol} {value:.2f}" for symbol, value in factors.items())
    lines.append(f"calibrated: the members' deviation times {times}" if factors else "the spread is not calibrated")
    return lines
