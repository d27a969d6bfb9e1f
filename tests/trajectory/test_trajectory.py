import dataclasses
import pickle
import warnings

import h5py
import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.coordinates.memory import MemoryReader
from MDAnalysis.transformations.rotate import rotateby
from numpy.testing import assert_allclose

from mda_aptnn import units
from mda_aptnn.errors import FrameError, TrajectoryError, UnitError
from mda_aptnn.frame import periodic_directions
from mda_aptnn.trajectory.kinetics import kinetic_temperature
from mda_aptnn.trajectory.universe_frames import UniverseFrames
from tests import trajectory_files as files

pytestmark = pytest.mark.filterwarnings("ignore")

H2O = {"1": "O", "2": "H"}
#: format: (options of UniverseFrames, error of a position in Å, relative error of a velocity, error
#: of a cell in Å)
FORMATS = {
    "trr": ({}, 2e-6, 1e-6, 2e-5),
    "h5md": ({}, 2e-6, 1e-6, 2e-5),
    "ncdf": ({}, 2e-6, 1e-6, 2e-5),
    "cp2k": ({}, 2e-6, 1e-6, 1e-9),
    "lammps real": ({"velocity_unit": "angstrom/fs", "elements": H2O}, 2e-6, 1e-6, 2e-5),
    "lammps metal": ({"velocity_unit": "angstrom/ps", "elements": H2O}, 2e-6, 1e-6, 2e-5),
}


def memory(sample, dt=0.002, velocities=True, dimensions=None):
    """A Universe of arrays."""
    universe = MDAnalysis.Universe.empty(len(sample.symbols), trajectory=False)
    universe.add_TopologyAttr("elements", sample.symbols)
    universe.add_TopologyAttr("names", sample.symbols)
    if dimensions is None:
        dimensions = [*sample.cells[0].diagonal(), 90, 90, 90]
    options = {"velocities": sample.velocities} if velocities else {}
    universe.trajectory = MemoryReader(
        sample.positions, dimensions=np.array(dimensions), dt=dt, **options
    )
    return universe


def universe_of(sample, kind, folder):
    if kind == "cp2k":
        return MDAnalysis.Universe(files.write_cp2k(sample, folder), format="CP2K")
    if kind.startswith("lammps"):
        path = files.write_lammps(
            sample, folder / "water.dump", kind.split()[1], origin=(-3.0, 1.0, 0.5)
        )
        return MDAnalysis.Universe(
            path, format="LAMMPSDUMP", topology_format="LAMMPSDUMP", dt=0.001
        )
    options = {"velocities": True} if kind == "ncdf" else {}
    if kind == "h5md":
        options = {"velocityunit": "Angstrom/ps", "lengthunit": "Angstrom", "timeunit": "ps"}
    return MDAnalysis.Universe(
        files.topology(), str(files.write(sample, folder / f"water.{kind}", **options))
    )


