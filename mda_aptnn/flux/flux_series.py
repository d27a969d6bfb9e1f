"""The flux of groups along a trajectory: what is stored, merged and turned into spectra."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.averages import ratio_with_error
from mda_aptnn.checks import Checks, Verdict
from mda_aptnn.errors import GroupError, SpectrumError
from mda_aptnn.flux.members import validity_of_spread
from mda_aptnn.spectra.estimator import Estimator, Rates, cross_correlation
from mda_aptnn.spectra.infrared import Spectrum, infrared
from mda_aptnn.spectra.raman import RamanSpectrum, full_tensors
from mda_aptnn.spectra.scattering import raman_spectrum
from mda_aptnn.spectra.self_distinct import self_and_distinct
from mda_aptnn.spectra.sfg import COMPONENTS, SumFrequencySpectrum
from mda_aptnn.spectra.sum_frequency import SLAB_GROUPS, slab_sums, sum_frequency_spectrum

logger = logging.getLogger(__name__)

#: Up to so many groups are named where a flux is shown.
_NAMED = 8
#: More groups have too many terms of χ⁽²⁾: five components of all ordered pairs.
_MOST_PAIRED = 16
#: Per-frame records beside the flux: unit in the file and shape of one frame.
RECORDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "volumes": (units.VOLUME, ()),
    "temperatures": (units.TEMPERATURE, ()),
    "residuals": (units.CHARGE, (3, 3)),
    "equipartition": ("e^2/u", ()),
}


@dataclasses.dataclass(frozen=True)
class FluxSeries(io.Stored):
    """Ṁ(t) of groups of atoms, in one or more uninterrupted series.

    Attributes
    ----------
    flux : ndarray, shape [n_frames, n_groups, 3]
        In e·Å/ps.
    groups : list of str
        Their sum is the total.
    times : ndarray, shape [n_frames]
        In ps.
    spacing : float
        Between frames of a series, in ps.
    starts : list of int
        First frame of each series; correlation never crosses into the next.
    volumes : ndarray, shape [n_frames]
        In Å³; NaN without a cell.
    temperatures : ndarray, shape [n_frames]
        Kinetic temperature of all atoms, in K; NaN where constraints or finite differences make it
        unknown.
    residuals : ndarray, shape [n_frames, 3, 3]
        Σ_i P_i − Q·1 of the prediction, in e, before any sum rule was applied.
    equipartition : ndarray, shape [n_frames]
        Σ_i ‖P_i‖²/m_i of the atoms that count, in e²/u: its mean times k_B T is ⟨Ṁ²⟩ in
        equilibrium.
    finite_difference : float
        Spacing of the positions that velocities were made from, in ps; 0 for recorded velocities.
    info : dict
        Model, sum rule, sources and notes.
    labels : dict of str to list of str
        What each term of `groups` is: its "group", and where there are, its "motion", the "species"
        of its molecule.
    members : ndarray, shape [n_frames, n_members, n_groups, 3], or None
        The flux by each member of a committee, in e·Å/ps: their mean is `flux`, their scatter,
        calibrated for each element, its error. None for a single model, and where there are too
        many groups to keep it.
    polarizability : ndarray, shape [n_frames, n_groups, 6], or None
        α̇ = Σ_i G_i v_i, α/4πε₀, of each group in Å³/ps: xx, yy, zz, xy, xz, yz. None of a model of
        dipoles only.
    """

    kind: ClassVar[str] = "flux"

    flux: NDArray[np.float64]
    groups: list[str]
    times: NDArray[np.float64]
    spacing: float
    starts: list[int]
    volumes: NDArray[np.float64]
    temperatures: NDArray[np.float64]
    residuals: NDArray[np.float64]
    equipartition: NDArray[np.float64]
    finite_difference: float = 0.0
    info: dict[str, Any] = dataclasses.field(default_factory=dict)
    labels: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    members: NDArray[np.float64] | None = None
    polarizability: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.flux)

    def __repr__(self) -> str:
        named = (
            ", ".join(self.groups) if len(self.groups) <= _NAMED else f"{len(self.groups)} groups"
        )
        length = (
            f"{len(self)} frames, {1000 * self.spacing:g} fs apart, in {len(self.starts)} series"
        )
        return f"<FluxSeries: {length}; {named}>"

    @property
    def total(self) -> NDArray[np.float64]:
        """Ṁ of all groups together [n_frames, 3], in e·Å/ps."""
        total: NDArray[np.float64] = self.flux.sum(axis=1)
        return total

    def segments(self) -> list[NDArray[np.float64]]:
        """Return the uninterrupted series, each [n_frames, n_groups, 3].

        Returns
        -------
        list of ndarray, shape [n_frames, n_groups, 3]
            In e·Å/ps.
        """
        return [part for part in np.split(self.flux, self.starts[1:]) if len(part)]

    def regroup(self, groups: Mapping[str, Sequence[str]] | Sequence[str]) -> FluxSeries:
        """Return the flux of sums of groups, without a new prediction.

        Parameters
        ----------
        groups : mapping of str to sequence of str, or sequence of str
            New name to the names it is made of, or names to keep. What is left out becomes "rest".

        Returns
        -------
        FluxSeries

        Raises
        ------
        GroupError
            If a group is unknown or used twice.
        """
        if not isinstance(groups, Mapping):
            groups = {name: [name] for name in ([groups] if isinstance(groups, str) else groups)}
        used = [
            part
            for parts in groups.values()
            for part in ([parts] if isinstance(parts, str) else parts)
        ]
        for name in used:
            if name not in self.groups:
                raise GroupError(
                    f"there is no group {name!r}; the groups are {', '.join(self.groups)}"
                )
        if len(set(used)) < len(used):
            raise GroupError(f"a group stands in two sums: {groups}")
        sums = {
            name: [
                self.groups.index(part) for part in ([parts] if isinstance(parts, str) else parts)
            ]
            for name, parts in groups.items()
        }
        rest = [k for k, name in enumerate(self.groups) if name not in used]
        if rest:
            sums["rest" if "rest" not in sums else "remaining"] = rest
        return self._summed(sums, {})

    def sum_over(self, label: str) -> FluxSeries:
        """Return the flux of all terms that are alike in a label: "motion", "group" or "species".

        Parameters
        ----------
        label : {"motion", "group", "species"}

        Returns
        -------
        FluxSeries
            One term for each word of that label.

        Raises
        ------
        GroupError
            If the terms have no such label.
        """
        if label not in self.labels:
            raise GroupError(
                f"the flux has no {label!r}; it has {', '.join(self.labels) or 'groups only'}"
            )
        words = self.labels[label]
        names = list(dict.fromkeys(words))
        return self._summed(
            {name: [k for k, word in enumerate(words) if word == name] for name in names},
            {label: names},
        )

    def _summed(
        self, sums: Mapping[str, Sequence[int]], labels: dict[str, list[str]]
    ) -> FluxSeries:
        """The flux of sums of terms, by name the numbers of the terms."""
        terms = [list(numbers) for numbers in sums.values()]
        flux = np.stack([self.flux[:, k].sum(axis=1) for k in terms], axis=1)
        members = self.members
        if members is not None:
            members = np.stack([members[:, :, k].sum(axis=2) for k in terms], axis=2)
        rates = self.polarizability
        if rates is not None:
            rates = np.stack([rates[:, k].sum(axis=1) for k in terms], axis=1)
        return dataclasses.replace(
            self, flux=flux, groups=list(sums), labels=labels, members=members, polarizability=rates
        )

    def correlation(self, max_lag: Any = "5 ps", *, unbiased: bool = False) -> NDArray[np.float64]:
        """Return ⟨Ṁ_g(0)·Ṁ_h(t)⟩ [n_lags, n_groups, n_groups] in e² Å²/ps².

        Parameters
        ----------
        max_lag : float, str or pint.Quantity
            Longest t, in ps; at most the longest series.
        unbiased : bool
            See `mda_aptnn.spectra.estimator.cross_correlation`.

        Returns
        -------
        ndarray, shape [n_lags, n_groups, n_groups]
            In e² Å²/ps².
        """
        longest = max(len(part) for part in self.segments())
        n_lags = int(units.magnitude(max_lag, units.TIME, "max_lag") / self.spacing + 1e-6) + 1
        return cross_correlation(self.segments(), min(n_lags, longest), unbiased=unbiased)

    def check(self, temperature: Any = None) -> Checks:
        """Return what is found of this flux: the checks before its run, and those of all its
        frames.

        Parameters
        ----------
        temperature : float, str or pint.Quantity, optional
            That will be given for a spectrum, in K.

        Returns
        -------
        Checks
        """
        from mda_aptnn.flux.checks import check_series

        if temperature is not None:
            temperature = units.magnitude(temperature, units.TEMPERATURE, "temperature")
        return check_series(self, temperature)

    def equipartition_ratio(self) -> tuple[float, float]:
        """Return ⟨Ṁ²⟩ / (k_B T Σ_i ⟨‖P_i‖²⟩/m_i) and its standard error.

        1 in equilibrium without constraints, whatever the spectrum is: a check of velocities, units
        and tensors. T is the kinetic temperature of the same frames; NaN where it is not known.

        Returns
        -------
        ratio, standard_error : float
            See `mda_aptnn.averages.ratio_with_error`.
        """
        squares = (self.total**2).sum(axis=1)
        return ratio_with_error(squares, units.BOLTZMANN * self.temperatures * self.equipartition)

    def spectrum(
        self,
        temperature: Any = None,
        resolution: Any = "10 cm^-1",
        window: str = "gaussian",
        groups: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
        *,
        unbiased: bool = False,
        volume: Any = None,
        segments: int | str | None = "auto",
        quantum_correction: str = "harmonic",
        distinct: bool | None = None,
    ) -> Spectrum:
        """Return the absolute infrared spectrum with every auto and cross term.

        Parameters
        ----------
        temperature : float, str or pint.Quantity, optional
            In K. By default the mean kinetic temperature of the trajectory, and a note says so.
        resolution : float, str or pint.Quantity
            Full width at half maximum of a line, in cm⁻¹.
        window : {"gaussian", "parzen", "bartlett", "hann", "none"}
            All but "hann" keep auto terms non-negative.
        groups : mapping or sequence, optional
            See `regroup`.
        unbiased : bool
            Divide by the number of terms of each lag; auto terms can then be negative.
        volume : float, str or pint.Quantity, optional
            In Å³; by default the mean volume of the cells. None in the gas phase.
        segments : int, "auto", "replicas" or None
            Disjoint parts of the trajectory for the error bars: how many; 4 to 16, as many as are
            twice as long as the resolution needs, none if fewer; each series of its own; none.
        quantum_correction : {"harmonic", "standard", "schofield", "none"}
            See `mda_aptnn.spectra.quantum.quantum_factor`.
        distinct : bool, optional
            Put the terms of molecules together: those of each with itself and those of different
            ones. By default of a flux of molecules; see
            `mda_aptnn.spectra.self_distinct.self_and_distinct`.

        Returns
        -------
        Spectrum

        Raises
        ------
        SpectrumError
            If the temperature is not known (constraints, rigid molecules, finite differences) or
            the series is too short, or `distinct` is asked of groups that are not molecules.
        """
        width = units.magnitude(resolution, units.WAVENUMBER, "resolution")
        estimator = Estimator(width, window, unbiased, segments)
        if distinct is None:
            distinct = groups is None and "species" in self.labels
        series = self if groups is None else self.regroup(groups)
        kelvin, volume, notes = series.conditions(temperature, volume)
        info = {name: value for name, value in self.info.items() if name != "notes"}
        if distinct:
            found = self_and_distinct(series, estimator, kelvin, volume, notes=notes, info=info)
            if quantum_correction == "harmonic":
                return found
            return found.corrected(quantum_correction)
        band_spread = self.info.get("band_spread", {})
        if series.members is not None:
            notes.append(validity_of_spread(band_spread))
        rates = Rates(
            series.flux,
            series.starts,
            series.spacing,
            series.groups,
            series.finite_difference,
            series.members,
            band_spread.get("factor"),
        )
        return infrared(
            rates,
            estimator,
            kelvin,
            volume,
            quantum_correction=quantum_correction,
            notes=notes,
            info=info,
        )

    def raman(
        self,
        temperature: Any = None,
        resolution: Any = "10 cm^-1",
        window: str = "gaussian",
        groups: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
        *,
        unbiased: bool = False,
        segments: int | str | None = "auto",
    ) -> RamanSpectrum:
        """Return the Raman spectrum with every auto and cross term; parameters as in `spectrum`.

        Parameters
        ----------
        temperature, resolution, window, groups, unbiased, segments
            As in `spectrum`.

        Returns
        -------
        RamanSpectrum

        Raises
        ------
        SpectrumError
            If the model predicted no polarizability gradients, the temperature is not known, or the
            series is too short.
        """
        series = self if groups is None else self.regroup(groups)
        kelvin, _, notes = self.conditions(temperature)
        return raman_spectrum(
            series.polarizability_segments(),
            series.groups,
            self.spacing,
            kelvin,
            resolution=units.magnitude(resolution, units.WAVENUMBER, "resolution"),
            window=window,
            unbiased=unbiased,
            segments=segments,
            finite_difference=self.finite_difference,
            notes=notes,
            info={name: value for name, value in self.info.items() if name != "notes"},
        )

    def sum_frequency(
        self,
        temperature: Any = None,
        resolution: Any = "10 cm^-1",
        window: str = "gaussian",
        groups: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
        *,
        area: Any = None,
        sides: NDArray[np.float64] | None = None,
        components: Sequence[str] = COMPONENTS,
        unbiased: bool = False,
        segments: int | str | None = "auto",
    ) -> SumFrequencySpectrum:
        """Return the second-order susceptibility χ⁽²⁾ of a surface, whose normal is z.

        Parameters
        ----------
        temperature, resolution, window, groups, unbiased, segments
            As in `spectrum`.
        area : float, str or pint.Quantity, optional
            Of the surface, in Å²; without, A·χ in Å⁴/V.
        sides : ndarray, shape [n_frames, n_groups, 3], optional
            How much of each group (molecule) belongs to the upper side of a slab, to its bulk and
            to its lower side, see `mda_aptnn.spectra.sum_frequency.slab_weights`. These three are
            then the groups.
        components : sequence of str
            Of χ_abc, such as "xxz": ab of the polarizability, c of the dipole.

        Returns
        -------
        SumFrequencySpectrum

        Raises
        ------
        SpectrumError
            If the model predicted no polarizability gradients, the temperature is not known, the
            series is too short, or there are more groups than terms can be kept of.
        """
        series = self if groups is None else self.regroup(groups)
        kelvin, _, notes = self.conditions(temperature)
        names, flux, rates = series.groups, series.segments(), series.polarizability_segments()
        if sides is not None:
            if np.shape(sides) != (*series.flux.shape[:2], len(SLAB_GROUPS)):
                raise SpectrumError(
                    f"sides has the shape {np.shape(sides)}; {len(series)} frames of {len(names)} "
                    f"groups need "
                    f"{(*series.flux.shape[:2], len(SLAB_GROUPS))}, from slab_weights(heights, "
                    f"inner, outer)"
                )
            weights = [part for part in np.split(np.asarray(sides), self.starts[1:]) if len(part)]
            flux = [slab_sums(part, weight) for part, weight in zip(flux, weights, strict=True)]
            rates = [slab_sums(part, weight) for part, weight in zip(rates, weights, strict=True)]
            names = list(SLAB_GROUPS)
        if len(names) > _MOST_PAIRED:
            raise SpectrumError(
                f"{len(names)} groups have {len(names)}² terms in each component; at most "
                f"{_MOST_PAIRED} groups are "
                "taken: give sides= for molecules of a slab, or sums of groups="
            )
        return sum_frequency_spectrum(
            rates,
            flux,
            names,
            self.spacing,
            kelvin,
            None if area is None else units.magnitude(area, "angstrom^2", "area"),
            components=components,
            resolution=units.magnitude(resolution, units.WAVENUMBER, "resolution"),
            window=window,
            unbiased=unbiased,
            segments=segments,
            finite_difference=self.finite_difference,
            notes=notes,
            info={name: value for name, value in self.info.items() if name != "notes"},
        )

    def polarizability_segments(self) -> list[NDArray[np.float64]]:
        """Return α̇ of the uninterrupted series, each [n_frames, n_groups, 3, 3] in Å³/ps.

        Returns
        -------
        list of ndarray, shape [n_frames, n_groups, 3, 3]
            In Å³/ps.

        Raises
        ------
        SpectrumError
            If the model predicted no polarizability gradients.
        """
        if self.polarizability is None:
            raise SpectrumError(
                "the flux has no polarizability: it was predicted by a model without "
                "polarizability gradients"
            )
        return [
            full_tensors(part)
            for part in np.split(self.polarizability, self.starts[1:])
            if len(part)
        ]

    def conditions(
        self, temperature: Any = None, volume: Any = None
    ) -> tuple[float, float | None, list[str]]:
        """Return temperature (K), volume (Å³ or None) and notes that go with a spectrum of this
        flux.

        Parameters
        ----------
        temperature, volume
            As in `spectrum`.

        Returns
        -------
        temperature : float
            In K.
        volume : float or None
            In Å³; None in the gas phase.
        notes : list of str

        Raises
        ------
        SpectrumError
            If the temperature is not known (constraints, rigid molecules, finite differences).
        """
        checks = self.check(temperature)
        # what a few frames said before the run is said by all of them now
        earlier = tuple(f"{Verdict.LOOK}: {check.name}: " for check in checks)
        notes = [
            note for note in map(str, self.info.get("notes", [])) if not note.startswith(earlier)
        ]
        notes += map(str, checks.doubtful)
        if temperature is None:
            kelvin = float(self.temperatures.mean())
            if not np.isfinite(kelvin):
                raise SpectrumError(
                    "the kinetic temperature is not known, as the trajectory has constraints or "
                    "rigid molecules, or "
                    'velocities are finite differences; give temperature="300 K" (for constraints also: '
                    "degrees_of_freedom to DipoleFlux)"
                )
            notes.append(f"temperature {kelvin:.1f} K taken from the velocities of the trajectory")
            logger.info(notes[-1])
        else:
            from mda_aptnn.flux.checks import given_temperature

            kelvin = units.magnitude(temperature, units.TEMPERATURE, "temperature")
            check = given_temperature(self, kelvin)
            if check.verdict is Verdict.LOOK:
                warnings.warn(check.brief, stacklevel=3)
        if volume is None:
            mean = float(self.volumes.mean())
            return kelvin, mean if np.isfinite(mean) else None, notes
        return kelvin, units.magnitude(volume, units.VOLUME, "volume"), notes

    def _write(self, file: h5py.File) -> None:
        from mda_aptnn.flux.flux_file import write_flux

        write_flux(self, file)

    @classmethod
    def _read(cls, file: h5py.File) -> FluxSeries:
        from mda_aptnn.flux.flux_file import read_flux

        return read_flux(file)

    @classmethod
    def merge(cls, parts: Iterable[FluxSeries]) -> FluxSeries:
        """Put runs together: continuing times make one series, anything else is a replica of its
        own.

        Which of the two each part became stands in ``info["notes"]`` and in the log.

        Parameters
        ----------
        parts : iterable of FluxSeries
            In the order of their times.

        Returns
        -------
        FluxSeries

        Raises
        ------
        TrajectoryError
            If there is nothing to merge, or spacings, atoms, charge or the treatment of the sum
            rule differ.
        GroupError
            If the groups differ.
        """
        from mda_aptnn.flux.merging import merge_runs

        return merge_runs(list(parts))
