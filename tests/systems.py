"""Small systems in memory whose flux and spectrum are known, and models that are known."""

import numpy as np
from MDAnalysis import Universe
from MDAnalysis.coordinates.memory import MemoryReader
from scipy.constants import N_A, atomic_mass, c, e, epsilon_0, k

from mda_aptnn.elements import STANDARD
from mda_aptnn.spectra import raman, sfg
from mda_aptnn.spectra.estimator import Estimator, Rates
from mda_aptnn.spectra.infrared import infrared

MASSES = STANDARD | {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "M": 0.0}
#: Boltzmann constant in u Å²/(ps² K) and speed of light in cm/ps, from SI and not from the package.
BOLTZMANN = k / atomic_mass * 1e-4
LIGHT = c * 1e-10
#: One debye in e·Å.
DEBYE = 1e-21 / c / e * 1e10
#: km/mol of an oscillator with ∂μ/∂Q = 1 D/Å/√u.
KM_PER_MOL = 42.2561


def prefactor(temperature: float) -> float:
    """β/(6 ε₀ c) in Å³ cm⁻¹ per e² Å²/ps, from SI."""
    return e**2 * 1e-20 / 1e-12 / (k * temperature * 6 * epsilon_0 * c) * 1e28


def km_per_mol(integral: float, volume: float) -> float:
    """∫ n·α dν̃ in cm⁻² times a volume in Å³, per mole of samples."""
    return integral * volume * 1e-24 * N_A * 1e-5


def absorption_spectrum(
    series,
    groups,
    spacing,
    temperature,
    volume,
    *,
    resolution=10.0,
    window="gaussian",
    unbiased=False,
    segments="auto",
    members=None,
    band_factor=None,
    finite_difference=0.0,
    quantum_correction="harmonic",
    **options,
):
    """The infrared spectrum of series [n_frames, n_groups, 3], and of members [n_frames, n_members,
    n_groups, 3].
    """
    rates = Rates.joined(
        series,
        spacing,
        list(groups),
        finite_difference=finite_difference,
        members=None if members is None else np.concatenate(members),
        band_factor=band_factor,
    )
    estimator = Estimator(resolution, window, unbiased, segments)
    found = infrared(rates, estimator, temperature, volume, **options)
    return found.corrected(quantum_correction)


def raman_spectrum(series, groups, spacing, temperature, *, finite_difference=0.0, **options):
    """The Raman spectrum of series of α̇ [n_frames, n_groups, 3, 3]."""
    rates = Rates.joined(series, spacing, list(groups), finite_difference=finite_difference)
    notes = options.pop("notes", ())
    return raman.raman_spectrum(rates, Estimator(**options), temperature, notes=notes)


def sum_frequency_spectrum(
    polarizability,
    flux,
    groups,
    spacing,
    temperature,
    area,
    *,
    components=sfg.COMPONENTS,
    **options,
):
    """χ⁽²⁾ of series of α̇ [n_frames, n_groups, 3, 3] and Ṁ [n_frames, n_groups, 3]."""
    rates = (Rates.joined(series, spacing, list(groups)) for series in (polarizability, flux))
    return sfg.sum_frequency_spectrum(
        *rates, Estimator(**options), temperature, area, components=components
    )


def universe(positions, velocities, symbols, *, cell=None, time_step=0.5e-3) -> Universe:
    """Positions and velocities [n_frames, n_atoms, 3] in Å and Å/ps as a Universe; cell [6] or
    [n_frames, 6].
    """
    positions = np.asarray(positions, dtype=np.float32)
    result = Universe.empty(len(symbols), trajectory=False)
    elements = [symbol if symbol != "M" else "" for symbol in symbols]
    for name, values in (
        ("elements", elements),
        ("names", list(symbols)),
        ("types", list(symbols)),
    ):
        result.add_TopologyAttr(name, values)
    result.add_TopologyAttr("masses", [MASSES[symbol] for symbol in symbols])
    if cell is not None:
        cell = np.broadcast_to(np.asarray(cell, dtype=np.float32), (len(positions), 6)).copy()
    if velocities is not None:
        velocities = np.asarray(velocities, dtype=np.float32)
    result.trajectory = MemoryReader(
        positions, order="fac", dimensions=cell, velocities=velocities, dt=time_step
    )
    return result


def gas(
    n_frames=40,
    seed=0,
    temperature=300.0,
    n_molecules=3,
    cell=(9.0, 10.0, 11.0, 90, 90, 90),
    **options,
):
    """Water-like molecules, OHH OHH ..., that rattle at random with Maxwell's velocities."""
    rng = np.random.default_rng(seed)
    symbols = ["O", "H", "H"] * n_molecules
    molecule = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    centres = np.array([[2.5 * n, 1.5 * (n % 3), 2.0 * (n % 2)] for n in range(n_molecules)])
    rest = (centres[:, None] + molecule).reshape(-1, 3)
    masses = np.array([MASSES[symbol] for symbol in symbols])
    velocities = (
        rng.normal(size=(n_frames, len(symbols), 3))
        * np.sqrt(BOLTZMANN * temperature / masses)[:, None]
    )
    positions = rest + 0.02 * rng.normal(size=velocities.shape)
    return universe(positions, velocities, symbols, cell=cell, **options)


class KnownTensors:
    """A model whose tensors [n_atoms, 3, 3] are given, far from symmetric, with a part that follows
    the atoms.
    """

    def __init__(self, tensors, slope=0.0):
        self.tensors, self.slope = np.asarray(tensors, dtype=float), slope
        self.n_seen = 0

    def predict(self, frame):
        self.n_seen = len(frame)
        if not self.slope:
            return self.tensors
        return self.tensors + self.slope * np.sin(frame.positions)[:, :, None] * np.array(
            [1.0, 2.0, 3.0]
        )


def random_tensors(n_atoms: int, seed: int = 1) -> np.ndarray:
    """Nothing symmetric about them."""
    tensors = np.random.default_rng(seed).normal(size=(n_atoms, 3, 3))
    tensors[:, 0, 1] += 2.0
    return tensors


class StopsAt(KnownTensors):
    """Fails at its n-th prediction after the constructor's, as a full disk or a kill would."""

    def __init__(self, tensors, n, slope=0.0):
        super().__init__(tensors, slope)
        self.left = n

    def predict(self, frame):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().predict(frame)
