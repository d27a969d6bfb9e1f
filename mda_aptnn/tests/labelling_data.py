"""Stored campaigns: what CP2K 2023.1 wrote for small systems (data/cp2k/README.md says how)."""

import tarfile
from pathlib import Path

DATA = Path(__file__).parent / "data" / "cp2k"


def unpack(name: str, folder: Path) -> Path:
    """Unpack an archive of data/cp2k and return its folder."""
    with tarfile.open(DATA / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name
