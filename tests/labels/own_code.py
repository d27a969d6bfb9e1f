"""A labelling code outside of the package: charges on springs, computed in the worker's process.

Molecules of three atoms with d₁ = r₁ − r₀ and d₂ = r₂ − r₀ have the dipole ``M = Σ q_i r_i +
g (d₁·d₂)(d₁ + d₂)``, so that their polar tensors are known and far from symmetric.
"""

import time

import numpy as np

from mda_aptnn.errors import LabelError
from mda_aptnn.labels.protocol import BOHR, InProcess, Output

CHARGES = np.array([-0.8, 0.4, 0.4])
SPRING, LENGTH, POLARIZABILITY = 0.1, 1.0, 1.4  # hartree/bohr/Å, Å, Å³


def dipole(positions, strength):
    """M [3] in e·Å."""
    total = np.zeros(3)
    for place in positions.reshape(-1, 3, 3):
        d1, d2 = place[1:] - place[0]
        total += CHARGES @ place + strength * (d1 @ d2) * (d1 + d2)
    return total


def polar_tensors(positions, strength):
    """P[i, a, b] = ∂M_a/∂r_ib, [n_atoms, 3, 3] in e."""
    tensors = []
    for place in positions.reshape(-1, 3, 3):
        d1, d2 = place[1:] - place[0]
        first, second = (
            strength * (np.outer(d1 + d2, other) + (d1 @ d2) * np.eye(3)) for other in (d2, d1)
        )
        parts = np.array([-first - second, first, second])
        tensors.append(CHARGES[:, None, None] * np.eye(3) + parts)
    return np.concatenate(tensors)


def spring_forces(positions):
    forces = np.zeros_like(positions)
    for k in range(0, len(positions), 3):
        for hydrogen in (k + 1, k + 2):
            arm = positions[hydrogen] - positions[k]
            length = np.linalg.norm(arm)
            pull = SPRING * (length - LENGTH) * arm / length
            forces[k] += pull
            forces[hydrogen] -= pull
    return forces


class Springs(InProcess):
    """Settings: strength g; fault "transposed", "sign", "convergence"; pause in seconds."""

    name = "springs"
    title = "Springs"
    offers = frozenset({"forces", "dipole", "apt"})

    def calculate(self, frame, field, wanted, settings):
        fault = settings.get("fault")
        if fault == "convergence":
            raise LabelError("the springs did not come to rest")
        if fault == "crash":
            raise ZeroDivisionError
        time.sleep(settings.get("pause", 0.0))
        strength = settings["strength"]
        tensors = polar_tensors(frame.positions, strength)
        if fault == "transposed":
            tensors = tensors.transpose(0, 2, 1)
        if fault == "sign":
            tensors = -tensors
        moment = dipole(frame.positions, strength) + POLARIZABILITY / BOHR**2 * field
        return Output(
            project="",
            version="Springs 1.0",
            energy=0.0,
            numbers=frame.numbers,
            positions=frame.positions,
            cell=frame.cell,
            forces=spring_forces(frame.positions) + np.einsum("iab,a->ib", tensors, field),
            dipole=moment,
            apt=tensors if "apt" in wanted else None,
        )
