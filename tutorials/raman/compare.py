"""Bands of the infrared and Raman spectra beside the intensities that CP2K printed for its normal
modes.

python compare.py vibrations.out flux.h5 spectra.png
"""

import re
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mda_aptnn import FluxSeries
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.raman import RamanSpectrum

LINES = {
    "wavenumber": r"VIB\|Frequency \(cm\^-1\)",
    "infrared": r"VIB\|IR int \(KM/Mole\)",
    "activity": r"VIB\|Raman \(A\^4/amu\)",
    "depolarization": r"VIB\|Depol Ratio \(P\)",
}
#: Half the width of a band in cm⁻¹, for its integral.
REACH = 60.0


def static(path: Path) -> np.ndarray:
    """Return wavenumber (cm⁻¹), infrared intensity (km/mol), Raman activity (Å⁴/u), depolarization,
    [n_modes, 4].
    """
    text = path.read_text()
    columns = []
    for pattern in LINES.values():
        columns.append(
            [
                float(word)
                for line in re.findall(rf"{pattern}(.*)", text)
                for word in line.replace("]", "").split()
            ]
        )
    return np.array(columns).T


def spectra(path: Path) -> tuple[Spectrum, RamanSpectrum]:
    """Return both spectra of a flux at 300 K. 1/(N − n): strong bands do not leak into weak."""
    series = FluxSeries.load(path)
    settings = {
        "temperature": "300 K",
        "resolution": "20 cm^-1",
        "unbiased": True,
        "segments": "replicas",
    }
    return series.spectrum(**settings), series.raman(**settings)


def from_bands(infrared: Spectrum, raman: RamanSpectrum, wavenumbers: np.ndarray) -> np.ndarray:
    """Return the same columns as `static`, of the bands at these wavenumbers; bands that overlap
    count together.
    """
    rows = []
    for wavenumber in wavenumbers:
        limits = wavenumber - REACH, wavenumber + REACH
        rows.append(
            [
                wavenumber,
                infrared.band(*limits).value,
                raman.band(*limits, "activity").value,
                raman.depolarization(*limits).value,
            ]
        )
    return np.array(rows)


def draw(infrared: Spectrum, raman: RamanSpectrum, modes: np.ndarray, path: Path) -> None:
    """Draw the spectra, with CP2K's intensities as sticks of the heights that lines of this shape
    would have.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 2])
    width = float(raman.resolution.magnitude) * np.sqrt(np.pi / (4 * np.log(2)))
    grid = raman.wavenumber.magnitude
    axes[0].plot(grid, infrared.molar_absorption.magnitude, color="black")
    axes[0].vlines(modes[:, 0], 0, modes[:, 1] / width, color="tab:red", linewidth=3, alpha=0.5)
    axes[0].set_ylabel("infrared / km mol$^{-1}$ cm")
    axes[1].plot(grid, raman.activity.magnitude, color="black", label="spectra")
    axes[1].vlines(
        modes[:, 0],
        0,
        modes[:, 2] / width,
        color="tab:red",
        linewidth=3,
        alpha=0.5,
        label="CP2K's modes",
    )
    axes[1].set_ylabel("Raman activity / Å$^4$ u$^{-1}$ cm")
    axes[1].legend(frameon=False)
    bands = raman.activity.magnitude > 1e-3 * raman.activity.magnitude.max()
    axes[2].plot(grid, np.where(bands, raman.depolarization().value, np.nan), color="black")
    axes[2].plot(modes[:, 0], modes[:, 3], "o", color="tab:red", alpha=0.5)
    axes[2].set(xlim=(1200, 4200), ylim=(0, 0.8), xlabel="wavenumber / cm$^{-1}$", ylabel="VH / VV")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Print the table and draw the picture."""
    modes, (infrared, raman) = static(Path(sys.argv[1])), spectra(Path(sys.argv[2]))
    found = from_bands(infrared, raman, modes[:, 0])
    print(
        "| cm⁻¹ | infrared, CP2K | spectrum (km/mol) | Raman, CP2K | spectrum (Å⁴/u) | VH/VV, CP2K "
        "| spectrum |"
    )
    print("|---|---|---|---|---|---|---|")
    for a, b in zip(modes, found, strict=True):
        print(
            f"| {a[0]:.0f} | {a[1]:.2f} | {b[1]:.2f} | {a[2]:.1f} | {b[2]:.1f} | {a[3]:.3f} | "
            f"{b[3]:.3f} |"
        )
    draw(infrared, raman, modes, Path(sys.argv[3]))


if __name__ == "__main__":
    main()
