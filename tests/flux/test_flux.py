import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import tracemalloc

import MDAnalysis
import numpy as np
import pytest

from mda_aptnn.errors import (
    FileFormatError,
    GroupError,
    ModelError,
    SpectrumError,
    TrajectoryError,
    WorkerError,
)
from mda_aptnn.flux import blocks
from mda_aptnn.flux.atom_flux import load_groups
from mda_aptnn.flux.backends import ProgressMultiprocessing
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import RECORDS, FluxSeries
from mda_aptnn.flux.groups import choose_groups
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.tensors import SumRuleNameError
from tests import trajectory_files
from tests.systems import (
    BOLTZMANN,
    DEBYE,
    KM_PER_MOL,
    LIGHT,
    MASSES,
    KnownTensors,
    StopsAt,
    gas,
    km_per_mol,
    random_tensors,
    universe,
)

CHARGES = {"O": -0.8, "H": 0.4}
READING = {"velocity_unit": "angstrom/ps"}
GROUPS = {"O": "element O", "first H": "element H and index 0:2"}


def arrays(u):
    """Positions and velocities of all frames, [n_frames, n_atoms, 3]."""
    return np.array([(ts.positions.copy(), ts.velocities.copy()) for ts in u.trajectory]).swapaxes(
        0, 1
    )


def same(one, other):
    for name in ("flux", *RECORDS):
        np.testing.assert_array_equal(one.results[name], other.results[name])
    np.testing.assert_array_equal(one.results.times, other.results.times)


@pytest.fixture(scope="module")
def rattling():
    """9 atoms in a cell that changes from frame to frame."""
    cells = np.array([[9 + 0.1 * t, 10, 11, 90, 90, 90] for t in range(40)])
    return gas(cell=cells)


@pytest.fixture(scope="module")
def model():
    return KnownTensors(random_tensors(9), slope=0.5)


@pytest.fixture(scope="module")
def reference(rattling, model):
    return DipoleFlux(rattling, model, GROUPS, **READING).run()


def test_fixed_charges_give_the_charge_current(rattling):
    found = DipoleFlux(rattling, FixedCharges(CHARGES), GROUPS, **READING).run()
    assert found.results.groups == ["O", "first H", "rest"]
    for t, ts in enumerate(rattling.trajectory):
        current = np.zeros((3, 3))
        for atom, velocity in zip(rattling.atoms, ts.velocities.astype(float), strict=True):
            group = 0 if atom.element == "O" else 1 if atom.index < 3 else 2
            current[group] += CHARGES[atom.element] * velocity
        np.testing.assert_allclose(found.results.flux[t], current, atol=1e-12)
    np.testing.assert_allclose(found.results.residuals, 0, atol=1e-12)


def test_the_first_index_is_that_of_the_dipole(rattling, model, reference):
    """Ṁ_a = Σ_ib P[i, a, b] v[i, b] by loops, with tensors far from symmetric."""
    positions, velocities = arrays(rattling)
    for t in (0, 17, 39):
        tensors = model.tensors + 0.5 * np.sin(positions[t])[:, :, None] * np.array([1.0, 2.0, 3.0])
        total = [
            sum(tensors[i][a][b] * velocities[t][i][b] for i in range(9) for b in range(3))
            for a in range(3)
        ]
        np.testing.assert_allclose(reference.results.flux[t].sum(axis=0), total, rtol=1e-6)


def test_a_saved_flux_is_loaded_by_the_class_too(tmp_path):
    flux = DipoleFlux(gas(n_frames=6), FixedCharges(CHARGES), **READING).run()
    flux.save(tmp_path / "flux.h5")
    assert (DipoleFlux.load(tmp_path / "flux.h5").flux == flux.results.flux).all()