class TestFormats:
    @pytest.mark.parametrize("kind", FORMATS)
    @pytest.mark.parametrize(
        "sample", [files.water(), files.triclinic_water()], ids=["cubic", "triclinic NPT"]
    )
    def test_same_frames(self, kind, sample, tmp_path):
        options, position_error, velocity_error, cell_error = FORMATS[kind]
        universe = universe_of(sample, kind, tmp_path)
        frames = UniverseFrames(universe, **options)
        charges = np.array([files.CHARGES[symbol] for symbol in sample.symbols])
        assert universe.trajectory.n_frames == len(sample)
        for k, _ in enumerate(universe.trajectory):
            frame, velocities = frames.frame(), frames.velocities()
            assert frame.symbols == sample.symbols and frame.pbc.all()
            assert_allclose(frame.positions, sample.positions[k], atol=position_error)
            assert_allclose(frame.cell, sample.cells[k], atol=cell_error)
            assert_allclose(velocities, sample.velocities[k], rtol=velocity_error, atol=2e-6)
            # the sum of 192 errors, each of at most the size above
            assert_allclose(
                charges @ velocities,
                sample.flux[k],
                atol=192 * 0.8 * (velocity_error * 60 + 2e-6) / 10,
            )
        assert_allclose(frames.times(), sample.times, atol=1e-8)
        assert frames.spacing == pytest.approx(0.002, rel=1e-6)
        assert list(frames.timeline().starts) == [0]

    @pytest.mark.parametrize(("unit", "factor"), [("nm/ps", 10.0), ("Angstrom/fs", 1000.0)])
    def test_h5md_in_declared_units(self, unit, factor, tmp_path):
        sample = files.water(2)
        path = files.write(
            sample, tmp_path / "w.h5md", velocityunit=unit, lengthunit="nm", timeunit="fs"
        )
        with h5py.File(path) as file:
            stored = file["particles/trajectory/velocity/value"][0]
        assert_allclose(stored * factor, sample.velocities[0], rtol=1e-5, atol=1e-5)
        frames = UniverseFrames(MDAnalysis.Universe(files.topology(), str(path)))
        assert_allclose(frames.velocities(), sample.velocities[0], rtol=1e-5, atol=1e-5)
        assert_allclose(frames.frame().cell, sample.cells[0], atol=1e-5)
        assert frames.spacing == pytest.approx(0.002, rel=1e-6)

    def test_h5md_keeps_the_orientation_of_the_cell(self, tmp_path):
        # lengths and angles, all that a Timestep has, would put a along x
        sample = files.water(2)
        turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
        turn *= np.linalg.det(turn)
        cell = (sample.cells[0] + [[0, 0, 0], [2.5, 0, 0], [-1.5, 3.0, 0]]) @ turn
        path = files.write(
            sample, tmp_path / "w.h5md", lengthunit="nm", velocityunit="nm/ps", timeunit="ps"
        )
        with h5py.File(path, "a") as file:
            edges = file["particles/trajectory/box/edges/value"]
            edges[:] = cell / 10
        frames = UniverseFrames(MDAnalysis.Universe(files.topology(), str(path)))
        assert_allclose(frames.frame().cell, cell, atol=1e-5)
        assert not any("assumed" in note for note in frames.notes)

    def test_lost_orientation_is_reported(self):
        sample = files.water(2)
        frames = UniverseFrames(
            memory(sample, dimensions=[13, 13, 13, 80, 85, 70]), velocities=None
        )
        assert any("a along x" in note for note in frames.notes)

    def test_pickle_keeps_the_frame(self, tmp_path):
        universe = universe_of(files.water(), "cp2k", tmp_path)
        frames = UniverseFrames(universe, velocities="finite-difference")
        universe.trajectory[2]
        copy = pickle.loads(pickle.dumps(frames))
        assert_allclose(copy.velocities(), frames.velocities(), rtol=0, atol=0)
        copy.universe.trajectory[3]
        assert universe.trajectory.ts.frame == 2


