"""Bundled files: a trajectory of liquid water, and models.

Attributes
----------
WATER64_TOPOLOGY, WATER64_TRAJECTORY : str
    64 H2O, 10 ps of molecular dynamics at 319 K, every 2 fs, with velocities (PDB and H5MD).
"""

from importlib import resources

_FOLDER = resources.files(__name__)

WATER64_TOPOLOGY = str(_FOLDER / "water64.pdb")
WATER64_TRAJECTORY = str(_FOLDER / "water64.h5md")
