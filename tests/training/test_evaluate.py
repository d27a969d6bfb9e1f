import dataclasses
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.errors import LabelError, ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset, LabelledFrame, write_xyz
from mda_aptnn.model.committee import Committee
from mda_aptnn.model.file import ModelFile
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.model.predict import load_model
from mda_aptnn.tensors import APT
from mda_aptnn.training.evaluate import evaluate, rigid_tensors
from mda_aptnn.training.plotting import plot_learning, plot_parity, plot_spread
from mda_aptnn.trajectory.molecules import molecules_of
from tests.tiny import LABELS, clusters, model_file, molecule, water, with_labels


class Off:
    """Knows the labels, and is off by given errors."""

    def __init__(self, dataset, errors):
        self.answers = {
            item.frame.fingerprint(): item.apt + error
            for item, error in zip(dataset, errors, strict=True)
        }

    def predict(self, frame):
        return self.answers[frame.fingerprint()]


def noise(dataset, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=0.02, size=item.apt.shape) for item in dataset]


def test_errors_are_those_that_were_put_in():
    dataset = water(2)
    errors = noise(dataset)
    got = evaluate(Off(dataset, errors), dataset)
    flat = np.concatenate(errors)
    symbols = np.array(dataset[0].frame.symbols + dataset[1].frame.symbols)
    labels = np.concatenate([item.apt for item in dataset])
    assert len(got.numbers) == 192 and got.n_frames == 2
    assert got.rmse == pytest.approx(np.sqrt(np.mean(flat**2)), rel=1e-12)
    assert got.measure("mae") == pytest.approx(np.mean(np.abs(flat)), rel=1e-12)
    assert got.measure("rmse", axis=0)[0, 2] == pytest.approx(
        np.sqrt(np.mean(flat[:, 0, 2] ** 2)), rel=1e-12
    )
    for symbol in "OH":
        part = flat[symbols == symbol]
        assert got.by_species()[symbol].rmse == pytest.approx(np.sqrt(np.mean(part**2)), rel=1e-12)
    spread = sum(
        ((labels[:, a, b] - labels[:, a, b].mean()) ** 2).sum() for a in range(3) for b in range(3)
    )
    assert got.measure("r2") == pytest.approx(1 - np.sum(flat**2) / spread, rel=1e-12)
    zz = 1 - np.sum(flat[:, 2, 2] ** 2) / np.sum((labels[:, 2, 2] - labels[:, 2, 2].mean()) ** 2)
    assert got.measure("r2", axis=0)[2, 2] == pytest.approx(zz, rel=1e-12)
    assert got.measure("mae", axis=0)[1, 0] == pytest.approx(
        np.mean(np.abs(flat[:, 1, 0])), rel=1e-12
    )
    # the invariant component is the trace over the root of three
    traces, errors = (np.trace(values, axis1=1, axis2=2) / np.sqrt(3) for values in (labels, flat))
    assert got.per_irrep("mae")["0e"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-12)
    expected = 1 - np.sum(errors**2) / np.sum((traces - traces.mean()) ** 2)
    assert got.per_irrep("r2")["0e"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("error", "irrep", "components"),
    [
        (np.eye(3), "0e", 1),
        (np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 0]]), "1e", 3),
        (np.diag([1.0, -1, 0]), "2e", 5),
        (np.array([[0.0, 0, 1], [0, 0, 0], [1, 0, 0]]), "2e", 5),
    ],
)
def test_an_error_of_one_symmetry_is_seen_in_one_irrep(error, irrep, components):
    dataset = clusters(1)
    got = evaluate(Off(dataset, [0.01 * error]), dataset).per_irrep("rmse")
    assert got.keys() == {"0e", "1e", "2e"}
    for name, value in got.items():
        expected = 0.01 * np.linalg.norm(error) / np.sqrt(components) if name == irrep else 0.0
        assert value == pytest.approx(expected, abs=1e-12)


