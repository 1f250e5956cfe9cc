"""Timing in turns."""

import os
import time

import numpy as np

from edgekin.comparison.deploy import P99_FRAMES, POSES, Budget, time_in_turns


def test_every_engine_has_its_turns_on_one_core_and_gets_its_frames():
    cores, seen, order = os.sched_getaffinity(0), [], []

    def engine(name, seconds):
        def frame():
            seen.append(os.sched_getaffinity(0))
            if not order or order[-1] != name:
                order.append(name)
            time.sleep(seconds)

        def bind(joints):
            assert joints.shape == (1, 3)
            assert joints.dtype == np.float32
            return frame
        return bind

    shares = []
    found = time_in_turns({"fast": engine("fast", 0.0), "slow": engine("slow", 0.03)}, np.zeros((POSES, 3)),
                          Budget(0.1, 5), shares.append)
    assert seen
    assert all(len(cpus) == 1 for cpus in seen)
    assert os.sched_getaffinity(0) == cores
    assert order[:4] == ["fast", "slow", "fast", "slow"]  # the order rotates: slow's second turn follows its first
    assert found["slow"]["n"] >= 3
    assert found["slow"]["p50"] >= 30_000
    assert found["slow"]["p99"] is None  # of fewer than a hundred frames it would be the largest
    assert found["fast"]["n"] >= P99_FRAMES
    assert found["fast"]["p50"] <= found["fast"]["p99"]
    assert shares[-1] == 1.0
    assert time_in_turns({}, np.zeros((1, 3)), Budget(0.1, 5)) == {}
