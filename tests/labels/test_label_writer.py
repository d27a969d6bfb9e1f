"""Labels written as they come are those of a whole data set, in memory that does not grow."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from mda_aptnn.errors import LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels import dataset
from mda_aptnn.labels.dataset import Dataset, LabelledFrame, read_labels, write_labels, write_xyz


def frames(n_frames, n_atoms=30):
    """Made one after the other."""
    for k in range(n_frames):
        rng = np.random.default_rng(k)
        size = n_atoms + k % 3
        cell = np.diag([20.0, 21, 22])
        frame = Frame(
            rng.integers(1, 9, size), rng.normal(size=(size, 3)) * 9, cell, np.ones(3, bool)
        )
        yield LabelledFrame(frame, {"apt": rng.normal(size=(size, 3, 3))}, {"frame": k, "why": "å"})


@pytest.mark.parametrize("at_once", [1, 70, 10**6])
def test_the_file_is_that_of_a_data_set(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(dataset, "_ATOMS", at_once)
    assert write_labels(frames(7), tmp_path / "l.h5", "none") == 7
    whole = Dataset(list(frames(7)), "none")
    found = Dataset.load(tmp_path / "l.h5")
    assert found.level_of_theory == "none" and len(found) == 7
    for one, other in zip(found, whole, strict=True):
        assert one.frame.fingerprint() == other.frame.fingerprint() and one.info == other.info
        np.testing.assert_array_equal(one.apt, other.apt)
    assert write_labels(frames(7), tmp_path / "l.xyz", "none") == 7
    write_xyz(whole, tmp_path / "w.xyz")
    assert (tmp_path / "l.xyz").read_bytes() == (tmp_path / "w.xyz").read_bytes()
    assert len(read_labels(tmp_path / "l.xyz")) == 7


@pytest.mark.parametrize(("ending", "n_atoms"), [("h5", 1000), ("xyz", 100)])
def test_memory_does_not_grow_with_the_frames(tmp_path, ending, n_atoms):
    peaks = []
    for n_frames in (30, 300):
        tracemalloc.start()
        write_labels(
            frames(n_frames if ending == "h5" else n_frames // 10, n_atoms),
            tmp_path / f"l.{ending}",
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 300 frames of 1000 atoms are 32 MB, 30 frames of 100 atoms 0.5 MB of text
    assert peaks[1] < 1.2 * peaks[0] + (1e6 if ending == "h5" else 1e5)
    assert peaks[1] < (1.2e7 if ending == "h5" else 4e5)


def test_frames_that_do_not_go_together_are_refused_and_nothing_is_left(tmp_path):
    def odd():
        yield from frames(2)
        yield dataclasses.replace(next(frames(1)), tensors={"pgt": np.zeros((30, 3, 3, 3))})

    with pytest.raises(LabelError, match=r"frame 2 has tensors \['pgt'\], expected \['apt'\]"):
        write_labels(odd(), tmp_path / "l.h5")
    for path in (tmp_path / "l.h5", tmp_path / "l.xyz"):
        with pytest.raises(LabelError, match="no frames to write"):
            write_labels(iter(()), path)
    with pytest.raises(LabelError, match="no frames to write"):
        Dataset([]).save(tmp_path / "l.h5")
    assert not list(tmp_path.iterdir())
