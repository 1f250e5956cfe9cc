"""The detector's thresholds: from healthy trajectories that neither training nor test has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.product import Float, Product
from edgekin.compile.scorer import open_scorer
from edgekin.detection.calibration import MIN_FRAMES
from edgekin.errors import ConfigError

if TYPE_CHECKING:
    from edgekin.training.run import Run

#: Frames a second of the calibration trajectories, and the length of one; a third of them each fits, sets, verifies.
HZ, SECONDS = 100.0, 20.0

#: Simulated seconds of healthy motion in all of them together.
HEALTHY_SECONDS = 360.0

#: Keeps the trajectories apart from those of a run or a benchmark with the same seed.
SEED_OFFSET = 1_000_003


@dataclass(frozen=True)
class DetectorPlan:
    """What the thresholds are calibrated on and for."""

    camera_hz: float = 1000.0  # frames a second that the detector will see
    healthy_seconds: float = HEALTHY_SECONDS  # simulated motion

    def validated(self) -> DetectorPlan:
        """Return the plan itself; raises ConfigError where it cannot be used."""
        if not 0.0 < self.camera_hz <= 100_000.0:
            raise ConfigError(f"--camera-hz is {self.camera_hz}, expected more than 0 and at most 100000",
                              "Give the camera's frames a second")
        if not MIN_FRAMES / HZ <= self.healthy_seconds <= 1e5:
            raise ConfigError(f"--healthy-seconds is {self.healthy_seconds}, expected {MIN_FRAMES / HZ} to 100000",
                              "Leave it out for the default")
        return self


def calibrate_detector(product: Product, run: Run, plan: DetectorPlan, seed: int,
                       progress: Callable[[float], None] = lambda share: None) -> dict[str, Any]:
    """Return detector.json for the engine that will judge.

    Its `calibration` says which engine scored: edgekin.compile.scorer.

    Args:
        product: what was compiled.
        run: the trained run; its robot moves on fresh trajectories.
        plan: how much healthy motion, and for which camera.
        seed: of the trajectories.
        progress: called with the share that is done, 0 to 1.
    """
    from edgekin.detection import calibrate
    from edgekin.sim.arm import healthy_trajectories

    count = max(3, round(plan.healthy_seconds / SECONDS))
    first, seconds = SEED_OFFSET + seed, plan.healthy_seconds / count

    def trajectory(number: int) -> tuple[Float, NDArray[np.uint8]]:
        return healthy_trajectories(run.robot, seconds, HZ, first + number, trajectories=1)[:2]

    parts, scores = [], []
    with open_scorer(product, partial(trajectory, 0)) as scorer:
        for number in range(count):
            joint_pos, packed = trajectory(number)
            parts.append(joint_pos)
            scores.append(scorer.residuals(joint_pos, packed))
            progress((number + 1) / count)
    ids = np.repeat(np.arange(count), [len(part) for part in parts])
    limits = run.robot.limits
    content = calibrate(np.concatenate(scores), np.concatenate(parts), ids, limits, HZ, plan.camera_hz)
    content["calibration"] |= scorer.record()
    return content | {"seed": first}
