"""How wrong committees are in every frame, whether their spread knows it, and what it does to the
spectrum.

CP2K printed the dipole at every step, so that the true flux is known without labels. Prints a table
and draws learning.png.

python compare.py COMMITTEE COMMITTEE ...
"""

import dataclasses
import sys
import warnings
from pathlib import Path

import MDAnalysis as mda
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from MDAnalysis.lib.distances import calc_dihedrals
from scipy.stats import spearmanr

from mda_aptnn import DipoleFlux, FluxSeries, UniverseFrames, load_model
from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.model.selection import disagreement
from mda_aptnn.spectra.infrared import Spectrum

RESOLUTION = "180 cm^-1"
#: Groups of as many frames each, of rising spread.
N_BINS = 10
COLORS = ("C1", "C3", "C0", "C2", "C4", "C5")
#: Files of labels, and how their frames are drawn.
MARKERS = {"first": "ks", "selected": "C3o", "random": "C0^", "test": "C2v"}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a committee says of the trajectory.

    Attributes
    ----------
    error, spread : ndarray, shape [n_frames]
        Length of the difference from the true flux, and what the members' scatter says it is, both
        relative to the root mean square of the true flux.
    spectrum : Spectrum
    """

    error: np.ndarray
    spread: np.ndarray
    spectrum: Spectrum

    def row(self, truth: Spectrum) -> list[float]:
        """Return, of the flux and relative to its RMS, error, spread, and the error that one frame
        in 100 exceeds; the rank correlation of error and spread over frames; error and band of the
        spectrum, relative to the truth.
        """
        curve, true = self.spectrum.curve(), truth.curve().value
        norm = np.sqrt((true**2).sum())
        off = np.sqrt(((curve.value - true) ** 2).sum()) / norm
        band = np.sqrt((curve.model_error**2).sum()) / norm
        rank = spearmanr(self.error, self.spread).statistic
        return [rms(self.error), rms(self.spread), np.quantile(self.error, 0.99), rank, off, band]


def rms(values: np.ndarray) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def spectrum_of(series: FluxSeries) -> Spectrum:
    """Return the spectrum at the temperature of the trajectory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so short a trajectory is at no certain temperature
        return series.spectrum(None, RESOLUTION)


def judge(path: str, universe: mda.Universe, explicit: FluxSeries) -> Verdict:
    """Hold a committee against the true flux in every frame."""
    series = DipoleFlux(universe, path, pbc="none").run().series
    series = series.regroup({"all": series.groups})
    scale = rms(np.linalg.norm(explicit.total, axis=1))
    error = np.linalg.norm(series.total - explicit.total, axis=1) / scale
    spread = np.linalg.norm(series.members[:, :, 0].std(axis=1, ddof=1), axis=1) / scale
    return Verdict(error, spread, spectrum_of(series))


def torsions(universe: mda.Universe) -> np.ndarray:
    """Return the angle H-O-O-H of every frame in degrees, from 0 (cis) to 180 (trans)."""
    found = [
        calc_dihedrals(*(ts.positions[[k]] for k in (2, 0, 1, 3)))[0] for ts in universe.trajectory
    ]
    return np.abs(np.degrees(found))


def draw_spread(axis: Axes, verdicts: dict[str, Verdict]) -> None:
    """Draw error against spread, of frames of about the same spread."""
    for (name, verdict), color in zip(verdicts.items(), COLORS, strict=False):
        bins = np.array_split(np.argsort(verdict.spread), N_BINS)
        spread, error = (
            [rms(values[k]) for k in bins] for values in (verdict.spread, verdict.error)
        )
        axis.plot(spread, error, "o-", color=color, label=name)
    axis.axline((0.05, 0.05), (0.1, 0.1), color="gray", linewidth=0.8)
    axis.set(
        xscale="log", yscale="log", xlabel="spread of the flux", ylabel="error of the flux (CP2K)"
    )
    axis.legend(frameon=False, fontsize="small")


def draw_selection(axis: Axes, universe: mda.Universe, committee: str) -> None:
    """Draw how far the committee disagrees about every frame, and which frames have labels."""
    angles, model = torsions(universe), load_model(committee)
    frames = UniverseFrames(universe, velocities=None, pbc="none")
    scores = np.array([disagreement(model, frames.frame()) for _ in universe.trajectory])
    axis.plot(angles, scores, ".", color="silver", markersize=3)
    for name, marker in MARKERS.items():
        numbers = [item.info["index"] for item in read_labels(f"{name}.h5")]
        axis.plot(angles[numbers], scores[numbers], marker, markersize=5, label=name)
    axis.set(
        xlabel="torsion H-O-O-H / degrees",
        ylabel=f"disagreement of {Path(committee).stem}",
        yscale="log",
    )
    axis.legend(frameon=False, fontsize="small")


def draw_spectra(axis: Axes, verdicts: dict[str, Verdict], truth: Spectrum) -> None:
    """Draw what the spectra differ by from that of the dipoles, with the bands of the committees,
    over its shape.
    """
    grid = truth.wavenumber.magnitude
    true = truth.curve().value
    unit = 100 / true.max()
    axis.fill_between(
        grid, 10 * true / true.max(), color="gainsboro", label="spectrum of CP2K's dipoles, a tenth"
    )
    for (name, verdict), color in zip(verdicts.items(), COLORS, strict=False):
        off, band = (
            verdict.spectrum.curve().value - true,
            verdict.spectrum.curve().model_error,
        )
        axis.plot(grid, unit * off, color=color, label=f"{name}: difference and band")
        axis.fill_between(grid, unit * (off - band), unit * (off + band), color=color, alpha=0.2)
    axis.axhline(0, color="gray", linewidth=0.8)
    axis.set(xlim=(0, 4500), xlabel="wavenumber / cm$^{-1}$", ylabel="% of the highest maximum")
    axis.legend(frameon=False, fontsize="small")


def main() -> None:
    """Judge the committees that are named."""
    explicit = FluxSeries.load("dipoles.h5")
    truth = spectrum_of(explicit)
    universe = mda.Universe("peroxide.xyz", "md.trr")
    verdicts = {Path(path).stem: judge(path, universe, explicit) for path in sys.argv[1:]}
    print(f"{'':12} flux: error  spread  99 %   rank   spectrum: error   band")
    for name, verdict in verdicts.items():
        error, spread, worst, rank, off, band = verdict.row(truth)
        print(
            f"{name:16} {error:9.3f} {spread:7.3f} {worst:6.3f} {rank:6.2f} {off:17.3f} {band:6.3f}"
        )
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplot_mosaic([["spread", "selection"], ["spectra", "spectra"]])
    draw_spread(axes["spread"], verdicts)
    draw_selection(axes["selection"], universe, sys.argv[1])
    draw_spectra(axes["spectra"], verdicts, truth)
    figure.savefig("learning.png", dpi=110)


if __name__ == "__main__":
    main()
