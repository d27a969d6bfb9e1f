import itertools

import numpy as np
import pytest
import torch

from mda_aptnn.tensors import (
    APT,
    PGT,
    SumRuleNameError,
    Target,
    apply_sum_rule,
    as_target,
    sum_rule_residual,
    wigner_3j,
)
from tests.systems import random_tensors

MASSES = np.array([15.999, 1.008, 1.008, 12.011])


def rotation() -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.linalg.det(q)


@pytest.mark.parametrize("target", [APT, PGT], ids=lambda target: target.name)
def test_irreps_are_orthonormal_and_reversible(target):
    tensors = np.random.default_rng(0).normal(size=(5, *target.shape))
    if target is PGT:
        tensors += tensors.transpose(0, 2, 1, 3)
    components = target.to_irreps(tensors)
    assert components.shape == (5, 9 if target is APT else 18)
    np.testing.assert_allclose(target.to_cartesian(components), tensors, atol=1e-12)
    np.testing.assert_allclose((components**2).sum(), (tensors**2).sum())


def test_blocks_of_the_polar_tensor_are_trace_rotation_and_deviator():
    assert [name for name, _ in APT.blocks] == ["0e", "1e", "2e"]
    tensors = random_tensors(4)
    parts = {}
    for name, part in APT.blocks:
        components = np.zeros((4, 9))
        components[:, part] = APT.to_irreps(tensors)[:, part]
        parts[name] = APT.to_cartesian(components)
    trace = np.trace(tensors, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    turned = tensors.transpose(0, 2, 1)
    np.testing.assert_allclose(parts["0e"], trace, atol=1e-12)
    np.testing.assert_allclose(parts["1e"], (tensors - turned) / 2, atol=1e-12)
    np.testing.assert_allclose(parts["2e"], (tensors + turned) / 2 - trace, atol=1e-12)


def test_irreps_do_not_mix_under_rotation():
    r, tensors = rotation(), random_tensors(4)
    before, after = APT.to_irreps(tensors), APT.to_irreps(r @ tensors @ r.T)
    for _, part in APT.blocks:
        np.testing.assert_allclose((before[:, part] ** 2).sum(1), (after[:, part] ** 2).sum(1))


def test_blocks_of_the_polarizability_gradient_are_told_apart():
    names = [name for name, _ in PGT.blocks]
    assert len(set(names)) == len(names)
    assert sum(part.stop - part.start for _, part in PGT.blocks) == 18


def test_residual_of_the_sum_rule():
    tensors = random_tensors(4)
    np.testing.assert_allclose(sum_rule_residual(tensors, 1.5), sum(tensors) - 1.5 * np.eye(3))


@pytest.mark.parametrize(
    ("rule", "weights"), [("mass", MASSES / MASSES.sum()), ("uniform", np.full(4, 0.25))]
)
def test_sum_rule_is_fulfilled_with_its_weights(rule, weights):
    tensors = random_tensors(4)
    corrected = apply_sum_rule(tensors, rule, MASSES, -1.0)
    np.testing.assert_allclose(sum_rule_residual(corrected, -1.0), 0, atol=1e-12)
    np.testing.assert_allclose(
        tensors - corrected, weights[:, None, None] * (tensors.sum(0) + np.eye(3))
    )


def test_mass_weights_leave_the_flux_alone_where_the_centre_of_mass_rests():
    tensors, velocities = random_tensors(4), np.random.default_rng(2).normal(size=(4, 3))
    drift = (MASSES[:, None] * velocities).sum(0) / MASSES.sum()

    def flux(rule, v):
        return np.einsum("iab,ib->a", apply_sum_rule(tensors, rule, MASSES), v)

    np.testing.assert_allclose(
        flux("mass", velocities - drift), flux("none", velocities - drift), atol=1e-12
    )
    assert (
        np.abs(flux("uniform", velocities - drift) - flux("none", velocities - drift)).max() > 0.1
    )
    np.testing.assert_allclose(
        flux("mass", velocities) - flux("none", velocities),
        -sum_rule_residual(tensors) @ drift,
        atol=1e-12,
    )


def test_unknown_names_are_refused():
    with pytest.raises(SumRuleNameError, match=r"'weight'.*none, mass, uniform"):
        apply_sum_rule(random_tensors(1), "weight", MASSES[:1])
    assert as_target("apt") is APT and as_target(PGT) is PGT
    with pytest.raises(KeyError, match="apt, pgt"):
        as_target("dipole")


def test_wigner_symbols_are_those_of_e3nn():
    """Up to the sign, which e3nn chose anew in version 0.5; weights of a model depend on it."""
    # with this package's help to read its constants
    from mda_aptnn.model.irreps import LARGEST_DEGREE, o3

    levi_civita = np.cross(np.eye(3)[:, None], np.eye(3)[None])
    np.testing.assert_allclose(wigner_3j(1, 1, 1), levi_civita / np.sqrt(6), atol=1e-15)
    signs = {}
    for degrees in itertools.product(range(LARGEST_DEGREE + 1), repeat=3):
        if abs(degrees[0] - degrees[1]) <= degrees[2] <= degrees[0] + degrees[1]:
            own, other = wigner_3j(*degrees), o3.wigner_3j(*degrees, dtype=torch.float64).numpy()
            signs[degrees] = round(float((own * other).sum()))
            np.testing.assert_allclose(own, signs[degrees] * other, atol=1e-12)
    # that of no even sum, and of those before 0.5 none that is not odd
    changed = {degrees for degrees, sign in signs.items() if sign != 1}
    assert all(sum(degrees) % 2 for degrees in changed)
    assert (1, 2, 2) in changed or not changed
    assert len(signs) == 175


def test_other_symmetries_are_refused():
    with pytest.raises(ValueError, match="only the first two"):
        Target("other", "ijk=ikj", "e").basis  # noqa: B018