class TestVelocityUnits:
    def test_lammps_dump_asks_and_names_the_likely_unit(self, tmp_path):
        for style, unit in files.LAMMPS_UNITS.items():
            path = files.write_lammps(files.water(2), tmp_path / f"{style}.dump", style)
            universe = MDAnalysis.Universe(
                path, format="LAMMPSDUMP", topology_format="LAMMPSDUMP", dt=0.001
            )
            with pytest.raises(
                TrajectoryError, match=f"does not say.*likely in '{unit}'.*--velocity-unit"
            ):
                UniverseFrames(universe, elements=H2O)

    def test_memory_asks(self):
        with pytest.raises(TrajectoryError, match=r"MEMORY.*likely in 'angstrom/ps'"):
            UniverseFrames(memory(files.water(2)))

    def test_lammps_data_is_not_trusted(self, tmp_path):
        # the reader takes velocities for Å/fs whatever the unit style is
        sample = files.water(1)
        lines = ["water", "", "192 atoms", "2 atom types", ""]
        lines += [f"0 12.421 {axis}lo {axis}hi" for axis in "xyz"]
        lines += ["", "Masses", "", "1 15.9994", "2 1.008", "", "Atoms # atomic", ""]
        lines += [
            f"{i + 1} {1 if s == 'O' else 2} {' '.join(f'{x:.6f}' for x in r)}"
            for i, (s, r) in enumerate(zip(sample.symbols, sample.positions[0], strict=True))
        ]
        lines += ["", "Velocities", ""]
        lines += [
            f"{i + 1} {' '.join(f'{x:.6f}' for x in v)}" for i, v in enumerate(sample.velocities[0])
        ]
        path = tmp_path / "water.data"
        path.write_text("\n".join(lines) + "\n")
        universe = MDAnalysis.Universe(
            path, format="DATA", topology_format="DATA", atom_style="id type x y z"
        )
        assert_allclose(
            universe.atoms.velocities, 1000 * sample.velocities[0], rtol=1e-4, atol=1e-3
        )
        with pytest.raises(TrajectoryError, match=r"does not say.*likely in 'angstrom/ps'"):
            UniverseFrames(universe)
        frames = UniverseFrames(universe, velocity_unit="angstrom/ps")
        assert_allclose(frames.velocities(), sample.velocities[0], rtol=1e-5, atol=1e-5)
        assert frames.frame().symbols == sample.symbols
        assert any("from masses: O for 15.9994 u; H for 1.008 u" in note for note in frames.notes)

    @pytest.mark.parametrize(
        ("unit", "factor"),
        [
            ("angstrom/fs", 1000.0),
            ("nm/ps", 10.0),
            ("bohr/atomic_unit_of_time", 21876.91262),
            ("m/s", 0.01),
        ],
    )
    def test_any_unit(self, unit, factor):
        sample = files.water(2)
        universe = memory(dataclasses.replace(sample, velocities=sample.velocities / factor))
        frames = UniverseFrames(universe, velocity_unit=unit)
        assert_allclose(frames.velocities(), sample.velocities[0], rtol=1e-6, atol=1e-5)
        as_quantity = UniverseFrames(universe, velocity_unit=units.ureg.Quantity(1, unit))
        assert_allclose(as_quantity.velocities(), frames.velocities(), rtol=1e-12)

    def test_no_unit(self):
        for unit in ("angstrom", "furlong per moon", ""):
            with pytest.raises(UnitError):
                UniverseFrames(memory(files.water(2)), velocity_unit=unit)

    @pytest.mark.parametrize(
        ("true", "said"),
        [
            ("angstrom/ps", "nm/ps"),
            ("nm/ps", "angstrom/ps"),
            ("angstrom/fs", "angstrom/ps"),
            ("bohr/atomic_unit_of_time", "angstrom/fs"),
        ],
    )
    def test_implausible_temperature_names_the_likely_unit(self, true, said):
        sample = files.water(2)
        universe = memory(
            dataclasses.replace(
                sample, velocities=sample.velocities / units.factor(true, "angstrom/ps")
            )
        )
        with pytest.raises(
            TrajectoryError, match=f"kinetic temperature is .* K.*likely in '{true}'"
        ):
            UniverseFrames(universe, velocity_unit=said)
        assert (
            UniverseFrames(universe, velocity_unit=said, check_temperature=False).universe
            is universe
        )

    def test_wrongly_declared_unit(self, tmp_path):
        # numbers in Å/ps in a file that says nm/ps
        sample = files.water(2)
        path = files.write(
            dataclasses.replace(sample, velocities=10 * sample.velocities), tmp_path / "w.trr"
        )
        universe = MDAnalysis.Universe(files.topology(), str(path))
        with pytest.raises(TrajectoryError, match="likely in 'angstrom/ps'"):
            UniverseFrames(universe)
        frames = UniverseFrames(universe, velocity_unit="angstrom/ps")
        assert_allclose(frames.velocities(), sample.velocities[0], rtol=1e-6, atol=1e-5)

    def test_zero_velocities(self):
        sample = files.water(2)
        with pytest.raises(TrajectoryError, match="all velocities are zero"):
            UniverseFrames(
                memory(dataclasses.replace(sample, velocities=0 * sample.velocities)),
                velocity_unit="nm/ps",
            )

    def test_temperature_of_the_bundled_trajectory(self):
        # 343.722300543 K in the first line of CP2K's .ener file of benchmarks/water64/nve.inp,
        # with its masses 15.9994 and 1.00794
        sample = files.water(1)
        masses = np.array([{"O": 15.9994, "H": 1.00794}[symbol] for symbol in sample.symbols])
        # rounding to 0.01 Å/ps changes T by 0.012 K in the mean square
        assert kinetic_temperature(sample.velocities[0], masses) == pytest.approx(343.722, abs=0.06)


