"""The vibrational density of states: how many degrees of freedom move at each frequency, by groups
and motions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, ClassVar, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.figures import Panel
from mda_aptnn.spectra.estimator import AUTO, Estimator, Rates, takes_estimator
from mda_aptnn.spectra.result import Result, Segments, array, attribute

Array = NDArray[np.float64]

#: Unit of densities: degrees of freedom per cm⁻¹.
DENSITY = "cm"
#: What the motions of an atom have in common: their cross-correlation, which vanishes at equal
#: times.
COUPLING = "coupling of motions"
#: Numbers that are transformed at a time.
_CHUNK = 4_000_000


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class VibrationalDensity(Result):
    """Density of states of atoms, the sum of its terms.

    Attributes
    ----------
    names : list of str
        Of the terms: groups, or motions of groups, and then the coupling of motions.
    terms : pint.Quantity, shape [n_frequencies, n_terms]
        Degrees of freedom per cm⁻¹; the integral over all frequencies and terms is
        `degrees_of_freedom`.
    degrees_of_freedom : float
        3N, or Σ m⟨v²⟩/k_B T of the temperature that was given.
    mass_weighted : bool
        Whether atoms count by m v², so that the density is that of kinetic energy, or by v².
    """

    kind: ClassVar[str] = "vdos"
    main: ClassVar[str] = "terms"

    names: list[str] = attribute(list)
    terms: Any = array(DENSITY, "frequencies", "names")
    degrees_of_freedom: float = array(None)
    mass_weighted: bool = attribute(bool)

    @property
    def total(self) -> Any:
        """Density of states of all terms together [n_frequencies], in cm."""
        return self.terms.sum(axis=1)

    def term(self, name: str) -> Any:
        """Return the density of a term [n_frequencies], in cm.

        Parameters
        ----------
        name : str

        Returns
        -------
        pint.Quantity, shape [n_frequencies]

        Raises
        ------
        SpectrumError
            If there is no such term.
        """
        return self.terms[:, self._index(name)]

    def _reduction(self, *term: str) -> Callable[[Array], Array]:
        columns = [self._index(name) for name in term] or slice(None)
        return lambda values: values[:, columns].sum(axis=1)

    def _is_positive(self, *term: str) -> bool:
        return COUPLING not in term

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise SpectrumError(f"there is no term {name!r}; the terms are {', '.join(self.names)}")
        return self.names.index(name)

    def columns(self) -> Mapping[str, Array]:
        """Return wavenumber, total, its standard error and every term."""
        total = self.curve()
        columns = {"wavenumber [1/cm]": self.wavenumber.magnitude, "total [cm]": total.value}
        if self.segments is not None:
            columns["standard error [cm]"] = total.error
        return columns | {f"{name} [cm]": self.term(name).magnitude for name in self.names}

    def _panels(self) -> list[Panel]:
        """The total and the terms."""
        label = "degrees of freedom per cm$^{-1}$"
        terms = dict(zip(self.names, self.values.T, strict=True))
        return [Panel(label=label, curves={"total": self.curve()}, terms=terms)]

    def summary(self) -> dict[str, Any]:
        """Return what it says, as plain numbers."""
        return {
            "degrees_of_freedom": float(self.degrees_of_freedom),
            "terms": {name: self.band(0.0, None, name).value for name in self.names},
            **super().summary(),
        }

    def describe(self) -> str:
        """Return the same for people."""
        found = self.summary()
        lines = [f"{found['degrees_of_freedom']:.1f} degrees of freedom"]
        lines += [f"{name}: {count:.1f}" for name, count in found["terms"].items()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    @classmethod
    def _read(cls, file: h5py.File) -> Self:
        found = super()._read(file)
        changes: dict[str, Any] = {}
        if "segment_terms" in file:
            # a file of version 0.1.0
            lengths = io.read_array(file, "segment_lengths", units.TIME, (None,))
            shape = (len(lengths), *found.values.shape)
            terms = io.read_array(file, "segment_terms", DENSITY, shape)
            changes["segments"] = Segments(terms, lengths, float(file.attrs["inflation"]))
        if "notes" in found.info:
            info = dict(found.info)
            changes |= {"notes": info.pop("notes"), "info": info}
        return dataclasses.replace(found, **changes)


@takes_estimator
def vibrational_density(
    rates: Rates,
    masses: Array,
    membership: NDArray[np.int64],
    groups: Sequence[str],
    temperature: Any = None,
    resolution: Any = AUTO,
    *,
    mass_weighted: bool = True,
    notes: Sequence[str] = (),
    info: Mapping[str, Any] | None = None,
    **how: Any,
) -> VibrationalDensity:
    """Return the density of states of velocities.

    Parameters
    ----------
    rates : Rates
        v in Å/ps [n_frames, n_motions, n_atoms, 3], by the names of the motions; a single one, of
        any name, if velocities are whole. An array, a memory map or a data set, read some atoms at
        a time.
    masses : ndarray, shape [n_atoms]
        In u.
    membership : ndarray of int, shape [n_atoms]
        Number of the group of each atom, −1 for those that do not count.
    groups : sequence of str
        Names of the groups.
    temperature : float, str or pint.Quantity, optional
        In K: the integral is then Σ m⟨v²⟩/k_B T, the degrees of freedom that move. Otherwise it is
        3N of the atoms that count.
    resolution : float, str or pint.Quantity
        Full width at half maximum of a line, in cm⁻¹.
    mass_weighted : bool
        Count atoms by m v² or by v².
    notes, info
        Kept with the result.
    window, unbiased, segments
        Of `mda_aptnn.spectra.estimator.Estimator`.

    Returns
    -------
    VibrationalDensity

    Raises
    ------
    SpectrumError
        If the series are too short for the resolution, nothing moves, or a temperature is given
        without weights.

    Notes
    -----
    D(ν̃) = 2c/(k_B T) Σ_i m_i ∫ dt cos(2πcν̃t) ⟨v_i(0)·v_i(t)⟩ over both signs of t, ∫ D dν̃ = Σ_i
    m_i⟨v_i²⟩/k_B T: the power spectrum of the velocities, P. H. Berens et al., J. Chem. Phys. 79,
    2375 (1983).
    """
    if temperature is not None and not mass_weighted:
        raise SpectrumError("a temperature normalises m v²; leave it out without mass weights")
    names = [" ".join(filter(None, pair)) for pair in product(groups, rates.names)]
    if len(groups) == 1 < len(rates.names):
        names = list(rates.names)
    if len(rates.names) > 1:
        names.append(COUPLING)
    weights = masses if mass_weighted else np.ones(len(masses))
    components = 3 * int((membership >= 0).sum())
    density = Estimator(resolution, **how).density(
        rates,
        lambda: _batches(rates, weights, membership, len(groups)),
        (len(names),),
        components=components,
    )
    energy = float(density.correlation[0].sum())
    if not energy > 0:
        raise SpectrumError("no atom moves: there is no density of states")
    degrees, kelvin = float(components), None
    if temperature is not None:
        kelvin = units.magnitude(temperature, units.TEMPERATURE, "temperature")
        degrees = energy / (units.BOLTZMANN * kelvin)
    factor = 2 * units.SPEED_OF_LIGHT * degrees / energy
    density = density.map(lambda terms: factor * terms)
    return VibrationalDensity(
        **density.common(notes, info, temperature=kelvin),
        names=names,
        terms=units.quantity(density.terms, DENSITY),
        degrees_of_freedom=degrees,
        mass_weighted=mass_weighted,
    )


def _batches(
    rates: Rates, weights: Array, membership: NDArray[np.int64], n_groups: int
) -> Iterator[tuple[Array, NDArray[np.int64]]]:
    """√w·v of some atoms of a group, side by side [n_frames, n_motions, 3 · n_atoms], and the
    places of their terms: each motion its own, and all that they have in common one.
    """
    n_frames, n_motions = rates.values.shape[:2]
    step = max(1, _CHUNK // (3 * n_frames * n_motions))
    for first in range(0, len(weights), step):
        atoms = slice(first, first + step)
        own = membership[atoms]
        if not (own >= 0).any():
            continue
        values = np.asarray(rates.values[:, :, atoms], dtype=np.float64)
        values = values * np.sqrt(weights[atoms])[:, None]
        for group in np.unique(own[own >= 0]):
            places = np.full((n_motions, n_motions), n_groups * n_motions)
            np.fill_diagonal(places, group * n_motions + np.arange(n_motions))
            yield values[:, :, own == group].reshape(n_frames, n_motions, -1), places
