"""Dipole models of MACE, tiny and with random weights; MACE wants an environment of its own (`run`
in this folder makes it).
"""

import dataclasses
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mda_aptnn import DipoleFlux, check_model
from mda_aptnn.checks import Verdict
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.mace import DEBYE, MACE
from mda_aptnn.tensors import turned
from tests.systems import gas

HERE = find_spec("mace") is not None
NEEDED = "needs MACE: tests/mace/run"

#: Classes of MACE: the irreps of readouts that they ask for, and what random weights are multiplied
#: by, so that tensors are some e and far from symmetric.
KINDS = {
    "AtomicDipolesMACE": ("4x1o", 1.4),
    "AtomicDielectricMACE": ("4x0e+4x1o+4x2e", 1.1),
    "EnergyDipolesMACE": ("4x0e+4x1o", 1.0),
    "MACE": ("4x0e", 1.0),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each class, by its name."""
    if not HERE:
        pytest.skip(NEEDED)
    from e3nn import o3
    from mace import modules

    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    paths = {}
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    for kind, (readout, size) in KINDS.items():
        torch.manual_seed(1)
        energies = np.zeros(3) if "Energy" in kind or kind == "MACE" else None
        model = getattr(modules, kind)(
            r_max=2.5,
            num_bessel=4,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=block,
            interaction_cls_first=block,
            num_interactions=2,
            num_elements=3,
            hidden_irreps=o3.Irreps("4x0e+4x1o+4x2e"),
            MLP_irreps=o3.Irreps(readout),
            avg_num_neighbors=4.0,
            atomic_numbers=[1, 6, 8],
            correlation=2,
            gate=torch.nn.functional.silu,
            atomic_energies=energies,
        )
        torch.nn.utils.vector_to_parameters(
            size * torch.nn.utils.parameters_to_vector(model.parameters()), model.parameters()
        )
        paths[kind] = tmp_path_factory.mktemp("mace") / f"{kind}.model"
        torch.save(model, paths[kind])
    torch.set_default_dtype(before)
    return paths


@pytest.fixture(scope="module", params=["AtomicDipolesMACE", "AtomicDielectricMACE"])
def model(request, files):
    return MACE(files[request.param])


def formate(charge=-1.0) -> Frame:
    """HCOO⁻, bent out of its plane."""
    positions = [[0, 0, 0.1], [1.1, 0.1, 0], [-0.6, 1.1, 0], [-0.7, -1.0, 0.2]]
    return Frame([6, 1, 8, 8], positions, charge=charge)


def crystal() -> Frame:
    """Two molecules in a small triclinic cell, across its faces."""
    rng = np.random.default_rng(0)
    cell = np.array([[6.0, 0, 0], [0.7, 5.5, 0], [-0.4, 0.6, 5.0]])
    molecule = formate().positions
    places = np.concatenate([molecule, molecule @ [[0, 1, 0], [0, 0, 1], [1, 0, 0]] + 2.7])
    shaken = places + rng.normal(scale=0.05, size=places.shape)
    return Frame(np.tile(formate().numbers, 2), shaken, cell, [True] * 3)


def by_displacement(model: MACE, frame: Frame, step: float = 0.005) -> np.ndarray:
    """∂M_a/∂r_ib by central differences of fourth order."""
    tensors = np.zeros((len(frame), 3, 3))
    for i in range(len(frame)):
        for b in range(3):
            for factor, weight in ((1, 8), (-1, -8), (2, -1), (-2, 1)):
                positions = frame.positions.copy()
                positions[i, b] += factor * step
                moved = dataclasses.replace(frame, positions=positions)
                tensors[i, :, b] += weight * model.dipole(moved)[0] / (12 * step)
    return tensors


def sample(model: MACE) -> Frame:
    return crystal() if model.architecture == "AtomicDipolesMACE" else formate()


def test_it_keeps_what_a_predictor_promises(model):
    frame = sample(model)
    checks = check_model(model, frame, reference=by_displacement(model, frame))
    known = [check for check in checks if check.verdict is not Verdict.UNKNOWN]
    assert not [check for check in known if check.verdict is Verdict.REFUSED], checks
    names = {check.name for check in known}
    assert {"rotation", "permutation", "continuity at the cutoff", "order of indices"} <= names
    assert ("periodic images" in names) == frame.pbc.all()


def test_tensors_are_derivatives_of_the_dipole(model):
    frame = sample(model)
    tensors = model.predict(frame)
    assert_allclose(tensors, by_displacement(model, frame), atol=1e-4)
    # far from symmetric, so that a transposed one would have been noticed
    assert np.abs(tensors - tensors.swapaxes(1, 2)).max() > 0.01


def test_it_is_what_the_calculator_of_mace_says(files):
    """Its neighbours, its units, its derivatives [component of the dipole, atom, position]."""
    from ase import Atoms
    from mace.calculators import MACECalculator

    for frame, kind, name in (
        (formate(), "AtomicDielectricMACE", "DipolePolarizabilityMACE"),
        (crystal(), "AtomicDipolesMACE", "DipoleMACE"),
    ):
        calculator = MACECalculator(str(files[kind]), model_type=name, default_dtype="float64")
        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        atoms.info["charge"] = frame.charge
        model, unit = MACE(files[kind]), DEBYE if name == "DipoleMACE" else 1.0
        dipole = calculator.get_property("dipole", atoms)
        assert_allclose(model.dipole(frame)[0], dipole * unit, atol=1e-10)
        if name != "DipoleMACE":
            expected = calculator.get_dielectric_derivatives(atoms)[0]
            assert_allclose(model.predict(frame), expected.swapaxes(0, 1), atol=1e-10)


@pytest.mark.skipif(not HERE, reason=NEEDED)
def test_units_are_those_in_which_mace_adds_the_dipole_of_charges():
    """1 e at 1 Å, in Debye and in e·Å."""
    from mace.modules import utils

    charge = torch.ones(1), torch.eye(3)[:1], torch.zeros(1, dtype=torch.int64), 1
    assert_allclose(utils.compute_fixed_charge_dipole(*charge)[0] * DEBYE, [1, 0, 0], rtol=1e-6)
    assert_allclose(utils.compute_fixed_charge_dipole_polar(*charge)[0], [1, 0, 0])


@pytest.mark.parametrize("charge", [-1.0, 0.0, 2.0])
def test_a_net_charge(files, charge):
    frame = formate(charge)
    model = MACE(files["AtomicDielectricMACE"])
    assert_allclose(model.predict(frame).sum(axis=0), charge * np.eye(3), atol=1e-10)
    neutral = MACE(files["AtomicDipolesMACE"])
    if charge:
        with pytest.raises(ModelError, match=f"add up to 0 e, and the frame has {charge:g} e"):
            neutral.predict(frame)
    else:
        assert_allclose(neutral.predict(frame).sum(axis=0), 0.0, atol=1e-10)


def test_a_cell(files):
    """Two cells are two cells; a dipole with charges has none."""
    model, frame = MACE(files["AtomicDipolesMACE"]), crystal()
    twice = Frame(
        np.tile(frame.numbers, 2),
        np.concatenate([frame.positions, frame.positions + frame.cell[1]]),
        frame.cell * [[1], [2], [1]],
        frame.pbc,
    )
    assert_allclose(model.predict(twice), np.tile(model.predict(frame), (2, 1, 1)), atol=1e-10)
    with pytest.raises(ModelError, match="depends on the periodic image"):
        MACE(files["AtomicDielectricMACE"]).predict(frame)


def test_an_atom_alone_and_a_model_with_energies(files):
    model = MACE(files["EnergyDipolesMACE"])
    assert_allclose(model.predict(Frame([8], [[1.0, 2.0, 3.0]])), 0.0)
    frame = formate(0.0)
    assert_allclose(model.predict(frame), by_displacement(model, frame), atol=1e-4)
    ion = Frame([8], [[1.0, 2.0, 3.0]], charge=-2.0)
    assert_allclose(MACE(files["AtomicDielectricMACE"]).predict(ion)[0], -2 * np.eye(3))


def test_a_flux(files):
    universe, model = gas(n_frames=12), MACE(files["AtomicDipolesMACE"])
    flux = DipoleFlux(universe, model, velocity_unit="angstrom/ps").run()
    universe.trajectory[7]
    atoms = universe.atoms
    rate = np.einsum("iab,ib->a", model.predict(universe), atoms.velocities)
    assert_allclose(flux.results.flux[7].sum(axis=0), rate, rtol=1e-5)


def test_what_is_no_dipole_model_is_refused(files, tmp_path):
    with pytest.raises(ModelError, match="is MACE, and has no dipole; those of MACE that have one"):
        MACE(files["MACE"])
    with pytest.raises(ModelError, match="there is no such file"):
        MACE(tmp_path / "none.model")
    (tmp_path / "text.model").write_text("no model")
    with pytest.raises(ModelError, match="is no file of MACE: UnpicklingError"):
        MACE(tmp_path / "text.model")
    with pytest.raises(ModelError, match="does not know Na; it was made for H, C, O"):
        MACE(files["AtomicDipolesMACE"]).predict(Frame([11], np.zeros((1, 3))))


@pytest.mark.skipif(HERE, reason="MACE is installed")
def test_without_mace_the_error_says_what_to_install(tmp_path):
    (tmp_path / "some.model").write_text("")
    with pytest.raises(ModelError, match="pip install mace-torch, in an environment of its own"):
        MACE(tmp_path / "some.model")


def test_rotation_to_rounding(model):
    frame = dataclasses.replace(sample(model), cell=np.zeros((3, 3)), pbc=np.zeros(3, bool))
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    moved = dataclasses.replace(frame, positions=frame.positions @ rotation.T)
    expected = turned(model.predict(frame), rotation)
    assert_allclose(model.predict(moved), expected, atol=1e-5)