class TestMissing:
    def test_no_velocities(self):
        with pytest.raises(
            TrajectoryError, match=r"frame 0 has no velocities.*velocities='finite-difference'"
        ):
            UniverseFrames(memory(files.water(3), velocities=False))
        frames = UniverseFrames(memory(files.water(3), velocities=False), velocities=None)
        assert len(frames.frame()) == 192
        with pytest.raises(TrajectoryError, match="not asked for"):
            frames.velocities()

    def test_frame_without_velocities(self, tmp_path):
        # nstvout larger than nstxout
        path = tmp_path / "w.trr"
        universe = memory(files.water(4))
        with MDAnalysis.Writer(str(path), n_atoms=192) as writer:
            for ts in universe.trajectory:
                ts.has_velocities = ts.frame != 1
                if ts.has_velocities:
                    ts.velocities = files.water(4).velocities[ts.frame]
                writer.write(universe.atoms)
        read = MDAnalysis.Universe(files.topology(), str(path))
        with pytest.raises(TrajectoryError, match="frame 1 has no velocities"):
            UniverseFrames(read)

    @pytest.mark.parametrize("what", ["positions", "velocities"])
    def test_nan_names_frame_and_atom(self, what):
        sample = files.water(4)
        values = getattr(sample, what).copy()
        values[2, 17, 1] = np.nan
        universe = memory(dataclasses.replace(sample, **{what: values}))
        frames = UniverseFrames(universe, velocity_unit="angstrom/ps", check_temperature=False)
        universe.trajectory[2]
        with pytest.raises(TrajectoryError, match=r"frame 2.*atom 17"):
            frames.frame(), frames.velocities()

    def test_streams_of_choice(self):
        with pytest.raises(TrajectoryError, match="choose 'trajectory'"):
            UniverseFrames(memory(files.water(2)), velocities="numerical")

    def test_turned_positions(self):
        universe = memory(files.water(2))
        universe.trajectory.add_transformations(
            rotateby(30, direction=[0, 0, 1], ag=universe.atoms)
        )
        with pytest.raises(TrajectoryError, match="rotateby turns positions"):
            UniverseFrames(universe, velocity_unit="angstrom/ps")


class TestCells:
    def test_gas_phase(self):
        frames = UniverseFrames(
            memory(files.water(2), dimensions=[0, 0, 0, 90, 90, 90]), velocities=None
        )
        frame = frames.frame()
        assert not frame.pbc.any() and frame.volume is None
        assert "not periodic along xyz" in frames.notes

    def test_slab(self):
        universe = memory(files.water(2))
        frame = UniverseFrames(universe, velocities=None, pbc="xy").frame()
        assert frame.pbc.tolist() == [True, True, False]
        frame = UniverseFrames(
            memory(files.water(2), dimensions=[12.421, 12.421, 0, 90, 90, 90]), velocities=None
        ).frame()
        assert frame.pbc.tolist() == [True, True, False]
        assert_allclose(frame.cell, np.diag([12.421, 12.421, 0]), atol=1e-6)

    def test_zero_volume_in_a_bulk_run(self):
        sample = files.water(2)
        for dimensions in (
            [12.421, 12.421, 12.421, 0, 0, 0],
            [12.421, 12.421, 12.421, 60, 60, 170],
        ):
            with pytest.raises(TrajectoryError, match=r"frame 0: the cell .* has no volume"):
                UniverseFrames(memory(sample, dimensions=dimensions), velocities=None)
        with pytest.raises(TrajectoryError, match="no cell vector along a periodic direction"):
            UniverseFrames(
                memory(sample, dimensions=[0, 0, 0, 90, 90, 90]), velocities=None, pbc=True
            )
        # nm taken for Å
        with pytest.raises(TrajectoryError, match=r"volume of 1.92 Å³ for 192 atoms"):
            UniverseFrames(
                memory(sample, dimensions=[1.2421, 1.2421, 1.2421, 90, 90, 90]), velocities=None
            )

    def test_given_cell(self):
        universe = memory(files.water(2), dimensions=[0, 0, 0, 90, 90, 90])
        frame = UniverseFrames(
            universe, velocities=None, cell="12.421 12.421 12.421 90 90 90"
        ).frame()
        assert frame.pbc.all() and frame.volume == pytest.approx(12.421**3)
        with pytest.raises(FrameError, match="give three lengths"):
            UniverseFrames(universe, velocities=None, cell="large")

    def test_periodic_directions(self):
        for given, expected in [
            ("xyz", "TTT"),
            ("xz", "TFT"),
            ("none", "FFF"),
            (True, "TTT"),
            ((0 < 1, False, True), "TFT"),
        ]:
            assert "".join("FT"[int(flag)] for flag in periodic_directions(given)) == expected
        for given in ("", "abc", 3, [1, 1, 0], (True, False)):
            with pytest.raises(TrajectoryError, match="give the periodic directions"):
                periodic_directions(given)


