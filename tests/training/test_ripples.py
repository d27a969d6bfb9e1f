"""Ripples of a grid in labels: found where they were put, and nowhere else."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from mda_aptnn.cli import app
from mda_aptnn.model.file import ModelFile
from mda_aptnn.tensors import PGT
from mda_aptnn.training.ripples import find_ripples, without_ripples
from tests.tiny import clusters, water

N_FRAMES = 19


def rippled(dataset, amplitude, points, shift):
    """Ripples in the diagonal of the oxygens' labels, written out from what a ripple is."""
    frames = []
    for item in dataset:
        apt = item.apt.copy()
        for atom in np.flatnonzero(item.frame.numbers == 8):
            for axis in range(3):
                place = item.frame.positions[atom, axis] / item.frame.cell[axis, axis]
                apt[atom, axis, axis] += amplitude * np.cos(2 * np.pi * points * place - shift)
        frames.append(dataclasses.replace(item, tensors={"apt": apt}))
    return dataclasses.replace(dataset, frames=frames)


def test_labels_of_a_fine_grid_are_left_alone():
    dataset = water(N_FRAMES)
    cleaned, ripples = without_ripples(dataset)
    assert ripples == []
    assert cleaned is dataset


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_a_ripple_is_found_and_removed(shift):
    dataset, amplitude, points = water(N_FRAMES), 0.05, 37
    cleaned, ripples = without_ripples(rippled(dataset, amplitude, points, shift))
    assert [(ripple.number, ripple.points) for ripple in ripples] == [(8, points)]
    found = ripples[0]
    assert 0 < found.standard_error < 0.1 * amplitude
    assert found.cosine == pytest.approx(amplitude * np.cos(shift), abs=4 * found.standard_error)
    assert found.sine == pytest.approx(amplitude * np.sin(shift), abs=4 * found.standard_error)
    errors = np.concatenate([a.apt - b.apt for a, b in zip(cleaned, dataset, strict=True)])
    oxygens = np.concatenate([item.frame.numbers == 8 for item in dataset])
    assert (errors[~oxygens] == 0).all()
    assert (errors[:, ~np.eye(3, dtype=bool)] == 0).all()
    left = np.einsum("iaa->ia", errors[oxygens])
    # the ripple alone has amplitude/sqrt(2)
    assert np.sqrt(np.mean(left**2)) < 4 * found.standard_error < 0.5 * amplitude


def test_labels_that_are_missing_stay_missing():
    dataset = rippled(water(N_FRAMES), 0.05, 37, 0.0)
    dataset[0].apt[0] = np.nan
    dataset[1].apt[3, 1, 1] = np.nan
    cleaned, ripples = without_ripples(dataset)
    assert [ripple.points for ripple in ripples] == [37]
    for before, after in zip(dataset, cleaned, strict=True):
        assert (np.isnan(before.apt) == np.isnan(after.apt)).all()


def test_where_there_is_no_grid_to_speak_of():
    """Molecules without a cell, cells that are not cubic, few labels, another target."""
    frames = clusters(2)
    assert without_ripples(frames) == (frames, [])
    dataset = rippled(water(N_FRAMES), 0.05, 37, 0.0)
    long = [
        dataclasses.replace(
            item,
            frame=dataclasses.replace(item.frame, cell=item.frame.cell * np.array([[1], [1], [2]])),
        )
        for item in dataset
    ]
    assert without_ripples(dataclasses.replace(dataset, frames=long))[1] == []
    assert find_ripples(dataset.subset([0])) == []
    assert without_ripples(dataset, PGT)[1] == []


def test_positions_need_not_be_wrapped():
    dataset = rippled(water(N_FRAMES), 0.05, 37, 0.5)
    moved = []
    for item in dataset:
        shifts = (
            np.random.default_rng(0).integers(-2, 3, size=(len(item.frame), 1)) * item.frame.cell[0]
        )
        frame = dataclasses.replace(item.frame, positions=item.frame.positions + shifts)
        moved.append(dataclasses.replace(item, frame=frame))
    here, there = (
        without_ripples(dataset)[0],
        without_ripples(dataclasses.replace(dataset, frames=moved))[0],
    )
    for a, b in zip(here, there, strict=True):
        assert_allclose(a.apt, b.apt, atol=1e-9)


def test_what_was_removed_is_in_the_card_and_in_the_summary_and_can_be_kept(tmp_path):
    rippled(water(N_FRAMES), 0.05, 37, 0.3).save(tmp_path / "labels.h5")
    (tmp_path / "plan.toml").write_text(
        "[training]\nvalidate_every = 1\nwarmup_steps = 0\n"
        '[[network.layers]]\nfeatures = "4x0e+4x1o+4x2e"\ncutoff = 3.0\nn_radial = 3\n'
        '[[network.layers]]\nfeatures = "4x0e+4x1o+4x1e+4x2e"\nmessages = "2x0e+2x1o"\n'
        "cutoff = 2.5\nn_radial = 2\n"
    )

    def train(*options):
        arguments = [
            "train",
            tmp_path / "labels.h5",
            "-o",
            tmp_path / "m.h5",
            "--config",
            tmp_path / "plan.toml",
        ]
        result = CliRunner().invoke(
            app, [*map(str, arguments), "--steps", "2", "--validation-frames", "1", *options]
        )
        assert result.exit_code == 0, result.output
        return result.stdout, ModelFile.load(tmp_path / "m.h5")

    said, model = train()
    assert (
        "taken out of the labels that were trained on (keep it: --keep-ripples): a ripple of 0.05"
        in said
    )
    assert "in the tensors of O, with 37 grid points along an edge" in said
    [ripple] = model.card["grid_ripples_removed"]
    assert (ripple["element"], ripple["points"]) == ("O", 37) and not model.training["keep_ripples"]
    assert ripple["amplitude"] == pytest.approx(0.05, abs=4 * ripple["standard_error"])
    kept, other = train("--keep-ripples")
    assert (
        "ripple" not in kept
        and other.card["grid_ripples_removed"] == []
        and other.training["keep_ripples"]
    )
    # another thing was learned
    assert any(
        (model.members[0].last[name] != values).any()
        for name, values in other.members[0].last.items()
    )
