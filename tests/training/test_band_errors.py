"""Errors of the intensities of bands, by motion, and their calibration."""

import numpy as np
import pytest
from MDAnalysis.guesser.tables import masses

from mda_aptnn.errors import LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame
from mda_aptnn.model.committee import Committee
from mda_aptnn.tensors import APT, PGT
from mda_aptnn.training.calibration import (
    ALL,
    band_calibration,
    band_errors,
    error_over_stated,
    predicted_error,
)
from mda_aptnn.training.card import domain
from mda_aptnn.training.evaluate import evaluate
from mda_aptnn.training.samples import held_out_frames

WATER = np.array([[0.0, 0.0, 0.0], [0.757, 0.586, 0.0], [-0.757, 0.586, 0.0]])
MASSES = np.array([masses["O"], masses["H"], masses["H"]])
MOTIONS = {"translation", "rotation", "stretch", "other vibration"}


class Known:
    """Tensors that are given for each frame, by its first coordinate."""

    def __init__(self, dataset, change):
        self._tensors = {
            item.frame.positions[0, 0]: change(k, item.apt) for k, item in enumerate(dataset)
        }

    def predict(self, frame):
        return self._tensors[frame.positions[0, 0]]


def liquid(n_frames=3, n_molecules=5, seed=0):
    """Molecules that are turned and distorted, far from each other across the boundary; any
    tensors.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n_frames):
        molecules = []
        for number in range(n_molecules):
            turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
            molecules.append(
                (WATER + 0.03 * rng.normal(size=(3, 3))) @ turn
                + [6.0 * number + rng.normal(), 0, 0]
            )
        box = 6.0 * n_molecules * np.eye(3)
        frame = Frame(
            np.tile([8, 1, 1], n_molecules), np.concatenate(molecules), box, np.ones(3, bool)
        )
        frames.append(LabelledFrame(frame, {"apt": rng.normal(size=(3 * n_molecules, 3, 3))}))
    return Dataset(frames)


def test_a_common_factor_is_in_every_band():
    """Tensors 1 + ε times too large make all intensities (1 + ε)² times too large, and the flux 1 +
    ε.
    """
    dataset = liquid()
    found = band_errors(Known(dataset, lambda _, apt: 1.03 * apt), dataset)
    assert set(found) == MOTIONS
    for row in found.values():
        assert row["error"] == pytest.approx(1.03**2 - 1, rel=1e-9) and row[
            "flux_error"
        ] == pytest.approx(0.03)
        assert row["standard_error"] < 1e-12 and "linear" not in row
    # the motions are all there is: Σ ‖P_i‖²/m_i, in km/mol per molecule
    norms = sum((item.apt**2).sum(axis=(1, 2)) @ (1 / np.tile(MASSES, 5)) for item in dataset) / 15
    assert sum(row["intensity"] for row in found.values()) == pytest.approx(
        42.2561 * 4.803204**2 * norms, rel=1e-4
    )


def test_intensities_are_those_of_thermal_velocities():
    """Of one molecule, with velocities drawn: total momentum, the rest, and the change of the
    bonds.
    """
    dataset = liquid(1, 1)
    found = band_errors(Known(dataset, lambda _, apt: apt), dataset)
    frame, apt = dataset[0].frame, dataset[0].apt
    rng, n = np.random.default_rng(1), 40000
    velocities = rng.normal(size=(n, 3, 3)) / np.sqrt(MASSES[:, None])
    centre = np.einsum("i,nib->nb", MASSES, velocities) / MASSES.sum()
    translation = np.einsum("iab,nb->na", apt, centre)
    whole = np.einsum("iab,nib->na", apt, velocities)
    # stretching: what has the least kinetic energy of all that changes the bonds as fast
    bonds = np.zeros((2, 9))
    for row, hydrogen in enumerate((1, 2)):
        along = frame.positions[hydrogen] - frame.positions[0]
        bonds[row, 3 * hydrogen : 3 * hydrogen + 3] = along / np.linalg.norm(along)
        bonds[row, :3] = -bonds[row, 3 * hydrogen : 3 * hydrogen + 3]
    inverse = np.diag(np.repeat(1 / MASSES, 3))
    project = inverse @ bonds.T @ np.linalg.inv(bonds @ inverse @ bonds.T) @ bonds
    stretch = np.einsum(
        "ja,nj->na", apt.transpose(0, 2, 1).reshape(9, 3), velocities.reshape(n, 9) @ project.T
    )
    for values, expected in (
        (translation, found["translation"]["intensity"]),
        (stretch, found["stretch"]["intensity"]),
        (whole, sum(row["intensity"] for row in found.values())),
    ):
        squares = 42.2561 * 4.803204**2 * (values**2).sum(axis=1)
        assert squares.mean() == pytest.approx(expected, abs=4 * squares.std() / np.sqrt(n))


def test_what_members_say_of_a_band():
    """Common errors ε_m are linear, 2ε_m; independent errors of tensors cancel in it and stay
    quadratic.
    """
    dataset = liquid(20, 8)
    epsilon = np.array([-0.03, -0.01, 0.01, 0.03])
    common = Committee([Known(dataset, lambda _, apt, e=e: (1 + e) * apt) for e in epsilon])
    for row in band_errors(common, dataset).values():
        assert row["error"] == pytest.approx(0, abs=1e-9)
        assert row["linear"] == pytest.approx(2 * epsilon.std(ddof=1), rel=1e-9)
        assert row["quadratic"] == pytest.approx(np.sqrt((epsilon**4).sum() / 3), rel=1e-9)
        assert row["flux_spread"] == pytest.approx(epsilon.std(ddof=1), rel=1e-9)
        assert predicted_error(row, 0.5) == pytest.approx(
            np.hypot(0.5 * row["linear"], row["quadratic"])
        )
    rng = np.random.default_rng(2)
    own = Committee(
        [Known(dataset, lambda _, apt: apt + 0.1 * rng.normal(size=apt.shape)) for _ in range(4)]
    )
    for row in band_errors(own, dataset).values():
        # deviations from the mean of four have 3/4 of the variance; 160 molecules of dozens of
        # components
        assert row["flux_spread"] == pytest.approx(0.1, rel=0.1)
        assert row["quadratic"] == pytest.approx(0.0075 * np.sqrt(4 / 3), rel=0.2)
        assert row["linear"] < 0.25 * 0.2


def test_stated_errors_of_bands_cover():
    """Four bands to calibrate by, errors over spreads drawn from one normal distribution: 68 % of
    new bands.
    """
    rng, within, width = np.random.default_rng(3), [], 0.2
    for _ in range(300):
        linear = rng.uniform(0.01, 0.05, 8)
        rows = [
            {"error": width * spread * rng.normal(), "linear": spread, "quadratic": 0.0}
            for spread in linear
        ]
        factor = band_calibration(dict(enumerate(rows[:4])), "made up")["factor"]
        within += [abs(row["error"]) < predicted_error(row, factor) for row in rows[4:]]
    assert np.mean(within) == pytest.approx(0.683, abs=0.06)


def test_the_card_says_how_little_the_factor_was_made_of():
    rows = {name: {"error": 0.01, "linear": 0.05, "quadratic": 0.0} for name in "abcd"}
    card = band_calibration(rows, "held-out frames")
    assert card["ratio"] == pytest.approx(0.2) and card["degrees_of_freedom"] == 4
    assert card["factor"] == pytest.approx(0.2 * 1.142, rel=1e-3)  # Student's factor for 68.3 %
    assert "on held-out frames" in card["how"] and "uncertain by 35 %" in card["how"]
    assert error_over_stated(rows, card["factor"]) == pytest.approx(1 / 1.142, rel=1e-3)


def test_members_that_agree_state_nothing():
    dataset = liquid(1)
    model = Committee([Known(dataset, lambda _, apt: 1.1 * apt)] * 2)
    errors = band_errors(model, dataset)
    assert band_calibration(errors, "") == {} and error_over_stated(errors, 1.0) is None


def test_molecules_without_labels_are_left_out():
    dataset = liquid(2, 4)
    labels = dataset[0].apt.copy()
    labels[4] = np.nan
    partial = Dataset([LabelledFrame(dataset[0].frame, {"apt": labels}), dataset[1]])
    model = Known(
        dataset,
        lambda k, apt: (
            apt * np.where(np.arange(12) // 3 == 1, 5.0 if k == 0 else 1, 1)[:, None, None]
        ),
    )
    for row in band_errors(model, partial).values():
        assert row["error"] == pytest.approx(0, abs=1e-9)
    assert band_errors(model, Dataset([LabelledFrame(item.frame, {}) for item in dataset])) == {}
    model.target = PGT
    assert band_errors(model, dataset) == {}


def test_a_crystal_has_one_band_and_ions_translate():
    rng = np.random.default_rng(5)
    grid = np.array(np.meshgrid(*[range(2)] * 3)).reshape(3, -1).T
    diamond = np.concatenate([grid, grid + 0.25]) * 1.78  # bonded through the boundary
    crystal = Frame(np.full(16, 6), diamond, 2 * 1.78 * np.eye(3), np.ones(3, bool))
    ions = Frame(
        np.array([11, 17]), np.array([[0.0, 0, 0], [7, 0, 0]]), 14 * np.eye(3), np.ones(3, bool)
    )
    for frame, name in ((crystal, ALL), (ions, "translation")):
        dataset = Dataset([LabelledFrame(frame, {"apt": rng.normal(size=(len(frame), 3, 3))})])
        found = band_errors(Known(dataset, lambda _, apt: 1.1 * apt), dataset)
        assert set(found) == {name}
        assert found[name]["error"] == pytest.approx(0.21)


def test_a_neutral_molecule_in_vacuum_has_no_band_of_translation():
    """What is left of it is the residual of the labels' sum rule, and no error of a band."""
    [item] = liquid(1, 1)
    apt = item.apt - item.apt.mean(axis=0) + 0.003
    dataset = Dataset(
        [LabelledFrame(Frame(item.frame.numbers, item.frame.positions), {"apt": apt})]
    )
    assert set(band_errors(Known(dataset, lambda _, apt: 1.01 * apt), dataset)) == MOTIONS - {
        "translation"
    }