class TestTimes:
    def test_memory_default_says_nothing(self):
        frames = UniverseFrames(memory(files.water(3), dt=1.0), velocities=None)
        with pytest.raises(TrajectoryError, match=r"does not say when.*--time-step"):
            frames.times()
        frames = UniverseFrames(memory(files.water(3), dt=1.0), velocities=None, time_step="2 fs")
        assert_allclose(frames.times(), [0, 0.002, 0.004])
        assert frames.spacing == pytest.approx(0.002)

    def test_lammps_steps_are_no_times(self, tmp_path):
        path = files.write_lammps(files.water(3), tmp_path / "w.dump", "real")
        universe = MDAnalysis.Universe(path, format="LAMMPSDUMP", topology_format="LAMMPSDUMP")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            frames = UniverseFrames(universe, velocities=None, elements=H2O)
            with pytest.raises(TrajectoryError, match=r"LAMMPSDUMP.*give time_step="):
                frames.times()
            frames = UniverseFrames(universe, velocities=None, elements=H2O, time_step="2 fs")
            assert_allclose(frames.times(), [0, 0.002, 0.004])

    def test_lammps_missing_frame_shows_in_steps(self, tmp_path):
        sample = files.water(5)
        sample = dataclasses.replace(sample, times=np.array([0, 2, 4, 8, 10]) / 1000)
        path = files.write_lammps(sample, tmp_path / "w.dump", "real")
        universe = MDAnalysis.Universe(path, format="LAMMPSDUMP", topology_format="LAMMPSDUMP")
        frames = UniverseFrames(universe, velocities=None, elements=H2O, time_step="2 fs")
        with pytest.raises(
            TrajectoryError, match="from frame 2 to frame 3 the step number goes from 4 to 8"
        ):
            frames.times()

    @pytest.mark.parametrize("start", [0.0, 100.0, 4000.0])
    def test_float32_times(self, start, tmp_path):
        sample = files.water(5)
        path = files.write(
            dataclasses.replace(sample, times=start + sample.times), tmp_path / "w.trr"
        )
        frames = UniverseFrames(MDAnalysis.Universe(files.topology(), str(path)))
        assert frames.spacing == pytest.approx(0.002, rel=0.05)
        assert len(frames.times(range(1, 5, 2))) == 2

    def test_float32_times_too_coarse(self, tmp_path):
        sample = files.water(5)
        path = files.write(
            dataclasses.replace(sample, times=1e5 + sample.times), tmp_path / "w.trr"
        )
        frames = UniverseFrames(MDAnalysis.Universe(files.topology(), str(path)))
        with pytest.raises(TrajectoryError, match="time_step="):
            frames.times()

    @pytest.mark.parametrize(
        "times", [[0, 2, 4, 8, 10], [0, 2, 2, 4, 6], [0, 2, 4, 2, 4], [0, 2, 4, 6, 8.5]]
    )
    def test_uneven(self, times, tmp_path):
        sample = dataclasses.replace(files.water(5), times=np.array(times) / 1000)
        path = files.write(sample, tmp_path / "w.trr")
        frames = UniverseFrames(MDAnalysis.Universe(files.topology(), str(path)))
        with pytest.raises(
            TrajectoryError, match=r"not evenly spaced in time: from frame \d to frame \d"
        ):
            frames.times()
        assert len(frames.times([0, 1])) == 2
        overridden = UniverseFrames(
            MDAnalysis.Universe(files.topology(), str(path)), time_step="2 fs"
        )
        assert_allclose(overridden.times(), 0.002 * np.arange(5))

    def test_replicas_and_continued_files(self, tmp_path):
        sample = files.water(6)
        paths = []
        for name, chosen, start in [
            ("a", [0, 1, 2], 0),
            ("b", [3, 4, 5], 0.006),
            ("c", [0, 1, 2], 0),
        ]:
            part = dataclasses.replace(
                sample,
                positions=sample.positions[chosen],
                velocities=sample.velocities[chosen],
                cells=sample.cells[chosen],
                times=start + 0.002 * np.arange(3),
            )
            paths.append(str(files.write(part, tmp_path / f"{name}.trr")))
        frames = UniverseFrames(MDAnalysis.Universe(files.topology(), paths))
        assert list(frames.timeline().starts) == [0, 6]
        assert frames.spacing == pytest.approx(0.002)
        assert list(frames.timeline([0, 2, 4, 6, 8]).starts) == [0, 3]
        assert frames.timeline([0, 2, 4, 6, 8]).spacing == pytest.approx(0.004)
        with pytest.raises(TrajectoryError, match=r"do not continue each other.*\[6\]"):
            UniverseFrames(
                MDAnalysis.Universe(files.topology(), paths), velocities="finite-difference"
            )


