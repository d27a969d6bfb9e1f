"""The boxes of the liquids campaign: contents, edges, and the order of labelling.

    python benchmarks/liquids/boxes.py        # writes boxes.csv, prints how many of each family

Every box is cubic, neutral, has an edge of 8.15 Å or more and, where its molecules are small, 50
to 70 atoms. A box with one held-out compound is a held-out box. In the order of the table each
part is a stratified random sample: a campaign may stop after any box.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import itertools
import random
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from compounds import SOLUBLE, compounds

HERE = Path(__file__).parent
SEED = 18
EDGE = 8.15
AVOGADRO = 0.602214
#: Of ions of one atom in a dense solution, in Å³, from their radii and partial molar volumes.
ION_VOLUMES = {"sodium": 5.0, "magnesium": 2.0, "chloride": 35.0, "fluoride": 15.0}
MASSES = {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "F": 18.998, "Na": 22.990}
MASSES |= {"Mg": 24.305, "P": 30.974, "S": 32.06, "Cl": 35.45}

SALTS = """
sodium chloride; sodium fluoride; magnesium chloride; sodium acetate; sodium formate
sodium nitrate; sodium sulfate; sodium hydrogen sulfate; sodium methyl sulfate
sodium methanesulfonate; sodium hydrogen phosphate; sodium dihydrogen phosphate
sodium dimethyl phosphate; sodium hexafluorophosphate; sodium perchlorate; sodium thiocyanate
sodium dicyanamide; sodium bicarbonate; sodium azide; sodium trifluoroacetate; ammonium chloride
methylammonium chloride; ethylammonium chloride; tetramethylammonium chloride; choline chloride
guanidinium chloride; imidazolium chloride; 1,3-dimethylimidazolium chloride
1-methylpyridinium chloride; 1,1-dimethylpyrrolidinium chloride; tetramethylphosphonium chloride
trimethylsulfonium chloride; ammonium nitrate; ammonium fluoride; ammonium dihydrogen phosphate
magnesium nitrate; magnesium acetate; magnesium sulfate; magnesium perchlorate
magnesium dimethyl phosphate; magnesium formate; tetramethylammonium fluoride
guanidinium nitrate; imidazolium acetate
"""
IONIC_LIQUIDS = """
1,3-dimethylimidazolium chloride; 1,3-dimethylimidazolium nitrate
1,3-dimethylimidazolium acetate; 1,3-dimethylimidazolium dicyanamide
1,3-dimethylimidazolium methanesulfonate; 1,3-dimethylimidazolium perchlorate
1,3-dimethylimidazolium dimethyl phosphate; 1,3-dimethylimidazolium trifluoroacetate
1-methylpyridinium dicyanamide; 1-methylpyridinium nitrate; choline acetate
choline dihydrogen phosphate; ethylammonium nitrate; ethylammonium formate
methylammonium formate; methylammonium nitrate; tetramethylammonium dicyanamide
tetramethylphosphonium trifluoroacetate; trimethylsulfonium dicyanamide
1-ethyl-3-methylimidazolium dicyanamide; 1-ethyl-3-methylimidazolium acetate
1-ethyl-3-methylimidazolium hexafluorophosphate; 1,1-dimethylpyrrolidinium dicyanamide
ammonium thiocyanate
"""
ELECTROLYTES = """
sodium perchlorate in propylene carbonate; sodium hexafluorophosphate in ethylene carbonate
sodium perchlorate in acetonitrile; sodium dicyanamide in dimethyl sulfoxide
sodium chloride in methanol; sodium chloride in formamide; magnesium chloride in tetrahydrofuran
magnesium chloride in methanol; magnesium perchlorate in acetonitrile
ammonium nitrate in dimethyl sulfoxide; ammonium chloride in ammonia
sodium fluoride in ethylene glycol; tetramethylammonium chloride in N-methylformamide
sodium thiocyanate in ethanol; sodium nitrate in glycerol
"""


@dataclasses.dataclass(frozen=True)
class Box:
    """A cubic box.

    Attributes
    ----------
    name, family : str
        `family` is "pure", "aqueous", "mixture", "salt", "ionic liquid" or "electrolyte".
    counts : dict of str to int
        Molecules of each compound.
    edge : float
        In Å.
    """

    name: str
    family: str
    counts: dict[str, int]
    edge: float

    @property
    def held_out(self) -> bool:
        """Whether any of its compounds is."""
        return any(COMPOUNDS[name].held_out for name in self.counts)

    @property
    def key(self) -> str:
        """A name for files."""
        return re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-").lower()

    @property
    def seed(self) -> int:
        """Of all random numbers of this box."""
        return int(hashlib.sha256(self.name.encode()).hexdigest()[:8], 16)

    @property
    def charge(self) -> int:
        """Total charge in e."""
        return sum(count * COMPOUNDS[name].charge for name, count in self.counts.items())

    @property
    def density(self) -> float:
        """In g/cm³."""
        mass = sum(count * mass_of(name) for name, count in self.counts.items())
        return mass / (AVOGADRO * self.edge**3)

    @property
    def n_atoms(self) -> int:
        """How many atoms it has."""
        return sum(count * len(symbols(name)) for name, count in self.counts.items())


COMPOUNDS = compounds()
_SYMBOLS: dict[str, list[str]] = {}


def molecule(name: str):
    """Return the RDKit molecule of a compound, with its hydrogens."""
    from rdkit import Chem

    return Chem.AddHs(Chem.MolFromSmiles(COMPOUNDS[name].smiles))


def symbols(name: str) -> list[str]:
    """Return the elements of a compound's atoms."""
    if name not in _SYMBOLS:
        _SYMBOLS[name] = [atom.GetSymbol() for atom in molecule(name).GetAtoms()]
    return _SYMBOLS[name]


