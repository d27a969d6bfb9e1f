import numpy as np
import pytest
from scipy.signal import lfilter

import tests
from mda_aptnn import units
from mda_aptnn.errors import FileFormatError, TrajectoryError, UnitError
from mda_aptnn.frame import cell_matrix
from mda_aptnn.spectra.dipoles import DipoleSeries, unwrap
from mda_aptnn.trajectory.cp2k_moments import read_moments
from tests.systems import BOLTZMANN, DEBYE, KM_PER_MOL, LIGHT, absorption_spectrum

DATA = tests.DATA / "cp2k"
TRICLINIC = np.array([[5.0, 0.0, 0.0], [2.2, 4.7, 0.0], [1.4, 0.6, 5.3]])


def walk(n_frames=4000, seed=0, step=0.02):
    """A dipole that wanders over several quanta, smoothly."""
    noise = lfilter([1], [1, -0.95], np.random.default_rng(seed).normal(size=(n_frames, 3)), axis=0)
    return np.cumsum(step * noise, axis=0)


def wrapped(dipoles, cells):
    reduced = np.einsum("ta,tar->tr", dipoles, np.linalg.inv(cells))
    return np.einsum("tr,tra->ta", reduced - np.round(reduced), cells)


@pytest.mark.parametrize("cell", [np.diag([5.0, 6.0, 7.0]), TRICLINIC])
def test_a_wandering_dipole_is_unwrapped(cell):
    true = walk()
    cells = np.broadcast_to(cell, (len(true), 3, 3))
    seen = wrapped(true, cells)
    assert np.abs(np.diff(seen, axis=0)).max() > 3  # it does jump
    found = unwrap(seen, cells)
    np.testing.assert_allclose(found - found[0], true - true[0], atol=1e-10)


