"""A plan on the GPU that is here, for parity and timing: by the launcher that runs it in the control loop."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.product import Float, Frame, Logits
from edgekin.plans.api import Api
from edgekin.plans.engine import PlanEngine


def predict(api: Api, plan: bytes, joint_pos: Float) -> Logits:
    """Return the logits (N, V, H, W) that a plan gives for (N, J) joint angles in rad."""
    with PlanEngine(api, plan) as engine:
        return engine.predict(joint_pos)


def open_frame(api: Api, plan: bytes) -> Frame:
    """Return a function that runs and scores one frame; the GPU's memory is freed with it."""
    engine = PlanEngine(api, plan)

    def frame(joints: Float, packed: NDArray[np.uint8]) -> None:
        engine.run(joints)
        engine.score(packed)

    weakref.finalize(frame, engine.close)
    return frame


def p50_us(api: Api, plan: bytes, frames: int = 200) -> float:
    """Return the median time of a frame, us: the best of several builds is chosen by it."""
    with PlanEngine(api, plan) as engine:
        pose, times = np.zeros(engine.info.n_joints), []
        for _ in range(frames):
            start = time.perf_counter_ns()
            engine.run(pose)
            engine.logits()
            times.append(time.perf_counter_ns() - start)
    return float(np.median(times[frames // 4 :])) / 1e3  # the first frames warm the clocks


def inspect(api: Api, plan: bytes, look: Callable[[Api, Any], Any]) -> Any:
    """Return what a function finds in the deserialized engine of a plan."""
    with PlanEngine(api, plan) as engine:
        return look(api, engine.context.engine)
