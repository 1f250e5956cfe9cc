"""What healthy pictures teach an inspector: how far a self-model's own error looks like a deviation, pose by pose, and
how high the evidence of a healthy body climbs.

Two parts of the healthy frames have different jobs. The first fits: the deviations that pictures seem to have on
average, their spread, the squared error per region of poses. The second runs the inspector itself and sets its
thresholds from the highest evidence of each stretch, extrapolated to the rate of false alarms that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, lgamma, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.detection.calibration import k_means, nearest
from edgekin.detection.evidence import ratios, whiten
from edgekin.detection.healthy import Peak, check_body, check_misfit, check_motion, check_peaks, listed
from edgekin.detection.looks import FRAME_SHARE, Float, Looks, Progress, Stretch, first_config, frames_of, look_at
from edgekin.detection.looks import place as place_of
from edgekin.errors import DataError, GateMissed
from edgekin.robot.spec import RobotSpec
from edgekin.runtime.engine import Engine
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.inspector_config import KNOWN, LEVELS, UNKNOWN, InspectorConfig

REGIONS = 32
#: Poses that regions are made of.
POSES = 20_000
#: Healthy evidence at this quantile is brought down to this many nats by widening the spread.
QUANTILE, EVIDENCE = 0.999, 3.0
ROUNDS = 12
#: Regions are more or less certain than the whole by these factors at most.
SCALE = (0.6, 3.0)
#: Spread of the misfit in a region, as a share of that of all, at least.
MISFIT_SHARE = 0.5
#: Tracking error that is allowed: standard deviations of a mean of eight, its least; and where commands were never
#: seen, so that nothing is known of it: any.
TRACKING_SIGMAS, TRACKING_RAD, ANY_RAD = 6.0, np.radians(0.3), 1e3
#: Stretches of time whose highest evidence is looked at, s; so many at least.
BLOCK_S, BLOCKS = 30.0, 20
#: Hours without an alarm support 3 / hours alarms an hour with 95% confidence. A fitted tail may go this factor beyond.
SUPPORTED, BEYOND = 3.0, 100.0
#: Factor of what the tail gives, and of the highest seen.
MARGIN = 1.5
#: Share of the stretches whose highest evidence is the tail.
TAIL = 1 / 3
#: Alarms come from what one picture says, what several say, and what nothing explains: each has its share of them.
WAYS = 3
#: What happens less often than this is no chance.
CHANCE = 0.05
#: A handicap that nothing overcomes, nats.
NEVER = 1e6
#: So many frames in a row that nothing explains are an alarm at the earliest: a fit that must go far takes some.
UNEXPLAINED_FRAMES = 30


@dataclass(frozen=True)
class Healthy:
    """Healthy motion, in stretches of time."""

    fit: Sequence[Stretch]  # what spreads are fitted to
    watch: Sequence[Stretch]  # others, block_s long, at the camera's rate, gone through twice: what sets thresholds
    block_s: float = BLOCK_S
    learned_lost: bool = False  # whether the model learned robots without some link, too
    test_error: float = 0.0  # squared error of a picture of the model's own test, summed over pixels; 0: not known

    @property
    def hours(self) -> float:
        """That are watched."""
        return len(self.watch) * self.block_s / 3600


def check_hours(blocks: int, block_s: float, per_hour: float) -> None:
    """Check that so much healthy motion can set thresholds for a rate of false alarms.

    Args:
        blocks: stretches to watch.
        block_s: length of each, s.
        per_hour: alarms that are allowed.

    Raises:
        DataError: too few, or too far from what they support; says how much is needed.
    """
    hours = blocks * block_s / 3600
    needed = max(BLOCKS * block_s / 3600, SUPPORTED / (BEYOND * per_hour))
    remedy = (f"Watch {np.ceil(100 * needed - 1e-9) / 100:g} hours or more (--hours; of --data every other stretch is "
              "watched)")
    if blocks < BLOCKS:
        raise DataError(f"{hours:.2g} hours are {blocks} stretches of {block_s:g} s to watch, too few for a threshold, "
                        f"expected {BLOCKS}", remedy)
    if SUPPORTED / hours > BEYOND * per_hour:
        raise DataError(f"{per_hour:g} false alarms an hour are {SUPPORTED / hours / per_hour:.0f} times fewer than "
                        f"{hours:.3g} hours watched support ({SUPPORTED / hours:.3g} an hour), and at most {BEYOND:g} "
                        "times are extrapolated", remedy)


def _spread(config: InspectorConfig, region: NDArray[np.intp]) -> Float:
    """(N, n) of one picture in each region."""
    one = np.sqrt(np.square(config.bias) + np.square(config.frame))
    spread: Float = one * config.scale[region].astype(np.float64)[:, None]
    return spread


def _evidence(looks: Looks, config: InspectorConfig, region: NDArray[np.intp]) -> tuple[Float, Float]:
    """The mean deviation (n,), and the evidence (M, H) that is left."""
    noise = config.noise_bias + config.noise_frame
    a, b = whiten(looks.information.astype(np.float64), looks.score, _spread(config, region), noise)
    mean = np.linalg.solve(a.sum(axis=0) + np.diag(1 / np.square(config.prior)), b.sum(axis=0))
    return mean, ratios(a, b - a @ mean, config.hypotheses, config.prior)


def fit(config: InspectorConfig, looks: Looks) -> InspectorConfig:
    """Return the settings with what healthy pictures have: mean, spread and misfit, region by region.

    Args:
        config: as `first_config` gives it.
        looks: at healthy pictures.
    """
    joints = looks.joint_pos
    centroids = k_means(joints[::max(1, len(joints) // POSES)], REGIONS)
    misfit, misfit_spread = _misfit(looks.fitted, nearest(centroids, joints), len(centroids))
    config = replace(config, centroids=centroids.astype(np.float32), scale=np.ones(len(centroids), np.float32),
                     misfit=misfit, misfit_spread=misfit_spread, frame=config.frame.copy())
    own = config.own_axis[config.own_axis >= 0]
    if len(looks.tracking):
        noise = looks.tracking.std(axis=0)
        config.frame[own] = np.maximum(config.frame[own], noise[config.own_axis >= 0])
    region = nearest(centroids, joints[looks.kept])
    for _ in range(ROUNDS):
        mean, evidence = _evidence(looks, config, region)
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
    _, evidence = _evidence(looks, config, region)
    return replace(config, scale=_scale(evidence.max(axis=1), region, len(centroids)), tracking_rad=_tracking(looks))


def _tracking(looks: Looks) -> Float:
    """What measured may differ from commanded, (J,) rad."""
    if not len(looks.tracking):
        return np.full(looks.joint_pos.shape[1], ANY_RAD)
    mean, noise = looks.tracking.mean(axis=0), looks.tracking.std(axis=0)
    allowed: Float = np.maximum(TRACKING_SIGMAS * noise / np.sqrt(8) + np.abs(mean), TRACKING_RAD)
    return allowed


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


def peak_of(engine: Engine, config: InspectorConfig, stretch: Stretch) -> Peak:
    """Return the highest that an inspector reaches in a stretch.

    Args:
        engine: of the body model.
        config: with thresholds beyond reach.
        stretch: of healthy motion.
    """
    evidence = several = unexplained = total = 0.0
    first = last = -1
    with Inspector(engine, config) as inspector:
        for last, q, masks, sent in frames_of(stretch):
            first = last if first < 0 else first
            inspector.judge(q, masks, sent)
            evidence = max(evidence, inspector.evidence)
            k = config.unexplained
            total = max(0.0, total + min(inspector.misfit_z, 2 * k) - k)
            unexplained = max(unexplained, total)
        found = inspector.finding
    with Inspector(engine, replace(config, handicap=_handicap(NEVER))) as inspector:
        for _, q, masks, sent in frames_of(stretch):
            inspector.judge(q, masks, sent)
            several = max(several, inspector.evidence)
    return Peak(evidence, several, unexplained, str(found.named) if found.alarm else "", place_of(first, last))


def _handicap(nats: float) -> Float:
    """Taken off what one picture by itself says, (LEVELS,)."""
    taken = np.zeros(LEVELS)
    taken[0] = nats
    return taken


def extrapolate(highest: Float, block_s: float, per_hour: float) -> float:
    """Return the level that healthy evidence passes `per_hour` times an hour, or less often.

    The tail of a logarithm of Bayes factors is exponential: of an exact model a chance of p is never above log(1 / p)
    (Ville's inequality), of others the mean of what the highest stretches have beyond the next gives its slope, with a
    margin. Never below the highest seen with that margin.

    Args:
        highest: (B,) of B stretches.
        block_s: length of a stretch, s.
        per_hour: alarms.
    """
    chance = min(per_hour * block_s / 3600, 0.5)  # of a stretch
    count = max(1, round(TAIL * len(highest)))
    falling = np.sort(highest)[::-1]
    slope = float((falling[:count] - falling[count]).mean())
    level = falling[count] + slope * float(np.log(count / len(highest) / chance))
    return float(max(MARGIN * max(level, falling[0]), -np.log(chance)))


def calibrate(engine: Engine, robot: RobotSpec, camera_hz: float, per_hour: float, healthy: Healthy,
              progress: Progress = lambda what: None) -> tuple[InspectorConfig, dict[str, Any]]:
    """Return an inspector's settings, and the record of how they came about.

    Args:
        engine: of the body model.
        robot: whose body it is.
        camera_hz: fresh pictures a second that the inspector will see.
        per_hour: false alarms that are allowed.
        healthy: motion of the healthy arm.
        progress: called with "look" and "watch" after each stretch, and with "fit".

    Raises:
        DataError: too little data for the rate asked for, or data that is not healthy.
        GateMissed: alarms that no threshold holds back come more often than allowed.
    """
    check_hours(len(healthy.watch), healthy.block_s, per_hour)
    first = first_config(robot, camera_hz)
    looks = look_at(engine, first, healthy.fit, progress)
    check_motion(robot, looks.joint_pos)
    check_body(first, looks)
    check_misfit(looks, healthy.test_error, sum(np.sqrt(c.width * c.height) for c in robot.cameras))
    config = replace(fit(first, looks), uncovered=KNOWN if healthy.learned_lost else UNKNOWN)
    progress("fit")
    peaks = []
    for stretch in healthy.watch:
        peaks.append(peak_of(engine, config, stretch))
        progress("watch")
    check_peaks(peaks)
    alarms = _alarms(peaks, healthy.hours, per_hour)
    single, several, unexplained = (
        extrapolate(np.array(column), healthy.block_s, per_hour / WAYS)
        for column in zip(*((peak.evidence, peak.several, peak.unexplained) for peak in peaks), strict=True))
    supported = SUPPORTED / healthy.hours
    record = {"false_alarms_per_hour": per_hour, "frames": len(looks.fitted), "hours": healthy.hours,
              "blocks": len(peaks), "block_s": healthy.block_s, "highest": max(peak.several for peak in peaks),
              "highest_single": max(peak.evidence for peak in peaks),
              "highest_unexplained": max(peak.unexplained for peak in peaks), "alarms": alarms,
              # What the hours watched say by themselves; the thresholds go further where less is allowed.
              "rate_bound_per_hour": None if alarms else supported, "extrapolated": max(1.0, supported / per_hour),
              "commands": bool(len(looks.tracking))}
    return replace(config, threshold=several, handicap=_handicap(max(single - several, 0.0)),
                   unexplained_sum=max(unexplained, UNEXPLAINED_FRAMES * config.unexplained)), record


def _alarms(peaks: Sequence[Peak], hours: float, per_hour: float) -> int:
    """How many stretches raised an alarm whatever the thresholds; raises GateMissed where that is too often to be
    chance."""
    raised = [i for i, peak in enumerate(peaks) if peak.alarm]
    expected = per_hour * hours
    # Poisson's: the chance of fewer alarms than were raised.
    fewer = sum(exp(k * log(expected) - expected - lgamma(k + 1)) for k in range(len(raised)))
    if raised and 1.0 - fewer < CHANCE:
        raise GateMissed(f"healthy {listed(raised, [peak.place for peak in peaks])} raised alarms that no threshold "
                         f"holds back ({peaks[raised[0]].alarm}): {len(raised) / hours:.3g} an hour, allowed "
                         f"{per_hour:g}; nothing was written", "Train the body model longer, or look at those frames")
    return len(raised)
