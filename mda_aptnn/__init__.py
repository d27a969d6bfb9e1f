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
from mda_aptnn.readers import cp2k  # noqa: F401  (registers its reader with MDAnalysis)

if TYPE_CHECKING:
    from mda_aptnn.analysis.atom_flux import load_groups
    from mda_aptnn.analysis.flux import DipoleFlux
    from mda_aptnn.analysis.flux_series import FluxSeries
    from mda_aptnn.analysis.normal_modes import NormalModes
    from mda_aptnn.analysis.raman import RamanSpectrum
    from mda_aptnn.analysis.sfg import SumFrequencySpectrum
    from mda_aptnn.analysis.spectrum import Spectrum
    from mda_aptnn.dataset import Dataset, LabelledFrame, read_labels, write_xyz
    from mda_aptnn.frames import Frame
    from mda_aptnn.models.fixed_charges import FixedCharges
    from mda_aptnn.models.predict import load_model
    from mda_aptnn.trajectory import UniverseFrames

#: Where each public name lives; torch is imported by the first one that needs it.
_HOME = {
    "Dataset": "dataset",
    "DipoleFlux": "analysis.flux",
    "FixedCharges": "models.fixed_charges",
    "FluxSeries": "analysis.flux_series",
    "Frame": "frames",
    "LabelledFrame": "dataset",
    "NormalModes": "analysis.normal_modes",
    "RamanSpectrum": "analysis.raman",
    "Spectrum": "analysis.spectrum",
    "SumFrequencySpectrum": "analysis.sfg",
    "UniverseFrames": "trajectory",
    "load_groups": "analysis.atom_flux",
    "load_model": "models.predict",
    "read_labels": "dataset",
    "write_xyz": "dataset",
}

__all__ = [
    "Dataset",
    "DipoleFlux",
    "FixedCharges",
    "FluxSeries",
    "Frame",
    "LabelledFrame",
    "NormalModes",
    "RamanSpectrum",
    "Spectrum",
    "SumFrequencySpectrum",
    "UniverseFrames",
    "__version__",
    "load_groups",
    "load_model",
    "read_labels",
    "write_xyz",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mda_aptnn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mda_aptnn.{_HOME[name]}"), name)
