"""What an infrared spectrum can be shown as: n·α, α, ε, absorbance, ..., with unit, base and label.

Everything is made of V·n(ν)α(ν), which a trajectory gives. What is a property of α needs the
refractive index n(ν): by Kramers and Kronig from the spectrum itself and ε∞, or a given number. If
neither is given, the quantity is shown times n, and says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

#: V·n·α of a sample.
SECTION = "angstrom^2"
#: How much finer than the trajectory the correlation function is interpolated for its one-sided
#: transform.
_OVERSAMPLING = 16
#: V·n·α in Å² to Å³/cm, to molar absorption in km/mol·cm, and to L/(mol cm), of one molecule.
_PER_VOLUME = units.factor(SECTION, "angstrom^3/cm")
MOLAR = _PER_VOLUME * units.MOLAR_FACTOR
_MOLAR_COEFFICIENT = units.factor(f"{SECTION}*avogadro_constant", "liter/mol/cm") / math.log(10)
#: ε₀c: n·α in cm⁻¹ to the real part of the conductivity in S/m.
CONDUCTIVITY = units.factor("1/cm*vacuum_permittivity*speed_of_light", "siemens/meter")


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What a spectrum can be shown as.

    Attributes
    ----------
    name : str
        In words.
    symbol, label : str
        Symbol and unit on an axis, in matplotlib's notation.
    unit : str
        As pint reads it.
    base : str
        Of the logarithm: "e", "10", or nothing.
    of : function
        What n·α in cm⁻¹, or V·n·α in Å² where no volume is needed, is multiplied with, from a
        `Shown` and the wavenumbers.
    of_alpha : bool
        Whether it is of α, so that n(ν) is needed.
    needs_volume, needs_path, per_molecule : bool
    """

    name: str
    symbol: str
    label: str
    unit: str
    base: str
    of: Callable[[Shown, Array], Any]
    of_alpha: bool = False
    needs_volume: bool = True
    needs_path: bool = False
    per_molecule: bool = False


def _above_zero(grid: Array) -> Array:
    """Wavenumbers to divide by: at zero that of the next point."""
    return np.asarray(np.maximum(grid, grid[1]))


