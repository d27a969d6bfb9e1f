"""From the tensors and velocities of one frame to what a flux keeps of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import ModelError
from mda_aptnn.frames import Frame
from mda_aptnn.kinetics import kinetic_temperature
from mda_aptnn.tensors import apply_sum_rule, sum_rule_residual


@dataclasses.dataclass(frozen=True)
class FrameFlux:
    """What is summed in each frame of a trajectory.

    Attributes
    ----------
    names : list of str
        Of the groups.
    membership : ndarray of int, shape [n_atoms]
        Number of the group, −1 for atoms whose flux is not wanted.
    masses : ndarray, shape [n_atoms]
        In u.
    charge : float
        In e.
    sum_rule : str
        See `mda_aptnn.tensors.apply_sum_rule`.
    degrees_of_freedom : float
        For the kinetic temperature; NaN where there is none.
    keep_atoms : bool
        Whether a row also has every atom's flux and position, in float32, and the cell.
    """

    names: list[str]
    membership: NDArray[np.int64]
    masses: NDArray[np.float64]
    charge: float
    sum_rule: str
    degrees_of_freedom: float
    keep_atoms: bool

    def row(self, tensors: Any, frame: Frame, velocities: NDArray[np.float64]) -> dict[str, Any]:
        """Return the flux of groups and the records of a frame.

        Parameters
        ----------
        tensors : ndarray, shape [n_atoms, 3, 3]
            As predicted, in e.
        frame : Frame
        velocities : ndarray, shape [n_atoms, 3]
            In Å/ps.

        Raises
        ------
        ModelError
            If the tensors have another shape.
        """
        tensors = np.asarray(tensors, dtype=float)
        if tensors.shape != (len(frame), 3, 3):
            raise ModelError(
                f"the model gave tensors of shape {tensors.shape} for {len(frame)} atoms, not [n_atoms, 3, 3]"
            )
        residual = sum_rule_residual(tensors, self.charge)
        tensors = apply_sum_rule(tensors, self.sum_rule, self.masses, self.charge)
        atom_flux = np.einsum("iab,ib->ia", tensors, velocities)
        member = self.membership >= 0
        sums = [np.bincount(self.membership[member], atom_flux[member, a], len(self.names)) for a in range(3)]
        row = {
            "flux": np.stack(sums, axis=-1),
            "volumes": np.nan if frame.volume is None else frame.volume,
            "temperatures": kinetic_temperature(velocities, self.masses, self.degrees_of_freedom),
            "residuals": residual,
            "equipartition": float(((tensors[member] ** 2).sum(axis=(1, 2)) / self.masses[member]).sum()),
        }
        if self.keep_atoms:
            row["atom_flux"] = atom_flux[member].astype(np.float32)
            row["positions"] = frame.positions[member].astype(np.float32)
            row["cells"] = np.where(frame.pbc[:, None], frame.cell, 0.0)
        return row