def mass_of(name: str) -> float:
    """Return the mass of a molecule in u."""
    return sum(MASSES[symbol] for symbol in symbols(name))


def volume_of(name: str) -> float:
    """Return the volume of a molecule in Å³: from the density of its liquid, else estimated.

    The estimate adds relative volumes (H 1, second row 2, third row 4; 5 cm³/mol each). Each ring
    and each group that makes hydrogen bonds raises the density by 10 %, 30 % at most
    (G. S. Girolami, J. Chem. Educ. 71, 962 (1994)).
    """
    compound = COMPOUNDS[name]
    if name in ION_VOLUMES:
        return ION_VOLUMES[name]
    if compound.density:
        return mass_of(name) / (AVOGADRO * compound.density)
    relative = sum({"H": 1, "P": 4, "S": 4, "Cl": 4}.get(symbol, 2) for symbol in symbols(name))
    found = molecule(name)
    groups = sum(a.GetSymbol() in "NO" and a.GetTotalNumHs(True) > 0 for a in found.GetAtoms())
    dense = 1 + 0.1 * min(3, groups + found.GetRingInfo().NumRings())
    return 5 * relative / dense / AVOGADRO


def make_box(name: str, family: str, unit: dict[str, int], filler: str | None = None) -> Box:
    """Return the smallest box of at least `EDGE`: a unit, and what fills up the rest."""

    def volume(counts: dict[str, int]) -> float:
        return sum(count * volume_of(each) for each, count in counts.items())

    counts = Counter(unit)
    # what is added next: a solvent molecule, the liquids in turn, or a whole formula of a salt
    single = [{filler: 1}] if filler else [{each: 1} for each in unit]
    steps = itertools.cycle([unit] if family == "ionic liquid" else single)
    while volume(counts) < EDGE**3 or (filler and counts[filler] < 1):
        counts.update(next(steps))
    return Box(name, family, dict(counts), round(volume(counts) ** (1 / 3), 4))


