"""A Raman spectrum with every auto and cross term: isotropic and anisotropic parts, and what is
measured of them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.display import Pictured
from mda_aptnn.spectra.result import band_weights
from mda_aptnn.spectra.statistics import Measured, Segments
from mda_aptnn.spectra.terms import pair_index, term_of
from mda_aptnn.tensors import COMPONENTS

Array = NDArray[np.float64]

#: What is measured, as (factor of ᾱ'², factor of γ'²); derived in docs/raman.md.
KINDS = {
    "isotropic": (1.0, 0.0),
    "anisotropy": (0.0, 1.0),
    "vv": (1.0, 4 / 45),
    "vh": (0.0, 1 / 15),
    "activity": (45.0, 7.0),
}
DETECTIONS = ("power", "photons")
BOSE_FACTORS = ("stokes", "classical", "none")


@dataclasses.dataclass(frozen=True)
class RamanSpectrum(io.Stored, Pictured):
    """A Raman spectrum, the sum of its auto and cross terms.

    Attributes
    ----------
    wavenumber : pint.Quantity, shape [n_frequencies]
        Raman shift ν̃ in cm⁻¹, equidistant.
    groups : list of str
        Names of the groups.
    isotropic_terms : pint.Quantity, shape [n_frequencies, n_groups, n_groups]
        ᾱ'² of each pair of groups per wavenumber, ᾱ = tr α/3, symmetric. The sum over both indices
        is the total. In Å⁴/u per cm⁻¹, or in another unit after `scattered`.
    anisotropic_terms : pint.Quantity, shape [n_frequencies, n_groups, n_groups]
        γ'², the anisotropy, of each pair of groups, in the same unit.
    components : pint.Quantity, shape [n_frequencies, 6, 6]
        α'_ab α'_cd of the sample, for ab and cd in xx, yy, zz, xy, xz, yz: for oriented samples.
        Same unit.
    temperature : pint.Quantity
    resolution : pint.Quantity
        Full width at half maximum of the line that a single frequency becomes.
    window : str
        Name of the lag window.
    segments : tuple of Segments, or None
        Isotropic and anisotropic part of disjoint parts of the trajectory, for the statistical
        error.
    factors : dict of str to str
        What `scattered` has multiplied it with; empty for activities.
    notes : list of str
        What was assumed on the way.
    info : dict
        What it was made of and how.
    """

    kind: ClassVar[str] = "raman"

    wavenumber: Any
    groups: list[str]
    isotropic_terms: Any
    anisotropic_terms: Any
    components: Any
    temperature: Any
    resolution: Any
    window: str
    segments: tuple[Segments, Segments] | None = None
    factors: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def unit(self) -> str:
        """Unit of all values."""
        return str(self.isotropic_terms.units)

    @property
    def vv(self) -> Any:
        """Scattering polarized like the laser [n_frequencies]: isotropic + 4/3 VH, from a
        disordered sample.
        """
        return self.values("vv")

    @property
    def vh(self) -> Any:
        """Scattering polarized across the laser's polarization [n_frequencies]: γ²/15, from a
        disordered sample.
        """
        return self.values("vh")

    @property
    def activity(self) -> Any:
        """45 ᾱ'² + 7 γ'² [n_frequencies]; its integral over a band is the band's Raman activity in
        Å⁴/u.
        """
        return self.values("activity")

    @property
    def depolarization(self) -> Array:
        """VH/VV at each frequency, between 0 and 3/4; NaN where there is no scattering."""
        return self._measured(_ratio)[0]

    def values(self, kind: str, first: str | None = None, second: str | None = None) -> Any:
        """Return what is measured, of the total or of a term [n_frequencies].

        Parameters
        ----------
        kind : {"isotropic", "anisotropy", "vv", "vh", "activity"}
            ᾱ'², γ'², and what a disordered sample scatters: VV = ᾱ'² + 4/45 γ'², VH = γ'²/15, 45
            ᾱ'² + 7 γ'².
        first, second : str, optional
            Names of groups: the auto term of one, or the whole cross term of two (both orders).

        Returns
        -------
        pint.Quantity, shape [n_frequencies]

        Raises
        ------
        SpectrumError
            If there is no such kind or group.
        """
        isotropic, anisotropic = self._factors(kind)
        terms = isotropic * self.isotropic_terms + anisotropic * self.anisotropic_terms
        if first is None:
            return terms.sum(axis=(1, 2))
        return term_of(terms, self.groups, first, second or first)

    def component(self, first: str, second: str | None = None) -> Any:
        """Return α'_ab α'_cd of the sample as it lies [n_frequencies], such as ("zz",) or ("xx",
        "yy").

        Parameters
        ----------
        first, second : str
            Components of α, such as "xx"; the second is the first by default.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]

        Raises
        ------
        SpectrumError
            If there is no such component.
        """
        for name in (first, second or first):
            if "".join(sorted(name)) not in COMPONENTS:
                raise SpectrumError(f"component {name!r}: choose of {', '.join(COMPONENTS)}")
        a, b = (COMPONENTS.index("".join(sorted(name))) for name in (first, second or first))
        return self.components[:, a, b]

    def standard_error(self, kind: str, first: str | None = None, second: str | None = None) -> Any:
        """Return the statistical standard error of `values` [n_frequencies].

        Parameters
        ----------
        kind, first, second : str
            As in `values`.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]

        Raises
        ------
        SpectrumError
            If there are no error bars, or no such kind or group.
        """
        if self.segments is None:
            raise SpectrumError(
                "the spectrum has no error bars: the trajectory is short or they were not wanted"
            )
        pair = None if first is None else pair_index(self.groups, first, second or first)
        values = sum(
            factor * part.of_pair(pair)
            for factor, part in zip(self._factors(kind), self.segments, strict=True)
        )
        return units.quantity(self.segments[0].standard_error(np.asarray(values)), self.unit)

    def integral(self, kind: str, low: Any = 0.0, high: Any = None) -> Measured:
        """Return the integral over a band with its standard error, for "activity" its Raman
        activity in Å⁴/u.

        Parameters
        ----------
        kind : str
            As in `values`.
        low, high : float, str or pint.Quantity
            Limits in cm⁻¹; the whole spectrum by default.

        Returns
        -------
        Measured
            The error, NaN without error bars, is that of the jackknife over segments.
        """
        isotropic, anisotropic = self._factors(kind)
        weights = band_weights(self.wavenumber.magnitude, low, high)
        value, error = self._measured(
            lambda mean, rest: (isotropic * mean + anisotropic * rest) @ weights
        )
        unit = str(units.ureg.Quantity(1.0, self.unit).units * units.ureg.Unit(units.WAVENUMBER))
        return Measured(float(value), float(error), unit, self._degrees_of_freedom, positive=True)

    def band_depolarization(self, low: Any = 0.0, high: Any = None) -> Measured:
        """Return VH/VV of the integrals over a band, with its standard error.

        Parameters
        ----------
        low, high : float, str or pint.Quantity
            Limits in cm⁻¹; the whole spectrum by default.

        Returns
        -------
        Measured
            The error is that of the ratio, by the jackknife: what VH and VV have in common cancels.
        """
        weights = band_weights(self.wavenumber.magnitude, low, high)
        value, error = self._measured(lambda mean, rest: _ratio(mean @ weights, rest @ weights))
        return Measured(float(value), float(error), "", self._degrees_of_freedom, positive=True)

    def depolarization_error(self) -> Array:
        """Return the standard error of `depolarization`; NaN without error bars.

        Returns
        -------
        ndarray, shape [n_frequencies]
        """
        return self._measured(_ratio)[1]

    @property
    def _degrees_of_freedom(self) -> int:
        return 0 if self.segments is None else self.segments[0].degrees_of_freedom

    def _measured(self, function: Callable[[Array, Array], Any]) -> tuple[Array, Array]:
        """A function of ᾱ'² and γ'² of the total, both [n_frequencies], and its standard error."""
        value = np.asarray(
            function(
                *(
                    part.magnitude.sum(axis=(1, 2))
                    for part in (self.isotropic_terms, self.anisotropic_terms)
                )
            )
        )
        if self.segments is None:
            return value, np.full(value.shape, np.nan)
        both = np.stack([part.of_pair(None) for part in self.segments], axis=1)
        return value, self.segments[0].jackknife(lambda mean: function(*mean), both)

    def scattered(
        self, laser: Any = None, *, detection: str = "power", bose: str = "stokes"
    ) -> RamanSpectrum:
        """Return the spectrum as a spectrometer sees it, as a cross section per solid angle and
        wavenumber.

        Parameters
        ----------
        laser : float, str or pint.Quantity, optional
            Its wavenumber in cm⁻¹, or wavelength ("532 nm"): the shift ends there. None leaves the
            laser's frequency factor out: what remains is the spectrum of α itself, in Å⁶ per cm⁻¹.
        detection : {"power", "photons"}
            What is counted: (ν̃₀ − ν̃)⁴, or ν̃₀ (ν̃₀ − ν̃)³.
        bose : {"stokes", "classical", "none"}
            n̄ + 1 = 1/(1 − e⁻ˣ) with x = hcν̃/k_BT; its limit 1/x at high temperature; 1, from the
            ground state.

        Returns
        -------
        RamanSpectrum
            In Å²/sr per cm⁻¹, or Å⁶ per cm⁻¹ without a laser.

        Raises
        ------
        SpectrumError
            If a name is unknown, or factors are there already.

        Notes
        -----
        dσ/dΩ = (2π)⁴ (ν̃₀ − ν̃)⁴ · h/(8π²cν̃) · (n̄ + 1) · α'²: D. A. Long, The Raman Effect
        (2002), chapter 5. The point ν̃ = 0 is left out. Refraction and local fields are not part of
        it.
        """
        if self.factors:
            raise SpectrumError(
                f"the spectrum has its factors already ({self.factors}); start from the activities"
            )
        if detection not in DETECTIONS or bose not in BOSE_FACTORS:
            raise SpectrumError(
                f"detection {detection!r}, bose {bose!r}: choose of {', '.join(DETECTIONS)}, and "
                f"of "
                f"{', '.join(BOSE_FACTORS)}"
            )
        wavenumber = self.wavenumber.magnitude
        kept = wavenumber > 0
        unit, factors = "angstrom^6*cm", {"bose": bose}
        if laser is not None:
            laser = units.wavenumber_of_light(laser, "laser")
            kept &= wavenumber < laser
            unit, factors = (
                "angstrom^2/sr*cm",
                {"laser": f"{laser:.10g} 1/cm", "detection": detection, **factors},
            )
        shift = wavenumber[kept]
        factor = (
            units.GROUND_STATE_SQUARE
            / shift
            * _bose_factor(bose, shift, float(self.temperature.magnitude))
        )
        if laser is not None:
            emitted = laser - shift
            powers = emitted**4 if detection == "power" else laser * emitted**3
            factor = factor * (2 * np.pi * units.factor("1/cm", "1/angstrom")) ** 4 * powers
        return self._times(factor, kept, unit, factors)

    def _times(
        self, factor: Array, kept: NDArray[np.bool_], unit: str, factors: dict[str, str]
    ) -> RamanSpectrum:
        def of_terms(terms: Any) -> Any:
            return units.quantity(terms.magnitude[kept] * factor[:, None, None], unit)

        segments = self.segments
        if segments is not None:
            first, second = (
                dataclasses.replace(
                    part, terms=(part.terms[:, kept] * factor[:, None]).astype(np.float32)
                )
                for part in segments
            )
            segments = first, second
        return dataclasses.replace(
            self,
            wavenumber=self.wavenumber[kept],
            isotropic_terms=of_terms(self.isotropic_terms),
            anisotropic_terms=of_terms(self.anisotropic_terms),
            components=of_terms(self.components),
            segments=segments,
            factors=factors,
        )

    def _factors(self, kind: str) -> tuple[float, float]:
        if kind not in KINDS:
            raise SpectrumError(f"there is no {kind!r}: choose of {', '.join(KINDS)}")
        return KINDS[kind]

    def plot(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Draw VV, VH and the depolarization; see `mda_aptnn.spectra.raman_plot.plot_raman`.

        Parameters
        ----------
        path : path, optional
            Written there (format by the ending) instead of being left open for display.
        **options
            Of `plot_raman`.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from mda_aptnn.spectra.raman_plot import plot_raman

        return plot_raman(self, path, **options)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write columns of numbers; see `mda_aptnn.spectra.raman_file.write_csv`.

        Parameters
        ----------
        path : path
        """
        from mda_aptnn.spectra.raman_file import write_csv

        write_csv(self, path)

    def _write(self, file: h5py.File) -> None:
        from mda_aptnn.spectra.raman_file import write_raman

        write_raman(self, file)

    @classmethod
    def _read(cls, file: h5py.File) -> RamanSpectrum:
        from mda_aptnn.spectra.raman_file import read_raman

        return read_raman(file)


def _ratio(isotropic: Array, anisotropic: Array) -> Array:
    """VH/VV of ᾱ'² and γ'²; NaN where there is no scattering."""
    (a, b), (c, d) = KINDS["vh"], KINDS["vv"]
    vh, vv = (
        np.asarray(a * isotropic + b * anisotropic),
        np.asarray(c * isotropic + d * anisotropic),
    )
    ratio: Array = np.divide(vh, vv, out=np.full(vv.shape, np.nan), where=vv > 0)
    return ratio


def _bose_factor(name: str, wavenumber: Array, temperature: float) -> Array:
    x = units.SECOND_RADIATION_CONSTANT * wavenumber / temperature
    if name == "stokes":
        return -1 / np.expm1(-x)
    return 1 / x if name == "classical" else np.ones_like(x)
