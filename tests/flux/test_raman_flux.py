"""α̇ = Σ_i G_i v_i in the same pass as Ṁ, for Raman spectra of the same groups."""

import dataclasses
import json
from contextlib import chdir

import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.errors import ModelError, SpectrumError
from mda_aptnn.flux.atom_flux import load_groups
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.spectra.sfg import SumFrequencySpectrum
from tests.systems import (
    MASSES,
    KnownTensors,
    gas,
    raman_spectrum,
    random_tensors,
    sum_frequency_spectrum,
)

N_ATOMS = 9
GROUPS = {"O": "element O", "H": "element H"}


def flux_of(universe, model, groups=None, **options):
    return DipoleFlux(universe, model, groups, velocity_unit="angstrom/ps", **options)


class TwoHeads(KnownTensors):
    """Polar tensors and polarizability gradients that are given, with a part that follows the
    atoms.
    """

    def __init__(self, tensors, gradients):
        super().__init__(tensors, slope=0.1)
        self.gradients = gradients

    def predict_tensors(self, frame):
        wave = np.sin(frame.positions).sum(axis=1)[:, None, None, None]
        return {"apt": self.predict(frame), "pgt": self.gradients * (1 + 0.1 * wave)}


@pytest.fixture
def model():
    gradients = np.random.default_rng(2).normal(size=(N_ATOMS, 3, 3, 3))
    return TwoHeads(random_tensors(N_ATOMS), gradients + gradients.transpose(0, 2, 1, 3))


def expected_rates(model, universe, rule="none"):
    """α̇ of O and H of every frame, by the formula."""
    masses = np.array([MASSES[name] for name in universe.atoms.names])
    rates = []
    for ts in universe.trajectory:
        wave = np.sin(ts.positions.astype(float)).sum(axis=1)[:, None, None, None]
        gradients = model.gradients * (1 + 0.1 * wave)
        if rule == "mass":
            gradients = gradients - (masses / masses.sum())[:, None, None, None] * gradients.sum(
                axis=0
            )
        each = np.einsum("iabc,ic->iab", gradients, ts.velocities)
        rates.append([each[universe.atoms.names == name].sum(axis=0) for name in "OH"])
    return np.array(rates)


@pytest.mark.parametrize("rule", ["none", "mass"])
def test_the_pass_sums_gradients_times_velocities(model, rule):
    universe = gas()
    flux = flux_of(universe, model, GROUPS, sum_rule=rule).run()
    expected = expected_rates(model, universe, rule)
    [found] = flux.series.polarizability_segments()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    # the dipole is that of the same model without the second head
    alone = flux_of(universe, KnownTensors(model.tensors, 0.1), GROUPS, sum_rule=rule).run().series
    np.testing.assert_array_equal(flux.series.flux, alone.flux)
    with pytest.raises(SpectrumError, match="without polarizability gradients"):
        alone.raman(resolution=2000)


def test_motions_take_the_polarizability_apart(model):
    universe = gas()
    whole = flux_of(universe, model).run().series.polarizability
    parts = flux_of(universe, model, motions="rigid").run().series.polarizability
    assert parts.shape[1] == 3
    np.testing.assert_allclose(parts.sum(axis=1), whole[:, 0], atol=1e-9 * np.abs(whole).max())


@pytest.mark.parametrize("rule", ["none", "mass"])
def test_groups_and_motions_of_a_flux_of_atoms_without_predicting_again(model, tmp_path, rule):
    universe = gas()
    flux_of(universe, model, per="atom", motions="rigid", sum_rule=rule).run().save(
        tmp_path / "atoms.h5"
    )
    for groups, motions in ((GROUPS, False), (GROUPS, True), (None, True)):
        expected = (
            flux_of(universe, model, groups, motions="rigid" if motions else None, sum_rule=rule)
            .run()
            .series
        )
        found = load_groups(tmp_path / "atoms.h5", universe, groups, motions=motions)
        assert found.groups == expected.groups
        # on disk in float32
        scale = np.abs(expected.polarizability).max()
        np.testing.assert_allclose(found.polarizability, expected.polarizability, atol=1e-6 * scale)
        np.testing.assert_allclose(
            found.flux, expected.flux, atol=1e-6 * np.abs(expected.flux).max()
        )
    flux_of(universe, KnownTensors(model.tensors), per="atom").run().save(tmp_path / "plain.h5")
    assert load_groups(tmp_path / "plain.h5", universe, GROUPS).polarizability is None


