"""The rigid molecular tensor: what a model must beat that knows nothing of an atom but its place in
a molecule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.tensors import Target
from mda_aptnn.trajectory.molecules import near_pairs


def rigid_tensors(dataset: Dataset, target: Target) -> list[NDArray[np.float64]]:
    """Return, for each frame, the mean tensors of the data set's other molecules, turned to where
    each molecule is.

    Molecules of the same atoms, in the order of the file, are laid onto the first of them
    (orthogonal Procrustes), their labels averaged there for each atom, and the means turned back.
    The molecule itself is left out of its mean: a molecule that is the only one of its kind would
    be told its own labels.

    Returns
    -------
    list of ndarray, shape [n_atoms, 3, 3]
        NaN for an atom whose like has no complete label in any other molecule.
    """
    first: dict[bytes, NDArray[np.float64]] = {}
    labels: dict[bytes, list[NDArray[np.float64]]] = {}
    places = []
    for item, values in ((item, item.tensors[target.name]) for item in dataset):
        found = []
        for atoms, shape in molecules(item.frame):
            kind = item.frame.numbers[atoms].tobytes()
            u, _, vt = np.linalg.svd(first.setdefault(kind, shape).T @ shape)
            turn = (u @ vt).T  # shape[i] ≈ turn @ first[i]
            own = labels.setdefault(kind, [])
            found.append((atoms, kind, turn, len(own)))
            own.append(_turned(values[atoms], turn.T))
        places.append(found)
    means = {kind: _means_of_others(np.array(values)) for kind, values in labels.items()}
    results = []
    for item, found in zip(dataset, places, strict=True):
        result = np.empty_like(item.tensors[target.name])
        for atoms, kind, turn, number in found:
            result[atoms] = _turned(means[kind][number], turn)
        results.append(result)
    return results


def molecules(frame: Frame) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return atoms and shape of every molecule: positions about their mean, made whole across the
    cell, in Å.
    """
    centre, neighbour, vectors = near_pairs(frame)
    vector_of = {
        (i, j): vector
        for i, j, vector in zip(centre.tolist(), neighbour.tolist(), vectors, strict=True)
    }
    graph = csr_array((np.ones(len(centre)), (centre, neighbour)), shape=(len(frame), len(frame)))
    count, member = connected_components(graph, directed=False)
    found = []
    for number in range(count):
        atoms = np.flatnonzero(member == number)
        order, parent = breadth_first_order(graph, atoms[0], directed=False)
        whole = {int(atoms[0]): np.zeros(3)}
        for atom in order[1:].tolist():
            before = int(parent[atom])
            whole[atom] = whole[before] + vector_of[before, atom]
        shape = np.array([whole[atom] for atom in atoms.tolist()])
        found.append((atoms, shape - shape.mean(axis=0)))
    return found


def _turned(tensors: NDArray[np.float64], turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every Cartesian index of [n_atoms, 3, 3, ...] turned."""
    for axis in range(1, tensors.ndim):
        tensors = np.moveaxis(np.tensordot(tensors, turn, axes=(axis, 1)), -1, axis)
    return tensors


def _means_of_others(labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over all others, for each molecule [n_molecules, n_atoms, 3, 3], of the tensors that are
    complete.
    """
    complete = np.isfinite(labels).reshape(*labels.shape[:2], -1).all(axis=2)
    kept = np.where(complete.reshape(*complete.shape, *[1] * (labels.ndim - 2)), labels, 0.0)
    count = (complete.sum(axis=0) - complete).reshape(*complete.shape, *[1] * (labels.ndim - 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: NDArray[np.float64] = np.where(count > 0, (kept.sum(axis=0) - kept) / count, np.nan)
    return mean
