"""What to cite for which part: read by duecredit, if it is installed (``python -m duecredit
script.py``).
"""

from __future__ import annotations

import atexit
import sys

from MDAnalysis.due import Doi, due

#: Module, whose import means that its method is used: the work, and what it is.
CITATIONS = {
    "mda_aptnn": (
        "10.1021/acs.jctc.2c00788",
        "Infrared spectra from machine-learned atomic polar tensors",
    ),
    "mda_aptnn.labels.routes": (
        "10.1103/PhysRevLett.89.157602",
        "Finite electric fields in periodic cells",
    ),
    "mda_aptnn.training.calibration": ("10.1063/5.0036522", "Calibrated committees of networks"),
    "mda_aptnn.averages": (
        "10.1063/1.457480",
        "Errors of averages over correlated series by blocks",
    ),
    "mda_aptnn.spectra.result": (
        "10.1023/A:1008800423698",
        "Jackknife with parts of unequal length",
    ),
    "mda_aptnn.spectra.quantum": (
        "10.1063/1.1774986",
        "Quantum corrections of classical line shapes",
    ),
    "mda_aptnn.spectra.vdos": ("10.1063/1.446044", "Densities of states from velocities"),
    "mda_aptnn.spectra.dipoles": ("10.1103/PhysRevB.47.1651", "Polarization of periodic samples"),
    "mda_aptnn.spectra.sfg": ("10.1103/PhysRevB.59.12632", "Polarizations of sum-frequency light"),
}


@atexit.register
def cite_what_was_used() -> None:
    """Tell duecredit of the modules that were imported, before it reports; without it nothing
    happens.
    """
    for module, (doi, description) in CITATIONS.items():
        if module in sys.modules:
            due.cite(Doi(doi), description=description, path=module, cite_module=True)
