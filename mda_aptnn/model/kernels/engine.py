"""The engine "cpu": a network in the density form, evaluated by compiled kernels."""

from __future__ import annotations

import itertools
import os
import platform
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from mda_aptnn.compiled import processor_features
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.graph import CLOSEST, NeighbourList, Pairs, frame_atoms, neighbours, search_pairs
from mda_aptnn.model.architectures import ARCHITECTURES
from mda_aptnn.model.file import ModelFile
from mda_aptnn.model.inputs import frames_apart
from mda_aptnn.model.kernels.kernels import PAIRS, Exchange, Geometry, Scratch, run_layer
from mda_aptnn.model.kernels.program import BLOCK, LayerProgram, padded, programs
from mda_aptnn.model.kernels.tiles import RADIAL, ROWS

if platform.machine().lower() in ("x86_64", "amd64") and "avx2" not in processor_features():
    warnings.warn(
        "numba compiles for a processor without AVX2: prediction takes several times longer",
        stacklevel=2,
    )

#: Frames of a batch that have more atoms in all are predicted one by one: they fill the blocks, and
#: keep neighbours.
FEW_ATOMS = 64


class CpuEngine:
    """A density network, or a committee of them, as compiled kernels; see `cpu_kernels`.

    Atoms are predicted in blocks. An atom's result depends on nothing but its neighbours: not on
    other atoms of its block, on other frames of a batch, on the number of threads, to the last bit.
    Arrays are kept from frame to frame, and so are the neighbours of a trajectory. Members of a
    committee share neighbours and their geometry, and the whole body where they differ in their
    last layer only.

    Parameters
    ----------
    contents : ModelFile
        Of an architecture that has the engine "cpu".
    dtype : {"float32", "float64"}
        Of weights and features; geometry is float64 always.
    n_threads : int
        Blocks are shared among so many threads.

    Raises
    ------
    ModelError
        If numba is told not to compile.
    """

    #: Atoms of a frame that are predicted at a time, with some 4 kB each (and 2 kB more for each
    #: further member).
    most_atoms = 200_000

    def __init__(self, contents: ModelFile, dtype: str, n_threads: int) -> None:
        if "cpu" not in ARCHITECTURES[contents.architecture].engines:
            raise ModelError(
                f"engine 'cpu' has no kernels for architecture {contents.architecture!r}: use "
                "'torch'"
            )
        if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
            raise ModelError(
                "engine 'cpu' is compiled, which NUMBA_DISABLE_JIT forbids: unset it, or use "
                "'torch'"
            )
        self.dtype, self.n_threads = np.dtype(dtype), n_threads
        networks = contents.networks(torch.float64)
        self.programs = programs(networks, self.dtype.type, shared_body=contents.shares_body)
        self.n_components = contents.target.n_components
        self.cutoffs = sorted({program.cutoff for program in self.programs}, reverse=True)
        self.neighbours = NeighbourList(self.cutoffs)
        self._index = np.full(max(contents.numbers) + 1, -1)
        self._index[contents.numbers] = np.arange(len(contents.numbers))
        self._arranged = Arranged([np.zeros(0, np.int64)])
        self._scratch: list[Scratch] = []
        # both are the same objects in every frame that keeps its pairs
        self._room_for: tuple[object, object] = None, None
        self._exchange: list[tuple[NDArray[np.floating], ...]] = []
        self.seconds = {"neighbours": 0.0, "network": 0.0}
        self._lock = threading.Lock()
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def components(self, frames: Sequence[Frame]) -> list[NDArray[np.float64]]:
        """Return the irreducible components of each frame, [n_members, n_atoms, n_components]."""
        with self._lock:
            few = iter(self._predict([frame for frame in frames if len(frame) < FEW_ATOMS]))
            return [
                next(few) if len(frame) < FEW_ATOMS else self._predict([frame])[0]
                for frame in frames
            ]

    def _predict(self, frames: list[Frame]) -> list[NDArray[np.float64]]:
        """Predict frames as if they were one. A large one is alone, and keeps its neighbours."""
        if not frames:
            return []
        start = time.perf_counter()
        species = [self._index[frame.numbers] for frame in frames]
        if not self._arranged.fits(species):
            self._arranged = Arranged(species)
        arranged = self._arranged
        if len(frames[0]) >= FEW_ATOMS:
            pairs = self.neighbours.pairs(frames[0], arranged.order)
        else:
            atoms = itertools.starmap(frame_atoms, zip(frames, arranged.orders, strict=True))
            pairs = search_pairs(list(atoms), self.cutoffs)[0]
        middle = time.perf_counter()
        outputs = self._evaluate(pairs, arranged, frames)
        self.seconds["neighbours"] += middle - start
        self.seconds["network"] += time.perf_counter() - middle
        return frames_apart(outputs, frames)

    def _evaluate(
        self, pairs: Pairs, arranged: Arranged, frames: Sequence[Frame]
    ) -> NDArray[np.float64]:
        """Return the components of all atoms of some frames, [n_members, n_atoms, n_components]."""
        self._reserve(pairs, arranged)
        last, n_atoms = self.programs[-1], len(arranged.order)
        outputs = np.zeros((len(last.weights), n_atoms, last.scale.shape[2]))
        before, received = self._exchange[-1]
        for program, (features, sent) in zip(self.programs, self._exchange, strict=True):
            first = pairs.first[self.cutoffs.index(program.cutoff)]
            geometry = Geometry(
                pairs.positions, first, pairs.neighbour, pairs.image, pairs.translations,
                arranged.species, arranged.atoms, arranged.elements, arranged.places,
                arranged.order,
            )  # fmt: skip
            exchange = Exchange(received, sent, before, features, outputs)
            if self._layer(program, geometry, exchange) < CLOSEST**2:
                for frame in frames:
                    neighbours(frame, self.cutoffs[0])  # raises, and says which atoms
            before, received = features, sent
        # members of one body come out side by side
        parts = outputs.reshape(len(outputs), n_atoms, -1, self.n_components)
        return np.ascontiguousarray(parts.transpose(0, 2, 1, 3)).reshape(
            -1, n_atoms, self.n_components
        )

    def _layer(self, program: LayerProgram, geometry: Geometry, exchange: Exchange) -> float:
        """Carry out a layer, return the smallest distance squared."""
        n_blocks = len(geometry.atoms)
        edges = [n_blocks * number // self.n_threads for number in range(self.n_threads + 1)]
        parts = [
            (tuple(program), tuple(geometry), tuple(scratch), tuple(exchange), *part)
            for scratch, part in zip(self._scratch, itertools.pairwise(edges), strict=True)
        ]
        if len(parts) == 1:
            return float(run_layer(*parts[0]))
        return float(min(self._threads().map(lambda part: run_layer(*part), parts)))

    def _threads(self) -> ThreadPoolExecutor:
        """Return this process' threads; those of the process that it was forked from did not come
        along.
        """
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), ThreadPoolExecutor(self.n_threads)
        return self._pool[1]

    def _reserve(self, pairs: Pairs, arranged: Arranged) -> None:
        """Make room for a frame, if there is not enough."""
        if self._room_for[0] is pairs.first and self._room_for[1] is arranged:
            return
        counts = np.append(np.diff(pairs.first[0]), 0)
        most = int(counts[arranged.atoms].sum(axis=1).max())
        if not self._scratch or self._scratch[0].lengths.shape[0] < padded(most, PAIRS) + PAIRS:
            self._scratch = [
                _scratch(self.programs, int(1.2 * most), self.dtype) for _ in range(self.n_threads)
            ]
        n_blocks = len(arranged.atoms)
        if not self._exchange or self._exchange[0][0].shape[1] < n_blocks:
            exchange = []
            for program in self.programs:
                length = program.features[1] if program.message else 0
                shapes = (n_blocks, length), (n_blocks * BLOCK * program.message,)
                n_members = len(program.weights)
                arrays = (np.zeros((n_members, *shape), self.dtype) for shape in shapes)
                exchange.append(tuple(arrays))
            self._exchange = exchange
        self._room_for = pairs.first, arranged


