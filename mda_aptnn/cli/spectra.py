"""Commands that make spectra: of a trajectory, a stored flux, dipoles, or other spectra."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from mda_aptnn.cli import options as opt
from mda_aptnn.cli.fluxes import Reading
from mda_aptnn.cli.outputs import OptionError, Outputs
from mda_aptnn.errors import FileFormatError

if TYPE_CHECKING:
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.spectra.dipoles import DipoleSeries

Correction = StrEnum("Correction", ["harmonic", "standard", "schofield", "none"])
Detection = StrEnum("Detection", ["power", "photons"])
Bose = StrEnum("Bose", ["stokes", "classical", "none"])
Axis = StrEnum("Axis", ["x", "y", "z"])
Origin = StrEnum("Origin", ["cell", "centre"])

FluxOutput = Annotated[
    Path | None, Option("--flux", help="Also keep the flux, to make other spectra of it.")
]
Files = Annotated[
    list[Path],
    Argument(help="Topology of the run, for its molecules, and its flux file (--per atom)."),
]


def spectrum(
    reading: Reading,
    *,
    sample: opt.Sample,
    estimate: opt.Estimate,
    saving: opt.Saving,
    output: opt.Output = Path("spectrum.h5"),
    flux_output: FluxOutput = None,
    quantum_correction: Correction = Correction.harmonic,
) -> None:
    """Absolute infrared spectrum of a trajectory, decomposed by groups of atoms and motions of
    molecules.

    Where a flux of atoms is stored (`flux --per atom`), its file may stand in the place of the
    trajectory. With --per molecule (or residue) the spectrum has a self and a distinct part.
    """
    outputs = saving.outputs(spectrum=output, flux=flux_output)
    settings = {"volume": sample.keywords()["volume"], **estimate.keywords()}
    settings["quantum_correction"] = quantum_correction

    def make(series: FluxSeries, **more: Any) -> Any:
        return series.spectrum(**settings, **more)

    _of_flux(reading, outputs, sample.temperature, make)


def raman(
    reading: Reading,
    *,
    estimate: opt.Estimate,
    saving: opt.Saving,
    output: opt.Output = Path("raman.h5"),
    flux_output: FluxOutput = None,
    temperature: opt.Temperature = None,
    laser: str | None = None,
    detection: Detection = Detection.power,
    bose: Bose | None = None,
) -> None:
    """Raman spectrum of a trajectory (VV, VH, depolarization), decomposed by groups of atoms and
    motions.

    The model must predict polarizability gradients: `train` makes one of labels that have them
    (`label plan --route field-raman`). Without --laser and --bose, heights are activities: their
    integrals do not depend on temperature.

    Parameters
    ----------
    laser : str
        Multiply with the laser's frequency factor: its wavelength or wavenumber, "532 nm".
    detection : str
        What is counted of the scattered light.
    bose : str
        Multiply with the occupation of the modes; stokes with --laser.
    """
    from mda_aptnn import units

    outputs = saving.outputs(raman=output, flux=flux_output)
    settings = estimate.keywords()
    if laser is not None:
        units.wavenumber_of_light(laser, "--laser")

    def make(series: FluxSeries, **more: Any) -> Any:
        found = series.raman(**settings, **more)
        if laser is None and bose is None:
            return found
        return found.scattered(laser=laser, detection=detection, bose=bose or "stokes")

    _check_gradients(reading)
    _of_flux(reading, outputs, temperature, make)


def sfg(
    reading: Reading,
    *,
    estimate: opt.Estimate,
    saving: opt.Saving,
    output: opt.Output = Path("sfg.h5"),
    flux_output: FluxOutput = None,
    temperature: opt.Temperature = None,
    area: str | None = None,
    component: list[str] | None = None,
) -> None:
    """Sum-frequency spectrum of a surface whose normal is z: Re, Im and the square of the
    susceptibility.

    The model must predict polarizability gradients. The two surfaces of a slab cancel: name their
    atoms by --group "upper=prop z > 40" --group "lower=prop z < 20", and the spectrum is that of
    one surface.

    Parameters
    ----------
    area : str
        Of the surface, "600 angstrom^2"; without, the susceptibility times it.
    component : list of str
        Component of the susceptibility, such as xxz; may be repeated.
    """
    from mda_aptnn.spectra.sfg import COMPONENTS, axes_of

    outputs = saving.outputs(sfg=output, flux=flux_output)
    settings = {**estimate.keywords(), "components": component or list(COMPONENTS)}
    for name in settings["components"]:
        axes_of(name)
    settings["area"] = opt.positive(area, "angstrom^2", "--area")

    def make(series: FluxSeries, **more: Any) -> Any:
        return series.sum_frequency(**settings, **more)

    _check_gradients(reading)
    _of_flux(reading, outputs, temperature, make)


def _of_flux(
    reading: Reading, outputs: Outputs, temperature: str | None, make: Callable[..., Any]
) -> None:
    """Make, save and tell a spectrum of the flux that the options ask for."""
    from mda_aptnn import units

    given = opt.positive(temperature, units.TEMPERATURE, "--temperature")
    name, output = next(iter(outputs.files.items()))
    kept = outputs.files.get("flux")
    with reading.obtained(name, output, kept, temperature) as (series, groups):
        found = make(series, groups=groups, temperature=given)
        outputs.save(found)
    lines = [series.describe(found.notes), found.describe()]
    if found.segments is None:
        lines.append(_no_error_bars(series, float(found.resolution.magnitude)))
    outputs.tell({**series.summary(), **found.summary()}, lines, series.check(temperature))


def _check_gradients(reading: Reading) -> None:
    """Refuse a model without polarizability gradients before the long run."""
    from mda_aptnn.model.file import stored_target
    from mda_aptnn.model.predict import model_path
    from mda_aptnn.tensors import APT, PGT

    if reading.is_flux or reading.is_stored:
        return
    if not {APT, PGT} <= set(stored_target(model_path(reading.model)).parts):
        raise OptionError(
            f"the model {reading.model!r} predicts no polarizability gradients; train one with "
            "labels that have them (mda-aptnn label plan --route field-raman) and name it by "
            "--model"
        )


def vdos(
    reading: opt.Moving,
    *,
    terms: opt.Terms,
    estimate: opt.ErrorBars,
    saving: opt.Saving,
    output: opt.Output = Path("vdos.h5"),
    temperature: Annotated[
        str | None,
        Option("--temperature", "-T", help="Counts the degrees of freedom that move; else 3N."),
    ] = None,
    mass_weighted: bool = True,
) -> None:
    """Vibrational density of states by groups of atoms and motions of molecules; no model is
    needed.

    Parameters
    ----------
    mass_weighted : bool
        Count atoms by m v², or by v².
    """
    from mda_aptnn.checks import Checks
    from mda_aptnn.spectra.velocity_spectrum import VelocitySpectrum
    from mda_aptnn.trajectory.selection import select

    outputs = saving.outputs(vdos=output)
    settings = estimate.keywords()
    universe = reading.joined_universe()
    found = VelocitySpectrum(
        select(universe, terms.select, "--select"),
        opt.pairs(terms.group, "group"),
        **terms.parts(),
        **reading.keywords(),
        verbose=True,
    ).run(*reading.chosen())
    density = found.density(temperature, mass_weighted=mass_weighted, **settings)
    outputs.save(density)
    checks = Checks.from_json(density.info["checks"])
    first = f"{found.n_frames} frames"
    outputs.tell(
        {"n_frames": found.n_frames, **density.summary()}, [first, density.describe()], checks
    )


def dipoles(
    moments: Path,
    *,
    estimate: opt.Estimate,
    saving: opt.Saving,
    temperature: Annotated[str, Option("--temperature", "-T", help='Such as "300 K".')],
    output: opt.Output = Path("dipole-spectrum.h5"),
    time_step: opt.TimeStep = None,
    cell: opt.Cell = None,
    start: int = 0,
    volume: str | None = None,
) -> None:
    """Absolute infrared spectrum of the total dipole along a trajectory: the reference for polar
    tensors.

    Parameters
    ----------
    moments : path
        File of CP2K's &MOMENTS, .npy of [n_frames, 3] in e·Å, or HDF5.
    start : int
        First frame, counted from 0.
    volume : str
        Where there is no cell: "1000 angstrom^3".
    """
    outputs = saving.outputs(spectrum=output)
    series = _read_dipoles(moments, time_step, cell)[start:]
    found = series.spectrum(temperature, volume=volume, **estimate.keywords())
    outputs.save(found)
    report = {"n_frames": len(series), **found.summary()}
    first = f"{len(series)} dipoles, {series.spacing * 1000:g} fs apart"
    outputs.tell(report, [first, found.describe()])


def _read_dipoles(path: Path, time_step: str | None, cell: str | None) -> DipoleSeries:
    import numpy as np

    from mda_aptnn import io
    from mda_aptnn.spectra.dipoles import DipoleSeries

    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if io.kind_of(path) == "dipoles":
        if time_step is not None or cell is not None:
            raise OptionError(
                f"{path} has its time step and cells: leave --time-step and --cell out"
            )
        return DipoleSeries.load(path)
    if time_step is None:
        raise OptionError('give --time-step, the time between dipoles, such as "0.5 fs"')
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except ValueError as error:
            raise FileFormatError(f"{path} is not an array of numpy: {error}") from error
        return DipoleSeries.from_array(values, time_step, cells=cell)
    return DipoleSeries.from_cp2k(path, time_step, cell=cell)


def distances(
    files: Files,
    *,
    sample: opt.Sample,
    lines: opt.Lines,
    output: opt.Output = Path("distances.h5"),
    plot: opt.Plot = None,
    bin_width: str = "0.5 angstrom",
    edges: str | None = None,
    workers: opt.Workers = 1,
    as_json: opt.Json = False,
) -> None:
    """Spectrum of molecules by their distance at the earlier time: self term and shells, which sum
    to the total.

    Parameters
    ----------
    bin_width : str
        Width of the shells.
    edges : str
        Limits of the shells in Å instead: "2.5,3.5,6".
    """
    from mda_aptnn.spectra.spatial import distance_spectrum

    outputs = Outputs(as_json, output=output, plot=plot)
    found = _resolved(
        files,
        distance_spectrum,
        edges=opt.numbers(edges, "--edges"),
        bin_width=bin_width,
        n_threads=workers,
        **sample.keywords(),
        **lines.keywords(),
    )
    outputs.save(found)
    neighbours = [round(float(n), 4) for n in found.neighbours]
    limits = [float(edge) for edge in found.edges.magnitude[:-1]]
    report = {
        "temperature": float(found.temperature.magnitude),
        "notes": found.notes,
        "edges_angstrom": limits,
        "neighbours": neighbours,
    }
    ends = [*(f"to {edge:g} Å" for edge in limits[1:]), "Å and beyond"]
    text = [
        f"{low:g} {end}: {n:.3f} molecules around one"
        for low, end, n in zip(limits, ends, neighbours, strict=True)
    ]
    outputs.tell(report, [*text, *_notes(found.notes)])


def profile(
    files: Files,
    *,
    sample: opt.Sample,
    lines: opt.Lines,
    output: opt.Output = Path("profile.h5"),
    plot: opt.Plot = None,
    axis: Axis = Axis.z,
    slabs: opt.Count = 20,
    edges: str | None = None,
    relative_to: Origin = Origin.cell,
    as_json: opt.Json = False,
) -> None:
    """Spectrum along an axis, in the plane and out of it, as at an interface.

    Parameters
    ----------
    axis : str
        Normal to the slabs.
    slabs : int
        Number of slabs that fill a periodic cell.
    edges : str
        Limits of the slabs in Å, without a cell: "-5,0,5".
    relative_to : str
        The cell, or the sample's centre.
    """
    from mda_aptnn.spectra.spatial import axis_profile

    outputs = Outputs(as_json, output=output, plot=plot)
    found = _resolved(
        files,
        axis_profile,
        axis=axis,
        n_slabs=slabs,
        edges=opt.numbers(edges, "--edges"),
        relative_to=relative_to,
        **sample.keywords(),
        **lines.keywords(),
    )
    outputs.save(found)
    report = {
        "temperature": float(found.temperature.magnitude),
        "notes": found.notes,
        "edges_angstrom": [float(edge) for edge in found.edges.magnitude],
        "molecules": [float(n) for n in found.density],
    }
    outputs.tell(report, _notes(found.notes))


def _resolved(files: list[Path], make: Callable[..., Any], **settings: Any) -> Any:
    """What `make` makes of a topology and a flux file with every atom's flux."""
    from mda_aptnn.flux.molecular_flux import open_molecules

    topology, flux = topology_and_flux(files)
    [universe] = opt.open_universes(topology, [])
    with open_molecules(flux, universe) as (series, molecules):
        return make(molecules, series, **settings)


