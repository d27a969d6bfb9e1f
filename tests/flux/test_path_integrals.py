"""Ring polymers: harmonic beads have the classical spectrum at the physical temperature."""

import dataclasses
import warnings
from pathlib import Path

import MDAnalysis as mda
import numpy as np
import pytest
from scipy.constants import hbar, k

from mda_aptnn.errors import TrajectoryError
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.path_integrals import average_beads, centroid_universe
from mda_aptnn.model.domain import TEMPERATURE as AGAINST_TRAINING
from mda_aptnn.model.fixed_charges import FixedCharges
from tests.cli.test_cli import error, report
from tests.systems import (
    BOLTZMANN,
    DEBYE,
    KM_PER_MOL,
    LIGHT,
    MASSES,
    KnownTensors,
    gas,
    random_tensors,
)
from tests.systems import universe as made
from tests.tiny import model_file

READING = {"velocity_unit": "angstrom/ps", "check_temperature": False}
TEMPERATURE, WAVENUMBER, CHARGE = 300.0, 1000.0, 0.7


def ring_polymer(n_beads, n_frames=400, spacing=2e-3, seed=3):
    """One atom in an isotropic harmonic well: free ring-polymer normal modes, each with its thermal
    energy at P·T.

    Returns positions and velocities [n_beads, n_frames, 1, 3].
    """
    rng = np.random.default_rng(seed)
    mass, times = MASSES["O"], spacing * np.arange(n_frames)
    chain = n_beads * k * TEMPERATURE / hbar * 1e-12
    omega = 2 * np.pi * LIGHT * WAVENUMBER
    # orthogonal modes of a ring
    springs = (
        2 * np.eye(n_beads)
        - np.roll(np.eye(n_beads), 1, axis=0)
        - np.roll(np.eye(n_beads), -1, axis=0)
    )
    if n_beads == 2:
        springs = np.array([[2.0, -2.0], [-2.0, 2.0]])
    stiffness, modes = np.linalg.eigh(springs)
    frequencies = np.sqrt(omega**2 + chain**2 * stiffness.clip(0))
    speed = np.sqrt(2 * n_beads * BOLTZMANN * TEMPERATURE / mass)
    phases = (
        rng.uniform(0, 2 * np.pi, (n_beads, 1, 3))
        + frequencies[:, None, None] * times[None, :, None]
    )
    amplitude = (speed / frequencies)[:, None, None]
    positions = np.einsum("jk,kta->jta", modes, amplitude * np.cos(phases))
    velocities = np.einsum("jk,kta->jta", modes, -speed * np.sin(phases))
    return positions[:, :, None], velocities[:, :, None]


def beads_of(positions, velocities, **options):
    return [
        made(r, v, ["O"], time_step=2e-3, **options)
        for r, v in zip(positions, velocities, strict=True)
    ]


@pytest.mark.parametrize("n_beads", [1, 2, 4])
@pytest.mark.parametrize("estimator", ["beads", "centroid"])
def test_a_harmonic_oscillator_has_its_classical_intensity(n_beads, estimator):
    """Three modes with ∂μ/∂Q = q/√m at the physical temperature, whatever the number of beads."""
    universes = beads_of(*ring_polymer(n_beads))
    if estimator == "beads":
        runs = [
            DipoleFlux(u, FixedCharges({"O": CHARGE}), charge=CHARGE, **READING).run().series
            for u in universes
        ]
        assert np.mean([run.temperatures.mean() for run in runs]) == pytest.approx(
            n_beads * TEMPERATURE, rel=0.05
        )
        series = average_beads(runs)
    else:
        centroid = centroid_universe(universes)
        series = (
            DipoleFlux(centroid, FixedCharges({"O": CHARGE}), charge=CHARGE, **READING).run().series
        )
    assert series.temperatures.mean() == pytest.approx(TEMPERATURE, rel=0.05)
    spectrum = series.spectrum(TEMPERATURE, resolution=60, segments=None)
    expected = 3 * KM_PER_MOL * (CHARGE / DEBYE) ** 2 / MASSES["O"]
    assert spectrum.band(700, 1300).value == pytest.approx(expected, rel=0.03)
    [peak] = spectrum.peaks()
    assert peak.position.value == pytest.approx(WAVENUMBER, abs=5)
    # modes of the ring apart from the centroid carry no dipole
    assert spectrum.band().value == pytest.approx(expected, rel=0.02)


