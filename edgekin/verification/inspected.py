"""The inspector that a bundle ships with, fed frame by frame as the loop feeds it."""

from __future__ import annotations

import time

import numpy as np

from edgekin.bundle import Bundle
from edgekin.detection.calibration import Float
from edgekin.opening import inspector_config, open_body
from edgekin.runtime.findings import Finding
from edgekin.runtime.inspector import Inspector
from edgekin.sim.episode import Frames
from edgekin.verification.subject import Alarm

#: Units of edgekin.runtime.inspector.Named -> those of an Alarm.
_UNITS = {"deg": "deg", "%": "percent"}


class Inspected:
    """The bundle's inspector with its own thresholds.

    Args:
        bundle: with a body model, and an inspection.json.
        camera_hz: of the frames.
    """

    name = "inspector"

    def __init__(self, bundle: Bundle, camera_hz: float) -> None:
        self._engine = open_body(bundle)
        self._config = inspector_config(bundle).at(camera_hz)
        self._inspector = Inspector(self._engine, self._config)
        self.statistic: list[float] = []
        self.exec_ns: list[int] = []
        self._seen = 0

    def start(self) -> None:
        self._inspector.reset()
        self._seen = 0

    def watch(self, frames: Frames) -> list[Alarm]:
        self.statistic, self.exec_ns = [], []
        alarms: list[Alarm] = []
        for index, (pose, sent, masks) in enumerate(zip(frames.joint_pos, frames.commanded, frames.masks, strict=True)):
            begin = time.thread_time_ns()
            alarm = self._inspector.judge(pose, masks, sent)
            self.exec_ns.append(time.thread_time_ns() - begin)
            self.statistic.append(self._inspector.evidence)
            self._seen = frames.first + index
            if alarm and not alarms:
                alarms.append(self._alarm(self._inspector.finding))
        return alarms

    def finding(self) -> Alarm | None:
        """Return the present diagnosis."""
        found = self._inspector.finding
        return self._alarm(found) if found.alarm else None

    def _alarm(self, found: Finding) -> Alarm:
        named = found.named
        low, high = named.interval
        sized = named.unit in _UNITS
        doubt = (named.part, named.rival) if named.undecided and named.rival not in ("", named.part) else ()
        return Alarm(self._seen, found.alarm, named.part, named.size if sized else None, low if sized else None,
                     high if sized else None, _UNITS.get(named.unit, ""), doubt)

    def single(self, frames: Frames) -> Float:
        """Return the evidence of independent poses (N,), nats."""
        out = np.empty(len(frames))
        for index, (pose, masks) in enumerate(zip(frames.joint_pos, frames.masks, strict=True)):
            self._inspector.reset()
            self._inspector.judge(pose, masks)
            out[index] = self._inspector.evidence
        return out
