"""What CP2K printed is read to its last digit, and only from complete and converged runs."""

import dataclasses
import re

import numpy as np
import pytest

from mda_aptnn.errors import LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.cp2k.output import (
    last_lines,
    parse_apt,
    parse_forces,
    parse_output,
    parse_polarizability,
)
from mda_aptnn.labels.dataset import read_labels
from mda_aptnn.labels.protocol import check_geometry
from mda_aptnn.labels.routes import DisplacementRoute, FieldRoute
from tests.labelling_data import unpack


@pytest.fixture(scope="module")
def water32(tmp_path_factory):
    return unpack("water32-raw", tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def water(tmp_path_factory):
    """Outputs of one water molecule by name of the run."""
    [task] = (unpack("water-field", tmp_path_factory.mktemp("water")) / "tasks").iterdir()
    return {path.stem: path.read_text() for path in task.glob("*.out")}


def water32_outputs(water32, names):
    outputs = {}
    for name in names:
        output = parse_output((water32 / f"field_{name}.out").read_text())
        forces = parse_forces((water32 / f"forces-field_{name}.dat").read_text())
        outputs[name] = dataclasses.replace(output, forces=forces)
    return outputs


def test_field_labels_of_32_waters_to_their_printed_digits(water32):
    [expected] = read_labels(water32 / "label.xyz")
    route = FieldRoute(1e-3)
    outputs = water32_outputs(water32, ["0", "px", "mx", "py", "my", "pz", "mz"])
    outputs["zero"] = outputs.pop("0")
    labels = route.labels(expected.frame, route.runs([]), outputs)
    np.testing.assert_allclose(labels.tensors["apt"], expected.apt, rtol=0, atol=5.1e-7)
    residual = np.abs(labels.tensors["apt"].sum(axis=0)).max()
    assert residual == pytest.approx(expected.info["sum_rule_residual"], abs=1e-4)
    assert labels.info["energy"] == expected.info["energy"] == -552.539582655897448
    # positive and isotropic within the fluctuations of 32 molecules of 1.45 Å³ each
    np.testing.assert_allclose(np.diag(labels.info["polarizability"]), 32 * 1.6, rtol=0.1)


def test_displaced_oxygen_of_32_waters(water32):
    [expected] = read_labels(water32 / "label.xyz")
    plus, minus = (parse_output((water32 / f"{name}.out").read_text()) for name in ("dp", "dm"))
    # one direction only was displaced: the other two stand in with their own zero difference
    route = DisplacementRoute(0.02)
    outputs = dict.fromkeys((run.name for run in route.runs([36])), plus) | {"mz_36": minus}
    apt = route.labels(expected.frame, route.runs([36]), outputs).tensors["apt"][36]
    np.testing.assert_allclose(apt[:, 2], [-0.1034, -0.1770, -0.7634], atol=5e-5)
    # column z of the field route agrees, row z does not: the orientation is settled
    np.testing.assert_allclose(apt[:, 2], expected.apt[36][:, 2], atol=2e-3)
    assert np.abs(apt[:, 2] - expected.apt[36][2]).max() > 0.1


def test_blocks_of_one_run(water):
    output = parse_output(water["zero"])
    assert output.version == "CP2K version 2023.1"
    assert output.project.startswith("zero-")
    np.testing.assert_array_equal(output.numbers, [8, 1, 1])
    np.testing.assert_allclose(output.cell, 6.4 * np.eye(3))
    assert output.forces.shape == (3, 3)
    assert not output.berry
    block = re.search(
        r"ATOMIC FORCES in.*?\n\s+1\s+1\s+O\s+(\S+)\s+(\S+)\s+(\S+)", water["zero"], re.S
    )
    np.testing.assert_array_equal(output.forces[0], [float(x) for x in block.groups()])
    # 12 decimals were asked for and printed
    assert all(len(x.split(".")[1]) == 12 for x in block.groups())


def new_force_block(forces, digits=12):
    lines = [
        " FORCES| Atomic forces [hartree/bohr]",
        " FORCES|   Atom     x        y        z        |f|",
    ]
    for number, row in enumerate(forces, 1):
        numbers = "".join(f"{x:20.{digits}E}" for x in [*row, np.linalg.norm(row)])
        lines.append(f" FORCES| {number:6d}{numbers}")
    total = forces.sum(axis=0)
    lines.append(
        " FORCES| Sum   " + "".join(f"{x:20.{digits}E}" for x in [*total, np.linalg.norm(total)])
    )
    return "\n".join(lines) + "\n"


def test_the_force_block_since_2025(water):
    old = parse_output(water["px"])
    block = re.search(r" ATOMIC FORCES in.*? SUM OF ATOMIC FORCES[^\n]*\n", water["px"], re.S)[0]
    new = water["px"].replace(block, new_force_block(old.forces))
    new = new.replace("energy [a.u.]: ", "energy [hartree]")
    np.testing.assert_allclose(parse_output(new).forces, old.forces, rtol=1e-12)
    assert parse_output(new).energy == old.energy
    cut = new.replace(" FORCES| Sum", " FORCES| Su")
    with pytest.raises(LabelError, match="forces is cut off"):
        parse_output(cut)
    lost = (
        "\n".join(line for line in new.splitlines() if not line.startswith(" FORCES|      2"))
        + "\n"
    )
    with pytest.raises(LabelError, match="does not hold atoms 1, 2, 3"):
        parse_output(lost)


def test_response_tensors_are_turned(water32):
    rows = np.random.default_rng(0).normal(size=(2, 3, 3)).round(6)
    text = "APT | Write the final apt matrix per atom (Position perturbation)\n"
    for number, tensor in enumerate(rows, 1):
        text += f"APT | Atom  {number} - GAPT       {np.trace(tensor) / 3:.6f}\n"
        text += "".join("APT |  " + "".join(f"{x:15.6f}" for x in row) + "\n" for row in tensor)
    text += "APT | Write the total apt matrix\n"
    text += "".join(
        "APT |  " + "".join(f"{x:15.6f}" for x in row) + "\n" for row in rows.sum(axis=0)
    )
    np.testing.assert_array_equal(parse_apt(text), rows.transpose(0, 2, 1))
    with pytest.raises(LabelError):
        parse_apt(text.replace("Atom  2", "Atom  3"))


def test_an_output_cut_at_any_byte_is_refused_or_complete(water):
    text = water["px"]
    whole = parse_output(text)
    end = text.index("PROGRAM STOPPED IN")
    for position in range(0, end, 397):
        with pytest.raises(LabelError, match="cut off"):
            parse_output(text[:position])
    accepted = 0
    for position in range(end - 300, len(text)):
        try:
            found = parse_output(text[:position])
        except LabelError:
            continue
        accepted += 1
        assert position > end
        np.testing.assert_array_equal(found.forces, whole.forces)
        np.testing.assert_array_equal(found.dipole, whole.dipole)
    assert accepted < 5


@pytest.mark.parametrize(
    "last",
    [
        "*** SCF run NOT converged ***",
        "Leaving inner SCF loop after reaching    25 steps.",
        "outer SCF loop FAILED to converge",
    ],
)
def test_a_run_that_did_not_converge_is_refused(water, last):
    text = water["px"]
    assert text.count("SCF run converged") == 1
    with pytest.raises(LabelError, match="did not converge"):
        parse_output(re.sub(r"\*\*\* SCF run converged.*", last, text))
    # an inner loop that was left and taken up again is no failure
    parse_output(text.replace("  *** SCF run converged", f"  {last}\n  *** SCF run converged"))


def test_atoms_coordinates_and_cell_must_be_those_of_the_snapshot(water):
    output = parse_output(water["zero"])
    box = 6.4 * np.eye(3)
    frame = Frame([8, 1, 1], output.positions, box)
    check_geometry(output, frame)
    moved = output.positions.copy()
    moved[1, 2] += 1e-5
    for other, message in (
        (dataclasses.replace(frame, positions=moved), "atom 1 .* is 0.000010 Å away"),
        (dataclasses.replace(frame, numbers=[1, 8, 1]), "other atoms"),
        (dataclasses.replace(frame, cell=6.40001 * np.eye(3)), "the cell"),
        (dataclasses.replace(frame, cell=[[6.4, 0, 0], [0, 6.4, 0], [0.01, 0, 6.4]]), "the cell"),
    ):
        with pytest.raises(LabelError, match=message):
            check_geometry(output, other)
    with pytest.raises(LabelError, match="no coordinates"):
        check_geometry(dataclasses.replace(output, numbers=np.zeros(0, int)), frame)


ABORT = """\
 *******************************************************************************
 *   ___                                                                       *
 *  /   \\                                                                      *
 * [ABORT]                                                                     *
 *  \\___/    The requested basis set <DZVPX-GTH> for element <O> was not found *
 *    |                   in the basis set files <GTH_BASIS_SETS>              *
 *  O/|                                                                        *
 * /| |                                                                        *
 * / \\                                          aobasis/basis_set_types.F:1509 *
 *******************************************************************************
"""


def test_cp2k_says_itself_why_it_aborted():
    with pytest.raises(
        LabelError, match=r"<DZVPX-GTH> for element <O> was not found in the basis set files"
    ):
        parse_output(ABORT)
    assert "[ABORT]" in last_lines("many lines\n" * 100 + ABORT + "a stack\n" * 100)
    steps = "\n".join(f"    {k} OT DIIS" for k in range(60))
    assert "59 OT DIIS" in last_lines(
        f"{steps}\n *** WARNING in qs_scf.F:601 :: SCF run NOT converged ***\n" + "T\n" * 99
    )


def test_polarizability_of_the_response():
    """As CP2K 2023.1 prints it, the same in two units."""
    head = " POLAR| Polarizability tensor [a.u.]\n"
    rows = (
        " POLAR| xx,yy,zz            7.988092662597     3.239594291324     6.259709654857\n"
        " POLAR| xy,xz,yz            0.310004450524    -0.064573223020     0.254266133896\n"
        " POLAR| yx,zx,zy            0.310132370351    -0.064653299786     0.254110621790\n"
    )
    expected = [
        [1.183713190898, 0.045937919454, -0.009568764297],
        [0.045956875216, 0.480058339052, 0.037678353194],
        [-0.009580630449, 0.037655308678, 0.927593256941],
    ]
    again = (
        " POLAR| Polarizability tensor [ang^3]\n"
        " POLAR| xx,yy,zz            1.183713190898     0.480058339052     0.927593256941\n"
        " POLAR| xy,xz,yz            0.045937919454    -0.009568764297     0.037678353194\n"
        " POLAR| yx,zx,zy            0.045956875216    -0.009580630449     0.037655308678\n"
    )
    np.testing.assert_allclose(parse_polarizability(head + rows + again), expected, rtol=1e-7)
    assert parse_polarizability("nothing of it") is None
    with pytest.raises(LabelError, match="cut off"):
        parse_polarizability(head + rows[:-40])
    for damaged in (head + rows, head + rows + again.replace("0.48005", "0.48006")):
        with pytest.raises(LabelError, match="not the same in both units"):
            parse_polarizability(damaged)


def test_a_damaged_digit_is_noticed(water, tmp_path):
    """What CP2K prints beside the numbers says so: sums, lengths, traces."""
    text = water["px"]
    for pattern, message in (
        (r"(\n\s+2\s+2\s+H\s+0\.0069)2", "forces do not sum"),
        (r"(SUM OF ATOMIC FORCES\s+0\.0001)2", "forces do not sum"),
        (r"(X=\s+0\.5364)8", "dipole is not as long"),
    ):
        damaged, count = re.subn(pattern, r"\g<1>3", text)
        assert count == 1
        with pytest.raises(LabelError, match=message):
            parse_output(damaged)
    [task] = (unpack("water-analytic", tmp_path) / "tasks").iterdir()
    text = (task / "zero.out").read_text()
    assert parse_apt(text) is not None
    for pattern, message in (
        (r"(APT \|\s+0\.24)3(?=932\s)", "another trace"),
        (r"(APT \|\s+0\.243932\s+-0\.00)3(?=751\s)", "polar tensors do not sum"),
    ):
        damaged, count = re.subn(pattern, r"\g<1>4", text)
        assert count == 1
        with pytest.raises(LabelError, match=message):
            parse_apt(damaged)