def test_held_out_frames_are_found_by_content():
    dataset = liquid(4)
    card = {
        "data": {"fingerprints": {"held_out": [dataset[k].frame.fingerprint() for k in (3, 1)]}}
    }
    found = held_out_frames(card, dataset)
    assert [item.frame for item in found] == [dataset[1].frame, dataset[3].frame]
    with pytest.raises(LabelError, match="none of 1 frames is one of the 2"):
        held_out_frames(card, dataset.subset([0]))


def test_elements_whose_masses_mdanalysis_has_in_capitals_only():
    """Chlorine, bromine, calcium, iron, ...: the card of a model and an evaluation need their
    masses.
    """
    frame = Frame(
        np.array([11, 17]), np.array([[0.0, 0, 0], [7, 0, 0]]), 14 * np.eye(3), np.ones(3, bool)
    )
    dataset = Dataset([LabelledFrame(frame, {"apt": np.array([np.eye(3), -np.eye(3)])})])
    assert domain(dataset, APT)["density"] == pytest.approx(
        [(22.990 + 35.45) / 0.602214 / 14**3] * 2, rel=1e-3
    )
    assert evaluate(
        Known(dataset, lambda _, apt: 1.02 * apt), dataset
    ).spectrum_error() == pytest.approx(0.02)
