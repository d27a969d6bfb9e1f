"""``mda-aptnn predict``: polar tensors of the frames of a trajectory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.outputs import emit_with_files


def predict(
    topology: opt.Topology,
    trajectory: opt.Trajectory = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HDF5 labels file, or extended XYZ (.xyz).")
    ] = Path("apt.h5"),
    model: opt.Model = "water-rpbe-d3",
    start: opt.Start = None,
    stop: opt.Stop = None,
    step: opt.Step = None,
    element: opt.Element = None,
    cell: opt.Cell = None,
    pbc: opt.Pbc = None,
    charge: opt.Charge = 0.0,
    file_format: opt.Format = None,
    topology_format: opt.TopologyFormat = None,
    as_json: opt.Json = False,
) -> None:
    """Predict the polar tensor of every atom in the chosen frames; velocities are not needed.

    Models that have them give polarizability gradients too.
    """
    from tqdm.auto import tqdm

    from mda_aptnn import io
    from mda_aptnn.checks import Checks
    from mda_aptnn.flux.guard import refuse_or_warn
    from mda_aptnn.labels.dataset import LabelledFrame, write_labels
    from mda_aptnn.model.domain import OPTION, domain_checks
    from mda_aptnn.model.predict import load_model
    from mda_aptnn.tensors import sum_rule_residual
    from mda_aptnn.trajectory.universe_frames import UniverseFrames

    io.check_writable(output)
    predictor = load_model(model)
    settings: dict[str, Any] = {
        "elements": opt.pairs(element, "element"),
        "cell": cell,
        "pbc": pbc,
        "charge": charge,
    }
    universes = opt.open_universes(topology, trajectory, file_format, topology_format, cell)
    sources = [UniverseFrames(universe, velocities=None, **settings) for universe in universes]
    if not any(len(universe.trajectory[start:stop:step]) for universe in universes):
        raise opt.OptionError("no frames in the chosen range")
    # tensors of atoms that the model was not made for are no spectrum yet: marked, not refused
    samples = []
    for universe, source in zip(universes, sources, strict=True):
        for _ in universe.trajectory[start:stop:step][:1]:
            samples.append(source.frame())
            if hasattr(predictor, "check"):
                predictor.check(samples[-1])
    checks = Checks(tuple(domain_checks(predictor, samples))).allowing([OPTION])
    refuse_or_warn(checks)
    largest = 0.0

    def predicted() -> Iterator[LabelledFrame]:
        nonlocal largest
        for universe, source in zip(universes, sources, strict=True):
            for now in tqdm(universe.trajectory[start:stop:step], unit="frame"):
                frame = source.frame()
                tensors = predictor.predict_tensors(frame)
                residual = float(abs(sum_rule_residual(tensors["apt"], charge)).max())
                largest = max(largest, residual)
                info = {
                    "frame": int(now.frame),
                    "time_ps": float(now.time),
                    "sum_rule_residual": residual,
                }
                if "pgt" in tensors:
                    info["pgt_sum_rule_residual"] = float(abs(tensors["pgt"].sum(axis=0)).max())
                yield LabelledFrame(frame, tensors, info)

    n_frames = write_labels(predicted(), output, f"predicted by {model}")
    report = {"n_frames": n_frames, "sum_rule_residual_max": largest}
    line = f"{n_frames} frames, largest component of Σ P − Q: {largest:.3f} e"
    emit_with_files({"labels": output}, report, [line], as_json, checks)
