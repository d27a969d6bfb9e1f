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
import os
import sys
from typing import TYPE_CHECKING, Any

from mda_aptnn import citations  # noqa: F401  (tells duecredit at the end)
from mda_aptnn._version import __version__
from mda_aptnn.trajectory import cp2k  # noqa: F401  (registers its reader with MDAnalysis)

if TYPE_CHECKING:
    from mda_aptnn.flux.dipole_flux import DipoleFlux
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.frame import Frame
    from mda_aptnn.labels.dataset import Dataset
    from mda_aptnn.live import FluxStream
    from mda_aptnn.model.fixed_charges import FixedCharges
    from mda_aptnn.model.predict import load_model
    from mda_aptnn.model.trial import check_model
    from mda_aptnn.report import write_report
    from mda_aptnn.spectra.comparison import compare
    from mda_aptnn.spectra.dipoles import DipoleSeries
    from mda_aptnn.spectra.velocity_spectrum import VelocitySpectrum
    from mda_aptnn.training.distil import distil, train
    from mda_aptnn.training.evaluate import evaluate
    from mda_aptnn.trajectory.motions.normal_modes import NormalModes
    from mda_aptnn.trajectory.universe_frames import UniverseFrames

#: Where each public name lives; torch is imported by the first one that needs it.
_HOME = {
    "Dataset": "labels.dataset.Dataset",
    "DipoleFlux": "flux.dipole_flux.DipoleFlux",
    "DipoleSeries": "spectra.dipoles.DipoleSeries",
    "FixedCharges": "model.fixed_charges.FixedCharges",
    "FluxSeries": "flux.flux_series.FluxSeries",
    "FluxStream": "live.FluxStream",
    "Frame": "frame.Frame",
    "NormalModes": "trajectory.motions.normal_modes.NormalModes",
    "UniverseFrames": "trajectory.universe_frames.UniverseFrames",
    "VelocitySpectrum": "spectra.velocity_spectrum.VelocitySpectrum",
    "check_model": "model.trial.check_model",
    "compare": "spectra.comparison.compare",
    "distil": "training.distil.distil",
    "evaluate": "training.evaluate.evaluate",
    "load_model": "model.predict.load_model",
    "train": "training.distil.train",
    "write_report": "report.write_report",
}
#: Public names of version 0.1.0 that have left this level, and where they are now.
_MOVED = {
    "AxisProfile": "spectra.spatial.AxisProfile",
    "DielectricSpectrum": "spectra.dielectric.DielectricSpectrum",
    "DistanceSpectrum": "spectra.spatial.DistanceSpectrum",
    "LabelledFrame": "labels.dataset.LabelledFrame",
    "MoleculesInMemory": "flux.molecular_flux.MoleculesInMemory",
    "RamanSpectrum": "spectra.raman.RamanSpectrum",
    "Spectrogram": "spectra.spectrogram.Spectrogram",
    "Spectrum": "spectra.infrared.Spectrum",
    "SumFrequencySpectrum": "spectra.sfg.SumFrequencySpectrum",
    "VibrationalDensity": "spectra.vdos.VibrationalDensity",
    "average_beads": "flux.path_integrals.average_beads",
    "axis_profile": "spectra.spatial.axis_profile",
    "band_integral": "spectra.infrared.Spectrum.band",
    "band_share": "spectra.infrared.Spectrum.share",
    "centroid_universe": "flux.path_integrals.centroid_universe",
    "convergence": "spectra.convergence.convergence",
    "dielectric_spectrum": "spectra.dielectric.dielectric_spectrum",
    "distance_spectrum": "spectra.spatial.distance_spectrum",
    "load_groups": "flux.atom_flux.load_groups",
    "open_molecules": "flux.molecular_flux.open_molecules",
    "peaks": "spectra.infrared.Spectrum.peaks",
    "read_labels": "labels.dataset.read_labels",
    "spectrogram": "spectra.spectrogram.spectrogram",
    "stored_density": "spectra.velocity_spectrum.stored_density",
    "write_xyz": "labels.dataset.write_xyz",
}
#: What reads a file, by the kind that it says it is of; a class reads by its ``load``.
_READERS = {
    "axis-profile": "spectra.spatial.AxisProfile",
    "dielectric": "spectra.dielectric.DielectricSpectrum",
    "dipoles": "spectra.dipoles.DipoleSeries",
    "distance-spectrum": "spectra.spatial.DistanceSpectrum",
    "flux": "flux.flux_series.FluxSeries",
    "labels": "labels.dataset.Dataset",
    "model": "model.predict.load_model",
    "raman": "spectra.raman.RamanSpectrum",
    "sfg": "spectra.sfg.SumFrequencySpectrum",
    "spectrogram": "spectra.spectrogram.Spectrogram",
    "spectrum": "spectra.infrared.Spectrum",
    "vdos": "spectra.vdos.VibrationalDensity",
}

__all__ = [
    "Dataset",
    "DipoleFlux",
    "DipoleSeries",
    "FixedCharges",
    "FluxSeries",
    "FluxStream",
    "Frame",
    "NormalModes",
    "UniverseFrames",
    "VelocitySpectrum",
    "__version__",
    "check_model",
    "compare",
    "distil",
    "evaluate",
    "load",
    "load_model",
    "train",
    "write_report",
]


def load(path: str | os.PathLike[str]) -> Any:
    """Read any file of this package: a flux, a spectrum of any kind, dipoles, labels, or a model.

    Parameters
    ----------
    path : path
        A file says itself what it holds.

    Returns
    -------
    object
        Of the class that wrote it: FluxSeries, Spectrum, RamanSpectrum, Dataset, ...

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is damaged, or of no kind that is kept for users.
    """
    from mda_aptnn import io
    from mda_aptnn.errors import FileFormatError

    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    kind = io.kind_of(path)
    if kind not in _READERS:
        known = ", ".join(_READERS)
        raise FileFormatError(f"{path} is no file of mda-aptnn that can be loaded: {known}")
    reader = _imported(_READERS[kind])
    return getattr(reader, "load", reader)(path)


def _imported(home: str) -> Any:
    module, _, name = home.rpartition(".")
    return getattr(importlib.import_module(f"mda_aptnn.{module}"), name)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return _imported(_HOME[name])
    if name in _MOVED:
        # `from mda_aptnn import name` hides an AttributeError, and asks from importlib
        is_import = "importlib" in sys._getframe(1).f_globals.get("__name__", "")
        error = ImportError if is_import else AttributeError
        raise error(f"mda_aptnn.{name} is now mda_aptnn.{_MOVED[name]}")
    raise AttributeError(f"module 'mda_aptnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