_TRANSMITTANCE = "transmittance"
#: In labels.
PER_CM = r"cm$^{-1}$"
#: By their names on the command line.
QUANTITIES: dict[str, Quantity] = {
    "n-alpha": Quantity(
        "refractive index times absorption coefficient",
        r"n(\omega)\,\alpha(\omega)",
        PER_CM,
        units.ABSORPTION,
        "e",
        lambda shown, grid: 1.0,
    ),
    "alpha": Quantity(
        "absorption coefficient",
        r"\alpha",
        PER_CM,
        units.ABSORPTION,
        "e",
        lambda shown, grid: 1.0,
        of_alpha=True,
    ),
    "epsilon": Quantity(
        "molar absorption coefficient",
        r"\varepsilon",
        r"L mol$^{-1}$ cm$^{-1}$",
        "L/mol/cm",
        "10",
        lambda shown, grid: _MOLAR_COEFFICIENT / shown.count,
        of_alpha=True,
        needs_volume=False,
        per_molecule=True,
    ),
    "molar-absorption": Quantity(
        "molar absorption, whose integral over a band is its intensity in km/mol",
        r"V N_A\, n\alpha",
        r"km mol$^{-1}$ cm",
        units.MOLAR_ABSORPTION,
        "e",
        lambda shown, grid: MOLAR / shown.count,
        needs_volume=False,
        per_molecule=True,
    ),
    "absorbance": Quantity(
        "absorbance",
        "A",
        "",
        "",
        "10",
        lambda shown, grid: shown.path_length / math.log(10),
        of_alpha=True,
        needs_path=True,
    ),
    _TRANSMITTANCE: Quantity(
        "transmittance",
        "T",
        "",
        "",
        "",
        lambda shown, grid: shown.path_length / math.log(10),
        of_alpha=True,
        needs_path=True,
    ),
    "k": Quantity(
        "extinction, the imaginary part of the refractive index",
        "k",
        "",
        "",
        "",
        lambda shown, grid: 1 / (4 * math.pi * _above_zero(grid)),
        of_alpha=True,
    ),
    "dielectric-loss": Quantity(
        "imaginary part of the permittivity",
        r"\varepsilon''",
        "",
        "",
        "",
        lambda shown, grid: 1 / (2 * math.pi * _above_zero(grid)),
    ),
    "conductivity": Quantity(
        "real part of the conductivity",
        r"\sigma'",
        r"S m$^{-1}$",
        "S/m",
        "",
        lambda shown, grid: CONDUCTIVITY,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """A quantity, and what of the sample and its cell it needs.

    Attributes
    ----------
    quantity : str
        One of `QUANTITIES`.
    molecule : str
        Formula of the molecules that a molar quantity is of; "" for the sample.
    count : int
        How many of them the sample has.
    path_length : float or None
        In cm.
    epsilon_infinity : float or None
        ε∞, n² of visible light: n(ν) by Kramers and Kronig.
    refractive_index : float or None
        n in the place of n(ν).
    """

    quantity: str
    molecule: str = ""
    count: int = 1
    path_length: Any = None
    epsilon_infinity: float | None = None
    refractive_index: float | None = None

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises
        ------
        SpectrumError
        """
        if self.quantity not in QUANTITIES:
            raise SpectrumError(
                f"no quantity {self.quantity!r}; choose one of {', '.join(QUANTITIES)}"
            )
        index = (self.epsilon_infinity, self.refractive_index)
        if self.kind.needs_path and self.path_length is None:
            raise SpectrumError(
                f'{self.quantity} needs a path length, such as "10 um" (path_length, --path-length)'
            )
        if self.path_length is not None and not self.path_length > 0:
            raise SpectrumError(f"the path length must be positive, not {self.path_length} cm")
        if self.path_length is not None and not self.kind.needs_path:
            raise SpectrumError(
                f"a path length is for absorbance and transmittance, and not for {self.quantity}"
            )
        if None not in index:
            raise SpectrumError("epsilon_infinity and refractive_index are two ways to say n")
        if index[0] is not None and not index[0] >= 1:
            raise SpectrumError(f"epsilon_infinity must be 1 or more, not {index[0]}")
        if index[1] is not None and not index[1] > 0:
            raise SpectrumError(f"the refractive index must be positive, not {index[1]}")
        if not self.kind.of_alpha and index != (None, None):
            raise SpectrumError(f"{self.quantity} does not depend on the refractive index")
        if self.quantity == _TRANSMITTANCE and self.is_times_n:
            raise SpectrumError(
                "transmittance needs the refractive index: give epsilon_infinity "
                "(--epsilon-infinity, n² of visible light) or refractive_index (--refractive-index)"
            )

    @property
    def kind(self) -> Quantity:
        """What the table says of the quantity."""
        return QUANTITIES[self.quantity]

    @property
    def is_times_n(self) -> bool:
        """Whether it is shown times n(ν), which is not known."""
        return self.kind.of_alpha and self.epsilon_infinity is self.refractive_index is None

    def check(self, volume: float | None) -> None:
        """Refuse what a sample of this volume, in Å³, cannot show.

        Raises
        ------
        SpectrumError
        """
        needs_volume = self.kind.needs_volume or self.epsilon_infinity is not None
        if volume is None and needs_volume:
            what = "a path length" if self.kind.needs_path else self.quantity
            raise SpectrumError(
                f"{what} needs a volume and the sample has none; show molar-absorption or epsilon, "
                "or give the volume when the spectrum is made (volume=, --volume)"
            )

    def factor(self, grid: Array, total: Array, volume: float | None) -> Array:
        """Return what V·n·α in Å² of the sample or a term is multiplied with [n_frequencies].

        Parameters
        ----------
        grid, total : ndarray, shape [n_frequencies]
            Wavenumbers in cm⁻¹, from 0, and V·n·α of the whole sample, which n(ν) follows from.
        volume : float or None
            In Å³.
        """
        factor = np.broadcast_to(self.kind.of(self, grid), grid.shape)
        if self.kind.needs_volume and volume is not None:
            factor = factor * (_PER_VOLUME / volume)
        if not self.kind.of_alpha:
            return factor
        index: Any = self.refractive_index or 1.0
        if self.epsilon_infinity is not None and volume is not None:
            n_alpha = total * _PER_VOLUME / volume
            index = np.sqrt(permittivity(grid, n_alpha, self.epsilon_infinity)).real
            index = np.concatenate([index[:1], index])
        return np.asarray(factor / index)

    def values(self, section: Array, factor: Array) -> Array:
        """Return what is shown of V·n·α in Å² [n_frequencies] and its `factor`."""
        if self.quantity == _TRANSMITTANCE:
            return np.asarray(10 ** (-factor * section))
        return factor * section

    @property
    def is_additive(self) -> bool:
        """Whether the values of terms sum to that of the total."""
        return self.quantity != _TRANSMITTANCE

    @property
    def said(self) -> list[str]:
        """Base, path, and molecule, as a label and a table say them."""
        found = [f"base {self.kind.base}"] if self.kind.base else []
        if self.path_length is not None:
            found.append(f"{1e4 * self.path_length:g} µm path")
        if self.kind.per_molecule:
            found.append(f"per {self.molecule or 'sample'}")
        return found

    @property
    def label(self) -> str:
        """Of the vertical axis."""
        symbol = rf"n\,{self.kind.symbol}" if self.is_times_n else self.kind.symbol
        unit = f" / {self.kind.label}" if self.kind.label else ""
        said = f" ({', '.join(self.said)})" if self.said else ""
        return f"${symbol}${unit}{said}"

    @property
    def heading(self) -> str:
        """Of a column, without its unit."""
        name = f"n*{self.quantity}" if self.is_times_n else self.quantity
        return ", ".join([name, *self.said])

    def __str__(self) -> str:
        unit = f" in {self.kind.unit}" if self.kind.unit else ""
        text = f"{self.heading}: {self.kind.name}{unit}"
        if self.kind.per_molecule and self.molecule:
            text += f", {self.count} of them in the sample"
        if not self.kind.of_alpha:
            return text
        if self.is_times_n:
            return (
                f"{text}, times the refractive index n(ν), which is not known: give ε∞ or n "
                "(--epsilon-infinity, --refractive-index)"
            )
        if self.refractive_index is not None:
            return f"{text}, refractive index {self.refractive_index:g} at all frequencies"
        return f"{text}, n(ν) by Kramers and Kronig with ε∞ = {self.epsilon_infinity:g}"


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