def test_an_offset_between_two_levels_of_theory_is_told_from_scatter():
    dataset = water(2)
    errors = noise(dataset)
    for item, error in zip(dataset, errors, strict=True):
        for number, offset in ((1, 0.01), (8, -0.02)):
            rows = item.frame.numbers == number
            error[rows] += offset * np.eye(3)
    got = evaluate(Off(dataset, errors), dataset)
    assert_allclose(got.offsets()["H"], 0.01 * np.eye(3), atol=4e-3)  # four standard errors
    assert_allclose(got.offsets()["O"], -0.02 * np.eye(3), atol=6e-3)
    rows = np.concatenate([item.frame.numbers for item in dataset])
    squares = got.rmse**2 - np.mean(
        [np.mean(got.offsets()["H" if z == 1 else "O"] ** 2) for z in rows]
    )
    assert got.scatter() == pytest.approx(np.sqrt(squares), rel=1e-12)


def test_irreps_share_the_squared_error():
    dataset = clusters(2)
    got = evaluate(Off(dataset, noise(dataset)), dataset)
    parts = got.per_irrep("rmse")
    assert parts["0e"] ** 2 + 3 * parts["1e"] ** 2 + 5 * parts["2e"] ** 2 == pytest.approx(
        9 * got.rmse**2, rel=1e-12
    )


def test_the_spectrum_error_is_the_relative_error_of_the_flux_of_thermal_velocities():
    dataset = clusters(1)
    (error,) = noise(dataset)
    got = evaluate(Off(dataset, [error]), dataset).spectrum_error()
    mass = np.array([{"O": 15.999, "H": 1.008}[symbol] for symbol in dataset[0].frame.symbols])
    rng = np.random.default_rng(2)
    n = 20000
    velocities = rng.normal(size=(n, len(mass), 3)) / np.sqrt(mass)[:, None]
    wrong, right = (
        np.einsum("iab,nib->na", tensors, velocities) for tensors in (error, dataset[0].apt)
    )
    # the mean square of 3n nearly independent numbers is known to sqrt(2/3n); the root of a ratio:
    # sqrt(1/3n)
    assert got == pytest.approx(
        np.sqrt(np.sum(wrong**2) / np.sum(right**2)), rel=4 / np.sqrt(3 * n)
    )


def test_the_baseline_is_the_mean_of_the_training_frames_where_it_is_known():
    dataset = clusters(2)
    charges = FixedCharges({"O": -0.9, "H": 0.45})
    got = evaluate(charges, dataset)
    by_hand = []
    for symbol in "OH":
        labels = np.concatenate(
            [item.apt[np.array(item.frame.symbols) == symbol] for item in dataset]
        )
        mean = np.trace(labels.mean(axis=0)) / 3
        by_hand += [*(labels - mean * np.eye(3)).ravel()]
    rmse = got.baseline_rmse()["isotropic mean of these frames"]
    assert rmse == pytest.approx(np.sqrt(np.mean(np.square(by_hand))), rel=1e-12)

    class Known(FixedCharges):
        @property
        def info(self):
            return {
                "data": {
                    "isotropic_mean": {
                        "O": (-0.9 * np.eye(3)).tolist(),
                        "H": (0.45 * np.eye(3)).tolist(),
                    }
                }
            }

    got = evaluate(Known({"O": -0.9, "H": 0.45}), dataset)
    assert got.baseline_rmse()["isotropic mean of training frames"] == pytest.approx(
        got.rmse, rel=1e-12
    )


def test_rigid_molecules_have_no_error_but_that_of_not_being_rigid():
    """Copies of a molecule, turned, reflected and cut by the cell's faces, with labels that go with
    them.
    """
    rng = np.random.default_rng(4)
    shape = np.array(
        [[0.0, 0.0, 0.1], [0.95, 0.1, -0.2], [-0.3, 0.9, -0.15], [0.1, -0.2, 1.5]]
    )  # C, H, H, O: chiral
    labels = rng.normal(size=(4, 3, 3))
    positions, tensors = [], []
    for place in (1.0, 9.9, 18.0):  # the second lies across the face at 10 Å
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        positions.append((shape @ turn.T + place) % [20.0, 10.0, 10.0])
        tensors.append(turn @ labels @ turn.T)
    frame = Frame(
        [6, 1, 1, 8] * 3, np.concatenate(positions), np.diag([20.0, 10.0, 10.0]), [True] * 3
    )
    item = LabelledFrame(frame, {"apt": np.concatenate(tensors)})
    (rigid,) = rigid_tensors(Dataset([item]), APT)
    assert np.allclose(rigid, item.apt, rtol=0, atol=1e-12)
    apt = item.apt.copy()
    apt[4:6] = np.nan
    (rigid,) = rigid_tensors(Dataset([with_labels(item, apt)]), APT)
    assert np.allclose(rigid, item.apt, rtol=0, atol=1e-12)


