"""The density network: symmetries that hold exactly before any training, in every shape."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mda_aptnn.errors import FrameError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.density import DensityNetwork, LayerConfig, NetworkConfig
from mda_aptnn.model.inputs import Inputs, radial_basis
from mda_aptnn.tensors import APT, PGT, Target

#: Outputs are of order one, and some hundred float64 roundings of neighbours and products go into
#: each.
EXACT = 1e-10

SMALL = NetworkConfig(
    (
        LayerConfig(features="6x0e+6x1o+6x2e", n_radial=5, cutoff=4.0, order=3),
        LayerConfig(
            features="5x0e+5x1o+5x1e+5x2e",
            messages="4x0e+3x1o+2x2e",
            n_radial=4,
            n_mixed=3,
            cutoff=3.0,
            order=2,
        ),
    )
)
#: Three layers, all parities, l up to 3, cutoffs that differ.
FULL = NetworkConfig(
    (
        LayerConfig(
            features="4x0e+4x1o+4x1e+4x2e+4x2o+4x3o", n_radial=4, lmax=3, cutoff=3.5, order=2
        ),
        LayerConfig(
            features="4x0e+4x1o+4x2e+4x2o+4x3o",
            messages="3x0e+2x1o+2x1e+2x2o+1x3o",
            n_radial=4,
            n_mixed=2,
            lmax=3,
            cutoff=3.0,
            order=3,
        ),
        LayerConfig(
            features="4x0o+4x0e+4x1o+4x1e+4x2e+4x2o+4x3o",
            messages="2x0e+2x1o+2x2o",
            cutoff=3.5,
            order=2,
        ),
    )
)
#: Three polar indices without symmetry: every parity, several copies of an irrep, and a
#: pseudoscalar.
CUBE = Target("cube", "ijk", "angstrom^2")
CASES = [(SMALL, APT), (NetworkConfig(), APT), (FULL, APT), (FULL, PGT), (FULL, CUBE)]
NAMES = ["small", "default", "full", "pgt", "cube"]


def made(config=SMALL, target=APT, numbers=(1, 8), seed=0):
    """An untrained network in float64 with random weights, biases, scales and shifts, by way of
    float32.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DensityNetwork(config, numbers, target)
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
        for name, block in target.blocks:
            network.scale[:, block] = 0.2 + torch.rand(len(numbers), 1)
            if name.startswith("0e"):
                network.shift[:, block] = torch.randn(len(numbers), 1)
    return network.float().double().requires_grad_(False)


def predicted(network, frame):
    return network.target.to_cartesian(network(network.inputs(frame)).numpy())


def water(n_molecules=8, seed=1, pbc=(True, True, True), cell=None):
    """Water molecules in random orientations on a jittered cubic lattice of 3.1 Å (so in cells of
    6.2 Å).
    """
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n_molecules ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[
        :n_molecules
    ]
    molecule = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
    turns = np.array([np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(n_molecules)])
    centres = 3.1 * sites + rng.normal(scale=0.1, size=(n_molecules, 3))
    positions = (centres[:, None] + molecule @ turns).reshape(-1, 3)
    box = np.where(np.array(pbc)[:, None], 3.1 * side * np.eye(3) if cell is None else cell, 0.0)
    return Frame(np.tile([8, 1, 1], n_molecules), positions, box, np.array(pbc))


def turned(tensors, rotation):
    """Every index behind the first (the atom) turned."""
    for axis in range(1, tensors.ndim):
        tensors = np.moveaxis(np.tensordot(tensors, rotation, (axis, 1)), -1, axis)
    return tensors


@pytest.mark.parametrize(("config", "target"), CASES, ids=NAMES)
@pytest.mark.parametrize("reflected", [False, True], ids=["rotation", "reflection"])
def test_tensors_turn_with_the_frame(config, target, reflected):
    network, frame = made(config, target), water()
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation) * (-1 if reflected else 1)
    moved = Frame(frame.numbers, frame.positions @ rotation.T, frame.cell @ rotation.T, frame.pbc)
    here, there = predicted(network, frame), predicted(network, moved)
    assert np.abs(here).max() > 0.1
    assert np.abs(there - here).max() > 0.1
    assert_allclose(there, turned(here, rotation), atol=EXACT)


def test_every_irrep_of_the_target_varies():
    """That a part is zero everywhere would pass all symmetries."""
    for config, target in CASES:
        network = made(config, target)
        components = network(network.inputs(water())).numpy()[::3]
        assert (components.std(axis=0) > 1e-3).all()


def test_constants_are_exact_after_casts():
    """Cast to float32 and back, a network is as exact as one that never was."""
    network = made()
    again = copy.deepcopy(network).float().double()
    frame = water()
    assert torch.equal(network(network.inputs(frame)), again(again.inputs(frame)))
    assert all(value.dtype == torch.float64 for value in again.buffers())


