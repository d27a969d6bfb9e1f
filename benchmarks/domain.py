"""What the model's domain check says of liquids, ice, steam, surfaces and other substances: a
table.

    python benchmarks/domain.py                      # of the frames that are bundled with the tests
    python benchmarks/domain.py --make FOLDER        # makes them again: GROMACS some 2, CP2K 20 CPU
    minutes python benchmarks/domain.py --measures           # other measures of environments on the
    same frames

None of these frames was trained on, and none of the published labels is among them.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable
from pathlib import Path

import MDAnalysis as mda
import numpy as np
import torch

from mda_aptnn import load_model
from mda_aptnn.checks import Checks, Verdict
from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.model import domain, inputs
from mda_aptnn.model.predict import BUNDLED
from mda_aptnn.tensors import sum_rule_residual
from mda_aptnn.trajectory.universe_frames import UniverseFrames

FRAMES = Path(__file__).parents[1] / "tests" / "data" / "domain-frames.npz"
LABELS = [BUNDLED / "water32-rpbe-d3.xyz", BUNDLED / "water32-rpbe-d3-more.h5"]
#: Edge of a cubic cell of 216 waters at 1 g/cm³, in Å.
EDGE = 18.6206
#: Temperature of each run in K; those that begin with cp2k have the potential of the training's
#: trajectory.
RUNS = {
    "gromacs liquid": 300,
    "gromacs liquid 360 K": 360,
    "gromacs hot": 600,
    "gromacs compressed": 300,
    "gromacs gap": 300,
    "gromacs 0.3 of the density": 300,
    "gromacs steam": 500,
    "gromacs ice": 200,
    "gromacs salt": 300,
    "gromacs methanol": 300,
    "cp2k liquid 300 K": 300,
    "cp2k liquid 360 K": 360,
    "cp2k hot": 600,
    "cp2k compressed": 330,
    "cp2k ice": 250,
}
MDP = """
integrator = md
dt = 0.0005
nsteps = 8000
nstxout = 2000
define = -DFLEXIBLE
constraints = none
coulombtype = PME
rlist = {cutoff}
rcoulomb = {cutoff}
rvdw = {cutoff}
tcoupl = v-rescale
tc-grps = System
tau-t = 0.1
ref-t = {temperature}
gen-vel = yes
gen-temp = {temperature}
gen-seed = 1
ld-seed = 1
"""
TOP = "".join(f'#include "oplsaa.ff/{name}.itp"\n' for name in ("forcefield", "{kind}", "ions"))
METHANOL = """#include "oplsaa.ff/forcefield.itp"
[ moleculetype ]
MEOH 3
[ atoms ]
1 opls_157 1 MEO C  1  0.145
2 opls_156 1 MEO H1 1  0.04
3 opls_156 1 MEO H2 1  0.04
4 opls_156 1 MEO H3 1  0.04
5 opls_154 1 MEO O  1 -0.683
6 opls_155 1 MEO HO 1  0.418
[ bonds ]
1 2 1
1 3 1
1 4 1
1 5 1
5 6 1
[ angles ]
2 1 3 1
2 1 4 1
3 1 4 1
2 1 5 1
3 1 5 1
4 1 5 1
1 5 6 1
[ dihedrals ]
2 1 5 6 3
3 1 5 6 3
4 1 5 6 3
"""
SYSTEM = "[ system ]\nbox\n[ molecules ]\n"
INPUT = """&GLOBAL
  PROJECT run
  RUN_TYPE MD
  PRINT_LEVEL LOW
&END GLOBAL
&MOTION
  &MD
    ENSEMBLE NVT
    STEPS {steps}
    TIMESTEP 0.5
    TEMPERATURE {temperature}
    &THERMOSTAT
      TYPE CSVR
      REGION MASSIVE
      &CSVR
        TIMECON 20
      &END CSVR
    &END THERMOSTAT
  &END MD
  &PRINT
    &TRAJECTORY
      FORMAT XYZ
      UNIT angstrom
      &EACH
        MD 100
      &END EACH
    &END TRAJECTORY
    &RESTART OFF
    &END RESTART
    &RESTART_HISTORY OFF
    &END RESTART_HISTORY
  &END PRINT
