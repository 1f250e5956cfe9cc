"""A picture of the free-form model, marched plainly and with empty space skipped: the same poses, in turns, in one run.

    python benchmarks/bench_field.py RUN [--poses 20] [--json PATH]

Times are of one picture at batch 1 from joint angles to log-odds, warm, torch on one thread, FP32. Beside them stand
the network's evaluations a picture and the largest difference between the two pictures' probabilities.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgekin.errors import ConfigError
from edgekin.machine import describe, revision
from edgekin.models.registry import HasOccupancy
from edgekin.training.run import load_run


def measure(run: str, poses: int) -> dict[str, Any]:
    """Return times in us and differences over test poses of a run; raises ConfigError for a run of another model."""
    import torch

    torch.set_num_threads(1)
    opened = load_run(run)
    network: Any = opened.model()
    if not isinstance(opened.model(), HasOccupancy):
        raise ConfigError(f"{run} is of model {opened.self_model.name}, which marches no rays",
                          "Train: edgekin train --model ffksm")
    evaluated, raw = [0], network.raw

    def counting(pose: Any, points: Any) -> Any:
        evaluated[0] += points.shape[1]
        return raw(pose, points)

    network.raw = counting
    times: dict[str, list[int]] = {"plain": [], "accelerated": []}
    points = dict.fromkeys(times, 0)
    differences = []
    with torch.inference_mode():
        for number, q in enumerate(torch.as_tensor(opened.test.joint_pos[: poses + 1], dtype=torch.float32)):
            pictures = []
            for kind in times:
                evaluated[0], start = 0, time.perf_counter_ns()
                pictures.append(network.render(q, accelerated=kind == "accelerated").sigmoid())
                if number:  # the first one warms
                    times[kind].append(time.perf_counter_ns() - start)
                    points[kind] += evaluated[0]
            differences.append(float((pictures[0] - pictures[1]).abs().max()))
    rows = {}
    for kind, t in times.items():
        p50, p99 = (round(float(np.percentile(t, p)) / 1e3) for p in (50, 99))
        rows[kind] = {"p50_us": p50, "p99_us": p99, "min_us": round(min(t) / 1e3),
                      "evaluations": round(points[kind] / len(t))}
    return {**rows, "poses": len(times["plain"]), "largest_difference": max(differences)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--poses", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = {"schema": "edgekin.bench-field/1", "revision": revision(), "seed": None, "run": args.run,
             **measure(args.run, args.poses), "machine": describe()}
    text = json.dumps(found, indent=2)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
