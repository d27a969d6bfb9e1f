"""How much of a model's error is an error of the labels: the real-space grid of the program that
made them.

    python benchmarks/grid_error.py --model MODEL.h5 --labels FRAMES.xyz [--cell 15.6627]

A density-functional program with a real-space grid is invariant only against translations by grid
vectors: the energy, and the dipole as an atom moves, ripple with its position in the grid
("egg-box"). No model that is invariant can learn the ripple, which is in test labels all the same.
It is found by its phase: this script fits ``P_aa(model) − P_aa(label) = c cos(2πn x_a/L) + s
sin(2πn x_a/L)`` for each element and every number n of grid points along a cubic cell, and prints
the largest, and the error without those that are significant.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.model.predict import load_model
from mda_aptnn.training.evaluate import evaluate

#: Numbers of grid points along the cell that are tried.
POINTS = np.arange(20, 400)
#: In standard errors; the largest of so many that are noise is at sqrt(2 ln 380) = 3.4.
SIGNIFICANT = 6.0


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument(
        "--cell", type=float, help="edge of the cubic cell in Å, if the file has none"
    )
    arguments = parser.parse_args()

    cell = None if arguments.cell is None else arguments.cell * np.eye(3)
    dataset = read_labels(arguments.labels, cell)
    errors = evaluate(load_model(arguments.model), dataset).errors.copy()
    numbers = np.concatenate([item.frame.numbers for item in dataset])
    # positions in units of the edge, so that frames of different cells go together
    fractions = np.concatenate(
        [item.frame.positions / item.frame.cell.diagonal() for item in dataset]
    )
    print(f"{len(dataset)} frames, RMSE {np.sqrt(np.mean(errors**2)):.5f} e")
    for number in np.unique(numbers):
        atoms = numbers == number
        x = fractions[atoms].ravel()
        diagonal = np.einsum("iaa->ia", errors[atoms])
        waves = np.exp(-2j * np.pi * POINTS[:, None] * x) @ diagonal.ravel() * 2 / len(x)
        best = int(np.argmax(np.abs(waves)))
        noise = np.sqrt(2 / len(x)) * diagonal.std()
        c, s = waves[best].real, -waves[best].imag
        print(
            f"Z = {number}: n = {POINTS[best]}, c = {c:.5f} e, s = {s:.5f} e, "
            f"{np.abs(waves[best]) / noise:.1f} standard errors"
        )
        if np.abs(waves[best]) < SIGNIFICANT * noise:
            continue
        phase = 2 * np.pi * POINTS[best] * fractions[atoms]
        for axis in range(3):
            errors[atoms, axis, axis] -= c * np.cos(phase[:, axis]) + s * np.sin(phase[:, axis])
    print(f"RMSE without the significant ones {np.sqrt(np.mean(errors**2)):.5f} e")


if __name__ == "__main__":
    main()
