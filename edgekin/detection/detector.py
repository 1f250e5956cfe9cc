"""The slow, obvious twin of engines/core/detector.c: what the C side must decide, frame by frame."""

from __future__ import annotations

import math

import numpy as np

from edgekin.runtime.detector import DAMAGED, FAULT, HEALTHY, UNKNOWN, DetectorConfig, Verdict
from edgekin.runtime.ring import Frame
from edgekin.runtime.status import status_code

NONFINITE, RANGE, STALE, FROZEN, CLOCK = (status_code(name) for name in
                                          ("nonfinite", "range", "stale", "frozen", "clock"))
#: HEALTHY needs this many valid pictures in a row after start, acknowledgement or any UNKNOWN.
FRAMES_TO_HEALTHY = 10
#: While the joints moved by this share of frozen_motion_rad under one picture, the CUSUM waits.
SUSPECT_SHARE = 0.25


class ReferenceDetector:
    """The detector in numpy: z = (nll / pixels - mean[r]) / std[r], s = max(0, s + min(z, z_clip) - k), alarm at s > h.

    Args:
        config: the same settings as the C detector's.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self.config = config
        self.s, self.z, self.region = 0.0, 0.0, 0
        self.latched, self.reason = 0, 0
        self.valid_run, self.bad_run, self.same_masks, self.objection = 0, 0, 0, 0
        self.sequence, self.alarms, self.rejected = 0, 0, 0
        self.last_stamp_ns: int | None = None
        self.mask_hash = 0
        self.still = np.zeros(config.centroids.shape[1], dtype=np.float32)

    def acknowledge(self) -> None:
        """Clear a latched verdict and start collecting evidence anew."""
        self.latched, self.reason, self.s, self.valid_run, self.same_masks = 0, 0, 0.0, 0, 0

    def update(self, frame: Frame, nll: float, n_pixels: int, mask_hash: int, now_ns: int) -> Verdict:
        """Judge one frame; arguments as `NativeDetector.update`."""
        reason = self._objection(frame, nll, n_pixels, now_ns)
        if reason:
            self.rejected += 1
            self.bad_run += 1
            self.objection = reason
        elif frame.fresh_camera:
            self._accept(frame, nll / n_pixels, mask_hash)
        return self._verdict(now_ns)

    def idle(self, now_ns: int) -> Verdict:
        """Age the verdict: no new frame by now_ns."""
        return self._verdict(now_ns)

    def _objection(self, frame: Frame, nll: float, n_pixels: int, now_ns: int) -> int:
        c = self.config
        for q, low, high in zip(frame.joint_pos, c.joint_min_rad, c.joint_max_rad, strict=True):
            if not math.isfinite(q):
                return NONFINITE
            if q < low or q > high:
                return RANGE
        if frame.stamp_ns > frame.publish_ns or frame.publish_ns > now_ns:
            return CLOCK
        if not frame.fresh_camera:
            return 0
        if self.last_stamp_ns is not None and frame.stamp_ns <= self.last_stamp_ns:
            return CLOCK
        if now_ns - frame.stamp_ns > c.stale_ns:
            return STALE
        return 0 if math.isfinite(nll) and nll >= 0 and n_pixels >= 1 else NONFINITE

    def _accept(self, frame: Frame, residual: float, mask_hash: int) -> None:
        c = self.config
        motion = self._motion_under_same_picture(frame, mask_hash)
        if c.frozen_frames and self.same_masks >= c.frozen_frames and motion >= c.frozen_motion_rad:
            self._latch(FAULT, FROZEN)
        if not c.frozen_frames or self.same_masks == 0 or motion < SUSPECT_SHARE * c.frozen_motion_rad:
            self._cusum(frame, residual)
        self.sequence, self.last_stamp_ns, self.bad_run, self.objection = frame.sequence, frame.stamp_ns, 0, 0
        self.valid_run = min(self.valid_run + 1, FRAMES_TO_HEALTHY)

    def _motion_under_same_picture(self, frame: Frame, mask_hash: int) -> float:
        if self.last_stamp_ns is None or mask_hash != self.mask_hash:
            self.mask_hash, self.same_masks, self.still = mask_hash, 0, frame.joint_pos.copy()
            return 0.0
        self.same_masks += 1
        return float(np.abs(frame.joint_pos.astype(np.float64) - self.still.astype(np.float64)).max())

    def _cusum(self, frame: Frame, residual: float) -> None:
        c = self.config
        offset = c.centroids.astype(np.float64) - frame.joint_pos.astype(np.float64)
        self.region = int(np.argmin((offset * offset).sum(axis=1)))
        z = (residual - float(c.mean[self.region])) / float(c.std[self.region])
        self.z = float(np.float32(z))
        self.s = max(0.0, self.s + min(z, c.z_clip) - c.k)
        if self.s > c.h:
            self._latch(DAMAGED, 0)

    def _latch(self, verdict: int, reason: int) -> None:
        if not self.latched:
            self.latched, self.reason = verdict, reason
            self.alarms += 1

    def _verdict(self, now_ns: int) -> Verdict:
        c, reason = self.config, self.objection
        stale = self.last_stamp_ns is None or now_ns - self.last_stamp_ns > c.stale_ns
        if stale or self.bad_run >= c.bad_frames_to_unknown:
            self.valid_run = 0
        if self.latched:
            verdict, expires = self.latched, now_ns + c.stale_ns
            reason = reason or self.reason
        else:
            verdict = HEALTHY if self.valid_run >= FRAMES_TO_HEALTHY else UNKNOWN
            expires = (now_ns if self.last_stamp_ns is None else self.last_stamp_ns) + c.stale_ns
            reason = reason or (STALE if stale and self.last_stamp_ns is not None else 0)
        return Verdict(self.sequence, now_ns, expires, verdict, reason, self.region, self.z, float(np.float32(self.s)),
                       self.alarms, self.rejected)