class Arranged:
    """Atoms of one or more frames in the order of their elements within each frame, and in blocks
    of one element.

    Parameters
    ----------
    species : sequence of ndarray of int, shape [n_atoms]
        Index of each atom's element, for each frame.

    Attributes
    ----------
    orders : list of ndarray of int
        Of each frame: its atoms in the order of their elements.
    order : ndarray of int, shape [n_atoms]
        The same for all frames as if they were one.
    species, atoms, elements, places : ndarray
        In this order; see `Geometry`.
    """

    def __init__(self, species: Sequence[NDArray[np.int64]]) -> None:
        self._species = list(species)
        starts = np.cumsum([0, *map(len, species)])[:-1]
        self.orders = [np.argsort(own, kind="stable") for own in species]
        self.order = np.concatenate(
            [order + start for order, start in zip(self.orders, starts, strict=True)]
        )
        self.species = np.concatenate(self._species)[self.order]
        atoms, elements = [np.zeros((0, BLOCK), np.int64)], [np.zeros(0, np.int64)]
        for element in np.unique(self.species):
            own = np.flatnonzero(self.species == element)
            atoms.append(np.pad(own, (0, -len(own) % BLOCK), constant_values=-1).reshape(-1, BLOCK))
            elements.append(np.full(len(atoms[-1]), element))
        self.atoms, self.elements = np.concatenate(atoms), np.concatenate(elements)
        self.places = np.zeros(len(self.species), np.int64)
        used = np.flatnonzero(self.atoms.ravel() >= 0)
        self.places[self.atoms.ravel()[used]] = used

    def fits(self, species: Sequence[NDArray[np.int64]]) -> bool:
        """Whether frames of these species are arranged like this."""
        return len(species) == len(self._species) and all(
            map(np.array_equal, species, self._species)
        )