class TestElements:
    def names(self, names, masses=None):
        universe = MDAnalysis.Universe.empty(len(names), trajectory=True)
        universe.add_TopologyAttr("names", names)
        if masses is not None:
            universe.add_TopologyAttr("masses", masses)
        universe.atoms.positions = 3.0 * np.arange(3 * len(names)).reshape(-1, 3)
        return universe

    def test_never_from_names(self):
        universe = self.names(["OW", "HW1", "HW2", "CA"])
        universe.guess_TopologyAttrs(to_guess=["types", "masses"])
        with pytest.raises(
            TrajectoryError, match=r"elements of 4 atoms.*--element OW=O.*'OW': 'O'"
        ):
            UniverseFrames(universe, velocities=None)
        frames = UniverseFrames(
            universe, velocities=None, elements={"OW": "O", "HW1": "H", "HW2": "H", "CA": "Ca"}
        )
        assert frames.numbers.tolist() == [8, 1, 1, 20]
        assert_allclose(frames.masses, [15.999, 1.008, 1.008, 40.08], atol=0.01)

    def test_gro_topology_is_refused(self, tmp_path):
        path = tmp_path / "w.gro"
        universe = self.names(["OW", "HW1", "HW2"])
        universe.atoms.write(str(path))
        with pytest.raises(TrajectoryError, match="elements of 3 atoms"):
            UniverseFrames(MDAnalysis.Universe(str(path)), velocities=None)

    def test_lammps_types_are_not_hydrogen(self, tmp_path):
        # the dump parser sets all masses to 1 and does not say that it guessed
        path = files.write_lammps(files.water(2), tmp_path / "w.dump", "metal")
        universe = MDAnalysis.Universe(path, format="LAMMPSDUMP", topology_format="LAMMPSDUMP")
        assert set(universe.atoms.masses) == {1.0}
        with pytest.raises(TrajectoryError, match=r"elements of 192 atoms.*types 1, 2"):
            UniverseFrames(universe, velocities=None)

    def test_from_masses(self):
        universe = self.names(["a", "b", "c", "d"], [15.9994, 1.0, 2.014, 35.45])
        frames = UniverseFrames(universe, velocities=None)
        assert frames.numbers.tolist() == [8, 1, 1, 17]
        assert_allclose(frames.masses, [15.9994, 1.0, 2.014, 35.45])
        assert any("from masses" in note for note in frames.notes)

    def test_mass_of_no_element(self):
        with pytest.raises(TrajectoryError, match=r"elements of 1 atoms .*names CG"):
            UniverseFrames(self.names(["O", "CG"], [15.999, 72.0 + 5.5]), velocities=None)

    def test_massless_sites_are_dropped_and_reported(self):
        universe = self.names(["OW", "HW1", "HW2", "MW", "DRUDE"], [15.999, 1.008, 1.008, 0.0, 0.4])
        universe.trajectory = MemoryReader(
            universe.atoms.positions[None], velocities=np.arange(15.0).reshape(1, 5, 3), dt=0.001
        )
        frames = UniverseFrames(universe, velocity_unit="angstrom/ps", check_temperature=False)
        assert frames.indices.tolist() == [0, 1, 2]
        assert len(frames.frame()) == 3
        assert_allclose(frames.velocities(), np.arange(9.0).reshape(3, 3))
        assert any("1 MW, 1 DRUDE" in note for note in frames.notes)

    def test_massless_hydrogen_is_an_atom(self):
        universe = self.names(["O", "H", "H"], [18.015, 0.0, 0.0])
        universe.add_TopologyAttr("elements", ["O", "H", "H"])
        frames = UniverseFrames(universe, velocities=None)
        assert frames.numbers.tolist() == [8, 1, 1]
        assert_allclose(frames.masses, [18.015, 1.008, 1.008])

    def test_sites_declared_to_be_no_atoms(self):
        universe = self.names(["OW", "HW1", "HW2", "MW"])
        elements = {"OW": "O", "HW1": "H", "HW2": "H", "MW": ""}
        assert UniverseFrames(universe, velocities=None, elements=elements).indices.tolist() == [
            0,
            1,
            2,
        ]

    def test_wrong_maps(self):
        universe = self.names(["OW", "HW1"])
        for elements, message in [
            ({"OW": "O", "HW": "H"}, "no atom has the name or type 'HW'; there are HW1, OW"),
            ({"OW": "Ox", "HW1": "H"}, "'Ox' is not the symbol"),
            (["O"], "one symbol for each of the 2 atoms"),
            ({"OW": None, "HW1": ""}, "no atoms are left"),
        ]:
            with pytest.raises(TrajectoryError, match=message):
                UniverseFrames(universe, velocities=None, elements=elements)


