"""Molecules in no special orientation, and their labels by a code from its settings."""

import numpy as np

from mda_aptnn.labels import protocol
from mda_aptnn.labels.campaign import plan
from mda_aptnn.labels.collect import collect
from mda_aptnn.labels.execution import run_campaign
from mda_aptnn.labels.snapshots import Snapshot
from tests import molecules
from tests.molecules import isolated


def turned(molecule, seed):
    """In an orientation that belongs to this seed."""
    found = isolated(*molecule)
    return found.moved_to(
        found.positions @ np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    )


WATER = isolated(*molecules.WATER)
ACETATE = turned(molecules.ACETATE, 1)
N_METHYLACETAMIDE = turned(molecules.METHYLACETAMIDE, 2)


def planned(folder, code, settings, frame, route):
    """A campaign of one frame."""
    (folder / "settings.toml").write_text(settings)
    recipe = protocol.find_code(code).recipe(folder / "settings.toml")
    snapshot = Snapshot(frame, {"source": "x", "index": 0, "time": 0.0}, tuple(range(len(frame))))
    return plan(folder / route.name, [snapshot], recipe, route)


def labelled(folder, code, settings, frame, route):
    """Labels of one frame that nothing is to be said against."""
    campaign = planned(folder, code, settings, frame, route)
    [*outcomes] = run_campaign(campaign)
    assert {outcome.state for outcome in outcomes} == {"complete"}, outcomes
    dataset, left_out = collect(campaign)
    assert not left_out
    return dataset[0]


def refused(folder, code, settings, frame, route):
    """Why the labels of one frame are left out."""
    campaign = planned(folder, code, settings, frame, route)
    run_campaign(campaign)
    dataset, [item] = collect(campaign)
    assert len(dataset) == 0
    return item.reason
