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
from mda_aptnn.readers import cp2k  # noqa: F401  (registers its reader with MDAnalysis)

if TYPE_CHECKING:
    from mda_aptnn.analysis.flux.atom_flux import load_groups
    from mda_aptnn.analysis.flux.dipole_flux import DipoleFlux
    from mda_aptnn.analysis.flux.flux_series import FluxSeries
    from mda_aptnn.analysis.flux.molecular_flux import MoleculesInMemory, open_molecules
    from mda_aptnn.analysis.flux.path_integrals import average_beads, centroid_universe
    from mda_aptnn.analysis.flux.stream import FluxStream
    from mda_aptnn.analysis.motions.normal_modes import NormalModes
    from mda_aptnn.analysis.raman.raman import RamanSpectrum
    from mda_aptnn.analysis.raman.sfg import SumFrequencySpectrum
    from mda_aptnn.analysis.report import write_report
    from mda_aptnn.analysis.space.spatial import axis_profile, distance_spectrum
    from mda_aptnn.analysis.space.spatial_spectra import AxisProfile, DistanceSpectrum
    from mda_aptnn.analysis.spectra.bands import band_integral, band_share, peaks
    from mda_aptnn.analysis.spectra.comparison import compare
    from mda_aptnn.analysis.spectra.convergence import convergence
    from mda_aptnn.analysis.spectra.dielectric import DielectricSpectrum, dielectric_spectrum
    from mda_aptnn.analysis.spectra.dipoles import DipoleSeries
    from mda_aptnn.analysis.spectra.spectrogram import Spectrogram, spectrogram
    from mda_aptnn.analysis.spectra.spectrum import Spectrum
    from mda_aptnn.analysis.spectra.vdos import VibrationalDensity
    from mda_aptnn.analysis.spectra.velocity_spectrum import VelocitySpectrum, stored_density
    from mda_aptnn.dataset import Dataset, LabelledFrame, read_labels, write_xyz
    from mda_aptnn.frames import Frame
    from mda_aptnn.models.fixed_charges import FixedCharges
    from mda_aptnn.models.predict import load_model
    from mda_aptnn.trajectory import UniverseFrames

cite(__name__)

#: Where each public name lives; torch is imported by the first one that needs it.
_HOME = {
    "AxisProfile": "analysis.space.spatial_spectra",
    "Dataset": "dataset",
    "DielectricSpectrum": "analysis.spectra.dielectric",
    "DipoleFlux": "analysis.flux.dipole_flux",
    "DipoleSeries": "analysis.spectra.dipoles",
    "DistanceSpectrum": "analysis.space.spatial_spectra",
    "FixedCharges": "models.fixed_charges",
    "FluxSeries": "analysis.flux.flux_series",
    "FluxStream": "analysis.flux.stream",
    "Frame": "frames",
    "LabelledFrame": "dataset",
    "MoleculesInMemory": "analysis.flux.molecular_flux",
    "NormalModes": "analysis.motions.normal_modes",
    "RamanSpectrum": "analysis.raman.raman",
    "Spectrogram": "analysis.spectra.spectrogram",
    "Spectrum": "analysis.spectra.spectrum",
    "SumFrequencySpectrum": "analysis.raman.sfg",
    "UniverseFrames": "trajectory",
    "VelocitySpectrum": "analysis.spectra.velocity_spectrum",
    "VibrationalDensity": "analysis.spectra.vdos",
    "average_beads": "analysis.flux.path_integrals",
    "axis_profile": "analysis.space.spatial",
    "band_integral": "analysis.spectra.bands",
    "band_share": "analysis.spectra.bands",
    "centroid_universe": "analysis.flux.path_integrals",
    "compare": "analysis.spectra.comparison",
    "convergence": "analysis.spectra.convergence",
    "dielectric_spectrum": "analysis.spectra.dielectric",
    "distance_spectrum": "analysis.space.spatial",
    "load_groups": "analysis.flux.atom_flux",
    "load_model": "models.predict",
    "open_molecules": "analysis.flux.molecular_flux",
    "peaks": "analysis.spectra.bands",
    "read_labels": "dataset",
    "spectrogram": "analysis.spectra.spectrogram",
    "stored_density": "analysis.spectra.velocity_spectrum",
    "write_report": "analysis.report",
    "write_xyz": "dataset",
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
    "band_integral",
    "band_share",
    "centroid_universe",
    "compare",
    "convergence",
    "dielectric_spectrum",
    "distance_spectrum",
    "load_groups",
    "load_model",
    "open_molecules",
    "peaks",
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
