"""Spectra on disk: HDF5 with units and provenance, and columns of numbers for other programs."""

from __future__ import annotations

import json
import os
from typing import Any

import h5py
import numpy as np

from mda_aptnn import io, units
from mda_aptnn.errors import FileFormatError
from mda_aptnn.spectra.columns import write_columns
from mda_aptnn.spectra.members import MemberSpectra
from mda_aptnn.spectra.segment_file import read_segments, write_segments
from mda_aptnn.spectra.spectrum import Spectrum

_SECTION = "angstrom^2"
_UNITS = {
    "wavenumber": units.WAVENUMBER,
    "cross_section_terms": _SECTION,
    "cross_section_components": _SECTION,
    "lags": units.TIME,
    "correlation": units.FLUX_CORRELATION,
    "temperature": units.TEMPERATURE,
    "volume": units.VOLUME,
    "resolution": units.WAVENUMBER,
    "effective_resolution": units.WAVENUMBER,
}
#: What may be missing: without a volume, or of a file of version 0.1.0.
_OPTIONAL = ("volume", "effective_resolution")


def write_csv(spectrum: Spectrum, path: str | os.PathLike[str]) -> None:
    """Write wavenumber, total, its errors, every auto and cross term and the diagonal Cartesian
    components.
    """
    columns = {"wavenumber [1/cm]": spectrum.wavenumber.magnitude}
    total, unit = spectrum.default_values()
    columns[f"total [{unit}]"] = total
    if spectrum.segments is not None:
        columns[f"standard error [{unit}]"] = spectrum.default_error()
    if spectrum.members is not None:
        columns[f"{spectrum.members.label} [{unit}]"] = spectrum.default_model_error()
    for a, b in spectrum.pairs() if len(spectrum.groups) > 1 else []:
        values = spectrum.default_values((a, b))[0]
        # self and distinct parts have no cross terms
        if values.any() or not spectrum.signed:
            columns[f"{a} [{unit}]" if a == b else f"{a} x {b} [{unit}]"] = values
    for axis, name in enumerate("xyz"):
        section = spectrum.cross_section_components[:, axis, axis]
        columns[f"{name}{name} [{unit}]"] = spectrum.in_default_unit(section)
    write_columns(path, columns)


def write_spectrum(spectrum: Spectrum, file: h5py.File) -> None:
    """Write a spectrum into a new file."""
    for name, unit in _UNITS.items():
        value = getattr(spectrum, name)
        if value is not None:
            io.write_quantity(file, name, value, unit)
    if spectrum.volume is not None:
        io.write_quantity(file, "absorption", spectrum.absorption, units.ABSORPTION)
    if spectrum.segments is not None:
        write_segments(file.create_group("segments"), spectrum.segments, _SECTION)
    if spectrum.members is not None:
        io.write_array(file, "members", spectrum.members.terms, _SECTION)
        file["members"].attrs["calibrated"] = spectrum.members.calibrated
    file.attrs["groups"] = json.dumps(spectrum.groups)
    file.attrs["window"] = spectrum.window
    file.attrs["least_relative_error"] = spectrum.least_relative_error
    file.attrs["quantum_correction"] = spectrum.quantum_correction
    file.attrs["signed"] = json.dumps(spectrum.signed)
    file.attrs["notes"] = json.dumps(spectrum.notes)
    file.attrs["info"] = json.dumps(spectrum.info)


def read_spectrum(file: h5py.File) -> Spectrum:
    """Read an open file that `write_spectrum` wrote.

    Raises
    ------
    FileFormatError
        If the file is damaged, foreign, or its arrays disagree.
    """
    groups = io.read_json(file, "groups", list)
    n_groups = len(groups)
    n = len(io.read_array(file, "wavenumber", shape=(None,)))
    n_lags = len(io.read_array(file, "lags", shape=(None,)))
    stored = file.get("cross_section_terms")
    # of very many groups: each with itself, and with all the others
    summed = n_groups > 2 and getattr(stored, "shape", ())[2:] == (2,)
    n_others = 2 if summed else n_groups
    shapes = {
        "wavenumber": (n,),
        "cross_section_terms": (n, n_groups, n_others),
        "cross_section_components": (n, 3, 3),
        "lags": (n_lags,),
        "correlation": (n_lags, n_groups, n_others),
        "temperature": (),
        "volume": (),
        "resolution": (),
        "effective_resolution": (),
    }
    values: dict[str, Any] = {
        name: io.read_quantity(file, name, unit, shapes[name])
        if name in file or name not in _OPTIONAL
        else None
        for name, unit in _UNITS.items()
    }
    if not np.isfinite(values["cross_section_terms"].magnitude).all():
        raise FileFormatError(f"{file.filename}: its spectrum is not finite")
    n_pairs = 2 * n_groups if summed else n_groups * (n_groups + 1) // 2
    notes, info = io.read_json(file, "notes", list), io.read_json(file, "info", dict)
    return Spectrum(
        groups=groups,
        window=str(file.attrs["window"]),
        least_relative_error=_number(file, "least_relative_error"),
        quantum_correction=str(file.attrs.get("quantum_correction", "harmonic")),
        segments=read_segments(file["segments"], _SECTION, (n, n_pairs))
        if "segments" in file
        else None,
        signed=json.loads(file.attrs.get("signed", "[]")),
        members=MemberSpectra(
            io.read_array(file, "members", _SECTION, (None, n, n_pairs)),
            bool(file["members"].attrs.get("calibrated", False)),
        )
        if "members" in file
        else None,
        notes=notes,
        info=info,
        **values,
    )


def _number(file: h5py.File, name: str) -> float:
    """An attribute that is a number; NaN where there is none."""
    value = file.attrs.get(name, np.nan)
    if not isinstance(value, float | np.floating):
        raise FileFormatError(f"{file.filename}: {name} is no number")
    return float(value)
