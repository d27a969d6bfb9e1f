"""A network and labels small enough for tests in milliseconds."""

import dataclasses
import functools

import numpy as np
import torch

from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame, read_labels
from mda_aptnn.model.density import DensityNetwork, LayerConfig, NetworkConfig
from mda_aptnn.model.file import Member, ModelFile, state_arrays
from mda_aptnn.model.predict import BUNDLED
from mda_aptnn.tensors import APT

LABELS, MORE_LABELS = BUNDLED / "water32-rpbe-d3.xyz", BUNDLED / "water32-rpbe-d3-more.h5"

NETWORK = NetworkConfig(
    (
        LayerConfig(features="4x0e+4x1o+4x2e", cutoff=3.0, n_radial=3),
        LayerConfig(
            features="4x0e+4x1o+4x1e+4x2e", messages="2x0e+2x1o", cutoff=2.5, n_radial=2, lmax=1
        ),
    )
)


@functools.cache
def _all_labels() -> Dataset:
    return read_labels(LABELS)


def water(n_frames: int) -> Dataset:
    """The first of the bundled labelled frames, 96 atoms each."""
    return _all_labels().subset(range(n_frames))


def with_labels(item: LabelledFrame, apt: np.ndarray) -> LabelledFrame:
    return dataclasses.replace(item, tensors={"apt": apt})


def molecule(item: LabelledFrame, first: int, n_atoms: int = 3) -> LabelledFrame:
    """A few atoms of a frame on their own, with the labels that they had."""
    part = slice(first, first + n_atoms)
    return LabelledFrame(
        Frame(item.frame.numbers[part], item.frame.positions[part]), {"apt": item.apt[part]}
    )


def clusters(n_frames: int) -> Dataset:
    """The first eight molecules of each of these frames on their own, to be quicker still."""
    dataset = water(n_frames)
    return dataclasses.replace(dataset, frames=[molecule(item, 0, 24) for item in dataset])


def model_file(seed: int = 0, numbers: tuple[int, ...] = (1, 8)) -> ModelFile:
    """An untrained network, as a file has it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DensityNetwork(NETWORK, numbers, APT)
    return ModelFile(
        network=dataclasses.asdict(NETWORK),
        numbers=list(numbers),
        target=APT,
        members=[
            Member(
                state_arrays(network),
                {},
                {"step": np.arange(3), "validation_rmse": np.array([0.3, 0.1, 0.2])},
            )
        ],
        training={"seed": seed},
        card={"level_of_theory": "none: random weights"},
    )
