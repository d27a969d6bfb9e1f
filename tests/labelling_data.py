"""Stored campaigns: what CP2K 2023.1 wrote for small systems (data/cp2k/README.md says how)."""

import tarfile
from pathlib import Path

import tests

DATA = tests.DATA / "cp2k"


def unpack(name: str, folder: Path) -> Path:
    """Unpack an archive of data/cp2k and return its folder."""
    with tarfile.open(DATA / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name
