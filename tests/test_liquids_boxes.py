"""The campaign for liquids: its split never changes, its boxes can be labelled, its labels are
sound.

No CP2K and no RDKit here: what is stored is checked, and the held-out compounds are worked out
again.
"""

import csv
import hashlib
import sys

import numpy as np
import pytest

import tests
from mda_aptnn.labels.dataset import read_xyz

FOLDER = tests.ROOT / "benchmarks" / "liquids"
#: SHA-256 of the names of the held-out compounds, sorted, one a line. It was set before the first
#: label was made.
SPLIT = "65afcf9db6315342ed810d8f325860f54f90bdfaa7590d5f896b42ce7c848309"
LABELS = sorted((FOLDER / "labels").glob("*.xyz"))
#: Largest component of Σ P for each atom, in e.
RESIDUAL = 1e-3


def table(name):
    with open(FOLDER / name, newline="") as file:
        return list(csv.DictReader(file))


COMPOUNDS = {row["name"]: row for row in table("compounds.csv")}
BOXES = {row["name"]: row for row in table("boxes.csv")}
HELD_OUT = sorted(name for name, row in COMPOUNDS.items() if row["held_out"] == "1")


def molecules(text):
    return {name: int(count) for count, name in (part.split(" ", 1) for part in text.split("; "))}


def test_the_held_out_compounds_are_those_of_the_first_day():
    assert hashlib.sha256("\n".join(HELD_OUT).encode()).hexdigest() == SPLIT
    assert 0.15 < len(HELD_OUT) / len(COMPOUNDS) < 0.25


def test_the_table_is_what_the_scripts_say(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import compounds

    found = compounds.compounds()
    assert list(found) == list(COMPOUNDS)
    for name, one in found.items():
        row = COMPOUNDS[name]
        assert (one.kind, one.smiles, one.charge) == (
            row["class"],
            row["smiles"],
            int(row["charge"]),
        )
        assert one.held_out == bool(int(row["held_out"]))
    sys.modules.pop("compounds")


def test_a_box_with_a_held_out_compound_is_held_out():
    for row in BOXES.values():
        inside = set(molecules(row["molecules"])) & set(HELD_OUT)
        assert bool(inside) == bool(int(row["held_out"])), row["name"]


def test_every_part_of_the_order_has_its_share_of_held_out_boxes():
    flags = np.array([int(row["held_out"]) for row in BOXES.values()])
    for n in (30, 60, 100, 150):
        assert abs(flags[:n].mean() - flags.mean()) < 3 * np.sqrt(flags.var() / n), n


def test_boxes_are_neutral_and_of_a_sensible_size():
    for name, row in BOXES.items():
        inside = molecules(row["molecules"])
        assert sum(n * int(COMPOUNDS[each]["charge"]) for each, n in inside.items()) == 0, name
        assert 8.0 < float(row["edge"]) < 9.5, name
        assert 18 <= int(row["atoms"]) <= 72, name
        assert 0.5 < float(row["density"]) < 1.75, name


@pytest.mark.parametrize("path", LABELS, ids=[path.stem for path in LABELS])
def test_labels_are_finite_and_keep_the_sum_rule(path):
    data = read_xyz(path)
    [item] = data.frames
    row = BOXES[item.info["box"]]
    assert len(item.frame) == int(row["atoms"])
    assert int(item.info["held_out"]) == int(row["held_out"])
    assert item.info["molecules"] == row["molecules"]
    assert np.isfinite(item.apt).all()
    assert np.abs(item.apt.sum(axis=0)).max() < RESIDUAL * len(item.frame)
    assert item.frame.pbc.all()
    np.testing.assert_allclose(item.frame.cell, float(row["edge"]) * np.eye(3), atol=1e-4)
    assert "RPBE" in data.level_of_theory and item.info["cutoff"] >= 360
