"""The guard before a run: mistakes of users are refused or marked, correct runs are neither."""

# the tables have a line for each mistake

import json
import warnings

import MDAnalysis
import numpy as np
import pytest
from typer.testing import CliRunner

from mda_aptnn.checks import Check, Checks, Verdict
from mda_aptnn.cli import app
from mda_aptnn.data import WATER64_TOPOLOGY, WATER64_TRAJECTORY
from mda_aptnn.errors import AptnnError, CheckError
from mda_aptnn.flux.dipole_flux import DipoleFlux
from mda_aptnn.flux.flux_series import FluxSeries
from mda_aptnn.flux.guard import check_replicas
from mda_aptnn.flux.path_integrals import average_beads
from mda_aptnn.model.fixed_charges import FixedCharges
from mda_aptnn.spectra.velocity_spectrum import VelocitySpectrum
from mda_aptnn.trajectory.universe_frames import UniverseFrames
from tests import trajectory_files
from tests.systems import BOLTZMANN, LIGHT, MASSES, universe

N_FRAMES = 60
UNIT = {"velocity_unit": "angstrom/ps"}
CHARGES = FixedCharges({"O": -0.8, "H": 0.4})
STEP = 0.002


@pytest.fixture(scope="module")
def water():
    """Real water, flexible, every 2 fs."""
    return trajectory_files.water(N_FRAMES)


def of_sample(sample, frames=slice(None), time_step=STEP, positions=1.0, velocities=1.0, cells=1.0):
    """A Universe of these frames, with factors."""
    edges = np.array([[*np.diag(cell) * cells, 90, 90, 90] for cell in sample.cells[frames]])
    return universe(
        sample.positions[frames] * positions,
        sample.velocities[frames] * velocities,
        sample.symbols,
        cell=edges,
        time_step=time_step,
    )


