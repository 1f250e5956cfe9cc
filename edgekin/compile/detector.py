"""The detector's thresholds: from healthy trajectories that neither training nor test has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekin.bundle import WEIGHTS
from edgekin.compile.product import Product

if TYPE_CHECKING:
    from edgekin.training.run import Run

#: Frames a second of the calibration trajectories, their length and their number (a third each fits, sets, verifies).
HZ, SECONDS, TRAJECTORIES = 100.0, 20.0, 18

#: Keeps the trajectories apart from those of a run or a benchmark with the same seed.
SEED_OFFSET = 1_000_003


def calibrate_detector(product: Product, run: Run, seed: int, camera_hz: float) -> dict[str, Any]:
    """Return detector.json for the engine that will judge: it is calibrated on the very bits that are shipped.

    Args:
        product: the native product.
        run: the trained run; its robot moves on fresh trajectories.
        seed: of the trajectories.
        camera_hz: frames a second that the detector will see.
    """
    from edgekin.detection import calibrate, score_dataset
    from edgekin.runtime.engine import Engine
    from edgekin.sim.arm import healthy_trajectories

    joint_pos, packed, ids = healthy_trajectories(run.robot, SECONDS, HZ, SEED_OFFSET + seed, TRAJECTORIES)
    with Engine.open(product.files[WEIGHTS]) as engine:
        nll = score_dataset(engine, joint_pos, packed)
    content = calibrate(nll, joint_pos, ids, run.robot.limits, HZ, camera_hz)
    return content | {"seed": SEED_OFFSET + seed}