def test_a_cell_that_breathes_does_not_make_jumps():
    true = 0.3 * walk()
    scale = 1 + 0.02 * np.sin(np.arange(len(true)) / 50)
    cells = scale[:, None, None] * TRICLINIC
    quantum = cells[:, 1]  # the second cell vector, in units of e
    jumping = true + np.where((np.arange(len(true)) // 300 % 2)[:, None], quantum, 0.0)
    found = unwrap(jumping, cells)
    np.testing.assert_allclose(found, true, atol=1e-10)


def test_only_periodic_directions_have_a_quantum():
    true = walk()
    slab = TRICLINIC.copy()
    slab[2] = 0
    cells = np.broadcast_to(slab, (len(true), 3, 3))
    jumping = true - np.round(true @ np.linalg.pinv(slab[:2])) @ slab[:2]
    found = unwrap(jumping, cells)
    np.testing.assert_allclose(found - found[0], true - true[0], atol=1e-10)


def test_steps_that_are_too_long_are_said():
    with pytest.warns(UserWarning, match=r"moves by up to 0\.4\d of e times a cell vector"):
        DipoleSeries.from_array(
            np.array([[0, 0, 0], [2.1, 0, 0], [2.2, 0, 0]]), "1 fs", cells="5 5 5 90 90 90"
        )


def test_each_series_has_a_branch_of_its_own():
    true = walk(200)
    cells = np.broadcast_to(TRICLINIC, (200, 3, 3))
    seen = wrapped(true, cells)
    seen[100:] += 40 * TRICLINIC[0] + 0.49 * TRICLINIC[1]
    found = DipoleSeries.from_array(seen, 1e-3, cells=cells, starts=[0, 100])
    np.testing.assert_allclose(
        np.diff(found.dipoles[100:], axis=0), np.diff(true[100:], axis=0), atol=1e-10
    )
    np.testing.assert_array_equal(found.dipoles[100], seen[100])
    assert [len(part) for part in found.flux()] == [99, 99]


@pytest.mark.parametrize("periods", [60, 1500, 9000])
def test_an_oscillating_dipole_has_its_frequency_and_intensity(periods):
    """μ = ∂μ/∂Q Q with ⟨Q̇²⟩ = k_B T, up to 0.6 of the Nyquist frequency: ω² and the differences
    are exact.
    """
    n_frames, spacing, temperature = 30000, 0.5e-3, 300.0
    omega = 2 * np.pi * periods / (n_frames * spacing)
    along = (
        DEBYE
        * np.sqrt(2 * BOLTZMANN * temperature)
        / omega
        * np.sin(omega * spacing * np.arange(n_frames) + 0.3)
    )
    dipoles = units.quantity(along[:, None] * np.array([2.0, -1.0, 2.0]) / 3 / DEBYE, "debye")
    found = DipoleSeries.from_array(dipoles, "0.5 fs").spectrum("300 K", segments=None)
    assert found.volume is None and found.groups == ["dipoles"]
    wavenumber = omega / (2 * np.pi * LIGHT)
    assert found.band(wavenumber - 50, wavenumber + 50).value == pytest.approx(KM_PER_MOL, rel=5e-3)
    top = found.wavenumber.magnitude[found.molar_absorption.magnitude.argmax()]
    assert top == pytest.approx(wavenumber, abs=1.3)
    assert found.wavenumber.magnitude[-1] == pytest.approx(1 / (2 * spacing * LIGHT))


def test_dipoles_and_flux_of_charges_give_one_spectrum():
    """Langevin ions whose dipole is the integral of their flux, wrapped into the cell."""
    rng = np.random.default_rng(3)
    spacing = 1e-3
    fine = lfilter([1], [1, -1.9, 0.905], 5 * rng.normal(size=(80000, 3)), axis=0)
    dipole = np.cumsum(fine, axis=0) * spacing / 4
    coarse, flux = dipole[::4], fine[::4]
    cells = np.broadcast_to(TRICLINIC, (len(coarse), 3, 3))
    assert np.abs(coarse).max() > 5
    series = DipoleSeries.from_array(wrapped(coarse, cells), spacing, cells=TRICLINIC)
    one = series.spectrum(300, 100)
    two = absorption_spectrum(
        [flux[:, None]], ["flux"], spacing, 300.0, abs(np.linalg.det(TRICLINIC)), resolution=100
    )
    assert one.volume.magnitude == pytest.approx(two.volume.magnitude)
    below = two.wavenumber.magnitude < 4000
    other = np.interp(two.wavenumber.magnitude, one.wavenumber.magnitude, one.absorption.magnitude)
    scale = two.absorption.magnitude.max()
    np.testing.assert_allclose(other[below], two.absorption.magnitude[below], atol=0.03 * scale)


def test_moments_of_density_functional_theory_in_a_triclinic_cell():
    """The cell of the input (5, 5.2, 5.5 Å; 80°, 75°, 65°) and the second dipole as printed."""
    dipoles, cells = read_moments(DATA / "moments-triclinic.dat")
    assert dipoles.shape == (3, 3) and cells.shape == (3, 3, 3)
    np.testing.assert_allclose(dipoles[1] / DEBYE, [-0.13522808, 0.071946384, 2.4538380], rtol=1e-6)
    np.testing.assert_allclose(cells[0], cell_matrix("5 5.2 5.5 80 75 65"), atol=1e-5)
    series = DipoleSeries.from_cp2k(DATA / "moments-triclinic.dat", "0.5 fs")
    assert np.abs(np.diff(series.dipoles, axis=0)).max() < 0.05


def test_moments_of_tight_binding(tmp_path):
    text = (DATA / "moments-xtb.dat").read_text()
    dipoles, cells = read_moments(DATA / "moments-xtb.dat")
    assert cells is None and len(dipoles) == text.count("Dipole type")
    in_debye = [line.split()[-3:] for line in text.splitlines() if "Moment [Debye]" in line]
    np.testing.assert_allclose(dipoles / DEBYE, np.array(in_debye, dtype=float), rtol=1e-5)
    (tmp_path / "a").write_text("nothing\n")
    with pytest.raises(FileFormatError, match="has no dipoles"):
        read_moments(tmp_path / "a")


@pytest.mark.parametrize("kept", ["Dipole moment [Debye]", "[Y]=[", "Dipole vectors", "X= "])
def test_a_moments_file_that_is_cut_off_is_refused(tmp_path, kept):
    text = (DATA / "moments-triclinic.dat").read_text()
    (tmp_path / "m.dat").write_text(text[: text.rindex(kept) + len(kept)])
    if kept in ("[Y]=[", "Dipole vectors"):
        # the last block has no dipole yet
        assert len(read_moments(tmp_path / "m.dat")[0]) == 2
        return
    with pytest.raises(FileFormatError, match="cut off"):
        read_moments(tmp_path / "m.dat")


def test_a_saved_series_is_the_same(tmp_path):
    for cells in (None, TRICLINIC):
        found = DipoleSeries.from_array(
            walk(50), 1e-3, cells=None if cells is None else cells, starts=[0, 20]
        )
        found.save(tmp_path / "d.h5")
        back = DipoleSeries.load(tmp_path / "d.h5")
        np.testing.assert_allclose(back.dipoles, found.dipoles, atol=1e-12)
        assert (back.spacing, back.starts) == (found.spacing, found.starts)
        assert (back.cells is None) == (cells is None)
    part = found[10:30]
    assert part.starts == [0, 10] and len(part) == 20 and len(part.cells) == 20


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((np.zeros((5, 2)), 1e-3), TrajectoryError, r"\(5, 2\), not \[n_frames, 3\]"),
        ((np.zeros((5, 3)), 0.0), TrajectoryError, "must be positive"),
        ((np.full((5, 3), np.nan), 1e-3), UnitError, "not finite"),
        ((units.quantity(np.zeros((5, 3)), "kelvin"), 1e-3), UnitError, "cannot convert"),
    ],
)
def test_what_cannot_be_is_refused(arguments, error, said):
    with pytest.raises(error, match=said):
        DipoleSeries.from_array(*arguments)
    for starts in ([1], [0, 0], [0, 5], []):
        with pytest.raises(TrajectoryError, match="do not fit 5 frames"):
            DipoleSeries.from_array(np.zeros((5, 3)), 1e-3, starts=starts)
    with pytest.raises(TrajectoryError, match="cells have the shape"):
        DipoleSeries.from_array(np.zeros((5, 3)), 1e-3, cells=np.zeros((4, 3, 3)))