def neutral_unit(cation: str, anion: str) -> dict[str, int]:
    """Return the numbers of both ions in the formula of their salt."""
    plus, minus = COMPOUNDS[cation].charge, -COMPOUNDS[anion].charge
    common = 2 if plus == minus == 2 else 1
    return {cation: minus // common, anion: plus // common}


def split_salt(salt: str) -> tuple[str, str]:
    """Return cation and anion of "sodium hydrogen sulfate"."""
    for cation in COMPOUNDS:
        if salt.startswith(cation + " ") and COMPOUNDS[cation].charge > 0:
            return cation, salt[len(cation) + 1 :]
    raise ValueError(f"no cation in {salt!r}")


def items(text: str) -> list[str]:
    """Return the entries of one of the lists above."""
    return [part.strip() for part in re.split(r"[;\n]", text) if part.strip()]


def all_boxes() -> list[Box]:
    """Return all boxes, family by family."""
    pure = [make_box(c.name, "pure", {c.name: 1}) for c in COMPOUNDS.values() if c.density]
    salts = [
        make_box(f"{salt}, water", "salt", neutral_unit(*split_salt(salt)), "water")
        for salt in items(SALTS)
    ]
    ionic = [
        make_box(salt, "ionic liquid", neutral_unit(*split_salt(salt)))
        for salt in items(IONIC_LIQUIDS)
    ]
    electrolytes = []
    for text in items(ELECTROLYTES):
        salt, solvent = text.split(" in ")
        unit = neutral_unit(*split_salt(salt))
        electrolytes.append(make_box(f"{salt}, {solvent}", "electrolyte", unit, solvent))
    return [*pure, *aqueous_boxes(), *mixtures(), *salts, *ionic, *electrolytes]


def aqueous_boxes() -> list[Box]:
    """Return soluble liquids, amino acids, peptides, sugars and nucleobases in water."""
    found = []
    for compound in COMPOUNDS.values():
        solute = not compound.density and compound.charge == 0
        if solute or compound.kind in SOLUBLE or compound.name == "dimethyl sulfoxide":
            # about a third of the volume
            count = max(1, round(EDGE**3 / 3 / volume_of(compound.name)))
            name = f"{compound.name}, water"
            found.append(make_box(name, "aqueous", {compound.name: count}, "water"))
    return found


def mixtures() -> list[Box]:
    """Return boxes of four liquids; each comes twice, held-out ones once and together."""
    liquids = [c for c in COMPOUNDS.values() if c.density]
    found = []
    for held_out in (False, True):
        names = [c.name for c in liquids if c.held_out == held_out]
        for turn in range(1 if held_out else 2):
            random.Random(SEED + turn).shuffle(names)
            for k in range(0, len(names) - 3, 4):
                four = sorted(names[k : k + 4])
                found.append(make_box(", ".join(four), "mixture", dict.fromkeys(four, 1)))
    return found


def in_order(boxes: Iterable[Box]) -> list[Box]:
    """Return the boxes so that every first part has its share of each family, held out and not.

    Within a stratum the order is random; place k of n comes at (k + u)/n of the whole, with u
    uniform in 0 to 1.
    """
    rng = random.Random(SEED)
    strata: dict[tuple[str, bool], list[Box]] = {}
    for box in boxes:
        strata.setdefault((box.family, box.held_out), []).append(box)
    places = []
    for members in strata.values():
        rng.shuffle(members)
        places += [((k + rng.random()) / len(members), box) for k, box in enumerate(members)]
    return [box for _, box in sorted(places, key=lambda place: place[0])]


def read_boxes() -> list[Box]:
    """Return the boxes of boxes.csv in its order."""
    with open(HERE / "boxes.csv", newline="") as file:
        return [
            Box(row["name"], row["family"], _counts(row["molecules"]), float(row["edge"]))
            for row in csv.DictReader(file)
        ]


def _counts(text: str) -> dict[str, int]:
    pairs = (part.split(" ", 1) for part in text.split("; "))
    return {name: int(count) for count, name in pairs}


def main() -> None:
    """Write the table and print a summary."""
    boxes = in_order(all_boxes())
    with open(HERE / "boxes.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["name", "family", "molecules", "edge", "atoms", "density", "held_out"])
        for box in boxes:
            counts = "; ".join(f"{count} {name}" for name, count in box.counts.items())
            row = [box.name, box.family, counts, box.edge, box.n_atoms, f"{box.density:.3f}"]
            table.writerow([*row, int(box.held_out)])
    for family in dict.fromkeys(box.family for box in boxes):
        members = [box for box in boxes if box.family == family]
        out = sum(box.held_out for box in members)
        atoms = sorted(box.n_atoms for box in members)
        middle = atoms[len(atoms) // 2]
        print(f"{family:13} {len(members):4} boxes, {out:3} held out, {middle} atoms in the middle")
    print(len(boxes), "boxes")


if __name__ == "__main__":
    main()
