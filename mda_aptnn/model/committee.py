"""What several members say together: their mean, their spread, and their spread as the error to be
expected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import SYMBOLS, atomic_numbers
from mda_aptnn.errors import ModelError
from mda_aptnn.tensors import Target


def stretched(
    members: NDArray[np.float64], numbers: NDArray[np.int64], factors: Mapping[str, float]
) -> NDArray[np.float64]:
    """Return members whose deviations from their mean are multiplied by a factor for each element.

    Parameters
    ----------
    members : ndarray, shape [n_members, n_atoms, 3, 3]
    numbers : ndarray of int, shape [n_atoms]
        Atomic numbers.
    factors : mapping of str to float
        By element; 1 where it is missing.
    """
    if not factors or len(members) < 2:
        return members
    of_number = np.ones(len(SYMBOLS))
    of_number[atomic_numbers(factors)] = [*factors.values()]
    mean = members.mean(axis=0)
    scale = of_number[numbers].reshape(-1, *[1] * (mean.ndim - 1))
    result: NDArray[np.float64] = mean + scale * (members - mean)
    return result


class Members:
    """What follows from `predict_members`, for whoever has members: their mean and their spread."""

    def predict_members(
        self, atoms: Any, *, calibrated: bool = True, target: Target | None = None
    ) -> NDArray[np.float64]:
        """Return the tensors of every member, [n_members, n_atoms, 3, 3]."""
        raise NotImplementedError

    def predict(self, atoms: Any) -> NDArray[np.float64]:
        """Return the tensor of every atom: the mean of the members, where there are several.

        Parameters
        ----------
        atoms : Frame, AtomGroup or Universe
            For an AtomGroup or a Universe, the current timestep. The network sees all atoms of the
            Universe, and the result has those of the group, in its order.

        Returns
        -------
        ndarray, shape [n_atoms, 3, 3]
            ``P[i, a, b] = ∂M_a/∂r_ib`` in e. Of a model without polar tensors, what it predicts.

        Raises
        ------
        ModelError
            If there is an element that the model does not know.
        """
        mean: NDArray[np.float64] = self.predict_members(atoms, calibrated=False).mean(axis=0)
        return mean

    def predict_with_spread(
        self, atoms: Any, target: Target | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean of the members and their spread, the error to be expected of each
        component.

        Parameters
        ----------
        atoms : Frame, AtomGroup or Universe
            As for `predict`.
        target : Target, optional
            Which of a model's tensors; those of `predict` by default.

        Returns
        -------
        mean, spread : ndarray, shape [n_atoms, 3, 3]
            In e. The spread is the standard deviation over the members times the factor of the
            element, 1 if the committee was not calibrated.

        Raises
        ------
        ModelError
            If there is one member only.
        """
        members = self.predict_members(atoms, target=target)
        if len(members) < 2:
            raise ModelError(
                "a single model has no spread: train a committee (mda-aptnn train --members 4)"
            )
        return members.mean(axis=0), members.std(axis=0, ddof=1)


class Committee(Members):
    """A committee of any models, each with ``predict(frame) -> [n_atoms, 3, 3]``.

    Parameters
    ----------
    models : sequence
        Two or more.
    factors : mapping of str to float, optional
        What the spread of each element is multiplied by.

    Raises
    ------
    ModelError
        If there are fewer than two.
    """

    def __init__(self, models: Sequence[Any], factors: Mapping[str, float] | None = None) -> None:
        if len(models) < 2:
            raise ModelError(f"a committee has two or more members, not {len(models)}")
        self.models, self.spread_factors = list(models), dict(factors or {})
        self.n_members = len(self.models)

    def predict_members(
        self, atoms: Any, *, calibrated: bool = True, target: Target | None = None
    ) -> NDArray[np.float64]:
        """Return the tensors of every member, [n_members, n_atoms, 3, 3]; see
        `Model.predict_members`.
        """
        members = np.stack([np.asarray(model.predict(atoms), dtype=float) for model in self.models])
        return stretched(members, atoms.numbers, self.spread_factors) if calibrated else members
