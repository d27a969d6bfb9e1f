"""A sum-frequency spectrum: components of χ⁽²⁾ by groups, polarization combinations, the two sides
of a slab.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.citations import cite
from mda_aptnn.errors import FileFormatError, SpectrumError
from mda_aptnn.spectra.columns import write_columns
from mda_aptnn.spectra.display import Pictured
from mda_aptnn.spectra.segment_file import read_segments, write_segments
from mda_aptnn.spectra.statistics import Segments
from mda_aptnn.spectra.terms import group_index

cite(__name__)

Array = NDArray[np.float64]

#: Components of a surface that is the same in all directions along it, as α is symmetric; z is its
#: normal.
COMPONENTS = ("xxz", "yyz", "xzx", "yzy", "zzz")
#: Groups that hold the two surfaces of a slab, by these names.
SIDES = ("upper", "lower")
#: Polarizations of sum frequency, visible and infrared light, and the components that are averaged
#: for them.
POLARIZATIONS = {"ssp": ("xxz", "yyz"), "sps": ("xzx", "yzy"), "pss": ("xzx", "yzy")}


#: What is shown of a complex χ.
PARTS: dict[str, Callable[[Any], Any]] = {
    "Im chi": lambda chi: chi.imag,
    "Re chi": lambda chi: chi.real,
    "|chi|^2": lambda chi: chi.real**2 + chi.imag**2,
}


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
class SumFrequencySpectrum(io.Stored, Pictured):
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
        Re and Im of the terms from disjoint parts of the trajectory, for the statistical error.
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
        """Return a component of χ [n_frequencies], complex: in Å²/V, or A·χ in Å⁴/V without an
        area.

        Parameters
        ----------
        name : str
            Such as "xxz"; the first two may be exchanged.
        first, second : str, optional
            Groups of α̇ and of Ṁ: their term; with one, that of the group with itself. The total by
            default.

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
        return self._per_area(
            values[:, group_index(self.groups, first), group_index(self.groups, second or first)]
        )

    def side(self, name: str, group: str) -> Any:
        """Return a component of χ from the infrared-driven dipole of one group, with α̇ of the
        whole sample.

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
        return self._per_area(
            self.terms[:, self._component(name), :, group_index(self.groups, group)].sum(axis=1)
        )

    def interface(self, name: str, upper: str = "upper", lower: str = "lower") -> Any:
        """Return a component of χ of one surface, the mean of the two sides of a slab: (upper −
        lower)/2.

        Of components with an odd number of z, which change sign between the sides; the surface
        looks to +z.

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
            raise SpectrumError(
                f"{name} has the same sign on both sides of a slab; ask for side() of each"
            )
        return (self.side(name, upper) - self.side(name, lower)) / 2

    def standard_error(self, function: Callable[[SumFrequencySpectrum], Any]) -> Any:
        """Return the standard error of anything that is made of the spectrum, by the jackknife over
        segments.

        Parameters
        ----------
        function : callable
            Of a spectrum like this one; returns a real number or an array of them, such as
            ``lambda s: s.component("xxz").imag`` or ``lambda s: abs(s.polarized("ssp")) ** 2``.

        Returns
        -------
        pint.Quantity
            Of the same shape and unit.

        Raises
        ------
        SpectrumError
            If there are no error bars, or the function's result is complex.
        """
        if self.segments is None:
            raise SpectrumError(
                "the spectrum has no error bars: the trajectory is short or they were not wanted"
            )
        whole = units.ureg.Quantity(function(self))
        if np.iscomplexobj(whole.magnitude):
            raise SpectrumError(
                "a complex number has no one standard error: ask for that of .real, .imag or abs()"
            )
        n, *rest = self.terms.shape

        def of_mean(mean: Array) -> Array:
            real, imaginary = np.moveaxis(mean.reshape(n, 2, *rest), 1, 0)
            one = dataclasses.replace(
                self, terms=units.quantity(real + 1j * imaginary, self.unit), segments=None
            )
            return np.asarray(units.ureg.Quantity(function(one)).to(whole.units).magnitude)

        return units.quantity(
            self.segments.jackknife(of_mean, self.segments.terms.astype(float)), str(whole.units)
        )

    def polarized(
        self,
        polarization: str,
        angles: tuple[Any, Any, Any] | None = None,
        fresnel: Sequence[Sequence[complex]] | None = None,
        *,
        interface: bool = False,
    ) -> Any:
        """Return the effective susceptibility of a polarization combination [n_frequencies],
        complex.

        Parameters
        ----------
        polarization : {"ssp", "sps", "pss", "ppp"}
            Of sum frequency, visible and infrared light. ssp: (χ_xxz + χ_yyz)/2; sps and pss:
            (χ_xzx + χ_yzy)/2, equal as α is symmetric.
        angles : (β_sum, β_visible, β_infrared), optional
            Between the beams and the surface's normal, in rad, or "45 deg". Without, the bare
            component; needed for ppp, which mixes four.
        fresnel : three of (L_xx, L_yy, L_zz), optional
            Fresnel factors with local fields of sum frequency, visible and infrared light; 1 by
            default.
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
            return sum(
                (self.interface if interface else self.component)(name) for name in names
            ) / len(names)

        if polarization != "ppp" and polarization not in POLARIZATIONS:
            raise SpectrumError(
                f"polarization {polarization!r}: choose of {', '.join(POLARIZATIONS)}, ppp"
            )
        if angles is None:
            if polarization == "ppp":
                raise SpectrumError(
                    "ppp mixes four components: give angles=(sum, visible, infrared) of the beams"
                )
            return mean(*POLARIZATIONS[polarization])
        sine, cosine = np.array([_sine_cosine(angle) for angle in angles]).T
        # [light, axis]
        local = np.ones((3, 3)) if fresnel is None else np.asarray(fresnel)
        if polarization == "ppp":
            xxz, xzx = mean("xxz", "yyz"), mean("xzx", "yzy")
            (s, v, i), (s_z, v_z, i_z) = local[:, 0] * cosine, local[:, 2] * sine
            return (
                -s * v * i_z * xxz
                - s * v_z * i * xzx
                + s_z * v * i * xzx
                + s_z * v_z * i_z * mean("zzz")
            )
        factors = [
            local[light, 2] * sine[light] if letter == "p" else local[light, 1]
            for light, letter in enumerate(polarization)
        ]
        return np.prod(factors) * mean(*POLARIZATIONS[polarization])

    def shown(self, name: str) -> Any:
        """Return what is drawn and written of a component, complex [n_frequencies].

        That of one surface (`interface`) where there are groups "upper" and "lower" and the
        component has an odd number of z; else that of the whole sample.

        Parameters
        ----------
        name : str
            Component.

        Returns
        -------
        pint.Quantity, shape [n_frequencies]
        """
        surface = set(SIDES) <= set(self.groups) and name.count("z") % 2
        return self.interface(name) if surface else self.component(name)

    def extrema(self) -> dict[str, dict[str, float | None]]:
        """Return where Im χ of each component, as `shown`, is largest in magnitude above the
        resolution.

        Returns
        -------
        dict of str to dict
            wavenumber in cm⁻¹, imaginary: Im χ there, and its standard error, None without error
            bars.
        """
        grid, found = self.wavenumber.magnitude, {}
        first = int(np.searchsorted(grid, self.resolution.magnitude))
        for name in self.component_names:
            values, error = self._with_error(name, "Im chi")
            top = first + int(np.abs(values.magnitude[first:]).argmax())
            found[name] = {
                "wavenumber": float(grid[top]),
                "imaginary": float(values.magnitude[top]),
                "error": None if error is None else float(error.magnitude[top]),
            }
        return found

    def _with_error(self, name: str, label: str) -> tuple[Any, Any]:
        """A part of `shown` [n_frequencies] and its standard error, None without error bars."""

        def part(one: SumFrequencySpectrum) -> Any:
            return PARTS[label](one.shown(name))

        return part(self), None if self.segments is None else self.standard_error(part)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write wavenumber, and Im χ, Re χ and the squared magnitude of each component, as `shown`,
        with errors.

        Parameters
        ----------
        path : path
        """
        columns = {"wavenumber [1/cm]": self.wavenumber.magnitude}
        for name, label in itertools.product(self.component_names, PARTS):
            values, error = self._with_error(name, label)
            columns[f"{label} {name} [{values.units}]"] = values.magnitude
            if error is not None:
                columns[f"standard error of {label} {name} [{values.units}]"] = error.magnitude
        write_columns(path, columns)

    def plot(self, path: str | os.PathLike[str] | None = None, *, limit: float = 4500.0) -> Any:
        """Draw Im χ, Re χ and the squared magnitude of each component, as `shown`, with standard
        errors.

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
        from mda_aptnn.figures import draw_doubts, new_figure, save_figure
        from mda_aptnn.spectra.plots import title_of

        figure = new_figure(path, (7.0, 7.0))
        grid = self.wavenumber.magnitude
        # below the resolution the window's tail is divided by ω
        seen = (grid >= self.resolution.magnitude) & (grid <= limit)
        axes = list(figure.subplots(3, 1, sharex=True))
        for ax, label in zip(axes, PARTS, strict=True):
            ax.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
            for name in self.component_names:
                values, error = self._with_error(name, label)
                [line] = ax.plot(grid[seen], values.magnitude[seen], linewidth=1.2, label=name)
                if error is not None:
                    low, high = (values - error).magnitude[seen], (values + error).magnitude[seen]
                    ax.fill_between(
                        grid[seen], low, high, color=line.get_color(), alpha=0.2, linewidth=0
                    )
            ax.set_ylabel(f"{label.replace('chi', 'χ').replace('^2', '²')} / {values.units:~P}")
        axes[0].legend(frameon=False, fontsize="small")
        axes[0].set_title(title_of(self), fontsize=9)
        axes[-1].set_xlabel(r"infrared wavenumber / cm$^{-1}$")
        axes[-1].set_xlim(0, min(limit, grid[-1]))
        draw_doubts(axes[-1], self.notes)
        if path is not None:
            save_figure(figure, path)
        return axes

    def _write(self, file: h5py.File) -> None:
        io.write_quantity(file, "wavenumber", self.wavenumber, units.WAVENUMBER)
        io.write_quantity(file, "terms", self.terms, self.unit)
        io.write_quantity(file, "temperature", self.temperature, units.TEMPERATURE)
        io.write_quantity(file, "resolution", self.resolution, units.WAVENUMBER)
        if self.area is not None:
            io.write_quantity(file, "area", self.area, "angstrom^2")
        if self.segments is not None:
            write_segments(file.create_group("segments"), self.segments, self.unit)
        file.attrs["window"] = self.window
        file.attrs["real_part"] = "causal"
        for name in ("groups", "component_names", "notes", "info"):
            file.attrs[name] = json.dumps(getattr(self, name))

    @classmethod
    def _read(cls, file: h5py.File) -> SumFrequencySpectrum:
        if "real_part" not in file.attrs:
            raise FileFormatError(
                f"{file.filename} was written by version 0.1.0, whose Re chi is up to 65 % too "
                f"large: make it again "
                "from the flux"
            )
        texts = {
            name: json.loads(file.attrs[name])
            for name in ("groups", "component_names", "notes", "info")
        }
        n_groups, n_components = len(texts["groups"]), len(texts["component_names"])
        n = len(io.read_array(file, "wavenumber", shape=(None,)))
        segments = None
        if "segments" in file:
            segments = read_segments(
                file["segments"], cls.unit, (n, 2 * n_components * n_groups**2)
            )
        return cls(
            wavenumber=io.read_quantity(file, "wavenumber", units.WAVENUMBER, (n,)),
            terms=io.read_quantity(
                file, "terms", cls.unit, (n, n_components, n_groups, n_groups), kinds="fiuc"
            ),
            area=io.read_quantity(file, "area", "angstrom^2", ()) if "area" in file else None,
            temperature=io.read_quantity(file, "temperature", units.TEMPERATURE, ()),
            resolution=io.read_quantity(file, "resolution", units.WAVENUMBER, ()),
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
        raise SpectrumError(
            f"there is no component {name!r}; there are {', '.join(self.component_names)}"
        )


def _sine_cosine(angle: Any) -> tuple[float, float]:
    value = units.magnitude(angle, "rad", "angle")
    return float(np.sin(value)), float(np.cos(value))