def topology_and_flux(files: list[Path]) -> tuple[Path, Path]:
    """Return a topology and a flux file, in whichever order they are named: 0.1.0 had the flux
    first.

    Raises
    ------
    OptionError
        If there are not two files.
    FileNotFoundError
        If one is not there.
    """
    from mda_aptnn import io

    if len(files) != 2:
        raise OptionError("give the topology of the run, and its flux file (flux --per atom)")
    for path in files:
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
    first, second = files
    return (second, first) if io.kind_of(first) == "flux" else (first, second)


def spectrogram(
    flux: opt.Flux,
    *,
    sample: opt.Sample,
    output: opt.Output = Path("spectrogram.h5"),
    plot: opt.Plot = None,
    resolution: str = "50 cm^-1",
    step: str | None = None,
    group: str | None = None,
    highest: str = "4500 cm^-1",
    as_json: opt.Json = False,
) -> None:
    """Spectrum through a window that moves along the trajectory.

    Parameters
    ----------
    resolution : str
        Of lines; 14.7 ps cm^-1 over it is that in time.
    step : str
        From window to window: "0.1 ps".
    group : str
        Auto term of one group instead of the total.
    highest : str
        Where the spectrum ends.
    """
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.spectra.spectrogram import spectrogram as follow

    outputs = Outputs(as_json, output=output, plot=plot)
    found = follow(
        FluxSeries.load(flux),
        resolution=resolution,
        step=step,
        group=group,
        highest=highest,
        **sample.keywords(),
    )
    outputs.save(found)
    width = float(found.time_resolution.magnitude)
    report = {"n_windows": len(found.weights), "time_resolution_ps": width, "notes": found.notes}
    text = [f"{len(found.weights)} windows, {width:.3g} ps wide", *_notes(found.notes)]
    outputs.tell(report, text)


