"""The real-time loop around an engine of engines/cuda, with the host driver as its GPU: the same C loop."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edgekin.compile.weights import write_weights
from edgekin.models.graph import Graph, Layer

pytest.importorskip("edgekin._ek", reason="build it: python setup.py build_ext --inplace")
from edgekin.runtime.cuda import CudaEngine, CudaOptions
from edgekin.runtime.detector import DetectorConfig, NativeDetector
from edgekin.runtime.loop import Loop, LoopConfig
from edgekin.runtime.ring import RingReader, RingWriter

SHAPE = (1, 12, 20)
EMPTY, FULL = np.zeros((1, 12, 3), np.uint8), np.full((1, 12, 3), 255, np.uint8)
JOINTS = np.array([0.1, -0.2, 0.3])
PATIENCE_S = 60.0


def constant() -> Graph:
    """A network that answers every pose with an empty picture: log-odds -2 everywhere."""
    size = int(np.prod(SHAPE))
    layers = (Layer("sincos", "in"),
              Layer("linear", "linear", {}, np.zeros((size, 6), np.float32), np.full(size, -2.0, np.float32)),
              Layer("reshape", "reshape", {"channels": 1, "height": 12, "width": 20}))
    return Graph(3, *SHAPE, layers)


def detector() -> NativeDetector:
    return NativeDetector(DetectorConfig.from_json({
        "centroids": [[0.0, 0.0, 0.0]], "mean": [0.127], "std": [0.1], "k": 1.0, "h": 20.0, "z_clip": 6.0,
        "joint_min_rad": [-2.0] * 3, "joint_max_rad": [2.0] * 3, "bad_frames_to_unknown": 3,
        "stale_ns": 2_000_000_000, "frozen_frames": 0, "frozen_motion_rad": 0.1}))


def publish_until(writer: RingWriter, mask: np.ndarray, loop: Loop, verdict: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while loop.verdict().name != verdict:
        assert time.monotonic() < deadline, f"never {verdict}"
        writer.publish(JOINTS, mask)
        time.sleep(0.002)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_loop_judges_frames_on_a_gpu_and_a_gpu_that_stops_answering_is_unknown(host_driver, tmp_path, precision):
    options = CudaOptions(library=host_driver.path, blocks=1, threads=32)
    config = LoopConfig(duration_s=0.0, fifo_priority=0, warmup_ticks=0, lock_memory=False, hz=200.0)
    with (CudaEngine(write_weights(constant()), b"\x7fELF", precision, options) as engine,
          RingWriter(tmp_path / "r", 3, SHAPE) as writer, RingReader(tmp_path / "r") as reader):
        with Loop(engine, reader, detector(), config) as loop:
            loop.start()
            publish_until(writer, EMPTY, loop, "healthy")
            host_driver.fail("kernel", 1)  # launches are accepted, and nothing happens
            publish_until(writer, EMPTY, loop, "unknown")
            host_driver.reset()
            publish_until(writer, EMPTY, loop, "healthy")
            publish_until(writer, FULL, loop, "damaged")
        report = loop.report()
        assert report.latency.frames > 0
        assert report.iou is not None
    assert host_driver.owned() == 0
