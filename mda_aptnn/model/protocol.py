"""What a new network, engine or predictor must offer; `model.trial.check_model` tests that it does.

`Network` is what an architecture is made of: trained by `training.fit`, kept in a model file,
evaluated by the engine "torch". `Engine` evaluates the networks of a model file. `Predictor` is
what all the rest of the package takes as a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import SYMBOLS
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.tensors import APT, AnyTarget, Target

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

    It may have ``take_over(other)``, to begin with the weights of a trained network of the same
    settings, which raises `ModelError` if its elements or targets are others and cannot be carried
    over.
    """

    config: Any
    numbers: tuple[int, ...]
    target: AnyTarget
    most_atoms: int
    readout: Any

    def inputs(self, frame: Frame) -> Any:
        """Return what the network takes of a frame; it depends on no weight, geometry is float64.

        Its class has ``together(items)``, which makes several frames one, of parts that do not see
        each other. Its tensors are moved to a GPU by `devices.moved`; what the network adds to them
        must be where they are.

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

    It may say in `batch_atoms` how many atoms of small frames it gains by together, other than 512.
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
    `info` (the model card, a dictionary; what it says of itself under "rough" is marked in every
    result); `n_members`, ``predict_members(frame)`` and
    ``predict_with_spread(frame)`` of a committee; ``predict_tensors(frame)`` of several heads;
    ``dipole(frame)``, the dipole [3] in e·Å whose derivatives the tensors are, less that of charges
    [n_atoms] in e, and these; `seconds`, as of `Engine`; ``of_universe(frames)``, which returns the
    predictor of the atoms of these `UniverseFrames`; ``domain_checks(samples, temperature)``, in
    place of those of a card.
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
        "fixed charges (--model charges:topology, or charges:FILE)"
    )


def of_universe(model: Any, frames: Any) -> Any:
    """Return the predictor of the atoms of these `UniverseFrames`, where it depends on more than
    elements and positions, such as selections; any other as it is.
    """
    made = getattr(model, "of_universe", None)
    return model if made is None else made(frames)


def tensors_of(model: Any, frame: Frame, target: Target) -> NDArray[np.float64]:
    """Return what any predictor says of a target; those of others know nothing of targets."""
    own = getattr(model, "target", APT).parts[0]
    found = model.predict(frame) if target == own else model.predict_tensors(frame)[target.name]
    return np.asarray(found)


def tensors_by_name(model: Any, frame: Frame) -> dict[str, NDArray[np.float64]]:
    """Return all that any predictor says of a frame: "apt" [n_atoms, 3, 3] in e, and "pgt"."""
    if hasattr(model, "predict_tensors"):
        return dict(model.predict_tensors(frame))
    return {APT.name: np.asarray(model.predict(frame))}
