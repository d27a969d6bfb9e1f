"""Raman spectra on disk: HDF5 with units and provenance, and columns of numbers for other programs."""

from __future__ import annotations

import json
import os

import h5py

from mda_aptnn import io, units
from mda_aptnn.spectra.columns import write_columns
from mda_aptnn.spectra.raman import COMPONENTS, KINDS, RamanSpectrum
from mda_aptnn.spectra.segment_file import read_segments, write_segments
from mda_aptnn.spectra.terms import all_pairs

_PARTS = ("isotropic", "anisotropic")


def write_csv(spectrum: RamanSpectrum, path: str | os.PathLike[str]) -> None:
    """Write wavenumber, everything that is measured with its error, and VV and VH of every auto and
    cross term.
    """
    unit = spectrum.unit
    columns = {"wavenumber [1/cm]": spectrum.wavenumber.magnitude}
    for kind in KINDS:
        columns[f"{kind} [{unit}]"] = spectrum.values(kind).magnitude
        if spectrum.segments is not None:
            columns[f"standard error of {kind} [{unit}]"] = spectrum.standard_error(kind).magnitude
    columns["depolarization"] = spectrum.depolarization
    if spectrum.segments is not None:
        columns["standard error of depolarization"] = spectrum.depolarization_error()
    for a, b in all_pairs(spectrum.groups) if len(spectrum.groups) > 1 else []:
        for kind in ("vv", "vh"):
            label = a if a == b else f"{a} x {b}"
            columns[f"{kind} of {label} [{unit}]"] = spectrum.values(kind, a, b).magnitude
    write_columns(path, columns)


def write_raman(spectrum: RamanSpectrum, file: h5py.File) -> None:
    """Write a Raman spectrum into a new file."""
    io.write_quantity(file, "wavenumber", spectrum.wavenumber, units.WAVENUMBER)
    for name in ("isotropic_terms", "anisotropic_terms", "components"):
        io.write_quantity(file, name, getattr(spectrum, name), spectrum.unit)
    io.write_quantity(file, "temperature", spectrum.temperature, units.TEMPERATURE)
    io.write_quantity(file, "resolution", spectrum.resolution, units.WAVENUMBER)
    for name, part in zip(_PARTS, spectrum.segments or (), strict=False):
        write_segments(file.create_group(f"segments/{name}"), part, spectrum.unit)
    file.attrs["unit"] = spectrum.unit
    file.attrs["components"] = json.dumps(COMPONENTS)
    file.attrs["window"] = spectrum.window
    for name in ("groups", "factors", "notes", "info"):
        file.attrs[name] = json.dumps(getattr(spectrum, name))


def read_raman(file: h5py.File) -> RamanSpectrum:
    """Read an open file that `write_raman` wrote.

    Raises
    ------
    FileFormatError
        If the file is damaged, foreign, or its arrays disagree.
    """
    unit = str(file.attrs["unit"])
    texts = {name: json.loads(file.attrs[name]) for name in ("groups", "factors", "notes", "info")}
    n_groups = len(texts["groups"])
    n = len(io.read_array(file, "wavenumber", shape=(None,)))
    shape = n, n_groups * (n_groups + 1) // 2
    segments = None
    if "segments" in file:
        isotropic, anisotropic = (
            read_segments(file[f"segments/{name}"], unit, shape) for name in _PARTS
        )
        segments = isotropic, anisotropic

    return RamanSpectrum(
        wavenumber=io.read_quantity(file, "wavenumber", units.WAVENUMBER, (n,)),
        isotropic_terms=io.read_quantity(file, "isotropic_terms", unit, (n, n_groups, n_groups)),
        anisotropic_terms=io.read_quantity(
            file, "anisotropic_terms", unit, (n, n_groups, n_groups)
        ),
        components=io.read_quantity(
            file, "components", unit, (n, len(COMPONENTS), len(COMPONENTS))
        ),
        temperature=io.read_quantity(file, "temperature", units.TEMPERATURE, ()),
        resolution=io.read_quantity(file, "resolution", units.WAVENUMBER, ()),
        window=str(file.attrs["window"]),
        segments=segments,
        **texts,
    )