def test_the_kinetic_temperature_of_beads_in_the_prefactor_would_be_wrong():
    runs = [
        DipoleFlux(u, FixedCharges({"O": 1.0}), **READING).run().series
        for u in beads_of(*ring_polymer(4))
    ]
    mean = average_beads(runs)
    wrong = dataclasses.replace(mean, temperatures=runs[0].temperatures)
    ratio = mean.spectrum(resolution=60).band().value / wrong.spectrum(resolution=60).band().value
    assert ratio == pytest.approx(4, rel=0.15)
    assert "divided by 4" in "".join(mean.info["notes"])


def test_equal_beads_are_the_classical_flux():
    model = KnownTensors(random_tensors(9), slope=0.5)
    one = DipoleFlux(gas(), model, {"O": "element O"}, **READING).run().series
    mean = average_beads([one] * 5)
    np.testing.assert_allclose(mean.flux, one.flux, rtol=1e-13)
    assert mean.groups == one.groups
    np.testing.assert_allclose(mean.temperatures, one.temperatures / 5)
    np.testing.assert_allclose(mean.equipartition, one.equipartition)
    assert mean.polarizability is None
    rates = np.arange(len(one) * 12.0).reshape(len(one), 2, 6)
    beads = [dataclasses.replace(one, polarizability=k * rates) for k in range(3)]
    np.testing.assert_allclose(average_beads(beads).polarizability, rates)
    same = centroid_universe([gas() for _ in range(3)])
    centroid = DipoleFlux(same, model, {"O": "element O"}, **READING).run().series
    np.testing.assert_allclose(centroid.flux, one.flux, rtol=1e-4, atol=1e-4)


def test_estimators_of_a_dipole_that_is_not_linear():
    """Tensors that follow the atoms: the mean of P v is not P of the mean times the mean of v."""
    universes = [gas(seed=seed) for seed in range(3)]
    model = KnownTensors(random_tensors(9), slope=0.5)
    runs = [DipoleFlux(u, model, **READING).run().series for u in universes]
    beads = average_beads(runs)
    np.testing.assert_allclose(beads.flux, np.mean([run.flux for run in runs], axis=0))
    positions = np.mean([u.trajectory.get_array() for u in universes], axis=0)
    velocities = np.mean([[ts.velocities.copy() for ts in u.trajectory] for u in universes], axis=0)
    by_hand = made(
        positions, velocities, list(universes[0].atoms.elements), cell=(9, 10, 11, 90, 90, 90)
    )
    expected = DipoleFlux(by_hand, model, **READING).run().series
    found = DipoleFlux(centroid_universe(universes), model, **READING).run().series
    np.testing.assert_allclose(found.flux, expected.flux, atol=1e-3)
    assert abs(beads.flux - found.flux).max() > 0.1


@pytest.mark.parametrize(
    ("trained", "verdict"), [([280, 320], "fine"), ([500, 600], "look at this")]
)
def test_the_temperature_of_training_is_held_against_that_of_the_sample(trained, verdict):
    """Beads have four times 300 K, which would be far from all training."""
    runs = [
        DipoleFlux(u, FixedCharges({"O": 1.0}), **READING).run().series
        for u in beads_of(*ring_polymer(4))
    ]
    hot = {"name": AGAINST_TRAINING, "found": "1200 K", "verdict": "look at this", "meaning": ""}
    for place, run in enumerate(runs):
        info = {**run.info, "trained_temperature": trained, "checks": [hot]}
        runs[place] = dataclasses.replace(run, info=info)
    [check] = [check for check in average_beads(runs).check() if check.name == AGAINST_TRAINING]
    assert check.verdict == verdict
    assert float(check.found.split()[0]) == pytest.approx(TEMPERATURE, rel=0.1)


def test_equipartition_of_beads():
    """⟨Ṁ²⟩ of the bead average, of beads at P·T, over that of the physical temperature."""
    n_beads = 3
    tensors = random_tensors(9)
    runs = [
        DipoleFlux(gas(200, seed=s, temperature=n_beads * 300.0), KnownTensors(tensors), **READING)
        .run()
        .series
        for s in range(n_beads)
    ]
    ratio, error = average_beads(runs).equipartition_ratio()
    assert error < 0.25
    assert abs(ratio - 1) < 4 * error


def test_beads_on_two_sides_of_the_boundary():
    positions, velocities = ring_polymer(3, n_frames=20)
    cell = (10.0, 10.0, 10.0, 90, 90, 90)
    expected = positions.mean(axis=0)
    wrapped = np.mod(positions, 10.0)
    centroid = centroid_universe(beads_of(wrapped, velocities, cell=cell))
    for ts, place, speed in zip(
        centroid.trajectory, expected, velocities.mean(axis=0), strict=True
    ):
        offset = ts.positions - place
        np.testing.assert_allclose(offset, 10 * np.round(offset / 10), atol=1e-5)
        np.testing.assert_allclose(ts.velocities, speed, atol=1e-4)


