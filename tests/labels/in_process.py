"""Molecules in no special orientation, and their labels by a code from its settings."""

import numpy as np

from mda_aptnn.frame import Frame
from mda_aptnn.labels import protocol
from mda_aptnn.labels.campaign import plan
from mda_aptnn.labels.collect import collect
from mda_aptnn.labels.execution import run_campaign
from mda_aptnn.labels.snapshots import Snapshot

WATER = Frame([8, 1, 1], np.array([[0.1, 0.2, 0.3], [0.86, 0.31, 0.75], [-0.5, 0.9, 0.61]]))
ACETATE = Frame(
    [6, 6, 8, 8, 1, 1, 1],
    np.array(
        [
            *([0, 0, 0.02], [1.54, 0.05, 0], [2.13, 1.15, 0.03], [2.2, -1.05, -0.02]),
            *([-0.4, 1.02, 0.05], [-0.36, -0.55, 0.88], [-0.38, -0.5, -0.9]),
        ]
    )
    @ np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0],
    charge=-1,
)
N_METHYLACETAMIDE = Frame(
    [6, 6, 8, 7, 6, 1, 1, 1, 1, 1, 1, 1],
    np.array(
        [
            *([-1.96, -0.05, 0.02], [-0.46, 0.12, -0.01], [0.1, 1.22, 0.02], [0.26, -1.03, -0.03]),
            *([1.7, -1.1, 0.01], [-2.31, -0.58, -0.87], [-2.4, 0.94, 0.06], [-2.25, -0.62, 0.9]),
            *([-0.26, -1.9, 0.02], [2.09, -0.6, 0.89], [2.09, -0.62, -0.88], [2.01, -2.15, 0.04]),
        ]
    )
    @ np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0],
)


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
