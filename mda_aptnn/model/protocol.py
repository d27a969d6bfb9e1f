"""What a new network, engine or predictor must offer, and `check_model`, which tests that it does.

`Network` is what an architecture is made of: trained by `training.fit`, kept in a model file,
evaluated by the engine "torch". `Engine` evaluates the networks of a model file. `Predictor` is
what all the rest of the package takes as a model.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mda_aptnn.checks import Check, Checks, Verdict
from mda_aptnn.elements import SYMBOLS
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.graph import neighbours
from mda_aptnn.tensors import APT, AnyTarget, Target, sum_rule_residual

if TYPE_CHECKING:
    import torch


class Settings(Protocol):
    """Settings of a network: a frozen dataclass that JSON can hold, which refuses what cannot be.

    Attributes
    ----------
    cutoff : float
        Distance in Å within which an atom sees its neighbours.
    reach : float
        Distance in Å from which an atom has an influence on another, through all layers.
    """

    @property
    def cutoff(self) -> float: ...  # noqa: D102

    @property
    def reach(self) -> float: ...  # noqa: D102


class Network(Protocol):
    """The network of an architecture: a `torch.nn.Module`, made as ``(config, numbers, target)``.

    `mda_aptnn.model.architectures.TensorNetwork` is a base class that has all but `inputs` and
    `forward`.

    Attributes
    ----------
    config : Settings
    numbers : tuple of int
        Atomic numbers of the elements that it knows.
    target : Target or JointTarget
        What it predicts.
    most_atoms : int
        Atoms of a frame that it is given at a time, for want of memory.
    readout : Mixing or None
        The last layer, where it is linear. Then ``body(inputs)`` gives the features before it and
        ``read(features, inputs)`` the outputs, so that the members of a committee can share the
        body.
    """

    config: Any
    numbers: tuple[int, ...]
    target: AnyTarget
    most_atoms: int
    readout: Any

    def inputs(self, frame: Frame) -> Any:
        """Return what the network takes of a frame; it depends on no weight, geometry is float64.

        Its class has ``together(items)``, which makes several frames one, of parts that do not see
        each other.

        Raises
        ------
        ModelError
            If the frame has an element that the network does not know.
        FrameError
            If two atoms are on top of each other.
        """
        ...

    def __call__(self, inputs: Any) -> torch.Tensor:
        """Return irreducible components [n_atoms, n_components] in the unit and order of the
        target.
        """
        ...

    def start_from(
        self,
        scale: NDArray[np.float64],
        shift: NDArray[np.float64],
        counts: NDArray[np.int64],
        charge: NDArray[np.float64],
    ) -> None:
        """Set the size of the outputs before training, by what the labels are.

        Parameters
        ----------
        scale, shift : ndarray, shape [n_species, n_components]
            Root mean square of the labels' components about their means, and the means of the
            invariants.
        counts : ndarray of int, shape [n_frames, n_species]
            Atoms of each element in the labelled frames.
        charge : ndarray, shape [n_frames]
            Their total charges in e.
        """
        ...

    def residuals(
        self,
        inputs: Any,
        labels: torch.Tensor,
        weights: torch.Tensor,
        directions: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the errors that training makes small, and the weights of their squares.

        Parameters
        ----------
        inputs
            From `inputs`.
        labels, weights : Tensor, shape [n_atoms, n_cartesian]
            Cartesian components of all parts of the target; weight 0 where there is no label.
        directions : Tensor, shape [n_directions, 3]
            Random orthonormal rows, for networks whose tensors are dear: an error along these
            stands for the whole.
        """
        ...


class Engine(Protocol):
    """What evaluates the networks of a model file, made as ``(contents, dtype, n_threads)``.

    The constructor raises `ModelError` if it cannot evaluate this architecture, or not here.

    Attributes
    ----------
    most_atoms : int
        Frames of more atoms are predicted in slices, for want of memory.
    seconds : dict of str to float
        Wall time spent so far on "neighbours" and on the "network".
    """

    most_atoms: int
    seconds: dict[str, float]

    def components(self, frames: Sequence[Frame]) -> list[NDArray[np.float64]]:
        """Return the irreducible components of each frame, [n_members, n_atoms, n_components].

        Members are those of a committee; a single model has one.
        """
        ...


class Predictor(Protocol):
    """What the rest of the package takes as a model: any object with `predict`.

    What else it may offer is used where it is there: ``predict_many(frames)``; ``check(frame)``,
    which refuses frames that it does not know; `cutoff` in Å; `target`; `numbers` (atomic numbers);
    `info` (the model card, a dictionary); `n_members`, ``predict_members(frame)`` and
    ``predict_with_spread(frame)`` of a committee; ``predict_tensors(frame)`` of several heads;
    `seconds`, as of `Engine`.
    """

    def predict(self, frame: Frame) -> NDArray[np.float64]:
        """Return the tensor of every atom, [n_atoms, 3, 3] in e: ``P[i, a, b] = ∂M_a/∂r_ib``."""
        ...


