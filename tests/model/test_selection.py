"""Which frames are labelled next."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.committee import Committee
from mda_aptnn.model.selection import POOL, descriptor, disagreement, farthest_among_best, select
from tests.model.test_committee import independent
from tests.systems import KnownTensors
from tests.tiny import water


class Charges:
    """Charges that grow with the distance of an atom from its molecule's oxygen, by a slope."""

    def __init__(self, slope):
        self.slope = slope

    def predict(self, frame):
        oxygen = frame.positions[0]
        distance = np.linalg.norm(frame.positions - oxygen, axis=1)
        return (0.4 + self.slope * np.where(distance > 0.5, distance - 0.96, 0.0))[
            :, None, None
        ] * np.eye(3)


def molecule(stretch=0.0, bend=104.5, shift=0.0):
    angle = np.radians(bend) / 2
    arm = (0.96 + stretch) * np.array(
        [[np.sin(angle), np.cos(angle), 0], [-np.sin(angle), np.cos(angle), 0]]
    )
    return Frame([8, 1, 1], np.concatenate([np.zeros((1, 3)), arm]) + shift)


COMMITTEE = Committee([Charges(slope) for slope in (0.9, 1.0, 1.1)])


def test_disagreement_is_the_expected_relative_error_of_the_flux():
    rng = np.random.default_rng(0)
    tensors = rng.normal(size=(4, 6, 3, 3))
    frame = Frame([8, 1, 1, 8, 1, 1], rng.normal(size=(6, 3)))
    model = Committee([KnownTensors(values) for values in tensors])
    mean, spread = model.predict_with_spread(frame)
    masses = np.array([15.999, 1.008, 1.008] * 2)
    velocities = rng.normal(size=(40000, 6, 3)) / np.sqrt(masses)[:, None]
    errors = spread * rng.normal(size=(40000, 6, 3, 3))
    squares = [
        (np.einsum("niab,nib->na", values, velocities) ** 2).sum()
        for values in (errors, mean[None])
    ]
    # 1,2e5 squares of numbers of the same order each: half a percent
    assert disagreement(model, frame) == pytest.approx(np.sqrt(squares[0] / squares[1]), rel=0.015)


def test_frames_where_the_members_differ_are_chosen():
    """Members agree at the equilibrium bond length and differ in proportion to the stretch."""
    stretches = np.linspace(-0.05, 0.15, 41)
    frames = list(enumerate(molecule(stretch) for stretch in stretches))
    found = select(COMMITTEE, frames, 2)
    assert np.array_equal(found.candidates, np.arange(41))
    assert np.argmin(found.disagreement) == np.argmin(np.abs(stretches))
    pool = np.argsort(-np.abs(found.disagreement))[: 2 * POOL]
    assert set(found.indices) <= set(pool.tolist())
    assert int(np.argmax(found.disagreement)) in found.indices
    assert np.allclose(found.of_chosen(), found.disagreement[found.indices])


def test_chosen_frames_differ_from_each_other():
    """Of frames that all disagree alike, copies of the first are passed over for the one that is
    different.
    """
    frames = [molecule(0.1, shift=k) for k in range(6)] + [molecule(0.1, bend=110.0, shift=9)]
    found = select(COMMITTEE, list(enumerate(frames)), 2)
    assert 6 in found.indices and len(found.indices) == 2
    with pytest.warns(UserWarning, match="only 1 of the 2 frames wanted differ"):
        select(COMMITTEE, list(enumerate(frames[:6])), 2)


def test_farthest_among_best_by_hand():
    points = np.array([[0.0], [0.1], [0.2], [1.0], [0.5], [9.0]])
    scores = [5.0, 4.0, 4.0, 4.0, 4.0, 0.1]
    assert farthest_among_best(scores, points, 3) == [0, 5, 3]
    # with few wanted, the pool leaves out what nobody disagrees about, however far it is
    many = np.concatenate([np.linspace(0, 1, 12), [9.0]])[:, None]
    assert 12 not in farthest_among_best([*range(20, 8, -1), 0.1], many, 3)


