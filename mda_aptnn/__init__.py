"""Infrared spectra from molecular-dynamics trajectories by machine-learned atomic polar tensors.

    import MDAnalysis as mda
    from mda_aptnn import DipoleFlux

    universe = mda.Universe("topol.tpr", "traj.trr")
    flux = DipoleFlux(universe, "water-rpbe-d3", groups={"O": "element O"}).run(verbose=True)
    flux.spectrum(temperature="300 K", resolution="10 cm^-1").plot("ir.png")

Importing the package registers the reader of CP2K's trajectories with MDAnalysis (format "CP2K").
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mda_aptnn._version import __version__
from mda_aptnn.citations import cite
from mda_aptnn.trajectory import cp2k  # noqa: F401  (registers its reader with MDAnalysis)

if TYPE_CHECKING:
    from mda_aptnn.flux.atom_flux import load_groups
    from mda_aptnn.flux.dipole_flux import DipoleFlux
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.flux.molecular_flux import MoleculesInMemory, open_molecules
    from mda_aptnn.flux.path_integrals import average_beads, centroid_universe
    from mda_aptnn.frame import Frame
    from mda_aptnn.labels.dataset import Dataset, LabelledFrame, read_labels, write_xyz
    from mda_aptnn.live import FluxStream
    from mda_aptnn.model.fixed_charges import FixedCharges
    from mda_aptnn.model.predict import load_model
    from mda_aptnn.model.protocol import check_model
    from mda_aptnn.report import write_report
    from mda_aptnn.spectra.comparison import compare
    from mda_aptnn.spectra.convergence import convergence
    from mda_aptnn.spectra.dielectric import DielectricSpectrum, dielectric_spectrum
    from mda_aptnn.spectra.dipoles import DipoleSeries
    from mda_aptnn.spectra.infrared import Spectrum
    from mda_aptnn.spectra.raman import RamanSpectrum
    from mda_aptnn.spectra.sfg import SumFrequencySpectrum
    from mda_aptnn.spectra.spatial import axis_profile, distance_spectrum
    from mda_aptnn.spectra.spatial_spectra import AxisProfile, DistanceSpectrum
    from mda_aptnn.spectra.spectrogram import Spectrogram, spectrogram
    from mda_aptnn.spectra.vdos import VibrationalDensity
    from mda_aptnn.spectra.velocity_spectrum import VelocitySpectrum, stored_density
    from mda_aptnn.trajectory.motions.normal_modes import NormalModes
    from mda_aptnn.trajectory.universe_frames import UniverseFrames

cite(__name__)

#: Where each public name lives; torch is imported by the first one that needs it.
_HOME = {
    "AxisProfile": "spectra.spatial_spectra",
    "Dataset": "labels.dataset",
    "DielectricSpectrum": "spectra.dielectric",
    "DipoleFlux": "flux.dipole_flux",
    "DipoleSeries": "spectra.dipoles",
    "DistanceSpectrum": "spectra.spatial_spectra",
    "FixedCharges": "model.fixed_charges",
    "FluxSeries": "flux.flux_series",
    "FluxStream": "live",
    "Frame": "frame",
    "LabelledFrame": "labels.dataset",
    "MoleculesInMemory": "flux.molecular_flux",
    "NormalModes": "trajectory.motions.normal_modes",
    "RamanSpectrum": "spectra.raman",
    "Spectrogram": "spectra.spectrogram",
    "Spectrum": "spectra.infrared",
    "SumFrequencySpectrum": "spectra.sfg",
    "UniverseFrames": "trajectory.universe_frames",
    "VelocitySpectrum": "spectra.velocity_spectrum",
    "VibrationalDensity": "spectra.vdos",
    "average_beads": "flux.path_integrals",
    "axis_profile": "spectra.spatial",
    "centroid_universe": "flux.path_integrals",
    "check_model": "model.protocol",
    "compare": "spectra.comparison",
    "convergence": "spectra.convergence",
    "dielectric_spectrum": "spectra.dielectric",
    "distance_spectrum": "spectra.spatial",
    "load_groups": "flux.atom_flux",
    "load_model": "model.predict",
    "open_molecules": "flux.molecular_flux",
    "read_labels": "labels.dataset",
    "spectrogram": "spectra.spectrogram",
    "stored_density": "spectra.velocity_spectrum",
    "write_report": "report",
    "write_xyz": "labels.dataset",
}

__all__ = [
    "AxisProfile",
    "Dataset",
    "DielectricSpectrum",
    "DipoleFlux",
    "DipoleSeries",
    "DistanceSpectrum",
    "FixedCharges",
    "FluxSeries",
    "FluxStream",
    "Frame",
    "LabelledFrame",
    "MoleculesInMemory",
    "NormalModes",
    "RamanSpectrum",
    "Spectrogram",
    "Spectrum",
    "SumFrequencySpectrum",
    "UniverseFrames",
    "VelocitySpectrum",
    "VibrationalDensity",
    "__version__",
    "average_beads",
    "axis_profile",
    "centroid_universe",
    "check_model",
    "compare",
    "convergence",
    "dielectric_spectrum",
    "distance_spectrum",
    "load_groups",
    "load_model",
    "open_molecules",
    "read_labels",
    "spectrogram",
    "stored_density",
    "write_report",
    "write_xyz",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mda_aptnn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mda_aptnn.{_HOME[name]}"), name)