def _scratch(layers: Sequence[LayerProgram], n_pairs: int, dtype: np.dtype) -> Scratch:
    """Return arrays for blocks of up to `n_pairs` pairs, and whole vectors beyond."""
    n_pairs = padded(n_pairs, 2 * PAIRS) + 2 * PAIRS

    def rows(count: Callable[[LayerProgram], int]) -> int:
        return max(padded(count(layer), ROWS) for layer in layers)

    n_radial, n_work = (
        max(getattr(layer, name) for layer in layers) for name in ("n_radial", "workspace")
    )
    n_basis = rows(lambda layer: (layer.lmax + 1) ** 2 * layer.n_mixed)
    n_density = n_basis * max(layer.width for layer in layers)
    table = n_pairs, padded(layers[0].n_radial, RADIAL)
    return Scratch(
        work=np.zeros(n_work, dtype),
        lengths=np.zeros(n_pairs),
        units=np.zeros((3, n_pairs)),
        places=np.zeros(n_pairs, np.int64),
        starts=np.zeros(n_pairs, np.int32),
        terms=np.zeros((4, n_pairs)),
        bessel=np.zeros((n_radial, n_pairs), dtype),
        harmonics=np.zeros((rows(lambda layer: (layer.lmax + 1) ** 2), n_pairs), dtype),
        mixed=np.zeros((rows(lambda layer: (layer.lmax + 1) * layer.n_mixed), n_pairs), dtype),
        basis=np.zeros((n_basis, n_pairs), dtype),
        table=np.zeros(table, dtype),
        firsts=np.zeros(BLOCK * layers[0].n_species + 1, np.int64),
        density=np.zeros(max(n_density, n_work), dtype),
        counting=np.arange(max(n_pairs, n_radial), dtype=np.int32),
        bessel_rows=(np.arange(n_radial) * n_pairs).astype(np.int32),
    )
