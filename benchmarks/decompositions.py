"""Libration, stretching and the band near 170 cm⁻¹ of liquid water taken apart, for
docs/decompositions.md.

    python benchmarks/decompositions.py --work decompositions

Predicts once along the bundled trajectory (64 H2O, 10 ps) and keeps the flux of every atom in every
motion in `atoms.h5`; all the rest is sums of it. Prints Markdown tables and draws `motions.png` and
`low-frequencies.png`.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
import warnings
from pathlib import Path
from typing import Any

import MDAnalysis
import numpy as np
from matplotlib.figure import Figure

from mda_aptnn import DipoleFlux
from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.figures import colours
from mda_aptnn.flux.atom_flux import load_groups
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.infrared import Spectrum

COORDINATES = {
    "stretching": ("element O", "element H"),
    "bending": ("element H", "element O", "element H"),
}
BANDS = {
    "hindered translation": (50, 300),
    "libration": (300, 1100),
    "bending": (1400, 1900),
    "stretching": (2800, 4000),
}
#: The maximum that is looked for.
MAXIMUM = (120, 230)
RESOLUTION = "40 cm^-1"


def main() -> None:
    """Predict, if it has not been done; then tables and pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, default=Path("decompositions"), help="folder for the flux of atoms"
    )
    parser.add_argument(
        "--pictures", type=Path, default=Path("docs"), help="folder for the pictures"
    )
    arguments = parser.parse_args()
    # the length of the trajectory is what it is; errors are printed
    warnings.filterwarnings("ignore", message=".*are short for a resolution")
    arguments.work.mkdir(parents=True, exist_ok=True)
    path = arguments.work / "atoms.h5"
    universe = MDAnalysis.Universe(str(WATER64_TOPOLOGY), str(WATER64_TRAJECTORY))
    if not path.exists():
        began = time.process_time()
        options: dict[str, Any] = {
            "per": "atom",
            "motions": COORDINATES,
            "checkpoint": arguments.work / "unfinished",
        }
        DipoleFlux(universe, "water-rpbe-d3", **options).run(verbose=True).save(path)
        print(f"prediction: {time.process_time() - began:.0f} CPU-seconds")
    motions = without_remainder(load_groups(path, universe, motions=True))
    molecules = load_groups(path, universe, per="molecule")
    both = without_remainder(load_groups(path, universe, per="molecule", motions=True))
    check_sums(motions, molecules, both)
    by_motion = motions.spectrum(resolution=RESOLUTION)
    by_molecule = molecules.spectrum(resolution=RESOLUTION)
    by_both = both.spectrum(resolution=RESOLUTION)
    assert by_motion.segments is not None
    print(
        f"\n{by_motion.segments.degrees_of_freedom + 1} segments, T = "
        f"{by_motion.temperature:.0f~}\n"
    )
    shares_of_bands(by_motion)
    print_maximum(by_molecule, by_both)
    draw_motions(by_motion, arguments.pictures / "motions.png")
    draw_low(by_molecule, by_both, arguments.pictures / "low-frequencies.png")


def without_remainder(series: FluxSeries) -> FluxSeries:
    """Leave out "other vibration": water has no more than two stretches and a bend."""
    keep = [k for k, motion in enumerate(series.labels["motion"]) if motion != "other vibration"]
    left = np.delete(series.flux, keep, axis=1)
    assert np.abs(left).max() < 1e-6 * np.abs(series.flux).max()
    return dataclasses.replace(
        series,
        flux=series.flux[:, keep],
        groups=[series.groups[k] for k in keep],
        labels={label: [words[k] for k in keep] for label, words in series.labels.items()},
    )


def check_sums(*decompositions: FluxSeries) -> None:
    """All of them sum to the same total, but for the rounding of atoms on disk to float32."""
    totals = [series.total for series in decompositions]
    worst = max(np.abs(total - totals[0]).max() for total in totals) / np.abs(totals[0]).max()
    print(f"largest deviation between the totals: {worst:.1e} of the maximum")
    assert worst < 1e-6


def shares_of_bands(spectrum: Spectrum) -> None:
    """Print the share of every term in every band, with standard errors."""
    print(f"| term | {' | '.join(f'{name} {a}-{b}' for name, (a, b) in BANDS.items())} |")
    print("|---|" + "---|" * len(BANDS))
    for pair in spectrum.pairs():
        shares = [spectrum.share(*band, pair) for band in BANDS.values()]
        if any(abs(share.value) > 0.01 for share in shares):
            name = pair[0] if pair[0] == pair[1] else " × ".join(pair)
            print(f"| {name} | {' | '.join(percent(share) for share in shares)} |")


def percent(share: Any) -> str:
    """A share and its standard error in percent."""
    return f"{100 * share.value:.1f} ± {100 * share.error:.1f}"