def test_float32_is_close():
    network, frame = made(), water()
    exact = predicted(network, frame)
    single = copy.deepcopy(network).float()
    assert network.inputs(frame).density.dtype == torch.float64
    assert single.inputs(frame).density.dtype == torch.float32
    assert_allclose(predicted(single, frame), exact, atol=2e-5 * np.abs(exact).max())


def test_order_of_atoms():
    network, frame = made(), water()
    order = np.random.default_rng(0).permutation(len(frame))
    shuffled = Frame(frame.numbers[order], frame.positions[order], frame.cell, frame.pbc)
    assert_allclose(predicted(network, shuffled), predicted(network, frame)[order], atol=EXACT)


def test_translation_and_wrapping():
    network, frame = made(), water()
    moved = Frame(
        frame.numbers, frame.positions + np.array([0.3, -7.0, 2.2]), frame.cell, frame.pbc
    )
    wrapped = Frame(frame.numbers, moved.positions % frame.cell[0, 0], frame.cell, frame.pbc)
    assert_allclose(predicted(network, moved), predicted(network, frame), atol=EXACT)
    assert_allclose(predicted(network, wrapped), predicted(network, frame), atol=EXACT)


def replicated(frame, repeats):
    shifts = np.stack(
        np.meshgrid(*[np.arange(n) for n in repeats], indexing="ij"), axis=-1
    ).reshape(-1, 3)
    positions = (frame.positions + (shifts @ frame.cell)[:, None]).reshape(-1, 3)
    return Frame(
        np.tile(frame.numbers, len(shifts)),
        positions,
        frame.cell * np.array(repeats)[:, None],
        frame.pbc,
    )


@pytest.mark.parametrize("n_molecules", [8, 1], ids=["below twice the cutoff", "below the cutoff"])
def test_a_supercell_repeats_the_cell(n_molecules):
    """Cells of 6.2 and 3.1 Å with a cutoff of 4 Å: atoms see several images of others, and of
    themselves.
    """
    network, frame = made(), water(n_molecules)
    assert frame.cell[0, 0] < 2 * network.config.cutoff
    repeated = predicted(network, replicated(frame, (2, 3, 2)))
    assert_allclose(repeated, np.tile(predicted(network, frame), (12, 1, 1)), atol=EXACT)


def test_a_triclinic_cell_of_the_same_lattice():
    network, frame = made(), water()
    sheared = np.array([[1, 0, 0], [1, 1, 0], [-2, 1, 1]]) @ frame.cell
    other = Frame(frame.numbers, frame.positions, sheared, frame.pbc)
    assert_allclose(predicted(network, other), predicted(network, frame), atol=EXACT)


def test_open_directions():
    """Gas phase and slab are the limits of large cells, and an image more or less is seen."""
    network = made()
    gas = water(pbc=(False, False, False))
    far = Frame(gas.numbers, gas.positions, 50.0 * np.eye(3), np.ones(3, bool))
    assert_allclose(predicted(network, gas), predicted(network, far), atol=EXACT)
    slab = water(pbc=(True, True, False))
    tall = Frame(slab.numbers, slab.positions, slab.cell + np.diag([0, 0, 50.0]), np.ones(3, bool))
    assert_allclose(predicted(network, slab), predicted(network, tall), atol=EXACT)
    bulk = water()
    assert np.abs(predicted(network, slab) - predicted(network, bulk)).max() > 1e-3
    assert np.abs(predicted(network, slab) - predicted(network, gas)).max() > 1e-3


def test_an_atom_on_its_own_is_isotropic():
    network = made()
    for number, row in ((1, 0), (8, 1)):
        tensor = predicted(network, Frame(np.array([number]), np.zeros((1, 3))))[0]
        assert_allclose(tensor, tensor[0, 0] * np.eye(3), atol=EXACT)
        assert tensor[0, 0] != pytest.approx(float(network.shift[row, 0]) / np.sqrt(3))


def test_smooth_where_a_neighbour_comes_in():
    """Two atoms at the cutoff: the envelope vanishes as the third power, the Bessel functions as
    the first.
    """
    network = made()

    def change(distance):
        def at(z):
            return predicted(network, Frame(np.array([8, 1]), np.array([[0.0, 0, 0], [0, 0, z]])))

        return np.abs(at(distance) - at(network.config.cutoff + 1.0)).max()

    cutoff = network.config.cutoff
    assert change(cutoff + 1e-9) == 0
    assert change(cutoff - 1e-6) < 1e-14
    near, nearer = change(cutoff - 0.04), change(cutoff - 0.02)
    assert near > 1e-8
    assert np.log2(near / nearer) == pytest.approx(4, abs=0.3)


