"""``mda-aptnn evaluate``: a model against labels that it has not seen."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

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
    reports = []
    for number, (name, evaluation) in enumerate(found.items()):
        files = {
            kind: _named(path, name if number else "") for kind, path in pictures.items() if path
        }
        for kind, path in files.items():
            draw[kind](evaluation, path)
        written = {kind: str(path) for kind, path in files.items()}
        reports.append(evaluation.summary() | {"files": written})
    # the first head's figures stand where those of a single one do
    report = reports[0] | {other["target"]: other for other in reports[1:]}
    opt.emit(report, as_json, "\n\n".join(_table(own) for own in reports))


def _named(path: Path, addition: str) -> Path:
    """Where the picture of a head goes."""
    return path.with_stem(f"{path.stem}-{addition}") if addition else path


def _band_lines(bands: dict[str, Any]) -> list[str]:
    rows = {name: row for name, row in bands.items() if isinstance(row, dict)}
    if not rows:
        return []
    lines = [
        "",
        f"{'band':18}{'km/mol':>9}{'error, %':>17}{'stated, %':>11}{'flux error':>12}{'its spread':>12}",
    ]
    for name, row in rows.items():
        scatter = "" if row["standard_error"] is None else f" +- {100 * row['standard_error']:.2f}"
        line = f"{name:18}{row['intensity']:9.2f}{100 * row['error']:+8.2f}{scatter:9}"
        if "stated" in row:
            line += (
                f"{100 * row['stated']:11.2f}{row['flux_error']:12.4f}{row['flux_spread']:12.4f}"
            )
        else:
            line += f"{'':11}{row['flux_error']:12.4f}"
        lines.append(line)
    lines.append(
        "intensities of bands by motion, for thermal velocities, per molecule: model over labels, "
        "less 1"
    )
    if bands.get("error_over_stated") is not None:
        factor = bands["factor"]
        lines.append(
            f"errors are {bands['error_over_stated']:.2f} times what the committee states of bands"
            + (
                ", which is not calibrated on them"
                if factor is None
                else f" (with its factor of {factor:.2f})"
            )
        )
    return lines


def _table(report: dict[str, Any]) -> str:
    unit = report["unit"]
    what = f"{report['target']}: {report['n_frames']} frames, {report['n_atoms']} labelled atoms"
    lines = [f"{what}; errors per component in {unit}", ""]
    lines.append(f"{'':14}{'RMSE':>9}{'MAE':>9}{'R²':>9}")
    rows: list[tuple[str, Any, Any, Any]] = [("all", report["rmse"], report["mae"], report["r2"])]
    for symbol in report["rmse_per_species"]:
        rows.append(
            (symbol, *(report[f"{name}_per_species"][symbol] for name in ("rmse", "mae", "r2")))
        )
    for name in report["rmse_per_irrep"]:
        rows.append(
            (
                f"irrep {name}",
                *(report[f"{measure}_per_irrep"][name] for measure in ("rmse", "mae", "r2")),
            )
        )
    if report["target"] == "apt":
        for a, b in itertools.product(range(3), repeat=2):
            found = (report[f"{measure}_per_component"][a][b] for measure in ("rmse", "mae", "r2"))
            rows.append((f"component {'xyz'[a]}{'xyz'[b]}", *found))
    for name, *values in rows:
        lines.append(
            f"{name:14}" + "".join(f"{value:9.4f}" for value in values if value is not None)
        )
    lines.append("")
    offsets = {
        symbol: values[0][0]
        for symbol, values in report["offset_per_species"].items()
        if report["target"] == "apt"
    }
    if offsets:
        said = ", ".join(f"{symbol} {value:+.4f}" for symbol, value in offsets.items())
        lines.append(
            f"isotropic offset: {said}; RMSE without it: {report['rmse_without_offset']:.4f}"
        )
    lines += [
        f"without a network: {value:.4f} ({name})"
        for name, value in report["baseline_rmse"].items()
    ]
    rate = label_files.RATES[report["target"]]
    lines.append(
        f"relative error of the {rate} for thermal velocities: {report['spectrum_error']:.4f}"
    )
    lines += _band_lines(report.get("bands", {}))
    lines += _spread_lines(report)
    lines += [f"{name}: {path}" for name, path in report["files"].items()]
    return "\n".join(lines)


def _spread_lines(report: dict[str, Any]) -> list[str]:
    if "spread" not in report:
        return []
    factors = report["spread_factors"]
    lines = [
        "",
        f"{'committee':14}{'spread':>9}{'error':>9}{'within 1':>10}{'within 2':>10}{'rank corr.':>12}",
    ]
    for symbol, row in report["spread"].items():
        rank = "" if row["rank_correlation"] is None else f"{row['rank_correlation']:12.2f}"
        lines.append(
            f"{symbol:14}{row['rms_spread']:9.4f}{row['rms_error']:9.4f}"
            f"{row['within_one']:10.3f}{row['within_two']:10.3f}{rank}"
        )
    for symbol, row in report["spread"].items():
        bins = "  ".join(
            f"{item['rms_spread']:.4f}/{item['rms_error']:.4f}" for item in row["bins"]
        )
        lines.append(f"{symbol}, spread/error of atoms by rising spread: {bins}")
    times = ", ".join(f"{symbol} {value:.2f}" for symbol, value in factors.items())
    lines.append(
        f"calibrated: the members' deviation times {times}"
        if factors
        else "the spread is not calibrated"
    )
    return lines
