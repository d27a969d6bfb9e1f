"""Dipole models of MACE as a predictor: "mace:PATH"."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mda_aptnn import io, units
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Array, Frame
from mda_aptnn.graph import neighbours
from mda_aptnn.model.protocol import check_elements
from mda_aptnn.tensors import APT
from mda_aptnn.trajectory.universe_frames import as_frame

DEBYE = units.factor("debye", "e*angstrom")
#: Unit of the dipole of each class of MACE that has one, in e·Å. By MACE 0.3.16: what it adds for
#: charges is divided by a Debye in the first two (`compute_fixed_charge_dipole`), and is not in the
#: third (`compute_fixed_charge_dipole_polar`).
UNITS = {"AtomicDipolesMACE": DEBYE, "EnergyDipolesMACE": DEBYE, "AtomicDielectricMACE": 1.0}


class MACE:
    """Polar tensors of a MACE dipole model, ``P[i, a, b] = ∂M_a/∂r_ib`` by differentiation.

    `AtomicDipolesMACE` and `EnergyDipolesMACE` are sums of local dipoles, of neutral samples, with
    or without a cell. `AtomicDielectricMACE` (MACE-MDP) has charges as well, which follow the
    surroundings and add up to the total one: a dipole without a periodic image, of molecules and
    clusters without a cell.

    Parameters
    ----------
    path : path
        File of MACE. It is a Python pickle: opening it runs what is in it, so that its origin must
        be trusted.

    Raises
    ------
    ModelError
        If MACE is not installed, there is no such file, or its model has no dipole.
    """

    target = APT

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not Path(path).is_file():
            raise ModelError(f"mace:{path}: there is no such file")
        io.protect([path])
        try:
            # lets torch read the pickle, and e3nn 0.4 its constants
            import mace.modules  # noqa: F401
        except ImportError as error:
            raise ModelError(
                f"MACE cannot be imported ({error}): pip install mace-torch, in an environment of "
                "its own, since it wants e3nn 0.4.4"
            ) from error
        try:
            network = torch.load(path, map_location="cpu", weights_only=False)
        except Exception as error:  # of whatever kind: a pickle can raise any
            raise ModelError(f"mace:{path} is no file of MACE: {type(error).__name__}") from error
        self.architecture = type(network).__name__
        if self.architecture not in UNITS:
            raise ModelError(
                f"mace:{path} is {self.architecture}, and has no dipole; those of MACE that have "
                f"one are {', '.join(UNITS)}"
            )
        self._network = network.double().eval().requires_grad_(False)
        self._unit = UNITS[self.architecture]
        self._with_charges = self.architecture == "AtomicDielectricMACE"
        #: Atomic numbers that it knows, and the radius in Å within which an atom sees others.
        self.numbers, self.cutoff = network.atomic_numbers.tolist(), float(network.r_max)

    @property
    def info(self) -> dict[str, Any]:
        """What it is, as a model card."""
        unit = "e·Å" if self._with_charges else "Debye"
        return {
            "architecture": self.architecture,
            "level_of_theory": "not stated: MACE",
            "rough": (
                f"A file of MACE does not say the unit of its dipoles: {unit} is assumed, as of "
                f"{self.architecture} in MACE 0.3.16. Compare a molecule whose dipole is known."
            ),
        }

    def check(self, frame: Frame) -> None:
        """Refuse what the model cannot say.

        Raises
        ------
        ModelError
            If there is an element that it does not know, a total charge where it has no charges,
            or a cell where it has.
        """
        check_elements(frame, self.numbers)
        if frame.charge and not self._with_charges:
            raise ModelError(
                f"{self.architecture} has no charges, so that its tensors add up to 0 e, and the "
                f"frame has {frame.charge:g} e"
            )
        if frame.pbc.any() and self._with_charges:
            raise ModelError(
                f"{self.architecture} has charges that follow the surroundings, so that its dipole "
                "depends on the periodic image of each atom: give molecules or clusters without a "
                "cell (--pbc none)"
            )

    def predict(self, atoms: Any) -> Array:
        """Return the tensors [n_atoms, 3, 3] in e of a Frame, AtomGroup or Universe.

        Raises
        ------
        ModelError
            As of `check`.
        """
        frame, rows = as_frame(atoms)
        dipole, positions = self._dipole(frame)
        tensors = np.empty((len(frame), 3, 3))
        for a in range(3):
            rates = torch.autograd.grad(
                dipole[a], positions, retain_graph=a < 2, allow_unused=True, materialize_grads=True
            )
            tensors[:, a] = rates[0].numpy()
        return tensors if rows is None else tensors[rows]

    def dipole(self, atoms: Any) -> tuple[Array, Array]:
        """Return the dipole [3] in e·Å, and charges of zero [n_atoms]: the tensors are its
        derivatives. Parameters and errors as of `predict`.
        """
        frame, _ = as_frame(atoms)
        return self._dipole(frame)[0].detach().numpy(), np.zeros(len(frame))

    def _dipole(self, frame: Frame) -> tuple[torch.Tensor, torch.Tensor]:
        """The dipole [3] in e·Å, and the positions that it depends on."""
        self.check(frame)
        found = neighbours(frame, self.cutoff)
        known = torch.tensor(self.numbers)
        data = {
            "positions": torch.tensor(frame.positions),
            "node_attrs": (torch.tensor(frame.numbers)[:, None] == known).double(),
            "edge_index": torch.tensor(np.array([found.centre, found.neighbour])),
            "shifts": torch.tensor(found.shift @ frame.box.filled),
            "unit_shifts": torch.tensor(found.shift, dtype=torch.float64),
            "cell": torch.tensor(frame.box.filled),
            "batch": torch.zeros(len(frame), dtype=torch.int64),
            "ptr": torch.tensor([0, len(frame)]),
            "head": torch.zeros(1, dtype=torch.int64),
            "charges": torch.zeros(len(frame), dtype=torch.float64),
            "total_charge": torch.tensor([frame.charge], dtype=torch.float64),
        }
        positions = data["positions"].requires_grad_(True)
        dipole = self._network(data, compute_force=False)["dipole"]
        return dipole.squeeze(0) * self._unit, positions