def test_velocities_of_verlet_are_central_differences_of_its_positions():
    """A harmonic oscillator of 3700 cm⁻¹: the flux has [sin(Ωδ)/(Ωδ)]² of the intensity of the
    dipoles.
    """
    step, force = 5e-4, -((2 * np.pi * LIGHT * 3700) ** 2)
    x, v = np.array([0.01, 0.0, 0.02]), np.array([0.0, 5.0, 3.0])
    positions, velocities = np.empty((2, 12000, 3))
    for n in range(12000):
        positions[n], velocities[n] = x, v
        half = v + 0.5 * step * force * x
        x = x + step * half
        v = half + 0.5 * step * force * x
    differences = (positions[2:] - positions[:-2]) / (2 * step)
    np.testing.assert_allclose(
        velocities[1:-1], differences, rtol=0, atol=1e-9 * np.abs(velocities).max()
    )
    dipoles = DipoleSeries.from_array(positions, step).spectrum(300, 40, segments=None)

    def share(finite_difference):
        flux = absorption_spectrum(
            [velocities[:, None]],
            ["all"],
            step,
            300,
            None,
            resolution=40,
            segments=None,
            finite_difference=finite_difference,
        )
        return float(flux.band(3500, 4000).value / dipoles.band(3500, 4000).value)

    # where Verlet's oscillator swings: sin(Ωδ/2) = ωδ/2
    phase = 2 * np.arcsin(0.5 * step * np.sqrt(-force))
    # one value of two times 12000, and the ends of the window
    assert share(0.0) == pytest.approx((np.sin(phase) / phase) ** 2, rel=1e-3)
    assert share(step) == pytest.approx(1, rel=1e-3)
    assert share(0.0) < 0.965