@pytest.mark.filterwarnings("ignore:.* are short for a resolution:UserWarning")
def test_raman_spectra_of_a_flux(model, tmp_path):
    universe = gas(n_frames=200)
    flux = flux_of(universe, model, GROUPS, checkpoint=tmp_path / "checkpoint").run()
    flux.save(tmp_path / "flux.h5")
    series = FluxSeries.load(tmp_path / "flux.h5")
    np.testing.assert_array_equal(series.polarizability, flux.series.polarizability)
    found = series.raman(300, "400 cm^-1")
    direct = raman_spectrum(
        series.polarizability_segments(), ["O", "H"], series.spacing, 300.0, resolution=400
    )
    np.testing.assert_array_equal(found.terms.magnitude, direct.terms.magnitude)
    np.testing.assert_array_equal(found.vh.magnitude, direct.vh.magnitude)
    total = series.raman(300, "400 cm^-1", groups={"all": ["O", "H"]})
    np.testing.assert_allclose(total.vv.magnitude, found.vv.magnitude, rtol=1e-10)
    assert total.groups == ["all"]
    # the grids of infrared and Raman are the same
    assert (found.wavenumber == series.spectrum(300, "400 cm^-1").wavenumber).all()
    twice = FluxSeries.merge([series, dataclasses.replace(series, flux=-series.flux)])
    assert len(twice.polarizability) == 400 and len(twice.polarizability_segments()) == 2


@pytest.mark.filterwarnings("ignore:.* are short for a resolution:UserWarning")
def test_sum_frequency_spectra_of_a_flux(model, tmp_path):
    universe = gas(n_frames=200)
    series = flux_of(universe, model, {"upper": "index 0:2", "lower": "index 3:5"}).run().series
    found = series.sum_frequency(300, "400 cm^-1", area="1.2 nm^2", components=["xxz", "zzz"])
    direct = sum_frequency_spectrum(
        series.polarizability_segments(),
        series.segments(),
        series.groups,
        series.spacing,
        300.0,
        120.0,
        resolution=400.0,
        components=["xxz", "zzz"],
    )
    np.testing.assert_array_equal(found.terms.magnitude, direct.terms.magnitude)
    # a switch that never moves makes groups
    sides = np.zeros((len(series), 3, 3))
    for number, name in enumerate(series.groups):
        sides[:, number, {"upper": 0, "lower": 2}.get(name, 1)] = 1
    moved = series.sum_frequency(300, "400 cm^-1", area=120, sides=sides, components=["xxz"])
    assert moved.groups == ["upper", "bulk", "lower"]
    chi = found.interface("xxz").magnitude
    np.testing.assert_allclose(moved.interface("xxz").magnitude, chi, atol=1e-9 * np.abs(chi).max())
    with pytest.raises(SpectrumError, match="sides has the shape"):
        series.sum_frequency(300, "400 cm^-1", sides=sides[:, :2])

    series.save(tmp_path / "flux.h5")
    arguments = [
        "sfg",
        "flux.h5",
        "-T",
        "300 K",
        "--resolution",
        "1400",
        "--area",
        "1.2 nm^2",
        "--segments",
        "4",
    ]
    for name in ("xxz", "zzz"):
        arguments += ["--component", name]
    with chdir(tmp_path):
        result = CliRunner().invoke(
            app, [*arguments, "--csv", "sfg.csv", "--plot", "sfg.png", "--json"]
        )
        refused = CliRunner().invoke(app, [*arguments, "--component", "xw"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    top = report["extrema"]["xxz"]
    kept = SumFrequencySpectrum.load(tmp_path / "sfg.h5")
    imaginary = kept.interface("xxz").magnitude.imag[kept.wavenumber.magnitude >= 1400]
    assert abs(top["imaginary"]) == np.abs(imaginary).max() and top["error"] > 0
    assert (tmp_path / "sfg.png").read_bytes()[:4] == b"\x89PNG"
    assert refused.exit_code == 1 and "component 'xw'" in refused.output


def test_too_many_groups_for_all_pairs_are_refused():
    names = [f"g{k}" for k in range(17)]
    many = FluxSeries(
        np.zeros((8, 17, 3)),
        names,
        np.arange(8.0),
        1e-3,
        [0],
        *np.ones((2, 8)),
        np.zeros((8, 3, 3)),
        np.ones(8),
        polarizability=np.zeros((8, 17, 6)),
    )
    with pytest.raises(SpectrumError, match="17 groups have 17² terms"):
        many.sum_frequency(300)


def test_gradients_of_another_shape_are_refused(model):
    model.gradients = model.gradients[:, :, :, :2]
    with pytest.raises(ModelError, match="polarizability gradients of shape"):
        flux_of(gas(), model).run()
