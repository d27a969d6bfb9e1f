"""The spectrum of predicted polar tensors (Eq. 2) laid over that of the dipoles which CP2K printed (Eq. 1)."""

import dataclasses
import re
import sys
from pathlib import Path

import MDAnalysis as mda
import numpy as np
from matplotlib.figure import Figure

from mda_aptnn import DipoleFlux, FluxSeries
from mda_aptnn.units import factor

N_BLOCKS = 5
N_MOLECULES = 2
GRID = np.arange(100.0, 4500.0, 5.0)


def both_fluxes(folder: Path, model: str, start: int) -> tuple[FluxSeries, FluxSeries]:
    """Return the flux of the network and the central differences of the printed dipoles, from frame `start` on."""
    text = (folder / "md-dipole.dat").read_text()
    moments = np.array(re.findall(r"Moment \[a\.u\.\]\s+(\S+)\s+(\S+)\s+(\S+)", text), dtype=float)
    moments *= factor("bohr", "angstrom")
    universe = mda.Universe(str(folder / "md-pos-1.xyz"), format="CP2K", topology_format="CP2K")
    stop = min(len(moments), universe.trajectory.n_frames) - 1
    series = DipoleFlux(universe, model, pbc="none").run(start=start, stop=stop).series
    predicted = series.regroup({"all": series.groups})
    flux = (moments[start + 1 : stop + 1] - moments[start - 1 : stop - 1]) / (2 * predicted.spacing)
    # the spectrum is corrected for what central differences take from fast motion
    return predicted, dataclasses.replace(
        predicted, flux=flux[:, None, :], finite_difference=predicted.spacing, members=None
    )


def relative_error(predicted: FluxSeries, explicit: FluxSeries) -> float:
    """Return the root mean square of the difference, relative to that of the explicit flux."""
    return float(np.sqrt(((predicted.total - explicit.total) ** 2).sum() / (explicit.total**2).sum()))


def block_spectra(series: FluxSeries) -> np.ndarray:
    """Return one spectrum for each of the blocks, in km/mol·cm a molecule, [N_BLOCKS, n_frequencies]."""
    size = len(series) // N_BLOCKS
    names = ("flux", "times", "volumes", "temperatures", "residuals", "equipartition")
    spectra = []
    for block in range(N_BLOCKS):
        part = {name: getattr(series, name)[block * size : (block + 1) * size] for name in names}
        spectrum = dataclasses.replace(series, starts=[0], members=None, **part).spectrum("300 K", "120 cm^-1")
        spectra.append(np.interp(GRID, spectrum.wavenumber.magnitude, spectrum.molar_absorption.magnitude))
    return np.array(spectra) / N_MOLECULES


def main() -> None:
    """Compare along md-pos-1.xyz, from the frame that is given, and draw figure2.png."""
    predicted, explicit = both_fluxes(Path(), "model.h5", int(sys.argv[1]))
    print(f"{len(predicted)} frames, {predicted.temperatures.mean():.0f} K")
    print(f"relative error of the flux {relative_error(predicted, explicit):.4f}")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    curves = {"dipoles, Eq. 1": block_spectra(explicit), "polar tensors, Eq. 2": block_spectra(predicted)}
    for (name, curve), color in zip(curves.items(), ("k", "C3"), strict=True):
        mean, error = curve.mean(axis=0), curve.std(axis=0, ddof=1) / np.sqrt(N_BLOCKS)
        axis.plot(GRID, mean, color=color, label=name)
        axis.fill_between(GRID, mean - error, mean + error, color=color, alpha=0.2)
    first, second = curves.values()
    difference = np.abs((second - first).mean(axis=0))
    error = first.std(axis=0, ddof=1) / np.sqrt(N_BLOCKS)
    bands = first.mean(axis=0) > 0.05 * first.mean(axis=0).max()
    within, ratio = (difference < error)[bands].mean(), np.median((difference / error)[bands])
    print(f"difference below the standard error at {within:.1%} of the points of the bands, median ratio {ratio:.3f}")
    for low, high in ((1200, 1900), (3000, 4300)):
        chosen = (low < GRID) & (high > GRID)
        sums = [curve[:, chosen].sum(axis=1) * 5 for curve in (first, second)]
        spread = sums[0].std(ddof=1) / np.sqrt(N_BLOCKS)
        print(f"{low}-{high} cm-1: dipoles {sums[0].mean():.1f} ± {spread:.1f}, tensors {sums[1].mean():.1f} km/mol")
    axis.set_xlabel("wavenumber / cm$^{-1}$")
    axis.set_ylabel("molar absorption / km mol$^{-1}$ cm, per molecule")
    axis.legend(frameon=False)
    figure.savefig("figure2.png", dpi=150)


if __name__ == "__main__":
    main()