def test_beads_on_two_sides_of_a_cell_that_is_turned():
    """Lengths and angles of a cell do not tell where its vectors point."""
    positions, velocities = ring_polymer(2, n_frames=5)
    turned = 10 * np.array([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    positions = positions * 0.1
    beads = beads_of(
        [positions[0], positions[1] + turned[0]], velocities, cell=(10.0, 10.0, 10.0, 90, 90, 90)
    )
    for bead in beads:
        bead.trajectory.ts.data["cell"] = turned
    for ts, place in zip(centroid_universe(beads).trajectory, positions.mean(axis=0), strict=True):
        np.testing.assert_allclose(ts.positions, place, atol=1e-5)


def test_beads_that_do_not_belong_together_are_refused():
    model = KnownTensors(random_tensors(9))
    one = DipoleFlux(gas(), model, **READING).run().series
    for other, said in (
        (DipoleFlux(gas(), model, **READING).run(stop=30).series, "number of frames"),
        (DipoleFlux(gas(), model, {"O": "element O"}, **READING).run().series, "groups"),
        (dataclasses.replace(one, times=one.times + 1), "other times"),
        (
            dataclasses.replace(one, temperatures=2 * one.temperatures),
            "bead 2 has a kinetic temperature",
        ),
    ):
        with pytest.raises(TrajectoryError, match=said):
            average_beads([one, other, one])
    cold = dataclasses.replace(one, temperatures=one.temperatures / 100)
    with pytest.raises(TrajectoryError, match="is their unit right"):
        average_beads([cold] * 3)
    with pytest.raises(TrajectoryError, match="there are no beads"):
        average_beads([])
    with pytest.raises(TrajectoryError, match="there are no beads"):
        centroid_universe([])
    with pytest.raises(TrajectoryError, match="bead 2 has 9 atoms in 30 frames"):
        centroid_universe([gas(), gas(30)])
    other = gas()
    other.atoms.elements = other.atoms.elements[::-1]
    with pytest.raises(TrajectoryError, match="bead 3 has other elements"):
        centroid_universe([gas(), gas(), other])
    with pytest.raises(
        TrajectoryError, match=r"frame 1 of bead 2 is at 0\.001 ps, that of bead 1 at 0\.0005 ps"
    ):
        centroid_universe([gas(), gas(time_step=1e-3)]).trajectory[1]


def test_commands(tmp_path):
    """Beads as files: mean of fluxes and centroid, both the spectrum of Python's."""
    positions, velocities = ring_polymer(3, n_frames=400)
    files = []
    for number, u in enumerate(beads_of(positions, velocities)):
        files.append(tmp_path / f"bead-{number + 1}.trr")
        with mda.Writer(str(files[-1]), 1) as writer:
            for _ in u.trajectory:
                writer.write(u.atoms)
        topology = u
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a PDB file wants and an atom does not have
        topology.atoms.write(str(tmp_path / "one.pdb"))
    model_file().save(tmp_path / "model.h5")
    arguments = [tmp_path / "one.pdb", *files, "--model", tmp_path / "model.h5", "--pbc", "none"]
    universes = [mda.Universe(str(tmp_path / "one.pdb"), str(file)) for file in files]
    options = {"check_temperature": False, "pbc": "none"}
    runs = [DipoleFlux(u, tmp_path / "model.h5", **options).run().series for u in universes]
    for estimator, expected in (
        ("beads", average_beads(runs)),
        (
            "centroid",
            DipoleFlux(centroid_universe(universes), tmp_path / "model.h5", **options).run().series,
        ),
    ):
        found = report(
            "flux", *arguments, "--path-integral", estimator, "-o", tmp_path / f"{estimator}.h5"
        )
        assert found["temperature"] == pytest.approx(expected.temperatures.mean())
        assert found["n_series"] == 1
        series = FluxSeries.load(tmp_path / f"{estimator}.h5")
        np.testing.assert_allclose(series.flux, expected.flux, rtol=1e-12)
        assert [Path(name).name for name in series.info["trajectory"]] == [
            file.name for file in files
        ]
    output = ["-o", tmp_path / "x.h5"]
    assert "choose one of beads, centroid" in error(
        "flux", *arguments, "--path-integral", "ring", *output
    )
    assert "two or more" in error("flux", *arguments[:2], "--path-integral", "beads", *output)
