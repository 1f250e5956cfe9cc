"""The detector's thresholds: from healthy trajectories that neither training nor test has seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekin.bundle import WEIGHTS
from edgekin.compile.product import Product

if TYPE_CHECKING:
    from edgekin.training.run import Run

#: Frames a second of the calibration trajectories, their length and their number (a third each fits, sets, verifies).
HZ, SECONDS, TRAJECTORIES = 100.0, 20.0, 18

#: Keeps the trajectories apart from those of a run or a benchmark with the same seed.
SEED_OFFSET = 1_000_003


def calibrate_detector(product: Product, run: Run, seed: int, camera_hz: float,
                       progress: Callable[[float], None] = lambda share: None) -> dict[str, Any]:
    """Return detector.json for the engine that will judge: it is calibrated on the very bits that are shipped.

    Args:
        product: the native product.
        run: the trained run; its robot moves on fresh trajectories.
        seed: of the trajectories.
        camera_hz: frames a second that the detector will see.
        progress: called with the share that is done, 0 to 1.
    """
    from edgekin.detection import calibrate, score_dataset
    from edgekin.runtime.engine import Engine
    from edgekin.sim.arm import healthy_trajectories

    first = SEED_OFFSET + seed
    parts, scores = [], []
    with Engine.open(product.files[WEIGHTS]) as engine:
        for number in range(TRAJECTORIES):
            joint_pos, packed, _ = healthy_trajectories(run.robot, SECONDS, HZ, first + number, trajectories=1)
            parts.append(joint_pos)
            scores.append(score_dataset(engine, joint_pos, packed))
            progress((number + 1) / TRAJECTORIES)
    ids = np.repeat(np.arange(TRAJECTORIES), [len(part) for part in parts])
    limits = run.robot.limits
    content = calibrate(np.concatenate(scores), np.concatenate(parts), ids, limits, HZ, camera_hz)
    return content | {"seed": first}
