"""Files of a flux: its data sets, and what is checked when they are read."""

from __future__ import annotations

import json

import h5py
import numpy as np

from mda_aptnn import io, units
from mda_aptnn.errors import FileFormatError
from mda_aptnn.flux.flux_series import RECORDS, FluxSeries


def write_flux(series: FluxSeries, file: h5py.File) -> None:
    """Write the data sets and attributes of a flux file into an open one.

    Parameters
    ----------
    series : FluxSeries
    file : h5py.File
        Open for writing.
    """
    io.write_array(file, "flux", series.flux, units.FLUX)
    io.write_array(file, "times", series.times, units.TIME)
    for name, (unit, _) in RECORDS.items():
        io.write_array(file, name, getattr(series, name), unit)
    io.write_array(file, "starts", np.array(series.starts))
    io.write_array(file, "spacing", series.spacing, units.TIME)
    io.write_array(file, "finite_difference", series.finite_difference, units.TIME)
    # an attribute holds no more than 64 kB: too little for thousands of molecules
    io.write_array(file, "groups", json.dumps(series.groups))
    file.attrs["info"] = json.dumps(series.info)
    io.write_array(file, "labels", json.dumps(series.labels))
    if series.members is not None:
        io.write_array(file, "members", series.members, units.FLUX)
    if series.polarizability is not None:
        io.write_array(file, "polarizability", series.polarizability, units.POLARIZABILITY_FLUX)


def read_flux(file: h5py.File) -> FluxSeries:
    """Read an open flux file.

    Parameters
    ----------
    file : h5py.File
        Open for reading.

    Returns
    -------
    FluxSeries

    Raises
    ------
    FileFormatError
        If its arrays disagree.
    """
    groups = io.read_json(file, "groups", list)
    flux = io.read_array(file, "flux", units.FLUX, (None, len(groups), 3))
    n = len(flux)
    records = {
        name: io.read_array(file, name, unit, (n, *shape))
        for name, (unit, shape) in RECORDS.items()
    }
    starts = [int(k) for k in io.read_array(file, "starts", shape=(None,), kinds="iu")]
    if n == 0 or not starts or starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= n:
        raise FileFormatError(f"{file.filename}: the starts of its series do not fit {n} frames")
    spacing = float(io.read_array(file, "spacing", units.TIME, ()))
    if not (np.isfinite(flux).all() and 0 < spacing < np.inf):
        raise FileFormatError(f"{file.filename}: its flux or its spacing is no finite number")
    info = io.read_json(file, "info", dict)
    # what is made of a flux does not take the place of what the flux was made of
    io.protect(info.get("trajectory", []))
    return FluxSeries(
        flux=flux,
        groups=groups,
        times=io.read_array(file, "times", units.TIME, (n,)),
        spacing=spacing,
        starts=starts,
        finite_difference=float(io.read_array(file, "finite_difference", units.TIME, ())),
        info=info,
        labels=io.read_json(file, "labels", dict) if "labels" in file else {},
        members=io.read_array(file, "members", units.FLUX, (n, None, len(groups), 3))
        if "members" in file
        else None,
        polarizability=io.read_array(
            file, "polarizability", units.POLARIZABILITY_FLUX, (n, len(groups), 6)
        )
        if "polarizability" in file
        else None,
        **records,
    )
