"""Commands that make, use and judge models."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mda_aptnn
from mda_aptnn import io
from mda_aptnn.checks import Checks
from mda_aptnn.cli import options as opt
from mda_aptnn.cli.labels import LabelCell, LabelFiles, read
from mda_aptnn.cli.outputs import OptionError, Outputs
from mda_aptnn.text import table

if TYPE_CHECKING:
    from mda_aptnn.labels.dataset import LabelledFrame

#: Atoms of all frames whose tensors are in memory together where workers predict: 0.3 GB.
_ATOMS_TOGETHER = 4_000_000


def _tensors(
    source: Any, model: Any, device: str, charge: float, numbers: Any
) -> list[LabelledFrame]:
    """Frames of `source` by their numbers, with what a predictor, or a model by name, predicts."""
    from mda_aptnn.flux.backends import loaded
    from mda_aptnn.labels.dataset import LabelledFrame
    from mda_aptnn.model.protocol import tensors_by_name
    from mda_aptnn.tensors import sum_rule_residual

    predictor = loaded(model, device=device) if isinstance(model, str) else model
    found = list[LabelledFrame]()
    for number in map(int, numbers):
        now = source.universe.trajectory[number]
        frame = source.frame()
        tensors = tensors_by_name(predictor, frame)
        info = {
            "frame": int(now.frame),
            "time_ps": float(now.time),
            "sum_rule_residual": float(abs(sum_rule_residual(tensors["apt"], charge)).max()),
        }
        if "pgt" in tensors:
            info["pgt_sum_rule_residual"] = float(abs(tensors["pgt"].sum(axis=0)).max())
        # without its Universe, which a worker would send back with every frame
        alone = dataclasses.replace(frame, atoms=None)
        found.append(LabelledFrame(alone, tensors, info))
    return found


def predict(
    reading: opt.Trajectory,
    *,
    machines: opt.Machines,
    model: opt.Models = "water-rpbe-d3",
    charge: float = 0.0,
    out: Outputs = opt.writes(labels="apt.h5"),
) -> None:
    """Predict the polar tensor of every atom in the chosen frames; velocities are not needed.

    Models that have them give polarizability gradients too. The file is HDF5, or extended XYZ
    (.xyz).

    Parameters
    ----------
    charge : float
        Total charge of the sample in e.
    """
    # a scheduler that does not answer is known before anything is read
    with machines.executor() as executor:
        _predict(reading, executor, model, machines.device, charge, out)


def _predict(
    reading: opt.Trajectory, executor: Any, model: Any, device: str, charge: float, out: Outputs
) -> None:
    from tqdm.auto import tqdm

    from mda_aptnn.flux.guard import refuse_or_warn
    from mda_aptnn.flux.origin import files_of, trajectory_files
    from mda_aptnn.labels.dataset import write_labels
    from mda_aptnn.model.domain import OPTION, domain_checks
    from mda_aptnn.model.predict import model_identity
    from mda_aptnn.model.protocol import of_universe

    predictor = mda_aptnn.load_model(model, device=device)
    universes, chosen = reading.universes(), slice(*reading.chosen())
    options = {**reading.keywords(), "charge": charge}
    sources = [
        mda_aptnn.UniverseFrames(universe, velocities=None, **options) for universe in universes
    ]
    predictor = of_universe(predictor, sources[0])
    # tensors of atoms that the model was not made for are no spectrum yet: marked, not refused
    samples = []
    for universe, source in zip(universes, sources, strict=True):
        for _ in universe.trajectory[chosen][:1]:
            samples.append(source.frame())
            if hasattr(predictor, "check"):
                predictor.check(samples[-1])
    if not samples:
        raise OptionError("no frames in the chosen range")
    checks = Checks(tuple(domain_checks(predictor, samples))).allowing([OPTION])
    refuse_or_warn(checks)
    residuals: list[float] = []

    # workers load a model that has a file themselves
    which = model if getattr(predictor, "path", None) and executor is not None else predictor

    def predicted() -> Iterator[LabelledFrame]:
        for source in sources:
            numbers = np.arange(len(source.universe.trajectory))[chosen]
            n_atoms, most, apply = len(source.numbers), 1, map
            if executor is not None:
                most, apply = max(1, _ATOMS_TOGETHER // n_atoms), executor.apply
                executor.files = [*trajectory_files(source.universe.trajectory), *files_of(model)]
            work = functools.partial(_tensors, source, which, device, charge)
            with tqdm(total=len(numbers), unit="frame", disable=executor is not None) as bar:
                for first in range(0, len(numbers), most):
                    together = numbers[first : first + most]
                    shares = 1 if executor is None else executor.n_parts(len(together), n_atoms)
                    for found in apply(work, np.array_split(together, shares)):
                        residuals.extend(item.info["sum_rule_residual"] for item in found)
                        yield from found
                    bar.update(len(together))

    name = model if isinstance(model, str) else model_identity(model, predictor)
    n_frames = write_labels(predicted(), out.files["labels"], f"predicted by {name}")
    report = {"n_frames": n_frames, "sum_rule_residual_max": max(residuals)}
    line = f"{n_frames} frames, largest component of Σ P − Q: {max(residuals):.3f} e"
    out.tell(report, line, checks)


def train(
    labels: LabelFiles,
    *,
    output: opt.Output = Path("model.h5"),
    cell: LabelCell = None,
    config: opt.Plan = None,
    from_model: str | None = None,
    validation_frames: float | None = None,
    held_out_frames: float | None = None,
    seed: int | None = None,
    steps: int | None = None,
    target: list[str] | None = None,
    members: int = 1,
    shared_body: bool = False,
    keep_ripples: bool = False,
    device: str | None = None,
    topology: Path | None = None,
    trajectory: list[Path] | None = None,
    count: int | None = None,
    distil: bool = True,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
) -> None:
    """Train a network on labelled frames; --plot draws the learning curve.

    With --trajectory, a slower network that learns more from few labels teaches the model on frames
    of that trajectory. Options given here go before the plan. A run that was killed goes on where
    it stood: repeat the command.

    Parameters
    ----------
    from_model : str
        Start from the weights of this model (name or file): fewer labels do.
    validation_frames : float
        Frames to choose the best weights by: a number, or a fraction below 1.
    held_out_frames : float
        Frames kept aside for the model card alone: number or fraction.
    seed : int
        Of the split, the first weights and the order.
    steps : int
        Optimisation steps.
    target : list of str
        What to train: "apt" (polar tensors), "pgt" (polarizability gradients), repeatable; by
        default all that there are labels of, with one network.
    members : int
        Members of a committee, whose spread tells the error; 1: a single model.
    shared_body : bool
        The members are last layers on one body: cheap, and a coarser spread.
    keep_ripples : bool
        Train on the labels with the ripples of the real-space grid that made them; by default
        significant ones are taken out, and the summary says which.
    device : str
        Where to train: "cpu", "cuda" (a GPU), or "auto", a GPU where there is one; cpu by default.
    topology : path
        Of the trajectory, where that has none.
    trajectory : paths
        What the model is for, repeatable: of the labels' elements, density and temperature.
    count : int
        How many frames of it the teacher labels; 200 by default.
    distil : bool
        Let a teacher label frames of the trajectory, and learn from these too.
    """
    if (topology or count) and not trajectory:
        raise OptionError("--topology and --count go with --trajectory")
    outputs = Outputs(as_json, model=output, plot=plot)
    frames = None
    if trajectory and distil:
        first, *rest = [topology, *trajectory] if topology else trajectory
        frames = opt.Trajectory(topology=first, trajectory=rest).universes()
    model = mda_aptnn.train(
        read(labels, cell),
        output,
        plan=config,
        network=from_model,
        members=members,
        shared_body=shared_body,
        target=target or None,
        validation=validation_frames,
        held_out=held_out_frames,
        seed=seed,
        steps=steps,
        keep_ripples=keep_ripples or None,
        device=device,
        trajectory=frames,
        **({} if count is None else {"n_frames": count}),
        verbose=True,
    )
    if plot:
        from mda_aptnn.training.plotting import plot_learning

        curves = [member.learning for member in model.contents.members if member.learning]
        plot_learning(curves, model.target.unit, plot)
    info = model.info
    trained = info.get("committee", {}).get("trained", [])
    ripples = [
        f"{f'member {number}: ' if trained else ''}a ripple of {ripple['amplitude']:.2g} ± "
        f"{ripple['standard_error']:.1g} e in the tensors of {ripple['element']}, with "
        f"{ripple['points']} grid points along an edge"
        for number, card in enumerate(trained or [info])
        for ripple in card["grid_ripples_removed"]
    ]
    removed = "taken out of the labels that were trained on (keep it: --keep-ripples)"
    lines = [f"{removed}: {ripple}" for ripple in ripples]
    if teacher := info.get("teacher"):
        lines.append(_taught_by(teacher))
    if trained:
        errors = ", ".join(f"{member['validation_rmse']:.4f}" for member in trained)
        lines.append(
            f"{info['members']} members ({info['committee']['kind']}); validation, each on its own "
            f"frames: {errors}"
        )
    if factors := info.get("spread", {}).get("factors"):
        lines.append(f"spread times {', '.join(f'{s} {f:.2f}' for s, f in factors.items())}")
    report = {
        "n_frames": info["data"]["n_frames"],
        **info["run"],
        "grid_ripples_removed": ripples,
        "accuracy": info["accuracy"],
    }
    outputs.tell(report, [*lines, *_accuracy(info)])


def _accuracy(info: dict[str, Any]) -> list[str]:
    """The errors in the card of a model, in columns."""
    rows = {
        f"{name.replace('_', ' ')}, {errors['unit']}": {
            "RMSE": errors["rmse"],
            **errors["rmse_per_species"],
            "without a network": min(errors["baseline_rmse"].values()),
            "relative error of the rate": errors["spectrum_error"],
        }
        for name, errors in info["accuracy"].items()
    }
    return table(rows)


def distil(
    teacher: str,
    reading: opt.Choosing,
    *,
    labels: list[Path] | None = None,
    config: opt.Plan = None,
    held_out_frames: float = 0.0,
    steps: int | None = None,
    seed: int = 0,
    device: str | None = None,
    out: Outputs = opt.writes(model="model.h5"),
) -> None:
    """Train a fast network on 200 (--count) frames of your own trajectory that a teacher labels.

    A run that was killed goes on where it stood: repeat the command.

    Parameters
    ----------
    teacher : str
        Model that labels the frames: a file, or a name as for --model.
    labels : paths
        True labels, kept in the training beside the teacher's; repeatable.
    held_out_frames : float
        True labels kept aside for the model card alone: number or fraction.
    device : str
        Where to train: "cpu", "cuda" (a GPU), or "auto", a GPU where there is one; cpu by default.
    """
    from mda_aptnn.labels.snapshots import choose_frames

    source = reading.source()
    numbers = source.numbers(*reading.chosen())
    count = min(reading.how_many() or 200, len(numbers))
    chosen = [numbers[k] for k in choose_frames(len(numbers), count, "uniform")]
    model = mda_aptnn.distil(
        teacher,
        [frame for _, frame in source.frames(chosen)],
        out.files["model"],
        labels=read(labels, None) if labels else None,
        plan=config,
        held_out=held_out_frames,
        seed=seed,
        steps=steps,
        device=device,
        verbose=True,
    )
    about, accuracy = model.info["teacher"], model.info["accuracy"]
    report = {"teacher": about, **model.info["run"], "accuracy": accuracy}
    out.tell(report, [_taught_by(about), *_accuracy(model.info)])


def _taught_by(teacher: dict[str, Any]) -> str:
    return (
        f"{teacher['n_frames']} frames labelled by {teacher['name']}, which validation is against"
    )


def select(
    reading: opt.Trajectory,
    *,
    model: str = "committee.h5",
    count: int = 10,
    campaign: Path | None = None,
    template: Path | None = None,
    code: str = "cp2k",
    route: str = "field",
    out: Outputs = opt.writes(frames="selected.txt"),
) -> None:
    """Choose the frames where a committee disagrees most and that differ from each other.

    The numbers count through all trajectories, as in: label plan --select indices --indices "$(cat
    selected.txt)"

    Parameters
    ----------
    count : int
        How many frames to choose.
    campaign : path
        Also plan their labels into this folder, new or begun.
    template : path
        Your working CP2K input, for --campaign.
    """
    from mda_aptnn.labels.campaign import plan_labels
    from mda_aptnn.labels.protocol import find_code
    from mda_aptnn.labels.routes import make_route
    from mda_aptnn.model.selection import select as choose

    if (campaign is None) != (template is None):
        raise OptionError("--campaign and --template go together")
    recipe = None if template is None else (find_code(code).recipe(template), make_route(route, {}))
    source = reading.source()
    numbers = source.numbers(*reading.chosen())
    found = choose(
        mda_aptnn.load_model(model), source.frames(numbers), count, total=len(numbers), verbose=True
    )
    with io.replacing(out.files["frames"]) as temporary:
        temporary.write_text(" ".join(map(str, found.indices)) + "\n")
    scores, mean = found.of_chosen(), float(found.disagreement.mean())
    report = {
        "frames": found.indices,
        "disagreement": scores.tolist(),
        "mean_disagreement": mean,
        "n_candidates": len(found.candidates),
    }
    lines = [
        f"{len(found.indices)} of {len(found.candidates)} frames: "
        f"{' '.join(map(str, found.indices))}",
        f"relative error of the flux that the spread makes likely: {scores.min():.4f} to "
        f"{scores.max():.4f} there, {mean:.4f} on average",
    ]
    if recipe is not None and campaign is not None:
        planned = plan_labels(campaign, source, found.indices, *recipe)
        out.files["campaign"] = campaign
        lines.append(
            f"planned: {len(planned.task_names)} tasks; next: mda-aptnn label run {campaign}"
        )
    out.tell(report, lines)


def evaluate(
    model: str,
    labels: LabelFiles,
    *,
    cell: LabelCell = None,
    allow_training_frames: bool = False,
    record: str | None = None,
    calibrate: bool = False,
    record_domain: bool = False,
    held_out: bool = False,
    out: Outputs = opt.writes(**{"plot": None, "spread plot": None}),
) -> None:
    """Compare a model with labels: per component, element and irrep, and the errors that a spectrum
    sees.

    Of a model with two heads, each is compared with its labels, and has a row of a picture.

    Parameters
    ----------
    allow_training_frames : bool
        Do not refuse frames that the model was trained on.
    record : str
        Also write the errors into the model's card, under this name.
    calibrate : bool
        Also calibrate a committee's spread by these labels, in its model file.
    record_domain : bool
        Also write into the model's card what its training frames cover, all of which must be among
        the labels: for model files of before 0.2. With --allow-training-frames.
    held_out : bool
        Take only the frames that the model's card says were held out.
    """
    from mda_aptnn.training import plotting
    from mda_aptnn.training.card import assess

    found = assess(
        model,
        read(labels, cell),
        held_out=held_out,
        allow_training_frames=allow_training_frames,
        record=record,
        calibrate=calibrate,
        domain=record_domain,
    )
    evaluations = list(found.values())
    draw = {"plot": plotting.plot_parity, "spread plot": plotting.plot_spread}
    for kind, path in out.files.items():
        draw[kind](evaluations, path)
    # the first head's figures stand where those of a single one do
    first, *others = [evaluation.summary() for evaluation in evaluations]
    text = "\n\n".join(evaluation.describe() for evaluation in evaluations)
    out.tell(first | {other["target"]: other for other in others}, text)
