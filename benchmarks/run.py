"""Time and memory of prediction, training and spectra, as figures in a JSON file, and in
docs/speed.md.

    python benchmarks/run.py [speed|stages|scaling|training|spectra ...] --json out.json [--docs
    docs]

Without a name all parts are measured: some 15 minutes on a core that is free (speed 7, stages 1,
scaling 4, training 1, spectra 3), with one thread but where threads and workers are what is
measured. Parts that are in the JSON file already stay there when others are measured. Figures are
CPU time wherever a figure is compared with another, and engines that are compared take turns in one
process. With --docs, tables and pictures of that folder's speed.md are written anew from all that
the JSON file holds; `--docs docs --json out.json none` does nothing else.

The bundled trajectory of water (192 atoms, frames 2 fs apart) is repeated to larger cells. e3nn is
its SimpleNetwork v2106 with the hyper-parameters of the published atomic-polar-tensor networks (two
layers of 20 channels of every irrep to l = 2, 6 Å), eager, with the same neighbour list.
"""

from __future__ import annotations

import os

# before numpy and torch, which read it once
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import datetime
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite import pages, scaling, spectra, speed, stages, training

PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "speed": lambda options: speed.measure(options.model, options.atoms, options.deviation_frames),
    "stages": lambda options: stages.measure(options.model),
    "scaling": lambda options: scaling.measure(options.model, options.frames),
    "training": lambda options: training.measure(options.steps),
    "spectra": lambda options: spectra.measure(options.model, options.frames),
}


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}, or none")
    parser.add_argument(
        "--json", type=Path, required=True, help="where the figures go, beside those that are there"
    )
    parser.add_argument(
        "--docs", type=Path, help="folder of speed.md, whose tables and pictures are written"
    )
    parser.add_argument(
        "--model", default="water-rpbe-d3", help="name or path of a model for water"
    )
    parser.add_argument("--atoms", type=int, nargs="+", default=speed.ATOMS, choices=speed.ATOMS)
    parser.add_argument(
        "--frames", type=int, default=10_000, help="frames on disk, for scaling and spectra"
    )
    parser.add_argument(
        "--deviation-frames", type=int, default=1000, help="frames compared with float64, for speed"
    )
    parser.add_argument("--steps", type=int, default=5, help="training steps")
    options = parser.parse_args()
    unknown = set(options.parts) - {*PARTS, "none"}
    if unknown:
        parser.error(
            f"no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}, and none"
        )
    report: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    for name in [part for part in options.parts or PARTS if part != "none"]:
        load = os.getloadavg()[0]
        report[name] = PARTS[name](options)
        report[name]["machine"] = {
            "processor": processor(),
            "date": datetime.date.today().isoformat(),
            "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")
        print(name, json.dumps(report[name]), flush=True)
    if options.docs is not None:
        pages.write(report, options.docs)


if __name__ == "__main__":
    main()