&END MOTION
&FORCE_EVAL
  METHOD NNP
  &NNP
    NNP_INPUT_FILE_NAME NNP/bulkH2O-jcp2020-cnnp/nnp-1/input.nn
    SCALE_FILE_NAME NNP/bulkH2O-jcp2020-cnnp/nnp-1/scaling.data
    &MODEL
      WEIGHTS NNP/bulkH2O-jcp2020-cnnp/nnp-1/weights
    &END MODEL
  &END NNP
  &SUBSYS
    &CELL
      ABC {cell}
    &END CELL
    &COORD
{atoms}
    &END COORD
  &END SUBSYS
&END FORCE_EVAL
"""


def ice(
    repeat: tuple[int, int, int], length: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (OHH OHH ...) and cell edges in Å of ice Ih with disordered protons.

    Bonds between oxygens, 2.76 Å long, are given a direction at random; then single ones are turned
    round, never away from two protons for each oxygen, until all have two.
    """
    a = 2.76 * np.sqrt(8 / 3)
    edges = np.array([a, a * np.sqrt(3), 2.76 * 8 / 3])
    layers = [(0, 1 / 3), (1 / 2, 5 / 6)], [(0, 2 / 3), (1 / 2, 1 / 6)]
    sites = [
        (x, y, z)
        for layer, (low, high) in zip(layers, ((1, 7), (15, 9)), strict=True)
        for x, y in layer
        for z in (low / 16, high / 16)
    ]
    shifts = np.stack(np.meshgrid(*map(range, repeat), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    oxygens = ((np.array(sites) + shifts) * edges).reshape(-1, 3)
    cell = edges * repeat
    vectors = oxygens[None] - oxygens[:, None]
    vectors -= cell * np.round(vectors / cell)
    distances = np.linalg.norm(vectors, axis=2)
    i, j = np.nonzero(np.triu((distances > 0.1) & (distances < 3.0)))
    rng = np.random.default_rng(seed)
    giver, taker = np.where(rng.random(len(i)) < 0.5, [i, j], [j, i])
    given = np.bincount(giver, minlength=len(oxygens))
    while (given != 2).any():
        k = rng.integers(len(i))
        x, y = giver[k], taker[k]
        if abs(given[x] - 3) + abs(given[y] - 1) <= abs(given[x] - 2) + abs(given[y] - 2):
            giver[k], taker[k] = y, x
            given[x] -= 1
            given[y] += 1
    molecules: list[list[np.ndarray]] = [[oxygen] for oxygen in oxygens]
    for x, y in zip(giver, taker, strict=True):
        molecules[x].append(oxygens[x] + length * vectors[x, y] / distances[x, y])
    return np.array(molecules).reshape(-1, 3), cell


def write_gro(
    path: Path, names: list[str], residue: str, positions: np.ndarray, edges: np.ndarray
) -> None:
    """Write positions in Å as GROMACS reads them."""
    lines = ["made by benchmarks/domain.py", str(len(positions))]
    for k, (x, y, z) in enumerate(positions / 10):
        name = names[k % len(names)]
        lines.append(
            f"{k // len(names) + 1:5d}{residue:<5}{name:>5}{k + 1:5d}{x:8.3f}{y:8.3f}{z:8.3f}"
        )
    lines.append("".join(f"{edge / 10:10.5f}" for edge in edges))
    path.write_text("\n".join(lines) + "\n")


def spread_out(path: Path, target: Path, factor: float) -> None:
    """Scale a cell and the centres of its molecules, the molecules themselves kept as they are."""
    universe = mda.Universe(str(path))
    centres = []
    for residue in universe.residues:  # broken across the cell's faces
        first = residue.atoms.positions[0]
        edges = universe.dimensions[:3]
        near = residue.atoms.positions - first
        residue.atoms.positions = first + near - edges * np.round(near / edges)
        centres.append(residue.atoms.positions.mean(axis=0))
    for residue, centre in zip(universe.residues, centres, strict=True):
        residue.atoms.translate(centre * (factor - 1))
    universe.dimensions = [*(universe.dimensions[:3] * factor), 90, 90, 90]
    universe.atoms.write(str(target))


class Gromacs:
    """Runs of a classical force field (flexible SPC, OPLS-AA) in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def gmx(self, command: str, answer: str = "") -> None:
        """Run a program of GROMACS."""
        subprocess.run(
            ["gmx", *command.split()],
            cwd=self.folder,
            input=answer,
            text=True,
            check=True,
            capture_output=True,
        )

    def run(
        self, name: str, start: str, top: str, cutoff: float = 0.7, ensemble: str = ""
    ) -> list[Frame]:
        """Minimize and run, unless it is done; return the last three of its frames."""
        stem = name.replace(" ", "-")
        mdp = MDP.format(temperature=RUNS[name], cutoff=cutoff) + ensemble
        steep = mdp.replace("= md\n", "= steep\n").replace("nsteps = 8000", "nsteps = 300")
        for step, text in ((f"{stem}-em", steep), (stem, mdp)):
            if not (self.folder / f"{step}.gro").exists():
                (self.folder / f"{step}.mdp").write_text(text)
                self.gmx(f"grompp -f {step}.mdp -c {start} -p {top} -o {step}.tpr -maxwarn 5")
                self.gmx(f"mdrun -deffnm {step} -nt 1")
            start = f"{step}.gro"
        universe = mda.Universe(self.folder / f"{stem}.tpr", self.folder / f"{stem}.trr")
        frames = UniverseFrames(universe, velocities=None)
        return [frames.frame() for _ in universe.trajectory[-3:]]

    def all(self) -> dict[str, list[Frame]]:
        """Return the frames of every run of `RUNS`."""
        here, found = self.folder, {}
        water = [TOP.format(kind="spc"), SYSTEM]
        (here / "water.top").write_text("".join(water))
        box = " ".join([str(EDGE / 10)] * 3)
        self.gmx(f"solvate -cs spc216.gro -box {box} -p water.top -o water.gro")
        for name in ("gromacs liquid", "gromacs liquid 360 K", "gromacs hot"):
            found[name] = self.run(name, "water.gro", "water.top")
        for name, factor in (
            ("gromacs compressed", 1.3 ** (-1 / 3)),
            ("gromacs 0.3 of the density", 0.3 ** (-1 / 3)),
        ):
            spread_out(here / "water.gro", here / "scaled.gro", factor)
            found[name] = self.run(name, "scaled.gro", "water.top")
        self.gmx(f"editconf -f gromacs-liquid.gro -box {EDGE / 10} {EDGE / 10} 4.5 -o gap.gro")
        found["gromacs gap"] = self.run("gromacs gap", "gap.gro", "water.top")
        names = ["OW", "HW1", "HW2"]
        one = np.array([[0, 0, 0], [1.0, 0, 0], [-0.333, 0.943, 0]])
        write_gro(here / "one.gro", names, "SOL", one, np.full(3, 10.0))
        self.gmx("insert-molecules -ci one.gro -nmol 8 -box 4 4 4 -seed 1 -o steam.gro")
        (here / "steam.top").write_text("".join(water) + "SOL 8\n")
        found["gromacs steam"] = self.run("gromacs steam", "steam.gro", "steam.top")
        positions, edges = ice((3, 2, 2), 1.0)
        write_gro(here / "ice.gro", names, "SOL", positions, edges)
        (here / "ice.top").write_text("".join(water) + f"SOL {len(positions) // 3}\n")
        found["gromacs ice"] = self.run("gromacs ice", "ice.gro", "ice.top", cutoff=0.55)
        (here / "salt.top").write_text((here / "water.top").read_text())
        self.gmx("grompp -f gromacs-liquid.mdp -c water.gro -p salt.top -o ions.tpr -maxwarn 5")
        ions = "genion -s ions.tpr -p salt.top -o salt.gro -np 4 -nn 4 -pname NA -nname CL -seed 1"
        self.gmx(ions, "SOL\n")
        found["gromacs salt"] = self.run("gromacs salt", "salt.gro", "salt.top")
        xyz = [
            [0, 0, 0],
            [-0.36, 1.03, 0],
            [-0.36, -0.514, 0.89],
            [-0.36, -0.514, -0.89],
            [1.41, 0, 0],
            [1.71, -0.45, 0.8],
        ]
        write_gro(
            here / "m.gro",
            ["C", "H1", "H2", "H3", "O", "HO"],
            "MEO",
            np.array(xyz),
            np.full(3, 10.0),
        )
        self.gmx(
            "insert-molecules -ci m.gro -nmol 60 -box 1.9 1.9 1.9 -try 1000 -seed 1 -o "
            "methanol0.gro"
        )
        spread_out(
            here / "methanol0.gro",
            here / "methanol.gro",
            (60 * 32.042 / 0.602214 / 0.79) ** (1 / 3) / 19,
        )
        (here / "methanol.top").write_text(METHANOL + SYSTEM + "MEOH 60\n")
        found["gromacs methanol"] = self.run(
            "gromacs methanol", "methanol.gro", "methanol.top", cutoff=0.6
        )
        return found


def cp2k(folder: Path) -> dict[str, list[Frame]]:
    """Return frames of runs with the potential of the training's trajectory; those that are
    finished are kept.
    """
    start = read_labels(LABELS[0])[-1].frame
    edge = float(start.cell[0, 0])
    molecules = start.positions.reshape(-1, 3, 3)
    factor = 1.3 ** (-1 / 3)
    dense = (molecules + (factor - 1) * molecules[:, :1]).reshape(-1, 3)
    cubic = np.full(3, edge)
    systems = {
        "cp2k liquid 300 K": (start.positions, cubic, 1000),
        "cp2k liquid 360 K": (start.positions, cubic, 2000),
        "cp2k hot": (start.positions, cubic, 1500),
        "cp2k compressed": (dense, factor * cubic, 500),
        "cp2k ice": (*ice((3, 2, 2), 0.985), 1000),
    }
    found = {}
    for name, (positions, edges, steps) in systems.items():
        here = folder / name.replace(" ", "-")
        here.mkdir(parents=True, exist_ok=True)
        if not (here / "done").exists():
            rows = zip(["O", "H", "H"] * (len(positions) // 3), positions, strict=True)
            atoms = "\n".join(f"{symbol} {x:.6f} {y:.6f} {z:.6f}" for symbol, (x, y, z) in rows)
            cell = " ".join(f"{value:.5f}" for value in edges)
            text = INPUT.format(steps=steps, temperature=RUNS[name], cell=cell, atoms=atoms)
            (here / "run.inp").write_text(text)
            subprocess.run(["cp2k.psmp", "-i", "run.inp", "-o", "run.out"], cwd=here, check=True)
            (here / "done").touch()
        universe = mda.Universe(here / "run-pos-1.xyz")
        numbers = [8 if name == "O" else 1 for name in universe.atoms.names]
        found[name] = [
            Frame(numbers, step.positions, np.diag(edges), [True] * 3)
            for step in universe.trajectory[5::5]
        ]
    return found


def save(found: dict[str, list[Frame]], path: Path) -> None:
    """Write frames, wrapped and rounded to 1e-3 Å."""
    arrays = {}
    for name, frames in found.items():
        inside = [
            frame.positions @ np.linalg.inv(frame.cell) % 1.0 @ frame.cell for frame in frames
        ]
        arrays[f"{name}/positions"] = np.rint(1000 * np.array(inside)).astype(np.int32)
        arrays[f"{name}/cell"] = frames[0].cell
        arrays[f"{name}/numbers"] = frames[0].numbers.astype(np.int8)
    np.savez_compressed(path, **arrays)


def load(path: Path = FRAMES) -> dict[str, list[Frame]]:
    """Return what `save` wrote."""
    with np.load(path) as arrays:
        names = [key.removesuffix("/cell") for key in arrays if key.endswith("/cell")]
        return {
            name: [
                Frame(
                    arrays[f"{name}/numbers"], positions / 1000, arrays[f"{name}/cell"], [True] * 3
                )
                for positions in arrays[f"{name}/positions"]
            ]
            for name in names
        }


def others() -> dict[str, list[Frame]]:
    """Return frames that are bundled or labelled: held out, the trajectory, molecules in vacuum."""
    held = set(load_model("water-rpbe-d3", engine="torch").info["data"]["fingerprints"]["held_out"])
    universe = mda.Universe(str(WATER64_TOPOLOGY), str(WATER64_TRAJECTORY))
    frames = UniverseFrames(universe, velocities=None)
    tutorials = Path(__file__).parents[1] / "tutorials"
    return {
        "held-out frames": [
            item.frame for item in read_labels(LABELS) if item.frame.fingerprint() in held
        ],
        "bundled trajectory": [
            frames.frame() for _ in universe.trajectory[:: len(universe.trajectory) // 40]
        ],
        "a molecule in vacuum": [
            item.frame for item in read_labels(tutorials / "domain" / "gas.h5")
        ],
        "hydrogen peroxide": [
            item.frame for item in read_labels(tutorials / "learning" / "test.h5")
        ][:1],
    }


def table(systems: dict[str, list[Frame]]) -> None:
    """Print numbers and verdicts of each sample, and of how many of its frames alone something is
    not fine.
    """
    model = load_model("water-rpbe-d3")
    statistics = model.info["domain"]["environments"]
    words = {"temperature against training": "temperature", "environments of atoms": "environments"}
    print(
        "| sample | atoms | density, g/cm³ | not met: H | O | mean: H | O | Σ P / √N, e | refused "
        "| look | alone |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, frames in systems.items():
        checks = domain.domain_checks(model, frames, RUNS.get(name))
        row = [name, len(frames[0]), checks[1].found.removesuffix(" g/cm^3")]
        if len(checks) > 3:
            each = domain.compare_environments(statistics, frames)
            row += [f"{100 * share:.1f} %" for _, share, *_ in each] + [
                f"{shift:.1f}" for _, _, shift, *_ in each
            ]
            values = [
                sum_rule_residual(model.predict(frame)) / np.sqrt(len(frame)) for frame in frames
            ]
            row.append(f"{np.sqrt(np.mean(np.square(values))):.4f}")
        else:
            row += [""] * 5
        for verdict in (Verdict.REFUSED, Verdict.LOOK):
            found = [
                words.get(check.name, check.name.split(",")[0])
                for check in checks
                if check.verdict is verdict
            ]
            row.append(", ".join(found).replace("acoustic ", ""))
        alone = sum(
            bool(Checks(tuple(domain.domain_checks(model, [frame]))).doubtful) for frame in frames
        )
        print("| " + " | ".join(map(str, [*row, f"{alone} of {len(frames)}"])) + " |")


def measures(systems: dict[str, list[Frame]]) -> None:
    """Print share beyond the limit and shift of the mean by other measures, H and O."""
    model = load_model("water-rpbe-d3", engine="torch")
    network = model.contents.build(dtype=torch.float64)
    known = set(model.info["data"]["fingerprints"]["training"])
    trained = [item.frame for item in read_labels(LABELS) if item.frame.fingerprint() in known]

    def densities(cutoff: float, n_radial: int, lmax: int) -> Callable[[Frame], np.ndarray]:
        def of(frame: Frame) -> np.ndarray:
            values = inputs.densities(frame, [1, 8], cutoff, n_radial, lmax)
            parts = [
                values[0],
                *(np.linalg.norm(values[n**2 : (n + 1) ** 2], axis=0) for n in range(1, lmax + 1)),
            ]
            return np.concatenate(parts, axis=1)

        return of

    def first_layer(frame: Frame) -> np.ndarray:
        inputs = network.inputs(frame)
        found = network.layers[0]({}, inputs, 0, network._counts(inputs))
        parts = [
            found[0, 1][0],
            *(values.norm(dim=0) for irrep, values in found.items() if irrep != (0, 1)),
        ]
        return torch.cat(parts, dim=1)[inputs.places].numpy()

    def last_layer(frame: Frame) -> np.ndarray:
        inputs = network.inputs(frame)
        return network.body(inputs)[0, 1][0][inputs.places].numpy()

    candidates = {
        f"{r:g} Å, {n} functions, l ≤ {lmax}": densities(r, n, lmax)
        for r, n, lmax in (
            (6, 6, 0),
            (6, 8, 0),
            (6, 12, 0),
            (4.5, 6, 0),
            (7, 8, 0),
            (6, 4, 2),
            (6, 8, 2),
        )
    }
    candidates |= {
        "scalars and lengths after the first layer": first_layer,
        "scalars before the last": last_layer,
    }
    systems = {name: frames for name, frames in systems.items() if set(frames[0].numbers) <= {1, 8}}
    kept = domain.environments
    try:
        for title, measure in candidates.items():
            domain.environments = lambda frame, *_, measure=measure: measure(frame)  # type: ignore[assignment]
            statistics = domain.environment_statistics(
                (frame, np.ones(len(frame), bool)) for frame in trained
            )
            print(f"\n{title}: {len(statistics['of']['H']['mean'])} numbers")
            for name, frames in systems.items():
                rows = domain.compare_environments(statistics, frames)
                print(
                    f"  {name:28}"
                    + "  ".join(f"{row[0]} {100 * row[1]:6.2f} % {row[2]:6.2f}" for row in rows)
                )
    finally:
        domain.environments = kept


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--make", type=Path, metavar="FOLDER")
    parser.add_argument("--frames", type=Path, default=FRAMES)
    parser.add_argument("--measures", action="store_true")
    given = parser.parse_args()
    if given.make:
        save(Gromacs(given.make / "gromacs").all() | cp2k(given.make), given.frames)
    systems = others() | load(given.frames)
    (measures if given.measures else table)(systems)


if __name__ == "__main__":
    main()
