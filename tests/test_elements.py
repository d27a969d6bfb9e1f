import numpy as np
import pytest
from ase.data import atomic_masses, chemical_symbols

from mda_aptnn import DipoleFlux
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
from mda_aptnn.labels.dataset import Dataset, LabelledFrame, read_labels, write_labels
from mda_aptnn.model.density import default_network
from mda_aptnn.model.dipole import DipoleConfig
from mda_aptnn.model.predict import load_model
from mda_aptnn.tensors import APT
from mda_aptnn.training.config import TrainingConfig
from mda_aptnn.training.evaluate import evaluate
from mda_aptnn.training.fit import fit
from tests.systems import BOLTZMANN, universe


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
    "network",
    [
        pytest.param(default_network(APT), id="apt"),
        pytest.param(DipoleConfig(), id="dipole", marks=pytest.mark.slow),
    ],
)
def test_all_elements_from_labels_to_a_spectrum(tmp_path, network):
    """H to Rn, one atom each: labels, training, model file, prediction, flux, spectrum."""
    numbers, rng = np.arange(1, 87), np.random.default_rng(0)
    edge, steps = 11.5, np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), axis=-1)
    sites = edge / 5 * steps.reshape(-1, 3)[rng.permutation(125)[:86]]
    charges = rng.normal(size=86)
    frames = [
        LabelledFrame(
            Frame(numbers, sites + 0.1 * rng.normal(size=(86, 3)), edge * np.eye(3), [True] * 3),
            {"apt": charges[:, None, None] * np.eye(3) + 0.05 * rng.normal(size=(86, 3, 3))},
        )
        for _ in range(3)
    ]
    write_labels(frames, tmp_path / "labels.xyz")
    config = TrainingConfig(steps=2, validation=1, held_out=1, validate_every=1, warmup_steps=0)
    fit(read_labels(tmp_path / "labels.xyz"), network, config, tmp_path / "model.h5")
    # weights of pairs of elements, best and last; the card keeps little of each element
    assert 30e6 < (tmp_path / "model.h5").stat().st_size < 80e6

    model = load_model(tmp_path / "model.h5")
    assert model.symbols == symbols_of(numbers) == model.info["domain"]["elements"]
    density = masses_of(numbers).sum() * 1.66053907 / edge**3
    assert model.info["domain"]["density"] == pytest.approx([density] * 2, rel=1e-3)
    found = evaluate(model, Dataset(frames), allow_training_frames=True)
    assert set(found.by_species()) == set(symbols_of(numbers))
    assert np.isfinite(found.spectrum_error())

    masses = masses_of(numbers)
    rates = rng.normal(size=(24, 86, 3)) * np.sqrt(BOLTZMANN * 300 / masses)[:, None]
    places = np.broadcast_to(sites, rates.shape) + 0.02 * rng.normal(size=rates.shape)
    cell = [edge] * 3 + [90] * 3
    run = universe(places, rates, symbols_of(numbers), cell=cell, time_step=2e-3)
    flux = DipoleFlux(run, model, velocity_unit="angstrom/ps", allow_outside_domain=True).run()
    run.trajectory[-1]
    expected = np.einsum("iab,ib->a", model.predict(run), run.atoms.velocities)
    np.testing.assert_allclose(flux.results.flux[-1].sum(axis=0), expected, rtol=1e-4)
    spectrum = flux.spectrum(temperature="300 K", resolution="800 cm^-1")
    assert spectrum.band(100, 4000).value > 0
