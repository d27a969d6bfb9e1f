"""Every block of code of the README, the documentation and the tutorials runs, or is listed in
docs/examples.md.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest

import mda_aptnn
from mda_aptnn import DipoleFlux, FixedCharges
from mda_aptnn.cli import app
from mda_aptnn.data import WATER64_TOPOLOGY
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.labels.dataset import write_xyz
from tests import ROOT, examples, tiny, trajectory_files
from tests.labelling_data import DATA, unpack

LISTED = "docs/examples.md"
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("README.md", "docs/*.md", "tutorials/**/*.md")
    for path in ROOT.glob(pattern)
)
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def listed() -> list[tuple[str, str]]:
    """Page and beginning of each block that is not run, from the table."""
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (.+?) \|$", (ROOT / LISTED).read_text(), re.M)
    assert rows and all(len(reason) > 10 for _, _, reason in rows)
    return [(page, begin) for page, begin, _ in rows]


def is_listed(block: examples.Block) -> bool:
    return any(block.page == page and block.code.startswith(begin) for page, begin in listed())


def test_the_list_names_blocks_that_are_there():
    found = [block for page in PAGES for block in examples.blocks(ROOT, page)]
    for page, begin in listed():
        assert any(block.page == page and block.code.startswith(begin) for block in found), (
            page,
            begin,
        )
    assert sum(not is_listed(block) for block in found) > 30


def test_the_readme_names_every_command():
    text = (ROOT / "README.md").read_text()
    commands = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(commands) > 15
    for name in [*commands, *(group.name for group in app.registered_groups)]:
        assert re.search(rf"`{name}`|mda-aptnn {name}\b", text), name


def test_a_new_block_is_found(tmp_path):
    text = "words\n\n```bash\na \\\n  b && c\n```\n\n- item\n\n  ```python\n  x = 1\n  ```\n\n"
    text += "    mda-aptnn demo\n\n    ω = 2\n"
    (tmp_path / "page.md").write_text(text)
    found = examples.blocks(tmp_path, "page.md")
    assert [(block.line, block.language, block.code) for block in found] == [
        (3, "bash", "a \\\n  b && c\n"),
        (10, "python", "x = 1\n"),
        (14, "", "mda-aptnn demo\n"),
    ]
    assert examples.commands(found[0].code) == ["a    b", "c"]
    with pytest.raises(AssertionError, match="not on the list"):
        examples.run(found[2], {}, shortened)


def shortened(command: str) -> str:
    """Training takes two steps, a committee has two members, a teacher four frames;
    docs/examples.md says so.
    """
    if "--model committee.h5" in command and command.startswith(
        ("mda-aptnn spectrum", "mda-aptnn flux")
    ):
        # trained for two steps it is as wrong as no model, which is refused
        return f"{command} --allow-outside-domain"
    if command.startswith("mda-aptnn distil"):
        return command.replace("--count 200", "--count 4") + " --steps 2"
    if command.startswith("mda-aptnn train"):
        frames = " --count 4" if "--trajectory" in command else ""
        return command.replace("--members 4", "--members 2") + " --steps 2" + frames
    return command


NAMES = ("OW", "HW1", "HW2")


def write_tpr(folder: Path) -> None:
    """Write topol.tpr of 64 flexible waters, by GROMACS."""
    positions = MDAnalysis.Universe(WATER64_TOPOLOGY).atoms.positions / 10
    rows = [
        f"{i // 3 + 1:5d}{'SOL':<5}{NAMES[i % 3]:>5}{i + 1:5d}{x:8.3f}{y:8.3f}{z:8.3f}"
        for i, (x, y, z) in enumerate(positions)
    ]
    (folder / "start.gro").write_text(
        "\n".join(["water", str(len(rows)), *rows, "1.24210 1.24210 1.24210", ""])
    )
    (folder / "topol.top").write_text(
        '#define FLEXIBLE\n#include "oplsaa.ff/forcefield.itp"\n#include "oplsaa.ff/spc.itp"\n'
        "[ system ]\nwater\n[ molecules ]\nSOL 64\n"
    )
    (folder / "md.mdp").write_text("integrator = md\nrlist = 0.6\nrcoulomb = 0.6\nrvdw = 0.6\n")
    command = "gmx grompp -f md.mdp -c start.gro -p topol.top -o topol.tpr -maxwarn 3"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=60)


def write_data(folder: Path) -> None:
    """Write water.data, as LAMMPS reads it, of the same molecules."""
    lines = ["water", "", "192 atoms", "128 bonds", "2 atom types", "1 bond types", ""]
    lines += [f"0 12.421 {axis}lo {axis}hi" for axis in "xyz"] + [
        "",
        "Masses",
        "",
        "1 15.9994",
        "2 1.008",
        "",
    ]
    lines += ["Atoms # full", ""]
    for i, position in enumerate(MDAnalysis.Universe(WATER64_TOPOLOGY).atoms.positions):
        kind, charge = (2, 0.41) if i % 3 else (1, -0.82)
        lines.append(
            f"{i + 1} {i // 3 + 1} {kind} {charge} {' '.join(f'{x:.6f}' for x in position)}"
        )
    lines += ["", "Bonds", ""] + [
        f"{2 * k + h} 1 {3 * k + 1} {3 * k + 1 + h}" for k in range(64) for h in (1, 2)
    ]
    (folder / "water.data").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the pages take for granted: 4 ps of real water every 4 fs in each format, labels, a
    template.
    """
    folder = tmp_path_factory.mktemp("files")
    whole = trajectory_files.water(2091)

    def every_second(first):
        return dataclasses.replace(
            whole,
            times=whole.times[:2051:2],
            **{
                name: getattr(whole, name)[first : first + 2051 : 2]
                for name in ("positions", "velocities", "cells")
            },
        )

    sample = every_second(0)
    for name in ("traj.trr", "water.trr", "md.xtc"):
        trajectory_files.write(sample, folder / name)
    for number in (1, 2, 3, 4):
        trajectory_files.write(every_second(10 * number), folder / f"bead-{number}.trr")
    for name in ("water.pdb", "md.pdb", "topology.pdb"):
        shutil.copy(WATER64_TOPOLOGY, folder / name)
    MDAnalysis.Universe(WATER64_TOPOLOGY).atoms[:3].write(folder / "molecule.xyz")
    if shutil.which("gmx"):
        write_tpr(folder)
    write_data(folder)
    short = trajectory_files.water(501)  # every 2 fs, as the page on engines says
    trajectory_files.write(short, folder / "short.trr")
    trajectory_files.write_lammps(short, folder / "dump.lammpstrj", "real")
    trajectory_files.write_cp2k(sample, folder)
    (folder / "water-1.cell").unlink()  # the page says the cell
    shutil.copy(DATA / "water-modes.mol", folder / "water-VIBRATIONS-1.mol")
    labels = tiny.clusters(8)
    labels.subset(range(6)).save(folder / "labels.h5")
    write_xyz(labels.subset(range(6)), folder / "labels.xyz")
    write_xyz(labels.subset([6, 7]), folder / "test.xyz")
    template = (DATA / "water.inp").read_text()
    template = template.replace("PERIODIC NONE", "PERIODIC XYZ").replace("WAVELET", "PERIODIC")
    (folder / "user.inp").write_text(template)
    universe = MDAnalysis.Universe(str(folder / "water.pdb"), str(folder / "water.trr"))
    charges = FixedCharges({"O": -0.8, "H": 0.4})
    DipoleFlux(universe, charges).run().save(folder / "flux.h5")
    DipoleFlux(universe, charges, per="atom").run().save(folder / "atoms.h5")
    return folder


