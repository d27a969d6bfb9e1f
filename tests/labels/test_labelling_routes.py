"""Each route turns what a known system would print into the tensors of that system, far from
symmetric ones.
"""

import dataclasses

import numpy as np
import pytest

from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.cp2k.output import parse_apt
from mda_aptnn.labels.protocol import Output, Run
from mda_aptnn.labels.routes import (
    BOHR,
    AnalyticRoute,
    DisplacementRamanRoute,
    DisplacementRoute,
    FieldRamanRoute,
    FieldRoute,
    make_route,
)

CELL = np.array([[6.0, 0.1, 0.2], [1.5, 5.5, 0.3], [-0.7, 1.1, 5.1]])
N = 4


@pytest.fixture
def system():
    rng = np.random.default_rng(3)
    frame = Frame([8, 1, 1, 9], rng.uniform(0, 5, (N, 3)), CELL, [True] * 3)
    gradients = rng.normal(size=(N, 3, 3, 3))
    gradients += gradients.transpose(0, 2, 1, 3)
    return System(
        frame, rng.normal(size=(N, 3, 3)), rng.normal(size=(N, 3)), rng.normal(size=3), gradients
    )


@dataclasses.dataclass
class System:
    """Energy U = U0 − F·d − M·E − d·P·E − ½ E·(α + G d)·E: what fields and displacements do to
    forces and dipole.
    """

    frame: Frame
    apt: np.ndarray
    forces: np.ndarray
    dipole: np.ndarray
    gradients: np.ndarray  # Å²
    polarizability: float = 9.0  # bohr³
    berry: bool = True

    def run(self, run: Run) -> Output:
        field = np.array(run.field)
        forces = self.forces + np.einsum("iab,a->ib", self.apt, field)
        forces = forces + np.einsum("iabc,a,b->ic", self.gradients, field, field) / BOHR**2 / 2
        dipole = self.dipole + self.polarizability * field * BOHR
        alpha = self.polarizability * BOHR**3 * np.eye(3)
        if run.atom >= 0:
            dipole = dipole + self.apt[run.atom] @ run.displacement
            alpha = alpha + self.gradients[run.atom] @ run.displacement
        if self.berry:  # into the cell's first branch, as CP2K does
            turns = dipole @ np.linalg.inv(self.frame.cell)
            dipole = (turns - np.round(turns)) @ self.frame.cell
        lengths = np.linalg.norm(self.frame.cell, axis=1)
        return Output(
            run.name,
            "CP2K version 0",
            -1.0,
            self.frame.numbers,
            self.frame.positions,
            self.frame.cell,
            lengths,
            forces,
            dipole,
            self.berry,
            None,
            alpha,
        )

    def labels(self, route, atoms=range(N)):
        runs = route.runs(atoms)
        return route.labels(self.frame, runs, {run.name: self.run(run) for run in runs})


def test_field_route(system):
    assert [run.name for run in FieldRoute().runs([])] == [
        "zero",
        "px",
        "mx",
        "py",
        "my",
        "pz",
        "mz",
    ]
    labels = system.labels(FieldRoute(1e-3))
    np.testing.assert_allclose(labels.tensors["apt"], system.apt, atol=1e-12)
    np.testing.assert_allclose(labels.info["polarizability"], 9.0 * BOHR**3 * np.eye(3), atol=1e-9)
    assert np.abs(system.apt - system.apt.transpose(0, 2, 1)).max() > 1


def test_two_field_strengths_tell_the_linearity(system):
    route = FieldRoute(1e-3, 2e-3)
    assert len(route.runs([])) == 13
    assert system.labels(route).info["linearity"] < 1e-12
    runs = route.runs([])
    outputs = {run.name: system.run(run) for run in runs}
    bent = {
        run.name: dataclasses.replace(
            outputs[run.name], forces=outputs[run.name].forces + 1e3 * np.array(run.field) ** 3
        )
        for run in runs
    }
    # F = 1000 E³ adds 1000 E² to the tensor: 1e-3 at the first strength, 4e-3 at the second
    assert route.labels(system.frame, runs, bent).info["linearity"] == pytest.approx(3e-3, rel=1e-6)


def test_field_raman_route(system):
    route = FieldRamanRoute(2e-3)
    assert len(route.runs([])) == 13
    # the six of the polar tensors are among them
    assert [run.name for run in route.runs([])[:7]] == [
        run.name for run in FieldRoute(2e-3).runs([])
    ]
    assert FieldRoute(2e-3).runs([]) == route.runs([])[:7]
    assert np.linalg.norm([run.field for run in route.runs([])[1:]], axis=1) == pytest.approx(2e-3)
    labels = system.labels(route)
    np.testing.assert_allclose(labels.tensors["apt"], system.apt, atol=1e-11)
    found = labels.tensors["pgt"]
    np.testing.assert_allclose(found, system.gradients, atol=1e-8)
    assert np.array_equal(found, found.transpose(0, 2, 1, 3))
    # no other symmetry that could hide a wrong order of indices
    assert np.abs(system.gradients - system.gradients.transpose(0, 3, 2, 1)).max() > 1


