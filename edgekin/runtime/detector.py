"""The damage detector of the C library: its settings as `detector.json` holds them, and its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin._ek import ffi, lib
from edgekin.errors import BundleError
from edgekin.runtime.ring import Frame
from edgekin.runtime.status import check, status_name

UNKNOWN, HEALTHY, DAMAGED, FAULT = (int(lib.EK_VERDICT_UNKNOWN), int(lib.EK_VERDICT_HEALTHY),
                                    int(lib.EK_VERDICT_DAMAGED), int(lib.EK_VERDICT_FAULT))
VERDICT_NAMES = {UNKNOWN: "unknown", HEALTHY: "healthy", DAMAGED: "damaged", FAULT: "fault"}


@dataclass(frozen=True)
class Verdict:
    """What the detector holds to be true of the body, and the evidence."""

    sequence: int  # of the frame behind it
    decided_ns: int  # CLOCK_MONOTONIC
    expires_ns: int  # CLOCK_MONOTONIC; afterwards it is to be taken as unknown
    verdict: int  # UNKNOWN, HEALTHY, DAMAGED or FAULT
    reason: int  # ek_status of a rejection or fault, 0 otherwise
    region: int  # of the pose
    z: float  # last standardised residual
    cusum: float
    alarms: int
    rejected: int
    alarm: int = 0  # of an inspector: index in edgekin.runtime.inspector.CLASSES
    raw: Any = field(default=None, repr=False, compare=False)  # the ek_verdict, for inspector.named_of

    @property
    def name(self) -> str:
        """healthy, damaged, unknown or fault."""
        return VERDICT_NAMES[self.verdict]

    @property
    def reason_name(self) -> str:
        """The reason's short name, e.g. "stale"; "ok" where there is none."""
        return status_name(self.reason)


def verdict_of(raw: Any) -> Verdict:
    """Return an `ek_verdict` (a cffi struct) as a Verdict."""
    own = ffi.new("ek_verdict *", raw[0] if ffi.typeof(raw).kind == "pointer" else raw)
    return Verdict(raw.sequence, raw.decided_ns, raw.expires_ns, raw.verdict, raw.reason, raw.region, raw.z, raw.cusum,
                   raw.alarms, raw.rejected, raw.alarm, own)


@dataclass(frozen=True)
class DetectorConfig:
    """The fields of `ek_detector_config` (engines/include/edgekin/loop.h), with J joints and R pose regions."""

    centroids: NDArray[np.float32]  # (R, J) rad
    mean: NDArray[np.float32]  # (R,) nats per pixel
    std: NDArray[np.float32]  # (R,) nats per pixel
    k: float  # standard deviations
    h: float  # standard deviations
    z_clip: float  # standard deviations
    joint_min_rad: NDArray[np.float64]  # (J,)
    joint_max_rad: NDArray[np.float64]  # (J,)
    bad_frames_to_unknown: int
    stale_ns: int
    frozen_frames: int  # 0: no check
    frozen_motion_rad: float

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> DetectorConfig:
        """Read the fields of `detector.json`.

        Raises:
            BundleError: a field is missing, malformed, or of another shape than its neighbours.
        """
        try:
            config = cls(
                centroids=np.asarray(fields["centroids"], dtype=np.float32),
                mean=np.asarray(fields["mean"], dtype=np.float32),
                std=np.asarray(fields["std"], dtype=np.float32),
                k=float(fields["k"]), h=float(fields["h"]), z_clip=float(fields["z_clip"]),
                joint_min_rad=np.asarray(fields["joint_min_rad"], dtype=np.float64),
                joint_max_rad=np.asarray(fields["joint_max_rad"], dtype=np.float64),
                bad_frames_to_unknown=int(fields["bad_frames_to_unknown"]), stale_ns=int(fields["stale_ns"]),
                frozen_frames=int(fields["frozen_frames"]), frozen_motion_rad=float(fields["frozen_motion_rad"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"detector settings cannot be read: {type(error).__name__} {error}",
                              "Compile the bundle again: edgekin compile --force") from error
        regions, joints = config.centroids.shape if config.centroids.ndim == 2 else (0, 0)
        shapes = (config.mean.shape, config.std.shape, config.joint_min_rad.shape, config.joint_max_rad.shape)
        if not joints or joints > int(lib.EK_MAX_JOINTS) or shapes != ((regions,), (regions,), (joints,), (joints,)):
            raise BundleError(f"detector settings contradict each other: centroids {config.centroids.shape}, mean, std "
                              f"and joint ranges {shapes}", "Compile the bundle again: edgekin compile --force")
        return config


class NativeDetector:
    """The C detector.

    Args:
        config: its settings; copied.
    Raises:
        BundleError: the C side refuses the settings (not finite, a threshold that cannot be reached ...).
    """

    def __init__(self, config: DetectorConfig) -> None:
        raw = ffi.new("ek_detector_config *")
        raw.n_regions, raw.n_joints = config.centroids.shape
        tables = [ffi.from_buffer("float[]", np.ascontiguousarray(t)) for t in
                  (config.centroids, config.mean, config.std)]
        raw.centroids, raw.mean, raw.std = tables
        for name in ("k", "h", "z_clip", "bad_frames_to_unknown", "stale_ns", "frozen_frames", "frozen_motion_rad"):
            setattr(raw, name, getattr(config, name))
        raw.joint_min_rad[0:raw.n_joints] = config.joint_min_rad.tolist()
        raw.joint_max_rad[0:raw.n_joints] = config.joint_max_rad.tolist()
        status = ffi.new("int *")
        handle = lib.ek_detector_create(raw, status)
        if handle == ffi.NULL:
            raise BundleError(f"the detector refuses its settings: k {config.k}, h {config.h}, z_clip {config.z_clip}, "
                              f"smallest std {config.std.min()}", "Compile the bundle again: edgekin compile --force")
        self.handle = ffi.gc(handle, lib.ek_detector_destroy)
        self._frame, self._score, self._verdict = ffi.new("ek_frame *"), ffi.new("ek_score *"), ffi.new("ek_verdict *")

    def update(self, frame: Frame, nll: float, n_pixels: int, mask_hash: int, now_ns: int) -> Verdict:
        """Judge one frame.

        Args:
            frame: its picture is represented by nll and mask_hash.
            nll: nats, summed over n_pixels.
            n_pixels: pixels of all views.
            mask_hash: any 64-bit hash of the picture.
            now_ns: CLOCK_MONOTONIC.
        """
        raw = self._frame
        raw.sequence, raw.stamp_ns, raw.publish_ns = frame.sequence, frame.stamp_ns, frame.publish_ns
        raw.joints[0:len(frame.joint_pos)] = [float(q) for q in frame.joint_pos]
        raw.flags, raw.fresh_camera = frame.flags, int(frame.fresh_camera)
        self._score.nll, self._score.n_pixels = nll, n_pixels
        check(lib.ek_detector_update(self.handle, raw, self._score, mask_hash, now_ns, self._verdict), "cannot update")
        return verdict_of(self._verdict)

    def idle(self, now_ns: int) -> Verdict:
        """Age the verdict: no new frame by now_ns."""
        check(lib.ek_detector_idle(self.handle, now_ns, self._verdict), "cannot age the verdict")
        return verdict_of(self._verdict)

    def acknowledge(self) -> None:
        """Clear a latched verdict."""
        lib.ek_detector_acknowledge(self.handle)
