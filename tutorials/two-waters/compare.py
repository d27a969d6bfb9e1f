"""The spectrum of predicted polar tensors (Eq. 2) laid over that of the dipoles which CP2K printed
(Eq. 1).

python compare.py FIRST_FRAME
"""

import dataclasses
import sys
from pathlib import Path

import MDAnalysis as mda
import numpy as np
from matplotlib.figure import Figure

from mda_aptnn import DipoleFlux, DipoleSeries, FluxSeries, compare
from mda_aptnn.spectra.infrared import Spectrum

N_MOLECULES, N_SEGMENTS = 2, 5
TIME_STEP, RESOLUTION = "0.5 fs", "120 cm^-1"


def both_series(folder: Path, model: str, start: int) -> tuple[FluxSeries, DipoleSeries]:
    """Return the flux of the network from frame `start` to the last but one, and the dipoles of one
    frame more on either side.
    """
    universe = mda.Universe(str(folder / "md-pos-1.xyz"), format="CP2K", topology_format="CP2K")
    stop = universe.trajectory.n_frames - 1
    series = DipoleFlux(universe, model, pbc="none").run(start=start, stop=stop).series
    dipoles = DipoleSeries.from_cp2k(folder / "md-dipole.dat", TIME_STEP)
    return series.regroup({"all": series.groups}), dipoles[start - 1 : stop + 1]


def relative_error(predicted: FluxSeries, dipoles: DipoleSeries) -> float:
    """Return the root mean square of the difference, relative to that of the explicit flux.

    Verlet's velocities are central differences of its positions, and so is the flux of the dipoles
    here.
    """
    explicit = (dipoles.dipoles[2:] - dipoles.dipoles[:-2]) / (2 * dipoles.spacing)
    return float(np.sqrt(((predicted.total - explicit) ** 2).sum() / (explicit**2).sum()))


def both_spectra(predicted: FluxSeries, dipoles: DipoleSeries) -> dict[str, Spectrum]:
    """Return the spectrum of the dipoles, and that of the flux as recorded and corrected for
    Verlet's differences.
    """
    corrected = dataclasses.replace(predicted, finite_difference=predicted.spacing)
    return {
        "dipoles, Eq. 1": dipoles.spectrum("300 K", RESOLUTION, segments=N_SEGMENTS),
        "polar tensors, Eq. 2, velocities as they are": predicted.spectrum(
            "300 K", RESOLUTION, segments=N_SEGMENTS
        ),
        "polar tensors, Eq. 2": corrected.spectrum("300 K", RESOLUTION, segments=N_SEGMENTS),
    }


def main() -> None:
    """Compare along md-pos-1.xyz, from the frame that is given, and draw figure2.png."""
    predicted, dipoles = both_series(Path(), "model.h5", int(sys.argv[1]))
    print(f"{len(predicted)} frames, {predicted.temperatures.mean():.0f} K")
    print(f"relative error of the flux {relative_error(predicted, dipoles):.4f}")
    spectra = both_spectra(predicted, dipoles)
    explicit, *others = spectra
    for low, high in ((1200, 1900), (3000, 4300)):
        for name, spectrum in spectra.items():
            print(f"{low}-{high} cm-1, {name}: {spectrum.band(low, high, n_molecules=N_MOLECULES)}")
        for name in others:
            print(compare(spectra[explicit], spectra[name], low, high, same_trajectory=True))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for name, color in ((explicit, "k"), (others[-1], "C3")):
        spectrum = spectra[name]
        grid, values = spectrum.wavenumber.magnitude, spectrum.curve().value / N_MOLECULES
        low, high = spectrum.curve().limits()
        axis.plot(grid, values, color=color, label=name)
        axis.fill_between(grid, low / N_MOLECULES, high / N_MOLECULES, color=color, alpha=0.2)
    axis.set(xlim=(100, 4500), xlabel="wavenumber / cm$^{-1}$")
    axis.set_ylabel("molar absorption / km mol$^{-1}$ cm, per molecule")
    axis.legend(frameon=False)
    figure.savefig("figure2.png", dpi=150)


if __name__ == "__main__":
    main()