class TestFiniteDifferences:
    def oscillation(self, omega, dt, n_frames=12, wrap=True):
        """Atoms that swing about places at the faces of the cell, so that they cross them."""
        rng = np.random.default_rng(0)
        cell = np.array([[12.0, 0, 0], [2.0, 11.0, 0], [-1.0, 3.0, 13.0]])
        centres = rng.integers(0, 2, (8, 3)) @ cell + rng.normal(size=(8, 3)) * 0.05
        amplitude = rng.normal(size=(8, 3)) * 0.2
        phase = rng.uniform(0, 2 * np.pi, (8, 3))
        t = (dt * np.arange(n_frames))[:, None, None]
        positions = centres + amplitude * np.cos(omega * t + phase)
        velocities = -omega * amplitude * np.sin(omega * t + phase)
        if wrap:
            s = positions @ np.linalg.inv(cell)
            positions = (s - np.floor(s)) @ cell
        return files.Sample(
            ["O"] * 8, positions, velocities, np.array([cell] * n_frames), t.ravel()
        )

    @pytest.mark.parametrize("x", [0.1, 1.0, 2.2])
    def test_factor(self, x):
        dt = 0.002
        sample = self.oscillation(x / dt, dt)
        universe = memory(sample, dt=dt, velocities=False, dimensions=[1, 1, 1, 90, 90, 90])
        frames = UniverseFrames(
            universe, velocities="finite-difference", cell=sample.cells[0], check_temperature=False
        )
        assert frames.usable_frames == range(1, 11)
        for k in frames.usable_frames:
            universe.trajectory[k]
            # float32 positions of 20 Å are good to 1e-6 Å
            assert_allclose(
                frames.velocities(), np.sin(x) / x * sample.velocities[k], atol=2e-6 / dt
            )

    def test_order_of_frames_does_not_matter(self):
        sample = self.oscillation(500.0, 0.002)
        universe = memory(sample, velocities=False, dimensions=[1, 1, 1, 90, 90, 90])
        options = {
            "velocities": "finite-difference",
            "cell": sample.cells[0],
            "check_temperature": False,
        }
        frames = UniverseFrames(universe, **options)
        forward = {ts.frame: frames.velocities() for ts in universe.trajectory[1:11]}
        for k in (7, 2, 3, 9, 8, 4):
            universe.trajectory[k]
            assert_allclose(frames.velocities(), forward[k], rtol=0, atol=0)
            assert universe.trajectory.ts.frame == k

    def test_ends_have_none(self):
        universe = memory(files.water(4), velocities=False)
        frames = UniverseFrames(universe, velocities="finite-difference")
        assert frames.usable_frames == range(1, 3)
        for k in (0, 3):
            universe.trajectory[k]
            with pytest.raises(TrajectoryError, match=f"frame {k} has no neighbour.*frames 1 to 2"):
                frames.velocities()
        with pytest.raises(TrajectoryError, match="at least 3 frames"):
            UniverseFrames(memory(files.water(2)), velocities="finite-difference")

    def test_against_recorded_velocities_of_water(self):
        sample = files.water(12)
        universe = memory(sample)
        frames = UniverseFrames(universe, velocities="finite-difference")
        universe.trajectory[5]
        error = frames.velocities() - sample.velocities[5]
        # 2 fs: (1 - sin x / x) is 0.27 for the O-H stretch at 3500 cm^-1, which is a third of the
        # kinetic energy
        assert 0.05 < np.sqrt((error**2).mean() / (sample.velocities[5] ** 2).mean()) < 0.27

    def test_changing_cell_and_wrapped_atoms(self):
        # uniform motion in a cell that grows: wrapped or not, the atom near its place in the middle
        # frame is meant
        n = 5
        cells = np.array([np.diag([10, 11, 12]) * (1 + 0.001 * k) for k in range(n)])
        v = np.array([[50.0, -30.0, 20.0], [0, 0, 45.0]])
        positions = (
            np.array([[9.9, 0.1, 6.0], [5.0, 5.0, 11.95]]) + 0.002 * np.arange(n)[:, None, None] * v
        )
        s = positions @ np.linalg.inv(cells)
        wrapped = (s - np.floor(s)) @ cells
        assert (np.abs(wrapped - positions) > 1).any()
        universe = MDAnalysis.Universe.empty(2, trajectory=False)
        universe.add_TopologyAttr("elements", ["O", "H"])
        dimensions = np.array([[*cell.diagonal(), 90, 90, 90] for cell in cells])
        universe.trajectory = MemoryReader(wrapped, dimensions=dimensions, dt=0.002)
        frames = UniverseFrames(universe, velocities="finite-difference", check_temperature=False)
        for k in frames.usable_frames:
            universe.trajectory[k]
            expected = self.nearest(wrapped, cells, k)
            assert_allclose(frames.velocities(), expected, atol=2e-6 / 0.002)

    @staticmethod
    def nearest(wrapped, cells, k):
        """Displacements by trying all images of the neighbouring frames."""
        shifts = np.array(list(np.ndindex(3, 3, 3))) - 1
        ends = []
        for j in (k - 1, k + 1):
            images = wrapped[j][:, None] + shifts @ cells[j]
            best = np.linalg.norm(images - wrapped[k][:, None], axis=-1).argmin(axis=1)
            ends.append(images[np.arange(len(best)), best])
        return (ends[1] - ends[0]) / 0.004

    def test_too_far_apart(self):
        sample = files.water(6)
        still = dataclasses.replace(
            sample, positions=np.broadcast_to(sample.positions[0], sample.positions.shape)
        )
        with pytest.raises(
            TrajectoryError, match=r"all velocities are zero|finite differences over"
        ):
            UniverseFrames(memory(still), velocities="finite-difference")
        with pytest.raises(TrajectoryError, match=r"finite differences over 2e\+06 ps"):
            UniverseFrames(memory(sample), velocities="finite-difference", time_step="2 us")
