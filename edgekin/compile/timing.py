"""Batch-1 latency of two products side by side, warm and interleaved, so that a noisy machine disturbs both alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.product import Float, Frame

#: INT8 counts as slower only beyond this factor: less is the noise of the measurement.
SLOWER = 1.05


@dataclass(frozen=True)
class Latency:
    """Time of one frame, from the joint angles to the score, called from Python (which costs a few us)."""

    p50_us: float
    p99_us: float
    n: int


def interleaved(frames: Sequence[Frame], joint_pos: Float, packed: NDArray[np.uint8], budget_s: float = 2.0,
                n: int = 500) -> list[Latency]:
    """Time every product on the same frames, in turn.

    Args:
        frames: the opened products.
        joint_pos: (N, J) rad.
        packed: (N, V, H, ceil(W / 8)) the masks that belong to them.
        budget_s: seconds after which to stop.
        n: frames for each at most; at least 20 are timed whatever the budget.
    """
    for warm_up in range(20):
        for frame in frames:
            frame(joint_pos[warm_up % len(joint_pos)], packed[warm_up % len(packed)])
    times: list[list[int]] = [[] for _ in frames]
    # Shuffled: an INT8 engine follows frames that are near each other in less time, which is for `bench` to show.
    order = np.random.default_rng(0).permutation(len(joint_pos))
    stop = time.perf_counter_ns() + int(budget_s * 1e9)
    for index in range(n):
        chosen = order[index % len(order)]
        pose, mask = joint_pos[chosen], packed[chosen]
        for frame, record in zip(frames, times, strict=True):
            start = time.perf_counter_ns()
            frame(pose, mask)
            record.append(time.perf_counter_ns() - start)
        if index >= 20 and time.perf_counter_ns() > stop:
            break
    return [Latency(float(np.percentile(r, 50)) / 1e3, float(np.percentile(r, 99)) / 1e3, len(r)) for r in times]
