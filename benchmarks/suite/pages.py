"""Tables and pictures of docs/speed.md, between marks that say which part they are of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from mda_aptnn.figures import colours

#: Keys of the rows of the table of speed, and their headings.
ENGINES = {
    "kernels_float32": "kernels float32",
    "kernels_float64": "kernels float64",
    "committee_shared_body": "4 members on one body",
    "committee_independent": "4 independent members",
    "torch_float32": "torch float32",
    "torch_float64": "torch float64",
    "e3nn_float32": "e3nn float32",
    "e3nn_float64": "e3nn float64",
}


def write(report: dict[str, Any], folder: Path) -> None:
    """Replace the block of every part that is in the report, and draw its picture."""
    page = folder / "speed.md"
    text = page.read_text()
    for name, make in MAKERS.items():
        if name not in report:
            continue
        body, machine = make(report[name]), _machine(report[name]["machine"])
        block = f"<!-- {name} -->\n{body}\n\n{machine}\n<!-- end of {name} -->"
        text, count = re.subn(
            f"<!-- {name} -->.*?<!-- end of {name} -->",
            lambda _: block,  # noqa: B023
            text,
            flags=re.DOTALL,
        )
        if count != 1:
            raise SystemExit(
                f"{page} has {count} blocks <!-- {name} --> ... <!-- end of {name} -->, it needs "
                f"one"
            )
    page.write_text(text)
    if "speed" in report:
        _draw(report["speed"]["us_per_atom"], folder / "speed.png")


def table(head: list[str], rows: list[list[Any]]) -> str:
    """Return a table in Markdown; numbers of thousands get a comma, what is missing is empty."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _machine(machine: dict[str, Any]) -> str:
    before, after = machine["load_average"]
    where = f"{machine['date']}, one core of an {machine['processor']}"
    return f"{where}; load of the machine {before} to {after}."


def _speed(part: dict[str, Any]) -> str:
    rows = part["us_per_atom"]
    names = [name for name in ENGINES if any(name in row for row in rows.values())]
    speeds = table(
        ["atoms", *(ENGINES[name] for name in names), "peak MB"],
        [
            [int(n), *(row.get(name) for name in names), int(row["peak_memory_MB"])]
            for n, row in rows.items()
        ],
    )
    ratios = [
        f"{int(n):,} atoms: {row['ratio_float64']:.0f} times e3nn in float64, "
        f"{row['ratio_float32']:.0f} in float32"
        for n, row in rows.items()
        if "ratio_float64" in row
    ]
    kernels = [row["kernels_float32"] for n, row in rows.items() if int(n) <= 24576]
    ratio = max(kernels) / min(kernels)
    flat = f"From 192 to 24,576 atoms the slowest is {ratio:.2f} times the fastest."
    single, off = part["molecule"], part["deviation"]
    alone = table(
        ["one molecule, µs per frame", "frame by frame", "in batches"],
        [
            ["kernels", single["cpu_each"], single["cpu_together"]],
            ["torch", single["torch_each"], single["torch_together"]],
        ],
    )
    deviation = (
        f"Largest deviation from the float64 network over {off['frames']:,} frames of 192 atoms: "
        f"{off['kernels_float32']:.1e} e in float32, {off['kernels_float64']:.1e} e in float64."
    )
    picture = "![µs of CPU time per atom over the number of atoms](speed.png)"
    return "\n\n".join(
        [speeds, picture, f"Kernels in float32: {'; '.join(ratios)}. {flat}", deviation, alone]
    )


def _stages(part: dict[str, Any]) -> str:
    stages = part["us_per_atom"]
    total = sum(stages.values())
    rows = [
        [name, f"{value:.2f}", f"{100 * value / total:.0f} %"] for name, value in stages.items()
    ]
    return table(["stage", "µs per atom", "share"], [*rows, ["together", f"{total:.1f}", ""]])


def _scaling(part: dict[str, Any]) -> str:
    frames = table(
        ["frames of 192 atoms", "ms of CPU time per frame"],
        [[int(count), f"{value:.2f}"] for count, value in part["frames"].items()],
    )
    threads = table(
        ["threads", "wall s", "CPU s"],
        [[number, row["wall_s"], row["cpu_s"]] for number, row in part["threads"].items()],
    )
    workers = table(
        ["workers", "wall s", "CPU s"],
        [
            [number, part["workers"][number]["wall_s"], part["workers"][number]["cpu_s"]]
            for number in ("1", "2")
        ],
    )
    return (
        f"{frames}\n\nFour frames of 24,576 atoms:\n\n{threads}\n\n"
        f"A flux of {part['workers']['frames']:,} frames of 192 atoms from disk, all "
        f"included:\n\n{workers}\n\n"
        f"Two workers cost {part['workers']['cpu_ratio']:.2f} times the CPU time of one."
    )


def _training(part: dict[str, Any]) -> str:
    return table(
        ["network", "float32", "float64"],
        [
            [name, *(f"{part[f'{name}_{d}']:.2f} s" for d in ("float32", "float64"))]
            for name in ("default", "simple-network")
        ],
    )


def _spectra(part: dict[str, Any]) -> str:
    command, correlation = part["command"], part["correlation"]
    shares = ", ".join(
        f"{100 * command[f'share_{name}']:.0f} % {name}"
        for name in ("read", "neighbours", "network", "rest")
    )
    return (
        f"`mda-aptnn spectrum` on {command['frames']:,} frames of 192 atoms from disk (TRR, "
        f"{command['file_MB']} "
        f"MB): {command['wall_s']:.0f} s of waiting, {command['cpu_s']:.0f} s of CPU time, "
        f"{command['peak_memory_MB']:,} MB. "
        f"Of the pass over the trajectory: {shares}.\n\n"
        f"All auto- and cross-correlations of 320,000 frames of 10 groups up to 5,000 lags: "
        f"{correlation['wall_s']:.1f} s, "
        f"{correlation['peak_memory_MB'] - correlation['memory_before_MB']:,.0f} MB."
    )


MAKERS = {
    "speed": _speed,
    "stages": _stages,
    "scaling": _scaling,
    "training": _training,
    "spectra": _spectra,
}


def _draw(rows: dict[str, dict[str, float]], path: Path) -> None:
    """Time per atom over the number of atoms."""
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    # colours and markers: eight lines can be told apart in grey
    looks = zip(ENGINES.items(), colours(len(ENGINES)), "os^vD<>p", strict=False)
    for (name, label), colour, marker in looks:
        points = [(int(n), row[name]) for n, row in rows.items() if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="atoms", ylabel="µs of CPU time per atom and frame")
    axes.set_ylim(bottom=5)
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
