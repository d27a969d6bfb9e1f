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
from MDAnalysis import Universe
from MDAnalysis.analysis.base import AnalysisBase
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.checks import Checks
from mda_aptnn.elements import find_atoms, name_elements
from mda_aptnn.errors import FileFormatError, GroupError
from mda_aptnn.flux.atom_flux import identify_atoms
from mda_aptnn.flux.checked_analysis import chosen_timeline
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.groups import KINDS, check_atoms, choose_groups
from mda_aptnn.flux.guard import check_run, refuse_or_warn
from mda_aptnn.flux.origin import trajectory_files
from mda_aptnn.spectra.vdos import VibrationalDensity
from mda_aptnn.spectra.velocity_power import vibrational_density
from mda_aptnn.trajectory.molecules import MoleculesOnDemand
from mda_aptnn.trajectory.motions.motions import make_motions, take_apart
from mda_aptnn.trajectory.universe_frames import UniverseFrames

#: Velocities beyond so many bytes are kept in a temporary file instead of memory.
_IN_MEMORY = 1_000_000_000


class VelocitySpectrum(AnalysisBase):
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
    velocities, velocity_unit, time_step, elements, cell, pbc, check_temperature, allow_aliasing,
    override_cell
        As in `DipoleFlux`.
    verbose : bool
        Show progress.

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
        velocities: str = "trajectory",
        velocity_unit: str = "auto",
        time_step: Any = None,
        elements: Mapping[str, str] | None = None,
        cell: Any = None,
        pbc: Any = None,
        check_temperature: bool = True,
        allow_aliasing: bool = False,
        override_cell: bool = False,
        verbose: bool = False,
    ) -> None:
        atoms = atomgroup.atoms if isinstance(atomgroup, Universe) else atomgroup
        check_atoms(atoms, "atomgroup")
        super().__init__(atoms.universe.trajectory, verbose)
        self._frames = UniverseFrames(
            atoms.universe,
            velocities=velocities,
            velocity_unit=velocity_unit,
            time_step=time_step,
            elements=elements,
            cell=cell,
            pbc=pbc,
            check_temperature=check_temperature,
        )
        self._allowed = {"allow_aliasing": allow_aliasing, "override_cell": override_cell}
        self._frames.notes += name_elements(
            atoms.universe, self._frames.indices, self._frames.numbers
        )
        self._finite_difference = self._frames.spacing if velocities == "finite-difference" else 0.0
        self._trajectory[self._frames.usable_frames[0]]
        indices, masses = self._frames.indices, self._frames.masses
        molecules = MoleculesOnDemand(
            atoms.universe, indices, self._frames.frame(), self._frames.notes
        )
        if per not in ("group", *KINDS):
            raise ValueError(f"per={per!r}: choose one of group, {', '.join(KINDS)}")
        self._groups = choose_groups(per, atoms, groups, indices, self._frames.numbers, molecules)
        if self._groups.updating:
            raise GroupError(
                "a density of states needs groups that keep their atoms: give selections, not "
                "updated ones"
            )
        self._motions = (
            None if motions is None else make_motions(motions, atoms, indices, masses, molecules)
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
        self._checks = self.check(start, stop, step, frames)
        self._doubts = refuse_or_warn(self._checks)
        super().run(frames=self._wanted, verbose=verbose)
        return self

    def check(
        self,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        frames: Any = None,
    ) -> Checks:
        """Return what is found of these frames before all are read; `run` refuses what cannot be
        right.

        Parameters
        ----------
        start, stop, step, frames
            As in `run`.

        Returns
        -------
        Checks
        """
        self._wanted, self._timeline = chosen_timeline(self._frames, start, stop, step, frames)
        self._findings = check_run(self._frames, self._wanted, self._timeline, **self._allowed)
        return self._findings.checks

    def density(
        self,
        temperature: Any = None,
        resolution: Any = "10 cm^-1",
        window: str = "gaussian",
        *,
        mass_weighted: bool = True,
        segments: int | str | None = "auto",
    ) -> VibrationalDensity:
        """Return the density of states.

        Parameters
        ----------
        temperature : float, str or pint.Quantity, optional
            In K: the integral is then Σ m⟨v²⟩/k_B T, the degrees of freedom that move. Otherwise it
            is 3N; where bonds are constrained, the kinetic temperature of translation and rotation
            is taken.
        resolution : float, str or pint.Quantity
            Full width at half maximum of a line, in cm⁻¹.
        window : {"gaussian", "parzen", "bartlett", "hann", "none"}
        mass_weighted : bool
            Count atoms by m v² or by v².
        segments : int, "auto", "replicas" or None
            As in `FluxSeries.spectrum`.

        Returns
        -------
        VibrationalDensity

        Raises
        ------
        SpectrumError
            If the trajectory is too short for the resolution.
        """
        notes = [*self._frames.notes, *self._doubts]
        kelvin, error = self._findings.kinetic
        if temperature is None and self._findings.constrained and np.isfinite(kelvin):
            temperature = kelvin
            notes.append(
                f"bonds are constrained: degrees of freedom by the kinetic temperature of "
                f"translation and rotation, "
                f"{kelvin:.0f} ± {error:.0f} K"
            )
        return vibrational_density(
            self.results.velocities,
            self._frames.masses,
            self._groups.fixed,
            self._groups.names,
            starts=self._timeline.starts.tolist(),
            spacing=self._timeline.spacing,
            motions=("",) if self._motions is None else self._motions.names,
            mass_weighted=mass_weighted,
            temperature=None
            if temperature is None
            else units.magnitude(temperature, units.TEMPERATURE, "temperature"),
            resolution=units.magnitude(resolution, units.WAVENUMBER, "resolution"),
            window=window,
            segments=segments,
            finite_difference=self._finite_difference,
            info={
                "trajectory": trajectory_files(self._trajectory),
                "checks": self._checks.to_json(),
                "notes": notes,
            },
        )

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
        As in `VelocitySpectrum`; groups by molecules need the trajectory.
    **options
        Of `vibrational_density`: temperature (K), resolution (cm⁻¹), window, mass_weighted,
        segments.

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
    series = FluxSeries.load(path)
    with io.open_checked(path, "flux") as file:
        if "velocities" not in file.get("atoms", {}):
            raise FileFormatError(
                f'{path} has no velocities of atoms; make it again with per="atom"'
            )
        everything = universe.universe.atoms
        indices, numbers = identify_atoms(path, file["atoms"], everything)
        if per not in ("group", "element", "resname", "residue"):
            raise ValueError(f"per={per!r}: choose one of group, element, resname, residue")
        found = choose_groups(per, everything[indices], groups, indices, numbers, None)
        atoms = find_atoms(universe.universe, elements)
        masses = atoms.masses[np.searchsorted(atoms.indices, indices)]
        return vibrational_density(
            _Stored(file["atoms"]["velocities"]),
            masses,
            found.fixed,
            found.names,
            starts=series.starts,
            spacing=series.spacing,
            finite_difference=series.finite_difference,
            info=series.info,
            **options,
        )


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
