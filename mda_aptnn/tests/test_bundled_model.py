"""The bundled model keeps what its card says."""

import os
from pathlib import Path

import numpy as np
import pytest

from mda_aptnn.dataset import read_labels
from mda_aptnn.errors import LabelError
from mda_aptnn.hdf5 import file_hash
from mda_aptnn.models.predict import load_model
from mda_aptnn.tensors import sum_rule_residual
from mda_aptnn.tests.tiny import LABELS
from mda_aptnn.training.evaluate import evaluate

SHARED = Path(os.environ.get("MDA_APTNN_SHARED", Path(__file__).parents[3] / "shared"))
PUBLISHED = SHARED / "data" / "published-apt" / "published-10.xyz"


@pytest.fixture(scope="module")
def model():
    return load_model("water-rpbe-d3")


@pytest.fixture(scope="module")
def labels():
    return read_labels(LABELS)


def test_the_card_names_the_labels_that_are_bundled(model):
    assert model.info["data"]["sources"] == {LABELS.name: file_hash(LABELS)}
    assert "RPBE-D3" in model.info["level_of_theory"]
    assert model.info["command"].startswith("mda-aptnn train mda_aptnn/data/water32-rpbe-d3.xyz -o ")


def test_frames_labelled_afterwards_have_the_error_of_the_card(model):
    """20 frames that did not exist when it was trained; the card knows its error from 192 atoms, to a twentieth."""
    later = read_labels(LABELS.with_name("water32-rpbe-d3-more.h5"))
    assert len(later) == 20
    assert evaluate(model, later).rmse == pytest.approx(model.info["accuracy"]["held_out"]["rmse"], rel=0.1)


@pytest.mark.slow
def test_held_out_frames_give_the_error_of_the_card(model, labels):
    held_out = model.info["data"]["fingerprints"]["held_out"]
    frames = labels.subset([k for k, item in enumerate(labels) if item.frame.fingerprint() in held_out])
    assert len(frames) == len(held_out) >= 2
    got, said = evaluate(model, frames).summary(), model.info["accuracy"]["held_out"]
    # float32 predictions on another machine differ by some 1e-6 e
    assert got["rmse"] == pytest.approx(said["rmse"], abs=2e-5)
    assert got["rmse_per_species"] == pytest.approx(said["rmse_per_species"], abs=2e-5)
    assert got["rmse"] < 0.016 and got["spectrum_error"] < 0.045
    with pytest.raises(LabelError, match="training frames"):
        evaluate(model, labels)


def test_charges_nearly_add_up(model, labels):
    """Translation invariance is not built in; independent errors of atoms add up as the root of their number."""
    error = model.info["accuracy"]["held_out"]["rmse"]
    for item in labels:
        residual = sum_rule_residual(model.predict(item.frame))
        assert np.sqrt(np.mean(residual**2)) < 2 * error * np.sqrt(len(item.frame))


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the published labels are not beside the checkout")
def test_labels_of_another_program_and_a_larger_cell(model):
    published = read_labels(PUBLISHED, 15.6627 * np.eye(3)).subset([0, 4, 9])
    result = evaluate(model, published)
    assert result.rmse < 0.0195
    said = next(v for name, v in model.info["accuracy"].items() if "published" in name)
    assert said["n_frames"] == 29 and result.rmse == pytest.approx(said["rmse"], rel=0.1)