def test_records_of_every_frame(rattling, model, reference):
    positions, velocities = arrays(rattling)
    np.testing.assert_allclose(
        reference.results.volumes, [(9 + 0.1 * t) * 110 for t in range(40)], rtol=1e-6
    )
    np.testing.assert_allclose(reference.results.times, 0.5e-3 * np.arange(40), atol=1e-9)
    masses = np.array([MASSES[symbol] for symbol in rattling.atoms.elements])
    kinetic = (masses[:, None] * velocities.astype(float) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(
        reference.results.temperatures, kinetic / (24 * BOLTZMANN), rtol=1e-6
    )
    tensors = [
        model.tensors + 0.5 * np.sin(p)[:, :, None] * np.array([1.0, 2.0, 3.0]) for p in positions
    ]
    np.testing.assert_allclose(
        reference.results.residuals, [p.sum(axis=0) for p in tensors], atol=1e-5
    )
    expected = [sum((p[i] ** 2).sum() / masses[i] for i in range(9)) for p in tensors]
    np.testing.assert_allclose(reference.results.equipartition, expected, rtol=1e-6)
    spectrum = reference.spectrum(window="none")
    assert spectrum.volume.magnitude == pytest.approx(np.mean(reference.results.volumes))
    np.testing.assert_allclose(
        reference.results.correlation[3, 0, 1],
        (reference.results.flux[:-3, 0] * reference.results.flux[3:, 1]).sum() / 40,
    )


def test_the_model_sees_all_atoms_and_the_group_gets_its_own(rattling, reference):
    seeing = KnownTensors(random_tensors(9), slope=0.5)
    part = DipoleFlux(rattling.select_atoms("element O"), seeing, **READING).run()
    assert seeing.n_seen == 9 and part.results.groups == ["all"]
    np.testing.assert_array_equal(part.results.flux[:, 0], reference.results.flux[:, 0])


def test_massless_sites_are_left_out_and_rows_stay_with_their_atoms():
    """O M H H: the site between oxygen and hydrogen has no tensor."""
    symbols = ["O", "M", "H", "H"]
    rng = np.random.default_rng(0)
    rest = np.array([[0, 0, 0], [0.1, 0.1, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    velocities = rng.normal(size=(5, 4, 3)) * 10
    u = universe(
        rest + 0.01 * rng.normal(size=(5, 4, 3)), velocities, symbols, cell=[9, 9, 9, 90, 90, 90]
    )
    tensors = random_tensors(3)
    options = {**READING, "elements": {"O": "O", "H": "H", "M": None}}
    found = DipoleFlux(
        u, KnownTensors(tensors), {"O": "name O", "last": "index 3"}, **options
    ).run()
    np.testing.assert_allclose(found.results.flux[:, 0], velocities[:, 0] @ tensors[0].T, rtol=1e-5)
    np.testing.assert_allclose(found.results.flux[:, 1], velocities[:, 3] @ tensors[2].T, rtol=1e-5)
    np.testing.assert_allclose(found.results.flux[:, 2], velocities[:, 2] @ tensors[1].T, rtol=1e-5)
    assert any(
        "massless" in note or "no atom" in note or "dropped" in note
        for note in found.series.info["notes"]
    )


def test_workers_and_parts_agree_bit_for_bit(rattling, model, reference):
    """Those of Dask: `test_cluster.py`."""
    for n_parts in (2, 7):
        found = DipoleFlux(rattling, model, GROUPS, **READING).run(
            backend="multiprocessing", n_workers=2, n_parts=n_parts
        )
        same(found, reference)
        np.testing.assert_array_equal(found.results.correlation, reference.results.correlation)
        assert found.series.starts == [0]


class Reader:
    """A file of numbers, read as XDR readers do: to a place first, then from there. Its copies open
    it again.
    """

    def __init__(self, path):
        self.path, self.file = path, open(path, "rb", buffering=0)  # noqa: SIM115

    def __reduce__(self):
        return Reader, (self.path,)

    def __call__(self, number):
        self.file.seek(8 * number)
        time.sleep(0.001)
        return int.from_bytes(self.file.read(8), "little")


class NoCopy(Reader):
    def __reduce__(self):
        return open, ("/nowhere/trajectory.trr",)


def test_workers_do_not_share_open_files(tmp_path):
    np.arange(300, dtype="<i8").tofile(tmp_path / "numbers")
    workers = ProgressMultiprocessing(2, verbose=False)
    assert workers.apply(Reader(tmp_path / "numbers"), list(range(300))) == list(range(300))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        workers.apply(NoCopy(tmp_path / "numbers"), [0, 1])


def end_of_file(part):
    raise EOFError(f"part {part} is cut off")


def test_an_end_of_file_in_a_worker_is_no_killed_worker():
    with pytest.raises(EOFError, match="part 0 is cut off"):
        ProgressMultiprocessing(1, verbose=False).apply(end_of_file, [0])


def unsendable(part):
    if not part:
        return lambda: part
    error = ValueError("this and that")
    error.held = lambda: part
    raise error


@pytest.mark.parametrize(
    ("part", "said"), [(0, "cannot send what it computed"), (1, "its error .*this and that")]
)
def test_what_a_worker_cannot_send_is_said_to_be_so(part, said):
    with pytest.raises(WorkerError, match=said):
        ProgressMultiprocessing(1, verbose=False).apply(unsendable, [part])


#: A worker dies while it writes its progress; the parent then makes a bar of its own.
KILLED_WHILE_WRITING = """
import os, signal
from MDAnalysis.lib.log import ProgressBar
from mda_aptnn.errors import WorkerError
from mda_aptnn.flux.backends import ProgressMultiprocessing

def die(part):
    ProgressBar.get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)

list(ProgressBar(range(2)))
try:
    ProgressMultiprocessing(2, verbose=True).apply(die, [0, 1])
except WorkerError as error:
    list(ProgressBar(range(2)))
    print(error)
"""


def test_a_worker_killed_while_it_writes_its_progress_holds_up_nobody():
    command = [sys.executable, "-c", KILLED_WHILE_WRITING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "a worker process was killed" in done.stdout, done.stderr


def test_workers_read_a_file_as_one_process_does(tmp_path):
    trajectory_files.write(trajectory_files.water(60), tmp_path / "water.trr")
    own = MDAnalysis.Universe(trajectory_files.topology(), str(tmp_path / "water.trr"))
    charges = FixedCharges(CHARGES)
    found = DipoleFlux(own, charges).run(backend="multiprocessing", n_workers=2, n_parts=20)
    same(found, DipoleFlux(own, charges).run())


def test_strides_and_masks(rattling, model, reference):
    found = DipoleFlux(rattling, model, GROUPS, **READING).run(3, 30, 3)
    np.testing.assert_array_equal(found.results.flux, reference.results.flux[3:30:3])
    assert found.series.spacing == pytest.approx(1.5e-3)
    chosen = np.zeros(40, bool)
    chosen[3:30:3] = True
    same(DipoleFlux(rattling, model, GROUPS, **READING).run(frames=chosen), found)
    same(DipoleFlux(rattling, model, GROUPS, **READING).run(frames=[*range(3, 30, 3)]), found)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"frames": [0, 1, 3]}, TrajectoryError, "not equally spaced"),
        ({"frames": [2, 1, 0]}, TrajectoryError, "not equally spaced"),
        ({"frames": [1, 1]}, TrajectoryError, "not equally spaced"),
        ({"start": 39}, TrajectoryError, "1 usable frames"),
        ({"frames": [38, 39, 40]}, TrajectoryError, "no frame 40: the trajectory has 40 frames"),
        ({"frames": [-2, -1]}, TrajectoryError, "no frame -2"),
        ({"frames": [True, True, False]}, TrajectoryError, "a boolean for each frame"),
        ({"frames": [0.0, 1.5, 3.0]}, TrajectoryError, "numbers of frames"),
        ({"frames": [0, 1], "step": 2}, ValueError, "cannot be combined"),
        ({"n_workers": 2}, ValueError, "serial backend"),
        ({"n_parts": 2}, ValueError, "n_parts"),
        ({"backend": "mpi"}, ValueError, "'mpi': choose"),
    ],
)
def test_frames_and_workers_that_cannot_be_are_refused(rattling, model, options, error, said):
    with pytest.raises(error, match=said):
        DipoleFlux(rattling, model, **READING).run(**options)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"Na": "element Na"}, "'Na' .*matches no atom"),
        ({"O": "element O", "low": "index 0:4"}, "'O' and 'low' share 2 atoms"),
        ({"rest": "element O"}, "'rest' is kept"),
        (["element O"], "give names and selections"),
        ("element O", "give names and selections"),
        ({"O": [0, 3]}, r"group 'O' is \[0, 3\]; give an AtomGroup"),
    ],
)
def test_groups_that_cannot_be_are_refused(rattling, model, groups, said):
    with pytest.raises(GroupError, match=said):
        DipoleFlux(rattling, model, groups, **READING)


