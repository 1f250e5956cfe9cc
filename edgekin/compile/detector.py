"""The detector's thresholds: from healthy trajectories that neither training nor test has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekin.bundle import WEIGHTS
from edgekin.compile.product import Float, Logits, Product
from edgekin.detection.calibration import MIN_FRAMES
from edgekin.errors import ConfigError

if TYPE_CHECKING:
    from edgekin.training.run import Run

#: Frames a second of the calibration trajectories, and the length of one; a third of them each fits, sets, verifies.
HZ, SECONDS = 100.0, 20.0

#: Simulated seconds of healthy motion in all of them together.
HEALTHY_SECONDS = 360.0

#: Pictures that are in memory at once.
_CHUNK = 500

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

    Weight files are scored by the C engine: the very bits that are shipped. A plan is scored where it runs, else in
    ONNX Runtime, which it is held against.

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
    parts, scores = [], []
    with _scorer(product) as score:
        for number in range(count):
            joint_pos, packed, _ = healthy_trajectories(run.robot, seconds, HZ, first + number, trajectories=1)
            parts.append(joint_pos)
            scores.append(score(joint_pos, packed))
            progress((number + 1) / count)
    ids = np.repeat(np.arange(count), [len(part) for part in parts])
    limits = run.robot.limits
    content = calibrate(np.concatenate(scores), np.concatenate(parts), ids, limits, HZ, plan.camera_hz)
    return content | {"seed": first}


@contextmanager
def _scorer(product: Product) -> Iterator[Callable[[Float, NDArray[np.uint8]], Float]]:
    """Yield what gives the residuals (N,) nats per pixel of joint angles (N, J) rad and packed masks."""
    from edgekin.detection import score_dataset
    from edgekin.runtime.engine import Engine

    if WEIGHTS in product.files:
        with Engine.open(product.files[WEIGHTS]) as engine:
            yield partial(score_dataset, engine)
    else:
        plan = product.plan.predict if product.plan is not None else None
        yield partial(_residuals, plan or product.predict)


def _residuals(predict: Callable[[Float], Logits], joint_pos: Float, packed: NDArray[np.uint8]) -> Float:
    residual = np.empty(len(joint_pos))
    for start in range(0, len(joint_pos), _CHUNK):
        part = slice(start, start + _CHUNK)
        logits = predict(joint_pos[part])
        observed = np.unpackbits(packed[part], axis=-1, count=logits.shape[-1]).astype(bool)
        residual[part] = np.logaddexp(0.0, np.where(observed, -logits, logits)).mean(axis=(1, 2, 3), dtype=np.float64)
    return residual
