"""Makes the pictures of the gallery and of the front page, by the code that stands on the pages.

    python -m tests.gallery WORK

Predicts along the whole bundled trajectory (64 H2O, 10 ps) in the folder WORK, where `atoms.h5` is
kept, and writes the pictures into docs/gallery. `tests/test_examples.py` runs the same code on a
shorter one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import warnings
from pathlib import Path

import MDAnalysis
from PIL import Image

from mda_aptnn import DipoleFlux
from mda_aptnn.data import WATER64_TOPOLOGY
from tests import ROOT, examples, trajectory_files
from tests.test_examples import names_of

PAGES = ("docs/index.md", "docs/gallery.md")
FOLDER = ROOT / "docs" / "gallery"


def pictures_of(page: str) -> list[str]:
    """Names of the pictures that a page shows of this folder."""
    return re.findall(r"\bgallery/([\w-]+\.png)", (ROOT / page).read_text())


def prepare(work: Path) -> None:
    """Write what the pages take for granted."""
    work.mkdir(parents=True, exist_ok=True)
    shutil.copy(WATER64_TOPOLOGY, work / "water.pdb")
    if not (work / "water.trr").exists():
        trajectory_files.write(trajectory_files.water(5001), work / "water.trr")
    universe = MDAnalysis.Universe(str(work / "water.pdb"), str(work / "water.trr"))
    if not (work / "atoms.h5").exists():
        made = DipoleFlux(universe, "water-rpbe-d3", per="atom").run(verbose=True)
        made.save(work / "atoms.h5")
    if not (work / "flux.h5").exists():
        from mda_aptnn.flux.atom_flux import load_groups

        load_groups(work / "atoms.h5", universe).save(work / "flux.h5")


def main() -> None:
    """Run the blocks of both pages, and keep their pictures in few colours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--page", choices=PAGES, help="only this one")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    prepare(work)
    os.chdir(work)
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    for page in [arguments.page] if arguments.page else PAGES:
        names = names_of(work)
        for block in examples.blocks(ROOT, page):
            if block.language in ("python", "bash") and "pip install" not in block.code:
                print(block)
                examples.run(block, names, str)
        for name in pictures_of(page):
            picture = Image.open(work / name).convert("RGB")
            picture.thumbnail((900, 900))
            picture.quantize(256).save(FOLDER / name, optimize=True)


if __name__ == "__main__":
    main()