def test_groups_that_are_not_of_these_atoms_always_are_refused(rattling, model):
    with pytest.raises(GroupError, match="another Universe"):
        DipoleFlux(rattling, model, {"O": gas().select_atoms("element O")}, **READING)
    moving = rattling.select_atoms("prop x > 3", updating=True)
    for atoms, said in (
        (moving, "atomgroup is updated"),
        ("topol.tpr", "'topol.tpr'; give an AtomGroup"),
    ):
        with pytest.raises(GroupError, match=said):
            DipoleFlux(atoms, model, **READING)


def test_a_selection_by_what_the_topology_lacks_is_refused():
    bare = MDAnalysis.Universe.empty(9, trajectory=True, velocities=True)
    bare.add_TopologyAttr("types", ["1", "2", "2"] * 3)
    with pytest.raises(GroupError, match=r"\(element O\): the topology does not have .* 'type 1'"):
        choose_groups(bare.atoms, {"O": "element O"}, bare.atoms.indices, np.ones(0))


def test_a_selection_outside_of_the_atom_group_matches_nothing(rattling, model):
    with pytest.raises(GroupError, match="matches no atom"):
        DipoleFlux(
            rattling.select_atoms("element O"),
            model,
            {"H": rattling.select_atoms("element H")},
            **READING,
        )