def test_neighbours_in_a_trajectory_are_not_all_that_is_chosen():
    """A slow excursion fills the top of the list with frames that are nearly the same; a faster one
    is as bad.
    """
    time = np.arange(2000)
    away = np.exp(-(((time - 500) / 100) ** 2))
    back = 0.9 * np.exp(-(((time - 1500) / 50) ** 2))
    chosen = farthest_among_best(away + back, np.stack([away, back], axis=1), 2)
    assert abs(chosen[0] - 500) <= 1 and abs(chosen[1] - 1500) <= 1


def test_descriptors_know_what_is_the_same():
    frame = water(1)[0].frame
    rng = np.random.default_rng(2)
    turn = -np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(len(frame))
    same = Frame(
        frame.numbers[order],
        (frame.positions[order] + [1.0, 2.0, 3.0]) @ turn.T,
        frame.cell @ turn.T,
        frame.pbc,
    )
    other = water(2)[1].frame
    first = descriptor(frame)
    assert np.allclose(descriptor(same), first, rtol=1e-9, atol=1e-9 * np.abs(first).max())
    assert np.abs(descriptor(other) - first).max() > 1e-3 * np.abs(first).max()


def test_known_frames_are_passed_over(tmp_path):
    from mda_aptnn.model.predict import Model

    frames = [item.frame for item in water(3)]
    contents = independent(2, {"data": {"fingerprints": {"training": [frames[1].fingerprint()]}}})
    found = select(Model(contents, engine="torch"), list(enumerate(frames)), 2)
    assert found.indices == [0, 2] and found.candidates.tolist() == [0, 2]
    with pytest.raises(ModelError, match="cannot select 3 of 2 frames that the model has not seen"):
        select(Model(contents, engine="torch"), list(enumerate(frames)), 3)
    with pytest.raises(ModelError, match="a single model has no disagreement"):
        select(Charges(1.0), list(enumerate(frames)), 1)


CP2K_INPUT = """&GLOBAL
  PROJECT water
&END GLOBAL
&FORCE_EVAL
  METHOD QUICKSTEP
  &DFT
    &QS
      METHOD XTB
    &END QS
    &POISSON
      PERIODIC NONE
      PSOLVER ANALYTIC
    &END POISSON
    &SCF
      EPS_SCF 1.E-8
    &END SCF
  &END DFT
  &SUBSYS
    &CELL
      ABC 8 8 8
      PERIODIC NONE
    &END CELL
  &END SUBSYS
&END FORCE_EVAL
"""


def test_command_writes_a_list_that_label_plan_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = independent(2)
    model.save("committee.h5")
    rng = np.random.default_rng(0)
    with open("water.xyz", "w") as file:
        for _ in range(9):
            positions = molecule().positions + 0.05 * rng.normal(size=(3, 3))
            rows = [
                f"{s} {x:.6f} {y:.6f} {z:.6f}"
                for s, (x, y, z) in zip("OHH", positions, strict=True)
            ]
            file.write("3\n\n" + "\n".join(rows) + "\n")
    (tmp_path / "label.inp").write_text(CP2K_INPUT)
    reading = ["water.xyz", "--pbc", "none"]

    def command(*words, code=0):
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == code, result.output
        return result.output

    planning = ["--campaign", "one", "--template", "label.inp", "--route", "displacement"]
    text = command("select", *reading, "-m", "committee.h5", "-n", "2", "--step", "2", *planning)
    numbers = (tmp_path / "selected.txt").read_text().split()
    assert (
        len(numbers) == 2
        and all(int(number) % 2 == 0 for number in numbers)
        and "label run one" in text
    )
    plan = ["--template", "label.inp", "--route", "displacement", "-o", "two", "--apart", "0 ps"]
    command("label", "plan", *reading, *plan, "--select", "indices", "--indices", " ".join(numbers))
    one, two = (
        json.loads((tmp_path / name / "manifest.json").read_text())["frames"]
        for name in ("one", "two")
    )
    assert [item["info"]["index"] for item in one] == [int(number) for number in numbers]
    # the same inputs: a task is named by their hash
    assert [item["tasks"] for item in one] == [item["tasks"] for item in two]
    assert "go together" in command("select", *reading, "--campaign", "one", code=1)
