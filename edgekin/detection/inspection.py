"""What healthy pictures teach an inspector: how far a self-model's own error looks like a deviation, pose by pose, and
how high the evidence of a healthy body climbs.

Two parts of the healthy frames have different jobs. The first fits: the deviations that pictures seem to have on
average, their spread, the squared error per region of poses. The second runs the inspector itself and sets its
thresholds from the highest evidence of each stretch, extrapolated to the rate of false alarms that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekin.detection.calibration import k_means, nearest
from edgekin.detection.deviations import Suspects, suspects_of
from edgekin.detection.evidence import ratios, whiten
from edgekin.errors import DataError
from edgekin.robot.spec import RobotSpec
from edgekin.runtime.engine import Engine
from edgekin.runtime.inspector import LEVELS, TURN, Inspector, InspectorConfig

Float = NDArray[np.float64]

REGIONS = 32
EDGE_PX = 1.0  # of the soft picture whose slopes are used
LAG_S = 0.1  # standard deviation of what pictures may be late
PATIENCE_S = 1.0
#: Healthy evidence at this quantile is brought down to this many nats by widening the spread.
QUANTILE, EVIDENCE = 0.999, 3.0
ROUNDS = 12
#: A deviation's spread at first, and at least: rad, share.
FIRST = {TURN: np.radians(0.05)}
FIRST_OTHER = 0.001
#: Pictures of one pose differ by at least this share of what poses differ by.
FRAME_SHARE = 0.5
#: Regions are more or less certain than the whole by these factors at most.
SCALE = (0.6, 3.0)
#: Spread of the misfit in a region, as a share of that of all, at least.
MISFIT_SHARE = 0.5
#: Tracking error that is allowed: standard deviations of a mean of eight, and its least.
TRACKING_SIGMAS, TRACKING_RAD = 6.0, np.radians(0.3)
#: Stretches of time whose highest evidence is looked at, s; so many at least.
BLOCK_S, BLOCKS = 30.0, 20
#: Where there is no tail to extrapolate: factor of the highest.
MARGIN = 1.5
#: So many frames in a row that nothing explains are an alarm at the earliest: a fit that must go far takes some.
UNEXPLAINED_FRAMES = 30
#: Fit frames below this say too little about 32 regions.
LEAST_FRAMES = 2000


class HealthyFrames(Protocol):
    """A stretch of healthy motion; see edgekin.sim.episode.Frames."""

    joint_pos: Float  # (N, J) rad
    commanded: Float  # (N, J) rad
    masks: NDArray[np.uint8]  # (N, V, H, row_bytes)


@dataclass(frozen=True)
class Looks:
    """What an inspector without memory sees in N healthy pictures."""

    information: Float  # (N, n, n)
    score: Float  # (N, n)
    fitted: Float  # (N,) squared error
    joint_pos: Float  # (N, J) rad
    tracking: Float  # (N, J) measured - commanded, rad


def first_config(robot: RobotSpec, camera_hz: float) -> InspectorConfig:
    """Return the settings of an inspector that has seen nothing: it raises no alarm.

    Args:
        robot: whose body it is.
        camera_hz: fresh pictures a second.
    """
    suspects: Suspects = suspects_of(robot)
    n, joints, one = len(suspects.deviations), len(robot.actuated), np.ones(1, np.float32)
    start = np.array([FIRST.get(d.kind, FIRST_OTHER) for d in suspects.deviations])
    return InspectorConfig(
        suspects.deviations, suspects.hypotheses, tuple(j.name for j in robot.actuated),
        tuple(link.name for link in robot.links), np.array(suspects.own_axis, np.int32),
        np.full(len(robot.links), EDGE_PX), suspects.prior, np.zeros(n), start, FRAME_SHARE * start,
        np.zeros((1, joints), np.float32), 10 * one, 1e6 * one, one, np.zeros(LEVELS), np.full(joints, 1.0),
        threshold=1e6, unexplained_sum=1e6, camera_hz=camera_hz, lag_prior=LAG_S * camera_hz,
        patience_frames=max(1, round(PATIENCE_S * camera_hz)))


def look_at(engine: Engine, config: InspectorConfig, streams: Iterable[HealthyFrames]) -> Looks:
    """Look at every picture of healthy streams. Arguments as `calibrate`."""
    information, score, fitted, joints, tracking = [], [], [], [], []
    with Inspector(engine, config) as inspector:
        for frames in streams:
            for q, sent, masks in zip(frames.joint_pos, frames.commanded, frames.masks, strict=True):
                inspector.judge(q, masks, sent)
                a, b, _ = inspector.look()
                information.append(a.astype(np.float32))
                score.append(b)
                fitted.append(inspector.fitted)
            joints.append(frames.joint_pos)
            tracking.append(frames.joint_pos - frames.commanded)
    if len(score) < LEAST_FRAMES:
        raise DataError(f"{len(score)} healthy pictures are too few to calibrate an inspector, expected {LEAST_FRAMES} "
                        "or more", "Use longer streams")
    return Looks(np.array(information), np.array(score), np.array(fitted), np.concatenate(joints),
                 np.concatenate(tracking))


def _spread(config: InspectorConfig, region: NDArray[np.intp]) -> Float:
    """(N, n) of one picture in each region."""
    one = np.sqrt(np.square(config.bias) + np.square(config.frame))
    spread: Float = one * config.scale[region].astype(np.float64)[:, None]
    return spread


def _evidence(looks: Looks, config: InspectorConfig, region: NDArray[np.intp]) -> tuple[Float, Float]:
    """The mean deviation (n,), and the evidence (N, H) that is left."""
    noise = config.noise_bias + config.noise_frame
    a, b = whiten(looks.information, looks.score, _spread(config, region), noise)
    mean = np.linalg.solve(a.sum(axis=0) + np.diag(1 / np.square(config.prior)), b.sum(axis=0))
    return mean, ratios(a, b - a @ mean, config.hypotheses, config.prior)


def fit(config: InspectorConfig, looks: Looks) -> InspectorConfig:
    """Return the settings with what healthy pictures have: mean, spread and misfit, region by region.

    Args:
        config: as `first_config` gives it.
        looks: at healthy pictures.
    """
    joints = looks.joint_pos
    centroids = k_means(joints[::max(1, len(joints) // 20_000)], REGIONS)
    region = nearest(centroids, joints)
    misfit, misfit_spread = _misfit(looks.fitted, region, len(centroids))
    config = replace(config, centroids=centroids.astype(np.float32), scale=np.ones(len(centroids), np.float32),
                     misfit=misfit, misfit_spread=misfit_spread)
    noise = looks.tracking.std(axis=0)
    own = config.own_axis[config.own_axis >= 0]
    config.frame[own] = np.maximum(config.frame[own], noise[config.own_axis >= 0])
    few = Looks(*(column[::max(1, len(joints) // 20_000)] for column in vars(looks).values()))
    for _ in range(ROUNDS):
        mean, evidence = _evidence(few, config, nearest(centroids, few.joint_pos))
        config = replace(config, mean=mean)
        high = np.quantile(evidence, QUANTILE, axis=0)
        wider = np.ones(len(mean))
        for value, hypothesis in zip(high, config.hypotheses, strict=True):
            for index in hypothesis.deviations:
                wider[index] = max(wider[index], np.sqrt(max(value, 0.0) / EVIDENCE))
        if wider.max() < 1.02:
            break
        config = replace(config, bias=config.bias * np.minimum(wider, 2.0))
        other = np.setdiff1d(np.arange(len(mean)), own)
        config.frame[other] = FRAME_SHARE * config.bias[other]
    _, evidence = _evidence(few, config, nearest(centroids, few.joint_pos))
    return replace(config, scale=_scale(evidence.max(axis=1), nearest(centroids, few.joint_pos), len(centroids)),
                   tracking_rad=np.maximum(TRACKING_SIGMAS * noise / np.sqrt(8) + np.abs(looks.tracking.mean(axis=0)),
                                           TRACKING_RAD))


def _misfit(fitted: Float, region: NDArray[np.intp], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    size = np.maximum(np.bincount(region, minlength=count), 1)
    mean = np.bincount(region, fitted, count) / size
    spread = np.sqrt(np.bincount(region, np.square(fitted - mean[region]), count) / size)
    spread = np.maximum(spread, max(MISFIT_SHARE * float(fitted.std()), 1e-3))
    return mean.astype(np.float32), spread.astype(np.float32)


def _scale(highest: Float, region: NDArray[np.intp], count: int) -> NDArray[np.float32]:
    """How much wider or narrower each region's spread is, from the evidence of its healthy pictures."""
    scale = np.ones(count)
    for r in range(count):
        here = highest[region == r]
        if len(here) >= 50:
            scale[r] = np.sqrt(max(float(np.quantile(here, 1 - 5 / len(here))), 0.0) / EVIDENCE)
    return np.clip(scale, *SCALE).astype(np.float32)