def test_two_strengths_tell_what_the_fields_do_to_the_gradients(system):
    route = FieldRamanRoute(1e-3, 2e-3)
    runs = route.runs([])
    assert len(runs) == 25
    assert system.labels(route).info["pgt_linearity"] < 1e-8
    bent = {}
    for run in runs:
        output = system.run(run)
        bent[run.name] = dataclasses.replace(
            output, forces=output.forces + 1e4 * np.linalg.norm(run.field) ** 4
        )
    # F = 10⁴ |E|⁴ adds 2·10⁴ E² bohr² to G_aa: 0.02 and 0.08
    change = route.labels(system.frame, runs, bent).info["pgt_linearity"]
    assert change == pytest.approx(0.06 * BOHR**2, rel=1e-5)


def test_displacement_raman_route_of_some_atoms(system):
    molecule = dataclasses.replace(system, berry=False)
    labels = molecule.labels(DisplacementRamanRoute(0.01), atoms=[0, 2])
    np.testing.assert_allclose(labels.tensors["pgt"][[0, 2]], system.gradients[[0, 2]], atol=1e-10)
    np.testing.assert_allclose(labels.tensors["apt"][[0, 2]], system.apt[[0, 2]], atol=1e-11)
    assert np.isnan(labels.tensors["pgt"][[1, 3]]).all()
    runs = DisplacementRamanRoute().runs([0])
    silent = {run.name: dataclasses.replace(molecule.run(run), polarizability=None) for run in runs}
    with pytest.raises(LabelError, match="no polarizability in the output"):
        DisplacementRamanRoute().labels(system.frame, runs, silent)


def test_a_dipole_against_the_field_is_refused(system):
    with pytest.raises(LabelError, match=r"does not follow the field.*xTB.*--route displacement"):
        dataclasses.replace(system, polarizability=-9.0).labels(FieldRoute())


@pytest.mark.parametrize("berry", [True, False])
def test_displacement_route_of_some_atoms(system, berry):
    labels = dataclasses.replace(system, berry=berry).labels(DisplacementRoute(0.01), atoms=[0, 2])
    np.testing.assert_allclose(labels.tensors["apt"][[0, 2]], system.apt[[0, 2]], atol=1e-11)
    assert np.isnan(labels.tensors["apt"][[1, 3]]).all()


@pytest.mark.parametrize("fraction", [(0.5, 0, 0), (0, 0.5, 0.5), (0.5, -0.5, 0.5)])
def test_dipoles_at_the_edge_of_their_branch(system, fraction):
    # between plus and minus the dipole leaves the branch on one side and comes back on the other
    edge = dataclasses.replace(system, dipole=np.array(fraction) @ CELL)
    step = 0.01
    jumps = [
        np.abs(edge.run(plus).dipole - edge.run(minus).dipole).max()
        for plus, minus in zip(*[iter(DisplacementRoute(step).runs(range(N))[1:])] * 2, strict=True)
    ]
    assert max(jumps) > 2
    np.testing.assert_allclose(
        edge.labels(DisplacementRoute(step)).tensors["apt"], system.apt, atol=1e-11
    )


def test_a_dipole_that_jumps_by_no_quantum_is_refused(system):
    route = DisplacementRoute(0.01)
    runs = route.runs([1])
    outputs = {run.name: system.run(run) for run in runs}
    outputs["py_1"] = dataclasses.replace(
        outputs["py_1"], dipole=outputs["py_1"].dipole + 0.3 * CELL[1]
    )
    with pytest.raises(LabelError, match="jumps when atom 1"):
        route.labels(system.frame, runs, outputs)
    outputs["py_1"] = dataclasses.replace(outputs["py_1"], berry=False)
    with pytest.raises(LabelError, match="cannot be subtracted"):
        route.labels(system.frame, runs, outputs)


def test_cp2k_finite_field_tensors_are_not_transposed(system):
    # the format of qs_apt_fdiff_methods.F: atom, element, mean of the trace; rows are fields,
    # columns are forces
    text = "Computing Atomic polarization tensors using finite differences\n"
    for number, (symbol, tensor) in enumerate(
        zip(system.frame.symbols, system.apt, strict=True), 1
    ):
        text += f"{number:6d}{symbol:>6}{np.trace(tensor) / 3:20.10f}\n"
        text += "".join("".join(f"{x:20.10f}" for x in row) + "\n" for row in tensor)
    text += f"\n{'Sum of Born charges:':>20}{0:20.10f}\n"
    apt = parse_apt(text)
    np.testing.assert_allclose(apt, system.apt, atol=1e-10)
    output = dataclasses.replace(system.run(Run("zero")), apt=apt)
    route = AnalyticRoute()
    labels = route.labels(system.frame, route.runs([]), {"zero": output})
    np.testing.assert_allclose(labels.tensors["apt"], system.apt, atol=1e-10)
    with pytest.raises(LabelError, match="no polar tensors of all atoms"):
        route.labels(
            system.frame, route.runs([]), {"zero": dataclasses.replace(output, apt=apt[:-1])}
        )


def test_parameters_that_make_no_sense_are_refused():
    for make in (
        lambda: FieldRoute(10.0),
        lambda: DisplacementRoute(1.0),
        lambda: FieldRoute(1e-3, 1e-3),
    ):
        with pytest.raises(CampaignError):
            make()
    with pytest.raises(
        CampaignError, match="choose field, field-raman, displacement, displacement-raman, analytic"
    ):
        make_route("guess", {})
    with pytest.raises(CampaignError, match="has no parameter"):
        make_route("field", {"displacement": 0.01})
