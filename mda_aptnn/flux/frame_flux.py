"""From the tensors and velocities of one frame to what a flux keeps of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import ModelError
from mda_aptnn.flux.groups import Groups
from mda_aptnn.flux.motions.motions import Motions, take_apart
from mda_aptnn.frame import Frame
from mda_aptnn.spectra.raman import COLUMNS, ROWS
from mda_aptnn.tensors import apply_sum_rule, sum_rule_residual, sum_rule_weights
from mda_aptnn.trajectory.kinetics import kinetic_temperature
from mda_aptnn.trajectory.molecules import Molecules


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

    @property
    def names(self) -> list[str]:
        """Names of the terms: of groups, or of every motion of every group."""
        if self.motions is None:
            return self.groups.names
        return term_names(self.groups.names, self.motions.names)

    @property
    def labels(self) -> dict[str, list[str]]:
        """What each term is: its group, its motion, the species of its molecule."""
        return term_labels(self.groups, None if self.motions is None else self.motions.names)

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
        tensors = np.asarray(tensors, dtype=float)
        if tensors.shape != (len(frame), 3, 3):
            raise ModelError(
                f"the model gave tensors of shape {tensors.shape} for {len(frame)} atoms, not "
                f"[n_atoms, 3, 3]"
            )
        residual = sum_rule_residual(tensors, self.charge)
        tensors = apply_sum_rule(tensors, self.sum_rule, self.masses, self.charge)
        wanted = self.groups.wanted
        # [n_motions, n_atoms, 3]
        parts = (
            velocities[None]
            if self.motions is None
            else take_apart(self.motions, frame, velocities)
        )
        atom_flux = np.einsum("iab,pib->pia", tensors, parts)[:, wanted]
        row: dict[str, Any] = {
            "flux": sum_groups(atom_flux[None], membership[wanted], len(self.groups.names))[0],
            "volumes": np.nan if frame.volume is None else frame.volume,
            "temperatures": kinetic_temperature(velocities, self.masses, self.degrees_of_freedom),
            "residuals": residual,
            "equipartition": float(
                ((tensors[wanted] ** 2).sum(axis=(1, 2)) / self.masses[wanted]).sum()
            ),
        }
        if members is not None:
            each = [
                apply_sum_rule(values, self.sum_rule, self.masses, self.charge)[wanted]
                for values in members
            ]
            by_member = np.einsum("miab,pib->mpia", each, parts[:, wanted], optimize=True)
            row["members"] = sum_groups(by_member, membership[wanted], len(self.groups.names))
        if gradients is not None:
            rates = self._polarizability(gradients, parts)
            row["polarizability"] = sum_groups(
                rates[None], membership[wanted], len(self.groups.names)
            )[0]
            if self.keep_atoms:
                row["atom_polarizability"] = rates.sum(axis=0).astype(np.float32)
                if self.motions is not None:
                    row["motion_polarizability"] = rates.astype(np.float32)
        if self.molecules is not None:
            row["broken_bond"] = self.molecules.broken_bond(frame)
        if self.keep_atoms:
            row["atom_flux"] = atom_flux.sum(axis=0).astype(np.float32)
            row["positions"] = frame.positions[wanted].astype(np.float32)
            row["velocities"] = velocities[wanted].astype(np.float32)
            row["cells"] = np.where(frame.pbc[:, None], frame.cell, 0.0)
            if self.motions is not None:
                row["motion_flux"] = atom_flux.astype(np.float32)
        return row

    def _polarizability(
        self, gradients: NDArray[np.float64], parts: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """α̇ of each wanted atom in each motion, [n_motions, n_atoms, 6] in Å³/ps.

        Σ_i G_i is made zero by the same rule as that of the dipole.
        """
        gradients = np.asarray(gradients, dtype=float)
        if gradients.shape != (len(self.masses), 3, 3, 3):
            raise ModelError(
                f"the model gave polarizability gradients of shape {gradients.shape} for "
                f"{len(self.masses)} atoms, "
                "not [n_atoms, 3, 3, 3]"
            )
        independent = gradients[:, ROWS, COLUMNS]
        weights = sum_rule_weights(self.sum_rule, self.masses)
        independent = independent - weights[:, None, None] * independent.sum(axis=0)
        wanted = self.groups.wanted
        return np.asarray(np.einsum("ikc,pic->pik", independent[wanted], parts[:, wanted]))


def term_names(groups: Sequence[str], motions: Sequence[str]) -> list[str]:
    """Names of every motion of every group, motions running faster; of motions alone if there is
    one group.
    """
    if len(groups) == 1:
        return list(motions)
    return [f"{group} {motion}" for group in groups for motion in motions]


def term_labels(groups: Groups, motions: Sequence[str] | None) -> dict[str, list[str]]:
    """What each term of `term_names` is: "group" and, where they are, "motion" and "species"."""
    n = 1 if motions is None else len(motions)
    labels = {"group": [name for name in groups.names for _ in range(n)]}
    if groups.species:
        labels["species"] = [name for name in groups.species for _ in range(n)]
    if motions is not None:
        labels["motion"] = list(motions) * len(groups.names)
    return labels


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
