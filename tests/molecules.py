"""Molecules and ions on which every source of polar tensors is tried, none of them symmetric."""

import numpy as np

from mda_aptnn.frame import Frame

#: Elements, positions in Å and charge.
WATER = ("OHH", [[0.1, 0.2, 0.3], [0.86, 0.31, 0.75], [-0.5, 0.9, 0.61]], 0)
ACETATE = (
    "CCOOHHH",
    [
        [0.0, 0.0, 0.02],
        [1.54, 0.05, 0.0],
        [2.13, 1.15, 0.03],
        [2.20, -1.05, -0.02],
        [-0.40, 1.02, 0.05],
        [-0.36, -0.55, 0.88],
        [-0.38, -0.50, -0.90],
    ],
    -1,
)
METHYLACETAMIDE = (
    "CCONCHHHHHHH",
    [
        [-1.96, -0.05, 0.02],
        [-0.46, 0.12, -0.01],
        [0.10, 1.22, 0.02],
        [0.26, -1.03, -0.03],
        [1.70, -1.10, 0.01],
        [-2.31, -0.58, -0.87],
        [-2.40, 0.94, 0.06],
        [-2.25, -0.62, 0.90],
        [-0.26, -1.90, 0.02],
        [2.09, -0.60, 0.89],
        [2.09, -0.62, -0.88],
        [2.01, -2.15, 0.04],
    ],
    0,
)
NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8}


def isolated(symbols, positions, charge) -> Frame:
    return Frame([NUMBERS[x] for x in symbols], positions, charge=charge)


def ice() -> Frame:
    """Two water molecules in a triclinic cell of 60 Å³, turned against each other."""
    _, positions, _ = WATER
    first = np.array(positions)
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    second = (first - first[0]) @ turn.T + np.array([0.4, 3.3, 0.1])
    cell = np.array([[3.2, 0.0, 0.0], [0.3, 6.3, 0.0], [-0.2, 0.4, 3.1]])
    return Frame([8, 1, 1] * 2, np.concatenate([first, second]), cell, [True] * 3)
