"""``mda-aptnn select``: the frames that a committee should learn next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mda_aptnn.cli import options as opt


def select(
    topology: opt.Topology,
    trajectory: opt.Trajectory = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Model file of a committee.", show_default=False)
    ] = "committee.h5",
    count: Annotated[int, typer.Option("--count", "-n", help="How many frames to choose.")] = 10,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Text file of the chosen frames' numbers.")
    ] = Path("selected.txt"),
    campaign: Annotated[
        Path | None,
        typer.Option(
            help="Also plan their labels into this folder, new or begun.", show_default=False
        ),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(help="Your working CP2K input, for --campaign.", show_default=False),
    ] = None,
    route: Annotated[str, typer.Option(help="As for label plan, for --campaign.")] = "field",
    start: opt.Start = None,
    stop: opt.Stop = None,
    step: opt.Step = None,
    element: opt.Element = None,
    cell: opt.Cell = None,
    pbc: opt.Pbc = None,
    file_format: opt.Format = None,
    topology_format: opt.TopologyFormat = None,
    as_json: opt.Json = False,
) -> None:
    """Choose the frames where a committee disagrees most and that differ from each other.

    The numbers count through all trajectories, as in: label plan --select indices --indices "$(cat
    selected.txt)"
    """
    from mda_aptnn import io
    from mda_aptnn.labels.campaign import plan_labels
    from mda_aptnn.labels.cp2k.template import Template
    from mda_aptnn.labels.routes import make_route
    from mda_aptnn.labels.snapshots import Source
    from mda_aptnn.model.predict import load_model
    from mda_aptnn.model.selection import select as choose

    if (campaign is None) != (template is None):
        raise opt.OptionError("--campaign and --template go together")
    io.check_writable(output)
    recipe = None if template is None else (Template.read(template), make_route(route, {}))
    universes = opt.open_universes(topology, trajectory, file_format, topology_format, cell)
    source = Source(
        universes,
        [path.name for path in trajectory or [topology]],
        elements=opt.pairs(element, "element"),
        cell=cell,
        pbc=pbc,
    )
    numbers = source.numbers(start, stop, step)
    found = choose(
        load_model(model), source.frames(numbers), count, total=len(numbers), verbose=True
    )
    with io.replacing(output) as temporary:
        temporary.write_text(" ".join(map(str, found.indices)) + "\n")
    scores = found.of_chosen()
    report = {
        "files": {"frames": str(output)},
        "frames": found.indices,
        "disagreement": scores.tolist(),
        "mean_disagreement": float(found.disagreement.mean()),
        "n_candidates": len(found.candidates),
    }
    lines = [
        f"{len(found.indices)} of {len(found.candidates)} frames: "
        f"{' '.join(map(str, found.indices))}"
    ]
    lines.append(
        f"relative error of the flux that the spread makes likely: {scores.min():.4f} to "
        f"{scores.max():.4f} there, "
        f"{found.disagreement.mean():.4f} on average"
    )
    if recipe is not None and campaign is not None:
        planned = plan_labels(campaign, source, found.indices, *recipe)
        report["files"]["campaign"] = str(campaign)
        lines.append(
            f"planned: {len(planned.task_names)} tasks; next: mda-aptnn label run {campaign}"
        )
    lines.append(f"frames: {output}")
    opt.emit(report, as_json, "\n".join(lines))
