"""The compounds of the liquids campaign, and which of them are held out.

    python benchmarks/liquids/compounds.py        # writes compounds.csv, prints the split

A fifth of the compounds is held out before anything is labelled: those whose SHA-256 of the name
leaves 0 on division by 5. Nobody may train on their labels or choose a setting with them. Water
and ions of one atom are exempt: a network cannot learn an element that it never sees.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from pathlib import Path

HERE = Path(__file__).parent
EXEMPT = ("water", "sodium", "magnesium", "chloride", "fluoride")

#: class: (name, SMILES, density of the liquid in g/cm³). Near 298 K, below the boiling or
#: above the melting point; to two or three digits as handbooks give them; some solids' guessed.
LIQUIDS: dict[str, list[tuple[str, str, float]]] = {
    "water": [("water", "O", 0.997)],
    "alcohol": [
        ("methanol", "CO", 0.787),
        ("ethanol", "CCO", 0.785),
        ("1-propanol", "CCCO", 0.800),
        ("2-propanol", "CC(C)O", 0.781),
        ("tert-butanol", "CC(C)(C)O", 0.775),
        ("ethylene glycol", "OCCO", 1.110),
        ("glycerol", "OCC(O)CO", 1.258),
        ("2,2,2-trifluoroethanol", "OCC(F)(F)F", 1.382),
        ("allyl alcohol", "C=CCO", 0.847),
        ("phenol", "Oc1ccccc1", 1.050),
    ],
    "carbonyl": [
        ("acetone", "CC(C)=O", 0.784),
        ("butanone", "CCC(C)=O", 0.800),
        ("cyclopentanone", "O=C1CCCC1", 0.944),
        ("acetaldehyde", "CC=O", 0.774),
        ("propanal", "CCC=O", 0.792),
        ("biacetyl", "CC(=O)C(C)=O", 0.980),
        ("acrolein", "C=CC=O", 0.835),
    ],
    "amide": [
        ("formamide", "NC=O", 1.129),
        ("N-methylformamide", "CNC=O", 0.999),
        ("N,N-dimethylformamide", "CN(C)C=O", 0.944),
        ("acetamide", "CC(N)=O", 0.990),
        ("N-methylacetamide", "CNC(C)=O", 0.950),
        ("N,N-dimethylacetamide", "CC(=O)N(C)C", 0.936),
        ("2-pyrrolidone", "O=C1CCCN1", 1.107),
        ("urea", "NC(N)=O", 1.24),
        ("tetramethylurea", "CN(C)C(=O)N(C)C", 0.962),
    ],
    "nitrile": [
        ("acetonitrile", "CC#N", 0.777),
        ("propionitrile", "CCC#N", 0.777),
        ("acrylonitrile", "C=CC#N", 0.801),
        ("benzonitrile", "N#Cc1ccccc1", 1.001),
        ("malononitrile", "N#CCC#N", 1.049),
    ],
    "ether": [
        ("dimethyl ether", "COC", 0.735),
        ("diethyl ether", "CCOCC", 0.708),
        ("tetrahydrofuran", "C1CCOC1", 0.883),
        ("1,4-dioxane", "C1COCCO1", 1.028),
        ("1,2-dimethoxyethane", "COCCOC", 0.861),
        ("oxirane", "C1CO1", 0.882),
        ("1,3-dioxolane", "C1COCO1", 1.060),
        ("dimethoxymethane", "COCOC", 0.854),
    ],
    "ester": [
        ("methyl formate", "COC=O", 0.967),
        ("methyl acetate", "COC(C)=O", 0.927),
        ("ethyl acetate", "CCOC(C)=O", 0.894),
        ("gamma-butyrolactone", "O=C1CCCO1", 1.125),
        ("ethylene carbonate", "O=C1OCCO1", 1.321),
        ("propylene carbonate", "CC1COC(=O)O1", 1.200),
        ("dimethyl carbonate", "COC(=O)OC", 1.063),
        ("vinyl acetate", "C=COC(C)=O", 0.926),
    ],
    "acid": [
        ("formic acid", "OC=O", 1.214),
        ("acetic acid", "CC(O)=O", 1.044),
        ("propionic acid", "CCC(O)=O", 0.988),
        ("trifluoroacetic acid", "OC(=O)C(F)(F)F", 1.478),
        ("lactic acid", "CC(O)C(O)=O", 1.209),
    ],
    "amine": [
        ("ammonia", "N", 0.682),
        ("methylamine", "CN", 0.694),
        ("ethylamine", "CCN", 0.689),
        ("trimethylamine", "CN(C)C", 0.653),
        ("diethylamine", "CCNCC", 0.701),
        ("ethylenediamine", "NCCN", 0.893),
        ("ethanolamine", "NCCO", 1.012),
        ("pyrrolidine", "C1CCNC1", 0.860),
        ("morpholine", "C1COCCN1", 1.000),
        ("aniline", "Nc1ccccc1", 1.018),
        ("hydrazine", "NN", 1.004),
    ],
    "sulfur": [
        ("dimethyl sulfoxide", "CS(C)=O", 1.095),
        ("dimethyl sulfide", "CSC", 0.842),
        ("dimethyl disulfide", "CSSC", 1.057),
        ("methanethiol", "CS", 0.867),
        ("ethanethiol", "CCS", 0.833),
        ("sulfolane", "O=S1(=O)CCCC1", 1.261),
        ("thiophene", "c1ccsc1", 1.057),
        ("carbon disulfide", "S=C=S", 1.256),
        ("methanesulfonic acid", "CS(=O)(=O)O", 1.477),
        ("dimethyl sulfone", "CS(C)(=O)=O", 1.17),
        ("thioacetamide", "CC(N)=S", 1.1),
        ("methyl isothiocyanate", "CN=C=S", 1.07),
    ],
    "nitro": [
        ("nitromethane", "C[N+](=O)[O-]", 1.130),
        ("nitroethane", "CC[N+](=O)[O-]", 1.045),
        ("nitrobenzene", "O=[N+]([O-])c1ccccc1", 1.198),
        ("methyl nitrate", "CO[N+](=O)[O-]", 1.20),
    ],
    "halogenated": [
        ("dichloromethane", "ClCCl", 1.317),
        ("chloroform", "ClC(Cl)Cl", 1.479),
        ("carbon tetrachloride", "ClC(Cl)(Cl)Cl", 1.584),
        ("1,2-dichloroethane", "ClCCCl", 1.246),
        ("trichloroethylene", "ClC=C(Cl)Cl", 1.456),
        ("chlorobenzene", "Clc1ccccc1", 1.101),
        ("fluorobenzene", "Fc1ccccc1", 1.019),
        ("difluoromethane", "FCF", 0.961),
        ("1,1,1,2-tetrafluoroethane", "FCC(F)(F)F", 1.206),
        ("perfluorobutane", "FC(F)(F)C(F)(F)C(F)(F)C(F)(F)F", 1.52),
        ("hexafluorobenzene", "Fc1c(F)c(F)c(F)c(F)c1F", 1.607),
        ("2-fluoroethanol", "OCCF", 1.104),
        ("chloroacetonitrile", "ClCC#N", 1.193),
        ("chloroethane", "CCCl", 0.891),
        ("acetyl chloride", "CC(Cl)=O", 1.104),
    ],
    "aromatic": [
        ("benzene", "c1ccccc1", 0.874),
        ("toluene", "Cc1ccccc1", 0.862),
        ("anisole", "COc1ccccc1", 0.989),
        ("pyridine", "c1ccncc1", 0.978),
        ("pyrimidine", "c1cncnc1", 1.016),
        ("pyrrole", "c1cc[nH]c1", 0.966),
        ("furan", "c1ccoc1", 0.931),
        ("1-methylimidazole", "Cn1ccnc1", 1.030),
        ("oxazole", "c1cocn1", 1.05),
        ("styrene", "C=Cc1ccccc1", 0.902),
    ],
    "hydrocarbon": [
        ("propane", "CCC", 0.581),
        ("pentane", "CCCCC", 0.621),
        ("neopentane", "CC(C)(C)C", 0.605),
        ("cyclohexane", "C1CCCCC1", 0.774),
        ("isoprene", "C=C(C)C=C", 0.676),
        ("1-butyne", "CCC#C", 0.678),
        ("cyclopentene", "C1=CCCC1", 0.766),
    ],
    "phosphorus": [
        ("trimethyl phosphate", "COP(=O)(OC)OC", 1.197),
        ("dimethyl methylphosphonate", "COP(C)(=O)OC", 1.145),
        ("trimethyl phosphite", "COP(OC)OC", 1.046),
        ("trimethylphosphine", "CP(C)C", 0.735),
        ("trimethylphosphine oxide", "CP(C)(C)=O", 1.05),
        ("phosphoryl chloride", "O=P(Cl)(Cl)Cl", 1.640),
        ("methylphosphonic acid", "CP(=O)(O)O", 1.45),
    ],
    "inorganic": [
        ("carbon dioxide", "O=C=O", 0.914),
        ("hydrogen peroxide", "OO", 1.437),
        ("sulfur dioxide", "O=S=O", 1.434),
        ("hydrogen sulfide", "S", 0.915),
    ],
}

#: Solutes, with no liquid of their own; boxes.py estimates their volumes.
SOLUTES: dict[str, list[tuple[str, str]]] = {
    "cation": [
        ("sodium", "[Na+]"),
        ("magnesium", "[Mg+2]"),
        ("ammonium", "[NH4+]"),
        ("methylammonium", "C[NH3+]"),
        ("ethylammonium", "CC[NH3+]"),
        ("tetramethylammonium", "C[N+](C)(C)C"),
        ("choline", "C[N+](C)(C)CCO"),
        ("guanidinium", "NC(N)=[NH2+]"),
        ("imidazolium", "c1c[nH+]c[nH]1"),
        ("1,3-dimethylimidazolium", "Cn1cc[n+](C)c1"),
        ("1-ethyl-3-methylimidazolium", "CCn1cc[n+](C)c1"),
        ("1-methylpyridinium", "C[n+]1ccccc1"),
        ("1,1-dimethylpyrrolidinium", "C[N+]1(C)CCCC1"),
        ("tetramethylphosphonium", "C[P+](C)(C)C"),
        ("trimethylsulfonium", "C[S+](C)C"),
    ],
    "anion": [
        ("chloride", "[Cl-]"),
        ("fluoride", "[F-]"),
        ("acetate", "CC(=O)[O-]"),
        ("formate", "[O-]C=O"),
        ("trifluoroacetate", "[O-]C(=O)C(F)(F)F"),
        ("nitrate", "[O-][N+](=O)[O-]"),
        ("sulfate", "[O-]S(=O)(=O)[O-]"),
        ("hydrogen sulfate", "OS(=O)(=O)[O-]"),
        ("methyl sulfate", "COS(=O)(=O)[O-]"),
        ("methanesulfonate", "CS(=O)(=O)[O-]"),
        ("hydrogen phosphate", "OP(=O)([O-])[O-]"),
        ("dihydrogen phosphate", "OP(=O)(O)[O-]"),
        ("dimethyl phosphate", "COP(=O)([O-])OC"),
        ("hexafluorophosphate", "F[P-](F)(F)(F)(F)F"),
        ("perchlorate", "[O-]Cl(=O)(=O)=O"),
        ("thiocyanate", "[S-]C#N"),
        ("dicyanamide", "N#C[N-]C#N"),
        ("bicarbonate", "OC(=O)[O-]"),
        ("azide", "[N-]=[N+]=[N-]"),
    ],
    "amino acid": [
        ("glycine", "[NH3+]CC(=O)[O-]"),
        ("alanine", "C[C@H]([NH3+])C(=O)[O-]"),
        ("beta-alanine", "[NH3+]CCC(=O)[O-]"),
        ("serine", "OC[C@H]([NH3+])C(=O)[O-]"),
        ("threonine", "C[C@@H](O)[C@H]([NH3+])C(=O)[O-]"),
        ("cysteine", "SC[C@H]([NH3+])C(=O)[O-]"),
        ("proline", "[O-]C(=O)[C@@H]1CCC[NH2+]1"),
        ("valine", "CC(C)[C@H]([NH3+])C(=O)[O-]"),
        ("asparagine", "NC(=O)C[C@H]([NH3+])C(=O)[O-]"),
        ("aspartic acid", "OC(=O)C[C@H]([NH3+])C(=O)[O-]"),
        ("methionine", "CSCC[C@H]([NH3+])C(=O)[O-]"),
        ("histidine", "[O-]C(=O)[C@@H]([NH3+])Cc1c[nH]cn1"),
        ("taurine", "[NH3+]CCS(=O)(=O)[O-]"),
        ("sarcosine", "C[NH2+]CC(=O)[O-]"),
    ],
    "peptide": [
        ("glycylglycine", "[NH3+]CC(=O)NCC(=O)[O-]"),
        ("glycylalanine", "[NH3+]CC(=O)N[C@@H](C)C(=O)[O-]"),
        ("N-acetylglycine N-methylamide", "CNC(=O)CNC(C)=O"),
        ("N-acetylalanine N-methylamide", "CNC(=O)[C@H](C)NC(C)=O"),
        ("cyclo-glycylglycine", "O=C1CNC(=O)CN1"),
    ],
    "sugar": [
        ("glycolaldehyde", "OCC=O"),
        ("dihydroxyacetone", "OCC(=O)CO"),
        ("erythritol", "OC[C@H](O)[C@H](O)CO"),
        ("ribose", "O[C@@H]1CO[C@@H](O)[C@H](O)[C@@H]1O"),
        ("2-deoxyribose", "OC[C@H]1O[C@@H](O)C[C@@H]1O"),
        ("glucose", "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O"),
    ],
    "nucleobase": [
        ("uracil", "O=c1cc[nH]c(=O)[nH]1"),
        ("thymine", "Cc1c[nH]c(=O)[nH]c1=O"),
        ("cytosine", "Nc1cc[nH]c(=O)n1"),
        ("adenine", "Nc1ncnc2[nH]cnc12"),
    ],
}
#: Liquids that are in aqueous boxes too (miscible or soluble, and stable in water).
SOLUBLE = ("alcohol", "carbonyl", "amide", "nitrile", "ether", "amine")


@dataclasses.dataclass(frozen=True)
class Compound:
    """A compound of the list.

    Attributes
    ----------
    name, kind, smiles : str
        `kind` is its class, "alcohol" or "cation".
    charge : int
        In e.
    density : float
        Of the pure liquid in g/cm³, 0 where it is only a solute.
    """

    name: str
    kind: str
    smiles: str
    charge: int
    density: float

    @property
    def held_out(self) -> bool:
        """Whether no network may learn from it."""
        digest = int(hashlib.sha256(self.name.encode()).hexdigest(), 16)
        return self.name not in EXEMPT and digest % 5 == 0


def formal_charge(smiles: str) -> int:
    """Return the charge that the signs within brackets of a SMILES add up to, in e."""
    charge = 0
    for part in smiles.split("[")[1:]:
        inside = part.split("]")[0]
        for sign, value in (("+", 1), ("-", -1)):
            if sign in inside:
                charge += value * int(inside.split(sign)[1] or 1)
    return charge


def compounds() -> dict[str, Compound]:
    """Return all compounds by name."""
    rows = [(n, kind, s, d) for kind, items in LIQUIDS.items() for n, s, d in items]
    rows += [(n, kind, s, 0.0) for kind, items in SOLUTES.items() for n, s in items]
    found = {n: Compound(n, kind, s, formal_charge(s), d) for n, kind, s, d in rows}
    if len(found) != len(rows):
        raise ValueError("a name comes twice")
    return found


def main() -> None:
    """Write the table, and print how many of each class are held out."""
    found = compounds()
    with open(HERE / "compounds.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["name", "class", "smiles", "charge", "density", "held_out"])
        for one in found.values():
            row = [one.name, one.kind, one.smiles, one.charge, one.density, int(one.held_out)]
            table.writerow(row)
    for kind in [*LIQUIDS, *SOLUTES]:
        members = [one for one in found.values() if one.kind == kind]
        out = [one.name for one in members if one.held_out]
        print(f"{kind:12} {len(members):3} held out: {', '.join(out)}")
    print(len(found), "compounds,", sum(one.held_out for one in found.values()), "held out")


if __name__ == "__main__":
    main()
