"""``mda-aptnn predict``: polar tensors of the frames of a trajectory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mda_aptnn.cli import options as opt


def predict(
    topology: opt.Topology,
    trajectory: opt.Trajectory = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="HDF5 labels file, or extended XYZ (.xyz).")] = Path(
        "apt.h5"
    ),
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

    from mda_aptnn import hdf5
    from mda_aptnn.dataset import Dataset, LabelledFrame, write_xyz
    from mda_aptnn.models.predict import load_model
    from mda_aptnn.tensors import sum_rule_residual
    from mda_aptnn.trajectory import UniverseFrames

    hdf5.check_writable(output)
    predictor = load_model(model)
    items = []
    for universe in opt.open_universes(topology, trajectory, file_format, topology_format, cell):
        source = UniverseFrames(
            universe, velocities=None, elements=opt.pairs(element, "element"), cell=cell, pbc=pbc, charge=charge
        )
        for step_now in tqdm(universe.trajectory[start:stop:step], unit="frame"):
            frame = source.frame()
            tensors = predictor.predict_tensors(frame)
            residual = float(abs(sum_rule_residual(tensors["apt"], charge)).max())
            info = {"frame": int(step_now.frame), "time_ps": float(step_now.time), "sum_rule_residual": residual}
            if "pgt" in tensors:
                info["pgt_sum_rule_residual"] = float(abs(tensors["pgt"].sum(axis=0)).max())
            items.append(LabelledFrame(frame, tensors, info))
    if not items:
        raise opt.OptionError("no frames in the chosen range")
    dataset = Dataset(items, f"predicted by {model}")
    if output.suffix == ".xyz":
        write_xyz(dataset, output)
    else:
        dataset.save(output)
    largest = max(item.info["sum_rule_residual"] for item in items)
    report = {"files": {"labels": str(output)}, "n_frames": len(items), "sum_rule_residual_max": largest}
    text = f"{len(items)} frames, largest component of Σ P − Q: {largest:.3f} e\nlabels: {output}"
    opt.emit(report, as_json, text)
