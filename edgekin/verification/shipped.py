"""The detector that a bundle ships with: the CUSUM of the loop, fed frame by frame as the loop feeds it."""

from __future__ import annotations

import time
import zlib
from dataclasses import replace

import numpy as np

from edgekin.bundle import Bundle
from edgekin.detection.calibration import Float, Regions
from edgekin.opening import detector_config, open_bundle
from edgekin.robot.catalogue import BODY, SENSOR
from edgekin.runtime.detector import DAMAGED, FAULT, NativeDetector
from edgekin.runtime.ring import Frame
from edgekin.sim.episode import Frames
from edgekin.verification.subject import Alarm

#: Periods of the camera without a frame that are stale, as in the loop.
STALE_PERIODS = 3


class Shipped:
    """The bundle's detector with its own thresholds: damaged is body damage to it, a fault one of the sensors.

    Args:
        bundle: with a detector, and an engine that runs here.
        camera_hz: of the frames.
    """

    name = "shipped"

    def __init__(self, bundle: Bundle, camera_hz: float) -> None:
        self._engine = open_bundle(bundle)
        self._config = replace(detector_config(bundle), stale_ns=int(STALE_PERIODS * 1e9 / camera_hz))
        self._regions = Regions(self._config.centroids, self._config.mean, self._config.std)
        self.statistic: list[float] = []
        self.exec_ns: list[int] = []
        self.start()

    def start(self) -> None:
        self._detector = NativeDetector(self._config)

    def watch(self, frames: Frames) -> list[Alarm]:
        self.statistic, self.exec_ns, alarms = [], [], []
        for index, (pose, masks, seconds) in enumerate(zip(frames.joint_pos, frames.masks, frames.time_s, strict=True)):
            begin = time.thread_time_ns()
            # Nanosecond 0 stands for no frame at all.
            number, now = frames.first + index + 1, 1 + round(float(seconds) * 1e9)
            frame = Frame(number, now, now, pose.astype(np.float32), masks, 0, True)
            self._engine.run(pose)
            score = self._engine.score(masks)
            verdict = self._detector.update(frame, score.nll, score.n_pixels, zlib.crc32(masks.tobytes()), now)
            self.exec_ns.append(time.thread_time_ns() - begin)
            self.statistic.append(verdict.cusum)
            if verdict.verdict in (DAMAGED, FAULT):
                alarms.append(Alarm(frames.first + index, BODY if verdict.verdict == DAMAGED else SENSOR))
        return alarms

    def single(self, frames: Frames) -> Float:
        """Return the standardised residual of independent poses (N,)."""
        residual = np.empty(len(frames))
        for index, (pose, masks) in enumerate(zip(frames.joint_pos, frames.masks, strict=True)):
            self._engine.run(pose)
            score = self._engine.score(masks)
            residual[index] = score.nll / score.n_pixels
        return self._regions.standardize(residual, frames.joint_pos)
