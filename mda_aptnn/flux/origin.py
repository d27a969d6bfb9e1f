"""What a flux was made of: names that are stored with it, and by which a checkpoint knows its own
run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io
from mda_aptnn.flux.frame_flux import FrameFlux
from mda_aptnn.flux.groups import Groups
from mda_aptnn.frame import Frame
from mda_aptnn.model.domain import expected_residual
from mda_aptnn.model.mixture import Mixture
from mda_aptnn.model.predict import identities, model_identity
from mda_aptnn.trajectory.motions.motions import take_apart
from mda_aptnn.trajectory.universe_frames import UniverseFrames

#: More groups are not listed one by one.
LISTED = 20


def trajectory_files(trajectory: Any) -> list[str]:
    """Names of the trajectory's files, none for arrays in memory; with those of the other beads of
    a centroid, which a `BeadMean` knows.
    """
    readers = [trajectory]
    for step in trajectory.transformations:
        readers += getattr(step, "others", [])
    names = [getattr(reader, "filenames", [reader.filename]) for reader in readers]
    return [str(name) for own in names for name in own if name is not None]


def files_of(source: Any) -> list[Any]:
    """Files that models are of, of one or of a mixture."""
    each = source.values() if isinstance(source, Mapping) else [source]
    return [file for file in map(io.file_of, each) if file is not None]


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
    mixture = {}
    if isinstance(model, Mixture) and model.which is not None:
        each = identities(source, model).items()
        parts = [{"selection": name, "model": one} for name, one in each]
        mixture = {"mixture": shares_of_models(parts, model.which, sums.groups)}
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
        **mixture,
    }


def shares_of_models(
    parts: Sequence[Mapping[str, Any]], which: NDArray[np.int64], groups: Groups
) -> list[dict[str, Any]]:
    """Return which groups' fluxes come from which model of a mixture.

    Parameters
    ----------
    parts : sequence of mapping
        Of each model, such as its selection and name.
    which : ndarray of int, shape [n_atoms]
        Number of the model of each atom.
    groups : Groups

    Returns
    -------
    list of dict
        JSON-able: the same with n_atoms that count, and how many of them each of the groups has; of
        many groups together.
    """
    rows: list[dict[str, Any]] = []
    for place, part in enumerate(parts):
        of = groups.fixed[(which == place) & groups.wanted]
        counts = np.bincount(of, minlength=len(groups.names)).tolist()
        shares = {name: n for name, n in zip(groups.names, counts, strict=True) if n}
        if len(shares) > LISTED:
            first, *_, last = shares
            shares = {f"{len(shares)} groups from {first} to {last}": len(of)}
        rows.append({**part, "n_atoms": len(of), "groups": shares})
    return rows


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
        As the user gave it, and what it became.
    sums : FrameFlux
    frames : UniverseFrames
    first : Frame
        That of the first usable frame.
    groups : mapping or None
        As the user gave them: of those that are selected again in each frame, the first frame says
        too little.
    """
    atoms = (sums.groups.fixed, frames.numbers, frames.indices, frames.masses)
    identity = model_identity(source, model)
    # few digits: on other hardware the last ones differ
    if "sha256" not in identity:
        tensors = np.asarray(model.predict(first), dtype=float).ravel()
        identity += f" (predicts {np.cos(np.arange(len(tensors))) @ tensors:.4g})"
    moved = None
    if sums.motions is not None:
        # names alone do not tell other coordinates
        parts = take_apart(sums.motions, first, np.sin(np.arange(3.0 * len(first))).reshape(-1, 3))
        moved = f"{float((parts * np.cos(np.arange(parts.size)).reshape(parts.shape)).sum()):.4g}"
    settings = frames.settings
    del settings["numbers"], settings["indices"]
    return {
        "model": identity,
        "first frame": first.fingerprint(),
        "degrees_of_freedom": str(sums.degrees_of_freedom),
        "trajectory": trajectory_files(frames.universe.trajectory),
        "groups": sums.names,
        "selections": {
            name: text for name, text in (groups or {}).items() if isinstance(text, str)
        },
        "updating": sums.groups.updating,
        "motions": moved,
        "atoms": hashlib.sha256(b"".join(values.tobytes() for values in atoms)).hexdigest(),
        "per_atom": sums.keep_atoms,
        "sum_rule": sums.sum_rule,
        **settings,
    }
