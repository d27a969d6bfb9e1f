"""The spectrum of a simulation while it runs: frame by frame from a stream, in one pass and bounded
memory.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from MDAnalysis import Universe
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.checks import Checks
from mda_aptnn.errors import SpectrumError, TrajectoryError
from mda_aptnn.flux.frame_flux import FrameFlux, known_freedom
from mda_aptnn.flux.groups import check_atoms, choose_groups
from mda_aptnn.flux.guard import refuse_or_warn
from mda_aptnn.flux.origin import description
from mda_aptnn.model.domain import OPTION, domain_checks
from mda_aptnn.model.predict import load_model
from mda_aptnn.model.protocol import of_universe
from mda_aptnn.spectra import infrared
from mda_aptnn.spectra.estimator import AUTO, FEWEST, RESOLUTIONS, SEGMENT_LENGTH, Estimator
from mda_aptnn.spectra.lag_sums import LagSums
from mda_aptnn.spectra.of_flux import chosen_conditions
from mda_aptnn.spectra.result import pair_columns
from mda_aptnn.trajectory import kinetics
from mda_aptnn.trajectory.universe_frames import UniverseFrames

logger = logging.getLogger(__name__)

#: Times between frames are the same within this part, and this many ps for what rounding leaves.
_EVEN, _ROUNDING = 1e-3, 2e-6
#: Lags for this much smaller a spacing than that of the first two frames.
_MARGIN = 0.99


class FluxStream:
    """Ṁ of groups of atoms and its correlation function, accumulated as frames arrive.

    Parameters
    ----------
    atomgroup : MDAnalysis.AtomGroup or MDAnalysis.Universe
        Whose flux is wanted, of a Universe such as ``Universe("topol.tpr",
        "imd://localhost:8889")``; any other trajectory is read in one pass, too.
    model, groups, sum_rule, degrees_of_freedom, n_threads
        As in `DipoleFlux`.
    velocity_unit : str
        IMDv3 sends Å/ps.
    check_temperature : bool
        Refuse velocities whose kinetic temperature cannot be meant.
    resolution : float, str or pint.Quantity
        Full width at half maximum of a line in cm⁻¹; it fixes how many frames are kept.
    window : {"gaussian", "parzen", "bartlett", "hann"}
    **reading
        `elements`, `cell`, `pbc` and `charge` as in `mda_aptnn.UniverseFrames`.

    Attributes
    ----------
    n_frames : int
        Frames so far.
    notes : list of str
        What was assumed, and where frames were missing.

    Raises
    ------
    TrajectoryError, GroupError, ModelError, SpectrumError
        If velocities, units, groups, model or window do not fit.

    Notes
    -----
    The same sums as of a stored flux, over the same frames (`mda_aptnn.spectra.lag_sums`). Where
    frames are missing a new series begins. A stream can be read only once, and only forward.

    Examples
    --------
    >>> stream = FluxStream(universe, "water-rpbe-d3", {"O": "element O"})  # doctest: +SKIP
    >>> for n in stream:  # doctest: +SKIP
    ...     if n % 10000 == 0:
    ...         stream.spectrum("300 K").plot("now.png")
    """

    def __init__(
        self,
        atomgroup: Any,
        model: Any,
        groups: Mapping[str, Any] | None = None,
        *,
        resolution: Any = "10 cm^-1",
        window: str = "gaussian",
        velocity_unit: str = "angstrom/ps",
        sum_rule: str = "none",
        degrees_of_freedom: int | None = None,
        n_threads: int = 1,
        check_temperature: bool = True,
        **reading: Any,
    ) -> None:
        atoms = atomgroup.atoms if isinstance(atomgroup, Universe) else atomgroup
        check_atoms(atoms, "atomgroup")
        if window == "none":
            raise SpectrumError(
                "a stream needs a window that ends: choose gaussian, parzen, bartlett or hann"
            )
        # how long the stream will be is not known
        self._estimator = Estimator(RESOLUTIONS[0] if resolution == AUTO else resolution, window)
        self._model = load_model(model, n_threads=n_threads)
        self._frames = UniverseFrames(atoms.universe, velocities=None, **reading)
        self._model = of_universe(self._model, self._frames)
        self._frames.watch_volume()
        self._factor = units.velocity_factor(velocity_unit)
        self.notes: list[str] = self._frames.notes
        frame, masses = self._frames.frame(), self._frames.masses
        if hasattr(self._model, "check"):
            self._model.check(frame)
        # the simulation is under way: what its model was not made for is marked, not refused
        checks = Checks(tuple(domain_checks(self._model, [frame])))
        self.notes += refuse_or_warn(checks.allowing([OPTION]))
        velocities = self._velocities()
        temperature = kinetics.kinetic_temperature(velocities, masses)
        if check_temperature and not kinetics.is_plausible(temperature):
            unit = kinetics.likely_unit(temperature / self._factor**2)
            hint = f"; they are likely in {unit!r}" if unit else ""
            raise TrajectoryError(
                f"the kinetic temperature of the first frame is {temperature:.4g} K, so the unit "
                f"of the velocities is wrong{hint}; say it (velocity_unit=), or "
                "check_temperature=False if it is meant"
            )
        # frames that are still to come cannot be looked at
        looked_at = [(frame, velocities)]
        self._sums = FrameFlux(
            groups=choose_groups(atoms, groups, self._frames.indices, frame.numbers),
            motions=None,
            molecules=None,
            masses=masses,
            charge=self._frames.charge,
            sum_rule=sum_rule,
            degrees_of_freedom=known_freedom(degrees_of_freedom, looked_at, masses, self.notes),
            keep_atoms=False,
        )
        self._info = description(model, self._model, self._sums, atoms.universe.trajectory)
        self._lags: LagSums | None = None
        self._totals = {"temperatures": 0.0, "volumes": 0.0}
        self._residual = 0.0
        self._first: NDArray[np.float64] | None = None
        self._last = self._spacing = np.nan
        # of the series with the longest time: what the spacing is taken from
        self._begin, self._steps, self._longest = np.nan, 0, (0.0, 0)
        self._iterator: Iterator[Any] | None = None
        self._ended = False

    @property
    def n_frames(self) -> int:
        """Frames so far."""
        return int(self._first is not None) if self._lags is None else self._lags.n_frames

    def __iter__(self) -> Iterator[int]:
        """Read on, and give the number of frames so far after each, until the stream ends."""
        if self._iterator is None:
            self._iterator = iter(self._frames.universe.trajectory)
        # not a for loop, which would begin again where the reader is its own iterator
        while not self._ended:
            ts = next(self._iterator, None)
            self._ended = ts is None
            if ts is not None:
                self._add(float(ts.time))
                yield self.n_frames

    def run(self, n_frames: int | None = None) -> FluxStream:
        """Read until there are `n_frames`, or to the end of the stream.

        Parameters
        ----------
        n_frames : int, optional
            How many in all; until the stream ends by default.

        Returns
        -------
        FluxStream
            Itself.
        """
        if n_frames is None or self.n_frames < n_frames:
            for count in self:
                if count == n_frames:
                    break
        return self

    def spectrum(self, temperature: Any = None, *, volume: Any = None) -> infrared.Spectrum:
        """Return the spectrum of all frames so far.

        It has error bars as soon as there are four blocks of twice the length that the resolution
        needs. Of a longer run there are 8 to 16, which grow with it.

        Parameters
        ----------
        temperature, volume
            As in `FluxSeries.spectrum`.

        Returns
        -------
        Spectrum

        Raises
        ------
        SpectrumError
            If the temperature is not known, or there are too few frames for the resolution.
        """
        if self._lags is None:
            raise SpectrumError(f"{self.n_frames} frames so far: a spectrum needs two or more")
        kelvin, volume, notes = chosen_conditions(
            temperature, volume, self.temperature, self._totals["volumes"] / self.n_frames, "stream"
        )
        infrared.check_conditions(kelvin, volume)
        length, steps = self._longest
        plan = self._estimator.plan(length / steps, self._lags.lengths)
        correlation, components = self._lags.correlations(plan.n_lags)
        blocks, frames = self._lags.block_correlations(plan.n_lags)
        density = self._estimator.density_of_correlation(
            plan,
            pair_columns(correlation),
            np.array([pair_columns(block) for block in blocks if len(blocks) >= FEWEST]),
            frames,
            factor=infrared.section_factor(kelvin),
            autos=slice(len(self._sums.names)),
        )
        return infrared.spectrum_of_density(
            dataclasses.replace(density, correlation=correlation),
            components,
            self._sums.names,
            kelvin,
            volume,
            notes=[*self.notes, *notes],
            info={**self._info, "n_frames": self.n_frames, "sum_rule_residual": self._residual},
        )

    @property
    def temperature(self) -> float:
        """Mean kinetic temperature so far, in K; NaN where it is not known."""
        return self._totals["temperatures"] / max(1, self.n_frames)

    def _add(self, time: float) -> None:
        frame, groups = self._frames.frame(), self._sums.groups
        tensors = self._model.predict(frame)
        row = self._sums.row(tensors, frame, self._velocities(), groups.membership())
        for name in self._totals:
            self._totals[name] += float(row[name])
        self._residual = max(self._residual, float(np.abs(row["residuals"]).max()))
        if self._first is None:
            self._first, self._begin, self._last = row["flux"], time, time
            return
        step = time - self._last
        if self._lags is None:
            self._lags = self._start(step)
            self._lags.add(self._first)
        if abs(step - self._spacing) > _EVEN * self._spacing + _ROUNDING:
            self._lags.begin_series()
            self.notes.append(
                f"after {self._last:.6g} ps the next frame is at {time:.6g} ps: a new series"
            )
            logger.warning(self.notes[-1])
            self._begin, self._steps = time, 0
        else:
            self._steps += 1
            self._longest = max(self._longest, (time - self._begin, self._steps))
        self._lags.add(row["flux"])
        self._last = time

    def _start(self, spacing: float) -> LagSums:
        """The second frame says how far apart they are, and so how many are kept."""
        if not spacing > 0:
            raise TrajectoryError(
                f"the second frame is at {self._last + spacing:g} ps, the first one at "
                f"{self._last:g} ps: the stream must send the time (IMDv3: time = yes)"
            )
        self._spacing = spacing
        plan = self._estimator.plan(_MARGIN * spacing, [2**40])
        needed = SEGMENT_LENGTH / (units.SPEED_OF_LIGHT * self._estimator.resolution)
        return LagSums(plan.n_lags, len(self._sums.names), int(np.ceil(needed / spacing)))

    def _velocities(self) -> NDArray[np.float64]:
        ts = self._frames.universe.trajectory.ts
        if not ts.has_velocities:
            raise TrajectoryError(
                "the stream has no velocities; let the program send them (GROMACS IMD-v = yes, "
                "LAMMPS fix imd ... velocities on)"
            )
        velocities = np.asarray(ts.velocities, dtype=float)[self._frames.indices] * self._factor
        if not np.isfinite(velocities).all():
            raise TrajectoryError(f"frame {ts.frame}: a velocity is not finite")
        return velocities
