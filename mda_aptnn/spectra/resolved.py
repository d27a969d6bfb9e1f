"""What the spectra resolved by distance, position or time have in common: units, error bars, files."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io, units
from mda_aptnn.errors import FileFormatError, SpectrumError
from mda_aptnn.spectra.display import Pictured
from mda_aptnn.spectra.segment_file import read_segments, write_segments
from mda_aptnn.spectra.statistics import Segments

_SECTION = "angstrom^2"


@dataclasses.dataclass(frozen=True)
class ResolvedSpectrum(io.Stored, Pictured):
    """Parts of an absolute infrared spectrum.

    Attributes
    ----------
    wavenumber : pint.Quantity, shape [n_frequencies]
        In cm⁻¹, from 0 upward, equidistant.
    cross_sections : pint.Quantity, shape [n_frequencies, ...]
        V · n(ω)α(ω) of each part, in Å².
    temperature : pint.Quantity
        T in β = 1/k_B T.
    volume : pint.Quantity or None
        Mean volume of the cell; None in the gas phase.
    resolution : pint.Quantity
        Full width at half maximum of the line that a single frequency becomes.
    window : str
        Name of the lag window.
    segments : mda_aptnn.spectra.statistics.Segments or None
        V · n(ω)α(ω) in Å² from disjoint parts of the trajectory [n_segments, n_frequencies, ...],
        for error bars; None where the trajectory is too short for them.
    notes : list of str
        What was assumed on the way.
    info : dict
        What it was made of and how.
    """

    wavenumber: Any
    cross_sections: Any
    temperature: Any
    volume: Any
    resolution: Any
    window: str
    segments: Segments | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

    #: Further arrays of a kind, with their units ("" for none).
    own_arrays: ClassVar[dict[str, str]] = {}
    #: Further texts of a kind.
    own_texts: ClassVar[tuple[str, ...]] = ()

    @property
    def unit(self) -> str:
        """Unit of plain numbers: n·α in cm⁻¹, or molar absorption where there is no volume."""
        return units.MOLAR_ABSORPTION if self.volume is None else units.ABSORPTION

    @property
    def scale(self) -> float:
        """What a cross section in Å² is multiplied with to be in `unit`."""
        per_sample = units.factor(_SECTION, "angstrom^3/cm")
        if self.volume is None:
            return per_sample * units.MOLAR_FACTOR
        return per_sample / float(self.volume.to(units.VOLUME).magnitude)

    @property
    def parts(self) -> NDArray[np.float64]:
        """All parts as plain numbers [n_frequencies, ...] in `unit`."""
        found: NDArray[np.float64] = self.cross_sections.to(_SECTION).magnitude * self.scale
        return found

    @property
    def total(self) -> Any:
        """The whole spectrum [n_frequencies] as a quantity: n·α in cm⁻¹, or molar absorption
        without a volume.
        """
        parts = self.parts
        return units.quantity(parts.reshape(len(parts), -1).sum(axis=1), self.unit)

    def segment_parts(self) -> NDArray[np.float64]:
        """Return the parts from each segment [n_segments, n_frequencies, ...] in `unit`.

        Raises
        ------
        SpectrumError
            If the trajectory was too short for error bars.
        """
        if self.segments is None:
            raise SpectrumError("the trajectory is too short for error bars at this resolution")
        return np.asarray(self.segments.terms * self.scale, dtype=float)

    def _write(self, file: h5py.File) -> None:
        for name, unit in self._array_units().items():
            value = getattr(self, name)
            if value is not None:
                value = value.to(unit).magnitude if unit else value
                io.write_array(file, name, value, unit or None)
        if self.segments is not None:
            write_segments(file.create_group("segments"), self.segments, _SECTION)
        for name in ("window", *self.own_texts):
            file.attrs[name] = getattr(self, name)
        file.attrs["notes"] = json.dumps(self.notes)
        file.attrs["info"] = json.dumps(self.info)

    @classmethod
    def _read(cls, file: h5py.File) -> Self:
        values: dict[str, Any] = {}
        for name, unit in cls._array_units().items():
            if name == "volume" and name not in file:
                values[name] = None
                continue
            found = io.read_array(file, name, unit or None)
            values[name] = units.quantity(found, unit) if unit else found
        if len(values["cross_sections"]) != len(values["wavenumber"]):
            raise FileFormatError(
                f"{file.filename}: its arrays disagree in the number of frequencies"
            )
        texts = {name: str(file.attrs[name]) for name in ("window", *cls.own_texts)}
        notes, info = (json.loads(file.attrs[name]) for name in ("notes", "info"))
        segments = None
        if "segments" in file:
            segments = read_segments(file["segments"], _SECTION, values["cross_sections"].shape)
        return cls(segments=segments, notes=notes, info=info, **texts, **values)

    @classmethod
    def _array_units(cls) -> dict[str, str]:
        return {
            "wavenumber": units.WAVENUMBER,
            "cross_sections": _SECTION,
            "temperature": units.TEMPERATURE,
            "volume": units.VOLUME,
            "resolution": units.WAVENUMBER,
            **cls.own_arrays,
        }
