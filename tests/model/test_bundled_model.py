"""The bundled model keeps what its card says."""

import numpy as np
import pytest

from mda_aptnn.errors import LabelError
from mda_aptnn.io import file_hash
from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.model.predict import load_model
from mda_aptnn.tensors import sum_rule_residual
from mda_aptnn.training.calibration import band_calibration, band_errors, error_over_stated
from mda_aptnn.training.evaluate import evaluate
from tests import SHARED
from tests.tiny import LABELS, MORE_LABELS

PUBLISHED = SHARED / "data" / "published-apt" / "published-10.xyz"


@pytest.fixture(scope="module")
def model():
    return load_model("water-rpbe-d3")


@pytest.fixture(scope="module")
def labels():
    return read_labels([LABELS, MORE_LABELS])


@pytest.fixture(scope="module")
def held_out(model, labels):
    found = model.info["data"]["fingerprints"]["held_out"]
    frames = labels.subset(
        [k for k, item in enumerate(labels) if item.frame.fingerprint() in found]
    )
    assert len(frames) == len(found) >= 4
    return frames


def test_the_card_names_the_labels_that_are_bundled(model):
    sources = model.info["data"]["sources"]
    teacher = sources.pop("teacher")
    assert sources == {path.name: file_hash(path) for path in (LABELS, MORE_LABELS)}
    about = model.info["teacher"]
    assert about["name"] == teacher and about["members"] == model.n_members == 4
    assert sum(model.info["data"]["n_frames"].values()) == 39 + about["n_frames"]
    assert "RPBE-D3" in model.info["level_of_theory"]
    assert model.info["command"].startswith(
        "mda-aptnn train water32-rpbe-d3.xyz water32-rpbe-d3-more.h5 --topology water64.pdb"
    )


@pytest.mark.slow
def test_held_out_frames_give_the_error_of_the_card(model, labels, held_out):
    got, said = evaluate(model, held_out).summary(), model.info["accuracy"]["held_out"]
    # float32 predictions on another machine differ by some 1e-6 e
    assert got["rmse"] == pytest.approx(said["rmse"], abs=2e-5)
    assert got["rmse_per_species"] == pytest.approx(said["rmse_per_species"], abs=2e-5)
    assert got["rmse"] < 0.0090 and got["spectrum_error"] < 0.026
    with pytest.raises(LabelError, match="training frames"):
        evaluate(model, labels)


def test_the_spread_is_as_large_as_the_error_where_it_was_calibrated(model, held_out):
    errors, spreads = [], []
    for item in held_out:
        mean, spread = model.predict_with_spread(item.frame)
        errors.append(mean - item.apt)
        spreads.append(spread)
    hydrogen = held_out[0].frame.numbers == 1
    for atoms in (hydrogen, ~hydrogen):
        squares = [np.mean(np.asarray(values)[:, atoms] ** 2) for values in (errors, spreads)]
        # float32 and the file's digits
        assert squares[0] == pytest.approx(squares[1], rel=1e-2)


def test_stated_errors_of_band_intensities_are_neither_too_wide_nor_too_narrow(model, held_out):
    """Calibrated on single tensors alone they are three to ten times too wide."""
    errors = band_errors(model, held_out)
    assert set(errors) == {"translation", "rotation", "stretch", "other vibration"}
    assert all(abs(row["error"]) < 0.005 for row in errors.values())
    assert 0.5 < error_over_stated(errors, model.band_spread["factor"]) < 2
    assert error_over_stated(errors, 1.0) < 0.35
    kept = model.info["spread"]["bands"]
    assert kept["factor"] == pytest.approx(band_calibration(errors, "")["factor"], rel=1e-2)
    # and the card says what labels of another source show
    [ratio] = model.band_spread["elsewhere"].values()
    assert ratio > 3


def test_charges_nearly_add_up(model, labels):
    """Translation invariance is not built in; independent errors of atoms add up as the root of
    their number.
    """
    error = model.info["accuracy"]["held_out"]["rmse"]
    for item in labels:
        residual = sum_rule_residual(model.predict(item.frame))
        assert np.sqrt(np.mean(residual**2)) < 2 * error * np.sqrt(len(item.frame))


@pytest.mark.skipif(
    not PUBLISHED.is_file(), reason="the published labels are not beside the checkout"
)
def test_labels_of_another_program_and_a_larger_cell(model):
    published = read_labels(PUBLISHED, 15.6627 * np.eye(3)).subset([0, 4, 9])
    result = evaluate(model, published)
    assert result.rmse < 0.0145
    said = next(v for name, v in model.info["accuracy"].items() if "published" in name)
    assert said["n_frames"] == 29 and result.rmse == pytest.approx(said["rmse"], rel=0.1)
