"""Raman spectra with every auto and cross term: isotropic and anisotropic parts, and what is
measured of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.errors import FileFormatError, SpectrumError
from mda_aptnn.figures import TIMES, Panel, Picture
from mda_aptnn.spectra import result
from mda_aptnn.spectra.bands import maxima_of
from mda_aptnn.spectra.estimator import Estimator, Rates
from mda_aptnn.spectra.infrared import check_conditions
from mda_aptnn.tensors import COLUMNS, COMPONENTS, ROWS

Array = NDArray[np.float64]

#: What is measured, as (factor of ᾱ'², factor of γ'²); derived in docs/raman.md.
KINDS = {
    "isotropic": (1.0, 0.0),
    "anisotropy": (0.0, 1.0),
    "vv": (1.0, 4 / 45),
    "vh": (0.0, 1 / 15),
    "activity": (45.0, 7.0),
}
#: What is counted of the scattered light, of the wavenumbers of the laser and of what it becomes.
DETECTIONS: dict[str, Callable[[float, Array], Array]] = {
    "power": lambda laser, emitted: emitted**4,
    "photons": lambda laser, emitted: laser * emitted**3,
}
#: Occupation of the modes, of x = hcν̃/k_BT.
BOSE_FACTORS: dict[str, Callable[[Array], Array]] = {
    "stokes": lambda x: -1 / np.expm1(-x),
    "classical": lambda x: 1 / x,
    "none": np.ones_like,
}
#: Depolarization is drawn where VV is more than this part of its maximum: a ratio of nothing to
#: nothing says nothing.
_VISIBLE = 0.005


def _old_terms(file: h5py.File) -> Array:
    """The terms of a file of version 0.1.0, two symmetric matrices."""
    n, g = len(io.find_array(file, "wavenumber")), len(io.read_json(file, "groups", list))
    parts = [
        result.pair_columns(io.read_array(file, name, str(file.attrs["unit"]), (n, g, g)))
        for name in ("isotropic_terms", "anisotropic_terms")
    ]
    return np.stack(parts, axis=1)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class RamanSpectrum(result.Result):
    """A Raman spectrum, the sum of its auto and cross terms.

    Attributes
    ----------
    groups : list of str
        Names of the groups.
    unit : str
        Of all values: Å⁴/u per cm⁻¹, or another one after `scattered`.
    terms : pint.Quantity, shape [n_frequencies, 2, n_pairs]
        ᾱ'² and γ'², the anisotropy, per wavenumber, ᾱ = tr α/3: of each group, then of each pair of
        them (both orders). The sum over pairs is the total.
    components : pint.Quantity, shape [n_frequencies, 6, 6]
        α'_ab α'_cd of the sample, for ab and cd in xx, yy, zz, xy, xz, yz: for oriented samples.
    factors : dict of str to str
        What `scattered` has multiplied it with; empty for activities.
    """

    kind: ClassVar[str] = "raman"
    main: ClassVar[str] = "terms"
    upgrades: ClassVar = {"terms": ("isotropic_terms", _old_terms)}

    groups: list[str] = result.attribute(list)
    unit: str = result.attribute(str, units.RAMAN_ACTIVITY)
    terms: Any = result.array("unit", "frequencies", 2, "pairs")
    components: Any = result.array("unit", "frequencies", 6, 6)
    temperature: Any = result.array(units.TEMPERATURE)
    factors: dict[str, str] = result.attribute(dict, {})

    @property
    def vv(self) -> Any:
        """Scattering polarized like the laser [n_frequencies]: isotropic + 4/3 VH, from a
        disordered sample.
        """
        return self.curve("vv").quantity

    @property
    def vh(self) -> Any:
        """Scattering polarized across the laser's polarization [n_frequencies]: γ²/15, from a
        disordered sample.
        """
        return self.curve("vh").quantity

    @property
    def activity(self) -> Any:
        """45 ᾱ'² + 7 γ'² [n_frequencies]; its integral over a band is the band's Raman activity in
        Å⁴/u.
        """
        return self.curve("activity").quantity

    def curve(self, *term: str) -> result.Measured:
        """Return what is measured, of the total or of a term, with its standard error.

        Parameters
        ----------
        *term : str
            First one of "isotropic", "anisotropy", "vv", "vh", "activity": ᾱ'², γ'², and what a
            disordered sample scatters, VV = ᾱ'² + 4/45 γ'², VH = γ'²/15, 45 ᾱ'² + 7 γ'². Then names
            of groups: the auto term of one, or the whole cross term of two (both orders).

        Returns
        -------
        Measured
            [n_frequencies]

        Raises
        ------
        SpectrumError
            If there is no such kind or group.
        """
        return super().curve(*term)

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
        found = []
        for name in (first, second or first):
            if "".join(sorted(name)) not in COMPONENTS:
                raise SpectrumError(f"component {name!r}: choose of {', '.join(COMPONENTS)}")
            found.append(COMPONENTS.index("".join(sorted(name))))
        a, b = found
        return self.components[:, a, b]

    def band(self, low: Any = 0.0, high: Any = None, *term: str) -> result.Measured:
        """Return the integral over a band with its standard error: its Raman activity in Å⁴/u, or
        that of another term.

        Parameters
        ----------
        low, high : float, str or pint.Quantity
            Limits in cm⁻¹; the whole spectrum by default.
        *term : str
            As in `curve`; "activity" by default.

        Returns
        -------
        Measured
        """
        found = super().band(low, high, *(term or ("activity",)))
        # a cross term may have any sign
        return dataclasses.replace(found, positive=len(set(term[1:])) < 2)

    def depolarization(self, *limits: Any) -> result.Measured:
        """Return VH/VV, between 0 and 3/4; NaN where there is no scattering.

        Parameters
        ----------
        *limits : float, str or pint.Quantity, optional
            Two, in cm⁻¹: of the integrals over this band. Without, at each frequency.

        Returns
        -------
        Measured
            One number, or [n_frequencies]. What VH and VV have in common cancels in its error.
        """
        weights = result.band_weights(self.wavenumber.magnitude, *limits) if limits else None

        def parts(values: Array) -> Array:
            total: Array = values.sum(axis=2)
            return total if weights is None else np.asarray(weights @ total)

        return dataclasses.replace(self.measure(_ratio, of=parts), positive=True)

    def _reduction(self, *term: str) -> Callable[[Array], Array]:
        kind, *names = term
        if kind not in KINDS:
            raise SpectrumError(f"there is no {kind!r}: choose of {', '.join(KINDS)}")
        pair = slice(None)
        if names:
            place = result.pair_index(self.groups, names[0], names[-1])
            pair = slice(place, place + 1)
        return lambda values: values[:, :, pair].sum(axis=2) @ np.array(KINDS[kind])

    def maxima(self, *, prominence: float = 0.02) -> list[dict[str, float | None]]:
        """Return the grid points where VV + 2 VH has its band maxima.

        Parameters
        ----------
        prominence : float
            The least height of a band above its surroundings, as a part of the highest maximum.

        Returns
        -------
        list of dict
            shift in cm⁻¹, vv, depolarization, and the standard errors vv_error and
            depolarization_error, None without error bars.
        """
        vv, ratio = self.curve("vv"), self.depolarization()
        columns = {
            "shift": self.wavenumber.magnitude,
            "vv": vv.value,
            "vv_error": vv.error,
            "depolarization": ratio.value,
            "depolarization_error": ratio.error,
        }
        unknown = {name for name in columns if self.segments is None and name.endswith("_error")}
        return [
            {name: None if name in unknown else float(part[k]) for name, part in columns.items()}
            for k in maxima_of((self.vv + 2 * self.vh).magnitude, prominence)
        ]

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
                f"of {', '.join(BOSE_FACTORS)}"
            )
        shift = self.wavenumber.magnitude
        kept = shift > 0
        if laser is not None:
            laser = units.wavenumber_of_light(laser, "laser")
            kept &= shift < laser
        shift = shift[kept]
        x = units.SECOND_RADIATION_CONSTANT * shift / float(self.temperature.magnitude)
        factor = units.GROUND_STATE_SQUARE / shift * BOSE_FACTORS[bose](x)
        unit, factors = "angstrom^6*cm", {"bose": bose}
        if laser is not None:
            factor *= (2 * np.pi * units.factor("1/cm", "1/angstrom")) ** 4
            factor *= DETECTIONS[detection](laser, laser - shift)
            unit = "angstrom^2/sr*cm"
            factors = {"laser": f"{laser:.10g} 1/cm", "detection": detection, **factors}
        return self.times(factor, kept=kept, unit=unit, factors=factors)

    @property
    def _unit_name(self) -> str:
        """The unit as pint writes it, without a doubt about what is divided by."""
        return str(units.ureg.Unit(self.unit))

    def _panels(self) -> list[Panel]:
        """VV with its terms and VH, and the depolarization below."""
        vv, ratio = self.curve("vv"), self.depolarization()
        visible = np.where(vv.value > _VISIBLE * vv.value.max(), 1.0, np.nan)
        terms = np.einsum("k,fkp->pf", KINDS["vv"], self.values)
        names = [a if a == b else f"{a}{TIMES}{b}" for a, b in result.all_pairs(self.groups)]
        seen = dataclasses.replace(ratio, value=visible * ratio.value)
        return [
            Panel(
                label=f"VV, VH / {units.ureg.Unit(self.unit):~P}",
                curves={"VV": vv, "VH": self.curve("vh")},
                terms=dict(zip(names, terms, strict=True)),
                prefix="VV, ",
            ),
            Panel(label="VH / VV", curves={"": seen}, limits=(0, 0.8), guide=0.75, height=0.34),
        ]

    def _title(self) -> str:
        factors = (f"{name}: {value}" for name, value in self.factors.items())
        return "\n".join(filter(None, [super()._title(), ", ".join(factors)]))

    def _picture(self) -> Picture:
        return dataclasses.replace(super()._picture(), x_label=r"Raman shift / cm$^{-1}$")

    def columns(self) -> Mapping[str, Array]:
        """Return wavenumber, everything that is measured with its error, and VV and VH of every
        auto and cross term.

        Returns
        -------
        mapping of str to ndarray, shape [n_frequencies]
        """
        columns = {"wavenumber [1/cm]": self.wavenumber.magnitude}
        for kind in KINDS:
            columns |= result.error_columns(f"{kind} [{self._unit_name}]", self.curve(kind))
        columns |= result.error_columns("depolarization", self.depolarization())
        for a, b in result.all_pairs(self.groups) if len(self.groups) > 1 else []:
            for kind in ("vv", "vh"):
                label = a if a == b else f"{a} x {b}"
                columns[f"{kind} of {label} [{self._unit_name}]"] = self.curve(kind, a, b).value
        return columns

    def summary(self) -> dict[str, Any]:
        """Return what the spectrum says, as plain numbers.

        Returns
        -------
        dict of str to value
        """
        own = {
            "maxima": self.maxima(),
            "unit": self._unit_name,
            "factors": self.factors,
        }
        return {**own, **super().summary()}

    def describe(self) -> str:
        """Return the same for people.

        Returns
        -------
        str
        """
        bands = []
        for band in self.maxima():
            error = band["depolarization_error"]
            text = "" if error is None else f" +- {error:.2f}"
            bands.append(f"{band['shift']:.0f} ({band['depolarization']:.2f}{text})")
        return f"band maxima [cm^-1] (depolarization): {', '.join(bands)}\nunit: {self._unit_name}"

    @classmethod
    def _read(cls, file: h5py.File) -> Self:
        found = super()._read(file)
        if found.terms.shape[2] != len(result.all_pairs(found.groups)):
            raise FileFormatError(
                f"{file.filename}: terms has shape {found.terms.shape}, which does not fit "
                f"{len(found.groups)} groups"
            )
        return found

    @classmethod
    def _read_segments(
        cls, group: h5py.Group, unit: str, shape: tuple[int, ...]
    ) -> result.Segments:
        if "isotropic" not in group:
            return super()._read_segments(group, unit, shape)
        parts = [
            result.read_segments(group[name], unit, (shape[0], shape[2]))
            for name in ("isotropic", "anisotropic")
        ]
        terms = np.stack([part.terms for part in parts], axis=2)
        return dataclasses.replace(parts[0], terms=terms)


def raman_spectrum(
    rates: Rates, estimator: Estimator, temperature: float, **origin: Any
) -> RamanSpectrum:
    """Return the Raman spectrum of a changing polarizability, as squares of ∂α/∂Q per wavenumber.

    Parameters
    ----------
    rates : Rates
        α̇ of each group, α/4πε₀, in Å³/ps [n_frames, n_groups, 3, 3]. Only its symmetric part
        counts.
    estimator : Estimator
    temperature : float
        In K.
    **origin
        notes and info, kept with the result.

    Raises
    ------
    SpectrumError
        If the series are too short for the resolution, the groups are too many for the memory, or
        the temperature is not positive.

    Notes
    -----
    ᾱ'²(ν̃) = (2c/k_BT) ∫ dt cos(ωt) ⟨ᾱ̇(0) ᾱ̇(t)⟩ with ᾱ = tr α/3, and γ'²(ν̃) with (3/2) tr
    β̇(0)β̇(t), β = α − ᾱ·1: a classical harmonic mode, whose ⟨Q̇²⟩ is k_BT, gives a band with the
    integral (∂ᾱ/∂Q)², at any temperature and frequency. Derived in docs/raman.md.
    """
    check_conditions(temperature, None)
    n = len(rates.names)
    of_pairs, of_components = result.pair_numbers(n), result.pair_numbers(len(COMPONENTS))
    n_pairs, n_components = of_pairs.max() + 1, of_components.max() + 1
    places = of_pairs, of_pairs + n_pairs, of_components + 2 * n_pairs
    density = estimator.density(
        rates,
        lambda: zip(_parts(rates.values), places, strict=True),
        (2 * n_pairs + n_components,),
        factor=2 * units.SPEED_OF_LIGHT / (units.BOLTZMANN * temperature),
        # nine at most, but where a band is totally symmetric there is one
        components=1,
    )
    # of a pair there are both orders
    components = density.terms[:, places[2]] * (0.5 + 0.5 * np.eye(6))
    density = density.map(lambda terms: terms[:, : 2 * n_pairs].reshape(-1, 2, n_pairs))
    return RamanSpectrum(
        **density.common(temperature=temperature, **origin),
        groups=list(rates.names),
        terms=units.quantity(density.terms, units.RAMAN_ACTIVITY),
        components=units.quantity(components, units.RAMAN_ACTIVITY),
    )


def _parts(rates: Array) -> Iterator[Array]:
    """ᾱ̇ [n_frames, n_groups, 1]; √(3/2) β̇ [n_frames, n_groups, 9]; the components of the whole
    sample [n_frames, 6, 1].
    """
    tensors = 0.5 * (rates + rates.swapaxes(2, 3))
    mean = np.trace(tensors, axis1=2, axis2=3)[:, :, None] / 3
    yield mean
    yield np.sqrt(1.5) * (tensors - mean[..., None] * np.eye(3)).reshape(*tensors.shape[:2], 9)
    yield tensors.sum(axis=1)[:, ROWS, COLUMNS][:, :, None]


def _ratio(parts: Array) -> Array:
    """VH/VV of ᾱ'² and γ'² [..., 2]; NaN where there is no scattering."""
    vh, vv = (parts @ np.array(KINDS[kind]) for kind in ("vh", "vv"))
    ratio: Array = np.divide(vh, vv, out=np.full(vv.shape, np.nan), where=vv > 0)
    return ratio
