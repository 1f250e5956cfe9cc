"""Choose how long the compact sizes train on protocol published, without a look at its test split.

    python benchmarks/published_steps.py [--robot PATH/seed_arm.urdf] [--steps 500 1000 ...] [--seeds 0 1 2]

The last fifth of the *training* trajectory is held back (with a gap before it), the model is trained on what is left
and scored on what was held back: the same extrapolation in time as between the protocol's own splits. The number of
steps with the best mean over the seeds is edgekin.training.settings.PUBLISHED_STEPS.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from reference_arm import SEED_ARM

from edgekin.machine import describe, revision
from edgekin.models import PictureShape, build_model
from edgekin.output import write_json
from edgekin.sim.dataset import take
from edgekin.training.loop import Split, Trainer
from edgekin.training.protocols import GAP, prepare
from edgekin.training.settings import TrainConfig
from edgekin.training.train import score_model

HELD_BACK = 0.2


def validation_split(robot: Path) -> tuple[PictureShape, Split]:
    """Return the shape of the pictures, and the training trajectory's first 80% less a gap and its last 20%."""
    spec, split = prepare(TrainConfig(robot=str(robot), protocol="published"))
    n = len(split.train)
    start = int(n * (1.0 - HELD_BACK))
    held_back = Split(take(split.train, slice(0, start - GAP)), take(split.train, slice(start, n)))
    return PictureShape.of(spec), held_back


def one(split: Split, shape: PictureShape, steps: int, seed: int) -> float:
    """Train size m for so many steps; return its PSNR on the held-back part, dB."""
    config = TrainConfig(protocol="published", steps=steps, seed=seed).validated()
    model = build_model(config.model, config.size, shape, seed)
    Trainer(model, split, config).run()
    return score_model(model, split.test)["psnr_db"]


def main() -> None:
    """Score every number of steps with every seed and say which is best."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot", type=Path, default=SEED_ARM)
    parser.add_argument("--steps", type=int, nargs="+", default=[500, 1000, 1500, 2000, 3000, 4000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    shape, split = validation_split(options.robot)
    rows: list[dict[str, Any]] = []
    for steps in options.steps:
        scores = [one(split, shape, steps, seed) for seed in options.seeds]
        rows.append({"steps": steps, "psnr_db": scores, "mean": float(np.mean(scores))})
        print(f"{steps:6d} steps: {np.mean(scores):.2f} dB, seeds {[round(s, 2) for s in scores]}", flush=True)
    best = max(rows, key=lambda row: row["mean"])
    print(f"best: {best['steps']} steps")
    if options.json:
        result = {"schema": "edgekin.published_steps/1", "revision": revision(), "seed": options.seeds[0],
                  "seeds": options.seeds, "rows": rows, "best_steps": best["steps"], "machine": describe()}
        write_json(options.json, result)


if __name__ == "__main__":
    main()
