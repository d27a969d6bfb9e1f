import numpy as np
import pytest
from ase.data import atomic_masses, chemical_symbols

from mda_aptnn.elements import (
    NUMBERS,
    STANDARD,
    SYMBOLS,
    atomic_numbers,
    masses_of,
    radii_of,
    symbols_of,
)
from mda_aptnn.errors import FrameError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame, read_labels
from mda_aptnn.labels.dataset import write_labels
from mda_aptnn.model.committee import Committee
from mda_aptnn.model.predict import load_model
from mda_aptnn.model.selection import disagreement
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.evaluate import evaluate
from mda_aptnn.training.fit import fit
from tests.tiny import NETWORK


def test_symbols_are_those_of_another_table_and_lead_back():
    assert list(SYMBOLS[1:]) == chemical_symbols[1:]
    assert symbols_of(np.array([1, 17, 86])) == ["H", "Cl", "Rn"]
    for number in range(1, 119):
        for spelling in (
            SYMBOLS[number],
            SYMBOLS[number].upper(),
            SYMBOLS[number].lower(),
            f" {SYMBOLS[number]}",
        ):
            assert atomic_numbers([spelling]) == [number]
    assert NUMBERS["D"] == NUMBERS["T"] == 1
    with pytest.raises(FrameError, match="'Xx' is not the symbol"):
        atomic_numbers(["H", "Xx"])


def test_masses_are_those_of_another_table():
    """IUPAC's of 2016 in ase; MDAnalysis has some older ones, and whole numbers for Tc and Pm."""
    away = np.abs(masses_of(range(1, 119)) / atomic_masses[1:119] - 1)
    assert away[:86].max() < 1e-3
    # beyond radon the isotope is a matter of choice
    assert away.max() < 0.05
    assert np.isnan(masses_of(0)) and STANDARD["D"] == 2.014
    assert masses_of([17, 11, 20]).tolist() == [STANDARD[symbol] for symbol in ("Cl", "Na", "Ca")]


def test_radii_that_are_misspelt_elsewhere():
    """As, Rb and Hg of S. Alvarez's and A. Bondi's tables, which MDAnalysis writes as AA, RR and
    HH.
    """
    assert radii_of([33, 37, 80]).tolist() == [1.85, 3.03, 1.55]
    assert radii_of(np.array([8, 1, 8])).tolist() == [1.52, 1.1, 1.52]
    assert radii_of([26]) == 2.0


@pytest.mark.parametrize(
    "numbers", [range(1, 30), range(30, 59), range(59, 87)], ids=["H-Cu", "Zn-Pr", "Nd-Rn"]
)
def test_every_element_is_trained_written_loaded_and_predicted(tmp_path, numbers):
    numbers, rng = np.array(numbers), np.random.default_rng(0)
    grid = (
        2.2
        * np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[
            : len(numbers)
        ]
    )
    frames = [
        LabelledFrame(
            Frame(
                numbers, grid + 0.1 * rng.normal(size=grid.shape), 8.8 * np.eye(3), np.ones(3, bool)
            ),
            {"apt": np.eye(3) + rng.normal(size=(len(numbers), 3, 3))},
        )
        for _ in range(3)
    ]
    write_labels(frames, tmp_path / "labels.xyz")
    config = TrainingConfig(steps=2, validation=1, held_out=1, validate_every=1, warmup_steps=0)
    fit(read_labels(tmp_path / "labels.xyz"), NETWORK, config, tmp_path / "model.h5")
    model = load_model(tmp_path / "model.h5", n_threads=1)
    assert model.symbols == symbols_of(numbers) == model.info["domain"]["elements"]
    density = masses_of(numbers).sum() * 1.66053907 / 8.8**3
    assert model.info["domain"]["density"] == pytest.approx([density] * 2, rel=1e-3)
    found = evaluate(model, Dataset(frames), allow_training_frames=True)
    assert set(found.by_species()) == set(symbols_of(numbers))
    assert np.isfinite(found.spectrum_error())
    assert np.isfinite(disagreement(Committee([model, model]), frames[0].frame))
