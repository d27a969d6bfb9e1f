"""The velocities of a trajectory, kept as they are read, for densities of states by groups and
motions.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn.elements import find_atoms
from mda_aptnn.errors import FileFormatError, GroupError, SpectrumError
from mda_aptnn.flux.atom_flux import open_atoms
from mda_aptnn.flux.checked_analysis import CheckedAnalysis
from mda_aptnn.flux.groups import choose_groups
from mda_aptnn.flux.guard import refuse_or_warn
from mda_aptnn.flux.origin import trajectory_files
from mda_aptnn.spectra.estimator import AUTO, Rates, takes_estimator
from mda_aptnn.spectra.vdos import VibrationalDensity, vibrational_density
from mda_aptnn.trajectory.molecules import MoleculesOnDemand
from mda_aptnn.trajectory.motions.motions import take_apart

#: Velocities beyond so many bytes are kept in a temporary file instead of memory.
_IN_MEMORY = 1_000_000_000


class VelocitySpectrum(CheckedAnalysis):
    """Read the velocities of atoms and make densities of states of them.

    Parameters
    ----------
    atomgroup : MDAnalysis.AtomGroup or MDAnalysis.Universe
        Atoms that count.
    groups : mapping of str to str or AtomGroup, optional
        Selections within `atomgroup`, which must not overlap and do not change. What they leave out
        is "rest".
    per : {"group", "element", "resname", "residue", "molecule"}
        Groups without selections.
    motions : optional
        As in `DipoleFlux`: "rigid" for translation, rotation and vibration of molecules, or
        internal coordinates.
    verbose : bool
        Show progress.
    velocities, velocity_unit, time_step, elements, cell, pbc, charge, check_temperature : optional
        How the trajectory is read, as in `mda_aptnn.UniverseFrames`; a charge is no matter.
    allow_aliasing, override_cell, allow_outside_domain : bool
        What goes on though it would be refused, as in `DipoleFlux`; the last is no matter.

    Attributes
    ----------
    results.velocities : ndarray of float32, shape [n_frames, n_motions, n_atoms, 3]
        In Å/ps; beyond 1 GB a memory map of a temporary file.
    results.times : ndarray, shape [n_frames]
        In ps.

    Raises
    ------
    TrajectoryError, GroupError
        If velocities, units, elements, cells or groups do not fit.
    """

    def __init__(
        self,
        atomgroup: Any,
        groups: Mapping[str, Any] | None = None,
        *,
        per: str = "group",
        motions: Any = None,
        verbose: bool = False,
        **reading: Any,
    ) -> None:
        super().__init__(atomgroup, verbose, **reading)
        self._groups, self._motions = self._take_apart(groups, motions, per=per)
        if self._groups.updating:
            raise GroupError(
                "a density of states needs groups that keep their atoms: give selections, not "
                "updated ones"
            )

    def run(
        self,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        frames: Any = None,
        verbose: bool | None = None,
    ) -> VelocitySpectrum:
        """Read the chosen frames; parameters as in MDAnalysis' `AnalysisBase.run`.

        Parameters
        ----------
        start, stop, step : int, optional
            Frames, as a slice.
        frames : array_like, optional
            Numbers of frames, or a mask, instead.
        verbose : bool, optional
            Show a progress bar.

        Returns
        -------
        VelocitySpectrum
            Itself.

        Raises
        ------
        TrajectoryError
            If the frames are not equally spaced.
        CheckError
            If a check refuses the run; see `check`.
        """
        self._doubts = refuse_or_warn(self.check(start, stop, step, frames))
        super().run(frames=self._wanted, verbose=verbose)
        return self

    @takes_estimator
    def density(
        self,
        temperature: Any = None,
        resolution: Any = AUTO,
        *,
        mass_weighted: bool = True,
        **how: Any,
    ) -> VibrationalDensity:
        """Return the density of states.

        Where bonds are constrained, degrees of freedom are counted by the kinetic temperature of
        translation and rotation, unless a temperature is given.

        Parameters
        ----------
        temperature, resolution, mass_weighted, window, unbiased, segments
            As in `mda_aptnn.spectra.vdos.vibrational_density`.

        Returns
        -------
        VibrationalDensity

        Raises
        ------
        SpectrumError
            If the trajectory is too short for the resolution, or bonds are constrained and atoms
            are not weighted by mass.
        """
        notes = [*self._frames.notes, *self._doubts]
        kelvin, error = self._findings.kinetic
        if temperature is None and self._findings.constrained and np.isfinite(kelvin):
            if not mass_weighted:
                raise SpectrumError(
                    "bonds are constrained: degrees of freedom are counted by m v², which "
                    "mass_weighted=False leaves out; count with masses"
                )
            temperature = kelvin
            notes.append(
                "bonds are constrained: degrees of freedom by the kinetic temperature of "
                f"translation and rotation, {kelvin:.0f} ± {error:.0f} K"
            )
        rates = Rates(
            self.results.velocities,
            self._timeline.starts.tolist(),
            self._timeline.spacing,
            ("",) if self._motions is None else self._motions.names,
            self._finite_difference,
        )
        checks = self._findings.checks.to_json()
        atoms = self._frames.masses, self._groups.fixed, self._groups.names
        info = {"trajectory": trajectory_files(self._trajectory), "checks": checks}
        how |= {"mass_weighted": mass_weighted, "notes": notes, "info": info}
        return vibrational_density(rates, *atoms, temperature, resolution, **how)

    def _prepare(self) -> None:
        n_motions = 1 if self._motions is None else len(self._motions.names)
        self.results.velocities = _allocate((self.n_frames, n_motions, len(self._frames.masses), 3))

    def _single_frame(self) -> None:
        frame, velocities = self._frames.read()
        parts = (
            velocities if self._motions is None else take_apart(self._motions, frame, velocities)
        )
        self.results.velocities[self._frame_index] = parts

    def _conclude(self) -> None:
        self.results.times = self.times = self._timeline.times


def stored_density(
    path: str | os.PathLike[str],
    universe: Any,
    groups: Mapping[str, Any] | None = None,
    *,
    per: str = "group",
    elements: Mapping[str, str] | None = None,
    **options: Any,
) -> VibrationalDensity:
    """Return the density of states of the atoms whose velocities were kept by the pass that made
    the flux.

    Parameters
    ----------
    path : path
        Written by `DipoleFlux.save` with ``per="atom"``.
    universe : MDAnalysis.Universe or MDAnalysis.AtomGroup
        Of the same topology, for selections and masses. Its trajectory is not needed.
    groups, per, elements
        As in `VelocitySpectrum`.
    **options
        Of `VelocitySpectrum.density`.

    Returns
    -------
    VibrationalDensity

    Raises
    ------
    FileFormatError
        If the file has no velocities of atoms.
    GroupError
        If the topology has other atoms, or the groups do not fit.
    """
    with open_atoms(path, universe) as (series, stored):
        if "velocities" not in stored.data:
            raise FileFormatError(
                f'{path} has no velocities of atoms; make it again with per="atom"'
            )
        info = dict(series.info)
        notes = list(info.pop("notes", []))
        indices, numbers, first = stored.indices, stored.numbers, stored.first_frame()
        molecules = MoleculesOnDemand(universe.universe, indices, first, notes)
        everything = universe.universe.atoms[indices]
        chosen = choose_groups(everything, groups, indices, numbers, molecules, per=per)
        atoms = find_atoms(universe.universe, elements)
        masses = atoms.masses[np.searchsorted(atoms.indices, indices)]
        values = _Stored(stored.data["velocities"])
        rates = Rates(values, series.starts, series.spacing, ("",), series.finite_difference)
        options |= {"notes": notes, "info": info}
        return vibrational_density(rates, masses, chosen.fixed, chosen.names, **options)


class _Stored:
    """A data set [n_frames, n_atoms, 3] that is read some atoms at a time, as velocities without
    motions.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self.shape = (dataset.shape[0], 1, *dataset.shape[1:])

    def __getitem__(self, key: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        frames, motions, atoms = key
        values: NDArray[np.float32] = self._dataset[frames, atoms][:, None][:, motions]
        return values


def _allocate(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array in memory, or on disk where it is large."""
    if 4 * int(np.prod(shape)) <= _IN_MEMORY:
        return np.zeros(shape, dtype=np.float32)
    with tempfile.TemporaryFile(prefix="mda-aptnn-") as file:
        # the map keeps the file, which has no name any more, as long as it lives
        return np.memmap(file, np.float32, "w+", shape=shape)
