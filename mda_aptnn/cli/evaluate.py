"""``mda-aptnn evaluate``: a model against labels that it has not seen."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mda_aptnn.cli import labels as label_files
from mda_aptnn.cli import options as opt
from mda_aptnn.tensors import APT, card_key

if TYPE_CHECKING:
    from mda_aptnn.training.evaluate import Evaluation


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
    from mda_aptnn.model.predict import BUNDLED, load_model
    from mda_aptnn.training.band_errors import band_calibration, band_errors
    from mda_aptnn.training.calibration import calibrated
    from mda_aptnn.training.card import accuracy
    from mda_aptnn.training.card import record_domain as card_of_domain
    from mda_aptnn.training.evaluate import evaluate as compare
    from mda_aptnn.training.samples import held_out_frames, labelled_target, with_all_parts

    predictor = load_model(model)
    writes = bool(record or calibrate or record_domain)
    if writes and predictor.path.is_relative_to(BUNDLED):
        raise opt.OptionError(
            f"--record, --record-domain and --calibrate write into the model, and {model!r} "
            f"belongs to "
            f"the package: copy {predictor.path} and give the copy"
        )
    for path in filter(None, (plot, plot_spread)):
        io.check_writable(path)
    if writes:
        # it is read whole, and written back with a longer card
        io.protect([predictor.path], "model")
        io.check_writable(predictor.path, "model")
    dataset = with_all_parts(label_files.read(labels, cell), predictor.target)
    if held_out:
        dataset = held_out_frames(predictor.info, dataset)
    parts = [part for part in predictor.target.parts if part in labelled_target(dataset).parts]
    card = predictor.contents.card if writes else {}
    reports: dict[str, dict[str, Any]] = {}
    for part in parts or predictor.target.parts[:1]:
        evaluation = compare(predictor, dataset, part, allow_training_frames=allow_training_frames)
        key = functools.partial(card_key, target=predictor.target, part=part)
        if calibrate:
            sources = "held-out frames" if held_out else ", ".join(dataset.sources)
            card[key("spread")] = calibrated(evaluation, predictor.factors_of(part), sources)
            evaluation = compare(
                predictor, dataset, part, allow_training_frames=allow_training_frames
            )
        pictures = {"plot": plot, "spread plot": plot_spread}
        files = {name: _named(path, key("")) for name, path in pictures.items() if path}
        reports[part.name] = _report(evaluation, predictor.factors_of(part), files)
        if part == APT:
            bands = band_errors(predictor, dataset)
            if calibrate and bands:
                card[key("spread")]["bands"] = band_calibration(bands, sources)
            reports[part.name]["bands"] = _bands(
                bands, getattr(predictor, "band_spread", {}).get("factor")
            )
        if record:
            card["accuracy"][key(record)] = accuracy(evaluation) | {
                "sources": dataset.sources,
                "bands": reports[part.name].get("bands", {}),
            }
    if record_domain:
        card_of_domain(predictor, dataset)
    if writes:
        predictor.contents.save(predictor.path)
    # the first head's figures stand where those of a single one do
    first, *others = reports.values()
    report = first | {other["target"]: other for other in others}
    opt.emit(report, as_json, "\n\n".join(_table(own) for own in reports.values()))


def _named(path: Path, addition: str) -> Path:
    """Where the picture of a head goes."""
    return path.with_stem(f"{path.stem}-{addition.strip()}") if addition.strip() else path


def _report(
    evaluation: Evaluation, factors: dict[str, float], files: dict[str, Path]
) -> dict[str, Any]:
    """All figures of a head, after its pictures are drawn."""
    from mda_aptnn.training import plotting
    from mda_aptnn.training.calibration import spread_summary

    report = evaluation.summary()
    report["files"] = {name: str(path) for name, path in files.items()}
    if evaluation.spreads is not None:
        report["spread"] = spread_summary(evaluation)
        report["spread_factors"] = factors
    if "plot" in files:
        plotting.plot_parity(evaluation, files["plot"])
    if "spread plot" in files:
        plotting.plot_spread(evaluation, files["spread plot"])
    return report


def _bands(errors: dict[str, dict[str, Any]], factor: float | None) -> dict[str, Any]:
    """What is reported of the errors of band intensities."""
    from mda_aptnn.training.band_errors import error_over_stated, predicted_error

    report: dict[str, Any] = {name: dict(row) for name, row in errors.items()}
    if not errors or "linear" not in next(iter(errors.values())):
        return report
    applied = 1.0 if factor is None else factor
    for row in report.values():
        row["stated"] = predicted_error(row, applied)
    return report | {"factor": factor, "error_over_stated": error_over_stated(errors, applied)}


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