def convergence(
    flux: opt.Flux,
    *,
    band: str,
    plot: opt.Plot = None,
    temperature: opt.Temperature = None,
    resolution: opt.Resolution = "10 cm^-1",
    segments: Annotated[int, Option(min=2)] = 8,
    lengths: Annotated[int, Option(min=2)] = 8,
    as_json: opt.Json = False,
) -> None:
    """Intensity of a band and its standard error against the length of the trajectory.

    Parameters
    ----------
    band : str
        LOW-HIGH in cm⁻¹, such as "2800-4000".
    segments : int
        Parts of the run for error bars.
    lengths : int
        How many lengths of the trajectory.
    """
    from mda_aptnn.flux.flux_series import FluxSeries
    from mda_aptnn.spectra.convergence import convergence as converge

    outputs = Outputs(as_json, plot=plot)
    found = converge(
        FluxSeries.load(flux),
        *band_limits(band),
        n_lengths=lengths,
        segments=segments,
        temperature=temperature,
        resolution=resolution,
    )
    if plot is not None:
        found.plot(plot)
    rows = list(zip(map(float, found.lengths), found.integrals, strict=True))
    report = {
        "lengths": [
            {"length_ps": length, "intensity": one.value, "error": one.error}
            for length, one in rows
        ],
        "unit": "km/mol",
    }
    outputs.tell(report, [f"{length:10.4g} ps   {one}" for length, one in rows])


