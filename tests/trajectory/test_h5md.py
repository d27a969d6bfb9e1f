"""Frames of H5MD files that are read in blocks are those of MDAnalysis' reader, to the last bit."""

import pickle

import h5py
import MDAnalysis as mda
import numpy as np
import pytest
from MDAnalysis.coordinates.H5MD import H5MDReader

from mda_aptnn.trajectory.h5md import BlockReader, read_in_blocks
from mda_aptnn.trajectory.readers import independent, stored_edges

N_ATOMS, N_FRAMES = 5, 150
UNITS = {"position": b"nm", "velocity": b"m s-1", "force": b"kJ mol-1 nm-1"}


def shifted(ts):
    ts.positions += 1.5
    ts.dimensions = [9, 9, 9, 90, 90, 90]
    return ts


def written(path, kind=np.float32, box="cuboid", names=("position", "velocity"), observables=False):
    rng = np.random.default_rng(7)
    with h5py.File(path, "w") as file:
        file.create_group("h5md").attrs["version"] = (1, 1)
        group = file.create_group("particles/trajectory")
        group.create_group("box").attrs["dimension"] = 3
        times = np.arange(N_FRAMES) * 0.5 + 3.0
        if box != "none":
            shape = (N_FRAMES, 3) if box == "cuboid" else (N_FRAMES, 3, 3)
            edges = 2 + 0.1 * rng.random(shape)
            if box == "matrix":
                edges = edges * np.eye(3) + 0.3 * np.tril(rng.random(shape), -1)
            group["box/edges/value"] = edges.astype(kind)
            group["box/edges/value"].attrs["unit"] = b"nm"
        for name in names:
            values = 30 * rng.normal(size=(N_FRAMES, N_ATOMS, 3))
            chunks = (7, N_ATOMS, 3)
            data = group.create_dataset(f"{name}/value", data=values.astype(kind), chunks=chunks)
            data.attrs["unit"] = UNITS[name]
            group[f"{name}/time"], group[f"{name}/step"] = times, np.arange(N_FRAMES) * 2
            group[f"{name}/time"].attrs["unit"] = b"fs"
        if observables:
            file["observables/energy/value"] = rng.random(N_FRAMES)
    return path


def both(path, **how):
    """The file by MDAnalysis' reader, and in blocks."""
    plain, blocks = (H5MDReader(str(path), **how) for _ in range(2))
    read_in_blocks([blocks])
    assert type(plain) is H5MDReader and type(blocks) is BlockReader
    return plain, blocks


def assert_same(first, second):
    assert first.frame == second.frame
    assert first.ts.data.keys() == second.ts.data.keys()
    for name in first.ts.data:
        one, other = first.ts.data[name], second.ts.data[name]
        assert type(one) is type(other) and one == other
    for name in ("positions", "velocities", "forces"):
        there = getattr(first.ts, f"has_{name}")
        assert there == getattr(second.ts, f"has_{name}")
        if there:
            one, other = getattr(first.ts, name), getattr(second.ts, name)
            assert one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if first.ts.dimensions is None:
        assert second.ts.dimensions is None
    else:
        assert first.ts.dimensions.tobytes() == second.ts.dimensions.tobytes()
        assert stored_edges(first).tobytes() == stored_edges(second).tobytes()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("box", ["cuboid", "matrix", "none"])
def test_every_field_of_every_frame(kind, box, tmp_path):
    plain, blocks = both(written(tmp_path / "a.h5md", kind, box))
    assert plain.n_frames == blocks.n_frames == N_FRAMES
    n = 0
    for _ in zip(plain, blocks, strict=True):
        assert_same(plain, blocks)
        n += 1
    assert n == N_FRAMES
    for chosen in (slice(None, None, 7), slice(100, 3, -1), [3, 4, 5, 6, 90, 2, 2, 3, 7, 11, 15]):
        for _ in zip(plain[chosen], blocks[chosen], strict=True):
            assert_same(plain, blocks)


@pytest.mark.parametrize("names", [("position",), ("velocity",), ("position", "velocity", "force")])
@pytest.mark.parametrize("how", [{}, {"convert_units": False}])
def test_what_there_is_and_its_units(names, how, tmp_path):
    plain, blocks = both(written(tmp_path / "a.h5md", names=names), **how)
    for _ in zip(plain, blocks, strict=True):
        assert_same(plain, blocks)


def test_transformations_and_copies(tmp_path):
    plain, blocks = both(written(tmp_path / "a.h5md"))
    for reader in (plain, blocks):
        reader.add_transformations(shifted)
    for _ in zip(plain, blocks, strict=True):
        assert_same(plain, blocks)
    blocks[40], plain[40]
    for again in (blocks.copy(), independent(plain)):
        assert type(again) is BlockReader
        assert_same(plain[41] and plain, again[41] and again)
    kept = pickle.loads(pickle.dumps(blocks))
    assert_same(plain[12] and plain, kept[12] and kept)


def test_a_file_with_observables_is_left_to_mdanalysis(tmp_path):
    plain, blocks = both(written(tmp_path / "a.h5md", observables=True))
    for _ in zip(plain, blocks, strict=True):
        assert_same(plain, blocks)
    assert "energy" in blocks.ts.data


def test_damage_is_told_in_the_frame_that_has_it(tmp_path):
    path = written(tmp_path / "a.h5md")
    with h5py.File(path, "a") as file:
        values = file["particles/trajectory/position/value"][()]
        del file["particles/trajectory/position/value"]
        data = file.create_dataset(
            "particles/trajectory/position/value", data=values, chunks=(1, 5, 3), fletcher32=True
        )
        data.attrs["unit"] = b"nm"
        where = data.id.get_chunk_info(40).byte_offset
    with path.open("r+b") as file:
        file.seek(where)
        file.write(b"damage")
    plain, blocks = both(path)
    for frame in (*range(40), *range(41, 60)):
        plain[frame], blocks[frame]
        assert_same(plain, blocks)
    for reader in (plain, blocks):
        with pytest.raises(OSError, match="read"):
            reader[40]


def test_the_registered_reader_stays(tmp_path):
    path = written(tmp_path / "a.h5md")
    universe = mda.Universe.empty(N_ATOMS, trajectory=True)
    universe.load_new(str(path))
    assert type(universe.trajectory) is H5MDReader
    with h5py.File(path) as file:
        reader = H5MDReader(file)
        read_in_blocks([reader])
        assert type(reader) is H5MDReader