def rigid_water(n_frames=N_FRAMES, step=STEP, seed=0, n_side=4, temperature=300.0, rotation=1.0):
    """Molecules that swing as rigid bodies, 50 to 300 cm⁻¹, and turn about an axis each, 400 to 900
    cm⁻¹.
    """
    rng = np.random.default_rng(seed)
    molecule = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    mass = np.array([MASSES[symbol] for symbol in "OHH"])
    arms = molecule - mass @ molecule / mass.sum()
    n = n_side**3
    grid = 3.8 * np.stack(np.meshgrid(*[np.arange(n_side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    times = step * np.arange(n_frames)[:, None]
    # energies of Maxwell's distribution, and frequencies in rad/ps
    slow = 2 * np.pi * LIGHT * rng.uniform(50, 300, (n, 3))
    energy = BOLTZMANN * temperature * rng.exponential(size=(n, 3))
    phase = rng.uniform(0, 2 * np.pi, (n, 3))
    centres = grid + np.sqrt(2 * energy / mass.sum()) / slow * np.sin(
        slow * times[..., None] + phase
    )
    drift = np.sqrt(2 * energy / mass.sum()) * np.cos(slow * times[..., None] + phase)
    axis = rng.normal(size=(n, 3))
    axis /= np.linalg.norm(axis, axis=1)[:, None]
    start = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    start *= np.sign(np.linalg.det(start))[:, None, None]
    body = np.einsum("nab,ib->nia", start, arms)
    inertia = (mass * (np.cross(axis[:, None], body) ** 2).sum(axis=2)).sum(axis=1)
    fast = 2 * np.pi * LIGHT * rng.uniform(400, 900, n)
    # one axis takes what belongs to three
    swing = (
        np.sqrt(2 * 3 * rotation * BOLTZMANN * temperature * rng.exponential(size=n) / inertia)
        / fast
    )
    turn = rng.uniform(0, 2 * np.pi, n)
    angle, speed = swing * np.sin(fast * times + turn), swing * fast * np.cos(fast * times + turn)
    along = np.einsum("nia,na->ni", body, axis)[..., None] * axis[:, None]
    across, other = body - along, np.cross(axis[:, None], body)
    cosine, sine = np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
    now = along + cosine * across + sine * other
    spin = speed[..., None, None] * (cosine * other - sine * across)
    positions = (centres[:, :, None] + now).reshape(n_frames, -1, 3)
    velocities = (drift[:, :, None] + spin).reshape(n_frames, -1, 3)
    edge = 3.8 * n_side
    return universe(positions, velocities, "OHH" * n, cell=[edge] * 3 + [90] * 3, time_step=step)


def checked(made, **frames) -> Checks:
    """The checks of a run, after it has run to its end if nothing is refused."""
    found = made.check(**frames)
    if found.worst is not Verdict.REFUSED:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.run(**frames)
    return found


def flux_of(made) -> FluxSeries:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made.run().series


def changed(sample, **arrays):
    """A Universe whose arrays were changed by functions of (array)."""
    u = of_sample(sample)
    for name, change in arrays.items():
        array = {
            "positions": u.trajectory.get_array(),
            "velocities": u.trajectory.velocity_array,
            "cells": u.trajectory.dimensions_array,
        }[name]
        change(array)
    return u


def put(frame, value, atom=slice(None)):
    def change(array):
        array[frame, atom] = value

    return change


def times(frame, factor):
    def change(array):
        array[frame] = array[frame] * factor

    return change


def order_of(frames):
    def change(array):
        array[:] = array[frames]

    return change


SHUFFLED = np.random.default_rng(0).permutation(N_FRAMES)
vdos = VelocitySpectrum


def with_wrong_elements(sample):
    u = of_sample(sample)
    u.atoms.elements = ["H", "H", "O"] * 64
    u.atoms.masses = [MASSES[symbol] for symbol in "HHO" * 64]
    return u


def temperature_check(sample, kelvin):
    series = flux_of(DipoleFlux(of_sample(sample), CHARGES, **UNIT))
    with pytest.warns(UserWarning, match="temperature: given"):
        found = series.spectrum(kelvin, 500)
    assert any(note.startswith("look at this: temperature: given") for note in found.notes)
    return series.check(kelvin)


def of_differences(sample, time_step):
    options = {"velocities": "finite-difference", "time_step": time_step, **UNIT}
    return flux_of(DipoleFlux(of_sample(sample), CHARGES, **options)).check(330)


def rigid_temperature(sample, kelvin):
    series = flux_of(DipoleFlux(rigid_water(200), CHARGES, **UNIT))
    return series.check(kelvin)


def twice(sample):
    series = [flux_of(DipoleFlux(of_sample(sample), CHARGES, **UNIT)) for _ in range(2)]
    return FluxSeries.merge(series)


def beads_twice(sample):
    with pytest.warns(UserWarning, match="bead 2 has the same flux"):
        average_beads([flux_of(DipoleFlux(of_sample(sample), CHARGES, **UNIT))] * 2)
    return Checks((Check("beads", "", Verdict.LOOK, ""),))


#: What a user does wrong: a name, a call that gets the frames of real water, words of the answer,
#: the verdict.
MISTAKES = [
    (
        "a time step too long",
        lambda s: checked(vdos(of_sample(s), time_step="4 fs", **UNIT)),
        "too long",
        "refused",
    ),
    (
        "half the time step",
        lambda s: checked(vdos(of_sample(s), time_step="1 fs", **UNIT)),
        "too short",
        "refused",
    ),
    (
        "the integrator's step",
        lambda s: checked(vdos(of_sample(s), time_step="0.5 fs", **UNIT)),
        "short",
        "refused",
    ),
    (
        "ps for fs",
        lambda s: checked(vdos(of_sample(s), time_step="2 ps", **UNIT)),
        "2000 fs",
        "refused",
    ),
    (
        "1.2 times",
        lambda s: checked(vdos(of_sample(s), time_step="2.4 fs", **UNIT)),
        "too long",
        "look at this",
    ),
    (
        "wrong recorded times",
        lambda s: checked(vdos(of_sample(s, time_step=0.004), **UNIT)),
        "too long",
        "refused",
    ),
    (
        "flexible, 8 fs",
        lambda s: checked(vdos(of_sample(s), **UNIT), step=4),
        "motion of hydrogen",
        "refused",
    ),
    ("flexible, 6 fs", lambda s: checked(vdos(of_sample(s), **UNIT), step=3), "2780", "refused"),
    (
        "finite differences, 6 fs",
        lambda s: checked(
            vdos(of_sample(s, slice(None, None, 3), 0.006), velocities="finite-difference", **UNIT)
        ),
        "2780",
        "refused",
    ),
    (
        "finite differences, 4 fs",
        lambda s: checked(
            vdos(of_sample(s, slice(None, None, 2), 0.004), velocities="finite-difference", **UNIT)
        ),
        "end at 0.7",
        "look at this",
    ),
    (
        "rigid water, 20 fs",
        lambda s: checked(vdos(rigid_water(step=0.02), **UNIT)),
        "librations",
        "refused",
    ),
    (
        "100 ps frames",
        lambda s: checked(vdos(rigid_water(step=100.0), **UNIT)),
        "some 1000",
        "refused",
    ),
    (
        "frames shuffled",
        lambda s: checked(vdos(of_sample(s, SHUFFLED), **UNIT)),
        "another order",
        "refused",
    ),
    (
        "frames in two halves, exchanged",
        lambda s: checked(vdos(of_sample(s, np.roll(np.arange(N_FRAMES), 30)), **UNIT)),
        "not of one motion",
        "refused",
    ),
    (
        "frames backward",
        lambda s: checked(vdos(of_sample(s, slice(None, None, -1)), **UNIT)),
        "not of one motion",
        "refused",
    ),
    (
        "velocities of other frames",
        lambda s: checked(vdos(changed(s, velocities=order_of(SHUFFLED)), **UNIT)),
        "not those of these positions",
        "look at this",
    ),
    (
        "velocities with the other sign",
        lambda s: checked(vdos(of_sample(s, velocities=-1), **UNIT)),
        "another sign",
        "refused",
    ),
    (
        "velocities in nm/ps",
        lambda s: checked(vdos(of_sample(s, velocities=0.1), **UNIT)),
        "unit",
        "refused",
    ),
    (
        "velocities 1.6 times too large",
        lambda s: checked(vdos(of_sample(s, velocities=1.6), **UNIT)),
        "unit of the velocities",
        "refused",
    ),
    (
        "everything in nm",
        lambda s: checked(vdos(of_sample(s, positions=0.1, velocities=0.1, cells=0.1), **UNIT)),
        "volume",
        "refused",
    ),
    (
        "positions in nm",
        lambda s: checked(vdos(of_sample(s, positions=0.1), pbc="none", cell=[50] * 3, **UNIT)),
        "",
        "refused",
    ),
    (
        "cell of another box",
        lambda s: checked(vdos(of_sample(s), cell="20 20 20", **UNIT)),
        "recorded",
        "refused",
    ),
    (
        "cell a little too large",
        lambda s: checked(vdos(of_sample(s), cell="12.6 12.6 12.6", **UNIT)),
        "recorded",
        "refused",
    ),
    (
        "cell in nm",
        lambda s: checked(vdos(of_sample(s), cell="1.24 1.24 1.24", **UNIT)),
        "volume",
        "refused",
    ),
    (
        "a cell that vanishes",
        lambda s: checked(vdos(changed(s, cells=put(26, 0.0)), **UNIT)),
        "frame 26",
        "refused",
    ),
    (
        "a cell of NaN",
        lambda s: checked(vdos(changed(s, cells=put(26, np.nan)), **UNIT)),
        "frame 26",
        "refused",
    ),
    (
        "a cell 1e5 times larger",
        lambda s: checked(vdos(changed(s, cells=times(26, [46, 46, 46, 1, 1, 1])), **UNIT)),
        "frame 26",
        "refused",
    ),
    (
        "one velocity of 1e30",
        lambda s: checked(vdos(changed(s, velocities=put(27, 1e30, 5)), **UNIT)),
        "frame 27: atom 5",
        "refused",
    ),
    (
        "velocities of one frame in another unit",
        lambda s: checked(vdos(changed(s, velocities=times(27, 3.0)), **UNIT)),
        "frame 27",
        "refused",
    ),
    # between the frames that are looked at before the run
    (
        "a frame of another run",
        lambda s: checked(
            vdos(
                changed(
                    trajectory_files.water(200), positions=lambda a: put(29, a[29, ::-1].copy())(a)
                ),
                **UNIT,
            )
        ),
        "frame 29: atom",
        "refused",
    ),
    (
        "unwrapped to 1e5 Å",
        lambda s: checked(vdos(changed(s, positions=lambda a: np.add(a, 1e5, out=a)), **UNIT)),
        "single precision",
        "look at this",
    ),
    (
        "elements in another order",
        lambda s: checked(vdos(with_wrong_elements(s), **UNIT)),
        "kinetic",
        "look at this",
    ),
    (
        "rotation is hotter",
        lambda s: checked(vdos(rigid_water(200, 0.005, rotation=2.0), **UNIT)),
        "kinetic temperatures",
        "look at this",
    ),
    ("3000 K", lambda s: temperature_check(s, "3000 K"), "given 3000 K, kinetic 3", "look at this"),
    ("30 K", lambda s: temperature_check(s, 30), "given 30 K, kinetic 3", "look at this"),
    (
        "finite differences, half the time step",
        lambda s: of_differences(s, "1 fs"),
        "given 330 K, kinetic 1",
        "look at this",
    ),
    (
        "rigid water, 600 K",
        lambda s: rigid_temperature(s, 600),
        "given 600 K, kinetic",
        "look at this",
    ),
    (
        "rigid water without a temperature",
        lambda s: flux_of(DipoleFlux(rigid_water(), CHARGES, **UNIT)).spectrum(resolution=500),
        "give temperature",
        "refused",
    ),
    ("the same trajectory twice", twice, "same flux as part 1", "refused"),
    ("the same bead twice", beads_twice, "", "look at this"),
]


@pytest.mark.parametrize(
    ("call", "words", "verdict"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES]
)
def test_a_mistake_is_refused_or_marked(water, call, words, verdict):
    try:
        found = call(water)
        text, worst = str(found.doubtful), found.worst.value
        if worst == "refused":
            with pytest.raises(CheckError):
                found.raise_refused()
    except AptnnError as error:
        text, worst = str(error), "refused"
    assert worst == verdict, text
    assert words in text


def npt(sample):
    """A cell that breathes by 1 % with a period of 0.1 ps, and atoms with it."""
    scale = 1 + 0.01 * np.sin(2 * np.pi * 10 * STEP * np.arange(N_FRAMES))
    cells = np.array([[*np.diag(cell), 90, 90, 90] for cell in sample.cells])
    cells[:, :3] *= scale[:, None]
    positions = sample.positions * scale[:, None, None]
    return universe(positions, sample.velocities, sample.symbols, cell=cells, time_step=STEP)


def triclinic(sample):
    """The same lattice with other vectors."""
    edge = sample.cells[0, 0, 0]
    return universe(
        sample.positions,
        sample.velocities,
        sample.symbols,
        cell=[edge, np.sqrt(2) * edge, edge, 90, 90, 45],
        time_step=STEP,
    )


def bead(sample, n_beads=4):
    """A bead of a ring polymer: its springs are as hot as the beads are many."""
    rng = np.random.default_rng(3)
    masses = np.array([MASSES[symbol] for symbol in sample.symbols])[:, None]
    # 2 P k_B T/ħ is the fastest
    frequency = rng.uniform(100, 314, sample.positions.shape[1:])
    speed = np.sqrt(
        2 * BOLTZMANN * 300 * (n_beads - 1) * rng.exponential(size=frequency.shape) / masses
    )
    phase = rng.uniform(0, 2 * np.pi, frequency.shape) + frequency * sample.times[:, None, None]
    return universe(
        sample.positions + speed / frequency * np.sin(phase),
        sample.velocities + speed * np.cos(phase),
        sample.symbols,
        cell=[*np.diag(sample.cells[0]), 90, 90, 90],
        time_step=STEP,
    )


def in_vacuum(sample, n_molecules):
    n = 3 * n_molecules
    # made whole: in vacuum no image is nearer
    positions = sample.positions[:, :n] - np.repeat(sample.positions[:, :n:3], 3, axis=1)
    positions -= sample.cells[0, 0, 0] * np.round(positions / sample.cells[0, 0, 0])
    base = sample.positions[0, :n:3] + np.cumsum(
        np.diff(sample.positions[:, :n:3], axis=0, prepend=sample.positions[:1, :n:3])
        - sample.cells[0, 0, 0]
        * np.round(
            np.diff(sample.positions[:, :n:3], axis=0, prepend=sample.positions[:1, :n:3])
            / sample.cells[0, 0, 0]
        ),
        axis=0,
    )
    positions += np.repeat(4 * base, 3, axis=1) - 3 * np.repeat(base - base[0], 3, axis=1)
    return universe(positions, sample.velocities[:, :n], "OHH" * n_molecules, time_step=STEP)


def of_lammps(sample, folder):
    path = trajectory_files.write_lammps(sample, folder / "water.lammpsdump", "real")
    opened = MDAnalysis.Universe(WATER64_TOPOLOGY, str(path), format="LAMMPSDUMP")
    return vdos(opened, velocity_unit="angstrom/fs", time_step="2 fs")


def of_gromacs(sample, folder):
    """TRR, velocities half a step of 1 fs behind."""
    late = trajectory_files.dataclasses.replace(
        sample, velocities=0.75 * sample.velocities + 0.25 * np.roll(sample.velocities, 1, axis=0)
    )
    path = trajectory_files.write(late, folder / "water.trr")
    return vdos(MDAnalysis.Universe(WATER64_TOPOLOGY, str(path)))


def of_cp2k(sample, folder):
    path = trajectory_files.write_cp2k(sample, folder)
    return vdos(MDAnalysis.Universe(WATER64_TOPOLOGY, str(path), format="CP2K"))


#: Correct runs: a name, the analysis of the frames of real water, how its frames are chosen.
CORRECT = [
    (
        "bundled",
        lambda s, d: vdos(MDAnalysis.Universe(WATER64_TOPOLOGY, WATER64_TRAJECTORY)),
        {"stop": 500},
    ),
    ("every second frame", lambda s, d: vdos(of_sample(s), **UNIT), {"step": 2}),
    ("rigid, 2 fs", lambda s, d: vdos(rigid_water(), **UNIT), {}),
    ("rigid, 4 fs", lambda s, d: vdos(rigid_water(step=0.004), **UNIT), {}),
    ("rigid, 5 fs", lambda s, d: vdos(rigid_water(step=0.005), **UNIT), {}),
    (
        "finite differences, 1 fs",
        lambda s, d: vdos(rigid_water(step=0.001), velocities="finite-difference", **UNIT),
        {},
    ),
    (
        "finite differences, 2 fs",
        lambda s, d: vdos(of_sample(s), velocities="finite-difference", **UNIT),
        {},
    ),
    ("constant pressure", lambda s, d: vdos(npt(s), **UNIT), {}),
    ("triclinic", lambda s, d: vdos(triclinic(s), **UNIT), {}),
    ("bead", lambda s, d: vdos(bead(s), check_temperature=False, **UNIT), {}),
    ("one molecule", lambda s, d: vdos(in_vacuum(s, 1), **UNIT), {}),
    ("gas", lambda s, d: vdos(in_vacuum(s, 20), **UNIT), {}),
    ("LAMMPS", of_lammps, {}),
    ("GROMACS", of_gromacs, {}),
    ("CP2K", of_cp2k, {}),
    (
        "the recorded cell given",
        lambda s, d: vdos(of_sample(s), cell=[*np.diag(s.cells[0])], **UNIT),
        {},
    ),
    (
        "wrong recorded times set right",
        lambda s, d: vdos(of_sample(s, time_step=0.01), time_step="2 fs", **UNIT),
        {},
    ),
    ("the recorded time given", lambda s, d: vdos(of_sample(s), time_step="2 fs", **UNIT), {}),
    ("a flux", lambda s, d: DipoleFlux(of_sample(s), CHARGES, **UNIT), {}),
]


@pytest.mark.parametrize(
    ("make", "frames"), [run[1:] for run in CORRECT], ids=[run[0] for run in CORRECT]
)
def test_a_correct_run_is_not_refused_and_its_time_is_fine(water, tmp_path, make, frames):
    found = checked(make(water, tmp_path), **frames)
    # a few frames of the bundled water: its vibration is 27 K warmer at its beginning than on
    # average
    of_bundled = [check for check in found.doubtful if check.name != "kinetic temperatures"]
    assert [str(check) for check in of_bundled] == []


def command(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def rigid_file(tmp_path_factory):
    """Rigid water every 2 fs on disk."""
    folder = tmp_path_factory.mktemp("rigid")
    u = rigid_water(120)
    u.atoms.write(str(folder / "rigid.pdb"))
    with MDAnalysis.Writer(str(folder / "rigid.trr"), u.atoms.n_atoms) as writer:
        for _ in u.trajectory:
            writer.write(u.atoms)
    return folder


def test_the_command_prints_every_check_and_says_by_its_exit_code_what_is_refused(rigid_file):
    names = rigid_file / "rigid.pdb", rigid_file / "rigid.trr"
    good = command("check", *names)
    assert good.exit_code == 0, good.output
    assert "fine: spacing of frames: 2 fs, good up to 8339 cm⁻¹; librations" in good.output
    bad = command("check", *names, "--time-step", "6 fs", "--json")
    report = json.loads(bad.stdout)
    assert bad.exit_code == 1 and report["verdict"] == "refused"
    assert {"name", "found", "verdict", "meaning", "allow"} == set(report["checks"][0])
    allowed = command("check", *names, "--time-step", "6 fs", "--allow-aliasing")
    assert allowed.exit_code == 0 and "look at this: time between frames" in allowed.output
    twice = command("check", *names, names[1])
    assert twice.exit_code == 1
    assert (
        "trajectory 1, frame 0, and trajectory 2, frame 0, and those 119 frames later"
        in twice.output
    )


def test_commands_pass_through_the_same_guard_before_they_predict(rigid_file, tmp_path):
    names = rigid_file / "rigid.pdb", rigid_file / "rigid.trr"
    for arguments, said in (
        (("vdos", *names, "--step", "10"), "error: spacing of frames: 20 fs"),
        (("flux", *names, "--time-step", "6 fs"), "error: time between frames: 6 fs"),
        (("flux", *names, names[1]), "error: replicas: trajectory 1, frame 0, and trajectory 2"),
        (("flux", *names, "--cell", "16 16 16"), "error: cell: given 16 x 16 x 16"),
        (("spectrum", *names), "error: the kinetic temperature is not known, as bonds"),
    ):
        done = command(*arguments, "-o", tmp_path / "out.h5")
        assert done.exit_code == 1
        assert said in done.stderr
        assert "frames are in" not in done.stderr and not (tmp_path / "out.h5").exists()
    done = command("vdos", *names, "-o", tmp_path / "out.h5", "--resolution", "200", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["verdict"] == "fine"


def test_what_is_doubtful_is_in_the_file_the_text_and_the_picture(water, tmp_path):
    made = DipoleFlux(of_sample(water), CHARGES, cell="13 13 13", override_cell=True, **UNIT)
    with pytest.warns(UserWarning, match="cell: given 13 x 13 x 13"):
        series = made.run().series
    assert series.check().worst is Verdict.LOOK
    series.save(tmp_path / "flux.h5")
    loaded = FluxSeries.load(tmp_path / "flux.h5")
    assert loaded.check().to_json() == series.check().to_json()
    found = loaded.spectrum(300, 500)
    drawn = [text.get_text().replace("\n", " ") for text in found.plot().texts]
    assert any(text.startswith("look at this: cell: given 13 x 13 x 13") for text in drawn)
    done = command(
        "spectrum",
        tmp_path / "flux.h5",
        "-o",
        tmp_path / "s.h5",
        "-T",
        "300",
        "--resolution",
        "500",
    )
    assert done.exit_code == 0, done.output
    assert done.output.count("look at this: cell: given 13 x 13 x 13") == 1
    # nothing is drawn where all is fine
    fine = flux_of(DipoleFlux(rigid_water(400), CHARGES, degrees_of_freedom=6 * 64 - 3, **UNIT))
    assert [text.get_text() for text in fine.spectrum(resolution=500).plot().texts] == []


def test_one_trajectory_in_two_files_of_one_universe_is_refused(rigid_file):
    u = MDAnalysis.Universe(str(rigid_file / "rigid.pdb"), [str(rigid_file / "rigid.trr")] * 2)
    with pytest.raises(
        CheckError, match=r"frame 0, and trajectory 1, frame 120, and those 119 frames later"
    ):
        vdos(u).run()


def test_replicas_that_start_from_one_frame_are_two(tmp_path):
    """As with other seeds of a thermostat."""
    one, other = rigid_water(30), rigid_water(30)
    for array in (other.trajectory.get_array(), other.trajectory.velocity_array):
        array[1:] = array[1:, np.roll(np.arange(192), 3)]
    frames = [UniverseFrames(u, **UNIT) for u in (one, other)]
    assert check_replicas(frames).worst is Verdict.FINE
    assert (
        check_replicas([frames[0], UniverseFrames(rigid_water(20), **UNIT)]).worst
        is Verdict.REFUSED
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [
            DipoleFlux(u, CHARGES, check_temperature=False, allow_aliasing=True, **UNIT).run()
            for u in (one, other)
        ]
    assert FluxSeries.merge(part.series for part in parts).starts == [0, 30]


def test_checks_know_the_gravest_and_survive_json():
    one, other = (
        Check("a", "1", Verdict.FINE, "x"),
        Check("b", "2", Verdict.REFUSED, "y", "--allow-it"),
    )
    both = Checks((one, other))
    assert Checks.from_json(json.loads(json.dumps(both.to_json()))) == both
    assert both.worst is Verdict.REFUSED and both.allowing(["--allow-it"]).worst is Verdict.LOOK
    with pytest.raises(
        CheckError, match=r"b: 2. y \(--allow-it, in Python allow_it=True, if it is meant\)"
    ):
        both.raise_refused()
    both.allowing(["--allow-it"]).raise_refused()


def test_finite_differences_at_constant_pressure_contain_the_flow_of_the_cell():
    """Finding N19, as docs/theory.md says it: ḣh⁻¹r, which depends on the origin."""
    step, rate = 0.001, 0.5
    scale = np.exp(rate * step * np.arange(5))[:, None, None]
    place = np.array([[1.0, 2.0, 3.0], [4.0, 6.0, 5.0], [7.0, 1.0, 8.0]])
    cells = np.array([[10 * s, 10 * s, 10 * s, 90, 90, 90] for s in scale.ravel()])
    u = universe(scale * place, None, "OOO", cell=cells, time_step=step)
    frames = UniverseFrames(u, velocities="finite-difference", check_temperature=False)
    u.trajectory[2]
    np.testing.assert_allclose(frames.velocities(), rate * scale[2] * place, atol=2e-3)


def test_the_guard_reads_a_few_frames(monkeypatch):
    """However long the trajectory is: 10 places of three frames, and what is asked of times."""
    u = MDAnalysis.Universe(WATER64_TOPOLOGY, WATER64_TRAJECTORY)
    analysis, read = vdos(u), []
    original = type(u.trajectory)._read_frame

    def counted(reader, number):
        read.append(number)
        return original(reader, number)

    monkeypatch.setattr(type(u.trajectory), "_read_frame", counted)
    analysis.check()
    assert 0 < len(read) < u.trajectory.n_frames / 20
