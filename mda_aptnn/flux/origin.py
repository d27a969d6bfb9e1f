"""What a flux was made of: names that are stored with it, and by which a checkpoint knows its own
run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.flux.frame_flux import FrameFlux
from mda_aptnn.flux.path_integrals import BeadMean
from mda_aptnn.frame import Frame
from mda_aptnn.model.domain import expected_residual
from mda_aptnn.model.predict import model_identity
from mda_aptnn.trajectory.motions.motions import Motions, take_apart
from mda_aptnn.trajectory.universe_frames import UniverseFrames


def model_signature(source: Any, model: Any, frame: Frame) -> str:
    """`model_identity`, for an object with what it predicts for `frame`, in few digits.

    On other hardware the last ones differ.
    """
    identity = model_identity(source, model)
    if getattr(model, "path", None) is None:
        tensors = np.asarray(model.predict(frame), dtype=float).ravel()
        identity += f" (predicts {np.cos(np.arange(len(tensors))) @ tensors:.4g})"
    return identity


def trajectory_files(trajectory: Any) -> list[str]:
    """Names of the trajectory's files, none for arrays in memory; with those of the other beads of
    a centroid.
    """
    names = [
        str(name)
        for name in getattr(trajectory, "filenames", [trajectory.filename])
        if name is not None
    ]
    beads = [
        bead
        for step in trajectory.transformations
        if isinstance(step, BeadMean)
        for bead in step.others
    ]
    return names + [name for bead in beads for name in trajectory_files(bead)]


def file_states(trajectory: Any) -> list[list[int]]:
    """Size and time of the last change of each of the trajectory's files; nothing for arrays in
    memory.
    """
    states = [os.stat(name) for name in trajectory_files(trajectory) if os.path.exists(name)]
    return [[state.st_size, state.st_mtime_ns] for state in states]


def frame_fingerprint(frame: Frame, velocities: NDArray[np.float64]) -> np.uint64:
    """Return a number that tells a frame of a trajectory from any other.

    Parameters
    ----------
    frame : Frame
    velocities : ndarray, shape [n_atoms, 3]
        In Å/ps.

    Returns
    -------
    uint64
        Of positions, cell and velocities in single precision, in which most files have them.
    """
    digest = hashlib.blake2b(frame.pbc.tobytes(), digest_size=8)
    for values in (frame.positions, frame.cell, velocities):
        digest.update(values.astype("<f4").tobytes())
    return np.uint64(int.from_bytes(digest.digest(), "little"))


def description(source: Any, model: Any, sums: FrameFlux, trajectory: Any) -> dict[str, Any]:
    """Return what is stored with a flux: model, level of theory, sum rule, charge, atoms, files."""
    card = getattr(model, "info", None) or {}
    return {
        "model": model_identity(source, model),
        "level_of_theory": str(card.get("level_of_theory", "")),
        "expected_residual": expected_residual(card),
        "trained_temperature": (card.get("domain") or {}).get("temperature"),
        "sum_rule": sums.sum_rule,
        "charge": sums.charge,
        "n_atoms": len(sums.masses),
        "trajectory": trajectory_files(trajectory),
        "band_spread": dict(getattr(model, "band_spread", {})),
    }


def checkpoint_plan(
    source: Any,
    model: Any,
    sums: FrameFlux,
    frames: UniverseFrames,
    first: Frame,
    groups: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what the rows of a checkpoint depend on beside their own frames, which have
    fingerprints.

    Parameters
    ----------
    source, model
        As for `model_signature`.
    sums : FrameFlux
    frames : UniverseFrames
    first : Frame
        That of the first usable frame.
    groups : mapping or None
        As the user gave them: of those that are selected again in each frame, the first frame says
        too little.
    """
    atoms = (sums.groups.fixed, frames.numbers, frames.indices, frames.masses)
    digest = hashlib.sha256(b"".join(values.tobytes() for values in atoms)).hexdigest()
    return {
        "model": model_signature(source, model, first),
        "first frame": first.fingerprint(),
        "degrees_of_freedom": str(sums.degrees_of_freedom),
        "trajectory": trajectory_files(frames.universe.trajectory),
        "groups": sums.names,
        "selections": {
            name: text for name, text in (groups or {}).items() if isinstance(text, str)
        },
        "updating": sums.groups.updating,
        "motions": None if sums.motions is None else _motions_signature(sums.motions, first),
        "atoms": digest,
        "per_atom": sums.keep_atoms,
        "sum_rule": sums.sum_rule,
        **{
            name: value
            for name, value in frames.settings.items()
            if name not in ("numbers", "indices")
        },
    }


def _motions_signature(motions: Motions, frame: Frame) -> str:
    """What motions make of one set of velocities, in few digits: names alone do not tell other
    coordinates.
    """
    phases = np.arange(3 * len(frame), dtype=float)
    parts = take_apart(motions, frame, np.sin(phases).reshape(-1, 3))
    return f"{float((parts * np.cos(np.arange(parts.size)).reshape(parts.shape)).sum()):.4g}"