def test_flat_molecules_are_turned_and_not_reflected():
    """Both fit a flat molecule: rounding decided which, and the error without a network with it."""
    rng = np.random.default_rng(7)
    shape = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
    labels, positions, tensors = rng.normal(size=(3, 3, 3)), [], []
    for number in range(8):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        turn *= np.linalg.det(turn)
        positions.append(shape @ turn.T + [5.0 * number, 0, 0])
        tensors.append(turn @ labels @ turn.T)
    item = LabelledFrame(
        Frame([8, 1, 1] * 8, np.concatenate(positions)), {"apt": np.concatenate(tensors)}
    )
    assert_allclose(rigid_tensors(Dataset([item]), APT)[0], item.apt, atol=1e-12)


def test_a_molecule_that_is_alone_is_not_told_its_own_labels():
    """It made the error "without a network" 0.000; of two molecules each is told the other's."""
    dataset = clusters(1)
    own = dataclasses.replace(dataset, frames=[molecule(water(1)[0], 0)])
    assert np.isnan(rigid_tensors(own, APT)[0]).all()
    rmse = evaluate(Off(own, noise(own)), own).baseline_rmse()
    assert (
        list(rmse) == ["isotropic mean of these frames"]
        and rmse["isotropic mean of these frames"] > 0.05
    )
    pair = dataclasses.replace(dataset, frames=[molecule(water(1)[0], first) for first in (0, 3)])
    one, other = rigid_tensors(pair, APT)
    # turned back and forth, lengths stay: the first has the second's labels, and the second the
    # first's
    np.testing.assert_allclose(np.linalg.norm(one), np.linalg.norm(pair[1].apt), rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(other), np.linalg.norm(pair[0].apt), rtol=1e-9)


@pytest.mark.parametrize("factors", [{}, {"O": 1.5, "H": 2.0}])
def test_a_picture_says_whether_the_spread_is_calibrated(tmp_path, factors):
    dataset = clusters(2)
    model = Committee(
        [FixedCharges({"O": -0.9, "H": 0.4}), FixedCharges({"O": -0.7, "H": 0.35})], factors
    )
    found = evaluate(model, dataset)
    assert found.factors == factors
    plot_spread(found, tmp_path / "spread.svg")
    text = (tmp_path / "spread.svg").read_text()
    assert ("spread of the committee, not calibrated / e" in text) != bool(factors)
    assert ("spread of the committee, calibrated / e" in text) == bool(factors)


def test_molecules_are_found_whole():
    frame = water(1)[0].frame
    found = molecules_of(frame)
    assert found.membership.tolist() == np.repeat(np.arange(32), 3).tolist()
    for shape in found.whole(frame).reshape(32, 3, 3):
        assert (
            np.linalg.norm(shape[1] - shape[0]) < 1.3 and np.linalg.norm(shape[2] - shape[0]) < 1.3
        )


def test_rigid_molecules_beat_the_isotropic_mean_in_water():
    rmse = evaluate(FixedCharges({"O": -0.9, "H": 0.45}), water(2)).baseline_rmse()
    assert rmse["rigid molecules of these frames"] < 0.85 * rmse["isotropic mean of these frames"]


def test_atoms_without_a_complete_label_are_left_out():
    dataset = clusters(2)
    errors = noise(dataset)
    apt = dataset[0].apt.copy()
    apt[3] = np.nan
    apt[4, 0, 1] = np.nan
    partial = Dataset([with_labels(dataset[0], apt), dataset[1]])
    got = evaluate(Off(dataset, errors), partial)
    kept = np.concatenate([np.delete(errors[0], [3, 4], axis=0), errors[1]])
    assert len(got.numbers) == 46 and got.rmse == pytest.approx(
        np.sqrt(np.mean(kept**2)), rel=1e-12
    )
    nothing = Dataset([with_labels(item, np.full_like(item.apt, np.nan)) for item in dataset])
    with pytest.raises(LabelError, match="every 'apt' is NaN"):
        evaluate(Off(dataset, errors), nothing)
    with pytest.raises(LabelError, match="no labels"):
        evaluate(Off(dataset, errors), Dataset([dataclasses.replace(dataset[0], tensors={})]))


