"""Where the kernels' time goes: each layer carried out up to one stage after the other, and the
differences.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from numba import njit

from mda_aptnn.model.file import ModelFile
from mda_aptnn.model.kernels import kernels as kernels
from mda_aptnn.model.kernels.engine import CpuEngine
from mda_aptnn.model.predict import model_path
from suite.boxes import frames_of

#: In the order in which a block passes through them.
STAGES = (
    "pairs within the cutoff",
    "radial functions",
    "harmonics",
    "sums over neighbours",
    "features",
    "handing over",
)
#: Passes over the frame, of which the median is taken.
PASSES = 200


@njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def _up_to(program, geometry, scratch, exchange, last_block, stage):  # type: ignore[no-untyped-def]
    """What `kernels.run_layer` does for one member, up to a stage."""
    program, geometry = kernels.LayerProgram(*program), kernels.Geometry(*geometry)
    scratch, exchange = kernels.Scratch(*scratch), kernels.Exchange(*exchange)
    for block in range(last_block):
        kernels.find_pairs(program, geometry, scratch, block)
        count = kernels.padded(scratch.firsts[kernels.BLOCK * program.n_species], kernels.PAIRS)
        if stage >= 1:
            kernels.radial_functions(scratch, count, program.cutoff, program.n_radial)
        if stage >= 2:
            kernels.spherical_harmonics(scratch, count, program.lmax, program.harmonics)
        if stage >= 3:
            if program.n_mixed == 0:
                kernels.element_density(program, scratch)
            else:
                place, length = program.before[0], program.before[1]
                before, features = exchange.before[0, block], scratch.work[place : place + length]
                for number in range(len(features)):
                    features[number] = before[number]
                kernels.message_density(program, scratch, program.radial[0], exchange.received[0])
        if stage >= 4:
            kernels.carry_out(program, scratch, program.weights[0], geometry.elements[block])
        if stage >= 5:
            kernels.hand_over(program, scratch, geometry, exchange, 0, block)


class Spy(CpuEngine):
    """An engine that keeps what it hands to its kernels."""

    def _layer(self, program: Any, geometry: Any, exchange: Any) -> float:
        self.handed = [*getattr(self, "handed", []), (program, geometry, exchange)]
        return super()._layer(program, geometry, exchange)


def measure(model: str) -> dict[str, Any]:
    """Return µs per atom of each stage, both layers together, for a frame of 384 atoms in float32
    on one thread.
    """
    frame = frames_of(384, 1)[0]
    engine = Spy(ModelFile.load(model_path(model)), "float32", 1)
    engine.components([frame])
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    scratch = tuple(engine._scratch[0])
    for number in range(PASSES + 1):
        before = 0.0
        for stage, name in enumerate(STAGES):
            seconds = 0.0
            for program, geometry, exchange in engine.handed:
                start = time.thread_time()
                _up_to(
                    tuple(program),
                    tuple(geometry),
                    scratch,
                    tuple(exchange),
                    len(geometry.atoms),
                    stage,
                )
                seconds += time.thread_time() - start
            # the first pass compiles
            if number:
                times[name].append(seconds - before)
            before = seconds
    return {
        "us_per_atom": {
            name: round(1e6 * statistics.median(own) / len(frame), 2) for name, own in times.items()
        }
    }
