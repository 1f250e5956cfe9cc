"""Thresholds of the damage detector from what a healthy arm shows on its way.

A self-model's error is a function of the pose, and neighbouring frames repeat it: at 1 kHz an arm stays for hundreds of
frames where the model is wrong. A CUSUM whose reference value k lies inside the healthy excursions therefore sums bias,
not evidence, whatever its threshold. So the residual is standardised per region of poses, k is placed above the highest
healthy excursion, and h only decides how many frames of evidence an alarm takes.

The trajectories are dealt into three parts: one fits the regions, one sets k and h, one verifies them untouched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import DataError

Float = NDArray[np.float64]

SCHEMA = "edgekin.detector/1"
REGIONS = 32
MIN_FRAMES = 96  # three frames a region and part: fewer say nothing about a spread
KMEANS_ROUNDS = 50
#: A region's statistics count as much as the global ones at this many frames (one second of a trajectory at 100 Hz).
SHRINK_FRAMES = 100.0
#: k over the highest healthy z of the second part: that part is finite, and other seeds go a little higher.
K_MARGIN, K_MIN = 1.4, 2.0
#: Evidence beyond k that one frame may add, in units of k, and how many such frames an alarm takes at the least.
CLIP_SHARE, FRAMES_TO_ALARM = 1.0, 5.0
#: h over the largest healthy CUSUM of the second part.
H_MARGIN = 2.0
JOINT_MARGIN_RAD = 0.05  # encoders overshoot a limit by fractions of a degree; 3 degrees is no overshoot
BAD_FRAMES_TO_UNKNOWN = 3
STALE_PERIODS = 3.0  # of the camera: then a silent robot is unknown
#: A camera is frozen when the picture stays while a joint turns by this much: far beyond what moves no pixel.
FROZEN_FRAMES, FROZEN_MOTION_RAD = 20, 0.15


class Scores(Protocol):
    """What an engine says of one observation."""

    @property
    def nll(self) -> float: ...

    @property
    def n_pixels(self) -> int: ...


class ScoringEngine(Protocol):
    """An engine that predicts a silhouette and compares it with an observed one."""

    def run(self, joint_pos: NDArray[Any], /) -> None: ...

    def score(self, packed: NDArray[np.uint8], /) -> Scores: ...


def score_dataset(engine: ScoringEngine, joint_pos: Float, packed: NDArray[np.uint8]) -> Float:
    """Return the negative log-likelihood per pixel, nats, of every observation.

    Args:
        engine: opened engine.
        joint_pos: (N, J) rad.
        packed: (N, V, H, ceil(W / 8)) uint8, the masks seen at these angles.
    Returns:
        (N,) nats per pixel.
    """
    residual = np.empty(len(joint_pos))
    for index, (pose, masks) in enumerate(zip(joint_pos, packed, strict=True)):
        engine.run(pose)
        score = engine.score(masks)
        residual[index] = score.nll / score.n_pixels
    return residual


@dataclass(frozen=True)
class Regions:
    """Healthy residual statistics by region of poses."""

    centroids: NDArray[np.float32]  # (R, J) rad
    mean: NDArray[np.float32]  # (R,) nats per pixel
    std: NDArray[np.float32]  # (R,) nats per pixel

    def standardize(self, residual: Float, joint_pos: Float) -> Float:
        """Return z (N,) in standard deviations, as the detector computes it."""
        region = nearest(self.centroids.astype(np.float64), joint_pos.astype(np.float32).astype(np.float64))
        z: Float = (residual - self.mean[region].astype(np.float64)) / self.std[region].astype(np.float64)
        return z


def nearest(centroids: Float, points: Float) -> NDArray[np.intp]:
    """Return for each point (N, J) the index of the nearest centroid (R, J)."""
    squared = (points * points).sum(axis=1)[:, None] - 2 * points @ centroids.T + (centroids * centroids).sum(axis=1)
    index: NDArray[np.intp] = np.argmin(squared, axis=1)
    return index


def k_means(points: Float, count: int) -> Float:
    """Return `count` centroids (or fewer where the points are fewer), without chance.

    Starts from the point farthest from the middle and then ever the point farthest from those chosen; Lloyd's rounds
    follow until nothing moves.
    """
    far = np.square(points - points.mean(axis=0)).sum(axis=1)
    chosen = [points[int(np.argmax(far))]]
    distance = np.square(points - chosen[0]).sum(axis=1)
    while len(chosen) < count and distance.max() > 0:
        chosen.append(points[int(np.argmax(distance))])
        distance = np.minimum(distance, np.square(points - chosen[-1]).sum(axis=1))
    centroids = np.array(chosen)
    for _ in range(KMEANS_ROUNDS):
        region = nearest(centroids, points)
        size = np.bincount(region, minlength=len(centroids))
        total = np.stack([np.bincount(region, points[:, j], len(centroids)) for j in range(points.shape[1])], axis=1)
        moved = np.where(size[:, None] > 0, total / np.maximum(size, 1)[:, None], centroids)
        if np.allclose(moved, centroids, rtol=0, atol=1e-6):
            break
        centroids = moved
    return centroids


def fit_regions(residual: Float, joint_pos: Float, count: int = REGIONS) -> Regions:
    """Return mean and spread of the residual per region; small regions lean on the global figures."""
    centroids = k_means(joint_pos, count)
    region = nearest(centroids, joint_pos)
    size = np.bincount(region, minlength=len(centroids)).astype(np.float64)
    weight = size / (size + SHRINK_FRAMES)
    local = np.bincount(region, residual, len(centroids)) / np.maximum(size, 1)
    mean = weight * local + (1 - weight) * residual.mean()
    spread = np.bincount(region, np.square(residual - mean[region]), len(centroids)) / np.maximum(size, 1)
    within = float(np.square(residual - mean[region]).mean())
    variance = weight * spread + (1 - weight) * max(within, float(np.finfo(np.float32).tiny))
    # A region that looked the same all the time would make a threshold of nothing: a tenth of the global variance.
    variance = np.maximum(variance, max(0.1 * within, 1e-16))
    return Regions(centroids.astype(np.float32), mean.astype(np.float32), np.sqrt(variance).astype(np.float32))


def cusum_peaks(z: Float, trajectory_ids: NDArray[np.int64], k: float, z_clip: float, repeat: float) -> Float:
    """Return the largest CUSUM of every trajectory when each sample stands for `repeat` frames."""
    peaks = []
    for number in np.unique(trajectory_ids):
        s = peak = 0.0
        for step in (np.minimum(z[trajectory_ids == number], z_clip) - k) * repeat:
            s = max(0.0, s + step)
            peak = max(peak, s)
        peaks.append(peak)
    return np.array(peaks)


def calibrate(predict_scores: Float, joint_pos: Float, trajectory_ids: NDArray[np.int64], limits: Float,
              sample_hz: float = 100.0, camera_hz: float = 1000.0) -> dict[str, Any]:
    """Return the content of detector.json.

    Args:
        predict_scores: (N,) negative log-likelihood per pixel, nats, in the order of time within each trajectory.
        joint_pos: (N, J) rad.
        trajectory_ids: (N,) which healthy trajectory a frame belongs to; none shared with training or test.
        limits: (J, 2) rad.
        sample_hz: frames a second of this data.
        camera_hz: frames a second that the detector will see; each sample stands for camera_hz / sample_hz of them.
    Raises:
        DataError: too few frames, lengths that differ, or values that are not finite.
    """
    _check(predict_scores, joint_pos, trajectory_ids, limits)
    ids = trajectory_ids if len(np.unique(trajectory_ids)) >= 3 else np.arange(len(joint_pos)) * 3 // len(joint_pos)
    part = np.searchsorted(np.unique(ids), ids) % 3
    repeat = camera_hz / sample_hz
    regions = fit_regions(predict_scores[part == 0], joint_pos[part == 0])
    z = regions.standardize(predict_scores, joint_pos)
    k = max(K_MIN, K_MARGIN * float(z[part == 1].max()))
    z_clip = k * (1 + CLIP_SHARE)
    peaks = cusum_peaks(z[part == 1], ids[part == 1], k, z_clip, repeat)
    h = max(FRAMES_TO_ALARM * (z_clip - k), H_MARGIN * float(peaks.max()))
    verified = cusum_peaks(z[part == 2], ids[part == 2], k, z_clip, repeat)
    alarms = int((verified > h).sum())
    if alarms:  # said in the record below; the thresholds then cover the third part too, which verifies nothing more
        k = max(k, K_MARGIN * float(z[part == 2].max()))
        z_clip = k * (1 + CLIP_SHARE)
        h = max(FRAMES_TO_ALARM * (z_clip - k), H_MARGIN * float(cusum_peaks(z, ids, k, z_clip, repeat).max()))
    hours = float((part == 2).sum()) / sample_hz / 3600
    return {
        "schema": SCHEMA, "residual": "nll_per_pixel", "statistic": "cusum", "n_joints": joint_pos.shape[1],
        "n_regions": len(regions.mean), "centroids": regions.centroids.tolist(), "mean": regions.mean.tolist(),
        "std": regions.std.tolist(), "k": k, "h": h, "z_clip": z_clip,
        "joint_min_rad": (limits[:, 0] - JOINT_MARGIN_RAD).tolist(),
        "joint_max_rad": (limits[:, 1] + JOINT_MARGIN_RAD).tolist(),
        "bad_frames_to_unknown": BAD_FRAMES_TO_UNKNOWN, "stale_ns": int(STALE_PERIODS * 1e9 / camera_hz),
        "frozen_frames": FROZEN_FRAMES, "frozen_motion_rad": FROZEN_MOTION_RAD, "camera_hz": camera_hz,
        "calibration": {
            "frames": len(joint_pos), "trajectories": len(np.unique(trajectory_ids)), "sample_hz": sample_hz,
            "z_max": [float(z[part == p].max()) for p in range(3)],
            "z_p99": [float(np.quantile(z[part == p], 0.99)) for p in range(3)],
            "verified_hours": hours, "verified_alarms": alarms,
            # 95% bound of a Poisson rate with no event seen in T hours: 3 / T.
            "false_alarms_per_hour_below": None if alarms else 3.0 / hours,
        },
    }


def _check(scores: Float, joint_pos: Float, ids: NDArray[np.int64], limits: Float) -> None:
    shapes = f"scores {scores.shape}, joint angles {joint_pos.shape}, trajectory ids {ids.shape}, limits {limits.shape}"
    if joint_pos.ndim != 2 or scores.shape != (len(joint_pos),) or ids.shape != scores.shape \
            or limits.shape != (joint_pos.shape[1], 2):
        raise DataError(f"the healthy data contradict each other: {shapes}", "Give one score and one id for each pose")
    if len(scores) < MIN_FRAMES:
        raise DataError(f"{len(scores)} healthy frames are too few to calibrate a detector, expected {MIN_FRAMES} or "
                        "more", "Use longer trajectories")
    if not (np.isfinite(scores).all() and np.isfinite(joint_pos).all()):
        raise DataError("the healthy data hold values that are not finite", "Check the engine and the encoders")
