"""Commands that make spectra: of a trajectory, a stored flux, dipoles, or other spectra."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import mda_aptnn
from mda_aptnn import io, units
from mda_aptnn.checks import Checks
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
Profile = StrEnum("Profile", ["gaussian", "lorentzian", "voigt", "brendel"])
Base = StrEnum("Base", {"e": "e", "ten": "10"})
Axis = StrEnum("Axis", ["x", "y", "z"])
Origin = StrEnum("Origin", ["cell", "centre"])


def _band(text: str, name: str) -> tuple[float, float]:
    """LOW-HIGH in cm⁻¹."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*", text)
    if match is None or float(match[1]) >= float(match[2]):
        raise OptionError(
            f"{name} {text!r}: write the lower and the upper limit in cm⁻¹, such as 2800-4000"
        )
    return float(match[1]), float(match[2])


def _bands(texts: list[str], name: str) -> list[tuple[float, float]]:
    return [_band(text, name) for text in texts]


def _ranges(texts: list[str] | None, name: str) -> list[tuple[float, float]] | None:
    return _bands(texts or [], name) or None


Band = Annotated[tuple[float, float], _band]
Bands = Annotated[list[tuple[float, float]], _bands]
Ranges = Annotated[list[tuple[float, float]] | None, _ranges]
Logarithmic = StrEnum("Logarithmic", ["x", "y", "xy"])
Area = Annotated[Any, opt.positive("angstrom^2")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfFlux(Reading, opt.Estimate):
    """How a spectrum is made of a trajectory, or of a stored flux."""

    temperature: opt.Temperature = None

    def make(self, out: Outputs, function: Callable[..., Any], **options: Any) -> None:
        """Make, save and tell the spectrum that `function` makes of a flux and of settings."""
        from mda_aptnn.spectra.estimator import Estimator

        how = self.values(opt.Estimate)
        settings = options | how
        with self.obtained(out, self.temperature, Estimator(**how)) as (series, groups):
            found = function(series, groups=groups, temperature=self.temperature, **settings)
            out.save(found)
        lines = [series.describe(found.notes), found.describe()]
        if found.segments is None:
            lines.append(_no_error_bars(series, float(found.resolution.magnitude)))
        report = {**series.summary(), **found.summary()}
        out.tell(report, lines, series.check(self.temperature))

    def check_gradients(self) -> None:
        """Refuse a model without polarizability gradients before the long run."""
        from mda_aptnn.tensors import APT, PGT

        if self.is_flux or self.is_stored:
            return
        target = getattr(mda_aptnn.load_model(self.model), "target", APT)
        if not {APT, PGT} <= set(target.parts):
            raise OptionError(
                f"the model {self.model!r} predicts no polarizability gradients; train one with "
                "labels that have them (mda-aptnn label plan --route field-raman) and name it by "
                "--model"
            )


def spectrum(
    how: OfFlux,
    *,
    shown: opt.Shown,
    volume: opt.Volume = None,
    quantum_correction: Correction = Correction.harmonic,
    out: Outputs = opt.writes(spectrum="spectrum.h5", csv=None, plot=None, flux=None),
) -> None:
    """Absolute infrared spectrum of a trajectory, decomposed by groups of atoms and motions of
    molecules.

    Where a flux of atoms is stored (`flux --per atom`), its file may stand in the place of the
    trajectory. With --per molecule (or residue) the spectrum has a self and a distinct part.

    Parameters
    ----------
    quantum_correction : str
        Factor that turns classical intensities into quantum ones.
    """
    shown.check()

    def make(series: FluxSeries, **settings: Any) -> Any:
        return shown.of(series.spectrum(**settings))

    how.make(out, make, volume=volume, quantum_correction=quantum_correction)


def raman(
    how: OfFlux,
    *,
    laser: str | None = None,
    detection: Detection = Detection.power,
    bose: Bose | None = None,
    out: Outputs = opt.writes(raman="raman.h5", csv=None, plot=None, flux=None),
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
    if laser is not None:
        units.wavenumber_of_light(laser, "--laser")
    how.check_gradients()

    def make(series: FluxSeries, **settings: Any) -> Any:
        found = series.raman(**settings)
        if laser is None and bose is None:
            return found
        return found.scattered(laser=laser, detection=detection, bose=bose or "stokes")

    how.make(out, make)


def sfg(
    how: OfFlux,
    *,
    area: Area = None,
    component: list[str] | None = None,
    out: Outputs = opt.writes(sfg="sfg.h5", csv=None, plot=None, flux=None),
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

    components = component or list(COMPONENTS)
    for name in components:
        axes_of(name)
    how.check_gradients()
    how.make(out, mda_aptnn.FluxSeries.sum_frequency, area=area, components=components)


def vdos(
    reading: opt.Moving,
    *,
    terms: opt.Terms,
    estimate: opt.ErrorBars,
    temperature: opt.Temperature = None,
    mass_weighted: bool = True,
    out: Outputs = opt.writes(vdos="vdos.h5", csv=None, plot=None),
) -> None:
    """Vibrational density of states by groups of atoms and motions of molecules; no model is
    needed.

    Parameters
    ----------
    temperature : str
        Counts the degrees of freedom that move; else 3N.
    mass_weighted : bool
        Count atoms by m v², or by v².
    """
    from mda_aptnn.flux.checked_analysis import chosen_timeline
    from mda_aptnn.flux.flux_series import lengths_together
    from mda_aptnn.spectra.estimator import Estimator
    from mda_aptnn.trajectory.selection import select

    universe = reading.joined_universe()
    analysis = mda_aptnn.VelocitySpectrum(
        select(universe, terms.select, "--select"),
        terms.group,
        **terms.parts(),
        **reading.keywords(),
        verbose=True,
    )
    _, times = chosen_timeline(analysis.universe_frames, *reading.chosen())
    Estimator(**estimate.values()).check(times.spacing, lengths_together([times]))
    found = analysis.run(*reading.chosen())
    density = found.density(temperature, mass_weighted=mass_weighted, **estimate.values())
    checks, n_frames = Checks.from_json(density.info["checks"]), found.n_frames
    out.finish(density, checks, f"{n_frames} frames", n_frames=n_frames)


def dipoles(
    moments: Path,
    *,
    estimate: opt.Estimate,
    temperature: opt.Temperature,
    time_step: str | None = None,
    cell: str | None = None,
    start: int = 0,
    volume: opt.Volume = None,
    out: Outputs = opt.writes(spectrum="dipole-spectrum.h5", csv=None, plot=None),
) -> None:
    """Absolute infrared spectrum of the total dipole along a trajectory: the reference for polar
    tensors.

    Parameters
    ----------
    moments : path
        File of CP2K's &MOMENTS, .npy of [n_frames, 3] in e·Å, or HDF5.
    temperature : str
        Such as "300 K".
    start : int
        First frame, counted from 0.
    """
    series = _read_dipoles(moments, time_step, cell)[start:]
    found = series.spectrum(temperature, volume=volume, **estimate.values())
    first = f"{len(series)} dipoles, {series.spacing * 1000:g} fs apart"
    out.finish(found, first=first, n_frames=len(series))


def _read_dipoles(path: Path, time_step: str | None, cell: str | None) -> DipoleSeries:
    import numpy as np

    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if io.kind_of(path) == "dipoles":
        if time_step is not None or cell is not None:
            raise OptionError(
                f"{path} has its time step and cells: leave --time-step and --cell out"
            )
        return mda_aptnn.DipoleSeries.load(path)
    if time_step is None:
        raise OptionError('give --time-step, the time between dipoles, such as "0.5 fs"')
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except ValueError as error:
            raise FileFormatError(f"{path} is not an array of numpy: {error}") from error
        return mda_aptnn.DipoleSeries.from_array(values, time_step, cells=cell)
    return mda_aptnn.DipoleSeries.from_cp2k(path, time_step, cell=cell)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfAtoms(opt.Sample, opt.Lines):
    """How a spectrum is resolved in space, of the flux of every atom.

    Attributes
    ----------
    files : paths
        Topology of the run, for its molecules, and its flux file (--per atom).
    """

    files: list[Path] = dataclasses.field(kw_only=False)

    def make(self, out: Outputs, function: Callable[..., Any], **options: Any) -> None:
        """Make, save and tell what `function` makes of the molecules and their flux."""
        options |= self.values(opt.Sample) | self.values(opt.Lines)
        with opened_molecules(self.files) as (series, molecules):
            found = function(molecules, series, **options)
        out.finish(found, temperature=float(found.temperature.magnitude))


def distances(
    how: OfAtoms,
    *,
    bin_width: str = "0.5 angstrom",
    edges: opt.Numbers = None,
    workers: opt.Count = 1,
    out: Outputs = opt.writes(output="distances.h5", plot=None),
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

    how.make(out, distance_spectrum, edges=edges, bin_width=bin_width, n_threads=workers)


def profile(
    how: OfAtoms,
    *,
    axis: Axis = Axis.z,
    slabs: opt.Count = 20,
    edges: opt.Numbers = None,
    relative_to: Origin = Origin.cell,
    out: Outputs = opt.writes(output="profile.h5", plot=None),
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

    how.make(out, axis_profile, axis=axis, n_slabs=slabs, edges=edges, relative_to=relative_to)


@contextlib.contextmanager
def opened_molecules(files: list[Path]) -> Iterator[Any]:
    """Open the flux of every atom: a topology and a flux file, in whichever order they are named,
    as 0.1.0 had the flux first.

    Raises
    ------
    OptionError
        If there are not two files.
    FileNotFoundError
        If one is not there.
    """
    from mda_aptnn.flux.molecular_flux import open_molecules

    if len(files) != 2:
        raise OptionError("give the topology of the run, and its flux file (flux --per atom)")
    for path in files:
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
    topology, flux = sorted(files, key=lambda path: io.kind_of(path) == "flux")
    [universe] = opt.open_universes(topology, [])
    with open_molecules(flux, universe) as found:
        yield found


def spectrogram(
    flux: Path,
    *,
    sample: opt.Sample,
    resolution: opt.Width = "50 cm^-1",
    step: str | None = None,
    group: str | None = None,
    highest: str = "4500 cm^-1",
    out: Outputs = opt.writes(output="spectrogram.h5", plot=None),
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
    from mda_aptnn.spectra.spectrogram import spectrogram as follow

    found = follow(
        mda_aptnn.FluxSeries.load(flux),
        resolution=resolution,
        step=step,
        group=group,
        highest=highest,
        **sample.values(),
    )
    out.finish(found)


def convergence(
    flux: Path,
    *,
    band: Band,
    temperature: opt.Temperature = None,
    resolution: opt.Width = "10 cm^-1",
    segments: opt.Several = 8,
    lengths: opt.Several = 8,
    out: Outputs = opt.writes(plot=None),
) -> None:
    """Intensity of a band and its standard error against the length of the trajectory.

    Parameters
    ----------
    band : str
        LOW-HIGH in cm⁻¹, such as "2800-4000".
    resolution : str
        Full width at half maximum of a line.
    segments : int
        Parts of the run for error bars.
    lengths : int
        How many lengths of the trajectory.
    """
    from mda_aptnn.spectra.convergence import convergence as converge

    found = converge(
        mda_aptnn.FluxSeries.load(flux),
        *band,
        n_lengths=lengths,
        segments=segments,
        temperature=temperature,
        resolution=resolution,
    )
    out.save(found)
    rows = list(zip(map(float, found.lengths), found.integrals, strict=True))
    listed = [
        {"length_ps": length, "intensity": one.value, "error": one.error} for length, one in rows
    ]
    lines = [f"{length:10.4g} ps   {one} per sample" for length, one in rows]
    out.tell({"lengths": listed, "unit": "km/mol", "per": "sample"}, lines)


def dielectric(
    spectrum: Path,
    *,
    epsilon_infinity: float,
    subtract_conduction: bool = False,
    out: Outputs = opt.writes(dielectric="dielectric.h5", csv=None, plot=None),
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

    source = Spectrum.load(spectrum)
    out.finish(
        dielectric_spectrum(source, epsilon_infinity, subtract_conduction=subtract_conduction)
    )


def bands(
    spectrum: Path,
    *,
    band: Bands,
    profile: Profile = Profile.voigt,
    at: list[float] | None = None,
    terms: bool = False,
    flat: bool = False,
    shown: opt.Shown,
    out: Outputs = opt.writes(csv=None, latex=None, plot=None),
) -> None:
    """Position, width, height and area of bands, fitted, with errors, and the integral of each
    range in km/mol.

    Parameters
    ----------
    spectrum : path
        HDF5 file of `mda-aptnn spectrum`.
    band : list of str
        Range of the fit, LOW-HIGH in cm⁻¹, repeatable: "1400-1900".
    profile : str
        Of every band.
    at : list of float
        Where bands are, in cm⁻¹, repeatable; else the maxima that stand out of the noise.
    terms : bool
        Fit the auto and cross terms too.
    flat : bool
        No straight line below the bands.
    """
    from mda_aptnn.spectra.band_fits import fit_bands
    from mda_aptnn.spectra.infrared import Spectrum

    source = shown.of(Spectrum.load(spectrum))
    how: dict[str, Any] = {"at": at, "terms": terms, "baseline": not flat}
    found = fit_bands(source, band, profile, **how, molecules=shown.molecules)
    out.save(found)
    rows: list[dict[str, Any]] = []
    for each in found.bands:
        row: dict[str, Any] = {"term": each.term}
        for name in found.heads:
            row |= _number(name, getattr(each, name))
        rows.append(row)
    integrals = [
        {"low": low, "high": high, **_number("integral", value)}
        for (low, high), value in found.integrals.items()
    ]
    report = {"profile": profile, "bands": rows, "units": found.heads, "integrals": integrals}
    out.tell({**report, "per": found.molecule, "notes": found.notes}, str(found))


def compare(
    first: Path,
    second: Path,
    *,
    band: Bands,
    same_trajectory: bool = False,
    shown: opt.Shown,
    base: Base | None = None,
    x_unit: str | None = None,
    scaled: bool = False,
    fit_frequency: bool = False,
    out: Outputs = opt.writes(plot=None),
) -> None:
    """Intensity, shift and shape of a second spectrum, or a measured one, beside the first, with
    errors.

    A measured spectrum is text in two columns, CSV or JCAMP-DX, or the bundled
    "water-hale-querry-1973". What its header does not say, --quantity, --base and --x-unit do.

    Parameters
    ----------
    first : path
        HDF5 file of a spectrum.
    second : path
        The same, or a measured spectrum.
    band : list of str
        LOW-HIGH in cm⁻¹, repeatable: "2800-4000".
    same_trajectory : bool
        Both are of the same frames: what is common is in no error.
    base : str
        Of what was measured.
    x_unit : str
        Of its first column: "cm-1", "um".
    scaled : bool
        Compare with heights times one factor.
    fit_frequency : bool
        Compare with wavenumbers times one factor, the best.
    """
    from mda_aptnn import figures
    from mda_aptnn.spectra.experiment import ARBITRARY, compare_with_experiment, read_experiment
    from mda_aptnn.spectra.infrared import Spectrum

    one, picture = Spectrum.load(first), out.files.get("plot")
    if io.kind_of(second) is None:
        if same_trajectory:
            raise OptionError(f"{second} is a measured spectrum: leave --same-trajectory out")
        settings = shown.values()
        measured = read_experiment(
            second,
            settings.pop("quantity"),
            base=base,
            x_unit=x_unit,
            otherwise=ARBITRARY if scaled else None,
        )
        beside = compare_with_experiment(
            one, measured, band, scaled=scaled, fit_frequency=fit_frequency, **settings
        )
        found, lines = beside.bands, [str(beside)]
        more: dict[str, Any] = {"quantity": measured.quantity, "notes": measured.notes}
        for name in ("scale", "frequency_factor"):
            factor = getattr(beside, name)
            more |= {} if factor is None else _number(name, factor)
        if picture:
            beside.plot(picture)
    else:
        if base or x_unit or scaled or fit_frequency:
            raise OptionError(
                f"{second} is a spectrum of this package: --base, --x-unit, --scaled and "
                "--fit-frequency are for a measured one"
            )
        one, other = shown.of(one), shown.of(Spectrum.load(second))
        found = [
            mda_aptnn.compare(one, other, *limits, same_trajectory=same_trajectory)
            for limits in band
        ]
        lines, more = [str(comparison) for comparison in found], {}
        if picture:
            figures.plot(dict(zip(_names([first, second]), [one, other], strict=True)), picture)
    report = []
    for comparison in found:
        noise = comparison.noise
        row: dict[str, Any] = {"low": comparison.low, "high": comparison.high}
        row |= {"noise": noise if noise == noise else None}
        for name in ("intensity", "shift", "shape"):
            row |= _number(name, getattr(comparison, name))
        report.append(row)
    out.tell({"bands": report, **more}, lines)


def _number(name: str, found: Any) -> dict[str, float | None]:
    """A number and its error for JSON, which has no NaN."""
    return {name: found.value, f"{name}_error": None if found.error != found.error else found.error}


def plot(
    files: list[Path],
    *,
    label: list[str] | None = None,
    range: Ranges = None,
    log: Logarithmic | None = None,
    offset: float = 0.0,
    terms: list[str] | None = None,
    stacked: bool = False,
    cmap: str | None = None,
    style: str | None = None,
    out: Outputs = opt.writes(plot="picture.pdf"),
) -> None:
    """Picture of stored results: spectra of any kind, several together where they have the same
    axes.

    Parameters
    ----------
    files : paths
        HDF5 files of spectra, densities of states, dielectric functions, ...
    label : list of str
        In the legend, once for each file; its name by default.
    range : list of str
        LOW-HIGH in cm⁻¹; repeated, each has a frame with a vertical axis of its own: a broken axis.
    log : str
        Logarithmic axes.
    offset : float
        Each file stands higher than the one before, by this part of the highest value: 0.5.
    terms : list of str
        Term to draw, repeatable: "O", "O x H"; "all" or "none".
    stacked : bool
        Terms as areas on each other.
    cmap : str
        Colours, by matplotlib's name; by default such as can be told apart in grey.
    style : str
        Style sheet of matplotlib, by name or path: "ggplot".
    """
    from mda_aptnn import figures

    if label and len(label) != len(files):
        raise OptionError(
            f"{len(label)} labels for {len(files)} files: give --label once for each, in order"
        )
    names = label or (_names(files) if len(files) > 1 else [""])
    if len(set(names)) < len(names):
        raise OptionError(f"--label {max(names, key=names.count)!r} comes twice")
    found = {name: mda_aptnn.load(path) for name, path in zip(names, files, strict=True)}
    for path, result in zip(files, found.values(), strict=True):
        if not isinstance(result, figures.Drawn):
            raise OptionError(
                f"{path} is a {io.kind_of(path)} file: make a spectrum of it first, and plot that"
            )
    figures.plot(
        found,
        out.files["plot"],
        range=range,
        log=log,
        offset=offset,
        terms=terms == ["all"] if terms in (["all"], ["none"]) else terms or None,
        stacked=stacked,
        cmap=cmap,
        style=style,
    )
    out.tell({"labels": names})


def _names(files: list[Path]) -> list[str]:
    """What files are called in a legend: as short as they differ."""
    stems = [path.stem for path in files]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in files]


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
