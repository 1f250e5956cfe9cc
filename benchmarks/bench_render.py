"""The C renderer against PyBullet's TinyRenderer: the same robot, camera and poses, turn by turn in one run.

    python benchmarks/bench_render.py [ROBOT ...] [--poses 200] [--json PATH]

Both times hold forward kinematics and rendering of one picture from joint angles. IoU is between the two masks in the
tinyrenderer convention; `center` is timed besides, the convention that robots have by default.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekin.machine import describe, revision
from edgekin.robot import RobotOptions, load_robot
from edgekin.sim.excitation import sobol
from edgekin.sim.renderer import Renderer
from edgekin.sim.tinyrenderer import TinyRenderer

ROBOTS = ["arm4", "kuka_iiwa/model.urdf", "franka_panda/panda.urdf", "xarm/xarm6_robot.urdf"]
SEED_ARM = Path(__file__).resolve().parents[2] / "shared" / "robots" / "seed_arm" / "seed_arm.urdf"


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return p50 and p99 in microseconds."""
    return {f"p{p}": round(float(np.percentile(seconds, p) * 1e6), 2) for p in (50, 99)}


def measure(name: str, poses: int, seed: int) -> dict[str, Any]:
    """Time both renderers pose by pose and compare their masks."""
    spec = load_robot(name, RobotOptions(convention="tinyrenderer"))
    q = sobol(poses, spec.limits, seed)
    times: dict[str, list[float]] = {"tinyrenderer": [], "ours": [], "ours_center": []}
    iou = []
    center = Renderer(replace(spec, convention="center"))
    with Renderer(spec) as ours, TinyRenderer(spec) as theirs:
        ours.masks(q[:20])
        center.masks(q[:20])
        for pose in q:
            start = time.perf_counter()
            theirs.place(pose)
            mask, _ = theirs.render()
            t1 = time.perf_counter()
            packed = ours.masks(pose)
            t2 = time.perf_counter()
            center.masks(pose)
            t3 = time.perf_counter()
            for key, seconds in zip(times, (t1 - start, t2 - t1, t3 - t2), strict=True):
                times[key].append(seconds)
            own = np.unpackbits(packed[0, 0], axis=-1, count=ours.width).astype(bool)
            iou.append(float((own & mask).sum() / max(1, (own | mask).sum())))
        start = time.perf_counter()
        ours.masks(q)
        per_second = poses / (time.perf_counter() - start)
    center.close()
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
    parser.add_argument("--poses", type=int, default=200)
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