class Polarizable:
    """Fixed charges, and polarizability gradients that are symmetric in the first two indices."""

    charges = FixedCharges({"O": -0.8, "H": 0.4})

    def predict(self, frame):
        return self.charges.predict(frame)

    def predict_tensors(self, frame):
        strength = np.where(frame.numbers == 8, -0.6, 0.3)
        gradient = (
            np.einsum("ab,c->abc", np.eye(3), [1.0, 1.0, 1.0])
            + np.eye(3)[:, :, None] * np.eye(3)[:, None, :]
        )
        return {"apt": self.predict(frame), "pgt": strength[:, None, None, None] * gradient}


def names_of(folder: Path) -> dict:
    """What Python blocks take for granted: a Universe, a model, a frame, and the like."""

    def universe():
        return MDAnalysis.Universe(str(folder / "water.pdb"), str(folder / "water.trr"))

    own = universe()
    heights = np.array([ts.positions[::3, 2] - 6.21 for ts in own.trajectory], dtype=float)
    structure = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    modes = np.random.default_rng(0).normal(size=(3, 3, 3))
    return {
        "mda": MDAnalysis,
        "mda_aptnn": mda_aptnn,
        "DipoleFlux": DipoleFlux,
        "universe": own,
        "beads": [universe(), universe()],
        "frame": mda_aptnn.UniverseFrames(universe()).frame(),
        "model": Polarizable(),
        "heights": heights,
        "spectrum": FluxSeries.load(folder / "flux.h5").spectrum("300 K", "100 cm^-1"),
        "structure": structure,
        "displacements": modes,
    }


@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(page, files, tmp_path, monkeypatch):
    todo = [block for block in examples.blocks(ROOT, page) if not is_listed(block)]
    if not todo:
        return
    if any(".tpr" in block.code for block in todo) and not shutil.which("gmx"):
        pytest.skip("GROMACS is not installed: no .tpr")
    # a tutorial with files of its own is worked through in a copy of its folder
    own = (ROOT / page).parent if page.startswith("tutorials/") else None
    for path in [*files.iterdir(), *(own.glob("*.*") if own else ())]:
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("mda_aptnn.data.WATER64_TRAJECTORY", str(tmp_path / "short.trr"))
    names = names_of(tmp_path)
    for block in todo:
        if page == "docs/labelling.md" and "label run campaign" in block.code:
            # what was planned gives way to a campaign that CP2K has finished
            shutil.rmtree("campaign")
            unpack("water-field", tmp_path).rename("campaign")
        examples.run(block, names, shortened)
    for name in re.findall(r"\bgallery/([\w-]+\.png)", (ROOT / page).read_text()):
        assert (tmp_path / name).exists(), f"{page} shows {name}, and no block of it draws that"
