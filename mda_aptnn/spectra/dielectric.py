"""Dielectric function, refractive index and conductivity from an absolute spectrum, by the
one-sided transform.

The complex conductivity is σ(ω) = β/(3V) ∫_0^∞ dt e^{iωt} ⟨Ṁ(0)·Ṁ(t)⟩ for fields that go as
e^{−iωt}; its real part is ε₀c n(ω)α(ω), and ε(ω) = ε∞ + iσ(ω)/(ε₀ω).
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, ClassVar

import h5py
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.columns import write_columns
from mda_aptnn.spectra.display import Pictured
from mda_aptnn.spectra.infrared import Spectrum
from mda_aptnn.spectra.result import Measured

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

#: ε₀c: n·α in cm⁻¹ to the real part of the conductivity in S/m.
_CONDUCTIVITY = float(
    (units.ureg.Quantity(1.0, "1/cm*vacuum_permittivity*speed_of_light"))
    .to("siemens/meter")
    .magnitude
)
#: How much finer than the trajectory the correlation function is interpolated for its one-sided
#: transform.
_OVERSAMPLING = 16


@dataclasses.dataclass(frozen=True)
class DielectricSpectrum(io.Stored, Pictured):
    """The dielectric function of a sample and what follows from it.

    Attributes
    ----------
    wavenumber : pint.Quantity, shape [n_frequencies]
        In cm⁻¹, equidistant, from one step above zero, where the permittivity of a conductor is
        infinite.
    permittivity : pint.Quantity, complex, shape [n_frequencies]
        ε = ε′ + iε″, relative, ε″ > 0 for absorption.
    conductivity : pint.Quantity, complex, shape [n_frequencies]
        Frequency-dependent σ in S/m, of nuclei and their electrons; the real part is ε₀c n(ω)α(ω).
    static_conductivity : Measured
        σ′ at zero frequency in S/m, seen through the window: an upper limit of the conductivity for
        direct current. See `conduction`.
    epsilon_infinity : float
        ε∞, the electronic permittivity that was given.
    volume : pint.Quantity
        Of the sample.
    resolution : pint.Quantity
        Full width at half maximum of a line: ε″ is not meaningful below it.
    error : pint.Quantity, shape [n_frequencies, 4], or None
        Standard errors of ε′, ε″, n and α (the last in cm⁻¹, all as plain numbers).
    degrees_of_freedom : int
        Of the errors.
    info : dict
        Of the spectrum it was made from.
    """

    kind: ClassVar[str] = "dielectric"

    wavenumber: Any
    permittivity: Any
    conductivity: Any
    static_conductivity: Measured
    epsilon_infinity: float
    volume: Any
    resolution: Any
    error: Array | None = None
    degrees_of_freedom: int = 0
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

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
        if found.error != found.error:
            return f"{text}, without an error bar; of direct current it is an upper limit"
        if found.value < 2 * found.error:
            return f"{text}, which is not different from zero"
        if width == 0:
            return text
        slow = 1 / (2 * np.pi * units.SPEED_OF_LIGHT * width)
        return (
            f"{text}; of direct current it is an upper limit, as neutral molecules that reorient "
            f"in more than "
            f"{slow:.2g} ps add to it: only a part that stays at a finer resolution is conduction "
            f"by ions"
        )

    @property
    def refractive_index(self) -> Any:
        """n(ω) = Re √ε [n_frequencies]."""
        return units.quantity(np.sqrt(self.permittivity.magnitude).real, "")

    @property
    def extinction(self) -> Any:
        """κ(ω) = Im √ε [n_frequencies]."""
        return units.quantity(np.sqrt(self.permittivity.magnitude).imag, "")

    @property
    def absorption_coefficient(self) -> Any:
        """α(ω) = 2ωκ/c [n_frequencies] in cm⁻¹, base e."""
        return units.quantity(
            4 * np.pi * self.wavenumber.magnitude * self.extinction.magnitude, units.ABSORPTION
        )

    def molar_coefficient(self, n_molecules: int) -> Any:
        """Return the decadic molar absorption coefficient α V N_A/(N ln 10) [n_frequencies] in
        L/(mol cm).

        Parameters
        ----------
        n_molecules : int
            N, molecules in the sample.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]
            In L/(mol cm).
        """
        molar = (
            self.absorption_coefficient
            * self.volume
            * units.ureg.Quantity(1.0, "avogadro_constant")
        )
        return (molar / (n_molecules * np.log(10))).to("liter/mol/cm")

    def plot(self, path: str | os.PathLike[str] | None = None, *, limit: float = 4500.0) -> Any:
        """Draw ε′ and ε″, and below them n and α, with standard errors.

        Parameters
        ----------
        path : path, optional
            Written there (format by the ending) instead of being left open for display.
        limit : float
            Right end of the axis in cm⁻¹, if the spectrum reaches so far.

        Returns
        -------
        list of matplotlib.axes.Axes
        """
        from mda_aptnn.figures import new_figure, save_figure

        figure = new_figure(path, (7.0, 6.4))
        upper, lower = figure.subplots(2, 1, sharex=True)
        right = lower.twinx()
        grid = self.wavenumber.magnitude
        shown = (grid >= self.resolution.magnitude) & (grid <= limit)
        epsilon = self.permittivity.magnitude
        curves = (
            (upper, epsilon.real, "C0", r"$\varepsilon'$"),
            (upper, epsilon.imag, "C3", r"$\varepsilon''$"),
            (lower, self.refractive_index.magnitude, "C0", "$n$"),
            (right, self.absorption_coefficient.magnitude, "C3", r"$\alpha$"),
        )
        for column, (ax, values, color, label) in enumerate(curves):
            ax.plot(grid[shown], values[shown], color=color, linewidth=1.2, label=label)
            if self.error is not None:
                low, high = values - self.error[:, column], values + self.error[:, column]
                ax.fill_between(
                    grid[shown], low[shown], high[shown], color=color, alpha=0.2, linewidth=0
                )
        upper.legend(frameon=False)
        upper.set_ylabel("relative permittivity")
        lower.set_ylabel("refractive index $n$", color="C0")
        right.set_ylabel(r"$\alpha$ / cm$^{-1}$", color="C3")
        lower.set_xlabel(r"wavenumber / cm$^{-1}$")
        lower.set_xlim(0, min(limit, grid[-1]))
        if path is not None:
            save_figure(figure, path)
        return [upper, lower, right]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write wavenumber, ε′, ε″, n, α and σ as columns.

        Parameters
        ----------
        path : path
        """
        columns = {
            "wavenumber [1/cm]": self.wavenumber.magnitude,
            "epsilon real": self.permittivity.magnitude.real,
            "epsilon imaginary": self.permittivity.magnitude.imag,
            "n": self.refractive_index.magnitude,
            "alpha [1/cm]": self.absorption_coefficient.magnitude,
            "sigma real [S/m]": self.conductivity.magnitude.real,
            "sigma imaginary [S/m]": self.conductivity.magnitude.imag,
        }
        write_columns(path, columns)

    def _write(self, file: h5py.File) -> None:
        io.write_quantity(file, "wavenumber", self.wavenumber, units.WAVENUMBER)
        for name, unit in (("permittivity", ""), ("conductivity", "siemens/meter")):
            values = getattr(self, name).magnitude
            io.write_array(file, name, np.stack([values.real, values.imag], axis=1), unit)
        io.write_array(file, "epsilon_infinity", self.epsilon_infinity, "")
        io.write_quantity(file, "volume", self.volume, units.VOLUME)
        io.write_quantity(file, "resolution", self.resolution, units.WAVENUMBER)
        if self.error is not None:
            io.write_array(file, "error", self.error)
        static = self.static_conductivity
        io.write_array(file, "static_conductivity", [static.value, static.error], "siemens/meter")
        file.attrs["degrees_of_freedom"] = self.degrees_of_freedom
        file.attrs["info"] = json.dumps(self.info)

    @classmethod
    def _read(cls, file: h5py.File) -> DielectricSpectrum:
        wavenumber = io.read_quantity(file, "wavenumber", units.WAVENUMBER, (None,))
        n = len(wavenumber)
        parts = {
            name: io.read_array(file, name, unit, (n, 2)) @ np.array([1.0, 1j])
            for name, unit in (("permittivity", ""), ("conductivity", "siemens/meter"))
        }
        value, error = io.read_array(file, "static_conductivity", "siemens/meter", (2,))
        degrees = int(file.attrs["degrees_of_freedom"])
        return cls(
            wavenumber=wavenumber,
            permittivity=units.quantity(parts["permittivity"], ""),
            conductivity=units.quantity(parts["conductivity"], "siemens/meter"),
            static_conductivity=Measured(float(value), float(error), "S/m", degrees, positive=True),
            epsilon_infinity=float(io.read_array(file, "epsilon_infinity", "", ())),
            volume=io.read_quantity(file, "volume", units.VOLUME, ()),
            resolution=io.read_quantity(file, "resolution", units.WAVENUMBER, ()),
            error=io.read_array(file, "error", shape=(n, 4)) if "error" in file else None,
            degrees_of_freedom=degrees,
            info=json.loads(file.attrs["info"]),
        )


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
    grid = spectrum.wavenumber.magnitude
    absorption = spectrum.absorption.magnitude
    sigma = causal_transform(absorption)

    def optical(values: Array) -> Array:
        epsilon = permittivity(
            grid, values, epsilon_infinity, subtract_conduction=subtract_conduction
        )
        root = np.sqrt(epsilon)
        return np.stack(
            [epsilon.real, epsilon.imag, root.real, 4 * np.pi * grid[1:] * root.imag], axis=1
        )

    error, degrees, of_static = None, 0, float("nan")
    if spectrum.segments is not None:
        found = spectrum.measure(optical, of=lambda values: spectrum.scale * values.sum(axis=1))
        error, degrees = found.error, found.degrees_of_freedom
        of_static = float(spectrum.standard_error().magnitude[0]) * _CONDUCTIVITY
    static = Measured(
        float(absorption[0]) * _CONDUCTIVITY, of_static, "S/m", degrees, positive=True
    )
    epsilon = permittivity(
        grid, absorption, epsilon_infinity, subtract_conduction=subtract_conduction
    )
    return DielectricSpectrum(
        wavenumber=units.quantity(grid[1:], units.WAVENUMBER),
        permittivity=units.quantity(epsilon, ""),
        conductivity=units.quantity(sigma[1:] * _CONDUCTIVITY, "siemens/meter"),
        static_conductivity=static,
        epsilon_infinity=float(epsilon_infinity),
        volume=spectrum.volume,
        resolution=spectrum.resolution,
        error=error,
        degrees_of_freedom=degrees,
        info={**spectrum.info, "subtract_conduction": subtract_conduction},
    )