def print_maximum(by_molecule: Spectrum, by_both: Spectrum) -> None:
    """Print self and distinct parts around the maximum, and which motions make them."""
    wavenumber = by_molecule.wavenumber.magnitude
    print("\n| cm⁻¹ | total | self | distinct |\n|---|---|---|---|")
    for at in (60, 110, 140, 165, 190, 220, 260, 300):
        k = int(np.abs(wavenumber - at).argmin())
        columns = [
            f"{by_molecule.absorption.magnitude[k]:.0f} ± "
            f"{by_molecule.standard_error().magnitude[k]:.0f}"
        ]
        for name in ("self", "distinct"):
            value, error = (
                by_molecule.term(name).magnitude[k],
                by_molecule.standard_error(name).magnitude[k],
            )
            columns.append(f"{value:.0f} ± {error:.0f}")
        print(f"| {wavenumber[k]:.0f} | {' | '.join(columns)} |")
    own = by_molecule.term("self").magnitude
    rising = own[(wavenumber > 40) & (wavenumber < 320)]
    fall = (np.maximum.accumulate(rising) - rising).max()
    print(
        f"\nself part: largest fall below a value at a lower wavenumber, 40 to 320 cm⁻¹: "
        f"{fall:.0f} cm⁻¹"
    )
    print("\n| cm⁻¹ | share of the distinct part in the total |\n|---|---|")
    for low, high in ((20, 80), MAXIMUM, (240, 350)):
        print(
            f"| {low} to {high} |",
            f"{percent(by_molecule.share(low, high, ('distinct', 'distinct')))} |",
        )
    k = int(np.abs(wavenumber - 48).argmin())
    for name in ("distinct translation", "distinct rotation"):
        value, error = by_both.term(name).magnitude[k], by_both.standard_error(name).magnitude[k]
        print(f"\n{name} at {wavenumber[k]:.0f} cm⁻¹: {value:.0f} ± {error:.0f} cm⁻¹")
    inside = np.flatnonzero((wavenumber >= MAXIMUM[0]) & (wavenumber <= MAXIMUM[1]))
    column = by_molecule.pair_index("distinct")
    top = by_molecule.measure(
        lambda values: wavenumber[inside][values[inside].argmax()],
        of=lambda values: values[:, column],
    )
    print(f"distinct part has its maximum at {top.value:.0f} ± {top.error:.0f} cm⁻¹\n")
    low, high = MAXIMUM
    print(f"| {low} to {high} cm⁻¹ | share |\n|---|---|")
    for pair in by_both.pairs():
        share = by_both.share(low, high, pair)
        if abs(share.value) > 0.01:
            name = pair[0] if pair[0] == pair[1] else " × ".join(pair)
            print(f"| {name} | {percent(share)} |")


def draw_motions(spectrum: Spectrum, path: Path) -> None:
    """Total and what each motion has of it, with all cross terms together, in two ranges."""
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    grid, total = spectrum.wavenumber.magnitude, spectrum.absorption.magnitude
    cross = total - sum(spectrum.term(name).magnitude for name in spectrum.groups)
    windows = [(0, 2100), (2600, 4000)]
    axes = spectrum.plot(figure=figure, range=windows, terms=spectrum.groups)
    for ax, (low, high) in zip(axes, windows, strict=True):
        seen = (grid > low) & (grid < high)
        ax.plot(grid[seen], cross[seen], "--", color="0.5", linewidth=1.0, label="cross terms")
    # between libration and bending
    handles = axes[0].get_legend().legend_handles + axes[0].get_lines()[-1:]
    place = {"loc": "upper left", "bbox_to_anchor": (0.46, 1.0)}
    axes[0].legend(handles=handles, frameon=False, fontsize="small", **place)
    figure.savefig(path, dpi=130)


def draw_low(by_molecule: Spectrum, by_both: Spectrum, path: Path) -> None:
    """Self and distinct parts with bands of 68 %, and the distinct part by motions."""
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    one, other = figure.subplots(1, 2)
    wavenumber = by_molecule.wavenumber.magnitude
    for pair, colour, label in (
        (None, "black", "total"),
        (("self", "self"), colours(2)[0], "self"),
        (("distinct", "distinct"), colours(2)[1], "distinct"),
    ):
        one.plot(
            wavenumber,
            by_molecule.curve(*(pair or ())).value,
            color=colour,
            linewidth=1.2,
            label=label,
        )
        one.fill_between(
            wavenumber,
            *by_molecule.curve(*(pair or ())).limits(),
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
    one.set_ylabel(by_molecule.label)
    for pair, colour, label in (
        (("distinct translation",) * 2, colours(3)[0], "translation"),
        (("distinct rotation",) * 2, colours(3)[1], "rotation"),
        (("distinct translation", "distinct rotation"), colours(3)[2], "translation × rotation"),
    ):
        other.plot(
            wavenumber,
            by_both.curve(*(pair or ())).value,
            color=colour,
            linewidth=1.2,
            label=f"distinct {label}",
        )
        other.fill_between(
            wavenumber, *by_both.curve(*(pair or ())).limits(), color=colour, alpha=0.2, linewidth=0
        )
    for ax in (one, other):
        ax.axhline(0, color="0.8", linewidth=0.8)
        ax.set_xlim(0, 400)
        ax.set_xlabel("wavenumber / cm$^{-1}$")
        ax.legend(frameon=False, fontsize="small")
    one.set_ylim(-900, 4300)
    other.set_ylim(-700, 1100)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
