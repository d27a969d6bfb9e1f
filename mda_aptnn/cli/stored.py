"""Flux files in the place of trajectories: what is read from them, and which options they cannot
take.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from mda_aptnn.cli import options as opt

if TYPE_CHECKING:
    from mda_aptnn.flux.flux_series import FluxSeries


def is_stored(trajectory: list[Path] | None) -> bool:
    """Whether flux files stand where trajectories would.

    Raises
    ------
    OptionError
        If some are and others are not.
    """
    from mda_aptnn import io

    kinds = [io.kind_of(path) == "flux" for path in trajectory or []]
    if any(kinds) and not all(kinds):
        raise opt.OptionError(
            "flux files and trajectories cannot be read together; make the flux of the others first"
        )
    return any(kinds)


def stored_series(topology: Path, trajectory: list[Path], reading: opt.Reading) -> FluxSeries:
    """Return the flux of new groups from files with every atom's flux, without predicting again.

    Raises
    ------
    OptionError
        If an option has been given that only a prediction can follow.
    """
    from mda_aptnn.flux.atom_flux import load_groups
    from mda_aptnn.flux.flux_series import FluxSeries

    refuse_unused(
        trajectory[0], reading, {"group", "per", "updating", "motions", "topology_format"}
    )
    if reading.motions not in (None, "stored"):
        raise opt.OptionError(
            f"--motions {reading.motions}: a flux of atoms has its own motions; say --motions "
            f"stored"
        )
    [universe] = opt.open_universes(topology, None, None, reading.topology_format)
    groups = opt.pairs(reading.group, "group")
    return FluxSeries.merge(
        load_groups(
            path,
            universe,
            groups,
            per=reading.per,
            updating=reading.updating,
            motions=reading.motions == "stored",
        )
        for path in trajectory
    )


def refuse_unused(path: Path, reading: opt.Reading, used: set[str]) -> None:
    """Refuse options that a flux file cannot follow.

    Raises
    ------
    OptionError
        With their names.
    """
    fields = (field for field in dataclasses.fields(reading) if field.name not in used)
    unused = [field.name for field in fields if getattr(reading, field.name) != field.default]
    if unused:
        options = ", ".join("--" + name.replace("_", "-").removeprefix("file-") for name in unused)
        raise opt.OptionError(f"{path} is a flux already: {options} cannot change it; leave it out")