def test_an_element_that_the_model_does_not_know():
    with pytest.raises(ModelError, match="does not know H"):
        evaluate(FixedCharges({"O": -0.9}), clusters(1))
    item = water(3)[2]
    chloride = dataclasses.replace(
        item.frame, numbers=np.where(np.arange(96) == 5, 17, item.frame.numbers)
    )
    with pytest.raises(ModelError, match="does not know Cl; it was made for H, O"):
        evaluate(load_model("water-rpbe-d3"), Dataset([LabelledFrame(chloride, item.tensors)]))


def test_labels_that_do_not_vary_have_no_r2():
    item = with_labels(clusters(1)[0], np.full((24, 3, 3), 0.1))
    summary = evaluate(FixedCharges({"O": -0.9, "H": 0.4}), Dataset([item])).summary()
    assert summary["r2"] is None and summary["r2_per_component"] == [[None] * 3] * 3
    json.loads(json.dumps(summary, allow_nan=False))


# --- the command ---


@pytest.fixture
def model(tmp_path):
    """A model whose card says that it was trained on the first frame and chosen by the second."""
    contents = model_file()
    first, second, _ = (item.frame.fingerprint() for item in water(3))
    contents.card["data"] = {"fingerprints": {"training": [first], "validation": [second]}}
    contents.card["accuracy"] = {}
    path = tmp_path / "model.h5"
    contents.save(path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_one_json_object(tmp_path, model):
    write_xyz(water(3).subset([2]), tmp_path / "test.xyz")
    result = run(
        "evaluate", model, tmp_path / "test.xyz", "--json", "--plot", tmp_path / "parity.png"
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert {"rmse", "mae", "r2", "spectrum_error"} < report.keys()
    assert report["rmse_per_species"].keys() == {"O", "H"} and report["rmse_per_irrep"].keys() == {
        "0e",
        "1e",
        "2e",
    }
    assert report["n_atoms"] == 96 and report["n_frames"] == 1
    assert (tmp_path / "parity.png").read_bytes()[:4] == b"\x89PNG"
    text = run("evaluate", model, tmp_path / "test.xyz")
    assert f"{report['rmse']:.4f}" in text.stdout and "irrep 1e" in text.stdout


@pytest.mark.parametrize(("frame", "part"), [(0, "training"), (1, "validation")])
def test_frames_that_the_model_was_made_with_are_refused_in_any_format(
    tmp_path, model, frame, part
):
    dataset = water(3).subset([2, frame])
    write_xyz(dataset, tmp_path / "test.xyz")
    dataset.save(tmp_path / "test.h5")
    for name in ("test.xyz", "test.h5"):
        result = run("evaluate", model, tmp_path / name, "--json")
        assert result.exit_code == 1 and result.stdout == ""
        assert (
            f"1 of 2 frames (the first is number 1, counted from 0) are {part} frames"
            in result.stderr
        )
        assert (
            run("evaluate", model, tmp_path / name, "--json", "--allow-training-frames").exit_code
            == 0
        )


def test_a_check_on_other_labels_goes_into_the_card(tmp_path, model):
    write_xyz(water(3).subset([2]), tmp_path / "other.xyz")
    before = ModelFile.load(model)
    result = run("evaluate", model, tmp_path / "other.xyz", "--record", "another program", "--json")
    assert result.exit_code == 0, result.output
    after = ModelFile.load(model)
    noted = after.card["accuracy"]["another program"]
    assert noted["rmse"] == json.loads(result.stdout)["rmse"] and list(noted["sources"]) == [
        "other.xyz"
    ]
    for name, weights in before.members[0].weights.items():
        assert np.array_equal(weights, after.members[0].weights[name])


def test_a_file_without_a_cell_is_not_taken_for_a_cluster(tmp_path, model):
    item = water(3)[2]
    rows = [
        " ".join([symbol, *(f"{x:.8f}" for x in [*position, *tensor.T.ravel()])])
        for symbol, position, tensor in zip(
            item.frame.symbols, item.frame.positions, item.apt, strict=True
        )
    ]
    path = tmp_path / "published.xyz"
    path.write_text("\n".join(["96", "fmt='p:a'", *rows]) + "\n")
    result = run("evaluate", model, path)
    assert (
        result.exit_code == 1 and "--cell" in result.stderr and len(result.stderr.splitlines()) == 1
    )
    liquid = json.loads(
        run("evaluate", model, path, "--cell", "9.8584 9.8584 9.8584 90 90 90", "--json").stdout
    )
    isolated = json.loads(run("evaluate", model, path, "--cell", "none", "--json").stdout)
    write_xyz(Dataset([item]), tmp_path / "same.xyz")
    same = json.loads(run("evaluate", model, tmp_path / "same.xyz", "--json").stdout)
    assert liquid["rmse"] == pytest.approx(
        same["rmse"], rel=1e-6
    )  # turned back: same labels, same cell
    assert abs(isolated["rmse"] - same["rmse"]) > 1e-4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.h5", LABELS], "no model 'nowhere.h5'"),
        ([LABELS, LABELS], "not a complete HDF5 file"),
        (["{model}", "nowhere.xyz"], "no file nowhere.xyz"),
        (["{model}", LABELS, "--plot", "/nowhere/plot.png"], "no folder /nowhere"),
        (["{model}", LABELS, "--cell", "big"], "cell"),
        (["{model}", "{model}"], "not a labels file"),
        (["water-rpbe-d3", LABELS, "--calibrate"], "belongs to the package: copy"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(model, arguments, said):
    result = run("evaluate", *(str(argument).format(model=model) for argument in arguments))
    assert result.exit_code == 1 and said in result.stderr
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1


def test_training_by_command(tmp_path):
    labels, output, plan = tmp_path / "labels.h5", tmp_path / "model.h5", tmp_path / "plan.toml"
    clusters(4).save(labels)
    plan.write_text(
        """
        [training]
        steps = 9
        validate_every = 2
        [[network.layers]]
        features = "2x0e+2x1o+2x1e+2x2e"
        cutoff = 3.0
        n_radial = 2
        """
    )
    aside = ("--validation-frames", 1, "--held-out-frames", 1)
    options = ("--steps", 4, "--seed", 2, "--plot", tmp_path / "curve.png", "--json")
    result = run("train", labels, "-o", output, "--config", plan, *aside, *options)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (
        report["n_frames"] == {"training": 2, "validation": 1, "held_out": 1}
        and report["steps"] == 4
    )
    card = json.loads(run("info", output, "--json").stdout)
    assert card["training"]["seed"] == 2 and card["training"]["validate_every"] == 2
    assert card["accuracy"]["held_out"]["rmse"] == report["accuracy"]["held_out"]["rmse"]
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    result = run("evaluate", output, labels)
    assert result.exit_code == 1 and "2 of 4 frames" in result.stderr


def test_training_by_command_on_one_frame(tmp_path):
    clusters(1).save(tmp_path / "one.h5")
    result = run("train", tmp_path / "one.h5", "-o", tmp_path / "model.h5")
    assert (
        result.exit_code == 1
        and "cannot be split" in result.stderr
        and not (tmp_path / "model.h5").exists()
    )
    result = run("train", tmp_path / "one.h5", "-o", tmp_path / "nowhere" / "model.h5")
    assert result.exit_code == 1 and "no folder" in result.stderr


def test_pictures(tmp_path):
    dataset = clusters(1)
    plot_parity(evaluate(Off(dataset, noise(dataset)), dataset), tmp_path / "parity.pdf")
    assert (tmp_path / "parity.pdf").read_bytes()[:4] == b"%PDF"
    learning = {"step": [1, 2], "training_rmse": [0.2, 0.1], "validation_rmse": [0.2, 0.15]}
    plot_learning([learning], "e", tmp_path / "curve.svg")
    assert b"<svg" in (tmp_path / "curve.svg").read_bytes()
