"""Path integrals: the beads of a ring polymer, each with a trajectory of its own, as one sample.

Two estimators, which are the same for a dipole that is linear in the positions:

- beads: the velocity of the bead average of the dipole, ``1/P Σ_k Σ_i P_i(r^k) v_i^k``
  (ring-polymer MD and its thermostatted form). Make the flux of every bead, then `average_beads`.
- centroid: ``Σ_i P_i(r̄) v̄_i`` at the mean positions and velocities of the beads (centroid MD).
  `centroid_universe` makes them a Universe like any other.

Their correlation functions stand for the Kubo-transformed one, of which the prefactor of Eq. 2 with
the physical temperature makes n·α exactly: the factor βħω/(1 − e^{−βħω}) is no approximation there.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.checks import Checks, Verdict
from mda_aptnn.errors import TrajectoryError
from mda_aptnn.flux.flux_series import FluxSeries, combined, refuse_other_run, shared_frames
from mda_aptnn.frame import Cell
from mda_aptnn.model.domain import TEMPERATURE, temperature_check
from mda_aptnn.trajectory.kinetics import PLAUSIBLE, is_plausible
from mda_aptnn.trajectory.readers import timestep_cell

#: Times of beads are the same within this part, which single precision leaves.
_SAME_TIME = 1e-5
#: Bead temperatures may differ from their mean by this part: those of one molecule in a short run
#: do by 0.3.
_SAME = 0.4


def average_beads(beads: Sequence[FluxSeries]) -> FluxSeries:
    """Return the flux of the bead-averaged dipole of a ring polymer.

    Parameters
    ----------
    beads : sequence of FluxSeries
        Of all P beads, in any order, with the same frames, groups and model. Make them with
        ``check_temperature=False``: at 300 K and 32 beads, the velocities of a bead have 9600 K.

    Returns
    -------
    FluxSeries
        Its `temperatures` are physical: the kinetic temperature of the beads divided by P. Spectra
        take it like any other, with ``temperature=`` as the simulation had it.

    Raises
    ------
    TrajectoryError
        If the beads differ in frames, groups or model, or velocities do not have P times a
        plausible temperature.

    Notes
    -----
    A ring polymer of P beads with physical masses is sampled at P·T (the convention of i-PI and of
    most others), so that each bead has ⟨m v²⟩ = 3 P k_B T and their centroid 3 k_B T. As velocities
    of beads are independent at equal times, ⟨Ṁ²⟩ = 1/P² Σ_k (P k_B T) Σ_i ‖P_i^k‖²/m_i = k_B T Σ_i
    ‖P_i‖²/m_i with the mean over beads: equipartition holds as for one trajectory.
    """
    beads = list(beads)
    if not beads:
        raise TrajectoryError("there are no beads")
    first, n_beads = beads[0], len(beads)
    notes = [f"mean of {n_beads} beads; temperatures are those of the beads divided by {n_beads}"]
    for number, bead in enumerate(beads[1:], start=2):
        same = {
            "number of frames": (len(first), len(bead)),
            "series": (first.starts, bead.starts),
            "groups": (first.groups, bead.groups),
        }
        refuse_other_run(first, bead, f"bead {number}", **same)
        if abs(first.times - bead.times).max() > 0.01 * first.spacing:
            raise TrajectoryError(
                f"bead {number} has other times than bead 1; read the same frames of all"
            )
        if any(shared_frames(bead, other) > 1 for other in beads[: number - 1]) and len(notes) < 2:
            notes.append(
                f"{Verdict.LOOK}: beads: bead {number} has the same flux as an earlier one. Give "
                "each bead once."
            )
            warnings.warn(notes[-1], stacklevel=2)
    kinetic = np.array([bead.temperatures.mean() for bead in beads])
    _check_temperatures(kinetic)
    kelvin = first.info.get("kinetic_temperature", [])
    # a bead is hotter than the sample, as many times as there are beads: it is asked again
    hot, trained = f"{Verdict.LOOK}: {TEMPERATURE}", first.info.get("trained_temperature")
    checks = [x for x in first.info.get("checks", []) if not x["name"].startswith(TEMPERATURE)]
    if trained is not None:
        checks += Checks([temperature_check(trained, kinetic.mean() / n_beads)]).to_json()
    info = {
        "estimator": f"beads ({n_beads})",
        "kinetic_temperature": [None if value is None else value / n_beads for value in kelvin],
        "checks": checks,
        "notes": [n for n in first.info.get("notes", []) if not n.startswith(hot)] + notes,
    }
    temperatures = np.mean([bead.temperatures for bead in beads], axis=0) / n_beads
    mean = functools.partial(np.mean, axis=0)
    return combined(beads, mean, info, times=first.times, temperatures=temperatures)


def _check_temperatures(kinetic: NDArray[np.float64]) -> None:
    n_beads, mean = len(kinetic), float(kinetic.mean())
    if n_beads == 1 or not np.isfinite(mean):
        return
    if not is_plausible(mean / n_beads):
        raise TrajectoryError(
            f"the velocities of the beads have {mean:.4g} K, {mean / n_beads:.4g} K for each of "
            f"{n_beads} beads; that is not between {PLAUSIBLE[0]:g} and {PLAUSIBLE[1]:g} K; is "
            "their unit right (velocity_unit=)?"
        )
    off = int(np.abs(kinetic - mean).argmax())
    if abs(kinetic[off] - mean) > _SAME * mean:
        raise TrajectoryError(
            f"bead {off + 1} has a kinetic temperature of {kinetic[off]:.4g} K, the mean of all is "
            f"{mean:.4g} K: beads of one simulation have the same; were these normal modes or bead "
            "positions of other runs?"
        )


class BeadMean:
    """A transformation of MDAnalysis: positions and velocities of one bead become the mean over
    all.

    Parameters
    ----------
    others : sequence of MDAnalysis readers
        Trajectories of all other beads, with the same frames.
    """

    def __init__(self, others: Sequence[Any]) -> None:
        self.others = list(others)

    def __call__(self, ts: Any) -> Any:
        """Return the timestep with the mean over beads, in the image nearest to the first bead."""
        positions, shift = ts.positions.astype(float), np.zeros(3)
        velocities = ts.velocities.astype(float) if ts.has_velocities else None
        for number, reader in enumerate(self.others, start=2):
            other = reader[ts.frame]
            if abs(other.time - ts.time) > _SAME_TIME * max(abs(ts.time), 1e-3):
                raise TrajectoryError(
                    f"frame {ts.frame} of bead {number} is at {other.time:.6g} ps, that of bead 1 "
                    f"at {ts.time:.6g} ps; give the same frames of all beads"
                )
            if other.has_velocities != ts.has_velocities:
                raise TrajectoryError(
                    f"frame {ts.frame}: bead 1 or bead {number} has no velocities, the other one "
                    "has"
                )
            # beads of an atom are close to each other, and all have one cell, whose orientation a
            # reader knows and a timestep does not
            cell = Cell(timestep_cell(reader))
            shift = shift + cell.nearest(other.positions.astype(float) - positions)
            if velocities is not None:
                velocities += other.velocities
        ts.positions = positions + shift / (1 + len(self.others))
        if velocities is not None:
            ts.velocities = velocities / (1 + len(self.others))
        return ts


def centroid_universe(beads: Sequence[Any]) -> Any:
    """Return a Universe of the centroids of a ring polymer, read from the trajectories of its
    beads.

    Parameters
    ----------
    beads : sequence of MDAnalysis.Universe
        One for each bead, with the same atoms and frames. The first one is changed and returned.

    Returns
    -------
    MDAnalysis.Universe
        Its kinetic temperature is the physical one: `DipoleFlux` takes it as any other.

    Raises
    ------
    TrajectoryError
        If atoms or numbers of frames differ; when a frame is read, if times do.
    """
    if len(beads) == 0:
        raise TrajectoryError("there are no beads")
    first, *others = beads
    for number, bead in enumerate(others, start=2):
        if len(bead.atoms) != len(first.atoms) or len(bead.trajectory) != len(first.trajectory):
            raise TrajectoryError(
                f"bead {number} has {len(bead.atoms)} atoms in {len(bead.trajectory)} frames, bead "
                f"1 {len(first.atoms)} in {len(first.trajectory)}"
            )
        if list(getattr(first.atoms, "elements", [])) != list(getattr(bead.atoms, "elements", [])):
            raise TrajectoryError(
                f"bead {number} has other elements than bead 1: all beads need one order of atoms"
            )
    first.trajectory.add_transformations(BeadMean([bead.trajectory for bead in others]))
    return first
