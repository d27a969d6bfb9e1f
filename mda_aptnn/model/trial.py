"""`check_model`, which puts a network, an engine or a predictor to what its protocol promises."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mda_aptnn.checks import Check, Checks, Question, Verdict
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Array, Frame
from mda_aptnn.graph import neighbours
from mda_aptnn.model.inputs import frames_apart, joined_inputs
from mda_aptnn.model.protocol import Engine, Network, Predictor
from mda_aptnn.tensors import APT, Target, sum_rule_residual, turned

#: Å by which atoms are displaced, once and twice as far, and by how much in e the dipole's change
#: may miss the tensor.
STEP, DERIVATIVE = 0.01, 1e-4


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
    checks = list(trial.interface(model))
    if not any(check.verdict is Verdict.REFUSED for check in checks):
        checks += [
            *trial.symmetries(),
            trial.cutoff(),
            trial.batches(),
            trial.derivative(),
            trial.sum_rule(),
            trial.indices(reference),
        ]
    return Checks(checks)


def _check(name: str, meaning: str, found: str, passed: bool | np.bool_ | None) -> Check:
    """A property that a model must have; None: it could not be put to it."""
    return Question(name, meaning).answer(found, passed, grave=True)


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

    def interface(self, model: Any) -> Iterator[Check]:
        """Whether everything is there, and `predict` gives what it should."""
        members = [name for name in vars(self.kind) if name[0] != "_"]
        members += self.kind.__annotations__
        missing = [name for name in members if not hasattr(model, name)]
        kind, meaning = self.kind.__name__, f"It has {', '.join(members)}."
        if missing:
            meaning = f"A {kind} has {', '.join(members)} (mda_aptnn.model.protocol)."
        yield _check(
            "interface", meaning, f"no {', '.join(missing)}" if missing else kind, not missing
        )
        if missing:
            return
        shape = (len(self.frame), *self.target.shape)
        meaning = f"It must return finite floating-point numbers of shape {shape}."
        try:
            tensors = np.asarray(self.model.predict(dataclasses.replace(self.frame)))
        except Exception as error:  # of whatever kind: it is what the caller is told
            yield _check("shape and dtype", meaning, _told(error), False)
            return
        found = f"{tensors.dtype} of shape {tensors.shape}"
        good = tensors.shape == shape and np.issubdtype(tensors.dtype, np.floating)
        if good and not np.isfinite(tensors).all():
            good, found = False, f"{found}, not all finite"
        yield _check("shape and dtype", meaning, found, good)
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

        def turn(matrix: Array) -> tuple[Frame, Array]:
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
                moved(
                    numbers=frame.numbers[order],
                    positions=frame.positions[order],
                    atoms=None if frame.atoms is None else frame.atoms[order],
                ),
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
                yield _check(name, "Give a periodic frame.", "not periodic", None)
                continue
            difference = functools.partial(self._difference, other, expected)
            yield self.vanishes(name, f"{meaning}.", difference)

    def _difference(self, frame: Frame, expected: Array) -> Array:
        return np.asarray(self.model.predict(frame) - expected)

    def vanishes(self, name: str, meaning: str, difference: Callable[[], Array]) -> Check:
        """Judge a difference that must vanish."""
        try:
            deviation = float(np.abs(difference()).max(initial=0.0)) / self.scale
        except Exception as error:  # of whatever kind: it is what the caller is told
            return _check(name, meaning, _told(error), False)
        found = f"largest deviation {deviation:.1e} of the root mean square"
        return _check(name, meaning, found, deviation <= self.tolerance)  # False for NaN

    def cutoff(self) -> Check:
        """Let a neighbour pass through the cutoff: what steps there has a second difference."""
        name, radius = "continuity at the cutoff", getattr(self.model, "cutoff", None)
        if radius is None:
            meaning = "An attribute `cutoff` in Å says where to look."
            return _check(name, meaning, "no cutoff stated", None)
        if not radius:
            return _check(name, "There is no cutoff.", "no neighbours are seen", True)
        found = neighbours(self.frame, radius + 1.0)
        others = np.flatnonzero(found.centre != found.neighbour)
        lengths = np.linalg.norm(found.vectors[others], axis=1)
        if not len(others) or lengths.max() < radius - 1.0:
            return _check(name, "Give a larger frame.", f"no pair at {radius:g} Å", None)
        best = int(np.argmin(np.abs(lengths - radius)))
        pair, length = others[best], lengths[best]

        def at(distance: float) -> Array:
            positions = self.frame.positions.copy()
            positions[found.neighbour[pair]] += found.vectors[pair] * (distance / length - 1)
            return np.asarray(
                self.model.predict(dataclasses.replace(self.frame, positions=positions))
            )

        step = 1e-5
        return self.vanishes(
            name,
            f"A neighbour at {radius:g} Å must come in without a step.",
            lambda: at(radius + step) - 2 * at(radius - step) + at(radius - 3 * step),
        )

    def batches(self) -> Check:
        """Frames together against the same ones alone."""
        if not hasattr(self.model, "predict_many"):
            return _check("batches", "Frames are predicted one by one.", "no predict_many", True)
        shaken = self.frame.positions + self.rng.normal(scale=0.05, size=(len(self.frame), 3))
        frames = [self.frame, dataclasses.replace(self.frame, positions=shaken)]
        meaning = "Frames that are predicted together must have the tensors that they have alone."

        def difference() -> Array:
            together = self.model.predict_many(frames)
            if len(together) != len(frames):
                raise ModelError(f"{len(together)} results for {len(frames)} frames")
            alone = [self.model.predict(frame) for frame in frames]
            return np.asarray(np.subtract(together, alone))

        return self.vanishes("batches", meaning, difference)

    def derivative(self) -> Check:
        """Displace three atoms: the dipole must change as their tensors say."""
        name, meaning = "derivative of the dipole", "P[i, a, b] must be ∂M_a/∂r_ib."
        try:
            charges = self.model.dipole(self.frame)[1]
        except (AttributeError, ModelError):
            return _check(name, "A method `dipole` says what they derive from.", "no dipole", None)
        places = np.unique(np.linspace(0, len(self.frame) - 1, 3).astype(int))

        def moment(atom: int, arm: Array) -> Array:
            positions = self.frame.positions.copy()
            positions[atom] += arm
            return np.asarray(self.model.dipole(self.frame.moved_to(positions))[0])

        worst = 0.0
        for atom in places:
            expected = charges[atom] * np.eye(3)
            for b, arm in enumerate(STEP * np.eye(3)):
                near, far = (moment(atom, k * arm) - moment(atom, -k * arm) for k in (1, 2))
                expected[:, b] += (8 * near - far) / (12 * STEP)
            worst = max(worst, float(np.abs(self.tensors[atom] - expected).max()))
        found = f"off by {worst:.1e} e at most, of {len(places)} atoms"
        return _check(name, meaning, found, worst <= DERIVATIVE)

    def sum_rule(self) -> Check:
        """Report ``Σ_i P_i − Q·1``, which vanishes for the exact tensors."""
        name = "acoustic sum rule, Σ P − Q·1"
        if self.target != APT:
            return _check(name, "It is of polar tensors.", f"{self.target.name}", None)
        residual = sum_rule_residual(self.tensors, self.frame.charge)
        worst = float(np.abs(residual).max()) / len(self.frame)
        found = f"at most {worst:.1e} e for each atom, net charge {self.frame.charge:g} e"
        meaning = "It vanishes for exact tensors; --sum-rule mass takes it out of a flux."
        # what a model says of atoms that were thrown together is no fault
        return Question(name, meaning).answer(found, worst < 0.05 or not self.given)

    def indices(self, reference: ArrayLike | None) -> Check:
        """Compare with known tensors, and with these transposed."""
        name = "order of indices"
        if reference is None or self.target != APT:
            meaning = "Give tensors of the frame that are known (reference=)."
            return _check(name, meaning, "no reference", None)
        known = np.asarray(reference, dtype=float)
        if known.shape != self.tensors.shape:
            meaning = f"The reference must have shape {self.tensors.shape}."
            return _check(name, meaning, f"reference of shape {known.shape}", None)
        as_is, transposed = (
            float(np.sqrt(np.mean((self.tensors - values) ** 2)))
            for values in (known, known.swapaxes(1, 2))
        )
        found = f"rms error {as_is:.3g} e, against the transposed reference {transposed:.3g} e"
        if np.abs(known - known.swapaxes(1, 2)).max() < 1e-3 * np.abs(known).max():
            return _check(name, "The reference is symmetric.", found, None)
        meaning = "P[i, a, b] = ∂M_a/∂r_ib: the dipole's component first, then the position's."
        return _check(name, meaning, found, as_is < transposed)


class _Adapter:
    """A network or an engine as a predictor, by components [n_members, n_atoms, ...] of frames."""

    def __init__(self, original: Any, target: Any, components: Callable[..., list[Array]]) -> None:
        self.target, self._components = target.parts[0], components
        if hasattr(original, "numbers"):
            self.numbers = original.numbers
        if hasattr(original, "config"):
            self.cutoff = original.config.cutoff

    def predict_many(self, frames: Sequence[Frame]) -> list[Array]:
        part, found = self.target, self._components(frames)
        return [part.to_cartesian(x.mean(axis=0)[:, : part.n_components]) for x in found]

    def predict(self, frame: Frame) -> Array:
        return self.predict_many([frame])[0]


def _predictor(model: Any, target: Target) -> tuple[type, Any]:
    """The protocol that an object follows, and the object as a predictor."""
    target = getattr(model, "target", target)
    if hasattr(model, "predict"):
        return Predictor, model
    if hasattr(model, "components"):
        return Engine, _Adapter(model, target, model.components)
    if not (callable(model) and hasattr(model, "inputs")):
        return Predictor, model

    def outputs(frames: Sequence[Frame]) -> list[NDArray[Any]]:
        values = model(joined_inputs([model.inputs(frame) for frame in frames]))
        return frames_apart(values.detach().cpu().numpy()[None].astype(np.float64), frames)

    return Network, _Adapter(model, target, outputs)


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