def permittivity(
    wavenumber: Array,
    absorption: Array,
    epsilon_infinity: float,
    *,
    subtract_conduction: bool = False,
) -> Complex:
    """Return the complex relative permittivity [n_frequencies − 1] at all but the first wavenumber.

    Parameters
    ----------
    wavenumber : ndarray, shape [n_frequencies]
        In cm⁻¹, equidistant from 0.
    absorption : ndarray, shape [n_frequencies]
        n·α in cm⁻¹.
    epsilon_infinity : float
        Electronic permittivity.
    subtract_conduction : bool
        Leave out the pole of direct current.
    """
    sigma = causal_transform(absorption)
    if subtract_conduction:
        sigma = sigma - sigma[0].real
    return epsilon_infinity + 1j * sigma[1:] / (2 * np.pi * wavenumber[1:])


def causal_transform(real: Array) -> Complex:
    """Return the function, analytic in the upper half plane, that has this real part.

    Parameters
    ----------
    real : ndarray, shape [n_frequencies]
        ∫ dt cos(ωt) φ(t) over t > 0, on an equidistant grid from 0, and zero above it.

    Returns
    -------
    ndarray of complex, shape [n_frequencies]
        ∫ dt e^{iωt} φ(t) over t > 0.

    Notes
    -----
    φ(t), even, is interpolated by zeros above the grid (it is limited in frequency), cut at t = 0
    and transformed.
    """
    n_fine = (len(real) - 1) * _OVERSAMPLING
    padded = np.zeros(n_fine + 1)
    padded[: len(real)] = real
    phi = scipy.fft.irfft(padded, 2 * n_fine)
    phi[n_fine + 1 :] = 0.0
    phi[[0, n_fine]] *= 0.5
    result: Complex = 2 * scipy.fft.rfft(phi)[: len(real)].conj()
    return result