def test_options_and_models_that_cannot_be_are_refused(rattling, model):
    for options, error in (
        ({"per": "chain"}, ValueError),
        ({"sum_rule": "charge"}, SumRuleNameError),
    ):
        with pytest.raises(error, match="choose"):
            DipoleFlux(rattling, model, **options, **READING)
    with pytest.raises(ValueError, match="degrees_of_freedom"):
        DipoleFlux(rattling, model, degrees_of_freedom=0, **READING)
    with pytest.raises(ModelError, match="does not know O"):
        DipoleFlux(rattling, FixedCharges({"H": 1.0}), **READING)
    with pytest.raises(ModelError, match=r"\(8, 3, 3\) for 9 atoms"):
        DipoleFlux(rattling, KnownTensors(random_tensors(8)), **READING).run()
    with pytest.raises(ModelError, match="no model"):
        DipoleFlux(rattling, "no-such-model", **READING)
    with pytest.raises(AttributeError, match=r"call run\(\) first"):
        DipoleFlux(rattling, model, **READING).spectrum()


def test_a_position_that_is_not_finite_is_named_with_its_frame(model, tmp_path):
    # between the frames that are looked at before the run
    u = gas(400)
    u.trajectory.get_array()[26, 4, 1] = np.nan
    analysis = DipoleFlux(u, model, checkpoint=tmp_path / "c", **READING)
    with pytest.raises(TrajectoryError, match="frame 26: the position of atom 4"):
        analysis.run()
    # what was computed before is kept
    assert len(analysis._store.missing(np.arange(26), analysis._fingerprint)) == 0


@pytest.mark.parametrize("sum_rule", ["mass", "uniform"])
def test_the_sum_rule_is_applied_and_the_residual_kept(rattling, model, reference, sum_rule):
    found = DipoleFlux(rattling, model, sum_rule=sum_rule, charge="0.5 e", **READING).run()
    np.testing.assert_allclose(
        found.results.residuals, reference.results.residuals - 0.5 * np.eye(3), atol=1e-12
    )
    velocities = arrays(rattling)[1].astype(float)
    masses = rattling.atoms.masses if sum_rule == "mass" else np.ones(9)
    mean = (masses[:, None] * velocities).sum(axis=1) / masses.sum()
    expected = reference.series.total - np.einsum("tab,tb->ta", found.results.residuals, mean)
    np.testing.assert_allclose(found.series.total, expected, atol=1e-9)
    assert found.series.info["sum_rule"] == sum_rule


