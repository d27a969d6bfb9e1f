"""The engine of `models.predict` that evaluates a density network by compiled kernels, on the CPU."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from mda_aptnn.frames import Frame
from mda_aptnn.graph import CLOSEST, NeighbourList, neighbours
from mda_aptnn.models.cpu_kernels import Exchange, Geometry, Scratch, run_layer
from mda_aptnn.models.cpu_program import BLOCK, CHUNK, LayerProgram, padded, programs
from mda_aptnn.models.cpu_tiles import ROWS
from mda_aptnn.models.model_file import ModelFile

logger = logging.getLogger(__name__)


class CpuEngine:
    """A density network as compiled kernels; see `cpu_kernels`.

    Atoms are predicted in blocks, whose result does not depend on other blocks or on the number of threads. Arrays
    are kept from frame to frame, and so are the neighbours of a trajectory.

    Parameters
    ----------
    contents : ModelFile
        Of the architecture "density".
    dtype : {"float32", "float64"}
        Of weights and features; geometry is float64 always.
    n_threads : int
        Blocks are shared among so many threads.
    """

    def __init__(self, contents: ModelFile, dtype: str, n_threads: int) -> None:
        self.dtype, self.n_threads = np.dtype(dtype), n_threads
        self.programs = programs(contents.build(dtype=torch.float64), self.dtype.type)
        self.n_components = self.programs[-1].scale.shape[1]
        self.neighbours = NeighbourList(max(program.cutoff for program in self.programs))
        self._index = np.full(max(contents.numbers) + 1, -1)
        self._index[contents.numbers] = np.arange(len(contents.numbers))
        self._species = np.zeros(0, np.int64)
        self._blocks = _blocks(self._species)
        self._scratch: list[Scratch] = []
        self._exchange: list[tuple[NDArray[np.floating], ...]] = []
        self._lock = threading.Lock()
        logger.info("CPU kernels for %s: the very first frame takes some fifteen seconds, to compile them", dtype)
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def components(self, frames: Sequence[Frame]) -> list[NDArray[np.float64]]:
        """Return the irreducible components of each frame, [1, n_atoms, n_components]: those of the one member."""
        with self._lock:
            return [self._components(frame)[None] for frame in frames]

    def _components(self, frame: Frame) -> NDArray[np.float64]:
        pairs = self.neighbours.pairs(frame)
        geometry = Geometry(*pairs, *self._arrange(self._index[frame.numbers]))
        self._reserve(geometry)
        outputs = np.zeros((len(frame), self.n_components))
        before, received = self._exchange[-1]
        for program, (features, sent) in zip(self.programs, self._exchange, strict=True):
            exchange = Exchange(received, sent, before, features, outputs)
            if self._layer(program, geometry, exchange) < CLOSEST**2:
                neighbours(frame, self.neighbours.cutoff)  # raises, and says which atoms
            before, received = features, sent
        return outputs

    def _layer(self, program: LayerProgram, geometry: Geometry, exchange: Exchange) -> float:
        """Carry out a layer, return the smallest distance squared."""
        edges = np.linspace(0, len(geometry.atoms), self.n_threads + 1).astype(int).tolist()
        parts = [
            (program, geometry, scratch, exchange, *part)
            for scratch, part in zip(self._scratch, itertools.pairwise(edges), strict=True)
        ]
        if len(parts) == 1:
            return float(run_layer(*parts[0]))
        return float(min(self._threads().map(lambda part: run_layer(*part), parts)))

    def _threads(self) -> ThreadPoolExecutor:
        """Return this process' threads; those of the process that it was forked from did not come along."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), ThreadPoolExecutor(self.n_threads)
        return self._pool[1]

    def _arrange(self, species: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Return the blocks of these atoms, which are the same in every frame of a trajectory."""
        if not np.array_equal(species, self._species):
            self._species, self._blocks = species, _blocks(species)
        return self._blocks

    def _reserve(self, geometry: Geometry) -> None:
        """Make room for a frame, if there is not enough."""
        counts = np.append(np.diff(geometry.first), 0)
        most = int(counts[geometry.atoms].sum(axis=1).max())
        if not self._scratch or self._scratch[0].lengths.shape[0] < most + CHUNK * CHUNK:
            self._scratch = [_scratch(self.programs, int(1.2 * most), self.dtype) for _ in range(self.n_threads)]
        n_blocks = len(geometry.atoms)
        if not self._exchange or len(self._exchange[0][0]) < n_blocks:
            self._exchange = [
                (
                    np.zeros((n_blocks, program.features[1] if program.message else 0), self.dtype),
                    np.zeros(n_blocks * BLOCK * program.message, self.dtype),
                )
                for program in self.programs
            ]


def _blocks(species: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the atoms of each block, its element, and each atom's place; see `Geometry`."""
    atoms, elements = [np.zeros((0, BLOCK), np.int64)], [np.zeros(0, np.int64)]
    for element in np.unique(species):
        own = np.flatnonzero(species == element)
        atoms.append(np.pad(own, (0, -len(own) % BLOCK), constant_values=-1).reshape(-1, BLOCK))
        elements.append(np.full(len(atoms[-1]), element))
    together = np.concatenate(atoms)
    places = np.zeros(len(species), np.int64)
    used = np.flatnonzero(together.ravel() >= 0)
    places[together.ravel()[used]] = used
    return together, np.concatenate(elements), places


def _scratch(layers: Sequence[LayerProgram], n_pairs: int, dtype: np.dtype) -> Scratch:
    """Return arrays for blocks of up to `n_pairs` pairs, and whole vectors beyond."""
    n_pairs = padded(n_pairs, 64) + 64
    n_radial = max(layer.n_radial for layer in layers)
    n_harmonics = max((layer.lmax + 1) ** 2 for layer in layers)
    n_mixed = max((layer.lmax + 1) * layer.n_mixed for layer in layers)
    n_basis = max((layer.lmax + 1) ** 2 * layer.n_mixed for layer in layers)
    n_density = max(padded((layer.lmax + 1) ** 2 * layer.n_mixed, ROWS) * layer.width for layer in layers)
    n_work = max(layer.workspace for layer in layers)
    return Scratch(
        work=np.zeros(n_work, dtype),
        lengths=np.zeros(n_pairs),
        units=np.zeros((3, n_pairs)),
        places=np.zeros(n_pairs, np.int64),
        starts=np.zeros(n_pairs, np.int32),
        terms=np.zeros((4, n_pairs)),
        bessel=np.zeros((n_radial, n_pairs), dtype),
        harmonics=np.zeros((padded(n_harmonics, ROWS), n_pairs), dtype),
        mixed=np.zeros((padded(n_mixed, ROWS), n_pairs), dtype),
        basis=np.zeros((padded(n_basis, ROWS), n_pairs), dtype),
        table=np.zeros((n_pairs, layers[0].width), dtype),
        density=np.zeros(max(n_density, n_work), dtype),
        counting=np.arange(max(n_pairs, n_radial), dtype=np.int32),
        bessel_rows=(np.arange(n_radial) * n_pairs).astype(np.int32),
    )