def highest_of(engine: Engine, config: InspectorConfig, stream: Iterable[HealthyFrames]) -> tuple[float, float]:
    """Return the highest evidence, nats, and the highest sum of what is unexplained, of one healthy stream."""
    evidence = unexplained = total = 0.0
    with Inspector(engine, config) as inspector:
        for frames in stream:
            for q, sent, masks in zip(frames.joint_pos, frames.commanded, frames.masks, strict=True):
                inspector.judge(q, masks, sent)
                evidence = max(evidence, inspector.evidence)
                k = config.unexplained
                total = max(0.0, total + min(inspector.misfit_z, 2 * k) - k)
                unexplained = max(unexplained, total)
    return evidence, unexplained


def extrapolate(highest: Float, block_s: float, per_hour: float) -> float:
    """Return the level that healthy evidence passes `per_hour` times an hour, or less often.

    The highest values of equal stretches are taken as Gumbel's; its tail gives the level. Never below the highest seen.

    Args:
        highest: (B,) of B stretches.
        block_s: length of a stretch, s.
        per_hour: alarms.
    """
    beta = max(float(highest.std()) * np.sqrt(6) / np.pi, 0.1)
    mode = float(highest.mean()) - 0.5772156649 * beta
    chance = min(per_hour * block_s / 3600, 0.5)  # of a stretch
    level: float = mode - beta * float(np.log(-np.log1p(-chance)))
    return max(level, float(highest.max()))