def test_thermal_velocities_meet_equipartition():
    found = DipoleFlux(gas(2000, seed=3), KnownTensors(random_tensors(9)), **READING).run()
    # the velocities here have all 27 degrees of freedom
    found.results.temperatures *= 24 / 27
    ratio, error = found.series.equipartition_ratio()
    assert 0.005 < error < 0.04 and abs(ratio - 1) < 4 * error


def oscillating(n_frames, periods, spacing, lead=0):
    """One hydrogen atom along (2, −1, 2)/3, with m⟨v²⟩ = k_B T at 300 K; `lead` more frames on both
    sides.
    """
    omega = 2 * np.pi * periods / (n_frames * spacing)
    speed = np.sqrt(2 * BOLTZMANN * 300 / MASSES["H"])
    angle = omega * spacing * np.arange(-lead, n_frames + lead) + 0.4
    direction = np.array([[2.0, -1.0, 2.0]]) / 3
    u = universe(
        5 + speed / omega * np.sin(angle)[:, None, None] * direction,
        speed * np.cos(angle)[:, None, None] * direction,
        ["H"],
        cell=[8, 9, 10, 90, 90, 90],
        time_step=spacing,
    )
    return u, omega / (2 * np.pi * LIGHT)


def test_an_oscillator_through_a_universe():
    """∂μ/∂Q = q/√m = 1 D/Å/√u: frequency and ∫ n·α dν̃ times the volume, 42.2561 km/mol."""
    u, wavenumber = oscillating(1500, 75, 0.5e-3)
    charges = FixedCharges({"H": DEBYE * np.sqrt(MASSES["H"])})
    analysis = DipoleFlux(u, charges, **READING).run()
    found = analysis.spectrum(temperature="300 K", window="none")
    integral = np.trapezoid(
        found.absorption.to("1/cm").magnitude, found.wavenumber.to("1/cm").magnitude
    )
    assert km_per_mol(integral, 720.0) == pytest.approx(KM_PER_MOL, rel=1e-6)
    assert found.band().value == pytest.approx(KM_PER_MOL, rel=1e-6)
    top = found.wavenumber.magnitude[found.absorption.magnitude.argmax()]
    step = found.wavenumber.magnitude[1]
    assert abs(top - wavenumber) <= step / 2
    broad = analysis.spectrum(temperature=300, resolution=50)
    assert broad.band().value == pytest.approx(KM_PER_MOL, rel=1e-6)


@pytest.mark.slow
def test_an_oscillator_through_finite_differences():
    """Every 4 fs at 2085 cm⁻¹, half of the Nyquist frequency: 41 % without the correction."""
    u, wavenumber = oscillating(1200, 300, 4e-3, lead=1)
    charges = FixedCharges({"H": DEBYE * np.sqrt(MASSES["H"])})
    analysis = DipoleFlux(u, charges, velocities="finite-difference", time_step="4 fs").run()
    np.testing.assert_array_equal(analysis.frames, np.arange(1, 1201))
    exact = DipoleFlux(u, charges, **READING).run(1, 1201)
    np.testing.assert_allclose(analysis.series.flux, exact.series.flux * 2 / np.pi, atol=2e-3)
    found = analysis.spectrum(temperature="300 K")
    # the 1/N estimator of a short run has wings beyond these limits
    assert found.band(wavenumber - 100, wavenumber + 100).value == pytest.approx(
        KM_PER_MOL, rel=0.01
    )
    assert found.wavenumber.magnitude[-1] <= 0.7 / (2 * LIGHT * 4e-3)
    # Σ m v² of these velocities is 41 % of that of the exact ones
    with pytest.raises(SpectrumError, match="finite differences"):
        analysis.spectrum()