def dielectric(
    spectrum: Path,
    *,
    saving: opt.Saving,
    epsilon_infinity: float,
    output: opt.Output = Path("dielectric.h5"),
    subtract_conduction: bool = False,
) -> None:
    """Dielectric function, refractive index, absorption coefficient and conductivity of a sample
    with a volume.

    Parameters
    ----------
    spectrum : path
        HDF5 file of `mda-aptnn spectrum`.
    epsilon_infinity : float
        Electronic permittivity, n² of visible light.
    subtract_conduction : bool
        Leave the pole of direct current out of the permittivity.
    """
    from mda_aptnn.spectra.dielectric import dielectric_spectrum
    from mda_aptnn.spectra.infrared import Spectrum

    outputs = saving.outputs(dielectric=output)
    found = dielectric_spectrum(
        Spectrum.load(spectrum), epsilon_infinity, subtract_conduction=subtract_conduction
    )
    outputs.save(found)
    outputs.tell(found.summary(), found.describe())


def compare(
    first: Path,
    second: Path,
    *,
    band: list[str],
    plot: opt.Plot = None,
    same_trajectory: bool = False,
    as_json: opt.Json = False,
) -> None:
    """Intensity, shift and shape of the second spectrum beside the first, with errors.

    Parameters
    ----------
    first, second : path
        HDF5 file of a spectrum.
    band : list of str
        LOW-HIGH in cm⁻¹, repeatable: "2800-4000".
    same_trajectory : bool
        Both are of the same frames: what is common is in no error.
    """
    from mda_aptnn.spectra.comparison import compare as compare_spectra
    from mda_aptnn.spectra.infrared import Spectrum
    from mda_aptnn.spectra.plots import plot_together

    outputs = Outputs(as_json, plot=plot)
    one, other = Spectrum.load(first), Spectrum.load(second)
    found = [
        compare_spectra(one, other, *band_limits(text), same_trajectory=same_trajectory)
        for text in band
    ]
    if plot is not None:
        plot_together({first.stem: one, second.stem: other}, plot)
    report: list[dict[str, Any]] = []
    for comparison in found:
        values: dict[str, float] = {}
        for name in ("intensity", "shift", "shape"):
            measured = getattr(comparison, name)
            values |= {name: measured.value, f"{name}_error": measured.error}
        values |= {"low": comparison.low, "high": comparison.high, "noise": comparison.noise}
        report.append({name: _finite(value) for name, value in values.items()})
    outputs.tell({"bands": report}, [str(comparison) for comparison in found])


def band_limits(text: str) -> tuple[float, float]:
    """Read LOW-HIGH in cm⁻¹."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*", text)
    if match is None or float(match[1]) >= float(match[2]):
        raise OptionError(
            f"--band {text!r}: write the lower and the upper limit in cm⁻¹, such as 2800-4000"
        )
    return float(match[1]), float(match[2])


def _notes(notes: list[str]) -> list[str]:
    return [f"note: {note}" for note in notes]


def _finite(value: float) -> float | None:
    return value if value == value else None


def _no_error_bars(series: FluxSeries, resolution: float) -> str:
    """Why there are none, and what to type."""
    from mda_aptnn.spectra.estimator import FEWEST, SEGMENT_LENGTH
    from mda_aptnn.units import SPEED_OF_LIGHT

    length = len(series) * series.spacing
    least = FEWEST * SEGMENT_LENGTH / (SPEED_OF_LIGHT * length)
    if resolution <= 0 or resolution > 1.02 * least:
        return "no error bars: none wanted"
    return (
        f"no error bars: {length:.3g} ps are fewer than {FEWEST} segments at this resolution; ask "
        f'for --resolution "{1.03 * least:.0f} cm^-1" or more, or run '
        f"{1.03 * length * least / resolution:.2g} ps"
    )
