"""Dielectric function, refractive index and conductivity from an absolute spectrum, by the
one-sided transform.

The complex conductivity is σ(ω) = β/(3V) ∫_0^∞ dt e^{iωt} ⟨Ṁ(0)·Ṁ(t)⟩ for fields that go as
e^{−iωt}; its real part is ε₀c n(ω)α(ω), and ε(ω) = ε∞ + iσ(ω)/(ε₀ω).
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.figures import Panel, Picture
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.quantities import CONDUCTIVITY, permittivity
from mda_aptnn.spectra.result import Measured, Result, array, attribute

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

_SIEMENS = "siemens/meter"
#: What follows from ε and the wavenumber, with its unit.
_CURVES: dict[str, tuple[Callable[[NDArray[Any], Array], Array], str]] = {
    "epsilon real": (lambda epsilon, grid: epsilon.real, ""),
    "epsilon imaginary": (lambda epsilon, grid: epsilon.imag, ""),
    "n": (lambda epsilon, grid: np.sqrt(epsilon).real, ""),
    "alpha": (lambda epsilon, grid: 4 * np.pi * grid * np.sqrt(epsilon).imag, units.ABSORPTION),
    "kappa": (lambda epsilon, grid: np.sqrt(epsilon).imag, ""),
}


def _old_epsilon(file: h5py.File) -> NDArray[np.complex128]:
    """The permittivity of a file of version 0.1.0: real and imaginary part."""
    return np.asarray(io.read_array(file, "permittivity", "", (None, 2)) @ np.array([1.0, 1j]))


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class DielectricSpectrum(Result):
    """The dielectric function of a sample and what follows from it.

    The wavenumbers begin one step above zero, where the permittivity of a conductor is infinite; ε″
    is not meaningful below the resolution.

    Attributes
    ----------
    epsilon : pint.Quantity, complex, shape [n_frequencies]
        ε = ε′ + iε″, relative, ε″ > 0 for absorption.
    static_conductivity : Measured
        σ′ at zero frequency in S/m, seen through the window: an upper limit of the conductivity for
        direct current. See `conduction`.
    epsilon_infinity : float
        ε∞, the electronic permittivity that was given.
    volume : pint.Quantity
        Of the sample.
    error : ndarray, shape [n_frequencies, 4], or None
        Standard errors of ε′, ε″, n and α, of files of version 0.1.0, which have no segments.
    """

    kind: ClassVar[str] = "dielectric"
    main: ClassVar[str] = "epsilon"
    upgrades: ClassVar = {"epsilon": ("permittivity", _old_epsilon)}

    epsilon: Any = array("", "frequencies", kinds="fiuc")
    static_conductivity: Measured = Measured(float("nan"), float("nan"), "S/m")
    epsilon_infinity: float = array(None)
    volume: Any = array(units.VOLUME)
    error: Array | None = array(None, "frequencies", 4, default=None)
    window: str = attribute(str, "")

    @property
    def permittivity(self) -> Any:
        """ε(ω) [n_frequencies], complex."""
        return self.epsilon

    @property
    def conductivity(self) -> Any:
        """Frequency-dependent complex σ [n_frequencies] in S/m, of nuclei and their electrons; the
        real part is ε₀c n(ω)α(ω).
        """
        omega = 2 * np.pi * self.wavenumber.magnitude * CONDUCTIVITY
        sigma = -1j * omega * (self.values - self.epsilon_infinity)
        if self.info.get("subtract_conduction"):
            sigma = sigma + self.static_conductivity.value
        return units.quantity(sigma, _SIEMENS)

    @property
    def conduction(self) -> str:
        """What `static_conductivity` says, in words.

        Notes
        -----
        Within the resolution Δν̃, σ′ holds all motion that is slower than τ = 1/(2πcΔν̃). For
        charges that are bound to neutral molecules σ(0) = 0, and still σ′ = ε₀Δε/τ_D at all
        frequencies between 1/τ_D and the next band, where Δε is the permittivity of their
        reorientation in the time τ_D: 80 S/m in water (Δε = 75, τ_D = 8.3 ps).
        """
        found, width = self.static_conductivity, float(self.resolution.magnitude)
        text = f"real part of the conductivity below {width:g} cm⁻¹: {found}"
        if np.isnan(found.error):
            return f"{text}, without an error bar; of direct current it is an upper limit"
        if found.value < 2 * found.error:
            return f"{text}, which is not different from zero"
        if width == 0:
            return text
        slow = 1 / (2 * np.pi * units.SPEED_OF_LIGHT * width)
        return (
            f"{text}; of direct current it is an upper limit, as neutral molecules that reorient "
            f"in more than {slow:.2g} ps add to it: only a part that stays at a finer resolution "
            "is conduction by ions"
        )

    @property
    def refractive_index(self) -> Any:
        """n(ω) = Re √ε [n_frequencies]."""
        return self._quantity("n")

    @property
    def extinction(self) -> Any:
        """κ(ω) = Im √ε [n_frequencies]."""
        return self._quantity("kappa")

    @property
    def absorption_coefficient(self) -> Any:
        """α(ω) = 2ωκ/c [n_frequencies] in cm⁻¹, base e."""
        return self._quantity("alpha")

    def _quantity(self, name: str) -> Any:
        function, unit = _CURVES[name]
        return units.quantity(function(self.values, self.wavenumber.magnitude), unit)

    def curve(self, *term: str) -> Measured:
        """Return one of these with its standard error [n_frequencies].

        Parameters
        ----------
        *term : {"epsilon real", "epsilon imaginary", "n", "alpha", "kappa"}
            α in cm⁻¹.

        Returns
        -------
        Measured
            [n_frequencies]
        """
        function, unit = _CURVES[term[0]]
        found = self.measure(lambda epsilon: function(epsilon, self.wavenumber.magnitude), unit)
        if self.error is None or term[0] == "kappa":
            return found
        return dataclasses.replace(found, error=self.error[:, list(_CURVES).index(term[0])])

    def _panels(self) -> list[Panel]:
        """ε′ and ε″, n, and α."""
        parts = {
            "relative permittivity": {
                "ε′": "epsilon real",
                "ε″": "epsilon imaginary",
            },
            "refractive index $n$": {"": "n"},
            r"$\alpha$ / cm$^{-1}$, base e": {"": "alpha"},
        }
        return [
            Panel(label=label, curves={k: self.curve(v) for k, v in names.items()}, height=0.6)
            for label, names in parts.items()
        ]

    def _picture(self) -> Picture:
        return super()._picture().within(float(self.resolution.magnitude))

    def columns(self) -> Mapping[str, Array]:
        """Return wavenumber, ε′, ε″, n, α and σ.

        Returns
        -------
        mapping of str to ndarray, shape [n_frequencies]
        """
        columns = {"wavenumber [1/cm]": self.wavenumber.magnitude}
        for name in ("epsilon real", "epsilon imaginary", "n", "alpha"):
            unit = _CURVES[name][1]
            columns[f"{name} [{unit}]" if unit else name] = self._quantity(name).magnitude
        sigma = self.conductivity.magnitude
        return columns | {"sigma real [S/m]": sigma.real, "sigma imaginary [S/m]": sigma.imag}

    def summary(self) -> dict[str, Any]:
        """Return what the spectrum says, as plain numbers.

        Returns
        -------
        dict of str to value
        """
        static = self.static_conductivity
        return {
            "static_conductivity_limit": static.value,
            "static_conductivity_limit_error": None if np.isnan(static.error) else static.error,
            "unit": "S/m",
            "meaning": self.conduction,
            **super().summary(),
        }

    def describe(self) -> str:
        """Return the same for people.

        Returns
        -------
        str
        """
        return self.conduction

    def _write(self, file: h5py.File) -> None:
        super()._write(file)
        static = self.static_conductivity
        io.write_array(file, "static_conductivity", [static.value, static.error], _SIEMENS)
        file.attrs["degrees_of_freedom"] = static.degrees_of_freedom

    @classmethod
    def _read(cls, file: h5py.File) -> Self:
        value, error = io.read_array(file, "static_conductivity", _SIEMENS, (2,))
        degrees = operator.index(file.attrs["degrees_of_freedom"])
        static = Measured(float(value), float(error), "S/m", degrees, positive=True)
        return dataclasses.replace(super()._read(file), static_conductivity=static)


def dielectric_spectrum(
    spectrum: Spectrum, epsilon_infinity: float, *, subtract_conduction: bool = False
) -> DielectricSpectrum:
    """Return the dielectric function of a sample whose absolute spectrum is known.

    Parameters
    ----------
    spectrum : Spectrum
        With a volume, over all frequencies up to the Nyquist frequency.
    epsilon_infinity : float
        ε∞, the permittivity far above all vibrations, from electrons: n² of visible light, 1.78 for
        water. The flux of the nuclei does not know it.
    subtract_conduction : bool
        Leave out of ε the pole iσ(0)/(ε₀ω) of direct current.

    Returns
    -------
    DielectricSpectrum

    Raises
    ------
    SpectrumError
        If there is no volume, or ε∞ is below 1.
    """
    if not epsilon_infinity >= 1:
        raise SpectrumError(f"epsilon_infinity must be 1 or more, not {epsilon_infinity}")
    grid, absorption = spectrum.wavenumber.magnitude, spectrum.absorption.magnitude

    def epsilon(n_alpha: Array) -> Complex:
        return permittivity(
            grid, n_alpha, epsilon_infinity, subtract_conduction=subtract_conduction
        )

    known = {field.name: getattr(spectrum, field.name) for field in dataclasses.fields(Result)}
    for name in ("segments", "members"):
        if known[name] is not None:
            curves = spectrum.scale * known[name].terms.sum(axis=2, dtype=float)
            terms = np.array([epsilon(curve) for curve in curves], np.complex64)
            known[name] = dataclasses.replace(known[name], terms=terms)
    known["wavenumber"] = spectrum.wavenumber[1:]
    known["info"] = {**spectrum.info, "subtract_conduction": subtract_conduction}
    total = spectrum.to("n-alpha").curve()
    value, error = (CONDUCTIVITY * float(part[0]) for part in (total.value, total.error))
    return DielectricSpectrum(
        **known,
        epsilon=units.quantity(epsilon(absorption), ""),
        static_conductivity=Measured(value, error, "S/m", total.degrees_of_freedom, True),
        epsilon_infinity=float(epsilon_infinity),
        volume=spectrum.volume,
    )