def test_a_flux_per_atom_serves_any_other_groups(rattling, model, reference, tmp_path):
    found = DipoleFlux(rattling, model, GROUPS, per="atom", **READING).run()
    same(found, reference)
    found.save(tmp_path / "atoms.h5")
    np.testing.assert_array_equal(
        FluxSeries.load(tmp_path / "atoms.h5").flux, reference.results.flux
    )
    others = {"middle": "index 3:5", "even": "index 0 2 6 8"}
    again = load_groups(tmp_path / "atoms.h5", rattling, others)
    direct = DipoleFlux(rattling, model, others, **READING).run()
    assert again.groups == ["middle", "even", "rest"]
    np.testing.assert_allclose(again.flux, direct.results.flux, atol=1e-5)
    assert load_groups(tmp_path / "atoms.h5", rattling, None).groups == ["all"]
    np.testing.assert_array_equal(again.volumes, reference.results.volumes)


def test_a_flux_per_atom_of_some_atoms_in_parts(rattling, model, tmp_path):
    oxygens = rattling.select_atoms("element O")
    found = DipoleFlux(oxygens, model, per="atom", **READING).run(
        backend="multiprocessing", n_workers=2, n_parts=5
    )
    found.save(tmp_path / "atoms.h5")
    again = load_groups(tmp_path / "atoms.h5", rattling, {"second": "index 3"})
    direct = DipoleFlux(oxygens, model, {"second": "index 3"}, **READING).run()
    assert again.groups == direct.results.groups == ["second", "rest"]
    np.testing.assert_allclose(again.flux, direct.results.flux, atol=1e-5)
    with pytest.raises(GroupError, match="matches no atom"):
        load_groups(tmp_path / "atoms.h5", rattling, {"H": "element H"})
    with pytest.raises(GroupError, match="the topology has 6"):
        load_groups(tmp_path / "atoms.h5", gas(n_molecules=2), None)
    direct.save(tmp_path / "groups.h5")
    with pytest.raises(FileFormatError, match='per="atom"'):
        load_groups(tmp_path / "groups.h5", rattling, None)


@pytest.mark.parametrize("per", ["group", "atom"])
def test_an_interrupted_run_goes_on(rattling, model, reference, tmp_path, per):
    options = {"per": per, "checkpoint": tmp_path / "c", **READING}
    stopped = StopsAt(model.tensors, 18, slope=0.5)
    with pytest.raises(KeyboardInterrupt):
        DipoleFlux(rattling, stopped, GROUPS, **options).run()
    left = StopsAt(model.tensors, 40, slope=0.5)
    found = DipoleFlux(rattling, left, GROUPS, **options).run()
    same(found, reference)
    assert left.left == 40 - 1 - (40 - 17)  # one look, and only the frames that were missing
    again = StopsAt(model.tensors, 1, slope=0.5)
    same(DipoleFlux(rattling, again, GROUPS, **options).run(), reference)
    if per == "atom":
        found.save(tmp_path / "a.h5")
        np.testing.assert_allclose(
            load_groups(tmp_path / "a.h5", rattling, GROUPS).flux, reference.results.flux, atol=1e-5
        )


def test_other_strides_and_backends_share_a_checkpoint(rattling, model, reference, tmp_path):
    options = {"checkpoint": tmp_path / "c", **READING}
    DipoleFlux(rattling, model, GROUPS, **options).run(step=3)
    DipoleFlux(rattling, model, GROUPS, **options).run(
        5, 20, backend="multiprocessing", n_workers=2
    )
    found = DipoleFlux(rattling, model, GROUPS, **options).run(
        backend="multiprocessing", n_workers=2, n_parts=4
    )
    same(found, reference)
    done = DipoleFlux(
        rattling, StopsAt(model.tensors, 1, 0.5), GROUPS, checkpoint=tmp_path / "d", **READING
    )
    assert pickle.loads(pickle.dumps(done))._store.folder == done._store.folder


class Killed(StopsAt):
    """The process ends at once and without a chance to clean up."""

    def predict(self, frame):
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(frame)