def calibrate(engine: Engine, robot: RobotSpec, camera_hz: float, per_hour: float,
              fit_streams: Iterable[HealthyFrames], watch_streams: Iterable[Iterable[HealthyFrames]], block_s: float,
              progress: Callable[[str], None] = lambda what: None) -> tuple[InspectorConfig, dict[str, Any]]:
    """Return an inspector's settings, and the record of how they came about.

    Args:
        engine: of the body model.
        robot: whose body it is.
        camera_hz: fresh pictures a second that the inspector will see.
        per_hour: false alarms that are allowed.
        fit_streams: healthy frames that fit the spreads.
        watch_streams: other healthy streams, each block_s long, at camera_hz, that set the thresholds.
        block_s: length of each of those, s.
        progress: called after each stream with what was done.

    Raises:
        DataError: too little data for the rate asked for, or data that is not healthy.
    """
    config = fit(first_config(robot, camera_hz), look_at(engine, first_config(robot, camera_hz), fit_streams))
    progress("fit")
    peaks = []
    for stream in watch_streams:
        peaks.append(highest_of(engine, config, stream))
        progress("watch")
    highest = np.array(peaks)
    if len(highest) < BLOCKS:
        raise DataError(f"{len(highest) * block_s:g} s of healthy motion set no threshold, expected "
                        f"{BLOCKS * block_s:g} s or more", "Use longer streams")
    threshold = MARGIN * extrapolate(highest[:, 0], block_s, per_hour)
    unexplained = max(MARGIN * extrapolate(highest[:, 1], block_s, per_hour), UNEXPLAINED_FRAMES * config.unexplained)
    hours = len(highest) * block_s / 3600
    record = {"false_alarms_per_hour": per_hour, "hours": hours, "blocks": len(highest), "block_s": block_s,
              "highest": float(highest[:, 0].max()), "highest_unexplained": float(highest[:, 1].max()),
              # No alarm in T hours supports a rate below 3 / T with 95% confidence, whatever a tail says.
              "rate_bound_per_hour": 3.0 / hours}
    return replace(config, threshold=threshold, unexplained_sum=unexplained), record