def check_elements(frame: Frame, numbers: Sequence[int]) -> None:
    """Refuse a frame with other elements than those of `numbers`.

    Raises
    ------
    ModelError
        Names the elements that are unknown and those that are known.
    """
    unknown = set(frame.numbers.tolist()) - set(numbers)
    if unknown:
        raise ModelError(unknown_elements(unknown, numbers))


def unknown_elements(unknown: set[int], known: Sequence[int] | set[int]) -> str:
    """Return one line on atomic numbers that a model does not know, with a way on."""
    names = [", ".join(SYMBOLS[z] for z in sorted(numbers)) for numbers in (unknown, known)]
    return (
        f"the model does not know {names[0]}; it was made for {names[1]}. Label some twenty frames "
        "of this system and train a model of its own (mda-aptnn label plan, then train), or take "
        "fixed charges in Python: model=FixedCharges({symbol: charge})"
    )


def check_model(
    model: Any,
    frame: Frame | None = None,
    *,
    reference: ArrayLike | None = None,
    target: Target = APT,
    tolerance: float = 1e-4,
) -> Checks:
    """Put a model to what its protocol promises, on one configuration.

    Parameters
    ----------
    model : Predictor, Network or Engine
        Any object: its kind is recognised by its methods.
    frame : Frame, optional
        A configuration that the model knows. By default some twenty atoms of its elements in a
        triclinic cell.
    reference : array_like, shape [n_atoms, 3, 3], optional
        Known tensors of `frame`, far from symmetric: they tell whether the indices are in the
        order ``[component of the dipole, component of the position]``, which no symmetry does.
    target : Target
        What the model predicts, where it does not say.
    tolerance : float
        Largest deviation, in units of the root mean square of the tensors; the default leaves room
        for float32.

    Returns
    -------
    Checks
        One check for each property: REFUSED where the model breaks it, UNKNOWN where it could not
        be put to it. ``checks.raise_refused()`` raises the first broken one as a line.
    """
    trial = _Trial(model, frame, target, tolerance)
    checks = list(trial.interface())
    if not any(check.verdict is Verdict.REFUSED for check in checks):
        checks += [
            *trial.symmetries(),
            trial.cutoff(),
            trial.batches(),
            trial.sum_rule(),
            trial.indices(reference),
        ]
    return Checks(tuple(checks))