def test_locality():
    """Two layers see as far as the sum of their cutoffs, and no farther."""
    network = made()
    reach = sum(layer.cutoff for layer in network.config.layers)
    chain = np.array([[0.0, 0, 0], [2.9, 0, 0], [reach - 0.3, 0, 0]])
    near = Frame(np.array([8, 1, 8]), chain)
    farther = Frame(near.numbers, chain + np.array([[0, 0, 0], [0, 0, 0], [0.4, 0, 0]]))
    alone = Frame(near.numbers[:2], chain[:2])
    assert np.abs(predicted(network, near)[0] - predicted(network, alone)[0]).max() > 1e-9
    assert_allclose(predicted(network, farther)[0], predicted(network, alone)[0], atol=EXACT)


def test_frames_together_are_as_frames_alone():
    """Different numbers of atoms, elements and neighbours, some without any."""
    network = made()
    frames = [
        water(1),
        water(8, seed=4),
        Frame(np.array([1]), np.zeros((1, 3))),
        water(5, pbc=(False,) * 3),
    ]
    inputs = [network.inputs(frame) for frame in frames]
    together = network(Inputs.together(inputs))
    alone = torch.cat([network(item) for item in inputs])
    assert_allclose(together.numpy(), alone.numpy(), atol=EXACT)
    nested = network(Inputs.together([Inputs.together(inputs[:2]), Inputs.together(inputs[2:])]))
    assert_allclose(nested.numpy(), alone.numpy(), atol=EXACT)


def test_the_first_density_is_a_sum_over_images():
    """Against a loop over images: atoms 0 and 1 at (0, 0, 0) and (0, 0, 1) in a cell of 3 Å, cutoff
    4 Å.
    """
    network = made()
    frame = Frame(
        np.array([8, 1]), np.array([[0.0, 0, 0], [0, 0, 1.0]]), 3.0 * np.eye(3), np.ones(3, bool)
    )
    inputs = network.inputs(frame)
    # row of the oxygen after sorting by element; isotropic part of the density of hydrogen about it
    density = inputs.density[0, inputs.places[0], :5].numpy()
    images = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), axis=-1).reshape(-1, 3)
    lengths = np.linalg.norm([0, 0, 1.0] + 3.0 * images, axis=1)
    expected = radial_basis(lengths[lengths < 4.0], 4.0, 5).sum(axis=0)
    assert_allclose(density, expected, rtol=1e-12)


def test_radial_functions():
    """Orthonormal under ∫r²dr without the envelope, which is 1 and flat at 0, 0 and flat at the
    cutoff.
    """
    r = np.linspace(1e-6, 5.0, 20001)
    values = radial_basis(r, 5.0, 4)
    x = r / 5.0
    envelope = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    bare = values[:-1] / envelope[:-1, None]
    assert_allclose(
        np.trapezoid(bare[:, :, None] * bare[:, None] * r[:-1, None, None] ** 2, r[:-1], axis=0),
        np.eye(4),
        atol=1e-6,
    )
    assert_allclose(np.gradient(values, r, axis=0)[-1], 0, atol=1e-6)


def test_a_configuration_survives_json():
    for config, _ in CASES:
        again = NetworkConfig(**json.loads(json.dumps(dataclasses.asdict(config))))
        assert again == config


def test_the_same_seed_gives_the_same_network():
    one, other = made(seed=5), made(seed=5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.get_default_dtype() == torch.float32


def test_bad_input_is_refused():
    network = made()
    with pytest.raises(ModelError, match="does not know Na, Cl"):
        network.inputs(Frame(np.array([8, 11, 17]), np.diag([1.0, 3.0, 5.0])))
    with pytest.raises(FrameError, match="apart"):
        network.inputs(Frame(np.array([8, 1]), np.array([[0.0, 0, 0], [0, 0, 0.1]])))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "at least one layer"),
        ([{"features": "4x0e", "messages": "4x0e"}], "first takes none"),
        ([{"features": "4x0e"}, {"features": "4x0e"}], "needs messages"),
        ([{"features": "4x1o"}], "need scalars"),
        ([{"features": "4x0x"}], "are not irreps"),
        ([{"features": "4x0e", "cutoff": 0.0}], "cutoff > 0"),
        ([{"features": "4x0e", "cutof": 5.0}], "cannot be read"),
        ([{"features": "4x0e+2x1o"}], "same number of channels"),
        ([{"features": "4x0e+4x1o", "order": 2}], "lack 1e, 2e"),
    ],
)
def test_bad_configurations_are_refused(layers, message):
    with pytest.raises(ModelError, match=message):
        DensityNetwork(NetworkConfig(layers), [1, 8], APT)