Killed.__name__ = "KnownTensors"  # goes on with the ordinary one


def test_a_killed_run_goes_on(rattling, model, reference, tmp_path, monkeypatch):
    """SIGKILL in the middle: blocks on disk are whole, and the end is the same bit for bit."""
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 1000)  # a few frames
    killed = DipoleFlux(
        rattling, Killed(model.tensors, 24, slope=0.5), GROUPS, checkpoint=tmp_path / "c", **READING
    )
    process = multiprocessing.get_context("fork").Process(target=killed.run)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    analysis = DipoleFlux(rattling, model, GROUPS, checkpoint=tmp_path / "c", **READING)
    assert 16 < len(analysis._store.missing(np.arange(40), analysis._fingerprint)) < 30
    same(analysis.run(), reference)


def test_a_checkpoint_of_another_run_is_refused(rattling, tmp_path):
    def start(u=rattling, charges=CHARGES, groups=GROUPS, **options):
        return DipoleFlux(
            u, FixedCharges(charges), groups, checkpoint=tmp_path / "c", **READING, **options
        )

    start().run()
    for change, said in [
        ({"charges": {"O": -1.0, "H": 0.5}}, "model"),
        ({"groups": None}, "groups"),
        ({"u": gas(seed=1)}, "first frame"),
        ({"degrees_of_freedom": 20}, "degrees_of_freedom"),
        ({"sum_rule": "mass"}, "sum_rule"),
        ({"cell": "12 12 12"}, "cell"),
        ({"per": "atom"}, "per"),
    ]:
        with pytest.raises(TrajectoryError, match=rf"another run \(differs in .*{said}"):
            start(**change)
    start()
    (tmp_path / "c" / "plan.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"plan\.json is damaged"):
        start()


def test_a_damaged_block_is_refused(rattling, model, tmp_path):
    DipoleFlux(rattling, model, checkpoint=tmp_path / "c", **READING).run()
    [block] = (tmp_path / "c").glob("block-*.h5")
    content = bytearray(block.read_bytes())
    content[len(content) // 2] ^= 4
    for damage in (content, content[:3000]):
        block.write_bytes(damage)
        with pytest.raises(FileFormatError, match=r"block-000000000-\w{16}\.h5"):
            DipoleFlux(rattling, model, checkpoint=tmp_path / "c", **READING).run()


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_run(rattling, model, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        DipoleFlux(rattling, model, checkpoint=tmp_path / "file", **READING)


def test_two_runs_of_one_object_do_not_mix(rattling, model, reference):
    analysis = DipoleFlux(rattling, model, GROUPS, per="atom", **READING)
    analysis.run(stop=10)
    np.testing.assert_array_equal(analysis.results.flux, reference.results.flux[:10])
    analysis.run(start=20)
    np.testing.assert_array_equal(analysis.results.flux, reference.results.flux[20:])


@pytest.mark.slow
@pytest.mark.parametrize("per", ["group", "atom"])
def test_memory_does_not_grow_with_the_frames(tmp_path, monkeypatch, per):
    """Beyond flux, records and their transforms, a frame leaves nothing behind: its 300 atoms would
    be 7 kB.
    """
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 100_000)
    short = gas(10, n_molecules=100, cell=(300, 300, 300, 90, 90, 90))
    velocities = arrays(short)[1]
    numbers = {}
    for n_frames in (100, 500):
        path = tmp_path / f"{n_frames}.trr"
        with MDAnalysis.Writer(str(path), 300) as writer:
            for t in range(n_frames):
                short.trajectory[t % 10]
                short.trajectory.ts.time = 0.001 * t
                writer.write(short.atoms)
        u = short.copy()
        u.load_new(str(path))
        analysis = DipoleFlux(u, FixedCharges(CHARGES), per=per)
        tracemalloc.start()
        analysis.run()
        numbers[n_frames] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_allclose(
            analysis.results.flux[13, 0],
            np.array([CHARGES[s] for s in short.atoms.elements]) @ velocities[3],
            atol=1e-2,
        )
    assert (numbers[500] - numbers[100]) / 400 < 1500
