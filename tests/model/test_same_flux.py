"""The same frames in every format give the same flux and spectrum of the bundled network."""

from __future__ import annotations

import numpy as np
import pytest

from mda_aptnn import DipoleFlux
from tests import trajectory_files as files
from tests.trajectory.test_trajectory import FORMATS, universe_of


@pytest.fixture(scope="module")
def water():
    return files.water(4)


@pytest.fixture(scope="module")
def reference(water, tmp_path_factory):
    return flux_of(water, "h5md", tmp_path_factory.mktemp("reference"))


def flux_of(sample, kind, folder):
    universe = universe_of(sample, kind, folder)
    return DipoleFlux(
        universe, "water-rpbe-d3", {"O": "element O", "H": "element H"}, **FORMATS[kind][0]
    ).run()


@pytest.mark.parametrize("kind", sorted(set(FORMATS) - {"h5md"}))
def test_the_flux_does_not_depend_on_the_format(kind, water, reference, tmp_path):
    found = flux_of(water, kind, tmp_path)
    assert found.results.groups == reference.results.groups
    size = np.sqrt((reference.results.flux**2).mean())
    # single precision of positions at 12 Å is 1e-6 Å, and tensors change by some 1 e/Å: 1e-6 of the
    # flux; formats with ten digits and the 1e-6 relative of velocities add as much
    np.testing.assert_allclose(found.results.flux, reference.results.flux, atol=2e-5 * size)
    np.testing.assert_allclose(found.results.volumes, reference.results.volumes, rtol=1e-5)
    np.testing.assert_allclose(
        found.results.temperatures, reference.results.temperatures, rtol=1e-5
    )
    np.testing.assert_allclose(found.results.times, reference.results.times, atol=1e-8)
