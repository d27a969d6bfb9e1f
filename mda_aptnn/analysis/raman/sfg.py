"""A sum-frequency spectrum: components of χ⁽²⁾ by groups, polarization combinations, the two sides of a slab."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import hdf5, units
from mda_aptnn.analysis.spectra.segment_file import read_segments, write_segments
from mda_aptnn.analysis.spectra.statistics import Segments
from mda_aptnn.analysis.spectra.terms import group_index
from mda_aptnn.citations import cite
from mda_aptnn.errors import SpectrumError

cite(__name__)

Array = NDArray[np.float64]

#: Components of a surface that is the same in all directions along it, as α is symmetric; z is its normal.
COMPONENTS = ("xxz", "yyz", "xzx", "yzy", "zzz")
#: Polarizations of sum frequency, visible and infrared light, and the components that are averaged for them.
POLARIZATIONS = {"ssp": ("xxz", "yyz"), "sps": ("xzx", "yzy"), "pss": ("xzx", "yzy")}


def axes_of(component: str) -> tuple[int, int, int]:
    """Return the axes of a component of χ⁽²⁾, 0 for x, such as (0, 0, 2) of "xxz".

    Raises
    ------
    SpectrumError
        If it is none.
    """
    if len(component) != 3 or not set(component) <= set("xyz"):
        raise SpectrumError(f"component {component!r}: give three of x, y, z, such as xxz")
    a, b, c = ("xyz".index(axis) for axis in component)
    return a, b, c


@dataclasses.dataclass(frozen=True)
class SumFrequencySpectrum(hdf5.Stored):
    """The resonant second-order response, the sum of its terms.

    Attributes
    ----------
    wavenumber : pint.Quantity, shape [n_frequencies]
        Of the infrared light, in cm⁻¹, equidistant.
    groups : list of str
        Names of the groups.
    component_names : list of str
        Of χ_abc, a for sum frequency, b visible, c infrared, such as "xxz".
    terms : pint.Quantity, complex, shape [n_frequencies, n_components, n_groups, n_groups]
        A·χ_abc in Å⁴/V: α̇ of the first group with Ṁ of the second. The sum over both is the total.
    area : pint.Quantity or None
        A of the surface; None for a sample as a whole.
    temperature : pint.Quantity
    resolution : pint.Quantity
        Full width at half maximum of the line that a single frequency becomes.
    window : str
        Name of the lag window.
    segments : Segments or None
        Im of the terms from disjoint parts of the trajectory, for the statistical error.
    notes : list of str
        What was assumed on the way.
    info : dict
        What it was made of and how.
    """

    kind: ClassVar[str] = "sfg"

    #: Of the terms, A·χ.
    unit: ClassVar[str] = "angstrom^4/V"

    wavenumber: Any
    groups: list[str]
    component_names: list[str]
    terms: Any
    area: Any
    temperature: Any
    resolution: Any
    window: str
    segments: Segments | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

    def component(self, name: str, first: str | None = None, second: str | None = None) -> Any:
        """Return a component of χ [n_frequencies], complex: in Å²/V, or A·χ in Å⁴/V without an area.

        Parameters
        ----------
        name : str
            Such as "xxz"; the first two may be exchanged.
        first, second : str, optional
            Groups of α̇ and of Ṁ: their term; with one, that of the group with itself. The total by default.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]

        Raises
        ------
        SpectrumError
            If there is no such component or group.
        """
        values = self.terms[:, self._component(name)]
        if first is None:
            return self._per_area(values.sum(axis=(1, 2)))
        return self._per_area(values[:, group_index(self.groups, first), group_index(self.groups, second or first)])

    def side(self, name: str, group: str) -> Any:
        """Return a component of χ from the infrared-driven dipole of one group, with α̇ of the whole sample.

        Parameters
        ----------
        name : str
            Component.
        group : str
            Such as "upper".

        Returns
        -------
        pint.Quantity, shape [n_frequencies]
        """
        return self._per_area(self.terms[:, self._component(name), :, group_index(self.groups, group)].sum(axis=1))

    def interface(self, name: str, upper: str = "upper", lower: str = "lower") -> Any:
        """Return a component of χ of one surface, the mean of the two sides of a slab: (upper − lower)/2.

        Of components with an odd number of z, which change sign between the sides; the surface looks to +z.

        Parameters
        ----------
        name : str
            Component.
        upper, lower : str
            Groups of the two sides.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]
        """
        if name.count("z") % 2 == 0:
            raise SpectrumError(f"{name} has the same sign on both sides of a slab; ask for side() of each")
        return (self.side(name, upper) - self.side(name, lower)) / 2

    def standard_error(self, name: str, first: str | None = None, second: str | None = None) -> Any:
        """Return the standard error of the imaginary part of `component` [n_frequencies].

        Parameters
        ----------
        name, first, second : str
            As in `component`.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]

        Raises
        ------
        SpectrumError
            If there are no error bars, or no such component or group.
        """
        if self.segments is None:
            raise SpectrumError("the spectrum has no error bars: the trajectory is short or they were not wanted")
        n, n_groups = len(self.component_names), len(self.groups)
        terms = self.segments.terms.reshape(*self.segments.terms.shape[:2], n, n_groups, n_groups)
        values = terms[:, :, self._component(name)].astype(np.float64)
        if first is None:
            values = values.sum(axis=(2, 3))
        else:
            values = values[:, :, group_index(self.groups, first), group_index(self.groups, second or first)]
        return self._per_area(units.quantity(self.segments.standard_error(values), self.unit))

    def polarized(
        self,
        polarization: str,
        angles: tuple[Any, Any, Any] | None = None,
        fresnel: Sequence[Sequence[complex]] | None = None,
        *,
        interface: bool = False,
    ) -> Any:
        """Return the effective susceptibility of a polarization combination [n_frequencies], complex.

        Parameters
        ----------
        polarization : {"ssp", "sps", "pss", "ppp"}
            Of sum frequency, visible and infrared light. ssp: (χ_xxz + χ_yyz)/2; sps and pss: (χ_xzx + χ_yzy)/2,
            equal as α is symmetric.
        angles : (β_sum, β_visible, β_infrared), optional
            Between the beams and the surface's normal, in rad, or "45 deg". Without, the bare component; needed for
            ppp, which mixes four.
        fresnel : three of (L_xx, L_yy, L_zz), optional
            Fresnel factors with local fields of sum frequency, visible and infrared light; 1 by default.
        interface : bool
            Of one surface of a slab, see `interface`, instead of the whole sample.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]

        Raises
        ------
        SpectrumError
            If there is no such combination, or ppp has no angles.

        Notes
        -----
        In reflection: X. Zhuang, P. B. Miranda, D. Kim, Y. R. Shen, Phys. Rev. B 59, 12632 (1999).
        """

        def mean(*names: str) -> Any:
            return sum((self.interface if interface else self.component)(name) for name in names) / len(names)

        if polarization != "ppp" and polarization not in POLARIZATIONS:
            raise SpectrumError(f"polarization {polarization!r}: choose of {', '.join(POLARIZATIONS)}, ppp")
        if angles is None:
            if polarization == "ppp":
                raise SpectrumError("ppp mixes four components: give angles=(sum, visible, infrared) of the beams")
            return mean(*POLARIZATIONS[polarization])
        sine, cosine = np.array([_sine_cosine(angle) for angle in angles]).T
        # [light, axis]
        local = np.ones((3, 3)) if fresnel is None else np.asarray(fresnel)
        if polarization == "ppp":
            xxz, xzx = mean("xxz", "yyz"), mean("xzx", "yzy")
            (s, v, i), (s_z, v_z, i_z) = local[:, 0] * cosine, local[:, 2] * sine
            return -s * v * i_z * xxz - s * v_z * i * xzx + s_z * v * i * xzx + s_z * v_z * i_z * mean("zzz")
        factors = [
            local[light, 2] * sine[light] if letter == "p" else local[light, 1]
            for light, letter in enumerate(polarization)
        ]
        return np.prod(factors) * mean(*POLARIZATIONS[polarization])

    def _write(self, file: h5py.File) -> None:
        hdf5.write_quantity(file, "wavenumber", self.wavenumber, units.WAVENUMBER)
        hdf5.write_quantity(file, "terms", self.terms, self.unit)
        hdf5.write_quantity(file, "temperature", self.temperature, units.TEMPERATURE)
        hdf5.write_quantity(file, "resolution", self.resolution, units.WAVENUMBER)
        if self.area is not None:
            hdf5.write_quantity(file, "area", self.area, "angstrom^2")
        if self.segments is not None:
            write_segments(file.create_group("segments"), self.segments, self.unit)
        file.attrs["window"] = self.window
        for name in ("groups", "component_names", "notes", "info"):
            file.attrs[name] = json.dumps(getattr(self, name))

    @classmethod
    def _read(cls, file: h5py.File) -> SumFrequencySpectrum:
        texts = {name: json.loads(file.attrs[name]) for name in ("groups", "component_names", "notes", "info")}
        n_groups, n_components = len(texts["groups"]), len(texts["component_names"])
        n = len(hdf5.read_array(file, "wavenumber", shape=(None,)))
        segments = None
        if "segments" in file:
            segments = read_segments(file["segments"], cls.unit, (n, n_components * n_groups**2))
        return cls(
            wavenumber=hdf5.read_quantity(file, "wavenumber", units.WAVENUMBER, (n,)),
            terms=hdf5.read_quantity(file, "terms", cls.unit, (n, n_components, n_groups, n_groups), kinds="fiuc"),
            area=hdf5.read_quantity(file, "area", "angstrom^2", ()) if "area" in file else None,
            temperature=hdf5.read_quantity(file, "temperature", units.TEMPERATURE, ()),
            resolution=hdf5.read_quantity(file, "resolution", units.WAVENUMBER, ()),
            window=str(file.attrs["window"]),
            segments=segments,
            **texts,
        )

    def _per_area(self, values: Any) -> Any:
        return values if self.area is None else (values / self.area).to("angstrom^2/V")

    def _component(self, name: str) -> int:
        axes_of(name)
        for candidate in (name, name[1] + name[0] + name[2]):
            if candidate in self.component_names:
                return self.component_names.index(candidate)
        raise SpectrumError(f"there is no component {name!r}; there are {', '.join(self.component_names)}")


def _sine_cosine(angle: Any) -> tuple[float, float]:
    value = units.magnitude(angle, "rad", "angle")
    return float(np.sin(value)), float(np.cos(value))