class _Trial:
    """One model on one frame."""

    def __init__(self, model: Any, frame: Frame | None, target: Target, tolerance: float) -> None:
        self.kind, self.model = _predictor(model, target)
        self.target = getattr(self.model, "target", target).parts[0]
        self.given = frame is not None
        self.frame = frame or _example(getattr(self.model, "numbers", None))
        self.tolerance = tolerance
        self.rng = np.random.default_rng(0)
        self.tensors, self.scale = np.zeros(0), 1.0

    def interface(self) -> Iterator[Check]:
        """Whether everything is there, and `predict` gives what it should."""
        members = [name for name in vars(self.kind) if name[0] != "_"]
        members += self.kind.__annotations__
        original = getattr(self.model, "original", self.model)
        missing = [name for name in members if not hasattr(original, name)]
        name, kind = "interface", self.kind.__name__
        if missing:
            meaning = f"A {kind} has {', '.join(members)} (mda_aptnn.model.protocol)."
            yield Check(name, f"no {', '.join(missing)}", Verdict.REFUSED, meaning)
            return
        yield Check(name, kind, Verdict.FINE, f"It has {', '.join(members)}.")
        shape = (len(self.frame), *self.target.shape)
        meaning = f"It must return finite floating-point numbers of shape {shape}."
        name = "shape and dtype"
        try:
            tensors = np.asarray(self.model.predict(copy.deepcopy(self.frame)))
        except Exception as error:  # of whatever kind: it is what the caller is told
            yield Check(name, _told(error), Verdict.REFUSED, meaning)
            return
        found = f"{tensors.dtype} of shape {tensors.shape}"
        good = tensors.shape == shape and np.issubdtype(tensors.dtype, np.floating)
        if good and not np.isfinite(tensors).all():
            good, found = False, f"{found}, not all finite"
        yield Check(name, found, Verdict.FINE if good else Verdict.REFUSED, meaning)
        if good:
            self.tensors = tensors.astype(np.float64)
            self.scale = float(np.sqrt(np.mean(self.tensors**2))) or 1.0

    def symmetries(self) -> Iterator[Check]:
        """Frames that are another only in name, and the tensors that these must have."""
        frame, tensors = self.frame, self.tensors
        rotation = np.linalg.qr(self.rng.normal(size=(3, 3)))[0]
        rotation *= np.linalg.det(rotation)
        order = self.rng.permutation(len(frame))
        images = self.rng.integers(-2, 3, (len(frame), 3)) * frame.pbc
        moved = functools.partial(dataclasses.replace, frame)

        def turn(matrix: NDArray[np.float64]) -> tuple[Frame, NDArray[np.float64]]:
            positions, cell = frame.positions @ matrix.T, frame.cell @ matrix.T
            return moved(positions=positions, cell=cell), turned(tensors, matrix)

        law = "P(R r) = R P(r) Rᵀ"
        cases = {
            "same again": (frame, tensors, "The same frame must give the same tensors"),
            "rotation": (*turn(rotation), f"Tensors must turn with the frame, {law}"),
            "reflection": (*turn(-rotation), f"Tensors must be reflected with the frame, {law}"),
            "translation": (
                moved(positions=frame.positions + np.array([0.31, -2.7, 1.9])),
                tensors,
                "Tensors must not depend on the origin",
            ),
            "permutation": (
                moved(numbers=frame.numbers[order], positions=frame.positions[order]),
                tensors[order],
                "Tensors must go with their atoms, whatever the order of these",
            ),
            "periodic images": (
                moved(positions=frame.positions + images @ frame.cell),
                tensors,
                "An atom that is moved by cell vectors is the same atom",
            ),
        }
        for name, (other, expected, meaning) in cases.items():
            if name == "periodic images" and not frame.pbc.any():
                yield Check(name, "not periodic", Verdict.UNKNOWN, "Give a periodic frame.")
                continue
            difference = functools.partial(self._difference, other, expected)
            yield self.compared(name, f"{meaning}.", difference)

    def _difference(self, frame: Frame, expected: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.model.predict(frame) - expected)

    def compared(
        self, name: str, meaning: str, difference: Callable[[], NDArray[np.float64]]
    ) -> Check:
        """Judge a difference that must vanish."""
        try:
            deviation = float(np.abs(difference()).max(initial=0.0)) / self.scale
        except Exception as error:  # of whatever kind: it is what the caller is told
            return Check(name, _told(error), Verdict.REFUSED, meaning)
        found = f"largest deviation {deviation:.1e} of the root mean square"
        good = deviation <= self.tolerance  # False for NaN
        return Check(name, found, Verdict.FINE if good else Verdict.REFUSED, meaning)

    def cutoff(self) -> Check:
        """Let a neighbour pass through the cutoff: what steps there has a second difference."""
        name, radius = "continuity at the cutoff", getattr(self.model, "cutoff", None)
        if radius is None:
            meaning = "An attribute `cutoff` in Å says where to look."
            return Check(name, "no cutoff stated", Verdict.UNKNOWN, meaning)
        if not radius:
            return Check(name, "no neighbours are seen", Verdict.FINE, "There is no cutoff.")
        found = neighbours(self.frame, radius + 1.0)
        others = np.flatnonzero(found.centre != found.neighbour)
        lengths = np.linalg.norm(found.vectors[others], axis=1)
        if not len(others) or lengths.max() < radius - 1.0:
            meaning = "Give a larger frame."
            return Check(name, f"no pair at {radius:g} Å", Verdict.UNKNOWN, meaning)
        best = int(np.argmin(np.abs(lengths - radius)))
        pair, length = others[best], lengths[best]

        def at(distance: float) -> NDArray[np.float64]:
            positions = self.frame.positions.copy()
            positions[found.neighbour[pair]] += found.vectors[pair] * (distance / length - 1)
            return np.asarray(
                self.model.predict(dataclasses.replace(self.frame, positions=positions))
            )

        step = 1e-5
        return self.compared(
            name,
            f"A neighbour at {radius:g} Å must come in without a step.",
            lambda: at(radius + step) - 2 * at(radius - step) + at(radius - 3 * step),
        )

    def batches(self) -> Check:
        """Frames together against the same ones alone."""
        name = "batches"
        if not hasattr(self.model, "predict_many"):
            return Check(name, "no predict_many", Verdict.FINE, "Frames are predicted one by one.")
        shaken = self.frame.positions + self.rng.normal(scale=0.05, size=(len(self.frame), 3))
        frames = [self.frame, dataclasses.replace(self.frame, positions=shaken)]
        meaning = "Frames that are predicted together must have the tensors that they have alone."

        def difference() -> NDArray[np.float64]:
            together = self.model.predict_many(frames)
            if len(together) != len(frames):
                raise ModelError(f"{len(together)} results for {len(frames)} frames")
            alone = [self.model.predict(frame) for frame in frames]
            return np.asarray(np.subtract(together, alone))

        return self.compared(name, meaning, difference)

    def sum_rule(self) -> Check:
        """Report ``Σ_i P_i − Q·1``, which vanishes for the exact tensors."""
        name = "acoustic sum rule, Σ P − Q·1"
        if self.target != APT:
            return Check(name, f"{self.target.name}", Verdict.UNKNOWN, "It is of polar tensors.")
        residual = sum_rule_residual(self.tensors, self.frame.charge)
        worst = float(np.abs(residual).max()) / len(self.frame)
        found = f"at most {worst:.1e} e for each atom, net charge {self.frame.charge:g} e"
        meaning = "It vanishes for exact tensors; --sum-rule mass takes it out of a flux."
        # what a model says of atoms that were thrown together is no fault
        fine = worst < 0.05 or not self.given
        return Check(name, found, Verdict.FINE if fine else Verdict.LOOK, meaning)

    def indices(self, reference: ArrayLike | None) -> Check:
        """Compare with known tensors, and with these transposed."""
        name = "order of indices"
        if reference is None or self.target != APT:
            meaning = "Give tensors of the frame that are known (reference=)."
            return Check(name, "no reference", Verdict.UNKNOWN, meaning)
        known = np.asarray(reference, dtype=float)
        if known.shape != self.tensors.shape:
            meaning = f"The reference must have shape {self.tensors.shape}."
            return Check(name, f"reference of shape {known.shape}", Verdict.UNKNOWN, meaning)
        as_is, transposed = (
            float(np.sqrt(np.mean((self.tensors - values) ** 2)))
            for values in (known, known.swapaxes(1, 2))
        )
        found = f"rms error {as_is:.3g} e, against the transposed reference {transposed:.3g} e"
        if np.abs(known - known.swapaxes(1, 2)).max() < 1e-3 * np.abs(known).max():
            return Check(name, found, Verdict.UNKNOWN, "The reference is symmetric.")
        meaning = "P[i, a, b] = ∂M_a/∂r_ib: the dipole's component first, then the position's."
        return Check(name, found, Verdict.FINE if as_is < transposed else Verdict.REFUSED, meaning)


