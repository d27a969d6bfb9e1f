"""``mda-aptnn info``: the card of a model, or what a file of this package holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mda_aptnn.cli import options as opt


def info(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a bundled model, or any file of mda-aptnn.", show_default=False
        ),
    ],
    as_json: opt.Json = False,
) -> None:
    """Show the card of a model (level of theory, data, accuracy, domain), or what a file holds."""
    from mda_aptnn import io

    of_file = io.kind_of(name) not in (None, "model")
    report = _describe_file(Path(name)) if of_file else _describe_model(name)
    opt.emit(report, as_json, "\n".join(_lines(report)))


def _describe_model(name: str) -> dict[str, Any]:
    from mda_aptnn.model.predict import load_model

    model = load_model(name)
    return {"model": name, **model.info}


def _describe_file(path: Path) -> dict[str, Any]:
    import h5py

    with h5py.File(path, "r") as file:
        report: dict[str, Any] = {}
        for key, value in file.attrs.items():
            text = value.item() if hasattr(value, "item") else value
            try:
                report[key] = (
                    json.loads(text) if isinstance(text, str) and text[:1] in "[{" else text
                )
            except json.JSONDecodeError:
                report[key] = text

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                report.setdefault("data sets", {})[name] = (
                    f"{list(item.shape)} {item.attrs.get('units', '')}".strip()
                )

        file.visititems(visit)
    return report


def _lines(values: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list) and len(value) > 12:
            lines.append(f"{indent}{key}: {len(value)} values")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            lines.append(f"{indent}{key}: {text}")
    return lines
