"""Collecting with the C renderer against the same with PyBullet's TinyRenderer: one process each, in one run.

    python benchmarks/bench_collect.py [ROBOT ...] [--samples 2000] [--json PATH]

Both simulate the same dynamics over the same targets, TinyRenderer over the first tenth of them (its pictures take the
same time all along); everything that `edgekin collect` does before the file is written counts, loading included.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from reference_arm import SEED_ARM

from edgekin.machine import describe, revision
from edgekin.output import write_json
from edgekin.robot import load_robot
from edgekin.sim.collect import STEPS, CollectOptions, collect
from edgekin.sim.excitation import lorenz
from edgekin.sim.tinyrenderer import TinyRenderer
from edgekin.sim.world import simulate

TINY_SHARE = 0.1


def ours_seconds(robot: str, samples: int, workers: int, seed: int) -> float:
    """Return the seconds of collecting so many samples."""
    start = time.perf_counter()
    collect(CollectOptions(load_robot(robot), samples, seed=seed, workers=workers))
    return time.perf_counter() - start


def tiny_seconds(robot: str, samples: int, seed: int) -> float:
    """Return the seconds of the same with TinyRenderer, from a share of the samples."""
    start = time.perf_counter()
    spec = load_robot(robot)
    count = max(2, int(samples * TINY_SHARE))
    with TinyRenderer(spec) as renderer:
        begin = time.perf_counter()
        for pose in simulate(spec, lorenz(samples, len(spec.limits), spec.limits, seed)[:count], STEPS):
            renderer.place(pose)
            renderer.picture()
        each = (time.perf_counter() - begin) / count
    return begin - start + each * samples


def measure(robot: str, samples: int, seed: int) -> dict[str, Any]:
    """Time one robot."""
    ours = {workers: ours_seconds(robot, samples, workers, seed) for workers in (1, 0)}
    tiny = tiny_seconds(robot, samples, seed)
    return {"robot": Path(robot).name if Path(robot).exists() else robot, "samples": samples,
            "seconds": {"tinyrenderer": round(tiny, 2), "ours": round(ours[1], 2),
                        "ours_every_core": round(ours[0], 2)},
            "speedup": round(tiny / ours[1], 1)}


def main() -> None:
    """Measure, print a line a robot, and write the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("robots", nargs="*", default=["arm4", *([str(SEED_ARM)] if SEED_ARM.exists() else [])])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    for robot in options.robots:
        result = measure(robot, options.samples, options.seed)
        results.append(result)
        seconds = result["seconds"]
        print(f"{result['robot']:20s} {options.samples} samples: TinyRenderer {seconds['tinyrenderer']:6.1f} s, ours "
              f"{seconds['ours']:5.2f} s ({result['speedup']:.0f}x), on every core {seconds['ours_every_core']:.2f} s",
              flush=True)
    if options.json:
        write_json(options.json, {"schema": "edgekin.bench-collect/1", "revision": revision(), "seed": options.seed,
                                  "machine": describe(), "robots": results})


if __name__ == "__main__":
    main()