class _Adapter:
    """A network or an engine as a predictor."""

    def __init__(
        self, original: Any, target: AnyTarget, components: Callable[[list[Frame]], list[Any]]
    ) -> None:
        self.original, self.target, self._components = original, target.parts[0], components
        if hasattr(original, "numbers"):
            self.numbers = original.numbers
        if hasattr(original, "config"):
            self.cutoff = original.config.cutoff

    def predict_many(self, frames: list[Frame]) -> list[NDArray[np.float64]]:
        part = self.target
        return [part.to_cartesian(x[:, : part.n_components]) for x in self._components(frames)]

    def predict(self, frame: Frame) -> NDArray[np.float64]:
        return self.predict_many([frame])[0]


def _predictor(model: Any, target: Target) -> tuple[type, Any]:
    """The protocol that an object follows, and the object as a predictor."""
    target = getattr(model, "target", target)
    if hasattr(model, "components") and not hasattr(model, "predict"):

        def evaluated(frames: list[Frame]) -> list[Any]:
            return [values.mean(axis=0) for values in model.components(frames)]

        return Engine, _Adapter(model, target, evaluated)
    if callable(model) and hasattr(model, "inputs") and not hasattr(model, "predict"):

        def outputs(frames: list[Frame]) -> list[Any]:
            inputs = [model.inputs(frame) for frame in frames]
            together = inputs[0] if len(inputs) == 1 else type(inputs[0]).together(inputs)
            values = model(together).detach().cpu().numpy().astype(np.float64)
            return np.split(values, np.cumsum([len(frame) for frame in frames])[:-1])

        return Network, _Adapter(model, target, outputs)
    return Predictor, model


def _example(numbers: Sequence[int] | None) -> Frame:
    """Pairs of bonded atoms of the elements on a shaken lattice, in a triclinic cell."""
    rng = np.random.default_rng(1)
    sites = np.stack(np.meshgrid(range(3), range(3), range(2), indexing="ij"), -1).reshape(-1, 3)
    cell = np.array([[8.4, 0.0, 0.0], [0.9, 8.0, 0.0], [-0.5, 0.7, 5.8]])
    # two layers of atoms, 1.2 Å apart
    positions = sites @ (cell / [[3], [3], [5]]) + rng.uniform(-0.2, 0.2, sites.shape)
    elements = np.resize(list(numbers or (8, 1, 1)), len(sites))
    return Frame(rng.permutation(elements), positions, cell, [True] * 3)  # type: ignore[arg-type]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def turned(tensors: NDArray[np.float64], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return tensors [n_atoms, 3, 3, ...] with every index but the first turned by a rotation."""
    for axis in range(1, tensors.ndim):
        tensors = np.moveaxis(np.tensordot(tensors, rotation, (axis, 1)), -1, axis)
    return tensors
