"""From the tensors and velocities of one frame to what a flux keeps of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import ModelError
from mda_aptnn.flux.groups import Groups
from mda_aptnn.frame import Frame
from mda_aptnn.tensors import COLUMNS, ROWS, apply_sum_rule, sum_rule_residual, sum_rule_weights
from mda_aptnn.trajectory.kinetics import (
    check_degrees_of_freedom,
    constrained_bonds,
    kinetic_temperature,
)
from mda_aptnn.trajectory.molecules import Molecules
from mda_aptnn.trajectory.motions.motions import Motions, take_apart


@dataclasses.dataclass(frozen=True)
class FrameFlux:
    """What is summed in each frame of a trajectory.

    Attributes
    ----------
    groups : Groups
    motions : Motions or None
        Each group's flux is taken apart into these.
    molecules : Molecules or None
        Watched for bonds that break.
    masses : ndarray, shape [n_atoms]
        In u.
    charge : float
        In e.
    sum_rule : str
        See `mda_aptnn.tensors.apply_sum_rule`.
    degrees_of_freedom : float
        For the kinetic temperature; NaN where there is none.
    keep_atoms : bool
        Whether a row also has every atom's flux, α̇ and position, in float32, and the cell.
    """

    groups: Groups
    motions: Motions | None
    molecules: Molecules | None
    masses: NDArray[np.float64]
    charge: float
    sum_rule: str
    degrees_of_freedom: float
    keep_atoms: bool

    def __post_init__(self) -> None:
        # an unknown name is refused here
        sum_rule_weights(self.sum_rule, self.masses)

    @property
    def motion_names(self) -> list[str] | None:
        """Names of the motions; None if velocities are not taken apart."""
        return None if self.motions is None else list(self.motions.names)

    @property
    def names(self) -> list[str]:
        """Names of the terms: of groups, or of every motion of every group."""
        return self.groups.terms(self.motion_names)[0]

    def row(
        self,
        tensors: Any,
        frame: Frame,
        velocities: NDArray[np.float64],
        membership: NDArray[np.int64],
        members: NDArray[np.float64] | None = None,
        gradients: NDArray[np.float64] | None = None,
    ) -> dict[str, Any]:
        """Return the flux of groups and the records of a frame.

        Parameters
        ----------
        tensors : ndarray, shape [n_atoms, 3, 3]
            As predicted, in e.
        frame : Frame
        velocities : ndarray, shape [n_atoms, 3]
            In Å/ps.
        membership : ndarray of int, shape [n_atoms]
            Of the groups, when this was the current frame.
        members : ndarray, shape [n_members, n_atoms, 3, 3], optional
            As predicted by each member of a committee, whose flux is kept too.
        gradients : ndarray, shape [n_atoms, 3, 3, 3], optional
            Polarizability gradients ∂α_ab/∂r_ic in Å², whose α̇ is kept too.

        Raises
        ------
        ModelError
            If the tensors have another shape.
        GroupError
            If motions do not sum to the velocities.
        """
        tensors = _of_shape(tensors, (len(frame), 3, 3), "tensors")
        wanted, masses = self.groups.wanted, self.masses
        residual = sum_rule_residual(tensors, self.charge)
        tensors = apply_sum_rule(tensors, self.sum_rule, masses, self.charge)
        # [n_motions, n_atoms, 3]
        parts = velocities[None]
        if self.motions is not None:
            parts = take_apart(self.motions, frame, velocities)
        # of the wanted atoms, [n_motions, n_atoms, n_components]
        rates = {"flux": np.einsum("iab,pib->pia", tensors, parts)[:, wanted]}
        if gradients is not None:
            what = "polarizability gradients"
            gradients = _of_shape(gradients, (len(frame), 3, 3, 3), what)[:, ROWS, COLUMNS]
            # Σ_i G_i is made zero by the same rule as that of the dipole
            weights = sum_rule_weights(self.sum_rule, masses)
            gradients = gradients - weights[:, None, None] * gradients.sum(axis=0)
            rates["polarizability"] = np.einsum("ikc,pic->pik", gradients[wanted], parts[:, wanted])
        sums = functools.partial(
            sum_groups, membership=membership[wanted], n_groups=len(self.groups.names)
        )
        squares = (tensors[wanted] ** 2).sum(axis=(1, 2))
        row: dict[str, Any] = {
            **{name: sums(values[None])[0] for name, values in rates.items()},
            "volumes": np.nan if frame.volume is None else frame.volume,
            "temperatures": kinetic_temperature(velocities, masses, self.degrees_of_freedom),
            "residuals": residual,
            "equipartition": float((squares / masses[wanted]).sum()),
        }
        if members is not None:
            each = apply_sum_rule(members, self.sum_rule, masses, self.charge)[:, wanted]
            row["members"] = sums(np.einsum("miab,pib->mpia", each, parts[:, wanted]))
        if self.molecules is not None:
            row["broken_bond"] = self.molecules.broken_bond(frame)
        if self.keep_atoms:
            kept = {f"atom_{name}": values.sum(axis=0) for name, values in rates.items()}
            if self.motions is not None:
                kept |= {f"motion_{name}": values for name, values in rates.items()}
            kept |= {"positions": frame.positions[wanted], "velocities": velocities[wanted]}
            row |= {name: values.astype(np.float32) for name, values in kept.items()}
            row["cells"] = np.where(frame.pbc[:, None], frame.cell, 0.0)
        return row


def _of_shape(tensors: Any, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    """What a model gave, as an array of this shape."""
    array = np.asarray(tensors, dtype=float)
    if array.shape != shape:
        axes = ", ".join(["n_atoms", *map(str, shape[1:])])
        raise ModelError(
            f"the model gave {what} of shape {array.shape} for {shape[0]} atoms, not [{axes}]"
        )
    return array


def known_freedom(
    given: int | None,
    samples: Iterable[tuple[Frame, NDArray[np.float64]]] | None,
    masses: NDArray[np.float64],
    notes: list[str],
) -> float:
    """Return how many degrees of freedom the kinetic temperature has, NaN if that is not known.

    Parameters
    ----------
    given : int or None
        As the user says.
    samples : iterable of (Frame, ndarray of shape [n_atoms, 3]), or None
        Frames with velocities in Å/ps, which show constraints; None for finite differences.
    masses : ndarray, shape [n_atoms]
        In u.
    notes : list of str
        Where it is added why there is none.

    Raises
    ------
    ValueError
        If `given` is no positive integer.
    """
    check_degrees_of_freedom(given)
    if samples is None:
        notes.append(
            "no kinetic temperature: finite differences lower the velocities of fast atoms"
        )
        return float("nan")
    if given is not None:
        return float(given)
    if constrained_bonds(samples, masses):
        notes.append("constrained bonds found: no kinetic temperature without degrees_of_freedom")
        return float("nan")
    return max(3.0, 3.0 * len(masses) - 3.0)


def sum_groups(
    atom_flux: NDArray[np.floating[Any]], membership: NDArray[np.int64], n_groups: int
) -> NDArray[np.float64]:
    """Add up the flux of atoms in each group.

    Parameters
    ----------
    atom_flux : ndarray, shape [n_frames, n_motions, n_atoms, n_components]
    membership : ndarray of int, shape [n_atoms] or [n_frames, n_atoms]
        Number of the group of each atom.
    n_groups : int

    Returns
    -------
    ndarray, shape [n_frames, n_groups · n_motions, n_components]
        Motions running faster.
    """
    n_frames, n_motions, n_atoms, n_components = atom_flux.shape
    n_terms = n_groups * n_motions
    term = (
        np.broadcast_to(membership, (n_frames, n_atoms))[:, None] * n_motions
        + np.arange(n_motions)[:, None]
    )
    place = (term + n_terms * np.arange(n_frames)[:, None, None]).ravel()
    flux = np.empty((n_frames * n_terms, n_components))
    for axis in range(n_components):
        flux[:, axis] = np.bincount(place, atom_flux[..., axis].ravel(), n_frames * n_terms)
    return flux.reshape(n_frames, n_terms, n_components)
