"""Mistakes that a user can make, and the message that each is answered with.

    python -m tests.mistakes > docs/mistakes.md

Each is a command as it would be typed, in a folder with a short trajectory of real water and two
labelled frames.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.data import WATER64_TOPOLOGY
from mda_aptnn.labels.dataset import Dataset, read_labels, write_xyz
from mda_aptnn.model.predict import BUNDLED
from mda_aptnn.spectra.infrared import Spectrum
from tests import trajectory_files
from tests.labelling_data import DATA

#: (what was done, command): a command fails with a line on stderr and an exit code that is not 0.
MISTAKES: list[tuple[str, str]] = [
    ("a file that is not there", "spectrum water.pdb missing.trr"),
    ("a trajectory of another system", "spectrum two.xyz water.trr"),
    ("a file that is no trajectory", "spectrum water.pdb user.inp"),
    ("a trajectory without velocities", "spectrum water.pdb water.xtc"),
    ("LAMMPS velocities without a unit", "flux water.pdb water.lammpsdump --time-step '2 fs'"),
    (
        "LAMMPS velocities in the wrong unit",
        "flux water.pdb water.lammpsdump --time-step '2 fs' --velocity-unit bohr/fs",
    ),
    (
        "a LAMMPS dump with units and times in it",
        "flux water.pdb units.lammpsdump --time-step '2 fs' --velocity-unit angstrom/ps",
    ),
    (
        "the step of the simulation, where that of the frames is meant",
        "flux water.pdb water.lammpsdump --time-step '0.5 fs' --velocity-unit angstrom/ps",
    ),
    ("a word that is no unit", "flux water.pdb water.trr --velocity-unit furlong"),
    ("a unit of another dimension", "flux water.pdb water.trr --velocity-unit kelvin"),
    ("a model that is not there", "flux water.pdb water.trr --model water-pbe"),
    (
        "several models, and not whose they are",
        "flux water.pdb water.trr --model water-rpbe-d3 --model 'element O=water-rpbe-d3'",
    ),
    (
        "atoms of two models",
        "flux water.pdb water.trr --model 'all=water-rpbe-d3' --model 'index 5:6=water-rpbe-d3'",
    ),
    ("atoms without a model", "flux water.pdb water.trr --model 'element O=water-rpbe-d3'"),
    ("a file that is no model", "flux water.pdb water.trr --model labels.xyz"),
    ("a model file cut short", "flux water.pdb water.trr --model cut.h5"),
    ("a model file with a flipped bit", "flux water.pdb water.trr --model flipped.h5"),
    ("labels for a model", "flux water.pdb water.trr --model labels.h5"),
    ("a program that no model is of", "flux water.pdb water.trr --model gaussian:PBE0"),
    ("a topology without charges", "flux water.pdb water.trr --model charges:topology"),
    ("charges of a file that is not there", "flux water.pdb water.trr --model charges:q.toml"),
    ("stored tensors of other frames", "flux water.pdb water.trr --model labels:labels.h5"),
    ("a method of xTB that there is not", "flux water.pdb water.trr --model xtb:GFN3"),
    ("a predictor in no module", "flux water.pdb water.trr --model python:nowhere.Model"),
    ("an element that the model does not know", "predict salt.xyz --cell '12 12 12 90 90 90'"),
    ("a bulk trajectory without a cell, said to be periodic", "predict two.xyz --pbc xyz"),
    ("a cell of five numbers", "predict two.xyz --cell '12 12 12 90 90'"),
    ("periodic directions that are none", "predict two.xyz --pbc round"),
    ("two atoms on top of each other", "predict clash.xyz --pbc none"),
    ("a group that matches nothing", "flux water.pdb water.trr --group 'Na=element Na'"),
    (
        "groups that overlap",
        "flux water.pdb water.trr --group 'O=element O' --group 'first=index 0:5'",
    ),
    ("a group without a name", "flux water.pdb water.trr --group 'element O'"),
    ("a selection with a mistake", "flux water.pdb water.trr --group 'O=elemnt O'"),
    ("the same name twice", "flux water.pdb water.trr --group 'O=element O' --group 'O=element H'"),
    ("frames beyond the end", "flux water.pdb water.trr --start 500"),
    ("one frame", "flux water.pdb water.trr --stop 1"),
    ("a sum rule that there is not", "flux water.pdb water.trr --sum-rule some"),
    ("an output in a folder that is not there", "flux water.pdb water.trr -o out/flux.h5"),
    ("an output that is a folder", "flux water.pdb water.trr -o ."),
    ("a resolution in kelvin", "spectrum flux.h5 --resolution '10 K'"),
    ("a finer resolution than the run allows", "spectrum flux.h5 --resolution '10 cm^-1'"),
    ("a negative temperature", "spectrum flux.h5 --resolution '1000 cm^-1' --temperature=-300K"),
    ("a window that there is not", "spectrum flux.h5 --resolution '1000 cm^-1' --window triangle"),
    (
        "a picture of an unknown kind",
        "spectrum flux.h5 --resolution '1000 cm^-1' --plot water.docx",
    ),
    (
        "new groups from a flux of groups",
        "spectrum flux.h5 --resolution '1000 cm^-1' --group 'O=element O'",
    ),
    (
        "an absorbance without a path length",
        "spectrum flux.h5 --resolution '1000 cm^-1' --quantity absorbance",
    ),
    (
        "a transmittance without a refractive index",
        "spectrum flux.h5 --resolution 1000cm-1 --quantity transmittance --path-length 10um",
    ),
    (
        "a path length of a sample without a volume",
        "bands gas.h5 --band 1000-3000 --quantity absorbance --path-length 10um",
    ),
    ("a range outside of the spectrum", "bands spectrum.h5 --band 5000-90000"),
    ("a measured spectrum without a quantity", "compare spectrum.h5 bare.csv --band 1000-3000"),
    (
        "a measured spectrum without a base",
        "compare spectrum.h5 bare.csv --band 1000-3000 --quantity alpha --x-unit cm-1",
    ),
    (
        "a band that was not measured",
        "compare spectrum.h5 bare.csv --band 100-3000 --quantity k --x-unit cm-1 --scaled",
    ),
    (
        "a measured spectrum of the same trajectory",
        "compare spectrum.h5 bare.csv --band 1000-3000 --same-trajectory",
    ),
    ("ranges of bands that overlap", "bands spectrum.h5 --band 1000-3000 --band 2000-4000"),
    ("a band outside of the ranges", "bands spectrum.h5 --band 1000-3000 --at 5000"),
    (
        "a resolution that is not chosen by itself",
        "convergence flux.h5 --band 1000-3000 --resolution auto",
    ),
    ("a flux file cut short", "spectrum cut-flux.h5 --resolution '1000 cm^-1'"),
    ("a part that there is not", "flux water.pdb water.trr --part 4/3"),
    ("a part of a run that is missing", "merge part-1of3.h5 part-3of3.h5"),
    ("a Dask scheduler that is not there", "flux water.pdb water.trr --dask scheduler.json"),
    ("labels that do not match the files", "plot spectrum.h5 spectrum.h5 --label one"),
    ("a range to plot outside of the spectrum", "plot spectrum.h5 --range 90000-95000"),
    ("a picture of a flux", "plot flux.h5"),
    ("training on one frame", "train one.xyz"),
    ("labels that are all NaN", "train nan.xyz"),
    ("a configuration without labels", "train two.xyz --cell none"),
    ("a plan with a misspelt key", "train labels.xyz --config misspelt.toml"),
    ("a plan that is not TOML", "train labels.xyz --config user.inp"),
    ("more validation frames than there are", "train labels.xyz --validation-frames 5"),
    ("a test on frames of the training", "evaluate water-rpbe-d3 training.xyz"),
    (
        "a CP2K input that is not there",
        "label plan water.pdb water.trr --template missing.inp --frames 2",
    ),
    (
        "a CP2K input with @INCLUDE",
        "label plan water.pdb water.trr --template include.inp --frames 2",
    ),
    (
        "a CP2K input without FORCE_EVAL",
        "label plan water.pdb water.trr --template empty.inp --frames 2",
    ),
    (
        "a box of water for PySCF, which computes in vacuum",
        "label plan water.pdb water.trr --code pyscf --template pyscf.toml --frames 2 -o by-pyscf",
    ),
    (
        "a setting that PySCF has not",
        "label plan two.xyz --code pyscf --template misspelt-pyscf.toml --frames 1",
    ),
    (
        "an ASE calculator without dipoles",
        "label plan two.xyz --code ase --template emt.toml --frames 1",
    ),
    ("a campaign that is not there", "label run nowhere --command cp2k.psmp"),
    ("a program that is not there", "label run campaign --command cp3k"),
    ("collecting before running", "label collect campaign"),
]


def prepare(folder: Path) -> None:
    """Write the files that the commands name."""
    sample = trajectory_files.water(24)
    (folder / "water.pdb").write_bytes(Path(WATER64_TOPOLOGY).read_bytes())
    trajectory_files.write(sample, folder / "water.trr")
    trajectory_files.write(sample, folder / "water.xtc")
    trajectory_files.write_lammps(sample, folder / "water.lammpsdump", "metal")
    dump = (folder / "water.lammpsdump").read_text()
    (folder / "units.lammpsdump").write_text(f"ITEM: UNITS\nmetal\n{dump}")
    geometry = {
        "two": "O 0 0 0\nO 0 0 5\n",
        "salt": "Na 0 0 0\nCl 0 0 3\n",
        "clash": "O 0 0 0\nH 0 0 0\nH 0 0 1\n",
    }
    for name, lines in geometry.items():
        (folder / f"{name}.xyz").write_text(f"{lines.count(chr(10))}\n\n{lines}")
    labels = read_labels(BUNDLED / "water32-rpbe-d3.xyz")
    two = labels.subset([0, 1])
    write_xyz(two, folder / "labels.xyz")
    write_xyz(labels, folder / "training.xyz")
    two.save(folder / "labels.h5")
    write_xyz(labels.subset([0]), folder / "one.xyz")
    for item in two:
        item.apt[:] = np.nan
    write_xyz(Dataset(list(two), two.level_of_theory), folder / "nan.xyz")
    (folder / "misspelt.toml").write_text("[training]\nstep = 100\n")
    (folder / "pyscf.toml").write_text('xc = "PBE"\nbasis = "def2-svp"\n')
    (folder / "misspelt-pyscf.toml").write_text('functional = "PBE"\nbasis = "def2-svp"\n')
    (folder / "emt.toml").write_text('calculator = "ase.calculators.emt.EMT"\n')
    template = (DATA / "water.inp").read_text()
    template = template.replace("PERIODIC NONE", "PERIODIC XYZ").replace("WAVELET", "PERIODIC")
    (folder / "user.inp").write_text(template)
    (folder / "include.inp").write_text(template.replace("&DFT", "@INCLUDE 'dft.inc'\n&DFT", 1))
    (folder / "empty.inp").write_text("&GLOBAL\n  RUN_TYPE ENERGY\n&END GLOBAL\n")
    model = (BUNDLED / "water-rpbe-d3.h5").read_bytes()
    (folder / "cut.h5").write_bytes(model[: len(model) // 2])
    middle = len(model) // 2
    (folder / "flipped.h5").write_bytes(
        model[:middle] + bytes([model[middle] ^ 1]) + model[middle + 1 :]
    )
    # what succeeds, once
    answer("flux water.pdb water.trr -o flux.h5", succeeds=True)
    for number in (1, 3):
        answer(f"flux water.pdb water.trr --part {number}/3 -o part.h5", succeeds=True)
    flux = (folder / "flux.h5").read_bytes()
    (folder / "cut-flux.h5").write_bytes(flux[: len(flux) // 2])
    answer("spectrum flux.h5 --resolution 1000cm-1 -o spectrum.h5", succeeds=True)
    gas = Spectrum.load(folder / "spectrum.h5")
    dataclasses.replace(gas, volume=None).save(folder / "gas.h5")
    rows = [f"{wavenumber},1.5\n" for wavenumber in range(900, 3200, 20)]
    (folder / "bare.csv").write_text("".join(rows))
    answer(
        "label plan water.pdb water.trr --template user.inp --frames 2 -o campaign", succeeds=True
    )


def answer(command: str, succeeds: bool = False) -> str:
    """Return the last line on stderr of a command.

    Raises
    ------
    AssertionError
        If it succeeds and should not, or the other way round, or shows a traceback.
    """
    result = CliRunner().invoke(app, shlex.split(command))
    said = result.stderr.strip().splitlines()
    traceback = result.exception is not None and not isinstance(result.exception, SystemExit)
    assert not traceback, (command, result.exception)
    assert (result.exit_code == 0) == succeeds, (command, result.exit_code, result.output)
    return said[-1] if said else ""


#: Words of other packages within our messages, which are theirs to change.
_OF_OTHERS = (
    r"(MDAnalysis cannot read .*?: ).*?(; )",
    r"(is no selection of MDAnalysis: ).*?( \|)",
    r"(is not a complete HDF5 file \().*(\))",
    r"(is not TOML: ).*?( \|)",
    r"(the ending must be one of ).*?( \|)",
)


def without_others(page: str) -> str:
    """Return the page with "..." for what MDAnalysis, HDF5, matplotlib and tomllib say in it."""
    for pattern in _OF_OTHERS:
        page = re.sub(pattern, r"\1...\2", page)
    return page


def table() -> str:
    """Make every mistake and return the page."""
    lines = [
        "# Error messages",
        "",
        "What common mistakes are answered with. Every command was run, by "
        "`python -m tests.mistakes > docs/mistakes.md`.",
        "Each ends with an exit code that is not 0, before anything is computed that would be "
        "lost.",
        "",
        "| mistake | command (`mda-aptnn ...`) | message |",
        "|---|---|---|",
    ]
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            prepare(Path(folder))
            for what, command in MISTAKES:
                said = answer(command).removeprefix("error: ").removeprefix("Error: ")
                said = said.replace(str(Path(folder).resolve()) + "/", "").replace(folder + "/", "")
                lines.append(f"| {what} | `{command}` | {said.replace('|', chr(92) + '|')} |")
        finally:
            os.chdir(before)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
