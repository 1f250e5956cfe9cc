"""The C renderer against PyBullet's TinyRenderer: the same robot, camera and poses, turn by turn in one run.

    python benchmarks/bench_render.py [ROBOT ...] [--poses 400] [--json PATH]

A turn is TURN poses in a row, given to each renderer as it takes them: ours all at once, TinyRenderer one by one. The
times are a turn's, divided by TURN: forward kinematics and rendering of one picture from joint angles. IoU is between
the two masks in the tinyrenderer convention; `center` is timed besides, the convention that robots have by default.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference_arm import SEED_ARM

from edgekin.machine import describe, revision
from edgekin.robot import RobotOptions, load_robot
from edgekin.sim.excitation import sobol
from edgekin.sim.renderer import Renderer
from edgekin.sim.tinyrenderer import TinyRenderer

ROBOTS = ["arm4", "kuka_iiwa/model.urdf", "franka_panda/panda.urdf", "xarm/xarm6_robot.urdf"]


#: Poses that one renderer takes before it is the other's turn: near in time, so that a busy machine slows both alike,
#: and long enough that neither is timed on the caches that the other left behind.
TURN = 20


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return p50 and p99 in microseconds."""
    return {f"p{p}": round(float(np.percentile(seconds, p) * 1e6), 2) for p in (50, 99)}


def timed(call: Callable[[NDArray[np.float64]], Any], poses: NDArray[np.float64], times: list[float]) -> None:
    """Render a turn's poses and append the seconds that one took."""
    start = time.perf_counter()
    call(poses)
    times.append((time.perf_counter() - start) / len(poses))


def overlap(ours: Renderer, theirs: TinyRenderer, q: NDArray[np.float64]) -> list[float]:
    """Return the IoU of the two masks of every pose."""
    out = []
    for pose, packed in zip(q, ours.masks(q), strict=True):
        theirs.place(pose)
        mask, own = theirs.render()[0], np.unpackbits(packed[0], axis=-1, count=ours.width).astype(bool)
        out.append(float((own & mask).sum() / max(1, (own | mask).sum())))
    return out


def measure(name: str, poses: int, seed: int) -> dict[str, Any]:
    """Time both renderers turn by turn and compare their masks."""
    spec = load_robot(name, RobotOptions(convention="tinyrenderer"))
    q = sobol(poses, spec.limits, seed)
    times: dict[str, list[float]] = {"tinyrenderer": [], "ours": [], "ours_center": []}
    with (Renderer(spec) as ours, Renderer(replace(spec, convention="center")) as center,
          TinyRenderer(spec) as theirs):

        def tiny(turn: NDArray[np.float64]) -> None:
            for pose in turn:
                theirs.place(pose)
                theirs.picture()

        calls = {"tinyrenderer": tiny, "ours": ours.masks, "ours_center": center.masks}
        for first in range(0, poses, TURN):
            for key, call in calls.items():
                timed(call, q[first : first + TURN], times[key])
        start = time.perf_counter()
        center.masks(q)
        per_second = poses / (time.perf_counter() - start)
        iou = overlap(ours, theirs, q)
    us = {key: percentiles(values) for key, values in times.items()}
    return {"robot": name if not Path(name).exists() else Path(name).name,
            "triangles": sum(len(link.triangles) for link in spec.links),
            "us": us, "speedup_p50": round(us["tinyrenderer"]["p50"] / us["ours"]["p50"], 1),
            "speedup_center_p50": round(us["tinyrenderer"]["p50"] / us["ours_center"]["p50"], 1),
            "frames_per_second_batch": round(per_second), "iou": {"mean": float(np.mean(iou)), "min": min(iou)}}


def main() -> None:
    """Measure, print a line a robot, and write the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("robots", nargs="*", default=ROBOTS + ([str(SEED_ARM)] if SEED_ARM.exists() else []))
    parser.add_argument("--poses", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    for name in options.robots:
        result = measure(name, options.poses, options.seed)
        results.append(result)
        us = result["us"]
        print(f"{result['robot']:28s} {result['triangles']:7d} triangles  "
              f"TinyRenderer {us['tinyrenderer']['p50']:9.1f} us  "
              f"ours {us['ours']['p50']:7.1f} us ({result['speedup_p50']:.0f}x)  "
              f"center {us['ours_center']['p50']:7.1f} us ({result['speedup_center_p50']:.0f}x)  "
              f"IoU {result['iou']['mean']:.5f}", flush=True)
    if options.json:
        entry = {"schema": "edgekin.bench-render/1", "revision": revision(), "seed": options.seed,
                 "machine": describe(), "settings": {"poses": options.poses, "threads": 1}, "robots": results}
        options.json.write_text(json.dumps(entry, indent=2) + "\n")


if __name__ == "__main__":
    main()
