"""Water molecules whose dipole and polarizability are known functions of the positions, for two
heads to learn.
"""

import dataclasses
import itertools

import numpy as np

from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.model.density import LayerConfig, NetworkConfig
from mda_aptnn.tensors import APT, PGT, joint

BOTH = joint([APT, PGT])
WATER = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
#: As `tiny.NETWORK`, with what polarizability gradients need in the last layer.
NETWORK = NetworkConfig(
    (
        LayerConfig(features="6x0e+6x1o+6x2e", cutoff=3.0, n_radial=4),
        LayerConfig(
            features="6x0e+6x1o+6x1e+6x2e+6x2o+6x3o",
            messages="3x0e+3x1o",
            cutoff=3.0,
            n_radial=3,
            factors="0e+1o+1e+2e",
        ),
    )
)


def dipole(positions):
    """Charges that flow with the bonds, in e·Å."""
    total = np.zeros(3)
    for end in positions[1:]:
        bond = end - positions[0]
        total += (0.35 + 0.2 * (np.linalg.norm(bond) - 0.96)) * bond
    return total


def polarizability(positions):
    """Bond polarizabilities that grow with the bonds, in Å³."""
    total = 0.3 * np.eye(3)
    for end in positions[1:]:
        bond = end - positions[0]
        length = np.linalg.norm(bond)
        total += (0.4 + 0.5 * (length - 0.96)) * np.eye(3)
        total += (0.3 + 1.2 * (length - 0.96)) * np.outer(bond, bond) / length**2
    return total


def derivative(function, positions, step=1e-4):
    """∂f_.../∂r_ic, [n_atoms, ..., 3]."""
    columns = {}
    for i, axis in itertools.product(range(len(positions)), range(3)):
        shift = np.zeros_like(positions)
        shift[i, axis] = step
        columns[i, axis] = (function(positions + shift) - function(positions - shift)) / (2 * step)
    return np.array(
        [np.stack([columns[i, axis] for axis in range(3)], axis=-1) for i in range(len(positions))]
    )


def labelled(positions):
    """One molecule with both labels."""
    tensors = {"apt": derivative(dipole, positions), "pgt": derivative(polarizability, positions)}
    return LabelledFrame(Frame([8, 1, 1], positions), tensors)


def molecules(count, seed=0):
    """Molecules in any orientation, stretched and bent."""
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(count)]
    frames = [labelled((WATER + rng.normal(scale=0.04, size=(3, 3))) @ turn) for turn in turns]
    return Dataset(frames, "bonds")


def only(dataset, *names):
    """The same frames with these labels alone."""
    frames = [
        dataclasses.replace(item, tensors={name: item.tensors[name] for name in names})
        for item in dataset
    ]
    return dataclasses.replace(dataset, frames=frames)
